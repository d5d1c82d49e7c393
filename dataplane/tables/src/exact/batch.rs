//! Many lookups at once, so that their cache misses overlap.

use super::simd::Lanes;
use super::{BATCH, Bucket, Exact, Key, Place, is_empty};
use crate::prefetch;

/// Which bucket was asked for, of up to [`BATCH`] keys. It means nothing in another table or of other keys: they would not be found.
#[derive(Clone, Copy, Debug)]
pub struct Asked([u32; BATCH]);

impl Asked {
    /// None yet.
    pub const NONE: Asked = Asked([0; BATCH]);
}

impl<const SLOTS: usize, const WORDS: usize, const KEY: usize> Exact<SLOTS, WORDS, KEY> {
    /// Looks up to [`BATCH`] keys up together, so that their cache misses overlap: ask for all,
    /// then compare all.
    ///
    /// Bit `i` of the answer says whether `keys[i]` was found; `out[i]` is its value, or all
    /// zeroes. Looks at as many keys as there are in the shorter of the two slices, and at most at
    /// [`BATCH`].
    #[inline]
    pub fn get_batch<K: Key<KEY>>(&self, keys: &[K], out: &mut [[u32; WORDS]]) -> u32 {
        self.batch(self.lanes, keys, out)
    }

    /// The same with keys compared in this way, which the processor has.
    #[inline(always)]
    pub(super) fn batch<K: Key<KEY>>(
        &self,
        lanes: Lanes,
        keys: &[K],
        out: &mut [[u32; WORDS]],
    ) -> u32 {
        let many = keys.len().min(out.len());
        let keys = keys.get(..many).unwrap_or_default();
        let mut asked = Asked::NONE;
        self.ask(keys, &mut asked);
        self.answer_by(lanes, keys, &asked, out)
    }

    /// The first half of [`get_batch`](Self::get_batch): asks memory for the first bucket of each key, and waits for none of them.
    #[inline(always)]
    pub fn ask<K: Key<KEY>>(&self, keys: &[K], asked: &mut Asked) {
        for (first, &key) in asked.0.iter_mut().zip(keys) {
            *first = self.first(self.hash(key.words()));
            prefetch::read_at(self.buckets.as_ptr().wrapping_add(*first as usize));
        }
    }

    /// The second half, of the same keys: what [`get_batch`](Self::get_batch) says.
    #[inline(always)]
    pub fn answer<K: Key<KEY>>(&self, keys: &[K], asked: &Asked, out: &mut [[u32; WORDS]]) -> u32 {
        self.answer_by(self.lanes, keys, asked, out)
    }

    #[inline(always)]
    fn answer_by<K: Key<KEY>>(
        &self,
        lanes: Lanes,
        keys: &[K],
        asked: &Asked,
        out: &mut [[u32; WORDS]],
    ) -> u32 {
        let many = keys.len().min(out.len()).min(BATCH);
        let (Some(keys), Some(out)) = (keys.get(..many), out.get_mut(..many)) else {
            return 0;
        };
        let missing = self.first_look(lanes, keys, &asked.0, out);
        let all = u32::MAX
            .checked_shr(BATCH as u32 - many as u32)
            .unwrap_or(0);
        if missing == 0 {
            return all;
        }
        let missing = missing.reverse_bits() >> (BATCH - many).min(31);
        all & !self.look_again(lanes, keys, out, missing)
    }

    /// As [`answer`](Self::answer), but it waits for first buckets alone: of each key that is not there, which its bit in the answer
    /// says, the second is asked for, and [`answer_late`](Self::answer_late) has its value. Until then it has all zeroes.
    #[inline(always)]
    pub fn answer_early<K: Key<KEY>>(
        &self,
        keys: &[K],
        asked: &Asked,
        out: &mut [[u32; WORDS]],
    ) -> u32 {
        let many = keys.len().min(out.len()).min(BATCH);
        let (Some(keys), Some(out)) = (keys.get(..many), out.get_mut(..many)) else {
            return 0;
        };
        let missing = self.first_look(self.lanes, keys, &asked.0, out);
        if missing == 0 {
            return 0;
        }
        let missing = missing.reverse_bits() >> (BATCH - many).min(31);
        self.ask_again(keys, missing, out);
        missing
    }

