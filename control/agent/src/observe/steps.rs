//! A trace in words: what a stage found or did, with the record, route or rule that decided.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value, json};
use weir_switch::outlet::Receiver;
use weir_switch::recorder::Note;
use weir_switch::watch::{Point, Rule, Step};
use weir_tables::addresses::Short;
use weir_tables::domain::Hop;
use weir_tables::endpoints::{Destination, Target};
use weir_tables::ids::PeerId;
use weir_wire::EtherType;

use super::ask::{Line, PacketTrace};
use crate::state::State;

/// A note, and how long the packet was of which it may hold fewer bytes.
pub type Item = (Note, u64);

/// A stage's line: stage, verdict, sentence, values.
type Words = (&'static str, &'static str, String, Value);

impl State {
    /// The way of one packet.
    pub fn packet_trace(&self, items: &[Item]) -> PacketTrace {
        let lines = items.iter().map(|(note, length)| match note {
            Note::Seen {
                point, who, bytes, ..
            } => Line::At {
                point: point.name().into(),
                party: self.who_name(*who),
                length: *length,
                bytes: hex(bytes),
            },
            Note::Step(step) => self.line(step),
        });
        let (verdict, reason) = verdict(items);
        PacketTrace {
            verdict: verdict.into(),
            reason,
            lines: lines.collect(),
            ..PacketTrace::default()
        }
    }

    fn line(&self, step: &Step) -> Line {
        let (stage, verdict, text, detail) = self.words(step);
        let detail = match detail {
            Value::Object(detail) => detail,
            _ => Map::new(),
        };
        Line::Step {
            stage: stage.into(),
            verdict: verdict.into(),
            text,
            detail,
        }
    }

