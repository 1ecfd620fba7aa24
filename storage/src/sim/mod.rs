//! A disk that forgets: it keeps apart what was written and what is durable, and at a crash a seeded part of the rest
//! survives. Also fails reads, writes, syncs and openings, runs full, sends writes astray, and stops at any operation.
//!
//! Stricter than a real file system on purpose: contents fall apart at sectors or within them, the length of a file is a
//! matter apart from its bytes, names come and go in any order and independently of what they name, and a sync of a file
//! says nothing of its directory entry. Only what a synced call covered is sure. After a failed sync the dirty data is gone
//! for good, but for a part of it, while reads still show it, as on Linux (IO-01); names stay as they were, because file
//! systems keep a journal of them and stop when that fails. What [`crash`] draws is in `weather`.
//!
//! Not here: old content of blocks that are given to another file, and damage to sectors that no pending write touches,
//! unless a test [asks for it](SimDisk::flip). For tests; paths and damage are the tests' own, so it panics on misuse.
//!
//! [`crash`]: SimDisk::crash
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod content;
#[cfg(test)]
mod tests;
mod tree;
mod weather;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, RwLock};

use pyralog_protocol::WallMs;

use crate::allowance::Allowance;
use crate::disk::{Disk, DiskFile, Inodes, OpenMode, Space, read_full};
use content::{Content, Write};
use tree::{Node, Tree};
use weather::Weather;

/// What a disk writes whole or not at all, mostly.
const SECTOR: usize = 512;
/// Size of the simulated volume in bytes, unless [`Faults::capacity`] says less.
pub const VOLUME_BYTES: u64 = 1 << 40;
/// What is in memory or not.
const PAGE: u64 = 4096;
/// How far beside its place a write lands that goes astray.
const ASTRAY: usize = 4096;

/// What goes wrong, and when. Operations are counted from 1 over the life of the disk.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// This change of the disk, and everything after it, fails: the machine has lost power.
    pub crash_at: Option<u64>,
    /// This sync (of a file or directory) fails; of what a file should have had, some is on disk and the rest never will.
    pub fail_sync: Option<u64>,
    /// This write fails with an I/O error after half of its bytes.
    pub fail_write: Option<u64>,
    /// This read fails with an I/O error.
    pub fail_read: Option<u64>,
    /// From this opening on no file can be opened: the process is out of descriptors.
    pub no_open_from: Option<u64>,
    /// So many files may be open at a time; one more is refused.
    pub open_max: Option<usize>,
    /// From this change on the disk is full: writes and creations fail, half of a write's bytes arrive.
    pub full_from: Option<u64>,
    /// Bytes that the files of the disk may have together; writes above that fail as on a full disk.
    pub capacity: Option<u64>,
    /// What the volume says of its inodes.
    pub inodes: Option<Inodes>,
    /// So many files and folders there may be together: the volume says what is left of them, and more fail as on a full disk.
    pub inodes_max: Option<u64>,
    /// The volume cannot be asked for its room.
    pub no_space: bool,
    /// This write lands 4 KiB beside its place, which shows when the page cache is gone.
    pub misdirect_write: Option<u64>,
    /// This write never reaches the disk although a sync says so, which shows when the page cache is gone.
    pub lose_write: Option<u64>,
    /// Planted bug: syncs of files do nothing.
    pub sync_is_noop: bool,
    /// Planted bug: syncs of directories do nothing.
    pub dir_sync_is_noop: bool,
    /// Planted bug: syncs of directories leave out what was renamed, as if nobody had asked for them there.
    pub renames_stay_unsynced: bool,
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
pub struct SimDisk(Arc<RwLock<State>>, Arc<AtomicUsize>, Arc<Allowance>);

/// An open file of it.
pub struct SimFile {
    disk: SimDisk,
    inode: u64,
}

#[derive(Default)]
struct State {
    tree: Tree,
    files: BTreeMap<u64, Content>,
    next_inode: u64,
    faults: Faults,
    counters: Counters,
    dead: bool,
    /// Files whose sync failed, with the number of syncs tried after it.
    failed: BTreeMap<u64, u64>,
    /// Bytes that files have room for, where that was asked for.
    reserved: BTreeMap<u64, u64>,
    /// When files were last written, where a test has said so.
    modified: BTreeMap<u64, WallMs>,
    /// The next sync of this directory is held up.
    held: Option<(String, Arc<Barrier>)>,
    /// Pages of files that are in memory. None: all of them.
    memory: Option<BTreeSet<(u64, u64)>>,
}

