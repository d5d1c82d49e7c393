//! What was left to a device: drivers are told where headers are, guests get what they agreed to and no more, be the port another
//! worker's.

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::{Options, Rig, bytes, eal, unique};
use rte::{
    Burst, Gso, GsoKind, IpVersion, L4Checksum, L4Kind, Mbuf, OuterRequest, Pool, Port, PortConfig,
    RxOffloads, RxQueue, Tunnel, TxOffloads, TxQueue, TxRequest, VhostFeatures, VhostMode,
    VhostPort,
};
use weir_switch::testing::frames::{Field, ether, ipv4, ipv6, l4};
use weir_switch::testing::world::{PEER_MAC, UPLINK_PORT, World};
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::offloads::Offloads;
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_wire::ipv4::Ipv4;
use weir_wire::tcp::Tcp;
use weir_worker::command::Command;
use weir_worker::device::{Rx, Tx};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const GSO: Gso = Gso {
    segment_size: 1000,
    kind: GsoKind::Tcp4,
};

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// Vnics 0 and 1 here, 3 on another host.
fn host(vlan: Option<u16>) -> (World, VnicId, VnicId) {
    host_with(vlan, PA.into())
}

fn host_with(vlan: Option<u16>, pa: IpAddr) -> (World, VnicId, VnicId) {
    let mut world = World::new(64, vlan);
    let blue = world.segment(5001);
    let a = world.vnic(blue, mac(0), ca(0));
    let b = world.vnic(blue, mac(1), ca(1));
    let peer = world.peer(pa, Some(PEER_MAC));
    world.remote(blue, mac(3), ca(3), peer);
    (world, a, b)
}

/// TCP or UDP over IPv4 from vNIC 0, its checksum unfinished.
fn v4(to: u8, protocol: u8, payload: usize) -> Vec<u8> {
    let ends: (IpAddr, IpAddr) = (ca(0).into(), ca(to).into());
    let segment = l4(protocol, ends, (4000, 80), &vec![7; payload], Field::Pseudo);
    ether(
        mac(to),
        mac(0),
        0x0800,
        &ipv4(ca(0), ca(to), protocol, &segment),
    )
}

fn v6(to: u8, payload: usize) -> Vec<u8> {
    let (from, there) = (mac(0).link_local(), mac(to).link_local());
    let segment = l4(
        6,
        (from.into(), there.into()),
        (4000, 80),
        &vec![7; payload],
        Field::Pseudo,
    );
    ether(mac(to), mac(0), 0x86dd, &ipv6(from, there, 6, &segment))
}

fn unfinished(rig: &Rig, bytes: &[u8], gso: Option<Gso>) -> Mbuf {
    let mut mbuf = rig.mbuf(bytes);
    mbuf.set_l4_checksum(L4Checksum::Partial);
    mbuf.set_gso(gso);
    mbuf
}

const ALL: Offloads = Offloads::CHECKSUM
    .union(Offloads::SEGMENTS)
    .union(Offloads::TUNNEL_CHECKSUM)
    .union(Offloads::TUNNEL_SEGMENTS)
    .union(Offloads::IPV4_CHECKSUM);

