//! What it was measured on, and who else had the core.

use crate::halt::Halt;
use crate::process;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::read_to_string;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Ticks of /proc/stat a second: USER_HZ, which is 100 wherever Weir runs.
pub(crate) const USER_HZ: f64 = 100.0;
/// How long the TSC is held against the clock: one part in a million of it is 0.2 µs.
const CALIBRATION: Duration = Duration::from_millis(200);
/// Free hugepages, in MB, from which on every subject uses them; below, none does.
const HUGE_ENOUGH: u64 = 256;

/// The machine, as a reader of the figures needs it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that the kernel has.
    pub cores: usize,
    /// The core that every subject was measured on.
    pub core: u32,
    /// Cycles of the TSC a second.
    pub tsc_hz: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The version of libdpdk, which Weir and Debian's peers share.
    pub dpdk: Option<String>,
    /// The version of Open vSwitch, if it was measured.
    pub ovs: Option<String>,
    /// Versions of peers that came as programs of their own, where they say one.
    #[serde(default)]
    pub peers: BTreeMap<String, String>,
    /// The version of Weir.
    pub weir: String,
    /// Hugepages reserved, such as `256 x 2048 kB`, or `none used`.
    pub hugepages: String,
}

impl Machine {
    /// Looks at this machine, for 0.2 s.
    pub fn look(core: u32) -> Machine {
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = field(&cpuinfo, "model name")
            .unwrap_or("unknown")
            .to_string();
        let stat = read_to_string("/proc/stat").unwrap_or_default();
        let a_core = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let dpdk = process::run(Command::new("pkg-config").args(["--modversion", "libdpdk"]));
        Machine {
            cpu,
            cores: stat.lines().filter(a_core).count(),
            core,
            tsc_hz: tsc_hz(),
            kernel: read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_string(),
            dpdk: dpdk.ok().map(|text| text.trim().to_string()),
            ovs: None,
            peers: BTreeMap::new(),
            weir: env!("CARGO_PKG_VERSION").to_string(),
            hugepages: hugepages(),
        }
    }
}

/// The value of a `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// Cycles of the TSC a second, held against the kernel's clock.
fn tsc_hz() -> u64 {
    let (began, from) = (Instant::now(), rte::clock::tsc());
    thread::sleep(CALIBRATION);
    let (took, cycles) = (began.elapsed(), rte::clock::tsc().wrapping_sub(from));
    (cycles as f64 / took.as_secs_f64()) as u64
}

/// Whether subjects are to use hugepages: all of them or none.
pub fn huge() -> bool {
    let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
    let number = |name| {
        field(&meminfo, name)
            .and_then(|v| v.split(' ').next())
            .and_then(|v| v.parse::<u64>().ok())
    };
    let (free, size) = (
        number("HugePages_Free").unwrap_or(0),
        number("Hugepagesize").unwrap_or(0),
    );
    free * size / 1024 >= HUGE_ENOUGH
}

fn hugepages() -> String {
    let meminfo = read_to_string("/proc/meminfo").unwrap_or_default();
    match (
        field(&meminfo, "HugePages_Total"),
        field(&meminfo, "Hugepagesize"),
    ) {
        (Some(total), Some(size)) if huge() => format!("{total} x {size}"),
        _ => "none used".to_string(),
    }
}

/// Who else had the measured cores, up to now: the hypervisor (steal), and whoever made threads of the subject wait.
#[derive(Clone, Debug)]
pub struct Others {
    /// Seconds of each core.
    steal: Vec<f64>,
    /// Of each thread of the subject: seconds it ran, seconds it waited for a core.
    threads: HashMap<String, (f64, f64)>,
}

impl Others {
    /// Looks now.
    pub fn look(core: u32, process: u32) -> Result<Others, Halt> {
        Others::look_at(&[core], process)
    }

