//! The path that ships (mbufs, rings, the poll loop) against the model (vectors): the same frames give the
//! same bytes at the same ports, the same counts and the same reasons, whatever they are cut into.

mod common;

use std::net::Ipv4Addr;

use common::{Rig, eal, unique};
use rte::{Pool, Port, PortConfig};
use weir_switch::testing::dice::{Dice, Xorshift};
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::Party;
use weir_wire::Mac;
use weir_worker::command::{Command, Reply};
use weir_worker::device::{Rx, Tx};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const SILENT: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 3);
const VSIDS: [u32; 2] = [5001, 6001];

fn mac(i: usize) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i as u8])
}

fn ca(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i as u8)
}

/// Two tenants with the same addresses: 0 and 1 on ports of their own, 2 on a trunk by MAC (blue) or by VLAN
/// (red), 3 behind a peer, 4 behind one that does not answer.
fn host(vlan: Option<u16>) -> World {
    let mut world = World::new(256, vlan);
    let peer = world.peer(PA, Some(PEER_MAC));
    let silent = world.peer(SILENT, None);
    let by_mac = world.trunk(Party::TrunkByMac);
    let by_vlan = world.trunk(Party::TrunkByVlan);
    for (tenant, vsid) in VSIDS.into_iter().enumerate() {
        let segment = world.segment(vsid);
        world.vnic(segment, mac(0), ca(0));
        world.vnic(segment, mac(1), ca(1));
        if tenant == 0 {
            world.vnic_on(segment, mac(2), ca(2), by_mac, None);
        } else {
            world.vnic_on(segment, mac(2), ca(2), by_vlan, Some(77));
        }
        world.remote(segment, mac(3), ca(3), peer);
        world.remote(segment, mac(4), ca(4), silent);
    }
    world
}

fn tenant_frame(src: usize, dice: &mut Xorshift) -> Vec<u8> {
    let to = dice.below(6);
    let length = match dice.below(24) {
        0 => 4000 - 42,
        1 => 9000 - 42,
        2 => dice.one_of(&[1530, 1531, 1472, 9100]),
        3 => dice.below(1500),
        _ => dice.below(80),
    };
    let payload = dice.bytes(length);
    match dice.below(8) {
        0 => frames::arp_request(mac(src), ca(src), ca(dice.below(7))),
        1 => frames::tenant(Mac::BROADCAST, mac(src), ca(src), ca(to), &payload),
        2 => frames::tenant(mac(to), mac(dice.below(5)), ca(src), ca(to), &payload),
        _ => frames::tenant(mac(to), mac(src), ca(src), ca(to), &payload),
    }
}

fn frame(view: &weir_tables::view::View, port: PortId, dice: &mut Xorshift) -> Vec<u8> {
    let mut bytes = match view.port(port).map(|p| p.party) {
        Some(Party::Uplink(_)) => {
            if dice.rarely(8) {
                let target = dice.one_of(&[OWN_PA, PA, SILENT]);
                frames::arp_request(PEER_MAC, PA, target)
            } else {
                let inner = tenant_frame(3, dice);
                let pa = dice.one_of(&[PA, PA, PA, Ipv4Addr::new(192, 168, 50, 99)]);
                let vsid = dice.one_of(&[VSIDS[0], VSIDS[1], VSIDS[0], 9999]);
                frames::nvgre((UPLINK_MAC, PEER_MAC), (pa, OWN_PA), vsid, 7, &inner)
            }
        }
        Some(Party::Vnic(id)) => {
            let own = view.vnic(id).map_or(0, |v| v.identity.mac.octets()[5]);
            tenant_frame(usize::from(own), dice)
        }
        Some(Party::TrunkByVlan) => {
            let mut bytes = tenant_frame(2, dice);
            frames::tag(&mut bytes, dice.one_of(&[77, 77, 77, 78]));
            bytes
        }
        _ => tenant_frame(2, dice),
    };
    if let (Some(Party::Uplink(id)), false) = (view.port(port).map(|p| p.party), dice.rarely(10))
        && let Some(vlan) = view.uplink(id).and_then(|u| u.vlan)
    {
        frames::tag(&mut bytes, vlan);
    }
    if dice.rarely(12) && !bytes.is_empty() {
        let at = dice.below(bytes.len().min(80));
        bytes[at] ^= 1 << dice.below(8);
    }
    if dice.rarely(40) {
        bytes.truncate(1 + dice.below(60));
    }
    bytes
}

