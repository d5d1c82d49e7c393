//! The world of the demo: a network namespace for each host and each VM, a folder for the daemons' files. No interface,
//! address or setting outside these namespaces; all goes when the value is dropped.

use super::command::{must, words};
use super::plan::{HOSTS, PREFIX, UNDERLAY_MTU, Vm, host_toml, policy_toml, vms};
use super::stop::{Halt, Stop};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use tempfile::TempDir;

/// Where iproute2 keeps named namespaces.
const NAMESPACES: &str = "/run/netns";

/// The namespaces and the folder.
pub struct World {
    prefix: String,
    made: Vec<String>,
    folder: Option<TempDir>,
}

impl World {
    /// An empty world with a folder; nothing else is made yet.
    pub fn new() -> Result<World, Halt> {
        let prefix = format!("weir-demo-{}", std::process::id());
        let folder = tempfile::Builder::new()
            .prefix(&format!("{prefix}-"))
            .tempdir();
        let folder =
            folder.map_err(|error| Halt::failed(format!("no temporary folder: {error}")))?;
        Ok(World {
            prefix,
            made: Vec::new(),
            folder: Some(folder),
        })
    }

    /// Makes everything that `weir run` then finds: namespaces, veths, addresses, host.toml and policy.toml. `cores`:
    /// the worker's core of each host.
    pub fn build(&mut self, cores: [u32; 2], stop: &Stop) -> Result<(), Halt> {
        for (name, _) in HOSTS {
            stop.check()?;
            self.namespace(name)?;
        }
        let [h1, h2] = HOSTS.map(|(name, _)| self.name(name));
        must(&mut words(&format!(
            "ip link add up0 netns {h1} mtu {UNDERLAY_MTU} type veth peer name up0 netns {h2} mtu {UNDERLAY_MTU}"
        )))?;
        for host in [&h1, &h2] {
            must(&mut words(&format!("ip -n {host} link set up0 up")))?;
        }
        for vm in vms() {
            stop.check()?;
            self.vm(vm)?;
        }
        for (place, core) in cores.into_iter().enumerate() {
            self.write(&format!("{}.toml", HOSTS[place].0), &host_toml(place, core))?;
        }
        self.write("policy.toml", &policy_toml())
    }

    /// A VM's namespace: eth0 with the vNIC's MAC and addresses, its other end in the host's.
    fn vm(&mut self, vm: Vm) -> Result<(), Halt> {
        let name = vm.name();
        self.namespace(&name)?;
        let (inside, host) = (self.name(&name), self.name(vm.host_name()));
        let mac = vm.mac();
        must(&mut words(&format!(
            "ip link add eth0 address {mac} netns {inside} type veth peer name {name} netns {host}"
        )))?;
        must(&mut words(&format!("ip -n {host} link set {name} up")))?;
        let length = PREFIX.rsplit('/').next().unwrap_or("24");
        for address in vm.addresses() {
            must(&mut words(&format!(
                "ip -n {inside} address add {address}/{length} dev eth0"
            )))?;
        }
        must(&mut words(&format!("ip -n {inside} link set eth0 up")))?;
        // The kernel finishes checksums and cuts segments itself: af_packet carries neither promise.
        must(&mut self.inside(&name, "ethtool -K eth0 tx off tso off gso off gro off"))
    }

    fn namespace(&mut self, short: &str) -> Result<(), Halt> {
        let name = self.name(short);
        // First the note, then the deed: a namespace that was made is always taken down.
        self.made.push(name.clone());
        must(&mut words(&format!("ip netns add {name}")))?;
        must(&mut words(&format!("ip -n {name} link set lo up")))?;
        // No chatter of IPv6's own, so that every packet counted is one that the demo sent. A kernel without IPv6 has no
        // such setting.
        let quiet = self.enter(short, || {
            for which in ["all", "default"] {
                let _ =
                    std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
            }
        });
        quiet.map_err(|error| Halt::failed(format!("namespace {name} cannot be entered: {error}")))
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Halt> {
        let path = self.folder().join(file);
        std::fs::write(&path, text)
            .map_err(|error| Halt::failed(format!("{}: {error}", path.display())))
    }

    /// The folder of the daemons' files.
    pub fn folder(&self) -> &Path {
        self.folder
            .as_ref()
            .map_or_else(|| Path::new("/nonexistent"), TempDir::path)
    }

    /// The full name of a host's or a VM's namespace.
    pub fn name(&self, short: &str) -> String {
        format!("{}-{short}", self.prefix)
    }

    /// A program inside a namespace, words parted by blanks. Its process is the program itself, with no shell between.
    pub fn inside(&self, short: &str, line: &str) -> Command {
        words(&format!("ip netns exec {} {line}", self.name(short)))
    }

    /// Calls `work` on a thread that is inside a namespace.
    pub fn enter<T: Send>(&self, short: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let name = self.name(short);
        let inside = move || {
            enter_this_thread(&name)?;
            Ok(work())
        };
        thread::scope(|scope| {
            scope
                .spawn(inside)
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
        })
    }

    /// Leaves everything as it stands, for good. Returns the folder.
    pub fn keep(mut self) -> (Vec<String>, PathBuf) {
        let folder = self.folder.take().map(TempDir::keep);
        (std::mem::take(&mut self.made), folder.unwrap_or_default())
    }
}

/// Moves the calling thread into a namespace, for the rest of its life.
pub fn enter_this_thread(name: &str) -> io::Result<()> {
    let namespace = File::open(Path::new(NAMESPACES).join(name))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

impl World {
    /// Takes everything down. Returns what could not be.
    pub fn take_down(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        for name in self.made.drain(..).rev() {
            // The last may never have come to be.
            if Path::new(NAMESPACES).join(&name).exists()
                && let Err(error) = must(&mut words(&format!("ip netns delete {name}")))
            {
                left.push(error.to_string());
            }
        }
        if let Some(folder) = self.folder.take() {
            let path = folder.path().to_path_buf();
            if let Err(error) = folder.close() {
                left.push(format!("{}: {error}", path.display()));
            }
        }
        left
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.take_down();
    }
}
