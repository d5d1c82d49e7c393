//! Arbitrary frames for a host: honest, mutated or noise, in one piece or in several.

use super::*;

impl Chaos {
    /// An arbitrary frame for a port: honest, mutated or noise, in one piece or in several.
    pub(super) fn frame(&self, port: PortId, dice: &mut impl Dice) -> VecFrame {
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
