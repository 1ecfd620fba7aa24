//! The ledger of the strategies that keep their ceiling in their header: both mappings and the checkpoint.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::CounterError;
use crate::disk::{Disk, DiskFile};
use crate::header::{self, Mark, PAGE};
use crate::live::Live;
use crate::place::Opened;
use crate::window::{Ledger, Refusal};

/// What a failed disk operation means. A sync, and whatever is not known to be harmless, is final.
pub(crate) fn refusal(path: &Path, doing: &'static str, size: u64, error: &io::Error) -> Refusal {
    let (path, reason) = (path.to_owned(), Arc::from(error.to_string()));
    let kind = error.kind();
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        Refusal::ForNow(CounterError::DiskFull { path, reason })
    } else if kind == io::ErrorKind::FileTooLarge {
        Refusal::ForNow(CounterError::FileTooLarge { path, size, reason })
    } else {
        Refusal::ForGood(CounterError::Failed { path, doing, reason })
    }
}

pub(crate) fn final_failure(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Refusal {
    move |error| {
        let reason = Arc::from(error.to_string());
        Refusal::ForGood(CounterError::Failed { path: path.to_owned(), doing, reason })
    }
}

pub(crate) struct HeaderLedger<D: Disk> {
    disk: D,
    path: PathBuf,
    file: D::File,
    live: Option<Live<D>>,
    mark: Mark,
    limit: u64,
    /// The directory entry may not be durable yet.
    published: bool,
}

impl<D: Disk> HeaderLedger<D> {
    pub(crate) fn new(disk: &D, path: &Path, opened: Opened<D::File>, limit: u64) -> Self {
        let published = opened.header.mark.seq > 0 && !opened.adopted;
        let (file, mark) = (opened.file, opened.header.mark);
        Self { disk: disk.clone(), path: path.to_owned(), file, live: None, mark, limit, published }
    }

    pub(crate) fn with_live(mut self, live: Live<D>) -> Self {
        self.live = Some(live);
        self
    }

    fn write(&mut self, mark: Mark) -> Result<(), Refusal> {
        // Counted even if it fails: two marks of one number never differ.
        self.mark.seq = mark.seq;
        header::write_mark(&self.file, &mark).map_err(|error| refusal(&self.path, "write", PAGE, &error))?;
        self.sync()?;
        self.mark = mark;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Refusal> {
        let synced = self.live.as_ref().map_or_else(|| self.file.sync(), |live| live.sync(&self.file));
        synced.map_err(final_failure(&self.path, "sync"))
    }
}

impl<D: Disk> Ledger for HeaderLedger<D> {
    fn raise(&mut self, next: u64, _least: u64, wanted: u64) -> Result<u64, Refusal> {
        if !self.published {
            self.disk.sync_dir_of(&self.path).map_err(final_failure(&self.path, "sync the directory of"))?;
            self.published = true;
        }
        let ceiling = wanted.max(self.mark.ceiling).min(self.limit);
        self.write(Mark { seq: self.mark.seq + 1, ceiling, next: next.min(ceiling), closed: false })?;
        Ok(ceiling)
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        if self.live.is_some() { self.sync() } else { Ok(()) }
    }

    fn close(&mut self, next: u64) -> Result<(), Refusal> {
        self.write(Mark { seq: self.mark.seq + 1, ceiling: next, next, closed: true })
    }

    fn limit(&self) -> u64 {
        self.limit
    }
}
