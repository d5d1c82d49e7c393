//! Weir itself: `weir run`, this very program, on a host.toml and a policy.toml as a person would write them.

use super::agreement::{Counts, agree};
use super::{Ask, Bench, IDLE, Running, Settled, Subject};
use crate::halt::{Halt, Stop};
use crate::netns;
use crate::process::{self, Process, tied};
use crate::scenario::{End, Scenario};
use crate::window::{Reading, Sample};
use crate::workload::{PREFIXES, PROVIDER, VSIDS, Vm, Workload, mac_text};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use weir_agent::config::fields::Name;
use weir_agent::config::host::HostConfig;
use weir_agent::config::spans::Line;
use weir_agent::last_good::keeper;
use weir_agent::measure::{MeasureWish, Measured, WorkerMeasured};
use weir_agent::policy::vnic_set::Builder;
use weir_agent::policy::{Bandwidth, Iov, Policy, Vnic};
use weir_agent::stats::{ChurnReport, ChurnWish, PolicyError, Status};
use weir_agent::store::Mark;
use weir_wire::Mac;

/// How long the daemon may take until it has applied the policy, which may be of millions.
const STARTS_WITHIN: Duration = Duration::from_secs(600);
/// How long it may take until everything that was on its way has come to its end.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);

/// The daemon's socket and its last good state, in the bench's folder.
const SOCKET: &str = "weir.sock";
const STATE: &str = "rig.state";

/// Weir.
pub struct Weir {
    program: PathBuf,
    /// Whether its workers sleep when nothing comes.
    adaptive: bool,
    /// The network namespace that it runs in, if not the rig's own.
    within: Option<String>,
}

impl Weir {
    /// This program's own file.
    pub fn new(program: PathBuf) -> Weir {
        Weir {
            program,
            adaptive: false,
            within: None,
        }
    }

    /// One in a network namespace.
    pub(crate) fn within(self, namespace: &str) -> Weir {
        let within = Some(namespace.to_string());
        Weir { within, ..self }
    }

    /// One whose workers sleep when nothing comes; else they poll.
    pub fn adaptive(self) -> Weir {
        let adaptive = true;
        Weir { adaptive, ..self }
    }
}

impl Subject for Weir {
    fn settings(&self) -> Vec<String> {
        vec!["weir".to_string()]
    }

    fn find(&mut self) -> Result<(), Halt> {
        Ok(())
    }

    fn start<'a>(&self, bench: &Bench<'a>) -> Result<Box<dyn Running + 'a>, Halt> {
        Ok(Box::new(self.launch(bench)?))
    }
}

