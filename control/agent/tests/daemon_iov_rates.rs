//! Who keeps a vNIC's bandwidth: its VF where the NIC's driver takes the rates and shows them, else software. The NIC is a recorded one;
//! `scripts/lab run failover` has a real driver.

mod daemon_common;
mod iov_common;

use daemon_common::Host;
use iov_common::recorded::{ICE, IGB, Recorded};
use iov_common::{HOST, NETWORK, mac, mac_of, machine, status, turn, vnic, why};
use proptest::prelude::*;
use weir_agent::iov::program;
use weir_agent::observe::ask::Selection;
use weir_agent::vf::change::{self, Change};
use weir_agent::vf::discover::Pf;

/// The switch shares by rates, and its uplink carries 10 Gbit/s.
fn network() -> String {
    NETWORK.replace("bandwidth_mode = \"none\"", "bandwidth_mode = \"absolute\"")
}

fn host() -> Host {
    Host::start(&HOST.replace("[iov]", "capacity = \"10Gbit\"\n[iov]"))
}

/// A vNIC that asks for a VF, with this `bandwidth`.
fn limited(i: u8, bandwidth: &str) -> String {
    let more = match bandwidth {
        "" => "iov_weight = 10".to_owned(),
        own => format!("iov_weight = 10\nbandwidth = {{ {own} }}"),
    };
    vnic(i, &more)
}

fn rates(nic: &Recorded, pf: &Pf, vf: u16) -> (u32, u32) {
    let now = change::read(nic, pf, vf).expect("settings");
    (now.min_mbit, now.max_mbit)
}

fn set(nic: &Recorded, pf: &Pf, vf: u16, max_mbit: u32) {
    let change = Change {
        max_mbit: Some(max_mbit),
        ..Change::default()
    };
    change::change(nic, pf, vf, &change).expect("a rate");
}

/// What a turn does to the NIC.
fn done(host: &mut Host, nic: &Recorded) -> Vec<String> {
    nic.done.borrow_mut().clear();
    turn(host, nic);
    nic.done.borrow().clone()
}

/// How often vNICs went to a VF, and to software.
fn changes(host: &mut Host) -> (u64, u64) {
    let switch = host.state().objects("switch", None).expect("a kind");
    let iov = &switch[0]["status"]["iov"];
    let count = |key: &str| iov[key].as_u64().expect("a count");
    (count("changes_to_vf"), count("changes_to_software"))
}

