//! Many vNICs behind one trunk and the uplink that they share: host.toml and policy.toml as a person would write them.

use super::fluid::{self, Node};
use super::record::Count;
use crate::workload::{PREFIXES, PROVIDER, VSIDS, Workload, mac_text};
use std::fmt::Write;
use std::ops::Range;
use weir_agent::traffic::OfferWish;
use weir_wire::Mac;
use weir_worker::rig::Vm;
use weir_worker::rig::senders::Senders;
use weir_worker::rig::sink::Sinks;

/// The MTU towards the sink: the longest frame with NVGRE around it.
const MTU: u16 = 1600;
/// Mbufs for those that wait before a vNIC's turn, beside what the devices need.
const MBUFS: u32 = 32_767;
/// What those without a promise weigh together (protocols.md, "Bandwidth"): in weight mode so much,
const DEFAULT_WEIGHT: f64 = 10.0;
/// in absolute mode this part of the link.
const DEFAULT_PART: f64 = 0.1;

/// What a vNIC is promised. Rates are in kbit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Its minimum, on the wire.
    pub min: Option<u64>,
    /// Its weight.
    pub weight: Option<u32>,
    /// Its maximum, of its own bytes.
    pub max: Option<u64>,
}

/// vNICs whose numbers follow each other and who are alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// How many.
    pub vnics: u32,
    /// In whose network: the first's or the second's, which have the same addresses.
    pub tenant: usize,
    /// What each is promised.
    pub promise: Promise,
}

/// What a tenant's network is called.
pub fn tenant_name(tenant: usize) -> String {
    format!("tenant{tenant}")
}

/// A host with its vNICs.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What the uplink carries, in kbit/s; `None`: nobody says.
    pub capacity: Option<u64>,
    /// Who is there.
    pub groups: Vec<Group>,
    /// Frames that the sink logs.
    pub events: u32,
}

/// What each vNIC of a group offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Bytes of a frame with its FCS.
    pub frame: u16,
    /// Bit/s on the wire of each; `None`: all they can.
    pub rate: Option<f64>,
    /// Frames of one before the next has its turn.
    pub burst: u32,
    /// Seconds that they send and that they are silent, in turn; 0 and 0: always.
    pub turns: (f64, f64),
    /// Seconds before they begin.
    pub after: f64,
}

impl Load {
    /// Always, as evenly as it goes.
    pub fn even(frame: u16, rate: Option<f64>) -> Load {
        Load {
            frame,
            rate,
            burst: 1,
            turns: (0.0, 0.0),
            after: 0.0,
        }
    }

    /// What is asked of the rig's source for such vNICs.
    pub fn offer(&self, vnics: Range<u32>) -> OfferWish {
        let bits = 8.0 * Count::Wire.of_frame(self.frame) as f64;
        OfferWish {
            first: vnics.start,
            senders: vnics.end - vnics.start,
            frame: self.frame,
            packets_per_second: self.rate.map(|rate| rate / bits),
            burst: self.burst,
            on: self.turns.0,
            off: self.turns.1,
            after: self.after,
        }
    }
}

impl Scene {
    /// How many vNICs there are.
    pub fn vnics(&self) -> u32 {
        self.groups.iter().map(|group| group.vnics).sum()
    }

    /// The numbers of each group's vNICs.
    pub fn ranges(&self) -> Vec<Range<u32>> {
        let mut next = 0;
        let range = |group: &Group| {
            next += group.vnics;
            next - group.vnics..next
        };
        self.groups.iter().map(range).collect()
    }

    /// What is asked of the rig's source, if every vNIC of a group has such a load.
    pub fn offers(&self, loads: &[Load]) -> Vec<OfferWish> {
        let each = self.ranges().into_iter().zip(loads);
        each.map(|(vnics, load)| load.offer(vnics)).collect()
    }

    /// What each vNIC is promised.
    pub fn promises(&self) -> impl Iterator<Item = Promise> {
        let groups = self.groups.iter();
        groups.flat_map(|group| std::iter::repeat_n(group.promise, group.vnics as usize))
    }

