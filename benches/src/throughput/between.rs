//! A switch in another process, between two ports of the rig's own.

use crate::halt::{Fault, Halt, Stop};
use crate::machine::Others;
use crate::rounds::FLOOR;
use crate::scenario::{End, Scenario};
use crate::subject::{Bench, Ends, LONG, Running, Subject};
use crate::traffic::{Account, Gate, Order, Pace, Tester};
use crate::workload::{PROVIDER_MAC, Workload, mac_text};
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

/// How often a trial that was disturbed is tried again before the least disturbed one counts.
const TRIES: u32 = 5;
/// From this bound on, in percent, nothing is thrown away because of others.
const ANYTHING: f64 = 100.0;

/// What is between the rig and a switch that the rig starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Over {
    /// Shared memory by net_memif; the switch is the server.
    #[default]
    Memif,
    /// vhost-user; the rig is a guest's virtio device.
    Vhost,
}

impl Over {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Over::Memif => "memif",
            Over::Vhost => "vhost",
        }
    }
}

impl FromStr for Over {
    type Err = String;
    fn from_str(text: &str) -> Result<Over, String> {
        match text {
            "memif" => Ok(Over::Memif),
            "vhost" => Ok(Over::Vhost),
            _ => Err("write memif or vhost; other devices are named with --ports".into()),
        }
    }
}

/// The devices of one subject and of the rig, as each is named on its side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices {
    /// The subject's, towards the rig's sender and towards its receiver.
    pub subject: [String; 2],
    /// The rig's: where it sends and where it receives.
    pub rig: [String; 2],
}

impl Devices {
    /// Sockets in the folder. Weir has vhost-user for vNICs only.
    pub fn of(over: Over, scenario: Scenario, weir: bool, folder: &Path) -> Result<Devices, Halt> {
        let path = |name: &str| folder.join(name).display().to_string();
        let (a, b) = (path("a.sock"), path("b.sock"));
        // Who takes frames from the wire takes those to its own address only.
        let mac = match scenario.is_from_wire() {
            true => format!(",mac={}", mac_text(PROVIDER_MAC)),
            false => String::new(),
        };
        let memif = |number: u32, path: &str, more: &str| {
            format!("net_memif{number},role=server,id=0,socket={path},socket-abstract=no{more}")
        };
        let (subject, scheme) = match over {
            Over::Memif => ([memif(0, &a, &mac), memif(1, &b, "")], "memif"),
            Over::Vhost if weir && scenario != Scenario::Local => {
                return Err(Halt::failed(
                    scenario.name(),
                    "Weir has vhost-user for vNICs, and one end of this scenario is the wire",
                    "measure it over memif, or local over vhost",
                ));
            }
            Over::Vhost if weir => {
                let server = |path: &str| format!("vhost-user-server:{path}");
                ([server(&a), server(&b)], "vhost-user")
            }
            Over::Vhost => {
                let vhost =
                    |number: u32, path: &str| format!("net_vhost{number},iface={path},queues=1");
                ([vhost(0, &a), vhost(1, &b)], "vhost-user")
            }
        };
        Ok(Devices {
            subject,
            rig: [format!("{scheme}:{a}"), format!("{scheme}:{b}")],
        })
    }
}

impl Devices {
    /// The same with memif's rings of 2^`bits` places, where it is memif.
    pub fn with_rings(self, bits: u8) -> Devices {
        let longer = |device: String| match device.contains("memif") {
            true => format!("{device},rsize={bits}"),
            false => device,
        };
        Devices {
            subject: self.subject.map(longer),
            rig: self.rig.map(longer),
        }
    }
}

/// The one of a subject's settings that is searched: testpmd's is the floor, of others it is the first.
pub fn setting(subject: &dyn Subject) -> String {
    let settings = subject.settings();
    let floor = settings.iter().find(|name| *name == FLOOR);
    floor.or(settings.first()).cloned().unwrap_or_default()
}

/// Refuses a scenario of which nothing comes back, or frames that do not fit: into a memif of Open vSwitch, that is, which believes the driver
/// that it carries 1518 bytes, where others ask what its rings hold.
pub fn check(
    scenario: Scenario,
    load: &Workload,
    over: Over,
    peers: &[String],
) -> Result<(), Halt> {
    let short = over == Over::Memif && peers.iter().any(|peer| peer == "ovs");
    match scenario.end(load) {
        End::Dropped => Err(Halt::failed(
            scenario.name(),
            "its packets are dropped, so that none comes back to the rig",
            "choose another scenario, or --hits uniform; weir bench measures what a drop costs",
        )),
        _ if short && NVGRE.contains(&scenario) && load.longest() > LONG => Err(Halt::failed(
            scenario.name(),
            format!(
                "a frame of {} bytes does not fit into 1518 with NVGRE's headers, and Open vSwitch sends no longer ones over memif",
                load.longest()
            ),
            format!("measure frames up to {LONG}, or another scenario, or without --vs ovs"),
        )),
        _ => Ok(()),
    }
}

