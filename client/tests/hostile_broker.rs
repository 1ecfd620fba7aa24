//! SE-15: brokers that lie, cut and stall. The client says what is wrong, soon, and holds no more than what arrived.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use pyralog_client::{CallError, ClientConfig, ConnectError, TenantClient};
use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use pyralog_protocol::kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use pyralog_protocol::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{DecodeLimits, Request, Response, decode_request, encode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers the first request of every connection with these bytes, then stays silent or closes.
async fn against(answer: Vec<u8>, then_close: bool) -> CallError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            while !then_close && stream.read(&mut request).await.is_ok_and(|n| n > 0) {}
        }
    });
    let timeout = Duration::from_millis(300);
    let config =
        ClientConfig { connect_timeout: timeout, request_timeout: timeout, ..ClientConfig::new(address.to_string()) };
    let error = tokio::time::timeout(Duration::from_secs(10), config.connect()).await.unwrap().unwrap_err();
    server.abort();
    let ConnectError::Call(error) = error else { panic!("{error}") };
    error
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn se_15_lengths_counts_and_cuts_are_typed_errors() {
    let lengths: [(&[u8], &str); 4] = [
        (&[0x7f, 0xff, 0xff, 0xff], "answer of 2147483647 bytes"),
        (&[0xff, 0xff, 0xff, 0xff], "answer of -1 bytes"),
        (&[0, 0, 0, 0], "answer of 0 bytes"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the port speaks HTTP"),
    ];
    for (answer, named) in lengths {
        let error = against(answer.to_vec(), false).await.to_string();
        assert!(error.contains(named), "{error}");
    }
    // Correlation id 0, no error, and an array that nothing backs.
    let counts = frame(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let error = against(counts, false).await;
    assert!(matches!(error, CallError::Answer { .. }) || error.to_string().contains("makes no sense"), "{error}");
    let other = frame(&[0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 0]);
    let error = against(other, false).await.to_string();
    assert!(error.contains("an answer to request 9 instead of 0"), "{error}");
    let cut = frame(&[0, 0, 0, 0, 0, 0])[..7].to_vec();
    let error = against(cut, true).await.to_string();
    assert!(error.contains("closed"), "{error}");
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let error = against(Vec::new(), false).await.to_string();
    assert!(error.contains("did not answer ApiVersions within 300 ms"), "{error}");
    let half = frame(&[0; 100])[..20].to_vec();
    let error = against(half, false).await.to_string();
    assert!(error.contains("within 300 ms"), "{error}");
}

/// A broker whose log is empty, of which it says at first that there are ten records. Returns its address.
async fn with_a_log_that_got_shorter() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let looks = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let looks = looks.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_i32().await {
                    let mut frame = BytesMut::zeroed(usize::try_from(length).unwrap());
                    stream.read_exact(&mut frame).await.unwrap();
                    let (head, request) = decode_request(frame, &DecodeLimits::default()).unwrap();
                    let answer = answer_of(&request, address.port(), &looks);
                    let frame = encode_response(head.correlation_id, head.version, answer).unwrap();
                    stream.write_all(&frame).await.unwrap();
                }
            });
        }
    });
    address.to_string()
}

#[allow(clippy::wildcard_enum_match_arm, reason = "whatever else is asked is a mistake of the test")]
fn answer_of(request: &Request, port: u16, looks: &AtomicUsize) -> Response {
    match request {
        Request::ApiVersions(_) => {
            kp::ApiVersionsResponse::default().with_api_keys(pyralog_protocol::response::listed_apis().collect()).into()
        }
        Request::Metadata(_) => {
            let broker = MetadataResponseBroker::default().with_node_id(1.into()).with_host("127.0.0.1".into());
            let partition = MetadataResponsePartition::default().with_leader_id(1.into());
            let topic = MetadataResponseTopic::default()
                .with_name(Some(StrBytes::from_static_str("log").into()))
                .with_partitions(vec![partition]);
            let answer = kp::MetadataResponse::default().with_brokers(vec![broker.with_port(port.into())]);
            answer.with_topics(vec![topic]).into()
        }
        Request::ListOffsets(asked) => {
            let is_latest = asked.topics[0].partitions[0].timestamp == -1;
            let is_first = is_latest && looks.fetch_add(1, Ordering::Relaxed) == 0;
            let partition = ListOffsetsPartitionResponse::default().with_offset(if is_first { 10 } else { 0 });
            let topic = ListOffsetsTopicResponse::default()
                .with_name(StrBytes::from_static_str("log").into())
                .with_partitions(vec![partition]);
            kp::ListOffsetsResponse::default().with_topics(vec![topic]).into()
        }
        Request::Fetch(_) => {
            let topic = FetchableTopicResponse::default()
                .with_topic(StrBytes::from_static_str("log").into())
                .with_partitions(vec![PartitionData::default()]);
            kp::FetchResponse::default().with_responses(vec![topic]).into()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_log_that_got_shorter_keeps_nobody_waiting_for_its_old_end() {
    let config = ClientConfig::new(with_a_log_that_got_shorter().await);
    let client = config.connect().await.unwrap();
    let tenants = tokio::time::timeout(Duration::from_secs(20), TenantClient::open(client, "log")).await;
    tenants.expect("it waits for records that are gone").unwrap();
}