    /// Looks now at a subject that has a worker on each of these cores.
    pub fn look_at(cores: &[u32], process: u32) -> Result<Others, Halt> {
        let stat = read_to_string("/proc/stat").map_err(|error| Halt::io("/proc/stat", &error))?;
        let mut threads = HashMap::new();
        let tasks = std::fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            // A kernel without scheduler statistics, or a thread that has just ended, says nothing.
            if let Some(times) = read_to_string(task.path().join("schedstat"))
                .ok()
                .as_deref()
                .and_then(waited)
            {
                threads.insert(task.file_name().to_string_lossy().into_owned(), times);
            }
        }
        Ok(Others {
            steal: cores.iter().map(|core| steal(&stat, *core)).collect(),
            threads,
        })
    }

    /// Seconds that others had the core since `before`: stolen, and waited for by the thread that ran the most. Of several cores
    /// those of the one, and of the thread, that lost the most.
    pub fn since(&self, before: &Others) -> f64 {
        let steals = self.steal.iter().zip(&before.steal);
        let stolen = steals.map(|(now, then)| now - then).fold(0.0, f64::max);
        let ran = self.threads.iter().filter_map(|(thread, now)| {
            let then = before.threads.get(thread)?;
            Some((now.0 - then.0, now.1 - then.1))
        });
        let mut ran: Vec<(f64, f64)> = ran.collect();
        // Those that ran the most are the workers.
        ran.sort_by(|a, b| b.0.total_cmp(&a.0));
        let workers = ran.iter().take(self.steal.len());
        stolen + workers.map(|(_, waited)| *waited).fold(0.0, f64::max)
    }
}

/// Seconds stolen from a core: proc(5), the eighth number of its line.
fn steal(stat: &str, core: u32) -> f64 {
    let name = format!("cpu{core}");
    let line = stat
        .lines()
        .find(|line| line.split(' ').next() == Some(&name));
    let ticks = line
        .and_then(|line| line.split_whitespace().nth(8))
        .and_then(|ticks| ticks.parse::<f64>().ok());
    ticks.unwrap_or(0.0) / USER_HZ
}

/// Seconds run and waited: the first two numbers of a schedstat, in nanoseconds.
fn waited(schedstat: &str) -> Option<(f64, f64)> {
    let mut numbers = schedstat
        .split_whitespace()
        .filter_map(|number| number.parse::<f64>().ok());
    Some((numbers.next()? / 1e9, numbers.next()? / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_and_waited_time_are_of_the_core_and_of_the_busiest_thread() {
        let stat = "cpu  1 1 1 1 1 1 1 999 0 0\ncpu0 1 1 1 1 1 1 1 7 0 0\ncpu1 1 1 1 1 1 1 1 250 0 0\nintr 5\n";
        assert_eq!(
            (steal(stat, 1), steal(stat, 0), steal(stat, 9)),
            (2.5, 0.07, 0.0)
        );
        assert_eq!(waited("2000000000 500000000 7\n"), Some((2.0, 0.5)));
        let at = |steal, poller, helper| Others {
            steal: vec![steal],
            threads: HashMap::from([("1".to_string(), poller), ("2".to_string(), helper)]),
        };
        let before = at(1.0, (1.0, 0.0), (0.0, 0.0));
        let after = at(1.25, (3.0, 0.5), (0.1, 7.0));
        assert_eq!(after.since(&before), 0.75);
        // Two workers, of whom the second lost more.
        let two = |steal: [f64; 2], all: [(f64, f64); 3]| Others {
            steal: steal.to_vec(),
            threads: (0..).map(|it: i32| it.to_string()).zip(all).collect(),
        };
        let before = two([1.0, 1.0], [(1.0, 0.0), (1.0, 0.0), (0.0, 0.0)]);
        let after = two([1.25, 1.5], [(3.0, 0.5), (2.9, 0.75), (0.1, 7.0)]);
        assert_eq!(after.since(&before), 0.5 + 0.75);
    }

    #[test]
    fn the_tsc_runs() {
        assert!(tsc_hz() > 1_000_000);
        assert!(Machine::look(0).cores > 0);
    }
}