#[test]
fn a_maximum_is_the_vfs_changed_under_it_and_softwares_when_the_nic_cannot() {
    let mut host = host();
    let (nic, pf) = machine(IGB);
    let ask = |host: &mut Host, bandwidth: &str| {
        let policy = format!("{}{}", network(), limited(1, bandwidth));
        host.apply(&policy).expect("a policy");
        done(host, &nic)
    };
    ask(&mut host, "max = \"100Mbit\"");
    assert_eq!(why(&mut host, "v1"), "vf 0");
    assert_eq!(rates(&nic, &pf, 0), (0, 100));
    let shown = status(&mut host, "v1")["bandwidth"].clone();
    assert_eq!(shown["by"], "vf", "{shown}");
    let told = shown["why"].to_string();
    assert!(told.contains("minimum none, maximum 100 Mbit/s"), "{told}");
    // Changed, without leaving it, by one request; and looked at with none.
    assert_eq!(ask(&mut host, "max = \"200Mbit\""), ["set 0 6"]);
    assert_eq!(rates(&nic, &pf, 0), (0, 200));
    assert_eq!(done(&mut host, &nic), [""; 0]);
    assert_eq!(changes(&mut host), (1, 0));
    // Somebody sets it otherwise; the NIC forgets.
    for other in [300, 0] {
        set(&nic, &pf, 0, other);
        assert_eq!(done(&mut host, &nic), ["set 0 6"]);
        assert_eq!(rates(&nic, &pf, 0), (0, 200));
    }
    assert_eq!(changes(&mut host), (1, 0));
    // No limit any more.
    ask(&mut host, "");
    assert_eq!(rates(&nic, &pf, 0), (0, 0));
    assert!(status(&mut host, "v1")["bandwidth"]["by"].is_null());
    ask(&mut host, "max = \"200Mbit\"");
    // The link is slower, at which igb takes all limits off (igb_check_vf_rate_limit) and takes no greater one than it has.
    nic.put("/sys/class/net/eth0/speed", "100\n");
    set(&nic, &pf, 0, 0);
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "rate_refused");
    let shown = status(&mut host, "v1");
    assert_eq!(shown["path_refusal"], "value-refused");
    assert_eq!(shown["bandwidth"]["by"], "software");
    let told = shown["path_detail"].to_string();
    assert!(told.contains("refuses maximum rate 200 Mbit/s"), "{told}");
    assert!(told.contains("at most the link's 100 Mbit/s"), "{told}");
    assert_eq!(mac_of(&nic, &pf, 0), program::nobody(&pf, 0));
    // It is not asked again and again, whatever else happens to policy.
    assert_eq!(done(&mut host, &nic), [""; 0]);
    let policy = format!(
        "{}{}{}",
        network(),
        limited(1, "max = \"200Mbit\""),
        vnic(2, "")
    );
    host.apply(&policy).expect("a policy");
    assert_eq!(done(&mut host, &nic), ["hear 02:00:00:00:01:02"]);
    assert_eq!(why(&mut host, "v1"), "rate_refused");
    // As soon as it can, it does; and when policy asks for what it can.
    nic.put("/sys/class/net/eth0/speed", "1000\n");
    turn(&mut host, &nic);
    assert_eq!(
        (why(&mut host, "v1"), rates(&nic, &pf, 0)),
        ("vf 0".into(), (0, 200))
    );
    ask(&mut host, "max = \"2Gbit\"");
    assert_eq!(why(&mut host, "v1"), "rate_refused");
    ask(&mut host, "max = \"1Gbit\"");
    assert_eq!(
        (why(&mut host, "v1"), rates(&nic, &pf, 0)),
        ("vf 0".into(), (0, 1000))
    );
    // igb has no minimum; nobody's VF is slow then.
    ask(&mut host, "min = \"10Mbit\", max = \"300Mbit\"");
    assert_eq!(why(&mut host, "v1"), "rate_refused");
    assert_eq!(rates(&nic, &pf, 0), (0, 1));
    let told = status(&mut host, "v1")["path_detail"].to_string();
    assert!(told.contains("igb promises no VF anything"), "{told}");
    host.stop();
}

#[test]
fn what_a_driver_keeps_otherwise_is_softwares_by_name() {
    let mut host = host();
    let (nic, pf) = machine(ICE);
    nic.rate_bits.set(16);
    let policy = |max: &str| format!("{}{}", network(), limited(1, &format!("max = \"{max}\"")));
    host.apply(&policy("70000Mbit")).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "rate_refused");
    let shown = status(&mut host, "v1");
    assert_eq!(shown["path_refusal"], "not-kept");
    let told = shown["path_detail"].to_string();
    assert!(
        told.contains("accepted maximum rate 70000 Mbit/s and shows 4464 Mbit/s"),
        "{told}"
    );
    assert_eq!(rates(&nic, &pf, 0), (0, 0), "put back");
    assert_eq!(done(&mut host, &nic), [""; 0]);
    // On the VF, and then more than it keeps.
    host.apply(&policy("60000Mbit")).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "vf 0");
    host.apply(&policy("70000Mbit")).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "rate_refused");
    assert_eq!(mac_of(&nic, &pf, 0), program::nobody(&pf, 0));
    host.stop();
}

