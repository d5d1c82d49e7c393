//! Devices for measurements: a source of one VM to many, [`senders`] of many VMs, and a [`sink`] that logs whose frame left when.
//!
//! The source holds no frames: each packet is written from one template and numbered, so that
//! ten million destinations cost what a thousand cost.
//!
//! What [`Source::rx`] gives are frames of UDP over IPv4 from one VM to others, of which the nth has the first one's
//! MAC plus n and its address plus n. The numbers come in steps of about 0.618 of their count, coprime to it: every
//! destination once before any comes again, neighbours far apart, and no random numbers to pay for.

pub mod arrivals;
pub mod senders;
pub mod sink;
pub mod stalls;
pub mod wire;

use std::fmt;
use std::net::Ipv4Addr;

use rte::{Burst, Pool};
use weir_wire::ipv4::Fragmentation;
use weir_wire::{EtherType, IpProtocol, Mac, ether, ipv4, udp};

/// The shortest and the longest frame, with FCS.
pub const FRAME_BYTES: std::ops::RangeInclusive<u16> = 64..=1518;
/// Destinations at most: three bytes of an address.
pub const MAPPINGS_MOST: u32 = 1 << 24;
/// The FCS, which is counted in a frame's length and which no device shows.
const FCS: u16 = 4;
/// A cache line.
const LINE: usize = 64;
/// UDP ports, from and to.
const PORTS: [u16; 2] = [0x1000, 0x2000];

/// A VM: its MAC and its customer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vm {
    /// Its MAC.
    pub mac: Mac,
    /// Its customer address.
    pub ca: Ipv4Addr,
}

/// What a source gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frames {
    /// How many destinations there are, 1 to [`MAPPINGS_MOST`].
    pub mappings: u32,
    /// Bytes of a frame with its FCS, in [`FRAME_BYTES`].
    pub frame: u16,
    /// Who sends.
    pub from: Vm,
    /// The first destination; the nth has MAC and address plus n.
    pub to: Vm,
}

/// As it is written in a file.
impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frames {
            mappings,
            frame,
            from,
            to,
        } = self;
        let Vm { mac, ca } = from;
        write!(
            f,
            "mappings={mappings},frame={frame},from={mac}/{ca},to={}/{}",
            to.mac, to.ca
        )
    }
}

impl Frames {
    /// The step from one number to the next: as far from each multiple of itself as can be, and coprime to the count.
    fn step(&self) -> u32 {
        let golden = (u64::from(self.mappings) * 0x9e37_79b9) >> 32;
        let mut step = (golden as u32).max(1);
        while gcd(step, self.mappings) != 1 {
            step += 1;
        }
        step % self.mappings.max(1)
    }
}

/// The headers of a frame of `bytes` without FCS, to an address: Ethernet, IPv4 (DF), UDP (no checksum, RFC 768).
fn headers(
    from: Vm,
    to: Vm,
    destination: Ipv4Addr,
    bytes: u16,
) -> (ether::Header, ipv4::Header, udp::Header) {
    let total_length = bytes - ether::HEADER as u16;
    let ether = ether::Header {
        dst: to.mac,
        src: from.mac,
        ethertype: EtherType::IPV4,
    };
    let ip = ipv4::Header {
        tos: 0,
        total_length,
        identification: 0,
        fragmentation: Fragmentation::DONT,
        ttl: 64,
        protocol: IpProtocol::UDP,
        source: from.ca,
        destination,
    };
    let [source_port, destination_port] = PORTS;
    let udp = udp::Header {
        source_port,
        destination_port,
        length: total_length - ipv4::HEADER as u16,
    };
    (ether, ip, udp)
}

fn gcd(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        b => gcd(b, a % b),
    }
}

/// The source, as a queue to receive from.
#[derive(Debug)]
pub struct Source {
    pool: Pool,
    /// The template, in whole lines.
    lines: Vec<[u8; LINE]>,
    /// Bytes of a frame without FCS.
    bytes: u16,
    /// The number of the next frame.
    next: u32,
    step: u32,
    mappings: u32,
    /// The first destination's MAC, in the upper six bytes, and behind it the first two of the sender's.
    macs: u64,
    /// The first destination's address.
    ca: u32,
    /// The ones' complement sum of the IPv4 header without the destination.
    sum: u32,
}

