//! devlink: whether a NIC's own switch is in switchdev mode, its VFs' representors there, and their rates (linux/devlink.h;
//! Documentation/networking/devlink/devlink-port.rst; net/devlink in Linux, net/core/devlink.c before 6.3).
//!
//! A message is 20 octets of headers and a few attributes, written here: no crate has devlink's.

use super::discover::{Pf, bus};
use super::error::{Error, Name};
use super::host::Host;
use super::netlink::{Refused, answer, attributes, half, text, word};
use super::settings::{Setting, Settings};
use super::users::{self, Claims};
use rustix::io::Errno;
use serde::Serialize;

// linux/netlink.h, linux/genetlink.h
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// `struct nlmsghdr` and `struct genlmsghdr`.
const HEADERS: usize = 16 + 4;

// linux/devlink.h
const PORT_GET: u8 = 5;
const ESWITCH_GET: u8 = 29;
const ESWITCH_SET: u8 = 30;
const RATE_GET: u8 = 74;
const RATE_SET: u8 = 75;
const BUS_NAME: u16 = 1;
const DEV_NAME: u16 = 2;
const PORT_INDEX: u16 = 3;
const PORT_NETDEV_NAME: u16 = 7;
const ESWITCH_MODE: u16 = 25;
const PORT_FLAVOUR: u16 = 77;
const PORT_PCI_VF_NUMBER: u16 = 128;
const RATE_TX_SHARE: u16 = 166;
const RATE_TX_MAX: u16 = 167;
const FLAVOUR_PCI_VF: u16 = 4;

/// devlink's rates are in bytes a second, those of VFs in Mbit/s.
const BYTES: u64 = 1_000_000 / 8;

/// How a NIC's own switch works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By MAC and VLAN, as the PF sets each VF; DEVLINK_ESWITCH_MODE_LEGACY.
    Legacy,
    /// By rules of the host, for which each VF has a representor; DEVLINK_ESWITCH_MODE_SWITCHDEV.
    Switchdev,
}

impl Mode {
    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Legacy => "legacy",
            Mode::Switchdev => "switchdev",
        }
    }
}

/// A VF's place on the NIC's own switch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Port {
    /// The VF's index.
    pub vf: u16,
    /// devlink's number of the port.
    pub index: u32,
    /// Its interface: the VF's representor.
    pub representor: Option<String>,
    /// What it is promised and may send at most, in Mbit/s, 0 for none; none where the driver has no rates on devlink.
    pub rates: Option<(u32, u32)>,
}

/// What devlink tells of a PF.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Switch {
    /// Its mode; none where the driver has but one, or this user may not ask (CAP_NET_ADMIN).
    pub mode: Option<Mode>,
    /// Its VFs' ports.
    pub ports: Vec<Port>,
}

impl Switch {
    /// The port of a VF.
    pub fn port(&self, vf: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.vf == vf)
    }
}

/// What devlink tells of a PF; nothing where the kernel or the driver has no devlink.
pub fn read(host: &impl Host, pf: &Pf) -> Switch {
    let Ok(family) = family(host) else {
        return Switch::default();
    };
    let mode = ask(host, family, ESWITCH_GET, NLM_F_REQUEST, &device(pf))
        .ok()
        .and_then(|messages| mode(messages.first()?));
    let ports = dump(host, family, PORT_GET, pf);
    let mut ports: Vec<Port> = ports.iter().filter_map(|message| port(message)).collect();
    if !ports.is_empty() {
        for message in dump(host, family, RATE_GET, pf) {
            // Groups of ports have rates too, and no port's index.
            let Some(index) = find(&message, PORT_INDEX).and_then(word) else {
                continue;
            };
            if let Some(port) = ports.iter_mut().find(|port| port.index == index) {
                let rate = |kind| find(&message, kind).and_then(long).map_or(0, mbit);
                port.rates = Some((rate(RATE_TX_SHARE), rate(RATE_TX_MAX)));
            }
        }
    }
    ports.sort_by_key(|port| port.vf);
    Switch { mode, ports }
}