#[test]
fn a_minimum_is_others_again_when_its_vnic_leaves_and_its_vm_is_slow_until_it_lets_go() {
    let mut host = host();
    let (nic, pf) = machine(ICE);
    let first = limited(1, "min = \"1Gbit\", max = \"2Gbit\"");
    host.apply(&format!("{}{first}", network()))
        .expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(
        (why(&mut host, "v1"), rates(&nic, &pf, 0)),
        ("vf 0".into(), (1000, 2000))
    );
    let of = Selection {
        vnic: Some("v1".into()),
        ..Selection::default()
    };
    let trace = host.state().trace(&of).expect("a trace");
    turn(&mut host, &nic);
    // Its VM may have the VF still.
    assert_eq!(
        (why(&mut host, "v1"), rates(&nic, &pf, 0)),
        ("capture".into(), (0, 1))
    );
    // Whoever has it next has his own.
    host.apply(&format!(
        "{}{first}{}",
        network(),
        vnic(2, "vf = \"up0/0\"")
    ))
    .expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(
        (why(&mut host, "v2"), rates(&nic, &pf, 0)),
        ("vf 0".into(), (0, 0))
    );
    host.state().end_observer(trace.id);
    host.stop();
}

#[test]
fn a_daemon_that_starts_anew_sets_what_has_changed_and_takes_what_may_not_be() {
    let (nic, pf) = machine(IGB);
    let given = Change {
        mac: Some(mac(1)),
        vlan: Some(100),
        max_mbit: Some(100),
        ..Change::default()
    };
    change::change(&nic, &pf, 1, &given).expect("set");
    let mut first = host();
    let policy = format!("{}{}", network(), limited(1, "max = \"300Mbit\""));
    first.apply(&policy).expect("a policy");
    assert_eq!(done(&mut first, &nic), ["set 1 6"]);
    assert_eq!(
        (why(&mut first, "v1"), rates(&nic, &pf, 1)),
        ("vf 1".into(), (0, 300))
    );
    first.stop();
    // It had a VF, and policy, or the NIC, bars it since.
    for (bandwidth, reason) in [
        ("max_rx = \"1Gbit\"", "bandwidth"),
        ("max = \"2Gbit\"", "rate_refused"),
    ] {
        change::change(&nic, &pf, 1, &given).expect("set");
        let mut second = host();
        second
            .apply(&format!("{}{}", network(), limited(1, bandwidth)))
            .expect("a policy");
        turn(&mut second, &nic);
        assert_eq!(why(&mut second, "v1"), reason);
        assert_eq!(mac_of(&nic, &pf, 1), program::nobody(&pf, 1), "{bandwidth}");
        assert_eq!(done(&mut second, &nic), [""; 0], "{bandwidth}");
        second.stop();
    }
}

/// Two vNICs on an ice of 1 Gbit/s, whose link then carries 100 Mbit/s: fewer than the VFs are promised.
fn slower(first: &str, second: &str) -> (Host, Recorded, Pf) {
    let mut host = host();
    let (nic, pf) = machine(ICE);
    nic.is_stubborn.set(true);
    set_speed(&nic, &pf, 1000);
    let policy = [network(), limited(1, first), limited(2, second)].concat();
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    let at = ["v1", "v2"].map(|name| why(&mut host, name));
    assert_eq!(at, ["vf 0", "vf 1"]);
    set_speed(&nic, &pf, 100);
    turn(&mut host, &nic);
    (host, nic, pf)
}

fn set_speed(nic: &Recorded, pf: &Pf, mbit: u32) {
    let interface = pf.interface.as_deref().expect("an interface");
    nic.put(
        &format!("/sys/class/net/{interface}/speed"),
        &format!("{mbit}\n"),
    );
}

#[test]
fn on_a_link_slower_than_what_vfs_are_promised_who_gives_back_most_goes_first() {
    let (mut host, nic, pf) = slower("min = \"40Mbit\"", "min = \"600Mbit\"");
    // What was promised stays so, as nobody asks.
    assert_eq!(
        [rates(&nic, &pf, 0), rates(&nic, &pf, 1)],
        [(40, 0), (600, 0)]
    );
    let policy = [network(), limited(1, ""), limited(2, "")].concat();
    host.apply(&policy).expect("a policy");
    // The first's cannot be taken off before the second's.
    assert_eq!(done(&mut host, &nic), ["set 1 6", "set 0 6"]);
    assert_eq!([rates(&nic, &pf, 0), rates(&nic, &pf, 1)], [(0, 0); 2]);
    assert_eq!(changes(&mut host), (2, 0), "both keep their VFs");
    assert_eq!(done(&mut host, &nic), [""; 0]);
    host.stop();
}

