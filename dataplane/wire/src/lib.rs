//! Packet formats as checked views.
//!
//! *Which question:* what do these bytes say?
//! *Which place:* under everything else; no dependency, no allocation, no `unsafe`.
//! *Trade-offs:* a view is made by one checked door (`parse`), which takes fixed parts as arrays, so that a
//! field is read without a further check; nothing here panics on any input. Bytes from a network are only
//! ever read through such a door.
//!
//! A file a format: [`ether`], [`vlan`], [`arp`], [`ipv4`], [`ipv6`], [`icmp`], [`icmp6`], [`nd`], [`tcp`],
//! [`udp`], [`gre`]; [`checksum`] and [`flow`] are what they share, [`ids`] the names of things,
//! [`rewrite`] what a packet is with other addresses.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod arp;
pub mod checksum;
pub mod ether;
pub mod flow;
pub mod gre;
pub mod icmp;
pub mod icmp6;
pub mod ids;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod rewrite;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use ids::{EtherType, IpProtocol, Mac, Vsid};

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the header has, or says there are.
    Truncated,
    /// A version field of another protocol.
    Version,
    /// A header length below its least or beyond the bytes.
    HeaderLength,
    /// A total length below the header's.
    TotalLength,
    /// A type, operation or format that this view does not read.
    Unsupported,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "truncated",
            Malformed::Version => "wrong version",
            Malformed::HeaderLength => "bad header length",
            Malformed::TotalLength => "bad total length",
            Malformed::Unsupported => "unsupported",
        })
    }
}

impl std::error::Error for Malformed {}
