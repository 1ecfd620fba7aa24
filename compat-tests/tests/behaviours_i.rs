//! Idempotent producers: statements I1 to I13 as far as no transactions are involved, one test each.

use std::sync::atomic::{AtomicI64, Ordering};

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::ProducerState;
use kafka_protocol::messages::{
    DeleteRecordsRequest, DescribeProducersRequest, InitProducerIdRequest, InitProducerIdResponse, ProducerId,
    TransactionalId,
};
use pyralog_compat_tests::calls::{eventually, produce_parts, produced};
use pyralog_compat_tests::{Batch, BrokerOptions, Conn, now_ms, private, shared, skip, text, topic};

/// A producer id that no broker has handed out: far above the ids that brokers start with.
fn foreign_id() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    (now_ms() << 20) + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn batch(id: i64, epoch: i16, sequence: i32, count: usize) -> Vec<u8> {
    Batch::of("v", count).producer(id, epoch, sequence).encode()
}

/// Error code and base offset.
fn send(conn: &mut Conn, name: &str, bytes: &[u8]) -> (i16, i64) {
    let answer = conn.produce(name, 0, bytes);
    (answer.error_code, answer.base_offset)
}

fn init(conn: &mut Conn, version: i16, id: i64, epoch: i16, timeout: i32) -> InitProducerIdResponse {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(timeout)
        .with_producer_id(ProducerId(id))
        .with_producer_epoch(epoch);
    // The first call of a broker's life may have to wait for a block of ids (S9).
    eventually("a producer id", || {
        let response = conn.call(version, &request);
        (response.error_code != 14).then_some(response)
    })
}

#[test]
fn i01_producer_ids_are_always_new() {
    let mut conn = shared().connect();
    let mut seen = Vec::new();
    for version in 0..=5 {
        for timeout in [0, -1, 60_000, i32::MAX] {
            let response = init(&mut conn, version, -1, -1, timeout);
            assert_eq!((response.error_code, response.producer_epoch), (0, 0), "v{version} timeout {timeout}");
            assert!(response.producer_id.0 >= 0 && !seen.contains(&response.producer_id), "{response:?}");
            seen.push(response.producer_id);
        }
    }
    for version in 3..=5 {
        let response = init(&mut conn, version, seen[0].0, 3, 60_000);
        assert_eq!((response.error_code, response.producer_epoch), (0, 0), "v{version}");
        assert!(!seen.contains(&response.producer_id), "a given id without transactional id gets a new one");
    }
}

#[test]
fn i02_producer_id_and_epoch_belong_together() {
    let mut conn = shared().connect();
    for version in 3..=5 {
        for (id, epoch) in [(-1, 0), (5, -1)] {
            let response = init(&mut conn, version, id, epoch, 60_000);
            assert_eq!(response.error_code, 42, "v{version} id {id} epoch {epoch}");
            assert_eq!((response.producer_id.0, response.producer_epoch), (-1, -1));
        }
    }
}

#[test]
fn i02_empty_transactional_id() {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text(""))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    assert_eq!(shared().connect().call(4, &request).error_code, 42);
}

#[test]
fn i03_first_batch_may_start_anywhere() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i03", 1, &[]);
    assert_eq!(send(&mut conn, &name, &batch(foreign_id(), 0, 7, 1)), (0, 0));
    let id = foreign_id();
    assert_eq!(send(&mut conn, &name, &batch(id, 5, 3, 2)), (0, 1));
    assert_eq!(send(&mut conn, &name, &batch(id, 5, 5, 1)), (0, 3));
}

#[test]
fn i04_the_next_batch_continues_the_sequence() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i04", 1, &[]);
    let id = foreign_id();
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 0, 3)), (0, 0));
    for wrong in [4, 100, i32::MAX] {
        assert_eq!(send(&mut conn, &name, &batch(id, 0, wrong, 1)), (45, -1), "sequence {wrong}");
    }
    assert_eq!(conn.end_offset(&name, 0), 3, "nothing appended");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 3, 2)), (0, 3));
    assert_eq!(send(&mut conn, &name, &batch(foreign_id(), 0, 0, 1)), (0, 5), "another producer is not concerned");
}

