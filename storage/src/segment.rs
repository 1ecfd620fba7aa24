//! One segment: a file of batches, named by the offset it begins at, and its index. Files are opened when they are
//! needed; the log decides when to let go of them.
//!
//! Index entries are hints: an entry read from a file counts only if the batch header at its position has its offset.
//! Whatever is missing or damaged is rebuilt from the batches, while serving (IO-12).

use std::io;
use std::sync::Arc;

use pyralog_protocol::{LogOffset, WallMs};

use crate::config::LogConfig;
use crate::disk::{Disk, OpenMode, Patience};
use crate::files::write_derived;
use crate::index::{Entry, Index, IndexHeader, Kind, SPARSE, VLSNS};
use crate::vlsn::Readable;
use crate::walk::{Found, Stop, Walk, batch_at};

/// Size from which a segment takes room ahead, in bytes: of many logs, most stay below.
const ROOM_FROM: u64 = 4 << 20;
/// Room that is taken ahead, as a share of what is written.
const ROOM_SHARE: u64 = 2;
/// Most bytes of it.
const ROOM_MAX: u64 = 128 << 20;

/// What segments need from their log.
pub(crate) struct Env<D> {
    pub disk: Arc<D>,
    pub dir: String,
    pub config: LogConfig,
    pub trust: Trust,
    /// That of reads and look-ups by offset: see [`Log::with_patience`](crate::Log::with_patience).
    pub patience: Patience,
}

/// What is believed without looking. Nothing: the fields exist so that tests can leave out a check and see that the
/// damage it is there for is found by nothing else. Looked at where files are opened and recovered, never per append.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trust {
    /// The checksum of a batch that recovery scans.
    pub crc: bool,
    /// An entry of an index file.
    pub index: bool,
    /// A snapshot from above the log end.
    pub snapshots: bool,
    /// That what a dead process wrote is on disk (IO-14).
    pub scanned: bool,
    /// That nobody was promised what is damaged below the recovery point (IO-06).
    pub damage: bool,
    /// Compaction believes that everything is on disk.
    pub unflushed: bool,
    /// Compaction believes that renamed files stay renamed.
    pub folder: bool,
    /// Compaction believes that nothing comes in between its renames.
    pub swap: bool,
    /// Appends believe that VLSNs are new.
    pub vlsns: bool,
    /// A start believes that nothing was ever cut.
    pub truncation: bool,
    /// A start believes that what the one before changed is on disk.
    pub recoveries: bool,
    /// Retention believes that nobody asks for the VLSNs that it takes.
    pub trimmed: bool,
}

impl<D: Disk> Env<D> {
    pub fn new(disk: Arc<D>, dir: &str, config: LogConfig, trust: Trust) -> Self {
        Self { disk, dir: dir.to_owned(), config, trust, patience: Patience::Waits }
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }
}

/// Kinds of files beside a segment that are made of it.
pub(crate) const DERIVED: [&str; 2] = ["index", "vlsn"];

/// Name of the file of that kind that belongs to an offset.
pub(crate) fn file_name(offset: LogOffset, extension: &str) -> String {
    format!("{:020}.{extension}", offset.0)
}

/// The offset in a file name of that kind.
pub(crate) fn parse_name(name: &str, extension: &str) -> Option<LogOffset> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let legal = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| legal).map(LogOffset)
}

/// Why a segment could not be searched.
#[derive(Debug)]
pub(crate) enum SegmentError {
    Io(io::Error),
    /// The batches themselves are damaged at this position.
    Damaged {
        position: u64,
        what: &'static str,
    },
}

impl From<io::Error> for SegmentError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl SegmentError {
    /// The same for somebody else.
    fn again(&self) -> Self {
        match self {
            Self::Io(error) => Self::Io(io::Error::new(error.kind(), error.to_string())),
            Self::Damaged { position, what } => Self::Damaged { position: *position, what },
        }
    }

    pub fn at(position: u64, stop: Stop) -> Self {
        match stop {
            Stop::Io(error) => Self::Io(error),
            Stop::Unwritten => Self::Damaged { position, what: "unwritten" },
            Stop::Damaged(what) => Self::Damaged { position, what },
        }
    }
}

