//! A machine from a recording (scripts/record-vf): a folder that plays `/`, and a PF's answers of netlink. What is written changes
//! both as the kernel and the PF's driver would (drivers/pci/iov.c, drivers/base/bus.c, each driver's `ndo_set_vf_*` in Linux 6.1),
//! the answer byte by byte in its place, so that its layout stays the recorded one. `scripts/lab run control` does the same on a kernel.

use super::host::Host;
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, VfInfo, VfLinkState, VfVlan};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weir_wire::Mac;

pub const IGB: &str = include_str!("recordings/igb.txt");
pub const IXGBE: &str = include_str!("recordings/ixgbe.txt");
pub const I40E: &str = include_str!("recordings/i40e.txt");
pub const ICE: &str = include_str!("recordings/ice.txt");
pub const MLX5: &str = include_str!("recordings/mlx5.txt");
pub const NETDEVSIM: &str = include_str!("recordings/netdevsim.txt");

pub const EPERM: i32 = 1;
const EAGAIN: i32 = 11;
const EINVAL: i32 = 22;
pub const EOPNOTSUPP: i32 = 95;
const EPROTONOSUPPORT: i32 = 93;
const ENOENT: i32 = 2;

// Commands of generic netlink and of devlink.
const GETFAMILY: u8 = 3;
const ESWITCH_GET: u8 = 29;
const ESWITCH_SET: u8 = 30;
const RATE_GET: u8 = 74;
const RATE_SET: u8 = 75;

/// The files with their text or target, and the answers of netlink.
pub type Everything = (Vec<(PathBuf, String)>, BTreeMap<String, Vec<u8>>);

pub struct Recorded {
    root: tempfile::TempDir,
    answers: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Answers of generic netlink, by the command that asks.
    generic: RefCell<BTreeMap<u8, Vec<Vec<u8>>>>,
    driver: String,
    /// Requests that set something, as `index attribute-kind`.
    pub sets: RefCell<Vec<String>>,
    /// Files written, as `path=text`.
    pub writes: RefCell<Vec<String>>,
    /// How many more times the driver says EAGAIN.
    pub busy: Cell<u32>,
    /// Every set is refused with this.
    pub refuse: Cell<Option<i32>>,
    /// The driver's own sentence with that, on devlink.
    pub says: Cell<&'static str>,
    /// Rates are kept in so many bits only.
    pub rate_bits: Cell<u32>,
    /// Whether a minimum of 0 is refused, too, while the others' are more than the link: ice until it let it pass (ice_set_vf_bw).
    pub is_stubborn: Cell<bool>,
    /// The driver says yes to a MAC and does not set it.
    pub ignores_mac: Cell<bool>,
    /// How many VFs the driver makes at most, whatever it says.
    pub makes: Cell<u16>,
    pub pauses: Cell<u32>,
    /// MACs that the PF hears besides its own, in the order in which they came.
    pub heard: RefCell<Vec<Vec<u8>>>,
    /// How many MACs it has room for.
    pub room: Cell<usize>,
    /// What was done to VFs and to what the PF hears, in its order: `set INDEX KIND`, `hear MAC`, `deaf MAC`.
    pub done: RefCell<Vec<String>>,
}

