//! IO-12: whoever misses the index of a segment waits for it; nobody else does. So it is with pages that are not in memory.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, DeleteRecordsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest};
use kafka_protocol::protocol::StrBytes;
use pyralog_node::Outputs;
use pyralog_node::vlsn::Point;
use pyralog_protocol::batch::BatchBuilder;
use pyralog_protocol::vlsn::messages::VlsnReadRequest;
use pyralog_protocol::{ErrorCode, Request, Response, Vlsn, kafka_protocol};
use pyralog_storage::Disk;

use crate::world::*;

const INDEX: &str = "logs/a-0/00000000000000000000.index";

/// A log of several segments, and no file open.
fn filled() -> World {
    let mut world = World::new();
    world.create("a", 1, &[("internal.segment.bytes", "3000")]);
    let conn = world.connect();
    for n in 0..8 {
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[n; 700]))));
        assert_eq!(part.error_code, 0);
    }
    world.checkpoint();
    world.checkpoint();
    world
}

/// The same; the first segment has lost its index.
fn world() -> World {
    let world = filled();
    world.disk.remove_file(INDEX).unwrap();
    world
}

/// Another connection appends to the log and reads what it appended.
fn others_are_served(world: &mut World) {
    let other = world.connect();
    let part = produced(world.ask(other, PRODUCE, produce_request("a", 0, -1, batch(b"meanwhile"))));
    assert_eq!((part.error_code, part.base_offset), (0, 8));
    let newest = fetched(world.ask(other, FETCH, fetch_request(&[("a", 0, 8)], 0, 0)));
    assert_eq!(values(&newest.records.unwrap()).len(), 1);
}

#[test]
fn a_fetch_of_what_is_not_in_memory_is_left_to_a_reader_thread_while_everybody_else_is_served() {
    let mut world = filled();
    world.disk.forget_cache();
    world.held = Some(Vec::new());
    let (reader, before) = (world.connect(), world.disk.counters().reads);
    world.send(reader, FETCH, fetch_request(&[("a", 0, 1)], 0, 0));
    assert!(world.is_waiting(reader) && world.answer(reader).is_none());
    assert_eq!(world.disk.counters().reads, before, "not even of the pages that say where batches begin");

    others_are_served(&mut world);

    world.warm_held();
    world.settle();
    let (_, response) = world.answer(reader).expect("an answer");
    assert_eq!(values(&fetched(response).records.unwrap())[&1], [1; 700]);
}

/// How much there is has to be known as well, where a client wants a certain number of bytes.
#[test]
fn f08_a_fetch_does_not_wait_in_front_of_records_whose_end_is_not_in_memory() {
    let mut world = World::new();
    world.create("a", 1, &[]);
    let (writer, reader) = (world.connect(), world.connect());
    for n in 0..20 {
        assert_eq!(produced(world.ask(writer, PRODUCE, produce_request("a", 0, -1, batch(&[n; 700])))).error_code, 0);
    }
    // Until it is on disk, the end of what can be read is within the segment.
    world.send(writer, PRODUCE, produce_request("a", 0, -1, batch(&[20; 700])));
    world.disk.forget_cache();
    let mut request = fetch_request(&[("a", 0, 0)], 60_000, 800);
    request.topics[0].partitions[0].partition_max_bytes = 800;
    world.send(reader, FETCH, request);
    for _ in 0..2 {
        assert!(world.answer(reader).is_none());
        world.deliver(reader);
    }
    let (_, response) = world.answer(reader).expect("an answer, before its time is over");
    assert_eq!(values(&fetched(response).records.unwrap()).into_keys().collect::<Vec<_>>(), [0]);
}

#[test]
fn io_12_a_missing_index_is_built_by_a_reader_thread_while_everybody_else_is_served() {
    let mut world = world();
    world.held = Some(Vec::new());
    let reader = world.connect();
    world.send(reader, FETCH, fetch_request(&[("a", 0, 1)], 0, 0));
    assert!(world.is_waiting(reader) && world.answer(reader).is_none());
    assert!(!world.disk.exists(INDEX).unwrap(), "nobody builds it where the request is served");

    others_are_served(&mut world);

    world.warm_held();
    assert!(world.disk.exists(INDEX).unwrap());
    world.settle();
    let (_, response) = world.answer(reader).expect("an answer");
    let found = values(&fetched(response).records.unwrap());
    assert_eq!(found[&1], [1; 700]);
}

