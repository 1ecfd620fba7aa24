//! The producer as a state machine: records go in, requests come out, answers go in, outcomes come out. It knows no
//! socket, clock or task.
//!
//! Holds: every record that was taken gets exactly one outcome. Records of one partition are appended in the order in
//! which they were taken. With idempotence a record is appended at most once however often it was sent, and a record
//! that was reported as written is in the log. Memory is the caller's business: nothing here limits how much is taken.

#![allow(clippy::too_many_arguments, reason = "where, when and what comes of it are arguments of a pure machine")]

mod batch;
mod partition;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use pyralog_protocol::batch::{BATCH_HEADER_BYTES, Compression, NewRecord};
use pyralog_protocol::{Draw, ErrorCode, LogId, LogOffset, MonoMs, NodeId, TopicId};

use super::backoff::Backoff;
use super::partitioner::partition_of;
use super::verdict::{Verdict, verdict};
use batch::Batch;
pub use batch::Sequence;
pub use partition::IN_FLIGHT_MAX;
use partition::{Next, Partition};

/// How the machine behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether repetitions are recognised by the broker.
    pub idempotent: bool,
    /// How long a batch waits for more records while an earlier one of its partition is unanswered.
    pub linger_ms: i64,
    /// Size at which a batch is full.
    pub batch_bytes: usize,
    /// Most bytes of one request.
    pub request_bytes: usize,
    /// Unanswered requests per broker.
    pub requests_in_flight: usize,
    /// From the taking of a record to the moment it is given up.
    pub delivery_timeout_ms: i64,
    /// Between attempts.
    pub backoff: Backoff,
    /// Of batches.
    pub compression: Compression,
    /// Whether a record that fails halts the machine: nothing behind it is sent, and nothing is taken until
    /// [`Producer::mend`].
    pub strict: bool,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To this partition.
    Partition(u32),
    /// Where its key belongs; without a key to whichever partition is being filled.
    Key,
}

/// Why a record was not taken; it comes back with its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untaken {
    /// The log has not been [learnt](Producer::learn) yet.
    UnknownLog,
    /// The log has no such partition.
    NoPartition {
        /// Partitions that it has.
        count: u32,
    },
    /// The record alone is larger than a request may be.
    TooLarge {
        /// Its size at most.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// An earlier record failed, and the machine is [strict](Settings::strict).
    Halted,
    /// The machine takes nothing more.
    Closed,
}

/// Why a record was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A broker refused it for good, or again and again.
    Refused {
        /// Its error code.
        code: i16,
        /// Its explanation.
        message: Option<String>,
    },
    /// The broker refused another record of the same batch.
    InBadCompany {
        /// The broker's error code.
        code: i16,
        /// Its explanation.
        message: Option<String>,
    },
    /// No broker took it, or answered, in time.
    Expired {
        /// Whether it may have been written: it was sent, and not refused each time.
        sent: bool,
        /// Why the last attempt failed.
        last: Option<Box<Failure>>,
    },
    /// The request or its answer was lost.
    Lost {
        /// What happened.
        reason: String,
    },
    /// The request did not leave.
    Unsent {
        /// What happened.
        reason: String,
    },
    /// The caller gave it up.
    GivenUp {
        /// Why.
        reason: String,
    },
    /// Nobody goes on with it.
    Closed,
    /// The batch could not be made.
    Unbuildable {
        /// Why.
        reason: String,
    },
}

impl Failure {
    /// Whether the copy of a batch that met with it may be in the log, or still come there.
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::Unsent { .. } => false,
            // These are found out before anything is appended. Others, such as REQUEST_TIMED_OUT, are said of batches that were; so
            // is NOT_LEADER_OR_FOLLOWER, by a leader that is none any more by the time the other replicas have it.
            Self::Refused { code, .. } | Self::InBadCompany { code, .. } => !matches!(
                ErrorCode::from_code(*code),
                Some(
                    ErrorCode::CorruptMessage
                        | ErrorCode::UnknownTopicOrPartition
                        | ErrorCode::LeaderNotAvailable
                        | ErrorCode::NotEnoughReplicas
                        | ErrorCode::OutOfOrderSequenceNumber
                        | ErrorCode::InvalidProducerEpoch
                        | ErrorCode::UnknownProducerId
                )
            ),
            Self::Lost { .. }
            | Self::Expired { .. }
            | Self::GivenUp { .. }
            | Self::Closed
            | Self::Unbuildable { .. } => true,
        }
    }
}

