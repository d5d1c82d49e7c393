//! A witness that keeps everything: for the packet that control imagines (`weir trace --vnic`), and for tests.

use crate::frame::Frame;
use crate::watch::{Point, Step, Who, Witness};
use std::cell::RefCell;
use std::marker::PhantomData;
use weir_tables::reason::Reason;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A frame at a point.
    Seen {
        /// Where.
        point: Point,
        /// Whose it was there.
        who: Who,
        /// Why it was dropped, at [`Point::Drop`].
        reason: Option<Reason>,
        /// Its bytes then.
        bytes: Vec<u8>,
    },
    /// What a stage found or did.
    Step(Step),
}

/// Keeps what frames of type `F` tell, with their place in the batch, in order.
#[derive(Debug)]
pub struct Recorder<F> {
    notes: RefCell<Vec<(u8, Note)>>,
    frames: PhantomData<fn(F)>,
}

impl<F> Default for Recorder<F> {
    fn default() -> Self {
        Recorder {
            notes: RefCell::default(),
            frames: PhantomData,
        }
    }
}

impl<F: Frame> Recorder<F> {
    /// Everything so far; forgets it.
    pub fn take(&self) -> Vec<(u8, Note)> {
        self.notes.take()
    }

    fn keep(&self, place: u8, note: Note) {
        self.notes.borrow_mut().push((place, note));
    }

    fn seen(&self, place: u8, point: Point, who: Who, reason: Option<Reason>, frame: &F) {
        let mut bytes = Vec::with_capacity(frame.len());
        frame.for_each_segment(|segment| bytes.extend_from_slice(segment));
        self.keep(
            place,
            Note::Seen {
                point,
                who,
                reason,
                bytes,
            },
        );
    }
}

impl<F: Frame> Witness for Recorder<F> {
    type Frame = F;

    fn see(&self, place: u8, _: Who, point: Point, who: Who, frame: &F) {
        self.seen(place, point, who, None, frame);
    }

    fn dropped(&self, place: u8, from: Who, reason: Reason, frame: &F) {
        self.seen(place, Point::Drop, from, Some(reason), frame);
    }

    fn follows(&self, _: u8) -> bool {
        true
    }

    fn note(&self, place: u8, step: Step) {
        self.keep(place, Note::Step(step));
    }
}
