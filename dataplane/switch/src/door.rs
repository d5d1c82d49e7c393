//! Where a frame leaves: by which port, for whom, and with how many bytes that are not its sender's.

use crate::outlet::Receiver;
use weir_tables::bandwidth::ClassId;
use weir_tables::ids::{PortId, UplinkId, VnicId};

/// A port, a receiver and what leaves with a frame that its sender did not send, in one word; or none.
///
/// From the lowest bit: 32 for an uplink or a vNIC, and one that tells them apart; 7 for the traffic class of what waits; 8 for bytes of
/// headers; 16 for the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Door(u64);

/// To a vNIC; to an uplink. One of them is set if there is a door.
const VNIC: u64 = 1 << 32;
const UPLINK: u64 = 1 << 16;
/// Where the traffic class is, of which there are fewer than 128.
const CLASS: u32 = 33;
const CLASSES: u64 = 0x7f;
/// Where the bytes of headers are, of which there are fewer than 256.
const HEADERS: u32 = 40;
const PORT: u32 = 48;

impl Door {
    /// None.
    pub const NONE: Door = Door(0);

    /// To a receiver by a port.
    #[inline(always)]
    pub fn new(port: PortId, receiver: Receiver) -> Door {
        let receiver = match receiver {
            Receiver::Vnic(id) => VNIC | u64::from(id.0),
            Receiver::Uplink(id) => UPLINK | u64::from(id.0),
        };
        Door(u64::from(port.0) << PORT | receiver)
    }

    /// The same, of which nothing was said yet, of frames that got so many bytes of headers, or of a tag, that their sender did not
    /// send.
    #[inline(always)]
    pub fn behind(self, headers: u8) -> Door {
        Door(self.0 | u64::from(headers) << HEADERS)
    }

    /// The same by another port.
    #[inline(always)]
    pub fn by(self, port: PortId) -> Door {
        Door(self.0 & !(!0 << PORT) | u64::from(port.0) << PORT)
    }

    /// Those bytes.
    #[inline(always)]
    pub fn headers(self) -> usize {
        usize::from((self.0 >> HEADERS) as u8)
    }

    /// The same of what waits before it in a traffic class.
    #[inline(always)]
    pub fn in_class(self, class: ClassId) -> Door {
        Door(self.0 & !(CLASSES << CLASS) | (u64::from(class.0) & CLASSES) << CLASS)
    }

    /// That class. Of what does not wait it means nothing.
    #[inline(always)]
    pub fn class(self) -> ClassId {
        ClassId((self.0 >> CLASS & CLASSES) as u8)
    }

    /// The port. Of no door it means nothing, as the receiver does.
    #[inline(always)]
    pub fn port(self) -> PortId {
        PortId((self.0 >> PORT) as u16)
    }

    /// Who is behind it.
    #[inline(always)]
    pub fn receiver(self) -> Receiver {
        match self.0 & VNIC {
            0 => Receiver::Uplink(UplinkId(self.0 as u16)),
            _ => Receiver::Vnic(VnicId(self.0 as u32)),
        }
    }

    /// The door, if there is one.
    #[inline(always)]
    pub fn known(self) -> Option<Door> {
        (self != Door::NONE).then_some(self)
    }
}

/// The one door of all frames of a batch, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    every: u64,
    any: u64,
}

impl Common {
    /// Of no frame yet.
    #[inline(always)]
    pub fn new() -> Common {
        Common { every: !0, any: 0 }
    }

    /// One more.
    #[inline(always)]
    pub fn add(&mut self, door: Door) {
        self.every &= door.0;
        self.any |= door.0;
    }

    /// The door, if all had the same.
    #[inline(always)]
    pub fn door(self) -> Option<Door> {
        Door(if self.every == self.any { self.any } else { 0 }).known()
    }
}

impl Default for Common {
    fn default() -> Self {
        Common::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_what_it_was_made_of() {
        for receiver in [
            Receiver::Vnic(VnicId(0)),
            Receiver::Vnic(VnicId(u32::MAX)),
            Receiver::Uplink(UplinkId(0)),
            Receiver::Uplink(UplinkId(u16::MAX)),
        ] {
            for port in [PortId(0), PortId(u16::MAX)] {
                let door = Door::new(port, receiver);
                assert_eq!((door.port(), door.receiver()), (port, receiver));
                let behind = door.behind(66);
                assert_eq!((behind.port(), behind.receiver()), (port, receiver));
                assert_eq!((door.headers(), behind.headers()), (0, 66));
                let waits = behind.in_class(ClassId(63));
                assert_eq!((waits.port(), waits.receiver()), (port, receiver));
                assert_eq!(
                    (waits.class(), behind.class()),
                    (ClassId(63), ClassId::NONE)
                );
                assert_eq!(waits.in_class(ClassId::NONE), behind);
                let other = waits.by(PortId(7));
                assert_eq!((other.port(), other.by(port)), (PortId(7), waits));
                assert_eq!(door.known(), Some(door));
            }
        }
        assert_eq!(Door::NONE.known(), None);
    }

    #[test]
    fn frames_have_a_door_in_common_if_each_has_it() {
        let to =
            |port, headers| Door::new(PortId(port), Receiver::Uplink(UplinkId(1))).behind(headers);
        let common = |doors: &[Door]| {
            let mut common = Common::new();
            doors.iter().for_each(|door| common.add(*door));
            common.door()
        };
        assert_eq!(common(&[to(1, 42), to(1, 42)]), Some(to(1, 42)));
        assert_eq!(common(&[to(1, 42), to(1, 62)]), None);
        assert_eq!(common(&[to(1, 42), Door::NONE]), None);
        assert_eq!(common(&[Door::NONE]), None);
    }
}
