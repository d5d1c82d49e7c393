//! A worker whose queues call it when something has come, driven by hand: over a memif, whose peer calls only while it is asked to.

mod common;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use common::{Rig, eal, unique};
use rte::{Burst, Pool, Port, PortConfig, RxQueue, TxQueue};
use weir_switch::testing::frames;
use weir_switch::testing::world::{UPLINK_PORT, World};
use weir_tables::ids::PortId;
use weir_wire::Mac;
use weir_worker::command::Command;
use weir_worker::device::Rx;
use weir_worker::run::{Rests, Waited};

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

/// One end of a memif.
struct End {
    port: Port,
    rx: RxQueue,
    tx: TxQueue,
}

impl End {
    fn open(role: &str, socket: &str, interrupts: bool, pool: Pool) -> End {
        let name = unique("net_memif");
        let devargs = format!("{name},role={role},id=0,socket={socket},socket-abstract=no");
        let mut port = Port::attach(eal(), &devargs).expect("a port");
        let config = PortConfig {
            interrupts,
            ..PortConfig::default()
        };
        let (mut rx, mut tx) = port.start(&config, pool).expect("a start");
        let (rx, tx) = (rx.remove(0), tx.remove(0));
        End { port, rx, tx }
    }
}

/// A host of two vNICs, one of which sends through a memif.
struct Host {
    rig: Rig,
    ports: [PortId; 2],
    own: (Port, TxQueue),
    peer: End,
    rests: Rests,
    _folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Host {
        let mut world = World::new(64, None);
        let segment = world.segment(5001);
        let ports = [0, 1].map(|i| {
            let vnic = world.vnic(segment, mac(i), ca(i));
            world.port_of(vnic).expect("a port")
        });
        for port in ports.into_iter().chain([UPLINK_PORT]) {
            world.change_port(port, |port| port.patience_us = u32::MAX);
        }
        let mut rig = Rig::new(world);
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("s").display().to_string();
        let End { port, rx, tx } = End::open("server", &socket, true, rig.feed);
        let peer = End::open("client", &socket, false, rig.feed);
        let begun = Instant::now();
        while !(port.link().up && peer.port.link().up) {
            assert!(begun.elapsed() < Duration::from_secs(10), "no link");
        }
        assert!(rx.has_interrupt());
        rig.seats[0].tell(Command::AddRx(ports[0], Rx::Eth(rx)));
        rig.settle();
        let rests = Rests::new(&rig.seats[0].worker, rte::clock::tsc());
        Host {
            rig,
            ports,
            own: (port, tx),
            peer,
            rests,
            _folder: folder,
        }
    }

    /// The peer sends a frame of the first vNIC's.
    fn send(&mut self) {
        let bytes = frames::tenant(mac(1), mac(0), ca(0), ca(1), b"called");
        let mut mbuf = self.rig.feed.alloc().expect("an mbuf");
        mbuf.append(bytes.len())
            .expect("tailroom")
            .copy_from_slice(&bytes);
        let mut burst = Burst::new();
        assert!(burst.push(mbuf).is_ok());
        assert_eq!(self.peer.tx.tx(&mut burst), 1);
    }

    fn turn(&mut self) -> usize {
        self.rig.seats[0].worker.turn()
    }

    fn is_armed(&self) -> bool {
        self.rig.seats[0].worker.is_armed()
    }

    /// How long it may leave its queues alone, in microseconds.
    fn may_sleep(&self) -> u64 {
        self.rig.seats[0].worker.look_again(0, 1_000_000)
    }

    /// What it does an hour after the last packet.
    fn rest(&mut self) -> Waited {
        let later = rte::clock::tsc() + 3600 * rte::clock::hz();
        self.rests.rest(&mut self.rig.seats[0].worker, later)
    }

    fn close(mut self) {
        let (mut rx, tx) = self.rig.take_back(self.ports[0]);
        let Some(Rx::Eth(own)) = rx.pop() else {
            panic!("the memif's queue was the last one");
        };
        assert!(!own.is_armed(), "it is given away as it was found");
        let line = self.rig.lines.remove(&self.ports[0]).expect("a line");
        line.close(rx, tx);
        let (port, own_tx) = self.own;
        port.close(vec![own], vec![own_tx]).expect("closed");
        let End { port, rx, tx } = self.peer;
        port.close(vec![rx], vec![tx]).expect("closed");
        assert_eq!(self.rig.take(self.ports[1]).len(), 3);
        self.rig.close();
    }
}

#[test]
fn it_looks_once_more_is_called_and_polls_again() {
    let mut host = Host::new();
    // A packet that comes behind the last look and before its peer was told to call is not slept through.
    assert_eq!((host.turn(), host.is_armed()), (0, false));
    assert_eq!(host.may_sleep(), u64::from(u32::MAX));
    host.send();
    assert_eq!(host.rest(), Waited::ToLookOnceMore);
    assert!(host.is_armed());
    // No longer than that, though it is called: its peer is another process.
    assert_eq!(host.may_sleep(), 10_000);
    assert!(host.turn() > 0);
    // It polls now: nobody calls.
    let now = rte::clock::tsc();
    host.rests.moved(&mut host.rig.seats[0].worker, now);
    assert!(!host.is_armed());
    // What comes while it is called ends its sleep, and it is called no more.
    assert_eq!(host.rest(), Waited::ToLookOnceMore);
    assert_eq!(host.turn(), 0);
    host.send();
    assert_eq!(host.rest(), Waited::Asleep);
    assert!(!host.is_armed());
    assert!(host.turn() > 0);
    // A sleep that nothing ends leaves it as it is, and what is given away does not call.
    assert_eq!(host.rest(), Waited::ToLookOnceMore);
    assert_eq!(host.turn(), 0);
    assert_eq!(host.rest(), Waited::Asleep);
    assert!(host.is_armed());
    host.send();
    assert!(host.turn() > 0);
    host.close();
}
