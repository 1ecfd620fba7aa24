//! The view of a VLSN log, `<log>.vlsn`: one partition whose offsets are VLSNs, as any Kafka client can read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyralog_protocol::kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use pyralog_protocol::kafka_protocol::messages::{FetchResponse, ListOffsetsRequest};
use pyralog_protocol::vlsn::VIEW_SUFFIX;
use pyralog_protocol::{ApiKey, ErrorCode, LogId, LogOffset, NodeId};
use tokio::time::Instant;

use super::error::VlsnError;
use crate::error::{BrokerError, CallError, ConsumeError};
use crate::net::cluster::{Cluster, Lane, LogFailure, str_bytes};
use crate::pure::ask::Ask;
use crate::pure::fetch::{Read, read_records};
use crate::reader::{asked, request};

/// Where a view begins and ends: everything in between is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The first VLSN that is not trimmed.
    pub start: u64,
    /// The first that is not decided.
    pub end: u64,
}

/// What a view has at some VLSN.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Records from there on, and where to go on; nothing if there is nothing yet.
    Records { read: Read, end: u64 },
    /// It lies outside.
    Outside(Bounds),
}

/// Reads a view.
pub(crate) struct View {
    cluster: Arc<Cluster>,
    log: LogId,
    name: LogId,
    /// Connections that wait for something hold up what is behind them: they are used by one reader at a time.
    idle: Mutex<Vec<Lane>>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A connection for one request. If that is given up before it is answered, the connection ends: whoever came next would
/// wait for the answer.
struct Borrowed<'a> {
    view: &'a View,
    lane: Lane,
    is_done: bool,
}

impl Borrowed<'_> {
    fn give_back(mut self) {
        self.is_done = true;
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut idle = self.view.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_done && idle.len() < IDLE_MAX {
            idle.push(self.lane);
        } else {
            self.view.cluster.leave(self.lane);
        }
    }
}

/// Connections of a view that are kept while nobody uses them.
const IDLE_MAX: usize = 4;

impl Drop for View {
    fn drop(&mut self) {
        for lane in self.idle.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.cluster.leave(lane);
        }
    }
}

