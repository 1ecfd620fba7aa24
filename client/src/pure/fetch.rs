//! Records out of what a broker sent for one partition.
//!
//! Holds: no length or count is believed before it is compared with the bytes that are there (the batch format's own
//! readers do that); inflating is bounded, that of one batch and that of all together; records before the position are skipped
//! (F1), a batch that is cut at the end is left for the next fetch (F4), markers of transactions are skipped. What lies before a
//! batch that cannot be read is read. The next position is never behind the old one.

use bytes::Bytes;
use pyralog_protocol::batch::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, Codec, CodecError, RecordView, Records, TimestampType, decompress,
    inflate_limit,
};
use pyralog_protocol::{LeaderEpoch, LogOffset};

use crate::config::ReaderConfig;
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

/// Reads records from `position` on, those of the first batch that has some and of more while there is `room` for what is
/// inflated. Keys and values are slices of `data` where the batch is not compressed.
pub fn read_records(
    data: &Bytes,
    partition: u32,
    position: LogOffset,
    config: &ReaderConfig,
    room: &mut usize,
) -> Result<Read, Unreadable> {
    let mut read = Read { records: Vec::new(), next: position };
    match read_on(data, partition, config, room, &mut read) {
        // Whoever goes on from there meets it again, and nothing before it.
        Err(_) if !read.records.is_empty() => Ok(read),
        result => result.map(|()| read),
    }
}

/// [`read_records`] of all that is there, or an error.
pub fn read_all(
    data: &Bytes,
    partition: u32,
    position: LogOffset,
    config: &ReaderConfig,
) -> Result<Vec<Record>, Unreadable> {
    let (mut read, mut room) = (Read { records: Vec::new(), next: position }, usize::MAX);
    read_on(data, partition, config, &mut room, &mut read)?;
    Ok(read.records)
}

fn read_on(
    data: &Bytes,
    partition: u32,
    config: &ReaderConfig,
    room: &mut usize,
    read: &mut Read,
) -> Result<(), Unreadable> {
    let mut rest = data.clone();
    while rest.len() >= BATCH_HEADER_BYTES && (*room > 0 || read.records.is_empty()) {
        let unreadable = |reason: String| Unreadable { offset: read.next, reason };
        let header = BatchHeader::parse(&rest).map_err(|error| unreadable(error.to_string()))?;
        if header.total_size() > rest.len() {
            break;
        }
        let batch = rest.split_to(header.total_size());
        if config.verify_crc {
            header.verify_crc(&batch).map_err(|error: BatchError| unreadable(error.to_string()))?;
        }
        if header.last_offset() < read.next.0 {
            continue;
        }
        if header.is_control() {
            read.next = after(header.last_offset());
            continue;
        }
        let (count, next) = (read.records.len(), read.next);
        match take_batch(&header, &batch, partition, config, read) {
            Ok(inflated) => *room = room.saturating_sub(inflated),
            Err(bad) => {
                // Nothing of a batch that is not whole.
                read.records.truncate(count);
                read.next = next;
                return Err(bad);
            }
        }
    }
    Ok(())
}

fn after(offset: i64) -> LogOffset {
    LogOffset(offset.saturating_add(1))
}

/// The answer is how many bytes it took besides those of the batch.
fn take_batch(
    header: &BatchHeader,
    batch: &Bytes,
    partition: u32,
    config: &ReaderConfig,
    read: &mut Read,
) -> Result<usize, Unreadable> {
    let offset = LogOffset(header.base_offset);
    let unreadable = |reason: String| Unreadable { offset, reason };
    let codec = header.codec().map_err(|codec| unreadable(format!("compression codec {codec} is unknown")))?;
    let body = batch.slice(BATCH_HEADER_BYTES..);
    let payload = match codec {
        Codec::None => body,
        Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
            let inflated = decompress(codec, &body, inflate_limit(body.len()).max(config.inflated_bytes));
            inflated.map_err(|error| unreadable(not_inflated(&error)))?.into()
        }
    };
    let inflated = if codec == Codec::None { 0 } else { payload.len() };
    for view in Records::new(&payload) {
        let view = view.map_err(|error| unreadable(error.to_string()))?;
        let at = header.base_offset.saturating_add(i64::from(view.offset_delta));
        if at < read.next.0 {
            continue;
        }
        read.records.push(record(header, &payload, &view, partition, at));
        read.next = after(at);
    }
    // Compaction may have taken the last records of the batch.
    read.next = read.next.max(after(header.last_offset()));
    Ok(inflated)
}

