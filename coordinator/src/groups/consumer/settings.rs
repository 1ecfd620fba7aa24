//! Settings of KIP-848 groups: the broker's, and what a group sets for itself within the broker's bounds.

use super::assignor::Assignor;
use crate::config::Overrides;

/// A setting that groups may change within bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    /// Where a group sets nothing.
    pub default: i32,
    /// Lowest value that a group may set.
    pub min: i32,
    /// Highest value that a group may set.
    pub max: i32,
}

impl Bounded {
    /// What holds for a group that sets this. Bounds count also for what was set before they were tightened.
    fn in_force(self, own: Option<i32>) -> i32 {
        own.map_or(self.default, |own| own.max(self.min).min(self.max))
    }
}

/// In which directions groups may change their protocol while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// From classic to KIP-848.
    pub upgrade: bool,
    /// From KIP-848 to classic.
    pub downgrade: bool,
}

/// The settings of KIP-848 groups; the comments give the broker config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Whether `group.coordinator.rebalance.protocols` has `consumer`.
    pub enabled: bool,
    /// `group.consumer.session.timeout.ms`
    pub session_timeout_ms: Bounded,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Bounded,
    /// `group.consumer.assignment.interval.ms`
    pub assignment_interval_ms: Bounded,
    /// `group.consumer.max.size`: members of one group; one more gets GROUP_MAX_SIZE_REACHED. Kafka has no cap (GR-06).
    pub size_max: usize,
    /// `group.consumer.assignors`; the first is for groups that prefer none. Not empty.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`
    pub migration: Migration,
    /// `group.consumer.regex.refresh.interval.ms`
    pub pattern_refresh_ms: i32,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            session_timeout_ms: Bounded { default: 45_000, min: 45_000, max: 60_000 },
            heartbeat_interval_ms: Bounded { default: 5000, min: 5000, max: 15_000 },
            assignment_interval_ms: Bounded { default: 1000, min: 0, max: 15_000 },
            size_max: 2000,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: Migration { upgrade: true, downgrade: true },
            pattern_refresh_ms: 600_000,
        }
    }
}

/// What holds for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Pace {
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    pub assignment_interval_ms: i32,
}

impl ConsumerSettings {
    /// With what is set on the group itself.
    pub(in crate::groups) fn pace(&self, overrides: Option<&Overrides>) -> Pace {
        let own = |name: &str| overrides.and_then(|set| set.get(name)).and_then(|value| value.parse().ok());
        Pace {
            session_timeout_ms: self.session_timeout_ms.in_force(own("consumer.session.timeout.ms")),
            heartbeat_interval_ms: self.heartbeat_interval_ms.in_force(own("consumer.heartbeat.interval.ms")),
            assignment_interval_ms: self.assignment_interval_ms.in_force(own("consumer.assignment.interval.ms")),
        }
    }

    pub(in crate::groups) fn default_assignor(&self) -> Assignor {
        self.assignors.first().copied().unwrap_or(Assignor::Uniform)
    }
}
