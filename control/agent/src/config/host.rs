//! host.toml: what is true of this machine.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use weir_wire::Mac;

use super::device::Device;
use super::fields::Name;
use super::host_read;
use super::present;
use super::spans::Line;
use super::units::BitRate;
use super::vf_token::VfToken;
use crate::stats::PolicyError;

/// What host.toml says, validated.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// The file's name as the user gave it.
    pub origin: String,
    /// The host's name, by which policy.toml knows it.
    pub name: Name,
    /// The API's Unix socket; `/run/weir/NAME.sock` unless it is written. A relative one is relative to host.toml.
    pub socket: PathBuf,
    /// Where the last good state is kept, if it is written; [`crate::daemon::Daemon::start`] keeps none without it. A relative
    /// path is relative to host.toml.
    pub state_dir: Option<PathBuf>,
    /// How the packet's path runs.
    pub dataplane: Dataplane,
    /// The ports towards the provider's network, in the file's order.
    pub uplinks: Vec<Uplink>,
    /// Ports that carry many vNICs, in the file's order.
    pub trunks: Vec<Trunk>,
    /// vNICs whose worker is written, by name: its core, one of the workers'. A vNIC that is not here, or not yet, is no error.
    pub pins: BTreeMap<Name, u32>,
    /// Where policy comes from.
    pub store: StoreConfig,
    /// Which of its records are here.
    pub pulling: Pulling,
    /// What tells VMs that their path changes, and what is left to VFs.
    pub iov: IovHooks,
    /// What the measuring rig may have it do.
    pub rig: Rig,
}

/// How VFs are given. Commands are for `/bin/sh -c` and tell a VM that its path changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IovHooks {
    /// Its VF is there.
    pub up: Option<String>,
    /// Its VF goes.
    pub down: Option<String>,
    /// Whether bandwidth is never left to a VF.
    pub is_bandwidth_software: bool,
    /// Whether the latter takes the VF out of its VM, and is waited for before the NIC is told.
    pub is_unplugged_first: bool,
}

/// What the measuring rig may have a host do that no other may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rig {
    /// Send mappings to wrong hosts and back, to see what changes cost.
    pub churn: bool,
    /// Tell its senders what to offer, and read what its sink has logged.
    pub traffic: bool,
}

/// Which of the store's records are here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulling {
    /// `records = "on_miss"`: those of other hosts come when a vNIC here sends there; else all that vNICs here may reach are here.
    pub on_miss: bool,
    /// For tests: how long a file store waits before it answers.
    pub answer_delay: Duration,
}

/// How the packet's path runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// The cores of the workers, never empty, without duplicates. Default: all that this process may use but the
    /// first; the first where there is no other.
    pub workers: Vec<u32>,
    /// Which hugepages the mbuf pools are made of.
    pub hugepages: Hugepages,
    /// What a worker does when nothing comes.
    pub idle: Idle,
    /// Whether vNICs move from worker to worker with the load. Default: true.
    pub balance: bool,
    /// Mbufs of the pool of each NUMA node, if it is written.
    pub mbufs: Option<u32>,
    /// What opens VFs of PFs that vfio-pci has, and lets others open those of PFs that are uplinks here.
    pub vf_token: Option<VfToken>,
}

/// Which hugepages the mbuf pools are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// The largest that are reserved; none if none are.
    Auto,
    /// 2 MB pages only.
    TwoMegabytes,
    /// 1 GB pages only.
    OneGigabyte,
    /// Ordinary memory.
    None,
}

/// What a worker does when nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on.
    Poll,
    /// Pauses, then sleeps for short times.
    Adaptive,
}

/// Who chooses among the DCB traffic classes of an uplink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChooseBy {
    /// The device if it can, else software.
    #[default]
    Auto,
    /// Software, whatever the device can.
    Software,
}

/// By what an uplink's device gives each vNIC's frames to the queue of its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SteerBy {
    /// By rules where the device takes them, beside RSS for the rest.
    #[default]
    Auto,
    /// By VMDq pools, in place of RSS. Refused if the device has none.
    Vmdq,
    /// By rules. Refused if the device takes none.
    Flow,
    /// By nothing: workers hand frames over.
    Software,
}

/// A port towards the provider's network.
#[derive(Clone, Debug, PartialEq)]
pub struct Uplink {
    /// Its name.
    pub name: Name,
    /// What it is made of.
    pub device: Device,
    /// This host's provider addresses on it, each with the prefix that is reached without a gateway. Never empty.
    pub provider_addresses: Vec<IpNet>,
    /// The MAC address to use instead of the device's own.
    pub mac: Option<Mac>,
    /// MTU in bytes: the largest IP packet of the provider's network; the device's own if it is not written.
    pub mtu: Option<u16>,
    /// The VLAN in which the provider's network is, 1 to 4094.
    pub vlan: Option<u16>,
    /// What the link carries, with preamble and gap; the speed of its link if it is not written.
    pub capacity: Option<BitRate>,
    /// The next hops to provider addresses outside the prefixes above, at most one of each family: inside one of them,
    /// or of IPv6's link-local addresses.
    pub gateways: Vec<IpAddr>,
    /// Neighbours whose MAC addresses need no ARP or ND.
    pub neighbors: BTreeMap<IpAddr, Mac>,
    /// Whether the device is given the work that it can do; if not, all is done in software. Default: true.
    pub offloads: bool,
    /// By what its device gives each vNIC's frames to the queue of its worker.
    pub steering: SteerBy,
    /// Who chooses among DCB traffic classes.
    pub dcb: ChooseBy,
    /// The switch it belongs to; always `default` in this version.
    pub switch: Name,
    /// Where it is written.
    pub line: Line,
}

