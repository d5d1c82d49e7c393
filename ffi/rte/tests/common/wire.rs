//! Where a [`ClassNic`](super::ClassNic)'s frames leave: the next frame is the one that the tree says.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::slice;
use std::sync::Mutex;

use dpdk_sys as sys;

use super::judge::Node;
use super::{State, Tables, lock};

/// A node: of its children that have something, those of the highest priority go first, and of these each gets its weight's part of the
/// bytes. Start-time fair queueing: next is the child whose part, had it been served evenly, would have begun first.
///
/// Without a tree its queues take turns, by bytes.
pub struct Wire {
    name: String,
    at: &'static Tables<Mutex<State>>,
    tree: Vec<Node>,
    /// Which the tree is.
    commits: Option<u64>,
    /// When a node's next frame begins, in bytes of its own by its weight; and how far its parent is with those of a priority.
    begins: HashMap<u32, u64>,
    so_far: HashMap<(u32, u32), u64>,
}

/// Parts of a byte, so that weights divide.
const PARTS: u64 = 1 << 20;

/// The root where there is no tree.
const ROOT: u32 = 1000;

impl Wire {
    pub(super) fn new(name: String, at: &'static Tables<Mutex<State>>) -> Wire {
        Wire {
            name,
            at,
            tree: Vec::new(),
            commits: None,
            begins: HashMap::new(),
            so_far: HashMap::new(),
        }
    }

    /// Takes the next frame: the queue that it was in, and its bytes. `None` where there is none. Not while the port is closed by another
    /// thread.
    pub fn next(&mut self) -> Option<(u16, Vec<u8>)> {
        self.look();
        let root = self.tree.iter().find(|node| node.parent.is_none())?;
        let rings: HashMap<u32, *mut sys::rte_ring> = self.waiting().collect();
        let mut path = vec![*root];
        while let Some(node) = path.last().filter(|node| node.priorities.is_some()) {
            let child = self.choose(node.id, &rings)?;
            path.push(child);
        }
        let leaf = path.last()?.id;
        let mut taken: *mut c_void = ptr::null_mut();
        // SAFETY: the ring is the port's, which is open; no other thread takes from it, as there is one wire and the port's driver receives
        // nothing.
        let got = unsafe { sys::shim_ring_sc_dequeue_burst(rings[&leaf], &mut taken, 1) };
        assert_eq!(got, 1, "there was one");
        // SAFETY: what was in the ring is an mbuf that was sent, and nobody else's.
        let bytes = unsafe { read_and_free(taken.cast()) };
        for step in path.windows(2) {
            let [parent, child] = step else { continue };
            let lasts = bytes.len() as u64 * PARTS / u64::from(child.weight);
            let begun = self.begun(parent.id, child);
            self.so_far.insert((parent.id, child.priority), begun);
            self.begins.insert(child.id, begun + lasts);
        }
        Some((leaf as u16, bytes))
    }

    /// Takes all that there are, and no more than `most`.
    pub fn take(&mut self, most: usize) -> Vec<(u16, Vec<u8>)> {
        std::iter::from_fn(|| self.next()).take(most).collect()
    }

    /// The tree that it sends by now.
    fn look(&mut self) {
        let state = lock(&self.at.state);
        let now = state.judge.sends_by.as_ref().map(|_| state.judge.commits);
        let queues = state.judge.queues;
        let node = |id, parent: Option<u32>| Node {
            id,
            parent,
            level: u32::from(parent.is_some()),
            priority: 0,
            weight: 1,
            priorities: parent.is_none().then_some(1),
        };
        match &state.judge.sends_by {
            Some(_) if now == self.commits => return,
            Some(tree) => self.tree = tree.clone(),
            None => {
                let leaves = (0..queues).map(|queue| node(queue, Some(ROOT)));
                let tree = std::iter::once(node(ROOT, None)).chain(leaves).collect();
                if tree == self.tree {
                    return;
                }
                self.tree = tree;
            }
        }
        self.commits = now;
        self.begins.clear();
        self.so_far.clear();
    }

    /// Queues that have something, with their rings.
    fn waiting(&self) -> impl Iterator<Item = (u32, *mut sys::rte_ring)> {
        let leaves = self.tree.iter().filter(|node| node.priorities.is_none());
        leaves.filter_map(|leaf| {
            // eth_dev_ring_create (rte_eth_ring.c)
            let name = CString::new(format!("ETH_RXTX{}_{}", leaf.id, self.name)).ok()?;
            // SAFETY: the string ends in NUL; a ring that is there stays while the port is open.
            unsafe {
                let ring = sys::rte_ring_lookup(name.as_ptr());
                (!ring.is_null() && sys::shim_ring_count(ring) > 0).then_some((leaf.id, ring))
            }
        })
    }

    /// Of a node's children that have something, which is next.
    fn choose(&self, parent: u32, waiting: &HashMap<u32, *mut sys::rte_ring>) -> Option<Node> {
        let children = self.tree.iter().filter(|node| node.parent == Some(parent));
        let children = children.filter(|child| self.has(child.id, waiting));
        let next = children.min_by_key(|child| (child.priority, self.begun(parent, child)));
        next.copied()
    }

    fn has(&self, id: u32, waiting: &HashMap<u32, *mut sys::rte_ring>) -> bool {
        waiting.contains_key(&id) || {
            let mut children = self.tree.iter().filter(|node| node.parent == Some(id));
            children.any(|child| self.has(child.id, waiting))
        }
    }

    /// When a child's next frame begins: one that had nothing for a while begins where the others are.
    fn begun(&self, parent: u32, child: &Node) -> u64 {
        let own = self.begins.get(&child.id).copied().unwrap_or(0);
        let others = self.so_far.get(&(parent, child.priority));
        own.max(others.copied().unwrap_or(0))
    }
}

/// # Safety
/// An mbuf, and nobody else's: it is gone.
unsafe fn read_and_free(mbuf: *mut sys::rte_mbuf) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut segment = mbuf;
    // SAFETY: segments are mbufs whose data lie at `data_off` behind `buf_addr`.
    unsafe {
        while let Some(part) = segment.as_ref() {
            let data: *const u8 = part.buf_addr.cast();
            let data = data.add(part.data_off.into());
            bytes.extend_from_slice(slice::from_raw_parts(data, part.data_len.into()));
            segment = part.next;
        }
        sys::shim_pktmbuf_free(mbuf);
    }
    bytes
}
