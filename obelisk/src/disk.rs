//! The disk as this crate sees it: a handful of blocking calls behind three traits. [`os`](crate::os) implements them on
//! the real file system, the tests on a simulated one that loses what was not synced and fails where it is told to.
//!
//! Nothing here retries: a failed sync is final (OB-09), and that decision belongs to the window.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

/// The one file that a name stood for when the counter was created. A copy is another file.
///
/// A part that a file system does not have is not compared. Inode numbers alone are used again after a removal, and
/// birth times alone are restored by some tools; device numbers change when a machine starts, and are not in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// Inode number.
    pub inode: Option<u64>,
    /// When the file was created, in nanoseconds since 1970.
    pub born_ns: Option<u64>,
}

impl Identity {
    pub(crate) fn same_file_as(&self, other: &Self) -> bool {
        let differ = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| a != b);
        !differ(self.inode, other.inode) && !differ(self.born_ns, other.born_ns)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |part: Option<u64>| part.map_or_else(|| "unknown".to_owned(), |part| part.to_string());
        write!(f, "inode {} born at {} ns", text(self.inode), text(self.born_ns))
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) len: u64,
    pub(crate) identity: Identity,
}

/// A file system. Created and renamed entries are durable only after `sync_dir`.
pub(crate) trait Disk: Clone + Send + Sync + 'static {
    type File: DiskFile;

    /// An existing file, to read and write.
    fn open(&self, path: &Path) -> io::Result<Option<Self::File>>;
    /// The same, created if it is missing; its content stays.
    fn open_or_create(&self, path: &Path) -> io::Result<Self::File>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the entries of the directory of this file durable.
    fn sync_dir_of(&self, path: &Path) -> io::Result<()>;
}

/// An open file. It stays locked until it is dropped. Positions are bytes from its beginning.
pub(crate) trait DiskFile: Send + Sync + 'static {
    type Map: Map;

    /// Whether the exclusive lock was free. It is this handle's from then on.
    fn try_lock(&self) -> io::Result<bool>;
    fn stat(&self) -> io::Result<Stat>;
    /// Changes the size; what is added has no blocks (OB-03).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes an empty file `len` zeros long that have room on the disk, so that writing there cannot fill it (SIGBUS).
    fn allocate(&self, len: u64) -> io::Result<()>;
    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()>;
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Makes size, content and mapped content durable.
    fn sync(&self) -> io::Result<()>;
    /// Names the page cache that holds the file: another one after each start of the machine, and each time the volume is
    /// mounted. `None` where that cannot be told.
    fn era(&self) -> Option<u128>;
    /// Maps a range of whole pages, shared with the file.
    fn map(&self, position: u64, len: u64) -> io::Result<Self::Map>;
}

/// Mapped content of a file.
pub(crate) trait Map: Send + Sync + 'static {
    fn words(&self) -> &[AtomicU64];
    /// Hands what was stored to the file. Durable after the next sync of it.
    fn flush(&self) -> io::Result<()>;
}
