//! Whether a vNIC sends or receives more than its maximum: over everything that it did, whichever worker it was with, in any window of
//! time.
//!
//! *What may be:* what is due leaves [`EARLY`] before its time at most, one frame more leaves then, and what had waited for its turn is
//! reckoned from a full frame earlier at most ([`meter`](crate::shape)). So in any window what left takes no longer, evenly spaced, than the
//! window, that time and two frames. Nothing of the scheduler is asked, but for those two numbers: bytes are counted as they leave.

use crate::Frame;
use crate::outlet::Receiver;
use crate::shape::{EARLY, FULL_FRAME};
use crate::testing::world::{OWN_PA, OWN_PA6};
use crate::testing::{HZ, VecFrame};
use std::collections::HashMap;
use weir_tables::bandwidth::Pace;
use weir_tables::ids::VnicId;
use weir_tables::view::View;

/// Cycles, 32.32 fixed point.
type Time = u128;

/// So many bytes of one vNIC, evenly spaced: until when they take.
#[derive(Default)]
struct Meter {
    /// Reckoned from the start.
    all: Time,
    /// From whichever moment it is latest, of what leaves at once.
    latest: Time,
    longest: u64,
}

impl Meter {
    /// More bytes; `at_once`: they leave as soon as they may.
    fn add(&mut self, pace: Pace, bytes: usize, at_once: bool, now: u64) {
        let takes = pace.time(bytes as u64);
        self.all += takes;
        if at_once {
            self.latest = self.latest.max(Time::from(now) << 32) + takes;
        }
        self.longest = self.longest.max(bytes as u64);
    }

    /// What it takes longer than it may.
    fn is_over(&self, until: Time, pace: Pace, now: u64) -> bool {
        let frames = pace.time(2 * self.longest.max(FULL_FRAME));
        until > (Time::from(now + HZ / EARLY) << 32) + frames
    }
}

/// What vNICs sent and received.
#[derive(Default)]
pub struct Meters {
    sent: HashMap<VnicId, Meter>,
    received: HashMap<VnicId, Meter>,
}

impl Meters {
    /// A frame that its sender has been let send: it leaves, or is handed to another worker.
    pub fn sends(
        &mut self,
        view: &View,
        sender: VnicId,
        receiver: Receiver,
        is_handed: bool,
        frame: &VecFrame,
        now: u64,
    ) {
        let Some(promise) = view.vnic(sender).and_then(|vnic| vnic.promise.as_deref()) else {
            return;
        };
        let pace = promise.max;
        if pace.is_unlimited() || receiver == Receiver::Vnic(sender) {
            // What a vNIC gets of its own frames are the switch's answers.
            return;
        }
        // What is policed is let through when it comes, and leaves later; what is for a vNIC here waits for that one's maximum then.
        let waits = match receiver {
            Receiver::Vnic(to) => !is_handed && !max_rx(view, to).is_unlimited(),
            Receiver::Uplink(_) => false,
        };
        let at_once = !promise.police && !waits;
        let meter = self.sent.entry(sender).or_default();
        meter.add(pace, own_bytes(view, receiver, frame), at_once, now);
        let all = meter.is_over(meter.all, pace, now);
        assert!(!all, "{sender:?} sends too much");
        let latest = meter.is_over(meter.latest, pace, now);
        assert!(!latest, "{sender:?} sends too fast");
    }

    /// A vNIC has left: its number may be another's.
    pub fn forget(&mut self, vnic: VnicId) {
        self.sent.remove(&vnic);
        self.received.remove(&vnic);
    }

    /// A frame that a vNIC gets.
    pub fn receives(&mut self, view: &View, to: VnicId, frame: &VecFrame, now: u64) {
        let pace = max_rx(view, to);
        if pace.is_unlimited() {
            return;
        }
        let meter = self.received.entry(to).or_default();
        meter.add(pace, own_bytes(view, Receiver::Vnic(to), frame), true, now);
        let over = meter.is_over(meter.latest, pace, now);
        assert!(!over, "{to:?} receives too fast");
    }
}

fn max_rx(view: &View, vnic: VnicId) -> Pace {
    let promise = view.vnic(vnic).and_then(|vnic| vnic.promise.as_deref());
    promise.map_or(Pace::UNLIMITED, |promise| promise.max_rx)
}

/// What of a frame that leaves was its sender's, read from its bytes.
fn own_bytes(view: &View, receiver: Receiver, frame: &VecFrame) -> usize {
    let head = frame.head();
    let tag = 4 * usize::from(head.get(12..14) == Some(&[0x81, 0]));
    let ip = head.get(14 + tag..).unwrap_or_default();
    let v4 = head.get(12 + tag..14 + tag) == Some(&[8, 0]);
    let v6 = head.get(12 + tag..14 + tag) == Some(&[0x86, 0xdd]);
    let headers = match receiver {
        Receiver::Vnic(id) if view.vnic(id).is_some_and(|vnic| vnic.vlan.is_some()) => tag,
        Receiver::Vnic(_) => 0,
        Receiver::Uplink(_) if v4 && ip.get(12..16) == Some(&OWN_PA.octets()) => 14 + tag + 28,
        Receiver::Uplink(_) if v6 && ip.get(8..24) == Some(&OWN_PA6.octets()) => 14 + tag + 48,
        Receiver::Uplink(_) => tag,
    };
    frame.len() - headers
}
