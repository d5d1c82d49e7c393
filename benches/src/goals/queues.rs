//! Goals of queues: two workers on two cores of a host in this very process, over devices of the rig.
//!
//! This thread is control, as in a daemon; where there are two cores only it and everything else of the machine take theirs from the workers,
//! and a round in which they took more than the plan allows is made again.

mod host;

use crate::halt::{Halt, Stop};
use crate::machine::Others;
use crate::rounds::{Plan, TRIES, Watcher};
use host::{Counts, FRAME, Host, SENDERS, mac};
use std::fs::read_to_string;
use std::time::{Duration, Instant};
use weir_tables::ids::WorkerId;
use weir_tables::steering::Bucket;

use super::rest;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Packets a second of two workers ÷ those of one, each vNIC with a source of its own.
    Scale,
    /// The same of what comes by one queue for vNICs of both.
    Handoff,
    /// Milliseconds from all load on one worker to balance.
    Balance,
    /// Packets lost or reordered meanwhile.
    BalanceLost,
    /// Packets lost or reordered while vNICs move.
    Moves,
}

/// Moves of a measurement.
const MOVES: u64 = 10_000;
/// Until a host that has just started has found its pace.
const WARM: Duration = Duration::from_millis(200);
/// How long balance may take before it counts as none.
const TOO_LONG: Duration = Duration::from_secs(2);

/// Rounds of it.
pub fn measure(
    what: What,
    plan: &Plan,
    stop: &Stop,
    watcher: &mut dyn Watcher,
) -> Result<Vec<f64>, Halt> {
    if rte::available_cores().len() < 2 {
        return Err(Halt::failed("queues", "there is one core only", ""));
    }
    if is_fifo(&read_to_string("/proc/thread-self/stat").unwrap_or_default()) {
        let mend = "take chrt -r: there who has the same priority gets its turn";
        let problem =
            "two workers that poll under SCHED_FIFO leave control, and the machine, no core";
        return Err(Halt::failed("queues", problem, mend));
    }
    match what {
        What::Scale => ratio(plan, stop, watcher, Host::with_sources),
        What::Handoff => ratio(plan, stop, watcher, Host::with_one_queue),
        What::Balance => balanced(plan, stop, watcher, |(took, _)| took),
        What::BalanceLost => balanced(plan, stop, watcher, |(_, wrong)| wrong),
        What::Moves => moved(stop, watcher),
    }
}

/// Whether a thread is scheduled so (1 as its 41st field, proc(5)), by its stat.
fn is_fifo(stat: &str) -> bool {
    // Behind the name, which may have spaces: from the third field on.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let policy = fields.and_then(|fields| fields.split_whitespace().nth(41 - 3));
    policy == Some("1")
}

/// Packets a second of two workers ÷ of one, in paired windows.
fn ratio(
    plan: &Plan,
    stop: &Stop,
    watcher: &mut dyn Watcher,
    start: fn(usize) -> Result<Host, Halt>,
) -> Result<Vec<f64>, Halt> {
    let mut ratios = Vec::new();
    for _ in 0..TRIES * plan.rounds {
        stop.check()?;
        let mut rates = Vec::new();
        let mut last = Vec::new();
        let mut second = 0;
        for workers in [1, 2] {
            let mut host = start(workers)?;
            place(&mut host);
            let (cores, own) = (host.cores(), std::process::id());
            let others = Others::look_at(&cores, own)?;
            let (before, since) = (host.counts(), Instant::now());
            std::thread::sleep(plan.window);
            let took = since.elapsed().as_secs_f64();
            let each = Counts::between(&before, &host.counts());
            let rate = each.iter().map(|counts| counts.packets).sum::<u64>() as f64 / took;
            last = each.iter().map(|counts| counts.in_millions(took)).collect();
            second = host.owned_by_second();
            let others = Others::look_at(&cores, own)?.since(&others);
            let share = others / since.elapsed().as_secs_f64();
            host.stop()?;
            if share * 100.0 <= plan.bound {
                rates.push(rate);
            }
        }
        if let [one, two] = rates[..] {
            watcher.note(&format!(
                "one worker {:.2}, two {:.2} million packets/s: {:.3} ({second} of {SENDERS} vNICs the second's; {})",
                one / 1e6,
                two / 1e6,
                two / one,
                last.join(", ")
            ));
            ratios.push(two / one);
        }
        if ratios.len() == plan.rounds {
            break;
        }
    }
    rest(ratios, plan)
}

