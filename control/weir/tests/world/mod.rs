//! A small world for integration tests: network namespaces as hosts and as VMs, veths between them, and daemons of
//! the binary under test. Real kernels send and receive; nothing outside these namespaces is touched, and all of it
//! goes when the values are dropped, also when a test panics.
//!
//! # The tests that live in it
//!
//! | file | what it shows |
//! |---|---|
//! | `ns_tenants.rs` | two hosts, tenants with the same MACs and CAs: who reaches whom, who does not, spoof protection |
//! | `ns_conservation.rs` | design.md's equation: oversized frames, hand-off between two workers, a flood, closing ports |
//! | `ns_policy.rs` | what is refused and how it is said; saved files; a change of others that costs no packet; the end |
//! | `ns_underlay.rs` | PAs by ARP, a gateway, static neighbours, a VLAN, a PA that is silent and later speaks |
//! | `ns_underlay6.rs` | PAs of IPv6 by ND both ways, a router with a smaller link, hosts of one family and of both |
//! | `ns_bridged.rs` | VMs on the uplink's own network, untagged and in a VLAN, beside virtual ones; provider multicast groups |
//! | `ns_pull.rs` | records that are asked for: the first packet waits, an absent one is unreachable, a scan harms nobody else |
//! | `ns_ipv6.rs` | IPv6 between VMs: routed, refused, too big, duplicate addresses, the router found by its advertisement |
//! | `ns_rewrite.rs` | subnets whose packets are rewritten, beside NVGRE on the same hosts; tshark judges them |
//! | `ns_rewrite6.rs` | the same of IPv6, and a provider router that asks for the vNICs' addresses |
//! | `ns_ports.rs` | every kind of port, opened and closed while running, with a peer behind it where there is one |
//! | `ns_idle.rs` | a worker whose ports have interrupts is called by them, rests meanwhile, and loses nothing |
//! | `ns_offloads.rs` | guests on vhost-user whose TCP runs at GSO sizes; MSS clamping |
//! | `peer_tshark.rs` | tshark reads what leaves the uplink: NVGRE field by field, no malformed byte, right checksums |
//! | `peer_tshark6.rs` | the same of an uplink of IPv6 |
//! | `peer_ovs.rs` | Open vSwitch with DPDK is the far host: pings of two tenants with the same addresses, both ways |
//!
//! They need root. Elsewhere each prints `SKIPPED: …` and passes; with `WEIR_TEST_STRICT` or `CI` set it fails
//! instead, so that nothing is skipped unseen. Tests of one binary run one after the other: a machine of two cores
//! carries one world of polling daemons at a time. Every test ends with [`World::finish`], which waits until traffic
//! stands still, asserts the equation for every worker, ends the daemons by SIGTERM and asserts that they end well.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod daemon;
pub mod frames;
pub mod guest;
pub mod host;
pub mod peers;
pub mod policy;
pub mod raw;
pub mod traffic;

pub use daemon::Daemon;
pub use host::HostToml;
pub use policy::Policy;
pub use raw::Raw;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take that is expected to happen. Long, since machines are shared; nothing waits for it in vain.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One world at a time.
static TURN: Mutex<()> = Mutex::new(());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Says why a test is skipped; fails it where skipping is not allowed.
pub fn skipped(why: &str) {
    if ["WEIR_TEST_STRICT", "CI"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
    {
        panic!("must not be skipped here: {why}");
    }
    eprintln!("SKIPPED: {why}");
}

/// Whether the program is in the path.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).exists())
}

/// Free hugepages of 2 MB.
pub fn free_hugepages() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("HugePages_Free:"));
    line.and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// Runs a command line of plain words and gives what it printed; panics with what it said if it fails.
pub fn must(line: &str) -> String {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a program"));
    succeeded(command.args(words), line)
}

fn succeeded(command: &mut Command, what: &str) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        output.status.success(),
        "{what}: {}{}",
        text(&output.stderr),
        text(&output.stdout)
    );
    text(&output.stdout)
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `look` finds something; panics with `what` after [`PATIENCE`].
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look)
}

/// As [`wait_for`], with a patience of its own.
pub fn wait_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As [`wait_for`], for something that is so or not.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    wait_for(what, || so().then_some(()));
}

