//! The segment store of one partition: batches as they arrived, in segments, with everything else derived from them.
//!
//! Pure: all I/O goes through the [`Disk`] that is handed in, time comes in as `Now`, and syncs go out as [`SyncPlan`]s,
//! so that the log can go on while the disk works.
//!
//! A partition directory holds `partition.meta` (topic id, log start), `<base offset>.log` (batches, verbatim),
//! `<base offset>.index`, `<base offset>.vlsn` (of VLSN logs) and `<offset>.snapshot`. Only the first two kinds are needed: index and snapshots are written
//! without a sync, and losing any of them loses nothing but time. Leader epochs travel in the batches and are collected
//! in the snapshots, so there is no epoch file that could disagree with the log; the index serves offset and time.
//!
//! Not here: transactions, truncation for followers, who leads, what is committed.

mod allowance;
mod compact;
mod config;
mod disk;
mod epochs;
mod files;
mod index;
mod indexing;
pub mod inspect;
mod journal;
mod log;
mod newest;
mod prefetch;
mod producers;
mod read;
mod recovery;
mod retention;
mod scrub;
mod segment;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod state;
mod suspect;
#[cfg(test)]
mod tests;
mod truncation;
mod vlsn;
mod walk;

pub use allowance::{Allowance, Seen};
pub use compact::{
    Cleanable, CompactError, Compaction, CompactionConfig, ENTRY_BYTES as KEY_MAP_ENTRY_BYTES, KeyMap, Pace, Rewritten,
    Round as CompactionRound,
};
pub use config::LogConfig;
pub use disk::{Disk, DiskFile, Inodes, OpenMode, Patience, Space};
pub use files::{FileError, SMALL_FILE_MAX, read_small, replace_durably};
pub use indexing::IndexBuild;
pub use journal::{
    JOURNAL_DIR, Journal, JournalError, JournalLimits, JournalPlace, PartitionKey, Redo, RedoBatch, Replay, Round,
    prepare_file,
};
pub use log::{AppendError, Appended, Commit, DELETED_SUFFIX, Held, Log, Offline, Pending, SyncPlan, create, delete};
pub use prefetch::{Aside, Prefetch};
pub use producers::{BATCHES_KEPT, ProducerInfo, SequenceError};
pub use read::{ReadError, ReadSlice, TimestampOffset};
pub use recovery::{Cut, OpenError, OpenHint, RecoveryReport, Settle};
pub use retention::{DeleteError, Graves, Removed, Retention, Written};
pub use scrub::{Scrub, Scrubbed};
pub use state::{META_FILE, PartitionMeta, RecoveryPoints, decode_recovery_points, encode_recovery_points};
pub use truncation::{TruncateError, TruncationTarget};
pub use vlsn::{RejectedVlsn, VlsnConflict, VlsnPlace, VlsnRun, VlsnsRefused};
