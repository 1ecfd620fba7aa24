//! Look-ups in partitions: ListOffsets, OffsetForLeaderEpoch, and DeleteRecords, which moves a log's start.
//! Holds: each partition is looked at until there is something to tell of it, and not again; where an index is missing, the
//! request waits in its connection until somebody else has built that ([`crate::lookup`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{EpochOffset, ErrorCode, LogOffset, MonoMs, Now, TopicId, kafka_protocol};
use pyralog_storage::{DeleteError, Disk, Log, Patience, ReadError, TimestampOffset};

use super::{Responder, Step, epoch_end, epoch_refusal, is_isolation_level};
use crate::Node;
use crate::connection::Connection;
use crate::lookup::Lookup;
use crate::outputs::{Outputs, Warm};
use crate::partition::{Bounds, Partition, Refusal};
use crate::topology::{LogEntry, Place, Topology};
use crate::unreadable::Unreadable;
use crate::vlsn::{Cold, VlsnError, VlsnLog};
use crate::waiting::{Wait, Warming};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// A look-up that waits for indexes, or for pages that are not in memory.
#[derive(Debug)]
pub(crate) struct LookupWait {
    responder: Responder,
    /// For them.
    warming: Warming,
    /// Those of the answer, in its order. One that gets the name of another meanwhile is not the one that was asked about.
    logs: Vec<Option<TopicId>>,
    answer: Answer,
}

/// An answer in the making, and its places that nothing is said of yet.
#[derive(Debug)]
enum Answer {
    Offsets(ListOffsetsResponse, Open<ListOffsetsPartition>),
    Epochs(OffsetForLeaderEpochResponse, Open<OffsetForLeaderPartition>),
    Starts(DeleteRecordsResponse, Open<DeleteRecordsPartition>),
}

/// The places of topics and of partitions in them, and what was asked there.
type Open<P> = Vec<(usize, usize, P)>;

impl Answer {
    fn logs<D: Disk>(&self, topology: &Topology<D>) -> Vec<Option<TopicId>> {
        let id = |name: &TopicName| topology.by_name(&name.0).map(|entry| entry.log.metadata.topic_id);
        match self {
            Self::Offsets(response, _) => response.topics.iter().map(|topic| id(&topic.name)).collect(),
            Self::Epochs(response, _) => response.topics.iter().map(|topic| id(&topic.topic)).collect(),
            Self::Starts(response, _) => response.topics.iter().map(|topic| id(&topic.name)).collect(),
        }
    }

    /// It may wait for long, and the frame that its names are slices of may be large.
    fn let_go_of_frame(&mut self) {
        let own = |name: &mut TopicName| *name = TopicName(StrBytes::from_string(name.as_str().to_owned()));
        match self {
            Self::Offsets(response, open) => {
                response.topics.iter_mut().for_each(|topic| own(&mut topic.name));
                open.iter_mut().for_each(|(_, _, asked)| asked.unknown_tagged_fields.clear());
            }
            Self::Epochs(response, open) => {
                response.topics.iter_mut().for_each(|topic| own(&mut topic.topic));
                open.iter_mut().for_each(|(_, _, asked)| asked.unknown_tagged_fields.clear());
            }
            Self::Starts(response, open) => {
                response.topics.iter_mut().for_each(|topic| own(&mut topic.name));
                open.iter_mut().for_each(|(_, _, asked)| asked.unknown_tagged_fields.clear());
            }
        }
    }
}

impl LookupWait {
    /// The wait is over now.
    pub fn stop(&mut self) {
        self.warming.stop();
    }

    /// When it is to be looked at again.
    pub fn deadline(&self) -> MonoMs {
        self.warming.until().unwrap_or(MonoMs(0))
    }
}

fn begin<D: Disk>(node: &Node<D>, step: Step<'_, D>, answer: Answer) {
    let Step { conn, asked, now, out, .. } = step;
    let responder = asked.responder(conn.reserve(true));
    let (warming, logs) = (Warming::default(), answer.logs(&node.topology.load()));
    resume(node, conn, Box::new(LookupWait { responder, warming, logs, answer }), now, out);
}

