//! Mbufs against plain vectors of bytes.

mod common;

use common::{bytes, chain, packet, pool};
use proptest::prelude::*;
use rte::{
    Burst, Gso, GsoKind, HEADROOM, IpVersion, L4Checksum, L4Kind, Mbuf, OuterRequest, Supply,
    Tunnel, TxRequest,
};

#[test]
fn a_fresh_mbuf_is_empty_with_headroom() {
    let pool = pool(7);
    let mbuf = pool.alloc().expect("an mbuf");
    assert_eq!((mbuf.len(), mbuf.segments(), mbuf.is_empty()), (0, 1, true));
    assert_eq!(mbuf.headroom(), usize::from(HEADROOM));
    assert_eq!(mbuf.tailroom(), 2048);
    assert_eq!(mbuf.private().len(), 16);
    assert_eq!(mbuf.port(), u16::MAX);
    assert_eq!(mbuf.l4_checksum(), L4Checksum::Unknown);
    assert_eq!((mbuf.gso(), mbuf.vlan(), mbuf.hash()), (None, None, None));
    rte::prefetch_mbuf(&mbuf);
    rte::prefetch_head(&mbuf);
    rte::prefetch_headroom_for_write(&mbuf);
}

#[test]
fn an_exhausted_pool_gives_none_and_everything_comes_back() {
    let pool = pool(31);
    assert_eq!((pool.size(), pool.available(), pool.in_use()), (31, 31, 0));
    let mut all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 31);
    assert_eq!((pool.available(), pool.in_use()), (0, 31));
    assert!(pool.alloc().is_none());
    let mut burst = Burst::new();
    assert!(!pool.alloc_bulk(&mut burst, 1));
    all.truncate(11);
    assert_eq!(pool.in_use(), 11);
    assert!(pool.alloc_bulk(&mut burst, 20));
    assert_eq!((burst.len(), pool.available()), (20, 0));
    assert!(!pool.alloc_bulk(&mut burst, 13), "33 do not fit a burst");
    drop((all, burst));
    assert_eq!((pool.available(), pool.in_use()), (31, 0));
}

#[test]
fn freeing_in_another_thread_brings_them_back_too() {
    let pool = pool(15);
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    std::thread::spawn(move || drop(all))
        .join()
        .expect("a thread");
    assert_eq!(pool.available(), 15);
}

#[test]
fn prepend_append_and_trim_respect_the_buffer() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, b"payload");
    mbuf.prepend(6)
        .expect("headroom")
        .copy_from_slice(b"header");
    assert_eq!(mbuf.head(), b"headerpayload");
    assert_eq!(mbuf.headroom(), 122);
    assert!(mbuf.prepend(123).is_none());
    assert!(mbuf.prepend(usize::MAX).is_none());
    assert_eq!(mbuf.prepend(122).map(|new| new.len()), Some(122));
    assert_eq!((mbuf.headroom(), mbuf.len()), (0, 135));
    assert!(!mbuf.trim_front(136));
    assert!(!mbuf.trim_front(usize::MAX));
    assert!(mbuf.trim_front(128));
    assert_eq!(mbuf.head(), b"payload");
    assert!(mbuf.append(2042).is_none());
    assert!(mbuf.append(usize::MAX).is_none());
    assert_eq!(mbuf.append(2041).map(|new| new.len()), Some(2041));
    assert_eq!((mbuf.tailroom(), mbuf.len()), (0, 2048));
    mbuf.head_mut()[0] = b'P';
    mbuf.truncate(3);
    assert_eq!(mbuf.head(), b"Pay");
    mbuf.truncate(0);
    assert!(mbuf.is_empty() && mbuf.trim_front(0) && !mbuf.trim_front(1));
}

/// What is known beforehand how long it is goes the same way without being told at run time.
#[test]
fn prepend_array_is_prepend() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, b"payload");
    *mbuf.prepend_array::<6>().expect("headroom") = *b"header";
    assert_eq!(
        (mbuf.head(), mbuf.len(), mbuf.headroom()),
        (&b"headerpayload"[..], 13, 122)
    );
    assert!(mbuf.prepend_array::<123>().is_none());
    assert_eq!(mbuf.len(), 13, "no change");
    assert!(mbuf.prepend_array::<122>().is_some());
    assert!(mbuf.prepend_array::<1>().is_none());
    assert_eq!((mbuf.headroom(), mbuf.len()), (0, 135));
    assert!(mbuf.head().ends_with(b"headerpayload"));
}

