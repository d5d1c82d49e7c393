//! A table of fixed size, keyed by destination, that many vNICs share: each may have as much as it leaves free, so that one
//! vNIC alone takes half of it, two a third each, and there is always room for one that has little (dynamic thresholds,
//! Choudhury and Hahne 1998). Never allocates after it was made; finding takes constant time, counting a walk of all.

use weir_tables::endpoints::Destination;
use weir_tables::ids::VnicId;

/// No entry.
const NONE: u16 = u16::MAX;

/// The table.
pub(crate) struct Shares<T> {
    entries: Box<[Option<Entry<T>>]>,
    /// First entry of each chain; a power of two of them.
    heads: Box<[u16]>,
    free: Vec<u16>,
    seed: u64,
}

struct Entry<T> {
    key: Destination,
    owner: VnicId,
    /// Next of its chain.
    next: u16,
    value: T,
}

impl<T> Shares<T> {
    /// Room for so many, fewer than 65,535. `seed`: tenants choose addresses, and must not choose who shares a chain.
    pub(crate) fn new(room: u16, seed: u64) -> Self {
        let room = room.min(NONE - 1);
        Shares {
            entries: (0..room).map(|_| None).collect(),
            heads: vec![NONE; (usize::from(room) * 2).next_power_of_two()].into(),
            free: (0..room).rev().collect(),
            seed,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    fn chain(&self, key: Destination) -> usize {
        // Each word folded in as in wyhash; the upper half of the product has its say in the lower.
        let hash = key.words().iter().fold(self.seed, |hash, word| {
            let product = u128::from(hash ^ word) * 0xa076_1d64_78bd_642f_u128;
            (product as u64) ^ ((product >> 64) as u64)
        });
        (hash as usize) & (self.heads.len() - 1)
    }

    fn find(&self, key: Destination) -> Option<u16> {
        let mut at = *self.heads.get(self.chain(key))?;
        while let Some(Some(entry)) = self.entries.get(usize::from(at)) {
            if entry.key == key {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    pub(crate) fn contains(&self, key: Destination) -> bool {
        self.find(key).is_some()
    }

    pub(crate) fn get_mut(&mut self, key: Destination) -> Option<&mut T> {
        let at = self.find(key)?;
        let entry = self.entries.get_mut(usize::from(at))?.as_mut()?;
        Some(&mut entry.value)
    }

    /// Whether this vNIC may have one more.
    pub(crate) fn has_room(&self, owner: VnicId) -> bool {
        let entries = self.entries.iter().flatten();
        let own = entries.filter(|entry| entry.owner == owner).count();
        own < self.free.len()
    }

    /// Adds what is not in it; `false`, and nothing done, beyond the owner's share.
    pub(crate) fn add(&mut self, key: Destination, owner: VnicId, value: T) -> bool {
        if !self.has_room(owner) || self.contains(key) {
            return false;
        }
        let chain = self.chain(key);
        let Some(at) = self.free.pop() else {
            return false;
        };
        if let (Some(place), Some(head)) = (
            self.entries.get_mut(usize::from(at)),
            self.heads.get_mut(chain),
        ) {
            *place = Some(Entry {
                key,
                owner,
                next: std::mem::replace(head, at),
                value,
            });
        }
        true
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: Destination) -> Option<(VnicId, T)> {
        let at = self.find(key)?;
        let chain = self.chain(key);
        let entry = self.entries.get_mut(usize::from(at))?.take()?;
        self.free.push(at);
        let head = self.heads.get_mut(chain)?;
        if *head == at {
            *head = entry.next;
            return Some((entry.owner, entry.value));
        }
        let mut before = *head;
        while let Some(Some(link)) = self.entries.get_mut(usize::from(before)) {
            if link.next == at {
                link.next = entry.next;
                break;
            }
            before = link.next;
        }
        Some((entry.owner, entry.value))
    }

    /// All entries: key, owner, value. Whoever is made the owner counts as such.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = (Destination, &mut VnicId, &mut T)> {
        let entries = self.entries.iter_mut().flatten();
        entries.map(|entry| (entry.key, &mut entry.owner, &mut entry.value))
    }

    /// Keeps those of which this is true.
    pub(crate) fn retain(&mut self, keep: impl Fn(Destination, VnicId, &T) -> bool) {
        for at in 0..self.entries.len() {
            if let Some(Some(entry)) = self.entries.get(at)
                && !keep(entry.key, entry.owner, &entry.value)
            {
                let key = entry.key;
                self.remove(key);
            }
        }
    }
}
