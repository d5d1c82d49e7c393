//! A device that is had to choose among its transmit queues (rte_tm): the tree that its driver is told, and what leaves by it.
//!
//! The device is a ring whose driver judges what it is told as NICs' do (common/class_nic.rs).
#![allow(unsafe_code)]

#[path = "common/class_nic.rs"]
mod class_nic;
mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use class_nic::{ClassNic, Like, Nature, Node, Told, Wire, only_child};
use common::{chain, eal, packet, pool, unique};
use rte::{
    Burst, Chooser, Manager, Pool, Port, PortConfig, PortError, QueueClass, RxQueue, TreeError,
    TxQueue,
};

/// A NIC and its port, started. Devices come and go one at a time.
struct Started {
    nic: ClassNic,
    port: Port,
    rx: Vec<RxQueue>,
    tx: Vec<TxQueue>,
    _alone: MutexGuard<'static, ()>,
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With so many transmit queues; `None` with another DPDK.
fn started(nature: Nature, queues: u16) -> Option<Started> {
    let alone = alone();
    let nic = ClassNic::put_in(eal(), &unique("net_ring"), nature)?;
    let mut port = Port::attach(eal(), nic.name()).expect("a port");
    let (rx, tx) = port.start(&config(queues), pool(15)).expect("a start");
    Some(Started {
        nic,
        port,
        rx,
        tx,
        _alone: alone,
    })
}

fn config(queues: u16) -> PortConfig {
    PortConfig {
        tx_queues: queues,
        ..PortConfig::default()
    }
}

impl Started {
    fn choose(&mut self, level: u32, levels: u32, classes: &[QueueClass]) -> Result<(), PortError> {
        self.port.choose_among(&mut self.tx, level, levels, classes)
    }

    fn restart(&mut self, queues: u16) {
        let (rx, tx) = (self.rx.drain(..), self.tx.drain(..));
        self.port.stop(rx.collect(), tx.collect()).expect("stopped");
        let queues = self.port.start(&config(queues), pool(15));
        (self.rx, self.tx) = queues.expect("another start");
    }