/// What a broker says of one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is in the log.
    Written {
        /// Of its first record; unset when the broker does not say (no acknowledgement asked, or a known duplicate).
        base_offset: LogOffset,
        /// When the log is one that stamps records itself.
        append_time: Option<i64>,
    },
    /// It is not, as far as this answer goes.
    Refused {
        /// Error code.
        code: i16,
        /// Explanation.
        message: Option<String>,
        /// Records that are at fault, by position, each with an explanation.
        records: Vec<(usize, Option<String>)>,
    },
}

/// A batch in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: u32,
    /// The batch.
    pub batch: Bytes,
}

/// Outcome of a batch: the token of the n-th record got offset `base_offset + n`, or all failed.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: u32,
    /// One per record, in order.
    pub tokens: Vec<T>,
    /// First offset and append time, or why not.
    pub result: Result<(LogOffset, Option<i64>), Failure>,
    /// Of those that failed: whether they may be in the log, or still come there, as a copy that the network delays.
    pub in_doubt: bool,
}

/// Number of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flight(pub u64);

/// What is to be done.
#[derive(Debug)]
pub enum Output<T> {
    /// Ask a broker for a producer id, then call [`Producer::identified`] or [`Producer::unidentified`].
    Identify,
    /// Ask for metadata of this log, which something waits to be written to, then call [`Producer::learn`].
    Refresh(LogId),
    /// Send this to a broker; then call [`Producer::answered`], [`Producer::lost`] or [`Producer::unsent`]. Requests to one broker leave in the
    /// order in which they come out here.
    Send {
        /// Names the request in answers.
        flight: Flight,
        /// The broker.
        node: NodeId,
        /// One batch per partition.
        parcels: Vec<Parcel>,
    },
    /// These are settled.
    Done(Outcome<T>),
}

struct Log<T> {
    /// Another one under the same name is another log.
    id: TopicId,
    /// Partitions that it has; those beyond are of a log of before, and keep what was taken for them until its time is up.
    count: usize,
    partitions: Vec<Partition<T>>,
    /// Where records without keys go until a batch is full.
    sticky: Option<(u32, usize)>,
    /// No metadata is asked for before.
    refresh_not_before: MonoMs,
    refresh_wanted: bool,
    refreshes: u32,
}

/// Batches in a request: log, partition, order number.
type Cargo = Vec<(LogId, u32, u64)>;

enum Identity {
    Unknown { not_before: MonoMs, failures: u32 },
    Asked { failures: u32 },
    Known(i64, i16),
}

/// The machine; `T` is what the caller waits by, one per record.
pub struct Producer<T> {
    settings: Settings,
    draw: Draw,
    identity: Identity,
    logs: BTreeMap<LogId, Log<T>>,
    /// Partitions that are not idle.
    active: BTreeSet<(LogId, u32)>,
    /// Unanswered requests by broker.
    nodes: BTreeMap<NodeId, usize>,
    flights: BTreeMap<Flight, (NodeId, Cargo)>,
    next_flight: u64,
    /// From where the next request of a broker begins to look, so that every partition gets its turn.
    turn: Option<(LogId, u32)>,
    /// A record failed, and order is strict.
    halted: bool,
    closed: bool,
}

/// The most bytes that a record can take in a batch.
pub fn record_bytes(record: &NewRecord<'_>) -> usize {
    /// Length, attributes, timestamp, offset, key length, value length, header count.
    const FIXED: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
    let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record.headers.iter().map(|(key, value)| 10 + key.len() + size(*value)).sum::<usize>();
    FIXED + size(record.key) + size(record.value) + headers
}

