//! Whose a frame is, read from its bytes by other means than the switch's, and whether what came out is at its own tenant.

use super::*;

impl Chaos {
    /// The design's equation, no frame lost, and every frame that came out is at its own tenant. Forgets them.
    pub fn check(&mut self) {
        self.world.assert_conserved();
        self.judge();
        let waiting = self.world.kept.held.frames() as u64 + self.world.kept.shaper.queued();
        let alive = self.world.herd.alive() as u64;
        assert_eq!(alive, waiting, "a frame leaked");
    }

    /// Every frame that came out is at its own tenant. Forgets them, and hears what the store is asked.
    pub fn judge(&mut self) {
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
        let takes = self.world.view.port(port).expect("a port that is there");
        assert_eq!(takes.party, Party::Uplink(UPLINK));
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

    /// The vNIC that a frame is of that comes from this port, by its bytes; none if it comes from the wire.
    pub(crate) fn sender(
        &self,
        port: PortId,
        bytes: &[u8],
        stripped: Option<u16>,
    ) -> Option<&Vnic> {
        let view = &self.world.view;
        let on_trunk = |is: &dyn Fn(&Vnic) -> bool| {
            let mut vnics = view.vnics.iter().flatten();
            vnics.find(|v| v.port == port && is(v)).map(|v| &**v)
        };
        match view.port(port).map(|p| p.party)? {
            Party::Vnic(id) => view.vnic(id),
            Party::TrunkByMac => {
                let src = Mac::new(*bytes.get(6..12)?.first_chunk()?);
                on_trunk(&|v| v.identity.has_mac(src))
            }
            Party::TrunkByVlan => {
                let tagged = matches!(bytes.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
                let tci = bytes.get(14..16).filter(|_| tagged);
                let inside = tci.map(|tci| u16::from_be_bytes([tci[0], tci[1]]));
                let vlan = stripped.or(inside).map(|tci| tci & 0x0fff);
                on_trunk(&|v| v.vlan == vlan)
            }
            Party::Uplink(_) => None,
        }
    }

    /// Whose a frame is that comes from this port, by its bytes.
    pub(crate) fn mark(&self, port: PortId, bytes: &[u8], stripped: Option<u16>) -> u32 {
        let tagged = matches!(bytes.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
        match self.world.view.port(port).map(|p| p.party) {
            Some(Party::Vnic(_) | Party::TrunkByMac | Party::TrunkByVlan) => {
                let sender = self.sender(port, bytes, stripped);
                sender.map(|v| owner(v.domain))
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
}
