//! Drives the producer: one task owns the steps of the machine, one more per broker keeps its requests in order.
//!
//! Holds: what waits takes at most [`ProducerConfig::buffer_bytes`](crate::ProducerConfig); above it, writing waits. When
//! the last handle of the client is dropped, what was taken is still sent. Where the driving task ends, or its runtime does, every
//! record that has no outcome fails, and nothing is taken any more.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, NewRecord};
use pyralog_protocol::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pyralog_protocol::kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use pyralog_protocol::{LogId, LogOffset, MonoMs, NodeId, Response};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::clock::{draw, ms};
use super::cluster::{Cluster, Lane, LogFailure, str_bytes};
use crate::config::Acks;
use crate::error::ProduceError;
use crate::pure::backoff::Backoff;
use crate::pure::producer::{
    Answer, Flight, Outcome, Output, Parcel, Producer, Settings, Target, Untaken, record_bytes,
};
use crate::pure::view::LogView;
use crate::record::{Appended, Record, from_ms, to_ms};

/// How long a log may be unknown before records for it are given up: it may have been created a moment ago.
const UNKNOWN_LOG_PATIENCE: Duration = Duration::from_secs(3);

/// Who waits for a record.
struct Token {
    reply: Reply,
    room: Room,
    /// In which of the [`Rounds`] it was taken.
    round: u64,
}

/// Records that have no outcome yet, by how many flushes had begun when they were taken.
#[derive(Default)]
struct Rounds {
    now: u64,
    /// How many there are, of rounds that have some.
    records: BTreeMap<u64, usize>,
}

impl Rounds {
    /// A record is taken. The answer is its round.
    fn enter(&mut self) -> u64 {
        *self.records.entry(self.now).or_default() += 1;
        self.now
    }

    /// A record of a round has its outcome. The answer is whether that was the last one.
    fn leave(&mut self, round: u64) -> bool {
        let left = self.records.get_mut(&round).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        if left == Some(0) {
            self.records.remove(&round);
        }
        left == Some(0)
    }

    /// Begins the next round. The answer is the one that was.
    fn turn(&mut self) -> u64 {
        let round = self.now;
        self.now += 1;
        round
    }

    /// Whether every record of a round and those before has its outcome.
    fn are_over(&self, round: u64) -> bool {
        self.records.keys().next().is_none_or(|first| *first > round)
    }
}

/// Where the outcome of a record goes.
pub enum Reply {
    /// To a [`Delivery`].
    Delivery(oneshot::Sender<Result<Appended, ProduceError>>),
    /// To somebody who knows records by number.
    Sink(Arc<dyn Sink>, u64),
}

/// Takes outcomes of numbered records.
pub trait Sink: Send + Sync {
    /// The record has this outcome.
    fn settled(self: Arc<Self>, number: u64, result: Result<Appended, Unwritten>);
}

/// A record that counts as not written.
#[derive(Debug)]
pub struct Unwritten {
    /// Why.
    pub error: ProduceError,
    /// Whether it may be in the log, or still come there.
    pub in_doubt: bool,
}

/// How a writer differs from that of the client's own methods.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode {
    /// Whether nothing is sent behind a record that failed; see [`Settings::strict`].
    pub strict: bool,
    /// Whether a log that does not exist is created, where that is wanted
    /// ([`ClientConfig::auto_create_logs`](crate::ClientConfig::auto_create_logs)).
    pub creates: bool,
    /// The producer that it is, instead of one of its own.
    pub identity: Option<(i64, i16)>,
}

/// Room in the buffer for one record, to be given to [`Writer::push`]. Dropped, it is there for others again.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

/// The writing half of a client.
pub struct Writer {
    cluster: Arc<Cluster>,
    machine: Mutex<Producer<Token>>,
    /// Not locked for long; where both are, after the machine.
    rounds: Mutex<Rounds>,
    /// Something for the driving task to do.
    work: Notify,
    /// Every record of a round has its outcome.
    settled: Notify,
    room: Arc<Semaphore>,
    /// Whether logs that do not exist are created.
    creates: bool,
    is_closing: AtomicBool,
}

/// The acknowledgement of a record that was taken, to be awaited.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::Record;
///
/// let first = client.enqueue("orders", Record::new(None, b"tea".to_vec())).await?;
/// let second = client.enqueue("orders", Record::new(None, b"milk".to_vec())).await?;
/// println!("{:?}, {:?}", first.await?, second.await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Delivery(oneshot::Receiver<Result<Appended, ProduceError>>);