impl<T> Producer<T> {
    /// A machine without records.
    pub fn new(settings: Settings, draw: Draw) -> Self {
        Self {
            settings,
            draw,
            identity: Identity::Unknown { not_before: MonoMs(0), failures: 0 },
            logs: BTreeMap::new(),
            active: BTreeSet::new(),
            nodes: BTreeMap::new(),
            flights: BTreeMap::new(),
            next_flight: 0,
            turn: None,
            halted: false,
            closed: false,
        }
    }

    /// Tells who leads the partitions of a log. A log has never fewer than before; one that was created again may.
    pub fn learn(&mut self, log: &LogId, id: TopicId, leaders: &[Option<NodeId>]) {
        let entry = self.logs.entry(log.clone()).or_insert_with(|| Log {
            id,
            count: 0,
            partitions: Vec::new(),
            sticky: None,
            refresh_not_before: MonoMs(0),
            refresh_wanted: false,
            refreshes: 0,
        });
        if entry.id != id {
            (entry.id, entry.count, entry.sticky) = (id, 0, None);
            entry.partitions.iter_mut().for_each(Partition::meet_strangers);
        }
        entry.count = entry.count.max(leaders.len());
        if entry.partitions.len() < entry.count {
            entry.partitions.resize_with(entry.count, Partition::default);
        }
        for (index, partition) in entry.partitions.iter_mut().enumerate() {
            partition.leader = leaders.get(index).copied().flatten();
        }
        entry.refresh_wanted = false;
        if leaders.iter().all(Option::is_some) {
            entry.refreshes = 0;
        }
    }

    /// The logs that are known.
    pub fn logs(&self) -> impl Iterator<Item = &LogId> {
        self.logs.keys()
    }

    /// Forgets a log that does not exist, unless something of it is in the air or waits. The answer is whether it is not known (any
    /// more).
    ///
    /// Who said so may be wrong, and what was written there be remembered: sequences that began anew would be taken for repetitions.
    /// So whatever begins from now on has a higher epoch. A strict machine has one log, and keeps it.
    pub fn forget(&mut self, log: &LogId) -> bool {
        if self.settings.strict || self.has_unsettled(log) {
            return false;
        }
        let Some(forgotten) = self.logs.remove(log) else { return true };
        if let Identity::Known(id, epoch) = self.identity
            && let Some(used) = forgotten.partitions.iter().filter_map(|partition| partition.epoch_of(id)).max()
        {
            let unknown = Identity::Unknown { not_before: MonoMs(0), failures: 0 };
            self.identity = used.max(epoch).checked_add(1).map_or(unknown, |epoch| Identity::Known(id, epoch));
        }
        true
    }

    /// Whether a record for this log has no outcome yet.
    pub fn has_unsettled(&self, log: &LogId) -> bool {
        has_active(&self.active, log)
    }

    /// Partitions of a log, if it is known.
    pub fn partition_count(&self, log: &LogId) -> Option<u32> {
        self.logs.get(log).and_then(|log| u32::try_from(log.count).ok()).filter(|count| *count > 0)
    }

    /// Takes a record. The answer is whether [`Self::step`] may have something to do now.
    pub fn push(
        &mut self,
        log: &LogId,
        target: Target,
        record: NewRecord<'_>,
        token: T,
        now: MonoMs,
    ) -> Result<bool, (Untaken, T)> {
        let bytes = record_bytes(&record);
        let limit = self.settings.request_bytes;
        if BATCH_HEADER_BYTES + bytes > limit {
            return Err((Untaken::TooLarge { bytes: BATCH_HEADER_BYTES + bytes, limit }, token));
        }
        if self.closed {
            return Err((Untaken::Closed, token));
        }
        if self.halted {
            return Err((Untaken::Halted, token));
        }
        let Some(entry) = self.logs.get_mut(log) else { return Err((Untaken::UnknownLog, token)) };
        let count = u32::try_from(entry.count).unwrap_or(u32::MAX);
        let index = match (target, record.key) {
            (Target::Partition(index), _) => index,
            (Target::Key, Some(key)) => partition_of(key, count),
            (Target::Key, None) => entry.sticky(bytes, self.settings.batch_bytes, &mut self.draw),
        };
        let slot = usize::try_from(index).ok().filter(|index| *index < entry.count);
        let Some(partition) = slot.and_then(|index| entry.partitions.get_mut(index)) else {
            return Err((Untaken::NoPartition { count }, token));
        };
        let (compression, batch_bytes) = (self.settings.compression, self.settings.batch_bytes);
        let was_idle = partition.is_idle();
        let open = partition.open.get_or_insert_with(|| Batch::open(compression, now));
        let mut wake = false;
        if let Err(token) = open.push(record, bytes, batch_bytes, token) {
            partition.close_open();
            let fresh = partition.open.get_or_insert_with(|| Batch::open(compression, now));
            if fresh.push(record, bytes, batch_bytes, token).is_err() {
                unreachable!("an empty batch takes any record");
            }
            wake = true;
        }
        if was_idle {
            self.active.insert((log.clone(), index));
            wake = true;
        }
        Ok(wake)
    }