#[test]
fn i05_a_duplicate_of_the_last_five_batches_succeeds_with_its_offset() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i05", 1, &[]);
    let id = foreign_id();
    let stamp = now_ms() - 5000;
    let nth = |n: i32, prefix: &str| Batch::of(prefix, 2).stamped(stamp + i64::from(n)).producer(id, 0, n * 2).encode();
    for n in 0..5 {
        assert_eq!(send(&mut conn, &name, &nth(n, "first")), (0, i64::from(n) * 2));
    }
    for n in (0..5).rev() {
        let answer = conn.produce(&name, 0, &nth(n, "other content"));
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(n) * 2), "batch {n}");
        assert_eq!(answer.log_append_time_ms, stamp + i64::from(n), "batch {n}");
    }
    assert_eq!(conn.end_offset(&name, 0), 10);
    assert_eq!(conn.read(&name, 0, 0)[0].values(), ["first-0", "first-1"]);
}

#[test]
fn i06_an_older_or_partial_duplicate_is_out_of_order() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i06", 1, &[]);
    let id = foreign_id();
    for n in 0..6 {
        assert_eq!(send(&mut conn, &name, &batch(id, 0, n * 2, 2)).0, 0);
    }
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 0, 2)), (45, -1), "the sixth last");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 2, 2)), (0, 2), "the fifth last");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 10, 1)), (45, -1), "same start, fewer records");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 10, 3)), (45, -1), "same start, more records");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 9, 2)), (45, -1), "partial overlap");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 8, 4)), (45, -1), "two batches in one");
    assert_eq!(conn.end_offset(&name, 0), 12);
}

#[test]
fn i07_epochs() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i07", 1, &[]);
    let id = foreign_id();
    assert_eq!(send(&mut conn, &name, &batch(id, 3, 0, 2)), (0, 0));
    assert_eq!(send(&mut conn, &name, &batch(id, 4, 2, 1)), (45, -1), "a higher epoch starts at 0");
    assert_eq!(send(&mut conn, &name, &batch(id, 2, 0, 1)), (47, -1), "a lower epoch");
    assert_eq!(send(&mut conn, &name, &batch(id, 9, 0, 1)), (0, 2), "any step up");
    assert_eq!(send(&mut conn, &name, &batch(id, 3, 2, 1)), (47, -1));
    assert_eq!(send(&mut conn, &name, &batch(id, 9, 1, 1)), (0, 3));
}

#[test]
fn i08_sequences_wrap() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i08", 1, &[]);
    let id = foreign_id();
    assert_eq!(send(&mut conn, &name, &batch(id, 0, i32::MAX, 1)), (0, 0));
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 0, 1)), (0, 1));
    let id = foreign_id();
    assert_eq!(send(&mut conn, &name, &batch(id, 0, i32::MAX - 1, 3)), (0, 2), "wraps inside the batch");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, i32::MAX - 1, 3)), (0, 2), "its duplicate");
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 2, 1)), (45, -1));
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 1, 1)), (0, 5));
}

#[test]
fn i09_half_set_producer_fields() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i09", 1, &[]);
    assert_eq!(send(&mut conn, &name, &batch(foreign_id(), 0, -1, 1)), (87, -1), "id without sequence");
    assert_eq!(send(&mut conn, &name, &batch(foreign_id(), -1, 0, 1)), (0, 0), "id without epoch");
    for (n, id) in [(1, -1), (2, -5)] {
        assert_eq!(send(&mut conn, &name, &batch(id, 7, 99, 1)), (0, n), "id {id} means no idempotence");
    }
}

#[test]
fn i10_acks_1_works() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i10", 1, &[]);
    let id = foreign_id();
    for (sequence, expected) in [(0, (0, 0)), (0, (0, 0)), (2, (0, 2)), (9, (45, -1))] {
        let bytes = batch(id, 0, sequence, 2);
        let response = conn.call(9, &produce_parts(1, &[(&name, 0, Some(&bytes))]));
        let answer = produced(&response, &name, 0);
        assert_eq!((answer.error_code, answer.base_offset), expected, "sequence {sequence}");
    }
}

