use super::*;

const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// RFC 4443 §4.1: type 128, code 0, identifier 0x1234, sequence number 7, data; from A to B (RFC 3849).
const ECHO: [u8; 11] = [128, 0, 0x4d, 0xa7, 0x12, 0x34, 0, 7, b'a', b'b', b'c'];

/// RFC 4443 §3.2: type 2, code 0, MTU 1400, the start of the packet (here of its version word alone).
const TOO_BIG: [u8; 12] = [2, 0, 0x3c, 0xcc, 0, 0, 0x05, 0x78, 0x60, 0, 0, 0];

#[test]
fn golden_echo_both_ways() {
    let echo = Echo {
        identifier: 0x1234,
        sequence: 7,
    };
    let message = Icmp6::parse(&ECHO).unwrap();
    assert_eq!(message.echo(), Some((echo, &b"abc"[..])));
    assert!(message.checksum_is_right(A, B) && !message.checksum_is_right(A, A));
    assert_eq!((message.mtu(), message.quote()), (None, None));
    assert_eq!(
        Header::echo(ECHO_REQUEST, echo).octets(A, B, b"abc"),
        ECHO[..8]
    );
}

#[test]
fn an_echo_becomes_its_reply_in_place() {
    let mut bytes = ECHO;
    assert!(make_echo_reply(bytes.first_chunk_mut().unwrap()));
    let reply = Icmp6::parse(&bytes).unwrap();
    assert!(reply.checksum_is_right(B, A));
    let (echo, data) = reply.echo().unwrap();
    assert_eq!(
        Header::echo(ECHO_REPLY, echo).octets(B, A, data),
        bytes[..8]
    );
    assert!(
        !make_echo_reply(bytes.first_chunk_mut().unwrap()),
        "a reply has none"
    );
}

#[test]
fn golden_packet_too_big_both_ways() {
    let message = Icmp6::parse(&TOO_BIG).unwrap();
    assert!(message.checksum_is_right(A, B) && is_error(message.kind()));
    assert_eq!(message.mtu(), Some(1400));
    assert_eq!(message.quote(), Some(&TOO_BIG[8..]));
    assert_eq!(message.echo(), None);
    assert_eq!(
        Header::packet_too_big(1400).octets(A, B, &TOO_BIG[8..]),
        TOO_BIG[..8]
    );
}

#[test]
fn time_exceeded_and_the_length_of_its_quote() {
    let header = Header::time_exceeded().octets(A, B, &[0; 136]);
    let mut bytes = [0; 8 + 128 + 8];
    bytes[..8].copy_from_slice(&header);
    let quoted = |bytes: &[u8]| Icmp6::parse(bytes).unwrap().quote().map(<[u8]>::len);
    assert!(Icmp6::parse(&bytes).unwrap().checksum_is_right(A, B));
    assert_eq!(quoted(&bytes), Some(136), "no length: all of it");
    bytes[4] = 16;
    assert_eq!(quoted(&bytes), Some(128), "RFC 4884 §4.5: 64-bit words");
    bytes[4] = 255;
    assert_eq!(quoted(&bytes), Some(136), "more than there is");
    bytes[0] = PACKET_TOO_BIG;
    bytes[4] = 1;
    assert_eq!(quoted(&bytes), Some(136), "part of the MTU");
    assert_eq!(quote(&[0; 1500]).len(), 1232);
    assert_eq!(quote(&[0; 40]).len(), 40);
    assert_eq!(
        Header::unreachable(1).octets(A, B, &[])[..2],
        [UNREACHABLE, 1]
    );
}

#[test]
fn what_is_cut_short_has_no_fields() {
    for len in 0..4 {
        assert_eq!(Icmp6::parse(&ECHO[..len]).err(), Some(Malformed::Truncated));
    }
    for len in 4..8 {
        assert_eq!(Icmp6::parse(&ECHO[..len]).unwrap().echo(), None);
        let message = Icmp6::parse(&TOO_BIG[..len]).unwrap();
        assert_eq!((message.mtu(), message.quote()), (None, None));
    }
}
