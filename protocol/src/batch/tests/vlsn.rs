//! What a VLSN log takes, and how its records come to stand in its view.

use super::{batch, rules};
use crate::batch::{
    BatchBuilder, CheckedBatch, Codec, Compression, KeyedRecord, NewRecord, Outline, ProduceError, ProduceRules,
    StoredBatch, StoredRecord, ViewBatches, ViewRecord, VlsnRoute, check_produced, empty_view,
};
use crate::{Draw, ErrorCode, LeaderEpoch, LogOffset, PartitionIndex, Routing, Vlsn};
use bytes::{Bytes, BytesMut};

fn rules_of(partition: i32) -> ProduceRules {
    let routing = Routing::new(3).extended(Vlsn(1_000), 4).expect("rises");
    ProduceRules { vlsn: Some(VlsnRoute { routing, partition: PartitionIndex(partition) }), ..rules() }
}

fn keyed(keys: &[&[u8]], codec: Codec) -> Bytes {
    let builder = BatchBuilder::new().compression(Compression::of(codec));
    let builder = keys.iter().fold(builder, |b, key| b.kv(1_700_000_000_000, key, b"value"));
    builder.build().expect("builds").freeze()
}

fn of(vlsns: &[u64]) -> Bytes {
    let keys: Vec<[u8; 8]> = vlsns.iter().map(|v| Vlsn(*v).key()).collect();
    keyed(&keys.iter().map(<[u8; 8]>::as_slice).collect::<Vec<_>>(), Codec::None)
}

fn reasons(bytes: Bytes, partition: i32) -> Vec<(i32, String)> {
    let error = check_produced(bytes, &rules_of(partition)).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
    error.rejected().iter().map(|r| (r.index, r.message.clone())).collect()
}

#[test]
fn vlsns_of_the_partition_that_rise_are_taken_with_every_codec() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let keys: Vec<[u8; 8]> = [4, 7, 10].iter().map(|v| Vlsn(*v).key()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(<[u8; 8]>::as_slice).collect();
        let checked = check_produced(keyed(&keys, codec), &rules_of(1)).expect("taken");
        assert_eq!(checked.vlsns, [Vlsn(4), Vlsn(7), Vlsn(10)]);
    }
    assert!(check_produced(of(&[0]), &rules_of(0)).is_ok());
    assert!(check_produced(batch(2).build().expect("builds").freeze(), &rules()).expect("taken").vlsns.is_empty());
}

#[test]
fn each_record_that_is_refused_says_why_with_the_numbers() {
    let key = Vlsn(4).key();
    assert_eq!(
        reasons(keyed(&[&key, b"short", b""], Codec::None), 1),
        [
            (1, "the key has 5 bytes; a record of a VLSN log has its VLSN there, 8 bytes big-endian".to_owned()),
            (2, "the key has 0 bytes; a record of a VLSN log has its VLSN there, 8 bytes big-endian".to_owned()),
        ]
    );
    assert_eq!(
        reasons(of(&[1, 5, 1_001]), 1),
        [(1, "VLSN 5 belongs to partition 2 (5 mod 3 partitions, routing epoch 0 from VLSN 0), not to 1".to_owned())]
    );
    assert_eq!(
        reasons(of(&[1_003]), 1),
        [(
            0,
            "VLSN 1003 belongs to partition 3 (1003 mod 4 partitions, routing epoch 1 from VLSN 1000), not to 1"
                .to_owned()
        )]
    );
    assert_eq!(reasons(of(&[7, 4]), 1), [(1, "VLSN 4 follows 7 in the batch; VLSNs of a partition rise".to_owned())]);
    assert_eq!(reasons(of(&[7, 7]), 1), [(1, "VLSN 7 follows 7 in the batch; VLSNs of a partition rise".to_owned())]);
    assert_eq!(
        reasons(of(&[u64::MAX]), 0),
        [(0, "VLSN 18446744073709551615 is above the largest, 9223372036854775806".to_owned())]
    );
    let null = BatchBuilder::new().record(NewRecord::default()).build().expect("builds").freeze();
    assert!(reasons(null, 0)[0].1.starts_with("the key is null"));
}

