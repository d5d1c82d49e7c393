//! WF2Q+ (Bennett and Zhang 1996): of the nodes that have got no more than their share so far, the one whose next item would be
//! the first to end if all were served at once by their weights. Nobody is more than an item behind, or ahead.
//!
//! Tags are virtual times: what a node's item takes is its wire bytes by its inverse weight, made ready when the weight was set.
//! The clock goes by wire bytes over the sum of the weights of all nodes, and to the earliest start when nobody has
//! started. Two wheels keep the order: by start who has had more than its share, by finish who has not. Tags are exact; the
//! order within a tick, some microseconds of the link's time, is first come.
//!
//! WF2Q+ may serve an item anywhere between its start and its finish. While all of the link is used by those whose share it is, a node is
//! to be served as long after its start as its last item was: so a slow one has its items at even distances. By finish its turn is
//! where all faster ones have just had their share, and by a tick's difference not there but many items later. While shares are lent,
//! whoever is there is served as it starts; that says nothing, and by finish who begins is not behind them
//! ([why so](../../../../docs/decisions/0042-late-workers.md)).

use super::leaf::Turns;
use super::wheel::{Link, Member, NONE, Wheel};

/// Fraction bits of inverse weights.
const FRACTION: u32 = 16;
/// Virtual time of a byte while all nodes are served, between half of this and this, as a power of two.
const UNIT: u32 = 8;
/// One part in so many of the link is little to lend: what is rounded is as much, and a node that is without items for a moment.
const LITTLE: u64 = 16;
/// Ticks in which more than that is seen.
const LATELY: u64 = 4096;
/// How many picks ahead it is said whose turn comes.
const AHEAD: usize = 4;
/// Where virtual time starts: tags may lie before it.
const START: u64 = 1 << 48;
/// Where it starts anew, before tags overflow.
const END: u64 = 1 << 61;

/// The weight of a share: fine enough that a thousandth of it is one too, where workers have parts of it.
pub(crate) fn weight(share: u32) -> u64 {
    u64::from(share) << 10
}

/// Where a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing of it may leave.
    Idle,
    /// It had its share: by its start.
    Ahead,
    /// Its turn comes: by its finish.
    Started,
    /// Its class is at its maximum.
    Shut,
}

/// What shares a link by weight.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Node {
    link: Link,
    start: u64,
    /// By when it is to be served.
    finish: u64,
    /// Virtual time of a wire byte of it, with [`FRACTION`].
    inverse: u64,
    pub(crate) weight: u64,
    /// Its leaves with something that may leave.
    pub(crate) turns: Turns,
    /// Leaves among them that can use more than they get.
    pub(crate) members: u32,
    pub(crate) place: Place,
    /// Its DCB traffic class.
    pub(crate) tc: u8,
    /// Whether something of it has waited here, since it came.
    is_here: bool,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            link: Link::default(),
            start: 0,
            finish: 0,
            inverse: 0,
            weight: 0,
            turns: Turns::default(),
            members: 0,
            place: Place::Idle,
            tc: 0,
            is_here: false,
        }
    }
}

impl Member for Node {
    #[inline(always)]
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    #[inline(always)]
    fn tick(&self, shift: u32) -> u64 {
        match self.place {
            Place::Started => self.finish >> shift,
            _ => self.start >> shift,
        }
    }
}

/// The largest inverse weight: the virtual time of an item of a weight that is absurdly small stays in bounds.
const LARGEST: u64 = 1 << 53;

#[inline(always)]
fn virtual_time(wire: u32, inverse: u64) -> u64 {
    ((u128::from(wire) * u128::from(inverse)) >> FRACTION) as u64
}

/// The nodes of one DCB traffic class.
pub(crate) struct Fair {
    now: u64,
    /// Until then more than a little was lent.
    lent: u64,
    starts: Wheel,
    finishes: Wheel,
    /// Weights of all its nodes here, whether anything waits of them or not.
    weights: u64,
    /// Virtual time of a wire byte while all are served, with [`FRACTION`].
    slope: u64,
    /// Virtual time of a byte of weight 1, as a power of two.
    scale: u32,
    /// Weights of the nodes that can use more than they get.
    pub(crate) hungry: u64,
    /// Weights of those with something that may leave.
    waiting: u64,
    /// Weights of those of which something has waited here: of all others it is not known whether they send on this worker.
    pub(crate) here: u64,
}

