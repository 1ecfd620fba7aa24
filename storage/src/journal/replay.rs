//! Opening the journal: which batches may be missing in the segments.
//!
//! Files are read in the order they were written, round by round. Only the last round can be torn, because each is written
//! after the one before it was durable; whatever else does not fit is damage of acknowledged data and is told (IO-06).
//! Whether a batch is missing is for its log to say, by offset.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use pyralog_protocol::LogOffset;
use pyralog_protocol::batch::BatchHeader;

use super::format::{BLOCK, Entry, FileHeader, PartitionKey, ROUND_HEADER, RoundHeader, next_entry, round_bytes};
use super::{Ends, Free, JOURNAL_DIR, Journal, JournalLimits, JournalPlace, Sealed, path};
use crate::disk::{Disk, DiskFile, OpenMode, read_full};

/// Largest round that is read. Rounds are written far smaller; a longer claim is damage.
const ROUND_MAX: usize = 16 << 20;

/// A batch in the journal, as it stands in its segment.
pub struct RedoBatch<F> {
    /// Offset of its first record.
    pub base: LogOffset,
    /// Offset of its last record.
    pub last: LogOffset,
    /// The round that it is in.
    place: JournalPlace,
    file: Arc<F>,
    position: u64,
    len: usize,
}

impl<F: DiskFile> RedoBatch<F> {
    /// Its bytes.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        if read_full(&*self.file, &mut bytes, self.position)? < self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

/// What the journal knows of one partition.
pub struct Redo<F> {
    /// Its segments are on disk below this.
    pub flushed: LogOffset,
    /// Batches that may not be, in the order they were written.
    pub batches: Vec<RedoBatch<F>>,
    /// What rounds say about the former, where it changes.
    notes: Vec<(JournalPlace, LogOffset)>,
}

/// What the journal knows of one partition from a place on.
pub(crate) struct Since<'a, F> {
    /// Its segments are on disk below this.
    pub flushed: LogOffset,
    /// What is not here of the records below this was in the segments, durably, before the last batches came here.
    pub promised: LogOffset,
    /// Batches that may not be.
    pub batches: &'a [RedoBatch<F>],
}

impl<F> Since<'_, F> {
    /// See [`Redo::end`].
    pub fn end(&self) -> LogOffset {
        self.batches.last().map_or(self.flushed, |batch| LogOffset(batch.last.0.saturating_add(1)).max(self.flushed))
    }
}

impl<F> Redo<F> {
    /// Offset below which the journal knows of records that were acknowledged.
    pub fn end(&self) -> LogOffset {
        self.since(JournalPlace::default()).end()
    }

    /// What rounds from a place on tell.
    pub(crate) fn since(&self, place: JournalPlace) -> Since<'_, F> {
        let notes = self.notes.iter().filter(|(round, _)| *round >= place);
        let batches = self.batches.get(self.batches.partition_point(|batch| batch.place < place)..).unwrap_or_default();
        let flushed = notes.map(|(_, below)| *below).max().unwrap_or(LogOffset::ZERO);
        Since { flushed, promised: last_run(batches), batches }
    }

    fn note(&mut self, place: JournalPlace, below: LogOffset) {
        self.flushed = self.flushed.max(below);
        match self.notes.last_mut() {
            // Said again, it is so of a log that was cut in between as well.
            Some((said, known)) if *known == below => *said = place,
            Some(_) | None => self.notes.push((place, below)),
        }
    }

    /// What a later round knows to be in the segments is not needed. A log that was cut counts anew from there.
    fn forget_flushed(&mut self) {
        let mut notes = self.notes.iter().rev().peekable();
        let mut flushed = LogOffset::ZERO;
        let mut needed = Vec::with_capacity(self.batches.len());
        for batch in std::mem::take(&mut self.batches).into_iter().rev() {
            while let Some((_, below)) = notes.next_if(|(round, _)| *round >= batch.place) {
                flushed = flushed.max(*below);
            }
            if batch.last >= flushed {
                needed.push(batch);
            }
        }
        needed.reverse();
        self.batches = needed;
    }
}

