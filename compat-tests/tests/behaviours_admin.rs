//! What administration tools ask: elections and reassignments (A10, A11), folders (A12), the quorum (A13), feature
//! levels (A14), producers (I13), resources with configs (K12); one test per statement, on one node.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, BrokerId, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
    ListConfigResourcesRequest, ListPartitionReassignmentsRequest, UpdateFeaturesRequest,
};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::{Batch, Conn, now_ms, on_kafka, shared, text, topic, unique};

fn node_id(conn: &mut Conn) -> i32 {
    conn.metadata(&[]).brokers[0].node_id.0
}

/// Top-level error, and (topic, partition, error) in the order of the answer.
fn elect(conn: &mut Conn, version: i16, kind: i8, asked: &[(&str, &[i32])]) -> (i16, Vec<(String, i32, i16)>) {
    let topics = asked.iter().map(|(name, partitions)| {
        TopicPartitions::default().with_topic(topic(name)).with_partitions(partitions.to_vec())
    });
    let request = ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(Some(topics.collect()))
        .with_timeout_ms(15_000);
    let answer = conn.call(version, &request);
    let mut found = Vec::new();
    for result in &answer.replica_election_results {
        for p in &result.partition_result {
            assert_eq!(p.error_code == 0, p.error_message.is_none(), "{p:?}");
            found.push((result.topic.to_string(), p.partition_id, p.error_code));
        }
    }
    (answer.error_code, found)
}

#[test]
fn a10_elect_leaders_where_nothing_is_to_be_done() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("a10", 2, &[]);
    let missing = unique("a10-missing");
    for version in 0..=2 {
        let kinds: &[i8] = if version == 0 { &[0] } else { &[0, 1] };
        for &kind in kinds {
            let asked: &[(&str, &[i32])] = &[(&name, &[0, 1, 9, -1]), (&missing, &[0]), ("a/b", &[0])];
            let (error, found) = elect(&mut conn, version, kind, asked);
            let expected = [(&*name, 0, 84), (&*name, 1, 84), (&*name, 9, 3), (&*name, -1, 3), (&*missing, 0, 3)];
            let expected = expected.into_iter().chain([("a/b", 0, 3)]).map(|(n, p, e)| (n.to_owned(), p, e));
            assert_eq!((error, found), (0, expected.collect()), "v{version} type {kind}");
        }
        assert_eq!(elect(&mut conn, version, 0, &[]), (0, vec![]));
    }
}

#[test]
fn a10_null_lists_every_topic_without_the_partitions_in_order() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("a10-all", 2, &[]);
    for version in 0..=2 {
        let request = ElectLeadersRequest::default().with_topic_partitions(None).with_timeout_ms(15_000);
        let answer = conn.call(version, &request);
        assert_eq!(answer.error_code, 0);
        let mine: Vec<_> = answer.replica_election_results.iter().filter(|r| r.topic.as_str() == name).collect();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].partition_result, []);
    }
}

#[test]
fn a10_unknown_election_type() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("a10-type", 1, &[]);
    for version in 1..=2 {
        for kind in [2, 9, -1] {
            let found = elect(&mut conn, version, kind, &[(&name, &[0])]);
            assert_eq!(found, (42, vec![(name.clone(), 0, 42)]), "v{version} type {kind}");
        }
    }
}