/// Has balance place the vNICs as it does in a daemon, until it has left them where they are for as long as a host takes to find its pace.
fn place(host: &mut Host) {
    host.state.host.dataplane.balance = true;
    let since = Instant::now();
    let (mut moves, mut still) = (host.state.moves.moves, since);
    while still.elapsed() < WARM && since.elapsed() < TOO_LONG {
        host.state.tend_balance();
        if moves != host.state.moves.moves {
            (moves, still) = (host.state.moves.moves, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// From all vNICs on one worker to as many on each, by what control measures: milliseconds, and packets lost or reordered.
fn balanced(
    plan: &Plan,
    stop: &Stop,
    watcher: &mut dyn Watcher,
    of: fn((f64, f64)) -> f64,
) -> Result<Vec<f64>, Halt> {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        stop.check()?;
        let mut host = Host::on_a_wire()?;
        let all: Vec<Bucket> = (0..SENDERS).map(|number| Bucket::of(mac(number))).collect();
        host.state.move_buckets(&all, WorkerId(0));
        std::thread::sleep(WARM);
        host.state.host.dataplane.balance = true;
        let since = Instant::now();
        while host.owned_by_second() != SENDERS / 2 && since.elapsed() < TOO_LONG {
            host.state.tend_balance();
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = since.elapsed().as_secs_f64() * 1e3;
        let even = host.owned_by_second();
        // It stays so.
        while since.elapsed() < TOO_LONG / 2 {
            host.state.tend_balance();
            std::thread::sleep(Duration::from_millis(1));
        }
        let wrong = host.rest_and_count();
        watcher.note(&format!(
            "{took:.1} ms to {even} of {SENDERS} vNICs on the second worker, later {}; {wrong} packets lost or reordered",
            host.owned_by_second()
        ));
        host.stop()?;
        rounds.push(of((took, wrong as f64)));
    }
    rest(rounds, plan)
}

/// Packets lost or reordered in so many moves, of all vNICs by turns, each of which sends all it can.
fn moved(stop: &Stop, watcher: &mut dyn Watcher) -> Result<Vec<f64>, Halt> {
    // Six measurements, so that there is an interval.
    const PARTS: u64 = 10;
    let mut rounds = Vec::new();
    for _ in 0..PARTS {
        let mut host = Host::on_a_wire()?;
        std::thread::sleep(WARM);
        for number in 0..MOVES / PARTS {
            stop.check()?;
            let bucket = Bucket::of(mac(number % SENDERS));
            let to = WorkerId(1 - host.state.tables.view.steering.owner(bucket).0);
            host.state.move_buckets(&[bucket], to);
        }
        let wrong = host.rest_and_count();
        let moves = host.state.moves.clone();
        watcher.note(&format!(
            "{} moves under {} packets of {FRAME} bytes, {:.0} us each, the longest {:.1} ms: {wrong} lost or reordered",
            moves.moves,
            host.packets(),
            moves.total.as_secs_f64() * 1e6 / moves.moves.max(1) as f64,
            moves.longest.as_secs_f64() * 1e3,
        ));
        host.stop()?;
        rounds.push(wrong as f64);
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_would_leave_control_no_core_is_refused() {
        let stat = |policy: u8| {
            let zeros = "0 ".repeat(37);
            format!("7 (a (b) c) R {zeros}{policy} 0 0\n")
        };
        assert_eq!(
            [0, 1, 2].map(|policy| is_fifo(&stat(policy))),
            [false, true, false]
        );
        assert!(!is_fifo(""));
    }
}
