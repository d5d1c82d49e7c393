//! Ten million arbitrary frames in mbufs, through the worker that ships and its rings, beside the model
//! (`cargo test --release`): no panic, no lost mbuf, no wrong count, and at every port the bytes that the model
//! gives, of which [`Chaos::check`] knows that they are the right tenant's.
//! A build that checks itself gets 100,000; WEIR_FRAMES sets another number.

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{Options, Rig, Spare};
use rte::{HEADROOM, Mbuf};
use weir_switch::frame::{Frame, GsoKind};
use weir_switch::testing::chaos::{Chaos, News, know};
use weir_switch::testing::dice::Xorshift;
use weir_switch::testing::world::World;
use weir_switch::testing::{HZ, Herd, VecFrame};
use weir_tables::counters::WorkerCells;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_worker::tap::{Entry, Tap, Wish};
use weir_worker::{Command, Packet};

/// Batches to one policy.
const BATCHES: usize = 4000;
/// Once in so many policies there are too few mbufs for all copies.
const SCARCE: u64 = 4;
/// Once in so many somebody looks: at everything, and at each step.
const WATCHED: u64 = 2;

/// Taps of which one has room for everything of a batch and one for little.
fn watch(rig: &mut Rig) -> rtrb::Consumer<Entry> {
    let (all, ring) = rtrb::RingBuffer::new(1 << 16);
    let (little, _) = rtrb::RingBuffer::new(100);
    for (id, ring, follow) in [(1, all, None), (2, little, Some(u32::MAX))] {
        let wish = Wish {
            points: u16::MAX,
            who: None,
            filter: None,
            snap: 65_535,
            follow,
        };
        let tap = Tap::new(id, wish, ring, Arc::default());
        rig.seats[0].tell(Command::Watch(Box::new(tap)));
    }
    rig.settle();
    ring
}

/// Bytes of a piece of a frame.
const LONGEST: usize = 2048;

/// The model's frame in mbufs: the same cuts, the same room before it, the same metadata.
fn mbuf(rig: &Rig, frame: &VecFrame) -> Mbuf {
    let mut segments = frame.segments();
    let head = segments.next().expect("a segment");
    let (first, behind_it) = head.split_at(head.len().min(LONGEST));
    let rest = [behind_it].into_iter().chain(segments);
    let mut mbuf = rig.feed.alloc().expect("an mbuf");
    // Data starts where the model's does.
    let before = usize::from(HEADROOM) - frame.headroom();
    let behind = first.len().saturating_sub(before);
    assert!(mbuf.prepend(before).is_some() && mbuf.append(behind).is_some());
    mbuf.truncate(first.len());
    mbuf.head_mut().copy_from_slice(first);
    for part in rest.flat_map(|segment| segment.chunks(LONGEST)) {
        assert!(mbuf.chain(rig.mbuf(part)).is_ok());
    }
    mbuf.set_vlan(frame.vlan);
    mbuf.set_gso(frame.gso.map(|gso| rte::Gso {
        segment_size: gso.segment_size,
        kind: match gso.kind {
            GsoKind::Tcp4 => rte::GsoKind::Tcp4,
            GsoKind::Tcp6 => rte::GsoKind::Tcp6,
            GsoKind::Udp => rte::GsoKind::Udp4,
        },
    }));
    let mut packet = Packet(mbuf);
    packet.set_l4_checksum(frame.checksum);
    packet.0
}

fn counts(cells: &WorkerCells) -> [u64; 7] {
    [
        cells.received.get(),
        cells.copies.get(),
        cells.generated.get(),
        cells.sent.get(),
        cells.delivered.get(),
        cells.consumed.get(),
        cells.dropped.get(),
    ]
}

/// What the model gave at a port, against what the worker gave there: the same, or, where copies found no
/// memory, the same without some.
fn assert_alike(port: PortId, got: &[Vec<u8>], model: &[(PortId, Vec<u8>)], scarce: bool) {
    let mut expected = model.iter().filter(|out| out.0 == port).map(|out| &out.1);
    if scarce {
        let all_are = got
            .iter()
            .all(|got| expected.any(|expected| expected == got));
        assert!(all_are, "{port:?} was sent what the model does not send");
    } else {
        let start = |frame: &Vec<u8>| (frame.len(), frame[..frame.len().min(128)].to_vec());
        let differ = || -> [Vec<_>; 2] {
            let model = model.iter().filter(|out| out.0 == port);
            [
                got.iter().map(start).collect(),
                model.map(|out| start(&out.1)).collect(),
            ]
        };
        assert!(
            got.iter().eq(expected),
            "{port:?}: worker and model differ: {:02x?}",
            differ()
        );
    }
}

/// What the model hears, told to the worker.
fn hear(rig: &mut Rig, news: &News) {
    match news {
        News::Found(to, records) => {
            for &remote in records {
                know(&mut rig.world, remote);
            }
            rig.seats[0].tell(Command::Found(*to));
        }
        News::Absent(to) => rig.seats[0].tell(Command::Absent(*to)),
        News::Wait(cycles) => rig.seats[0].cells.now.add(*cycles),
    }
    rig.settle();
}

