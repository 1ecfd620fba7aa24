//! Power loss at any moment of a busy node: what was acknowledged is there again, once where it is idempotent, at its
//! offset; no committed offset goes back. The checks are trusted because they catch planted bugs.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{GroupId, InitProducerIdRequest, OffsetCommitRequest, OffsetFetchRequest, ProducerId};
use kafka_protocol::protocol::StrBytes;
use pyralog_node::{ConnId, Limits};
use pyralog_protocol::{Draw, Response, kafka_protocol};
use pyralog_storage::sim::Faults;

use crate::world::*;

const PARTITIONS: i32 = 2;

/// Every other seed runs with a journal, and some of them with one that many commits do not fit. In a third of them every append is
/// left to somebody else, and in a third a thread appends little for others. With a journal, segments follow it after a few
/// appends, and in some seeds more goes there until it has to wait for them.
fn limits(seed: u64) -> Limits {
    let journal_bytes = [0, 3000, 0, 300].get((seed % 4) as usize).copied().unwrap_or_default();
    let journal_calm_bytes = [0, 1200].get((seed % 5) as usize).copied().unwrap_or_default();
    let journal_flush_bytes = [u64::MAX, 400].get((seed % 2) as usize).copied().unwrap_or_default();
    let append_turn_bytes = [256 << 10, 0, 150].get((seed % 3) as usize).copied().unwrap_or_default();
    Limits {
        journal_bytes,
        journal_calm_bytes,
        journal_flush_bytes,
        append_turn_bytes,
        append_leave_bytes: 0,
        ..Limits::default()
    }
}

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Value and offset of each acknowledged record, by partition.
    records: Vec<(i32, i64, Vec<u8>)>,
    committed: i64,
    /// Idempotent values that were sent, and whether they were answered.
    sequence: i32,
    logs: Vec<String>,
}

enum Asked {
    Record(i32, Vec<u8>),
    Commit(i64),
    Log(String),
}

fn commit(offset: i64) -> OffsetCommitRequest {
    let part = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_leader_epoch(-1)
        .with_committed_metadata(Some(StrBytes::from_static_str("")));
    let topic = OffsetCommitRequestTopic::default().with_name(name("a")).with_partitions(vec![part]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

fn committed(world: &mut World) -> i64 {
    let topic = OffsetFetchRequestTopic::default().with_name(name("a")).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("g")))
        .with_topics(Some(vec![topic]));
    let conn = world.connect();
    let Response::OffsetFetch(response) = world.ask(conn, 7, request) else { panic!() };
    world.disconnect(conn);
    response.topics[0].partitions[0].committed_offset
}

/// Hands the next requests in, in a drawn order, and notes the answers that leave.
struct Clients {
    conns: Vec<ConnId>,
    asked: BTreeMap<i32, Asked>,
    number: u32,
}

impl Clients {
    fn ask_something(&mut self, world: &mut World, known: &mut Known, draw: &mut Draw) {
        let conn = self.conns[(draw.next_u64() % 3) as usize];
        let partition = (draw.next_u64() % PARTITIONS as u64) as i32;
        self.number += 1;
        let value = format!("{}", self.number).into_bytes();
        let (id, asked) = match draw.next_u64() % 8 {
            0 | 1 => {
                let offset = i64::from(self.number);
                (world.push(self.conns[3], 8, commit(offset)), Asked::Commit(offset))
            }
            2 => {
                let log = format!("log-{}", self.number);
                (world.push(self.conns[4], 5, create_request(&log, 1, &[])), Asked::Log(log))
            }
            3 | 4 => {
                let records = sequenced(1_000, known.sequence, &value);
                known.sequence += 1;
                let request = produce_request("a", 0, -1, records);
                (world.push(self.conns[5], PRODUCE, request), Asked::Record(0, value))
            }
            _ => {
                let request = produce_request("a", partition, -1, batch(&value));
                (world.push(conn, PRODUCE, request), Asked::Record(partition, value))
            }
        };
        self.asked.insert(id, asked);
    }

    fn hear(&mut self, world: &mut World, known: &mut Known) {
        for conn in self.conns.clone() {
            while let Some((id, response)) = world.answer(conn) {
                match (self.asked.remove(&id), response) {
                    (Some(Asked::Record(partition, value)), response @ Response::Produce(_)) => {
                        let part = produced(response);
                        if part.error_code == 0 {
                            known.records.push((partition, part.base_offset, value));
                        }
                    }
                    (Some(Asked::Commit(offset)), Response::OffsetCommit(r)) => {
                        if r.topics[0].partitions[0].error_code == 0 {
                            known.committed = known.committed.max(offset);
                        }
                    }
                    (Some(Asked::Log(log)), Response::CreateTopics(r)) => {
                        if r.topics[0].error_code == 0 {
                            known.logs.push(log);
                        }
                    }
                    (_, response) => panic!("not what was asked: {response:?}"),
                }
            }
        }
    }
}