#[test]
fn a11_reassignments() {
    let target = shared();
    let mut conn = target.connect();
    let node = node_id(&mut conn);
    let (name, _) = conn.new_topic("a11", 2, &[]);
    let missing = unique("a11-missing");
    let stranger = node + 77;
    let cases: [(i32, Option<&[i32]>, i16); 9] = [
        (0, Some(&[node]), 0),
        (1, Some(&[stranger]), 39),
        (0, Some(&[node, stranger]), 39),
        (0, Some(&[node, node]), 39),
        (0, Some(&[-1]), 39),
        (0, Some(&[]), 39),
        (0, None, 85),
        (9, Some(&[node]), 3),
        (-1, None, 3),
    ];
    for version in 0..=1 {
        let partition = |(index, replicas, _): &(i32, Option<&[i32]>, i16)| {
            let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId).collect());
            ReassignablePartition::default().with_partition_index(*index).with_replicas(replicas)
        };
        let partitions = cases.iter().map(partition).collect();
        let known = ReassignableTopic::default().with_name(topic(&name)).with_partitions(partitions);
        let there = ReassignablePartition::default().with_replicas(Some(vec![BrokerId(node)]));
        let unknown = ReassignableTopic::default().with_name(topic(&missing)).with_partitions(vec![there]);
        let request = AlterPartitionReassignmentsRequest::default().with_timeout_ms(15_000);
        let answer = conn.call(version, &request.with_topics(vec![known, unknown]));
        assert_eq!((answer.error_code, answer.error_message), (0, None));
        let mut found = Vec::new();
        for p in answer.responses.iter().flat_map(|t| &t.partitions) {
            // Kafka has no message for "none in progress".
            assert!(p.error_message.is_none() || p.error_code != 0, "{p:?}");
            found.push((p.partition_index, p.error_code));
        }
        let expected: Vec<_> = cases.iter().map(|(index, _, code)| (*index, *code)).chain([(0, 3)]).collect();
        assert_eq!(found, expected, "v{version}");
    }
    // Nothing moved.
    let found = conn.metadata_of(&name);
    assert!(found.partitions.iter().all(|p| p.replica_nodes == [BrokerId(node)] && p.leader_epoch == 0), "{found:?}");
}

#[test]
fn a11_replication_factor_change_is_echoed() {
    let mut conn = shared().connect();
    for allowed in [true, false] {
        let nothing = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(15_000)
            .with_allow_replication_factor_change(allowed);
        let missing = ReassignableTopic::default().with_name(topic(&unique("a11-missing")));
        let answer = conn.call(1, &nothing.clone().with_topics(vec![missing]));
        assert_eq!((answer.error_code, answer.allow_replication_factor_change), (0, allowed));
        let answer = conn.call(1, &nothing);
        assert!(answer.allow_replication_factor_change, "a request for nothing gets the default");
    }
}

#[test]
fn a11_no_reassignment_is_listed() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("a11-list", 1, &[]);
    let asked = [&name, &unique("a11-missing")].map(|name| {
        ListPartitionReassignmentsTopics::default().with_name(topic(name)).with_partition_indexes(vec![0, 5])
    });
    for topics in [None, Some(asked.to_vec())] {
        let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(15_000).with_topics(topics);
        let answer = conn.call(0, &request);
        assert_eq!((answer.error_code, answer.error_message, answer.topics.len()), (0, None, 0));
    }
}

/// The only folder of the answer.
fn log_dir(conn: &mut Conn, version: i16, asked: Option<&[(&str, &[i32])]>) -> DescribeLogDirsResult {
    let describable = |(name, partitions): &(&str, &[i32])| {
        DescribableLogDirTopic::default().with_topic(topic(name)).with_partitions(partitions.to_vec())
    };
    let topics = asked.map(|asked| asked.iter().map(describable).collect());
    let answer = conn.call(version, &DescribeLogDirsRequest::default().with_topics(topics));
    assert_eq!((answer.error_code, answer.results.len()), (0, 1), "{answer:?}");
    assert_eq!(answer.results[0].error_code, 0);
    answer.results[0].clone()
}

/// (partition, size) of one topic, by partition.
fn sizes(dir: &DescribeLogDirsResult, name: &str) -> BTreeMap<i32, i64> {
    let found = dir.topics.iter().filter(|t| t.name.as_str() == name).flat_map(|t| &t.partitions);
    let sizes = found.map(|p| {
        assert_eq!((p.offset_lag, p.is_future_key), (0, false));
        (p.partition_index, p.partition_size)
    });
    sizes.collect()
}

#[test]
fn a12_log_dirs_tell_sizes() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("a12", 2, &[]);
    let missing = unique("a12-missing");
    let bytes = Batch::of("v", 10).encode();
    conn.append(&name, 1, &bytes);
    let size = bytes.len() as i64;
    for version in 1..=4 {
        let all = log_dir(&mut conn, version, None);
        assert!(all.log_dir.starts_with('/'), "an absolute path: {}", all.log_dir);
        assert_eq!(sizes(&all, &name), BTreeMap::from([(0, 0), (1, size)]), "v{version}");
        let some = log_dir(&mut conn, version, Some(&[(&name, &[1, 9, 1]), (&missing, &[0])]));
        assert_eq!(sizes(&some, &name), BTreeMap::from([(1, size)]), "v{version}");
        assert_eq!(some.topics.len(), 1, "what is unknown is left out");
        assert_eq!(some.topics[0].partitions.len(), 1, "what is asked for twice is told once");
        assert_eq!(log_dir(&mut conn, version, Some(&[])).topics.len(), 0);
        if version >= 4 {
            assert!(all.total_bytes > 0 && (0..=all.total_bytes).contains(&all.usable_bytes), "{all:?}");
        } else {
            assert_eq!((all.total_bytes, all.usable_bytes), (-1, -1));
        }
    }
}

