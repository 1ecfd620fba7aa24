//! The store of crash tests and of the simulator: keeps exactly what [`LogStore`] promises. At a [`crash`] a seeded
//! prefix of the unsynced batches survives; a write can be made to fail. Nothing is ever written to a disk.
//!
//! [`crash`]: MemoryStore::crash

use std::collections::BTreeMap;
use std::ops::Bound;

use pyralog_protocol::Draw;

use super::log_store::{Batch, Column, LogStore, Op, Span, StoreError, Visit};

type Content = BTreeMap<(Column, Vec<u8>), Vec<u8>>;

/// Columns in memory with a model of what a power loss takes.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// What readers see: `durable` with `unsynced` on top.
    current: Content,
    durable: Content,
    unsynced: Vec<Batch>,
    /// Batches written in all, failed ones not counted.
    written: u64,
    /// The write with this number fails, and all after it.
    fail_from: Option<u64>,
    history: Option<Vec<(Batch, bool)>>,
}

impl MemoryStore {
    /// One that remembers every batch, for tests that cut the history anywhere.
    pub fn recording() -> Self {
        Self { history: Some(Vec::new()), ..Self::default() }
    }

    /// The store after these batches, all of them durable.
    pub fn replayed<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Self {
        let mut store = Self::default();
        batches.into_iter().for_each(|batch| apply(&mut store.durable, batch));
        store.current = store.durable.clone();
        store
    }

    /// Every batch so far and whether it was synced; empty unless [`recording`](Self::recording).
    pub fn history(&self) -> &[(Batch, bool)] {
        self.history.as_deref().unwrap_or_default()
    }

    /// Number of batches written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// From now on the `n`-th write from here (0 is the next one) and all after it fail.
    pub fn fail_after(&mut self, n: u64) {
        self.fail_from = Some(self.written.saturating_add(n));
    }

    /// The store that the next process finds: all synced batches and a drawn number of those after them.
    #[must_use]
    pub fn crash(mut self, draw: &mut Draw) -> Self {
        let choices = u64::try_from(self.unsynced.len()).unwrap_or(u64::MAX).saturating_add(1);
        let kept = usize::try_from(draw.next_u64() % choices).unwrap_or(0);
        self.unsynced.iter().take(kept).for_each(|batch| apply(&mut self.durable, batch));
        Self { current: self.durable.clone(), durable: self.durable, ..Self::default() }
    }
}

fn apply(content: &mut Content, batch: &Batch) {
    for op in &batch.ops {
        match op {
            Op::Put(column, key, value) => {
                content.insert((*column, key.clone()), value.clone());
            }
            Op::Delete(column, key) => {
                content.remove(&(*column, key.clone()));
            }
            Op::DeleteRange(span) => {
                let doomed: Vec<_> = range(content, span).map(|(key, _)| key.clone()).collect();
                doomed.iter().for_each(|key| {
                    content.remove(key);
                });
            }
        }
    }
}

fn range<'a>(
    content: &'a Content,
    span: &Span,
) -> impl DoubleEndedIterator<Item = (&'a (Column, Vec<u8>), &'a Vec<u8>)> {
    let to = span.to.clone().max(span.from.clone());
    content.range((Bound::Included((span.column, span.from.clone())), Bound::Excluded((span.column, to))))
}

impl LogStore for MemoryStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.current.get(&(column, key.to_vec())).cloned())
    }

    fn scan(&self, spans: &[Span], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for span in spans {
            for ((column, key), value) in range(&self.current, span) {
                if !visit(*column, key, value) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn last_key(&self, span: &Span) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(range(&self.current, span).next_back().map(|((_, key), _)| key.clone()))
    }

    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), StoreError> {
        if self.fail_from.is_some_and(|first| self.written >= first) {
            return Err(StoreError { doing: "write a batch", cause: "injected".into() });
        }
        self.written += 1;
        apply(&mut self.current, &batch);
        if let Some(history) = &mut self.history {
            history.push((batch.clone(), sync));
        }
        self.unsynced.push(batch);
        if sync {
            for batch in std::mem::take(&mut self.unsynced) {
                apply(&mut self.durable, &batch);
            }
        }
        Ok(())
    }

    fn reclaim(&mut self, _span: &Span) -> Result<(), StoreError> {
        Ok(())
    }
}
