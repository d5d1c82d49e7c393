//! What control answers: counters summed over workers, drops by account, objects with their status.

mod classes;
mod dcb;
mod devices;
mod sharing;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_tables::counters::{Cells, Drops};
use weir_tables::ids::{PortId, UplinkId};
use weir_tables::reason::Reason;

use crate::config::device::Device;
use crate::plan::Place;
use crate::policy::SegmentKey;
use crate::policy::as_json;
use crate::policy::attach::Attach;
use crate::state::State;
use crate::stats::{DropRow, PullStats, Stats, Status, UplinkStats, VnicStats, WorkerStats};
use crate::vf::host::ThisMachine;

/// A counter summed over a party's cells.
fn sum(cells: &Cells, field: impl Fn(&weir_tables::counters::PartyCells) -> u64) -> u64 {
    cells.iter().map(field).sum()
}

impl State {
    /// All counters.
    pub fn stats(&self) -> Stats {
        let of_vfs = self.vf_counters(&ThisMachine);
        let names = self.class_names();
        let vnics = self.plan.vnics.iter().filter_map(|(name, planned)| {
            let vnic = self
                .tables
                .view
                .vnic(self.tables.vnic(name, planned.segment)?)?;
            Some(VnicStats {
                vnic: name.to_string(),
                tenant: planned.network.to_string(),
                worker: self.owner_core(vnic.port),
                rx_packets: sum(&vnic.cells, |c| c.rx.packets.get()),
                rx_bytes: sum(&vnic.cells, |c| c.rx.bytes.get()),
                tx_packets: sum(&vnic.cells, |c| c.tx.packets.get()),
                tx_bytes: sum(&vnic.cells, |c| c.tx.bytes.get()),
                dropped: sum(&vnic.cells, |c| c.drops.packets()),
                checksums_finished: sum(&vnic.cells, |c| c.checksums_finished.get()),
                gso_segmented: sum(&vnic.cells, |c| c.segmented.get()),
                mss_clamped: sum(&vnic.cells, |c| c.mss_clamped.get()),
                gso_passed: sum(&vnic.cells, |c| c.passed_whole.get()),
                queued: sum(&vnic.cells, |c| c.waiting.packets.get()),
                queue_bytes: sum(&vnic.cells, |c| c.waiting.bytes.get()),
                marked: sum(&vnic.cells, |c| c.marked.get()),
                vf: self.vf_stats(name, &of_vfs),
                refused: classes::refused(&vnic.cells, &names),
                classes: classes::sent(&vnic.cells, &names),
            })
        });
        Stats {
            workers: self.worker_stats().collect(),
            vnics: vnics.collect(),
            uplinks: self.uplinks_and_devices().collect(),
            pull: self.pull.on_miss.then(|| self.pull_stats()),
            changes: self.tables.settling.took().told(),
            moves: self.move_stats(),
        }
    }

    /// Each worker's counters, by [`WorkerId`](weir_tables::ids::WorkerId).
    pub(crate) fn worker_stats(&self) -> impl Iterator<Item = WorkerStats> {
        self.crew.books().map(|(core, cells)| WorkerStats {
            core,
            rx_packets: cells.received.get(),
            handoff_in: cells.handoff_in.get(),
            generated: cells.generated.get(),
            copies: cells.copies.get(),
            tx_packets: cells.sent.get(),
            delivered: cells.delivered.get(),
            handoff_out: cells.handoff_out.get(),
            consumed: cells.consumed.get(),
            dropped: cells.dropped.get(),
            queued: cells.queued.get() + cells.waiting.get() + cells.held.get(),
            held: cells.held.get(),
            misses: cells.misses.get(),
            misses_found: cells.misses_found.get(),
            misses_absent: cells.misses_absent.get(),
            busy_cycles: cells.busy_cycles.get(),
            idle_cycles: cells.idle_cycles.get(),
            turns: cells.turns.get(),
            steered_in: cells.steered_in.get(),
            steered_out: cells.steered_out.get(),
        })
    }

