use super::*;
use proptest::prelude::*;

fn bucket(index: usize) -> Bucket {
    Bucket::all().nth(index).unwrap()
}

fn loads(nodes: &[u8], items: &[Item]) -> Vec<Load> {
    let of = |worker: usize| -> f64 {
        let own = items.iter().filter(|item| item.worker.index() == worker);
        own.map(|item| item.load).sum()
    };
    let each = nodes.iter().enumerate();
    each.map(|(worker, &node)| Load {
        busy: of(worker),
        node,
    })
    .collect()
}

/// Decides and moves until nothing is to be moved; how often it was decided, and how many moved.
fn settle(nodes: &[u8], items: &mut [Item], rules: &Rules) -> (usize, usize) {
    let (mut rounds, mut moved) = (0, 0);
    loop {
        let moves = decide(&loads(nodes, items), items, rules);
        if moves.is_empty() {
            return (rounds, moved);
        }
        rounds += 1;
        moved += moves.len();
        for Move { bucket, from, to } in moves {
            let item = items.iter_mut().find(|item| item.bucket == bucket).unwrap();
            assert_eq!(item.worker, from);
            item.worker = to;
        }
        assert!(rounds < 1000, "it goes on and on");
    }
}

fn item(index: usize, worker: u8, load: f64, node: Option<u8>) -> Item {
    Item {
        bucket: bucket(index),
        worker: WorkerId(worker),
        load,
        node,
    }
}

#[test]
fn all_on_one_of_two_is_halved_at_once() {
    let mut items: Vec<Item> = (0..8).map(|index| item(index, 0, 0.125, None)).collect();
    assert_eq!(settle(&[0, 0], &mut items, &Rules::default()), (1, 4));
    let busy = loads(&[0, 0], &items);
    assert_eq!((busy[0].busy, busy[1].busy), (0.5, 0.5));
}

#[test]
fn one_that_fills_a_core_alone_stays_and_so_do_idle_ones() {
    let rules = Rules::default();
    let mut items = vec![item(0, 0, 1.0, None)];
    assert_eq!(settle(&[0, 0], &mut items, &rules), (0, 0));
    let mut items = vec![item(0, 0, 0.1, None), item(1, 0, 0.1, None)];
    assert_eq!(
        settle(&[0, 0], &mut items, &rules),
        (0, 0),
        "below what counts as busy"
    );
    let mut items = vec![
        item(0, 0, 0.26, None),
        item(1, 0, 0.04, None),
        item(2, 1, 0.2, None),
    ];
    assert_eq!(
        settle(&[0, 0], &mut items, &rules),
        (0, 0),
        "it would not pay"
    );
}

/// A thousand buckets of a thousandth of a core each, as ten thousand equal vNICs make them: none is worth a move, many are.
#[test]
fn many_small_ones_go_in_lots() {
    let mut items: Vec<Item> = (0..1000).map(|index| item(index, 0, 0.001, None)).collect();
    let rules = Rules::default();
    let (rounds, moved) = settle(&[0, 0], &mut items, &rules);
    let busy = loads(&[0, 0], &items);
    let apart = busy[0].busy - busy[1].busy;
    assert!((0.0..2.0 * rules.gain).contains(&apart), "{apart} apart");
    assert!(
        moved <= 500 && rounds <= 1 + 500 / rules.at_once,
        "{moved} in {rounds}"
    );
    // As many as may go at once are too little to be worth it.
    let few = Rules {
        at_once: 49,
        ..rules
    };
    let mut items: Vec<Item> = (0..1000).map(|index| item(index, 0, 0.001, None)).collect();
    assert_eq!(settle(&[0, 0], &mut items, &few), (0, 0));
}

/// Beside one that fills half a core and holds still, what is small goes to the other worker; what nobody uses stays where it is.
#[test]
fn small_ones_leave_a_great_one_alone() {
    let mut items = vec![item(0, 0, 0.5, None)];
    items.extend((1..41).map(|index| item(index, 0, 0.01, None)));
    items.extend((41..61).map(|index| item(index, 0, 0.0, None)));
    let moves = decide(&loads(&[0, 0], &items), &items[1..], &Rules::default());
    assert_eq!(moves.len(), 40);
    assert!(
        moves
            .iter()
            .all(|one| items[1..41].iter().any(|item| item.bucket == one.bucket))
    );
}

#[test]
fn nodes_are_kept_on_sixty_four_workers_of_two() {
    // What is worth a move, and how far apart workers of a node may then be: twice that, and a bucket.
    spread_over_sixty_four(0.002, 0.06);
    spread_over_sixty_four(Rules::default().gain, 0.16);
}

fn spread_over_sixty_four(gain: f64, apart: f64) {
    let nodes: Vec<u8> = (0..64).map(|worker| u8::from(worker >= 32)).collect();
    // Everything begins on four workers, two a node.
    let mut items: Vec<Item> = (0..1000)
        .map(|index| {
            let node = (index % 2) as u8;
            let worker = node * 32 + (index / 2 % 2) as u8;
            let load = 0.002 * (1 + index * 7 % 29) as f64;
            item(index, worker, load, Some(node))
        })
        .collect();
    let rules = Rules {
        gain,
        ..Rules::default()
    };
    let (rounds, moved) = settle(&nodes, &mut items, &rules);
    for item in &items {
        assert_eq!(Some(nodes[item.worker.index()]), item.node);
    }
    let busy = loads(&nodes, &items);
    for node in 0..2 {
        let of = busy
            .iter()
            .filter(|load| load.node == node)
            .map(|load| load.busy);
        let (least, most) = of.fold((f64::MAX, 0.0_f64), |(least, most), busy| {
            (least.min(busy), most.max(busy))
        });
        assert!(most - least < apart, "node {node}: {least} to {most}");
    }
    assert!(
        rounds <= 40 && moved < 2000,
        "{rounds} rounds, {moved} moves"
    );
}

