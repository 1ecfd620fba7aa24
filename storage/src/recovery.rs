//! Opening a log: what the disk still holds after a clean stop, a kill, or a power loss.
//!
//! After a clean stop only the directory, `partition.meta` and the newest snapshot are read. Otherwise the batches from
//! the recovery point on are checked one by one (IO-04): sane length, CRC, offsets without a hole, epochs not falling.
//! What fails at or above the recovery point was never acknowledged and is cut; what fails below it is never cut
//! (IO-06): the log does not open and the range is named.
//!
//! What was scanned may have been written by a process that died before its sync (IO-14). It is on disk when this
//! returns, or the log says that it is not: [`Settle`]. Whatever recovery changes (a cut, a removed file) is on disk
//! before the log grows, because a power loss that brought it back would bring it back under new batches.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader};
use pyralog_protocol::{LeaderEpoch, LogOffset, Now};

use crate::compact;
use crate::compact::swap::{self, Unsettled, remove_if_there};
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile};
use crate::epochs::Epochs;
use crate::files::{FileError, read_small};
use crate::index::{Entry, VLSNS};
use crate::journal::{JournalPlace, Redo, RedoBatch, Since};
use crate::log::Log;
use crate::producers::Producers;
use crate::retention::is_grave;
use crate::segment::{DERIVED, Env, Segment, SegmentError, Trust, file_name, parse_name};
use crate::state::{PartitionMeta, Snapshot};
use crate::suspect::{RECOVERING_FILE, SYNC_FAILED_FILE};
use crate::truncation::{TRUNCATED_FILE, Truncated};
use crate::vlsn::last_vlsn_of;
use crate::walk::{Chain, Found, Stop, Walk};

/// How much of what recovery finds is synced before it returns (IO-14). What is not counts as appended and not yet synced:
/// the log's next sync covers it, and until then its recovery point stays where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Settle {
    /// All of it, and no file stays open.
    #[default]
    All,
    /// What is neither below the recovery point nor in the journal: the stable end is the log end.
    Unproven,
    /// Nothing: for a log that promises nothing over a power loss.
    Nothing,
}

/// What is known about how the log was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenHint {
    /// It was closed by [`Log::close_clean`] and nobody has opened it since.
    pub clean: bool,
    /// Everything below was synced once. Nothing below is ever cut.
    pub recovery_point: LogOffset,
    /// What is synced before the log serves.
    pub settle: Settle,
}

/// What opening did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// No batch had to be read.
    pub clean: bool,
    /// Bytes that were checked.
    pub scanned_bytes: u64,
    /// What was cut, if anything.
    pub cut: Option<Cut>,
    /// Damaged snapshots that were passed over.
    pub damaged_snapshots: u32,
    /// Batches that the segments had lost and the journal had.
    pub put_back: u64,
    /// It was synced before the open returned.
    pub synced: bool,
}

/// The tail that was cut, before anything was put back from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// New log end.
    pub at: LogOffset,
    /// Bytes that went.
    pub bytes: u64,
    /// Nothing but space that was never written to: no loss (IO-05).
    pub unwritten: bool,
    /// What did not fit.
    pub what: &'static str,
}

