//! `weir demo`: two hosts, two tenants with the same addresses and MACs, real kernels' traffic over NVGRE.
//!
//! ```text
//! run → needs (root, tools) → world (namespaces, veths, files) → daemons → steps, spoof → balance → report
//! ```
//!
//! Everything that is set up is owned by a value that takes it down when it goes: `World`,
//! `Daemon`, `Guarded`. A signal is only a word that every wait looks for (`Stop`), so
//! that the way out is the same after Ctrl-C, after a failed step and after a good end.

mod balance;
mod command;
mod daemons;
mod kept;
mod marks;
mod needs;
mod plan;
mod progress;
mod report;
mod spoof;
mod steps;
mod stop;
mod traffic;
mod world;

use crate::cli::DemoArgs;
use crate::failure::Failure;
use crate::output::Out;
use daemons::Daemon;
use progress::Progress;
use report::{Check, Report};
use steps::{Checks, Lab};
use stop::{Halt, Stop};
use traffic::Transport;
use world::World;

/// Runs the demo. Ok only if every check is.
pub fn run(args: DemoArgs) -> Result<(), Failure> {
    let json = args.form.json();
    let mut show = Show {
        progress: Progress::new(),
        report: Report::default(),
    };
    if let Err(problem) = needs::check() {
        if !json {
            return Err(Failure::one("demo", problem.what, problem.mend));
        }
        let detail = format!("{}; {}", problem.what, problem.mend);
        show.report.checks.push(Check::new("needs", false, detail));
        Out::stdout(true).json(&show.report)?;
        return Err(Failure::Reported);
    }
    let stop = Stop::on_signals()
        .map_err(|error| Failure::one("demo", format!("signals cannot be caught: {error}"), ""))?;
    let kept = play(&args, &stop, &mut show);
    show.progress.finish();
    show.report.print(&mut Out::stdout(json))?;
    if let Some(kept) = kept {
        kept.explain();
    }
    if show.report.ok() {
        Ok(())
    } else {
        Err(Failure::Reported)
    }
}

/// Progress and what was found so far.
struct Show {
    progress: Progress,
    report: Report,
}

impl Show {
    /// Does a step, and says how it went. Fails if it could not be done.
    fn step(&mut self, name: &str, work: impl FnOnce() -> Checks) -> Result<(), Halt> {
        self.progress.begin(name);
        match work() {
            Ok(checks) => {
                let bad: Vec<&str> = checks
                    .iter()
                    .filter(|check| !check.ok)
                    .map(|check| &*check.name)
                    .collect();
                let detail = match checks.as_slice() {
                    _ if !bad.is_empty() => bad.join(", "),
                    [only] => only.detail.clone(),
                    _ => String::new(),
                };
                self.progress.end(bad.is_empty(), &detail);
                self.report.checks.extend(checks);
                Ok(())
            }
            Err(halt) => {
                self.progress.end(false, &halt.to_string());
                let check = Check::new(name, false, halt.to_string());
                self.report.checks.push(check);
                Err(halt)
            }
        }
    }
}

/// The whole play. What it set up is gone when it returns, unless all is to be kept, which is then returned.
fn play(args: &DemoArgs, stop: &Stop, show: &mut Show) -> Option<kept::Kept> {
    let mut world = match World::new() {
        Ok(world) => world,
        Err(halt) => {
            let check = Check::new("build two hosts", false, halt.to_string());
            show.report.checks.push(check);
            return None;
        }
    };
    let mut daemons = Vec::new();
    let acts = acts(args, stop, show, &mut world, &mut daemons);
    if args.keep && !matches!(acts, Err(Halt::Signal(_))) {
        let daemons = daemons.into_iter().map(|d| (d.host, d.keep())).collect();
        return Some(kept::Kept::new(daemons, world));
    }
    show.progress.begin("clean up");
    drop(daemons);
    let left = world.take_down();
    show.progress.end(left.is_empty(), &left.join(", "));
    let detail = match left.as_slice() {
        [] => "namespaces, processes and files are gone".to_string(),
        left => format!("left behind: {}", left.join(", ")),
    };
    show.report
        .checks
        .push(Check::new("clean up", left.is_empty(), detail));
    None
}

fn acts(
    args: &DemoArgs,
    stop: &Stop,
    show: &mut Show,
    world: &mut World,
    daemons: &mut Vec<Daemon>,
) -> Result<(), Halt> {
    show.step(
        "build two hosts and two tenants in network namespaces",
        || world.build(needs::cores(), stop).map(|()| Vec::new()),
    )?;
    show.step("start two daemons", || {
        daemons::start_all(world, !args.keep, stop, daemons)?;
        let names: Vec<&str> = daemons.iter().map(|daemon| daemon.host).collect();
        let detail = format!("{} answer and have found each other", names.join(" and "));
        Ok(vec![Check::new("daemons", true, detail)])
    })?;
    let lab = Lab {
        world,
        daemons,
        stop,
        seconds: args.seconds,
    };
    show.step("ping between the tenants' kernels", || steps::reach(&lab))?;
    show.step("keep the tenants apart", || steps::apart(&lab))?;
    show.step("tell the tenants' packets apart by their marks", || {
        steps::marked(&lab)
    })?;
    show.step("drop what is spoofed", || spoof::spoof(&lab))?;
    for transport in [Transport::Tcp, Transport::Udp] {
        for tenant in plan::TENANTS {
            let name = format!("measure {} of {}", transport.name(), tenant.name);
            show.step(&name, || steps::rate(&lab, tenant, transport))?;
        }
    }
    let mut hosts = Vec::new();
    show.step("account for every packet", || {
        let mut checks = Vec::new();
        for daemon in lab.daemons {
            let (host, balanced) = balance::host(daemon, stop)?;
            hosts.push((daemon.host, host));
            checks.extend(balanced);
        }
        Ok(checks)
    })?;
    show.report.hosts.extend(hosts);
    if args.keep {
        return Ok(());
    }
    show.step("end both daemons with SIGTERM", || {
        Ok(daemons.iter_mut().map(|d| balance::end(d, world)).collect())
    })
}