/// A look-up by time in the first partition of each of these logs.
fn by_time(logs: &[&str], timestamp: i64) -> ListOffsetsRequest {
    let topics = logs.iter().map(|log| {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
        ListOffsetsTopic::default().with_name(name(log)).with_partitions(vec![partition])
    });
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect())
}

/// Error code and offset of each of them.
fn offsets(response: Response) -> Vec<(i16, i64)> {
    let Response::ListOffsets(found) = response else { panic!("{response:?}") };
    found.topics.iter().flat_map(|topic| &topic.partitions).map(|found| (found.error_code, found.offset)).collect()
}

#[test]
fn io_12_a_look_up_by_time_waits_for_the_index_that_it_misses_and_nobody_else_does() {
    for timestamp in [1, -3] {
        let mut world = world();
        world.held = Some(Vec::new());
        let (asker, other) = (world.connect(), world.connect());
        world.send(asker, 7, by_time(&["a"], timestamp));
        for _ in 0..5 {
            world.read_held();
            world.settle();
            world.advance(10_000);
        }
        assert!(world.is_waiting(asker) && world.answer(asker).is_none());
        assert_eq!((world.unbuilt.len(), world.disk.exists(INDEX).unwrap()), (1, false), "not where it is served");
        let part = produced(world.ask(other, PRODUCE, produce_request("a", 0, -1, batch(b"meanwhile"))));
        assert_eq!((part.error_code, part.base_offset), (0, 8));
        assert_eq!(offsets(world.ask(other, 7, by_time(&["a"], -1))), [(0, 9)]);

        world.warm_held();
        world.settle();
        assert!(world.disk.exists(INDEX).unwrap());
        assert_eq!(offsets(world.answer(asker).expect("an answer").1), [(0, 0)]);
    }
}

#[test]
fn a_look_up_by_time_of_what_is_not_in_memory_is_left_to_a_reader_thread_while_everybody_else_is_served() {
    for timestamp in [1, -3] {
        let mut world = filled();
        world.disk.forget_cache();
        world.held = Some(Vec::new());
        let (asker, before) = (world.connect(), world.disk.counters().reads);
        world.send(asker, 7, by_time(&["a"], timestamp));
        assert!(world.is_waiting(asker) && world.answer(asker).is_none());
        assert_eq!(world.disk.counters().reads, before, "not even of the pages that say where batches begin");

        others_are_served(&mut world);

        world.warm_held();
        world.settle();
        assert_eq!(offsets(world.answer(asker).expect("an answer").1), [(0, 0)]);
    }
}

/// Two logs, of each of which the first segment is damaged and has lost its index.
fn damaged_world() -> World {
    let mut world = world();
    world.create("b", 1, &[("internal.segment.bytes", "3000")]);
    let conn = world.connect();
    for n in 0..8 {
        assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("b", 0, -1, batch(&[n; 700])))).error_code, 0);
    }
    world.checkpoint();
    world.checkpoint();
    world.disk.remove_file(&INDEX.replace("a-0", "b-0")).unwrap();
    for log in ["a-0", "b-0"] {
        let segment = format!("logs/{log}/00000000000000000000.log");
        world.disk.overwrite(&segment, vec![0; world.disk.bytes(&segment).len()]);
    }
    world.held = Some(Vec::new());
    world
}

/// Reader threads do what there is, and somebody builds one index.
fn build_one(world: &mut World) {
    world.read_held();
    if world.unbuilt.is_empty() {
        return;
    }
    let partition = world.unbuilt.remove(0);
    let mut out = Outputs::default();
    partition.build_index(&mut out);
    world.take(out);
    world.settle();
}

