//! A NIC with a traffic manager, for tests: no device that runs without hardware has one (tests/traffic_manager.rs).
//!
//! A net_ring port whose driver answers as NICs' do that have rte_tm. What it is told it judges by the rules that the drivers of cnxk and
//! dpaa2 have in their sources (src/class_tree.rs has them), and keeps. It receives nothing, as a ring's receive queue would give back what its
//! transmit queue was given. What it sends lies in rings, one a transmit queue, until its [`Wire`] takes it as the tree says.
//!
//! In a test of another crate, whose Cargo.toml has `rte` and `dpdk_sys`:
//! `#[path = "../../../ffi/rte/tests/common/class_nic.rs"] mod class_nic;`
#![allow(dead_code, unsafe_code, unused_imports)]

#[path = "judge.rs"]
mod judge;
#[path = "tables.rs"]
mod tables;
#[path = "wire.rs"]
mod wire;

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpdk_sys as sys;
use judge::{Judge, Refusal};
pub use judge::{Like, Nature, Node, only_child};
use rte::Eal;
use tables::{Device, ManagerOps, Tables, any};
pub use wire::Wire;

/// A call that it had, whether or not it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Add(Node),
    Delete(u32),
    Commit { clear_on_fail: bool },
}

/// See the module. Its port is there, and nobody's: `Port::attach` takes it over by its name.
pub struct ClassNic {
    name: String,
    at: &'static Tables<Mutex<State>>,
}

/// What its driver remembers.
pub struct State {
    port: u16,
    judge: Judge,
    told: Vec<Told>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClassNic {
    /// Puts one in of this name, which begins with `net_ring` and is no other port's; `None` where this DPDK's private structs are not known.
    /// No other thread attaches or closes ports meanwhile. What it is made of stays for as long as the process.
    pub fn put_in(_eal: &Eal, name: &str, nature: Nature) -> Option<ClassNic> {
        if !tables::known() {
            return None;
        }
        assert!(name.starts_with("net_ring") && !name.contains(','));
        let c_name = CString::new(name).expect("no NUL");
        let mut manager: ManagerOps = [None; 29];
        manager[tables::CAPABILITIES] = any(whole as *const ());
        manager[tables::LEVEL_CAPABILITIES] = any(level as *const ());
        manager[tables::NODE_ADD] = any(add as *const ());
        manager[tables::NODE_DELETE] = any(delete as *const ());
        manager[tables::HIERARCHY_COMMIT] = any(commit as *const ());
        let mut port = 0;
        // SAFETY: EAL runs (`_eal`); the string ends in NUL; nobody else adds or removes devices, as this function asks of its callers.
        unsafe {
            assert_eq!(sys::rte_dev_probe(c_name.as_ptr()), 0, "a ring");
            let found = sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut port);
            assert_eq!(found, 0, "it has this name");
        }
        let state = State {
            port,
            judge: Judge::new(nature),
            told: Vec::new(),
        };
        // SAFETY: the structs are known, and the port is new: nobody has it or knows of it. The functions are of the types that DPDK calls
        // them by, and the tables stay for good.
        let at = unsafe {
            let device = tables::device(&c_name, port);
            let mut tables = tables::tables(device, manager, Mutex::new(state));
            tables.driver[tables::CONFIGURE] = any(configure as *const ());
            let tables: &'static Tables<_> = Box::leak(Box::new(tables));
            (*device).functions_of_driver = (&raw const *tables).cast();
            (*device).functions[tables::RX_BURST] = any(receive as *const ());
            tables
        };
        let name = name.into();
        Some(ClassNic { name, at })
    }

    /// The name that `Port::attach` takes it over by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tree as it has it, committed or not, in the order that it was told of it.
    pub fn nodes(&self) -> Vec<Node> {
        lock(&self.at.state).judge.nodes.clone()
    }

    /// Every call that it had.
    pub fn told(&self) -> Vec<Told> {
        lock(&self.at.state).told.clone()
    }

    /// Whether it sends by the tree.
    pub fn is_committed(&self) -> bool {
        lock(&self.at.state).judge.sends_by.is_some()
    }

    /// Refuses to commit from now on, saying so, or no longer.
    pub fn refuse(&self, saying: Option<&'static CStr>) {
        lock(&self.at.state).judge.nature.refuses = saying;
    }

    /// Where its frames leave. One at a time.
    pub fn wire(&self) -> Wire {
        Wire::new(self.name.clone(), self.at)
    }
}

/// What a call of the driver's is about: its own remembering, to be locked, with the queues that the port has by now.
///
/// # Safety
/// DPDK calls the driver of a [`ClassNic`] with its device.
unsafe fn of<'a>(device: *mut Device) -> MutexGuard<'a, State> {
    // SAFETY: the device's functions are such tables, which stay for good.
    let state = unsafe {
        let tables: *const Tables<Mutex<State>> = (*device).functions_of_driver.cast();
        &(*tables).state
    };
    let mut state = lock(state);
    let mut error = no_error();
    // SAFETY: DPDK answers by itself; what is pointed to is written during the call.
    unsafe {
        sys::rte_tm_get_number_of_leaf_nodes(state.port, &mut state.judge.queues, &mut error)
    };
    state
}

