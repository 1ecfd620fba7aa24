//! A disk that forgets: it keeps apart what was written and what is durable, and at a crash a seeded subset of the
//! unsynced sectors and directory entries survives. Also fails syncs and writes, runs full, and stops at any operation.
//!
//! Stricter than a real file system on purpose: sectors of 512 bytes survive in any combination, directory changes too,
//! and a sync of a file says nothing of its directory entry. After a failed sync the dirty data is gone for good while
//! reads still show it, as on Linux (IO-01). For tests; paths and damage are the tests' own, so it panics on misuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, RwLock};

use pyralog_protocol::Draw;

use crate::disk::{Disk, DiskFile, OpenMode, Space};

const SECTOR: usize = 512;
/// Size of the simulated volume in bytes.
pub const VOLUME_BYTES: u64 = 1 << 40;

/// What goes wrong, and when. Operations are counted from 1 over the life of the disk.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// This change of the disk, and everything after it, fails: the machine has lost power.
    pub crash_at: Option<u64>,
    /// This sync (of a file or directory) fails and drops what it should have written.
    pub fail_sync: Option<u64>,
    /// This write fails with an I/O error after half of its bytes.
    pub fail_write: Option<u64>,
    /// From this change on the disk is full: writes and creations fail, half of a write's bytes arrive.
    pub full_from: Option<u64>,
    /// Planted bug: syncs of files do nothing.
    pub sync_is_noop: bool,
    /// Planted bug: syncs of directories do nothing.
    pub dir_sync_is_noop: bool,
}

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Changes of any kind, syncs included.
    pub changes: u64,
    /// Writes to files.
    pub writes: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Files opened.
    pub opens: u64,
    /// Reads.
    pub reads: u64,
}

/// A simulated disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<RwLock<State>>);

/// An open file of it.
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(u64),
}

#[derive(Clone, Debug)]
enum Write {
    Bytes { position: usize, data: Vec<u8> },
    SetLen(usize),
}

#[derive(Default)]
struct Inode {
    view: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

/// A change of directory entries: first some go, then some come. Happens as a whole or not at all.
struct DirChange {
    dirs: Vec<String>,
    gone: Vec<String>,
    come: Vec<(String, Node)>,
}

#[derive(Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    view: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<DirChange>,
    faults: Faults,
    counters: Counters,
    dead: bool,
    /// Files whose sync failed, with the number of syncs tried after it.
    failed: BTreeMap<u64, u64>,
}

fn parent(path: &str) -> String {
    path.rsplit_once('/').map_or(String::new(), |(dir, _)| dir.to_owned())
}

fn apply_write(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::SetLen(len) => bytes.resize(*len, 0),
        Write::Bytes { position, data } => {
            let end = position + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*position..end].copy_from_slice(data);
        }
    }
}

fn apply_change(entries: &mut BTreeMap<String, Node>, change: &DirChange) {
    for path in &change.gone {
        entries.remove(path);
    }
    entries.extend(change.come.iter().cloned());
}

/// The parts of a write that survive on their own: it falls apart at sector borders.
fn sectors(write: &Write) -> Vec<Write> {
    let Write::Bytes { position, data } = write else { return vec![write.clone()] };
    let mut parts = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let room = SECTOR - (position + at) % SECTOR;
        let end = data.len().min(at + room);
        parts.push(Write::Bytes { position: position + at, data: data[at..end].to_vec() });
        at = end;
    }
    parts
}