#[test]
fn io_12_what_is_wrong_with_two_indexes_is_told_to_who_waits_for_both() {
    let failed = ErrorCode::KafkaStorageError.code();
    let mut world = damaged_world();
    let reader = world.connect();
    for log in 0..2 {
        world.send(reader, FETCH, fetch_request(&[("a", 0, 0), ("b", 0, 0)], 0, 0));
        let answered = (0..10).find_map(|_| {
            build_one(&mut world);
            world.answer(reader)
        });
        let (_, response) = answered.expect("an answer, instead of one index after the other for ever");
        let codes = fetch_response(response).responses.into_iter().map(|topic| topic.partitions[0].error_code);
        assert_eq!(codes.collect::<Vec<_>>()[log], failed);
    }
    let mut world = damaged_world();
    let asker = world.connect();
    world.send(asker, 7, by_time(&["a", "b"], 1));
    build_one(&mut world);
    assert!(world.is_waiting(asker), "for the other one");
    build_one(&mut world);
    assert_eq!(offsets(world.answer(asker).expect("an answer").1), [(failed, -1); 2]);
    assert_eq!((world.node.read_failures(), world.unreadable.len()), (2, 2));
}

#[test]
fn io_12_whoever_waits_for_an_index_that_cannot_be_built_is_told_so_after_one_try() {
    let failed = ErrorCode::KafkaStorageError.code();
    let mut world = damaged_world();
    let (readers, asker) = ([world.connect(), world.connect(), world.connect()], world.connect());
    for reader in readers {
        world.send(reader, FETCH, fetch_request(&[("a", 0, 0)], 0, 0));
    }
    world.send(asker, 7, by_time(&["a"], 1));
    build_one(&mut world);
    for reader in readers {
        let (_, response) = world.answer(reader).expect("an answer, instead of another try for each");
        assert_eq!(fetched(response).error_code, failed);
    }
    assert_eq!(offsets(world.answer(asker).expect("an answer").1), [(failed, -1)]);
    world.read_held();
    assert!(world.unbuilt.is_empty());
    world.send(asker, 7, by_time(&["a"], 1));
    assert!(world.is_waiting(asker), "it may have been mended");
}

#[test]
fn io_12_an_index_is_built_once_for_all_who_wait_and_never_where_they_are_served() {
    let mut world = world();
    world.held = Some(Vec::new());
    let readers = [world.connect(), world.connect(), world.connect()];
    for reader in readers {
        world.send(reader, FETCH, fetch_request(&[("a", 0, 1)], 0, 0));
    }
    world.read_held();
    assert_eq!(world.unbuilt.len(), 1, "reader threads only ask for it");
    for _ in 0..5 {
        world.advance(10_000);
        world.read_held();
    }
    assert!(readers.iter().all(|reader| world.is_waiting(*reader)));
    assert_eq!((world.unbuilt.len(), world.disk.exists(INDEX).unwrap()), (1, false), "however long it takes");
    world.warm_held();
    world.settle();
    for reader in readers {
        let (_, response) = world.answer(reader).expect("an answer");
        assert_eq!(values(&fetched(response).records.unwrap())[&1], [1; 700]);
    }
}

#[test]
fn io_12_an_index_of_which_only_a_later_part_is_damaged_is_built_for_who_reads_that_far() {
    let mut world = World::new();
    world.create("a", 1, &[("internal.segment.bytes", "90000"), ("index.interval.bytes", "0")]);
    let conn = world.connect();
    for n in 0..1300 {
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[n as u8]))));
        assert_eq!(part.error_code, 0);
    }
    world.checkpoint();
    world.checkpoint();
    // Where the fetch begins is told by other blocks of entries than where it ends.
    let fifth_block = 48 + 4 * (256 * 16 + 4);
    world.disk.flip(INDEX, 8 * (fifth_block + 5));
    world.held = Some(Vec::new());
    let mut request = fetch_request(&[("a", 0, 0)], 0, 0);
    request.max_bytes = 80_000;
    world.send(conn, FETCH, request);
    assert!(world.is_waiting(conn));
    world.read_held();
    assert_eq!(world.unbuilt.len(), 1);
    world.warm_held();
    world.settle();
    let found = values(&fetched(world.answer(conn).expect("an answer").1).records.unwrap());
    assert!(found.len() > 1000, "{}", found.len());
}