/// (topic, partition) to error.
fn move_to(conn: &mut Conn, version: i16, dirs: &[(&str, &str, &[i32])]) -> BTreeMap<(String, i32), i16> {
    let dirs = dirs.iter().map(|(path, name, partitions)| {
        let topic = AlterReplicaLogDirTopic::default().with_name(topic(name)).with_partitions(partitions.to_vec());
        AlterReplicaLogDir::default().with_path(text(path)).with_topics(vec![topic])
    });
    let answer = conn.call(version, &AlterReplicaLogDirsRequest::default().with_dirs(dirs.collect()));
    let mut found = BTreeMap::new();
    for t in &answer.results {
        for p in &t.partitions {
            let twice = found.insert((t.topic_name.to_string(), p.partition_index), p.error_code);
            assert_eq!(twice, None, "{answer:?}");
        }
    }
    found
}

#[test]
fn a12_replicas_stay_in_the_only_folder() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("a12-move", 2, &[]);
    let missing = unique("a12-missing");
    let path = log_dir(&mut conn, 2, Some(&[])).log_dir.to_string();
    let key = |name: &str, partition| (name.to_owned(), partition);
    for version in 1..=2 {
        let here = move_to(&mut conn, version, &[(&path, &name, &[0, 1, 9]), (&path, &missing, &[0])]);
        let expected = [(key(&name, 0), 0), (key(&name, 1), 0), (key(&name, 9), 3), (key(&missing, 0), 3)];
        assert_eq!(here, BTreeMap::from(expected), "v{version}");
        for other in ["/elsewhere", "", &format!("{path}/")] {
            let there = move_to(&mut conn, version, &[(other, &name, &[0, 9]), (other, &missing, &[0])]);
            let expected = [(key(&name, 0), 57), (key(&name, 9), 57), (key(&missing, 0), 57)];
            assert_eq!(there, BTreeMap::from(expected), "v{version} {other:?}");
        }
        let both = move_to(&mut conn, version, &[("/elsewhere", &name, &[0, 1]), (&path, &name, &[0])]);
        assert_eq!(both, BTreeMap::from([(key(&name, 0), 0), (key(&name, 1), 57)]), "the last folder counts");
        assert_eq!(move_to(&mut conn, version, &[]), BTreeMap::new());
    }
}

const QUORUM: &str = "__cluster_metadata";

fn quorum_request(asked: &[(&str, &[i32])]) -> DescribeQuorumRequest {
    let topics = asked.iter().map(|(name, partitions)| {
        let partitions = partitions.iter().map(|p| PartitionData::default().with_partition_index(*p)).collect();
        TopicData::default().with_topic_name(topic(name)).with_partitions(partitions)
    });
    DescribeQuorumRequest::default().with_topics(topics.collect())
}

#[test]
fn a13_the_quorum_is_this_node() {
    let target = shared();
    let mut conn = target.connect();
    let node = node_id(&mut conn);
    for version in 0..=2 {
        let before = now_ms();
        let answer = conn.call(version, &quorum_request(&[(QUORUM, &[0])]));
        assert_eq!((answer.error_code, answer.topics.len()), (0, 1));
        assert_eq!((answer.topics[0].topic_name.as_str(), answer.topics[0].partitions.len()), (QUORUM, 1));
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.partition_index, partition.error_code, partition.leader_id.0), (0, 0, node));
        assert!(partition.leader_epoch >= 1 && partition.high_watermark > 0, "{partition:?}");
        assert_eq!((partition.current_voters.len(), partition.observers.len()), (1, 0));
        let voter = &partition.current_voters[0];
        assert_eq!(voter.replica_id.0, node);
        assert!(voter.log_end_offset >= partition.high_watermark);
        let stamps = [voter.last_fetch_timestamp, voter.last_caught_up_timestamp];
        let near = |stamp: &i64| (before - 60_000..=now_ms() + 60_000).contains(stamp);
        assert!(if version >= 1 { stamps.iter().all(near) } else { stamps == [-1, -1] }, "{voter:?}");
        if version >= 2 {
            assert_eq!((answer.nodes.len(), answer.nodes[0].node_id.0), (1, node));
            let listener = &answer.nodes[0].listeners[0];
            assert!(!listener.name.is_empty() && !listener.host.is_empty() && listener.port > 0, "{listener:?}");
        }
    }
}

