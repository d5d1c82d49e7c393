//! Pull on miss: whoever sends to somebody without a record here waits for the store's answer, in order, bounded.

use std::net::{Ipv4Addr, Ipv6Addr};
use weir_switch::held::{FRAMES, MEMORY};
use weir_switch::outlet::Event;
use weir_switch::recorder::Note;
use weir_switch::testing::frames::{arp_request, ether, icmp6, ipv6, tenant};
use weir_switch::testing::world::{PEER_MAC, UPLINK_PORT, World};
use weir_switch::testing::{HELD, HZ};
use weir_switch::watch::{Point, Who};
use weir_tables::domain::{GATEWAY_MAC, Hop, Route};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{DomainId, PeerId, PortId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::Mac;

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// Two tenants with the same addresses, whose records come when they are asked for; 11 and 13 of each are here.
struct Host {
    world: World,
    peer: PeerId,
    domains: [DomainId; 2],
    segments: [SegmentId; 2],
    vnics: [[VnicId; 2]; 2],
}

fn host() -> Host {
    let mut world = World::new(256, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    let made = [5001, 6001].map(|vsid| {
        let domain = world.domain();
        let segment = world.subnet(domain, vsid, GATEWAY);
        world.on_miss(domain, true);
        let vnics = [11, 13].map(|i| world.vnic(segment, mac(i), ca(i)));
        (domain, segment, vnics)
    });
    Host {
        world,
        peer,
        domains: made.map(|m| m.0),
        segments: made.map(|m| m.1),
        vnics: made.map(|m| m.2),
    }
}

impl Host {
    /// From 11 of the first tenant.
    fn send(&mut self, bytes: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.world.send(self.vnics[0][0], bytes);
        self.out()
    }

    fn out(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let out = self.world.take();
        self.world.assert_conserved();
        out
    }

    fn answer(&mut self, to: Destination, found: bool) -> Vec<(PortId, Vec<u8>)> {
        self.world.answer(to, found);
        self.out()
    }

    fn questions(&mut self) -> Vec<(VnicId, Destination)> {
        let events = self.world.kept.events.drain(..);
        let asked = events.map(|event| match event {
            Event::Miss { vnic, to } => (vnic, to),
            other => panic!("{other:?}"),
        });
        asked.collect()
    }

    fn v4(&self, i: u8) -> Destination {
        Destination::V4(self.domains[0], ca(i))
    }

    fn mac(&self, i: u8) -> Destination {
        Destination::Mac(self.segments[0], mac(i))
    }

    fn dropped(&self, reason: Reason) -> u64 {
        let drops = self.world.drops();
        drops.iter().find(|d| d.0 == reason).map_or(0, |d| d.1)
    }

    fn remote(&mut self, i: u8) {
        let (segment, peer) = (self.segments[0], self.peer);
        self.world.remote(segment, mac(i), ca(i), peer);
    }
}

/// A numbered packet from 11 to somebody's MAC.
fn to_mac(i: u8, number: u8) -> Vec<u8> {
    tenant(mac(i), mac(11), ca(11), ca(i), &[number])
}

/// The same to somebody's address by the gateway.
fn routed(to: Ipv4Addr, number: u8) -> Vec<u8> {
    tenant(GATEWAY_MAC, mac(11), ca(11), to, &[number])
}

/// The numbers of what was sent to the wire.
fn numbers(out: &[(PortId, Vec<u8>)]) -> Vec<u8> {
    out.iter()
        .map(|(port, bytes)| {
            assert_eq!(*port, UPLINK_PORT);
            // The one byte of UDP's payload.
            bytes[42 + 14 + 20 + 8]
        })
        .collect()
}

#[test]
fn a_frame_to_an_unknown_mac_waits_and_goes_on_in_order() {
    let mut host = host();
    for number in 0..3 {
        assert_eq!(host.send(&to_mac(12, number)), []);
    }
    let to = host.mac(12);
    assert_eq!(host.questions(), [(host.vnics[0][0], to)], "asked once");
    assert_eq!(host.world.kept.ledger.cells().held.get(), 3);
    host.remote(12);
    // The record is there, and who comes now still does not overtake.
    assert_eq!(host.send(&to_mac(12, 3)), []);
    let out = host.answer(to, true);
    assert_eq!(numbers(&out), [0, 1, 2, 3]);
    assert_eq!(numbers(&host.send(&to_mac(12, 4))), [4]);
    assert_eq!(host.questions(), []);
    let cells = host.world.kept.ledger.cells();
    let counted = [
        &cells.held,
        &cells.misses,
        &cells.misses_found,
        &cells.misses_absent,
    ];
    assert_eq!(counted.map(|c| c.get()), [0, 1, 1, 0]);
}

#[test]
fn a_routed_frame_waits_for_its_destination_or_for_its_next_hop() {
    let mut host = host();
    let route = Route {
        network: Ipv4Addr::UNSPECIFIED,
        length: 0,
        metric: 0,
        hop: Hop::Via(ca(14)),
    };
    host.world.route(host.domains[0], &[], route);
    host.world.on_miss(host.domains[0], true);
    let far = Ipv4Addr::new(203, 0, 113, 9);
    assert_eq!(host.send(&routed(ca(12), 0)), []);
    assert_eq!(host.send(&routed(far, 1)), []);
    let (own, hop) = (host.v4(12), host.v4(14));
    let from = host.vnics[0][0];
    assert_eq!(host.questions(), [(from, own), (from, hop)]);
    host.remote(12);
    host.remote(14);
    assert_eq!(host.send(&routed(ca(12), 2)), [], "in its turn");
    assert_eq!(host.send(&routed(far, 3)), [], "in its turn");
    assert_eq!(numbers(&host.answer(own, true)), [0, 2]);
    assert_eq!(numbers(&host.answer(hop, true)), [1, 3]);
    assert_eq!(numbers(&host.send(&routed(far, 4))), [4]);
}

#[test]
fn arp_waits_for_the_record_that_answers_it() {
    let mut host = host();
    let ask = arp_request(mac(11), ca(11), ca(12));
    assert_eq!(host.send(&ask), []);
    let to = host.v4(12);
    assert_eq!(host.questions(), [(host.vnics[0][0], to)]);
    host.remote(12);
    let out = host.answer(to, true);
    let own = host.world.port_of(host.vnics[0][0]).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].0, &out[0].1[6..12]), (own, &mac(12).octets()[..]));
    // Nobody has it: a broadcast as before.
    let ask = arp_request(mac(11), ca(11), ca(77));
    assert_eq!(host.send(&ask), []);
    let to = host.v4(77);
    let there: Vec<PortId> = host.answer(to, false).iter().map(|out| out.0).collect();
    let other = host.world.port_of(host.vnics[0][1]).unwrap();
    assert_eq!(there, [other, UPLINK_PORT]);
    // What is no question about somebody else is none to the store.
    host.questions();
    for ask in [
        arp_request(mac(11), ca(11), ca(11)),
        arp_request(mac(11), Ipv4Addr::UNSPECIFIED, ca(11)),
        arp_request(mac(11), ca(11), Ipv4Addr::new(172, 16, 0, 1)),
    ] {
        assert_eq!(host.send(&ask).len(), 2);
    }
    assert_eq!(host.questions(), []);
}