    /// What an ideal link would give each vNIC, in bit/s of the wire, if every vNIC of a group has such a load all the time.
    pub fn ideal(&self, loads: &[Load]) -> Vec<f64> {
        let capacity = self
            .capacity
            .map_or(f64::INFINITY, |kbit| 1e3 * kbit as f64);
        let weighs = self
            .groups
            .iter()
            .any(|group| group.promise.weight.is_some());
        let most = |promise: &Promise, load: &Load| {
            let (own, wire) = (
                Count::Own.of_frame(load.frame),
                Count::Wire.of_frame(load.frame),
            );
            let max = promise.max.map_or(f64::INFINITY, |kbit| {
                1e3 * kbit as f64 * wire as f64 / own as f64
            });
            max.min(load.rate.unwrap_or(f64::INFINITY))
        };
        let (mut nodes, mut places) = (Vec::new(), Vec::new());
        let mut rest = Node {
            weight: if weighs {
                DEFAULT_WEIGHT
            } else {
                DEFAULT_PART * capacity
            },
            leaves: Vec::new(),
        };
        for (group, load) in self.groups.iter().zip(loads) {
            let Promise { min, weight, .. } = group.promise;
            let weight = weight.map(f64::from).or(min.map(|kbit| 1e3 * kbit as f64));
            for _ in 0..group.vnics {
                let most = most(&group.promise, load);
                match weight {
                    Some(weight) => {
                        places.push(Some(nodes.len()));
                        let leaves = vec![most];
                        nodes.push(Node { weight, leaves });
                    }
                    None => {
                        places.push(None);
                        rest.leaves.push(most);
                    }
                }
            }
        }
        nodes.push(rest);
        let shares = fluid::shares(&nodes, capacity);
        let mut rest = shares.last().into_iter().flatten();
        let of = |place: Option<usize>| match place {
            Some(node) => shares[node].first().copied(),
            None => rest.next().copied(),
        };
        places
            .into_iter()
            .map(of)
            .map(Option::unwrap_or_default)
            .collect()
    }

    fn first(&self) -> Vm {
        let first = Workload::default().source();
        Vm {
            mac: Mac::new(first.mac),
            ca: first.ca,
        }
    }

    fn to(&self) -> Vm {
        let load = Workload::default();
        let to = load.remote(crate::Scenario::NvgreEncap, 0);
        Vm {
            mac: Mac::new(to.mac),
            ca: to.ca,
        }
    }

    /// host.toml, to be polled by this core, in hugepages or not.
    pub fn host_toml(&self, core: u32, huge: bool) -> String {
        let from = self.first();
        let senders = self.vnics();
        let source = Senders {
            senders,
            from,
            to: self.to(),
            flood: None,
        };
        let sink = Sinks {
            senders,
            from: from.mac,
            events: self.events,
        };
        let capacity = self
            .capacity
            .map_or(String::new(), |kbit| format!("capacity = \"{kbit}Kbit\"\n"));
        let hugepages = if huge { "auto" } else { "none" };
        let mbufs = MBUFS + 16 * senders;
        let (address, length) = PROVIDER;
        let host = Workload::default().hosts().next();
        let neighbor = host.map_or(String::new(), |host| {
            format!("\"{}\" = \"{}\"", host.pa, mac_text(host.mac))
        });
        format!(
            "name = \"rig\"\nsocket = \"weir.sock\"\n\n\
             [dataplane]\nworkers = [{core}]\nhugepages = \"{hugepages}\"\nidle = \"poll\"\nmbufs = {mbufs}\n\n\
             [[uplink]]\nname = \"up0\"\ndevice = \"rig:{sink}\"\nprovider_addresses = [\"{address}/{length}\"]\nmtu = {MTU}\n{capacity}\
             neighbors = {{ {neighbor} }}\n\n\
             [[trunk]]\nname = \"vms\"\ndevice = \"rig:{source}\"\n\n\
             [store]\nkind = \"file\"\npath = \"policy.toml\"\n\n[rig]\ntraffic = true\n"
        )
    }