#[test]
fn no_more_go_at_once_than_may() {
    for (at_once, load) in [(0, 0.125), (2, 0.125), (0, 0.01), (6, 0.01)] {
        let count = (1.0 / load) as usize;
        let items: Vec<Item> = (0..count).map(|index| item(index, 0, load, None)).collect();
        let rules = Rules {
            at_once,
            ..Rules::default()
        };
        let moves = decide(&loads(&[0, 0], &items), &items, &rules);
        assert_eq!(moves.len(), at_once, "of {load} each");
    }
}

/// What is most even afterwards, if one alone may go; and a device's node is no bar where no worker is of it.
#[test]
fn the_best_one_goes_first_and_what_is_of_no_workers_node_goes_anywhere() {
    let loads_of = [0.1, 0.5, 0.4];
    let items = (0..).zip(loads_of);
    let items: Vec<Item> = items
        .map(|(index, load)| item(index, 0, load, Some(1)))
        .collect();
    let rules = Rules {
        at_once: 1,
        ..Rules::default()
    };
    let moves = decide(&loads(&[0, 0], &items), &items, &rules);
    let wanted = Move {
        bucket: bucket(1),
        from: WorkerId(0),
        to: WorkerId(1),
    };
    assert_eq!(moves, [wanted]);
}

#[test]
fn a_lot_is_of_the_greatest_and_goes_to_who_has_least() {
    // 0.8 are 0.02 each: of either node's devices, and the other node's worker has nothing.
    let mut items: Vec<Item> = (0..40)
        .map(|index| item(index, 0, 0.02, Some((index % 2) as u8)))
        .collect();
    items.push(item(40, 1, 0.4, None));
    let rules = Rules {
        at_once: 10,
        ..Rules::default()
    };
    let moves = decide(&loads(&[0, 0, 1], &items), &items, &rules);
    assert_eq!(moves.len(), 10);
    assert!(moves.iter().all(|one| one.to == WorkerId(2)), "{moves:?}");
    // Half of 0.6 is seven of 0.04 and two of 0.01.
    let of = |index| if index < 20 { 0.01 } else { 0.04 };
    let items: Vec<Item> = (0..30)
        .map(|index| item(index, 0, of(index), None))
        .collect();
    let moves = decide(&loads(&[0, 0], &items), &items, &Rules::default());
    assert!((8..=9).contains(&moves.len()), "{}", moves.len());
}

proptest! {
    /// Under load that does not change it ends, nobody is worse off than the busiest was, and a second look moves nothing.
    #[test]
    fn it_ends_and_helps(
        loads_of in proptest::collection::vec((0_u8..6, prop_oneof![0.0_f64..0.4, 0.0_f64..0.03], proptest::option::of(0_u8..2)), 0..120),
        workers in 1_usize..6,
    ) {
        let nodes: Vec<u8> = (0..workers).map(|worker| (worker % 2) as u8).collect();
        let mut items: Vec<Item> = loads_of
            .iter()
            .enumerate()
            .map(|(index, &(worker, load, node))| item(index, worker % workers as u8, load, node))
            .collect();
        let rules = Rules { at_once: 4, ..Rules::default() };
        let busiest = |items: &[Item]| loads(&nodes, items).iter().fold(0.0_f64, |most, load| most.max(load.busy));
        let squares = |items: &[Item]| loads(&nodes, items).iter().map(|load| load.busy * load.busy).sum::<f64>();
        let (before, sum) = (busiest(&items), squares(&items));
        let (rounds, _) = settle(&nodes, &mut items, &rules);
        prop_assert!(busiest(&items) <= before + 1e-9);
        // What bounds how often anything moves: each time one lot at least does.
        let gained = 2.0 * rules.gain * rules.gain * rounds as f64;
        prop_assert!(squares(&items) <= sum - gained + 1e-6, "{rounds} rounds");
        prop_assert!(decide(&loads(&nodes, &items), &items, &rules).is_empty());
    }

    /// Nothing is moved out of a node that has workers, wherever it began.
    #[test]
    fn nothing_goes_to_a_foreign_node(
        loads_of in proptest::collection::vec((0_u8..4, 0.0_f64..0.5, 0_u8..2), 1..40),
    ) {
        let nodes = [0, 0, 1, 1];
        let items: Vec<Item> = loads_of
            .iter()
            .enumerate()
            .map(|(index, &(worker, load, node))| item(index, worker, load, Some(node)))
            .collect();
        for to in decide(&loads(&nodes, &items), &items, &Rules::default()) {
            let own = items.iter().find(|item| item.bucket == to.bucket).unwrap();
            prop_assert_eq!(Some(nodes[to.to.index()]), own.node);
            prop_assert!(to.from != to.to);
        }
    }
}
