//! Where each leader epoch began. Holds: epochs and start offsets both strictly rise, but for the last entry's start,
//! which may equal the log end. Derived from the batches, which carry their epoch; kept in the snapshots.

use pyralog_protocol::{EpochOffset, LeaderEpoch, LogOffset};

/// (epoch, offset of its first record), rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs(Vec<EpochOffset>);

impl Epochs {
    pub fn entries(&self) -> &[EpochOffset] {
        &self.0
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.0.last().map(|e| e.epoch)
    }

    /// Notes that `epoch` writes from `offset` on. An epoch that wrote nothing gives way to its successor.
    pub fn assign(&mut self, epoch: LeaderEpoch, offset: LogOffset) {
        if self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        self.0.retain(|e| e.offset < offset);
        self.0.push(EpochOffset { epoch, offset });
    }

    /// End of `epoch`: the start of the first later one, the log end for the latest. The answer names the largest epoch
    /// not above the asked one that wrote something; None for one above all, and for -1, which names none (behaviours L11).
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: LogOffset) -> Option<EpochOffset> {
        let latest = self.latest()?;
        if epoch > latest || epoch == LeaderEpoch(-1) {
            return None;
        }
        if epoch == latest {
            return Some(EpochOffset { epoch, offset: log_end });
        }
        let after = self.0.partition_point(|e| e.epoch <= epoch);
        let found = after.checked_sub(1).and_then(|at| self.0.get(at)).map_or(epoch, |e| e.epoch);
        self.0.get(after).map(|next| EpochOffset { epoch: found, offset: next.offset })
    }

    /// The epoch in force at `offset`.
    pub fn at(&self, offset: LogOffset) -> Option<LeaderEpoch> {
        let after = self.0.partition_point(|e| e.offset <= offset);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map(|e| e.epoch)
    }

    /// The log now ends at `end`: epochs that begin there or later have written nothing.
    pub fn cut_end(&mut self, end: LogOffset) {
        self.0.retain(|e| e.offset < end);
    }

    /// The log now begins at `start`: the epoch in force there begins there too, older ones are gone.
    pub fn cut_start(&mut self, start: LogOffset) {
        let keep = self.0.partition_point(|e| e.offset <= start).saturating_sub(1);
        self.0.drain(..keep);
        if let Some(first) = self.0.first_mut() {
            first.offset = first.offset.max(start);
        }
    }
}
