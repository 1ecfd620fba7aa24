//! The Ready loop of one Raft group member, by the recipe of raft-rs: per Ready one batch, synced when raft-rs says so;
//! per apply one batch with state, applied index and hard state. Everything proposed before one [`Replica::pump`]
//! shares its sync. Messages and applied entries leave `pump` only after the batches they rest on.
//!
//! Holds: between `ready()` and `advance()` nothing is stepped or ticked; one Ready is outstanding, with rising numbers
//! (RA-06); after the first failure nothing is written or reported again (RA-20).
//! Does not decide anything about records, keeps no reply and knows no time: the owner ticks.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use raft::eraftpb::{ConfChange, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Fatal, OpenError, ProposeError};
use super::keys::{self, Shard};
use super::log::GroupLog;
use super::log_store::{Batch, Column, LogStore};
use super::options::ReplicaOptions;
use super::snapshot;
use super::window::LogWindow;
use crate::record::{Family, Placement, Record};

/// What the loop needs to know of a record: its encoding and where it goes.
pub trait StateRecord: Serialize + DeserializeOwned {
    /// Where it lives in the state store.
    fn placement(&self) -> Placement;
}

/// A proposal that is in the log of this node, and nowhere else yet. It is committed when an entry of this index **and
/// term** is reported as applied; another term at that index means that it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its index.
    pub index: u64,
    /// Term that it was proposed in.
    pub term: u64,
}

/// A committed entry whose records are in the state store now.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied<R = Record> {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Proposed by this replica since it was opened: its machines have applied it already.
    pub own: bool,
    /// What it changes.
    pub records: Vec<R>,
}

/// What one [`Replica::pump`] did.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress<R = Record> {
    /// Last applied index. Every proposal up to it is decided and durable.
    pub committed: u64,
    /// Entries that were applied, in order.
    pub applied: Vec<Applied<R>>,
    /// The state was replaced by a snapshot: load the machines again with [`Replica::load`]. That state has `applied`
    /// in it already.
    pub replaced: bool,
    /// The last read that is confirmed, with all before it; see [`Replica::confirm`].
    pub confirmed: u64,
    /// To be sent to other nodes, now.
    pub messages: Vec<Message>,
}

/// One member of one Raft group.
pub struct Replica<S: LogStore, R = Record> {
    pub(super) node: RawNode<GroupLog<S>>,
    pub(super) options: ReplicaOptions,
    window: LogWindow,
    /// Own proposals that are not applied yet: index to term.
    own: BTreeMap<u64, u64>,
    ready_number: u64,
    /// Reads that were asked for, and those of them that are confirmed.
    asked: u64,
    confirmed: u64,
    stopped: bool,
    record: PhantomData<fn() -> R>,
}

