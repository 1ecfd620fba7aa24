//! The groups machine: classic groups, KIP-848 groups and committed offsets (behaviours G, N and O).
//!
//! A step takes a request or a deadline and yields records and answers. Holds: records are the only way hard state
//! changes, live and on load; a reply that needs a record leaves in the same step as the record or later (GR-08); each
//! token is answered once, or is still parked here. Rebalances, sessions and waiting requests are soft state: after a
//! restart every member gets a whole session, and a stable group goes on without a rebalance.
//!
//! Knows no socket, clock, Raft or partition log: which logs exist is asked through [`TopicView`], and a committed
//! offset is never compared with a log. Has no share groups and no streams groups, and no transactional commits.

mod admin;
pub mod consumer;
mod error;
mod hard;
mod join;
mod live;
mod member;
mod offsets;
mod promises;
mod record;
mod reply;
mod round;
mod step;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use pyralog_protocol::{LogId, MonoMs, Now, TopicId};

use self::consumer::ConsumerSettings;
use self::consumer::pattern::Patterns;
use self::consumer::watch::Watch;
use self::hard::{Group, Hard, Kind};
use self::live::{Live, Wakes};
use self::promises::Promises;
use self::step::Step;
pub use record::{Blob, Committed, GroupHead, GroupRecord, MemberJoin, Stage};

use crate::command::{Command, Context};
use crate::config::Overrides;
use crate::effects::Effects;

/// Longest group id, instance id, protocol type and protocol name, in bytes. A longer group id is refused
/// with INVALID_GROUP_ID, longer others with INVALID_REQUEST. Kafka's limit is that of the wire, 32,767.
pub const NAME_BYTES_MAX: usize = 4096;

/// What groups need to know of the rest: logs, and what is set on groups.
pub trait TopicView {
    /// Id and partition count of the log; `None` when there is no such log.
    fn topic(&self, name: &str) -> Option<(TopicId, i32)>;

    /// Name of the log with this id.
    fn name_of(&self, id: TopicId) -> Option<&str>;

    /// All logs, in any order.
    fn names(&self) -> Box<dyn Iterator<Item = &LogId> + '_>;

    /// What is set on a group.
    fn group_configs(&self, group: &str) -> Option<&Overrides>;

    /// How many partitions the log has; `None` when there is no such log.
    fn partitions(&self, name: &str) -> Option<i32> {
        self.topic(name).map(|(_, partitions)| partitions)
    }
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
    /// Settings of KIP-848 groups.
    pub consumer: ConsumerSettings,
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
            consumer: ConsumerSettings::default(),
        }
    }
}

/// The machine: all groups of one coordinator.
#[derive(Debug)]
pub struct Groups {
    settings: GroupSettings,
    hard: Hard,
    /// Of classic groups.
    live: BTreeMap<String, Live>,
    promises: Promises,
    /// Of KIP-848 groups.
    watches: BTreeMap<String, Watch>,
    wakes: Wakes,
    patterns: Patterns,
    /// Counts changes to logs, since the start.
    topic_changes: u64,
    housekeeping_due: Option<MonoMs>,
    /// The last group that the housekeeping under way looked at; none between two of them.
    housekept: Option<String>,
    /// The disk was all but full when the last request came.
    no_room: bool,
}

