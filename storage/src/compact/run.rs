//! One round over one log, from the outside: it holds what it was planned with and never the log itself.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader, Records};
use pyralog_protocol::{LogOffset, TopicId, WallMs};

use super::filter::{Fate, Opaque, Rules, checked, judge, payload_of};
use super::keymap::KeyMap;
use super::source::{Batch, Reader};
use super::swap::{CLEANED, CLEANED_INDEX, REPLACED, Swap, remove_if_there};
use super::{CompactError, Pace};
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, OpenMode, is_full, is_out_of_files, read_full};
use crate::index::{Index, SPARSE};
use crate::segment::{SegmentError, Trust, file_name};

/// Largest cleaned segment in bytes; a smaller one that timestamps or another compression made grow is fine.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;
/// Room that cleaning leaves to appends, at most; a 64th of the volume where that is less.
const ROOM_LEFT: u64 = 64 << 20;

/// A segment that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub base: LogOffset,
    /// Offset after its last record: the base of the next segment.
    pub end: LogOffset,
    pub size: u64,
    pub touched: WallMs,
}

/// A planned round. Made by [`Log::begin_compaction`](crate::Log::begin_compaction), to be given back to
/// [`Log::end_compaction`](crate::Log::end_compaction) with its outcome.
pub struct Compaction<D: Disk> {
    pub(super) disk: Arc<D>,
    pub(super) dir: String,
    pub(super) topic_id: TopicId,
    pub(super) config: LogConfig,
    /// From the first segment of the log on.
    pub(super) sources: Vec<Source>,
    /// The keys from here on are mapped.
    pub(super) first_dirty: LogOffset,
    pub(super) log_start: LogOffset,
    pub(super) now: WallMs,
    pub(super) horizon_ms: i64,
    /// Base offsets of batches that stay, empty if need be; rising.
    pub(super) needed: Vec<LogOffset>,
    pub(super) trust: Trust,
    pub(super) read: u64,
    pub(super) written: u64,
}

/// A segment that was written anew, ready to take the place of others.
#[derive(Debug)]
pub struct Rewritten {
    pub(super) swap: Swap,
    /// Base and size of the segments that it replaces.
    pub(super) replaced: Vec<(LogOffset, u64)>,
    pub(super) touched: WallMs,
    /// Where the segments that this round cleans end.
    pub(super) cleaned_end: LogOffset,
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The log is clean below.
    pub clean_end: LogOffset,
    /// Bytes of batches read, mapping included.
    pub read_bytes: u64,
    /// Bytes of segments written.
    pub written_bytes: u64,
    /// Keys that were mapped.
    pub keys: usize,
    /// Segments that were replaced.
    pub replaced: usize,
    /// Segments that took their place.
    pub segments: usize,
}

impl<D: Disk> Compaction<D> {
    /// Runs the round. `chunk`: bytes that are read or written at a time. `swap` does what
    /// [`Log::swap_in`](crate::Log::swap_in) does, with the log locked for its first and last step. Blocks.
    pub fn run(
        &mut self,
        map: &mut KeyMap,
        chunk: usize,
        pace: Pace<'_>,
        swap: &mut dyn FnMut(&Rewritten) -> Result<(), CompactError>,
    ) -> Result<Round, CompactError> {
        self.see_to_room()?;
        let clean_end = self.map(map, chunk, pace)?;
        let mut round = Round { clean_end, keys: map.len(), ..Round::default() };
        let (groups, cleaned_end) = self.groups(clean_end);
        for group in groups {
            if let Some(rewritten) = self.rewrite(group, map, (clean_end, cleaned_end), (chunk, &mut *pace))? {
                round.replaced += rewritten.replaced.len();
                round.segments += 1;
                self.put_in_place(&rewritten, swap)?;
            }
        }
        (round.read_bytes, round.written_bytes) = (self.read, self.written);
        Ok(round)
    }

