//! Produce: what a batch must look like (P1 to P13) and how the request is answered (P15 to P21), one test each.
//!
//! `behaviours_p2.rs` has the statements about topic settings and the rest.
#![allow(clippy::cast_possible_truncation)]

use std::time::Duration;

use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::TransactionalId;
use pyralog_compat_tests::batch::{put_varlong, with_length};
use pyralog_compat_tests::calls::{Fetch, produce_parts, produce_request, produced, records};
use pyralog_compat_tests::conn::{Outcome, PATIENCE};
use pyralog_compat_tests::{Batch, Codec, Conn, Record, batch, on_kafka, shared, text, unique};
use uuid::Uuid;

/// All cases go to one topic; none of the refused ones may leave a trace in it.
fn expect_errors(conn: &mut Conn, name: &str, cases: &[(&str, Vec<u8>, i16)]) {
    let before = conn.end_offset(name, 0);
    let mut wrong = Vec::new();
    for (what, bytes, expected) in cases {
        let answer = conn.produce(name, 0, bytes);
        if answer.error_code != *expected {
            wrong.push(format!("{what}: expected {expected}, got {}", answer.error_code));
        } else if answer.base_offset != -1 || answer.log_append_time_ms != -1 {
            wrong.push(format!("{what}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(conn.end_offset(name, 0), before, "a refused batch was appended");
}

fn good() -> Batch {
    Batch::of("v", 3)
}

#[test]
fn p01_exactly_one_batch_per_partition() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p01", 1, &[]);
    let whole = good().encode();
    let cases = [
        ("no bytes", vec![], 87),
        ("half a batch", whole[..whole.len() / 2].to_vec(), 87),
        ("a header only", whole[..61].to_vec(), 87),
        ("all but a byte", whole[..whole.len() - 1].to_vec(), 87),
        ("two batches", [whole.clone(), whole].concat(), 87),
    ];
    expect_errors(&mut conn, &name, &cases);
}

#[test]
fn p02_null_records() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p02", 1, &[]);
    let correlation = conn.send(9, &produce_parts(1, &[(&name, 0, None)]));
    if on_kafka() {
        return conn.expect_silence(Duration::from_millis(700));
    }
    let response = conn.receive::<ProduceRequest>(9, correlation);
    assert_eq!(produced(&response, &name, 0).error_code, 87);
}

#[test]
fn p03_bytes_after_the_batch() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p03", 1, &[]);
    let few = [good().encode(), vec![0xaa; 5]].concat();
    let error = conn.produce(&name, 0, &few).error_code;
    assert!(error == 0 || error == 87 && !on_kafka(), "5 more bytes: {error}");
    let many = [good().encode(), vec![0xaa; 40]].concat();
    let error = conn.produce(&name, 0, &many).error_code;
    assert!(error == 2 || error == 87 && !on_kafka(), "40 more bytes: {error}");
    // Whatever was stored, it is stored without the surplus.
    let stored = conn.fetch(&Fetch::at(&name, 0, 0));
    let whole: usize = batch::parse(records(&stored)).iter().map(|b| b.bytes.len()).sum();
    assert_eq!(records(&stored).len(), whole);
}

#[test]
fn p04_wrong_crc_and_wrong_magic() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p04", 1, &[]);
    let magic = |magic: i8| good().with(|b| b.magic = magic).encode();
    let cases = [
        ("crc", good().with(|b| b.crc = Some(1)).encode(), 2),
        ("a flipped bit", flipped(good().encode()), 2),
        ("magic 0", magic(0), 87),
        ("magic 1", magic(1), 87),
        ("magic 3", magic(3), 2),
        ("magic 127", magic(127), 2),
        ("magic -1", magic(-1), 2),
    ];
    expect_errors(&mut conn, &name, &cases);
}

fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    bytes
}

#[test]
fn p05_wrong_batch_length() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p05", 1, &[]);
    let length = |length: i32| good().with(|b| b.length = Some(length)).encode();
    let cases = [
        ("48", length(48), 2),
        ("0", length(0), 2),
        ("-1", length(-1), 2),
        ("smallest", length(i32::MIN), 2),
        ("beyond the data", length(10_000), 87),
        // A sum overflows in Kafka.
        ("largest", length(i32::MAX), if on_kafka() { -1 } else { 87 }),
    ];
    expect_errors(&mut conn, &name, &cases);
}

