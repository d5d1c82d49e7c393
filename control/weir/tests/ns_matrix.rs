//! Every combination of {NVGRE, rewrite} × {IPv4, IPv6} × {same subnet, routed} × {same host, other host}, as real
//! kernels with an MTU of 1500 see it over a provider network of 1500: ping, iperf3 over TCP and UDP, traceroute through
//! the gateway, tracepath that finds the MTU, and an upload whose hash is right.
//!
//! How much is uploaded: `WEIR_UPLOAD_MIB` (default 1024). The provider network's MTU: `WEIR_UNDERLAY_MTU` (default 1500).

mod world;

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};
use world::{Daemon, HostToml, Ns, PATIENCE, World};

/// How a subnet's packets travel between hosts.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Nvgre,
    Rewrite,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Nvgre => "nvgre",
            Kind::Rewrite => "rewrite",
        }
    }

    /// What a VM may send to another host: 28 outer bytes and an inner Ethernet header less than the underlay's, or all of it.
    fn mtu(self, underlay: u32) -> u32 {
        match self {
            Kind::Nvgre => (underlay - 42).min(1500),
            Kind::Rewrite => underlay.min(1500),
        }
    }
}

/// A VM of the tenant, with an address of each family in one of the two subnets.
struct Machine {
    ns: Ns,
    v4: String,
    v6: String,
}

impl Machine {
    fn address(&self, six: bool) -> &str {
        if six { &self.v6 } else { &self.v4 }
    }
}

/// Where `a`'s partner is.
struct Way {
    /// The partner.
    to: usize,
    /// For what a failure says.
    called: &'static str,
    routed: bool,
    far: bool,
}

const WAYS: [Way; 4] = [
    way(1, "same subnet, same host", false, false),
    way(2, "routed, same host", true, false),
    way(3, "same subnet, other host", false, true),
    way(4, "routed, other host", true, true),
];

const fn way(to: usize, called: &'static str, routed: bool, far: bool) -> Way {
    Way {
        to,
        called,
        routed,
        far,
    }
}

/// Name, host, subnet, last part of its addresses.
const MACHINES: [(&str, usize, usize, u32); 5] = [
    ("a", 0, 0, 11),
    ("b", 0, 0, 12),
    ("c", 0, 1, 13),
    ("d", 1, 0, 14),
    ("e", 1, 1, 15),
];

fn machine(
    world: &mut World,
    hosts: [&Ns; 2],
    (name, host, subnet, last): (&str, usize, usize, u32),
) -> Machine {
    let net = subnet + 1;
    let vm = world.vm(
        hosts[host],
        name,
        [2, 0, 0, 0, 1, last as u8],
        &format!("10.{net}.0.{last}/24"),
    );
    vm.ns.sysctl(
        "net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.eth0.disable_ipv6=0 net.ipv6.conf.eth0.accept_dad=0",
    );
    let v6 = format!("fd00:{net}::{last}");
    vm.ns.ip(&format!("addr add {v6}/64 dev eth0 nodad"));
    vm.ns.ip(&format!("route add default via 10.{net}.0.1"));
    vm.ns.ip(&format!("-6 route add default via fd00:{net}::1"));
    Machine {
        ns: vm.ns,
        v4: vm.ca,
        v6,
    }
}

/// policy.toml, written out: two subnets of one VM network, five vNICs.
fn policy(kind: Kind) -> String {
    let mut text = String::new();
    for host in 1..=2 {
        text += &format!(
            "[[host]]\nname = \"h{host}\"\nprovider_addresses = [\"192.168.50.{host}\", \"fd50::{host}\"]\n"
        );
    }
    text += "[[vm_network]]\nname = \"blue\"\nisolation = \"nv\"\n";
    for net in 1..=2 {
        text += &format!(
            "[[vm_network.subnet]]\nname = \"blue{net}\"\nvsid = 500{net}\nprefixes = [\"10.{net}.0.0/24\", \"fd00:{net}::/64\"]\ntranslation = \"{}\"\n",
            kind.word()
        );
    }
    for (number, (name, host, subnet, last)) in MACHINES.into_iter().enumerate() {
        let net = subnet + 1;
        text += &format!(
            "[[vnic]]\nname = \"{name}\"\nhost = \"h{}\"\nsubnet = \"blue{net}\"\nmac = \"02:00:00:00:01:{last:02x}\"\naddresses = [\"10.{net}.0.{last}\", \"fd00:{net}::{last}\"]\nattach = \"net_af_packet{},iface={name},framecnt=4096\"\n",
            host + 1,
            number + 1
        );
        if kind == Kind::Rewrite {
            text += &format!(
                "provider_addresses = [\"192.168.50.{}\", \"fd50::1{last}\"]\n",
                100 + last
            );
        }
    }
    text
}

