//! Outlines of the batches that records were lately read from by VLSN, of all logs of a node, so that the next record of a
//! batch is read without the rest of it: copying and checking a batch of 64 small records was a quarter of what a point read of
//! one of them cost.
//! Holds: memory is bounded; what is looked up and what was looked up lately stays, the rest makes room. Deleted logs leave
//! nothing that could be found: their ids never come again.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use pyralog_protocol::batch::{BatchPart, Outline};
use pyralog_protocol::{LogOffset, PartitionIndex, TopicId, Vlsn};

/// Bytes of all of them. An outline takes about a fiftieth of its batch.
const OUTLINES_BYTES: usize = 16 << 20;
/// Number of locks that they are spread over.
const SHARDS: usize = 16;
/// What an entry of a map takes besides the outline, about.
const ENTRY_BYTES: usize = 2 * size_of::<(BatchKey, Outline)>();

/// A batch: its log, its partition and its base offset. No other batch ever has the same, unless a power loss took it before it was
/// acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchKey {
    // First what tells most of them apart.
    pub first: LogOffset,
    pub index: PartitionIndex,
    pub topic: TopicId,
}

/// What an outline says of a VLSN.
#[derive(Debug)]
pub(crate) enum Outlined {
    /// Nothing: there is no outline of that batch.
    Unknown,
    /// The batch begins above.
    Absent,
    /// If the batch has it, it is there.
    In(BatchPart),
}

/// Those that were used since the last turn, and those that were not: what is not used for a whole turn goes.
#[derive(Debug, Default)]
struct Shard {
    young: BTreeMap<BatchKey, Outline>,
    old: BTreeMap<BatchKey, Outline>,
    young_bytes: usize,
}

impl Shard {
    fn insert(&mut self, key: BatchKey, outline: Outline, most: usize) {
        let bytes = ENTRY_BYTES + outline.memory();
        if bytes > most {
            return;
        }
        if self.young_bytes + bytes > most {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some(before) = self.young.insert(key, outline) {
            self.young_bytes = self.young_bytes.saturating_sub(ENTRY_BYTES + before.memory());
        }
    }

    fn get(&mut self, key: &BatchKey, most: usize) -> Option<&Outline> {
        if !self.young.contains_key(key) {
            let outline = self.old.remove(key)?;
            self.insert(*key, outline, most);
        }
        self.young.get(key)
    }

    fn remove(&mut self, key: &BatchKey) {
        self.old.remove(key);
        if let Some(outline) = self.young.remove(key) {
            self.young_bytes = self.young_bytes.saturating_sub(ENTRY_BYTES + outline.memory());
        }
    }
}

/// The outlines of a node.
#[derive(Debug)]
pub(crate) struct Outlines {
    shards: [Mutex<Shard>; SHARDS],
    /// Bytes of the young ones of a shard, at most; of the old ones as well.
    most: usize,
}

impl Default for Outlines {
    fn default() -> Self {
        Self::with_bytes(OUTLINES_BYTES)
    }
}

impl Outlines {
    /// That take so many bytes in all.
    fn with_bytes(bytes: usize) -> Self {
        Self { shards: Default::default(), most: bytes / SHARDS / 2 }
    }

    fn shard(&self, key: &BatchKey) -> &Mutex<Shard> {
        // Base offsets are often multiples of the same number: the upper bits of a product spread them.
        let spread =
            (key.first.0.cast_unsigned() ^ u64::from(key.index.0.cast_unsigned())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shard = usize::try_from(spread >> (64 - SHARDS.ilog2())).unwrap_or(0);
        &self.shards[shard % SHARDS]
    }

    /// What is known of a VLSN in a batch of so many bytes.
    pub fn look(&self, key: &BatchKey, bytes: usize, vlsn: Vlsn) -> Outlined {
        let mut shard = self.shard(key).lock();
        match shard.get(key, self.most).filter(|outline| outline.batch_bytes() == bytes) {
            Some(outline) => outline.part(vlsn).map_or(Outlined::Absent, Outlined::In),
            None => Outlined::Unknown,
        }
    }

    /// Keeps one, as long as there is room.
    pub fn keep(&self, key: BatchKey, outline: Outline) {
        self.shard(&key).lock().insert(key, outline, self.most);
    }

    /// Forgets one that is not true.
    pub fn forget(&self, key: &BatchKey) {
        self.shard(key).lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use pyralog_protocol::batch::{BatchBuilder, Outline, StoredBatch};
    use pyralog_protocol::{LogOffset, PartitionIndex, TopicId, Vlsn};

    use parking_lot::Mutex;

    use super::{BatchKey, Outlined, Outlines};

    fn outline(first: u64) -> (Outline, usize) {
        let record = |builder: BatchBuilder, vlsn: u64| builder.kv(0, &Vlsn(vlsn).key(), &[7; 500]);
        let bytes = (first..first + 10).fold(BatchBuilder::new(), record).build().unwrap();
        let outline = Outline::of(&StoredBatch::open(&bytes).unwrap()).unwrap().unwrap();
        (outline, bytes.len())
    }

    fn key(first: i64) -> BatchKey {
        BatchKey { topic: TopicId([1; 16]), index: PartitionIndex(0), first: LogOffset(first) }
    }

    #[test]
    fn what_is_used_stays_and_memory_is_bounded() {
        let outlines = Outlines::with_bytes(1 << 20);
        let known = |at: i64, bytes| !matches!(outlines.look(&key(at), bytes, Vlsn(5)), Outlined::Unknown);
        let size = outline(0).1;
        for at in 0..100_000 {
            outlines.keep(key(at), outline(0).0);
            assert!(at % 50 != 0 || known(0, size), "used all the time: {at}");
        }
        let shards = outlines.shards.iter().map(Mutex::lock);
        let held: usize = shards.map(|shard| shard.young.len() + shard.old.len()).sum();
        assert!((1000..10_000).contains(&held), "{held}");
        assert!(known(99_999, size));
        assert!(!known(1, size));
    }

    #[test]
    fn an_outline_of_another_batch_says_nothing() {
        let outlines = Outlines::default();
        let (found, size) = outline(100);
        outlines.keep(key(0), found);
        assert!(matches!(outlines.look(&key(0), size, Vlsn(104)), Outlined::In(_)));
        assert!(matches!(outlines.look(&key(0), size, Vlsn(99)), Outlined::Absent));
        assert!(matches!(outlines.look(&key(0), size + 1, Vlsn(104)), Outlined::Unknown));
        let elsewhere = BatchKey { index: PartitionIndex(1), ..key(0) };
        assert!(matches!(outlines.look(&elsewhere, size, Vlsn(104)), Outlined::Unknown));
        outlines.forget(&key(0));
        assert!(matches!(outlines.look(&key(0), size, Vlsn(104)), Outlined::Unknown));
    }
}
