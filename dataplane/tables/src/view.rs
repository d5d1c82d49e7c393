//! The snapshot of everything small. A worker loads it once a turn, so that a batch meets one truth;
//! control replaces it whole and shares what did not change.

use crate::addresses::Addresses;
use crate::bandwidth::{Link, Pace, Promise};
use crate::bridged::{Bridged, Wire};
use crate::counters::Cells;
use crate::domain::Domain;
use crate::endpoints::{
    Endpoints, PeerAddresses, PeerAddresses6, Records, Records6, Rewritten, Rewritten6, peer_key,
    peer6_key,
};
use crate::exact::Exact;
use crate::filters::Filters;
use crate::ids::{DomainId, PeerId, PortId, SegmentId, UplinkId, VnicId, WorkerId};
use crate::offloads::Offloads;
use crate::peer::Peer;
use crate::steering::Steering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use weir_wire::{Mac, Vsid};

/// (trunk port, MAC or VLAN) → local vNIC, five a cache line.
pub type TrunkMembers = Exact<5, 1>;

/// Everything a worker reads. The tables behind `Arc` change in place; the rest is as it is.
#[derive(Clone)]
pub struct View {
    /// (segment, MAC) → where it lives.
    pub endpoints: Arc<Endpoints>,
    /// (routing domain, IPv4) → segment, MAC and place.
    pub records: Arc<Records>,
    /// IPv4 provider address of a vNIC → whose it is.
    pub rewritten: Arc<Rewritten>,
    /// IPv6 provider address of a vNIC → whose it is.
    pub rewritten6: Arc<Rewritten6>,
    /// What values of `records6` and `rewritten6` name by a number.
    pub addresses: Addresses,
    /// (routing domain, IPv6) → segment, MAC and place.
    pub records6: Arc<Records6>,
    /// IPv4 provider address → peer.
    pub peer_addresses: Arc<PeerAddresses>,
    /// IPv6 provider address → peer.
    pub peer_addresses6: Arc<PeerAddresses6>,
    /// (trunk, MAC or VLAN) → vNIC.
    pub trunk_members: Arc<TrunkMembers>,
    /// Peers by [`PeerId`].
    pub peers: Arc<[Peer]>,
    /// Virtual subnets by [`SegmentId`].
    pub segments: Vec<Option<Arc<Segment>>>,
    /// VSID on the wire → segment, and whether it has a member here.
    pub vsids: VsidIndex,
    /// Routing domains by [`DomainId`].
    pub domains: Vec<Option<Arc<Domain>>>,
    /// Local vNICs by [`VnicId`].
    pub vnics: Vec<Option<Arc<Vnic>>>,
    /// Ports by [`PortId`].
    pub ports: Vec<Option<Port>>,
    /// Uplinks by [`UplinkId`].
    pub uplinks: Vec<Option<Arc<Uplink>>>,
    /// Which traffic class what vNICs send is of; `None`: there are no classes.
    pub filters: Option<Arc<Filters>>,
    /// Which worker owns which vNIC.
    pub steering: Steering,
    /// Whether who receives a full burst from a vNIC's port takes the one behind it along, so that the one's lookups wait for memory
    /// while the other is worked at. Worth it where [there are large tables](Self::has_large_tables).
    pub reads_ahead: bool,
}

impl View {
    /// Whether a table that every packet of a VM may ask is larger than a core's own caches.
    pub fn has_large_tables(&self) -> bool {
        self.endpoints.is_large() || self.records.is_large()
    }

    /// The local vNIC, unless it is being removed.
    #[inline(always)]
    pub fn vnic(&self, id: VnicId) -> Option<&Vnic> {
        self.vnics.get(id.index())?.as_deref()
    }

    /// The virtual subnet.
    #[inline(always)]
    pub fn segment(&self, id: SegmentId) -> Option<&Segment> {
        self.segments.get(id.index())?.as_deref()
    }

    /// The routing domain.
    #[inline(always)]
    pub fn domain(&self, id: DomainId) -> Option<&Domain> {
        self.domains.get(id.index())?.as_deref()
    }

    /// The peer.
    #[inline(always)]
    pub fn peer(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(id.index())
    }

