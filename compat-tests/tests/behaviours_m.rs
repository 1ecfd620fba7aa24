//! Metadata, auto-creation, DescribeCluster and DescribeTopicPartitions: statements M1 to M20, one test each.
//!
//! M19 (a partition without a leader) needs two nodes and is not here.

use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest,
    MetadataResponse,
};
use pyralog_compat_tests::calls::{Fetch, eventually, metadata_request};
use pyralog_compat_tests::{Batch, Conn, on_kafka, shared, topic, unique};
use uuid::Uuid;

fn entry<'a>(response: &'a MetadataResponse, name: &str) -> &'a MetadataResponseTopic {
    let mut found = response.topics.iter().filter(|t| t.name.as_ref().is_some_and(|n| n.as_str() == name));
    let one = found.next().unwrap_or_else(|| panic!("{name} is not in {response:?}"));
    assert!(found.next().is_none(), "{name} is there twice");
    one
}

fn contains(response: &MetadataResponse, name: &str) -> bool {
    response.topics.iter().any(|t| t.name.as_ref().is_some_and(|n| n.as_str() == name))
}

fn creating(names: &[&str]) -> MetadataRequest {
    metadata_request(names).with_allow_auto_topic_creation(true)
}

fn by_id(id: Uuid, name: Option<&str>) -> MetadataRequest {
    let wanted = MetadataRequestTopic::default().with_topic_id(id).with_name(name.map(topic));
    MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false)
}

fn assert_unknown(conn: &mut Conn, name: &str) {
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(conn.metadata_of(name).error_code, 3, "{name} must not exist");
}

#[test]
fn m01_empty_is_all_in_v0_and_none_later() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("m01", 1, &[]);
    let all = conn.call(0, &creating(&[]));
    assert!(contains(&all, &name));
    for version in 1..=13 {
        let none = conn.call(version, &creating(&[]));
        assert!(none.topics.is_empty(), "v{version}: {none:?}");
        let null = conn.call(version, &MetadataRequest::default().with_topics(None));
        assert!(contains(&null, &name), "v{version}");
        for response in [none, null] {
            assert!(!response.brokers.is_empty(), "v{version}");
            assert!(response.brokers.iter().any(|b| b.node_id == response.controller_id), "v{version}: {response:?}");
            assert_eq!(response.cluster_id.is_some_and(|id| !id.is_empty()), version >= 2, "v{version}");
        }
    }
}

#[test]
fn m02_unknown_topic_without_auto_creation() {
    let mut conn = shared().connect();
    let name = unique("m02");
    for version in 4..=13 {
        let response = conn.call(version, &metadata_request(&[&name]));
        let found = entry(&response, &name);
        assert_eq!((found.error_code, found.topic_id, found.partitions.len()), (3, Uuid::nil(), 0), "v{version}");
    }
    assert_unknown(&mut conn, &name);
}

#[test]
fn m03_unknown_topic_is_created_but_answered_as_unknown() {
    let mut conn = shared().connect();
    for version in 0..=13 {
        let name = unique("m03");
        let response = conn.call(version, &creating(&[&name]));
        let found = entry(&response, &name);
        // Kafka always answers 3 here; 5 is the older answer for the same thing.
        assert_eq!((found.error_code, found.partitions.len()), (3, 0), "v{version}: {found:?}");
        let created = eventually("the topic is there", || {
            let found = conn.metadata_of(&name);
            (found.error_code == 0).then_some(found)
        });
        assert_eq!(created.partitions.len(), 4, "num.partitions");
        assert!(created.partitions.iter().all(|p| p.replica_nodes.len() == 1), "default.replication.factor");
    }
}

#[test]
fn m04_only_metadata_creates_topics() {
    let mut conn = shared().connect();
    let name = unique("m04");
    assert_eq!(conn.produce(&name, 0, &Batch::of("v", 1).encode()).error_code, 3);
    assert_eq!(conn.fetch(&Fetch::at(&name, 0, 0)).error_code, 3);
    assert_eq!(conn.list_offset(&name, 0, -1).error_code, 3);
    assert_unknown(&mut conn, &name);
}

