//! From the wire: accept → decapsulate → lookup → dispatch, a batch at a time.

use crate::from_vnic::looked_up;
use crate::lap::Stage;
use crate::ledger::Ledger;
use crate::ordinary_outer::{Arrivals, Inside, TAGGED, UNTAGGED};
use crate::outer::{self, Outer};
use crate::outlet::Outlet;
use crate::parse::{self, Parsed};
use crate::rewrite::{self, Plain, Plains};
use crate::watch::{Point, Step, Who};
use crate::{
    BATCH, Batch, Frame, bridge, dispatch, ecn, path_mtu, provider_group, provider_icmp6, slow,
};
use arrayvec::ArrayVec;
use weir_tables::bridged::Bridged;
use weir_tables::endpoints::{Target, endpoint_key};
use weir_tables::ids::{SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::{Uplink, View};
use weir_wire::Mac;

/// What acceptance makes of a frame.
#[derive(Clone, Copy)]
enum Class {
    /// A tenant's frame to one MAC.
    Unicast(SegmentId),
    /// A tenant's frame to many.
    Group(SegmentId),
    /// ARP of the provider network.
    Arp(usize),
    /// The same from one to many, on a network that the provider shares with this bridged VM network.
    SharedArp(usize, SegmentId),
    /// IGMP of the provider network.
    Igmp(usize),
    /// ICMP of the provider network.
    Icmp(usize),
    /// To an address that may be a vNIC's.
    Plain(Plain),
    /// ICMPv6 of the provider network.
    Icmp6(usize),
    /// The same to many, on a network that the provider shares with this bridged VM network.
    SharedIcmp6(usize, SegmentId),
    Refused(Reason),
}

/// Takes every frame of `batch`, all received from `uplink`, to where it goes.
#[inline]
pub fn run<O: Outlet>(
    view: &View,
    ledger: &Ledger,
    uplink: &Uplink,
    batch: &mut Batch<O::Frame>,
    out: &mut O,
) {
    if O::Frame::WATCHED {
        for frame in batch.iter() {
            frame.show(Point::UplinkRx, Who::Uplink(uplink.id));
        }
    }

    // Accept and decapsulate all.
    let accepted = match uplink.vlan {
        None => accept::<UNTAGGED, _>(view, uplink, batch),
        Some(_) => accept::<TAGGED, _>(view, uplink, batch),
    };
    ledger.received(&uplink.cells, batch.len() as u64, accepted.bytes as u64);
    out.lap(Stage::Classify);

    // Look all up: where it goes, and, where that is not out of the question, whether its sender claims to be one of ours.
    let mut targets = [[0]; BATCH];
    let keys = accepted.keys.get(..batch.len()).unwrap_or_default();
    // Packets that were rewritten ask for none.
    if keys.iter().any(|&key| key != NOBODY) {
        view.endpoints.get_batch(keys, &mut targets);
    }
    let own = if accepted.suspects.is_empty() {
        0
    } else {
        ours(view, &accepted.suspects)
    };
    out.lap(Stage::Lookup);

    // Apply all: at once what is for one vNIC and as it should be, else one by one.
    let strange = accepted.odd | own;
    if strange == 0
        && let Some(vnic) = one_receiver(&targets, batch.len())
        && dispatch::ordinary_all(view, vnic, accepted.inside(batch.len()), batch, out)
    {
        return;
    }
    let mut odd = Odd {
        view,
        ledger,
        uplink,
        plains: Plains::new(),
    };
    let mut classes = accepted.classes.into_iter();
    let places = targets.iter().zip(&accepted.keys);
    for (place, (frame, (&[target], &key))) in batch.drain(..).zip(places).enumerate() {
        let mut frame = frame;
        if strange >> place & 1 == 0
            && let Some(Target::Local(vnic)) = Target::unpack(target)
        {
            match dispatch::ordinary(view, vnic, frame, out) {
                Ok(()) => continue,
                Err(back) => frame = back,
            }
        }
        let class = match accepted.odd >> place & 1 {
            0 => Class::Unicast(SegmentId((key >> 48) as u16)),
            _ => classes.next().unwrap_or(Class::Refused(Reason::Runt)),
        };
        odd.apply(class, own >> place & 1 != 0, target, frame, out);
    }
    // What may be rewritten has another lookup before it.
    if !odd.plains.is_empty() {
        rewrite::from_wire(view, ledger, uplink, odd.plains, out);
    }
}

/// What acceptance makes of a batch.
struct Accepted {
    /// Key of each frame's inner destination.
    keys: [u64; BATCH],
    /// A bit for each frame that is not ordinary; what it is instead is the next of `classes`.
    odd: u32,
    classes: ArrayVec<Class, BATCH>,
    suspects: Suspects,
    /// Bytes as they came, and those of the longest ordinary frame as it is now, or more.
    bytes: usize,
    longest: usize,
    /// Outer bytes of each ordinary one.
    header: usize,
}

#[inline(always)]
fn accept<const AT: usize, F: Frame>(
    view: &View,
    uplink: &Uplink,
    batch: &mut Batch<F>,
) -> Accepted {
    let arrivals = Arrivals::<AT>::at(view, uplink);
    let mut accepted = Accepted {
        keys: [0; BATCH],
        odd: 0,
        classes: ArrayVec::new(),
        suspects: Suspects::new(),
        bytes: 0,
        longest: 0,
        header: Arrivals::<AT>::HEADER,
    };
    let (mut bytes, mut longest) = (0, 0);
    for (place, frame) in batch.iter_mut().enumerate() {
        let length = frame.len();
        bytes += length;
        longest = length.max(longest);
        let (to, from) = match arrivals.accept(frame) {
            Some(Inside { to, from }) => (to, from),
            None => accepted.add_odd(view, uplink, place, frame),
        };
        if let Some(key) = accepted.keys.get_mut(place) {
            *key = to;
        }
        if view.endpoints.may_be_marked(from) {
            accepted.suspects.push((place as u8, from));
        }
    }
    accepted.bytes = bytes;
    accepted.longest = longest.saturating_sub(Arrivals::<AT>::HEADER);
    accepted
}

impl Accepted {
    /// Of so many that are all ordinary: bytes of the longest, or more, and of all together, as they are now.
    #[inline(always)]
    fn inside(&self, count: usize) -> (usize, usize) {
        let outer = count * self.header;
        (self.longest, self.bytes.saturating_sub(outer))
    }

    #[inline(never)]
    fn add_odd<F: Frame>(
        &mut self,
        view: &View,
        uplink: &Uplink,
        place: usize,
        frame: &mut F,
    ) -> (u64, u64) {
        let (class, to, from) = classify(view, uplink, frame);
        self.odd |= 1 << place;
        self.classes.push(class);
        (to, from)
    }
}

/// The one vNIC here that the first `count` targets are, if they are.
#[inline(always)]
fn one_receiver(targets: &[[u32; 1]; BATCH], count: usize) -> Option<VnicId> {
    let ([[first], ..], mut others) = (targets, 0);
    for [target] in targets.get(..count)? {
        others |= first ^ target;
    }
    match Target::unpack(*first)? {
        Target::Local(vnic) if others == 0 => Some(vnic),
        _ => None,
    }
}

/// Senders that may be vNICs of this host: whose frame it is by its place in the batch, and the key.
type Suspects = ArrayVec<(u8, u64), BATCH>;

/// Which of them are.
#[cold]
#[inline(never)]
fn ours(view: &View, suspects: &Suspects) -> u32 {
    let keys: ArrayVec<u64, BATCH> = suspects.iter().map(|suspect| suspect.1).collect();
    let mut targets = [[0]; BATCH];
    view.endpoints.get_batch(&keys, &mut targets);
    let found = suspects.iter().zip(targets);
    found
        .filter(|(_, [target])| matches!(Target::unpack(*target), Some(Target::Local(_))))
        .fold(0, |own, (suspect, _)| own | 1 << suspect.0)
}

/// Where frames go that are not ordinary.
struct Odd<'v, F> {
    view: &'v View,
    ledger: &'v Ledger,
    uplink: &'v Uplink,
    plains: Plains<F>,
}

