//! A packet that is only imagined: control takes it through the very stages that workers run, on the view that they read, with
//! nobody's counters and no port at the end.

use std::net::IpAddr;

use weir_switch::Batch;
use weir_switch::held::Held;
use weir_switch::leave::{Shaper, Wait};
use weir_switch::ledger::Ledger;
use weir_switch::memory::{Herd, VecFrame};
use weir_switch::outlet::{Event, Outlet, Receiver};
use weir_switch::receive::receive;
use weir_switch::recorder::{Note, Recorder};
use weir_switch::shape::Settings;
use weir_switch::watch::{Seen, Watched};
use weir_tables::domain::GATEWAY_MAC;
use weir_tables::endpoints::Destination;
use weir_tables::ids::{PortId, VnicId};
use weir_tables::reason::Reason;
use weir_tables::view::Carriage;
use weir_wire::Mac;

use super::ask::{Described, ImagineWish, Kind, PacketTrace};
use super::{frame, refusal};
use crate::policy::{Subnet, VnicRef};
use crate::state::State;
use crate::stats::PolicyError;

/// Takes everything, and lets it go.
struct Nowhere {
    held: Held<VecFrame>,
    shaper: Shaper<VecFrame>,
}

impl Outlet for Nowhere {
    type Frame = VecFrame;
    type Plain = VecFrame;

    fn offer(&mut self, _: PortId, _: Receiver, _: VecFrame) -> Result<(), (Reason, VecFrame)> {
        Ok(())
    }

    fn refuse(&mut self, _: Receiver, _: Reason, _: VecFrame) {}

    fn copy(&mut self, frame: &VecFrame) -> Option<VecFrame> {
        Some(frame.duplicate())
    }

    fn part(
        &mut self,
        frame: &VecFrame,
        front: &[u8],
        start: usize,
        length: usize,
    ) -> Option<VecFrame> {
        Some(frame.part(front, start, length))
    }

    fn tell(&mut self, _: Event) {}

    fn held(&mut self) -> &mut Held<VecFrame> {
        &mut self.held
    }

    fn hold(&mut self, to: Destination, from: VnicId, frame: VecFrame) -> Result<(), VecFrame> {
        self.held.add(to, from, frame)
    }

    fn is_shaping(&self) -> bool {
        false
    }

    fn is_here(&self, _: PortId) -> bool {
        true
    }

    fn room(&mut self, _: PortId, _: usize) -> usize {
        usize::MAX
    }

    fn shaper(&mut self) -> &mut Shaper<VecFrame> {
        &mut self.shaper
    }

    fn wait(&mut self, wait: Wait, frame: VecFrame) -> Result<(), (Reason, VecFrame)> {
        wait.begin(&mut self.shaper, frame)
    }
}

impl State {
    /// What would become of a packet.
    pub fn imagine(&self, wish: &ImagineWish) -> Result<PacketTrace, Vec<PolicyError>> {
        let (port, vlan) = self.entrance(wish)?;
        let bytes = match (&wish.packet, &wish.described) {
            (Some(text), None) => frame::from_hex(text).map_err(|problem| {
                refusal(
                    "packet",
                    problem,
                    "write the frame's bytes in hexadecimal, without FCS",
                )
            })?,
            (None, Some(described)) => self.describe(wish.vnic.as_deref(), described)?,
            _ => {
                let mend = "give its bytes with --packet, or describe it with --to";
                return Err(refusal("packet", "it is not said which", mend));
            }
        };
        let mut frame = Herd::default().frame(&bytes);
        frame.vlan = vlan;
        Ok(self.carry(port, frame))
    }

    /// The port that the packet comes from, and the tag that its device takes off.
    fn entrance(&self, wish: &ImagineWish) -> Result<(PortId, Option<u16>), Vec<PolicyError>> {
        let view = &self.tables.view;
        let found = match (&wish.vnic, &wish.uplink) {
            (Some(name), None) => {
                let id = self.local_vnic(name)?;
                view.vnic(id).map(|vnic| (vnic.port, vnic.vlan))
            }
            (None, Some(name)) => {
                let id = self.uplink_named(name)?;
                view.uplink(id).map(|uplink| (uplink.port, None))
            }
            _ => None,
        };
        found.ok_or_else(|| {
            let mend = "name a vNIC of this host with --vnic, or an uplink with --uplink";
            refusal("packet", "it is not said where it comes from", mend)
        })
    }

