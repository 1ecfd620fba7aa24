//! Disks that fail, and what each durability promises.

use std::net::{IpAddr, Ipv4Addr};

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, ConsumerGroupHeartbeatRequest, CreatePartitionsRequest, GroupId, InitProducerIdRequest, JoinGroupRequest,
    ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::StrBytes;
use pyralog_node::outputs::Outputs;
use pyralog_node::room::Room;
use pyralog_node::vlsn::Point;
use pyralog_node::{ConnId, Connection, Limits};
use pyralog_protocol::batch::BatchBuilder;
use pyralog_protocol::vlsn::messages::{VlsnCommitEntry, VlsnCommitRequest, VlsnReadRequest};
use pyralog_protocol::{Draw, ErrorCode, LogOffset, Response, Vlsn, kafka_protocol};
use pyralog_storage::sim::Faults;
use pyralog_storage::{Disk, Inodes, Space};

use crate::world::*;

const STORAGE: i16 = ErrorCode::KafkaStorageError.code();

#[test]
fn io_01_after_a_failed_sync_nothing_is_acknowledged_and_nothing_synced_again() {
    for nth in 1..8 {
        let mut world = World::new();
        world.create("bad", 1, &[]);
        world.create("good", 1, &[]);
        let (producer, reader) = (world.connect(), world.connect());
        world.disk.set_faults(Faults { fail_sync: Some(world.disk.counters().syncs + nth), ..Faults::default() });
        let mut acknowledged = Vec::new();
        let mut failed = false;
        for number in 0..10 {
            let value = format!("{number}").into_bytes();
            let part = produced(world.ask(producer, PRODUCE, produce_request("bad", 0, -1, batch(&value))));
            match part.error_code {
                0 => {
                    assert!(!failed, "acknowledged after the failed sync {nth}");
                    acknowledged.push((part.base_offset, value));
                }
                code => {
                    assert_eq!(code, STORAGE);
                    failed = true;
                }
            }
        }
        assert!(failed);
        assert_eq!(world.disk.syncs_after_failure(), 0, "a second sync (nth {nth})");
        assert_eq!(world.read("bad", 0), Err(STORAGE));
        let part = produced(world.ask(reader, PRODUCE, produce_request("good", 0, -1, batch(b"v"))));
        assert_eq!(part.error_code, 0, "other partitions serve");
        let mut world = world.crash(nth);
        let kept = world.read("bad", 0).unwrap();
        for (offset, value) in acknowledged {
            assert_eq!(kept.get(&offset), Some(&value), "nth {nth}");
        }
    }
}

#[test]
fn io_01_who_waits_for_a_sync_that_fails_is_told_and_a_waiting_fetch_ends() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let (producer, reader) = (world.connect(), world.connect());
    world.send(reader, FETCH, fetch_request(&[("a", 0, 0)], 60_000, 1));
    world.send(producer, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    world.send(producer, PRODUCE, produce_request("a", 0, 1, batch(b"w")));
    world.disk.set_faults(Faults { fail_sync: Some(world.disk.counters().syncs + 1), ..Faults::default() });
    world.settle();
    for _ in 0..2 {
        assert_eq!(produced(world.answer(producer).unwrap().1).error_code, STORAGE);
    }
    assert_eq!(fetched(world.answer(reader).unwrap().1).error_code, STORAGE);
}

#[test]
fn io_01_a_log_that_fails_in_retention_answers_who_waits_for_its_sync() {
    let mut world = World::new();
    world.create("a", 1, &[("retention.bytes", "1"), ("segment.bytes", "1048576")]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[0; 900_000])));
    world.send(conn, PRODUCE, produce_request("a", 0, -1, batch(&[1; 900_000])));
    assert_eq!(world.queued_syncs(), 1);
    // The sync has not begun when retention fails to write the log start.
    world.disk.set_faults(Faults { fail_sync: Some(world.disk.counters().syncs + 1), ..Faults::default() });
    let mut out = pyralog_node::Outputs::default();
    let (_, problems) = world.node.enforce_retention(world.now, &mut out);
    assert!(!problems.is_empty(), "retention was to fail here");
    world.take(out);
    world.settle();
    assert_eq!(produced(world.answer(conn).expect("an answer").1).error_code, STORAGE);
}