/// Where the last batches begin that follow one another.
fn last_run<F>(batches: &[RedoBatch<F>]) -> LogOffset {
    let (mut begin, mut end) = (LogOffset::ZERO, LogOffset::ZERO);
    for batch in batches {
        if batch.base > end {
            begin = batch.base;
        }
        end = end.max(LogOffset(batch.last.0.saturating_add(1)));
    }
    begin
}

impl<F> Default for Redo<F> {
    fn default() -> Self {
        Self { flushed: LogOffset::ZERO, batches: Vec::new(), notes: Vec::new() }
    }
}

/// What the journal holds for a recovery.
pub struct Replay<D: Disk> {
    partitions: BTreeMap<PartitionKey, Redo<D::File>>,
    /// Bytes of rounds that were read.
    pub bytes: u64,
    /// Places that are not what was written, for the operator.
    pub damage: Vec<String>,
}

impl<D: Disk> Default for Replay<D> {
    fn default() -> Self {
        Self { partitions: BTreeMap::new(), bytes: 0, damage: Vec::new() }
    }
}

impl<D: Disk> Replay<D> {
    /// What there is for a partition.
    pub fn of(&self, key: PartitionKey) -> Option<&Redo<D::File>> {
        self.partitions.get(&key)
    }
}

/// A file as it is found.
struct Found<F> {
    slot: usize,
    file: Arc<F>,
    bytes: u64,
    sequence: u64,
    oldest: u64,
    /// Rounds of the file before this one, where the header says so.
    rounds_before: Option<u64>,
}

/// What is in the folder.
struct Files<F> {
    /// In the order they were begun.
    begun: Vec<Found<F>>,
    /// Slot and bytes of the others.
    unbegun: Vec<(usize, u64)>,
}

impl<D: Disk> Journal<D> {
    /// Opens what is there. After a clean stop (`clean`) everything is in the segments and nothing is read but headers.
    pub fn open(disk: Arc<D>, limits: JournalLimits, clean: bool) -> io::Result<(Self, Replay<D>)> {
        let mut journal = Self {
            disk,
            limits,
            current: None,
            sealed: Vec::new(),
            free: Vec::new(),
            stale: Vec::new(),
            slots: 0,
            preparing: false,
            next_sequence: 1,
            oldest: 0,
            rounds_before: 0,
            unopened: None,
            closed: None,
        };
        let Files { begun, unbegun } = find(&*journal.disk)?;
        let slots = begun.iter().map(|file| file.slot).chain(unbegun.iter().map(|(slot, _)| *slot));
        journal.slots = slots.max().map_or(0, |slot| slot + 1);
        for (slot, bytes) in unbegun {
            journal.put_back(slot, bytes >= limits.file_bytes);
        }
        if journal.slots > 0 {
            // A process that ended while it made a file may have left one that no power loss would spare (IO-03, IO-14).
            journal.disk.sync_dir(JOURNAL_DIR)?;
            journal.disk.sync_dir("")?;
        }
        let mut replay = Replay::default();
        journal.next_sequence = begun.last().map_or(1, |newest| newest.sequence + 1);
        journal.oldest = begun.last().map_or(0, |newest| newest.oldest);
        for (file, rounds) in counting(&begun) {
            let (slot, sequence, reusable) = (file.slot, file.sequence, file.bytes >= limits.file_bytes);
            let Some(rounds) = rounds.filter(|_| !clean) else {
                journal.put_back(slot, reusable);
                continue;
            };
            // The last round may be one that a process died in before it was durable (IO-14).
            file.file.sync_data()?;
            let (ends, count) = replay.read_file(file, rounds)?;
            journal.rounds_before = count;
            journal.sealed.push(Sealed { slot, sequence, ends, reusable });
        }
        replay.forget_flushed();
        Ok((journal, replay))
    }

