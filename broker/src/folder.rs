//! The data folder as a whole: its lock, its format, the clean-shutdown marker and the recovery checkpoint.
//! Layout: `format` (version), `lock`, `clean-shutdown`, `recovery-points` (`recovery-points.damaged` if it could not be read), `unclean-starts`, `ballast`, `ballast-start`, `journal/`,
//! `coordinator/` (RocksDB), `logs/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pyralog_node::lifecycle::{DELETED, ORPHAN};
use pyralog_protocol::LogOffset;
use pyralog_storage::{FileError, META_FILE};

/// Version of the data folder's layout.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
const CLEAN_FILE: &str = "clean-shutdown";
/// What the marker begins with.
const CLEAN: &str = "clean";
/// Begins a line of it that names a partition.
const UNTOUCHED: &str = "offline ";
const POINTS_FILE: &str = "recovery-points";
/// What could not be read of it.
const LOST_POINTS_FILE: &str = "recovery-points.damaged";
const STARTS_FILE: &str = "unclean-starts";

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be created or written.
    #[error("cannot use the data folder {path}: {cause}; check that it exists, is writable and has room (--data)")]
    Unusable {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Another process has it.
    #[error("the data folder {path} is in use by another process; stop it first, or choose another folder with --data")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Another version wrote it.
    #[error(
        "the data folder {path} has format {found:?}, this pyralog reads format \"{FORMAT}\"; use the version that wrote it, or another folder with --data"
    )]
    Format {
        /// The folder.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// There is nothing in it.
    #[error("the folder {path} holds no pyralog data; name the folder of a broker with --data")]
    NoData {
        /// The folder.
        path: PathBuf,
    },
    /// Logs without the store that says whose they are.
    #[error(
        "the data folder {path} has logs, such as {first}, and no metadata store: a start would make a new, empty cluster of \
         it; restore {path}/coordinator from a copy of the same time, or move {path}/logs away to begin anew"
    )]
    NoStore {
        /// The folder.
        path: PathBuf,
        /// One of the logs' folders.
        first: String,
    },
    /// It holds something else.
    #[error("the folder {path} is not empty and holds no pyralog data; choose another one with --data")]
    Foreign {
        /// The folder.
        path: PathBuf,
    },
}

/// Why nobody knows how far the logs were on disk.
#[derive(Debug, thiserror::Error)]
pub enum PointsLost {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// There is none, where there has to be one.
    #[error("{POINTS_FILE} is missing, although the broker was stopped in order")]
    Missing,
}

/// Folder of the coordinator's store, below the data folder.
const COORDINATOR: &str = "coordinator";

/// A locked data folder.
#[derive(Debug)]
pub struct DataFolder {
    root: PathBuf,
    /// Held as long as the process lives.
    _lock: File,
    /// Whether the last process closed in order everything that served.
    pub was_clean: bool,
    /// Partitions that it found offline and left as they were, by their keys.
    untouched: BTreeSet<String>,
    /// Whether there was data before.
    pub is_new: bool,
}

