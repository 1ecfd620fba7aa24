//! A map that is cheap to copy and to change after a copy: entries lie in a fixed number of shared buckets, and a
//! change copies the bucket that it falls into, if somebody else still holds it. An image of ten thousand logs then
//! costs 256 counters, not ten thousand. Iteration goes bucket by bucket, not in key order.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

const BUCKETS: usize = 256;

/// Keys that say which bucket they belong to; the same for a key and for what it borrows as.
pub(super) trait Spread {
    /// A number from the key, evenly spread in its low byte.
    fn spread(&self) -> u8;
}

impl Spread for str {
    fn spread(&self) -> u8 {
        // FNV-1a, folded: fixed, so that two runs are alike.
        let hash = self.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        let [a, b, c, d] = hash.to_le_bytes();
        a ^ b ^ c ^ d
    }
}

impl Spread for pyralog_protocol::TopicId {
    fn spread(&self) -> u8 {
        self.0.iter().fold(0, |h, b| h ^ b)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Buckets<K: Ord, V> {
    buckets: Vec<Arc<BTreeMap<K, V>>>,
    len: usize,
}

impl<K: Ord, V> Default for Buckets<K, V> {
    fn default() -> Self {
        let empty = Arc::new(BTreeMap::new());
        Self { buckets: vec![empty; BUCKETS], len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Buckets<K, V> {
    pub fn get<Q: Ord + Spread + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.buckets[usize::from(key.spread())].get(key)
    }

    pub fn insert<Q: Ord + Spread + ?Sized>(&mut self, key: K, value: V)
    where
        K: Borrow<Q>,
    {
        let bucket = usize::from(key.borrow().spread());
        let old = Arc::make_mut(&mut self.buckets[bucket]).insert(key, value);
        self.len += usize::from(old.is_none());
    }

    pub fn remove<Q: Ord + Spread + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = Arc::make_mut(&mut self.buckets[usize::from(key.spread())]).remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.buckets.iter().flat_map(|bucket| bucket.values())
    }

    pub fn len(&self) -> usize {
        self.len
    }
}
