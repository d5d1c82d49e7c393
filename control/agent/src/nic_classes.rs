//! Whether an uplink's device can choose among DCB traffic classes as policy has them, and how it is to be told; or why not. What its driver
//! says is weighed here, and nothing is asked of it or changed ([why so](../../../docs/decisions/0050-dcb-in-a-nic.md)).

use rte::{Chooser, ClassHardware, Manager, QueueClass, TrafficManager};
use weir_tables::bandwidth::{TCS, Tc};

use crate::config::host::ChooseBy;
use crate::plan::sharing::Known;

/// What policy wants, and what there is for it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The DCB traffic classes of the switch; `None` if policy has no `[[switch.dcb]]`.
    pub tcs: Option<&'a [Tc; TCS]>,
    /// What the device has.
    pub has: &'a ClassHardware,
    /// What host.toml wants.
    pub wish: ChooseBy,
    /// Transmit queues that it was started with for classes.
    pub queues: u16,
    /// Workers that send by it, each into a transmit queue of its own.
    pub workers: usize,
    /// Who says what the uplink carries.
    pub capacity: Known,
}

/// Whether the device can, and why it or software does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How the device is told to choose, if it can and nothing is against it.
    pub tree: Option<Tree>,
    /// `None` where there is nothing to choose among.
    pub could_be_nic: Option<bool>,
    /// Why it does; or why software does.
    pub why: String,
}

/// How a device is told to choose among its transmit queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The level that chooses.
    pub level: u32,
    /// Of so many.
    pub levels: u32,
    /// By transmit queue. Those that no class has are there too, as drivers want it: they have nothing to send.
    pub queues: Vec<QueueClass>,
    /// By transmit queue, of the first ones: its DCB traffic class.
    pub tcs: Vec<u8>,
}

/// How many transmit queues a device is to be started with, of which it may have `most`, so that it can choose among classes: one if it
/// cannot in any case.
pub fn queues(has: &ClassHardware, most: u16) -> u16 {
    let Manager::Says(says) = &has.manager else {
        return 1;
    };
    let chooses = says.choosers.iter();
    let chooses = chooses.filter(|by| by.priorities > 1 || by.groups > 0 && by.weight > 1);
    let children = chooses.map(|by| by.children).max().unwrap_or(1);
    (TCS as u16)
        .min(most)
        .min(u16::try_from(children).unwrap_or(u16::MAX))
        .max(1)
}

/// What classes need of who chooses among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    classes: u32,
    strict: u32,
    /// Of which the shares are whole multiples.
    unit: u32,
    /// The largest of these multiples; 1: all are alike, or there is one.
    weight: u32,
    /// Children of the node that chooses.
    queues: u32,
}

impl Need {
    fn of(tcs: &[Tc; TCS], queues: u16) -> Need {
        let strict = tcs.iter().filter(|tc| tc.strict).count() as u32;
        let shares = tcs.iter().filter(|tc| !tc.strict && tc.share > 0);
        let shares: Vec<u32> = shares.map(|tc| u32::from(tc.share)).collect();
        let unit = shares.iter().copied().fold(0, greatest_common_divisor);
        let most = shares.iter().copied().max().unwrap_or(0);
        let classes = strict + shares.len() as u32;
        Need {
            classes,
            strict,
            unit: unit.max(1),
            weight: most.checked_div(unit).unwrap_or(1),
            queues: classes.max(u32::from(queues)),
        }
    }

    /// Strict ones have a priority each, all others have one together.
    fn priorities(self) -> u32 {
        self.strict + u32::from(self.classes > self.strict)
    }

    /// Why nodes of this level cannot choose so, if they cannot.
    fn refused_by(self, by: &Chooser) -> Option<Lacks> {
        let shares = self.classes - self.strict;
        if by.children < self.queues {
            Some(Lacks::Children(by.children))
        } else if by.priorities < self.priorities() {
            Some(Lacks::Priorities(by.priorities))
        } else if shares > 1 && by.groups == 0 {
            Some(Lacks::Weights(1))
        } else if by.weight < self.weight {
            Some(Lacks::Weights(by.weight))
        } else {
            None
        }
    }

