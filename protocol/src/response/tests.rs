#![allow(clippy::unwrap_used)]

use super::*;
use kp::produce_response::{LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse};
use kp::{
    describe_cluster_response, describe_groups_response, describe_quorum_response, fetch_response, metadata_response,
    produce_response,
};

/// Answers with every field set that some version lacks.
fn fullest() -> Vec<Response> {
    let leader = LeaderIdAndEpoch::default().with_leader_id(1.into()).with_leader_epoch(2);
    let partition = PartitionProduceResponse::default().with_current_leader(leader);
    let produce = kp::ProduceResponse::default()
        .with_responses(vec![TopicProduceResponse::default().with_partition_responses(vec![partition])])
        .with_node_endpoints(vec![produce_response::NodeEndpoint::default()]);
    let partition = fetch_response::PartitionData::default()
        .with_diverging_epoch(fetch_response::EpochEndOffset::default().with_epoch(3))
        .with_current_leader(fetch_response::LeaderIdAndEpoch::default().with_leader_id(1.into()))
        .with_snapshot_id(fetch_response::SnapshotId::default().with_epoch(3))
        .with_preferred_read_replica(4.into());
    let fetch = kp::FetchResponse::default()
        .with_session_id(5)
        .with_error_code(1)
        .with_responses(vec![fetch_response::FetchableTopicResponse::default().with_partitions(vec![partition])])
        .with_node_endpoints(vec![fetch_response::NodeEndpoint::default()]);
    let offsets = kp::list_offsets_response::ListOffsetsPartitionResponse::default().with_leader_epoch(6);
    let offsets = kp::list_offsets_response::ListOffsetsTopicResponse::default().with_partitions(vec![offsets]);
    let topic = metadata_response::MetadataResponseTopic::default()
        .with_name(Some(Default::default()))
        .with_topic_authorized_operations(7);
    let group = describe_groups_response::DescribedGroup::default()
        .with_error_message(Some(Default::default()))
        .with_authorized_operations(8);
    let voter = describe_quorum_response::ReplicaState::default()
        .with_replica_directory_id(vec![11; 16].try_into().unwrap())
        .with_last_fetch_timestamp(12)
        .with_last_caught_up_timestamp(13);
    let quorum = describe_quorum_response::PartitionData::default()
        .with_error_message(Some(Default::default()))
        .with_current_voters(vec![voter.clone()])
        .with_observers(vec![voter]);
    let quorum = describe_quorum_response::TopicData::default().with_partitions(vec![quorum]);
    vec![
        kp::ElectLeadersResponse::default().with_error_code(1).into(),
        kp::DescribeQuorumResponse::default()
            .with_error_message(Some(Default::default()))
            .with_topics(vec![quorum])
            .with_nodes(vec![Default::default()])
            .into(),
        produce.into(),
        fetch.into(),
        kp::ListOffsetsResponse::default().with_topics(vec![offsets]).into(),
        kp::MetadataResponse::default().with_topics(vec![topic]).with_cluster_authorized_operations(9).into(),
        kp::JoinGroupResponse::default().with_skip_assignment(true).with_protocol_name(Some(Default::default())).into(),
        kp::LeaveGroupResponse::default().with_members(vec![Default::default()]).into(),
        kp::DescribeGroupsResponse::default().with_groups(vec![group]).into(),
        kp::DescribeClusterResponse::default()
            .with_endpoint_type(2)
            .with_brokers(vec![describe_cluster_response::DescribeClusterBroker::default().with_is_fenced(true)])
            .into(),
    ]
}

#[test]
fn answers_fit_every_version_whatever_newer_fields_are_set() {
    for response in fullest() {
        let spec = response.api().spec();
        for version in spec.served.iter() {
            let frame = encode_response(-3, version, response.clone()).unwrap();
            assert_eq!(frame[..4], i32::try_from(frame.len() - 4).unwrap().to_be_bytes());
            let (id, decoded, rest) = decode_response(frame.slice(4..), spec.key, version).unwrap();
            assert!(rest.is_empty() && id == -3);
            if version == spec.served.max && spec.key != ApiKey::Metadata {
                assert_eq!(decoded, response, "nothing is lost in the newest version");
            }
        }
    }
}

#[test]
fn without_the_reset_the_encoder_refuses() {
    // Produce has tagged fields only, which the encoder leaves out.
    for response in fullest().into_iter().filter(|response| response.api() != ApiKey::Produce) {
        let oldest = response.api().spec().served.min;
        assert!(response.encode_body(oldest, &mut BytesMut::new()).is_err(), "{}", response.api());
    }
}

#[test]
fn a_message_that_fits_no_version_is_a_typed_error() {
    let error = encode_response(1, 99, kp::MetadataResponse::default().into()).unwrap_err();
    assert!(matches!(error, EncodeError::Message { api: ApiKey::Metadata, version: 99, .. }));
}

#[test]
fn listed_apis_are_the_table() {
    let listed: Vec<_> = listed_apis().collect();
    assert_eq!(listed.len(), APIS.len());
    assert_eq!((listed[0].api_key, listed[0].min_version, listed[0].max_version), (0, 0, 13));
}
