//! Fetch: find the bytes, or wait until there are enough of them.
//! Holds: whole batches only, never at or above the high watermark; the first partition with data gives at least one
//! batch, however small the limits (F5); a wait ends by data, by its deadline, or by any error that ends it (F9).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{EpochOffset, ErrorCode, LogOffset, MonoMs, Now, kafka_protocol};
use pyralog_storage::{Disk, DiskFile, Patience, ReadSlice};

use crate::Node;
use crate::api::{Responder, Step, is_isolation_level};
use crate::connection::{ConnId, Connection, FileRange, Piece};
use crate::lookup::Lookup;
use crate::outputs::{Outputs, Warm};
use crate::partition::{Bounds, Located, Partition, ReadLimits, Refusal};
use crate::sessions::{Asked, Outcome, Plan, Position, TopicKey};
use crate::topology::{Place, Topology};
use crate::unreadable::Unreadable;
use crate::vlsn::{Seen, Sight, VlsnError, VlsnLog};
use crate::waiting::{Wait, WaitPart, Warming};

/// Fetch v13 names topics by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;
/// The version from which on an answer has an error of its own.
const ERROR_CODE_FROM: i16 = 7;
/// Fetch v16 tells the current leader (KIP-951).
const LEADER_HINTS_FROM: i16 = 16;
/// Fetch v12 detects divergence (KIP-595).
const DIVERGENCE_FROM: i16 = 12;
/// Records up to this many bytes are copied into the answer: a copy of so little is cheaper than a call for it alone.
const IN_MEMORY: usize = 16 << 10;
/// All that a partition has.
const ALL: ReadLimits = (usize::MAX, true);
/// Longest wait, whatever the client asks: 1 hour.
const MAX_WAIT_MS: i32 = 3_600_000;
/// Most memory of a fetch that waits, in bytes: one of more partitions than anybody reads from is answered at once.
const WAIT_BYTES_MAX: usize = 8 << 20;

/// A fetch that waits for data.
#[derive(Debug)]
pub struct FetchWait {
    deadline: MonoMs,
    /// For what comes from the disk.
    warming: Warming,
    /// Partitions that were unknown when the wait for data began. One more ends it: its log was deleted meanwhile (F10).
    unknown: Option<usize>,
    watching: bool,
    work: Work,
    /// The memory that it takes; `None`: it does not wait for data.
    _memory: Option<WaitPart>,
}

/// What a look came to.
enum Looked<D: Disk> {
    /// That is the answer. The rest is to be brought into memory for the next request.
    Done(Vec<Found<D>>, Warm<D>),
    /// There is too little, and so many partitions are unknown.
    TooLittle(usize),
    /// These are to be brought into memory first.
    Cold(Warm<D>),
}

impl FetchWait {
    /// The wait is over now.
    pub(crate) fn stop(&mut self) {
        self.deadline = MonoMs(0);
        self.warming.stop();
    }

    /// When it is to be looked at again.
    pub fn deadline(&self) -> MonoMs {
        self.warming.until().unwrap_or(self.deadline)
    }

    fn look<D: Disk>(&self, node: &Node<D>, topology: &Topology<D>, over: bool) -> Looked<D> {
        let mut found = self.work.look(node, topology, self.warming.patience());
        let mut cold = Warm::default();
        found.iter_mut().filter_map(|part| part.cold.take()).for_each(|more| cold.add(more));
        // What is wrong with an index is told once: whoever waited for another one meanwhile would never be told of either.
        if !cold.is_empty() && found.iter().all(|part| part.failure.is_none()) {
            return Looked::Cold(cold);
        }
        let unknown = count_unknown(&found);
        let is_done = over || self.unknown.is_some_and(|before| unknown > before) || self.work.is_done(&found);
        if is_done { Looked::Done(found, cold) } else { Looked::TooLittle(unknown) }
    }
}

/// A fetch after its session was looked at.
#[derive(Debug)]
struct Work {
    responder: Responder,
    version: i16,
    plan: Plan,
    min_bytes: usize,
    max_bytes: usize,
    read_committed: bool,
    refusal: Option<ErrorCode>,
}