/// Runs a node under load, takes its power away at some moment, several times; says what is wrong afterwards.
fn run(seed: u64, planted: Planted, kill_only: bool) -> Result<(), String> {
    let mut draw = Draw::new(u128::from(seed) << 32 | 0xc4a5);
    let mut world = World::with(&[], limits(seed), planted);
    world.create("a", PARTITIONS, &[]);
    let mut known = Known { committed: -1, ..Known::default() };
    let mut number = 0;
    for round in 0..3 {
        let conns = (0..6).map(|_| world.connect()).collect();
        let mut clients = Clients { conns, asked: BTreeMap::new(), number };
        let steps = draw.next_u64() % 120;
        for _ in 0..steps {
            if draw.next_u64().is_multiple_of(3) {
                clients.ask_something(&mut world, &mut known, &mut draw);
            }
            world.step(&mut draw);
            clients.hear(&mut world, &mut known);
            if draw.next_u64().is_multiple_of(40) {
                world.checkpoint();
            }
        }
        number = clients.number;
        // An idempotent producer that heard nothing sends again from where it was; here it simply begins anew.
        known.sequence = 0;
        world = if kill_only { world.kill() } else { world.crash(draw.next_u64()) };
        check(&mut world, &known).map_err(|e| format!("seed {seed}, round {round}: {e}"))?;
        if known.sequence == 0 {
            known.sequence = next_sequence(&mut world);
        }
    }
    Ok(())
}

/// The first sequence that the log of partition 0 takes from our idempotent producer.
fn next_sequence(world: &mut World) -> i32 {
    let partitions = world.node.partitions();
    let first = partitions.iter().find(|p| p.dir == "logs/a-0").unwrap();
    let last = first.with_log(|log, _| log.producers().map(|p| p.last_sequence).next()).unwrap();
    last.map_or(0, |last| last + 1)
}

fn check(world: &mut World, known: &Known) -> Result<(), String> {
    if !world.problems.is_empty() {
        return Err(format!("{:?}", world.problems));
    }
    let mut logs = Vec::new();
    for partition in 0..PARTITIONS {
        let log = world.read("a", partition).map_err(|code| format!("a-{partition}: error {code}"))?;
        let mut values: Vec<_> = log.values().collect();
        let all = values.len();
        values.sort();
        values.dedup();
        if values.len() < all {
            return Err("a record is there twice".into());
        }
        logs.push(log);
    }
    for (partition, offset, value) in &known.records {
        if logs[*partition as usize].get(offset) != Some(value) {
            return Err(format!("a-{partition} lost its acknowledged record at {offset}"));
        }
    }
    let found = committed(world);
    if found < known.committed {
        return Err(format!("the committed offset went back from {} to {found}", known.committed));
    }
    for log in &known.logs {
        world.read(log, 0).map_err(|code| format!("{log} was created, now error {code}"))?;
    }
    Ok(())
}

#[test]
fn io_04_power_loss_at_any_moment_loses_nothing_acknowledged_in_1000_seeds() {
    for seed in 0..1000 {
        run(seed, Planted::Nothing, false).unwrap();
    }
}

#[test]
fn rl_18_the_end_of_the_process_at_any_moment_loses_nothing() {
    for seed in 0..200 {
        run(seed, Planted::Nothing, true).unwrap();
    }
}

#[test]
#[ignore = "as long as wanted: tools/schedules"]
fn many_schedules() {
    for seed in asked_seeds() {
        for killed in [false, true] {
            run(seed, Planted::Nothing, killed).unwrap();
        }
    }
}

#[test]
fn io_08_a_planted_acknowledgement_before_its_sync_is_caught() {
    assert!((0..50).any(|n| run(n * 2, Planted::AcknowledgeBeforeSync, false).is_err()));
    assert!((0..50).any(|n| run(n * 2 + 1, Planted::AcknowledgeBeforeSync, false).is_err()), "nor by the journal");
}

