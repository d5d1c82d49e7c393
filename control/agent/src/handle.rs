//! The door to the control thread for everyone else in the process: questions in, answers out.

use crate::measure::{MeasureWish, Measured};
use crate::observe::Watching;
use crate::observe::ask::{CaptureWish, ImagineWish, PacketTrace, Selection, Summary};
use crate::stats::{ApplyReport, ChurnReport, ChurnWish, DropRow, PolicyError, Stats, Status};
use crate::top::Top;
use crate::traffic::{TrafficReport, TrafficWish};

/// A question to the control thread.
#[derive(Debug)]
pub enum Question {
    /// Validate `text` as the whole policy and make it the store's content.
    Apply {
        /// TOML.
        text: String,
        /// What refusals call it.
        origin: String,
        /// Validate only.
        dry_run: bool,
    },
    /// The objects of one kind (`host`, `switch`, `vm_network`, `subnet`, `route`, `traffic_class`, `vnic`, `uplink`, `trunk`, `peer`), or the one so named.
    Get {
        /// The kind.
        kind: String,
        /// The one wanted; all if `None`.
        name: Option<String>,
    },
    /// Take one object out of the store.
    Delete {
        /// The kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// Counters.
    Stats,
    /// Drops by reason.
    Drops,
    /// Everything that a live screen shows, or what has changed of it since the answer of that number.
    Top(Option<u64>),
    /// The daemon's state.
    Status,
    /// Start a capture.
    Capture(CaptureWish),
    /// Start to follow packets.
    Trace(Selection),
    /// What would become of a packet.
    Imagine(ImagineWish),
    /// End a capture or a trace.
    Unwatch(u32),
    /// Have the workers rest or their stages measured, and tell what they alone know.
    Measure(MeasureWish),
    /// Move mappings about, for the rig.
    BeginChurn(ChurnWish),
    /// What becomes of that.
    Churn,
    /// End it.
    EndChurn,
    /// What the rig's senders offer, and whether its sink logs.
    Traffic(TrafficWish),
    /// What the sink has logged.
    TrafficLog,
    /// End: drain, close, leave.
    Stop,
}

/// An answer of the control thread.
#[derive(Debug)]
pub enum Answer {
    /// To `Apply` and `Delete`.
    Applied(ApplyReport),
    /// To `Get`: objects as in policy.toml with `status` added.
    Objects(Vec<serde_json::Value>),
    /// To `Stats`.
    Stats(Stats),
    /// To `Drops`.
    Drops(Vec<DropRow>),
    /// To `Top`.
    Top(Top),
    /// To `Status`.
    Status(Status),
    /// To `Capture` and `Trace`.
    Watching(Watching),
    /// To `Imagine`.
    Imagined(Box<PacketTrace>),
    /// To `Unwatch`: what it saw, if it is known.
    Unwatched(Option<Summary>),
    /// To `Measure`.
    Measured(Measured),
    /// To `BeginChurn`, `Churn` and `EndChurn`.
    Churn(ChurnReport),
    /// To `Traffic`.
    Traffic(TrafficReport),
    /// To `TrafficLog`.
    TrafficLog(Vec<u8>),
    /// To `Stop`.
    Stopping,
    /// To any: refused, with every reason.
    Refused(Vec<PolicyError>),
}

/// A clonable door to the control thread.
#[derive(Clone, Debug)]
pub struct Handle {
    questions: std::sync::mpsc::Sender<(Question, std::sync::mpsc::SyncSender<Answer>)>,
}

/// The control thread has ended.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Gone;

/// The control thread's end of the door.
pub type Questions = std::sync::mpsc::Receiver<(Question, std::sync::mpsc::SyncSender<Answer>)>;

impl Handle {
    /// A handle and the end that the control thread reads.
    pub fn new() -> (Handle, Questions) {
        let (questions, receiver) = std::sync::mpsc::channel();
        (Handle { questions }, receiver)
    }

    /// Asks and waits for the answer. Blocks the calling thread: async callers use `spawn_blocking`.
    pub fn ask(&self, question: Question) -> Result<Answer, Gone> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.questions.send((question, reply)).map_err(|_| Gone)?;
        answer.recv().map_err(|_| Gone)
    }
}
