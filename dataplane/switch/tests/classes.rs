//! Which traffic class a frame is of: built-in filters frame by frame, then arbitrary rules and frames against a walk that asks one
//! rule after another in the plainest way.

use proptest::collection::vec;
use proptest::prelude::*;
use weir_switch::classes;
use weir_switch::frame::Frame;
use weir_switch::testing::Herd;
use weir_switch::testing::classes::slow;
use weir_tables::bandwidth::ClassId;
use weir_tables::filters::{Filters, Net, Rule};
use weir_tables::ids::VnicId;

fn tcp_port(class: u8, port: u16) -> Rule {
    Rule {
        class: ClassId(class),
        protocols: [6].into(),
        port: Some(port),
        ..Rule::default()
    }
}

/// A frame of an EtherType, tagged or not.
fn ether(tag: Option<u16>, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if let Some(tci) = tag {
        bytes.extend([0x81, 0]);
        bytes.extend(tci.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn ipv4(protocol: u8, tos: u8, fragment: u16, options: usize, ports: (u16, u16)) -> Vec<u8> {
    let mut bytes = vec![0; 20 + options * 4];
    bytes[0] = 0x45 + options as u8;
    bytes[1] = tos;
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes[9] = protocol;
    bytes[12..20].copy_from_slice(&[10, 1, 0, 11, 10, 2, 0, 12]);
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}

/// IPv6 with these extension headers, each by its number; of a fragment header the offset.
fn ipv6(extensions: &[(u8, u16)], protocol: u8, tos: u8, ports: (u16, u16)) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60 | tos >> 4;
    bytes[1] = tos << 4;
    bytes[8] = 0xfd;
    bytes[24] = 0xfd;
    let mut next_at = 6;
    for &(number, offset) in extensions {
        bytes[next_at] = number;
        next_at = bytes.len();
        let [o0, o1] = (offset << 3).to_be_bytes();
        bytes.extend([0, 0, o0, o1, 0, 0, 0, 0]);
    }
    bytes[next_at] = protocol;
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend([0; 16]);
    bytes
}

fn class(filters: &Filters, bytes: &[u8]) -> u8 {
    let herd = Herd::default();
    let mut frame = herd.frame(bytes);
    let class = classes::of(filters, filters.of_vnic(VnicId(0)), &mut frame);
    assert_eq!(frame.bytes(), bytes, "a look changes nothing");
    class.0
}

#[test]
fn each_class_by_port_in_both_directions_over_both_families() {
    let named = [6600, 445, 5445, 3260, 2049];
    let rules: Vec<Rule> = (1..)
        .zip(named)
        .map(|(n, port)| tcp_port(n, port))
        .collect();
    let filters = Filters::of(&rules, ClassId::NONE);
    for (n, port) in (1..).zip(named) {
        for ports in [(port, 50_000), (50_000, port)] {
            let v4 = ipv4(6, 0, 0x4000, 0, ports);
            assert_eq!(class(&filters, &ether(None, 0x0800, &v4)), n);
            assert_eq!(class(&filters, &ether(Some(0x6064), 0x0800, &v4)), n);
            let with_options = ipv4(6, 0, 0, 3, ports);
            assert_eq!(class(&filters, &ether(None, 0x0800, &with_options)), n);
            let v6 = ipv6(&[], 6, 0, ports);
            assert_eq!(class(&filters, &ether(None, 0x86dd, &v6)), n);
            let v6 = ipv6(&[(0, 0), (60, 0)], 6, 0, ports);
            assert_eq!(class(&filters, &ether(None, 0x86dd, &v6)), n);
            let udp = ipv4(17, 0, 0, 0, ports);
            assert_eq!(class(&filters, &ether(None, 0x0800, &udp)), 0, "not TCP");
        }
        let other = ipv4(6, 0, 0, 0, (port + 1, port - 1));
        assert_eq!(class(&filters, &ether(None, 0x0800, &other)), 0);
    }
}

#[test]
fn fcoe_is_known_by_its_ethertype_behind_a_tag_too() {
    let fcoe = Rule {
        class: ClassId(1),
        ethertype: Some(0x8906),
        ..Rule::default()
    };
    let filters = Filters::of(&[fcoe], ClassId::NONE);
    assert_eq!(class(&filters, &ether(None, 0x8906, &[0; 46])), 1);
    assert_eq!(class(&filters, &ether(Some(0x6000), 0x8906, &[0; 46])), 1);
    assert_eq!(class(&filters, &ether(None, 0x8914, &[0; 46])), 0);
    // Behind a second tag nobody looks.
    let two = ether(Some(0x6000), 0x8100, &[0, 5, 0x89, 0x06, 0, 0]);
    assert_eq!(class(&filters, &two), 0);
}

#[test]
fn a_later_fragment_has_no_ports_and_keeps_the_rest() {
    let by_dscp = Rule {
        class: ClassId(2),
        dscp: Some(46),
        ..Rule::default()
    };
    let filters = Filters::of(&[tcp_port(1, 445), by_dscp], ClassId::NONE);
    let tos = 46 << 2;
    for (fragment, wanted) in [(0x2000, 1), (0x0001, 2), (0x2001, 2)] {
        let v4 = ipv4(6, tos, fragment, 0, (445, 5000));
        let frame = ether(None, 0x0800, &v4);
        assert_eq!(class(&filters, &frame), wanted, "{fragment:04x}");
    }
    for (offset, wanted) in [(0, 1), (1, 2)] {
        let v6 = ipv6(&[(44, offset)], 6, tos, (445, 5000));
        let frame = ether(None, 0x86dd, &v6);
        assert_eq!(class(&filters, &frame), wanted, "offset {offset}");
    }
}

#[test]
fn priorities_are_those_of_the_tag_be_it_stripped_or_not() {
    let by_pcp = Rule {
        class: ClassId(1),
        pcp: Some(0),
        ..Rule::default()
    };
    let filters = Filters::of(&[by_pcp], ClassId::NONE);
    let v4 = ipv4(6, 0, 0, 0, (1, 2));
    assert_eq!(class(&filters, &ether(None, 0x0800, &v4)), 0, "untagged");
    assert_eq!(class(&filters, &ether(Some(0x0005), 0x0800, &v4)), 1);
    assert_eq!(class(&filters, &ether(Some(0x2005), 0x0800, &v4)), 0);
    let herd = Herd::default();
    for (tci, wanted) in [(0x0005, 1), (0xe005, 0)] {
        let mut frame = herd.frame(&ether(None, 0x0800, &v4));
        frame.vlan = Some(tci);
        assert_eq!(classes::of(&filters, 1, &mut frame).0, wanted);
    }
}

#[test]
fn headers_in_pieces_are_read_as_if_they_were_whole() {
    let filters = Filters::of(&[tcp_port(1, 445)], ClassId::NONE);
    let bytes = ether(None, 0x0800, &ipv4(6, 0, 0, 0, (445, 5000)));
    let herd = Herd::default();
    for cut in 1..bytes.len() {
        let mut frame = herd.chain(&[&bytes[..cut], &bytes[cut..]]);
        assert_eq!(classes::of(&filters, 1, &mut frame), ClassId(1), "{cut}");
    }
}

/// Few values, so that rules and frames meet.
fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(445), Just(446), Just(701), Just(2049), any::<u16>()]
}

