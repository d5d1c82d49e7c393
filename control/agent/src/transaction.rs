//! A policy change as a transaction: everything that can fail is done first, then the change is carried out in
//! the order add, change, remove, so that a packet meets old or new, object by object, and never another tenant's.
//!
//! | file | subject |
//! |---|---|
//! | `ports` | devices: opened before, handed over, closed after |
//! | `reception` | what uplinks receive besides their own, and multicast groups |
//! | `objects` | what is small: peers, routing domains, vNICs, virtual subnets |
//! | `bridged` | the uplink of bridged VM networks |
//! | `entries` | what is large: the tables, entry by entry |
//! | `fill` | the same where nothing was there, many at once |
//! | `compare` | what the user is told has changed |

mod bridged;
pub(crate) mod compare;
mod entries;
mod fill;
mod objects;
mod ports;
mod reception;

use std::sync::Arc;

use crate::config::device::Device;
use crate::config::spans::Line;
use crate::iov::survey;
use crate::plan::Plan;
use crate::policy::{Attach, Policy};
use crate::ports::Opened;
use crate::state::State;
use crate::stats::{ApplyReport, PolicyError};
use crate::vf::host::ThisMachine;
pub(crate) use bridged::BRIDGED;
use compare::compare;

impl State {
    /// Makes `policy` true here, or refuses it whole and changes nothing.
    pub fn apply(
        &mut self,
        policy: impl Into<Arc<Policy>>,
        dry_run: bool,
    ) -> Result<ApplyReport, Vec<PolicyError>> {
        let policy = policy.into();
        let mut report = compare(&self.policy, &policy);
        report.dry_run = dry_run;
        report.revision = self.revision;
        if dry_run {
            self.possible(&policy)?;
        } else {
            self.make_true(policy)?;
            report.revision = self.revision;
        }
        Ok(report)
    }

    /// What a policy means here, if it can be made true as far as this can be seen without doing it.
    fn possible(&self, policy: &Policy) -> Result<Plan, Vec<PolicyError>> {
        let plan = Plan::of(policy, &self.host)?;
        self.check_limits(policy, &plan)?;
        Ok(plan)
    }

    /// As [`State::apply`], for those who do not ask what that changes.
    pub fn make_true(&mut self, policy: Arc<Policy>) -> Result<(), Vec<PolicyError>> {
        let plan = self.possible(&policy)?;
        self.halt.check(&self.host.origin)?;
        self.widen_uplink(&policy, &plan)?;
        let opened = match self.open_ports(&policy, &plan) {
            Ok(opened) => opened,
            Err(refusals) => {
                self.narrow_uplink();
                return Err(refusals);
            }
        };
        self.carry_out(plan, &policy, opened);
        self.policy = policy;
        self.revision += 1;
        Ok(())
    }

