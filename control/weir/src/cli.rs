//! What may be typed: verbs, options, help and examples.

pub mod top;
pub mod vf;
pub mod watch;

mod bench;
mod search;

pub use bench::{BandwidthArgs, BenchArgs, BenchVerb, CompareArgs, GoalsArgs, HowArgs};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use search::SearchArgs;
use std::path::PathBuf;
use top::TopArgs;
use vf::VfArgs;
use watch::{CaptureArgs, TraceArgs};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "Weir: a virtual switch in user space for hosts full of virtual machines",
    after_help = "Exit status: 0 done, 1 refused or failed, 2 usage.\n\
        A verb finds its daemon by --socket, --host, $WEIR_SOCKET, or the only socket in /run/weir.\n\n\
        Examples:\n  \
        weir doctor                            what is missing on this machine\n  \
        weir run --host host.toml              the daemon, until SIGTERM\n  \
        weir apply -f policy.toml --dry-run    what a policy would change\n  \
        weir drops                             why packets were dropped",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// Whether the answer, and a failure too, is to be printed as JSON.
    pub fn json(&self) -> bool {
        match &self.verb {
            Verb::Run(_) => false,
            Verb::Apply(args) => args.form.json(),
            Verb::Get(args) => args.form.json(),
            Verb::Delete(args) => args.form.json(),
            Verb::Stats(args) => args.form.json(),
            Verb::Top(args) => args.form.json(),
            Verb::Drops(args) | Verb::Status(args) => args.form.json(),
            Verb::Trace(args) => args.form.json(),
            Verb::Capture(args) => args.form.json(),
            Verb::Vf(args) => args.verb.form().json(),
            Verb::Doctor(args) => args.form.json(),
            Verb::Demo(args) => args.form.json(),
            Verb::Bench(args) => match &args.verb {
                Some(BenchVerb::Compare(verb)) => verb.form.json(),
                Some(BenchVerb::Goals(verb)) => verb.form.json(),
                Some(BenchVerb::Bandwidth(verb)) => verb.form.json(),
                Some(BenchVerb::Search(verb) | BenchVerb::Rfc2544(verb)) => verb.form.json(),
                None => args.form.json(),
            },
        }
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon in the foreground until SIGTERM or SIGINT
    Run(RunArgs),
    /// Make a file the whole policy: applied whole, or refused whole with every reason
    Apply(ApplyArgs),
    /// Show the objects of one kind, with their status
    Get(GetArgs),
    /// Take one object out of the policy
    Delete(DeleteArgs),
    /// Counters of workers, vNICs and uplinks
    Stats(StatsArgs),
    /// A live screen of vNICs and workers: rates, drops, what waits, share of the link
    Top(TopArgs),
    /// Dropped packets by reason, vNIC and tenant
    #[command(
        after_help = "Examples:\n  weir drops\n  weir drops -o json | jq '.[] | select(.tenant == \"blue\")'"
    )]
    Drops(QueryArgs),
    /// What the daemon runs, what it has applied, and what it refused
    #[command(
        after_help = "Examples:\n  weir status\n  weir status --socket /run/weir/h1.sock -o json"
    )]
    Status(QueryArgs),
    /// A packet's way: what each stage decided, and by which record, route or rule
    Trace(TraceArgs),
    /// Packets at any point of their way, as pcapng
    Capture(CaptureArgs),
    /// Virtual functions of SR-IOV NICs: list, create, set, bind, release
    Vf(VfArgs),
    /// What is missing on this machine, and the mend
    Doctor(DoctorArgs),
    /// Two hosts, two tenants, real traffic on this machine
    Demo(DemoArgs),
    /// Run scenarios of the measuring rig
    Bench(Box<BenchArgs>),
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables on a terminal, aligned columns elsewhere
    #[default]
    Text,
    /// The same values as JSON; field names are stable
    Json,
}

/// The choice of format, the same for every verb that prints.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct FormArgs {
    /// How to print
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub output: Format,
    /// The same as -o json
    #[arg(long = "json", conflicts_with = "output")]
    pub json_flag: bool,
}

impl FormArgs {
    /// Whether JSON is asked for, either way.
    pub fn json(&self) -> bool {
        self.json_flag || self.output == Format::Json
    }
}

