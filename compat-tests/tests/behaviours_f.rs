//! Fetch: statements F1 to F25 as far as no transactions, followers or compaction are involved, one test each.
//!
//! F19 needs no test (a session may be refused), F21 to F23 and F26 are not here.

use std::time::{Duration, Instant};

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::FetchTopic;
use kafka_protocol::messages::{ApiVersionsRequest, BrokerId, DeleteRecordsRequest, FetchRequest, FetchResponse};
use pyralog_compat_tests::batch::parse;
use pyralog_compat_tests::calls::{Fetch, eventually, metadata_request, only, records};
use pyralog_compat_tests::conn::{Outcome, SOON};
use pyralog_compat_tests::{Batch, BrokerOptions, Conn, Record, on_kafka, private, shared, text, topic, unique};
use uuid::Uuid;

/// One batch of somewhat more than 2,000 bytes.
fn big() -> Vec<u8> {
    Batch::new(vec![Record::of(&"x".repeat(2000)), Record::of("y")]).encode()
}

/// Several partitions of one topic, each from this offset.
fn many(name: &str, id: Uuid, parts: &[(i32, i64)]) -> Fetch {
    let mut fetch = Fetch::at(name, 0, 0).id(id);
    for (partition, offset) in parts {
        fetch.request.topics.push(Fetch::at(name, *partition, *offset).id(id).topic());
    }
    // One entry per topic, as clients send it.
    let partitions = fetch.request.topics.iter().flat_map(|t| t.partitions.clone()).collect();
    fetch.request.topics =
        vec![FetchTopic::default().with_topic(topic(name)).with_topic_id(id).with_partitions(partitions)];
    fetch
}

/// (partition, error, records length) of all partitions.
fn sizes(response: &FetchResponse) -> Vec<(i32, i16, usize)> {
    let mut out: Vec<_> = response
        .responses
        .iter()
        .flat_map(|t| &t.partitions)
        .map(|p| (p.partition_index, p.error_code, records(p).len()))
        .collect();
    out.sort_unstable();
    out
}

/// How long fetches may wait that are answered without waiting: longer than [`SOON`], less than the patience of a connection.
const LONG_MS: i32 = 45_000;

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    (work(), started.elapsed())
}

fn assert_at_once(what: &str, took: Duration) {
    assert!(took < SOON, "{what} took {took:?}");
}

#[test]
fn f01_an_offset_inside_a_batch_returns_the_whole_batch() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("f01", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 5).encode());
    conn.append(&name, 0, &Batch::of("b", 5).encode());
    for version in 4..=18 {
        let mut fetch = Fetch::at(&name, 0, 7).id(id);
        fetch.request.session_epoch = if version < 7 { 0 } else { -1 };
        let stored = parse(records(&conn.fetch_at(version, &fetch)));
        assert_eq!((stored.len(), stored[0].base_offset), (1, 5), "v{version}");
        assert_eq!(stored[0].values()[0], "b-0", "v{version}");
    }
}

#[test]
fn f02_at_the_log_end() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f02", 1, &[]);
    for end in [0, 3] {
        let answer = conn.fetch(&Fetch::at(&name, 0, end));
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.records.as_deref(), Some(&[][..]), "empty, not null");
        assert_eq!((answer.high_watermark, answer.last_stable_offset, answer.log_start_offset), (end, end, 0));
        conn.append(&name, 0, &Batch::of("a", 3).encode());
    }
}

#[test]
fn f03_out_of_range_is_answered_at_once() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f03", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 3).encode());
    for offset in [4, 1_000_000, i64::MAX, -1, -2, i64::MIN] {
        let (answer, took) = timed(|| conn.fetch(&Fetch::at(&name, 0, offset).wait(LONG_MS, 1)));
        assert_eq!(answer.error_code, 1, "offset {offset}");
        assert_eq!((answer.high_watermark, answer.last_stable_offset, answer.log_start_offset), (-1, -1, -1));
        assert!(records(&answer).is_empty());
        assert_at_once("out of range", took);
    }
}