impl Recorded {
    pub fn new(recording: &str) -> Recorded {
        let root = tempfile::tempdir().unwrap();
        let mut answers = BTreeMap::new();
        let mut generic: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
        let mut driver = String::new();
        for line in recording.lines().filter(|line| !line.starts_with('#')) {
            let mut parts = line.splitn(3, ' ');
            let (kind, path) = (parts.next().unwrap(), parts.next().unwrap());
            let rest = parts.next().unwrap_or_default();
            let at = root.path().join(path.trim_start_matches('/'));
            match kind {
                "dir" => std::fs::create_dir_all(at).unwrap(),
                "file" => {
                    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
                    std::fs::write(at, format!("{rest}\n")).unwrap();
                }
                "link" => {
                    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
                    symlink(rest, at).unwrap();
                    // The PF is the first that is recorded.
                    if path.ends_with("/driver") && driver.is_empty() {
                        driver = rest.rsplit('/').next().unwrap().to_string();
                    }
                }
                "netlink" => {
                    answers.insert(path.to_string(), hex(rest));
                }
                "generic" => {
                    let messages = generic.entry(path.parse().unwrap()).or_default();
                    messages.push(hex(rest));
                }
                other => panic!("{other} is no line of a recording"),
            }
        }
        Recorded {
            root,
            answers: RefCell::new(answers),
            generic: RefCell::new(generic),
            driver,
            sets: RefCell::default(),
            writes: RefCell::default(),
            busy: Cell::new(0),
            refuse: Cell::new(None),
            says: Cell::new(""),
            rate_bits: Cell::new(32),
            is_stubborn: Cell::new(false),
            ignores_mac: Cell::new(false),
            makes: Cell::new(u16::MAX),
            pauses: Cell::new(0),
            heard: RefCell::default(),
            room: Cell::new(16),
            done: RefCell::default(),
        }
    }

    /// Makes a file say something.
    pub fn put(&self, path: &str, text: &str) {
        let at = self.at(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, text).unwrap();
    }

    pub fn point(&self, path: &str, target: &str) {
        let at = self.at(path);
        let _ = std::fs::remove_file(&at);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        symlink(target, at).unwrap();
    }

    pub fn remove(&self, path: &str) {
        let at = self.at(path);
        let _ = std::fs::remove_file(&at).or_else(|_| std::fs::remove_dir_all(&at));
    }