impl Future for Delivery {
    type Output = Result<Appended, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|received| received.unwrap_or(Err(ProduceError::ClientClosed)))
    }
}

/// What the tasks tell the driving one.
enum Event {
    Answered(Flight, BTreeMap<(LogId, u32), Answer>),
    Lost(Flight, String),
    Unsent(Flight, String),
    Identified(Option<(i64, i16)>),
    Learnt(LogId, Result<LogView, LogFailure>),
}

impl Writer {
    /// Begins.
    pub fn start(cluster: Arc<Cluster>, mode: Mode) -> Arc<Self> {
        let config = &cluster.config.producer;
        let settings = Settings {
            idempotent: config.idempotent,
            linger_ms: ms(config.linger),
            batch_bytes: config.batch_bytes,
            request_bytes: config.request_bytes,
            requests_in_flight: config.in_flight,
            delivery_timeout_ms: ms(config.delivery_timeout),
            backoff: Backoff {
                first_ms: ms(cluster.config.retry_backoff),
                limit_ms: ms(cluster.config.retry_backoff_max),
            },
            compression: config.compression(),
            strict: mode.strict,
        };
        let room = Arc::new(Semaphore::new(config.buffer_bytes));
        let mut machine = Producer::new(settings, draw());
        if let Some((id, epoch)) = mode.identity {
            machine.identified(id, epoch);
        }
        let machine = Mutex::new(machine);
        let creates = mode.creates && cluster.config.auto_create_logs;
        let writer = Arc::new(Self {
            cluster,
            machine,
            rounds: Mutex::default(),
            work: Notify::new(),
            settled: Notify::new(),
            room,
            creates,
            is_closing: AtomicBool::new(false),
        });
        tokio::spawn(Driver::new(writer.clone()).run());
        writer
    }

    fn machine(&self) -> std::sync::MutexGuard<'_, Producer<Token>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rounds(&self) -> std::sync::MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records of these rounds have their outcomes.
    fn leave(&self, rounds: impl IntoIterator<Item = u64>) {
        let is_over = {
            let mut known = self.rounds();
            rounds.into_iter().filter(|round| known.leave(*round)).count() > 0
        };
        if is_over {
            self.settled.notify_waiters();
        }
    }

    /// Takes a record, as soon as there is room for it.
    pub async fn enqueue(&self, log: LogId, partition: Option<u32>, record: &Record) -> Result<Delivery, ProduceError> {
        loop {
            self.learn(&log).await?;
            let room = self.room(record).await?;
            let (reply, receiver) = oneshot::channel();
            match self.push((&log, partition), record, room, Reply::Delivery(reply)) {
                Ok(()) => return Ok(Delivery(receiver)),
                // It was forgotten while there was no room.
                Err(Untaken::UnknownLog) => {}
                Err(untaken) => return Err(ProduceError::untaken(&log, partition, untaken)),
            }
        }
    }

