//! One group's log and position numbers on a [`LogStore`]: raft-rs's `Storage`, and the three batches that change
//! them (a Ready, an apply, a truncation). What raft-rs asks for on the hot path is in memory; the store is read for
//! followers that lag and at open.
//!
//! Holds: `snapshot ≤ truncated ≤ applied ≤ commit ≤ last`, checked at open and after each batch.
//! A failed read inside raft-rs cannot be handed up: raft-rs panics with the cause, which ends the process as every
//! failure of the store does (RA-20).

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Ready, Storage, StorageError};

use super::error::{Fatal, OpenError};
use super::keys::{self, DecodeError, LogPosition, MetaKey, Shard};
use super::log_store::{Batch, Column, LogStore, StoreError};
use super::snapshot;

/// A new group begins at this position, as if a snapshot of the empty state had been installed there: index 0 is
/// raft-rs's "nothing at all", and a node without configuration must be told from an empty group.
const GENESIS: LogPosition = LogPosition { index: 1, term: 1 };

/// Log and numbers of one group.
pub(super) struct GroupLog<S> {
    pub(super) store: S,
    pub(super) shard: Shard,
    hard_state: HardState,
    conf_state: ConfState,
    /// Index that the state was last replaced at.
    snapshot: u64,
    /// Last entry that is no longer in the log.
    truncated: LogPosition,
    /// Last entry that is in the state.
    applied: u64,
    /// Last entry of the log; `truncated.index` when it is empty.
    last: u64,
    /// The end of the log: the last applied entry and all after it.
    recent: VecDeque<Entry>,
}

/// A read that failed.
enum ReadError {
    Store(StoreError),
    Decode(DecodeError),
    Hole(u64),
}

impl From<StoreError> for ReadError {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<DecodeError> for ReadError {
    fn from(e: DecodeError) -> Self {
        Self::Decode(e)
    }
}

impl From<ReadError> for OpenError {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Store(e) => Self::Store(e),
            ReadError::Decode(e) => e.into(),
            ReadError::Hole(index) => Self::Corrupt(format!("log entry {index} is not there")),
        }
    }
}

impl From<ReadError> for raft::Error {
    fn from(e: ReadError) -> Self {
        let cause: Box<dyn std::error::Error + Send + Sync> = Box::new(OpenError::from(e));
        Self::Store(StorageError::Other(cause))
    }
}

impl<S: LogStore> GroupLog<S> {
    /// Reads the numbers, or creates the group when the shard is empty.
    pub(super) fn open(mut store: S, shard: Shard, voters: &[u64]) -> Result<Self, OpenError> {
        if !has_any(&store, shard)? {
            store.write(genesis(shard, voters), true)?;
        }
        let meta = |key, what| -> Result<Vec<u8>, OpenError> {
            store.get(Column::RaftMeta, &shard.meta_key(key))?.ok_or(OpenError::Missing { what })
        };
        let hard_state = keys::decode_hard_state(&meta(MetaKey::HardState, "the hard state")?)?;
        let conf_state = keys::decode_conf_state(&meta(MetaKey::ConfState, "the voters")?)?;
        let truncated = keys::decode_position("truncation", &meta(MetaKey::Truncated, "the truncation")?)?;
        let snapshot = keys::decode_u64("snapshot index", &meta(MetaKey::Snapshot, "the snapshot index")?)?;
        let applied = keys::decode_u64("applied index", &meta(MetaKey::Applied, "the applied index")?)?;
        let last = match store.last_key(&shard.log_span(0, u64::MAX))? {
            Some(key) => keys::log_index(&key)?,
            None => truncated.index,
        };
        let recent = VecDeque::new();
        let mut log = Self { store, shard, hard_state, conf_state, snapshot, truncated, applied, last, recent };
        if !log.in_order() {
            return Err(log.inconsistent());
        }
        log.check_tail()?;
        Ok(log)
    }

    /// Everything that will be applied must be there, and the term must not be older than the log's.
    fn check_tail(&mut self) -> Result<(), OpenError> {
        if self.last > self.truncated.index {
            self.read(self.truncated.index.saturating_add(1), self.truncated.index.saturating_add(2), u64::MAX)?;
        }
        let tail = self.read(self.applied.saturating_add(1), self.last.saturating_add(1), u64::MAX)?;
        let (term, last_term) = (self.hard_state.term, tail.last().map_or(self.truncated.term, |e| e.term));
        if last_term > term {
            return Err(OpenError::Corrupt(format!("the hard state is of term {term}, the log of term {last_term}")));
        }
        self.recent = tail.into();
        Ok(())
    }

    fn in_order(&self) -> bool {
        let numbers = [self.snapshot, self.truncated.index, self.applied, self.hard_state.commit, self.last];
        numbers.is_sorted()
    }

