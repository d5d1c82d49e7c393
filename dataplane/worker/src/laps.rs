//! What each stage of a turn costs by the TSC, while control has it measured: a run of its own, since reading the clock costs, too.
//!
//! A lap is from one reading of the clock to the next, so that nothing between two stages is left out. The clock is not a barrier:
//! a core is some instructions ahead of what it has finished, so that a stage's edge is blurred by so many; a batch has thousands.

use rte::clock::tsc;
use std::cell::Cell;
use std::sync::Arc;
use weir_switch::lap::{Stage, Stopwatch};
use weir_tables::counters::{StageCells, WorkerCells};

/// Laps of nothing by which it is known what a lap itself costs.
const CALIBRATION: u64 = 1024;

/// A worker's stopwatch.
pub(crate) struct Laps {
    cells: Arc<WorkerCells>,
    is_on: bool,
    since: Cell<u64>,
}

impl Laps {
    pub(crate) fn new(cells: Arc<WorkerCells>) -> Laps {
        Laps {
            cells,
            is_on: false,
            since: Cell::new(0),
        }
    }

    /// Whether somebody wants to know.
    #[inline(always)]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Begins from zero, or ends.
    #[cold]
    pub(crate) fn set(&mut self, on: bool) {
        self.is_on = on;
        if !on {
            return;
        }
        let began = tsc();
        for _ in 0..CALIBRATION {
            self.lap(Stage::Receive);
        }
        let each = tsc().wrapping_sub(began) * 1000 / CALIBRATION;
        let StageCells {
            cycles,
            laps,
            packets,
            lap_millicycles,
        } = &self.cells.stages;
        lap_millicycles.set(each);
        packets.set(0);
        cycles.iter().chain(laps).for_each(|cell| cell.set(0));
        self.restart();
    }

    /// Nothing happened since the last lap: that is no stage's.
    #[inline]
    pub(crate) fn restart(&self) {
        self.since.set(tsc());
    }

    /// Counts packets on their way.
    #[inline]
    pub(crate) fn packets(&self, count: usize) {
        self.cells.stages.packets.add(count as u64);
    }
}

impl Stopwatch for Laps {
    #[inline(always)]
    fn lap(&self, stage: Stage) {
        let now = tsc();
        let took = now.wrapping_sub(self.since.replace(now));
        let stages = &self.cells.stages;
        if let (Some(cycles), Some(laps)) = (
            stages.cycles.get(stage as usize),
            stages.laps.get(stage as usize),
        ) {
            cycles.add(took);
            laps.add(1);
        }
    }
}
