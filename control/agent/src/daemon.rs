//! The control thread: questions, the store's changes and the provider's neighbours, one after another. What
//! it does never stops a packet.

mod reload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use rte::{Eal, EalConfig, LogLevel, Memory, Pool};
use weir_worker::run::Idle;

use crate::config::device::Device;
use crate::config::host::{self, HostConfig, Hugepages};
use crate::crew::Crew;
use crate::halt::Halt;
use crate::handle::{Answer, Handle, Question, Questions};
use crate::observe::Watching;
use crate::packet_socket;
use crate::policy::Policy;
use crate::state::State;
use crate::stats::{ChurnReport, PolicyError, Status};
use crate::store::{self, Store};
use crate::tables::{Tables, seed};
use reload::Recall;

/// How long the control thread sleeps when nobody asks it anything.
const TICK: Duration = Duration::from_millis(5);
/// Mbufs of the pool unless host.toml says it: what 32 devices of 256 packets each and their queues need. 2^n - 1 wastes least.
const MBUFS: u32 = 16_383;
/// Mbufs that each worker keeps for itself.
const CACHE: u32 = 256;
/// Bytes for a packet in an mbuf, at least: what virtio and most drivers ask for.
const DATA_ROOM: u16 = 2048;

/// A running daemon.
pub struct Daemon {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Daemon {
    /// Starts everything, and applies what the store holds; what is wrong with the store's content is in `status`,
    /// what is wrong with the host ends it.
    pub fn start(config: HostConfig) -> Result<Daemon, Vec<PolicyError>> {
        Daemon::start_unless(config, Halt::default())
    }

    /// As [`Daemon::start`], unless that is asked to end meanwhile: then what was opened is closed again, and
    /// [`crate::halt::is_halted`] knows what is returned.
    pub fn start_unless(config: HostConfig, halt: Halt) -> Result<Daemon, Vec<PolicyError>> {
        let (handle, questions) = Handle::new();
        let (said, started) = std::sync::mpsc::channel();
        let origin = config.origin.clone();
        let thread = std::thread::Builder::new()
            .name("weir-control".into())
            .spawn(move || match start(config, halt) {
                Ok(mut control) => {
                    let _ = said.send(Ok(()));
                    control.serve(&questions);
                    control.stop();
                }
                Err(errors) => {
                    let _ = said.send(Err(errors));
                }
            })
            .map_err(|error| {
                whole(
                    &origin,
                    &format!("no thread: {error}"),
                    "raise the limit of processes",
                )
            })?;
        match started.recv() {
            Ok(Ok(())) => Ok(Daemon { handle, thread }),
            Ok(Err(errors)) => Err(errors),
            Err(_) => Err(whole(
                &origin,
                "the control thread ended as it started",
                "see the log",
            )),
        }
    }

    /// The door to the control thread.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the end after [`Question::Stop`].
    pub fn join(self) -> anyhow::Result<()> {
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the control thread panicked"))
    }
}

/// A refusal that is about the whole of host.toml.
fn whole(origin: &str, problem: &str, mend: &str) -> Vec<PolicyError> {
    vec![PolicyError {
        file: origin.to_owned(),
        line: None,
        object: "the host".into(),
        problem: problem.to_owned(),
        mend: mend.to_owned(),
    }]
}

struct Control {
    state: State,
    store: Box<dyn Store>,
    changed: Arc<AtomicBool>,
    recall: Recall,
    _watch: Option<store::Watch>,
}

fn start(config: HostConfig, halt: Halt) -> Result<Control, Vec<PolicyError>> {
    let origin = config.origin.clone();
    halt.check(&origin)?;
    let absent = config.check_ports();
    if !absent.is_empty() {
        return Err(absent);
    }
    let largest_mtu = largest_mtu(&config);
    let data_room = rte::HEADROOM + DATA_ROOM.max(round_up(largest_mtu + 18));
    let mbufs = config.dataplane.mbufs.unwrap_or(MBUFS);
    let eal = Eal::init(eal_config(&config, mbufs, data_room)).map_err(|e| {
        whole(
            &origin,
            &e.to_string(),
            "see `weir doctor`; dataplane.hugepages = \"none\" runs without hugepages",
        )
    })?;
    let pool = Pool::create(&eal, "weir", mbufs, CACHE, data_room, 0, None).map_err(|e| {
        let mend = format!(
            "reserve hugepages (echo {} > /proc/sys/vm/nr_hugepages), lower dataplane.mbufs, or set dataplane.hugepages = \"none\"",
            megabytes(mbufs, data_room).div_ceil(2)
        );
        whole(&origin, &e.to_string(), &mend)
    })?;
    let eal = Arc::new(eal);
    halt.check(&origin)?;
    let tables = Tables::new(seed());
    let idle = match config.dataplane.idle {
        host::Idle::Poll => Idle::Poll,
        host::Idle::Adaptive => Idle::Adaptive,
    };
    let crew =
        Crew::start(&eal, pool, &config.dataplane.workers, idle, &tables.view).map_err(|e| {
            whole(
                &origin,
                &e.to_string(),
                "name cores in dataplane.workers that this process may use",
            )
        })?;
    let mut store = store::open(&config.store, config.pulling.answer_delay);
    let changed = Arc::new(AtomicBool::new(true));
    let flag = changed.clone();
    let watch = store.watch(Box::new(move || flag.store(true, Ordering::Release)));
    let largest_mtu = usize::from(data_room - rte::HEADROOM - 18);
    let mut state = State::new(eal, pool, config, largest_mtu, crew, tables);
    state.halt = halt.clone();
    let watch = match watch {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(
                "{error}: changes of the policy file will not be seen; use `weir apply`"
            );
            None
        }
    };
    if let Err(errors) = state.open_host_ports() {
        for (device, opened) in std::mem::take(&mut state.opening) {
            if let Err(problem) = opened.handle.close(opened.rx, opened.tx) {
                tracing::warn!(%device, problem, "the port did not close");
            }
        }
        finish(state.stop());
        return Err(errors);
    }
    state.tend_links();
    let (recall, kept) = Recall::open(&state.host);
    changed.store(false, Ordering::Release);
    let mut control = Control {
        state,
        store,
        changed,
        recall,
        _watch: watch,
    };
    control.begin(kept);
    if let Err(halted) = halt.check(&origin) {
        control.stop();
        return Err(halted);
    }
    Ok(control)
}

