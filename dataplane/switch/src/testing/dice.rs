//! Where arbitrary decisions come from: the bytes of a property test or a fuzzer, or a generator.

/// A source of decisions. Zeroes make the plainest ones, so that a shrunk tape is a plain case.
pub trait Dice {
    /// The next word.
    fn word(&mut self) -> u32;

    /// Whether all decisions from here on are the plainest.
    fn is_spent(&self) -> bool {
        false
    }

    /// A number below `n`, which is not 0.
    fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    /// Once in `n` times.
    fn rarely(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// One of several.
    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Bytes of which few cost the tape anything.
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut noise = Xorshift::new(u64::from(self.word()));
        let mut bytes = Vec::with_capacity(n + 8);
        while bytes.len() < n {
            bytes.extend(noise.next().to_le_bytes());
        }
        bytes.truncate(n);
        bytes
    }

    /// Bytes of which each is a decision.
    fn literal(&mut self, n: usize) -> Vec<u8> {
        self.bytes(n)
    }
}

/// Marsaglia's xorshift with a multiplication (Vigna, xorshift64*): deterministic, and enough for tests.
#[derive(Clone, Copy, Debug)]
pub struct Xorshift(u64);

impl Xorshift {
    /// From a seed, of which 0 is as good as any.
    pub fn new(seed: u64) -> Self {
        Xorshift(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// splitmix64 (Steele, Lea and Flood), for simulations that count in 64 bits.
#[derive(Clone, Copy, Debug)]
pub struct Splitmix(pub u64);

impl Splitmix {
    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

impl Dice for Xorshift {
    fn word(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }
}

/// Decisions read from bytes, one for a choice among up to 256 and two for others; zeroes at the end.
#[derive(Clone, Copy, Debug)]
pub struct Tape<'a>(&'a [u8]);

impl<'a> Tape<'a> {
    /// Of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Tape(bytes)
    }
}

impl Dice for Tape<'_> {
    fn below(&mut self, n: usize) -> usize {
        if n > 256 {
            return ((u64::from(self.word()) * n as u64) >> 32) as usize;
        }
        let Some((&own, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        (usize::from(own) * n) >> 8
    }

    fn word(&mut self) -> u32 {
        let Some((own, rest)) = self.0.split_first_chunk::<2>() else {
            self.0 = &[];
            return 0;
        };
        self.0 = rest;
        // The high half decides.
        u32::from(u16::from_be_bytes(*own)) << 16
    }
    fn is_spent(&self) -> bool {
        self.0.is_empty()
    }

    fn literal(&mut self, n: usize) -> Vec<u8> {
        let (own, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        own.to_vec()
    }
}
