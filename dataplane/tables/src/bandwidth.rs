//! What control says of bandwidth and workers keep: how long a byte takes, what a vNIC and a traffic class were
//! promised, how an uplink is shared.
//!
//! A *node* of an uplink is a vNIC with a share, a traffic class with a share (what its filter takes, of whichever vNIC), or the
//! default class (all the rest). Where an uplink is full, its nodes get r = min(demand, maximum, λ · share), with one λ for all:
//! as the sum of the minima was admitted against the link's capacity and a share is a minimum, every minimum is held by that alone.
//! Within a node, whoever sends shares equally. What each counts: a maximum the vNIC's own layer 2 bytes (without FCS), also of
//! what stays on this host; shares and the link wire bytes, [`FRAME_OVERHEAD`] more than the frame with its outer headers.
//! Source: protocols.md, "Bandwidth".

use crate::ids::PortId;
use std::sync::Arc;

/// What a frame takes on the wire beside its own bytes (without FCS): preamble and start 8, FCS 4, gap 12 (IEEE 802.3).
pub const FRAME_OVERHEAD: u32 = 24;

/// TSC cycles that a byte takes, 32.32 fixed point; 0 is no time at all, that is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pace(pub u64);

impl Pace {
    /// No limit.
    pub const UNLIMITED: Pace = Pace(0);

    /// The pace of so many bit/s by a clock of `hz`, rounded so that it is never faster than asked. 0 bit/s, and what is
    /// too slow to be said, is the slowest there is.
    pub fn of(bits_per_second: u64, hz: u64) -> Pace {
        let cycles = (u128::from(hz) * 8) << 32;
        let slowest = u128::from(u64::MAX);
        let pace = cycles
            .checked_add(u128::from(bits_per_second).saturating_sub(1))
            .and_then(|up| up.checked_div(u128::from(bits_per_second)));
        // Never 0, which would be no limit.
        Pace(pace.map_or(slowest, |pace| pace.clamp(1, slowest)) as u64)
    }

    /// Whether there is no limit.
    #[inline(always)]
    pub fn is_unlimited(self) -> bool {
        self.0 == 0
    }

    /// What so many bytes take, in cycles, 32.32 fixed point: 128 bits, as 9,000 bytes at 1 kbit/s do not fit 64.
    #[inline(always)]
    pub fn time(self, bytes: u64) -> u128 {
        u128::from(self.0) * u128::from(bytes)
    }

    /// The rate, rounded to the nearest bit/s; `None` if there is no limit.
    pub fn bits_per_second(self, hz: u64) -> Option<u64> {
        let pace = u128::from(self.0);
        let cycles = (u128::from(hz) * 8) << 32;
        let rate = (cycles + pace / 2).checked_div(pace)?;
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

/// What a vNIC was promised and what it is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Its weight on its uplink: the weight, or its minimum in kbit/s of the wire. 0: it is of the default class.
    pub share: u32,
    /// What it sends, in its own layer 2 bytes, also to vNICs here.
    pub max: Pace,
    /// What it receives, likewise.
    pub max_rx: Pace,
    /// Whether what is over `max` is dropped instead of queued.
    pub police: bool,
}

/// A traffic class of the switch: 0 is none, n is the (n-1)th of [`Link::classes`], the same on every uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u8);

impl ClassId {
    /// No class: the frame is of its vNIC's own node, or of the default class.
    pub const NONE: ClassId = ClassId(0);

    /// Its place in [`Link::classes`].
    #[inline(always)]
    pub fn index(self) -> Option<usize> {
        usize::from(self.0).checked_sub(1)
    }
}

/// A traffic class on one uplink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// Its weight among the nodes of the uplink. 0: it is no node, what it takes stays in the node of its vNIC (but has the marks and
    /// the DCB traffic class of this one).
    pub share: u32,
    /// What all of it may send by this uplink, in layer 2 bytes of the vNICs.
    pub max: Pace,
    /// Its DCB traffic class, below [`TCS`].
    pub tc: u8,
    /// The DSCP that leaves the host (RFC 2474), 0 to 63, in the outermost IP header.
    pub dscp: Option<u8>,
    /// The priority that leaves the host in the VLAN tag (802.1Q PCP), 0 to 7, where there is a tag.
    pub pcp: Option<u8>,
}

/// DCB traffic classes of a link (802.1Qaz).
pub const TCS: usize = 8;

/// How the link chooses among its DCB traffic classes (802.1Qaz): strict ones first, the highest number before the others, then the
/// rest by their shares, of which what is not used is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tc {
    /// Whether it goes before all that are not, and before strict ones of a lower number.
    pub strict: bool,
    /// Its ETS share of what strict ones leave, in percent; of one that has none, what there is when no other has anything.
    pub share: u8,
}

impl Tc {
    /// ETS with this share, in percent.
    pub const fn ets(share: u8) -> Tc {
        let strict = false;
        Tc { strict, share }
    }
}

