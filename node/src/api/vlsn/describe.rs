//! VlsnDescribe: how far VLSN logs are, and how their VLSNs find their partitions.

use std::collections::BTreeSet;

use pyralog_coordinator::metadata::LogState;
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::vlsn::messages::{
    VlsnDescribeRequest, VlsnDescribeResponse, VlsnDescribedLog, VlsnDescribedPartition, VlsnRoutingEpoch,
};
use pyralog_protocol::{ErrorCode, Vlsn};
use pyralog_storage::Disk;

use super::read::log_of;
use crate::topology::Topology;
use crate::vlsn::VlsnLog;

const NONE: i64 = -1;
/// Most logs of one request; as many as Kafka's requests may name partitions.
const LOGS_MAX: usize = 10_000;

/// Serves VlsnDescribe.
pub(crate) fn describe<D: Disk>(topology: &Topology<D>, request: &VlsnDescribeRequest) -> VlsnDescribeResponse {
    let logs = match &request.logs {
        Some(names) => {
            let mut seen = BTreeSet::new();
            let names = names.iter().filter(|name| seen.insert(name.as_str())).enumerate();
            names.map(|(at, name)| if at < LOGS_MAX { one(topology, name) } else { left_out(name) }).collect()
        }
        None => {
            let all = topology.logs.values().filter(|entry| entry.log.metadata.routing.is_some());
            let named = all.map(|entry| StrBytes::from_string(entry.log.metadata.log_id.to_string()));
            let mut names: Vec<StrBytes> = named.collect();
            names.sort_unstable();
            names.iter().map(|name| one(topology, name)).collect()
        }
    };
    VlsnDescribeResponse { throttle_time_ms: 0, logs }
}

fn one<D: Disk>(topology: &Topology<D>, name: &StrBytes) -> VlsnDescribedLog {
    match log_of(topology, name) {
        Ok(log) => described(&log, name.clone()),
        Err((code, why)) => unknown(name, code, why),
    }
}

fn left_out(name: &StrBytes) -> VlsnDescribedLog {
    unknown(name, ErrorCode::PolicyViolation, StrBytes::from_static_str("one request names 10,000 logs at most"))
}

fn unknown(name: &StrBytes, code: ErrorCode, why: StrBytes) -> VlsnDescribedLog {
    let (error_code, error_message, name) = (code.code(), Some(why), name.clone());
    let unknown = VlsnDescribedLog { error_code, error_message, name, ..VlsnDescribedLog::default() };
    VlsnDescribedLog { last: NONE, writer_epoch: -1, ..unknown }
}

/// A log with all of its partitions. The last VLSNs are those that were appended: a writer that begins behind what is on disk would meet
/// what the one before it still has on its way. Partitions that do not serve say so, and leave the log's own numbers to the others.
fn described<D: Disk>(log: &VlsnLog<'_, D>, name: StrBytes) -> VlsnDescribedLog {
    let (mut first, mut undecided, mut last) = (Vlsn::MAX.next(), Vlsn::MAX.next(), None);
    let partitions = log.partitions().iter().map(|partition| {
        let index = partition.index;
        match partition.vlsn_bounds(log.routing) {
            Ok(own) => {
                let (begins, next) = (log.after(index, own.trimmed), log.after(index, own.appended));
                first = first.min(begins);
                undecided = undecided.min(log.after(index, own.last));
                last = last.max(own.appended);
                VlsnDescribedPartition {
                    index: index.0,
                    error_code: 0,
                    first: begins,
                    last: own.appended.map_or(NONE, Vlsn::offset),
                    next,
                    log_start: own.bounds.log_start.0,
                    high_watermark: own.bounds.high_watermark.0,
                }
            }
            Err(why) => {
                // Nothing from its first VLSN on is known to be decided.
                undecided = Vlsn::ZERO;
                let error_code = why.code().code();
                let unknown =
                    VlsnDescribedPartition { index: index.0, error_code, ..VlsnDescribedPartition::default() };
                VlsnDescribedPartition { last: NONE, log_start: NONE, high_watermark: NONE, ..unknown }
            }
        }
    });
    let partitions: Vec<_> = partitions.collect();
    let failed = partitions.iter().find(|partition| partition.error_code != ErrorCode::None.code());
    let why = failed.map(|failed| StrBytes::from_string(format!("partition {} does not serve", failed.index)));
    let routing = log.routing.epochs().iter();
    VlsnDescribedLog {
        error_code: failed.map_or(0, |failed| failed.error_code),
        error_message: why,
        name,
        topic_id: log.log.metadata.topic_id,
        first: first.min(undecided),
        undecided,
        last: last.map_or(NONE, Vlsn::offset),
        writer_epoch: writer_epoch(log.log),
        routing: routing.map(|epoch| VlsnRoutingEpoch { from: epoch.from, partitions: epoch.partitions }).collect(),
        partitions,
    }
}

fn writer_epoch(log: &LogState) -> i32 {
    log.metadata.writer.map_or(-1, |writer| writer.epoch)
}
