//! What may be typed to watch.

use super::{DaemonArgs, FormArgs, seconds};
use crate::top::column::Column;
use clap::Args;

/// `weir top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: q quits; / filters by vNIC or tenant, Esc shows all again; < and > choose the column that is sorted by, r reverses; arrows, PgUp, PgDn,\n\
    Home and End scroll; w hides the workers; p stands still.\n\n\
    Rates are in bit/s (sent, recv) and packets/s; sent is what a VM sends, link% that of what its uplink carries.\n\n\
    Examples:\n  weir top\n  weir top --sort dropped --filter blue\n  weir top -o json | jq '.vnics[] | select(.dropped_packets_per_second > 0)'\n\n\
    To a pipe, with -o json and on a dumb terminal it prints one sample, of one interval."
)]
pub struct TopArgs {
    /// How often the figures are new, in seconds
    #[arg(short = 'd', long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: f64,
    /// The column that is sorted by
    #[arg(
        short = 's',
        long,
        value_name = "COLUMN",
        value_enum,
        default_value = "sent"
    )]
    pub sort: Column,
    /// Only vNICs whose name, or tenant's name, holds this
    #[arg(short = 'f', long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub form: FormArgs,
    /// Which daemon.
    #[command(flatten)]
    pub daemon: DaemonArgs,
}