/// Which daemon is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct DaemonArgs {
    /// The daemon's socket [default: $WEIR_SOCKET, else the only one in /run/weir]
    #[arg(long, value_name = "PATH", conflicts_with = "host")]
    pub socket: Option<PathBuf>,
    /// The daemon's host.toml, for the socket that it names
    #[arg(long, value_name = "FILE")]
    pub host: Option<PathBuf>,
}

/// `weir run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir run --host host.toml\n  weir run --host h2.toml --socket /tmp/h2.sock --log weir_agent=debug\n\n\
    One line on stderr says when it is ready; under systemd (Type=notify) it tells that too."
)]
pub struct RunArgs {
    /// What is true of this machine
    #[arg(long, value_name = "FILE")]
    pub host: PathBuf,
    /// Serve on this socket instead of the one that host.toml names
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to log on stderr: error, warn, info, debug, trace, or by part, such as weir_agent=debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
}

/// `weir apply`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir apply -f policy.toml --dry-run\n  weir apply -f policy.toml\n  generate | weir apply -f - -o json"
)]
pub struct ApplyArgs {
    /// The whole policy; - reads standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `weir get`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir get vnic\n  weir get vnic blue1\n  weir get peer -o json"
)]
pub struct GetArgs {
    /// The kind of object; its plural is understood too
    #[arg(value_enum)]
    pub kind: Kind,
    /// Only the one of that name
    pub name: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `weir delete`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir delete vnic blue1\n\nThe store's file is edited in place; its comments stay."
)]
pub struct DeleteArgs {
    /// The kind of object
    #[arg(value_enum)]
    pub kind: Kind,
    /// Its name
    pub name: String,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `weir stats`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir stats\n  weir stats --watch         rates, every second\n  weir stats --watch 0.2 -o json    one object a line, five a second"
)]
pub struct StatsArgs {
    /// Again every so many seconds, with rates
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    pub watch: Option<f64>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `weir drops` and `weir status`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}

/// `weir doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir doctor\n  weir doctor --host host.toml    checks what this file asks for, too\n\n\
    Exit status 0 if nothing is broken; warnings are no failure."
)]
pub struct DoctorArgs {
    /// Look at this daemon [default: $WEIR_SOCKET, else the only one in /run/weir]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Check what this host.toml asks for, and its daemon
    #[arg(long, value_name = "FILE")]
    pub host: Option<PathBuf>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// `weir demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  weir demo\n  weir demo --seconds 10 --json\n\nNeeds root. Leaves nothing behind, also on Ctrl-C."
)]
pub struct DemoArgs {
    /// How long each measurement of a rate takes, in seconds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Leave namespaces and daemons running, and say how to look at them and how to end them
    #[arg(long)]
    pub keep: bool,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
}

/// The kinds of objects that a daemon knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// A host of the policy
    #[value(alias = "hosts")]
    Host,
    /// A worker of this host, by its core
    #[value(alias = "workers")]
    Worker,
    /// A switch of a host
    #[value(alias = "switches")]
    Switch,
    /// A tenant's network
    #[value(aliases = ["vm_networks", "vm-network", "vm-networks"])]
    VmNetwork,
    /// A virtual subnet
    #[value(alias = "subnets")]
    Subnet,
    /// A customer route
    #[value(alias = "routes")]
    Route,
    /// A traffic class
    #[value(aliases = ["traffic_classes", "traffic-class", "traffic-classes"])]
    TrafficClass,
    /// A virtual NIC
    #[value(alias = "vnics")]
    Vnic,
    /// An uplink of this host
    #[value(alias = "uplinks")]
    Uplink,
    /// A trunk of this host
    #[value(alias = "trunks")]
    Trunk,
    /// Another host's provider address
    #[value(alias = "peers")]
    Peer,
}

impl Kind {
    /// The name that the control thread and the API know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Host => "host",
            Kind::Worker => "worker",
            Kind::Switch => "switch",
            Kind::VmNetwork => "vm_network",
            Kind::Subnet => "subnet",
            Kind::Route => "route",
            Kind::TrafficClass => "traffic_class",
            Kind::Vnic => "vnic",
            Kind::Uplink => "uplink",
            Kind::Trunk => "trunk",
            Kind::Peer => "peer",
        }
    }

    /// The kind of exactly that name; none if there is none.
    pub fn named(name: &str) -> Option<Kind> {
        Kind::value_variants()
            .iter()
            .copied()
            .find(|kind| kind.as_str() == name)
    }
}

/// A span between 10 ms and a day, in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("write seconds between 0.01 and 86400, such as 1 or 0.5".into()),
    }
}