impl Fair {
    /// With ticks of about so many wire bytes while all are served.
    pub(crate) fn new(tick_bytes: u64) -> Self {
        let shift = tick_bytes.max(1).ilog2() + UNIT;
        let mut fair = Fair {
            now: START,
            lent: START,
            starts: Wheel::new(shift),
            finishes: Wheel::new(shift),
            weights: 0,
            slope: 0,
            scale: UNIT,
            hungry: 0,
            waiting: 0,
            here: 0,
        };
        fair.starts.restart(START, shift);
        fair.finishes.restart(START, shift);
        fair.tilt();
        fair
    }

    /// Weights of the nodes that can use more than they get; while none has been seen to, of all that wait.
    pub(crate) fn hunger(&self) -> u64 {
        match (self.is_empty(), self.hungry) {
            (true, _) => 0,
            (false, 0) => self.waiting.max(1),
            (false, hungry) => hungry,
        }
    }

    /// Whether no node has anything that may leave.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.finishes.is_empty() && self.starts.is_empty()
    }

    /// Virtual time of a byte of this weight.
    fn inverse(&self, weight: u64) -> u64 {
        ((1_u64 << (self.scale + FRACTION)) / weight.max(1)).min(LARGEST)
    }

    fn tilt(&mut self) {
        self.slope = self.inverse(self.weights);
    }

    /// Gives a node of this traffic class another weight. What it has had so far stays had.
    #[cold]
    pub(crate) fn set_weight(&mut self, nodes: &mut [Node], id: u32, weight: u64) {
        let Some(node) = nodes.get_mut(id as usize) else {
            return;
        };
        let old = std::mem::replace(&mut node.weight, weight);
        if old == weight && node.inverse != 0 {
            return;
        }
        node.inverse = self.inverse(weight);
        if node.place == Place::Ahead || node.place == Place::Started {
            self.waiting = self.waiting.saturating_sub(old) + weight;
        }
        if node.members > 0 {
            self.hungry = self.hungry.saturating_sub(old) + weight;
        }
        if node.is_here {
            self.here = self.here.saturating_sub(old) + weight;
            node.is_here = weight > 0;
        }
        self.weights = self.weights.saturating_sub(old) + weight;
        let scale = UNIT + self.weights.max(1).next_power_of_two().ilog2();
        // A power of two of hysteresis, so that one node that comes and goes does not do this again and again.
        if scale.abs_diff(self.scale) > 1 {
            let tc = node.tc;
            self.rebuild(nodes, tc, scale.min(47));
        }
        self.tilt();
    }

    /// Starts virtual time anew, perhaps in another unit: all tags stay where they are from now.
    #[cold]
    #[inline(never)]
    fn rebuild(&mut self, nodes: &mut [Node], tc: u8, scale: u32) {
        let by = i64::from(scale) - i64::from(self.scale);
        let old = self.now;
        let moved = |tag: u64| {
            let from_now = i128::from(tag) - i128::from(old);
            let from_now = if by < 0 {
                from_now >> -by
            } else {
                from_now << by.min(40)
            };
            let tag = from_now + i128::from(START);
            tag.clamp(0, i128::from(END - 1)) as u64
        };
        let shift = self.starts.shift();
        let mut order = NONE;
        let mut last = NONE;
        // Whoever is in a wheel, in its order, in a chain of its own.
        loop {
            let first = self.finishes.pop_first(nodes, u64::MAX);
            let Some(id) = first.or_else(|| self.starts.pop_first(nodes, u64::MAX)) else {
                break;
            };
            match nodes.get_mut(last as usize) {
                Some(before) => before.link.next = id,
                None => order = id,
            }
            last = id;
        }
        (self.now, self.lent) = (START, START);
        self.scale = scale;
        self.starts.restart(START, shift);
        self.finishes.restart(START, shift);
        for node in nodes.iter_mut().filter(|node| node.tc == tc) {
            node.start = moved(node.start);
            node.finish = moved(node.finish);
            node.inverse = self.inverse(node.weight);
        }
        self.tilt();
        while let Some(node) = nodes.get_mut(order as usize) {
            let id = order;
            order = std::mem::take(&mut node.link).next;
            self.enlist(nodes, id);
        }
    }

    /// A node that is in no wheel has something that may leave; the first item is of so many wire bytes.
    #[inline(always)]
    pub(crate) fn activate(&mut self, nodes: &mut [Node], id: u32, wire: u32) {
        if let Some(node) = nodes.get_mut(id as usize) {
            self.waiting += node.weight;
            if !node.is_here {
                node.is_here = true;
                self.here += node.weight;
            }
            node.start = node.start.max(self.now);
            node.finish = node.start + virtual_time(wire, node.inverse);
            self.enlist(nodes, id);
        }
    }

    #[inline(always)]
    fn enlist(&mut self, nodes: &mut [Node], id: u32) {
        let Some(node) = nodes.get_mut(id as usize) else {
            return;
        };
        if self.starts.tick(node.start) <= self.starts.tick(self.now) {
            node.place = Place::Started;
            self.finishes.insert(nodes, id);
        } else {
            node.place = Place::Ahead;
            self.starts.insert(nodes, id);
        }
    }

    /// Takes out the node whose turn it is: it is in no wheel until [`served`](Self::served), [`again`](Self::again) or
    /// [`rest`](Self::rest). `started`: told of whoever's turn comes from now on.
    #[inline(always)]
    pub(crate) fn pick(&mut self, nodes: &mut [Node], started: impl Fn(u32, &Node)) -> Option<u32> {
        loop {
            let now = self.starts.tick(self.now);
            while let Some(id) = self.starts.pop_due(nodes, now) {
                if let Some(node) = nodes.get_mut(id as usize) {
                    node.place = Place::Started;
                    started(id, node);
                    self.finishes.insert(nodes, id);
                }
            }
            if let Some(id) = self.finishes.pop_first(nodes, now) {
                return Some(id);
            }
            // All have had more than their share: virtual time is when the first of them has not.
            let first = self.starts.first()?;
            let first = first << self.starts.shift();
            if first > self.now {
                self.go_on_to(first);
            }
        }
    }

    /// All have had more than their share until this time: somebody's was lent them.
    #[inline(always)]
    fn go_on_to(&mut self, first: u64) {
        let lately = first.saturating_sub(LATELY << self.starts.shift());
        let lent = LITTLE.saturating_mul(first - self.now);
        let lent = self.lent.max(lately).saturating_add(lent);
        (self.now, self.lent) = (first, lent.min(first));
    }

    /// Whose turn probably comes some picks after the last [`pick`](Self::pick): by then what was asked for now is there.
    #[inline(always)]
    pub(crate) fn follower(&self, nodes: &[Node]) -> u32 {
        let mut id = self.finishes.follower();
        for _ in 1..AHEAD {
            id = nodes.get(id as usize).map_or(NONE, |node| node.link.next);
        }
        id
    }

    /// A picked node has sent so many wire bytes; its next item, if one may leave, is of so many.
    #[inline(always)]
    pub(crate) fn served(&mut self, nodes: &mut [Node], id: u32, wire: u32, next: Option<u32>) {
        let picked = self.now;
        self.now += virtual_time(wire, self.slope);
        let Some(node) = nodes.get_mut(id as usize) else {
            return;
        };
        let (started, took) = (node.start, virtual_time(wire, node.inverse));
        node.start = started + took;
        match next {
            Some(next) => {
                let mut within = virtual_time(next, node.inverse);
                // Nothing was lent since its item before that.
                if started >= self.lent + took {
                    within = within.min(picked.saturating_sub(started));
                }
                node.finish = node.start + within;
                self.enlist(nodes, id);
            }
            None => {
                node.place = Place::Idle;
                self.waiting = self.waiting.saturating_sub(node.weight);
            }
        }
        if self.now >= END / 2 {
            let tc = nodes.get(id as usize).map_or(0, |node| node.tc);
            self.rebuild(nodes, tc, self.scale);
        }
    }

    /// A picked node has sent nothing; its first item is now another one.
    #[inline(always)]
    pub(crate) fn again(&mut self, nodes: &mut [Node], id: u32, wire: u32) {
        if let Some(node) = nodes.get_mut(id as usize) {
            node.finish = node.start + virtual_time(wire, node.inverse);
            self.enlist(nodes, id);
        }
    }

    /// A picked node has sent nothing, and has nothing that may leave now.
    #[inline(always)]
    pub(crate) fn rest(&mut self, nodes: &mut [Node], id: u32, place: Place) {
        if let Some(node) = nodes.get_mut(id as usize) {
            node.place = place;
            self.waiting = self.waiting.saturating_sub(node.weight);
        }
    }

    /// How many nodes have something that may leave.
    pub(crate) fn active(&self) -> u32 {
        self.starts.len() + self.finishes.len()
    }

    /// How much of a node's bytes is so much of virtual time, for limits: bytes × this < time.
    #[inline(always)]
    pub(crate) fn takes(node: &Node, wire: u64) -> u128 {
        (u128::from(wire) * u128::from(node.inverse)) >> FRACTION
    }

    /// The virtual time in which all that can use more than they get, together, get so many bytes.
    pub(crate) fn time_of(&self, wire: u64) -> u64 {
        let time = u128::from(wire) << self.scale;
        let time = time.checked_div(u128::from(self.hungry));
        time.map_or(u64::MAX, |time| u64::try_from(time).unwrap_or(u64::MAX))
    }
}