    /// Where the volume has no room for any new segment, a round would read the dirty part for nothing, and so would the next one.
    fn see_to_room(&self) -> Result<(), CompactError> {
        let (groups, _) = self.groups(LogOffset::MAX);
        let bytes_of = |group: Range<usize>| {
            let sources = self.sources.get(group).unwrap_or_default();
            sources.iter().map(|source| source.size).sum::<u64>()
        };
        groups.into_iter().map(bytes_of).min().map_or(Ok(()), |bytes| room_for(&*self.disk, bytes))
    }

    /// Maps the keys of the dirty part, as far as there is room; gives the end of what was mapped.
    fn map(&mut self, map: &mut KeyMap, chunk: usize, pace: Pace<'_>) -> Result<LogOffset, CompactError> {
        for source in self.sources.clone() {
            if source.end <= self.first_dirty {
                continue;
            }
            let file = self.open(source.base)?;
            let mut reader = Reader::new(&file, source.size, chunk);
            let mut chain = source.base;
            while let Some(batch) = next(&mut reader, &source, &mut chain)? {
                let size = batch.bytes.len() as u64;
                if let Some(full_at) = self.map_batch(&batch, map).map_err(|e| told(&source, &batch, e))? {
                    return Ok(full_at);
                }
                self.read += size;
                go_on(pace, size)?;
            }
        }
        Ok(self.sources.last().map_or(self.first_dirty, |last| last.end))
    }

    /// Gives the offset of the first record that found no room.
    fn map_batch(&self, batch: &Batch<'_>, map: &mut KeyMap) -> Result<Option<LogOffset>, Opaque> {
        let header = &batch.header;
        if header.is_control() || header.last_offset() < self.first_dirty.0 || header.record_count == 0 {
            return Ok(None);
        }
        let payload = payload_of(batch)?;
        for record in Records::new(&payload) {
            let (offset, record) = checked(header, record)?;
            let Some(key) = record.key.filter(|_| offset >= self.first_dirty.0) else { continue };
            if !map.put(key, offset) {
                return Ok(Some(LogOffset(offset)));
            }
        }
        Ok(None)
    }

    /// Neighbours that fit into one segment together, so that the number of segments does not grow. With the end of the
    /// last one.
    fn groups(&self, clean_end: LogOffset) -> (Vec<Range<usize>>, LogOffset) {
        let mut groups: Vec<Range<usize>> = Vec::new();
        let (mut bytes, mut base, mut cleaned_end) = (0, LogOffset::ZERO, LogOffset::ZERO);
        for (at, source) in self.sources.iter().enumerate().take_while(|(_, source)| source.base < clean_end) {
            cleaned_end = source.end;
            let fits = bytes + source.size <= u64::from(self.config.segment_bytes)
                && source.end.0.saturating_sub(base.0) <= i64::from(i32::MAX);
            match groups.last_mut().filter(|_| fits) {
                Some(group) => {
                    group.end = at + 1;
                    bytes += source.size;
                }
                None => {
                    groups.push(at..at + 1);
                    (bytes, base) = (source.size, source.base);
                }
            }
        }
        (groups, cleaned_end)
    }