fn not_inflated(error: &CodecError) -> String {
    match error {
        CodecError::TooLarge { .. } => format!("{error}; ReaderConfig::inflated_bytes allows more"),
        CodecError::Undecodable { .. } | CodecError::Compress { .. } => error.to_string(),
    }
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

    fn read(data: &[u8], position: i64) -> Result<Read, Unreadable> {
        let (data, config, mut room) = (Bytes::copy_from_slice(data), ReaderConfig::default(), usize::MAX);
        read_records(&data, 3, LogOffset(position), &config, &mut room)
    }

    #[test]
    fn records_come_from_the_position_on_in_every_codec() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let data = [batch(10, 5, codec), batch(20, 4, codec)].concat();
            let all = read(&data, 12).unwrap();
            let offsets: Vec<i64> = all.records.iter().map(|record| record.offset.0).collect();
            assert_eq!((offsets, all.next), (vec![12, 13, 14, 20, 21, 22, 23], LogOffset(24)));
            let first = &all.records[0];
            assert_eq!((first.partition, first.is_tombstone, first.value.len()), (3, true, 0));
            assert_eq!(first.headers, [RecordHeader { key: "h".into(), value: None }]);
            assert_eq!(first.timestamp, from_ms(1002));
            assert_eq!(read(&data, 24).unwrap().records, []);
        }
    }

    /// One record of so many zeros, as brokers store it that look at the size of what is compressed, or compress themselves.
    fn zeros(base: i64, bytes: usize, codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new().compression(Compression::of(codec));
        builder.push(NewRecord { timestamp: 0, key: None, value: Some(&vec![0; bytes]), headers: &[] });
        let mut bytes = builder.build().unwrap();
        set_base_offset(&mut bytes, base);
        bytes.to_vec()
    }

    #[test]
    fn a_batch_that_inflates_a_hundredfold_is_read_and_one_beyond_the_limit_names_the_setting() {
        const BYTES: usize = 20 << 20;
        for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
            let data = zeros(5, BYTES, codec);
            assert!(data.len() < BYTES / 100, "{codec}");
            let all = read(&data, 5).unwrap();
            assert_eq!((all.records[0].value.len(), all.next), (BYTES, LogOffset(6)), "{codec}");
            let config = ReaderConfig { inflated_bytes: BYTES, ..ReaderConfig::default() };
            let mut room = usize::MAX;
            let bad = read_records(&data.into(), 0, LogOffset(5), &config, &mut room).unwrap_err();
            assert!(bad.offset == LogOffset(5) && bad.reason.contains("ReaderConfig::inflated_bytes"), "{bad:?}");
        }
    }

    #[test]
    fn what_has_no_room_is_left_for_later_and_one_batch_always_has() {
        let data: Bytes = (0..6).flat_map(|base| zeros(base, 1 << 20, Codec::Zstd)).collect::<Vec<_>>().into();
        let (config, mut position, mut held) = (ReaderConfig::default(), LogOffset(0), Vec::new());
        for mut room in [3 << 20, 1, 0, 100 << 20] {
            let read = read_records(&data, 0, position, &config, &mut room).unwrap();
            held.push(read.records.len());
            position = read.next;
        }
        assert_eq!((held, position), (vec![3, 1, 1, 1], LogOffset(6)));
    }

    #[test]
    fn what_lies_before_a_damaged_batch_is_read() {
        let mut data = [batch(0, 2, Codec::Lz4), batch(2, 2, Codec::Lz4)].concat();
        *data.last_mut().unwrap() ^= 1;
        let good = read(&data, 0).unwrap();
        assert_eq!((good.records.len(), good.next), (2, LogOffset(2)));
        assert_eq!(read(&data, 2).unwrap_err().offset, LogOffset(2));
        let all = read_all(&data.into(), 0, LogOffset(0), &ReaderConfig::default());
        assert_eq!(all.unwrap_err().offset, LogOffset(2), "whoever cannot go on there is told so");
    }

    #[test]
    fn f04_a_cut_batch_is_left_for_later_wherever_it_is_cut() {
        let data = [batch(0, 2, Codec::None), batch(2, 2, Codec::Lz4)].concat();
        let first = batch(0, 2, Codec::None).len();
        for cut in first..data.len() {
            let read = read(&data[..cut], 0).unwrap();
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
                for verify_crc in [true, false] {
                    let config = ReaderConfig { verify_crc, ..ReaderConfig::default() };
                    let (data, mut room) = (Bytes::from(bad.clone()), usize::MAX);
                    let read = read_records(&data, 0, LogOffset(7), &config, &mut room);
                    assert!(read.is_err() || read.unwrap().next >= LogOffset(7));
                }
            }
        }
        let mut bad = good;
        *bad.last_mut().unwrap() ^= 1;
        assert!(read(&bad, 7).unwrap_err().reason.contains("CRC"));
    }
}
