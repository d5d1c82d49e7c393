//! What is sent, and to whom: addresses for the subjects' tables, frames for the source.

use crate::scenario::Scenario;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use weir_tables::domain::GATEWAY_MAC;
use weir_wire::Mac;
use weir_wire::checksum::checksum;
use weir_worker::rig::{self, Frames};

/// The VSID of the sender's subnet, and of the one behind the gateway.
pub const VSIDS: [u32; 2] = [5001, 5002];
/// Their prefixes.
pub const PREFIXES: [&str; 2] = ["10.0.0.0/8", "11.0.0.0/8"];
/// This host's provider address, and its prefix's length.
pub const PROVIDER: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 168, 50, 1), 24);
/// This host's MAC on the provider's network: that of the first net_pcap port, which takes no other.
pub const PROVIDER_MAC: [u8; 6] = [2, b'p', b'c', b'a', b'p', 0];
/// Bytes that NVGRE over IPv4 adds: Ethernet 14, IPv4 20, GRE with key 8.
pub const NVGRE_BYTES: u64 = 42;
/// The FCS, which `--frame` counts and no device shows.
const FCS: u16 = 4;
/// Other hosts.
const HOSTS: u32 = 10;
/// Frames that net_pcap keeps at most. From some thousands on they no longer fit the nearest caches and the source itself costs more.
pub const FRAMES_MOST: u64 = 100_000;
/// IMIX: 7 of 64 bytes, 4 of 594, 1 of 1,518, mixed.
const IMIX: [u16; 12] = [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 64, 594];

/// A MAC address as it is written in every file here.
pub fn mac_text(mac: [u8; 6]) -> String {
    let hex: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(":")
}

/// A vNIC: its MAC and its customer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its customer address.
    pub ca: Ipv4Addr,
}

/// Another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its MAC address on the provider's network.
    pub mac: [u8; 6],
    /// Its provider address.
    pub pa: Ipv4Addr,
}

/// Bytes of a frame with its FCS, as RFC 2544 counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// All of one length, 64 to 1,518.
    Bytes(u16),
    /// 64, 594 and 1,518 as 7 : 4 : 1.
    Imix,
}

impl Default for Frame {
    fn default() -> Frame {
        Frame::Bytes(64)
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Frame::Bytes(bytes) => bytes.fmt(f),
            Frame::Imix => f.write_str("imix"),
        }
    }
}

impl FromStr for Frame {
    type Err = String;
    fn from_str(text: &str) -> Result<Frame, String> {
        match (text, text.parse()) {
            ("imix", _) => Ok(Frame::Imix),
            (_, Ok(bytes @ 64..=1518)) => Ok(Frame::Bytes(bytes)),
            _ => Err("write bytes between 64 and 1518, or imix".into()),
        }
    }
}

/// A number, or `"imix"`.
impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Frame::Bytes(bytes) => to.serialize_u16(*bytes),
            Frame::Imix => to.serialize_str("imix"),
        }
    }
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Frame, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Bytes(u16),
            Name(String),
        }
        match Either::deserialize(from)? {
            Either::Bytes(bytes) => Ok(Frame::Bytes(bytes)),
            Either::Name(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// Which mappings are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hits {
    /// Each as often as any other, in a mixed order.
    #[default]
    Uniform,
    /// The nth in rank 1/n as often as the first.
    Zipf,
    /// None: every destination is unknown.
    Miss,
}

impl Hits {
    /// The names of all of them.
    pub const NAMES: [&str; 3] = ["uniform", "zipf", "miss"];
}

impl FromStr for Hits {
    type Err = String;
    fn from_str(text: &str) -> Result<Hits, String> {
        match text {
            "uniform" => Ok(Hits::Uniform),
            "zipf" => Ok(Hits::Zipf),
            "miss" => Ok(Hits::Miss),
            _ => Err(format!("write one of {}", Hits::NAMES.join(", "))),
        }
    }
}

/// What is sent, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// vNICs on other hosts.
    pub mappings: u32,
    /// Bytes of a frame.
    pub frame: Frame,
    /// UDP flows to each mapping.
    pub flows: u32,
    /// Which mappings are met.
    pub hits: Hits,
    /// Mappings that move to another host or back, a second, while it runs. Of Weir alone: nobody asks that of a peer.
    pub updates: u32,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            mappings: 1000,
            frame: Frame::default(),
            flows: 1,
            hits: Hits::default(),
            updates: 0,
        }
    }
}

/// xorshift64, Marsaglia 2003: mixed, and always the same.
struct Mixer(u64);

