//! Rings of mbufs.

mod common;

use common::{eal, packet, pool, unique};
use rte::{Burst, Ring, RingError};

#[test]
fn a_ring_holds_what_it_was_made_for_and_frees_what_is_left() {
    let pool = pool(255);
    let (mut producer, mut consumer) =
        Ring::create(eal(), &unique("ring"), 50, None).expect("a ring");
    assert_eq!((producer.capacity(), consumer.capacity()), (50, 50));
    let mut burst = Burst::new();
    for n in 0..32 {
        assert!(burst.push(packet(&pool, &[n])).is_ok());
    }
    assert_eq!(producer.enqueue(&mut burst), 32);
    for n in 32..64 {
        assert!(burst.push(packet(&pool, &[n])).is_ok());
    }
    assert_eq!(producer.enqueue(&mut burst), 18);
    assert_eq!((producer.len(), consumer.len(), burst.len()), (50, 50, 14));
    assert_eq!(burst.as_slice()[0].head(), [50]);
    burst.clear();
    assert_eq!(consumer.dequeue(&mut burst), 32);
    let got: Vec<u8> = burst.drain().map(|mbuf| mbuf.head()[0]).collect();
    assert_eq!(got, (0..32).collect::<Vec<u8>>());
    drop(producer);
    assert_eq!(pool.in_use(), 18);
    drop(consumer);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn names_are_checked_and_free_again() {
    let eal = eal();
    assert!(matches!(
        Ring::create(eal, "", 8, None),
        Err(RingError::Name(_))
    ));
    assert!(matches!(
        Ring::create(eal, &"n".repeat(29), 8, None),
        Err(RingError::Name(_))
    ));
    let longest = "n".repeat(28);
    for _ in 0..3 {
        let ring = Ring::create(eal, &longest, 8, None).expect("a ring");
        match Ring::create(eal, &longest, 8, None) {
            Err(RingError::Dpdk { cause, .. }) => assert_eq!(cause.errno, 17, "{cause}"),
            other => panic!("{other:?}"),
        }
        drop(ring);
    }
}

#[test]
fn two_threads_pass_everything_in_order() {
    const COUNT: u32 = 200_000;
    let pool = pool(511);
    let (mut producer, mut consumer) =
        Ring::create(eal(), &unique("ring"), 128, None).expect("a ring");
    let sender = std::thread::spawn(move || {
        let mut burst = Burst::new();
        let mut next = 0;
        while next < COUNT || !burst.is_empty() {
            while next < COUNT && !burst.is_full() {
                let Some(mut mbuf) = pool.alloc() else { break };
                mbuf.append(4)
                    .expect("room")
                    .copy_from_slice(&next.to_be_bytes());
                assert!(burst.push(mbuf).is_ok());
                next += 1;
            }
            if producer.enqueue(&mut burst) == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut expected = 0_u32;
    let mut burst = Burst::new();
    while expected < COUNT {
        if consumer.dequeue(&mut burst) == 0 {
            std::thread::yield_now();
        }
        for mbuf in burst.drain() {
            assert_eq!(mbuf.head(), expected.to_be_bytes());
            expected += 1;
        }
    }
    sender.join().expect("a thread");
    assert!(consumer.is_empty());
    assert_eq!(pool.in_use(), 0);
}
