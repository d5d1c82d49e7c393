//! The generator and the receiver over real devices in one process, with somebody between them who does known harm.

use super::ledger::Came;
use super::*;
use crate::halt::Stop;
use crate::workload::Workload;
use rte::{Burst, Mbuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// One tester a process; one test at a time counts its mbufs.
fn tester() -> MutexGuard<'static, Tester> {
    static TESTER: OnceLock<Mutex<Tester>> = OnceLock::new();
    let core = *rte::available_cores().last().unwrap();
    let tester = TESTER.get_or_init(|| Mutex::new(Tester::start(core, false, &[]).unwrap()));
    tester.lock().unwrap_or_else(PoisonError::into_inner)
}

fn frames() -> Vec<Vec<u8>> {
    Workload::default().frames(crate::Scenario::L2)
}

fn order(frames: &[Vec<u8>], rate: f64, seconds: f64) -> Order<'_> {
    Order {
        frames,
        rate,
        seconds,
        trial: 0,
        latency: true,
        // Nothing here may be lost because the machine is busy.
        drain: Duration::from_secs(5),
    }
}

#[test]
fn every_frame_of_a_loop_is_accounted_for() {
    let (tester, stop) = (tester(), Stop::default());
    // net_ring gives back by itself what it is given.
    let mut out = tester.open("net_ring0", 1, None).unwrap();
    let mut back = tester.open("net_ring1", 1, None).unwrap();
    let frames = frames();
    for latency in [true, false] {
        let order = Order {
            latency,
            ..order(&frames, 50_000.0, 0.2)
        };
        let account = tester.trial(&mut out, &mut back, &order, &stop).unwrap();
        assert_eq!((account.scheduled, account.unsent), (10_000, 0));
        assert_eq!(account.came.frames + account.refused, 10_000);
        assert_eq!(
            account.came,
            Came {
                frames: account.came.frames,
                ..Came::default()
            }
        );
        let recorded = account.latency.as_ref().map(|it| it.len());
        assert_eq!(recorded, latency.then_some(u64::from(account.came.frames)));
    }
    out.close().unwrap();
    back.close().unwrap();
    assert_eq!(tester.mbufs_in_use(), 0);
}

fn linked(gates: &[&Gate]) {
    let up = || Ok(gates.iter().all(|gate| gate.is_up()).then_some(()));
    let up = Stop::default().wait_for(Duration::from_secs(10), up);
    assert_eq!(up, Ok(Some(())), "no link");
}

/// A switch between two memifs, until it is stopped: each frame goes through `work`, which says what goes on.
fn between<T>(
    tester: &Tester,
    mut work: impl FnMut(Mbuf, &mut Burst) + Send,
    run: impl FnOnce(&mut Gate, &mut Gate) -> T,
) -> T {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let open = |role: &str, name: &str| {
        let device = format!("{role}:{}", path(name));
        tester.open(&device, 1, None).unwrap()
    };
    let (mut from, mut to) = (open("memif-server", "a"), open("memif-server", "b"));
    let (mut out, mut back) = (open("memif", "a"), open("memif", "b"));
    linked(&[&out, &back, &from, &to]);
    let ended = AtomicBool::new(false);
    let (from, to, ran) = thread::scope(|scope| {
        let switch = scope.spawn(|| {
            let (mut got, mut gone) = (Burst::new(), Burst::new());
            while !ended.load(Ordering::Relaxed) {
                from.rx[0].rx(&mut got);
                for mbuf in got.drain() {
                    work(mbuf, &mut gone);
                    while !gone.is_empty() && !ended.load(Ordering::Relaxed) {
                        to.tx.tx(&mut gone);
                    }
                }
            }
            gone.clear();
            (from, to)
        });
        let ran = run(&mut out, &mut back);
        ended.store(true, Ordering::Relaxed);
        let (from, to) = switch.join().unwrap();
        (from, to, ran)
    });
    for gate in [out, back, from, to] {
        gate.close().unwrap();
    }
    assert_eq!(tester.mbufs_in_use(), 0);
    ran
}

