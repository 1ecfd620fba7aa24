//! What a process leaves behind that others cannot see: a page cache that cannot be believed after a failed sync, and
//! changes of a recovery that are not on disk.
//!
//! Linux counts the pages of a failed write-back as clean. Whoever reads them finds the right bytes, whoever syncs them is
//! told that all is well, and nothing of it is on the disk (IO-01). The process that saw the failure is offline by then, but
//! the next one would scan those bytes, sync them in vain and acknowledge them. So a failure leaves a note in the folder,
//! and an open that finds it writes the bytes once more, which makes them dirty again, before it relies on any.
//!
//! A recovery that cuts a log syncs that before the log grows. But if its process dies in between, the next one finds a log that needs
//! no cut, and would grow it: a power loss could then undo the cut and bring back, behind new batches, what stood there before,
//! with good checksums and at the right offsets. So a note goes in front of such changes as well, and an open that finds it syncs
//! as if it had made them.
//!
//! The notes themselves need no sync: they have to outlive the process, not the page cache. They have no content.

use std::io;

use pyralog_protocol::LogOffset;

use crate::compact::swap::remove_if_there;
use crate::disk::{Disk, DiskFile, OpenMode, is_full, read_full};
use crate::log::Log;

/// Name of the note of a failed sync.
pub(crate) const SYNC_FAILED_FILE: &str = "sync-failed";
/// Name of the note of a recovery.
pub(crate) const RECOVERING_FILE: &str = "recovering";
/// Bytes that are written at a time.
const CHUNK_BYTES: usize = 1 << 20;

impl<D: Disk> Log<D> {
    /// Leaves the note. Where not even that can be written, the disk takes nothing any more.
    pub(crate) fn distrust_cache(&self) {
        let _ = self.env.disk.open(&self.env.path(SYNC_FAILED_FILE), OpenMode::Create);
    }

    /// Leaves the note of a recovery that is about to change something.
    pub(crate) fn begin_change(&mut self) -> io::Result<()> {
        if self.unsettled {
            return Ok(());
        }
        match self.env.disk.open(&self.env.path(RECOVERING_FILE), OpenMode::Create) {
            // A full disk takes no note. Two ends of processes within one recovery are needed to miss it.
            Err(error) if !is_full(&error) => return Err(error),
            Ok(_) | Err(_) => {}
        }
        self.unsettled = true;
        Ok(())
    }

    /// Takes it away: everything that was changed is on disk.
    pub(crate) fn end_change(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.unsettled) {
            remove_if_there(&*self.env.disk, &self.env.path(RECOVERING_FILE))?;
        }
        Ok(())
    }

    /// Writes what the segments hold from a recovery point on once more, syncs it, and takes the note away.
    pub(crate) fn write_again(&mut self, point: LogOffset) -> io::Result<()> {
        let first = self.segments.partition_point(|s| s.base <= point).saturating_sub(1);
        for segment in self.segments.iter_mut().skip(first) {
            let start = segment.stored_hint(&self.env, point).map_or(0, |entry| u64::from(entry.position));
            rewrite(&*segment.file(&self.env)?, start)?;
        }
        for segment in self.segments.iter_mut().skip(first) {
            segment.file(&self.env)?.sync_data()?;
        }
        self.env.disk.sync_dir(&self.env.dir)?;
        self.env.disk.remove_file(&self.env.path(SYNC_FAILED_FILE))
    }
}

fn rewrite<F: DiskFile>(file: &F, from: u64) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = from;
    loop {
        let filled = read_full(file, &mut chunk, at)?;
        file.write_all_at([chunk.get(..filled).unwrap_or_default(), &[]], at)?;
        if filled < CHUNK_BYTES {
            return Ok(());
        }
        at += filled as u64;
    }
}
