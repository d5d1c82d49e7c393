//! What a vNIC sends, by traffic class: how much of it left, waits and was dropped.
//!
//! Where there are no traffic classes there is nothing but a few empty places. Control [makes room](ByClass::make_room) before workers
//! hear of a class, in blocks that stay as long as the vNIC does, so that a worker's counts are never moved.

use crate::bandwidth::ClassId;
use crate::counters::{Counter, Traffic};
use std::sync::OnceLock;

/// Numbers that traffic classes may have, none among them: as many as an uplink has nodes for.
pub const CLASSES: usize = 64;

/// Of which so many are made room for at once.
const BLOCK: usize = 16;

type Block = OnceLock<Box<[ClassCells; BLOCK]>>;

/// What one worker counts of what one vNIC sends in one class. Every frame that asks to leave is in one of the three.
#[derive(Debug, Default)]
pub struct ClassCells {
    /// May leave, at once or after it had waited. Bytes are the vNIC's own of layer 2, as its maximum counts them.
    pub sent: Traffic,
    /// Waits now.
    pub queued: Traffic,
    /// Dropped because too much waited or by a policer, or when its port was closed while it waited.
    pub dropped: Traffic,
    /// What was sent and dropped when the number passed to another class. Control's own, as the others are the worker's.
    before: [Traffic; 2],
}

/// What [`ClassCells`] say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCount {
    /// Packets that left.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets that wait.
    pub queued_packets: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Packets dropped.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

impl ClassCount {
    /// Both together.
    pub fn plus(self, other: ClassCount) -> ClassCount {
        ClassCount {
            sent_packets: self.sent_packets + other.sent_packets,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            queued_packets: self.queued_packets + other.queued_packets,
            queued_bytes: self.queued_bytes + other.queued_bytes,
            dropped_packets: self.dropped_packets + other.dropped_packets,
            dropped_bytes: self.dropped_bytes + other.dropped_bytes,
        }
    }
}

fn since(now: &Counter, before: &Counter) -> u64 {
    now.get().wrapping_sub(before.get())
}

impl ClassCells {
    /// What was counted since the number is this class's.
    pub fn count(&self) -> ClassCount {
        let [sent, dropped] = &self.before;
        ClassCount {
            sent_packets: since(&self.sent.packets, &sent.packets),
            sent_bytes: since(&self.sent.bytes, &sent.bytes),
            queued_packets: self.queued.packets.get(),
            queued_bytes: self.queued.bytes.get(),
            dropped_packets: since(&self.dropped.packets, &dropped.packets),
            dropped_bytes: since(&self.dropped.bytes, &dropped.bytes),
        }
    }

    /// From here on it is counted for another class. Control alone may call this.
    fn begin(&self) {
        for (before, now) in self.before.iter().zip([&self.sent, &self.dropped]) {
            before.packets.set(now.packets.get());
            before.bytes.set(now.bytes.get());
        }
    }
}

/// One worker's counts of one vNIC by traffic class.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ByClass {
    blocks: [Block; CLASSES / BLOCK],
    /// Packets that might not wait: of no class where there are no classes, and of what was for the vNIC.
    pub unclassed: Counter,
}

impl ByClass {
    /// Makes room for none and for the classes up to this one. Allocates, and never moves what is there: for control.
    pub fn make_room(&self, last: ClassId) {
        for block in self.blocks.iter().take(usize::from(last.0) / BLOCK + 1) {
            block.get_or_init(Box::default);
        }
    }

    /// From here on what is counted of a number is another class's. For control.
    pub fn begin(&self, class: ClassId) {
        if let Some(cells) = self.of(class) {
            cells.begin();
        }
    }

    /// The cells of a class, where there is room.
    #[inline]
    pub fn of(&self, class: ClassId) -> Option<&ClassCells> {
        let at = usize::from(class.0);
        self.blocks.get(at / BLOCK)?.get()?.get(at % BLOCK)
    }

    /// Every class there is room for, none among them.
    pub fn iter(&self) -> impl Iterator<Item = (ClassId, &ClassCells)> {
        let all = self.blocks.iter().zip((0_u8..).step_by(BLOCK));
        all.filter_map(|(block, first)| Some((block.get()?, first)))
            .flat_map(|(block, first)| (first..).map(ClassId).zip(block.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_where_it_was_made_and_nowhere_else() {
        let own = ByClass::default();
        assert_eq!(own.iter().count(), 0);
        own.make_room(ClassId(17));
        assert!(own.of(ClassId::NONE).is_some());
        assert!(own.of(ClassId(17)).is_some());
        assert!(own.of(ClassId(32)).is_none());
        for (class, bytes) in [(17, 60), (0, 70)] {
            let cells = own.of(ClassId(class)).expect("room");
            cells.dropped.add(1, bytes);
        }
        // What is there stays where it is.
        own.make_room(ClassId(u8::MAX));
        assert!(own.of(ClassId(63)).is_some());
        assert!(own.of(ClassId(64)).is_none());
        let counted: Vec<_> = own
            .iter()
            .map(|(class, cells)| (class.0, cells.count().dropped_bytes))
            .filter(|(_, bytes)| *bytes > 0)
            .collect();
        assert_eq!(counted, [(0, 70), (17, 60)]);
    }

    #[test]
    fn a_number_that_passes_on_begins_anew_and_keeps_what_waits() {
        let own = ByClass::default();
        own.make_room(ClassId(2));
        let cells = own.of(ClassId(2)).expect("room");
        cells.sent.add(3, 300);
        cells.queued.add(2, 200);
        cells.dropped.add(1, 100);
        own.begin(ClassId(2));
        cells.sent.add(1, 10);
        let count = ClassCount {
            sent_packets: 1,
            sent_bytes: 10,
            queued_packets: 2,
            queued_bytes: 200,
            ..ClassCount::default()
        };
        assert_eq!(cells.count(), count);
        assert_eq!(
            own.of(ClassId(1)).map(ClassCells::count),
            Some(ClassCount::default())
        );
    }
}
