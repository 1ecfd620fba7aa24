//! Producers that send large requests in a row: the broker moves their connections to threads of their own in the middle of
//! the traffic, and several of them append to one partition at once. What a client can see of that is nothing at all.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a test")]

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::messages::ProduceRequest;
use pyralog_compat_tests::batch::Batch;
use pyralog_compat_tests::calls::{metadata_request, produce_request, produced};
use pyralog_compat_tests::{Broker, BrokerOptions, Conn, private};

const IN_FLIGHT: usize = 5;
const REQUESTS: i32 = 400;
const RECORD: usize = 40 << 10;

/// Which requests of a writer are large.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sizes {
    Large,
    /// Each second one is so small that its thread waits for the partition, instead of leaving the batch to another.
    Mixed,
}

fn batch(sizes: Sizes, writer: i64, number: i32) -> Vec<u8> {
    let bytes = if sizes == Sizes::Mixed && number % 2 == 1 { 10 } else { RECORD };
    let value = format!("{writer}-{number}-{}", "x".repeat(bytes));
    Batch::of(&value, 1).producer(5_000 + writer, 0, number).encode()
}

/// Keeps some requests in flight, with small ones of another API in between; gives the offsets.
fn produce_all(conn: &mut Conn, log: &str, sizes: Sizes, writer: i64) -> Vec<i64> {
    let mut waiting = VecDeque::new();
    let mut offsets = Vec::new();
    for number in 0..REQUESTS {
        if waiting.len() == IN_FLIGHT {
            offsets.push(receive(conn, log, waiting.pop_front().unwrap()));
        }
        waiting.push_back(conn.send(9, &produce_request(log, 0, &batch(sizes, writer, number))));
        if number % 40 == 39 {
            offsets.extend(std::mem::take(&mut waiting).into_iter().map(|id| receive(conn, log, id)));
            assert_eq!(conn.call(12, &metadata_request(&[log])).topics.len(), 1);
        }
    }
    offsets.extend(waiting.into_iter().map(|id| receive(conn, log, id)));
    offsets
}

fn receive(conn: &mut Conn, log: &str, correlation: i32) -> i64 {
    let response = conn.receive::<ProduceRequest>(9, correlation);
    let part = produced(&response, log, 0);
    assert_eq!(part.error_code, 0, "{part:?}");
    part.base_offset
}

/// Threads of the broker that serve large requests.
fn lanes(broker: &Broker) -> usize {
    broker.threads_named("lane")
}

fn many_writers_of_one_partition(sizes: Sizes, durability: &str) {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("large", 1, &[("pyralog.durability", durability)]);
    assert_eq!(lanes(&broker), 0, "nobody needs them yet");
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let (mut conn, log) = (broker.connect(), log.clone());
            std::thread::spawn(move || produce_all(&mut conn, &log, sizes, writer))
        })
        .collect();
    let mut expected = BTreeMap::new();
    for (writer, thread) in writers.into_iter().enumerate() {
        let offsets = thread.join().unwrap();
        assert!(offsets.is_sorted(), "writer {writer}: {offsets:?}");
        for (number, offset) in offsets.into_iter().enumerate() {
            assert_eq!(expected.insert(offset, format!("{writer}-{number}-")), None, "offset {offset} twice");
        }
    }
    assert_eq!(lanes(&broker) > 0, sizes == Sizes::Large, "where the connections have moved");
    assert!(expected.keys().copied().eq(0..6 * i64::from(REQUESTS)));
    let mut next = 0;
    while next < 6 * i64::from(REQUESTS) {
        for found in conn.read(&log, 0, next) {
            let value = &found.values()[0];
            assert!(value.starts_with(&expected[&next]), "{next}: {}", &value[..20]);
            next = found.last_offset() + 1;
        }
    }
}

#[test]
fn large_requests_of_many_connections_stay_in_order_in_memory() {
    many_writers_of_one_partition(Sizes::Large, "memory");
}

#[test]
fn large_requests_of_many_connections_stay_in_order_when_synced() {
    many_writers_of_one_partition(Sizes::Large, "fsync");
}

#[test]
fn large_and_small_requests_of_one_connection_stay_in_order_in_memory() {
    many_writers_of_one_partition(Sizes::Mixed, "memory");
}

#[test]
fn large_and_small_requests_of_one_connection_stay_in_order_when_synced() {
    many_writers_of_one_partition(Sizes::Mixed, "fsync");
}
