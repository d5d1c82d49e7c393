//! What is told of a packet on its way: whose it is, and what each stage found or did.

use crate::outlet::Receiver;
use std::net::IpAddr;
use weir_tables::domain::Route;
use weir_tables::endpoints::{Destination, Record, Target};
use weir_tables::ids::{DomainId, PeerId, PortId, SegmentId, UplinkId, VnicId};
use weir_tables::reason::Reason;
use weir_wire::{EtherType, Mac};

/// Whose a packet is at a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Who {
    /// Nobody that is known: the packet is the switch's own, or of no vNIC on its trunk.
    #[default]
    Nobody,
    /// A local vNIC.
    Vnic(VnicId),
    /// An uplink.
    Uplink(UplinkId),
}

impl From<Receiver> for Who {
    fn from(receiver: Receiver) -> Who {
        match receiver {
            Receiver::Vnic(id) => Who::Vnic(id),
            Receiver::Uplink(id) => Who::Uplink(id),
        }
    }
}

/// Which rule let a vNIC's frame in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Its source address is one of the vNIC's own.
    Address(IpAddr),
    /// Its source address is in one of `allowed_sources`.
    AllowedSource(IpAddr),
    /// It is one of the few packets that an honest machine sends before it has an address.
    Unaddressed,
    /// It is no IP, and its source MAC is the vNIC's.
    Mac(Mac),
}

/// What a stage found or did: the line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The Ethernet header was read.
    Parsed {
        /// Destination.
        dst: Mac,
        /// Source.
        src: Mac,
        /// What follows.
        ethertype: EtherType,
    },
    /// The vNIC may send it.
    Allowed(Rule),
    /// An outer packet was accepted.
    Accepted {
        /// The virtual subnet.
        segment: SegmentId,
        /// The peer's provider address.
        source: Option<IpAddr>,
        /// Outer bytes.
        header: u16,
    },
    /// (segment, MAC) was looked up.
    Endpoint {
        /// The virtual subnet.
        segment: SegmentId,
        /// The MAC.
        mac: Mac,
        /// Where it is.
        found: Option<Target>,
    },
    /// (routing domain, address) was looked up.
    Record {
        /// The VM network.
        domain: DomainId,
        /// The customer address.
        address: IpAddr,
        /// What is known of it.
        found: Option<Record>,
    },
    /// There was no record: the prefixes of the VM network were asked.
    Route {
        /// The VM network.
        domain: DomainId,
        /// The destination.
        to: IpAddr,
        /// The longest prefix that covers it.
        found: Option<Route<IpAddr>>,
    },
    /// The gateway sent it on: TTL and MACs have changed.
    Hop {
        /// The TTL or hop limit that is left.
        ttl: u8,
        /// The next MAC.
        mac: Mac,
        /// The destination's virtual subnet.
        segment: SegmentId,
    },
    /// The switch answered it: ARP, neighbour discovery, an echo to the gateway.
    Answered {
        /// Whose address was asked for.
        address: IpAddr,
        /// What the answer is from.
        mac: Mac,
    },
    /// To many: copies for the members of a virtual subnet.
    Flooded {
        /// The virtual subnet.
        segment: SegmentId,
        /// Members here, the sender among them.
        here: u32,
        /// Other hosts with members.
        peers: u32,
    },
    /// The sender is told by ICMP.
    Told {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// Cut into fragments before it is encapsulated.
    Fragmented {
        /// Payload bytes of each but the last.
        most: u16,
    },
    /// Cut into TCP segments, which its sender left to its device.
    Cut {
        /// How many.
        segments: u16,
    },
    /// The MSS that a TCP handshake says was lowered.
    Clamped {
        /// To so many bytes.
        mss: u16,
    },
    /// A checksum that its sender left to its device was finished.
    Finished,
    /// It got its outer headers.
    Encapsulated {
        /// The other host.
        peer: PeerId,
        /// VSID and FlowID.
        key: u32,
    },
    /// It is held until the policy store has said where its destination is.
    Held(Destination),
    /// Its customer addresses became provider addresses.
    Rewritten {
        /// The other host.
        peer: PeerId,
        /// The provider address of the sender.
        source: IpAddr,
        /// The provider address of the receiver.
        destination: IpAddr,
    },
    /// Its provider addresses became customer addresses again.
    Restored {
        /// The customer address of the sender.
        source: IpAddr,
        /// The customer address of the receiver.
        destination: IpAddr,
    },
    /// It ended in the switch itself.
    Consumed,
    /// It waits for its sender's maximum, or for its share of an uplink.
    Queued,
    /// It waited for so long that it bears the mark of congestion from here on.
    Marked,
    /// It was given to a port.
    Out {
        /// The port.
        port: PortId,
        /// Who gets it.
        receiver: Receiver,
    },
    /// It was dropped.
    Dropped(Reason),
}
