//! The uplink of bridged VM networks in a transaction: which of its VLANs are theirs, and that it hears what is for their
//! VMs.

use std::sync::Arc;

use weir_tables::bridged::Bridged;
use weir_tables::ids::UplinkId;

use crate::config::spans::Line;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::state::State;
use crate::stats::PolicyError;

/// The uplink of bridged VM networks: the first of host.toml.
pub(crate) const BRIDGED: UplinkId = UplinkId(0);

impl State {
    /// Tells the uplink which of its VLANs are bridged VM networks, by the segments of the view.
    pub(super) fn prepare_bridged(&mut self) {
        let segments = self.tables.view.segments.iter().flatten();
        let bridged = Bridged::of(segments.filter_map(|s| Some((s.wire?.vlan, s.id))));
        if let Some(Some(uplink)) = self.tables.view.uplinks.get_mut(BRIDGED.index())
            && uplink.bridged != bridged
        {
            Arc::make_mut(uplink).bridged = bridged;
        }
    }

    /// Has the uplink receive what is for bridged VMs, whose MAC addresses are not its own, before there is one.
    pub(super) fn widen_uplink(
        &mut self,
        policy: &Policy,
        plan: &Plan,
    ) -> Result<(), Vec<PolicyError>> {
        let first = plan
            .vnics
            .iter()
            .find(|(_, vnic)| vnic.segment.bridged().is_some());
        let Some((name, vnic)) = first.filter(|_| !is_bridged(&self.plan)) else {
            return Ok(());
        };
        let Err(problem) = self.hear_all(true) else {
            return Ok(());
        };
        let network = policy.networks.get(&vnic.network);
        let line = network.map(|network| network.line);
        let line = line.or(policy.vnics.get(name).map(|vnic| vnic.line()));
        let problem = format!("its uplink does not receive for other MAC addresses: {problem}");
        let mend = "use a device that can be promiscuous, or write isolation = \"nv\"";
        let object = format!("vm_network {}", vnic.network);
        Err(vec![policy.refusal(
            line.unwrap_or(Line(1)),
            &object,
            &problem,
            mend,
        )])
    }

    /// Has the uplink receive for itself alone again after a refusal, if it did before.
    pub(super) fn narrow_uplink(&mut self) {
        if self.plan_needs_all() {
            return;
        }
        if let Err(problem) = self.hear_all(false) {
            tracing::warn!(
                problem,
                "the uplink goes on receiving for other MAC addresses"
            );
        }
    }

    /// Whether the uplink received everything before.
    fn plan_needs_all(&self) -> bool {
        is_bridged(&self.plan)
            || self
                .plan
                .groups
                .iter()
                .any(|(on, _)| *on == BRIDGED.index())
    }

    fn hear_all(&mut self, on: bool) -> Result<(), String> {
        // Where IPv6 addresses are, others ask for them by groups of their own.
        let uplinks = self.host.uplinks.first();
        if !on && uplinks.is_some_and(|uplink| uplink.v6().next().is_some()) {
            return Ok(());
        }
        let port = self.tables.view.uplink(BRIDGED).map(|uplink| uplink.port);
        let open = self.ports.values_mut().find(|open| Some(open.id) == port);
        if let Some(open) = open.filter(|_| self.hears_all.contains(&BRIDGED) != on) {
            open.handle.set_promiscuous(on)?;
            match on {
                true => self.hears_all.insert(BRIDGED),
                false => self.hears_all.remove(&BRIDGED),
            };
        }
        Ok(())
    }
}

/// Whether a bridged VM network has a vNIC here.
pub(super) fn is_bridged(plan: &Plan) -> bool {
    plan.segments.keys().any(|key| key.bridged().is_some())
}
