//! Section A, topics and partitions: one test per numbered statement, named after it.
//!
//! A10 to A15 belong to APIs that are not offered yet.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, TopicName,
};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::{Conn, is_our_config, shared, text, topic, unique};
use uuid::Uuid;

fn new(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default().with_name(topic(name)).with_num_partitions(partitions).with_replication_factor(replicas)
}

/// Name and value.
type Setting<'a> = (&'a str, Option<&'a str>);

fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    CreatableTopicConfig::default().with_name(text(name)).with_value(value.map(text))
}

fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(15_000)
}

/// The answer for one topic, v7.
fn create(conn: &mut Conn, wanted: CreatableTopic) -> CreatableTopicResult {
    let answer = conn.call(7, &request(vec![wanted]));
    assert_eq!(answer.topics.len(), 1, "{answer:?}");
    answer.topics[0].clone()
}

/// How many of these configs Kafka knows too.
fn of_kafka(configs: &[CreatableTopicConfigs]) -> usize {
    configs.iter().filter(|c| !is_our_config(&c.name)).count()
}

fn exists(conn: &mut Conn, name: &str) -> bool {
    conn.metadata_of(name).error_code == 0
}

#[test]
fn a01_create_topics_checks_names_and_counts() {
    let target = shared();
    let mut conn = target.connect();
    let (old, _) = conn.new_topic("a01", 1, &[]);
    let fresh = unique("a01");
    let dotted = format!("{}.b", unique("a01"));
    conn.create_topic(&dotted, 1, &[]);
    let cases = [
        (36, new(&old, 1, 1)),
        (37, new(&fresh, 0, 1)),
        (37, new(&fresh, -2, 1)),
        (38, new(&fresh, 1, 0)),
        (38, new(&fresh, 1, -2)),
        (38, new(&fresh, 1, 3)),
        (17, new("", 1, 1)),
        (17, new("..", 1, 1)),
        (17, new("a b", 1, 1)),
        (17, new(&"n".repeat(250), 1, 1)),
        (17, new(&dotted.replace('.', "_"), 1, 1)),
    ];
    for version in 2..=7 {
        for (error, wanted) in &cases {
            let answer = conn.call(version, &request(vec![wanted.clone()]));
            assert_eq!(answer.topics[0].error_code, *error, "v{version} {wanted:?} {answer:?}");
            assert_eq!(answer.topics[0].name, wanted.name);
        }
        let twice = conn.call(version, &request(vec![new(&fresh, 1, 1), new(&fresh, 2, 1)]));
        assert_eq!((twice.topics.len(), twice.topics[0].error_code), (1, 42), "v{version} {twice:?}");
        assert!(!exists(&mut conn, &fresh), "v{version}");
        let name = unique("a01");
        assert_eq!(conn.call(version, &request(vec![new(&name, -1, -1)])).topics[0].error_code, 0, "v{version}");
        conn.wait_for_topic(&name, 4);
    }
    // v2: one topic whose name is null
    conn.send_raw_request(
        19,
        2,
        1,
        &[0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0],
    );
    conn.expect_closed();
}

#[test]
fn a02_replica_assignments() {
    let target = shared();
    let mut conn = target.connect();
    let node = conn.metadata(&[]).brokers[0].node_id;
    let name = unique("a02");
    let stranger = BrokerId(node.0 + 77);
    let assigned = |partitions: i32, replicas: i16, list: &[(i32, &[BrokerId])]| {
        let assignments = list
            .iter()
            .map(|(index, ids)| {
                CreatableReplicaAssignment::default().with_partition_index(*index).with_broker_ids(ids.to_vec())
            })
            .collect();
        new(&name, partitions, replicas).with_assignments(assignments)
    };
    let cases = [
        (42, assigned(1, -1, &[(0, &[node])])),
        (42, assigned(-1, 1, &[(0, &[node])])),
        (39, assigned(-1, -1, &[(0, &[stranger])])),
        (39, assigned(-1, -1, &[(0, &[node, node])])),
        (39, assigned(-1, -1, &[(0, &[])])),
        (39, assigned(-1, -1, &[(0, &[node]), (2, &[node])])),
        (0, assigned(-1, -1, &[(1, &[node]), (0, &[node])])),
    ];
    for (error, wanted) in cases {
        let answer = create(&mut conn, wanted.clone());
        assert_eq!(answer.error_code, error, "{wanted:?} {answer:?}");
    }
    conn.wait_for_topic(&name, 2);
}

#[test]
fn a03_validate_only_creates_nothing() {
    let target = shared();
    let mut conn = target.connect();
    let (old, _) = conn.new_topic("a03", 1, &[]);
    let name = unique("a03");
    for version in 2..=7 {
        let answer = conn.call(version, &request(vec![new(&name, 3, 1), new(&old, 1, 1)]).with_validate_only(true));
        let errors: BTreeMap<&TopicName, i16> = answer.topics.iter().map(|t| (&t.name, t.error_code)).collect();
        assert_eq!(errors, BTreeMap::from([(&topic(&name), 0), (&topic(&old), 36)]), "v{version}");
        if version >= 5 {
            let new = answer.topics.iter().find(|t| t.error_code == 0).unwrap();
            assert_eq!((new.num_partitions, new.replication_factor), (3, 1), "v{version}");
            assert_eq!(of_kafka(new.configs.as_ref().unwrap()), 33, "v{version}");
        }
    }
    assert!(!exists(&mut conn, &name));
}

