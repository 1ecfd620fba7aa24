//! The batches of one partition, in the order in which their records came, and the sequence numbers of an idempotent
//! producer.
//!
//! Holds: batches are sent in order of their numbers, and a batch that goes again goes before every later one that is not
//! in the air. At most [`IN_FLIGHT_MAX`] are unanswered, which is what brokers remember (I5); without idempotence it is
//! one, because then nothing else keeps the order. A batch keeps its sequence for every attempt, so that a repetition is
//! recognised. Only when the broker refuses the oldest unanswered batch for its sequence does the partition begin a new
//! epoch: then neither that batch nor a later one is in the log, and all of them are numbered anew from 0.

use std::collections::{BTreeMap, VecDeque};

use pyralog_protocol::batch::Compression;
use pyralog_protocol::{MonoMs, NodeId};

use super::batch::{Batch, Sequence};

/// Unanswered batches per partition; brokers recognise repetitions of the last five.
pub const IN_FLIGHT_MAX: usize = 5;

/// Batches of one partition. Their order numbers only rise.
pub struct Partition<T> {
    /// Who leads it, as far as is known.
    pub leader: Option<NodeId>,
    /// The batch that takes records, the newest of all.
    pub open: Option<Batch<T>>,
    /// Full ones that were never sent.
    full: VecDeque<Batch<T>>,
    /// Sent, failed, to be sent again.
    again: BTreeMap<u64, Batch<T>>,
    /// Sent and not answered.
    in_flight: BTreeMap<u64, Batch<T>>,
    next_order: u64,
    /// Sequence of the next new batch.
    next: Option<Sequence>,
    /// A new epoch begins once nothing is in flight.
    epoch_ends: bool,
    /// The broker knows this producer. Before, it takes any sequence (I3): were the first batch refused for a moment, the
    /// second would be taken before it. So the first one goes alone.
    is_known: bool,
}

impl<T> Default for Partition<T> {
    fn default() -> Self {
        Self {
            leader: None,
            open: None,
            full: VecDeque::new(),
            again: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            next_order: 0,
            next: None,
            epoch_ends: false,
            is_known: false,
        }
    }
}

/// What may be sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing is there, or what is there has to wait for an answer.
    Nothing,
    /// Something from this moment on.
    At(MonoMs),
}

