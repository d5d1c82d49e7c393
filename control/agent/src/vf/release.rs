//! A VF as it was before anybody had it: its settings those of a new one, its driver the kernel's, so that whoever is given it next
//! inherits nothing (k8snetworkplumbingwg/sriov-cni#107: a VF kept the VLAN of the pod before).

use super::bind::{self, To};
use super::change::{self, Change};
use super::discover::{Pf, Vf, folder, object};
use super::error::{Error, Name};
use super::host::Host;
use super::settings::{LinkState, Setting, VlanProtocol};
use super::users::{self, Claims};
use serde::Serialize;
use weir_wire::Mac;

/// What a release did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Released {
    /// Settings that were put back to those of a new VF.
    pub restored: Vec<Setting>,
    /// Whether it went to another driver.
    pub rebound: bool,
    /// What could not be put back, a sentence each. Its next user inherits that.
    pub left: Vec<String>,
}

/// Puts a VF back: settings, then driver. What a driver does not take back is told and does not keep the rest.
///
/// Fails, having changed nothing, with [`Name::InUse`], [`Name::NoSuchVf`] or [`Name::NoPrivilege`].
pub fn release(host: &impl Host, claims: &Claims, pf: &Pf, index: u16) -> Result<Released, Error> {
    let vf = pf.vf(index)?;
    users::refuse(host, claims, pf, [vf], "releasing it")?;
    let mut released = Released::default();
    for part in defaults(pf) {
        if part.mac.is_some() && chose(host, pf, vf) {
            continue;
        }
        match change::change(host, pf, index, &part) {
            Ok(done) => released.restored.extend(done.changed),
            // A driver that has no such setting never had it set.
            Err(error) if error.name == Name::NotOfDriver => {}
            Err(error) if error.name == Name::NoPrivilege => return Err(error),
            Err(error) if error.name == Name::NoInterface => {
                released
                    .left
                    .push(format!("its settings: {}", error.problem));
                break;
            }
            Err(error) => released
                .left
                .push(format!("{}; {}", error.problem, error.mend)),
        }
    }
    let on_vfio = vf.driver.as_deref() == Some("vfio-pci");
    if on_vfio {
        match bind::bind(host, claims, pf, index, To::Kernel) {
            Ok(rebound) => released.rebound = rebound,
            Err(error) if error.name == Name::NoPrivilege => return Err(error),
            Err(error) => released.left.push(format!(
                "{}: {}; {}",
                object(pf, index),
                error.problem,
                error.mend
            )),
        }
    }
    Ok(released)
}

/// NET_ADDR_RANDOM (linux/netdevice.h): the driver found no MAC set and made one up.
const RANDOM: i64 = 1;

/// Whether the MAC that the PF shows is one that the VF's own driver chose, as that of a new VF: none was given.
fn chose(host: &impl Host, pf: &Pf, vf: &Vf) -> bool {
    let Ok(shown) = change::read(host, pf, vf.vf) else {
        return false;
    };
    let net = format!("{}/net", folder(&vf.address));
    host.names(&net).iter().any(|name| {
        let random = host.number(&format!("{net}/{name}/addr_assign_type")) == Some(RANDOM);
        let address = host.read(&format!("{net}/{name}/address"));
        random && address == Some(shown.mac.to_string())
    })
}

/// What a new VF is set to, in parts that are put back one by one. Zero for its MAC lets the VF's driver choose again.
fn defaults(pf: &Pf) -> Vec<Change> {
    // New VFs of these have no spoof check, those of all others do.
    let spoof_check = !matches!(pf.driver.as_deref(), Some("mlx5_core" | "bnxt_en"));
    let none = Change::default;
    vec![
        Change {
            trust: Some(false),
            ..none()
        },
        Change {
            min_mbit: Some(0),
            max_mbit: Some(0),
            ..none()
        },
        Change {
            link_state: Some(LinkState::Auto),
            ..none()
        },
        Change {
            vlan: Some(0),
            qos: Some(0),
            vlan_protocol: Some(VlanProtocol::Q),
            ..none()
        },
        Change {
            mac: Some(Mac::ZERO),
            ..none()
        },
        Change {
            spoof_check: Some(spoof_check),
            ..none()
        },
    ]
}
