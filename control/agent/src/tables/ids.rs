//! Which index is whose.

use std::collections::HashMap;
use std::hash::Hash;

/// Indexes given out by name.
#[derive(Debug)]
pub struct Ids<K> {
    by_key: HashMap<K, u32>,
    free: Vec<u32>,
    next: u32,
    /// One more than the highest index.
    limit: u32,
}

impl<K: Hash + Eq> Ids<K> {
    /// None given out; at most `limit` at once.
    pub fn new(limit: u32) -> Self {
        Ids {
            by_key: HashMap::new(),
            free: Vec::new(),
            next: 0,
            limit,
        }
    }

    /// The index of `key`, if it has one.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.by_key.get(key).copied()
    }

    /// The index of `key`, a new one if it has none; `None` if there is none left.
    pub fn give(&mut self, key: K) -> Option<u32> {
        if let Some(&id) = self.by_key.get(&key) {
            return Some(id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.next < self.limit => {
                self.next += 1;
                self.next - 1
            }
            None => return None,
        };
        self.by_key.insert(key, id);
        Some(id)
    }

    /// Gives what one had to another at once. Whoever still names the index means the other from here on.
    pub fn pass_on<Q: Hash + Eq + ?Sized>(&mut self, from: &Q, to: K)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(id) = self.by_key.remove(from) {
            self.by_key.insert(to, id);
        }
    }

    /// Whose an index is; walks all of them.
    pub fn key_of(&self, id: u32) -> Option<&K> {
        let mut all = self.by_key.iter();
        all.find(|(_, known)| **known == id).map(|(key, _)| key)
    }

    /// How many more can be given out.
    pub fn left(&self) -> usize {
        self.free.len() + (self.limit - self.next) as usize
    }

    /// Takes an index back. Only after a quiescent round without it.
    pub fn take_back<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(id) = self.by_key.remove(key) {
            self.free.push(id);
        }
    }
}
