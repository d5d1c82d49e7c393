//! What a subject is: something that takes frames from the source and gives them to the sink.
//!
//! An adapter is one file: how to see whether it is installed, how to start it with the source, the sink and the
//! mappings, how to read what the sink took, how to stop it (mostly by dropping its [`Process`](crate::process::Process)).

pub mod adapter;
mod agreement;
pub mod ovs;
pub mod source;
pub mod testpmd;
pub mod unixctl;
pub mod weir;

use crate::halt::{Halt, Stop};
use crate::process;
use crate::scenario::Scenario;
use crate::window::{Reading, Sample};
use crate::workload::Workload;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_agent::measure::{MeasureWish, Measured};
use weir_agent::stats::{ChurnReport, ChurnWish, DropRow, Stats, Status};
use weir_agent::traffic::{TrafficReport, TrafficWish};

/// The peers there are, as `--vs` names them.
pub const PEERS: [&str; 2] = ["testpmd", "ovs"];
/// The sink of a subject that is measured alone: takes everything and looks at nothing.
const SINK: &str = "net_null1,no-rx=1";
/// A port that neither gives nor gets anything, where a subject must have one.
pub const IDLE: &str = "net_null2,no-rx=1";
/// From this frame's length on, NVGRE makes packets that do not fit into an MTU of 1,500.
pub(crate) const LONG: u16 = 1472;
/// The MTU towards the sink for those.
const LONG_MTU: u16 = 1600;

/// The devices between which a subject is.
#[derive(Clone, Copy, Debug)]
pub enum Ends<'a> {
    /// A source that never runs dry and a sink that takes everything.
    Alone {
        /// The source's frames.
        pcap: &'a Path,
    },
    /// The same with a source that writes its frames and so holds none, for any number of mappings; only Weir has it.
    Stamped,
    /// Two ports of the rig's own, in another process.
    Between {
        /// The device towards the rig's sender, as a vNIC's `attach` and DPDK's vdevs are written.
        source: &'a str,
        /// The device towards its receiver.
        sink: &'a str,
    },
}

/// What a subject is started with.
pub struct Bench<'a> {
    /// What is measured.
    pub scenario: Scenario,
    /// What is sent, and to whom.
    pub load: Workload,
    /// The core that it may poll.
    pub core: u32,
    /// A core for its other threads: another one, if there is one.
    pub helper: u32,
    /// Whether it is to use hugepages.
    pub huge: bool,
    /// A folder of its own, empty.
    pub folder: &'a Path,
    /// The devices between which it is.
    pub ends: Ends<'a>,
    /// Ends every wait.
    pub stop: &'a Stop,
    /// Questions to a daemon of Weir.
    pub ask: &'a dyn Ask,
}

impl Bench<'_> {
    /// Where its packets come from, as a DPDK device.
    pub fn source(&self) -> String {
        match self.ends {
            // Each frame in turn, copied, for ever.
            Ends::Alone { pcap } => format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display()),
            Ends::Stamped => format!("rig:{}", self.load.stamped()),
            Ends::Between { source, .. } => source.to_string(),
        }
    }

    /// Where they go, as a DPDK device.
    pub fn sink(&self) -> String {
        match self.ends {
            Ends::Alone { .. } | Ends::Stamped => SINK.to_string(),
            Ends::Between { sink, .. } => sink.to_string(),
        }
    }

    /// Whether packets come as soon as it runs: a subject that is between the rig's own ports waits for them.
    pub fn is_alone(&self) -> bool {
        matches!(self.ends, Ends::Alone { .. } | Ends::Stamped)
    }

    /// The MTU that the sink needs, if it is not the usual one.
    pub fn sink_mtu(&self) -> Option<u16> {
        (self.load.longest() > LONG).then_some(LONG_MTU)
    }

    /// Mbufs that a subject needs: a source of its own keeps one a frame.
    pub fn mbufs(&self) -> u32 {
        match self.ends {
            Ends::Alone { .. } => 16_383 + self.load.count() as u32,
            Ends::Between { .. } | Ends::Stamped => 16_383,
        }
    }

    /// Megabytes for those, where there are no hugepages.
    pub fn megabytes(&self) -> u32 {
        128 + self.mbufs() / 256
    }
}

/// Something to measure.
pub trait Subject {
    /// Its settings, by the names of what is measured: `ovs-emc`. One of them for most.
    fn settings(&self) -> Vec<String>;

    /// Finds what it is made of. Fails with the package's name.
    fn find(&mut self) -> Result<(), Halt>;

    /// The version of Open vSwitch, once it is found; none of others.
    fn version(&self) -> Option<String> {
        None
    }

