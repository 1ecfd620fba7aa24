//! SE-15: brokers that lie, cut and stall. The client says what is wrong, soon, and holds no more than what arrived.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{LONG, broker_that};
use pyralog_client::{CallError, ClientConfig, ConnectError, PyralogClient, TenantClient, VlsnClient};
use pyralog_protocol::batch::{BatchBuilder, NewRecord};
use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use pyralog_protocol::kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use pyralog_protocol::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pyralog_protocol::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers the first request of every connection with these bytes, then stays silent or closes. The client waits for so long.
async fn against(answer: Vec<u8>, then_close: bool, timeout: Duration) -> CallError {
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
    let config =
        ClientConfig { connect_timeout: timeout, request_timeout: timeout, ..ClientConfig::new(address.to_string()) };
    let error = tokio::time::timeout(2 * LONG, config.connect()).await.unwrap().unwrap_err();
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
        let error = against(answer.to_vec(), false, LONG).await.to_string();
        assert!(error.contains(named), "{error}");
    }
    // Correlation id 0, no error, and an array that nothing backs.
    let counts = frame(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let error = against(counts, false, LONG).await;
    assert!(matches!(error, CallError::Answer { .. }) || error.to_string().contains("makes no sense"), "{error}");
    let other = frame(&[0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 0]);
    let error = against(other, false, LONG).await.to_string();
    assert!(error.contains("an answer to request 9 instead of 0"), "{error}");
    let cut = frame(&[0, 0, 0, 0, 0, 0])[..7].to_vec();
    let error = against(cut, true, LONG).await.to_string();
    assert!(error.contains("closed"), "{error}");
}

#[tokio::test]
async fn silence_ends_with_the_timeout() {
    let short = Duration::from_millis(300);
    let error = against(Vec::new(), false, short).await.to_string();
    assert!(error.contains("did not answer ApiVersions within 300 ms"), "{error}");
    let half = frame(&[0; 100])[..20].to_vec();
    let error = against(half, false, short).await.to_string();
    assert!(error.contains("within 300 ms"), "{error}");
}

/// The only log of a broker.
struct Log {
    partitions: i32,
    /// Of a timestamp, in any partition.
    offset: Box<dyn Fn(i64) -> i64 + Send + Sync>,
    /// Of a partition, from an offset on.
    records: fn(i32, i64) -> Option<Bytes>,
}

#[allow(clippy::wildcard_enum_match_arm, reason = "whatever else is asked is a mistake of the test")]
fn answer_of(request: &Request, port: u16, log: &Log) -> Response {
    match request {
        Request::ApiVersions(_) => {
            let public = pyralog_protocol::response::listed_apis().filter(|api| api.api_key < 1000);
            kp::ApiVersionsResponse::default().with_api_keys(public.collect()).into()
        }
        Request::Metadata(asked) => {
            let broker = MetadataResponseBroker::default().with_node_id(1.into()).with_host("127.0.0.1".into());
            let partition =
                |index| MetadataResponsePartition::default().with_partition_index(index).with_leader_id(1.into());
            let topics = asked.topics.iter().flatten().map(|asked| {
                MetadataResponseTopic::default()
                    .with_name(asked.name.clone())
                    .with_partitions((0..log.partitions).map(partition).collect())
            });
            let answer = kp::MetadataResponse::default().with_topics(topics.collect());
            answer.with_brokers(vec![broker.with_port(port.into())]).into()
        }
        Request::ListOffsets(asked) => {
            let partitions = asked.topics[0].partitions.iter().map(|asked| {
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_offset((log.offset)(asked.timestamp))
            });
            let name = asked.topics[0].name.clone();
            let topic = ListOffsetsTopicResponse::default().with_name(name).with_partitions(partitions.collect());
            kp::ListOffsetsResponse::default().with_topics(vec![topic]).into()
        }
        Request::Fetch(asked) => {
            let partitions = asked.topics[0].partitions.iter().map(|asked| {
                PartitionData::default()
                    .with_partition_index(asked.partition)
                    .with_records((log.records)(asked.partition, asked.fetch_offset))
            });
            let name = asked.topics[0].topic.clone();
            let topic = FetchableTopicResponse::default().with_topic(name).with_partitions(partitions.collect());
            kp::FetchResponse::default().with_responses(vec![topic]).into()
        }
        other => panic!("{other:?}"),
    }
}