fn no_error() -> sys::rte_tm_error {
    sys::rte_tm_error {
        type_: sys::RTE_TM_ERROR_TYPE_NONE,
        cause: ptr::null(),
        message: ptr::null(),
    }
}

/// As `rte_tm_error_set`.
fn answer(what: Result<(), Refusal>, error: *mut sys::rte_tm_error) -> c_int {
    let Err(refusal) = what else {
        return 0;
    };
    // SAFETY: whoever asks has room for an error, as drivers count on it.
    unsafe {
        (*error).type_ = refusal.about;
        (*error).message = refusal.saying.as_ptr();
    }
    -refusal.errno
}

/// `rx_pkt_burst`.
unsafe extern "C" fn receive(_: *mut c_void, _: *mut *mut sys::rte_mbuf, _: u16) -> u16 {
    0
}

/// `dev_configure`, of which a ring's own does nothing.
unsafe extern "C" fn configure(device: *mut Device) -> c_int {
    // SAFETY: DPDK calls.
    unsafe { of(device) }.judge.configure();
    0
}

/// `capabilities_get`.
unsafe extern "C" fn whole(
    device: *mut Device,
    says: *mut sys::rte_tm_capabilities,
    _: *mut sys::rte_tm_error,
) -> c_int {
    // SAFETY: DPDK passes on what the caller has for it.
    let (says, state) = unsafe { (&mut *says, of(device)) };
    let levels = &state.judge.nature.levels;
    let nodes: u32 = levels.iter().map(|level| level.nodes).sum();
    says.n_nodes_max = nodes + state.judge.queues;
    says.n_levels_max = levels.len() as u32 + 1;
    0
}

/// `level_capabilities_get`.
unsafe extern "C" fn level(
    device: *mut Device,
    level: u32,
    says: *mut sys::rte_tm_level_capabilities,
    error: *mut sys::rte_tm_error,
) -> c_int {
    // SAFETY: as above.
    let (says, state) = unsafe { (&mut *says, of(device)) };
    let levels = &state.judge.nature.levels;
    match levels.get(level as usize) {
        Some(by) => {
            says.n_nodes_max = by.nodes;
            says.n_nodes_nonleaf_max = by.nodes;
            // SAFETY: both sides of the union are numbers.
            let nodes = unsafe { &mut says.__bindgen_anon_1.nonleaf };
            nodes.sched_n_children_max = by.children;
            nodes.sched_sp_n_priorities_max = by.priorities;
            nodes.sched_wfq_n_groups_max = by.groups;
            nodes.sched_wfq_weight_max = by.weight;
            0
        }
        None if level as usize == levels.len() => {
            says.n_nodes_max = state.judge.queues;
            says.n_nodes_leaf_max = state.judge.queues;
            0
        }
        None => answer(judge::wrong_level(), error),
    }
}

/// `node_add`.
unsafe extern "C" fn add(
    device: *mut Device,
    id: u32,
    parent: u32,
    priority: u32,
    weight: u32,
    level: u32,
    params: *const sys::rte_tm_node_params,
    error: *mut sys::rte_tm_error,
) -> c_int {
    // SAFETY: as above.
    let (mut state, params) = unsafe { (of(device), &*params) };
    let leaf = id < state.judge.queues;
    // SAFETY: both sides of the union are numbers and pointers, which whoever calls has set; this one counts of nodes that are no leaves.
    let priorities = unsafe { params.__bindgen_anon_1.nonleaf.n_sp_priorities };
    let node = Node {
        id,
        parent: (parent != sys::RTE_TM_NODE_ID_NULL).then_some(parent),
        level,
        priority,
        weight,
        priorities: (!leaf).then_some(priorities),
    };
    state.told.push(Told::Add(node));
    answer(state.judge.add(node, params), error)
}

/// `node_delete`.
unsafe extern "C" fn delete(device: *mut Device, id: u32, error: *mut sys::rte_tm_error) -> c_int {
    // SAFETY: as above.
    let mut state = unsafe { of(device) };
    state.told.push(Told::Delete(id));
    answer(state.judge.delete(id), error)
}

/// `hierarchy_commit`.
unsafe extern "C" fn commit(
    device: *mut Device,
    clear_on_fail: c_int,
    error: *mut sys::rte_tm_error,
) -> c_int {
    // SAFETY: as above.
    let mut state = unsafe { of(device) };
    let clear_on_fail = clear_on_fail != 0;
    state.told.push(Told::Commit { clear_on_fail });
    answer(state.judge.commit(clear_on_fail), error)
}
