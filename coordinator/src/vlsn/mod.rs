//! The VLSN machine: how far consumers are in VLSN logs, one number per consumer and log, and sequencers, which hand out
//! numbers.
//!
//! Holds: a commit never goes backwards unless it is forced to; no number of a sequencer is handed out twice, not even by
//! another node or after a restart, because the new end is a record before the numbers leave; commits of a log that is
//! deleted go with it, in the same atomic change. [`Vlsns::apply`] is the only writer of state, live and on load.
//!
//! Knows no clock, connection or partition log: a committed VLSN is never compared with what was written. Who writes a log
//! is part of the log's metadata, and how its VLSNs find their partitions too.

mod commits;
mod error;
mod record;
mod sequencers;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use pyralog_protocol::{LogId, Now, TopicId};

pub use record::{Commit, VlsnRecord};

use crate::command::{Command, Context, Reply};
use crate::effects::Effects;
use crate::metadata::Image;
use crate::record::Record;

/// Limits of the machine; none of them is a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlsnLimits {
    /// Most commits of all consumers and logs; one more gets POLICY_VIOLATION.
    pub commits: usize,
    /// Most bytes of metadata of all commits together; more gets POLICY_VIOLATION.
    pub commit_metadata_bytes: usize,
    /// Most commits in one answer; a question about more gets POLICY_VIOLATION.
    pub commits_listed: usize,
    /// Most bytes of names and metadata in one answer; a question about more gets POLICY_VIOLATION.
    pub listed_bytes: usize,
    /// Most sequencers; one more gets POLICY_VIOLATION.
    pub sequencers: usize,
}

impl Default for VlsnLimits {
    fn default() -> Self {
        Self {
            commits: 1_000_000,
            commit_metadata_bytes: 256 << 20,
            commits_listed: 100_000,
            listed_bytes: 16 << 20,
            sequencers: 100_000,
        }
    }
}

/// Commits and sequencers of a cluster; all of it hard state.
#[derive(Debug, Default)]
pub struct Vlsns {
    /// By log and consumer. No inner map is empty.
    commits: BTreeMap<TopicId, BTreeMap<String, Commit>>,
    /// How many there are in all.
    commit_count: usize,
    /// How many bytes their metadata have in all.
    metadata_bytes: usize,
    /// The first number that nobody has.
    sequencers: BTreeMap<LogId, u64>,
    limits: VlsnLimits,
}

/// Hard state alone; limits come with the process.
impl PartialEq for Vlsns {
    fn eq(&self, other: &Self) -> bool {
        let state = |of: &Self| (of.commit_count, of.metadata_bytes);
        (&self.commits, &self.sequencers, state(self)) == (&other.commits, &other.sequencers, state(other))
    }
}

impl Vlsns {
    /// Nothing committed, nothing handed out.
    pub fn new(limits: VlsnLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// One request; its reply comes in `out`. Commands of other machines are not for this one.
    pub fn handle(&mut self, ctx: &Context, command: &Command, (image, now): (&Image, Now), out: &mut Effects) {
        let reply = match command {
            Command::VlsnCommit(request) => Reply::VlsnCommit(self.commit(request, image, now, out)),
            Command::VlsnCommitted(request) => Reply::VlsnCommitted(self.committed(request, image)),
            Command::VlsnDeleteCommit(request) => Reply::VlsnDeleteCommit(self.delete_commits(request, image, out)),
            Command::SequencerReserve(request) => Reply::SequencerReserve(self.reserve(request, out)),
            Command::SequencerDescribe(request) => Reply::SequencerDescribe(self.describe_sequencers(request)),
            Command::CreateTopics(_)
            | Command::AutoCreate(_)
            | Command::DeclareLogs(_)
            | Command::DeleteTopics(_)
            | Command::CreatePartitions(_)
            | Command::AlterConfigs(_)
            | Command::IncrementalAlterConfigs(_)
            | Command::InitProducerId(_)
            | Command::WriterEpoch(_)
            | Command::RaiseEpochs(())
            | Command::JoinGroup(_)
            | Command::SyncGroup(_)
            | Command::Heartbeat(_)
            | Command::LeaveGroup(_)
            | Command::ConsumerGroupHeartbeat(_)
            | Command::ConsumerGroupDescribe(_)
            | Command::OffsetCommit(_)
            | Command::OffsetFetch(_)
            | Command::OffsetDelete(_)
            | Command::DescribeGroups(_)
            | Command::ListGroups(_)
            | Command::DeleteGroups(_) => unreachable!("not a command about VLSNs: {command:?}"),
        };
        out.reply(ctx.token, reply);
    }

    /// A log was deleted: what was committed in it goes. Gives the record for the same atomic change, where there is one.
    pub fn log_deleted(&mut self, id: TopicId) -> Option<VlsnRecord> {
        let record = self.commits.contains_key(&id).then_some(VlsnRecord::LogRemoved { id })?;
        self.apply(&record);
        Some(record)
    }

    /// Applies a record. The only writer; cannot fail.
    pub fn apply(&mut self, record: &VlsnRecord) {
        match record {
            VlsnRecord::Commit { id, consumer, commit } => {
                let old = self.commits.entry(*id).or_default().insert(consumer.clone(), commit.clone());
                self.commit_count += 1;
                self.metadata_bytes += commit.metadata_bytes();
                self.forget(old.iter());
            }
            VlsnRecord::CommitRemoved { id, consumer } => {
                let Some(of_log) = self.commits.get_mut(id) else { return };
                let old = of_log.remove(consumer);
                if of_log.is_empty() {
                    self.commits.remove(id);
                }
                self.forget(old.iter());
            }
            VlsnRecord::LogRemoved { id } => {
                let of_log = self.commits.remove(id).unwrap_or_default();
                self.forget(of_log.values());
            }
            VlsnRecord::Sequencer { name, next } => drop(self.sequencers.insert(name.clone(), *next)),
        }
    }

    /// These commits count no more.
    fn forget<'c>(&mut self, commits: impl Iterator<Item = &'c Commit>) {
        for commit in commits {
            self.commit_count -= 1;
            self.metadata_bytes -= commit.metadata_bytes();
        }
    }

    /// Applies a change and keeps its record.
    fn put(&mut self, record: VlsnRecord, records: &mut Vec<Record>) {
        self.apply(&record);
        records.push(Record::Vlsn(record));
    }
}