fn daemon(world: &World, ns: &Ns, number: u32, underlay: u32, policy: &str) -> Daemon {
    let mut host = HostToml::new(&format!("h{number}"), "", number - 1);
    host.uplink = format!(
        "device = \"net_af_packet0,iface=up0,framecnt=4096\"\nprovider_addresses = [\"192.168.50.{number}/24\", \"fd50::{number}/64\"]\nmtu = {underlay}\n"
    );
    world.daemon_of(ns, &host, policy)
}

/// Runs a command until it says what is wanted: a busy machine may lose a probe, which is no fault of the switch.
fn until(from: &Ns, line: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut said = String::new();
    for _ in 0..3 {
        let output = from.try_run(line);
        said = world::text(&output.stdout) + &world::text(&output.stderr);
        if wanted(&said) {
            return said;
        }
    }
    panic!("{line}: {said}");
}

/// The hosts that traceroute(1) or tracepath(8) name, in order, without repeats.
fn hops(said: &str) -> Vec<&str> {
    let mut hops: Vec<&str> = said
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let number = words
                .next()?
                .trim_end_matches(|c: char| !c.is_ascii_digit());
            number.parse::<u32>().ok()?;
            words.find(|word| word.parse::<IpAddr>().is_ok())
        })
        .collect();
    hops.dedup();
    hops
}

/// A server of iperf3, ended when dropped.
struct Server(std::process::Child);

impl Server {
    fn start(ns: &Ns, address: &str) -> Server {
        let child = ns
            .command("iperf3")
            .args(["-s", "-1", "-B", address])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Server(child.expect("iperf3"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One run of iperf3; its report.
fn iperf(from: &Ns, to: &Ns, address: &str, args: &str) -> serde_json::Value {
    let mut said = String::new();
    for _ in 0..3 {
        let _server = Server::start(to, address);
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            let output = from.try_run(&format!(
                "iperf3 -J -c {address} --connect-timeout 5000 {args}"
            ));
            said = world::text(&output.stdout);
            let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_default();
            if output.status.success() && report.get("error").is_none() {
                return report;
            }
            if !said.contains("Connection refused") {
                break;
            }
        }
    }
    panic!("iperf3 {args} to {address}: {said}");
}

/// Bytes that look random and cost little: a Weyl sequence.
fn fill(block: &mut [u8], state: &mut u64) {
    for word in block.chunks_exact_mut(8) {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&(*state ^ (*state >> 29)).to_le_bytes());
    }
}

/// Uploads `mib` MiB by TCP; panics unless the receiver's hash is the sender's. How long it took.
fn upload(from: &Ns, to: &Ns, address: &str, mib: usize) -> Duration {
    const BLOCK: usize = 1 << 20;
    let address: IpAddr = address.parse().expect("an address");
    let listener = to.inside(|| TcpListener::bind((address, 7300)).expect("bind"));
    let mut client = from
        .inside(|| TcpStream::connect_timeout(&(address, 7300).into(), PATIENCE).expect("connect"));
    let (mut server, _) = listener.accept().expect("accept");
    server.set_read_timeout(Some(PATIENCE)).expect("timeout");
    client.set_write_timeout(Some(PATIENCE)).expect("timeout");
    let start = Instant::now();
    let (sent, got) = std::thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut hasher, mut block, mut bytes) = (DefaultHasher::new(), vec![0; BLOCK], 0);
            // Hashed in whole blocks, as the sender does: a hasher may tell apart how its input was cut.
            for _ in 0..mib {
                server.read_exact(&mut block).expect("all of it");
                hasher.write(&block);
                bytes += block.len();
            }
            assert_eq!(
                server.read(&mut block).expect("the end"),
                0,
                "more than was sent"
            );
            (bytes, hasher.finish())
        });
        let (mut hasher, mut block, mut state) = (DefaultHasher::new(), vec![0; BLOCK], mib as u64);
        for _ in 0..mib {
            fill(&mut block, &mut state);
            hasher.write(&block);
            client.write_all(&block).expect("there");
        }
        client.shutdown(Shutdown::Write).expect("the end");
        let got = receiver
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ((mib * BLOCK, hasher.finish()), got)
    });
    assert_eq!(sent, got, "the upload is not what was sent");
    start.elapsed()
}

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => default,
    }
}