/// One partition's part of the answer, its bytes not read yet.
struct Found<D: Disk> {
    data: PartitionData,
    slice: Option<ReadSlice<D::File>>,
    /// What was read at once, instead of the slice, because descriptors are scarce.
    copied: Option<io::Result<Bytes>>,
    /// What has to come from the disk before more can be said.
    cold: Option<Warm<D>>,
    /// Bytes that count towards `min_bytes`: what the partition's own limit lets through, whether or not the answer has
    /// room for all of it. Counting only the whole batches that fit would make a client whose limits are close to
    /// `min_bytes` wait in front of a full log.
    available: usize,
    ends_wait: bool,
    known: bool,
    /// Why it could not be read, for the operator: nothing, where the reader asked for what is not there.
    failure: Option<Unreadable>,
}

impl<D: Disk> Found<D> {
    /// A part of the answer without records.
    fn of(data: PartitionData) -> Self {
        Self { data, slice: None, copied: None, cold: None, available: 0, ends_wait: false, known: true, failure: None }
    }
}

/// Serves one Fetch request; may leave it waiting in the connection.
pub(crate) fn fetch<D: Disk>(node: &Node<D>, step: Step<'_, D>, request: &FetchRequest) {
    let Step { conn, asked, now, out, .. } = step;
    let responder = asked.responder(conn.reserve(true));
    // Before v7 an answer has no place for it but the partitions.
    if !is_isolation_level(request.isolation_level) && asked.version >= ERROR_CODE_FROM {
        return answer(&responder, top_level(ErrorCode::InvalidRequest), out);
    }
    let by_id = asked.version >= TOPIC_IDS_FROM;
    let wanted = Asked::of(request, by_id);
    let plan = match node.sessions.lock().plan(wanted, now.mono) {
        Ok(plan) => plan,
        Err(code) => return answer(&responder, top_level(code), out),
    };
    let memory = Some(plan.bytes()).filter(|bytes| *bytes <= WAIT_BYTES_MAX);
    let memory = memory.and_then(|bytes| node.fetch_waits.take(bytes));
    let wait_ms = if memory.is_some() { request.max_wait_ms.clamp(0, MAX_WAIT_MS) } else { 0 };
    let work = Work {
        version: asked.version,
        plan,
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
        read_committed: request.isolation_level == 1,
        refusal: refusal_for_all(request),
        responder,
    };
    let deadline = now.mono.after_ms(i64::from(wait_ms));
    let wait =
        FetchWait { deadline, warming: Warming::default(), unknown: None, watching: false, work, _memory: memory };
    resume(node, conn, wait, now, out);
}

/// Looks at a fetch: for the first time, or again because something changed or its time is over.
pub(crate) fn resume<D: Disk>(
    node: &Node<D>,
    conn: &mut Connection,
    mut wait: FetchWait,
    now: Now,
    out: &mut Outputs<D>,
) {
    wait.warming.end();
    let over = now.mono >= wait.deadline;
    let mut topology = node.topology.load();
    let mut looked = wait.look(node, &topology, over);
    while matches!(looked, Looked::TooLittle(_)) {
        // Watch first, look again afterwards: what arrives in between is seen by one of the two.
        wait.work.each_place(&topology, |place| match place {
            Place::Partition(partition) => partition.watch(conn.id),
            Place::View(view) => view.partitions().iter().for_each(|partition| partition.watch(conn.id)),
        });
        wait.watching = true;
        // So is a new topology, whose partitions may be others.
        let watched = std::mem::replace(&mut topology, node.topology.load());
        looked = wait.look(node, &topology, over);
        if Arc::ptr_eq(&watched, &topology) {
            break;
        }
    }
    match looked {
        Looked::Done(found, cold) => {
            abandon(node, conn.id, &wait);
            if !cold.is_empty() {
                out.warms.push((conn.id, cold));
            }
            wait.work.finish(node, found, now, out);
        }
        Looked::TooLittle(unknown) => {
            wait.unknown.get_or_insert(unknown);
            conn.waiting = Some(Wait::Fetch(wait));
        }
        Looked::Cold(cold) => {
            wait.warming.begin(now);
            out.warms.push((conn.id, cold));
            conn.waiting = Some(Wait::Fetch(wait));
        }
    }
}

