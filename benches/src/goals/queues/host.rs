//! A host with its workers in this process, over devices of the rig.

use crate::eal::eal;
use crate::halt::Halt;
use crate::machine;
use rte::{Eal, Mbuf, Pool};
use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use weir_agent::config::host::HostConfig;
use weir_agent::crew::Crew;
use weir_agent::policy::Policy;
use weir_agent::ports::Handle;
use weir_agent::state::State;
use weir_agent::stats::PolicyError;
use weir_agent::tables::Tables;
use weir_tables::steering::Bucket;
use weir_wire::Mac;
use weir_worker::Command;
use weir_worker::run::Idle;

/// vNICs.
pub(super) const SENDERS: u64 = 8;
/// Bytes of a frame with its FCS.
pub(super) const FRAME: u16 = 64;
/// Mbufs of a host.
const MBUFS: u32 = 16_383;
/// How long what is on its way may take until it has ended.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

const PEER: &str = "02:bb:00:00:00:02/192.168.50.2";
const OWN: &str = "02:bb:00:00:00:01/192.168.50.1";
const FAR: &str = "02:01:00:00:00:00/10.1.0.0";

/// The MAC of a vNIC.
pub(super) fn mac(number: u64) -> Mac {
    Mac::from_u64(0x0200_0000_0001 + number)
}

/// What a worker has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Packets that devices have taken of it.
    pub(super) packets: u64,
    /// Those that it handed to others before any stage.
    steered: u64,
    dropped: u64,
    /// Cycles in which it moved packets, and in which it looked for some in vain.
    busy: u64,
    idle: u64,
}

impl Counts {
    /// What each did between two looks.
    pub(super) fn between(before: &[Counts], after: &[Counts]) -> Vec<Counts> {
        let less = |(before, after): (&Counts, &Counts)| Counts {
            packets: after.packets - before.packets,
            steered: after.steered - before.steered,
            dropped: after.dropped - before.dropped,
            busy: after.busy - before.busy,
            idle: after.idle - before.idle,
        };
        before.iter().zip(after).map(less).collect()
    }

    /// As a note has it, in so many seconds.
    pub(super) fn in_millions(&self, seconds: f64) -> String {
        let million = |packets: u64| packets as f64 / seconds / 1e6;
        let (packets, steered) = (million(self.packets), million(self.steered));
        let busy = 100.0 * self.busy as f64 / (self.busy + self.idle).max(1) as f64;
        format!(
            "{busy:.0}% busy, {packets:.2} sent, {steered:.2} steered, {:.2} dropped",
            million(self.dropped)
        )
    }
}

/// Such a host.
pub(super) struct Host {
    pub(super) state: State,
}

fn refused(errors: Vec<PolicyError>) -> Halt {
    let first = errors.first().map(ToString::to_string);
    Halt::failed("the rig's own files", first.unwrap_or_default(), "")
}

/// A device of each vNIC.
fn source(number: u64) -> String {
    let (mac, ca) = (mac(number), number + 2);
    format!("rig:senders=1,from={mac}/10.0.0.{ca},to={FAR},flood={FRAME}")
}

fn hole(number: u64) -> String {
    format!("rig:void={number}")
}

fn arrivals(receivers: u64) -> String {
    let first = mac(0);
    format!(
        "rig:arrivals={receivers},queues=2,frame={FRAME},vsid=5001,to={first}/10.0.0.2,from={FAR},peer={PEER},own={OWN}"
    )
}

impl Host {
    /// vNICs with a source each, and an uplink of which each worker has a queue.
    pub(super) fn with_sources(workers: usize) -> Result<Host, Halt> {
        Host::start(workers, &arrivals(0), source)
    }

    /// vNICs that get what comes by one queue.
    pub(super) fn with_one_queue(workers: usize) -> Result<Host, Halt> {
        Host::start(workers, &arrivals(SENDERS), hole)
    }

    /// vNICs with a source each, and an uplink whose queues overtake each other.
    pub(super) fn on_a_wire() -> Result<Host, Halt> {
        let wire = format!("rig:wire=2,senders={SENDERS},from={}", mac(0));
        Host::start(2, &wire, source)
    }

    fn start(workers: usize, uplink: &str, attach: fn(u64) -> String) -> Result<Host, Halt> {
        let cores = rte::available_cores();
        // The first is the last of the machine, as the one that is measured alone.
        let own: Vec<u32> = cores.iter().rev().take(workers).copied().collect();
        let (mac, _) = OWN.split_once('/').unwrap_or_default();
        let (peer, _) = PEER.split_once('/').unwrap_or_default();
        let host = format!(
            "name = \"h1\"\n[dataplane]\nworkers = {own:?}\nbalance = false\n[[uplink]]\nname = \"up0\"\ndevice = \"{uplink}\"\n\
             provider_addresses = [\"192.168.50.1/24\"]\nmac = \"{mac}\"\nmtu = 1600\nneighbors = {{ \"192.168.50.2\" = \"{peer}\" }}\n"
        );
        let host =
            HostConfig::parse(&host, "host.toml", Path::new("/"), &cores).map_err(refused)?;
        let eal = eal(machine::huge(), &[])?;
        let pool = pool(eal)?;
        let tables = Tables::new(7);
        let crew = Crew::start(eal, pool, &host.dataplane.workers, Idle::Poll, &tables.view)
            .map_err(|why| Halt::failed("the rig", why.to_string(), ""))?;
        let mut state = State::new(eal.clone(), pool, host, 2030, crew, tables);
        state.open_host_ports().map_err(refused)?;
        let policy = policy(attach);
        let policy =
            Policy::parse_for_host(&policy, "policy.toml", &state.host).map_err(refused)?;
        state.apply(policy, false).map_err(refused)?;
        Ok(Host { state })
    }