#[test]
fn fill_writes_whole_lines_and_shows_what_was_meant() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, b"before");
    let line = |first: u8| std::array::from_fn::<u8, 64, _>(|at| first + at as u8);
    let lines = [line(0), line(64)];
    assert_eq!(mbuf.fill(&lines[..1], 60).map(|it| it.len()), Some(60));
    assert_eq!((mbuf.len(), mbuf.head()), (60, &lines[0][..60]));
    assert_eq!(mbuf.fill(&lines, 100).map(|it| it[99]), Some(99));
    assert_eq!((mbuf.len(), mbuf.headroom()), (100, usize::from(HEADROOM)));
    // More than is given, more than there is room for, or more than one segment: no change.
    assert!(mbuf.fill(&lines, 129).is_none());
    assert!(mbuf.fill(&[line(9); 33], 60).is_none());
    assert_eq!((mbuf.len(), mbuf.head()[0]), (100, 0));
    let mut chained = chain(&pool, &[b"ab", b"cd"]);
    assert!(chained.fill(&lines, 60).is_none());
    assert_eq!(chained.len(), 4);
}

#[test]
fn a_full_burst_is_taken_whole_and_only_an_empty_one_is_filled() {
    let pool = pool(63);
    let mut burst = Burst::new();
    assert!(burst.take_full().is_none());
    assert!(pool.alloc_bulk(&mut burst, Burst::CAPACITY - 1));
    assert!(burst.take_full().is_none());
    assert_eq!(burst.len(), Burst::CAPACITY - 1);
    assert!(pool.alloc_bulk(&mut burst, 1));
    for (number, mbuf) in burst.as_mut_slice().iter_mut().enumerate() {
        mbuf.append(1).expect("room")[0] = number as u8;
    }
    let mbufs = burst.take_full().expect("it is full");
    assert_eq!((burst.len(), pool.in_use()), (0, 32), "and they are ours");
    assert!(pool.alloc_bulk(&mut burst, 1));
    let mbufs = burst.fill(mbufs).expect_err("there is another");
    assert_eq!((burst.len(), pool.in_use()), (1, 33));
    burst.clear();
    assert!(burst.fill(mbufs).is_ok() && burst.is_full());
    let order: Vec<u8> = burst.as_slice().iter().map(|mbuf| mbuf.head()[0]).collect();
    assert_eq!(order, (0..32).collect::<Vec<u8>>());
    drop(burst);
    assert_eq!(pool.in_use(), 0, "each is freed once");
}

#[test]
fn a_supply_gives_what_is_empty_whatever_the_last_owner_left() {
    let pool = pool(127);
    let mut used: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    for mbuf in &mut used {
        mbuf.append(100).expect("room").fill(7);
        assert!(mbuf.trim_front(30));
        mbuf.set_vlan(Some(5));
        mbuf.set_l4_checksum(L4Checksum::Bad);
        mbuf.set_gso(Some(Gso {
            segment_size: 1000,
            kind: GsoKind::Tcp4,
        }));
    }
    drop(used);
    let mut supply = Supply::new(pool);
    assert_eq!(pool.in_use(), 0, "none before one is wanted");
    let mut bursts = Vec::new();
    for given in 1..=3 {
        let mut burst = Burst::new();
        assert!(supply.fill(&mut burst, 2));
        assert!(!supply.fill(&mut burst, 2), "not an empty burst");
        for mbuf in burst.as_mut_slice() {
            assert_eq!((mbuf.len(), mbuf.segments()), (0, 1));
            assert_eq!(mbuf.headroom(), usize::from(HEADROOM));
            assert_eq!(mbuf.port(), u16::MAX);
            assert_eq!(mbuf.l4_checksum(), L4Checksum::Unknown);
            assert_eq!((mbuf.gso(), mbuf.vlan()), (None, None));
            mbuf.append(given).expect("room").fill(given as u8);
        }
        bursts.push(burst);
    }
    // 31 are left: no burst. What was given is nobody else's.
    let mut burst = Burst::new();
    assert!(!supply.fill(&mut burst, 2));
    for (given, burst) in (1..).zip(&bursts) {
        let is_own = |mbuf: &Mbuf| mbuf.head() == vec![given as u8; given];
        assert!(burst.as_slice().iter().all(is_own));
    }
    bursts.clear();
    assert!(supply.fill(&mut burst, 2));
    drop((burst, supply));
    assert_eq!((pool.available(), pool.in_use()), (127, 0));
}

