//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords: statements L1 to L12, one test each.
//!
//! L13 needs a change of leader and is not here.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, DeleteRecordsRequest, OffsetForLeaderEpochRequest};
use pyralog_compat_tests::calls::{Fetch, eventually, list_offsets, metadata_request};
use pyralog_compat_tests::{
    Batch, BrokerOptions, Codec, Conn, Record, now_ms, on_kafka, private, shared, topic, unique,
};

/// (timestamp, offset).
fn found(answer: &ListOffsetsPartitionResponse) -> (i64, i64) {
    assert_eq!(answer.error_code, 0, "{answer:?}");
    (answer.timestamp, answer.offset)
}

/// One batch with records at `first` + each delta.
fn stamped(conn: &mut Conn, name: &str, first: i64, deltas: &[i64]) -> i64 {
    stamped_in(conn, name, Codec::None, first, deltas)
}

fn stamped_in(conn: &mut Conn, name: &str, codec: Codec, first: i64, deltas: &[i64]) -> i64 {
    let records = deltas.iter().map(|d| Record::of("v").at(*d)).collect();
    conn.append(name, 0, &Batch::new(records).stamped(first).codec(codec).encode())
}

/// Error code and low watermark.
fn delete_records(conn: &mut Conn, name: &str, partition: i32, offset: i64) -> (i16, i64) {
    let wanted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
    let wanted = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
    let response = conn.call(2, &DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000));
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.low_watermark)
}

#[test]
fn l01_io_16_latest_and_earliest() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l01", 1, &[]);
    let epoch = conn.metadata_of(&name).partitions[0].leader_epoch;
    conn.append(&name, 0, &Batch::of("v", 5).encode());
    assert_eq!(delete_records(&mut conn, &name, 0, 2), (0, 2));
    for version in 1..=10 {
        for isolation in 0..=i8::from(version >= 2) {
            for (timestamp, offset) in [(-1, 5), (-2, 2)] {
                let request = list_offsets(&name, 0, timestamp).with_isolation_level(isolation);
                let response = conn.call(version, &request);
                let answer = &response.topics[0].partitions[0];
                assert_eq!(found(answer), (-1, offset), "v{version} isolation {isolation}");
                assert_eq!(answer.leader_epoch, if version >= 4 { epoch } else { -1 }, "v{version}");
            }
        }
    }
}

#[test]
fn l02_io_16_the_largest_timestamp() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l02", 1, &[]);
    let now = now_ms();
    assert_eq!(found(&conn.list_offset(&name, 0, -3)), (-1, -1), "empty log");
    stamped(&mut conn, &name, now, &[0, 50, 20]);
    assert_eq!(found(&conn.list_offset(&name, 0, -3)), (now + 50, 1));
    stamped(&mut conn, &name, now, &[50, 10]);
    assert_eq!(found(&conn.list_offset(&name, 0, -3)), (now + 50, 1), "the first of equal ones");
    stamped_in(&mut conn, &name, Codec::Lz4, now, &[1, 99, 99, 2]);
    for version in 7..=10 {
        for isolation in [0, 1] {
            let response = conn.call(version, &list_offsets(&name, 0, -3).with_isolation_level(isolation));
            assert_eq!(found(&response.topics[0].partitions[0]), (now + 99, 6), "v{version}");
        }
    }
}

#[test]
fn l03_io_16_local_and_tiered_specials() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l03", 1, &[]);
    conn.append(&name, 0, &Batch::of("v", 5).encode());
    delete_records(&mut conn, &name, 0, 3);
    for version in 8..=10 {
        assert_eq!(found(&conn.list_offset_at(version, &name, 0, -4)), (-1, 3), "v{version}");
    }
    for version in 9..=10 {
        assert_eq!(found(&conn.list_offset_at(version, &name, 0, -5)), (-1, -1), "v{version}");
    }
}

#[test]
fn l04_io_16_specials_below_their_version() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l04", 1, &[]);
    for (version, special) in [(6, -3), (7, -4), (8, -5), (10, -6), (10, -7), (1, -7), (10, i64::MIN)] {
        let answer = conn.list_offset_at(version, &name, 0, special);
        assert_eq!((answer.error_code, answer.timestamp, answer.offset), (35, -1, -1), "v{version} {special}");
    }
}