/// Forgets a waiting fetch whose connection is gone.
pub(crate) fn abandon<D: Disk>(node: &Node<D>, conn: ConnId, wait: &FetchWait) {
    if wait.watching {
        wait.work.each_place(&node.topology.load(), |place| match place {
            Place::Partition(partition) => partition.unwatch(conn),
            Place::View(view) => view.partitions().iter().for_each(|partition| partition.unwatch(conn)),
        });
    }
}

fn count_unknown<D: Disk>(found: &[Found<D>]) -> usize {
    found.iter().filter(|f| !f.known).count()
}

/// Refusals that rest on the request alone, told in each partition (F6, F15).
fn refusal_for_all(request: &FetchRequest) -> Option<ErrorCode> {
    let replica = request.replica_id.0.max(request.replica_state.replica_id.0);
    if replica >= 0 {
        return Some(ErrorCode::NotLeaderOrFollower);
    }
    (request.max_bytes < 0 || !is_isolation_level(request.isolation_level)).then_some(ErrorCode::InvalidRequest)
}

fn top_level(code: ErrorCode) -> FetchResponse {
    FetchResponse::default().with_error_code(code.code())
}

fn answer<D: Disk>(responder: &Responder, response: FetchResponse, out: &mut Outputs<D>) {
    out.answers.push(responder.answer(response.into()));
}

fn failed(index: i32, code: ErrorCode) -> PartitionData {
    PartitionData::default()
        .with_partition_index(index)
        .with_error_code(code.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        // Null but for what is not there at all, as Kafka has it (F12).
        .with_aborted_transactions(is_unknown(code).then(Vec::new))
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()))
}

fn is_unknown(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
}

