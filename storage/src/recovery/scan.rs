//! The scan: batches are checked one by one from the recovery point on. What fails above it ends the log there, what
//! fails below it is told and left alone (IO-06).

use std::io;

use pyralog_protocol::batch::BatchHeader;
use pyralog_protocol::{LeaderEpoch, LogOffset, Now};

use super::{Cut, OpenError, RecoveryReport};
use crate::compact::swap::remove_if_there;
use crate::disk::{Disk, DiskFile};
use crate::index::{Entry, VLSNS};
use crate::log::Log;
use crate::segment::{DERIVED, file_name};
use crate::state::Snapshot;
use crate::walk::{Chain, Found, Stop, Walk};

/// Most bytes over which a batch is looked for that is no more than a witness: a start reads what is dirty (IO-11).
const WITNESS_BYTES_MAX: u64 = 1 << 20;

/// What is said of a batch that has another leader epoch than a snapshot knows.
pub(crate) const OTHER_EPOCH: &str = "a snapshot knows another leader epoch of it";

/// A scan under way.
struct Scan {
    point: LogOffset,
    /// What fails below is not cut.
    bound: LogOffset,
    now: Now,
    /// Where it begins in its first segment.
    start: Option<Entry>,
    chain: Chain,
    /// It ended at a batch that is good in itself.
    contradicted: bool,
    /// Snapshots that it has not reached yet, the next one last.
    snapshots: Vec<LogOffset>,
    /// Epochs and producers of the log are those of where the scan is, and rest on the snapshot at this offset, or on the
    /// beginning of the log (`i64::MIN`).
    followed: Option<LogOffset>,
}

/// What stands behind a batch that was only believed makes no sense: the length or the offsets of that one may be what is wrong.
/// Then the log ends before it, so that it is named, and nothing is cut for its sake (IO-06).
pub(super) fn convict<F: DiskFile>(
    walk: &mut Walk<'_, F>,
    believed: Option<Found>,
    chain: &mut Chain,
    (position, stop): (u64, Stop),
) -> (u64, Stop) {
    match believed.map(|believed| (walk.verify(&believed), believed)) {
        Some((Err(convicted), believed)) => {
            chain.next = chain.next.min(believed.header.base_offset);
            (believed.position, convicted)
        }
        Some((Ok(()), _)) | None => (position, stop),
    }
}

impl<D: Disk> Log<D> {
    /// Checks everything from the recovery point on and cuts what fails, if it lies above the bound. Gives what the epochs and producers rest on now.
    pub(super) fn scan(
        &mut self,
        (point, bound): (LogOffset, LogOffset),
        now: Now,
        report: &mut RecoveryReport,
    ) -> Result<Option<LogOffset>, OpenError> {
        let from = self.scan_from(point);
        let first = self.segments.partition_point(|s| s.base <= from).saturating_sub(1);
        let mut scan = Scan {
            point,
            bound,
            now,
            start: None,
            chain: Chain::from(self.segments.get(first).map_or(self.log_start().0, |s| s.base.0)),
            contradicted: false,
            snapshots: self.snapshots.iter().rev().copied().collect(),
            followed: None,
        };
        let mut stale = Vec::new();
        for (number, segment) in self.segments.iter_mut().skip(first).enumerate() {
            let hint = segment.stable_hint(&self.env, point, from);
            if hint.stale {
                stale.push(file_name(segment.base, "index"));
            }
            if self.env.config.vlsn && segment.has_stale_vlsns(&self.env, point) {
                stale.push(file_name(segment.base, VLSNS.extension));
            }
            scan.start = if number == 0 { hint.entry } else { scan.start };
        }
        if first == 0 && scan.start.is_none_or(|entry| entry.position == 0) {
            scan.followed = Some(LogOffset(i64::MIN));
        }
        if !stale.is_empty() {
            self.begin_change().map_err(|e| self.io(e))?;
        }
        for name in &stale {
            remove_if_there(&*self.env.disk, &self.env.path(name)).map_err(|e| self.io(e))?;
        }
        self.scan_segments(first, &mut scan, report)?;
        self.log_end = LogOffset(scan.chain.next);
        self.refuse_below(scan.chain.next, bound, "the file ends early")?;
        // By this recovery, or one that was cut off.
        let changed = self.unsettled;
        self.note_unsynced(if changed { LogOffset(i64::MIN) } else { point }, first).map_err(|e| self.io(e))?;
        if changed {
            self.sync().map_err(|e| self.io(io::Error::other(e)))?;
            self.end_change().map_err(|e| self.io(e))?;
            report.synced = true;
        }
        Ok(scan.followed)
    }

    /// Where a scan begins: at the newest snapshot that it may rest on, or at the recovery point if there are newer ones.
    /// Below the recovery point it only looks at headers.
    fn scan_from(&self, point: LogOffset) -> LogOffset {
        let newest = self.snapshots.last().copied().unwrap_or(LogOffset(i64::MIN));
        newest.min(point).max(self.segments.first().map_or(point, |first| first.base))
    }

