//! The same requests to Apache Kafka and to Pyralog, and what they answered, compared field by field.
//!
//! Two sources: every frame of `data/requests.jsonl` (hand-made requests in every offered version, captured from a probe,
//! so mostly for topics, groups and ids that do not exist here) and a script of good and bad requests per API and version.
//! Differences that are meant stand in [`ALLOWED`], each with its reason; everything else fails.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "differential/answers.rs"]
mod answers;
#[path = "differential/good_changes.rs"]
mod good_changes;
#[path = "differential/good_requests.rs"]
mod good_requests;
#[path = "differential/mutants.rs"]
mod mutants;
#[path = "differential/pinned_mutants.rs"]
mod pinned_mutants;
#[path = "differential/refusals.rs"]
mod refusals;
#[path = "differential/sequences.rs"]
mod sequences;
#[path = "differential/spellings.rs"]
mod spellings;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiKey, ApiVersionsRequest, ConsumerGroupDescribeRequest, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeGroupsRequest, DescribeTopicPartitionsRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, LeaveGroupRequest, ListGroupsRequest, MetadataRequest,
    OffsetDeleteRequest, OffsetFetchRequest, OffsetForLeaderEpochRequest, ProducerId, ResponseKind,
    alter_configs_request,
};
use kafka_protocol::protocol::Request;
use pyralog_compat_tests::batch::{Batch, Codec};
use pyralog_compat_tests::calls::{Fetch, eventually, list_offsets, metadata_request, produce_parts};
use pyralog_compat_tests::conn::Outcome;
use pyralog_compat_tests::consumers::{LEAVES, LEAVES_FOR_A_WHILE, beat_request, first_partitions, join_beat, owned};
use pyralog_compat_tests::diff::{Allowed, Tree, compare, parse};
use pyralog_compat_tests::groups::{
    commit_request, group_id, heartbeat_request, join_request, leader_sync, sync_request,
};
use pyralog_compat_tests::kafka::Kafka;
use pyralog_compat_tests::{Broker, BrokerOptions, Conn, text, topic, unique};
use serde_json::Value;
use uuid::Uuid;

const fn any(key: Option<i16>, field: &'static str, reason: &'static str) -> Allowed {
    Allowed { key, field, values: None, reason }
}

const fn pair(key: i16, field: &'static str, values: (&'static str, &'static str), reason: &'static str) -> Allowed {
    Allowed { key: Some(key), field, values: Some(values), reason }
}

const ALLOWED: &[Allowed] = &[
    any(None, "cluster_id", "made up by each cluster"),
    any(None, "host", "two processes, two addresses"),
    any(None, "port", "two processes, two addresses"),
    any(None, "topic_id", "drawn at random"),
    any(None, "member_id", "drawn at random"),
    any(Some(11), "leader", "a member id"),
    any(None, "producer_id", "from each cluster's own counter"),
    any(None, "session_id", "drawn at random"),
    any(None, "error_message", "the text is ours; null and empty are both in use (E4)"),
    any(None, "batch_index_error_message", "the text is ours"),
    any(None, "log_append_time_ms", "each broker's own clock"),
    any(Some(18), "api_keys", "Pyralog offers fewer APIs; each offered version has tests of its own"),
    any(Some(18), "supported_features", "features are finalized only for what works"),
    any(Some(18), "finalized_features", "features are finalized only for what works"),
    any(Some(18), "finalized_features_epoch", "counts each cluster's own changes"),
    any(Some(16), "groups", "groups of earlier requests live on in either; G20 tests the list"),
    any(Some(32), "documentation", "the text is ours"),
    any(Some(68), "heartbeat_interval_ms", "shorter in groups that change (GR-06); N6 tests it"),
    pair(3, "error_code", ("-1", "42"), "M12: a precise code where Kafka answers UNKNOWN_SERVER_ERROR"),
    pair(1, "error_code", ("-1", "42"), "F6: a precise code where Kafka answers UNKNOWN_SERVER_ERROR"),
    pair(1, "error_code", ("3", "100"), "F11: an id in a session whose topic is gone"),
    pair(44, "error_code", ("-1", "42"), "K6: a precise code where Kafka answers UNKNOWN_SERVER_ERROR"),
    pair(8, "error_code", ("0", "24"), "O6: the empty group id is no group"),
    pair(10, "error_message", ("NONE", "None"), "G2: null on success"),
];