#[test]
fn m05_invalid_names_are_refused_and_not_created() {
    let mut conn = shared().connect();
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "ä", "a\0b", &long] {
        for version in [4, 12] {
            let response = conn.call(version, &creating(&[name]));
            assert_eq!(response.topics.len(), 1);
            assert_eq!(response.topics[0].error_code, 17, "{name:?} v{version}");
            assert!(response.topics[0].partitions.is_empty());
        }
    }
    let all = conn.call(12, &MetadataRequest::default().with_topics(None));
    assert!(!contains(&all, "a b") && !contains(&all, &long));
}

#[test]
fn m05_a_name_of_249_characters_is_valid() {
    let mut conn = shared().connect();
    let name = format!("{:x<249}", unique("m05"));
    conn.create_topic(&name, 1, &[]);
    assert_eq!(conn.append(&name, 0, &Batch::of("v", 1).encode()), 0);
}

#[test]
fn m06_a_colliding_name_is_never_auto_created() {
    let mut conn = shared().connect();
    let dotted = format!("{}.b", unique("m06"));
    let underscored = dotted.replace('.', "_");
    conn.create_topic(&dotted, 1, &[]);
    for _ in 0..3 {
        let response = conn.call(12, &creating(&[&underscored]));
        assert_eq!(entry(&response, &underscored).error_code, 3);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_unknown(&mut conn, &underscored);
}

#[test]
fn m07_internal_topics() {
    let mut conn = shared().connect();
    for name in ["__consumer_offsets", "__transaction_state"] {
        conn.call(12, &creating(&[name]));
        let found = eventually(&format!("{name} is there"), || {
            let found = conn.metadata_of(name);
            (found.error_code == 0).then_some(found)
        });
        assert!(found.is_internal, "{name}");
        assert_eq!(found.partitions.len(), 50, "{name}");
    }
    let (plain, _) = conn.new_topic("m07", 1, &[]);
    assert!(!conn.metadata_of(&plain).is_internal);
}

#[test]
fn m08_the_same_name_twice_gives_one_entry() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("m08", 1, &[]);
    let unknown = unique("m08-unknown");
    let response = conn.metadata(&[&name, &unknown, &name, &unknown]);
    assert_eq!(response.topics.len(), 2, "{response:?}");
    assert_eq!(entry(&response, &name).error_code, 0);
    assert_eq!(entry(&response, &unknown).error_code, 3);
}

#[test]
fn m09_a_topic_id_finds_and_wins_over_the_name() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("m09", 1, &[]);
    let (other, _) = conn.new_topic("m09-other", 1, &[]);
    for version in [12, 13] {
        for given in [None, Some(&*other), Some("no-such-topic"), Some(&*name)] {
            let response = conn.call(version, &by_id(id, given));
            assert_eq!(response.topics.len(), 1, "{response:?}");
            assert_eq!(entry(&response, &name).topic_id, id, "v{version} name {given:?}");
        }
    }
}

#[test]
fn m10_an_unknown_topic_id() {
    let mut conn = shared().connect();
    let id = Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0);
    for version in [12, 13] {
        let response = conn.call(version, &by_id(id, None));
        assert_eq!(response.topics.len(), 1);
        let found = &response.topics[0];
        assert_eq!((found.error_code, &found.name, found.topic_id), (100, &None, id), "v{version}");
    }
}

#[test]
fn m11_ids_below_v12_are_an_invalid_request() {
    let mut conn = shared().connect();
    let (_, id) = conn.new_topic("m11", 1, &[]);
    for version in [10, 11] {
        for (id, name) in [(id, Some("named")), (id, None), (Uuid::nil(), None)] {
            let response = conn.call(version, &by_id(id, name));
            assert_eq!(response.topics.len(), 1, "v{version} {id} {name:?}");
            assert_eq!(response.topics[0].error_code, 42, "v{version} {id} {name:?}");
        }
    }
}

