//! Frames as they are put together equal the ones that the encoder makes, and answers are found where they stand.

use bytes::Bytes;
use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::response::encode_response;
use pyralog_protocol::{ApiKey, DecodeLimits, Request, decode_request};

use super::*;

const TOPIC: &str = "bench-topic";

fn produce(version: i16, partition: i32, batch: &[u8]) -> Vec<u8> {
    let head = ProduceHead { version, topic: TOPIC, partition, acks: -1, timeout_ms: 30_000 };
    let frame = ProduceFrame::new(&head).expect("a frame");
    let mut out = Vec::new();
    frame.put_before(77, batch.len(), &mut out);
    out.extend_from_slice(batch);
    out.extend_from_slice(frame.after());
    out
}

fn decoded(frame: &[u8]) -> (i32, Request) {
    let length = i32_at(frame, 0).expect("a length");
    assert_eq!(usize::try_from(length).expect("positive") + 4, frame.len());
    let (head, request) = decode_request(frame[4..].into(), &DecodeLimits::default()).expect("a request");
    (head.correlation_id, request)
}

#[test]
fn produce_requests_decode_to_what_was_asked_for() {
    for version in 3..=12 {
        for size in [1, 61, 126, 127, 128, 65_536, 3_000_000] {
            let batch = vec![0x5A; size];
            let (correlation, request) = decoded(&produce(version, 5, &batch));
            let Request::Produce(request) = request else { panic!("{request:?}") };
            let topic = &request.topic_data[0];
            let partition = &topic.partition_data[0];
            assert_eq!((correlation, request.acks, request.timeout_ms), (77, -1, 30_000));
            assert_eq!((&**topic.name, partition.index), (TOPIC, 5));
            assert_eq!(partition.records, Some(Bytes::from(batch)), "v{version}");
        }
    }
}

#[test]
fn the_error_of_a_produce_answer_is_found_in_every_version() {
    for version in 3..=12 {
        for topic in [TOPIC.to_owned(), "t".repeat(126), "t".repeat(127), "t".repeat(249)] {
            let partition = kp::produce_response::PartitionProduceResponse::default().with_index(3).with_error_code(87);
            let response = kp::produce_response::TopicProduceResponse::default()
                .with_name(topic_name(&topic))
                .with_partition_responses(vec![partition]);
            let answer = kp::ProduceResponse::default().with_responses(vec![response]);
            let answer = encode_response(1, version, answer.into()).expect("an answer");
            assert_eq!(i16_at(&answer[4..], produce_error_at(version, &topic)), Some(87), "v{version}");
        }
    }
}

#[test]
fn fetch_requests_ask_for_the_offset_that_was_put_in() {
    for version in 7..=12 {
        let head = FetchHead { version, topic: TOPIC, partition: 9, max_wait_ms: 500, max_bytes: 1 << 20 };
        let frame = FetchFrame::new(&head).expect("a frame");
        let mut out = vec![1, 2, 3];
        frame.put(78, 123_456_789_012, &mut out);
        let (correlation, request) = decoded(&out[3..]);
        let Request::Fetch(request) = request else { panic!("{request:?}") };
        assert_eq!((correlation, request.max_wait_ms, request.min_bytes, request.max_bytes), (78, 500, 1, 1 << 20));
        assert_eq!((request.session_id, request.session_epoch), (0, -1));
        let partition = &request.topics[0].partitions[0];
        assert_eq!((partition.partition, partition.fetch_offset), (9, 123_456_789_012));
    }
}

#[test]
fn the_places_in_a_fetch_answer_are_right_in_every_version() {
    for version in 7..=12 {
        for records in [0, 1, 126, 127, 20_000, 3_000_000] {
            let partition = kp::fetch_response::PartitionData::default()
                .with_partition_index(4)
                .with_error_code(3)
                .with_high_watermark(1001)
                .with_last_stable_offset(1000)
                .with_log_start_offset(999)
                .with_aborted_transactions(Some(Vec::new()))
                .with_records(Some(Bytes::from(vec![9; records])));
            let topic = kp::fetch_response::FetchableTopicResponse::default()
                .with_topic(topic_name(TOPIC))
                .with_partitions(vec![partition]);
            let answer = kp::FetchResponse::default().with_error_code(8).with_responses(vec![topic]);
            let answer = encode_response(1, version, answer.into()).expect("an answer").slice(4..);
            let layout = FetchLayout::of(version, TOPIC);
            assert_eq!(i16_at(&answer, layout.error_at), Some(8));
            assert_eq!(
                (i32_at(&answer, layout.partition_at), i16_at(&answer, layout.partition_at + 4)),
                (Some(4), Some(3))
            );
            assert_eq!(i64_at(&answer, layout.partition_at + 6), Some(1001));
            assert_eq!(i64_at(&answer, layout.partition_at + 22), Some(999));
            let head = &answer[..layout.head_bytes(&answer)];
            assert_eq!(layout.records_bytes(head), Some(records), "v{version}");
            assert_eq!(
                answer.get(head.len()).copied(),
                if records > 0 { Some(9) } else { answer.get(head.len()).copied() }
            );
        }
    }
}

#[test]
fn reading_beyond_the_end_is_none() {
    assert_eq!((i16_at(&[1], 0), i32_at(&[1, 2, 3, 4], 1), i64_at(&[], 100)), (None, None, None));
    assert_eq!((uvarint(&[0x80, 0x80]), uvarint(&[0x80, 1])), (None, Some(128)));
}

#[test]
fn api_versions_is_never_asked_in_a_version_that_old_brokers_lack() {
    assert!(encode(ApiKey::ApiVersions, 0, kp::ApiVersionsRequest::default()).is_ok());
}
