//! Neighbour discovery of tenants: what is answered from records and by the gateway, what is left alone, what is forged.

use std::net::{Ipv4Addr, Ipv6Addr};
use weir_switch::testing::frames::{ether, icmp6, ipv6};
use weir_switch::testing::world::{PEER_MAC, UPLINK_PORT, World};
use weir_tables::domain::{GATEWAY_LINK_LOCAL, GATEWAY_MAC};
use weir_tables::ids::{PortId, SegmentId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::Mac;
use weir_wire::icmp6::Icmp6;
use weir_wire::ipv6::Ipv6;
use weir_wire::nd::{Advertisement, Flags, Message, NdOption, Solicitation, solicited_node};

const PA: Ipv4Addr = Ipv4Addr::new(192, 168, 50, 2);
const ANY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const ALL: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

fn mac(i: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 1, i])
}

fn web(i: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, i.into())
}

fn db(i: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, i.into())
}

/// 11 and 13 of web are here, 12 behind a peer; 21 of db is here. Red has the same, and a 15 that blue lacks.
struct Net {
    world: World,
    a: VnicId,
    c: VnicId,
    segment: SegmentId,
}

fn net() -> Net {
    let mut world = World::new(256, None);
    let peer = world.peer(PA, Some(PEER_MAC));
    let mut made = Vec::new();
    for (tenant, vsids) in [[5001, 5002], [6001, 6002]].into_iter().enumerate() {
        let domain = world.domain();
        let first = world.subnet(domain, vsids[0], Ipv4Addr::new(10, 1, 0, 1));
        let second = world.subnet(domain, vsids[1], Ipv4Addr::new(10, 2, 0, 1));
        world.subnet6(first, web(1), 64);
        world.subnet6(second, db(1), 64);
        let mut vnic = |segment, i, ca: Ipv6Addr| {
            let id = world.vnic(segment, mac(i), Ipv4Addr::new(10, 1, 0, i));
            world.address6(id, ca);
            id
        };
        let a = vnic(first, 11, web(11));
        let c = vnic(first, 13, web(13));
        vnic(second, 21, db(21));
        if tenant == 1 {
            vnic(first, 15, web(15));
        }
        world.remote(first, mac(12), Ipv4Addr::new(10, 1, 0, 12), peer);
        world.remote6(first, mac(12), web(12), peer);
        made.push((a, c, first));
    }
    let (a, c, segment) = made[0];
    Net {
        world,
        a,
        c,
        segment,
    }
}

impl Net {
    fn send(&mut self, bytes: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let from = self.a;
        self.world.send(from, bytes);
        let out = self.world.take();
        self.world.assert_conserved();
        out
    }

    /// The one answer, which goes to the asker.
    fn answer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let own = self.world.port_of(self.a).unwrap();
        let out = self.send(bytes);
        assert_eq!(out.iter().map(|o| o.0).collect::<Vec<_>>(), [own]);
        out[0].1.clone()
    }

    /// To the other member here and to the peer, as it was sent.
    fn is_flooded(&mut self, bytes: &[u8]) {
        let there = self.world.port_of(self.c).unwrap();
        let out = self.send(bytes);
        let ports: Vec<_> = out.iter().map(|o| o.0).collect();
        assert_eq!(ports, [there, UPLINK_PORT]);
        assert_eq!(out[0].1, bytes);
    }

    fn refused(&mut self, bytes: &[u8], reason: Reason) {
        let count = |net: &Net| {
            let drops = net.world.drops();
            drops.iter().find(|d| d.0 == reason).map_or(0, |d| d.1)
        };
        let before = count(self);
        assert_eq!(self.send(bytes), [], "{reason:?}");
        assert_eq!(count(self), before + 1, "{reason:?}");
    }
}

/// The MAC of a multicast group (RFC 2464 §7).
fn group(address: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = address.octets();
    Mac::new([0x33, 0x33, a, b, c, d])
}