fn number(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

/// A VLSN as an offset of the view.
pub(crate) fn offset(vlsn: u64) -> LogOffset {
    LogOffset(i64::try_from(vlsn).unwrap_or(i64::MAX))
}

impl View {
    /// The view of a log.
    pub fn new(cluster: Arc<Cluster>, log: LogId) -> Result<Self, VlsnError> {
        let name = LogId::new(&format!("{log}{VIEW_SUFFIX}"))?;
        Ok(Self { cluster, log, name, idle: Mutex::default() })
    }

    /// Its name.
    pub fn name(&self) -> &LogId {
        &self.name
    }

    /// Where it begins and ends.
    pub async fn bounds(&self) -> Result<Bounds, VlsnError> {
        const EARLIEST: i64 = -2;
        const LATEST: i64 = -1;
        let start = self.repeat(|| self.offset_at(EARLIEST)).await?;
        let end = self.repeat(|| self.offset_at(LATEST)).await?;
        Ok(Bounds { start, end: end.max(start) })
    }

    async fn offset_at(&self, timestamp: i64) -> Result<u64, VlsnError> {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(str_bytes(self.name.as_str()).into())
            .with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = self.cluster.ask_node(self.leader().await?, request).await?;
        let found = answer.topics.iter().flat_map(|topic| &topic.partitions).next();
        let found = found.ok_or_else(|| self.unexpected(ApiKey::ListOffsets))?;
        match found.error_code {
            0 => Ok(number(found.offset)),
            code => Err(self.refused(code)),
        }
    }

    /// What there is from a VLSN on. If nothing is there, it is waited for that long; a VLSN outside is not waited for.
    pub async fn look(&self, vlsn: u64, max_bytes: usize, wait: Duration) -> Result<Seen, VlsnError> {
        let borrowed = self.borrow();
        let seen = self.repeat(|| self.look_once(borrowed.lane, vlsn, max_bytes, wait)).await;
        borrowed.give_back();
        seen
    }

    /// Asks who leads the log, once, on a connection that nobody else waits on.
    pub async fn call<A: Ask>(&self, request: A, wait: Duration) -> Result<A::Answer, VlsnError> {
        let borrowed = self.borrow();
        let answer = self.call_on(borrowed.lane, request, wait).await;
        borrowed.give_back();
        answer
    }

    async fn call_on<A: Ask>(&self, lane: Lane, request: A, wait: Duration) -> Result<A::Answer, VlsnError> {
        let connection = self.cluster.node(self.leader().await?, lane).await?;
        Ok(connection.call(request, self.cluster.config.request_timeout.saturating_add(wait)).await?)
    }

    fn borrow(&self) -> Borrowed<'_> {
        // Far from those of readers.
        static LANES: AtomicU64 = AtomicU64::new(1 << 32);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let lane = idle.unwrap_or_else(|| Lane::Fetch(LANES.fetch_add(1, Ordering::Relaxed)));
        Borrowed { view: self, lane, is_done: false }
    }

    async fn look_once(&self, lane: Lane, vlsn: u64, max_bytes: usize, wait: Duration) -> Result<Seen, VlsnError> {
        let bytes = i32::try_from(max_bytes).unwrap_or(i32::MAX);
        let partition = asked(0, offset(vlsn), &self.cluster).with_partition_max_bytes(bytes);
        let request = request(&self.name, vec![partition], wait, &self.cluster).with_max_bytes(bytes);
        let answer: FetchResponse = self.call_on(lane, request, wait).await?;
        if answer.error_code != 0 {
            return Err(self.refused(answer.error_code));
        }
        let found = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let found = found.ok_or_else(|| self.unexpected(ApiKey::Fetch))?;
        if found.error_code == ErrorCode::OffsetOutOfRange.code() {
            return Ok(Seen::Outside(self.bounds_once().await?));
        }
        if found.error_code != 0 {
            return Err(self.refused(found.error_code));
        }
        let data: Bytes = found.records.unwrap_or_default();
        let config = &self.cluster.config.reader;
        let mut room = config.inflated_bytes;
        let read = read_records(&data, 0, offset(vlsn), config, &mut room).map_err(|bad| ConsumeError::Corrupt {
            log: self.name.clone(),
            partition: 0,
            offset: bad.offset,
            reason: bad.reason,
        })?;
        Ok(Seen::Records { read, end: number(found.high_watermark) })
    }

    async fn bounds_once(&self) -> Result<Bounds, VlsnError> {
        let start = self.offset_at(-2).await?;
        Ok(Bounds { start, end: self.offset_at(-1).await?.max(start) })
    }

    async fn leader(&self) -> Result<NodeId, VlsnError> {
        let view = self.cluster.find_log(&self.name).await.map_err(|failure| match failure {
            LogFailure::Unknown => VlsnError::NotVlsn { log: self.log.clone() },
            LogFailure::Refused(reason) => VlsnError::Refused { log: self.name.clone(), reason },
            LogFailure::Call(error) => VlsnError::Call(error),
        })?;
        let leader = view.partitions.first().and_then(|partition| partition.leader);
        leader.ok_or_else(|| self.refused(ErrorCode::LeaderNotAvailable.code()))
    }

    fn refused(&self, code: i16) -> VlsnError {
        VlsnError::Refused { log: self.name.clone(), reason: BrokerError { code, message: None } }
    }

    fn unexpected(&self, api: ApiKey) -> VlsnError {
        let reason = format!("it says nothing of log {}", self.name);
        VlsnError::Call(CallError::Unexpected { address: "a broker".to_owned(), api, reason })
    }

    /// Repeats, with fresh metadata, while that may help and the time of a call is not up.
    pub async fn repeat<T, F: Future<Output = Result<T, VlsnError>>>(
        &self,
        attempt: impl Fn() -> F,
    ) -> Result<T, VlsnError> {
        let deadline = Instant::now() + self.cluster.config.call_timeout;
        let mut failures = 0;
        loop {
            match attempt().await {
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    failures += 1;
                    self.cluster.pause(failures).await;
                    // Where the leader is now; if nobody knows, the next attempt says so.
                    drop(self.cluster.look_up(&self.name).await);
                }
                settled => return settled,
            }
        }
    }
}
