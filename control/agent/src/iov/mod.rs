//! Which vNICs have a VF of the uplink's NIC, and the change of one's path: hardware where policy allows, software where it does not.
//!
//! *Which question:* for each vNIC that asks, a VF or the reason why none; and how is it given and taken away while frames flow?
//! *Which place:* the control thread, several times a second and whenever policy or an observer changes. Workers know nothing of it: to
//! them a vNIC that has a VF is one of its uplink's network, found by the wire as those of other hosts are.
//! *Trade-offs:* nothing of the NIC is remembered but who was given a VF: it is looked at each time, and what a VF should be and is not is
//! set again.
//!
//! | file | subject |
//! |---|---|
//! | [`why`] | why a vNIC is on its software path, by name |
//! | [`place`] | who gets which VF: a pure function |
//! | [`rate`] | what of a bandwidth a VF keeps, and what NICs refused |
//! | [`survey`] | what the uplink's NIC has to give |
//! | [`program`] | the NIC's part of a change of path |
//! | [`hook`] | commands of host.toml that tell a VM |
//! | [`shadow`] | when who gets which, and what is remembered of paths |
//! | [`swap`] | the change of one path: NIC, tables, VM, in an order that loses least |
//! | [`reach`] | where a vNIC is found: the switch's tables, the PF's filter |
//! | [`given`] | who was given which VF, on disk |
//! | [`left`] | VFs of whom policy has taken out, or that are nobody's |
//! | [`shown`] | what `weir get` and `weir stats` tell |

pub mod given;
pub mod hook;
pub mod left;
pub mod place;
pub mod program;
pub mod rate;
pub mod reach;
pub mod shadow;
pub mod shown;
pub mod survey;
pub mod swap;
pub mod why;

#[cfg(test)]
mod tests;