/// A turn takes one burst of a port; of a vNIC's where tables are large two, if the first is full; never two of a trunk's.
#[test]
fn a_worker_reads_ahead_of_a_vnic_where_tables_are_large() {
    for ahead in [false, true] {
        let mut world = host(None);
        world.view.reads_ahead = ahead;
        let vnic = world.view.vnic(VnicId(0)).unwrap().port;
        let is_trunk = |port: &PortId| {
            world.view.port(*port).map(|port| port.party) == Some(Party::TrunkByMac)
        };
        let trunk = (0..8).map(PortId).find(is_trunk).unwrap();
        let mut rig = Rig::new(world);
        for (port, from) in [(vnic, 0), (trunk, 2)] {
            let bytes = frames::tenant(mac(3), mac(from), ca(from), ca(3), &[0; 18]);
            rig.inject(port, (0..50).map(|_| &bytes[..]));
            let received = rig.seats[0].cells.received.get();
            rig.seats[0].worker.turn();
            let received = rig.seats[0].cells.received.get() - received;
            let wanted = if ahead && port == vnic { 50 } else { 32 };
            assert_eq!(received, wanted, "{port:?}, {ahead}");
            rig.settle();
        }
        assert_eq!(rig.take(UPLINK_PORT).len(), 100);
        rig.assert_conserved();
    }
}

/// Up to four cuts, anywhere.
fn cuts(bytes: &[u8], dice: &mut Xorshift) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    if dice.rarely(3) {
        for _ in 0..dice.below(4) {
            let at = match dice.below(2) {
                0 => 1 + dice.below(60),
                _ => 1 + dice.below(rest.len()),
            };
            if at >= rest.len() {
                break;
            }
            let (part, left) = rest.split_at(at);
            parts.push(part.to_vec());
            rest = left;
        }
    }
    parts.push(rest.to_vec());
    parts
}

fn against_the_model(vlan: Option<u16>, seed: u64) {
    let mut model = host(vlan);
    let mut rig = Rig::new(host(vlan));
    let mut dice = Xorshift::new(seed);
    let ports: Vec<PortId> = rig.lines.keys().copied().collect();
    for round in 0..1500 {
        let port = ports[dice.below(ports.len())];
        let count = 1 + dice.below(32);
        let (mut ours, mut its) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let bytes = frame(&rig.world.view, port, &mut dice);
            let parts = cuts(&bytes, &mut dice);
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            ours.push(rig.chain(&parts));
            its.push(model.herd.chain(&parts));
        }
        rig.line(port).inject(ours);
        rig.settle();
        model.receive(port, its);

        let expected = model.take();
        for &port in &ports {
            let expected = expected
                .iter()
                .filter(|out| out.0 == port)
                .map(|out| &out.1);
            let got = rig.take(port);
            assert!(got.iter().eq(expected), "port {port:?}, round {round}");
        }
        rig.assert_conserved();
        model.assert_conserved();
        let (own, its) = (&rig.seats[0].cells, model.kept.ledger.cells());
        let all = |c: &weir_tables::counters::WorkerCells| {
            [
                c.received.get(),
                c.copies.get(),
                c.sent.get(),
                c.delivered.get(),
                c.consumed.get(),
                c.dropped.get(),
            ]
        };
        assert_eq!(all(own), all(its), "round {round}");
        let events: Vec<_> = std::iter::from_fn(|| rig.seats[0].events.pop().ok()).collect();
        assert_eq!(events, std::mem::take(&mut model.kept.events));
        assert_eq!((rig.pool.in_use(), rig.feed.in_use()), (0, 0));
    }
    let drops: Vec<_> = rig.drops().into_iter().collect();
    assert_eq!(drops, model.drops());
    for reason in [
        Reason::TooBig,
        Reason::Oversize,
        Reason::PaUnresolved,
        Reason::SpoofedMac,
        Reason::SamePort,
        Reason::NoRecord,
        Reason::UnknownPa,
        Reason::UnknownVsid,
        Reason::TrunkUnknown,
    ] {
        assert!(
            rig.dropped(reason) > 0,
            "{reason:?} was never met: {drops:?}"
        );
    }
    let cells = &rig.seats[0].cells;
    assert!(cells.sent.get() > 1000 && cells.delivered.get() > 1000 && cells.copies.get() > 1000);
    rig.close();
}

