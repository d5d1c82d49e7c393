//! What a measuring rig asks of a daemon besides statistics: the cost of each stage, a quiet end, and what devices have counted
//! by themselves, so that its counts and Weir's can be held against each other.

use crate::ports::Handle;
use crate::state::State;
use serde::{Deserialize, Serialize};
use weir_switch::lap::Stage;
use weir_tables::counters::WorkerCells;
use weir_worker::Command;

/// What is asked for. What is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MeasureWish {
    /// Whether workers receive nothing. What they have taken still goes on to its end.
    pub rest: Option<bool>,
    /// Whether the cost of each stage is measured, from zero. Reading the clock costs, too: a run of its own.
    pub stages: Option<bool>,
}

/// What the workers answered, and what the devices count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// One a worker.
    pub workers: Vec<WorkerMeasured>,
    /// One a device that is a DPDK port.
    pub devices: Vec<DeviceCount>,
    /// What is looked up a packet or in few of them, table by table.
    pub tables: Vec<TableSize>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerMeasured {
    /// The core that it is pinned to.
    pub core: u32,
    /// Whether it receives nothing for now.
    pub rests: bool,
    /// Calls of the allocator by its thread since it started; 0 too where the program does not count them.
    pub allocator_calls: u64,
    /// Packets that went through while stages were measured.
    pub packets: u64,
    /// TSC cycles of one reading of the clock with its account, in thousandths.
    pub lap_millicycles: u64,
    /// One a stage, in the order in which a packet meets them.
    pub stages: Vec<StageMeasured>,
}

/// A stage of one worker, from when stages began to be measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageMeasured {
    /// Its name.
    pub stage: String,
    /// TSC cycles, what reading the clock took among them.
    pub cycles: u64,
    /// How often the clock was read.
    pub laps: u64,
}

/// What a device's driver has counted since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceCount {
    /// The device, as host.toml or policy.toml names it.
    pub device: String,
    /// Packets that it gave.
    pub rx_packets: u64,
    /// Packets that it took.
    pub tx_packets: u64,
    /// Packets that it lost: no room, broken, no mbuf, not sent.
    pub lost: u64,
}

/// The memory of one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableSize {
    /// Its name.
    pub table: String,
    /// Its bytes.
    pub bytes: u64,
}

fn worker(core: u32, cells: &WorkerCells) -> WorkerMeasured {
    let stages = &cells.stages;
    let each = Stage::ALL.iter().zip(&stages.cycles).zip(&stages.laps);
    WorkerMeasured {
        core,
        rests: cells.rests.get() != 0,
        allocator_calls: cells.allocator_calls.get(),
        packets: stages.packets.get(),
        lap_millicycles: stages.lap_millicycles.get(),
        stages: each
            .map(|((stage, cycles), laps)| StageMeasured {
                stage: stage.name().to_string(),
                cycles: cycles.get(),
                laps: laps.get(),
            })
            .collect(),
    }
}

impl State {
    /// Has the workers do what is asked for, waits until they do, and tells.
    pub fn measure(&mut self, wish: MeasureWish) -> Measured {
        if let Some(on) = wish.stages {
            self.crew.tell_all(|| Command::Measure(on));
        }
        if let Some(rest) = wish.rest {
            self.crew.tell_all(|| Command::Rest(rest));
        }
        self.crew.tell_all(|| Command::Tell);
        self.rounds();
        let devices = self.ports.iter().filter_map(|(device, open)| {
            let Handle::Eth(port, _) = &open.handle else {
                return None;
            };
            let counts = port.stats();
            Some(DeviceCount {
                device: device.to_string(),
                rx_packets: counts.ipackets,
                tx_packets: counts.opackets,
                lost: counts.imissed + counts.ierrors + counts.oerrors + counts.rx_nombuf,
            })
        });
        let mut devices: Vec<DeviceCount> = devices.collect();
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        let view = &self.tables.view;
        let tables = [
            ("endpoints", view.endpoints.memory_bytes()),
            ("records", view.records.memory_bytes()),
            ("records6", view.records6.memory_bytes()),
            ("rewritten", view.rewritten.memory_bytes()),
            ("rewritten6", view.rewritten6.memory_bytes()),
        ];
        Measured {
            workers: self
                .crew
                .books()
                .map(|(core, cells)| worker(core, cells))
                .collect(),
            devices,
            tables: tables
                .map(|(table, bytes)| TableSize {
                    table: table.to_string(),
                    bytes: bytes as u64,
                })
                .to_vec(),
        }
    }
}
