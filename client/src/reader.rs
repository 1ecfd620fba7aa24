//! Reading a log from a position on, across its partitions.
//!
//! Holds: every record of a partition comes once and in order of its offset, as long as the reader lives; across partitions
//! there is no order. A partition that cannot be read keeps no other from being read. Partitions that are added while a
//! reader of all of them lives are read from their first record on, once metadata is renewed
//! ([`ClientConfig::metadata_max_age`](crate::ClientConfig)). At most one answer per broker is held, which
//! [`ReaderConfig`](crate::ReaderConfig) bounds, inflated as well, but for one batch per partition.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pyralog_protocol::kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use pyralog_protocol::kafka_protocol::messages::fetch_response::PartitionData;
use pyralog_protocol::kafka_protocol::messages::{FetchRequest, FetchResponse};
use pyralog_protocol::{ErrorCode, LogId, LogIdError, LogOffset, NodeId};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::PyralogClient;
use crate::error::{BrokerError, CallError, ConsumeError, LogError};
use crate::log::{IntoLogId, StartAt};
use crate::logs::PartitionOffsets;
use crate::net::cluster::{Cluster, Lane, LogFailure, str_bytes};
use crate::pure::fetch::read_records;
use crate::pure::verdict::verdict;
use crate::pure::view::LogView;
use crate::record::Record;

/// How a reader is opened.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::StartAt;
///
/// let mut reader = client.reader("visits").partitions([0, 1]).start(StartAt::Latest).open().await?;
/// let record = reader.next().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ReaderBuilder {
    client: PyralogClient,
    log: Result<LogId, LogIdError>,
    partitions: Option<BTreeSet<u32>>,
    start: StartAt,
    from: BTreeMap<u32, LogOffset>,
    reset: OffsetReset,
}

/// What a reader does when its position is not in the log: the records there were deleted, or the log is shorter than it
/// was.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::OffsetReset;
///
/// // Better to stop than to leave something out.
/// let reader = client.reader("visits").offset_reset(OffsetReset::Fail).open().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// Records that are gone are passed over, with a warning; a position behind the end is an error.
    #[default]
    Earliest,
    /// It goes on behind the last record, with a warning.
    Latest,
    /// It fails with [`ConsumeError::OutOfRange`].
    Fail,
}

/// Reads a log. Dropping it ends its connections. While one partition cannot be read (it has no leader, or is damaged), the
/// others are; the reader fails with what is wrong only when nothing else has come for
/// [`ClientConfig::call_timeout`](crate::ClientConfig::call_timeout), and goes on where it was when it is asked again. What is
/// wrong for good is also told as a warning (`tracing`), once for each partition.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// let mut reader = client.reader("visits").open().await?;
/// loop {
///     let record = reader.next().await?;
///     println!("{:?}", record.value);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct LogReader {
    client: PyralogClient,
    log: LogId,
    lane: Lane,
    /// The next offset to be fetched.
    positions: BTreeMap<u32, LogOffset>,
    /// Partitions that have no position yet, because they could not be read: they begin at `start` once they can.
    unplaced: BTreeSet<u32>,
    start: StartAt,
    /// How many partitions the log is known to have, if those that are added are to be read as well.
    follows: Option<u32>,
    reset: OffsetReset,
    /// Fetched and not handed out.
    buffer: VecDeque<Record>,
    /// Bytes that what is inflated of the answers to a fetch may take still.
    room: usize,
    /// Partitions of which it was told that they cannot be read.
    unreadable: BTreeSet<u32>,
    failures: u32,
}

impl PyralogClient {
    /// A reader of a log, to be told where to begin; from the earliest record of every partition if it is not.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let mut reader = client.reader("visits").open().await?;
    /// let batch = reader.poll(100).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn reader(&self, log: impl IntoLogId) -> ReaderBuilder {
        ReaderBuilder {
            client: self.clone(),
            log: log.into_log_id(),
            partitions: None,
            start: StartAt::Earliest,
            from: BTreeMap::new(),
            reset: OffsetReset::default(),
        }
    }
}