#[test]
fn the_worker_does_what_the_model_does() {
    for seed in 1..=12 {
        against_the_model(None, seed);
    }
}

#[test]
fn and_with_a_vlan_on_the_uplink() {
    against_the_model(Some(300), 9);
}

#[test]
fn long_frames_and_chains_go_where_they_fit_and_are_counted_where_not() {
    let mut rig = Rig::new(host(None));
    let port = |id| rig.world.port_of(VnicId(id)).expect("a port");
    let (a, b) = (port(0), port(1));
    let send = |rig: &mut Rig, to: usize, length: usize| {
        // Ethernet, IPv4 and UDP before the payload.
        let bytes = frames::tenant(mac(to), mac(0), ca(0), ca(to), &vec![0x5a; length - 42]);
        assert_eq!(bytes.len(), length);
        let mbuf = rig.mbuf(&bytes);
        assert_eq!(mbuf.segments(), length.div_ceil(2048));
        rig.line(a).inject([mbuf]);
        rig.settle();
        rig.assert_conserved();
        bytes
    };
    // To a neighbour: what its port takes, to the byte.
    for length in [60, 1514, 2048, 2049, 4000, 9000, 9014] {
        let sent = send(&mut rig, 1, length);
        assert_eq!(rig.take(b), [sent], "{length}");
    }
    assert_eq!(rig.drops().len(), 0, "{:?}", rig.drops());
    send(&mut rig, 1, 9015);
    assert_eq!(rig.take(b), Vec::<Vec<u8>>::new());
    assert_eq!(rig.dropped(Reason::Oversize), 1);
    // Over the wire: what the uplink's MTU leaves, to the byte.
    send(&mut rig, 3, 1572);
    let out = rig.take(UPLINK_PORT);
    assert_eq!((out.len(), out[0].len()), (1, 1614));
    for (n, length) in [1573, 4000, 9000].into_iter().enumerate() {
        send(&mut rig, 3, length);
        assert_eq!(rig.dropped(Reason::TooBig), n as u64 + 1);
    }
    assert_eq!(rig.take(UPLINK_PORT).len(), 0);
    assert_eq!(rig.feed.in_use(), 0);
    // A chain of the most segments there can be is switched too.
    let bytes = frames::tenant(mac(3), mac(0), ca(0), ca(3), &[7; 500]);
    let parts: Vec<&[u8]> = bytes.chunks(5).collect();
    let mbuf = rig.chain(&parts);
    rig.line(a).inject([mbuf]);
    rig.settle();
    assert_eq!(rig.take(UPLINK_PORT)[0][42..], bytes);
    rig.close();
}