/// Why a log cannot be opened. It stays as it is on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no `partition.meta`: the creation did not finish. `create` may be called again.
    #[error("{0} is not a partition: partition.meta is missing")]
    NotAPartition(String),
    /// `partition.meta` is damaged or of another version.
    #[error(transparent)]
    Meta(FileError),
    /// Records that were acknowledged are damaged or missing.
    #[error("{dir}: acknowledged records {}..{} are damaged or missing: {what}", range.start, range.end)]
    Corrupt {
        /// The partition.
        dir: String,
        /// Offsets that cannot be trusted.
        range: Range<LogOffset>,
        /// What does not fit.
        what: String,
    },
    /// The disk failed.
    #[error("{dir}: {source}")]
    Io {
        /// The partition.
        dir: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What recovery goes by.
#[derive(Clone, Copy)]
struct Known {
    /// Everything below is on disk in the segments.
    point: LogOffset,
    /// Everything below that was acknowledged is on disk, in the journal at least.
    journaled: LogOffset,
    settle: Settle,
}

/// A scan under way.
struct Scan {
    point: LogOffset,
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

/// Names in a partition directory.
#[derive(Default)]
struct Listing {
    segments: Vec<LogOffset>,
    snapshots: Vec<LogOffset>,
    /// What an unfinished replacement left, and indexes without their segment.
    leftovers: Vec<String>,
    /// What a compaction left.
    swaps: Vec<String>,
    /// Of segments that had left the log when its process ended.
    graves: Vec<String>,
    /// The log was cut, or was about to be.
    truncated: bool,
    /// A process ended after a failed sync.
    suspect: bool,
    /// One ended in a recovery that had begun to change something.
    unsettled: bool,
}

impl<D: Disk> Log<D> {
    /// Opens the log in `dir`. After an unclean stop this reads what was written since the recovery point.
    pub fn open(
        disk: Arc<D>,
        dir: &str,
        config: LogConfig,
        hint: OpenHint,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_with(disk, dir, config, hint, None, now)
    }

    /// Opens the log in `dir`, and puts back what its segments lost and the journal has.
    #[expect(clippy::too_many_arguments, reason = "where it is, how it is kept, and what is known of how it was left")]
    pub fn open_with(
        disk: Arc<D>,
        dir: &str,
        config: LogConfig,
        hint: OpenHint,
        redo: Option<&Redo<D::File>>,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_trusting(Env { disk, dir: dir.to_owned(), config, trust: Trust::default() }, hint, redo, now)
    }

    pub(crate) fn open_trusting(
        env: Env<D>,
        hint: OpenHint,
        redo: Option<&Redo<D::File>>,
        now: Now,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let meta = PartitionMeta::read(&*env.disk, &env.dir).map_err(|error| match error.is_missing() {
            true => OpenError::NotAPartition(env.dir.clone()),
            false => OpenError::Meta(error),
        })?;
        let mut log = Self::empty(env, meta);
        let listing = log.list_settled()?;
        log.unsettled = listing.unsettled && !log.env.trust.recoveries;
        log.drop_files(&listing.leftovers).map_err(|e| log.io(e))?;
        for grave in &listing.graves {
            remove_if_there(&*log.env.disk, &log.env.path(grave)).map_err(|e| log.io(e))?;
        }
        if !hint.clean && log.start_may_be_new(&listing) {
            log.env.disk.sync_dir(&log.env.dir).map_err(|e| log.io(e))?;
        }
        log.add_segments(&listing, now).map_err(|e| log.io(e))?;
        if listing.truncated && !log.env.trust.truncation {
            let note = Truncated::read(&*log.env.disk, &log.env.dir).map_err(OpenError::Meta)?;
            log.truncated = Some(if note.done { note } else { log.finish_truncation(note)? });
        }
        let redo = redo.map(|redo| redo.since(log.truncated.map_or(JournalPlace::default(), |note| note.journal)));
        let flushed = redo.as_ref().map_or(LogOffset::ZERO, |redo| redo.flushed);
        // All that was left when it was cut was on disk.
        let cut = log.truncated.map_or(LogOffset::ZERO, |note| note.end);
        let point = hint.recovery_point.max(cut).max(flushed);
        log.snapshots.clone_from(&listing.snapshots);
        let mut report = RecoveryReport::default();
        if listing.suspect {
            log.write_again(point).map_err(|e| log.io(e))?;
        }
        if hint.clean && !listing.suspect && log.open_clean() {
            report.clean = true;
        } else {
            let journaled = redo.as_ref().map_or(LogOffset::ZERO, Since::end);
            let known = Known { point, journaled, settle: hint.settle };
            let batches = redo.map(|redo| redo.batches).unwrap_or_default();
            log.recover(known, batches, now, &mut report)?;
            // Whether it is, nobody knows; it is cut to its size when it is sealed.
            if let Some(active) = log.segments.last_mut() {
                active.preallocated |= log.env.config.preallocate || active.has_grown();
            }
            // Many logs are opened in a row (OP-12); what is not on disk yet keeps its descriptor.
            log.close_files(false);
        }
        log.settle_changes().map_err(|e| log.io(e))?;
        log.find_last_vlsn()?;
        log.producers.expire(log.alive_since(now));
        log.plan_flush(log.flushed_end);
        log.plan_roll();
        Ok((log, report))
    }

    pub(crate) fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { dir: self.env.dir.clone(), source }
    }

    pub(crate) fn corrupt(&self, range: Range<i64>, what: impl Into<String>) -> OpenError {
        let range = LogOffset(range.start)..LogOffset(range.end.max(range.start));
        OpenError::Corrupt { dir: self.env.dir.clone(), range, what: what.into() }
    }

    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        let mut derived = Vec::new();
        for name in self.env.disk.list(&self.env.dir)? {
            listing.segments.extend(parse_name(&name, "log"));
            listing.snapshots.extend(parse_name(&name, "snapshot"));
            derived.extend(DERIVED.iter().filter_map(|kind| Some((parse_name(&name, kind)?, *kind))));
            listing.suspect |= name == SYNC_FAILED_FILE;
            listing.truncated |= name == TRUNCATED_FILE;
            listing.unsettled |= name == RECOVERING_FILE;
            if swap::is_ours(&name) {
                listing.swaps.push(name);
            } else if is_grave(&name) {
                listing.graves.push(name);
            } else if name.ends_with(".tmp") {
                listing.leftovers.push(name);
            }
        }
        listing.segments.sort_unstable();
        listing.snapshots.sort_unstable();
        derived.retain(|(base, _)| listing.segments.binary_search(base).is_err());
        listing.leftovers.extend(derived.into_iter().map(|(base, kind)| file_name(base, kind)));
        Ok(listing)
    }

    /// What is there once the swaps of a compaction that was cut off are finished or undone.
    fn list_settled(&mut self) -> Result<Listing, OpenError> {
        let listing = self.list().map_err(|e| self.io(e))?;
        if listing.swaps.is_empty() {
            return Ok(listing);
        }
        let disk = Arc::clone(&self.env.disk);
        swap::settle(&*disk, &self.env.dir, &mut self.meta, &listing.swaps).map_err(|unsettled| match unsettled {
            Unsettled::Io(error) => self.io(error),
            Unsettled::Missing(swap) => self.corrupt(swap.base.0..swap.end.0, "a cleaned segment is missing"),
        })?;
        self.list().map_err(|e| self.io(e))
    }

    /// The segments that are there. Those wholly below the log start were deleted already, but for a crash.
    fn add_segments(&mut self, listing: &Listing, now: Now) -> io::Result<()> {
        let first = listing.segments.partition_point(|base| *base <= self.log_start()).saturating_sub(1);
        for (at, base) in listing.segments.iter().enumerate() {
            if at < first {
                self.remove_segment_files(*base)?;
                continue;
            }
            let size = self.env.disk.file_len(&self.env.path(&file_name(*base, "log")))?;
            self.segments.push(Segment::existing(*base, size, now.wall));
        }
        Ok(())
    }

    /// Whether a process may have died while it moved the log start, before that was durable: the segments below are
    /// there. It must not fall back after somebody saw it (IO-15), and no file goes before.
    fn start_may_be_new(&self, listing: &Listing) -> bool {
        let start = self.log_start();
        start > LogOffset::ZERO && listing.segments.first().is_none_or(|first| *first < start)
    }

    /// Removes what would get in the way of its successor, durably. An unfinished replacement: the next one would write
    /// into the same file, and a power loss could bring back its old content, an index or snapshot of batches that are
    /// gone, under a good name. An index without its segment: a segment of the same name may come, with other batches.
    /// It holds as well when this is cut off and done again.
    fn drop_files(&mut self, names: &[String]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let before = self.unsettled;
        self.begin_change()?;
        for name in names {
            remove_if_there(&*self.env.disk, &self.env.path(name))?;
        }
        self.env.disk.sync_dir(&self.env.dir)?;
        if before { Ok(()) } else { self.end_change() }
    }

    /// What is left to be settled where no segment was scanned: files that are gone.
    fn settle_changes(&mut self) -> io::Result<()> {
        if self.unsettled {
            self.env.disk.sync_dir(&self.env.dir)?;
        }
        self.end_change()
    }

    fn remove_segment_files(&self, base: LogOffset) -> io::Result<()> {
        for kind in DERIVED {
            remove_if_there(&*self.env.disk, &self.env.path(&file_name(base, kind)))?;
        }
        remove_if_there(&*self.env.disk, &self.env.path(&file_name(base, "log")))
    }

    /// Takes the newest snapshot as the whole truth if it fits the files exactly.
    fn open_clean(&mut self) -> bool {
        let Some(active) = self.segments.last() else { return self.snapshots.is_empty() };
        let (base, size) = (active.base, active.size);
        let Some(snapshot) = self.snapshots.last().and_then(|at| self.read_snapshot(*at)) else { return false };
        if (snapshot.active_base, snapshot.active_size) != (base, size) || snapshot.log_end < self.log_start() {
            return false;
        }
        self.log_end = snapshot.log_end;
        self.stable_end = snapshot.log_end;
        self.flushed_end = snapshot.log_end;
        self.take_over(snapshot);
        self.epochs.cut_start(self.meta.log_start);
        true
    }

    fn read_snapshot(&self, at: LogOffset) -> Option<Snapshot> {
        let path = self.env.path(&file_name(at, "snapshot"));
        let bytes = read_small(&*self.env.disk, &path).ok()?;
        Snapshot::decode(&path, &bytes).ok().filter(|snapshot| snapshot.log_end == at)
    }

    fn recover(
        &mut self,
        known: Known,
        batches: &[RedoBatch<D::File>],
        now: Now,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        let start = self.log_start();
        // What compaction wrote was synced, and is the only place where holes are legal: neither scanned nor cut.
        let point = known.point.max(self.meta.cleaned_end);
        let mut followed = None;
        match self.segments.first().map(|first| first.base) {
            None if point > start => return Err(self.corrupt(start.0..point.0, "no segment is there")),
            None => {}
            Some(first) if first > start && point > start => {
                return Err(self.corrupt(start.0..first.0.min(point.0), "the first segment is missing"));
            }
            Some(first) if first > start => {
                self.begin_change().map_err(|e| self.io(e))?;
                self.cut_segments(0, start, report, "the first segment is missing")?;
            }
            Some(_) => followed = self.scan(point, now, report)?,
        }
        let on_disk = if report.synced { self.log_end } else { point };
        self.rebuild(followed, now, report)?;
        // What the journal has may open another segment, and the cut before that is not on disk yet.
        self.flushed_end = on_disk.min(self.log_end);
        self.redo(batches, now, report)?;
        if self.log_end < start {
            // All of it was deleted, durably, before any of it was synced.
            self.begin_change().map_err(|e| self.io(e))?;
            self.cut_segments(0, start, report, "deleted records were never synced")?;
            self.rebuild(None, now, report)?;
        }
        self.flushed_end = if self.dirty.is_empty() { self.log_end } else { on_disk.min(self.log_end) };
        self.stable_end = self.flushed_end.max(known.journaled.min(self.log_end));
        self.epochs.cut_start(start);
        self.settle(known.settle, report).map_err(|e| self.io(e))
    }

    /// Syncs what has to be on disk now, and lets go of the files that nothing is to be synced in.
    fn settle(&mut self, settle: Settle, report: &mut RecoveryReport) -> io::Result<()> {
        if self.env.trust.scanned {
            (self.flushed_end, self.stable_end) = (self.log_end, self.log_end);
            self.dirty.clear();
        }
        let due = match settle {
            Settle::All => self.flushed_end < self.log_end,
            Settle::Unproven => self.stable_end < self.log_end,
            Settle::Nothing => false,
        };
        if due {
            self.sync().map_err(io::Error::other)?;
            report.synced = true;
        }
        let dirty = self.dirty.first().map_or(LogOffset::MAX, |(base, _)| *base);
        for segment in self.segments.iter_mut().filter(|segment| segment.base < dirty) {
            segment.release();
        }
        Ok(())
    }

    /// Checks everything from the recovery point on and cuts what fails. Gives what the epochs and producers rest on now.
    fn scan(
        &mut self,
        point: LogOffset,
        now: Now,
        report: &mut RecoveryReport,
    ) -> Result<Option<LogOffset>, OpenError> {
        let from = self.scan_from(point);
        let first = self.segments.partition_point(|s| s.base <= from).saturating_sub(1);
        let mut scan = Scan {
            point,
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
        self.refuse_below(scan.chain.next, point, "the file ends early")?;
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
                self.refuse_below(next.min(segment.base.0), scan.point, "a segment is missing")?;
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
                    self.refuse_below(claimed.map_or(scan.chain.next, |base| base - 1), scan.point, what)?;
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
            if let Err(stop) = scan.chain.accept(&found.header, known, cleaned_end) {
                scan.contradicted = true;
                return Err(convict(&mut walk, believed, &mut scan.chain, (position, stop)));
            }
            if scan.followed.is_some() {
                self.follow(&found.header, scan.now);
            }
            believed = known.then_some(found);
        }
    }

    /// Where the scan has reached a snapshot, epochs and producers are those of that moment.
    fn take_snapshot(&mut self, scan: &mut Scan) {
        while let Some(at) = scan.snapshots.pop_if(|at| at.0 <= scan.chain.next) {
            if at.0 == scan.chain.next
                && let Some(snapshot) = self.read_snapshot(at)
            {
                self.take_over(snapshot);
                scan.followed = Some(at);
                if let Some(epoch) = self.epochs.latest() {
                    scan.chain.confirm(epoch);
                }
            }
        }
    }

    /// Puts derived state in force that a snapshot holds.
    fn take_over(&mut self, snapshot: Snapshot) {
        self.epochs = snapshot.epochs;
        self.producers = snapshot.producers;
        self.compact.first_dirty = snapshot.first_dirty;
    }

    /// Notes a batch of the log. When it came is not known, so it counts as new.
    fn follow(&mut self, header: &BatchHeader, now: Now) {
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
        (segment.index, segment.vlsns) = (None, None);
        let derived = DERIVED.map(|kind| self.env.path(&file_name(segment.base, kind)));
        let result = segment.file(&self.env).and_then(|file| file.set_len(position));
        let removed = |()| derived.iter().try_for_each(|path| remove_if_there(&*self.env.disk, path));
        result.and_then(removed).map_err(|e| self.io(e))?;
        report.cut = Some(cut);
        Ok(())
    }

    /// Removes the segments from `at` on; the log ends at `end` then.
    fn cut_segments(
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

    /// Appends what the journal has from the log end on.
    fn redo(&mut self, batches: &[RedoBatch<D::File>], now: Now, report: &mut RecoveryReport) -> Result<(), OpenError> {
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
            let inflate_max = self.env.config.inflate_max_bytes;
            let vlsn = if self.env.config.vlsn { last_vlsn_of(&bytes, inflate_max) } else { Ok(None) };
            let vlsn = vlsn.map_err(|e| self.corrupt(batch.base.0..batch.last.0, e.to_string()))?;
            self.put_back(&header, body, vlsn, now).map_err(|e| self.io(io::Error::other(e)))?;
            report.put_back += 1;
        }
        Ok(())
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

/// What stands behind a batch that was only believed makes no sense: the length or the offsets of that one may be what is wrong.
/// Then the log ends before it, so that it is named, and nothing is cut for its sake (IO-06).
fn convict<F: DiskFile>(
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
