//! What is heard of the provider network, and what is asked and told there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use weir_switch::outlet::Event;
use weir_tables::ids::UplinkId;
use weir_wire::Mac;
use weir_wire::ipv4::group_mac;
use weir_worker::Command;
use weir_worker::command::Generated;

use super::State;
use crate::plan::{PeerPlan, Place};
use crate::underlay;

/// Between two reports of multicast groups: half of the query interval (RFC 3810 §9.2), since queries are not heard, and a
/// quarter of the time after which a membership ends (§9.4).
const REPORTS: Duration = Duration::from_secs(60);

impl State {
    /// Wants the next hops of these peers, and no others.
    pub fn want_neighbors(&mut self, peers: &BTreeMap<IpAddr, PeerPlan>) {
        let hosts = &self.host.uplinks;
        let wanted = peers.values().map(|peer| {
            let fixed = hosts
                .get(peer.uplink)
                .and_then(|uplink| uplink.neighbors.get(&peer.next_hop))
                .copied();
            let group = match peer.next_hop {
                IpAddr::V4(group) if group.is_multicast() => Some(group_mac(group)),
                _ => None,
            };
            ((peer.uplink, peer.next_hop), group.or(fixed))
        });
        self.neighbors.want(wanted);
    }

    /// Reads what the workers have heard, and asks whom it is time to ask. Called every few milliseconds.
    pub fn tend_neighbors(&mut self) {
        let now = self.now();
        let mut changed = false;
        for event in self.crew.news() {
            changed |= match event {
                Event::Neighbor {
                    uplink,
                    address,
                    mac,
                    overrides,
                } => {
                    let key = (uplink.index(), address);
                    self.note_conflict(key, mac);
                    self.neighbors.heard(key, mac, overrides, now)
                }
                Event::Groups { uplink, query } => {
                    self.groups.heard(uplink.index(), query, now);
                    false
                }
                Event::PathMtu { peer, mtu } => {
                    let news = self.path_mtus.heard(peer, mtu, now);
                    if news {
                        tracing::info!(%peer, mtu, "a router says that no larger packets fit; counts for ten minutes");
                    }
                    news
                }
                Event::Miss { vnic, to } => {
                    self.hear_miss(vnic, to);
                    false
                }
            };
        }
        changed |= self.path_mtus.tick(now);
        self.speak_of_groups();
        changed |= self.ask_neighbors();
        self.report_groups(now);
        if changed {
            // Ready headers are replaced, never patched: the old ones come back with the old view.
            self.tables.view.peers = self.peer_headers(&self.plan.peers);
            self.crew.publish_soon(&self.tables.view);
        }
    }

    /// Sends the questions that are due; whether somebody has become unknown.
    pub fn ask_neighbors(&mut self) -> bool {
        let (ask, lost) = self.neighbors.tick(self.now());
        for (index, target) in ask {
            let Some(uplink) = self.tables.view.uplink(UplinkId(index as u16)) else {
                continue;
            };
            let config = self.host.uplinks.get(index);
            let source = config.and_then(|config| config.source_to(target));
            let asks = source.and_then(|source| underlay::question(uplink, source, target));
            if let Some(frame) = asks {
                self.say(index, frame);
            }
        }
        lost
    }

    /// Has an uplink send this.
    pub(crate) fn say(&mut self, uplink: usize, frame: Generated) {
        let uplink = self.tables.view.uplink(UplinkId(uplink as u16));
        let Some((id, port)) = uplink.map(|uplink| (uplink.id, uplink.port)) else {
            return;
        };
        if let Some(owner) = self.tables.view.port(port).map(|entry| entry.owner) {
            self.crew.send(owner, Command::Generate(id, port, frame));
        }
    }

    /// Reports the groups in which this host's IPv6 addresses are asked for: at first, when it also asks whether anybody
    /// else has them, and then often enough for every switch that snoops.
    fn report_groups(&mut self, now: Duration) {
        if now < self.next_report {
            return;
        }
        let first = self.next_report.is_zero();
        self.next_report = now + REPORTS;
        for (index, frame) in self.reports(first) {
            self.say(index, frame);
        }
    }

    fn reports(&self, first: bool) -> Vec<(usize, Generated)> {
        let mut frames = Vec::new();
        for (index, uplink) in self.tables.view.uplinks.iter().enumerate() {
            let Some(uplink) = uplink.as_deref().filter(|uplink| !uplink.v6.is_empty()) else {
                continue;
            };
            let own = || std::iter::once(uplink.mac.link_local()).chain(uplink.v6.iter().copied());
            let of_vnics = self.plan.rewritten.iter().filter_map(|(pa, owner)| {
                let is_here = matches!(owner.place, Place::Local(_)) && uplink.is_on_link(*pa);
                match *pa {
                    IpAddr::V6(pa) if is_here => Some(pa),
                    _ => None,
                }
            });
            // RFC 4862 §5.4.2: the group is joined before the question goes out.
            let all = own().chain(of_vnics);
            frames.extend(all.map(|own| (index, underlay::report(uplink, own))));
            if first {
                let asked: &[Ipv6Addr] = &uplink.v6;
                frames.extend(
                    asked
                        .iter()
                        .map(|&own| (index, underlay::probe(uplink, own))),
                );
            }
        }
        frames
    }

    /// Whoever says that it has a provider address of this host takes its packets away: two machines were given one address.
    fn note_conflict(&mut self, key: (usize, IpAddr), mac: Mac) {
        let (index, address) = key;
        let Some(uplink) = self.tables.view.uplink(UplinkId(index as u16)) else {
            return;
        };
        let own = match address {
            IpAddr::V4(address) => uplink.has(address),
            IpAddr::V6(address) => uplink.has_v6(address),
        };
        if own && mac != uplink.mac && self.conflicts.insert(key, mac) != Some(mac) {
            let name = &uplink.name;
            tracing::error!(uplink = %name, %address, %mac, "another machine has this host's provider address: give one of them another");
        }
    }
}