    fn words(&self, step: &Step) -> Words {
        match *step {
            Step::Parsed {
                dst,
                src,
                ethertype,
            } => (
                "parse",
                "ethernet",
                format!("{} from {src} to {dst}", protocol(ethertype)),
                json!({"dst": dst.to_string(), "src": src.to_string(), "ethertype": ethertype.0}),
            ),
            Step::Allowed(rule) => guard(rule),
            Step::Accepted {
                segment,
                source,
                header,
            } => {
                let (name, vsid) = self.segment_name(segment);
                let from = source.map_or("another host".into(), |pa| self.provider_name(pa));
                (
                    "outer",
                    "accepted",
                    format!("NVGRE from {from} for {name}; {header} bytes come off"),
                    json!({"provider_address": source, "vsid": vsid, "header_bytes": header}),
                )
            }
            Step::Endpoint {
                segment,
                mac,
                found,
            } => {
                let (name, vsid) = self.segment_name(segment);
                let (verdict, place, mut detail) = self.place(found);
                detail.insert("mac".into(), json!(mac.to_string()));
                detail.insert("vsid".into(), json!(vsid));
                let text = match found {
                    Some(_) => format!("{mac} in {name} is {place}"),
                    None => format!("no vNIC of {name} has {mac}"),
                };
                ("lookup", verdict, text, Value::Object(detail))
            }
            Step::Record {
                domain,
                address,
                found,
            } => {
                let network = self.network_name(domain);
                let (verdict, place, mut detail) = self.place(found.map(|record| record.target));
                detail.insert("address".into(), json!(address));
                detail.insert("vm_network".into(), json!(network));
                let text = match found {
                    Some(record) => {
                        let (subnet, vsid) = self.segment_name(record.segment);
                        detail.insert("vsid".into(), json!(vsid));
                        // Whose addresses are rewritten has a provider address where others have a MAC.
                        let what = match record.target {
                            Target::Rewritten(_) => {
                                let pa = self.long(address, record.pa());
                                detail.insert("provider_address".into(), json!(pa));
                                pa.map_or_else(|| "nobody".into(), |pa| pa.to_string())
                            }
                            Target::Local(_) | Target::Remote(_) => {
                                detail.insert("mac".into(), json!(record.mac.to_string()));
                                record.mac.to_string()
                            }
                        };
                        format!("the record of {address} in {network}: {what}, {subnet}, {place}")
                    }
                    None => format!("nobody in {network} has {address}"),
                };
                ("record", verdict, text, Value::Object(detail))
            }
            Step::Route { domain, to, found } => self.route(self.network_name(domain), to, found),
            Step::Hop { ttl, mac, segment } => {
                let (name, vsid) = self.segment_name(segment);
                (
                    "router",
                    "forwarded",
                    format!("into {name} for {mac}, TTL {ttl} left"),
                    json!({"ttl": ttl, "mac": mac.to_string(), "vsid": vsid}),
                )
            }
            Step::Answered { address, mac } => (
                "answer",
                "answered",
                format!("the switch answers, with {mac} for {address}"),
                json!({"address": address, "mac": mac.to_string()}),
            ),
            Step::Flooded {
                segment,
                here,
                peers,
            } => {
                let (name, vsid) = self.segment_name(segment);
                (
                    "flood",
                    "copied",
                    format!(
                        "to the other members of {name}: {here} here with the sender, {peers} other hosts"
                    ),
                    json!({"vsid": vsid, "members_here": here, "peers": peers}),
                )
            }
            Step::Told { kind, code } => (
                "icmp",
                "told",
                format!("the gateway tells the sender: ICMP type {kind}, code {code}"),
                json!({"type": kind, "code": code}),
            ),
            Step::Fragmented { most } => (
                "fit",
                "fragmented",
                format!(
                    "it does not fit with its outer headers: cut into fragments of {most} bytes"
                ),
                json!({"payload_bytes": most}),
            ),
            Step::Cut { segments } => (
                "fit",
                "segmented",
                format!(
                    "its sender left the cutting to its device: cut into {segments} TCP segments"
                ),
                json!({"segments": segments}),
            ),
            Step::Clamped { mss } => (
                "fit",
                "clamped",
                format!("the MSS of its TCP handshake is lowered to {mss}"),
                json!({"mss": mss}),
            ),
            Step::Finished => (
                "checksum",
                "finished",
                "its sender left the checksum to its device: finished in software".into(),
                Value::Null,
            ),
            Step::Encapsulated { peer, key } => self.encapsulated(peer, key),
            Step::Held(to) => (
                "miss",
                "held",
                format!(
                    "{} is not known here: held while the policy store is asked",
                    self.wanted(to)
                ),
                Value::Null,
            ),
            Step::Rewritten {
                peer,
                source,
                destination,
            } => {
                let (name, _) = self.peer_name(peer);
                (
                    "translate",
                    "rewrite",
                    format!("customer addresses become {source} and {destination}, of {name}"),
                    json!({"source": source, "destination": destination}),
                )
            }
            Step::Restored {
                source,
                destination,
            } => (
                "outer",
                "rewrite",
                format!("provider addresses become {source} and {destination}"),
                json!({"source": source, "destination": destination}),
            ),
            Step::Consumed => (
                "end",
                "consumed",
                "it was for the switch itself".into(),
                Value::Null,
            ),
            Step::Queued => (
                "shape",
                "queued",
                "waits for its maximum, or for its share of the uplink".into(),
                Value::Null,
            ),
            Step::Marked => (
                "shape",
                "marked",
                "waited for so long that it bears the mark of congestion".into(),
                Value::Null,
            ),
            Step::Out { port, receiver } => {
                let owner = self
                    .tables
                    .view
                    .port(port)
                    .map(|port| self.crew.core(port.owner));
                let (verdict, text, key, name) = match receiver {
                    Receiver::Vnic(id) => {
                        let name = self.vnic_name(id);
                        ("delivered", format!("to vnic {name}"), "vnic", name)
                    }
                    Receiver::Uplink(id) => {
                        let name = self.uplink_name(id);
                        ("sent", format!("out of uplink {name}"), "uplink", name)
                    }
                };
                ("dispatch", verdict, text, json!({key: name, "core": owner}))
            }
            Step::Dropped(reason) => (
                "drop",
                reason.name(),
                reason.help().into(),
                json!({"reason": reason.name()}),
            ),
        }
    }

    /// Where a lookup leads: verdict, words, values.
    fn place(&self, found: Option<Target>) -> (&'static str, String, Map<String, Value>) {
        let mut detail = Map::new();
        match found {
            Some(Target::Local(id)) => {
                let name = self.vnic_name(id);
                detail.insert("vnic".into(), json!(name));
                ("local", format!("vnic {name}, here"), detail)
            }
            Some(Target::Remote(id)) => {
                let (name, pa) = self.peer_name(id);
                detail.insert("provider_address".into(), json!(pa));
                ("remote", format!("behind {name}"), detail)
            }
            Some(Target::Rewritten(id)) => {
                let (name, _) = self.peer_name(id);
                let text = format!("by a provider address of its own on {name}");
                ("rewritten", text, detail)
            }
            None => ("none", String::new(), detail),
        }
    }

