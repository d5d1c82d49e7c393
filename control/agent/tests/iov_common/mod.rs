//! A host whose uplink is on a recorded NIC.
#![allow(dead_code, reason = "each test binary uses a part of it")]

/// What the recorded NIC's file expects beside it.
mod host {
    pub use weir_agent::vf::host::Host;
}
#[path = "../../src/vf/recorded.rs"]
pub mod recorded;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::daemon_common::{self, Host};
pub use crate::daemon_common::{ca, mac};
use recorded::Recorded;
use serde_json::Value;
use weir_agent::config::host::HostConfig;
use weir_agent::iov::survey::{self, Survey};
use weir_agent::vf::change;
use weir_agent::vf::discover::{self, Pf};
use weir_agent::vf::host::Host as Machine;
use weir_wire::Mac;

pub type Act<'a> = RefCell<Box<dyn FnMut(&Recorded) + 'a>>;

/// A NIC that does something whenever it is told what.
pub struct Acts<'a> {
    pub nic: &'a Recorded,
    pub act: Act<'a>,
}

impl Machine for Acts<'_> {
    fn root(&self) -> &Path {
        self.nic.root()
    }
    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        self.nic.write(path, text)
    }
    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let before = self.nic.done.borrow().len();
        let answer = self.nic.ask(request);
        if self.nic.done.borrow().len() != before {
            (self.act.borrow_mut())(self.nic);
        }
        answer
    }
    fn pause(&self, time: Duration) {
        self.nic.pause(time);
    }
}

pub const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "memif:DIR/up0"
provider_addresses = ["192.168.50.1/24"]
[iov]
vf_up = "echo up $WEIR_VNIC $WEIR_MAC $WEIR_VF $WEIR_VF_ADDRESS >>DIR/told"
vf_down = "echo down $WEIR_VNIC $WEIR_MAC $WEIR_VF $WEIR_VF_ADDRESS >>DIR/told"
"#;

pub const NETWORK: &str = r#"
[[switch]]
name = "default"
iov = true
bandwidth_mode = "none"
[[vm_network]]
name = "office"
isolation = "vlan"
vlan = 100
[[vm_network.subnet]]
name = "desks"
prefixes = ["10.1.0.0/24"]
"#;

pub fn frame(to: u8, from: u8) -> Vec<u8> {
    daemon_common::frame(to, from, b"hello")
}

pub fn vnic(i: u8, more: &str) -> String {
    format!(
        "[[vnic]]\nname = \"v{i}\"\nhost = \"h1\"\nsubnet = \"desks\"\nmac = \"{}\"\naddresses = [\"{}\"]\nattach = \"memif:DIR/v{i}\"\nallowed_sources = [\"0.0.0.0/0\", \"::/0\"]\n{more}\n",
        mac(i),
        ca(i)
    )
}

pub fn machine(recording: &str) -> (Recorded, Pf) {
    let nic = Recorded::new(recording);
    let pf = discover::all(&nic)[0].clone();
    let interface = pf.interface.clone().expect("an interface");
    nic.put(&format!("/sys/class/net/{interface}/ifindex"), "7\n");
    (nic, pf)
}

/// As the daemon looks, at an uplink that is on the recorded PF.
pub fn look(nic: &impl Machine, host: &mut Host) -> Survey {
    let pf = discover::all(nic)[0].clone();
    let device = format!(
        "net_af_packet0,iface={}",
        pf.interface.as_deref().unwrap_or("none")
    );
    let text = format!(
        "name = \"h1\"\n[[uplink]]\nname = \"up0\"\ndevice = \"{device}\"\nprovider_addresses = [\"192.168.50.1/24\"]\n[store]\nkind = \"file\"\npath = \"p\"\n"
    );
    let other = HostConfig::parse(&text, "x", Path::new("/"), &[0, 1]).expect("a host");
    let told = host.state().host.iov.down.is_some();
    survey::look(nic, &other.uplinks[0], &BTreeSet::new(), told)
}

pub fn turn(host: &mut Host, nic: &impl Machine) {
    let survey = look(nic, host);
    host.state().place_vfs(nic, survey);
}

pub fn status(host: &mut Host, name: &str) -> Value {
    let all = host.state().objects("vnic", Some(name)).expect("a kind");
    all[0]["status"].clone()
}

pub fn why(host: &mut Host, name: &str) -> String {
    let status = status(host, name);
    match status["path"].as_str() {
        Some("vf") => format!("vf {}", status["vf"]["vf"]),
        _ => status["path_reason"].as_str().expect("a reason").to_owned(),
    }
}

pub fn mac_of(nic: &Recorded, pf: &Pf, vf: u16) -> Mac {
    change::read(nic, pf, vf).expect("settings").mac
}

/// Where a file of the recorded machine is.
pub fn place(nic: &Recorded, path: &str) -> std::path::PathBuf {
    nic.at(path)
}
