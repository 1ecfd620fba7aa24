//! Produce: check each partition's batch, append it, answer once everything is acknowledged.
//! Holds: one answer per partition, in the order asked; partitions are independent (P18); nothing is answered with
//! UNKNOWN_SERVER_ERROR (ID-03).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use pyralog_coordinator::config::PausedError;
use pyralog_coordinator::metadata::LogState;
use pyralog_protocol::batch::{self, CheckedBatch, ProduceError, ProduceRules, VlsnRoute};
use pyralog_protocol::{ErrorCode, LogOffset, Now, TopicId, kafka_protocol};
use pyralog_storage::{AppendError, Disk};

use crate::api::vlsn::Appended;
use crate::api::{Responder, Step};
use crate::outputs::Outputs;
use crate::partition::{AppendDone, AppendRefused, CheckedBy, Partition, Production};
use crate::room::{Gauge, Room};
use crate::topology::Topology;
use crate::vlsn::{self, Expected};

/// Produce v5 tells where the log starts.
const LOG_START_FROM: i16 = 5;
/// Produce v8 brought record errors and messages (KIP-467).
const RECORD_ERRORS_FROM: i16 = 8;
/// Produce v13 names topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// Produce v7 is the first that may carry zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// A produce request whose answer is being put together. Partitions tell it when their part is acknowledged.
pub struct ProduceWait {
    responder: Option<Responder>,
    words: Words,
    /// What the answer says besides, if the request was a VlsnAppend.
    appended: Option<Mutex<Appended>>,
    /// Parts not known yet, plus one while the handler runs.
    open: AtomicUsize,
    response: Mutex<ProduceResponse>,
    /// Parts that a failed sync or a deletion took back. Kept apart from the response, because they may arrive before
    /// the handler has written the part's success into it.
    failures: Mutex<Vec<(usize, ErrorCode)>>,
    /// (topic, partition) of each item in the response.
    places: Vec<(usize, usize)>,
}

impl std::fmt::Debug for ProduceWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProduceWait").field("open", &self.open).finish_non_exhaustive()
    }
}

impl ProduceWait {
    /// The part is acknowledged; its answer stands in the response already.
    pub(crate) fn acknowledged<D: Disk>(&self, _item: usize, out: &mut Outputs<D>) {
        self.close_one(out);
    }

    /// The part cannot be acknowledged any more.
    pub(crate) fn failed<D: Disk>(&self, item: usize, code: ErrorCode, out: &mut Outputs<D>) {
        self.failures.lock().push((item, code));
        self.close_one(out);
    }

    /// The part was appended, or refused. Answered at once unless its acknowledgement comes later.
    pub(crate) fn appended<D: Disk>(&self, item: usize, done: Result<AppendDone, AppendRefused>, out: &mut Outputs<D>) {
        self.note_overrun(&done, out);
        let closed = done.as_ref().map_or(true, |done| done.acknowledged);
        self.put(item, |part| *part = self.words.answer(part.index, done));
        if closed {
            self.close_one(out);
        }
    }

    /// The volume is looked at again when an append met its reserve.
    fn note_overrun<D: Disk>(&self, done: &Result<AppendDone, AppendRefused>, out: &mut Outputs<D>) {
        if let Err(AppendRefused::Log { error: AppendError::Reserved { bytes }, .. }) = done {
            self.words.gauge.overrun(*bytes);
            out.look_at_room = true;
        }
    }

    fn put(&self, item: usize, fill: impl FnOnce(&mut PartitionProduceResponse)) {
        let mut response = self.response.lock();
        let Some(&(topic, partition)) = self.places.get(item) else { return };
        if let Some(part) = response.responses.get_mut(topic).and_then(|t| t.partition_responses.get_mut(partition)) {
            fill(part);
        }
    }

    fn close_one<D: Disk>(&self, out: &mut Outputs<D>) {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        for (item, code) in std::mem::take(&mut *self.failures.lock()) {
            self.put(item, |part| *part = refusal(part.index, code, None));
        }
        let response = std::mem::take(&mut *self.response.lock());
        let response = match &self.appended {
            Some(appended) => appended.lock().response(response).into(),
            None => response.into(),
        };
        match &self.responder {
            Some(responder) => out.answers.push(responder.answer(response)),
            None => debug_assert!(false, "acks=0 has no waiting parts"),
        }
    }

    fn any_error(&self) -> bool {
        self.response.lock().responses.iter().flat_map(|t| &t.partition_responses).any(|p| p.error_code != 0)
    }
}

/// How a produce request's answer is worded.
struct Words {
    version: i16,
    gauge: Arc<Gauge>,
}