#[test]
fn io_08_fsync_keeps_what_it_acknowledged_and_memory_what_was_written_back() {
    for seed in 0..50 {
        let mut world = World::new();
        world.create("safe", 1, &[]);
        world.create("fast", 1, &[("pyralog.durability", "memory")]);
        let conn = world.connect();
        for topic in ["safe", "fast"] {
            assert_eq!(produced(world.ask(conn, PRODUCE, produce_request(topic, 0, -1, batch(b"1")))).error_code, 0);
        }
        // A checkpoint writes back what nobody waits for.
        world.checkpoint();
        world.settle();
        world.checkpoint();
        world.settle();
        let syncs = world.disk.counters().syncs;
        assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("fast", 0, -1, batch(b"2")))).error_code, 0);
        assert_eq!(world.disk.counters().syncs, syncs, "memory waits for no sync");
        assert_eq!(world.read("fast", 0).unwrap().len(), 2, "and is readable at once");
        let mut world = world.crash(seed);
        assert_eq!(world.problems, [""; 0]);
        assert_eq!(world.read("safe", 0).unwrap().len(), 1);
        let kept = world.read("fast", 0).unwrap();
        assert_eq!(kept.get(&0).map(Vec::as_slice), Some(&b"1"[..]), "written back long ago, seed {seed}");
    }
}

#[test]
fn io_08_memory_survives_the_process() {
    let mut world = World::new();
    world.create("fast", 1, &[("pyralog.durability", "memory")]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("fast", 0, -1, batch(b"1")));
    let mut world = world.kill();
    assert_eq!(world.read("fast", 0).unwrap().len(), 1);
}

#[test]
fn io_02_memory_does_not_collect_unsynced_files_for_ever() {
    let mut world = World::new();
    let config = [("pyralog.durability", "memory"), ("segment.bytes", "1048576"), ("retention.bytes", "1")];
    world.create("fast", 1, &config);
    let conn = world.connect();
    for _ in 0..8 {
        world.ask(conn, PRODUCE, produce_request("fast", 0, -1, batch(&vec![7; 900_000])));
    }
    let open = |world: &World| world.node.partitions()[0].with_log(|log, _| log.open_files()).unwrap();
    assert!(open(&world) > 2);
    for _ in 0..3 {
        world.checkpoint();
        world.settle();
    }
    assert!(open(&world) <= 1, "{} files", open(&world));
}

#[test]
fn io_06_a_damaged_partition_stays_refused_at_every_later_start() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    for _ in 0..5 {
        world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"acknowledged")));
    }
    world.checkpoint();
    let path = "logs/a-0/00000000000000000000.log";
    let intact = world.disk.bytes(path);
    let mut bytes = intact.clone();
    bytes[16] ^= 0xff;
    world.disk.overwrite(path, bytes);
    // The recovery checkpoint of the broken start must not forget how much there was: else the next one cuts it.
    for _ in 0..3 {
        world = world.kill();
        assert_eq!(world.problems.len(), 1, "{:?}", world.problems);
        assert_eq!(world.read("a", 0), Err(STORAGE));
        world.checkpoint();
        world.checkpoint();
    }
    assert_eq!(world.disk.bytes(path).len(), intact.len(), "nothing was cut");
    world.disk.overwrite(path, intact);
    let mut world = world.kill();
    assert_eq!(world.read("a", 0).unwrap().len(), 5);
}

#[test]
fn op_10_a_full_disk_refuses_appends_and_nothing_else() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"before")));
    world.disk.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"no")))).error_code, STORAGE);
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
    world.disk.set_faults(Faults::default());
    let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"after"))));
    assert_eq!((part.error_code, part.base_offset), (0, 1));
}

#[test]
fn op_10_a_log_that_found_no_room_serves_once_there_is_some() {
    let mut world = World::new();
    world.disk.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    assert_eq!(world.create("a", 1, &[]), ErrorCode::None, "the log exists: its record is durable elsewhere");
    let conn = world.connect();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"no")))).error_code, STORAGE);
    assert_eq!(world.node.create_late(&world.disk, world.now).created, 0);
    world.disk.set_faults(Faults::default());
    assert_eq!(world.node.create_late(&world.disk, world.now).created, 1);
    let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"yes"))));
    assert_eq!((part.error_code, part.base_offset), (0, 0));
    assert_eq!(world.node.create_late(&world.disk, world.now).created, 0);
}

#[test]
fn se_17_answers_shrink_when_clients_do_not_take_them() {
    let limits = Limits { answer_bytes: 100_000, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    world.create("a", 1, &[]);
    let conn = world.connect();
    for _ in 0..40 {
        world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[1; 2000])));
    }
    let size = |world: &mut World| {
        let response: Response = world.ask(conn, FETCH, fetch_request(&[("a", 0, 0)], 0, 1));
        fetched(response).records.unwrap().len()
    };
    let free = size(&mut world);
    assert!(free > 80_000, "{free}");
    world.node.add_unsent(90_000);
    assert!(size(&mut world) <= 10_000);
    world.node.add_unsent(1_000_000);
    assert!(size(&mut world) > 2000, "one batch always, or the client would never go on");
    world.node.take_unsent(1_090_000);
    assert_eq!(size(&mut world), free);
}

