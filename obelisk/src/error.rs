//! What can go wrong, one enum per operation. Every message says what was found and what to do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Identity, StrategyKind};

/// Why a counter was not opened. Nothing was handed out, and nothing was changed that was there before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such counter, and [`Options::create`](crate::Options::create) was switched off.
    #[error("{}: there is no counter, and creating one was not allowed", path.display())]
    Missing {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Another process, or another value in this one, has the counter open.
    #[error("{}: the counter is open already, in this process or another one; close it there first", path.display())]
    Locked {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The file is a counter of another strategy.
    #[error("{}: this is a {found} counter, asked for was {wanted}", path.display())]
    OtherStrategy {
        /// The path that was asked for.
        path: PathBuf,
        /// What the file is.
        found: StrategyKind,
        /// What was asked for.
        wanted: StrategyKind,
    },
    /// The block factor or the capacity differs from the one that the counter was created with.
    #[error("{}: the counter was created with a {what} of {stored}, which cannot be changed to {asked}", path.display())]
    OtherParameter {
        /// The path that was asked for.
        path: PathBuf,
        /// `block factor` or `capacity`.
        what: &'static str,
        /// What the counter was created with.
        stored: u64,
        /// What was asked for.
        asked: u64,
    },
    /// The file is not the one that the counter was created as: it was copied, restored or moved to another volume.
    #[error(
        "{}: this is a copy of the counter (created as {stored}, this file is {found}). If the original is never used \
         again, and handed out nothing after the copy was made, open it once with Options::adopt",
        path.display()
    )]
    Copied {
        /// The path that was asked for.
        path: PathBuf,
        /// The file that the counter was created as.
        stored: Identity,
        /// The file that was found.
        found: Identity,
    },
    /// The file is shorter than it was: somebody cut it.
    #[error(
        "{}: the file was cut: values up to {floor} may be in use, its size stands for {found}. Open it with \
         Options::floor of {floor} or more",
        path.display()
    )]
    Truncated {
        /// The path that was asked for.
        path: PathBuf,
        /// What the size stands for now.
        found: u64,
        /// Every value that may have been handed out, as far as the header knows, is below this.
        floor: u64,
    },
    /// One of the two files of a file-size counter is gone.
    #[error(
        "{}: {} is missing. Restore it, or create a new counter under another name with an Options::floor above every \
         value that was handed out",
        path.display(),
        missing.display()
    )]
    PartMissing {
        /// The path that was asked for.
        path: PathBuf,
        /// What is not there.
        missing: PathBuf,
    },
    /// The file is no counter, or it is damaged.
    #[error(
        "{}: {what}. Restore the file, or create a new counter under another name with an Options::floor above every \
         value that was handed out",
        path.display()
    )]
    Damaged {
        /// The file that is damaged.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// An option makes no sense.
    #[error("{what}")]
    Invalid {
        /// Which one, and what is allowed.
        what: String,
    },
    /// The operating system refused.
    #[error("{}: could not {doing}: {source}", path.display())]
    Io {
        /// The file that it was about.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why no value was handed out.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CounterError {
    /// The counter has no such values left. It never wraps.
    #[error("the counter is exhausted: it ends before {limit}, and what was asked for does not fit below that")]
    Exhausted {
        /// The first value that the counter can never hand out.
        limit: u64,
    },
    /// The file system, or this process's limit on file sizes, does not allow the next size. The counter can go on once
    /// that has changed.
    #[error("{}: a size of {size} bytes is not allowed here ({reason}); raise the limit, or move the counter", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The size that was refused.
        size: u64,
        /// What the system said.
        reason: Arc<str>,
    },
    /// The disk or a quota is full. The counter can go on once there is room.
    #[error("{}: no room ({reason}); the counter goes on once there is some", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: Arc<str>,
    },
    /// A write or sync failed, now or earlier. What the disk holds is not known, so that this counter hands out nothing
    /// any more. Opened again, it starts above everything that it may have handed out.
    #[error("the counter stopped for good when it could not {doing} {}: {reason}; open it again", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        reason: Arc<str>,
    },
}

impl CounterError {
    pub(crate) fn panicked() -> Self {
        let reason = Arc::from("a thread panicked there");
        Self::Failed { path: PathBuf::new(), doing: "reserve values for", reason }
    }
}