#[test]
fn gr_08_a_planted_reply_before_its_commit_is_caught() {
    assert!((0..50).any(|seed| run(seed, Planted::ReplyBeforeCommit, false).is_err()));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let trace = |seed| {
        let mut draw = Draw::new(seed);
        let mut world = World::new();
        world.create("a", PARTITIONS, &[]);
        let conns = (0..6).map(|_| world.connect()).collect();
        let (mut clients, mut known) = (Clients { conns, asked: BTreeMap::new(), number: 0 }, Known::default());
        for _ in 0..100 {
            clients.ask_something(&mut world, &mut known, &mut draw);
            world.step(&mut draw);
            clients.hear(&mut world, &mut known);
        }
        (world.disk.counters(), world.disk.paths(), known.records, known.logs, known.committed)
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn id_01_a_batch_whose_answer_was_lost_in_a_crash_is_there_once_after_it_is_sent_again() {
    for seed in 0..300 {
        let mut draw = Draw::new(u128::from(seed));
        let mut world = World::new();
        world.create("a", 1, &[]);
        let conn = world.connect();
        for sequence in 0..8 {
            world.push(conn, PRODUCE, produce_request("a", 0, -1, sequenced(7, sequence, &[sequence as u8])));
        }
        for _ in 0..draw.next_u64() % 40 {
            world.step(&mut draw);
        }
        let mut acknowledged = BTreeMap::new();
        while let Some((_, response)) = world.answer(conn) {
            let part = produced(response);
            assert_eq!(part.error_code, 0);
            acknowledged.insert(acknowledged.len(), part.base_offset);
        }
        let mut world = world.crash(seed);
        let conn = world.connect();
        // Five may be in flight (P, I5): everything from the last acknowledged one back is never sent again.
        let first = acknowledged.len().saturating_sub(1) as i32;
        for sequence in first..8 {
            let part = produced(world.ask(
                conn,
                PRODUCE,
                produce_request("a", 0, -1, sequenced(7, sequence, &[sequence as u8])),
            ));
            let there = world.read("a", 0).unwrap().len() as i32;
            // More than five ahead of what is sent again, the log has forgotten that it knows the batch (I6).
            if part.error_code != 0 {
                assert!(there - sequence > 5, "seed {seed}, sequence {sequence}, {there} there");
                continue;
            }
            assert_eq!(part.base_offset, i64::from(sequence), "seed {seed}");
        }
        let values: Vec<_> = world.read("a", 0).unwrap().into_values().collect();
        assert_eq!(values, (0..8).map(|n| vec![n]).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn id_11_no_producer_id_is_handed_out_twice() {
    for seed in 0..50 {
        let mut draw = Draw::new(u128::from(seed));
        let mut world = World::new();
        let mut ids = Vec::new();
        for round in 0..4 {
            let conns: Vec<_> = (0..3).map(|_| world.connect()).collect();
            for conn in &conns {
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(None)
                    .with_producer_id(ProducerId(-1))
                    .with_producer_epoch(-1);
                world.push(*conn, 4, request);
            }
            for _ in 0..draw.next_u64() % 10 {
                world.step(&mut draw);
            }
            for conn in conns {
                if let Some((_, Response::InitProducerId(r))) = world.answer(conn) {
                    assert_eq!(r.error_code, 0);
                    ids.push(r.producer_id.0);
                }
            }
            world = world.crash(seed * 10 + round);
        }
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "seed {seed}");
    }
}

#[test]
fn io_01_sync_failures_under_load_lose_nothing_acknowledged() {
    for seed in 0..200 {
        let mut draw = Draw::new(u128::from(seed));
        let mut world = World::with(&[], limits(seed), Planted::Nothing);
        world.create("a", PARTITIONS, &[]);
        let conns = (0..6).map(|_| world.connect()).collect();
        let mut clients = Clients { conns, asked: BTreeMap::new(), number: 0 };
        let mut known = Known { committed: -1, ..Known::default() };
        let nth = world.disk.counters().syncs + 1 + draw.next_u64() % 12;
        world.disk.set_faults(Faults { fail_sync: Some(nth), ..Faults::default() });
        for _ in 0..120 {
            clients.ask_something(&mut world, &mut known, &mut draw);
            world.step(&mut draw);
            clients.hear(&mut world, &mut known);
        }
        while world.step(&mut draw) {}
        clients.hear(&mut world, &mut known);
        assert!(clients.asked.is_empty(), "seed {seed}: {} requests without an answer", clients.asked.len());
        assert_eq!(world.disk.syncs_after_failure(), 0);
        let mut world = world.crash(seed);
        check(&mut world, &known).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}