    /// What the tables' indexes, the mbufs' size and this machine's devices allow.
    fn check_limits(&self, policy: &Policy, plan: &Plan) -> Result<(), Vec<PolicyError>> {
        let mut refusals = plan.admission(policy, &self.host, &self.capacities());
        refusals.extend(self.keeps_mode(policy));
        refusals.extend(self.keeps_iov(policy));
        refusals.extend(self.no_team(policy));
        let new = plan
            .segments
            .keys()
            .filter(|key| self.tables.segments.get(key).is_none())
            .count();
        if new > self.tables.segments.left() {
            let problem = format!(
                "{} virtual subnets have members on this host",
                plan.segments.len()
            );
            let mend = "a host holds 65,535 at most: spread their vNICs over more hosts";
            refusals.push(policy.refusal(Line(1), "the policy", &problem, mend));
        }
        let uplink = self.tables.view.uplink(BRIDGED).map(|uplink| uplink.mac);
        let networks = policy.vnics.subnets().iter();
        let networks = networks.map(|(_, network)| policy.networks.get(network));
        let is_bridged: Vec<bool> = networks
            .map(|of| of.is_some_and(|network| network.bridged.is_some()))
            .collect();
        for vnic in policy.vnics.iter() {
            if is_bridged.get(vnic.subnet_index()) == Some(&true) && Some(vnic.mac()) == uplink {
                let problem = format!("mac: {} is that of the uplink it is bridged to", vnic.mac());
                let mend = "give the vNIC a MAC address of its own";
                refusals.push(policy.refusal(
                    vnic.line(),
                    &format!("vnic {}", vnic.name()),
                    &problem,
                    mend,
                ));
            }
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
                refusals.push(policy.refusal(vnic.line(), &format!("vnic {name}"), &problem, mend));
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

    /// That the switch shares as it did when it was made: what its vNICs were promised means nothing in another mode.
    fn keeps_mode(&self, policy: &Policy) -> Option<PolicyError> {
        let (now, wanted) = (self.policy.bandwidth_mode(), policy.bandwidth_mode());
        let mut written = self.policy.switches.values();
        let is_made = !self.plan.vnics.is_empty() || written.any(|switch| switch.line.0 != 0);
        if now == wanted || self.revision == 0 || !is_made {
            return None;
        }
        let (now, wanted) = (now.word(), wanted.word());
        let mut switches = policy.switches.values();
        let line = switches.next().map_or(1, |switch| switch.line.0.max(1));
        let problem = format!(
            "bandwidth_mode: \"{wanted}\" here, and the switch was made with \"{now}\", which it keeps as long as it runs"
        );
        let mend = format!("write \"{now}\"; or stop the daemon and start it with this policy");
        Some(policy.refusal(Line(line), "switch default", &problem, &mend))
    }

    /// That the switch is made for SR-IOV, or not, as it was when it was made.
    fn keeps_iov(&self, policy: &Policy) -> Option<PolicyError> {
        let (now, wanted) = (self.policy.iov(), policy.iov());
        let mut written = self.policy.switches.values();
        let is_made = !self.plan.vnics.is_empty() || written.any(|switch| switch.line.0 != 0);
        if now == wanted || self.revision == 0 || !is_made {
            return None;
        }
        let mut switches = policy.switches.values();
        let line = switches.next().map_or(1, |switch| switch.line.0.max(1));
        let problem = format!(
            "iov: {wanted} here, and the switch was made with {now}, which it keeps as long as it runs"
        );
        let mend = format!("write iov = {now}; or stop the daemon and start it with this policy");
        Some(policy.refusal(Line(line), "switch default", &problem, &mend))
    }

    /// That the uplink of a switch made for SR-IOV is one NIC: a VF sends by its own PF alone.
    fn no_team(&self, policy: &Policy) -> Option<PolicyError> {
        let uplink = self.host.uplinks.first().filter(|_| policy.iov())?;
        let team = survey::team(&ThisMachine, uplink)?;
        let switch = policy.switches.values().find(|switch| switch.iov)?;
        let problem = format!("iov: uplink {} of this host is a team, {team}", uplink.name);
        let mend = "make the uplink of one NIC in host.toml, or write iov = false";
        Some(policy.refusal(switch.line, "switch default", &problem, mend))
    }

    fn carry_out(&mut self, plan: Plan, policy: &Policy, mut opened: Vec<(Device, Opened)>) {
        // What the tables hold is what the old plan says, from here on.
        self.end_churn("the policy changed");
        self.withdraw_vfs(&plan);
        // A vNIC that leaves, or moves to another subnet, gets nothing from here on; a device that changes hands
        // is emptied of what was meant for its old owner.
        let mut handed_over = self.withdraw(&plan);
        // Add and change: everything small.
        self.prepare_peers(&plan);
        self.prepare_steering(&plan);
        self.prepare_ports(&plan, &opened);
        self.prepare_addresses(&plan);
        self.prepare_domains(&plan);
        self.prepare_vnics(&plan);
        self.set_classes(&plan);
        self.prepare_sharing(&plan);
        self.prepare_segments(&plan);
        self.prepare_groups(&plan);
        self.tables.view.peers = self.peer_headers(&plan.peers);
        // A port can be sent to before anything names it, and is polled after everyone knows it.
        self.give_tx_first(&mut opened, &mut handed_over);
        self.crew.publish(&self.tables.view);
        for (port, rx, tx) in handed_over {
            self.give_queues(port, rx, tx);
        }
        // Then the big tables, entry by entry: what they name is already there.
        let gone = self.put_entries(&plan, policy);
        self.remove_entries(&plan, &gone);
        self.tables.settle(&mut self.crew);
        // Who is new is polled after those it may send to are known, so that its first packet finds them.
        for (device, port) in opened {
            self.hand_out(device, port);
        }
        // Remove: nothing names it any more.
        let old = std::mem::replace(&mut self.plan, Arc::new(plan));
        self.remove_segments(&old);
        self.remove_domains(&old);
        self.close_ports();
        self.crew.publish(&self.tables.view);
        self.give_back_ids(&old);
        self.bring_home();
        self.aim();
        self.ask_anew();
        self.announce(&old);
        self.receive_as_planned(&old);
        self.ask_neighbors();
    }
}
