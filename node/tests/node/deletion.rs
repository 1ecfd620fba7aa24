//! Logs that are deleted, created again or grow while they are in use.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{CreatePartitionsRequest, DeleteRecordsRequest};
use pyralog_node::lifecycle::{DELETED, LOGS, ORPHAN, SetAside};
use pyralog_protocol::{Draw, ErrorCode, Response, kafka_protocol};
use pyralog_storage::Disk;
use pyralog_storage::sim::Faults;

use crate::world::*;

#[test]
fn f10_deletion_ends_waiting_fetches_and_waiting_produces() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    world.create("b", 1, &[]);
    let (reader, producer) = (world.connect(), world.connect());
    world.send(reader, FETCH, fetch_request(&[("b", 0, 0), ("a", 0, 0)], 60_000, 1));
    world.send(producer, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    assert!(world.begin_sync(0));
    let admin = world.connect();
    world.send(admin, 5, delete_request("a"));
    world.turn();
    world.deliver(reader);
    world.deliver(producer);
    let codes = |response| {
        let topics = fetch_response(response).responses;
        topics.iter().map(|t| t.partitions[0].error_code).collect::<Vec<_>>()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes(world.answer(reader).expect("the poll ends").1), [0, unknown]);
    assert_eq!(produced(world.answer(producer).expect("an answer").1).error_code, unknown);
    // The sync that was under way comes back to nobody.
    world.end_sync(0);
    world.settle();
    assert!(world.ids(producer).is_empty());
    assert_eq!(world.queued_syncs(), 0);
}

#[test]
fn records_of_a_partition_are_deleted_once_however_often_a_request_names_it() {
    let mut world = World::new();
    world.create("a", 2, &[]);
    let conn = world.connect();
    for index in [0, 0, 0, 1] {
        world.ask(conn, PRODUCE, produce_request("a", index, -1, batch(b"v")));
    }
    let ask = |world: &mut World, asked: &[(i32, i64)]| {
        let before = world.disk.counters().syncs;
        // Each in a topic of its own: they may be named twice as well.
        let topics = asked.iter().map(|(index, offset)| {
            let part = DeleteRecordsPartition::default().with_partition_index(*index).with_offset(*offset);
            DeleteRecordsTopic::default().with_name(name("a")).with_partitions(vec![part])
        });
        let request = DeleteRecordsRequest::default().with_topics(topics.collect());
        let Response::DeleteRecords(answer) = world.ask(conn, 2, request) else { panic!() };
        let parts = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let low = parts.map(|part| (part.partition_index, part.low_watermark, part.error_code)).collect::<Vec<_>>();
        (low, world.disk.counters().syncs - before)
    };
    let (_, syncs) = ask(&mut world, &[(1, 1)]);
    let many: Vec<(i32, i64)> = (0..100).map(|_| (0, 3)).chain([(7, 0), (0, 2)]).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(ask(&mut world, &many), (vec![(0, 2, 0), (7, -1, unknown)], syncs), "by the last offset that was named");
}

#[test]
fn a_view_serves_without_partitions_and_goes_with_its_log() {
    let mut world = World::new();
    assert_eq!(world.create("a", 2, &[("vlsn.enable", "true")]), ErrorCode::None);
    let partitions = |world: &World| {
        let topology = world.node.topology();
        topology.by_name("a.vlsn").map(|view| (view.log.is_view(), view.partitions.len()))
    };
    assert_eq!(partitions(&world), Some((true, 0)));
    assert_eq!(world.disk.list(LOGS).unwrap(), ["a-0", "a-1"]);
    let mut world = world.kill();
    assert_eq!(world.problems, [""; 0]);
    assert_eq!(partitions(&world), Some((true, 0)));
    world.delete("a");
    assert_eq!(partitions(&world), None);
}

