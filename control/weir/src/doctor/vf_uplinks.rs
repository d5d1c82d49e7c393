//! Uplinks that are virtual functions: what their PF lets them do, and what host.toml asks of them beyond that.

use super::{Check, Root};
use weir_agent::config::device::Device;
use weir_agent::config::host::{HostConfig, Uplink};
use weir_agent::vf::discover::{self, Pf};
use weir_agent::vf::link::Found;
use weir_agent::vf::settings::Settings;
use weir_wire::Mac;

const NAME: &str = "vf_uplink";

/// Vendor and device numbers of VFs, where no PF is to be seen: in a VM (drivers' tables: igbvf, ixgbevf, iavf, mlx5).
const VFS: [&str; 15] = [
    "8086:10ca",
    "8086:1520",
    "8086:10ed",
    "8086:1515",
    "8086:1565",
    "8086:15a8",
    "8086:15c5",
    "8086:154c",
    "8086:1571",
    "8086:37cd",
    "8086:1889",
    "15b3:1014",
    "15b3:1016",
    "15b3:1018",
    "15b3:101e",
];

/// One check for each uplink that is a VF. `settings` asks the kernel what a PF's VFs are set to.
pub fn vf_uplinks(
    root: &Root,
    host: Option<&HostConfig>,
    settings: impl Fn(&Pf) -> Option<Vec<Found>>,
) -> Vec<Check> {
    let uplinks = host.map(|host| host.uplinks.iter()).unwrap_or_default();
    uplinks
        .filter_map(|uplink| {
            let Device::Pci(device) = &uplink.device else {
                return None;
            };
            let address = device.split(',').next().unwrap_or_default();
            if let Some((pf, index)) = pf_of(root, address) {
                let has_token = host.is_some_and(|host| host.dataplane.vf_token.is_some());
                if pf.driver.as_deref() == Some("vfio-pci") {
                    return Some(fenced(uplink, &pf.pf, index, has_token));
                }
                let all = settings(&pf).unwrap_or_default();
                let own = all.into_iter().find(|found| found.vf == index);
                let pf = pf.interface.unwrap_or(pf.pf);
                return Some(match own {
                    Some(found) => judge(uplink, &pf, index, &found.settings),
                    None => unknown(uplink, &format!("VF {index} of {pf}")),
                });
            }
            let read = |name| root.read(&format!("/sys/bus/pci/devices/{address}/{name}"));
            let id = format!("{}:{}", read("vendor")?, read("device")?).replace("0x", "");
            VFS.contains(&id.as_str())
                .then(|| unknown(uplink, "a VF whose PF is not on this machine"))
        })
        .collect()
}

fn pf_of(root: &Root, address: &str) -> Option<(Pf, u16)> {
    let root = super::sriov::Looked(root);
    let (pf, index) = discover::vf_at(&root, address)?;
    Some((discover::find(&root, &pf).ok()?, index))
}

/// Of a VF whose PF vfio-pci has.
fn fenced(uplink: &Uplink, pf: &str, index: u16, has_token: bool) -> Check {
    let detail = format!(
        "uplink {} is VF {index} of {pf}, which vfio-pci has: who drives {pf} says what it may be, and the kernel opens it with {pf}'s token alone",
        uplink.name
    );
    match has_token {
        true => Check::good(NAME, detail),
        false => Check::broken(
            NAME,
            detail,
            "write vf_token = \"UUID\" at [dataplane] in host.toml: the one of who drives the PF",
        ),
    }
}

/// Of a VF whose PF does not tell.
fn unknown(uplink: &Uplink, of: &str) -> Check {
    let detail = format!(
        "uplink {} is {of}: its MAC, VLAN, spoof check and trust are its PF's to set",
        uplink.name
    );
    let mut mends = Vec::new();
    if uplink.mac.is_some() {
        mends.push(
            "mac in host.toml is refused if the PF has given another: leave it out".to_string(),
        );
    }
    if let Some(vlan) = uplink.vlan {
        mends.push(format!(
            "vlan = {vlan} wants a PF that lets the VF send tags: if the PF has put it into a VLAN, leave vlan out"
        ));
    }
    finish(detail, false, mends)
}