#[test]
fn what_was_refused_for_minima_that_are_gone_is_asked_again_at_once() {
    let (mut host, nic, pf) = slower("min = \"600Mbit\"", "min = \"40Mbit\"");
    // The second's is left over, and cannot be slow before the first's minimum has gone, which is after it.
    let policy = [network(), limited(1, "")].concat();
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "vf 0");
    assert_eq!([rates(&nic, &pf, 0), rates(&nic, &pf, 1)], [(0, 0), (0, 1)]);
    assert_eq!(mac_of(&nic, &pf, 1), program::nobody(&pf, 1));
    assert_eq!(done(&mut host, &nic), [""; 0]);
    host.stop();
}

#[test]
fn where_a_driver_lets_no_minimum_go_vfs_are_nobodys_until_it_does() {
    // The driver itself has no way out of this: ice_min_tx_rate_oversubscribed refuses what any VF is to have, 0 too.
    let stuck = || {
        let (mut host, nic, pf) = slower("min = \"450Mbit\"", "min = \"450Mbit\"");
        let policy = [network(), limited(1, ""), limited(2, "")].concat();
        host.apply(&policy).expect("a policy");
        turn(&mut host, &nic);
        for name in ["v1", "v2"] {
            assert_eq!(why(&mut host, name), "refused");
            assert_eq!(status(&mut host, name)["path_refusal"], "value-refused");
        }
        assert_eq!(done(&mut host, &nic), [""; 0], "not asked again and again");
        (host, nic, pf)
    };
    let given = |host: &mut Host, nic: &Recorded, pf: &Pf| {
        turn(host, nic);
        let at = ["v1", "v2"].map(|name| why(host, name));
        assert_eq!(at, ["vf 0", "vf 1"]);
        assert_eq!([rates(nic, pf, 0), rates(nic, pf, 1)], [(0, 0); 2]);
        assert_eq!(done(host, nic), [""; 0]);
    };
    // The link is faster again.
    let (mut host, nic, pf) = stuck();
    set_speed(&nic, &pf, 1000);
    given(&mut host, &nic, &pf);
    host.stop();
    // Somebody takes one of the minima off, and the rest goes.
    let (mut host, nic, pf) = stuck();
    nic.is_stubborn.set(false);
    let none = Change {
        min_mbit: Some(0),
        ..Change::default()
    };
    change::change(&nic, &pf, 1, &none).expect("a minimum of none");
    nic.is_stubborn.set(true);
    given(&mut host, &nic, &pf);
    host.stop();
}

#[test]
fn a_vf_that_could_not_be_set_for_minima_of_others_is_given_when_the_link_is_faster() {
    let (mut host, nic, pf) = slower("min = \"600Mbit\"", "");
    let apply = |host: &mut Host, also: &str| {
        let first = limited(1, "min = \"600Mbit\"");
        let policy = [network(), first, also.to_owned()].concat();
        host.apply(&policy).expect("a policy");
        turn(host, &nic);
    };
    set_speed(&nic, &pf, 1000);
    apply(&mut host, "");
    assert_eq!(rates(&nic, &pf, 1), (0, 1), "nobody's");
    set_speed(&nic, &pf, 100);
    apply(&mut host, &limited(2, ""));
    assert_eq!(
        why(&mut host, "v2"),
        "none_free",
        "the second VF cannot be set"
    );
    set_speed(&nic, &pf, 1000);
    turn(&mut host, &nic);
    let at = ["v1", "v2"].map(|name| why(&mut host, name));
    assert_eq!(at, ["vf 0", "vf 1"]);
    assert_eq!(
        [rates(&nic, &pf, 0), rates(&nic, &pf, 1)],
        [(600, 0), (0, 0)]
    );
    host.stop();
}

