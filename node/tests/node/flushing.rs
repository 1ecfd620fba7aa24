//! `flush.messages`, `flush.ms`, and changes of the durability while records wait.

use pyralog_node::{ConnId, Limits};

use crate::world::*;

const MEMORY: (&str, &str) = ("pyralog.durability", "memory");

fn with_log(configs: &[(&str, &str)]) -> (World, ConnId) {
    let mut world = World::new();
    world.create("a", 1, configs);
    let conn = world.connect();
    (world, conn)
}

fn put(world: &mut World, conn: ConnId) {
    world.send(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
}

fn put_large(world: &mut World, conn: ConnId) {
    world.send(conn, PRODUCE, produce_request("a", 0, -1, batch(&[b'v'; 400])));
}

fn acknowledged(world: &mut World, conn: ConnId) -> usize {
    world.deliver(conn);
    std::iter::from_fn(|| world.answer(conn)).filter(|(_, response)| produced(response.clone()).error_code == 0).count()
}

#[test]
fn flush_messages_1_makes_every_acknowledgement_wait_for_the_disk() {
    let (mut world, conn) = with_log(&[MEMORY, ("flush.messages", "1")]);
    put(&mut world, conn);
    assert_eq!(acknowledged(&mut world, conn), 0, "nothing is synced yet");
    world.settle();
    assert_eq!(acknowledged(&mut world, conn), 1);
    let mut world = world.crash(0);
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
}

#[test]
fn io_08_flush_messages_bounds_what_is_acknowledged_and_not_on_disk() {
    let (mut world, conn) = with_log(&[MEMORY, ("flush.messages", "3")]);
    for expected in [1, 1, 0, 0] {
        put(&mut world, conn);
        assert_eq!(acknowledged(&mut world, conn), expected);
    }
    assert_eq!(world.queued_syncs(), 1, "one sync, however many wait for it");
    world.settle();
    assert_eq!(acknowledged(&mut world, conn), 2, "the third had to wait, and the fourth with it");
    put(&mut world, conn);
    assert_eq!(acknowledged(&mut world, conn), 1);
    for seed in 0..4 {
        let (mut world, conn) = with_log(&[MEMORY, ("flush.messages", "3")]);
        let mut sent = 0;
        for _ in 0..8 {
            put(&mut world, conn);
            world.settle();
            sent += acknowledged(&mut world, conn);
        }
        assert_eq!(sent, 8);
        let kept = world.crash(seed).read("a", 0).unwrap().len();
        assert!(kept >= 8 - 2, "{kept} of 8 acknowledged records, seed {seed}");
    }
}

#[test]
fn flush_ms_syncs_in_time_and_an_idle_log_has_no_deadline() {
    let (mut world, conn) = with_log(&[MEMORY, ("flush.ms", "500")]);
    assert_eq!(world.node.next_due(), None);
    put(&mut world, conn);
    assert_eq!(acknowledged(&mut world, conn), 1, "nobody waits for it");
    put(&mut world, conn);
    world.advance(499);
    assert_eq!(world.queued_syncs(), 0);
    world.advance(1);
    assert_eq!(world.queued_syncs(), 1);
    assert_eq!(world.node.next_due(), None, "until something is appended");
    world.settle();
    let mut world = world.crash(0);
    assert_eq!(world.read("a", 0).unwrap().len(), 2);
}

#[test]
fn flush_ms_counts_for_what_is_appended_while_a_sync_runs() {
    let (mut world, conn) = with_log(&[MEMORY, ("flush.ms", "500")]);
    put(&mut world, conn);
    world.advance(500);
    assert!(world.begin_sync(0));
    put(&mut world, conn);
    world.advance(500);
    world.end_sync(0);
    assert_eq!(world.queued_syncs(), 1, "the one that ran had begun before the second record");
    world.settle();
    assert_eq!(world.crash(0).read("a", 0).unwrap().len(), 2);
}

#[test]
fn flush_ms_counts_for_what_a_process_before_this_one_appended() {
    let (mut world, conn) = with_log(&[MEMORY, ("flush.ms", "500")]);
    put(&mut world, conn);
    let mut world = world.kill();
    assert_eq!((world.read("a", 0).unwrap().len(), world.queued_syncs()), (1, 0));
    world.advance(500);
    world.settle();
    let mut world = world.crash(0);
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
    assert_eq!(world.kill().node.next_due(), None, "what is on disk needs no deadline");
}

#[test]
fn a_sealed_segment_is_synced_without_being_asked_for() {
    let (mut world, conn) = with_log(&[MEMORY, ("internal.segment.bytes", "200")]);
    for _ in 0..4 {
        put(&mut world, conn);
        world.settle();
    }
    let held = world.node.partitions()[0].with_log(|log, _| (log.segment_count(), log.open_files())).unwrap();
    assert_eq!(held, (2, 1), "and closed");
    let mut world = world.crash(0);
    assert!(world.read("a", 0).unwrap().len() >= 3);
}

#[test]
fn a_change_to_fsync_brings_to_disk_what_was_acknowledged_before() {
    let (mut world, conn) = with_log(&[MEMORY]);
    put(&mut world, conn);
    assert_eq!((acknowledged(&mut world, conn), world.queued_syncs()), (1, 0));
    world.alter(TOPIC, "a", &[("pyralog.durability", "fsync")]);
    assert_eq!(world.queued_syncs(), 1);
    put(&mut world, conn);
    assert_eq!(acknowledged(&mut world, conn), 0, "the next one waits");
    world.settle();
    assert_eq!(acknowledged(&mut world, conn), 1);
    assert_eq!(world.crash(0).read("a", 0).unwrap().len(), 2);
}

#[test]
fn a_change_to_memory_answers_who_waits_for_the_disk() {
    for journal_bytes in [0, 4096] {
        let limits = Limits { journal_bytes, ..Limits::default() };
        let mut world = World::with(&[], limits, Planted::Nothing);
        world.create("a", 1, &[]);
        let conn = world.connect();
        put(&mut world, conn);
        put(&mut world, conn);
        assert_eq!(acknowledged(&mut world, conn), 0);
        world.alter(TOPIC, "a", &[("pyralog.durability", "memory")]);
        assert_eq!(acknowledged(&mut world, conn), 2);
        world.settle();
        put(&mut world, conn);
        assert_eq!(acknowledged(&mut world, conn), 1);
        world.alter(TOPIC, "a", &[("pyralog.durability", "fsync")]);
        put(&mut world, conn);
        world.settle();
        assert_eq!(acknowledged(&mut world, conn), 1);
        assert_eq!(world.crash(0).read("a", 0).unwrap().len(), 4);
    }
}

#[test]
fn what_is_too_large_for_the_journal_asks_for_its_sync_at_once() {
    let limits = Limits { journal_bytes: 300, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    world.create("a", 1, &[]);
    let conn = world.connect();
    let waiting = |world: &World| (world.queued_commits(), world.queued_syncs());
    put(&mut world, conn);
    assert_eq!(waiting(&world), (1, 0), "a small one is for the journal");
    world.settle();
    assert_eq!(acknowledged(&mut world, conn), 1);
    put_large(&mut world, conn);
    assert_eq!(waiting(&world), (0, 1));
    assert!(world.begin_sync(0));
    put_large(&mut world, conn);
    put(&mut world, conn);
    assert_eq!(waiting(&world), (0, 0), "what comes while it runs shares the next one");
    world.end_sync(0);
    assert_eq!(acknowledged(&mut world, conn), 1);
    assert_eq!(waiting(&world), (0, 1));
    assert!(world.begin_sync(0));
    put(&mut world, conn);
    world.end_sync(0);
    assert_eq!(acknowledged(&mut world, conn), 2);
    assert_eq!(waiting(&world), (1, 0), "and a small one is for the journal again");
    world.settle();
    assert_eq!(acknowledged(&mut world, conn), 1);
    assert_eq!(world.crash(0).read("a", 0).unwrap().len(), 5);
}

#[test]
fn segments_follow_the_journal_once_much_is_only_there_and_nobody_waits_for_it() {
    let limits = Limits { journal_bytes: 4096, journal_flush_bytes: 700, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    world.create("a", 1, &[]);
    let conn = world.connect();
    let put_round = |world: &mut World| {
        put_large(world, conn);
        assert_eq!(world.commit_round(), 1);
        assert_eq!(acknowledged(world, conn), 1);
    };
    put_round(&mut world);
    assert_eq!(world.queued_syncs(), 0, "little is only there");
    put_round(&mut world);
    assert_eq!(world.queued_syncs(), 1);
    put_round(&mut world);
    assert_eq!(world.queued_syncs(), 1, "asked for once");
    assert!(world.begin_sync(0));
    put_round(&mut world);
    put_round(&mut world);
    assert_eq!(world.queued_syncs(), 0, "not while one runs");
    world.end_sync(0);
    put_round(&mut world);
    assert_eq!(world.queued_syncs(), 1, "but after it");
    assert_eq!(world.crash(0).read("a", 0).unwrap().len(), 6);
}

#[test]
fn more_goes_to_the_journal_while_it_need_not_wait() {
    let limits = Limits { journal_bytes: 300, journal_calm_bytes: 600, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    world.create("a", 1, &[]);
    let conn = world.connect();
    let mut waiting_after = |waits: bool, ms: u64| {
        if waits {
            world.node.journal_waits();
        }
        world.now.mono.0 += ms;
        put_large(&mut world, conn);
        let waiting = (world.queued_commits(), world.queued_syncs());
        world.settle();
        assert_eq!(acknowledged(&mut world, conn), 1);
        waiting
    };
    assert_eq!(waiting_after(false, 0), (1, 0));
    assert_eq!(waiting_after(true, 60), (0, 1), "segments are what it waits for");
    assert_eq!(waiting_after(false, 1_000), (0, 1));
    assert_eq!(waiting_after(false, 1_100), (1, 0));
    assert_eq!(world.crash(0).read("a", 0).unwrap().len(), 4);
}
