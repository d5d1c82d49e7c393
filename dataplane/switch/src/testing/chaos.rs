//! Arbitrary hosts and arbitrary packets, one generator for the property tests, the fuzzer and the long run.
//! Who a frame belongs to is read from its bytes by other means than the switch's and noted on it
//! ([`VecFrame::mark`]), so that [`Chaos::check`] sees a frame at the wrong tenant whatever is in it.

mod judge;
mod traffic;

use crate::frame::{Frame, Gso, GsoKind, L4Checksum};
use crate::l4::L4;
use crate::outlet::{Event, Receiver};
use crate::recorder::Note;
use crate::segment;
use crate::testing::dice::Dice;
use crate::testing::frames;
use crate::testing::packets::{
    GATEWAYS, POOL, VSIDS, ca, ca2, forge, icmp_error, icmp6_error, mac, mutate,
    neighbour_discovery, over6, pa, packet, readdress, readdress6, tenant_of_pa, tenant_of_pa6,
    vnic_pa,
};
use crate::testing::packets6::six;
use crate::testing::world::{
    OWN_PA, OWN_PA6, PEER_MAC, UPLINK, UPLINK_FRAME, UPLINK_MAC, UPLINK_PORT, World, v6_of,
};
use crate::testing::{HEADROOM, HZ, VecFrame};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use weir_tables::bandwidth::{Class, ClassId, Link, Pace, Promise, TCS};
use weir_tables::domain::{Hop, Route};
use weir_tables::endpoints::{Destination, endpoint_key};
use weir_tables::filters::{Filters, Rule};
use weir_tables::ids::{DomainId, PeerId, PortId, SegmentId, UplinkId, VnicId};
use weir_tables::offloads::Offloads;
use weir_tables::view::{Carriage, Party, Vnic};
use weir_wire::igmp::{self, Query};
use weir_wire::{IpProtocol, Mac, Vsid, checksum, ipv4};

/// VSIDs of the tenants' second virtual subnets.
const SECOND: [u32; 4] = [5002, 6002, 4097, 16_777_213];
/// VLAN of the uplink, if it has one.
const UPLINK_VLAN: u16 = 300;
/// Provider multicast groups.
const GROUPS: [Ipv4Addr; 2] = [Ipv4Addr::new(239, 1, 1, 1), Ipv4Addr::new(239, 1, 1, 2)];
/// VLANs of bridged VM networks; 0 is what is untagged.
const BRIDGED: [u16; 3] = [0, 100, 101];
/// Of a frame that came from the wire.
const FROM_WIRE: u32 = 1 << 16;

/// One of a few records is here from the start.
fn is_rare(dice: &mut impl Dice) -> bool {
    dice.rarely(4)
}

/// Whose a frame is: the tenant's number plus one. A tenant is a routing domain.
fn owner(domain: DomainId) -> u32 {
    u32::from(domain.0) + 1
}

/// The tenant of a VSID, of the first so many.
fn tenant_of(vsid: u32, tenants: usize) -> Option<usize> {
    (0..tenants).find(|&t| VSIDS[t] == vsid || SECOND[t] == vsid)
}

/// What a device does: nothing more often than everything.
fn offloads(dice: &mut impl Dice) -> Offloads {
    let all = [
        Offloads::CHECKSUM,
        Offloads::SEGMENTS,
        Offloads::TUNNEL_CHECKSUM,
        Offloads::TUNNEL_SEGMENTS,
    ];
    all.into_iter().fold(Offloads::NONE, |some, one| {
        some.union(one.when(dice.rarely(3)))
    })
}

/// Arbitrary promises, an uplink that is shared or not, and traffic classes.
fn bandwidths(world: &mut World, dice: &mut impl Dice) {
    let paces = [0, 1, 10, 1000].map(|mbit| match mbit {
        0 => Pace::UNLIMITED,
        mbit => Pace::of(mbit * 1_000_000, HZ),
    });
    for i in 0..world.view.vnics.len() {
        if !dice.rarely(3) {
            let promise = Promise {
                share: dice.one_of(&[0, 1, 50]),
                max: dice.one_of(&paces),
                max_rx: dice.one_of(&paces),
                police: dice.rarely(4),
            };
            world.promise(VnicId(i as u32), Some(promise));
        }
    }
    if dice.rarely(2) {
        return;
    }
    let mut link = Link::plain(dice.one_of(&paces));
    if dice.rarely(2) {
        let class = |name: &str, share, max, tc| Class {
            name: name.into(),
            share,
            max,
            tc,
            dscp: None,
            pcp: None,
        };
        link.classes = [
            class("udp", 20, dice.one_of(&paces), 1),
            class("tcp", 0, Pace::UNLIMITED, 0),
        ]
        .into();
        link.tcs[1].strict = dice.rarely(2);
        let rule = |class, protocol| Rule {
            class: ClassId(class),
            protocols: [protocol].into(),
            ..Rule::default()
        };
        let filters = Filters::of(&[rule(1, 17), rule(2, 6)], ClassId::NONE);
        world.classify(filters);
        if dice.rarely(2) {
            // The device chooses: the first class has a transmit queue of its own.
            let mut queues = [UPLINK_PORT; TCS];
            queues[1] = world.queue();
            (link.capacity, link.queues) = (Pace::UNLIMITED, Some(queues));
        }
    }
    world.link(Some(link));
}

