//! Why a packet was dropped: one enum, one stable name and one sentence each.

macro_rules! reasons {
    ($($variant:ident $name:literal $help:literal)*) => {
        /// Why a packet was dropped. Every dropped packet has exactly one reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $help] $variant),* }

        impl Reason {
            /// Every reason, in order of its number.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),*];
            /// How many there are.
            pub const COUNT: usize = Reason::ALL.len();

            /// The stable name, as in `weir drops -o json`.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name),* }
            }

            /// What it means and how to mend it.
            pub fn help(self) -> &'static str {
                match self { $(Reason::$variant => $help),* }
            }
        }
    };
}

reasons! {
    // From a vNIC.
    Runt "runt" "Shorter than an Ethernet header."
    Truncated "truncated" "The IP header says more bytes than arrived: the device cut a frame larger than its MTU; in the VM: ethtool -K DEV tso off gso off."
    Malformed "malformed" "A header contradicts itself or the frame."
    SpoofedMac "spoofed_mac" "Source MAC is not the vNIC's; allow it with allowed_macs."
    SpoofedIp "spoofed_ip" "Source address is not one of the vNIC's; allow it with addresses or allowed_sources."
    SpoofedArp "spoofed_arp" "The sender in an ARP or ND packet is not the vNIC."
    ReservedMulticast "reserved_multicast" "Link-local control traffic to 01:80:C2:00:00:0x, which no bridge forwards (IEEE 802.1Q 8.6.3)."
    TenantTagged "tenant_tagged" "A VLAN tag of the VM's own in a bridged VM network, which has its VLAN already: a second would be a way into another."
    TrunkUnknown "trunk_unknown" "A frame on a trunk with a source MAC or VLAN of no vNIC there."
    NoRecord "no_record" "No vNIC of the virtual subnet has the destination MAC."
    NoRoute "no_route" "The VM network has no route to the destination."
    HostUnknown "host_unknown" "The destination is in a subnet of the VM network (or behind a next hop there), where no vNIC has that address."
    LinkLocal "link_local" "Routed, but from a link-local address or none, which no router forwards (RFC 4291 2.5.6): the VM lacks an IPv6 address of its own."
    TtlExpired "ttl_expired" "The packet's TTL or hop limit did not last to the subnet's gateway."
    ForGateway "for_gateway" "To the subnet's gateway, which answers ARP, ND and ping and does nothing else."
    NoMembers "no_members" "Broadcast or multicast in a virtual subnet that has no other member."
    SamePort "same_port" "The destination is the vNIC that sent it."
    PaUnresolved "pa_unresolved" "The other host's provider address (or the gateway to it) does not answer ARP or neighbour discovery on the uplink."
    NotRewritable "not_rewritable" "The virtual subnet's packets are rewritten, which unicast IP from a vNIC's own addresses is only: broadcast, multicast, other protocols and other sources do not leave the host; where tenants need them, make it a subnet of translation nvgre."
    TooBig "too_big" "With its outer headers the packet is larger than the uplink's MTU; lower the VM's MTU by 42 (over IPv6 62), or raise the uplink's."
    GsoUnsupported "gso_unsupported" "To be cut into segments, but no TCP that can be: UDP, a header that is not as it says, more than 256 segments; in the VM: ethtool -K DEV tso off gso off."
    NoHeadroom "no_headroom" "No room before the packet for the outer headers."
    MissLimited "miss_limited" "The vNIC asks for more destinations that have no record here than the store shall hear of: a scan of addresses does that."
    MissOverflow "miss_overflow" "The store has not answered yet where the destination is, and as many packets are held as one destination, or one vNIC's share of destinations, may have."
    MissTimeout "miss_timeout" "The store did not answer within a second where the destination is; see `weir status`."
    CopiesLimit "copies_limit" "Broadcast or multicast for more members and hosts than one frame is copied to (copies_limit of the subnet); the last of them did not get it. Raise it, or give the subnet a multicast_group."
    PoolEmpty "pool_empty" "No free mbuf for a copy or a packet of the switch's own; raise dataplane.mbufs."
    VnicGone "vnic_gone" "The receiving vNIC is being removed."
    // From the wire.
    OuterType "outer_type" "Neither IPv4, IPv6 nor ARP on the uplink."
    OuterVlan "outer_vlan" "A VLAN tag on the uplink that is not the uplink's own, or none where one is asked."
    OuterMalformed "outer_malformed" "The outer IP header contradicts itself, the frame or its checksum."
    OuterNotOurs "outer_not_ours" "Destination MAC or provider address is not this host's."
    OuterFragment "outer_fragment" "A fragment of an outer packet, which a sender must not make (RFC 7637 4.4)."
    OuterExtension "outer_extension" "IPv6 extension headers before GRE, which no NVGRE sender needs; on a Linux peer: encaplimit none."
    OuterProtocol "outer_protocol" "IP to a provider address of this host, but neither GRE nor an ICMP error about a packet of its own that did not fit."
    GreTruncated "gre_truncated" "Shorter than its GRE header says."
    GreChecksum "gre_checksum" "GRE with a checksum, which NVGRE forbids (RFC 7637 3.2)."
    GreNoKey "gre_no_key" "GRE without a key, which NVGRE needs (RFC 7637 3.2)."
    GreSequence "gre_sequence" "GRE with a sequence number, which NVGRE forbids (RFC 7637 3.2)."
    GreReserved "gre_reserved" "GRE with a routing or reserved bit set (RFC 2784 2.3)."
    GreVersion "gre_version" "A GRE version other than 0."
    GreProtocol "gre_protocol" "GRE that does not carry Ethernet (0x6558)."
    UnknownPa "unknown_pa" "From a provider address of no host in the policy; to a vNIC's provider address, from one of no vNIC of its VM network."
    UnknownVsid "unknown_vsid" "A virtual subnet with no member on this host."
    OtherNetwork "other_network" "A rewritten packet between provider addresses of two VM networks."
    ProviderIcmp "provider_icmp" "ICMP from the provider network to a vNIC's provider address that says nothing of a path's MTU, or nothing about a packet of that vNIC's: tenants do not see the provider network."
    WrongGroup "wrong_group" "NVGRE to a multicast group that is not that of its virtual subnet, or with a frame to one MAC inside."
    InnerTagged "inner_tagged" "An 802.1Q tag inside NVGRE (RFC 7637 3.3)."
    InnerMalformed "inner_malformed" "The inner Ethernet frame is shorter than its header."
    InnerSourceLocal "inner_source_local" "The source MAC (with NVGRE the inner one), or the provider address that a packet is rewritten from, belongs to a vNIC of this host: a loop or a forgery."
    EcnNotCapable "ecn_not_capable" "The provider network marked congestion on a packet whose sender does not know ECN (RFC 6040 4.2): a loss tells it."
    NotHere "not_here" "The destination MAC (with NVGRE the inner one) is no vNIC of this host."
    UnderlayArp "underlay_arp" "ARP on the uplink that is malformed or not about this host."
    UnderlayNd "underlay_nd" "Neighbour discovery on the uplink that breaks a rule of RFC 4861 7.1 or is not about this host."
    // On the way out.
    QueueFull "queue_full" "The vNIC sends (or is sent) more than its bandwidth or its share of the uplink, and as much of it waits as may: TCP takes that as its measure; where it should not, raise max or min of the vNIC or of the traffic class."
    Policed "policed" "The vNIC sends more than its maximum, and the policy says drop (police = true) and not queue: raise max, or leave police out."
    TxFull "tx_full" "The device's transmit queue stayed full; a VM's also when it takes nothing: it is off, starts, or hangs."
    Oversize "oversize" "Larger than the port takes; compare the MTU of the sender and the receiver, or of a bridged VM and its uplink."
    HandoffFull "handoff_full" "The ring to the worker that owns the port was full."
    PortClosed "port_closed" "The port was closed while the packet waited."
    // What a NIC gave twice.
    PoolCopy "pool_copy" "A broadcast or multicast that the NIC gave to every VMDq pool (steering = \"vmdq\" of the uplink): one worker switches it, and the others' copies end here; nothing is lost."
    // What a device says that it lost: outside the workers' equation.
    PortMissed "port_missed" "The device had no free descriptor (imissed): the workers are too slow or asleep."
    PortNoMbuf "port_no_mbuf" "The device found no free mbuf (rx_nombuf); raise dataplane.mbufs."
    PortRxError "port_rx_error" "The device received erroneous frames (ierrors)."
    PortTxError "port_tx_error" "The device failed to send (oerrors)."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_help_are_distinct_and_dense() {
        let mut names = std::collections::HashSet::new();
        for (i, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, i);
            assert!(names.insert(reason.name()));
            assert!(reason.help().ends_with('.'));
        }
    }
}