impl<F: Frame> Odd<'_, F> {
    /// Takes one frame to where it goes. `own`: its sender claims to be one of ours. `target`: what has its destination MAC.
    #[inline(always)]
    fn apply<O: Outlet<Frame = F>>(
        &mut self,
        class: Class,
        own: bool,
        target: u32,
        mut frame: F,
        out: &mut O,
    ) {
        let (view, ledger, uplink) = (self.view, self.ledger, self.uplink);
        let reason = match class {
            Class::Refused(reason) => reason,
            Class::Arp(at) => {
                return slow::provider_arp(view, ledger, uplink, at, frame, out);
            }
            Class::Icmp(at) => {
                return path_mtu::hear(view, ledger, uplink, at, frame, out);
            }
            Class::Plain(plain) => {
                return self.plains.push((plain, frame));
            }
            Class::Icmp6(at) => {
                return provider_icmp6::hear(view, ledger, uplink, at, frame, out);
            }
            Class::Unicast(_)
            | Class::Group(_)
            | Class::SharedArp(..)
            | Class::SharedIcmp6(..)
            | Class::Igmp(_)
                if own =>
            {
                Reason::InnerSourceLocal
            }
            Class::Igmp(at) => {
                return provider_group::hear(view, ledger, uplink, at, frame, out);
            }
            Class::SharedArp(at, segment) => {
                return slow::shared_arp(view, ledger, uplink, segment, at, frame, out);
            }
            Class::SharedIcmp6(at, segment) => {
                return provider_icmp6::shared(view, ledger, uplink, segment, at, frame, out);
            }
            Class::Unicast(segment) => {
                let vnic = match looked_up(segment, target, &frame) {
                    Some(Target::Local(vnic)) => Some(vnic),
                    _ => rewrite::by_address(view, segment, &mut frame),
                };
                match vnic {
                    Some(vnic) => return dispatch::to_vnic(view, ledger, None, vnic, frame, out),
                    None => Reason::NotHere,
                }
            }
            Class::Group(segment) => {
                return slow::group_from_wire(view, ledger, uplink, segment, frame, out);
            }
        };
        ledger.dropped(Some(&uplink.cells), reason, frame);
    }
}

