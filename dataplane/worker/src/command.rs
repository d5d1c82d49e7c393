//! What control says to a worker and what it hears back. Values are moved: a queue in a command is the
//! worker's until it comes back in a reply, and nothing is freed on the worker's side.

use crate::device::{Rx, Tx};
pub use crate::lanes::Handoff;
pub use crate::moves::{Expected, Luggage};
use crate::tap::Tap;
use arrayvec::ArrayVec;
use std::sync::Arc;
use weir_switch::shape::{LinkState, Room};
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, UplinkId, VnicId};
use weir_tables::view::View;

/// A frame that control has sent, without FCS: ARP, neighbour discovery or a multicast listener report, all of them short.
pub type Generated = ArrayVec<u8, 128>;

/// From control to a worker, carried out at its next quiescent point, in order.
pub enum Command {
    /// From now on read this.
    View(Arc<View>),
    /// Poll this queue.
    AddRx(PortId, Rx),
    /// Send to this port by this queue.
    AddTx(PortId, Tx),
    /// Give back every queue of this port; what waits for it gets one more chance.
    RemovePort(PortId),
    /// Drop what waits for this vNIC: it has left every worker's view, and its place on a trunk may pass to another.
    Forget(VnicId),
    /// The store has said where a destination is, and its record is there: what is held for it goes on.
    Found(Destination),
    /// The store has said that nobody has a destination.
    Absent(Destination),
    /// The policy has changed: who was not there may be there now.
    ForgetMisses,
    /// Send this to an uplink.
    Generate(UplinkId, PortId, Generated),
    /// From now on write what this wants into its ring.
    Watch(Box<Tap>),
    /// Give this observer's tap back.
    Unwatch(u32),
    /// From now on share this uplink so, or as if nothing were known of it.
    Link(UplinkId, Option<Box<LinkState>>),
    /// Make room for the bandwidth of more vNICs. Before a view that has them.
    Room(Box<Room>),
    /// Receive nothing until told otherwise, so that everything ends and counts stand still.
    Rest(bool),
    /// From now on measure what each stage costs, from zero; or no longer.
    Measure(bool),
    /// Write what only the worker's thread knows into its cells. Every other command does so as well.
    Tell,
    /// These vNICs will be this worker's: what comes for them before they do is to wait. See [`moves`](crate::moves).
    Expect(Box<Expected>),
    /// Take everything that the other workers have for this one so far, and answer with this number; if asked to, when what was given to
    /// uplinks' devices has left.
    Drain(u64, bool),
    /// Receive a burst from every queue in each of so many turns, which is all that they hold now; then answer as to a drain, with this
    /// number. What was for others is in their rings by then.
    Settle(u64, u32),
    /// Give these vNICs away.
    Part(Box<Luggage>),
    /// Take these vNICs, which were expected.
    Arrive(Box<Luggage>),
    /// Drain, give back every queue, end.
    Stop,
}

/// From a worker to control.
pub enum Reply {
    /// The view that was replaced, to be freed.
    View(Arc<View>),
    /// The queues of a port.
    Port(PortId, Vec<Rx>, Vec<Tx>),
    /// A tap, to be freed.
    Tap(Box<Tap>),
    /// What was to be drained is.
    Drained(u64),
    /// vNICs on their way.
    Parted(Box<Luggage>),
    /// They are at home, and nothing waits for them; what they came in is to be freed.
    Arrived(Box<Luggage>, Box<Expected>),
    /// An uplink's state that was replaced, to be freed.
    Link(Box<LinkState>),
    /// Places that were replaced, to be freed.
    Room(Box<Room>),
}