struct Both {
    kafka: Conn,
    ours: Conn,
    addresses: [String; 2],
    compared: usize,
    differences: Vec<String>,
}

#[derive(Debug, PartialEq)]
enum Answer {
    Tree(Tree),
    Closed,
    Silence,
}

fn decode(key: i16, version: i16, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answer(body) => Answer::Tree(parse(&format!("{:?}", message(key, version, body)))),
        Outcome::Closed => Answer::Closed,
        Outcome::Silence => Answer::Silence,
    }
}

/// The message in the bytes of an answer.
fn message(key: i16, version: i16, body: Vec<u8>) -> ResponseKind {
    let api = ApiKey::try_from(key).unwrap();
    // A v0 body answers an ApiVersions request that is too new (C1); the header of that one never has tags (C3).
    let header = if api.response_header_version(version) >= 1 { 5 } else { 4 };
    let mut rest = Bytes::from(body).slice(header..);
    let decoded = ResponseKind::decode(api, &mut rest, version).unwrap_or_else(|e| panic!("key {key} v{version}: {e}"));
    assert!(rest.is_empty(), "key {key} v{version}: {} bytes left over", rest.len());
    decoded
}

impl Both {
    fn new(kafka: &str, ours: &str) -> Both {
        Both {
            kafka: Conn::connect(kafka),
            ours: Conn::connect(ours),
            addresses: [kafka.to_owned(), ours.to_owned()],
            compared: 0,
            differences: Vec::new(),
        }
    }

    /// Sends a frame to each and compares what comes back. Both work at the same time.
    fn exchange(&mut self, key: i16, version: i16, frames: [&[u8]; 2], label: &str) {
        self.kafka.send_frame(frames[0]);
        self.ours.send_frame(frames[1]);
        let patience = Duration::from_secs(8);
        let answers = [self.kafka.outcome(patience), self.ours.outcome(patience)].map(|o| decode(key, version, o));
        self.compared += 1;
        match &answers {
            [Answer::Tree(kafka), Answer::Tree(ours)] => {
                let found = compare(key, kafka, ours, ALLOWED);
                self.differences.extend(found.into_iter().map(|d| format!("key {key} v{version} {label}: {d}")));
            }
            [kafka, ours] => {
                if kafka != ours {
                    self.differences.push(format!("key {key} v{version} {label}: {kafka:?}, ours {ours:?}"));
                }
                self.kafka = Conn::connect(&self.addresses[0]);
                self.ours = Conn::connect(&self.addresses[1]);
            }
        }
    }

    fn ask<R: Request>(&mut self, version: i16, label: &str, request: &R) {
        let (_, kafka) = self.kafka.encode(version, request);
        let (_, ours) = self.ours.encode(version, request);
        self.exchange(R::KEY, version, [&kafka, &ours], label);
    }

    /// As [`Both::ask`], with a request for each: ids of topics differ.
    fn ask_each<R: Request>(&mut self, version: i16, label: &str, requests: &[R; 2]) {
        let (_, kafka) = self.kafka.encode(version, &requests[0]);
        let (_, ours) = self.ours.encode(version, &requests[1]);
        self.exchange(R::KEY, version, [&kafka, &ours], label);
    }

    /// A step that both must take before the next comparison.
    fn each<T>(&mut self, step: impl Fn(&mut Conn) -> T) -> [T; 2] {
        [step(&mut self.kafka), step(&mut self.ours)]
    }

    fn finish(self) {
        eprintln!("{} answers compared", self.compared);
        let shown: Vec<&str> = self.differences.iter().map(String::as_str).collect();
        assert!(shown.is_empty(), "{} differences (Kafka's, ours):\n{}", shown.len(), shown.join("\n"));
    }
}