    /// The name and version of a peer that comes as a program of its own, if it says one.
    fn peer_version(&self) -> Option<(String, String)> {
        None
    }

    /// Starts it, and waits until packets flow.
    fn start<'a>(&self, bench: &Bench<'a>) -> Result<Box<dyn Running + 'a>, Halt>;
}

/// A subject while it runs. Dropping it stops it.
pub trait Running {
    /// Takes on a setting.
    fn set(&mut self, _setting: &str) -> Result<(), Halt> {
        Ok(())
    }

    /// The process whose busiest thread polls the core.
    fn process(&self) -> u32;

    /// Stops it in its tracks until it is to go on, so that another has the core.
    fn hold(&mut self) -> Result<(), Halt> {
        process::signal(self.process(), Signal::STOP)
    }

    /// Lets it go on.
    fn go_on(&mut self) -> Result<(), Halt> {
        process::signal(self.process(), Signal::CONT)
    }

    /// Its counters now.
    fn read(&mut self) -> Result<Reading, Halt>;

    /// Has mappings move to another host and back, so many a second, until it is told to end and for `most` at the most.
    fn begin_updates(&mut self, _rate: u32, _most: Duration) -> Result<(), Halt> {
        Err(self.trouble("does not move mappings"))
    }

    /// Ends that; what became of it.
    fn end_updates(&mut self) -> Result<ChurnReport, Halt> {
        Err(self.trouble("does not move mappings"))
    }

    /// Calls of the allocator by its workers so far, where it knows.
    fn allocator_calls(&mut self) -> Result<Option<u64>, Halt> {
        Ok(None)
    }

    /// Once at the end of its life, before it is stopped: its source is held off, what is on its way comes to its end. Fails if its own
    /// counts are then not those of its devices.
    fn settle(&mut self) -> Result<Settled, Halt> {
        Ok(Settled::default())
    }

    /// Whether what it did is what was asked for: fails if the sample means nothing.
    fn judge(&mut self, _sample: &Sample) -> Result<(), Halt> {
        Ok(())
    }

    /// What is wrong with it, and the end of its log.
    fn trouble(&self, problem: &str) -> Halt;

    /// Stops it. Fails if it did not end as it should.
    fn stop(self: Box<Self>) -> Result<(), Halt> {
        Ok(())
    }
}

/// What is known of a subject when everything stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Packets of its life that its source gave and its sink did not get, where that is not what was asked for.
    pub lost: Option<u64>,
    /// Bytes of the tables that a packet is looked up in.
    pub table_bytes: Option<u64>,
}

impl Settled {
    /// Another life of the same subject.
    pub(crate) fn add(&mut self, next: &Settled) {
        self.lost = match (self.lost, next.lost) {
            (Some(lost), Some(more)) => Some(lost + more),
            (lost, more) => lost.or(more),
        };
        self.table_bytes = next.table_bytes.or(self.table_bytes);
    }
}

/// Questions to a daemon of Weir on a socket; `weir` has the client.
pub trait Ask {
    /// `weir status`.
    fn status(&self, socket: &Path) -> Result<Status, String>;
    /// `weir stats`.
    fn stats(&self, socket: &Path) -> Result<Stats, String>;
    /// `POST /v1/measure`.
    fn measure(&self, socket: &Path, wish: MeasureWish) -> Result<Measured, String>;
    /// `weir drops`.
    fn drops(&self, socket: &Path) -> Result<Vec<DropRow>, String>;
    /// `POST /v1/rig/churn`.
    fn begin_churn(&self, socket: &Path, wish: ChurnWish) -> Result<ChurnReport, String>;
    /// `DELETE /v1/rig/churn`.
    fn end_churn(&self, socket: &Path) -> Result<ChurnReport, String>;
    /// `POST /v1/rig/traffic`.
    fn traffic(&self, socket: &Path, wish: &TrafficWish) -> Result<TrafficReport, String>;
    /// `GET /v1/rig/log`.
    fn traffic_log(&self, socket: &Path) -> Result<Vec<u8>, String>;
}

/// The peer of that name, or in that file if there is a slash in it.
pub fn peer(name: &str) -> Option<Vec<Box<dyn Subject>>> {
    match name {
        file if file.contains('/') => Some(vec![Box::new(adapter::Adapter::of_file(file))]),
        "testpmd" => Some(vec![testpmd::both()]),
        "ovs" => Some(vec![Box::<ovs::Ovs>::default()]),
        _ => None,
    }
}

/// A folder inside a subject's own.
pub(crate) fn folder(path: PathBuf) -> Result<PathBuf, Halt> {
    std::fs::create_dir_all(&path).map_err(|error| Halt::io(path.display(), &error))?;
    Ok(path)
}
