//! What the Ready loop asks of a disk. A [`Batch`] is atomic; batches survive a crash as a prefix of the order in which
//! they were written, and that prefix holds every batch up to the last synced one. The loop rests on nothing else, so
//! the in-memory store that keeps this promise, and only this promise, stands in for RocksDB in crash tests.

/// The fixed column families (RA-05: none per group or log).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Raft entries by index.
    RaftLog,
    /// Hard state, conf state, truncation, applied index, format version.
    RaftMeta,
    /// State of the metadata machine.
    Meta,
    /// State of the groups machine.
    Groups,
    /// State of the VLSN machine.
    Vlsn,
}

impl Column {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [Self::RaftLog, Self::RaftMeta, Self::Meta, Self::Groups, Self::Vlsn];
    /// Those that hold state and make up a snapshot.
    pub const STATE: [Self; 3] = [Self::Meta, Self::Groups, Self::Vlsn];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::RaftLog => "raft_log",
            Self::RaftMeta => "raft_meta",
            Self::Meta => "meta",
            Self::Groups => "groups",
            Self::Vlsn => "vlsn",
        }
    }
}

/// Half-open range of keys in one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where.
    pub column: Column,
    /// First key.
    pub from: Vec<u8>,
    /// First key that is no longer part of it.
    pub to: Vec<u8>,
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets a key.
    Put(Column, Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Column, Vec<u8>),
    /// Removes every key of a range.
    DeleteRange(Span),
}

/// Changes that happen together or not at all, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The changes.
    pub ops: Vec<Op>,
}

impl Batch {
    /// Adds a put.
    pub fn put(&mut self, column: Column, key: Vec<u8>, value: Vec<u8>) {
        self.ops.push(Op::Put(column, key, value));
    }

    /// Adds a delete.
    pub fn delete(&mut self, column: Column, key: Vec<u8>) {
        self.ops.push(Op::Delete(column, key));
    }

    /// Adds a range delete.
    pub fn delete_range(&mut self, span: Span) {
        self.ops.push(Op::DeleteRange(span));
    }

    /// True when it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// The store failed. Final (RA-20): the process leaves with this text, nothing is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator's store failed to {doing}: {cause}")]
pub struct StoreError {
    /// What was tried, as `write a batch`.
    pub doing: &'static str,
    /// The store's own words.
    pub cause: String,
}

/// Sees one key after the other; `false` ends the scan.
pub type Visit<'a> = dyn FnMut(Column, &[u8], &[u8]) -> bool + 'a;

/// A store of ordered keys in a few columns, owned by one replica.
pub trait LogStore {
    /// The value under a key.
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits every key of the spans, span by span in key order, all as of one moment, until the visitor says `false`.
    fn scan(&self, spans: &[Span], visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// The last key of a span.
    fn last_key(&self, span: &Span) -> Result<Option<Vec<u8>>, StoreError>;

    /// Writes a batch; with `sync` it and all before it are durable when this returns.
    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), StoreError>;

    /// Gives back the space of a range that was deleted. May take long; changes no content.
    fn reclaim(&mut self, span: &Span) -> Result<(), StoreError>;
}
