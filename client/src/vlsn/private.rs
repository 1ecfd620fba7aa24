//! The same questions through the private APIs, where the broker offers them: one request each, and exact where the view
//! leaves something open.

use std::ops::Range;
use std::time::Duration;

use pyralog_protocol::messages as kp;
use pyralog_protocol::vlsn::RoutingEpoch;
use pyralog_protocol::vlsn::messages::outcome;
use pyralog_protocol::{ErrorCode, LeaderEpoch, Routing, Vlsn};
use tokio::time::Instant;

use super::commits::ask;
use super::error::VlsnError;
use super::reads::{Reads, VlsnPage, VlsnRead};
use super::standing::VlsnStanding;
use super::view::offset;
use crate::error::{BrokerError, CallError, ConsumeError};
use crate::net::cluster::str_bytes;
use crate::pure::ask::Ask;
use crate::pure::fetch::read_all;
use crate::record::{Record, RecordHeader, from_ms};

/// Waits that are longer are asked for again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What was found out; `None` if the broker does not offer the API.
pub(crate) fn offered<T>(found: Result<T, VlsnError>) -> Result<Option<T>, VlsnError> {
    match found {
        Err(VlsnError::Call(CallError::NotOffered { .. })) => Ok(None),
        found => found.map(Some),
    }
}

fn wait_ms(wait: Duration) -> i32 {
    i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
}

fn unsigned(number: i64) -> Option<u64> {
    u64::try_from(number).ok()
}

fn ranges(found: &[kp::VlsnRange]) -> Vec<Range<u64>> {
    found.iter().map(|range| range.from.0..range.to.0).collect()
}

impl Reads {
    fn check(&self, code: i16, message: Option<&str>) -> Result<(), VlsnError> {
        match code {
            0 => Ok(()),
            code => Err(VlsnError::Refused { log: self.log.clone(), reason: BrokerError::new(code, message) }),
        }
    }

    fn nothing<A: Ask>(&self) -> VlsnError {
        let reason = format!("it says nothing of log {}", self.log);
        VlsnError::Call(CallError::Unexpected { address: "a broker".to_owned(), api: A::API, reason })
    }

    /// How far the log is.
    pub async fn describe(&self) -> Result<VlsnStanding, VlsnError> {
        self.view.repeat(|| self.describe_once()).await
    }

    /// Whether there is no such log, or it has no VLSNs, or the name is that of a view.
    pub async fn why_without_vlsns(&self) -> VlsnError {
        match offered(self.check_log().await) {
            Err(error) => error,
            Ok(_) => match self.client.log_exists(&self.log).await {
                Ok(true) => VlsnError::NotVlsn { log: self.log.clone() },
                Ok(false) => VlsnError::UnknownLog { log: self.log.clone() },
                Err(error) => error.into(),
            },
        }
    }

    /// Whether the log is one with VLSNs, whatever its partitions do.
    pub async fn check_log(&self) -> Result<(), VlsnError> {
        let request = kp::VlsnDescribeRequest { logs: Some(vec![str_bytes(self.log.as_str())]) };
        // A log that is not there may come any time, and is not waited for.
        match self.described(&ask(&self.client, request, |_| 0).await?) {
            Err(VlsnError::Refused { log, reason }) => Err(VlsnError::of_answer(&log, reason)),
            described => described.map(|_| ()),
        }
    }

