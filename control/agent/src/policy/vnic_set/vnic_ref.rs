//! One vNIC of a packed policy.

use super::{More, OWN, PLAIN, Row, Vnics};
use crate::config::spans::Line;
use crate::policy::attach::Attach;
use crate::policy::bandwidth::Bandwidth;
use crate::policy::model::{Iov, Vnic};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};
use weir_wire::Mac;

/// A vNIC in its [`Vnics`].
#[derive(Clone, Copy)]
pub struct VnicRef<'a> {
    pub(super) set: &'a Vnics,
    pub(super) row: &'a Row,
    pub(super) place: usize,
}

impl<'a> VnicRef<'a> {
    fn more(self) -> Option<&'a More> {
        self.set.more.get(self.row.more as usize)
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        self.set.name(self.place)
    }

    /// The host it is on.
    pub fn host(self) -> &'a str {
        self.set.hosts.get(self.host_index()).map_or("", |it| it)
    }

    /// Which of [`Vnics::hosts`] it is on.
    pub fn host_index(self) -> usize {
        self.row.host as usize
    }

    /// The subnet it is in.
    pub fn subnet(self) -> &'a str {
        self.set
            .subnets
            .get(self.subnet_index())
            .map_or("", |(subnet, _)| subnet)
    }

    /// Which of [`Vnics::subnets`] it is in.
    pub fn subnet_index(self) -> usize {
        self.row.subnet as usize
    }

    /// The VM network that its subnet is of.
    pub fn network(self) -> &'a str {
        self.set
            .subnets
            .get(self.subnet_index())
            .map_or("", |(_, network)| network)
    }

    /// Its MAC address.
    pub fn mac(self) -> Mac {
        Mac::new(self.row.mac)
    }

    /// Its one customer address, if it is an IPv4 one and nothing is written of the vNIC that may be left out but its bandwidth: as it
    /// is with nearly all that are elsewhere.
    pub fn plain(self) -> Option<Ipv4Addr> {
        (self.row.more == PLAIN).then(|| self.row.v4.into())
    }

    /// Its customer addresses.
    pub fn addresses(self) -> impl Iterator<Item = IpAddr> + Clone + 'a {
        let more = self
            .more()
            .into_iter()
            .flat_map(|more| more.addresses.iter().copied());
        self.plain().map(IpAddr::from).into_iter().chain(more)
    }

    /// How the VM is connected.
    pub fn attach(self) -> Option<&'a Attach> {
        self.more()?.attach.as_ref()
    }

    /// See [`Vnic::provider_addresses`].
    pub fn provider_addresses(self) -> &'a [IpAddr] {
        self.more().map_or(&[], |more| &more.provider_addresses)
    }

    /// The VM's MTU in bytes, if it is written.
    pub fn mtu(self) -> Option<u16> {
        self.more()?.mtu
    }

    /// Source prefixes it may send from besides its own addresses.
    pub fn allowed_sources(self) -> &'a [IpNet] {
        self.more().map_or(&[], |more| &more.allowed_sources)
    }

    /// MAC addresses it may send from besides its own.
    pub fn allowed_macs(self) -> &'a [Mac] {
        self.more().map_or(&[], |more| &more.allowed_macs)
    }

    /// What it is promised and held to.
    pub fn bandwidth(self) -> Bandwidth {
        match self.row.profile {
            0 => Bandwidth::default(),
            OWN => self.more().map(|more| more.bandwidth).unwrap_or_default(),
            place => {
                let profile = self.set.profiles.get(usize::from(place) - 1);
                profile.copied().unwrap_or_default()
            }
        }
    }

    /// Whether it is the host's own.
    pub fn is_management(self) -> bool {
        self.more().is_some_and(|more| more.management)
    }

    /// What it asks of SR-IOV.
    pub fn iov(self) -> &'a Iov {
        self.more().map_or(&Iov::Software, |more| &more.iov)
    }

    /// Where it is written.
    pub fn line(self) -> Line {
        Line(self.row.line)
    }

    /// Where its attach is written, or else the vNIC.
    pub fn attach_line(self) -> Line {
        self.more().map_or(self.line(), |more| more.attach_line)
    }

    /// All of it.
    pub fn to_vnic(self) -> Vnic {
        Vnic {
            name: self.name().into(),
            host: self.host().into(),
            subnet: self.subnet().into(),
            network: self.network().into(),
            mac: self.mac(),
            addresses: self.addresses().collect(),
            attach: self.attach().cloned(),
            provider_addresses: self.provider_addresses().into(),
            mtu: self.mtu(),
            allowed_sources: self.allowed_sources().into(),
            allowed_macs: self.allowed_macs().into(),
            bandwidth: self.bandwidth(),
            management: self.is_management(),
            iov: self.iov().clone(),
            line: self.line(),
            attach_line: self.attach_line(),
        }
    }
}

/// By what they are, not by where they are written.
impl PartialEq for VnicRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.row.profile == OWN || other.row.profile == OWN {
            // What is beside the row depends on who came before.
            return self.to_vnic() == other.to_vnic();
        }
        (self.row.mac, self.plain()) == (other.row.mac, other.plain())
            && self.name() == other.name()
            && self.host() == other.host()
            && (self.subnet(), self.network()) == (other.subnet(), other.network())
            && self.more() == other.more()
            && self.bandwidth() == other.bandwidth()
    }
}

impl std::fmt::Debug for VnicRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_vnic().fmt(f)
    }
}
