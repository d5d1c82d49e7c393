//! Open vSwitch with DPDK: its own database and daemon in a folder and a network namespace of their own, no service.
//!
//! At its best: one datapath flow a mapping is installed before anything is measured and none is taken out, and each of its
//! caches is tried in turn. The tunnel's addresses are on its internal port, which only exists in that namespace.

use super::unixctl::{ask, flows, port_packets, worker_cycles, worker_misses};
use super::{Bench, Running, Subject, folder};
use crate::halt::{Halt, Stop};
use crate::process::{self, Process, run, tied};
use crate::scenario::{End, Scenario};
use crate::window::{Reading, Sample};
use crate::workload::{Hits, PROVIDER, PROVIDER_MAC, VSIDS, mac_text};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use weir_tables::domain::GATEWAY_MAC;

/// How long its daemons may take until they answer.
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take until every mapping has its datapath flow.
const LEARNS_WITHIN: Duration = Duration::from_secs(180);
/// Milliseconds between two looks at its flows while it learns, the least that it takes: at each it allows itself 1,000 more, from 10,000 on.
const EAGER: u32 = 100;
/// The same afterwards: while half of that suffices for a look, no flow is taken out for being met too seldom.
const CALM: u32 = 10_000;
/// Milliseconds without a packet after which a flow is taken out: longer than anything is measured.
const IDLE: u32 = 3_600_000;
/// The datapath of all bridges of `datapath_type=netdev`.
const DATAPATH: &str = "netdev@ovs-netdev";
/// How often it is asked how far it is: its answers cost it time.
const ASKED_EVERY: Duration = Duration::from_millis(200);
/// The package, for mends.
const PACKAGE: &str = "apt-get install openvswitch-switch-dpdk, or leave ovs out of --vs";
/// Its settings: what is measured, the exact match cache's insertion (1: always, 0: off), the signature match cache.
const SETTINGS: [(&str, &str, &str); 3] = [
    ("ovs-emc", "1", "false"),
    ("ovs-emc-smc", "1", "true"),
    ("ovs-smc", "0", "true"),
];

/// Open vSwitch.
#[derive(Default)]
pub struct Ovs {
    daemon: PathBuf,
    version: Option<String>,
}

impl Subject for Ovs {
    fn settings(&self) -> Vec<String> {
        SETTINGS.map(|(name, ..)| name.to_string()).to_vec()
    }

    fn find(&mut self) -> Result<(), Halt> {
        let places = [
            "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk",
            "ovs-vswitchd",
        ];
        let missing = |what: &str| Halt::failed("ovs", format!("{what} is not installed"), PACKAGE);
        for tool in ["ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl"] {
            process::find(&[tool]).ok_or_else(|| missing(tool))?;
        }
        self.daemon = process::find(&places).ok_or_else(|| missing("ovs-vswitchd"))?;
        let said = run(Command::new(&self.daemon).arg("--version"))?;
        if !said.contains("DPDK") {
            return Err(missing("ovs-vswitchd with DPDK"));
        }
        self.version = said
            .lines()
            .next()
            .and_then(|line| line.split(' ').next_back())
            .map(str::to_string);
        Ok(())
    }

    fn version(&self) -> Option<String> {
        self.version.clone()
    }

    fn start<'a>(&self, bench: &Bench<'a>) -> Result<Box<dyn Running + 'a>, Halt> {
        let mut switch = self.cold(bench)?;
        if bench.is_alone() {
            switch.learn(bench)?;
        }
        Ok(Box::new(switch))
    }
}

impl Ovs {
    /// Starts it; its source is there since a moment, and nothing is installed in its datapath that it has not learned since.
    pub fn cold(&self, bench: &Bench) -> Result<Switch, Halt> {
        let home = folder(bench.folder.join("ovs"))?;
        let database = start_database(&home, bench.stop)?;
        configure(&home, bench)?;
        // A namespace of its own: the bridges' ports, their addresses and routes never meet this machine's.
        let mut command = tied("unshare", ["--net", "--"]);
        command
            .arg(&self.daemon)
            .arg(format!("unix:{}", home.join("db.sock").display()));
        command.arg(format!("--unixctl={}", home.join("daemon.ctl").display()));
        let mut daemon = Process::start("ovs-vswitchd", at_home(&mut command, &home), &home)?;
        let control = home.join("daemon.ctl");
        daemon.wait_for(bench.stop, STARTS_WITHIN, "does not answer", || {
            Ok(ask(&control, "version", &[]).ok())
        })?;
        let mut switch = Switch {
            daemon,
            _database: database,
            home,
            control,
            core: bench.core,
            stop: bench.stop.clone(),
            end: bench.scenario.end(&bench.load),
            wanted: wanted(bench),
            missed: [0; 2],
        };
        let from = switch.build(bench).map_err(|halt| switch.with_log(halt))?;
        switch.set(SETTINGS[0].0)?;
        switch
            .plug(bench, from)
            .map_err(|halt| switch.with_log(halt))?;
        Ok(switch)
    }
}

