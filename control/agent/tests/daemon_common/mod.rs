//! A host's whole state in this process, over devices that need no rights; its VMs are memif clients. One EAL a
//! process, one host at a time.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rte::{
    Burst, Eal, EalConfig, LogLevel, Memory, Pool, Port, PortConfig, RxQueue, TxQueue,
    available_cores,
};
use tempfile::TempDir;
use weir_agent::config::host::HostConfig;
use weir_agent::crew::Crew;
use weir_agent::policy::Policy;
use weir_agent::state::State;
use weir_agent::stats::{ApplyReport, PolicyError, Stats, VnicStats};
use weir_agent::tables::Tables;
use weir_switch::testing::frames;
use weir_wire::Mac;
use weir_worker::run::Idle;

/// A host whose uplink is a memif, too, with two others beside it.
pub const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "memif:DIR/up0"
provider_addresses = ["192.168.50.1/24"]
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02", "192.168.50.3" = "02:bb:00:00:00:03" }
"#;

/// A tenant with one vNIC on another host, to which the rig's senders send.
pub const THERE: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "s0"
vsid = 5001
prefixes = ["10.0.0.0/8"]
[[vnic]]
name = "there"
host = "h2"
subnet = "s0"
mac = "02:01:00:00:00:00"
addresses = ["10.1.0.0"]
"#;

/// MAC and customer address of the vNIC of this number, of the first tenant or of any other.
pub fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

pub fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 10 + i)
}

/// What it sends to another one.
pub fn frame(to: u8, from: u8, text: &[u8]) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), text)
}

/// The same frame in VLAN 100.
pub fn tagged(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    frames::tag(&mut bytes, 100);
    bytes
}

/// EAL without hugepages, PCI or root.
pub fn eal() -> Arc<Eal> {
    static EAL: OnceLock<Arc<Eal>> = OnceLock::new();
    let eal = EAL.get_or_init(|| {
        let config = EalConfig {
            memory: Memory::NoHuge { megabytes: 768 },
            pci: false,
            log_level: Some(LogLevel::Silent),
            ..EalConfig::default()
        };
        Arc::new(Eal::init(config).expect("EAL starts"))
    });
    eal.clone()
}

/// A name that no other test of this process has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until something is so, at most ten seconds.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed().as_secs() < 10, "{what} did not come");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// The cores that workers of tests run on.
pub fn cores(count: usize) -> String {
    let all = available_cores();
    let own: Vec<u32> = all.iter().rev().take(count).copied().collect();
    format!("{own:?}")
}

/// A host with its workers, as the daemon holds it.
pub struct Host {
    pub state: Option<State>,
    pub folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    /// The host that `text` describes. `DIR` in it is a folder of its own, `CORE1` and `CORE2` lists of cores.
    pub fn start(text: &str) -> Host {
        Host::start_with(text, 8191).expect("a host")
    }

    pub fn start_with(text: &str, mbufs: u32) -> Result<Host, Vec<PolicyError>> {
        let turn = my_turn();
        let eal = eal();
        let folder = tempfile::tempdir().expect("a folder");
        let text = localized(text, folder.path());
        let host = HostConfig::parse(&text, "host.toml", folder.path(), &available_cores())?;
        let pool = Pool::create(&eal, &unique("pool"), mbufs, 64, 2176, 0, None).expect("a pool");
        let tables = Tables::new(7);
        let workers = &host.dataplane.workers;
        let crew = Crew::start(&eal, pool, workers, Idle::Adaptive, &tables.view).expect("workers");
        let state = State::new(eal, pool, host, 2048 - 18, crew, tables);
        let mut host = Host {
            state: Some(state),
            folder,
            _turn: turn,
        };
        host.state().open_host_ports()?;
        Ok(host)
    }

    pub fn state(&mut self) -> &mut State {
        self.state.as_mut().expect("a state")
    }

    /// Applies a policy, in which `DIR` is this host's folder.
    pub fn apply(&mut self, text: &str) -> Result<ApplyReport, Vec<PolicyError>> {
        self.apply_or_not(text, false)
    }

    pub fn apply_or_not(&mut self, text: &str, dry: bool) -> Result<ApplyReport, Vec<PolicyError>> {
        let policy = self.read(text)?;
        self.state().apply(policy, dry)
    }

    /// Reads a policy.
    pub fn read(&mut self, text: &str) -> Result<Policy, Vec<PolicyError>> {
        let text = localized(text, self.folder.path());
        Policy::parse_for_host(&text, "policy.toml", &self.state().host)
    }

    pub fn stats(&mut self) -> Stats {
        self.state().stats()
    }

    pub fn vnic(&mut self, name: &str) -> VnicStats {
        let all = self.stats().vnics;
        let own = all.into_iter().find(|vnic| vnic.vnic == name);
        own.unwrap_or_else(|| panic!("no vNIC {name}"))
    }

    /// All drops so far, by reason, without what devices lost.
    pub fn drops(&mut self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for row in self.state().drops() {
            *all.entry(row.reason).or_insert(0) += row.packets;
        }
        all
    }

    pub fn dropped(&mut self, reason: &str) -> u64 {
        self.drops().get(reason).copied().unwrap_or(0)
    }

    /// A VM at `DIR/name`.
    pub fn vm(&mut self, name: &str) -> Vm {
        let path = self.folder.path().join(name);
        Vm::connect(&path, self.state().pool)
    }

