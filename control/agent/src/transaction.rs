//! A policy change as a transaction: everything that can fail is done first, then the change is carried out in
//! the order add, change, remove, so that a packet meets old or new, object by object, and never another tenant's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_switch::from_vnic::trunk_key;
use weir_tables::counters::cells;
use weir_tables::endpoints::{Target, endpoint_key, peer_key, record_key, record_value};
use weir_tables::ids::{PortId, UplinkId, VnicId, WorkerId};
use weir_tables::peer::{Peer, PeerRoute};
use weir_tables::view::{Party, Port, Segment, Vnic};
use weir_wire::Vsid;
use weir_worker::Command;
use weir_worker::device::{Rx, Tx};

use crate::config::device::Device;
use crate::config::fields::Name;
use crate::config::spans::Line;
use crate::plan::{PeerPlan, Place, Plan, VnicPlan};
use crate::policy::{Attach, Policy};
use crate::ports::{self, Opened, Wish};
use crate::state::{OpenPort, State};
use crate::stats::{ApplyReport, PolicyError};

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

impl State {
    /// Makes `policy` true here, or refuses it whole and changes nothing.
    pub fn apply(
        &mut self,
        policy: Policy,
        dry_run: bool,
    ) -> Result<ApplyReport, Vec<PolicyError>> {
        let mut report = compare(&self.policy, &policy);
        report.dry_run = dry_run;
        report.revision = self.revision;
        let plan = Plan::of(&policy, &self.host)?;
        self.check_limits(&policy, &plan)?;
        if dry_run {
            return Ok(report);
        }
        let opened = self.open_ports(&policy, &plan)?;
        self.carry_out(plan, opened);
        self.policy = policy;
        self.revision += 1;
        report.revision = self.revision;
        Ok(report)
    }

    /// What the tables' indexes, the mbufs' size and this machine's devices allow.
    fn check_limits(&self, policy: &Policy, plan: &Plan) -> Result<(), Vec<PolicyError>> {
        let mut refusals = Vec::new();
        let new = plan
            .segments
            .keys()
            .filter(|vsid| self.tables.segments.get(vsid).is_none())
            .count();
        if new > self.tables.segments.left() {
            let problem = format!(
                "{} virtual subnets have members on this host",
                plan.segments.len()
            );
            let mend = "a host holds 65,535 at most: spread their vNICs over more hosts";
            refusals.push(policy.refusal(Line(1), "the policy", &problem, mend));
        }
        for (name, wanted) in &plan.vnics {
            let Some(vnic) = policy.vnics.get(name) else {
                continue;
            };
            if let Some(mtu) = wanted.mtu
                && usize::from(mtu) > self.largest_mtu
            {
                let problem = format!(
                    "its MTU {mtu} does not fit an mbuf, which was sized for {}",
                    self.largest_mtu
                );
                let mend = "write an MTU as large at an uplink or trunk in host.toml and restart, or lower this one";
                refusals.push(policy.refusal(vnic.line, &format!("vnic {name}"), &problem, mend));
            }
            if let Attach::Port(device) = &wanted.attach
                && !self.ports.contains_key(device)
            {
                refusals.extend(policy.check_port(vnic));
            }
        }
        if refusals.is_empty() {
            Ok(())
        } else {
            Err(refusals)
        }
    }

    /// Opens what the plan needs and is not open. On any refusal what was opened is closed again.
    fn open_ports(
        &mut self,
        policy: &Policy,
        plan: &Plan,
    ) -> Result<Vec<(Device, Opened)>, Vec<PolicyError>> {
        let (mut opened, mut refusals) = (Vec::new(), Vec::new());
        for (name, vnic) in &plan.vnics {
            let Attach::Port(device) = &vnic.attach else {
                continue;
            };
            if self.ports.contains_key(device) {
                continue;
            }
            let wish = Wish {
                mtu: vnic.mtu,
                promiscuous: true,
                ..Wish::default()
            };
            match ports::open(&self.eal, self.pool, device, wish) {
                Ok(port) => opened.push((device.clone(), port)),
                Err(refused) => {
                    let line = policy.vnics.get(name).map_or(Line(1), |v| v.attach_line);
                    refusals.push(policy.refusal(
                        line,
                        &format!("vnic {name}"),
                        &refused.problem,
                        &refused.mend,
                    ));
                }
            }
        }
        if refusals.is_empty() {
            return Ok(opened);
        }
        for (device, port) in opened {
            if let Err(problem) = port.handle.close(port.rx, port.tx) {
                tracing::warn!(%device, problem, "could not close what a refused policy had opened");
            }
        }
        Err(refusals)
    }

