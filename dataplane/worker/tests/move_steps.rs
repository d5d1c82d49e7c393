//! The six steps of a move, every order of events: two workers, control, an uplink of two queues, frames that come at any point. What is
//! explored is a model of `weir_worker::moves`, not the workers themselves (`moves.rs` beside this runs those, at random); it shows that
//! the steps are enough, and that none can be left out: without any one of them some order loses a frame, or has one overtaken.
//!
//! One vNIC goes from worker A to worker B. Frames of four ways have to do with it: those it sends to the wire, those it sends to a vNIC of
//! B's, those that come for it from the wire, and those that a vNIC of somebody's sends to it. A state is what is in each queue.

use std::collections::HashSet;

const A: usize = 0;
const B: usize = 1;

/// Frames of a way in one run: of the whole, and where a step is left out, which shows with fewer.
const FRAMES: u8 = 3;
const FEW: u8 = 2;
/// Ways: the vNIC to the wire; to a vNIC of B's; to it from the wire; to it from another vNIC.
const OUT: u8 = 0;
const ACROSS: u8 = 1;
const IN: u8 = 2;
const NEAR: u8 = 3;
const WAYS: usize = 4;

/// A frame: its way, and its number there.
type Frame = (u8, u8);
/// In a ring: whether a stage has seen it.
type Item = (Frame, bool);

/// What control says to a worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Command {
    Expect,
    View,
    Drain { devices: bool },
    Part,
    Arrive,
}

/// What is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Without {
    Nothing,
    /// B is never told to expect anybody.
    Expect,
    /// The view goes out before B has heard that it is to expect somebody: what B gets too early it hands back, in order.
    Round,
    /// A gives away before others have heard of it.
    View,
    /// What is on its way to A by the old view is not waited for.
    FirstDrain,
    /// What A has decided for others is not waited for.
    SecondDrain,
    /// What A has given to its uplink's queue is not waited for.
    Devices,
    /// What waits before the vNIC's device stays at A.
    Slot,
    /// What waited at B goes before what waited at A.
    BagFirst,
    /// Who comes does not wait behind those that wait.
    Behind,
}

/// Who owns what, and what is where.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    sent: [u8; WAYS],
    got: [u8; WAYS],
    /// What the vNIC has sent and nobody has polled, and by whom it is polled.
    vnic: Vec<Frame>,
    polls: [bool; 2],
    /// What waits before the vNIC's device, where that is; also where nobody has it.
    slot: [Option<Vec<Frame>>; 2],
    bag: Option<Vec<Frame>>,
    /// What has come to the uplink, and to the port of who sends to the vNIC.
    uplink: Vec<Frame>,
    near: Vec<Frame>,
    /// By worker: its queue of the uplink, its ring, what it has for the other's ring, whether it has the new view, what it is told.
    wire: [Vec<Frame>; 2],
    ring: [Vec<Item>; 2],
    lane: [Vec<Item>; 2],
    new_view: [bool; 2],
    commands: [Vec<Command>; 2],
    /// B's: what waits for who is expected.
    expected: Option<Vec<Item>>,
    arrived: bool,
    /// A's: so many frames of its uplink's queue have to leave before it answers.
    leaving: Option<usize>,
    /// Control's step, and the answers that it waits for.
    step: u8,
    answers: u8,
    /// A frame was lost, or one was overtaken.
    wrong: Option<&'static str>,
}

/// Who polls the uplink, who has the vNIC that sends to this one, and what is left out.
#[derive(Clone, Copy, Debug)]
struct Setting {
    uplink: usize,
    near: usize,
    ways: [u8; 2],
    frames: u8,
    without: Without,
}

impl State {
    fn new() -> State {
        State {
            polls: [true, false],
            slot: [Some(Vec::new()), None],
            ..State::default()
        }
    }

    /// A frame is where it was to go.
    fn comes(&mut self, (way, number): Frame) {
        let next = &mut self.got[usize::from(way)];
        if *next != number {
            self.wrong = Some("overtaken");
        }
        *next += 1;
    }

    /// The stages have a frame at worker `w`.
    fn through(&mut self, w: usize, frame: Frame) {
        match frame.0 {
            OUT => self.wire[w].push(frame),
            ACROSS if w == B => self.comes(frame),
            ACROSS => self.lane[w].push((frame, true)),
            _ => self.reach_vnic(w, frame, false),
        }
    }

    /// Worker `w` has a frame for the vNIC, `handed`: from the other one.
    fn reach_vnic(&mut self, w: usize, frame: Frame, handed: bool) {
        if let Some(slot) = &mut self.slot[w] {
            return slot.push(frame);
        }
        let owner = usize::from(self.new_view[w]);
        if !handed && owner != w {
            return self.lane[w].push((frame, true));
        }
        match &mut self.expected {
            Some(waiting) if w == B => waiting.push((frame, true)),
            _ => self.wrong = Some("lost"),
        }
    }