/// Looks at a look-up: for the first time, or again because an index is there, or cannot be built.
pub(crate) fn resume<D: Disk>(
    node: &Node<D>,
    conn: &mut Connection,
    mut wait: Box<LookupWait>,
    now: Now,
    out: &mut Outputs<D>,
) {
    wait.warming.end();
    let (topology, patience) = (node.topology.load(), wait.warming.patience());
    let LookupWait { responder, logs, answer, .. } = &mut *wait;
    let mut look = Look { node, topology: &topology, logs, now, out: &mut *out, cold: Warm::default() };
    look.fill(answer, (responder.version, patience));
    let cold = look.cold;
    if cold.is_empty() {
        let LookupWait { responder, answer, .. } = *wait;
        let response = match answer {
            Answer::Offsets(response, _) => response.into(),
            Answer::Epochs(response, _) => response.into(),
            Answer::Starts(response, _) => response.into(),
        };
        out.answers.push(responder.answer(response));
    } else {
        wait.answer.let_go_of_frame();
        wait.warming.begin(now);
        out.warms.push((conn.id, cold));
        conn.waiting = Some(Wait::Lookup(wait));
    }
}

/// One look at what a request asks for.
struct Look<'a, D: Disk> {
    node: &'a Node<D>,
    topology: &'a Topology<D>,
    logs: &'a [Option<TopicId>],
    now: Now,
    out: &'a mut Outputs<D>,
    /// What has to be there before more can be told.
    cold: Warm<D>,
}

impl<D: Disk> Look<'_, D> {
    fn fill(&mut self, answer: &mut Answer, (version, patience): (i16, Patience)) {
        let (topology, logs) = (self.topology, self.logs);
        let log = |topic: usize| topology.by_id((*logs.get(topic)?)?);
        match answer {
            Answer::Offsets(response, open) => open.retain(|(at, place, asked)| {
                let Some(topic) = response.topics.get_mut(*at) else { return false };
                let found = offset_of(topology, log(*at), asked, (version, patience));
                self.put(found, topic.partitions.get_mut(*place), |found| {
                    offset_answer(asked.partition_index, version, found)
                })
            }),
            Answer::Epochs(response, open) => open.retain(|(at, place, asked)| {
                let Some(topic) = response.topics.get_mut(*at) else { return false };
                let found = end_of_epoch(topology, log(*at), asked, patience);
                self.put(found, topic.partitions.get_mut(*place), |found| epoch_answer(asked.partition, found))
            }),
            Answer::Starts(response, open) => open.retain(|(at, place, asked)| {
                let Some(topic) = response.topics.get_mut(*at) else { return false };
                let found = delete_until(topology, log(*at), asked, self.out);
                self.put(found, topic.partitions.get_mut(*place), |found| start_answer(asked.partition_index, found))
            }),
        }
    }

    /// Puts what was found into its place. Tells whether that has to wait. A failure counts, and is told of, as one of a fetch is.
    fn put<T, A>(
        &mut self,
        found: Result<T, NoOffset<D>>,
        place: Option<&mut A>,
        answer: impl FnOnce(Result<T, ErrorCode>) -> A,
    ) -> bool {
        let found = match found {
            Ok(found) => Ok(found),
            Err(NoOffset::Refused(code)) => Err(code),
            Err(NoOffset::Failed(code, failed)) => {
                self.node.telling(self.now, self.out).tell(failed);
                Err(code)
            }
            Err(NoOffset::Cold(cold)) => {
                self.cold.add(cold);
                return true;
            }
        };
        if let Some(place) = place {
            *place = answer(found);
        }
        false
    }
}

/// Serves ListOffsets; may leave it waiting in the connection.
pub(crate) fn list_offsets<D: Disk>(node: &Node<D>, step: Step<'_, D>, request: &ListOffsetsRequest) {
    let repeated = repeated_partitions(request);
    let refusal = refusal_for_all(request);
    let (mut response, mut open) = (ListOffsetsResponse::default(), Vec::new());
    let named = request.topics.iter().map(|topic| (&topic.name, topic.partitions.as_slice()));
    for (at, (name, asked)) in asked_once(named, |asked| asked.partition_index).into_iter().enumerate() {
        let partitions = asked.into_iter().enumerate().map(|(place, asked)| {
            let twice = || repeated.contains(&(name.0.as_str(), asked.partition_index));
            match refusal.or_else(|| twice().then_some(ErrorCode::InvalidRequest)) {
                Some(code) => offset_answer(asked.partition_index, step.asked.version, Err(code)),
                None => {
                    open.push((at, place, asked.clone()));
                    ListOffsetsPartitionResponse::default()
                }
            }
        });
        let partitions = partitions.collect();
        response.topics.push(ListOffsetsTopicResponse::default().with_name(name.clone()).with_partitions(partitions));
    }
    begin(node, step, Answer::Offsets(response, open));
}

