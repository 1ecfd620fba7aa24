#![allow(clippy::unwrap_used)]

use super::*;
use crate::lifecycle::Left;
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{CreateTopicsRequest, TopicName};
use pyralog_coordinator::{Command, Context, Coordinator, Effects, Settings, Token};
use pyralog_protocol::batch::{BatchBuilder, CheckedBatch};
use pyralog_protocol::{Draw, NodeId, Now};
use pyralog_storage::sim::{Faults, SimDisk, VOLUME_BYTES};

use crate::lifecycle::partitions_of;
use crate::partition::CheckedBy;
use crate::vlsn::Expected;
use crate::{Limits, Node, Outputs};

const FOLDER: &str = "/var/lib/pyralog";

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from(text.to_owned()))
}

/// A node with the logs `a` (two partitions) and `b` (one) on a simulated disk.
fn node() -> (Arc<SimDisk>, Node<SimDisk>) {
    let configs = vec![("log.dirs".to_owned(), FOLDER.to_owned())];
    let mut coordinator = Coordinator::new(Settings { configs, ..Settings::new(NodeId(1)) }).unwrap();
    let topic = |(log, count)| {
        CreatableTopic::default().with_name(name(log)).with_num_partitions(count).with_replication_factor(1)
    };
    let request = CreateTopicsRequest::default().with_timeout_ms(1000);
    let request = request.with_topics([("a", 2), ("b", 1)].map(topic).to_vec());
    let (client_id, client_host) = (String::new(), "/127.0.0.1".to_owned());
    let context =
        Context { token: Token(1), api_version: 7, client_id, client_host, draw: Draw::new(1), no_room: None };
    coordinator.handle(context, Command::CreateTopics(request), Now::default(), &mut Effects::default());
    let (disk, image) = (Arc::new(SimDisk::new()), coordinator.image());
    let node = Node::new(Limits::default(), Arc::clone(&image), None, Arc::clone(&disk), Draw::new(2));
    let open = |spec| node.open_partition(&disk, &spec, &Left::default(), Now::default()).partition;
    let opened = partitions_of(&image).into_iter().map(open).collect();
    node.install(image, opened, &mut Outputs::default());
    (disk, node)
}

fn append(node: &Node<SimDisk>, log: &str, index: i32, batch: BatchBuilder) -> i64 {
    let (header, body) = batch.into_parts().unwrap();
    let batch = CheckedBatch { header, body: body.into(), max_timestamp_offset_delta: 0, vlsns: Vec::new() };
    let topology = node.topology();
    let partition = topology.by_name(log).unwrap().partition(index).unwrap();
    let what = (&batch, CheckedBy::default(), Expected::Anything);
    partition.append(what, None, Now::default(), &mut Outputs::default()).unwrap();
    partition.with_log(|log, _| i64::try_from(log.size_bytes()).unwrap()).unwrap()
}

fn plain(value: &[u8]) -> BatchBuilder {
    BatchBuilder::new().kv(5, b"k", value)
}

/// (log, [(partition, size)]) of an answer without error.
fn sizes(node: &Node<SimDisk>, disk: &SimDisk, asked: Option<&[(&str, &[i32])]>) -> Vec<(String, Vec<(i32, i64)>)> {
    let topic = |(log, partitions): &(&str, &[i32])| {
        DescribableLogDirTopic::default().with_topic(name(log)).with_partitions(partitions.to_vec())
    };
    let request = DescribeLogDirsRequest::default().with_topics(asked.map(|a| a.iter().map(topic).collect()));
    let answer = describe_log_dirs(&node.topology(), disk, &request);
    let [dir] = &answer.results[..] else { panic!("{answer:?}") };
    assert_eq!((answer.error_code, dir.error_code, dir.log_dir.as_str()), (0, 0, FOLDER));
    assert!(dir.topics.iter().flat_map(|t| &t.partitions).all(|p| p.offset_lag == 0 && !p.is_future_key));
    let partitions =
        |t: &DescribeLogDirsTopic| t.partitions.iter().map(|p| (p.partition_index, p.partition_size)).collect();
    dir.topics.iter().map(|t| (t.name.to_string(), partitions(t))).collect()
}

fn expected(logs: &[(&str, &[(i32, i64)])]) -> Vec<(String, Vec<(i32, i64)>)> {
    logs.iter().map(|(log, partitions)| ((*log).to_owned(), partitions.to_vec())).collect()
}

#[test]
fn a12_sizes_are_those_of_the_logs() {
    let (disk, node) = node();
    let size = append(&node, "a", 1, plain(b"value"));
    assert!(size > 61);
    assert_eq!(sizes(&node, &disk, None), expected(&[("a", &[(0, 0), (1, size)]), ("b", &[(0, 0)])]));
}

#[test]
fn a12_unknown_partitions_are_left_out_and_repeated_ones_told_once() {
    let (disk, node) = node();
    let asked: &[(&str, &[i32])] = &[("a", &[1, 7, 1, -1]), ("none", &[0]), ("b", &[9]), ("a", &[0])];
    assert_eq!(sizes(&node, &disk, Some(asked)), expected(&[("a", &[(0, 0), (1, 0)])]));
    assert_eq!(sizes(&node, &disk, Some(&[])), []);
}

