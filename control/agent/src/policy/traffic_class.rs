//! `[[traffic_class]]`: what frames are of a class of their own, whoever of the switch sends them, and what it gets.

use std::collections::HashSet;
use std::fmt;

use ipnet::IpNet;
use weir_tables::by_class::CLASSES;
use weir_tables::filters::{MOST, WITH_PORTS};

use super::bandwidth::{self, MAX, MIN, Minimum, Mode, WEIGHT};
use super::model::Policy;
use super::validate::Names;
use crate::config::document::{At, Table, label};
use crate::config::fields::{self, Fault, Name};
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;
use crate::config::units::BitRate;

/// A traffic class.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficClass {
    /// Its name.
    pub name: Name,
    /// What is of it: what one of these takes.
    pub filters: Vec<Filter>,
    /// What it gets at least; without one it stays within what the sender gets.
    pub minimum: Option<Minimum>,
    /// What all of it may send by one uplink.
    pub max: Option<BitRate>,
    /// Its priority, 0 to 7, by which the DCB traffic class is chosen; that of `pcp` if it is not written, or 0.
    pub priority: Option<u8>,
    /// The DSCP that its packets leave the host with.
    pub dscp: Option<u8>,
    /// The priority in the VLAN tag that they leave the host with.
    pub pcp: Option<u8>,
    /// Where it is written.
    pub line: Line,
}

impl TrafficClass {
    /// The priority by which its DCB traffic class is chosen.
    pub fn priority(&self) -> u8 {
        self.priority.or(self.pcp).unwrap_or(0)
    }
}

/// What frames are of a class.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// By a name.
    BuiltIn(BuiltIn),
    /// By what is written.
    Custom(Box<Custom>),
}

/// Filters with a name (protocols.md, "Bandwidth").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// TCP 6600.
    LiveMigration,
    /// TCP 445.
    Smb,
    /// TCP 5445.
    SmbDirect,
    /// TCP 3260.
    Iscsi,
    /// TCP 2049.
    Nfs,
    /// EtherType 0x8906.
    Fcoe,
    /// What the switch itself sends by an uplink, and vNICs of the host (`management = true`).
    Management,
}

impl BuiltIn {
    /// All, with the words that name them.
    pub const ALL: [(&str, BuiltIn); 7] = [
        ("live-migration", BuiltIn::LiveMigration),
        ("smb", BuiltIn::Smb),
        ("smb-direct", BuiltIn::SmbDirect),
        ("iscsi", BuiltIn::Iscsi),
        ("nfs", BuiltIn::Nfs),
        ("fcoe", BuiltIn::Fcoe),
        ("management", BuiltIn::Management),
    ];

    /// The TCP port, in either direction, of those that are known by one.
    pub fn tcp_port(self) -> Option<u16> {
        Some(match self {
            BuiltIn::LiveMigration => 6600,
            BuiltIn::Smb => 445,
            BuiltIn::SmbDirect => 5445,
            BuiltIn::Iscsi => 3260,
            BuiltIn::Nfs => 2049,
            BuiltIn::Fcoe | BuiltIn::Management => return None,
        })
    }

    fn read(text: &str) -> Result<BuiltIn, Fault> {
        let found = BuiltIn::ALL.iter().find(|(word, _)| *word == text);
        found.map(|(_, own)| *own).ok_or_else(|| {
            let words: Vec<&str> = BuiltIn::ALL.iter().map(|(word, _)| *word).collect();
            let problem = format!("there is no filter \"{}\"", text.escape_debug());
            let mend = format!(
                "write one of {}, or a [[traffic_class.filter]]",
                words.join(", ")
            );
            Fault::new(problem, mend)
        })
    }
}

impl fmt::Display for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = BuiltIn::ALL.iter().find(|(_, own)| own == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

/// Every term that is written must fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Custom {
    /// One of these vNICs sends it; any if there is none.
    pub vnics: Vec<Name>,
    /// Its EtherType.
    pub ethertype: Option<u16>,
    /// The priority in its own VLAN tag.
    pub pcp: Option<u8>,
    /// Its DSCP.
    pub dscp: Option<u8>,
    /// Its IP protocol; TCP and UDP if there is a port and no protocol.
    pub protocol: Option<u8>,
    /// Its source or its destination port.
    pub port: Option<u16>,
    /// Its source port.
    pub source_port: Option<u16>,
    /// Its destination port.
    pub destination_port: Option<u16>,
    /// Its source address.
    pub source: Option<IpNet>,
    /// Its destination address.
    pub destination: Option<IpNet>,
}