/// Scenarios of which frames are 42 bytes longer on one side.
const NVGRE: [Scenario; 3] = [Scenario::NvgreEncap, Scenario::NvgreDecap, Scenario::Routed];

/// The switch, started by the rig or by the user, and the rig's two ports.
pub struct Between<'a> {
    tester: &'a Tester,
    running: Option<Box<dyn Running + 'a>>,
    out: Gate,
    back: Gate,
    core: u32,
    stop: &'a Stop,
    /// Percent of a trial that others may have a core.
    bound: f64,
    /// Trials that were thrown away.
    pub thrown_away: u32,
    /// Trials that count although they were disturbed, since all that repeated them were.
    pub disturbed: u32,
    /// Seconds of traffic so far.
    pub seconds: f64,
}

impl<'a> Between<'a> {
    /// Starts the subject on devices of its own and connects to them.
    pub fn start(
        tester: &'a Tester,
        subject: &dyn Subject,
        bench: &Bench<'a>,
        rig: &[String; 2],
        bound: f64,
    ) -> Result<Between<'a>, Halt> {
        let mut running = subject.start(bench)?;
        running.set(&setting(subject))?;
        // Open vSwitch has a queue for each of its threads, and sends by any of two: a memif's client says how many there are.
        let queues = if setting(subject).starts_with("ovs") {
            2
        } else {
            1
        };
        let mtu = bench.sink_mtu();
        let between = Between::open(tester, rig, queues, mtu, bench.core, bench.stop, bound);
        match between {
            Ok(between) => Ok(Between {
                running: Some(running),
                ..between
            }),
            Err(Halt::Failed(Fault {
                object, problem, ..
            })) => Err(running.trouble(&format!("does not connect: {object}: {problem}"))),
            Err(signal) => Err(signal),
        }
    }

    /// Connects to a switch that somebody else has started.
    pub fn open(
        tester: &'a Tester,
        rig: &[String; 2],
        rx_queues: u16,
        mtu: Option<u16>,
        core: u32,
        stop: &'a Stop,
        bound: f64,
    ) -> Result<Between<'a>, Halt> {
        let [out, back] = rig;
        let out = tester.connect(out, rx_queues, mtu, stop)?;
        let back = match tester.connect(back, rx_queues, mtu, stop) {
            Ok(back) => back,
            Err(halt) => {
                out.close()?;
                return Err(halt);
            }
        };
        Ok(Between {
            tester,
            running: None,
            out,
            back,
            core,
            stop,
            bound,
            thrown_away: 0,
            disturbed: 0,
            seconds: 0.0,
        })
    }

    /// The most frames a second that the lines carry, if they have a rate.
    pub fn line_rate(&self, mean_bytes: f64) -> Option<f64> {
        let rates = [&self.out, &self.back].map(|gate| gate.line_rate(mean_bytes));
        rates.into_iter().flatten().reduce(f64::min)
    }

    /// One trial, whatever disturbs it.
    pub fn once(&mut self, order: &Order) -> Result<Account, Halt> {
        self.seconds += order.seconds;
        self.tester
            .trial(&mut self.out, &mut self.back, order, self.stop)
    }

    /// A trial that counts, or one whose rate the rig cannot keep ([`Account::pace`] says so). Where the rig was held up, or others had the
    /// switch's core, what was lost may be nobody's fault: such a trial is thrown away and repeated, but for one that lost nothing, which no
    /// disturbance can have made better. If all were disturbed the least bad of them counts.
    pub fn trial(&mut self, order: &Order) -> Result<Account, Halt> {
        let mut best: Option<Account> = None;
        for _ in 0..TRIES {
            if let Some(running) = self.running.as_ref().filter(|it| !is_alive(it.process())) {
                return Err(running.trouble("has ended"));
            }
            let before = self.look()?;
            let began = Instant::now();
            let account = self.once(order)?;
            let took = began.elapsed().as_secs_f64();
            let others = match (before, self.look()?) {
                (Some(before), Some(after)) => 100.0 * after.since(&before) / took,
                _ => 0.0,
            };
            let disturbed = account.was_held_up() || others > self.bound;
            let counts = match account.pace() {
                Pace::Slow(_) => true,
                Pace::HeldUp => false,
                Pace::Kept if self.bound >= ANYTHING || !disturbed => true,
                Pace::Kept => account.lost_nothing() && !order.latency,
            };
            if counts {
                return Ok(account);
            }
            self.thrown_away += 1;
            best = match best {
                Some(best) if badness(&best, order) <= badness(&account, order) => Some(best),
                _ => Some(account),
            };
        }
        self.thrown_away = self.thrown_away.saturating_sub(1);
        self.disturbed += 1;
        best.ok_or_else(|| Halt::failed("bench", "there was no trial", ""))
    }

    /// The switch's process, if the rig started it.
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process())
    }

    /// Who else had the switch's core so far, if the rig started it.
    pub fn look(&self) -> Result<Option<Others>, Halt> {
        let running = self.running.as_ref();
        running
            .map(|running| Others::look(self.core, running.process()))
            .transpose()
    }

    /// Closes the rig's ports, then stops the switch if the rig started it.
    pub fn stop(self) -> Result<(), Halt> {
        let closed = self.out.close().and(self.back.close());
        if let Some(running) = self.running {
            running.stop()?;
        }
        closed
    }
}

