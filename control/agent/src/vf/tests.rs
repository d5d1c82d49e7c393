//! Control of VFs against recordings of each driver.

use super::bind::{To, bind};
use super::change::{Change, change, read};
use super::discover::{self, Pf};
use super::error::{Error, Name};
use super::host::Host;
use super::hurried::Hurried;
use super::link;
use super::recorded::{EPERM, I40E, ICE, IGB, IXGBE, MLX5, Recorded, acknowledged};
use super::settings::{LinkState, Setting, Settings, VlanProtocol};
use super::users::Claims;
use super::{count, release, users};
use std::time::Duration;

const ALL: [&str; 5] = [IGB, IXGBE, I40E, ICE, MLX5];

fn only(host: &Recorded) -> Pf {
    let all = discover::all(host);
    assert_eq!(all.len(), 1);
    all[0].clone()
}

/// That is refused by that name, with a mend, and nothing is other than before.
fn refused<T: std::fmt::Debug>(
    host: &Recorded,
    name: Name,
    act: impl FnOnce(&Recorded) -> Result<T, Error>,
) -> Error {
    let before = host.everything();
    let error = act(host).unwrap_err();
    assert_eq!(error.name, name, "{error}");
    assert!(
        !error.mend.is_empty() && !error.object.is_empty(),
        "{error}"
    );
    assert_eq!(host.everything(), before, "something changed: {error}");
    error
}

#[test]
fn pfs_and_vfs_are_found_with_driver_node_and_group() {
    let host = Recorded::new(IXGBE);
    let pf = only(&host);
    assert_eq!(pf.pf, "0000:03:00.0");
    assert_eq!(pf.interface.as_deref(), Some("ens1f0"));
    assert_eq!(pf.driver.as_deref(), Some("ixgbe"));
    assert_eq!(
        (pf.numa, pf.iommu_group, pf.total_vfs),
        (Some(0), Some(20), 63)
    );
    let vf = pf.vf(1).unwrap();
    assert_eq!(vf.address, "0000:03:10.2");
    assert_eq!(vf.driver.as_deref(), Some("ixgbevf"));
    assert_eq!(vf.interface.as_deref(), Some("ens1f0v1"));
    assert_eq!(vf.iommu_group, Some(22));
    // A machine that does not tell the node says -1.
    assert_eq!(only(&Recorded::new(IGB)).numa, None);
    for name in ["0000:03:00.0", "03:00.0", "ens1f0"] {
        assert_eq!(discover::find(&host, name).unwrap(), pf);
    }
}

#[test]
fn a_representor_is_not_the_pfs_interface() {
    let host = Recorded::new(MLX5);
    let net = "/sys/bus/pci/devices/0000:17:00.0/net";
    host.put(&format!("{net}/ens3f0np0/phys_port_name"), "p0\n");
    host.put(&format!("{net}/aaa/phys_port_name"), "pf0vf1\n");
    assert_eq!(only(&host).interface.as_deref(), Some("ens3f0np0"));
}

#[test]
fn what_is_no_pf_is_refused_by_name() {
    let host = Recorded::new(IXGBE);
    host.put("/sys/class/net/lo/speed", "");
    host.put("/sys/bus/pci/devices/0000:05:00.0/class", "0x020000\n");
    host.put("/sys/bus/pci/devices/0000:06:00.0/class", "0x010802\n");
    for name in ["0000:99:00.0", "eth99", "../..", "/etc", "."] {
        refused(&host, Name::NoSuchPf, |host| discover::find(host, name));
    }
    for (name, says) in [
        ("lo", "without a PCI device"),
        ("0000:05:00.0", "no VFs"),
        ("0000:06:00.0", "no network device"),
        ("0000:03:10.0", "is a VF itself, of 0000:03:00.0"),
    ] {
        let error = refused(&host, Name::NoSriov, |host| discover::find(host, name));
        assert!(error.problem.contains(says), "{error}");
    }
}