    /// Learns of a log, if it is not known.
    pub async fn learn(&self, log: &LogId) -> Result<(), ProduceError> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(ProduceError::ClientClosed);
        }
        if self.machine().partition_count(log).is_none() {
            let view = self.cluster.await_log_to_write(log, self.creates, UNKNOWN_LOG_PATIENCE).await;
            self.learnt(log, &view.map_err(|failure| unknown(log, failure))?);
        }
        Ok(())
    }

    /// Somebody else has looked at a log, for instance because it has more partitions.
    pub fn learnt(&self, log: &LogId, view: &LogView) {
        self.machine().learn(log, view.id, &leaders(view));
    }

    /// Room for a record, as soon as there is some.
    pub async fn room(&self, record: &Record) -> Result<Room, ProduceError> {
        let config = &self.cluster.config.producer;
        let bytes = as_new(record, |new| record_bytes(&new));
        let limit = config.request_bytes;
        if bytes.saturating_add(BATCH_HEADER_BYTES) > limit {
            return Err(ProduceError::TooLarge { bytes, limit });
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match tokio::time::timeout(config.buffer_timeout, self.room.clone().acquire_many_owned(bytes)).await {
            Ok(Ok(room)) => Ok(Room(room)),
            Ok(Err(_)) => Err(ProduceError::ClientClosed),
            Err(_) => Err(ProduceError::BufferFull { bytes: config.buffer_bytes, waited: config.buffer_timeout }),
        }
    }

    /// Takes a record for which there is room. Records of a partition are written in the order of these calls.
    pub fn push(
        &self,
        (log, partition): (&LogId, Option<u32>),
        record: &Record,
        room: Room,
        reply: Reply,
    ) -> Result<(), Untaken> {
        let target = partition.map_or(Target::Key, Target::Partition);
        let now = self.cluster.clock.now();
        let pushed = as_new(record, |new| {
            let mut machine = self.machine();
            let round = self.rounds().enter();
            machine.push(log, target, new, Token { reply, room, round }, now)
        });
        match pushed {
            Ok(has_work) => {
                if has_work {
                    self.work.notify_one();
                }
                Ok(())
            }
            Err((untaken, token)) => {
                self.leave([token.round]);
                Err(untaken)
            }
        }
    }

    /// After a record failed in a strict writer: goes on with what comes.
    pub fn mend(&self) {
        self.machine().mend();
    }

    /// [`Self::mend`], as another producer.
    pub fn mend_as(&self, (id, epoch): (i64, i16)) {
        self.machine().mend_as(id, epoch);
    }

    /// Has nothing that was taken wait for company.
    pub fn hurry(&self) {
        self.machine().hurry();
        self.work.notify_one();
    }

    /// Waits until every record that was taken so far has its outcome; none of them waits for company meanwhile.
    pub async fn flush(&self) {
        let round = {
            let mut machine = self.machine();
            machine.hurry();
            self.rounds().turn()
        };
        self.work.notify_one();
        loop {
            let settled = self.settled.notified();
            let are_over = self.rounds().are_over(round);
            if are_over {
                return;
            }
            settled.await;
        }
    }

    /// Takes nothing more once everything has its outcome; what was taken is still sent.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.hurry();
    }

    fn settle(&self, outcome: Outcome<Token>) {
        let Outcome { log, partition, tokens, result, in_doubt } = outcome;
        let rounds: Vec<u64> = tokens.iter().map(|token| token.round).collect();
        // Of the whole batch, to be given back at once.
        let mut room: Option<OwnedSemaphorePermit> = None;
        for (index, token) in (0i64..).zip(tokens) {
            match &mut room {
                Some(room) => room.merge(token.room.0),
                None => room = Some(token.room.0),
            }
            let result = match &result {
                Ok((base, time)) => Ok(Appended {
                    partition,
                    offset: if base.0 < 0 { *base } else { LogOffset(base.0.saturating_add(index)) },
                    append_time: time.map(from_ms),
                }),
                Err(failure) => {
                    let timeout = self.cluster.config.producer.delivery_timeout;
                    Err(ProduceError::failed(&log, partition, failure.clone(), timeout))
                }
            };
            match token.reply {
                // Whoever wrote it may not want to know.
                Reply::Delivery(reply) => drop(reply.send(result)),
                Reply::Sink(sink, number) => {
                    sink.settled(number, result.map_err(|error| Unwritten { error, in_doubt }))
                }
            }
        }
        self.leave(rounds);
    }
}

