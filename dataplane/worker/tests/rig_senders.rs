//! The rig's senders offer what they are told, and its sink logs what left.

mod common;

use common::{bytes, eal, unique};
use rte::{Burst, Pool};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use weir_wire::Mac;
use weir_wire::ipv4::Ipv4;
use weir_wire::udp::Udp;
use weir_worker::device::Tx;
use weir_worker::rig::Vm;
use weir_worker::rig::senders::{Control, Offer, Offers, Senders, Source};
use weir_worker::rig::sink::{Event, Log, NOBODY, Sink, Sinks};

/// Cycles a second: one a nanosecond.
const HZ: u64 = 1_000_000_000;
/// When the offers begin, of the TSC.
const EPOCH: u64 = 5_000_000;
const FIRST: Mac = Mac::new([2, 0, 0, 0, 1, 0xf0]);

fn of(senders: u32) -> Senders {
    Senders {
        senders,
        from: Vm {
            mac: FIRST,
            ca: Ipv4Addr::new(10, 0, 0, 250),
        },
        to: Vm {
            mac: Mac::new([2, 1, 0, 0, 0, 0]),
            ca: Ipv4Addr::new(10, 1, 0, 0),
        },
        flood: None,
    }
}

fn source(senders: u32, offers: &[Offer]) -> (Source, Control, Pool) {
    let pool = Pool::create(eal(), &unique("rig"), 255, 0, 2176, 0, None).expect("a pool");
    let (source, mut told) = Source::new(of(senders), pool, HZ);
    offer(&mut told, offers);
    (source, told, pool)
}

fn offer(told: &mut Control, offers: &[Offer]) {
    let offers: Offers = offers.iter().copied().collect();
    assert!(told.offer(offers, EPOCH));
}

/// Frames with a rate of so many a millisecond of all, from the first of so many.
fn paced(first: u32, senders: u32, a_millisecond: u64) -> Offer {
    Offer {
        first,
        senders,
        frame: 64,
        burst: 1,
        interval: (1_000_000 << 8) / a_millisecond,
        on: 0,
        off: 0,
        after: 0,
    }
}

fn number(frame: &[u8]) -> u32 {
    let mac: [u8; 6] = frame[6..12].try_into().unwrap();
    (Mac::new(mac).to_u64() - FIRST.to_u64()) as u32
}

/// Who sent in this time, in order, polled every `step`.
fn sent(source: &mut Source, from: u64, to: u64, step: u64) -> Vec<u32> {
    let (mut burst, mut all) = (Burst::new(), Vec::new());
    let mut now = EPOCH + from;
    while now < EPOCH + to {
        source.rx_at(&mut burst, now);
        all.extend(burst.drain().map(|mbuf| number(&bytes(&mbuf))));
        now += step;
    }
    all
}

fn each(all: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for sender in all {
        *counts.entry(*sender).or_default() += 1;
    }
    counts
}

