//! vNICs that go from worker to worker while they send and are sent to: nothing is lost, nothing is overtaken, on an uplink whose two
//! queues overtake each other whenever they can. Which worker turns when, who sends when and when control goes on is chosen at random.

mod common;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use common::{Options, Rig};
use weir_switch::testing::dice::{Dice, Xorshift};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_switch::testing::{HZ, frames};
use weir_tables::bandwidth::{Link, Pace, Promise};
use weir_tables::ids::{PortId, VnicId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::steering::{Bucket, Steering};
use weir_tables::view::Party;
use weir_wire::Mac;
use weir_worker::command::{Command, Expected, Luggage, Reply};
use weir_worker::device::Tx;
use weir_worker::rig::wire::{self, Wire, Wires};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const VSID: u32 = 5001;
/// vNICs with a port of their own, and behind them those on a trunk.
const OWN: u8 = 3;
const ALL: u8 = 5;
const FAR: u8 = 9;

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, i)
}

fn inner(to: u8, from: u8, number: u32) -> Vec<u8> {
    frames::tenant(mac(to), mac(from), ca(from), ca(to), &number.to_be_bytes())
}

fn outer(to: u8, number: u32) -> Vec<u8> {
    let inner = inner(to, FAR, number);
    frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), VSID, 1, &inner)
}

fn mbit(rate: u64) -> Pace {
    Pace::of(rate * 1_000_000, HZ)
}

/// What each may send and receive; of some more is sent than that.
fn promise(i: u8) -> Promise {
    let of = |rates: [u64; 3], at: u8| match rates[usize::from(at % 3)] {
        0 => Pace::UNLIMITED,
        rate => mbit(rate),
    };
    Promise {
        share: u32::from(i % 3),
        max: of([0, 20, 60], i),
        max_rx: of([20, 0, 50], i / 2),
        police: false,
    }
}

/// Two workers, five vNICs, an uplink with a queue for each worker and one wire.
struct Scene {
    rig: Rig,
    wire: Arc<Wire>,
    vnics: Vec<VnicId>,
    /// By vNIC: its port; of several the trunk.
    ports: Vec<PortId>,
    random: Xorshift,
    /// Of 10 things that happen, below which number the second worker turns.
    slow: usize,
    /// The next number of each (from, to).
    sent: BTreeMap<(u8, u8), u32>,
    got: BTreeMap<(u8, u8), u32>,
    /// Whether what they may send and receive is limited: then not everything finds room to wait.
    is_limited: bool,
    /// By vNIC: bytes that it got.
    received: [u64; ALL as usize],
    /// Frames that came to vNICs.
    came: u64,
}

impl Scene {
    fn new(seed: u64, is_limited: bool) -> Scene {
        let mut world = World::new(64, None);
        let blue = world.segment(VSID);
        let mut steering = Steering::spread(2);
        for i in 0..ALL {
            steering.give(Bucket::of(mac(i)), WorkerId(i % 2));
        }
        world.view.steering = steering;
        let (mut vnics, mut ports) = (Vec::new(), Vec::new());
        for i in 0..OWN {
            let vnic = world.vnic(blue, mac(i), ca(i));
            let port = world.port_of(vnic).expect("a port");
            world.change_port(port, |port| port.owner = WorkerId(i % 2));
            vnics.push(vnic);
            ports.push(port);
        }
        let trunk = world.trunk(Party::TrunkByMac);
        world.change_port(trunk, |port| port.owner = WorkerId(1));
        for i in OWN..ALL {
            vnics.push(world.vnic_on(blue, mac(i), ca(i), trunk, None));
            ports.push(trunk);
        }
        let peer = world.peer(PA, Some(PEER_MAC));
        world.remote(blue, mac(FAR), ca(FAR), peer);
        if is_limited {
            for (i, &vnic) in (0..).zip(&vnics) {
                world.promise(vnic, Some(promise(i)));
            }
            world.link(Some(Link::plain(mbit(300))));
        }
        let options = Options {
            workers: 2,
            handoff: 1024,
            mbufs: 4095,
            feed: 8191,
            ..Options::default()
        };
        let mut rig = Rig::bare(world, options);
        for port in ports.iter().take(usize::from(OWN)).copied().chain([trunk]) {
            rig.open(port);
        }
        // What the uplink receives comes by a ring; what it sends goes by a queue of each worker.
        rig.open(UPLINK_PORT);
        rig.settle();
        let (rx, tx) = rig.take_back(UPLINK_PORT);
        let (queues, wire) = wire::open(Wires {
            queues: 2,
            senders: u32::from(ALL),
            from: mac(0),
        });
        for (seat, queue) in rig.seats.iter_mut().zip(queues) {
            seat.tell(Command::AddTx(UPLINK_PORT, Tx::Wire(queue)));
        }
        for rx in rx {
            rig.seats[0].tell(Command::AddRx(UPLINK_PORT, rx));
        }
        rig.unused.extend(tx);
        rig.settle();
        Scene {
            rig,
            wire,
            vnics,
            ports,
            random: Xorshift::new(seed),
            slow: 6,
            sent: BTreeMap::new(),
            got: BTreeMap::new(),
            is_limited,
            received: [0; ALL as usize],
            came: 0,
        }
    }