#[test]
fn f04_byte_limits() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f04", 1, &[]);
    let size = big().len();
    for _ in 0..4 {
        conn.append(&name, 0, &big());
    }
    for limits in [(3000, 1 << 20), (1 << 20, 3000)] {
        let answer = conn.fetch(&Fetch::at(&name, 0, 0).limits(limits.0, limits.1));
        let length = records(&answer).len();
        // Stopping at the border of a batch is as good for every client.
        assert!(length == 3000 || length == size && !on_kafka(), "{length} bytes");
        assert_eq!(parse(records(&answer)).len(), 1);
    }
    let answer = conn.fetch(&Fetch::at(&name, 0, 0).limits(3 * i32::try_from(size).unwrap_or(0), 1 << 20));
    assert_eq!(parse(records(&answer)).len(), 3);
}

#[test]
fn f05_the_first_batch_always_comes() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("f05", 3, &[]);
    let size = big().len();
    for partition in [1, 2] {
        conn.append(&name, partition, &big());
    }
    for (max_bytes, partition_max_bytes) in [(0, 1 << 20), (1 << 20, 0), (0, 0), (100, 100)] {
        let fetch = Fetch::at(&name, 1, 0).limits(max_bytes, partition_max_bytes);
        assert_eq!(records(&conn.fetch(&fetch)).len(), size, "limits {max_bytes} {partition_max_bytes}");
    }
    // An empty partition first: the batch of the next one still comes; then the bytes are used up.
    let mut fetch = many(&name, id, &[(0, 0), (1, 0), (2, 0)]);
    fetch.request.max_bytes = 100;
    for version in [12, 13, 18] {
        let response = conn.call(version, &fetch.request);
        assert_eq!(sizes(&response), [(0, 0, 0), (1, 0, size), (2, 0, 0)], "v{version}");
    }
}

#[test]
fn f06_negative_limits_and_unknown_isolation() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f06", 1, &[]);
    conn.append(&name, 0, &big());
    let expected = if on_kafka() { -1 } else { 42 };
    let limits = conn.call(12, &Fetch::at(&name, 0, 0).limits(1 << 20, -1).build());
    assert_eq!(only(&limits).error_code, expected, "partition_max_bytes -1");
    let isolation = conn.call(12, &Fetch::at(&name, 0, 0).with(|f| f.request.isolation_level = 7).build());
    assert_eq!(isolation.error_code, expected, "isolation level 7");
    // Before v7 there is no other place for it.
    let isolation = conn.call(6, &Fetch::at(&name, 0, 0).with(|f| f.request.isolation_level = 7).build());
    assert_eq!(only(&isolation).error_code, expected, "isolation level 7");
}

#[test]
fn f07_waits_for_min_bytes_as_long_as_asked() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f07", 1, &[]);
    let size = i32::try_from(big().len()).unwrap_or(0);
    conn.append(&name, 0, &big());
    let (answer, took) = timed(|| conn.fetch(&Fetch::at(&name, 0, 0).wait(600, size + 1)));
    assert_eq!(parse(records(&answer)).len(), 1, "what there is");
    assert!((Duration::from_millis(550)..SOON).contains(&took), "{took:?}");
    let (answer, took) = timed(|| conn.fetch(&Fetch::at(&name, 0, 2).wait(600, 1)));
    assert!(records(&answer).is_empty());
    assert!((Duration::from_millis(550)..SOON).contains(&took), "{took:?}");
    for (wait, min_bytes) in [(LONG_MS, 0), (0, 1_000_000), (-1, 1_000_000), (LONG_MS, size)] {
        let (_, took) = timed(|| conn.fetch(&Fetch::at(&name, 0, 0).wait(wait, min_bytes)));
        assert_at_once(&format!("wait {wait} min_bytes {min_bytes}"), took);
    }
    let nothing = Fetch::at(&name, 0, 0).wait(LONG_MS, 1).request;
    let (response, took) = timed(|| conn.call(12, &nothing));
    assert!(response.responses.is_empty());
    assert_at_once("no partitions", took);
}