    /// What is there now waits for company no longer.
    pub fn hurry(&mut self) {
        for key in &self.active {
            if let Some(open) = partition_mut(&mut self.logs, key).and_then(|partition| partition.open.as_mut()) {
                open.hurries = true;
            }
        }
    }

    /// Whether every record has its outcome.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Takes and sends again after a record failed. Sequences begin anew, so that nothing of before is taken for what comes.
    pub fn mend(&mut self) {
        self.halted = false;
        for partition in self.logs.values_mut().flat_map(|log| &mut log.partitions) {
            partition.begin_anew();
        }
    }

    /// Takes nothing more, and fails what has no outcome yet: whoever carried out what is to be done has gone.
    pub fn close(&mut self, out: &mut Vec<Output<T>>) {
        self.closed = true;
        for key in std::mem::take(&mut self.active) {
            let Some(partition) = partition_mut(&mut self.logs, &key) else { continue };
            let mut left = Vec::new();
            partition.drain(&mut left);
            out.extend(left.into_iter().map(|batch| failed(&key.0, key.1, batch, Failure::Closed)));
        }
        self.flights.clear();
        self.nodes.clear();
    }

    /// [`Self::mend`], as another producer, once every record has its outcome.
    pub fn mend_as(&mut self, id: i64, epoch: i16) {
        self.identified(id, epoch);
        self.logs.values_mut().flat_map(|log| &mut log.partitions).for_each(Partition::forget_sequence);
        self.halted = false;
    }

    /// Where order is strict, the first failure is the end of all that waits.
    fn halt(&mut self, out: &mut Vec<Output<T>>) {
        let has_failed = |output: &Output<T>| matches!(output, Output::Done(Outcome { result: Err(_), .. }));
        self.halted |= self.settings.strict && out.iter().any(has_failed);
        if self.halted {
            self.give_up_waiting(None, "an earlier record of the log was not written", out);
        }
    }

    /// A broker gave a producer id and epoch.
    pub fn identified(&mut self, id: i64, epoch: i16) {
        self.identity = Identity::Known(id, epoch);
    }

    /// No broker gave one. Records stay until their time is up.
    pub fn unidentified(&mut self, now: MonoMs) {
        if let Identity::Asked { failures } = self.identity {
            let failures = failures.saturating_add(1);
            let not_before = self.settings.backoff.next(now, failures, &mut self.draw);
            self.identity = Identity::Unknown { not_before, failures };
        }
    }

    /// Fails all records of a log, or of all logs, that are not in the air.
    pub fn give_up(&mut self, log: Option<&LogId>, reason: &str, out: &mut Vec<Output<T>>) {
        self.give_up_waiting(log, reason, out);
        self.halt(out);
    }

