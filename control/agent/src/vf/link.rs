//! A VF's settings on netlink: `IFLA_VFINFO_LIST` of the PF's interface (linux/if_link.h; net/core/rtnetlink.c, `rtnl_fill_vfinfo` and
//! `do_setvfinfo`).
//!
//! Requests are written with netlink-packet-route. Answers are read here, from its attributes as they are: that crate takes the
//! kernel's -1 of "the driver does not tell" (spoof check, trust) for "on", and mlx5's VLAN protocol 0 for an error.

use super::devlink;
use super::discover::Pf;
use super::error::{Error, Name};
use super::host::Host;
use super::netlink::{attributes, half, word};
use super::settings::{Counters, LinkState, Setting, Settings, VlanProtocol};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoLinkState, VfInfoMac,
    VfInfoRate, VfInfoSpoofCheck, VfInfoTrust, VfLinkState, VfVlan, VfVlanInfo,
    VlanProtocol as Tag,
};
use weir_wire::Mac;

pub use super::netlink::{Refused, answer, text};

/// `struct nlmsghdr` and `struct ifinfomsg`.
const HEADERS: usize = 16 + 16;
const RTM_NEWLINK: u16 = 16;
// linux/if_link.h
const IFLA_VFINFO_LIST: u16 = 22;
const IFLA_VF_INFO: u16 = 1;
const IFLA_VF_MAC: u16 = 1;
const IFLA_VF_VLAN: u16 = 2;
const IFLA_VF_SPOOFCHK: u16 = 4;
const IFLA_VF_LINK_STATE: u16 = 5;
const IFLA_VF_RATE: u16 = 6;
const IFLA_VF_STATS: u16 = 8;
const IFLA_VF_TRUST: u16 = 9;
const IFLA_VF_VLAN_LIST: u16 = 12;
const ETH_P_8021AD: u16 = 0x88a8;

/// What netlink tells of one VF.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its index.
    pub vf: u16,
    /// What it is set to.
    pub settings: Settings,
    /// What it has carried; zeros where the driver does not count.
    pub counters: Counters,
}

/// What a PF's driver tells of its VFs; VFs that it is busy with are left out.
///
/// Fails with [`Name::NoInterface`] where the PF has none, else with what netlink answers.
pub fn all(host: &impl Host, pf: &Pf) -> Result<Vec<Found>, Error> {
    found(host, pf, true)
}

/// As [`all`], and the driver is not asked to count: firmware may take long to.
pub fn settings(host: &impl Host, pf: &Pf) -> Result<Vec<Found>, Error> {
    found(host, pf, false)
}

fn found(host: &impl Host, pf: &Pf, counters: bool) -> Result<Vec<Found>, Error> {
    let interface = interface(pf)?;
    let failed = |refused: Refused| {
        Error::new(
            Name::Failed,
            &pf.pf,
            format!(
                "the kernel does not tell of the VFs of {interface}: {}",
                text(&refused)
            ),
            "dmesg may tell more",
        )
    };
    let ask = |masks: Vec<LinkExtentMask>| {
        let mut message = LinkMessage::default();
        message
            .attributes
            .push(LinkAttribute::IfName(interface.to_string()));
        message.attributes.push(LinkAttribute::ExtMask(masks));
        let request = request(RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST);
        answer(&host.ask(&request)?)
    };
    let short = vec![LinkExtentMask::Vf, LinkExtentMask::SkipStats];
    let answer = match ask(if counters {
        vec![LinkExtentMask::Vf]
    } else {
        short.clone()
    }) {
        // Some two hundred VFs with their counters are more than an attribute can hold.
        Err(refused) if refused.errno == rustix::io::Errno::MSGSIZE.raw_os_error() => ask(short),
        other => other,
    };
    let mut found = parse(&answer.map_err(failed)?).ok_or_else(|| {
        failed(Refused {
            errno: 0,
            message: "its answer is malformed".into(),
        })
    })?;
    // qed_get_vf_config shows the link's speed where there is no limit.
    if pf.driver.as_deref() == Some("qede") {
        let speed = host.number(&format!("/sys/class/net/{interface}/speed"));
        let own = found.iter_mut().map(|found| &mut found.settings);
        own.filter(|own| speed == Some(i64::from(own.max_mbit)))
            .for_each(|own| own.max_mbit = 0);
    }
    // Where VFs have rates on devlink too, those are the ones that are set.
    for port in devlink::read(host, pf).ports {
        let own = found.iter_mut().find(|found| found.vf == port.vf);
        if let (Some(own), Some((min, max))) = (own, port.rates) {
            (own.settings.min_mbit, own.settings.max_mbit) = (min, max);
        }
    }
    Ok(found)
}

/// Sets one setting of a VF to what it is in `to`.
pub fn set(
    host: &impl Host,
    pf: &Pf,
    index: u16,
    setting: Setting,
    to: &Settings,
) -> Result<(), Refused> {
    let interface = interface(pf).map_err(|error| Refused {
        errno: 0,
        message: error.problem,
    })?;
    if matches!(setting, Setting::MinRate | Setting::MaxRate) {
        let switch = devlink::read(host, pf);
        if let Some(port) = switch.port(index).filter(|port| port.rates.is_some()) {
            return devlink::set_rate(host, pf, port, setting, to);
        }
    }
    let request = set_request(interface, index, setting, to);
    answer(&host.ask(&request)?).map(|_| ())
}

