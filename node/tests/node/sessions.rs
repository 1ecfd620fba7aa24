//! Incremental fetch sessions: what they leave out, when they end, and how many there may be.

use kafka_protocol::messages::fetch_request::ForgottenTopic;
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use pyralog_node::{ConnId, Limits};
use pyralog_protocol::{ErrorCode, kafka_protocol};
use uuid::Uuid;

use crate::world::*;

fn world(limits: Limits) -> (World, ConnId) {
    let mut world = World::with(&[], limits, Planted::Nothing);
    world.create("a", 3, &[]);
    let conn = world.connect();
    (world, conn)
}

fn in_session(mut request: FetchRequest, id: i32, epoch: i32) -> FetchRequest {
    (request.session_id, request.session_epoch) = (id, epoch);
    request
}

fn fetch(world: &mut World, conn: ConnId, request: FetchRequest) -> FetchResponse {
    fetch_response(world.ask(conn, FETCH, request))
}

fn open(world: &mut World, conn: ConnId) -> i32 {
    let all = fetch_request(&[("a", 0, 0), ("a", 1, 0), ("a", 2, 0)], 0, 0);
    fetch(world, conn, in_session(all, 0, 0)).session_id
}

fn parts(response: &FetchResponse) -> Vec<i32> {
    response.responses.iter().flat_map(|t| t.partitions.iter().map(|p| p.partition_index)).collect()
}

fn nothing() -> FetchRequest {
    fetch_request(&[], 0, 0)
}