    /// Worker `w` received a frame that may be another's.
    fn steer(&mut self, w: usize, frame: Frame) {
        if w == B
            && let Some(waiting) = &mut self.expected
        {
            return waiting.push((frame, false));
        }
        match usize::from(self.new_view[w]) {
            owner if owner == w => self.through(w, frame),
            _ => self.lane[w].push((frame, false)),
        }
    }

    /// Worker `w` takes one out of its ring.
    fn take(&mut self, w: usize) {
        let (frame, decided) = self.ring[w].remove(0);
        match (decided, &mut self.expected) {
            (true, _) if frame.0 == ACROSS => self.comes(frame),
            (true, _) => self.reach_vnic(w, frame, true),
            (false, Some(waiting)) if w == B => waiting.push((frame, false)),
            (false, _) => self.through(w, frame),
        }
    }

    fn write_lane(&mut self, w: usize) {
        let frames = std::mem::take(&mut self.lane[w]);
        self.ring[1 - w].extend(frames);
    }

    fn drain(&mut self, w: usize, rings: bool) {
        if rings {
            while !self.ring[w].is_empty() {
                self.take(w);
            }
            self.write_lane(w);
        }
    }

    /// Worker `w` carries out what control said, at the start of a turn.
    fn obey(&mut self, w: usize, without: Without) {
        match self.commands[w].remove(0) {
            Command::Expect => {
                self.expected = Some(Vec::new());
                self.answers -= 1;
            }
            Command::View => {
                self.new_view[w] = true;
                self.answers -= 1;
            }
            Command::Drain { devices } => {
                let skipped = match devices || self.step > 3 {
                    true => without == Without::SecondDrain,
                    false => without == Without::FirstDrain,
                };
                self.drain(w, !skipped);
                match devices && without != Without::Devices {
                    true => self.leaving = Some(self.wire[w].len()),
                    false => self.answers -= 1,
                }
            }
            Command::Part => {
                self.polls[A] = false;
                let slot = self.slot[A].take().unwrap_or_default();
                self.bag = Some(match without {
                    Without::Slot => Vec::new(),
                    _ => slot,
                });
                self.answers -= 1;
            }
            Command::Arrive => {
                self.polls[B] = true;
                self.arrived = true;
            }
        }
    }

    /// B lets one of those that wait go on; when none does the vNIC is at home.
    fn release(&mut self, without: Without) {
        if without == Without::Behind && self.slot[B].is_none() {
            self.slot[B] = self.bag.take();
        }
        let waiting = self.expected.get_or_insert_default();
        let is_last = waiting.is_empty();
        if !is_last {
            let (frame, _) = waiting.remove(0);
            let slot = match &mut self.slot[B] {
                Some(slot) => slot,
                None => self.bag.get_or_insert_default(),
            };
            match without {
                Without::BagFirst => slot.insert(0, frame),
                _ => slot.push(frame),
            }
            return;
        }
        if self.slot[B].is_none() {
            self.slot[B] = self.bag.take();
        }
        self.expected = None;
        self.arrived = false;
        self.answers -= 1;
    }

    fn tell(&mut self, w: usize, command: Command) {
        self.commands[w].push(command);
        self.answers += 1;
    }

    /// Control goes on when what it asked for last has been answered.
    fn control(&mut self, without: Without) {
        match self.step {
            0 if without == Without::Expect => {}
            0 => self.tell(B, Command::Expect),
            1 => [A, B].into_iter().for_each(|w| self.tell(w, Command::View)),
            2 => [A, B]
                .into_iter()
                .for_each(|w| self.tell(w, Command::Drain { devices: false })),
            3 => self.tell(A, Command::Part),
            4 => {
                self.tell(A, Command::Drain { devices: true });
                self.tell(B, Command::Drain { devices: false });
            }
            _ => self.tell(B, Command::Arrive),
        }
        self.step += 1;
    }

    /// Whether control waits for nothing.
    fn may_go_on(&self, without: Without) -> bool {
        let waits = match without {
            Without::Round => self.step != 1,
            Without::View => self.step != 2,
            _ => true,
        };
        self.step < 6 && (self.answers == 0 || !waits)
    }