/// A network namespace. The [`World`] that made it removes it.
#[derive(Clone, Debug)]
pub struct Ns {
    /// Its full name.
    pub name: String,
}

impl Ns {
    /// A command in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command line of plain words in it; panics if it fails.
    pub fn must(&self, line: &str) -> String {
        succeeded(&mut self.words(line), line)
    }

    /// Runs a command line of plain words in it.
    pub fn try_run(&self, line: &str) -> Output {
        self.words(line)
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn words(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().expect("a program"));
        command.args(words);
        command
    }

    /// `ip` for this namespace.
    pub fn ip(&self, line: &str) {
        must(&format!("ip -n {} {line}", self.name));
    }

    /// Does `work` on a thread that is in this namespace. Sockets made there stay in it wherever they are used.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = File::open(Path::new("/run/netns").join(&self.name))
                    .expect("the namespace is there");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("setns");
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a sysctl of the network.
    pub fn sysctl(&self, setting: &str) {
        self.must(&format!("sysctl -qw {setting}"));
    }
}

/// A VM: a namespace with `eth0`, whose other end is an interface of a host's namespace.
#[derive(Clone, Debug)]
pub struct Vm {
    /// Where it is.
    pub ns: Ns,
    /// The interface of its host; by custom the vNIC's name.
    pub tap: String,
    /// The MAC of eth0.
    pub mac: [u8; 6],
    /// Its address, without prefix.
    pub ca: String,
}

impl Vm {
    /// A raw socket on eth0.
    pub fn raw(&self) -> Raw {
        Raw::open(&self.ns, "eth0", self.mac)
    }

    /// Its kernel begins with IPv6: it makes its link-local address, asks for routers and takes its address in a /64,
    /// which it looks for duplicates of. Waits until it is done with all of that.
    pub fn wake6(&self) {
        self.ns
            .sysctl("net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0");
        self.ns.ip(&format!("addr add {}/64 dev eth0", self.ca));
        wait_until("addresses without duplicates", || {
            let shown = self.ns.must("ip -6 addr show dev eth0");
            shown.contains("inet6 fe80::") && !shown.contains("tentative")
        });
        wait_until("a default route", || {
            !self.ns.must("ip -6 route show default").is_empty()
        });
    }

    /// Its MAC as in policy.toml.
    pub fn mac(&self) -> String {
        mac(self.mac)
    }
}

/// A MAC as people write it.
pub fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

