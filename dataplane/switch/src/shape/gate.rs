//! A vNIC's maximum: whether more of it may leave, and the leaves that wait until it may.

use super::meter::Due;
use super::wheel::{Link, Member, NONE};
use weir_tables::bandwidth::Pace;

/// What one vNIC may send, or receive. Two a vNIC, in one slice: see [`Side`].
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Gate {
    pub(crate) due: Due,
    pub(crate) pace: Pace,
    /// The first of its leaves, whatever they wait for.
    pub(crate) leaves: u32,
    /// Items in its leaves.
    pub(crate) items: u32,
    /// While it is shut and something waits for it.
    pub(crate) link: Link,
    /// Its vNIC's weight on uplinks. 0: the default class.
    pub(crate) share: u32,
    /// Whether what is over it is refused.
    pub(crate) polices: bool,
    /// Whether what is to be received waits in any case: see [`hold_received`](super::Scheduler::hold_received).
    pub(crate) is_held: bool,
    /// How much before its time something may leave, in TSC cycles: the same for all, here because this line is read anyway.
    early: u32,
    /// When it was opened last, in [`OPENED`] TSC cycles of those in which the worker ran. Goes around.
    opened: u32,
}

/// In how many TSC cycles it is said when a gate was opened, as a power of two: 0.1 µs, so that it goes around in minutes.
const OPENED: u32 = 8;

/// Which of a vNIC's two gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Send,
    Receive,
}

impl Gate {
    pub(crate) fn new(early: u64) -> Self {
        Gate {
            due: Due::default(),
            pace: Pace::UNLIMITED,
            leaves: NONE,
            items: 0,
            link: Link::default(),
            share: 0,
            polices: false,
            is_held: false,
            early: u32::try_from(early).unwrap_or(u32::MAX),
            opened: 0,
        }
    }

    /// How much before its time something may leave, in TSC cycles.
    #[inline(always)]
    pub(crate) fn early(&self) -> u64 {
        u64::from(self.early)
    }

    /// Whoever waited for it takes turns from now on, `awake` by the time in which the worker ran.
    #[inline(always)]
    pub(crate) fn opens(&mut self, awake: u64) {
        self.opened = (awake >> OPENED) as u32;
    }

    #[inline(always)]
    pub(crate) fn is_open(&self, now: u64) -> bool {
        self.pace.is_unlimited() || self.due.is_open(now, self.early())
    }

    /// Whether what is over it waits.
    #[inline(always)]
    pub(crate) fn holds(&self) -> bool {
        !self.pace.is_unlimited() && !self.polices
    }

    #[inline(always)]
    pub(crate) fn charge(&mut self, bytes: u32, now: u64) {
        if !self.pace.is_unlimited() {
            self.due = self.due.after(self.pace, bytes, now);
        }
    }

    /// The same of what has waited since `came`. What it waited for others, since it was opened, is made up for. What it waited for the worker
    /// is not, be it before it was opened or since: that came late for everybody, and what all of them made up for would be a burst.
    #[inline(always)]
    pub(crate) fn charge_waited(&mut self, bytes: u32, came: u64, awake: u64, now: u64) {
        if !self.pace.is_unlimited() {
            let open_for = ((awake >> OPENED) as u32).wrapping_sub(self.opened);
            let waited = now.saturating_sub(came);
            let waited = waited.min(u64::from(open_for) << OPENED);
            self.due = self.due.after_waiting(self.pace, bytes, waited, now);
        }
    }

    /// What it let through last left so much later than was said.
    pub(crate) fn was_late(&mut self, late: u64) {
        if !self.pace.is_unlimited() {
            self.due = self.due.later(late);
        }
    }
}

impl Member for Gate {
    #[inline(always)]
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    #[inline(always)]
    fn tick(&self, shift: u32) -> u64 {
        // Not before it opens.
        (self.due.opens(self.early()) >> shift) + 1
    }
}
