//! The disk as this crate sees it: a handful of blocking calls behind two traits. The shell implements them on the
//! real file system, `sim` on a simulated one that loses what was not synced.
//!
//! Paths are strings with `/` between their parts, relative to the data folder. Nothing here retries: a failed sync is
//! final (IO-01), and that decision belongs to the log.

use std::io;
use std::ops::Range;

use pyralog_protocol::WallMs;

use crate::allowance::Allowance;

/// How a file is opened. All modes can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, or an existing one cut to nothing; to read and write.
    Create,
    /// An existing file, to [write through](DiskFile::write_through).
    Journal,
}

/// Room on the volume that holds the data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_bytes: u64,
    /// What this process may still fill.
    pub usable_bytes: u64,
    /// `None`: there can be as many files as there are bytes for.
    pub inodes: Option<Inodes>,
}

/// Files and folders that a volume can have, where their number is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inodes {
    /// All of them.
    pub total: u64,
    /// Those that this process may still create.
    pub usable: u64,
}

/// A file system, or a part of one. Directory changes are durable only after [`Disk::sync_dir`] (IO-03).
pub trait Disk: Send + Sync + 'static {
    /// An open file. Closed when dropped.
    type File: DiskFile;

    /// Creates a directory and its parents; one that exists already is fine.
    fn create_dir_all(&self, dir: &str) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Self::File>;
    /// Length of a file in bytes, without opening it.
    fn file_len(&self, path: &str) -> io::Result<u64>;
    /// When a file was last written, where the file system knows.
    fn modified(&self, _path: &str) -> io::Result<Option<WallMs>> {
        Ok(None)
    }
    /// Names of the entries of a directory, in any order, without their path.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;
    /// Renames a file or directory, replacing a file that is there.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Descriptors that are open stay readable.
    fn remove_file(&self, path: &str) -> io::Result<()>;
    /// Removes a directory and what is in it.
    fn remove_dir_all(&self, dir: &str) -> io::Result<()>;
    /// Makes creations, renames and removals in this directory durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Whether there is a file or directory of that name.
    fn exists(&self, path: &str) -> io::Result<bool>;
    /// Room on the volume, now.
    fn space(&self) -> io::Result<Space>;
    /// The books of what may be written until somebody looks again.
    fn allowance(&self) -> &Allowance;
    /// Files of it that are open now. Cheap: it is asked before every append.
    fn open_files(&self) -> usize;
}

/// An open file. All positions are bytes from its beginning.
pub trait DiskFile: std::any::Any + Send + Sync {
    /// Writes all of both parts, one behind the other. A failure may leave any part of them written.
    fn write_all_at(&self, parts: [&[u8]; 2], position: u64) -> io::Result<()>;
    /// Writes all of it and returns once it is durable. Position, length and the place of `bytes` in memory are multiples
    /// of 4096, so that a file opened for [`OpenMode::Journal`] can go around the page cache.
    fn write_through(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at([bytes, &[]], position)?;
        self.sync_data()
    }
    /// Reads up to `buffer.len()` bytes; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Reads all of `buffer`, unless that had to wait for the disk: then false, and nothing is promised of the buffer.
    fn read_cached_at(&self, buffer: &mut [u8], position: u64) -> io::Result<bool> {
        Ok(read_full(self, buffer, position)? == buffer.len())
    }
    /// Whether these bytes can be read without waiting for the disk, as far as that can be told cheaply.
    fn is_cached(&self, _position: u64, _bytes: usize) -> bool {
        true
    }
    /// What was read of these bytes need not stay in memory. A hint.
    fn forget(&self, _position: u64, _bytes: u64) {}
    /// Takes room for these bytes of the file without changing its length: what was never written is never read, so
    /// nothing can take it for data (IO-05). Where the file system cannot do that, nothing happens.
    fn reserve(&self, _bytes: Range<u64>) -> io::Result<()> {
        Ok(())
    }
    /// Makes everything written so far durable, with the length (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the length is zero.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Fills the buffer from `position` on; returns how much there was.
pub(crate) fn read_full<F: DiskFile + ?Sized>(file: &F, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether a look-up may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It may.
    Waits,
    /// It may, but not until an index is built that is missing, which reads a segment from end to end.
    Reads,
    /// Where it would have to, it ends with an error of [`io::ErrorKind::WouldBlock`].
    Hurries,
}

impl Patience {
    /// Fills the buffer from `position` on; gives how much there was.
    pub(crate) fn read_full<F: DiskFile>(self, file: &F, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        match self {
            Self::Waits | Self::Reads => read_full(file, buffer, position),
            Self::Hurries if file.read_cached_at(buffer, position)? => Ok(buffer.len()),
            Self::Hurries => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// An error if what comes next may wait for the disk, and must not.
    pub(crate) fn may_wait(self) -> io::Result<()> {
        match self {
            Self::Waits | Self::Reads => Ok(()),
            Self::Hurries => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// Whether an error says that no more files can be open (EMFILE, ENFILE), which passes. The file was not touched then.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Whether an error says that the disk has no room, which passes, rather than that it is broken, which is final.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