/// Namespaces and a folder, removed when dropped. Declare it before what lives in it: daemons are to go first.
pub struct World {
    tag: String,
    made: Vec<Ns>,
    folder: Option<TempDir>,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// An empty world, when its turn has come; none, with the reason printed, where it cannot be made.
    pub fn new(needs: &[&str]) -> Option<World> {
        if !rustix::process::geteuid().is_root() {
            skipped("needs root, for network namespaces");
            return None;
        }
        for program in ["ip", "ethtool", "ping", "sysctl"].iter().chain(needs) {
            if !has(program) {
                skipped(&format!("needs {program}; scripts/test installs it"));
                return None;
            }
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        sweep();
        let tag = format!(
            "weirtest{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = tempfile::Builder::new()
            .prefix(&format!("{tag}-"))
            .tempdir()
            .expect("a folder in /tmp");
        Some(World {
            tag,
            made: Vec::new(),
            folder: Some(folder),
            _turn: turn,
        })
    }

    /// The world's folder.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("until it is dropped").path()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A namespace with loopback up and IPv6 off, so that its kernel says nothing that it is not asked to say.
    pub fn ns(&mut self, name: &str) -> Ns {
        let ns = Ns {
            name: format!("{}-{name}", self.tag),
        };
        must(&format!("ip netns add {}", ns.name));
        self.made.push(ns.clone());
        ns.ip("link set lo up");
        ns.sysctl("net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        ns
    }

    /// A veth between two namespaces, up at both ends.
    pub fn veth(&self, one: (&Ns, &str), other: (&Ns, &str), mtu: u32) {
        let ((a, name_a), (b, name_b)) = (one, other);
        must(&format!(
            "ip link add name {name_a} netns {} mtu {mtu} type veth peer name {name_b} netns {} mtu {mtu}",
            a.name, b.name
        ));
        a.ip(&format!("link set dev {name_a} up"));
        b.ip(&format!("link set dev {name_b} up"));
    }

    /// A VM on the host in `host`, at the host's interface `tap`, with an address such as `10.1.0.11/24`.
    pub fn vm(&mut self, host: &Ns, tap: &str, mac: [u8; 6], address: &str) -> Vm {
        let ns = self.ns(tap);
        self.veth((host, tap), (&ns, "eth0"), 1500);
        Self::ready_eth0(&ns, mac, address);
        Vm {
            ns,
            tap: tap.into(),
            mac,
            ca: address.split('/').next().unwrap_or_default().into(),
        }
    }

    /// A VM that has IPv6 alone, and no address before it [`wakes`](Vm::wake6).
    pub fn vm6(&mut self, host: &Ns, tap: &str, mac: [u8; 6], ca: &str) -> Vm {
        let ns = self.ns(tap);
        self.veth((host, tap), (&ns, "eth0"), 1500);
        ns.ip(&format!("link set eth0 address {}", self::mac(mac)));
        ns.must("ethtool -K eth0 tso off gso off gro off");
        Vm {
            ns,
            tap: tap.into(),
            mac,
            ca: ca.into(),
        }
    }

    /// Gives an eth0 its MAC and address. No segments larger than the MTU: a veth would hand them on as they are.
    pub fn ready_eth0(ns: &Ns, mac: [u8; 6], address: &str) {
        ns.ip(&format!("link set eth0 address {}", self::mac(mac)));
        ns.must("ethtool -K eth0 tso off gso off gro off");
        ns.ip(&format!("addr add {address} dev eth0"));
    }

    /// Two hosts' namespaces with `up0` to `up0` between them.
    pub fn two_hosts(&mut self) -> (Ns, Ns) {
        let (h1, h2) = (self.ns("h1"), self.ns("h2"));
        self.veth((&h1, "up0"), (&h2, "up0"), 1600);
        (h1, h2)
    }

    /// Two hosts whose `up0` go to a router, which is 192.168.51.254 to the first, 192.168.52.254 to the second.
    pub fn routed_hosts(&mut self) -> (Ns, Ns, Ns) {
        let (h1, h2, router) = (self.ns("h1"), self.ns("h2"), self.ns("router"));
        self.veth((&h1, "up0"), (&router, "left"), 1600);
        self.veth((&h2, "up0"), (&router, "right"), 1600);
        router.ip("addr add 192.168.51.254/24 dev left");
        router.ip("addr add 192.168.52.254/24 dev right");
        router.sysctl("net.ipv4.ip_forward=1");
        (h1, h2, router)
    }

    /// Waits until traffic stands still, asserts the equation, ends the daemons and asserts that each leaves well.
    pub fn finish(self, daemons: impl IntoIterator<Item = Daemon>) {
        self.finish_first(daemons);
    }

    /// As [`World::finish`], for a test that looks at what is left.
    pub fn finish_first(&self, daemons: impl IntoIterator<Item = Daemon>) {
        for daemon in daemons {
            daemon.assert_conserved();
            daemon.end();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for ns in &self.made {
            remove(&ns.name);
        }
        if std::env::var_os("WEIR_TEST_KEEP").is_some()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("kept {}", folder.keep().display());
        }
    }
}

/// Ends what still runs in a namespace and removes it.
fn remove(name: &str) {
    let pids = Command::new("ip").args(["netns", "pids", name]).output();
    for pid in pids
        .map(|output| text(&output.stdout))
        .unwrap_or_default()
        .split_whitespace()
    {
        if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    let _ = Command::new("ip").args(["netns", "del", name]).output();
}

/// Removes what a test that was killed has left: namespaces with what runs in them, folders.
fn sweep() {
    let listed = Command::new("ip").args(["netns", "list"]).output();
    let listed = listed
        .map(|output| text(&output.stdout))
        .unwrap_or_default();
    for name in listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        if is_orphan(name) {
            remove(name);
        }
    }
    for entry in std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_str().is_some_and(is_orphan) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether something is named by a process that is no more.
fn is_orphan(name: &str) -> bool {
    let pid = name
        .strip_prefix("weirtest")
        .and_then(|rest| rest.split('-').next());
    let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}