#[test]
fn f08_an_append_ends_the_poll() {
    let target = shared();
    let (mut reader, mut writer) = (target.connect(), target.connect());
    let (name, _) = writer.new_topic("f08", 1, &[]);
    let size = i32::try_from(big().len()).unwrap_or(0);
    for (min_bytes, appends) in [(1, 1), (size + 1, 2)] {
        let end = writer.end_offset(&name, 0);
        let correlation = reader.send(12, &Fetch::at(&name, 0, end).wait(LONG_MS, min_bytes).build());
        std::thread::sleep(Duration::from_millis(200));
        for _ in 1..appends {
            writer.append(&name, 0, &big());
            reader.expect_silence(Duration::from_millis(200));
        }
        let last = writer.append(&name, 0, &big());
        let (response, took) = timed(|| reader.receive::<FetchRequest>(12, correlation));
        assert_at_once("the answer after the last append", took);
        let stored = parse(records(only(&response)));
        assert_eq!((stored.len(), stored[appends - 1].base_offset), (appends, last));
    }
}

/// Answers around the size from which records go from the file to the socket, several in one request, byte by byte.
#[test]
fn f05_answers_of_all_sizes_are_whole() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("f05-sizes", 3, &[]);
    for (partition, size) in [(0, 16_200), (1, 16_384), (2, 90_000)] {
        for n in 0..3 {
            let value = char::from(b'a' + n).to_string().repeat(size);
            conn.append(&name, partition, &Batch::new(vec![Record::of(&value)]).encode());
        }
    }
    for max in [1, 16_300, 16_383, 16_384, 16_385, 16_500, 40_000, 200_000, 1 << 20] {
        for version in [4, 11, 12, 18] {
            let fetch = many(&name, id, &[(0, 0), (1, 1), (2, 2)]).limits(1 << 20, max);
            let correlation = conn.send(version, &fetch.build());
            let response = conn.receive::<FetchRequest>(version, correlation);
            for part in response.responses.iter().flat_map(|t| &t.partitions) {
                let stored = parse(records(part));
                assert_eq!(part.error_code, 0);
                for batch in &stored {
                    let expected = char::from(b'a' + u8::try_from(batch.base_offset).unwrap_or(0));
                    assert!(batch.values()[0].chars().all(|c| c == expected), "version {version}, max {max}");
                }
                assert!(!stored.is_empty() || i64::from(max) < 90_100);
            }
        }
    }
}

/// A reader that takes its time gets what it was promised, although retention has removed the file meanwhile.
#[test]
fn f05_a_slow_reader_keeps_the_segment_that_it_reads() {
    let Some(broker) = private(BrokerOptions::new().set("log.retention.check.interval.ms", "200")) else { return };
    let (mut conn, mut reader) = (broker.connect(), broker.connect());
    let (name, _) = conn.new_topic("f05-slow", 1, &[("segment.bytes", "1048576")]);
    let value = "x".repeat(500_000);
    for _ in 0..24 {
        conn.append(&name, 0, &Batch::new(vec![Record::of(&value)]).encode());
    }
    // Several answers at once, more than the socket's buffers hold.
    let asked: Vec<i32> =
        (0..12).map(|n| reader.send(12, &Fetch::at(&name, 0, 2 * n).limits(1 << 20, 1 << 20).build())).collect();
    // The first answer is on its way.
    reader.stream().peek(&mut [0]).expect("an answer");
    std::thread::sleep(Duration::from_millis(300));
    let request = DeleteRecordsRequest::default()
        .with_topics(vec![
            DeleteRecordsTopic::default()
                .with_name(topic(&name))
                .with_partitions(vec![DeleteRecordsPartition::default().with_partition_index(0).with_offset(24)]),
        ])
        .with_timeout_ms(10_000);
    let deleted = conn.call::<DeleteRecordsRequest>(2, &request);
    assert_eq!(deleted.topics[0].partitions[0].error_code, 0);
    std::thread::sleep(Duration::from_millis(700));
    let mut served = 0;
    for correlation in asked {
        let response = reader.receive::<FetchRequest>(12, correlation);
        let part = only(&response);
        for batch in parse(records(part)) {
            assert_eq!(batch.values()[0].len(), value.len());
            served += 1;
        }
        // Those that were looked at after the deletion are told so.
        assert!([0, 1].contains(&part.error_code), "error {}", part.error_code);
    }
    assert!(served >= 2, "{served} batches");
}