    fn carry_out(&mut self, plan: Plan, mut opened: Vec<(Device, Opened)>) {
        // A vNIC that leaves, or moves to another subnet, gets nothing from here on; a device that changes hands
        // is emptied of what was meant for its old owner.
        let mut handed_over = self.withdraw(&plan);
        // Add and change: everything small.
        self.prepare_peers(&plan);
        self.prepare_ports(&plan, &opened);
        self.prepare_vnics(&plan);
        self.prepare_segments(&plan);
        self.tables.view.peers = self.peer_headers(&plan.peers);
        // A port can be sent to before anything names it, and is polled after everyone knows it.
        self.give_tx_first(&mut opened, &mut handed_over);
        self.crew.publish(&self.tables.view);
        for (device, port) in opened {
            self.hand_out(device, port);
        }
        for (port, rx, tx) in handed_over {
            self.give_queues(port, rx, tx);
        }
        // Then the big tables, entry by entry: what they name is already there.
        self.put_entries(&plan);
        self.remove_entries(&plan);
        self.tables.settle(&mut self.crew);
        // Remove: nothing names it any more.
        let old = std::mem::replace(&mut self.plan, plan);
        self.remove_segments(&old);
        self.close_ports();
        self.crew.publish(&self.tables.view);
        self.give_back_ids(&old);
        self.ask_neighbors();
    }

    /// Takes vNICs out that leave, change subnet, or whose device passes to another vNIC, and returns the queues of
    /// such devices, emptied.
    fn withdraw(&mut self, plan: &Plan) -> Vec<(PortId, Vec<Rx>, Vec<Tx>)> {
        let (old, new) = (holders(&self.plan), holders(plan));
        let passes = |device: &Device| {
            new.get(device)
                .is_some_and(|holder| old.get(device) != Some(holder))
        };
        let stays = |name: &Name, vsid| plan.vnics.get(name).is_some_and(|new| new.vsid == vsid);
        let mut withdrawn = false;
        let mut departing = Vec::new();
        for (name, vnic) in &self.plan.vnics {
            let stays = stays(name, vnic.vsid);
            let passes = matches!(&vnic.attach, Attach::Port(device) if passes(device));
            if stays && !passes {
                continue;
            }
            let id = self.tables.vnic(name, vnic.vsid);
            let place = id.and_then(|id| self.tables.view.vnics.get_mut(id.index()));
            let Some(gone) = place.and_then(Option::take) else {
                continue;
            };
            withdrawn = true;
            if stays {
                self.parked
                    .insert((name.clone(), vnic.vsid), gone.cells.clone());
            } else {
                departing.push(gone);
            }
        }
        if !withdrawn {
            return Vec::new();
        }
        self.crew.publish(&self.tables.view);
        // Only now is the account final: until it read the new view a worker counted there.
        for gone in departing {
            // On a trunk its packets wait among others', and its MAC or VLAN may be another tenant's next. The view that
            // comes after this command is acknowledged after it.
            self.crew.tell_all(|| Command::Forget(gone.id));
            self.departed.add(&gone.cells);
        }
        let passing = old
            .keys()
            .filter(|device| passes(device))
            .filter_map(|device| self.ports.get(*device));
        let passing: Vec<PortId> = passing.map(|open| open.id).collect();
        passing
            .into_iter()
            .map(|port| {
                let (rx, tx) = self.crew.take_back(port);
                (port, rx, tx)
            })
            .collect()
    }

    fn prepare_peers(&mut self, plan: &Plan) {
        for &pa in plan.peers.keys() {
            self.tables.peers.give(pa);
        }
        self.want_neighbors(&plan.peers);
    }