/// See [`Segment::stable_hint`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StableHint {
    /// The entry, checked.
    pub entry: Option<Entry>,
    /// The file covers more than is known to be on disk: what it was made of may be gone, and other batches may come to
    /// lie there. It has to go, durably, before the log grows.
    pub stale: bool,
}

/// Why an index of a kind could not be built, and how many look-ups are to be told before somebody tries again.
struct Unbuilt {
    kind: Kind,
    error: SegmentError,
    askers: usize,
}

pub(crate) struct Segment<F> {
    pub base: LogOffset,
    /// Bytes of whole batches; what lies behind them in the file is not part of the log.
    pub size: u64,
    /// When this process created it, or first saw it: what it rolls by if its first record has no timestamp.
    pub created: WallMs,
    /// When it was last written, or first seen by this process: its age if no record carries a timestamp.
    pub touched: WallMs,
    /// The above is when it was last written.
    pub touch_is_known: bool,
    /// Its file may take more room than it is long.
    pub preallocated: bool,
    /// Where the room ends that was taken ahead; no more is taken if that is nowhere.
    room_end: u64,
    /// Its length may have been changed without a sync, by a process before this one or by a full disk: see
    /// [`crate::Log::roll`].
    pub length_unproven: bool,
    /// Largest timestamp of its first batch, once known.
    pub first_timestamp: Option<i64>,
    /// Its largest timestamp as a file told, and its size then.
    pub newest: Option<(i64, u64)>,
    /// Holds: complete for `size` bytes if present.
    pub index: Option<Index>,
    file: Option<Arc<F>>,
    index_file: Option<(F, IndexHeader)>,
    /// VLSNs of a VLSN log. Holds: complete for `size` bytes if present.
    pub vlsns: Option<Index>,
    pub(crate) vlsn_file: Option<(F, IndexHeader)>,
    /// VLSNs in front of its first damaged batch, if that kept their index from being built.
    pub(crate) readable: Option<Readable>,
    /// One of its files was used since descriptors were last looked for.
    pub(crate) used: bool,
    /// The kind of index that a look-up missed last, and was not to build.
    pub(crate) missed: Option<Kind>,
    /// Why that could not be built: for the next look-ups that miss it.
    unbuilt: Option<Unbuilt>,
    /// Where its batches were damaged when they were indexed for appends, by which kind of index, and its size then: each try reads
    /// all that lies before, while the log is locked, and clients try again and again.
    unindexable: Option<(Kind, u64, u64, &'static str)>,
}

impl<F: crate::disk::DiskFile> Segment<F> {
    /// A segment that is there already.
    pub fn existing(base: LogOffset, size: u64, now: WallMs) -> Self {
        Self {
            base,
            size,
            created: now,
            touched: now,
            touch_is_known: false,
            preallocated: false,
            room_end: 0,
            length_unproven: true,
            first_timestamp: None,
            newest: None,
            index: None,
            file: None,
            index_file: None,
            vlsns: None,
            vlsn_file: None,
            readable: None,
            used: false,
            missed: None,
            unbuilt: None,
            unindexable: None,
        }
    }

    /// An empty segment whose file was just created.
    pub fn created(base: LogOffset, file: F, now: WallMs) -> Self {
        let (index, file) = (Some(Index::new(base.0)), Some(Arc::new(file)));
        let vlsns = index.clone();
        Self { index, vlsns, file, touch_is_known: true, length_unproven: false, ..Self::existing(base, 0, now) }
    }

