//! vNICs of a real host that send all they can while they go from worker to worker: every frame is numbered by who sends it, and the uplink,
//! whose two queues overtake each other, sees none missing and none late.

mod daemon_common;

use std::fmt::Write;
use std::time::Duration;

use daemon_common::{Host, THERE, until};
use weir_agent::ports::Handle;
use weir_tables::ids::WorkerId;
use weir_tables::steering::Bucket;
use weir_worker::Command;
use weir_worker::rig::wire::Came;

const SENDERS: u64 = 6;

const HOST: &str = r#"
name = "h1"
[dataplane]
workers = CORE2
hugepages = "none"
balance = false
[[uplink]]
name = "up0"
device = "rig:wire=2,senders=6,from=02:00:00:00:00:01"
provider_addresses = ["192.168.50.1/24"]
mtu = 1600
neighbors = { "192.168.50.2" = "02:bb:00:00:00:02" }
"#;

fn policy(numbers: std::ops::Range<u64>) -> String {
    let mut text = THERE.to_owned();
    for number in numbers {
        let (mac, ca) = (mac(number), format!("10.0.0.{}", number + 2));
        let to = "02:01:00:00:00:00/10.1.0.0";
        let _ = write!(
            text,
            "[[vnic]]\nname = \"v{number}\"\nhost = \"h1\"\nsubnet = \"s0\"\nmac = \"{mac}\"\naddresses = [\"{ca}\"]\n\
             attach = \"rig:senders=1,from={mac}/{ca},to={to},flood=64\"\n",
        );
    }
    text
}

fn mac(number: u64) -> weir_wire::Mac {
    weir_wire::Mac::from_u64(0x0200_0000_0001 + number)
}

impl Host {
    fn came(&mut self) -> Came {
        let ports = &mut self.state().ports;
        let wire = ports.values().find_map(|open| match &open.handle {
            Handle::Wire(wire) => Some(wire.clone()),
            _ => None,
        });
        wire.expect("a wire").came()
    }

    fn owner(&mut self, number: u64) -> WorkerId {
        let name = format!("v{number}");
        let view = &self.state().tables.view;
        let vnic = view.vnics.iter().flatten().find(|vnic| *vnic.name == *name);
        let port = vnic.and_then(|vnic| view.port(vnic.port));
        port.expect("a port").owner
    }

    fn sent(&mut self, number: u64) -> u64 {
        self.vnic(&format!("v{number}")).rx_packets
    }
}

#[test]
fn load_that_is_all_on_one_worker_is_spread_and_stays_so() {
    if rte::available_cores().len() < 2 {
        return;
    }
    let mut host = Host::start(HOST);
    host.apply(&policy(0..SENDERS)).expect("a policy");
    let all: Vec<Bucket> = (0..SENDERS).map(|number| Bucket::of(mac(number))).collect();
    host.state().move_buckets(&all, WorkerId(0));
    let second = |host: &mut Host| {
        let owners = (0..SENDERS).map(|number| host.owner(number).0);
        owners.map(u64::from).sum::<u64>()
    };
    // As host.toml says.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(25));
        host.state().tend_balance();
    }
    assert_eq!(second(&mut host), 0);
    host.state().host.dataplane.balance = true;
    until("balance", || {
        host.state().tend_balance();
        second(&mut host) == SENDERS / 2
    });
    let workers = host.state().objects("worker", None).expect("a kind");
    for worker in &workers {
        assert_eq!(worker["status"]["vnics"], 3, "{worker}");
        assert_eq!(worker["status"]["queues"], 3, "{worker}");
    }
    host.state().crew.tell_all(|| Command::Rest(true));
    host.assert_conserved();
    let came = host.came();
    assert_eq!((came.lost, came.reordered, came.strange), (0, 0, 0));
    assert!(host.drops().is_empty(), "{:?}", host.drops());
    assert!(host.stats().moves.vnics >= 3);
    host.stop();
}

