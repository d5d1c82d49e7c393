//! Rates beside the counters of `weir stats --watch -o json`: each object says how fast its own counters have moved since the
//! line before.

use serde_json::{Map, Value};
use std::collections::HashMap;
use std::time::Duration;

/// Parts of the answer that are lists of objects, and what an object of each is known by.
const LISTS: [(&str, &str); 3] = [
    ("workers", "core"),
    ("vnics", "vnic"),
    ("uplinks", "uplink"),
];

/// Counters, and what their rates are called. Bytes become bits.
const COUNTERS: [(&str, &str); 9] = [
    ("rx_packets", "rx_packets_per_second"),
    ("tx_packets", "tx_packets_per_second"),
    ("rx_bytes", "rx_bits_per_second"),
    ("tx_bytes", "tx_bits_per_second"),
    ("delivered", "delivered_packets_per_second"),
    ("dropped", "dropped_packets_per_second"),
    ("handoff_in", "handoff_in_packets_per_second"),
    ("handoff_out", "handoff_out_packets_per_second"),
    ("generated", "generated_packets_per_second"),
];

/// The answer `now` with rates since the answer `before` and the time between them, in whole numbers, and that time as
/// `seconds` (null without one). What was not in the answer before has none.
pub fn beside(now: &Value, before: Option<(&Value, Duration)>) -> Value {
    let mut line = now.clone();
    let Some(fields) = line.as_object_mut() else {
        return line;
    };
    let seconds = before.map(|(_, time)| time.as_secs_f64());
    for (list, key) in LISTS {
        let (Some(Value::Array(all)), Some((old, time))) = (fields.get_mut(list), before) else {
            continue;
        };
        let old = old.get(list).and_then(Value::as_array);
        let known = old.into_iter().flatten();
        let known = known.filter_map(|one| Some((one.get(key)?.to_string(), one)));
        let known: HashMap<String, &Value> = known.collect();
        for one in all.iter_mut().filter_map(Value::as_object_mut) {
            let name = one.get(key).map(Value::to_string).unwrap_or_default();
            if let Some(old) = known.get(&name) {
                add(one, old, time);
            }
        }
    }
    fields.insert("seconds".into(), seconds.into());
    line
}

fn add(one: &mut Map<String, Value>, old: &Value, time: Duration) {
    for (counter, rate) in COUNTERS {
        let now = one.get(counter).and_then(Value::as_u64);
        let Some((now, old)) = now.zip(old.get(counter).and_then(Value::as_u64)) else {
            continue;
        };
        let each = if counter.ends_with("_bytes") {
            8.0
        } else {
            1.0
        };
        // A counter that went back is of a daemon that was started anew.
        let moved = now.saturating_sub(old) as f64;
        let value = (moved * each / time.as_secs_f64().max(1e-3)).round() as u64;
        one.insert(rate.into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_object_has_the_rates_of_its_own_counters() {
        let before = json!({"workers": [{"core": 1, "dropped": 5}], "vnics": [
            {"vnic": "a", "rx_packets": 10, "rx_bytes": 1000, "gso_passed": 1},
            {"vnic": "b", "rx_packets": 50, "rx_bytes": 0}]});
        let now = json!({"workers": [{"core": 1, "dropped": 9}], "vnics": [
            {"vnic": "b", "rx_packets": 20, "rx_bytes": 0},
            {"vnic": "a", "rx_packets": 30, "rx_bytes": 3000, "gso_passed": 2},
            {"vnic": "c", "rx_packets": 7, "rx_bytes": 7}]});
        let line = beside(&now, Some((&before, Duration::from_secs(2))));
        assert_eq!(
            line,
            json!({"workers": [{"core": 1, "dropped": 9, "dropped_packets_per_second": 2}], "vnics": [
                {"vnic": "b", "rx_packets": 20, "rx_bytes": 0, "rx_packets_per_second": 0, "rx_bits_per_second": 0},
                {"vnic": "a", "rx_packets": 30, "rx_bytes": 3000, "gso_passed": 2, "rx_packets_per_second": 10, "rx_bits_per_second": 8000},
                {"vnic": "c", "rx_packets": 7, "rx_bytes": 7}], "seconds": 2.0})
        );
        let first = beside(&now, None);
        assert!(first["seconds"].is_null() && first["vnics"] == now["vnics"]);
    }
}
