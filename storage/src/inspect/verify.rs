//! Whether a partition is what was written: every batch of every segment, every index against its segment, snapshots, and
//! how far the log has to reach.
//!
//! What a start mends by itself (a torn end above the recovery point, a missing index) is told apart from damage: bytes that
//! somebody was promised and that are not there any more.

use std::collections::BTreeMap;
use std::ops::Range;

use pyralog_protocol::batch::{BatchHeader, Records, StoredBatch};
use pyralog_protocol::{LeaderEpoch, LogOffset, PartitionIndex};

use super::traces::Traces;
use crate::compact::swap;
use crate::disk::{Disk, OpenMode};
use crate::epochs::Epochs;
use crate::files::{FileError, read_small};
use crate::index::{Entry, Index, Kind, SPARSE, VLSNS};
use crate::journal::{JournalPlace, PartitionKey, Redo, RedoBatch};
use crate::recovery::OTHER_EPOCH;
use crate::retention::is_grave;
use crate::segment::{file_name, parse_name};
use crate::state::{PartitionMeta, Snapshot};
use crate::suspect::{RECOVERING_FILE, SYNC_FAILED_FILE};
use crate::truncation::{TRUNCATED_FILE, Truncated};
use crate::vlsn::bytes_of;
use crate::walk::{Chain, Found, Stop, Walk};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The next start mends it, and nothing that was acknowledged is lost by that.
    Mended,
    /// It could not be read, so nothing is known of it.
    Unread,
    /// Something that was promised is not what was written.
    Damage,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, or the folder.
    pub path: String,
    /// Byte position in it.
    pub position: Option<u64>,
    /// Offsets that are concerned.
    pub offsets: Option<Range<LogOffset>>,
    /// How bad it is.
    pub weight: Weight,
    /// What it is.
    pub what: String,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Partitions.
    pub partitions: u64,
    /// Segments.
    pub segments: u64,
    /// Batches.
    pub batches: u64,
    /// Records, by the headers of their batches.
    pub records: u64,
    /// Bytes of segments.
    pub bytes: u64,
    /// Index files.
    pub indexes: u64,
    /// Snapshots.
    pub snapshots: u64,
}

impl Checked {
    /// Adds another count.
    pub fn add(&mut self, more: Self) {
        self.partitions += more.partitions;
        self.segments += more.segments;
        self.batches += more.batches;
        self.records += more.records;
        self.bytes += more.bytes;
        self.indexes += more.indexes;
        self.snapshots += more.snapshots;
    }
}

/// What is known of how far a log has to reach.
pub struct Known<'a, F> {
    /// The folder was closed in order: everything is in the segments.
    pub clean: bool,
    /// Everything below was on disk in the segments once.
    pub recovery_point: LogOffset,
    /// What the journal has.
    pub redo: Option<&'a Redo<F>>,
}

/// Name of a partition in the journal, from the name of its folder.
pub fn journal_key(dir: &str, meta: &PartitionMeta) -> Option<PartitionKey> {
    let index = dir.rsplit_once('-')?.1.parse().ok()?;
    Some(PartitionKey { topic: meta.topic_id, index: PartitionIndex(index) })
}

/// Verifies partitions, and collects what it finds.
pub struct Verifier<'a, D: Disk> {
    disk: &'a D,
    /// Inflates batches and reads every record.
    records: bool,
    /// Told of bytes that were read; says whether to go on.
    progress: &'a dyn Fn(u64) -> bool,
    /// What was looked at.
    pub checked: Checked,
    /// What is not as it should be, in the order it was found.
    pub findings: Vec<Finding>,
}

