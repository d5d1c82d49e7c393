use super::*;

const A: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const B: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const MAC: Mac = Mac::new([2, 0, 0, 0, 0, 1]);

/// RFC 4861 §4.3 and §4.6.1: who has B, asks A of B's solicited-node group.
#[rustfmt::skip]
const SOLICITATION: [u8; 32] = [
    135, 0, 0x7a, 0x97, 0, 0, 0, 0,
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    1, 1, 2, 0, 0, 0, 0, 1,
];

/// RFC 4861 §4.4 and §4.6.1: B answers A, solicited, overriding.
#[rustfmt::skip]
const ADVERTISEMENT: [u8; 32] = [
    136, 0, 0x18, 0x1b, 0x60, 0, 0, 0,
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    2, 1, 2, 0, 0, 0, 0, 1,
];

/// RFC 4861 §4.2 and §4.6: hop limit 64, O, 1800 s, 30 s, 1 s; source address, MTU 1450, a prefix that is
/// on the link and autonomous for a day, preferred for 4 hours; a route (RFC 4191 §2.3), which is not read.
#[rustfmt::skip]
const ROUTER: [u8; 72] = [
    134, 0, 0, 0, 64, 0x40, 0x07, 0x08, 0, 0, 0x75, 0x30, 0, 0, 0x03, 0xe8,
    1, 1, 2, 0, 0, 0, 0, 1,
    5, 1, 0, 0, 0, 0, 0x05, 0xaa,
    3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0,
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    24, 1, 0, 0, 0, 0, 0, 9,
];

fn parse(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    Message::parse(&Icmp6::parse(bytes).unwrap())
}

#[test]
fn golden_solicitation_both_ways() {
    let group = solicited_node(B);
    assert_eq!(group.to_string(), "ff02::1:ff00:2", "RFC 4291 §2.7.1");
    let Ok(Message::NeighborSolicitation { target, options }) = parse(&SOLICITATION) else {
        panic!("{:?}", parse(&SOLICITATION));
    };
    assert_eq!(
        (target, options.source_mac(), options.target_mac()),
        (B, Some(MAC), None)
    );
    assert!(
        Icmp6::parse(&SOLICITATION)
            .unwrap()
            .checksum_is_right(A, group)
    );
    let question = Solicitation {
        target: B,
        mac: MAC,
    };
    assert_eq!(question.octets(A, group), SOLICITATION);
}

#[test]
fn golden_advertisement_both_ways() {
    let Ok(Message::NeighborAdvertisement {
        flags,
        target,
        options,
    }) = parse(&ADVERTISEMENT)
    else {
        panic!("{:?}", parse(&ADVERTISEMENT));
    };
    assert_eq!(
        (target, options.source_mac(), options.target_mac()),
        (B, None, Some(MAC))
    );
    assert!(flags.has(Flags::SOLICITED) && flags.has(Flags::OVERRIDE) && !flags.has(Flags::ROUTER));
    assert!(
        Icmp6::parse(&ADVERTISEMENT)
            .unwrap()
            .checksum_is_right(B, A)
    );
    let answer = Advertisement {
        flags: Flags::SOLICITED.with(Flags::OVERRIDE),
        target: B,
        mac: MAC,
    };
    assert_eq!(answer.octets(B, A), ADVERTISEMENT);
}

#[test]
fn golden_router_advertisement() {
    let Ok(Message::RouterAdvertisement { router, options }) = parse(&ROUTER) else {
        panic!("{:?}", parse(&ROUTER));
    };
    let expected = RouterAdvertisement {
        hop_limit: 64,
        managed: false,
        other: true,
        lifetime: 1800,
        reachable: 30_000,
        retransmit: 1000,
    };
    assert_eq!(router, expected);
    let prefix = Prefix {
        prefix: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        length: 64,
        on_link: true,
        autonomous: true,
        valid: 86_400,
        preferred: 14_400,
    };
    let expected = [
        NdOption::SourceLinkLayer(MAC),
        NdOption::Mtu(1450),
        NdOption::Prefix(prefix),
        NdOption::Other {
            kind: 24,
            body: &ROUTER[66..],
        },
    ];
    assert_eq!(options.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_router_solicitation_may_be_bare() {
    // RFC 4861 §4.1: 8 bytes, no options from an unspecified source.
    let Ok(Message::RouterSolicitation { options }) = parse(&[133, 0, 0, 0, 0, 0, 0, 0]) else {
        panic!();
    };
    assert_eq!(options.iter().count(), 0);
}

#[test]
fn options_that_must_not_be() {
    // RFC 4861 §4.6: a length of 0 has the whole packet discarded.
    assert_eq!(
        Options::parse(&[1, 0, 0, 0, 0, 0, 0, 0]),
        Err(Malformed::HeaderLength)
    );
    assert_eq!(
        Options::parse(&[1, 2, 0, 0, 0, 0, 0, 0]),
        Err(Malformed::Truncated)
    );
    assert_eq!(Options::parse(&[1]), Err(Malformed::Truncated));
    let many = [14, 1, 0, 0, 0, 0, 0, 0].repeat(MAX_OPTIONS + 1);
    assert_eq!(Options::parse(&many), Err(Malformed::HeaderLength));
    let options = Options::parse(&many[8..]).unwrap();
    assert_eq!(options.iter().count(), MAX_OPTIONS);
}

#[test]
fn an_option_of_another_length_is_another_option() {
    for kind in [
        SOURCE_LINK_LAYER,
        TARGET_LINK_LAYER,
        MTU,
        PREFIX_INFORMATION,
    ] {
        let mut bytes = [0; 16];
        [bytes[0], bytes[1]] = [kind, 2];
        let options = Options::parse(&bytes).unwrap();
        let expected = NdOption::Other {
            kind,
            body: &[0; 14],
        };
        assert_eq!(options.iter().collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn messages_that_must_not_be() {
    // RFC 4861 §7.1.1: code 0, 24 bytes or more, a target that is not multicast.
    let mut bytes = SOLICITATION;
    bytes[1] = 1;
    assert_eq!(parse(&bytes), Err(Malformed::Unsupported));
    let mut bytes = SOLICITATION;
    bytes[8] = 0xff;
    assert_eq!(parse(&bytes), Err(Malformed::Unsupported));
    for len in 4..24 {
        assert_eq!(parse(&SOLICITATION[..len]), Err(Malformed::Truncated));
    }
    for len in 4..16 {
        assert_eq!(parse(&ROUTER[..len]), Err(Malformed::Truncated));
    }
    assert_eq!(parse(&[137, 0, 0, 0]), Err(Malformed::Unsupported));
}
