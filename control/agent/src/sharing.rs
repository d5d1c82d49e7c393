//! How uplinks are shared, as workers are told it: promises of vNICs, links with their capacities, filters of traffic classes. A link's
//! speed is looked at now and then, and what changes is published as any other small thing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_tables::bandwidth::{Class, ClassId, DEFAULT_WEIGHT, Link, Pace, Promise, TCS, Tc};
use weir_tables::counters::PartyCells;
use weir_tables::filters::{Filters, Net, Rule};
use weir_tables::ids::{PortId, UplinkId, VnicId};

use ipnet::IpNet;

use crate::config::device::Device;
use crate::config::units::BitRate;
use crate::plan::Plan;
use crate::plan::sharing::{Capacity, ClassPlan, Known, default_class};
use crate::policy::bandwidth::share_of;
use crate::policy::{Bandwidth, BandwidthMode, BuiltIn, Custom, Filter};
use crate::state::State;

/// Between two looks at the links.
const LOOK: Duration = Duration::from_millis(500);

/// What is known of uplinks' speeds.
#[derive(Debug, Default)]
pub struct Speeds {
    /// By uplink, as its place in host.toml: the speed that its link had when it last had one, in bit/s.
    last: Vec<Option<u64>>,
    next: Duration,
}

impl Speeds {
    /// An uplink's link has this speed, in bit/s; whether it had another one.
    pub fn heard(&mut self, uplink: usize, bits_per_second: u64) -> bool {
        if self.last.len() <= uplink {
            self.last.resize(uplink + 1, None);
        }
        let last = self.last.get_mut(uplink);
        last.is_some_and(|last| last.replace(bits_per_second) != Some(bits_per_second))
    }
}

/// What a vNIC was promised, by a clock of `hz`; `None` if nothing is written.
pub fn promise(own: Bandwidth, hz: u64) -> Option<Promise> {
    let pace = |rate: Option<BitRate>| {
        rate.map_or(Pace::UNLIMITED, |rate| Pace::of(rate.bits_per_second(), hz))
    };
    (own != Bandwidth::default()).then(|| Promise {
        share: own.minimum.map_or(0, |minimum| minimum.share()),
        max: pace(own.max),
        max_rx: pace(own.max_rx),
        police: own.police,
    })
}

/// How an uplink of this capacity is shared; `None` if there is nothing to say. `queues`: those of a device that chooses among DCB traffic
/// classes, whose room is what holds frames back.
fn link(
    plan: &Plan,
    capacity: Option<u64>,
    queues: Option<[PortId; TCS]>,
    id: impl Fn(&ClassPlan) -> Option<ClassId>,
    hz: u64,
) -> Option<Link> {
    let sharing = &plan.sharing;
    let has_minima = plan
        .vnics
        .values()
        .any(|vnic| vnic.bandwidth.minimum.is_some());
    if capacity.is_none() && !has_minima && sharing.classes.is_empty() && !sharing.has_dcb {
        return None;
    }
    let pace = |rate: Option<u64>| rate.map_or(Pace::UNLIMITED, |rate| Pace::of(rate, hz));
    let default_share = match sharing.mode {
        BandwidthMode::Absolute => share_of(default_class(capacity.unwrap_or(0))),
        BandwidthMode::Weight | BandwidthMode::None => DEFAULT_WEIGHT,
    };
    let mut classes: Vec<Class> = Vec::new();
    for own in &sharing.classes {
        let Some(place) = id(own).and_then(ClassId::index) else {
            continue;
        };
        if classes.len() <= place {
            classes.resize(place + 1, nobody());
        }
        if let Some(class) = classes.get_mut(place) {
            *class = Class {
                name: own.name.clone(),
                share: own.minimum.map_or(0, |minimum| minimum.share()),
                max: pace(own.max.map(BitRate::bits_per_second)),
                tc: own.tc,
                dscp: own.dscp,
                pcp: own.pcp,
            };
        }
    }
    Some(Link {
        capacity: pace(capacity.filter(|_| queues.is_none())),
        default_share,
        default_tc: sharing.default_tc,
        classes: classes.into(),
        tcs: sharing.tcs,
        queues,
    })
}