#[test]
fn rl_22_a_log_deleted_and_created_in_one_turn_keeps_the_new_one() {
    let mut world = World::new();
    world.create("a", 2, &[]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"old")));
    let (one, other) = (world.connect(), world.connect());
    world.send(one, 5, delete_request("a"));
    world.send(other, 5, create_request("a", 1, &[]));
    world.turn();
    world.settle();
    world.remove_graves();
    let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"new"))));
    assert_eq!((part.error_code, part.base_offset), (0, 0));
    let names = world.disk.list(LOGS).unwrap();
    assert!(names.iter().all(|n| !n.ends_with(DELETED) && !n.ends_with(ORPHAN)), "{names:?}");
    let mut world = world.crash(1);
    assert_eq!(world.problems, [""; 0]);
    let values: Vec<_> = world.read("a", 0).unwrap().into_values().collect();
    assert_eq!(values, [b"new"]);
}

#[test]
fn io_06_recovery_points_of_a_deleted_log_mean_nothing_to_its_successor() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    for _ in 0..10 {
        world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"old")));
    }
    world.checkpoint();
    world.delete("a");
    world.create("a", 1, &[]);
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"new")));
    // The checkpoint still speaks of ten records.
    let mut world = world.crash(0);
    assert_eq!(world.problems, [""; 0]);
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
}

#[test]
fn m20_partitions_that_are_added_serve_beside_those_in_use() {
    for seed in 0..50 {
        let mut world = World::new();
        world.create("a", 1, &[]);
        let (producer, reader, admin) = (world.connect(), world.connect(), world.connect());
        for _ in 0..3 {
            world.push(producer, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
        }
        world.push(reader, FETCH, fetch_request(&[("a", 0, 0)], 60_000, 1));
        let more = CreatePartitionsTopic::default().with_name(name("a")).with_count(4).with_assignments(None);
        let grow = CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(1000);
        world.push(admin, 3, grow);
        let mut draw = Draw::new(seed);
        while world.step(&mut draw) {}
        assert_eq!(world.ids(producer).len(), 3);
        assert_eq!(world.ids(reader).len(), 1);
        assert_eq!(world.ids(admin).len(), 1);
        for partition in 0..4 {
            let part = produced(world.ask(producer, PRODUCE, produce_request("a", partition, -1, batch(b"w"))));
            assert_eq!(part.error_code, 0, "partition {partition}");
        }
    }
}

#[test]
fn m20_whoever_is_told_of_a_log_finds_it_serving() {
    for seed in 0..100 {
        let mut world = World::new();
        let mut draw = Draw::new(seed);
        let (admin, client) = (world.connect(), world.connect());
        world.push(admin, 5, create_request("a", 2, &[]));
        loop {
            let more = world.step(&mut draw);
            if world.answer(admin).is_some() {
                break;
            }
            assert!(more, "the creation was never answered");
        }
        world.send(client, PRODUCE, produce_request("a", 1, -1, batch(b"v")));
        world.settle();
        assert_eq!(produced(world.answer(client).unwrap().1).error_code, 0, "seed {seed}");
    }
}

#[test]
fn rl_23_a_log_that_was_answered_for_is_there_after_a_crash() {
    for seed in 0..60 {
        let mut world = World::new();
        world.create("a", 2, &[]);
        world.create("gone", 1, &[]);
        world.delete("gone");
        if seed % 2 == 0 {
            world.remove_graves();
        }
        let mut world = world.crash(seed);
        assert_eq!(world.problems, [""; 0]);
        assert_eq!(world.read("a", 1).unwrap().len(), 0);
        assert_eq!(world.read("gone", 0), Err(ErrorCode::UnknownTopicOrPartition.code()));
        assert_eq!(world.create("gone", 1, &[]), ErrorCode::None);
        assert_eq!(world.read("gone", 0).unwrap().len(), 0);
    }
}

#[test]
fn rl_16_a_folder_in_the_way_of_a_new_log_is_kept_under_another_name_and_told() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"old")));
    let topic = world.node.partitions()[0].topic;
    world.delete("a");
    let grave = world.graves.pop().unwrap();
    world.disk.rename(&grave, "logs/a-0").unwrap();
    world.create("a", 1, &[]);
    let kept = format!("{LOGS}/{topic}-0{ORPHAN}");
    assert_eq!(world.aside, [SetAside { dir: "logs/a-0".into(), aside: kept.clone() }]);
    assert!(world.disk.list(&kept).unwrap().iter().any(|name| name.ends_with(".log")));
    assert_eq!(world.read("a", 0).unwrap().len(), 0);
}

