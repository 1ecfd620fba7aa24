//! The store in memory with a process that ends at any batch, and with bugs of the layer above put in.

use crate::raft::{Batch, Column, LogStore, MemoryStore, Op, Span, StoreError, Visit};

use super::Plant;

/// Where the process ends.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Batches that are still written.
    pub batches: u64,
    /// The one after them is written too; the process ends before it knows.
    pub written: bool,
}

pub struct Faulty {
    pub store: MemoryStore,
    pub end: Option<End>,
    plant: Plant,
    /// What snapshots are made of under [`Plant::OldSnapshot`].
    older: Option<(u64, MemoryStore)>,
}

impl Faulty {
    pub fn new(store: MemoryStore, plant: Plant) -> Self {
        Self { store, end: None, plant, older: None }
    }
}

fn puts(op: &Op, name: &[u8]) -> bool {
    matches!(op, Op::Put(Column::RaftMeta, key, _) if key.ends_with(name))
}

impl LogStore for Faulty {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(column, key)
    }

    fn scan(&self, spans: &[Span], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        // Only a snapshot reads the applied index together with the state.
        match (&self.older, spans.split_first()) {
            (Some((_, older)), Some((first, state))) if first.column == Column::RaftMeta && !state.is_empty() => {
                self.store.scan(std::slice::from_ref(first), visit)?;
                older.scan(state, visit)
            }
            _ => self.store.scan(spans, visit),
        }
    }

    fn last_key(&self, span: &Span) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.last_key(span)
    }

    fn write(&mut self, mut batch: Batch, sync: bool) -> Result<(), StoreError> {
        let applies = !sync && batch.ops.iter().any(|op| puts(op, b"applied"));
        if applies && self.plant == Plant::ForgetMembers {
            batch.ops.retain(|op| !puts(op, b"conf_state"));
        }
        let sync = sync && self.plant != Plant::AnswerBeforeSync;
        if self.plant == Plant::OldSnapshot && self.older.as_ref().is_none_or(|(at, _)| self.store.written() > at + 12)
        {
            self.older = Some((self.store.written(), self.store.clone()));
        }
        let over = || Err(StoreError { doing: "write a batch", cause: "the process ends".into() });
        match &mut self.end {
            Some(End { batches: 0, written: false }) => return over(),
            Some(End { batches: 0, written: true }) => {
                self.store.write(batch, sync)?;
                return over();
            }
            Some(end) => end.batches -= 1,
            None => {}
        }
        self.store.write(batch, sync)
    }

    fn reclaim(&mut self, span: &Span) -> Result<(), StoreError> {
        self.store.reclaim(span)
    }
}