impl ReaderBuilder {
    /// Reads these partitions only.
    ///
    /// ```no_run
    /// # fn example(client: pyralog_client::PyralogClient) {
    /// let builder = client.reader("visits").partitions([0, 3]);
    /// # }
    /// ```
    #[must_use]
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = u32>) -> Self {
        self.partitions = Some(partitions.into_iter().collect());
        self
    }

    /// Begins here in every partition.
    ///
    /// ```no_run
    /// # fn example(client: pyralog_client::PyralogClient) {
    /// use pyralog_client::StartAt;
    ///
    /// let builder = client.reader("visits").start(StartAt::Latest);
    /// # }
    /// ```
    #[must_use]
    pub fn start(mut self, start: impl Into<StartAt>) -> Self {
        self.start = start.into();
        self
    }

    /// Begins at these offsets in these partitions, whatever [`Self::start`] says.
    ///
    /// ```no_run
    /// # fn example(client: pyralog_client::PyralogClient) {
    /// use pyralog_client::LogOffset;
    ///
    /// let builder = client.reader("visits").from([(0, LogOffset::new(17))]);
    /// # }
    /// ```
    #[must_use]
    pub fn from(mut self, offsets: impl IntoIterator<Item = (u32, LogOffset)>) -> Self {
        self.from = offsets.into_iter().collect();
        self
    }

    /// What to do when a position is not in the log.
    ///
    /// ```no_run
    /// # fn example(client: pyralog_client::PyralogClient) {
    /// use pyralog_client::OffsetReset;
    ///
    /// let builder = client.reader("visits").offset_reset(OffsetReset::Latest);
    /// # }
    /// ```
    #[must_use]
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.reset = reset;
        self
    }

    /// Finds out the positions. Those of partitions that cannot be read now are found out later, if there are others that
    /// can.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let reader = client.reader("visits").open().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(self) -> Result<LogReader, ConsumeError> {
        self.open_when(|placed, _| placed > 0).await
    }

    /// [`Self::open`], with every position or not at all.
    pub(crate) async fn open_whole(self) -> Result<LogReader, ConsumeError> {
        self.open_when(|_, unplaced| unplaced == 0).await
    }

    /// Asks for positions until these numbers of partitions with and without one are good enough.
    async fn open_when(self, is_enough: impl Fn(usize, usize) -> bool) -> Result<LogReader, ConsumeError> {
        static LANES: AtomicU64 = AtomicU64::new(0);
        let (log, client) = (self.log?, self.client);
        let attempt = async || {
            let view = client.view_of_once(&log).await?;
            let count = u32::try_from(view.partitions.len()).unwrap_or(u32::MAX);
            let wanted = self.partitions.clone().unwrap_or_else(|| (0..count).collect());
            if let Some(&partition) = wanted.iter().find(|partition| **partition >= count) {
                return Err(LogError::NoPartition { log: log.clone(), partition, count });
            }
            let given = self.from.iter().filter(|(partition, _)| wanted.contains(partition));
            let mut positions: BTreeMap<u32, LogOffset> = given.map(|(partition, at)| (*partition, *at)).collect();
            let is_unknown = |partition| wanted.contains(&partition) && !self.from.contains_key(&partition);
            let found = client.offsets_once(&log, &view, &is_unknown, self.start).await;
            let (unplaced, failed) = place(&mut positions, found);
            match failed {
                Some(error) if !is_enough(positions.len(), unplaced.len()) => Err(error),
                Some(_) | None => Ok((positions, unplaced, self.partitions.is_none().then_some(count))),
            }
        };
        let (positions, unplaced, follows) = client.cluster().repeat(LogError::is_retriable, attempt).await?;
        let lane = Lane::Fetch(LANES.fetch_add(1, Ordering::Relaxed));
        let (start, reset) = (self.start, self.reset);
        let (buffer, unreadable) = (VecDeque::new(), BTreeSet::new());
        let (room, failures) = (0, 0);
        Ok(LogReader {
            client,
            log,
            lane,
            positions,
            unplaced,
            start,
            follows,
            reset,
            buffer,
            room,
            unreadable,
            failures,
        })
    }
}

/// Takes in what was found; the answer is which partitions are without a position, and why one of them is.
fn place(positions: &mut BTreeMap<u32, LogOffset>, found: PartitionOffsets) -> (BTreeSet<u32>, Option<LogError>) {
    let (mut unplaced, mut failed) = (BTreeSet::new(), None);
    for (partition, offset) in found {
        match offset {
            Ok(offset) => drop(positions.insert(partition, offset)),
            Err(error) => {
                unplaced.insert(partition);
                failed = Some(error);
            }
        }
    }
    (unplaced, failed)
}