#[test]
fn a04_answer_has_counts_configs_and_id() {
    let target = shared();
    let mut conn = target.connect();
    for version in 5..=7 {
        let name = unique("a04");
        let wanted = new(&name, 3, 1).with_configs(vec![config("retention.ms", Some("1234567"))]);
        let answer = conn.call(version, &request(vec![wanted.clone()])).topics[0].clone();
        assert_eq!((answer.error_code, answer.num_partitions, answer.replication_factor), (0, 3, 1), "v{version}");
        let configs = answer.configs.unwrap();
        assert_eq!(of_kafka(&configs), 33, "v{version}");
        for each in &configs {
            let expected = if each.name.as_str() == "retention.ms" { 1 } else { 5 };
            // A broker may carry settings (3, 4) that a topic inherits; Kafka sets min.insync.replicas itself.
            assert!(
                each.config_source == expected || (expected == 5 && [3, 4].contains(&each.config_source)),
                "v{version} {each:?}"
            );
        }
        let retention = configs.iter().find(|c| c.name.as_str() == "retention.ms").unwrap();
        assert_eq!(retention.value, Some(text("1234567")), "v{version}");
        if version >= 7 {
            assert_eq!(answer.topic_id, conn.wait_for_topic(&name, 3).topic_id);
        }
        let refused = conn.call(version, &request(vec![wanted])).topics[0].clone();
        assert_eq!(
            (refused.error_code, refused.num_partitions, refused.replication_factor),
            (36, -1, -1),
            "v{version}"
        );
        assert_eq!(refused.topic_id, Uuid::nil(), "v{version}");
        assert!(refused.configs.is_none_or(|c| c.is_empty()), "v{version}");
    }
}

#[test]
fn a05_timeout_zero_limits_and_independence() {
    let target = shared();
    let mut conn = target.connect();
    let name = unique("a05");
    let answer = conn.call(7, &request(vec![new(&name, 1, 1)]).with_timeout_ms(0));
    assert_eq!(answer.topics[0].error_code, 7, "{answer:?}");
    assert!(!exists(&mut conn, &name));
    let huge = create(&mut conn, new(&name, 100_000, 1));
    assert_eq!(huge.error_code, 44, "{huge:?}");
    let good = unique("a05");
    let answer = conn.call(7, &request(vec![new("a b", 1, 1), new(&good, 1, 1), new(&name, 0, 1)]));
    let errors: BTreeMap<String, i16> = answer.topics.iter().map(|t| (t.name.to_string(), t.error_code)).collect();
    assert_eq!(errors, BTreeMap::from([("a b".to_owned(), 17), (good.clone(), 0), (name.clone(), 37)]));
    conn.wait_for_topic(&good, 1);
    assert!(!exists(&mut conn, &name));
}

#[test]
fn a06_configs_of_a_new_topic() {
    let target = shared();
    let mut conn = target.connect();
    let name = unique("a06");
    let cases: [(i16, &[Setting]); 12] = [
        (40, &[("no.such.config", Some("1"))]),
        (40, &[("retention.ms", Some("soon"))]),
        (40, &[("retention.ms", Some("-2"))]),
        (40, &[("segment.bytes", Some("1"))]),
        (40, &[("cleanup.policy", Some("burn"))]),
        (40, &[("compression.type", Some("zip"))]),
        (40, &[("preallocate", Some("maybe"))]),
        (40, &[("retention.ms", None)]),
        (40, &[("min.compaction.lag.ms", Some("200")), ("max.compaction.lag.ms", Some("100"))]),
        (40, &[("message.format.version", Some("3.0"))]),
        (40, &[("message.downconversion.enable", Some("true"))]),
        (0, &[("retention.ms", Some("1000")), ("retention.ms", Some("2000")), ("cleanup.policy", Some(""))]),
    ];
    for (error, configs) in cases {
        let configs: Vec<_> = configs.iter().map(|(name, value)| config(name, *value)).collect();
        let answer = create(&mut conn, new(&name, 1, 1).with_configs(configs.clone()));
        assert_eq!(answer.error_code, error, "{configs:?} {answer:?}");
        assert!(error == 0 || answer.error_message.is_some_and(|m| !m.is_empty()), "{configs:?} without message");
        if error == 0 {
            let configs = answer.configs.unwrap();
            let value = |name: &str| configs.iter().find(|c| c.name.as_str() == name).unwrap().value.clone();
            assert_eq!((value("retention.ms"), value("cleanup.policy")), (Some(text("2000")), Some(text(""))));
        }
    }
}