    /// All files of sysfs and the answers, to see that nothing changed.
    pub fn everything(&self) -> Everything {
        fn walk(folder: &Path, all: &mut Vec<(PathBuf, String)>) {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                match std::fs::read_link(&path) {
                    Ok(target) => all.push((path, target.display().to_string())),
                    Err(_) if path.is_dir() => walk(&path, all),
                    Err(_) => all.push((path.clone(), std::fs::read_to_string(&path).unwrap())),
                }
            }
        }
        let mut all = Vec::new();
        walk(self.root.path(), &mut all);
        all.sort();
        (all, self.answers.borrow().clone())
    }

    /// What the driver does with a request to set something.
    fn set(&self, interface: &str, info: &VfInfo) -> Result<(), i32> {
        if let Some(errno) = self.refuse.get() {
            return Err(errno);
        }
        if self.busy.get() > 0 {
            self.busy.set(self.busy.get() - 1);
            return Err(EAGAIN);
        }
        let driver = self.driver.as_str();
        let mut answers = self.answers.borrow_mut();
        let answer = answers.get_mut(interface).ok_or(EINVAL)?;
        match info {
            VfInfo::Mac(to) => {
                self.note(to.vf_id, 1);
                if to.mac[0] & 1 != 0 {
                    return Err(EINVAL);
                }
                if !self.ignores_mac.get() {
                    patch(answer, to.vf_id, &[1], 4, &to.mac[..6]);
                }
            }
            VfInfo::VlanList(list) => {
                let [VfVlan::Info(to)] = list.as_slice() else {
                    return Err(EINVAL);
                };
                self.note(to.vf_id, 12);
                let tag = u16::from(to.protocol);
                if tag != 0x8100 && driver != "ice" {
                    return Err(EPROTONOSUPPORT);
                }
                if to.vlan_id > 4095 || to.qos > 7 {
                    return Err(EINVAL);
                }
                let words = [to.vlan_id.to_ne_bytes(), to.qos.to_ne_bytes()].concat();
                patch(answer, to.vf_id, &[2], 4, &words);
                patch(answer, to.vf_id, &[12, 1], 4, &words);
                // mlx5 tells no protocol; ice tells one only with a VLAN.
                if driver != "mlx5_core" {
                    patch(answer, to.vf_id, &[12, 1], 12, &tag.to_be_bytes());
                }
            }
            VfInfo::SpoofCheck(to) => {
                self.note(to.vf_id, 4);
                patch(
                    answer,
                    to.vf_id,
                    &[4],
                    4,
                    &u32::from(to.enabled).to_ne_bytes(),
                );
            }
            VfInfo::Trust(to) => {
                self.note(to.vf_id, 9);
                patch(
                    answer,
                    to.vf_id,
                    &[9],
                    4,
                    &u32::from(to.enabled).to_ne_bytes(),
                );
            }
            VfInfo::LinkState(to) => {
                self.note(to.vf_id, 5);
                let state = match (driver, to.state) {
                    ("igb", _) => return Err(EOPNOTSUPP),
                    // Done, or not; never shown.
                    ("ixgbe", _) | (_, VfLinkState::Auto) => 0u32,
                    (_, VfLinkState::Enable) => 1,
                    (_, VfLinkState::Disable) => 2,
                    _ => return Err(EINVAL),
                };
                patch(answer, to.vf_id, &[5], 4, &state.to_ne_bytes());
            }
            VfInfo::Rate(to) => {
                self.note(to.vf_id, 6);
                let speed = self
                    .number(&format!("/sys/class/net/{interface}/speed"))
                    .unwrap();
                let minimum = !matches!(driver, "igb" | "ixgbe" | "i40e");
                if (to.min_tx_rate != 0 && !minimum) || i64::from(to.max_tx_rate) > speed {
                    return Err(EINVAL);
                }
                // ice_min_tx_rate_oversubscribed
                let promised = minima(answer, to.vf_id) + i64::from(to.min_tx_rate);
                let counts = to.min_tx_rate != 0 || self.is_stubborn.get();
                if driver == "ice" && counts && promised > speed {
                    return Err(EINVAL);
                }
                let keep = |rate: u32| match self.rate_bits.get() {
                    32 => rate,
                    bits => rate & ((1 << bits) - 1),
                };
                let max = match (driver, to.max_tx_rate) {
                    ("qede", 0) => u32::try_from(speed).unwrap(),
                    (_, rate) => keep(rate),
                };
                let words = [keep(to.min_tx_rate).to_ne_bytes(), max.to_ne_bytes()];
                patch(answer, to.vf_id, &[6], 4, &words.concat());
                patch(answer, to.vf_id, &[3], 4, &words[1]);
            }
            other => panic!("{other:?} is never set"),
        }
        Ok(())
    }

    /// net/core/rtnetlink.c: `ndo_dflt_fdb_add`, `ndo_dflt_fdb_del`.
    fn hear(&self, message: &NeighbourMessage, on: bool) -> Vec<u8> {
        assert_eq!(message.header.family, AddressFamily::Bridge);
        assert_eq!(message.header.flags, NeighbourFlags::Own);
        assert_eq!(message.header.ifindex, 7);
        let [NeighbourAttribute::LinkLayerAddress(mac)] = message.attributes.as_slice() else {
            return acknowledged(EINVAL, "");
        };
        let mut heard = self.heard.borrow_mut();
        let place = heard.iter().position(|it| it == mac);
        let shown = Mac::new(mac.as_slice().try_into().unwrap());
        match (on, place) {
            (true, Some(_)) => return acknowledged(17, ""),
            (true, None) if heard.len() >= self.room.get() => return acknowledged(12, ""),
            (true, None) => heard.push(mac.clone()),
            (false, Some(place)) => drop(heard.remove(place)),
            (false, None) => return acknowledged(2, ""),
        }
        let what = if on { "hear" } else { "deaf" };
        self.done.borrow_mut().push(format!("{what} {shown}"));
        acknowledged(0, "")
    }

    fn note(&self, vf: u32, kind: u16) {
        self.sets.borrow_mut().push(format!("{vf} {kind}"));
        self.done.borrow_mut().push(format!("set {vf} {kind}"));
    }

    /// drivers/pci/iov.c
    fn numvfs(&self, folder: &str, text: &str) -> io::Result<()> {
        let count: u16 = text.parse().unwrap();
        let had = self.number(&format!("{folder}/sriov_numvfs")).unwrap();
        if had != 0 && count != 0 {
            return Err(io::Error::from_raw_os_error(16));
        }
        for vf in 0..had {
            self.remove(&format!("{folder}/virtfn{vf}"));
        }
        let count = count.min(self.makes.get());
        for vf in 0..count {
            let address = format!("0000:aa:00.{vf}");
            self.point(&format!("{folder}/virtfn{vf}"), &format!("../{address}"));
            self.put(
                &format!("/sys/bus/pci/devices/{address}/driver_override"),
                "(null)\n",
            );
        }
        self.put(&format!("{folder}/sriov_numvfs"), &format!("{count}\n"));
        Ok(())
    }

    /// drivers/base/bus.c: the driver that is forced, or the one whose folder is there and is of VFs.
    fn probe(&self, address: &str) -> io::Result<()> {
        let folder = format!("/sys/bus/pci/devices/{address}");
        let forced = self.read(&format!("{folder}/driver_override")).unwrap();
        let kernel = match self.driver.as_str() {
            "igb" => "igbvf",
            "ixgbe" => "ixgbevf",
            "i40e" | "ice" => "iavf",
            other => other,
        };
        let driver = match forced.as_str() {
            "(null)" | "" => kernel,
            forced => forced,
        };
        if !self.exists(&format!("/sys/bus/pci/drivers/{driver}")) {
            return Err(io::Error::from_raw_os_error(EINVAL));
        }
        self.point(
            &format!("{folder}/driver"),
            &format!("../../../bus/pci/drivers/{driver}"),
        );
        Ok(())
    }
}

