use super::*;

const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// RFC 8200 §3: version 6, traffic class 0xb8, flow label 0x12345, payload length 3, next header 59 (none),
/// hop limit 64; then 3 bytes of payload and 2 of padding.
#[rustfmt::skip]
const GOLDEN: [u8; 45] = [
    0x6b, 0x81, 0x23, 0x45, 0x00, 0x03, 59, 64,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    1, 2, 3, 0, 0,
];

fn header() -> Header {
    Header {
        traffic_class: 0xb8,
        flow_label: 0x12345,
        payload_length: 3,
        next_header: IpProtocol::NONE,
        hop_limit: 64,
        source: A,
        destination: B,
    }
}

/// A packet whose fixed header says `next`, with these bytes behind it.
fn packet(next: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        payload_length: payload.len() as u16,
        next_header: next,
        ..header()
    };
    [&header.octets()[..], payload].concat()
}

#[test]
fn golden_bytes_both_ways() {
    let packet = Ipv6::parse(&GOLDEN).unwrap();
    assert_eq!(packet.header(), header());
    assert_eq!(packet.payload(), [1, 2, 3], "padding is left out");
    assert_eq!(packet.upper().unwrap().payload, [1, 2, 3]);
    assert_eq!(header().octets(), GOLDEN[..40]);
    let wide = Header {
        flow_label: 0xfff1_2345,
        ..header()
    };
    assert_eq!(wide.octets(), GOLDEN[..40], "20 bits of label");
}

#[test]
fn addresses_change_places() {
    let mut bytes = header().octets();
    swap_addresses(&mut bytes);
    let back = Header {
        source: B,
        destination: A,
        ..header()
    };
    assert_eq!(bytes, back.octets());
}

#[test]
fn each_refusal_has_its_reason() {
    for len in 0..43 {
        assert_eq!(
            Ipv6::parse(&GOLDEN[..len]).err(),
            Some(Malformed::Truncated),
            "{len} bytes"
        );
    }
    let mut four = GOLDEN;
    four[0] = 0x4b;
    assert_eq!(Ipv6::parse(&four).err(), Some(Malformed::Version));
    let quote = Ipv6::parse_quote(&GOLDEN[..41]).unwrap();
    assert_eq!((quote.payload_len(), quote.payload()), (3, &[1][..]));
    assert_eq!(
        Ipv6::parse_quote(&GOLDEN[..39]).err(),
        Some(Malformed::Truncated)
    );
}

#[test]
fn extension_headers_in_the_order_of_rfc_8200_section_4_1() {
    #[rustfmt::skip]
    let bytes = packet(IpProtocol::HOP_BY_HOP, &[
        43, 0, 5, 2, 0, 0, 1, 0,                 // Hop-by-hop: router alert (RFC 2711), PadN. §4.3
        51, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // Routing: 8 + 1 * 8 bytes. §4.4
        60, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, // Authentication: (2 + 2) * 4 bytes. RFC 4302 §2.2
        17, 0, 1, 4, 0, 0, 0, 0,                 // Destination options: PadN. §4.6
        0x30, 0x39, 0, 53,
    ]);
    let upper = Ipv6::parse(&bytes).unwrap().upper().unwrap();
    assert_eq!(upper.protocol, IpProtocol::UDP);
    assert_eq!(upper.payload, [0x30, 0x39, 0, 53]);
    assert!(!upper.is_fragment && !upper.is_later_fragment);
    assert_eq!(
        upper_layer(&bytes),
        Some((IpProtocol::UDP, &[0x30, 0x39, 0, 53][..]))
    );
    for cut in 40..bytes.len() - 4 {
        assert_eq!(
            walk(&bytes[..cut]),
            Err(Malformed::Truncated),
            "{cut} bytes"
        );
    }
}

#[test]
fn fragments_of_rfc_8200_section_4_5() {
    let with = |offset_and_more: u16| {
        let [o0, o1] = offset_and_more.to_be_bytes();
        packet(
            IpProtocol::FRAGMENT,
            &[60, 0, o0, o1, 0, 0, 0, 9, 17, 0, 1, 4, 0, 0, 0, 0, 7],
        )
    };
    for first in [0, 1] {
        // An atomic one (RFC 6946) and a first one: the walk goes on.
        let bytes = with(first);
        let upper = walk(&bytes).unwrap();
        assert_eq!((upper.protocol, upper.payload), (IpProtocol::UDP, &[7][..]));
        assert!(upper.is_fragment && !upper.is_later_fragment);
        assert_eq!(upper_layer(&bytes), None);
    }
    let bytes = with(8 | 1);
    let upper = walk(&bytes).unwrap();
    assert_eq!(
        (upper.protocol, upper.payload.len()),
        (IpProtocol::DESTINATION, 9)
    );
    assert!(upper.is_fragment && upper.is_later_fragment);
}

#[test]
fn a_walk_has_an_end() {
    let options = |count: usize| {
        let mut chain = [0, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        chain[count * 8 - 8] = 17;
        packet(IpProtocol::HOP_BY_HOP, &chain)
    };
    assert!(walk(&options(MAX_EXTENSIONS)).is_ok());
    assert_eq!(
        walk(&options(MAX_EXTENSIONS + 1)),
        Err(Malformed::HeaderLength)
    );
    // A later fragment, which would end the walk, is one too many as well.
    let mut bytes = options(MAX_EXTENSIONS);
    bytes[40 + MAX_EXTENSIONS * 8 - 8] = 44;
    bytes.extend([17, 0, 0, 8, 0, 0, 0, 0]);
    assert_eq!(walk(&bytes), Err(Malformed::HeaderLength));
    // Encrypted: what follows cannot be walked (RFC 4303 §2).
    let bytes = packet(IpProtocol::ESP, &[1, 2]);
    assert_eq!(upper_layer(&bytes), Some((IpProtocol::ESP, &[1, 2][..])));
}
