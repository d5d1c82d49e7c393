//! Records that come when they are asked for, as real kernels see it, from a store that takes 50 ms: the first packet
//! waits and is not lost, who is not there is unreachable, and a VM that scans 2^16 addresses harms nobody else.

mod world;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use weir_agent::stats::PullStats;
use world::{Daemon, HostToml, Policy, Vm, World, frames, traffic};

/// The MAC of every gateway.
const GATEWAY: [u8; 6] = [0x02, b'W', b'E', b'I', b'R', 0x01];
const DELAY_MS: f64 = 50.0;

/// Blue's `a` on one host and `b` on the other, red's `c` and `d` so, too, at the same addresses in a /16.
struct Pair {
    one: Daemon,
    two: Daemon,
    blue: [Vm; 2],
    red: [Vm; 2],
}

fn pair(world: &mut World, both: bool) -> Pair {
    let (h1, h2) = world.two_hosts();
    let mac = |last| [2, 0, 0, 0, 1, last];
    let mut vms = |names: [&str; 2]| {
        [
            world.vm(&h1, names[0], mac(1), "10.1.0.11/16"),
            world.vm(&h2, names[1], mac(2), "10.1.0.12/16"),
        ]
    };
    let (blue, red) = (vms(["a", "b"]), vms(["c", "d"]));
    for vm in blue.iter().chain(&red) {
        vm.ns.ip("route add default via 10.1.0.1");
    }
    let policy = Policy::two_hosts()
        .tenant("blue", 5001, "10.1.0.0/16")
        .subnet("blue2", 5002, "10.2.0.0/24")
        .tenant("red", 6001, "10.1.0.0/16")
        .vm(&blue[0], "h1", "blue", 1)
        .vm(&blue[1], "h2", "blue", 1)
        .vm(&red[0], "h1", "red", 2)
        .vm(&red[1], "h2", "red", 2);
    let on_miss = "records = \"on_miss\"\nanswer_delay = \"50ms\"";
    let mut here = HostToml::new("h1", "192.168.50.1/24", 0);
    here.store = on_miss.into();
    let mut there = HostToml::new("h2", "192.168.50.2/24", 1);
    if both {
        there.store = on_miss.into();
    }
    let one = world.daemon(&h1, &here, &policy);
    let two = world.daemon(&h2, &there, &policy);
    one.wait_resolved();
    two.wait_resolved();
    Pair {
        one,
        two,
        blue,
        red,
    }
}

fn pull(daemon: &Daemon) -> PullStats {
    daemon.stats().pull.expect("records = on_miss")
}

/// What ping(8) says of `count` echoes.
fn said(from: &Vm, args: &str) -> String {
    let output = from.ns.try_run(&format!("ping -n {args}"));
    world::text(&output.stdout)
}

/// The round trips that ping(8) says, in ms.
fn times(said: &str) -> Vec<f64> {
    let words = said.split_whitespace();
    words
        .filter_map(|word| word.strip_prefix("time=")?.parse().ok())
        .collect()
}

#[test]
fn the_first_packet_waits_for_the_store_and_later_ones_do_not() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let pair = pair(&mut world, false);
    let [a, b] = &pair.blue;
    // Of another tenant at the same addresses nobody has asked.
    let first = said(a, &format!("-c 5 -i 0.2 -W 5 {}", b.ca));
    let trips = times(&first);
    eprintln!("round trips: {trips:?} ms");
    assert_eq!(trips.len(), 5, "{first}");
    assert!(trips[0] >= DELAY_MS, "it was known before: {trips:?}");
    let asked = pull(&pair.one);
    assert_eq!((asked.questions, asked.found, asked.entries), (1, 1, 2));
    assert_eq!(pair.two.stats().pull, None, "there all records are here");
    // Who sends from the other side is not asked for: its records are here from the first packet on.
    traffic::tcp(&a.ns, &b.ns, &b.ca, 1, 1 << 20);
    traffic::tcp(&b.ns, &a.ns, &a.ca, 2, 1 << 20);
    assert_eq!(pull(&pair.one).questions, 1);
    for reason in ["miss_overflow", "miss_limited", "miss_timeout", "no_record"] {
        assert_eq!(pair.one.dropped(reason), 0, "{reason}");
    }
    world.finish([pair.one, pair.two]);
}

#[test]
fn who_is_not_there_is_unreachable() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let pair = pair(&mut world, true);
    let a = &pair.blue[0];
    let absent = said(a, "-c 2 -i 0.2 -W 5 10.2.0.99");
    assert_eq!(
        absent.matches("From 10.1.0.1 icmp_seq=").count(),
        2,
        "{absent}"
    );
    assert!(absent.contains("Destination Host Unreachable"), "{absent}");
    let asked = pull(&pair.one);
    assert_eq!((asked.questions, asked.absent), (1, 1), "remembered");
    assert_eq!(pair.one.dropped("host_unknown"), 2);
    world.finish([pair.one, pair.two]);
}

/// A number from /proc/PID/status, in KiB.
fn memory(daemon: &Daemon, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid()));
    let status = status.expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).expect("a number")
}

/// What the kernel dropped because a packet socket's ring was full, on any port of the daemon.
fn missed(daemon: &Daemon) -> u64 {
    daemon.dropped("port_missed")
}