    /// Writes a group anew and syncs it. None: it is one segment of which nothing goes.
    fn rewrite(
        &mut self,
        group: Range<usize>,
        map: &KeyMap,
        (end, cleaned_end): (LogOffset, LogOffset),
        (chunk, pace): (usize, Pace<'_>),
    ) -> Result<Option<Rewritten>, CompactError> {
        let sources = self.sources.get(group).unwrap_or_default().to_vec();
        let (Some(first), Some(last)) = (sources.first().copied(), sources.last().copied()) else { return Ok(None) };
        let mut output = Output::new(self, first.base, sources.iter().map(|s| s.size).sum(), chunk);
        let mut read = 0;
        if sources.len() > 1 {
            output.create()?;
        }
        let rules = Rules {
            map,
            end,
            log_start: self.log_start,
            now_ms: self.now.0,
            horizon_ms: self.horizon_ms,
            needed: &self.needed,
        };
        let written = sources.iter().try_for_each(|source| {
            let file = self.open(source.base)?;
            let mut reader = Reader::new(&file, source.size, chunk);
            let mut chain = source.base;
            while let Some(batch) = next(&mut reader, source, &mut chain)? {
                let closes = source.base == last.base && batch.end == source.size;
                let fate = judge(&batch, closes, &rules).map_err(|e| told(source, &batch, e))?;
                let before = output.size;
                output.take(&batch, fate, (&file, &mut *pace))?;
                let size = batch.bytes.len() as u64;
                read += size;
                go_on(pace, size + output.size.saturating_sub(before))?;
            }
            Ok(())
        });
        let finished = written.and_then(|()| output.finish());
        let finished = finished.inspect_err(|_| self.remove_output(first.base));
        self.read += read;
        let Some(size) = finished? else { return Ok(None) };
        self.written += size;
        Ok(Some(Rewritten {
            swap: Swap { topic_id: self.topic_id, base: first.base, end: last.end, size },
            replaced: sources.iter().map(|source| (source.base, source.size)).collect(),
            touched: sources.iter().map(|source| source.touched).max().unwrap_or(self.now),
            cleaned_end,
        }))
    }

    fn put_in_place(
        &self,
        new: &Rewritten,
        swap: &mut dyn FnMut(&Rewritten) -> Result<(), CompactError>,
    ) -> Result<(), CompactError> {
        let announced = if self.trust.swap { Ok(()) } else { self.announce(new) };
        match announced.and_then(|()| swap(new)) {
            Ok(()) => self.finish(new),
            // Nobody knows what of it is durable: the next start finishes it.
            Err(error @ (CompactError::HalfWay(_) | CompactError::Folder(_) | CompactError::Offline(_))) => Err(error),
            Err(error) => self.undo(new).and(Err(error)),
        }
    }

    /// Steps 1 and 2 of a swap: after this, a start finishes it.
    fn announce(&self, new: &Rewritten) -> Result<(), CompactError> {
        self.sync_folder()?;
        let marker = self.path(&new.swap.name());
        let write = || {
            let file = self.disk.open(&marker, OpenMode::Create)?;
            file.write_all_at([&new.swap.encode(), &[]], 0)?;
            file.sync_data()
        };
        write().map_err(|e| failed("write of the swap marker", e))?;
        self.sync_folder()
    }

    /// Step 4: what was replaced goes, then the marker.
    fn finish(&self, new: &Rewritten) -> Result<(), CompactError> {
        self.sync_folder()?;
        for (base, _) in new.replaced.iter().skip(1) {
            self.remove(&file_name(*base, REPLACED)).map_err(CompactError::HalfWay)?;
            self.remove(&file_name(*base, "index")).map_err(CompactError::HalfWay)?;
        }
        self.remove(&new.swap.name()).map_err(CompactError::HalfWay)?;
        self.sync_folder()
    }

    /// Takes back what was announced. The marker is gone durably before what it speaks of.
    fn undo(&self, new: &Rewritten) -> Result<(), CompactError> {
        match self.disk.remove_file(&self.path(&new.swap.name())) {
            Ok(()) => self.sync_folder()?,
            // It was not made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CompactError::HalfWay(error)),
        }
        self.remove_output(new.swap.base);
        Ok(())
    }

    /// What stays of it is removed at the next start.
    fn remove_output(&self, base: LogOffset) {
        for kind in [CLEANED, CLEANED_INDEX] {
            let _ = self.remove(&file_name(base, kind));
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        remove_if_there(&*self.disk, &self.path(name))
    }

    /// A folder that is gone was deleted with its log: nothing rests on it any more.
    fn sync_folder(&self) -> Result<(), CompactError> {
        if self.trust.folder {
            return Ok(());
        }
        match self.disk.sync_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CompactError::Changed("it was deleted")),
            // It could not be opened, so that nothing was lost.
            Err(error) if is_out_of_files(&error) => Err(CompactError::HalfWay(error)),
            synced => synced.map_err(CompactError::Folder),
        }
    }