impl Mixer {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// In 0..1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Workload {
    /// The vNIC that sends, or that gets what comes in. The first address of the prefix is the gateway's.
    pub fn source(&self) -> Vm {
        Vm {
            mac: [2, 0, 0, 0, 0, 1],
            ca: Ipv4Addr::new(10, 0, 0, 2),
        }
    }

    /// Its neighbour on this host.
    pub fn near(&self) -> Vm {
        Vm {
            mac: [2, 0, 0, 0, 0, 2],
            ca: Ipv4Addr::new(10, 0, 0, 3),
        }
    }

    /// The vNIC with this number on another host.
    pub fn remote(&self, scenario: Scenario, number: u32) -> Vm {
        let [a, b, c, d] = number.to_be_bytes();
        let first = match scenario.subnets() {
            2 => Ipv4Addr::new(11, 1, 0, 0),
            _ => Ipv4Addr::new(10, 1, 0, 0),
        };
        Vm {
            mac: [2, 1, a, b, c, d],
            ca: Ipv4Addr::from(u32::from(first) + number),
        }
    }

    /// The provider address that a customer address is rewritten to: 172 in the place of 10.
    pub fn rewritten(&self, ca: Ipv4Addr) -> Ipv4Addr {
        let [_, b, c, d] = ca.octets();
        Ipv4Addr::new(172, b, c, d)
    }

    /// Other hosts, by number.
    pub fn hosts(&self) -> impl Iterator<Item = Peer> {
        (0..HOSTS).map(|number| {
            let [.., last] = (number + 2).to_be_bytes();
            Peer {
                mac: [2, 0xbb, 0, 0, 0, last],
                pa: Ipv4Addr::new(192, 168, 50, last),
            }
        })
    }

    /// The number of the host that a remote vNIC is on.
    pub fn host_of(&self, number: u32) -> u32 {
        number % HOSTS
    }

    /// Frames in the source.
    pub fn count(&self) -> u64 {
        let all = u64::from(self.mappings) * u64::from(self.flows);
        match self.hits {
            // Enough draws that rare ones are among them.
            Hits::Zipf => (4 * all).clamp(4096, FRAMES_MOST),
            _ => all.min(FRAMES_MOST),
        }
        .next_multiple_of(match self.frame {
            Frame::Bytes(_) => 1,
            Frame::Imix => IMIX.len() as u64,
        })
    }

    /// Bytes of the frame at this place, without FCS.
    fn bytes_at(&self, place: u64) -> u16 {
        let bytes = match self.frame {
            Frame::Bytes(bytes) => bytes,
            Frame::Imix => IMIX[(place % IMIX.len() as u64) as usize],
        };
        bytes - FCS
    }

    /// Bytes of a frame in the mean, without FCS.
    pub fn mean_bytes(&self) -> f64 {
        let all: f64 = (0..IMIX.len() as u64)
            .map(|place| f64::from(self.bytes_at(place)))
            .sum();
        all / IMIX.len() as f64
    }

    /// The longest frame, with FCS.
    pub fn longest(&self) -> u16 {
        match self.frame {
            Frame::Bytes(bytes) => bytes,
            Frame::Imix => 1518,
        }
    }

    /// Which mapping and which of its flows each frame is of.
    fn order(&self) -> Vec<(u32, u32)> {
        let count = self.count();
        let mut mixer = Mixer(0x9e37_79b9_7f4a_7c15);
        let all = u64::from(self.mappings) * u64::from(self.flows);
        let split = |which: u64| {
            let flows = u64::from(self.flows.max(1));
            ((which / flows) as u32, (which % flows) as u32)
        };
        if self.hits == Hits::Zipf {
            // The inverse of the continuous distribution with the same tail: rank = all^share.
            let rank = |mixer: &mut Mixer| {
                let rank = (all as f64 + 1.0).powf(mixer.share());
                // Neighbours in rank are no neighbours in the tables.
                ((rank as u64 - 1).wrapping_mul(0x9e37_79b1)) % all
            };
            return (0..count).map(|_| split(rank(&mut mixer))).collect();
        }
        let mut order: Vec<u64> = if all <= count {
            (0..count).map(|which| which % all).collect()
        } else {
            // A sample of them, spread over all.
            (0..count).map(|_| mixer.below(all)).collect()
        };
        for place in (1..order.len()).rev() {
            order.swap(place, mixer.below(place as u64 + 1) as usize);
        }
        let miss = self.hits == Hits::Miss;
        order
            .into_iter()
            .map(split)
            .map(|(number, flow)| (number + if miss { self.mappings } else { 0 }, flow))
            .collect()
    }