    /// Each uplink's counters, without those of its device.
    pub(crate) fn uplink_stats(&self) -> impl Iterator<Item = UplinkStats> {
        self.tables.view.uplinks.iter().flatten().map(|uplink| {
            let (link_up, link_mbit) = self.link(uplink.port);
            UplinkStats {
                uplink: uplink.name.to_string(),
                link_up,
                link_mbit: link_mbit.unwrap_or(0),
                rx_packets: sum(&uplink.cells, |c| c.rx.packets.get()),
                rx_bytes: sum(&uplink.cells, |c| c.rx.bytes.get()),
                tx_packets: sum(&uplink.cells, |c| c.tx.packets.get()),
                tx_bytes: sum(&uplink.cells, |c| c.tx.bytes.get()),
                dropped: sum(&uplink.cells, |c| c.drops.packets()),
                gso_passed: sum(&uplink.cells, |c| c.passed_whole.get()),
                device: None,
            }
        })
    }

    fn pull_stats(&self) -> PullStats {
        let counts = self.pull.counts;
        PullStats {
            questions: counts.questions,
            found: counts.found,
            absent: counts.absent,
            stale: counts.stale,
            in_flight: self.pull.in_flight() as u64,
            entries: self.pull.pulled() as u64,
        }
    }

    pub(crate) fn owner_core(&self, port: PortId) -> u32 {
        let owner = self.tables.view.port(port).map(|entry| entry.owner);
        owner.map_or(0, |owner| self.crew.core(owner))
    }

    /// All drops, by worker, account and reason.
    pub fn drops(&self) -> Vec<DropRow> {
        let mut rows = Vec::new();
        let cores: Vec<u32> = self.crew.books().map(|(core, _)| core).collect();
        let core = |worker: usize| cores.get(worker).copied();
        let mut add = |worker: Option<u32>, who: &DropRow, drops: &Drops| {
            for (reason, packets, bytes) in drops.iter() {
                rows.push(row(worker, who, reason, packets, bytes));
            }
        };
        for (name, planned) in &self.plan.vnics {
            let id = self.tables.vnic(name, planned.segment);
            let Some(vnic) = id.and_then(|id| self.tables.view.vnic(id)) else {
                continue;
            };
            let who = DropRow {
                vnic: Some(name.to_string()),
                tenant: Some(planned.network.to_string()),
                ..DropRow::default()
            };
            for (worker, cell) in vnic.cells.iter().enumerate() {
                add(core(worker), &who, &cell.drops);
            }
        }
        for uplink in self.tables.view.uplinks.iter().flatten() {
            let who = DropRow {
                uplink: Some(uplink.name.to_string()),
                ..DropRow::default()
            };
            for (worker, cell) in uplink.cells.iter().enumerate() {
                add(core(worker), &who, &cell.drops);
            }
        }
        for (own, cells) in self.crew.books() {
            add(Some(own), &DropRow::default(), &cells.unaccounted);
        }
        for (&(worker, reason), &(packets, bytes)) in &self.departed.drops {
            rows.push(row(
                core(worker),
                &DropRow::default(),
                reason,
                packets,
                bytes,
            ));
        }
        self.device_drops(&mut rows);
        rows
    }

    /// What devices lost before or after the workers: outside the workers' equation.
    fn device_drops(&self, rows: &mut Vec<DropRow>) {
        let mut parties: BTreeMap<PortId, DropRow> = BTreeMap::new();
        for uplink in self.tables.view.uplinks.iter().flatten() {
            let who = DropRow {
                uplink: Some(uplink.name.to_string()),
                ..DropRow::default()
            };
            parties.insert(uplink.port, who);
        }
        for (name, planned) in &self.plan.vnics {
            let id = self.tables.vnic(name, planned.segment);
            let Some(vnic) = id.and_then(|id| self.tables.view.vnic(id)) else {
                continue;
            };
            // What a trunk's device loses is of no one vNIC.
            let alone = planned.attach.to_string().starts_with("trunk:");
            let who = DropRow {
                vnic: (!alone).then(|| name.to_string()),
                tenant: (!alone).then(|| planned.network.to_string()),
                ..DropRow::default()
            };
            parties.insert(vnic.port, who);
        }
        for (port, who) in parties {
            let stats = self.device_stats(port);
            for (reason, packets) in [
                (Reason::PortMissed, stats.imissed),
                (Reason::PortNoMbuf, stats.rx_nombuf),
                (Reason::PortRxError, stats.ierrors),
                (Reason::PortTxError, stats.oerrors),
            ] {
                if packets > 0 {
                    rows.push(row(None, &who, reason, packets, 0));
                }
            }
        }
    }

