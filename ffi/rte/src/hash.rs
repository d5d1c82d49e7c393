//! DPDK's own hash table, for keys of one word: the yardstick that Weir's tables are held against.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};

use dpdk_sys as sys;
use thiserror::Error;

use crate::error::Cause;
use crate::{Eal, log};

/// Why a table was not made, or a key not added.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HashError {
    /// A name has 1 to 31 bytes, none of them NUL.
    #[error("table name {0:?}: 1 to 31 bytes, none of them NUL")]
    Name(String),
    /// DPDK refused: no memory, no room, or a name that is taken.
    #[error("table {name:?}: {cause}")]
    Dpdk {
        /// The table's name.
        name: String,
        /// What DPDK said.
        cause: Cause,
    },
}

/// A table from words to words (rte_hash). Dropping it frees its memory.
///
/// One owner writes (`&mut`); the shared reference reads. It cannot be shared between threads.
#[derive(Debug)]
pub struct Hash {
    raw: NonNull<sys::rte_hash>,
    name: String,
}

// SAFETY: the table belongs to no thread; whoever has it is the only one who uses it.
unsafe impl Send for Hash {}

impl Hash {
    /// Keys that [`Hash::lookup_bulk`] looks up at once, at most.
    pub const BULK: usize = sys::RTE_HASH_LOOKUP_BULK_MAX as usize;

    /// An empty table for `entries`. `lock_free`: as it is made for readers beside a writer that they do not wait for
    /// (RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF); else as for one thread, which costs readers less.
    pub fn create(
        _eal: &Eal,
        name: &str,
        entries: u32,
        lock_free: bool,
    ) -> Result<Hash, HashError> {
        let c_name = match CString::new(name) {
            Ok(c_name) if (1..sys::RTE_HASH_NAMESIZE as usize).contains(&name.len()) => c_name,
            _ => return Err(HashError::Name(name.to_owned())),
        };
        let flags = match lock_free {
            true => sys::RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY_LF as u8,
            false => 0,
        };
        let mark = log::mark();
        // SAFETY: EAL runs (`_eal`); `c_name` ends in NUL and is copied by the call; the rest are numbers that the call checks.
        let raw = unsafe { sys::shim_hash_create_u64(c_name.as_ptr(), entries, flags) };
        let Some(raw) = NonNull::new(raw) else {
            return Err(HashError::Dpdk {
                name: name.to_owned(),
                cause: Cause::of_rte_errno("rte_hash_create", mark),
            });
        };
        Ok(Hash {
            raw,
            name: name.to_owned(),
        })
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: u64, value: u64) -> Result<(), HashError> {
        let mark = log::mark();
        // SAFETY: the table lives; the key is 8 bytes, as the table was made for, and is copied by the call; the value is a number that
        // the table never follows. `&mut`: nobody reads meanwhile.
        let result = unsafe {
            sys::rte_hash_add_key_data(
                self.raw.as_ptr(),
                ptr::from_ref(&key).cast(),
                ptr::without_provenance_mut(value as usize),
            )
        };
        match result {
            0 => Ok(()),
            errno => Err(HashError::Dpdk {
                name: self.name.clone(),
                cause: Cause::new("rte_hash_add_key_data", errno, mark),
            }),
        }
    }

    /// Looks up to [`Hash::BULK`] keys up together. Bit `i` of the answer says whether `keys[i]` was found; then `values[i]` is its value,
    /// else it is as it was. Looks at as many keys as there are in the shorter of the two slices, and at most at that many.
    #[inline]
    pub fn lookup_bulk(&self, keys: &[u64], values: &mut [u64]) -> u64 {
        let count = keys.len().min(values.len()).min(Hash::BULK);
        if count == 0 {
            return 0;
        }
        let mut pointers = [ptr::null::<c_void>(); Hash::BULK];
        for (pointer, key) in pointers.iter_mut().zip(keys) {
            *pointer = ptr::from_ref(key).cast();
        }
        let mut hits = 0;
        // SAFETY: the table lives and nobody writes to it meanwhile (`&self`). The first `count` pointers are to keys of 8 bytes;
        // `values` has room for `count` words the size of a pointer, of which those that were found are written.
        unsafe {
            sys::rte_hash_lookup_bulk_data(
                self.raw.as_ptr(),
                pointers.as_mut_ptr(),
                count as u32,
                &mut hits,
                values.as_mut_ptr().cast(),
            );
        }
        hits
    }
}

impl Drop for Hash {
    fn drop(&mut self) {
        // SAFETY: this owner's alone, and not used again.
        unsafe { sys::rte_hash_free(self.raw.as_ptr()) };
    }
}
