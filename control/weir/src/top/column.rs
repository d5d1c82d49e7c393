//! The columns: heads, cells, and what they sort by.

use super::board::{VnicLine, WorkerLine};
use clap::ValueEnum;
use std::cmp::Ordering;

/// A column of vNICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Column {
    /// Its name
    Vnic,
    /// Its VM network
    Tenant,
    /// The core of the worker that owns it
    Worker,
    /// The least that it was promised
    Min,
    /// The most that it may send
    Max,
    /// What it sends, in bit/s
    Sent,
    /// The same in packets
    SentPackets,
    /// What it receives, in bit/s
    Received,
    /// The same in packets
    ReceivedPackets,
    /// Packets dropped on its account, a second
    Dropped,
    /// Packets of it that wait
    Queued,
    /// What it sends, of what its uplink carries
    Share,
}

impl Column {
    /// From left to right.
    pub const ALL: [Column; 12] = [
        Column::Vnic,
        Column::Tenant,
        Column::Worker,
        Column::Min,
        Column::Max,
        Column::Sent,
        Column::SentPackets,
        Column::Received,
        Column::ReceivedPackets,
        Column::Dropped,
        Column::Queued,
        Column::Share,
    ];

    /// Which are kept longest where a terminal is narrow.
    pub const BY_WORTH: [Column; 12] = [
        Column::Vnic,
        Column::Sent,
        Column::Received,
        Column::Dropped,
        Column::Queued,
        Column::Max,
        Column::Min,
        Column::Share,
        Column::Tenant,
        Column::SentPackets,
        Column::ReceivedPackets,
        Column::Worker,
    ];

    /// What stands above it.
    pub fn head(self) -> &'static str {
        match self {
            Column::Vnic => "vnic",
            Column::Tenant => "tenant",
            Column::Worker => "core",
            Column::Min => "min",
            Column::Max => "max",
            Column::Sent => "sent",
            Column::SentPackets => "sent p",
            Column::Received => "recv",
            Column::ReceivedPackets => "recv p",
            Column::Dropped => "drop/s",
            Column::Queued => "queued",
            Column::Share => "link%",
        }
    }

    /// Whether it is set to the left.
    pub fn is_text(self) -> bool {
        matches!(self, Column::Vnic | Column::Tenant)
    }

    /// Columns of the terminal that it takes: of a name at least so many.
    pub fn width(self) -> u16 {
        match self {
            Column::Vnic => 12,
            Column::Tenant => 10,
            Column::Worker => 4,
            Column::SentPackets | Column::ReceivedPackets => 8,
            _ => 6,
        }
    }

    /// What stands in it.
    pub fn cell(self, line: &VnicLine) -> String {
        match self {
            Column::Vnic => line.vnic.clone(),
            Column::Tenant => line.tenant.clone(),
            Column::Worker => line.worker.to_string(),
            Column::Min => match (line.min_bits_per_second, line.min_weight) {
                (None, Some(weight)) => format!("w{weight}"),
                (bits, _) => maybe(bits),
            },
            Column::Max => maybe(line.max_bits_per_second),
            Column::Sent => maybe(line.sent_bits_per_second),
            Column::SentPackets => maybe(line.sent_packets_per_second),
            Column::Received => maybe(line.received_bits_per_second),
            Column::ReceivedPackets => maybe(line.received_packets_per_second),
            Column::Dropped => maybe(line.dropped_packets_per_second),
            Column::Queued => maybe(line.queued_packets),
            Column::Share => tenths(line.link_percent),
        }
    }

    /// Which comes first, the lesser; what is not known is the least.
    pub fn compare(self, one: &VnicLine, other: &VnicLine) -> Ordering {
        let by = |of: fn(&VnicLine) -> Option<u64>| of(one).cmp(&of(other));
        match self {
            Column::Vnic => one.vnic.cmp(&other.vnic),
            Column::Tenant => one.tenant.cmp(&other.tenant),
            Column::Worker => one.worker.cmp(&other.worker),
            Column::Min => by(|line| line.min_bits_per_second.or(line.min_weight.map(u64::from))),
            Column::Max => by(|line| line.max_bits_per_second),
            // The share has fewer digits than what it is of.
            Column::Sent | Column::Share => by(|line| line.sent_bits_per_second),
            Column::SentPackets => by(|line| line.sent_packets_per_second),
            Column::Received => by(|line| line.received_bits_per_second),
            Column::ReceivedPackets => by(|line| line.received_packets_per_second),
            Column::Dropped => by(|line| line.dropped_packets_per_second),
            Column::Queued => by(|line| line.queued_packets),
        }
    }
}

/// Heads of the workers' columns and their widths.
pub const WORKER_HEADS: [(&str, u16); 12] = [
    ("core", 4),
    ("busy%", 5),
    ("cyc/pkt", 7),
    ("in/s", 6),
    ("out/s", 6),
    ("drop/s", 6),
    ("steer/s", 7),
    ("hand/s", 6),
    ("queued", 6),
    ("queues", 6),
    ("vnics", 5),
    ("moves", 5),
];

/// What stands in them.
pub fn worker_cells(worker: &WorkerLine) -> [String; 12] {
    [
        worker.core.to_string(),
        tenths(worker.busy_percent),
        maybe(worker.cycles_per_packet),
        maybe(worker.received_packets_per_second),
        maybe(worker.sent_packets_per_second),
        maybe(worker.dropped_packets_per_second),
        maybe(worker.steered_packets_per_second),
        maybe(worker.handed_on_packets_per_second),
        short(worker.queued_packets),
        worker.queues.to_string(),
        short(worker.vnics),
        short(worker.moved_in + worker.moved_out),
    ]
}

/// A number in five characters: three digits and a letter for the thousands.
pub fn short(number: u64) -> String {
    if number < 1000 {
        return number.to_string();
    }
    let mut value = number as f64;
    for letter in ["k", "M", "G", "T", "P", "E"] {
        value /= 1000.0;
        // What would round up to a thousand is one of the next letter.
        if value < 999.5 || letter == "E" {
            let digits = match value {
                _ if value < 9.995 => 2,
                _ if value < 99.95 => 1,
                _ => 0,
            };
            return format!("{value:.digits$}{letter}");
        }
    }
    number.to_string()
}

/// The same, or what stands for nothing.
pub fn maybe(number: Option<u64>) -> String {
    number.map_or_else(|| "-".into(), short)
}

fn tenths(number: Option<f64>) -> String {
    number.map_or_else(|| "-".into(), |number| format!("{number:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_takes_five_characters() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00k"),
            (9_994, "9.99k"),
            (9_996, "10.0k"),
            (99_960, "100k"),
            (999_499, "999k"),
            (999_500, "1.00M"),
            (123_456_789, "123M"),
            (10_000_000_000, "10.0G"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text, "{number}");
        }
    }
}