#[test]
fn p06_base_offset_must_be_0_and_the_leader_epoch_is_overwritten() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p06", 1, &[]);
    let base = |offset: i64| good().with(|b| b.base_offset = offset).encode();
    expect_errors(&mut conn, &name, &[("100", base(100), 87), ("1", base(1), 87), ("-1", base(-1), 87)]);
    conn.append(&name, 0, &good().with(|b| b.leader_epoch = 1234).encode());
    let epoch = conn.metadata_of(&name).partitions[0].leader_epoch;
    let stored = conn.read(&name, 0, 0);
    assert_eq!((stored[0].base_offset, stored[0].leader_epoch), (0, epoch));
}

#[test]
fn p07_counts_and_deltas_must_match() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p07", 1, &[]);
    let count = |count: i32| good().with(|b| b.count = Some(count)).encode();
    let last = |delta: i32| good().with(|b| b.last_offset_delta = Some(delta)).encode();
    let deltas = |deltas: &[i32]| {
        let records = deltas.iter().map(|d| Record::of("v").delta(*d)).collect();
        Batch::new(records).encode()
    };
    let empty = Batch::new(vec![]).with(|b| b.last_offset_delta = Some(0)).encode();
    let mut cases = vec![
        ("count 0", count(0), 87),
        ("count -1", count(-1), 87),
        ("count too small", count(2), 87),
        ("count too large", count(4), 87),
        ("count 2^31-1", count(i32::MAX), 87),
        ("no records", empty, 87),
        ("last delta too small", last(1), 87),
        ("last delta too large", last(3), 87),
        ("last delta -1", last(-1), 87),
    ];
    // Kafka walks the records of an uncompressed batch without looking at their deltas.
    if !on_kafka() {
        cases.push(("first delta 1", deltas(&[1, 2]), 87));
        cases.push(("a gap", deltas(&[0, 2]), 87));
        cases.push(("backwards", deltas(&[1, 0]), 87));
        cases.push(("deltas 0, 0", deltas(&[0, 0]), 87));
        cases.push(("three times delta 0", deltas(&[0, 0, 2]), 87));
    }
    expect_errors(&mut conn, &name, &cases);
}

/// A record body: attributes, two deltas, null key, value "v", then `rest` instead of the headers.
fn body(rest: &[i64]) -> Vec<u8> {
    let mut out = vec![0];
    for number in [0, 0, -1, 1] {
        put_varlong(&mut out, number);
    }
    out.push(b'v');
    for number in rest {
        put_varlong(&mut out, *number);
    }
    out
}

fn raw_record(bytes: Vec<u8>) -> Vec<u8> {
    Batch::new(vec![Record { raw: Some(bytes), ..Record::default() }]).encode()
}

#[test]
fn p08_bad_record_inside() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p08", 1, &[]);
    conn.append(&name, 0, &raw_record(with_length(&body(&[0]))));
    let mut key_past_end = vec![0];
    for number in [0, 0, 1000, -1, 0] {
        put_varlong(&mut key_past_end, number);
    }
    let mut longer_than_the_batch = Vec::new();
    put_varlong(&mut longer_than_the_batch, 1 << 30);
    longer_than_the_batch.extend(body(&[0]));
    let mut negative_length = Vec::new();
    put_varlong(&mut negative_length, -7);
    negative_length.extend(body(&[0]));
    let cases = [
        ("header count -1", raw_record(with_length(&body(&[-1]))), 87),
        ("header key null", raw_record(with_length(&body(&[1, -1, -1]))), 87),
        ("header count 2^30", raw_record(with_length(&body(&[1 << 30]))), 87),
        ("key past the end", raw_record(with_length(&key_past_end)), 87),
        ("bytes after the headers", raw_record(with_length(&body(&[0, 5]))), 87),
        ("record length past the end", raw_record(longer_than_the_batch), 87),
        ("negative record length", raw_record(negative_length), 87),
        ("endless varint", raw_record(vec![0xff; 20]), if on_kafka() { -1 } else { 87 }),
    ];
    expect_errors(&mut conn, &name, &cases);
}

#[test]
fn p09_null_and_empty_are_kept_apart() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p09", 1, &[]);
    let records: Vec<Record> = vec![
        Record { key: None, value: None, ..Record::default() },
        Record { key: Some(vec![]), value: Some(vec![]), ..Record::default() },
        Record {
            key: Some(vec![0, 255]),
            value: Some(vec![1]),
            headers: vec![(b"h".to_vec(), None), (b"h".to_vec(), Some(vec![])), (vec![], Some(vec![9]))],
            ..Record::default()
        },
        Record { attributes: 0x55, ..Record::of("attributes") },
    ];
    conn.append(&name, 0, &Batch::new(records.clone()).encode());
    let stored = conn.read(&name, 0, 0);
    let expected: Vec<Record> = (0..).zip(records).map(|(i, r)| r.delta(i)).collect();
    assert_eq!(stored[0].records, expected);
}