#[test]
fn settings_are_read_as_each_driver_tells_them() {
    for recording in ALL {
        let host = Recorded::new(recording);
        let pf = only(&host);
        let driver = pf.driver.as_deref().unwrap();
        let found = link::all(&host, &pf).unwrap();
        assert_eq!(found.len(), 2, "{driver}");
        let settings = &found[0].settings;
        assert_eq!(
            settings.spoof_check,
            Some(driver != "mlx5_core"),
            "{driver}"
        );
        assert_eq!(settings.trust, Some(false), "{driver}");
        assert_eq!(settings.vlan_protocol, VlanProtocol::Q, "{driver}");
        assert_eq!(
            (settings.min_mbit, settings.max_mbit, settings.vlan),
            (0, 0, 0)
        );
    }
    let host = Recorded::new(ICE);
    let found = link::all(&host, &only(&host)).unwrap();
    assert_eq!(found[0].settings.mac.to_string(), "5e:dd:7c:a3:d6:33");
    let counters = &found[0].counters;
    assert_eq!((counters.rx_packets, counters.tx_packets), (7, 8));
    assert_eq!(
        (counters.rx_bytes, counters.tx_bytes, counters.tx_dropped),
        (700, 800, 9)
    );
}

#[test]
fn what_a_driver_does_not_tell_is_neither_on_nor_off() {
    // rtnl_fill_vfinfo presets -1.
    let recording = IGB.replace("0c0004000000000001000000", "0c00040000000000ffffffff");
    assert_ne!(recording, IGB);
    let host = Recorded::new(&recording);
    let found = link::all(&host, &only(&host)).unwrap();
    assert_eq!(found[0].settings.spoof_check, None);
    assert_eq!(found[1].settings.spoof_check, Some(true));
}

#[test]
fn every_setting_is_written_once_read_back_and_not_written_again() {
    for recording in [ICE, MLX5] {
        let host = Recorded::new(recording);
        let pf = only(&host);
        let ice = recording == ICE;
        let wanted = Change {
            mac: Some("02:00:00:00:00:07".parse().unwrap()),
            vlan: Some(100),
            qos: Some(5),
            vlan_protocol: Some(if ice {
                VlanProtocol::Ad
            } else {
                VlanProtocol::Q
            }),
            spoof_check: Some(!ice),
            trust: Some(true),
            link_state: Some(LinkState::Down),
            min_mbit: Some(200),
            max_mbit: Some(5000),
        };
        let done = change(&host, &pf, 1, &wanted).unwrap();
        assert_eq!(done.changed.len(), 7, "{done:?}");
        assert_eq!(done.unverified, []);
        assert_eq!(done.settings, wanted.on(&Settings::default()));
        assert_eq!(read(&host, &pf, 1).unwrap(), done.settings);
        assert_eq!(host.sets.borrow().len(), 7);
        // The other VF is not touched.
        assert_eq!(read(&host, &pf, 0).unwrap().vlan, 0);
        let again = change(&host, &pf, 1, &wanted).unwrap();
        assert_eq!(again.changed, []);
        assert_eq!(host.sets.borrow().len(), 7);
    }
}

