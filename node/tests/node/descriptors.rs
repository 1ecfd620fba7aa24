//! OP-12: more active partitions than descriptors.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use pyralog_node::{Limits, Outputs};
use pyralog_protocol::{Response, kafka_protocol};
use pyralog_storage::Disk;
use pyralog_storage::sim::Faults;

use crate::world::*;

const PARTITIONS: i32 = 60;
const BUDGET: usize = 12;
/// What a single thread needs above the budget: a journal file in the making, a new segment with the index and snapshot
/// of the last one, and the journal's own files.
const RESERVE: usize = 8;

fn world(journal_bytes: usize, configs: &[(&str, &str)]) -> World {
    let limits = Limits { open_files: BUDGET, journal_bytes, ..Limits::default() };
    let mut world = World::with(&[], limits, Planted::Nothing);
    world.create("a", PARTITIONS, configs);
    world.disk.set_faults(Faults { open_max: Some(BUDGET + RESERVE), ..Faults::default() });
    world
}

fn put(world: &mut World, partition: i32, value: &[u8]) {
    let conn = world.connect();
    let part = produced(world.ask(conn, PRODUCE, produce_request("a", partition, -1, batch(value))));
    assert_eq!(part.error_code, 0, "partition {partition}: {:?}", part.error_message);
    world.disconnect(conn);
}

#[test]
fn op_12_no_append_and_no_read_fails_for_want_of_a_descriptor() {
    let memory = [("pyralog.durability", "memory"), ("internal.segment.bytes", "3000")];
    let small = [("internal.segment.bytes", "3000")];
    for (journal_bytes, configs) in [(0, &small[..]), (4096, &small), (0, &memory), (4096, &[])] {
        let mut world = world(journal_bytes, configs);
        for round in 0..8 {
            for partition in 0..PARTITIONS {
                put(&mut world, partition, &[round; 700]);
            }
        }
        for partition in 0..PARTITIONS {
            assert_eq!(world.read("a", partition).unwrap().len(), 8);
        }
        assert!(world.disk.open_files() <= BUDGET + RESERVE);
        // Again, from a start after a kill.
        let mut world = world.kill();
        for partition in 0..PARTITIONS {
            put(&mut world, partition, b"more");
            assert_eq!(world.read("a", partition).unwrap().len(), 9);
        }
    }
}

#[test]
fn op_12_a_request_for_many_partitions_needs_no_more_than_the_budget() {
    let mut world = world(0, &[("pyralog.durability", "memory")]);
    let conn = world.connect();
    let mut request = produce_request("a", 0, -1, batch(b"v"));
    for partition in 1..PARTITIONS {
        let more = produce_request("a", partition, -1, batch(b"v")).topic_data.remove(0).partition_data;
        request.topic_data[0].partition_data.extend(more);
    }
    let Response::Produce(response) = world.ask(conn, PRODUCE, request) else { panic!() };
    assert!(response.responses[0].partition_responses.iter().all(|part| part.error_code == 0));
    assert!(world.synced_on_the_way > 0, "writers go at the pace of the disk");
    let all: Vec<_> = (0..PARTITIONS).map(|partition| ("a", partition, 0)).collect();
    let response = fetch_response(world.ask(conn, FETCH, fetch_request(&all, 0, 1)));
    let parts = response.responses.iter().flat_map(|topic| &topic.partitions);
    assert!(parts.clone().all(|part| part.error_code == 0 && !part.records.as_ref().unwrap().is_empty()));
    assert_eq!(parts.count(), PARTITIONS as usize);
}

/// IO-02: closing what is dirty would be the easy way out. A sync that fails is told to the partition that wrote.
#[test]
fn op_12_io_02_what_is_closed_was_synced_before() {
    let mut world = world(0, &[("pyralog.durability", "memory")]);
    world.disk.set_faults(Faults { fail_sync: Some(world.disk.counters().syncs + 1), ..Faults::default() });
    for partition in 0..PARTITIONS {
        let conn = world.connect();
        world.ask(conn, PRODUCE, produce_request("a", partition, -1, batch(b"v")));
    }
    let offline = (0..PARTITIONS).filter(|partition| world.read("a", *partition).is_err()).count();
    assert_eq!(offline, 1, "the one whose sync failed");
    assert_eq!(world.disk.syncs_after_failure(), 0);
    let mut lost = 0;
    let mut world = world.crash(0);
    for partition in 0..PARTITIONS {
        lost += usize::from(world.read("a", partition).unwrap().is_empty());
    }
    assert!(lost <= BUDGET + 1, "{lost} partitions were neither open nor synced");
}

#[test]
fn op_12_idle_partitions_are_in_no_list_and_hold_no_file() {
    let mut world = world(0, &[]);
    for partition in 0..4 {
        put(&mut world, partition, b"v");
    }
    for _ in 0..3 {
        world.checkpoint();
        world.settle();
    }
    assert_eq!(world.disk.open_files(), 0);
    let mut out = Outputs::default();
    world.node.enforce_retention(world.now, &mut out);
    world.take(out);
    assert!(world.disk.open_files() <= 4, "retention looks at one segment of each");
}

#[test]
fn op_12_a_look_up_by_time_holds_no_file_of_each_segment() {
    let mut world = world(0, &[("internal.segment.bytes", "3000")]);
    for round in 0..120 {
        put(&mut world, 0, &[round; 700]);
    }
    for timestamp in [-3, 1_800_000_000_001] {
        for _ in 0..3 {
            world.checkpoint();
            world.settle();
        }
        assert_eq!(world.disk.open_files(), 0);
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(name("a")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let conn = world.connect();
        let Response::ListOffsets(found) = world.ask(conn, 7, request) else { panic!("another answer") };
        assert_eq!(found.topics[0].partitions[0].error_code, 0);
        assert!(world.disk.open_files() <= 2, "{} files of some forty segments", world.disk.open_files());
    }
}