#[test]
fn who_is_not_there_is_unreachable_and_remembered_for_a_time() {
    let mut host = host();
    assert_eq!(host.send(&routed(ca(99), 0)), []);
    assert_eq!(host.send(&routed(ca(99), 1)), []);
    let to = host.v4(99);
    let own = host.world.port_of(host.vnics[0][0]).unwrap();
    let told = |out: Vec<(PortId, Vec<u8>)>| {
        let each = out.iter().map(|(port, bytes)| {
            // ICMP, destination unreachable, host (RFC 792).
            assert_eq!((*port, bytes[23], bytes[34], bytes[35]), (own, 1, 3, 1));
        });
        each.count()
    };
    let out = host.answer(to, false);
    assert_eq!(told(out), 2);
    assert_eq!(host.dropped(Reason::HostUnknown), 2);
    // Remembered: told at once, nobody is asked.
    host.questions();
    host.world.wait(MEMORY * HZ - 1);
    let out = host.send(&routed(ca(99), 2));
    assert_eq!((told(out), host.questions().len()), (1, 0));
    host.world.wait(1);
    assert_eq!(host.send(&routed(ca(99), 3)), []);
    assert_eq!(host.questions().len(), 1, "asked again");
    host.answer(to, false);
    host.world.kept.held.forget_misses();
    assert_eq!(host.send(&routed(ca(99), 4)), []);
    assert_eq!(host.questions().len(), 1, "the policy has changed");
    // By MAC: no ICMP, as without the store.
    host.send(&to_mac(99, 0));
    assert_eq!(host.answer(host.mac(99), false), []);
    assert_eq!(host.dropped(Reason::NoRecord), 1);
}