/// 11's question for an address, as it is asked of all who may have it.
fn question(from: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let to = solicited_node(target);
    let asked = Solicitation {
        target,
        mac: mac(11),
    };
    let mut message = asked.octets(from, to).to_vec();
    if from == ANY {
        // RFC 4861 §4.3: none from the unspecified address.
        message.truncate(24);
    }
    ether(group(to), mac(11), 0x86dd, &icmp6(from, to, 255, &message))
}

/// What an answer says: (target, its MAC, flags); who hears it.
fn said(got: &[u8]) -> ((Ipv6Addr, Mac, Flags), (Mac, Ipv6Addr)) {
    let ip = Ipv6::parse(&got[14..]).unwrap();
    assert_eq!(got.len(), 14 + 40 + usize::from(ip.payload_len()));
    assert_eq!(ip.hop_limit(), 255);
    let message = Icmp6::parse(ip.payload()).unwrap();
    assert!(message.checksum_is_right(ip.source(), ip.destination()));
    let Message::NeighborAdvertisement {
        flags,
        target,
        options,
    } = Message::parse(&message).unwrap()
    else {
        panic!("{got:02x?}");
    };
    assert_eq!(ip.source(), target);
    let to = Mac::new(*got.first_chunk().unwrap());
    assert_eq!(
        Some(Mac::new(got[6..12].try_into().unwrap())),
        options.target_mac()
    );
    (
        (target, options.target_mac().unwrap(), flags),
        (to, ip.destination()),
    )
}

#[test]
fn neighbours_of_the_subnet_are_found_in_the_records() {
    let mut net = net();
    let flags = Flags::SOLICITED.with(Flags::OVERRIDE);
    for (target, of) in [(web(12), mac(12)), (web(13), mac(13))] {
        for from in [web(11), mac(11).link_local()] {
            let got = net.answer(&question(from, target));
            assert_eq!(said(&got), ((target, of, flags), (mac(11), from)));
        }
    }
    // In pieces, and behind a longer head than the answer.
    let asked = question(web(11), web(12));
    let frame = net
        .world
        .herd
        .chain(&[&asked[..30], &asked[30..61], &asked[61..], &[0; 40]]);
    let from = net.a;
    net.world.send_frame(from, frame);
    let got = net.world.take();
    assert_eq!(said(&got[0].1).0, (web(12), mac(12), flags));
    // Others' subnets, others' networks and nobody: to the members, as any multicast.
    for target in [db(21), web(15), web(99), mac(12).link_local()] {
        net.is_flooded(&question(web(11), target));
    }
}

#[test]
fn the_gateway_is_a_router_by_each_of_its_names() {
    let mut net = net();
    let flags = Flags::SOLICITED.with(Flags::OVERRIDE).with(Flags::ROUTER);
    for target in [web(1), GATEWAY_LINK_LOCAL] {
        let asked = question(web(11), target);
        let wanted = ((target, GATEWAY_MAC, flags), (mac(11), web(11)));
        assert_eq!(said(&net.answer(&asked)), wanted);
        // RFC 4861 §7.3.3: is it still there, by unicast.
        let still = Solicitation {
            target,
            mac: mac(11),
        };
        let packet = icmp6(web(11), target, 255, &still.octets(web(11), target));
        let still = ether(GATEWAY_MAC, mac(11), 0x86dd, &packet);
        assert_eq!(said(&net.answer(&still)), wanted);
    }
    // Not that of the other subnet: another link.
    net.is_flooded(&question(web(11), db(1)));
    // Without a prefix there is no gateway.
    let mut bare = World::new(64, None);
    let domain = bare.domain();
    let segment = bare.subnet(domain, 5001, Ipv4Addr::new(10, 1, 0, 1));
    let a = bare.vnic(segment, mac(11), Ipv4Addr::new(10, 1, 0, 11));
    bare.send(a, &question(mac(11).link_local(), GATEWAY_LINK_LOCAL));
    assert_eq!(bare.take(), []);
}

