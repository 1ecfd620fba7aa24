//! The harness itself: what it builds reads back, and what it starts ends.

use pyralog_compat_tests::calls::Fetch;
use pyralog_compat_tests::{Batch, Codec, Record, batch, shared};

#[test]
fn batches_read_back_as_written_in_every_codec() {
    let header = (b"name".to_vec(), None);
    let records = vec![
        Record::keyed("k", "v"),
        Record { value: None, headers: vec![header], ..Record::keyed("k", "") }.at(70_000),
        Record::of(&"long".repeat(20_000)).at(-3),
    ];
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd] {
        let bytes = Batch::new(records.clone()).stamped(1000).producer(7, 1, 2).codec(codec).encode();
        let parsed = batch::parse(&[bytes.clone(), bytes[..40].to_vec()].concat());
        assert_eq!(parsed.len(), 1, "{codec:?}");
        let stored = &parsed[0];
        assert_eq!((stored.count, stored.max_timestamp, stored.attributes & 7), (3, 71_000, codec.id()));
        assert_eq!((stored.producer_id, stored.producer_epoch, stored.base_sequence), (7, 1, 2));
        let expected: Vec<Record> = (0..).zip(&records).map(|(i, r)| r.clone().delta(i)).collect();
        assert_eq!(stored.records, expected, "{codec:?}");
    }
}

#[test]
fn a_record_comes_back_from_the_shared_broker() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("harness", 2, &[]);
    assert_eq!(conn.append(&name, 1, &Batch::of("a", 3).encode()), 0);
    let stored = conn.read(&name, 1, 0);
    assert_eq!(stored[0].values(), ["a-0", "a-1", "a-2"]);
    assert_eq!(conn.fetch(&Fetch::at(&name, 0, 0)).high_watermark, 0);
}