/// In the place of a class that has left.
fn nobody() -> Class {
    Class {
        name: "".into(),
        share: 0,
        max: Pace::UNLIMITED,
        tc: 0,
        dscp: None,
        pcp: None,
    }
}

fn net(own: IpNet) -> Net {
    match own {
        IpNet::V4(own) => Net::V4(own.network().to_bits(), own.netmask().to_bits()),
        IpNet::V6(own) => Net::V6(own.network().to_bits(), own.netmask().to_bits()),
    }
}

/// TCP and UDP: what has ports unless a protocol is written.
const USUAL: [u8; 2] = [6, 17];

fn built_in(own: BuiltIn, class: ClassId, management: &[VnicId]) -> Rule {
    let port = own.tcp_port();
    Rule {
        class,
        vnics: (own == BuiltIn::Management).then(|| management.into()),
        ethertype: (own == BuiltIn::Fcoe).then_some(0x8906),
        protocols: if port.is_some() {
            [6].into()
        } else {
            [].into()
        },
        port,
        ..Rule::default()
    }
}

fn custom(own: &Custom, class: ClassId, vnic: impl Fn(&str) -> Option<VnicId>) -> Rule {
    let vnics = own.vnics.iter().filter_map(|name| vnic(name)).collect();
    Rule {
        class,
        vnics: (!own.vnics.is_empty()).then_some(vnics),
        ethertype: own.ethertype,
        pcp: own.pcp,
        dscp: own.dscp,
        protocols: match own.protocol {
            Some(protocol) => [protocol].into(),
            None if own.has_ports() => USUAL.into(),
            None => [].into(),
        },
        port: own.port,
        source_port: own.source_port,
        destination_port: own.destination_port,
        source: own.source.map(net),
        destination: own.destination.map(net),
    }
}

/// Which class frames are of; `None` if there are no classes.
fn filters(
    classes: &[(ClassId, &ClassPlan)],
    management: &[VnicId],
    vnic: impl Fn(&str) -> Option<VnicId>,
) -> Option<Filters> {
    let mut own = ClassId::NONE;
    let mut rules = Vec::new();
    for (class, plan) in classes {
        for filter in &plan.filters {
            rules.push(match filter {
                Filter::BuiltIn(filter) => {
                    if *filter == BuiltIn::Management && own == ClassId::NONE {
                        own = *class;
                    }
                    built_in(*filter, *class, management)
                }
                Filter::Custom(filter) => custom(filter, *class, &vnic),
            });
        }
    }
    (!rules.is_empty()).then(|| Filters::of(&rules, own))
}

/// The speed of a device's link in bit/s, as far as the device has one: what DPDK's virtual devices say is made up (10 Gbit/s, however
/// fast they are), and so is what the kernel says of interfaces that are no hardware.
fn speed(device: &Device, mbit: Option<u32>, interfaces: &Path) -> Option<u64> {
    let mbit = match device {
        Device::Pci(_) => mbit.map(u64::from),
        Device::Vdev(args) => {
            let interface = args.split(',').find_map(|arg| arg.strip_prefix("iface="))?;
            let folder = interfaces.join(interface);
            if !folder.join("device").exists() {
                return None;
            }
            let text = std::fs::read_to_string(folder.join("speed")).ok()?;
            // -1 if it is not known or the link is down.
            text.trim().parse().ok()
        }
        _ => None,
    };
    mbit.filter(|mbit| *mbit > 0)
        .map(|mbit| mbit.saturating_mul(1_000_000))
}

impl State {
    /// Looks at the speeds of links, and publishes what follows. Whether one is known now that was not, or is another.
    pub fn tend_links(&mut self) -> bool {
        let now = self.now();
        if now < self.speeds.next || !self.look_at_links() {
            return false;
        }
        self.follow_links();
        true
    }

    /// Has workers share each uplink by the speed that was heard last, and says what is promised beyond it.
    pub fn follow_links(&mut self) {
        let plan = self.plan.clone();
        if self.prepare_links(&plan) {
            self.crew.publish(&self.tables.view);
        }
        for refusal in plan.admission(&self.policy, &self.host, &self.capacities()) {
            tracing::error!("what is promised is more than what there is now: {refusal}");
        }
    }

