//! The entropy of a flow: addresses, protocol and, only where every packet of the flow has them, ports.
//! A fragment of any kind (a first one too) hashes addresses and protocol alone, so that the fragments of a
//! packet stay together (RFC 7637 §3.2; RFC 6438 §3 of the same for flow labels).

use crate::ipv6;
use crate::{EtherType, IpProtocol, Mac};

/// An odd constant with bits spread evenly: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
/// Another, from the digits of pi.
const PI: u64 = 0x2437_54f2_1332_1b0d;

/// Mixes two words: a multiplication of 64 by 64 bits whose halves are folded.
#[inline(always)]
pub const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ GOLDEN) as u128 * (b ^ PI) as u128;
    (product >> 64) as u64 ^ product as u64
}

/// Whether the protocol's first four bytes are ports: as a mask of them, by its number. A table, because a branch on what tenants
/// send is not to be foreseen.
#[expect(clippy::indexing_slicing, reason = "by constants, when it is compiled")]
static PORTS: [u32; 256] = {
    let mut masks = [0; 256];
    masks[IpProtocol::TCP.0 as usize] = !0;
    masks[IpProtocol::UDP.0 as usize] = !0;
    masks[IpProtocol::SCTP.0 as usize] = !0;
    masks
};

/// Of an IPv4 packet that is no fragment, by its addresses and by the four bytes behind its header, all as they lie in memory.
#[inline(always)]
pub fn ipv4_whole(addresses: u64, protocol: u8, l4: u32) -> u32 {
    let ports = l4 & port_mask(protocol);
    mix(addresses, u64::from(ports) << 8 | u64::from(protocol)) as u32
}

/// Ports, where the protocol has them as its first four bytes.
#[inline(always)]
fn ports(protocol: u8, l4: Option<&[u8]>) -> u64 {
    let first = l4.and_then(|l4| l4.first_chunk::<4>());
    let first = first.map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    u64::from(first & port_mask(protocol))
}

/// Every byte is in the table: nothing is asked.
#[inline(always)]
fn port_mask(protocol: u8) -> u32 {
    let mask = PORTS.get(usize::from(protocol));
    mask.copied().unwrap_or_default()
}

/// Of an IPv4 packet: `header` is the start of `packet`, which may be cut short.
#[inline(always)]
pub fn ipv4(header: &[u8; 20], packet: &[u8]) -> u32 {
    let [_, _, _, _, _, _, f0, f1, _, protocol, _, _, a @ ..] = *header;
    let addresses = u64::from_ne_bytes(a);
    // More fragments, or an offset.
    let fragment = u16::from_be_bytes([f0, f1]) & 0x3fff != 0;
    let l4 = if fragment {
        None
    } else {
        packet.get(usize::from(header[0] & 0x0f) * 4..)
    };
    mix(addresses, ports(protocol, l4) << 8 | u64::from(protocol)) as u32
}

/// Of an IPv6 packet: `header` is the start of `packet`, which may be cut short.
#[inline]
pub fn ipv6(header: &[u8; 40], packet: &[u8]) -> u32 {
    let [_, _, _, _, _, _, _, _, addresses @ ..] = *header;
    let addresses: [u8; 32] = addresses;
    let hash = addresses
        .as_chunks::<8>()
        .0
        .iter()
        .fold(0, |hash, word| mix(hash, u64::from_ne_bytes(*word)));
    let (protocol, l4) = match ipv6::walk(packet) {
        // What a first fragment has behind its headers, a later one does not.
        Ok(found) if found.is_fragment => (IpProtocol::FRAGMENT.0, None),
        Ok(found) => (found.protocol.0, Some(found.payload)),
        Err(_) => (0, None),
    };
    mix(hash, ports(protocol, l4) << 8 | u64::from(protocol)) as u32
}

/// Of anything else.
#[inline]
pub fn ethernet(dst: Mac, src: Mac, ethertype: EtherType) -> u32 {
    mix(dst.to_u64() << 16 | u64::from(ethertype.0), src.to_u64()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(fragment: u16, port: u8) -> [u8; 24] {
        let [f0, f1] = fragment.to_be_bytes();
        [
            0x45, 0, 0, 24, 0, 0, f0, f1, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, port, 0, 80,
        ]
    }

    fn hash(bytes: &[u8; 24]) -> u32 {
        ipv4(bytes.first_chunk().unwrap(), bytes)
    }

    #[test]
    fn ports_count_but_not_in_fragments() {
        assert_ne!(hash(&packet(0, 1)), hash(&packet(0, 2)));
        assert_ne!(
            hash(&packet(0x4000, 1)),
            hash(&packet(0x4000, 2)),
            "DF is no fragment"
        );
        let first = hash(&packet(0x2000, 1));
        assert_eq!(
            first,
            hash(&packet(0x2000, 2)),
            "a first fragment has ports, a later one does not"
        );
        assert_eq!(first, hash(&packet(0x00b9, 7)));
    }

    #[test]
    fn eight_bits_of_it_spread_evenly() {
        let mut seen = [0_u32; 256];
        for port in 0..=255 {
            for host in 0..64 {
                let mut bytes = packet(0, port);
                bytes[15] = host;
                seen[(hash(&bytes) & 0xff) as usize] += 1;
            }
        }
        let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
        assert!(
            *least > 32 && *most < 110,
            "of 64 on average: {least} to {most}"
        );
    }
}