/// The largest MTU that host.toml asks for, in bytes. What a packet socket's ring frame holds counts too: its driver
/// refuses mbufs that are smaller.
fn largest_mtu(config: &HostConfig) -> u16 {
    let uplinks = config
        .uplinks
        .iter()
        .map(|uplink| (&uplink.device, uplink.mtu));
    let trunks = config.trunks.iter().map(|trunk| (&trunk.device, trunk.mtu));
    let each = uplinks
        .chain(trunks)
        .filter_map(|(device, mtu)| mtu.max(packet_socket::frame(device)));
    each.max().unwrap_or(0)
}

/// To whole cache lines.
fn round_up(bytes: u16) -> u16 {
    bytes.div_ceil(64).saturating_mul(64)
}

/// Memory that the pool needs, in MB, with what EAL and drivers take besides.
fn megabytes(mbufs: u32, data_room: u16) -> u32 {
    let each = u64::from(data_room) + 128 + 64;
    64 + (u64::from(mbufs) * each / (1 << 20)) as u32
}

fn eal_config(config: &HostConfig, mbufs: u32, data_room: u16) -> EalConfig {
    let needed = megabytes(mbufs, data_room);
    let huge = match config.dataplane.hugepages {
        Hugepages::None => false,
        Hugepages::Auto => free_huge_megabytes() >= needed,
        Hugepages::TwoMegabytes | Hugepages::OneGigabyte => true,
    };
    if !huge && config.dataplane.hugepages == Hugepages::Auto {
        tracing::info!(
            "fewer than {needed} MB of hugepages are free: going on with ordinary memory, which is slower; mend: echo {} > /proc/sys/vm/nr_hugepages",
            needed.div_ceil(2)
        );
    }
    let devices = config
        .uplinks
        .iter()
        .map(|u| &u.device)
        .chain(config.trunks.iter().map(|t| &t.device));
    let allow: Vec<String> = devices
        .filter_map(|device| match device {
            Device::Pci(address) => Some(address.clone()),
            _ => None,
        })
        .collect();
    let mut extra = match config.dataplane.hugepages {
        Hugepages::TwoMegabytes => vec!["--huge-dir".into(), "/dev/hugepages".into()],
        _ => Vec::new(),
    };
    let token = config.dataplane.vf_token.as_ref();
    extra.extend(token.map(|token| format!("--vfio-vf-token={}", token.secret())));
    EalConfig {
        memory: if huge {
            Memory::Huge
        } else {
            Memory::NoHuge { megabytes: needed }
        },
        file_prefix: format!("weir-{}-{}", config.name, std::process::id()),
        pci: !allow.is_empty(),
        allow,
        single_file_segments: huge,
        log_level: Some(LogLevel::Warning),
        extra,
    }
}

/// Free hugepages of all sizes, in MB.
fn free_huge_megabytes() -> u32 {
    let Ok(sizes) = std::fs::read_dir("/sys/kernel/mm/hugepages") else {
        return 0;
    };
    let number = |path: std::path::PathBuf| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let megabytes = sizes.flatten().filter_map(|size| {
        let name = size.file_name().into_string().ok()?;
        let kilobytes: u64 = name
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        Some(number(size.path().join("free_hugepages"))? * kilobytes / 1024)
    });
    megabytes.sum::<u64>() as u32
}

fn watching(begun: Result<Watching, Vec<PolicyError>>) -> Answer {
    match begun {
        Ok(watching) => Answer::Watching(watching),
        Err(errors) => Answer::Refused(errors),
    }
}

fn churning(report: Result<ChurnReport, Vec<PolicyError>>) -> Answer {
    match report {
        Ok(report) => Answer::Churn(report),
        Err(errors) => Answer::Refused(errors),
    }
}