impl Host for Recorded {
    fn root(&self) -> &Path {
        self.root.path()
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.writes
            .borrow_mut()
            .push(format!("{path}={}", text.trim()));
        if let Some(errno) = self.refuse.get() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let (folder, file) = path.rsplit_once('/').unwrap();
        match file {
            "sriov_numvfs" => self.numvfs(folder, text),
            "drivers_probe" => self.probe(text),
            "unbind" => {
                let of = folder.strip_suffix("/driver").unwrap();
                self.remove(&format!("{of}/driver"));
                self.remove(&format!("{of}/net"));
                Ok(())
            }
            "driver_override" => {
                let text = match text.trim() {
                    "" => "(null)",
                    driver => driver,
                };
                self.put(path, &format!("{text}\n"));
                Ok(())
            }
            other => panic!("{other} is never written"),
        }
    }

    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(request).unwrap();
        let message = match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(mac)) => {
                return Ok(self.hear(&mac, true));
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(mac)) => {
                return Ok(self.hear(&mac, false));
            }
            other => other,
        };
        let (link, sets) = match message {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::GetLink(link)) => (link, false),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::SetLink(link)) => (link, true),
            other => panic!("{other:?} is never asked"),
        };
        let interface = link
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
        let interface = interface.unwrap();
        if !sets {
            return Ok(self.answers.borrow()[&interface].clone());
        }
        let mut result = Ok(());
        for attribute in &link.attributes {
            if let LinkAttribute::VfInfoList(list) = attribute {
                for info in list.iter().flat_map(|info| &info.0) {
                    result = result.and_then(|()| self.set(&interface, info));
                }
            }
        }
        Ok(acknowledged(result.err().unwrap_or(0), ""))
    }

    /// net/core/devlink.c; a command that was not recorded is one that the driver has not.
    fn ask_generic(&self, request: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let command = request[16];
        let mut generic = self.generic.borrow_mut();
        let errno = match command {
            ESWITCH_SET | RATE_SET if self.refuse.get().is_some() => self.refuse.get().unwrap(),
            ESWITCH_SET if !generic.contains_key(&ESWITCH_GET) => EOPNOTSUPP,
            ESWITCH_SET => {
                let (from, to) = find(request, 20, request.len(), |kind, _| kind == 25).unwrap();
                let mode = request[from..to].to_vec();
                let answer = &mut generic.get_mut(&ESWITCH_GET).unwrap()[0];
                let (from, to) = find(answer, 20, answer.len(), |kind, _| kind == 25).unwrap();
                answer[from..to].copy_from_slice(&mode);
                0
            }
            RATE_SET => {
                let value = |message: &[u8], wanted: u16| {
                    let place = find(message, 20, message.len(), |kind, _| kind == wanted);
                    place.map(|(from, to)| message[from..to].to_vec())
                };
                let port = value(request, 3);
                let answers = generic.get_mut(&RATE_GET).unwrap();
                let answer = answers.iter_mut().find(|answer| value(answer, 3) == port);
                let answer = answer.unwrap();
                for kind in [166, 167] {
                    let Some(rate) = value(request, kind) else {
                        continue;
                    };
                    let end = answer.len();
                    let (from, to) = find(answer, 20, end, |found, _| found == kind).unwrap();
                    answer[from..to].copy_from_slice(&rate);
                    self.note(
                        u32::from_ne_bytes(port.clone().unwrap().try_into().unwrap()),
                        kind,
                    );
                }
                0
            }
            asked => match generic.get(&asked) {
                Some(messages) => return Ok(messages.clone()),
                None if asked == GETFAMILY => ENOENT,
                None => EOPNOTSUPP,
            },
        };
        Ok(vec![acknowledged(errno, self.says.get())])
    }

    fn pause(&self, _: Duration) {
        self.pauses.set(self.pauses.get() + 1);
    }
}