/// What a frame is, and the keys of its inner destination and source.
#[inline(always)]
fn classify<F: Frame>(view: &View, uplink: &Uplink, frame: &mut F) -> (Class, u64, u64) {
    match outer::accept(view, uplink, frame) {
        Ok(Outer::Nvgre {
            segment,
            header,
            inner,
            tos,
        }) => {
            frame.note(|| Step::Accepted {
                segment,
                source: outer::source(frame.head()),
                header: header as u16,
            });
            match decapsulate(uplink, frame, header, inner, tos) {
                Ok(parsed) => tenants(segment, &parsed),
                // The outer packet was the provider's: what is inside is no bridged VM network's.
                Err(reason) => (Class::Refused(reason), NOBODY, NOBODY),
            }
        }
        Ok(Outer::NvgreToMany {
            segment,
            header,
            inner,
            tos,
        }) => to_many(uplink, frame, segment, header, inner, tos),
        Ok(Outer::Igmp { at }) => (Class::Igmp(at), NOBODY, shared_source(uplink, frame)),
        Ok(Outer::Arp { at }) => match &uplink.bridged {
            Some(bridged) => shared_arp(uplink, bridged, at, frame),
            None => (Class::Arp(at), NOBODY, NOBODY),
        },
        Ok(Outer::Icmp { at }) => (Class::Icmp(at), NOBODY, NOBODY),
        Ok(Outer::Plain(plain)) => (Class::Plain(plain), NOBODY, NOBODY),
        Ok(Outer::Icmp6 { at }) => match &uplink.bridged {
            Some(bridged) => shared_icmp6(uplink, bridged, at, frame),
            None => (Class::Icmp6(at), NOBODY, NOBODY),
        },
        Err(reason) => match &uplink.bridged {
            Some(bridged) => not_the_providers(uplink, bridged, reason, frame),
            None => (Class::Refused(reason), NOBODY, NOBODY),
        },
    }
}

/// RFC 7637 §4.2: what came to a group is for many; what is inside for one has no business there.
#[cold]
#[inline(never)]
fn to_many<F: Frame>(
    uplink: &Uplink,
    frame: &mut F,
    segment: SegmentId,
    header: usize,
    inner: usize,
    tos: u8,
) -> (Class, u64, u64) {
    frame.note(|| Step::Accepted {
        segment,
        source: outer::source(frame.head()),
        header: header as u16,
    });
    match decapsulate(uplink, frame, header, inner, tos) {
        Ok(parsed) if parsed.dst.is_multicast() => tenants(segment, &parsed),
        Ok(_) => (Class::Refused(Reason::WrongGroup), NOBODY, NOBODY),
        Err(reason) => (Class::Refused(reason), NOBODY, NOBODY),
    }
}

