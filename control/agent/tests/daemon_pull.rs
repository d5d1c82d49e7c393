//! Records that come when they are asked for: a store that takes 50 ms, on a real host with real VMs.

mod daemon_common;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use daemon_common::{HOST, Host, Vm, ca, mac, until};
use weir_agent::store::FileStore;
use weir_switch::testing::frames;
use weir_tables::domain::GATEWAY_MAC;

const DELAY: Duration = Duration::from_millis(50);

fn vnic(name: &str, host: &str, i: u8, attach: &str) -> String {
    format!(
        "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"web\"\nmac = \"{}\"\naddresses = [\"{}\"]\n{attach}\n",
        mac(i),
        ca(i)
    )
}

/// Blue's b1 here; b8 and b9 on these hosts.
fn policy(b8: &str, b9: &str) -> String {
    let hosts: String = (1..=3)
        .map(|i| format!("[[host]]\nname = \"h{i}\"\nprovider_addresses = [\"192.168.50.{i}\"]\n"))
        .collect();
    let attach = |host: &str, i| match host {
        "h1" => format!("attach = \"memif:DIR/b{i}\""),
        _ => String::new(),
    };
    format!(
        "{hosts}[[vm_network]]\nname = \"blue\"\nisolation = \"nv\"\n[[vm_network.subnet]]\nname = \"web\"\nvsid = 5001\nprefixes = [\"10.1.0.0/24\"]\n{}{}{}",
        vnic("b1", "h1", 1, "attach = \"memif:DIR/b1\""),
        vnic("b8", b8, 8, &attach(b8, 8)),
        vnic("b9", b9, 9, &attach(b9, 9)),
    )
}

/// A host whose control thread is this one.
struct Pulling {
    host: Host,
    store: FileStore,
    b1: Vm,
    wire: Vm,
}

impl Pulling {
    fn start() -> Pulling {
        let mut host = Host::start(&format!("{HOST}[store]\nrecords = \"on_miss\"\n"));
        host.apply(&policy("h2", "h2")).expect("a policy");
        let (b1, wire) = (host.vm("b1"), host.vm("up0"));
        Pulling {
            host,
            store: FileStore::new("policy.toml").answering_after(DELAY),
            b1,
            wire,
        }
    }

    fn control(&mut self) {
        let state = self.host.state();
        state.tend_neighbors();
        state.tend_misses(&mut self.store);
    }

    fn questions(&mut self) -> u64 {
        self.host.stats().pull.expect("on_miss").questions
    }

    /// Frames on the wire, while control does its part: outer destination, and the inner frame.
    #[track_caller]
    fn sent(&mut self, count: usize) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        until("a frame", || {
            self.control();
            all.extend(self.wire.poll());
            all.len() >= count
        });
        assert_eq!(all.len(), count);
        all.into_iter()
            .map(|frame| (frame[33], frame[42..].to_vec()))
            .collect()
    }

    /// Frames that b1 gets.
    #[track_caller]
    fn received(&mut self, count: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        until("a frame", || {
            self.control();
            all.extend(self.b1.poll());
            all.len() >= count
        });
        assert_eq!(all.len(), count);
        all
    }

    /// Waits until the store was asked so often.
    #[track_caller]
    fn asked(&mut self, times: u64) {
        until("a question", || {
            self.control();
            self.questions() >= times
        });
        assert_eq!(self.questions(), times);
    }

    fn stop(mut self) {
        self.host.assert_conserved();
        self.b1.unplug();
        self.wire.unplug();
        self.host.stop();
    }
}

fn to(i: u8, number: u8) -> Vec<u8> {
    frames::tenant(mac(i), mac(1), ca(1), ca(i), &[number])
}

fn routed(to: Ipv4Addr, number: u8) -> Vec<u8> {
    frames::tenant(GATEWAY_MAC, mac(1), ca(1), to, &[number])
}

#[test]
fn the_first_packet_takes_as_long_as_the_store_and_is_not_lost() {
    let mut pulling = Pulling::start();
    let start = Instant::now();
    // ARP and the packet after it are one question.
    pulling
        .b1
        .send([&frames::arp_request(mac(1), ca(1), ca(9))[..]]);
    assert_eq!(pulling.received(1)[0][6..12], mac(9).octets());
    assert!(start.elapsed() >= DELAY, "it was known before");
    pulling.b1.send([&to(9, 1)[..], &to(9, 2)]);
    assert_eq!(pulling.sent(2), [(2, to(9, 1)), (2, to(9, 2))]);
    assert_eq!(pulling.questions(), 1);
    // By MAC alone, and more of them than wait for each other.
    let numbered: Vec<Vec<u8>> = (0..5).map(|n| to(8, n)).collect();
    pulling.b1.send(numbered.iter().map(Vec::as_slice));
    let out = pulling.sent(5);
    assert!(out.iter().map(|out| &out.1).eq(&numbered), "in order");
    let stats = pulling.host.stats();
    let pull = stats.pull.expect("on_miss");
    assert_eq!((pull.questions, pull.found, pull.entries), (2, 2, 3));
    let worker = &stats.workers[0];
    let counted = (worker.misses, worker.misses_found, worker.held);
    assert_eq!(counted, (2, 2, 0));
    pulling.stop();
}