/// A host with arbitrary tenants, and what has come to it.
pub struct Chaos {
    /// The host.
    pub world: World,
    /// Packets so far.
    pub packets: u64,
    tenants: usize,
    peers: usize,
    /// Which of them are reached over IPv6.
    over6: [bool; 3],
    vlan: Option<u16>,
    /// Bridged VM networks: the VLAN (0 is untagged) and the routing domain.
    bridged: Vec<(u16, DomainId)>,
    sources: Vec<PortId>,
    /// What the policy store knows and the host does not yet.
    store: Vec<Remote>,
    /// Whom the store was asked about.
    questions: Vec<Destination>,
}

/// A vNIC on another host.
pub type Remote = (SegmentId, Mac, Ipv4Addr, PeerId);

/// A host learns of it.
pub fn know(world: &mut World, (segment, mac, ca, at): Remote) {
    world.record(segment, mac, ca, at);
    world.remote6(segment, mac, six(ca), at);
}

/// What happens to a host between two batches.
#[derive(Clone, Debug)]
pub enum News {
    /// The store has a record of a destination: those of these that are not here yet.
    Found(Destination, Vec<Remote>),
    /// The store has nobody there.
    Absent(Destination),
    /// Time passes, in TSC cycles.
    Wait(u64),
}

impl Chaos {
    /// An arbitrary policy: tenants with the same addresses, vNICs here and elsewhere.
    pub fn new(dice: &mut impl Dice) -> Self {
        let vlan = dice.rarely(3).then_some(UPLINK_VLAN);
        // So sparse that no entry has to be moved: moving needs rounds, which this worker has only between batches.
        let mut world = World::new(512, vlan);
        let tenants = 2 + dice.below(3);
        let peers = 1 + dice.below(3);
        let mut over6 = [false; 3];
        for (i, over6) in over6.iter_mut().enumerate().take(peers) {
            *over6 = dice.rarely(3);
            let pa = match *over6 {
                true => v6_of(pa(i)).into(),
                false => IpAddr::V4(pa(i)),
            };
            world.peer(pa, (!dice.rarely(4)).then_some(PEER_MAC));
        }
        let by_mac = world.trunk(Party::TrunkByMac);
        let by_vlan = world.trunk(Party::TrunkByVlan);
        let mut on_trunk = [false; POOL];
        let mut store = Vec::new();
        for (tenant, &vsid) in VSIDS[..tenants].iter().enumerate() {
            let domain = world.domain();
            let segment = world.subnet(domain, vsid, GATEWAYS[0]);
            let second = world.subnet(domain, SECOND[tenant], GATEWAYS[1]);
            world.subnet6(segment, six(GATEWAYS[0]), 64);
            world.subnet6(second, six(GATEWAYS[1]), 64);
            let on_miss = dice.rarely(2);
            world.on_miss(domain, on_miss);
            let mut remote = |world: &mut World, dice: &mut _, remote: Remote| {
                let (segment, _, _, at) = remote;
                world.member(segment, at);
                if on_miss && !is_rare(dice) {
                    store.push(remote);
                } else {
                    know(world, remote);
                }
            };
            // Each of the two may be rewritten, so that the ways of travelling meet in one network.
            let rewritten = [dice.rarely(3), dice.rarely(3)];
            for (segment, _) in [segment, second].iter().zip(rewritten).filter(|s| s.1) {
                world.rewritten(*segment);
            }
            if dice.rarely(2) {
                let id = world.vnic(second, mac(0), ca2(0));
                match rewritten[1] {
                    true => {
                        let pa = vnic_pa(tenant, 1, 0);
                        world.give_pa(id, pa);
                        world.give_pa6(id, six(ca2(0)), v6_of(pa));
                    }
                    false => world.address6(id, six(ca2(0))),
                }
            }
            for i in 1..POOL {
                if dice.rarely(3) {
                    let at = PeerId(dice.below(peers) as u32);
                    if rewritten[1] {
                        let pa = vnic_pa(tenant, 1, i);
                        world.remote_pa(second, ca2(i), at, pa);
                        world.remote_pa6(second, six(ca2(i)), at, v6_of(pa));
                    } else {
                        remote(&mut world, dice, (second, mac(i), ca2(i), at));
                    }
                }
            }
            if dice.rarely(2) {
                let next = ca(dice.below(POOL));
                let next = dice.one_of(&[next, ca2(0)]);
                let route = Route {
                    network: Ipv4Addr::UNSPECIFIED,
                    length: 0,
                    metric: 10,
                    hop: Hop::Via(next),
                };
                world.route(domain, &[], route);
                let route6 = Route {
                    network: Ipv6Addr::UNSPECIFIED,
                    length: 0,
                    metric: 10,
                    hop: Hop::Via(six(next)),
                };
                world.route6(domain, &[], route6);
            }
            for (i, taken) in on_trunk.iter_mut().enumerate() {
                let local = match dice.below(6) {
                    0 | 1 => Some(world.vnic(segment, mac(i), ca(i))),
                    2 if !*taken => {
                        *taken = true;
                        Some(world.vnic_on(segment, mac(i), ca(i), by_mac, None))
                    }
                    3 => {
                        let vlan = (100 * tenant + i + 1) as u16;
                        Some(world.vnic_on(segment, mac(i), ca(i), by_vlan, Some(vlan)))
                    }
                    4 => {
                        let at = PeerId(dice.below(peers) as u32);
                        if rewritten[0] {
                            let pa = vnic_pa(tenant, 0, i);
                            world.remote_pa(segment, ca(i), at, pa);
                            world.remote_pa6(segment, six(ca(i)), at, v6_of(pa));
                        } else {
                            remote(&mut world, dice, (segment, mac(i), ca(i), at));
                        }
                        None
                    }
                    _ => None,
                };
                if let Some(id) = local {
                    match rewritten[0] {
                        true => {
                            let pa = vnic_pa(tenant, 0, i);
                            world.give_pa(id, pa);
                            world.give_pa6(id, six(ca(i)), v6_of(pa));
                        }
                        false => world.address6(id, six(ca(i))),
                    }
                }
            }
        }
        for i in 0..world.view.segments.len() {
            let segment = SegmentId(i as u16);
            let nvgre = world.view.segment(segment).map(|s| s.carriage) == Some(Carriage::Nvgre);
            if nvgre && dice.rarely(4) {
                world.group(segment, dice.one_of(&GROUPS));
            }
            if dice.rarely(4) {
                world.limit_copies(segment, 1 + dice.below(4) as u32);
            }
        }
        let mut bridged = Vec::new();
        for vlan in BRIDGED {
            if !dice.rarely(2) {
                continue;
            }
            let segment = world.bridged(Some(vlan).filter(|&vlan| vlan != 0));
            let of = world.view.segment(segment).map(|s| s.domain);
            bridged.extend(of.map(|domain| (vlan, domain)));
            for (i, taken) in on_trunk.iter_mut().enumerate() {
                match dice.below(5) {
                    0 | 1 => {
                        world.vnic(segment, mac(i), ca(i));
                    }
                    2 if !*taken => {
                        *taken = true;
                        world.vnic_on(segment, mac(i), ca(i), by_mac, None);
                    }
                    3 => {
                        let tag = 1000 + vlan * 10 + i as u16;
                        world.vnic_on(segment, mac(i), ca(i), by_vlan, Some(tag));
                    }
                    _ => {}
                }
            }
        }
        // A vNIC on the trunk may send from what is nobody's there, and other tenants' elsewhere.
        let all = world.view.vnics.iter().flatten();
        let there: Vec<VnicId> = all.filter(|v| v.port == by_mac).map(|v| v.id).collect();
        for (i, _) in on_trunk.iter().enumerate().filter(|(_, taken)| !**taken) {
            if !there.is_empty() && dice.rarely(2) {
                world.allow_mac(dice.one_of(&there), mac(i));
            }
        }
        for i in 0..world.view.ports.len() {
            let max_frame = dice.one_of(&[9014, 1514, 9014, 590, 64, 65_550]);
            let (suspect, takes) = (dice.rarely(3), offloads(dice));
            world.change_port(PortId(i as u16), |port| {
                if i != 0 {
                    port.max_frame = max_frame;
                }
                port.suspect_checksums = suspect;
                port.offloads = takes;
            });
        }
        for i in 0..world.view.vnics.len() {
            if dice.rarely(6) {
                let (id, other) = (VnicId(i as u32), mac(dice.below(POOL)));
                let is_told_by_mac = world.port_of(id) == Some(by_mac);
                world.change_identity(id, |who| {
                    if !is_told_by_mac {
                        who.macs = [other].into();
                    }
                    who.v4_nets = [(0x0a01_0000, 0xffff_0000)].into();
                    who.v6_nets = [(0, 0)].into();
                });
            }
        }
        for i in 0..world.view.vnics.len() {
            if dice.rarely(4) {
                world.clamp(VnicId(i as u32));
            }
        }
        let sources = (0..world.view.ports.len() as u16).map(PortId).collect();
        if dice.rarely(2) {
            bandwidths(&mut world, dice);
        }
        world.view.reads_ahead = dice.rarely(2);
        Chaos {
            world,
            packets: 0,
            tenants,
            peers,
            over6,
            vlan,
            bridged,
            sources,
            store,
            questions: Vec::new(),
        }
    }

