//! Whether an uplink's device could choose among DCB traffic classes as policy has them, or why not: what its driver says is weighed here,
//! and nothing is asked of it or changed. Software chooses in any case (docs/decisions/0050).

use rte::{Chooser, ClassHardware, Manager};
use weir_tables::bandwidth::{TCS, Tc};

use crate::plan::sharing::Known;

/// What policy wants, and what there is for it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The DCB traffic classes of the switch; `None` if policy has no `[[switch.dcb]]`.
    pub tcs: Option<&'a [Tc; TCS]>,
    /// What the device has.
    pub has: &'a ClassHardware,
    /// Workers that send by it, each into a transmit queue of its own.
    pub workers: usize,
    /// Who says what the uplink carries.
    pub capacity: Known,
}

/// Whether the device could, and why software does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `None` where there is nothing to choose among.
    pub could_be_nic: Option<bool>,
    /// Why software chooses.
    pub why: String,
}

/// What classes need of who chooses among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    classes: u32,
    strict: u32,
    /// The largest weight, in the smallest whole numbers of which the shares are multiples; 1: all are alike, or there is one.
    weight: u32,
}

impl Need {
    fn of(tcs: &[Tc; TCS]) -> Need {
        let strict = tcs.iter().filter(|tc| tc.strict).count() as u32;
        let shares = tcs.iter().filter(|tc| !tc.strict && tc.share > 0);
        let shares: Vec<u32> = shares.map(|tc| u32::from(tc.share)).collect();
        let unit = shares.iter().copied().fold(0, greatest_common_divisor);
        let most = shares.iter().copied().max().unwrap_or(0);
        Need {
            classes: strict + shares.len() as u32,
            strict,
            weight: most.checked_div(unit).unwrap_or(1),
        }
    }

    /// Strict ones have a priority each, all others have one together.
    fn priorities(self) -> u32 {
        self.strict + u32::from(self.classes > self.strict)
    }

    /// Why nodes of this level cannot choose so, if they cannot.
    fn refused_by(self, by: &Chooser) -> Option<Lacks> {
        if by.children < self.classes {
            Some(Lacks::Children(by.children))
        } else if by.priorities < self.priorities() {
            Some(Lacks::Priorities(by.priorities))
        } else if self.weight > 1 && (by.groups == 0 || by.weight < self.weight) {
            Some(Lacks::Weights(if by.groups == 0 { 1 } else { by.weight }))
        } else {
            None
        }
    }
}

/// What a level has too little of; the later, the nearer it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lacks {
    Children(u32),
    Priorities(u32),
    Weights(u32),
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}

/// Whether the device could choose, and why it does not.
pub fn choose(asked: &Asked<'_>) -> Choice {
    let Some(tcs) = asked.tcs else {
        return Choice {
            could_be_nic: None,
            why: "policy has no [[switch.dcb]]: all frames are of one class".into(),
        };
    };
    let need = Need::of(tcs);
    let refused = by_device(need, asked.has).or_else(|| by_use(asked));
    Choice {
        could_be_nic: Some(refused.is_none()),
        why: refused.unwrap_or_else(|| {
            "the device could as well; but frames wait in software until the link has room for them, so that it has none to choose among".into()
        }),
    }
}

/// Why a device cannot, if it cannot.
fn by_device(need: Need, has: &ClassHardware) -> Option<String> {
    let manager = by_manager(need, &has.manager);
    // DPDK's configuration for DCB has a number of classes, 4 or 8, and which of them each priority is of, and no more.
    let even = need.strict == 0 && need.weight == 1;
    let by_dcb = even && matches!(need.classes, 4 | 8);
    match (manager, has.dcb_tcs) {
        (None, _) => None,
        (Some(_), Some(_)) if by_dcb => None,
        (Some(_), Some(_)) if has.manager == Manager::None => Some(match even {
            true => format!(
                "the device's DCB has 4 classes or 8, and policy has {}",
                need.classes
            ),
            false => {
                "the device's DCB has neither strict classes nor shares: its classes have equal parts"
                    .into()
            }
        }),
        (Some(manager), _) => Some(manager),
    }
}