#[test]
fn one_destination_holds_so_many_and_no_answer_ends_it() {
    let mut host = host();
    for number in 0..20 {
        assert_eq!(host.send(&to_mac(12, number)), []);
    }
    assert_eq!(host.dropped(Reason::MissOverflow), 20 - FRAMES as u64);
    host.questions();
    host.world.wait(HZ / 2);
    let again = (host.vnics[0][0], host.mac(12));
    assert_eq!(host.questions(), [again], "control may not have heard it");
    host.world.wait(HZ / 2);
    assert_eq!(host.out(), []);
    assert_eq!(host.dropped(Reason::MissTimeout), FRAMES as u64);
    assert_eq!(host.world.kept.ledger.cells().held.get(), 0);
    // That is not remembered, and an answer that comes too late is no answer.
    assert_eq!(host.answer(host.mac(12), false), []);
    host.questions();
    assert_eq!(host.send(&to_mac(12, 0)), []);
    assert_eq!(host.questions().len(), 1);
}

#[test]
fn one_vnic_cannot_ask_for_all() {
    let mut host = host();
    let asks = |host: &mut Host, from: usize, i: u16| {
        let [hi, lo] = i.to_be_bytes();
        let own = [11, 13][from];
        let to = Ipv4Addr::new(10, 1, hi, lo);
        let bytes = arp_request(mac(own), ca(own), to);
        host.world.send(host.vnics[0][from], &bytes);
        host.world.assert_conserved();
    };
    let whole = Route {
        network: Ipv4Addr::new(10, 1, 0, 0),
        length: 16,
        metric: 0,
        hop: Hop::Connected,
    };
    host.world.route(host.domains[0], &[], whole);
    host.world.on_miss(host.domains[0], true);
    for i in 512..5000 {
        asks(&mut host, 0, i);
    }
    let share = usize::from(HELD) / 2;
    let questions = host.questions().len();
    assert!((1..=share).contains(&questions), "{questions}");
    assert!(host.dropped(Reason::MissOverflow) > 0 && host.dropped(Reason::MissLimited) > 4000);
    // The other vNIC is heard.
    asks(&mut host, 1, 300);
    assert_eq!(host.questions().len(), 1);
    // However fast the store answers, it is not asked faster than so often a second.
    let mut asked = 0;
    for i in 5000..15_000 {
        host.world.wait(HZ / 1000);
        asks(&mut host, 0, i);
        for (_, to) in host.questions() {
            asked += 1;
            host.world.answer(to, false);
        }
        host.world.take();
    }
    let seconds = 10;
    assert!(asked > 100 * seconds && asked < 140 * seconds, "{asked}");
}

#[test]
fn a_vnic_that_leaves_takes_what_is_held_along() {
    let mut host = host();
    let other = host.vnics[0][1];
    host.send(&to_mac(12, 0));
    host.world
        .send(other, &tenant(mac(12), mac(13), ca(13), ca(12), &[1]));
    host.send(&to_mac(12, 2));
    let gone = host.vnics[0][0];
    host.world.remove(gone);
    host.world.forget(gone);
    assert_eq!(host.out(), []);
    assert_eq!(host.dropped(Reason::PortClosed), 2);
    host.remote(12);
    let to = host.mac(12);
    assert_eq!(numbers(&host.answer(to, true)), [1]);
}

#[test]
fn an_answer_to_one_tenant_is_none_to_another() {
    let mut host = host();
    let red = host.vnics[1][0];
    host.send(&to_mac(12, 0));
    host.world.send(red, &to_mac(12, 7));
    let questions = host.questions();
    assert_eq!(questions.len(), 2);
    assert_ne!(questions[0].1, questions[1].1);
    host.remote(12);
    let out = host.answer(questions[0].1, true);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].1[38..41], [0, 0x13, 0x89], "blue's VSID");
    assert_eq!(host.world.kept.held.frames(), 1, "red's waits on");
    assert_eq!(host.answer(questions[1].1, false), []);
    assert_eq!(host.dropped(Reason::NoRecord), 1);
}