#[test]
fn who_is_not_there_is_unreachable_until_the_policy_has_it() {
    let mut pulling = Pulling::start();
    // Somebody who has never been, by the gateway.
    pulling.b1.send([&routed(ca(7), 0)[..], &routed(ca(7), 1)]);
    let errors = pulling.received(2);
    for error in &errors {
        assert_eq!(
            (error[23], error[34], error[35]),
            (1, 3, 1),
            "host unreachable"
        );
    }
    pulling.b1.send([&routed(ca(7), 2)[..]]);
    assert_eq!(pulling.received(1)[0][34], 3);
    assert_eq!(pulling.questions(), 1, "the miss is remembered");
    // The policy brings it: at once.
    let more = policy("h2", "h2") + &vnic("b7", "h3", 7, "");
    pulling.host.apply(&more).expect("a policy");
    pulling.b1.send([&routed(ca(7), 3)[..]]);
    let out = pulling.sent(1);
    assert_eq!(
        (out[0].0, out[0].1[..6].to_vec()),
        (3, mac(7).octets().to_vec())
    );
    assert_eq!(pulling.host.dropped("host_unknown"), 3);
    pulling.stop();
}

#[test]
fn a_policy_that_changes_while_the_store_is_asked_leaves_no_stale_record() {
    let mut pulling = Pulling::start();
    pulling.b1.send([&to(9, 1)[..]]);
    pulling.asked(1);
    // The answer that is under way says h2.
    pulling.host.apply(&policy("h2", "h3")).expect("a policy");
    assert_eq!(pulling.sent(1), [(3, to(9, 1))]);
    let pull = pulling.host.stats().pull.expect("on_miss");
    assert_eq!((pull.questions, pull.stale, pull.found), (2, 1, 1));
    // It leaves while it is asked for.
    pulling.b1.send([&to(8, 1)[..]]);
    pulling.asked(3);
    let without: String = policy("h2", "h3")
        .split("[[vnic]]\nname = \"b8\"")
        .next()
        .unwrap()
        .into();
    pulling.host.apply(&without).expect("a policy");
    until("a drop", || {
        pulling.control();
        pulling.host.dropped("no_record") == 1
    });
    // What is here because it was asked for leaves with the policy, too.
    pulling.b1.send([&to(9, 2)[..]]);
    until("a drop", || {
        pulling.control();
        pulling.host.dropped("no_record") == 2
    });
    assert_eq!(pulling.host.stats().pull.expect("on_miss").entries, 0);
    pulling.stop();
}

#[test]
fn who_moves_is_found_where_it_is() {
    let mut pulling = Pulling::start();
    pulling.b1.send([&to(9, 1)[..]]);
    assert_eq!(pulling.sent(1), [(2, to(9, 1))]);
    // What was asked for follows the policy without another question: to another host, here, and away again.
    pulling.host.apply(&policy("h2", "h3")).expect("a policy");
    pulling.b1.send([&to(9, 2)[..]]);
    assert_eq!(pulling.sent(1), [(3, to(9, 2))]);
    pulling.host.apply(&policy("h2", "h1")).expect("a policy");
    let mut b9 = pulling.host.vm("b9");
    pulling.b1.send([&to(9, 3)[..]]);
    assert_eq!(b9.receive(1), [to(9, 3)]);
    b9.unplug();
    pulling.host.apply(&policy("h2", "h2")).expect("a policy");
    pulling.b1.send([&to(9, 4)[..]]);
    assert_eq!(pulling.sent(1), [(2, to(9, 4))]);
    assert_eq!(pulling.questions(), 1);
    pulling.stop();
}

#[test]
fn a_vm_that_leaves_takes_what_is_held_along() {
    let mut pulling = Pulling::start();
    pulling.b1.send([&to(9, 1)[..], &to(9, 2)]);
    pulling.asked(1);
    let held = pulling.host.stats().workers[0].held;
    assert_eq!(held, 2);
    pulling.host.assert_conserved();
    let without = policy("h2", "h2").replace(
        "host = \"h1\"\nsubnet = \"web\"",
        "host = \"h3\"\nsubnet = \"web\"",
    );
    let without = without.replace("attach = \"memif:DIR/b1\"", "");
    pulling.host.apply(&without).expect("a policy");
    until("the end", || {
        pulling.control();
        pulling.host.stats().workers[0].held == 0
    });
    assert_eq!(pulling.host.dropped("port_closed"), 2);
    pulling.stop();
}

#[test]
fn what_is_held_at_the_end_is_given_back() {
    let mut pulling = Pulling::start();
    pulling.b1.send([&to(9, 1)[..], &to(9, 2)]);
    pulling.asked(1);
    // Asserts that every mbuf is back.
    pulling.stop();
}