/// The client of a broker whose log has these offsets in its one partition, by what is asked for, and no records.
async fn client_of_nothing_at(offset: impl Fn(i64) -> i64 + Send + Sync + 'static) -> PyralogClient {
    let log = Log { partitions: 1, offset: Box::new(offset), records: |_, _| None };
    let config = ClientConfig::new(broker_that(move |request, port| answer_of(request, port, &log)).await);
    config.connect().await.unwrap()
}

#[tokio::test]
async fn a_log_that_got_shorter_keeps_nobody_waiting_for_its_old_end() {
    // It is empty, and is said to have ten records at first.
    let looks = AtomicUsize::new(0);
    let offset = move |timestamp: i64| {
        let is_first = timestamp == -1 && looks.fetch_add(1, Ordering::Relaxed) == 0;
        if is_first { 10 } else { 0 }
    };
    let client = client_of_nothing_at(offset).await;
    let tenants = tokio::time::timeout(LONG, TenantClient::open(client, "log")).await;
    tenants.expect("it waits for records that are gone").unwrap();
}

#[tokio::test]
async fn a_record_that_retention_takes_while_a_vlsn_log_is_opened_keeps_nobody_waiting() {
    // The only one there was, between the looks at where the log begins and at the record.
    let looks = AtomicUsize::new(0);
    let offset = move |timestamp: i64| {
        let is_there = timestamp == -2 && looks.fetch_add(1, Ordering::Relaxed) < 2;
        if is_there { 0 } else { 1 }
    };
    let client = client_of_nothing_at(offset).await;
    let opened = tokio::time::timeout(LONG, VlsnClient::open(client, "log")).await;
    let log = opened.expect("it waits for a record that is gone").unwrap();
    assert_eq!(log.last_vlsn().await, Ok(Some(0)), "it had VLSN 0");
}

#[tokio::test]
async fn a_record_that_goes_with_its_log_while_that_is_opened_keeps_nobody_waiting() {
    // The only one there was; the log that is created under the name is empty. The first two looks at the end are at that of the
    // view and that of the partition.
    let looks = AtomicUsize::new(0);
    let offset = move |timestamp: i64| {
        let is_there = timestamp == -1 && looks.fetch_add(1, Ordering::Relaxed) < 2;
        if is_there { 1 } else { 0 }
    };
    let client = client_of_nothing_at(offset).await;
    let opened = tokio::time::timeout(LONG, VlsnClient::open(client, "log")).await;
    opened.expect("it waits for a record that is gone").unwrap();
}

/// Counts what readers warn of.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == tracing::Level::WARN && metadata.target().ends_with("reader")
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// One record at any offset of any partition; its checksum is wrong in partition 1.
fn half_damaged(partition: i32, offset: i64) -> Option<Bytes> {
    let record = NewRecord { timestamp: 0, key: None, value: Some(b"value"), headers: &[] };
    let mut batch = BatchBuilder::new().record(record).build().unwrap();
    // No checksum covers the base offset.
    batch[..8].copy_from_slice(&offset.to_be_bytes());
    if partition == 1 {
        *batch.last_mut().unwrap() ^= 1;
    }
    Some(batch.freeze())
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_is_told_of_once_while_others_are_read() {
    let log = Log { partitions: 2, offset: Box::new(|_| 0), records: half_damaged };
    let config = ClientConfig::new(broker_that(move |request, port| answer_of(request, port, &log)).await);
    let client = config.connect().await.unwrap();
    let warnings = Warnings::default();
    let _default = tracing::subscriber::set_default(warnings.clone());
    let mut reader = client.reader("log").open().await.unwrap();
    for offset in 0..5 {
        let record = reader.next().await.unwrap();
        assert_eq!((record.partition, record.offset.0), (0, offset));
    }
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}
