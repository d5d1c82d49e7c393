//! What a NIC's traffic manager is told, judged by the rules that drivers have in their sources: of cnxk (cnxk_tm.c, roc_nix_tm.c,
//! roc_nix_tm_utils.c), dpaa2 (dpaa2_tm.c) and mvpp2 (mrvl_tm.c), whose words the refusals are.

use std::ffi::{CStr, c_int};

use dpdk_sys as sys;
use rte::Chooser;

/// What a NIC is made as.
#[derive(Clone, Debug)]
pub struct Nature {
    /// How nodes of each level but the last, which is of queues, choose: from the root on, whatever their numbers say.
    pub levels: Vec<Chooser>,
    pub like: Like,
    /// Refuses to commit, saying so.
    pub refuses: Option<&'static CStr>,
}

/// Whose driver it follows where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Like {
    /// Changes nothing once it is committed, until it is configured anew, when it forgets the tree; keeps what it cannot commit.
    Cnxk,
    /// Changes anything at any time and forgets nothing, but what it cannot commit (`clear_on_fail`).
    Dpaa2,
}

impl Nature {
    /// Port, groups, queues: a group chooses among 8 queues, by so many priorities and weights up to 200.
    pub fn port_group_queue(priorities: u32) -> Nature {
        let group = Chooser {
            level: 1,
            nodes: 8,
            children: 8,
            priorities,
            groups: 1,
            weight: 200,
        };
        Nature {
            levels: vec![only_child(), group],
            like: Like::Cnxk,
            refuses: None,
        }
    }
}

/// A level whose nodes have one child, or several that are alike.
pub fn only_child() -> Chooser {
    Chooser {
        level: 0,
        nodes: 8,
        children: 8,
        priorities: 1,
        groups: 0,
        weight: 1,
    }
}

/// A node as it was told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: u32,
    /// `None` of the root.
    pub parent: Option<u32>,
    pub level: u32,
    pub priority: u32,
    pub weight: u32,
    /// Priorities of its children; `None` of a leaf.
    pub priorities: Option<u32>,
}

/// The tree, and who may change it.
#[derive(Debug)]
pub struct Judge {
    pub nature: Nature,
    /// As it was told, committed or not.
    pub nodes: Vec<Node>,
    /// What it sends by: what was committed last.
    pub sends_by: Option<Vec<Node>>,
    /// How often that has changed.
    pub commits: u64,
    /// Transmit queues that the port is configured with.
    pub queues: u32,
}

/// Why it does not do what it is told.
pub struct Refusal {
    pub errno: c_int,
    pub about: sys::rte_tm_error_type,
    pub saying: &'static CStr,
}

const EINVAL: c_int = 22;
const EIO: c_int = 5;

fn refuse(about: sys::rte_tm_error_type, saying: &'static CStr) -> Result<(), Refusal> {
    Err(Refusal {
        errno: EINVAL,
        about,
        saying,
    })
}

pub fn wrong_level() -> Result<(), Refusal> {
    refuse(sys::RTE_TM_ERROR_TYPE_LEVEL_ID, c"Wrong level id\n")
}

impl Judge {
    pub fn new(nature: Nature) -> Judge {
        Judge {
            nature,
            nodes: Vec::new(),
            sends_by: None,
            commits: 0,
            queues: 0,
        }
    }

