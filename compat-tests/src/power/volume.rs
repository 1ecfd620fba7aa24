//! What a volume holds, and what of it is left when the power fails.
//!
//! Holds: what a file's sync covered is there afterwards, and so are the entries of a directory that was synced. Of everything else any part may be there
//! or not: each sector by itself, old and new, in whatever order it was written; any length between the old and the new one; each
//! change of a directory by itself, a rename as a whole. A file whose entry is lost is lost, synced or not.
//! Not modelled: the versions that an unsynced sector had in between, hard links, attributes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use crate::draw::Draw;

/// The number of a file or directory.
pub type Inode = u64;

/// The directory at the top.
pub const ROOT: Inode = 1;

const BLOCK: usize = 4096;
const SECTOR: usize = 512;

type Block = Box<[u8; BLOCK]>;
type Entries = BTreeMap<OsString, Inode>;

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With a length in bytes.
    File(u64),
    /// Entries.
    Directory,
}

/// A file as its readers see it, and what an unsynced part of it was before.
#[derive(Default)]
struct File {
    length: u64,
    /// What is not here is zeros.
    blocks: BTreeMap<u64, Block>,
    durable_length: u64,
    /// Of each block that was changed since the last sync: what is on the medium. `None` stands for zeros.
    before: BTreeMap<u64, Option<Block>>,
}

impl File {
    /// A block about to be changed.
    fn change(&mut self, at: u64) -> &mut Block {
        self.before.entry(at).or_insert_with(|| self.blocks.get(&at).cloned());
        self.blocks.entry(at).or_insert_with(|| Box::new([0; BLOCK]))
    }

    fn write(&mut self, mut position: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let (at, within) = (position / BLOCK as u64, position as usize % BLOCK);
            let (now, later) = data.split_at(data.len().min(BLOCK - within));
            self.change(at)[within..within + now.len()].copy_from_slice(now);
            position += now.len() as u64;
            data = later;
        }
        self.length = self.length.max(position);
    }

    fn set_length(&mut self, length: u64) {
        if length < self.length {
            let (at, within) = (length / BLOCK as u64, length as usize % BLOCK);
            let beyond: Vec<u64> = self.blocks.range(at..).map(|(at, _)| *at).collect();
            for block in beyond {
                let from = if block == at { within } else { 0 };
                self.change(block)[from..].fill(0);
            }
        }
        self.length = length;
    }

    fn read(&self, position: u64, length: usize) -> Vec<u8> {
        let end = self.length.min(position.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(end.saturating_sub(position) as usize);
        let mut position = position;
        while position < end {
            let within = position as usize % BLOCK;
            let take = (BLOCK - within).min((end - position) as usize);
            match self.blocks.get(&(position / BLOCK as u64)) {
                Some(block) => bytes.extend_from_slice(&block[within..within + take]),
                None => bytes.resize(bytes.len() + take, 0),
            }
            position += take as u64;
        }
        bytes
    }

    fn sync(&mut self) {
        self.before.clear();
        self.durable_length = self.length;
    }

    fn lose(&mut self, draw: &mut Draw) {
        let fate = Fate::of(draw);
        for (at, before) in std::mem::take(&mut self.before) {
            let before = before.unwrap_or_else(|| Box::new([0; BLOCK]));
            let block = self.blocks.entry(at).or_insert_with(|| Box::new([0; BLOCK]));
            for sector in (0..BLOCK).step_by(SECTOR) {
                if !fate.stays(draw) {
                    block[sector..sector + SECTOR].copy_from_slice(&before[sector..sector + SECTOR]);
                }
            }
        }
        let (shorter, longer) = (self.length.min(self.durable_length), self.length.max(self.durable_length));
        let length = match fate {
            Fate::Stays => self.length,
            Fate::Goes => self.durable_length,
            Fate::Each => shorter + draw.below(longer - shorter + 1),
        };
        // What lies behind the end must not come back with the next write.
        self.length = u64::MAX;
        self.set_length(length);
        self.sync();
    }
}

/// What becomes of what was not synced.
#[derive(Clone, Copy)]
enum Fate {
    Stays,
    Goes,
    /// Each by itself.
    Each,
}

impl Fate {
    fn of(draw: &mut Draw) -> Fate {
        draw.pick(&[Fate::Stays, Fate::Goes, Fate::Each, Fate::Each])
    }

    fn stays(self, draw: &mut Draw) -> bool {
        match self {
            Fate::Stays => true,
            Fate::Goes => false,
            Fate::Each => draw.coin(),
        }
    }
}

/// A change of directories.
#[derive(Clone)]
enum Change {
    Link(Inode, OsString, Inode),
    Unlink(Inode, OsString),
    Rename((Inode, OsString), (Inode, OsString)),
}

impl Change {
    fn is_in(&self, dir: Inode) -> bool {
        match self {
            Change::Link(of, ..) | Change::Unlink(of, _) => *of == dir,
            Change::Rename((from, _), (to, _)) => *from == dir || *to == dir,
        }
    }

