//! Has a device choose among its transmit queues: a tree in its traffic manager (rte_tm).
//!
//! **The tree.** A chain of one node a level from the root to the level that chooses; under it, for each queue, a chain of one node a level
//! down to the leaf, which is the queue. Priority and weight are the chooser's children's; all other nodes are an only child.
//!
//! ```text
//! level 0   1000                  the root
//! level 1   1001                  the chooser
//! level 2   1002   1003   1004    its children: priority and weight of queue 1, 0, 2
//! level 3   1      0      2       leaves, whose numbers are the queues'
//! ```
//!
//! **What drivers of DPDK 22.11 demand** that can choose so, as their sources say it:
//! - cnxk (cnxk_tm.c, roc_nix_tm.c; 6 levels, of a VF 5): the numbers of leaves are below `nb_tx_queues`, those of all others not; a parent is of
//!   the level above and there before its children; among siblings priorities have no holes, and a child of one comes behind one of the next
//!   higher (`nix_tm_validate_prio`: so queues are added by priority, not by number); one priority alone has several children; leaves have
//!   priority 0. A commit wants a leaf of every queue, and is taken while the port is started: it lets what is in the queues out first. From then on
//!   nothing is changed ("dynamic update not supported") until `rte_eth_dev_configure`, which forgets the tree. It does not look at
//!   `clear_on_fail`.
//! - dpaa2 (dpaa2_tm.c; 3 levels): takes everything, parents first, started or not, at any time; forgets nothing until the port is closed, but
//!   all of it where a commit fails and `clear_on_fail` is set. `n_sp_priorities` is not read. A number that equals `nb_tx_queues` is a
//!   leaf's (`dpaa2_node_add`). `wfq_weight_mode` is null. At most two priorities have several children, and whatever the first of
//!   them is, the hardware is told that it is the second (`prio_group_A = 1`): what that is with two strict ones before it, the sources do not
//!   say. Weights go there times 100, of at most 10,000 (fsl_dpni.h), where its capabilities have 247.
//! - mvpp2 (mrvl_tm.c; 2 levels): nothing while the port is started ("Port is already started"), which it is wherever queues are out: so it
//!   refuses here. (It would also want `wred_profile_id` 0 of a leaf, where rte_tm.h has `RTE_TM_WRED_PROFILE_ID_NONE`, as i40e, ice and hns3.)

use std::ffi::CStr;

use dpdk_sys as sys;
use thiserror::Error;

use crate::dcb::LEVELS;
use crate::error::Cause;
use crate::log;
use crate::port::Port;
use crate::port_types::PortError;
use crate::queue::TxQueue;

/// Numbers of nodes that are no leaves begin here; those of leaves, which are queues, are below.
const FIRST: u32 = 1000;

/// A transmit queue's place among those that a device chooses among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueClass {
    /// 0 goes first. The device is told of as many priorities as are in use, without holes.
    pub priority: u32,
    /// Its part of what those of its priority get together, in bytes: at least 1.
    pub weight: u32,
}

/// Why there is no tree to ask a device for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TreeError {
    /// The queues that are here are not all that it has, or another port's: somebody may be sending by the others.
    #[error("not all of its {out} transmit queues are here")]
    QueuesHeld {
        /// Transmit queues that it was started with; 0: it is not started.
        out: u16,
    },
    /// Not one class a queue.
    #[error("{classes} classes for {queues} transmit queues")]
    Classes {
        /// Classes.
        classes: usize,
        /// Queues.
        queues: usize,
    },
    /// More queues than numbers that are leaves'.
    #[error("{queues} transmit queues, and a tree has room for {FIRST}")]
    Queues {
        /// Queues.
        queues: usize,
    },
    /// The level that is to choose is that of queues, or below.
    #[error("level {level} cannot choose: there are {levels}, the last of which is of queues")]
    Level {
        /// Which was to choose.
        level: u32,
        /// Of so many.
        levels: u32,
    },
    /// More levels than any traffic manager has.
    #[error("{levels} levels; no traffic manager has more than {LEVELS}")]
    Levels {
        /// So many.
        levels: u32,
    },
    /// A queue of weight 0.
    #[error("transmit queue {queue} has weight 0")]
    Weight {
        /// Its number.
        queue: usize,
    },
}

/// A node as rte_tm is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    id: u32,
    /// `None` of the root.
    parent: Option<u32>,
    level: u32,
    priority: u32,
    weight: u32,
    /// Priorities of its children; `None` of a leaf.
    priorities: Option<u32>,
}

