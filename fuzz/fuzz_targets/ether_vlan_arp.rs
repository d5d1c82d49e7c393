//! Ethernet, tags, ARP: what is read is written back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_wire::arp::{self, Arp};
use weir_wire::ether::{self, Ether};
use weir_wire::vlan::{self, Tci, Vlan};
use weir_wire::{EtherType, flow};

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = Ether::parse(bytes) else {
        assert!(bytes.len() < ether::HEADER);
        return;
    };
    let header = frame.header();
    assert_eq!(header.octets(), bytes[..ether::HEADER]);
    assert_eq!(frame.payload(), &bytes[ether::HEADER..]);
    flow::ethernet(frame.dst(), frame.src(), frame.ethertype());

    let (mut ethertype, mut payload) = (frame.ethertype(), frame.payload());
    while let EtherType::VLAN | EtherType::QINQ = ethertype {
        let Ok(tagged) = Vlan::parse(payload) else {
            assert!(payload.len() < vlan::TAG);
            return;
        };
        assert_eq!(tagged.tag().octets(), payload[..vlan::TAG]);
        let tci = tagged.tci();
        if let Some(vlan) = tci.vlan() {
            assert_eq!(Tci::new(tci.pcp(), tci.dei(), vlan), tci);
        }
        (ethertype, payload) = (tagged.ethertype(), tagged.payload());
    }
    read_arp(payload);
    // Six bytes at once are seldom found by chance.
    let mut stamped = payload.to_vec();
    if let Some(kind) = stamped.first_chunk_mut() {
        *kind = [0, 1, 0x08, 0, 6, 4];
        assert_eq!(read_arp(&stamped), stamped.len() >= arp::LEN);
    }
});

/// Whether it is one.
fn read_arp(payload: &[u8]) -> bool {
    let Ok(arp) = Arp::parse(payload) else {
        return false;
    };
    assert_eq!(arp.octets(), payload[..arp::LEN]);
    true
}