    fn close(self) {
        self.port.close(self.rx, self.tx).expect("closed");
    }
}

fn class(priority: u32, weight: u32) -> QueueClass {
    QueueClass { priority, weight }
}

/// A level that chooses among 8 by 4 priorities, one of them shared by weights.
fn chooser() -> Chooser {
    Chooser {
        priorities: 4,
        groups: 1,
        weight: 200,
        ..only_child()
    }
}

fn nature(levels: &[Chooser]) -> Nature {
    Nature {
        levels: levels.into(),
        like: Like::Cnxk,
        refuses: None,
    }
}

fn node(id: u32, parent: Option<u32>, level: u32, priority: u32, weight: u32) -> Node {
    let priorities = Some(1);
    Node {
        id,
        parent,
        level,
        priority,
        weight,
        priorities,
    }
}

fn leaf(id: u32, parent: u32, level: u32, priority: u32, weight: u32) -> Node {
    let priorities = None;
    Node {
        priorities,
        ..node(id, Some(parent), level, priority, weight)
    }
}

/// The tree that a NIC of these levels has when the level is told to choose.
fn tree(levels: &[Chooser], level: u32, classes: &[QueueClass]) -> Option<Vec<Node>> {
    let mut started = started(nature(levels), classes.len() as u16)?;
    let told = started.choose(level, levels.len() as u32 + 1, classes);
    told.expect("a tree that suits it");
    assert!(started.nic.is_committed());
    let nodes = started.nic.nodes();
    let told = nodes.iter().map(|&node| Told::Add(node));
    let clear_on_fail = true;
    let told: Vec<Told> = told.chain([Told::Commit { clear_on_fail }]).collect();
    assert_eq!(started.nic.told(), told, "nothing else");
    started.close();
    Some(nodes)
}

#[test]
fn of_two_levels_the_root_chooses_among_queues() {
    let Some(nodes) = tree(
        &[chooser()],
        0,
        &[class(1, 30), class(0, 1), class(1, 70), class(2, 5)],
    ) else {
        return;
    };
    let root = Node {
        priorities: Some(3),
        ..node(1000, None, 0, 0, 1)
    };
    // By priority, as cnxk asks.
    let leaves = [
        leaf(1, 1000, 1, 0, 1),
        leaf(0, 1000, 1, 1, 30),
        leaf(2, 1000, 1, 1, 70),
        leaf(3, 1000, 1, 2, 5),
    ];
    assert_eq!(nodes, [&[root][..], &leaves].concat());
}

#[test]
fn of_three_levels_the_root_or_the_middle_chooses() {
    let classes = [class(0, 3), class(0, 2)];
    let Some(nodes) = tree(&[chooser(), only_child()], 0, &classes) else {
        return;
    };
    let wanted = [
        node(1000, None, 0, 0, 1),
        node(1001, Some(1000), 1, 0, 3),
        leaf(0, 1001, 2, 0, 1),
        node(1002, Some(1000), 1, 0, 2),
        leaf(1, 1002, 2, 0, 1),
    ];
    assert_eq!(nodes, wanted);
    let nodes = tree(&[only_child(), chooser()], 1, &[class(1, 1), class(0, 1)]);
    let wanted = [
        node(1000, None, 0, 0, 1),
        Node {
            priorities: Some(2),
            ..node(1001, Some(1000), 1, 0, 1)
        },
        leaf(1, 1001, 2, 0, 1),
        leaf(0, 1001, 2, 1, 1),
    ];
    assert_eq!(nodes.expect("as above"), wanted);
}

/// As cnxk has them.
#[test]
fn of_six_levels_one_in_the_middle_or_the_deepest_chooses() {
    let one = only_child();
    let classes = [class(1, 40), class(0, 1), class(1, 60)];
    let Some(nodes) = tree(&[one, one, chooser(), one, one], 2, &classes) else {
        return;
    };
    let wanted = [
        node(1000, None, 0, 0, 1),
        node(1001, Some(1000), 1, 0, 1),
        Node {
            priorities: Some(2),
            ..node(1002, Some(1001), 2, 0, 1)
        },
        node(1003, Some(1002), 3, 0, 1),
        node(1004, Some(1003), 4, 0, 1),
        leaf(1, 1004, 5, 0, 1),
        node(1005, Some(1002), 3, 1, 40),
        node(1006, Some(1005), 4, 0, 1),
        leaf(0, 1006, 5, 0, 1),
        node(1007, Some(1002), 3, 1, 60),
        node(1008, Some(1007), 4, 0, 1),
        leaf(2, 1008, 5, 0, 1),
    ];
    assert_eq!(nodes, wanted);
    let deepest = [one, one, one, one, chooser()];
    let nodes = tree(&deepest, 4, &[class(0, 7), class(0, 9)]);
    let nodes = nodes.expect("as above");
    let ids: Vec<u32> = nodes.iter().map(|node| node.id).collect();
    assert_eq!(ids, [1000, 1001, 1002, 1003, 1004, 0, 1]);
    assert_eq!(nodes[5..], [leaf(0, 1004, 5, 0, 7), leaf(1, 1004, 5, 0, 9)]);
}

#[test]
fn priorities_that_are_not_in_use_are_left_out() {
    let classes = [class(70, 1), class(3, 1), class(3, 2)];
    let Some(nodes) = tree(&[chooser()], 0, &classes) else {
        return;
    };
    assert_eq!(nodes[0].priorities, Some(2));
    let wanted = [
        leaf(1, 1000, 1, 0, 1),
        leaf(2, 1000, 1, 0, 2),
        leaf(0, 1000, 1, 1, 1),
    ];
    assert_eq!(nodes[1..], wanted);
}

/// What it says of itself is what [`Port::class_hardware`] says to those who ask which level to have choose.
#[test]
fn the_level_that_chooses_is_one_that_its_driver_tells_of() {
    let Some(started) = started(Nature::port_group_queue(4), 8) else {
        return;
    };
    let Manager::Says(says) = started.port.class_hardware().manager else {
        panic!("it has a traffic manager that answers");
    };
    assert_eq!((says.levels, says.nodes), (3, 24));
    let levels: Vec<(u32, u32)> = says
        .choosers
        .iter()
        .map(|by| (by.level, by.priorities))
        .collect();
    assert_eq!(levels, [(0, 1), (1, 4)]);
    started.close();
}

/// Frames of so many bytes each, which begin with the queue's number.
fn send(started: &mut Started, from: &Pool, queue: u16, frames: usize, bytes: usize) {
    for _ in 0..frames {
        let mut burst = Burst::new();
        assert!(burst.push(packet(from, &vec![queue as u8; bytes])).is_ok());
        assert_eq!(started.tx[usize::from(queue)].tx(&mut burst), 1, "room");
    }
}

/// The queues of the next frames.
fn queues(wire: &mut Wire, most: usize) -> Vec<u16> {
    let frames = wire.take(most).into_iter();
    frames.map(|(queue, _)| queue).collect()
}

/// Bytes of the next frames, by queue.
fn bytes(wire: &mut Wire, most: usize) -> [usize; 4] {
    let mut bytes = [0; 4];
    for (queue, frame) in wire.take(most) {
        assert!(frame.iter().all(|&byte| u16::from(byte) == queue));
        bytes[usize::from(queue)] += frame.len();
    }
    bytes
}

/// Of the lower two priorities the first is shared 3 to 1.
const STRICT_AND_SHARES: [QueueClass; 4] = [
    QueueClass {
        priority: 1,
        weight: 150,
    },
    QueueClass {
        priority: 0,
        weight: 1,
    },
    QueueClass {
        priority: 1,
        weight: 50,
    },
    QueueClass {
        priority: 2,
        weight: 200,
    },
];

#[test]
fn strict_goes_before_shares_and_shares_are_by_weights_wherever_the_chooser_is() {
    let (one, by) = (only_child(), chooser());
    let shapes: [(&[Chooser], u32); 5] = [
        (&[by], 0),
        (&[by, one], 0),
        (&[one, by], 1),
        (&[one, one, by, one, one], 2),
        (&[one, one, one, one, by], 4),
    ];
    for (levels, level) in shapes {
        let Some(mut nic) = started(nature(levels), 4) else {
            return;
        };
        let pool = pool(2047);
        let told = nic.choose(level, levels.len() as u32 + 1, &STRICT_AND_SHARES);
        told.expect("a tree");
        for queue in [3, 2, 0, 1] {
            send(&mut nic, &pool, queue, 200, 100);
        }
        let mut wire = nic.nic.wire();
        assert_eq!(bytes(&mut wire, 200), [0, 20_000, 0, 0], "strict first");
        // Then 3 of 4, of any 4.
        for _ in 0..50 {
            assert_eq!(bytes(&mut wire, 4), [300, 0, 100, 0]);
        }
        // One that goes before comes in between.
        send(&mut nic, &pool, 1, 1, 60);
        assert_eq!(queues(&mut wire, 1), [1]);
        assert_eq!(bytes(&mut wire, 66), [4_900, 0, 1_700, 0]);
        assert_eq!(bytes(&mut wire, 134), [100, 0, 13_300, 0], "the rest");
        assert_eq!(bytes(&mut wire, 300), [0, 0, 0, 20_000]);
        assert!(wire.next().is_none());
        assert_eq!(pool.in_use(), 0, "freed");
        nic.close();
    }
}

#[test]
fn shares_are_of_bytes_and_what_was_not_used_is_not_saved() {
    let Some(mut nic) = started(Nature::port_group_queue(4), 4) else {
        return;
    };
    let pool = pool(4095);
    nic.choose(1, 3, &STRICT_AND_SHARES).expect("a tree");
    let mut wire = nic.nic.wire();
    // Alone, it has everything.
    send(&mut nic, &pool, 0, 500, 1500);
    assert_eq!(bytes(&mut wire, 200), [300_000, 0, 0, 0]);
    // From here on 3 to 1, of frames of 1,500 and of 100 bytes.
    send(&mut nic, &pool, 2, 1000, 100);
    let mut both = [0, 0];
    for _ in 0..500 {
        let [large, _, small, _] = bytes(&mut wire, 1);
        both = [both[0] + large, both[1] + small];
        let [large, small] = both;
        assert!(large.abs_diff(3 * small) <= 1500 + 3 * 100, "{both:?}");
    }
    wire.take(usize::MAX);
    nic.close();
}

#[test]
fn without_a_tree_queues_take_turns_and_nothing_is_received() {
    let Some(mut nic) = started(Nature::port_group_queue(4), 4) else {
        return;
    };
    let pool = pool(255);
    for queue in 0..4 {
        send(&mut nic, &pool, queue, 20, 100);
    }
    let mut burst = Burst::new();
    assert_eq!(nic.rx[0].rx(&mut burst), 0);
    let mut wire = nic.nic.wire();
    assert_eq!(bytes(&mut wire, 40), [1000; 4]);
    // With one, from the next frame on.
    nic.choose(1, 3, &STRICT_AND_SHARES).expect("a tree");
    assert_eq!(queues(&mut wire, 10), [1; 10]);
    wire.take(usize::MAX);
    // A frame in segments leaves whole.
    assert!(burst.push(chain(&pool, &[&[7; 60], &[8; 40]])).is_ok());
    assert_eq!(nic.tx[3].tx(&mut burst), 1);
    assert_eq!(wire.next(), Some((3, [vec![7; 60], vec![8; 40]].concat())));
    nic.close();
}

/// What the driver said, and the call.
fn said(error: &PortError) -> (&'static str, i32, &str) {
    match error {
        PortError::TrafficManager { cause, said, .. } => (cause.call, cause.errno, said),
        other => panic!("{other}"),
    }
}

#[test]
fn a_commit_that_is_refused_leaves_nothing_and_is_told_in_the_drivers_words() {
    for like in [Like::Cnxk, Like::Dpaa2] {
        let nature = Nature {
            like,
            refuses: Some(c"Port is already started\n"),
            ..Nature::port_group_queue(4)
        };
        let Some(mut nic) = started(nature, 4) else {
            return;
        };
        let error = nic.choose(1, 3, &STRICT_AND_SHARES).expect_err("refused");
        let call = "rte_tm_hierarchy_commit";
        assert_eq!(said(&error), (call, 22, "Port is already started"));
        let text = format!(
            "port {}: rte_tm_hierarchy_commit: Invalid argument (errno 22); its traffic manager says: Port is already started",
            nic.nic.name()
        );
        assert_eq!(error.to_string(), text);
        assert_eq!(nic.nic.nodes(), []);
        assert!(!nic.nic.is_committed());
        // Children first, as a driver keeps one whose children are there.
        let told = nic.nic.told();
        let adds = told.iter().filter_map(|told| match told {
            Told::Add(node) => Some(node.id),
            _ => None,
        });
        let mut deletes: Vec<Told> = adds.map(Told::Delete).collect();
        deletes.reverse();
        assert_eq!(told[told.len() - deletes.len()..], deletes);
        // It can be asked again.
        nic.nic.refuse(None);
        nic.choose(1, 3, &STRICT_AND_SHARES).expect("a tree");
        nic.close();
    }
}

#[test]
fn what_is_refused_on_the_way_leaves_nothing_and_says_which() {
    let Some(mut nic) = started(Nature::port_group_queue(2), 3) else {
        return;
    };
    let mut refused = |classes: [QueueClass; 3]| {
        let error = nic.choose(1, 3, &classes).expect_err("refused");
        assert_eq!(nic.nic.nodes(), []);
        let commit = Told::Commit {
            clear_on_fail: true,
        };
        assert!(!nic.nic.told().contains(&commit));
        let (call, errno, said) = said(&error);
        assert_eq!((call, errno), ("rte_tm_node_add", 22));
        said.to_owned()
    };
    assert_eq!(
        refused([class(0, 7), class(0, 201), class(0, 7)]),
        "Weight is out of range (the weight of node 1, level 2)"
    );
    assert_eq!(
        refused([class(2, 1), class(1, 1), class(0, 1)]),
        "SP is not supported (the parameters of node 1001, level 1)"
    );
    let mut levels = Nature::port_group_queue(8).levels;
    levels[1].children = 2;
    nic.close();
    let mut few = started(nature(&levels), 3).expect("as above");
    let error = few.choose(1, 3, &[class(0, 1); 3]).expect_err("refused");
    let too_many = "too many children of a node (the parent of node 2, level 2)";
    assert_eq!(said(&error), ("rte_tm_node_add", 22, too_many));
    assert_eq!(few.nic.nodes(), []);
    few.close();
}

#[test]
fn a_second_tree_is_refused_as_the_driver_does_and_the_first_stays() {
    let frozen = (
        5,
        "dynamic update not supported (capabilities of node 1000, level 0)",
    );
    let there = (22, "Root node exists (node 1000, level 0)");
    for (like, (errno, text)) in [(Like::Cnxk, frozen), (Like::Dpaa2, there)] {
        let nature = Nature {
            like,
            ..Nature::port_group_queue(4)
        };
        let Some(mut nic) = started(nature, 4) else {
            return;
        };
        nic.choose(1, 3, &STRICT_AND_SHARES).expect("a tree");
        let nodes = nic.nic.nodes();
        let error = nic.choose(1, 3, &[class(0, 1); 4]).expect_err("refused");
        assert_eq!(said(&error), ("rte_tm_node_add", errno, text));
        assert_eq!(nic.nic.nodes(), nodes);
        let pool = pool(63);
        send(&mut nic, &pool, 3, 9, 100);
        send(&mut nic, &pool, 1, 9, 100);
        assert_eq!(queues(&mut nic.nic.wire(), 9), [1; 9]);
        nic.nic.wire().take(usize::MAX);
        // Started anew it takes another, of as many queues as there are by then.
        nic.restart(2);
        assert_eq!(nic.nic.nodes(), []);
        nic.choose(1, 3, &[class(0, 1), class(1, 1)])
            .expect("a tree");
        send(&mut nic, &pool, 1, 9, 100);
        send(&mut nic, &pool, 0, 9, 100);
        assert_eq!(queues(&mut nic.nic.wire(), 9), [0; 9]);
        nic.nic.wire().take(usize::MAX);
        nic.close();
    }
}

#[test]
fn what_makes_no_sense_is_told_by_name_and_to_no_driver() {
    let Some(mut nic) = started(Nature::port_group_queue(4), 3) else {
        return;
    };
    let classes = [class(0, 1); 3];
    let mut wrong = |level, levels, classes: &[QueueClass]| match nic.choose(level, levels, classes)
    {
        Err(PortError::Tree { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    for (level, levels) in [(2, 3), (3, 3), (0, 1), (0, 0), (u32::MAX, 3)] {
        let error = wrong(level, levels, &classes);
        assert_eq!(error, TreeError::Level { level, levels });
    }
    let levels = 17;
    assert_eq!(wrong(1, levels, &classes), TreeError::Levels { levels });
    for few in [&classes[..2], &[]] {
        let wanted = TreeError::Classes {
            classes: few.len(),
            queues: 3,
        };
        assert_eq!(wrong(1, 3, few), wanted);
    }
    let none = [class(0, 1), class(0, 1), class(7, 0)];
    assert_eq!(wrong(1, 3, &none), TreeError::Weight { queue: 2 });
    let (port, tx) = (&mut nic.port, &mut nic.tx);
    let held = |port: &mut Port, tx: &mut [TxQueue]| match port.choose_among(
        tx,
        1,
        3,
        &classes[..tx.len()],
    ) {
        Err(PortError::Tree { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(held(port, &mut tx[1..]), TreeError::QueuesHeld { out: 3 });
    let mut other = Port::attach(eal(), &unique("net_ring")).expect("another port");
    let (rx, mut others) = other.start(&config(3), pool(15)).expect("a start");
    assert_eq!(held(port, &mut others), TreeError::QueuesHeld { out: 3 });
    other.stop(rx, others).expect("stopped");
    assert_eq!(held(&mut other, &mut []), TreeError::QueuesHeld { out: 0 });
    assert_eq!(nic.nic.told(), []);
    // The order of the queues is none of it.
    nic.tx.reverse();
    nic.choose(1, 3, &classes).expect("a tree");
    other.close(vec![], vec![]).expect("closed");
    nic.close();
}

#[test]
fn numbers_of_queues_and_of_other_nodes_do_not_meet() {
    let _alone = alone();
    let queues = 1001;
    let mut port = Port::attach(eal(), &unique("net_null")).expect("a port");
    let (rx, mut tx) = port.start(&config(queues), pool(15)).expect("a start");
    let classes = vec![class(0, 1); usize::from(queues)];
    let error = match port.choose_among(&mut tx, 0, 2, &classes) {
        Err(PortError::Tree { error, .. }) => error,
        other => panic!("{other:?}"),
    };
    let queues = usize::from(queues);
    assert_eq!(error, TreeError::Queues { queues });
    port.close(rx, tx).expect("closed");
}

#[test]
fn a_device_without_a_traffic_manager_says_so() {
    let _alone = alone();
    let mut port = Port::attach(eal(), &unique("net_ring")).expect("a port");
    let (rx, mut tx) = port.start(&config(1), pool(15)).expect("a start");
    let error = port.choose_among(&mut tx, 0, 2, &[class(0, 1)]);
    let error = error.expect_err("it has none");
    let text = "Function not implemented (node 1000, level 0)";
    assert_eq!(said(&error), ("rte_tm_node_add", 38, text));
    port.close(rx, tx).expect("closed");
}