/// Whoever reads a record has all of its headers in memory, and those that are empty take next to no bytes in a batch.
#[test]
fn a_record_has_a_bounded_number_of_headers_with_names_that_every_answer_can_carry() {
    let of_headers = |count: usize, name: &[u8], rules: &ProduceRules| {
        let key = Vlsn(4).key();
        let headers: Vec<(&[u8], Option<&[u8]>)> = vec![(name, None); count];
        let record = NewRecord { timestamp: 1_700_000_000_000, key: Some(&key), value: None, headers: &headers };
        check_produced(BatchBuilder::new().record(record).build().expect("builds").freeze(), rules)
    };
    let vlsn = rules_of(1);
    assert!(of_headers(1_000, b"", &vlsn).is_ok());
    assert!(of_headers(1, &[b'n'; 32_767], &vlsn).is_ok());
    let text =
        |refused: Result<CheckedBatch, ProduceError>| refused.expect_err("refused").rejected()[0].message.clone();
    assert_eq!(
        text(of_headers(1_001, b"", &vlsn)),
        "the record has 1001 headers; records of a VLSN log have 1000 at most"
    );
    assert_eq!(
        text(of_headers(2, &[b'n'; 32_768], &vlsn)),
        "the name of a header has 32768 bytes; in a VLSN log they have 32767 at most"
    );
    assert!(of_headers(1_001, b"", &rules()).is_ok(), "ordinary logs have no such limit");
}

#[test]
fn a_refusal_names_a_hundred_records_and_counts_all() {
    let wrong: Vec<u64> = (0..300).map(|n| 3 * n).collect();
    let error = check_produced(of(&wrong), &rules_of(1)).expect_err("refused");
    assert_eq!(error.rejected().len(), 100);
    assert!(matches!(error, ProduceError::Vlsns { total: 300, .. }));
    assert!(error.to_string().starts_with("300 of the batch's records are refused by the VLSN log, the first because"));
}

#[test]
fn a_view_batch_holds_the_records_as_they_were_at_their_vlsns() {
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"n", None)];
    let (one, two) = (Vlsn(100).key(), Vlsn(400).key());
    let source = BatchBuilder::new()
        .record(NewRecord { timestamp: 1_000, key: Some(&one), value: Some(b"v"), headers })
        .record(NewRecord { timestamp: 900, key: Some(&two), value: None, headers: &[] })
        .build()
        .expect("builds");
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let stored = StoredBatch::open(&source).expect("opens");
        let mut view = ViewBatches::new(LeaderEpoch(3), 0);
        for record in stored.records() {
            let record = record.expect("whole");
            let (attributes, rest) = (record.record.attributes, record.record.after_deltas());
            let record = ViewRecord { vlsn: record.vlsn, timestamp: record.timestamp, attributes, rest };
            view.push(&record, codec).expect("fits");
        }
        let out = view.finish().expect("fits");
        let seen = StoredBatch::open(&out).expect("opens");
        assert_eq!((seen.header.base_offset, seen.header.last_offset()), (100, 400));
        assert_eq!((seen.header.leader_epoch, seen.header.max_timestamp), (3, 1_000));
        assert_eq!(seen.header.codec(), Ok(codec));
        let records: Vec<_> = seen.records().map(|r| r.expect("whole")).collect();
        assert_eq!(records.iter().map(|r| (r.vlsn.0, r.offset.0)).collect::<Vec<_>>(), [(100, 100), (400, 400)]);
        assert_eq!(records.iter().map(|r| r.timestamp).collect::<Vec<_>>(), [1_000, 900]);
        assert_eq!((records[0].record.value, records[1].record.value), (Some(&b"v"[..]), None));
        let kept: Vec<_> = records[0].record.headers.iter().map(|h| (h.key, h.value)).collect();
        assert_eq!(kept, headers);
    }
}