    fn carry(&self, port: PortId, frame: VecFrame) -> PacketTrace {
        let (now, hz) = (rte::clock::tsc(), rte::clock::hz().max(1));
        let witness = Recorder::default();
        let mut nowhere = Nowhere {
            held: Held::new(1, 1, 0, hz),
            shaper: Shaper::new(Settings::new(hz, 0, 0, 0)),
        };
        let mut batch = Batch::new();
        batch.push(Seen::new(frame, &witness, 0));
        let ledger = Ledger::imagined(now, hz);
        let mut out = Watched::new(&mut nowhere, &witness);
        receive(&self.tables.view, &ledger, port, &mut batch, &mut out);
        let items: Vec<_> = witness
            .take()
            .into_iter()
            .map(|(_, note)| {
                let length = match &note {
                    Note::Seen { bytes, .. } => bytes.len() as u64,
                    Note::Step(_) => 0,
                };
                (note, length)
            })
            .collect();
        PacketTrace {
            imagined: true,
            ..self.packet_trace(&items)
        }
    }

    /// The bytes of a described packet.
    fn describe(&self, from: Option<&str>, wish: &Described) -> Result<Vec<u8>, Vec<PolicyError>> {
        let vnic = from.and_then(|name| self.policy.vnics.get(name));
        let subnet = vnic.and_then(|vnic| self.policy.subnets.get(vnic.subnet()));
        let (Some(vnic), Some(subnet)) = (vnic, subnet) else {
            let mend =
                "describe what a vNIC sends (--vnic), or give the packet's bytes with --packet";
            return Err(refusal(
                "packet",
                "what comes from an uplink cannot be described",
                mend,
            ));
        };
        let mut own = vnic.addresses();
        let own = own.find(|own| own.is_ipv4() == wish.to.is_ipv4());
        let Some(source) = wish.src.or(own) else {
            let problem = format!("it has no address of the family of {}", wish.to);
            return Err(refusal(
                &format!("vnic {}", vnic.name()),
                problem,
                "write --src ADDRESS",
            ));
        };
        let destination = match &wish.mac {
            Some(text) => text.parse().map_err(|_| {
                refusal(
                    "packet",
                    format!("{text} is no MAC address"),
                    "write --mac 02:00:00:00:01:02",
                )
            })?,
            None => self.next_mac(vnic, subnet, wish)?,
        };
        frame::build(vnic.mac(), destination, source, wish)
            .map_err(|problem| refusal("packet", problem, "change --size, --src or --to"))
    }

    /// What a VM would find by ARP or ND, or know by itself.
    fn next_mac(
        &self,
        vnic: VnicRef<'_>,
        subnet: &Subnet,
        wish: &Described,
    ) -> Result<Mac, Vec<PolicyError>> {
        let to = wish.to;
        if let Some(mac) = group_mac(to).or((wish.kind == Kind::Arp).then_some(Mac::BROADCAST)) {
            return Ok(mac);
        }
        if subnet.prefixes.iter().all(|prefix| !prefix.contains(&to))
            && subnet.carriage() != Carriage::Bridged
            || subnet.gateways().any(|gateway| gateway == to)
        {
            return Ok(GATEWAY_MAC);
        }
        let mut there = self.policy.vnics.iter();
        let found = there.find(|other| {
            other.subnet() == vnic.subnet() && other.addresses().any(|own| own == to)
        });
        found.map(|other| other.mac()).ok_or_else(|| {
            let problem = format!("no vNIC of subnet {} has {to}, so that a VM would find no MAC for it", subnet.name);
            refusal("packet", problem, "write --arp to see what becomes of the question, or --mac MAC to send it all the same")
        })
    }
}

/// The MAC of a broadcast or multicast address (RFC 1112 §6.4, RFC 2464 §7).
fn group_mac(to: IpAddr) -> Option<Mac> {
    match to {
        IpAddr::V4(to) if to.is_broadcast() => Some(Mac::BROADCAST),
        IpAddr::V4(to) if to.is_multicast() => {
            let [_, b, c, d] = to.octets();
            Some(Mac::new([1, 0, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(to) if to.is_multicast() => {
            let [.., a, b, c, d] = to.octets();
            Some(Mac::new([0x33, 0x33, a, b, c, d]))
        }
        _ => None,
    }
}