/// All nodes, each behind its parent, and the chooser's children by priority.
fn tree(level: u32, levels: u32, classes: &[QueueClass]) -> Vec<Node> {
    let mut in_use: Vec<u32> = classes.iter().map(|class| class.priority).collect();
    in_use.sort_unstable();
    in_use.dedup();
    let mut ids = FIRST..;
    let mut nodes = Vec::new();
    let mut parent = None;
    for level in 0..=level {
        let id = ids.next().unwrap_or(u32::MAX);
        nodes.push(Node {
            id,
            parent,
            level,
            priority: 0,
            weight: 1,
            priorities: Some(1),
        });
        parent = Some(id);
    }
    if let Some(chooser) = nodes.last_mut() {
        chooser.priorities = Some(in_use.len() as u32);
    }
    let chooser = parent;
    let mut queues: Vec<(u32, &QueueClass)> = (0..).zip(classes).collect();
    queues.sort_by_key(|(_, class)| class.priority);
    for (queue, class) in queues {
        let mut parent = chooser;
        // Those above it, of those that are in use.
        let above = in_use.partition_point(|&other| other < class.priority);
        let (mut priority, mut weight) = (above as u32, class.weight);
        for below in level + 1..levels {
            let leaf = below + 1 == levels;
            let id = match leaf {
                true => queue,
                false => ids.next().unwrap_or(u32::MAX),
            };
            nodes.push(Node {
                id,
                parent,
                level: below,
                priority,
                weight,
                priorities: (!leaf).then_some(1),
            });
            (parent, priority, weight) = (Some(id), 0, 1);
        }
    }
    nodes
}

impl Port {
    /// Has the device choose among its transmit queues: queue `i` is `classes[i]`. `level` is the one that chooses
    /// ([`Chooser::level`](crate::Chooser::level)), of so many ([`TrafficManager::levels`](crate::TrafficManager::levels)).
    ///
    /// All transmit queues of the started port are here, in any order, so that nobody sends meanwhile; receiving may go on. It holds until
    /// the port is stopped: then it chooses as it did before, or (dpaa2) by the same classes until it is told others.
    ///
    /// An error says what is wrong with the arguments ([`PortError::Tree`]), or which call the driver refused and what it said
    /// ([`PortError::TrafficManager`]); no node is left that was not there before. Most drivers refuse to be told twice. After a commit
    /// that failed a driver may send nothing (cnxk has taken its own tree away by then): stop and start the port, unless it was refused
    /// by [`PortError::Tree`] or before `rte_tm_hierarchy_commit`.
    pub fn choose_among(
        &mut self,
        tx: &mut [TxQueue],
        level: u32,
        levels: u32,
        classes: &[QueueClass],
    ) -> Result<(), PortError> {
        if let Err(error) = self.makes_sense(tx, level, levels, classes) {
            let port = self.name().to_owned();
            return Err(PortError::Tree { port, error });
        }
        let mut added = Vec::new();
        let all = tree(level, levels, classes);
        let done = all.iter().try_for_each(|node| {
            self.add_node(node)?;
            added.push(node.id);
            Ok(())
        });
        match done.and_then(|()| self.commit()) {
            Ok(()) => {
                self.nodes = added;
                Ok(())
            }
            Err(error) => {
                self.delete_nodes(added);
                Err(error)
            }
        }
    }

    fn makes_sense(
        &self,
        tx: &[TxQueue],
        level: u32,
        levels: u32,
        classes: &[QueueClass],
    ) -> Result<(), TreeError> {
        let (_, out) = self.started.unwrap_or_default();
        // Each queue is one value, so as many as were handed out are all of them.
        let own = tx.iter().all(|queue| queue.port == self.id());
        let (queues, classes_given) = (tx.len(), classes.len());
        if !own || out == 0 || queues != usize::from(out) {
            return Err(TreeError::QueuesHeld { out });
        }
        if classes_given != queues {
            let classes = classes_given;
            return Err(TreeError::Classes { classes, queues });
        }
        if queues > FIRST as usize {
            return Err(TreeError::Queues { queues });
        }
        if levels > LEVELS {
            return Err(TreeError::Levels { levels });
        }
        if level.saturating_add(1) >= levels {
            return Err(TreeError::Level { level, levels });
        }
        match classes.iter().position(|class| class.weight == 0) {
            Some(queue) => Err(TreeError::Weight { queue }),
            None => Ok(()),
        }
    }