#[test]
fn a_refusal_is_named_and_puts_back_what_was_written_before_it() {
    let mac = Some("02:00:00:00:00:07".parse().unwrap());
    let base = || Change {
        mac,
        vlan: Some(9),
        ..Change::default()
    };
    let min = || Change {
        min_mbit: Some(10),
        ..base()
    };
    let ad = || Change {
        vlan_protocol: Some(VlanProtocol::Ad),
        ..base()
    };
    let down = || Change {
        link_state: Some(LinkState::Down),
        ..base()
    };
    let cases = [
        (
            IGB,
            min(),
            Name::ValueRefused,
            "igb promises no VF anything",
        ),
        (
            IXGBE,
            min(),
            Name::ValueRefused,
            "ixgbe promises no VF anything",
        ),
        (
            I40E,
            min(),
            Name::ValueRefused,
            "i40e promises no VF anything",
        ),
        (IGB, ad(), Name::VlanProtocol, "802.1q"),
        (MLX5, ad(), Name::VlanProtocol, "802.1q"),
        (IGB, down(), Name::NotOfDriver, "release it"),
        (
            IGB,
            Change {
                max_mbit: Some(1001),
                ..base()
            },
            Name::ValueRefused,
            "at most the link's 1000 Mbit/s",
        ),
    ];
    for (recording, wanted, name, mend) in cases {
        let host = Recorded::new(recording);
        let pf = only(&host);
        let error = refused(&host, name, |host| change(host, &pf, 0, &wanted));
        assert!(error.mend.contains(mend), "{error}");
        // What came before the refusal was written, and taken back.
        assert!(
            host.sets.borrow().contains(&"0 1".to_string()),
            "{:?}",
            host.sets
        );
    }
}

#[test]
fn what_no_vf_can_be_is_refused_before_anything_is_written() {
    let host = Recorded::new(ICE);
    let pf = only(&host);
    let cases = [
        Change {
            mac: Some("01:00:00:00:00:07".parse().unwrap()),
            ..Change::default()
        },
        Change {
            mac: Some("ff:ff:ff:ff:ff:ff".parse().unwrap()),
            ..Change::default()
        },
        Change {
            vlan: Some(4095),
            ..Change::default()
        },
        Change {
            qos: Some(8),
            vlan: Some(1),
            ..Change::default()
        },
        Change {
            min_mbit: Some(11),
            max_mbit: Some(10),
            ..Change::default()
        },
    ];
    for wanted in cases {
        refused(&host, Name::BadValue, |host| change(host, &pf, 0, &wanted));
        assert_eq!(host.sets.borrow().len(), 0, "{wanted:?}");
    }
}

#[test]
fn what_is_accepted_and_not_kept_is_named_and_put_back() {
    let host = Recorded::new(ICE);
    let pf = only(&host);
    host.rate_bits.set(16);
    let wanted = Change {
        max_mbit: Some(100_000),
        ..Change::default()
    };
    let error = refused(&host, Name::NotKept, |host| change(host, &pf, 0, &wanted));
    assert!(
        error
            .problem
            .contains("100000 Mbit/s and shows 34464 Mbit/s"),
        "{error}"
    );
    host.ignores_mac.set(true);
    let wanted = Change {
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        ..Change::default()
    };
    refused(&host, Name::NotKept, |host| change(host, &pf, 0, &wanted));
}

#[test]
fn what_cannot_be_read_back_is_told_and_is_no_refusal() {
    let host = Recorded::new(IXGBE);
    let pf = only(&host);
    let wanted = Change {
        link_state: Some(LinkState::Down),
        ..Change::default()
    };
    let done = change(&host, &pf, 0, &wanted).unwrap();
    assert_eq!(done.unverified.len(), 1);
    assert_eq!(done.unverified[0].setting, Setting::LinkState);
}

#[test]
fn a_busy_driver_is_waited_for_and_not_for_ever() {
    let host = Recorded::new(I40E);
    let pf = only(&host);
    let wanted = Change {
        trust: Some(true),
        ..Change::default()
    };
    host.busy.set(5);
    change(&host, &pf, 0, &wanted).unwrap();
    assert_eq!(host.pauses.get(), 5);
    host.busy.set(1000);
    let wanted = Change {
        trust: Some(false),
        ..Change::default()
    };
    refused(&host, Name::Busy, |host| change(host, &pf, 0, &wanted));
}

