use super::*;

const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// RFC 9293 §3.1: SYN and ECE from port 49152 to 443 with options and, as fast open has it, data.
#[rustfmt::skip]
const GOLDEN: [u8; 43] = [
    0xc0, 0x00, 0x01, 0xbb, 0x01, 0x02, 0x03, 0x04, 0, 0, 0, 0, 0xa0, 0x42, 0xff, 0xff, 0xd1, 0x83, 0, 0,
    2, 4, 0x05, 0x82,                        // MSS 1410. RFC 9293 §3.7.1
    4, 2,                                    // SACK permitted. RFC 2018 §2
    8, 10, 0, 0, 0, 7, 0, 0, 0, 9,           // Timestamps. RFC 7323 §3.2
    1, 3, 3, 7,                              // No operation, window scale 7. RFC 7323 §2.2
    b'a', b'b', b'c',
];
/// The same between A6 and B6 (RFC 8200 §8.1).
const CHECKSUM_V6: [u8; 2] = [0x62, 0x46];

const HEADER_OF_GOLDEN: Header = Header {
    source_port: 49_152,
    destination_port: 443,
    sequence: 0x0102_0304,
    acknowledgment: 0,
    flags: Flags::SYN.with(Flags::ECE),
    window: 65_535,
    urgent: 0,
};

/// What these bytes say as options.
fn options(bytes: &[u8]) -> Vec<Result<TcpOption<'_>, Malformed>> {
    Options { rest: bytes }.collect()
}

#[test]
fn golden_bytes_both_ways() {
    let segment = Tcp::parse(&GOLDEN).unwrap();
    assert_eq!(segment.header(), HEADER_OF_GOLDEN);
    assert_eq!(
        (segment.data_offset(), segment.payload()),
        (40, &b"abc"[..])
    );
    assert_eq!(segment.mss(), Some(1410));
    assert!(segment.flags().has(Flags::SYN) && !segment.flags().has(Flags::SYN.with(Flags::ACK)));
    let expected = [
        Ok(TcpOption::Mss(1410)),
        Ok(TcpOption::SackPermitted),
        Ok(TcpOption::Timestamps { value: 7, echo: 9 }),
        Ok(TcpOption::WindowScale(7)),
    ];
    assert_eq!(segment.options().collect::<Vec<_>>(), expected);
    assert!(segment.checksum_is_right_v4(A, B) && !segment.checksum_is_right_v4(A, A));
    let written = HEADER_OF_GOLDEN.octets_v4(A, B, &GOLDEN[20..40], b"abc");
    assert_eq!(written.unwrap(), GOLDEN[..20]);
}

#[test]
fn the_same_over_ipv6() {
    let mut bytes = GOLDEN;
    bytes[16..18].copy_from_slice(&CHECKSUM_V6);
    assert!(Tcp::parse(&bytes).unwrap().checksum_is_right_v6(A6, B6));
    let written = HEADER_OF_GOLDEN.octets_v6(A6, B6, &GOLDEN[20..40], b"abc");
    assert_eq!(written.unwrap(), bytes[..20]);
}

#[test]
fn each_refusal_has_its_reason() {
    for len in 0..20 {
        assert_eq!(
            Tcp::parse(&GOLDEN[..len]).err(),
            Some(Malformed::Truncated),
            "{len} bytes"
        );
    }
    for len in 20..40 {
        assert_eq!(
            Tcp::parse(&GOLDEN[..len]).err(),
            Some(Malformed::HeaderLength),
            "{len} bytes"
        );
    }
    let mut bytes = GOLDEN;
    bytes[12] = 0x40;
    assert_eq!(Tcp::parse(&bytes).err(), Some(Malformed::HeaderLength));
    bytes[12] = 0x50;
    assert_eq!(Tcp::parse(&bytes).unwrap().payload().len(), 23);
    assert_eq!(Tcp::parse(&bytes).unwrap().mss(), None);
}

#[test]
fn options_end_at_the_end_or_an_error() {
    assert_eq!(options(&[1, 1, 0, 2, 4, 5, 6]), []);
    assert_eq!(
        options(&[2, 4, 5, 0xb4, 3]),
        [Ok(TcpOption::Mss(1460)), Err(Malformed::Truncated)]
    );
    assert_eq!(options(&[2, 5, 5, 0xb4]), [Err(Malformed::Truncated)]);
    for length in [0, 1] {
        assert_eq!(
            options(&[2, length, 2, 4, 1, 1]),
            [Err(Malformed::HeaderLength)]
        );
    }
    let expected = TcpOption::Other {
        kind: 2,
        body: &[5],
    };
    assert_eq!(
        options(&[2, 3, 5]),
        [Ok(expected)],
        "an MSS of another length is none"
    );
}

#[test]
fn options_that_cannot_be_written() {
    let write = |options: &[u8]| HEADER_OF_GOLDEN.octets_v4(A, B, options, &[]);
    assert_eq!(write(&[1, 1, 1]), None);
    assert_eq!(write(&[1; 44]), None);
    assert_eq!(write(&[1; 40]).unwrap()[12], 0xf0);
    assert_eq!(HEADER_OF_GOLDEN.octets_v4(A, B, &[], &[0; 65_516]), None);
    assert!(
        HEADER_OF_GOLDEN
            .octets_v6(A6, B6, &[], &[0; 65_516])
            .is_some()
    );
}
