//! Weir itself: `weir run`, this very program, on a host.toml and a policy.toml as a person would write them.

use super::{Ask, Bench, Running, SINK, Subject};
use crate::halt::Halt;
use crate::process::{self, Process, tied};
use crate::scenario::{NVGRE_BYTES, PREFIX, PROVIDER, VSID, mac_text};
use crate::window::{Reading, Sample};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the daemon may take until it has applied the policy.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// The share of packets that may be missing between two counters that are not read at the very same moment.
const LOST: f64 = 0.001;

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
    fn settings(&self) -> &'static [&'static str] {
        &["weir"]
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
        let bytes = u64::from(bench.load.wire_bytes()) + NVGRE_BYTES;
        Ok(Box::new(Daemon {
            process,
            socket,
            ask: bench.ask,
            bytes,
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
    format!(
        "name = \"rig\"\nsocket = \"weir.sock\"\n\n\
         [dataplane]\nworkers = [{core}]\nhugepages = \"{hugepages}\"\nidle = \"poll\"\nmbufs = {}\n\n\
         [[uplink]]\nname = \"up0\"\ndevice = \"{SINK}\"\nprovider_addresses = [\"{address}/{length}\"]\n{mtu}\
         neighbors = {{ {} }}\n\n\
         [store]\nkind = \"file\"\npath = \"policy.toml\"\n",
        bench.mbufs(),
        neighbors.join(", "),
    )
}

/// policy.toml: one tenant, one vNIC here, the others elsewhere.
pub fn policy_toml(bench: &Bench) -> String {
    let load = &bench.load;
    let mut text = String::new();
    for (number, host) in load.hosts().enumerate() {
        let _ = writeln!(
            text,
            "[[host]]\nname = \"h{number}\"\nprovider_addresses = [\"{}\"]\n",
            host.pa
        );
    }
    let _ = writeln!(
        text,
        "[[vm_network]]\nname = \"rig\"\nisolation = \"nv\"\n\n\
         [[vm_network.subnet]]\nname = \"rig\"\nvsid = {VSID}\nprefixes = [\"{PREFIX}\"]\n"
    );
    let mut vnic = |name: &str, host: &str, vm: crate::scenario::Vm| {
        let (mac, ca) = (mac_text(vm.mac), vm.ca);
        let _ = writeln!(
            text,
            "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"rig\"\nmac = \"{mac}\"\naddresses = [\"{ca}\"]"
        );
        if host == "rig" {
            let _ = writeln!(text, "attach = \"{}\"", bench.source());
        }
        text.push('\n');
    };
    vnic("source", "rig", load.source());
    for number in 0..load.mappings {
        vnic(
            &format!("v{number}"),
            &format!("h{}", load.host_of(number)),
            load.remote(number),
        );
    }
    text
}

/// A daemon that runs, and the way to ask it.
struct Daemon<'a> {
    process: Process,
    socket: PathBuf,
    ask: &'a dyn Ask,
    /// What each packet must have at the sink.
    bytes: u64,
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
        let parts = (
            stats.workers.first(),
            stats.vnics.first(),
            stats.uplinks.first(),
        );
        let (Some(worker), Some(vnic), Some(uplink)) = parts else {
            return Err(self.trouble("shows no worker, no vNIC or no uplink"));
        };
        Ok(Reading {
            at,
            sent: uplink.tx_packets,
            received: Some(vnic.rx_packets),
            bytes: Some(uplink.tx_bytes),
            own: Some((worker.rx_packets, worker.busy_cycles)),
        })
    }

    /// Every packet leaves, and in NVGRE.
    fn judge(&mut self, sample: &Sample) -> Result<(), Halt> {
        if sample.lost.is_some_and(|lost| lost > LOST) {
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
        match sample.bytes {
            // Packets that were counted between the counters of packets and of bytes move the mean a little.
            Some(bytes) if (bytes - self.bytes as f64).abs() > 1.0 => Err(self.trouble(&format!(
                "sends {bytes:.1} bytes a packet and not {}",
                self.bytes
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
    use crate::scenario::{Scenario, Workload};
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
        for (frame, mappings) in [(64, 1000), (1518, 100_000)] {
            let bench = Bench {
                scenario: Scenario::NvgreEncap,
                load: Workload { mappings, frame },
                core: 1,
                helper: 0,
                huge: true,
                folder: Path::new("/tmp"),
                pcap: Path::new("/tmp/frames.pcap"),
                stop: &Stop::default(),
                ask: &Nobody,
            };
            let host =
                HostConfig::parse(&host_toml(&bench), "host.toml", Path::new("/tmp"), &[0, 1])
                    .unwrap();
            let policy =
                Policy::parse_for_host(&policy_toml(&bench), "policy.toml", &host).unwrap();
            assert_eq!(policy.vnics.len(), 1 + mappings as usize);
        }
    }
}