#[test]
fn a12_room_is_the_volumes() {
    let (disk, node) = node();
    append(&node, "a", 0, plain(&[0; 1000]));
    let answer = describe_log_dirs(&node.topology(), &*disk, &DescribeLogDirsRequest::default());
    let dir = &answer.results[0];
    let total = i64::try_from(VOLUME_BYTES).unwrap();
    assert_eq!(dir.total_bytes, total);
    assert!((1..total - 1000).contains(&dir.usable_bytes), "{}", dir.usable_bytes);
}

#[test]
fn a12_a_volume_that_does_not_answer_is_a_storage_error() {
    let (disk, node) = node();
    disk.set_faults(Faults { crash_at: Some(disk.counters().changes + 1), ..Faults::default() });
    disk.sync_dir("logs").unwrap_err();
    let answer = describe_log_dirs(&node.topology(), &*disk, &DescribeLogDirsRequest::default());
    assert_eq!((answer.results[0].error_code, answer.results[0].topics.len()), (56, 0));
}

/// (folder, [(log, partitions)])
type Move<'a> = (&'a str, &'a [(&'a str, &'a [i32])]);

fn moved(node: &Node<SimDisk>, asked: &[Move<'_>]) -> Vec<(String, Vec<(i32, i16)>)> {
    let topic = |(log, partitions): &(&str, &[i32])| {
        AlterReplicaLogDirTopic::default().with_name(name(log)).with_partitions(partitions.to_vec())
    };
    let dir = |(path, topics): &Move<'_>| {
        let dir = AlterReplicaLogDir::default().with_path(StrBytes::from((*path).to_owned()));
        dir.with_topics(topics.iter().map(topic).collect())
    };
    let request = AlterReplicaLogDirsRequest::default().with_dirs(asked.iter().map(dir).collect());
    let answer = alter_replica_log_dirs(&node.topology(), &request);
    let partitions =
        |t: &AlterReplicaLogDirTopicResult| t.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
    answer.results.iter().map(|t| (t.topic_name.to_string(), partitions(t))).collect()
}

#[test]
fn a12_the_own_folder_is_the_only_one() {
    let (_, node) = node();
    let here = moved(&node, &[(FOLDER, &[("a", &[0, 1, 9]), ("none", &[0])])]);
    assert_eq!(here, [("a".to_owned(), vec![(0, 0), (1, 0), (9, 3)]), ("none".to_owned(), vec![(0, 3)])]);
    for other in ["/elsewhere", "", "/var/lib/pyralog/"] {
        let there = moved(&node, &[(other, &[("a", &[0, 9]), ("none", &[0])])]);
        assert_eq!(there, [("a".to_owned(), vec![(0, 57), (9, 57)]), ("none".to_owned(), vec![(0, 57)])]);
    }
}

#[test]
fn a12_the_last_folder_of_a_partition_counts() {
    let (_, node) = node();
    let there: Move<'_> = ("/elsewhere", &[("a", &[0, 1])]);
    let here: Move<'_> = (FOLDER, &[("a", &[0])]);
    assert_eq!(moved(&node, &[there, here]), [("a".to_owned(), vec![(0, 0), (1, 57)])]);
    assert_eq!(moved(&node, &[here, there]), [("a".to_owned(), vec![(0, 57), (1, 57)])]);
}

fn producers(node: &Node<SimDisk>, asked: &[(&str, &[i32])]) -> Vec<PartitionResponse> {
    let topic = |(log, partitions): &(&str, &[i32])| {
        TopicRequest::default().with_name(name(log)).with_partition_indexes(partitions.to_vec())
    };
    let request = DescribeProducersRequest::default().with_topics(asked.iter().map(topic).collect());
    let answer = describe_producers(&node.topology(), &request);
    assert_eq!(answer.topics.len(), asked.len());
    answer.topics.into_iter().flat_map(|topic| topic.partitions).collect()
}

#[test]
fn i13_producers_are_told_with_their_last_batch() {
    let (_, node) = node();
    append(&node, "a", 0, BatchBuilder::new().kv(70, b"k", b"v").kv(60, b"k", b"v").producer(12, 3, 5));
    append(&node, "a", 0, plain(b"of no producer"));
    let [answer, other] = &producers(&node, &[("a", &[0, 1])])[..] else { panic!() };
    assert_eq!((answer.error_code, other.active_producers.len()), (0, 0));
    let [state] = &answer.active_producers[..] else { panic!("{answer:?}") };
    let sequence = (state.producer_id.0, state.producer_epoch, state.last_sequence, state.last_timestamp);
    assert_eq!(sequence, (12, 3, 6, 70));
    assert_eq!((state.coordinator_epoch, state.current_txn_start_offset), (-1, -1));
}

#[test]
fn i13_what_cannot_be_told() {
    let (_, node) = node();
    let asked: &[(&str, &[i32])] = &[("a", &[0, 5, -1]), ("none", &[0]), ("a/b", &[0]), ("", &[0]), ("a", &[0, 1])];
    let codes: Vec<_> = producers(&node, asked).iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [0, 3, 3, 3, 17, 17, 42, 0]);
}