/// Longest wait of whatever is done while a late creation is at work, for it to finish.
const PATIENCE: Duration = Duration::from_millis(300);

/// A log that could not be created is being created late, and `meanwhile` happens when its folder is there and not durable
/// yet: all of it, unless it waits for the creation.
#[expect(clippy::disallowed_methods, reason = "it plays the threads of the shell")]
fn while_created_late(mut world: World, meanwhile: impl FnOnce(&mut World)) -> World {
    world.disk.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    world.create("a", 1, &[]);
    world.disk.set_faults(Faults::default());
    let (node, disk, now) = (Arc::clone(&world.node), Arc::clone(&world.disk), world.now);
    let gate = disk.hold_next_sync_of(LOGS);
    let late = thread::spawn(move || node.create_late(&disk, now));
    gate.wait();
    let (done, is_done) = mpsc::channel::<()>();
    let opener = thread::spawn(move || {
        let _ = is_done.recv_timeout(PATIENCE);
        gate.wait();
    });
    meanwhile(&mut world);
    drop(done);
    opener.join().unwrap();
    late.join().unwrap();
    world
}

#[test]
fn rl_16_a_late_creation_leaves_a_newer_log_of_the_same_name_alone() {
    let mut world = while_created_late(World::new(), |world| {
        world.delete("a");
        world.create("a", 1, &[]);
        let conn = world.connect();
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"precious"))));
        assert_eq!((part.error_code, part.base_offset), (0, 0));
    });
    let names = world.disk.list(LOGS).unwrap();
    assert!(names.iter().any(|name| name == "a-0") && names.iter().all(|n| !n.ends_with(ORPHAN)), "{names:?}");
    world.remove_graves();
    let mut world = world.kill();
    assert_eq!(world.problems, [""; 0]);
    assert_eq!(world.read("a", 0).unwrap().into_values().collect::<Vec<_>>(), [b"precious"]);
}

#[test]
fn a_log_that_is_created_late_has_the_configs_that_came_meanwhile() {
    let world = World::new();
    let mut world = while_created_late(world, |world| world.alter(TOPIC, "a", &[("segment.bytes", "1048576")]));
    let conn = world.connect();
    for _ in 0..3 {
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[0; 900_000]))));
        assert_eq!(part.error_code, 0);
    }
    let names = world.disk.list("logs/a-0").unwrap();
    assert_eq!(names.iter().filter(|name| name.ends_with(".log")).count(), 3, "{names:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it plays the threads of the shell")]
fn l09_a_partition_serves_while_the_new_start_of_its_log_goes_to_disk() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    for value in [b"1", b"2"] {
        world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(value)));
    }
    let gate = world.disk.hold_next_sync_of("logs/a-0");
    let partition = world.node.partitions().remove(0);
    let meanwhile = thread::spawn(move || {
        gate.wait();
        let (served, is_served) = mpsc::channel();
        let reader = thread::spawn(move || served.send(partition.bounds().is_ok()));
        let served = is_served.recv_timeout(Duration::from_secs(60));
        gate.wait();
        reader.join().unwrap().unwrap();
        served
    });
    let part = DeleteRecordsPartition::default().with_partition_index(0).with_offset(1);
    let topic = DeleteRecordsTopic::default().with_name(name("a")).with_partitions(vec![part]);
    let Response::DeleteRecords(deleted) = world.ask(conn, 2, DeleteRecordsRequest::default().with_topics(vec![topic]))
    else {
        panic!("another answer")
    };
    assert_eq!((deleted.topics[0].partitions[0].error_code, deleted.topics[0].partitions[0].low_watermark), (0, 1));
    assert_eq!(meanwhile.join().unwrap(), Ok(true));
}