/// The frame in pieces no longer than an mbuf's: headers that do not end in the first are nobody's to read, in the model as in the worker.
fn cut(herd: &Herd, frame: VecFrame) -> VecFrame {
    if frame.segments().all(|segment| segment.len() <= LONGEST) {
        return frame;
    }
    let pieces: Vec<&[u8]> = frame.segments().flat_map(|s| s.chunks(LONGEST)).collect();
    let mut cut = herd.chain_behind(frame.headroom(), &pieces);
    (cut.vlan, cut.gso) = (frame.vlan, frame.gso);
    (cut.checksum, cut.mark) = (frame.checksum, frame.mark);
    cut
}

/// Nobody waits for bandwidth. Where copies find no memory a worker with promises sent what the model did not, in the same batch: a copy that
/// is not made is not charged, so that another frame may leave sooner. That this is all of it was reasoned, not shown.
fn promise_nothing(world: &mut World) {
    world.link(None);
    for id in (0..world.view.vnics.len()).map(|place| VnicId(place as u32)) {
        world.promise(id, None);
    }
}

/// One policy, `BATCHES` batches. How many frames, how many came out, how many found no memory.
fn one_host(
    dice: &mut Xorshift,
    spare: &mut Spare,
    scarce: bool,
    watched: bool,
) -> (u64, u64, u64) {
    let mut twin = *dice;
    let (mut model, mut own) = (Chaos::new(dice), Chaos::new(&mut twin));
    if scarce {
        promise_nothing(&mut model.world);
        promise_nothing(&mut own.world);
    }
    if watched {
        // A worker that is looked at does not read ahead.
        model.world.view.reads_ahead = false;
        own.world.view.reads_ahead = false;
    }
    let options = Options {
        mbufs: if scarce { 15 } else { 2047 },
        ..Options::default()
    };
    let mut rig = Rig::over(own.world, options, std::mem::take(spare));
    let ports: Vec<PortId> = rig.lines.keys().copied().collect();
    let mut ring = watched.then(|| watch(&mut rig));
    for _ in 0..BATCHES {
        let mut news = model.news(dice);
        if scarce {
            // A copy that is not made is not complained about: the limit of errors must not tell the two apart.
            news.push(News::Wait(1 << 40));
        }
        model.hear(&news);
        for news in &news {
            hear(&mut rig, news);
        }
        let (port, frames) = model.frames(dice);
        let herd = &model.world.herd;
        let frames: Vec<VecFrame> = frames.into_iter().map(|frame| cut(herd, frame)).collect();
        let mbufs: Vec<Mbuf> = frames.iter().map(|frame| mbuf(&rig, frame)).collect();
        rig.line(port).inject(mbufs);
        rig.settle();
        model.packets += frames.len() as u64;
        model.world.receive(port, frames);

        let expected: Vec<(PortId, Vec<u8>)> = {
            let out = model.world.kept.out.iter();
            out.map(|(port, _, frame)| (*port, frame.bytes())).collect()
        };
        for &port in &ports {
            let got = rig.take(port);
            assert_alike(port, &got, &expected, scarce);
        }
        // Forgets the model's frames after it has looked whose they are.
        model.check();
        while rig.seats[0].events.pop().is_ok() {}
        if let Some(ring) = &mut ring {
            let seen = ring.slots();
            assert!(seen > 0, "nobody saw anything");
            ring.read_chunk(seen).expect("entries").commit_all();
        }
        rig.assert_conserved();
        if model.world.kept.held.frames() == 0 && model.world.kept.shaper.queued() == 0 {
            let out = (rig.pool.in_use(), rig.feed.in_use());
            assert_eq!(out, (0, 0), "an mbuf leaked");
        }
    }
    // Nobody answers any more.
    let end = News::Wait(10 * HZ);
    model.hear(std::slice::from_ref(&end));
    hear(&mut rig, &end);
    let cells = rig.seats[0].cells.clone();
    assert_eq!(cells.received.get(), model.packets);
    if !scarce {
        assert_eq!(counts(&cells), counts(model.world.kept.ledger.cells()));
        assert_eq!(
            rig.drops().into_iter().collect::<Vec<_>>(),
            model.world.drops()
        );
    }
    let (out, starved) = (
        cells.sent.get() + cells.delivered.get(),
        rig.dropped(Reason::PoolEmpty),
    );
    *spare = rig.end();
    (model.packets, out, starved)
}

#[test]
fn ten_million_arbitrary_frames_in_mbufs() {
    let checked = cfg!(debug_assertions);
    let wanted = std::env::var("WEIR_FRAMES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(if checked { 100_000 } else { 10_000_000_u64 });
    let start = Instant::now();
    let (mut dice, mut spare) = (Xorshift::new(2), Spare::new());
    let (mut done, mut policies, mut out, mut starved) = (0, 0, 0, 0);
    while done < wanted {
        let scarce = policies % SCARCE == SCARCE - 1;
        let (frames, came_out, lacked) =
            one_host(&mut dice, &mut spare, scarce, policies % WATCHED == 1);
        assert!(!scarce || lacked > 0, "mbufs were to run out");
        (done, policies) = (done + frames, policies + 1);
        (out, starved) = (out + came_out, starved + lacked);
    }
    eprintln!(
        "{done} frames to {policies} hosts in {:.1?}: {out} came out, {starved} copies found no mbuf",
        start.elapsed()
    );
    assert!(out > wanted / 10, "most of it must not be a dead path");
}