    pub(super) fn put_back(&mut self, slot: usize, reusable: bool) {
        if reusable { self.free.push(Free { slot }) } else { self.stale.push(slot) }
    }
}

/// The files of a journal. One without a header was never begun; but a header may be damaged (IO-06), and then its rounds
/// say what file it is.
fn find<D: Disk>(disk: &D) -> io::Result<Files<D::File>> {
    let names = match disk.list(JOURNAL_DIR) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut files = Files { begun: Vec::new(), unbegun: Vec::new() };
    for slot in names.iter().filter_map(|name| name.strip_suffix(".journal")?.parse::<usize>().ok()) {
        let file = disk.open(&path(slot), OpenMode::Read)?;
        let bytes = file.len()?;
        let mut block = [0; BLOCK];
        let filled = read_full(&file, &mut block, 0)?;
        let block = block.get(..filled).unwrap_or_default();
        let (sequence, oldest, rounds_before) = match FileHeader::parse(&path(slot), block) {
            Ok(header) => (header.sequence, header.oldest, Some(header.rounds_before)),
            Err(_) => match first_round(&file, bytes, block.iter().all(|byte| *byte == 0))? {
                Some(round) => (round.sequence, 0, None),
                None => {
                    files.unbegun.push((slot, bytes));
                    continue;
                }
            },
        };
        files.begun.push(Found { slot, file: Arc::new(file), bytes, sequence, oldest, rounds_before });
    }
    files.begun.sort_by_key(|file| file.sequence);
    Ok(files)
}

/// The first round of a file whose header is none. Zeros and no round behind them: it was made and never begun.
fn first_round<F: DiskFile>(file: &F, bytes: u64, blank: bool) -> io::Result<Option<RoundHeader>> {
    let limit = if blank { 2 * BLOCK as u64 } else { bytes.min(2 * ROUND_MAX as u64) };
    let mut at = BLOCK as u64;
    while at < limit {
        if let Some((round, _)) = read_any_round(file, at, bytes)? {
            return Ok(Some(round));
        }
        at += BLOCK as u64;
    }
    Ok(None)
}

/// Which files count, with how many rounds they must have, where that is known.
fn counting<F>(begun: &[Found<F>]) -> impl Iterator<Item = (&Found<F>, Option<Option<u64>>)> {
    let oldest = begun.last().map_or(0, |newest| newest.oldest);
    begun.iter().enumerate().map(move |(at, file)| {
        let next = begun.get(at + 1).filter(|next| next.sequence == file.sequence + 1);
        (file, (file.sequence >= oldest).then(|| next.and_then(|next| next.rounds_before)))
    })
}

impl<D: Disk> Replay<D> {
    /// Reads the journal of a data folder and changes nothing: for whoever only wants to know.
    pub fn read(disk: &D) -> io::Result<Self> {
        let files = find(disk)?;
        let mut replay = Self::default();
        for (file, rounds) in counting(&files.begun) {
            if let Some(rounds) = rounds {
                replay.read_file(file, rounds)?;
            }
        }
        replay.forget_flushed();
        Ok(replay)
    }

    /// What is known to be in the segments is not needed.
    fn forget_flushed(&mut self) {
        self.partitions.values_mut().for_each(Redo::forget_flushed);
    }

    /// Reads the rounds of a file. Gives the ends of what it holds, and the number of its rounds. `rounds` is how many
    /// there must be, where that is known.
    fn read_file(&mut self, file: &Found<D::File>, rounds: Option<u64>) -> io::Result<(Ends, u64)> {
        let mut ends = Ends::new();
        if file.rounds_before.is_none() {
            self.tell(file, "its header is damaged; its rounds are read all the same");
        }
        let (mut position, mut next) = (BLOCK as u64, 0);
        loop {
            match read_round(file, position, next)? {
                Some((header, payload)) => {
                    let place = JournalPlace { sequence: header.sequence, round: header.round };
                    self.take((&file.file, position + ROUND_HEADER as u64), place, &payload, &mut ends);
                    next = header.round + 1;
                    let total = round_bytes(payload.len()) as u64;
                    self.bytes += total;
                    position += total;
                }
                None if rounds == Some(next) => break,
                None => match after_damage(file, position, next)? {
                    Some(later) => {
                        self.tell(file, &format!("bytes {position}..{later} do not hold what was written"));
                        position = later;
                    }
                    None => break,
                },
            }
        }
        if let Some(wanted) = rounds.filter(|wanted| *wanted > next) {
            self.tell(file, &format!("it ends after {next} of {wanted} rounds"));
        }
        Ok((ends, next))
    }