    fn scan_segments(&mut self, first: usize, scan: &mut Scan, report: &mut RecoveryReport) -> Result<(), OpenError> {
        let mut at = first;
        while let Some(segment) = self.segments.get(at) {
            let next = scan.chain.next;
            if segment.base.0 != next {
                self.refuse_below(next.min(segment.base.0), scan.bound, "a segment is missing")?;
                self.begin_change().map_err(|e| self.io(e))?;
                return self.cut_segments(at, LogOffset(next), report, "a segment is missing");
            }
            match self.scan_segment(at, scan, report) {
                Ok(()) => at += 1,
                Err((_, Stop::Io(error))) => return Err(self.io(error)),
                Err((position, stop)) => {
                    let (what, unwritten) = match stop {
                        Stop::Damaged(what) => (what, false),
                        Stop::Unwritten | Stop::Io(_) => ("never written", true),
                    };
                    // Where a good batch stands, the segment does not end, whatever the one before claims to reach.
                    let follows = self.segments.get(at + 1).map(|segment| segment.base.0);
                    let claimed = follows.filter(|base| scan.contradicted && *base <= scan.chain.next);
                    self.refuse_below(claimed.map_or(scan.chain.next, |base| base - 1), scan.bound, what)?;
                    self.begin_change().map_err(|e| self.io(e))?;
                    let cut = Cut { at: LogOffset(scan.chain.next), bytes: 0, unwritten, what };
                    return self.cut_tail(at, position, cut, report);
                }
            }
        }
        Ok(())
    }

    /// Hands the scanned segments that end above `point` to the next sync, with their directory if one was created since.
    fn note_unsynced(&mut self, point: LogOffset, first: usize) -> io::Result<()> {
        let ends: Vec<LogOffset> = self.segments.iter().skip(1).map(|s| s.base).chain([self.log_end]).collect();
        for (segment, end) in self.segments.iter_mut().zip(ends).skip(first) {
            self.dir_changes += u64::from(segment.base >= point);
            if end > point {
                self.dirty.push((segment.base, segment.file(&self.env)?));
            }
        }
        Ok(())
    }

    /// Whatever is wrong below the recovery point is not ours to cut (IO-06).
    fn refuse_below(&self, next: i64, point: LogOffset, what: &str) -> Result<(), OpenError> {
        if next < point.0 && !self.env.trust.damage { Err(self.corrupt(next..point.0, what)) } else { Ok(()) }
    }

    /// Walks one segment, by headers below the recovery point and with CRCs above.
    fn scan_segment(&mut self, at: usize, scan: &mut Scan, report: &mut RecoveryReport) -> Result<(), (u64, Stop)> {
        let cleaned_end = self.meta.cleaned_end;
        let follows = self.segments.get(at + 1).map(|segment| segment.base);
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let entry = scan.start.take().unwrap_or(Entry::START);
        let start = u64::from(entry.position);
        scan.chain.next = scan.chain.next.saturating_add(i64::from(entry.relative_offset));
        let file = segment.file(&self.env).map_err(|e| (start, Stop::Io(e)))?;
        let mut walk = Walk::new(&*file, start, segment.size);
        let mut believed = None;
        loop {
            self.take_snapshot(scan);
            let position = walk.position();
            let next = walk.next().and_then(|found| {
                let Some(found) = found else { return Ok(None) };
                // By its place, and by its own word: what is torn may say anything.
                let known = scan.chain.next < scan.point.0 && found.header.last_offset() < scan.point.0;
                if !known && !self.env.trust.crc {
                    walk.verify(&found)?;
                }
                Ok(Some((found, known)))
            });
            let (found, known) = match next {
                Ok(Some(found)) => found,
                Ok(None) if follows.is_none_or(|base| base.0 == scan.chain.next) => return Ok(()),
                Ok(None) => {
                    let stop = Stop::Damaged("offset out of order");
                    let end = scan.chain.next;
                    let convicted = convict(&mut walk, believed, &mut scan.chain, (position, stop));
                    return if scan.chain.next < end { Err(convicted) } else { Ok(()) };
                }
                Err(stop) => return Err(convict(&mut walk, believed, &mut scan.chain, (position, stop))),
            };
            report.scanned_bytes += if known { 0 } else { found.size() };
            if !known
                && scan.chain.epoch() == i32::MIN
                && let Some(before) = self.batch_in_front_of(scan.chain.next)
            {
                scan.chain.begin_behind(&before);
            }
            if let Some(last) = scan.chain.contested(&found.header)
                && let Some(before) = self.batch_in_front_of(last)
            {
                scan.chain.hear(&before);
            }
            let accepted = match known || !self.is_disputed(&found.header, scan) {
                true => scan.chain.accept(&found.header, known, cleaned_end),
                false => Err(Stop::Damaged(OTHER_EPOCH)),
            };
            if let Err(stop) = accepted {
                scan.contradicted = true;
                return Err(convict(&mut walk, believed, &mut scan.chain, (position, stop)));
            }
            if scan.followed.is_some() {
                self.follow(&found.header, scan.now);
            }
            believed = known.then_some(found);
        }
    }