#[test]
fn a_view_begins_another_batch_where_the_codec_changes_or_one_cannot_reach() {
    let mut view = ViewBatches::new(LeaderEpoch(3), 0);
    let key = [16, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let far = u64::try_from(i32::MAX).expect("fits");
    for (vlsn, codec) in [(1, Codec::None), (2, Codec::Lz4), (3, Codec::Lz4), (4 + far, Codec::Lz4)] {
        let record = ViewRecord { vlsn: Vlsn(vlsn), timestamp: 5, attributes: 0, rest: &key };
        view.push(&record, codec).expect("fits");
    }
    let out = view.finish().expect("fits");
    let (mut rest, mut seen) = (&out[..], Vec::new());
    while !rest.is_empty() {
        let batch = StoredBatch::open(rest).expect("opens");
        seen.push((batch.header.base_offset, batch.header.record_count, batch.header.codec()));
        rest = &rest[batch.header.total_size()..];
    }
    let end = 4 + i64::from(i32::MAX);
    assert_eq!(seen, [(1, 1, Ok(Codec::None)), (2, 2, Ok(Codec::Lz4)), (end, 1, Ok(Codec::Lz4))]);
}

/// What the short look at a record says where the whole one says something else.
fn difference(payload: &[u8], whole: &StoredBatch<'_>) -> Option<String> {
    let mut rest = payload;
    for record in whole.records() {
        let record = record.expect("whole");
        let Ok(short) = KeyedRecord::first_of(rest, LogOffset(whole.header.base_offset)) else {
            return Some(format!("VLSN {} is not seen", record.vlsn));
        };
        let said = (short.vlsn, short.timestamp_delta, short.attributes, short.rest, short.size);
        let view = record.record;
        if said != (record.vlsn, view.timestamp_delta, view.attributes, view.after_deltas(), view.bytes.len()) {
            return Some(format!("VLSN {}: {said:?}", record.vlsn));
        }
        rest = &rest[short.size..];
    }
    (!rest.is_empty()).then(|| format!("{} bytes are left over", rest.len()))
}

#[test]
fn the_short_look_at_a_record_says_what_the_whole_one_does() {
    let mut draw = Draw::new(1);
    for seed in 0..300_u64 {
        let mut builder = BatchBuilder::new();
        let mut vlsn = draw.next_u64() % 1_000;
        for _ in 0..1 + seed % 20 {
            vlsn += 1 + draw.next_u64() % 400;
            let value = vec![7; (draw.next_u64() % 400) as usize];
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(&value)), (b"", None)];
            builder = builder.record(NewRecord {
                timestamp: 1_000_000 - (draw.next_u64() % 2_000_000) as i64,
                key: Some(&Vlsn(vlsn).key()),
                value: (!vlsn.is_multiple_of(5)).then_some(&value),
                headers: &headers[..(draw.next_u64() % 3) as usize],
            });
        }
        let bytes = builder.build().expect("builds");
        let whole = StoredBatch::open(&bytes).expect("opens");
        assert_eq!(difference(whole.payload(), &whole), None, "seed {seed}");
        // Planted: one byte that the short look reads is another one, or the last one is missing.
        for at in [0, 2, whole.payload().len() - 1] {
            let mut planted = whole.payload().to_vec();
            planted[at] = planted[at].wrapping_add(2);
            planted.truncate(planted.len() - usize::from(at > 2));
            assert!(difference(&planted, &whole).is_some(), "seed {seed}: byte {at}");
            let mut rest = &planted[..];
            while let Ok(short) = KeyedRecord::first_of(rest, LogOffset(0)) {
                rest = &rest[short.size..];
            }
        }
    }
}