    /// New ports get an index and an owner; ports that stay get their new party.
    fn prepare_ports(&mut self, plan: &Plan, opened: &[(Device, Opened)]) {
        for (device, port) in opened {
            let owner = self.least_loaded();
            let Some(id) = self.tables.ports.give(device.to_string()) else {
                continue;
            };
            let entry = Port {
                // Its vNIC is written in below.
                party: Party::TrunkByMac,
                max_frame: u32::from(port.mtu) + ETHERNET,
                owner,
                suspect_checksums: port.suspect_checksums,
                takes_unfinished: false,
            };
            set(&mut self.tables.view.ports, id as usize, Some(entry));
        }
        for (name, vnic) in &plan.vnics {
            let Attach::Port(device) = &vnic.attach else {
                continue;
            };
            let Some(id) = self.tables.vnics.give((name.clone(), vnic.vsid)) else {
                continue;
            };
            let port = self.tables.port(&device.to_string());
            if let Some(Some(entry)) =
                port.and_then(|port| self.tables.view.ports.get_mut(port.index()))
            {
                entry.party = Party::Vnic(VnicId(id));
                // The port's own again, where an MTU is no longer written or was another vNIC's.
                let own = self.ports.get(device).map(|open| open.mtu);
                if let Some(mtu) = vnic.mtu.or(own) {
                    entry.max_frame = u32::from(mtu) + ETHERNET;
                }
            }
        }
    }

    fn prepare_vnics(&mut self, plan: &Plan) {
        for vsid in plan.segments.keys() {
            self.tables.segments.give(*vsid);
        }
        for (name, wanted) in &plan.vnics {
            if self.plan.vnics.get(name) != Some(wanted) {
                self.prepare_vnic(name, wanted);
            }
        }
    }

    fn prepare_vnic(&mut self, name: &Name, wanted: &VnicPlan) {
        let (Some(id), Some(segment)) = (
            self.tables.vnics.give((name.clone(), wanted.vsid)),
            self.tables.segment(wanted.vsid),
        ) else {
            return;
        };
        let (port, vlan) = match &wanted.attach {
            Attach::Port(device) => (self.tables.port(&device.to_string()), None),
            Attach::Trunk { port, vlan } => (self.trunk_port(port), *vlan),
        };
        let Some(port) = port else { return };
        let parked = self.parked.remove(&(name.clone(), wanted.vsid));
        let old = self
            .tables
            .view
            .vnic(VnicId(id))
            .map(|old| old.cells.clone());
        let cells = parked.or(old).unwrap_or_else(|| cells(self.crew.len()));
        let vnic = Vnic {
            id: VnicId(id),
            name: name.clone(),
            segment,
            vsid: wanted.vsid,
            port,
            vlan,
            identity: wanted.identity.clone(),
            cells,
        };
        set(
            &mut self.tables.view.vnics,
            id as usize,
            Some(Arc::new(vnic)),
        );
    }

    fn prepare_segments(&mut self, plan: &Plan) {
        for (&vsid, wanted) in &plan.segments {
            if self.plan.segments.get(&vsid) == Some(wanted) {
                continue;
            }
            let Some(id) = self.tables.segment(vsid) else {
                continue;
            };
            let segment = Segment {
                id,
                vsid,
                local: wanted
                    .local
                    .iter()
                    .filter_map(|name| self.tables.vnic(name, vsid))
                    .collect(),
                peers: wanted
                    .peers
                    .iter()
                    .filter_map(|&pa| self.tables.peer(pa))
                    .collect(),
            };
            set(
                &mut self.tables.view.segments,
                id.index(),
                Some(Arc::new(segment)),
            );
            self.tables.view.vsids.set(vsid, Some(id));
        }
    }

    /// The ready headers of all peers, by index, with what is known of their next hops now.
    pub fn peer_headers(&self, peers: &BTreeMap<std::net::Ipv4Addr, PeerPlan>) -> Arc<[Peer]> {
        let mut headers = self.tables.view.peers.to_vec();
        for (&destination, peer) in peers {
            let (Some(id), Some(config)) = (
                self.tables.peer(destination),
                self.host.uplinks.get(peer.uplink),
            ) else {
                continue;
            };
            let Some(uplink) = self.tables.view.uplink(UplinkId(peer.uplink as u16)) else {
                continue;
            };
            let max_frame = self
                .tables
                .view
                .port(uplink.port)
                .map_or(0, |port| port.max_frame);
            let header = Peer::nvgre(&PeerRoute {
                uplink: uplink.id,
                port: uplink.port,
                source_mac: uplink.mac,
                source: peer.source,
                destination,
                next_hop: self.neighbors.mac((peer.uplink, peer.next_hop)),
                vlan: config.vlan,
                max_frame: max_frame.min(u32::from(u16::MAX)) as u16,
            });
            if headers.len() <= id.index() {
                headers.resize(id.index() + 1, Peer::NONE);
            }
            if let Some(slot) = headers.get_mut(id.index()) {
                *slot = header;
            }
        }
        headers.into()
    }