    /// policy.toml. `promised`: with what each vNIC is promised; without it there is no bandwidth in it at all.
    pub fn policy_toml(&self, promised: bool) -> String {
        let mut text = String::new();
        let weighs = self
            .groups
            .iter()
            .any(|group| group.promise.weight.is_some());
        let mode = if weighs { "weight" } else { "absolute" };
        if promised {
            let _ = writeln!(
                text,
                "[[switch]]\nname = \"default\"\nbandwidth_mode = \"{mode}\"\n"
            );
        }
        if let Some(host) = Workload::default().hosts().next() {
            let pa = host.pa;
            let _ = writeln!(
                text,
                "[[host]]\nname = \"h0\"\nprovider_addresses = [\"{pa}\"]\n"
            );
        }
        let prefix = PREFIXES[0];
        let Vm { mac, ca } = self.to();
        for (tenant, vsid) in VSIDS.into_iter().enumerate() {
            if !self.groups.iter().any(|group| group.tenant == tenant) {
                continue;
            }
            let name = tenant_name(tenant);
            let _ = writeln!(
                text,
                "[[vm_network]]\nname = \"{name}\"\nisolation = \"nv\"\n\n\
                 [[vm_network.subnet]]\nname = \"s{tenant}\"\nvsid = {vsid}\nprefixes = [\"{prefix}\"]\n\n\
                 [[vnic]]\nname = \"to{tenant}\"\nhost = \"h0\"\nsubnet = \"s{tenant}\"\nmac = \"{mac}\"\naddresses = [\"{ca}\"]\n"
            );
        }
        let Vm { mac, ca } = self.first();
        let groups = self.groups.iter();
        let tenants =
            groups.flat_map(|group| std::iter::repeat_n(group.tenant, group.vnics as usize));
        for (number, (promise, tenant)) in (0..).zip(self.promises().zip(tenants)) {
            let mac = Mac::from_u64(mac.to_u64() + number);
            let ca = std::net::Ipv4Addr::from(u32::from(ca) + number as u32);
            let _ = writeln!(
                text,
                "[[vnic]]\nname = \"v{number}\"\nhost = \"rig\"\nsubnet = \"s{tenant}\"\nmac = \"{mac}\"\naddresses = [\"{ca}\"]\nattach = \"trunk:vms\""
            );
            if promised && promise != Promise::default() {
                let _ = writeln!(text, "[vnic.bandwidth]");
                for (name, kbit) in [("min", promise.min), ("max", promise.max)] {
                    if let Some(kbit) = kbit {
                        let _ = writeln!(text, "{name} = \"{kbit}Kbit\"");
                    }
                }
                if let Some(weight) = promise.weight {
                    let _ = writeln!(text, "weight = {weight}");
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use weir_agent::config::host::HostConfig;
    use weir_agent::policy::Policy;

    fn group(vnics: u32, min: Option<u64>, weight: Option<u32>, max: Option<u64>) -> Group {
        Group {
            vnics,
            tenant: 0,
            promise: Promise { min, weight, max },
        }
    }

    #[test]
    fn the_files_are_what_the_daemon_takes() {
        for groups in [
            vec![
                group(2, Some(400_000), None, None),
                group(1, None, None, Some(500)),
                group(300, None, None, None),
            ],
            vec![
                group(2, None, Some(100), Some(7)),
                group(1, None, None, None),
            ],
            vec![
                group(2, None, None, Some(7)),
                Group {
                    tenant: 1,
                    ..group(1, Some(100), None, None)
                },
            ],
        ] {
            let scene = Scene {
                capacity: Some(1_000_000),
                groups,
                events: 1000,
            };
            let host = HostConfig::parse(
                &scene.host_toml(1, true),
                "host.toml",
                Path::new("/tmp"),
                &[0, 1],
            );
            let host = host.unwrap();
            assert!(host.rig.traffic && host.trunks.len() == 1);
            for promised in [false, true] {
                let policy =
                    Policy::parse_for_host(&scene.policy_toml(promised), "policy.toml", &host)
                        .unwrap();
                let tenants = 1 + scene.groups.iter().map(|group| group.tenant).max().unwrap();
                let vnics = scene.vnics() + tenants as u32;
                assert_eq!(policy.vnics.iter().count() as u32, vnics);
            }
        }
    }

    #[test]
    fn the_ideal_is_of_promises_loads_and_the_link() {
        let scene = Scene {
            capacity: Some(1000),
            groups: vec![
                group(1, Some(300), None, None),
                group(2, Some(300), None, Some(10)),
                group(4, None, None, None),
            ],
            events: 1,
        };
        assert_eq!(scene.vnics(), 7);
        assert_eq!(scene.ranges(), [0..1, 1..3, 3..7]);
        let flood = Load::even(64, None);
        // 60 bytes of its own are 126 on the wire: 10 kbit/s are 21. What is left goes as 300 to 100.
        let got = scene.ideal(&[flood; 3]);
        let wanted = [718.5e3, 21e3, 21e3, 59.875e3, 59.875e3, 59.875e3, 59.875e3];
        for (got, wanted) in got.iter().zip(wanted) {
            assert!((got - wanted).abs() < 1.0, "{got} {wanted}");
        }
        let slow = Load::even(64, Some(5e3));
        let got = scene.ideal(&[flood, flood, slow]);
        assert!((got[0] - 938e3).abs() < 1.0 && got[3] == 5e3, "{got:?}");
    }

    #[test]
    fn an_offer_is_in_packets_of_the_wire() {
        let load = Load {
            burst: 8,
            turns: (0.02, 0.03),
            ..Load::even(1518, Some(1e6))
        };
        let offer = load.offer(5..9);
        assert_eq!((offer.first, offer.senders, offer.burst), (5, 4, 8));
        let rate = offer.packets_per_second.unwrap();
        assert!((rate * 1580.0 * 8.0 - 1e6).abs() < 1e-3, "{rate}");
        assert_eq!((offer.on, offer.off), (0.02, 0.03));
        assert_eq!(Load::even(64, None).offer(0..1).packets_per_second, None);
    }
}