#[test]
fn who_is_in_a_hurry_waits_for_all_busy_drivers_together() {
    let recorded = Recorded::new(I40E);
    let pf = only(&recorded);
    let wanted = Change {
        trust: Some(true),
        ..Change::default()
    };
    let host = Hurried::new(&recorded, Duration::from_millis(450));
    recorded.busy.set(2);
    change(&host, &pf, 0, &wanted).unwrap();
    recorded.busy.set(1000);
    for vf in 0..2 {
        let wanted = Change {
            spoof_check: Some(false),
            ..Change::default()
        };
        let error = change(&host, &pf, vf, &wanted).unwrap_err();
        assert_eq!(error.name, Name::Busy);
    }
    // Two, and what was left of the time.
    assert_eq!(recorded.pauses.get(), 2 + 3);
}

#[test]
fn minima_and_maxima_pass_each_other_in_a_safe_order() {
    let host = Recorded::new(ICE);
    let pf = only(&host);
    let rates = |min, max| Change {
        min_mbit: Some(min),
        max_mbit: Some(max),
        ..Change::default()
    };
    let up = change(&host, &pf, 0, &rates(500, 600)).unwrap();
    assert_eq!(up.changed, [Setting::MaxRate, Setting::MinRate]);
    let down = change(&host, &pf, 0, &rates(100, 200)).unwrap();
    assert_eq!(down.changed, [Setting::MinRate, Setting::MaxRate]);
    let free = change(&host, &pf, 0, &rates(300, 0)).unwrap();
    assert_eq!(free.changed, [Setting::MaxRate, Setting::MinRate]);
    // The link has become slower than the maximum that is set, with which the driver takes no minimum.
    change(&host, &pf, 0, &rates(600, 1000)).unwrap();
    let interface = pf.interface.as_deref().unwrap();
    host.put(&format!("/sys/class/net/{interface}/speed"), "100\n");
    change(&host, &pf, 0, &rates(0, 1)).unwrap();
    let now = read(&host, &pf, 0).unwrap();
    assert_eq!((now.min_mbit, now.max_mbit), (0, 1));
    // Nor any other maximum as long as the minimum is more than the link.
    host.put(&format!("/sys/class/net/{interface}/speed"), "1000\n");
    change(&host, &pf, 0, &rates(600, 600)).unwrap();
    host.put(&format!("/sys/class/net/{interface}/speed"), "100\n");
    change(&host, &pf, 0, &rates(0, 0)).unwrap();
    let now = read(&host, &pf, 0).unwrap();
    assert_eq!((now.min_mbit, now.max_mbit), (0, 0));
}

#[test]
fn without_rights_without_an_interface_and_past_the_total() {
    let host = Recorded::new(IGB);
    let pf = only(&host);
    let wanted = Change {
        vlan: Some(7),
        ..Change::default()
    };
    let error = refused(&host, Name::NoSuchVf, |host| change(host, &pf, 2, &wanted));
    assert!(error.problem.contains("VFs 0 to 1"), "{error}");
    let error = refused(&host, Name::NoSuchVf, |host| change(host, &pf, 7, &wanted));
    assert!(error.mend.contains("7 in all"), "{error}");
    host.refuse.set(Some(EPERM));
    let none = Claims::new();
    refused(&host, Name::NoPrivilege, |host| {
        change(host, &pf, 0, &wanted)
    });
    refused(&host, Name::NoPrivilege, |host| {
        count::set(host, &none, &pf, 0)
    });
    refused(&host, Name::NoPrivilege, |host| {
        bind(host, &none, &pf, 0, To::Vfio)
    });
    host.refuse.set(None);
    host.point("/sys/bus/pci/devices/0000:01:00.0/driver", "x/vfio-pci");
    host.remove("/sys/bus/pci/devices/0000:01:00.0/net");
    let pf = only(&host);
    let error = refused(&host, Name::NoInterface, |host| {
        change(host, &pf, 0, &wanted)
    });
    assert!(error.problem.contains("vfio-pci"), "{error}");
}

