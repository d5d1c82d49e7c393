//! By which uplinks the vNICs here may leave: where the hosts are that their VM network has something on, where its groups are sent, and
//! where it is bridged to.

use super::Plan;
use crate::config::fields::Name;
use weir_tables::view::Carriage;

/// Some of this host's uplinks, by their places in host.toml; those behind the 63rd as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uplinks(u64);

impl Uplinks {
    /// Every one.
    pub const ALL: Uplinks = Uplinks(u64::MAX);

    /// Also this one.
    pub fn add(&mut self, uplink: usize) {
        self.0 |= 1 << uplink.min(63);
    }

    /// Whether this is among them.
    pub fn has(self, uplink: usize) -> bool {
        self.0 >> uplink.min(63) & 1 == 1
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Uplinks) -> Uplinks {
        Uplinks(self.0 | other.0)
    }
}

impl Plan {
    /// What a VM network has behind this uplink, its members here may leave by.
    pub(super) fn leaves_by(&mut self, network: &Name, uplink: usize) {
        if let Some(domain) = self.domains.get_mut(network) {
            domain.uplinks.add(uplink);
        }
    }

    /// Bridged VM networks leave by the first uplink.
    pub(super) fn add_bridged_ways(&mut self) {
        let bridged = self.segments.values();
        let bridged = bridged.filter(|segment| segment.carriage == Carriage::Bridged);
        for network in bridged
            .map(|segment| segment.network.clone())
            .collect::<Vec<_>>()
        {
            self.leaves_by(&network, crate::transaction::BRIDGED.index());
        }
    }

    /// By which uplinks the members of a VM network may leave. Of one that has nothing elsewhere yet that is not known: by any.
    pub fn uplinks_of(&self, network: &Name) -> Uplinks {
        let own = self.domains.get(network).map(|domain| domain.uplinks);
        own.filter(|own| *own != Uplinks::default())
            .unwrap_or(Uplinks::ALL)
    }
}
