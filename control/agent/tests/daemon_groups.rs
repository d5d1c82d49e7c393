//! Provider multicast groups carried out on a real host: what it says to routers, sends and accepts; the limit on copies.

mod daemon_common;

use std::net::Ipv4Addr;
use std::time::Duration;

use daemon_common::{HOST, Host, ca, mac, until};
use weir_switch::testing::frames;
use weir_tables::ids::UplinkId;
use weir_wire::igmp::{self, Query, Says};
use weir_wire::ipv4::{group_mac, set_ttl};
use weir_wire::{Mac, checksum};

const POLICY: &str = r#"
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2"]
[[host]]
name = "h3"
provider_addresses = ["192.168.50.3"]
[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue1"
vsid = 5001
prefixes = ["10.1.0.0/24"]
TO_MANY
[[vnic]]
name = "b8"
host = "h2"
subnet = "blue1"
mac = "02:00:00:00:01:08"
addresses = ["10.1.0.18"]
[[vnic]]
name = "b9"
host = "h3"
subnet = "blue1"
mac = "02:00:00:00:01:09"
addresses = ["10.1.0.19"]
"#;

const HERE: &str = r#"
[[vnic]]
name = "b1"
host = "h1"
subnet = "blue1"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11"]
attach = "memif:DIR/b1"
"#;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const PEER: Mac = Mac::new([2, 0xbb, 0, 0, 0, 2]);
const PEER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn to_all(from: u8) -> Vec<u8> {
    frames::tenant(Mac::BROADCAST, mac(from), ca(from), ca(2), b"to all")
}

fn policy(to_many: &str, here: bool) -> String {
    let text = POLICY.replace("TO_MANY", to_many);
    if here { text + HERE } else { text }
}

#[test]
fn a_group_is_joined_used_answered_for_and_left() {
    let mut host = Host::start(HOST);
    let grouped = "multicast_group = \"239.1.1.1\"";
    host.apply(&policy(grouped, true)).expect("a policy");
    let uplink = host.state().tables.view.uplinks[0].clone();
    let uplink = uplink.expect("an uplink");
    assert_eq!(*uplink.groups, [GROUP]);
    // What could not be sent before somebody was there is said again to who asks.
    let (mut b1, mut wire) = (host.vm("b1"), host.vm("up0"));
    let asks = Query {
        group: None,
        within: Duration::ZERO,
        is_v3: true,
    };
    let mut packet = frames::ipv4(PEER_PA, igmp::ALL_HOSTS, 2, &asks.octets());
    set_ttl(packet.first_chunk_mut().expect("a header"), 1);
    let question = frames::ether(group_mac(igmp::ALL_HOSTS), PEER, 0x0800, &packet);
    wire.send([&question[..]]);
    let listens = igmp::report_v3(Says::Listens, GROUP);
    until("the question is answered", || {
        host.state().tend_neighbors();
        wire.poll().iter().any(|frame| {
            let ip = &frame[14..38];
            let right = frame[..6] == group_mac(igmp::ROUTERS_V3).octets()
                && frame[6..12] == uplink.mac.octets()
                && ip[..2] == [0x46, 0xc0]
                && ip[8..10] == [1, 2]
                && ip[12..] == [192, 168, 50, 1, 224, 0, 0, 22, 0x94, 4, 0, 0]
                && checksum::sum(ip) == 0xffff;
            right && frame[38..].starts_with(&listens)
        })
    });

    let all = to_all(1);
    b1.send([&all[..]]);
    let out = wire.receive(1);
    assert_eq!(out[0][..6], group_mac(GROUP).octets());
    assert_eq!(out[0][26..34], [192, 168, 50, 1, 239, 1, 1, 1]);
    assert_eq!(out[0][42..], all);
    let theirs = to_all(8);
    let macs = (group_mac(GROUP), PEER);
    wire.send([&frames::nvgre(macs, (PEER_PA, GROUP), 5001, 1, &theirs)[..]]);
    assert_eq!(b1.receive(1), [theirs]);
    let peer = host
        .state()
        .objects("peer", Some("239.1.1.1"))
        .expect("a kind");
    assert_eq!(peer[0]["status"]["mac"], "01:00:5e:01:01:01");
    host.assert_conserved();

    // Without a group, and with a limit: one copy a host, as far as it goes.
    host.apply(&policy("copies_limit = 1", true))
        .expect("a policy");
    let left = igmp::report_v3(Says::Leaves, GROUP);
    until("the group is left", || {
        host.state().tend_neighbors();
        wire.poll()
            .iter()
            .any(|frame| frame[38..].starts_with(&left))
    });
    b1.send([&all[..]]);
    assert_eq!(wire.receive(1)[0][30..34], PEER_PA.octets());
    assert_eq!(host.dropped("copies_limit"), 1);
    let groups = |host: &mut Host| {
        let uplink = host.state().tables.view.uplink(UplinkId(0));
        uplink.expect("an uplink").groups.len()
    };
    assert_eq!(groups(&mut host), 0);
    // Who has no member here does not listen.
    host.apply(&policy(grouped, false)).expect("a policy");
    assert_eq!(groups(&mut host), 0);
    for vm in [b1, wire] {
        vm.unplug();
    }
    host.stop();
}