impl Groups {
    /// No groups yet.
    pub fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            hard: Hard::default(),
            live: BTreeMap::new(),
            promises: Promises::default(),
            watches: BTreeMap::new(),
            wakes: Wakes::default(),
            patterns: Patterns::default(),
            topic_changes: 0,
            housekeeping_due: None,
            housekept: None,
            no_room: false,
        }
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
        self.no_room = ctx.no_room.is_some();
        let mut step = Step::new(topics, now);
        step.no_room = self.no_room;
        match &cmd {
            Command::JoinGroup(r) if self.is_bridged(&r.group_id) => self.join_bridge(ctx, r, &mut step),
            Command::SyncGroup(r) if self.is_bridged(&r.group_id) => self.sync_bridge(ctx, r, &mut step),
            Command::Heartbeat(r) if self.is_bridged(&r.group_id) => self.heartbeat_bridge(ctx, r, &mut step),
            Command::LeaveGroup(r) if self.is_bridged(&r.group_id) => self.leave_bridge(ctx, r, &mut step),
            Command::JoinGroup(r) => self.join(ctx, r, &mut step),
            Command::SyncGroup(r) => self.sync(ctx, r, &mut step),
            Command::Heartbeat(r) => self.heartbeat(ctx, r, &mut step),
            Command::LeaveGroup(r) => self.leave(ctx, r, &mut step),
            Command::ConsumerGroupHeartbeat(r) => self.consumer_heartbeat(ctx, r, &mut step),
            Command::ConsumerGroupDescribe(r) => self.describe_consumers(ctx, r, &mut step),
            Command::OffsetCommit(r) => self.commit(ctx, r, &mut step),
            Command::OffsetFetch(r) => self.fetch(ctx, r, &mut step),
            Command::OffsetDelete(r) => self.delete_offsets(ctx, r, &mut step),
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
            | Command::WriterEpoch(_)
            | Command::VlsnCommit(_)
            | Command::VlsnCommitted(_)
            | Command::VlsnDeleteCommit(_)
            | Command::SequencerReserve(_)
            | Command::SequencerDescribe(_)
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
    pub fn on_deadline(&mut self, topics: &dyn TopicView, now: Now, out: &mut Effects) {
        // A wake-up that this call itself sets for now is for the next call: every group is looked at once.
        for group in self.wakes.take(now.mono) {
            let mut step = Step::new(topics, now);
            step.no_room = self.no_room;
            self.wake_group(&group, &mut step);
            self.wake_consumer(&group, &mut step);
            self.wake_for_all(&group);
            step.finish(out);
            self.settle(&group);
        }
        if self.housekeeping_due.is_some_and(|due| due <= now.mono) {
            self.keep_house(topics, now, out);
        }
    }

    /// When [`Groups::on_deadline`] wants to be called next. It may then find nothing to do yet.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.wakes.next().into_iter().chain(self.housekeeping_due).min()
    }

    /// Applies a record: live, and when loading. The only writer of hard state; cannot fail.
    pub fn apply(&mut self, record: &GroupRecord) {
        self.hard.apply(record);
    }

    /// After the last record was loaded: every member gets a whole session to show up, every rebalance its whole
    /// time. A stable group goes on as if nothing had happened.
    pub fn after_load(&mut self, topics: &dyn TopicView, now: Now) {
        (self.live, self.watches, self.wakes) = (BTreeMap::new(), BTreeMap::new(), Wakes::default());
        for (name, group) in &self.hard.groups {
            match &group.kind {
                Kind::Classic(classic) => {
                    self.live.extend(Live::after_load(classic, now.mono).map(|live| (name.clone(), live)));
                }
                Kind::Consumer(consumer) => {
                    let pace = self.settings.consumer.pace(topics.group_configs(name));
                    let watch = Watch::after_load(consumer, pace, now.mono);
                    self.watches.extend(watch.map(|watch| (name.clone(), watch)));
                }
            }
        }
        let names: Vec<String> = self.live.keys().chain(self.watches.keys()).cloned().collect();
        names.iter().for_each(|name| self.wake_for_all(name));
        let interval_ms = self.settings.retention_check_interval_ms;
        self.housekeeping_due = (!self.hard.groups.is_empty()).then(|| now.mono.after_ms(interval_ms));
    }

    /// Hard state, to be compared.
    #[cfg(all(test, feature = "raft-store"))]
    pub(crate) fn hard_text(&self) -> String {
        format!("{:?}", self.hard)
    }

    /// A log is there, is new or has changed: members that subscribe to it may get other partitions with their next
    /// heartbeat.
    pub fn topic_changed(&mut self, log: &LogId) {
        self.topic_changes += 1;
        self.patterns.topic_exists(log);
    }

    /// Logs were deleted: the offsets committed for them go. The records are applied here, and are to be stored with the
    /// deletion of the log under whose name they are.
    pub fn topics_deleted(&mut self, names: &BTreeSet<String>) -> BTreeMap<String, Vec<GroupRecord>> {
        self.topic_changes += 1;
        names.iter().for_each(|name| self.patterns.topic_deleted(name));
        self.forget_topics(names)
    }

    /// Changes hard state: applied here and now, durable before the step's answers leave.
    fn put(&mut self, record: GroupRecord, step: &mut Step<'_>) {
        self.apply(&record);
        step.record(record);
    }

    /// Writes the group's head if `change` changes it.
    fn change_head(&mut self, group: &str, step: &mut Step<'_>, change: impl FnOnce(&mut GroupHead)) {
        let old = self.hard.classic(group).map(|g| g.head.clone()).unwrap_or_default();
        let mut head = old.clone();
        change(&mut head);
        if head != old {
            self.put(GroupRecord::Head { group: group.to_string(), head }, step);
        }
    }

    fn stage(&self, group: &str) -> Stage {
        self.hard.classic(group).map_or(Stage::Empty, |g| g.head.stage)
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
        let Some(member) = self.hard.classic(group).and_then(|g| g.members.get(id)) else { return };
        let due = now.mono.after_ms(member.join.session_timeout_ms.into());
        let Some(session) = self.live.get_mut(group).and_then(|live| live.sessions.get_mut(id)) else { return };
        if session.join.is_none() && session.sync.is_none() {
            session.due = Some(due);
            self.wake_by(group, due);
        }
    }

    /// Sees to it that the group is looked at when `due` has come, or earlier.
    fn wake_by(&mut self, group: &str, due: MonoMs) {
        self.wakes.set(group, due);
    }

    fn wake_for_all(&mut self, group: &str) {
        let live = self.live.get(group).and_then(Live::due);
        let watch = self.watches.get(group).and_then(Watch::due);
        if let Some(due) = live.into_iter().chain(watch).min() {
            self.wakes.set(group, due);
        }
    }

    /// Whether requests of the classic protocol go to a KIP-848 group. One without members makes room for a classic one.
    fn is_bridged(&self, group: &str) -> bool {
        self.hard.consumer(group).is_some_and(|consumer| !consumer.members.is_empty())
    }

    /// Forgets the patterns that no group has any more.
    fn forget_patterns(&mut self) {
        let consumers = self.hard.groups.values().filter_map(|group| match &group.kind {
            Kind::Consumer(consumer) => Some(consumer),
            Kind::Classic(_) => None,
        });
        let used: BTreeSet<&str> =
            consumers.flat_map(|consumer| consumer.patterns.keys()).map(String::as_str).collect();
        self.patterns.keep_only(&used);
    }

    /// Those of these topics that no member of the group reads. Where nobody can know, that is none of them.
    fn unread<'a>(&self, group: &Group, mut topics: BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        match &group.kind {
            Kind::Classic(classic) => match classic.subscribed() {
                Some(read) => topics.retain(|topic| !read.contains(*topic)),
                None => topics.clear(),
            },
            Kind::Consumer(consumer) => {
                topics.retain(|topic| !consumer.subscribers.contains_key(*topic));
                for pattern in consumer.patterns.keys() {
                    self.patterns.take_matching(pattern, &mut topics);
                }
            }
        }
        topics
    }

    /// The end of a step: soft state of a group without members goes; else it fits the hard state.
    fn settle(&mut self, group: &str) {
        self.settle_consumer(group);
        let members = self.hard.classic(group).map_or(0, |g| g.members.len());
        let Some(live) = self.live.get(group) else {
            return assert!(members == 0, "group {group:?} has {members} members and no sessions");
        };
        let sessions = live.sessions.len();
        assert!(members == sessions, "group {group:?} has {members} members and {sessions} sessions");
        let preparing = self.stage(group) == Stage::PreparingRebalance;
        assert!(live.join.is_some() == preparing, "group {group:?} waits for joins exactly while it prepares");
        if live.is_idle() {
            self.live.remove(group);
        }
    }

    fn settle_consumer(&mut self, group: &str) {
        let consumer = self.hard.consumer(group);
        let members = consumer.map_or(0, |g| g.members.len());
        let leases = self.watches.get(group).map_or(0, |watch| watch.leases.len());
        assert!(members == leases, "group {group:?} has {members} members and {leases} leases");
        let fits = consumer.is_none_or(|g| g.head.assignment_epoch <= g.head.epoch);
        assert!(fits, "group {group:?} has an assignment for an epoch to come");
        if members == 0 {
            self.watches.remove(group);
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
        Command::ConsumerGroupHeartbeat(r) => Some(r.group_id.as_str()),
        Command::ConsumerGroupDescribe(_)
        | Command::OffsetCommit(_)
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
        | Command::WriterEpoch(_)
        | Command::VlsnCommit(_)
        | Command::VlsnCommitted(_)
        | Command::VlsnDeleteCommit(_)
        | Command::SequencerReserve(_)
        | Command::SequencerDescribe(_)
        | Command::RaiseEpochs(()) => None,
    }
}
