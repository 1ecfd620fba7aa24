//! The groups machine: classic consumer groups and committed offsets (behaviours G and O).
//!
//! A step takes a request or a deadline and yields records and answers. Holds: records are the only way hard state
//! changes, live and on load; a reply that needs a record leaves in the same step as the record or later (GR-08); each
//! token is answered once, or is still parked here. Rebalances, sessions and waiting requests are soft state: after a
//! restart every member gets a whole session, and a stable group goes on without a rebalance.
//!
//! Knows no socket, clock, Raft or partition log: which logs exist is asked through [`TopicView`], and a committed
//! offset is never compared with a log. Has no KIP-848 or share groups, and no transactional commits.

mod admin;
mod error;
mod hard;
mod join;
mod live;
mod member;
mod offsets;
mod record;
mod reply;
mod round;
mod step;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use pyralog_protocol::{MonoMs, Now, TopicId};

use self::hard::Hard;
use self::live::Live;
use self::step::Step;
pub use record::{Blob, Committed, GroupHead, GroupRecord, MemberJoin, Stage};

use crate::command::{Command, Context};
use crate::effects::Effects;

/// Longest group id, instance id, protocol type and protocol name, in bytes. A longer group id is refused
/// with INVALID_GROUP_ID, longer others with INVALID_REQUEST. Kafka's limit is that of the wire, 32,767.
pub const NAME_BYTES_MAX: usize = 4096;

/// What groups need to know of logs.
pub trait TopicView {
    /// How many partitions the log has; `None` when there is no such log.
    fn partitions(&self, name: &str) -> Option<i32>;

    /// Name of the log with this id, for the request versions that name logs so.
    fn name_of(&self, id: TopicId) -> Option<&str>;
}

/// The settings of groups; the comments give the broker config and, where it differs, Kafka's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `group.max.size`: members of one group; one more gets GROUP_MAX_SIZE_REACHED. Kafka has no cap (GR-06).
    pub group_size_max: usize,
    /// `offset.metadata.max.bytes`, which counts UTF-16 units in spite of its name (O3).
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, here in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: i64,
    /// Groups in all, those included that only hold offsets. The request that would create one more gets
    /// POLICY_VIOLATION. Kafka has no such limit.
    pub groups_max: usize,
    /// Bytes of all protocols' metadata of one member, and of one assignment. More gets POLICY_VIOLATION. Kafka's
    /// limit is that of a record.
    pub member_bytes_max: usize,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            initial_rebalance_delay_ms: 3000,
            session_timeout_ms_min: 6000,
            session_timeout_ms_max: 1_800_000,
            group_size_max: 2000,
            offset_metadata_max: 4096,
            offsets_retention_ms: 10_080 * 60_000,
            retention_check_interval_ms: 600_000,
            groups_max: 100_000,
            member_bytes_max: 1 << 20,
        }
    }
}

/// The machine: all groups of one coordinator.
#[derive(Debug)]
pub struct Groups {
    settings: GroupSettings,
    hard: Hard,
    live: BTreeMap<String, Live>,
    /// One entry per group of `live` that has a deadline: its `wake`.
    wakes: BTreeSet<(MonoMs, String)>,
    housekeeping_due: Option<MonoMs>,
}

impl Groups {
    /// No groups yet.
    pub fn new(settings: GroupSettings) -> Self {
        Self { settings, hard: Hard::default(), live: BTreeMap::new(), wakes: BTreeSet::new(), housekeeping_due: None }
    }

    /// Takes other settings; they hold from the next request on.
    pub fn set_settings(&mut self, settings: GroupSettings) {
        self.settings = settings;
    }

