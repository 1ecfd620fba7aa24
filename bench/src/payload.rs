//! The record batches that are sent: made once, before the run.
//!
//! Holds: a few different batches are sent over and over, so that making them costs nothing during the run. Their values
//! look like small JSON documents and compress about as well. Keys are spread evenly over the batches.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pyralog_protocol::batch::{BatchBuilder, Codec, Compression, NewRecord};

use crate::error::BenchError;

/// What the batches hold.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of each value.
    pub record_bytes: usize,
    /// Records of each batch.
    pub records: usize,
    /// Different keys; 0 for records without keys.
    pub keys: u64,
    /// Of the batches.
    pub codec: Codec,
}

/// A batch that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Batch {
    /// As it travels.
    pub bytes: Bytes,
    /// Bytes of keys and values before compression.
    pub plain_bytes: u64,
}

/// All batches together stay below this, so that they hardly disturb the caches that the broker needs as well.
const POOL_BYTES_MAX: usize = 1 << 20;
/// Without keys, a few batches that differ are enough.
const POOL_BATCHES: usize = 8;
/// With keys, so many batches that many keys come up.
const POOL_BATCHES_KEYED: usize = 4096;

/// Makes the batches.
pub fn batches(shape: &Shape) -> Result<Vec<Batch>, BenchError> {
    let size = shape.records * (shape.record_bytes + 32) + 61;
    let wanted = if shape.keys == 0 { POOL_BATCHES } else { POOL_BATCHES_KEYED };
    let count = (POOL_BYTES_MAX / size).clamp(2, wanted);
    let mut source = Source::new();
    (0..count).map(|_| batch(shape, &mut source)).collect()
}

fn batch(shape: &Shape, source: &mut Source) -> Result<Batch, BenchError> {
    let mut builder = BatchBuilder::new();
    if shape.codec != Codec::None {
        builder = builder.compression(Compression::of(shape.codec));
    }
    let timestamp = now_ms();
    let (mut plain_bytes, mut value) = (0, Vec::new());
    for _ in 0..shape.records {
        let key = source.key(shape.keys);
        source.value(shape.record_bytes, &mut value);
        let key = key.as_ref().map(String::as_bytes);
        plain_bytes += wide(value.len() + key.map_or(0, <[u8]>::len));
        builder = builder.record(NewRecord { timestamp, key, value: Some(&value), headers: &[] });
    }
    let bytes = builder.build().map_err(|e| BenchError::Request { what: "Produce", detail: e.to_string() })?;
    Ok(Batch { bytes: bytes.freeze(), plain_bytes })
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Where keys and values come from: the same in every run, so that runs can be compared.
struct Source {
    state: u64,
    keys_given: u64,
}

impl Source {
    fn new() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, keys_given: 0 }
    }

    /// xorshift64*
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// All keys in turn, in an order that is not theirs.
    fn key(&mut self, keys: u64) -> Option<String> {
        if keys == 0 {
            return None;
        }
        let key = self.keys_given.wrapping_mul(0x9e37_79b1) % keys;
        self.keys_given += 1;
        Some(format!("key-{key:012}"))
    }

    /// A value of so many bytes.
    fn value(&mut self, bytes: usize, value: &mut Vec<u8>) {
        const FIELDS: [&str; 6] = ["user", "session", "amount", "country", "created_at", "item"];
        value.clear();
        while value.len() < bytes {
            let (field, number) = (self.next() % 6, self.next());
            let field = FIELDS.get(usize::try_from(field).unwrap_or(0)).unwrap_or(&"id");
            value.extend_from_slice(format!("{{\"{field}\":\"{number:x}\"}},").as_bytes());
        }
        value.truncate(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Shape, batches};
    use pyralog_protocol::batch::{BatchHeader, Codec};

    fn made(records: usize, record_bytes: usize, keys: u64, codec: Codec) -> Vec<Batch> {
        batches(&Shape { record_bytes, records, keys, codec }).expect("batches")
    }

    #[test]
    fn batches_have_the_records_that_were_asked_for() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            for batch in made(64, 1024, 0, codec) {
                let header = BatchHeader::parse(&batch.bytes).expect("a batch");
                assert_eq!((header.record_count, header.total_size()), (64, batch.bytes.len()));
                assert_eq!(header.crc, header.crc_with(&batch.bytes[61..]), "{codec}");
                assert_eq!(batch.plain_bytes, 64 * 1024);
            }
        }
    }

    #[test]
    fn values_compress_as_documents_do() {
        let [plain, packed] = [Codec::None, Codec::Lz4].map(|codec| made(64, 1024, 0, codec)[0].bytes.len());
        let ratio = plain as f64 / packed as f64;
        assert!((1.3..4.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_pool_is_small_and_its_batches_differ() {
        let pool = made(64, 1024, 0, Codec::None);
        assert!(pool.len() >= 2 && pool.iter().map(|b| b.bytes.len()).sum::<usize>() < 2 << 20);
        assert_ne!(pool[0].bytes, pool[1].bytes);
    }

    #[test]
    fn keys_are_many_and_evenly_used() {
        let pool = made(1, 100, 1000, Codec::None);
        let text = |batch: &Batch| String::from_utf8_lossy(&batch.bytes).into_owned();
        let keys: std::collections::BTreeSet<String> =
            pool.iter().map(text).map(|t| t[t.find("key-").expect("a key")..][..16].to_owned()).collect();
        assert_eq!(keys.len(), 1000);
    }
}