impl<T> Partition<T> {
    /// Whether nothing is left to be sent or answered.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && self.full.is_empty() && self.again.is_empty() && self.in_flight.is_empty()
    }

    /// Closes the open batch: it is full, or it goes now.
    pub fn close_open(&mut self) {
        if let Some(batch) = self.open.take() {
            self.full.push_back(batch);
        }
    }

    /// Whether batches that were never sent are waiting.
    pub fn has_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// When something may be sent, given how long an open batch waits for more records.
    pub fn next(&self, idempotent: bool, linger_ms: i64) -> Next {
        let room = if idempotent && self.is_known { IN_FLIGHT_MAX } else { 1 };
        if self.in_flight.len() >= room || self.epoch_ends {
            return Next::Nothing;
        }
        if let Some(batch) = self.again.values().next() {
            return Next::At(batch.not_before);
        }
        // The oldest unanswered batch must stay among the last five that the broker remembers, or its repetition is not
        // recognised: later ones may have been answered already.
        let span = self.in_flight.keys().next().map_or(0, |oldest| self.next_order - oldest);
        if usize::try_from(span).unwrap_or(usize::MAX) >= room {
            return Next::Nothing;
        }
        if !self.full.is_empty() {
            return Next::At(MonoMs(0));
        }
        match &self.open {
            None => Next::Nothing,
            // Waiting for company pays only while an answer is due anyway.
            Some(batch) if batch.hurries || self.in_flight.is_empty() => Next::At(MonoMs(0)),
            Some(batch) => Next::At(batch.since.after_ms(linger_ms)),
        }
    }

    /// Bytes of what would be sent next.
    pub fn next_bytes(&self) -> usize {
        let first = self.again.values().next().or(self.full.front()).or(self.open.as_ref());
        first.map_or(0, Batch::bytes)
    }

    /// Takes what is to be sent next into the air, numbered; `None` when there is nothing.
    pub fn take_next(&mut self, identity: Option<(i64, i16)>) -> Option<(u64, &mut Batch<T>)> {
        let (order, mut batch) = match self.again.pop_first() {
            Some(again) => again,
            None => {
                if self.full.is_empty() {
                    self.close_open();
                }
                let batch = self.full.pop_front()?;
                let order = self.next_order;
                self.next_order += 1;
                (order, batch)
            }
        };
        if let (Some((id, epoch)), None) = (identity, batch.sequence) {
            let next = *self.next.get_or_insert(Sequence { id, epoch, first: 0 });
            self.next = Some(next.after(batch.records_with_rest()));
            batch.sequence = Some(next);
        }
        Some((order, self.in_flight.entry(order).or_insert(batch)))
    }

    /// Takes a batch out of the air.
    pub fn land(&mut self, order: u64) -> Option<Batch<T>> {
        self.in_flight.remove(&order)
    }

    /// Takes a batch out of the air that has its outcome. What was split off of it goes next.
    pub fn settle(&mut self, order: u64) -> Option<Batch<T>> {
        let mut batch = self.land(order)?;
        if let Some(mut rest) = batch.rest.take() {
            rest.sequence = batch.sequence.map(|sequence| sequence.after(batch.records()));
            self.again.insert(order, *rest);
        }
        Some(batch)
    }

    /// Splits a batch that was too large, and has its parts sent instead. The answer is whether it has parts.
    pub fn split(&mut self, order: u64, compression: Compression) -> bool {
        let batch = self.in_flight.get_mut(&order);
        let is_split = batch.is_some_and(|batch| batch.split(compression).unwrap_or(false));
        if is_split {
            self.again.extend(self.in_flight.remove_entry(&order));
        }
        is_split
    }

    /// Notes that a batch was written.
    pub fn written(&mut self) {
        self.is_known = true;
    }

    /// Whether every batch before this one has its outcome.
    pub fn is_oldest(&self, order: u64) -> bool {
        let oldest = |batches: &BTreeMap<u64, Batch<T>>| batches.keys().next().is_none_or(|other| *other >= order);
        oldest(&self.in_flight) && oldest(&self.again)
    }

    /// Whoever takes what comes next may not know this producer.
    pub fn meet_strangers(&mut self) {
        self.is_known = false;
    }

    /// Has a batch sent again.
    pub fn send_again(&mut self, order: u64, batch: Batch<T>) {
        self.again.insert(order, batch);
    }

    /// Has everything unanswered numbered anew, as soon as nothing is in the air.
    pub fn end_epoch(&mut self) {
        self.epoch_ends = true;
    }

    /// Has what comes next numbered from 0, in an epoch of its own.
    pub fn begin_anew(&mut self) {
        self.epoch_ends |= self.next.is_some();
    }

    /// The epoch that was reached as this producer, if something was numbered as that.
    pub fn epoch_of(&self, id: i64) -> Option<i16> {
        self.next.filter(|next| next.id == id).map(|next| next.epoch)
    }

    /// Has what comes next numbered from 0 by whoever the producer is then. Nothing is unanswered or waits.
    pub fn forget_sequence(&mut self) {
        (self.next, self.epoch_ends, self.is_known) = (None, false, false);
    }

    /// Begins the next epoch if one is due. `fresh` is an identity to continue with when the epochs of the old one are
    /// used up; the answer is whether one is needed.
    pub fn begin_epoch(&mut self, fresh: Option<(i64, i16)>) -> bool {
        if !self.epoch_ends || !self.in_flight.is_empty() {
            return false;
        }
        let raised = self.next.and_then(|next| Some(Sequence { epoch: next.epoch.checked_add(1)?, first: 0, ..next }));
        let other = fresh.filter(|(id, _)| self.next.is_none_or(|next| next.id != *id));
        let Some(next) = raised.or(other.map(|(id, epoch)| Sequence { id, epoch, first: 0 })) else { return true };
        // A broker that lost its memory takes any sequence: the first one goes alone again.
        self.is_known = false;
        self.next = Some(next);
        self.epoch_ends = false;
        self.again.values_mut().for_each(|batch| batch.sequence = None);
        false
    }

    /// Takes out every batch that is not in the air and is older than this. When the oldest of the rest will be.
    pub fn expire(&mut self, timeout_ms: i64, now: MonoMs, out: &mut Vec<Batch<T>>) -> Option<MonoMs> {
        let is_due = |batch: &Batch<T>| batch.since.after_ms(timeout_ms) <= now;
        let due: Vec<u64> = self.again.iter().filter(|(_, batch)| is_due(batch)).map(|(order, _)| *order).collect();
        out.extend(due.iter().filter_map(|order| self.again.remove(order)));
        while self.full.front().is_some_and(is_due) {
            out.extend(self.full.pop_front());
        }
        out.extend(self.open.take_if(|batch| is_due(batch)));
        let waiting = self.again.values().chain(&self.full).chain(&self.open);
        waiting.map(|batch| batch.since.after_ms(timeout_ms)).min()
    }

    /// Takes out every batch.
    pub fn drain(&mut self, out: &mut Vec<Batch<T>>) {
        for mut batch in std::mem::take(&mut self.in_flight).into_values() {
            batch.in_doubt = true;
            out.push(batch);
        }
        self.drain_waiting(out);
    }

    /// Takes out every batch that is not in the air.
    pub fn drain_waiting(&mut self, out: &mut Vec<Batch<T>>) {
        out.extend(std::mem::take(&mut self.again).into_values());
        out.extend(self.full.drain(..));
        out.extend(self.open.take());
    }
}