    /// Whether a speed has changed.
    pub(crate) fn look_at_links(&mut self) -> bool {
        self.speeds.next = self.now() + LOOK;
        let mut changed = false;
        for (index, uplink) in self.host.uplinks.iter().enumerate() {
            if uplink.capacity.is_some() {
                continue;
            }
            let port = self.tables.port(&uplink.device.to_string());
            let mbit = port.and_then(|port| self.link(port).1);
            let found = speed(&uplink.device, mbit, Path::new("/sys/class/net"));
            let before = self.speeds.last.get(index).copied().flatten();
            if let Some(found) = found
                && self.speeds.heard(index, found)
            {
                tracing::info!(uplink = %uplink.name, bits_per_second = found, before, "the link's speed");
                changed = true;
            }
        }
        changed
    }

    /// What each uplink carries, by its place in host.toml. A link that is down keeps the speed that it had.
    pub fn capacities(&self) -> Vec<Capacity> {
        let uplinks = self.host.uplinks.iter().enumerate();
        let capacity = uplinks.map(|(index, uplink)| {
            let port = self.tables.port(&uplink.device.to_string());
            let is_up = port.is_some_and(|port| self.link(port).0);
            let written = uplink.capacity.map(BitRate::bits_per_second);
            let last = self.speeds.last.get(index).copied().flatten();
            let known = match (written, last) {
                (Some(_), _) => Known::Written,
                (None, Some(_)) => Known::Link,
                (None, None) => Known::No,
            };
            Capacity {
                bits_per_second: written.or(last),
                known,
                is_up,
            }
        });
        capacity.collect()
    }

    /// The number of a traffic class, which it keeps as long as it is there.
    fn class_id(&self, class: &ClassPlan) -> Option<ClassId> {
        self.tables.class(&class.name)
    }

    /// Traffic classes and links, when the plan's vNICs have their indexes.
    pub(crate) fn prepare_sharing(&mut self, plan: &Plan) {
        self.number_classes(plan);
        self.prepare_filters(plan);
        self.prepare_links(plan);
    }

    /// Gives each class a number, and has vNICs count what they send in it.
    fn number_classes(&mut self, plan: &Plan) {
        let (old, new) = (&self.plan.sharing.classes, &plan.sharing.classes);
        let leaves = |class: &&ClassPlan| new.iter().all(|own| own.name != class.name);
        let mut leaving = old.iter().filter(leaves);
        let mut last = ClassId::NONE;
        for class in new {
            let ids = &mut self.tables.classes;
            let is_known = ids.get(&class.name).is_some();
            // Where all are in use, those that leave have one for each that comes: what waits of them now leaves as the others' does.
            if ids.give(class.name.clone()).is_none()
                && let Some(old) = leaving.next()
            {
                ids.pass_on(&old.name, class.name.clone());
            }
            let Some(id) = self.tables.class(&class.name) else {
                continue;
            };
            last = last.max(id);
            for cell in self.vnic_cells().filter(|_| !is_known) {
                cell.classes.begin(id);
            }
        }
        if !new.is_empty() {
            for cell in self.vnic_cells() {
                cell.classes.make_room(last);
            }
        }
    }

    /// What every worker counts of each vNIC.
    fn vnic_cells(&self) -> impl Iterator<Item = &PartyCells> {
        let vnics = self.tables.view.vnics.iter().flatten();
        vnics.flat_map(|vnic| vnic.cells.iter())
    }

    fn prepare_filters(&mut self, plan: &Plan) {
        let classes = plan.sharing.classes.iter();
        let classes: Vec<_> = classes
            .filter_map(|own| Some((self.class_id(own)?, own)))
            .collect();
        let vnic = |name: &str| {
            let (name, vnic) = plan.vnics.get_key_value(name)?;
            self.tables.vnic(name, vnic.segment)
        };
        let management = plan.vnics.iter().filter(|(_, vnic)| vnic.management);
        let management: Vec<VnicId> = management.filter_map(|(name, _)| vnic(name)).collect();
        let filters = filters(&classes, &management, vnic);
        if filters.as_ref() != self.tables.view.filters.as_deref() {
            self.tables.view.filters = filters.map(Arc::new);
        }
    }