/// An answer NLMSG_ERROR with an error number, and the driver's sentence (NLMSGERR_ATTR_MSG) if there is one.
pub fn acknowledged(errno: i32, sentence: &str) -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[4..6].copy_from_slice(&2u16.to_ne_bytes());
    bytes[16..20].copy_from_slice(&(-errno).to_ne_bytes());
    if !sentence.is_empty() {
        let length = 4 + sentence.len() + 1;
        bytes.extend(u16::try_from(length).unwrap().to_ne_bytes());
        bytes.extend(1u16.to_ne_bytes());
        bytes.extend(sentence.as_bytes());
        bytes.resize(36 + length.next_multiple_of(4), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// Puts bytes into an attribute of a VF's entry in an RTM_NEWLINK, `kinds` deep and `offset` into its value.
fn patch(message: &mut [u8], vf: u32, kinds: &[u16], offset: usize, bytes: &[u8]) {
    let list = find(message, 32, message.len(), |kind, _| kind == 22).unwrap();
    let mut from = list.0;
    let entry = loop {
        let entry = find(message, from, list.1, |_, _| true).unwrap();
        let mac = find(message, entry.0, entry.1, |kind, _| kind == 1).unwrap();
        if message[mac.0..mac.0 + 4] == vf.to_ne_bytes() {
            break entry;
        }
        from = entry.1.next_multiple_of(4);
    };
    let place = kinds.iter().fold(entry, |(from, to), wanted| {
        find(message, from, to, |kind, _| kind == *wanted).unwrap()
    });
    message[place.0 + offset..place.0 + offset + bytes.len()].copy_from_slice(bytes);
}

/// What all VFs but one are promised, in Mbit/s.
fn minima(message: &[u8], but: u32) -> i64 {
    let list = find(message, 32, message.len(), |kind, _| kind == 22).unwrap();
    let (mut from, mut sum) = (list.0, 0);
    while let Some(entry) = find(message, from, list.1, |_, _| true) {
        let rate = find(message, entry.0, entry.1, |kind, _| kind == 6).unwrap();
        let word = |at: usize| u32::from_ne_bytes(message[at..at + 4].try_into().unwrap());
        if word(rate.0) != but {
            sum += i64::from(word(rate.0 + 4));
        }
        from = entry.1.next_multiple_of(4);
    }
    sum
}

/// Where the value of the first attribute is that suits.
fn find(
    bytes: &[u8],
    mut from: usize,
    to: usize,
    suits: impl Fn(u16, usize) -> bool,
) -> Option<(usize, usize)> {
    while from + 4 <= to {
        let length = usize::from(u16::from_ne_bytes([bytes[from], bytes[from + 1]]));
        let kind = u16::from_ne_bytes([bytes[from + 2], bytes[from + 3]]) & 0x3fff;
        if suits(kind, length) {
            return Some((from + 4, from + length));
        }
        from += length.next_multiple_of(4);
    }
    None
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .map(|d| (d as char).to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}