#[test]
fn a13_the_high_watermark_rises_with_each_change() {
    let target = shared();
    let mut conn = target.connect();
    let mut last = 0;
    for _ in 0..3 {
        conn.new_topic("a13", 1, &[]);
        let answer = conn.call(1, &quorum_request(&[(QUORUM, &[0])]));
        let found = answer.topics[0].partitions[0].high_watermark;
        assert!(found > last, "{found} after {last}");
        last = found;
    }
}

#[test]
fn a13_other_topics_have_no_quorum() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("a13-other", 1, &[]);
    let cases: [&[(&str, &[i32])]; 7] = [
        &[(&name, &[0, 1])],
        &[(QUORUM, &[1])],
        &[(QUORUM, &[0, 1])],
        &[(QUORUM, &[0]), (&name, &[0])],
        &[(QUORUM, &[0]), (QUORUM, &[0])],
        &[(QUORUM, &[])],
        &[],
    ];
    for version in 0..=2 {
        for asked in cases {
            let answer = conn.call(version, &quorum_request(asked));
            assert_eq!((answer.error_code, answer.nodes.len(), answer.topics.len()), (0, 0, asked.len()));
            for ((name, partitions), found) in asked.iter().zip(&answer.topics) {
                assert_eq!(found.topic_name.as_str(), *name);
                let codes: Vec<_> = found.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
                assert_eq!(codes, partitions.iter().map(|p| (*p, 3)).collect::<Vec<_>>(), "v{version} {asked:?}");
            }
        }
    }
}

#[test]
fn a14_feature_levels_stay() {
    let mut conn = shared().connect();
    let update =
        |name: &str, level: i16| FeatureUpdateKey::default().with_feature(text(name)).with_max_version_level(level);
    for version in 0..=2 {
        let mut ask = |updates: Vec<FeatureUpdateKey>| {
            let request = UpdateFeaturesRequest::default().with_timeout_ms(15_000).with_feature_updates(updates);
            let answer = conn.call(version, &request);
            assert_eq!(answer.error_code == 0, answer.error_message.is_none(), "{answer:?}");
            assert!(answer.results.iter().all(|r| r.error_code == 0), "{answer:?}");
            (answer.error_code, answer.results.len())
        };
        let results = |count| if version < 2 { count } else { 0 };
        assert_eq!(ask(vec![]), (0, 0), "v{version}");
        for level in [-1, 0, 1] {
            assert_eq!(ask(vec![update("no.such.feature", level)]), (95, 0), "v{version} {level}");
        }
        assert_eq!(ask(vec![update("metadata.version", 30)]), (0, results(1)), "v{version}");
        for level in [-1, 0, 6, 29, 31] {
            assert_eq!(ask(vec![update("metadata.version", level)]), (95, 0), "v{version} {level}");
        }
        assert_eq!(ask(vec![update("metadata.version", 30), update("no.such.feature", 1)]), (95, 0), "v{version}");
    }
    for version in 1..=2 {
        let wrong = update("metadata.version", 30).with_upgrade_type(9);
        let request = UpdateFeaturesRequest::default().with_timeout_ms(15_000).with_feature_updates(vec![wrong]);
        assert_eq!(conn.call(version, &request).error_code, 95);
    }
}

#[test]
fn i13_what_cannot_be_told_of_producers() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("i13", 2, &[]);
    let missing = unique("i13-missing");
    let asked: [(&str, &[i32]); 6] =
        [(&name, &[0, 5, -1]), (&missing, &[0]), (QUORUM, &[0]), ("", &[0]), ("a/b", &[0]), (&name, &[1])];
    let topics = asked.map(|(name, partitions)| {
        TopicRequest::default().with_name(topic(name)).with_partition_indexes(partitions.to_vec())
    });
    let answer = conn.call(0, &DescribeProducersRequest::default().with_topics(topics.to_vec()));
    let found: Vec<_> = answer.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
    assert_eq!(found, [0, 3, 3, 3, 3, 17, 17, 0]);
    assert!(answer.topics.iter().zip(asked).all(|(t, (name, _))| t.name.as_str() == name));
}