#[test]
fn p10_control_batches_from_clients_are_refused() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p10", 1, &[]);
    let mut marker = Batch::new(vec![Record {
        key: Some(vec![0, 0, 0, 1]),
        value: Some(vec![0, 0, 0, 0, 0, 0]),
        ..Record::default()
    }]);
    marker.attributes = 0x20;
    let cases = [
        ("control", marker.encode(), 87),
        ("control, gzip", marker.clone().codec(Codec::Gzip).encode(), 87),
        ("control, zstd", marker.clone().codec(Codec::Zstd).encode(), 87),
        ("plain records", good().with(|b| b.attributes = 0x20).encode(), 87),
    ];
    expect_errors(&mut conn, &name, &cases);
}

#[test]
fn p11_attribute_bits() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p11", 1, &[]);
    let with_bits = |bits: i16| good().with(|b| b.attributes = bits).encode();
    let bit6 = conn.produce(&name, 0, &with_bits(0x40));
    assert_eq!(bit6.error_code, if on_kafka() { 0 } else { 87 }, "delete horizon");
    let bit7 = conn.append(&name, 0, &with_bits(0x80));
    assert_eq!(conn.read(&name, 0, bit7)[0].attributes, 0x80);
    // The parser compares the CRC, so the broker must have written a new one.
    let bit3 = conn.append(&name, 0, &with_bits(0x08));
    assert_eq!(conn.read(&name, 0, bit3)[0].attributes, 0, "timestamp type of a CreateTime topic");
}

#[test]
fn p12_unknown_codec_and_undecodable_data() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p12", 1, &[]);
    let ours = |code: i16| if on_kafka() { -1 } else { code };
    let garbage = |codec: Codec| good().codec(codec).with(|b| b.payload = Some(vec![0x5a; 64])).encode();
    let gap = Batch::new(vec![Record::of("a").delta(0), Record::of("b").delta(2)]).codec(Codec::Gzip).encode();
    let mut cases = vec![
        ("codec 5", good().with(|b| b.attributes = 5).encode(), ours(76)),
        ("codec 6", good().with(|b| b.attributes = 6).encode(), ours(76)),
        ("codec 7", good().with(|b| b.attributes = 7).encode(), ours(76)),
        ("gzip garbage", garbage(Codec::Gzip), ours(2)),
        ("gap inside gzip", gap, ours(87)),
    ];
    if !on_kafka() {
        cases.push(("lz4 garbage", garbage(Codec::Lz4), 2));
        cases.push(("snappy garbage", garbage(Codec::Snappy), 2));
        cases.push(("zstd garbage", garbage(Codec::Zstd), 2));
    }
    expect_errors(&mut conn, &name, &cases);
}

#[test]
fn p13_zstd_and_old_versions() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p13", 1, &[]);
    let zstd = good().codec(Codec::Zstd).encode();
    for version in 3..=6 {
        assert_eq!(conn.produce_at(version, &name, 0, &zstd).error_code, 76, "Produce v{version}");
    }
    for version in 7..=12 {
        assert_eq!(conn.produce_at(version, &name, 0, &zstd).error_code, 0, "Produce v{version}");
    }
    for version in 4..=12 {
        let mut fetch = Fetch::at(&name, 0, 0);
        fetch.request.session_epoch = if version < 7 { 0 } else { -1 };
        let answer = conn.fetch_at(version, &fetch);
        assert_eq!(answer.error_code, 0, "Fetch v{version}");
        assert_eq!(batch::parse(records(&answer))[0].values(), ["v-0", "v-1", "v-2"], "Fetch v{version}");
    }
}

#[test]
fn p14_every_codec_is_stored_as_sent() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p14", 1, &[]);
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd] {
        let sent = Batch::of("compressible-compressible", 50).codec(codec).encode();
        let base = conn.append(&name, 0, &sent);
        let stored = &conn.read(&name, 0, base)[0];
        assert_eq!(stored.attributes, codec.id(), "{codec:?}");
        assert_eq!(stored.records.len(), 50, "{codec:?}");
        assert_eq!(stored.bytes[21..], sent[21..], "{codec:?}: what lies under the CRC is what was sent");
    }
}

