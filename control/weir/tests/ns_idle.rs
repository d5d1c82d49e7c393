//! Workers without work on ports that have interrupts: taps, in namespaces. They are called, not woken by a timer, and lose nothing.

mod world;

use serde_json::Value;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};
use world::traffic::{self, Load};
use world::{Daemon, HostToml, Ns, Policy, World};

/// Wake-ups a second of a worker that has nothing to do and is called: it looks ten times by itself. By timer it looks two thousand times.
const AT_REST: f64 = 200.0;
/// Datagrams of a burst, which a tap holds (500), and bursts.
const BURST: u32 = 300;
const BURSTS: u32 = 20;

/// A number of the worker's thread: in a line of its status, or a field of schedstat.
fn of_worker(daemon: &Daemon, core: u32, read: impl Fn(&Path) -> Option<u64>) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("threads");
    let name = format!("weir-worker-{core}");
    let own = |path: &Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let task = tasks.flatten().map(|task| task.path()).find(|it| own(it));
    read(&task.expect("the worker's thread")).expect("a number")
}

fn wake_ups(daemon: &Daemon, core: u32) -> u64 {
    of_worker(daemon, core, |task| {
        let text = std::fs::read_to_string(task.join("status")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line?.trim().parse().ok()
    })
}

fn cpu_nanoseconds(daemon: &Daemon, core: u32) -> u64 {
    of_worker(daemon, core, |task| {
        let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    })
}

/// Wake-ups a second, and the share of its core, of a worker that has nothing to do.
fn rest(daemon: &Daemon, core: u32) -> (f64, f64) {
    let (began, wakes, cpu) = (
        Instant::now(),
        wake_ups(daemon, core),
        cpu_nanoseconds(daemon, core),
    );
    std::thread::sleep(Duration::from_secs(1));
    let seconds = began.elapsed().as_secs_f64();
    let wakes = (wake_ups(daemon, core) - wakes) as f64 / seconds;
    let cpu = (cpu_nanoseconds(daemon, core) - cpu) as f64 / 1e9 / seconds;
    (wakes, cpu)
}

/// The kernel behind a tap is another namespace's.
fn moved(from: &Ns, to: &Ns, tap: &str, mac: &str, address: &str) {
    to.sysctl("net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    from.ip(&format!("link set dev {tap} netns {}", to.name));
    to.ip(&format!("link set dev {tap} address {mac} up"));
    to.ip(&format!("addr add {address}/24 dev {tap}"));
}

fn bursts(from: &Ns, to: &Ns, ca: &str) {
    let receiver = to.inside(|| UdpSocket::bind((ca, 7400)).expect("a socket"));
    let sender = from.inside(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
    sender.connect((ca, 7400)).expect("an address");
    let patience = Some(Duration::from_secs(5));
    receiver.set_read_timeout(patience).expect("a timeout");
    let mut got = [0; 8];
    for burst in 0..BURSTS {
        // A silence, in which it falls asleep.
        std::thread::sleep(Duration::from_millis(20));
        for number in 0..BURST {
            sender.send(&number.to_be_bytes()).expect("it is sent");
        }
        for number in 0..BURST {
            let length = receiver.recv(&mut got);
            let length = length.unwrap_or_else(|why| panic!("burst {burst}, {number}: {why}"));
            assert_eq!(got[..length], number.to_be_bytes());
        }
    }
}

#[test]
fn a_worker_whose_ports_have_interrupts_is_called() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    if !Path::new("/dev/net/tun").exists() {
        return world::skipped("needs /dev/net/tun");
    }
    let (h1, a, b) = (world.ns("h1"), world.ns("a"), world.ns("b"));
    h1.sysctl("net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    let macs = ["02:00:00:00:01:01", "02:00:00:00:01:02"];
    let cas = ["10.1.0.11", "10.1.0.12"];
    let policy = Policy::default()
        .host("h1", "192.168.50.1")
        .tenant("blue", 5001, "10.1.0.0/24")
        .vnic("a", "h1", "blue", macs[0], cas[0], "tap:atap")
        .vnic("b", "h1", "blue", macs[1], cas[1], "tap:btap");
    let mut host = HostToml::new("h1", "192.168.50.1/24", 0);
    host.uplink =
        "device = \"tap:weirup\"\nprovider_addresses = [\"192.168.50.1/24\"]\n".to_owned();
    let daemon = world.daemon(&h1, &host, &policy);
    moved(&h1, &a, "atap", macs[0], cas[0]);
    moved(&h1, &b, "btap", macs[1], cas[1]);
    let by = |kind: &str, name: &str| -> Value {
        daemon.json(&["get", kind, name])[0]["status"]["idle"]["by"].clone()
    };
    assert_eq!(by("uplink", "up0"), "interrupt");
    assert_eq!(by("vnic", "a"), "interrupt");
    world::wait_until("a answers b", || traffic::ping(&a, cas[1], 1) == 1);
    traffic::reaches(&a, cas[1]);

    let core = host.workers[0];
    let (wakes, cpu) = rest(&daemon, core);
    eprintln!(
        "called: {wakes:.0} wake-ups a second, {:.2} % of its core",
        100.0 * cpu
    );
    assert!(wakes < AT_REST, "{wakes} wake-ups a second at rest");

    // Out of silence: one at a time, many at a time, a stream.
    let steady = Load::start(&a, &b, cas[1], "steady", Duration::from_millis(2));
    std::thread::sleep(Duration::from_secs(1));
    let done = steady.end();
    assert_eq!((done.received, done.strange), (done.sent, 0), "{done:?}");
    bursts(&a, &b, cas[1]);
    bursts(&b, &a, cas[0]);
    traffic::tcp(&a, &b, cas[1], 1, 1 << 20);
    // Control still reaches it; a packet socket calls as well, and hears again what its interface brings once that has been down.
    let vm = world.vm(&h1, "c", [2, 0, 0, 0, 1, 3], "10.1.0.13/24");
    let three = policy.clone().vm(&vm, "h1", "blue", 1);
    daemon.apply(&three);
    assert_eq!(by("vnic", "c"), "interrupt");
    traffic::reaches(&a, "10.1.0.13");
    h1.ip("link set dev c down");
    h1.ip("link set dev c up");
    traffic::reaches(&a, "10.1.0.13");
    let (wakes, _) = rest(&daemon, core);
    assert!(wakes < AT_REST, "{wakes} wake-ups a second with a socket");
    // A tap that is deleted while it is open ends every sleep at once, and is heard no more.
    b.ip("link del dev btap");
    std::thread::sleep(Duration::from_millis(50));
    let (wakes, _) = rest(&daemon, core);
    assert!(
        wakes < AT_REST,
        "{wakes} wake-ups a second with a tap that is gone"
    );
    traffic::reaches(&a, "10.1.0.13");
    // A port without interrupts beside the others makes it look in time.
    daemon.apply(&three.vnic(
        "d",
        "h1",
        "blue",
        "02:00:00:00:01:04",
        "10.1.0.14",
        "net_ring0",
    ));
    assert_eq!(by("vnic", "d"), "timer");
    let (wakes, cpu) = rest(&daemon, core);
    eprintln!(
        "by timer: {wakes:.0} wake-ups a second, {:.2} % of its core",
        100.0 * cpu
    );
    daemon.apply(&policy);
    let (wakes, _) = rest(&daemon, core);
    assert!(wakes < AT_REST, "{wakes} wake-ups a second at rest again");
    world.finish([daemon]);
}
