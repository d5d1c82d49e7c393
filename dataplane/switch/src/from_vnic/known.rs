//! What is known of a batch from a VM before the tables are asked: of each frame whether it is ordinary, and what it is to be looked up by.

use crate::odd::Odd;
use crate::ordinary::Sender;
use crate::outlet::Outlet;
use crate::{BATCH, Batch, Frame, classes};
use arrayvec::ArrayVec;
use weir_tables::bandwidth::ClassId;
use weir_tables::filters::Filters;
use weir_tables::view::{Port, View};

/// Of a frame that is not ordinary: the next of the odd ones' classes is its own. An ordinary one has its flow in this place and,
/// above it, its type of service.
pub(super) const ODD: u32 = 1 << 16;
/// Of an ordinary frame that goes by its address: the next of the records has the answer.
pub(super) const BY_ADDRESS: u32 = 1 << 17;

/// Both, which no other has, are of one whose target is not known yet, as it is not in its first bucket.
pub(super) const LATE: u32 = ODD | BY_ADDRESS;

/// What is known of a batch between its classification and the tables' answers. Each part is a variable of its own of who holds it: in one piece
/// the compiler takes each of them for changed with the others, which cost 12 instructions a packet.
pub(super) struct Known<'k> {
    /// Of each frame what it is, see [`ODD`], and its key among the endpoints. A key of 0 is nobody's.
    pub(super) marks: &'k mut [u32; BATCH],
    pub(super) keys: &'k mut [u64; BATCH],
    /// Keys of those that go by their address.
    pub(super) routed: &'k mut ArrayVec<u64, BATCH>,
    pub(super) odd: &'k mut Odd,
    /// In which traffic class each is, as it came, where there are classes.
    pub(super) kinds: Option<Kinds>,
    /// Bytes of all together, as they came.
    pub(super) bytes: u64,
    /// Whether there is a key that is somebody's.
    any: u64,
}

/// What [`Known`] is held in.
pub(super) type Room = ([u32; BATCH], [u64; BATCH], ArrayVec<u64, BATCH>, Odd);

#[inline(always)]
pub(super) fn room() -> Room {
    ([0; BATCH], [0; BATCH], ArrayVec::new(), Odd::new())
}

impl<'k> Known<'k> {
    /// Nothing yet.
    #[inline(always)]
    pub(super) fn new(
        marks: &'k mut [u32; BATCH],
        keys: &'k mut [u64; BATCH],
        routed: &'k mut ArrayVec<u64, BATCH>,
        odd: &'k mut Odd,
    ) -> Self {
        Known {
            marks,
            keys,
            routed,
            odd,
            kinds: None,
            bytes: 0,
            any: 0,
        }
    }

    /// Classifies all frames.
    #[inline(always)]
    pub(super) fn classify<'s, O: Outlet>(
        &mut self,
        view: &View,
        port: &Port,
        senders: impl Iterator<Item = &'s Sender<'s>> + Clone,
        batch: &mut Batch<O::Frame>,
        out: &O,
    ) {
        let filters = view.filters.as_ref().filter(|_| out.is_shaping());
        self.kinds = filters.map(|filters| kinds_of(filters, senders.clone(), batch));
        let (mut bytes, mut any) = (0, 0);
        let places = self.marks.iter_mut().zip(self.keys.iter_mut());
        for ((frame, (mark, key)), sender) in batch.iter_mut().zip(places).zip(senders) {
            bytes += frame.len() as u64;
            match sender.admit(frame) {
                Some(it) if !sender.is_by_address(it.dst) => {
                    *mark = u32::from(it.tos) << 8 | u32::from(it.flow);
                    *key = sender.key(it.dst);
                }
                Some(it) => {
                    *mark = BY_ADDRESS | u32::from(it.flow);
                    self.routed.push(sender.address_key(it.to));
                }
                None => {
                    *mark = ODD;
                    *key = self.odd.add(view, port, sender.vnic, frame);
                }
            }
            any |= *key;
        }
        (self.bytes, self.any) = (bytes, any);
    }

    /// The keys among the endpoints of so many frames; none if nobody's endpoint is wanted.
    #[inline(always)]
    pub(super) fn keys(&self, many: usize) -> Option<&[u64]> {
        match self.any {
            0 => None,
            _ => self.keys.get(..many),
        }
    }
}

/// The traffic classes of a batch, in its order.
pub(super) type Kinds = ArrayVec<ClassId, BATCH>;

#[inline(never)]
fn kinds_of<'s, F: Frame>(
    filters: &Filters,
    senders: impl Iterator<Item = &'s Sender<'s>>,
    batch: &mut Batch<F>,
) -> Kinds {
    let frames = batch.iter_mut().zip(senders);
    let kind = |(frame, sender): (&mut F, &Sender<'_>)| {
        classes::of(filters, filters.of_vnic(sender.vnic.id), frame)
    };
    frames.map(kind).collect()
}

/// The class of all frames of a batch, if they have one in common.
#[inline(always)]
pub(super) fn one_kind(kinds: Option<&Kinds>) -> Option<ClassId> {
    let Some(kinds) = kinds else {
        return Some(ClassId::NONE);
    };
    let first = *kinds.first()?;
    kinds.iter().all(|kind| *kind == first).then_some(first)
}