    fn open(&self, base: LogOffset) -> Result<D::File, CompactError> {
        self.disk.open(&self.path(&file_name(base, "log")), OpenMode::Read).map_err(|e| failed("open of a segment", e))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }
}

/// The cleaned segment in the making. As long as nothing changes there is no file.
struct Output<D: Disk> {
    disk: Arc<D>,
    dir: String,
    base: LogOffset,
    /// Most bytes that are expected.
    bytes_max: u64,
    interval: u32,
    chunk: usize,
    file: Option<D::File>,
    /// Bytes of what stays, in the file, in the buffer, or so far unchanged in the source.
    size: u64,
    buffer: Vec<u8>,
    index: Index,
    /// Bytes in the books of the disk.
    taken: u64,
}

impl<D: Disk> Drop for Output<D> {
    fn drop(&mut self) {
        self.disk.allowance().settle(self.taken);
    }
}

impl<D: Disk> Output<D> {
    fn new(of: &Compaction<D>, base: LogOffset, bytes_max: u64, chunk: usize) -> Self {
        Self {
            disk: Arc::clone(&of.disk),
            dir: of.dir.clone(),
            base,
            bytes_max,
            interval: of.config.index_interval_bytes,
            chunk,
            file: None,
            size: 0,
            buffer: Vec::new(),
            index: Index::new(base.0),
            taken: 0,
        }
    }

    fn path(&self, kind: &str) -> String {
        format!("{}/{}", self.dir, file_name(self.base, kind))
    }

    /// Begins the file, unless appends would miss the room.
    fn create(&mut self) -> Result<(), CompactError> {
        let failed = |e| failed("making of a cleaned segment", e);
        room_for(&*self.disk, self.bytes_max)?;
        self.taken = self.bytes_max;
        self.disk.allowance().take(self.taken);
        // A new file each time: one that is cut and written again could come back with its old content.
        remove_if_there(&*self.disk, &self.path(CLEANED)).map_err(failed)?;
        self.file = Some(self.disk.open(&self.path(CLEANED), OpenMode::Create).map_err(failed)?);
        Ok(())
    }