/// The request that [`set`] sends.
fn set_request(interface: &str, index: u16, setting: Setting, to: &Settings) -> Vec<u8> {
    let vf = u32::from(index);
    let info = match setting {
        Setting::Mac => VfInfo::Mac(VfInfoMac::new(vf, &to.mac.octets())),
        Setting::Vlan => {
            let tag = match to.vlan_protocol {
                VlanProtocol::Q => Tag::Ieee8021Q,
                VlanProtocol::Ad => Tag::Ieee8021Ad,
            };
            let info = VfVlanInfo::new(vf, u32::from(to.vlan), u32::from(to.qos), tag);
            VfInfo::VlanList(vec![VfVlan::Info(info)])
        }
        Setting::SpoofCheck => VfInfo::SpoofCheck(VfInfoSpoofCheck::new(
            vf,
            to.spoof_check.unwrap_or_default(),
        )),
        Setting::Trust => VfInfo::Trust(VfInfoTrust::new(vf, to.trust.unwrap_or_default())),
        Setting::LinkState => {
            let state = match to.link_state {
                LinkState::Auto => VfLinkState::Auto,
                LinkState::Up => VfLinkState::Enable,
                LinkState::Down => VfLinkState::Disable,
            };
            VfInfo::LinkState(VfInfoLinkState::new(vf, state))
        }
        Setting::MinRate | Setting::MaxRate => {
            VfInfo::Rate(VfInfoRate::new(vf, to.min_mbit, to.max_mbit))
        }
    };
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(interface.to_string()));
    message
        .attributes
        .push(LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![info])]));
    request(
        RouteNetlinkMessage::SetLink(message),
        NLM_F_REQUEST | NLM_F_ACK,
    )
}

/// The PF's interface, by which the kernel's settings are reached.
pub fn interface(pf: &Pf) -> Result<&str, Error> {
    if let Some(interface) = &pf.interface {
        return Ok(interface);
    }
    let (problem, mend) = match pf.driver.as_deref() {
        None => (
            "nobody drives it, so that nobody can set its VFs".to_string(),
            "load its driver, or: echo ADDRESS > /sys/bus/pci/drivers_probe",
        ),
        Some(driver @ ("vfio-pci" | "uio_pci_generic" | "igb_uio")) => (
            format!("it is bound to {driver}: whoever drives it from user space sets its VFs"),
            "set them before it is bound, or give the PF back to its kernel driver",
        ),
        Some(driver) => (
            format!("its driver {driver} has no interface of it in this network namespace"),
            "run weir where the PF's interface is: ip netns exec NAME weir vf ...",
        ),
    };
    Err(Error::new(Name::NoInterface, &pf.pf, problem, mend))
}

/// A request as bytes.
pub(super) fn request(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = 1;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    bytes
}

/// The VFs of an RTM_NEWLINK; none if it is not well formed.
pub fn parse(message: &[u8]) -> Option<Vec<Found>> {
    if half(message.get(4..)?)? != RTM_NEWLINK {
        return None;
    }
    let list = attributes(message.get(HEADERS..)?)
        .into_iter()
        .find(|(kind, _)| *kind == IFLA_VFINFO_LIST);
    let Some((_, list)) = list else {
        return Some(Vec::new());
    };
    attributes(list)
        .into_iter()
        .filter(|(kind, _)| *kind == IFLA_VF_INFO)
        .map(|(_, info)| vf(info))
        .collect()
}

fn vf(info: &[u8]) -> Option<Found> {
    let mut found = Found {
        vf: 0,
        settings: Settings::default(),
        counters: Counters::default(),
    };
    let settings = &mut found.settings;
    let mut index = None;
    for (kind, value) in attributes(info) {
        // All but the lists begin with the VF's index; what follows is what the attribute is about.
        let about = value.get(4..).unwrap_or_default();
        match kind {
            IFLA_VF_MAC => {
                index = word(value);
                settings.mac = Mac::new(about.get(..6)?.try_into().ok()?);
            }
            IFLA_VF_VLAN => {
                settings.vlan = u16::try_from(word(about)?).ok()?;
                settings.qos = u8::try_from(word(about.get(4..)?)?).ok()?;
            }
            IFLA_VF_SPOOFCHK => settings.spoof_check = told(word(about)?),
            IFLA_VF_TRUST => settings.trust = told(word(about)?),
            IFLA_VF_LINK_STATE => {
                settings.link_state = match word(about)? {
                    1 => LinkState::Up,
                    2 => LinkState::Down,
                    _ => LinkState::Auto,
                }
            }
            IFLA_VF_RATE => {
                settings.min_mbit = word(about)?;
                settings.max_mbit = word(about.get(4..)?)?;
            }
            IFLA_VF_VLAN_LIST => {
                // vf, vlan, qos, protocol in the order of the wire. mlx5 leaves 0 there for 802.1Q.
                let protocol = attributes(value).into_iter().find_map(|(_, info)| {
                    Some(u16::from_be_bytes(info.get(12..14)?.try_into().ok()?))
                });
                if protocol == Some(ETH_P_8021AD) {
                    settings.vlan_protocol = VlanProtocol::Ad;
                }
            }
            IFLA_VF_STATS => found.counters = counters(value),
            _ => {}
        }
    }
    found.vf = u16::try_from(index?).ok()?;
    Some(found)
}

/// The kernel says -1 where the driver said nothing.
fn told(setting: u32) -> Option<bool> {
    match setting {
        u32::MAX => None,
        other => Some(other != 0),
    }
}

fn counters(value: &[u8]) -> Counters {
    let mut counters = Counters::default();
    for (kind, value) in attributes(value) {
        let Some(number) = value.get(..8).and_then(|v| v.try_into().ok()) else {
            continue;
        };
        let number = u64::from_ne_bytes(number);
        match kind {
            0 => counters.rx_packets = number,
            1 => counters.tx_packets = number,
            2 => counters.rx_bytes = number,
            3 => counters.tx_bytes = number,
            7 => counters.rx_dropped = number,
            8 => counters.tx_dropped = number,
            _ => {}
        }
    }
    counters
}