    pub fn find(&self, id: u32) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    fn children(&self, id: u32) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(move |node| node.parent == Some(id))
    }

    pub fn add(&mut self, node: Node, params: &sys::rte_tm_node_params) -> Result<(), Refusal> {
        self.may_add(&node, params)?;
        self.nodes.push(node);
        Ok(())
    }

    fn may_add(&self, node: &Node, params: &sys::rte_tm_node_params) -> Result<(), Refusal> {
        use sys::*;
        let nature = &self.nature;
        if self.is_frozen() {
            return frozen(c"dynamic update not supported");
        }
        let levels = nature.levels.len() as u32;
        let leaf = node.level == levels;
        if node.level > levels {
            return wrong_level();
        }
        // dpaa2_node_add takes the number that follows the last queue's for a leaf's.
        if node.id == RTE_TM_NODE_ID_NULL
            || leaf != (node.id < self.queues)
            || node.id == self.queues
        {
            return refuse(RTE_TM_ERROR_TYPE_NODE_ID, c"Node id is invalid\n");
        }
        let same = self.nodes.iter().filter(|other| other.level == node.level);
        let most = nature
            .levels
            .get(node.level as usize)
            .map_or(self.queues, |l| l.nodes);
        if same.count() as u32 >= most {
            return refuse(RTE_TM_ERROR_TYPE_LEVEL_ID, c"too many nodes of a level");
        }
        self.is_placed(node)?;
        if self.find(node.id).is_some() {
            return refuse(RTE_TM_ERROR_TYPE_NODE_ID, c"Node id already exists\n");
        }
        self.has_params(node, params)
    }

    /// Its parent, and what it is to the parent's other children.
    fn is_placed(&self, node: &Node) -> Result<(), Refusal> {
        use sys::*;
        let Some(id) = node.parent else {
            if node.level != 0 {
                return refuse(RTE_TM_ERROR_TYPE_NODE_PARENT_NODE_ID, c"invalid parent");
            }
            if self.nodes.iter().any(|other| other.parent.is_none()) {
                return refuse(RTE_TM_ERROR_TYPE_UNSPECIFIED, c"Root node exists\n");
            }
            return match (node.priority, node.weight) {
                (0, 1) => Ok(()),
                _ => refuse(RTE_TM_ERROR_TYPE_NODE_PRIORITY, c"the root is an only one"),
            };
        };
        let parent = self
            .find(id)
            .filter(|parent| parent.level + 1 == node.level);
        let Some(parent) = parent else {
            return refuse(RTE_TM_ERROR_TYPE_NODE_PARENT_NODE_ID, c"invalid parent");
        };
        let by = self.nature.levels[parent.level as usize];
        let mut priorities: Vec<u32> = self.children(id).map(|child| child.priority).collect();
        if priorities.len() as u32 >= by.children {
            return refuse(
                RTE_TM_ERROR_TYPE_NODE_PARENT_NODE_ID,
                c"too many children of a node",
            );
        }
        if node.priority >= by.priorities {
            return refuse(RTE_TM_ERROR_TYPE_NODE_PRIORITY, c"priority exceeded");
        }
        // nix_tm_validate_prio
        if node.priority > 0 && !priorities.contains(&(node.priority - 1)) {
            return refuse(RTE_TM_ERROR_TYPE_NODE_PRIORITY, c"invalid priority order");
        }
        priorities.push(node.priority);
        priorities.sort_unstable();
        let shared = priorities.chunk_by(|a, b| a == b).filter(|of| of.len() > 1);
        if by.groups > 0 && shared.count() as u32 > by.groups {
            return refuse(
                RTE_TM_ERROR_TYPE_NODE_PRIORITY,
                c"multiple DWRR groups of one parent",
            );
        }
        if node.weight == 0 || node.weight > by.weight {
            return refuse(RTE_TM_ERROR_TYPE_NODE_WEIGHT, c"Weight is out of range\n");
        }
        Ok(())
    }

    fn has_params(&self, node: &Node, params: &sys::rte_tm_node_params) -> Result<(), Refusal> {
        use sys::*;
        let none = params.shaper_profile_id == RTE_TM_SHAPER_PROFILE_ID_NONE
            && params.shared_shaper_id.is_null()
            && params.n_shared_shapers == 0;
        if !none {
            return refuse(
                RTE_TM_ERROR_TYPE_NODE_PARAMS_SHAPER_PROFILE_ID,
                c"Shaper id does not exist\n",
            );
        }
        if params.stats_mask != 0 {
            return refuse(RTE_TM_ERROR_TYPE_NODE_PARAMS_STATS, c"no such counters");
        }
        // SAFETY: both sides of the union are numbers and pointers, which the caller has set.
        let (nonleaf, leaf) = unsafe {
            let union = params.__bindgen_anon_1;
            (union.nonleaf, union.leaf)
        };
        match node.priorities {
            Some(priorities) => {
                if !nonleaf.wfq_weight_mode.is_null() {
                    return refuse(
                        RTE_TM_ERROR_TYPE_NODE_PARAMS_WFQ_WEIGHT_MODE,
                        c"WFQ weight mode is not supported\n",
                    );
                }
                let most = self.nature.levels[node.level as usize].priorities;
                if priorities == 0 || priorities > most {
                    return refuse(
                        RTE_TM_ERROR_TYPE_NODE_PARAMS_N_SP_PRIORITIES,
                        c"SP is not supported\n",
                    );
                }
            }
            None => {
                if leaf.cman != RTE_TM_CMAN_TAIL_DROP {
                    return refuse(
                        RTE_TM_ERROR_TYPE_NODE_PARAMS_CMAN,
                        c"Only taildrop is supported\n",
                    );
                }
                // As i40e, ice and hns3 ask.
                if leaf.wred.wred_profile_id != RTE_TM_WRED_PROFILE_ID_NONE
                    || leaf.wred.n_shared_wred_contexts != 0
                {
                    return refuse(
                        RTE_TM_ERROR_TYPE_NODE_PARAMS_WRED_PROFILE_ID,
                        c"WRED is not supported\n",
                    );
                }
            }
        }
        Ok(())
    }

    pub fn delete(&mut self, id: u32) -> Result<(), Refusal> {
        if self.is_frozen() {
            return frozen(c"hierarchy exists");
        }
        if self.find(id).is_none() {
            return refuse(sys::RTE_TM_ERROR_TYPE_NODE_ID, c"Node id does not exist\n");
        }
        if self.children(id).next().is_some() {
            return refuse(sys::RTE_TM_ERROR_TYPE_NODE_ID, c"Node id is used\n");
        }
        self.nodes.retain(|node| node.id != id);
        Ok(())
    }

    pub fn commit(&mut self, clear_on_fail: bool) -> Result<(), Refusal> {
        let done = self.may_commit();
        if done.is_ok() {
            self.sends_by = Some(self.nodes.clone());
            self.commits += 1;
        } else if clear_on_fail && self.nature.like == Like::Dpaa2 {
            self.nodes.clear();
        }
        done
    }

    fn may_commit(&self) -> Result<(), Refusal> {
        use sys::*;
        if self.is_frozen() {
            return frozen(c"hierarchy exists");
        }
        if let Some(saying) = self.nature.refuses {
            return refuse(RTE_TM_ERROR_TYPE_UNSPECIFIED, saying);
        }
        let leaves = self.nodes.iter().filter(|node| node.priorities.is_none());
        if leaves.count() as u32 != self.queues {
            return refuse(RTE_TM_ERROR_TYPE_UNSPECIFIED, c"incomplete hierarchy");
        }
        for node in &self.nodes {
            let Some(priorities) = node.priorities else {
                continue;
            };
            let lowest = self.children(node.id).map(|child| child.priority).max();
            if lowest.is_none_or(|lowest| lowest + 1 != priorities) {
                return refuse(
                    RTE_TM_ERROR_TYPE_NODE_PARAMS_N_SP_PRIORITIES,
                    c"a node has not the priorities that it was to have",
                );
            }
        }
        Ok(())
    }

    fn is_frozen(&self) -> bool {
        self.sends_by.is_some() && self.nature.like == Like::Cnxk
    }

    /// The port is configured anew.
    pub fn configure(&mut self) {
        if self.nature.like == Like::Cnxk {
            self.nodes.clear();
            self.sends_by = None;
        }
    }
}

/// As cnxk_nix_tm_node_add.
fn frozen(saying: &'static CStr) -> Result<(), Refusal> {
    let about = sys::RTE_TM_ERROR_TYPE_CAPABILITIES;
    Err(Refusal {
        errno: EIO,
        about,
        saying,
    })
}
