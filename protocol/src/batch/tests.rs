#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

mod codecs;
mod header;
mod produced;
mod properties;
mod records;
mod vlsn;

use super::*;
use crate::WallMs;

/// Sent by librdkafka to Kafka 4.3.1: two records, the second with a header.
const GOLDEN: &str = "000000000000000000000047ffffffff028d1bec0b000000000001000001a202c806a0000001a202c806a0\
                      ffffffffffffffffffffffffffff0000000218000000026b02760202680278100000020104763200";

fn golden() -> Vec<u8> {
    let digits: Vec<u32> = GOLDEN.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn rules() -> ProduceRules {
    ProduceRules {
        max_message_bytes: 1_048_588,
        segment_bytes: 1 << 30,
        compacted: false,
        timestamp_type: TimestampType::CreateTime,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        target: None,
        zstd_allowed: true,
        now: WallMs(1_800_000_000_000),
        vlsn: None,
    }
}

fn batch(records: usize) -> BatchBuilder {
    (0..records).fold(BatchBuilder::new(), |b, i| b.kv(1_700_000_000_000 + i as i64, b"key", b"value"))
}

/// The batch with its header changed, and a CRC that fits.
fn edited(batch: &[u8], edit: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::parse(batch).unwrap();
    edit(&mut header);
    header.crc = header.crc_with(&batch[BATCH_HEADER_BYTES..]);
    [&header.encode()[..], &batch[BATCH_HEADER_BYTES..]].concat()
}

/// A batch of `count` declared records with this payload.
fn with_payload(count: i32, payload: &[u8]) -> Vec<u8> {
    let (mut header, _) = batch(1).into_parts().unwrap();
    header.batch_length = 49 + payload.len() as i32;
    header.record_count = count;
    header.last_offset_delta = count - 1;
    header.crc = header.crc_with(payload);
    [&header.encode()[..], payload].concat()
}