#[test]
fn p15_acks_and_timeouts() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p15", 2, &[]);
    let bytes = good().encode();
    for acks in [2, -2, 100, i16::MIN] {
        let parts = [(&*name, 0, Some(&*bytes)), (&*name, 1, Some(&*bytes))];
        let response = conn.call(9, &produce_parts(acks, &parts));
        for partition in [0, 1] {
            let answer = produced(&response, &name, partition);
            assert_eq!((answer.error_code, answer.base_offset), (21, -1), "acks {acks} partition {partition}");
        }
        let response = conn.call(9, &produce_parts(acks, &[(&name, 7, Some(&*bytes))]));
        assert_eq!(produced(&response, &name, 7).error_code, 3, "acks {acks}: what there is not comes first");
    }
    for acks in [1, -1] {
        for timeout in [0, -1, i32::MIN] {
            let request = produce_parts(acks, &[(&name, 0, Some(&bytes))]).with_timeout_ms(timeout);
            let response = conn.call(9, &request);
            assert_eq!(produced(&response, &name, 0).error_code, 0, "acks {acks} timeout {timeout}");
        }
    }
}

#[test]
fn p16_acks_0_is_silent_on_success_and_closes_on_error() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("p16", 1, &[]);
    let fine = good().encode();
    conn.send(9, &produce_parts(0, &[(&name, 0, Some(&fine))]));
    conn.expect_silence(Duration::from_millis(300));
    assert_eq!(conn.end_offset(&name, 0), 3);

    let first = good().producer(4_000_000_000, 0, 0).encode();
    conn.append(&name, 0, &first);
    let bad_crc = good().with(|b| b.crc = Some(1)).encode();
    let out_of_order = good().producer(4_000_000_000, 0, 50).encode();
    let unknown = unique("p16-unknown");
    let cases: [(&str, &str, i32, &[u8]); 5] = [
        ("unknown topic", &unknown, 0, &fine),
        ("unknown partition", &name, 7, &fine),
        ("bad CRC", &name, 0, &bad_crc),
        ("empty", &name, 0, &[]),
        ("out of order", &name, 0, &out_of_order),
    ];
    for (what, topic, partition, bytes) in cases {
        let mut conn = target.connect();
        conn.send(9, &produce_parts(0, &[(topic, partition, Some(bytes))]));
        assert_eq!(conn.outcome(PATIENCE), Outcome::Closed, "{what}");
    }

    let end = conn.end_offset(&name, 0);
    conn.send(9, &produce_parts(0, &[(&name, 0, Some(&first))]));
    assert_eq!(conn.end_offset(&name, 0), end, "a duplicate is dropped, the connection stays");
}

#[test]
fn p17_unknown_topic_or_partition() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p17", 1, &[]);
    let bytes = good().encode();
    let unknown = unique("p17-unknown");
    for (topic, partition) in
        [(&*unknown, 0), ("", 0), ("a b", 0), ("..", 0), (&name, 1), (&name, -1), (&name, i32::MAX)]
    {
        let answer = conn.produce(topic, partition, &bytes);
        assert_eq!(
            (answer.error_code, answer.base_offset, answer.log_start_offset),
            (3, -1, -1),
            "{topic} {partition}"
        );
    }
    for id in [Uuid::nil(), Uuid::from_u128(77 << 70)] {
        let mut request = produce_request("", 0, &bytes);
        request.topic_data[0].topic_id = id;
        let response = conn.call(13, &request);
        assert_eq!(response.responses[0].topic_id, id);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 100);
    }
}

#[test]
fn p17_produce_by_topic_id() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("p17", 1, &[]);
    let mut request = produce_request("", 0, &good().encode());
    request.topic_data[0].topic_id = id;
    let response = conn.call(13, &request);
    assert_eq!(response.responses[0].topic_id, id);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(conn.end_offset(&name, 0), 3);
    request.topic_data[0].partition_data[0].index = 5;
    let response = conn.call(13, &request);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 3);
}

#[test]
fn p18_partitions_are_independent() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p18", 2, &[]);
    let unknown = unique("p18-unknown");
    let (fine, bad) = (good().encode(), good().with(|b| b.crc = Some(1)).encode());
    let parts =
        [(&*name, 0, Some(&*fine)), (&*name, 9, Some(&*fine)), (&*name, 1, Some(&*bad)), (&*unknown, 0, Some(&*fine))];
    for acks in [1, -1] {
        let response = conn.call(9, &produce_parts(acks, &parts));
        let code = |topic: &str, partition: i32| produced(&response, topic, partition).error_code;
        assert_eq!([code(&name, 0), code(&name, 9), code(&name, 1), code(&unknown, 0)], [0, 3, 2, 3]);
    }
    assert_eq!((conn.end_offset(&name, 0), conn.end_offset(&name, 1)), (6, 0));
}

