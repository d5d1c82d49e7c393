//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624).

/// A running ones-complement sum. Parts may have odd lengths: they count as one run of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Big-endian words, not yet folded.
    total: u64,
    /// Whether an odd number of bytes was added so far.
    odd: bool,
}

impl Sum {
    /// Of nothing.
    #[inline]
    pub const fn new() -> Self {
        Sum {
            total: 0,
            odd: false,
        }
    }

    /// Adds the next bytes.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        let part = sum(bytes);
        // RFC 1071 §2(B): the sum of swapped bytes is the swapped sum.
        let part = if self.odd { part.swap_bytes() } else { part };
        self.total += u64::from(part);
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// The sum folded to 16 bits; not complemented.
    #[inline]
    pub fn fold(self) -> u16 {
        fold(self.total)
    }

    /// The checksum: the folded sum, complemented.
    #[inline]
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// Adds the carries back in (RFC 1071 §1, "end-around carry"). Of any sum but 0 it is not 0.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    // Half to half with the carry, as a processor adds it; rotated halves would be fewer instructions and slower.
    let (half, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = half + carry as u32;
    let (half, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
    half + carry as u16
}

/// The folded ones-complement sum of bytes as big-endian words; a last odd byte counts as if 0 followed.
/// Of a header or packet whose checksum is right it is 0xffff.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    // Words are summed in the machine's order and swapped once (RFC 1071 §2(B)), 4 bytes at a time in 64
    // bits (§2(C)): 2^32 words fit.
    let (quads, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = quads
        .iter()
        .map(|q| u64::from(u32::from_ne_bytes(*q)))
        .sum();
    total += match *rest {
        [a] => u64::from(u16::from_ne_bytes([a, 0])),
        [a, b] => u64::from(u16::from_ne_bytes([a, b])),
        [a, b, c] => u64::from(u16::from_ne_bytes([a, b])) + u64::from(u16::from_ne_bytes([c, 0])),
        _ => 0,
    };
    u16::from_be(fold(total))
}

/// The checksum of bytes whose checksum field is 0.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// The checksum after a 16-bit word changed (RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m')).
#[inline]
pub const fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The checksum after a 32-bit word changed.
#[inline]
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    let old = !old;
    let words =
        (old >> 16) as u64 + (old & 0xffff) as u64 + (new >> 16) as u64 + (new & 0xffff) as u64;
    !fold(!checksum as u64 + words)
}

/// The checksum after an IPv6 address changed.
#[inline]
pub fn update128(checksum: u16, old: [u8; 16], new: [u8; 16]) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!sum(&old)) + u64::from(sum(&new)))
}

/// A UDP checksum for the wire: 0 says that there is none, so a computed 0 is sent as all ones (RFC 768).
#[inline]
pub const fn udp(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 §3.1): `length` of L4 header and payload, in bytes.
#[inline]
pub fn pseudo_v4(source: [u8; 4], destination: [u8; 4], protocol: u8, length: u16) -> Sum {
    let mut sum = Sum::new();
    sum.add(&source);
    sum.add(&destination);
    sum.add(&[0, protocol]);
    sum.add(&length.to_be_bytes());
    sum
}

/// The pseudo-header of everything over IPv6 (RFC 8200 §8.1): `length` of L4 header and payload, in bytes.
#[inline]
pub fn pseudo_v6(source: [u8; 16], destination: [u8; 16], next_header: u8, length: u32) -> Sum {
    let mut sum = Sum::new();
    sum.add(&source);
    sum.add(&destination);
    sum.add(&length.to_be_bytes());
    sum.add(&[0, 0, 0, next_header]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Slow and obvious.
    fn oracle(bytes: &[u8]) -> u16 {
        let mut total = 0_u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes), 0xddf2);
        assert_eq!(checksum(&bytes), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624_section_4() {
        // HC = 0xDD2F, m = 0x5555, m' = 0x3285 gives 0x0000 by equation 3, not 0xFFFF as by RFC 1141.
        assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn sum_is_the_oracles(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(sum(&bytes), oracle(&bytes));
        }

        #[test]
        fn a_sum_in_parts_is_the_sum(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            cuts.sort();
            let mut sum = Sum::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                sum.add(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!(sum.fold(), oracle(&bytes));
        }

        #[test]
        fn an_update_is_a_recomputation(
            mut words in proptest::collection::vec(any::<u8>(), 40),
            new in any::<[u8; 16]>(),
        ) {
            // A header with a word that is not zero, as real ones have: RFC 1624 §3 tells +0 from -0 by it.
            words[0] = 0x45;
            let before = checksum(&words);
            let old: [u8; 16] = words[8..24].try_into().unwrap();
            let old32 = u32::from_be_bytes(words[24..28].try_into().unwrap());
            let new32 = u32::from_be_bytes(new[..4].try_into().unwrap());
            let old16 = u16::from_be_bytes(words[28..30].try_into().unwrap());
            let new16 = u16::from_be_bytes(new[4..6].try_into().unwrap());
            words[8..24].copy_from_slice(&new);
            words[24..28].copy_from_slice(&new[..4]);
            words[28..30].copy_from_slice(&new[4..6]);
            let updated = update16(update32(update128(before, old, new), old32, new32), old16, new16);
            prop_assert_eq!(updated, checksum(&words));
        }
    }
}