    /// By the workers' clocks, in cycles.
    fn pass(&mut self, cycles: u64) {
        for seat in &self.rig.seats {
            seat.cells.now.add(cycles);
        }
    }

    fn number(&mut self, from: u8, to: u8) -> u32 {
        let number = self.sent.entry((from, to)).or_default();
        *number += 1;
        *number - 1
    }

    /// Somebody sends a few frames to somebody.
    fn send(&mut self) {
        let from = self.random.below(usize::from(ALL) + 1) as u8;
        let count = 1 + self.random.below(40);
        if from == ALL {
            let to = self.random.below(usize::from(ALL)) as u8;
            let frames: Vec<_> = (0..count)
                .map(|_| outer(to, self.number(FAR, to)))
                .collect();
            self.rig
                .inject(UPLINK_PORT, frames.iter().map(Vec::as_slice));
            return;
        }
        let to = match self.random.below(2) {
            0 => FAR,
            _ => (from + 1 + self.random.below(usize::from(ALL) - 1) as u8) % ALL,
        };
        let frames: Vec<_> = (0..count)
            .map(|_| inner(to, from, self.number(from, to)))
            .collect();
        let port = self.ports[usize::from(from)];
        self.rig.inject(port, frames.iter().map(Vec::as_slice));
    }

    /// Takes what has come to the vNICs: each stream in order, nothing missing but what found no room, and nobody gets more than it may.
    fn look(&mut self) {
        let mut ports = self.ports.clone();
        ports.dedup();
        for port in ports {
            for frame in self.rig.take(port) {
                let (to, from) = (frame[5], frame[11]);
                let number = u32::from_be_bytes(frame[42..46].try_into().expect("four bytes"));
                let next = self.got.entry((from, to)).or_default();
                let in_order = match self.is_limited {
                    true => number >= *next,
                    false => number == *next,
                };
                assert!(in_order, "{number} instead of {next} from {from} to {to}");
                *next = number + 1;
                assert_eq!(port, self.ports[usize::from(to)]);
                self.came += 1;
                let received = &mut self.received[usize::from(to)];
                *received += frame.len() as u64;
                let takes = (promise(to).max_rx.time(*received) >> 32) as u64;
                // The burst, and the frame that leaves last.
                let now = self.rig.seats[0].cells.now.get() + HZ / 2500;
                let last = (promise(to).max_rx.time(frame.len() as u64) >> 32) as u64;
                assert!(
                    !self.is_limited || takes <= now + last + 1,
                    "too much to {to}"
                );
            }
        }
    }

    /// Something happens that is not control's.
    fn happen(&mut self) {
        let cycles = self.random.below(30 * HZ as usize / 1_000_000) as u64;
        self.pass(cycles);
        match self.random.below(10) {
            0 | 1 => self.send(),
            2 => self.look(),
            n => {
                // Now the one is slow, now the other.
                let seat = usize::from(n < self.slow);
                self.rig.seats[seat].worker.turn();
            }
        }
    }

    /// Until this worker has answered with what is asked for, others go on.
    fn wait<T>(&mut self, seat: usize, wanted: impl Fn(Reply) -> Option<T>) -> T {
        loop {
            while let Ok(reply) = self.rig.seats[seat].replies.pop() {
                if let Some(it) = wanted(reply) {
                    return it;
                }
            }
            self.happen();
        }
    }