    fn inconsistent(&self) -> OpenError {
        OpenError::Inconsistent {
            snapshot: self.snapshot,
            truncated: self.truncated.index,
            applied: self.applied,
            commit: self.hard_state.commit,
            last: self.last,
        }
    }

    pub(super) fn applied(&self) -> u64 {
        self.applied
    }

    pub(super) fn truncated(&self) -> u64 {
        self.truncated.index
    }

    pub(super) fn conf_state(&self) -> &ConfState {
        &self.conf_state
    }

    /// Step 2 of the recipe: whatever a Ready wants durable, in one batch.
    pub(super) fn persist(&mut self, ready: &Ready) -> Result<(), Fatal> {
        let mut batch = Batch::default();
        if !ready.snapshot().is_empty() {
            self.install(ready.snapshot(), &mut batch)?;
        }
        self.append(ready.entries(), &mut batch);
        if let Some(hard_state) = ready.hs() {
            self.hard_state = hard_state.clone();
        }
        if ready.hs().is_some() || !ready.snapshot().is_empty() {
            self.hard_state.commit = self.hard_state.commit.max(self.snapshot);
            self.put_hard_state(&mut batch);
        }
        self.write(batch, ready.must_sync())
    }

    /// Puts the new end of the log in place of whatever was there from its first index on.
    fn append(&mut self, entries: &[Entry], batch: &mut Batch) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        if first.index <= self.last {
            batch.delete_range(self.shard.log_span(first.index, self.last.saturating_add(1)));
            self.recent.retain(|old| old.index < first.index);
        }
        for entry in entries {
            batch.put(Column::RaftLog, self.shard.log_key(entry.index), keys::encode_proto(entry));
        }
        self.last = last.index;
        self.recent.extend(entries.iter().cloned());
    }

    /// Replaces state and log by a snapshot. One batch, with the applied index (RA-02).
    fn install(&mut self, received: &Snapshot, batch: &mut Batch) -> Result<(), Fatal> {
        let (index, term) = (received.get_metadata().index, received.get_metadata().term);
        let image = snapshot::decode(received)
            .map_err(|e| Fatal::Raft(format!("snapshot at {index} cannot be installed: {e}")))?;
        batch.delete_range(self.shard.log_span(0, u64::MAX));
        for column in Column::STATE {
            batch.delete_range(self.shard.span(column, &[]));
        }
        for (column, key, value) in image {
            batch.put(column, self.shard.key(&key), value);
        }
        self.conf_state = received.get_metadata().get_conf_state().clone();
        batch.put(Column::RaftMeta, self.shard.meta_key(MetaKey::ConfState), keys::encode_proto(&self.conf_state));
        batch.put(Column::RaftMeta, self.shard.meta_key(MetaKey::Snapshot), keys::encode_u64(index));
        self.snapshot = index;
        self.last = index;
        self.recent.clear();
        self.put_truncated(LogPosition { index, term }, batch);
        self.put_applied(index, batch);
        Ok(())
    }

    /// Steps 4 and 5: the state changes of entries up to `applied`, the index and the commit index behind it, in one
    /// batch. Not synced: the next sync covers it, and until then the log brings it back.
    pub(super) fn persist_applied(
        &mut self,
        mut batch: Batch,
        applied: Option<u64>,
        commit: Option<u64>,
        conf_state: Option<ConfState>,
    ) -> Result<(), Fatal> {
        if let Some(conf_state) = conf_state {
            batch.put(Column::RaftMeta, self.shard.meta_key(MetaKey::ConfState), keys::encode_proto(&conf_state));
            self.conf_state = conf_state;
        }
        if let Some(applied) = applied {
            self.put_applied(applied, &mut batch);
        }
        // The next Ready will not repeat a LightReady's commit index (RA-01).
        self.hard_state.commit = self.hard_state.commit.max(commit.unwrap_or(0)).max(self.applied);
        self.put_hard_state(&mut batch);
        self.write(batch, false)?;
        while self.recent.front().is_some_and(|entry| entry.index < self.applied) {
            self.recent.pop_front();
        }
        Ok(())
    }

    /// Forgets entries up to `to`, which must be applied. Not synced: losing it only keeps more.
    pub(super) fn truncate(&mut self, to: u64) -> Result<(), Fatal> {
        assert!(to > self.truncated.index && to <= self.applied, "truncation of what is not applied or gone");
        let term = self.term(to).map_err(|e| Fatal::Raft(e.to_string()))?;
        let mut batch = Batch::default();
        batch.delete_range(self.shard.log_span(self.truncated.index, to.saturating_add(1)));
        self.put_truncated(LogPosition { index: to, term }, &mut batch);
        self.write(batch, false)
    }

    fn put_hard_state(&self, batch: &mut Batch) {
        batch.put(Column::RaftMeta, self.shard.meta_key(MetaKey::HardState), keys::encode_proto(&self.hard_state));
    }

    fn put_applied(&mut self, applied: u64, batch: &mut Batch) {
        self.applied = applied;
        batch.put(Column::RaftMeta, self.shard.meta_key(MetaKey::Applied), keys::encode_u64(applied));
    }

    fn put_truncated(&mut self, at: LogPosition, batch: &mut Batch) {
        self.truncated = at;
        batch.put(Column::RaftMeta, self.shard.meta_key(MetaKey::Truncated), keys::encode_position(at));
    }

    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), Fatal> {
        assert!(self.in_order(), "{}", self.inconsistent());
        if !batch.is_empty() {
            self.store.write(batch, sync)?;
        }
        Ok(())
    }

    /// Entries of `[low, high)` from the store, at least one and then up to `max_bytes`.
    fn read(&self, low: u64, high: u64, max_bytes: u64) -> Result<Vec<Entry>, ReadError> {
        let (mut entries, mut bytes, mut failed) = (Vec::new(), 0_u64, None);
        let mut expected = low;
        self.store.scan(&[self.shard.log_span(low, high)], &mut |_, _, value| {
            match keys::decode_entry(value) {
                Ok(entry) if entry.index == expected => entries.push(entry),
                Ok(_) => failed = Some(ReadError::Hole(expected)),
                Err(e) => failed = Some(ReadError::Decode(e)),
            }
            expected = expected.saturating_add(1);
            bytes = bytes.saturating_add(u64::try_from(value.len()).unwrap_or(u64::MAX));
            failed.is_none() && bytes < max_bytes
        })?;
        match failed {
            Some(e) => Err(e),
            None if bytes < max_bytes && expected < high => Err(ReadError::Hole(expected)),
            None => Ok(entries),
        }
    }

    /// The same from memory, when all of it is there.
    fn recall(&self, low: u64, high: u64) -> Option<Vec<Entry>> {
        let skip = usize::try_from(low.checked_sub(self.recent.front()?.index)?).ok()?;
        let take = usize::try_from(high.checked_sub(low)?).ok()?;
        Some(self.recent.iter().skip(skip).take(take).cloned().collect())
    }
}