    /// The open file; opened to be written, because the active segment is and telling them apart buys nothing.
    pub fn file<D: Disk<File = F>>(&mut self, env: &Env<D>) -> io::Result<Arc<F>> {
        self.used = true;
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = Arc::new(env.disk.open(&env.path(&file_name(self.base, "log")), OpenMode::Write)?);
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Open descriptors.
    pub fn open_files(&self) -> usize {
        usize::from(self.file.is_some())
            + usize::from(self.index_file.is_some())
            + usize::from(self.vlsn_file.is_some())
    }

    /// Lets go of descriptors; what is in memory stays. A file that was used since the last call is spared if `spare_used`.
    /// Whoever still writes or reads keeps the file by its own handle. Gives how many stay open.
    pub fn close(&mut self, spare_used: bool) -> usize {
        if !(std::mem::take(&mut self.used) && spare_used) {
            (self.file, self.index_file, self.vlsn_file) = (None, None, None);
        }
        self.open_files()
    }

    /// Before so many bytes are written: takes room ahead for a segment that has grown. To write into it, no block has to be found
    /// while the kernel holds the file's lock, and it finds many at once, in a row. Without, appends waited up to 33 ms for
    /// the kernel to write out what came before.
    pub fn see_to_room<D: Disk<File = F>>(&mut self, env: &Env<D>, bytes: u64) {
        let end = self.size.saturating_add(bytes);
        if end > self.room_end && self.has_grown() {
            let ahead = (self.size / ROOM_SHARE).min(ROOM_MAX);
            self.take_room(env, end.saturating_add(ahead).min(env.config.segment_bytes.into()));
        }
    }

    /// Whether it is large enough to have taken room ahead.
    pub fn has_grown(&self) -> bool {
        self.size >= ROOM_FROM
    }

    /// Takes room up to there, or none at all. It is a hint: where there is none, the segment grows as far as it gets.
    pub fn take_room<D: Disk<File = F>>(&mut self, env: &Env<D>, end: u64) {
        let from = self.room_end.max(self.size);
        let bytes = end.saturating_sub(from);
        if bytes == 0 {
            return;
        }
        self.room_end = u64::MAX;
        if !env.disk.allowance().claim(bytes) {
            return;
        }
        self.preallocated = true;
        match self.file(env).and_then(|file| file.reserve(from..end)) {
            Ok(()) => self.room_end = end,
            // It may have got some of it.
            Err(_) => drop(self.cut_to_size(env)),
        }
        env.disk.allowance().settle(bytes);
    }

    /// The file was cut, and has no room ahead any more.
    pub fn forget_room(&mut self) {
        (self.preallocated, self.room_end) = (false, 0);
    }

    /// Gives back the room that was taken ahead.
    pub fn cut_to_size<D: Disk<File = F>>(&mut self, env: &Env<D>) -> io::Result<()> {
        if std::mem::take(&mut self.preallocated) {
            if self.room_end != u64::MAX {
                self.room_end = 0;
            }
            self.file(env)?.set_len(self.size)?;
        }
        Ok(())
    }

    /// When it was last written: what this process saw, else what the file system says.
    pub fn last_written<D: Disk>(&mut self, env: &Env<D>) -> WallMs {
        if !std::mem::replace(&mut self.touch_is_known, true) {
            let said = env.disk.modified(&env.path(&file_name(self.base, "log")));
            self.touched = said.ok().flatten().unwrap_or(self.touched);
        }
        self.touched
    }

    /// Lets go of descriptors and memory. Whoever still writes or reads keeps the file by its own handle.
    pub fn release(&mut self) {
        (self.file, self.index_file, self.vlsn_file) = (None, None, None);
        (self.index, self.vlsns) = (None, None);
        if self.readable.take().is_some() {
            // What lies in front of the damage is wanted again, and nobody would look for it.
            self.unindexable = self.unindexable.filter(|(kind, ..)| *kind != VLSNS);
        }
    }

    /// The last index entry for which `before` holds, which it does for a prefix of them; checked against the batch
    /// that it names. [`Entry::START`] if there is none.
    pub fn last_where<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        before: impl Fn(&Entry) -> bool,
    ) -> Result<Entry, SegmentError> {
        self.batch_where(env, before).map(|(entry, _)| entry)
    }