#[test]
fn each_frame_is_udp_from_its_sender_and_numbered() {
    for frame in [64, 65, 594, 1518] {
        let offer = Offer {
            frame,
            ..paced(3, 20, 1000)
        };
        let (mut source, _told, pool) = source(30, &[offer]);
        let mut burst = Burst::new();
        let mut next = BTreeMap::new();
        for turn in 0..8 {
            // What the last owner left in an mbuf must not show.
            assert!(source.rx_at(&mut burst, EPOCH + 20_000 * (turn + 1)) > 15);
            for mut mbuf in burst.drain() {
                let all = bytes(&mbuf);
                mbuf.head_mut().fill(0xee);
                assert_eq!(all.len(), usize::from(frame) - 4);
                let sender = number(&all);
                assert!((3..23).contains(&sender), "{sender}");
                assert_eq!(all[..6], [2, 1, 0, 0, 0, 0]);
                let ip = Ipv4::parse(&all[14..]).unwrap();
                assert!(ip.checksum_is_right());
                assert_eq!(u32::from(ip.source()), 0x0a00_00fa + sender);
                assert_eq!(ip.destination(), Ipv4Addr::new(10, 1, 0, 0));
                let payload = Udp::parse(ip.payload()).unwrap().payload().to_vec();
                let counted = u32::from_be_bytes(payload[..4].try_into().unwrap());
                let due: &mut u32 = next.entry(sender).or_default();
                assert_eq!(counted, std::mem::replace(due, counted + 1));
                assert!(payload[4..].iter().all(|byte| *byte == 0));
            }
        }
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn a_rate_is_kept_whenever_it_is_polled_and_what_is_long_ago_is_not_made_up_for() {
    let (mut source, told, _) = source(10, &[paced(0, 10, 1000)]);
    let all = sent(&mut source, 0, 3_000_000, 3_333);
    assert_eq!(told.gaps(0), []);
    assert!(all.len().abs_diff(3000) <= 4, "{}", all.len());
    assert!(each(&all).values().all(|n| n.abs_diff(300) <= 1));
    // Nobody polls for 10 ms: 2 ms of it come later, 32 at once.
    let all = sent(&mut source, 13_000_000, 13_070_000, 1_000);
    assert!(all.len().abs_diff(2000 + 70) <= 4, "{}", all.len());
    let (from, to) = (EPOCH + 900 * 3_333, EPOCH + 13_000_000);
    let gaps = told.gaps(from);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!((gaps[0].from, gaps[0].to), (from, to));
    assert_eq!(told.gaps(to), []);
}

#[test]
fn those_who_send_all_they_can_share_what_is_left_of_a_burst() {
    let flood = |first, senders| Offer {
        interval: 0,
        ..paced(first, senders, 1)
    };
    let (mut source, mut told, _) = source(100, &[flood(0, 7), paced(7, 1, 1000), flood(8, 50)]);
    let all = sent(&mut source, 0, 1_000_000, 4_000);
    assert_eq!(all.len(), 250 * 32);
    let counts = each(&all);
    assert!(counts[&7].abs_diff(1000) <= 4, "{}", counts[&7]);
    let floods = || counts.iter().filter(|(sender, _)| **sender != 7);
    let (least, most) = (floods().map(|it| it.1).min(), floods().map(|it| it.1).max());
    assert_eq!(floods().count(), 57);
    assert!(most.unwrap() - least.unwrap() <= 1, "{least:?} {most:?}");
    // Other offers take their place; one that is of others than there are is not taken up.
    offer(&mut told, &[paced(99, 1, 100), paced(99, 2, 1000)]);
    let all = sent(&mut source, 1_000_000, 2_000_000, 4_000);
    assert_eq!(each(&all).into_keys().collect::<Vec<_>>(), [99]);
    offer(&mut told, &[]);
    assert_eq!(sent(&mut source, 2_000_000, 3_000_000, 4_000), []);
}

#[test]
fn bursts_are_of_one_sender_and_turns_begin_and_end_when_they_should() {
    let turns = Offer {
        burst: 8,
        on: 300_000,
        off: 700_000,
        after: 100_000,
        ..paced(0, 4, 1000)
    };
    let (mut source, _told, _) = source(4, &[turns]);
    for period in 0..3 {
        let from = period * 1_000_000;
        assert_eq!(sent(&mut source, from, from + 99_000, 1_000), []);
        let all = sent(&mut source, from + 99_000, from + 402_000, 1_000);
        assert!(all.len().abs_diff(300) <= 1, "{}", all.len());
        let whole = &all[..296];
        for (burst, next) in whole.chunks(8).zip(whole[8..].chunks(8)) {
            if period == 0 {
                assert!(burst.iter().all(|sender| *sender == burst[0]), "{burst:?}");
                assert_eq!((burst[0] + 1) % 4, next[0]);
            }
        }
        assert_eq!(
            sent(&mut source, from + 402_000, from + 1_000_000, 1_000),
            []
        );
    }
}

/// What the source gives to the sink, with so many bytes of outer headers before it.
fn logged(outer: usize) -> (Vec<Event>, std::sync::Arc<Log>) {
    let (mut source, _told, pool) = source(40, &[paced(0, 40, 1000)]);
    let (sink, log) = Sink::new(
        Sinks {
            senders: 39,
            from: FIRST,
            events: 50,
        },
        HZ,
    );
    let mut tx = Tx::Sink(sink);
    let mut burst = Burst::new();
    let mut give = |now: u64| {
        source.rx_at(&mut burst, EPOCH + now);
        for mbuf in burst.as_mut_slice() {
            mbuf.prepend(outer).unwrap().fill(0xbb);
        }
        // Backwards: of a round of 40 everyone sends one.
        burst.as_mut_slice().reverse();
        let count = burst.len();
        assert_eq!(tx.tx(&mut burst), count);
        count
    };
    assert_eq!(give(10_000), 11);
    log.begin(rte::clock::tsc());
    assert_eq!(log.ended(), 0);
    assert_eq!(give(29_000), 19);
    assert_eq!(give(49_000), 20);
    assert_eq!(give(65_000), 16);
    let end = rte::clock::tsc();
    log.end(end);
    assert_eq!(give(70_000), 5);
    // Once only.
    log.end(end + 1);
    assert_eq!(log.ended(), end);
    assert_eq!(pool.in_use(), 0);
    (log.words().map(Event::unpack).collect(), log)
}

#[test]
fn the_sink_logs_whose_frames_left_when_until_it_is_full() {
    for outer in [0, 42] {
        let (events, log) = logged(outer);
        assert_eq!((events.len(), log.missed(), log.is_on()), (50, 5, false));
        let senders: Vec<u32> = events.iter().map(|event| event.sender).collect();
        let wanted = (11..30).rev().chain((30..50).rev()).chain((55..66).rev());
        let wanted: Vec<u32> = wanted
            .map(|n| if n % 40 == 39 { NOBODY } else { n % 40 })
            .collect();
        assert_eq!(senders, wanted);
        assert!(events.iter().all(|event| event.bytes == 60 + outer as u32));
        assert!(events.is_sorted_by_key(|event| event.at));
        assert_eq!(log.reordered(), 0);
    }
}

#[test]
fn a_frame_that_was_overtaken_is_told() {
    let (mut source, _told, _) = source(2, &[paced(0, 2, 1000)]);
    let (sink, log) = Sink::new(
        Sinks {
            senders: 2,
            from: FIRST,
            events: 50,
        },
        HZ,
    );
    log.begin(0);
    let (mut tx, mut burst) = (Tx::Sink(sink), Burst::new());
    source.rx_at(&mut burst, EPOCH + 7_500);
    assert_eq!(burst.len(), 8);
    // The third of one is behind its fourth.
    burst.as_mut_slice().swap(4, 6);
    tx.tx(&mut burst);
    assert_eq!(log.reordered(), 1);
}

#[test]
fn the_sink_notes_when_nothing_was_sent() {
    let sinks = Sinks {
        senders: 2,
        from: FIRST,
        events: 0,
    };
    let (sink, log) = Sink::new(sinks, HZ);
    let (mut tx, mut burst) = (Tx::Sink(sink), Burst::new());
    tx.tx(&mut burst);
    let from = rte::clock::tsc();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let to = rte::clock::tsc();
    // Whether it logs or not.
    tx.tx(&mut burst);
    let gaps = log.gaps(to);
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].from <= from && to <= gaps[0].to, "{gaps:?}");
}

#[test]
fn an_event_is_a_word() {
    for event in [
        Event {
            at: 0,
            sender: 0,
            bytes: 0,
        },
        Event {
            at: (1 << 40) - 16,
            sender: NOBODY,
            bytes: 0x3fff,
        },
        Event {
            at: 160,
            sender: 9_999,
            bytes: 1556,
        },
    ] {
        assert_eq!(Event::unpack(event.pack()), event);
    }
    let late = Event {
        at: 175,
        sender: 3,
        bytes: 64,
    };
    assert_eq!(Event::unpack(late.pack()).at, 160);
}