/// Runs one comparison between two new brokers, if there is a Kafka. With `PYRALOG_TEST_KAFKA=1` between two Kafkas: what
/// differs then is no property of Pyralog.
fn with_both(work: impl FnOnce(&mut Both)) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(()); // six JVMs on two cores let sessions expire
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(kafka) = Kafka::start() else { return };
    let second = if std::env::var("PYRALOG_TEST_KAFKA").is_ok() { Kafka::start() } else { None };
    let options = BrokerOptions::new().set("num.partitions", "4").set("group.initial.rebalance.delay.ms", "0");
    let own = if second.is_none() { Some(Broker::start(options)) } else { None };
    let ours = second.as_ref().map(Kafka::address).or(own.as_ref().map(Broker::kafka)).unwrap();
    let mut both = Both::new(kafka.address(), ours);
    both.each(|conn| {
        conn.wait_for_coordinator("warm-up");
        // The first producer id of a Kafka may have to wait for its block (S9).
        let new_id = InitProducerIdRequest::default().with_transactional_id(None);
        eventually("a producer id", || (conn.call(2, &new_id).error_code == 0).then_some(()));
    });
    work(&mut both);
    both.finish();
}

#[test]
fn captured_requests_in_every_version() {
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let number = |value: &Value| i16::try_from(value.as_i64().unwrap()).unwrap();
    with_both(|both| {
        for (line, text) in include_str!("../data/requests.jsonl").lines().enumerate() {
            let request: Value = serde_json::from_str(text).unwrap();
            let frame = unhex(request["hex"].as_str().unwrap());
            let (key, version) = (number(&request["api_key"]), number(&request["api_version"]));
            both.exchange(key, version, [&frame, &frame], &format!("line {}", line + 1));
            if [3, 19, 20, 37].contains(&key) {
                // Kafka shows what changed a moment later (M3, A8).
                std::thread::sleep(Duration::from_millis(300));
            }
        }
    });
}

#[test]
fn topics_and_metadata() {
    with_both(|both| {
        let name = unique("diff");
        both.each(|conn| conn.create_topic(&name, 3, &[]));
        for version in 0..=13 {
            // Two names: what a request creates is there a moment later, and not at the same moment in both.
            let (unknown, other) = (unique("unknown"), unique("unknown"));
            for names in [&[&*name][..], &[&unknown], &["a b"], &[&name, &name], &[&name, &other, ".."]] {
                let flag = version >= 4;
                let request = metadata_request(names).with_allow_auto_topic_creation(!flag);
                both.ask(version, &format!("{names:?}"), &request);
            }
            if version >= 1 {
                both.ask(version, "no topics", &metadata_request(&[]).with_allow_auto_topic_creation(version < 4));
            }
            if version >= 8 {
                both.ask(
                    version,
                    "operations",
                    &metadata_request(&[&name]).with_include_topic_authorized_operations(true),
                );
            }
            if version >= 12 {
                let by_id = |id| MetadataRequestTopic::default().with_name(None).with_topic_id(id);
                // The zero id is M12: Kafka answers -1 for the whole request, we 42 for the topic.
                both.ask(
                    version,
                    "by id",
                    &MetadataRequest::default().with_topics(Some(vec![by_id(Uuid::from_u128(77))])),
                );
            }
        }
        for version in 0..=2 {
            both.ask(version, "cluster", &DescribeClusterRequest::default());
            if version >= 1 {
                both.ask(version, "controllers", &DescribeClusterRequest::default().with_endpoint_type(2));
                both.ask(version, "type 9", &DescribeClusterRequest::default().with_endpoint_type(9));
            }
        }
        for limit in [0, 1, 2, 100] {
            let topics = [&*name, "a b", "unknown-topic"].map(|n| TopicRequest::default().with_name(topic(n))).to_vec();
            let request =
                DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(limit);
            both.ask(0, &format!("limit {limit}"), &request);
        }
        for version in 0..=4 {
            let named = |name: &str| {
                let request = ApiVersionsRequest::default();
                if version < 3 {
                    request
                } else {
                    request.with_client_software_name(text(name)).with_client_software_version(text("1"))
                }
            };
            both.ask(version, "good", &named("test"));
            both.ask(version, "bad name", &named("not good!"));
        }
    });
}

