//! No frame of one tenant ever at another (protocols.md; RFC 7637 §3.2: the VSID alone tells them apart).
//! Every case first shows that the honest frame arrives, so that nothing here passes on a dead path.

use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use weir_switch::outlet::Receiver;
use weir_switch::testing::frames::{arp_request, ether, nvgre, tag, tenant};
use weir_switch::testing::world::{OWN_PA, PEER_MAC, UPLINK_MAC, UPLINK_PORT, World};
use weir_switch::testing::{Herd, Kept, VecFrame};
use weir_switch::{Batch, Frame, Ledger, from_uplink, from_vnic};
use weir_tables::epoch::Passer;
use weir_tables::ids::{PortId, SegmentId, UplinkId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::{Party, View};
use weir_wire::Mac;

const VSIDS: [u32; 4] = [5001, 6001, 4096, 16_777_214];
/// Tenants without a VSID: bridged, untagged on the uplink and in a VLAN.
const FLAT: usize = 4;
const IN_VLAN: usize = 5;
const VLAN: u16 = 7;
const PEER_PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn ca(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, 11 + i)
}

/// What every payload of a tenant consists of; no few bytes changed make it another's.
fn marker(tenant: usize) -> Vec<u8> {
    vec![b'A' + tenant as u8; 32]
}