#[test]
fn f09_a_client_that_leaves_in_the_middle_of_a_poll_is_noticed() {
    let Some(broker) = private(BrokerOptions::new().set("max.connections", "2")) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("f09-leaves", 1, &[]);
    let mut reader = broker.connect();
    reader.send(12, &Fetch::at(&name, 0, 0).wait(60_000, 1).build());
    std::thread::sleep(Duration::from_millis(200));
    drop(reader);
    eventually("the place of the reader is free", || {
        let mut next = broker.connect();
        let (_, frame) = next.encode(4, &Fetch::at(&name, 0, 0).wait(0, 0).build());
        let _ = next.try_send_bytes(&pyralog_compat_tests::conn::frame(&frame));
        matches!(next.outcome(Duration::from_secs(2)), Outcome::Answer(_)).then_some(())
    });
}

#[test]
fn f09_read_errors_end_the_poll_and_unknown_names_do_not() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f09", 2, &[]);
    let unknown = unique("f09-unknown");
    let with = |extra: Fetch, wait: i32| {
        let mut fetch = Fetch::at(&name, 0, 0).wait(wait, 1);
        fetch.request.topics = vec![fetch.topic(), extra.topic()];
        fetch.request
    };
    let (response, took) = timed(|| conn.call(12, &with(Fetch::at(&name, 1, 99), LONG_MS)));
    assert_eq!(sizes(&response), [(0, 0, 0), (1, 1, 0)]);
    assert_at_once("out of range, which ends the poll,", took);

    let (response, took) = timed(|| conn.call(12, &with(Fetch::at(&unknown, 0, 0), 700)));
    let codes: Vec<i16> = sizes(&response).iter().map(|s| s.1).collect();
    assert!(codes.contains(&3) && codes.contains(&0), "{response:?}");
    assert!(took >= Duration::from_millis(650), "an unknown topic ended the poll after {took:?}");

    let alone = Fetch::at(&unknown, 0, 0).wait(LONG_MS, 1);
    let (answer, took) = timed(|| conn.fetch(&alone));
    assert_eq!(answer.error_code, 3);
    assert_at_once("only unknown topics", took);
}

#[test]
fn f10_deleting_the_topic_ends_the_poll() {
    let target = shared();
    let (mut reader, mut admin) = (target.connect(), target.connect());
    let (name, _) = admin.new_topic("f10", 1, &[]);
    let correlation = reader.send(12, &Fetch::at(&name, 0, 0).wait(LONG_MS, 1).build());
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    admin.delete_topic(&name);
    let response = reader.receive::<FetchRequest>(12, correlation);
    assert_at_once("the answer after the deletion", started.elapsed());
    assert_eq!(only(&response).error_code, 3);
}

#[test]
fn f11_unknown_topics_partitions_and_ids() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("f11", 1, &[]);
    let unknown = unique("f11-unknown");
    for version in [4, 7, 11, 12] {
        for (topic, partition) in [(&*unknown, 0), ("a b", 0), ("", 0), (&name, 1), (&name, -1)] {
            let mut fetch = Fetch::at(topic, partition, 0);
            fetch.request.session_epoch = if version < 7 { 0 } else { -1 };
            assert_eq!(conn.fetch_at(version, &fetch).error_code, 3, "v{version} {topic:?} {partition}");
        }
    }
    for version in 13..=18 {
        for wrong in [Uuid::nil(), Uuid::from_u128(99 << 64)] {
            assert_eq!(conn.fetch_at(version, &Fetch::at("", 0, 0).id(wrong)).error_code, 100, "v{version}");
        }
        assert_eq!(conn.fetch_at(version, &Fetch::at("", 7, 0).id(id)).error_code, 3, "v{version}");
    }
    conn.delete_topic(&name);
    let new_id = conn.create_topic(&name, 1, &[]);
    assert_eq!(conn.fetch_at(13, &Fetch::at("", 0, 0).id(id)).error_code, 100, "the old id");
    assert_eq!(conn.fetch_at(13, &Fetch::at("", 0, 0).id(new_id)).error_code, 0);
}

