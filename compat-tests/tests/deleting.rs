//! `file.delete.delay.ms`: what retention and the deletion of logs take stays on disk that long under another name, and
//! then it is gone, with its descriptors.

use std::path::Path;
use std::time::{Duration, Instant};

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Conn, Record, private, topic};

const MIB: &str = "1048576";

fn broker() -> Option<Broker> {
    private(BrokerOptions::new().set("log.retention.check.interval.ms", "200"))
}

/// A log of several full segments.
fn fill(conn: &mut Conn, configs: &[(&str, &str)]) -> String {
    let (name, _) = conn.new_topic("deleting", 1, &[&[("segment.bytes", MIB)], configs].concat());
    let batch = Batch::new(vec![Record::of(&"x".repeat(500_000))]).encode();
    for _ in 0..8 {
        conn.append(&name, 0, &batch);
    }
    name
}

fn delete_records(conn: &mut Conn, name: &str) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(-1);
    let of_log = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![of_log]).with_timeout_ms(10_000);
    let answer = conn.call::<DeleteRecordsRequest>(2, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

/// Names in a folder of the data folder with this ending.
fn names(broker: &Broker, folder: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(broker.folder().join(folder)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.ends_with(ending)).collect()
}

/// Descriptors of files that have no name any more, or one that says that they are to go.
fn dead_descriptors(broker: &Broker) -> usize {
    let open = std::fs::read_dir(Path::new("/proc").join(broker.pid().to_string()).join("fd")).expect("fd");
    let targets = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("deleted")).count()
}

#[test]
fn old_segments_stay_for_the_delay_and_then_go_with_their_descriptors() {
    let Some(broker) = broker() else { return };
    let mut conn = broker.connect();
    let name = fill(&mut conn, &[("file.delete.delay.ms", "8000")]);
    let folder = format!("logs/{name}-0");
    let deleted = Instant::now();
    delete_records(&mut conn, &name);
    let old = || names(&broker, &folder, ".log.deleted").len();
    let some = eventually("retention takes the old segments", || Some(old()).filter(|count| *count >= 3));
    assert_eq!(names(&broker, &folder, ".log").len(), 1, "{some} went, the active one is left");
    assert_eq!(dead_descriptors(&broker), 0, "nothing holds them open");
    eventually("they are gone", || (old() == 0).then_some(()));
    assert!(deleted.elapsed() >= Duration::from_secs(8), "gone after {:?}", deleted.elapsed());
    assert_eq!(conn.append(&name, 0, &Batch::of("v", 1).encode()), 8, "the log goes on");
}

#[test]
fn the_folder_of_a_deleted_log_stays_for_the_delay_and_its_name_is_free_at_once() {
    let Some(broker) = broker() else { return };
    let mut conn = broker.connect();
    let name = fill(&mut conn, &[("file.delete.delay.ms", "8000")]);
    let deleted = Instant::now();
    conn.delete_topic(&name);
    assert_eq!(names(&broker, "logs", ".deleted").len(), 1);
    conn.create_topic(&name, 1, &[]);
    assert_eq!(conn.append(&name, 0, &Batch::of("v", 1).encode()), 0, "a new log");
    assert_eq!(dead_descriptors(&broker), 0);
    eventually("the folder is gone", || names(&broker, "logs", ".deleted").is_empty().then_some(()));
    assert!(deleted.elapsed() >= Duration::from_secs(8), "gone after {:?}", deleted.elapsed());

    conn.delete_topic(&fill(&mut broker.connect(), &[("file.delete.delay.ms", "0")]));
    eventually("no delay", || names(&broker, "logs", ".deleted").is_empty().then_some(()));
}

#[test]
fn what_waited_when_the_broker_was_killed_goes_with_the_next_start() {
    let Some(mut broker) = broker() else { return };
    let mut conn = broker.connect();
    let (kept, gone) = (fill(&mut conn, &[]), fill(&mut conn, &[]));
    delete_records(&mut conn, &kept);
    conn.delete_topic(&gone);
    let folder = format!("logs/{kept}-0");
    eventually("retention takes the old segments", || {
        (names(&broker, &folder, ".log.deleted").len() >= 3).then_some(())
    });
    assert_eq!(names(&broker, "logs", ".deleted").len(), 1);
    broker.kill9();
    broker.restart();
    assert_eq!(names(&broker, &folder, ".deleted").len(), 0);
    eventually("the folder is gone", || names(&broker, "logs", ".deleted").is_empty().then_some(()));
    let mut conn = broker.connect();
    conn.wait_for_topic(&kept, 1);
    assert_eq!(conn.list_offset(&kept, 0, -2).offset, 8, "what was deleted does not come back");
}

#[test]
fn rl_16_a_deletion_leaves_the_folder_of_another_log_in_its_place_alone() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let [(lost, _), (kept, _)] = ["lost", "kept"].map(|name| conn.new_topic(name, 1, &[("file.delete.delay.ms", "0")]));
    for name in [&lost, &kept] {
        conn.append(name, 0, &Batch::of("a", 3).encode());
    }
    broker.terminate();
    let folder = |name: &str| broker.folder().join("logs").join(format!("{name}-0"));
    let (of_lost, of_kept) = (folder(&lost), folder(&kept));
    std::fs::remove_dir_all(&of_lost).expect("remove");
    std::fs::rename(&of_kept, &of_lost).expect("rename");
    broker.restart();
    assert_eq!(broker.metric("kafka_server_offline_partition_count"), 2.0, "neither is served empty");
    broker.connect().delete_topic(&lost);
    eventually("the log is gone", || (broker.metric("kafka_server_offline_partition_count") == 1.0).then_some(()));
    broker.terminate();
    std::fs::rename(&of_lost, &of_kept).expect("its folder is there still");
    broker.restart();
    assert_eq!(broker.connect().read(&kept, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
}
