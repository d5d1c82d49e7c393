//! Who there is: two hosts, two tenants with the same addresses and MACs, and the files that say so to Weir.

/// MTU of the underlay: 1,500 for the tenants' packets, 42 for NVGRE, some to spare.
pub const UNDERLAY_MTU: u32 = 1600;
/// The hosts' names and provider addresses.
pub const HOSTS: [(&str, &str); 2] = [("h1", "192.168.50.1"), ("h2", "192.168.50.2")];
/// The tenants.
pub const TENANTS: [Tenant; 2] = [
    Tenant {
        name: "blue",
        vsid: 5001,
        only: "10.1.0.98",
    },
    Tenant {
        name: "red",
        vsid: 6001,
        only: "10.1.0.99",
    },
];
/// The prefix of both tenants.
pub const PREFIX: &str = "10.1.0.0/24";

/// A tenant: a VM on each host.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// The VM network's name.
    pub name: &'static str,
    /// Its subnet's VSID.
    pub vsid: u32,
    /// A second address of its VM on h2, which the other tenant has nowhere.
    pub only: &'static str,
}

impl Tenant {
    /// Its two VMs, by host.
    pub fn vms(self) -> [Vm; 2] {
        [0, 1].map(|host| Vm { tenant: self, host })
    }

    /// The other tenant.
    pub fn other(self) -> Tenant {
        let [blue, red] = TENANTS;
        if self.name == blue.name { red } else { blue }
    }
}

/// A tenant's VM.
#[derive(Clone, Copy, Debug)]
pub struct Vm {
    /// Whose it is.
    pub tenant: Tenant,
    /// The host's place in [`HOSTS`].
    pub host: usize,
}

impl Vm {
    /// Its name: that of its vNIC, its namespace and its host's end of the veth.
    pub fn name(self) -> String {
        format!("{}{}", self.tenant.name, self.host + 1)
    }

    /// Its MAC: the same in both tenants.
    pub fn mac(self) -> String {
        format!("02:00:00:00:01:{:02}", self.host + 1)
    }

    /// Its address: the same in both tenants.
    pub fn address(self) -> &'static str {
        ["10.1.0.11", "10.1.0.12"][self.host]
    }

    /// All its addresses.
    pub fn addresses(self) -> Vec<&'static str> {
        let mut all = vec![self.address()];
        if self.host == 1 {
            all.push(self.tenant.only);
        }
        all
    }

    /// The name of the host it is on.
    pub fn host_name(self) -> &'static str {
        HOSTS[self.host].0
    }
}

/// All VMs.
pub fn vms() -> impl Iterator<Item = Vm> {
    TENANTS.into_iter().flat_map(Tenant::vms)
}

/// host.toml of the host at `place`, with one worker on `core`.
pub fn host_toml(place: usize, core: u32) -> String {
    let (name, address) = HOSTS[place];
    format!(
        "name = \"{name}\"\nsocket = \"{name}.sock\"\n\n\
         [dataplane]\nworkers = [{core}]\nhugepages = \"auto\"\nidle = \"adaptive\"\n\n\
         [[uplink]]\nname = \"up0\"\ndevice = \"net_af_packet0,iface=up0,{RING}\"\n\
         provider_addresses = [\"{address}/24\"]\nmtu = {UNDERLAY_MTU}\n\n\
         [store]\nkind = \"file\"\npath = \"policy.toml\"\n"
    )
}

/// The kernel's ring of a net_af_packet device.
const RING: &str = "blocksz=4096,framesz=2048,framecnt=2048,qpairs=1";

/// policy.toml, the same for both hosts.
pub fn policy_toml() -> String {
    let mut text = String::new();
    for (name, address) in HOSTS {
        text.push_str(&format!(
            "[[host]]\nname = \"{name}\"\nprovider_addresses = [\"{address}\"]\n\n"
        ));
    }
    for tenant in TENANTS {
        let Tenant { name, vsid, .. } = tenant;
        text.push_str(&format!(
            "[[vm_network]]\nname = \"{name}\"\nisolation = \"nv\"\n\
             [[vm_network.subnet]]\nname = \"{name}-web\"\nvsid = {vsid}\nprefixes = [\"{PREFIX}\"]\n\n"
        ));
    }
    for (number, vm) in vms().enumerate() {
        let name = vm.name();
        text.push_str(&format!(
            "[[vnic]]\nname = \"{name}\"\nhost = \"{}\"\nsubnet = \"{}-web\"\nmac = \"{}\"\naddresses = {:?}\n\
             attach = \"net_af_packet{},iface={name},{RING}\"\n\n",
            vm.host_name(),
            vm.tenant.name,
            vm.mac(),
            vm.addresses(),
            number + 1,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use weir_agent::config::host::HostConfig;
    use weir_agent::policy::Policy;

    #[test]
    fn the_files_are_what_the_daemon_takes() {
        for place in [0, 1] {
            let text = host_toml(place, 0);
            let host = HostConfig::parse(&text, "host.toml", Path::new("/tmp"), &[0, 1]).unwrap();
            let policy = Policy::parse_for_host(&policy_toml(), "policy.toml", &host).unwrap();
            assert_eq!((policy.vnics.len(), policy.networks.len()), (4, 2));
        }
    }
}