#[test]
fn topics_are_created_grown_and_deleted() {
    with_both(|both| {
        let old = unique("diff");
        both.each(|conn| conn.create_topic(&old, 1, &[]));
        let new = |name: &str, partitions: i32, replicas: i16| {
            CreatableTopic::default()
                .with_name(topic(name))
                .with_num_partitions(partitions)
                .with_replication_factor(replicas)
        };
        let config = |name: &str, value: &str| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        for version in 2..=7 {
            let name = unique("diff");
            let wanted = [
                new(&name, 3, 1)
                    .with_configs(vec![config("retention.ms", "1000"), config("cleanup.policy", "compact")]),
                new(&old, 1, 1),
                new("a b", 1, 1),
                new(&unique("diff"), 0, 1),
                new(&unique("diff"), 1, 5),
                new(&unique("diff"), -1, -1),
                new(&unique("diff"), 1, 1).with_configs(vec![config("no.such.config", "1")]),
                new(&unique("diff"), 1, 1).with_configs(vec![config("segment.bytes", "tiny")]),
            ];
            for each in wanted {
                let request = CreateTopicsRequest::default().with_timeout_ms(15_000).with_topics(vec![each.clone()]);
                both.ask(version, &format!("create {each:?}"), &request);
            }
            both.each(|conn| conn.wait_for_topic(&name, 3));
            for (name, count) in [(&name, 5), (&name, 1), (&unique("unknown"), 3)] {
                let topics = vec![
                    CreatePartitionsTopic::default().with_name(topic(name)).with_count(count).with_assignments(None),
                ];
                let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(15_000);
                both.ask(version.min(3), &format!("grow to {count}"), &request);
            }
            let names = vec![topic(&name), topic("unknown-topic")];
            let request = DeleteTopicsRequest::default().with_timeout_ms(15_000);
            let request = if version - 1 < 6 {
                request.with_topic_names(names)
            } else {
                request.with_topics(names.into_iter().map(|n| DeleteTopicState::default().with_name(Some(n))).collect())
            };
            both.ask(version - 1, "delete", &request);
        }
    });
}

#[test]
fn records_are_produced_and_fetched() {
    with_both(|both| {
        let name = unique("diff");
        let ids = both.each(|conn| conn.create_topic(&name, 2, &[]));
        let stamped = |prefix: &str| Batch::of(prefix, 5).stamped(1_700_000_000_000);
        for version in 3..=12 {
            for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                let batch = stamped("v").codec(codec).encode();
                both.ask(version, &format!("{codec:?}"), &produce_parts(-1, &[(&name, 0, Some(&batch[..]))]));
            }
            let good = stamped("v").encode();
            let mut corrupt = good.clone();
            corrupt[17] ^= 1;
            let cases: [(i16, &str, i32, &[u8]); 5] = [
                (-1, &name, 1, &corrupt),
                (1, &name, 99, &good),
                (1, "unknown-topic", 0, &good),
                (7, &name, 0, &good),
                (1, &name, 1, &[]),
            ];
            for (acks, name, partition, records) in cases {
                both.ask(
                    version,
                    &format!("acks {acks} partition {partition}"),
                    &produce_parts(acks, &[(name, partition, Some(records))]),
                );
            }
        }
        for version in 4..=18 {
            for (partition, offset) in [(0, 0), (0, 3), (0, 10_000), (0, -1), (1, 0), (9, 0)] {
                let fetch = |id| {
                    let fetch =
                        Fetch::at(&name, partition, offset).id(id).with(|f| f.partition.current_leader_epoch = -1);
                    if version < 13 { fetch.build() } else { Fetch { name: String::new(), ..fetch }.build() }
                };
                let kafka = both.kafka.encode(version, &fetch(ids[0])).1;
                let ours = both.ours.encode(version, &fetch(ids[1])).1;
                both.exchange(1, version, [&kafka, &ours], &format!("partition {partition} offset {offset}"));
            }
        }
    });
}