#[test]
fn f16_a_session_leaves_out_what_is_no_news_and_repeats_what_has_data() {
    let (mut world, conn) = world(Limits::default());
    let all = fetch_request(&[("a", 0, 0), ("a", 1, 0), ("a", 2, 0)], 0, 0);
    let first = fetch(&mut world, conn, in_session(all, 0, 0));
    assert_eq!(parts(&first), [0, 1, 2]);
    let id = first.session_id;
    assert!(id > 0);
    let second = fetch(&mut world, conn, in_session(nothing(), id, 1));
    assert_eq!((second.session_id, parts(&second)), (id, vec![]));
    let producer = world.connect();
    world.ask(producer, PRODUCE, produce_request("a", 1, -1, batch(b"v")));
    for epoch in 2..4 {
        let again = fetch(&mut world, conn, in_session(nothing(), id, epoch));
        assert_eq!(parts(&again), [1], "until the position moves");
    }
    let moved = fetch(&mut world, conn, in_session(fetch_request(&[("a", 1, 1)], 0, 0), id, 4));
    assert_eq!(parts(&moved).len(), 0);
    let forget = ForgottenTopic::default().with_topic(name("a")).with_partitions(vec![0, 2]);
    let less = nothing().with_forgotten_topics_data(vec![forget]);
    fetch(&mut world, conn, in_session(less, id, 5));
    world.ask(producer, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    world.ask(producer, PRODUCE, produce_request("a", 1, -1, batch(b"v")));
    let last = fetch(&mut world, conn, in_session(nothing(), id, 6));
    assert_eq!(parts(&last), [1], "0 was forgotten");
}

#[test]
fn f16_partitions_with_data_take_turns() {
    let (mut world, conn) = world(Limits::default());
    let producer = world.connect();
    for partition in 0..3 {
        world.ask(producer, PRODUCE, produce_request("a", partition, -1, batch(&[0; 1000])));
    }
    let all = fetch_request(&[("a", 0, 0), ("a", 1, 0), ("a", 2, 0)], 0, 0).with_max_bytes(1);
    let mut response = fetch(&mut world, conn, in_session(all, 0, 0));
    let id = response.session_id;
    let mut served = Vec::new();
    for epoch in 1..7 {
        let full = |r: &FetchResponse| {
            let parts = r.responses.iter().flat_map(|t| &t.partitions);
            parts.filter(|p| !p.records.as_ref().unwrap().is_empty()).map(|p| p.partition_index).collect::<Vec<_>>()
        };
        served.extend(full(&response));
        response = fetch(&mut world, conn, in_session(nothing().with_max_bytes(1), id, epoch));
    }
    assert_eq!(served, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn f16_a_session_that_is_left_with_nothing_ends_and_its_last_request_is_served() {
    let (mut world, conn) = world(Limits::default());
    let id = open(&mut world, conn);
    let forget = ForgottenTopic::default().with_topic(name("a")).with_partitions(vec![0, 1, 2]);
    let last = fetch_request(&[("a", 1, 0)], 0, 0).with_forgotten_topics_data(vec![forget]);
    let answer = fetch(&mut world, conn, in_session(last, id, 1));
    assert_eq!((answer.error_code, answer.session_id, parts(&answer)), (0, 0, vec![1]));
    assert_eq!(world.node.fetch_sessions(), 0);
}

#[test]
fn f17_wrong_epochs_and_unknown_sessions_are_told_at_the_top() {
    let (mut world, conn) = world(Limits::default());
    let id = open(&mut world, conn);
    let cases = [
        (id, 5, ErrorCode::InvalidFetchSessionEpoch),
        (id ^ 1, 1, ErrorCode::FetchSessionIdNotFound),
        (0, 1, ErrorCode::FetchSessionIdNotFound),
    ];
    for (session, epoch, code) in cases {
        let refused = fetch(&mut world, conn, in_session(nothing(), session, epoch));
        assert_eq!((refused.error_code, refused.session_id, refused.responses.len()), (code.code(), 0, 0));
    }
    let closed = fetch(&mut world, conn, in_session(fetch_request(&[("a", 0, 0)], 0, 0), id, -1));
    assert_eq!((closed.error_code, closed.session_id, parts(&closed)), (0, 0, vec![0]));
    let gone = fetch(&mut world, conn, in_session(nothing(), id, 1));
    assert_eq!(gone.error_code, ErrorCode::FetchSessionIdNotFound.code());
    assert_eq!(world.node.fetch_sessions(), 0);
}

#[test]
fn f18_a_session_by_names_does_not_go_on_by_ids() {
    let (mut world, conn) = world(Limits::default());
    let id = open(&mut world, conn);
    let mut request = in_session(fetch_request(&[("a", 0, 0)], 0, 0), id, 1);
    request.topics[0].topic_id = Uuid::from_u128(7);
    let refused = fetch_response(world.ask(conn, 13, request));
    assert_eq!((refused.error_code, refused.session_id), (ErrorCode::FetchSessionTopicIdError.code(), 0));
}

#[test]
fn f19_at_the_limit_the_newcomer_goes_without_and_the_idle_one_gives_way() {
    let (mut world, conn) = world(Limits { fetch_sessions: 2, ..Limits::default() });
    let old = open(&mut world, conn);
    world.advance(60_000);
    let busy = open(&mut world, conn);
    assert_eq!(open(&mut world, conn), 0, "no room, and nobody is idle for long enough");
    world.advance(60_000);
    let new = open(&mut world, conn);
    assert!(new > 0);
    assert_eq!(world.node.fetch_sessions(), 2);
    let gone = fetch(&mut world, conn, in_session(nothing(), old, 1));
    assert_eq!(gone.error_code, ErrorCode::FetchSessionIdNotFound.code());
    assert_eq!(fetch(&mut world, conn, in_session(nothing(), busy, 1)).error_code, 0);
}

#[test]
fn f16_sessions_are_bounded_in_bytes_however_long_the_names() {
    let limits = Limits { fetch_session_bytes: 20_000, ..Limits::default() };
    let (mut world, conn) = world(limits);
    let id = open(&mut world, conn);
    let long = "x".repeat(5000);
    let mut codes = Vec::new();
    for epoch in 1..6 {
        let request = fetch_request(&[(&long, epoch, 0)], 0, 0);
        codes.push(fetch(&mut world, conn, in_session(request, id, epoch)).error_code);
    }
    let unknown = ErrorCode::FetchSessionIdNotFound.code();
    assert_eq!(codes, [0, 0, 0, unknown, unknown], "it ended where it grew over the limit");
    let many: Vec<(&str, i32, i64)> = (0..10).map(|n| (long.as_str(), n, 0)).collect();
    assert_eq!(fetch(&mut world, conn, in_session(fetch_request(&many, 0, 0), 0, 0)).session_id, 0);
    assert!(open(&mut world, conn) > 0, "what the others held is free again");
}