#[test]
fn p19_the_same_topic_twice_is_one_entry() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p19", 2, &[]);
    let bytes = good().encode();
    let mut request = produce_parts(-1, &[(&name, 0, Some(&bytes))]);
    request.topic_data.extend(produce_parts(-1, &[(&name, 1, Some(&bytes))]).topic_data);
    let response = conn.call(9, &request);
    assert_eq!(response.responses.len(), 1, "{response:?}");
    assert_eq!(produced(&response, &name, 0).error_code, 0);
    assert_eq!(produced(&response, &name, 1).error_code, 0);
}

#[test]
fn p19_the_same_partition_twice_is_appended_and_answered_once() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p19", 1, &[]);
    let bytes = good().encode();
    let response = conn.call(9, &produce_parts(-1, &[(&name, 0, Some(&bytes)), (&name, 0, Some(&bytes))]));
    // `produced` panics on a second answer.
    let answer = produced(&response, &name, 0);
    let end = conn.end_offset(&name, 0);
    assert!(
        (answer.error_code, end) == (0, 3) || !on_kafka() && (answer.error_code, end) == (42, 0),
        "{answer:?} {end}"
    );
}

#[test]
fn p20_no_topics_gives_an_empty_answer() {
    let mut conn = shared().connect();
    for version in [3, 9, 12, 13] {
        let response = conn.call(version, &produce_parts(-1, &[]));
        assert!(response.responses.is_empty(), "v{version}");
    }
}

#[test]
fn p21_what_an_error_carries() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p21", 1, &[]);
    for version in 3..=12 {
        let answer = conn.produce_at(version, &name, 0, &good().with(|b| b.count = Some(0)).encode());
        assert_eq!((answer.error_code, answer.base_offset, answer.log_append_time_ms), (87, -1, -1), "v{version}");
        // Decoding a version below 8 to its last byte shows that the message is not there; later it may be null (E4).
        assert!(version >= 8 || answer.error_message.is_none(), "v{version}: {answer:?}");
    }
    let before_the_log = conn.produce(&name, 5, &good().encode());
    assert_eq!((before_the_log.error_code, before_the_log.log_start_offset), (3, -1));
    let bad = |change: fn(&mut Batch)| good().with(change).encode();
    for (what, bytes, code, log_start) in [
        ("checksum", bad(|b| b.crc = Some(1)), 2, -1),
        ("magic", bad(|b| b.magic = 1), 87, -1),
        ("count", bad(|b| b.count = Some(0)), 87, 0),
        ("base offset", bad(|b| b.base_offset = 5), 87, 0),
        ("control", bad(|b| b.attributes = 0x20), 87, 0),
    ] {
        let answer = conn.produce(&name, 0, &bytes);
        assert_eq!((answer.error_code, answer.base_offset, answer.log_start_offset), (code, -1, log_start), "{what}");
    }
    conn.append(&name, 0, &good().producer(4_100_000_000, 0, 0).encode());
    let inside = conn.produce(&name, 0, &good().producer(4_100_000_000, 0, 9).encode());
    assert_eq!((inside.error_code, inside.base_offset, inside.log_start_offset), (45, -1, 0));
}

#[test]
fn p29_transactional_batch_without_a_transactional_id() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("p29", 1, &[]);
    let transactional = good().producer(4_200_000_000, 0, 0).with(|b| b.attributes = 0x10).encode();
    expect_errors(&mut conn, &name, &[("transactional", transactional, 53)]);
    let request =
        produce_request(&name, 0, &good().encode()).with_transactional_id(Some(TransactionalId(text("ignored"))));
    let response = conn.call(9, &request);
    assert_eq!(produced(&response, &name, 0).error_code, 0, "a transactional id with plain batches is ignored");
}

#[test]
fn p30_internal_topics_cannot_be_produced_to() {
    let mut conn = shared().connect();
    let create = pyralog_compat_tests::calls::metadata_request(&["__consumer_offsets"]);
    conn.call(12, &create.with_allow_auto_topic_creation(true));
    pyralog_compat_tests::calls::eventually("__consumer_offsets is there", || {
        (conn.metadata_of("__consumer_offsets").error_code == 0).then_some(())
    });
    assert_eq!(conn.produce("__consumer_offsets", 0, &good().encode()).error_code, 17);
    if !on_kafka() {
        // Kafka lets this client id through, and one such record breaks the coordinator of that partition.
        conn.client_id = Some("__admin_client".to_owned());
        assert_eq!(conn.produce("__consumer_offsets", 0, &good().encode()).error_code, 17);
    }
}
