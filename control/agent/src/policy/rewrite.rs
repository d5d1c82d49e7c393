//! The provider addresses of vNICs whose packets are rewritten: each of a vNIC's customer addresses has one of its own
//! (protocols.md, "IP rewrite").

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::model::Host;
use super::vnic_set::VnicRef;
use crate::config::document::At;
use crate::config::fields::Name;
use crate::config::reader::Object;
use crate::config::refusals::Refusals;
use crate::config::spans::Line;

/// Who has which provider address so far, hosts and vNICs.
pub struct ProviderAddresses {
    owners: HashMap<IpAddr, (String, Line)>,
}

impl ProviderAddresses {
    /// Those of the hosts.
    pub fn of_hosts(hosts: &BTreeMap<Name, Host>) -> Self {
        let owners = hosts.values().flat_map(|host| {
            let addresses = host.provider_addresses.iter();
            addresses.map(|address| (*address, (format!("host {}", host.name), host.line)))
        });
        ProviderAddresses {
            owners: owners.collect(),
        }
    }

    /// Checks those of one vNIC, `own`, against its customer addresses and against everybody else's.
    pub fn claim(
        &mut self,
        own: &[At<IpAddr>],
        addresses: &[At<IpAddr>],
        name: &Name,
        object: &Object<'_>,
        refusals: &mut Refusals,
    ) {
        for address in own {
            let shown = address.value;
            if let Some((other, line)) = self.owners.get(&shown) {
                let problem = format!(
                    "provider_addresses: {shown} is already that of {other} in line {}",
                    line.0
                );
                let mend = "a vNIC whose packets are rewritten needs provider addresses of its own: use one that nobody has";
                refusals.refuse(address.line, object.label(), problem, mend);
            } else {
                let owner = (format!("vnic {name}"), address.line);
                self.owners.insert(shown, owner);
            }
        }
        let all_read = object.all_read("addresses", addresses.len())
            && object.all_read("provider_addresses", own.len());
        for (family, is_v6) in [("IPv4", false), ("IPv6", true)] {
            let count = |list: &[At<IpAddr>]| {
                let of_family = list.iter().filter(|at| at.value.is_ipv6() == is_v6);
                of_family.count()
            };
            let (wanted, there) = (count(addresses), count(own));
            if all_read && wanted != there {
                let line = own.first().map_or(object.line(), |address| address.line);
                let problem = format!(
                    "provider_addresses: {there} of {family} for {wanted} customer addresses of {family}, and its subnet's packets are rewritten"
                );
                let mend =
                    "list one for each of its addresses of the same family, in the same order";
                refusals.refuse(line, object.label(), problem, mend);
            }
        }
    }
}

impl<'a> VnicRef<'a> {
    /// Its customer addresses, each with the provider address that stands for it; of a vNIC whose packets are rewritten.
    pub fn pairs(self) -> impl Iterator<Item = (IpAddr, IpAddr)> + 'a {
        [false, true].into_iter().flat_map(move |is_v6| {
            let of_family = move |address: &IpAddr| address.is_ipv6() == is_v6;
            let own = self.provider_addresses().iter().copied();
            let addresses = self.addresses().filter(of_family);
            addresses.zip(own.filter(of_family))
        })
    }
}