#[test]
fn the_drivers_own_sentence_is_told() {
    struct Says(Recorded);
    impl Host for Says {
        fn root(&self) -> &std::path::Path {
            self.0.root()
        }
        fn write(&self, path: &str, text: &str) -> std::io::Result<()> {
            self.0.write(path, text)
        }
        fn ask(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
            // RTM_SETLINK is 19.
            match request[4] {
                19 => Ok(acknowledged(22, "Only one VLAN at a time")),
                _ => self.0.ask(request),
            }
        }
        fn pause(&self, _: std::time::Duration) {}
    }
    let host = Says(Recorded::new(ICE));
    let pf = only(&host.0);
    let wanted = Change {
        vlan: Some(7),
        ..Change::default()
    };
    let error = change(&host, &pf, 0, &wanted).unwrap_err();
    assert!(
        error.problem.contains("Only one VLAN at a time)"),
        "{error}"
    );
}

#[test]
fn vfs_are_made_and_removed_but_not_in_one_step_nor_too_many() {
    let host = Recorded::new(IGB);
    let none = Claims::new();
    let pf = only(&host);
    refused(&host, Name::VfsThere, |host| {
        count::set(host, &none, &pf, 3)
    });
    refused(&host, Name::TooManyVfs, |host| {
        count::set(host, &none, &pf, 8)
    });
    assert_eq!(host.writes.borrow().len(), 0);
    // As many as there are: nothing is written.
    assert_eq!(count::set(&host, &none, &pf, 2).unwrap(), pf);
    assert_eq!(host.writes.borrow().len(), 0);
    let pf = count::set(&host, &none, &pf, 0).unwrap();
    assert_eq!(pf.vfs, []);
    let pf = count::set(&host, &none, &pf, 7).unwrap();
    assert_eq!(pf.vfs.len(), 7);
    let pf = count::set(&host, &none, &pf, 0).unwrap();
    host.makes.set(3);
    let error = count::set(&host, &none, &pf, 5).unwrap_err();
    assert_eq!(error.name, Name::NotKept);
    assert!(
        error.problem.contains("accepted 5 VFs and made 3"),
        "{error}"
    );
}

#[test]
fn what_the_kernel_says_to_new_vfs_has_a_mend() {
    for (errno, name, mend) in [
        (12, Name::NoRoom, "above 4G decoding"),
        (2, Name::DriverMissing, "makes no VFs"),
        (16, Name::InUse, "stop it first"),
        (5, Name::Failed, "dmesg"),
    ] {
        let host = Recorded::new(IGB);
        let none = Claims::new();
        let pf = count::set(&host, &none, &only(&host), 0).unwrap();
        host.refuse.set(Some(errno));
        let error = refused(&host, name, |host| count::set(host, &none, &pf, 2));
        assert!(error.mend.contains(mend), "{error}");
    }
    let host = Recorded::new(IGB);
    host.remove("/sys/bus/pci/devices/0000:01:00.0/driver");
    let pf = only(&host);
    refused(&host, Name::DriverMissing, |host| {
        count::set(host, &Claims::new(), &pf, 0)
    });
}