impl Custom {
    /// Whether it looks at ports.
    pub fn has_ports(&self) -> bool {
        self.port.is_some() || self.source_port.is_some() || self.destination_port.is_some()
    }
}

/// A vNIC that a filter names, still to be held against those that there are.
pub struct Named {
    label: String,
    vnic: At<Name>,
}

/// Traffic classes that a switch may have.
const MOST_CLASSES: usize = CLASSES - 1;

const FIELDS: &[&str] = &[
    "name", "switch", "filters", "filter", MIN, WEIGHT, MAX, "priority", "dscp", "pcp",
];

/// Reads all classes, in the file's order, and which vNICs they name.
pub fn read(
    file: &Object<'_>,
    mode: Mode,
    policy: &mut Policy,
    refusals: &mut Refusals,
) -> Vec<Named> {
    let (mut names, mut named) = (Names::default(), Vec::new());
    let mut filters = 0;
    for table in file.tables("traffic_class", "traffic_class", refusals) {
        let object = Object::new(table, label("traffic_class", &table), FIELDS, refusals);
        let Some(class) = class(&object, mode, &mut names, &mut named, refusals) else {
            continue;
        };
        filters += class.filters.len();
        if filters > MOST && filters - class.filters.len() <= MOST {
            let problem = format!("filters: with these there are more than {MOST} of all classes");
            let mend = "leave some out, or name vNICs together in one filter";
            refusals.refuse(object.line(), object.label(), problem, mend);
        }
        if policy.traffic_classes.len() == MOST_CLASSES {
            let problem = format!("with it there are more than {MOST_CLASSES} traffic classes");
            let mend = "leave some out: an uplink has nodes for so many";
            refusals.refuse(object.line(), object.label(), problem, mend);
        }
        policy.traffic_classes.push(class);
    }
    named
}

fn class(
    object: &Object<'_>,
    mode: Mode,
    names: &mut Names,
    named: &mut Vec<Named>,
    refusals: &mut Refusals,
) -> Option<TrafficClass> {
    let name = names.read(object, "\"storage\"", refusals);
    if let Some(switch) = object.parsed("switch", fields::name, refusals)
        && *switch.value != *"default"
    {
        let problem = format!("switch: there is no switch \"{}\"", switch.value);
        let mend = "write \"default\", or leave switch out";
        refusals.refuse(switch.line, object.label(), problem, mend);
    }
    let built_in = object.list("filters", BuiltIn::read, refusals);
    let custom = object.tables("filter", "traffic_class.filter", refusals);
    if !object.has("filters") && !object.has("filter") {
        object.missing(
            "filters",
            "[\"smb\"], or a [[traffic_class.filter]]: nothing would be of the class",
            refusals,
        );
    }
    let mut filters: Vec<Filter> = built_in
        .into_iter()
        .map(|filter| Filter::BuiltIn(filter.value))
        .collect();
    for table in custom {
        let custom = filter(table, object.label(), named, refusals);
        filters.extend(custom.map(|custom| Filter::Custom(Box::new(custom))));
    }
    let (minimum, max) = bandwidth::limits(object, "", mode, refusals);
    Some(TrafficClass {
        filters,
        minimum,
        max,
        priority: small(object, "priority", 7, refusals),
        dscp: small(object, "dscp", 63, refusals),
        pcp: small(object, "pcp", 7, refusals),
        line: object.line(),
        name: name?,
    })
}

fn small(object: &Object<'_>, field: &str, most: u8, refusals: &mut Refusals) -> Option<u8> {
    let number = object.integer(field, 0..=i64::from(most), refusals)?;
    u8::try_from(number.value).ok()
}

