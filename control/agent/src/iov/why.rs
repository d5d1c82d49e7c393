//! Why a vNIC is on its software path and has no VF: each reason by name, each with its mend.

use super::rate::Beyond;
use crate::config::fields::Name;
use crate::vf::error::Error;

/// A reason; its [name](Why::name) is stable.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// It has neither `iov_weight` nor `vf`.
    NotAsked,
    /// Its network is translated, which the NIC does not do.
    NvNetwork,
    /// It would be in the VLAN of the uplink's provider addresses, as which it could speak.
    ProviderNetwork,
    /// Its source addresses are checked, which the NIC does not do.
    SourceGuard,
    /// It has `allowed_macs`, and a VF hears one MAC.
    MoreMacs,
    /// Its bandwidth is more than a VF could keep.
    Bandwidth(Beyond),
    /// The VF's driver would not keep its bandwidth.
    RateRefused(Box<Error>),
    /// It may send what is of this traffic class.
    TrafficClass(Name),
    /// Somebody captures or traces its packets.
    Capture,
    /// The uplink is on no NIC that has VFs to give, and why.
    NoSriov(String),
    /// Its pin names a PF that the switch's uplink is not on.
    OtherPf(String),
    /// Nobody, or somebody else than the kernel, drives the PF; or nobody drives the VF.
    Driver(String),
    /// The VF has no IOMMU group.
    NoIommu,
    /// The PF has no VF at all.
    NoVfs(String),
    /// The PF has not got the VF that is pinned.
    NoSuchVf(String),
    /// The PF has no link.
    NoLink,
    /// Its VM could not be told that a VF goes.
    NoWayBack(String),
    /// All VFs that may be used, this many, are with others.
    NoneFree(usize),
    /// The VF that is pinned is this vNIC's.
    Pinned(Name),
    /// Somebody uses the VF who is not of Weir.
    InUse(String),
    /// The VF's driver would not be set as the vNIC needs it.
    Refused(Box<Error>),
}