impl Work {
    fn each_place<D: Disk>(&self, topology: &Topology<D>, visit: impl FnMut(Place<'_, D>)) {
        let positions = self.plan.positions.iter();
        positions.filter_map(|(key, position)| find(topology, key, position.index).ok()).for_each(visit);
    }

    fn look<D: Disk>(&self, node: &Node<D>, topology: &Topology<D>, patience: Patience) -> Vec<Found<D>> {
        let mut budget = self.max_bytes.min(node.fetch_budget());
        let mut first = true;
        let mut found = Vec::with_capacity(self.plan.positions.len());
        for (key, position) in &self.plan.positions {
            let mut part = self.look_at(topology, (key, position), (budget, first), patience);
            if let Some(slice) = &part.slice {
                first = false;
                budget = budget.saturating_sub(slice.len);
            }
            if let Some(Ok(bytes)) = &part.copied {
                first = false;
                budget = budget.saturating_sub(bytes.len());
            }
            // One request may name more partitions than there are descriptors, and a client may take its time (OP-12).
            if part.slice.is_some() && node.commons.files.is_scarce() {
                part.copied = part.slice.as_ref().map(ReadSlice::read);
                part.slice = None;
            }
            found.push(part);
        }
        found
    }

    fn look_at<D: Disk>(
        &self,
        topology: &Topology<D>,
        (key, position): (&TopicKey, &Position),
        (budget, first): (usize, bool),
        patience: Patience,
    ) -> Found<D> {
        let refuse = |code, known| Found { ends_wait: known, known, ..Found::of(failed(position.index, code)) };
        let place = match find(topology, key, position.index) {
            Ok(place) => place,
            Err(code) => return refuse(code, false),
        };
        let malformed = (position.max_bytes < 0).then_some(ErrorCode::InvalidRequest);
        if let Some(code) = self.refusal.or(malformed) {
            return refuse(code, true);
        }
        let limit = budget.min(usize::try_from(position.max_bytes).unwrap_or(0));
        let partition = match place {
            Place::Partition(partition) => partition,
            Place::View(view) => {
                let sight = view.look(position.offset, (limit, first), patience);
                return self.judge_view((topology, view), position, sight, patience);
            }
        };
        let limits = (limit, first);
        match partition.locate(LogOffset(position.offset), limits, patience) {
            Err(why) if matches!(key, TopicKey::Id(_)) => refuse(why.code_by_id(), true),
            Err(why) => refuse(why.code(), true),
            Ok(located) => self.judge((topology, partition), position, located, (limits, patience)),
        }
    }

    /// The same for the view of a VLSN log, whose batches are in memory.
    fn judge_view<D: Disk>(
        &self,
        (topology, view): (&Topology<D>, VlsnLog<'_, D>),
        position: &Position,
        sight: Result<Sight<D>, VlsnError>,
        patience: Patience,
    ) -> Found<D> {
        let refuse = |code| Found { ends_wait: true, ..Found::of(failed(position.index, code)) };
        let Sight { bounds, seen } = match sight {
            Ok(sight) => sight,
            Err(error) => return Found { failure: view.failure(&error), ..refuse(error.code()) },
        };
        if let Some(found) = self.stale_epoch(topology, position, bounds) {
            return found;
        }
        if self.version >= DIVERGENCE_FROM && position.last_epoch >= 0 {
            let mut cold = Warm::default();
            match view.view_epoch_end(position.last_epoch, (patience, &mut cold)) {
                Err(error) if error.would_wait() => {
                    return Found { cold: Some(cold), ..self.found(position, bounds, None) };
                }
                Err(error) => return Found { failure: view.failure(&error), ..refuse(error.code()) },
                Ok(None) => return refuse(ErrorCode::OffsetOutOfRange),
                Ok(Some(end)) if end.epoch.0 < position.last_epoch || end.offset.0 < position.offset => {
                    return self.diverged(position, bounds, end);
                }
                Ok(Some(_)) => {}
            }
        }
        match seen {
            Seen::Records { records, more } => {
                // How much more is not known, for a page takes its share of each partition: nobody waits with that before him.
                let limit = usize::try_from(position.max_bytes).unwrap_or(0);
                let available = if more { records.len().max(limit) } else { records.len() };
                let copied = (!records.is_empty()).then_some(Ok(records));
                Found { available, copied, ..self.found(position, bounds, None) }
            }
            Seen::Cold(cold) => Found { cold: Some(cold), ..self.found(position, bounds, None) },
            Seen::OutOfRange => refuse(ErrorCode::OffsetOutOfRange),
        }
    }

    /// The refusal of a reader whose idea of the leader epoch is not ours.
    fn stale_epoch<D: Disk>(&self, topology: &Topology<D>, position: &Position, bounds: Bounds) -> Option<Found<D>> {
        let code = super::epoch_refusal(position.current_epoch, bounds.epoch)?;
        let mut found = Found { ends_wait: true, ..Found::of(failed(position.index, code)) };
        if self.version >= LEADER_HINTS_FROM && code == ErrorCode::FencedLeaderEpoch {
            found.data.current_leader = LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(topology.image.node().0))
                .with_leader_epoch(bounds.epoch.0);
        }
        Some(found)
    }

    /// Where the reader's last epoch ended, before the position it is at.
    fn diverged<D: Disk>(&self, position: &Position, bounds: Bounds, end: EpochOffset) -> Found<D> {
        let mut found = self.found(position, bounds, None);
        found.data.diverging_epoch = EpochEndOffset::default().with_epoch(end.epoch.0).with_end_offset(end.offset.0);
        // Nothing was read: the list is for records (F12).
        found.data.aborted_transactions = None;
        found.ends_wait = true;
        found
    }

    fn judge<D: Disk>(
        &self,
        (topology, partition): (&Topology<D>, &Arc<Partition<D>>),
        position: &Position,
        (bounds, read): (Bounds, Located<D>),
        (limits, patience): (ReadLimits, Patience),
    ) -> Found<D> {
        let refuse = |code| Found { ends_wait: true, ..Found::of(failed(position.index, code)) };
        if let Some(found) = self.stale_epoch(topology, position, bounds) {
            return found;
        }
        if self.version >= DIVERGENCE_FROM && position.last_epoch >= 0 {
            match diverging(partition, position, bounds) {
                Err(code) => return refuse(code),
                Ok(Some(end)) => return self.diverged(position, bounds, end),
                Ok(None) => {}
            }
        }
        let would_wait = |limits| {
            let lookups = vec![Lookup::of_read(partition, LogOffset(position.offset), limits)];
            let cold = Some(Warm { lookups, ..Warm::default() });
            Found { cold, ..self.found(position, bounds, None) }
        };
        match read {
            Ok(slice) => {
                let fits = slice.as_ref().map_or(0, |slice| slice.len);
                let more = if self.min_bytes <= 1 { Some(0) } else { available(partition, position, patience) };
                let Some(more) = more else { return would_wait(ALL) };
                Found { available: fits.max(more), ..self.found(position, bounds, slice) }
            }
            Err(error) if error.would_wait() => would_wait(limits),
            Err(error) => {
                let failure = error.is_failure().then(|| unreadable(partition, position, error.to_string()));
                Found { failure, ..refuse(error.code()) }
            }
        }
    }

    fn found<D: Disk>(&self, position: &Position, bounds: Bounds, slice: Option<ReadSlice<D::File>>) -> Found<D> {
        let data = PartitionData::default()
            .with_partition_index(position.index)
            .with_high_watermark(bounds.high_watermark.0)
            .with_last_stable_offset(bounds.high_watermark.0)
            .with_log_start_offset(bounds.log_start.0)
            .with_aborted_transactions(self.read_committed.then(Vec::new))
            .with_preferred_read_replica(BrokerId(-1))
            .with_records(Some(Bytes::new()));
        Found { slice, ..Found::of(data) }
    }

    fn is_done<D: Disk>(&self, found: &[Found<D>]) -> bool {
        // An unknown partition ends the wait only where there is no other (F9).
        if found.iter().all(|f| !f.known) || found.iter().any(|f| f.ends_wait) {
            return true;
        }
        found.iter().map(|f| f.available).fold(0, usize::saturating_add) >= self.min_bytes.min(self.max_bytes)
    }

    fn finish<D: Disk>(&self, node: &Node<D>, found: Vec<Found<D>>, now: Now, out: &mut Outputs<D>) {
        let mut parts: Vec<(PartitionData, Option<Piece>)> = Vec::with_capacity(found.len());
        for (found, (key, position)) in found.into_iter().zip(&self.plan.positions) {
            let (data, piece, failure) = load(found, |cause| {
                match find(&node.topology.load(), key, position.index) {
                    Ok(Place::Partition(partition)) => Some(unreadable(partition, position, cause)),
                    // What is read of a view was read already. Or it was deleted meanwhile.
                    Ok(Place::View(_)) | Err(_) => None,
                }
            });
            if let Some(failed) = failure {
                node.telling(now, out).tell(failed);
            }
            parts.push((data, piece));
        }
        let outcomes: Vec<Outcome> = parts.iter().map(outcome).collect();
        let news = node.sessions.lock().note(&self.plan, &outcomes);
        let mut response = FetchResponse::default().with_session_id(self.plan.session_id);
        let (mut lengths, mut records) = (Vec::new(), Vec::new());
        let mut hints = false;
        for (((key, _), (part, piece)), news) in self.plan.positions.iter().zip(parts).zip(news) {
            if news {
                hints = hints || part.current_leader.leader_id.0 >= 0;
                push(&mut response, key, part);
                lengths.push(piece.as_ref().map_or(0, Piece::len));
                records.extend(piece);
            }
        }
        if hints {
            response.node_endpoints = vec![
                NodeEndpoint::default()
                    .with_node_id(BrokerId(node.topology.load().image.node().0))
                    .with_host(StrBytes::from(self.responder.local.0.clone()))
                    .with_port(i32::from(self.responder.local.1)),
            ];
        }
        out.answers.push(self.responder.fetch_answer(response, &lengths, records));
    }
}

fn find<'t, D: Disk>(topology: &'t Topology<D>, key: &TopicKey, index: i32) -> Result<Place<'t, D>, ErrorCode> {
    let (entry, missing) = match key {
        TopicKey::Name(name) => (topology.by_name(name), ErrorCode::UnknownTopicOrPartition),
        TopicKey::Id(id) => (topology.by_id(*id), ErrorCode::UnknownTopicId),
    };
    topology.place(entry.ok_or(missing)?, index).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// Bytes that the partition has for this reader, up to its own limit. `None`: that would have to be waited for.