/// A VLSN log with records of two leader epochs in several segments, and no file open.
fn vlsn_world() -> World {
    let mut world = World::new();
    world.create("v", 1, &[("vlsn.enable", "true"), ("internal.segment.bytes", "3000")]);
    for vlsns in [0..6, 6..12] {
        let conn = world.connect();
        for vlsn in vlsns {
            let records = BatchBuilder::new().kv(1_800_000_000_000, &Vlsn(vlsn).key(), &[7; 700]);
            let records = records.build().unwrap().freeze();
            assert_eq!(produced(world.ask(conn, PRODUCE, produce_request("v", 0, -1, records))).error_code, 0);
        }
        world.checkpoint();
        world.checkpoint();
        if vlsn_files(&world, ".log").len() < 4 {
            world = world.kill();
        }
    }
    world
}

/// Files of that log, in the order of their segments.
fn vlsn_files(world: &World, kind: &str) -> Vec<String> {
    let files = world.disk.paths().into_iter().filter(|path| path.starts_with("logs/v-0/") && path.ends_with(kind));
    files.collect()
}

#[test]
fn io_12_the_view_and_reads_by_vlsn_wait_for_an_index_as_well() {
    for kind in [".index", ".vlsn"] {
        let mut world = vlsn_world();
        // The second epoch begins with the third segment.
        let missing = vlsn_files(&world, kind).remove(2);
        world.disk.remove_file(&missing).unwrap();
        world.held = Some(Vec::new());
        let (view, point) = (world.connect(), world.connect());
        let mut request = fetch_request(&[("v.vlsn", 0, 7)], 0, 0);
        request.topics[0].partitions[0].last_fetched_epoch = if kind == ".index" { 0 } else { -1 };
        request.topics[0].partitions[0].fetch_offset = if kind == ".index" { 2 } else { 7 };
        world.send(view, FETCH, request);
        let log = StrBytes::from_static_str("v");
        let request = VlsnReadRequest { log, max_wait_ms: 0, max_bytes: 1000, vlsns: vec![Vlsn(7)] };
        world.send(point, 0, request);
        for _ in 0..5 {
            world.read_held();
            world.settle();
            world.advance(10_000);
        }
        assert!(world.is_waiting(view) && !world.disk.exists(&missing).unwrap(), "{kind}");
        assert_eq!(world.is_waiting(point), kind == ".vlsn", "who does not need it does not wait");
        world.warm_held();
        world.settle();
        assert!(world.disk.exists(&missing).unwrap(), "{kind}");
        let records = fetched(world.answer(view).expect("an answer").1).records.unwrap();
        assert!(!values(&records).is_empty());
        let (_, Response::VlsnRead(found)) = world.answer(point).expect("an answer") else { panic!("another answer") };
        assert_eq!(found.results[0].value.as_deref(), Some(&[7; 700][..]));
    }
}

/// Where the first leader epoch of the view ended.
fn end_of_first_epoch() -> OffsetForLeaderEpochRequest {
    let epoch = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(0);
    let epoch = OffsetForLeaderTopic::default().with_topic(name("v.vlsn")).with_partitions(vec![epoch]);
    OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![epoch])
}

#[test]
fn look_ups_in_a_view_of_what_is_not_in_memory_are_left_to_a_reader_thread() {
    let cases: [(i16, Request); 3] =
        [(7, by_time(&["v.vlsn"], 1).into()), (7, by_time(&["v.vlsn"], -3).into()), (4, end_of_first_epoch().into())];
    for (version, request) in cases {
        let mut world = vlsn_world();
        world.disk.forget_cache();
        world.held = Some(Vec::new());
        let (asker, before) = (world.connect(), world.disk.counters().reads);
        world.send(asker, version, request);
        assert!(world.is_waiting(asker) && world.answer(asker).is_none());
        assert_eq!(world.disk.counters().reads, before);
        world.warm_held();
        world.settle();
        let (_, response) = world.answer(asker).expect("an answer");
        if let Response::OffsetForLeaderEpoch(ended) = response {
            let ended = &ended.topics[0].partitions[0];
            assert_eq!((ended.error_code, ended.leader_epoch, ended.end_offset), (0, 0, 6));
        } else {
            assert_eq!(offsets(response), [(0, 0)]);
        }
    }
}