    fn give_up_waiting(&mut self, log: Option<&LogId>, reason: &str, out: &mut Vec<Output<T>>) {
        for (name, entry) in &mut self.logs {
            if log.is_some_and(|log| log != name) {
                continue;
            }
            for (index, partition) in (0u32..).zip(&mut entry.partitions) {
                let mut given_up = Vec::new();
                partition.drain_waiting(&mut given_up);
                let failure = Failure::GivenUp { reason: reason.to_owned() };
                out.extend(given_up.into_iter().map(|batch| failed(name, index, batch, failure.clone())));
                if partition.is_idle() {
                    self.active.remove(&(name.clone(), index));
                }
            }
        }
    }

    /// Does what time and answers made possible. Returns when to call again if nothing else happens.
    pub fn step(&mut self, now: MonoMs, out: &mut Vec<Output<T>>) -> Option<MonoMs> {
        let mut wake = Wake(None);
        self.expire(now, &mut wake, out);
        self.halt(out);
        self.begin_epochs();
        self.identify(now, &mut wake, out);
        let ready = self.ready(now, &mut wake, out);
        for (node, mut partitions) in ready {
            // Those after the last turn come first.
            let pivot = self.turn.as_ref().map_or(0, |turn| partitions.partition_point(|p| p <= turn));
            partitions.rotate_left(pivot);
            self.send(node, partitions, out);
        }
        self.halt(out);
        wake.0
    }

    fn expire(&mut self, now: MonoMs, wake: &mut Wake, out: &mut Vec<Output<T>>) {
        let timeout_ms = self.settings.delivery_timeout_ms;
        let mut idle = Vec::new();
        for key in &self.active {
            let Some(partition) = partition_mut(&mut self.logs, key) else { continue };
            let mut expired = Vec::new();
            wake.at(partition.expire(timeout_ms, now, &mut expired));
            out.extend(expired.into_iter().map(|mut batch| {
                let (last, sent) = (batch.last_failure.take(), batch.in_doubt);
                failed(&key.0, key.1, batch, Failure::Expired { sent, last: last.map(Box::new) })
            }));
            if partition.is_idle() {
                idle.push(key.clone());
            }
        }
        self.active.retain(|key| !idle.contains(key));
    }

    fn begin_epochs(&mut self) {
        let fresh = match self.identity {
            Identity::Known(id, epoch) => Some((id, epoch)),
            Identity::Unknown { .. } | Identity::Asked { .. } => None,
        };
        let mut used_up = false;
        for key in &self.active {
            if let Some(partition) = partition_mut(&mut self.logs, key) {
                used_up |= partition.begin_epoch(fresh);
            }
        }
        if used_up && fresh.is_some() {
            self.identity = Identity::Unknown { not_before: MonoMs(0), failures: 0 };
        }
    }

    fn identify(&mut self, now: MonoMs, wake: &mut Wake, out: &mut Vec<Output<T>>) {
        if !self.settings.idempotent || self.active.is_empty() {
            return;
        }
        if let Identity::Unknown { not_before, failures } = self.identity {
            if not_before <= now {
                self.identity = Identity::Asked { failures };
                out.push(Output::Identify);
            } else {
                wake.at(Some(not_before));
            }
        }
    }

    /// Partitions that may send now, by leader.
    fn ready(&mut self, now: MonoMs, wake: &mut Wake, out: &mut Vec<Output<T>>) -> BTreeMap<NodeId, Vec<(LogId, u32)>> {
        let mut ready: BTreeMap<NodeId, Vec<(LogId, u32)>> = BTreeMap::new();
        if self.settings.idempotent && !matches!(self.identity, Identity::Known(..)) {
            return ready;
        }
        let mut leaderless = BTreeSet::new();
        for key in &self.active {
            let Some(partition) = partition_mut(&mut self.logs, key) else { continue };
            match partition.next(self.settings.idempotent, self.settings.linger_ms) {
                Next::Nothing => {}
                Next::At(moment) if moment > now => wake.at(Some(moment)),
                Next::At(_) => match partition.leader {
                    Some(node) => ready.entry(node).or_default().push(key.clone()),
                    None => leaderless.extend([key.0.clone()]),
                },
            }
        }
        for log in leaderless {
            if let Some(entry) = self.logs.get_mut(&log) {
                entry.refresh_wanted = true;
            }
        }
        self.refresh(now, wake, out);
        ready
    }

