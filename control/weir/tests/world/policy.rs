//! policy.toml, as tests write it.

use std::fmt::Write;

/// A policy under construction; its text is complete at any time.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    hosts: String,
    networks: String,
    vnics: String,
}

impl Policy {
    /// Hosts `h1` and `h2` with the PAs 192.168.50.1 and 192.168.50.2.
    pub fn two_hosts() -> Policy {
        Policy::default()
            .host("h1", "192.168.50.1")
            .host("h2", "192.168.50.2")
    }

    /// One more host.
    pub fn host(mut self, name: &str, pa: &str) -> Policy {
        let _ = writeln!(
            self.hosts,
            "[[host]]\nname = \"{name}\"\nprovider_addresses = [\"{pa}\"]"
        );
        self
    }

    /// A tenant with one subnet, `NAME-web`.
    pub fn tenant(mut self, name: &str, vsid: u32, prefixes: &str) -> Policy {
        let prefixes: Vec<&str> = prefixes.split(',').collect();
        let _ = writeln!(
            self.networks,
            "[[vm_network]]\nname = \"{name}\"\nisolation = \"nv\"\n[[vm_network.subnet]]\nname = \"{name}-web\"\nvsid = {vsid}\nprefixes = {prefixes:?}"
        );
        self
    }

    /// A bridged VM network with one subnet, `NAME-web`; in a VLAN, or else untagged on the uplink.
    pub fn bridged(mut self, name: &str, vlan: Option<u16>, prefix: &str) -> Policy {
        let isolation = match vlan {
            Some(vlan) => format!("\"vlan\"\nvlan = {vlan}"),
            None => "\"none\"".into(),
        };
        let _ = writeln!(
            self.networks,
            "[[vm_network]]\nname = \"{name}\"\nisolation = {isolation}\n[[vm_network.subnet]]\nname = \"{name}-web\"\nprefixes = [\"{prefix}\"]"
        );
        self
    }

    /// One more subnet, `NAME-web`, of the tenant written last.
    pub fn subnet(mut self, name: &str, vsid: u32, prefix: &str) -> Policy {
        let _ = writeln!(
            self.networks,
            "[[vm_network.subnet]]\nname = \"{name}-web\"\nvsid = {vsid}\nprefixes = [\"{prefix}\"]"
        );
        self
    }

    /// The subnet written last is rewritten.
    pub fn rewritten(mut self) -> Policy {
        self.networks += "translation = \"rewrite\"\n";
        self
    }

    /// Lines that belong to the subnet written last.
    pub fn subnet_with(mut self, lines: &str) -> Policy {
        let _ = writeln!(self.networks, "{lines}");
        self
    }

    /// A route of the tenant written last.
    pub fn route(mut self, prefix: &str, via: &str) -> Policy {
        let _ = writeln!(
            self.networks,
            "[[vm_network.route]]\nprefix = \"{prefix}\"\nvia = \"{via}\"\nmetric = 10"
        );
        self
    }

    /// A vNIC of tenant `tenant`'s subnet. `addresses` are parted by commas; an empty `attach` is left out.
    pub fn vnic(
        mut self,
        name: &str,
        host: &str,
        tenant: &str,
        mac: &str,
        addresses: &str,
        attach: &str,
    ) -> Policy {
        let addresses: Vec<&str> = addresses
            .split(',')
            .filter(|text| !text.is_empty())
            .collect();
        let _ = writeln!(
            self.vnics,
            "[[vnic]]\nname = \"{name}\"\nhost = \"{host}\"\nsubnet = \"{tenant}-web\"\nmac = \"{mac}\"\naddresses = {addresses:?}"
        );
        if !attach.is_empty() {
            let _ = writeln!(self.vnics, "attach = \"{attach}\"");
        }
        self
    }

    /// A vNIC for a VM, attached by af_packet to its host's interface. Its ring is large: a machine where much else
    /// runs leaves the worker waiting for its core, and the kernel then drops (`port_missed`). `number` tells the host's vdevs apart.
    pub fn vm(self, vm: &super::Vm, host: &str, tenant: &str, number: u32) -> Policy {
        let attach = format!("net_af_packet{number},iface={},framecnt=4096", vm.tap);
        self.vnic(&vm.tap, host, tenant, &vm.mac(), &vm.ca, &attach)
    }

    /// Lines that belong to this VM network.
    pub fn network_lines(mut self, name: &str, lines: &str) -> Policy {
        let head = format!("[[vm_network]]\nname = \"{name}\"\n");
        assert!(self.networks.contains(&head));
        self.networks = self.networks.replace(&head, &format!("{head}{lines}\n"));
        self
    }

    /// Lines that belong to the vNIC written last.
    pub fn with(mut self, lines: &str) -> Policy {
        let _ = writeln!(self.vnics, "{lines}");
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        format!("{}{}{}", self.hosts, self.networks, self.vnics)
    }
}
