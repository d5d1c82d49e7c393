//! A device that is had to choose among its transmit queues (rte_tm): the tree that its driver is told, and what leaves by it.
//!
//! The device is a ring whose driver judges what it is told as NICs' do (common/class_nic.rs).
#![allow(unsafe_code)]

#[path = "common/class_nic.rs"]
mod class_nic;
mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};

use class_nic::{ClassNic, Like, Nature, Node, Told, only_child};
use common::{eal, pool, unique};
use rte::{Chooser, Manager, Port, PortConfig, PortError, QueueClass, RxQueue, TxQueue};

/// A NIC and its port, started. Devices come and go one at a time.
struct Started {
    nic: ClassNic,
    port: Port,
    rx: Vec<RxQueue>,
    tx: Vec<TxQueue>,
    _alone: MutexGuard<'static, ()>,
}

/// With so many transmit queues; `None` with another DPDK.
fn started(nature: Nature, queues: u16) -> Option<Started> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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