/// DPDK programmer's guide, "Mbuf Library", "Meta Information": the lengths and flags of each way to ask.
#[test]
fn drivers_are_told_where_headers_are() {
    let tcp = TxRequest {
        l2_len: 14,
        l3_len: 20,
        l4_len: 20,
        l4_checksum: Some(L4Kind::Tcp),
        ..TxRequest::default()
    };
    let outer = |l2_len, ipv4_checksum| {
        Some(OuterRequest {
            l2_len,
            l3_len: 20,
            ip_version: IpVersion::V4,
            ipv4_checksum,
            tunnel: Tunnel::Gre,
        })
    };
    let gso6 = Gso {
        kind: GsoKind::Tcp6,
        ..GSO
    };
    let long = Offloads::TUNNEL_CHECKSUM.union(Offloads::CHECKSUM);
    let cases = [
        // To a vNIC: as the frame says.
        (None, ALL, v4(1, 6, 100), None, tcp),
        (
            None,
            ALL,
            v4(1, 17, 100),
            None,
            TxRequest {
                l4_len: 8,
                l4_checksum: Some(L4Kind::Udp),
                ..tcp
            },
        ),
        (
            None,
            ALL,
            v4(1, 6, 5000),
            Some(GSO),
            TxRequest {
                tso: Some(1000),
                ipv4_checksum: true,
                ..tcp
            },
        ),
        (
            None,
            ALL,
            v6(1, 5000),
            Some(gso6),
            TxRequest {
                l3_len: 40,
                ip_version: IpVersion::V6,
                tso: Some(1000),
                ..tcp
            },
        ),
        // Inside NVGRE, to a device that knows tunnels: the inner L2 from the end of the outer IP header on.
        (
            None,
            ALL,
            v4(3, 6, 100),
            None,
            TxRequest {
                l2_len: 22,
                outer: outer(14, false),
                ..tcp
            },
        ),
        (
            None,
            ALL,
            v4(3, 6, 5000),
            Some(GSO),
            TxRequest {
                l2_len: 22,
                tso: Some(1000),
                ipv4_checksum: true,
                outer: outer(14, true),
                ..tcp
            },
        ),
        (
            Some(300),
            ALL,
            v6(3, 5000),
            Some(gso6),
            TxRequest {
                l2_len: 22,
                l3_len: 40,
                ip_version: IpVersion::V6,
                tso: Some(1000),
                outer: outer(18, true),
                ..tcp
            },
        ),
        // To one that does not: all before the inner IP header is L2.
        (
            None,
            long,
            v4(3, 6, 100),
            None,
            TxRequest { l2_len: 56, ..tcp },
        ),
        (
            Some(300),
            long,
            v4(3, 6, 100),
            None,
            TxRequest { l2_len: 60, ..tcp },
        ),
    ];
    for (number, (vlan, offloads, frame, gso, expected)) in cases.into_iter().enumerate() {
        let (mut world, a, b) = host(vlan);
        let (from, to) = (world.port_of(a).unwrap(), world.port_of(b).unwrap());
        let remote = frame[5] == 3;
        let port = if remote { UPLINK_PORT } else { to };
        world.change_port(port, |port| port.offloads = offloads);
        let mut rig = Rig::with(world, Options::default());
        let mbuf = unfinished(&rig, &frame, gso);
        rig.line(from).inject([mbuf]);
        rig.settle();
        let out = rig.line(port).take_mbufs();
        assert_eq!(out.len(), 1, "case {number}: {:?}", rig.drops());
        assert_eq!(out[0].requested_tx(), expected, "case {number}");
        let skip = bytes(&out[0]).len() - frame.len();
        assert_eq!(bytes(&out[0])[skip..], frame, "case {number}");
        drop(out);
        let whole = u64::from(gso.is_some());
        let view = &rig.world.view;
        let passed = match remote {
            true => &view.uplinks[0].as_ref().unwrap().cells,
            false => &view.vnic(b).unwrap().cells,
        };
        assert_eq!(passed[0].passed_whole.get(), whole);
        rig.close();
    }
}

/// Behind an IPv6 header, which has no checksum of its own.
#[test]
fn drivers_are_told_where_headers_are_behind_ipv6() {
    let gso6 = Gso {
        kind: GsoKind::Tcp6,
        ..GSO
    };
    let inner = TxRequest {
        l3_len: 40,
        l4_len: 20,
        ip_version: IpVersion::V6,
        l4_checksum: Some(L4Kind::Tcp),
        ..TxRequest::default()
    };
    let outer = OuterRequest {
        l2_len: 14,
        l3_len: 40,
        ip_version: IpVersion::V6,
        ipv4_checksum: false,
        tunnel: Tunnel::Gre,
    };
    let cases = [
        (
            ALL,
            5000,
            Some(gso6),
            TxRequest {
                l2_len: 22,
                tso: Some(1000),
                outer: Some(outer),
                ..inner
            },
        ),
        (
            Offloads::TUNNEL_CHECKSUM,
            100,
            None,
            TxRequest {
                l2_len: 76,
                ..inner
            },
        ),
    ];
    for (offloads, payload, gso, expected) in cases {
        let (mut world, a, _) = host_with(None, "fd00:50::2".parse().unwrap());
        let from = world.port_of(a).unwrap();
        world.change_port(UPLINK_PORT, |port| port.offloads = offloads);
        let mut rig = Rig::with(world, Options::default());
        let mbuf = unfinished(&rig, &v6(3, payload), gso);
        rig.line(from).inject([mbuf]);
        rig.settle();
        let out = rig.line(UPLINK_PORT).take_mbufs();
        assert_eq!(out.len(), 1, "{:?}", rig.drops());
        assert_eq!(out[0].requested_tx(), expected);
        drop(out);
        rig.close();
    }
}

