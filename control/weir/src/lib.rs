//! Weir's command line, its daemon's main loop and the API over a Unix socket.
//!
//! Which question it answers: how a person, a script or a test talks to the switch. The way of a verb:
//!
//! ```text
//! cli (what was typed) → verbs → locate (which socket) → client ─ HTTP over the socket ─ server, routes → weir_agent::handle → control thread
//! cli → run → socket (lock, bind) → server, weir_agent::daemon; signals → Question::Stop
//! cli → vf: sysfs and netlink; asks daemons only what they have open
//! cli → doctor: reads the machine, asks a daemon if one answers
//! ```
//!
//! Nothing here touches a packet, a queue or a table: the server only carries questions to the control thread,
//! and every answer is one of the plain values of [`weir_agent::stats`].

pub mod bench;
pub mod cli;
pub mod client;
pub mod demo;
pub mod doctor;
pub mod failure;
pub mod locate;
pub mod notify;
pub mod output;
pub mod rates;
pub mod routes;
pub mod run;
pub mod server;
pub mod socket;
pub mod table;
pub mod top;
pub mod trace_view;
pub mod verbs;
pub mod vf;
pub mod views;
pub mod watch;
pub mod watch_routes;

use clap::Parser;
use cli::{Cli, Verb};
use failure::Failure;
use std::process::ExitCode;

/// Runs the command line of this process. Exit status: 0 done, 1 refused or failed, 2 usage.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A reader that has left is no reason to complain.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let json = cli.json();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// Carries out one parsed command line.
pub fn dispatch(cli: Cli) -> Result<(), Failure> {
    match cli.verb {
        Verb::Run(args) => run::run(args),
        Verb::Apply(args) => verbs::apply(args),
        Verb::Get(args) => verbs::get(args),
        Verb::Delete(args) => verbs::delete(args),
        Verb::Stats(args) => verbs::stats(args),
        Verb::Top(args) => top::run(args),
        Verb::Drops(args) => verbs::drops(args),
        Verb::Status(args) => verbs::status(args),
        Verb::Trace(args) => watch::trace(args),
        Verb::Capture(args) => watch::capture(args),
        Verb::Vf(args) => vf::run(args),
        Verb::Doctor(args) => doctor::run(args),
        Verb::Demo(args) => demo::run(args),
        Verb::Bench(args) => bench::run(*args),
    }
}