/// What is wrong with the request itself.
fn refusal_for_all(request: &ListOffsetsRequest) -> Option<ErrorCode> {
    if !is_isolation_level(request.isolation_level) {
        return Some(ErrorCode::InvalidRequest);
    }
    (request.replica_id.0 >= 0).then_some(ErrorCode::NotLeaderOrFollower)
}

fn repeated_partitions(request: &ListOffsetsRequest) -> BTreeSet<(&str, i32)> {
    let mut seen = BTreeSet::new();
    let mut repeated = BTreeSet::new();
    for topic in &request.topics {
        for part in &topic.partitions {
            let key = (topic.name.0.as_str(), part.partition_index);
            if !seen.insert(key) {
                repeated.insert(key);
            }
        }
    }
    repeated
}

/// (timestamp, offset, leader epoch) of an answer; -1 stands for none.
type TimedOffset = (i64, i64, i32);

fn offset_answer(index: i32, version: i16, found: Result<TimedOffset, ErrorCode>) -> ListOffsetsPartitionResponse {
    let (code, (timestamp, offset, epoch)) = match found {
        Ok(found) => (0, found),
        Err(code) => (code.code(), (-1, -1, -1)),
    };
    ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(code)
        .with_timestamp(timestamp)
        .with_offset(offset)
        .with_leader_epoch(if version >= 4 { epoch } else { -1 })
}

/// Why there is no offset.
enum NoOffset<D: Disk> {
    Refused(ErrorCode),
    /// And not because of what was asked for.
    Failed(ErrorCode, Unreadable),
    /// There may be, once this is there.
    Cold(Warm<D>),
}

impl<D: Disk> From<ErrorCode> for NoOffset<D> {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

impl<D: Disk> From<Refusal> for NoOffset<D> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.code())
    }
}

impl<D: Disk> NoOffset<D> {
    fn of(partition: &Arc<Partition<D>>, error: &ReadError, cold: impl FnOnce() -> Lookup<D>) -> Self {
        if error.would_wait() {
            Self::Cold(Warm { lookups: vec![cold()], ..Warm::default() })
        } else if error.is_failure() {
            let failed = Unreadable { dir: partition.dir.clone(), offset: None, cause: error.to_string() };
            Self::Failed(error.code(), failed)
        } else {
            Self::Refused(error.code())
        }
    }

    fn of_view(view: VlsnLog<'_, D>, error: &VlsnError, cold: Warm<D>) -> Self {
        match view.failure(error) {
            _ if error.would_wait() => Self::Cold(cold),
            Some(failed) => Self::Failed(error.code(), failed),
            None => Self::Refused(error.code()),
        }
    }
}

fn offset_of<D: Disk>(
    topology: &Topology<D>,
    entry: Option<&Arc<LogEntry<D>>>,
    asked: &ListOffsetsPartition,
    (version, patience): (i16, Patience),
) -> Result<TimedOffset, NoOffset<D>> {
    if !timestamp_is_known(asked.timestamp, version) {
        return Err(ErrorCode::UnsupportedVersion.into());
    }
    let partition = match find(topology, entry, asked.partition_index)? {
        Place::Partition(partition) => partition,
        Place::View(view) => {
            let mut cold = Warm::default();
            let bounds = view.view_bounds().map_err(|error| NoOffset::of_view(view, &error, Warm::default()))?;
            if let Some(code) = epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
                return Err(code.into());
            }
            let found = look_up_in_view(view, bounds, asked.timestamp, (patience, &mut cold));
            return found.map_err(|error| NoOffset::of_view(view, &error, cold));
        }
    };
    let timestamp = asked.timestamp;
    let found =
        partition.look_up(patience, |log, bounds| match epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
            Some(code) => Ok(Err(code)),
            None => look_up(log, bounds, timestamp).map(Ok),
        })?;
    let cold = || Lookup::of(partition, move |log, bounds| look_up(log, bounds, timestamp));
    Ok(found.map_err(|error| NoOffset::of(partition, &error, cold))??)
}