    /// A rename of what is not there is none: its creation was lost.
    fn apply(self, dirs: &mut BTreeMap<Inode, Entries>) {
        match self {
            Change::Link(dir, name, inode) => drop(dirs.entry(dir).or_default().insert(name, inode)),
            Change::Unlink(dir, name) => drop(dirs.entry(dir).or_default().remove(&name)),
            Change::Rename((from, old), (to, new)) => {
                if let Some(inode) = dirs.entry(from).or_default().remove(&old) {
                    dirs.entry(to).or_default().insert(new, inode);
                }
            }
        }
    }
}

/// Files and directories of one volume.
pub struct Volume {
    files: BTreeMap<Inode, File>,
    dirs: BTreeMap<Inode, Entries>,
    durable_dirs: BTreeMap<Inode, Entries>,
    unsynced: Vec<Change>,
    next: Inode,
    /// Files that were opened to be synced with each write.
    synced_writes: BTreeSet<Inode>,
    /// What it does wrong, for tests of tests.
    pub planted: Option<Planted>,
}

/// What a volume can be told to forget, so that a test is seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Syncs of files do nothing, but for those that are synced with each write.
    FilesUnsynced,
    /// Files that are synced with each write are not.
    WritesUnsynced,
    /// Syncs of directories do nothing.
    DirectoriesUnsynced,
}

impl Default for Volume {
    fn default() -> Volume {
        let dirs = BTreeMap::from([(ROOT, Entries::new())]);
        Volume {
            files: BTreeMap::new(),
            durable_dirs: dirs.clone(),
            dirs,
            unsynced: Vec::new(),
            next: ROOT + 1,
            synced_writes: BTreeSet::new(),
            planted: None,
        }
    }
}

impl Volume {
    /// What a number stands for.
    pub fn kind(&self, inode: Inode) -> Option<Kind> {
        match self.files.get(&inode) {
            Some(file) => Some(Kind::File(file.length)),
            None => self.dirs.contains_key(&inode).then_some(Kind::Directory),
        }
    }

    /// The entries of a directory.
    pub fn entries(&self, dir: Inode) -> Option<&BTreeMap<OsString, Inode>> {
        self.dirs.get(&dir)
    }

    /// An entry of a directory.
    pub fn child(&self, dir: Inode, name: &OsStr) -> Option<Inode> {
        self.dirs.get(&dir)?.get(name).copied()
    }

    /// Bytes of a file, as many as there are.
    pub fn read(&self, file: Inode, position: u64, length: usize) -> Option<Vec<u8>> {
        Some(self.files.get(&file)?.read(position, length))
    }