    /// How the device is told. The level nearest to the queues that can: there are the fewest nodes.
    fn tree(self, tcs: &[Tc; TCS], by: &TrafficManager) -> Option<Tree> {
        // Below it each queue has a node of its own on each level.
        let all_below = |level: u32| {
            let mut below = by.choosers.iter().filter(|other| other.level > level);
            below.all(|other| other.nodes >= self.queues)
        };
        let mut levels = by.choosers.iter().rev();
        let level = levels
            .find(|level| self.refused_by(level).is_none() && all_below(level.level))?
            .level;
        let used = (0_u8..).zip(tcs);
        let used = used.filter(|(_, own)| own.strict || own.share > 0);
        let (tcs, mut queues): (Vec<u8>, Vec<QueueClass>) = used
            .map(|(tc, own)| {
                // Of the strict ones the highest number is first.
                let above = tcs.iter().skip(usize::from(tc) + 1);
                let (priority, weight) = match own.strict {
                    true => (above.filter(|above| above.strict).count() as u32, 1),
                    false => (self.strict, u32::from(own.share) / self.unit),
                };
                (tc, QueueClass { priority, weight })
            })
            .unzip();
        let last = QueueClass {
            priority: self.priorities().saturating_sub(1),
            weight: 1,
        };
        queues.resize(self.queues as usize, last);
        Some(Tree {
            level,
            levels: by.levels,
            queues,
            tcs,
        })
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

/// Whether the device can choose, and how or why not.
pub fn choose(asked: &Asked<'_>) -> Choice {
    let Some(tcs) = asked.tcs else {
        return Choice {
            tree: None,
            could_be_nic: None,
            why: "policy has no [[switch.dcb]]: all frames are of one class".into(),
        };
    };
    let need = Need::of(tcs, asked.queues);
    let refused = by_device(need, asked.has).or_else(|| by_use(asked, need));
    let tree = match &asked.has.manager {
        Manager::Says(says) if refused.is_none() => need.tree(tcs, says),
        _ => None,
    };
    let can = match tree {
        Some(_) => "the device can, one worker sends by it, and the link is as fast as it says",
        None => "below the level that could choose the device's traffic manager has too few nodes",
    };
    Choice {
        could_be_nic: Some(tree.is_some()),
        tree,
        why: refused.unwrap_or_else(|| can.into()),
    }
}

/// Why a device cannot, if it cannot.
fn by_device(need: Need, has: &ClassHardware) -> Option<String> {
    let manager = by_manager(need, &has.manager)?;
    // DPDK's configuration for DCB has a number of classes, 4 or 8, and which of them each priority is of, and no more.
    Some(match (&has.manager, has.dcb_tcs) {
        (Manager::None, Some(_)) => {
            "the device's DCB has equal parts alone, and only where it receives by priority: it receives by vNIC".into()
        }
        _ => manager,
    })
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
            let queues = need.queues;
            format!("no level of the device's traffic manager that chooses so has more than {has} children a node, and there are {queues} queues")
        }
        Some(Lacks::Priorities(has)) => {
            let priorities = need.priorities();
            format!("no level of the device's traffic manager has more than {has} of the {priorities} priorities that strict classes need")
        }
        Some(Lacks::Weights(1)) => {
            "the device's traffic manager knows no weights where there are priorities enough: classes would take turns".into()
        }
        Some(Lacks::Weights(has)) => {
            let weight = need.weight;
            format!("the device's traffic manager has weights up to {has}, and the shares need {weight}")
        }
    })
}

