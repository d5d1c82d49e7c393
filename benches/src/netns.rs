//! Network namespaces of the rig's own, for machines whose kernels are real. All that is made here, interfaces with it, goes when the
//! value is dropped; nothing outside is touched.

use crate::halt::Halt;
use crate::process::{self, tied};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names begin so, the rig's process id behind it.
const PREFIX: &str = "weirbench";

/// Namespaces. Whatever runs in them has to end first: declare them behind it.
#[derive(Debug)]
pub struct Namespaces {
    tag: String,
    made: Vec<String>,
}

/// `ip` with words that are parted by blanks.
fn ip(line: &str) -> Result<(), Halt> {
    process::run(Command::new("ip").args(line.split_whitespace())).map(drop)
}

impl Namespaces {
    /// None yet. What a rig that was killed has left goes now.
    pub fn new() -> Result<Namespaces, Halt> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for (program, package) in [("ip", "iproute2"), ("ethtool", "ethtool")] {
            needs(program, package)?;
        }
        for name in names()? {
            if is_orphan(&name) {
                ip(&format!("netns del {name}"))?;
            }
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Namespaces {
            tag: format!("{PREFIX}{}-{number}", std::process::id()),
            made: Vec::new(),
        })
    }

    /// Makes one, with loopback up; its full name. No IPv6, so that its kernel says nothing that it is not asked to say.
    pub fn add(&mut self, short: &str) -> Result<String, Halt> {
        let name = format!("{}-{short}", self.tag);
        // First the note: what was made is always taken down.
        self.made.push(name.clone());
        ip(&format!("netns add {name}"))?;
        ip(&format!("-n {name} link set dev lo up"))?;
        for which in ["all", "default"] {
            sysctl(&name, &format!("net.ipv6.conf.{which}.disable_ipv6=1"))?;
        }
        Ok(name)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.made.drain(..).rev() {
            // The last may never have come to be.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// Fails if a program is not there.
pub fn needs(program: &str, package: &str) -> Result<(), Halt> {
    match process::find(&[program]) {
        Some(_) => Ok(()),
        None => Err(Halt::failed(
            "bench",
            format!("needs {program}, which is not there"),
            format!("apt-get install {package}"),
        )),
    }
}

/// A program in a namespace that ends with the rig.
pub fn inside<S: AsRef<OsStr>>(
    namespace: &str,
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = tied("ip", ["netns", "exec", namespace]);
    command.arg(program).args(arguments);
    command
}

/// Sets a setting of a namespace's kernel, `name=value`.
pub fn sysctl(namespace: &str, setting: &str) -> Result<(), Halt> {
    process::run(&mut inside(namespace, "sysctl", ["-qw", setting])).map(drop)
}

/// A VM: `eth0` with this MAC and address (with prefix length) in its namespace, the other end `tap` in the host's. Its kernel finishes
/// checksums and cuts segments itself, as a packet socket carries neither promise.
pub fn vm(namespace: &str, host: &str, tap: &str, mac: &str, address: &str) -> Result<(), Halt> {
    ip(&format!(
        "link add eth0 address {mac} netns {namespace} type veth peer name {tap} netns {host}"
    ))?;
    ip(&format!("-n {host} link set dev {tap} up"))?;
    ip(&format!("-n {namespace} address add {address} dev eth0"))?;
    ip(&format!("-n {namespace} link set dev eth0 up"))?;
    let off = "-K eth0 tx off tso off gso off gro off".split(' ');
    process::run(&mut inside(namespace, "ethtool", off)).map(drop)
}

fn names() -> Result<Vec<String>, Halt> {
    let listed = process::run(Command::new("ip").args(["netns", "list"]))?;
    let lines = listed.lines();
    let names = lines.filter_map(|line| line.split_whitespace().next());
    Ok(names.map(str::to_string).collect())
}

/// Whether it is named by a rig that is no more.
fn is_orphan(name: &str) -> bool {
    let pid = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next());
    let pid = pid.and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rig_has_left_that_is_no_more_is_an_orphan() {
        let own = std::process::id();
        assert!(!is_orphan(&format!("{PREFIX}{own}-0-a")));
        // Above the kernel's PID_MAX_LIMIT.
        assert!(is_orphan(&format!("{PREFIX}4194999-0-a")));
        for other in ["weirtest4194999-0-a", "weirbench-x", "blue"] {
            assert!(!is_orphan(other), "{other}");
        }
    }

    #[test]
    fn what_was_made_is_gone_afterwards() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut spaces = Namespaces::new().unwrap();
        let [host, guest] = ["host", "guest"].map(|name| spaces.add(name).unwrap());
        // A name that `ip` takes for a word of its own where it may.
        vm(&guest, &host, "a", "02:00:00:00:00:01", "10.1.0.11/24").unwrap();
        sysctl(&guest, "net.ipv4.tcp_ecn=1").unwrap();
        let shown = process::run(&mut inside(&guest, "ip", ["address"])).unwrap();
        assert!(shown.contains("10.1.0.11/24"), "{shown}");
        assert!(names().unwrap().contains(&guest));
        drop(spaces);
        let left = names().unwrap();
        assert!(!left.contains(&guest) && !left.contains(&host), "{left:?}");
    }
}
