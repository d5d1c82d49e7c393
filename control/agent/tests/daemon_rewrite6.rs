//! Rewriting of IPv6 carried out on a real host: what it says of its vNICs' provider addresses, and whose packets bear which
//! as vNICs come and go and places in the snapshot change hands.

mod daemon_common;

use std::net::{IpAddr, Ipv6Addr};

use daemon_common::{Host, Vm, until};
use weir_switch::testing::frames::{self, Field};
use weir_tables::domain::GATEWAY_MAC;
use weir_wire::icmp6::Icmp6;
use weir_wire::ipv6::{self, Ipv6};
use weir_wire::nd::{self, Flags, Message};
use weir_wire::{IpProtocol, Mac};

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "memif:DIR/up0"
provider_addresses = ["fd50::1/64"]
neighbors = { "fd50::2" = "02:bb:00:00:00:02" }
"#;

const POLICY: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["fd50::2"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue1"
vsid = 5001
prefixes = ["fd01::/64"]
translation = "rewrite"
[[vnic]]
name = "a"
host = "h1"
subnet = "blue1"
mac = "02:00:00:00:01:01"
addresses = ["fd01::a"]
provider_addresses = ["fd50::a"]
attach = "memif:DIR/a"
"#;

const PEER: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
const A: Mac = Mac::new([2, 0, 0, 0, 1, 1]);

/// The policy with these vNICs on the other host, by the last part of their addresses: customer's, provider's.
fn policy(others: &[(u16, u16)]) -> String {
    let mut text = POLICY.to_owned();
    for (ca, pa) in others {
        text += &format!(
            "[[vnic]]\nname = \"x{ca:x}\"\nhost = \"h2\"\nsubnet = \"blue1\"\nmac = \"02:00:00:00:02:{ca:02x}\"\naddresses = [\"fd01::{ca:x}\"]\nprovider_addresses = [\"fd50::{pa:x}\"]\n"
        );
    }
    text
}

fn address(net: u16, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(net, 0, 0, 0, 0, 0, 0, last)
}

fn udp((dst, src): (Mac, Mac), from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let between = (IpAddr::V6(from), IpAddr::V6(to));
    let l4 = frames::l4(17, between, (4000, 5000), b"hello", Field::Right);
    frames::ether(dst, src, 0x86dd, &frames::ipv6(from, to, 17, &l4))
}

/// What `a` sends to this customer address has this provider address on the wire, and back.
#[track_caller]
fn travels(host: &Host, vms: &mut [Vm; 2], (ca, pa): (u16, u16)) {
    let [a, wire] = vms;
    let uplink = Mac::new(wire_mac(host));
    let sent = udp((GATEWAY_MAC, A), address(0xfd01, 0xa), address(0xfd01, ca));
    a.send([&sent[..]]);
    let own = address(0xfd50, 0xa);
    let wanted = udp((PEER, uplink), own, address(0xfd50, pa));
    assert_eq!(data(wire), wanted, "to {ca:x}");
    wire.send([&udp((uplink, PEER), address(0xfd50, pa), own)[..]]);
    let wanted = udp((A, GATEWAY_MAC), address(0xfd01, ca), address(0xfd01, 0xa));
    assert_eq!(a.receive(1), [wanted], "from {ca:x}");
}

fn wire_mac(host: &Host) -> [u8; 6] {
    let state = host.state.as_ref().expect("a state");
    let uplink = state.tables.view.uplinks[0].as_ref();
    uplink.expect("an uplink").mac.octets()
}

/// The next frame that is no ICMPv6, which the host says by itself.
fn data(wire: &mut Vm) -> Vec<u8> {
    let mut found = None;
    until("a packet", || {
        let mut all = wire.poll().into_iter();
        found = all.find(|frame| frame[20] == IpProtocol::UDP.0);
        found.is_some()
    });
    found.expect("a packet")
}

#[test]
fn a_vnic_s_provider_address_is_announced_and_its_group_reported() {
    let mut host = Host::start(HOST);
    let mut wire = host.vm("up0");
    host.apply(&policy(&[])).expect("a policy");
    let own = address(0xfd50, 0xa);
    let mac = Mac::new(wire_mac(&host));
    let heard = |frames: &[Vec<u8>]| {
        let reported = frames.iter().any(|frame| {
            let group = nd::solicited_node(own).octets();
            // Behind an IPv6 header and a router alert: an MLD report of one group.
            frame[20] == 0 && frame[14 + ipv6::HEADER + 8] == 143 && frame[14 + 60..][..16] == group
        });
        let announced = frames.iter().any(|frame| {
            let to_all = frame[..6] == nd::group_mac(nd::ALL_NODES).octets();
            let Ok(ip) = Ipv6::parse(&frame[14..]) else {
                return false;
            };
            let message = Icmp6::parse(ip.payload()).ok();
            to_all
                && (ip.source(), ip.destination(), ip.hop_limit()) == (own, nd::ALL_NODES, 255)
                && message.is_some_and(|message| {
                    message.checksum_is_right(own, nd::ALL_NODES)
                        && matches!(Message::parse(&message), Ok(Message::NeighborAdvertisement { flags, target, options })
                            if flags == Flags::OVERRIDE && target == own && options.target_mac() == Some(mac))
                })
        });
        (reported, announced)
    };
    let mut all = Vec::new();
    until("both", || {
        all.extend(wire.poll());
        heard(&all) == (true, true)
    });
    wire.unplug();
    host.stop();
}

#[test]
fn places_of_addresses_are_used_again_and_each_packet_has_its_own() {
    let mut host = Host::start(HOST);
    host.apply(&policy(&[(0xb, 0xb1), (0xc, 0xc1)]))
        .expect("a policy");
    let mut vms = [host.vm("a"), host.vm("up0")];
    for pair in [(0xb, 0xb1), (0xc, 0xc1)] {
        travels(&host, &mut vms, pair);
    }
    let left = host.state().tables.addresses.left();
    for round in 0_u16..20 {
        // One goes, one comes in its place, one changes its provider address, and sometimes two change theirs with one another.
        let here = [
            (0xb, 0xb1 + round % 3),
            (0x20 + round, 0x220 + round),
            (0xc, 0xc1 + round % 2),
        ];
        host.apply(&policy(&here)).expect("a policy");
        for pair in here {
            travels(&host, &mut vms, pair);
        }
        let gone = udp(
            (GATEWAY_MAC, A),
            address(0xfd01, 0xa),
            address(0xfd01, 0x1f + round),
        );
        if round > 0 {
            vms[0].send([&gone[..]]);
            let told = vms[0].receive(1);
            assert_eq!(told[0][54..56], [1, 3], "nobody has it any more");
            let (was, own) = (address(0xfd50, 0x21f + round), address(0xfd50, 0xa));
            let uplink = Mac::new(wire_mac(&host));
            vms[1].send([&udp((uplink, PEER), was, own)[..]]);
            until("its provider address is nobody's", || {
                host.dropped("unknown_pa") == u64::from(round)
            });
        }
    }
    host.apply(&policy(&[(0xb, 0xc1), (0xc, 0xb1)]))
        .expect("a policy");
    for pair in [(0xb, 0xc1), (0xc, 0xb1)] {
        travels(&host, &mut vms, pair);
    }
    assert_eq!(host.state().tables.addresses.left(), left, "none is lost");
    host.assert_conserved();
    for vm in vms {
        vm.unplug();
    }
    host.stop();
}