/// Why it would not do here, if it would not.
fn by_use(asked: &Asked<'_>, need: Need) -> Option<String> {
    if asked.wish == ChooseBy::Software {
        return Some("host.toml says that software does".into());
    }
    if asked.capacity == Known::Written {
        return Some("what the uplink carries is host.toml's, so that software keeps it".into());
    }
    if asked.workers > 1 {
        let workers = asked.workers;
        return Some(format!(
            "{workers} workers send by it: a device shares a class evenly by their queues, whatever the vNICs of each are promised"
        ));
    }
    let queues = asked.queues;
    (u32::from(queues) < need.classes).then(|| {
        let classes = need.classes;
        format!("there are {queues} transmit queues for {classes} classes")
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
            nodes: 64,
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
            wish: ChooseBy::Auto,
            queues: queues(has, 64),
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
        let weights = "the device's traffic manager knows no weights where there are priorities enough: classes would take turns";
        for has in [ixgbe(), ipn3ke()] {
            assert_eq!(refused(&[60, 0], &has), strict);
            assert_eq!(refused(&[60, 40], &has), weights);
            assert_eq!(refused(&[50, 50], &has), weights);
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
        // DCB alone, as DPDK has it, is no more than a number of classes.
        assert!(refused(&[25; 4], &dcb(none)).contains("equal parts alone"));
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
            "no level of the device's traffic manager that chooses so has more than 4 children a node, and there are 5 queues"
        );
        assert!(refused(&[20; 5], &says(&[])).contains("tells of no level"));
        // Each queue has a node of its own below.
        let mut few = cnxk();
        if let Manager::Says(says) = &mut few.manager {
            says.choosers[4].nodes = 7;
        }
        let choice = chosen(&[60, 40], &few);
        assert_eq!(choice.tree.map(|tree| tree.level), Some(4));
        assert!(refused(&[60, 0], &few).contains("too few nodes"));
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
        assert!(refused(&[50, 50], &no_group).contains("no weights"));
        assert!(could(&[50, 0], &no_group));
    }

    #[test]
    fn a_device_is_started_with_a_queue_a_class_if_it_may_choose_at_all() {
        for (has, most, wanted) in [
            (cnxk(), 64, 8),
            (cnxk(), 3, 3),
            (dpaa2(), 64, 8),
            (says(&[level(4, 8, 1, 200)]), 64, 4),
            (ixgbe(), 64, 1),
            (ipn3ke(), 64, 1),
            (ice(), 64, 1),
            (dcb(ClassHardware::default()), 64, 1),
        ] {
            assert_eq!(queues(&has, most), wanted, "{has:?}");
        }
    }

    /// Two strict classes before those that share, as software has them: the higher number first.
    #[test]
    fn a_tree_has_strict_ones_by_number_and_shares_behind_them() {
        let tree = chosen(&[50, 10, 0, 40, 0], &cnxk()).tree.expect("it can");
        let queue = |priority, weight| QueueClass { priority, weight };
        let spare = queue(2, 1);
        assert_eq!(
            tree,
            Tree {
                // The last level that has both.
                level: 3,
                levels: 6,
                queues: vec![
                    queue(2, 5),
                    queue(2, 1),
                    queue(1, 1),
                    queue(2, 4),
                    queue(0, 1),
                    spare,
                    spare,
                    spare
                ],
                tcs: vec![0, 1, 2, 3, 4],
            }
        );
        let strict = chosen(&[0, 0], &cnxk()).tree.expect("it can");
        assert_eq!(strict.queues[..3], [queue(1, 1), queue(0, 1), queue(1, 1)]);
        let mut apart = tcs(&[60]);
        apart[6] = Tc::ets(40);
        let (has, mut asked) = (dpaa2(), None);
        let apart = choose(asked.insert(Asked {
            tcs: Some(&apart),
            has: &has,
            wish: ChooseBy::Auto,
            queues: 2,
            workers: 1,
            capacity: Known::No,
        }));
        let tree = apart.tree.expect("it can");
        assert_eq!((tree.level, tree.tcs), (1, vec![0, 6]));
        assert_eq!(tree.queues, [queue(0, 3), queue(0, 2)]);
    }

    #[test]
    fn what_is_against_it_here_is_said() {
        let (has, tcs) = (cnxk(), tcs(&[60, 40]));
        let asked = Asked {
            tcs: Some(&tcs),
            has: &has,
            wish: ChooseBy::Auto,
            queues: 8,
            workers: 1,
            capacity: Known::Link,
        };
        let why = |asked: Asked<'_>| {
            let choice = choose(&asked);
            assert_eq!(choice.tree.is_some(), choice.could_be_nic == Some(true));
            (choice.could_be_nic, choice.why)
        };
        let (could, told) = why(asked);
        assert_eq!(could, Some(true));
        assert!(told.contains("one worker sends by it"), "{told}");
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
        let (could, told) = why(Asked {
            wish: ChooseBy::Software,
            ..asked
        });
        assert_eq!(could, Some(false));
        assert!(told.contains("host.toml says"), "{told}");
        let (could, told) = why(Asked { queues: 1, ..asked });
        assert_eq!(could, Some(false));
        assert_eq!(told, "there are 1 transmit queues for 2 classes");
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