    /// Whether it is another host's provider address.
    pub fn is_peer(&self, pa: IpAddr) -> bool {
        match pa {
            IpAddr::V4(pa) => self.peer_addresses.get(peer_key(pa)).is_some(),
            IpAddr::V6(pa) => self.peer_addresses6.get(peer6_key(pa)).is_some(),
        }
    }

    /// The uplink.
    #[inline(always)]
    pub fn uplink(&self, id: UplinkId) -> Option<&Uplink> {
        self.uplinks.get(id.index())?.as_deref()
    }

    /// The port.
    #[inline(always)]
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(id.index())?.as_ref()
    }
}

/// A device, or a vhost-user socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Who is behind it.
    pub party: Party,
    /// Largest frame it takes, in bytes without FCS, a stripped or inserted VLAN tag not counted.
    pub max_frame: u32,
    /// The worker that receives from it, and that transmits to it for workers without a queue of their own. Of a vNIC's own port it is
    /// the vNIC's owner.
    pub owner: WorkerId,
    /// Whether frames from it may carry an unfinished checksum that the driver does not tell of
    /// (net_af_packet in 22.11 drops TP_STATUS_CSUMNOTREADY).
    pub suspect_checksums: bool,
    /// What its device does to frames on their way out.
    pub offloads: Offloads,
    /// Whether a VM whose frames are not taken keeps them, and waits, as behind a ring of its own; else its device drops them.
    pub pushes_back: bool,
    /// How long an idle worker may leave it alone, in microseconds: whatever comes then, it holds.
    pub patience_us: u32,
    /// Whether its device parts what it receives among VMDq pools, a worker's queue each: every pool gets a broadcast, and the owner's is
    /// the one that counts.
    pub pools: bool,
}

/// Who is behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// One vNIC.
    Vnic(VnicId),
    /// Many, told apart by source MAC.
    TrunkByMac,
    /// Many, told apart by VLAN.
    TrunkByVlan,
    /// The provider network.
    Uplink(UplinkId),
}

/// How a VM network's packets travel between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// Inside NVGRE (RFC 7637), under the VSID of the subnet.
    Nvgre,
    /// As IP packets whose customer addresses are rewritten to provider addresses.
    Rewrite,
    /// As they are, on the uplink's own network, untagged or in a VLAN. There is no VSID, no record and no gateway.
    Bridged,
}

/// A local vNIC.
#[derive(Debug)]
pub struct Vnic {
    /// Its index.
    pub id: VnicId,
    /// Its name in the policy.
    pub name: Arc<str>,
    /// Its virtual subnet.
    pub segment: SegmentId,
    /// Its VSID; [`Vsid::NONE`] if it is bridged.
    pub vsid: Vsid,
    /// How its packets travel between hosts.
    pub carriage: Carriage,
    /// Its VM network.
    pub domain: DomainId,
    /// Its port.
    pub port: PortId,
    /// Whether TCP handshakes that leave for another host say no larger segments than fit the way there.
    pub mss_clamp: bool,
    /// Its tag on a trunk by VLAN.
    pub vlan: Option<u16>,
    /// What it may send as.
    pub identity: Identity,
    /// Its bandwidth; `None`: nothing, it is of the default class and has no maximum.
    pub promise: Option<Arc<Promise>>,
    /// One block a worker.
    pub cells: Cells,
}

impl Vnic {
    /// What it may send.
    #[inline]
    pub fn max(&self) -> Pace {
        let promise = self.promise.as_ref();
        promise.map_or(Pace::UNLIMITED, |promise| promise.max)
    }

    /// What it may receive.
    #[inline]
    pub fn max_rx(&self) -> Pace {
        let promise = self.promise.as_ref();
        promise.map_or(Pace::UNLIMITED, |promise| promise.max_rx)
    }
}

/// What a vNIC may send as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its MAC.
    pub mac: Mac,
    /// Further MACs (`allowed_macs`).
    pub macs: Box<[Mac]>,
    /// Its IPv4 CAs.
    pub v4: Box<[Ipv4Addr]>,
    /// Further IPv4 sources (`allowed_sources`): (network, mask).
    pub v4_nets: Box<[(u32, u32)]>,
    /// Its IPv6 CAs, and the link-local addresses made from its MACs (RFC 4291 appendix A).
    pub v6: Box<[Ipv6Addr]>,
    /// Further IPv6 sources: (network, mask).
    pub v6_nets: Box<[(u128, u128)]>,
    /// Of a vNIC whose packets are rewritten, its IPv4 CAs each with its provider address: (CA, PA).
    pub v4_pas: Box<[(Ipv4Addr, Ipv4Addr)]>,
    /// The same of IPv6.
    pub v6_pas: Box<[(Ipv6Addr, Ipv6Addr)]>,
}

