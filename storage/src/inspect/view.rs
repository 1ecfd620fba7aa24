//! The files of the data folder as values, to be shown to people.

use std::io;

use pyralog_protocol::batch::BatchHeader;
use pyralog_protocol::{EpochOffset, LogOffset};

use crate::disk::{Disk, DiskFile, OpenMode, read_full};
use crate::files::{FileError, read_small};
use crate::index::{Index, SPARSE, VLSNS};
use crate::journal::{BLOCK, Entry, FileHeader, PartitionKey, ROUND_HEADER, next_entry, read_any_round, round_bytes};
use crate::producers::ProducerInfo;
use crate::segment::parse_name;
use crate::state::Snapshot;
use crate::vlsn::bytes_of;
use crate::walk::{Stop, Walk};

/// A batch where it stands.
#[derive(Debug)]
pub struct BatchAt<'a> {
    /// Bytes from the beginning of the segment.
    pub position: u64,
    /// Its header.
    pub header: &'a BatchHeader,
    /// Its checksum is right.
    pub sound: bool,
    /// All of it, where that was asked for.
    pub bytes: &'a [u8],
}

/// Where the batches of a file end before the file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Bytes from the beginning of the file.
    pub position: u64,
    /// What stands there.
    pub what: &'static str,
}

/// Goes over the batches of a segment. `visit` says whether to go on. Gives what stands behind the last batch, if that is
/// not the end of the file.
pub fn walk_segment<D: Disk>(
    disk: &D,
    path: &str,
    with_bytes: bool,
    visit: &mut dyn FnMut(BatchAt<'_>) -> bool,
) -> io::Result<Option<Ending>> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut walk = Walk::new(&file, 0, file.len()?);
    loop {
        let position = walk.position();
        let found = match walk.next() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(Stop::Io(error)) => return Err(error),
            Err(Stop::Unwritten) => return Ok(Some(Ending { position, what: "zeros: never written to" })),
            Err(Stop::Damaged(what)) => return Ok(Some(Ending { position, what })),
        };
        let sound = match walk.verify(&found) {
            Ok(()) => true,
            Err(Stop::Io(error)) => return Err(error),
            Err(Stop::Unwritten | Stop::Damaged(_)) => false,
        };
        let bytes = if with_bytes { bytes_of(&file, &found)? } else { Vec::new() };
        if !visit(BatchAt { position, header: &found.header, sound, bytes: &bytes }) {
            return Ok(None);
        }
    }
}

/// An index file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexView {
    /// Offset that its segment begins at.
    pub base: LogOffset,
    /// Bytes of the segment that it covers.
    pub covered: u64,
    /// Offset after them.
    pub next_offset: LogOffset,
    /// Largest timestamp, or VLSN, in them; None where there is none.
    pub max: Option<i64>,
    /// Offset and position of each entry, and the largest timestamp or VLSN before it.
    pub entries: Vec<(LogOffset, u64, Option<i64>)>,
}

/// Reads an index file, the sparse one or that of VLSNs by its name. None: it is damaged.
pub fn view_index<D: Disk>(disk: &D, path: &str) -> io::Result<Option<IndexView>> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let named = [SPARSE, VLSNS].into_iter().find_map(|kind| Some((kind, parse_name(name, kind.extension)?)));
    let Some((kind, base)) = named else { return Ok(None) };
    let file = disk.open(path, OpenMode::Read)?;
    let some = |max: i64| (max > i64::MIN).then_some(max);
    Ok(Index::load(&file, kind, base.0).map(|index| IndexView {
        base,
        covered: index.covered,
        next_offset: LogOffset(index.next_offset),
        max: some(index.max),
        entries: index
            .entries
            .iter()
            .map(|entry| {
                let offset = LogOffset(base.0.saturating_add(i64::from(entry.relative_offset)));
                (offset, u64::from(entry.position), some(entry.max_before))
            })
            .collect(),
    }))
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotView {
    /// The log ended here.
    pub log_end: LogOffset,
    /// Segment that was written then.
    pub active_base: LogOffset,
    /// Its size.
    pub active_size: u64,
    /// Below this no two records had the same key, where the log is compacted.
    pub first_dirty: LogOffset,
    /// Leader epochs, and where they began.
    pub epochs: Vec<EpochOffset>,
    /// Idempotent producers.
    pub producers: Vec<ProducerInfo>,
}

/// Reads a snapshot.
pub fn view_snapshot<D: Disk>(disk: &D, path: &str) -> Result<SnapshotView, FileError> {
    let snapshot = Snapshot::decode(path, &read_small(disk, path)?)?;
    Ok(SnapshotView {
        log_end: snapshot.log_end,
        active_base: snapshot.active_base,
        active_size: snapshot.active_size,
        first_dirty: snapshot.first_dirty,
        epochs: snapshot.epochs.entries().to_vec(),
        producers: snapshot.producers.infos().collect(),
    })
}

/// A file of the journal.
#[derive(Debug)]
pub struct JournalFile {
    /// Its number among the files of the journal, rising; None: it was never begun, or its header is damaged.
    pub sequence: Option<u64>,
    /// Files with a lower number do not count any more.
    pub oldest: u64,
    /// Rounds of the file before it.
    pub rounds_before: u64,
}

/// A round of the journal.
#[derive(Debug)]
pub struct JournalRound {
    /// Bytes from the beginning of the file.
    pub position: u64,
    /// Number of the file that it was written for.
    pub sequence: u64,
    /// Its number in that file.
    pub round: u64,
    /// What is in it.
    pub entries: Vec<JournalEntry>,
}

/// An entry of a round.
#[derive(Debug)]
pub enum JournalEntry {
    /// A batch, as it stands in its segment.
    Batch(PartitionKey, BatchHeader),
    /// Everything below is in the segments on disk.
    Flushed(PartitionKey, LogOffset),
}

/// Goes over the rounds of a journal file, those of its former lives included. `visit` says whether to go on.
pub fn view_journal<D: Disk>(
    disk: &D,
    path: &str,
    visit: &mut dyn FnMut(JournalRound) -> bool,
) -> io::Result<JournalFile> {
    let file = disk.open(path, OpenMode::Read)?;
    let bytes = file.len()?;
    let mut block = [0; BLOCK];
    let filled = read_full(&file, &mut block, 0)?;
    let header = FileHeader::parse(path, block.get(..filled).unwrap_or_default()).ok();
    let view = JournalFile {
        sequence: header.map(|header| header.sequence),
        oldest: header.map_or(0, |header| header.oldest),
        rounds_before: header.map_or(0, |header| header.rounds_before),
    };
    let mut position = BLOCK as u64;
    while position < bytes {
        let Some((header, payload)) = read_any_round(&file, position, bytes)? else {
            position += BLOCK as u64;
            continue;
        };
        let mut rest = &payload[..];
        let mut entries = Vec::new();
        while let Some(entry) = next_entry(&mut rest) {
            entries.extend(match entry {
                Entry::Flushed { key, below } => Some(JournalEntry::Flushed(key, below)),
                Entry::Batch { key, bytes } => {
                    BatchHeader::parse(bytes).ok().map(|header| JournalEntry::Batch(key, header))
                }
            });
        }
        let round = JournalRound { position, sequence: header.sequence, round: header.round, entries };
        if !visit(round) {
            break;
        }
        position += round_bytes(payload.len()).max(ROUND_HEADER) as u64;
    }
    Ok(view)
}