#[test]
fn a_burst_of_any_packets_goes_back_to_their_pools() {
    let pools = [pool(127), pool(63)];
    for _ in 0..3 {
        let mut burst = Burst::new();
        for n in 0..Burst::CAPACITY {
            // A plain one of the second behind a plain one of the first, and never the other way round.
            let pool = &pools[usize::from(n % 3 == 2)];
            let mbuf = match n % 3 {
                0 => chain(pool, &[&b"abcdefgh"[..], &b"xyz"[..]]),
                _ => packet(pool, b"abc"),
            };
            burst.push(mbuf).expect("room");
        }
        burst.clear();
        assert_eq!(pools.map(|pool| pool.in_use()), [0, 0]);
    }
    // Whoever takes them finds nothing behind them.
    let all: Vec<Mbuf> = std::iter::from_fn(|| pools[0].alloc()).collect();
    assert!(all.iter().all(|mbuf| mbuf.segments_iter().count() == 1));
    assert_eq!(all.len(), 127);
}

#[test]
fn a_prepended_chain_keeps_its_tail() {
    let pool = pool(7);
    let mut mbuf = chain(&pool, &[b"one", b"two", b"three"]);
    assert_eq!((mbuf.len(), mbuf.segments()), (11, 3));
    mbuf.prepend(2).expect("headroom").copy_from_slice(b"<<");
    mbuf.append(2).expect("tailroom").copy_from_slice(b">>");
    assert_eq!(bytes(&mbuf), b"<<onetwothree>>");
    assert!(!mbuf.trim_front(6), "the first segment has 5 bytes");
    assert!(mbuf.trim_front(5));
    assert_eq!((bytes(&mbuf), mbuf.segments()), (b"twothree>>".to_vec(), 3));
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn pull_up_frees_what_it_empties_and_takes_from_the_headroom_last() {
    let pool = pool(15);
    let mut mbuf = chain(&pool, &[b"ab", b"", b"cd", b"ef"]);
    assert!(mbuf.pull_up(0) && mbuf.pull_up(2));
    assert_eq!(mbuf.segments(), 4);
    assert!(!mbuf.pull_up(7), "longer than the packet");
    assert!(mbuf.pull_up(4));
    assert_eq!((mbuf.head(), mbuf.segments()), (&b"abcd"[..], 2));
    assert_eq!((mbuf.headroom(), pool.in_use()), (128, 2));
    assert!(mbuf.pull_up(5));
    assert_eq!(
        (mbuf.head(), mbuf.segments(), mbuf.len()),
        (&b"abcde"[..], 2, 6)
    );
    drop(mbuf);

    let full = vec![1; 2048];
    let more = vec![2; 200];
    let mut mbuf = chain(&pool, &[&full, &more]);
    assert!(!mbuf.pull_up(2177), "larger than the buffer");
    assert_eq!((mbuf.headroom(), mbuf.segments()), (128, 2));
    assert!(mbuf.pull_up(2148));
    assert_eq!((mbuf.headroom(), mbuf.tailroom()), (28, 1848));
    assert_eq!(bytes(&mbuf), [full, more].concat());
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_copy_has_everything_but_the_owner() {
    let pool = pool(15);
    let mut mbuf = chain(&pool, &[b"first", b"second"]);
    mbuf.prepend(10).expect("headroom").fill(9);
    mbuf.set_l4_checksum(L4Checksum::Partial);
    let gso = Some(Gso {
        segment_size: 1400,
        kind: GsoKind::Tcp6,
    });
    mbuf.set_gso(gso);
    mbuf.set_vlan(Some(100));
    mbuf.set_hash(Some(0xdead_beef));
    mbuf.set_port(7);
    mbuf.private_mut().fill(0x5a);
    let copy = mbuf.copy(&pool).expect("a copy");
    let expected = bytes(&mbuf);
    mbuf.head_mut().fill(0);
    drop(mbuf);
    assert_eq!(bytes(&copy), expected);
    assert_eq!(
        (copy.headroom(), copy.segments(), pool.in_use()),
        (118, 1, 1)
    );
    assert_eq!(copy.l4_checksum(), L4Checksum::Partial);
    assert_eq!((copy.gso(), copy.vlan()), (gso, Some(100)));
    assert_eq!((copy.hash(), copy.port()), (Some(0xdead_beef), 7));
    assert_eq!(copy.private(), [0x5a; 16]);
}

#[test]
fn a_copy_that_does_not_fit_the_pool_is_none_and_leaves_nothing() {
    let from = pool(15);
    let to = pool(2);
    let segment: &[u8] = &[7; 2048];
    let mbuf = chain(&from, &[segment; 4]);
    assert_eq!(mbuf.len(), 8192);
    assert!(mbuf.copy(&to).is_none());
    assert_eq!((to.in_use(), from.in_use()), (0, 4));
    // The copy's tail has no headroom: 2048 + 2176 + 2176 + 1792.
    let copy = mbuf.copy(&from).expect("a copy");
    assert_eq!((copy.segments(), bytes(&copy)), (4, bytes(&mbuf)));
}

#[test]
fn metadata_is_kept_apart() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, b"x");
    for state in [
        L4Checksum::Good,
        L4Checksum::Bad,
        L4Checksum::Partial,
        L4Checksum::Unknown,
    ] {
        mbuf.set_l4_checksum(state);
        mbuf.set_vlan(Some(0x2064));
        assert_eq!((mbuf.l4_checksum(), mbuf.vlan()), (state, Some(0x2064)));
    }
    for kind in [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp4, GsoKind::Udp6] {
        let gso = Some(Gso {
            segment_size: 65_535,
            kind,
        });
        mbuf.set_gso(gso);
        assert_eq!(mbuf.gso(), gso);
        // Asking for transmit offloads, and no longer asking, does not forget how it came.
        mbuf.request_tx(TxRequest {
            l2_len: 14,
            l3_len: 20,
            l4_len: 20,
            l4_checksum: Some(L4Kind::Tcp),
            ..TxRequest::default()
        });
        assert_eq!(mbuf.gso(), gso);
        mbuf.clear_tx();
        assert_eq!(mbuf.gso(), gso);
    }
    mbuf.set_gso(None);
    mbuf.set_vlan(None);
    assert_eq!((mbuf.gso(), mbuf.vlan(), mbuf.hash()), (None, None, None));
    mbuf.set_hash(Some(0));
    assert_eq!(mbuf.hash(), Some(0));
    mbuf.set_hash(None);
    assert_eq!(mbuf.hash(), None);
}

