//! What hardware can do: DPDK's capability bits as typed sets.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

macro_rules! bitset {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $bits:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            $($(#[$item_doc])* pub const $item: $name = $name(dpdk_sys::$bits);)+

            /// Nothing.
            pub const NONE: $name = $name(0);

            /// From DPDK's bits; those without a name here are kept.
            #[must_use]
            pub const fn from_bits(bits: u64) -> $name {
                $name(bits)
            }

            /// DPDK's bits.
            #[must_use]
            pub const fn bits(self) -> u64 {
                self.0
            }

            /// True if all of `other` is in this.
            #[must_use]
            pub const fn contains(self, other: $name) -> bool {
                self.0 & other.0 == other.0
            }

            /// True if it is empty.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// What is in either.
            #[must_use]
            pub const fn union(self, other: $name) -> $name {
                $name(self.0 | other.0)
            }

            /// What is in this but not in `other`.
            #[must_use]
            pub const fn without(self, other: $name) -> $name {
                $name(self.0 & !other.0)
            }

            /// The names of what is in it, without those that have none here.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                [$((stringify!($item), $name::$item)),+]
                    .into_iter()
                    .filter(move |(_, item)| self.contains(*item))
                    .map(|(name, _)| name)
            }
        }

        impl BitOr for $name {
            type Output = $name;
            fn bitor(self, other: $name) -> $name {
                self.union(other)
            }
        }

        impl BitOrAssign for $name {
            fn bitor_assign(&mut self, other: $name) {
                self.0 |= other.0;
            }
        }

        impl BitAnd for $name {
            type Output = $name;
            fn bitand(self, other: $name) -> $name {
                $name(self.0 & other.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                fmt::Display::fmt(self, f)?;
                f.write_str(")")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut named = $name::NONE;
                let mut separator = "";
                $(if self.contains($name::$item) {
                    named |= $name::$item;
                    write!(f, "{separator}{}", stringify!($item))?;
                    separator = "|";
                })+
                let rest = self.without(named);
                if !rest.is_empty() || self.is_empty() {
                    write!(f, "{separator}{:#x}", rest.0)?;
                }
                Ok(())
            }
        }
    };
}

bitset! {
    /// What a port can do on receive (`RTE_ETH_RX_OFFLOAD_*`).
    RxOffloads {
        /// Take the VLAN tag out: [`Mbuf::vlan`](crate::Mbuf::vlan).
        VLAN_STRIP = RTE_ETH_RX_OFFLOAD_VLAN_STRIP,
        /// Check the IPv4 header's checksum.
        IPV4_CHECKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM,
        /// Check UDP's checksum.
        UDP_CHECKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM,
        /// Check TCP's checksum.
        TCP_CHECKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM,
        /// Merge TCP segments.
        TCP_LRO = RTE_ETH_RX_OFFLOAD_TCP_LRO,
        /// Filter by VLAN.
        VLAN_FILTER = RTE_ETH_RX_OFFLOAD_VLAN_FILTER,
        /// Spread a frame over several segments.
        SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER,
        /// Hand the RSS hash over: [`Mbuf::hash`](crate::Mbuf::hash).
        RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH,
        /// Check the outer IPv4 header's checksum.
        OUTER_IPV4_CHECKSUM = RTE_ETH_RX_OFFLOAD_OUTER_IPV4_CKSUM,
        /// Check the outer UDP's checksum.
        OUTER_UDP_CHECKSUM = RTE_ETH_RX_OFFLOAD_OUTER_UDP_CKSUM,
    }
}

bitset! {
    /// What a port can do on transmit (`RTE_ETH_TX_OFFLOAD_*`): what [`TxRequest`](crate::TxRequest) may ask for.
    TxOffloads {
        /// Insert a VLAN tag.
        VLAN_INSERT = RTE_ETH_TX_OFFLOAD_VLAN_INSERT,
        /// Compute the IPv4 header's checksum.
        IPV4_CHECKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM,
        /// Compute UDP's checksum.
        UDP_CHECKSUM = RTE_ETH_TX_OFFLOAD_UDP_CKSUM,
        /// Compute TCP's checksum.
        TCP_CHECKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM,
        /// Cut TCP into segments.
        TCP_TSO = RTE_ETH_TX_OFFLOAD_TCP_TSO,
        /// Cut UDP into datagrams.
        UDP_TSO = RTE_ETH_TX_OFFLOAD_UDP_TSO,
        /// Compute the outer IPv4 header's checksum.
        OUTER_IPV4_CHECKSUM = RTE_ETH_TX_OFFLOAD_OUTER_IPV4_CKSUM,
        /// Cut TCP in VXLAN into segments.
        VXLAN_TSO = RTE_ETH_TX_OFFLOAD_VXLAN_TNL_TSO,
        /// Cut TCP in GRE, so in NVGRE too, into segments.
        GRE_TSO = RTE_ETH_TX_OFFLOAD_GRE_TNL_TSO,
        /// Cut TCP in GENEVE into segments.
        GENEVE_TSO = RTE_ETH_TX_OFFLOAD_GENEVE_TNL_TSO,
        /// Send an mbuf of several segments.
        MULTI_SEGMENT = RTE_ETH_TX_OFFLOAD_MULTI_SEGS,
    }
}

bitset! {
    /// Which headers RSS hashes (`RTE_ETH_RSS_*`).
    RssTypes {
        /// Addresses of IPv4 and IPv6.
        IP = RTE_ETH_RSS_IP,
        /// Addresses and ports of TCP.
        TCP = RTE_ETH_RSS_TCP,
        /// Addresses and ports of UDP.
        UDP = RTE_ETH_RSS_UDP,
        /// Innermost headers of a tunnel.
        INNERMOST = RTE_ETH_RSS_LEVEL_INNERMOST,
    }
}