/// Everything of Open vSwitch finds its files by these.
fn at_home<'a>(command: &'a mut Command, home: &Path) -> &'a mut Command {
    for name in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "RUNTIME_DIRECTORY"] {
        command.env(name, home);
    }
    command
}

fn start_database(home: &Path, stop: &Stop) -> Result<Process, Halt> {
    let (file, socket) = (home.join("conf.db"), home.join("db.sock"));
    let schema = "/usr/share/openvswitch/vswitch.ovsschema";
    run(Command::new("ovsdb-tool")
        .arg("create")
        .arg(&file)
        .arg(schema))?;
    let mut command = tied("ovsdb-server", [file]);
    command.arg(format!("--remote=punix:{}", socket.display()));
    command.arg(format!("--unixctl={}", home.join("db.ctl").display()));
    let mut database = Process::start("ovsdb-server", at_home(&mut command, home), home)?;
    database.wait_for(stop, STARTS_WITHIN, "does not answer", || {
        Ok(UnixStream::connect(&socket).ok().map(|_| ()))
    })?;
    Ok(database)
}

/// `ovs-vsctl`, which waits until the daemon has done it unless there is none yet.
fn vsctl(home: &Path, wait: bool, arguments: &[&str]) -> Result<(), Halt> {
    let mut command = Command::new("ovs-vsctl");
    command
        .arg(format!("--db=unix:{}", home.join("db.sock").display()))
        .arg("--timeout=30");
    if !wait {
        command.arg("--no-wait");
    }
    run(at_home(command.args(arguments), home)).map(|_| ())
}

/// What must be said before its daemon starts.
fn configure(home: &Path, bench: &Bench) -> Result<(), Halt> {
    let memory = match bench.huge {
        true => "--in-memory".to_string(),
        // Without --legacy-mem it would add --in-memory, which --no-huge excludes.
        false => format!("--no-huge --legacy-mem -m {}", 256 + bench.megabytes()),
    };
    vsctl(home, false, &["init"])?;
    let settings = [
        "dpdk-init=true".to_string(),
        format!("dpdk-extra=\"--no-pci --no-telemetry {memory}\""),
        format!("dpdk-lcore-mask=0x{:x}", 1u128 << bench.helper),
        format!("pmd-cpu-mask=0x{:x}", 1u128 << bench.core),
        format!("flow-limit={}", 200_000.max(4 * bench.load.mappings)),
        format!("max-revalidator={EAGER}"),
        format!("max-idle={IDLE}"),
        "min-revalidate-pps=0".to_string(),
    ];
    let settings = settings.map(|setting| format!("other_config:{setting}"));
    let mut arguments = vec!["set", "Open_vSwitch", "."];
    arguments.extend(settings.iter().map(String::as_str));
    vsctl(home, false, &arguments)
}

/// One flow a mapping. To another host the key holds VSID and FlowID, the tunnel goes to the host of that MAC.
fn flow_file(bench: &Bench) -> String {
    let (load, scenario) = (&bench.load, bench.scenario);
    let hosts: Vec<_> = load.hosts().collect();
    let flow = |number: u32| {
        let host = hosts.get(load.host_of(number) as usize)?;
        let vm = load.remote(scenario, number);
        let (mac, ca, pa) = (mac_text(vm.mac), vm.ca, host.pa);
        let tunnel = |vsid: u32| {
            format!(
                "set_field:{}->tun_id,set_field:{pa}->tun_dst,output:gre0",
                vsid << 8
            )
        };
        Some(match scenario {
            Scenario::NvgreEncap => format!("dl_dst={mac},actions={}\n", tunnel(VSIDS[0])),
            Scenario::Routed => {
                let gateway = mac_text(GATEWAY_MAC.octets());
                format!(
                    "ip,dl_dst={gateway},nw_dst={ca},actions=mod_dl_src:{gateway},mod_dl_dst:{mac},dec_ttl,{}\n",
                    tunnel(VSIDS[1])
                )
            }
            Scenario::Rewrite => format!(
                "ip,dl_dst={mac},actions=mod_nw_src:{},mod_nw_dst:{},mod_dl_src:{},mod_dl_dst:{},output:sink\n",
                load.rewritten(load.source().ca),
                load.rewritten(ca),
                mac_text(PROVIDER_MAC),
                mac_text(host.mac)
            ),
            Scenario::NvgreDecap => format!(
                "in_port=gre0,tun_id={:#x}/0xffffff00,dl_src={mac},actions=output:sink\n",
                VSIDS[0] << 8
            ),
            _ => format!("dl_dst={mac},actions=output:sink\n"),
        })
    };
    let mut flows: String = (0..load.mappings).filter_map(flow).collect();
    flows += &match scenario {
        Scenario::Local => {
            let mac = mac_text(load.near().mac);
            format!("dl_dst={mac},actions=output:sink\n")
        }
        Scenario::Drop => {
            let forged = load.near().ca;
            format!("priority=40000,ip,nw_src={forged},actions=drop\n")
        }
        _ => String::new(),
    };
    flows
}

