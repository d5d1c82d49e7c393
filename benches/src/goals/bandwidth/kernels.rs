//! Two VMs with kernels of their own, in network namespaces, on one host of Weir: TCP through a vNIC's maximum, as iperf3 sees it, and how
//! long its packets wait for that maximum.
//!
//! Nothing is tuned: the kernels' own buffers and windows, cubic because the goals say so, ECN asked for where it is measured. The
//! host is `weir run` with packet sockets on veths, as on a machine without a NIC for DPDK.

mod waits;

use super::rounds;
use crate::bandwidth::stand::Around;
use crate::halt::Halt;
use crate::netns::{self, Namespaces};
use crate::process::{self, Process};
use crate::rounds::Watcher;
use crate::subject::IDLE;
use crate::subject::weir::Weir;
use crate::workload::PROVIDER;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Maxima in Mbit/s. Those above a gigabit are looked at only where the veth carries [`SPARE`] times as much without any.
const MAXIMA: [u64; 6] = [10, 100, 1_000, 2_000, 5_000, 10_000];
const ALWAYS: u64 = 1_000;
const SPARE: f64 = 1.5;
/// Seconds of a connection: what iperf3 takes if it is told nothing. Its first ten packets, which a kernel sends at once, are 12 ms of 10 Mbit/s
/// whatever is marked; of ten seconds they and slow start are less than the hundredth part that a 99th percentile leaves out.
const SECONDS: u64 = 10;
/// From which wait on packets are marked, in seconds, as the switch has it.
const THRESHOLD: f64 = 0.005;
/// How long the daemon may take until it has a policy that it is told.
const APPLIES_WITHIN: Duration = Duration::from_secs(10);
/// What the program that receives is called, and how long it may take until it does.
const SERVER: &str = "iperf3-server";
const LISTENS_WITHIN: Duration = Duration::from_secs(10);
/// Packets of a connection of which the wait is looked at, more or less: 1 in a power of two of them.
const LOOKED_AT: u64 = 5_000;
/// The least that a percentile of is worth anything.
const FEWEST: usize = 1_000;

/// Name, MAC and address of the VM that sends and of the one that it sends to.
const VMS: [(&str, &str, &str); 2] = [
    ("a", "02:00:00:00:01:01", "10.1.0.11"),
    ("b", "02:00:00:00:01:02", "10.1.0.12"),
];
/// What `chrt` makes of iperf3, whatever the rig's own priority is: it spins, and at the rig's would keep the kernel's threads and its own
/// other end from that core.
const ORDINARY: [&str; 2] = ["--other", "0"];
/// Slots of a packet socket's ring: a worker may have to wait for its core.
const RING: u32 = 4096;
/// Mbufs: 50 ms of 10 Gbit/s are no more than what one vNIC may have waiting of half of them.
const MBUFS: u32 = 65_535;

/// The goodput of each round, of the maximum; of the rate that is the worst.
pub fn goodput(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<f64>, Halt> {
    let world = World::start(around, false)?;
    let carried = world.carry(None)?;
    watcher.note(&format!(
        "tcp: the veth carries {:.2} Gbit/s without a maximum",
        carried / 1e9
    ));
    let maxima: Vec<u64> = MAXIMA
        .into_iter()
        .filter(|max| *max <= ALWAYS || carried > SPARE * 1e6 * *max as f64)
        .collect();
    rounds(around, |number| {
        let mut worst = f64::INFINITY;
        for max in &maxima {
            watcher.doing(&format!("tcp, round {number}, {max} Mbit/s"));
            let part = world.carry(Some(*max))? / (1e6 * *max as f64);
            watcher.note(&format!(
                "tcp, round {number}: {part:.4} of {max} Mbit/s is goodput"
            ));
            worst = worst.min(part);
        }
        Ok(Some(worst))
    })
}

/// With ECN: the 99th percentile of how long packets waited for the maximum, in marking thresholds; of the rate that is the worst.
pub fn waits(around: Around<'_>, watcher: &mut dyn Watcher) -> Result<Vec<f64>, Halt> {
    let world = World::start(around, true)?;
    rounds(around, |number| {
        let mut worst = 0.0_f64;
        for max in MAXIMA.into_iter().filter(|max| *max <= ALWAYS) {
            watcher.doing(&format!("ecn, round {number}, {max} Mbit/s"));
            let looked = world.waited(max)?;
            let [half, most] = [0.5, 0.99].map(|part| looked.percentile(part));
            watcher.note(&format!(
                "ecn, round {number}, {max} Mbit/s: waits of {:.2} ms (half) and {:.2} ms (99 %) of {} packets, {} marked, goodput {:.4}",
                1e3 * half,
                1e3 * most,
                looked.seconds.len(),
                looked.marked,
                looked.goodput / (1e6 * max as f64),
            ));
            worst = worst.max(most / THRESHOLD);
        }
        Ok(Some(worst))
    })
}

/// What was seen of a connection.
struct Looked {
    /// Bit/s.
    goodput: f64,
    /// Packets that the switch marked.
    marked: u64,
    /// How long packets waited, sorted.
    seconds: Vec<f64>,
}

impl Looked {
    /// As long as this part of them waited, or less.
    fn percentile(&self, part: f64) -> f64 {
        let place = (part * self.seconds.len() as f64).ceil() as usize;
        let found = self.seconds.get(place.saturating_sub(1));
        found.copied().unwrap_or(f64::INFINITY)
    }
}

/// The VMs and the host between them. Dropping it ends all.
struct World<'a> {
    around: Around<'a>,
    weir: Process,
    /// Held for its life.
    _server: Process,
    socket: PathBuf,
    folder: TempDir,
    sender: String,
    _spaces: Namespaces,
}

