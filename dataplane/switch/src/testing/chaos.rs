//! Arbitrary hosts and arbitrary packets, one generator for the property tests, the fuzzer and the long run.
//! Who a frame belongs to is read from its bytes by other means than the switch's and noted on it
//! ([`VecFrame::mark`]), so that [`Chaos::check`] sees a frame at the wrong tenant whatever is in it.

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
    OWN_PA, OWN_PA6, PEER_MAC, UPLINK_FRAME, UPLINK_MAC, UPLINK_PORT, World, v6_of,
};
use crate::testing::{HEADROOM, HZ, VecFrame};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use weir_tables::domain::{Hop, Route};
use weir_tables::endpoints::{Destination, endpoint_key};
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
                let other = mac(dice.below(POOL));
                world.change_identity(VnicId(i as u32), |who| {
                    who.macs = [other].into();
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
        let count = 1 + dice.below(crate::BATCH);
        let mut frames = Vec::with_capacity(count);
        while frames.len() < count && (frames.is_empty() || !dice.is_spent()) {
            frames.push(self.frame(port, dice));
        }
        (port, frames)
    }

    /// The design's equation, no frame lost, and every frame that came out is at its own tenant. Forgets them.
    pub fn check(&mut self) {
        self.world.assert_conserved();
        for (port, receiver, frame) in &self.world.kept.out {
            match *receiver {
                Receiver::Vnic(id) => self.check_delivered(*port, id, frame),
                Receiver::Uplink(_) => self.check_sent(*port, frame),
            }
        }
        self.world.kept.out.clear();
        for event in self.world.kept.events.drain(..) {
            if let Event::Miss { to, .. } = event
                && !self.questions.contains(&to)
            {
                self.questions.push(to);
            }
        }
        let held = self.world.kept.held.frames();
        assert_eq!(self.world.herd.alive(), held as isize, "a frame leaked");
    }

    fn check_delivered(&self, port: PortId, id: VnicId, frame: &VecFrame) {
        let vnic = self.world.view.vnic(id).expect("a receiver that is there");
        let takes = self.world.view.port(port).expect("a port that is there");
        assert_eq!(port, vnic.port);
        assert_eq!(
            frame.mark & 0xffff,
            owner(vnic.domain),
            "another tenant's frame at {}: {:02x?}",
            vnic.name,
            frame.bytes()
        );
        let tag = vnic.vlan.map_or(0, |vlan| {
            let [hi, lo] = vlan.to_be_bytes();
            assert_eq!(frame.head()[12..16], [0x81, 0, hi, lo]);
            4
        });
        // What is still to be cut has no tag, so that its headers are where they are looked for.
        assert!(segment::longest(frame) - tag <= takes.max_frame as usize);
        assert!(!frame.is_unfinished() || segment::is_taken(takes.offloads, frame) && tag == 0);
    }

    fn check_sent(&self, port: PortId, frame: &VecFrame) {
        assert_eq!(port, UPLINK_PORT);
        let head = frame.head();
        // A reply keeps the tag of its question, be it one of priority alone.
        let at = if head[12..14] == [0x81, 0] { 18 } else { 14 };
        let vlan = (at == 18).then(|| u16::from_be_bytes([head[14], head[15]]) & 0x0fff);
        if let Some(&own) = self.bridged.iter().find(|b| owner(b.1) == frame.mark) {
            return self.check_bridged(own.0, frame);
        }
        assert_eq!(
            vlan.unwrap_or(0),
            self.vlan.unwrap_or(0),
            "the uplink's VLAN"
        );
        let uplink = self.world.view.port(port).expect("the uplink's port");
        let v6 = head[at - 2..at] == [0x86, 0xdd];
        let is_plain = match v6 {
            true => tenant_of_pa6(&head[at + 8..at + 24]).is_some() && frame.mark & FROM_WIRE == 0,
            false => head[at - 2..at] == [8, 0] && head[at + 12..at + 16] != OWN_PA.octets(),
        };
        let (checksum, segments) = match is_plain {
            true => (Offloads::CHECKSUM, Offloads::SEGMENTS),
            false => (Offloads::TUNNEL_CHECKSUM, Offloads::TUNNEL_SEGMENTS),
        };
        let left = checksum.union(segments.when(frame.gso.is_some()));
        let left = uplink.offloads.contains(left);
        assert!(!frame.is_unfinished() || left || frame.mark & FROM_WIRE != 0);
        if head[at - 2..at] == [8, 6] {
            assert!(
                frame.mark == FROM_WIRE || self.shares(frame.mark ^ FROM_WIRE),
                "a tenant's ARP on the provider network"
            );
            assert_eq!(head[at + 6..at + 8], [0, 2], "a reply");
            return;
        }
        if v6 && head[at + 6] == 58 && !is_plain {
            assert!(
                frame.mark == FROM_WIRE || self.shares(frame.mark ^ FROM_WIRE),
                "a tenant's ND on the provider network"
            );
            assert_eq!(
                (head[at + 7], head[at + 40]),
                (255, 136),
                "an advertisement"
            );
            return;
        }
        assert_eq!(frame.mark & FROM_WIRE, 0, "from the wire back to it");
        let gre = if v6 { at + 40 } else { at + 20 };
        let tenant = (frame.mark as usize).checked_sub(1).expect("a tenant's");
        let total = u16::from_be_bytes([head[at + 2], head[at + 3]]);
        let longest = |front: usize| match frame.gso {
            None => frame.len(),
            Some(gso) => {
                let inner = &head[front..];
                let l4 = L4::find(inner, frame.len() - front).expect("TCP to be cut");
                let headers = l4.headers(inner).expect("its header");
                frame
                    .len()
                    .min(front + headers + usize::from(gso.segment_size))
            }
        };
        assert!(
            v6 || head[at - 2..at] == [8, 0],
            "IP travels, and nothing else"
        );
        if is_plain {
            assert!(longest(at - 14) - (at - 14) <= usize::from(UPLINK_FRAME));
            if v6 {
                let length = u16::from_be_bytes([head[at + 4], head[at + 5]]);
                assert!(at + 40 + usize::from(length) <= frame.len());
                for pa in [&head[at + 8..at + 24], &head[at + 24..at + 40]] {
                    assert_eq!(tenant_of_pa6(pa), Some(tenant), "another tenant's address");
                }
                return;
            }
            let words = usize::from(head[at] & 0x0f);
            assert_eq!(checksum::sum(&head[at..at + words * 4]), 0xffff);
            assert!(at + usize::from(total) <= frame.len());
            for pa in [&head[at + 12..at + 16], &head[at + 16..at + 20]] {
                assert_eq!(tenant_of_pa(pa), Some(tenant), "another tenant's address");
            }
            return;
        }
        let vsid = u32::from_be_bytes([0, head[gre + 4], head[gre + 5], head[gre + 6]]);
        assert_eq!(
            tenant_of(vsid, VSIDS.len()),
            Some(tenant),
            "another tenant's VSID {vsid}"
        );
        assert_eq!(head[gre..gre + 4], [0x20, 0, 0x65, 0x58]);
        if v6 {
            assert_eq!((head[at] >> 4, head[at + 6], head[at + 7]), (6, 47, 64));
            assert_eq!(head[at + 8..at + 24], OWN_PA6.octets());
            let length = u16::from_be_bytes([head[at + 4], head[at + 5]]);
            assert_eq!(gre + usize::from(length), frame.len());
        } else {
            assert_eq!(checksum::sum(&head[at..at + 20]), 0xffff);
            assert_eq!(head[at + 12..at + 16], OWN_PA.octets());
            let total = u16::from_be_bytes([head[at + 2], head[at + 3]]);
            assert_eq!(at + usize::from(total), frame.len());
        }
        assert!(longest(gre + 8) - (at - 14) <= usize::from(UPLINK_FRAME));
    }

    /// Whether it is the mark of a bridged VM network on the provider's own network.
    fn shares(&self, mark: u32) -> bool {
        let own = self.vlan.unwrap_or(0);
        self.bridged
            .iter()
            .any(|&(vlan, domain)| vlan == own && owner(domain) == mark)
    }

    /// In its own VLAN, with no other tag, and whole.
    fn check_bridged(&self, vlan: u16, frame: &VecFrame) {
        let head = frame.head();
        let at = if vlan == 0 {
            12
        } else {
            let [hi, lo] = vlan.to_be_bytes();
            assert_eq!(head[12..16], [0x81, 0, hi, lo], "the VM network's VLAN");
            16
        };
        assert!(
            !matches!(head[at..at + 2], [0x81, 0] | [0x88, 0xa8]),
            "a tag of the VM's own"
        );
        let uplink = self
            .world
            .view
            .port(UPLINK_PORT)
            .expect("the uplink's port");
        let left = Offloads::CHECKSUM.union(Offloads::SEGMENTS.when(frame.gso.is_some()));
        assert!(!frame.is_unfinished() || (vlan == 0 && uplink.offloads.contains(left)));
        let longest = crate::segment::longest(frame);
        assert!(longest - (at - 12) <= usize::from(UPLINK_FRAME));
    }

    /// The bridged VM network that a frame from the wire is of, by its bytes: by the one VLAN that it came in, unless it is
    /// the provider's.
    fn bridged_on_wire(&self, bytes: &[u8], stripped: Option<u16>) -> Option<DomainId> {
        let tagged = matches!(bytes.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
        let inside = bytes
            .get(14..16)
            .filter(|_| tagged)
            .map(|b| u16::from_be_bytes([b[0], b[1]]));
        let vlan = stripped.or(inside).unwrap_or(0) & 0x0fff;
        let to_host = bytes.get(..6) == Some(&UPLINK_MAC.octets());
        if vlan == self.vlan.unwrap_or(0) && self.is_to_group(bytes, if tagged { 18 } else { 14 }) {
            return None;
        }
        let of = self.bridged.iter().find(|&&(own, _)| own == vlan)?;
        (!to_host).then_some(of.1)
    }

    /// Whether it is to a provider group that this host listens to, and no IGMP, which is everybody's.
    fn is_to_group(&self, bytes: &[u8], at: usize) -> bool {
        let uplink = self.world.view.uplink(UplinkId(0)).expect("the uplink");
        let to = bytes
            .get(at + 16..at + 20)
            .map(|b| [b[0], b[1], b[2], b[3]]);
        let listens = to.is_some_and(|to| uplink.groups.contains(&to.into()));
        listens && bytes[at - 2..at] == [8, 0] && bytes[at + 9] != 2
    }

    /// Whose a frame is that comes from this port, by its bytes.
    fn mark(&self, port: PortId, bytes: &[u8], stripped: Option<u16>) -> u32 {
        let view = &self.world.view;
        let on_trunk = |is: &dyn Fn(&Vnic) -> bool| {
            let mut vnics = view.vnics.iter().flatten();
            vnics
                .find(|v| v.port == port && is(v))
                .map(|v| owner(v.domain))
        };
        let tagged = matches!(bytes.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
        let tci = |at: usize| {
            bytes
                .get(at..at + 2)
                .map(|b| u16::from_be_bytes([b[0], b[1]]))
        };
        match view.port(port).map(|p| p.party) {
            Some(Party::Vnic(id)) => view.vnic(id).map(|v| owner(v.domain)),
            Some(Party::TrunkByMac) => bytes
                .get(6..12)
                .and_then(|src| on_trunk(&|v| v.identity.mac.octets() == src)),
            Some(Party::TrunkByVlan) => {
                let inside = if tagged { tci(14) } else { None };
                let vlan = stripped.or(inside).map(|tci| tci & 0x0fff);
                on_trunk(&|v| v.vlan == vlan)
            }
            _ if let Some(domain) = self.bridged_on_wire(bytes, stripped) => {
                Some(FROM_WIRE | owner(domain))
            }
            _ => {
                let at = if tagged { 18 } else { 14 };
                let v6 = bytes.get(at - 2..at) == Some(&[0x86, 0xdd]);
                let header = match bytes.get(at) {
                    Some(_) if v6 => Some(40).filter(|_| bytes.get(at + 6) == Some(&47)),
                    Some(first) => Some(usize::from(first & 0x0f) * 4),
                    None => None,
                };
                let key = header
                    .map(|header| at + header + 4)
                    .and_then(|key| bytes.get(key..key + 3));
                let vsid = key.map(|k| u32::from_be_bytes([0, k[0], k[1], k[2]]));
                let arp = bytes.get(at - 2..at) == Some(&[8, 6]);
                // Between provider addresses of vNICs it is theirs, if they are of one tenant.
                let addresses = bytes.get(at + 12..at + 20).unwrap_or_default();
                let six = bytes.get(at + 8..at + 40).unwrap_or_default();
                let tenant = match addresses.split_at_checked(4) {
                    _ if v6
                        && let Some((from, to)) = six.split_at_checked(16)
                        && let Some(tenant) = tenant_of_pa6(to) =>
                    {
                        tenant_of_pa6(from).filter(|from| *from == tenant)
                    }
                    Some((from, to)) if tenant_of_pa(to).is_some() => {
                        tenant_of_pa(from).filter(|from| Some(*from) == tenant_of_pa(to))
                    }
                    _ => vsid.and_then(|vsid| tenant_of(vsid, self.tenants)),
                };
                let tenant = tenant.filter(|_| !arp);
                Some(FROM_WIRE | tenant.map_or(0, |t| t as u32 + 1))
            }
        }
        .unwrap_or(0)
    }

    /// An arbitrary frame for a port: honest, mutated or noise, in one piece or in several.
    fn frame(&self, port: PortId, dice: &mut impl Dice) -> VecFrame {
        let mut stripped = None;
        let mut checksum = L4Checksum::Unknown;
        let mut bytes = match dice.below(16) {
            15 => {
                let length = dice.below(200);
                dice.literal(length)
            }
            _ => self.sensible(port, dice, &mut stripped, &mut checksum),
        };
        if dice.rarely(3) {
            mutate(&mut bytes, dice);
        }
        if dice.rarely(12) {
            checksum = dice.one_of(&[L4Checksum::Good, L4Checksum::Bad, L4Checksum::Partial]);
        }
        if dice.rarely(16) {
            stripped = dice.one_of(&[None, Some(0), Some(UPLINK_VLAN), Some(1), Some(101)]);
        }
        let mut frame = self.cut(&bytes, dice);
        frame.mark = self.mark(port, &bytes, stripped);
        frame.vlan = stripped;
        frame.checksum = checksum;
        // TCP that a VM left to its device to cut, and what claims to be.
        let tcp = L4::find(&bytes, bytes.len()).filter(|l4| l4.protocol == IpProtocol::TCP);
        if let Some(tcp) = tcp
            && dice.rarely(3)
        {
            frame.checksum = L4Checksum::Partial;
            frame.gso = Some(Gso {
                segment_size: dice.one_of(&[1448, 536, 90, 11]),
                kind: if tcp.is_v6 {
                    GsoKind::Tcp6
                } else {
                    GsoKind::Tcp4
                },
            });
        } else if dice.rarely(24) {
            frame.gso = Some(Gso {
                segment_size: dice.one_of(&[1448, 0, 1, 65_535]),
                kind: dice.one_of(&[GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp]),
            });
        }
        frame
    }

    /// In one segment or up to five, some of one byte, some behind too little room.
    fn cut(&self, bytes: &[u8], dice: &mut impl Dice) -> VecFrame {
        let headroom = if dice.rarely(12) {
            dice.below(HEADROOM)
        } else {
            HEADROOM
        };
        let mut segments: Vec<&[u8]> = Vec::with_capacity(5);
        let mut rest = bytes;
        if dice.rarely(3) {
            for _ in 0..dice.below(5) {
                let wanted = match dice.below(3) {
                    0 => 1,
                    1 => dice.below(60),
                    _ => dice.below(rest.len() + 1),
                };
                let (own, left) = rest.split_at(wanted.min(rest.len()));
                segments.push(own);
                rest = left;
            }
        }
        segments.push(rest);
        self.world.herd.chain_behind(headroom, &segments)
    }

    /// What an honest or a cunning sender behind this port may send.
    fn sensible(
        &self,
        port: PortId,
        dice: &mut impl Dice,
        stripped: &mut Option<u16>,
        sum: &mut L4Checksum,
    ) -> Vec<u8> {
        let members: Vec<&Vnic> = {
            let all = self.world.view.vnics.iter().flatten();
            all.map(|v| &**v).filter(|v| v.port == port).collect()
        };
        if port == UPLINK_PORT || members.is_empty() {
            return self.on_the_wire(dice, stripped, sum);
        }
        let vnic = dice.one_of(&members);
        let src = if dice.rarely(8) {
            mac(dice.below(POOL))
        } else {
            vnic.identity.mac
        };
        let ip = match (vnic.identity.v4.first(), dice.rarely(8)) {
            (Some(&own), false) => own,
            _ => ca(dice.below(POOL)),
        };
        let mut bytes = packet(src, ip, dice, sum);
        if dice.rarely(10) {
            frames::tag(&mut bytes, dice.one_of(&[0, 5, 300, 101, 0xe001]));
        }
        if let Some(vlan) = vnic.vlan {
            if dice.rarely(3) {
                *stripped = Some(vlan);
            } else {
                frames::tag(&mut bytes, vlan);
            }
        }
        bytes
    }

    /// Mostly an address that none of these vNICs here has.
    fn stranger(&self, is_member: impl Fn(&Vnic) -> bool, dice: &mut impl Dice) -> usize {
        let first = dice.below(POOL);
        let is_here = |&i: &usize| {
            let mut vnics = self.world.view.vnics.iter().flatten();
            vnics.any(|v| is_member(v) && v.identity.mac == mac(i))
        };
        if dice.rarely(8) {
            return first;
        }
        let mut all = (0..POOL).map(|i| (first + i) % POOL);
        all.find(|i| !is_here(i)).unwrap_or(first)
    }

    /// A packet between provider addresses of vNICs, mostly of one tenant, mostly from another host to here; or what a
    /// router says about one.
    fn rewritten_on_the_wire(&self, dice: &mut impl Dice, sum: &mut L4Checksum) -> Vec<u8> {
        let here = self.world.view.vnics.iter().flatten();
        let here: Vec<Ipv4Addr> = here
            .flat_map(|vnic| vnic.identity.v4_pas.iter().map(|pair| pair.1))
            .collect();
        let any = |dice: &mut _| vnic_pa(Dice::below(dice, self.tenants), 0, 0);
        let to = match here.is_empty() || dice.rarely(8) {
            true => any(dice),
            false => dice.one_of(&here),
        };
        let tenant = match dice.rarely(8) {
            true => dice.below(self.tenants),
            false => tenant_of_pa(&to.octets()).unwrap_or_default(),
        };
        let from = vnic_pa(tenant, dice.below(2), dice.below(POOL));
        let mut bytes = packet(PEER_MAC, from, dice, sum);
        if dice.rarely(6) {
            let (source, destination) = if dice.rarely(4) {
                (from, to)
            } else {
                (to, from)
            };
            readdress(&mut bytes, source, destination);
            readdress6(&mut bytes, source, destination);
            let about = bytes.get(14..).unwrap_or_default();
            return match dice.rarely(2) {
                true => icmp_error(about, to, dice),
                false => icmp6_error(about, v6_of(to), dice),
            };
        }
        let from = if dice.rarely(12) { pa(9) } else { from };
        readdress(&mut bytes, from, to);
        readdress6(&mut bytes, from, to);
        bytes
    }

    fn on_the_wire(
        &self,
        dice: &mut impl Dice,
        stripped: &mut Option<u16>,
        sum: &mut L4Checksum,
    ) -> Vec<u8> {
        if !self.bridged.is_empty() && dice.rarely(3) {
            return self.on_a_bridged_wire(dice, stripped, sum);
        }
        let number = dice.below(self.peers);
        let (peer, v6) = (pa(number), self.over6[number] || dice.rarely(16));
        let bytes = if dice.rarely(24) {
            question(dice)
        } else if dice.rarely(8) && v6 {
            neighbour_discovery(v6_of(peer), dice)
        } else if dice.rarely(8) {
            let own = vnic_pa(0, 0, dice.below(POOL));
            frames::arp_request(PEER_MAC, peer, dice.one_of(&[OWN_PA, pa(7), own]))
        } else if dice.rarely(5) {
            self.rewritten_on_the_wire(dice, sum)
        } else {
            let vsid = match dice.below(12) {
                9 => SECOND[dice.below(self.tenants)],
                10 => VSIDS[3],
                11 => dice.word() >> 8,
                _ => VSIDS[dice.below(self.tenants)],
            };
            let from = self.stranger(|v| v.vsid.get() == vsid, dice);
            let inner = packet(mac(from), ca(from), dice, sum);
            let vsid = Vsid::from_wire(vsid).get();
            let peer = if dice.rarely(10) { pa(9) } else { peer };
            let own = if dice.rarely(10) { pa(9) } else { OWN_PA };
            let flow = dice.below(256) as u8;
            if v6 {
                let (macs, pas) = ((UPLINK_MAC, PEER_MAC), (v6_of(peer), v6_of(own)));
                *sum = L4Checksum::Unknown;
                return self.tagged(over6(macs, pas, vsid, flow, &inner, dice), dice, stripped);
            }
            let (to, own) = if dice.rarely(6) {
                let group = dice.one_of(&GROUPS);
                (ipv4::group_mac(group), group)
            } else {
                (UPLINK_MAC, own)
            };
            let mut bytes = frames::nvgre((to, PEER_MAC), (peer, own), vsid, flow, &inner);
            if dice.rarely(8)
                && let Some(header) = bytes.get_mut(14..).and_then(<[u8]>::first_chunk_mut)
            {
                ipv4::set_tos(header, dice.below(4) as u8);
            }
            if dice.rarely(8) {
                forge(&mut bytes, dice);
            }
            if dice.rarely(16) {
                // A router's word about a packet like this one, from here or not.
                if dice.rarely(2) {
                    bytes.copy_within(26..30, 30);
                    bytes[26..30].copy_from_slice(&OWN_PA.octets());
                }
                bytes = icmp_error(&bytes[14..], OWN_PA, dice);
            }
            bytes
        };
        *sum = L4Checksum::Unknown;
        self.tagged(bytes, dice, stripped)
    }

    /// In the uplink's VLAN, or not.
    fn tagged(
        &self,
        mut bytes: Vec<u8>,
        dice: &mut impl Dice,
        stripped: &mut Option<u16>,
    ) -> Vec<u8> {
        match (self.vlan, dice.below(4)) {
            (Some(vlan), 0) => *stripped = Some(vlan),
            (Some(vlan), _) => frames::tag(&mut bytes, vlan | 0x2000),
            (None, 3) => frames::tag(&mut bytes, dice.one_of(&[0, UPLINK_VLAN])),
            (None, _) => {}
        }
        bytes
    }

    /// What a machine on the uplink's own network sends in the VLAN of a bridged VM network, or in another.
    fn on_a_bridged_wire(
        &self,
        dice: &mut impl Dice,
        stripped: &mut Option<u16>,
        sum: &mut L4Checksum,
    ) -> Vec<u8> {
        let (vlan, domain) = dice.one_of(&self.bridged);
        let from = self.stranger(|v| v.domain == domain, dice);
        let mut bytes = match dice.below(8) {
            7 => frames::arp_request(mac(from), ca(from), dice.one_of(&[OWN_PA, ca(1), pa(7)])),
            // About the provider's addresses, or about others in the same groups.
            6 => neighbour_discovery(v6_of(pa(from)), dice),
            _ => packet(mac(from), ca(from), dice, sum),
        };
        *sum = L4Checksum::Unknown;
        let vlan = if dice.rarely(8) {
            dice.one_of(&[0, 100, 101, 102, UPLINK_VLAN])
        } else {
            vlan
        };
        match dice.below(4) {
            3 => *stripped = Some(vlan | 0x6000),
            0 | 1 if vlan == 0 => {}
            _ => frames::tag(&mut bytes, vlan | 0x2000),
        }
        if dice.rarely(16) {
            frames::tag(&mut bytes, dice.one_of(&[0, 100, 101]));
        }
        bytes
    }
}

/// A router's question about groups, or about one; from near or far.
fn question(dice: &mut impl Dice) -> Vec<u8> {
    let group = dice.one_of(&[igmp::ALL_HOSTS, GROUPS[0], GROUPS[1]]);
    let query = Query {
        group: Some(group).filter(|&group| group != igmp::ALL_HOSTS),
        within: Duration::from_secs(10),
        is_v3: dice.rarely(2),
    };
    let mut packet = frames::ipv4(pa(9), group, 2, &query.octets());
    if let Some(header) = packet.first_chunk_mut() {
        ipv4::set_ttl(header, dice.one_of(&[1, 1, 64]));
    }
    frames::ether(ipv4::group_mac(group), PEER_MAC, 0x0800, &packet)
}