    /// What is said of the log.
    fn described<'a>(&self, answer: &'a kp::VlsnDescribeResponse) -> Result<&'a kp::VlsnDescribedLog, VlsnError> {
        let found = answer.logs.first().ok_or_else(|| self.nothing::<kp::VlsnDescribeRequest>())?;
        if found.error_code == ErrorCode::InvalidRequest.code() {
            return Err(VlsnError::NotVlsn { log: self.log.clone() });
        }
        self.check(found.error_code, found.error_message.as_deref())?;
        Ok(found)
    }

    async fn describe_once(&self) -> Result<VlsnStanding, VlsnError> {
        let request = kp::VlsnDescribeRequest { logs: Some(vec![str_bytes(self.log.as_str())]) };
        let answer = self.view.call(request, Duration::ZERO).await?;
        let found = self.described(&answer)?;
        let epochs = found.routing.iter().map(|epoch| RoutingEpoch { from: epoch.from, partitions: epoch.partitions });
        let routing = Routing::from_epochs(&epochs.collect::<Vec<_>>());
        let routing = routing.map_err(|error| {
            let (address, api) = ("a broker".to_owned(), kp::VlsnDescribeRequest::API);
            CallError::Unexpected { address, api, reason: error.to_string() }
        })?;
        for partition in &found.partitions {
            self.check(partition.error_code, None)?;
        }
        Ok(VlsnStanding {
            first: found.first.0,
            undecided: found.undecided.0,
            last: unsigned(found.last),
            partitions: found.partitions.iter().map(|partition| unsigned(partition.last)).collect(),
            routing,
        })
    }

    /// What there is at a VLSN, as soon as it is decided.
    pub async fn point(&self, vlsn: u64, timeout: Duration) -> Result<VlsnRead, VlsnError> {
        let deadline = Instant::now() + timeout;
        loop {
            let found = self.view.repeat(|| self.point_once(vlsn, deadline)).await?;
            match found {
                Some(VlsnRead::NotYet) | None if Instant::now() < deadline => {}
                Some(read) => return Ok(read),
                // Its bytes had no room, which is said of the second record of an answer at most.
                None => return Err(self.nothing::<kp::VlsnReadRequest>()),
            }
        }
    }

    async fn point_once(&self, vlsn: u64, deadline: Instant) -> Result<Option<VlsnRead>, VlsnError> {
        let wait = deadline.saturating_duration_since(Instant::now()).min(WAIT_MAX);
        let request = kp::VlsnReadRequest {
            log: str_bytes(self.log.as_str()),
            max_wait_ms: wait_ms(wait),
            max_bytes: i32::MAX,
            vlsns: vec![Vlsn(vlsn)],
        };
        let answer = self.view.call(request, wait).await?;
        self.check(answer.error_code, answer.error_message.as_deref())?;
        let found = answer.results.into_iter().next().ok_or_else(|| self.nothing::<kp::VlsnReadRequest>())?;
        Ok(match found.outcome {
            outcome::FOUND => Some(VlsnRead::Found(record(found))),
            outcome::NOT_YET => Some(VlsnRead::NotYet),
            outcome::GAP => Some(VlsnRead::Gap),
            outcome::TRIMMED => Some(VlsnRead::Trimmed),
            _ => None,
        })
    }

    /// One page, from what is decided; if nothing is, it is waited for that long.
    pub async fn range(&self, from: u64, to: u64, wait: Duration) -> Result<VlsnPage, VlsnError> {
        self.view.repeat(|| self.range_once(from, to, wait)).await
    }

    async fn range_once(&self, from: u64, to: u64, wait: Duration) -> Result<VlsnPage, VlsnError> {
        let config = &self.client.cluster().config.reader;
        let end = to.min(Vlsn::MAX.0 + 1);
        if from >= end {
            return Ok(VlsnPage { next: from, ..VlsnPage::default() });
        }
        let request = kp::VlsnReadRangeRequest {
            log: str_bytes(self.log.as_str()),
            from: Vlsn(from),
            to: Vlsn(end),
            max_wait_ms: wait_ms(wait),
            max_bytes: i32::try_from(config.max_bytes).unwrap_or(i32::MAX),
            max_records: i32::MAX,
        };
        let answer = self.view.call(request, wait).await?;
        self.check(answer.error_code, answer.error_message.as_deref())?;
        let data = answer.records.unwrap_or_default();
        let records = read_all(&data, 0, offset(from), config).map_err(|bad| {
            let (log, reason) = (self.log.clone(), bad.reason);
            ConsumeError::Corrupt { log, partition: 0, offset: bad.offset, reason }
        })?;
        let inside = records.into_iter().filter(|record| record.vlsn().is_some_and(|vlsn| vlsn < answer.next.0));
        Ok(VlsnPage {
            records: inside.map(|record| self.placed(record)).collect(),
            gaps: ranges(&answer.gaps),
            trimmed: ranges(&answer.trimmed),
            next: answer.next.0.clamp(from, end),
        })
    }
}

/// The record of a point read, as the view would have it.
fn record(found: kp::VlsnReadResult) -> Record {
    let headers = found.headers.into_iter();
    Record {
        partition: u32::try_from(found.partition).unwrap_or(0),
        offset: offset(found.vlsn.0),
        epoch: LeaderEpoch(found.epoch),
        timestamp: from_ms(found.timestamp),
        key: Some(bytes::Bytes::copy_from_slice(&found.vlsn.key())),
        is_tombstone: found.value.is_none(),
        value: found.value.unwrap_or_default(),
        headers: headers.map(|header| RecordHeader { key: header.key.to_string(), value: header.value }).collect(),
    }
}