#[test]
fn offsets_are_listed_and_records_deleted() {
    with_both(|both| {
        let name = unique("diff");
        both.each(|conn| {
            conn.create_topic(&name, 2, &[]);
            for _ in 0..5 {
                conn.append(&name, 0, &Batch::of("v", 5).stamped(1_700_000_000_000).encode());
            }
        });
        for version in 1..=10 {
            for timestamp in [-1, -2, -3, -4, -5, -7, 0, 1_700_000_000_002, i64::MAX] {
                both.ask(version, &format!("at {timestamp}"), &list_offsets(&name, 0, timestamp));
            }
            both.ask(version, "no such partition", &list_offsets(&name, 9, -1));
        }
        for version in 2..=4 {
            for epoch in [-1, 0, 1, 99] {
                let partition = OffsetForLeaderPartition::default()
                    .with_partition(0)
                    .with_current_leader_epoch(-1)
                    .with_leader_epoch(epoch);
                let topics = [&*name, "unknown-topic"].map(|n| {
                    OffsetForLeaderTopic::default().with_topic(topic(n)).with_partitions(vec![partition.clone()])
                });
                let request = OffsetForLeaderEpochRequest::default().with_topics(topics.to_vec());
                let request = if version >= 3 { request.with_replica_id((-1).into()) } else { request };
                both.ask(version, &format!("epoch {epoch}"), &request);
            }
        }
        for version in 0..=2 {
            for (name, partition, offset) in
                [(&*name, 0, 7), (&name, 0, 10_000), (&name, 0, 3), (&name, 9, 0), ("unknown-topic", 0, 0)]
            {
                let partitions =
                    vec![DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset)];
                let topics = vec![DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(partitions)];
                let request = DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(15_000);
                both.ask(version, &format!("{name}-{partition} to {offset}"), &request);
            }
        }
        for version in 0..=5 {
            let request =
                InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
            let unset = if version < 3 {
                request.clone()
            } else {
                request.clone().with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
            };
            both.ask(version, "new id", &unset);
            if version >= 3 {
                both.ask(version, "half set", &request.with_producer_id(ProducerId(5)).with_producer_epoch(-1));
            }
        }
    });
}

#[test]
fn groups() {
    with_both(|both| {
        let group = unique("group");
        both.each(|conn| conn.wait_for_coordinator(&group));
        for version in 0..=6 {
            for kind in [0, 9] {
                let request = FindCoordinatorRequest::default();
                let request = if version < 4 {
                    request.with_key(text(&group))
                } else {
                    request.with_coordinator_keys(vec![text(&group), text("other")])
                };
                if version >= 1 {
                    both.ask(version, &format!("kind {kind}"), &request.with_key_type(kind));
                } else if kind == 0 {
                    both.ask(version, "kind 0", &request);
                }
            }
        }
        for version in 0..=4 {
            both.ask(version, "stranger", &heartbeat_request(&group, 1, "stranger"));
            both.ask(version, "no group", &heartbeat_request("", 1, "stranger"));
        }
        for version in 0..=9 {
            let timeout = if version == 0 { -1 } else { 10_000 };
            // Another group: a join waits for everybody who was just promised a member id.
            let request = join_request("other-group", "").with_rebalance_timeout_ms(timeout);
            both.ask(version, "stranger", &request.clone().with_member_id(text("stranger")));
            both.ask(version, "session", &request.clone().with_session_timeout_ms(1));
            both.ask(version, "no protocols", &request.clone().with_protocols(vec![]));
            if version >= 4 {
                both.ask(version, "new", &request);
            }
        }
        let members = both.each(|conn| {
            let joined = conn.join(&join_request(&group, ""));
            let synced = conn.sync(&leader_sync(&group, &joined, "for").with_assignments(vec![]));
            assert_eq!(synced.error_code, 0);
            joined.member_id.to_string()
        });
        for version in 0..=6 {
            let groups = vec![group_id(&group), group_id("unknown-group")];
            both.ask(version, "describe", &DescribeGroupsRequest::default().with_groups(groups));
        }
        for version in 0..=5 {
            both.ask(version, "list", &ListGroupsRequest::default());
        }
        let delete = |names: &[&str]| {
            DeleteGroupsRequest::default().with_groups_names(names.iter().map(|n| group_id(n)).collect())
        };
        both.ask(2, "members", &delete(&[&group, "unknown-group"]));
        for version in 0..=2 {
            let leave = LeaveGroupRequest::default().with_group_id(group_id(&group)).with_member_id(text("stranger"));
            both.ask(version, "stranger", &leave);
        }
        let [kafka, ours] = members;
        both.kafka.leave(&group, &[&kafka]);
        both.ours.leave(&group, &[&ours]);
        for version in 0..=2 {
            both.ask(version, "delete", &delete(&[&group, "unknown-group"]));
        }
    });
}