#[test]
fn l05_io_16_first_offset_at_or_after_a_timestamp() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l05", 1, &[]);
    let now = now_ms() - 1000;
    stamped(&mut conn, &name, now, &[0, 10, 20]);
    stamped_in(&mut conn, &name, Codec::Gzip, now, &[30, 25, 60, 40]);
    stamped(&mut conn, &name, now, &[5, 100]);
    let cases = [
        (0, (now, 0)),
        (now, (now, 0)),
        (now + 1, (now + 10, 1)),
        (now + 20, (now + 20, 2)),
        (now + 21, (now + 30, 3)),
        (now + 31, (now + 60, 5)),
        (now + 61, (now + 100, 8)),
        (now + 101, (-1, -1)),
        (i64::MAX, (-1, -1)),
    ];
    for version in [1, 7, 10] {
        for (timestamp, expected) in cases {
            let answer = conn.list_offset_at(version, &name, 0, timestamp);
            assert_eq!(found(&answer), expected, "v{version} now + {}", timestamp - now);
        }
    }
}

#[test]
fn l06_records_without_a_timestamp() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l06", 1, &[]);
    stamped(&mut conn, &name, -1, &[0, 0]);
    assert_eq!(found(&conn.list_offset(&name, 0, -3)), (-1, 0));
    assert_eq!(found(&conn.list_offset(&name, 0, -2)), (-1, 0));
    assert_eq!(found(&conn.list_offset(&name, 0, -1)), (-1, 2));
}

#[test]
fn l07_errors_of_list_offsets() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l07", 1, &[]);
    let unknown = unique("l07-unknown");
    for (topic, partition) in [(&*unknown, 0), ("a b", 0), ("", 0), (&name, 1), (&name, -1)] {
        for timestamp in [-1, -2, 0] {
            let answer = conn.list_offset(topic, partition, timestamp);
            assert_eq!((answer.error_code, answer.timestamp, answer.offset), (3, -1, -1), "{topic} {partition}");
        }
    }
    let mut twice = list_offsets(&name, 0, -1);
    let same = twice.topics[0].partitions[0].clone();
    twice.topics[0].partitions.push(same);
    let another = twice.topics[0].clone();
    twice.topics.push(another);
    twice.topics.push(list_offsets(&unknown, 0, -1).topics[0].clone().with_partitions(vec![]));
    let response = conn.call(7, &twice);
    assert_eq!((response.topics.len(), response.topics[0].partitions.len()), (1, 1), "answered once: {response:?}");
    assert_eq!(response.topics[0].partitions[0].error_code, 42, "{response:?}");
    assert_eq!(conn.list_offset(&name, 1, -9).error_code, 35, "what is asked for comes before where");
    let isolation = conn.call(7, &list_offsets(&name, 0, -1).with_isolation_level(7));
    let expected = if on_kafka() { -1 } else { 42 };
    assert_eq!(isolation.topics[0].partitions[0].error_code, expected, "{isolation:?}");

    let epoch = conn.metadata_of(&name).partitions[0].leader_epoch;
    for (given, expected) in [(epoch + 1, 75), (epoch, 0), (-1, 0), (-2, 74), (i32::MIN, 74)] {
        let mut request = list_offsets(&name, 0, -1);
        request.topics[0].partitions[0].current_leader_epoch = given;
        let response = conn.call(7, &request);
        assert_eq!(response.topics[0].partitions[0].error_code, expected, "epoch {given}");
    }
}

#[test]
fn l08_replica_ids() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l08", 1, &[]);
    for id in [-1, -2] {
        let response = conn.call(7, &list_offsets(&name, 0, -1).with_replica_id(BrokerId(id)));
        assert_eq!(found(&response.topics[0].partitions[0]), (-1, 0), "replica {id}");
    }
    let response = conn.call(7, &list_offsets(&name, 0, -1).with_replica_id(BrokerId(77)));
    let expected = if on_kafka() { 0 } else { 6 };
    assert_eq!(response.topics[0].partitions[0].error_code, expected, "a replica that is none");
}

