//! Where the switch puts what it decided. The worker implements it over transmit queues and hand-off
//! rings; tests over vectors.

use crate::Batch;
use crate::door::Door;
use crate::frame::{Frame, total};
use crate::held::Held;
use crate::lap::Stage;
use crate::leave::{Shaper, Wait};
use std::net::IpAddr;
use weir_tables::bandwidth::ClassId;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, UplinkId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_wire::igmp::Query;

/// Who gets a frame, for the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// A local vNIC.
    Vnic(VnicId),
    /// The provider network.
    Uplink(UplinkId),
}

/// What the path tells control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody on the uplink said in ARP or ND where an address is.
    Neighbor {
        /// The uplink.
        uplink: UplinkId,
        /// The address.
        address: IpAddr,
        /// Its MAC.
        mac: Mac,
        /// Whether it also counts if another MAC is known (RFC 4861 §7.2.5: the override flag); ARP always does.
        overrides: bool,
    },
    /// A router of the provider network asks which groups this host listens to.
    Groups {
        /// The uplink.
        uplink: UplinkId,
        /// What it asks.
        query: Query,
    },
    /// A router of the provider network said that packets to a peer must not be larger.
    PathMtu {
        /// The peer's provider address.
        peer: IpAddr,
        /// Bytes, outer IP header included.
        mtu: u16,
    },
    /// A vNIC sends to somebody who has no record here, and the store may have one.
    Miss {
        /// The vNIC.
        vnic: VnicId,
        /// Whom it sends to.
        to: Destination,
    },
}

/// The way out.
pub trait Outlet {
    /// The frames it takes.
    type Frame: Frame;
    /// The same when nobody looks at them: what it stores.
    type Plain: Frame;
    /// Takes a frame for a port; from here on the outlet accounts for it. Or gives it back with the reason.
    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        frame: Self::Frame,
    ) -> Result<(), (Reason, Self::Frame)>;
    /// Drops a frame that it did not take, on the receiver's account.
    fn refuse(&mut self, receiver: Receiver, reason: Reason, frame: Self::Frame);
    /// Whether it matters who sends: some vNIC here or some uplink has a bandwidth to keep to.
    fn is_shaping(&self) -> bool;
    /// What is pushed from here on is of this class, until another one is said. Only the way out that asks for bandwidth
    /// ([`crate::gather`]) does something then.
    #[inline(always)]
    fn of_class(&mut self, _: ClassId) {}
    /// A frame for a port, on its way out: taken, or dropped and counted. `from` is the vNIC here that sends it; nobody does if it
    /// came from the wire or is the switch's own.
    #[inline(always)]
    fn push(&mut self, from: Option<VnicId>, door: Door, frame: Self::Frame) {
        let _ = from;
        if let Err((reason, frame)) = self.offer(door.port(), door.receiver(), frame) {
            self.refuse(door.receiver(), reason, frame);
        }
    }
    /// The same of a frame of which nothing is left to a device.
    #[inline(always)]
    fn push_finished(&mut self, from: Option<VnicId>, door: Door, frame: Self::Frame) {
        self.push(from, door, frame);
    }
    /// The same of many from one sender by one door, in order, which are so many bytes together: who sends them knows it already.
    /// Afterwards the batch is empty.
    #[inline(always)]
    fn push_all(
        &mut self,
        from: Option<VnicId>,
        door: Door,
        bytes: usize,
        frames: &mut Batch<Self::Frame>,
    ) {
        debug_assert_eq!(bytes, total(frames), "who sends knows their bytes");
        for frame in frames.drain(..) {
            self.push(from, door, frame);
        }
    }
    /// A copy of a frame, if there is memory.
    fn copy(&mut self, frame: &Self::Frame) -> Option<Self::Frame>;
    /// A frame of its own with the bytes of `front` and then `length` bytes of a frame from `start` on, if there is memory. Of
    /// what is known of the frame besides its bytes it keeps nothing.
    fn part(
        &mut self,
        frame: &Self::Frame,
        front: &[u8],
        start: usize,
        length: usize,
    ) -> Option<Self::Frame>;
    /// A stage is done with the batch. Only the way out that is measured ([`crate::lap`]) does something then.
    #[inline(always)]
    fn lap(&mut self, _: Stage) {}
    /// Tells control. May be lost when control is slow: it asks again.
    fn tell(&mut self, event: Event);
    /// The frames that wait until the store has said where their destination is.
    fn held(&mut self) -> &mut Held<Self::Plain>;
    /// Holds a frame behind the others to its destination ([`Held::add`]).
    fn hold(
        &mut self,
        to: Destination,
        from: VnicId,
        frame: Self::Frame,
    ) -> Result<(), Self::Frame>;
    /// How many frames for a port would be taken now. Where it is fewer than `wanted`, what waits there is offered to the device first.
    fn room(&mut self, port: PortId, wanted: usize) -> usize;
    /// Whether a port's transmit queue is this worker's; what is for another one goes to the worker whose it is.
    fn is_here(&self, port: PortId) -> bool;
    /// Who may send when.
    fn shaper(&mut self) -> &mut Shaper<Self::Plain>;
    /// Puts a frame into the shaper's queues, or gives it back with the reason why it may not wait.
    fn wait(&mut self, wait: Wait, frame: Self::Frame) -> Result<(), (Reason, Self::Frame)>;
}