fn available<D: Disk>(partition: &Arc<Partition<D>>, position: &Position, patience: Patience) -> Option<usize> {
    let limit = usize::try_from(position.max_bytes).unwrap_or(0);
    let offset = LogOffset(position.offset);
    let (max_bytes, at_least_one) = ALL;
    let found = partition.look_up(patience, |log, bounds| {
        let here = log.read(offset, max_bytes as u64, at_least_one, bounds.high_watermark)?;
        let behind = usize::try_from(log.bytes_behind_segment_of(offset)).unwrap_or(usize::MAX);
        Ok(here.map_or(0, |here| here.len.saturating_add(behind)))
    });
    match found {
        Ok(Err(error)) if error.would_wait() => None,
        found => Some(found.map_or(0, |found| found.unwrap_or(0)).min(limit)),
    }
}

/// Whether the reader's last epoch ended before the position it is at (KIP-595, F14).
fn diverging<D: Disk>(
    partition: &Arc<Partition<D>>,
    position: &Position,
    bounds: Bounds,
) -> Result<Option<EpochOffset>, ErrorCode> {
    let end = partition
        .with_log(|log, _| super::epoch_end(log, bounds, position.last_epoch))
        .map_err(Refusal::code)?
        .ok_or(ErrorCode::OffsetOutOfRange)?;
    let diverges = end.epoch.0 < position.last_epoch || end.offset.0 < position.offset;
    Ok(diverges.then_some(end))
}