    /// Everything that may happen next.
    fn next(&self, at: Setting) -> Vec<State> {
        let mut all = Vec::new();
        let mut may = |happens: bool, what: &dyn Fn(&mut State)| {
            if happens {
                let mut state = self.clone();
                what(&mut state);
                all.push(state);
            }
        };
        for way in at.ways {
            let place = usize::from(way);
            may(self.sent[place] < at.frames, &|state| {
                let frame = (way, state.sent[place]);
                state.sent[place] += 1;
                match way {
                    OUT | ACROSS => state.vnic.push(frame),
                    IN => state.uplink.push(frame),
                    _ => state.near.push(frame),
                }
            });
        }
        may(self.may_go_on(at.without), &|state| {
            state.control(at.without)
        });
        for w in [A, B] {
            may(self.polls[w] && !self.vnic.is_empty(), &|state| {
                let frame = state.vnic.remove(0);
                state.through(w, frame);
            });
            may(at.uplink == w && !self.uplink.is_empty(), &|state| {
                let frame = state.uplink.remove(0);
                state.steer(w, frame);
            });
            may(at.near == w && !self.near.is_empty(), &|state| {
                let frame = state.near.remove(0);
                state.through(w, frame);
            });
            may(!self.ring[w].is_empty(), &|state| state.take(w));
            may(!self.lane[w].is_empty(), &|state| state.write_lane(w));
            // Commands are obeyed between turns, and a turn ends with what it has for others written.
            let told = !self.commands[w].is_empty() && self.lane[w].is_empty();
            may(told, &|state| state.obey(w, at.without));
            let waits = self.slot[w].as_ref().is_some_and(|slot| !slot.is_empty());
            may(waits, &|state| {
                let slot = state.slot[w].as_mut();
                if let Some(frame) = slot.map(|slot| slot.remove(0)) {
                    state.comes(frame);
                }
            });
            // The wire takes from either queue, whenever.
            may(!self.wire[w].is_empty(), &|state| {
                let frame = state.wire[w].remove(0);
                state.comes(frame);
                if w == A
                    && let Some(left) = &mut state.leaving
                {
                    *left = left.saturating_sub(1);
                }
            });
        }
        may(self.leaving == Some(0), &|state| {
            state.leaving = None;
            state.answers -= 1;
        });
        may(self.arrived, &|state| state.release(at.without));
        all
    }

    /// What must be true at any time, and, `ends`, when nothing more can happen.
    fn check(&self, ends: bool) -> Result<(), &'static str> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if self.polls == [true; 2]
            || self.slot.iter().flatten().count() + self.bag.iter().count() > 1
        {
            return Err("owned by two");
        }
        if ends && (self.step < 6 || self.answers > 0 || self.slot[B].is_none()) {
            return Err("it does not end");
        }
        match ends && self.sent != self.got {
            true => Err("lost"),
            false => Ok(()),
        }
    }
}

/// Explores every order; how many states there are, or what is wrong in one of them.
fn explore(at: Setting) -> Result<usize, &'static str> {
    let mut known = HashSet::from([State::new()]);
    let mut left = vec![State::new()];
    while let Some(state) = left.pop() {
        let next = state.next(at);
        state.check(next.is_empty())?;
        for state in next {
            if known.insert(state.clone()) {
                left.push(state);
            }
        }
    }
    Ok(known.len())
}

/// Every pair of ways, whoever polls and whoever sends.
fn settings(without: Without) -> impl Iterator<Item = Setting> {
    let ways = (0..WAYS as u8).flat_map(|one| (one..WAYS as u8).map(move |other| [one, other]));
    ways.flat_map(move |ways| {
        let who = [(A, A), (A, B), (B, A), (B, B)].into_iter();
        let matters = move |&(uplink, near): &(usize, usize)| {
            (uplink == A || ways.contains(&IN)) && (near == A || ways.contains(&NEAR))
        };
        let frames = match without {
            Without::Nothing => FRAMES,
            _ => FEW,
        };
        let setting = move |(uplink, near)| Setting {
            uplink,
            near,
            ways,
            frames,
            without,
        };
        who.filter(matters).map(setting)
    })
}

#[test]
fn in_no_order_of_events_is_a_frame_lost_or_overtaken_or_anything_owned_by_two() {
    let mut states = 0;
    for at in settings(Without::Nothing) {
        states += explore(at).unwrap_or_else(|wrong| panic!("{wrong}: {at:?}"));
    }
    eprintln!("{states} states");
    assert!(states > 100_000, "{states}");
}

/// Control waits there all the same: frames that are handed to and fro cost more than a turn of a worker.
#[test]
fn b_may_hear_of_the_view_first() {
    for at in settings(Without::Round) {
        assert!(explore(at).is_ok(), "{at:?}");
    }
}

#[test]
fn no_step_can_be_left_out() {
    for (without, wrong) in [
        (Without::Expect, "lost"),
        (Without::View, "lost"),
        (Without::FirstDrain, "overtaken"),
        (Without::SecondDrain, "overtaken"),
        (Without::Devices, "overtaken"),
        (Without::Slot, "lost"),
        (Without::BagFirst, "overtaken"),
        (Without::Behind, "overtaken"),
    ] {
        let found: Vec<_> = settings(without)
            .filter_map(|at| explore(at).err())
            .collect();
        assert!(found.contains(&wrong), "without {without:?}: {found:?}");
    }
}
