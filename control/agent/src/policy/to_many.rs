//! How a virtual subnet's broadcast and multicast travel (RFC 7637 §4.2).

use std::net::Ipv4Addr;

use crate::config::document::At;
use crate::config::fields::Fault;
use crate::config::reader::Object;
use crate::config::refusals::Refusals;

/// What a subnet writes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToMany {
    /// How many members and hosts one frame may reach, if it is written.
    pub copies: Option<u32>,
    /// The provider multicast group that carries it; else a copy goes to each host.
    pub group: Option<Ipv4Addr>,
}

/// The fields, for whoever reads the subnet.
pub const COPIES: &str = "copies_limit";
/// See [`COPIES`].
pub const GROUP: &str = "multicast_group";

/// Reads both.
pub fn read(object: &Object<'_>, refusals: &mut Refusals) -> ToMany {
    let copies = object.integer(COPIES, 1..=65_535, refusals);
    let group = object.parsed(GROUP, group, refusals);
    ToMany {
        copies: copies.and_then(|At { value, .. }| u32::try_from(value).ok()),
        group: group.map(|group| group.value),
    }
}

/// A group that routers of the provider network carry.
fn group(text: &str) -> Result<Ipv4Addr, Fault> {
    let mend = "use one of 239.0.0.0/8, such as \"239.1.1.1\" (RFC 2365)";
    let shown = text.escape_debug();
    let Ok(group) = text.parse::<Ipv4Addr>() else {
        let what = match text.parse::<std::net::Ipv6Addr>() {
            Ok(_) => format!("{shown}: groups of IPv6 are not built in this version"),
            Err(_) => format!("\"{shown}\" is not an IPv4 address"),
        };
        return Err(Fault::new(what, mend));
    };
    if !group.is_multicast() {
        return Err(Fault::new(format!("{group} is no multicast group"), mend));
    }
    if group.octets()[..3] == [224, 0, 0] {
        let what =
            format!("{group} stays on its link and is of the link's own protocols (RFC 5771 §4)");
        return Err(Fault::new(what, mend));
    }
    Ok(group)
}
