//! A good policy, changes to it, and the refusal that each must bring.
#![allow(dead_code)]

use weir_agent::policy::Policy;

/// A policy that is good.
pub const GOOD: &str = r#"
[[host]]
name = "h1"
provider_addresses = ["192.168.50.1"]
[[host]]
name = "h2"
provider_addresses = ["192.168.50.2", "192.168.50.3"]

[[switch]]
name = "default"
bandwidth_mode = "none"

[[vm_network]]
name = "blue"
isolation = "nv"
[[vm_network.subnet]]
name = "blue-web"
vsid = 5001
prefixes = ["10.1.0.0/24", "fd01::/64"]
[[vm_network.subnet]]
name = "blue-db"
vsid = 5002
prefixes = ["10.2.0.0/24"]

[[vnic]]
name = "blue1"
host = "h1"
subnet = "blue-web"
mac = "02:00:00:00:01:01"
addresses = ["10.1.0.11", "fd01::11"]
attach = "net_af_packet1,iface=blue1"
[[vnic]]
name = "blue2"
host = "h2"
subnet = "blue-web"
mac = "02:00:00:00:01:02"
addresses = ["10.1.0.12"]
attach = "trunk:vms/7"
provider_addresses = ["192.168.50.3"]
"#;

/// One change to the good policy and the refusal that it must bring. `HERE` marks the line that must be named.
pub struct Case {
    /// What is replaced; the end of the file if it is empty.
    from: &'static str,
    /// What is put there.
    pub to: &'static str,
    object: &'static str,
    problem: &'static str,
    mend: &'static str,
}

/// A case of these.
pub fn case(
    from: &'static str,
    to: &'static str,
    object: &'static str,
    problem: &'static str,
    mend: &'static str,
) -> Case {
    Case {
        from,
        to,
        object,
        problem,
        mend,
    }
}

/// The good policy with the change, and the line of its `HERE`.
fn changed(good: &str, from: &str, to: &str) -> (String, u32) {
    let text = if from.is_empty() {
        format!("{good}{to}\n")
    } else {
        assert_eq!(good.matches(from).count(), 1, "{from:?} must be there once");
        good.replace(from, to)
    };
    let line = text
        .lines()
        .position(|line| line.contains("HERE"))
        .expect("a line marked HERE");
    (text, line as u32 + 1)
}

/// Each of `cases` is refused as it says, and by nothing else.
pub fn check(cases: Vec<Case>) {
    check_in(GOOD, cases);
}

/// The same of changes to another good policy.
pub fn check_in(good: &str, cases: Vec<Case>) {
    Policy::parse(good, "dir/policy.toml").expect("it is good");
    for Case {
        from,
        to,
        object,
        problem,
        mend,
    } in cases
    {
        let (text, line) = changed(good, from, to);
        let refusals = Policy::parse(&text, "dir/policy.toml").expect_err(to);
        assert_eq!(
            refusals.len(),
            1,
            "{to}: one mistake, one refusal: {refusals:#?}"
        );
        let refusal = &refusals[0];
        assert_eq!(refusal.file, "dir/policy.toml", "{to}");
        assert_eq!(refusal.line, Some(line), "{to}: {refusal}");
        assert_eq!(refusal.object, object, "{to}: {refusal}");
        assert!(refusal.problem.contains(problem), "{to}: {refusal}");
        assert!(
            refusal.mend.contains(mend) && refusal.mend.len() > 5,
            "{to}: {refusal}"
        );
    }
}
