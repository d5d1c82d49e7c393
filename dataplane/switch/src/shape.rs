//! Who may send when, while there is more than fits: every vNIC keeps its maximum, and every node of an uplink its minimum and its
//! share of the rest.
//!
//! *Which question:* may this batch leave now ([`Scheduler::pass`]); if not, where does it wait ([`Scheduler::enqueue`]), and what
//! leaves now of what waits ([`Scheduler::release`])? *Which place:* behind the translation, before the transmit queues; one scheduler
//! a worker, which nobody else touches. No DPDK, no threads, no clock: time is an argument, in TSC cycles, and what waits is anything.
//! *Trade-offs:* nothing is queued while there is room, so that machinery is paid for only where the link is the bottleneck.
//!
//! ```text
//! gate   a vNIC's maximum, sent or received: due times (meter), and a timing wheel for who has to wait (wheel)
//! leaf   what waits of one vNIC, in one class, for one exit: a queue in the slab, first in first out
//! node   a vNIC with a share, a traffic class, or the default class: a weight; its leaves take turns by bytes
//! fair   the nodes of one DCB traffic class of an uplink: WF2Q+ (Bennett and Zhang 1996) by two wheels
//! link   an uplink: pacer, DCB traffic classes, class maxima
//! leases what of an uplink's capacity is this worker's
//! ```
//!
//! How a worker uses it, once a turn:
//!
//! 1. For what it received: [`Scheduler::is_off`] says whether there is nothing to do at all. Else [`Scheduler::pass`] for each batch of
//!    one vNIC to one exit: `true`, it leaves as ever and is accounted for. `false`: [`Scheduler::enqueue`] each of its frames, which
//!    is taken or refused with the reason.
//! 2. [`Scheduler::tick`] with the time.
//! 3. [`Scheduler::release`] for each uplink with [`Scheduler::waits`], with the room that its device has; then
//!    [`Scheduler::release_here`] for what goes to vNICs here.
//!
//! What a device did not take of a batch that passed may be enqueued too, as long as it is the end of the batch: what comes
//! later waits behind it.

mod back;
mod counted;
mod fair;
mod gate;
mod leaf;
pub mod leases;
mod link;
mod meter;
mod moved;
mod release;
mod scheduler;
mod slab;
mod wheel;

pub use counted::{Waiting, WaitingLeaf};
pub use link::LinkState;
pub use moved::Parcel;
pub use scheduler::{Room, Scheduler};
use weir_tables::bandwidth::ClassId;
use weir_tables::ids::{UplinkId, VnicId};

/// Which way out something takes: what waits for one does not wait for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exit {
    /// By an uplink, where the vNIC's maximum counts, its node's share, and the maximum of its class.
    Uplink(UplinkId),
    /// To a vNIC here, where only the sender's maximum counts.
    Here,
    /// Of whomever, to the vNIC that is named: its maximum of what it receives.
    Receive,
}

/// How large something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Layer 2 bytes of the vNIC's frame, without FCS: what its maximum counts.
    pub bytes: u32,
    /// Wire bytes: with the outer headers and [`FRAME_OVERHEAD`](weir_tables::bandwidth::FRAME_OVERHEAD) for each frame. What shares and the
    /// link count. Not looked at on the way to a vNIC here.
    pub wire: u32,
}

/// Why something may not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Its queue is as long as [`Settings::queue`] allows at the rate that it has.
    TooLong,
    /// Its vNIC has as many waiting as there are free slots.
    NoRoom,
    /// It is over a maximum that polices ([`Promise::police`](weir_tables::bandwidth::Promise::police)).
    Policed,
    /// There is no such vNIC or no such uplink here.
    Unknown,
}

/// What leaves after it has waited.
#[derive(Debug)]
pub struct Leaving<T> {
    /// What was enqueued.
    pub item: T,
    /// For which vNIC: the sender; of [`Exit::Receive`] the receiver.
    pub vnic: VnicId,
    /// In which class.
    pub class: ClassId,
    /// By which exit.
    pub exit: Exit,
    /// Whether it has waited for longer than [`Settings::ecn`]: if it is ECT, it gets CE (RFC 3168, RFC 8257 §3.1).
    pub mark: bool,
    /// How long it has waited, in TSC cycles.
    pub waited: u64,
}

/// All DCB traffic classes of an uplink, a bit each.
pub const ALL_TCS: u8 = !0;

/// What a scheduler is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TSC cycles a second.
    pub hz: u64,
    /// How many items may wait, all together: the worker's share of the buffers of which the pool has to keep some free.
    pub items: u32,
    /// Places for vNICs, by [`VnicId`]: more by [`Scheduler::grow`].
    pub vnics: u32,
    /// Places for uplinks, by [`UplinkId`].
    pub uplinks: u16,
    /// How long a queue may be, in TSC cycles at the rate that it has: 50 ms is usual ([`Settings::new`]).
    pub queue: u64,
    /// From which wait on what leaves is marked, in TSC cycles: 5 ms is usual.
    pub ecn: u64,
}

impl Settings {
    /// As is usual on a machine of `hz`.
    pub fn new(hz: u64, items: u32, vnics: u32, uplinks: u16) -> Settings {
        Settings {
            hz,
            items,
            vnics,
            uplinks,
            queue: hz / 20,
            ecn: hz / 200,
        }
    }
}

/// How much before its time something that is due by a vNIC's maximum may leave, as a part of a second: 0.4 ms.
///
/// The burst is the rate times this, whatever the rate, and the frame that leaves last: no window of 100 ms gets more than 0.4% over
/// its maximum. More would break that bound; less would lose rate whenever a worker's turn comes later than that. TCP does not need a larger
/// one, because what is over the maximum waits and is not dropped.
pub(crate) const EARLY: u64 = 2_500;
/// The same of an uplink: 0.2 ms. What it holds ready for the device beyond its rate is what a newcomer waits behind; and what a worker that
/// comes no later than that does not lose: what is lost of an uplink whose minima add up to all of it, somebody's minimum misses.
const LINK_EARLY: u64 = 5_000;
/// Frames that may wait in a queue however long that takes.
const FRAMES: u64 = 8;
/// What is meant by a full frame there, in bytes.
pub(crate) const FULL_FRAME: u64 = 1_538;
