//! A device that gives a MAC's frames to one worker's queue, and is told to give them to another's while they come: nothing is lost, nothing
//! is overtaken. Which worker turns when, and how much lies in which queue, is chosen at random. And what VMDq pools copy counts once.

mod common;

use std::net::Ipv4Addr;

use common::{Line, Options, Rig};
use weir_switch::testing::dice::{Dice, Xorshift};
use weir_switch::testing::frames;
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_tables::ids::{PortId, WorkerId};
use weir_tables::reason::Reason;
use weir_tables::steering::{Bucket, Steering};
use weir_wire::Mac;
use weir_worker::command::{Command, Expected, Luggage, Reply};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const VSID: u32 = 5001;
const WORKERS: usize = 3;
const TO: Mac = Mac::new([2, 0, 0, 0, 1, 1]);
const FAR: Mac = Mac::new([2, 0, 0, 0, 1, 9]);
/// The vNIC's owner, whose queue is to get its frames; whose got them before; whose gets what the device knows nothing of.
const OWNER: usize = 2;
const BEFORE: usize = 1;
const DEFAULT: usize = 0;

fn outer(to: Mac, number: u32) -> Vec<u8> {
    let ca = |last| Ipv4Addr::new(10, 1, 0, last);
    let inner = frames::tenant(to, FAR, ca(9), ca(1), &number.to_be_bytes());
    frames::nvgre((UPLINK_MAC, PEER_MAC), (PA, OWN_PA), VSID, 1, &inner)
}

/// Three workers, each with a queue of the uplink, and a vNIC of the third one.
struct Scene {
    rig: Rig,
    port: PortId,
    /// The device's queues, but for the first one's, which is the rig's.
    queues: Vec<Line>,
    /// Whose queue gets the vNIC's frames now.
    aimed: usize,
    random: Xorshift,
    /// Of the worker that hands over: how seldom it turns.
    slow: usize,
    sent: u32,
    got: u32,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let mut world = World::new(64, None);
        let blue = world.segment(VSID);
        let mut steering = Steering::spread(WORKERS);
        steering.give(Bucket::of(TO), WorkerId(OWNER as u8));
        world.view.steering = steering;
        let vnic = world.vnic(blue, TO, Ipv4Addr::new(10, 1, 0, 1));
        let port = world.port_of(vnic).expect("a port");
        world.change_port(port, |port| port.owner = WorkerId(OWNER as u8));
        let peer = world.peer(PA, Some(PEER_MAC));
        world.remote(blue, FAR, Ipv4Addr::new(10, 1, 0, 9), peer);
        let options = Options {
            workers: WORKERS,
            handoff: 4096,
            mbufs: 4095,
            feed: 8191,
            ..Options::default()
        };
        let mut rig = Rig::with(world, options);
        let mut queues = Vec::new();
        for worker in [BEFORE, OWNER] {
            let (line, rx, tx) = Line::open(rig.feed);
            rig.seats[worker].tell(Command::AddRx(UPLINK_PORT, rx));
            rig.unused.push(tx);
            queues.push(line);
        }
        rig.settle();
        Scene {
            rig,
            port,
            queues,
            aimed: BEFORE,
            random: Xorshift::new(seed),
            slow: 10,
            sent: 0,
            got: 0,
        }
    }

    /// A few frames come to the vNIC.
    fn come(&mut self) {
        for _ in 0..1 + self.random.below(60) {
            let mbuf = self.rig.mbuf(&outer(TO, self.sent));
            let line = match self.aimed {
                DEFAULT => self.rig.line(UPLINK_PORT),
                worker => &mut self.queues[worker - 1],
            };
            // As a NIC does with what finds no descriptor.
            if line.offer([mbuf]) == 0 {
                self.sent += 1;
            }
        }
    }

    fn look(&mut self) {
        for frame in self.rig.take(self.port) {
            let number = u32::from_be_bytes(frame[42..46].try_into().expect("four bytes"));
            assert_eq!(number, self.got, "in order");
            self.got += 1;
        }
    }

    fn happen(&mut self) {
        match self.random.below(12) {
            0 | 1 => self.come(),
            2 => self.look(),
            3 | 4 => drop(self.rig.seats[OWNER].worker.turn()),
            5 | 6 => drop(self.rig.seats[DEFAULT].worker.turn()),
            n if n < self.slow => drop(self.rig.seats[BEFORE].worker.turn()),
            _ => {}
        }
    }

    fn wait(&mut self, seat: usize, wanted: impl Fn(Reply) -> bool) {
        loop {
            while let Ok(reply) = self.rig.seats[seat].replies.pop() {
                if wanted(reply) {
                    return;
                }
            }
            self.happen();
        }
    }

    fn all(&mut self, number: u64, command: impl Fn() -> Command) {
        for seat in &mut self.rig.seats {
            seat.tell(command());
        }
        for seat in 0..WORKERS {
            self.wait(
                seat,
                |reply| matches!(reply, Reply::Drained(of) if of == number),
            );
        }
    }

    /// As control does it.
    fn aim(&mut self) {
        let holders = [DEFAULT, OWNER];
        for holder in holders {
            let expected = Box::new(Expected::directly(vec![TO], 4000));
            self.rig.seats[holder].tell(Command::Expect(expected));
            self.rig.seats[holder].worker.turn();
        }
        // The device knows nothing for a moment, and then the new queue.
        self.aimed = DEFAULT;
        for _ in 0..self.random.below(20) {
            self.happen();
        }
        self.aimed = OWNER;
        for _ in 0..self.random.below(20) {
            self.happen();
        }
        self.all(1, || Command::Settle(1, 33));
        for (number, holder) in (2..).zip(holders) {
            self.all(number, || Command::Drain(number, false));
            let none = Box::new(Luggage::new(Vec::new(), Vec::new(), 0));
            self.rig.seats[holder].tell(Command::Arrive(none));
            self.wait(holder, |reply| matches!(reply, Reply::Arrived(..)));
        }
    }

    fn end(mut self) {
        self.rig.assert_conserved();
        let lines = std::mem::take(&mut self.queues).into_iter();
        for (line, worker) in lines.zip([BEFORE, OWNER]) {
            let seat = &mut self.rig.seats[worker];
            seat.tell(Command::RemovePort(UPLINK_PORT));
            seat.worker.turn();
            let Some(Reply::Port(_, rx, _)) = std::iter::from_fn(|| seat.replies.pop().ok()).last()
            else {
                panic!("no queue");
            };
            let tx = self.rig.unused.remove(0);
            line.close(rx, vec![tx]);
        }
        self.rig.close();
    }
}

