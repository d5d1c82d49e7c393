//! An uplink at which NVGRE for many vNICs arrives, as fast as it is polled, all from one host, by one queue: a NIC's hash of the outer addresses
//! brings it so. What is sent there is gone. Without receivers nothing arrives, and it is a hole to send to.

use std::fmt;
use std::net::Ipv4Addr;

use rte::{Burst, Pool, Supply};
use weir_wire::ipv4::Fragmentation;
use weir_wire::{EtherType, IpProtocol, ether, ipv4};

use super::{FCS, FRAME_BYTES, LINE, Vm, headers, stamp};

/// Ethernet, IPv4 and GRE with a key.
const OUTER: usize = 42;
/// RFC 7637 §3.2.
const GRE: [u8; 4] = [0x20, 0x00, 0x65, 0x58];

/// What arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Arrivals {
    /// How many vNICs it is for; the nth has the first one's MAC and address plus n.
    pub receivers: u32,
    /// Queues to send to.
    pub queues: u16,
    /// Bytes of an inner frame with its FCS, in [`FRAME_BYTES`].
    pub frame: u16,
    /// Its VSID.
    pub vsid: u32,
    /// The first receiver.
    pub to: Vm,
    /// Who sends.
    pub from: Vm,
    /// The host that it comes from, and this one.
    pub peer: Vm,
    /// This host.
    pub own: Vm,
}

/// As it is written in a file.
impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrivals {
            receivers,
            queues,
            frame,
            vsid,
            to,
            from,
            peer,
            own,
        } = self;
        write!(f, "arrivals={receivers},queues={queues}")?;
        write!(f, ",frame={frame},vsid={vsid}")?;
        for (name, vm) in [("to", to), ("from", from), ("peer", peer), ("own", own)] {
            write!(f, ",{name}={}/{}", vm.mac, vm.ca)?;
        }
        Ok(())
    }
}

/// The queue to receive from.
#[derive(Debug)]
pub struct Source {
    /// As a NIC's ring has them: what it writes is then what a NIC and its driver write.
    supply: Supply,
    lines: Vec<[u8; LINE]>,
    bytes: u16,
    receivers: u32,
    next: u32,
    macs: u64,
    ca: u32,
    sum: u32,
}

impl Source {
    /// A source of this, in mbufs of `pool`.
    pub fn new(of: Arrivals, pool: Pool) -> Source {
        let Arrivals { to, from, .. } = of;
        let inner = of.frame.clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end()) - FCS;
        let bytes = inner + OUTER as u16;
        let (ether, ip, udp) = headers(from, to, Ipv4Addr::UNSPECIFIED, inner);
        let (ether, ip, udp) = (ether.octets(), ip.octets(), udp.octets());
        let outer = ether::Header {
            dst: of.own.mac,
            src: of.peer.mac,
            ethertype: EtherType::IPV4,
        };
        let outer_ip = ipv4::Header {
            tos: 0,
            total_length: bytes - ether::HEADER as u16,
            identification: 0,
            fragmentation: Fragmentation::DONT,
            ttl: 64,
            protocol: IpProtocol::GRE,
            source: of.peer.ca,
            destination: of.own.ca,
        };
        let (outer, outer_ip) = (outer.octets(), outer_ip.octets());
        let key = (of.vsid << 8).to_be_bytes();
        let outer = outer.iter().chain(&outer_ip).chain(&GRE).chain(&key);
        let template = outer.chain(&ether).chain(&ip).chain(&udp);
        let mut lines = vec![[0; LINE]; usize::from(bytes).div_ceil(LINE)];
        for (to, from) in lines.as_flattened_mut().iter_mut().zip(template) {
            *to = *from;
        }
        let [.., c0, c1, _, _, _, _, _, _, _, _] = ip;
        Source {
            supply: Supply::new(pool),
            lines,
            bytes,
            receivers: of.receivers,
            next: 0,
            macs: to.mac.to_u64() << 16 | from.mac.to_u64() >> 32,
            ca: u32::from(to.ca),
            sum: u32::from(!u16::from_be_bytes([c0, c1])),
        }
    }

    /// A source of nothing.
    pub fn none(pool: Pool) -> Source {
        Source {
            supply: Supply::new(pool),
            lines: Vec::new(),
            bytes: 0,
            receivers: 0,
            next: 0,
            macs: 0,
            ca: 0,
            sum: 0,
        }
    }

    /// Fills an empty burst, each frame for the next receiver; how many. None while the pool has not as many mbufs, or they are too small.
    #[inline]
    pub fn rx(&mut self, burst: &mut Burst) -> usize {
        let wanted = Burst::CAPACITY;
        if self.receivers == 0 || !self.supply.fill(burst, self.lines.len()) {
            return 0;
        }
        for mbuf in burst.as_mut_slice() {
            let number = self.next;
            self.next = if number + 1 < self.receivers {
                number + 1
            } else {
                0
            };
            let frame = mbuf.fill(&self.lines, self.bytes);
            let Some(inner) = frame.and_then(|frame| frame.get_mut(OUTER..)) else {
                burst.clear();
                return 0;
            };
            let macs = self.macs + (u64::from(number) << 16);
            stamp(inner, macs, self.ca + number, self.sum);
        }
        wanted
    }
}