/// RFC 4862 §5.4, RFC 4861 §7.2.4: to all nodes, and not solicited. Only to the one who asks.
#[test]
fn a_duplicate_is_found_and_ones_own_address_is_not() {
    let mut net = net();
    let all = (group(ALL), ALL);
    for (target, of, flags) in [
        (web(12), mac(12), Flags::OVERRIDE),
        (web(13), mac(13), Flags::OVERRIDE),
        (web(1), GATEWAY_MAC, Flags::OVERRIDE.with(Flags::ROUTER)),
    ] {
        let got = net.answer(&question(ANY, target));
        assert_eq!(said(&got), ((target, of, flags), all));
    }
    for own in [web(11), mac(11).link_local()] {
        net.is_flooded(&question(ANY, own));
    }
    // There is no room before the packet for what the answer is longer by: the question goes on as it was.
    let asked = question(ANY, web(12));
    let frame = net.world.herd.chain_behind(7, &[&asked]);
    let from = net.a;
    net.world.send_frame(from, frame);
    let there = net.world.port_of(net.c).unwrap();
    assert_eq!(net.world.take()[0], (there, asked));
}

/// RFC 4861 §7.1.1: what is not a solicitation by its every rule is none.
#[test]
fn what_is_no_valid_question_is_not_answered() {
    let mut net = net();
    let asked = question(web(11), web(12));
    net.answer(&asked);
    let mut routed = asked.clone();
    routed[21] = 254;
    net.is_flooded(&routed);
    let mut wrong = asked.clone();
    wrong[57] ^= 1;
    net.is_flooded(&wrong);
    let mut code = asked.clone();
    code[55] = 1;
    net.refused(&code, Reason::Malformed);
    let mut short = asked.clone();
    short[79] = 0;
    net.refused(&short, Reason::Malformed);
}

/// RFC 4861 §6.2.6: from the gateway, in answer.
#[test]
fn who_asks_for_routers_is_told_of_the_gateway() {
    let mut net = net();
    let with_mac = [&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1][..], &mac(11).octets()].concat();
    let bare = vec![133, 0, 0, 0, 0, 0, 0, 0];
    for (from, message, hears) in [
        (
            mac(11).link_local(),
            &with_mac,
            (mac(11), mac(11).link_local()),
        ),
        (ANY, &bare, (group(ALL), ALL)),
    ] {
        let packet = icmp6(from, ROUTERS, 255, message);
        let got = net.answer(&ether(group(ROUTERS), mac(11), 0x86dd, &packet));
        assert_eq!(got[..6], hears.0.octets());
        assert_eq!(got[6..12], GATEWAY_MAC.octets());
        let ip = Ipv6::parse(&got[14..]).unwrap();
        assert_eq!(got.len(), 54 + usize::from(ip.payload_len()));
        assert_eq!(
            (ip.source(), ip.destination(), ip.hop_limit()),
            (GATEWAY_LINK_LOCAL, hears.1, 255)
        );
        let message = Icmp6::parse(ip.payload()).unwrap();
        assert!(message.checksum_is_right(ip.source(), ip.destination()));
        let Message::RouterAdvertisement { router, options } = Message::parse(&message).unwrap()
        else {
            panic!("{got:02x?}");
        };
        assert_eq!((router.hop_limit, router.lifetime), (64, u16::MAX));
        assert!(!router.managed && !router.other);
        assert_eq!(options.source_mac(), Some(GATEWAY_MAC));
        let mut prefixes = options.iter().filter_map(|option| match option {
            NdOption::Prefix(prefix) => Some(prefix),
            _ => None,
        });
        let prefix = prefixes.next().unwrap();
        assert_eq!((prefix.prefix, prefix.length), (web(0), 64));
        // On the link for ever; addresses are those of the policy.
        assert!(prefix.on_link && !prefix.autonomous && prefix.valid == u32::MAX);
        assert_eq!(prefixes.next(), None);
        // RFC 4191 §2.3: `::/0` by this router, for ever.
        let route = NdOption::Other {
            kind: 24,
            body: &[0, 0, 0xff, 0xff, 0xff, 0xff],
        };
        assert_eq!(options.iter().filter(|option| *option == route).count(), 1);
    }
    // There is room for half of the answer: the question goes on as it was.
    let packet = icmp6(ANY, ROUTERS, 255, &bare);
    let asked = ether(group(ROUTERS), mac(11), 0x86dd, &packet);
    let (from, herd) = (net.a, net.world.herd.clone());
    net.world.send_frame(from, herd.chain_behind(40, &[&asked]));
    let there = net.world.port_of(net.c).unwrap();
    assert_eq!(net.world.take()[0], (there, asked));
    // A subnet without an IPv6 prefix has no router.
    assert!(net.world.view.segment(net.segment).is_some());
    let mut bare_world = World::new(64, None);
    let segment = bare_world.segment(7001);
    let a = bare_world.vnic(segment, mac(11), Ipv4Addr::new(10, 1, 0, 11));
    let packet = icmp6(ANY, ROUTERS, 255, &bare);
    bare_world.send(a, &ether(group(ROUTERS), mac(11), 0x86dd, &packet));
    assert_eq!(bare_world.take(), []);
}

