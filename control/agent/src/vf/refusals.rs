//! What an error number of a driver means for which setting, and what can be done: drivers answer a bare EINVAL to most things that
//! they will not have. From the drivers' sources in Linux 6.1 (the functions `ndo_set_vf_*` of each).

use super::discover::{Pf, object};
use super::error::{Error, Name};
use super::host::Host;
use super::netlink::{Refused, text};
use super::settings::{Setting, Settings};
use rustix::io::Errno;

/// The kernel's own ENOTSUPP (linux/errno.h), which bnxt answers with an old firmware.
const ENOTSUPP: i32 = 524;

/// Drivers that count each VF's packets (`ndo_get_vf_stats`); the others' counters stay zero.
const COUNTING: [&str; 6] = ["ixgbe", "i40e", "ice", "mlx4_core", "mlx5_core", "fm10k"];

/// Whether a PF's driver counts what its VFs carry.
pub fn counts(driver: &str) -> bool {
    COUNTING.contains(&driver)
}

/// Drivers that have no link state for VFs (no `ndo_set_vf_link_state`).
const LINKLESS: [&str; 1] = ["igb"];

/// Whether a PF's driver can take a VF's link down, as far as is known.
pub fn has_link_state(driver: &str) -> bool {
    !LINKLESS.contains(&driver)
}

/// The least maximum in Mbit/s that a PF's driver takes for a VF, as far as is known; i40e shows it and limits to 50.
pub fn least_rate(driver: &str) -> u32 {
    match driver {
        // ixgbe_ndo_set_vf_bw: "rate limit cannot be less than 10Mbs".
        "ixgbe" => 11,
        _ => 1,
    }
}

/// Why a setting cannot be read back from that driver; none if it can.
pub fn unread(driver: &str, setting: Setting) -> Option<&'static str> {
    match (driver, setting) {
        // ixgbe_ndo_get_vf_config leaves linkstate out; ixgbe_ndo_set_vf_link_state does "disable" and ignores "enable".
        ("ixgbe", Setting::LinkState) => {
            Some("ixgbe never shows a VF's link state; it does auto and down, and ignores up")
        }
        _ => None,
    }
}

/// What was meant by that refusal.
pub fn explain(
    host: &impl Host,
    pf: &Pf,
    index: u16,
    setting: Setting,
    asked: &Settings,
    refused: &Refused,
) -> Error {
    let driver = pf.driver.as_deref().unwrap_or("(none)");
    let object = object(pf, index);
    let what = format!("{} {}", setting.name(), setting.value(asked));
    let why = text(refused);
    let error = |name, problem, mend: String| Error::new(name, object.clone(), problem, mend);
    if refused.errno == ENOTSUPP {
        return not_of_driver(object, driver, setting, &why);
    }
    match Errno::from_raw_os_error(refused.errno) {
        Errno::OPNOTSUPP => not_of_driver(object, driver, setting, &why),
        Errno::PROTONOSUPPORT => error(
            Name::VlanProtocol,
            format!("driver {driver} has no VLAN protocol 802.1ad for VFs ({why})"),
            "use 802.1q; of the common drivers ice alone has 802.1ad, in double VLAN mode".into(),
        ),
        Errno::INVAL | Errno::RANGE => error(
            Name::ValueRefused,
            format!("driver {driver} refuses {what} ({why})"),
            match refused.message.is_empty() {
                true => reasons(host, pf, driver, setting, asked),
                false => "give what its driver says that it takes".into(),
            },
        ),
        // mlx5: the eswitch is another function's (mlx5_esw_allowed).
        Errno::PERM if driver == "mlx5_core" => error(
            Name::NoPrivilege,
            format!("{what} is refused ({why})"),
            "be root (CAP_NET_ADMIN); if you are: this function is not the manager of the NIC's switch (a DPU's Arm side, or another PF, is)".into(),
        ),
        Errno::PERM | Errno::ACCESS => Error::privilege(object, "set VFs"),
        Errno::AGAIN | Errno::BUSY => error(
            Name::Busy,
            format!("driver {driver} is busy with it and did not set {what} ({why})"),
            "try again; a VF that its guest keeps resetting may stay so: release it first".into(),
        ),
        Errno::NOSPC | Errno::NOMEM => error(
            Name::ValueRefused,
            format!("the NIC has no room for {what} ({why})"),
            "its table of MACs or VLANs is full: give VFs of the same tenant the same VLAN, or release some".into(),
        ),
        Errno::NODEV => error(
            Name::NoInterface,
            format!("the PF's interface went away ({why})"),
            "try again when its driver is back".into(),
        ),
        _ => error(
            Name::Failed,
            format!("driver {driver} did not set {what}: {why}"),
            "dmesg may tell more".into(),
        ),
    }
}