/// Specials exist from their version on; what no version knows is refused like one that is too new (L4).
fn timestamp_is_known(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => true,
        MAX_TIMESTAMP => version >= 7,
        EARLIEST_LOCAL => version >= 8,
        LATEST_TIERED => version >= 9,
        EARLIEST_PENDING_UPLOAD => version >= 11,
        _ => false,
    }
}

fn look_up<D: Disk>(log: &mut Log<D>, bounds: Bounds, timestamp: i64) -> Result<TimedOffset, ReadError> {
    match timestamp {
        LATEST => Ok((-1, bounds.high_watermark.0, bounds.epoch.0)),
        EARLIEST | EARLIEST_LOCAL => {
            // What is not written yet will be written in the leader's epoch.
            let epoch = log.epoch_at(bounds.log_start).unwrap_or(bounds.epoch);
            Ok((-1, bounds.log_start.0, epoch.0))
        }
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok((-1, -1, -1)),
        MAX_TIMESTAMP => log.max_timestamp(bounds.high_watermark).map(timed),
        timestamp => log.offset_for_timestamp(timestamp, bounds.high_watermark).map(timed),
    }
}

fn look_up_in_view<D: Disk>(
    view: VlsnLog<'_, D>,
    bounds: Bounds,
    timestamp: i64,
    cold: Cold<'_, D>,
) -> Result<TimedOffset, VlsnError> {
    match timestamp {
        LATEST => Ok((-1, bounds.high_watermark.0, bounds.epoch.0)),
        EARLIEST | EARLIEST_LOCAL => Ok((-1, bounds.log_start.0, bounds.epoch.0)),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok((-1, -1, -1)),
        MAX_TIMESTAMP => view.view_max_timestamp(cold),
        timestamp => view.view_offset_for_timestamp(timestamp, cold),
    }
}

fn timed(found: Option<TimestampOffset>) -> TimedOffset {
    found.map_or((-1, -1, -1), |found| (found.timestamp, found.offset.0, found.epoch.0))
}

fn find<'t, D: Disk>(
    topology: &'t Topology<D>,
    entry: Option<&'t Arc<LogEntry<D>>>,
    index: i32,
) -> Result<Place<'t, D>, ErrorCode> {
    entry.and_then(|entry| topology.place(entry, index)).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// Serves OffsetForLeaderEpoch; may leave it waiting in the connection.
pub(crate) fn offset_for_leader_epoch<D: Disk>(
    node: &Node<D>,
    step: Step<'_, D>,
    request: &OffsetForLeaderEpochRequest,
) {
    let (mut response, mut open) = (OffsetForLeaderEpochResponse::default(), Vec::new());
    for (at, topic) in request.topics.iter().enumerate() {
        open.extend(topic.partitions.iter().enumerate().map(|(place, asked)| (at, place, asked.clone())));
        let partitions = vec![EpochEndOffset::default(); topic.partitions.len()];
        response
            .topics
            .push(OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions));
    }
    begin(node, step, Answer::Epochs(response, open));
}

fn epoch_answer(index: i32, found: Result<Option<EpochOffset>, ErrorCode>) -> EpochEndOffset {
    let answer = EpochEndOffset::default().with_partition(index).with_leader_epoch(-1).with_end_offset(-1);
    match found {
        Err(code) => answer.with_error_code(code.code()),
        Ok(None) => answer,
        Ok(Some(end)) => answer.with_leader_epoch(end.epoch.0).with_end_offset(end.offset.0),
    }
}

