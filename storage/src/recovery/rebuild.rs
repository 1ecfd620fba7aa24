//! What follows from the batches of a log: what the journal has besides, and producers and epochs, from the newest
//! snapshot that can be used and the batches behind it.

use std::io;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader};
use pyralog_protocol::{LogOffset, Now};

use super::scan::convict;
use super::{OpenError, RecoveryReport};
use crate::compact;
use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::index::Entry;
use crate::journal::RedoBatch;
use crate::log::{AppendError, Log};
use crate::producers::Producers;
use crate::segment::{SegmentError, file_name};
use crate::vlsn::last_vlsn_of;
use crate::walk::{Chain, Stop, Walk};

impl<D: Disk> Log<D> {
    /// Appends what the journal has from the log end on.
    pub(super) fn redo(
        &mut self,
        batches: &[RedoBatch<D::File>],
        now: Now,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let start = self.log_start();
        for batch in batches {
            if batch.last < self.log_end {
                continue;
            }
            if self.segments.is_empty() && batch.base <= start {
                // A batch across the log start, in front of which all was deleted.
                self.log_end = batch.base;
            }
            if batch.base != self.log_end {
                return Err(self.corrupt(self.log_end.0..batch.base.0, "the journal goes on behind a gap"));
            }
            let bytes = batch.read().map_err(|e| self.io(e))?;
            let body = bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
            let header =
                BatchHeader::parse(&bytes).map_err(|e| self.corrupt(batch.base.0..batch.last.0, e.to_string()))?;
            let vlsn = if self.env.config.vlsn { last_vlsn_of(&bytes) } else { Ok(None) };
            let vlsn = vlsn.map_err(|e| self.corrupt(batch.base.0..batch.last.0, e.to_string()))?;
            match self.put_back(&header, body, vlsn, now) {
                Ok(()) => report.put_back += 1,
                Err(AppendError::Damaged { segment, what, .. }) => return Err(self.damaged_from(segment, now, what)),
                Err(error) => return Err(self.io(io::Error::other(error))),
            }
        }
        Ok(())
    }

    /// An index met damage below the recovery point, where the scan looked at nothing: names the records from there on.
    fn damaged_from(&mut self, segment: LogOffset, now: Now, what: &str) -> OpenError {
        let found = self.replay(segment, now).err();
        found.unwrap_or_else(|| self.corrupt(segment.0..self.log_end.0, what))
    }

    /// Producers and epochs: the newest snapshot that the log reaches, and the batches after it. A snapshot from before
    /// the first batch does not count: what its producers wrote since is gone, and a wrong state would refuse them where
    /// none lets them go on (ID-05). `followed` is what they rest on already: a snapshot, or the beginning of the log.
    pub(crate) fn rebuild(
        &mut self,
        followed: Option<LogOffset>,
        now: Now,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let mut base = LogOffset(i64::MIN);
        let mut snapshots = std::mem::take(&mut self.snapshots);
        let mut stale = Vec::new();
        let first = self.segments.first().map_or(self.log_end, |s| s.base);
        let mut replaced = None;
        while let Some(at) = snapshots.pop() {
            let fits = at >= first && (at <= self.log_end || self.env.trust.snapshots);
            if fits && followed != Some(at) {
                replaced = self.read_snapshot(at);
            }
            if fits && (followed == Some(at) || replaced.is_some()) {
                base = at;
                snapshots.push(at);
                break;
            }
            report.damaged_snapshots += u32::from(fits);
            stale.push(at);
        }
        self.snapshots = snapshots;
        self.drop_snapshots(&stale).map_err(|e| self.io(e))?;
        if followed == Some(base) {
            return Ok(());
        }
        (self.epochs, self.producers) = (Epochs::default(), Producers::default());
        self.compact = compact::State::default();
        if let Some(snapshot) = replaced {
            self.take_over(snapshot);
        }
        self.replay(base, now)
    }

    /// A snapshot above the log end would fit a later log of the same length but other content: its removal is durable
    /// before the log grows.
    fn drop_snapshots(&mut self, stale: &[LogOffset]) -> io::Result<()> {
        let names: Vec<String> = stale.iter().map(|at| file_name(*at, "snapshot")).collect();
        self.drop_files(&names)
    }

    /// Applies the headers from an offset on.
    fn replay(&mut self, from: LogOffset, now: Now) -> Result<(), OpenError> {
        let first = self.segments.partition_point(|s| s.base <= from).saturating_sub(1);
        let mut chain = Chain::from(from.0);
        for at in first..self.segments.len() {
            self.replay_segment(at, from, &mut chain, now).map_err(|(offset, error)| match error {
                SegmentError::Io(error) => self.io(error),
                SegmentError::Damaged { what, .. } => self.corrupt(offset..self.log_end.0, what),
            })?;
        }
        Ok(())
    }

    /// By headers alone, in the order that batches of a log have. What does not fit is named from its first offset on, see
    /// [`convict`].
    fn replay_segment(
        &mut self,
        at: usize,
        from: LogOffset,
        chain: &mut Chain,
        now: Now,
    ) -> Result<(), (i64, SegmentError)> {
        let cleaned_end = self.meta.cleaned_end;
        let follows = self.segments.get(at + 1).map(|segment| segment.base);
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let start = from.max(segment.base);
        if start >= self.log_end {
            return Ok(());
        }
        let hint = segment.stored_hint(&self.env, start).unwrap_or(Entry::START);
        let file = segment.file(&self.env).map_err(|e| (start.0, e.into()))?;
        let mut walk = Walk::new(&*file, u64::from(hint.position), segment.size);
        chain.next = segment.base.0.saturating_add(i64::from(hint.relative_offset));
        let mut believed = None;
        loop {
            let position = walk.position();
            let accepted = walk.next().and_then(|found| match found {
                Some(found) => chain.accept(&found.header, true, cleaned_end).map(|()| Some(found)),
                None if follows.is_none_or(|base| base.0 == chain.next) => Ok(None),
                None => Err(Stop::Damaged("offset out of order")),
            });
            match accepted {
                Ok(Some(found)) => {
                    if found.header.last_offset() >= from.0 {
                        self.follow(&found.header, now);
                    }
                    believed = Some(found);
                }
                Ok(None) => return Ok(()),
                Err(stop) => {
                    let (position, stop) = convict(&mut walk, believed, chain, (position, stop));
                    return Err((chain.next, SegmentError::at(position, stop)));
                }
            }
        }
    }
}
