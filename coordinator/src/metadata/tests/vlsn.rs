//! VLSN logs: what is fixed at creation, the view that comes and goes with its log, routing when partitions are added.

use super::alter::one;
use super::*;
use crate::metadata::{answers, view_id, view_name};
use crate::{NewPartitions, RoutingFrom};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use pyralog_protocol::vlsn::{ROUTING_EPOCHS_MAX, Vlsn};
use pyralog_protocol::{LeaderEpoch, LogId};

const VLSN: (&str, &str) = ("vlsn.enable", "true");
const SET: i8 = 0;
const DELETE: i8 = 1;

fn refused(b: &mut Bench, name: &str, configs: &[(&str, &str)]) -> (i16, String) {
    let configs: Vec<_> = configs.iter().map(|(n, v)| (*n, Some(*v))).collect();
    let result = b.create_all(7, vec![topic(name, 1, 1, &configs)]).remove(0);
    (result.error_code, result.error_message.map(|m| m.to_string()).unwrap_or_default())
}

fn raise(b: &mut Bench, name: &str, count: i32, from: Option<u64>) -> (i16, String) {
    let topic = CreatePartitionsTopic::default().with_name(super::name(name)).with_count(count).with_assignments(None);
    let request = m::CreatePartitionsRequest::default().with_timeout_ms(1).with_topics(vec![topic]);
    let log = b.image().log(name).map(|log| (log.metadata.topic_id, log.metadata.partitions.len()));
    let routed = |((topic, partitions), from)| RoutingFrom { topic, partitions, from: Ok(Vlsn(from)) };
    let routing_from = log.zip(from).map(routed).into_iter().collect();
    let command = Command::CreatePartitions(NewPartitions { request, routing_from });
    let Reply::CreatePartitions(mut response) = b.send(3, command) else { panic!() };
    let result = response.results.remove(0);
    (result.error_code, result.error_message.map(|m| m.to_string()).unwrap_or_default())
}

fn delete(b: &mut Bench, name: &str) -> (i16, String) {
    let request = m::DeleteTopicsRequest::default().with_timeout_ms(1).with_topic_names(vec![super::name(name)]);
    let Reply::DeleteTopics(mut response) = b.send(5, Command::DeleteTopics(request)) else { panic!() };
    let result = response.responses.remove(0);
    (result.error_code, result.error_message.map(|m| m.to_string()).unwrap_or_default())
}

fn commit(b: &mut Bench, group: &str, topic: &str) -> i16 {
    use kafka_protocol::messages::offset_commit_request as oc;
    let partition = oc::OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(7);
    let topic = oc::OffsetCommitRequestTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = m::OffsetCommitRequest::default().with_group_id(m::GroupId(s(group))).with_topics(vec![topic]);
    let request = request.with_generation_id_or_member_epoch(-1);
    let Reply::OffsetCommit(response) = b.send(7, Command::OffsetCommit(request)) else { panic!() };
    response.topics[0].partitions[0].error_code
}

fn committed(b: &mut Bench, group: &str, topic: &str) -> i64 {
    use kafka_protocol::messages::offset_fetch_request as of;
    let topic = of::OffsetFetchRequestTopic::default().with_name(name(topic)).with_partition_indexes(vec![0]);
    let request = m::OffsetFetchRequest::default().with_group_id(m::GroupId(s(group))).with_topics(Some(vec![topic]));
    let Reply::OffsetFetch(response) = b.send(7, Command::OffsetFetch(request)) else { panic!() };
    response.topics[0].partitions[0].committed_offset
}

#[test]
fn a_vlsn_log_has_a_view_that_metadata_shows_as_a_topic_with_one_partition() {
    let mut b = bench();
    let id = b.create("orders", 3, &[VLSN, ("retention.ms", "5")]);
    b.send(0, Command::RaiseEpochs(()));
    let image = b.image();
    let (log, view) = (image.log("orders").unwrap(), image.log("orders.vlsn").unwrap());
    assert_eq!(view.view_of, Some(id));
    assert_eq!((view.metadata.topic_id, view.metadata.partition_count), (view_id(id), 1));
    assert_ne!(view.metadata.topic_id, id);
    assert_eq!(view.metadata.partitions[0].leader_epoch, LeaderEpoch(1));
    assert_eq!((&view.settings, &view.overrides), (&log.settings, &log.overrides));
    assert!(Arc::ptr_eq(image.log_of_view(view).unwrap(), log) && Arc::ptr_eq(image.view_of_log(id).unwrap(), view));
    assert_eq!((image.log_count(), image.partition_count()), (1, 3), "a view is no log and no partition");
    let endpoint = crate::metadata::Endpoint { node: NodeId(1), host: "h".to_owned(), port: 1 };
    let answer = answers::metadata(&image, &endpoint, &m::MetadataRequest::default().with_topics(None), 12);
    let topics: Vec<_> = (answer.response.topics.iter())
        .map(|t| (t.name.as_ref().unwrap().to_string(), t.partitions.len(), t.partitions[0].leader_id.0))
        .collect();
    assert_eq!(topics, [("orders".to_owned(), 3, 1), ("orders.vlsn".to_owned(), 1, 1)]);
    assert_eq!(answer.response.topics[1].partitions[0].leader_epoch, 1);
    let described = answers::describe_topic_partitions(
        &image,
        &m::DescribeTopicPartitionsRequest::default().with_response_partition_limit(10),
    );
    let counts: Vec<_> = described.topics.iter().map(|t| t.partitions.len()).collect();
    assert_eq!(counts, [3, 1]);
}