fn unreadable<D: Disk>(partition: &Partition<D>, position: &Position, cause: String) -> Unreadable {
    Unreadable { dir: partition.dir.clone(), offset: Some(LogOffset(position.offset)), cause }
}

/// The bytes that were found, in memory if they are few and at hand: one write sends them together with what is in front
/// of them. An error now is the partition's, not the request's; the last is what is told of it.
fn load<D: Disk>(
    found: Found<D>,
    unreadable: impl FnOnce(String) -> Option<Unreadable>,
) -> (PartitionData, Option<Piece>, Option<Unreadable>) {
    let read = match (found.slice, found.copied) {
        (Some(slice), _) => match if_at_hand(&slice) {
            Ok(None) => {
                let range = FileRange { file: slice.file, position: slice.position, len: slice.len };
                return (found.data, Some(Piece::Range(range)), None);
            }
            Ok(Some(bytes)) => Ok(bytes),
            Err(error) => Err(error),
        },
        (None, Some(copied)) => copied,
        (None, None) => return (found.data, None, found.failure),
    };
    match read {
        Ok(bytes) => (found.data, Some(Piece::Bytes(bytes)), None),
        Err(error) => {
            let data = failed(found.data.partition_index, ErrorCode::KafkaStorageError);
            (data, None, unreadable(error.to_string()))
        }
    }
}

/// What is to be copied into the answer, in one call mostly.
fn if_at_hand<F: DiskFile>(slice: &ReadSlice<F>) -> io::Result<Option<Bytes>> {
    if slice.len > IN_MEMORY {
        return Ok(None);
    }
    match slice.read_cached()? {
        // The file may have become shorter, which is an error.
        None if slice.file.is_cached(slice.position, slice.len) => slice.read().map(Some),
        read => Ok(read),
    }
}

fn outcome((data, piece): &(PartitionData, Option<Piece>)) -> Outcome {
    Outcome {
        failed: data.error_code != 0 || data.diverging_epoch.epoch >= 0,
        bytes: piece.as_ref().map_or(0, Piece::len),
        high_watermark: data.high_watermark,
        log_start: data.log_start_offset,
    }
}

/// Adds a part, beside the others of its topic while these come in a row.
fn push(response: &mut FetchResponse, key: &TopicKey, part: PartitionData) {
    let same = response.responses.last().is_some_and(|topic| match key {
        TopicKey::Name(name) => topic.topic.0 == *name,
        TopicKey::Id(id) => *topic.topic_id.as_bytes() == id.0,
    });
    if !same {
        response.responses.push(match key {
            TopicKey::Name(name) => FetchableTopicResponse::default().with_topic(TopicName(name.clone())),
            TopicKey::Id(id) => FetchableTopicResponse::default().with_topic_id(super::uuid(*id)),
        });
    }
    if let Some(topic) = response.responses.last_mut() {
        topic.partitions.push(part);
    }
}
