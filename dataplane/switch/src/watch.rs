//! Looking at packets on their way, for `weir capture` and `weir trace`.
//!
//! A frame carries who looks at it: a [`Seen`] frame tells its [`Witness`] where it is, every other kind tells nobody, by
//! constants ([`Frame::WATCHED`]) and empty functions, so that the compiler makes two copies of the path and the plain one has no
//! trace of this. A worker chooses between them once a batch. Looking changes nothing: a seen frame does what the frame inside does.

mod step;

pub use step::{Rule, Step, Who};

use crate::frame::{Frame, Gso, L4Checksum};
use crate::held::Held;
use crate::leave::{Shaper, Wait};
use crate::outlet::{Event, Outlet, Receiver};
use std::cell::Cell;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;

macro_rules! points {
    ($($variant:ident $name:literal $help:literal)*) => {
        /// A place on the path where a packet can be seen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Point { $(#[doc = $help] $variant),* }

        impl Point {
            /// Every point.
            pub const ALL: &'static [Point] = &[$(Point::$variant),*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Point::$variant => $name),* }
            }

            /// What is seen there.
            pub fn help(self) -> &'static str {
                match self { $(Point::$variant => $help),* }
            }

            /// The point of exactly that name.
            pub fn named(name: &str) -> Option<Point> {
                Point::ALL.iter().copied().find(|point| point.name() == name)
            }
        }
    };
}

points! {
    VnicRx "vnic-rx" "As received from a vNIC; on a trunk by VLAN without the trunk's tag."
    VnicTx "vnic-tx" "As given to the queue of a vNIC's port."
    UplinkRx "uplink-rx" "As received from an uplink."
    UplinkTx "uplink-tx" "As given to the queue of an uplink's port."
    Encap "encap" "A vNIC's frame for another host, before it gets its outer headers."
    Decap "decap" "A frame from another host, after its outer headers came off."
    Drop "drop" "As it was when it was dropped, the reason beside it; by the vNIC or uplink that it came from."
}

/// Who looks. One thread's: it is told by `&self`, so that every frame of a batch can carry it.
pub trait Witness {
    /// The frames that it sees.
    type Frame: Frame;
    /// A frame is at a point. `place` tells frames of a batch apart; `from` is where it came from.
    fn see(&self, place: u8, from: Who, point: Point, who: Who, frame: &Self::Frame);
    /// A frame was dropped: also seen at [`Point::Drop`].
    fn dropped(&self, place: u8, from: Who, reason: Reason, frame: &Self::Frame);
    /// Whether steps of this frame are wanted.
    fn follows(&self, place: u8) -> bool;
    /// A stage's step, if it is wanted.
    fn note(&self, place: u8, step: Step);
}

/// A frame that somebody looks at.
pub struct Seen<'w, W: Witness> {
    frame: W::Frame,
    by: &'w W,
    place: u8,
    from: Cell<Who>,
}

impl<'w, W: Witness> Seen<'w, W> {
    /// A frame as the `place`th of its batch.
    #[inline]
    pub fn new(frame: W::Frame, by: &'w W, place: u8) -> Self {
        Seen {
            frame,
            by,
            place,
            from: Cell::default(),
        }
    }

    /// A frame that came from somebody before, and was stored since.
    #[inline]
    pub fn stored(frame: W::Frame, by: &'w W, place: u8, from: Who) -> Self {
        let seen = Seen::new(frame, by, place);
        seen.from.set(from);
        seen
    }

    /// The frame, which nobody looks at any more.
    #[inline]
    pub fn into_inner(self) -> W::Frame {
        self.frame
    }

    /// Another frame of the same packet.
    #[inline]
    fn like(&self, frame: W::Frame) -> Self {
        Seen {
            frame,
            by: self.by,
            place: self.place,
            from: self.from.clone(),
        }
    }
}