    #[inline(never)]
    fn ask_again<K: Key<KEY>>(&self, keys: &[K], missing: u32, out: &mut [[u32; WORDS]]) {
        for i in ones(missing) {
            if let (Some(&key), Some(out)) = (keys.get(i), out.get_mut(i)) {
                // It has some other key's.
                *out = [0; WORDS];
                self.prefetch_bucket(self.buckets_of(key).second);
            }
        }
    }

    /// The values of the keys whose bits are set; all zeroes for who is nowhere.
    #[inline]
    pub fn answer_late<K: Key<KEY>>(&self, keys: &[K], missing: u32, out: &mut [[u32; WORDS]]) {
        self.look_again(self.lanes, keys, out, missing);
    }

    /// The values of the keys that are in their first bucket; of the others, anything. Which those are: one bit a key, the first key's
    /// highest.
    #[inline(always)]
    pub(super) fn first_look<K: Key<KEY>>(
        &self,
        lanes: Lanes,
        keys: &[K],
        firsts: &[u32; BATCH],
        out: &mut [[u32; WORDS]],
    ) -> u32 {
        match lanes {
            #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
            Lanes::Avx2 => self.compare_wide(keys, firsts, out),
            Lanes::Portable => self.compare(keys, firsts, out),
        }
    }

    #[inline(always)]
    fn compare<K: Key<KEY>>(
        &self,
        keys: &[K],
        firsts: &[u32; BATCH],
        out: &mut [[u32; WORDS]],
    ) -> u32 {
        let mut missing = 0;
        for ((&key, &first), out) in keys.iter().zip(firsts).zip(out) {
            let mut hit = false;
            if let Some(bucket) = self.buckets.get(first as usize)
                && !is_empty(key.words())
            {
                (hit, *out) = bucket.probe(key.words());
            }
            missing = missing << 1 | u32::from(!hit);
        }
        missing
    }

    /// What was not in its first bucket is in its second, or moved between the looks, or nowhere. Says which are nowhere.
    fn look_again<K: Key<KEY>>(
        &self,
        lanes: Lanes,
        keys: &[K],
        out: &mut [[u32; WORDS]],
        missing: u32,
    ) -> u32 {
        match lanes {
            #[cfg(all(target_arch = "x86_64", not(miri), not(loom)))]
            Lanes::Avx2 => self.again_wide(keys, out, missing),
            Lanes::Portable => self.again(keys, out, missing, Bucket::probe),
        }
    }

    /// The same, where `probe` is how a bucket is asked.
    #[inline(always)]
    pub(super) fn again<K: Key<KEY>>(
        &self,
        keys: &[K],
        out: &mut [[u32; WORDS]],
        mut missing: u32,
        probe: impl Fn(&Bucket<SLOTS, WORDS, KEY>, [u64; KEY]) -> (bool, [u32; WORDS]),
    ) -> u32 {
        let mut places = [Place::default(); BATCH];
        for i in ones(missing) {
            if let (Some(&key), Some(place)) = (keys.get(i), places.get_mut(i)) {
                *place = self.buckets_of(key);
                self.prefetch_bucket(place.second);
            }
        }
        for i in ones(missing) {
            let (Some(key), Some(place), Some(out)) = (
                keys.get(i).map(|key| key.words()),
                places.get(i),
                out.get_mut(i),
            ) else {
                continue;
            };
            *out = [0; WORDS];
            if is_empty(key) {
                continue;
            }
            // The second bucket, then, as in `get_at`, both once more.
            for bucket in [place.second, place.first, place.second] {
                let Some(bucket) = self.buckets.get(bucket as usize) else {
                    continue;
                };
                let (hit, value) = probe(bucket, key);
                if hit {
                    *out = value;
                    missing &= !(1 << i);
                    break;
                }
            }
        }
        missing
    }
}

/// The positions of the bits that are set, lowest first.
pub fn ones(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (lowest < 32).then_some(lowest)
    })
}
