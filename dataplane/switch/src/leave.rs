//! The last stage before the way out: what a frame may leave for at once, and what it waits for if not.
//!
//! *Which question:* may this batch of one vNIC leave by this door now? If it may, it is charged and goes on in its batch, as if nobody had
//! asked. If not, each of its frames waits in a queue of (vNIC, class, exit) in the worker's [scheduler](crate::shape), until
//! [`release`] lets it go. *Which place:* between dispatch or translation and the outlet; everything that a batch becomes passes it, as
//! [`Gather`](crate::gather::Gather) is the only way to the outlet.
//! *Trade-offs:* a vNIC's maximum counts every frame that it makes the switch send, so each copy of a broadcast. What comes from the wire
//! and what is the switch's own waits for nobody's maximum but the receiver's.
//!
//! Twice in a frame's life it may have to wait: for what its sender may send, and, if it is for a vNIC here, for what that may receive.
//! The second is asked where the receiver's transmit queue is, which may be another worker.

mod moved;
mod waited;

pub use moved::{pack, unpack};
pub use waited::{close, end, forget, release};

use crate::door::Door;
use crate::frame::Frame;
use crate::ledger::Ledger;
use crate::outlet::{Outlet, Receiver};
use crate::shape::{Exit, Refusal, Scheduler, Size};
use crate::{Batch, marks};
use std::sync::Arc;
use weir_tables::bandwidth::{Class, ClassId, FRAME_OVERHEAD, Link, Promise};
use weir_tables::by_class::ClassCells;
use weir_tables::counters::Cells;
use weir_tables::filters::Filters;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::{Party, View, Vnic};

/// What waits: a frame, and the door that it is to leave by.
#[derive(Debug)]
pub struct Waiting<F> {
    /// The frame, as it is to leave.
    pub frame: F,
    /// Its door.
    pub door: Door,
    /// Whether it may be marked if it waits for too long: seen while it is near, so that nothing else need be read when it leaves.
    pub may_be_marked: bool,
}

/// A worker's scheduler.
pub type Shaper<F> = Scheduler<Waiting<F>>;

/// Who sends a frame, if a vNIC here does, and in which traffic class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    vnic: Option<VnicId>,
    class: ClassId,
}

impl By {
    /// This vNIC in this class.
    #[inline(always)]
    pub fn new(vnic: Option<VnicId>, class: ClassId) -> By {
        By { vnic, class }
    }

    /// What is of no vNIC is of the class of the switch's own.
    #[inline(always)]
    fn or_own(self, filters: &Filters) -> By {
        match self.vnic {
            None => By::new(None, filters.own()),
            Some(_) => self,
        }
    }
}

/// Where a frame waits.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// For whose maximum: the sender's, or of [`Exit::Receive`] the receiver's.
    vnic: VnicId,
    class: ClassId,
    exit: Exit,
    size: Size,
    door: Door,
    now: u64,
    /// Whether its sender is not received from while it has much waiting: then what came already may wait in any case.
    kept: bool,
    may_be_marked: bool,
}

impl Wait {
    /// Puts it there.
    #[inline(always)]
    pub fn begin<F>(self, shaper: &mut Shaper<F>, frame: F) -> Result<(), (Reason, F)> {
        let Wait {
            vnic,
            class,
            exit,
            size,
            door,
            now,
            kept,
            may_be_marked,
        } = self;
        // To vNICs here the scheduler knows no classes, and what is counted by class waits for those too.
        let door = door.in_class(class);
        let waiting = Waiting {
            frame,
            door,
            may_be_marked,
        };
        let begun = match kept {
            true => shaper.enqueue_last(vnic, exit, class, size, now, waiting),
            false => shaper.enqueue(vnic, exit, class, size, now, waiting),
        };
        begun.map_err(|(refusal, waiting)| (reason(refusal), waiting.frame))
    }
}

fn reason(refusal: Refusal) -> Reason {
    match refusal {
        Refusal::TooLong | Refusal::NoRoom => Reason::QueueFull,
        Refusal::Policed => Reason::Policed,
        Refusal::Unknown => Reason::VnicGone,
    }
}

/// The exit behind a door. An uplink of which nothing is known is shared by nobody: only the sender's maximum counts.
#[inline(always)]
fn exit_of<F>(shaper: &Shaper<F>, door: Door) -> Exit {
    match door.receiver() {
        Receiver::Uplink(id) if shaper.shares(id) => Exit::Uplink(id),
        _ => Exit::Here,
    }
}

/// The size of a frame that is about to leave by a door.
#[inline(always)]
fn size<F: Frame>(door: Door, frame: &F) -> Size {
    let length = frame.len();
    Size {
        bytes: length.saturating_sub(door.headers()) as u32,
        wire: length as u32 + FRAME_OVERHEAD,
    }
}

/// Of so many frames of so many bytes together.
#[inline(always)]
fn sizes(door: Door, count: usize, bytes: usize) -> Size {
    Size {
        bytes: bytes.saturating_sub(count * door.headers()) as u32,
        wire: bytes as u32 + count as u32 * FRAME_OVERHEAD,
    }
}