fn filter<'d>(
    table: At<&'d Table<'d>>,
    class: &str,
    named: &mut Vec<Named>,
    refusals: &mut Refusals,
) -> Option<Custom> {
    let fields = &[
        "vnics",
        "ethertype",
        "pcp",
        "dscp",
        "protocol",
        "port",
        "source_port",
        "destination_port",
        "source",
        "destination",
    ];
    let label = format!("{class}, filter in line {}", table.line.0);
    let before = refusals.count();
    let object = Object::new(table, label, fields, refusals);
    let port = |field: &str, refusals: &mut Refusals| {
        let port = object.integer(field, 1..=65_535, refusals)?;
        u16::try_from(port.value).ok()
    };
    let vnics = object.list("vnics", fields::name, refusals);
    let custom = Custom {
        vnics: vnics.iter().map(|vnic| vnic.value.clone()).collect(),
        // Below 0x600 the field is a length (IEEE 802.3 §3.2.6).
        ethertype: object
            .integer("ethertype", 0x600..=0xffff, refusals)
            .and_then(|ethertype| u16::try_from(ethertype.value).ok()),
        pcp: small(&object, "pcp", 7, refusals),
        dscp: small(&object, "dscp", 63, refusals),
        protocol: object
            .parsed("protocol", protocol, refusals)
            .map(|protocol| protocol.value),
        port: port("port", refusals),
        source_port: port("source_port", refusals),
        destination_port: port("destination_port", refusals),
        source: object
            .parsed("source", fields::prefix, refusals)
            .map(|net| net.value),
        destination: object
            .parsed("destination", fields::prefix, refusals)
            .map(|net| net.value),
    };
    let label = object.label().to_owned();
    named.extend(vnics.into_iter().map(|vnic| Named {
        label: label.clone(),
        vnic,
    }));
    if refusals.count() > before {
        return None;
    }
    if let Some((problem, mend)) = never(&custom, object.has("vnics")) {
        refusals.refuse(object.line(), object.label(), problem, mend);
        return None;
    }
    Some(custom)
}

/// Why no frame, or every frame, would fit.
fn never(custom: &Custom, names_vnics: bool) -> Option<(&'static str, &'static str)> {
    if names_vnics && custom.vnics.is_empty() {
        return Some(("vnics: it names none", "name one, or take vnics out"));
    }
    if *custom == Custom::default() {
        let mend = "say what it takes, such as port = 9000 or vnics = [\"blue1\"]";
        return Some(("it says nothing, and would take every frame", mend));
    }
    if custom.has_ports()
        && custom
            .protocol
            .is_some_and(|own| !WITH_PORTS.contains(&own))
    {
        let mend = "write protocol = \"tcp\", \"udp\" or \"sctp\", or take the port out";
        return Some(("protocol: it has no ports", mend));
    }
    let nets = [custom.source, custom.destination];
    let families = |v4: bool| {
        nets.iter()
            .flatten()
            .any(|net| matches!(net, IpNet::V4(_)) == v4)
    };
    if families(true) && families(false) {
        let mend = "write both of one family, and a second filter for the other";
        return Some(("source and destination are of two families", mend));
    }
    let is_ip = custom.has_ports()
        || custom.protocol.is_some()
        || custom.dscp.is_some()
        || families(true)
        || families(false);
    let odd = match custom.ethertype {
        Some(0x0800) => families(false),
        Some(0x86dd) => families(true),
        Some(_) => is_ip,
        None => false,
    };
    let mend = "take ethertype out, or what only the other has";
    odd.then_some(("ethertype: no such frame has the rest", mend))
}

/// An IP protocol by its name or its number.
fn protocol(text: &str) -> Result<u8, Fault> {
    let known = [
        ("tcp", 6),
        ("udp", 17),
        ("sctp", 132),
        ("icmp", 1),
        ("icmpv6", 58),
        ("gre", 47),
        ("esp", 50),
    ];
    let found = known.iter().find(|(word, _)| *word == text);
    let number = found.map(|(_, number)| *number);
    number.or_else(|| text.parse().ok()).ok_or_else(|| {
        let problem = format!("\"{}\" is no IP protocol", text.escape_debug());
        Fault::new(
            problem,
            "write \"tcp\", \"udp\", \"sctp\", or a number such as \"47\"",
        )
    })
}

/// That the vNICs which filters name are there; `known` says of each whether it is, or might be, had all been read.
pub fn check(named: Vec<Named>, known: impl Fn(&str) -> bool, refusals: &mut Refusals) {
    let mut told = HashSet::new();
    for Named { label, vnic } in named {
        if !known(&vnic.value) && told.insert((label.clone(), vnic.value.clone())) {
            let problem = format!("vnics: there is no vnic \"{}\"", vnic.value);
            let mend = "name a [[vnic]] of this file, or take it out";
            refusals.refuse(vnic.line, label, problem, mend);
        }
    }
}
