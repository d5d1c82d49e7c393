//! Being written.

/// Multicast listener report, version 1 (RFC 2710 §3).
pub const MLD_REPORT: u8 = 131;
/// Multicast listener done (RFC 2710 §3).
pub const MLD_DONE: u8 = 132;
/// Router solicitation (RFC 4861 §4.1).
pub const ROUTER_SOLICITATION: u8 = 133;
/// Neighbour solicitation (RFC 4861 §4.3).
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Multicast listener report, version 2 (RFC 3810 §5.2).
pub const MLD2_REPORT: u8 = 143;