impl<S: LogStore, R: StateRecord> Replica<S, R> {
    /// Opens the group on its store, or creates it; what it holds is read with [`load`](Self::load).
    /// A single voter is its ready leader when this returns.
    pub fn open(store: S, options: ReplicaOptions) -> Result<Self, OpenError> {
        options.validate()?;
        let log = GroupLog::open(store, Shard(options.shard), &options.voters)?;
        let window = LogWindow::new(&options, log.truncated());
        let config = options.raft_config(log.applied());
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, log, &logger).map_err(|e| OpenError::Options(e.to_string()))?;
        let (own, record) = (BTreeMap::new(), PhantomData);
        let mut replica =
            Self { node, options, window, own, ready_number: 0, asked: 0, confirmed: 0, stopped: false, record };
        replica.settle_election_timeout();
        if replica.is_alone() {
            replica.node.campaign().map_err(|e| Fatal::Raft(e.to_string()))?;
            replica.pump()?;
        }
        Ok(replica)
    }

    /// Hands out the committed state as the records that build it, in key order: one at a time, for all of them together
    /// may take more memory than the state.
    pub fn load(&self, mut take: impl FnMut(R)) -> Result<(), OpenError> {
        let log = self.node.store();
        let mut failed = None;
        let spans = Column::STATE.map(|column| log.shard.span(column, &[]));
        log.store.scan(&spans, &mut |_, _, value| {
            match keys::decode_records(value) {
                Ok(record) => take(record),
                Err(e) => failed = Some(e),
            }
            failed.is_none()
        })?;
        failed.map_or(Ok(()), |e| Err(e.into()))
    }

    /// Appends one atomic set of records to the log; durable after the next [`pump`](Self::pump).
    pub fn propose(&mut self, records: &[R]) -> Result<Proposed, ProposeError> {
        if self.stopped {
            return Err(ProposeError::Stopped);
        }
        if !self.is_ready_leader() {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        let data = keys::encode_records(records).map_err(|e| ProposeError::Encode(e.to_string()))?;
        let limit = self.options.max_entry_bytes;
        if data.len() > limit {
            return Err(ProposeError::TooLarge { bytes: data.len(), limit });
        }
        // raft-rs drops a leader's proposal only for the size of what is on the way.
        let busy = ProposeError::Busy { limit: self.options.max_uncommitted_bytes };
        self.node.propose(Vec::new(), data).map_err(|_| busy)?;
        let proposed = self.last_proposed();
        self.own.insert(proposed.index, proposed.term);
        Ok(proposed)
    }

    pub(super) fn last_proposed(&self) -> Proposed {
        Proposed { index: self.node.raft.raft_log.last_index(), term: self.node.raft.term }
    }

    /// Asks a majority whether this node still leads (read index, never a lease: RA-11). What was in the state before
    /// this call is the newest there is once [`Progress::confirmed`] reaches the number that this returns. Lost messages
    /// are repeated with the heartbeats; if it never comes, this node has stopped leading.
    pub fn confirm(&mut self) -> Result<u64, ProposeError> {
        if self.stopped {
            return Err(ProposeError::Stopped);
        }
        // raft-rs drops a read silently before the first commit of the term (RA-10).
        if !self.is_ready_leader() {
            return Err(ProposeError::NotLeader { leader: self.leader() });
        }
        self.asked += 1;
        self.node.read_index(self.asked.to_be_bytes().to_vec());
        Ok(self.asked)
    }

    /// Makes durable, commits and applies whatever there is. After an error the process must exit.
    pub fn pump(&mut self) -> Result<Progress<R>, Fatal> {
        if self.stopped {
            return Err(Fatal::Stopped);
        }
        let (applied, messages) = (Vec::new(), Vec::new());
        let mut progress = Progress { committed: 0, applied, replaced: false, confirmed: 0, messages };
        if let Err(fatal) = self.run(&mut progress) {
            self.stopped = true;
            return Err(fatal);
        }
        (progress.committed, progress.confirmed) = (self.applied(), self.confirmed);
        Ok(progress)
    }

    fn run(&mut self, progress: &mut Progress<R>) -> Result<(), Fatal> {
        while self.node.has_ready() {
            self.handle_ready(progress)?;
        }
        self.settle_election_timeout();
        match self.window.excess(self.truncated(), self.applied()) {
            Some(to) => self.node.mut_store().truncate(to),
            None => Ok(()),
        }
    }

    /// One Ready, by the recipe.
    fn handle_ready(&mut self, progress: &mut Progress<R>) -> Result<(), Fatal> {
        let mut ready = self.node.ready();
        assert!(ready.number() > self.ready_number, "ready numbers must rise (RA-06)");
        self.ready_number = ready.number();
        progress.messages.append(&mut ready.take_messages());
        for read in ready.take_read_states() {
            let number = <[u8; 8]>::try_from(read.request_ctx.as_slice()).map_or(0, u64::from_be_bytes);
            self.confirmed = self.confirmed.max(number);
        }
        progress.replaced |= !ready.snapshot().is_empty();
        self.node.mut_store().persist(&ready)?;
        self.window.written(ready.entries());
        // Only now: an answer to a vote or an append must not outlive what it promises (RA-07).
        progress.messages.append(&mut ready.take_persisted_messages());
        let committed = ready.take_committed_entries();
        self.apply(&committed, None, progress)?;
        let mut light = self.node.advance(ready);
        progress.messages.append(&mut light.take_messages());
        let (committed, commit) = (light.take_committed_entries(), light.commit_index());
        self.apply(&committed, commit, progress)?;
        self.node.advance_apply();
        Ok(())
    }

    fn apply(&mut self, entries: &[Entry], commit: Option<u64>, progress: &mut Progress<R>) -> Result<(), Fatal> {
        let last = entries.last().map(|entry| entry.index);
        if last.is_none() && commit.is_none() {
            return Ok(());
        }
        let (mut batch, mut conf_state) = (Batch::default(), None);
        for entry in entries {
            match entry.get_entry_type() {
                EntryType::EntryNormal => progress.applied.extend(self.apply_records(entry, &mut batch)?),
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    conf_state = Some(self.apply_conf_change(entry)?);
                }
            }
        }
        self.node.mut_store().persist_applied(batch, last, commit, conf_state)
    }

    /// The state changes of one entry; `None` for the empty one that begins a term.
    fn apply_records(&mut self, entry: &Entry, batch: &mut Batch) -> Result<Option<Applied<R>>, Fatal> {
        let own = self.own.remove(&entry.index) == Some(entry.term);
        if entry.data.is_empty() {
            return Ok(None);
        }
        let fatal = |e: keys::DecodeError| Fatal::Entry { index: entry.index, cause: e.to_string() };
        let records: Vec<R> = keys::decode_records(&entry.data).map_err(fatal)?;
        let shard = self.node.store().shard;
        for record in &records {
            match record.placement() {
                Placement::Put(family, key) => {
                    batch.put(column(family), shard.key(&key), keys::encode_records(record).map_err(fatal)?);
                }
                Placement::Delete(family, key) => batch.delete(column(family), shard.key(&key)),
                Placement::DeletePrefix(family, prefix) => batch.delete_range(shard.span(column(family), &prefix)),
            }
        }
        Ok(Some(Applied { index: entry.index, term: entry.term, own, records }))
    }

    /// The new set of voters, to be stored in the batch of this apply (RA-09).
    fn apply_conf_change(&mut self, entry: &Entry) -> Result<ConfState, Fatal> {
        let fatal = |cause: String| Fatal::Entry { index: entry.index, cause };
        let changed = if entry.get_entry_type() == EntryType::EntryConfChange {
            let change: ConfChange =
                keys::decode_proto("change of voters", &entry.data).map_err(|e| fatal(e.to_string()))?;
            self.node.apply_conf_change(&change)
        } else {
            let change: ConfChangeV2 =
                keys::decode_proto("change of voters", &entry.data).map_err(|e| fatal(e.to_string()))?;
            self.node.apply_conf_change(&change)
        };
        changed.map_err(|e| fatal(e.to_string()))
    }

    /// One tick of the owner's timer; call [`pump`](Self::pump) when it says so. Not needed by a single voter.
    pub fn tick(&mut self) -> bool {
        let mut due = !self.stopped && self.node.tick();
        if !self.stopped {
            self.settle_members();
            due |= self.node.has_ready();
        }
        self.settle_election_timeout();
        due
    }

    /// Takes in a message from another node; call [`pump`](Self::pump) afterwards. One that makes no sense here is
    /// dropped, as if the network had lost it; `false` says so.
    pub fn step(&mut self, message: Message) -> bool {
        let damaged =
            message.get_msg_type() == MessageType::MsgSnapshot && snapshot::decode(message.get_snapshot()).is_err();
        let taken = !self.stopped && !damaged && !is_forwarded(&message) && self.node.step(message).is_ok();
        self.settle_election_timeout();
        taken
    }

    /// A message to this node did not arrive (RA-13).
    pub fn report_unreachable(&mut self, node: u64) {
        self.node.report_unreachable(node);
    }

    /// How sending a snapshot to this node ended, also when it was given up (RA-13).
    pub fn report_snapshot(&mut self, node: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(node, status);
    }

    /// Gives the disk back what log truncation freed. May take long: for a quiet moment, when
    /// [`is_reclaim_due`](Self::is_reclaim_due).
    pub fn reclaim(&mut self) -> Result<(), Fatal> {
        if self.stopped {
            return Err(Fatal::Stopped);
        }
        let log = self.node.mut_store();
        let span = log.shard.log_span(0, log.truncated().saturating_add(1));
        let outcome = log.store.reclaim(&span);
        self.stopped = outcome.is_err();
        self.window.reclaimed(self.node.store().truncated());
        Ok(outcome?)
    }

    /// Enough was truncated since the last [`reclaim`](Self::reclaim).
    pub fn is_reclaim_due(&self) -> bool {
        self.window.is_reclaim_due(self.node.store().truncated())
    }

    /// Leads, and an entry of its own term is committed and applied (RL-01). Nothing is served before.
    pub fn is_ready_leader(&self) -> bool {
        !self.stopped && self.node.raft.state == StateRole::Leader && self.node.raft.apply_to_current_term()
    }

    /// Node that leads, as far as known.
    pub fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != raft::INVALID_ID)
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// Index up to which entries are in the state.
    pub fn applied(&self) -> u64 {
        self.node.store().applied()
    }

    /// Last index that is no longer in the log.
    pub fn truncated(&self) -> u64 {
        self.node.store().truncated()
    }

    /// This node.
    pub fn id(&self) -> u64 {
        self.options.node
    }

    /// The store, when the replica is done.
    pub fn into_store(self) -> S {
        self.node.raft.r.raft_log.store.store
    }

    /// The store, for faults that a test puts in.
    #[cfg(test)]
    pub(crate) fn store_mut(&mut self) -> &mut S {
        &mut self.node.mut_store().store
    }

    /// raft-rs draws timeouts for itself at every change of role; ours comes from the seed (RA-17).
    fn settle_election_timeout(&mut self) {
        let ticks = self.options.election_timeout(self.node.raft.term);
        self.node.raft.set_randomized_election_timeout(ticks);
    }
}

/// Proposals and reads go to the leader by our own way, which answers them (RA-12); what raft-rs would forward for a
/// follower, and the answers to that, come from nobody (RA-14).
fn is_forwarded(message: &Message) -> bool {
    use MessageType::{MsgPropose, MsgReadIndex, MsgReadIndexResp, MsgTransferLeader};
    matches!(message.get_msg_type(), MsgPropose | MsgReadIndex | MsgReadIndexResp | MsgTransferLeader)
}

fn column(family: Family) -> Column {
    match family {
        Family::Meta => Column::Meta,
        Family::Groups => Column::Groups,
        Family::Vlsn => Column::Vlsn,
    }
}
