//! Settings of a replica: all of raft-rs's limits set by us, because its defaults are unsafe or unbounded (RA-15).

use super::error::OpenError;
use raft::{Config, ReadOnlyOption};

/// Settings of one [`Replica`](super::Replica).
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// This node; never 0 (Kafka node ids start at 0, so the caller adds 1).
    pub node: u64,
    /// Voters of a new group. Ignored once the group exists.
    pub voters: Vec<u64>,
    /// Raft group within the store; below `u32::MAX`.
    pub shard: u32,
    /// Election timeouts are drawn from it (RA-17).
    pub seed: u64,
    /// Ticks without a word from the leader before an election; drawn from `[1, 2)` times this.
    pub election_ticks: u16,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u16,
    /// Largest encoded set of records in one proposal, in bytes. Above it: [`ProposeError::TooLarge`].
    ///
    /// [`ProposeError::TooLarge`]: super::ProposeError::TooLarge
    pub max_entry_bytes: usize,
    /// Proposals in all, in bytes, that wait for their commit. Above it: [`ProposeError::Busy`].
    ///
    /// [`ProposeError::Busy`]: super::ProposeError::Busy
    pub max_uncommitted_bytes: u64,
    /// Largest message of log entries to a peer, in bytes.
    pub max_message_bytes: u64,
    /// Committed entries that are applied in one batch, in bytes.
    pub max_apply_bytes: u64,
    /// Applied entries that stay in the log for followers that lag.
    pub log_window_entries: u64,
    /// The same, in bytes; the smaller of the two counts.
    pub log_window_bytes: u64,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            node: 1,
            voters: vec![1],
            shard: 0,
            seed: 0,
            election_ticks: 10,
            heartbeat_ticks: 2,
            max_entry_bytes: 8 << 20,
            max_uncommitted_bytes: 64 << 20,
            max_message_bytes: 1 << 20,
            max_apply_bytes: 16 << 20,
            log_window_entries: 10_000,
            log_window_bytes: 64 << 20,
        }
    }
}

impl ReplicaOptions {
    /// Refuses what no group can run with.
    pub(super) fn validate(&self) -> Result<(), OpenError> {
        let refused = |why: &str| Err(OpenError::Options(why.into()));
        if self.shard == u32::MAX {
            return refused("shard 4294967295 is reserved");
        }
        if self.voters.is_empty() {
            return refused("a group needs a voter");
        }
        if self.election_ticks <= self.heartbeat_ticks || self.heartbeat_ticks == 0 {
            return refused("election_ticks must be above heartbeat_ticks, which must be above 0");
        }
        if self.node == 0 {
            return refused("node 0 is raft-rs's nobody");
        }
        Ok(())
    }

    /// What raft-rs gets.
    pub(super) fn raft_config(&self, applied: u64) -> Config {
        Config {
            id: self.node,
            election_tick: usize::from(self.election_ticks),
            heartbeat_tick: usize::from(self.heartbeat_ticks),
            applied,
            max_size_per_msg: self.max_message_bytes,
            max_inflight_msgs: 64,
            check_quorum: true,
            pre_vote: true,
            min_election_tick: usize::from(self.election_ticks),
            max_election_tick: usize::from(self.election_ticks).saturating_mul(2),
            read_only_option: ReadOnlyOption::Safe,
            skip_bcast_commit: false,
            batch_append: true,
            priority: 0,
            max_uncommitted_size: self.max_uncommitted_bytes,
            max_committed_size_per_ready: self.max_apply_bytes,
        }
    }

    /// Election timeout in ticks for a term: as random as needed between nodes, and the same in every run of a seed.
    pub(super) fn election_timeout(&self, term: u64) -> usize {
        let seed = u128::from(self.seed ^ term.rotate_left(32)) << 64 | u128::from(self.node);
        let ticks = u64::from(self.election_ticks.max(1));
        let drawn = pyralog_protocol::Draw::new(seed).next_u64() % ticks;
        usize::try_from(ticks.saturating_add(drawn)).unwrap_or(usize::MAX)
    }
}
