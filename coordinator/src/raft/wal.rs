//! The end of RocksDB's write-ahead log after a power loss.
//!
//! RocksDB opens a log that ends too early. It refuses one whose last record has its length and not its bytes, and a volume may leave that as
//! well: sectors of what was not synced are there or not, each by itself. It cannot tell such an end from damage to what was synced; and
//! where a header is zeros it passes over the rest of the block, whatever is there. So the log is looked over before it is opened: each batch
//! says up to which sequence number everything was synced when it was written ([`Claim`]). Holds:
//!
//! * A record that cannot be read is cut off, with all that follows, if no later record says that it was synced. Nothing of it was
//!   acknowledged.
//! * Otherwise nothing is changed, and the store is refused (RA-21): acknowledged writes are damaged.
//! * A cut is synced before this returns. A crash in between finds the same end again. So every file that RocksDB is done with is whole, also one
//!   whose removal a power loss undoes: files are synced before what they hold is in tables alone.
//!
//! Bounded by the size of the log, [`RocksOptions::wal_bytes`](super::RocksOptions). The format of the log is that of RocksDB (`db/log_format.h`,
//! `db/write_batch.cc`): blocks of 32 KiB, in them fragments of a checksum, a length and a type.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// Types of a fragment: a whole record, and the first, a middle and the last part of one.
const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// An operation of a batch that is in the log and nowhere else.
const LOG_DATA: u8 = 3;
const MARK: &[u8] = b"synced\x01";

/// What a batch says of those before it: all up to this sequence number were on disk when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim(pub(super) u64);

impl Claim {
    /// To be put in front of a batch's operations.
    pub(super) fn encode(self) -> Vec<u8> {
        [MARK, &self.0.to_le_bytes()].concat()
    }

    /// As the first operation of a batch.
    fn find(operations: &[u8]) -> Option<Claim> {
        let (tag, rest) = operations.split_first()?;
        let (length, rest) = rest.split_first()?;
        let number = rest.strip_prefix(MARK)?.first_chunk().copied().map(u64::from_le_bytes)?;
        (*tag == LOG_DATA && usize::from(*length) == MARK.len() + size_of::<u64>()).then_some(Claim(number))
    }
}

/// The beginning of a record that can be read.
#[derive(Clone, Copy, Debug)]
struct Batch {
    sequence: u64,
    operations: u32,
    claim: Option<Claim>,
}

impl Batch {
    /// What has to be there of a batch, in bytes: sequence number, number of operations, claim.
    const HEAD: usize = 12 + 2 + MARK.len() + size_of::<u64>();

    fn parse(bytes: &[u8]) -> Option<Batch> {
        let (sequence, rest) = bytes.split_first_chunk()?;
        let (operations, rest) = rest.split_first_chunk()?;
        Some(Batch {
            sequence: u64::from_le_bytes(*sequence),
            operations: u32::from_le_bytes(*operations),
            claim: Claim::find(rest),
        })
    }

    /// Sequence number of the batch behind this one.
    fn next(&self) -> u64 {
        self.sequence.saturating_add(u64::from(self.operations))
    }

    /// What is known to have been on disk when this was written. A version that said nothing of it is taken to have synced everything: in
    /// doubt nothing is cut.
    fn synced_through(&self) -> u64 {
        self.claim.map_or(self.sequence.saturating_sub(1), |claim| claim.0)
    }
}

struct Fragment<'a> {
    kind: u8,
    body: &'a [u8],
    end: usize,
}

/// The fragment at a place; `None`: there is none that can be read.
fn fragment(log: &[u8], at: usize) -> Option<Fragment<'_>> {
    let header = log.get(at..at.checked_add(HEADER)?)?;
    let (checksum, rest) = header.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let kind = *rest.first()?;
    let body_at = at + HEADER;
    let end = body_at + usize::from(u16::from_le_bytes(*length));
    let in_block = end <= at - at % BLOCK + BLOCK;
    let body = log.get(body_at..end).filter(|_| in_block && (FULL..=LAST).contains(&kind))?;
    let checked = log.get(body_at - 1..end)?;
    // Stored checksums are turned and moved, so that a checksum over bytes that hold one is sound.
    let expected = crc32c::crc32c(checked).rotate_right(15).wrapping_add(0xa282_ead8);
    (u32::from_le_bytes(*checksum) == expected).then_some(Fragment { kind, body, end })
}

/// Where the next fragment begins: a block's last bytes hold none.
fn skip_trailer(at: usize) -> usize {
    if BLOCK - at % BLOCK < HEADER { at.next_multiple_of(BLOCK) } else { at }
}

/// The record at a place, and where it ends.
fn record(log: &[u8], at: usize) -> Option<(Batch, usize)> {
    let (mut head, mut end) = (Vec::new(), at);
    loop {
        let fragment = fragment(log, end)?;
        let goes_on = match (fragment.kind, end == at) {
            (FULL, true) | (LAST, false) => false,
            (FIRST, true) | (MIDDLE, false) => true,
            _ => return None,
        };
        let missing = Batch::HEAD.saturating_sub(head.len()).min(fragment.body.len());
        head.extend_from_slice(fragment.body.get(..missing)?);
        if !goes_on {
            return Some((Batch::parse(&head)?, fragment.end));
        }
        end = skip_trailer(fragment.end);
    }
}

