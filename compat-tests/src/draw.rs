//! Random numbers that a seed repeats.

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// The numbers of a seed.
    pub fn seeded(seed: u64) -> Draw {
        Draw(seed)
    }

    /// One stream for each (seed, name), so that a new draw in one does not shift the others.
    pub fn stream(seed: u64, name: &str) -> Draw {
        Draw(name.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, and without, `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// A place in something so long.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// From the first to the last, both included.
    pub fn between(&mut self, first: i32, last: i32) -> i32 {
        first + self.below((i64::from(last) - i64::from(first) + 1).unsigned_abs()) as i32
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, of: &[(u64, T)]) -> T {
        let mut at = self.below(of.iter().map(|(weight, _)| weight).sum());
        let chosen = of.iter().find(|(weight, _)| {
            let found = at < *weight;
            at = at.saturating_sub(*weight);
            found
        });
        chosen.expect("a weight above zero").1
    }

    /// One of two.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits() as u8).collect()
    }
}

/// A number that somebody asked for in the environment.
pub fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seed that somebody asked for by this name, or a new one; tells how to repeat the draws.
pub fn asked_seed(name: &str) -> u64 {
    let seed = asked(name).unwrap_or_else(|| crate::now_ms().unsigned_abs());
    eprintln!("replay the draws with {name}={seed}");
    seed
}