#[test]
fn a_vf_that_is_used_stays() {
    let claimed = Claims::from([(
        "0000:01:10.0".to_string(),
        "vNIC blue1 of daemon h1".to_string(),
    )]);
    let none = Claims::new();
    // By a daemon.
    let host = Recorded::new(IGB);
    let pf = only(&host);
    for error in [
        refused(&host, Name::InUse, |host| {
            count::set(host, &claimed, &pf, 0)
        }),
        refused(&host, Name::InUse, |host| {
            bind(host, &claimed, &pf, 0, To::Vfio)
        }),
        refused(&host, Name::InUse, |host| {
            release::release(host, &claimed, &pf, 0)
        }),
    ] {
        assert!(error.problem.contains("blue1"), "{error}");
    }
    // By a process that has its group open.
    host.put("/proc/4711/comm", "qemu-system-x86\n");
    host.point("/proc/4711/fd/9", "/dev/vfio/6");
    let error = refused(&host, Name::InUse, |host| count::set(host, &none, &pf, 0));
    assert!(
        error.problem.contains("process 4711 (qemu-system-x86)"),
        "{error}"
    );
    // Group 6 is VF 0's: VF 1 is free.
    assert_eq!(users::of(&host, &none, &pf.vfs[1]), Vec::<String>::new());
    // By an interface that is up.
    let host = Recorded::new(IGB);
    host.put(
        "/sys/bus/pci/devices/0000:01:10.2/net/eth3/flags",
        "0x1003\n",
    );
    let error = refused(&host, Name::InUse, |host| count::set(host, &none, &pf, 0));
    assert!(
        error
            .problem
            .contains("VF 1 (0000:01:10.2) by interface eth3"),
        "{error}"
    );
    // By a container.
    let host = Recorded::new(IGB);
    host.remove("/sys/bus/pci/devices/0000:01:10.0/net/eth2");
    let error = refused(&host, Name::InUse, |host| {
        bind(host, &none, &pf, 0, To::Vfio)
    });
    assert!(
        error.problem.contains("another network namespace"),
        "{error}"
    );
    // The PF itself, by a daemon.
    let host = Recorded::new(IGB);
    let claimed = Claims::from([("0000:01:00.0".to_string(), "uplink up0".to_string())]);
    refused(&host, Name::InUse, |host| {
        count::set(host, &claimed, &pf, 0)
    });
}

#[test]
fn a_vf_goes_to_vfio_and_back_and_only_once() {
    let host = Recorded::new(IGB);
    let none = Claims::new();
    assert!(bind(&host, &none, &only(&host), 0, To::Vfio).unwrap());
    let pf = only(&host);
    assert_eq!(pf.vfs[0].driver.as_deref(), Some("vfio-pci"));
    assert_eq!(pf.vfs[1].driver.as_deref(), Some("igbvf"));
    let writes = host.writes.borrow().len();
    assert!(!bind(&host, &none, &pf, 0, To::Vfio).unwrap());
    assert_eq!(host.writes.borrow().len(), writes);
    assert!(bind(&host, &none, &pf, 0, To::Kernel).unwrap());
    assert_eq!(only(&host).vfs[0].driver.as_deref(), Some("igbvf"));
    assert_eq!(
        host.read("/sys/bus/pci/devices/0000:01:10.0/driver_override")
            .unwrap(),
        "(null)"
    );
}

#[test]
fn what_vfio_wants_is_asked_for_before_anything_is_written() {
    let none = Claims::new();
    let missing = Recorded::new(IGB);
    missing.remove("/sys/bus/pci/drivers/vfio-pci");
    refused(&missing, Name::DriverMissing, |host| {
        bind(host, &none, &only(host), 0, To::Vfio)
    });
    let off = Recorded::new(IGB);
    off.remove("/sys/bus/pci/devices/0000:01:10.0/iommu_group");
    let error = refused(&off, Name::NoIommu, |host| {
        bind(host, &none, &only(host), 0, To::Vfio)
    });
    assert!(error.mend.contains("intel_iommu=on"), "{error}");
    let shared = Recorded::new(IGB);
    shared.put("/sys/kernel/iommu_groups/6/devices/0000:00:1f.6/x", "");
    shared.point("/sys/bus/pci/devices/0000:00:1f.6/driver", "x/e1000e");
    let error = refused(&shared, Name::SharedGroup, |host| {
        bind(host, &none, &only(host), 0, To::Vfio)
    });
    assert!(error.problem.contains("0000:00:1f.6"), "{error}");
    // A bridge in the group is no hindrance.
    shared.point("/sys/bus/pci/devices/0000:00:1f.6/driver", "x/pcieport");
    assert!(bind(&shared, &none, &only(&shared), 0, To::Vfio).unwrap());
}