/// The pages of some bytes of a file.
fn pages(position: u64, bytes: usize) -> RangeInclusive<u64> {
    position / PAGE..=(position + bytes as u64).saturating_sub(1) / PAGE
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

    /// These bytes are in memory from now on.
    fn remember(&mut self, inode: u64, position: u64, bytes: usize) {
        if let Some(memory) = &mut self.memory {
            memory.extend(pages(position, bytes).map(|page| (inode, page)));
        }
    }

    fn remembers(&self, inode: u64, position: u64, bytes: usize) -> bool {
        self.memory.as_ref().is_none_or(|memory| pages(position, bytes).all(|page| memory.contains(&(inode, page))))
    }

    /// Whether there is room for so many more bytes.
    fn check_room(&self, more: u64) -> io::Result<()> {
        let full = self.faults.full_from.is_some_and(|from| self.counters.changes >= from)
            || self.faults.capacity.is_some_and(|capacity| self.used() + more > capacity);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.tree.files().map(|inode| self.files[&inode].len() as u64).sum()
    }

    /// Inodes as they are counted, where they are.
    fn inodes_left(&self) -> Option<Inodes> {
        let total = self.faults.inodes_max?;
        Some(Inodes { total, usable: total.saturating_sub(self.tree.names()) })
    }

    fn check_inodes(&self) -> io::Result<()> {
        let full = self.inodes_left().is_some_and(|inodes| inodes.usable == 0);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn inode(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn content(&mut self, inode: u64) -> &mut Content {
        self.files.get_mut(&inode).unwrap()
    }

    /// Counts a sync and says whether it fails.
    fn sync(&mut self) -> io::Result<()> {
        self.change()?;
        self.counters.syncs += 1;
        let fails = self.faults.fail_sync == Some(self.counters.syncs);
        if fails { Err(io::Error::other("sync failed")) } else { Ok(()) }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn of(state: State) -> Self {
        Self(Arc::new(RwLock::new(state)), Arc::default(), Arc::default())
    }

    fn file(&self, inode: u64) -> SimFile {
        self.1.fetch_add(1, Ordering::Relaxed);
        SimFile { disk: self.clone(), inode }
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        self.0.write().unwrap().faults = faults;
    }

    /// Nothing of the files is in memory any more, but what is read or written from now on.
    pub fn forget_cache(&self) {
        self.0.write().unwrap().memory = Some(BTreeSet::new());
    }

    /// Says when a file was last written.
    pub fn set_modified(&self, path: &str, at: WallMs) {
        let mut state = self.0.write().unwrap();
        let inode = state.tree.file(path).unwrap();
        state.modified.insert(inode, at);
    }

    /// Whoever syncs this directory next waits at the barrier twice: to say that it is there, and to be let go. So that
    /// something else can be done meanwhile.
    pub fn hold_next_sync_of(&self, dir: &str) -> Arc<Barrier> {
        let barrier = Arc::new(Barrier::new(2));
        self.0.write().unwrap().held = Some((dir.to_owned(), Arc::clone(&barrier)));
        barrier
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

    /// Power loss: the disk as the next start finds it. Everything synced survives, of the rest what the seed says.
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.0.read().unwrap();
        let oldest = state.files.values().filter_map(Content::oldest).chain(state.tree.oldest()).min();
        let mut weather = Weather::new(seed, oldest.unwrap_or(0)..state.counters.changes);
        let tree = state.tree.survivors(&mut weather);
        let files = tree.files().map(|inode| {
            let weather = &mut weather.of_file(inode);
            (inode, Content::durable(state.files[&inode].survivors(weather)))
        });
        let files = files.collect();
        Self::of(State { tree, files, next_inode: state.next_inode, ..State::default() })
    }

    /// The process ends and the machine lives on: nothing is lost, nothing more is durable. The next process has its own
    /// disk, which whoever holds files of this one cannot reach.
    pub fn restart(&self) -> Self {
        let state = self.0.read().unwrap();
        let (tree, files, next_inode) = (state.tree.clone(), state.files.clone(), state.next_inode);
        let counters = state.counters;
        Self::of(State { tree, files, next_inode, counters, ..State::default() })
    }

    /// Bytes of a file.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let state = self.0.read().unwrap();
        state.files[&state.tree.file(path).unwrap()].view().to_vec()
    }

    /// Bytes that were reserved for a file and not given back.
    pub fn reserved(&self, path: &str) -> u64 {
        let state = self.0.read().unwrap();
        state.tree.file(path).map_or(0, |inode| state.reserved.get(&inode).copied().unwrap_or(0))
    }

    /// Damages a file, durably: it has these bytes now.
    pub fn overwrite(&self, path: &str, bytes: Vec<u8>) {
        let mut state = self.0.write().unwrap();
        let inode = state.tree.file(path).unwrap();
        state.files.insert(inode, Content::durable(bytes));
    }

    /// Damages one bit of a file, durably.
    pub fn flip(&self, path: &str, bit: usize) {
        let mut bytes = self.bytes(path);
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.overwrite(path, bytes);
    }

    /// Damages a file, durably: the sectors of these numbers change places. The last one may be a part of a sector.
    pub fn swap_sectors(&self, path: &str, one: usize, other: usize) {
        let bytes = self.bytes(path);
        let mut sectors: Vec<&[u8]> = bytes.chunks(SECTOR).collect();
        sectors.swap(one, other);
        self.overwrite(path, sectors.concat());
    }

    /// Paths of all files and directories.
    pub fn paths(&self) -> Vec<String> {
        self.0.read().unwrap().tree.paths()
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create_dir_all(&self, dir: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        let mut above = tree::ROOT;
        for name in dir.split('/').filter(|name| !name.is_empty()) {
            above = match state.tree.child(above, name) {
                Some(Node::Dir(dir)) => dir,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let at = state.change()?;
                    state.check_inodes()?;
                    let dir = state.inode();
                    state.tree.link(at, above, name, Node::Dir(dir));
                    dir
                }
            };
        }
        Ok(())
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimFile> {
        let mut state = self.0.write().unwrap();
        state.alive()?;
        state.counters.opens += 1;
        if state.faults.no_open_from.is_some_and(|from| state.counters.opens >= from)
            || state.faults.open_max.is_some_and(|max| self.open_files() >= max)
        {
            // EMFILE.
            return Err(io::Error::from_raw_os_error(24));
        }
        if mode != OpenMode::Create {
            return Ok(self.file(state.tree.file(path)?));
        }
        let at = state.change()?;
        state.check_room(0)?;
        if let Ok(inode) = state.tree.file(path) {
            state.content(inode).write(at, Write::SetLen(0));
            // What a failed sync lost is to be written anew.
            if state.failed.get(&inode) == Some(&0) {
                state.failed.remove(&inode);
            }
            return Ok(self.file(inode));
        }
        state.check_inodes()?;
        let (dir, name) = state.tree.place(path)?;
        let inode = state.inode();
        state.files.insert(inode, Content::default());
        state.tree.link(at, dir, name, Node::File(inode));
        Ok(self.file(inode))
    }

    fn file_len(&self, path: &str) -> io::Result<u64> {
        let state = self.0.read().unwrap();
        state.alive()?;
        Ok(state.files[&state.tree.file(path)?].len() as u64)
    }

    fn modified(&self, path: &str) -> io::Result<Option<WallMs>> {
        let state = self.0.read().unwrap();
        state.alive()?;
        Ok(state.modified.get(&state.tree.file(path)?).copied())
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.0.read().unwrap();
        state.alive()?;
        state.tree.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        let at = state.change()?;
        state.tree.rename(at, from, to)
    }

    fn remove_file(&self, path: &str) -> io::Result<()> {
        let mut state = self.0.write().unwrap();
        state.alive()?;
        state.tree.file(path)?;
        let at = state.change()?;
        state.tree.unlink(at, path)
    }

    /// Entry by entry, as a file system does it: a crash may come between any two.
    fn remove_dir_all(&self, dir: &str) -> io::Result<()> {
        for name in self.list(dir)? {
            let path = format!("{dir}/{name}");
            let is_dir = self.0.read().unwrap().tree.file(&path).is_err();
            if is_dir { self.remove_dir_all(&path)? } else { self.remove_file(&path)? }
        }
        let mut state = self.0.write().unwrap();
        let at = state.change()?;
        state.tree.unlink(at, dir)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let held = self.0.write().unwrap().held.take_if(|(held, _)| held == dir);
        if let Some((_, barrier)) = held {
            barrier.wait();
            barrier.wait();
        }
        let mut state = self.0.write().unwrap();
        let inode = state.tree.dir(dir)?;
        state.sync()?;
        if !state.faults.dir_sync_is_noop {
            let renames = !state.faults.renames_stay_unsynced;
            state.tree.sync(inode, renames);
        }
        Ok(())
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        let state = self.0.read().unwrap();
        state.alive()?;
        Ok(state.tree.node(path).is_ok())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.0.read().unwrap();
        state.alive()?;
        if state.faults.no_space {
            return Err(io::Error::other("the volume cannot be asked"));
        }
        let total_bytes = state.faults.capacity.unwrap_or(VOLUME_BYTES);
        let usable_bytes = total_bytes.saturating_sub(state.used());
        Ok(Space { total_bytes, usable_bytes, inodes: state.faults.inodes.or_else(|| state.inodes_left()) })
    }

    fn allowance(&self) -> &Allowance {
        &self.2
    }

    fn open_files(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DiskFile for SimFile {
    fn write_all_at(&self, parts: [&[u8]; 2], position: u64) -> io::Result<()> {
        let mut state = self.disk.0.write().unwrap();
        state.alive()?;
        state.counters.writes += 1;
        state.remember(self.inode, position, parts.iter().map(|part| part.len()).sum());
        let (number, position) = (state.counters.writes, position as usize);
        let mut data = parts.concat();
        let grows = (position + data.len()).saturating_sub(state.content(self.inode).len()) as u64;
        let failed = match state.change().and_then(|_| state.check_room(grows)) {
            Err(error) => Some(error),
            Ok(()) if state.faults.fail_write == Some(number) => Some(io::Error::other("write failed")),
            Ok(()) => None,
        };
        if failed.is_some() && !state.dead {
            data.truncate(data.len() / 2);
        }
        let at = state.counters.changes;
        let write = Write::Bytes { position, data };
        if state.faults.lose_write == Some(number) {
            state.content(self.inode).show(&write);
        } else if state.faults.misdirect_write == Some(number) {
            let content = state.content(self.inode);
            content.show(&write);
            content.pend(at, write.moved(if position >= ASTRAY { position - ASTRAY } else { position + ASTRAY }));
        } else {
            state.content(self.inode).write(at, write);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Around the page cache: after a failure reads show what is on the disk.
    fn write_through(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let done = self.write_all_at([bytes, &[]], position).and_then(|()| self.sync_data());
        if done.is_err() {
            self.disk.0.write().unwrap().content(self.inode).forget_cache();
        }
        done
    }

    fn read_cached_at(&self, buffer: &mut [u8], position: u64) -> io::Result<bool> {
        Ok(self.is_cached(position, buffer.len()) && read_full(self, buffer, position)? == buffer.len())
    }

    fn is_cached(&self, position: u64, bytes: usize) -> bool {
        self.disk.0.read().unwrap().remembers(self.inode, position, bytes)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.0.write().unwrap();
        state.alive()?;
        state.counters.reads += 1;
        state.remember(self.inode, position, buffer.len());
        if state.faults.fail_read == Some(state.counters.reads) {
            return Err(io::Error::other("read failed"));
        }
        let from = state.files[&self.inode].view().get(position as usize..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.write().unwrap();
        let synced = state.sync();
        if let Some(again) = state.failed.get_mut(&self.inode) {
            *again += 1;
        }
        if synced.is_err() && !state.dead {
            state.failed.insert(self.inode, 0);
            let seed = state.counters.changes;
            let oldest = state.content(self.inode).oldest().unwrap_or(seed);
            let mut weather = Weather::new(seed, oldest..seed);
            state.content(self.inode).fail_sync(&mut weather);
        }
        synced?;
        if !state.faults.sync_is_noop {
            state.content(self.inode).sync();
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.write().unwrap();
        let at = state.change()?;
        state.content(self.inode).write(at, Write::SetLen(bytes as usize));
        state.reserved.remove(&self.inode);
        Ok(())
    }

    fn reserve(&self, bytes: Range<u64>) -> io::Result<()> {
        let mut state = self.disk.0.write().unwrap();
        state.change()?;
        state.check_room(bytes.end - bytes.start)?;
        state.reserved.insert(self.inode, bytes.end);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.0.read().unwrap();
        state.alive()?;
        Ok(state.files[&self.inode].len() as u64)
    }
}
