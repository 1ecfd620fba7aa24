//! A VLSN writer asks two questions, which partitions there are and where VLSNs are routed to. Partitions are added between them:
//! it does not act on answers that do not belong together.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{LONG, broker_that};
use pyralog_client::{ClientConfig, PyralogClient, VlsnClient, VlsnError};
use pyralog_protocol::batch::{BATCH_HEADER_BYTES, Records};
use pyralog_protocol::kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use pyralog_protocol::kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{ErrorCode, Request, Response, Vlsn, messages as kp};

/// The only log of a broker.
#[derive(Default)]
struct Log {
    partitions: i32,
    /// What it has more right behind the next answer that says what it has.
    soon: i32,
    /// What VLSNs are routed to beyond what it says that it has.
    hidden: i32,
    /// Partitions and VLSNs of what was written.
    written: Vec<(i32, u64)>,
}

impl Log {
    fn routed(&self) -> i32 {
        self.partitions + self.hidden
    }

    fn last(&self, is_there: impl Fn(i32) -> bool) -> i64 {
        let there = self.written.iter().filter(|(index, _)| is_there(*index)).map(|(_, vlsn)| Vlsn(*vlsn).offset());
        there.max().unwrap_or(-1)
    }

    fn metadata(&mut self, asked: &kp::MetadataRequest, port: u16) -> Response {
        let topics = asked.topics.iter().flatten().map(|asked| {
            let name = asked.name.clone().unwrap();
            let is_view = name.as_str().ends_with(".vlsn");
            let count = if is_view { 1 } else { self.partitions };
            self.partitions += if is_view { 0 } else { std::mem::take(&mut self.soon) };
            let partition =
                |index| MetadataResponsePartition::default().with_partition_index(index).with_leader_id(1.into());
            MetadataResponseTopic::default().with_name(Some(name)).with_partitions((0..count).map(partition).collect())
        });
        let broker = MetadataResponseBroker::default().with_node_id(1.into()).with_host("127.0.0.1".into());
        let answer = kp::MetadataResponse::default().with_topics(topics.collect());
        answer.with_brokers(vec![broker.with_port(port.into())]).into()
    }

    fn describe(&self) -> Response {
        let partition = |index| {
            let last = self.last(|other| other == index);
            kp::VlsnDescribedPartition { index, last, ..Default::default() }
        };
        let log = kp::VlsnDescribedLog {
            name: StrBytes::from_static_str("log"),
            last: self.last(|_| true),
            routing: vec![kp::VlsnRoutingEpoch { from: Vlsn::ZERO, partitions: self.routed() }],
            partitions: (0..self.routed()).map(partition).collect(),
            ..Default::default()
        };
        kp::VlsnDescribeResponse { throttle_time_ms: 0, logs: vec![log] }.into()
    }

    fn produce(&mut self, asked: &kp::ProduceRequest) -> Response {
        let topics = asked.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|asked| {
                let records = &asked.records.as_ref().unwrap()[BATCH_HEADER_BYTES..];
                let vlsn = |key: Option<&[u8]>| Vlsn::of_key(key.unwrap()).unwrap().0;
                let vlsns: Vec<u64> = Records::new(records).map(|record| vlsn(record.unwrap().key)).collect();
                let is_here =
                    |vlsn: &u64| *vlsn % u64::from(self.routed().unsigned_abs()) == asked.index.unsigned_abs().into();
                let answer = PartitionProduceResponse::default().with_index(asked.index);
                if !vlsns.iter().all(is_here) {
                    return answer.with_error_code(ErrorCode::InvalidRecord.code());
                }
                self.written.extend(vlsns.iter().map(|vlsn| (asked.index, *vlsn)));
                answer
            });
            let partitions = partitions.collect();
            TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(partitions)
        });
        kp::ProduceResponse::default().with_responses(topics.collect()).into()
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else is asked is a mistake of the test")]
    fn answer(&mut self, request: &Request, port: u16) -> Response {
        let apis = || pyralog_protocol::response::listed_apis().collect();
        match request {
            Request::ApiVersions(_) => kp::ApiVersionsResponse::default().with_api_keys(apis()).into(),
            Request::Metadata(asked) => self.metadata(asked, port),
            Request::VlsnDescribe(_) => self.describe(),
            Request::InitProducerId(_) => kp::InitProducerIdResponse::default().with_producer_id(1.into()).into(),
            Request::Produce(asked) => self.produce(asked),
            other => panic!("{other:?}"),
        }
    }
}

/// A client of a broker with this log, that asks again for so long.
async fn client_of(log: &Arc<Mutex<Log>>, call_timeout: Duration) -> PyralogClient {
    let log = log.clone();
    let address = broker_that(move |request, port| log.lock().unwrap().answer(request, port)).await;
    let config = ClientConfig { call_timeout, ..ClientConfig::new(address) };
    config.connect().await.unwrap()
}

fn log(partitions: i32) -> Arc<Mutex<Log>> {
    Arc::new(Mutex::new(Log { partitions, ..Log::default() }))
}

#[tokio::test]
async fn a_repair_does_not_act_on_partitions_of_one_moment_and_routing_of_another() {
    let log = log(1);
    let writer = VlsnClient::open(client_of(&log, LONG).await, "log").await.unwrap();
    assert_eq!(writer.write_at(0, "").await, Ok(0));
    {
        let mut log = log.lock().unwrap();
        (log.partitions, log.soon) = (2, 1);
    }
    assert_eq!(writer.write_at(5, "").await, Ok(5));
    assert_eq!(log.lock().unwrap().written, [(0, 0), (2, 5)]);
}

#[tokio::test]
async fn a_log_that_grows_while_it_is_opened_is_written() {
    let log = log(2);
    log.lock().unwrap().soon = 1;
    let writer = VlsnClient::open(client_of(&log, LONG).await, "log").await.unwrap();
    assert_eq!(writer.write_at(5, "").await, Ok(5));
    assert_eq!(log.lock().unwrap().written, [(2, 5)]);
}

#[tokio::test]
async fn a_log_that_grew_since_the_client_last_looked_is_written() {
    let log = log(1);
    let client = client_of(&log, LONG).await;
    assert!(client.log_exists("log").await.unwrap());
    log.lock().unwrap().partitions = 3;
    let writer = VlsnClient::open(client, "log").await.unwrap();
    assert_eq!(writer.write_at(5, "").await, Ok(5));
    assert_eq!(log.lock().unwrap().written, [(2, 5)]);
}

#[tokio::test]
async fn a_broker_whose_answers_never_agree_is_told_of() {
    let log = log(2);
    log.lock().unwrap().hidden = 1;
    let error = VlsnClient::open(client_of(&log, Duration::from_millis(500)).await, "log").await.unwrap_err();
    assert!(matches!(error, VlsnError::Call(_)), "{error:?}");
    assert!(error.to_string().ends_with("log log has 2 partitions there, and routes its VLSNs to 3"), "{error}");
}
