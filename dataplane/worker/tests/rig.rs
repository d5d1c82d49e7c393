//! The rig's source: its frames are right, meet every destination, and their mbufs come back.

mod common;

use std::collections::HashSet;
use std::net::Ipv4Addr;

use common::{eal, unique};
use rte::{Burst, Pool};
use weir_wire::Mac;
use weir_wire::ipv4::Ipv4;
use weir_wire::udp::Udp;
use weir_worker::device::{Rx, Tx};
use weir_worker::rig::{Frames, Source, Vm};

fn frames(mappings: u32, frame: u16) -> Frames {
    Frames {
        mappings,
        frame,
        from: Vm {
            mac: Mac::new([2, 0, 0, 0, 0, 1]),
            ca: Ipv4Addr::new(10, 0, 0, 2),
        },
        to: Vm {
            mac: Mac::new([2, 1, 0, 0, 0xff, 0xf0]),
            ca: Ipv4Addr::new(10, 0, 255, 250),
        },
    }
}

fn pool(mbufs: u32) -> Pool {
    Pool::create(eal(), &unique("rig"), mbufs, 0, 2176, 0, None).expect("a pool")
}

/// Frames of so many bursts, each read twice: what the last owner left in an mbuf must not show.
fn taken(rx: &mut Rx, bursts: usize) -> Vec<Vec<u8>> {
    let (mut burst, mut all) = (Burst::new(), Vec::new());
    for _ in 0..bursts {
        assert_eq!(rx.rx(&mut burst), Burst::CAPACITY);
        for mut mbuf in burst.drain() {
            all.push(common::bytes(&mbuf));
            mbuf.head_mut().fill(0xee);
        }
    }
    all
}

#[test]
fn each_frame_is_udp_to_its_destination_and_all_are_met() {
    for frame in [64, 65, 128, 132, 1518] {
        let pool = pool(63);
        let mut rx = Rx::Rig(Source::new(frames(96, frame), pool));
        let mut met = HashSet::new();
        for bytes in taken(&mut rx, 3) {
            assert_eq!(bytes.len(), usize::from(frame) - 4);
            let (to, rest) = bytes.split_first_chunk::<6>().unwrap();
            let number = (Mac::new(*to).to_u64() - frames(96, 64).to.mac.to_u64()) as u32;
            assert!(number < 96 && met.insert(number), "{number}");
            assert_eq!(rest[..8], [2, 0, 0, 0, 0, 1, 8, 0]);
            let ip = Ipv4::parse(&bytes[14..]).unwrap();
            assert!(ip.checksum_is_right());
            assert_eq!(ip.source(), Ipv4Addr::new(10, 0, 0, 2));
            assert_eq!(u32::from(ip.destination()), 0x0a00_fffa + number);
            let udp = Udp::parse(ip.payload()).unwrap();
            assert!(udp.payload().iter().all(|byte| *byte == 0));
            assert_eq!(udp.payload().len(), bytes.len() - 42);
        }
        assert_eq!(met.len(), 96, "{frame}");
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn a_pool_that_is_short_gives_nothing_and_loses_nothing() {
    let pool = pool(63);
    let mut rx = Rx::Rig(Source::new(frames(10, 64), pool));
    let (mut first, mut second) = (Burst::new(), Burst::new());
    assert_eq!((rx.rx(&mut first), rx.rx(&mut second)), (32, 0));
    assert_eq!((second.len(), pool.in_use()), (0, 32));
    first.clear();
    assert_eq!(rx.rx(&mut second), 32);

    let small = Pool::create(eal(), &unique("rig"), 63, 0, 128 + 64, 0, None).expect("a pool");
    let mut rx = Rx::Rig(Source::new(frames(10, 128), small));
    assert_eq!((rx.rx(&mut first), small.in_use()), (0, 0));
}

#[test]
fn what_is_sent_to_it_is_taken_and_given_back() {
    let pool = pool(63);
    let mut rx = Rx::Rig(Source::new(frames(10, 64), pool));
    let mut burst = Burst::new();
    rx.rx(&mut burst);
    assert_eq!(Tx::Rig.tx(&mut burst), 32);
    assert_eq!((burst.len(), pool.in_use()), (0, 0));
}