/// The tenants whose payload is in these bytes.
fn marked(bytes: &[u8]) -> Vec<usize> {
    let has = |&t: &usize| {
        let mark = [b'A' + t as u8; 8];
        bytes.windows(mark.len()).any(|w| w == mark)
    };
    (0..=IN_VLAN).filter(has).collect()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Tenants that are the same but for their VSID, and two that are bridged: 0 and 1 here, 2 on another host.
struct Twins {
    world: World,
    vlan: Option<u16>,
    /// vNICs 0 and 1 of each: of those with a VSID, then of the bridged ones.
    vnics: Vec<[VnicId; 2]>,
}

impl Twins {
    fn new(tenants: usize, vlan: Option<u16>, trunked: &[bool]) -> Self {
        let mut world = World::new(256, vlan);
        let peer = world.peer(PEER_PA, Some(PEER_MAC));
        let trunk = world.trunk(Party::TrunkByVlan);
        let vnics = (0..tenants).map(|t| {
            let segment = world.segment(VSIDS[t]);
            world.remote(segment, mac(2), ca(2), peer);
            [0, 1].map(|i| {
                if trunked[2 * t + usize::from(i)] {
                    let vlan = (10 * t) as u16 + u16::from(i) + 1;
                    world.vnic_on(segment, mac(i), ca(i), trunk, Some(vlan))
                } else {
                    world.vnic(segment, mac(i), ca(i))
                }
            })
        });
        let mut vnics: Vec<_> = vnics.collect();
        for vlan in [None, Some(VLAN)] {
            let segment = world.bridged(vlan);
            vnics.push([0, 1].map(|i| world.vnic(segment, mac(i), ca(i))));
        }
        Twins { world, vlan, vnics }
    }

    /// The tenant at a place of `vnics`.
    fn who(&self, at: usize) -> usize {
        match self.vnics.len() - at {
            2 => FLAT,
            1 => IN_VLAN,
            _ => at,
        }
    }

    /// From the wire, to or as a tenant's machine there.
    fn as_machine(&mut self, who: usize, inner: &[u8]) {
        match who {
            FLAT => self.world.wire(inner),
            IN_VLAN => {
                let mut bytes = inner.to_vec();
                tag(&mut bytes, VLAN);
                self.world.wire(&bytes);
            }
            _ => self.wire(outer(VSIDS[who], inner)),
        }
    }

    /// The tenant of a frame on the uplink.
    fn on_uplink(&self, bytes: &[u8]) -> usize {
        let tagged = bytes[12..14] == [0x81, 0];
        if bytes[6..12] != UPLINK_MAC.octets() {
            assert!(!tagged || bytes[14..16] == VLAN.to_be_bytes());
            return if tagged { IN_VLAN } else { FLAT };
        }
        assert_eq!(tagged, self.vlan.is_some());
        let key = if tagged { 42 } else { 38 };
        let vsid = u32::from_be_bytes([0, bytes[key], bytes[key + 1], bytes[key + 2]]);
        VSIDS.iter().position(|&v| v == vsid).unwrap()
    }

    /// Sends as a vNIC's device would, on a trunk with the vNIC's tag.
    fn send(&mut self, from: VnicId, mut bytes: Vec<u8>) {
        if let Some(vlan) = self.world.view.vnic(from).unwrap().vlan {
            tag(&mut bytes, vlan);
        }
        self.world.send(from, &bytes);
    }

    fn wire(&mut self, mut bytes: Vec<u8>) {
        if let Some(vlan) = self.vlan {
            tag(&mut bytes, vlan);
        }
        self.world.wire(&bytes);
    }

    /// Every tenant's honest frames arrive, all three ways.
    fn honest(&mut self) {
        for (at, [a, b]) in self.vnics.clone().into_iter().enumerate() {
            let t = self.who(at);
            self.send(a, tenant(mac(1), mac(0), ca(0), ca(1), &marker(t)));
            assert_eq!(self.arrived(), [(Some(b), t)], "on this host");
            self.send(b, tenant(mac(2), mac(1), ca(1), ca(2), &marker(t)));
            assert_eq!(self.arrived(), [(None, t)], "to the wire");
            let inner = tenant(mac(0), mac(2), ca(2), ca(0), &marker(t));
            self.as_machine(t, &inner);
            assert_eq!(self.arrived(), [(Some(a), t)], "from the wire");
        }
    }

    /// What came out, each frame at the tenant whose marker it bears: the receiver (none is the uplink) and
    /// the tenant.
    fn arrived(&mut self) -> Vec<(Option<VnicId>, usize)> {
        self.world.assert_conserved();
        let out = std::mem::take(&mut self.world.kept.out);
        let each = out.into_iter().map(|(port, receiver, frame)| {
            let bytes = frame.bytes();
            let at = match receiver {
                Receiver::Vnic(id) => {
                    let vnic = self.world.view.vnic(id).unwrap();
                    assert_eq!(port, vnic.port);
                    if let Some(vlan) = vnic.vlan {
                        assert_eq!(bytes[12..16], [0x81, 0, 0, vlan as u8]);
                    }
                    let place = self.vnics.iter().position(|v| v.contains(&id));
                    self.who(place.unwrap())
                }
                Receiver::Uplink(_) => {
                    assert_eq!(port, UPLINK_PORT);
                    self.on_uplink(&bytes)
                }
            };
            let marks = marked(&bytes);
            assert!(
                marks.iter().all(|&m| m == at),
                "{marks:?} at {at}: {bytes:02x?}"
            );
            let id = match receiver {
                Receiver::Vnic(id) => Some(id),
                Receiver::Uplink(_) => None,
            };
            (id, at)
        });
        each.collect()
    }
}

fn outer(vsid: u32, inner: &[u8]) -> Vec<u8> {
    nvgre((UPLINK_MAC, PEER_MAC), (PEER_PA, OWN_PA), vsid, 7, inner)
}

/// How a tenant, or somebody on the wire, tries to reach another.
#[derive(Clone, Debug)]
enum Attack {
    /// To any MAC, claiming any MAC and CA.
    Forged { dst: u8, src: u8, ip: u8 },
    /// To all, or to a group.
    Group { dst: [u8; 6] },
    /// ARP for anybody.
    Arp { src: u8, target: u8 },
    /// A tag, or two, of somebody else's.
    Tagged { vlan: u16, twice: bool },
    /// An NVGRE packet to this host with another's VSID inside an honest packet's frame.
    Nested { to: usize, bare: bool },
    /// From the wire with a VSID, in a frame that bears the marker of that VSID's tenant.
    Wire { dst: u8, src: u8, group: bool },
    /// From the wire with another tag than the uplink's, or two.
    WireTagged { vlan: u16, stripped: Option<u16> },
    /// Noise with the marker.
    Noise(Vec<u8>),
}

fn attack() -> impl Strategy<Value = Attack> {
    let vlan = prop_oneof![Just(0_u16), Just(300), 0_u16..40];
    prop_oneof![
        (0..4_u8, 0..4_u8, 0..4_u8).prop_map(|(dst, src, ip)| Attack::Forged { dst, src, ip }),
        prop_oneof![
            Just([0xff; 6]),
            any::<[u8; 6]>().prop_map(|mut m| {
                m[0] |= 1;
                m
            })
        ]
        .prop_map(|dst| Attack::Group { dst }),
        (0..4_u8, 0..4_u8).prop_map(|(src, target)| Attack::Arp { src, target }),
        (vlan.clone(), any::<bool>()).prop_map(|(vlan, twice)| Attack::Tagged { vlan, twice }),
        (0..4_usize, any::<bool>()).prop_map(|(to, bare)| Attack::Nested { to, bare }),
        (0..4_u8, 0..4_u8, any::<bool>()).prop_map(|(dst, src, group)| Attack::Wire {
            dst,
            src,
            group
        }),
        (
            vlan,
            prop::option::of(prop_oneof![Just(0_u16), Just(300), Just(7)])
        )
            .prop_map(|(vlan, stripped)| Attack::WireTagged { vlan, stripped }),
        vec(any::<u8>(), 0..120).prop_map(Attack::Noise),
    ]
}

impl Twins {
    fn attack(&mut self, at: usize, vnic: usize, attack: &Attack, spoil: &[(usize, u8)]) {
        let from = self.vnics[at][vnic];
        let by = self.who(at);
        let (me, mine) = (mac(vnic as u8), ca(vnic as u8));
        let honest = tenant(mac(1 - vnic as u8), me, mine, ca(1), &marker(by));
        let on_the_wire = matches!(attack, Attack::Wire { .. } | Attack::WireTagged { .. });
        let mut stripped = None;
        let mut bytes = match attack {
            Attack::Forged { dst, src, ip } => {
                tenant(mac(*dst), mac(*src), ca(*ip), ca(*dst), &marker(by))
            }
            Attack::Group { dst } => ether(Mac::new(*dst), me, 0x88b5, &marker(by)),
            Attack::Arp { src, target } => {
                let mut arp = arp_request(me, ca(*src), ca(*target));
                arp.extend(marker(by));
                arp
            }
            Attack::Tagged { vlan, twice } => {
                let mut bytes = honest;
                tag(&mut bytes, *vlan);
                if *twice {
                    tag(&mut bytes, *vlan);
                }
                bytes
            }
            Attack::Nested { to, bare } => {
                let inner = tenant(mac(0), mac(2), ca(2), ca(0), &marker(by));
                let packet = outer(VSIDS[*to], &inner);
                if *bare {
                    packet
                } else {
                    ether(mac(1 - vnic as u8), me, 0x0800, &packet[14..])
                }
            }
            Attack::Wire { dst, src, group } => {
                let dst = if *group { Mac::BROADCAST } else { mac(*dst) };
                let inner = tenant(dst, mac(*src), ca(*src), ca(0), &marker(by));
                if by < FLAT {
                    outer(VSIDS[by], &inner)
                } else {
                    inner
                }
            }
            Attack::WireTagged {
                vlan,
                stripped: by_device,
            } => {
                let inner = tenant(mac(0), mac(2), ca(2), ca(0), &marker(by % FLAT));
                let mut bytes = outer(VSIDS[by % FLAT], &inner);
                tag(&mut bytes, *vlan);
                stripped = *by_device;
                bytes
            }
            Attack::Noise(bytes) => [&bytes[..], &marker(by)].concat(),
        };
        // Any header byte changed, but not what says whose a packet on the wire is.
        for &(at, value) in spoil {
            let says = at < 6 || (12..18).contains(&at) || (34..46).contains(&at);
            if at < bytes.len() && !(on_the_wire && says) {
                bytes[at] = value;
            }
        }
        match attack {
            Attack::Wire { .. } if by < FLAT => self.wire(bytes),
            Attack::Wire { .. } => self.as_machine(by, &bytes),
            Attack::WireTagged { .. } => {
                let mut frame = self.world.herd.frame(&bytes);
                frame.vlan = stripped;
                self.world.receive(UPLINK_PORT, [frame]);
            }
            _ => self.send(from, bytes),
        }
        self.arrived();
    }
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn whatever_a_tenant_sends_stays_with_it(
        tenants in 2..=4_usize,
        vlan in prop::option::of(Just(300_u16)),
        trunked in vec(any::<bool>(), 8),
        attacks in vec(
            (0..6_usize, 0..2_usize, attack(), vec((0..60_usize, any::<u8>()), 0..3)),
            1..40,
        ),
    ) {
        let mut twins = Twins::new(tenants, vlan, &trunked);
        twins.honest();
        for (by, vnic, attack, spoil) in &attacks {
            twins.attack(by % (tenants + 2), *vnic, attack, spoil);
        }
        twins.honest();
    }
}

/// Tables change in place while the worker still has the view of its turn.
struct Churn {
    world: World,
    worker: Passer,
    segments: Vec<SegmentId>,
    /// What the worker read at the start of its turn.
    seen: View,
    live: HashMap<(usize, u8), VnicId>,
    /// Removals of a key in this turn: a table holds so many of its slots.
    removed: HashMap<(usize, u8), u8>,
    /// Who is behind a port today.
    behind: HashMap<PortId, usize>,
}

#[derive(Clone, Debug)]
enum Step {
    Add(usize, u8),
    Remove(usize, u8),
    /// The worker begins its next turn.
    Turn,
    Send(usize, u8, Option<u8>),
    Wire(usize, Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let to = prop::option::weighted(0.7, 0..4_u8);
    prop_oneof![
        3 => (0..3_usize, 0..4_u8).prop_map(|(t, i)| Step::Add(t, i)),
        3 => (0..3_usize, 0..4_u8).prop_map(|(t, i)| Step::Remove(t, i)),
        1 => Just(Step::Turn),
        6 => (0..3_usize, 0..4_u8, to.clone()).prop_map(|(t, i, to)| Step::Send(t, i, to)),
        3 => (0..3_usize, to).prop_map(|(t, to)| Step::Wire(t, to)),
    ]
}

impl Churn {
    fn new() -> Self {
        let mut world = World::new(1024, None);
        let peer = world.peer(PEER_PA, Some(PEER_MAC));
        let segments: Vec<_> = VSIDS[..3].iter().map(|&v| world.segment(v)).collect();
        for &segment in &segments {
            world.remote(segment, mac(9), ca(9), peer);
        }
        let mut churn = Churn {
            seen: world.view.clone(),
            worker: world.worker.take().unwrap(),
            world,
            segments,
            live: HashMap::new(),
            removed: HashMap::new(),
            behind: HashMap::new(),
        };
        for t in 0..3 {
            churn.add(t, 0);
            churn.add(t, 1);
        }
        churn.turn();
        churn
    }

    fn add(&mut self, t: usize, i: u8) {
        if self.live.contains_key(&(t, i)) {
            return;
        }
        let id = self.world.vnic(self.segments[t], mac(i), ca(i));
        let port = self.world.port_of(id).unwrap();
        self.live.insert((t, i), id);
        self.behind.insert(port, t);
    }

    fn remove(&mut self, t: usize, i: u8) {
        let times = self.removed.entry((t, i)).or_default();
        if *times < 2
            && let Some(id) = self.live.remove(&(t, i))
        {
            *times += 1;
            self.world.remove(id);
        }
    }

    /// The worker's next turn; then every tenant's honest frames arrive.
    fn turn(&mut self) {
        self.world.settle();
        self.worker.pass();
        assert_eq!(self.world.settle(), 0);
        self.removed.clear();
        self.seen = self.world.view.clone();
        for t in 0..3 {
            let mut own: Vec<_> = self.live.iter().filter(|(k, _)| k.0 == t).collect();
            own.sort();
            if let [(&(_, i), &from), (&(_, j), &to), ..] = own[..] {
                let frame = tenant(mac(j), mac(i), ca(i), ca(j), &marker(t));
                let port = self.world.port_of(from).unwrap();
                assert_eq!(self.receive(port, t, &frame), [Receiver::Vnic(to)]);
            }
        }
    }

    fn send(&mut self, t: usize, i: u8, to: Option<u8>) {
        // From the ports that the worker still polls.
        let own = |v: &&Arc<weir_tables::view::Vnic>| {
            v.segment == self.segments[t] && v.identity.mac == mac(i)
        };
        let Some(vnic) = self.seen.vnics.iter().flatten().find(own) else {
            return;
        };
        let dst = to.map_or(Mac::BROADCAST, mac);
        let port = vnic.port;
        self.receive(port, t, &tenant(dst, mac(i), ca(i), ca(1), &marker(t)));
    }

    fn wire(&mut self, t: usize, to: Option<u8>) {
        let dst = to.map_or(Mac::BROADCAST, mac);
        let inner = tenant(dst, mac(9), ca(9), ca(1), &marker(t));
        self.receive(UPLINK_PORT, t, &outer(VSIDS[t], &inner));
    }

    /// The worker takes a frame of a tenant with the view of its turn; each receiver is the tenant's own.
    fn receive(&mut self, port: PortId, t: usize, bytes: &[u8]) -> Vec<Receiver> {
        let mut frame = self.world.herd.frame(bytes);
        frame.mark = t as u32 + 1;
        let kept = &mut self.world.kept;
        let ledger = kept.ledger.clone();
        poll(&self.seen, &ledger, port, [frame], kept);
        let mut receivers = Vec::new();
        for (port, receiver, frame) in kept.out.drain(..) {
            at_home(&self.seen, port, receiver, &frame);
            if let Receiver::Vnic(_) = receiver {
                assert_eq!(self.behind[&port], t, "the port is another tenant's by now");
            }
            receivers.push(receiver);
        }
        self.world.assert_conserved();
        receivers
    }
}

/// What a worker does with frames from a port of its view.
fn poll(
    view: &View,
    ledger: &Ledger,
    port: PortId,
    frames: impl IntoIterator<Item = VecFrame>,
    out: &mut Kept,
) {
    let mut batch: Batch<VecFrame> = frames.into_iter().collect();
    match (port, view.port(port), view.uplink(UplinkId(0))) {
        (UPLINK_PORT, _, Some(uplink)) => from_uplink::run(view, ledger, uplink, &mut batch, out),
        (_, Some(entry), _) => from_vnic::run(view, ledger, port, entry, &mut batch, out),
        _ => {}
    }
}

/// A frame that came out is at a vNIC of the tenant whose mark it bears, or under its VSID.
fn at_home(view: &View, port: PortId, receiver: Receiver, frame: &VecFrame) {
    let at = match receiver {
        Receiver::Vnic(id) => {
            let vnic = view.vnic(id).unwrap();
            assert_eq!(port, vnic.port);
            u32::from(vnic.segment.0)
        }
        Receiver::Uplink(_) => {
            let key = u32::from_be_bytes(*frame.head()[38..].first_chunk().unwrap());
            VSIDS.iter().position(|&v| v == key >> 8).unwrap() as u32
        }
    };
    assert_eq!(frame.mark, at + 1, "another tenant's frame");
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn vnics_come_and_go_between_batches(steps in vec(step(), 1..120)) {
        let mut churn = Churn::new();
        for step in steps {
            // Control looks now and then; while the worker has not passed it gets nothing back.
            churn.world.settle();
            match step {
                Step::Add(t, i) => churn.add(t, i),
                Step::Remove(t, i) => churn.remove(t, i),
                Step::Turn => churn.turn(),
                Step::Send(t, i, to) => churn.send(t, i, to),
                Step::Wire(t, to) => churn.wire(t, to),
            }
        }
        churn.turn();
    }
}

/// The same with a worker on its own thread, under load, and control that never waits for it but to reuse.
#[test]
fn vnics_come_and_go_under_load() {
    const PORTS: usize = 256;
    let rounds = if cfg!(debug_assertions) {
        4_000
    } else {
        20_000
    };
    let mut world = World::new(1024, None);
    let peer = world.peer(PEER_PA, Some(PEER_MAC));
    let segments: Vec<_> = VSIDS[..3].iter().map(|&v| world.segment(v)).collect();
    for &segment in &segments {
        world.remote(segment, mac(9), ca(9), peer);
    }
    let behind: Vec<AtomicU32> = (0..PORTS).map(|_| AtomicU32::new(0)).collect();
    let published = Mutex::new(Arc::new(world.view.clone()));
    let done = AtomicBool::new(false);
    let delivered = AtomicU32::new(0);
    let passer = world.worker.take().unwrap();
    std::thread::scope(|scope| {
        let (published, done, delivered, behind) = (&published, &done, &delivered, &behind);
        scope.spawn(move || {
            // Its own, so that a worker that fails holds nobody up.
            let mut passer = passer;
            let herd = Herd::default();
            let mut kept = Kept::default();
            let book = kept.ledger.clone();
            let mut turn = 0_usize;
            while !done.load(Ordering::Acquire) {
                // Holds nothing here; what it loads next is as new as what was retired.
                passer.pass();
                let view = Arc::clone(&published.lock().unwrap());
                turn += 1;
                for (at, entry) in view.ports.iter().enumerate() {
                    let Some(entry) = entry else { continue };
                    let t = match entry.party {
                        Party::Vnic(id) => view.vnic(id).unwrap().segment.index(),
                        _ => turn % 3,
                    };
                    let frames = (0..32).map(|n| {
                        let dst = if n == 9 { Mac::BROADCAST } else { mac(n % 5) };
                        let bytes = match entry.party {
                            Party::Vnic(id) => {
                                let own = view.vnic(id).unwrap().identity.mac;
                                ether(dst, own, 0x88b5, &[t as u8; 46])
                            }
                            _ => outer(VSIDS[t], &ether(dst, mac(9), 0x88b5, &[t as u8; 46])),
                        };
                        let mut frame = herd.frame(&bytes);
                        frame.mark = t as u32 + 1;
                        frame
                    });
                    poll(&view, &book, PortId(at as u16), frames, &mut kept);
                    for (port, receiver, frame) in kept.out.drain(..) {
                        at_home(&view, port, receiver, &frame);
                        if let Receiver::Vnic(_) = receiver {
                            let now = behind[port.index()].load(Ordering::Acquire);
                            assert_eq!(frame.mark, now, "the port is another tenant's by now");
                            delivered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
            let cells = book.cells();
            assert_eq!(cells.came(), cells.went());
            assert_eq!(herd.alive(), 0);
        });
        // Ends the worker also when an assertion here fails.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let _done = Done(done);
        let mut live: HashMap<(usize, u8), VnicId> = HashMap::new();
        let mut reused = 0;
        let mut seed = weir_switch::testing::dice::Xorshift::new(3);
        for _ in 0..rounds {
            let n = seed.next() >> 32;
            let key = ((n % 3) as usize, (n / 3 % 4) as u8);
            match live.remove(&key) {
                Some(id) => world.remove(id),
                None => {
                    let before = world.view.vnics.len();
                    let id = world.vnic(segments[key.0], mac(key.1), ca(key.1));
                    reused += usize::from(world.view.vnics.len() == before);
                    let port = world.port_of(id).unwrap();
                    behind[port.index()].store(key.0 as u32 + 1, Ordering::Release);
                    live.insert(key, id);
                }
            }
            // First the snapshot, then the epoch.
            *published.lock().unwrap() = Arc::new(world.view.clone());
            while world.settle() > 4 {
                std::thread::yield_now();
            }
        }
        let delivered = delivered.load(Ordering::Relaxed);
        eprintln!("{rounds} changes, {reused} reused an index, {delivered} frames delivered");
        assert!(reused > rounds / 4 && delivered > 1000);
    });
}

#[test]
fn a_second_tag_on_the_uplink_is_no_way_in() {
    let inner = tenant(mac(0), mac(2), ca(2), ca(0), b"x");
    for (vlan, stripped, tci, reason) in [
        (None, None, Some(0), None),
        (None, Some(0), None, None),
        (None, Some(300), Some(0), Some(Reason::OuterVlan)),
        (Some(300), Some(300), None, None),
        (Some(300), None, Some(300), None),
        (Some(300), Some(7), Some(300), Some(Reason::OuterVlan)),
    ] {
        let mut twins = Twins::new(2, vlan, &[false; 4]);
        twins.honest();
        let mut bytes = outer(5001, &inner);
        if let Some(tci) = tci {
            tag(&mut bytes, tci);
        }
        let mut frame = twins.world.herd.frame(&bytes);
        frame.vlan = stripped;
        twins.world.receive(UPLINK_PORT, [frame]);
        assert_eq!(twins.world.take().len(), usize::from(reason.is_none()));
        assert_eq!(twins.world.drops().first().map(|d| d.0), reason);
    }
}

#[test]
fn the_uplinks_arp_answer_bears_the_tag_that_the_device_took_off() {
    let mut world = World::new(64, Some(300));
    let ask = arp_request(PEER_MAC, PEER_PA, OWN_PA);
    let mut tagged = ask.clone();
    tag(&mut tagged, 300);
    world.wire(&tagged);
    let mut frame = world.herd.frame(&ask);
    frame.vlan = Some(300);
    world.receive(UPLINK_PORT, [frame]);
    let out = world.take();
    assert_eq!(out.len(), 2);
    assert_eq!(out[0].1[12..16], [0x81, 0, 1, 44]);
    assert_eq!(out[0], out[1]);
    world.assert_conserved();
}