    /// The same, with that batch if it had to be looked at.
    pub fn batch_where<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        before: impl Fn(&Entry) -> bool,
    ) -> Result<(Entry, Option<Found>), SegmentError> {
        if let Some(index) = &self.index {
            return Ok((index.last_where(before), None));
        }
        if let Some(entry) = self.sealed_hint(env, &before)? {
            if Self::is_trusted(env, entry) {
                return Ok((entry, None));
            }
            if let Some(found) = self.batch_of(env, entry, env.patience)? {
                return Ok((entry, Some(found)));
            }
        }
        self.index_file = None;
        self.may_build(env, SPARSE)?;
        Ok((self.load_index(env)?.last_where(before), None))
    }

    /// Largest timestamp in the segment, -1 if no record has one; `i64::MIN` if it is empty.
    pub fn max_timestamp<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<i64, SegmentError> {
        if let Some(index) = &self.index {
            return Ok(index.max);
        }
        if let Some((max, _)) = self.newest.filter(|(_, size)| *size == self.size) {
            return Ok(max);
        }
        let held = self.index_file.is_some();
        let max = match self.index_header(env)? {
            Some(header) => header.max,
            None => {
                self.may_build(env, SPARSE)?;
                self.load_index(env)?.max
            }
        };
        if !held {
            // Look-ups by time ask every segment of a log: they would hold a file of each (OP-12).
            self.index_file = None;
        }
        self.newest = Some((max, self.size));
        Ok(max)
    }

    /// The same as far as the batches can be read, by their headers alone.
    pub fn max_in_front_of_damage<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<i64, SegmentError> {
        let file = self.file(env)?;
        let (mut walk, mut max) = (Walk::new(&*file, 0, self.size), i64::MIN);
        loop {
            match walk.next() {
                Ok(Some(found)) => max = max.max(found.header.max_timestamp),
                Ok(None) | Err(Stop::Unwritten | Stop::Damaged(_)) => return Ok(max),
                Err(Stop::Io(error)) => return Err(error.into()),
            }
        }
    }

    /// An error if an index that is missing is not to be built here: why it could not be built elsewhere, once for each who waited
    /// for that, or that it would have to be waited for.
    pub(crate) fn may_build<D>(&mut self, env: &Env<D>, kind: Kind) -> Result<(), SegmentError> {
        if env.patience == Patience::Waits {
            return Ok(());
        }
        self.tell_unbuilt(kind)?;
        self.missed = Some(kind);
        Err(io::Error::from(io::ErrorKind::WouldBlock).into())
    }

    /// Why an index could not be built that was missed, if somebody who waited for it was not told yet.
    pub(crate) fn tell_unbuilt(&mut self, kind: Kind) -> Result<(), SegmentError> {
        let Some(unbuilt) = self.unbuilt.take_if(|unbuilt| unbuilt.kind == kind) else { return Ok(()) };
        let (error, askers) = (unbuilt.error.again(), unbuilt.askers.saturating_sub(1));
        self.unbuilt = Some(Unbuilt { askers, ..unbuilt }).filter(|unbuilt| unbuilt.askers > 0);
        Err(error)
    }

    /// An index could not be built: so many are told, or one.
    pub(crate) fn note_unbuilt(&mut self, kind: Kind, error: SegmentError, askers: usize) {
        self.unbuilt = Some(Unbuilt { kind, error, askers });
    }

    /// The kind of index that was missed, if it is still missing.
    pub(crate) fn missing(&self) -> Option<Kind> {
        self.missed.filter(|kind| if *kind == VLSNS { self.vlsns.is_none() } else { self.index.is_none() })
    }

    /// Takes an index that is complete, and stores the part of it below `stable_end`.
    pub(crate) fn adopt<D: Disk>(&mut self, env: &Env<D>, kind: Kind, index: Index, stable_end: LogOffset) {
        self.unbuilt = None;
        // Derived: what cannot be stored is built again next time.
        if kind == VLSNS {
            self.vlsns = Some(index);
            let _ = self.store_vlsns(env, stable_end);
        } else {
            self.index = Some(index);
            let _ = self.store_index(env, stable_end);
        }
    }

