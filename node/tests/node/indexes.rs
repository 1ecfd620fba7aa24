//! IO-12: whoever misses the index of a segment waits for it; nobody else does.

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest};
use pyralog_node::vlsn::Point;
use pyralog_protocol::batch::BatchBuilder;
use pyralog_protocol::{ErrorCode, Response, Vlsn, kafka_protocol};
use pyralog_storage::Disk;

use crate::world::*;

const INDEX: &str = "logs/a-0/00000000000000000000.index";

/// A log of several segments, the first of which has lost its index, and no file open.
fn world() -> World {
    let mut world = World::new();
    world.create("a", 1, &[("internal.segment.bytes", "3000")]);
    let conn = world.connect();
    for n in 0..8 {
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[n; 700]))));
        assert_eq!(part.error_code, 0);
    }
    world.checkpoint();
    world.checkpoint();
    world.disk.remove_file(INDEX).unwrap();
    world
}

#[test]
fn io_12_a_missing_index_is_built_by_a_reader_thread_while_everybody_else_is_served() {
    let mut world = world();
    world.held = Some(Vec::new());
    let reader = world.connect();
    world.send(reader, FETCH, fetch_request(&[("a", 0, 1)], 0, 0));
    assert!(world.is_waiting(reader) && world.answer(reader).is_none());
    assert!(!world.disk.exists(INDEX).unwrap(), "nobody builds it where the request is served");

    let other = world.connect();
    let part = produced(world.ask(other, PRODUCE, produce_request("a", 0, -1, batch(b"meanwhile"))));
    assert_eq!((part.error_code, part.base_offset), (0, 8));
    let newest = fetched(world.ask(other, FETCH, fetch_request(&[("a", 0, 8)], 0, 0)));
    assert_eq!(values(&newest.records.unwrap()).len(), 1);

    world.warm_held();
    assert!(world.disk.exists(INDEX).unwrap());
    world.settle();
    let (_, response) = world.answer(reader).expect("an answer");
    let found = values(&fetched(response).records.unwrap());
    assert_eq!(found[&1], [1; 700]);
}

#[test]
fn io_12_a_look_up_by_time_builds_what_it_misses() {
    let mut world = world();
    let conn = world.connect();
    let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(1);
    let topic = ListOffsetsTopic::default().with_name(name("a")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let Response::ListOffsets(found) = world.ask(conn, 7, request) else { panic!("another answer") };
    assert_eq!((found.topics[0].partitions[0].error_code, found.topics[0].partitions[0].offset), (0, 0));
    assert!(world.disk.exists(INDEX).unwrap());
}

#[test]
fn io_12_who_misses_an_index_is_not_told_of_damage_where_somebody_else_misses_one() {
    let mut world = World::new();
    world.create("v", 1, &[("vlsn.enable", "true"), ("internal.segment.bytes", "3000")]);
    let conn = world.connect();
    for vlsn in 0..12 {
        let records = BatchBuilder::new().kv(1_800_000_000_000, &Vlsn(vlsn).key(), &[7; 700]).build().unwrap().freeze();
        assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("v", 0, -1, records))).error_code, 0);
    }
    world.checkpoint();
    world.checkpoint();
    let of_kind = |world: &World, kind: &str| {
        let files = world.disk.paths().into_iter().filter(|path| path.starts_with("logs/v-0/") && path.ends_with(kind));
        files.collect::<Vec<_>>()
    };
    let first = of_kind(&world, ".log").remove(0);
    world.disk.remove_file(&of_kind(&world, ".index")[0]).unwrap();
    world.disk.overwrite(&first, vec![0; world.disk.bytes(&first).len()]);
    world.disk.remove_file(&of_kind(&world, ".vlsn").pop().unwrap()).unwrap();

    world.held = Some(Vec::new());
    let reader = world.connect();
    world.send(reader, FETCH, fetch_request(&[("v", 0, 0)], 0, 0));
    assert!(world.is_waiting(reader));
    let topology = world.node.topology();
    let log = topology.vlsn_log(topology.by_name("v").unwrap()).unwrap();
    assert!(matches!(log.point(Vlsn(11)), Ok(Point::Found(_))));
    assert_eq!(world.node.read_failures(), 0);

    world.warm_held();
    world.settle();
    let told = fetched(world.answer(reader).expect("an answer, not another wait").1);
    assert_eq!((told.error_code, world.node.read_failures()), (ErrorCode::KafkaStorageError.code(), 1));
}