fn delete_all_records(conn: &mut Conn, name: &str) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(-1);
    let wanted = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
    let response = conn.call(2, &request);
    assert_eq!(response.topics[0].partitions[0].error_code, 0, "{response:?}");
}

#[test]
fn i11_state_survives_the_deletion_of_all_records() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("i11", 1, &[]);
    let id = foreign_id();
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 0, 2)), (0, 0));
    delete_all_records(&mut conn, &name);
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 5, 1)), (45, -1));
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 2, 1)), (0, 2));
}

#[test]
fn i12_state_survives_a_restart() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("i12", 1, &[]);
    let id = init(&mut conn, 4, -1, -1, 60_000).producer_id.0;
    for n in 0..3 {
        assert_eq!(send(&mut conn, &name, &batch(id, 0, n * 2, 2)).0, 0);
    }
    for round in 0..2 {
        if round == 0 {
            broker.terminate();
        } else {
            broker.kill9();
        }
        broker.restart();
        let mut conn = broker.connect();
        conn.wait_for_topic(&name, 1);
        assert_eq!(send(&mut conn, &name, &batch(id, 0, 2, 2)), (0, 2), "duplicate, round {round}");
        assert_eq!(send(&mut conn, &name, &batch(id, 0, 20, 1)), (45, -1), "gap, round {round}");
        assert!(init(&mut conn, 4, -1, -1, 60_000).producer_id.0 > id, "ids are never handed out again");
    }
    let mut conn = broker.connect();
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 6, 1)), (0, 6));
}

#[test]
fn i12_id_05_state_expires() {
    let options = BrokerOptions::new()
        .set("producer.id.expiration.ms", "4000")
        .set("producer.id.expiration.check.interval.ms", "200");
    let Some(broker) = private(options) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("i12", 1, &[]);
    let id = foreign_id();
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 0, 1)), (0, 0));
    assert_eq!(send(&mut conn, &name, &batch(id, 0, 9, 1)), (45, -1));
    eventually("an unknown producer starts anywhere", || {
        let sent = send(&mut conn, &name, &batch(id, 0, 9, 1));
        assert!([(45, -1), (0, 1)].contains(&sent), "{sent:?}");
        (sent == (0, 1)).then_some(())
    });
}

fn describe(conn: &mut Conn, name: &str, partition: i32) -> (i16, Vec<ProducerState>) {
    let wanted = TopicRequest::default().with_name(topic(name)).with_partition_indexes(vec![partition]);
    let response = conn.call(0, &DescribeProducersRequest::default().with_topics(vec![wanted]));
    let found = response.topics[0].partitions[0].clone();
    (found.error_code, found.active_producers)
}

#[test]
fn i13_describe_producers() {
    let mut conn = shared().connect();
    let listed = conn.call(3, &api_versions()).api_keys.iter().any(|k| k.api_key == 61);
    if !listed {
        return skip("DescribeProducers is not offered", "nothing to do: it runs once ApiVersions lists it");
    }
    let (name, _) = conn.new_topic("i13", 1, &[]);
    let (id, stamp) = (foreign_id(), now_ms());
    conn.append(&name, 0, &Batch::of("v", 3).stamped(stamp).producer(id, 2, 0).encode());
    let (error, producers) = describe(&mut conn, &name, 0);
    assert_eq!((error, producers.len()), (0, 1));
    let found = &producers[0];
    assert_eq!((found.producer_id.0, found.producer_epoch, found.last_sequence), (id, 2, 2));
    assert_eq!((found.last_timestamp, found.coordinator_epoch, found.current_txn_start_offset), (stamp, -1, -1));
    assert_eq!(describe(&mut conn, &name, 9).0, 3);
}

fn api_versions() -> kafka_protocol::messages::ApiVersionsRequest {
    kafka_protocol::messages::ApiVersionsRequest::default()
        .with_client_software_name(text("compat"))
        .with_client_software_version(text("1"))
}