/// An index beside the walk over its segment.
struct Beside {
    path: String,
    kind: Kind,
    index: Index,
    /// The next entry that has to name a batch.
    next: usize,
    /// It was seen that the batches up to where it ends agree with its header.
    ended: bool,
    wrong: Option<(u64, &'static str)>,
}

/// What the batches in front of a place say of it.
#[derive(Clone, Copy)]
struct Here {
    /// Offset after the last record in front of it.
    next: i64,
    /// Offset of the batch that begins there: above `next` where compaction has taken what was between them.
    first: i64,
    /// The largest timestamp in front of it.
    max: i64,
}

impl Beside {
    /// A batch begins here, or the segment ends. `here`: what is known of the place, unless damage hides it.
    fn at(&mut self, position: u64, base: i64, here: Option<Here>) {
        let sparse = self.kind == SPARSE;
        let Some(Here { next, first, max }) = here else {
            self.ended |= position == self.index.covered;
            self.next +=
                usize::from(self.index.entries.get(self.next).is_some_and(|e| u64::from(e.position) <= position));
            return;
        };
        if position == self.index.covered {
            self.ended = true;
            if self.index.next_offset != next || sparse && self.index.max != max {
                self.wrong.get_or_insert((position, "what it covers ends otherwise"));
            }
        }
        let Some(Entry { relative_offset, position: named, max_before }) = self.index.entries.get(self.next).copied()
        else {
            return;
        };
        if u64::from(named) > position {
            return;
        }
        self.next += 1;
        let agrees = base.saturating_add(i64::from(relative_offset)) == first && (!sparse || max_before == max);
        if u64::from(named) < position || !agrees {
            self.wrong.get_or_insert((position, "an entry names another batch than the one that is there"));
        }
    }
}

/// Where the walk is.
struct Place<'a> {
    chain: Chain,
    /// Below this everything was promised.
    promised: LogOffset,
    /// Below this a start believes epochs and offsets.
    believed: LogOffset,
    cleaned_end: LogOffset,
    /// Findings of the batches before this that cannot be believed: where their offsets end is known with the next one.
    unsure: Vec<usize>,
    /// What wrote which part of the log, where that is known: no checksum covers it.
    epochs: Option<&'a Epochs>,
    /// Where the log ended at an offset of a snapshot: segments, and their bytes.
    ends: BTreeMap<LogOffset, Vec<(LogOffset, u64)>>,
    /// Leader epochs of the batches in front of snapshots, by the word of these.
    said: BTreeMap<LogOffset, LeaderEpoch>,
}

impl<'a, D: Disk> Verifier<'a, D> {
    /// One that has seen nothing yet. `progress` is told of bytes that were read, and says whether to go on.
    pub fn new(disk: &'a D, records: bool, progress: &'a dyn Fn(u64) -> bool) -> Self {
        Self { disk, records, progress, checked: Checked::default(), findings: Vec::new() }
    }