/// Frames from one sender by one door, so many bytes together: they leave, or wait, or are dropped and counted. Afterwards the batch is empty.
#[inline]
pub fn all<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    by: By,
    door: Door,
    bytes: usize,
    frames: &mut Batch<O::Frame>,
    out: &mut O,
) {
    let size = sizes(door, frames.len(), bytes);
    // Where there are no filters, nothing is of a class.
    let (by, door) = match &view.filters {
        Some(filters) => {
            let by = by.or_own(filters);
            (by, bear_all(view, by.class, door, frames))
        }
        None => (by, door),
    };
    if let Some(vnic) = by.vnic {
        let (exit, now) = (exit_of(out.shaper(), door), ledger.now());
        if !has_room(exit, door, frames.len(), out)
            || !out.shaper().pass(vnic, exit, by.class, size, now)
        {
            return wait_all(view, ledger, (vnic, by.class, exit), door, frames, out);
        }
        if view.filters.is_some() {
            left(view, ledger, (vnic, by.class), frames.len(), size);
        }
    }
    if let Receiver::Vnic(to) = door.receiver()
        && out.is_here(door.port())
    {
        let now = ledger.now();
        if !out
            .shaper()
            .pass(to, Exit::Receive, ClassId::NONE, size, now)
        {
            let by = (to, ClassId::NONE, Exit::Receive);
            return wait_all(view, ledger, by, door, frames, out);
        }
    }
    out.push_all(None, door, bytes, frames);
}

/// The same of one frame.
#[inline]
pub fn one<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    by: By,
    door: Door,
    mut frame: O::Frame,
    out: &mut O,
) {
    let (by, door) = match &view.filters {
        Some(filters) => {
            let by = by.or_own(filters);
            (by, bear_class(view, by.class, door, &mut frame))
        }
        None => (by, door),
    };
    if let Some(vnic) = by.vnic {
        let (exit, now) = (exit_of(out.shaper(), door), ledger.now());
        let size = size(door, &frame);
        if !has_room(exit, door, 1, out) || !out.shaper().pass(vnic, exit, by.class, size, now) {
            return wait(view, ledger, (vnic, by.class, exit), door, frame, out);
        }
        if view.filters.is_some() {
            left(view, ledger, (vnic, by.class), 1, size);
        }
    }
    deliver(view, ledger, door, frame, out);
}

/// One frame that its sender may send: if it is for a vNIC here, what that may receive is left to ask.
pub fn deliver<O: Outlet>(view: &View, ledger: &Ledger, door: Door, frame: O::Frame, out: &mut O) {
    if let Receiver::Vnic(to) = door.receiver()
        && out.is_here(door.port())
    {
        let (size, now) = (size(door, &frame), ledger.now());
        let shaper = out.shaper();
        if !shaper.pass(to, Exit::Receive, ClassId::NONE, size, now) {
            let by = (to, ClassId::NONE, Exit::Receive);
            return wait(view, ledger, by, door, frame, out);
        }
    }
    out.push(None, door, frame);
}

/// Whether a device takes so many more: what it pushes back waits here, where its turn is known. A vNIC here that does not take what is
/// sent to it holds up nobody else.
#[inline(always)]
fn has_room<O: Outlet>(exit: Exit, door: Door, wanted: usize, out: &mut O) -> bool {
    match exit {
        Exit::Uplink(_) => out.room(door.port(), wanted) >= wanted,
        Exit::Here | Exit::Receive => true,
    }
}

/// Counts frames of a vNIC that may leave, by their class.
#[inline(never)]
fn left(view: &View, ledger: &Ledger, (vnic, class): (VnicId, ClassId), frames: usize, size: Size) {
    let cells = ledger.classes(account(view, vnic));
    if let Some(cells) = cells.and_then(|cells| cells.of(class)) {
        cells.sent.add(frames as u64, u64::from(size.bytes));
    }
}

/// Has each frame bear what its class does on its way out of this host; by which door they leave.
#[inline(never)]
fn bear_all<F: Frame>(view: &View, class: ClassId, door: Door, frames: &mut Batch<F>) -> Door {
    let Some((link, class)) = class_of(view, class, door) else {
        return door;
    };
    for frame in frames.iter_mut() {
        bear(class, frame);
    }
    door_of(link, class, door)
}

/// The same of one frame.
#[inline(always)]
fn bear_class<F: Frame>(view: &View, class: ClassId, door: Door, frame: &mut F) -> Door {
    let Some((link, class)) = class_of(view, class, door) else {
        return door;
    };
    bear(class, frame);
    door_of(link, class, door)
}

/// What is known of a class at a door by which frames leave this host.
#[inline(always)]
fn class_of(view: &View, class: ClassId, door: Door) -> Option<(&Link, &Class)> {
    if class == ClassId::NONE {
        return None;
    }
    let Receiver::Uplink(uplink) = door.receiver() else {
        return None;
    };
    let link = view.uplink(uplink)?.link.as_deref()?;
    Some((link, link.class(class)?))
}