#[test]
fn l09_delete_records_into_a_batch() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l09", 1, &[]);
    let now = now_ms();
    stamped(&mut conn, &name, now, &[0, 1, 2, 3, 4]);
    stamped(&mut conn, &name, now, &[10, 11]);
    assert_eq!(delete_records(&mut conn, &name, 0, 3), (0, 3));
    assert_eq!(found(&conn.list_offset(&name, 0, -2)), (-1, 3));
    let (_, by_time) = found(&conn.list_offset(&name, 0, 0));
    assert!(by_time >= 3, "a time lookup answers {by_time}, below the log start");
    let below = conn.fetch(&Fetch::at(&name, 0, 2));
    assert_eq!((below.error_code, below.high_watermark, below.log_start_offset), (1, -1, -1));
    let at = conn.read(&name, 0, 3);
    assert_eq!((at[0].base_offset, at[0].count, at.len()), (0, 5, 2), "the whole batch comes");
    assert_eq!(conn.fetch(&Fetch::at(&name, 0, 3)).log_start_offset, 3);
}

#[test]
fn l10_largest_timestamp_of_an_emptied_log() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l10", 1, &[]);
    conn.append(&name, 0, &Batch::of("v", 4).encode());
    assert_eq!(delete_records(&mut conn, &name, 0, -1), (0, 4));
    let answer = conn.list_offset(&name, 0, -3);
    if on_kafka() {
        assert_eq!(answer.error_code, 0);
    } else {
        assert_eq!(found(&answer), (-1, -1));
    }
    assert_eq!(found(&conn.list_offset(&name, 0, 0)).1, -1, "nothing is left to find by time");
}

/// Error code, epoch and end offset.
fn epoch_end(conn: &mut Conn, version: i16, name: &str, current: i32, epoch: i32) -> (i16, i32, i64) {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(0)
        .with_current_leader_epoch(current)
        .with_leader_epoch(epoch);
    let wanted = OffsetForLeaderTopic::default().with_topic(topic(name)).with_partitions(vec![partition]);
    let mut request = OffsetForLeaderEpochRequest::default().with_topics(vec![wanted]);
    request.replica_id = if version >= 3 { BrokerId(-1) } else { BrokerId(-2) };
    let response = conn.call(version, &request);
    let answer = &response.topics[0].partitions[0];
    (answer.error_code, answer.leader_epoch, answer.end_offset)
}

#[test]
fn l11_offset_for_leader_epoch() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l11", 1, &[]);
    let epoch = conn.metadata_of(&name).partitions[0].leader_epoch;
    assert_eq!(epoch_end(&mut conn, 4, &name, -1, epoch), (0, epoch, 0), "empty log");
    conn.append(&name, 0, &Batch::of("v", 3).encode());
    for version in 2..=4 {
        assert_eq!(epoch_end(&mut conn, version, &name, -1, epoch), (0, epoch, 3), "v{version}");
        assert_eq!(epoch_end(&mut conn, version, &name, epoch, epoch), (0, epoch, 3), "v{version}");
        assert_eq!(epoch_end(&mut conn, version, &name, -1, epoch + 5), (0, -1, -1), "v{version} higher");
        assert_eq!(epoch_end(&mut conn, version, &name, -1, -1), (0, -1, -1), "v{version} undefined");
        assert_eq!(epoch_end(&mut conn, version, &name, -1, -2), (0, -2, 0), "v{version} below all");
        assert_eq!(epoch_end(&mut conn, version, &name, -2, epoch), (74, -1, -1), "v{version} -1 alone is none");
        assert_eq!(epoch_end(&mut conn, version, &name, epoch + 1, epoch), (75, -1, -1), "v{version}");
    }
    assert_eq!(epoch_end(&mut conn, 4, &unique("l11-unknown"), -1, 0), (3, -1, -1));
}

#[test]
fn l11_older_epochs_end_where_the_next_began() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("l11", 1, &[]);
    let first = conn.metadata_of(&name).partitions[0].leader_epoch;
    conn.append(&name, 0, &Batch::of("v", 3).encode());
    broker.kill9();
    broker.restart();
    let mut conn = broker.connect();
    let second = conn.wait_for_topic(&name, 1).partitions[0].leader_epoch;
    assert!(second >= first, "a leader epoch never goes back (M16)");
    conn.append(&name, 0, &Batch::of("v", 2).encode());
    assert_eq!(epoch_end(&mut conn, 4, &name, -1, second), (0, second, 5));
    if second > first {
        assert_eq!(epoch_end(&mut conn, 4, &name, -1, first), (0, first, 3));
        assert_eq!(epoch_end(&mut conn, 4, &name, first, first).0, 74, "a fenced epoch");
    }
}