    /// Largest timestamp of the first batch, None while empty.
    pub fn first_timestamp<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<Option<i64>, SegmentError> {
        if self.first_timestamp.is_none() && self.size > 0 {
            let file = self.file(env)?;
            let first = Walk::new(&*file, 0, self.size).next().map_err(|stop| SegmentError::at(0, stop))?;
            self.first_timestamp = first.map(|found| found.header.max_timestamp);
        }
        Ok(self.first_timestamp)
    }

    /// The whole index in memory, from its file as far as that goes and from the batches for the rest.
    pub fn load_index<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<&mut Index, SegmentError> {
        if self.index.is_none() {
            self.may_be_indexed(SPARSE)?;
            let stored = self.stored_index(env, SPARSE)?;
            let known = stored.as_ref().map_or(0, |stored| stored.covered);
            let index = self.complete_index(env, stored).inspect_err(|error| self.note_damage(SPARSE, error))?;
            if known < index.covered {
                let name = file_name(self.base, "index");
                // Derived: when it cannot be stored, it is built again next time.
                let _ = write_derived(&*env.disk, &env.dir, &name, &index.encode(SPARSE, self.base.0));
            }
            self.index = Some(index);
        }
        let base = self.base.0;
        Ok(self.index.get_or_insert_with(|| Index::new(base)))
    }

    /// An error if the batches are known to be damaged where an index of this kind needs them.
    pub(crate) fn may_be_indexed(&self, kind: Kind) -> Result<(), SegmentError> {
        match self.unindexable {
            Some((of, size, position, what)) if of == kind && size == self.size => {
                Err(SegmentError::Damaged { position, what })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// They are, if that is the error.
    pub(crate) fn note_damage(&mut self, kind: Kind, error: &SegmentError) {
        if let SegmentError::Damaged { position, what } = error {
            self.unindexable = Some((kind, self.size, *position, *what));
        }
    }

    /// Writes the part of the index below `stable_end`. Derived and not synced; if it fails, or for what it leaves out,
    /// the index is rebuilt when it is missed.
    pub fn store_index<D: Disk>(&self, env: &Env<D>, stable_end: LogOffset) -> io::Result<()> {
        let Some(index) = &self.index else { return Ok(()) };
        let stored = index.below(self.base.0, stable_end.0);
        write_derived(&*env.disk, &env.dir, &file_name(self.base, "index"), &stored.encode(SPARSE, self.base.0))
    }

    /// What recovery makes of the index file, when everything below `stable_end` is known to be on disk: the last entry at
    /// or below `offset`.
    pub fn stable_hint<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        stable_end: LogOffset,
        offset: LogOffset,
    ) -> StableHint {
        let path = env.path(&file_name(self.base, "index"));
        let Ok(file) = env.disk.open(&path, OpenMode::Read) else { return StableHint::default() };
        let header = IndexHeader::load(&file, SPARSE, self.base.0);
        let entry = header.and_then(|header| self.entry_below(env, (&file, header), offset));
        let stale = header.is_none_or(|header| header.next_offset > stable_end.0);
        if stale {
            self.index_file = None;
        }
        StableHint { entry, stale }
    }

    /// The last stored entry at or below `offset`, whatever part of the segment the index covers; checked.
    pub fn stored_hint<D: Disk<File = F>>(&mut self, env: &Env<D>, offset: LogOffset) -> Option<Entry> {
        let file = env.disk.open(&env.path(&file_name(self.base, "index")), OpenMode::Read).ok()?;
        let header = IndexHeader::load(&file, SPARSE, self.base.0)?;
        self.entry_below(env, (&file, header), offset)
    }

    fn entry_below<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        (file, header): (&F, IndexHeader),
        offset: LogOffset,
    ) -> Option<Entry> {
        let wanted = offset.0.saturating_sub(self.base.0);
        let entry = header.last_where(file, |e| i64::from(e.relative_offset) <= wanted)?;
        self.is_true(env, entry, Patience::Waits).ok()?.then_some(entry)
    }

    /// The whole index, stored nowhere yet.
    pub(crate) fn build_index<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<Index, SegmentError> {
        let stored = self.stored_index(env, SPARSE)?;
        self.complete_index(env, stored)
    }

    fn complete_index<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        stored: Option<Index>,
    ) -> Result<Index, SegmentError> {
        if let Some(stored) = stored {
            match self.extend_index(env, stored) {
                // It ends where no batch does: not an index of these batches.
                Err(SegmentError::Damaged { .. }) => {}
                extended => return extended,
            }
        }
        self.extend_index(env, Index::new(self.base.0))
    }