#[test]
fn a07_clients_may_create_the_offsets_topic() {
    let target = shared();
    let mut conn = target.connect();
    let answer = create(&mut conn, new("__consumer_offsets", 50, 1));
    // 36: it may have been created before, by a client or by the first group.
    assert!([0, 36].contains(&answer.error_code), "{answer:?}");
}

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState::default().with_name(Some(topic(name)))
}

fn by_id(id: Uuid) -> DeleteTopicState {
    DeleteTopicState::default().with_name(None).with_topic_id(id)
}

#[test]
fn a08_delete_topics() {
    let target = shared();
    let mut conn = target.connect();
    let (one, one_id) = conn.new_topic("a08", 1, &[]);
    let (two, two_id) = conn.new_topic("a08", 1, &[]);
    let (kept, kept_id) = conn.new_topic("a08", 1, &[]);
    let missing = unique("a08");
    let stranger = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
    let delete = |conn: &mut Conn, topics: Vec<DeleteTopicState>| {
        let answer = conn.call(6, &DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(15_000));
        let mut found: Vec<(i16, Option<String>, Uuid)> = answer
            .responses
            .iter()
            .map(|r| (r.error_code, r.name.as_ref().map(|n| n.to_string()), r.topic_id))
            .collect();
        found.sort();
        found
    };
    let found = delete(&mut conn, vec![by_name(&one), by_id(two_id), by_name(&missing), by_id(stranger)]);
    let mut expected = vec![
        (0, Some(one.clone()), one_id),
        (0, Some(two.clone()), two_id),
        (3, Some(missing), Uuid::nil()),
        (100, None, stranger),
    ];
    expected.sort();
    assert_eq!(found, expected);
    for gone in [&one, &two] {
        eventually("the topic is gone", || (conn.metadata_of(gone).error_code == 3).then_some(()));
    }
    let both = delete(&mut conn, vec![by_name(&kept).with_topic_id(kept_id)]);
    assert_eq!(both[0].0, 42, "{both:?}");
    let neither = delete(&mut conn, vec![by_id(Uuid::nil())]);
    assert_eq!(neither[0].0, 42, "{neither:?}");
    let twice = delete(&mut conn, vec![by_name(&kept), by_name(&kept)]);
    assert!(twice.iter().all(|r| r.0 == 42), "{twice:?}");
    assert!(exists(&mut conn, &kept));
    for version in 1..=5 {
        let (name, _) = conn.new_topic("a08", 1, &[]);
        let missing = unique("a08");
        let names = vec![topic(&name), topic(&missing)];
        let request = DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(15_000);
        let answer = conn.call(version, &request);
        let found: BTreeMap<_, _> =
            answer.responses.iter().map(|r| (r.name.clone().unwrap().to_string(), r.error_code)).collect();
        assert_eq!(found, BTreeMap::from([(name, 0), (missing, 3)]), "v{version}");
    }
}

#[test]
fn a09_create_partitions() {
    let target = shared();
    let mut conn = target.connect();
    let node = conn.metadata(&[]).brokers[0].node_id;
    let (name, _) = conn.new_topic("a09", 2, &[]);
    let missing = unique("a09");
    let assign = |lists: &[&[BrokerId]]| {
        Some(lists.iter().map(|ids| CreatePartitionsAssignment::default().with_broker_ids(ids.to_vec())).collect())
    };
    let to = |name: &str, count: i32| {
        CreatePartitionsTopic::default().with_name(topic(name)).with_count(count).with_assignments(None)
    };
    let ask = |conn: &mut Conn, version: i16, topics: Vec<CreatePartitionsTopic>, validate_only: bool| {
        let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(15_000);
        let answer = conn.call(version, &request.with_validate_only(validate_only));
        answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>()
    };
    for version in 0..=3 {
        let cases = [
            (37, to(&name, 1)),
            (37, to(&name, 2)),
            (37, to(&name, 0)),
            (37, to(&name, -1)),
            (3, to(&missing, 3)),
            (39, to(&name, 4).with_assignments(assign(&[&[node]]))),
            (39, to(&name, 3).with_assignments(assign(&[&[BrokerId(node.0 + 77)]]))),
            (39, to(&name, 3).with_assignments(assign(&[&[]]))),
        ];
        for (error, wanted) in cases {
            assert_eq!(ask(&mut conn, version, vec![wanted.clone()], false), [error], "v{version} {wanted:?}");
        }
        assert_eq!(ask(&mut conn, version, vec![to(&name, 3), to(&name, 4)], false), [42], "v{version}, twice");
        assert_eq!(ask(&mut conn, version, vec![to(&name, 9)], true), [0], "v{version}, validate only");
    }
    conn.wait_for_topic(&name, 2);
    assert_eq!(ask(&mut conn, 3, vec![to(&name, 4).with_assignments(assign(&[&[node], &[node]]))], false), [0]);
    conn.wait_for_topic(&name, 4);
    assert_eq!(ask(&mut conn, 0, vec![to(&name, 6)], false), [0]);
    conn.wait_for_topic(&name, 6);
}
