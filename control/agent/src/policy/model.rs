//! What a policy says, with every reference resolved.
//!
//! Values compare by what they mean and not by where they are written ([`Line`]), so that the difference of two
//! policies is a comparison, object by object.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use weir_tables::view::Carriage;
use weir_wire::{Mac, Vsid};

use super::attach::Attach;
use super::bandwidth::Bandwidth;
use super::dcb::Dcb;
use super::to_many::ToMany;
use super::traffic_class::TrafficClass;
use super::vnic_set::{VnicRef, Vnics};
use crate::config::fields::{Fault, Name};
use crate::config::host::HostConfig;
use crate::config::spans::Line;

/// A whole policy. Names are unique within a kind.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// What refusals call the file; not part of what the policy says, and not compared.
    pub origin: String,
    /// `[[host]]`, by name.
    pub hosts: BTreeMap<Name, Host>,
    /// `[[switch]]`, by name; one named `default` is always there.
    pub switches: BTreeMap<Name, Switch>,
    /// `[[vm_network]]`, by name.
    pub networks: BTreeMap<Name, Network>,
    /// `[[vm_network.subnet]]`, by name: vNICs name a subnet alone, so its name is its own across VM networks.
    pub subnets: BTreeMap<Name, Subnet>,
    /// `[[vm_network.route]]`, in the file's order.
    pub routes: Vec<Route>,
    /// `[[traffic_class]]`, in the file's order: the first that takes a frame has it.
    pub traffic_classes: Vec<TrafficClass>,
    /// `[[vnic]]`, by name.
    pub vnics: Vnics,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Policy) -> bool {
        self.hosts == other.hosts
            && self.switches == other.switches
            && self.networks == other.networks
            && self.subnets == other.subnets
            && self.routes == other.routes
            && self.traffic_classes == other.traffic_classes
            && self.vnics == other.vnics
    }
}

/// A host of the provider's network.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name.
    pub name: Name,
    /// Its provider addresses; of those that another host reaches, the first is where it sends to the vNICs here. No other host
    /// has one of them.
    pub provider_addresses: Vec<IpAddr>,
    /// Whether what decapsulates there knows RFC 6040: then outer headers bear the tenants' ECN fields, else none.
    pub ecn: bool,
    /// Where it is written.
    pub line: Line,
    /// Where its provider addresses are written, or else the host.
    pub addresses_line: Line,
}

/// A virtual switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Switch {
    /// Its name; always `default` in this version.
    pub name: Name,
    /// How minimum bandwidth is expressed; the same as long as there are vNICs on it.
    pub bandwidth_mode: BandwidthMode,
    /// The DCB traffic classes of its uplinks; if none is written, there is one.
    pub dcb: Vec<Dcb>,
    /// Whether vNICs may have VFs; the same as long as the daemon runs.
    pub iov: bool,
    /// Where it is written; line 0 if it is not.
    pub line: Line,
}

/// How minimum bandwidth is expressed on a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BandwidthMode {
    /// As weights, 1 to 100.
    Weight,
    /// In bit/s.
    Absolute,
    /// There is none.
    None,
}

impl BandwidthMode {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            BandwidthMode::Weight => "weight",
            BandwidthMode::Absolute => "absolute",
            BandwidthMode::None => "none",
        }
    }
}

/// A VM network: a tenant's routing domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its name.
    pub name: Name,
    /// How it is kept apart; never `External` in this version.
    pub isolation: Isolation,
    /// Its one segment, of which all its subnets are, if it is bridged.
    pub bridged: Option<SegmentKey>,
    /// Whether TCP handshakes of its vNICs that leave for another host say no larger segments than fit the way there.
    pub mss_clamp: bool,
    /// Where it is written.
    pub line: Line,
}

/// How a VM network is kept apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Bridged to its uplink untagged.
    None,
    /// By a VLAN.
    Vlan,
    /// By network virtualization: each subnet has a VSID.
    Nv,
    /// By a forwarding extension.
    External,
}

/// A virtual subnet of a VM network.
#[derive(Clone, Debug, PartialEq)]
pub struct Subnet {
    /// Its name.
    pub name: Name,
    /// The VM network that it is of.
    pub network: Name,
    /// What keeps it apart on the wire; of a virtual subnet no other has it.
    pub segment: SegmentKey,
    /// Its prefixes, in the file's order; none overlaps another of the same VM network. The first host address of
    /// each is the switch's own, [`Subnet::gateways`].
    pub prefixes: Vec<IpNet>,
    /// How its packets travel between hosts.
    pub translation: Translation,
    /// How its broadcast and multicast travel.
    pub to_many: ToMany,
    /// Where it is written.
    pub line: Line,
}

/// What keeps a layer-2 segment apart from others on the wire, and stands for it in control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKey {
    /// A virtual subnet, by its VSID.
    Virtual(Vsid),
    /// What is untagged on the uplink.
    Flat,
    /// A VLAN of the uplink, 1 to 4094.
    Vlan(u16),
}

impl SegmentKey {
    /// The VSID of a virtual subnet.
    pub fn vsid(self) -> Option<Vsid> {
        match self {
            SegmentKey::Virtual(vsid) => Some(vsid),
            SegmentKey::Flat | SegmentKey::Vlan(_) => None,
        }
    }

    /// The VLAN of a bridged segment, `None` inside if it is untagged; `None` of a virtual subnet.
    pub fn bridged(self) -> Option<Option<u16>> {
        match self {
            SegmentKey::Virtual(_) => None,
            SegmentKey::Flat => Some(None),
            SegmentKey::Vlan(vlan) => Some(Some(vlan)),
        }
    }
}

