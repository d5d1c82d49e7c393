//! What marks a frame as the rig's: the last 18 bytes, whatever headers a switch puts before it or takes off. That is the
//! whole UDP payload of a frame of 64 bytes.

/// Bytes of a stamp.
pub const BYTES: usize = 18;

/// A frame's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its number within the trial.
    pub number: u32,
    /// When it was due, by the TSC.
    pub due: u64,
    /// Which trial it is of.
    pub trial: u16,
}

impl Stamp {
    /// Writes it at the end of a frame; false, and no change, if the frame is shorter.
    #[inline]
    pub fn write(&self, frame: &mut [u8]) -> bool {
        let Some(tail) = frame.last_chunk_mut::<BYTES>() else {
            return false;
        };
        tail[..4].copy_from_slice(&self.number.to_le_bytes());
        tail[4..12].copy_from_slice(&self.due.to_le_bytes());
        tail[12..14].copy_from_slice(&self.trial.to_le_bytes());
        tail[14..].copy_from_slice(&self.check().to_le_bytes());
        true
    }

    /// Reads it from the end of a frame; none if it is not one of the rig's, or not whole.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<Stamp> {
        let tail = frame.last_chunk::<BYTES>()?;
        let [
            n0,
            n1,
            n2,
            n3,
            d0,
            d1,
            d2,
            d3,
            d4,
            d5,
            d6,
            d7,
            t0,
            t1,
            c0,
            c1,
            c2,
            c3,
        ] = *tail;
        let stamp = Stamp {
            number: u32::from_le_bytes([n0, n1, n2, n3]),
            due: u64::from_le_bytes([d0, d1, d2, d3, d4, d5, d6, d7]),
            trial: u16::from_le_bytes([t0, t1]),
        };
        (stamp.check() == u32::from_le_bytes([c0, c1, c2, c3])).then_some(stamp)
    }

    /// The other 14 bytes in 4: two multiplications by odd constants, so that every bit reaches the upper half.
    #[inline]
    fn check(&self) -> u32 {
        let rest = u64::from(self.number) << 16 | u64::from(self.trial);
        let mixed = (self.due ^ rest.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> 32) as u32 ^ 0x5745_4952
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_any_bit_of_it_changed_is_seen() {
        let stamp = Stamp {
            number: 7_000_001,
            due: 0x0123_4567_89ab_cdef,
            trial: 513,
        };
        let mut frame = [0; 60];
        assert!(stamp.write(&mut frame));
        assert_eq!(frame[..42], [0; 42], "headers are left alone");
        assert_eq!(Stamp::read(&frame), Some(stamp));
        for bit in 42 * 8..60 * 8 {
            frame[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Stamp::read(&frame), None, "bit {bit}");
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!stamp.write(&mut [0; 17]));
        assert_eq!((Stamp::read(&[0; 17]), Stamp::read(&[0; 60])), (None, None));
    }
}