fn not_of_driver(object: String, driver: &str, setting: Setting, why: &str) -> Error {
    let mend = match setting {
        Setting::LinkState => {
            "leave it auto; to take a VF off the net, release it, or have the VM's device removed"
        }
        Setting::MinRate => {
            "leave the minimum to the software path, or take a NIC whose driver has it: ice, mlx5_core, bnxt_en, qede"
        }
        Setting::MaxRate => "leave the maximum to the software path",
        Setting::Trust => "leave it out: this driver trusts no VF",
        Setting::SpoofCheck => {
            "a VF without spoof check may send as anybody: give it to nobody you do not trust"
        }
        Setting::Mac | Setting::Vlan => {
            "with the NIC's switch in switchdev mode, set it at the VF's representor"
        }
    };
    Error::new(
        Name::NotOfDriver,
        object,
        format!("driver {driver} has no {} for VFs ({why})", setting.name()),
        mend,
    )
}

/// What drivers answer EINVAL to, by setting.
fn reasons(host: &impl Host, pf: &Pf, driver: &str, setting: Setting, asked: &Settings) -> String {
    let file = |name: &str| {
        let interface = pf.interface.as_deref().unwrap_or_default();
        host.read(&format!("/sys/class/net/{interface}/{name}"))
    };
    let speed = file("speed").and_then(|speed| speed.parse::<u32>().ok());
    let linked = file("operstate").is_some_and(|state| state == "up");
    match setting {
        Setting::MinRate if asked.min_mbit > 0 && matches!(driver, "igb" | "ixgbe" | "i40e") => {
            format!(
                "{driver} promises no VF anything: leave --min to the software path, or take a NIC whose driver has it: ice, mlx5_core, bnxt_en, qede"
            )
        }
        Setting::MinRate => {
            "the minima of all VFs must not exceed the link; ice wants DCB off".into()
        }
        Setting::MaxRate if driver == "ixgbe" && speed.is_some_and(|speed| speed != 10_000) => {
            "ixgbe limits VFs at a link of 10 Gbit/s only".into()
        }
        Setting::MaxRate if !linked => format!(
            "{driver} may set rates only while the PF has a link: ip link set {} up, and see to its cable",
            pf.interface.as_deref().unwrap_or("PF")
        ),
        Setting::MaxRate => match speed {
            Some(speed) if asked.max_mbit > speed => {
                format!("choose at most the link's {speed} Mbit/s, or 0 for no limit")
            }
            _ if driver == "ixgbe" => "choose more than 10 Mbit/s, or 0 for no limit".into(),
            _ => "choose at most the link's speed, or 0 for no limit".into(),
        },
        Setting::Vlan if asked.qos != 0 && driver == "bnxt_en" => {
            "bnxt_en sets no priority: leave --qos out".into()
        }
        Setting::Vlan => "the driver may want the VF's old VLAN taken off first: --vlan 0".into(),
        Setting::Mac => "the driver takes unicast MACs that no other VF has".into(),
        Setting::Trust => "i40e trusts no VF while the port is partitioned (MFP)".into(),
        Setting::SpoofCheck | Setting::LinkState => {
            "the PF's driver may be in reset: try again; dmesg may tell more".into()
        }
    }
}