/// Heartbeats that are refused whatever the state of the group.
fn refused_heartbeats(both: &mut Both, group: &str, name: &str) {
    let join = |id: &str| join_beat(group, id, &[name]);
    for version in 0..=1 {
        for (label, request) in [
            ("no group", join("a").with_group_id(group_id(""))),
            ("blank group", join("a").with_group_id(group_id(" "))),
            ("no id", join("").with_member_epoch(1)),
            ("no timeout", join("a").with_rebalance_timeout_ms(-1)),
            ("no subscription", join("a").with_subscribed_topic_names(None)),
            ("no partitions", join("a").with_topic_partitions(None)),
            ("empty instance", join("a").with_instance_id(Some(text("")))),
            ("empty rack", join("a").with_rack_id(Some(text("")))),
            ("assignor", join("a").with_server_assignor(Some(text("x")))),
            ("empty assignor", join("a").with_server_assignor(Some(text("")))),
            ("epoch -3", join("a").with_member_epoch(-3)),
            ("stays in no group", beat_request("no-group", "a", 1)),
            ("leaves no group", beat_request("no-group", "a", LEAVES)),
            ("away from no group", beat_request("no-group", "a", LEAVES_FOR_A_WHILE)),
            ("no instance", beat_request(group, "a", LEAVES_FOR_A_WHILE)),
        ] {
            both.ask(version, label, &request);
        }
    }
}

/// Commits and fetches of the members `a` and `b` at epoch 3, and of strangers.
fn offsets_of_members(both: &mut Both, group: &str, name: &str) {
    for version in 8..=9 {
        for (member, epoch) in [("a", 3), ("a", 4), ("a", 2), ("x", 3), ("", -1)] {
            let commit = commit_request(group, &[(name, 0, 5)])
                .with_generation_id_or_member_epoch(epoch)
                .with_member_id(text(member));
            both.ask(version, &format!("commit {member} {epoch}"), &commit);
        }
    }
    for (member, epoch) in [(Some("a"), 3), (Some("a"), 2), (Some("x"), 3), (None, -1), (Some(""), -1)] {
        let topics =
            vec![OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(vec![0, 1, 9])];
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(Some(topics));
        let request = OffsetFetchRequest::default().with_groups(vec![asked]);
        both.ask(9, &format!("fetch {member:?} {epoch}"), &request);
    }
}