    /// One request about groups or offsets. Its reply comes in `out`, now or in a later step.
    ///
    /// # Panics
    /// When the command is not one about groups: the node routes by command, not by what a client sent.
    #[expect(clippy::too_many_arguments, reason = "a step takes a request, the world and a place for its effects")]
    pub fn handle(&mut self, ctx: &Context, cmd: Command, topics: &dyn TopicView, now: Now, out: &mut Effects) {
        let mut step = Step::new(now);
        match &cmd {
            Command::JoinGroup(r) => self.join(ctx, r, &mut step),
            Command::SyncGroup(r) => self.sync(ctx, r, &mut step),
            Command::Heartbeat(r) => self.heartbeat(ctx, r, &mut step),
            Command::LeaveGroup(r) => self.leave(ctx, r, &mut step),
            Command::OffsetCommit(r) => self.commit(ctx, r, topics, &mut step),
            Command::OffsetFetch(r) => self.fetch(ctx, r, &mut step),
            Command::OffsetDelete(r) => self.delete_offsets(ctx, r, topics, &mut step),
            Command::DescribeGroups(r) => self.describe(ctx, r, &mut step),
            Command::ListGroups(r) => self.list(ctx, r, &mut step),
            Command::DeleteGroups(r) => self.delete(ctx, r, &mut step),
            Command::CreateTopics(_)
            | Command::AutoCreate(_)
            | Command::DeclareLogs(_)
            | Command::DeleteTopics(_)
            | Command::CreatePartitions(_)
            | Command::AlterConfigs(_)
            | Command::IncrementalAlterConfigs(_)
            | Command::InitProducerId(_)
            | Command::RaiseEpochs(()) => unreachable!("not a command about groups: {cmd:?}"),
        }
        step.finish(out);
        if let Some(group) = member_group(&cmd) {
            self.settle(group);
        }
        if self.housekeeping_due.is_none() && !self.hard.groups.is_empty() {
            self.housekeeping_due = Some(now.mono.after_ms(self.settings.retention_check_interval_ms));
        }
    }

    /// Does what is due. To be called at [`Groups::next_deadline`] or later; calling it early is harmless.
    pub fn on_deadline(&mut self, now: Now, out: &mut Effects) {
        // A wake-up that this call itself sets for now is for the next call: every group is looked at once.
        let later = self.wakes.split_off(&(MonoMs(now.mono.0.saturating_add(1)), String::new()));
        for (_, group) in std::mem::replace(&mut self.wakes, later) {
            let mut step = Step::new(now);
            self.wake_group(&group, &mut step);
            step.finish(out);
            self.settle(&group);
        }
        if self.housekeeping_due.is_some_and(|due| due <= now.mono) {
            self.keep_house(now, out);
        }
    }

