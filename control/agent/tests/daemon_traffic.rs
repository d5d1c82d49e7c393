//! The rig's senders behind a trunk of a real host, and its sink at the uplink: what is offered is what is logged, and only who may
//! asks for it.

mod daemon_common;

use std::collections::BTreeMap;
use std::fmt::Write;

use daemon_common::{Host, THERE, until};
use weir_agent::traffic::{OfferWish, TrafficWish};
use weir_worker::rig::sink::Event;

const SENDERS: u32 = 20;

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE1
hugepages = "none"
idle = "adaptive"
[[uplink]]
name = "up0"
device = "rig:sink=20,from=02:00:00:00:00:01,events=100000"
provider_addresses = ["192.168.50.1/24"]
mtu = 1600
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02" }
[[trunk]]
name = "vms"
device = "rig:senders=20,from=02:00:00:00:00:01/10.0.0.2,to=02:01:00:00:00:00/10.1.0.0"
"#;

fn policy() -> String {
    let mut text = THERE.to_owned();
    for number in 0..SENDERS {
        let _ = write!(
            text,
            "[[vnic]]\nname = \"v{number}\"\nhost = \"h1\"\nsubnet = \"s0\"\nmac = \"02:00:00:00:00:{:02x}\"\naddresses = [\"10.0.0.{}\"]\nattach = \"trunk:vms\"\n",
            number + 1,
            number + 2
        );
    }
    text
}

/// Who sent how many frames of how many bytes, as the sink has it.
fn logged(host: &mut Host) -> BTreeMap<(u32, u32), u32> {
    let words = host.state().traffic_log().expect("a log");
    let mut counts = BTreeMap::new();
    let mut before = 0;
    for word in words.chunks_exact(8) {
        let event = Event::unpack(u64::from_le_bytes(word.try_into().unwrap()));
        assert!(event.at >= before, "{event:?}");
        before = event.at;
        *counts.entry((event.sender, event.bytes)).or_default() += 1;
    }
    counts
}

#[test]
fn what_is_offered_leaves_and_is_logged() {
    let mut host = Host::start(&format!("{HOST}\n[rig]\ntraffic = true\n"));
    host.apply(&policy()).expect("a policy");
    assert_eq!(host.stats().workers[0].rx_packets, 0, "nobody was told");
    let offer = |first, senders, frame, rate| OfferWish {
        first,
        senders,
        frame,
        packets_per_second: Some(rate),
        ..OfferWish::default()
    };
    let wish = TrafficWish {
        offers: Some(vec![offer(0, 10, 64, 1000.0), offer(12, 2, 1518, 100.0)]),
        log: Some(true),
    };
    let report = host.state().traffic(&wish).expect("a report");
    assert!(report.log.on && report.tsc_hz > 0 && report.offered_at >= report.log.began);
    assert_eq!(report.log.ended, 0, "it goes on");
    let now = |host: &mut Host| {
        host.state()
            .traffic(&TrafficWish::default())
            .expect("a report")
    };
    until("frames in the log", || now(&mut host).log.events > 3_000);
    let still = TrafficWish {
        offers: Some(Vec::new()),
        log: Some(false),
    };
    let report = host.state().traffic(&still).expect("a report");
    assert_eq!(
        (report.log.on, report.log.missed, report.log.reordered),
        (false, 0, 0)
    );
    let counts = logged(&mut host);
    assert_eq!(counts.values().sum::<u32>() as u64, report.log.events);
    assert!(report.log.ended > report.log.began, "{report:?}");
    let keys: Vec<(u32, u32)> = counts.keys().copied().collect();
    let wanted = (0..10)
        .map(|number| (number, 102))
        .chain([(12, 1556), (13, 1556)]);
    assert_eq!(
        keys,
        wanted.collect::<Vec<_>>(),
        "NVGRE adds 42, the FCS is not there"
    );
    // Everyone of an offer as often as its neighbours.
    let of = |from, to| {
        counts
            .range((from, 0)..(to, 0))
            .map(|it| *it.1)
            .collect::<Vec<u32>>()
    };
    for same in [of(0, 10), of(12, 14)] {
        let (least, most) = (same.iter().min(), same.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{same:?}");
    }
    host.assert_conserved();
    assert_eq!(host.stats().workers[0].dropped, 0, "{:?}", host.drops());

    // From empty again.
    let wish = TrafficWish {
        offers: None,
        log: Some(true),
    };
    assert_eq!(host.state().traffic(&wish).expect("a report").log.events, 0);
    host.stop();
}

#[test]
fn it_is_refused_with_the_reason() {
    let offers = |offers: Vec<OfferWish>| TrafficWish {
        offers: Some(offers),
        log: None,
    };
    let mut host = Host::start(HOST);
    let refused = host
        .state()
        .traffic(&TrafficWish::default())
        .expect_err("not allowed");
    assert!(
        refused[0].mend.contains("[rig] traffic = true"),
        "{refused:?}"
    );
    host.stop();

    let mut host = Host::start(&format!("{HOST}\n[rig]\ntraffic = true\n"));
    let good = OfferWish::default();
    for (wrong, why) in [
        (OfferWish { senders: 0, ..good }, "senders"),
        (
            OfferWish {
                first: 19,
                senders: 2,
                ..good
            },
            "there are 20",
        ),
        (OfferWish { frame: 63, ..good }, "frame"),
        (
            OfferWish {
                packets_per_second: Some(0.0),
                ..good
            },
            "packets_per_second",
        ),
        (
            OfferWish {
                packets_per_second: Some(1e13),
                ..good
            },
            "packets_per_second",
        ),
        (
            OfferWish {
                after: -1.0,
                ..good
            },
            "after",
        ),
    ] {
        let refused = host
            .state()
            .traffic(&offers(vec![good, wrong]))
            .expect_err("wrong");
        assert!(refused[0].problem.contains(why), "{refused:?}");
    }
    let refused = host
        .state()
        .traffic(&offers(vec![good; 65]))
        .expect_err("too many");
    assert!(refused[0].problem.contains("65 offers"), "{refused:?}");
    host.stop();

    let without = HOST.replace(
        "rig:sink=20,from=02:00:00:00:00:01,events=100000",
        "net_null5,no-rx=1",
    );
    let (before, _) = without.split_once("[[trunk]]").unwrap();
    let mut host = Host::start(&format!("{before}\n[rig]\ntraffic = true\n"));
    let refused = host
        .state()
        .traffic(&offers(vec![good]))
        .expect_err("no senders");
    assert!(refused[0].problem.contains("no senders"), "{refused:?}");
    let log = TrafficWish {
        offers: None,
        log: Some(true),
    };
    let refused = host.state().traffic(&log).expect_err("no sink");
    assert!(refused[0].problem.contains("no sink"), "{refused:?}");
    host.state().traffic_log().expect_err("no sink");
    host.stop();
}