/// Datapath flows that there must be before it is measured.
fn wanted(bench: &Bench) -> u64 {
    let load = &bench.load;
    match (bench.scenario, load.hits) {
        (Scenario::Local | Scenario::Drop, _) | (_, Hits::Zipf | Hits::Miss) => 1,
        _ => u64::from(load.mappings).min(load.count()),
    }
}

/// A switch that runs. Its daemon ends before its database.
pub struct Switch {
    daemon: Process,
    _database: Process,
    home: PathBuf,
    control: PathBuf,
    core: u32,
    stop: Stop,
    end: End,
    /// Datapath flows that there must be before it is measured; 1 where it is not asked for.
    wanted: u64,
    /// Packets that found none by the last reading, and by the one before.
    missed: [u64; 2],
}

impl Switch {
    /// Bridges, ports, addresses, neighbours, flows; the bridge that the source belongs to.
    fn build(&mut self, bench: &Bench) -> Result<&'static str, Halt> {
        let home = self.home.clone();
        let sink = format!("options:dpdk-devargs=\"{}\"", bench.sink());
        let mtu = format!("mtu_request={}", bench.sink_mtu().unwrap_or(1500));
        // Where what a VM sends and what it gets come and go.
        let (from, to) = match bench.scenario {
            Scenario::NvgreEncap | Scenario::Routed => ("br-int", "br-phy"),
            Scenario::NvgreDecap => ("br-phy", "br-int"),
            Scenario::Rewrite | Scenario::Local | Scenario::Drop | Scenario::L2 => {
                ("br-int", "br-int")
            }
        };
        let hwaddr = format!("other_config:hwaddr=\"{}\"", mac_text(PROVIDER_MAC));
        vsctl(
            &home,
            true,
            &[
                "add-br",
                "br-phy",
                "--",
                "set",
                "bridge",
                "br-phy",
                "datapath_type=netdev",
                &hwaddr,
            ],
        )?;
        vsctl(
            &home,
            true,
            &[
                "add-br",
                "br-int",
                "--",
                "set",
                "bridge",
                "br-int",
                "datapath_type=netdev",
            ],
        )?;
        vsctl(
            &home,
            true,
            &[
                "add-port",
                to,
                "sink",
                "--",
                "set",
                "interface",
                "sink",
                "type=dpdk",
                &sink,
                &mtu,
            ],
        )?;
        let gre = ["type=gre", "options:remote_ip=flow", "options:key=flow"];
        vsctl(
            &home,
            true,
            &[
                &[
                    "add-port",
                    "br-int",
                    "gre0",
                    "--",
                    "set",
                    "interface",
                    "gre0",
                ][..],
                &gre,
            ]
            .concat(),
        )?;

        let process = self.daemon.id().to_string();
        let (address, length) = PROVIDER;
        let inside = ["-t", &process, "-n", "ip"];
        let address = format!("{address}/{length}");
        run(Command::new("nsenter")
            .args(inside)
            .args(["addr", "add", &address, "dev", "br-phy"]))?;
        run(Command::new("nsenter")
            .args(inside)
            .args(["link", "set", "br-phy", "up"]))?;
        for host in bench.load.hosts() {
            let (pa, mac) = (host.pa.to_string(), mac_text(host.mac));
            self.ask("tnl/neigh/set", &["br-phy", &pa, &mac])?;
        }