impl DataFolder {
    /// Creates or opens the folder, locks it and checks its format.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |cause| FolderError::Unusable { path, cause }
        };
        let made = !root.exists();
        fs::create_dir_all(root).map_err(unusable(root))?;
        let lock_path = root.join(LOCK_FILE);
        let known = root.join(FORMAT_FILE).exists();
        if !known && fs::read_dir(root).map_err(unusable(root))?.flatten().any(|e| !is_ours_or_hidden(&e.file_name())) {
            return Err(FolderError::Foreign { path: root.to_owned() });
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(unusable(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FolderError::InUse { path: root.to_owned() }),
            Err(fs::TryLockError::Error(cause)) => return Err(unusable(&lock_path)(cause)),
        }
        let is_new = check_format(root)?;
        let (was_clean, untouched) = read_marker(root);
        let logs = root.join(pyralog_node::lifecycle::LOGS);
        fs::create_dir_all(&logs).map_err(unusable(&logs))?;
        if !was_clean {
            prove_names(root, &logs, made).map_err(unusable(root))?;
        }
        // Partitions are created when the store knows of them, which is never undone.
        if !root.join(COORDINATOR).exists()
            && let Some(first) = some_partition(&logs).map_err(unusable(&logs))?
        {
            return Err(FolderError::NoStore { path: root.to_owned(), first });
        }
        Ok(Self { root: root.to_owned(), _lock: lock, was_clean, untouched, is_new })
    }

    /// Opens a folder that is there, to look at it only: nothing is created or changed, and no broker starts on it meanwhile.
    pub fn look(root: &Path) -> Result<Self, FolderError> {
        let unusable = |path: PathBuf| |cause| FolderError::Unusable { path, cause };
        let format = root.join(FORMAT_FILE);
        match fs::read_to_string(&format) {
            Ok(found) if found.trim() == FORMAT.to_string() => {}
            Ok(found) => return Err(FolderError::Format { path: root.to_owned(), found: found.trim().to_owned() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound && root.is_dir() => {
                return Err(FolderError::NoData { path: root.to_owned() });
            }
            Err(cause) => return Err(unusable(format)(cause)),
        }
        let lock_path = root.join(LOCK_FILE);
        let lock = File::open(&lock_path).map_err(unusable(lock_path.clone()))?;
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(FolderError::InUse { path: root.to_owned() }),
            Err(fs::TryLockError::Error(cause)) => return Err(unusable(lock_path)(cause)),
        }
        let (was_clean, untouched) = read_marker(root);
        Ok(Self { root: root.to_owned(), _lock: lock, was_clean, untouched, is_new: false })
    }

    /// Whether the partition with this key was closed in order.
    pub fn is_clean(&self, key: &str) -> bool {
        self.was_clean && !self.untouched.contains(key)
    }

    /// Whether every partition was, so that nothing rests on the journal.
    pub fn is_clean_throughout(&self) -> bool {
        self.was_clean && self.untouched.is_empty()
    }

    /// The folder of the coordinator's store.
    pub fn coordinator(&self) -> PathBuf {
        self.root.join(COORDINATOR)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the clean-shutdown marker away, durably, before anything may be appended (IO-10).
    pub fn mark_dirty(&self) -> io::Result<()> {
        match fs::remove_file(self.root.join(CLEAN_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        File::open(&self.root)?.sync_all()
    }

    /// Counts this start if it follows an unclean end (OP-11). Gives how many in a row do. Not synced: nothing rests on it.
    pub fn count_start(&self) -> io::Result<u32> {
        let path = self.root.join(STARTS_FILE);
        if self.was_clean || self.is_new {
            return Ok(0);
        }
        let before: u32 = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let starts = before.saturating_add(1);
        fs::write(&path, format!("{starts}\n"))?;
        Ok(starts)
    }

    /// The count begins anew: after a clean stop, and once a start has served for long enough.
    pub fn forget_starts(&self) {
        let _ = fs::remove_file(self.root.join(STARTS_FILE));
    }

    /// Writes the clean-shutdown marker: the last act of a shutdown whose load had finished (IO-10). It names the partitions
    /// that were offline all the time: how they were left, an earlier process knew.
    pub fn mark_clean(&self, untouched: &BTreeSet<String>) -> io::Result<()> {
        self.forget_starts();
        let lines: String = untouched.iter().map(|key| format!("{UNTOUCHED}{key}\n")).collect();
        write_durably(&self.root, CLEAN_FILE, format!("{CLEAN}\n{lines}").as_bytes())
    }

    /// How far each partition was on disk when the checkpoint was written. None was written yet: none.
    pub fn recovery_points(&self) -> Result<BTreeMap<String, LogOffset>, PointsLost> {
        match fs::read(self.root.join(POINTS_FILE)) {
            Ok(bytes) => Ok(pyralog_storage::decode_recovery_points(POINTS_FILE, &bytes)?),
            // It is written before the marker.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.was_clean => Err(PointsLost::Missing),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(source) => Err(FileError::Io { path: POINTS_FILE.to_owned(), source }.into()),
        }
    }

    /// Keeps a checkpoint that cannot be read under another name, for it will be replaced. Gives the name.
    pub fn keep_lost_points(&self) -> io::Result<PathBuf> {
        let (file, kept) = (self.root.join(POINTS_FILE), self.root.join(LOST_POINTS_FILE));
        match fs::hard_link(&file, &kept) {
            // One from an earlier start: whoever wants it had the time.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&kept)?;
                fs::hard_link(&file, &kept)?;
            }
            // Not every file system has links.
            Err(e) if e.kind() != io::ErrorKind::NotFound => fs::rename(&file, &kept)?,
            linked => linked?,
        }
        Ok(kept)
    }

    /// Replaces the checkpoint.
    pub fn write_recovery_points(&self, points: &BTreeMap<String, LogOffset>) -> io::Result<()> {
        write_durably(&self.root, POINTS_FILE, &pyralog_storage::encode_recovery_points(points))
    }
}

/// The folder of a partition that is in service, if there is one.
fn some_partition(logs: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(logs)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let aside = [DELETED, ORPHAN].iter().any(|suffix| name.ends_with(suffix));
        if !aside && entry.path().join(META_FILE).exists() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether the marker of a clean stop is there, and the partitions that it leaves out. One that says anything else is none.
fn read_marker(root: &Path) -> (bool, BTreeSet<String>) {
    let text = fs::read_to_string(root.join(CLEAN_FILE)).unwrap_or_default();
    let mut lines = text.lines();
    if lines.next() != Some(CLEAN) {
        return (false, BTreeSet::new());
    }
    let untouched: Option<_> = lines.map(|line| line.strip_prefix(UNTOUCHED).map(str::to_owned)).collect();
    untouched.map_or((false, BTreeSet::new()), |untouched| (true, untouched))
}

/// Whatever is in the folder is there to stay (IO-03): its own name, where it was just made; the folder of the partitions; and
/// those of them that a process has created and died before it could sync that.
fn prove_names(root: &Path, logs: &Path, made: bool) -> io::Result<()> {
    File::open(logs)?.sync_all()?;
    File::open(root)?.sync_all()?;
    match root.canonicalize()?.parent().filter(|_| made) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn is_ours_or_hidden(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    // A fresh ext4 volume has lost+found; the others are what an interrupted first start leaves.
    name.starts_with('.') || matches!(&*name, "lost+found" | "lock" | "format.new" | "logs" | "coordinator")
}

/// Checks the format file, or writes it into a new folder. Tells whether the folder is new.
fn check_format(root: &Path) -> Result<bool, FolderError> {
    let path = root.join(FORMAT_FILE);
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == FORMAT.to_string() => Ok(false),
        Ok(found) => Err(FolderError::Format { path: root.to_owned(), found: found.trim().to_owned() }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            write_durably(root, FORMAT_FILE, format!("{FORMAT}\n").as_bytes())
                .map_err(|cause| FolderError::Unusable { path, cause })?;
            Ok(true)
        }
        Err(cause) => Err(FolderError::Unusable { path, cause }),
    }
}

/// Replaces a small file so that after a crash it is the old one or the new one (IO-03).
fn write_durably(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let fresh = dir.join(format!("{name}.new"));
    let mut file = File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(name))?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