#[test]
fn op_10_a_partition_whose_folder_is_removed_while_it_is_written_goes_offline_alone() {
    let mut world = World::new();
    world.create("a", 2, &[]);
    let conn = world.connect();
    let write = |world: &mut World, partition| {
        produced(world.ask(conn, PRODUCE, produce_request("a", partition, -1, batch(b"v")))).error_code
    };
    assert_eq!((write(&mut world, 0), write(&mut world, 1)), (0, 0));
    let mut out = Outputs::default();
    world.node.check_places(&mut out);
    world.disk.remove_dir_all("logs/a-0").unwrap();
    world.node.check_places(&mut out);
    assert!(out.offline.is_empty(), "nothing came since");
    assert_eq!(write(&mut world, 0), 0, "who has a file open does not miss its name");
    world.node.check_places(&mut out);
    let [(dir, why)] = &*out.offline else { panic!("{:?}", out.offline) };
    assert!(dir == "logs/a-0" && why.contains("00000000000000000000.log was removed"), "{dir}: {why}");
    world.take(out);
    assert_eq!((write(&mut world, 0), write(&mut world, 1)), (STORAGE, 0));
}

/// A start has seen the files of each: there may be very many, and most of them are never written to.
#[test]
fn a_partition_to_which_nothing_was_appended_is_not_looked_for() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")))).error_code, 0);
    let world = world.kill();
    world.disk.remove_dir_all("logs/a-0").unwrap();
    let mut out = Outputs::default();
    world.node.check_places(&mut out);
    assert!(out.offline.is_empty(), "{:?}", out.offline);
}

#[test]
fn an_append_that_files_make_fail_is_counted_and_told_once_a_minute() {
    let mut world = World::new();
    world.create("a", 1, &[("internal.segment.bytes", "100")]);
    let conn = world.connect();
    let write =
        |world: &mut World| produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")))).error_code;
    assert_eq!(write(&mut world), 0);
    world.disk.remove_dir_all("logs/a-0").unwrap();
    for minute in 1..=2 {
        for _ in 0..3 {
            assert_eq!(write(&mut world), STORAGE, "no next segment");
        }
        assert_eq!(world.unwritable.len(), minute, "{:?}", world.unwritable);
        assert_eq!(world.node.append_failures(), 3 * minute as u64);
        world.advance(60_000);
    }
    assert_eq!((&*world.unwritable[0].dir, world.node.read_failures()), ("logs/a-0", 0));
}

#[test]
fn op_10_a_partition_without_its_folder_is_offline_alone() {
    let mut world = World::new();
    world.create("a", 2, &[]);
    let conn = world.connect();
    for partition in 0..2 {
        world.ask(conn, PRODUCE, produce_request("a", partition, -1, batch(b"v")));
    }
    world.checkpoint();
    world.disk.rename("logs/a-0", "logs/elsewhere").unwrap();
    let mut world = world.kill();
    assert_eq!(world.read("a", 0), Err(STORAGE), "never taken for an empty log");
    assert_eq!(world.read("a", 1).unwrap().len(), 1);
    world.checkpoint();
    world.disk.rename("logs/elsewhere", "logs/a-0").unwrap();
    let mut world = world.kill();
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
}

#[test]
fn io_07_a_read_that_fails_is_counted_and_told_once_a_minute() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    let path = "logs/a-0/00000000000000000000.log";
    let zeros = vec![0; world.disk.bytes(path).len()];
    world.disk.overwrite(path, zeros);
    for minute in 1..=2 {
        for _ in 0..3 {
            assert_eq!(world.read("a", 0), Err(STORAGE));
        }
        assert_eq!(world.unreadable.len(), minute, "{:?}", world.unreadable);
        assert_eq!(world.node.read_failures(), 3 * minute as u64);
        world.advance(60_000);
    }
    let told = &world.unreadable[0];
    assert_eq!((&*told.dir, told.offset), ("logs/a-0", Some(LogOffset(0))));
    assert!(told.cause.contains("segment 0 is damaged at byte 0"), "{}", told.cause);
}