/// Sets a VF's promise or limit at its port.
pub fn set_rate(
    host: &impl Host,
    pf: &Pf,
    port: &Port,
    setting: Setting,
    to: &Settings,
) -> Result<(), Refused> {
    let (kind, rate) = match setting {
        Setting::MinRate => (RATE_TX_SHARE, to.min_mbit),
        _ => (RATE_TX_MAX, to.max_mbit),
    };
    let mut asked = device(pf);
    put(&mut asked, PORT_INDEX, &port.index.to_ne_bytes());
    put(&mut asked, kind, &(u64::from(rate) * BYTES).to_ne_bytes());
    let family = family(host)?;
    ask(host, family, RATE_SET, NLM_F_REQUEST | NLM_F_ACK, &asked).map(|_| ())
}

/// Puts the NIC's own switch into a mode; true if that changed anything.
///
/// Fails with [`Name::InUse`] (the mode changes under its VFs), [`Name::NotOfDriver`], [`Name::ValueRefused`], [`Name::NoPrivilege`],
/// [`Name::Busy`], or [`Name::NotKept`].
pub fn set_mode(host: &impl Host, claims: &Claims, pf: &Pf, to: Mode) -> Result<bool, Error> {
    let driver = pf.driver.as_deref().unwrap_or("(none)");
    let family = family(host).map_err(|refused| refusal(pf, driver, to, &refused))?;
    let now = || -> Result<Option<Mode>, Error> {
        let messages = ask(host, family, ESWITCH_GET, NLM_F_REQUEST, &device(pf))
            .map_err(|refused| refusal(pf, driver, to, &refused))?;
        Ok(messages.first().and_then(|message| mode(message)))
    };
    if now()? == Some(to) {
        return Ok(false);
    }
    users::refuse(
        host,
        claims,
        pf,
        &pf.vfs,
        "changing the mode of the NIC's switch",
    )?;
    let mut asked = device(pf);
    put(&mut asked, ESWITCH_MODE, &(to as u16).to_ne_bytes());
    ask(host, family, ESWITCH_SET, NLM_F_REQUEST | NLM_F_ACK, &asked)
        .map_err(|refused| refusal(pf, driver, to, &refused))?;
    let found = now()?;
    if found == Some(to) {
        return Ok(true);
    }
    let shows = found.map_or("none", Mode::name);
    Err(Error::new(
        Name::NotKept,
        &pf.pf,
        format!(
            "driver {driver} accepted mode {} and shows {shows}",
            to.name()
        ),
        "dmesg tells why",
    ))
}

fn refusal(pf: &Pf, driver: &str, to: Mode, refused: &Refused) -> Error {
    let what = format!("mode {} of the NIC's switch", to.name());
    let why = text(refused);
    let error =
        |name, problem: String, mend: &str| Error::new(name, &pf.pf, problem, mend.to_string());
    match Errno::from_raw_os_error(refused.errno) {
        Errno::PERM | Errno::ACCESS => Error::privilege(&pf.pf, "ask for or set the switch's mode"),
        Errno::OPNOTSUPP | Errno::NODEV | Errno::NOENT if !refused.message.is_empty() => error(
            Name::ValueRefused,
            format!("driver {driver} refuses {what} ({why})"),
            "do as it says; some drivers change it without VFs only: weir vf create PF 0 first",
        ),
        Errno::OPNOTSUPP | Errno::NODEV | Errno::NOENT => error(
            Name::NotOfDriver,
            format!("driver {driver} has no modes of the NIC's switch ({why})"),
            "leave it; drivers that have switchdev mode: mlx5_core, ice, bnxt_en, nfp",
        ),
        Errno::AGAIN | Errno::BUSY => error(
            Name::Busy,
            format!("driver {driver} is busy and did not set {what} ({why})"),
            "try again; some drivers change it without VFs only: weir vf create PF 0 first",
        ),
        _ => error(
            Name::ValueRefused,
            format!("driver {driver} did not set {what}: {why}"),
            "some drivers change it without VFs only: weir vf create PF 0 first; dmesg may tell more",
        ),
    }
}