impl Why {
    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Why::NotAsked => "not_asked",
            Why::NvNetwork => "nv_network",
            Why::ProviderNetwork => "provider_network",
            Why::SourceGuard => "source_guard",
            Why::MoreMacs => "more_macs",
            Why::Bandwidth(_) => "bandwidth",
            Why::RateRefused(_) => "rate_refused",
            Why::TrafficClass(_) => "traffic_class",
            Why::Capture => "capture",
            Why::NoSriov(_) => "no_sriov",
            Why::OtherPf(_) => "other_pf",
            Why::Driver(_) => "driver",
            Why::NoIommu => "no_iommu",
            Why::NoVfs(_) => "no_vfs",
            Why::NoSuchVf(_) => "no_such_vf",
            Why::NoLink => "no_link",
            Why::NoWayBack(_) => "no_way_back",
            Why::NoneFree(_) => "none_free",
            Why::Pinned(_) => "pinned",
            Why::InUse(_) => "in_use",
            Why::Refused(_) => "refused",
        }
    }

    /// The refusal that it is, by name, if it is one of the VF's driver.
    pub fn refusal(&self) -> Option<crate::vf::error::Name> {
        match self {
            Why::Refused(error) | Why::RateRefused(error) => Some(error.name),
            _ => None,
        }
    }

    /// A sentence for people.
    pub fn told(&self) -> String {
        match self {
            Why::NotAsked => "it does not ask for a VF".into(),
            Why::NvNetwork => "its VM network is translated (nv), which the NIC does not do".into(),
            Why::ProviderNetwork => "its VLAN is the one of the uplink's provider addresses: past the switch the VM could speak as a host".into(),
            Why::SourceGuard => "its source addresses are checked, which the NIC does not do".into(),
            Why::MoreMacs => "it has allowed_macs, and a VF hears and sends one MAC".into(),
            Why::Bandwidth(beyond) => match beyond {
                Beyond::Receives => "it has bandwidth.max_rx, and a VF's rates are of what it sends".into(),
                Beyond::Polices => "it has bandwidth.police, and what is over a VF's maximum is dropped or waits as the NIC has it".into(),
                Beyond::Weight => "it has bandwidth.weight, and a VF's rates are absolute".into(),
                Beyond::Parts(field) => format!("its bandwidth.{field} is not in whole Mbit/s, as a VF's rates are"),
                Beyond::Host => "it has bandwidth, which host.toml leaves to software".into(),
            },
            Why::RateRefused(error) => format!("{}: {}", error.object, error.problem),
            Why::TrafficClass(name) => format!("what it sends may be of traffic class {name}, which the switch keeps in software"),
            Why::Capture => "its packets are captured or traced, which the NIC does not do".into(),
            Why::NoSriov(why) => format!("its uplink has no VFs to give: {why}"),
            Why::OtherPf(pin) => format!("vf names {pin}, which its switch's uplink is not on"),
            Why::Driver(problem) => problem.clone(),
            Why::NoIommu => "no IOMMU keeps a VF to its VM's memory".into(),
            Why::NoVfs(pf) => format!("{pf} has no VFs now"),
            Why::NoSuchVf(problem) => problem.clone(),
            Why::NoLink => "the PF has no link".into(),
            Why::NoWayBack(driver) => format!("driver {driver} has no link state for VFs, and host.toml has no vf_down: its VM could not be told that the VF goes"),
            Why::NoneFree(1) => "the one VF that may be used is with a vNIC of more weight, or of as much that was first".into(),
            Why::NoneFree(count) => format!("all {count} VFs that may be used are with vNICs of more weight, or of as much that were first"),
            Why::Pinned(by) => format!("the VF is vNIC {by}'s"),
            Why::InUse(by) => format!("the VF is used by {by}"),
            Why::Refused(error) => format!("{}: {}", error.object, error.problem),
        }
    }

    /// How it would get one.
    pub fn mend(&self) -> String {
        match self {
            Why::NotAsked => "give it iov_weight = 50, or vf = \"PF/INDEX\"".into(),
            Why::NvNetwork => "use isolation = \"vlan\", or leave it to the software path".into(),
            Why::ProviderNetwork => "give the VM network or the uplink another VLAN".into(),
            Why::SourceGuard => "allowed_sources = [\"0.0.0.0/0\", \"::/0\"] says that it may send as anybody in its VLAN".into(),
            Why::MoreMacs => "take allowed_macs out".into(),
            Why::Bandwidth(Beyond::Host) => "write [iov] bandwidth = \"vf\" in host.toml, or take bandwidth out".into(),
            Why::Bandwidth(_) => "leave it to the software path, or have a max and a min in whole Mbit/s alone".into(),
            Why::RateRefused(error) => format!("{}; it is asked again when its bandwidth, a minimum or the NIC's link changes", error.mend),
            Why::TrafficClass(_) => "narrow the class's filters to other vNICs, or take it out".into(),
            Why::Capture => "end the capture or trace: it goes back by itself".into(),
            Why::NoSriov(_) => "weir doctor and weir vf list tell which NICs offer VFs; the uplink's device is the PF's interface: net_af_packet0,iface=PF".into(),
            Why::OtherPf(_) => "name the uplink, or the PF that it is on".into(),
            Why::Driver(_) => "weir vf bind PF INDEX vfio-pci (for a VM) or kernel; a PF stays with its kernel driver".into(),
            Why::NoIommu => "switch VT-d or AMD-Vi on in the BIOS and boot with intel_iommu=on iommu=pt".into(),
            Why::NoVfs(pf) => format!("weir vf create {pf} NUMBER"),
            Why::NoSuchVf(_) => "weir vf list shows those there are; weir vf create makes them".into(),
            Why::NoLink => "see to the cable, and ip link set PF up".into(),
            Why::NoWayBack(_) => "write [iov] vf_down = \"COMMAND\" in host.toml".into(),
            Why::NoneFree(_) => "give it more iov_weight than one that has a VF, or make more VFs".into(),
            Why::Pinned(_) => "pin each to a VF of its own".into(),
            Why::InUse(_) => "end who uses it, or pin the vNIC to it with vf = \"PF/INDEX\"".into(),
            Why::Refused(error) => error.mend.clone(),
        }
    }
}
