//! Errors in general: statements E1 to E5, one test each.
//!
//! E4 (null or empty messages) leaves nothing to check: clients accept either.

use std::time::Duration;

use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, JoinGroupRequest, MetadataRequest, ProduceRequest,
};
use pyralog_compat_tests::calls::{Fetch, eventually, list_offsets, produce_parts, produced};
use pyralog_compat_tests::conn::Outcome;
use pyralog_compat_tests::{Batch, Codec, on_kafka, shared, text, topic, unique};
use uuid::Uuid;

#[test]
fn e01_errors_of_items_stay_in_the_items() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("e01", 1, &[]);
    let unknown = unique("e01-unknown");
    let metadata = conn.call(13, &pyralog_compat_tests::calls::metadata_request(&[&name, &unknown]));
    assert_eq!(metadata.error_code, 0);
    let codes: Vec<i16> = metadata.topics.iter().map(|t| t.error_code).collect();
    assert!(codes.contains(&0) && codes.contains(&3), "{codes:?}");
    let fetched = conn.call(12, &Fetch::at(&unknown, 0, 0).build());
    assert_eq!((fetched.error_code, fetched.responses[0].partitions[0].error_code), (0, 3));
    let session = Fetch::at(&name, 0, 0).with(|f| {
        f.request.session_id = 987_654_321;
        f.request.session_epoch = 3;
    });
    let refused = conn.call(12, &session.build());
    assert_eq!((refused.error_code, refused.responses.len()), (70, 0), "a top-level error comes with an empty list");
}

/// Requests that make Kafka answer -1, which Java producers may answer with duplicates.
#[test]
fn e02_never_unknown_server_error() {
    if on_kafka() {
        return;
    }
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("e02", 1, &[]);
    let batches = [
        Batch::of("v", 1).with(|b| b.attributes = 6).encode(),
        Batch::of("v", 1).codec(Codec::Gzip).with(|b| b.payload = Some(vec![1, 2, 3])).encode(),
        Batch::of("v", 1).with(|b| b.length = Some(i32::MAX)).encode(),
        Batch::of("v", 1).with(|b| b.records[0].raw = Some(vec![0xff; 30])).encode(),
        Batch::of("v", 1).with(|b| b.last_offset_delta = Some(i32::MAX)).encode(),
        Batch::of("v", 1).with(|b| b.first_timestamp = i64::MIN).with(|b| b.max_timestamp = Some(i64::MAX)).encode(),
        vec![0xff; 61],
        vec![0; 61],
    ];
    for (n, bytes) in batches.iter().enumerate() {
        assert_ne!(conn.produce(&name, 0, bytes).error_code, -1, "batch {n}");
    }
    let nameless = MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::nil());
    let metadata = conn.call(12, &MetadataRequest::default().with_topics(Some(vec![nameless])));
    assert!(metadata.topics.iter().all(|t| t.error_code != -1), "{metadata:?}");
    let fetch = conn.call(12, &Fetch::at(&name, 0, 0).limits(-5, -5).build());
    assert_ne!(fetch.error_code, -1);
    assert!(fetch.responses.iter().flat_map(|t| &t.partitions).all(|p| p.error_code != -1), "{fetch:?}");
    let listed = conn.call(7, &list_offsets(&name, 0, i64::MIN));
    assert_ne!(listed.topics[0].partitions[0].error_code, -1);
    let described = conn.call(
        0,
        &DescribeTopicPartitionsRequest::default()
            .with_topics(vec![TopicRequest::default().with_name(topic(&name))])
            .with_response_partition_limit(i32::MIN),
    );
    assert!(described.topics.iter().all(|t| t.error_code != -1), "{described:?}");
}

#[test]
fn e03_offset_out_of_range_is_for_offsets_only() {
    let mut conn = shared().connect();
    let (name, id) = conn.new_topic("e03", 1, &[]);
    let not_range = [
        Fetch::at(&unique("e03-unknown"), 0, 50).id(Uuid::from_u128(5 << 64)),
        Fetch::at(&name, 9, 50).id(id),
        Fetch::at(&name, 0, 50).id(id).with(|f| f.partition.current_leader_epoch = 1000),
        Fetch::at(&name, 0, 50).id(id).with(|f| f.request.replica_id.0 = 55),
    ];
    for (n, fetch) in not_range.iter().enumerate() {
        let code = conn.fetch_at(12, fetch).error_code;
        assert!(![0, 1].contains(&code), "fetch {n}: {code} makes a consumer reset its position");
    }
    assert_eq!(conn.fetch(&Fetch::at(&name, 0, 50)).error_code, 1);
}

#[test]
fn e05_null_records_are_answered() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("e05", 2, &[]);
    if on_kafka() {
        return;
    }
    let fine = Batch::of("v", 1).encode();
    let correlation = conn.send(9, &produce_parts(-1, &[(&name, 0, None), (&name, 1, Some(&fine))]));
    let response = conn.receive::<ProduceRequest>(9, correlation);
    assert_eq!(produced(&response, &name, 0).error_code, 87);
    assert_eq!(produced(&response, &name, 1).error_code, 0);
}

#[test]
fn e05_the_same_protocol_twice_is_answered() {
    let mut conn = shared().connect();
    let group = unique("e05");
    eventually("a coordinator", || {
        let request = FindCoordinatorRequest::default().with_key(text(&group)).with_key_type(0);
        (conn.call(3, &request).error_code == 0).then_some(())
    });
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![1].into());
    let request = JoinGroupRequest::default()
        .with_group_id(text(&group).into())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol.clone(), protocol]);
    let correlation = conn.send(2, &request);
    if on_kafka() {
        assert_eq!(conn.outcome(Duration::from_millis(700)), Outcome::Silence);
    } else {
        assert_eq!(conn.receive::<JoinGroupRequest>(2, correlation).error_code, 23);
    }
}