impl Weir {
    /// Starts a daemon, and waits until the policy is applied.
    pub(crate) fn launch<'a>(&self, bench: &Bench<'a>) -> Result<Daemon<'a>, Halt> {
        process::write(&bench.folder.join("policy.toml"), policy_toml(bench))?;
        // Of another start in the same folder.
        let _ = std::fs::remove_file(bench.folder.join(STATE));
        let (process, status) = self.begin(bench)?;
        match status.errors.first() {
            Some(error) => Err(process.trouble(&error.to_string())),
            None => daemon(process, bench),
        }
    }

    /// Writes the last good state that a daemon would have in which this was applied, and no policy.toml. Not of a scenario whose
    /// packets are rewritten.
    pub fn keep(&self, bench: &Bench<'_>) -> Result<(), Halt> {
        let refused = |errors: Vec<PolicyError>| {
            let first = errors.first().map(ToString::to_string);
            Halt::failed("the rig's own files", first.unwrap_or_default(), "")
        };
        // As the daemon sees it, from where it is.
        let at = bench.folder.join("host.toml");
        process::write(&at, host_toml(bench))?;
        let host = HostConfig::load(&at).map_err(refused)?;
        let few = Bench {
            load: Workload {
                mappings: 1,
                ..bench.load
            },
            ..*bench
        };
        // What is read again is what a person would write, but for the many.
        let text = policy_toml(&few).replace(&few.source(), &bench.source());
        let mut policy = Policy::parse_for_host(&text, "policy.toml", &host).map_err(refused)?;
        let mut all = Builder::default();
        all.reserve(bench.load.mappings as usize);
        for vnic in policy.vnics.iter() {
            all.push(vnic.to_vnic());
        }
        let subnet = bench.scenario.subnets() - 1;
        let (subnet, network) = (format!("s{subnet}").into(), "rig".into());
        let hosts: Vec<Name> = policy.hosts.keys().cloned().collect();
        for number in 1..bench.load.mappings {
            let vm = bench.load.remote(bench.scenario, number);
            let line = Line(number);
            let host = format!("h{}", bench.load.host_of(number));
            let host = hosts.iter().find(|it| ***it == *host).cloned();
            all.push(Vnic {
                name: format!("v{number}").into(),
                host: host.unwrap_or_default(),
                subnet: Name::clone(&subnet),
                network: Name::clone(&network),
                mac: Mac::new(vm.mac),
                addresses: vec![vm.ca.into()],
                attach: None,
                provider_addresses: Vec::new(),
                mtu: None,
                allowed_sources: Vec::new(),
                allowed_macs: Vec::new(),
                bandwidth: Bandwidth::default(),
                management: false,
                iov: Iov::Software,
                line,
                attach_line: line,
            });
        }
        policy.vnics = all.finish();
        let path = bench.folder.join(STATE);
        let written = keeper::write(&path, &host, &policy, &Mark::default());
        written.map_err(|error| Halt::io(path.display(), &error))
    }

    /// Starts it from what [`Weir::keep`] wrote, with no store to be found.
    pub fn start_kept<'a>(&self, bench: &Bench<'a>) -> Result<Box<dyn Running + 'a>, Halt> {
        let (process, status) = self.begin(bench)?;
        match status.last_good {
            Some(last) if last.in_use => Ok(Box::new(daemon(process, bench)?)),
            _ => Err(process.trouble("did not come up from its last good state")),
        }
    }

    /// Starts a daemon and waits until it has a policy or says why not.
    fn begin(&self, bench: &Bench<'_>) -> Result<(Process, Status), Halt> {
        let mut text = host_toml(bench);
        if self.adaptive {
            text = text.replace("idle = \"poll\"", "idle = \"adaptive\"");
        }
        self.run(bench.folder, text, bench.stop, bench.ask)
    }

    /// The socket of a daemon in this folder.
    pub(crate) fn socket(folder: &Path) -> PathBuf {
        folder.join(SOCKET)
    }

    /// Starts a daemon on this host.toml in a folder and waits until it has a policy or says why not.
    pub(crate) fn run(
        &self,
        folder: &Path,
        host_toml: String,
        stop: &Stop,
        ask: &dyn Ask,
    ) -> Result<(Process, Status), Halt> {
        let host = folder.join("host.toml");
        process::write(&host, host_toml)?;
        let mut command = match &self.within {
            Some(namespace) => netns::inside(namespace, &self.program, ["run", "--host"]),
            None => tied(&self.program, ["run", "--host"]),
        };
        command.arg(&host).env("RUNTIME_DIRECTORY", folder);
        command.env("STATE_DIRECTORY", folder);
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WEIR_SOCKET");
        let mut process = Process::start("weir", &mut command, folder)?;
        let socket = Weir::socket(folder);
        let status = process.wait_for(stop, STARTS_WITHIN, "the policy is not applied", || {
            let Ok(status) = ask.status(&socket) else {
                return Ok(None);
            };
            let applied = status.revision > 0 && status.peers == status.peers_resolved;
            Ok((applied || status.revision == 0 && !status.errors.is_empty()).then_some(status))
        })?;
        Ok((process, status))
    }
}

/// A daemon that has its policy.
fn daemon<'a>(process: Process, bench: &Bench<'a>) -> Result<Daemon<'a>, Halt> {
    let socket = bench.folder.join(SOCKET);
    // The source gives packets as soon as it is opened, some of them before their mappings are there.
    let early = bench
        .ask
        .stats(&socket)
        .map_err(|why| process.trouble(&why))?;
    let early = early.workers.iter().map(|worker| worker.dropped).sum();
    Ok(Daemon {
        early,
        process,
        socket,
        ask: bench.ask,
        scenario: bench.scenario,
        end: bench.scenario.end(&bench.load),
        bytes: bench.scenario.bytes_out(&bench.load),
        dropped: [0; 2],
        stop: bench.stop.clone(),
        devices: [bench.source(), bench.sink()],
    })
}

