//! Appends that are left to another thread: all are answered, and those of one connection stay in order.

use std::collections::BTreeMap;

use pyralog_node::{ConnId, Limits};
use pyralog_protocol::batch::{BatchBuilder, BatchHeader, NewRecord};
use pyralog_protocol::{Draw, ErrorCode};

use crate::world::*;

const CONNECTIONS: i64 = 4;

/// Idempotent writers, each with a connection of its own and everything in flight at once: what comes out of order is refused. Now
/// and then one is silent, and does not leave its batch to anybody. Gives what is wrong.
fn run(seed: u64, planted: Planted) -> Result<(), String> {
    let mut draw = Draw::new(u128::from(seed) << 64 | 0xa99e);
    let journal_bytes = [0, 3000][(seed % 2) as usize];
    let append_turn_bytes = [0, 1, 400][(seed % 3) as usize];
    let durability = ["fsync", "memory"][(seed % 5 % 2) as usize];
    // Some batches are small enough to wait.
    let append_leave_bytes = [0, 86][(seed % 7 % 2) as usize];
    let journal_bytes = if seed % 11 == 1 { 200 } else { journal_bytes };
    let limits = Limits { journal_bytes, append_turn_bytes, append_leave_bytes, ..Limits::default() };
    let mut world = World::with(&[], limits, planted);
    world.create("a", 2, &[("pyralog.durability", durability)]);
    let conns: Vec<ConnId> = (0..CONNECTIONS).map(|_| world.connect()).collect();
    let mut asked: BTreeMap<ConnId, Vec<i32>> = BTreeMap::new();
    let mut sequences = BTreeMap::new();
    for number in 0..40 {
        let writer = (draw.next_u64() % CONNECTIONS as u64) as usize;
        let partition = (draw.next_u64() % 2) as i32;
        let silent = draw.next_u64().is_multiple_of(5);
        let sequence = sequences.entry((writer, partition)).or_insert(0);
        let records = sequenced(1_000 + writer as i64, *sequence, format!("{writer} {number}").as_bytes());
        *sequence += 1;
        let acks = if silent { 0 } else { -1 };
        let id = world.push(conns[writer], PRODUCE, produce_request("a", partition, acks, records));
        if !silent {
            asked.entry(conns[writer]).or_default().push(id);
        }
        if draw.next_u64().is_multiple_of(2) {
            world.step(&mut draw);
        }
    }
    while world.step(&mut draw) {}
    if world.node.kept_for_journal() > 0 {
        return Err(format!("{} bytes wait for the journal, and everything is over", world.node.kept_for_journal()));
    }
    for (conn, asked) in asked {
        for id in asked {
            let (answered, response) = world.answer(conn).ok_or(format!("request {id} is not answered"))?;
            let code = produced(response).error_code;
            if (answered, code) != (id, 0) {
                return Err(format!("request {id}: answer to {answered}, error {code}"));
            }
        }
    }
    let written: i32 = sequences.values().sum();
    let found =
        world.read("a", 0).map_err(|c| c.to_string())?.len() + world.read("a", 1).map_err(|c| c.to_string())?.len();
    if found == written as usize { Ok(()) } else { Err(format!("{found} of {written} records")) }
}

#[test]
fn appends_that_were_left_are_all_answered_and_stay_in_order() {
    for seed in 0..600 {
        run(seed, Planted::Nothing).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

#[test]
fn an_append_that_nobody_goes_on_with_is_noticed() {
    assert!((0..20).any(|seed| run(seed, Planted::ForgetAppends).is_err()));
}

#[test]
fn append_times_do_not_fall_where_the_clock_was_read_in_another_order() {
    let mut world = World::new();
    world.create("a", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let conn = world.connect();
    let begin = world.now.wall.0;
    let told = [0, 3, 10_000, -1, 0, 10_001, 10_000].map(|back_ms| {
        world.now.wall.0 = begin - back_ms;
        let answer = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v"))));
        answer.log_append_time_ms - begin
    });
    assert_eq!(told, [0, 0, 0, 1, 1, -10_001, -10_000], "a clock that was set back is followed");
    let records = fetched(world.ask(conn, FETCH, fetch_request(&[("a", 0, 0)], 0, 0))).records.unwrap();
    let mut rest = &records[..];
    let stored = told.map(|_| {
        let header = BatchHeader::parse(rest).unwrap();
        header.verify_crc(rest).unwrap();
        rest = &rest[header.total_size()..];
        header.max_timestamp - begin
    });
    assert_eq!(stored, told);
}

#[test]
fn id_15_an_append_that_was_left_is_refused_once_the_pause_of_its_log_is_confirmed() {
    for (how, code) in [("retriable", ErrorCode::NotEnoughReplicas), ("fatal", ErrorCode::PolicyViolation)] {
        let limits = Limits { append_turn_bytes: 0, append_leave_bytes: 0, ..Limits::default() };
        let mut world = World::with(&[], limits, Planted::Nothing);
        world.create("a", 1, &[]);
        let conn = world.connect();
        let id = world.send(conn, PRODUCE, produce_request("a", 0, -1, batch(b"late")));
        world.alter(TOPIC, "a", &[("pyralog.paused", "true"), ("pyralog.paused.error", how)]);
        world.settle();
        let (answered, response) = world.answer(conn).unwrap();
        let part = produced(response);
        assert_eq!((answered, part.error_code, part.base_offset), (id, code.code(), -1));
        assert!(part.error_message.is_some_and(|why| why.contains("pyralog.paused")));
        assert_eq!(world.read("a", 0).unwrap().len(), 0);
        world.alter(TOPIC, "a", &[("pyralog.paused", "false")]);
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"again"))));
        assert_eq!((part.error_code, part.base_offset), (0, 0));
    }
}

/// Compaction takes records without keys: none may be acknowledged once the log is a compacted one.
#[test]
fn p23_an_append_that_was_left_without_keys_is_refused_once_its_log_is_compacted() {
    let limits = Limits { append_turn_bytes: 0, append_leave_bytes: 0, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    let keyless = BatchBuilder::new().record(NewRecord { value: Some(b"v"), ..NewRecord::default() });
    let keyless = keyless.build().unwrap().freeze();
    for (log, records, again) in [("a", keyless, ErrorCode::InvalidRecord), ("b", batch(b"v"), ErrorCode::None)] {
        world.create(log, 1, &[]);
        let conn = world.connect();
        let id = world.send(conn, PRODUCE, produce_request(log, 0, -1, records.clone()));
        world.alter(TOPIC, log, &[("cleanup.policy", "compact")]);
        world.settle();
        let (answered, response) = world.answer(conn).unwrap();
        let part = produced(response);
        // Clients send it again.
        assert_eq!((answered, part.error_code), (id, ErrorCode::NotLeaderOrFollower.code()));
        assert!(part.error_message.is_some_and(|why| why.contains("cleanup.policy")));
        assert_eq!(world.read(log, 0).unwrap().len(), 0);
        let part = produced(world.ask(conn, PRODUCE, produce_request(log, 0, -1, records)));
        assert_eq!(part.error_code, again.code());
    }
}
