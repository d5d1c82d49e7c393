//! Filter expressions: DPDK's translation against libpcap's own interpreter, on frames in one piece and in several.

#![allow(unsafe_code)]

mod common;

use std::ffi::CString;

use common::{chain, eal, packet, pool};
use proptest::collection::vec;
use proptest::prelude::*;
use rte::{Filter, FilterError, Pool};
use std::sync::OnceLock;

/// What libpcap says: the oracle.
fn oracle(expression: &str, frame: &[u8]) -> bool {
    let text = CString::new(expression).unwrap();
    // SAFETY: a dead handle, compiled and freed here; the header says the frame's length.
    unsafe {
        let dead = dpdk_sys::pcap_open_dead(1, 262_144);
        let mut program = std::mem::zeroed();
        assert_eq!(
            dpdk_sys::pcap_compile(dead, &mut program, text.as_ptr(), 1, u32::MAX),
            0
        );
        let mut header: dpdk_sys::pcap_pkthdr = std::mem::zeroed();
        header.len = frame.len() as u32;
        header.caplen = frame.len() as u32;
        let takes = dpdk_sys::pcap_offline_filter(&program, &header, frame.as_ptr()) != 0;
        dpdk_sys::pcap_freecode(&mut program);
        dpdk_sys::pcap_close(dead);
        takes
    }
}

const EXPRESSIONS: &[&str] = &[
    "",
    "ip",
    "arp",
    "ip6",
    "icmp",
    "icmp6",
    "tcp",
    "udp port 53",
    "tcp dst port 80",
    "tcp portrange 80-443",
    "host 10.1.0.12",
    "src net 10.1.0.0/24",
    "icmp and host 10.1.0.12",
    "not (tcp or udp)",
    "ether src 02:00:00:00:01:01",
    "ether broadcast",
    "ether multicast",
    "vlan 100 and ip",
    "greater 100",
    "less 64",
    "ip[8] < 5",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "ip[6:2] & 0x1fff != 0",
    "ip6 host 2001:db8::1",
    "proto gre",
    "ip proto 47 and ether[42:4] >> 8 = 5001",
    "len % 3 = 1",
    "tcp[13] = 2",
    "udp[4:2] > 100",
];

/// A frame that many of the expressions have an opinion about.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop_oneof![
        Just(vec![8, 0]),
        Just(vec![8, 6]),
        Just(vec![0x86, 0xdd]),
        Just(vec![0x81, 0, 0, 100, 8, 0]),
        vec(any::<u8>(), 2)
    ];
    let mac = prop_oneof![
        Just(vec![2, 0, 0, 0, 1, 1]),
        Just(vec![0xff; 6]),
        vec(any::<u8>(), 6)
    ];
    let l4 = prop_oneof![
        Just(1_u8),
        Just(6),
        Just(17),
        Just(47),
        Just(58),
        any::<u8>()
    ];
    let address = prop_oneof![Just([10, 1, 0, 12]), any::<[u8; 4]>()];
    let port = prop_oneof![Just(53_u16), Just(80), Just(443), any::<u16>()];
    let parts = (
        mac.clone(),
        mac,
        ethertype,
        l4,
        address.clone(),
        address,
        port,
        vec(any::<u8>(), 0..200),
    );
    parts.prop_map(|(dst, src, ethertype, l4, from, to, port, rest)| {
        let mut bytes = [dst, src, ethertype].concat();
        let v6 = bytes.ends_with(&[0x86, 0xdd]);
        if v6 {
            bytes.extend([0x60, 0, 0, 0, 0, 40, l4, 64, 0x20, 1, 0xd, 0xb8]);
            bytes.extend([0; 11]);
            bytes.push(1);
            bytes.extend([9; 16]);
        } else {
            bytes.extend([0x45, 0, 0, 60, 0, 0, 0, 0, rest.len() as u8 % 10, l4, 0, 0]);
            bytes.extend(from);
            bytes.extend(to);
        }
        bytes.extend(port.to_be_bytes());
        bytes.extend(port.to_be_bytes());
        bytes.extend(rest);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dpdk_says_what_libpcap_says(frame in frame(), cut in 0_usize..120) {
        static POOL: OnceLock<Pool> = OnceLock::new();
        let pool = POOL.get_or_init(|| pool(15));
        let (first, second) = frame.split_at(cut.min(frame.len()));
        for expression in EXPRESSIONS {
            let filter = Filter::compile(eal(), expression).unwrap();
            let wanted = oracle(expression, &frame);
            prop_assert_eq!(filter.takes(&packet(pool, &frame)), wanted, "{}", expression);
            let chain = chain(pool, &[first, second]);
            prop_assert_eq!(filter.takes(&chain), wanted, "{} cut at {}", expression, cut);
        }
    }
}

#[test]
fn what_is_no_expression_is_refused_in_libpcaps_words() {
    for (text, word) in [
        ("icmp adn host 1.2.3.4", "syntax"),
        ("host", "error"),
        ("tcp port 99999", "port"),
        ("ip\0", "NUL"),
    ] {
        match Filter::compile(eal(), text) {
            Err(FilterError::Expression(said)) => assert!(said.contains(word), "{text}: {said}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn it_runs_as_machine_code_where_that_is_right() {
    let native = |text| Filter::compile(eal(), text).unwrap().is_native();
    assert_eq!(native("arp or ip6"), cfg!(target_arch = "x86_64"));
    assert!(!native("ether multicast"));
    assert!(!native("udp[0] = 1"));
}