    /// What happens before the next batch, which nobody has heard of yet: answers of the store, late, in another order or never.
    pub fn news(&mut self, dice: &mut impl Dice) -> Vec<News> {
        let mut news = Vec::new();
        if dice.rarely(6) {
            news.push(News::Wait(dice.one_of(&[HZ / 10, HZ / 4, HZ, 6 * HZ])));
        }
        if dice.rarely(2) {
            news.push(News::Wait(dice.one_of(&[
                HZ / 1_000_000,
                HZ / 10_000,
                HZ / 1000,
            ])));
        }
        while !self.questions.is_empty() && dice.below(3) != 0 {
            let to = self.questions.swap_remove(dice.below(self.questions.len()));
            let view = &self.world.view;
            let is_meant = |&(segment, mac, ca, _): &Remote| match to {
                Destination::Mac(wanted, to) => wanted == segment && to == mac,
                Destination::V4(domain, to) => {
                    to == ca && view.segment(segment).is_some_and(|s| s.domain == domain)
                }
                Destination::V6(domain, to) => {
                    to == six(ca) && view.segment(segment).is_some_and(|s| s.domain == domain)
                }
            };
            let found: Vec<Remote> = self.store.iter().copied().filter(is_meant).collect();
            let is_new = |&(segment, mac, _, _): &Remote| {
                let known = view.endpoints.get(endpoint_key(segment, mac));
                known.is_none()
            };
            match dice.below(10) {
                0 => {}
                _ if found.is_empty() => news.push(News::Absent(to)),
                _ => {
                    let fresh = found.iter().copied().filter(is_new).collect();
                    news.push(News::Found(to, fresh));
                }
            }
        }
        news
    }