#[test]
fn a_device_that_is_told_of_another_queue_lets_nothing_overtake() {
    for seed in 1..=4 {
        let mut scene = Scene::new(seed);
        for _ in 0..30 {
            scene.slow = 8 + scene.random.below(4);
            scene.aimed = BEFORE;
            for _ in 0..scene.random.below(80) {
                scene.happen();
            }
            scene.aim();
            for _ in 0..scene.random.below(20) {
                scene.happen();
            }
            for _ in 0..3 {
                scene.rig.settle();
                scene.look();
            }
            assert_eq!(scene.got, scene.sent, "seed {seed}: nothing is missing");
        }
        let cells = &scene.rig.seats;
        assert!(scene.sent > 1500, "{}", scene.sent);
        assert!(cells[OWNER].cells.steered_in.get() > 300);
        assert!(
            cells[DEFAULT].cells.received.get() > 0,
            "the moment between"
        );
        assert!(scene.rig.drops().is_empty(), "{:?}", scene.rig.drops());
        scene.end();
    }
}

#[test]
fn of_what_every_pool_gets_the_owner_switches_one_and_the_copies_have_a_reason() {
    let mut scene = Scene::new(1);
    scene
        .rig
        .world
        .change_port(UPLINK_PORT, |port| port.pools = true);
    scene.rig.publish();
    scene.rig.settle();
    let broadcast = outer(Mac::new([0xff; 6]), 0);
    let mut group = broadcast.clone();
    group[..6].copy_from_slice(&[1, 0, 0x5e, 1, 2, 3]);
    let own = outer(TO, 0);
    for frame in [&broadcast, &group, &own] {
        // A pool gets what is for its own MAC; the broadcast inside is for the host's, and no copy.
        let mbuf = scene.rig.mbuf(frame);
        scene.queues[OWNER - 1].inject([mbuf]);
    }
    scene.rig.settle();
    assert_eq!(
        scene.rig.dropped(Reason::PoolCopy),
        1,
        "{:?}",
        scene.rig.drops()
    );
    assert_eq!(
        scene.rig.take(scene.port).len(),
        2,
        "the broadcast inside, and its own"
    );
    let mbuf = scene.rig.mbuf(&group);
    scene.rig.line(UPLINK_PORT).inject([mbuf]);
    scene.rig.settle();
    scene.rig.assert_conserved();
    assert_eq!(
        scene.rig.dropped(Reason::PoolCopy),
        1,
        "the owner's is the one that counts"
    );
    assert_eq!(
        scene.rig.dropped(Reason::OuterNotOurs),
        1,
        "{:?}",
        scene.rig.drops()
    );
    scene
        .rig
        .world
        .change_port(UPLINK_PORT, |port| port.pools = false);
    scene.rig.publish();
    let mbuf = scene.rig.mbuf(&group);
    scene.queues[OWNER - 1].inject([mbuf]);
    scene.rig.settle();
    assert_eq!(
        scene.rig.dropped(Reason::PoolCopy),
        1,
        "without pools there are no copies"
    );
    scene.end();
}