impl Words {
    fn answer(&self, index: i32, done: Result<AppendDone, AppendRefused>) -> PartitionProduceResponse {
        match done {
            Ok(done) => PartitionProduceResponse::default()
                .with_index(index)
                .with_base_offset(done.appended.base_offset.0)
                .with_log_append_time_ms(done.appended.log_append_time)
                .with_log_start_offset(self.log_start(Some(done.log_start))),
            Err(AppendRefused::Refused(why)) => {
                let code = if self.version >= TOPIC_IDS_FROM { why.code_by_id() } else { why.code() };
                refusal(index, code, None)
            }
            Err(error @ AppendRefused::Paused(how)) => {
                refusal(index, paused_code(how), self.explained(error.to_string()))
            }
            // Clients fetch the metadata again and send again: by then the new rules are in force, or the old ones still.
            Err(error @ (AppendRefused::Rerouted | AppendRefused::Unkeyed)) => {
                refusal(index, ErrorCode::NotLeaderOrFollower, self.explained(error.to_string()))
            }
            Err(error @ (AppendRefused::Unexpected { .. } | AppendRefused::Taken { .. })) => {
                refusal(index, ErrorCode::OutOfOrderSequenceNumber, self.explained(error.to_string()))
            }
            Err(error @ AppendRefused::Fenced { .. }) => {
                refusal(index, ErrorCode::ProducerFenced, self.explained(error.to_string()))
            }
            Err(AppendRefused::Log { error, log_start }) => {
                let reserved = matches!(error, AppendError::Reserved { .. });
                let words = if reserved { self.gauge.refuse() } else { error.to_string() };
                refusal(index, error.code(), self.explained(words))
                    .with_log_start_offset(self.log_start(error.tells_log_start().then_some(log_start)))
                    .with_record_errors(self.record_errors_of(&error))
            }
        }
    }

    fn log_start(&self, known: Option<LogOffset>) -> i64 {
        known.filter(|_| self.version >= LOG_START_FROM).map_or(-1, |offset| offset.0)
    }

    fn explained(&self, words: String) -> Option<String> {
        (self.version >= RECORD_ERRORS_FROM).then_some(words)
    }

    /// The records of a batch that a VLSN log refused, each with its reason.
    fn record_errors_of(&self, error: &AppendError) -> Vec<BatchIndexAndErrorMessage> {
        let AppendError::Vlsns(refused) = error else { return Vec::new() };
        let named = refused.rejected.iter().filter(|_| self.version >= RECORD_ERRORS_FROM);
        named.map(|record| record_error(record.index, record.conflict.to_string())).collect()
    }
}

fn refusal(index: i32, code: ErrorCode, message: Option<String>) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
        .with_error_message(message.map(StrBytes::from))
}

/// Serves one Produce request.
pub(crate) fn produce<D: Disk>(
    topology: &Topology<D>,
    gauge: &Arc<Gauge>,
    step: Step<'_, D>,
    request: &ProduceRequest,
) {
    let version = step.asked.version;
    serve(topology, gauge, step, (request, version), None);
}

/// Serves one request: a Produce in a version, or what a VlsnAppend comes to.
pub(super) fn serve<D: Disk>(
    topology: &Topology<D>,
    gauge: &Arc<Gauge>,
    step: Step<'_, D>,
    (request, version): (&ProduceRequest, i16),
    appended: Option<Appended>,
) {
    let Step { conn, asked, now, out, .. } = step;
    let silent = request.acks == 0;
    let responder = (!silent).then(|| asked.responder(conn.reserve(false)));
    let (items, response) = lay_out(request, version);
    let wait = Arc::new(ProduceWait {
        responder,
        words: Words { version, gauge: Arc::clone(gauge) },
        appended: appended.map(Mutex::new),
        open: AtomicUsize::new(1),
        response: Mutex::new(response),
        failures: Mutex::default(),
        places: items.iter().map(|item| item.place).collect(),
    });
    let handler = Handler {
        topology,
        full: (gauge.room() != Room::Enough).then(|| gauge.refuse()),
        request,
        version,
        now,
        wait: &wait,
        silent,
    };
    for (number, item) in items.into_iter().enumerate() {
        handler.serve(number, item, out);
    }
    if silent {
        // The client cannot be told otherwise that something is wrong (P16).
        if wait.any_error() {
            conn.close_here();
        }
        return;
    }
    wait.close_one(out);
}

/// One partition of the request.
struct Item {
    place: (usize, usize),
    name: StrBytes,
    id: TopicId,
    index: i32,
    /// `None`: the partition was named twice.
    records: Option<Option<Bytes>>,
}