    /// It happens.
    pub fn hear(&mut self, news: &[News]) {
        for news in news {
            match news {
                News::Found(to, remotes) => {
                    for &remote in remotes {
                        know(&mut self.world, remote);
                    }
                    self.world.answer(*to, true);
                }
                News::Absent(to) => self.world.answer(*to, false),
                News::Wait(cycles) => self.world.wait(*cycles),
            }
        }
    }

    /// An arbitrary batch from an arbitrary port, switched; memory for copies runs out now and then.
    pub fn batch(&mut self, dice: &mut impl Dice) {
        let (port, frames) = self.draw(dice);
        self.world.receive(port, frames);
    }

    /// The same while somebody looks; what was seen.
    pub fn batch_watched(&mut self, dice: &mut impl Dice) -> Vec<(u8, Note)> {
        self.world.watch();
        self.batch(dice);
        self.world.seen()
    }

    fn draw(&mut self, dice: &mut impl Dice) -> (PortId, Vec<VecFrame>) {
        let news = self.news(dice);
        self.hear(&news);
        let (port, frames) = self.frames(dice);
        self.world.kept.copies_left = if dice.rarely(8) {
            dice.below(8)
        } else {
            usize::MAX
        };
        self.packets += frames.len() as u64;
        (port, frames)
    }

    /// An arbitrary batch from an arbitrary port, which nobody has switched yet.
    pub fn frames(&self, dice: &mut impl Dice) -> (PortId, Vec<VecFrame>) {
        let port = match dice.below(3) {
            0 => UPLINK_PORT,
            _ => dice.one_of(&self.sources),
        };
        let batches = if self.world.view.reads_ahead { 2 } else { 1 };
        let count = 1 + dice.below(batches * crate::BATCH);
        let mut frames = Vec::with_capacity(count);
        while frames.len() < count && (frames.is_empty() || !dice.is_spent()) {
            frames.push(self.frame(port, dice));
        }
        (port, frames)
    }
}
