//! Soft state: who is alive, who waits for an answer, and until when. Nothing here survives the process, and no record
//! ever changes it: the hard state is a type of its own. Deadlines are data; one wake-up per group stands in a queue and
//! may be early, never late, so that a heartbeat moves a number and no queue.

use std::collections::{BTreeMap, BTreeSet};

use pyralog_protocol::MonoMs;

use super::hard::{Classic, Member};
use super::record::Stage;
use crate::command::Token;

/// One classic group's soft state. There while the group has members, promised member ids, or a round to end.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Exactly the members of the hard group.
    pub sessions: BTreeMap<String, Session>,
    /// Ids handed out with MEMBER_ID_REQUIRED that have not come back yet, and until when they may.
    pub pending: BTreeMap<String, MonoMs>,
    /// There exactly in PreparingRebalance.
    pub join: Option<JoinPhase>,
    /// Until when members of this generation must have asked for their assignment.
    pub sync_due: Option<MonoMs>,
    /// A rebalance began before the one under way had given assignments: what members had before is not shown any more.
    pub interrupted: bool,
}

/// What PreparingRebalance waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JoinPhase {
    /// The group was empty: for time to pass since the last one came (G9), at most until `end`.
    Initial { due: MonoMs, end: MonoMs },
    /// For all members, at most until `due`.
    All { due: MonoMs },
}

/// One member's soft state.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// When the member is expelled; none while its own request waits here, for then it cannot send heartbeats.
    pub due: Option<MonoMs>,
    /// Not part of any generation yet. It knows no member id to leave with, so its wait is bounded.
    pub fresh: bool,
    /// Waiting JoinGroup.
    pub join: Option<Parked>,
    /// Waiting SyncGroup.
    pub sync: Option<Parked>,
    /// Has not sent the SyncGroup of this generation.
    pub owes_sync: bool,
}

/// A request whose answer waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    pub token: Token,
    pub version: i16,
}

impl Live {
    /// What to assume after a load: everybody is alive and still owes what the group waits for.
    pub fn after_load(group: &Classic, now: MonoMs) -> Option<Self> {
        let completing = group.head.stage == Stage::CompletingRebalance;
        let session = |member: &Member| Session {
            due: Some(now.after_ms(member.join.session_timeout_ms.into())),
            owes_sync: completing,
            ..Session::default()
        };
        let sessions: BTreeMap<String, Session> =
            group.members.iter().map(|(id, member)| (id.clone(), session(member))).collect();
        let due = now.after_ms(group.rebalance_timeout_ms().into());
        let join = (group.head.stage == Stage::PreparingRebalance).then_some(JoinPhase::All { due });
        let sync_due = completing.then(|| now.after_ms(group.sync_timeout_ms().into()));
        (join.is_some() || !sessions.is_empty()).then(|| Self { sessions, join, sync_due, ..Self::default() })
    }

    /// Whether a rebalance has nobody left to wait for.
    pub fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.sessions.values().all(|s| s.join.is_some())
    }

    /// The earliest deadline.
    pub fn due(&self) -> Option<MonoMs> {
        let join = self.join.map(|phase| match phase {
            JoinPhase::Initial { due, .. } | JoinPhase::All { due } => due,
        });
        let sessions = self.sessions.values().filter_map(|s| s.due).min();
        let pending = self.pending.values().min().copied();
        [join, sessions, pending, self.sync_due].into_iter().flatten().min()
    }

    pub fn expired_members(&self, now: MonoMs) -> Vec<String> {
        let expired = |s: &Session| s.due.is_some_and(|due| due <= now);
        self.sessions.iter().filter(|(_, s)| expired(s)).map(|(id, _)| id.clone()).collect()
    }

    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.pending.is_empty() && self.join.is_none()
    }
}

/// When which group is to be looked at: one moment per group, not after any of its deadlines.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    queue: BTreeSet<(MonoMs, String)>,
    of: BTreeMap<String, MonoMs>,
}

impl Wakes {
    /// At this moment or earlier.
    pub fn set(&mut self, group: &str, due: MonoMs) {
        match self.of.get_mut(group) {
            Some(at) if *at <= due => return,
            Some(at) => {
                self.queue.remove(&(std::mem::replace(at, due), group.to_string()));
            }
            None => {
                self.of.insert(group.to_string(), due);
            }
        }
        self.queue.insert((due, group.to_string()));
    }

    /// Takes out the groups that are to be looked at now.
    pub fn take(&mut self, now: MonoMs) -> Vec<String> {
        let later = self.queue.split_off(&(MonoMs(now.0.saturating_add(1)), String::new()));
        let due = std::mem::replace(&mut self.queue, later);
        for (_, group) in &due {
            self.of.remove(group);
        }
        due.into_iter().map(|(_, group)| group).collect()
    }

    /// When the next one is.
    pub fn next(&self) -> Option<MonoMs> {
        self.queue.first().map(|(due, _)| *due)
    }
}
