//! Weir itself: `weir run`, this very program, on a host.toml and a policy.toml as a person would write them.

use super::{Ask, Bench, IDLE, Running, Subject};
use crate::halt::Halt;
use crate::process::{self, Process, tied};
use crate::scenario::{End, Scenario};
use crate::window::{Reading, Sample};
use crate::workload::{PREFIXES, PROVIDER, VSIDS, Vm, mac_text};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the daemon may take until it has applied the policy, which may be of millions.
const STARTS_WITHIN: Duration = Duration::from_secs(600);
/// How far two counters may be apart that are not read at the very same moment: the thread that reads may lose its core between them.
const APART: f64 = 0.05;

/// Weir.
pub struct Weir {
    program: PathBuf,
}

impl Weir {
    /// This program's own file.
    pub fn new(program: PathBuf) -> Weir {
        Weir { program }
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
        let host = bench.folder.join("host.toml");
        process::write(&host, host_toml(bench))?;
        process::write(&bench.folder.join("policy.toml"), policy_toml(bench))?;
        let mut command = tied(&self.program, ["run", "--host"]);
        command.arg(&host).env("RUNTIME_DIRECTORY", bench.folder);
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WEIR_SOCKET");
        let mut process = Process::start("weir", &mut command, bench.folder)?;
        let socket = bench.folder.join("weir.sock");
        let refused = process.wait_for(
            bench.stop,
            STARTS_WITHIN,
            "the policy is not applied",
            || {
                let Ok(status) = bench.ask.status(&socket) else {
                    return Ok(None);
                };
                let applied = status.revision > 0 && status.peers == status.peers_resolved;
                Ok(if applied || !status.errors.is_empty() {
                    Some(status.errors)
                } else {
                    None
                })
            },
        )?;
        if let Some(error) = refused.first() {
            return Err(process.trouble(&error.to_string()));
        }
        Ok(Box::new(Daemon {
            process,
            socket,
            ask: bench.ask,
            scenario: bench.scenario,
            end: bench.scenario.end(&bench.load),
            bytes: bench.scenario.bytes_out(&bench.load),
            dropped: [0; 2],
        }))
    }
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
    format!(
        "name = \"rig\"\nsocket = \"weir.sock\"\n\n\
         [dataplane]\nworkers = [{core}]\nhugepages = \"{hugepages}\"\nidle = \"poll\"\nmbufs = {}\n\n\
         [[uplink]]\nname = \"up0\"\ndevice = \"{device}\"\nprovider_addresses = [\"{address}/{length}\"]\n{mtu}\
         neighbors = {{ {} }}\n\n\
         [store]\nkind = \"file\"\npath = \"policy.toml\"\n",
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
            let _ = writeln!(text, "attach = \"{attach}\"");
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
struct Daemon<'a> {
    process: Process,
    socket: PathBuf,
    ask: &'a dyn Ask,
    scenario: Scenario,
    end: End,
    /// What packets must have in the mean where they end.
    bytes: Option<f64>,
    /// Packets dropped by the last reading, and by the one before.
    dropped: [u64; 2],
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

    /// Every packet ends where it must, with as many bytes as it must have there.
    fn judge(&mut self, sample: &Sample) -> Result<(), Halt> {
        let lost = match self.end {
            End::Dropped => sample.lost.is_some_and(|lost| lost > APART),
            _ => self.dropped[0] != self.dropped[1],
        };
        if lost {
            let drops = self.ask.drops(&self.socket).unwrap_or_default();
            let drops: Vec<String> = drops
                .iter()
                .map(|row| format!("{} {}", row.packets, row.reason))
                .collect();
            return Err(self.trouble(&format!(
                "loses packets; drops since it started: {}",
                drops.join(", ")
            )));
        }
        match (sample.bytes, self.bytes) {
            (Some(bytes), Some(wanted)) if (bytes / wanted - 1.0).abs() > APART => Err(self
                .trouble(&format!(
                    "sends {bytes:.1} bytes a packet and not {wanted:.1}"
                ))),
            _ => Ok(()),
        }
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
mod tests {
    use super::*;
    use crate::halt::Stop;
    use crate::subject::Ends;
    use crate::workload::{Frame, Workload};
    use std::path::Path;
    use weir_agent::config::host::HostConfig;
    use weir_agent::policy::Policy;
    use weir_agent::stats::{DropRow, Stats, Status};

    struct Nobody;

    impl Ask for Nobody {
        fn status(&self, _: &Path) -> Result<Status, String> {
            Err("nobody".into())
        }
        fn stats(&self, _: &Path) -> Result<Stats, String> {
            Err("nobody".into())
        }
        fn drops(&self, _: &Path) -> Result<Vec<DropRow>, String> {
            Err("nobody".into())
        }
    }

    #[test]
    fn the_files_are_what_the_daemon_takes() {
        let scenarios = Scenario::ALL.into_iter().filter(|it| *it != Scenario::L2);
        for (scenario, (frame, mappings)) in
            scenarios.flat_map(|it| [(it, (64, 1000)), (it, (1518, 20_000))])
        {
            let bench = Bench {
                scenario,
                load: Workload {
                    mappings,
                    frame: Frame::Bytes(frame),
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
            let policy =
                Policy::parse_for_host(&policy_toml(&bench), "policy.toml", &host).unwrap();
            let here = 1 + usize::from(scenario == Scenario::Local);
            assert_eq!(policy.vnics.len(), here + mappings as usize);
        }
    }
}