    /// Gives a new port's queues to the workers.
    pub fn hand_out(&mut self, device: Device, port: Opened) {
        if let Some(id) = self.tables.port(&device.to_string()) {
            self.give_queues(id, port.rx, port.tx);
            self.ports.insert(
                device,
                OpenPort {
                    id,
                    handle: port.handle,
                    mtu: port.mtu,
                },
            );
        }
    }

    /// Gives the workers what they send by, and waits until they have it.
    fn give_tx_first(
        &mut self,
        opened: &mut [(Device, Opened)],
        handed_over: &mut [(PortId, Vec<Rx>, Vec<Tx>)],
    ) {
        for (device, port) in &mut *opened {
            if let Some(id) = self.tables.port(&device.to_string()) {
                self.give_queues(id, Vec::new(), std::mem::take(&mut port.tx));
            }
        }
        for (id, _, tx) in &mut *handed_over {
            self.give_queues(*id, Vec::new(), std::mem::take(tx));
        }
        if !opened.is_empty() || !handed_over.is_empty() {
            // A worker obeys right after it has passed, before it looks anything up.
            self.crew.round();
        }
    }

    /// The first queues to the port's owner, further ones each to the next worker.
    fn give_queues(&mut self, id: PortId, rx: Vec<Rx>, tx: Vec<Tx>) {
        let owner = self
            .tables
            .view
            .port(id)
            .map_or(WorkerId(0), |entry| entry.owner);
        let workers = self.crew.len().max(1);
        let worker = |i: usize| WorkerId(((owner.index() + i) % workers) as u8);
        for (i, tx) in tx.into_iter().enumerate() {
            self.crew.add_tx(worker(i), id, tx);
        }
        for (i, rx) in rx.into_iter().enumerate() {
            self.crew.add_rx(worker(i), id, rx);
        }
    }

    fn put_entries(&mut self, plan: &Plan) {
        for pa in plan.accepted.difference(&self.plan.accepted) {
            self.tables.put_accepted(&mut self.crew, peer_key(*pa));
        }
        for ((trunk, mark), name) in &plan.trunked {
            let (Some(port), Some(vnic)) = (self.trunk_port(trunk), self.local(plan, name)) else {
                continue;
            };
            let value = Target::Local(vnic).pack();
            self.tables
                .put_trunked(&mut self.crew, trunk_key(port, *mark), value);
        }
        for ((vsid, address), mac) in &plan.records {
            if self.plan.records.get(&(*vsid, *address)) == Some(mac) {
                continue;
            }
            if let Some(segment) = self.tables.segment(*vsid) {
                self.tables.put_record(
                    &mut self.crew,
                    record_key(segment, *address),
                    record_value(*mac),
                );
            }
        }
        for ((vsid, mac), place) in &plan.endpoints {
            if self.plan.endpoints.get(&(*vsid, *mac)) == Some(place) {
                continue;
            }
            let target = match place {
                Place::Local(name) => self.tables.vnic(name, *vsid).map(Target::Local),
                Place::Remote(pa) => self.tables.peer(*pa).map(Target::Remote),
            };
            if let (Some(segment), Some(target)) = (self.tables.segment(*vsid), target) {
                self.tables.put_endpoint(
                    &mut self.crew,
                    endpoint_key(segment, *mac),
                    target.pack(),
                );
            }
        }
    }

    fn remove_entries(&mut self, plan: &Plan) {
        for (vsid, mac) in self
            .plan
            .endpoints
            .keys()
            .filter(|key| !plan.endpoints.contains_key(key))
        {
            if let Some(segment) = self.tables.segment(*vsid) {
                self.tables.endpoints.remove(endpoint_key(segment, *mac));
            }
        }
        for (vsid, address) in self
            .plan
            .records
            .keys()
            .filter(|key| !plan.records.contains_key(key))
        {
            if let Some(segment) = self.tables.segment(*vsid) {
                self.tables.records.remove(record_key(segment, *address));
            }
        }
        for (trunk, mark) in self
            .plan
            .trunked
            .keys()
            .filter(|key| !plan.trunked.contains_key(key))
        {
            if let Some(port) = self.trunk_port(trunk) {
                self.tables.trunked.remove(trunk_key(port, *mark));
            }
        }
        for pa in self.plan.accepted.difference(&plan.accepted) {
            self.tables.accepted.remove(peer_key(*pa));
        }
    }