/// Of these none is 5% of a core, which is what a move has to gain: they go in lots.
#[test]
fn many_small_ones_are_spread() {
    if rte::available_cores().len() < 2 {
        return;
    }
    const MANY: u64 = 64;
    let config = HOST.replace("balance = false", "balance = true");
    let mut host = Host::start(&config.replace("senders=6", "senders=64"));
    host.apply(&policy(0..MANY)).expect("a policy");
    let all: Vec<Bucket> = (0..MANY).map(|number| Bucket::of(mac(number))).collect();
    host.state().move_buckets(&all, WorkerId(0));
    until("balance", || {
        host.state().tend_balance();
        let second = (0..MANY).filter(|number| host.owner(*number).0 == 1);
        (MANY / 4..=MANY / 2).contains(&(second.count() as u64))
    });
    host.state().crew.tell_all(|| Command::Rest(true));
    host.assert_conserved();
    let came = host.came();
    assert_eq!((came.lost, came.reordered, came.strange), (0, 0, 0));
    assert!(host.drops().is_empty(), "{:?}", host.drops());
    host.stop();
}

#[test]
fn who_is_pinned_stays_and_a_core_without_a_worker_is_refused() {
    if rte::available_cores().len() < 2 {
        return;
    }
    let core = *rte::available_cores().last().expect("a core");
    let pins: String = (0..4)
        .map(|number| format!("[[pin]]\nvnic = \"v{number}\"\ncore = {core}\n"))
        .collect();
    let mut host = Host::start(&format!("{HOST}{pins}"));
    host.apply(&policy(0..SENDERS)).expect("a policy");
    let books = host.state().crew.books();
    let at = books.map(|(core, _)| core).position(|own| own == core);
    let own = WorkerId(at.expect("a worker") as u8);
    for number in 0..4 {
        assert_eq!(host.owner(number), own, "v{number}");
        let bucket = Bucket::of(mac(number));
        let other = WorkerId(1 - own.0);
        host.state().move_buckets(&[bucket], other);
        assert_eq!(host.owner(number), own, "v{number}");
    }
    host.stop();
    let wrong = format!("{HOST}[[pin]]\nvnic = \"v0\"\ncore = 4000\n[[pin]]\nvnic = \"v1\"\n");
    let Err(errors) = Host::start_with(&wrong, 8191) else {
        panic!("a core without a worker");
    };
    let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].contains("pin v0") && said[0].contains("no worker runs on core 4000"),
        "{said:?}"
    );
    assert!(said[1].contains("core is missing"), "{said:?}");
}

#[test]
fn every_frame_leaves_once_and_in_order_wherever_its_vnic_goes() {
    if rte::available_cores().len() < 2 {
        return;
    }
    let mut host = Host::start(HOST);
    host.apply(&policy(0..SENDERS)).expect("a policy");
    let owners: Vec<_> = (0..SENDERS).map(|number| host.owner(number)).collect();
    let first = owners.iter().filter(|owner| owner.index() == 0).count();
    assert_eq!(first, 3, "dealt out evenly: {owners:?}");
    let mut random = 88_172_645_463_325_252_u64;
    for moved in 0..120 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The first leaves half way, a change of policy among the moves.
        let first = u64::from(moved >= 60);
        if moved == 60 {
            host.apply(&policy(first..SENDERS)).expect("a policy");
        }
        let number = first + random % (SENDERS - first);
        let to = WorkerId(1 - host.owner(number).0);
        let bucket = Bucket::of(mac(number));
        assert_eq!(host.state().move_buckets(&[bucket], to), 1);
        assert_eq!(host.owner(number), to);
        // Who has moved goes on sending.
        let before = host.sent(number);
        until("more of it", || host.sent(number) > before + 100);
    }
    host.state().crew.tell_all(|| Command::Rest(true));
    host.assert_conserved();
    // What one sent while it left is nobody's.
    let mut drops = host.drops();
    drops.remove("vnic_gone");
    assert!(drops.is_empty(), "{drops:?}");
    let came = host.came();
    let sent: u64 = host.stats().workers.iter().map(|w| w.tx_packets).sum();
    assert_eq!((came.frames + came.strange, came.strange), (sent, 0));
    assert_eq!((came.lost, came.reordered), (0, 0), "{came:?}");
    let moves = host.state().moves.clone();
    assert_eq!((moves.moves, moves.vnics), (120, 120));
    host.stop();
}
