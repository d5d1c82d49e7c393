//! Who chooses among DCB traffic classes, and what an uplink's device has for them: `status.dcb` of `weir get uplink`.

use std::collections::BTreeMap;

use rte::{ClassHardware, Manager};
use serde_json::{Value, json};
use weir_tables::ids::{PortId, UplinkId};

use crate::nic_classes::{self, Choice};
use crate::state::State;

impl State {
    /// Who chooses, why, and what the device has for it.
    pub(super) fn dcb_of(&self, uplink: UplinkId, port: PortId) -> Value {
        let open = self.ports.values().find(|open| open.id == port);
        let has = open.map(|open| open.handle.class_hardware());
        let counters = open.and_then(|open| open.handle.xstats());
        let counters = counters.map(|(_, all)| all).unwrap_or_default();
        let (by, choice) = self.chooser(uplink.index());
        shown(by, &choice, &has.unwrap_or_default(), counters)
    }
}

fn shown(by: &str, choice: &Choice, has: &ClassHardware, counters: Vec<(String, u64)>) -> Value {
    let manager = match &has.manager {
        Manager::None => Value::Null,
        Manager::Silent => json!({"answers": false}),
        Manager::Says(own) => {
            let choosers = own.choosers.iter();
            let choosers = choosers.map(|level| {
                json!({
                    "nodes": level.nodes,
                    "children": level.children,
                    "priorities": level.priorities,
                    "weighted_priorities": level.groups,
                    "largest_weight": level.weight,
                })
            });
            json!({
                "answers": true, "nodes": own.nodes, "levels": own.levels, "shapers": own.shapers,
                "choosers": choosers.collect::<Vec<_>>(),
            })
        }
    };
    json!({
        "by": by,
        "why": choice.why,
        "could_be_nic": choice.could_be_nic,
        "device": {
            "dcb_tcs": has.dcb_tcs,
            "traffic_manager": manager,
            "pfc": has.pfc.map(|own| json!({
                "tcs": own.tcs, "obeys_pauses": own.obeys, "asks_for_pauses": own.asks,
            })),
            "pfc_counters": pfc(counters),
        },
    })
}

/// What a device counts of flow control by priority, and is not 0; `None` of one that counts nothing of it.
fn pfc(counters: Vec<(String, u64)>) -> Option<BTreeMap<String, u64>> {
    let counters = counters.into_iter();
    let mut own = counters
        .filter(|(name, _)| nic_classes::is_pfc(name))
        .peekable();
    own.peek()?;
    Some(own.filter(|(_, count)| *count > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rte::{Chooser, TrafficManager};

    #[test]
    fn what_a_device_has_shows_and_what_it_counts_of_pauses() {
        let choice = Choice {
            tree: None,
            could_be_nic: Some(false),
            why: "so".into(),
        };
        let mut has = ClassHardware {
            dcb_tcs: Some(8),
            manager: Manager::Silent,
            pfc: None,
        };
        let counters = |count| {
            let all = ["rx_priority3_xoff_packets", "rx_priority3_xon_packets"];
            let all = all.into_iter().zip([count, 0]);
            let pfc = all.map(|(name, count)| (name.to_owned(), count));
            pfc.chain([("rx_good_packets".to_owned(), 7)]).collect()
        };
        let value = shown("software", &choice, &has, counters(2));
        assert_eq!(
            value,
            json!({
                "by": "software", "why": "so", "could_be_nic": false,
                "device": {
                    "dcb_tcs": 8, "traffic_manager": {"answers": false}, "pfc": null,
                    "pfc_counters": {"rx_priority3_xoff_packets": 2},
                },
            })
        );
        has.manager = Manager::Says(TrafficManager {
            nodes: 9,
            levels: 2,
            shapers: 8,
            choosers: vec![Chooser {
                level: 0,
                nodes: 1,
                children: 8,
                priorities: 4,
                groups: 2,
                weight: 200,
            }],
        });
        has.pfc = Some(rte::Pfc {
            tcs: 8,
            obeys: true,
            asks: false,
        });
        let shown = shown("nic", &choice, &has, counters(0));
        assert_eq!(shown["by"], "nic");
        let device = &shown["device"];
        assert_eq!(
            device["traffic_manager"],
            json!({
                "answers": true, "nodes": 9, "levels": 2, "shapers": 8,
                "choosers": [{
                    "nodes": 1, "children": 8, "priorities": 4, "weighted_priorities": 2, "largest_weight": 200,
                }],
            })
        );
        let pfc = json!({"tcs": 8, "obeys_pauses": true, "asks_for_pauses": false});
        assert_eq!(
            (&device["pfc"], &device["pfc_counters"]),
            (&pfc, &json!({}))
        );
        assert!(super::pfc(vec![("rx_good_packets".into(), 7)]).is_none());
    }
}