impl State {
    /// Counts a change and says whether the machine still has power.
    fn change(&mut self) -> io::Result<u64> {
        self.counters.changes += 1;
        if self.faults.crash_at.is_some_and(|at| self.counters.changes >= at) {
            self.dead = true;
        }
        self.alive().map(|()| self.counters.changes)
    }

    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the machine has crashed")) } else { Ok(()) }
    }

    fn check_room(&self) -> io::Result<()> {
        match self.faults.full_from {
            Some(from) if self.counters.changes >= from => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn link(&mut self, change: DirChange) {
        apply_change(&mut self.view, &change);
        self.pending.push(change);
    }

    fn node(&self, path: &str) -> io::Result<Node> {
        self.view.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &str) -> io::Result<u64> {
        match self.node(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn write(&mut self, inode: u64, write: Write) {
        let file = self.inodes.get_mut(&inode).unwrap();
        apply_write(&mut file.view, &write);
        file.pending.push(write);
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        self.0.write().unwrap().faults = faults;
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.0.read().unwrap().counters
    }

    /// Whether the crash point was reached.
    pub fn is_dead(&self) -> bool {
        self.0.read().unwrap().dead
    }

    /// Syncs of files whose sync had failed before: has to stay 0 (IO-01).
    pub fn syncs_after_failure(&self) -> u64 {
        self.0.read().unwrap().failed.values().sum()
    }

    /// Power loss: the disk as the next start finds it. Everything synced survives, of the rest what the seed says:
    /// nothing, all of it, or each sector and entry by a coin.
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.0.read().unwrap();
        let mut draw = Draw::new(u128::from(seed) ^ 0xd15c);
        let mode = draw.next_u64() % 4;
        let mut survives = move || match mode {
            0 => false,
            1 => true,
            _ => draw.next_u64().is_multiple_of(2),
        };
        let mut entries = state.durable.clone();
        for change in state.pending.iter().filter(|_| survives()) {
            apply_change(&mut entries, change);
        }
        let mut after = State::default();
        for (path, node) in &entries {
            if !parent(path).is_empty() && entries.get(&parent(path)) != Some(&Node::Dir) {
                continue;
            }
            after.durable.insert(path.clone(), *node);
            let Node::File(inode) = node else { continue };
            let file = &state.inodes[inode];
            let mut bytes = file.durable.clone();
            for part in file.pending.iter().flat_map(sectors).filter(|_| survives()) {
                apply_write(&mut bytes, &part);
            }
            after.inodes.insert(*inode, Inode { view: bytes.clone(), durable: bytes, pending: Vec::new() });
        }
        after.view = after.durable.clone();
        Self(Arc::new(RwLock::new(after)))
    }

    /// Bytes of a file.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let state = self.0.read().unwrap();
        state.inodes[&state.file(path).unwrap()].view.clone()
    }

    /// Damages a file, durably: it has these bytes now.
    pub fn overwrite(&self, path: &str, bytes: Vec<u8>) {
        let mut state = self.0.write().unwrap();
        let inode = state.file(path).unwrap();
        state.inodes.insert(inode, Inode { view: bytes.clone(), durable: bytes, pending: Vec::new() });
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        self.0.read().unwrap().view.keys().cloned().collect()
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        let mut path = String::new();
        for part in dir.split('/') {
            let up = path.clone();
            path = if up.is_empty() { part.to_owned() } else { format!("{up}/{part}") };
            if !state.view.contains_key(&path) {
                state.change()?;
                state.link(DirChange { dirs: vec![up], gone: vec![], come: vec![(path.clone(), Node::Dir)] });
            }
        }
        Ok(())
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        let mut state = self.0.write().unwrap();
        state.alive()?;
        state.counters.opens += 1;
        if mode != OpenMode::Create {
            return Ok(SimFile { disk: self.clone(), inode: state.file(path)? });
        }
        state.change()?;
        state.check_room()?;
        if let Ok(inode) = state.file(path) {
            state.write(inode, Write::SetLen(0));
            return Ok(SimFile { disk: self.clone(), inode });
        }
        if state.node(&parent(path))? != Node::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let inode = state.inodes.last_key_value().map_or(0, |(last, _)| last + 1);
        state.inodes.insert(inode, Inode::default());
        let come = vec![(path.to_owned(), Node::File(inode))];
        state.link(DirChange { dirs: vec![parent(path)], gone: vec![], come });
        Ok(SimFile { disk: self.clone(), inode })
    }

    fn file_len(&self, path: &str) -> io::Result<u64> {
        let state = self.0.read().unwrap();
        state.alive()?;
        Ok(state.inodes[&state.file(path)?].view.len() as u64)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.0.read().unwrap();
        state.alive()?;
        let inside = state.view.keys().filter(|path| parent(path) == dir);
        Ok(inside.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        state.change()?;
        state.node(from)?;
        let prefix = format!("{from}/");
        let moved = state.view.iter().filter(|(path, _)| *path == from || path.starts_with(&prefix));
        let moved: Vec<_> = moved.map(|(path, node)| (path.clone(), *node)).collect();
        let come = moved.iter().map(|(path, node)| (format!("{to}{}", &path[from.len()..]), *node)).collect();
        let gone = moved.into_iter().map(|(path, _)| path).collect();
        state.link(DirChange { dirs: vec![parent(from), parent(to)], gone, come });
        Ok(())
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        state.alive()?;
        state.file(path)?;
        state.change()?;
        state.link(DirChange { dirs: vec![parent(path)], gone: vec![path.to_owned()], come: vec![] });
        Ok(())
    }

    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        state.change()?;
        state.node(dir)?;
        let prefix = format!("{dir}/");
        let gone = state.view.keys().filter(|path| *path == dir || path.starts_with(&prefix)).cloned().collect();
        state.link(DirChange { dirs: vec![parent(dir)], gone, come: vec![] });
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        state.change()?;
        state.counters.syncs += 1;
        if state.faults.fail_sync == Some(state.counters.syncs) {
            return Err(io::Error::other("directory sync failed"));
        }
        if state.faults.dir_sync_is_noop {
            return Ok(());
        }
        let (done, rest) =
            std::mem::take(&mut state.pending).into_iter().partition(|c| c.dirs.iter().any(|d| d == dir));
        state.pending = rest;
        let done: Vec<DirChange> = done;
        for change in &done {
            apply_change(&mut state.durable, change);
        }
        Ok(())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let state = self.0.read().unwrap();
        state.alive()?;
        Ok(state.view.contains_key(path))
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.0.read().unwrap();
        state.alive()?;
        let used: u64 = state.inodes.values().map(|file| file.view.len() as u64).sum();
        Ok(Space { total_bytes: VOLUME_BYTES, usable_bytes: VOLUME_BYTES - used })
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, parts: [&[u8]; 2], position: u64) -> io::Result<()> {
        let mut state = self.disk.0.write().unwrap();
        state.alive()?;
        state.counters.writes += 1;
        let mut data = parts.concat();
        let position = position as usize;
        let changed = state.change();
        let failed = match changed.and_then(|_| state.check_room()) {
            Err(error) => Some(error),
            Ok(()) if state.faults.fail_write == Some(state.counters.writes) => Some(io::Error::other("write failed")),
            Ok(()) => None,
        };
        if failed.is_some() && !state.dead {
            data.truncate(data.len() / 2);
        }
        state.write(self.inode, Write::Bytes { position, data });
        failed.map_or(Ok(()), Err)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.0.write().unwrap();
        state.alive()?;
        state.counters.reads += 1;
        let view = &state.inodes[&self.inode].view;
        let from = view.get(position as usize..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.write().unwrap();
        state.change()?;
        state.counters.syncs += 1;
        let fails = state.faults.fail_sync == Some(state.counters.syncs);
        if let Some(again) = state.failed.get_mut(&self.inode) {
            *again += 1;
        }
        if fails {
            state.failed.insert(self.inode, 0);
            state.inodes.get_mut(&self.inode).unwrap().pending.clear();
            return Err(io::Error::other("sync failed"));
        }
        if state.faults.sync_is_noop {
            return Ok(());
        }
        let file = state.inodes.get_mut(&self.inode).unwrap();
        for write in std::mem::take(&mut file.pending) {
            apply_write(&mut file.durable, &write);
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.write().unwrap();
        state.change()?;
        state.write(self.inode, Write::SetLen(bytes as usize));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.0.read().unwrap();
        state.alive()?;
        Ok(state.inodes[&self.inode].view.len() as u64)
    }
}
