//! Classic consumer groups and committed offsets.

mod record;

pub use record::{Blob, Committed, GroupHead, GroupRecord, MemberJoin, Stage};

use pyralog_protocol::{MonoMs, Now, TopicId};

use crate::command::{Command, Context};
use crate::effects::Effects;

/// Longest group id, instance id, protocol type, protocol name and member id, in bytes. A longer group id is refused
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
}

impl Groups {
    /// No groups yet.
    pub fn new(settings: GroupSettings) -> Self {
        Self { settings }
    }

    /// Takes other settings; they hold from the next request on.
    pub fn set_settings(&mut self, settings: GroupSettings) {
        self.settings = settings;
    }

    /// One request about groups or offsets. Its reply comes in `out`, now or in a later step.
    #[expect(clippy::too_many_arguments, reason = "a step takes a request, the world and a place for its effects")]
    pub fn handle(&mut self, _ctx: &Context, _cmd: Command, _topics: &dyn TopicView, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// Does what is due. To be called at [`Groups::next_deadline`] or later; calling it early is harmless.
    pub fn on_deadline(&mut self, _now: Now, _out: &mut Effects) {
        todo!()
    }

    /// When [`Groups::on_deadline`] wants to be called next.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        None
    }

    /// Applies a record: live, and when loading. The only writer of hard state; cannot fail.
    pub fn apply(&mut self, _record: &GroupRecord) {
        todo!()
    }

    /// After the last record was loaded: every member gets a whole session to show up.
    pub fn after_load(&mut self, _now: Now) {}

    /// A log was deleted: the offsets committed for it go.
    pub fn topic_deleted(&mut self, _name: &str, _out: &mut Effects) {
        todo!()
    }
}