#[test]
fn io_07_look_ups_by_time_and_reads_by_vlsn_that_fail_are_counted_and_told_too() {
    let mut world = World::new();
    world.create("v", 1, &[("vlsn.enable", "true")]);
    let conn = world.connect();
    let keyed = BatchBuilder::new().kv(1_800_000_000_000, &Vlsn(1).key(), b"v").build().unwrap().freeze();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("v", 0, -1, keyed))).error_code, 0);
    let path = "logs/v-0/00000000000000000000.log";
    let zeros = vec![0; world.disk.bytes(path).len()];
    world.disk.overwrite(path, zeros);
    let by_time = |log: &str| {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(1);
        let topic = ListOffsetsTopic::default().with_name(name(log)).with_partitions(vec![partition]);
        ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic])
    };
    let point = |log: &str| VlsnReadRequest {
        log: StrBytes::from(log.to_owned()),
        max_wait_ms: 0,
        max_bytes: 1000,
        vlsns: vec![Vlsn(1)],
    };
    world.ask(conn, 7, by_time("v"));
    another_failure(&mut world, 1);
    world.ask(conn, 7, by_time("v.vlsn"));
    another_failure(&mut world, 2);
    world.ask(conn, 0, point("v"));
    another_failure(&mut world, 3);
    assert_eq!(world.read("v.vlsn", 0), Err(STORAGE));
    another_failure(&mut world, 4);
    world.ask(conn, 7, by_time("nowhere"));
    assert_eq!(world.node.read_failures(), 4, "what is asked wrongly is no failure");
}

/// Where it would begin is not known: what the offline partition acknowledged may lie above all that the others have.
#[test]
fn io_06_a_vlsn_log_gets_no_more_partitions_while_one_is_offline() {
    let mut world = World::new();
    world.create("v", 3, &[("vlsn.enable", "true")]);
    let write = |world: &mut World, partition: i32, vlsn: u64| {
        let keyed = BatchBuilder::new().kv(1_800_000_000_000, &Vlsn(vlsn).key(), b"v").build().unwrap().freeze();
        let conn = world.connect();
        produced(world.ask(conn, PRODUCE, produce_request("v", partition, -1, keyed))).error_code
    };
    let add = |world: &mut World| {
        let topic = CreatePartitionsTopic::default().with_name(name("v")).with_count(4).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        let conn = world.connect();
        let Response::CreatePartitions(mut answer) = world.ask(conn, 3, request) else { panic!("another answer") };
        let result = answer.results.remove(0);
        (result.error_code, result.error_message.map(|text| text.to_string()).unwrap_or_default())
    };
    for vlsn in 0..12 {
        assert_eq!(write(&mut world, i32::try_from(vlsn % 3).unwrap(), vlsn), 0);
    }
    world.checkpoint();
    let meta = "logs/v-2/partition.meta";
    let sound = world.disk.bytes(meta);
    world.disk.flip(meta, 100);
    let mut world = world.kill();
    assert_eq!(world.read("v", 2), Err(STORAGE));
    let (code, why) = add(&mut world);
    assert_eq!(code, ErrorCode::OperationNotAttempted.code(), "{why}");
    assert!(why.contains("partition 2 of log 'v' is offline"), "{why}");
    assert_eq!(write(&mut world, 0, 12), 0, "the others go on");
    world.disk.overwrite(meta, sound);
    let mut world = world.kill();
    assert_eq!(add(&mut world), (0, String::new()));
    let topology = world.node.topology();
    let log = topology.vlsn_log(topology.by_name("v").unwrap()).unwrap();
    assert_eq!(log.routing.epochs()[1].from, Vlsn(13));
    assert!(matches!(log.point(Vlsn(11)), Ok(Point::Found(_))));
}

/// There were so many failures in the partition `v-0`, one in each minute.
fn another_failure(world: &mut World, failures: usize) {
    assert_eq!((world.node.read_failures(), world.unreadable.len()), (failures as u64, failures));
    let told = &world.unreadable[failures - 1];
    assert!(told.dir == "logs/v-0" && !told.cause.is_empty(), "{told:?}");
    world.advance(60_000);
}

