//! VlsnAppend: a Produce to one VLSN log that may expect where its partitions end, and is told where they end now.

use std::collections::BTreeSet;
use std::sync::Arc;

use pyralog_protocol::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use pyralog_protocol::kafka_protocol::messages::produce_response::PartitionProduceResponse;
use pyralog_protocol::kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::vlsn::messages::{VlsnAppendRequest, VlsnAppendResponse, VlsnAppendedPart, expected};
use pyralog_protocol::{ErrorCode, Vlsn};
use pyralog_storage::Disk;

use super::read::log_of;
use crate::api::{Step, produce};
use crate::room::Gauge;
use crate::topology::Topology;
use crate::vlsn::Expected;

/// The newest version of Produce that names topics by name; records and errors are the same in later ones.
const PRODUCE_VERSION: i16 = 12;

/// What a VlsnAppend asks and tells besides what Produce does, part by part.
pub(crate) struct Appended(Vec<(Expected, Option<Vlsn>)>);

impl Appended {
    /// What a part expects.
    pub fn expected(&self, part: usize) -> Expected {
        self.0.get(part).map_or(Expected::Anything, |(expected, _)| *expected)
    }

    /// Where its partition ends now.
    pub fn note(&mut self, part: usize, last: Option<Vlsn>) {
        if let Some(entry) = self.0.get_mut(part) {
            entry.1 = last;
        }
    }

    /// The answer, from that of the Produce.
    pub fn response(&self, produced: ProduceResponse) -> VlsnAppendResponse {
        let parts = produced.responses.into_iter().flat_map(|topic| topic.partition_responses);
        let parts = parts.zip(&self.0).map(|(part, (_, last))| {
            // What is wrong with single records says more than that something is, which may name the first of them already.
            let named = |why: &&str| !part.error_message.as_deref().is_some_and(|message| message.contains(why));
            let records = part.record_errors.iter().filter_map(|record| record.batch_index_error_message.as_deref());
            let records = records.filter(named);
            let told: Vec<&str> = part.error_message.as_deref().into_iter().chain(records.take(RECORDS_TOLD)).collect();
            let told = if told.is_empty() { said_of(&part) } else { told.join("; ") };
            VlsnAppendedPart {
                partition: part.index,
                error_code: part.error_code,
                error_message: (part.error_code != 0).then(|| StrBytes::from_string(told)),
                base_offset: part.base_offset,
                last: last.map_or(-1, Vlsn::offset),
            }
        });
        VlsnAppendResponse { parts: parts.collect(), ..VlsnAppendResponse::default() }
    }
}

/// What is said where Produce has no words.
fn said_of(part: &PartitionProduceResponse) -> String {
    match ErrorCode::from_code(part.error_code) {
        Some(ErrorCode::UnknownTopicOrPartition) => format!("the log has no partition {}", part.index),
        Some(code) => format!("partition {} does not take it: {}", part.index, code.name()),
        None => String::new(),
    }
}

/// Records of a refused batch that a message speaks of.
const RECORDS_TOLD: usize = 5;

/// Serves VlsnAppend.
pub(crate) fn append<D: Disk>(
    topology: &Topology<D>,
    gauge: &Arc<Gauge>,
    mut step: Step<'_, D>,
    request: VlsnAppendRequest,
) {
    let appended = match check(topology, &request) {
        Ok(appended) => appended,
        Err((code, why)) => {
            let (error_code, error_message) = (code.code(), Some(why));
            return step.answer(VlsnAppendResponse { error_code, error_message, ..VlsnAppendResponse::default() });
        }
    };
    if request.parts.is_empty() {
        return step.answer(VlsnAppendResponse::default());
    }
    let parts = request
        .parts
        .into_iter()
        .map(|part| PartitionProduceData::default().with_index(part.partition).with_records(Some(part.records)));
    let topic = TopicProduceData::default().with_name(TopicName(request.log)).with_partition_data(parts.collect());
    let produce =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(request.timeout_ms).with_topic_data(vec![topic]);
    produce::serve(topology, gauge, step, (&produce, PRODUCE_VERSION), Some(appended));
}

fn check<D: Disk>(topology: &Topology<D>, request: &VlsnAppendRequest) -> Result<Appended, (ErrorCode, StrBytes)> {
    let refuse = |why: String| Err((ErrorCode::InvalidRequest, StrBytes::from_string(why)));
    log_of(topology, &request.log)?;
    let (mut seen, mut all) = (BTreeSet::new(), Vec::with_capacity(request.parts.len()));
    for part in &request.parts {
        if !seen.insert(part.partition) {
            return refuse(format!("partition {} is named twice in the request", part.partition));
        }
        let expected = match part.expected_last {
            expected::ANYTHING => Expected::Anything,
            expected::EMPTY => Expected::Last(None),
            last => match u64::try_from(last) {
                Ok(last) => Expected::Last(Some(Vlsn(last))),
                Err(_) => return refuse(format!("expected_last is {last}; a VLSN, -1 for none, -2 for anything")),
            },
        };
        all.push((expected, None));
    }
    Ok(Appended(all))
}