    fn add_node(&self, node: &Node) -> Result<(), PortError> {
        // SAFETY: numbers, null pointers, and a union of such, for which all zeroes is a value: no shared shapers, no counters.
        let mut params: sys::rte_tm_node_params = unsafe { std::mem::zeroed() };
        params.shaper_profile_id = sys::RTE_TM_SHAPER_PROFILE_ID_NONE;
        match node.priorities {
            // `wfq_weight_mode` is null: weights are of bytes.
            Some(priorities) => params.__bindgen_anon_1.nonleaf.n_sp_priorities = priorities,
            None => {
                // SAFETY: both sides of the union are numbers and pointers, and all of it is zero.
                let leaf = unsafe { &mut params.__bindgen_anon_1.leaf };
                leaf.cman = sys::RTE_TM_CMAN_TAIL_DROP;
                leaf.wred.wred_profile_id = sys::RTE_TM_WRED_PROFILE_ID_NONE;
            }
        }
        let parent = node.parent.unwrap_or(sys::RTE_TM_NODE_ID_NULL);
        let (priority, weight) = (node.priority, node.weight);
        self.manage("rte_tm_node_add", Some(node), |id, error| {
            // SAFETY: the port is attached and this thread its only owner; nobody sends by it, as `choose_among` has all of its transmit
            // queues for as long as it runs. The parameters are read during the call, and are of a leaf where the number is a queue's.
            unsafe {
                let level = node.level;
                sys::rte_tm_node_add(
                    id,
                    node.id,
                    parent,
                    priority,
                    weight,
                    level,
                    &mut params,
                    error,
                )
            }
        })
    }

    /// What a driver cannot use it clears away, if it does.
    fn commit(&self) -> Result<(), PortError> {
        self.manage("rte_tm_hierarchy_commit", None, |id, error| {
            // SAFETY: as `add_node`. A driver lets out what is in the queues, or moves them, while nobody sends.
            unsafe { sys::rte_tm_hierarchy_commit(id, 1, error) }
        })
    }

    /// Takes the tree away that [`Port::choose_among`] made, when the port is stopped: dpaa2 would keep its nodes and refuse others of the
    /// same numbers. Others refuse, and forget them as they are configured.
    pub(crate) fn forget_tree(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        self.delete_nodes(nodes);
    }

    /// Children first. Some drivers have cleared them away themselves: what they say of it matters to nobody.
    fn delete_nodes(&self, added: Vec<u32>) {
        for node in added.into_iter().rev() {
            let mut error = no_error();
            // SAFETY: the port is attached and this thread its only owner; no transmit queue of it is used meanwhile, as all of them are
            // where `choose_among` or `stop` has them. A number that is no node's is refused.
            unsafe { sys::rte_tm_node_delete(self.id(), node, &mut error) };
        }
    }

    /// Calls the traffic manager, and keeps what it says where it refuses.
    fn manage(
        &self,
        name: &'static str,
        node: Option<&Node>,
        call: impl FnOnce(u16, *mut sys::rte_tm_error) -> libc::c_int,
    ) -> Result<(), PortError> {
        let mark = log::mark();
        let mut error = no_error();
        // Drivers answer an errno; cnxk a number of its own, which is negative as well.
        let result = call(self.id(), &mut error);
        if result == 0 {
            return Ok(());
        }
        let mut said = match error.message.is_null() {
            true => "nothing".into(),
            false => {
                // SAFETY: a string that ends in NUL: a static one of the driver's, or DPDK's text of an error number, which is this
                // thread's and stays until it asks for another.
                let text = unsafe { CStr::from_ptr(error.message) };
                text.to_string_lossy().trim_end().to_owned()
            }
        };
        match (kind(error.type_), node) {
            (Some(kind), Some(Node { id, level, .. })) => {
                said.push_str(&format!(" ({kind} of node {id}, level {level})"));
            }
            (None, Some(Node { id, level, .. })) => {
                said.push_str(&format!(" (node {id}, level {level})"));
            }
            (Some(kind), None) => said.push_str(&format!(" ({kind})")),
            (None, None) => {}
        }
        Err(PortError::TrafficManager {
            port: self.name().to_owned(),
            cause: Cause::new(name, result, mark),
            said,
        })
    }
}

fn no_error() -> sys::rte_tm_error {
    sys::rte_tm_error {
        type_: sys::RTE_TM_ERROR_TYPE_NONE,
        cause: std::ptr::null(),
        message: std::ptr::null(),
    }
}

/// What an error is about, if it says so.
fn kind(of: sys::rte_tm_error_type) -> Option<&'static str> {
    Some(match of {
        sys::RTE_TM_ERROR_TYPE_CAPABILITIES => "capabilities",
        sys::RTE_TM_ERROR_TYPE_LEVEL_ID => "the level",
        sys::RTE_TM_ERROR_TYPE_NODE_PARENT_NODE_ID => "the parent",
        sys::RTE_TM_ERROR_TYPE_NODE_PRIORITY => "the priority",
        sys::RTE_TM_ERROR_TYPE_NODE_WEIGHT => "the weight",
        sys::RTE_TM_ERROR_TYPE_NODE_PARAMS..=sys::RTE_TM_ERROR_TYPE_NODE_PARAMS_STATS => {
            "the parameters"
        }
        sys::RTE_TM_ERROR_TYPE_NODE_ID => "the number",
        _ => return None,
    })
}