impl Source {
    /// A source of such frames, in mbufs of `pool`.
    pub fn new(frames: Frames, pool: Pool) -> Source {
        let Frames { from, to, .. } = frames;
        let bytes = frames.frame.clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end()) - FCS;
        let (ether, ip, udp) = headers(from, to, Ipv4Addr::UNSPECIFIED, bytes);
        let (ether, ip, udp) = (ether.octets(), ip.octets(), udp.octets());
        let mut lines = vec![[0; LINE]; usize::from(bytes).div_ceil(LINE)];
        let template = ether.iter().chain(&ip).chain(&udp);
        for (to, from) in lines.as_flattened_mut().iter_mut().zip(template) {
            *to = *from;
        }
        let [.., c0, c1, _, _, _, _, _, _, _, _] = ip;
        let sum = !u16::from_be_bytes([c0, c1]);
        Source {
            pool,
            lines,
            bytes,
            next: 0,
            step: frames.step(),
            mappings: frames.mappings.max(1),
            macs: to.mac.to_u64() << 16 | from.mac.to_u64() >> 32,
            ca: u32::from(to.ca),
            sum: u32::from(sum),
        }
    }

    /// Fills the burst with the next frames; how many. None while the pool has not as many mbufs, or they are too small.
    #[inline]
    pub fn rx(&mut self, burst: &mut Burst) -> usize {
        let wanted = Burst::CAPACITY - burst.len();
        if !self.pool.alloc_bulk(burst, wanted) {
            return 0;
        }
        let fresh = burst.len() - wanted;
        for mbuf in burst.as_mut_slice().iter_mut().skip(fresh) {
            let number = self.next;
            let left = self.mappings - number;
            self.next = if self.step < left {
                number + self.step
            } else {
                self.step - left
            };
            let Some(frame) = mbuf.fill(&self.lines, self.bytes) else {
                burst.clear();
                return 0;
            };
            stamp(
                frame,
                self.macs + (u64::from(number) << 16),
                self.ca + number,
                self.sum,
            );
        }
        wanted
    }
}

/// Writes the destination into a frame: its MAC, its address, the header's checksum with it.
#[inline(always)]
fn stamp(frame: &mut [u8], macs: u64, ca: u32, sum: u32) {
    let Some(frame) = frame.first_chunk_mut::<34>() else {
        return;
    };
    let sum = sum + (ca >> 16) + (ca & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    if let Some(to) = frame.first_chunk_mut::<8>() {
        *to = macs.to_be_bytes();
    }
    if let Some(to) = frame.get_mut(24..26) {
        to.copy_from_slice(&sum.to_be_bytes());
    }
    if let Some(to) = frame.last_chunk_mut::<4>() {
        *to = ca.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(mappings: u32) -> Frames {
        let vm = |mac, ca| Vm {
            mac: Mac::from_u64(mac),
            ca,
        };
        Frames {
            mappings,
            frame: 64,
            from: vm(0x0200_0000_0001, Ipv4Addr::new(10, 0, 0, 2)),
            to: vm(0x0201_0000_0000, Ipv4Addr::new(10, 1, 0, 0)),
        }
    }

    #[test]
    fn the_steps_meet_every_number_and_neighbours_are_far_apart() {
        for mappings in [1, 2, 3, 4, 6, 10, 1000, 4096, 999_983, 1 << 20] {
            let step = frames(mappings).step();
            let mut met = vec![false; mappings as usize];
            let mut number = 0;
            for _ in 0..mappings {
                assert!(!std::mem::replace(&mut met[number as usize], true));
                number = (number + step) % mappings;
            }
            assert_eq!(number, 0, "{mappings}");
            if mappings >= 1000 {
                let apart = step.min(mappings - step);
                assert!(apart > mappings / 3, "{mappings}: {step}");
            }
        }
    }
}