/// Writes what the frame's class bears.
#[inline(always)]
fn bear<F: Frame>(class: &Class, frame: &mut F) {
    if let Some(dscp) = class.dscp {
        marks::dscp(frame.head_mut(), dscp);
    }
    if let Some(pcp) = class.pcp {
        marks::priority(frame.head_mut(), pcp);
    }
}

/// Where the device chooses among DCB traffic classes, each has a transmit queue of its own.
#[inline(always)]
fn door_of(link: &Link, class: &Class, door: Door) -> Door {
    match link.queue(class.tc) {
        Some(port) => door.by(port),
        None => door,
    }
}

/// Has a frame of the switch's own bear what those do; by which door it leaves.
pub fn bear_own<F: Frame>(view: &View, door: Door, frame: &mut F) -> Door {
    match &view.filters {
        Some(filters) => bear_class(view, filters.own(), door, frame),
        None => door,
    }
}

/// Where frames wait: for whose maximum, in which class, for which exit.
type Place = (VnicId, ClassId, Exit);

/// Each frame waits, in order.
#[inline(never)]
fn wait_all<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    place: Place,
    door: Door,
    frames: &mut Batch<O::Frame>,
    out: &mut O,
) {
    let (account, kept) = of(view, place);
    for frame in frames.drain(..) {
        wait_one(ledger, (account, kept), place, door, frame, out);
    }
}

#[inline(never)]
fn wait<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    place: Place,
    door: Door,
    frame: O::Frame,
    out: &mut O,
) {
    wait_one(ledger, of(view, place), place, door, frame, out);
}

/// On whose account it waits, and whether its sender is not received from while it has much waiting.
#[inline(always)]
fn of(view: &View, (vnic, _, exit): Place) -> (Option<&Cells>, bool) {
    let kept = exit != Exit::Receive && keeps(view, vnic);
    (account(view, vnic), kept)
}

#[inline(always)]
fn wait_one<O: Outlet>(
    ledger: &Ledger,
    (account, kept): (Option<&Cells>, bool),
    (vnic, class, exit): Place,
    door: Door,
    mut frame: O::Frame,
    out: &mut O,
) {
    let wait = Wait {
        vnic,
        class,
        exit,
        size: size(door, &frame),
        door,
        now: ledger.now(),
        kept,
        may_be_marked: marks::may_be_marked(frame.head_mut()),
    };
    let bytes = u64::from(wait.size.bytes);
    match out.wait(wait, frame) {
        Ok(()) => {
            ledger.waits(account, 1, bytes);
            if let Some(cells) = counts(ledger, account, exit, class) {
                cells.queued.add(1, bytes);
            }
        }
        Err((reason, frame)) => {
            if let Some(cells) = counts(ledger, account, exit, class) {
                cells.dropped.add(1, bytes);
            } else if let Some(classes) = ledger.classes(account) {
                classes.unclassed.add(1);
            }
            ledger.dropped(account, reason, frame);
        }
    }
}

/// What is counted of a vNIC's class, where there are classes. What waits for its receiver is of no class of that.
fn counts<'c>(
    ledger: &Ledger,
    account: Option<&'c Cells>,
    exit: Exit,
    class: ClassId,
) -> Option<&'c ClassCells> {
    let own = account.filter(|_| exit != Exit::Receive);
    ledger.classes(own)?.of(class)
}

/// Whether a port is not to be received from for now: what its VM sends waits as long as it may, and the VM's own ring keeps the rest.
#[inline]
pub fn holds_back<F>(view: &View, port: PortId, shaper: &Shaper<F>) -> bool {
    match view.port(port) {
        Some(port) if port.pushes_back => match port.party {
            Party::Vnic(vnic) => shaper.is_full(vnic),
            _ => false,
        },
        _ => false,
    }
}

/// From now on vNICs have what `new` promises; `old` is what the shaper was told before, if anything was.
pub fn adopt<F>(shaper: &mut Shaper<F>, old: Option<&View>, new: &View, now: u64) {
    let old = old.map_or(&[][..], |old| &old.vnics);
    for place in 0..old.len().max(new.vnics.len()) {
        let of = |vnics: &[Option<Arc<Vnic>>]| -> Option<*const Vnic> {
            vnics.get(place)?.as_ref().map(Arc::as_ptr)
        };
        if of(old) == of(&new.vnics) {
            continue;
        }
        let (old, new) = (promise(old, place), promise(&new.vnics, place));
        if old != new {
            shaper.promise(VnicId(place as u32), new, now);
        }
    }
}

fn promise(vnics: &[Option<Arc<Vnic>>], place: usize) -> Option<&Promise> {
    vnics.get(place)?.as_ref()?.promise.as_deref()
}

/// Whether the vNIC has a port of its own whose device keeps what is not taken.
fn keeps(view: &View, vnic: VnicId) -> bool {
    let port = view.vnic(vnic).and_then(|vnic| view.port(vnic.port));
    port.is_some_and(|port| port.pushes_back && port.party == Party::Vnic(vnic))
}

fn account(view: &View, vnic: VnicId) -> Option<&Cells> {
    view.vnic(vnic).map(|vnic| &vnic.cells)
}
