//! What is held for a frame is let go of as soon as nobody needs a byte of it, whatever its request still waits for.

use std::sync::Arc;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, GroupId, JoinGroupRequest, ListOffsetsRequest};
use kafka_protocol::protocol::StrBytes;
use pyralog_node::Limits;
use pyralog_protocol::{Response, kafka_protocol};
use pyralog_storage::Disk;

use crate::world::*;

/// A batch that is worth more than a copy.
const LARGE: usize = 5000;

fn with_journal() -> World {
    let mut world = World::with(&[], Limits { journal_bytes: 64 << 10, ..Limits::default() }, Planted::Nothing);
    world.create("a", 2, &[]);
    // The first commit makes the journal's first file.
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"first")));
    world
}

fn is_held(held: &Arc<()>) -> bool {
    Arc::strong_count(held) > 1
}

#[test]
fn a_batch_that_waits_for_the_journal_holds_its_frame_unless_it_is_small() {
    let mut world = with_journal();
    let conn = world.connect();
    let small = world.send_holding(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    assert_eq!(world.queued_commits(), 1);
    assert!(!is_held(&small));
    let large = world.send_holding(conn, PRODUCE, produce_request("a", 1, -1, batch(&[b'v'; LARGE])));
    let silent = world.send_holding(conn, PRODUCE, produce_request("a", 1, 0, batch(&[b'v'; LARGE])));
    assert!(is_held(&large) && is_held(&silent));
    assert_eq!(world.commit_round(), 2);
    assert!(!is_held(&large) && !is_held(&silent), "before anybody looks for the answer");
    world.settle();
    assert_eq!(world.ids(conn).len(), 2);
    assert_eq!(world.read("a", 1).unwrap().len(), 2);
}

#[test]
fn a_batch_that_is_refused_holds_nothing_and_one_beside_it_all_of_the_frame() {
    let mut world = with_journal();
    let conn = world.connect();
    let mut request = produce_request("a", 0, -1, batch(&[b'v'; LARGE]));
    let refused = produce_request("nowhere", 0, -1, batch(&[b'v'; 1 << 20])).topic_data;
    request.topic_data.extend(refused.clone());
    let held = world.send_holding(conn, PRODUCE, request.clone());
    assert!(is_held(&held));
    world.settle();
    assert!(!is_held(&held));
    request.topic_data = refused;
    let held = world.send_holding(conn, PRODUCE, request);
    assert!(!is_held(&held));
}

#[test]
fn whoever_waits_for_a_sync_of_the_segments_holds_no_frame() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    let held = world.send_holding(conn, PRODUCE, produce_request("a", 0, -1, batch(&[b'v'; LARGE])));
    assert!(
        world.begin_sync(0) && !is_held(&held),
        "its records are in their segment, and the answer has names of its own"
    );
    world.end_sync(0);
    world.settle();
    let Some((_, Response::Produce(answer))) = world.answer(conn) else { panic!("no answer") };
    assert_eq!(answer.responses[0].name, name("a"));
}

#[test]
fn whoever_waits_for_data_or_for_others_holds_no_frame() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let (reader, member) = (world.connect(), world.connect());
    for session_epoch in [-1, 0] {
        let fetch = fetch_request(&[("a", 0, 0)], 2000, 1).with_session_epoch(session_epoch);
        let held = world.send_holding(reader, FETCH, fetch);
        assert!(world.is_waiting(reader) && !is_held(&held));
        world.advance(2000);
        assert_eq!(world.ids(reader).len(), 1);
    }
    let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol]);
    let held = world.send_holding(member, 3, join);
    assert!(is_held(&held), "the coordinator has not read it yet");
    world.turn();
    assert!(!is_held(&held) && world.ids(member).is_empty(), "it waits for other members");
}

#[test]
fn whoever_waits_for_the_disk_to_look_something_up_holds_no_frame() {
    let mut world = World::new();
    world.create("a", 1, &[("internal.segment.bytes", "3000")]);
    let conn = world.connect();
    for n in 0..8 {
        assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[n; 700])))).error_code, 0);
    }
    world.checkpoint();
    world.checkpoint();
    world.disk.remove_file("logs/a-0/00000000000000000000.index").unwrap();
    world.held = Some(Vec::new());
    let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(1);
    let topic = ListOffsetsTopic::default().with_name(name("a")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let held = world.send_holding(conn, 7, request);
    assert!(world.is_waiting(conn) && !is_held(&held));
    world.warm_held();
    world.settle();
    let Some((_, Response::ListOffsets(found))) = world.answer(conn) else { panic!("no answer") };
    assert_eq!((found.topics[0].name.clone(), found.topics[0].partitions[0].offset), (name("a"), 0));
}

#[test]
fn a_fetch_of_more_partitions_than_anybody_has_does_not_wait() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    let names: Vec<String> = (0..300).map(|n| format!("{n:030000}")).collect();
    let mut parts: Vec<(&str, i32, i64)> = names.iter().map(|name| (name.as_str(), 0, 0)).collect();
    parts.push(("a", 0, 0));
    world.send(conn, FETCH, fetch_request(&parts[100..], 2000, 1));
    assert!(world.is_waiting(conn));
    world.advance(2000);
    assert_eq!(world.ids(conn).len(), 1);
    let many = world.send(conn, FETCH, fetch_request(&parts, 2000, 1));
    assert_eq!(world.ids(conn), [many]);
}