impl Control {
    fn serve(&mut self, questions: &Questions) {
        let mut pause = TICK;
        loop {
            match questions.recv_timeout(pause) {
                Ok((Question::Stop, reply)) => {
                    let _ = reply.send(Answer::Stopping);
                    return;
                }
                Ok((question, reply)) => {
                    let _ = reply.send(self.answer(question));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.changed.swap(false, Ordering::AcqRel) {
                self.reload();
            }
            if self.state.tend_links() && !self.state.errors.is_empty() {
                // What was refused for a capacity may be fine now.
                self.changed.store(true, Ordering::Release);
            }
            self.state.tend_neighbors();
            self.state.tend_misses(&mut *self.store);
            self.state.tend_observers();
            self.state.tend_iov();
            self.state.tend_balance();
            pause = self.state.tend_churn().map_or(TICK, |due| due.min(TICK));
        }
    }

    fn answer(&mut self, question: Question) -> Answer {
        match question {
            Question::Apply {
                text,
                origin,
                dry_run,
            } => self.apply(&text, &origin, dry_run),
            Question::Get { kind, name } => self.get(&kind, name.as_deref()),
            Question::Delete { kind, name } => match self.store.without(&kind, &name) {
                Ok(text) => {
                    let origin = self.store.origin();
                    self.apply(&text, &origin, false)
                }
                Err(error) => Answer::Refused(vec![error.refusal()]),
            },
            Question::Stats => Answer::Stats(self.state.stats()),
            Question::Drops => Answer::Drops(self.state.drops()),
            Question::Top(since) => Answer::Top(self.state.top(since)),
            Question::Status => Answer::Status(Status {
                last_good: self.recall.told(),
                ..self.state.status(&self.store.describe())
            }),
            Question::Capture(wish) => watching(self.state.capture(&wish)),
            Question::Trace(of) => watching(self.state.trace(&of)),
            Question::Imagine(wish) => match self.state.imagine(&wish) {
                Ok(trace) => Answer::Imagined(Box::new(trace)),
                Err(errors) => Answer::Refused(errors),
            },
            Question::BeginChurn(wish) => churning(self.state.begin_churn(&wish)),
            Question::Churn => churning(self.state.churn()),
            Question::EndChurn => {
                self.state.end_churn("it was to end");
                churning(self.state.churn())
            }
            Question::Traffic(wish) => match self.state.traffic(&wish) {
                Ok(report) => Answer::Traffic(report),
                Err(errors) => Answer::Refused(errors),
            },
            Question::TrafficLog => match self.state.traffic_log() {
                Ok(log) => Answer::TrafficLog(log),
                Err(errors) => Answer::Refused(errors),
            },
            Question::Unwatch(id) => Answer::Unwatched(self.state.end_observer(id)),
            Question::Measure(wish) => Answer::Measured(self.state.measure(wish)),
            Question::Stop => Answer::Stopping,
        }
    }

    /// Carries a policy out and makes it the store's content.
    fn apply(&mut self, text: &str, origin: &str, dry_run: bool) -> Answer {
        let policy = match Policy::parse_for_host(text, origin, &self.state.host) {
            Ok(policy) => policy,
            Err(errors) => return Answer::Refused(errors),
        };
        let before = self.state.policy.clone();
        let report = match self.state.apply(policy, dry_run) {
            Ok(report) => report,
            Err(errors) => return Answer::Refused(errors),
        };
        if dry_run {
            return Answer::Applied(report);
        }
        match self.store.replace(text) {
            Ok(mark) => self.keep(mark),
            Err(error) => {
                // The store is the truth: what it does not hold is not true here either.
                if let Err(errors) = self.state.make_true(before) {
                    self.state.errors = errors;
                }
                return Answer::Refused(vec![error.refusal()]);
            }
        }
        self.state.errors.clear();
        Answer::Applied(report)
    }

    fn get(&self, kind: &str, name: Option<&str>) -> Answer {
        let refused = |problem: String, mend: &str| {
            Answer::Refused(vec![PolicyError {
                file: self.store.origin(),
                line: None,
                object: format!("get {kind}"),
                problem,
                mend: mend.to_owned(),
            }])
        };
        match (self.state.objects(kind, name), name) {
            (None, _) => refused(
                format!("there is no kind \"{kind}\""),
                "ask for host, worker, switch, vm_network, subnet, route, traffic_class, vnic, uplink, trunk or peer",
            ),
            (Some(objects), Some(name)) if objects.is_empty() => refused(
                format!("there is no {kind} \"{name}\""),
                &format!("`weir get {kind}` lists those that are there"),
            ),
            (Some(objects), _) => Answer::Objects(objects),
        }
    }

    fn stop(self) {
        drop(self._watch);
        finish(self.state.stop());
    }
}

fn finish(eal: Arc<Eal>) {
    if let Ok(eal) = Arc::try_unwrap(eal) {
        eal.cleanup();
    }
}