    /// The source's frames, in an order that is mixed and always the same: tables filled in order must not be read in order.
    pub fn frames(&self, scenario: Scenario) -> Vec<Vec<u8>> {
        let frame = |(place, (number, flow))| self.frame_of(scenario, place, number, flow);
        (0..).zip(self.order()).map(frame).collect()
    }

    /// The same to a vNIC on another host as a source writes them that holds none: one flow to each mapping.
    pub fn stamped(&self) -> Frames {
        let vm = |Vm { mac, ca }| rig::Vm {
            mac: Mac::new(mac),
            ca,
        };
        Frames {
            mappings: self.mappings,
            frame: self.longest(),
            from: vm(self.source()),
            to: vm(self.remote(Scenario::NvgreEncap, 0)),
        }
    }

    /// One frame as it comes from the source.
    pub fn frame_of(&self, scenario: Scenario, place: u64, number: u32, flow: u32) -> Vec<u8> {
        let (own, near, remote) = (self.source(), self.near(), self.remote(scenario, number));
        let bytes = usize::from(self.bytes_at(place));
        let udp = |to: [u8; 6], from: Vm, ca| udp(to, from, ca, flow, bytes);
        match scenario {
            Scenario::NvgreEncap => udp(remote.mac, own, remote.ca),
            Scenario::NvgreDecap => {
                let host = self.hosts().nth(self.host_of(number) as usize);
                let Peer { mac, pa } = host.unwrap_or(Peer {
                    mac: [0; 6],
                    pa: Ipv4Addr::UNSPECIFIED,
                });
                let inner = udp(own.mac, remote, own.ca);
                let [f0, f1, ..] = flow.to_le_bytes();
                let key = (VSIDS[0] << 8 | u32::from(f0 ^ f1)).to_be_bytes();
                let mut packet = ipv4(pa, PROVIDER.0, 47, 8 + inner.len());
                packet.extend([0x20, 0, 0x65, 0x58]);
                packet.extend(key);
                packet.extend(inner);
                ethernet(PROVIDER_MAC, mac, &packet)
            }
            Scenario::Routed => udp(GATEWAY_MAC.octets(), own, remote.ca),
            Scenario::Local => udp(near.mac, own, near.ca),
            Scenario::Drop => {
                let forged = Vm { ca: near.ca, ..own };
                udp(remote.mac, forged, remote.ca)
            }
            Scenario::L2 | Scenario::Rewrite => udp(remote.mac, own, remote.ca),
        }
    }
}

fn ethernet(to: [u8; 6], from: [u8; 6], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to);
    frame.extend(from);
    frame.extend([0x08, 0x00]);
    frame.extend_from_slice(payload);
    frame
}

/// An IPv4 header without options, DF set, for so many bytes.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: usize) -> Vec<u8> {
    let mut ip = vec![0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((20 + payload) as u16).to_be_bytes());
    ip[6] = 0x40; // DF
    ip[8] = 64;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..20].copy_from_slice(&to.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip
}