impl<'a> World<'a> {
    fn start(around: Around<'a>, ecn: bool) -> Result<World<'a>, Halt> {
        netns::needs("iperf3", "iperf3")?;
        netns::needs("chrt", "util-linux")?;
        let folder = tempfile::Builder::new().prefix("weir-bench-").tempdir();
        let folder = folder.map_err(|error| Halt::io("the scratch folder", &error))?;
        let mut spaces = Namespaces::new()?;
        let host = spaces.add("host")?;
        let mut vms = Vec::new();
        for (name, mac, address) in VMS {
            let space = spaces.add(name)?;
            netns::vm(&space, &host, name, mac, &format!("{address}/24"))?;
            // 2 only answers, 1 asks.
            netns::sysctl(
                &space,
                &format!("net.ipv4.tcp_ecn={}", if ecn { 1 } else { 0 }),
            )?;
            vms.push(space);
        }
        let [sender, receiver] = <[String; 2]>::try_from(vms)
            .map_err(|_| Halt::failed("bench", "there are two VMs", ""))?;
        process::write(&folder.path().join("policy.toml"), policy_toml(None))?;
        let weir = Weir::new(around.plan.program.clone()).within(&host);
        let toml = host_toml(around.core, around.huge);
        let (weir, status) = weir.run(folder.path(), toml, around.stop, around.ask)?;
        if let Some(error) = status.errors.first() {
            return Err(weir.trouble(&error.to_string()));
        }
        let mut server = netns::inside(&receiver, "chrt", ORDINARY);
        server.args(["iperf3", "-s", "--forceflush"]);
        let mut server = Process::start(SERVER, &mut server, folder.path())?;
        let log = folder.path().join(format!("{SERVER}.log"));
        server.wait_for(around.stop, LISTENS_WITHIN, "does not listen", || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            Ok(said.contains("listening").then_some(()))
        })?;
        Ok(World {
            around,
            weir,
            _server: server,
            socket: Weir::socket(folder.path()),
            folder,
            sender,
            _spaces: spaces,
        })
    }

    /// Has the sender's vNIC a maximum from now on.
    fn limit(&self, max: Option<u64>) -> Result<(), Halt> {
        let Around { ask, stop, .. } = self.around;
        let status = || ask.status(&self.socket);
        let before = status().map_err(|why| self.weir.trouble(&why))?.revision;
        let (path, next) = ("policy.toml", "policy.next");
        let [path, next] = [path, next].map(|name| self.folder.path().join(name));
        let text = policy_toml(max);
        if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        process::write(&next, text)?;
        std::fs::rename(&next, &path).map_err(|error| Halt::io(path.display(), &error))?;
        let applied = stop.wait_for(APPLIES_WITHIN, || {
            Ok(status()
                .ok()
                .filter(|status| status.revision > before || !status.errors.is_empty()))
        })?;
        match applied.map(|status| status.errors) {
            Some(errors) if errors.is_empty() => Ok(()),
            Some(errors) => Err(self.weir.trouble(&format!("refuses {errors:?}"))),
            None => Err(self.weir.trouble("does not apply a maximum")),
        }
    }

    /// Bit/s that a connection of the sender's brings across.
    fn carry(&self, max: Option<u64>) -> Result<f64, Halt> {
        self.limit(max)?;
        let [_, (_, _, to)] = VMS;
        let seconds = SECONDS.to_string();
        let mut command = netns::inside(&self.sender, "chrt", ORDINARY);
        command.args(["iperf3", "-c", to, "-t", &seconds, "-C", "cubic", "-J"]);
        let folder = self.folder.path();
        let mut client = Process::start("iperf3", &mut command, folder)?;
        let patience = Duration::from_secs(4 * SECONDS + 10);
        client.finish(self.around.stop, patience)?;
        let said = std::fs::read_to_string(folder.join("iperf3.log")).unwrap_or_default();
        goodput_of(&said).ok_or_else(|| client.trouble("brings nothing across"))
    }

