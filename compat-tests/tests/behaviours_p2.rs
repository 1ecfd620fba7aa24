//! Produce and the settings of its topic: P22 to P28, and P31 as far as one node shows it, one test each.
#![allow(clippy::cast_possible_truncation)]

use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use pyralog_compat_tests::calls::{produce_request, produced};
use pyralog_compat_tests::{Batch, BrokerOptions, Codec, Conn, Record, now_ms, private, shared};

/// A batch of exactly so many bytes.
fn batch_of(bytes: usize) -> Vec<u8> {
    let with = |n: usize| Batch::new(vec![Record::of(&"x".repeat(n))]).encode();
    let overhead = with(bytes / 2).len() - bytes / 2;
    // The length of the value is a varint of its own, so near a border the first guess is off by a byte or two.
    (0..4).map(|less| with(bytes - overhead - less)).find(|b| b.len() == bytes).expect("a batch of that size")
}

fn indexes(answer: &PartitionProduceResponse) -> Vec<i32> {
    answer.record_errors.iter().map(|e| e.batch_index).collect()
}

#[test]
fn p22_batch_size_limits() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p22", 1, &[("max.message.bytes", "2000")]);
    assert_eq!(conn.produce(&name, 0, &batch_of(2000)).error_code, 0);
    assert_eq!(conn.produce(&name, 0, &batch_of(2001)).error_code, 10);
    let compressed = Batch::new(vec![Record::of(&"x".repeat(100_000))]).codec(Codec::Gzip).encode();
    assert!(compressed.len() < 2000);
    assert_eq!(conn.produce(&name, 0, &compressed).error_code, 0, "the limit counts compressed bytes");
}

#[test]
fn p22_batch_above_the_segment_size() {
    let mut conn = shared().connect();
    let settings = [("segment.bytes", "1048576"), ("max.message.bytes", "4000000")];
    let (name, _) = conn.new_topic("p22", 1, &settings);
    assert_eq!(conn.produce(&name, 0, &batch_of(1_048_577)).error_code, 18);
    assert_eq!(conn.produce(&name, 0, &batch_of(1_000_000)).error_code, 0);
}

#[test]
fn p23_compacted_topic_needs_keys() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p23", 1, &[("cleanup.policy", "compact")]);
    let records = vec![Record::keyed("k", "1"), Record::of("2"), Record::keyed("", "3"), Record::of("4")];
    for codec in [Codec::None, Codec::Lz4] {
        let bytes = Batch::new(records.clone()).codec(codec).encode();
        let answer = conn.produce(&name, 0, &bytes);
        assert_eq!((answer.error_code, indexes(&answer)), (87, vec![1, 3]), "{codec:?}: {answer:?}");
        assert!(answer.error_message.is_some_and(|m| !m.is_empty()));
        let old = conn.produce_at(7, &name, 0, &bytes);
        assert_eq!((old.error_code, old.record_errors.len()), (87, 0), "v7 has no detail");
    }
    assert_eq!(conn.end_offset(&name, 0), 0);
    let empty_key = Batch::new(vec![Record::keyed("", "v")]).encode();
    assert_eq!(conn.append(&name, 0, &empty_key), 0);
}

fn ago(records: &[i64]) -> Vec<u8> {
    let now = now_ms();
    let records = records.iter().map(|ms| Record::of("v").at(-ms)).collect();
    Batch::new(records).stamped(now).encode()
}

#[test]
fn p24_timestamps_out_of_bounds() {
    let mut conn = shared().connect();
    let settings = [("message.timestamp.after.max.ms", "60000"), ("message.timestamp.before.max.ms", "120000")];
    let (name, _) = conn.new_topic("p24", 1, &settings);
    for (what, bytes, bad) in [
        ("too new", ago(&[0, -200_000]), 1),
        ("too old", ago(&[0, 0, 300_000]), 2),
        ("first of two", ago(&[-200_000, 0]), 0),
    ] {
        let answer = conn.produce(&name, 0, &bytes);
        assert_eq!((answer.error_code, indexes(&answer)), (32, vec![bad]), "{what}: {answer:?}");
    }
    assert_eq!(conn.end_offset(&name, 0), 0, "the whole batch is refused");
    assert_eq!(conn.produce(&name, 0, &ago(&[-30_000, 60_000])).error_code, 0);
}