/// Why a traffic manager cannot, if it cannot.
fn by_manager(need: Need, manager: &Manager) -> Option<String> {
    let says = match manager {
        Manager::None => return Some("the device has neither DCB nor a traffic manager".into()),
        Manager::Silent => {
            return Some("the device has a traffic manager, whose driver does not say what it can (rte_tm_capabilities_get)".into());
        }
        Manager::Says(says) => says,
    };
    let levels = says.choosers.iter().map(|level| need.refused_by(level));
    let levels: Option<Vec<Lacks>> = levels.collect();
    // Any one level that can is enough.
    let nearest = levels?.into_iter().max();
    Some(match nearest {
        None => "the device has a traffic manager that tells of no level that chooses".into(),
        Some(Lacks::Children(has)) => {
            let classes = need.classes;
            format!("no level of the device's traffic manager has more than {has} children a node, and there are {classes} classes")
        }
        Some(Lacks::Priorities(has)) => {
            let priorities = need.priorities();
            format!("no level of the device's traffic manager has more than {has} of the {priorities} priorities that strict classes need")
        }
        Some(Lacks::Weights(1)) => {
            "the device's traffic manager knows no weights where there are priorities enough: classes would have equal parts".into()
        }
        Some(Lacks::Weights(has)) => {
            let weight = need.weight;
            format!("the device's traffic manager has weights up to {has}, and the shares need {weight}")
        }
    })
}

/// Why it would not do here, if it would not.
fn by_use(asked: &Asked<'_>) -> Option<String> {
    if asked.capacity == Known::Written {
        return Some("what the uplink carries is host.toml's, so that software keeps it".into());
    }
    (asked.workers > 1).then(|| {
        format!(
            "{} workers send by it: a device shares a class evenly by their queues, whatever the vNICs of each are promised",
            asked.workers
        )
    })
}

