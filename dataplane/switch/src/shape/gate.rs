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
    /// How much before its time something may leave, in TSC cycles: the same for all, here because this line is read anyway.
    pub(crate) early: u64,
}

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
            early,
        }
    }

    #[inline(always)]
    pub(crate) fn is_open(&self, now: u64) -> bool {
        self.pace.is_unlimited() || self.due.is_open(now, self.early)
    }

    #[inline(always)]
    pub(crate) fn charge(&mut self, bytes: u32, now: u64) {
        if !self.pace.is_unlimited() {
            self.due = self.due.after(self.pace, bytes, now);
        }
    }

    /// The same of what has waited since `came`.
    #[inline(always)]
    pub(crate) fn charge_waited(&mut self, bytes: u32, came: u64, now: u64) {
        if !self.pace.is_unlimited() {
            self.due = self.due.after_waiting(self.pace, bytes, came, now);
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
        (self.due.opens(self.early) >> shift) + 1
    }
}
