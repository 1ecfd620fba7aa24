//! Elections and reassignments on one node.

use super::*;
use crate::metadata::reassign::{alter_partition_reassignments, elect_leaders, list_partition_reassignments};
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::protocol::Encodable;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

fn two_logs() -> Bench {
    let mut b = bench();
    b.create("b", 2, &[]);
    b.create("a", 1, &[]);
    b
}

/// By log, (partition, error).
type Results = Vec<(String, Vec<(i32, i16)>)>;

/// Top-level error, and what the answer says of each log.
fn elect(b: &Bench, election: i8, asked: Option<&[(&str, &[i32])]>) -> (i16, Results) {
    let topic = |(log, partitions): &(&str, &[i32])| {
        TopicPartitions::default().with_topic(name(log)).with_partitions(partitions.to_vec())
    };
    let request = m::ElectLeadersRequest::default()
        .with_election_type(election)
        .with_topic_partitions(asked.map(|topics| topics.iter().map(topic).collect()));
    let answer = elect_leaders(&b.image(), &request);
    answer.encode(&mut bytes::BytesMut::new(), 2).unwrap();
    let results = answer.replica_election_results.iter().map(|topic| {
        let partitions = topic.partition_result.iter().map(|p| {
            assert_eq!(p.error_code == 0, p.error_message.is_none());
            (p.partition_id, p.error_code)
        });
        (topic.topic.to_string(), partitions.collect())
    });
    (answer.error_code, results.collect())
}

fn results(expected: &[(&str, &[(i32, i16)])]) -> Results {
    expected.iter().map(|(log, partitions)| ((*log).to_owned(), partitions.to_vec())).collect()
}

#[test]
fn a10_what_leads_already_needs_no_election() {
    for election in [PREFERRED, UNCLEAN] {
        let found = elect(&two_logs(), election, Some(&[("b", &[0, 1]), ("a", &[0]), ("b", &[0])]));
        let expected = results(&[("b", &[(0, 84), (1, 84)]), ("a", &[(0, 84)]), ("b", &[(0, 84)])]);
        assert_eq!(found, (0, expected));
    }
}

#[test]
fn a10_unknown_partitions() {
    let found = elect(&two_logs(), PREFERRED, Some(&[("a", &[1, -1, 0]), ("none", &[0]), ("a/b", &[0]), ("b", &[])]));
    let expected = results(&[("a", &[(1, 3), (-1, 3), (0, 84)]), ("none", &[(0, 3)]), ("a/b", &[(0, 3)]), ("b", &[])]);
    assert_eq!(found, (0, expected));
}

#[test]
fn a10_null_names_every_log_without_the_partitions_in_order() {
    assert_eq!(elect(&two_logs(), PREFERRED, None), (0, results(&[("a", &[]), ("b", &[])])));
    assert_eq!(elect(&two_logs(), UNCLEAN, Some(&[])), (0, Vec::new()));
}

#[test]
fn a10_unknown_type() {
    for election in [2, 9, -1] {
        assert_eq!(elect(&two_logs(), election, Some(&[("a", &[0])])), (42, results(&[("a", &[(0, 42)])])));
        assert_eq!(elect(&two_logs(), election, None), (42, Vec::new()));
    }
}

type Asked<'a> = (i32, Option<&'a [i32]>);

fn reassign(b: &Bench, allow_change: bool, log: &str, asked: &[Asked<'_>]) -> Vec<(i32, i16)> {
    let partition = |(index, replicas): &Asked<'_>| {
        let replicas = replicas.map(|ids| ids.iter().copied().map(m::BrokerId).collect());
        ReassignablePartition::default().with_partition_index(*index).with_replicas(replicas)
    };
    let topic = ReassignableTopic::default().with_name(name(log));
    let topic = topic.with_partitions(asked.iter().map(partition).collect());
    let request = m::AlterPartitionReassignmentsRequest::default()
        .with_allow_replication_factor_change(allow_change)
        .with_topics(vec![topic]);
    let mut answer = alter_partition_reassignments(&b.image(), &request);
    answer.encode(&mut bytes::BytesMut::new(), 1).unwrap();
    assert_eq!((answer.error_code, answer.error_message.take()), (0, None));
    assert_eq!(answer.allow_replication_factor_change, allow_change);
    assert_eq!((answer.responses.len(), answer.responses[0].name.as_str()), (1, log));
    let partitions = answer.responses[0].partitions.iter().map(|p| {
        assert_eq!(p.error_code == 0, p.error_message.is_none());
        (p.partition_index, p.error_code)
    });
    partitions.collect()
}

#[test]
fn a11_reassignments() {
    let b = two_logs();
    for allow_change in [true, false] {
        let asked: &[Asked<'_>] = &[
            (0, Some(&[1])),
            (1, Some(&[2])),
            (0, Some(&[1, 2])),
            (0, Some(&[1, 1])),
            (0, Some(&[-1])),
            (0, Some(&[])),
            (0, None),
            (2, Some(&[1])),
            (-1, None),
        ];
        let expected = [(0, 0), (1, 39), (0, 39), (0, 39), (0, 39), (0, 39), (0, 85), (2, 3), (-1, 3)];
        assert_eq!(reassign(&b, allow_change, "b", asked), expected);
        assert_eq!(reassign(&b, allow_change, "none", &[(0, Some(&[1])), (0, None)]), [(0, 3), (0, 3)]);
    }
}

#[test]
fn a11_a_request_for_nothing_gets_the_defaults() {
    let request = m::AlterPartitionReassignmentsRequest::default().with_allow_replication_factor_change(false);
    let answer = alter_partition_reassignments(&bench().image(), &request);
    assert_eq!((answer.error_code, answer.allow_replication_factor_change, answer.responses.len()), (0, true, 0));
}

#[test]
fn a11_no_reassignment_is_listed() {
    let answer = list_partition_reassignments();
    assert_eq!((answer.error_code, answer.error_message, answer.topics.len()), (0, None, 0));
}