/// host.toml of the host that is measured.
pub fn host_toml(bench: &Bench) -> String {
    let Bench { core, .. } = bench;
    let hugepages = if bench.huge { "auto" } else { "none" };
    let (address, length) = PROVIDER;
    let neighbors: Vec<String> = bench
        .load
        .hosts()
        .map(|host| format!("\"{}\" = \"{}\"", host.pa, mac_text(host.mac)))
        .collect();
    let mtu = bench
        .sink_mtu()
        .map(|mtu| format!("mtu = {mtu}\n"))
        .unwrap_or_default();
    let device = match bench.scenario {
        scenario if scenario.is_from_wire() => bench.source(),
        Scenario::Local => IDLE.to_string(),
        _ => bench.sink(),
    };
    let churn = match bench.load.updates {
        0 => "",
        _ => "\n[rig]\nchurn = true\n",
    };
    format!(
        "name = \"rig\"\nsocket = \"weir.sock\"\n\n\
         [dataplane]\nworkers = [{core}]\nhugepages = \"{hugepages}\"\nidle = \"poll\"\nmbufs = {}\n\n\
         [[uplink]]\nname = \"up0\"\ndevice = \"{device}\"\nprovider_addresses = [\"{address}/{length}\"]\n{mtu}\
         neighbors = {{ {} }}\n\n\
         [store]\nkind = \"file\"\npath = \"policy.toml\"\n{churn}",
        bench.mbufs(),
        neighbors.join(", "),
    )
}

/// policy.toml: one tenant, one or two vNICs here, the others elsewhere.
pub fn policy_toml(bench: &Bench) -> String {
    let (load, scenario) = (&bench.load, bench.scenario);
    let mut text = String::new();
    for (number, host) in load.hosts().enumerate() {
        let _ = writeln!(
            text,
            "[[host]]\nname = \"h{number}\"\nprovider_addresses = [\"{}\"]\n",
            host.pa
        );
    }
    let isolation = if scenario == Scenario::L2 {
        "none"
    } else {
        "nv"
    };
    let _ = writeln!(
        text,
        "[[vm_network]]\nname = \"rig\"\nisolation = \"{isolation}\"\n"
    );
    for (number, (vsid, prefix)) in (0..scenario.subnets()).zip(VSIDS.iter().zip(PREFIXES)) {
        let vsid = match scenario {
            Scenario::L2 => String::new(),
            Scenario::Rewrite => format!("vsid = {vsid}\ntranslation = \"rewrite\"\n"),
            _ => format!("vsid = {vsid}\n"),
        };
        let _ = writeln!(
            text,
            "[[vm_network.subnet]]\nname = \"s{number}\"\n{vsid}prefixes = [\"{prefix}\"]\n"
        );
    }
    let mut vnic = |name: &str, host: &str, subnet: usize, vm: Vm, attach: &str| {
        let (mac, ca) = (mac_text(vm.mac), vm.ca);
        let _ = writeln!(
            text,
            "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"s{subnet}\"\nmac = \"{mac}\"\naddresses = [\"{ca}\"]"
        );
        if scenario == Scenario::Rewrite {
            let pa = load.rewritten(ca);
            let _ = writeln!(text, "provider_addresses = [\"{pa}\"]");
        }
        if !attach.is_empty() {
            // A maximum that nobody reaches is asked about for each batch like any other.
            let maximum = "bandwidth = { max = \"400Gbit\" }";
            let _ = writeln!(text, "attach = \"{attach}\"\n{maximum}");
        }
        text.push('\n');
    };
    if scenario.is_from_wire() {
        vnic("sink", "rig", 0, load.source(), &bench.sink());
    } else {
        vnic("source", "rig", 0, load.source(), &bench.source());
    }
    if scenario == Scenario::Local {
        vnic("sink", "rig", 0, load.near(), &bench.sink());
    }
    for number in 0..load.mappings {
        vnic(
            &format!("v{number}"),
            &format!("h{}", load.host_of(number)),
            scenario.subnets() - 1,
            load.remote(scenario, number),
            "",
        );
    }
    text
}