#[test]
fn a_vm_that_scans_absent_addresses_harms_nobody_else() {
    let Some(mut world) = World::new(&[]) else {
        return;
    };
    let pair = pair(&mut world, true);
    let [a, _] = &pair.blue;
    let [c, d] = &pair.red;
    traffic::reaches(&c.ns, &d.ca);
    let before = pull(&pair.one);
    let (resident, status) = (memory(&pair.one, "VmRSS"), pair.one.status());
    let scanner = a.raw();
    let own: Ipv4Addr = a.ca.parse().expect("an address");
    let receiver = traffic::udp_socket(&d.ns, &d.ca, 7200);
    let sender = traffic::udp_socket(&c.ns, &c.ca, 7201);
    sender.connect((d.ca.as_str(), 7200)).expect("connect");
    let scans = AtomicBool::new(true);
    let start = Instant::now();
    let (sent, refused, numbers, (lowest, held)) = std::thread::scope(|scope| {
        // Numbered datagrams of another tenant, one a millisecond, as long as the scan takes.
        let quiet = scope.spawn(|| {
            let mut number = 0_u32;
            while scans.load(Ordering::Relaxed) {
                if sender.send(&number.to_be_bytes()).is_ok() {
                    number += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            number
        });
        let watch = scope.spawn(|| {
            let (mut lowest, mut held) = (u64::MAX, 0);
            while scans.load(Ordering::Relaxed) {
                lowest = lowest.min(pair.one.status().mbufs_free);
                held = held.max(pair.one.stats().workers[0].held);
                std::thread::sleep(Duration::from_millis(50));
            }
            (lowest, held)
        });
        // Every address of the /16 once by the gateway, once by ARP.
        let (mut sent, mut refused) = (0_u64, 0_u64);
        for by_arp in [false, true] {
            for host in 0..=u16::MAX {
                let [hi, lo] = host.to_be_bytes();
                let to = Ipv4Addr::new(10, 1, hi, lo);
                let frame = if by_arp {
                    let ask = frames::arp(1, (a.mac, own), ([0; 6], to));
                    frames::ethernet(frames::BROADCAST, a.mac, frames::ARP, &ask)
                } else {
                    let packet = frames::udp((own, 9), (to, 9), b"is anybody there?");
                    frames::ethernet(GATEWAY, a.mac, frames::IPV4, &packet)
                };
                match scanner.try_send(&frame) {
                    Ok(_) => sent += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        scans.store(false, Ordering::Relaxed);
        let numbers = quiet.join().expect("the sender");
        (sent, refused, numbers, watch.join().expect("the watch"))
    });
    let took = start.elapsed();
    let mut arrived = Vec::new();
    let mut buffer = [0; 2048];
    let mut silent = 0;
    while silent < 10 {
        match receiver.recv(&mut buffer) {
            Ok(_) => {
                silent = 0;
                arrived.push(u32::from_be_bytes([
                    buffer[0], buffer[1], buffer[2], buffer[3],
                ]));
            }
            Err(_) => silent += 1,
        }
    }
    pair.one.assert_conserved();
    let after = pull(&pair.one);
    let seconds = start.elapsed().as_secs() + 1;
    let questions = after.questions - before.questions;
    let lost = u64::from(numbers) - arrived.len() as u64;
    let missed = missed(&pair.one) + missed(&pair.two);
    let (grown, peak) = (
        memory(&pair.one, "VmRSS").saturating_sub(resident),
        memory(&pair.one, "VmHWM"),
    );
    eprintln!(
        "scan: {sent} packets in {took:.2?} ({:.0} a second; the interface refused {refused})\n\
         questions to the store: {questions} in {seconds} s; found {}, absent {}, stale {}\n\
         dropped: {} miss_limited, {} miss_overflow, {} miss_timeout, {} host_unknown; kernel {missed} port_missed on both hosts\n\
         another tenant: {numbers} datagrams sent, {} arrived, {lost} lost\n\
         held at most (seen) {held}; mbufs free at least (seen) {lowest} of {}, before {}\n\
         resident: {resident} KiB before, {grown} KiB more after, peak {peak} KiB",
        sent as f64 / took.as_secs_f64(),
        after.found - before.found,
        after.absent - before.absent,
        after.stale - before.stale,
        pair.one.dropped("miss_limited"),
        pair.one.dropped("miss_overflow"),
        pair.one.dropped("miss_timeout"),
        pair.one.dropped("host_unknown"),
        arrived.len(),
        status.mbufs_total,
        status.mbufs_free,
    );
    // Others lose nothing but what the kernel dropped before the switch, and nothing is reordered.
    assert!(lost <= missed, "{lost} lost, {missed} missed");
    assert!(arrived.is_sorted(), "reordered");
    for daemon in [&pair.one, &pair.two] {
        let own = daemon.drops().into_iter();
        let others: Vec<_> = own
            .filter(|row| row.tenant.as_deref() == Some("red") && row.reason != "port_missed")
            .collect();
        assert!(others.is_empty(), "{others:?}");
    }
    // Questions: 64 at once and 128 a second.
    assert!(questions > 10, "the scan was not heard");
    assert!(
        questions <= 64 + 128 * seconds,
        "{questions} in {seconds} s"
    );
    // Memory: 1/16 of the mbufs at most are held; nothing grows with what was scanned.
    assert!(held <= status.mbufs_total / 16, "{held}");
    assert!(grown < 8 << 10, "{grown} KiB");
    assert_eq!(pair.one.stats().workers[0].held, 0);
    world.finish([pair.one, pair.two]);
}