#[test]
fn a_minimum_refused_for_that_of_a_vf_that_is_others_is_asked_again_when_that_one_goes() {
    let mut host = host();
    let (nic, pf) = machine(ICE);
    set_speed(&nic, &pf, 1000);
    nic.remove(&format!(
        "/sys/bus/pci/devices/{}/driver",
        pf.vfs[1].address
    ));
    let set = |min_mbit| {
        let min_mbit = Some(min_mbit);
        let change = Change {
            min_mbit,
            ..Change::default()
        };
        change::change(&nic, &pf, 1, &change).expect("a minimum");
    };
    set(600);
    let policy = network() + &limited(1, "min = \"600Mbit\"");
    host.apply(&policy).expect("a policy");
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "rate_refused");
    assert_eq!(done(&mut host, &nic), [""; 0]);
    set(500);
    turn(&mut host, &nic);
    assert_eq!(why(&mut host, "v1"), "rate_refused", "still too much");
    set(400);
    turn(&mut host, &nic);
    assert_eq!(
        (why(&mut host, "v1"), rates(&nic, &pf, 0)),
        ("vf 0".into(), (600, 0))
    );
    host.stop();
}

/// What a vNIC of the random world asks for.
#[derive(Clone, Debug, Default)]
struct Wish {
    weight: u8,
    min: u32,
    max: u32,
    receives: bool,
}

impl Wish {
    fn text(&self, i: u8) -> String {
        let mut fields = Vec::new();
        let mut rate = |name: &str, mbit: u32| {
            if mbit > 0 {
                fields.push(format!("{name} = \"{mbit}Mbit\""));
            }
        };
        rate("min", self.min);
        rate("max", self.max);
        rate("max_rx", u32::from(self.receives));
        vnic(
            i,
            &format!(
                "iov_weight = {}\nbandwidth = {{ {} }}",
                self.weight,
                fields.join(", ")
            ),
        )
    }
}

prop_compose! {
    fn wish()(
        weight in 1u8..4,
        min in prop::sample::select(vec![0, 0, 0, 40, 600]),
        more in prop::sample::select(vec![0, 10, 400, 2000]),
        has_max in any::<bool>(),
        receives in prop::bool::weighted(0.1),
    ) -> Wish {
        let max = if has_max { min + more } else { 0 };
        Wish { weight, min, max, receives }
    }
}

/// What happens in it between two looks.
#[derive(Clone, Debug)]
enum Event {
    Policy([Wish; 3]),
    /// The link is of another speed; igb forgets all limits then.
    Speed(u32),
    /// Somebody sets a VF's maximum.
    Set(u16, u32),
    /// A VF's driver goes, or comes back.
    Driver(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => [wish(), wish(), wish()].prop_map(Event::Policy),
        2 => prop::sample::select(vec![100u32, 1000, 10_000]).prop_map(Event::Speed),
        1 => (0u16..2, prop::sample::select(vec![0u32, 7, 90])).prop_map(|(vf, max)| Event::Set(vf, max)),
        1 => (0u16..2).prop_map(Event::Driver),
    ]
}