/// A UDP packet in a frame of `bytes`: Ethernet 14, IPv4 20, UDP 8 (without checksum, RFC 768), zeros. The source port tells flows apart.
fn udp(to: [u8; 6], from: Vm, ca: Ipv4Addr, flow: u32, bytes: usize) -> Vec<u8> {
    let length = bytes - 14 - 20;
    let mut packet = ipv4(from.ca, ca, 17, length);
    packet.extend((0x1000u16.wrapping_add(flow as u16)).to_be_bytes());
    packet.extend([0x20, 0x00]);
    packet.extend((length as u16).to_be_bytes());
    packet.resize(bytes - 14, 0);
    ethernet(to, from.mac, &packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    fn load(mappings: u32, frame: u16) -> Workload {
        Workload {
            mappings,
            frame: Frame::Bytes(frame),
            ..Workload::default()
        }
    }

    #[test]
    fn one_frame_a_mapping_of_the_length_asked_for() {
        for (frame, len) in [(64, 60), (1518, 1514)] {
            let frames = load(1000, frame).frames(Scenario::NvgreEncap);
            let to: HashSet<&[u8]> = frames.iter().map(|frame| &frame[..6]).collect();
            assert_eq!((frames.len(), to.len()), (1000, 1000));
            assert!(frames.iter().all(|frame| frame.len() == len));
            assert!(
                frames.windows(2).any(|pair| pair[0][..6] > pair[1][..6]),
                "the order is mixed"
            );
        }
    }

    #[test]
    fn a_frame_is_udp_with_a_good_header() {
        let load = load(1, 64);
        let frame = load.frame_of(Scenario::NvgreEncap, 0, 258, 0);
        assert_eq!(frame[..14], [2, 1, 0, 0, 1, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(frame[26..34], [10, 0, 0, 2, 10, 1, 1, 2]);
        assert_eq!(
            (checksum(&frame[14..34]), &frame[16..18], &frame[38..40]),
            (0, &[0, 46][..], &[0, 26][..])
        );
    }

    #[test]
    fn what_comes_from_the_wire_is_nvgre_to_this_host() {
        let frame = load(10, 64).frame_of(Scenario::NvgreDecap, 0, 3, 0);
        assert_eq!(frame.len(), 60 + 42);
        assert_eq!(&frame[..6], &PROVIDER_MAC);
        assert_eq!(&frame[26..34], &[192, 168, 50, 5, 192, 168, 50, 1]);
        assert_eq!(checksum(&frame[14..34]), 0);
        assert_eq!(&frame[34..42], &[0x20, 0, 0x65, 0x58, 0, 0x13, 0x89, 0]);
        assert_eq!(frame[42..48], [2, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn imix_is_seven_four_one() {
        let load = Workload {
            frame: Frame::Imix,
            ..load(1000, 64)
        };
        let frames = load.frames(Scenario::NvgreEncap);
        let mut lengths = HashMap::new();
        for frame in &frames {
            *lengths.entry(frame.len()).or_insert(0) += 1;
        }
        let each = frames.len() / 12;
        assert_eq!(
            lengths,
            HashMap::from([(60, 7 * each), (590, 4 * each), (1514, each)])
        );
        let mean = frames.iter().map(Vec::len).sum::<usize>() as f64 / frames.len() as f64;
        assert_eq!(mean, load.mean_bytes());
        assert_eq!(load.longest(), 1518);
    }

    #[test]
    fn flows_and_patterns() {
        let flows = Workload {
            flows: 4,
            ..load(100, 64)
        };
        let frames = flows.frames(Scenario::Routed);
        let ports: HashSet<&[u8]> = frames.iter().map(|frame| &frame[34..36]).collect();
        assert_eq!((frames.len(), ports.len()), (400, 4));
        assert!(
            frames
                .iter()
                .all(|frame| frame[26..30] == [10, 0, 0, 2] && frame[30] == 11)
        );

        let zipf = Workload {
            hits: Hits::Zipf,
            ..load(1000, 64)
        };
        let mut met = HashMap::new();
        for frame in zipf.frames(Scenario::NvgreEncap) {
            *met.entry(frame[..6].to_vec()).or_insert(0u32) += 1;
        }
        let mut often: Vec<u32> = met.values().copied().collect();
        often.sort_by(|a, b| b.cmp(a));
        assert!(often[0] > 20 * often[often.len() / 2], "{often:?}");
        assert!(often.len() > 400, "{}", often.len());

        let miss = Workload {
            hits: Hits::Miss,
            ..load(1000, 64)
        };
        let known: HashSet<_> = (0..1000)
            .map(|n| miss.remote(Scenario::NvgreEncap, n).mac)
            .collect();
        let frames = miss.frames(Scenario::NvgreEncap);
        assert!(frames.iter().all(|frame| !known.contains(&frame[..6])));
    }

    #[test]
    fn the_source_that_holds_no_frames_means_the_same_mappings() {
        let load = load(70_000, 64);
        let frames = load.stamped();
        let (from, last) = (load.source(), load.remote(Scenario::NvgreEncap, 69_999));
        assert_eq!(
            (frames.from.mac.octets(), frames.from.ca),
            (from.mac, from.ca)
        );
        assert_eq!(frames.to.mac.to_u64() + 69_999, Mac::new(last.mac).to_u64());
        assert_eq!(u32::from(frames.to.ca) + 69_999, u32::from(last.ca));
        assert_eq!((frames.mappings, frames.frame), (70_000, 64));
    }

    #[test]
    fn a_frame_length_is_a_number_or_imix() {
        for (text, json) in [("64", "64"), ("imix", "\"imix\"")] {
            let frame: Frame = text.parse().unwrap();
            assert_eq!(serde_json::to_string(&frame).unwrap(), json);
            assert_eq!(serde_json::from_str::<Frame>(json).unwrap(), frame);
        }
        assert!("63".parse::<Frame>().is_err() && "1519".parse::<Frame>().is_err());
    }
}