/// Whether a counter of a device's is of flow control by priority (802.1Qbb), by the names that drivers give.
///
/// ixgbe, txgbe and i40e: `rx_priority3_xoff_packets`; bnxt: `rx_pfc_ena_frames_pri3`; hns3: `mac_tx_pfc_pri3_pkt_num`; bnx2x:
/// `rx_priority_flow_control`.
pub fn is_pfc(counter: &str) -> bool {
    let prio = counter.contains("prio");
    let pauses = ["xon", "xoff", "flow_control"];
    counter.contains("pfc") || prio && pauses.iter().any(|word| counter.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rte::TrafficManager;

    /// Classes of these shares, the last with 0 for a strict one.
    fn tcs(of: &[u8]) -> [Tc; TCS] {
        let mut tcs = [Tc::ets(0); TCS];
        for (place, &share) in tcs.iter_mut().zip(of) {
            *place = Tc {
                strict: share == 0,
                share,
            };
        }
        tcs
    }

    /// Levels from the root on, and one of queues.
    fn says(choosers: &[Chooser]) -> ClassHardware {
        let choosers = (0..).zip(choosers);
        let choosers: Vec<Chooser> = choosers
            .map(|(level, &chooser)| Chooser { level, ..chooser })
            .collect();
        ClassHardware {
            manager: Manager::Says(TrafficManager {
                nodes: 100,
                levels: choosers.len() as u32 + 1,
                shapers: 0,
                choosers,
            }),
            ..ClassHardware::default()
        }
    }

    fn level(children: u32, priorities: u32, groups: u32, weight: u32) -> Chooser {
        Chooser {
            level: 0,
            nodes: 1,
            children,
            priorities,
            groups,
            weight,
        }
    }

    fn dcb(mut has: ClassHardware) -> ClassHardware {
        has.dcb_tcs = Some(1);
        has
    }

    /// With one worker on a link whose speed is its own.
    fn chosen(of: &[u8], has: &ClassHardware) -> Choice {
        choose(&Asked {
            tcs: Some(&tcs(of)),
            has,
            workers: 1,
            capacity: Known::Link,
        })
    }

    fn refused(of: &[u8], has: &ClassHardware) -> String {
        let choice = chosen(of, has);
        assert_eq!(choice.could_be_nic, Some(false), "{}", choice.why);
        choice.why
    }

    fn could(of: &[u8], has: &ClassHardware) -> bool {
        chosen(of, has).could_be_nic == Some(true)
    }

    /// ixgbe_level_capabilities_get and i40e_level_capabilities_get (ixgbe_tm.c, i40e_tm.c), txgbe and iavf alike: nodes with children are a
    /// port and its 8 classes; one priority, no group, weight 1. `node_add` takes priority 0 and weight 1 alone.
    fn ixgbe() -> ClassHardware {
        dcb(says(&[level(8, 1, 0, 1), level(128, 1, 0, 1)]))
    }

    /// cnxk_nix_tm_level_capa_get (cnxk_tm.c): TL1 to TL4 with NIX_TM_TLX_SP_PRIO_MAX (10) priorities and one group, MDQ with one priority.
    fn cnxk() -> ClassHardware {
        let upper = level(256, 10, 1, 255);
        says(&[upper, upper, upper, upper, level(8, 1, 1, 255)])
    }

    /// mrvl_level_capabilities_get (mvpp2, mrvl_tm.c): a port and its queues, weights and no priorities, whatever the capabilities of the
    /// whole say (`sched_sp_n_priorities_max` as many as queues: `node_add` takes priority 0 alone).
    fn mvpp2() -> ClassHardware {
        says(&[level(8, 1, 1, 255)])
    }

    /// dpaa2_level_capabilities_get (dpaa2_tm.c): channels of a port do not choose, 8 classes of a channel do.
    fn dpaa2() -> ClassHardware {
        says(&[level(1, 1, 1, 1), level(8, 8, 2, 247)])
    }

    /// ipn3ke_tm_level_capabilities_get (ipn3ke_tm.c).
    fn ipn3ke() -> ClassHardware {
        says(&[level(64, 1, 0, 0), level(8, 1, 0, 0)])
    }

    /// ice_tm_ops (ice_tm.c): nodes of priorities and weights, and no `capabilities_get`.
    fn ice() -> ClassHardware {
        ClassHardware {
            manager: Manager::Silent,
            ..ClassHardware::default()
        }
    }

    #[test]
    fn what_drivers_say_is_held_against_shares_and_strict_classes() {
        let strict = "no level of the device's traffic manager has more than 1 of the 2 priorities that strict classes need";
        let weights = "the device's traffic manager knows no weights where there are priorities enough: classes would have equal parts";
        for has in [ixgbe(), ipn3ke()] {
            assert_eq!(refused(&[60, 0], &has), strict);
            assert_eq!(refused(&[60, 40], &has), weights);
        }
        assert_eq!(refused(&[60, 0], &mvpp2()), strict);
        assert!(could(&[60, 40], &mvpp2()));
        for has in [cnxk(), dpaa2()] {
            assert!(could(&[60, 40], &has) && could(&[50, 10, 40, 0, 0], &has));
        }
        assert!(refused(&[50, 50], &ice()).contains("does not say what it can"));
        let none = ClassHardware::default();
        assert_eq!(
            refused(&[50, 50], &none),
            "the device has neither DCB nor a traffic manager"
        );
    }

    #[test]
    fn one_level_has_to_have_all_that_is_wanted() {
        let apart = says(&[level(8, 8, 0, 1), level(8, 1, 1, 200)]);
        assert!(could(&[60, 40], &apart) && could(&[100, 0, 0], &apart));
        let both = refused(&[60, 40, 0], &apart);
        assert!(both.contains("no weights where there are priorities enough"));
        let seven = says(&[level(8, 7, 1, 200)]);
        assert!(could(&[100, 0, 0, 0, 0, 0, 0], &seven));
        let all = refused(&[0; 8], &seven);
        assert!(all.contains("more than 7 of the 8 priorities"), "{all}");
        assert_eq!(
            refused(&[20; 5], &says(&[level(4, 8, 1, 200)])),
            "no level of the device's traffic manager has more than 4 children a node, and there are 5 classes"
        );
        assert!(refused(&[20; 5], &says(&[])).contains("tells of no level"));
    }

    #[test]
    fn weights_are_the_smallest_that_keep_the_shares() {
        let small = says(&[level(8, 8, 1, 3)]);
        assert!(could(&[75, 25], &small) && could(&[50, 50], &small));
        assert_eq!(
            refused(&[80, 20], &small),
            "the device's traffic manager has weights up to 3, and the shares need 4"
        );
        // A weight that a group is not there for is none.
        let no_group = says(&[level(8, 8, 0, 200)]);
        assert!(refused(&[75, 25], &no_group).contains("no weights"));
        assert!(could(&[50, 50], &no_group));
    }

    #[test]
    fn dcb_has_four_equal_classes_or_eight() {
        let has = dcb(ClassHardware::default());
        assert!(could(&[25; 4], &has));
        let two = "the device's DCB has 4 classes or 8, and policy has 2";
        assert_eq!(refused(&[50; 2], &has), two);
        let uneven =
            "the device's DCB has neither strict classes nor shares: its classes have equal parts";
        assert_eq!(refused(&[40, 20, 20, 20], &has), uneven);
        assert_eq!(refused(&[25, 25, 25, 0], &has), uneven);
        // A traffic manager beside it is asked first, and what it lacks is told.
        assert!(could(&[25; 4], &ixgbe()));
        assert!(refused(&[40, 60], &ixgbe()).contains("no weights"));
        assert!(!could(&[25; 4], &ClassHardware::default()));
    }

    #[test]
    fn a_device_that_could_leaves_it_to_software_and_says_why() {
        let (has, tcs) = (cnxk(), tcs(&[60, 40]));
        let asked = Asked {
            tcs: Some(&tcs),
            has: &has,
            workers: 1,
            capacity: Known::Link,
        };
        let why = |asked: Asked<'_>| {
            let choice = choose(&asked);
            (choice.could_be_nic, choice.why)
        };
        let (could, told) = why(asked);
        assert_eq!(could, Some(true));
        assert!(told.contains("frames wait in software"), "{told}");
        let (could, told) = why(Asked {
            workers: 3,
            ..asked
        });
        assert_eq!(could, Some(false));
        assert!(told.starts_with("3 workers send by it"), "{told}");
        let (could, told) = why(Asked {
            capacity: Known::Written,
            ..asked
        });
        assert_eq!(could, Some(false));
        assert!(told.contains("host.toml's"), "{told}");
        let (could, told) = why(Asked { tcs: None, ..asked });
        assert_eq!(could, None);
        assert!(told.contains("no [[switch.dcb]]"), "{told}");
    }

    #[test]
    fn counters_of_flow_control_by_priority_are_known_by_name() {
        for own in [
            "rx_priority3_xoff_packets",
            "tx_priority0_xon_packets",
            "rx_pfc_ena_frames_pri3",
            "pfc_pri0_rx_duration_us",
            "mac_tx_pfc_pri3_pkt_num",
            "rx_priority_flow_control",
        ] {
            assert!(is_pfc(own), "{own}");
        }
        for other in [
            "rx_xoff_packets",
            "rx_priority3_dropped",
            "tx_pause_frames",
            "rx_prio3_packets",
        ] {
            assert!(!is_pfc(other), "{other}");
        }
    }
}