#[test]
fn harm_done_on_the_way_is_told_for_what_it_is() {
    let tester = tester();
    let frames = frames();
    let mut count = 0;
    let mut kept: Option<Mbuf> = None;
    let work = |mut mbuf: Mbuf, gone: &mut Burst| {
        count += 1;
        match count % 100 {
            // Lost.
            10 | 11 => return,
            // Twice.
            20 => gone.push(mbuf.copy(&tester.pool()).unwrap()).unwrap(),
            // Behind the next one.
            30 => {
                kept = Some(mbuf);
                return;
            }
            // Changed.
            40 => mbuf.head_mut()[50] ^= 4,
            // With somebody else's.
            50 => {
                let mut other = tester.pool().alloc().unwrap();
                other.append(60).unwrap().fill(7);
                gone.push(other).unwrap();
            }
            _ => {}
        }
        gone.push(mbuf).unwrap();
        if let Some(kept) = kept.take() {
            gone.push(kept).unwrap();
        }
    };
    let account = between(&tester, work, |out, back| {
        let order = order(&frames, 4_000.0, 0.5);
        tester.trial(out, back, &order, &Stop::default()).unwrap()
    });
    assert_eq!((account.scheduled, account.unsent), (2000, 0));
    assert_eq!(account.refused, 0);
    assert_eq!(
        account.came,
        Came {
            frames: 2000 - 20 * 3,
            duplicates: 20,
            reordered: 20,
            stale: 0,
            foreign: 40,
        }
    );
    assert!((account.loss() - 0.03).abs() < 1e-9);
}

#[test]
fn a_switch_that_takes_nothing_loses_everything_and_what_does_not_fit_is_refused() {
    let tester = tester();
    let frames = frames();
    let (folder, stop) = (tempfile::tempdir().unwrap(), Stop::default());
    let device = |role: &str| format!("{role}:{}", folder.path().join("a").display());
    let deaf = tester.open(&device("memif-server"), 1, None).unwrap();
    let mut out = tester.open(&device("memif"), 1, None).unwrap();
    let mut back = tester.open("net_ring2", 1, None).unwrap();
    linked(&[&out, &deaf]);
    let order = Order {
        drain: trial::DRAIN,
        ..order(&frames, 50_000.0, 0.1)
    };
    let account = tester.trial(&mut out, &mut back, &order, &stop).unwrap();
    // memif's ring has 1,024 places.
    assert_eq!((account.scheduled, account.unsent), (5000, 0));
    assert_eq!((account.refused, account.loss()), (5000 - 1024, 1.0));
    // It never looked.
    assert_eq!(account.unheard, account.refused);
    for gate in [out, back, deaf] {
        gate.close().unwrap();
    }
    assert_eq!(tester.mbufs_in_use(), 0);
}

/// Nobody looks at first, then somebody does, stands still, and goes on: only what did not fit before the first frame came is of the first.
#[test]
fn what_is_refused_before_anything_has_come_is_told_apart() {
    let tester = tester();
    let frames = frames();
    for stands_still_at in [0, 3000] {
        let mut count = 0;
        let work = |mbuf: Mbuf, gone: &mut Burst| {
            if count == stands_still_at {
                thread::sleep(Duration::from_millis(200));
            }
            count += 1;
            gone.push(mbuf).unwrap();
        };
        let account = between(&tester, work, |out, back| {
            let order = order(&frames, 20_000.0, 0.4);
            tester.trial(out, back, &order, &Stop::default()).unwrap()
        });
        assert!(account.refused > 1000, "{}", account.refused);
        match stands_still_at {
            0 => assert!(account.unheard > 1000, "{}", account.unheard),
            _ => assert_eq!(account.unheard, 0),
        }
    }
}

#[test]
fn a_generator_that_cannot_keep_its_rate_says_so() {
    let (tester, stop) = (tester(), Stop::default());
    let frames = frames();
    let mut out = tester.open("net_ring3", 1, None).unwrap();
    let mut back = tester.open("net_ring4", 1, None).unwrap();
    let order = order(&frames, 4e9, 0.02);
    let account = tester.trial(&mut out, &mut back, &order, &stop).unwrap();
    assert!(account.unsent > 0);
    let Pace::Slow(managed) = account.pace() else {
        panic!("{:?}", account.pace());
    };
    assert!(managed < 4e9 && managed > 0.0, "{managed}");
    out.close().unwrap();
    back.close().unwrap();
}

/// A switch that stands still for a while makes every frame late that was due meanwhile, not only the one that it had.
#[test]
fn latency_counts_from_when_a_frame_was_due() {
    let tester = tester();
    let frames = frames();
    let pause = Duration::from_millis(30);
    let mut count = 0;
    let work = |mbuf: Mbuf, gone: &mut Burst| {
        count += 1;
        if count == 500 {
            thread::sleep(pause);
        }
        gone.push(mbuf).unwrap();
    };
    let account = between(&tester, work, |out, back| {
        let order = order(&frames, 10_000.0, 0.1);
        tester.trial(out, back, &order, &Stop::default()).unwrap()
    });
    assert_eq!((account.scheduled, account.unsent), (1000, 0));
    let latency = account.latency.as_ref().unwrap();
    assert!(account.micros(latency.max()) > 29_000.0);
    // Those that were due in the first 20 ms of the pause.
    let share = latency
        .iter_recorded()
        .filter(|it| account.micros(it.value_iterated_to()) > 10_000.0);
    let late: u64 = share.map(|it| it.count_since_last_iteration()).sum();
    assert!(late >= 190, "{late}");
}