    /// Completes an index from the batches behind what it covers.
    fn extend_index<D: Disk<File = F>>(&mut self, env: &Env<D>, mut index: Index) -> Result<Index, SegmentError> {
        let file = self.file(env)?;
        let mut walk = Walk::new(&*file, index.covered, self.size);
        loop {
            let position = walk.position();
            let Some(found) = walk.next().map_err(|stop| SegmentError::at(position, stop))? else { return Ok(index) };
            if found.header.base_offset < index.next_offset {
                // No checksum covers base offsets: with an entry for it, it would be served for another batch (IO-07).
                return Err(SegmentError::Damaged { position, what: "offset out of order" });
            }
            index.note(self.base.0, &found.header, env.config.index_interval_bytes);
        }
    }

    /// The index of a kind in its file, if all of it is what was written and its last entry is true.
    pub(crate) fn stored_index<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        kind: Kind,
    ) -> Result<Option<Index>, SegmentError> {
        let path = env.path(&file_name(self.base, kind.extension));
        let Ok(file) = env.disk.open(&path, OpenMode::Read) else { return Ok(None) };
        let Some(index) = Index::load(&file, kind, self.base.0).filter(|index| index.covered <= self.size) else {
            return Ok(None);
        };
        let true_entry = match index.entries.last() {
            Some(last) => self.is_true(env, *last, Patience::Waits)?,
            None => true,
        };
        Ok(true_entry.then_some(index))
    }

    fn sealed_hint<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        before: impl Fn(&Entry) -> bool,
    ) -> io::Result<Option<Entry>> {
        let Some(header) = self.index_header(env)? else { return Ok(None) };
        let Some((file, _)) = &self.index_file else { return Ok(None) };
        Ok(header.around(file, before, env.patience)?.map(|around| around.entry))
    }

    /// Header of an index file that covers the whole segment. The only error is that it would have to wait.
    fn index_header<D: Disk<File = F>>(&mut self, env: &Env<D>) -> io::Result<Option<IndexHeader>> {
        if self.index_file.is_none() {
            let path = env.path(&file_name(self.base, "index"));
            let Ok(file) = env.disk.open(&path, OpenMode::Read) else { return Ok(None) };
            let Some(header) = IndexHeader::read(&file, SPARSE, self.base.0, env.patience)? else { return Ok(None) };
            self.index_file = Some((file, header));
        }
        self.used = true;
        Ok(self.index_file.as_ref().map(|(_, header)| *header).filter(|header| header.covered == self.size))
    }

    /// Whether the batch that the entry names begins there.
    pub(crate) fn is_true<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        entry: Entry,
        patience: Patience,
    ) -> Result<bool, SegmentError> {
        Ok(Self::is_trusted(env, entry) || self.batch_of(env, entry, patience)?.is_some())
    }

    /// Whether nothing has to be looked at to believe an entry.
    fn is_trusted<D>(env: &Env<D>, entry: Entry) -> bool {
        entry.position == 0 || env.trust.index
    }

    /// The batch that an entry names. None if another one is there, or none.
    pub(crate) fn batch_of<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        entry: Entry,
        patience: Patience,
    ) -> Result<Option<Found>, SegmentError> {
        let file = self.file(env)?;
        let named = self.base.0.saturating_add(i64::from(entry.relative_offset));
        match batch_at(&*file, u64::from(entry.position), self.size, patience) {
            Ok(found) => Ok(found.filter(|found| found.header.base_offset == named)),
            Err(Stop::Unwritten | Stop::Damaged(_)) => Ok(None),
            Err(Stop::Io(error)) => Err(SegmentError::Io(error)),
        }
    }
}
