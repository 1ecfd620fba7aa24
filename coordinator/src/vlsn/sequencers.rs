//! Sequencers: named counters that hand out ranges of numbers, each number once. The end of a range is durable before the
//! range leaves, so a restart may lose numbers, and never hands one out again.

use std::collections::BTreeSet;

use pyralog_protocol::vlsn::messages::{
    DescribedSequencer, RESERVE_MAX, SEQUENCE_END, SequencerDescribeRequest, SequencerDescribeResponse,
    SequencerReserveRequest, SequencerReserveResponse,
};
use pyralog_protocol::{ErrorCode, LogId};

use super::error::ReserveError;
use super::{VlsnRecord, Vlsns};
use crate::effects::Effects;
use crate::metadata::wire::{refusal, text};

impl Vlsns {
    pub(super) fn reserve(&mut self, request: &SequencerReserveRequest, out: &mut Effects) -> SequencerReserveResponse {
        let nothing = SequencerReserveResponse::default();
        match self.decide_reserve(request) {
            Ok((name, first, next)) => {
                let mut records = Vec::new();
                self.put(VlsnRecord::Sequencer { name, next }, &mut records);
                out.commit(records);
                SequencerReserveResponse { first, count: request.count, ..nothing }
            }
            Err(error) => {
                let (error_code, error_message) = refusal(error.code(), &error);
                SequencerReserveResponse { error_code, error_message, ..nothing }
            }
        }
    }

    /// Whose numbers, the first of them, and the one behind the last.
    fn decide_reserve(&self, request: &SequencerReserveRequest) -> Result<(LogId, u64, u64), ReserveError> {
        let name = LogId::new(&request.name)?;
        let count = request.count;
        if !(1..=RESERVE_MAX).contains(&count) {
            return Err(ReserveError::Count(count));
        }
        let there = self.sequencers.get(name.as_str()).copied();
        if there.is_none() && self.sequencers.len() >= self.limits.sequencers {
            return Err(ReserveError::TooMany(self.limits.sequencers));
        }
        let first = there.unwrap_or(0).max(request.at_least);
        match first.checked_add(count).filter(|next| *next <= SEQUENCE_END) {
            Some(next) => Ok((name, first, next)),
            None => Err(ReserveError::UsedUp { name, from: first, count }),
        }
    }

    pub(super) fn describe_sequencers(&self, request: &SequencerDescribeRequest) -> SequencerDescribeResponse {
        let described = |name: &str, next: Option<u64>| DescribedSequencer {
            name: text(name),
            error_code: if next.is_some() { 0 } else { ErrorCode::ResourceNotFound.code() },
            next: next.unwrap_or(0),
        };
        let sequencers = match &request.names {
            None => self.sequencers.iter().map(|(name, next)| described(name.as_str(), Some(*next))).collect(),
            Some(names) => {
                let names: BTreeSet<&str> = names.iter().map(|name| name.as_str()).collect();
                names.into_iter().map(|name| described(name, self.sequencers.get(name).copied())).collect()
            }
        };
        SequencerDescribeResponse { throttle_time_ms: 0, sequencers }
    }
}
