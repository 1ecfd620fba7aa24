//! Who votes in a group, and how that changes: a newcomer learns first and votes once it has caught up; every change of
//! voters goes through joint consensus, one at a time (RL-14, RL-17, RA-09). Leaving the joint configuration is proposed
//! here, by whoever leads, because raft-rs 0.7 forgets it when the leader changes in between.
//!
//! Holds: the configuration that is in force is stored in the batch that applies its entry.

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use super::log_store::LogStore;
use super::replica::{Proposed, Replica, StateRecord};

/// Entries that a learner may lack when it is promoted. The commit needs its answer from then on, so it has to be close;
/// exactly the end is never reached under load.
const CAUGHT_UP_ENTRIES: u64 = 64;

/// One step of a change. What is given together takes effect together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// The node gets the log and has no vote.
    AddLearner(u64),
    /// A learner that has caught up gets a vote.
    Promote(u64),
    /// The node is no member any more.
    Remove(u64),
}

/// The members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who voted before the change that is under way, and whose majority is still needed. Empty: none is under way.
    pub outgoing: Vec<u64>,
    /// Who gets the log and has no vote.
    pub learners: Vec<u64>,
}

impl Members {
    fn knows(&self, node: u64) -> bool {
        [&self.voters, &self.outgoing, &self.learners].into_iter().any(|nodes| nodes.contains(&node))
    }
}

/// Why a change of members is not proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Another node leads, or this one is not ready yet.
    #[error("not the ready leader of the coordinator (leader: {leader:?})")]
    NotLeader {
        /// Who leads, as far as known.
        leader: Option<u64>,
    },
    /// One at a time, and none by a leader that is about to hand over.
    #[error("another change of members, or a new leader's first entry, is not applied yet; try again in a moment")]
    UnderWay,
    /// Nothing was asked for.
    #[error("a change of members names no node, or names node 0")]
    Nothing,
    /// It is a member already.
    #[error("node {node} is a member already")]
    Member {
        /// The node.
        node: u64,
    },
    /// Only learners are promoted.
    #[error("node {node} is not a learner; add it as a learner first")]
    NotLearner {
        /// The node.
        node: u64,
    },
    /// Its vote would hold up every commit.
    #[error("learner {node} has the log up to {matched}, {committed} is committed; it votes once it has caught up")]
    Behind {
        /// The node.
        node: u64,
        /// How far it is.
        matched: u64,
        /// How far it is to be.
        committed: u64,
    },
    /// It is no member.
    #[error("node {node} is not a member")]
    Unknown {
        /// The node.
        node: u64,
    },
    /// A leader does not remove itself.
    #[error("node {node} leads; transfer the leadership before it is removed")]
    Leader {
        /// The node.
        node: u64,
    },
    /// raft-rs took nothing more in just now.
    #[error("too much is on the way, or the leadership is being transferred; try again in a moment")]
    Dropped,
}

impl<S: LogStore, R: StateRecord> Replica<S, R> {
    /// The members as of the last applied entry.
    pub fn members(&self) -> Members {
        let conf = self.node.store().conf_state();
        let sorted = |nodes: &[u64]| {
            let mut nodes = nodes.to_vec();
            nodes.sort_unstable();
            nodes
        };
        Members {
            voters: sorted(&conf.voters),
            outgoing: sorted(&conf.voters_outgoing),
            learners: sorted(&conf.learners),
        }
    }

    /// Whether nobody else has a vote.
    pub fn is_alone(&self) -> bool {
        let conf = self.node.store().conf_state();
        conf.voters == [self.options.node] && conf.voters_outgoing.is_empty()
    }

    /// Proposes a change of members. It is in force, in its joint form, when the entry is applied; the joint form is
    /// left by itself, with the ticks after that.
    pub fn change_members(&mut self, changes: &[MemberChange]) -> Result<Proposed, MembersError> {
        if !self.is_ready_leader() {
            return Err(MembersError::NotLeader { leader: self.leader() });
        }
        let members = self.members();
        let votes = members.voters.contains(&self.options.node);
        if self.node.raft.has_pending_conf() || !members.outgoing.is_empty() || !votes {
            return Err(MembersError::UnderWay);
        }
        if changes.is_empty() {
            return Err(MembersError::Nothing);
        }
        let singles =
            changes.iter().map(|change| self.member_change(&members, *change)).collect::<Result<Vec<_>, _>>()?;
        let mut change = ConfChangeV2::default();
        change.set_transition(ConfChangeTransition::Explicit);
        change.set_changes(singles.into());
        self.node.propose_conf_change(Vec::new(), change).map_err(|_| MembersError::Dropped)?;
        Ok(self.last_proposed())
    }

    fn member_change(&self, members: &Members, change: MemberChange) -> Result<ConfChangeSingle, MembersError> {
        let (kind, node) = match change {
            MemberChange::AddLearner(node) if members.knows(node) => return Err(MembersError::Member { node }),
            MemberChange::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
            MemberChange::Promote(node) => {
                self.check_caught_up(members, node)?;
                (ConfChangeType::AddNode, node)
            }
            MemberChange::Remove(node) if !members.knows(node) => return Err(MembersError::Unknown { node }),
            MemberChange::Remove(node) if node == self.options.node => return Err(MembersError::Leader { node }),
            MemberChange::Remove(node) => (ConfChangeType::RemoveNode, node),
        };
        if node == raft::INVALID_ID {
            return Err(MembersError::Nothing);
        }
        let mut single = ConfChangeSingle { node_id: node, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        Ok(single)
    }

    fn check_caught_up(&self, members: &Members, node: u64) -> Result<(), MembersError> {
        if !members.learners.contains(&node) {
            return Err(MembersError::NotLearner { node });
        }
        let committed = self.node.raft.raft_log.committed;
        let matched = self.node.raft.prs().get(node).map_or(0, |progress| progress.matched);
        if matched.saturating_add(CAUGHT_UP_ENTRIES) < committed || matched <= self.node.store().truncated() {
            return Err(MembersError::Behind { node, matched, committed });
        }
        Ok(())
    }

    /// Asks a voter to take over, once it has all of the log; until then proposals are refused as busy. Given up after an
    /// election timeout.
    pub fn transfer_leader(&mut self, to: u64) {
        if self.is_ready_leader() && to != self.options.node && self.members().voters.contains(&to) {
            self.node.transfer_leader(to);
        }
    }

    /// With each tick: ends a joint configuration; a leader that is no voter any more hands over.
    pub(super) fn settle_members(&mut self) {
        let conf = self.node.store().conf_state();
        let (joint, votes) = (!conf.voters_outgoing.is_empty(), conf.voters.contains(&self.options.node));
        if (!joint && votes) || !self.is_ready_leader() || self.node.raft.has_pending_conf() {
            return;
        }
        if votes {
            // Refused only while the leadership is handed over; the next leader, or the next tick, proposes it again.
            let _ = self.node.propose_conf_change(Vec::new(), ConfChangeV2::default());
            return;
        }
        let matched = |node: &u64| self.node.raft.prs().get(*node).map_or(0, |progress| progress.matched);
        if let Some(heir) = conf.voters.iter().copied().max_by_key(matched) {
            self.node.transfer_leader(heir);
        }
    }
}
