//! Compaction: of each key the newest record stays (`cleanup.policy=compact`).
//!
//! A round goes over the log from its start: it maps the keys of the dirty part, then writes every group of segments anew
//! without the records that a later one supersedes, and puts the new segment in the place of the old ones. Planning and
//! the renames of a [swap](Log::swap_in_after) happen with the log locked; reading, writing and syncing do not. Purity is the
//! crate's: time comes in, whoever runs a round paces it, and the order of rounds is the shell's.
//!
//! Holds:
//! * only sealed segments that are on disk and below the bound of the caller (the high watermark) are read or replaced;
//! * offsets never change; every segment still ends where the next one begins, because its last batch stays;
//! * at any crash the log has the old segments or the new one (see [`swap`]);
//! * holes lie below the `cleaned end` of `partition.meta`, which is durable before the first of them: elsewhere they are
//!   damage, and recovery neither looks at nor cuts what lies below it;
//! * a failed round leaves the log as it was, but for groups that were swapped already.
//!
//! How far the log is clean is kept in the snapshots. A snapshot at an offset is only believed by a log that reaches it,
//! so this is never believed beyond a cut; losing it costs a round over everything.

mod filter;
mod keymap;
mod log;
mod run;
mod source;
pub(crate) mod swap;
#[cfg(test)]
mod tests;

use std::io;

use pyralog_protocol::LogOffset;
use pyralog_protocol::batch::CodecError;

pub use keymap::{ENTRY_BYTES, KeyMap};
pub use log::Cleanable;
pub(crate) use log::State;
pub use run::{Compaction, Rewritten, Round};

use crate::disk::is_out_of_files;
use crate::log::Offline;

/// How a log is compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// `delete.retention.ms`: how long a tombstone stays after the first round that saw it.
    pub delete_retention_ms: u64,
    /// `min.compaction.lag.ms`: segments with a younger record are left alone.
    pub min_lag_ms: u64,
    /// `max.compaction.lag.ms`: a log with an older dirty record is due, whatever its dirty ratio.
    pub max_lag_ms: u64,
    /// `min.cleanable.dirty.ratio` in millionths: a log is due above it.
    pub min_dirty_millionths: u32,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            delete_retention_ms: 86_400_000,
            min_lag_ms: 0,
            max_lag_ms: i64::MAX.unsigned_abs(),
            min_dirty_millionths: 500_000,
        }
    }
}

/// Told how many bytes were read or written; may take its time, and says whether to go on.
pub type Pace<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// The pace said so.
    #[error("compaction was stopped")]
    Stopped,
    /// Retention, a deletion or a new policy came in between.
    #[error("the log changed while it was compacted: {0}")]
    Changed(&'static str),
    /// The disk has no room for the new segment; there may be some later.
    #[error("the disk is full: {0}")]
    DiskFull(io::Error),
    /// The disk failed. The log is as it was.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What is on disk is not what was written.
    #[error("segment {segment} is damaged at byte {position}: {what}")]
    Damaged {
        /// Base offset of the segment.
        segment: LogOffset,
        /// Byte position.
        position: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A batch takes more memory than allowed.
    #[error("the batch at offset {offset} cannot be looked into: {error}")]
    TooLarge {
        /// Its base offset.
        offset: LogOffset,
        /// Why not.
        error: CodecError,
    },
    /// A cleaned segment came out larger than a segment may be.
    #[error("the cleaned segment {segment} would have more than {limit} bytes")]
    Outgrown {
        /// Its base offset.
        segment: LogOffset,
        /// The limit.
        limit: u64,
    },
    /// A swap was decided and could not be finished. The log serves; the next start finishes it.
    #[error("the place of a cleaned segment could not be taken: {0}")]
    HalfWay(io::Error),
    /// The folder could not be synced, so nobody knows which files a power loss would leave (IO-01).
    #[error("the folder could not be synced: {0}")]
    Folder(io::Error),
    /// See [`Offline`].
    #[error(transparent)]
    Offline(#[from] Offline),
}

impl CompactError {
    /// Whether another round would most likely fare no better: the log is not tried again by this process.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Stopped | Self::Changed(_) | Self::DiskFull(_) | Self::Offline(_) => false,
            Self::Io { source, .. } => !is_out_of_files(source),
            Self::Damaged { .. }
            | Self::TooLarge { .. }
            | Self::Outgrown { .. }
            | Self::HalfWay(_)
            | Self::Folder(_) => true,
        }
    }
}