/// A daemon that runs, and the way to ask it.
pub(crate) struct Daemon<'a> {
    process: Process,
    socket: PathBuf,
    ask: &'a dyn Ask,
    scenario: Scenario,
    end: End,
    /// What packets must have in the mean where they end.
    bytes: Option<f64>,
    /// Packets dropped by the last reading, and by the one before.
    dropped: [u64; 2],
    stop: Stop,
    /// Packets dropped before the policy was applied.
    early: u64,
    /// The source's and the sink's.
    devices: [String; 2],
}

impl Daemon<'_> {
    fn measure(&self, wish: MeasureWish) -> Result<Measured, Halt> {
        let measured = self.ask.measure(&self.socket, wish);
        measured.map_err(|why| self.process.trouble(&why))
    }

    /// Has the workers measure what each stage costs, from zero; or end it. What they have measured.
    pub(crate) fn measure_stages(&self, on: bool) -> Result<Vec<WorkerMeasured>, Halt> {
        let stages = Some(on);
        let rest = None;
        Ok(self.measure(MeasureWish { rest, stages })?.workers)
    }
}

impl Running for Daemon<'_> {
    fn process(&self) -> u32 {
        self.process.id()
    }

    fn read(&mut self) -> Result<Reading, Halt> {
        let asked = Instant::now();
        let stats = self
            .ask
            .stats(&self.socket)
            .map_err(|why| self.process.trouble(&why))?;
        let at = asked + asked.elapsed() / 2;
        let vnic = |name: &str| stats.vnics.iter().find(|vnic| vnic.vnic == name);
        let (Some(worker), Some(uplink)) = (stats.workers.first(), stats.uplinks.first()) else {
            return Err(self.trouble("shows no worker or no uplink"));
        };
        self.dropped = [worker.dropped, self.dropped[0]];
        let received = match self.scenario.is_from_wire() {
            true => Some(uplink.rx_packets),
            false => vnic("source").map(|vnic| vnic.rx_packets),
        };
        let sent = match self.end {
            End::Uplink => Some((uplink.tx_packets, Some(uplink.tx_bytes))),
            End::Vnic => vnic("sink").map(|vnic| (vnic.tx_packets, Some(vnic.tx_bytes))),
            End::Dropped => Some((worker.dropped, None)),
        };
        let Some((sent, bytes)) = sent else {
            return Err(self.trouble("does not show the vNIC"));
        };
        Ok(Reading {
            at,
            sent,
            received,
            bytes,
            own: Some((worker.rx_packets, worker.busy_cycles)),
        })
    }

    fn begin_updates(&mut self, rate: u32, most: Duration) -> Result<(), Halt> {
        let wish = ChurnWish {
            rate: rate.into(),
            seconds: most.as_secs_f64(),
        };
        let begun = self.ask.begin_churn(&self.socket, wish);
        begun.map(drop).map_err(|why| self.trouble(&why))
    }

    fn end_updates(&mut self) -> Result<ChurnReport, Halt> {
        let ended = self.ask.end_churn(&self.socket);
        ended.map_err(|why| self.trouble(&why))
    }

    fn allocator_calls(&mut self) -> Result<Option<u64>, Halt> {
        let measured = self.measure(MeasureWish::default())?;
        let calls = measured.workers.iter().map(|it| it.allocator_calls);
        Ok(Some(calls.sum()))
    }

    /// Workers receive no more; when nothing is on its way, devices and Weir must have counted the same.
    fn settle(&mut self) -> Result<Settled, Halt> {
        let wish = MeasureWish {
            rest: Some(true),
            ..MeasureWish::default()
        };
        self.measure(wish)?;
        let (ask, socket) = (self.ask, self.socket.clone());
        let what = "packets are still on their way";
        let stats = self
            .process
            .wait_for(&self.stop, SETTLES_WITHIN, what, || {
                let stats = ask.stats(&socket).ok();
                Ok(stats.filter(|stats| stats.workers.iter().all(|worker| worker.queued == 0)))
            })?;
        let measured = self.measure(MeasureWish::default())?;
        let counts = Counts::of(
            &stats,
            &measured,
            self.scenario.is_from_wire(),
            self.end,
            &self.devices,
            self.bytes,
        );
        let lost = agree(&counts).map_err(|why| self.trouble(&why))?;
        let tables = measured.tables.iter().map(|table| table.bytes);
        Ok(Settled {
            lost: (self.end != End::Dropped).then_some(lost - self.early.min(lost)),
            table_bytes: Some(tables.sum()),
        })
    }

    /// Nothing is dropped that must not be. What else it promises of its packets is judged at the end, when counts stand still.
    fn judge(&mut self, _: &Sample) -> Result<(), Halt> {
        if self.end == End::Dropped || self.dropped[0] == self.dropped[1] {
            return Ok(());
        }
        let drops = self.ask.drops(&self.socket).unwrap_or_default();
        let drops: Vec<String> = drops
            .iter()
            .map(|row| format!("{} {}", row.packets, row.reason))
            .collect();
        Err(self.trouble(&format!(
            "loses packets; drops since it started: {}",
            drops.join(", ")
        )))
    }

    fn trouble(&self, problem: &str) -> Halt {
        self.process.trouble(problem)
    }

    fn stop(mut self: Box<Self>) -> Result<(), Halt> {
        match self.process.end() {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.trouble(&format!("ended with {status} after SIGTERM"))),
            None => Err(self.trouble("did not end after SIGTERM")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::subject::Ends;
    use crate::workload::{Frame, Workload};
    use weir_agent::config::host::HostConfig;
    use weir_agent::measure::{MeasureWish, Measured};
    use weir_agent::policy::Policy;
    use weir_agent::stats::{ChurnReport, ChurnWish, DropRow, Stats, Status};
    use weir_agent::traffic::{TrafficReport, TrafficWish};

    pub(crate) struct Nobody;

    impl Ask for Nobody {
        fn status(&self, _: &Path) -> Result<Status, String> {
            Err("nobody".into())
        }
        fn stats(&self, _: &Path) -> Result<Stats, String> {
            Err("nobody".into())
        }
        fn measure(&self, _: &Path, _: MeasureWish) -> Result<Measured, String> {
            Err("nobody".into())
        }
        fn drops(&self, _: &Path) -> Result<Vec<DropRow>, String> {
            Err("nobody".into())
        }
        fn begin_churn(&self, _: &Path, _: ChurnWish) -> Result<ChurnReport, String> {
            Err("nobody".into())
        }
        fn end_churn(&self, _: &Path) -> Result<ChurnReport, String> {
            Err("nobody".into())
        }
        fn traffic(&self, _: &Path, _: &TrafficWish) -> Result<TrafficReport, String> {
            Err("nobody".into())
        }
        fn traffic_log(&self, _: &Path) -> Result<Vec<u8>, String> {
            Err("nobody".into())
        }
    }

    #[test]
    fn the_files_are_what_the_daemon_takes() {
        let scenarios = Scenario::ALL.into_iter().filter(|it| *it != Scenario::L2);
        for (scenario, (frame, mappings, updates)) in
            scenarios.flat_map(|it| [(it, (64, 1000, 0)), (it, (1518, 20_000, 1))])
        {
            let bench = Bench {
                scenario,
                load: Workload {
                    mappings,
                    frame: Frame::Bytes(frame),
                    updates,
                    ..Workload::default()
                },
                core: 1,
                helper: 0,
                huge: true,
                folder: Path::new("/tmp"),
                ends: Ends::Alone {
                    pcap: Path::new("/tmp/frames.pcap"),
                },
                stop: &Stop::default(),
                ask: &Nobody,
            };
            let host =
                HostConfig::parse(&host_toml(&bench), "host.toml", Path::new("/tmp"), &[0, 1])
                    .unwrap();
            assert_eq!(host.rig.churn, updates > 0);
            let policy =
                Policy::parse_for_host(&policy_toml(&bench), "policy.toml", &host).unwrap();
            let here = 1 + usize::from(scenario == Scenario::Local);
            assert_eq!(policy.vnics.len(), here + mappings as usize);
        }
    }
}