    /// The daemon's state.
    pub fn status(&self, store: &str) -> Status {
        let known = self
            .plan
            .peers
            .values()
            .filter(|peer| self.neighbors.mac((peer.uplink, peer.next_hop)).is_some());
        Status {
            host: self.host.name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            store: store.to_owned(),
            revision: self.revision,
            errors: self.errors.clone(),
            warnings: [self.oversubscribed(None), self.unkept_pins()].concat(),
            last_good: None,
            uptime_seconds: self.started.elapsed().as_secs(),
            local_vnics: self.plan.vnics.len() as u64,
            remote_vnics: self.plan.counts.remote_endpoints as u64,
            peers: self.plan.peers.len() as u64,
            peers_resolved: known.count() as u64,
            mbufs_free: u64::from(self.pool.available()),
            mbufs_total: u64::from(self.pool.size()),
            devices: self.devices(),
        }
    }

    /// The PCI devices that ports here have, by address.
    fn devices(&self) -> BTreeMap<String, String> {
        let uplinks = self.host.uplinks.iter();
        let uplinks = uplinks.map(|it| ("uplink", &it.name, Some(&it.device)));
        let trunks = self.host.trunks.iter();
        let trunks = trunks.map(|it| ("trunk", &it.name, Some(&it.device)));
        let vnics = self.plan.vnics.iter().map(|(name, vnic)| {
            let device = match &vnic.attach {
                Attach::Port(device) => Some(device),
                Attach::Trunk { .. } => None,
            };
            ("vnic", name, device)
        });
        let all = uplinks.chain(trunks).chain(vnics);
        all.filter_map(|(kind, name, device)| match device {
            // DPDK's arguments may follow the address.
            Some(Device::Pci(address)) => {
                let address = address.split(',').next()?;
                Some((address.to_string(), format!("{kind} {name}")))
            }
            _ => None,
        })
        .chain(self.given_vfs())
        .collect()
    }

    /// The objects of a kind as in policy.toml, or the one so named, each with its `status`; `None` for an unknown kind.
    pub fn objects(&self, kind: &str, name: Option<&str>) -> Option<Vec<Value>> {
        let all = match kind {
            "uplink" => self.uplinks(),
            "worker" => self.workers(),
            "trunk" => self.trunks(),
            "peer" => self.peers(),
            _ => as_json::objects(&self.policy, kind)?,
        };
        let wanted = all
            .into_iter()
            .filter(|(own, _)| name.is_none_or(|name| name == own));
        let with_status = wanted.map(|(own, mut object)| {
            let status = match kind {
                "vnic" => self.vnic_status(&own),
                "host" => self.host_status(&own),
                "switch" => self.switch_status(),
                "traffic_class" => self.class_status(&own),
                "uplink" | "trunk" | "peer" | "worker" => return object,
                _ => json!({"applied": true}),
            };
            if let Value::Object(fields) = &mut object {
                fields.insert("status".into(), status);
            }
            object
        });
        Some(with_status.collect())
    }