fn combinations(kind: Kind, six: bool) {
    let Some(mut world) = World::new(&["iperf3", "traceroute", "tracepath"]) else {
        return;
    };
    let mib = setting("WEIR_UPLOAD_MIB", 1024);
    let underlay = setting("WEIR_UNDERLAY_MTU", 1500);
    let (h1, h2) = world.two_hosts();
    let machines = MACHINES.map(|described| machine(&mut world, [&h1, &h2], described));
    let text = policy(kind);
    let one = daemon(&world, &h1, 1, underlay, &text);
    let two = daemon(&world, &h2, 2, underlay, &text);
    one.wait_resolved();
    two.wait_resolved();

    let a = &machines[0];
    let (family, gateway) = if six {
        ("-6", "fd00:1::1")
    } else {
        ("-4", "10.1.0.1")
    };
    for way in &WAYS {
        let to = &machines[way.to];
        let address = to.address(six);
        let called = format!("{}, {family}, {}", kind.word(), way.called);
        let step = |what: &str| eprintln!("{called}: {what}");

        step("ping");
        until(
            &a.ns,
            &format!("ping {family} -n -c 10 -i 0.05 -W 2 {address}"),
            |said| said.contains(" 10 received"),
        );

        step("traceroute");
        let path: &[&str] = if way.routed {
            &[gateway, address]
        } else {
            &[address]
        };
        until(
            &a.ns,
            &format!("traceroute {family} -n -q 2 -w 2 {address}"),
            |said| hops(said) == path,
        );

        step("tracepath");
        let mtu = if way.far { kind.mtu(underlay) } else { 1500 };
        until(&a.ns, &format!("tracepath {family} -n {address}"), |said| {
            said.contains(&format!("Resume: pmtu {mtu} "))
        });

        step("iperf3, TCP");
        let report = iperf(&a.ns, &to.ns, address, "-t 1");
        let received = report["end"]["sum_received"]["bytes"].as_u64();
        assert!(received > Some(1_000_000), "{called}: {report}");
        step(&format!(
            "{:.0} Mbit/s",
            report["end"]["sum_received"]["bits_per_second"]
                .as_f64()
                .unwrap_or(0.0)
                / 1e6
        ));

        step("iperf3, UDP");
        let report = iperf(&a.ns, &to.ns, address, "-u -b 20M -l 1200 -t 1");
        let sum = &report["end"]["sum"];
        let (packets, lost) = (
            sum["packets"].as_u64().unwrap_or(0),
            sum["lost_packets"].as_u64().unwrap_or(0),
        );
        // What the kernel drops before a packet socket on a busy machine is no fault of the switch.
        let missed: u64 = [&one, &two]
            .map(|daemon| daemon.dropped("port_missed"))
            .iter()
            .sum();
        assert!(
            packets > 1000 && lost <= missed,
            "{called}: {lost} of {packets} lost, {missed} missed: {report}"
        );

        step(&format!("upload of {mib} MiB"));
        let took = upload(&a.ns, &to.ns, address, mib);
        step(&format!(
            "uploaded in {:.1} s, {:.0} Mbit/s",
            took.as_secs_f64(),
            (mib << 23) as f64 / took.as_secs_f64() / 1e6
        ));
    }
    world.finish([one, two]);
}

#[test]
fn nvgre_ipv4() {
    combinations(Kind::Nvgre, false);
}

#[test]
fn nvgre_ipv6() {
    combinations(Kind::Nvgre, true);
}

#[test]
fn rewrite_ipv4() {
    combinations(Kind::Rewrite, false);
}

#[test]
fn rewrite_ipv6() {
    combinations(Kind::Rewrite, true);
}