    /// Only of logs that there is something to write to: asking may create them, and a log that another client deleted
    /// meanwhile would be there again though nobody writes to it.
    fn refresh(&mut self, now: MonoMs, wake: &mut Wake, out: &mut Vec<Output<T>>) {
        let active = &self.active;
        let is_due = |(log, entry): &(&LogId, &mut Log<T>)| entry.refresh_wanted && has_active(active, log);
        for (log, entry) in self.logs.iter_mut().filter(is_due) {
            if entry.refresh_not_before > now {
                wake.at(Some(entry.refresh_not_before));
                continue;
            }
            entry.refreshes = entry.refreshes.saturating_add(1);
            entry.refresh_not_before = self.settings.backoff.next(now, entry.refreshes, &mut self.draw);
            wake.at(Some(entry.refresh_not_before));
            out.push(Output::Refresh(log.clone()));
        }
    }

    fn send(&mut self, node: NodeId, mut partitions: Vec<(LogId, u32)>, out: &mut Vec<Output<T>>) {
        let identity = match self.identity {
            Identity::Known(id, epoch) if self.settings.idempotent => Some((id, epoch)),
            Identity::Known(..) | Identity::Unknown { .. } | Identity::Asked { .. } => None,
        };
        while !partitions.is_empty() {
            let in_flight = self.nodes.entry(node).or_insert(0);
            if *in_flight >= self.settings.requests_in_flight {
                return;
            }
            let (mut parcels, mut cargo, mut bytes) = (Vec::new(), Vec::new(), 0usize);
            let (mut left, mut unbuildable) = (Vec::new(), Vec::new());
            for key in partitions {
                let Some(partition) = partition_mut(&mut self.logs, &key) else { continue };
                bytes = bytes.saturating_add(partition.next_bytes());
                if !parcels.is_empty() && bytes > self.settings.request_bytes {
                    left.push(key);
                    continue;
                }
                let Some((order, batch)) = partition.take_next(identity) else { continue };
                self.turn = Some(key.clone());
                match batch.encode() {
                    Ok(batch) => {
                        parcels.push(Parcel { log: key.0.clone(), partition: key.1, batch });
                        // Perhaps there is more of it for another request.
                        if partition.has_full() && partition.next(self.settings.idempotent, 0) == Next::At(MonoMs(0)) {
                            left.push(key.clone());
                        }
                        cargo.push((key.0, key.1, order));
                    }
                    Err(error) => {
                        let failure = Failure::Unbuildable { reason: error.to_string() };
                        out.extend(partition.land(order).map(|batch| failed(&key.0, key.1, batch, failure)));
                        unbuildable.push(key);
                    }
                }
            }
            partitions = left;
            if !parcels.is_empty() {
                *in_flight += 1;
                let flight = Flight(self.next_flight);
                self.next_flight += 1;
                self.flights.insert(flight, (node, cargo));
                out.push(Output::Send { flight, node, parcels });
            }
            unbuildable.iter().for_each(|key| self.put_to_rest(key));
        }
    }

    /// A request was answered. Batches that the answer leaves out count as lost.
    pub fn answered(
        &mut self,
        flight: Flight,
        mut answers: BTreeMap<(LogId, u32), Answer>,
        now: MonoMs,
        out: &mut Vec<Output<T>>,
    ) {
        for (log, index, order) in self.land(flight) {
            let key = (log, index);
            match answers.remove(&key) {
                Some(answer) => self.settle(&key, order, answer, now, out),
                None => self.repeat(&key, order, Failure::Lost { reason: "the answer leaves it out".to_owned() }, now),
            }
            self.put_to_rest(&key);
        }
        self.halt(out);
    }

    /// A request or its answer was lost: whether its batches were appended is unknown.
    pub fn lost(&mut self, flight: Flight, reason: &str, now: MonoMs) {
        self.repeat_all(flight, Failure::Lost { reason: reason.to_owned() }, now);
    }

    /// A request was not sent: its batches were not appended.
    pub fn unsent(&mut self, flight: Flight, reason: &str, now: MonoMs) {
        self.repeat_all(flight, Failure::Unsent { reason: reason.to_owned() }, now);
    }