/// What the port's device does is nothing to another worker: the owner tells it.
#[test]
fn what_is_handed_over_is_still_unfinished() {
    let (mut world, a, b) = host(None);
    let (from, to) = (world.port_of(a).unwrap(), world.port_of(b).unwrap());
    world.change_port(to, |port| {
        port.offloads = ALL;
        port.owner = WorkerId(1);
    });
    let options = Options {
        workers: 2,
        ..Options::default()
    };
    let mut rig = Rig::with(world, options);
    let frame = v4(1, 6, 5000);
    let mbuf = unfinished(&rig, &frame, Some(GSO));
    rig.line(from).inject([mbuf]);
    rig.settle();
    let out = rig.line(to).take_mbufs();
    assert_eq!(out[0].requested_tx().tso, Some(1000));
    assert_eq!(bytes(&out[0]), frame);
    drop(out);
    rig.close();
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "waited for {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A virtio_user port that connects to a socket, as a guest would.
fn guest(path: &str, pool: Pool, rx: RxOffloads, tx: TxOffloads) -> (Port, RxQueue, TxQueue) {
    let devargs = format!(
        "{},path={path},queues=1,mrg_rxbuf=1",
        unique("net_virtio_user")
    );
    let mut port = Port::attach(eal(), &devargs).expect("a guest");
    let config = PortConfig {
        rx_offloads: rx,
        tx_offloads: tx,
        ..PortConfig::default()
    };
    let (mut rx, mut tx) = port.start(&config, pool).expect("a start");
    (port, rx.remove(0), tx.remove(0))
}

/// What a driver wants in the checksum's place is its own to say (`rte_eth_tx_prepare`): virtio the pseudo-header's sum, whatever the
/// sender left there.
#[test]
fn drivers_adapt_what_asks_them_for_work() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("far.sock");
    let path = path.to_str().expect("a path");
    let (mut world, a, b) = host(None);
    let (from, to) = (world.port_of(a).unwrap(), world.port_of(b).unwrap());
    world.change_port(to, |port| port.offloads = Offloads::CHECKSUM);
    let mut rig = Rig::with(world, Options::default());
    rig.close_port(to);
    let features = VhostFeatures {
        checksum: true,
        ..VhostFeatures::default()
    };
    let (far, mut far_rx, far_tx) =
        VhostPort::open(eal(), path, VhostMode::Server, features, rig.feed).expect("a port");
    let checksum = TxOffloads::TCP_CHECKSUM | TxOffloads::UDP_CHECKSUM;
    let (port, rx, tx) = guest(path, rig.feed, RxOffloads::NONE, checksum);
    wait_for("the link", || far.link_up());
    rig.seats[0].tell(Command::AddTx(to, Tx::Eth(tx)));
    let right = v4(1, 6, 100);
    let mut wrong = right.clone();
    wrong[50..52].copy_from_slice(&[0x12, 0x34]);
    let mbuf = unfinished(&rig, &wrong, None);
    rig.line(from).inject([mbuf]);
    let mut burst = Burst::new();
    wait_for("the frame", || {
        rig.settle();
        far_rx.rx(&mut burst) > 0
    });
    assert_eq!(bytes(&burst.as_slice()[0]), right);
    drop(burst);
    let (_, mut tx) = rig.take_back(to);
    let Some(Tx::Eth(tx)) = tx.pop() else {
        panic!("a queue");
    };
    port.close(vec![rx], vec![tx]).expect("closed");
    far.close(far_rx, far_tx).expect("closed");
    rig.close();
}