impl Identity {
    /// Whether it may send from `mac`.
    #[inline(always)]
    pub fn has_mac(&self, mac: Mac) -> bool {
        mac == self.mac || self.macs.contains(&mac)
    }

    /// The provider address that stands for one of its CAs.
    #[inline(always)]
    pub fn pa_v4(&self, ca: Ipv4Addr) -> Option<Ipv4Addr> {
        let pair = self.v4_pas.iter().find(|pair| pair.0 == ca);
        pair.map(|pair| pair.1)
    }

    /// The same of IPv6.
    #[inline(always)]
    pub fn pa_v6(&self, ca: Ipv6Addr) -> Option<Ipv6Addr> {
        let pair = self.v6_pas.iter().find(|pair| pair.0 == ca);
        pair.map(|pair| pair.1)
    }

    /// Whether it may send from `ip`.
    #[inline(always)]
    pub fn has_v4(&self, ip: Ipv4Addr) -> bool {
        self.v4.contains(&ip)
            || self
                .v4_nets
                .iter()
                .any(|&(net, mask)| u32::from(ip) & mask == net)
    }

    /// Whether it may send from `ip`.
    #[inline(always)]
    pub fn has_v6(&self, ip: Ipv6Addr) -> bool {
        self.v6.contains(&ip)
            || self
                .v6_nets
                .iter()
                .any(|&(net, mask)| u128::from(ip) & mask == net)
    }
}

/// A virtual subnet that vNICs of this host may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its index.
    pub id: SegmentId,
    /// Its VSID; [`Vsid::NONE`] if it is bridged.
    pub vsid: Vsid,
    /// How its packets travel between hosts.
    pub carriage: Carriage,
    /// Its VM network.
    pub domain: DomainId,
    /// The switch's own addresses in it, of which every host answers for each: the subnet's gateway.
    pub gateways: Box<[Ipv4Addr]>,
    /// The same of IPv6. Where there is one, the gateway has its link-local address too.
    pub gateways6: Box<[Gateway6]>,
    /// Members here.
    pub local: Box<[VnicId]>,
    /// Peers with members, each once: where a broadcast goes (RFC 7637 §4.2).
    pub peers: Box<[PeerId]>,
    /// Where it is on an uplink's own network, if it is bridged.
    pub wire: Option<Wire>,
    /// The provider multicast group by which its frames to many travel (RFC 7637 §4.2): from there they are accepted, and
    /// the one peer in `peers` is the group.
    pub group: Option<Ipv4Addr>,
    /// How many a frame to many may reach: members here and peers, 1 or more.
    pub copies: u32,
}

/// [`Segment::copies`] where the policy says nothing.
pub const COPIES: u32 = 1024;

/// The gateway of an IPv6 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway6 {
    /// Its address.
    pub address: Ipv6Addr,
    /// Bits of the prefix.
    pub length: u8,
}

impl Gateway6 {
    /// The prefix's network address.
    pub fn network(&self) -> Ipv6Addr {
        let behind = 128_u32.saturating_sub(u32::from(self.length));
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        (u128::from(self.address) & mask).into()
    }
}

/// An uplink.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Its index.
    pub id: UplinkId,
    /// Its name in host.toml.
    pub name: Arc<str>,
    /// Its port.
    pub port: PortId,
    /// Its MAC.
    pub mac: Mac,
    /// This host's IPv4 provider addresses on it.
    pub v4: Box<[Ipv4Addr]>,
    /// This host's IPv6 provider addresses on it.
    pub v6: Box<[Ipv6Addr]>,
    /// The IPv4 prefixes of its link, (network, mask): here this host answers for the provider addresses of its vNICs too.
    pub v4_links: Box<[(u32, u32)]>,
    /// The same of IPv6.
    pub v6_links: Box<[(u128, u128)]>,
    /// Its VLAN.
    pub vlan: Option<u16>,
    /// Its VLANs that are bridged VM networks.
    pub bridged: Option<Bridged>,
    /// Provider multicast groups of virtual subnets with members here.
    pub groups: Box<[Ipv4Addr]>,
    /// How it is shared; `None`: it takes what comes, and only the device's ring pushes back.
    pub link: Option<Arc<Link>>,
    /// One block a worker.
    pub cells: Cells,
}