#[test]
fn a_log_that_says_vlsn_enable_false_is_an_ordinary_one() {
    let mut b = bench();
    let id = b.create("plain", 1, &[("vlsn.enable", "FALSE")]);
    let image = b.image();
    assert!(image.view_of_log(id).is_none() && image.log("plain").unwrap().metadata.routing.is_none());
}

#[test]
fn vlsn_enable_is_fixed_and_excludes_compaction_in_both_directions() {
    let mut b = bench();
    let (code, why) = refused(&mut b, "x", &[VLSN, ("cleanup.policy", "compact,delete")]);
    assert_eq!(code, 40);
    assert!(why.contains("cleanup.policy=compact,delete is not possible"), "{why}");
    b.create("x", 1, &[VLSN]);
    b.create("plain", 1, &[]);
    let cases: &[(&str, &str, i8, &str, i16)] = &[
        ("x", "vlsn.enable", SET, "false", 40),
        ("x", "vlsn.enable", DELETE, "", 40),
        ("plain", "vlsn.enable", SET, "true", 40),
        ("x", "cleanup.policy", SET, "compact", 40),
        ("x", "vlsn.enable", SET, "true", 0),
        ("plain", "vlsn.enable", SET, "false", 0),
        ("plain", "vlsn.enable", DELETE, "", 0),
        ("x", "retention.ms", SET, "5", 0),
    ];
    for (log, config, operation, value, expected) in cases {
        assert_eq!(one(&mut b, 2, log, config, *operation, value), *expected, "{log} {config} {value}");
    }
    assert_eq!(b.image().log("x.vlsn").unwrap().settings.retention_ms, 5, "the view shows what its log has");
}

#[test]
fn a_default_of_the_brokers_does_not_compact_a_vlsn_log() {
    let mut b = bench();
    b.create("x", 1, &[VLSN]);
    assert_eq!(one(&mut b, 4, "", "log.cleanup.policy", SET, "compact"), 42);
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", SET, "delete"), 0);
    assert_eq!(one(&mut b, 4, "", "log.cleanup.policy", SET, "compact"), 0, "the log says otherwise");
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", DELETE, ""), 40);
    assert_eq!(refused(&mut b, "y", &[VLSN]).0, 40);
    // A broker that is started with such a default.
    b.settings.configs = vec![("log.cleanup.policy".to_owned(), "compact".to_owned())];
    assert_eq!(one(&mut b, 4, "", "log.cleanup.policy", DELETE, ""), 0);
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", DELETE, ""), 0);
    let cleanup = b.reloaded().image().log("x").unwrap().settings.cleanup;
    assert!(!cleanup.compact && !cleanup.delete, "{cleanup:?}");
}

#[test]
fn names_that_a_view_has_or_needs_are_refused_with_a_text() {
    let mut b = bench();
    b.create("x", 1, &[VLSN]);
    b.create("taken.vlsn", 1, &[]);
    b.create("a_b_vlsn", 1, &[]);
    let cases: &[(&str, bool, i16, &str)] = &[
        ("x.vlsn", false, 36, "'x.vlsn' already exists: it is the read-only view of log x"),
        ("x_vlsn", false, 17, "collides with the log 'x.vlsn'"),
        ("taken", true, 17, "log 'taken.vlsn' already exists, and the read-only view of a VLSN log needs"),
        (
            "a.b",
            true,
            17,
            "log 'a_b_vlsn' already exists, and the read-only view of a VLSN log needs the name a.b.vlsn",
        ),
    ];
    for (log, vlsn, code, text) in cases {
        let configs: &[_] = if *vlsn { &[VLSN] } else { &[] };
        let (found, why) = refused(&mut b, log, configs);
        assert_eq!(found, *code, "{log}: {why}");
        assert!(why.contains(text), "{log}: {why}");
    }
    assert_eq!(refused(&mut b, "taken", &[]).0, 0, "without a view the name is free");
    let longest = "n".repeat(244);
    assert_eq!(refused(&mut b, &format!("{longest}n"), &[VLSN]).0, 17);
    assert_eq!(refused(&mut b, &longest, &[VLSN]).0, 0);
    assert_eq!(view_name(&LogId::new(&longest).unwrap()).unwrap().as_str().len(), 249);
}