impl From<LogError> for ConsumeError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Name(error) => Self::Name(error),
            LogError::Unknown { log } => Self::UnknownLog { log },
            LogError::NoPartition { log, partition, count } => Self::NoPartition { log, partition, count },
            LogError::NoLeader { log, partition } => {
                let reason = BrokerError { code: ErrorCode::LeaderNotAvailable.code(), message: None };
                Self::Refused { log, partition, reason }
            }
            LogError::Refused { log, reason } => Self::Log { log, reason },
            LogError::RefusedPartition { log, partition, reason } => Self::Refused { log, partition, reason },
            LogError::RefusedAll(reason) => {
                Self::Call(CallError::NoBroker { tried: format!("the broker says {reason}") })
            }
            LogError::Call(error) => Self::Call(error),
        }
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.client.cluster().leave(self.lane);
    }
}

impl LogReader {
    /// The next record, as soon as there is one.
    ///
    /// ```no_run
    /// # async fn example(mut reader: pyralog_client::LogReader) -> pyralog_client::Result<()> {
    /// println!("{:?}", reader.next().await?.value);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Result<Record, ConsumeError> {
        loop {
            if let Some(record) = self.buffer.pop_front() {
                return Ok(record);
            }
            self.fetch(self.client.cluster().config.reader.max_wait).await?;
        }
    }

    /// Up to `max` records; none if nothing comes within [`ReaderConfig::max_wait`](crate::ReaderConfig::max_wait).
    ///
    /// ```no_run
    /// # async fn example(mut reader: pyralog_client::LogReader) -> pyralog_client::Result<()> {
    /// let records = reader.poll(500).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn poll(&mut self, max: usize) -> Result<Vec<Record>, ConsumeError> {
        if self.buffer.is_empty() {
            self.fetch(self.client.cluster().config.reader.max_wait).await?;
        }
        let count = max.min(self.buffer.len());
        Ok(self.buffer.drain(..count).collect())
    }

    /// The next offset of each partition: that of the first record which was not handed out yet. Partitions that could not be
    /// read yet are not among them.
    ///
    /// ```no_run
    /// # fn example(reader: pyralog_client::LogReader) {
    /// for (partition, offset) in reader.positions() {
    ///     println!("partition {partition} goes on at {offset}");
    /// }
    /// # }
    /// ```
    pub fn positions(&self) -> BTreeMap<u32, LogOffset> {
        let mut positions = self.positions.clone();
        for record in self.buffer.iter().rev() {
            positions.insert(record.partition, record.offset);
        }
        positions
    }

    /// The partitions that have a position.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = u32> {
        self.positions.keys().copied()
    }

    /// Has records come again that were handed out, given in that order.
    pub(crate) fn go_back(&mut self, records: impl DoubleEndedIterator<Item = (u32, LogOffset)>) {
        self.positions = self.positions();
        self.buffer.clear();
        // The first of each partition is the last to be put.
        self.positions.extend(records.rev());
    }

    /// What is there now, lowest offsets first; waits a moment only if there is nothing at all.
    pub(crate) async fn read_now(&mut self, max: usize) -> Result<Vec<Record>, ConsumeError> {
        let is_read = |partition| self.positions.contains_key(&partition);
        let ends = self.client.offsets_in(&self.log, is_read, StartAt::Latest).await?;
        let max_wait = self.client.cluster().config.reader.max_wait;
        let mut records: Vec<Record> = Vec::new();
        let mut wait = Duration::ZERO;
        if max == 0 {
            return Ok(records);
        }
        loop {
            let before = self.positions.clone();
            let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
            records.iter().for_each(|record| *taken.entry(record.partition).or_default() += 1);
            let end = |partition: &u32| ends.get(partition).copied().unwrap_or_default();
            self.positions
                .retain(|partition, at| *at < end(partition) && taken.get(partition).is_none_or(|taken| *taken < max));
            let is_done = self.positions.is_empty();
            if is_done && !records.is_empty() {
                break;
            }
            if is_done {
                // Nothing at all: what comes next, if it comes soon.
                (self.positions, wait) = (before.clone(), max_wait);
            }
            self.fetch(wait).await?;
            records.extend(self.buffer.drain(..));
            let is_stuck = self.positions.iter().all(|(partition, at)| before.get(partition) == Some(at));
            if is_done || (is_stuck && !wait.is_zero()) {
                break;
            }
            wait = if is_stuck { max_wait } else { Duration::ZERO };
        }
        records.sort_by_key(|record| (record.offset, record.partition));
        records.truncate(max);
        Ok(records)
    }

    /// Asks every leader once. What cannot be had now is asked for again the next time, until the time of
    /// [`ClientConfig::call_timeout`](crate::ClientConfig::call_timeout) is up.
    async fn fetch(&mut self, wait: Duration) -> Result<(), ConsumeError> {
        let deadline = Instant::now() + self.client.cluster().config.call_timeout;
        loop {
            match self.fetch_once(wait).await {
                Ok(()) => {
                    self.failures = 0;
                    return Ok(());
                }
                Err(error) if is_retriable(&error) && Instant::now() < deadline => {
                    self.failures = self.failures.saturating_add(1);
                    self.client.cluster().pause(self.failures).await;
                    // Where the leaders are now; if nobody knows, the next round says so.
                    drop(self.client.cluster().look_up(&self.log).await);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn fetch_once(&mut self, wait: Duration) -> Result<(), ConsumeError> {
        let cluster = self.client.cluster().clone();
        let view = cluster.find_log(&self.log).await.map_err(|failure| self.unknown(failure))?;
        self.follow(&view);
        let mut failed: Option<ConsumeError> = self.place_rest(&view).await.map(ConsumeError::from);
        let mut by_node: BTreeMap<NodeId, Vec<FetchPartition>> = BTreeMap::new();
        for (&partition, &position) in &self.positions {
            let index = usize::try_from(partition).unwrap_or(usize::MAX);
            match view.partitions.get(index).and_then(|known| known.leader) {
                Some(leader) => by_node.entry(leader).or_default().push(asked(partition, position, &cluster)),
                None => failed = Some(LogError::NoLeader { log: self.log.clone(), partition }.into()),
            }
        }
        self.room = cluster.config.reader.inflated_bytes;
        let mut answers = JoinSet::new();
        for (node, partitions) in by_node {
            let request = request(&self.log, partitions, wait, &cluster);
            answers.spawn(ask(cluster.clone(), node, self.lane, request, wait));
        }
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok(Ok(answer)) => {
                    if let Err(error) = self.take(answer).await {
                        failed = Some(error);
                    }
                }
                Ok(Err(error)) => failed = Some(error.into()),
                Err(_) => failed = Some(CallError::ClientClosed.into()),
            }
        }
        // What other partitions gave is handed out first.
        match failed {
            Some(error) if self.buffer.is_empty() => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes in partitions that are new. Nobody has read of them before: they begin with their first record, wherever the
    /// others began.
    fn follow(&mut self, view: &LogView) {
        let count = u32::try_from(view.partitions.len()).unwrap_or(u32::MAX);
        if let Some(known) = &mut self.follows {
            self.positions.extend((*known..count).map(|partition| (partition, LogOffset::ZERO)));
            *known = count.max(*known);
        }
    }

    /// Finds positions for partitions that have none yet; the answer is why one of them has none still.
    async fn place_rest(&mut self, view: &LogView) -> Option<LogError> {
        if self.unplaced.is_empty() {
            return None;
        }
        let is_unplaced = |partition| self.unplaced.contains(&partition);
        let found = self.client.offsets_once(&self.log, view, &is_unplaced, self.start).await;
        let (unplaced, failed) = place(&mut self.positions, found);
        self.unplaced = unplaced;
        failed
    }

    fn unknown(&self, failure: LogFailure) -> ConsumeError {
        match failure {
            LogFailure::Unknown => ConsumeError::UnknownLog { log: self.log.clone() },
            LogFailure::Refused(reason) => ConsumeError::Log { log: self.log.clone(), reason },
            LogFailure::Call(error) => error.into(),
        }
    }

    async fn take(&mut self, answer: FetchResponse) -> Result<(), ConsumeError> {
        if answer.error_code != 0 {
            let reason = BrokerError { code: answer.error_code, message: None };
            return Err(ConsumeError::Log { log: self.log.clone(), reason });
        }
        let mut result = Ok(());
        let name = self.log.clone();
        let topics = answer.responses.into_iter().filter(|topic| topic.topic.as_str() == name.as_str());
        for found in topics.flat_map(|topic| topic.partitions) {
            if let Err(error) = self.take_partition(found).await {
                result = Err(error);
            }
        }
        result
    }

    async fn take_partition(&mut self, found: PartitionData) -> Result<(), ConsumeError> {
        let Ok(partition) = u32::try_from(found.partition_index) else { return Ok(()) };
        let Some(&position) = self.positions.get(&partition) else { return Ok(()) };
        let taken = self.take_from(partition, position, found).await;
        match &taken {
            Ok(()) => {
                self.unreadable.remove(&partition);
            }
            // While other partitions give something, nobody is told otherwise.
            Err(error) => {
                if !is_retriable(error) && self.unreadable.insert(partition) {
                    tracing::warn!(log = %self.log, partition, %error, "a partition is left out");
                }
            }
        }
        taken
    }

    async fn take_from(
        &mut self,
        partition: u32,
        position: LogOffset,
        found: PartitionData,
    ) -> Result<(), ConsumeError> {
        let log = self.log.clone();
        if found.error_code == ErrorCode::OffsetOutOfRange.code() {
            return self.go_into_range(partition, position).await;
        }
        if found.error_code != 0 {
            let reason = BrokerError { code: found.error_code, message: None };
            return Err(ConsumeError::Refused { log, partition, reason });
        }
        let data: Bytes = found.records.unwrap_or_default();
        let config = &self.client.cluster().config.reader;
        let read = read_records(&data, partition, position, config, &mut self.room);
        let read =
            read.map_err(|bad| ConsumeError::Corrupt { log, partition, offset: bad.offset, reason: bad.reason })?;
        self.positions.insert(partition, read.next);
        self.buffer.extend(read.records);
        Ok(())
    }

    /// A position outside: what [`OffsetReset`] says.
    async fn go_into_range(&mut self, partition: u32, offset: LogOffset) -> Result<(), ConsumeError> {
        let of = |offsets: BTreeMap<u32, LogOffset>| offsets.get(&partition).copied().unwrap_or_default();
        let is_it = |other| other == partition;
        let start = of(self.client.offsets_in(&self.log, is_it, StartAt::Earliest).await?);
        let end = of(self.client.offsets_in(&self.log, is_it, StartAt::Latest).await?);
        if (start..=end).contains(&offset) {
            return Ok(()); // it is there by now
        }
        let next = match self.reset {
            OffsetReset::Earliest if offset < start => start,
            OffsetReset::Latest => end,
            OffsetReset::Earliest | OffsetReset::Fail => {
                return Err(ConsumeError::OutOfRange { log: self.log.clone(), partition, offset, start, end });
            }
        };
        tracing::warn!(log = %self.log, partition, %offset, %next, "the position is not in the log: going on elsewhere");
        self.positions.insert(partition, next);
        Ok(())
    }
}

pub(crate) fn is_retriable(error: &ConsumeError) -> bool {
    match error {
        ConsumeError::Refused { reason, .. } | ConsumeError::Log { reason, .. } => verdict(reason.code).is_retriable(),
        ConsumeError::Call(error) => error.is_retriable(),
        ConsumeError::Name(_)
        | ConsumeError::UnknownLog { .. }
        | ConsumeError::NoPartition { .. }
        | ConsumeError::OutOfRange { .. }
        | ConsumeError::Corrupt { .. } => false,
    }
}

fn i32_of(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(crate) fn asked(partition: u32, position: LogOffset, cluster: &Cluster) -> FetchPartition {
    FetchPartition::default()
        .with_partition(i32::try_from(partition).unwrap_or(i32::MAX))
        .with_fetch_offset(position.0)
        .with_partition_max_bytes(i32_of(cluster.config.reader.partition_bytes))
}

pub(crate) fn request(log: &LogId, partitions: Vec<FetchPartition>, wait: Duration, cluster: &Cluster) -> FetchRequest {
    let reader = &cluster.config.reader;
    let topic = FetchTopic::default().with_topic(str_bytes(log.as_str()).into()).with_partitions(partitions);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(i32_of(reader.min_bytes))
        .with_max_bytes(i32_of(reader.max_bytes))
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

async fn ask(
    cluster: Arc<Cluster>,
    node: NodeId,
    lane: Lane,
    request: FetchRequest,
    wait: Duration,
) -> Result<FetchResponse, CallError> {
    let connection = cluster.node(node, lane).await?;
    connection.call(request, cluster.config.request_timeout.saturating_add(wait)).await
}