    /// The address that a table's value has for one of the family of `near`.
    fn long(&self, near: IpAddr, short: Short) -> Option<IpAddr> {
        match near {
            IpAddr::V4(_) => Some(Ipv4Addr::from_bits(short.0).into()),
            IpAddr::V6(_) => self.tables.view.addresses.get(short).map(IpAddr::from),
        }
    }

    fn route(
        &self,
        network: String,
        to: IpAddr,
        found: Option<weir_tables::domain::Route<IpAddr>>,
    ) -> Words {
        let Some(route) = found else {
            let text = format!("{network} has no route to {to}");
            return (
                "route",
                "none",
                text,
                json!({"to": to, "vm_network": network}),
            );
        };
        let prefix = format!("{}/{}", route.network, route.length);
        let mut detail =
            json!({"to": to, "vm_network": network, "prefix": prefix, "metric": route.metric});
        let (verdict, text) = match route.hop {
            Hop::Connected => (
                "connected",
                format!("{to} is in {prefix}, a subnet of {network}"),
            ),
            Hop::Via(via) => {
                if let Some(detail) = detail.as_object_mut() {
                    detail.insert("via".into(), json!(via));
                }
                let text = format!(
                    "{network} routes {prefix} (metric {}) to {via}",
                    route.metric
                );
                ("via", text)
            }
        };
        ("route", verdict, text, detail)
    }

    fn encapsulated(&self, peer: PeerId, key: u32) -> Words {
        let (name, pa) = self.peer_name(peer);
        let (vsid, flow) = (key >> 8, key & 0xff);
        (
            "translate",
            "nvgre",
            format!(
                "outer headers to {name}, {}, FlowID {flow}",
                self.vsid_name(vsid)
            ),
            json!({"provider_address": pa, "vsid": vsid, "flow_id": flow}),
        )
    }

    fn wanted(&self, to: Destination) -> String {
        match to {
            Destination::Mac(segment, mac) => format!("{mac} in {}", self.segment_name(segment).0),
            Destination::V4(domain, ca) => format!("{ca} in {}", self.network_name(domain)),
            Destination::V6(domain, ca) => format!("{ca} in {}", self.network_name(domain)),
        }
    }
}

fn guard(rule: Rule) -> Words {
    let (verdict, text, value) = match rule {
        Rule::Address(ip) => (
            "address",
            format!("{ip} is one of the vNIC's addresses"),
            json!({"source": ip}),
        ),
        Rule::AllowedSource(ip) => (
            "allowed_sources",
            format!("{ip} is in one of the vNIC's allowed_sources"),
            json!({"source": ip}),
        ),
        Rule::Unaddressed => (
            "unaddressed",
            "a packet that a machine may send before it has an address".into(),
            Value::Null,
        ),
        Rule::Mac(mac) => (
            "mac",
            format!("it is no IP, and {mac} is the vNIC's"),
            json!({"mac": mac.to_string()}),
        ),
    };
    ("guard", verdict, text, value)
}

fn protocol(ethertype: EtherType) -> String {
    match ethertype {
        EtherType::IPV4 => "IPv4".into(),
        EtherType::IPV6 => "IPv6".into(),
        EtherType::ARP => "ARP".into(),
        EtherType(other) => format!("EtherType 0x{other:04x}"),
    }
}

/// What became of a packet: the strongest of its ends.
fn verdict(items: &[Item]) -> (&'static str, Option<String>) {
    let steps = || {
        items.iter().filter_map(|(note, _)| match note {
            Note::Step(step) => Some(step),
            Note::Seen { .. } => None,
        })
    };
    let dropped = items.iter().find_map(|(note, _)| match note {
        Note::Seen {
            point: Point::Drop,
            reason: Some(reason),
            ..
        } => Some(*reason),
        _ => None,
    });
    if steps().any(|step| matches!(step, Step::Flooded { .. })) {
        return ("copied", dropped.map(|reason| reason.name().into()));
    }
    if let Some(reason) = dropped {
        return ("dropped", Some(reason.name().into()));
    }
    let mut verdict = "consumed";
    for step in steps() {
        match step {
            Step::Answered { .. } => return ("answered", None),
            Step::Held(_) => verdict = "held",
            Step::Queued => verdict = "queued",
            Step::Out { receiver, .. } => {
                verdict = match receiver {
                    Receiver::Vnic(_) => "delivered",
                    Receiver::Uplink(_) => "sent",
                }
            }
            _ => {}
        }
    }
    (verdict, None)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
