//! librdkafka as a client of the matrix, in this process through the crate `rdkafka`.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use crate::client::{Client, From, Handle, Polled, Record, Result};

const PATIENCE: Duration = Duration::from_secs(20);

pub struct LibRdKafka {
    common: ClientConfig,
    modern: bool,
    producers: BTreeMap<String, BaseProducer<Deliveries>>,
    consumers: Vec<Option<BaseConsumer>>,
}

/// Outcome by index of the record within one produce call.
#[derive(Default)]
struct Deliveries(Mutex<BTreeMap<usize, Result<i64>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Box<usize>) {
        let outcome = result.as_ref().map(Message::offset).map_err(|(error, _)| error.to_string());
        self.0.lock().unwrap().insert(*index, outcome);
    }
}

impl LibRdKafka {
    pub fn new(bootstrap: &str) -> Option<Self> {
        let mut common = ClientConfig::new();
        common
            .set("bootstrap.servers", bootstrap)
            .set("broker.address.family", "v4")
            .set("reconnect.backoff.max.ms", "500");
        Some(Self { common, modern: false, producers: BTreeMap::new(), consumers: Vec::new() })
    }

    /// Its groups are those of KIP-848.
    pub fn modern(bootstrap: &str) -> Option<Self> {
        Self::new(bootstrap).map(|client| Self { modern: true, ..client })
    }

    fn producer(&mut self, codec: &str) -> Result<&BaseProducer<Deliveries>> {
        if !self.producers.contains_key(codec) {
            let mut config = self.common.clone();
            config.set("enable.idempotence", "true").set("compression.type", codec).set("linger.ms", "5");
            config.set("message.max.bytes", "10000000").set("message.timeout.ms", "60000");
            let made = config.create_with_context(Deliveries::default()).map_err(text)?;
            self.producers.insert(codec.to_owned(), made);
        }
        Ok(&self.producers[codec])
    }

    fn consumer(&mut self, group: &str) -> Result<(Handle, &BaseConsumer)> {
        let mut config = self.common.clone();
        config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("fetch.message.max.bytes", "10000000");
        match self.modern {
            // Timeouts are the coordinator's.
            true => config.set("group.protocol", "consumer"),
            false => config.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "500"),
        };
        let made: BaseConsumer = config.create().map_err(text)?;
        self.consumers.push(Some(made));
        Ok((self.consumers.len() - 1, self.at(self.consumers.len() - 1)?))
    }

    fn at(&self, handle: Handle) -> Result<&BaseConsumer> {
        self.consumers.get(handle).and_then(Option::as_ref).ok_or_else(|| "closed".to_owned())
    }
}

impl Client for LibRdKafka {
    fn create(&mut self, topic: &str, partitions: i32, configs: &BTreeMap<&str, String>) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.common.create().map_err(text)?;
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        for (name, value) in configs {
            new = new.set(name, value);
        }
        let results = block_on(admin.create_topics([&new], &AdminOptions::new())).map_err(text)?;
        results.into_iter().try_for_each(|each| each.map(drop).map_err(|(_, code)| code.to_string()))
    }

    fn partitions(&mut self, topic: &str) -> Result<usize> {
        let producer = self.producer("none")?;
        let found = producer.client().fetch_metadata(Some(topic), PATIENCE).map_err(text)?;
        found.topics().first().map(|t| t.partitions().len()).ok_or_else(|| "no such topic".to_owned())
    }

    fn produce(&mut self, topic: &str, codec: &str, records: &[Record]) -> Result<Option<Vec<i64>>> {
        let producer = self.producer(codec)?;
        for (index, record) in records.iter().enumerate() {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            let mut sent =
                BaseRecord::with_opaque_to(topic, Box::new(index)).partition(record.partition).headers(headers);
            sent.key = record.key.as_ref();
            sent.payload = record.value.as_ref();
            sent.timestamp = record.timestamp;
            producer.send::<String, String>(sent).map_err(|(error, _)| error.to_string())?;
        }
        producer.flush(Duration::from_secs(60)).map_err(text)?;
        let outcomes = std::mem::take(&mut *producer.context().0.lock().unwrap());
        outcomes.into_values().collect::<Result<Vec<i64>>>().map(Some)
    }

    fn open(&mut self, topic: &str, partition: i32, from: From) -> Result<Handle> {
        let (handle, consumer) = self.consumer("without-group")?;
        let marks = consumer.fetch_watermarks(topic, partition, PATIENCE).map_err(text)?;
        let at = match from {
            From::Beginning => Offset::Offset(marks.0),
            From::End => Offset::Offset(marks.1),
            From::Offset(offset) => Offset::Offset(offset),
            From::Timestamp(ms) => {
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(topic, partition, Offset::Offset(ms)).map_err(text)?;
                let found = consumer.offsets_for_times(asked, PATIENCE).map_err(text)?;
                found.elements()[0].offset()
            }
        };
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, at).map_err(text)?;
        consumer.assign(&assignment).map_err(text)?;
        Ok(handle)
    }

    fn join(&mut self, group: &str, topic: &str) -> Result<Handle> {
        let (handle, consumer) = self.consumer(group)?;
        consumer.subscribe(&[topic]).map_err(text)?;
        Ok(handle)
    }

    fn poll(&mut self, handle: Handle, max: usize, wait: Duration) -> Result<Polled> {
        let consumer = self.at(handle)?;
        let until = Instant::now() + wait;
        let mut records = Vec::new();
        while records.len() < max && Instant::now() < until {
            match consumer.poll(until.saturating_duration_since(Instant::now())) {
                Some(Ok(message)) => records.push(read(&message)),
                Some(Err(error)) if !is_transient(&error) => return Err(text(error)),
                Some(Err(_)) | None => {}
            }
        }
        let assigned = consumer.assignment().map_err(text)?.elements().iter().map(|e| e.partition()).collect();
        Ok(Polled { records, assigned })
    }

    fn commit(&mut self, handle: Handle) -> Result<()> {
        self.at(handle)?.commit_consumer_state(CommitMode::Sync).map_err(text)
    }

    fn close(&mut self, handle: Handle) -> Result<()> {
        self.consumers.get_mut(handle).and_then(Option::take).map(drop).ok_or_else(|| "closed".to_owned())
    }
}

/// What a restart of the broker looks like to librdkafka; it recovers by itself.
fn is_transient(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::Resolve)
    )
}

fn read(message: &BorrowedMessage<'_>) -> Record {
    let utf8 = |raw: &[u8]| String::from_utf8_lossy(raw).into_owned();
    let headers = message.headers().map(|all| all.iter().map(|h| (h.key.to_owned(), h.value.map(utf8))).collect());
    Record {
        partition: message.partition(),
        offset: Some(message.offset()),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(utf8),
        value: message.payload().map(utf8),
        headers: headers.unwrap_or_default(),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The admin calls are futures; one call at a time needs no runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}
