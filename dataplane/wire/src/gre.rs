//! GRE (RFC 2784, RFC 2890) as NVGRE uses it (RFC 7637 §3.2).

use crate::{EtherType, Vsid};

/// Bytes of an NVGRE header: flags, protocol type, key.
pub const NVGRE_HEADER: usize = 8;

/// Checksum present (RFC 2784 §2.1).
const C: u16 = 0x8000;
/// Key present (RFC 2890 §2).
const K: u16 = 0x2000;
/// Sequence number present (RFC 2890 §2).
const S: u16 = 0x1000;
/// Bits 1, 4 and 5: a receiver discards a packet with one of them (RFC 2784 §2.3: routing of RFC 1701).
/// Bits 6 to 12 are ignored.
const RESERVED: u16 = 0x4c00;
const VERSION: u16 = 0x0007;

/// Why a GRE packet is not NVGRE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NvgreRefusal {
    /// Shorter than its header.
    Truncated,
    /// C is set; NVGRE forbids it.
    Checksum,
    /// K is not set; NVGRE needs it.
    NoKey,
    /// S is set; NVGRE forbids it.
    Sequence,
    /// Bit 1, 4 or 5 is set.
    ReservedBits,
    /// A version other than 0.
    Version,
    /// A protocol type other than 0x6558.
    Protocol,
}

/// An NVGRE header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nvgre {
    /// The virtual subnet.
    pub vsid: Vsid,
    /// Entropy of the inner flow; 0 if the sender made none.
    pub flow_id: u8,
}

impl Nvgre {
    /// Reads what follows the outer IP header. Each rule is RFC 7637 §3.2's unless said otherwise above.
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<Nvgre, NvgreRefusal> {
        let [f0, f1, p0, p1, v0, v1, v2, flow_id] = match bytes.first_chunk::<NVGRE_HEADER>() {
            Some(header) => *header,
            None => return Err(short(bytes)),
        };
        let flags = u16::from_be_bytes([f0, f1]);
        if flags & (C | K | S | RESERVED | VERSION) != K {
            return Err(flags_refused(flags));
        }
        if u16::from_be_bytes([p0, p1]) != EtherType::TEB.0 {
            return Err(NvgreRefusal::Protocol);
        }
        Ok(Nvgre {
            vsid: Vsid::from_wire(u32::from_be_bytes([0, v0, v1, v2])),
            flow_id,
        })
    }

    /// Its bytes.
    #[inline]
    pub fn octets(&self) -> [u8; NVGRE_HEADER] {
        let [f0, f1] = K.to_be_bytes();
        let [p0, p1] = EtherType::TEB.0.to_be_bytes();
        let [_, v0, v1, v2] = self.vsid.get().to_be_bytes();
        [f0, f1, p0, p1, v0, v1, v2, self.flow_id]
    }
}

/// A header of four bytes has no key; a shorter one is none.
#[cold]
fn short(bytes: &[u8]) -> NvgreRefusal {
    match bytes.first_chunk::<2>() {
        Some(&flags) if bytes.len() >= 4 && u16::from_be_bytes(flags) & K == 0 => {
            flags_refused(u16::from_be_bytes(flags))
        }
        _ => NvgreRefusal::Truncated,
    }
}

#[cold]
fn flags_refused(flags: u16) -> NvgreRefusal {
    if flags & VERSION != 0 {
        NvgreRefusal::Version
    } else if flags & RESERVED != 0 {
        NvgreRefusal::ReservedBits
    } else if flags & C != 0 {
        NvgreRefusal::Checksum
    } else if flags & S != 0 {
        NvgreRefusal::Sequence
    } else {
        NvgreRefusal::NoKey
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7637 §3.2, figure 1: first word 0x20006558, then VSID and FlowID.
    const GOLDEN: [u8; 8] = [0x20, 0x00, 0x65, 0x58, 0x00, 0x13, 0x89, 0x2a];

    #[test]
    fn golden_bytes_both_ways() {
        let nvgre = Nvgre {
            vsid: Vsid::new(5001).unwrap(),
            flow_id: 0x2a,
        };
        assert_eq!(nvgre.octets(), GOLDEN);
        assert_eq!(Nvgre::parse(&GOLDEN), Ok(nvgre));
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let with = |flags: u16| {
            let mut bytes = GOLDEN;
            bytes[..2].copy_from_slice(&flags.to_be_bytes());
            Nvgre::parse(&bytes).map(|_| ())
        };
        assert_eq!(with(0x2000), Ok(()));
        assert_eq!(with(0xa000), Err(NvgreRefusal::Checksum));
        assert_eq!(with(0x0000), Err(NvgreRefusal::NoKey));
        assert_eq!(with(0x3000), Err(NvgreRefusal::Sequence));
        assert_eq!(with(0x2001), Err(NvgreRefusal::Version));
        for bit in [1, 4, 5] {
            assert_eq!(
                with(0x2000 | 0x8000 >> bit),
                Err(NvgreRefusal::ReservedBits),
                "bit {bit}"
            );
        }
        // RFC 2784 §2.3: bits 6 to 12 are ignored on receipt.
        for bit in 6..=12 {
            assert_eq!(with(0x2000 | 0x8000 >> bit), Ok(()), "bit {bit}");
        }
        let mut other = GOLDEN;
        other[2..4].copy_from_slice(&[0x08, 0x00]);
        assert_eq!(Nvgre::parse(&other), Err(NvgreRefusal::Protocol));
        for len in 0..8 {
            assert_eq!(
                Nvgre::parse(&GOLDEN[..len]),
                Err(NvgreRefusal::Truncated),
                "{len} bytes"
            );
        }
        assert_eq!(Nvgre::parse(&[0, 0, 0x65, 0x58]), Err(NvgreRefusal::NoKey));
    }
}