/// What the driver sees: bits and lengths as `rte_mbuf_core.h` has them, read through DPDK's own structs.
#[test]
#[allow(unsafe_code)]
fn requests_reach_the_driver() {
    let pool = pool(7);
    let mut mbuf = packet(&pool, b"x");
    mbuf.set_l4_checksum(L4Checksum::Good);
    let request = TxRequest {
        l2_len: 22,
        l3_len: 40,
        l4_len: 32,
        ip_version: IpVersion::V6,
        l4_checksum: Some(L4Kind::Tcp),
        tso: Some(1360),
        vlan: Some(42),
        outer: Some(OuterRequest {
            l2_len: 14,
            l3_len: 20,
            ip_version: IpVersion::V4,
            ipv4_checksum: true,
            tunnel: Tunnel::Gre,
        }),
        ..TxRequest::default()
    };
    mbuf.request_tx(request);
    assert_eq!(mbuf.requested_tx(), request);
    let raw = mbuf.into_raw();
    // SAFETY: the mbuf is this test's alone; the unions are numbers.
    let (flags, offload, tci) = unsafe {
        let raw = raw.as_ref();
        (
            raw.ol_flags,
            raw.__bindgen_anon_3.__bindgen_anon_1,
            raw.vlan_tci,
        )
    };
    assert_eq!(
        (offload.l2_len(), offload.l3_len(), offload.l4_len()),
        (22, 40, 32)
    );
    assert_eq!((offload.outer_l2_len(), offload.outer_l3_len()), (14, 20));
    assert_eq!((offload.tso_segsz(), tci), (1360, 42));
    assert_eq!(
        flags,
        dpdk_sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD
            | dpdk_sys::RTE_MBUF_F_TX_TCP_SEG
            | dpdk_sys::RTE_MBUF_F_TX_TCP_CKSUM
            | dpdk_sys::RTE_MBUF_F_TX_IPV6
            | dpdk_sys::RTE_MBUF_F_TX_VLAN
            | dpdk_sys::RTE_MBUF_F_TX_OUTER_IPV4
            | dpdk_sys::RTE_MBUF_F_TX_OUTER_IP_CKSUM
            | dpdk_sys::RTE_MBUF_F_TX_TUNNEL_GRE
    );
    // SAFETY: from `into_raw` above, and not used since.
    let mut mbuf = unsafe { Mbuf::from_raw(raw) };
    mbuf.clear_tx();
    assert_eq!(mbuf.requested_tx(), TxRequest::default());
    let raw = mbuf.into_raw();
    // SAFETY: as above.
    let (flags, word) = unsafe {
        (
            raw.as_ref().ol_flags,
            raw.as_ref().__bindgen_anon_3.tx_offload,
        )
    };
    assert_eq!((flags, word), (dpdk_sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD, 0));
    // SAFETY: as above.
    drop(unsafe { Mbuf::from_raw(raw) });
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_burst_keeps_order_and_owns_what_is_in_it() {
    let pool = pool(63);
    let mut burst = Burst::new();
    for n in 0..32 {
        assert!(burst.push(packet(&pool, &[n])).is_ok());
    }
    assert!(burst.is_full());
    let extra = burst.push(packet(&pool, &[99])).expect_err("full");
    assert_eq!(extra.head(), [99]);
    drop(extra);
    assert_eq!(burst.pop().map(|mbuf| mbuf.head()[0]), Some(31));
    burst.as_mut_slice().swap(0, 1);
    assert_eq!(burst.as_slice()[0].head(), [1]);
    let mut drain = burst.drain();
    assert_eq!(drain.len(), 31);
    let first: Vec<u8> = drain.by_ref().take(3).map(|mbuf| mbuf.head()[0]).collect();
    assert_eq!(first, [1, 0, 2]);
    assert_eq!(pool.in_use(), 28);
    drop(drain);
    assert!(burst.is_empty() && burst.pop().is_none());
    assert_eq!(pool.in_use(), 0);
    assert!(burst.push(packet(&pool, &[5])).is_ok());
    burst.clear();
    assert_eq!((burst.len(), pool.in_use()), (0, 0));
    assert!(burst.push(packet(&pool, &[5])).is_ok());
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Prepend(Vec<u8>),
    Append(Vec<u8>),
    Trim(usize),
    Truncate(usize),
    PullUp(usize),
    Chain(Vec<u8>),
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    let some = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        some().prop_map(Step::Prepend),
        some().prop_map(Step::Append),
        (0..400_usize).prop_map(Step::Trim),
        (0..4000_usize).prop_map(Step::Truncate),
        (0..3000_usize).prop_map(Step::PullUp),
        proptest::collection::vec(any::<u8>(), 0..2048).prop_map(Step::Chain),
        Just(Step::Copy),
    ]
}

