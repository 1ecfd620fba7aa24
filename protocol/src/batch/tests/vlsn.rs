//! What a VLSN log takes, and how its records come to stand in its view.

use super::{batch, rules};
use crate::batch::{
    BatchBuilder, Codec, Compression, NewRecord, ProduceError, ProduceRules, StoredBatch, ViewBatch, VlsnRoute,
    check_produced, empty_view,
};
use crate::{ErrorCode, LeaderEpoch, PartitionIndex, Routing, Vlsn};
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
        let stored = StoredBatch::open(&source, 1 << 20).expect("opens");
        let mut view = ViewBatch::new(Vlsn(98), LeaderEpoch(3), codec);
        for record in stored.records() {
            view.push(&record.expect("whole"));
        }
        let mut out = BytesMut::new();
        view.finish(&mut out).expect("fits");
        let seen = StoredBatch::open(&out, 1 << 20).expect("opens");
        assert_eq!((seen.header.base_offset, seen.header.last_offset()), (98, 400));
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
fn a_gap_in_the_view_is_a_batch_without_records() {
    let mut out = BytesMut::new();
    empty_view(Vlsn(5), Vlsn(9), LeaderEpoch(1), &mut out);
    let batch = StoredBatch::open(&out, 0).expect("opens");
    assert_eq!((batch.header.base_offset, batch.header.last_offset(), batch.header.record_count), (5, 8, 0));
    let mut far = BytesMut::new();
    empty_view(Vlsn(0), Vlsn(u64::MAX), LeaderEpoch(1), &mut far);
    assert_eq!(StoredBatch::open(&far, 0).expect("opens").header.last_offset(), i64::from(i32::MAX));
}

#[test]
fn stored_bytes_that_changed_are_refused() {
    let bytes = of(&[1]);
    for at in 16..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x10;
        let opened =
            StoredBatch::open(&changed, 1 << 20).and_then(|b| b.records().collect::<Result<Vec<_>, _>>().map(|_| ()));
        assert!(opened.is_err(), "byte {at}");
    }
}