#[test]
fn p24_odd_timestamps_pass_with_defaults() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p24", 1, &[]);
    for stamp in [0, -1, -100, now_ms() + 60_000] {
        let bytes = Batch::of("v", 1).stamped(stamp).encode();
        assert_eq!(conn.produce(&name, 0, &bytes).error_code, 0, "{stamp}");
    }
    let tomorrow = Batch::of("v", 1).stamped(now_ms() + 2 * 3_600_000).encode();
    assert_eq!(conn.produce(&name, 0, &tomorrow).error_code, 32, "after.max.ms is one hour by default");
}

#[test]
fn p25_a_wrong_max_timestamp_is_corrected() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p25", 1, &[]);
    let first = now_ms() - 10_000;
    let records = vec![Record::of("a"), Record::of("b").at(500), Record::of("c").at(20)];
    for wrong in [0, -1, first + 5_000_000, first] {
        let bytes = Batch::new(records.clone()).stamped(first).with(|b| b.max_timestamp = Some(wrong)).encode();
        let base = conn.append(&name, 0, &bytes);
        // The parser checks that the CRC was written anew.
        let stored = &conn.read(&name, 0, base)[0];
        assert_eq!((stored.first_timestamp, stored.max_timestamp), (first, first + 500), "sent {wrong}");
    }
}

#[test]
fn p26_log_append_time() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p26", 1, &[("message.timestamp.type", "LogAppendTime")]);
    for codec in [Codec::None, Codec::Zstd] {
        let before = now_ms();
        let records = vec![Record::of("a"), Record::of("b").at(7)];
        let answer = conn.produce(&name, 0, &Batch::new(records).stamped(1000).codec(codec).encode());
        assert_eq!(answer.error_code, 0);
        let stamp = answer.log_append_time_ms;
        assert!((before - 1000..=now_ms() + 1000).contains(&stamp), "{stamp}");
        let stored = &conn.read(&name, 0, answer.base_offset)[0];
        assert_eq!(stored.attributes & 0x08, 0x08);
        assert_eq!((stored.max_timestamp, stored.first_timestamp), (stamp, 1000), "{codec:?}");
    }
    let (plain, _) = conn.new_topic("p26", 1, &[]);
    assert_eq!(conn.produce(&plain, 0, &Batch::of("v", 1).encode()).log_append_time_ms, -1);
}

#[test]
fn p27_compression_type_of_the_topic() {
    let mut conn = shared().connect();
    let codecs = [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4), ("uncompressed", 0)];
    for (setting, id) in codecs {
        let (name, _) = conn.new_topic("p27", 1, &[("compression.type", setting)]);
        for sent in [Codec::None, Codec::Gzip, Codec::Lz4] {
            let base = conn.append(&name, 0, &Batch::of("some-value", 20).codec(sent).encode());
            let stored = &conn.read(&name, 0, base)[0];
            assert_eq!((stored.attributes & 7, stored.count), (id, 20), "{setting}, sent {sent:?}");
            assert_eq!(stored.values()[19], "some-value-19");
        }
    }
}

#[test]
fn p28_min_insync_replicas_above_the_replica_count() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p28", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(conn.append(&name, 0, &Batch::of("v", 1).encode()), 0);
    assert_eq!(conn.end_offset(&name, 0), 1);
}

fn assert_no_hint(conn: &mut Conn, version: i16, name: &str) {
    let response = conn.call(version, &produce_request(name, 0, &Batch::of("v", 1).encode()));
    let answer = produced(&response, name, 0);
    assert_eq!((answer.error_code, answer.current_leader.leader_id.0), (0, -1), "v{version}");
    assert!(response.node_endpoints.is_empty(), "v{version}");
}

#[test]
fn p31_the_leader_gives_no_hint() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p31", 1, &[]);
    for version in [9, 10, 12] {
        assert_no_hint(&mut conn, version, &name);
    }
}

#[test]
fn p22_settings_of_the_broker_are_the_defaults_of_its_topics() {
    let options = BrokerOptions::new().set("message.max.bytes", "3000").set("compression.type", "lz4");
    let Some(broker) = private(options) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("p22", 1, &[]);
    assert_eq!(conn.produce(&name, 0, &batch_of(3001)).error_code, 10);
    let base = conn.append(&name, 0, &Batch::of("v", 5).encode());
    assert_eq!(conn.read(&name, 0, base)[0].attributes & 7, 3);
}