/// The record as the batch builder wants it.
pub(crate) fn as_new<T>(record: &Record, f: impl FnOnce(NewRecord<'_>) -> T) -> T {
    let headers: Vec<_> = record.headers.iter().map(|h| (h.key.as_bytes(), h.value.as_deref())).collect();
    let (key, value) = (record.key.as_deref(), record.wire_value());
    f(NewRecord { timestamp: to_ms(record.timestamp), key, value, headers: &headers })
}

fn leaders(view: &LogView) -> Vec<Option<NodeId>> {
    view.partitions.iter().map(|partition| partition.leader).collect()
}

fn unknown(log: &LogId, failure: LogFailure) -> ProduceError {
    match failure {
        LogFailure::Unknown => ProduceError::UnknownLog { log: log.clone() },
        LogFailure::Refused(reason) => ProduceError::Log { log: log.clone(), reason },
        LogFailure::Call(error) => ProduceError::Call(error),
    }
}

/// The task that owns the steps.
struct Driver {
    writer: Arc<Writer>,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
    nodes: BTreeMap<NodeId, mpsc::UnboundedSender<(Flight, Vec<Parcel>)>>,
    /// Logs whose metadata was asked for and has not come.
    asked: BTreeSet<LogId>,
    /// Since when logs are said not to exist.
    missing: BTreeMap<LogId, MonoMs>,
    /// When metadata of all logs is asked for again.
    aging: MonoMs,
}

impl Drop for Driver {
    /// Nobody takes the steps any more, perhaps because the runtime ends.
    fn drop(&mut self) {
        let mut outputs = Vec::new();
        self.writer.machine().close(&mut outputs);
        for output in outputs {
            if let Output::Done(outcome) = output {
                self.writer.settle(outcome);
            }
        }
    }
}

impl Driver {
    fn new(writer: Arc<Writer>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let aging = writer.cluster.clock.now().after_ms(ms(writer.cluster.config.metadata_max_age));
        Self { writer, sender, events, nodes: BTreeMap::new(), asked: BTreeSet::new(), missing: BTreeMap::new(), aging }
    }

    async fn run(mut self) {
        let writer = self.writer.clone();
        loop {
            let now = writer.cluster.clock.now();
            let mut outputs = Vec::new();
            let (wake, is_over, logs) = {
                let mut machine = writer.machine();
                let wake = machine.step(now, &mut outputs);
                // Patience begins with what waits.
                self.missing.retain(|log, _| machine.has_unsettled(log));
                let is_over = machine.is_idle() && writer.is_closing.load(Ordering::Acquire);
                if is_over {
                    machine.close(&mut outputs);
                }
                let logs: Vec<LogId> = if now >= self.aging { machine.logs().cloned().collect() } else { Vec::new() };
                (wake, is_over, logs)
            };
            if now >= self.aging {
                self.aging = now.after_ms(ms(writer.cluster.config.metadata_max_age).max(1000));
                logs.into_iter().for_each(|log| self.look_up(log, false));
            }
            outputs.into_iter().for_each(|output| self.carry_out(output));
            if is_over {
                return;
            }
            let wake = writer.cluster.instant(wake.map_or(self.aging, |wake| wake.min(self.aging)));
            tokio::select! {
                () = writer.work.notified() => {}
                Some(event) = self.events.recv() => {
                    self.take(event);
                    while let Ok(event) = self.events.try_recv() {
                        self.take(event);
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.writer.cluster.clock.now();
        let mut outputs = Vec::new();
        if let Event::Learnt(log, _) = &event {
            self.asked.remove(log);
        }
        {
            let mut machine = self.writer.machine();
            match event {
                Event::Answered(flight, answers) => machine.answered(flight, answers, now, &mut outputs),
                Event::Lost(flight, reason) => machine.lost(flight, &reason, now),
                Event::Unsent(flight, reason) => machine.unsent(flight, &reason, now),
                Event::Identified(Some((id, epoch))) => machine.identified(id, epoch),
                Event::Identified(None) => machine.unidentified(now),
                Event::Learnt(log, Ok(view)) => {
                    self.missing.remove(&log);
                    machine.learn(&log, view.id, &leaders(&view));
                }
                Event::Learnt(log, Err(LogFailure::Unknown)) => {
                    let since = *self.missing.entry(log.clone()).or_insert(now);
                    if since.after_ms(ms(UNKNOWN_LOG_PATIENCE)) <= now {
                        machine.give_up(Some(&log), "the log does not exist any more", &mut outputs);
                    }
                    if machine.forget(&log) {
                        self.missing.remove(&log);
                    }
                }
                // The machine asks again while it needs it.
                Event::Learnt(_, Err(LogFailure::Refused(_) | LogFailure::Call(_))) => {}
            }
        }
        outputs.into_iter().for_each(|output| self.carry_out(output));
    }

    fn carry_out(&mut self, output: Output<Token>) {
        match output {
            Output::Done(outcome) => self.writer.settle(outcome),
            Output::Refresh(log) => self.look_up(log, self.writer.creates),
            Output::Identify => self.identify(),
            Output::Send { flight, node, parcels } => {
                let (writer, events) = (&self.writer, &self.sender);
                let sender = self.nodes.entry(node).or_insert_with(|| {
                    let (sender, requests) = mpsc::unbounded_channel();
                    tokio::spawn(send_in_order(writer.cluster.clone(), node, requests, events.clone()));
                    sender
                });
                // The task ends with this one only.
                let _ = sender.send((flight, parcels));
            }
        }
    }

    /// One question at a time: one that creates and comes late would create a log that was deleted since the first was
    /// answered.
    fn look_up(&mut self, log: LogId, creates: bool) {
        if !self.asked.insert(log.clone()) {
            return;
        }
        let (cluster, events) = (self.writer.cluster.clone(), self.sender.clone());
        tokio::spawn(async move {
            let learnt = cluster.look_up_to_write(&log, creates).await;
            let _ = events.send(Event::Learnt(log, learnt));
        });
    }

    fn identify(&self) {
        let (cluster, events) = (self.writer.cluster.clone(), self.sender.clone());
        tokio::spawn(async move {
            let request =
                InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
            let answer = cluster.ask(request).await.ok().filter(|answer| answer.error_code == 0);
            let identity = answer.map(|answer| (answer.producer_id.0, answer.producer_epoch));
            let _ = events.send(Event::Identified(identity));
        });
    }
}

/// Sends the requests for one broker, one after the other, and has their answers awaited.
async fn send_in_order(
    cluster: Arc<Cluster>,
    node: NodeId,
    mut requests: mpsc::UnboundedReceiver<(Flight, Vec<Parcel>)>,
    events: mpsc::UnboundedSender<Event>,
) {
    let timeout = cluster.config.request_timeout;
    let acks = cluster.config.producer.acks;
    while let Some((flight, parcels)) = requests.recv().await {
        let unsent = |error: crate::error::CallError| drop(events.send(Event::Unsent(flight, error.to_string())));
        let connection = match cluster.node(node, Lane::Produce).await {
            Ok(connection) => connection,
            Err(error) => {
                unsent(error);
                continue;
            }
        };
        if acks == Acks::None {
            let written = |p: &Parcel| {
                ((p.log.clone(), p.partition), Answer::Written { base_offset: LogOffset(-1), append_time: None })
            };
            let answers = parcels.iter().map(written).collect();
            match connection.send_unanswered(&request(parcels, acks, timeout).into(), timeout) {
                Err(error) => unsent(error),
                Ok(sent) => {
                    let events = events.clone();
                    tokio::spawn(async move {
                        let event = match sent.written().await {
                            Ok(()) => Event::Answered(flight, answers),
                            Err(error) => Event::Lost(flight, error.to_string()),
                        };
                        let _ = events.send(event);
                    });
                }
            }
            continue;
        }
        match connection.start(request(parcels, acks, timeout).into(), timeout) {
            Err(error) => unsent(error),
            Ok(pending) => {
                let events = events.clone();
                tokio::spawn(async move {
                    let event = match pending.answer().await {
                        Ok(Response::Produce(answer)) => Event::Answered(flight, answers(&answer)),
                        Ok(other) => Event::Lost(flight, format!("an answer to {}", other.api())),
                        Err(error) => Event::Lost(flight, error.to_string()),
                    };
                    let _ = events.send(event);
                });
            }
        }
    }
}

fn request(parcels: Vec<Parcel>, acks: Acks, timeout: Duration) -> ProduceRequest {
    let mut topics: BTreeMap<LogId, Vec<PartitionProduceData>> = BTreeMap::new();
    for Parcel { log, partition, batch } in parcels {
        let index = i32::try_from(partition).unwrap_or(i32::MAX);
        let data = PartitionProduceData::default().with_index(index).with_records(Some(batch));
        topics.entry(log).or_default().push(data);
    }
    let topic = |(log, data): (LogId, _)| {
        TopicProduceData::default().with_name(str_bytes(log.as_str()).into()).with_partition_data(data)
    };
    let acks = match acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    };
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_topic_data(topics.into_iter().map(topic).collect())
}

fn answers(answer: &ProduceResponse) -> BTreeMap<(LogId, u32), Answer> {
    let mut answers = BTreeMap::new();
    for topic in &answer.responses {
        let Ok(log) = LogId::new(&topic.name) else { continue };
        for partition in &topic.partition_responses {
            let Ok(index) = u32::try_from(partition.index) else { continue };
            let answer = if partition.error_code == 0 {
                let append_time = Some(partition.log_append_time_ms).filter(|time| *time >= 0);
                Answer::Written { base_offset: LogOffset(partition.base_offset), append_time }
            } else {
                let records = partition.record_errors.iter().filter_map(|error| {
                    let message = error.batch_index_error_message.as_ref().map(ToString::to_string);
                    Some((usize::try_from(error.batch_index).ok()?, message))
                });
                Answer::Refused {
                    code: partition.error_code,
                    message: partition.error_message.as_ref().map(ToString::to_string),
                    records: records.collect(),
                }
            };
            answers.insert((log.clone(), index), answer);
        }
    }
    answers
}