/// How bad a trial that was disturbed is: first of all one that did not keep its rate, then what was lost, or of latencies how long it was
/// held up.
fn badness(account: &Account, order: &Order) -> f64 {
    let late = f64::from(u8::from(account.pace() != Pace::Kept));
    late * 1e3
        + match order.latency {
            true => account.longest_turn,
            false => account.loss(),
        }
}

/// Whether a process of ours has not ended: one that nobody has waited for yet is a zombie, proc(5).
fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

/// What a subject is started with, between the rig's ports.
pub fn bench<'a>(
    devices: &'a Devices,
    scenario: Scenario,
    load: Workload,
    cores: (u32, u32),
    folder: &'a Path,
    stop: &'a Stop,
    ask: &'a dyn crate::subject::Ask,
) -> Bench<'a> {
    let [source, sink] = &devices.subject;
    Bench {
        scenario,
        load,
        core: cores.0,
        helper: cores.1,
        huge: crate::machine::huge(),
        folder,
        ends: Ends::Between { source, sink },
        stop,
        ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Hits;

    #[test]
    fn each_side_names_the_same_sockets() {
        let folder = Path::new("/tmp/x");
        let memif = Devices::of(Over::Memif, Scenario::NvgreDecap, true, folder).unwrap();
        assert_eq!(memif.rig, ["memif:/tmp/x/a.sock", "memif:/tmp/x/b.sock"]);
        assert!(memif.subject[0].contains("socket=/tmp/x/a.sock,"));
        assert!(memif.subject[0].ends_with(",mac=02:70:63:61:70:00"));
        assert!(memif.subject[1].starts_with("net_memif1,role=server"));
        let long = memif.clone().with_rings(12);
        assert_eq!(long.rig[1], "memif:/tmp/x/b.sock,rsize=12");
        assert!(long.subject[1].ends_with("socket-abstract=no,rsize=12"));
        let vhost = |scenario, weir| Devices::of(Over::Vhost, scenario, weir, folder);
        let said = vhost(Scenario::L2, true).unwrap_err().to_string();
        assert!(said.contains("memif"), "{said}");
        let local = vhost(Scenario::Local, true).unwrap();
        assert_eq!(local.subject[1], "vhost-user-server:/tmp/x/b.sock");
        assert_eq!(local.rig[1], "vhost-user:/tmp/x/b.sock");
        assert_eq!(
            vhost(Scenario::L2, false).unwrap().subject[0],
            "net_vhost0,iface=/tmp/x/a.sock,queues=1"
        );
    }

    #[test]
    fn what_never_comes_back_is_refused_with_the_mend() {
        let check = |scenario, load: &Workload, peers: &[&str]| {
            let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
            check(scenario, load, Over::Memif, &peers).map_err(|halt| halt.to_string())
        };
        let miss = Workload {
            hits: Hits::Miss,
            ..Workload::default()
        };
        assert!(check(Scenario::NvgreEncap, &Workload::default(), &["ovs"]).is_ok());
        for (scenario, load) in [
            (Scenario::NvgreEncap, miss),
            (Scenario::Drop, Workload::default()),
        ] {
            let said = check(scenario, &load, &[]).unwrap_err();
            assert!(said.contains("--hits uniform"), "{said}");
        }
        let long = Workload {
            frame: crate::workload::Frame::Bytes(1518),
            ..Workload::default()
        };
        assert!(check(Scenario::L2, &long, &["testpmd", "ovs"]).is_ok());
        assert!(check(Scenario::NvgreEncap, &long, &["testpmd"]).is_ok());
        let said = check(Scenario::NvgreEncap, &long, &["testpmd", "ovs"]).unwrap_err();
        assert!(said.contains("1472"), "{said}");
    }
}
