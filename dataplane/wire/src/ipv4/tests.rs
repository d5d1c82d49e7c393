use super::*;

/// After RFC 791 appendix A, example 2 (identification 111, time to live 123, protocol 6), as a first
/// fragment between addresses of RFC 5737; then 3 bytes of data and 2 of padding.
const GOLDEN: [u8; 25] = [
    0x45, 0x00, 0x00, 0x17, 0x00, 0x6f, 0x20, 0x00, 0x7b, 0x06, 0x33, 0x3b, 192, 0, 2, 1, 198, 51,
    100, 2, 1, 2, 3, 0, 0,
];

fn header() -> Header {
    Header {
        tos: 0,
        total_length: 23,
        identification: 111,
        fragmentation: Fragmentation::MORE,
        ttl: 123,
        protocol: IpProtocol::TCP,
        source: Ipv4Addr::new(192, 0, 2, 1),
        destination: Ipv4Addr::new(198, 51, 100, 2),
    }
}

fn with(at: usize, byte: u8) -> [u8; 25] {
    let mut bytes = GOLDEN;
    bytes[at] = byte;
    bytes
}

#[test]
fn golden_bytes_both_ways() {
    let packet = Ipv4::parse(&GOLDEN).unwrap();
    assert_eq!(packet.header(), header());
    assert_eq!(packet.payload(), [1, 2, 3], "padding is left out");
    assert_eq!((packet.header_len(), packet.total_len()), (20, 23));
    assert!(packet.options().is_empty());
    assert!(packet.checksum_is_right());
    assert_eq!(header().octets(), GOLDEN[..20]);
    let mut bytes = [0; 20];
    header().write(&mut bytes);
    assert_eq!(bytes, GOLDEN[..20]);
}

#[test]
fn fragment_fields_of_rfc_791_section_3_1() {
    let middle = Fragmentation(0x2000 | 65);
    assert!(middle.is_fragment() && middle.more_fragments() && !middle.dont_fragment());
    assert_eq!(middle.offset(), 520);
    assert!(Fragmentation(1).is_fragment(), "a last one");
    assert!(!Fragmentation::DONT.is_fragment() && Fragmentation::DONT.dont_fragment());
    assert_eq!(Fragmentation(0x1fff).offset(), 65_528);
}

#[test]
fn options_are_no_payload() {
    // RFC 791 §3.1: no operation thrice, end of list.
    let mut bytes = with(0, 0x46);
    bytes[20..24].copy_from_slice(&[1, 1, 1, 0]);
    bytes[3] = 25;
    let packet = Ipv4::parse(&bytes).unwrap();
    assert_eq!(packet.header_len(), 24);
    assert_eq!(packet.options(), [1, 1, 1, 0]);
    assert_eq!(packet.payload(), [0]);
    assert!(!packet.checksum_is_right());
}

#[test]
fn each_refusal_has_its_reason() {
    let refused = |bytes: &[u8]| Ipv4::parse(bytes).err();
    for len in 0..23 {
        assert_eq!(
            refused(&GOLDEN[..len]),
            Some(Malformed::Truncated),
            "{len} bytes"
        );
    }
    assert_eq!(refused(&with(0, 0x65)), Some(Malformed::Version));
    assert_eq!(refused(&with(0, 0x44)), Some(Malformed::HeaderLength));
    assert_eq!(
        refused(&with(0, 0x47)),
        Some(Malformed::HeaderLength),
        "beyond the bytes"
    );
    assert_eq!(
        refused(&with(0, 0x46)),
        Some(Malformed::TotalLength),
        "below the header's"
    );
    assert_eq!(refused(&with(3, 19)), Some(Malformed::TotalLength));
    assert_eq!(refused(&with(3, 26)), Some(Malformed::Truncated));
}

#[test]
fn a_quote_may_be_cut_short() {
    let packet = Ipv4::parse_quote(&GOLDEN[..21]).unwrap();
    assert_eq!((packet.total_len(), packet.payload()), (23, &[1][..]));
    assert_eq!(Ipv4::parse_quote(&GOLDEN).unwrap().payload(), [1, 2, 3]);
    assert_eq!(
        Ipv4::parse_quote(&GOLDEN[..19]).err(),
        Some(Malformed::Truncated)
    );
}

#[test]
fn a_hop_is_taken_while_one_is_left() {
    let mut bytes = header().octets();
    assert_eq!(decrement_ttl(&mut bytes), Some(122));
    assert_eq!(
        bytes,
        Header {
            ttl: 122,
            ..header()
        }
        .octets()
    );
    for ttl in [0, 1] {
        let mut bytes = Header { ttl, ..header() }.octets();
        assert_eq!(decrement_ttl(&mut bytes), None);
        assert_eq!(bytes, Header { ttl, ..header() }.octets(), "unchanged");
    }
}

/// What [`hop`] does, step by step.
fn slow_hop(header: &mut [u8; HEADER]) -> Option<()> {
    let sound = header[0] == 0x45 && checksum::sum(&header[..]) == 0xffff;
    let left = sound.then(|| decrement_ttl(header))?;
    left.map(drop)
}

#[test]
fn a_hop_of_a_plain_header_is_the_slow_one_whatever_the_checksum() {
    for identification in 0..=u16::MAX {
        for ttl in [0, 1, 2, 255] {
            let of = Header {
                ttl,
                identification,
                ..header()
            };
            let (mut fast, mut slow) = (of.octets(), of.octets());
            assert_eq!(hop(&mut fast), slow_hop(&mut slow), "{of:?}");
            assert_eq!(fast, slow, "{of:?}");
            assert_eq!(fast[8] == ttl, ttl < 2);
            if ttl >= 2 {
                let checked = Ipv4::parse_quote(&fast).unwrap();
                assert!(checked.checksum_is_right(), "{of:?}");
            }
        }
    }
    let mut zero = header().octets();
    // Of ones-complement's two zeroes, also the one that no sender computes.
    zero[4..6].copy_from_slice(&0x33aa_u16.to_be_bytes());
    zero[10..12].copy_from_slice(&[0xff, 0xff]);
    let mut slow = zero;
    assert_eq!(checksum::sum(&zero), 0xffff);
    assert_eq!((hop(&mut zero), slow_hop(&mut slow)), (Some(()), Some(())));
    assert_eq!(zero, slow);
}

#[test]
fn a_router_reads_no_header_that_is_wrong() {
    for byte in 0..HEADER {
        let mut bytes = header().octets();
        bytes[byte] ^= 0x10;
        let before = bytes;
        assert_eq!(hop(&mut bytes), None, "byte {byte}");
        assert_eq!(bytes, before);
    }
    let mut options = header().octets();
    options[0] = 0x46;
    options[10..12].fill(0);
    let sum = checksum::checksum(&options).to_be_bytes();
    options[10..12].copy_from_slice(&sum);
    assert_eq!(hop(&mut options), None, "with options it is longer");
}

#[test]
fn setters_keep_the_checksum() {
    let mut bytes = header().octets();
    set_total_length(&mut bytes, 1500);
    set_source(&mut bytes, Ipv4Addr::new(10, 0, 0, 1));
    set_destination(&mut bytes, Ipv4Addr::BROADCAST);
    let changed = Header {
        total_length: 1500,
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::BROADCAST,
        ..header()
    };
    assert_eq!(bytes, changed.octets());
    swap_addresses(&mut bytes);
    let back = Header {
        source: changed.destination,
        destination: changed.source,
        ..changed
    };
    assert_eq!(bytes, back.octets());
}