#[test]
fn io_07_a_view_that_cannot_tell_where_an_epoch_ended_is_counted_and_told() {
    let mut world = World::new();
    world.create("v", 1, &[("vlsn.enable", "true"), ("internal.segment.bytes", "3000")]);
    for vlsns in [0..6, 6..12] {
        let conn = world.connect();
        for vlsn in vlsns.clone() {
            let keyed =
                BatchBuilder::new().kv(1_800_000_000_000, &Vlsn(vlsn).key(), &[7; 700]).build().unwrap().freeze();
            assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("v", 0, -1, keyed))).error_code, 0);
        }
        world.checkpoint();
        if vlsns.start == 0 {
            world = world.kill();
        }
    }
    // The first segment of the second epoch.
    let path = "logs/v-0/00000000000000000006.log";
    let zeros = vec![0; world.disk.bytes(path).len()];
    world.disk.overwrite(path, zeros);
    let conn = world.connect();
    let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(0);
    let topic = OffsetForLeaderTopic::default().with_topic(name("v.vlsn")).with_partitions(vec![partition]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let Response::OffsetForLeaderEpoch(ended) = world.ask(conn, 4, request) else { panic!("another answer") };
    assert_eq!(ended.topics[0].partitions[0].error_code, STORAGE);
    another_failure(&mut world, 1);
    let mut request = fetch_request(&[("v.vlsn", 0, 1)], 0, 0);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    assert_eq!(fetched(world.ask(conn, FETCH, request)).error_code, STORAGE);
    another_failure(&mut world, 2);
}

#[test]
fn io_10_a_stop_closes_what_it_can_and_knows_what_served_and_what_did_not() {
    let mut world = World::new();
    let conn = world.connect();
    for topic in ["good", "damaged", "failed"] {
        world.create(topic, 1, &[]);
        world.ask(conn, PRODUCE, produce_request(topic, 0, -1, batch(b"v")));
    }
    world.checkpoint();
    world.disk.flip("logs/damaged-0/partition.meta", 100);
    let mut world = world.kill();
    let conn = world.connect();
    world.disk.set_faults(Faults { fail_sync: Some(world.disk.counters().syncs + 1), ..Faults::default() });
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("failed", 0, -1, batch(b"w")))).error_code, STORAGE);
    world.send(conn, PRODUCE, produce_request("good", 0, -1, batch(b"w")));
    let mut out = pyralog_node::Outputs::default();
    let closing = world.node.close_all(&mut out);
    world.take(out);
    world.deliver(conn);
    assert_eq!(produced(world.answer(conn).expect("whoever waits is answered").1).error_code, 0);
    let key = |name: &str| format!("{}-0", world.node.topology().by_name(name).unwrap().log.metadata.topic_id);
    let points = ["good", "damaged", "failed"].map(|name| closing.points[&key(name)].0);
    assert_eq!(points, [2, 1, 1], "what is known of those that were not closed stays known");
    assert_eq!(closing.untouched.into_iter().collect::<Vec<_>>(), [key("damaged")]);
    assert!(closing.problems.len() == 1 && closing.problems[0].contains("failed-0"), "{:?}", closing.problems);
}