/// Consumers validate their positions by this: an answer without an epoch means to them that records were lost.
#[test]
fn l11_an_epoch_without_records_ends_where_the_next_begins() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let ((empty, _), (some, _)) = (conn.new_topic("l11-empty", 1, &[]), conn.new_topic("l11-some", 1, &[]));
    let first = conn.metadata_of(&empty).partitions[0].leader_epoch;
    assert_eq!(conn.list_offset(&empty, 0, -2).leader_epoch, first, "earliest of a log without records");
    conn.append(&some, 0, &Batch::of("v", 3).encode());
    for _ in 0..2 {
        broker.kill9();
        broker.restart();
    }
    let mut conn = broker.connect();
    let last = conn.wait_for_topic(&empty, 1).partitions[0].leader_epoch;
    assert_eq!(last, first + 2);
    for epoch in first..last {
        assert_eq!(epoch_end(&mut conn, 4, &empty, -1, epoch), (0, epoch, 0), "epoch {epoch}");
        assert_eq!(epoch_end(&mut conn, 4, &some, -1, epoch), (0, first, 3), "epoch {epoch}");
    }
    assert_eq!(epoch_end(&mut conn, 4, &some, -1, last + 1), (0, -1, -1), "one that is still to come");
    conn.append(&empty, 0, &Batch::of("v", 2).encode());
    conn.append(&some, 0, &Batch::of("v", 2).encode());
    for epoch in first..last {
        assert_eq!(epoch_end(&mut conn, 4, &empty, -1, epoch), (0, epoch, 0), "epoch {epoch}");
        assert_eq!(epoch_end(&mut conn, 4, &some, -1, epoch), (0, first, 3), "epoch {epoch}");
    }
}

#[test]
fn l12_delete_records() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("l12", 1, &[]);
    conn.append(&name, 0, &Batch::of("v", 10).encode());
    assert_eq!(delete_records(&mut conn, &name, 0, 4), (0, 4));
    assert_eq!(delete_records(&mut conn, &name, 0, 2), (0, 4), "below the log start");
    assert_eq!(delete_records(&mut conn, &name, 0, 11), (1, -1), "above the high watermark");
    assert_eq!(delete_records(&mut conn, &name, 0, -2), (1, -1));
    assert_eq!(delete_records(&mut conn, &name, 0, -1), (0, 10), "-1 is the high watermark");
    assert_eq!(conn.append(&name, 0, &Batch::of("v", 1).encode()), 10, "offsets go on");
    assert_eq!(delete_records(&mut conn, &name, 5, 0), (3, -1));
    assert_eq!(delete_records(&mut conn, &unique("l12-unknown"), 0, 0), (3, -1));
}

#[test]
fn l12_delete_records_is_for_delete_policy_only() {
    let mut conn = shared().connect();
    let (compacted, _) = conn.new_topic("l12", 1, &[("cleanup.policy", "compact")]);
    conn.append(&compacted, 0, &Batch::new(vec![Record::keyed("k", "v")]).encode());
    assert_eq!(delete_records(&mut conn, &compacted, 0, 1), (44, -1));
    let (both, _) = conn.new_topic("l12", 1, &[("cleanup.policy", "compact,delete")]);
    conn.append(&both, 0, &Batch::new(vec![Record::keyed("k", "v")]).encode());
    assert_eq!(delete_records(&mut conn, &both, 0, 1), (0, 1));
    let (none, _) = conn.new_topic("l12", 1, &[("cleanup.policy", "")]);
    conn.append(&none, 0, &Batch::of("v", 1).encode());
    assert_eq!(delete_records(&mut conn, &none, 0, 1), (0, 1));
}

#[test]
fn l12_delete_records_of_internal_topics() {
    let mut conn = shared().connect();
    conn.call(12, &metadata_request(&["__consumer_offsets"]).with_allow_auto_topic_creation(true));
    eventually("__consumer_offsets is there", || {
        (conn.metadata_of("__consumer_offsets").error_code == 0).then_some(())
    });
    assert_eq!(delete_records(&mut conn, "__consumer_offsets", 0, 0), (17, -1));
}
