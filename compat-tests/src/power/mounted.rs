//! The volume as a mounted file system.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::volume::{Inode, Kind, ROOT, Volume};
use crate::draw::Draw;

/// How long the kernel may believe what it was told: nobody else changes these files.
const TTL: Duration = Duration::from_secs(3600);

/// Small, so that the broker makes small journal files.
const VOLUME_BYTES: u64 = 4 << 30;

/// The volume and its switch.
struct State {
    volume: Volume,
    /// Changes and syncs so far.
    changes: u64,
    /// The power goes before this one.
    cut_before: u64,
    off: bool,
}

struct Shared {
    state: Mutex<State>,
    went_off: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked in here is a test that fails anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that changes what is there, or what will be there after a power loss. Without power nothing does.
    fn change<T>(&self, change: impl FnOnce(&mut Volume) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut state = self.state();
        state.changes += 1;
        if state.changes >= state.cut_before {
            state.off = true;
            self.went_off.notify_all();
        }
        if state.off { Err(Errno::EIO) } else { change(&mut state.volume) }
    }

    /// A change that always works, while there is power.
    fn sync(&self, sync: impl FnOnce(&mut Volume)) -> Result<(), Errno> {
        self.change(|volume| {
            sync(volume);
            Ok(())
        })
    }

    fn look<T>(&self, look: impl FnOnce(&Volume) -> Result<T, Errno>) -> Result<T, Errno> {
        let state = self.state();
        if state.off { Err(Errno::EIO) } else { look(&state.volume) }
    }
}

/// A volume in its place. Its content is in memory, and stays over [`Mounted::power_loss`].
pub struct Mounted {
    at: PathBuf,
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// A volume without any file, mounted at an empty folder.
    ///
    /// # Errors
    ///
    /// The system has no FUSE, or does not let us mount.
    pub fn new(at: &Path) -> std::io::Result<Mounted> {
        let state = State { volume: Volume::default(), changes: 0, cut_before: u64::MAX, off: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), went_off: Condvar::new() });
        let mut mounted = Mounted { at: at.to_owned(), shared, session: None };
        mounted.mount()?;
        Ok(mounted)
    }

    fn mount(&mut self) -> std::io::Result<()> {
        let mut config = Config::default();
        config.n_threads = Some(4);
        self.session = Some(fuser::spawn_mount(View(self.shared.clone()), &self.at, &config)?);
        Ok(())
    }

    /// Lets this many more changes and syncs happen, and cuts the power before the next one.
    pub fn cut_after(&self, changes: u64) {
        let mut state = self.shared.state();
        state.cut_before = state.changes.saturating_add(changes).saturating_add(1);
    }

    /// Waits until the power is off, cutting it at the end of this time at the latest. From then on each call fails.
    pub fn wait_until_off(&self, patience: Duration) {
        let state = self.shared.state();
        let waited = self.shared.went_off.wait_timeout_while(state, patience, |state| !state.off);
        waited.unwrap_or_else(PoisonError::into_inner).0.off = true;
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.shared.state().off
    }

    /// Changes and syncs so far.
    pub fn changes(&self) -> u64 {
        self.shared.state().changes
    }

    /// What the volume does wrong from here on, for a test of the test.
    pub fn plant(&self, planted: Option<super::Planted>) {
        self.shared.state().volume.planted = planted;
    }

    /// Ends without power what the processes that used it left, and mounts what is left of it.
    ///
    /// # Panics
    ///
    /// If it cannot be mounted again, for example because a process still uses it.
    pub fn power_loss(&mut self, draw: &mut Draw) {
        self.shared.state().off = true;
        self.unmount();
        {
            let mut state = self.shared.state();
            state.volume.lose_power(draw);
            state.off = false;
            state.cut_before = u64::MAX;
        }
        self.mount().expect("mounted again");
    }

    fn unmount(&mut self) {
        if let Some(session) = self.session.take() {
            // A thread that waits for the kernel may be told that it is gone; whether it is, mounting again shows.
            let _ = session.umount_and_join();
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // A panic in here would hide the one that brought us here.
            let _ = session.umount_and_join();
        }
    }
}

/// What the kernel talks to.
struct View(Arc<Shared>);