#[test]
fn a_port_whose_mtu_is_larger_takes_larger_frames_over_the_wire() {
    let mut world = World::new(64, None);
    let segment = world.segment(5001);
    let vnic = world.vnic(segment, mac(0), ca(0));
    let port = world.port_of(vnic).expect("a port");
    let mut rig = Rig::new(world);
    rig.world
        .change_port(UPLINK_PORT, |port| port.max_frame = 9056);
    // From the wire what is larger than the receiver takes is refused by its port alone.
    rig.world.peer(PA, Some(PEER_MAC));
    rig.publish();
    for (length, fits) in [(4000, true), (9014, true), (9015, false)] {
        let inner = frames::tenant(mac(0), mac(3), ca(3), ca(0), &vec![1; length - 42]);
        let outer = frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), 5001, 0, &inner);
        rig.inject(UPLINK_PORT, [&outer[..]]);
        rig.settle();
        assert_eq!(rig.take(port), if fits { vec![inner] } else { vec![] });
        rig.assert_conserved();
    }
    assert_eq!(rig.dropped(Reason::Oversize), 1);
    rig.close();
}

#[test]
fn packets_of_the_switch_s_own_leave_by_the_uplink() {
    let mut rig = Rig::new(host(None));
    let bytes: [u8; 60] = frames::arp_request(UPLINK_MAC, OWN_PA, PA)
        .try_into()
        .expect("60 bytes");
    let uplink = weir_switch::testing::world::UPLINK;
    rig.seats[0].tell(Command::Generate(
        uplink,
        UPLINK_PORT,
        bytes.into_iter().collect(),
    ));
    rig.settle();
    assert_eq!(rig.take(UPLINK_PORT), [bytes.to_vec()]);
    rig.assert_conserved();
    let cells = &rig.seats[0].cells;
    assert_eq!((cells.generated.get(), cells.sent.get()), (1, 1));
    // To a port that nobody has any more.
    rig.close_port(UPLINK_PORT);
    rig.seats[0].tell(Command::Generate(
        uplink,
        UPLINK_PORT,
        bytes.into_iter().collect(),
    ));
    rig.settle();
    assert_eq!(rig.dropped(Reason::PortClosed), 1);
    rig.close();
}

#[test]
fn what_comes_for_a_vnic_or_from_a_port_that_is_gone_is_counted() {
    let mut rig = Rig::new(host(None));
    let (a, b) = (VnicId(0), VnicId(1));
    let port = |rig: &Rig, id| rig.world.port_of(id).expect("a port");
    let (pa, pb) = (port(&rig, a), port(&rig, b));
    let hello = frames::tenant(mac(1), mac(0), ca(0), ca(1), b"hello");
    rig.inject(pa, [&hello[..]]);
    rig.settle();
    assert_eq!(
        rig.take(pb),
        std::slice::from_ref(&hello),
        "the way is open"
    );
    // Still in the tables, no more in the view: as in the middle of a transaction.
    let gone = rig.world.view.vnics[1].take().expect("a vNIC");
    rig.gone.push(gone.cells.clone());
    rig.publish();
    rig.inject(pa, [&hello[..]]);
    let back = frames::tenant(mac(0), mac(1), ca(1), ca(0), b"back");
    rig.inject(pb, [&back[..]]);
    rig.settle();
    assert_eq!((rig.take(pa).len(), rig.take(pb).len()), (0, 0));
    assert_eq!(rig.dropped(Reason::VnicGone), 2);
    rig.assert_conserved();
    // Its port has left the view while it is still polled.
    rig.world.view.ports[pb.index()] = None;
    rig.publish();
    rig.inject(pb, [&back[..]]);
    rig.settle();
    assert_eq!(rig.dropped(Reason::VnicGone), 3);
    rig.assert_conserved();
    rig.close();
}

/// A pcap file's header and these frames.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
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

/// The frames of a pcap file.
fn frames_of(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        frames.push(after[..length].to_vec());
        rest = &after[length..];
    }
    frames
}