    /// Bytes that the files hold.
    pub fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| (file.blocks.len() * BLOCK) as u64).sum()
    }

    /// A new file in a directory; an entry of that name is replaced.
    pub fn create_file(&mut self, dir: Inode, name: &OsStr) -> Inode {
        let inode = self.link(dir, name);
        self.files.insert(inode, File::default());
        inode
    }

    /// A new directory in another one.
    pub fn create_dir(&mut self, dir: Inode, name: &OsStr) -> Inode {
        let inode = self.link(dir, name);
        self.dirs.insert(inode, Entries::new());
        self.durable_dirs.insert(inode, Entries::new());
        inode
    }

    fn link(&mut self, dir: Inode, name: &OsStr) -> Inode {
        let inode = self.next;
        self.next += 1;
        self.change(Change::Link(dir, name.to_owned(), inode));
        inode
    }

    /// Removes an entry. What it named stays readable for those who have it open.
    pub fn remove(&mut self, dir: Inode, name: &OsStr) {
        self.change(Change::Unlink(dir, name.to_owned()));
    }

    /// Moves an entry, over another one if there is one.
    pub fn rename(&mut self, from: (Inode, &OsStr), to: (Inode, &OsStr)) {
        self.change(Change::Rename((from.0, from.1.to_owned()), (to.0, to.1.to_owned())));
    }

    fn change(&mut self, change: Change) {
        change.clone().apply(&mut self.dirs);
        self.unsynced.push(change);
    }

    /// Writes into a file; whether there is such a file.
    pub fn write(&mut self, file: Inode, position: u64, data: &[u8]) -> bool {
        self.files.get_mut(&file).map(|file| file.write(position, data)).is_some()
    }

    /// Cuts a file, or has it end in zeros; whether there is such a file.
    pub fn set_length(&mut self, file: Inode, length: u64) -> bool {
        self.files.get_mut(&file).map(|file| file.set_length(length)).is_some()
    }

    /// From here on the content of a file survives, for as long as an entry names it.
    pub fn sync_file(&mut self, inode: Inode) {
        let nothing = match self.planted {
            Some(Planted::FilesUnsynced) => !self.synced_writes.contains(&inode),
            Some(Planted::WritesUnsynced) => self.synced_writes.contains(&inode),
            Some(Planted::DirectoriesUnsynced) | None => false,
        };
        if let Some(file) = self.files.get_mut(&inode).filter(|_| !nothing) {
            file.sync();
        }
    }

    /// Somebody opens a file to have each write synced.
    pub fn opened_for_synced_writes(&mut self, file: Inode) {
        self.synced_writes.insert(file);
    }

    /// From here on the entries of a directory survive.
    pub fn sync_dir(&mut self, dir: Inode) {
        if self.planted == Some(Planted::DirectoriesUnsynced) {
            return;
        }
        let (now, later) = std::mem::take(&mut self.unsynced).into_iter().partition(|change| change.is_in(dir));
        self.unsynced = later;
        Vec::into_iter(now).for_each(|change| change.apply(&mut self.durable_dirs));
    }

    /// The power fails, and comes back.
    pub fn lose_power(&mut self, draw: &mut Draw) {
        let fate = Fate::of(draw);
        for change in std::mem::take(&mut self.unsynced) {
            if fate.stays(draw) {
                change.apply(&mut self.durable_dirs);
            }
        }
        self.dirs = self.durable_dirs.clone();
        let mut reached = vec![ROOT];
        let mut at = 0;
        while let Some(inode) = reached.get(at) {
            reached.extend(self.dirs.get(inode).into_iter().flat_map(Entries::values));
            at += 1;
        }
        self.files.retain(|inode, _| reached.contains(inode));
        self.dirs.retain(|inode, _| reached.contains(inode));
        self.durable_dirs.retain(|inode, _| reached.contains(inode));
        self.files.values_mut().for_each(|file| file.lose(draw));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> &OsStr {
        OsStr::new(name)
    }

    /// What a file can be after a power loss, over many draws.
    fn outcomes(volume: impl Fn() -> Volume, file: &str) -> BTreeMap<Option<Vec<u8>>, usize> {
        let mut seen = BTreeMap::new();
        for seed in 0..200 {
            let mut volume = volume();
            volume.lose_power(&mut Draw::stream(seed, "test"));
            let content = volume.child(ROOT, name(file)).and_then(|inode| volume.read(inode, 0, 1 << 20));
            *seen.entry(content).or_default() += 1;
        }
        seen
    }

    #[test]
    fn what_was_synced_is_there_and_nothing_else_is_sure() {
        let synced = || {
            let mut volume = Volume::default();
            let file = volume.create_file(ROOT, name("f"));
            volume.write(file, 0, &[1; 1000]);
            volume.sync_file(file);
            volume.sync_dir(ROOT);
            volume
        };
        assert_eq!(outcomes(synced, "f").into_keys().collect::<Vec<_>>(), vec![Some(vec![1; 1000])]);
        let overwritten = || {
            let mut volume = synced();
            let file = volume.child(ROOT, name("f")).unwrap();
            volume.write(file, 0, &[2; 1000]);
            volume
        };
        let expected: Vec<Option<Vec<u8>>> = [[1, 1], [1, 2], [2, 1], [2, 2]]
            .map(|[first, second]| Some([vec![first; 512], vec![second; 488]].concat()))
            .into();
        assert_eq!(outcomes(overwritten, "f").into_keys().collect::<Vec<_>>(), expected, "each sector by itself");
    }

    #[test]
    fn a_file_is_lost_with_its_entry_and_a_rename_is_whole() {
        let unlinked = || {
            let mut volume = Volume::default();
            let file = volume.create_file(ROOT, name("f"));
            volume.write(file, 0, b"text");
            volume.sync_file(file);
            volume
        };
        assert_eq!(outcomes(unlinked, "f").into_keys().collect::<Vec<_>>(), vec![None, Some(b"text".to_vec())]);
        let renamed = || {
            let mut volume = unlinked();
            volume.sync_dir(ROOT);
            volume.rename((ROOT, name("f")), (ROOT, name("g")));
            volume
        };
        let (old, new) = (outcomes(renamed, "f"), outcomes(renamed, "g"));
        let text = Some(b"text".to_vec());
        assert_eq!(old[&text] + new[&text], 200, "under one of its names, and one only");
        assert!(old[&text] > 20 && new[&text] > 20, "{old:?} {new:?}");
    }

    #[test]
    fn a_cut_that_was_not_synced_may_be_undone_and_what_was_cut_does_not_come_back_later() {
        let cut = || {
            let mut volume = Volume::default();
            let file = volume.create_file(ROOT, name("f"));
            volume.write(file, 0, &[1; 600]);
            volume.sync_file(file);
            volume.sync_dir(ROOT);
            volume.set_length(file, 512);
            volume
        };
        let seen = outcomes(cut, "f");
        assert!(seen.contains_key(&Some(vec![1; 512])), "{seen:?}");
        assert!(seen.contains_key(&Some(vec![1; 600])), "{seen:?}");
        let mut volume = cut();
        volume.sync_dir(ROOT);
        let file = volume.child(ROOT, name("f")).unwrap();
        volume.sync_file(file);
        volume.write(file, 700, &[2]);
        let expected = [vec![1; 512], vec![0; 188], vec![2]].concat();
        assert_eq!(volume.read(file, 0, 1000), Some(expected), "a hole is zeros");
    }
}