#[test]
fn m12_neither_name_nor_id() {
    let response = shared().connect().call(12, &by_id(Uuid::nil(), None));
    if on_kafka() {
        // The whole request fails there.
        assert!(response.topics.iter().all(|t| t.error_code == -1), "{response:?}");
    } else {
        assert_eq!(response.topics.len(), 1, "{response:?}");
        assert_eq!(response.topics[0].error_code, 42);
    }
}

#[test]
fn m13_authorized_operations_only_when_asked() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("m13", 1, &[]);
    for version in 8..=13 {
        let silent = conn.call(version, &metadata_request(&[&name]));
        assert_eq!(entry(&silent, &name).topic_authorized_operations, i32::MIN, "v{version}");
        let mut asking = metadata_request(&[&name]).with_include_topic_authorized_operations(true);
        asking.include_cluster_authorized_operations = version <= 10;
        let asked = conn.call(version, &asking);
        assert_eq!(entry(&asked, &name).topic_authorized_operations, 3576, "v{version}");
        if version <= 10 {
            assert_eq!(silent.cluster_authorized_operations, i32::MIN, "v{version}");
            assert_eq!(asked.cluster_authorized_operations, 8096, "v{version}");
        }
    }
    for (include, expected) in [(false, i32::MIN), (true, 8096)] {
        let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(include);
        assert_eq!(conn.call(0, &request).cluster_authorized_operations, expected);
    }
}

#[test]
fn m14_v13_has_a_top_level_error_code() {
    // The decoder must find every byte of v13; a missing error code would leave it short.
    assert_eq!(shared().connect().call(13, &metadata_request(&[])).error_code, 0);
}

#[test]
fn m15_leaders_are_brokers_and_brokers_are_reachable() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("m15", 3, &[]);
    let response = conn.metadata(&[&name]);
    for partition in &entry(&response, &name).partitions {
        assert!(response.brokers.iter().any(|b| b.node_id == partition.leader_id), "{response:?}");
        assert_eq!(partition.replica_nodes, [partition.leader_id]);
        assert_eq!(partition.isr_nodes, [partition.leader_id]);
    }
    let here = conn.peer();
    let advertised: Vec<_> = response.brokers.iter().map(|b| format!("{}:{}", b.host.as_str(), b.port)).collect();
    assert!(advertised.contains(&here.to_string()), "{advertised:?} has no {here}");
    assert!(response.brokers.iter().all(|b| b.host.as_str() != "0.0.0.0"));
}

#[test]
fn m16_a_recreated_topic_has_a_new_id() {
    let mut conn = shared().connect();
    let (name, first) = conn.new_topic("m16", 1, &[]);
    assert_eq!(conn.metadata_of(&name).topic_id, first);
    conn.append(&name, 0, &Batch::of("old", 3).encode());
    conn.delete_topic(&name);
    let second = conn.create_topic(&name, 1, &[]);
    assert_ne!(first, second);
    assert_eq!(conn.metadata_of(&name).topic_id, second);
    assert_eq!(conn.end_offset(&name, 0), 0, "a new topic is empty");
}

#[test]
fn m17_describe_cluster_endpoint_types() {
    let mut conn = shared().connect();
    for version in [1, 2] {
        let request = DescribeClusterRequest::default().with_endpoint_type(2);
        assert_eq!(conn.call(version, &request).error_code, 114, "v{version}");
        let request = DescribeClusterRequest::default().with_endpoint_type(9);
        assert_eq!(conn.call(version, &request).error_code, 115, "v{version}");
    }
    let metadata = conn.metadata(&[]);
    for version in 0..=2 {
        let response = conn.call(version, &DescribeClusterRequest::default().with_endpoint_type(1));
        assert_eq!(response.error_code, 0, "v{version}");
        assert_eq!(Some(&response.cluster_id), metadata.cluster_id.as_ref());
        assert_eq!(response.brokers.len(), metadata.brokers.len());
        assert!(response.brokers.iter().all(|b| !b.is_fenced));
        assert!(response.brokers.iter().any(|b| b.broker_id == response.controller_id));
    }
}