proptest! {
    /// Whatever is done to a chain, it has the bytes that a vector has, its counts are right, and its segments come back.
    #[test]
    fn a_chain_is_a_vector(steps in proptest::collection::vec(step(), 1..40)) {
        let pool = *SHARED.get_or_init(|| pool(255));
        let mut model: Vec<u8> = Vec::new();
        let mut mbuf = pool.alloc().expect("an mbuf");
        for step in steps {
            match step {
                Step::Prepend(new) => {
                    let fits = new.len() <= mbuf.headroom();
                    let place = mbuf.prepend(new.len());
                    prop_assert_eq!(place.is_some(), fits);
                    if let Some(place) = place {
                        place.copy_from_slice(&new);
                        model.splice(0..0, new);
                    }
                }
                Step::Append(new) => {
                    let fits = new.len() <= mbuf.tailroom();
                    let place = mbuf.append(new.len());
                    prop_assert_eq!(place.is_some(), fits);
                    if let Some(place) = place {
                        place.copy_from_slice(&new);
                        model.extend(new);
                    }
                }
                Step::Trim(n) => {
                    let fits = n <= mbuf.head().len();
                    prop_assert_eq!(mbuf.trim_front(n), fits);
                    if fits {
                        model.drain(..n);
                    }
                }
                Step::Truncate(n) => {
                    mbuf.truncate(n);
                    model.truncate(n);
                }
                Step::PullUp(n) => {
                    let fits = n <= model.len() && n <= 2176;
                    prop_assert_eq!(mbuf.pull_up(n), fits);
                    if fits {
                        prop_assert_eq!(&mbuf.head()[..n], &model[..n]);
                    }
                }
                Step::Chain(more) => {
                    prop_assert!(mbuf.chain(packet(&pool, &more)).is_ok());
                    model.extend(more);
                }
                Step::Copy => mbuf = mbuf.copy(&pool).expect("a copy"),
            }
            prop_assert_eq!(bytes(&mbuf), &model[..]);
            prop_assert_eq!(mbuf.len(), model.len());
            prop_assert_eq!(mbuf.segments(), mbuf.segments_iter().count());
            prop_assert_eq!(pool.in_use() as usize, mbuf.segments());
        }
        drop(mbuf);
        prop_assert_eq!(pool.in_use(), 0);
    }
}

static SHARED: std::sync::OnceLock<rte::Pool> = std::sync::OnceLock::new();
