//! `weir vf` on a machine without SR-IOV: what it says there, in words and as JSON. With it: `scripts/lab run control`.

mod common;

use common::{json, weir};

#[test]
fn what_is_no_pf_is_refused_by_name_with_a_mend() {
    let cases: [(&[&str], &str); 6] = [
        (&["vf", "list", "no-such-nic", "--json"], "no-such-pf"),
        (
            &["vf", "create", "0000:ff:1f.7", "2", "--json"],
            "no-such-pf",
        ),
        (
            &["vf", "set", "../../x", "0", "--vlan", "7", "--json"],
            "no-such-pf",
        ),
        (
            &["vf", "bind", "no-such-nic", "0", "vfio-pci", "--json"],
            "no-such-pf",
        ),
        (
            &["vf", "release", "no-such-nic", "0", "--json"],
            "no-such-pf",
        ),
        (&["vf", "create", "lo", "2", "--json"], "no-sriov"),
    ];
    for (arguments, name) in cases {
        let output = weir(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = &json(&output)["errors"][0];
        assert_eq!(error["name"], name, "{arguments:?}");
        assert!(error["mend"].as_str().is_some_and(|mend| !mend.is_empty()));
    }
    let output = weir(&["vf", "create", "no-such-nic", "2"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("error: no-such-nic: there is no such"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let cases: [&[&str]; 6] = [
        &["vf", "set", "eth0", "0"],
        &["vf", "set", "eth0", "0", "--mac", "xyz"],
        &["vf", "set", "eth0", "0", "--max", "1500"],
        &["vf", "set", "eth0", "0", "--max", "1500bit"],
        &["vf", "bind", "eth0", "0", "igb_uio"],
        &["vf", "create", "eth0", "70000"],
    ];
    for arguments in cases {
        assert_eq!(weir(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