#[test]
fn a_view_is_not_deleted_changed_or_widened() {
    let mut b = bench();
    b.create("x", 1, &[VLSN]);
    assert_eq!(delete(&mut b, "x.vlsn"), (44, "x.vlsn is the read-only view of log x: delete x instead".to_owned()));
    let (code, why) = raise(&mut b, "x.vlsn", 2, Some(0));
    assert_eq!((code, why.contains("raise the partition count of x instead")), (44, true), "{why}");
    assert_eq!(one(&mut b, 2, "x.vlsn", "retention.ms", SET, "5"), 44);
    let before = b.image();
    let declared = crate::DeclaredLog {
        log: LogId::new("x.vlsn").unwrap(),
        partition_count: None,
        replication_factor: None,
        configs: Vec::new(),
    };
    let Reply::DeclareLogs(done) = b.send(0, Command::DeclareLogs(vec![declared])) else { panic!() };
    assert_eq!(done.refused, ["[logs.x.vlsn]: 'x.vlsn' already exists: it is the read-only view of log x"]);
    assert_eq!(before, b.image());
}

#[test]
fn partitions_of_a_vlsn_log_are_added_from_a_vlsn_on_in_the_same_change() {
    let mut b = bench();
    b.create("x", 2, &[VLSN]);
    let (code, why) = raise(&mut b, "x", 3, None);
    assert_eq!(code, 55, "{why}");
    assert_eq!(raise(&mut b, "x", 3, Some(100)), (0, String::new()));
    assert_eq!(b.sets.last().unwrap().len(), 3, "log, routing and version are one change");
    let routing = |b: &Bench| b.image().log("x").unwrap().metadata.routing.clone().unwrap();
    assert_eq!(routing(&b).partition(Vlsn(99)).0, 1);
    assert_eq!(routing(&b).partition(Vlsn(101)).0, 2);
    let (code, why) = raise(&mut b, "x", 4, Some(50));
    assert_eq!(code, 44, "{why}");
    assert!(why.contains("50") && b.image().log("x").unwrap().metadata.partition_count == 3, "{why}");
    let (code, why) = raise(&mut b, "x", 4, Some(1 << 63));
    assert_eq!((code, why.contains("used up")), (44, true), "{why}");
    for n in 2..ROUTING_EPOCHS_MAX {
        let count = 2 + i32::try_from(n).unwrap();
        assert_eq!(raise(&mut b, "x", count, Some(100 * n as u64)).0, 0, "{n}");
    }
    let (code, why) = raise(&mut b, "x", 5000, Some(1_000_000));
    assert_eq!((code, why.contains("1001 routing epochs")), (44, true), "{why}");
    assert_eq!(*b.image(), *b.reloaded().image());
}

/// The view's epoch is the largest of them: what a partition with a smaller one loses, nobody would be told of.
#[test]
fn partitions_that_are_added_to_a_vlsn_log_begin_in_the_leader_epoch_of_its_view() {
    let mut b = bench();
    b.create("x", 1, &[VLSN]);
    b.create("plain", 1, &[]);
    for _ in 0..3 {
        b.send(0, Command::RaiseEpochs(()));
    }
    assert_eq!((raise(&mut b, "x", 3, Some(5)).0, raise(&mut b, "plain", 2, None).0), (0, 0));
    let epochs = |b: &Bench, log: &str| {
        let image = b.image();
        image.log(log).unwrap().metadata.partitions.iter().map(|p| p.leader_epoch.0).collect::<Vec<_>>()
    };
    assert_eq!(epochs(&b, "x"), [3, 3, 3]);
    assert_eq!(epochs(&b, "plain"), [3, 0], "as in Kafka");
}

#[test]
fn a_deleted_log_takes_its_view_and_the_offsets_committed_there_in_one_change() {
    let mut b = bench();
    b.create("x", 1, &[VLSN]);
    b.create("y", 1, &[]);
    b.create("y.vlsn", 1, &[]);
    for topic in ["x", "x.vlsn", "y", "y.vlsn"] {
        assert_eq!(commit(&mut b, "g", topic), 0);
    }
    assert_eq!(committed(&mut b, "g", "x.vlsn"), 7);
    let sets = b.sets.len();
    assert_eq!((delete(&mut b, "x").0, delete(&mut b, "y").0), (0, 0));
    assert_eq!(b.sets.len(), sets + 2, "each deletion is one change");
    let image = b.image();
    assert!(image.log("x.vlsn").is_none() && image.log("y.vlsn").is_some());
    assert_eq!((image.log_count(), image.partition_count()), (1, 1));
    assert_eq!((committed(&mut b, "g", "x.vlsn"), committed(&mut b, "g", "y.vlsn")), (-1, 7), "no view, no loss");
    let id = b.create("x", 2, &[]);
    assert!(b.image().view_of_log(id).is_none() && b.image().log("x.vlsn").is_none());
}

#[test]
fn a_change_in_the_log_leaves_other_views_the_same_allocation() {
    let mut b = bench();
    b.create("x", 1, &[VLSN]);
    let before = b.image();
    b.create("y", 1, &[VLSN]);
    let after = b.image();
    assert!(Arc::ptr_eq(before.log("x.vlsn").unwrap(), after.log("x.vlsn").unwrap()));
}