/// Two logs with records, whose folders change places while the broker is stopped.
fn with_swapped_folders(checkpoint: bool) -> World {
    let limits = Limits { journal_bytes: if checkpoint { 0 } else { 4096 }, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    let conn = world.connect();
    for (topic, value) in [("a", &b"of a"[..]), ("b", b"of b")] {
        world.create(topic, 1, &[]);
        for _ in 0..3 {
            world.ask(conn, PRODUCE, produce_request(topic, 0, -1, batch(value)));
        }
    }
    if checkpoint {
        world.checkpoint();
    }
    swap_folders(&world);
    world
}

fn swap_folders(world: &World) {
    for (from, to) in [("a-0", "elsewhere"), ("b-0", "a-0"), ("elsewhere", "b-0")] {
        world.disk.rename(&format!("logs/{from}"), &format!("logs/{to}")).unwrap();
    }
}

#[test]
fn rl_16_a_folder_of_another_log_is_never_taken_for_an_empty_log_nor_changed() {
    // Known by the checkpoint, or by the journal alone.
    for checkpoint in [true, false] {
        let world = with_swapped_folders(checkpoint);
        let ids = ["a", "b"].map(|name| world.node.topology().by_name(name).unwrap().log.metadata.topic_id.to_string());
        let before = world.disk.paths();
        let mut world = world.kill();
        assert_eq!(world.problems.len(), 2, "{:?}", world.problems);
        for problem in &world.problems {
            assert!(ids.iter().all(|id| problem.contains(id)) && problem.contains("delete the log"), "{problem}");
        }
        assert_eq!((world.read("a", 0), world.read("b", 0)), (Err(STORAGE), Err(STORAGE)));
        assert_eq!(world.disk.paths(), before, "nothing is renamed, removed or created");
        world.checkpoint();
        let world = world.kill();
        swap_folders(&world);
        let mut world = world.kill();
        assert_eq!(world.problems, [""; 0]);
        assert_eq!(world.read("a", 0).unwrap().into_values().collect::<Vec<_>>(), [b"of a"; 3]);
        assert_eq!(world.read("b", 0).unwrap().into_values().collect::<Vec<_>>(), [b"of b"; 3]);
    }
}

/// What is kept in reserve.
const RESERVE: u64 = 100_000;

/// A volume with so many bytes free, of which [`RESERVE`] are kept in reserve.
fn room(world: &World, free_bytes: u64) {
    let volume = Space { total_bytes: 100_000_000, usable_bytes: free_bytes, inodes: None };
    world.node.look_at_room(RESERVE as i64, || Ok(volume)).unwrap();
}

fn commit_of(group: &str, topic: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
    let topic = OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let group = GroupId(StrBytes::from_string(group.to_owned()));
    OffsetCommitRequest::default().with_group_id(group).with_generation_id_or_member_epoch(-1).with_topics(vec![topic])
}

fn committed(response: Response) -> i16 {
    let Response::OffsetCommit(response) = response else { panic!("{response:?}") };
    response.topics[0].partitions[0].error_code
}

#[test]
fn op_10_without_inodes_nothing_is_begun_that_makes_files_and_the_rest_goes_on() {
    let mut world = World::new();
    let left = |world: &World, usable: u64| {
        let inodes = Some(Inodes { total: 8000, usable });
        world.disk.set_faults(Faults { inodes, ..Faults::default() });
        world.node.look_at_room(-1, || world.disk.space()).unwrap();
    };
    left(&world, 352);
    world.create("a", 1, &[]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"before")));
    left(&world, 255);
    let refused = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"no"))));
    assert_eq!(refused.error_code, STORAGE);
    assert!(refused.error_message.unwrap().contains("255 inodes"));
    assert_eq!(world.create("b", 1, &[]), ErrorCode::KafkaStorageError);
    assert_eq!(committed(world.ask(conn, 8, commit_of("g", "a"))), 0);
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
    left(&world, 63);
    assert_ne!(committed(world.ask(conn, 8, commit_of("g", "a"))), 0, "nothing is left for the metadata store");
    left(&world, 400);
    assert_eq!(world.create("b", 1, &[]), ErrorCode::None);
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("b", 0, -1, batch(b"after")))).error_code, 0);

    // One request for more than there is: what is kept stays.
    let inodes = Some(Inodes { total: 8000, usable: 255 });
    world.disk.set_faults(Faults { inodes, ..Faults::default() });
    world.create("many", 3, &[]);
    assert_eq!(world.read("many", 0), Err(STORAGE));
    assert!(!world.disk.exists("logs/many-0").unwrap());
    left(&world, 400);
    assert_eq!(world.node.create_late(&world.disk, world.now).created, 3);
    assert_eq!(world.read("many", 2).unwrap().len(), 0);
}

#[test]
fn op_10_a_log_for_which_there_are_not_enough_inodes_keeps_nobody_from_appending() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    let limit = |world: &World, inodes: u64| {
        world.disk.set_faults(Faults { inodes_max: Some(inodes), ..Faults::default() });
    };
    let append = |world: &mut World| {
        world.node.look_at_room(-1, || world.disk.space()).unwrap();
        assert_eq!(world.node.room().room, Room::Enough);
        produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")))).error_code
    };
    limit(&world, 2000);
    assert_eq!(append(&mut world), 0);
    assert_eq!(world.create("big", 1000, &[]), ErrorCode::None);
    assert_eq!(append(&mut world), 0);
    let (first, last) = (world.read("big", 0), world.read("big", 999));
    assert_eq!((first.map(|records| records.len()), last), (Ok(0), Err(STORAGE)), "as many as there is room for");
    assert_eq!(world.create("another", 1, &[]), ErrorCode::KafkaStorageError, "and no other log is begun");

    // What comes free is not all taken either.
    limit(&world, 2200);
    let created = world.node.create_late(&world.disk, world.now).created;
    assert!((50..150).contains(&created), "{created}");
    assert_eq!(append(&mut world), 0);
}

#[test]
fn op_10_a_volume_that_cannot_be_asked_for_its_inodes_keeps_no_log_from_being_created() {
    let mut world = World::new();
    world.disk.set_faults(Faults { no_space: true, ..Faults::default() });
    world.create("a", 1, &[]);
    let conn = world.connect();
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")))).error_code, 0);
}