#[test]
fn consumer_groups() {
    with_both(|both| {
        let (name, group) = (unique("diff"), unique("group"));
        let ids = both.each(|conn| {
            conn.wait_for_coordinator(&group);
            conn.create_topic(&name, 4, &[])
        });
        let join = |id: &str| join_beat(&group, id, &[&name]);
        refused_heartbeats(both, &group, &name);
        let pattern = |pattern| join("a").with_subscribed_topic_regex(Some(text(pattern)));
        both.ask(1, "pattern", &pattern("a(b").with_subscribed_topic_names(None));
        both.ask(1, "pattern and names", &pattern("(").with_member_epoch(0));
        both.ask(1, "joins", &join("a"));
        both.ask(1, "joins again", &join("a"));
        both.ask(1, "stays", &beat_request(&group, "a", 2));
        for epoch in [1, 3, 77] {
            both.ask(1, "wrong epoch", &beat_request(&group, "a", epoch));
        }
        both.ask(1, "stranger", &beat_request(&group, "x", 2));
        both.ask(1, "stranger leaves", &beat_request(&group, "x", LEAVES));
        both.ask(1, "unknown instance", &beat_request(&group, "a", 2).with_instance_id(Some(text("i"))));
        both.ask(1, "second", &join("b"));
        std::thread::sleep(Duration::from_millis(1200)); // the assignment interval
        both.ask(1, "has to give back", &beat_request(&group, "a", 2));
        both.ask(1, "second waits", &beat_request(&group, "b", 2));
        for version in 0..=1 {
            let names = [&*group, "unknown-group", ""].map(group_id).to_vec();
            let describe = ConsumerGroupDescribeRequest::default().with_group_ids(names);
            both.ask(version, "reconciling", &describe);
            both.ask(version, "operations", &describe.with_include_authorized_operations(true));
        }
        let gives_back = ids.map(|id| {
            let kept = owned(&first_partitions(id, 2));
            beat_request(&group, "a", 2).with_topic_partitions(Some(kept))
        });
        both.ask_each(1, "gave back", &gives_back);
        both.ask(1, "second takes", &beat_request(&group, "b", 3));
        both.ask_each(1, "repeats", &gives_back);
        offsets_of_members(both, &group, &name);
        for version in 0..=6 {
            both.ask(version, "describe", &DescribeGroupsRequest::default().with_groups(vec![group_id(&group)]));
        }
        // Not JoinGroup: Kafka takes a stranger in (docs/DIFFERENCES.md).
        both.ask(5, "classic", &sync_request(&group, 3, "stranger"));
        both.ask(4, "classic", &heartbeat_request(&group, 3, "stranger"));
        let gone = MemberIdentity::default().with_member_id(text("stranger"));
        both.ask(5, "classic", &LeaveGroupRequest::default().with_group_id(group_id(&group)).with_members(vec![gone]));
        let delete = DeleteGroupsRequest::default().with_groups_names(vec![group_id(&group)]);
        both.ask(2, "has members", &delete);
        both.ask(1, "leaves", &beat_request(&group, "a", LEAVES));
        both.ask(1, "leaves", &beat_request(&group, "b", LEAVES));
        both.ask(1, "empty", &ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(&group)]));
        both.ask(2, "delete", &delete);
    });
}

#[test]
fn committed_offsets() {
    with_both(|both| {
        let (name, group) = (unique("diff"), unique("group"));
        both.each(|conn| {
            conn.create_topic(&name, 2, &[]);
            conn.wait_for_coordinator(&group);
        });
        for version in 2..=9 {
            let offsets = [(&*name, 0, 5), (&*name, 9, 5), ("unknown-topic", 0, 5)];
            both.ask(version, "commit", &commit_request(&group, &offsets));
            both.ask(
                version,
                "generation",
                &commit_request(&group, &offsets).with_generation_id_or_member_epoch(3).with_member_id(text("x")),
            );
        }
        for version in 1..=9 {
            for group in [&*group, "unknown-group"] {
                let partitions = vec![0, 1, 9];
                let topics = vec![
                    OffsetFetchRequestTopic::default()
                        .with_name(topic(&name))
                        .with_partition_indexes(partitions.clone()),
                ];
                let new = vec![
                    OffsetFetchRequestTopics::default().with_name(topic(&name)).with_partition_indexes(partitions),
                ];
                let request = OffsetFetchRequest::default();
                let request = if version < 8 {
                    request.with_group_id(group_id(group)).with_topics(Some(topics))
                } else {
                    request.with_groups(vec![
                        OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(Some(new)),
                    ])
                };
                both.ask(version, group, &request);
            }
        }
        // The good one last: with its last offset ours forgets the group at once, Kafka at its next clean-up.
        for (group, name, partition) in [("unknown-group", &*name, 0), (&group, &name, 9), (&group, &name, 0)] {
            let partitions = vec![OffsetDeleteRequestPartition::default().with_partition_index(partition)];
            let topics = vec![OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(partitions)];
            both.ask(0, group, &OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(topics));
        }
    });
}