#[test]
fn io_12_look_ups_in_vlsn_logs_wait_for_an_index_as_well() {
    let start = DeleteRecordsPartition::default().with_partition_index(0).with_offset(7);
    let start = DeleteRecordsTopic::default().with_name(name("v")).with_partitions(vec![start]);
    let start = DeleteRecordsRequest::default().with_topics(vec![start]);
    let cases: [(&str, i16, Request); 3] = [
        (".index", 7, by_time(&["v.vlsn"], -3).into()),
        (".index", 4, end_of_first_epoch().into()),
        (".vlsn", 2, start.into()),
    ];
    for (kind, version, request) in cases {
        let mut world = vlsn_world();
        // The second epoch begins with the third segment.
        let missing = vlsn_files(&world, kind).remove(2);
        world.disk.remove_file(&missing).unwrap();
        world.held = Some(Vec::new());
        let conn = world.connect();
        world.send(conn, version, request);
        assert!(world.is_waiting(conn) && !world.disk.exists(&missing).unwrap(), "{kind}");
        world.warm_held();
        world.settle();
        assert!(world.disk.exists(&missing).unwrap(), "{kind}");
        let (_, response) = world.answer(conn).expect("an answer");
        if let Response::OffsetForLeaderEpoch(ended) = response {
            let ended = &ended.topics[0].partitions[0];
            assert_eq!((ended.error_code, ended.leader_epoch, ended.end_offset), (0, 0, 6));
        } else if let Response::DeleteRecords(deleted) = response {
            let deleted = &deleted.topics[0].partitions[0];
            assert_eq!((deleted.error_code, deleted.low_watermark), (0, 7));
        } else {
            assert_eq!(offsets(response), [(0, 0)]);
        }
    }
}

#[test]
fn rl_16_a_deletion_that_waits_for_an_index_takes_no_records_of_a_log_that_got_the_name_meanwhile() {
    let mut world = vlsn_world();
    world.disk.remove_file(&vlsn_files(&world, ".vlsn").remove(2)).unwrap();
    world.held = Some(Vec::new());
    let (conn, other) = (world.connect(), world.connect());
    let start = DeleteRecordsPartition::default().with_partition_index(0).with_offset(7);
    let start = DeleteRecordsTopic::default().with_name(name("v")).with_partitions(vec![start]);
    world.send(conn, 2, DeleteRecordsRequest::default().with_topics(vec![start]));
    assert!(world.is_waiting(conn));
    world.delete("v");
    assert_eq!(world.create("v", 1, &[]), ErrorCode::None);
    for n in 0..10 {
        assert_eq!(produced(world.ask(other, PRODUCE, produce_request("v", 0, -1, batch(&[n])))).error_code, 0);
    }
    world.warm_held();
    world.settle();
    let (_, Response::DeleteRecords(deleted)) = world.answer(conn).expect("an answer") else {
        panic!("another answer")
    };
    let code = deleted.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(offsets(world.ask(other, 7, by_time(&["v"], -2))), [(0, 0)]);
}

#[test]
fn io_12_who_misses_an_index_is_not_told_of_damage_where_somebody_else_misses_one() {
    let mut world = vlsn_world();
    let first = vlsn_files(&world, ".log").remove(0);
    world.disk.remove_file(&vlsn_files(&world, ".index")[0]).unwrap();
    world.disk.overwrite(&first, vec![0; world.disk.bytes(&first).len()]);
    world.disk.remove_file(&vlsn_files(&world, ".vlsn").pop().unwrap()).unwrap();

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
