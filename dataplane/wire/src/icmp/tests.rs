use super::*;
use crate::ipv4::Ipv4;

/// RFC 792, "Echo or Echo Reply Message": type 8, code 0, identifier 0x1234, sequence number 7, data.
const ECHO_BYTES: [u8; 11] = [8, 0, 0x21, 0x62, 0x12, 0x34, 0, 7, b'a', b'b', b'c'];

/// RFC 1191 §4: type 3, code 4, unused 0, next-hop MTU 1450; then the header and 64 bits of the packet.
const NEEDED: [u8; 36] = [
    3, 4, 0xe2, 0x29, 0, 0, 0x05, 0xaa, 0x45, 0, 0x05, 0xdc, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0,
    1, 10, 0, 0, 2, 0x30, 0x39, 0, 53, 0x05, 0xc8, 0, 0,
];

#[test]
fn golden_echo_both_ways() {
    let echo = Echo {
        identifier: 0x1234,
        sequence: 7,
    };
    let message = Icmp::parse(&ECHO_BYTES).unwrap();
    assert_eq!((message.kind(), message.code()), (ECHO, 0));
    assert_eq!(message.echo(), Some(echo));
    assert_eq!(message.payload(), b"abc");
    assert!(message.checksum_is_right());
    assert_eq!(message.quote(), None);
    assert_eq!(message.next_hop_mtu(), None);
    assert_eq!(Header::echo(ECHO, echo).octets(b"abc"), ECHO_BYTES[..8]);
}

#[test]
fn an_echo_becomes_its_reply_in_place() {
    let mut bytes = ECHO_BYTES;
    assert!(make_echo_reply(bytes.first_chunk_mut().unwrap()));
    let reply = Icmp::parse(&bytes).unwrap();
    assert!(reply.checksum_is_right());
    assert_eq!(reply.kind(), ECHO_REPLY);
    let echo = reply.echo().unwrap();
    assert_eq!(Header::echo(ECHO_REPLY, echo).octets(b"abc"), bytes[..8]);
    let before = bytes;
    assert!(
        !make_echo_reply(bytes.first_chunk_mut().unwrap()),
        "a reply has none"
    );
    assert_eq!(bytes, before);
}

#[test]
fn a_reply_of_zeros_has_a_right_checksum() {
    // RFC 1624 §3: 0 would be the incremental answer, and a receiver would find a sum of +0.
    let echo = Echo {
        identifier: 0,
        sequence: 0,
    };
    let mut bytes = Header::echo(ECHO, echo).octets(&[]);
    assert!(make_echo_reply(&mut bytes));
    assert!(Icmp::parse(&bytes).unwrap().checksum_is_right());
    assert_eq!(bytes, [0, 0, 0xff, 0xff, 0, 0, 0, 0]);
}

#[test]
fn golden_fragmentation_needed_both_ways() {
    let message = Icmp::parse(&NEEDED).unwrap();
    assert!(message.checksum_is_right());
    assert_eq!(message.next_hop_mtu(), Some(1450));
    assert_eq!(message.echo(), None);
    let quoted = Ipv4::parse_quote(message.quote().unwrap()).unwrap();
    assert_eq!((quoted.total_len(), quoted.payload().len()), (1500, 8));
    assert_eq!(
        Header::fragmentation_needed(1450).octets(&NEEDED[8..]),
        NEEDED[..8]
    );
    let mut old = NEEDED;
    old[6..8].fill(0);
    assert_eq!(
        Icmp::parse(&old).unwrap().next_hop_mtu(),
        None,
        "RFC 1191 §4: an old router"
    );
}

#[test]
fn a_quote_ends_where_rfc_4884_says() {
    let mut bytes = [0; 8 + 128 + 8];
    bytes[0] = TIME_EXCEEDED;
    let quoted = |bytes: &[u8]| Icmp::parse(bytes).unwrap().quote().map(<[u8]>::len);
    assert_eq!(quoted(&bytes), Some(136), "no length: all of it");
    bytes[5] = 32;
    assert_eq!(quoted(&bytes), Some(128));
    bytes[5] = 255;
    assert_eq!(quoted(&bytes), Some(136), "more than there is");
    bytes[5] = 1;
    bytes[0] = REDIRECT;
    assert_eq!(quoted(&bytes), Some(136), "part of the gateway's address");
}

#[test]
fn an_error_has_576_bytes_at_most() {
    assert_eq!(quote(&[0; 1500]).len(), 548);
    assert_eq!(quote(&[0; 60]).len(), 60);
    for header in [Header::time_exceeded(), Header::unreachable(PROHIBITED)] {
        let mut bytes = [0; 8 + 60];
        header.write(&[0; 60], bytes.first_chunk_mut().unwrap());
        let message = Icmp::parse(&bytes).unwrap();
        assert!(message.checksum_is_right() && is_error(message.kind()));
        assert_eq!((message.kind(), message.code()), (header.kind, header.code));
    }
    for len in 0..8 {
        assert_eq!(
            Icmp::parse(&NEEDED[..len]).err(),
            Some(Malformed::Truncated)
        );
    }
}
