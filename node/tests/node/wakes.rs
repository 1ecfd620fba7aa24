//! Fetches that wait: woken by what they wait for, by nothing else, and never forgotten.

use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::protocol::StrBytes;
use pyralog_node::partition::{Durability, Service};
use pyralog_node::vlsn::VlsnRules;
use pyralog_node::{Limits, Outputs};
use pyralog_protocol::batch::BatchBuilder;
use pyralog_protocol::vlsn::messages::VlsnReadRequest;
use pyralog_protocol::{Draw, ErrorCode, LeaderEpoch, Routing, Vlsn, kafka_protocol};
use pyralog_storage::LogConfig;

use crate::world::*;

/// Readers wait for one byte of partitions that producers write to, in any order of everything. Without time passing,
/// each of them is answered with data.
fn no_wake_is_lost(seed: u64, planted: Planted) -> bool {
    let mut world = World::with(&[], Limits::default(), planted);
    world.create("a", 3, &[]);
    let mut draw = Draw::new(u128::from(seed));
    let readers: Vec<_> = (0..3).map(|_| world.connect()).collect();
    let producers: Vec<_> = (0..2).map(|_| world.connect()).collect();
    for reader in &readers {
        world.push(*reader, FETCH, fetch_request(&[("a", 0, 0), ("a", 1, 0), ("a", 2, 0)], 60_000, 1));
    }
    for number in 0..4 {
        let acks = [-1, 0, 1][(draw.next_u64() % 3) as usize];
        let partition = (draw.next_u64() % 3) as i32;
        let records = batch(format!("{number}").as_bytes());
        world.push(producers[number % 2], PRODUCE, produce_request("a", partition, acks, records));
    }
    while world.step(&mut draw) {}
    readers.iter().all(|reader| {
        let Some((_, response)) = world.answer(*reader) else { return false };
        fetch_response(response).responses[0].partitions.iter().any(|p| !p.records.as_ref().unwrap().is_empty())
    })
}

#[test]
fn f08_no_wake_is_lost_in_1000_interleavings() {
    for seed in 0..1000 {
        assert!(no_wake_is_lost(seed, Planted::Nothing), "seed {seed}");
    }
}

#[test]
fn f08_planted_lost_wakes_are_caught() {
    assert!((0..50).any(|seed| !no_wake_is_lost(seed, Planted::DropWakes)));
}

#[test]
fn f07_a_poll_waits_its_time_and_answers_with_what_there_is() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"little")));
    let id = world.send(conn, FETCH, fetch_request(&[("a", 0, 0)], 500, 100_000));
    world.settle();
    world.advance(499);
    assert!(world.ids(conn).is_empty());
    world.advance(1);
    let (answered, response) = world.answer(conn).unwrap();
    assert_eq!(answered, id);
    assert_eq!(values(&fetched(response).records.unwrap()).len(), 1);
    for request in
        [fetch_request(&[("a", 0, 1)], 0, 1), fetch_request(&[("a", 0, 1)], 500, 0), fetch_request(&[], 500, 1)]
    {
        let id = world.send(conn, FETCH, request);
        assert_eq!(world.ids(conn), [id], "answered at once");
    }
}

#[test]
fn f07_min_bytes_above_what_an_answer_carries_does_not_wait_in_front_of_a_full_log() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    for _ in 0..5 {
        world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[1; 1000])));
    }
    // 2,500 bytes are asked for at least and at most; two whole batches are less than that.
    let mut request = fetch_request(&[("a", 0, 0)], 60_000, 2500);
    request.max_bytes = 2500;
    let id = world.send(conn, FETCH, request);
    assert_eq!(world.ids(conn), [id]);
    let mut request = fetch_request(&[("a", 0, 0)], 60_000, 2500);
    request.topics[0].partitions[0].partition_max_bytes = 2500;
    let id = world.send(conn, FETCH, request);
    assert_eq!(world.ids(conn), [id]);
}

#[test]
fn f07_min_bytes_counts_over_the_end_of_a_segment() {
    let mut world = World::new();
    world.create("a", 1, &[("segment.bytes", "1048576")]);
    let conn = world.connect();
    for _ in 0..9 {
        world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&vec![1; 200_000])));
    }
    // The first segment holds five of them; one answer comes from one segment.
    let id = world.send(conn, FETCH, fetch_request(&[("a", 0, 0)], 60_000, 1_500_000));
    assert_eq!(world.ids(conn), [id]);
}

#[test]
fn f08_bytes_are_counted_over_appends_from_the_fetch_offset_on() {
    let mut world = World::new();
    world.create("a", 2, &[]);
    let (reader, producer) = (world.connect(), world.connect());
    let one = batch(&[7; 400]).len() as i32;
    world.send(reader, FETCH, fetch_request(&[("a", 0, 0), ("a", 1, 0)], 60_000, 2 * one));
    world.ask(producer, PRODUCE, produce_request("a", 0, -1, batch(&[7; 400])));
    assert!(world.ids(reader).is_empty(), "half of it");
    world.ask(producer, PRODUCE, produce_request("a", 1, -1, batch(&[7; 400])));
    assert_eq!(world.ids(reader).len(), 1);
}

