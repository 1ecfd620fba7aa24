//! Answers leave in the order of the requests, and a request sees what its connection asked before.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, MetadataRequest};
use pyralog_protocol::{Draw, ErrorCode, Response, kafka_protocol};

use crate::world::*;

fn latest_request(topic: &str) -> ListOffsetsRequest {
    let part = ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![part]);
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
}

#[test]
fn c15_answers_leave_in_request_order_whatever_completes_first() {
    for seed in 0..300 {
        let mut world = World::new();
        world.create("a", 3, &[]);
        let mut draw = Draw::new(seed);
        let conns = [world.connect(), world.connect()];
        let mut sent = [Vec::new(), Vec::new()];
        for _ in 0..12 {
            for (conn, sent) in conns.iter().zip(&mut sent) {
                let partition = (draw.next_u64() % 3) as i32;
                sent.push(match draw.next_u64() % 4 {
                    0 => world.push(*conn, 9, MetadataRequest::default().with_topics(Some(vec![]))),
                    1 => world.push(*conn, FETCH, fetch_request(&[("a", partition, 0)], 0, 1)),
                    _ => world.push(*conn, PRODUCE, produce_request("a", partition, -1, batch(b"v"))),
                });
            }
        }
        while world.step(&mut draw) {}
        for (conn, sent) in conns.iter().zip(sent) {
            assert_eq!(world.ids(*conn), sent, "seed {seed}");
        }
    }
}

#[test]
fn c16_a_long_poll_blocks_later_requests_of_its_connection_only() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let (one, other) = (world.connect(), world.connect());
    let poll = world.send(one, FETCH, fetch_request(&[("a", 0, 0)], 2000, 1));
    let behind = world.send(one, 9, MetadataRequest::default());
    let beside = world.send(other, 9, MetadataRequest::default());
    world.settle();
    assert!(world.ids(one).is_empty());
    assert_eq!(world.ids(other), [beside]);
    world.advance(1999);
    world.settle();
    assert!(world.ids(one).is_empty());
    world.advance(1);
    world.settle();
    assert_eq!(world.ids(one), [poll, behind]);
}

#[test]
fn c17_a_silent_produce_takes_no_place() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.send(conn, PRODUCE, produce_request("a", 0, 0, batch(b"silent")));
    let next = world.send(conn, PRODUCE, produce_request("a", 0, -1, batch(b"told")));
    world.settle();
    assert_eq!(world.ids(conn), [next]);
    assert_eq!(world.read("a", 0).unwrap().len(), 2);
}

#[test]
fn c17_a_silent_produce_that_is_refused_closes_after_the_answers_before_it() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    let first = world.send(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    world.push(conn, PRODUCE, produce_request("nowhere", 0, 0, batch(b"v")));
    world.push(conn, PRODUCE, produce_request("a", 0, -1, batch(b"too late")));
    world.serve(conn);
    assert!(!world.is_closed(conn), "an answer is still owed");
    world.settle();
    assert_eq!(world.ids(conn), [first]);
    assert!(world.is_closed(conn));
}

#[test]
fn p16_what_came_silently_during_a_sync_is_synced_and_readable_too() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.send(conn, PRODUCE, produce_request("a", 0, 0, batch(b"first")));
    assert!(world.begin_sync(0));
    world.send(conn, PRODUCE, produce_request("a", 0, 0, batch(b"during")));
    world.end_sync(0);
    world.settle();
    assert_eq!(world.read("a", 0).unwrap().len(), 2, "nobody waits for it, and yet it is to be read");
}

#[test]
fn c15_a_request_sees_what_its_connection_wrote_before() {
    for seed in 0..100 {
        let mut world = World::new();
        world.create("a", 1, &[]);
        let conn = world.connect();
        for _ in 0..3 {
            world.push(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
        }
        let ask = world.push(conn, 7, latest_request("a"));
        let mut draw = Draw::new(seed);
        while world.step(&mut draw) {}
        let answers: Vec<_> = std::iter::from_fn(|| world.answer(conn)).collect();
        let (id, Response::ListOffsets(last)) = answers.last().unwrap() else { panic!("{answers:?}") };
        assert_eq!((*id, last.topics[0].partitions[0].offset), (ask, 3), "seed {seed}");
    }
}

#[test]
fn id_10_pipelined_idempotent_batches_are_never_out_of_order() {
    for seed in 0..300 {
        let mut world = World::new();
        world.create("a", 2, &[]);
        let conns = [world.connect(), world.connect()];
        for sequence in 0..5 {
            for (producer, conn) in conns.iter().enumerate() {
                for partition in 0..2 {
                    let records = sequenced(producer as i64 + 1, sequence, format!("{producer}.{sequence}").as_bytes());
                    world.push(*conn, PRODUCE, produce_request("a", partition, -1, records));
                }
            }
        }
        let mut draw = Draw::new(seed);
        while world.step(&mut draw) {}
        for conn in conns {
            let codes: Vec<i16> =
                std::iter::from_fn(|| world.answer(conn)).map(|(_, r)| produced(r).error_code).collect();
            assert_eq!(codes, [0; 10], "seed {seed}");
        }
        assert_eq!(world.read("a", 0).unwrap().len(), 10);
    }
}

#[test]
fn id_09_a_duplicate_is_answered_only_once_its_original_is_on_disk() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let (one, other) = (world.connect(), world.connect());
    let original = world.send(one, PRODUCE, produce_request("a", 0, -1, sequenced(7, 0, b"v")));
    let again = world.send(other, PRODUCE, produce_request("a", 0, -1, sequenced(7, 0, b"v")));
    assert!(world.begin_sync(0));
    for conn in [one, other] {
        world.deliver(conn);
        assert!(world.ids(conn).is_empty(), "the sync has only begun");
    }
    world.end_sync(0);
    for (conn, id) in [(one, original), (other, again)] {
        world.deliver(conn);
        let (answered, response) = world.answer(conn).unwrap();
        let part = produced(response);
        assert_eq!((answered, part.error_code, part.base_offset), (id, 0, 0));
    }
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
}

#[test]
fn id_09_a_duplicate_whose_original_is_lost_is_no_success() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.send(conn, PRODUCE, produce_request("a", 0, -1, sequenced(7, 0, b"v")));
    world.send(conn, PRODUCE, produce_request("a", 0, -1, sequenced(7, 0, b"v")));
    let syncs = world.disk.counters().syncs;
    world.disk.set_faults(pyralog_storage::sim::Faults { fail_sync: Some(syncs + 1), ..Default::default() });
    world.settle();
    for _ in 0..2 {
        let (_, response) = world.answer(conn).unwrap();
        assert_eq!(produced(response).error_code, ErrorCode::KafkaStorageError.code());
    }
}
