//! A VM that pretends to be another: its packets end at its own vNIC, with the reason, and it works again afterwards.

use super::command::{must, words};
use super::plan::{TENANTS, Vm};
use super::report::{Check, Row};
use super::steps::{Checks, Lab};
use super::stop::Halt;
use super::traffic::{Pings, ping};

/// An address of the subnet that nobody has.
const FALSE_ADDRESS: &str = "10.1.0.50";
/// A MAC that nobody has.
const FALSE_MAC: &str = "02:00:00:00:66:66";
const PINGS: u32 = 3;

/// The first tenant's VM on h1 sends from an address, then from a MAC, that is not its own.
pub fn spoof(lab: &Lab<'_>) -> Checks {
    let [vm, peer] = TENANTS[0].vms();
    let namespace = lab.world.name(&vm.name());
    // The peer's MAC is written down, so that the false packets themselves leave the kernel, and not just ARP for them.
    let neighbor = format!(
        "ip -n {namespace} neighbor replace {} lladdr {} dev eth0 nud permanent",
        peer.address(),
        peer.mac()
    );
    must(&mut words(&neighbor))?;
    let address = |verb: &str| {
        must(&mut words(&format!(
            "ip -n {namespace} address {verb} {FALSE_ADDRESS}/32 dev eth0"
        )))
    };
    let mac = |mac: &str| {
        must(&mut words(&format!(
            "ip -n {namespace} link set eth0 address {mac}"
        )))
    };
    let mut checks = Vec::new();
    address("add")?;
    let from = format!("-I {FALSE_ADDRESS}");
    checks.push(dropped(lab, vm, peer, "spoofed_ip", FALSE_ADDRESS, &from)?);
    address("delete")?;
    mac(FALSE_MAC)?;
    // The kernel forgets a neighbour when the MAC changes.
    must(&mut words(&neighbor))?;
    checks.push(dropped(lab, vm, peer, "spoofed_mac", FALSE_MAC, "")?);
    mac(&vm.mac())?;
    let Pings { sent, answered } =
        ping(lab.world, lab.stop, &vm.name(), peer.address(), PINGS, "")?;
    let row = Row {
        from: vm.name(),
        to: peer.name(),
        traffic: "ping, honest again".into(),
        allowed: true,
        seen: format!("{answered} of {sent} answered"),
        ..Row::default()
    };
    let name = format!("spoof: {} is heard again when it is honest", vm.name());
    checks.push(Check::of(name, sent > 0 && answered == sent, row));
    Ok(checks)
}

fn dropped(
    lab: &Lab<'_>,
    vm: Vm,
    peer: Vm,
    reason: &str,
    false_name: &str,
    extra: &str,
) -> Result<Check, Halt> {
    let Some(daemon) = lab.daemons.get(vm.host) else {
        return Err(Halt::failed("there is no daemon to ask"));
    };
    let before = daemon.dropped(&vm.name(), reason)?;
    let world = lab.world;
    let Pings { sent, answered } = ping(world, lab.stop, &vm.name(), peer.address(), PINGS, extra)?;
    let dropped = daemon.dropped(&vm.name(), reason)? - before;
    let row = Row {
        from: format!("{} as {false_name}", vm.name()),
        to: peer.name(),
        traffic: "ping, spoofed".into(),
        allowed: false,
        seen: format!("{answered} of {sent} answered, {dropped} dropped: {reason}"),
        ..Row::default()
    };
    let ok = sent == PINGS && answered == 0 && dropped >= u64::from(sent);
    Ok(Check::of(format!("spoof: {reason}"), ok, row))
}
