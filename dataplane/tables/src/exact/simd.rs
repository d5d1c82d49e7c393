//! A key compared with all keys of its bucket at once, where the processor can: which slot holds it, if one does.
//!
//! What the wide comparison says is a guess. Whether the slot it names holds the key is read once more, by the atomic load that the
//! promises of the [module](super) rest on, before the slot's value is taken; so a guess that is wrong costs a second look and shows
//! nobody another key's value. What is asked of the wide comparison is only that it misses no key that is there and not being
//! written.

use super::{BATCH, Exact, Key};

/// How the keys of a bucket are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    /// One after the other, on every processor.
    Portable,
    /// All but the last at once: keys of one word, three or five a bucket.
    #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
    Avx2,
}

impl Lanes {
    /// The best that this processor has. Found out when a table is made, never on the path.
    pub(super) fn of<const SLOTS: usize, const KEY: usize>() -> Lanes {
        #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
        if KEY == 1
            && matches!(SLOTS, 3 | 5)
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("bmi1")
        {
            return Lanes::Avx2;
        }
        Lanes::Portable
    }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> Exact<SLOTS, WORDS, KEY> {
    /// The same as [`compare`](Exact::compare).
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) fn compare_wide<K: Key<KEY>>(
        &self,
        keys: &[K],
        firsts: &[u32; BATCH],
        out: &mut [[u32; WORDS]],
    ) -> u32 {
        // SAFETY: `Lanes::of` found both features before this table was made to use them.
        unsafe { avx2::compare(self, keys, firsts, out) }
    }

    /// The same as [`again`](Exact::again).
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) fn again_wide<K: Key<KEY>>(
        &self,
        keys: &[K],
        out: &mut [[u32; WORDS]],
        missing: u32,
    ) -> u32 {
        // SAFETY: as above.
        unsafe { avx2::again(self, keys, out, missing) }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
mod avx2 {
    use super::super::{Bucket, is_empty, is_key, load};
    use super::*;
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_castsi128_pd, _mm_movemask_pd, _mm_set1_epi64x, _mm256_castsi256_pd,
        _mm256_movemask_pd, _mm256_set1_epi64x,
    };

    #[target_feature(enable = "avx2,bmi1")]
    pub(super) fn compare<const SLOTS: usize, const WORDS: usize, const KEY: usize, K: Key<KEY>>(
        table: &Exact<SLOTS, WORDS, KEY>,
        keys: &[K],
        firsts: &[u32; BATCH],
        out: &mut [[u32; WORDS]],
    ) -> u32 {
        let mut missing = 0;
        for ((&key, &first), out) in keys.iter().zip(firsts).zip(out) {
            let mut hit = false;
            if let Some(bucket) = table.buckets.get(first as usize)
                && !is_empty(key.words())
            {
                (hit, *out) = probe(bucket, key.words());
            }
            missing = missing << 1 | u32::from(!hit);
        }
        missing
    }

    #[target_feature(enable = "avx2,bmi1")]
    pub(super) fn again<const SLOTS: usize, const WORDS: usize, const KEY: usize, K: Key<KEY>>(
        table: &Exact<SLOTS, WORDS, KEY>,
        keys: &[K],
        out: &mut [[u32; WORDS]],
        missing: u32,
    ) -> u32 {
        table.again(keys, out, missing, |bucket, key| probe(bucket, key))
    }

    /// As [`Bucket::probe`]. The last slot is the guess where no other holds the key.
    #[target_feature(enable = "avx2,bmi1")]
    #[inline]
    fn probe<const SLOTS: usize, const WORDS: usize, const KEY: usize>(
        bucket: &Bucket<SLOTS, WORDS, KEY>,
        key: [u64; KEY],
    ) -> (bool, [u32; WORDS]) {
        let [word, ..] = *key.as_slice() else {
            return (false, [0; WORDS]);
        };
        let others = match SLOTS {
            5 => four(bucket, word),
            _ => two(bucket, word),
        };
        let slot = (others | 1 << (SLOTS - 1)).trailing_zeros() as usize;
        let hit = bucket.keys.get(slot).is_some_and(|own| is_key(own, key));
        (hit, bucket.values.get(slot).map_or([0; WORDS], load))
    }

    /// One bit for each of the first four keys that is `word`.
    #[target_feature(enable = "avx2,bmi1")]
    #[inline]
    #[allow(unsafe_code)]
    fn four<const SLOTS: usize, const WORDS: usize, const KEY: usize>(
        bucket: &Bucket<SLOTS, WORDS, KEY>,
        word: u64,
    ) -> u32 {
        let wanted = _mm256_set1_epi64x(word as i64);
        let equal: __m256i;
        // SAFETY: the first 32 bytes of a bucket are four of its `AtomicU64` keys (`repr(C)`, SLOTS = 5, KEY = 1), so the load is
        // in bounds; a VEX operand need not be aligned, and this one is. Control may store to those keys meanwhile, so this must not be a
        // load of Rust's, which would be a race: it is an instruction, and what it does is what four `load(Acquire)` may
        // do. Each lane is an aligned quadword, of which the processor shows no half (Intel SDM vol. 3A, "Guaranteed Atomic Operations", AMD
        // APM vol. 2, "Access Atomicity": accesses within an aligned quadword are atomic, and wider ones are made of such). Loads are
        // not reordered with later ones on x86, vectors' neither (SDM, "Memory Ordering"), and as the block is not `readonly`, the compiler moves no
        // access across it. It writes nothing.
        unsafe {
            asm!(
                "vpcmpeqq {equal}, {wanted}, ymmword ptr [{keys}]",
                equal = lateout(ymm_reg) equal,
                wanted = in(ymm_reg) wanted,
                keys = in(reg) std::ptr::from_ref(bucket),
                options(nostack, preserves_flags),
            );
        }
        _mm256_movemask_pd(_mm256_castsi256_pd(equal)) as u32
    }

    /// The same of the first two.
    #[target_feature(enable = "avx2,bmi1")]
    #[inline]
    #[allow(unsafe_code)]
    fn two<const SLOTS: usize, const WORDS: usize, const KEY: usize>(
        bucket: &Bucket<SLOTS, WORDS, KEY>,
        word: u64,
    ) -> u32 {
        let wanted = _mm_set1_epi64x(word as i64);
        let equal: __m128i;
        // SAFETY: as in `four`, of the first 16 bytes: two keys of a bucket with three (SLOTS = 3, KEY = 1).
        unsafe {
            asm!(
                "vpcmpeqq {equal}, {wanted}, xmmword ptr [{keys}]",
                equal = lateout(xmm_reg) equal,
                wanted = in(xmm_reg) wanted,
                keys = in(reg) std::ptr::from_ref(bucket),
                options(nostack, preserves_flags),
            );
        }
        _mm_movemask_pd(_mm_castsi128_pd(equal)) as u32
    }
}