impl Uplink {
    /// Whether `pa` is this host's on this uplink.
    #[inline(always)]
    pub fn has(&self, pa: Ipv4Addr) -> bool {
        self.v4.contains(&pa)
    }

    /// Whether `pa` is of its link.
    pub fn is_on_link(&self, pa: IpAddr) -> bool {
        match pa {
            IpAddr::V4(pa) => {
                let mut links = self.v4_links.iter();
                links.any(|&(network, mask)| pa.to_bits() & mask == network)
            }
            IpAddr::V6(pa) => {
                let mut links = self.v6_links.iter();
                links.any(|&(network, mask)| pa.to_bits() & mask == network)
            }
        }
    }

    /// Whether `pa` is this host's on this uplink.
    #[inline(always)]
    pub fn has_v6(&self, pa: Ipv6Addr) -> bool {
        self.v6.contains(&pa)
    }

    /// Whether it is this host's link-local address on this uplink (RFC 4291 §2.8), of which it is asked by ND alone.
    #[inline]
    pub fn is_link_local(&self, address: Ipv6Addr) -> bool {
        !self.v6.is_empty() && address == self.mac.link_local()
    }
}

/// VSID → segment in two loads: 4,096 pages of 4,096.
#[derive(Clone)]
pub struct VsidIndex {
    pages: Box<[Option<Arc<Page>>; 4096]>,
}

/// Segment plus one, with [`AWAY`] if it has no member here; 0 is none.
type Page = [u32; 4096];

const AWAY: u32 = 1 << 31;

impl Default for VsidIndex {
    fn default() -> Self {
        VsidIndex {
            pages: Box::new([const { None }; 4096]),
        }
    }
}

impl VsidIndex {
    /// The segment of a VSID with members here: what is accepted from the wire.
    #[inline(always)]
    pub fn get(&self, vsid: Vsid) -> Option<SegmentId> {
        let found = self.entry(vsid)?.checked_sub(1)?;
        (found & AWAY == 0).then_some(SegmentId(found as u16))
    }

    /// Whether vNICs here may send to this VSID.
    pub fn is_reached(&self, vsid: Vsid) -> bool {
        self.entry(vsid).is_some_and(|entry| entry != 0)
    }

    #[inline(always)]
    fn entry(&self, vsid: Vsid) -> Option<u32> {
        let vsid = vsid.get();
        let page = self.pages.get((vsid >> 12) as usize)?.as_deref()?;
        page.get((vsid & 0xfff) as usize).copied()
    }

    /// Sets or clears a VSID, and whether it has members here; copies its page.
    pub fn set(&mut self, vsid: Vsid, segment: Option<(SegmentId, bool)>) {
        let vsid = vsid.get();
        let Some(slot) = self.pages.get_mut((vsid >> 12) as usize) else {
            return;
        };
        let page = slot.get_or_insert_with(|| Arc::new([0; 4096]));
        if let Some(entry) = Arc::make_mut(page).get_mut((vsid & 0xfff) as usize) {
            let away = |here: bool| if here { 0 } else { AWAY };
            *entry = segment.map_or(0, |(id, here)| (u32::from(id.0) + 1) | away(here));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vsid_is_found_until_it_is_cleared() {
        let mut index = VsidIndex::default();
        let vsid = Vsid::new(16_777_214).unwrap();
        assert_eq!(index.get(vsid), None);
        index.set(vsid, Some((SegmentId(0), false)));
        assert_eq!((index.get(vsid), index.is_reached(vsid)), (None, true));
        index.set(vsid, Some((SegmentId(0), true)));
        assert!(index.is_reached(vsid));
        let before = index.clone();
        index.set(vsid, None);
        assert_eq!((index.get(vsid), index.is_reached(vsid)), (None, false));
        assert_eq!(
            before.get(vsid),
            Some(SegmentId(0)),
            "a snapshot stays as it was"
        );
    }
}