fn describe(
    conn: &mut Conn,
    names: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsResponse {
    let topics = names.iter().map(|n| TopicRequest::default().with_name(topic(n))).collect();
    let cursor =
        cursor.map(|(name, partition)| Cursor::default().with_topic_name(topic(name)).with_partition_index(partition));
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics)
        .with_response_partition_limit(limit)
        .with_cursor(cursor);
    conn.call(0, &request)
}

/// (topic, error, partitions) of each entry, and the cursor.
type Page = (Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>);

fn page(response: &DescribeTopicPartitionsResponse) -> Page {
    let topics = response
        .topics
        .iter()
        .map(|t| {
            let name = t.name.as_ref().map(|n| n.to_string()).unwrap_or_default();
            (name, t.error_code, t.partitions.iter().map(|p| p.partition_index).collect())
        })
        .collect();
    (topics, response.next_cursor.as_ref().map(|c| (c.topic_name.to_string(), c.partition_index)))
}

#[test]
fn m18_describe_topic_partitions_pages_in_name_order() {
    let mut conn = shared().connect();
    let prefix = unique("m18");
    let (a, b) = (format!("{prefix}-a"), format!("{prefix}-b"));
    conn.create_topic(&b, 3, &[]);
    conn.create_topic(&a, 2, &[]);

    let (topics, cursor) = page(&describe(&mut conn, &[&b, &a], 2000, None));
    assert_eq!(topics, [(a.clone(), 0, vec![0, 1]), (b.clone(), 0, vec![0, 1, 2])]);
    assert_eq!(cursor, None);

    let (topics, cursor) = page(&describe(&mut conn, &[&b, &a], 3, None));
    assert_eq!(topics, [(a.clone(), 0, vec![0, 1]), (b.clone(), 0, vec![0])]);
    assert_eq!(cursor, Some((b.clone(), 1)));
    let (topics, cursor) = page(&describe(&mut conn, &[&b, &a], 3, Some((&b, 1))));
    assert_eq!(topics, [(b.clone(), 0, vec![1, 2])]);
    assert_eq!(cursor, None);

    let (topics, cursor) = page(&describe(&mut conn, &[&a], 0, None));
    assert_eq!((topics, cursor), (vec![(a.clone(), 0, vec![0])], Some((a.clone(), 1))), "limit 0 acts as 1");
}

#[test]
fn m18_describe_topic_partitions_errors() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("m18", 1, &[]);
    let unknown = unique("m18-unknown");
    let response = describe(&mut conn, &[&unknown, &name, "a b"], 2000, None);
    let (mut topics, _) = page(&response);
    topics.sort();
    let mut expected = vec![(name.clone(), 0, vec![0]), (unknown, 3, vec![]), ("a b".to_owned(), 17, vec![])];
    expected.sort();
    assert_eq!(topics, expected);
    let found = response.topics.iter().find(|t| t.error_code == 0).expect("the topic");
    assert_eq!(found.topic_id, id);
    assert_eq!(found.partitions[0].isr_nodes, [found.partitions[0].leader_id]);

    let all = page(&describe(&mut conn, &[], 2000, None)).0;
    assert!(all.iter().any(|t| t.0 == name), "an empty list means all topics");
    let names: Vec<_> = all.iter().map(|t| t.0.clone()).collect();
    assert!(names.is_sorted(), "{names:?}");

    let response = describe(&mut conn, &[&name], 2000, Some((&name, -1)));
    assert_eq!(page(&response).0, [(name.clone(), 42, vec![])], "{response:?}");
}

#[test]
fn m20_a_named_leader_serves() {
    let mut conn = shared().connect();
    for _ in 0..5 {
        let name = unique("m20");
        conn.call(12, &creating(&[&name]));
        eventually("a leader is named", || {
            let found = conn.metadata_of(&name);
            (found.error_code == 0 && found.partitions.iter().all(|p| p.leader_id >= BrokerId(0))).then_some(())
        });
        let error = conn.produce(&name, 3, &Batch::of("v", 1).encode()).error_code;
        assert!(error == 0 || on_kafka() && [3, 6].contains(&error), "error {error}");
    }
}
