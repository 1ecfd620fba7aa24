//! Time and randomness as values. Pure code takes them as arguments; only the shell draws them.

/// Monotonic milliseconds since the process started. Deadlines are made of it, never of wall time (OP-15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct MonoMs(pub u64);

impl MonoMs {
    /// The moment `ms` later; a negative span counts as zero, the far end saturates.
    pub fn after_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(u64::try_from(ms).unwrap_or(0)))
    }
}

/// Wall-clock milliseconds since 1970 (UTC). Stamps records and drives retention, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct WallMs(pub i64);

/// Both clocks, read together at the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines.
    pub mono: MonoMs,
    /// For timestamps.
    pub wall: WallMs,
}

/// A stream of random bits, seeded at the edge (from the system in the shell, from the run's seed in tests).
/// SplitMix64: ids need to be unique, not secret.
#[derive(Clone, Debug)]
pub struct Draw(u64, u64);

impl Draw {
    /// A stream from 128 bits of seed.
    pub fn new(seed: u128) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the two halves of the seed")]
        Self(seed as u64, (seed >> 64) as u64)
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0 ^ self.1;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.1 = self.1.rotate_left(7).wrapping_add(z);
        z ^ (z >> 31)
    }

    /// A random (version 4) UUID.
    pub fn uuid(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next_u64().to_be_bytes());
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        bytes
    }
}