    /// Whether everything that was promised is there.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.weight == Weight::Mended)
    }

    fn tell(&mut self, path: &str, position: Option<u64>, weight: Weight, what: impl Into<String>) -> &mut Finding {
        let finding = Finding { path: path.to_owned(), position, offsets: None, weight, what: what.into() };
        self.findings.push(finding);
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn damage(&mut self, path: &str, position: Option<u64>, offsets: Range<i64>, what: impl Into<String>) {
        let offsets = LogOffset(offsets.start)..LogOffset(offsets.end.max(offsets.start));
        self.tell(path, position, Weight::Damage, what).offsets = Some(offsets);
    }

    fn mended(&mut self, path: &str, position: Option<u64>, what: impl Into<String>) {
        self.tell(path, position, Weight::Mended, what);
    }

    /// Verifies the partition in `dir`. `known` says how far its log has to reach, from what its meta says.
    pub fn partition<'k>(
        &mut self,
        dir: &str,
        known: impl FnOnce(&PartitionMeta) -> Known<'k, D::File>,
    ) -> std::io::Result<()>
    where
        D: 'k,
    {
        self.checked.partitions += 1;
        let meta = match PartitionMeta::read(self.disk, dir) {
            Ok(meta) => meta,
            Err(error) if error.is_missing() && numbers(&self.disk.list(dir)?, "log").is_empty() => {
                self.mended(dir, None, "there is nothing in it: its creation did not finish");
                return Ok(());
            }
            Err(error) if error.is_missing() => {
                self.tell(dir, None, Weight::Damage, "partition.meta is missing, and there are segments: it is lost");
                return Ok(());
            }
            Err(error) => {
                self.tell(dir, None, weight_of(&error), error.to_string());
                return Ok(());
            }
        };
        let known = known(&meta);
        let Some(truncated) = self.truncated(dir) else { return Ok(()) };
        let place = truncated.map_or(JournalPlace::default(), |note| note.journal);
        let redo = known.redo.filter(|_| !known.clean).map(|redo| redo.since(place));
        let least = truncated.map_or(known.recovery_point, |note| note.end.max(known.recovery_point));
        let point = redo.as_ref().map_or(least, |redo| redo.flushed.max(least));
        let bound = redo.as_ref().map_or(point, |redo| redo.promised.max(point));
        let promised = if known.clean { LogOffset::MAX } else { bound.max(meta.cleaned_end) };
        let names = self.disk.list(dir)?;
        let (segments, snapshots) = (numbers(&names, "log"), numbers(&names, "snapshot"));
        self.leftovers(dir, &names, &segments);
        let first = segments.partition_point(|base| *base <= meta.log_start).saturating_sub(1);
        self.below_start(dir, segments.iter().take(first));
        let segments = segments.get(first..).unwrap_or_default();
        let begin = segments.first().copied().unwrap_or(meta.log_start);
        if begin > meta.log_start && bound > meta.log_start {
            self.damage(dir, None, meta.log_start.0..begin.0, "the first segment is missing");
        }
        let mut place = Place {
            chain: Chain::from(begin.0),
            promised,
            believed: if known.clean { LogOffset(i64::MIN) } else { point.max(meta.cleaned_end) },
            cleaned_end: meta.cleaned_end,
            unsure: Vec::new(),
            epochs: None,
            ends: snapshots.iter().map(|at| (*at, Vec::new())).collect(),
            said: snapshots.iter().filter_map(|at| Some((*at, self.epoch_of_snapshot(dir, *at)?))).collect(),
        };
        for (number, base) in segments.iter().enumerate() {
            self.resume(&mut place, base.0);
            if base.0 != place.chain.next {
                let gap = place.chain.next..base.0;
                let what = "the segment before it ends elsewhere: records are missing";
                self.broken((&path(dir, *base, "log"), None), &place, gap, what);
                place.chain = Chain::from(base.0);
            }
            let size = self.disk.file_len(&path(dir, *base, "log"))?;
            self.segment((dir, *base, size), number + 1 == segments.len(), false, &mut place)?;
        }
        let batches = redo.as_ref().map(|redo| redo.batches).unwrap_or_default();
        let end = self.with_journal(dir, place.chain.next, batches);
        let least = if known.clean { known.recovery_point } else { bound.max(meta.cleaned_end) };
        if end < least.0 {
            self.damage(dir, None, end..least.0, format!("the log ends at {end} and was on disk up to {least}"));
        }
        for at in snapshots {
            self.snapshot(dir, at, end, &place);
        }
        Ok(())
    }

    /// What the folder says of the log's being cut. None: it cannot be read.
    fn truncated(&mut self, dir: &str) -> Option<Option<Truncated>> {
        match Truncated::read(self.disk, dir) {
            Ok(note) if note.done => Some(Some(note)),
            Ok(note) => {
                let path = format!("{dir}/{TRUNCATED_FILE}");
                self.mended(&path, None, "the log was being cut: the next start finishes that");
                Some(Some(note))
            }
            Err(error) if error.is_missing() => Some(None),
            Err(error) => {
                self.tell(dir, None, weight_of(&error), error.to_string());
                None
            }
        }
    }

    fn below_start<'b>(&mut self, dir: &str, bases: impl Iterator<Item = &'b LogOffset>) {
        for base in bases {
            self.mended(
                &path(dir, *base, "log"),
                None,
                "lies below the log start: it was deleted, and goes at the next start",
            );
        }
    }

    /// Verifies one segment of so many bytes that ends where the next one begins, and leaves the page cache as it was.
    pub(crate) fn sealed(
        &mut self,
        dir: &str,
        base: LogOffset,
        (size, end): (u64, LogOffset),
        (cleaned_end, epochs): (LogOffset, &Epochs),
    ) -> std::io::Result<()> {
        let (promised, believed) = (LogOffset::MAX, LogOffset(i64::MIN));
        let (chain, unsure, ends, said) = (Chain::from(base.0), Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut place = Place { chain, promised, believed, cleaned_end, unsure, epochs: Some(epochs), ends, said };
        let found = self.findings.len();
        self.segment((dir, base, size), false, true, &mut place)?;
        self.resume(&mut place, end.0);
        if place.chain.next != end.0 && self.findings.len() == found {
            let log = path(dir, base, "log");
            self.damage(&log, None, place.chain.next..end.0, "it ends elsewhere than the next segment begins");
        }
        // Where the walk ended, what follows is not to be read.
        for offsets in self.findings.iter_mut().skip(found).filter_map(|finding| finding.offsets.as_mut()) {
            if offsets.end <= offsets.start {
                *offsets = offsets.start.min(end)..end;
            }
        }
        Ok(())
    }

    /// Something that does not fit: damage of what was promised, or an end that a start cuts.
    fn broken(&mut self, (path, position): (&str, Option<u64>), place: &Place<'_>, offsets: Range<i64>, what: &str) {
        if place.chain.next < place.promised.0 {
            self.damage(path, position, offsets, what);
        } else {
            self.mended(
                path,
                position,
                format!("{what}; it lies above the recovery point and is cut at the next start"),
            );
        }
    }

    /// Behind batches that are not to be believed: here something is again.
    fn resume(&mut self, place: &mut Place<'_>, at: i64) {
        if place.unsure.is_empty() || at < place.chain.next {
            return;
        }
        for number in place.unsure.drain(..) {
            if let Some(offsets) = self.findings.get_mut(number).and_then(|finding| finding.offsets.as_mut()) {
                offsets.end = LogOffset(at);
            }
        }
        place.chain = Chain::from(at);
    }

    fn segment(
        &mut self,
        (dir, base, size): (&str, LogOffset, u64),
        last: bool,
        traceless: bool,
        place: &mut Place<'_>,
    ) -> std::io::Result<()> {
        let log = path(dir, base, "log");
        let file = self.disk.open(&log, OpenMode::Read)?;
        let mut traces = traceless.then(|| Traces::new(&file));
        let mut beside = [SPARSE, VLSNS].map(|kind| self.beside(dir, base, kind));
        let mut walk = Walk::new(&file, 0, size);
        let (mut max, mut whole) = (Some(i64::MIN), true);
        loop {
            let position = walk.position();
            if let Some(traces) = &mut traces {
                traces.passed(&file, position);
            }
            let at = LogOffset(place.chain.next);
            if let Some(ends) = place.ends.get_mut(&at) {
                ends.push((base, position));
            }
            if let Some(epoch) = place.said.get(&at) {
                place.chain.confirm(*epoch);
            }
            let found = walk.next();
            let next = place.chain.next;
            let first = match &found {
                Ok(Some(found)) if (next..place.cleaned_end.0).contains(&found.header.base_offset) => {
                    found.header.base_offset
                }
                _ => next,
            };
            let here = max.map(|max| Here { next, first, max });
            for index in beside.iter_mut().flatten() {
                index.at(position, base.0, here);
            }
            let found = match found {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(Stop::Io(error)) => return Err(error),
                Err(stop) => {
                    whole = false;
                    let what = match stop {
                        Stop::Unwritten if last => "space that was never written to",
                        Stop::Unwritten => "zeros in front of another segment",
                        Stop::Damaged(what) => what,
                        Stop::Io(_) => "the disk failed",
                    };
                    self.broken((&log, Some(position)), place, next..next, what);
                    break;
                }
            };
            if !(self.progress)(found.size()) {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            let sound = self.batch((&log, &file), &mut walk, &found, place)?;
            max = max.filter(|_| sound).map(|max| max.max(found.header.max_timestamp));
        }
        if let Some(traces) = traces {
            traces.forget(&file);
        }
        self.checked.segments += 1;
        self.checked.bytes += size;
        for index in beside.into_iter().flatten() {
            self.index(index, size, whole);
        }
        Ok(())
    }

    fn batch(
        &mut self,
        (log, file): (&str, &D::File),
        walk: &mut Walk<'_, D::File>,
        found: &Found,
        place: &mut Place<'_>,
    ) -> std::io::Result<bool> {
        let header = &found.header;
        let offsets = header.base_offset..header.last_offset().saturating_add(1);
        self.checked.batches += 1;
        self.checked.records += u64::try_from(header.record_count).unwrap_or(0);
        if let Err(stop) = walk.verify(found) {
            let what = match stop {
                Stop::Io(error) => return Err(error),
                Stop::Damaged(what) => what,
                Stop::Unwritten => "unwritten",
            };
            let start = place.chain.next;
            place.unsure.push(self.findings.len());
            self.broken((log, Some(found.position)), place, start..start, what);
            return Ok(false);
        }
        self.resume(place, header.base_offset);
        if self.records
            && let Err(what) = read_records(&bytes_of(file, found)?)
        {
            self.broken((log, Some(found.position)), place, offsets.clone(), &what);
        }
        // As a start does: what was not acknowledged is never believed against what was.
        let believed = header.last_offset() < place.believed.0;
        let said = place.said.get(&LogOffset(offsets.end));
        let disputed = said.is_some_and(|said| said.0 != header.leader_epoch);
        let accepted = match believed || !disputed {
            true => place.chain.accept(header, believed, place.cleaned_end),
            false => Err(Stop::Damaged(OTHER_EPOCH)),
        };
        if let Err(stop) = accepted {
            // No checksum covers the base offset and the epoch: whether they are wrong or something is missing, the next one tells.
            let what = if let Stop::Damaged(what) = stop { what } else { "out of order" };
            let start = place.chain.next;
            place.unsure.push(self.findings.len());
            self.broken((log, Some(found.position)), place, start..start, what);
            return Ok(false);
        }
        if disputed {
            // No start looks for that below the recovery point.
            self.damage(log, Some(found.position), offsets.clone(), format!("{OTHER_EPOCH}: it is served to nobody"));
        }
        let wrote = place.epochs.and_then(|epochs| epochs.at(LogOffset(header.base_offset)));
        if wrote.is_some_and(|wrote| wrote.0 != header.leader_epoch) {
            self.broken((log, Some(found.position)), place, offsets, "another leader epoch wrote this");
            return Ok(false);
        }
        Ok(true)
    }

    fn beside(&mut self, dir: &str, base: LogOffset, kind: Kind) -> Option<Beside> {
        let path = path(dir, base, kind.extension);
        let file = match self.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            // It is built anew when it is missed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.tell(&path, None, Weight::Unread, error.to_string());
                return None;
            }
        };
        self.checked.indexes += 1;
        let Some(index) = Index::load(&file, kind, base.0) else {
            self.mended(&path, None, "the index is damaged; it is built anew when it is missed");
            return None;
        };
        Some(Beside { path, kind, index, next: 0, ended: false, wrong: None })
    }

    /// After the walk. Where the segment itself ends early, what lies behind is not held against its index.
    fn index(&mut self, beside: Beside, size: u64, whole: bool) {
        let Beside { path, index, next, ended, wrong, .. } = beside;
        if index.covered > size {
            return self.mended(&path, None, format!("it covers {} bytes of {size}; it is built anew", index.covered));
        }
        let unseen = whole && (!ended || next < index.entries.len());
        if let Some((position, what)) =
            wrong.or_else(|| unseen.then_some((index.covered, "it ends where no batch does")))
        {
            // Its checksums are right, so no start finds out before somebody is sent to the wrong place.
            let what = format!("{what}. Its batches are not concerned: remove the file, and it is built anew");
            self.tell(&path, Some(position), Weight::Damage, what);
        }
    }

    /// What the journal adds behind the segments; gives where the log ends then.
    fn with_journal(&mut self, dir: &str, end: i64, redo: &[RedoBatch<D::File>]) -> i64 {
        let mut next = end;
        let mut batches = 0_u64;
        for batch in redo.iter().filter(|batch| batch.last.0 >= end) {
            if batch.base.0 > next {
                self.damage(dir, None, next..batch.base.0, "the journal goes on behind a gap");
            }
            batches += 1;
            next = next.max(batch.last.0.saturating_add(1));
        }
        if batches > 0 {
            self.mended(
                dir,
                None,
                format!("{batches} batches ({end}..{next}) are in the journal and put back at the next start"),
            );
        }
        next
    }

    /// The leader epoch of the batch in front of a snapshot, by its word.
    fn epoch_of_snapshot(&self, dir: &str, at: LogOffset) -> Option<LeaderEpoch> {
        let path = path(dir, at, "snapshot");
        let snapshot = Snapshot::decode(&path, &read_small(self.disk, &path).ok()?).ok()?;
        snapshot.epochs.at(LogOffset(at.0 - 1)).filter(|_| snapshot.log_end == at)
    }

    fn snapshot(&mut self, dir: &str, at: LogOffset, end: i64, place: &Place<'_>) {
        let path = path(dir, at, "snapshot");
        self.checked.snapshots += 1;
        let snapshot = read_small(self.disk, &path).and_then(|bytes| Snapshot::decode(&path, &bytes));
        let what = match snapshot {
            Err(error) if weight_of(&error) == Weight::Unread => {
                self.tell(&path, None, Weight::Unread, error.to_string());
                return;
            }
            Err(error) => error.to_string(),
            Ok(snapshot) if snapshot.log_end != at => "it says that it is of another offset".to_owned(),
            Ok(_) if at.0 > end => format!("it is of a longer log, which ended at {at}"),
            Ok(snapshot) => {
                let ends = place.ends.get(&at).map(Vec::as_slice).unwrap_or_default();
                let (segment, size) = (snapshot.active_base, snapshot.active_size);
                // Of what retention or compaction took nothing can be said.
                let fits = ends.contains(&(segment, size));
                if ends.is_empty() || fits || segment < place.cleaned_end {
                    return;
                }
                format!("it says that segment {segment} had {size} bytes at that offset")
            }
        };
        self.mended(&path, None, format!("{what}; the snapshot is dropped, and a start takes longer"));
    }

    fn leftovers(&mut self, dir: &str, names: &[String], segments: &[LogOffset]) {
        let orphan =
            |name: &str, kind| parse_name(name, kind).is_some_and(|base| segments.binary_search(&base).is_err());
        for name in names {
            let what = if name == SYNC_FAILED_FILE {
                "a sync failed here: the next start writes again what it relies on"
            } else if name == RECOVERING_FILE {
                "a start was cut off while it cut the log: the next one makes sure of it"
            } else if swap::is_ours(name) {
                "a compaction was on its way: the next start finishes or undoes it"
            } else if is_grave(name) {
                "a segment that has left the log: the next start removes it"
            } else if name.ends_with(".tmp") {
                "a replacement that did not finish"
            } else if orphan(name, "index") || orphan(name, "vlsn") {
                "an index without its segment"
            } else {
                continue;
            };
            self.mended(&format!("{dir}/{name}"), None, what);
        }
    }
}

