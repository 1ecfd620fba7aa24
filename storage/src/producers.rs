//! What idempotent producers last wrote: the duplicate check of one partition (behaviours I3-I13, ID-02, ID-05, ID-08).
//!
//! Holds: at most five batches per producer, in the order of their sequences, all of its current epoch. Offsets are the
//! log's own, so that a duplicate gets its original answer after restarts and after its segment is gone (ID-03).
//! Knows no transactions yet: of a control batch it keeps the epoch and forgets the sequences.

use std::collections::{BTreeMap, VecDeque};

use pyralog_protocol::batch::BatchHeader;
use pyralog_protocol::{LogOffset, WallMs};

/// Batches remembered per producer.
pub const BATCHES_KEPT: usize = 5;

/// One remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PastBatch {
    pub first_sequence: i32,
    pub last_sequence: i32,
    pub base_offset: LogOffset,
    pub last_offset: LogOffset,
    pub max_timestamp: i64,
}

/// One producer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub epoch: i16,
    pub batches: VecDeque<PastBatch>,
    /// When it last wrote, for expiry. Record timestamps belong to the client and would expire it at its whim.
    pub seen_at: WallMs,
    /// Largest timestamp of its last batch, for DescribeProducers.
    pub last_timestamp: i64,
}

/// What the log knows about one producer, for DescribeProducers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerInfo {
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence of its last record, -1 after a transaction marker.
    pub last_sequence: i32,
    /// Largest timestamp of its last batch, ms since 1970.
    pub last_timestamp: i64,
}

/// Why a batch does not continue its producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// Neither next nor a known duplicate.
    #[error("producer {producer_id} sent sequence {found}, {expected} is next")]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// First sequence of the batch.
        found: i32,
        /// The one that would be next.
        expected: i32,
    },
    /// The producer has a newer epoch.
    #[error("producer {producer_id} sent epoch {found}, its epoch is {current}")]
    StaleEpoch {
        /// The producer.
        producer_id: i64,
        /// Epoch of the batch.
        found: i16,
        /// Epoch known here.
        current: i16,
    },
}

/// All producers of one partition, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producers(BTreeMap<i64, Producer>);

impl Producers {
    /// Whether the batch may be appended: `Ok(None)`, or is a duplicate of one remembered: `Ok(Some(original))`.
    /// A producer that was silent for long is known until [`Self::expire`] is called: a clock that jumps makes nobody write
    /// a batch twice (OP-15).
    pub fn check(&self, header: &BatchHeader) -> Result<Option<PastBatch>, SequenceError> {
        let producer_id = header.producer_id;
        if producer_id < 0 {
            return Ok(None);
        }
        let Some(producer) = self.0.get(&producer_id) else { return Ok(None) };
        let (first, last) = (header.base_sequence, header.last_sequence());
        if header.producer_epoch < producer.epoch {
            let (found, current) = (header.producer_epoch, producer.epoch);
            return Err(SequenceError::StaleEpoch { producer_id, found, current });
        }
        if header.producer_epoch > producer.epoch {
            return in_order(producer_id, first, 0);
        }
        if let Some(past) = producer.batches.iter().find(|b| b.first_sequence == first && b.last_sequence == last) {
            return Ok(Some(*past));
        }
        let expected = producer.batches.back().map_or(0, |b| b.last_sequence.checked_add(1).unwrap_or(0));
        in_order(producer_id, first, expected)
    }

    /// Notes a batch that is in the log; `header` has its final offset. Recovery calls this too.
    pub fn apply(&mut self, header: &BatchHeader, seen_at: WallMs, producers_max: usize) {
        if header.producer_id < 0 {
            return;
        }
        if self.0.len() >= producers_max && !self.0.contains_key(&header.producer_id) {
            self.forget_most_silent(producers_max);
        }
        let fresh = || Producer { epoch: header.producer_epoch, batches: VecDeque::new(), seen_at, last_timestamp: -1 };
        let producer = self.0.entry(header.producer_id).or_insert_with(fresh);
        if producer.epoch != header.producer_epoch || header.is_control() {
            producer.batches.clear();
        }
        // An expired producer starts again with any sequence: what came before must not pass for its duplicate.
        if producer.batches.back().is_some_and(|b| b.last_sequence.checked_add(1).unwrap_or(0) != header.base_sequence)
        {
            producer.batches.clear();
        }
        producer.epoch = header.producer_epoch;
        producer.seen_at = seen_at;
        producer.last_timestamp = header.max_timestamp;
        if header.is_control() {
            return;
        }
        if producer.batches.len() == BATCHES_KEPT {
            producer.batches.pop_front();
        }
        producer.batches.push_back(PastBatch {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: LogOffset(header.base_offset),
            last_offset: LogOffset(header.last_offset()),
            max_timestamp: header.max_timestamp,
        });
    }

    /// Forgets everyone silent since `alive_since` or before; returns how many.
    pub fn expire(&mut self, alive_since: WallMs) -> usize {
        let before = self.0.len();
        self.0.retain(|_, p| p.seen_at > alive_since);
        before - self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn infos(&self) -> impl Iterator<Item = ProducerInfo> + '_ {
        self.0.iter().map(|(&producer_id, p)| ProducerInfo {
            producer_id,
            epoch: p.epoch,
            last_sequence: p.batches.back().map_or(-1, |b| b.last_sequence),
            last_timestamp: p.last_timestamp,
        })
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (i64, &Producer)> {
        self.0.iter().map(|(id, p)| (*id, p))
    }

    /// Puts back what a snapshot held.
    pub fn restore(&mut self, producer_id: i64, producer: Producer) {
        self.0.insert(producer_id, producer);
    }

    /// Makes room for a tenth of the limit at once, so that the sort is paid once per many producers.
    fn forget_most_silent(&mut self, producers_max: usize) {
        let mut by_silence: Vec<(WallMs, i64)> = self.0.iter().map(|(id, p)| (p.seen_at, *id)).collect();
        by_silence.sort_unstable();
        let excess = by_silence.len().saturating_sub(producers_max.saturating_sub((producers_max / 10).max(1)));
        for (_, id) in by_silence.into_iter().take(excess) {
            self.0.remove(&id);
        }
    }
}

fn in_order(producer_id: i64, found: i32, expected: i32) -> Result<Option<PastBatch>, SequenceError> {
    if found == expected { Ok(None) } else { Err(SequenceError::OutOfOrder { producer_id, found, expected }) }
}