    fn repeat_all(&mut self, flight: Flight, failure: Failure, now: MonoMs) {
        for (log, index, order) in self.land(flight) {
            let key = (log, index);
            self.repeat(&key, order, failure.clone(), now);
            // The leader may be gone; whoever asks for metadata finds out.
            self.want_refresh(&key.0);
            self.put_to_rest(&key);
        }
    }

    fn land(&mut self, flight: Flight) -> Cargo {
        let Some((node, cargo)) = self.flights.remove(&flight) else { return Vec::new() };
        if let Some(in_flight) = self.nodes.get_mut(&node) {
            *in_flight = in_flight.saturating_sub(1);
        }
        cargo
    }

    fn want_refresh(&mut self, log: &LogId) {
        if let Some(entry) = self.logs.get_mut(log) {
            entry.refresh_wanted = true;
        }
    }

    fn put_to_rest(&mut self, key: &(LogId, u32)) {
        if partition_mut(&mut self.logs, key).is_none_or(|partition| partition.is_idle()) {
            self.active.remove(key);
        }
    }

    fn settle(&mut self, key: &(LogId, u32), order: u64, answer: Answer, now: MonoMs, out: &mut Vec<Output<T>>) {
        let (code, message, records) = match answer {
            Answer::Written { base_offset, append_time } => {
                return self.written(key, order, base_offset, append_time, out);
            }
            Answer::Refused { code, message, records } => (code, message, records),
        };
        let failure = Failure::Refused { code, message: message.clone() };
        #[allow(clippy::wildcard_enum_match_arm, reason = "the other 130 codes are judged by the verdict")]
        match ErrorCode::from_code(code) {
            // It is in the log already, from an attempt that is too long ago for its offset to be known.
            Some(ErrorCode::DuplicateSequenceNumber) => self.written(key, order, UNSET, None, out),
            // More than the log allows. Each of its records may be small enough.
            Some(ErrorCode::MessageTooLarge) if self.split(key, order) => {}
            Some(
                ErrorCode::OutOfOrderSequenceNumber | ErrorCode::InvalidProducerEpoch | ErrorCode::UnknownProducerId,
            ) if self.settings.idempotent => self.out_of_sequence(key, order, failure, now),
            _ => match verdict(code) {
                Verdict::Retry | Verdict::RetryCoordinator => self.repeat(key, order, failure, now),
                Verdict::RetryElsewhere => {
                    self.want_refresh(&key.0);
                    self.repeat(key, order, failure, now);
                    // Where there is no log, there may be another one by the time of the next attempt.
                    if code == ErrorCode::UnknownTopicOrPartition.code()
                        && let Some(partition) = partition_mut(&mut self.logs, key)
                    {
                        partition.meet_strangers();
                    }
                }
                Verdict::Final => self.refuse(key, order, code, message, &records, out),
            },
        }
    }

    fn written(
        &mut self,
        key: &(LogId, u32),
        order: u64,
        base: LogOffset,
        time: Option<i64>,
        out: &mut Vec<Output<T>>,
    ) {
        let landed = partition_mut(&mut self.logs, key).and_then(|partition| {
            partition.written();
            partition.settle(order)
        });
        out.extend(landed.map(|batch| {
            let (log, partition) = (key.0.clone(), key.1);
            Output::Done(Outcome { log, partition, tokens: batch.tokens, result: Ok((base, time)), in_doubt: false })
        }));
    }

    fn split(&mut self, key: &(LogId, u32), order: u64) -> bool {
        let compression = self.settings.compression;
        partition_mut(&mut self.logs, key).is_some_and(|partition| partition.split(order, compression))
    }

    fn repeat(&mut self, key: &(LogId, u32), order: u64, failure: Failure, now: MonoMs) {
        let (backoff, draw) = (self.settings.backoff, &mut self.draw);
        let Some(partition) = partition_mut(&mut self.logs, key) else { return };
        let Some(mut batch) = partition.land(order) else { return };
        batch.failures = batch.failures.saturating_add(1);
        batch.in_doubt |= failure.leaves_doubt();
        batch.not_before = backoff.next(now, batch.failures, draw);
        batch.last_failure = Some(failure);
        partition.send_again(order, batch);
    }