    /// Whether a snapshot from when the log ended behind this batch says that another leader epoch wrote it: no checksum covers
    /// that, and it would be served to nobody.
    fn is_disputed(&self, header: &BatchHeader, scan: &Scan) -> bool {
        let (last, end) = (LogOffset(header.last_offset()), LogOffset(header.last_offset().saturating_add(1)));
        let snapshot = scan.snapshots.contains(&end).then(|| self.read_snapshot(end)).flatten();
        let wrote = snapshot.and_then(|snapshot| snapshot.epochs.at(last));
        wrote.is_some_and(|wrote| wrote.0 != header.leader_epoch)
    }

    /// The batch that ends where another begins, as its header says. No checksum covers epochs: where two batches disagree, it is
    /// the third.
    fn batch_in_front_of(&mut self, offset: i64) -> Option<BatchHeader> {
        let last = LogOffset(offset - 1);
        let at = self.segments.partition_point(|s| s.base <= last).checked_sub(1)?;
        let segment = self.segments.get_mut(at)?;
        let hint = segment.stored_hint(&self.env, last).unwrap_or(Entry::START);
        let file = segment.file(&self.env).ok()?;
        let mut walk = Walk::new(&*file, u64::from(hint.position), segment.size);
        if segment.size.saturating_sub(walk.position()) > WITNESS_BYTES_MAX {
            return None;
        }
        while let Some(found) = walk.next().ok()? {
            if found.header.last_offset() >= last.0 {
                return Some(found.header).filter(|header| header.last_offset() == last.0);
            }
        }
        None
    }

    /// Where the scan has reached a snapshot, epochs and producers are those of that moment.
    fn take_snapshot(&mut self, scan: &mut Scan) {
        while let Some(at) = scan.snapshots.pop_if(|at| at.0 <= scan.chain.next) {
            if at.0 == scan.chain.next
                && let Some(snapshot) = self.read_snapshot(at)
            {
                self.take_over(snapshot);
                scan.followed = Some(at);
                if let Some(epoch) = self.epochs.at(LogOffset(at.0 - 1)) {
                    scan.chain.confirm(epoch);
                }
            }
        }
    }

    /// Puts derived state in force that a snapshot holds.
    pub(super) fn take_over(&mut self, snapshot: Snapshot) {
        self.epochs = snapshot.epochs;
        self.producers = snapshot.producers;
        self.compact.first_dirty = snapshot.first_dirty;
    }

    /// Notes a batch of the log. When it came is not known, so it counts as new.
    pub(super) fn follow(&mut self, header: &BatchHeader, now: Now) {
        self.epochs.assign(LeaderEpoch(header.leader_epoch), LogOffset(header.base_offset));
        self.producers.apply(header, now.wall, self.env.config.producers_max);
    }

    /// Cuts segment `at` at a byte position, and everything behind it.
    pub(crate) fn cut_tail(
        &mut self,
        at: usize,
        position: u64,
        mut cut: Cut,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        self.cut_segments(at + 1, cut.at, report, cut.what)?;
        let Some(segment) = self.segments.get_mut(at) else { return Ok(()) };
        let behind = report.cut.as_ref().map_or(0, |later| later.bytes);
        cut.bytes = segment.size.saturating_sub(position).saturating_add(behind);
        cut.unwritten &= behind == 0;
        segment.size = position;
        (segment.index, segment.vlsns, segment.readable) = (None, None, None);
        (segment.first_timestamp, segment.newest) = (None, None);
        let derived = DERIVED.map(|kind| self.env.path(&file_name(segment.base, kind)));
        let result = segment.file(&self.env).and_then(|file| file.set_len(position));
        let removed = |()| derived.iter().try_for_each(|path| remove_if_there(&*self.env.disk, path));
        result.and_then(removed).map_err(|e| self.io(e))?;
        report.cut = Some(cut);
        Ok(())
    }

    /// Removes the segments from `at` on; the log ends at `end` then.
    pub(super) fn cut_segments(
        &mut self,
        at: usize,
        end: LogOffset,
        report: &mut RecoveryReport,
        what: &'static str,
    ) -> Result<(), OpenError> {
        self.log_end = end;
        if at >= self.segments.len() {
            return Ok(());
        }
        let gone = self.segments.split_off(at);
        // The last one first: a crash in between leaves a log without a hole.
        for segment in gone.iter().rev() {
            self.remove_segment_files(segment.base).map_err(|e| self.io(e))?;
        }
        let bytes = gone.iter().map(|s| s.size).sum();
        report.cut = Some(Cut { at: end, bytes, unwritten: bytes == 0, what });
        self.env.disk.sync_dir(&self.env.dir).map_err(|e| self.io(e))
    }
}
