//! Which MACs a PF's interface hears besides its own: those of vNICs behind the switch, so that the NIC brings them what VFs send to
//! them (`bridge fdb add MAC dev PF self`; net/core/rtnetlink.c, `ndo_dflt_fdb_add`). Promiscuity alone is not enough: it is for what
//! comes from the wire, while what a VF sends to nobody whom the NIC knows goes to the wire alone.

use super::discover::Pf;
use super::error::{Error, Name};
use super::host::Host;
use super::link::{self, Refused};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use weir_wire::Mac;

/// Has the PF hear a MAC, or no longer; does nothing if it is so already.
///
/// Fails with [`Name::NoInterface`], [`Name::NoPrivilege`], [`Name::ValueRefused`] where the NIC has no room, or [`Name::Failed`].
pub fn set(host: &impl Host, pf: &Pf, mac: Mac, on: bool) -> Result<(), Error> {
    let interface = link::interface(pf)?;
    let index = host.number(&format!("/sys/class/net/{interface}/ifindex"));
    let Some(index) = index.and_then(|index| u32::try_from(index).ok()) else {
        return Err(Error::new(
            Name::NoInterface,
            &pf.pf,
            format!("its interface {interface} has gone"),
            "see whether its driver is still there",
        ));
    };
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec()));
    // Without NLM_F_EXCL what is there already is no error.
    let request = match on {
        true => link::request(
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE,
        ),
        false => link::request(
            RouteNetlinkMessage::DelNeighbour(message),
            NLM_F_REQUEST | NLM_F_ACK,
        ),
    };
    let done = host.ask(&request).map_err(Refused::from);
    let Err(refused) = done.and_then(|answer| link::answer(&answer)) else {
        return Ok(());
    };
    let what = format!("its PF {interface} does not hear {mac}");
    match Errno::from_raw_os_error(refused.errno) {
        Errno::NOENT if !on => Ok(()),
        Errno::EXIST if on => Ok(()),
        Errno::PERM | Errno::ACCESS => Err(Error::privilege(&pf.pf, "set what a NIC hears")),
        Errno::NOMEM | Errno::NOSPC => Err(Error::new(
            Name::ValueRefused,
            &pf.pf,
            format!(
                "{what}: the NIC has no room for more MACs ({})",
                link::text(&refused)
            ),
            "VFs do not reach that vNIC by the NIC's own switch: have fewer vNICs beside VFs, or fewer VFs",
        )),
        _ => Err(Error::new(
            Name::Failed,
            &pf.pf,
            format!("{what}: {}", link::text(&refused)),
            "dmesg may tell more",
        )),
    }
}