/// devlink's number among the families of generic netlink.
fn family(host: &impl Host) -> Result<u16, Refused> {
    let mut asked = Vec::new();
    put(&mut asked, CTRL_ATTR_FAMILY_NAME, b"devlink\0");
    let messages = ask(
        host,
        GENL_ID_CTRL,
        CTRL_CMD_GETFAMILY,
        NLM_F_REQUEST,
        &asked,
    )?;
    let id = messages
        .first()
        .and_then(|message| half(find(message, CTRL_ATTR_FAMILY_ID)?));
    id.ok_or_else(|| Refused {
        errno: Errno::NOENT.raw_os_error(),
        message: String::new(),
    })
}

/// Asks and gets the messages that answer.
fn ask(
    host: &impl Host,
    family: u16,
    command: u8,
    flags: u16,
    asked: &[u8],
) -> Result<Vec<Vec<u8>>, Refused> {
    let length = u32::try_from(HEADERS + asked.len()).unwrap_or(0);
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(family.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    // The first request of a socket, from whatever port the kernel gives it; version 1 of the family.
    request.extend([1u32.to_ne_bytes(), 0u32.to_ne_bytes()].concat());
    request.extend([command, 1, 0, 0]);
    request.extend(asked);
    let messages = host.ask_generic(&request)?;
    let answers = messages.iter().map(|message| answer(message));
    let found: Vec<Vec<u8>> = answers.collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|part| !part.is_empty()).collect())
}

/// All objects of a kind that are of a PF. Older kernels know no dump of one device alone.
fn dump(host: &impl Host, family: u16, command: u8, pf: &Pf) -> Vec<Vec<u8>> {
    let messages = ask(host, family, command, NLM_F_REQUEST | NLM_F_DUMP, &[]).unwrap_or_default();
    let own = |message: &Vec<u8>| {
        let is = |kind, name: &str| find(message, kind).is_some_and(|found| string(found) == name);
        is(BUS_NAME, bus(&pf.pf)) && is(DEV_NAME, &pf.pf)
    };
    messages.into_iter().filter(own).collect()
}

/// The attributes that name a PF.
fn device(pf: &Pf) -> Vec<u8> {
    let mut attributes = Vec::new();
    put(
        &mut attributes,
        BUS_NAME,
        format!("{}\0", bus(&pf.pf)).as_bytes(),
    );
    put(&mut attributes, DEV_NAME, format!("{}\0", pf.pf).as_bytes());
    attributes
}

fn mode(message: &[u8]) -> Option<Mode> {
    match half(find(message, ESWITCH_MODE)?)? {
        0 => Some(Mode::Legacy),
        1 => Some(Mode::Switchdev),
        // 2 is "inactive" (Linux 6.18), which is neither.
        _ => None,
    }
}

fn port(message: &[u8]) -> Option<Port> {
    if half(find(message, PORT_FLAVOUR)?)? != FLAVOUR_PCI_VF {
        return None;
    }
    Some(Port {
        vf: half(find(message, PORT_PCI_VF_NUMBER)?)?,
        index: word(find(message, PORT_INDEX)?)?,
        representor: find(message, PORT_NETDEV_NAME).map(string),
        rates: None,
    })
}

/// Adds an attribute, padded to four octets.
fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(0);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn find(message: &[u8], kind: u16) -> Option<&[u8]> {
    let all = attributes(message.get(HEADERS..)?);
    let found = all.into_iter().find(|(found, _)| *found == kind);
    found.map(|(_, value)| value)
}

fn string(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.trim_end_matches('\0').to_string()
}

fn long(value: &[u8]) -> Option<u64> {
    Some(u64::from_ne_bytes(value.get(..8)?.try_into().ok()?))
}

/// In whole Mbit/s; what is set to less than one is not none.
fn mbit(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BYTES)).unwrap_or(u32::MAX)
}