#[test]
fn a_gap_in_the_view_is_a_batch_without_records() {
    let mut out = BytesMut::new();
    empty_view(Vlsn(5), Vlsn(9), LeaderEpoch(1), &mut out);
    let batch = StoredBatch::open(&out).expect("opens");
    assert_eq!((batch.header.base_offset, batch.header.last_offset(), batch.header.record_count), (5, 8, 0));
    let mut far = BytesMut::new();
    empty_view(Vlsn(0), Vlsn(u64::MAX), LeaderEpoch(1), &mut far);
    assert_eq!(StoredBatch::open(&far).expect("opens").header.last_offset(), i64::from(i32::MAX));
}

#[test]
fn stored_bytes_that_changed_are_refused() {
    let bytes = of(&[1]);
    for at in 16..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x10;
        let opened = StoredBatch::open(&changed).and_then(|b| b.records().collect::<Result<Vec<_>, _>>().map(|_| ()));
        assert!(opened.is_err(), "byte {at}");
    }
}

/// Every record is found in its part, nothing else is, and no part is believed that changed.
#[test]
fn an_outline_finds_each_record_and_believes_no_other_bytes() {
    let mut draw = Draw::new(7);
    for _ in 0..200 {
        let (mut vlsn, mut builder) = (draw.next_u64() % 1000, BatchBuilder::new());
        for _ in 0..=draw.next_u64() % 90 {
            vlsn += 1 + draw.next_u64() % 3;
            let size = if draw.next_u64().is_multiple_of(9) { 5_000 } else { 90 };
            let value = vec![draw.next_u64().to_be_bytes()[0]; usize::try_from(draw.next_u64() % size).unwrap_or(0)];
            builder = builder.kv(1_700_000_000_000, &Vlsn(vlsn).key(), &value);
        }
        let mut bytes = builder.build().expect("builds");
        let batch = StoredBatch::open(&bytes).expect("whole");
        let outline = Outline::of(&batch).expect("has VLSNs");
        let Some(outline) = outline else {
            assert!(bytes.len() < 2_200, "{} bytes are worth it", bytes.len());
            continue;
        };
        assert_eq!(outline.batch_bytes(), bytes.len());
        assert!(outline.memory() < 100 + bytes.len() / 40, "{} for {}", outline.memory(), bytes.len());
        let records: Vec<_> = batch.records().map(|record| record.expect("whole")).collect();
        let (first, last) = (records[0].vlsn.0, records[records.len() - 1].vlsn.0);
        assert!(outline.part(Vlsn(first.saturating_sub(1))).is_none() || first == 0);
        for vlsn in (first..last + 3).map(Vlsn) {
            let part = outline.part(vlsn).expect("not below the first");
            let found = part.find(&bytes[part.range()], vlsn).expect("what it was");
            let expected = records.iter().find(|record| record.vlsn == vlsn);
            let seen =
                |record: &StoredRecord<'_>| (record.offset, record.timestamp, record.record.value.map(<[u8]>::to_vec));
            assert_eq!(found.as_ref().map(seen), expected.map(seen));
        }
        let part = outline.part(Vlsn(last)).expect("there");
        let at = part.range().start + usize::try_from(draw.next_u64()).unwrap_or(0) % part.range().len();
        bytes[at] ^= 1 << (draw.next_u64() % 8);
        assert!(part.find(&bytes[part.range()], Vlsn(last)).is_err());
        assert!(part.find(&bytes[part.range().start..at], Vlsn(last)).is_err());
    }
}

#[test]
fn a_compressed_batch_has_no_outline() {
    let keys: Vec<[u8; 8]> = (0..500).map(|v| Vlsn(v).key()).collect();
    let bytes = keyed(&keys.iter().map(<[u8; 8]>::as_slice).collect::<Vec<_>>(), Codec::Lz4);
    let batch = StoredBatch::open(&bytes).expect("whole");
    assert!(Outline::of(&batch).expect("has VLSNs").is_none());
}