#[test]
fn from_a_pcap_file_over_the_wire_to_a_pcap_file_and_into_the_void() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut model = host(None);
    let sent: Vec<Vec<u8>> = (0..1000)
        .map(|i| frames::tenant(mac(3), mac(0), ca(0), ca(3), &vec![i as u8; i]))
        .collect();
    std::fs::write(path("in"), pcap(&sent)).expect("a file");
    std::fs::write(path("none"), pcap(&[])).expect("a file");
    let mut rig = Rig::bare(host(None), common::Options::default());
    let start = |devargs: String, pool: Pool| {
        let mut port = Port::attach(eal(), &devargs).expect("a port");
        let (rx, tx) = port.start(&PortConfig::default(), pool).expect("a start");
        (port, rx, tx)
    };
    let a = rig.world.port_of(VnicId(0)).expect("a port");
    let devargs = [
        (
            a,
            format!(
                "{},rx_pcap={},tx_pcap={}",
                unique("net_pcap"),
                path("in"),
                path("back")
            ),
        ),
        (
            UPLINK_PORT,
            format!(
                "{},rx_pcap={},tx_pcap={}",
                unique("net_pcap"),
                path("none"),
                path("out")
            ),
        ),
    ];
    let mut ports = Vec::new();
    for (id, devargs) in devargs {
        let (port, rx, tx) = start(devargs, rig.feed);
        for tx in tx {
            rig.seats[0].tell(Command::AddTx(id, Tx::Eth(tx)));
        }
        for rx in rx {
            rig.seats[0].tell(Command::AddRx(id, Rx::Eth(rx)));
        }
        ports.push((id, port));
    }
    rig.settle();
    for (id, port) in ports {
        let (rx, tx) = rig.take_back(id);
        let rx = rx.into_iter().map(|rx| match rx {
            Rx::Eth(rx) => rx,
            _ => panic!("not an ethdev"),
        });
        let tx = tx.into_iter().map(|tx| match tx {
            Tx::Eth(tx) => tx,
            _ => panic!("not an ethdev"),
        });
        port.close(rx.collect(), tx.collect()).expect("closed");
    }
    for batch in sent.chunks(32) {
        let frames: Vec<_> = batch.iter().map(|bytes| model.herd.frame(bytes)).collect();
        model.receive(a, frames);
    }
    let expected: Vec<Vec<u8>> = model.take().into_iter().map(|out| out.1).collect();
    assert_eq!(expected.len(), 1000);
    let out = frames_of(&std::fs::read(path("out")).expect("a file"));
    assert!(out == expected, "{} of {}", out.len(), expected.len());

    // From a device without end into one without bottom.
    let (null, rx, tx) = start(format!("{},size=64", unique("net_null")), rig.feed);
    let mut rx = rx.into_iter();
    let mut tx = tx.into_iter();
    rig.seats[0].tell(Command::AddTx(a, Tx::Eth(tx.next().expect("a queue"))));
    rig.seats[0].tell(Command::AddRx(a, Rx::Eth(rx.next().expect("a queue"))));
    let before = rig.seats[0].cells.received.get();
    for _ in 0..100 {
        assert!(rig.seats[0].worker.turn() >= 32);
        rig.assert_conserved();
    }
    // What is in them is what the mbufs had before.
    assert_eq!(rig.seats[0].cells.received.get() - before, 3200);
    assert!(rig.dropped(Reason::SpoofedMac) > 0);
    rig.seats[0].tell(Command::RemovePort(a));
    rig.seats[0].worker.turn();
    match rig.seats[0].replies.pop() {
        Ok(Reply::Port(id, mut rx, mut tx)) => {
            assert_eq!((id, rx.len(), tx.len()), (a, 1, 1));
            let (Some(Rx::Eth(rx)), Some(Tx::Eth(tx))) = (rx.pop(), tx.pop()) else {
                panic!("no queues");
            };
            null.close(vec![rx], vec![tx]).expect("closed");
        }
        _ => panic!("no reply"),
    }
    rig.close();
}
