//! Pieces and records put together are what the library encodes as a whole.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchResponse, ProducerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::encode_fetch_pieces;
use crate::{Draw, encode_response};

fn partition(draw: &mut Draw, version: i16, index: i32) -> PartitionData {
    let kind = draw.next_u64() % 8;
    let length = [0, 1, 61, 126, 127, 128, 16_383, 70_000][(draw.next_u64() % 8) as usize];
    let aborted = |n: i64| {
        (0..n).map(|n| AbortedTransaction::default().with_producer_id(ProducerId(n)).with_first_offset(n * 3)).collect()
    };
    let data = PartitionData::default()
        .with_partition_index(index)
        .with_error_code((kind % 3) as i16)
        .with_high_watermark(draw.next_u64() as i64 >> 1)
        .with_last_stable_offset(7)
        .with_log_start_offset(if version >= 5 { 3 } else { -1 })
        .with_aborted_transactions([None, Some(aborted(0)), Some(aborted(200))][(kind % 3) as usize].clone())
        .with_preferred_read_replica(BrokerId(if version >= 11 { 5 } else { -1 }));
    match kind {
        6 if version >= 12 => data
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(3).with_end_offset(9))
            .with_records(Some(Bytes::new())),
        7 if version >= 12 => data
            .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(BrokerId(1)).with_leader_epoch(4))
            .with_records(Some(Bytes::new())),
        _ => data.with_records(Some(Bytes::from(vec![index as u8; length]))),
    }
}

fn response(draw: &mut Draw, version: i16) -> FetchResponse {
    let mut response = FetchResponse::default()
        .with_throttle_time_ms(4)
        .with_session_id(if version >= 7 { 99 } else { 0 })
        .with_error_code(if version >= 7 { 11 } else { 0 });
    for number in 0..draw.next_u64() % 4 {
        let mut topic = FetchableTopicResponse::default();
        if version >= 13 {
            topic.topic_id = format!("{:032x}", draw.next_u64()).parse().unwrap();
        } else {
            topic.topic = TopicName(StrBytes::from(format!("topic-{number}")));
        }
        topic.partitions = (0..draw.next_u64() % 200).map(|n| partition(draw, version, n as i32)).collect();
        response.responses.push(topic);
    }
    if version >= 16 && draw.next_u64().is_multiple_of(2) {
        let endpoint = NodeEndpoint::default().with_node_id(BrokerId(1)).with_host("h".into()).with_port(9092);
        response.node_endpoints = vec![endpoint];
    }
    response
}

#[test]
fn pieces_with_their_records_are_the_frames_of_the_library_in_every_version() {
    for version in 4..=18 {
        for seed in 0..60 {
            let mut draw = Draw::new(seed << 8 | version as u128);
            let response = response(&mut draw, version);
            let whole = encode_response(77, version, response.clone().into()).unwrap();
            let records: Vec<Bytes> = response
                .responses
                .iter()
                .flat_map(|topic| &topic.partitions)
                .map(|part| part.records.clone().unwrap())
                .collect();
            let lengths: Vec<usize> = records.iter().map(Bytes::len).collect();
            let pieces = encode_fetch_pieces(77, version, response, &lengths).unwrap();
            let full: Vec<&Bytes> = records.iter().filter(|records| !records.is_empty()).collect();
            assert_eq!(pieces.len(), full.len() + 1);
            let mut together = BytesMut::new();
            for (at, piece) in pieces.iter().enumerate() {
                together.extend_from_slice(piece);
                if let Some(records) = full.get(at) {
                    together.extend_from_slice(records);
                }
            }
            assert!(together == whole, "version {version}, seed {seed}");
        }
    }
}

#[test]
fn tagged_fields_beside_records_are_refused() {
    let part = PartitionData::default()
        .with_aborted_transactions(None)
        .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(BrokerId(1)).with_leader_epoch(4));
    let topic = FetchableTopicResponse::default().with_partitions(vec![part]);
    let response = FetchResponse::default().with_responses(vec![topic]);
    assert!(encode_fetch_pieces(1, 13, response, &[5]).is_err());
}

#[test]
fn more_than_a_frame_can_say_is_refused() {
    let topic = FetchableTopicResponse::default().with_partitions(vec![PartitionData::default()]);
    let response = FetchResponse::default().with_responses(vec![topic]);
    assert!(encode_fetch_pieces(1, 12, response, &[i32::MAX as usize]).is_err());
}
