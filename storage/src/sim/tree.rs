//! Directories of the simulated disk: what calls see, what is on the medium, and the changes in between. A directory is
//! named by a number as a file is, so that its entries stay its own when it is renamed.

use std::collections::BTreeMap;
use std::io;

use super::weather::Weather;

/// The data folder. It was there before anything else.
pub const ROOT: u64 = 0;

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    Dir(u64),
    File(u64),
}

/// Entries by directory. One that is not linked anywhere may still be in here.
type Dirs = BTreeMap<u64, BTreeMap<String, Node>>;

type Entry = (u64, String);

/// A change of entries: one goes, one comes, or both at once. Happens as a whole or not at all.
#[derive(Clone)]
struct Change {
    at: u64,
    gone: Option<Entry>,
    come: Option<(Entry, Node)>,
}

impl Change {
    fn is_rename(&self) -> bool {
        self.gone.is_some() && self.come.is_some()
    }

    fn is_in(&self, dir: u64) -> bool {
        self.gone.as_ref().is_some_and(|(of, _)| *of == dir)
            || self.come.as_ref().is_some_and(|((of, _), _)| *of == dir)
    }

    fn apply(&self, dirs: &mut Dirs) {
        if let Some((dir, name)) = &self.gone {
            dirs.entry(*dir).or_default().remove(name);
        }
        if let Some(((dir, name), node)) = &self.come {
            dirs.entry(*dir).or_default().insert(name.clone(), *node);
            if let Node::Dir(new) = node {
                dirs.entry(*new).or_default();
            }
        }
    }
}

/// The directories.
#[derive(Clone)]
pub struct Tree {
    view: Dirs,
    durable: Dirs,
    pending: Vec<Change>,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Dirs::from([(ROOT, BTreeMap::new())]);
        Self { view: root.clone(), durable: root, pending: Vec::new() }
    }
}

fn not_found<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

impl Tree {
    pub fn child(&self, dir: u64, name: &str) -> Option<Node> {
        self.view.get(&dir)?.get(name).copied()
    }

    pub fn node(&self, path: &str) -> io::Result<Node> {
        let mut node = Node::Dir(ROOT);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Node::Dir(dir) = node else { return Err(io::ErrorKind::NotADirectory.into()) };
            node = self.child(dir, name).map_or_else(not_found, Ok)?;
        }
        Ok(node)
    }

    pub fn file(&self, path: &str) -> io::Result<u64> {
        match self.node(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub fn dir(&self, path: &str) -> io::Result<u64> {
        match self.node(path)? {
            Node::Dir(inode) => Ok(inode),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory of a path, and its name there.
    pub fn place<'a>(&self, path: &'a str) -> io::Result<(u64, &'a str)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.dir(dir)?, name))
    }

    pub fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        Ok(self.view[&self.dir(dir)?].keys().cloned().collect())
    }

    pub fn link(&mut self, at: u64, dir: u64, name: &str, node: Node) {
        self.change(Change { at, gone: None, come: Some(((dir, name.to_owned()), node)) });
    }

    pub fn unlink(&mut self, at: u64, path: &str) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        self.refuse_filled(self.node(path)?)?;
        self.change(Change { at, gone: Some((dir, name.to_owned())), come: None });
        Ok(())
    }

    pub fn rename(&mut self, at: u64, from: &str, to: &str) -> io::Result<()> {
        let node = self.node(from)?;
        let (old, new) = (self.place(from)?, self.place(to)?);
        if let Ok(there) = self.node(to) {
            self.refuse_filled(there)?;
        }
        let gone = Some((old.0, old.1.to_owned()));
        self.change(Change { at, gone, come: Some(((new.0, new.1.to_owned()), node)) });
        Ok(())
    }

    /// Makes the changes in a directory durable, in the other one of a rename too.
    pub fn sync(&mut self, dir: u64, renames: bool) {
        let covered = |change: &Change| change.is_in(dir) && (renames || !change.is_rename());
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending).into_iter().partition(covered);
        self.pending = rest;
        for change in done {
            change.apply(&mut self.durable);
        }
    }

    /// Number of the first change that is not durable.
    pub fn oldest(&self) -> Option<u64> {
        self.pending.first().map(|change| change.at)
    }

    /// What a power loss leaves: each change as a whole or not at all, whatever became of those before it.
    pub fn survivors(&self, weather: &mut Weather) -> Self {
        let mut dirs = self.durable.clone();
        for change in self.pending.iter().filter(|change| weather.keeps_name(change.at)) {
            change.apply(&mut dirs);
        }
        let mut linked = Dirs::new();
        let mut next = vec![ROOT];
        while let Some(dir) = next.pop() {
            let entries = dirs.remove(&dir).unwrap_or_default();
            next.extend(entries.values().filter_map(|node| match node {
                Node::Dir(dir) => Some(*dir),
                Node::File(_) => None,
            }));
            linked.insert(dir, entries);
        }
        Self { view: linked.clone(), durable: linked, pending: Vec::new() }
    }

    /// Every file that has a name.
    pub fn files(&self) -> impl Iterator<Item = u64> + '_ {
        self.view.values().flat_map(BTreeMap::values).filter_map(|node| match node {
            Node::File(inode) => Some(*inode),
            Node::Dir(_) => None,
        })
    }

    /// How many files and directories have a name.
    pub fn names(&self) -> u64 {
        self.view.values().map(|entries| entries.len() as u64).sum()
    }

    /// Paths of everything that has a name, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        let mut next = vec![(ROOT, String::new())];
        while let Some((dir, above)) = next.pop() {
            for (name, node) in &self.view[&dir] {
                let path = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
                if let Node::Dir(dir) = node {
                    next.push((*dir, path.clone()));
                }
                paths.push(path);
            }
        }
        paths.sort();
        paths
    }

    fn refuse_filled(&self, node: Node) -> io::Result<()> {
        match node {
            Node::Dir(dir) if !self.view[&dir].is_empty() => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Node::Dir(_) | Node::File(_) => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.view);
        self.pending.push(change);
    }
}
