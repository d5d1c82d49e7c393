//! What uplinks' devices count by themselves.

use crate::table::Table;
use weir_agent::stats::Stats;

/// Counters of devices that have counted something, nothing if none has; those of single queues are in the JSON alone.
pub fn own_counts(stats: &Stats, terminal: bool) -> String {
    let mut table = Table::new(["device of", "driver", "vf", "its own count", "#"]);
    for uplink in &stats.uplinks {
        let Some(device) = &uplink.device else {
            continue;
        };
        let mut row = |name: &str, count: String| {
            table.row([
                uplink.uplink.clone(),
                device.driver.clone(),
                device.vf.clone().unwrap_or_default(),
                name.to_owned(),
                count,
            ]);
        };
        if let Some(note) = &device.note {
            row(note, "-".into());
        }
        for (name, count) in &device.xstats {
            if *count > 0 && !is_of_queue(name) {
                row(name, count.to_string());
            }
        }
    }
    match table.is_empty() {
        true => String::new(),
        false => table.render(terminal),
    }
}

/// `rte_eth_xstats_get`'s names of single queues: `rx_q0_packets`, `tx_q12_bytes`.
fn is_of_queue(name: &str) -> bool {
    let queue = name
        .strip_prefix("rx_q")
        .or_else(|| name.strip_prefix("tx_q"));
    queue.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_agent::stats::{DeviceStats, UplinkStats};

    #[test]
    fn what_was_counted_is_told_and_what_counts_nothing_says_so() {
        let device = |note: Option<&str>| DeviceStats {
            driver: "net_e1000_igb_vf".into(),
            vf: Some("0000:03:00.0/1".into()),
            xstats: match note {
                Some(_) => Default::default(),
                None => [
                    ("rx_good_packets", 7),
                    ("rx_q0_packets", 5),
                    ("rx_missed_errors", 0),
                    ("rx_quality", 3),
                ]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            },
            note: note.map(str::to_owned),
        };
        let shown = |note| {
            let uplink = UplinkStats {
                uplink: "up0".into(),
                device: Some(device(note)),
                ..UplinkStats::default()
            };
            let stats = Stats {
                uplinks: vec![uplink],
                ..Stats::default()
            };
            own_counts(&stats, false)
        };
        let some = shown(None);
        for told in ["rx_good_packets", "rx_quality", "0000:03:00.0/1"] {
            assert!(some.contains(told), "{some}");
        }
        for not in ["rx_q0_packets", "rx_missed_errors"] {
            assert!(!some.contains(not), "{some}");
        }
        let none = shown(Some("driver net_e1000_igb_vf counts nothing"));
        assert!(none.contains("counts nothing"), "{none}");
        assert_eq!(own_counts(&Stats::default(), false), "");
    }
}
