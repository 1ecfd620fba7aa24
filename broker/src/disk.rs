//! The real file system behind `pyralog_storage::Disk`. Every call is one or two system calls; nothing is retried.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use pyralog_protocol::WallMs;
use pyralog_storage::{Allowance, Disk, DiskFile, Inodes, OpenMode, Space};
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::ReadWriteFlags;

/// The data folder.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
    open: Arc<AtomicUsize>,
    allowance: Allowance,
}

impl RealDisk {
    /// A disk whose paths are relative to `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), open: Arc::default(), allowance: Allowance::default() }
    }

    fn counted(&self, file: File, through: bool) -> RealFile {
        self.open.fetch_add(1, Ordering::Relaxed);
        RealFile { file, through, open: Arc::clone(&self.open) }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(dir))
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<RealFile> {
        let mut options = OpenOptions::new();
        options.read(true);
        if mode == OpenMode::Journal {
            return open_journal(&self.path(path), options).map(|file| self.counted(file, true));
        }
        match mode {
            OpenMode::Read | OpenMode::Journal => {}
            OpenMode::Write => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        options.open(self.path(path)).map(|file| self.counted(file, false))
    }

    fn file_len(&self, path: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(path))?.len())
    }

    fn modified(&self, path: &str) -> io::Result<Option<WallMs>> {
        let since = fs::metadata(self.path(path))?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(i64::try_from(since.as_millis()).ok().map(WallMs))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        fs::remove_dir_all(self.path(dir))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        File::open(self.path(dir))?.sync_all()
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.path(path).try_exists()
    }

    fn space(&self) -> io::Result<Space> {
        let volume = rustix::fs::statvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(volume.f_frsize);
        // File systems that make inodes as they need them say that there are none.
        let inodes = Some(Inodes { total: volume.f_files, usable: volume.f_favail }).filter(|inodes| inodes.total > 0);
        Ok(Space { total_bytes: bytes(volume.f_blocks), usable_bytes: bytes(volume.f_bavail), inodes })
    }

    fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    fn open_files(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// Opens a journal file so that a write returns when it is on disk, around the page cache where the file system can do
/// that: one system call less, and half the time for small rounds.
fn open_journal(path: &Path, mut options: OpenOptions) -> io::Result<File> {
    let flags = |flags: OFlags| i32::try_from(flags.bits()).unwrap_or_default();
    options.write(true);
    match options.clone().custom_flags(flags(OFlags::DIRECT | OFlags::DSYNC)).open(path) {
        // Such as tmpfs and some network file systems.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            options.custom_flags(flags(OFlags::DSYNC)).open(path)
        }
        opened => opened,
    }
}

/// An open file.
#[derive(Debug)]
pub struct RealFile {
    file: File,
    /// Writes are durable when they return.
    through: bool,
    /// Open files of its disk.
    open: Arc<AtomicUsize>,
}

impl Drop for RealFile {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Distance of the places that are looked for in the page cache. The kernel reads ahead and forgets in pieces of some 100 KiB; where all these places are
/// there, what is missing between them is little, and each costs a call and a miss of the processor's cache (at every 64 KiB
/// they were a ninth of the work of a large fetch).
const PROBE_EVERY: usize = 256 << 10;

impl RealFile {
    /// The file, for the socket.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    fn is_cached_at(&self, position: u64) -> bool {
        let mut byte = [0];
        let mut into = [io::IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(&self.file, &mut into, position, ReadWriteFlags::NOWAIT) {
            Ok(_) => true,
            // Anything but "it would block" is for the read itself to say, file systems that do not know the flag included.
            Err(error) => error != rustix::io::Errno::AGAIN,
        }
    }
}

impl DiskFile for RealFile {
    fn write_all_at(&self, parts: [&[u8]; 2], position: u64) -> io::Result<()> {
        let [head, tail] = parts;
        let slices = [io::IoSlice::new(head), io::IoSlice::new(tail)];
        // File systems in user space may be interrupted.
        let written = rustix::io::retry_on_intr(|| rustix::io::pwritev(&self.file, &slices, position))?;
        let total = head.len() + tail.len();
        if written == total {
            return Ok(());
        }
        // A short write is rare (a signal, a disk that fills up): the rest in plain steps.
        let at = position + written as u64;
        match written.checked_sub(head.len()) {
            Some(in_tail) => self.file.write_all_at(tail.get(in_tail..).unwrap_or_default(), at),
            None => {
                self.file.write_all_at(head.get(written..).unwrap_or_default(), at)?;
                self.file.write_all_at(tail, position + head.len() as u64)
            }
        }
    }

    fn write_through(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)?;
        if self.through { Ok(()) } else { self.sync_data() }
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buffer, position)
    }

    fn read_cached_at(&self, buffer: &mut [u8], position: u64) -> io::Result<bool> {
        let wanted = buffer.len();
        let mut into = [io::IoSliceMut::new(buffer)];
        match rustix::io::preadv2(&self.file, &mut into, position, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == wanted),
            Err(rustix::io::Errno::AGAIN) => Ok(false),
            // A file system that does not know the flag cannot say.
            Err(_) => Ok(self.file.read_exact_at(buffer, position).is_ok()),
        }
    }

    fn is_cached(&self, position: u64, bytes: usize) -> bool {
        let last = position + (bytes as u64).saturating_sub(1);
        (position..last).step_by(PROBE_EVERY).all(|at| self.is_cached_at(at)) && self.is_cached_at(last)
    }

    fn forget(&self, position: u64, bytes: u64) {
        // A hint: where it cannot be given, the system forgets when it wants to.
        let _ = rustix::fs::fadvise(&self.file, position, NonZeroU64::new(bytes), Advice::DontNeed);
    }

    fn reserve(&self, bytes: Range<u64>) -> io::Result<()> {
        let length = bytes.end.saturating_sub(bytes.start);
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, bytes.start, length) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