impl<W: Witness> Frame for Seen<'_, W> {
    const WATCHED: bool = true;

    #[inline]
    fn show(&self, point: Point, who: Who) {
        if matches!(point, Point::VnicRx | Point::UplinkRx) {
            self.from.set(who);
        }
        self.by
            .see(self.place, self.from.get(), point, who, &self.frame);
    }

    #[inline]
    fn note(&self, step: impl FnOnce() -> Step) {
        if self.by.follows(self.place) {
            self.by.note(self.place, step());
        }
    }

    #[inline]
    fn ended(&self, reason: Reason) {
        self.by
            .dropped(self.place, self.from.get(), reason, &self.frame);
        self.note(|| Step::Dropped(reason));
    }

    #[inline]
    fn head(&self) -> &[u8] {
        self.frame.head()
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        self.frame.head_mut()
    }

    #[inline]
    fn len(&self) -> usize {
        self.frame.len()
    }

    #[inline]
    fn prepend<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.frame.prepend()
    }

    #[inline]
    fn has_headroom(&self, n: usize) -> bool {
        self.frame.has_headroom(n)
    }

    #[inline]
    fn trim_front(&mut self, n: usize) -> bool {
        self.frame.trim_front(n)
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        self.frame.truncate(len);
    }

    #[inline]
    fn pull_up(&mut self, n: usize) -> bool {
        self.frame.pull_up(n)
    }

    #[inline]
    fn for_each_segment(&self, each: impl FnMut(&[u8])) {
        self.frame.for_each_segment(each);
    }

    #[inline]
    fn is_unfinished(&self) -> bool {
        self.frame.is_unfinished()
    }

    #[inline]
    fn is_plain(&self) -> bool {
        self.frame.is_plain()
    }

    #[inline]
    fn l4_checksum(&self) -> L4Checksum {
        self.frame.l4_checksum()
    }

    #[inline]
    fn set_l4_checksum(&mut self, state: L4Checksum) {
        self.frame.set_l4_checksum(state);
    }

    #[inline]
    fn gso(&self) -> Option<Gso> {
        self.frame.gso()
    }

    #[inline]
    fn stripped_vlan(&self) -> Option<u16> {
        self.frame.stripped_vlan()
    }

    #[inline]
    fn clear_gso(&mut self) {
        self.frame.clear_gso();
    }

    fn clear_vlan(&mut self) {
        self.frame.clear_vlan();
    }
}

/// The way out for seen frames: the plain one's.
pub struct Watched<'o, 'w, W, O> {
    out: &'o mut O,
    by: &'w W,
}

impl<'o, 'w, W, O> Watched<'o, 'w, W, O> {
    /// The same way out, watched.
    pub fn new(out: &'o mut O, by: &'w W) -> Self {
        Watched { out, by }
    }
}

impl<'w, W: Witness, O: Outlet<Frame = W::Frame>> Outlet for Watched<'_, 'w, W, O> {
    type Frame = Seen<'w, W>;
    type Plain = O::Plain;

    fn offer(
        &mut self,
        port: PortId,
        receiver: Receiver,
        frame: Self::Frame,
    ) -> Result<(), (Reason, Self::Frame)> {
        match receiver {
            Receiver::Vnic(_) => frame.show(Point::VnicTx, receiver.into()),
            Receiver::Uplink(_) => frame.show(Point::UplinkTx, receiver.into()),
        }
        frame.note(|| Step::Out { port, receiver });
        let (place, from) = (frame.place, frame.from.get());
        let offered = self.out.offer(port, receiver, frame.frame);
        offered.map_err(|(reason, frame)| {
            let frame = Seen::new(frame, self.by, place);
            frame.from.set(from);
            (reason, frame)
        })
    }

    fn is_shaping(&self) -> bool {
        self.out.is_shaping()
    }

    fn room(&mut self, port: PortId, wanted: usize) -> usize {
        self.out.room(port, wanted)
    }

    fn is_here(&self, port: PortId) -> bool {
        self.out.is_here(port)
    }

    fn shaper(&mut self) -> &mut Shaper<O::Plain> {
        self.out.shaper()
    }

    fn wait(&mut self, wait: Wait, frame: Self::Frame) -> Result<(), (Reason, Self::Frame)> {
        frame.note(|| Step::Queued);
        let (place, from) = (frame.place, frame.from.get());
        self.out.wait(wait, frame.frame).map_err(|(reason, frame)| {
            let frame = Seen::new(frame, self.by, place);
            frame.from.set(from);
            (reason, frame)
        })
    }

    fn refuse(&mut self, receiver: Receiver, reason: Reason, frame: Self::Frame) {
        frame.ended(reason);
        self.out.refuse(receiver, reason, frame.frame);
    }

    fn copy(&mut self, frame: &Self::Frame) -> Option<Self::Frame> {
        self.out.copy(&frame.frame).map(|copy| frame.like(copy))
    }

    fn part(
        &mut self,
        frame: &Self::Frame,
        front: &[u8],
        start: usize,
        length: usize,
    ) -> Option<Self::Frame> {
        let part = self.out.part(&frame.frame, front, start, length);
        part.map(|part| frame.like(part))
    }

    fn tell(&mut self, event: Event) {
        self.out.tell(event);
    }

    fn held(&mut self) -> &mut Held<O::Plain> {
        self.out.held()
    }

    fn hold(
        &mut self,
        to: Destination,
        from: VnicId,
        frame: Self::Frame,
    ) -> Result<(), Self::Frame> {
        let (place, came) = (frame.place, frame.from.get());
        self.out.hold(to, from, frame.frame).map_err(|frame| {
            let frame = Seen::new(frame, self.by, place);
            frame.from.set(came);
            frame
        })
    }
}