/// Lives through events with one driver; after each, what is on a VF is kept by it, what is not has a reason, and a second look does nothing.
fn live(recording: &str, bits: u32, is_stubborn: bool, events: &[Event]) {
    let mut host = host();
    let (nic, pf) = machine(recording);
    nic.rate_bits.set(bits);
    nic.is_stubborn.set(is_stubborn);
    let has_minimum = recording == ICE;
    let mut speed = 1000;
    set_speed(&nic, &pf, speed);
    let mut wishes: [Wish; 3] = Default::default();
    let all = [Event::Policy(wishes.clone())]
        .into_iter()
        .chain(events.iter().cloned());
    for event in all {
        match &event {
            Event::Policy(new) => {
                wishes = new.clone();
                let each: Vec<String> = (1..).zip(&wishes).map(|(i, wish)| wish.text(i)).collect();
                host.apply(&format!("{}{}", network(), each.concat()))
                    .expect("a policy");
            }
            Event::Speed(new) => {
                if *new != speed && !has_minimum {
                    for vf in 0..2 {
                        set(&nic, &pf, vf, 0);
                    }
                }
                speed = *new;
                set_speed(&nic, &pf, speed);
            }
            // Refused where a minimum is above it, or the driver refuses everything.
            Event::Set(vf, max) => {
                let max_mbit = Some(*max);
                let change = Change {
                    max_mbit,
                    ..Change::default()
                };
                let _ = change::change(&nic, &pf, *vf, &change);
            }
            Event::Driver(vf) => {
                let driver = format!(
                    "/sys/bus/pci/devices/{}/driver",
                    pf.vfs[usize::from(*vf)].address
                );
                match std::fs::read_link(iov_common::place(&nic, &driver)) {
                    Ok(_) => nic.remove(&driver),
                    Err(_) => nic.point(&driver, "x/some-vf-driver"),
                }
            }
        }
        turn(&mut host, &nic);
        let paths = ["v1", "v2", "v3"].map(|name| why(&mut host, name));
        // What such a driver refuses of a VF, whatever it is, until the others are promised less: there may be no way out of that.
        let stuck =
            [1, 0].map(|other| is_stubborn && has_minimum && rates(&nic, &pf, other).0 > speed);
        let mut given = Vec::new();
        for (i, (wish, path)) in (1..).zip(wishes.iter().zip(&paths)) {
            let keeps = |rate: u32| bits == 32 || rate & ((1 << bits) - 1) == rate;
            let is_good = wish.max <= speed && keeps(wish.max) && keeps(wish.min);
            let status = status(&mut host, &format!("v{i}"));
            let by = status["bandwidth"]["by"].as_str();
            match path.strip_prefix("vf ") {
                Some(vf) => {
                    let vf: u16 = vf.parse().expect("an index");
                    assert_eq!(mac_of(&nic, &pf, vf), mac(i));
                    assert_eq!(rates(&nic, &pf, vf), (wish.min, wish.max), "{event:?}");
                    assert!(!wish.receives && keeps(wish.max), "{event:?} {wish:?}");
                    assert!(wish.min == 0 || has_minimum, "{event:?}");
                    assert_eq!(by, (wish.min + wish.max > 0).then_some("vf"));
                    given.push(vf);
                }
                None => {
                    assert_ne!(by, Some("vf"));
                    assert_eq!(path == "bandwidth", wish.receives, "{event:?} {wish:?}");
                    // Minima are refused for those of others, too.
                    let may_be_refused = !is_good || wish.min > 0 || stuck.contains(&true);
                    assert!(
                        path != "rate_refused" || may_be_refused,
                        "{event:?} {wish:?} at {speed}"
                    );
                }
            }
        }
        for vf in (0..2).filter(|vf| !given.contains(vf) && !stuck[usize::from(*vf)]) {
            assert_eq!(
                rates(&nic, &pf, vf).0,
                0,
                "nobody's VF is promised nothing: {event:?}"
            );
        }
        // Nobody waits for a VF that is free.
        let usable = |vf: &u16| {
            let address = &pf.vfs[usize::from(*vf)].address;
            std::fs::read_link(iov_common::place(
                &nic,
                &format!("/sys/bus/pci/devices/{address}/driver"),
            ))
            .is_ok()
        };
        let free = (0..2)
            .filter(|vf| !given.contains(vf) && usable(vf) && !stuck[usize::from(*vf)])
            .count();
        assert!(
            free == 0 || !paths.contains(&"none_free".to_owned()),
            "{event:?} {paths:?}"
        );
        assert_eq!(
            done(&mut host, &nic),
            [""; 0],
            "it is at rest after {event:?}"
        );
        assert_eq!(["v1", "v2", "v3"].map(|name| why(&mut host, name)), paths);
    }
    host.stop();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn whatever_happens_a_vf_keeps_what_it_is_said_to_or_software_does(
        recording in prop::sample::select(vec![IGB, ICE]),
        bits in prop::sample::select(vec![32u32, 32, 8]),
        is_stubborn in any::<bool>(),
        events in prop::collection::vec(event(), 1..24),
    ) {
        live(recording, bits, is_stubborn, &events);
    }
}