    /// Waits until the switch has seen that the VM at `DIR/name` is gone: what is sent to it from then on waits.
    pub fn sees_unplugged(&mut self, name: &str) {
        self.sees(name, false);
    }

    /// Waits until the switch has seen whether there is a VM at `DIR/name`.
    pub fn sees(&mut self, name: &str, plugged: bool) {
        let device = format!("memif:{}", self.folder.path().join(name).display());
        until("a link as it is", || {
            let state = self.state();
            let port = state.tables.port(&device);
            port.is_some_and(|port| state.link(port).0) == plugged
        });
    }

    /// Waits until traffic stands still, and asserts the equation for each worker.
    #[track_caller]
    pub fn assert_conserved(&mut self) {
        let mut before = None;
        until("rest", || {
            // Who shares its core with others may stand still in the middle of a turn.
            self.state().crew.round();
            let now = self.totals();
            let rests = before.as_ref() == Some(&now);
            before = Some(now);
            std::thread::sleep(Duration::from_millis(5));
            rests
        });
        let stats = self.stats();
        let (mut out, mut taken, mut dropped) = (0, 0, 0);
        for w in &stats.workers {
            let came = w.rx_packets + w.handoff_in + w.generated + w.copies;
            let went =
                w.tx_packets + w.delivered + w.handoff_out + w.consumed + w.dropped + w.queued;
            assert_eq!(came, went, "{w:?}");
            out += w.handoff_out;
            taken += w.handoff_in;
            dropped += w.dropped;
        }
        assert_eq!(out, taken);
        let rows = self.state().drops();
        let rows: u64 = rows
            .iter()
            .filter(|r| !r.reason.starts_with("port_") || r.reason == "port_closed")
            .map(|r| r.packets)
            .sum();
        assert_eq!(rows, dropped, "each drop has one reason");
    }

    fn totals(&mut self) -> Vec<u64> {
        let stats = self.stats();
        let each = |w: &weir_agent::stats::WorkerStats| {
            [
                w.rx_packets,
                w.handoff_in,
                w.delivered,
                w.tx_packets,
                w.dropped,
                w.queued,
            ]
        };
        stats.workers.iter().flat_map(each).collect()
    }

    /// Ends: every mbuf is back, every port is closed.
    pub fn stop(mut self) {
        let state = self.state.take().expect("a state");
        let pool = state.pool;
        drop(state.stop());
        assert_eq!(pool.in_use(), 0, "an mbuf leaked");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A test that failed: its workers must not poll on.
        if let Some(state) = self.state.take() {
            drop(state.stop());
        }
    }
}

fn localized(text: &str, folder: &Path) -> String {
    text.replace("DIR", &folder.display().to_string())
        .replace("CORE1", &cores(1))
        .replace("CORE2", &cores(2))
}

/// A VM: the other end of a memif.
pub struct Vm {
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
    pool: Pool,
}

impl Vm {
    pub fn connect(path: &Path, pool: Pool) -> Vm {
        let name = unique("net_memif77");
        let devargs = format!(
            "{name},role=client,id=0,socket={},socket-abstract=no,rsize=9",
            path.display()
        );
        let mut port = Port::attach(&eal(), &devargs).expect("a memif client");
        let (mut rx, mut tx) = port.start(&PortConfig::default(), pool).expect("a start");
        until("a memif link", || port.link().up);
        Vm {
            port,
            rx: rx.remove(0),
            tx: tx.remove(0),
            pool,
        }
    }

    /// Takes its end of the link away.
    pub fn unplug(self) {
        self.port
            .close(vec![self.rx], vec![self.tx])
            .expect("closed");
    }

    /// Sends all of these; waits where the switch is slow.
    pub fn send<'a>(&mut self, frames: impl IntoIterator<Item = &'a [u8]>) {
        let mut burst = Burst::new();
        for bytes in frames {
            let mut mbuf = self.pool.alloc().expect("an mbuf");
            mbuf.append(bytes.len())
                .expect("tailroom")
                .copy_from_slice(bytes);
            assert!(burst.push(mbuf).is_ok());
            if burst.is_full() {
                self.flush(&mut burst);
            }
        }
        self.flush(&mut burst);
    }

    fn flush(&mut self, burst: &mut Burst) {
        let start = Instant::now();
        while !burst.is_empty() {
            if self.tx.tx(burst) == 0 {
                std::thread::yield_now();
            }
            assert!(start.elapsed().as_secs() < 10, "the switch takes nothing");
        }
    }

    /// What is there now.
    pub fn poll(&mut self) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        self.rx.rx(&mut burst);
        burst
            .drain()
            .map(|mbuf| mbuf.segments_iter().flatten().copied().collect())
            .collect()
    }

    /// Waits for this many frames.
    #[track_caller]
    pub fn receive(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        until("a frame", || {
            all.extend(self.poll());
            all.len() >= count
        });
        assert_eq!(all.len(), count);
        all
    }

    /// Nothing comes, for a while in which everything else would.
    #[track_caller]
    pub fn receives_nothing(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            assert_eq!(self.poll(), Vec::<Vec<u8>>::new());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A pcap file's bytes with these frames.
pub fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0,
    ];
    for frame in frames {
        file.extend([0; 8]);
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend_from_slice(frame);
    }
    file
}
