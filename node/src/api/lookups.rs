//! Look-ups in partitions: ListOffsets, OffsetForLeaderEpoch, and DeleteRecords, which moves a log's start.

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
use pyralog_protocol::{ErrorCode, LogOffset, kafka_protocol};
use pyralog_storage::{Disk, Log, Patience, ReadError, TimestampOffset};

use super::{epoch_end, epoch_refusal, is_isolation_level};
use crate::outputs::Outputs;
use crate::partition::{Bounds, Partition, Refusal};
use crate::topology::{LogEntry, Place, Topology};
use crate::unreadable::{Telling, Unreadable};
use crate::vlsn::{VlsnError, VlsnLog};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Serves ListOffsets.
pub(crate) fn list_offsets<D: Disk>(
    topology: &Topology<D>,
    version: i16,
    request: &ListOffsetsRequest,
    failures: &mut Telling<'_>,
) -> ListOffsetsResponse {
    let repeated = repeated_partitions(request);
    let refusal = refusal_for_all(request);
    let named = request.topics.iter().map(|topic| (&topic.name, topic.partitions.as_slice()));
    let topics = asked_once(named, |asked| asked.partition_index).into_iter().map(|(name, asked)| {
        let entry = topology.by_name(&name.0);
        let partitions = asked.into_iter().map(|asked| {
            let found = match refusal {
                Some(code) => Err(code),
                None if repeated.contains(&(name.0.as_str(), asked.partition_index)) => Err(ErrorCode::InvalidRequest),
                None => offset_of(topology, entry, asked, version).map_err(|refused| refused.code(failures)),
            };
            offset_answer(asked.partition_index, version, found)
        });
        ListOffsetsTopicResponse::default().with_name(name.clone()).with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
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
enum NoOffset {
    Refused(ErrorCode),
    /// And not because of what was asked for.
    Failed(ErrorCode, Unreadable),
}

impl NoOffset {
    fn of<D: Disk>(partition: &Partition<D>, error: &ReadError) -> Self {
        if error.is_failure() {
            let failed = Unreadable { dir: partition.dir.clone(), offset: None, cause: error.to_string() };
            Self::Failed(error.code(), failed)
        } else {
            Self::Refused(error.code())
        }
    }

    fn of_view<D: Disk>(view: VlsnLog<'_, D>, error: &VlsnError) -> Self {
        match view.failure(error) {
            Some(failed) => Self::Failed(error.code(), failed),
            None => Self::Refused(error.code()),
        }
    }

    /// What the client is told. A failure counts, and is told of, as one of a fetch is.
    fn code(self, failures: &mut Telling<'_>) -> ErrorCode {
        match self {
            Self::Refused(code) => code,
            Self::Failed(code, failed) => {
                failures.tell(failed);
                code
            }
        }
    }
}

fn offset_of<D: Disk>(
    topology: &Topology<D>,
    entry: Option<&Arc<LogEntry<D>>>,
    asked: &ListOffsetsPartition,
    version: i16,
) -> Result<TimedOffset, NoOffset> {
    if !timestamp_is_known(asked.timestamp, version) {
        return Err(NoOffset::Refused(ErrorCode::UnsupportedVersion));
    }
    let place = find(topology, entry, asked.partition_index).map_err(NoOffset::Refused)?;
    let partition = match place {
        Place::Partition(partition) => partition,
        Place::View(view) => {
            let bounds = view.view_bounds().map_err(|error| NoOffset::of_view(view, &error))?;
            if let Some(code) = epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
                return Err(NoOffset::Refused(code));
            }
            let found = look_up_in_view(view, bounds, asked.timestamp);
            return found.map_err(|error| NoOffset::of_view(view, &error));
        }
    };
    let found = partition.look_up(Patience::Waits, |log, bounds| {
        match epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
            Some(code) => Ok(Err(NoOffset::Refused(code))),
            None => look_up(log, bounds, asked.timestamp).map(Ok),
        }
    });
    let found = found.map_err(|refusal| NoOffset::Refused(refusal.code()))?;
    found.map_err(|error| NoOffset::of(partition, &error))?
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

fn look_up_in_view<D: Disk>(view: VlsnLog<'_, D>, bounds: Bounds, timestamp: i64) -> Result<TimedOffset, VlsnError> {
    match timestamp {
        LATEST => Ok((-1, bounds.high_watermark.0, bounds.epoch.0)),
        EARLIEST | EARLIEST_LOCAL => Ok((-1, bounds.log_start.0, bounds.epoch.0)),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok((-1, -1, -1)),
        MAX_TIMESTAMP => view.view_max_timestamp(),
        timestamp => view.view_offset_for_timestamp(timestamp),
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

/// Serves OffsetForLeaderEpoch.
pub(crate) fn offset_for_leader_epoch<D: Disk>(
    topology: &Topology<D>,
    request: &OffsetForLeaderEpochRequest,
    failures: &mut Telling<'_>,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let entry = topology.by_name(&topic.topic.0);
        let partitions = topic.partitions.iter().map(|asked| end_of_epoch(topology, entry, asked, failures));
        OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn end_of_epoch<D: Disk>(
    topology: &Topology<D>,
    entry: Option<&Arc<LogEntry<D>>>,
    asked: &OffsetForLeaderPartition,
    failures: &mut Telling<'_>,
) -> EpochEndOffset {
    let answer = EpochEndOffset::default().with_partition(asked.partition).with_leader_epoch(-1).with_end_offset(-1);
    let found = find(topology, entry, asked.partition).and_then(|place| match place {
        Place::View(view) => {
            let bounds = view.view_bounds().map_err(|error| NoOffset::of_view(view, &error).code(failures))?;
            match epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
                Some(code) => Err(code),
                None => view
                    .view_epoch_end(asked.leader_epoch, Patience::Waits)
                    .map_err(|error| NoOffset::of_view(view, &error).code(failures)),
            }
        }
        Place::Partition(partition) => partition
            .with_log(|log, bounds| match epoch_refusal(asked.current_leader_epoch, bounds.epoch) {
                Some(code) => Err(code),
                None => Ok(epoch_end(log, bounds, asked.leader_epoch)),
            })
            .map_err(Refusal::code)?,
    });
    match found {
        Err(code) => answer.with_error_code(code.code()),
        Ok(None) => answer,
        Ok(Some(end)) => answer.with_leader_epoch(end.epoch.0).with_end_offset(end.offset.0),
    }
}

/// Serves DeleteRecords. The new start is on disk before the answer leaves.
pub(crate) fn delete_records<D: Disk>(
    topology: &Topology<D>,
    request: &DeleteRecordsRequest,
    out: &mut Outputs<D>,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    let named = request.topics.iter().map(|topic| (&topic.name, topic.partitions.as_slice()));
    for (name, asked) in asked_once(named, |asked| asked.partition_index) {
        let entry = topology.by_name(&name.0);
        let partitions = asked.into_iter().map(|asked| {
            let (code, low) = match delete_until(topology, entry, asked, out) {
                Ok(low) => (0, low.0),
                Err(code) => (code.code(), -1),
            };
            DeleteRecordsPartitionResult::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code)
                .with_low_watermark(low)
        });
        let partitions = partitions.collect();
        topics.push(DeleteRecordsTopicResult::default().with_name(name.clone()).with_partitions(partitions));
    }
    DeleteRecordsResponse::default().with_topics(topics)
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
) -> Result<LogOffset, ErrorCode> {
    let partition = match find(topology, entry, asked.partition_index)? {
        Place::Partition(partition) => partition,
        Place::View(_) => return Err(ErrorCode::PolicyViolation),
    };
    let log = entry.map(|entry| &entry.log).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if log.metadata.log_id.is_internal() {
        return Err(ErrorCode::InvalidTopicException);
    }
    // A log without any policy keeps everything until somebody says otherwise, as in Kafka.
    if log.settings.cleanup.compact && !log.settings.cleanup.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    partition
        .change_log(out, |log, bounds| {
            let target = if asked.offset == -1 { bounds.high_watermark } else { LogOffset(asked.offset) };
            log.delete_records_to(target, bounds.high_watermark).map_err(|error| error.code())
        })
        .map_err(Refusal::code)?
}
