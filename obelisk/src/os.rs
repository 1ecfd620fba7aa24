//! The real disk. Differences between the systems are here and in `mapping.rs`, nowhere else.
//!
//! * Sync: `fsync` on Linux, `F_FULLFSYNC` on macOS, `FlushFileBuffers` on Windows (all three through `File::sync_all`).
//!   Not `fdatasync`: a size change needs the journal commit that makes both cost the same, and then it need not be asked
//!   of each file system whether it counts the size as data.
//! * Windows cannot sync a directory. NTFS writes its journal in order, so that the first sync of the file, which comes
//!   before the first number, carries the creation along.
//! * `ftruncate` beyond RLIMIT_FSIZE ends the process (SIGXFSZ), so the limit is asked first.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crate::disk::{Disk, DiskFile, Identity, Stat};
use crate::mapping::Mapping;

#[derive(Clone, Copy, Debug)]
pub(crate) struct OsDisk;

#[derive(Debug)]
pub(crate) struct OsFile(File);

impl Drop for OsFile {
    fn drop(&mut self) {
        // Closing is not enough: a child that is being started by another thread has the same open file until it begins
        // its program, and the lock with it.
        let _ = self.0.unlock();
    }
}

impl Disk for OsDisk {
    type File = OsFile;

    fn open(&self, path: &Path) -> io::Result<Option<OsFile>> {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => Ok(Some(OsFile(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_or_create(&self, path: &Path) -> io::Result<OsFile> {
        File::options().read(true).write(true).create(true).truncate(false).open(path).map(OsFile)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[cfg(windows)]
    fn sync_dir_of(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    #[cfg(not(windows))]
    fn sync_dir_of(&self, path: &Path) -> io::Result<()> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }
}

impl DiskFile for OsFile {
    type Map = Mapping;

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        let metadata = self.0.metadata()?;
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|born| u64::try_from(born.as_nanos()).ok());
        #[cfg(unix)]
        let inode = Some(std::os::unix::fs::MetadataExt::ino(&metadata));
        #[cfg(not(unix))]
        let inode = None;
        Ok(Stat { len: metadata.len(), identity: Identity { inode, born_ns } })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        check_size_limit(len)?;
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        check_size_limit(len)?;
        self.0.set_len(0)?;
        #[cfg(target_os = "linux")]
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, len) {
            Err(rustix::io::Errno::OPNOTSUPP) => {}
            done => return done.map_err(io::Error::from),
        }
        write_zeros(&self.0, len)
    }

    fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        platform::read_at(&self.0, bytes, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        platform::write_at(&self.0, bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn era(&self) -> Option<u128> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
        Some(boot.wrapping_add(u128::from(unique_mount_id(&self.0)?)))
    }

    #[cfg(not(target_os = "linux"))]
    fn era(&self) -> Option<u128> {
        None
    }

    fn map(&self, position: u64, len: u64) -> io::Result<Mapping> {
        Mapping::new(&self.0, position, len)
    }
}

/// A number that no other mount of this boot has had or gets; since Linux 6.8. The older `STATX_MNT_ID` is given out again
/// after an unmount, so it proves nothing.
#[cfg(target_os = "linux")]
fn unique_mount_id(file: &File) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let wanted = StatxFlags::from_bits_retain(0x4000);
    let stat = statx(file, "", AtFlags::EMPTY_PATH, wanted).ok()?;
    (stat.stx_mask & wanted.bits() != 0).then_some(stat.stx_mnt_id)
}

/// Where blocks cannot be reserved, zeros do the same.
fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let part = usize::try_from(len - at).map_or(zeros.len(), |rest| rest.min(zeros.len()));
        platform::write_at(file, zeros.get(..part).unwrap_or(&zeros), at)?;
        at += part as u64;
    }
    Ok(())
}

fn check_size_limit(len: u64) -> io::Result<()> {
    #[cfg(unix)]
    if rustix::process::getrlimit(rustix::process::Resource::Fsize).current.is_some_and(|limit| len > limit) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if i64::try_from(len).is_err() {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(())
}

#[cfg(unix)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
        file.read_exact_at(bytes, position)
    }

    pub(super) fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        file.write_all_at(bytes, position)
    }
}

#[cfg(windows)]
mod platform {
    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;

    pub(super) fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.seek_read(rest, position + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => done += read,
            }
        }
        Ok(())
    }

    pub(super) fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match file.seek_write(rest, position + done as u64)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => done += written,
            }
        }
        Ok(())
    }
}