    /// The same, and how long its packets waited.
    fn waited(&self, max: u64) -> Result<Looked, Halt> {
        self.limit(Some(max))?;
        let marked = || {
            let stats = self.around.ask.stats(&self.socket);
            let stats = stats.map_err(|why| self.weir.trouble(&why))?;
            let own = stats.vnics.iter().find(|vnic| vnic.vnic == VMS[0].0);
            Ok::<_, Halt>(own.map_or(0, |vnic| vnic.marked))
        };
        let before = marked()?;
        // 1,514 bytes a packet.
        let packets = max * 1_000_000 / 8 / 1_514 * SECONDS;
        let one_in = (packets / LOOKED_AT).max(1).next_power_of_two();
        let look = waits::Look::begin(
            self.around,
            &self.socket,
            self.folder.path(),
            (VMS[0].2, one_in),
        )?;
        let goodput = self.carry(Some(max))?;
        let seconds = look.end()?;
        let marked = marked()?.saturating_sub(before);
        if marked == 0 {
            return Err(self.weir.trouble("marks nothing: ECN was not in use"));
        }
        if seconds.len() < FEWEST {
            let why = format!("only {} packets were seen on both sides", seconds.len());
            return Err(self.weir.trouble(&why));
        }
        Ok(Looked {
            goodput,
            marked,
            seconds,
        })
    }
}

/// Bit/s that arrived, of what `iperf3 -J` says.
fn goodput_of(said: &str) -> Option<f64> {
    let said: Value = serde_json::from_str(said).ok()?;
    let rate = said
        .pointer("/end/sum_received/bits_per_second")?
        .as_f64()?;
    (rate > 0.0).then_some(rate)
}

fn host_toml(core: u32, huge: bool) -> String {
    let hugepages = if huge { "auto" } else { "none" };
    let (address, length) = PROVIDER;
    format!(
        "name = \"rig\"\nsocket = \"weir.sock\"\n\n\
         [dataplane]\nworkers = [{core}]\nhugepages = \"{hugepages}\"\nidle = \"poll\"\nmbufs = {MBUFS}\n\n\
         [[uplink]]\nname = \"up0\"\ndevice = \"{IDLE}\"\nprovider_addresses = [\"{address}/{length}\"]\n\n\
         [store]\nkind = \"file\"\npath = \"policy.toml\"\n"
    )
}

/// `max`: Mbit/s of what the first VM sends.
fn policy_toml(max: Option<u64>) -> String {
    let mut text = String::from(
        "[[vm_network]]\nname = \"blue\"\nisolation = \"nv\"\n\n\
         [[vm_network.subnet]]\nname = \"blue-web\"\nvsid = 5001\nprefixes = [\"10.1.0.0/24\"]\n",
    );
    for (number, (name, mac, address)) in VMS.into_iter().enumerate() {
        text += &format!(
            "\n[[vnic]]\nname = \"{name}\"\nhost = \"rig\"\nsubnet = \"blue-web\"\nmac = \"{mac}\"\naddresses = [\"{address}\"]\n\
             attach = \"net_af_packet{number},iface={name},framecnt={RING}\"\n"
        );
        if let (0, Some(max)) = (number, max) {
            text += &format!("bandwidth = {{ max = \"{max}Mbit\" }}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use weir_agent::config::host::HostConfig;
    use weir_agent::policy::Policy;
    use weir_switch::shape::Settings;

    #[test]
    fn the_files_are_what_the_daemon_takes() {
        let host = HostConfig::parse(&host_toml(1, true), "host.toml", Path::new("/tmp"), &[0, 1])
            .unwrap();
        for max in [None, Some(10)] {
            let policy = Policy::parse_for_host(&policy_toml(max), "policy.toml", &host).unwrap();
            assert_eq!(policy.vnics.iter().count(), VMS.len());
        }
    }

    #[test]
    fn goodput_is_what_arrived() {
        let said = r#"{"end": {"sum_sent": {"bits_per_second": 3e6}, "sum_received": {"bits_per_second": 2e6}}}"#;
        assert_eq!(goodput_of(said), Some(2e6));
        assert_eq!(goodput_of(r#"{"error": "unable to connect"}"#), None);
        assert_eq!(goodput_of(&said.replace("2e6", "0")), None);
    }

    #[test]
    fn a_percentile_is_of_the_sorted() {
        let looked = Looked {
            goodput: 0.0,
            marked: 1,
            seconds: (1..=200).map(f64::from).collect(),
        };
        assert_eq!(
            (looked.percentile(0.5), looked.percentile(0.99)),
            (100.0, 198.0)
        );
    }

    #[test]
    fn the_threshold_is_the_switchs() {
        let settings = Settings::new(1_000_000, 1, 1, 1);
        assert_eq!(settings.ecn as f64 / settings.hz as f64, THRESHOLD);
    }
}