    fn drain(&mut self, number: u64, sends: Option<usize>) {
        for (index, seat) in self.rig.seats.iter_mut().enumerate() {
            seat.tell(Command::Drain(number, sends == Some(index)));
        }
        // Its core is somebody else's now and then, for longer than it has patience with a device.
        if let Some(waits) = sends
            && self.random.rarely(12)
        {
            self.rig.seats[waits].worker.turn();
            std::thread::sleep(Duration::from_millis(25));
        }
        for seat in 0..2 {
            self.wait(seat, |reply| match reply {
                Reply::Drained(drained) => (drained == number).then_some(()),
                _ => None,
            });
        }
    }

    /// As control does it.
    fn transfer(&mut self, i: u8) {
        let view = &self.rig.world.view;
        let from = view.steering.worker(mac(i)).index();
        let to = 1 - from;
        let own = usize::from(i) < usize::from(OWN);
        let ports: Vec<PortId> = own
            .then_some(self.ports[usize::from(i)])
            .into_iter()
            .collect();
        let expected = Box::new(Expected::new(vec![mac(i)], ports.clone(), 1000));
        let vnic = self.vnics[usize::from(i)];
        let luggage = Box::new(Luggage::new(vec![vnic], ports.clone(), 16));
        self.rig.seats[to].tell(Command::Expect(expected));
        self.rig.seats[to].worker.turn();
        self.rig
            .world
            .view
            .steering
            .give(Bucket::of(mac(i)), WorkerId(to as u8));
        for &port in &ports {
            self.rig
                .world
                .change_port(port, |port| port.owner = WorkerId(to as u8));
        }
        self.rig.publish();
        for seat in 0..2 {
            self.wait(seat, |reply| matches!(reply, Reply::View(_)).then_some(()));
        }
        self.drain(1, None);
        self.rig.seats[from].tell(Command::Part(luggage));
        let luggage = self.wait(from, |reply| match reply {
            Reply::Parted(luggage) => Some(luggage),
            _ => None,
        });
        self.drain(2, Some(from));
        self.rig.seats[to].tell(Command::Arrive(luggage));
        self.wait(to, |reply| match reply {
            Reply::Arrived(..) => Some(()),
            _ => None,
        });
    }

    /// Everything that was sent has come.
    fn finish(mut self) -> (u64, u64) {
        for _ in 0..if self.is_limited { 400 } else { 20 } {
            self.rig.settle();
            self.look();
            self.pass(HZ / 1000);
        }
        let came = self.wire.came();
        self.rig.assert_conserved();
        let (drops, all) = (self.rig.drops(), self.sent.values());
        let all: u64 = all.map(|sent| u64::from(*sent)).sum();
        let full = drops.get(&Reason::QueueFull).copied().unwrap_or_default();
        assert_eq!(drops.values().sum::<u64>(), full, "{drops:?}");
        assert_eq!(self.came + came.frames + full, all);
        assert!(self.is_limited || full == 0);
        assert_eq!(came.strange, 0);
        let wrong = (came.lost.min(full), came.reordered);
        // The wire's queues come back like others.
        for seat in 0..2 {
            self.rig.seats[seat].tell(Command::RemovePort(UPLINK_PORT));
            self.rig.seats[seat].worker.turn();
            let Ok(Reply::Port(_, rx, _)) = self.rig.seats[seat].replies.pop() else {
                panic!("no queues");
            };
            if let (Some(rx), Some(tx)) = (rx.into_iter().next(), self.rig.unused.pop()) {
                let line = self.rig.lines.remove(&UPLINK_PORT).expect("a line");
                line.close(vec![rx], vec![tx]);
            }
        }
        self.rig.close();
        wrong
    }
}

/// vNICs move all the time.
fn run(seed: u64, is_limited: bool, moves: usize) {
    let mut scene = Scene::new(seed, is_limited);
    for _ in 0..moves {
        scene.slow = 4 + scene.random.below(6);
        for _ in 0..scene.random.below(60) {
            scene.happen();
        }
        let who = scene.random.below(usize::from(ALL)) as u8;
        scene.transfer(who);
    }
    let (lost, reordered) = scene.finish();
    assert_eq!(reordered, 0, "seed {seed}");
    assert!(is_limited || lost == 0, "seed {seed}: {lost}");
}

#[test]
fn nothing_is_lost_and_nothing_is_overtaken() {
    for seed in 1..=10 {
        run(seed, false, 100);
    }
}

#[test]
fn nor_is_it_where_it_waits_for_bandwidth() {
    for seed in 1..=10 {
        run(seed, true, 100);
    }
}