/// The first batch of a group.
fn genesis(shard: Shard, voters: &[u64]) -> Batch {
    let mut batch = Batch::default();
    let mut put = |key, value| batch.put(Column::RaftMeta, shard.meta_key(key), value);
    let hard_state = HardState { term: GENESIS.term, commit: GENESIS.index, ..HardState::default() };
    put(MetaKey::HardState, keys::encode_proto(&hard_state));
    put(MetaKey::ConfState, keys::encode_proto(&ConfState { voters: voters.to_vec(), ..ConfState::default() }));
    put(MetaKey::Truncated, keys::encode_position(GENESIS));
    put(MetaKey::Snapshot, keys::encode_u64(GENESIS.index));
    put(MetaKey::Applied, keys::encode_u64(GENESIS.index));
    batch.put(Column::RaftMeta, keys::format_key(), keys::FORMAT_VERSION.to_be_bytes().to_vec());
    batch
}

fn has_any<S: LogStore>(store: &S, shard: Shard) -> Result<bool, StoreError> {
    let mut found = false;
    let spans: Vec<_> = Column::ALL.into_iter().map(|column| shard.span(column, &[])).collect();
    store.scan(&spans, &mut |_, _, _| {
        found = true;
        false
    })?;
    Ok(found)
}

impl<S: LogStore> Storage for GroupLog<S> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.conf_state.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let max_size = max_size.into();
        if low <= self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last.saturating_add(1) {
            return Err(StorageError::Unavailable.into());
        }
        let mut entries = match self.recall(low, high) {
            Some(entries) => entries,
            None => self.read(low, high, max_size.unwrap_or(u64::MAX))?,
        };
        raft::util::limit_size(&mut entries, max_size);
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.truncated.index {
            return Ok(self.truncated.term);
        }
        if index < self.truncated.index {
            return Err(StorageError::Compacted.into());
        }
        if index > self.last {
            return Err(StorageError::Unavailable.into());
        }
        let next = index.saturating_add(1);
        let found = match self.recall(index, next) {
            Some(entries) => entries,
            None => self.read(index, next, u64::MAX)?,
        };
        found.first().map(|entry| entry.term).ok_or_else(|| ReadError::Hole(index).into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index.saturating_add(1))
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied < request_index {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        let at = LogPosition { index: self.applied, term: self.term(self.applied)? };
        snapshot::build(&self.store, self.shard, at, &self.conf_state)
            .map_err(|e| StorageError::Other(Box::new(e)).into())
    }
}
