use super::*;
use kafka_protocol::messages::describe_quorum_request as asked;
use pyralog_protocol::{NodeId, Response, encode_response};

fn request(topics: &[(&str, &[i32])]) -> DescribeQuorumRequest {
    let partition = |index: &i32| asked::PartitionData::default().with_partition_index(*index);
    let topic = |(name, partitions): &(&str, &[i32])| {
        let topic = asked::TopicData::default().with_topic_name(StrBytes::from((*name).to_owned()).into());
        topic.with_partitions(partitions.iter().map(partition).collect())
    };
    DescribeQuorumRequest::default().with_topics(topics.iter().map(topic).collect())
}

/// The answer of node 3 at term 4 with 77 entries; it must encode in every version.
fn ask(topics: &[(&str, &[i32])], leads: bool) -> DescribeQuorumResponse {
    let endpoint = Endpoint { node: NodeId(3), host: "pyralog.example".to_owned(), port: 9092 };
    let quorum = Quorum { leads, term: 4, applied: 77 };
    let answer = describe_quorum(&request(topics), quorum, &endpoint, WallMs(1_700_000_000_000));
    for version in 0..=2 {
        encode_response(1, version, Response::from(answer.clone())).unwrap();
    }
    answer
}

#[test]
fn a13_one_voter_leads_with_all_that_is_applied() {
    let answer = ask(&[("__cluster_metadata", &[0])], true);
    assert_eq!((answer.error_code, answer.topics.len(), answer.nodes.len()), (0, 1, 1));
    let partition = &answer.topics[0].partitions[0];
    let found = (partition.error_code, partition.leader_id.0, partition.leader_epoch, partition.high_watermark);
    assert_eq!(found, (0, 3, 4, 77));
    assert_eq!((partition.current_voters.len(), partition.observers.len()), (1, 0));
    let voter = &partition.current_voters[0];
    assert_eq!((voter.replica_id.0, voter.log_end_offset), (3, 77));
    assert_eq!((voter.last_fetch_timestamp, voter.last_caught_up_timestamp), (1_700_000_000_000, 1_700_000_000_000));
    let listener = &answer.nodes[0].listeners[0];
    assert_eq!((answer.nodes[0].node_id.0, listener.host.as_str(), listener.port), (3, "pyralog.example", 9092));
}

#[test]
fn a13_anything_else_is_unknown_in_the_partition() {
    let others: [&[(&str, &[i32])]; 5] = [
        &[("other", &[0, 1])],
        &[("__cluster_metadata", &[1])],
        &[("__cluster_metadata", &[0, 1])],
        &[("__cluster_metadata", &[0]), ("other", &[0])],
        &[("__cluster_metadata", &[0]), ("__cluster_metadata", &[0])],
    ];
    for topics in others {
        let answer = ask(topics, true);
        assert_eq!((answer.error_code, answer.nodes.len()), (0, 0));
        let found: Vec<_> = answer.topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.error_code)).collect();
        assert_eq!(found, vec![3; topics.iter().map(|(_, partitions)| partitions.len()).sum()], "{topics:?}");
    }
    assert!(ask(&[], true).topics.is_empty());
    assert!(ask(&[("__cluster_metadata", &[])], true).topics[0].partitions.is_empty());
}

#[test]
fn a13_who_does_not_lead_says_so() {
    let answer = ask(&[("__cluster_metadata", &[0])], false);
    assert_eq!((answer.error_code, answer.topics.len()), (6, 0));
}
