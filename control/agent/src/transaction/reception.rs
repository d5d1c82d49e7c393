//! What uplinks receive besides what is for their own MAC: frames for bridged VMs, and provider multicast groups, which this host
//! also tells routers of.

use std::net::Ipv4Addr;
use std::sync::Arc;

use weir_tables::ids::UplinkId;
use weir_tables::view::Uplink;
use weir_wire::ipv4::{self, Fragmentation, Header, group_mac};
use weir_wire::{EtherType, IpProtocol, Mac, checksum};
use weir_worker::command::Generated;

use super::bridged::{BRIDGED, is_bridged};
use crate::groups::Message;
use crate::plan::Plan;
use crate::state::State;
use crate::underlay;

impl State {
    /// Tells the uplinks which groups to accept: what goes is accepted no longer, and what comes is in the same view as its
    /// virtual subnet.
    pub(super) fn prepare_groups(&mut self, plan: &Plan) {
        for index in 0..self.tables.view.uplinks.len() {
            let wanted = groups(plan, index);
            if let Some(Some(uplink)) = self.tables.view.uplinks.get_mut(index)
                && *uplink.groups != *wanted
            {
                Arc::make_mut(uplink).groups = wanted.into();
            }
        }
    }

    /// Has each uplink's device receive what the plan needs, and no more where it can choose; and tells routers of groups that are
    /// new or left.
    pub(super) fn receive_as_planned(&mut self, old: &Plan) {
        for index in 0..self.host.uplinks.len() {
            let id = UplinkId(index as u16);
            let wanted = groups(&self.plan, index);
            let changed = wanted != groups(old, index);
            let port = self.tables.view.uplink(id).map(|uplink| uplink.port);
            let Some(open) = self.ports.values_mut().find(|open| Some(open.id) == port) else {
                continue;
            };
            let macs: Vec<Mac> = wanted.iter().copied().map(group_mac).collect();
            let chooses = (wanted.is_empty() && !changed) || open.handle.set_groups(&macs);
            // A device that cannot choose among groups has to take everything, or it may take none.
            let groups = !wanted.is_empty() && !chooses;
            let all = groups || (id == BRIDGED && is_bridged(&self.plan));
            // Where IPv6 addresses are, others ask for them by groups of their own.
            let stays = self.host.uplinks[index].v6().next().is_some();
            if all == self.hears_all.contains(&id) || (stays && !all) {
                continue;
            }
            match open.handle.set_promiscuous(all) {
                Ok(()) if all => drop(self.hears_all.insert(id)),
                Ok(()) => drop(self.hears_all.remove(&id)),
                Err(problem) => {
                    tracing::warn!(
                        uplink = index,
                        problem,
                        "the device does not receive as asked"
                    );
                }
            }
        }
        let now = self.now();
        self.groups.want(self.plan.groups.iter().copied(), now);
        self.speak_of_groups();
    }

    /// Sends the IGMP messages that are due.
    pub fn speak_of_groups(&mut self) {
        for message in self.groups.tick(self.now()) {
            let id = UplinkId(message.uplink as u16);
            let config = self.host.uplinks.get(message.uplink);
            let source = config.and_then(|config| config.v4().next());
            let (Some(uplink), Some(source)) = (self.tables.view.uplink(id), source) else {
                continue;
            };
            let frame = igmp(uplink, source, &message);
            self.say(message.uplink, frame);
        }
    }
}

/// The groups of an uplink, as its place in host.toml.
fn groups(plan: &Plan, uplink: usize) -> Vec<Ipv4Addr> {
    let all = plan.groups.iter();
    all.filter(|(on, _)| *on == uplink)
        .map(|(_, group)| *group)
        .collect()
}

/// RFC 3376 §4: TTL 1, with the Router Alert option (RFC 2113), type of service internetwork control.
fn igmp(uplink: &Uplink, source: Ipv4Addr, message: &Message) -> Generated {
    const ALERT: [u8; 4] = [0x94, 4, 0, 0];
    let total_length = (ipv4::HEADER + ALERT.len() + message.payload.len()) as u16;
    let header = Header {
        tos: 0xc0,
        total_length,
        identification: 0,
        fragmentation: Fragmentation::DONT,
        ttl: 1,
        protocol: IpProtocol::IGMP,
        source,
        destination: message.to,
    };
    let mut ip = header.octets().to_vec();
    ip.extend(ALERT);
    // Six words, and the checksum over all of them.
    ip[0] = 0x46;
    ip[10..12].fill(0);
    let sum = checksum::checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(&message.payload);
    underlay::frame(uplink, group_mac(message.to), EtherType::IPV4, &ip)
}
