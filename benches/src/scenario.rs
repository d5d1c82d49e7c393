//! The scenarios there are, and what one sends: frames for the source, addresses for the subjects' tables.

use std::net::Ipv4Addr;
use weir_wire::checksum::checksum;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A local vNIC sends to vNICs on other hosts: every packet leaves in NVGRE.
    NvgreEncap,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 1] = [Scenario::NvgreEncap];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::NvgreEncap => "nvgre-encap",
        }
    }

    /// What it shows, in one line.
    pub fn about(self) -> &'static str {
        match self {
            Scenario::NvgreEncap => {
                "one vNIC (net_pcap, infinite_rx) to vNICs on ten other hosts over NVGRE (net_null)"
            }
        }
    }

    /// The one of exactly that name.
    pub fn named(name: &str) -> Option<Scenario> {
        Scenario::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name)
    }
}

/// The VSID of the only subnet.
pub const VSID: u32 = 5001;
/// The prefix of the only subnet.
pub const PREFIX: &str = "10.0.0.0/8";
/// This host's provider address, and its prefix's length.
pub const PROVIDER: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 168, 50, 1), 24);
/// Bytes that NVGRE over IPv4 adds: Ethernet 14, IPv4 20, GRE with key 8.
pub const NVGRE_BYTES: u64 = 42;
/// The FCS, which `--frame` counts and no device shows.
const FCS: u16 = 4;
/// Other hosts.
const HOSTS: u32 = 10;

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

/// What is sent, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// vNICs on other hosts.
    pub mappings: u32,
    /// Bytes of a frame with its FCS, as RFC 2544 counts them.
    pub frame: u16,
}

impl Workload {
    /// Bytes of a frame as devices see it, without FCS.
    pub fn wire_bytes(&self) -> u16 {
        self.frame - FCS
    }

    /// The vNIC that sends. The first address of the prefix is the gateway's.
    pub fn source(&self) -> Vm {
        Vm {
            mac: [2, 0, 0, 0, 0, 1],
            ca: Ipv4Addr::new(10, 0, 0, 2),
        }
    }

    /// The vNIC with this number on another host.
    pub fn remote(&self, number: u32) -> Vm {
        let [a, b, c, d] = number.to_be_bytes();
        Vm {
            mac: [2, 1, a, b, c, d],
            ca: Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 0)) + number),
        }
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

    /// One frame a mapping, in an order that is mixed and always the same: tables filled in order must not be read in order.
    pub fn frames(&self) -> Vec<Vec<u8>> {
        let mut order: Vec<u32> = (0..self.mappings).collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for place in (1..order.len()).rev() {
            // xorshift64, Marsaglia 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(place, (state % (place as u64 + 1)) as usize);
        }
        order
            .into_iter()
            .map(|number| self.frame_to(self.remote(number)))
            .collect()
    }

    /// A UDP packet of the sender to this vNIC: Ethernet 14, IPv4 20, UDP 8 (without checksum, RFC 768), zeros.
    fn frame_to(&self, to: Vm) -> Vec<u8> {
        let from = self.source();
        let ip_bytes = self.wire_bytes() - 14;
        let mut frame = Vec::with_capacity(usize::from(self.wire_bytes()));
        frame.extend(to.mac);
        frame.extend(from.mac);
        frame.extend([0x08, 0x00]);
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&ip_bytes.to_be_bytes());
        ip[6] = 0x40; // DF
        ip[8] = 64;
        ip[9] = 17;
        ip[12..16].copy_from_slice(&from.ca.octets());
        ip[16..20].copy_from_slice(&to.ca.octets());
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(ip);
        frame.extend([0x10, 0x00, 0x20, 0x00]);
        frame.extend((ip_bytes - 20).to_be_bytes());
        frame.resize(usize::from(self.wire_bytes()), 0);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_frame_a_mapping_of_the_length_asked_for() {
        for (frame, len) in [(64, 60), (1518, 1514)] {
            let frames = Workload {
                mappings: 1000,
                frame,
            }
            .frames();
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
        let load = Workload {
            mappings: 1,
            frame: 64,
        };
        let frame = load.frame_to(load.remote(258));
        assert_eq!(frame[..14], [2, 1, 0, 0, 1, 2, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!(frame[26..34], [10, 0, 0, 2, 10, 1, 1, 2]);
        assert_eq!(
            (checksum(&frame[14..34]), &frame[16..18], &frame[38..40]),
            (0, &[0, 46][..], &[0, 26][..])
        );
    }
}
