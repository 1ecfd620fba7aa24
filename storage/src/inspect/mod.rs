//! Looking at what is on disk without a broker: is all of it what was written, and what is it?
//!
//! Holds: nothing is changed, not even by a repair that a start would make; nothing is believed that can be checked; memory
//! stays bounded by the largest batch and the index of one segment. Nobody may write to the files meanwhile.
//!
//! Not here: whether a partition belongs to a log, which only the coordinator's store knows, and that store itself.

mod traces;
mod verify;
mod view;

pub use verify::{Checked, Finding, Known, Verifier, Weight, journal_key};
pub use view::{
    BatchAt, Ending, IndexView, JournalEntry, JournalFile, JournalRound, SnapshotView, view_index, view_journal,
    view_snapshot, walk_segment,
};

/// What a file of the data folder is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Batches; needed.
    Segment,
    /// Sparse index by offset and time; derived.
    Index,
    /// Index of VLSNs; derived.
    VlsnIndex,
    /// Producers and epochs; derived.
    Snapshot,
    /// `partition.meta`; needed.
    Meta,
    /// A file of the journal.
    Journal,
    /// Anything else.
    Other,
}

impl FileKind {
    /// By the last part of a path.
    pub fn of(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        match name.rsplit_once('.') {
            _ if name == crate::META_FILE => Self::Meta,
            Some((_, "log")) => Self::Segment,
            Some((_, "index")) => Self::Index,
            Some((_, "vlsn")) => Self::VlsnIndex,
            Some((_, "snapshot")) => Self::Snapshot,
            Some((_, "journal")) => Self::Journal,
            Some(_) | None => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
