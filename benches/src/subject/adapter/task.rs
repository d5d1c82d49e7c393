//! What a peer is told: the task, and the file of mappings.

use super::PROTOCOL;
use crate::halt::Halt;
use crate::process;
use crate::scenario::{End, Scenario};
use crate::subject::Bench;
use crate::workload::{PREFIXES, PROVIDER, PROVIDER_MAC, VSIDS, mac_text};
use serde::Serialize;
use std::fmt::Write as _;

/// What a peer is to do: the file that `run` is given.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Task {
    protocol: u32,
    scenario: &'static str,
    setting: Option<String>,
    core: u32,
    helper: u32,
    folder: String,
    source: Source,
    sink: Sink,
    memory: Memory,
    network: Network,
    mappings: Option<Mappings>,
}

#[derive(Clone, Debug, Serialize)]
struct Source {
    device: String,
    frame: String,
    /// Frames that it holds and repeats; null where they come from the rig's own port.
    frames: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
struct Sink {
    device: String,
    mtu: u16,
}

#[derive(Clone, Debug, Serialize)]
struct Memory {
    hugepages: bool,
    mbufs: u32,
    megabytes: u32,
}

/// Who is who: addresses in every scenario's network.
#[derive(Clone, Debug, Serialize)]
struct Network {
    vsid: u32,
    prefix: &'static str,
    vm_mac: String,
    vm_address: String,
    near_mac: String,
    near_address: String,
    gateway_mac: String,
    provider_address: String,
    provider_length: u8,
    provider_mac: String,
    /// What becomes of the packets: `uplink`, `vnic` or `dropped`.
    end: &'static str,
}

/// A line a mapping: MAC, customer address, VSID, MAC and provider address of its host, provider address of its own where it is
/// rewritten.
#[derive(Clone, Debug, Serialize)]
struct Mappings {
    count: u32,
    file: String,
    columns: [&'static str; 6],
}

/// The task of a bench, in one of the peer's settings; without the file of mappings for one that wants none.
pub(super) fn task(bench: &Bench, setting: Option<&String>, mappings: bool) -> Result<Task, Halt> {
    let (load, scenario) = (&bench.load, bench.scenario);
    let (vm, near) = (load.source(), load.near());
    let mappings = match mappings {
        true => Some(write_mappings(bench)?),
        false => None,
    };
    Ok(Task {
        protocol: PROTOCOL,
        scenario: scenario.name(),
        setting: setting.cloned(),
        core: bench.core,
        helper: bench.helper,
        folder: bench.folder.display().to_string(),
        source: Source {
            device: bench.source(),
            frame: load.frame.to_string(),
            frames: bench.is_alone().then(|| load.count()),
        },
        sink: Sink {
            device: bench.sink(),
            mtu: bench.sink_mtu().unwrap_or(1500),
        },
        memory: Memory {
            hugepages: bench.huge,
            mbufs: bench.mbufs(),
            megabytes: bench.megabytes(),
        },
        network: Network {
            vsid: VSIDS[0],
            prefix: PREFIXES[0],
            vm_mac: mac_text(vm.mac),
            vm_address: vm.ca.to_string(),
            near_mac: mac_text(near.mac),
            near_address: near.ca.to_string(),
            gateway_mac: mac_text(weir_tables::domain::GATEWAY_MAC.octets()),
            provider_address: PROVIDER.0.to_string(),
            provider_length: PROVIDER.1,
            provider_mac: mac_text(PROVIDER_MAC),
            end: match scenario.end(load) {
                End::Uplink => "uplink",
                End::Vnic => "vnic",
                End::Dropped => "dropped",
            },
        },
        mappings,
    })
}

fn write_mappings(bench: &Bench) -> Result<Mappings, Halt> {
    let (load, scenario) = (&bench.load, bench.scenario);
    let hosts: Vec<_> = load.hosts().collect();
    let mut text = String::new();
    for number in 0..load.mappings {
        let vm = load.remote(scenario, number);
        let Some(host) = hosts.get(load.host_of(number) as usize) else {
            continue;
        };
        let vsid = VSIDS[scenario.subnets() - 1];
        let (mac, host_mac) = (mac_text(vm.mac), mac_text(host.mac));
        let own = match scenario {
            Scenario::Rewrite => load.rewritten(vm.ca).to_string(),
            _ => "-".to_string(),
        };
        let _ = writeln!(text, "{mac} {} {vsid} {host_mac} {} {own}", vm.ca, host.pa);
    }
    let file = bench.folder.join("mappings");
    process::write(&file, text)?;
    Ok(Mappings {
        count: load.mappings,
        file: file.display().to_string(),
        columns: [
            "mac",
            "address",
            "vsid",
            "host_mac",
            "host_address",
            "rewritten",
        ],
    })
}