    fn vnic_status(&self, name: &str) -> Value {
        if let Some(planned) = self.plan.vnics.get(name) {
            let id = self.tables.vnic(&name.into(), planned.segment);
            let Some(vnic) = id.and_then(|id| self.tables.view.vnic(id)) else {
                return json!({"place": "here", "applied": false});
            };
            let (link_up, _) = self.link(vnic.port);
            let mut status = json!({"place": "here", "applied": true, "worker": self.owner_core(vnic.port), "link_up": link_up, "offloads": self.offloads(vnic.port), "idle": self.rest_of(vnic.port), "steered_by": self.steered_by(planned), "bandwidth": self.bandwidth_of(&name.into(), planned)});
            if let Value::Object(fields) = &mut status {
                let parts = self.path_of(&name.into(), planned);
                fields.extend(
                    parts
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value)),
                );
            }
            return status;
        }
        let Some(vnic) = self.policy.vnics.get(name) else {
            return json!({"place": "unknown"});
        };
        let subnet = self.policy.subnets.get(vnic.subnet());
        let segment = subnet.map(|subnet| subnet.segment);
        match self.plan.place_of(vnic) {
            Some(Place::Remote(pa)) => json!({
                "place": "remote", "provider_address": pa, "resolved": self.is_resolved(pa),
            }),
            _ if self.is_bridged_here(segment) => json!({
                "place": "remote", "reason": "found by the uplink's own network",
            }),
            _ => json!({"place": "elsewhere", "reason": "no vNIC of this host is in its subnet"}),
        }
    }

    /// Whether it is a bridged VM network with a vNIC here.
    fn is_bridged_here(&self, segment: Option<SegmentKey>) -> bool {
        segment.is_some_and(|key| key.bridged().is_some() && self.plan.segments.contains_key(&key))
    }

    fn host_status(&self, name: &str) -> Value {
        if *name == *self.host.name {
            return json!({"place": "here"});
        }
        let Some(host) = self.policy.hosts.get(name) else {
            return json!({"place": "unknown"});
        };
        let used = host
            .provider_addresses
            .iter()
            .filter(|pa| self.plan.peers.contains_key(pa));
        let resolved: BTreeMap<String, bool> = used
            .map(|&pa| (pa.to_string(), self.is_resolved(pa)))
            .collect();
        json!({"place": "remote", "resolved": resolved})
    }

    fn is_resolved(&self, pa: std::net::IpAddr) -> bool {
        let peer = self.plan.peers.get(&pa);
        peer.is_some_and(|peer| self.neighbors.mac((peer.uplink, peer.next_hop)).is_some())
    }

    fn uplinks(&self) -> Vec<(String, Value)> {
        let uplinks = self.host.uplinks.iter().enumerate();
        uplinks
            .map(|(index, config)| {
                let uplink = self.tables.view.uplink(UplinkId(index as u16));
                let (link_up, link_mbit) = uplink.map_or((false, None), |uplink| self.link(uplink.port));
                let addresses: Vec<String> = config.provider_addresses.iter().map(ToString::to_string).collect();
                let object = json!({
                    "name": &*config.name,
                    "device": config.device.to_string(),
                    "provider_addresses": addresses,
                    "vlan": config.vlan,
                    "capacity": config.capacity.map(|capacity| capacity.to_string()),
                    "status": {
                        "mac": uplink.map(|uplink| uplink.mac.to_string()),
                        "max_frame_bytes": uplink.and_then(|u| self.tables.view.port(u.port)).map(|p| p.max_frame),
                        "worker": uplink.map(|uplink| self.owner_core(uplink.port)),
                        "link_up": link_up,
                        "link_mbit": link_mbit,
                        "offloads": uplink.map(|uplink| self.offloads(uplink.port)),
                        "steering": uplink.map(|uplink| self.steering_of(uplink.id, uplink.port)),
                        "bandwidth": self.sharing_of(index),
                        "dcb": uplink.map(|uplink| self.dcb_of(uplink.id, uplink.port)),
                        "idle": uplink.map(|uplink| self.rest_of(uplink.port)),
                        "conflicts": self.conflicts_of(index),
                    },
                });
                (config.name.to_string(), object)
            })
            .collect()
    }

    /// Provider addresses of this host that another machine was heard to have, with that machine's MAC.
    fn conflicts_of(&self, uplink: usize) -> BTreeMap<String, String> {
        let conflicts = self.conflicts.iter().filter(|((of, _), _)| *of == uplink);
        conflicts
            .map(|((_, address), mac)| (address.to_string(), mac.to_string()))
            .collect()
    }

    fn trunks(&self) -> Vec<(String, Value)> {
        let trunks = self.host.trunks.iter();
        trunks
            .map(|config| {
                let port = self.tables.port(&config.device.to_string());
                let (link_up, _) = port.map_or((false, None), |port| self.link(port));
                let object = json!({
                    "name": &*config.name,
                    "device": config.device.to_string(),
                    "status": {"worker": port.map(|port| self.owner_core(port)), "link_up": link_up, "idle": port.map(|port| self.rest_of(port))},
                });
                (config.name.to_string(), object)
            })
            .collect()
    }

    fn peers(&self) -> Vec<(String, Value)> {
        let peers = self.plan.peers.iter();
        peers
            .map(|(pa, peer)| {
                let mac = self.neighbors.mac((peer.uplink, peer.next_hop));
                let uplink = self
                    .host
                    .uplinks
                    .get(peer.uplink)
                    .map(|uplink| uplink.name.to_string());
                let object = json!({
                    "name": pa.to_string(),
                    "uplink": uplink,
                    "next_hop": peer.next_hop.to_string(),
                    "status": {"resolved": mac.is_some(), "mac": mac.map(|mac| mac.to_string())},
                });
                (pa.to_string(), object)
            })
            .collect()
    }
}

fn row(worker: Option<u32>, who: &DropRow, reason: Reason, packets: u64, bytes: u64) -> DropRow {
    DropRow {
        worker,
        reason: reason.name().to_owned(),
        packets,
        bytes,
        help: reason.help().to_owned(),
        ..who.clone()
    }
}