/// The parts of the answer, one per partition asked for: a topic named twice is one (P19), a partition named twice is
/// answered once, with an error.
fn lay_out(request: &ProduceRequest, version: i16) -> (Vec<Item>, ProduceResponse) {
    let mut response = ProduceResponse::default();
    let mut items: Vec<Item> = Vec::new();
    let mut topics: BTreeMap<(&str, [u8; 16]), usize> = BTreeMap::new();
    let mut seen: BTreeMap<(usize, i32), usize> = BTreeMap::new();
    // A topic without partitions is not answered, as in Kafka.
    for data in request.topic_data.iter().filter(|data| !data.partition_data.is_empty()) {
        let id = if version >= TOPIC_IDS_FROM { *data.topic_id.as_bytes() } else { [0; 16] };
        let topic = *topics.entry((data.name.0.as_str(), id)).or_insert_with(|| {
            // The answer outlives the request, whose memory is free once its records are where they belong.
            let name = TopicName(StrBytes::from_string(data.name.as_str().to_owned()));
            response.responses.push(TopicProduceResponse::default().with_name(name).with_topic_id(data.topic_id));
            response.responses.len() - 1
        });
        let Some(answer) = response.responses.get_mut(topic) else { continue };
        for part in &data.partition_data {
            if let Some(first) = seen.get(&(topic, part.index)) {
                if let Some(item) = items.get_mut(*first) {
                    item.records = None;
                }
                continue;
            }
            seen.insert((topic, part.index), items.len());
            items.push(Item {
                place: (topic, answer.partition_responses.len()),
                name: data.name.0.clone(),
                id: TopicId(id),
                index: part.index,
                records: Some(part.records.clone()),
            });
            answer.partition_responses.push(PartitionProduceResponse::default().with_index(part.index));
        }
    }
    (items, response)
}

fn record_error(index: i32, message: String) -> BatchIndexAndErrorMessage {
    BatchIndexAndErrorMessage::default()
        .with_batch_index(index)
        .with_batch_index_error_message(Some(StrBytes::from(message)))
}

/// ID-15: the writer is told what to do, retry or give up, as whoever paused the log wanted it.
fn paused_code(how: PausedError) -> ErrorCode {
    match how {
        PausedError::Retriable => ErrorCode::NotEnoughReplicas,
        PausedError::Fatal => ErrorCode::PolicyViolation,
    }
}

fn refusal_of_paused(log: &LogState, how: PausedError) -> (ErrorCode, Option<String>) {
    let log = &log.metadata.log_id;
    (
        paused_code(how),
        Some(format!(
            "log {log} is paused (pyralog.paused=true): it can be read, writes are refused until it is resumed"
        )),
    )
}

/// The view of a VLSN log is read only.
fn refusal_of_view<D: Disk>(topology: &Topology<D>, view: &LogState) -> Option<String> {
    let log = topology.by_id(view.view_of?)?;
    let (view, log) = (&view.metadata.log_id, &log.log.metadata.log_id);
    Some(format!("{view} is the read-only view of log {log}: write to {log}, keyed by VLSN (8 bytes, big-endian)"))
}

/// Where a batch goes.
type Target<D> = (Arc<LogState>, Arc<Partition<D>>);

struct Handler<'a, D: Disk> {
    topology: &'a Topology<D>,
    /// Why nothing is appended, while the volume has no room (OP-10).
    full: Option<String>,
    request: &'a ProduceRequest,
    version: i16,
    now: Now,
    wait: &'a Arc<ProduceWait>,
    silent: bool,
}