    fn local(&self, plan: &Plan, name: &Name) -> Option<VnicId> {
        self.tables.vnic(name, plan.vnics.get(name)?.vsid)
    }

    fn trunk_port(&self, name: &str) -> Option<PortId> {
        self.tables.port(&self.host.trunk(name)?.device.to_string())
    }

    fn remove_segments(&mut self, old: &Plan) {
        for &vsid in old
            .segments
            .keys()
            .filter(|vsid| !self.plan.segments.contains_key(vsid))
        {
            if let Some(id) = self.tables.segment(vsid) {
                self.tables.view.vsids.set(vsid, None);
                set(&mut self.tables.view.segments, id.index(), None);
            }
        }
    }

    /// Closes the ports that no vNIC, trunk or uplink has any more.
    fn close_ports(&mut self) {
        let attached = self
            .plan
            .vnics
            .values()
            .filter_map(|vnic| match &vnic.attach {
                Attach::Port(device) => Some(device),
                Attach::Trunk { .. } => None,
            });
        let own = self.host.uplinks.iter().map(|uplink| &uplink.device);
        let trunks = self.host.trunks.iter().map(|trunk| &trunk.device);
        let kept: BTreeSet<String> = attached
            .chain(own)
            .chain(trunks)
            .map(Device::to_string)
            .collect();
        let leaving: Vec<Device> = self
            .ports
            .keys()
            .filter(|d| !kept.contains(&d.to_string()))
            .cloned()
            .collect();
        for device in leaving {
            if let Some(open) = self.ports.remove(&device) {
                let (rx, tx) = self.crew.take_back(open.id);
                if let Err(problem) = open.handle.close(rx, tx) {
                    tracing::error!(%device, problem, "the port did not close");
                }
                set(&mut self.tables.view.ports, open.id.index(), None);
                self.closed.push(device.to_string());
            }
        }
    }

    /// After the last round: whoever is given these indexes now shares them with nobody.
    fn give_back_ids(&mut self, old: &Plan) {
        for (name, vnic) in &old.vnics {
            if self
                .plan
                .vnics
                .get(name)
                .is_none_or(|now| now.vsid != vnic.vsid)
            {
                self.tables.vnics.take_back(&(name.clone(), vnic.vsid));
            }
        }
        for vsid in old
            .segments
            .keys()
            .filter(|vsid| !self.plan.segments.contains_key(vsid))
        {
            self.tables.segments.take_back(vsid);
        }
        for pa in old
            .peers
            .keys()
            .filter(|pa| !self.plan.peers.contains_key(pa))
        {
            self.tables.peers.take_back(pa);
        }
        for device in std::mem::take(&mut self.closed) {
            self.tables.ports.take_back(&device);
        }
    }
}

/// Which vNIC, in which subnet, has which device to itself.
fn holders(plan: &Plan) -> BTreeMap<&Device, (&Name, Vsid)> {
    let vnics = plan.vnics.iter();
    vnics
        .filter_map(|(name, vnic)| match &vnic.attach {
            Attach::Port(device) => Some((device, (name, vnic.vsid))),
            Attach::Trunk { .. } => None,
        })
        .collect()
}

/// Sets one place of a vector that is as long as it needs to be.
pub fn set<T>(places: &mut Vec<Option<T>>, index: usize, value: Option<T>) {
    if places.len() <= index {
        places.resize_with(index + 1, || None);
    }
    if let Some(place) = places.get_mut(index) {
        *place = value;
    }
}

/// What differs between two policies, object by object.
fn compare(old: &Policy, new: &Policy) -> ApplyReport {
    let mut report = ApplyReport::default();
    objects(&mut report, "host", &old.hosts, &new.hosts);
    objects(&mut report, "switch", &old.switches, &new.switches);
    objects(&mut report, "vm_network", &old.networks, &new.networks);
    objects(&mut report, "subnet", &old.subnets, &new.subnets);
    objects(&mut report, "vnic", &old.vnics, &new.vnics);
    report
}

fn objects<T: PartialEq>(
    report: &mut ApplyReport,
    kind: &str,
    old: &BTreeMap<Name, T>,
    new: &BTreeMap<Name, T>,
) {
    for (name, value) in new {
        match old.get(name) {
            None => report.added.push(format!("{kind} {name}")),
            Some(before) if before != value => report.changed.push(format!("{kind} {name}")),
            Some(_) => report.unchanged += 1,
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        report.removed.push(format!("{kind} {name}"));
    }
}
