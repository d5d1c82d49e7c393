//! What the demo shows, step by step. Each step returns its checks; a step that cannot be done ends the demo.

use super::daemons::Daemon;
use super::marks::{self, EACH};
use super::plan::{TENANTS, Tenant, Vm, vms};
use super::report::{Check, Row};
use super::stop::{Halt, Stop};
use super::traffic::{Pings, Transport, iperf, ping};
use super::world::World;

/// What a step works with.
pub struct Lab<'a> {
    /// The namespaces.
    pub world: &'a World,
    /// The daemons, by place in `plan::HOSTS`.
    pub daemons: &'a [Daemon],
    /// Whether to stop.
    pub stop: &'a Stop,
    /// How long a measurement takes.
    pub seconds: u32,
}

/// The checks of a step.
pub type Checks = Result<Vec<Check>, Halt>;

impl Lab<'_> {
    fn ping(&self, from: &str, to: &str, count: u32, extra: &str) -> Result<Pings, Halt> {
        ping(self.world, self.stop, from, to, count, extra)
    }

    /// A ping that must be answered, or must not, from a VM to whoever has that address.
    fn ping_check(&self, from: Vm, to: &str, address: &str, allowed: bool) -> Result<Check, Halt> {
        let count = if allowed { 5 } else { 3 };
        let pings = self.ping(&from.name(), address, count, "")?;
        let Pings { sent, answered } = pings;
        let ok = sent == count && answered == if allowed { sent } else { 0 };
        let verb = if allowed { "reaches" } else { "does not reach" };
        let row = Row {
            from: from.name(),
            to: to.to_string(),
            traffic: "ping".into(),
            allowed,
            seen: format!("{answered} of {sent} answered"),
            ..Row::default()
        };
        Ok(Check::of(
            format!("ping: {} {verb} {to}", from.name()),
            ok,
            row,
        ))
    }
}

/// Each VM pings its tenant's other one.
pub fn reach(lab: &Lab<'_>) -> Checks {
    let mut checks = Vec::new();
    for tenant in TENANTS {
        let [first, second] = tenant.vms();
        for (from, to) in [(first, second), (second, first)] {
            checks.push(lab.ping_check(from, &to.name(), to.address(), true)?);
        }
    }
    Ok(checks)
}

/// An address that only one tenant has: reached within it, and from the other tenant not.
pub fn apart(lab: &Lab<'_>) -> Checks {
    let mut checks = Vec::new();
    for tenant in TENANTS {
        let [own, has_it] = tenant.vms();
        let [stranger, _] = tenant.other().vms();
        let shown = format!("{} ({})", has_it.name(), tenant.only);
        checks.push(lab.ping_check(own, &shown, tenant.only, true)?);
        checks.push(lab.ping_check(stranger, &shown, tenant.only, false)?);
        checks.push(lab.ping_check(own, &shown, tenant.only, true)?);
    }
    Ok(checks)
}

/// Both tenants send marked datagrams at once, with the same addresses, MACs and ports.
pub fn marked(lab: &Lab<'_>) -> Checks {
    let seen = marks::exchange(lab.world, lab.stop)?;
    let mut checks = Vec::new();
    for vm in vms() {
        let one = seen.get(&vm.name()).cloned().unwrap_or_default();
        let count = |tenant: Tenant| one.plain.get(tenant.name).copied().unwrap_or(0);
        let (own, foreign) = (count(vm.tenant), count(vm.tenant.other()));
        let [first, second] = vm.tenant.vms();
        let from = if vm.host == first.host { second } else { first };
        let own_row = Row {
            from: from.name(),
            to: vm.name(),
            traffic: "marked UDP".into(),
            allowed: true,
            seen: format!("{own} of {EACH} arrived"),
            ..Row::default()
        };
        // Half of them prove the path and the listener; a busy machine loses some in the kernel's rings before Weir.
        let alive = own >= u64::from(EACH) / 2;
        checks.push(Check::of(
            format!("marked: {} to {}", from.name(), vm.name()),
            alive,
            own_row,
        ));
        let foreign_row = Row {
            from: vm.tenant.other().name.to_string(),
            to: vm.name(),
            traffic: "marked UDP".into(),
            allowed: false,
            seen: format!("{foreign} seen"),
            ..Row::default()
        };
        checks.push(Check::of(
            format!(
                "marked: {} sees none of {}",
                vm.name(),
                vm.tenant.other().name
            ),
            alive && foreign == 0,
            foreign_row,
        ));
    }
    for (host, one) in seen.iter().filter(|(name, _)| name.starts_with('h')) {
        let wrong: u64 = one
            .nvgre
            .iter()
            .filter(|((tenant, vsid), _)| {
                !TENANTS.iter().any(|t| t.name == *tenant && t.vsid == *vsid)
            })
            .map(|(_, count)| count)
            .sum();
        let of = |tenant: Tenant| one.nvgre.get(&(tenant.name, tenant.vsid)).copied();
        let all = TENANTS.into_iter().all(|t| of(t).is_some_and(|n| n > 0));
        let counts =
            TENANTS.map(|t| format!("{} of {} in VSID {}", of(t).unwrap_or(0), t.name, t.vsid));
        checks.push(Check::new(
            format!("underlay: NVGRE at {host}"),
            all && wrong == 0,
            format!("{}, {wrong} in another's", counts.join(", ")),
        ));
    }
    Ok(checks)
}

/// Most that a measurement of UDP may lose, in percent. Weir's own losses are drops with a reason; this is for the
/// kernel's rings before it, which overflow while other programs have the cores.
const MOST_LOSS: f64 = 25.0;

/// One tenant's rate, by TCP or UDP, from its VM on h1 to that on h2.
pub fn rate(lab: &Lab<'_>, tenant: Tenant, transport: Transport) -> Checks {
    let [from, to] = tenant.vms();
    let names = (&*from.name(), &*to.name(), to.address());
    let rate = iperf(lab.world, lab.stop, transport, names, lab.seconds)?;
    let traffic = format!("iperf3 {}", transport.name());
    let seen = match rate.retransmits {
        Some(again) => format!("{again} segments sent again"),
        None => format!("{} Mbit/s sent", super::traffic::UDP_MBIT),
    };
    let ok = rate.mbit >= 1.0 && rate.loss_percent.unwrap_or(0.0) <= MOST_LOSS;
    let row = Row {
        from: from.name(),
        to: to.name(),
        traffic: traffic.clone(),
        allowed: true,
        seen,
        mbit: Some(rate.mbit),
        loss: rate.loss_percent,
    };
    let name = format!("{traffic}: {} to {}", from.name(), to.name());
    Ok(vec![Check::of(name, ok, row)])
}