/// Of a small file that cannot be used.
fn weight_of(error: &FileError) -> Weight {
    match error {
        FileError::Io { .. } => Weight::Unread,
        FileError::Damaged { .. } | FileError::Version { .. } => Weight::Damage,
    }
}

fn path(dir: &str, offset: LogOffset, kind: &str) -> String {
    format!("{dir}/{}", file_name(offset, kind))
}

fn numbers(names: &[String], kind: &str) -> Vec<LogOffset> {
    let mut numbers: Vec<LogOffset> = names.iter().filter_map(|name| parse_name(name, kind)).collect();
    numbers.sort_unstable();
    numbers
}

/// Reads every record of a batch whose checksum is right.
fn read_records(bytes: &[u8]) -> Result<(), String> {
    let batch = StoredBatch::open(bytes).map_err(|error| error.to_string())?;
    let header: &BatchHeader = &batch.header;
    let mut count = 0;
    for record in Records::new(batch.payload()) {
        let record = record.map_err(|error| format!("record {count}: {error}"))?;
        if !(0..=header.last_offset_delta).contains(&record.offset_delta) {
            return Err(format!("record {count} lies outside of its batch"));
        }
        count += 1;
    }
    if count == header.record_count {
        Ok(())
    } else {
        Err(format!("{count} records, its header says {}", header.record_count))
    }
}