#[test]
fn op_10_a_start_does_not_take_the_inodes_that_are_kept_for_what_could_not_be_created() {
    let mut world = World::new();
    let left = |world: &World, usable: u64| {
        let inodes = Some(Inodes { total: 8000, usable });
        world.disk.set_faults(Faults { inodes, ..Faults::default() });
    };
    left(&world, 255);
    world.create("many", 3, &[]);
    for _ in 0..2 {
        // Nobody has looked how much room there is when partitions are opened.
        world = world.kill();
        assert_eq!(world.problems.len(), 3, "{:?}", world.problems);
        assert!(!world.disk.exists("logs/many-0").unwrap());
    }
    assert_eq!(world.read("many", 0), Err(STORAGE));
    left(&world, 400);
    assert_eq!(world.node.create_late(&world.disk, world.now).created, 3);
}

#[test]
fn op_10_in_the_reserve_appends_stop_and_everything_else_goes_on() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    let send =
        |world: &mut World, value: &[u8]| produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(value))));
    assert_eq!(send(&mut world, b"before").error_code, 0);
    room(&world, RESERVE - 1);
    let refused = send(&mut world, b"no");
    assert_eq!((refused.error_code, refused.base_offset), (STORAGE, -1));
    let why = refused.error_message.unwrap();
    assert!(why.contains("99999 bytes free") && why.contains("pyralog.disk.reserve.bytes"), "{why}");
    assert_eq!(world.node.refused_for_room(), 1);
    assert_eq!(world.read("a", 0).unwrap().len(), 1, "reads go on");
    assert_eq!(committed(world.ask(conn, 8, commit_of("g", "a"))), 0, "and committed offsets");
    assert_eq!(world.create("b", 1, &[]), ErrorCode::None, "and logs are created");
    world.delete("b");
    assert_eq!(world.node.topology().logs.len(), 1, "and deleted");
    room(&world, RESERVE + RESERVE / 5);
    let part = send(&mut world, b"after");
    assert_eq!((part.error_code, part.base_offset), (0, 1), "by itself, once there is room");
}

/// Bytes that get into a log of a volume with so many bytes to spare, when nobody looks again; and the first refusal.
fn appended_without_a_look(world: &mut World, spare_bytes: u64) -> (u64, PartitionProduceResponse) {
    world.create("a", 1, &[]);
    room(world, RESERVE + spare_bytes);
    let conn = world.connect();
    let value = [b'v'; 100];
    for sent in 0..100 {
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&value))));
        if part.error_code != 0 {
            return (sent * batch(&value).len() as u64, part);
        }
    }
    (100 * batch(&value).len() as u64, PartitionProduceResponse::default())
}

#[test]
fn op_10_appends_between_two_looks_stop_at_the_reserve() {
    let mut world = World::new();
    let (bytes, refused) = appended_without_a_look(&mut world, 1500);
    assert!(bytes <= 1500 && bytes > 1000, "{bytes}");
    let why = refused.error_message.unwrap();
    assert!(refused.error_code == STORAGE && why.contains("pyralog.disk.reserve.bytes"), "{why}");
    assert_eq!(world.node.refused_for_room(), 1);
    let conn = world.connect();
    assert_eq!(committed(world.ask(conn, 8, commit_of("g", "a"))), 0, "committed offsets go on in the reserve");
    assert_eq!(world.read("a", 0).unwrap().len() as u64, bytes / batch(&[b'v'; 100]).len() as u64);
    room(&world, RESERVE + 1500 - bytes);
    assert_eq!(world.node.room().room, Room::Low, "the next look says so, although there is more than the reserve");
    room(&world, 5 * RESERVE);
    let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"after"))));
    assert_eq!(part.error_code, 0);
}

#[test]
fn op_10_planted_appends_that_nobody_accounts_for_run_through_the_reserve() {
    let mut world = World::new();
    // A look that allows whatever there is: the level is right, and the books are not kept.
    world.create("a", 1, &[]);
    room(&world, RESERVE + 1500);
    let seen = world.disk.allowance().before_look();
    world.disk.allowance().after_look(seen, None);
    let conn = world.connect();
    let value = [b'v'; 10_000];
    let sent = (0..20)
        .filter(|_| produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&value)))).error_code == 0);
    assert!(sent.count() as u64 * 10_000 > RESERVE + 1500, "all of the volume, the reserve included");
}