fn ethertype() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(0x0800), 4 => Just(0x86dd), 1 => Just(0x8906), 1 => Just(0x8100), 1 => Just(0x0806)]
}

fn net() -> impl Strategy<Value = Net> {
    prop_oneof![
        Just(Net::V4(0x0a01_0000, 0xffff_0000)),
        Just(Net::V4(0x0a02_000c, 0xffff_ffff)),
        Just(Net::V6(0xfd << 120, 0xff << 120)),
        Just(Net::V6(1, u128::MAX)),
    ]
}

fn maybe<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::weighted(0.25, of)
}

prop_compose! {
    fn rule()(
        class in 1_u8..8,
        vnics in maybe(vec((0_u32..3).prop_map(VnicId), 0..3)),
        ethertype in maybe(ethertype()),
        pcp in maybe(0_u8..8),
        dscp in maybe(prop_oneof![Just(0_u8), Just(46)]),
        protocols in maybe(vec(prop_oneof![Just(6_u8), Just(17), Just(1), Just(58)], 1..3)),
        port in maybe(port()),
        source_port in maybe(port()),
        destination_port in maybe(port()),
        source in maybe(net()),
        destination in maybe(net()),
    ) -> Rule {
        Rule {
            class: ClassId(class),
            vnics: vnics.map(Into::into),
            ethertype,
            pcp,
            dscp,
            protocols: protocols.unwrap_or_default().into(),
            port,
            source_port,
            destination_port,
            source,
            destination,
        }
    }
}

prop_compose! {
    /// A frame that is IP in most cases, then spoilt in some.
    fn frame()(
        tag in maybe(any::<u16>()),
        ethertype in ethertype(),
        v4 in any::<bool>(),
        protocol in prop_oneof![Just(6_u8), Just(17), Just(1), Just(58), Just(132), any::<u8>()],
        tos in prop_oneof![Just(0_u8), Just(46 << 2), any::<u8>()],
        fragment in prop_oneof![4 => Just(0_u16), 1 => any::<u16>()],
        options in 0_usize..4,
        extensions in vec((prop_oneof![Just(0_u8), Just(43), Just(60), Just(44)], 0_u16..2), 0..3),
        ports in (port(), port()),
        cut in prop_oneof![4 => Just(200_usize), 1 => 0_usize..90],
        spoil in maybe((0_usize..90, any::<u8>())),
    ) -> Vec<u8> {
        let payload = match v4 {
            true => ipv4(protocol, tos, fragment, options, ports),
            false => ipv6(&extensions, protocol, tos, ports),
        };
        let ethertype = match ethertype {
            0x0800 | 0x86dd if v4 => 0x0800,
            0x0800 | 0x86dd => 0x86dd,
            other => other,
        };
        let mut bytes = ether(tag, ethertype, &payload);
        bytes.truncate(cut);
        if let Some((at, value)) = spoil
            && let Some(byte) = bytes.get_mut(at)
        {
            *byte = value;
        }
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_the_tables_say_is_what_one_rule_after_another_says(
        rules in vec(rule(), 0..9),
        from in (0_u32..4).prop_map(VnicId),
        stripped in maybe(any::<u16>()),
        bytes in frame(),
        cut in 1_usize..60,
    ) {
        let filters = Filters::of(&rules, ClassId::NONE);
        let herd = Herd::default();
        let mut one = herd.frame(&bytes);
        let mut chain = match bytes.split_at_checked(cut) {
            Some((first, rest)) => herd.chain(&[first, rest]),
            None => herd.frame(&bytes),
        };
        for frame in [&mut one, &mut chain] {
            if let Some(tci) = stripped {
                frame.vlan = Some(tci);
            }
            let found = classes::of(&filters, filters.of_vnic(from), frame);
            prop_assert_eq!(found, slow(&rules, from, stripped, &bytes));
            prop_assert_eq!(frame.len(), bytes.len());
        }
    }
}
