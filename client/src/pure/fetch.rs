//! Records out of what a broker sent for one partition.
//!
//! Holds: no length or count is believed before it is compared with the bytes that are there (the batch format's own
//! readers do that); inflating is bounded; records before the position are skipped (F1), a batch that is cut at the end is
//! left for the next fetch (F4), markers of transactions are skipped. The next position is never behind the old one.

use bytes::Bytes;
use pyralog_protocol::batch::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, Codec, RecordView, Records, TimestampType, decompress, inflate_limit,
};
use pyralog_protocol::{LeaderEpoch, LogOffset};

use crate::record::{Record, RecordHeader, from_ms};

/// What a partition's bytes amount to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// Records from the position on, in order.
    pub records: Vec<Record>,
    /// Where to go on.
    pub next: LogOffset,
}

/// A batch that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it begins.
    pub offset: LogOffset,
    /// What is wrong.
    pub reason: String,
}

/// Reads records from `position` on, at most `max`. Keys and values are slices of `data` where the batch is not compressed.
pub fn read_records(
    data: &Bytes,
    partition: u32,
    position: LogOffset,
    max: usize,
    verify_crc: bool,
) -> Result<Read, Unreadable> {
    let mut read = Read { records: Vec::new(), next: position };
    let mut rest = data.clone();
    while rest.len() >= BATCH_HEADER_BYTES && read.records.len() < max {
        let unreadable = |reason: String| Unreadable { offset: read.next, reason };
        let header = BatchHeader::parse(&rest).map_err(|error| unreadable(error.to_string()))?;
        if header.total_size() > rest.len() {
            break;
        }
        let batch = rest.split_to(header.total_size());
        if verify_crc {
            header.verify_crc(&batch).map_err(|error: BatchError| unreadable(error.to_string()))?;
        }
        if header.last_offset() < read.next.0 {
            continue;
        }
        if header.is_control() {
            read.next = after(header.last_offset());
            continue;
        }
        take_batch(&header, &batch, partition, max, &mut read)?;
    }
    Ok(read)
}

fn after(offset: i64) -> LogOffset {
    LogOffset(offset.saturating_add(1))
}

fn take_batch(
    header: &BatchHeader,
    batch: &Bytes,
    partition: u32,
    max: usize,
    read: &mut Read,
) -> Result<(), Unreadable> {
    let offset = LogOffset(header.base_offset);
    let unreadable = |reason: String| Unreadable { offset, reason };
    let codec = header.codec().map_err(|codec| unreadable(format!("compression codec {codec} is unknown")))?;
    let body = batch.slice(BATCH_HEADER_BYTES..);
    let payload = match codec {
        Codec::None => body,
        Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
            let inflated = decompress(codec, &body, inflate_limit(body.len()));
            inflated.map_err(|error| unreadable(error.to_string()))?.into()
        }
    };
    for view in Records::new(&payload) {
        let view = view.map_err(|error| unreadable(error.to_string()))?;
        let at = header.base_offset.saturating_add(i64::from(view.offset_delta));
        if at < read.next.0 {
            continue;
        }
        if read.records.len() >= max {
            return Ok(());
        }
        read.records.push(record(header, &payload, &view, partition, at));
        read.next = after(at);
    }
    // Compaction may have taken the last records of the batch.
    read.next = read.next.max(after(header.last_offset()));
    Ok(())
}

fn record(header: &BatchHeader, payload: &Bytes, view: &RecordView<'_>, partition: u32, offset: i64) -> Record {
    let timestamp = match header.timestamp_type() {
        TimestampType::CreateTime => header.base_timestamp.wrapping_add(view.timestamp_delta),
        TimestampType::LogAppendTime => header.max_timestamp,
    };
    let slice = |bytes: &[u8]| payload.slice_ref(bytes);
    let headers = view.headers.iter().map(|header| RecordHeader {
        key: String::from_utf8_lossy(header.key).into_owned(),
        value: header.value.map(slice),
    });
    Record {
        partition,
        offset: LogOffset(offset),
        epoch: LeaderEpoch(header.leader_epoch),
        timestamp: from_ms(timestamp),
        key: view.key.map(slice),
        value: view.value.map(slice).unwrap_or_default(),
        headers: headers.collect(),
        is_tombstone: view.value.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyralog_protocol::batch::{BatchBuilder, Compression, NewRecord, set_base_offset};

    fn batch(base: i64, count: i64, codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new().compression(Compression::of(codec));
        for n in 0..count {
            let value = (n % 3 != 2).then_some(&b"value"[..]);
            builder.push(NewRecord { timestamp: 1000 + n, key: Some(b"key"), value, headers: &[(b"h", None)] });
        }
        let mut bytes = builder.build().unwrap();
        set_base_offset(&mut bytes, base);
        bytes.to_vec()
    }

    fn read(data: &[u8], position: i64, max: usize) -> Result<Read, Unreadable> {
        read_records(&Bytes::copy_from_slice(data), 3, LogOffset(position), max, true)
    }

    #[test]
    fn records_come_from_the_position_on_in_every_codec() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let data = [batch(10, 5, codec), batch(20, 4, codec)].concat();
            let all = read(&data, 12, 100).unwrap();
            let offsets: Vec<i64> = all.records.iter().map(|record| record.offset.0).collect();
            assert_eq!((offsets, all.next), (vec![12, 13, 14, 20, 21, 22, 23], LogOffset(24)));
            let first = &all.records[0];
            assert_eq!((first.partition, first.is_tombstone, first.value.len()), (3, true, 0));
            assert_eq!(first.headers, [RecordHeader { key: "h".into(), value: None }]);
            assert_eq!(first.timestamp, from_ms(1002));
            let some = read(&data, 12, 4).unwrap();
            assert_eq!((some.records.len(), some.next), (4, LogOffset(21)));
            assert_eq!(read(&data, 24, 9).unwrap().records, []);
        }
    }

    #[test]
    fn f04_a_cut_batch_is_left_for_later_wherever_it_is_cut() {
        let data = [batch(0, 2, Codec::None), batch(2, 2, Codec::Lz4)].concat();
        let first = batch(0, 2, Codec::None).len();
        for cut in first..data.len() {
            let read = read(&data[..cut], 0, 100).unwrap();
            assert_eq!((read.records.len(), read.next), (2, LogOffset(2)), "{cut}");
        }
    }

    #[test]
    fn se_15_damage_is_named_and_never_a_panic() {
        let good = batch(7, 3, Codec::Zstd);
        for at in 0..good.len() {
            for byte in [0x00, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                for verify in [true, false] {
                    let read = read_records(&Bytes::from(bad.clone()), 0, LogOffset(7), 100, verify);
                    assert!(read.is_err() || read.unwrap().next >= LogOffset(7));
                }
            }
        }
        let mut bad = good;
        *bad.last_mut().unwrap() ^= 1;
        assert!(read(&bad, 7, 9).unwrap_err().reason.contains("CRC"));
    }
}
