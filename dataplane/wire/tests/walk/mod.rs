//! The walk over IPv6's extension headers against a slow and obvious one.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_wire::IpProtocol;
use weir_wire::ipv6::{self, MAX_EXTENSIONS};

/// Where a walk ends: protocol, offset of its bytes, a fragment, a later fragment.
type End = (u8, usize, bool, bool);

/// Slow and obvious: RFC 8200 §4 with offsets into the packet, a header a call.
fn oracle(packet: &[u8], next: u8, at: usize, is_fragment: bool, walked: usize) -> Option<End> {
    let is_extension = [0, 43, 44, 51, 60].contains(&next);
    if !is_extension {
        return Some((next, at, is_fragment, false));
    }
    if walked == MAX_EXTENSIONS {
        return None;
    }
    let byte = |offset: usize| packet.get(at + offset).copied();
    let length = match next {
        // §4.5: always 8 bytes.
        44 => 8,
        // RFC 4302 §2.2: 32-bit words, minus 2.
        51 => (usize::from(byte(1)?) + 2) * 4,
        // §4.3, §4.4, §4.6: 8-octet units, without the first.
        _ => (usize::from(byte(1)?) + 1) * 8,
    };
    let after = at + length;
    if after > packet.len() {
        return None;
    }
    if next == 44 {
        // §4.5: 13 bits of offset, 2 reserved, M.
        let offset = (u16::from(byte(2)?) << 8 | u16::from(byte(3)?)) >> 3;
        if offset != 0 {
            return Some((byte(0)?, after, true, true));
        }
        return oracle(packet, byte(0)?, after, true, walked + 1);
    }
    oracle(packet, byte(0)?, after, is_fragment, walked + 1)
}

fn walked(packet: &[u8]) -> Option<End> {
    let upper = ipv6::walk(packet).ok()?;
    let at = packet.len() - upper.payload.len();
    Some((
        upper.protocol.0,
        at,
        upper.is_fragment,
        upper.is_later_fragment,
    ))
}

fn next_header() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => prop::sample::select(vec![0_u8, 43, 44, 51, 60]),
        1 => any::<u8>(),
    ]
}

/// A header of any kind as `(kind, length field, fragment offset field)`.
fn extension() -> impl Strategy<Value = (u8, u8, u16)> {
    (
        prop::sample::select(vec![0_u8, 43, 44, 51, 60]),
        0_u8..4,
        prop_oneof![
            3 => Just(0_u16), 1 => Just(1), 1 => any::<u16>(),
        ],
    )
}

/// A packet with these extension headers, `upper` and its payload.
fn build(extensions: &[(u8, u8, u16)], upper: u8, payload: &[u8]) -> Vec<u8> {
    let kinds: Vec<u8> = extensions.iter().map(|e| e.0).chain([upper]).collect();
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[6] = kinds[0];
    for (&(kind, length, offset), &next) in extensions.iter().zip(&kinds[1..]) {
        let size = match kind {
            44 => 8,
            51 => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        let mut header = vec![0xee; size];
        header[0] = next;
        header[1] = length;
        if kind == 44 {
            header[2..4].copy_from_slice(&offset.to_be_bytes());
        }
        packet.extend(header);
    }
    packet.extend(payload);
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn chains(
        extensions in vec(extension(), 0..MAX_EXTENSIONS + 3),
        upper in any::<u8>(),
        payload in vec(any::<u8>(), 0..30),
        cut in any::<prop::sample::Index>(),
    ) {
        let packet = build(&extensions, upper, &payload);
        let expected = oracle(&packet, packet[6], 40, false, 0);
        prop_assert_eq!(walked(&packet), expected);
        let found = ipv6::upper_layer(&packet).map(|(protocol, bytes)| (protocol, bytes.len()));
        let unfragmented = expected
            .filter(|end| !end.2)
            .map(|end| (IpProtocol(end.0), packet.len() - end.1));
        prop_assert_eq!(found, unfragmented);

        let cut = &packet[..cut.index(packet.len() + 1)];
        let expected = (cut.len() >= 40).then(|| oracle(cut, packet[6], 40, false, 0));
        prop_assert_eq!(walked(cut), expected.flatten());
    }

    #[test]
    fn noise(next in next_header(), rest in vec(prop_oneof![next_header(), 0_u8..3], 0..200)) {
        let mut packet = vec![0; 40];
        packet[6] = next;
        packet.extend(rest);
        prop_assert_eq!(walked(&packet), oracle(&packet, next, 40, false, 0));
    }
}
