//! Says on the provider network which provider addresses of vNICs have come to this host: its routers may have heard
//! otherwise while the vNIC was elsewhere (RFC 5227 §3, an announcement).

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
                // Asked by its own holder, the question is the announcement.
                let frame = underlay::question(uplink, pa, pa);
                frames.extend(frame.map(|frame| (uplink.id.index(), frame)));
            }
        }
        for (uplink, frame) in frames {
            self.say(uplink, frame);
        }
    }
}