    /// When [`Groups::on_deadline`] wants to be called next. It may then find nothing to do yet.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        let wake = self.wakes.first().map(|(due, _)| *due);
        wake.into_iter().chain(self.housekeeping_due).min()
    }

    /// Applies a record: live, and when loading. The only writer of hard state; cannot fail.
    pub fn apply(&mut self, record: &GroupRecord) {
        self.hard.apply(record);
    }

    /// After the last record was loaded: every member gets a whole session to show up, every rebalance its whole
    /// time. A stable group goes on as if nothing had happened.
    pub fn after_load(&mut self, now: Now) {
        self.live.clear();
        self.wakes.clear();
        for (name, group) in &self.hard.groups {
            if let Some(live) = Live::after_load(group, now.mono) {
                self.live.insert(name.clone(), live);
            }
        }
        let names: Vec<String> = self.live.keys().cloned().collect();
        names.iter().for_each(|name| self.wake_for_all(name));
        let interval_ms = self.settings.retention_check_interval_ms;
        self.housekeeping_due = (!self.hard.groups.is_empty()).then(|| now.mono.after_ms(interval_ms));
    }

    /// A log was deleted: the offsets committed for it go.
    pub fn topic_deleted(&mut self, name: &str, out: &mut Effects) {
        let mut step = Step::new(Now::default()); // removing asks for no time
        self.forget_topic(name, &mut step);
        step.finish(out);
    }

    /// Changes hard state: applied here and now, durable before the step's answers leave.
    fn put(&mut self, record: GroupRecord, step: &mut Step) {
        self.apply(&record);
        step.record(record);
    }

    /// Writes the group's head if `change` changes it.
    fn change_head(&mut self, group: &str, step: &mut Step, change: impl FnOnce(&mut GroupHead)) {
        let old = self.hard.groups.get(group).map(|g| g.head.clone()).unwrap_or_default();
        let mut head = old.clone();
        change(&mut head);
        if head != old {
            self.put(GroupRecord::Head { group: group.to_string(), head }, step);
        }
    }

    fn stage(&self, group: &str) -> Stage {
        self.hard.groups.get(group).map_or(Stage::Empty, |g| g.head.stage)
    }

    /// Also a group that so far only promised member ids exists, without members (G3).
    fn exists(&self, group: &str) -> bool {
        self.hard.groups.contains_key(group) || self.live.contains_key(group)
    }

    /// For the limit. Groups that exist only as promises count on their own.
    fn count(&self) -> usize {
        self.hard.groups.len().max(self.live.len())
    }

    /// A member gave a sign of life. While a request of it waits here it cannot die.
    fn renew_session(&mut self, group: &str, id: &str, now: Now) {
        let Some(member) = self.hard.groups.get(group).and_then(|g| g.members.get(id)) else { return };
        let due = now.mono.after_ms(member.join.session_timeout_ms.into());
        let Some(session) = self.live.get_mut(group).and_then(|live| live.sessions.get_mut(id)) else { return };
        if session.join.is_none() && session.sync.is_none() {
            session.due = Some(due);
            self.wake_by(group, due);
        }
    }

    /// Sees to it that the group is looked at when `due` has come, or earlier.
    fn wake_by(&mut self, group: &str, due: MonoMs) {
        let Some(live) = self.live.get_mut(group) else { return };
        if live.wake.is_some_and(|wake| wake <= due) {
            return;
        }
        if let Some(wake) = live.wake.replace(due) {
            self.wakes.remove(&(wake, group.to_string()));
        }
        self.wakes.insert((due, group.to_string()));
    }

    fn wake_for_all(&mut self, group: &str) {
        if let Some(due) = self.live.get(group).and_then(Live::due) {
            self.wake_by(group, due);
        }
    }

    fn forget_live(&mut self, group: &str) {
        if let Some(wake) = self.live.remove(group).and_then(|live| live.wake) {
            self.wakes.remove(&(wake, group.to_string()));
        }
    }

    /// The end of a step: soft state of a group without members goes; else it fits the hard state.
    fn settle(&mut self, group: &str) {
        let members = self.hard.groups.get(group).map_or(0, |g| g.members.len());
        let Some(live) = self.live.get(group) else {
            return assert!(members == 0, "group {group:?} has {members} members and no sessions");
        };
        let sessions = live.sessions.len();
        assert!(members == sessions, "group {group:?} has {members} members and {sessions} sessions");
        let preparing = self.stage(group) == Stage::PreparingRebalance;
        assert!(live.join.is_some() == preparing, "group {group:?} waits for joins exactly while it prepares");
        if live.is_idle() {
            self.forget_live(group);
        }
    }
}

/// The group whose members a command may have changed.
fn member_group(cmd: &Command) -> Option<&str> {
    match cmd {
        Command::JoinGroup(r) => Some(r.group_id.as_str()),
        Command::SyncGroup(r) => Some(r.group_id.as_str()),
        Command::Heartbeat(r) => Some(r.group_id.as_str()),
        Command::LeaveGroup(r) => Some(r.group_id.as_str()),
        Command::OffsetCommit(_)
        | Command::OffsetFetch(_)
        | Command::OffsetDelete(_)
        | Command::DescribeGroups(_)
        | Command::ListGroups(_)
        | Command::DeleteGroups(_)
        | Command::CreateTopics(_)
        | Command::AutoCreate(_)
        | Command::DeclareLogs(_)
        | Command::DeleteTopics(_)
        | Command::CreatePartitions(_)
        | Command::AlterConfigs(_)
        | Command::IncrementalAlterConfigs(_)
        | Command::InitProducerId(_)
        | Command::RaiseEpochs(()) => None,
    }
}