#[test]
fn nobody_speaks_for_another() {
    let mut net = net();
    let said = |target, mac| {
        let flags = Flags::OVERRIDE;
        let said = Advertisement { flags, target, mac };
        said.octets(web(11), ALL)
    };
    let frame = |message: &[u8]| {
        let packet = icmp6(web(11), ALL, 255, message);
        ether(group(ALL), mac(11), 0x86dd, &packet)
    };
    net.is_flooded(&frame(&said(web(11), mac(11))));
    net.is_flooded(&frame(&said(mac(11).link_local(), mac(11))));
    // Another's address, or the gateway's, at one's own MAC; one's own at another's.
    for (target, at) in [
        (web(12), mac(11)),
        (web(1), mac(11)),
        (GATEWAY_LINK_LOCAL, mac(11)),
        (web(11), mac(12)),
        (web(11), GATEWAY_MAC),
    ] {
        net.refused(&frame(&said(target, at)), Reason::SpoofedArp);
    }
    // A question plants its asker's MAC in the neighbour's cache, and a router's words the router's (RFC 4861 §6.3.4, §7.2.3).
    let forged = Solicitation {
        target: web(12),
        mac: mac(13),
    };
    net.refused(&frame(&forged.octets(web(11), ALL)), Reason::SpoofedArp);
    for (kind, fixed) in [(133, 8), (134, 16)] {
        let mut message = vec![0; fixed];
        message[0] = kind;
        message.extend([1, 1]);
        message.extend(mac(13).octets());
        net.refused(&frame(&message), Reason::SpoofedArp);
    }
    // RFC 7113: behind extension headers.
    let message = said(web(12), mac(11));
    let packet = icmp6(web(11), ALL, 255, &message);
    let mut behind = ipv6(
        web(11),
        ALL,
        60,
        &[&[58, 0, 1, 4, 0, 0, 0, 0], &packet[40..]].concat(),
    );
    behind[7] = 255;
    net.refused(
        &ether(group(ALL), mac(11), 0x86dd, &behind),
        Reason::SpoofedArp,
    );
    // RFC 6980: in fragments; and behind so many headers that nobody looks there.
    let fragment = [&[58, 0, 0, 1, 0, 0, 0, 7], &packet[40..]].concat();
    let fragment = ipv6(web(11), ALL, 44, &fragment);
    net.refused(
        &ether(group(ALL), mac(11), 0x86dd, &fragment),
        Reason::Malformed,
    );
    let mut many = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    many[64] = 58;
    let many = ipv6(web(11), ALL, 60, &[&many, &packet[40..]].concat());
    net.refused(
        &ether(group(ALL), mac(11), 0x86dd, &many),
        Reason::Malformed,
    );
    // Who may have others' addresses may speak for them, by its own MAC.
    let a = net.a;
    let nets = [(u128::from(web(0)), u128::MAX << 64)];
    net.world
        .change_identity(a, |who| who.v6_nets = nets.into());
    net.is_flooded(&frame(&said(web(77), mac(11))));
    net.refused(&frame(&said(web(77), mac(12))), Reason::SpoofedArp);
}