#[test]
fn f12_aborted_transactions_null_or_empty() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f12", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 1).encode());
    let unknown = Uuid::from_u128(98 << 64);
    assert_eq!(conn.fetch(&Fetch::at(&name, 0, 0)).aborted_transactions, None, "read_uncommitted");
    let committed = |fetch: Fetch| fetch.with(|f| f.request.isolation_level = 1);
    let answer = conn.fetch(&committed(Fetch::at(&name, 0, 0)));
    assert_eq!(answer.aborted_transactions, Some(vec![]), "read_committed");
    assert_eq!(parse(records(&answer)).len(), 1);
    let answer = conn.fetch(&committed(Fetch::at(&unique("f12-unknown"), 0, 0)));
    assert_eq!((answer.error_code, answer.aborted_transactions), (3, Some(vec![])));
    let answer = conn.fetch_at(13, &committed(Fetch::at("", 0, 0).id(unknown)));
    assert_eq!((answer.error_code, answer.aborted_transactions), (100, Some(vec![])));
}

#[test]
fn f13_leader_epochs() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f13", 1, &[]);
    let epoch = conn.metadata_of(&name).partitions[0].leader_epoch;
    for (given, expected) in [(-1, 0), (epoch, 0), (epoch + 1, 75), (i32::MAX, 75)] {
        let fetch = Fetch::at(&name, 0, 0).with(|f| f.partition.current_leader_epoch = given);
        for version in [9, 12] {
            assert_eq!(conn.fetch_at(version, &fetch).error_code, expected, "v{version} epoch {given}");
        }
    }
}

#[test]
fn f14_last_fetched_epoch() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f14", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 3).encode());
    let epoch = conn.metadata_of(&name).partitions[0].leader_epoch;
    let fetch = |offset: i64, last: i32| Fetch::at(&name, 0, offset).with(|f| f.partition.last_fetched_epoch = last);
    let fine = conn.fetch(&fetch(1, epoch));
    assert_eq!((fine.error_code, parse(records(&fine)).len(), fine.diverging_epoch.epoch), (0, 1, -1));
    let diverged = conn.fetch(&fetch(8, epoch));
    assert_eq!((diverged.error_code, records(&diverged).len()), (0, 0));
    assert_eq!((diverged.diverging_epoch.epoch, diverged.diverging_epoch.end_offset), (epoch, 3));
    let committed = conn.fetch(&fetch(8, epoch).with(|f| f.request.isolation_level = 1));
    assert_eq!((committed.diverging_epoch.end_offset, committed.aborted_transactions), (3, None), "nothing was read");
    assert_eq!(conn.fetch(&fetch(1, epoch + 5)).error_code, 1, "an epoch that never was");
}

#[test]
fn f15_replica_ids() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f15", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 3).encode());
    let fetch = |id: i32| Fetch::at(&name, 0, 0).with(|f| f.request.replica_id = BrokerId(id));
    assert_eq!(conn.fetch(&fetch(77)).error_code, 6, "a replica that is none");
    let debug = conn.fetch(&fetch(-2));
    assert_eq!((debug.error_code, parse(records(&debug)).len()), (0, 1));
}

/// A session request of version 12: which session, and the partitions to add.
fn session(id: i32, epoch: i32, adds: &[Fetch]) -> FetchRequest {
    let mut request = Fetch::at("", 0, 0).request.with_session_id(id).with_session_epoch(epoch);
    request.topics = adds.iter().map(Fetch::topic).collect();
    request
}

#[test]
fn f16_sessions() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f16", 2, &[]);
    let both = [Fetch::at(&name, 0, 0), Fetch::at(&name, 1, 0)];
    let opened = conn.call(12, &session(0, 0, &both));
    assert_eq!(opened.error_code, 0);
    assert_eq!(sizes(&opened), [(0, 0, 0), (1, 0, 0)], "the first answer is full");
    let id = opened.session_id;
    if id == 0 {
        // Never giving a session is legal (F19).
        return;
    }
    let quiet = conn.call(12, &session(id, 1, &[]));
    assert_eq!((quiet.error_code, quiet.session_id), (0, id));
    assert_eq!(sizes(&quiet), [], "nothing new");
    let bytes = Batch::of("a", 3).encode();
    conn.append(&name, 1, &bytes);
    for epoch in [2, 3] {
        let news = conn.call(12, &session(id, epoch, &[]));
        assert_eq!(sizes(&news), [(1, 0, bytes.len())], "repeated until the position moves");
    }
    let moved = conn.call(12, &session(id, 4, &[Fetch::at(&name, 1, 3)]));
    // The high watermark that the client knows has changed, so the partition may be named once more.
    assert!(sizes(&moved).iter().all(|s| s.2 == 0), "{moved:?}");
    assert_eq!(sizes(&conn.call(12, &session(id, 5, &[]))), []);
}