    /// A sequence error of the oldest unanswered batch means a hole before it, or a broker that has lost its memory of
    /// this producer: a new epoch. For a later one it only means that an earlier one is not there yet.
    fn out_of_sequence(&mut self, key: &(LogId, u32), order: u64, failure: Failure, now: MonoMs) {
        self.repeat(key, order, failure, now);
        if let Some(partition) = partition_mut(&mut self.logs, key)
            && partition.is_oldest(order)
        {
            partition.end_epoch();
        }
    }

    /// Fails a batch; where the broker says which records are at fault, the others are told so.
    fn refuse(
        &mut self,
        key: &(LogId, u32),
        order: u64,
        code: i16,
        message: Option<String>,
        records: &[(usize, Option<String>)],
        out: &mut Vec<Output<T>>,
    ) {
        let Some(batch) = partition_mut(&mut self.logs, key).and_then(|partition| partition.settle(order)) else {
            return;
        };
        if records.is_empty() {
            out.push(failed(&key.0, key.1, batch, Failure::Refused { code, message }));
            return;
        }
        let in_doubt = batch.in_doubt;
        for (index, token) in batch.tokens.into_iter().enumerate() {
            let failure = match records.iter().find(|(at, _)| *at == index) {
                Some((_, reason)) => Failure::Refused { code, message: reason.clone().or(message.clone()) },
                None => Failure::InBadCompany { code, message: message.clone() },
            };
            let (log, partition) = (key.0.clone(), key.1);
            out.push(Output::Done(Outcome { log, partition, tokens: vec![token], result: Err(failure), in_doubt }));
        }
    }
}

/// The offset that says "unknown".
const UNSET: LogOffset = LogOffset(-1);

/// The earliest moment of those it was told.
struct Wake(Option<MonoMs>);

impl Wake {
    fn at(&mut self, moment: Option<MonoMs>) {
        if let Some(moment) = moment {
            self.0 = Some(self.0.map_or(moment, |known| known.min(moment)));
        }
    }
}

impl<T> Log<T> {
    /// The partition that records without keys go to now: one until a batch's worth has gone there, then another by
    /// chance, one with a leader if there is one.
    fn sticky(&mut self, bytes: usize, batch_bytes: usize, draw: &mut Draw) -> u32 {
        if let Some((index, filled)) = &mut self.sticky
            && *filled < batch_bytes
        {
            *filled += bytes;
            return *index;
        }
        let led =
            (0u32..).zip(self.partitions.iter().take(self.count)).filter(|(_, partition)| partition.leader.is_some());
        let led: Vec<u32> = led.map(|(index, _)| index).collect();
        let count = u64::try_from(if led.is_empty() { self.count } else { led.len() }).unwrap_or(1).max(1);
        let drawn = usize::try_from(draw.next_u64() % count).unwrap_or(0);
        let index = led.get(drawn).copied().unwrap_or(u32::try_from(drawn).unwrap_or(0));
        self.sticky = Some((index, bytes));
        index
    }
}

fn has_active(active: &BTreeSet<(LogId, u32)>, log: &LogId) -> bool {
    active.range((log.clone(), 0)..).next().is_some_and(|(first, _)| first == log)
}

fn partition_mut<'a, T>(
    logs: &'a mut BTreeMap<LogId, Log<T>>,
    (log, index): &(LogId, u32),
) -> Option<&'a mut Partition<T>> {
    logs.get_mut(log)?.partitions.get_mut(usize::try_from(*index).ok()?)
}

fn failed<T>(log: &LogId, partition: u32, batch: Batch<T>, failure: Failure) -> Output<T> {
    let (log, in_doubt) = (log.clone(), batch.in_doubt);
    Output::Done(Outcome { log, partition, tokens: batch.into_tokens(), result: Err(failure), in_doubt })
}