#[test]
fn without_pull_on_miss_nobody_is_asked() {
    let mut host = host();
    host.world.on_miss(host.domains[0], false);
    host.send(&to_mac(12, 0));
    assert_eq!(host.dropped(Reason::NoRecord), 1);
    assert_eq!(host.send(&routed(ca(99), 0)).len(), 1);
    assert_eq!(host.send(&arp_request(mac(11), ca(11), ca(77))).len(), 1);
    // Nor is the guard passed over.
    host.world.on_miss(host.domains[0], true);
    host.send(&ether(mac(12), mac(99), 0x88b5, &[0; 46]));
    assert_eq!(host.dropped(Reason::SpoofedMac), 1);
    assert_eq!(host.questions(), []);
}

#[test]
fn who_looks_sees_what_becomes_of_held_frames() {
    let mut host = host();
    let from = host.vnics[0][0];
    host.send(&to_mac(12, 0));
    host.send(&to_mac(99, 0));
    host.remote(12);
    let points = |notes: Vec<(u8, Note)>| -> Vec<(Point, Who)> {
        let seen = notes.into_iter().filter_map(|(_, note)| match note {
            Note::Seen { point, who, .. } => Some((point, who)),
            _ => None,
        });
        seen.collect()
    };
    let (there, absent) = (host.mac(12), host.mac(99));
    host.world.watch();
    host.world.answer(there, true);
    let seen = points(host.world.seen());
    // Not once more as received.
    let own = Who::Vnic(from);
    assert!(seen.iter().all(|seen| seen.0 != Point::VnicRx), "{seen:?}");
    assert!(seen.contains(&(Point::Encap, own)), "{seen:?}");
    assert_eq!(seen.last().map(|seen| seen.0), Some(Point::UplinkTx));
    host.world.answer(absent, false);
    let seen = points(host.world.seen());
    assert_eq!(seen, [(Point::Drop, own)]);
    host.out();
}

fn six(i: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, i)
}

#[test]
fn ipv6_waits_as_ipv4_does() {
    let mut host = host();
    let (from, segment) = (host.vnics[0][0], host.segments[0]);
    host.world.subnet6(segment, six(1), 64);
    host.world.on_miss(host.domains[0], true);
    host.world.address6(from, six(11));
    // A neighbour's question (RFC 4861 §4.3), and a packet by the gateway.
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 12);
    let option = [&[1, 1][..], &mac(11).octets()].concat();
    let ask = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &six(12).octets(), &option].concat();
    let ask = ether(
        Mac::new([0x33, 0x33, 0xff, 0, 0, 12]),
        mac(11),
        0x86dd,
        &icmp6(six(11), group, 255, &ask),
    );
    let routed = |to: u16, number: u8| {
        let udp = [0, 1, 0, 2, 0, 9, 0, 0, number];
        ether(
            GATEWAY_MAC,
            mac(11),
            0x86dd,
            &ipv6(six(11), six(to), 17, &udp),
        )
    };
    assert_eq!(host.send(&ask), []);
    assert_eq!(host.send(&routed(12, 0)), []);
    let (there, nobody) = (
        Destination::V6(host.domains[0], six(12)),
        Destination::V6(host.domains[0], six(99)),
    );
    assert_eq!(host.questions(), [(from, there)], "one question");
    let peer = host.peer;
    host.world.remote6(segment, mac(12), six(12), peer);
    assert_eq!(host.send(&routed(12, 1)), [], "in its turn");
    let out = host.answer(there, true);
    let own = host.world.port_of(from).unwrap();
    let ports: Vec<PortId> = out.iter().map(|out| out.0).collect();
    assert_eq!(ports, [own, UPLINK_PORT, UPLINK_PORT]);
    // An advertisement of 12's MAC (RFC 4861 §4.4).
    assert_eq!(
        (out[0].1[54], &out[0].1[6..12]),
        (136, &mac(12).octets()[..])
    );
    let number = |out: &(PortId, Vec<u8>)| out.1[42 + 14 + 40 + 8];
    assert_eq!((number(&out[1]), number(&out[2])), (0, 1));
    // Nobody: ICMPv6, destination unreachable, address (RFC 4443 §3.1).
    assert_eq!(host.send(&routed(99, 2)), []);
    let out = host.answer(nobody, false);
    assert_eq!((out[0].0, out[0].1[54], out[0].1[55]), (own, 1, 3));
    assert_eq!(host.dropped(Reason::HostUnknown), 1);
}