    fn take(
        &mut self,
        batch: &Batch<'_>,
        fate: Fate,
        (source, pace): (&D::File, Pace<'_>),
    ) -> Result<(), CompactError> {
        if fate == Fate::Stays {
            return self.put(&batch.header, [batch.bytes, &[]]);
        }
        if self.file.is_none() {
            self.create()?;
            self.copy_unchanged(source, pace)?;
        }
        match fate {
            Fate::Stays | Fate::Goes => Ok(()),
            Fate::Shrinks { header, body } => self.put(&header, [&header.encode(), &body]),
        }
    }

    fn put(&mut self, header: &BatchHeader, parts: [&[u8]; 2]) -> Result<(), CompactError> {
        self.index.note(self.base.0, header, self.interval);
        self.size = self.index.covered;
        if self.file.is_none() {
            return Ok(());
        }
        for part in parts {
            self.buffer.extend_from_slice(part);
        }
        if self.size > SEGMENT_BYTES_MAX {
            return Err(CompactError::Outgrown { segment: self.base, limit: SEGMENT_BYTES_MAX });
        }
        if self.buffer.len() >= self.chunk { self.flush() } else { Ok(()) }
    }

    /// The first change: what came before it is the same in both.
    fn copy_unchanged(&mut self, source: &D::File, pace: Pace<'_>) -> Result<(), CompactError> {
        let Some(file) = &self.file else { return Ok(()) };
        let (mut at, mut part) = (0, vec![0; self.chunk.max(BATCH_HEADER_BYTES)]);
        while at < self.size {
            let wanted = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(part.len());
            part.truncate(wanted);
            let filled = read_full(source, &mut part, at).map_err(|e| failed("read of a segment", e))?;
            if filled < wanted {
                return Err(CompactError::Changed("a segment became shorter"));
            }
            file.write_all_at([&part, &[]], at).map_err(|e| failed("write of a cleaned segment", e))?;
            at += wanted as u64;
            go_on(pace, wanted as u64)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), CompactError> {
        let Some(file) = &self.file else { return Ok(()) };
        let at = self.size - self.buffer.len() as u64;
        file.write_all_at([&self.buffer, &[]], at).map_err(|e| failed("write of a cleaned segment", e))?;
        self.buffer.clear();
        Ok(())
    }

    /// Syncs what was written; gives its size.
    fn finish(mut self) -> Result<Option<u64>, CompactError> {
        self.flush()?;
        let Some(file) = self.file.take() else { return Ok(None) };
        file.sync_data().map_err(|e| failed("sync of a cleaned segment", e))?;
        // Derived: where it cannot be written, it is made again when it is missed.
        let _ = remove_if_there(&*self.disk, &self.path(CLEANED_INDEX)).and_then(|()| {
            let file = self.disk.open(&self.path(CLEANED_INDEX), OpenMode::Create)?;
            file.write_all_at([&self.index.encode(SPARSE, self.base.0), &[]], 0)
        });
        Ok(Some(self.size))
    }
}

/// The next batch of a source, in order. Sources have no end but the base of the next segment.
fn next<'a, F: DiskFile>(
    reader: &'a mut Reader<'_, F>,
    source: &Source,
    chain: &mut LogOffset,
) -> Result<Option<Batch<'a>>, CompactError> {
    let damaged = |position, what| CompactError::Damaged { segment: source.base, position, what };
    let batch = reader.next().map_err(|error| match error {
        SegmentError::Io(error) => failed("read of a segment", error),
        SegmentError::Damaged { position, what } => damaged(position, what),
    })?;
    match &batch {
        Some(batch) if batch.header.base_offset < chain.0 => Err(damaged(batch.end, "offset out of order")),
        None if *chain != source.end => Err(damaged(source.size, "its end is missing")),
        Some(found) => {
            *chain = LogOffset(found.header.last_offset().saturating_add(1));
            Ok(batch)
        }
        None => Ok(None),
    }
}

fn told(source: &Source, batch: &Batch<'_>, error: Opaque) -> CompactError {
    match error {
        Opaque::Damaged(what) => {
            let position = batch.end.saturating_sub(batch.bytes.len() as u64);
            CompactError::Damaged { segment: source.base, position, what }
        }
        Opaque::TooLarge(error) => CompactError::TooLarge { offset: LogOffset(batch.header.base_offset), error },
    }
}

/// An error unless the volume has room for a segment of so many bytes, and then some for appends.
fn room_for<D: Disk>(disk: &D, bytes: u64) -> Result<(), CompactError> {
    let space = disk.space().map_err(|e| failed("look at the room for a cleaned segment", e))?;
    let left = ROOM_LEFT.min(space.total_bytes / 64);
    if space.usable_bytes >= bytes.saturating_add(left) {
        return Ok(());
    }
    let what = format!("{} bytes are free, {bytes} and {left} in reserve are wanted", space.usable_bytes);
    Err(CompactError::DiskFull(io::Error::new(io::ErrorKind::StorageFull, what)))
}

fn go_on(pace: Pace<'_>, bytes: u64) -> Result<(), CompactError> {
    if pace(bytes) { Ok(()) } else { Err(CompactError::Stopped) }
}

fn failed(what: &'static str, source: io::Error) -> CompactError {
    if is_full(&source) {
        CompactError::DiskFull(source)
    } else if source.kind() == io::ErrorKind::NotFound {
        // Retention took it, or the whole log is gone.
        CompactError::Changed("a file is gone")
    } else {
        CompactError::Io { what, source }
    }
}