fn judge(uplink: &Uplink, pf: &str, index: u16, set: &Settings) -> Check {
    let mac = match set.mac {
        Mac::ZERO => "MAC of its own choice".into(),
        mac => format!("MAC {mac}"),
    };
    let vlan = match set.vlan {
        0 => "no VLAN".into(),
        vlan => format!("VLAN {vlan}"),
    };
    let word = |on: Option<bool>| match on {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    let detail = format!(
        "uplink {} is VF {index} of {pf}: {mac}, {vlan}, spoof check {}, trust {}",
        uplink.name,
        word(set.spoof_check),
        word(set.trust)
    );
    let (mut broken, mut mends) = (false, Vec::new());
    if let Some(own) = uplink.mac
        && set.mac != Mac::ZERO
        && set.mac != own
        && set.trust != Some(true)
    {
        broken = true;
        mends.push(format!(
            "its PF does not let it take mac = \"{own}\": leave that out of host.toml, or weir vf set {pf} {index} --mac {own}"
        ));
    }
    match uplink.vlan {
        Some(vlan) if set.vlan != 0 => {
            broken = true;
            mends.push(format!(
                "its PF tags what it sends for VLAN {}, and vlan = {vlan} would tag it twice: leave vlan out of host.toml, or weir vf set {pf} {index} --vlan 0",
                set.vlan
            ));
        }
        _ => {}
    }
    if uplink.v6().next().is_some() && set.trust == Some(false) {
        mends.push(format!(
            "it has IPv6 addresses, for which it listens to groups, and without trust only to few: weir vf set {pf} {index} --trust on if neighbours do not find it"
        ));
    }
    finish(detail, broken, mends)
}

fn finish(mut detail: String, broken: bool, mends: Vec<String>) -> Check {
    // What concerns policies, which are not seen here.
    detail.push_str("; VMs bridged to it want trust on and spoof check off");
    match (broken, mends.is_empty()) {
        (true, _) => Check::broken(NAME, detail, mends.join("\n")),
        (false, true) => Check::good(NAME, detail),
        (false, false) => Check::warn(NAME, detail, mends.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;
    use std::path::Path;

    const VF: &str = "0000:03:10.0";

    /// A machine with a PF of one VF; in a VM (`alone`) the VF without it.
    fn machine(root: &Path, alone: bool) {
        let devices = root.join("sys/bus/pci/devices");
        let write = |path: &str, text: &str| {
            let path = devices.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(&format!("{VF}/vendor"), "0x8086\n");
        write(&format!("{VF}/device"), "0x10ca\n");
        if alone {
            return;
        }
        write("0000:03:00.0/class", "0x020000\n");
        write("0000:03:00.0/sriov_totalvfs", "7\n");
        write("0000:03:00.0/sriov_numvfs", "1\n");
        write("0000:03:00.0/net/eth0/x", "");
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, devices.join(at)).unwrap();
        link(&format!("../{VF}"), "0000:03:00.0/virtfn0");
        link("../0000:03:00.0", &format!("{VF}/physfn"));
    }

    fn check(alone: bool, lines: &str, settings: Settings) -> Check {
        let folder = tempfile::tempdir().unwrap();
        machine(folder.path(), alone);
        check_at(folder.path(), lines, "", settings)
    }

    fn check_at(root: &Path, lines: &str, dataplane: &str, settings: Settings) -> Check {
        let text = format!(
            "name = \"h1\"\n{dataplane}[[uplink]]\nname = \"up0\"\ndevice = \"{VF}\"\nprovider_addresses = [\"192.168.50.1/24\"]\n{lines}\n[store]\nkind = \"file\"\npath = \"p.toml\"\n"
        );
        let host = HostConfig::parse(&text, "host.toml", root, &[0, 1]).unwrap();
        let found = Found {
            vf: 0,
            settings,
            counters: Default::default(),
        };
        let checks = vf_uplinks(&Root::new(root), Some(&host), |_| Some(vec![found.clone()]));
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.into_iter().next().unwrap()
    }

    #[test]
    fn what_a_pf_lets_its_vf_do_is_told() {
        let mac = Mac::new([2, 0, 0, 0, 1, 0]);
        let set = Settings {
            mac,
            vlan: 101,
            spoof_check: Some(true),
            trust: Some(false),
            ..Settings::default()
        };
        let good = check(false, "", set.clone());
        assert_eq!(good.ok, Health::Good, "{good:?}");
        let told = "uplink up0 is VF 0 of eth0: MAC 02:00:00:00:01:00, VLAN 101, spoof check on, trust off";
        assert!(good.detail.starts_with(told), "{}", good.detail);

        let twice = check(false, "vlan = 101", set.clone());
        assert_eq!(twice.ok, Health::Broken);
        assert!(twice.mend.contains("twice") && twice.mend.contains("weir vf set eth0 0 --vlan 0"));
        let other = "mac = \"02:00:00:00:09:09\"";
        let taken = check(false, other, set.clone());
        assert_eq!(taken.ok, Health::Broken);
        assert!(
            taken
                .mend
                .contains("weir vf set eth0 0 --mac 02:00:00:00:09:09")
        );
        // A trusted one may choose, and one that was given none.
        for free in [
            Settings {
                trust: Some(true),
                ..set.clone()
            },
            Settings {
                mac: Mac::ZERO,
                ..set.clone()
            },
        ] {
            assert_eq!(check(false, other, free).ok, Health::Good);
        }
    }

    #[test]
    fn a_vf_of_a_pf_under_dpdk_wants_its_token() {
        let folder = tempfile::tempdir().unwrap();
        machine(folder.path(), false);
        let driver = folder
            .path()
            .join("sys/bus/pci/devices/0000:03:00.0/driver");
        std::os::unix::fs::symlink("x/vfio-pci", driver).unwrap();
        let with = |dataplane: &str| check_at(folder.path(), "", dataplane, Settings::default());
        let none = with("");
        assert_eq!(none.ok, Health::Broken);
        assert!(none.mend.contains("vf_token"), "{}", none.mend);
        let token = "14d63f20-8445-11ea-8900-1f9ce7d5650d";
        let some = with(&format!("[dataplane]\nvf_token = \"{token}\"\n"));
        assert_eq!(some.ok, Health::Good);
        assert!(some.detail.contains("VF 0 of 0000:03:00.0"));
        assert!(!format!("{some:?}").contains(token));
    }

    #[test]
    fn in_a_vm_it_is_said_that_the_pf_decides() {
        let plain = check(true, "", Settings::default());
        assert_eq!(plain.ok, Health::Good);
        assert!(plain.detail.contains("whose PF is not on this machine"));
        for lines in ["vlan = 7", "mac = \"02:00:00:00:09:09\""] {
            let warned = check(true, lines, Settings::default());
            assert_eq!(warned.ok, Health::Warn, "{lines}");
            assert!(warned.mend.contains("leave"), "{}", warned.mend);
        }
    }
}