    fn tell(&mut self, file: &Found<D::File>, what: &str) {
        self.damage.push(format!("{}: {what}", path(file.slot)));
    }

    fn take(&mut self, (file, start): (&Arc<D::File>, u64), place: JournalPlace, payload: &[u8], ends: &mut Ends) {
        let mut rest = payload;
        while let Some(entry) = next_entry(&mut rest) {
            match entry {
                Entry::Flushed { key, below } => {
                    self.partitions.entry(key).or_default().note(place, below);
                }
                Entry::Batch { key, bytes } => {
                    let Ok(header) = BatchHeader::parse(bytes) else { continue };
                    let (base, last) = (LogOffset(header.base_offset), LogOffset(header.last_offset()));
                    let position = start + (payload.len() - rest.len() - bytes.len()) as u64;
                    let batch = RedoBatch { base, last, place, file: Arc::clone(file), position, len: bytes.len() };
                    self.partitions.entry(key).or_default().batches.push(batch);
                    let end = LogOffset(last.0.saturating_add(1));
                    let known = ends.entry(key).or_insert(end);
                    *known = (*known).max(end);
                }
            }
        }
    }
}

/// The round at a position, if it is whole, of this file, and not one that was read already.
fn read_round<F: DiskFile>(file: &Found<F>, position: u64, next: u64) -> io::Result<Option<(RoundHeader, Vec<u8>)>> {
    read_round_if(&*file.file, (position, file.bytes), |round| round.sequence == file.sequence && round.round >= next)
}

/// The round at a position of a file of so many bytes, whichever it is, if it is whole.
pub(crate) fn read_any_round<F: DiskFile>(
    file: &F,
    position: u64,
    bytes: u64,
) -> io::Result<Option<(RoundHeader, Vec<u8>)>> {
    read_round_if(file, (position, bytes), |_| true)
}

fn read_round_if<F: DiskFile>(
    file: &F,
    (position, bytes): (u64, u64),
    wanted: impl Fn(&RoundHeader) -> bool,
) -> io::Result<Option<(RoundHeader, Vec<u8>)>> {
    let mut front = [0; ROUND_HEADER];
    let filled = read_full(file, &mut front, position)?;
    let Some(header) = front.get(..filled).and_then(RoundHeader::parse) else { return Ok(None) };
    let length = usize::try_from(header.length).unwrap_or(usize::MAX);
    let fits = position.saturating_add(u64::from(header.length)) <= bytes;
    if !wanted(&header) || length > ROUND_MAX || !fits {
        return Ok(None);
    }
    let mut payload = vec![0; length];
    let whole =
        read_full(file, &mut payload, position + ROUND_HEADER as u64)? == length && header.is_whole(&front, &payload);
    Ok(whole.then_some((header, payload)))
}

/// Where the rounds go on behind a place that is not one. Nowhere: that was the end.
fn after_damage<F: DiskFile>(file: &Found<F>, position: u64, next: u64) -> io::Result<Option<u64>> {
    let limit = file.bytes.min(position + 2 * ROUND_MAX as u64);
    let mut at = position + BLOCK as u64;
    while at < limit {
        if read_round(file, at, next)?.is_some() {
            return Ok(Some(at));
        }
        at += BLOCK as u64;
    }
    Ok(None)
}