/// Two guests on vhost-user: what one sends whole the other gets whole, finished or in segments, as it agreed.
#[test]
fn guests_get_what_they_agreed_to() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("b.sock");
    let path = path.to_str().expect("a path");
    let (mut world, a, b) = host(None);
    let (from, to) = (world.port_of(a).unwrap(), world.port_of(b).unwrap());
    let offered = Offloads::CHECKSUM.union(Offloads::SEGMENTS);
    world.change_port(to, |port| {
        port.offloads = offered;
        port.max_frame = 1514;
    });
    let vm = Pool::create(eal(), &unique("vm"), 2047, 0, 2176, 0, None).expect("a pool");
    let mut rig = Rig::with(world, Options::default());
    rig.close_port(to);
    let features = VhostFeatures {
        checksum: true,
        tso: true,
        ufo: false,
    };
    let (port, rx, tx) =
        VhostPort::open(eal(), path, VhostMode::Server, features, rig.feed).expect("a port");
    let seat = &mut rig.seats[0];
    seat.tell(Command::AddTx(to, Tx::Vhost(tx)));
    seat.tell(Command::AddRx(to, Rx::Vhost(rx)));

    let checksum = RxOffloads::TCP_CHECKSUM | RxOffloads::UDP_CHECKSUM;
    let large = v4(1, 6, 5000);
    let small = v4(1, 17, 100);
    for (takes, whole) in [
        (checksum | RxOffloads::TCP_LRO, true),
        (checksum, false),
        (RxOffloads::NONE, false),
    ] {
        let (virtio, mut guest_rx, guest_tx) = guest(path, vm, takes, TxOffloads::NONE);
        wait_for("the guest", || port.link_up());
        let agreed = port.offloads();
        assert_eq!(agreed.contains(TxOffloads::TCP_TSO), whole, "{agreed}");
        let mbufs = [
            unfinished(&rig, &large, Some(GSO)),
            unfinished(&rig, &small, None),
        ];
        rig.line(from).inject(mbufs);
        let mut got: Vec<Mbuf> = Vec::new();
        let expected = if whole { 2 } else { 6 };
        wait_for("frames", || {
            rig.settle();
            let mut burst = Burst::new();
            guest_rx.rx(&mut burst);
            got.extend(burst.drain());
            got.len() >= expected
        });
        assert_eq!(got.len(), expected);
        let datagram = got.pop().expect("the small one");
        if takes == RxOffloads::NONE {
            let ip = bytes(&datagram);
            let ip = Ipv4::parse(&ip[14..]).expect("IPv4");
            let udp = weir_wire::udp::Udp::parse(ip.payload()).expect("UDP");
            assert!(udp.checksum_is_right_v4(ip.source(), ip.destination()));
        } else {
            assert_eq!(datagram.l4_checksum(), L4Checksum::Partial);
            assert_eq!(bytes(&datagram), small);
        }
        if whole {
            assert_eq!(got[0].gso(), Some(GSO));
            // Of the pseudo-header's sum the library makes its own.
            let tcp = bytes(&got[0]);
            assert_eq!(tcp[..50], large[..50]);
            assert_eq!(tcp[52..], large[52..]);
        } else {
            for segment in &got {
                assert_eq!(segment.gso(), None);
                let segment = bytes(segment);
                let ip = Ipv4::parse(&segment[14..]).expect("IPv4");
                let tcp = Tcp::parse(ip.payload()).expect("TCP");
                assert_eq!(tcp.payload().len(), 1000);
                assert!(tcp.checksum_is_right_v4(ip.source(), ip.destination()));
            }
        }
        drop((got, datagram));
        virtio
            .close(vec![guest_rx], vec![guest_tx])
            .expect("closed");
        wait_for("the guest's end", || !port.link_up());
    }
    let cells = &rig.world.view.vnic(b).expect("there").cells[0];
    assert_eq!((cells.passed_whole.get(), cells.segmented.get()), (1, 2));
    assert_eq!(rig.dropped(Reason::GsoUnsupported), 0);
    let (mut rx, mut tx) = rig.take_back(to);
    let (Some(Rx::Vhost(rx)), Some(Tx::Vhost(tx))) = (rx.pop(), tx.pop()) else {
        panic!("a queue each way");
    };
    port.close(rx, tx).expect("closed");
    assert_eq!(vm.in_use(), 0);
    rig.close();
    let _: PortId = to;
}

/// The tag that a VF's PF has taken off is forgotten where the VF's network is untagged; any other device's is the wire's.
#[test]
fn a_vf_forgets_the_tag_that_its_pf_took_off() {
    let devargs = unique("net_ring");
    let mut port = Port::attach(eal(), &devargs).expect("a ring");
    let pool = Pool::create(eal(), &devargs, 127, 0, 2176, 0, None).expect("a pool");
    let (mut rx, mut tx) = port.start(&PortConfig::default(), pool).expect("a start");
    let (mut queue, mut to) = (Rx::Vf(rx.remove(0)), tx.remove(0));
    for (wanted, turn) in [(None, 0), (Some(101), 1)] {
        let mut burst = Burst::new();
        for tci in [Some(101), None] {
            let mut mbuf = pool.alloc().expect("an mbuf");
            mbuf.append(64).expect("room").fill(turn);
            mbuf.set_vlan(tci);
            assert!(burst.push(mbuf).is_ok());
        }
        assert_eq!(to.tx(&mut burst), 2);
        assert_eq!(queue.rx(&mut burst), 2);
        let tags: Vec<_> = burst.as_slice().iter().map(Mbuf::vlan).collect();
        assert_eq!(tags, [wanted, None]);
        assert_eq!(burst.as_slice()[0].is_plain(), wanted.is_none());
        let Rx::Vf(rx) = queue else { break };
        queue = Rx::Eth(rx);
    }
    let Rx::Eth(rx) = queue else {
        panic!("the queue of a ring")
    };
    port.close(vec![rx], vec![to]).expect("closed");
    assert_eq!(pool.in_use(), 0);
}