#[test]
fn i13_a_partition_asked_for_twice() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("i13-twice", 1, &[]);
    let topics = vec![TopicRequest::default().with_name(topic(&name)).with_partition_indexes(vec![0, 0])];
    let answer = conn.call(0, &DescribeProducersRequest::default().with_topics(topics));
    let found: Vec<_> = answer.topics[0].partitions.iter().map(|p| p.error_code).collect();
    // Kafka tells it twice, whatever the size.
    assert_eq!(found, if on_kafka() { [0, 0] } else { [0, 42] });
}

/// Error, and (type, name) of everything listed.
fn resources(conn: &mut Conn, version: i16, types: &[i8]) -> (i16, Vec<(i8, String)>) {
    let answer = conn.call(version, &ListConfigResourcesRequest::default().with_resource_types(types.to_vec()));
    let listed = answer.config_resources.iter().map(|r| (r.resource_type, r.resource_name.to_string()));
    (answer.error_code, listed.collect())
}

/// Sets a config, or deletes it where the value is `None`.
fn set(conn: &mut Conn, kind: i8, name: &str, (config, value): (&str, Option<&str>)) {
    let operation = if value.is_some() { 0 } else { 1 };
    let config = AlterableConfig::default().with_name(text(config)).with_config_operation(operation);
    let resource = AlterConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
    let resource = resource.with_configs(vec![config.with_value(value.map(text))]);
    let answer = conn.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
    assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
}

#[test]
fn k12_config_resources_by_type() {
    let target = shared();
    let mut conn = target.connect();
    let node = node_id(&mut conn).to_string();
    let (name, _) = conn.new_topic("k12", 1, &[]);
    let (group, subscription) = (unique("k12-group"), unique("k12-metrics"));
    set(&mut conn, 32, &group, ("consumer.session.timeout.ms", Some("46000")));
    set(&mut conn, 16, &subscription, ("interval.ms", Some("1000")));
    let cases = [(2, &name), (4, &node), (8, &node), (16, &subscription), (32, &group)];
    for (kind, name) in cases {
        let listed = eventually("it is listed", || {
            let (error, listed) = resources(&mut conn, 1, &[kind, kind]);
            assert_eq!(error, 0);
            listed.contains(&(kind, name.clone())).then_some(listed)
        });
        assert!(listed.iter().all(|(found, _)| *found == kind), "{listed:?}");
        assert_eq!(listed.iter().filter(|(_, found)| found == name).count(), 1, "once: {listed:?}");
    }
    let (error, all) = resources(&mut conn, 1, &[]);
    assert_eq!(error, 0);
    assert!(cases.iter().all(|(kind, name)| all.contains(&(*kind, (*name).clone()))), "{all:?}");
    let order: Vec<i8> = all.iter().map(|(kind, _)| *kind).collect();
    assert!(order.is_sorted_by(|a, b| a >= b), "groups first, topics last: {order:?}");
    let (error, metrics) = resources(&mut conn, 0, &[]);
    assert_eq!(error, 0);
    assert!(metrics.contains(&(16, subscription.clone())) && metrics.iter().all(|(kind, _)| *kind == 16));
    // What lost its last config is not listed any more.
    set(&mut conn, 32, &group, ("consumer.session.timeout.ms", None));
    set(&mut conn, 16, &subscription, ("interval.ms", None));
    eventually("the group is gone", || {
        (!resources(&mut conn, 1, &[32]).1.contains(&(32, group.clone()))).then_some(())
    });
}

#[test]
fn k12_unknown_types() {
    let mut conn = shared().connect();
    for types in [&[0][..], &[1], &[3], &[64], &[-1], &[2, 99]] {
        assert_eq!(resources(&mut conn, 1, types), (35, vec![]), "{types:?}");
    }
}

#[test]
fn k12_null_types_close_the_connection() {
    let mut conn = shared().connect();
    conn.send_raw_request(74, 1, 2, &[0, 0]);
    conn.expect_closed();
}
