//! A store that breaks one of the loop's rules on purpose. Each plant must be caught by the check that is there for it.

use super::*;

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plant {
    None,
    /// The apply batch comes without the hard state, so a LightReady's commit index is lost.
    DropCommit,
    /// Batches count as durable before they are: what is acknowledged rests on nothing.
    ForgetSync,
    /// State changes come one batch before the applied index.
    SplitApply,
    /// An entry is not written.
    DropEntry,
}

/// The store in memory with one plant.
pub(super) struct Planted {
    pub(super) store: MemoryStore,
    pub(super) plant: Plant,
}

fn is_meta(op: &Op, name: &[u8]) -> bool {
    matches!(op, Op::Put(Column::RaftMeta, key, _) if key.ends_with(name))
}

impl LogStore for Planted {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(column, key)
    }

    fn scan(&self, spans: &[Span], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.store.scan(spans, visit)
    }

    fn last_key(&self, span: &Span) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.last_key(span)
    }

    fn write(&mut self, mut batch: Batch, sync: bool) -> Result<(), StoreError> {
        let applies = batch.ops.iter().any(|op| is_meta(op, b"applied"));
        match self.plant {
            Plant::None => {}
            Plant::DropCommit if applies && !sync => batch.ops.retain(|op| !is_meta(op, b"hard_state")),
            Plant::ForgetSync => return self.store.write(batch, false),
            Plant::SplitApply if applies && !sync => {
                let split = |op: &Op| is_meta(op, b"applied") || is_meta(op, b"hard_state");
                let early = Batch { ops: batch.ops.iter().filter(|op| split(op)).cloned().collect() };
                batch.ops.retain(|op| !split(op));
                self.store.write(early, false)?;
            }
            Plant::DropEntry => {
                let first = batch.ops.iter().position(|op| matches!(op, Op::Put(Column::RaftLog, ..)));
                if let Some(first) = first.filter(|_| self.store.written() > 20) {
                    batch.ops.remove(first);
                }
            }
            Plant::DropCommit | Plant::SplitApply => {}
        }
        self.store.write(batch, sync)
    }

    fn reclaim(&mut self, span: &Span) -> Result<(), StoreError> {
        self.store.reclaim(span)
    }
}