        let (file, bridge) = (home.join("flows"), home.join("br-int.mgmt"));
        process::write(&file, flow_file(bench))?;
        run(at_home(
            Command::new("ovs-ofctl").arg("del-flows").arg(&bridge),
            &home,
        ))?;
        run(at_home(
            Command::new("ovs-ofctl")
                .arg("add-flows")
                .args([&bridge, &file]),
            &home,
        ))?;
        Ok(from)
    }

    /// The source, which comes last: until then nothing is missed.
    fn plug(&self, bench: &Bench, from: &str) -> Result<(), Halt> {
        let source = format!("options:dpdk-devargs=\"{}\"", bench.source());
        vsctl(
            &self.home,
            true,
            &[
                "add-port",
                from,
                "source",
                "--",
                "set",
                "interface",
                "source",
                "type=dpdk",
                &source,
            ],
        )
    }

    /// Waits until every mapping has its datapath flow: what is measured afterwards is the path, not the upcalls.
    fn learn(&mut self, bench: &Bench) -> Result<(), Halt> {
        let (control, core) = (self.control.clone(), self.core);
        let wanted = self.wanted;
        let what = format!("has not {wanted} datapath flows that every packet finds");
        let mut missed = None;
        self.daemon.wait_for(bench.stop, LEARNS_WITHIN, &what, || {
            std::thread::sleep(ASKED_EVERY);
            let show = ask(&control, "dpctl/show", &[DATAPATH]).ok();
            let stats = ask(&control, "dpif-netdev/pmd-stats-show", &[]).ok();
            let now = stats.and_then(|stats| worker_misses(&stats, core));
            let quiet = wanted == 1 || missed == now;
            missed = now;
            let known = show.as_deref().and_then(flows);
            Ok(known.filter(|count| *count >= wanted && quiet))
        })?;
        let calm = format!("other_config:max-revalidator={CALM}");
        vsctl(&self.home, true, &["set", "Open_vSwitch", ".", &calm])?;
        if bench.scenario != Scenario::NvgreEncap || self.end != End::Uplink {
            return Ok(());
        }
        let (from, to) = (bench.load.source(), bench.load.remote(bench.scenario, 0));
        let packet = format!(
            "in_port=source,udp,dl_src={},dl_dst={},nw_src={},nw_dst={}",
            mac_text(from.mac),
            mac_text(to.mac),
            from.ca,
            to.ca
        );
        let trace = self.ask("ofproto/trace", &["br-int", &packet])?;
        if !trace.contains("tnl_push(") {
            return Err(self.trouble(&format!("pushes no tunnel header: {}", trace.trim())));
        }
        Ok(())
    }

    fn ask(&self, method: &str, arguments: &[&str]) -> Result<String, Halt> {
        ask(&self.control, method, arguments).map_err(|error| self.trouble(&error.to_string()))
    }

    /// A fault of one of its tools, with the end of the daemon's log.
    fn with_log(&self, halt: Halt) -> Halt {
        match halt {
            Halt::Failed(fault) => self.trouble(&format!(
                "{}: {} ({})",
                fault.object, fault.problem, fault.mend
            )),
            signal => signal,
        }
    }
}

impl Running for Switch {
    fn set(&mut self, setting: &str) -> Result<(), Halt> {
        let Some((_, emc, smc)) = SETTINGS.iter().find(|(name, ..)| *name == setting) else {
            return Err(self.trouble(&format!("has no setting {setting}")));
        };
        let emc = format!("other_config:emc-insert-inv-prob={emc}");
        let smc = format!("other_config:smc-enable={smc}");
        vsctl(&self.home, true, &["set", "Open_vSwitch", ".", &emc, &smc])?;
        self.stop.check()
    }

    fn process(&self) -> u32 {
        self.daemon.id()
    }

    fn read(&mut self) -> Result<Reading, Halt> {
        let asked = Instant::now();
        let show = self.ask("dpctl/show", &["-s", DATAPATH])?;
        let at = asked + asked.elapsed() / 2;
        let stats = self.ask("dpif-netdev/pmd-stats-show", &[])?;
        let (Some((sent, _)), Some((_, received))) =
            (port_packets(&show, "sink"), port_packets(&show, "source"))
        else {
            return Err(self.trouble(&format!("shows no counters of its ports: {show}")));
        };
        let missed = worker_misses(&stats, self.core).unwrap_or(0);
        self.missed = [missed, self.missed[0]];
        // What is dropped is what comes.
        let sent = if self.end == End::Dropped {
            received
        } else {
            sent
        };
        Ok(Reading {
            at,
            sent,
            received: Some(received),
            bytes: None,
            own: worker_cycles(&stats, self.core),
        })
    }

    /// What is measured is the path, not the upcalls: every packet of the window has found its datapath flow.
    fn judge(&mut self, _: &Sample) -> Result<(), Halt> {
        let [now, before] = self.missed;
        if self.wanted > 1 && now > before {
            let missed = now - before;
            return Err(self.trouble(&format!("had no datapath flow for {missed} packets")));
        }
        Ok(())
    }

    fn trouble(&self, problem: &str) -> Halt {
        self.daemon.trouble(problem)
    }
}