impl Uplink {
    /// The gateway to addresses of the family of `to`.
    pub fn gateway(&self, to: IpAddr) -> Option<IpAddr> {
        let mut gateways = self.gateways.iter().copied();
        gateways.find(|gateway| gateway.is_ipv4() == to.is_ipv4())
    }

    /// This host's provider address from which a neighbour on the uplink's link is sent to: that whose prefix covers it, or
    /// the first of IPv6 for a link-local address. `None` for what is no neighbour.
    pub fn source_to(&self, neighbor: IpAddr) -> Option<IpAddr> {
        let link_local = matches!(neighbor, IpAddr::V6(address) if address.is_unicast_link_local());
        let mut nets = self.provider_addresses.iter();
        let net = nets.find(|net| match net {
            IpNet::V6(_) if link_local => true,
            net => net.contains(&neighbor),
        });
        net.map(IpNet::addr)
    }

    /// This host's IPv6 provider addresses on it.
    pub fn v6(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.provider_addresses.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some(net.addr()),
            IpNet::V4(_) => None,
        })
    }

    /// The IPv4 prefixes of its link: (network, mask).
    pub fn v4_links(&self) -> impl Iterator<Item = (u32, u32)> {
        self.provider_addresses.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some((net.network().to_bits(), net.netmask().to_bits())),
            IpNet::V6(_) => None,
        })
    }

    /// The IPv6 prefixes of its link: (network, mask).
    pub fn v6_links(&self) -> impl Iterator<Item = (u128, u128)> {
        self.provider_addresses.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some((net.network().to_bits(), net.netmask().to_bits())),
            IpNet::V4(_) => None,
        })
    }

    /// This host's IPv4 provider addresses on it.
    pub fn v4(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.provider_addresses.iter().filter_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    }
}

/// A port that carries many vNICs.
#[derive(Clone, Debug, PartialEq)]
pub struct Trunk {
    /// Its name, the PORT of `attach = "trunk:PORT"`.
    pub name: Name,
    /// What it is made of.
    pub device: Device,
    /// MTU in bytes; the device's own if it is not written.
    pub mtu: Option<u16>,
    /// What tells its vNICs apart.
    pub by: TrunkBy,
    /// Where it is written.
    pub line: Line,
}

/// What tells the vNICs of a trunk apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkBy {
    /// The source MAC address: `attach = "trunk:PORT"`.
    Mac,
    /// The VLAN tag: `attach = "trunk:PORT/VLAN"`.
    Vlan,
}

/// Where policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// One TOML file. The path is absolute or relative to the daemon's folder, host.toml's folder already in it.
    File {
        /// The file.
        path: PathBuf,
    },
}

impl HostConfig {
    /// Reads the file at `path` as this machine's host.toml. All refusals are returned at once, in the order of lines.
    pub fn load(path: &Path) -> Result<HostConfig, Vec<PolicyError>> {
        let origin = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let mend = match error.kind() {
                std::io::ErrorKind::NotFound => "write it, or name another with --host",
                std::io::ErrorKind::InvalidData => "write it in UTF-8",
                _ => "make it readable for this user",
            };
            let file = origin.clone();
            let problem = format!("cannot be read: {error}");
            vec![PolicyError {
                file,
                line: None,
                object: "the file".into(),
                problem,
                mend: mend.into(),
            }]
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        HostConfig::parse(&text, &origin, folder, &usable_cores())
    }

    /// As [`HostConfig::load`], of a `text` called `origin` in refusals, for paths relative to `folder`, on a machine
    /// with these `cores`.
    pub fn parse(
        text: &str,
        origin: &str,
        folder: &Path,
        cores: &[u32],
    ) -> Result<HostConfig, Vec<PolicyError>> {
        host_read::read(text, origin, folder, cores)
    }

    /// What keeps this machine from opening its uplinks and trunks: an interface or a PCI device that is not there, a VF token that is
    /// wanted and not written.
    pub fn check_ports(&self) -> Vec<PolicyError> {
        let uplinks = self
            .uplinks
            .iter()
            .map(|it| (format!("uplink {}", it.name), &it.device, it.line));
        let trunks = self
            .trunks
            .iter()
            .map(|it| (format!("trunk {}", it.name), &it.device, it.line));
        let refusal = |(object, device, line): (String, &Device, Line)| {
            let token = self.dataplane.vf_token.as_ref();
            let fault = present::check(device).and_then(|()| present::token(device, token));
            let fault = fault.err()?;
            let problem = format!("device: {}", fault.problem);
            let (file, line) = (self.origin.clone(), Some(line.0));
            Some(PolicyError {
                file,
                line,
                object,
                problem,
                mend: fault.mend,
            })
        };
        uplinks.chain(trunks).filter_map(refusal).collect()
    }

    /// This host's provider addresses, over all uplinks, in the file's order.
    pub fn provider_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.uplinks
            .iter()
            .flat_map(|uplink| uplink.provider_addresses.iter().map(IpNet::addr))
    }

    /// The trunk of this name.
    pub fn trunk(&self, name: &str) -> Option<&Trunk> {
        self.trunks.iter().find(|trunk| &*trunk.name == name)
    }
}

/// The cores that this process may use, in ascending order; core 0 alone if the kernel does not say.
pub fn usable_cores() -> Vec<u32> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return vec![0];
    };
    let cores = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    let cores: Vec<u32> = cores.filter_map(|core| u32::try_from(core).ok()).collect();
    if cores.is_empty() { vec![0] } else { cores }
}