impl Subnet {
    /// How its packets travel between hosts.
    pub fn carriage(&self) -> Carriage {
        match (self.segment, self.translation) {
            (SegmentKey::Virtual(_), Translation::Nvgre) => Carriage::Nvgre,
            (SegmentKey::Virtual(_), Translation::Rewrite) => Carriage::Rewrite,
            (SegmentKey::Flat | SegmentKey::Vlan(_), _) => Carriage::Bridged,
        }
    }

    /// The address of each prefix that belongs to the switch: network + 1 (protocols.md, "Network virtualization"). None of a
    /// bridged one, whose router is the uplink network's.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let own = self.carriage() != Carriage::Bridged;
        self.prefixes.iter().filter(move |_| own).map(gateway_of)
    }
}

/// The address that the switch itself has in `prefix`: network + 1.
pub fn gateway_of(prefix: &IpNet) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(network) => IpAddr::V4(network.to_bits().wrapping_add(1).into()),
        IpAddr::V6(network) => IpAddr::V6(network.to_bits().wrapping_add(1).into()),
    }
}

/// How a subnet's packets travel between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Inside NVGRE.
    Nvgre,
    /// With their addresses rewritten.
    Rewrite,
}

/// A customer route of a VM network.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The VM network that it is of.
    pub network: Name,
    /// The destinations. Another route of the VM network may have them, with another metric.
    pub prefix: IpNet,
    /// The next hop: the customer address of a vNIC of the VM network.
    pub via: IpAddr,
    /// Lowest wins among routes of one prefix; 0 if it is not written.
    pub metric: u32,
    /// Where it is written.
    pub line: Line,
}

impl Route {
    /// What `weir get route` and `weir delete route` call it: `NETWORK/PREFIX`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.network, self.prefix)
    }
}

/// A virtual NIC, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Vnic {
    /// Its name.
    pub name: Name,
    /// The host it is on.
    pub host: Name,
    /// The subnet it is in.
    pub subnet: Name,
    /// The VM network that the subnet is of.
    pub network: Name,
    /// Its MAC address; no other vNIC of the subnet has it.
    pub mac: Mac,
    /// Its customer addresses, each inside a prefix of the subnet; no other vNIC of the subnet has one of them.
    pub addresses: Vec<IpAddr>,
    /// How the VM is connected; needed on the host where it is only.
    pub attach: Option<Attach>,
    /// At most one, of its host, [`Policy::tunnel_addresses`] gives the default; where packets are rewritten one of its own
    /// for each customer address ([`VnicRef::pairs`](crate::policy::VnicRef::pairs)).
    pub provider_addresses: Vec<IpAddr>,
    /// The VM's MTU in bytes, if it is written.
    pub mtu: Option<u16>,
    /// Source prefixes it may send from besides its own addresses.
    pub allowed_sources: Vec<IpNet>,
    /// MAC addresses it may send from besides its own.
    pub allowed_macs: Vec<Mac>,
    /// What it is promised and held to.
    pub bandwidth: Bandwidth,
    /// Whether it is the host's own: what it sends is management.
    pub management: bool,
    /// Whether, and how much, it asks for a VF.
    pub iov: Iov,
    /// Where it is written.
    pub line: Line,
    /// Where its attach is written, or else the vNIC.
    pub attach_line: Line,
}

/// What a vNIC asks of SR-IOV.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Iov {
    /// Nothing: it is on its software path.
    #[default]
    Software,
    /// Any VF, before those of a lower weight: 1 to 100.
    Weight(u8),
    /// This VF and no other.
    Pinned(VfPin),
}

/// A VF as it is written: `PF/INDEX`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VfPin {
    /// The PF: the name of the uplink that is on it, its interface or its PCI address.
    pub pf: Name,
    /// The VF's index.
    pub index: u16,
}

impl std::fmt::Display for VfPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pf, self.index)
    }
}

impl std::str::FromStr for VfPin {
    type Err = Fault;

    fn from_str(text: &str) -> Result<VfPin, Fault> {
        let odd = || {
            Fault::new(
                format!("\"{}\" is not PF/INDEX", text.escape_debug()),
                "write it such as \"up0/3\"",
            )
        };
        let (pf, index) = text.rsplit_once('/').ok_or_else(odd)?;
        // A sign is no index. What a file of sysfs cannot be called is no PF.
        let is_name = !pf.is_empty() && !pf.contains(['/', ' ']) && !pf.starts_with('.');
        if !is_name || !index.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(odd());
        }
        Ok(VfPin {
            pf: pf.into(),
            index: index.parse().map_err(|_| odd())?,
        })
    }
}

impl Policy {
    /// Whether the one switch is made for SR-IOV.
    pub fn iov(&self) -> bool {
        self.switches.values().any(|switch| switch.iov)
    }

    /// How the one switch shares.
    pub fn bandwidth_mode(&self) -> BandwidthMode {
        let mut switches = self.switches.values();
        switches
            .next()
            .map_or(BandwidthMode::None, |switch| switch.bandwidth_mode)
    }

    /// The provider addresses by which `vnic` may be reached, the preferred one first: its own, or else those of its host,
    /// which `here` describes if the policy does not. None of a host that has none.
    pub fn tunnel_addresses(&self, vnic: VnicRef<'_>, here: &HostConfig) -> Vec<IpAddr> {
        let subnet = self.subnets.get(vnic.subnet());
        // Where packets are rewritten its own stand for it, not for its host.
        let rewritten = subnet.is_some_and(|s| s.translation == Translation::Rewrite);
        if !vnic.provider_addresses().is_empty() && !rewritten {
            return vnic.provider_addresses().to_vec();
        }
        match self.hosts.get(vnic.host()) {
            Some(host) => host.provider_addresses.clone(),
            None if *vnic.host() == *here.name => here.provider_addresses().collect(),
            None => Vec::new(),
        }
    }
}