#[test]
fn f16_a_session_may_open_with_no_topics() {
    let mut conn = shared().connect();
    let opened = conn.call(12, &session(0, 0, &[]));
    assert_eq!((opened.error_code, opened.responses.len()), (0, 0));
}

#[test]
fn f17_wrong_sessions() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f17", 1, &[]);
    let one = [Fetch::at(&name, 0, 0)];
    for (id, epoch) in [(123_456_789, 1), (0, 5)] {
        let response = conn.call(12, &session(id, epoch, &one));
        let shape = (response.error_code, response.session_id, response.responses.len());
        assert_eq!(shape, (70, 0, 0), "session {id} epoch {epoch}");
    }
    let id = conn.call(12, &session(0, 0, &one)).session_id;
    if id == 0 {
        return;
    }
    let response = conn.call(12, &session(id, 9, &[]));
    assert_eq!((response.error_code, response.session_id, response.responses.len()), (71, 0, 0));
    let closing = conn.call(12, &session(id, -1, &one));
    assert_eq!((closing.error_code, closing.session_id), (0, 0));
    assert_eq!(sizes(&closing), [(0, 0, 0)], "answered without a session");
    assert_eq!(conn.call(12, &session(id, 1, &[])).error_code, 70, "closed");
}

#[test]
fn f18_names_then_ids_in_one_session() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("f18", 1, &[]);
    let opened = conn.call(12, &session(0, 0, &[Fetch::at(&name, 0, 0)]));
    if opened.session_id == 0 {
        return;
    }
    let response = conn.call(13, &session(opened.session_id, 1, &[Fetch::at("", 0, 0).id(id)]));
    assert_eq!(response.error_code, 106);
}

#[test]
fn f20_the_same_partition_twice_counts_last() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("f20", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 2).encode());
    conn.append(&name, 0, &Batch::of("b", 2).encode());
    let mut fetch = Fetch::at(&name, 0, 0);
    let mut twice = fetch.topic();
    twice.partitions.push(Fetch::at(&name, 0, 2).partition);
    fetch.request.topics = vec![twice];
    let response = conn.call(12, &fetch.request);
    let stored = parse(records(only(&response)));
    assert_eq!((stored.len(), stored[0].base_offset), (1, 2));
}

#[test]
fn f24_internal_topics_may_be_fetched() {
    let mut conn = shared().connect();
    conn.call(12, &metadata_request(&["__consumer_offsets"]).with_allow_auto_topic_creation(true));
    eventually("__consumer_offsets serves", || {
        (conn.list_offset("__consumer_offsets", 0, -2).error_code == 0).then_some(())
    });
    let start = conn.list_offset("__consumer_offsets", 0, -2).offset;
    assert_eq!(conn.fetch(&Fetch::at("__consumer_offsets", 0, start)).error_code, 0);
}

#[test]
fn f25_no_preferred_read_replica() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("f25", 1, &[]);
    for version in 11..=18 {
        let fetch = Fetch::at(&name, 0, 0).id(id).with(|f| f.request.rack_id = text("somewhere"));
        assert_eq!(conn.fetch_at(version, &fetch).preferred_read_replica.0, -1, "v{version}");
    }
}

#[test]
fn f_all_listed_versions_are_served() {
    let mut conn: Conn = shared().connect();
    let request =
        ApiVersionsRequest::default().with_client_software_name(text("c")).with_client_software_version(text("1"));
    let keys = conn.call(3, &request).api_keys;
    let range = keys.iter().find(|k| k.api_key == 1).expect("Fetch is listed");
    assert_eq!((range.min_version, range.max_version), (4, 18));
}