/// How an uplink is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it carries, in wire bytes. Unlimited: unknown, only the device's ring pushes back.
    pub capacity: Pace,
    /// The weight of the default class among the nodes.
    pub default_share: u32,
    /// The DCB traffic class of what is of no traffic class.
    pub default_tc: u8,
    /// Traffic classes by [`ClassId`].
    pub classes: Box<[Class]>,
    /// DCB traffic classes; one that is all of the link if the policy says nothing.
    pub tcs: [Tc; TCS],
    /// Where the device chooses among DCB traffic classes: by class, the port that is its transmit queue. Its capacity is unlimited then:
    /// what holds frames back is that a queue has no room.
    pub queues: Option<[PortId; TCS]>,
}

/// The weight of the default class in weight mode (protocols.md, "Bandwidth").
pub const DEFAULT_WEIGHT: u32 = 10;

impl Link {
    /// A link of which nothing is promised: one default class, one DCB traffic class.
    pub fn plain(capacity: Pace) -> Link {
        let mut tcs = [Tc::ets(0); TCS];
        tcs[0] = Tc::ets(100);
        Link {
            capacity,
            default_share: DEFAULT_WEIGHT,
            default_tc: 0,
            classes: [].into(),
            tcs,
            queues: None,
        }
    }

    /// The traffic class; `None` of [`ClassId::NONE`].
    #[inline(always)]
    pub fn class(&self, id: ClassId) -> Option<&Class> {
        self.classes.get(id.index()?)
    }

    /// The port that is the transmit queue of a DCB traffic class, where the device chooses among them.
    #[inline(always)]
    pub fn queue(&self, tc: u8) -> Option<PortId> {
        self.queues.as_ref()?.get(usize::from(tc)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [u64; 9] = [
        1_000,
        64_000,
        9_999_999,
        10_000_000,
        1_000_000_007,
        10_000_000_000,
        25_000_000_000,
        100_000_000_000,
        800_000_000_000,
    ];
    const CLOCKS: [u64; 4] = [1_000_000_000, 2_095_078_000, 2_999_999_999, 5_700_000_000];

    #[test]
    fn a_pace_is_never_faster_than_asked_and_nearly_as_fast() {
        for rate in RATES {
            for hz in CLOCKS {
                let pace = Pace::of(rate, hz);
                let second = u128::from(hz) << 32;
                // A second's bytes take a second or more, and less than a millionth of it more.
                let bytes = u128::from(rate).div_ceil(8);
                let takes = u128::from(pace.0) * bytes;
                assert!(takes >= second, "{rate} by {hz}: {takes} < {second}");
                let exact = u128::from(pace.0) * u128::from(rate);
                assert!(
                    exact - second * 8 <= second / 125_000,
                    "{rate} by {hz}: {exact}"
                );
            }
        }
    }

    #[test]
    fn a_rate_comes_back_as_it_was() {
        for rate in RATES {
            for hz in CLOCKS {
                let back = Pace::of(rate, hz).bits_per_second(hz).unwrap();
                assert!(
                    rate.abs_diff(back) <= rate / 1_000_000,
                    "{rate} by {hz}: {back}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_limited_by_no_limit_and_what_is_extreme_is_limited() {
        assert_eq!(Pace::UNLIMITED.bits_per_second(1_000_000_000), None);
        assert_eq!(Pace::UNLIMITED.time(u64::MAX), 0);
        assert_eq!(Pace::of(0, 1_000_000_000), Pace(u64::MAX));
        assert_eq!(Pace::of(1, u64::MAX), Pace(u64::MAX));
        assert!(!Pace::of(u64::MAX, 1).is_unlimited());
        assert!(!Pace::of(u64::MAX, 0).is_unlimited());
    }

    #[test]
    fn bytes_take_their_time_with_the_fraction() {
        // 10 Gbit/s by 3 GHz: 2.4 cycles a byte.
        let pace = Pace::of(10_000_000_000, 3_000_000_000);
        assert_eq!(pace.time(5) >> 32, 12);
        assert_eq!(pace.time(1526) >> 32, 3662, "3662.4");
        // 9,000 bytes at 1 kbit/s: 72 s.
        let slow = Pace::of(1_000, 3_000_000_000);
        assert_eq!(slow.time(9_000) >> 32, 216_000_000_000);
    }

    #[test]
    fn a_class_is_found_by_its_number_and_none_is_none() {
        let mut link = Link::plain(Pace::UNLIMITED);
        assert_eq!(link.class(ClassId::NONE), None);
        assert_eq!(link.class(ClassId(1)), None);
        let class = Class {
            name: "smb".into(),
            share: 3,
            max: Pace::UNLIMITED,
            tc: 0,
            dscp: None,
            pcp: None,
        };
        link.classes = [class.clone()].into();
        assert_eq!(link.class(ClassId(1)), Some(&class));
        assert_eq!(link.class(ClassId::NONE), None);
    }
}