    /// Whether a link is another than before.
    fn prepare_links(&mut self, plan: &Plan) -> bool {
        let mut changed = false;
        for (index, capacity) in self.capacities().into_iter().enumerate() {
            let wanted = link(
                plan,
                capacity.bits_per_second,
                self.class_queues(index, plan),
                |own| self.class_id(own),
                rte::clock::hz(),
            );
            let place = self
                .tables
                .view
                .uplinks
                .get_mut(UplinkId(index as u16).index());
            if let Some(Some(uplink)) = place
                && uplink.link.as_deref() != wanted.as_ref()
            {
                Arc::make_mut(uplink).link = wanted.map(Arc::new);
                changed = true;
            }
        }
        changed
    }

    /// After the last round: classes that have left give their numbers back.
    pub(crate) fn give_back_classes(&mut self, old: &Plan) {
        for class in &old.sharing.classes {
            let mut stay = self.plan.sharing.classes.iter();
            if !stay.any(|own| own.name == class.name) {
                self.tables.classes.take_back(&class.name);
            }
        }
    }

    /// How the link chooses among DCB traffic classes: by number, those that have something.
    pub(crate) fn dcb_classes(&self) -> Vec<(usize, Tc)> {
        let tcs: [Tc; TCS] = self.plan.sharing.tcs;
        let all = tcs.into_iter().enumerate();
        all.filter(|(_, tc)| tc.strict || tc.share > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_that_of_hardware_and_of_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let interface = |name: &str, speed: &str, hardware: bool| {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).expect("a folder");
            std::fs::write(own.join("speed"), speed).expect("a file");
            if hardware {
                std::fs::create_dir(own.join("device")).expect("a folder");
            }
        };
        interface("eth0", "25000\n", true);
        interface("down0", "-1\n", true);
        // What veth says of itself.
        interface("veth0", "10000\n", false);
        let of =
            |device: &str, mbit| speed(&device.parse().expect("a device"), mbit, folder.path());
        assert_eq!(of("0000:03:00.0", Some(10_000)), Some(10_000_000_000));
        assert_eq!(of("0000:03:00.0", None), None);
        assert_eq!(
            of("net_af_packet0,iface=eth0", Some(10_000)),
            Some(25_000_000_000)
        );
        for device in [
            "net_af_packet0,iface=down0",
            "net_af_packet0,iface=veth0",
            "net_af_packet0,iface=gone0",
            "net_null0",
        ] {
            assert_eq!(of(device, Some(10_000)), None, "{device}");
        }
    }

    #[test]
    fn a_filter_says_what_its_name_says() {
        let class = |own: &[BuiltIn]| ClassPlan {
            name: "c".into(),
            filters: own.iter().map(|own| Filter::BuiltIn(*own)).collect(),
            minimum: None,
            max: None,
            tc: 0,
            dscp: None,
            pcp: None,
            line: crate::config::spans::Line(1),
        };
        let (host, guest) = (VnicId(1), VnicId(2));
        let ask = |own: &[BuiltIn]| {
            let class = class(own);
            filters(&[(ClassId(5), &class)], &[host], |_| None).expect("filters")
        };
        let management = ask(&[BuiltIn::Management]);
        assert_eq!(
            (management.of_vnic(host), management.of_vnic(guest)),
            (1, 0)
        );
        assert_eq!(management.own(), ClassId(5));
        for (own, port) in [
            (BuiltIn::LiveMigration, 6600),
            (BuiltIn::Smb, 445),
            (BuiltIn::SmbDirect, 5445),
            (BuiltIn::Iscsi, 3260),
            (BuiltIn::Nfs, 2049),
        ] {
            let filters = ask(&[own]);
            assert_eq!(filters.of_vnic(guest) & filters.of_v4(), 1);
            assert_eq!(
                (filters.of_protocol(6), filters.of_protocol(17)),
                (1, 0),
                "{own}"
            );
            assert_eq!(
                (filters.of_ports(port, 1), filters.of_ports(1, port)),
                (1, 1),
                "{own}"
            );
            assert_eq!(filters.of_ports(1, port + 1), 0, "{own}");
            assert_eq!(filters.own(), ClassId::NONE);
        }
        let fcoe = ask(&[BuiltIn::Fcoe]);
        assert_eq!(
            (fcoe.of_other(0x8906), fcoe.of_other(0x8914), fcoe.of_v4()),
            (1, 0, 0)
        );
        assert!(filters(&[], &[host], |_| None).is_none());
    }
}
