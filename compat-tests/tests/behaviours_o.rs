//! Section O, committed offsets: one test per numbered statement, named after it.
//!
//! O10 needs transactions. Of O7 only what the offered versions (OffsetFetch 1-9) can ask is tested; O8 is about v10.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::groups::{commit_request, group_id, join_request, protocol, subscription};
use pyralog_compat_tests::{BrokerOptions, Conn, Target, on_kafka, private, shared, text, topic, unique};

/// A connection, a new group and a topic of two partitions.
fn start() -> (Target, Conn, String, String) {
    let target = shared();
    let mut conn = target.connect();
    let group = conn.new_group("o");
    let (name, _) = conn.new_topic("o", 2, &[]);
    (target, conn, group, name)
}

/// OffsetFetch up to v7 in any version.
fn fetch_request(group: &str, name: &str, partitions: &[i32]) -> OffsetFetchRequest {
    let topics = OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(partitions.to_vec());
    OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(Some(vec![topics]))
}

/// OffsetFetch from v8 on.
fn group_fetch(group: &str, asked: Option<(&str, &[i32])>) -> OffsetFetchRequestGroup {
    let topics = asked.map(|(name, partitions)| {
        vec![OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(partitions.to_vec())]
    });
    OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(topics)
}

#[test]
fn o01_unknown_groups_and_topics_have_no_offsets_and_no_error() {
    let (_target, mut conn, group, name) = start();
    let missing = unique("missing");
    for version in 1..=7 {
        for asked in [&name, &missing] {
            let answer = conn.call(version, &fetch_request(&group, asked, &[0, 1]));
            assert_eq!((answer.error_code, answer.topics.len()), (0, 1), "v{version} {answer:?}");
            assert_eq!(answer.topics[0].partitions.len(), 2, "v{version}");
            for partition in &answer.topics[0].partitions {
                let found = (partition.error_code, partition.committed_offset, partition.committed_leader_epoch);
                assert_eq!(found, (0, -1, -1), "v{version}");
                assert_eq!(partition.metadata, Some(text("")), "v{version}");
            }
        }
        let all = OffsetFetchRequest::default().with_group_id(group_id(&group)).with_topics(None);
        if version >= 2 {
            let answer = conn.call(version, &all);
            assert_eq!((answer.error_code, answer.topics.len()), (0, 0), "v{version} {answer:?}");
        }
    }
    for version in 8..=9 {
        let groups = vec![group_fetch(&group, Some((&name, &[0]))), group_fetch(&group, None)];
        let answer = conn.call(version, &OffsetFetchRequest::default().with_groups(groups));
        let found = &answer.groups[0].topics[0].partitions[0];
        assert_eq!((found.error_code, found.committed_offset, found.committed_leader_epoch), (0, -1, -1), "v{version}");
        assert_eq!((answer.groups[1].error_code, answer.groups[1].topics.len()), (0, 0), "v{version} {answer:?}");
    }
    // v1 cannot say "all topics": group id, then a null array.
    let mut body = Vec::new();
    body.extend_from_slice(&u16::try_from(group.len()).unwrap().to_be_bytes());
    body.extend_from_slice(group.as_bytes());
    body.extend_from_slice(&(-1i32).to_be_bytes());
    conn.send_raw_request(9, 1, 1, &body);
    conn.expect_closed();
}

#[test]
fn o02_commit_without_generation_needs_a_group_without_members() {
    let (target, mut conn, group, name) = start();
    let plain = |group: &str| commit_request(group, &[(&name, 0, 10)]);
    for version in 2..=9 {
        let group = conn.new_group("o");
        let answer = conn.call(version, &plain(&group));
        assert_eq!(answer.topics[0].partitions[0].error_code, 0, "v{version} creates the group");
        assert_eq!(conn.committed(&group, &name, 0).committed_offset, 10, "v{version}");
        let with_generation = plain(&group).with_generation_id_or_member_epoch(1).with_member_id(text("m"));
        let error = conn.call(version, &with_generation).topics[0].partitions[0].error_code;
        assert_eq!(error, 25, "v{version}, generation for an empty group");
        let unknown = unique("o");
        conn.wait_for_coordinator(&unknown);
        let with_generation = plain(&unknown).with_generation_id_or_member_epoch(1).with_member_id(text("m"));
        let error = conn.call(version, &with_generation).topics[0].partitions[0].error_code;
        assert_eq!(error, if version < 9 { 22 } else { 69 }, "v{version}, generation for an unknown group");
    }
    let mut member = target.connect();
    member.join_alone(&join_request(&group, ""));
    assert_eq!(conn.commit(&plain(&group)), 25, "the group has members");
}

#[test]
fn o03_each_partition_has_its_own_error_and_metadata_comes_back() {
    let (_target, mut conn, group, name) = start();
    let missing = unique("missing");
    let mut request = commit_request(&group, &[(&name, 0, 1), (&name, 99, 1), (&missing, 0, 1)]);
    let answer = conn.call(8, &request);
    let mut errors: Vec<(String, i32, i16)> = answer
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), p.partition_index, p.error_code)))
        .collect();
    errors.sort();
    let mut expected = vec![(name.clone(), 0, 0), (name.clone(), 99, 3), (missing, 0, 3)];
    expected.sort();
    assert_eq!(errors, expected);

    request.topics.truncate(1);
    let mut try_metadata = |metadata: Option<String>| {
        let partition = &mut request.topics[0].partitions[0];
        partition.committed_metadata = metadata.as_deref().map(text);
        partition.committed_leader_epoch = 0;
        let error = conn.commit(&request);
        let stored = conn.committed(&group, &name, 0);
        (error, stored.metadata.unwrap().to_string(), stored.committed_leader_epoch)
    };
    assert_eq!(try_metadata(Some("hello".to_owned())), (0, "hello".to_owned(), 0));
    assert_eq!(try_metadata(Some("m".repeat(4096))), (0, "m".repeat(4096), 0));
    assert_eq!(try_metadata(Some("ä".repeat(4096))).0, 0, "characters, not bytes");
    assert_eq!(try_metadata(Some("m".repeat(4097))).0, 12);
    assert_eq!(try_metadata(Some("😀".repeat(2048))).0, 0, "4096 UTF-16 units");
    assert_eq!(try_metadata(Some("😀".repeat(2049))).0, 12, "4098 UTF-16 units");
    assert_eq!(try_metadata(None), (0, String::new(), 0));
}