fn end_of_epoch<D: Disk>(
    topology: &Topology<D>,
    entry: Option<&Arc<LogEntry<D>>>,
    asked: &OffsetForLeaderPartition,
    patience: Patience,
) -> Result<Option<EpochOffset>, NoOffset<D>> {
    match find(topology, entry, asked.partition)? {
        Place::View(view) => {
            let mut cold = Warm::default();
            let bounds = view.view_bounds().map_err(|error| NoOffset::of_view(view, &error, Warm::default()))?;
            if let Some(code) = epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
                return Err(code.into());
            }
            let end = view.view_epoch_end(asked.leader_epoch, (patience, &mut cold));
            end.map_err(|error| NoOffset::of_view(view, &error, cold))
        }
        Place::Partition(partition) => {
            partition.with_log(|log, bounds| match epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
                Some(code) => Err(code.into()),
                None => Ok(epoch_end(log, bounds, asked.leader_epoch)),
            })?
        }
    }
}

/// Serves DeleteRecords; may leave it waiting in the connection. The new start is on disk before the answer leaves.
pub(crate) fn delete_records<D: Disk>(node: &Node<D>, step: Step<'_, D>, request: &DeleteRecordsRequest) {
    let (mut response, mut open) = (DeleteRecordsResponse::default(), Vec::new());
    let named = request.topics.iter().map(|topic| (&topic.name, topic.partitions.as_slice()));
    for (at, (name, asked)) in asked_once(named, |asked| asked.partition_index).into_iter().enumerate() {
        let partitions = vec![DeleteRecordsPartitionResult::default(); asked.len()];
        open.extend(asked.into_iter().enumerate().map(|(place, asked)| (at, place, asked.clone())));
        response.topics.push(DeleteRecordsTopicResult::default().with_name(name.clone()).with_partitions(partitions));
    }
    begin(node, step, Answer::Starts(response, open));
}

fn start_answer(index: i32, found: Result<LogOffset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let (code, low) = match found {
        Ok(low) => (0, low.0),
        Err(code) => (code.code(), -1),
    };
    DeleteRecordsPartitionResult::default().with_partition_index(index).with_error_code(code).with_low_watermark(low)
}

/// What is asked of each log and partition, in the order in which they come up, as in Kafka: one that is named several
/// times is answered once, by what is said last, and a log of which no partition is named not at all.
fn asked_once<'r, P>(
    request: impl Iterator<Item = (&'r TopicName, &'r [P])>,
    index_of: impl Fn(&P) -> i32,
) -> Vec<(&'r TopicName, Vec<&'r P>)> {
    let mut topics: Vec<(&TopicName, Vec<&P>)> = Vec::new();
    let mut places: BTreeMap<&str, (usize, BTreeMap<i32, usize>)> = BTreeMap::new();
    for (name, asked) in request.filter(|(_, asked)| !asked.is_empty()) {
        let (at, places) = places.entry(name.0.as_str()).or_insert_with(|| (topics.len(), BTreeMap::new()));
        if *at == topics.len() {
            topics.push((name, Vec::new()));
        }
        let Some((_, partitions)) = topics.get_mut(*at) else { continue };
        for asked in asked {
            let place = *places.entry(index_of(asked)).or_insert(partitions.len());
            match partitions.get_mut(place) {
                Some(before) => *before = asked,
                None => partitions.push(asked),
            }
        }
    }
    topics
}

fn delete_until<D: Disk>(
    topology: &Topology<D>,
    entry: Option<&Arc<LogEntry<D>>>,
    asked: &DeleteRecordsPartition,
    out: &mut Outputs<D>,
) -> Result<LogOffset, NoOffset<D>> {
    let partition = match find(topology, entry, asked.partition_index)? {
        Place::Partition(partition) => partition,
        Place::View(_) => return Err(ErrorCode::PolicyViolation.into()),
    };
    let log = entry.map(|entry| &entry.log).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if log.metadata.log_id.is_internal() {
        return Err(ErrorCode::InvalidTopicException.into());
    }
    // A log without any policy keeps everything until somebody says otherwise, as in Kafka.
    if log.settings.cleanup.compact && !log.settings.cleanup.delete {
        return Err(ErrorCode::PolicyViolation.into());
    }
    let below = (asked.offset != -1).then_some(LogOffset(asked.offset));
    let deleted = partition.delete_records(below, out)?;
    deleted.map_err(|error| match &error {
        DeleteError::Read(error) => NoOffset::of(partition, error, || Lookup::of_indexes(partition)),
        DeleteError::OutOfRange { .. } | DeleteError::DiskFull(_) | DeleteError::Offline(_) => error.code().into(),
    })
}