/// The beginning of a record, which need not be whole.
fn beginning(log: &[u8], at: usize) -> Option<Batch> {
    let first = fragment(log, at).filter(|first| first.kind == FULL || first.kind == FIRST)?;
    if first.body.len() >= Batch::HEAD {
        return Batch::parse(first.body);
    }
    record(log, at).map(|(batch, _)| batch)
}

/// What can be read behind a place where nothing can.
fn behind(log: &[u8], at: usize) -> impl Iterator<Item = Batch> + '_ {
    let mut at = at + 1;
    std::iter::from_fn(move || {
        while at < log.len() {
            match fragment(log, at) {
                Some(found) => {
                    let batch = beginning(log, at);
                    at = skip_trailer(found.end);
                    if batch.is_some() {
                        return batch;
                    }
                }
                None => at += 1,
            }
        }
        None
    })
}

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// Every record can be read.
    Sound,
    /// From here on, in this file, there is nothing that was synced.
    Torn { file: usize, at: usize },
    /// From here on, in this file, something that was synced cannot be read.
    Damaged { file: usize, at: usize },
}

/// Looks over the files of a log, in their order.
fn examine(files: &[Vec<u8>]) -> Finding {
    let mut next = None;
    for (file, log) in files.iter().enumerate() {
        let read = whole_records(log, &mut next);
        let ControlFlow::Break(at) = read else { continue };
        let later = files.get(file + 1..).unwrap_or_default().iter();
        let mut followers = behind(log, at).chain(later.flat_map(|log| records_of(log)));
        // Where the log begins with what cannot be read, its number is not known: that of the last batch before the first one that can be.
        let first = followers.next();
        let unread = next.or_else(|| first.map(|batch| batch.sequence.saturating_sub(1)));
        let damaged = first.into_iter().chain(followers).any(|batch| Some(batch.synced_through()) >= unread);
        return if damaged { Finding::Damaged { file, at } } else { Finding::Torn { file, at } };
    }
    Finding::Sound
}

/// Goes over records as long as they can be read; breaks with the place of the first that cannot.
fn whole_records(log: &[u8], next: &mut Option<u64>) -> ControlFlow<usize> {
    let mut at = 0;
    while at < log.len() {
        match record(log, at) {
            Some((batch, end)) => {
                *next = Some(batch.next());
                at = skip_trailer(end);
            }
            None => return ControlFlow::Break(at),
        }
    }
    ControlFlow::Continue(())
}

/// All that can be read in a file, whatever else is in it.
fn records_of(log: &[u8]) -> impl Iterator<Item = Batch> + '_ {
    beginning(log, 0).into_iter().chain(behind(log, 0))
}

/// What was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Name of the file in the store's folder.
    pub file: String,
    /// Where it ends now, in bytes. Later files are empty.
    pub at: u64,
    /// What was cut off this file and later ones, in bytes.
    pub bytes: u64,
}

/// What there was to be seen of a log, and was done about it.
pub(super) enum Seen {
    /// Every record can be read, or there is none.
    Sound,
    /// Its end was never synced.
    Cut(Cut),
    /// A record that was synced cannot be read. Nothing was changed.
    Damaged {
        /// Name of the file in the store's folder.
        file: String,
        /// Where the record begins, in bytes.
        at: usize,
    },
}

/// Looks over the log in a store's folder, and cuts off its end if that was never synced.
///
/// # Errors
///
/// The folder or a file cannot be read or changed.
#[allow(clippy::disallowed_types, reason = "this file is the disk call")]
pub(super) fn look_over(folder: &Path) -> std::io::Result<Seen> {
    let names = files(folder)?;
    let logs = names.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let name = |file: usize| {
        let name = names.get(file).and_then(|name| name.file_name()).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let (file, at) = match examine(&logs) {
        Finding::Sound => return Ok(Seen::Sound),
        Finding::Damaged { file, at } => return Ok(Seen::Damaged { file: name(file), at }),
        Finding::Torn { file, at } => (file, at),
    };
    let mut bytes = 0;
    // From the end on: what is left after a crash in between is torn at the same place.
    for (number, (name, log)) in names.iter().zip(&logs).enumerate().skip(file).rev() {
        let left = if number == file { at } else { 0 };
        bytes += (log.len() - left) as u64;
        let changed = std::fs::File::options().write(true).open(name)?;
        changed.set_len(left as u64)?;
        changed.sync_all()?;
    }
    Ok(Seen::Cut(Cut { file: name(file), at: at as u64, bytes }))
}

/// The files of the log, in their order: a number and `.log`.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "log")) {
            numbered.push((number, path));
        }
    }
    numbered.sort();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

/// Where the records of a log begin.
#[cfg(test)]
pub(super) fn places(log: &[u8]) -> Vec<usize> {
    let (mut at, mut places) = (0, Vec::new());
    while let Some((_, end)) = record(log, at) {
        places.push(at);
        at = skip_trailer(end);
    }
    assert!(at >= log.len(), "a record at {at} cannot be read");
    places
}