    /// The cores of its workers.
    pub(super) fn cores(&self) -> Vec<u32> {
        self.state.crew.books().map(|(core, _)| core).collect()
    }

    /// What each worker has done.
    pub(super) fn counts(&self) -> Vec<Counts> {
        let books = self.state.crew.books();
        let counts = books.map(|(_, cells)| Counts {
            packets: cells.sent.get() + cells.delivered.get(),
            steered: cells.steered_out.get(),
            dropped: cells.dropped.get(),
            busy: cells.busy_cycles.get(),
            idle: cells.idle_cycles.get(),
        });
        counts.collect()
    }

    /// Packets that devices have taken.
    pub(super) fn packets(&self) -> u64 {
        self.counts().iter().map(|counts| counts.packets).sum()
    }

    /// vNICs of the second worker.
    pub(super) fn owned_by_second(&self) -> u64 {
        let steering = &self.state.tables.view.steering;
        let owners = (0..SENDERS).map(|number| steering.owner(Bucket::of(mac(number))));
        owners.filter(|owner| owner.index() == 1).count() as u64
    }

    /// Has everything end, and says how many packets never came, came late or were dropped.
    pub(super) fn rest_and_count(&mut self) -> u64 {
        self.state.crew.tell_all(|| Command::Rest(true));
        let (since, mut before) = (Instant::now(), u64::MAX);
        while self.packets() != before && since.elapsed() < SETTLES_WITHIN {
            before = self.packets();
            std::thread::sleep(Duration::from_millis(20));
        }
        let wire = self
            .state
            .ports
            .values()
            .find_map(|open| match &open.handle {
                Handle::Wire(wire) => Some(wire.clone()),
                _ => None,
            });
        let came = wire.map(|wire| wire.came()).unwrap_or_default();
        let dropped: u64 = self
            .state
            .crew
            .books()
            .map(|(_, cells)| cells.dropped.get())
            .sum();
        let missing = self.packets().saturating_sub(came.frames);
        came.lost.max(missing) + came.reordered + came.strange + dropped
    }

    /// Ends it.
    pub(super) fn stop(self) -> Result<(), Halt> {
        let pool = self.state.pool;
        drop(self.state.stop());
        match pool.in_use() {
            0 => {
                put_in_order(pool);
                unused().push(pool);
                Ok(())
            }
            left => Err(Halt::failed(
                "the rig",
                format!("{left} mbufs did not come back"),
                "",
            )),
        }
    }
}

/// Pools of hosts that have ended, for those to come: DPDK's stay as long as the process does, and each takes 40 MB.
fn unused() -> MutexGuard<'static, Vec<Pool>> {
    static POOLS: Mutex<Vec<Pool>> = Mutex::new(Vec::new());
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pool as if nobody had used it.
fn pool(eal: &Arc<Eal>) -> Result<Pool, Halt> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    if let Some(pool) = unused().pop() {
        return Ok(pool);
    }
    let name = format!("queues{}", MADE.fetch_add(1, Ordering::Relaxed));
    Pool::create(eal, &name, MBUFS, 256, 2176, 0, None)
        .map_err(|why| Halt::failed("the rig", why.to_string(), "reserve more hugepages"))
}

/// Has a pool of which nothing is in use give its mbufs in the order of their addresses, as a new one does: what the next host is measured
/// with is not in the order in which the last one let go of it.
fn put_in_order(pool: Pool) {
    let mut all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    all.sort_by_key(|mbuf| mbuf.head().as_ptr());
    drop(all);
}

fn policy(attach: fn(u64) -> String) -> String {
    let mut text = String::from(
        "[[host]]\nname = \"h2\"\nprovider_addresses = [\"192.168.50.2\"]\n\
         [[vm_network]]\nname = \"rig\"\nisolation = \"nv\"\n\
         [[vm_network.subnet]]\nname = \"s0\"\nvsid = 5001\nprefixes = [\"10.0.0.0/8\"]\n\
         [[vnic]]\nname = \"far\"\nhost = \"h2\"\nsubnet = \"s0\"\nmac = \"02:01:00:00:00:00\"\naddresses = [\"10.1.0.0\"]\n",
    );
    for number in 0..SENDERS {
        let (mac, ca, attach) = (mac(number), number + 2, attach(number));
        let _ = write!(
            text,
            "[[vnic]]\nname = \"v{number}\"\nhost = \"h1\"\nsubnet = \"s0\"\nmac = \"{mac}\"\naddresses = [\"10.0.0.{ca}\"]\nattach = \"{attach}\"\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_given_on_as_if_it_were_new() {
        let eal = eal(false, &[]).expect("EAL");
        let pool = Pool::create(eal, "queues-order", 255, 0, 2176, 0, None).expect("a pool");
        let in_order = || {
            let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
            assert_eq!(all.len(), 255);
            all.iter().map(|mbuf| mbuf.head().as_ptr()).is_sorted()
        };
        assert!(in_order(), "a new one does");
        let mut all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
        all.reverse();
        drop(all);
        assert!(!in_order());
        put_in_order(pool);
        assert!(in_order());
        assert_eq!(pool.in_use(), 0);
    }
}