#[test]
fn o04_offset_values_are_not_checked() {
    let (_target, mut conn, group, name) = start();
    for offset in [-1, -5, 1_000_000_000_000, i64::MAX] {
        assert_eq!(conn.commit(&commit_request(&group, &[(&name, 0, offset)])), 0);
        assert_eq!(conn.committed(&group, &name, 0).committed_offset, offset);
    }
}

#[test]
fn o05_every_partition_is_answered_by_name_and_index() {
    let (_target, mut conn, group, name) = start();
    let mut request = commit_request(&group, &[(&name, 0, 1)]);
    let good = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = [7, 1, 0].map(|index| good.clone().with_partition_index(index)).to_vec();
    let answer = conn.call(8, &request);
    let mut found: Vec<(i32, i16)> =
        answer.topics.iter().flat_map(|t| &t.partitions).map(|p| (p.partition_index, p.error_code)).collect();
    found.sort_unstable();
    assert_eq!(found, [(0, 0), (1, 0), (7, 3)]);
}

#[test]
fn o06_commit_to_the_empty_group_id() {
    let (_target, mut conn, _, name) = start();
    conn.wait_for_coordinator("");
    let error = conn.commit(&commit_request("", &[(&name, 0, 1)]));
    assert_eq!(error, if on_kafka() { 0 } else { 24 });
}

#[test]
fn o07_groups_are_answered_one_by_one() {
    let (_target, mut conn, group, name) = start();
    let second = conn.new_group("o");
    conn.commit(&commit_request(&group, &[(&name, 0, 3), (&name, 1, 4)]));
    for version in 8..=9 {
        let asked = || group_fetch(&group, Some((&name, &[0])));
        let groups = vec![asked(), group_fetch(&second, None), asked(), group_fetch(&group, None)];
        let answer = conn.call(version, &OffsetFetchRequest::default().with_groups(groups));
        let found: Vec<(&str, i16, Vec<i64>)> = answer
            .groups
            .iter()
            .map(|g| {
                let mut offsets: Vec<i64> =
                    g.topics.iter().flat_map(|t| &t.partitions).map(|p| p.committed_offset).collect();
                offsets.sort_unstable();
                (g.group_id.as_str(), g.error_code, offsets)
            })
            .collect();
        let expected = [(&*group, 0, vec![3]), (&*second, 0, vec![]), (&*group, 0, vec![3]), (&*group, 0, vec![3, 4])];
        assert_eq!(found, expected, "v{version}");
    }
}

fn delete(conn: &mut Conn, group: &str, name: &str, partition: i32) -> OffsetDeleteResponse {
    let partitions = vec![OffsetDeleteRequestPartition::default().with_partition_index(partition)];
    let topics = vec![OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(partitions)];
    conn.call(0, &OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(topics))
}

#[test]
fn o09_offset_delete() {
    let (target, mut conn, group, name) = start();
    let unknown = unique("o");
    conn.wait_for_coordinator(&unknown);
    assert_eq!(delete(&mut conn, &unknown, &name, 0).error_code, 69);
    conn.commit(&commit_request(&group, &[(&name, 0, 3), (&name, 1, 4)]));
    let error = |answer: &OffsetDeleteResponse| (answer.error_code, answer.topics[0].partitions[0].error_code);
    assert_eq!(error(&delete(&mut conn, &group, &name, 77)), (0, 3));
    assert_eq!(error(&delete(&mut conn, &group, &name, 0)), (0, 0));
    assert_eq!(conn.committed(&group, &name, 0).committed_offset, -1);
    assert_eq!(conn.committed(&group, &name, 1).committed_offset, 4);

    let subscribed = protocol("range", "").with_metadata(subscription(&[&name], ""));
    let mut member = target.connect();
    member.join_alone(&join_request(&group, "").with_protocols(vec![subscribed]));
    assert_eq!(error(&delete(&mut conn, &group, &name, 1)), (0, 86));
    assert_eq!(conn.committed(&group, &name, 1).committed_offset, 4);
}

/// One minute is the shortest retention there is.
#[test]
#[ignore = "takes 70 s"]
fn o11_offsets_of_an_empty_group_expire() {
    let options =
        BrokerOptions::new().set("offsets.retention.minutes", "1").set("offsets.retention.check.interval.ms", "1000");
    let Some(broker) = private(options) else { return };
    let mut conn = broker.connect();
    let group = conn.new_group("o");
    let (name, _) = conn.new_topic("o", 1, &[]);
    conn.commit(&commit_request(&group, &[(&name, 0, 3)]));
    std::thread::sleep(Duration::from_secs(40));
    assert_eq!(conn.committed(&group, &name, 0).committed_offset, 3);
    eventually("it is gone", || (conn.committed(&group, &name, 0).committed_offset == -1).then_some(()));
}