fn attributes(inode: Inode, kind: Kind) -> FileAttr {
    let (kind, size, perm) = match kind {
        Kind::File(bytes) => (FileType::RegularFile, bytes, 0o644),
        Kind::Directory => (FileType::Directory, 0, 0o755),
    };
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn found(volume: &Volume, inode: Inode) -> Result<FileAttr, Errno> {
    volume.kind(inode).map(|kind| attributes(inode, kind)).ok_or(Errno::ENOENT)
}

fn child(volume: &Volume, dir: INodeNo, name: &OsStr) -> Result<Inode, Errno> {
    volume.child(dir.0, name).ok_or(Errno::ENOENT)
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(done: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match done {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

/// `O_DSYNC`, which `O_SYNC` contains.
fn is_synced(flags: OpenFlags) -> bool {
    let dsync = rustix::fs::OFlags::DSYNC.bits();
    flags.0.cast_unsigned() & dsync == dsync
}

impl Filesystem for View {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // A large write is one change. Where the kernel cannot, it is several.
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.0.look(|volume| found(volume, child(volume, parent, name)?)), reply);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.look(|volume| found(volume, inode.0)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<std::time::SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<std::time::SystemTime>,
        _chgtime: Option<std::time::SystemTime>,
        _bkuptime: Option<std::time::SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = match size {
            Some(size) => self.0.change(|volume| {
                volume.set_length(inode.0, size).then_some(()).ok_or(Errno::ENOENT)?;
                found(volume, inode.0)
            }),
            None => self.0.look(|volume| found(volume, inode.0)),
        };
        match done {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        let done = self.0.change(|volume| {
            if volume.child(parent.0, name).is_some() {
                return Err(Errno::EEXIST);
            }
            let inode = volume.create_dir(parent.0, name);
            found(volume, inode)
        });
        entry(done, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.0.change(|volume| {
            child(volume, parent, name)?;
            volume.remove(parent.0, name);
            Ok(())
        });
        empty(done, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.0.change(|volume| {
            let dir = child(volume, parent, name)?;
            if volume.entries(dir).is_some_and(|entries| !entries.is_empty()) {
                return Err(Errno::ENOTEMPTY);
            }
            volume.remove(parent.0, name);
            Ok(())
        });
        empty(done, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = self.0.change(|volume| {
            let inode = child(volume, parent, name)?;
            if flags.contains(RenameFlags::RENAME_EXCHANGE) {
                return Err(Errno::EINVAL);
            }
            if let Some(there) = volume.child(newparent.0, newname).filter(|there| *there != inode) {
                if flags.contains(RenameFlags::RENAME_NOREPLACE) {
                    return Err(Errno::EEXIST);
                }
                if volume.entries(there).is_some_and(|entries| !entries.is_empty()) {
                    return Err(Errno::ENOTEMPTY);
                }
            }
            volume.rename((parent.0, name), (newparent.0, newname));
            Ok(())
        });
        empty(done, reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let done = self.0.change(|volume| {
            let inode = volume.child(parent.0, name).unwrap_or_else(|| volume.create_file(parent.0, name));
            found(volume, inode)
        });
        match done {
            Ok(attributes) => {
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: fuser::ReplyOpen) {
        if is_synced(flags) {
            self.0.state().volume.opened_for_synced_writes(inode.0);
        }
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.look(|volume| volume.read(inode.0, offset, size as usize).ok_or(Errno::ENOENT)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self
            .0
            .change(|volume| volume.write(inode.0, offset, data).then_some(()).ok_or(Errno::ENOENT))
            .and_then(|()| if is_synced(flags) { self.0.sync(|volume| volume.sync_file(inode.0)) } else { Ok(()) });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        empty(self.0.sync(|volume| volume.sync_file(inode.0)), reply);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        empty(self.0.sync(|volume| volume.sync_dir(inode.0)), reply);
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.0.look(|volume| {
            let entries = volume.entries(inode.0).ok_or(Errno::ENOTDIR)?;
            let all = entries.iter().map(|(name, inode)| (*inode, name.clone()));
            // In an order that removals in between do not shift.
            let sorted: BTreeMap<Inode, OsString> = all.collect();
            let dots = [(1, inode.0, ".".into()), (2, ROOT, "..".into())];
            let rest = sorted.into_iter().map(|(inode, name)| (inode + 2, inode, name));
            let listed = dots.into_iter().chain(rest).filter(|(at, ..)| *at > offset);
            Ok(listed.map(|(at, inode, name)| (at, inode, name, volume.kind(inode))).collect::<Vec<_>>())
        });
        match listed {
            Ok(entries) => {
                for (at, inode, name, kind) in entries {
                    let kind = if let Some(Kind::File(_)) = kind { FileType::RegularFile } else { FileType::Directory };
                    if reply.add(INodeNo(inode), at, kind, &name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.0.look(|volume| Ok(volume.used_bytes())) {
            Ok(used) => {
                let blocks = |bytes: u64| bytes / 4096;
                let free = blocks(VOLUME_BYTES.saturating_sub(used));
                reply.statfs(blocks(VOLUME_BYTES), free, free, 1 << 20, 1 << 20, 4096, 255, 4096);
            }
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        inode: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let done = match mode {
            0 => self.0.change(|volume| match volume.kind(inode.0) {
                Some(Kind::File(bytes)) => {
                    volume.set_length(inode.0, bytes.max(offset + length));
                    Ok(())
                }
                Some(Kind::Directory) | None => Err(Errno::EBADF),
            }),
            // Room ahead of the end changes nothing that this volume knows of.
            1 => Ok(()),
            _ => Err(Errno::EOPNOTSUPP),
        };
        empty(done, reply);
    }
}