#[test]
fn configs() {
    with_both(|both| {
        let name = unique("diff");
        both.each(|conn| conn.create_topic(&name, 1, &[("retention.ms", "1234")]));
        let resource = |kind: i8, name: &str| {
            DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name))
        };
        for version in 1..=4 {
            for (kind, name) in
                [(2, &*name), (2, "unknown-topic"), (2, "a b"), (4, "77"), (4, "x"), (32, "group"), (32, ""), (99, "x")]
            {
                let all = resource(kind, name).with_configuration_keys(None);
                let request =
                    DescribeConfigsRequest::default().with_resources(vec![all]).with_include_synonyms(version % 2 == 0);
                both.ask(version, &format!("{kind} {name:?}"), &request);
            }
        }
        let operations: [(i8, &str, Option<&str>); 8] = [
            (0, "retention.ms", Some("99")),
            (0, "retention.ms", Some("x")),
            (0, "no.such.config", Some("1")),
            (1, "retention.ms", None),
            (2, "cleanup.policy", Some("compact")),
            (3, "cleanup.policy", Some("delete")),
            (2, "retention.ms", Some("1")),
            (9, "retention.ms", Some("1")),
        ];
        for version in 0..=1 {
            for (operation, key, value) in operations {
                let config = AlterableConfig::default()
                    .with_name(text(key))
                    .with_config_operation(operation)
                    .with_value(value.map(text));
                let one = AlterConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(text(&name))
                    .with_configs(vec![config]);
                both.ask(
                    version,
                    &format!("{operation} {key} {value:?}"),
                    &IncrementalAlterConfigsRequest::default().with_resources(vec![one]),
                );
            }
        }
        for version in 0..=2 {
            for (key, value) in [("flush.ms", "1"), ("flush.ms", "x"), ("no.such.config", "1")] {
                let config = alter_configs_request::AlterableConfig::default()
                    .with_name(text(key))
                    .with_value(Some(text(value)));
                let one = alter_configs_request::AlterConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(text(&name))
                    .with_configs(vec![config]);
                both.ask(version, &format!("{key} {value}"), &AlterConfigsRequest::default().with_resources(vec![one]));
            }
        }
        both.each(|_| std::thread::sleep(Duration::from_millis(300)));
        let all = resource(2, &name).with_configuration_keys(None);
        both.ask(4, "afterwards", &DescribeConfigsRequest::default().with_resources(vec![all]));
    });
}

/// The differ itself: what it must see, and what it must not.
#[test]
fn planted_differences_are_found() {
    let answer = r#"Response { throttle_time_ms: 0, topics: [Topic { name: TopicName("a"), topic_id: 1f-2e, error_code: 0, note: Some("x, \"y\" { z"), partitions: [1, 2] }, Topic { name: TopicName("b"), topic_id: 3, error_code: 3, note: None, partitions: [] }], unknown_tagged_fields: {} }"#;
    let allowed = [
        any(None, "topic_id", "random"),
        pair(3, "error_code", ("3", "17"), "ours is better"),
        any(Some(99), "note", "another API"),
    ];
    let differences = |from: &str, to: &str| {
        assert!(answer.contains(from), "{from}");
        compare(3, &parse(answer), &parse(&answer.replace(from, to)), &allowed)
    };
    assert_eq!(differences("a", "a"), Vec::<String>::new());
    assert_eq!(differences("1f-2e", "77"), Vec::<String>::new(), "allowed");
    assert_eq!(differences("error_code: 3", "error_code: 17"), Vec::<String>::new(), "allowed as a pair");
    assert_eq!(differences("[1, 2]", "[2, 1]"), Vec::<String>::new(), "lists are bags");
    for (from, to) in [
        ("error_code: 0", "error_code: -1"),
        ("error_code: 3", "error_code: 18"),
        ("[1, 2]", "[1, 2, 3]"),
        ("[1, 2]", "[1, 3]"),
        ("note: None", "note: Some(\"\")"),
        ("TopicName(\"b\")", "TopicName(\"c\")"),
        ("throttle_time_ms: 0", "throttle_time_ms: 1"),
        ("unknown_tagged_fields: {}", "unknown_tagged_fields: {0: b\"x\"}"),
        ("partitions: []", "partitions: 7"),
    ] {
        assert_ne!(differences(from, to), Vec::<String>::new(), "{from} -> {to} was not seen");
    }
}
