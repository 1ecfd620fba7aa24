//! A cleaned segment takes the place of others: the files on the way, and what a start makes of them.
//!
//! 1. `<base>.cleaned` is written and synced, then the folder.
//! 2. `<base>-<end>.swap` says that it takes the place of the segments in `base..end`; synced, with the folder. From here
//!    on the swap is decided.
//! 3. The cleaned end in `partition.meta` is raised. Then, with the log locked, `<base>.cleaned` becomes `<base>.log`, and the other
//!    segments become `<their base>.replaced`.
//! 4. The folder is synced, what was replaced is removed, then the marker, and the folder is synced.
//!
//! A start that finds the marker does 3 and 4 again; one that finds other files of this kind without it removes them.
//! Holds: `<base>.cleaned` is removed only when it is durable that there is no marker, so a marker without it says that it
//! was renamed; what the process before did is made durable before anything rests on it.
//! Index files go first: an old one could pass for one of the new segment.

use std::io;

use bytes::{Buf, BufMut};
use pyralog_protocol::{LogOffset, TopicId};

use crate::disk::Disk;
use crate::files::{FileError, Kind, read_small, seal, unseal};
use crate::segment::{file_name, parse_name};
use crate::state::PartitionMeta;

const MARKER: Kind = Kind { magic: *b"PLSW", version: 1 };
pub(crate) const CLEANED: &str = "cleaned";
pub(crate) const CLEANED_INDEX: &str = "cleaned-index";
pub(crate) const REPLACED: &str = "replaced";
const SWAP: &str = "swap";

/// Which segments a cleaned one replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Swap {
    /// The log, for a folder of that name may be another's meanwhile.
    pub topic_id: TopicId,
    /// Base of the new segment and of the first that it replaces.
    pub base: LogOffset,
    /// Base of the first segment behind.
    pub end: LogOffset,
    /// Bytes of the new segment.
    pub size: u64,
}

/// Whether a file of that name belongs to a swap.
pub(crate) fn is_ours(name: &str) -> bool {
    [CLEANED, CLEANED_INDEX, REPLACED, SWAP].iter().any(|kind| name.rsplit_once('.').is_some_and(|(_, e)| e == *kind))
}

impl Swap {
    pub fn name(&self) -> String {
        format!("{:020}-{:020}.{SWAP}", self.base.0, self.end.0)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(40);
        payload.put_slice(&self.topic_id.0);
        payload.put_i64(self.base.0);
        payload.put_i64(self.end.0);
        payload.put_u64(self.size);
        seal(MARKER, &payload)
    }

    pub fn decode(path: &str, bytes: &[u8]) -> Result<Self, FileError> {
        let mut payload = unseal(MARKER, path, bytes)?;
        if payload.len() != 40 {
            return Err(FileError::Damaged { path: path.to_owned(), what: "length" });
        }
        let mut id = [0; 16];
        payload.copy_to_slice(&mut id);
        let (base, end) = (LogOffset(payload.get_i64()), LogOffset(payload.get_i64()));
        Ok(Self { topic_id: TopicId(id), base, end, size: payload.get_u64() })
    }
}

/// Why swaps could not be settled.
#[derive(Debug)]
pub(crate) enum Unsettled {
    Io(io::Error),
    /// The new segment is neither waiting nor in place. Nothing was removed.
    Missing(Swap),
}

impl From<io::Error> for Unsettled {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Finishes the swaps that were decided, and removes what others left. `names`: what of the folder [is ours](is_ours).
pub(crate) fn settle<D: Disk>(
    disk: &D,
    dir: &str,
    meta: &mut PartitionMeta,
    names: &[String],
) -> Result<(), Unsettled> {
    if names.is_empty() {
        return Ok(());
    }
    disk.sync_dir(dir)?;
    let markers = || names.iter().filter(|name| name.ends_with(SWAP));
    for name in markers() {
        let path = format!("{dir}/{name}");
        // One that cannot be read was not synced, so nothing rests on it.
        let swap = read_small(disk, &path).and_then(|bytes| Swap::decode(&path, &bytes));
        if let Ok(swap) = swap
            && swap.topic_id == meta.topic_id
        {
            finish(disk, dir, meta, &swap)?;
        }
    }
    disk.sync_dir(dir)?;
    for name in markers() {
        remove_if_there(disk, &format!("{dir}/{name}"))?;
    }
    disk.sync_dir(dir)?;
    for name in names {
        remove_if_there(disk, &format!("{dir}/{name}"))?;
    }
    Ok(())
}

/// The third step, whatever of it was done already.
fn finish<D: Disk>(disk: &D, dir: &str, meta: &mut PartitionMeta, swap: &Swap) -> Result<(), Unsettled> {
    let path = |offset, kind| format!("{dir}/{}", file_name(offset, kind));
    let (cleaned, log) = (path(swap.base, CLEANED), path(swap.base, "log"));
    let waiting = disk.exists(&cleaned)?;
    match disk.file_len(if waiting { &cleaned } else { &log }) {
        Ok(size) if size == swap.size => {}
        // Retention took it, and what it replaced lies below the log start as well.
        Err(error) if !waiting && error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(_) => return Err(Unsettled::Missing(*swap)),
        Err(error) => return Err(error.into()),
    }
    if meta.cleaned_end < swap.end {
        meta.cleaned_end = swap.end;
        meta.write(disk, dir)?;
    }
    remove_if_there(disk, &path(swap.base, "index"))?;
    if waiting {
        disk.rename(&cleaned, &log)?;
    }
    let bases: Vec<LogOffset> = disk.list(dir)?.iter().filter_map(|name| parse_name(name, "log")).collect();
    for base in bases.into_iter().filter(|base| (swap.base.0 + 1..swap.end.0).contains(&base.0)) {
        remove_if_there(disk, &path(base, "index"))?;
        remove_if_there(disk, &path(base, "log"))?;
    }
    Ok(())
}

pub(crate) fn remove_if_there<D: Disk>(disk: &D, path: &str) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
