//! The newest offset of each key in the part of a log that is being cleaned.
//!
//! Holds: never more entries than the memory that was given allows at the load factor that was given; memory grows with
//! the entries, shard by shard, so that a small log costs little and a large one never holds two copies of its map.
//! A key is known by its SipHash-2-4 of 128 bits under a secret drawn for the run: nobody can look for keys that meet,
//! and that two of 2^32 keys meet by chance has a probability of 2^-65. Kafka trusts MD5 in the same place.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = size_of::<Slot>();
/// Slots of a shard's first table.
const SLOTS_FIRST: usize = 64;
/// Slots that a shard has at least when the map is full: enough for the shards to fill evenly.
const SLOTS_PER_SHARD: usize = 8192;
const SHARDS_MAX: usize = 256;
/// Above this a probe becomes long, and one that finds nothing never ends at 1.
const LOAD_MAX: f64 = 0.95;
const LOAD_MIN: f64 = 0.1;

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: [u64; 2],
    /// The offset plus one; 0 marks a free slot.
    after: u64,
}

#[derive(Default)]
struct Shard {
    slots: Vec<Slot>,
    used: usize,
}

/// See the module.
pub struct KeyMap {
    secret: [u64; 2],
    shards: Vec<Shard>,
    /// Most slots of one shard.
    slots_max: usize,
    load: f64,
}

impl KeyMap {
    /// An empty map that takes up to `bytes`, filled to `load` (`log.cleaner.io.buffer.load.factor`) at most. One key is
    /// always taken, so that whoever works in portions gets on.
    pub fn new(bytes: usize, load: f64, secret: [u64; 2]) -> Self {
        let slots = (bytes / ENTRY_BYTES).max(16);
        let shards = (slots / SLOTS_PER_SHARD).clamp(1, SHARDS_MAX);
        let load = if load.is_nan() { LOAD_MAX } else { load.clamp(LOAD_MIN, LOAD_MAX) };
        Self { secret, shards: (0..shards).map(|_| Shard::default()).collect(), slots_max: slots / shards, load }
    }

    /// Keys in it.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.used).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it takes now.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots.len() * ENTRY_BYTES).sum()
    }

    /// Most keys that it takes, more or less: shards do not fill quite evenly.
    pub fn capacity(&self) -> usize {
        self.shards.len() * taken(self.slots_max, self.load)
    }

    /// Notes that the key was written at `offset`, which is not negative. False: the key is new, and there is no room.
    pub fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let (hash, at) = self.place(key);
        let Some(shard) = self.shards.get_mut(at) else { return false };
        let after = offset.unsigned_abs().saturating_add(1);
        if let Some(slot) = shard.find(hash).filter(|slot| slot.after > 0) {
            slot.after = slot.after.max(after);
            return true;
        }
        if shard.used >= taken(shard.slots.len(), self.load) {
            let more = (shard.slots.len() * 2).clamp(SLOTS_FIRST.min(self.slots_max), self.slots_max);
            if more <= shard.slots.len() {
                return false;
            }
            shard.grow(more);
        }
        let Some(slot) = shard.find(hash) else { return false };
        *slot = Slot { hash, after };
        shard.used += 1;
        true
    }

    /// The newest offset that was noted for the key.
    pub fn get(&self, key: &[u8]) -> Option<i64> {
        let (hash, at) = self.place(key);
        let shard = self.shards.get(at)?;
        let slot = shard.slots.get(shard.probe(hash)?)?;
        slot.after.checked_sub(1).and_then(|offset| i64::try_from(offset).ok())
    }

    fn place(&self, key: &[u8]) -> ([u64; 2], usize) {
        let mut hasher = SipHasher24::new_with_keys(self.secret[0], self.secret[1]);
        hasher.write(key);
        let hash = hasher.finish128();
        ([hash.h1, hash.h2], scaled(hash.h1, self.shards.len()))
    }
}

impl Shard {
    /// Where the hash is, or the free slot where it would be. None: there are no slots.
    fn probe(&self, hash: [u64; 2]) -> Option<usize> {
        let slots = self.slots.len();
        let first = scaled(hash[1], slots);
        (first..slots).chain(0..first).find(|at| {
            let slot = &self.slots[*at];
            slot.after == 0 || slot.hash == hash
        })
    }

    fn find(&mut self, hash: [u64; 2]) -> Option<&mut Slot> {
        let at = self.probe(hash)?;
        self.slots.get_mut(at)
    }

    fn grow(&mut self, slots: usize) {
        let before = std::mem::replace(&mut self.slots, vec![Slot::default(); slots]);
        for slot in before.into_iter().filter(|slot| slot.after > 0) {
            if let Some(free) = self.find(slot.hash) {
                *free = slot;
            }
        }
    }
}

/// A number spread evenly over `0..parts`.
fn scaled(number: u64, parts: usize) -> usize {
    usize::try_from((u128::from(number) * parts as u128) >> 64).unwrap_or(0)
}

/// Slots that may be taken of so many: one at least is, and one at least stays free, at which a probe ends.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of it"
)]
fn taken(slots: usize, load: f64) -> usize {
    ((slots as f64 * load) as usize).min(slots.saturating_sub(1))
}