#[test]
fn op_10_with_no_room_left_only_what_reads_or_makes_room_is_served() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    world.create("b", 1, &[]);
    let conn = world.connect();
    world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"v")));
    room(&world, RESERVE / 10);
    assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(b"no")))).error_code, STORAGE);
    let unavailable = ErrorCode::CoordinatorNotAvailable.code();
    assert_eq!(committed(world.ask(conn, 8, commit_of("g", "a"))), unavailable, "which clients retry");
    let join = JoinGroupRequest::default().with_group_id(GroupId(StrBytes::from_static_str("g")));
    let Response::JoinGroup(joined) = world.ask(conn, 5, join) else { panic!() };
    assert_eq!(joined.error_code, unavailable);
    let heartbeat = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(StrBytes::from_static_str("k")))
        .with_member_id(StrBytes::from_static_str("m"))
        .with_rebalance_timeout_ms(1000)
        .with_subscribed_topic_names(Some(vec![name("a")]))
        .with_topic_partitions(Some(vec![]));
    let Response::ConsumerGroupHeartbeat(beat) = world.ask(conn, 1, heartbeat.clone()) else { panic!() };
    assert_eq!(beat.error_code, unavailable);
    let Response::InitProducerId(id) = world.ask(conn, 4, InitProducerIdRequest::default()) else { panic!() };
    assert_eq!((id.error_code, id.producer_id.0), (STORAGE, -1));
    assert_eq!(world.create("c", 1, &[]), ErrorCode::KafkaStorageError);
    let auto = MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name("d")))]))
        .with_allow_auto_topic_creation(true);
    let Response::Metadata(metadata) = world.ask(conn, 9, auto) else { panic!() };
    assert_eq!(metadata.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    world.turn();
    assert_eq!(world.node.topology().logs.len(), 2, "nothing was created");
    assert_eq!(world.read("a", 0).unwrap().len(), 1);
    world.delete("b");
    assert_eq!(world.node.topology().logs.len(), 1, "what makes room is served");
    room(&world, 5 * RESERVE);
    assert_eq!(committed(world.ask(conn, 8, commit_of("g", "a"))), 0);
    let Response::ConsumerGroupHeartbeat(beat) = world.ask(conn, 1, heartbeat) else { panic!() };
    assert_eq!(beat.error_code, 0);
    assert_eq!(world.create("c", 1, &[]), ErrorCode::None);
}

#[test]
fn op_10_what_would_take_the_last_of_the_room_is_refused_before_the_next_look() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let conn = world.connect();
    let large = || {
        let metadata = StrBytes::from_string("m".repeat(4000));
        let mut request = commit_of("g", "a");
        request.topics[0].partitions[0].committed_metadata = Some(metadata);
        request
    };
    let unavailable = ErrorCode::CoordinatorNotAvailable.code();
    // 28,125 bytes are not theirs.
    room(&world, 65_000);
    assert_eq!([0; 2].map(|_| committed(world.ask(conn, 8, large()))), [0, 0]);
    assert_eq!(committed(world.ask(conn, 8, large())), unavailable, "of which clients may try again");
    assert_eq!(committed(world.ask(conn, 8, commit_of("g", "a"))), 0, "a small one");
    assert_eq!(world.create("b", 1, &[]), ErrorCode::KafkaStorageError);
    assert_eq!(world.node.room().room, Room::Low);
    world.delete("a");
    assert_eq!(world.node.topology().logs.len(), 0);
    // Somebody made room.
    room(&world, 65_000);
    assert_eq!(world.create("b", 1, &[]), ErrorCode::None);
    assert_eq!(world.create("c", 2, &[]), ErrorCode::KafkaStorageError);
    room(&world, 2 * RESERVE);
    assert_eq!(world.create("c", 2, &[]), ErrorCode::None);
    assert_eq!(world.create("d", 20, &[]), ErrorCode::KafkaStorageError, "too many for what there is");
}

#[test]
fn op_10_what_comes_in_over_http_takes_room_by_its_size_as_well() {
    let mut world = World::new();
    world.create("v", 1, &[("vlsn.enable", "true")]);
    room(&world, 65_000);
    let text = StrBytes::from_static_str;
    let calls = [4000; 3].map(|bytes| {
        let entry = VlsnCommitEntry { log: text("v"), vlsn: Vlsn(0), metadata: None };
        let request = VlsnCommitRequest { consumer: text("c"), force: false, commits: vec![entry] };
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut conn = Connection::new(ConnId(1 << 63), client, ("localhost".into(), 0), 1);
        let mut out = Outputs::default();
        world.node.on_request(&mut conn, (request.into(), bytes), (Draw::new(1), world.now), &mut out);
        out.calls.len()
    });
    assert_eq!(calls, [1, 1, 0], "the third would take the last of it");
}
