//! Says on the provider network which provider addresses of vNICs have come to this host: its routers may have heard
//! otherwise while the vNIC was elsewhere (RFC 5227 §3; RFC 4861 §7.2.6).

use std::net::IpAddr;

use crate::plan::{Place, Plan};
use crate::state::State;
use crate::underlay;

impl State {
    /// Announces what is here and was not by the plan before, each address on the links that it is of.
    pub(crate) fn announce(&mut self, old: &Plan) {
        let is_here = |plan: &Plan, pa: &IpAddr| {
            let place = plan.rewritten.get(pa).map(|customer| &customer.place);
            matches!(place, Some(Place::Local(_)))
        };
        let all = self.plan.rewritten.keys();
        let come = all.filter(|pa| is_here(&self.plan, pa) && !is_here(old, pa));
        let mut frames = Vec::new();
        for &pa in come {
            let uplinks = self.tables.view.uplinks.iter().flatten();
            for uplink in uplinks.filter(|uplink| uplink.is_on_link(pa)) {
                let said = underlay::announcement(uplink, pa);
                frames.extend(said.into_iter().map(|frame| (uplink.id.index(), frame)));
            }
        }
        for (uplink, frame) in frames {
            self.say(uplink, frame);
        }
    }
}