#[test]
fn f08_what_is_not_on_disk_yet_wakes_nobody() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let (reader, producer) = (world.connect(), world.connect());
    world.send(reader, FETCH, fetch_request(&[("a", 0, 0)], 60_000, 1));
    world.send(producer, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    assert!(world.begin_sync(0));
    world.deliver(reader);
    assert!(world.is_waiting(reader) && world.ids(reader).is_empty());
    world.end_sync(0);
    world.deliver(reader);
    assert_eq!(world.ids(reader).len(), 1);
}

/// Partitions learn of a new routing before requests see it. Who begins to wait in between watches those that there were, and
/// does not look again before the new one can be found.
#[test]
fn f08_who_begins_to_wait_while_partitions_are_added_is_woken_by_what_comes_in_a_new_one() {
    for by_view in [false, true] {
        let mut world = World::new();
        assert_eq!(world.create("v", 1, &[("vlsn.enable", "true")]).code(), 0);
        let (reader, other) = (world.connect(), world.connect());
        let write = |world: &mut World, vlsn: u64, partition: i32| {
            let records = BatchBuilder::new().kv(1, &Vlsn(vlsn).key(), b"value").build().unwrap().freeze();
            produced(world.ask(other, PRODUCE, produce_request("v", partition, -1, records))).error_code
        };
        assert_eq!(write(&mut world, 0, 0), 0);
        let rules = VlsnRules { routing: Some(Routing::new(1).extended(Vlsn(1), 2).unwrap()), writer: None };
        let config = LogConfig { vlsn: true, ..LogConfig::default() };
        let mut out = Outputs::default();
        let service = Service { epoch: LeaderEpoch(0), durability: Durability::Fsync, paused: None, rules };
        world.node.partitions()[0].configure(config, service, &mut out);
        world.take(out);
        if by_view {
            world.send(reader, FETCH, fetch_request(&[("v.vlsn", 0, 1)], 60_000, 1));
        } else {
            let (log, vlsns) = (StrBytes::from_static_str("v"), vec![Vlsn(1)]);
            world.send(reader, 0, VlsnReadRequest { log, max_wait_ms: 60_000, max_bytes: 1 << 20, vlsns });
        }
        assert!(world.is_waiting(reader) && !world.has_mail(reader), "by the view: {by_view}");
        let topic = CreatePartitionsTopic::default().with_name(name("v")).with_count(2).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        world.ask(other, 3, request);
        assert_eq!(write(&mut world, 1, 1), 0);
        assert!(world.answer(reader).is_some(), "by the view: {by_view}");
    }
}

#[test]
fn f09_errors_end_the_poll_and_an_unknown_partition_beside_a_known_one_does_not() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    for parts in [vec![("a", 0, 99)], vec![("a", 0, -5)], vec![("nope", 0, 0)], vec![("nope", 0, 0), ("a", 9, 0)]] {
        let id = world.send(conn, FETCH, fetch_request(&parts, 60_000, 1));
        assert_eq!(world.ids(conn), [id], "{parts:?}");
    }
    let id = world.send(conn, FETCH, fetch_request(&[("nope", 0, 0), ("a", 0, 0)], 1000, 1));
    assert!(world.is_waiting(conn));
    world.advance(1000);
    let (answered, response) = world.answer(conn).unwrap();
    assert_eq!(answered, id);
    let codes: Vec<i16> = fetch_response(response).responses.iter().map(|t| t.partitions[0].error_code).collect();
    assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition.code(), 0]);
}

#[test]
fn f07_a_connection_that_goes_leaves_nothing_behind() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let (reader, producer) = (world.connect(), world.connect());
    world.send(reader, FETCH, fetch_request(&[("a", 0, 0)], 60_000, 1));
    assert!(world.is_waiting(reader));
    world.disconnect(reader);
    world.send(producer, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    let mut out = Outputs::default();
    let partition = &world.node.partitions()[0];
    let plan = partition.sync_plan(&mut out).unwrap();
    partition.synced(&plan, plan.run(&world.disk), &mut out);
    assert!(out.wakes.is_empty());
}

#[test]
fn se_03_fetches_that_wait_and_name_much_share_the_memory_for_that() {
    let limits = Limits { fetch_wait_bytes: 100_000, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    world.create("a", 1, &[]);
    let [first, second, small, producer] = [(); 4].map(|()| world.connect());
    // One partition that there is; others do not end the wait.
    let parts: Vec<_> = (0..600).map(|partition| ("a", partition, 0)).collect();
    world.send(first, FETCH, fetch_request(&parts, 60_000, 1));
    assert!(world.is_waiting(first));
    let id = world.send(second, FETCH, fetch_request(&parts, 60_000, 1));
    assert_eq!(world.ids(second), [id], "answered at once");
    world.send(small, FETCH, fetch_request(&parts[..1], 60_000, 1));
    assert!(world.is_waiting(small), "who names little waits whatever others do");
    world.disconnect(first);
    world.send(second, FETCH, fetch_request(&parts, 60_000, 1));
    assert!(world.is_waiting(second), "there is memory again");
    world.ask(producer, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    assert_eq!((world.ids(second).len(), world.ids(small).len()), (1, 1));
}