#[test]
fn a_vf_that_nobody_takes_goes_back_to_who_had_it() {
    let host = Recorded::new(IGB);
    let none = Claims::new();
    bind(&host, &none, &only(&host), 0, To::Vfio).unwrap();
    host.remove("/sys/bus/pci/drivers/igbvf");
    let pf = only(&host);
    let error = refused(&host, Name::NotBound, |host| {
        bind(host, &none, &pf, 0, To::Kernel)
    });
    assert_eq!(error.mend, "modprobe igbvf");
}

#[test]
fn a_released_vf_is_as_a_new_one() {
    for recording in ALL {
        let host = Recorded::new(recording);
        let none = Claims::new();
        let pf = only(&host);
        let driver = pf.driver.clone().unwrap();
        let new = host.everything();
        let mac = read(&host, &pf, 0).unwrap().mac;
        let wanted = Change {
            mac: Some("02:00:00:00:00:07".parse().unwrap()),
            vlan: Some(100),
            qos: Some(5),
            spoof_check: Some(driver == "mlx5_core"),
            trust: Some(true),
            max_mbit: Some(900),
            ..Change::default()
        };
        change(&host, &pf, 0, &wanted).unwrap();
        bind(&host, &none, &pf, 0, To::Vfio).unwrap();
        let released = release::release(&host, &none, &only(&host), 0).unwrap();
        assert_eq!(released.left, Vec::<String>::new(), "{driver}");
        assert!(
            released.rebound && released.restored.len() == 5,
            "{driver}: {released:?}"
        );
        let settings = read(&host, &only(&host), 0).unwrap();
        assert!(settings.mac.is_zero(), "{driver}");
        assert_eq!(settings.spoof_check, Some(driver != "mlx5_core"));
        assert_eq!(
            (settings.vlan, settings.qos, settings.trust),
            (0, 0, Some(false))
        );
        if mac.is_zero() {
            assert_eq!(host.everything().1, new.1, "{driver}");
        }
        let again = release::release(&host, &none, &only(&host), 0).unwrap();
        assert_eq!(again, release::Released::default(), "{driver}");
    }
}

#[test]
fn a_mac_that_the_vfs_driver_chose_is_not_taken_back() {
    let host = Recorded::new(IGB);
    let pf = only(&host);
    let none = Claims::new();
    let wanted = Change {
        mac: Some("da:be:d6:60:b4:3b".parse().unwrap()),
        ..Change::default()
    };
    change(&host, &pf, 0, &wanted).unwrap();
    let net = "/sys/bus/pci/devices/0000:01:10.0/net/eth2";
    host.put(&format!("{net}/address"), "da:be:d6:60:b4:3b\n");
    host.put(&format!("{net}/addr_assign_type"), "1\n");
    let released = release::release(&host, &none, &pf, 0).unwrap();
    assert_eq!(released, release::Released::default());
    // One that was given (NET_ADDR_PERM, as igbvf says) is.
    host.put(&format!("{net}/addr_assign_type"), "0\n");
    let released = release::release(&host, &none, &pf, 0).unwrap();
    assert_eq!(released.restored, [Setting::Mac]);
}

#[test]
fn what_a_release_cannot_put_back_is_told_and_does_not_keep_the_rest() {
    let host = Recorded::new(ICE);
    let none = Claims::new();
    let pf = only(&host);
    let wanted = Change {
        mac: Some("02:00:00:00:00:07".parse().unwrap()),
        vlan: Some(100),
        ..Change::default()
    };
    change(&host, &pf, 0, &wanted).unwrap();
    host.ignores_mac.set(true);
    let released = release::release(&host, &none, &pf, 0).unwrap();
    assert_eq!(released.restored, [Setting::Vlan]);
    assert_eq!(released.left.len(), 1);
    assert!(
        released.left[0].contains("MAC 00:00:00:00:00:00"),
        "{released:?}"
    );
}
