//! The view of a VLSN log: a read-only companion `<log>.vlsn` with one partition, whose offsets are VLSNs.
//! Holds: there is a view exactly while its log is there. It is derived whenever the log changes, has no records of its
//! own, and is in the image as any other log, marked by [`LogState::view_of`]. What it holds is read from the log's
//! partitions: it has no folder, and counts as no partition.

use super::image::{Image, LogState};
use super::record::{LogMetadata, PartitionMetadata, PartitioningMode};
use pyralog_protocol::ids::LOG_NAME_MAX;
use pyralog_protocol::vlsn::{Routing, VIEW_SUFFIX};
use pyralog_protocol::{ErrorCode, LeaderEpoch, LogId, TopicId};
use std::sync::Arc;

/// Longest name of a VLSN log, in bytes: its view's name has to be legal too.
pub const VLSN_NAME_MAX: usize = LOG_NAME_MAX - VIEW_SUFFIX.len();

/// Why a view is not written to, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{view} is the read-only view of log {log}: {} {log} instead", .wish.instead())]
pub struct ReadOnlyView {
    /// The view.
    pub view: LogId,
    /// What it shows.
    pub log: LogId,
    /// What was asked for.
    pub wish: ViewWish,
}

/// What somebody wanted of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewWish {
    /// Records appended.
    Write,
    /// Records deleted.
    DeleteRecords,
    /// It gone.
    Delete,
    /// More partitions.
    Partitions,
    /// Other configs.
    Configs,
    /// Something by VLSN.
    Address,
}

impl ViewWish {
    fn instead(self) -> &'static str {
        match self {
            Self::Write => "write records keyed by VLSN to",
            Self::DeleteRecords => "delete records of",
            Self::Delete => "delete",
            Self::Partitions => "raise the partition count of",
            Self::Configs => "change the configs of",
            Self::Address => "name",
        }
    }
}

/// Name of the view of a log; `None` where it would be too long.
pub fn view_name(log: &LogId) -> Option<LogId> {
    LogId::new(&format!("{log}{VIEW_SUFFIX}")).ok()
}

/// Id of the view of a log: the log's with UUID version 8 instead of 4. So no two logs share a view's id, and no view
/// has the id of a log.
pub fn view_id(log: TopicId) -> TopicId {
    let mut bytes = log.0;
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    TopicId(bytes)
}

/// The view of a log, if it is a VLSN log.
pub(super) fn view_of(log: &LogState) -> Option<LogState> {
    let of = &log.metadata;
    of.routing.as_ref()?;
    let metadata = LogMetadata {
        log_id: view_name(&of.log_id)?,
        topic_id: view_id(of.topic_id),
        partition_count: 1,
        replication_factor: of.replication_factor,
        partitioning_mode: PartitioningMode::Static,
        retention_config: of.retention_config,
        created_at: of.created_at,
        partitions: Arc::new([partition_of(&of.partitions)]),
        routing: None,
        writer: None,
    };
    let (overrides, settings) = (log.overrides.clone(), log.settings.clone());
    Some(LogState { metadata, overrides, settings, view_of: Some(of.topic_id) })
}

/// Where the log's first partition is, with the largest leader epoch of all: what any of them may lose shows in the view.
fn partition_of(partitions: &[PartitionMetadata]) -> PartitionMetadata {
    let epoch = partitions.iter().map(|p| p.leader_epoch).max().unwrap_or(LeaderEpoch(0));
    match partitions.first() {
        Some(first) => PartitionMetadata { leader_epoch: epoch, ..first.clone() },
        None => PartitionMetadata { leader: None, leader_epoch: epoch, replicas: Vec::new(), isr: Vec::new() },
    }
}

/// Why a name is none of a VLSN log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVlsn {
    /// There is none of that name.
    #[error("there is no log {0:?}")]
    NoSuchLog(String),
    /// It is a view.
    #[error(transparent)]
    View(#[from] ReadOnlyView),
    /// It has offsets only.
    #[error("log '{0}' is not addressed by VLSN: it was created without vlsn.enable=true")]
    Plain(LogId),
}

impl NotVlsn {
    /// The code on the wire.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchLog(_) => ErrorCode::UnknownTopicOrPartition,
            Self::View(_) => ErrorCode::PolicyViolation,
            Self::Plain(_) => ErrorCode::InvalidRequest,
        }
    }
}

impl LogState {
    /// Whether this is the view of a VLSN log.
    pub fn is_view(&self) -> bool {
        self.view_of.is_some()
    }
}

impl Image {
    /// The view of the log with this id, if it is a VLSN log.
    pub fn view_of_log(&self, log: TopicId) -> Option<&Arc<LogState>> {
        self.log_by_id(view_id(log)).filter(|view| view.view_of == Some(log))
    }

    /// The VLSN log of this name, and how its VLSNs find their partitions.
    pub fn vlsn_log(&self, name: &str) -> Result<(&Arc<LogState>, &Routing), NotVlsn> {
        let log = self.log(name).ok_or_else(|| NotVlsn::NoSuchLog(name.chars().take(80).collect()))?;
        self.check_writable(log, ViewWish::Address)?;
        let routing = log.metadata.routing.as_ref();
        routing.map(|routing| (log, routing)).ok_or_else(|| NotVlsn::Plain(log.metadata.log_id.clone()))
    }

    /// The log that a view shows.
    pub fn log_of_view(&self, view: &LogState) -> Option<&Arc<LogState>> {
        self.log_by_id(view.view_of?)
    }

    /// The refusal of a change, where the log is a view.
    pub fn check_writable(&self, log: &LogState, wish: ViewWish) -> Result<(), ReadOnlyView> {
        match self.log_of_view(log) {
            None => Ok(()),
            Some(of) => {
                let (view, log) = (log.metadata.log_id.clone(), of.metadata.log_id.clone());
                Err(ReadOnlyView { view, log, wish })
            }
        }
    }
}