/// Key of who sent a frame, where the provider's own network is also a bridged VM network's.
#[cold]
fn shared_source<F: Frame>(uplink: &Uplink, frame: &mut F) -> u64 {
    match (bridge::shared(uplink), parse::ethernet(frame)) {
        (Some(segment), Ok(parsed)) => endpoint_key(segment, parsed.src),
        _ => NOBODY,
    }
}

#[inline(always)]
fn tenants(segment: SegmentId, parsed: &Parsed) -> (Class, u64, u64) {
    let class = if parsed.dst.is_multicast() {
        Class::Group(segment)
    } else {
        Class::Unicast(segment)
    };
    let (to, from) = (parsed.dst, parsed.src);
    (
        class,
        endpoint_key(segment, to),
        endpoint_key(segment, from),
    )
}

/// What the provider's side refused may be a bridged VM network's.
#[inline(never)]
fn not_the_providers<F: Frame>(
    uplink: &Uplink,
    bridged: &Bridged,
    reason: Reason,
    frame: &mut F,
) -> (Class, u64, u64) {
    match bridge::from_wire(uplink, bridged, reason, frame) {
        Ok((segment, parsed)) => tenants(segment, &parsed),
        Err(reason) => (Class::Refused(reason), NOBODY, NOBODY),
    }
}

/// ARP in the uplink's VLAN. Where a bridged VM network is there too, what is to a VM alone is the VM's, and what is to
/// everybody is both's.
#[inline(never)]
fn shared_arp<F: Frame>(
    uplink: &Uplink,
    bridged: &Bridged,
    at: usize,
    frame: &mut F,
) -> (Class, u64, u64) {
    let Some(segment) = bridged.get(uplink.vlan) else {
        return (Class::Arp(at), NOBODY, NOBODY);
    };
    match parse::ethernet(frame) {
        Ok(parsed) if parsed.dst.is_multicast() => (
            Class::SharedArp(at, segment),
            NOBODY,
            endpoint_key(segment, parsed.src),
        ),
        Ok(parsed) if parsed.dst != uplink.mac => {
            not_the_providers(uplink, bridged, Reason::UnderlayArp, frame)
        }
        _ => (Class::Arp(at), NOBODY, NOBODY),
    }
}

/// The same of ICMPv6 to this host, or to a group that others may listen to as well.
#[inline(never)]
fn shared_icmp6<F: Frame>(
    uplink: &Uplink,
    bridged: &Bridged,
    at: usize,
    frame: &mut F,
) -> (Class, u64, u64) {
    match (bridged.get(uplink.vlan), parse::ethernet(frame)) {
        (Some(segment), Ok(parsed)) if parsed.dst.is_multicast() => (
            Class::SharedIcmp6(at, segment),
            NOBODY,
            endpoint_key(segment, parsed.src),
        ),
        _ => (Class::Icmp6(at), NOBODY, NOBODY),
    }
}

/// A key that no endpoint has: segment 0, broadcast.
const NOBODY: u64 = Mac::BROADCAST_U64;

/// Takes `header` bytes off, so that the inner frame of `inner` bytes is left.
#[inline(always)]
fn decapsulate<F: Frame>(
    uplink: &Uplink,
    frame: &mut F,
    header: usize,
    inner: usize,
    tos: u8,
) -> Result<Parsed, Reason> {
    if !frame.trim_front(header) {
        return Err(Reason::InnerMalformed);
    }
    frame.clear_vlan();
    if frame.len() > inner {
        frame.truncate(inner);
    }
    let parsed = parse::ethernet(frame).map_err(|_| Reason::InnerMalformed)?;
    // RFC 7637 §3.3: a tag inside is dropped. A multicast source is no station's.
    if parse::is_tag(parsed.ethertype) {
        return Err(Reason::InnerTagged);
    }
    if parsed.src.is_multicast() {
        return Err(Reason::InnerMalformed);
    }
    ecn::incoming(tos, parsed.ethertype, frame.head_mut())?;
    frame.show(Point::Decap, Who::Uplink(uplink.id));
    Ok(parsed)
}