impl<D: Disk> Handler<'_, D> {
    fn serve(&self, number: usize, item: Item, out: &mut Outputs<D>) {
        let index = item.index;
        match self.target(&item) {
            Err((code, message)) => self.wait.put(number, |part| *part = refusal(index, code, message)),
            Ok(target) => match item.records {
                None => self.wait.put(number, |part| {
                    let why = format!("partition {index} is named twice in the request");
                    *part = refusal(index, ErrorCode::InvalidRequest, Some(why));
                }),
                Some(records) => {
                    self.append((number, index), &target, records, out);
                    if let Some(appended) = &self.wait.appended {
                        appended.lock().note(number, target.1.last_vlsn());
                    }
                }
            },
        }
    }

    fn target(&self, item: &Item) -> Result<Target<D>, (ErrorCode, Option<String>)> {
        let by_id = self.version >= TOPIC_IDS_FROM;
        let found = if by_id { self.topology.by_id(item.id) } else { self.topology.by_name(&item.name) };
        let Some(entry) = found else {
            let code = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            return Err((code, None));
        };
        if let Some(why) = refusal_of_view(self.topology, &entry.log) {
            return Err((ErrorCode::PolicyViolation, Some(why)));
        }
        let Some(partition) = entry.partition(item.index) else {
            return Err((ErrorCode::UnknownTopicOrPartition, None));
        };
        if !matches!(self.request.acks, -1..=1) {
            let why = format!("acks={} is not -1, 0 or 1", self.request.acks);
            return Err((ErrorCode::InvalidRequiredAcks, Some(why)));
        }
        if entry.log.metadata.log_id.is_internal() {
            let why = format!("{} belongs to the broker", entry.log.metadata.log_id);
            return Err((ErrorCode::InvalidTopicException, Some(why)));
        }
        if let Some(paused) = entry.log.settings.paused {
            return Err(refusal_of_paused(&entry.log, paused));
        }
        if let Some(why) = &self.full {
            return Err((ErrorCode::KafkaStorageError, Some(why.clone())));
        }
        Ok((Arc::clone(&entry.log), Arc::clone(partition)))
    }

    fn append(
        &self,
        (number, index): (usize, i32),
        (log, partition): &Target<D>,
        records: Option<Bytes>,
        out: &mut Outputs<D>,
    ) {
        let mut rules = self.rules(log);
        let routing = log.metadata.routing.as_ref();
        rules.vlsn = routing.map(|routing| VlsnRoute { routing: routing.clone(), partition: partition.index });
        let checked = match batch::check_produced(records, &rules) {
            Ok(checked) => checked,
            Err(error) => return self.refuse_batch((number, index), partition, &error),
        };
        if checked.header.is_transactional() {
            return self.refuse_transactional(number, index);
        }
        // Who cannot be answered later, or expects something of the partition, waits for it.
        if !self.silent && self.wait.appended.is_none() {
            self.wait.open.fetch_add(1, Ordering::AcqRel);
            let (log, wait) = (Arc::clone(log), Arc::clone(self.wait));
            return partition.produce(Production { batch: checked, log, wait, item: number, now: self.now }, out);
        }
        let wait = (!self.silent).then_some((self.wait, number));
        let expected = self.wait.appended.as_ref().map_or(Expected::Anything, |all| all.lock().expected(number));
        self.wait.open.fetch_add(1, Ordering::AcqRel);
        let done = partition.append((&checked, CheckedBy::log(log), expected), wait, self.now, out);
        self.wait.note_overrun(&done, out);
        let closed = self.silent || done.as_ref().map_or(true, |done| done.acknowledged);
        let done = done.and_then(|done| match expected {
            Expected::Last(_) if done.appended.duplicate => self.own(partition, &checked, done),
            Expected::Last(_) | Expected::Anything => Ok(done),
        });
        // A sync worker may be quicker than this line; it reads the response only once the handler's own share of
        // `open` is gone.
        self.wait.put(number, |part| *part = self.wait.words.answer(index, done));
        if closed {
            self.wait.open.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A conditional append that is there already, if it is the caller's own.
    fn own(
        &self,
        partition: &Arc<Partition<D>>,
        batch: &CheckedBatch,
        done: AppendDone,
    ) -> Result<AppendDone, AppendRefused> {
        let is_own = vlsn::holds(partition, batch, &done.appended);
        match is_own {
            Ok(true) => Ok(done),
            // What cannot be read cannot be compared, and is not called a success.
            Ok(false) | Err(_) => Err(AppendRefused::Taken { vlsn: batch.vlsns.first().copied().unwrap_or_default() }),
        }
    }

    fn rules(&self, log: &LogState) -> ProduceRules {
        crate::settings::produce_rules(&log.settings, self.version >= ZSTD_FROM, self.now.wall)
    }

    fn refuse_batch(&self, (number, index): (usize, i32), partition: &Arc<Partition<D>>, error: &ProduceError) {
        let explains = self.version >= RECORD_ERRORS_FROM;
        let record_errors = error.rejected().iter().map(|record| record_error(record.index, record.message.clone()));
        let record_errors = if explains { record_errors.collect() } else { Vec::new() };
        let message = explains.then(|| error.to_string());
        let bounds = error.tells_log_start().then(|| partition.bounds().ok()).flatten();
        let log_start = self.wait.words.log_start(bounds.map(|bounds| bounds.log_start));
        self.wait.put(number, |part| {
            *part = refusal(index, error.code(), message)
                .with_log_start_offset(log_start)
                .with_record_errors(record_errors);
        });
    }

    /// Transactions are not offered yet: their APIs are not listed, so only a hand-made batch gets here.
    fn refuse_transactional(&self, number: usize, index: i32) {
        let code = if self.request.transactional_id.is_none() {
            ErrorCode::TransactionalIdAuthorizationFailed
        } else {
            ErrorCode::InvalidTxnState
        };
        self.wait.put(number, |part| *part = refusal(index, code, None));
    }
}
