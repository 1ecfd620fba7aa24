//! The model of one partition: a list of batches, and what was promised about them. Each step on the log is compared with
//! it; every disagreement is a value, so that planted bugs can be seen to be found.

use std::collections::VecDeque;
use std::ops::Range;

use pyralog_protocol::batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, CheckedBatch, Codec, Compression, NewRecord, TimestampType,
};
use pyralog_protocol::{ErrorCode, LeaderEpoch, Now, PartitionIndex};

use super::op::{Look, PRODUCERS, Sent, Wrong};
use super::{Stop, bug, refused};
use crate::sim::{SimDisk, SimFile};
use crate::tests::{TOPIC, off, small};
use crate::{
    AppendError, Appended, DeleteError, JournalPlace, Log, LogConfig, PartitionKey, ReadError, ReadSlice, Retention,
    SyncPlan, TimestampOffset, TruncateError, Written,
};

/// Batches remembered per producer, in the model's own words.
const REMEMBERED: usize = 5;
/// Where the sequences of the producers begin: one of them wraps soon (ID-08).
const FIRST_SEQUENCE: [i32; PRODUCERS as usize] = [0, i32::MAX - 6, 7];

/// A batch as it was sent and as it has to stand in the log.
pub struct Batch {
    pub base: i64,
    pub next: i64,
    pub bytes: Vec<u8>,
    pub epoch: i32,
    sent: CheckedBatch,
    stamps: Vec<i64>,
}

impl Batch {
    fn holds(&self, offset: i64) -> bool {
        (self.base..self.next).contains(&offset)
    }
}

/// A range that was given out, and the bytes that were in it.
type Held = (ReadSlice<SimFile>, Vec<u8>);

/// When retention was asked for, and by which settings.
type Asked = (Now, LogConfig);

/// One partition and its model.
pub struct Part {
    pub dir: String,
    pub disk: SimDisk,
    pub key: PartitionKey,
    pub log: Option<Log<SimDisk>>,
    pub config: LogConfig,
    /// Acknowledged from memory: what is not synced may be lost.
    pub memory: bool,
    pub plan: Option<SyncPlan<SimDisk>>,
    pub epoch: i32,
    /// Everything that was appended and may be there, also what lies below the log start.
    pub batches: Vec<Batch>,
    pub start: i64,
    /// A deletion was under way: the log start may be the old one or anything up to this.
    pub moving: Option<i64>,
    /// Everything below was acknowledged as on disk.
    pub acked: i64,
    /// What the log says about that. It never says less, as long as the process lives.
    stable: i64,
    /// What is known of producers for certain goes back to this offset.
    pub sure_from: i64,
    /// Offsets of a batch that a test damaged below the recovery point.
    pub damaged: Option<Range<i64>>,
    /// A range that was read and is to stay as it is, and the offset after it.
    pub held: Option<(Held, i64)>,
    /// Retention that has written and of which the log does not know yet, and its bounds.
    retaining: Option<(Retention<SimDisk>, Written, Range<i64>, Asked)>,
    /// What was refused last failed of a fault that may be healed since.
    pub excused: bool,
}

/// What the model knows of a producer: its epoch, and (first and last sequence, index of the batch).
#[derive(Default)]
struct Known {
    epoch: i16,
    batches: VecDeque<(i32, i32, usize)>,
}

/// What became of an append.
pub enum Outcome {
    Appended,
    Duplicate,
    Refused(ErrorCode),
}

fn after(sequence: i32) -> i32 {
    if sequence == i32::MAX { 0 } else { sequence + 1 }
}

fn share(of: Range<i64>, thousandth: u64) -> i64 {
    of.start + ((of.end - of.start) as u64 * thousandth / 1000) as i64
}

impl Part {
    pub fn new(disk: SimDisk, index: i32) -> Self {
        Self {
            dir: format!("logs/orders-{index}"),
            disk,
            key: PartitionKey { topic: TOPIC, index: PartitionIndex(index) },
            log: None,
            config: small(),
            memory: false,
            plan: None,
            epoch: 0,
            batches: Vec::new(),
            start: 0,
            moving: None,
            acked: 0,
            stable: 0,
            sure_from: 0,
            damaged: None,
            held: None,
            retaining: None,
            excused: false,
        }
    }

    pub fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |b| b.next).max(self.start)
    }

    /// Up to where records may be read and deleted: the high watermark of a node.
    pub fn bound(&self) -> i64 {
        if self.memory { self.end() } else { self.acked.max(self.start) }
    }

    /// Another configuration, which may be another durability too.
    pub fn configure(&mut self, draw: u64) {
        let choose = |n: u64, of: u64| draw / n % of;
        self.memory = choose(1, 3) == 0;
        self.config = LogConfig {
            segment_bytes: [1000, 1500, 3000, 60_000][choose(3, 4) as usize],
            segment_ms: [20_000, 1_000_000][choose(12, 2) as usize],
            index_interval_bytes: [100, 200, 4096][choose(24, 3) as usize],
            retention_bytes: [None, Some(0), Some(6000)][choose(72, 3) as usize],
            retention_ms: [None, Some(30_000)][choose(216, 2) as usize],
            ..LogConfig::default()
        };
    }

    /// Nothing of the process is left but its disk.
    pub fn next_process(&mut self, disk: SimDisk) {
        (self.log, self.plan, self.held, self.disk) = (None, None, None, disk);
        (self.retaining, self.excused) = (None, false);
    }

    pub fn is_serving(&self) -> bool {
        self.log.as_ref().is_some_and(|log| log.offline().is_none())
    }

    fn producer(&self, id: u64) -> Known {
        let mut known = Known { epoch: -1, ..Known::default() };
        for (at, batch) in self.batches.iter().enumerate().filter(|(_, b)| b.sent.header.producer_id == id as i64) {
            let header = &batch.sent.header;
            let last = (0..header.last_offset_delta).fold(header.base_sequence, |s, _| after(s));
            let follows = known.batches.back().is_some_and(|(_, before, _)| after(*before) == header.base_sequence);
            if header.producer_epoch != known.epoch || !follows {
                known.batches.clear();
            }
            known.epoch = header.producer_epoch;
            known.batches.push_back((header.base_sequence, last, at));
            if known.batches.len() > REMEMBERED {
                known.batches.pop_front();
            }
        }
        known
    }

    /// Timestamps of records: near the clock, equal ones among them, some in the past, some none at all.
    fn stamps(sent: &Sent, now: Now) -> Vec<i64> {
        let stamp = |n: u64| match sent.stamps / 3 % 8 {
            0 => -1,
            1 => now.wall.0,
            2 => now.wall.0 - (sent.stamps / 24 % 50_000) as i64,
            _ => now.wall.0 + (sent.stamps >> (n * 4) & 0xfff) as i64,
        };
        (0..sent.records).map(stamp).collect()
    }

    fn build(&self, sent: &Sent, now: Now) -> (CheckedBatch, Vec<i64>) {
        let mut stamps = Self::stamps(sent, now);
        let value = vec![b'a' + (sent.stamps % 26) as u8; (sent.bytes / sent.records) as usize];
        let mut builder = BatchBuilder::new().compression(Compression::of(sent.codec));
        for timestamp in &stamps {
            builder = builder.record(NewRecord { timestamp: *timestamp, key: None, value: Some(&value), headers: &[] });
        }
        if sent.producer < PRODUCERS {
            let known = self.producer(sent.producer);
            let (epoch, sequence) = match known.batches.back() {
                Some(_) if sent.bump => (known.epoch + 1, 0),
                Some((_, last, _)) => (known.epoch, after(*last)),
                None => (0, FIRST_SEQUENCE[sent.producer as usize]),
            };
            builder = builder.producer(sent.producer as i64, epoch, sequence);
        }
        let (mut header, body) = builder.into_parts().unwrap();
        if sent.stamps.is_multiple_of(11) {
            header.set_timestamp_type(TimestampType::LogAppendTime);
            header.max_timestamp = now.wall.0;
            header.crc = header.crc_with(&body);
            stamps.fill(now.wall.0);
        }
        (CheckedBatch { header, body: body.into(), max_timestamp_offset_delta: 0, vlsns: Vec::new() }, stamps)
    }

    /// A batch that continues its producer's sequence has to be taken.
    pub fn append(&mut self, sent: &Sent, now: Now) -> Result<(), Stop> {
        let (batch, stamps) = self.build(sent, now);
        if batch.total_size() > self.config.segment_bytes as usize {
            return Ok(());
        }
        match self.put(&batch, &stamps, self.epoch, now)? {
            Outcome::Appended => Ok(()),
            // Epochs and producers of a damaged header are believed.
            Outcome::Duplicate | Outcome::Refused(_) if self.damaged.is_some() => Ok(()),
            Outcome::Duplicate => bug(format!("{}: a new batch passed for a duplicate", self.dir)),
            Outcome::Refused(code) => bug(format!("{}: a good batch was refused with {code:?}", self.dir)),
        }
    }

    /// Appends, and checks the answer as far as it does not depend on whether the batch is known.
    fn put(&mut self, batch: &CheckedBatch, stamps: &[i64], epoch: i32, now: Now) -> Result<Outcome, Stop> {
        let base = self.end();
        let next = base + stamps.len() as i64;
        let mut header = batch.header.clone();
        (header.base_offset, header.leader_epoch) = (base, epoch);
        let bytes = [&header.encode()[..], &batch.body].concat();
        let model = Batch { base, next, bytes, epoch, sent: batch.clone(), stamps: stamps.to_vec() };
        // In the model before the outcome is known: a crash in mid-write may keep it.
        self.batches.push(model);
        match self.log.as_mut().unwrap().append(batch, LeaderEpoch(epoch), now) {
            Ok(answer) if answer.duplicate => {
                self.batches.pop();
                self.check_duplicate(batch, &answer)?;
                Ok(Outcome::Duplicate)
            }
            Ok(answer) => match (answer.base_offset.0, answer.last_offset.0) == (base, next - 1) {
                true => Ok(Outcome::Appended),
                false => bug(format!("{}: appended at {answer:?}, {base}..{next} expected", self.dir)),
            },
            Err(error) => {
                let refused = self.append_failed(&error);
                if refused.is_ok() || !self.disk.is_dead() {
                    self.batches.pop();
                }
                refused
            }
        }
    }

    fn append_failed(&self, error: &AppendError) -> Result<Outcome, Stop> {
        match error {
            AppendError::Sequence(_) | AppendError::Fenced { .. } | AppendError::TooLargeForSegment { .. } => {
                Ok(Outcome::Refused(error.code()))
            }
            AppendError::Damaged { .. } if self.damaged.is_some() => refused("damaged"),
            AppendError::Damaged { .. }
            | AppendError::OffsetsExhausted
            | AppendError::Reserved { .. }
            | AppendError::Vlsns(_) => bug(format!("append: {error}")),
            AppendError::DiskFull(_) | AppendError::Io(_) | AppendError::Offline(_) => {
                refused(format!("{}: append: {error}", self.dir))
            }
        }
    }

    /// ID-02: a duplicate gets the offsets that its original has.
    fn check_duplicate(&self, batch: &CheckedBatch, answer: &Appended) -> Result<(), Stop> {
        let header = &batch.header;
        let original = self.batches.iter().rev().find(|b| {
            let h = &b.sent.header;
            (h.producer_id, h.producer_epoch, h.base_sequence, h.last_offset_delta)
                == (header.producer_id, header.producer_epoch, header.base_sequence, header.last_offset_delta)
        });
        match original {
            Some(b) if (b.base, b.next - 1) == (answer.base_offset.0, answer.last_offset.0) => Ok(()),
            found => bug(format!("{}: a duplicate of {:?} got {answer:?}", self.dir, found.map(|b| b.base..b.next))),
        }
    }

    /// ID-01, ID-02, ID-03: one of the last five again.
    pub fn resend(&mut self, producer: u64, back: usize, now: Now) -> Result<bool, Stop> {
        let known = self.producer(producer);
        let Some((_, _, at)) = known.batches.iter().rev().nth(back) else { return Ok(false) };
        let (batch, stamps) = (self.batches[*at].sent.clone(), self.batches[*at].stamps.clone());
        if batch.total_size() > self.config.segment_bytes as usize {
            return Ok(false);
        }
        let sure = self.batches[*at].base >= self.sure_from;
        match self.put(&batch, &stamps, self.epoch, now)? {
            Outcome::Duplicate => Ok(true),
            Outcome::Appended | Outcome::Refused(_) if !sure => Ok(false),
            Outcome::Appended => bug(format!("{}: a duplicate was appended", self.dir)),
            Outcome::Refused(code) => bug(format!("{}: a duplicate was refused with {code:?}", self.dir)),
        }
    }

    /// What has to be refused, if the producer is known for certain.
    pub fn wrong(&mut self, producer: u64, wrong: Wrong, now: Now) -> Result<(), Stop> {
        let known = self.producer(producer);
        let Some((first, last, at)) = known.batches.back().copied() else { return Ok(()) };
        let sent = Sent { producer, records: 2, bytes: 20, codec: Codec::None, stamps: 5, bump: false };
        let (mut batch, stamps) = self.build(&sent, now);
        let mut sure = self.batches[at].base >= self.sure_from;
        let mut leader_epoch = self.epoch;
        let header = &mut batch.header;
        let expected = match wrong {
            Wrong::Gap => {
                header.base_sequence = after(after(last));
                ErrorCode::OutOfOrderSequenceNumber
            }
            Wrong::Overlap if first != last => {
                header.base_sequence = last;
                ErrorCode::OutOfOrderSequenceNumber
            }
            Wrong::OldProducerEpoch if known.epoch > 0 => {
                header.producer_epoch -= 1;
                ErrorCode::InvalidProducerEpoch
            }
            Wrong::OldLeaderEpoch if self.latest_epoch().is_some() => {
                leader_epoch = self.latest_epoch().unwrap() - 1;
                sure = true;
                ErrorCode::NotLeaderOrFollower
            }
            Wrong::TooLarge => {
                let body = vec![0; self.config.segment_bytes as usize];
                header.batch_length = (body.len() + 49) as i32;
                (header.base_sequence, batch.body) = (after(last), body.into());
                sure = true;
                ErrorCode::RecordListTooLarge
            }
            Wrong::Overlap | Wrong::OldProducerEpoch | Wrong::OldLeaderEpoch => return Ok(()),
        };
        // A damaged header below the recovery point is believed, and may name any producer and epoch.
        sure &= self.damaged.is_none();
        batch.header.crc = batch.header.crc_with(&batch.body);
        match self.put(&batch, &stamps, leader_epoch, now)? {
            Outcome::Refused(code) if code == expected || !sure => Ok(()),
            Outcome::Appended | Outcome::Duplicate if !sure => Ok(()),
            Outcome::Refused(code) => bug(format!("{}: {wrong:?} was refused with {code:?}", self.dir)),
            Outcome::Appended | Outcome::Duplicate => bug(format!("{}: {wrong:?} was taken", self.dir)),
        }
    }

    /// Epoch of the last batch that is there.
    fn latest_epoch(&self) -> Option<i32> {
        self.batches.last().filter(|b| b.next > self.start).map(|b| b.epoch).filter(|epoch| *epoch > 0)
    }

    /// A read is refused only where something is damaged.
    fn or_damaged<T>(&self, result: Result<T, ReadError>, what: &str) -> Result<Option<T>, Stop> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Damaged { .. }) if self.damaged.is_some() => Ok(None),
            Err(error @ (ReadError::Io(_) | ReadError::Offline(_))) => {
                refused(format!("{}: {what}: {error}", self.dir))
            }
            Err(error) => bug(format!("{}: {what}: {error}", self.dir)),
        }
    }

    /// Compares the bytes of whole batches with the model; gives the offset after them.
    fn check_bytes(&self, offset: i64, bytes: &[u8]) -> Result<i64, Stop> {
        let mut rest = bytes;
        let mut next = offset;
        while !rest.is_empty() {
            let Some(batch) = self.batches.iter().find(|b| b.holds(next)) else {
                return bug(format!("{}: more than was written, at {next}", self.dir));
            };
            rest = match rest.strip_prefix(&batch.bytes[..]) {
                Some(after) => after,
                // Where it ends is not to be known either; a client sees that its checksum is wrong.
                None if self.damaged.as_ref().is_some_and(|d| d.contains(&batch.base)) => return Ok(batch.next),
                // A damaged one says of itself that it reaches further.
                None if self.damaged.is_some() && !checksum_fits(rest) => return Ok(batch.next),
                None => return bug(format!("{}: other bytes at {}", self.dir, batch.base)),
            };
            next = batch.next;
        }
        Ok(next)
    }

    fn read_at(&mut self, offset: i64, max: u64, bound: i64) -> Result<Option<Held>, Stop> {
        let slice = self.log.as_mut().unwrap().read(off(offset), max, true, off(bound));
        let Some(slice) = self.or_damaged(slice, "read")?.flatten() else { return Ok(None) };
        match slice.read() {
            Ok(bytes) => Ok(Some((slice, bytes.to_vec()))),
            Err(error) => refused(format!("{}: read of a range: {error}", self.dir)),
        }
    }

    /// F1, F5, IO-17: whole batches from the one that holds the offset on, up to the limits, at least one.
    pub fn read(&mut self, look: Look, hold: bool) -> Result<(), Stop> {
        let (start, end) = (self.start, self.end());
        let (offset, bound) = (share(start..end, look.at), share(start..end, look.bound).min(end));
        let found = self.read_at(offset, look.bytes, bound)?;
        let first = self.batches.iter().find(|b| b.holds(offset));
        let Some((slice, bytes)) = found else {
            let wanted = first.filter(|b| b.next <= bound);
            return match wanted {
                Some(b) if self.damaged.is_none() => bug(format!("{}: nothing at {offset}, {} is", self.dir, b.base)),
                _ => Ok(()),
            };
        };
        let first_len = first.map_or(0, |b| b.bytes.len());
        if bytes.len() > first_len && bytes.len() as u64 > look.bytes {
            return bug(format!("{}: {} bytes at {offset}, at most {} asked", self.dir, bytes.len(), look.bytes));
        }
        let next = self.check_bytes(offset, &bytes)?;
        if next > bound {
            return bug(format!("{}: served up to {next}, the bound is {bound}", self.dir));
        }
        if hold {
            self.held = Some(((slice, bytes), next));
        }
        Ok(())
    }

    /// A range stays readable when its segment is gone.
    pub fn check_held(&mut self) -> Result<(), Stop> {
        let Some(((slice, bytes), _)) = &self.held else { return Ok(()) };
        match slice.read() {
            Ok(again) if again == *bytes => Ok(()),
            Ok(_) => bug(format!("{}: a range that was given out changed", self.dir)),
            Err(error) => refused(format!("{}: a range that was given out: {error}", self.dir)),
        }
    }

    /// Offsets and timestamps of the records from the log start up to a bound.
    fn records(&self, bound: i64) -> impl Iterator<Item = (i64, i64)> + Clone + '_ {
        let all = self.batches.iter().flat_map(|b| b.stamps.iter().zip(b.base..).map(|(t, o)| (o, *t)));
        all.filter(move |(o, _)| (self.start..bound).contains(o))
    }

    /// L2, L5, IO-15: look-ups by time agree with a list.
    pub fn time(&mut self, look: Look) -> Result<(), Stop> {
        let bound = share(self.start..self.end(), look.bound).min(self.end());
        let records = || self.records(bound);
        let span = records().map(|(_, t)| t).fold((0, 1), |(low, high), t| (low.min(t), high.max(t + 1)));
        let oldest = records().map(|(_, t)| t).filter(|t| *t >= 0).min().unwrap_or(0).max(span.0);
        let time = share(oldest..span.1.max(oldest + 1) + 2, look.at);
        let expected = records().find(|(_, t)| *t >= time);
        let largest = records().map(|(o, t)| (t, -o)).max().map(|(t, o)| (-o, t));
        let log = self.log.as_mut().unwrap();
        let (found, found_largest) = (log.offset_for_timestamp(time, off(bound)), log.max_timestamp(off(bound)));
        let answer = |found: TimestampOffset| (found.offset.0, found.timestamp);
        if let Some(found) = self.or_damaged(found, "time")? {
            let found = found.map(answer);
            if found != expected && self.damaged.is_none() {
                return bug(format!("{}: {time} below {bound} gives {found:?}, not {expected:?}", self.dir));
            }
        }
        if let Some(found) = self.or_damaged(found_largest, "max timestamp")? {
            let found = found.map(answer);
            if found != largest && self.damaged.is_none() {
                return bug(format!("{}: the largest below {bound} is {found:?}, not {largest:?}", self.dir));
            }
        }
        Ok(())
    }

    pub fn delete_records(&mut self, percent: u64) -> Result<(), Stop> {
        self.end_retention()?;
        let bound = self.bound();
        let target = share(self.start..bound, percent * 10);
        self.moving = Some(target);
        let log = self.log.as_mut().unwrap();
        match log.delete_records_to(off(target), off(bound)) {
            Ok(start) if start.0 == target => {
                self.moved(target);
                Ok(())
            }
            Ok(start) => bug(format!("{}: the log start is {start} after deletion to {target}", self.dir)),
            Err(error) => refused(format!("{}: delete records: {error}", self.dir)),
        }
    }

    fn moved(&mut self, start: i64) {
        (self.start, self.moving) = (start, None);
    }

    pub fn retention(&mut self, now: Now) -> Result<(), Stop> {
        self.end_retention()?;
        let (before, bound) = (self.start, self.bound());
        self.moving = Some(bound);
        let log = self.log.as_mut().unwrap();
        log.expire_producers(now);
        let outcome = log.enforce_retention(now, off(bound)).map(drop);
        self.retained(outcome, before..bound, &(now, self.config.clone()))
    }

    /// The first steps of retention. What comes in between must not matter.
    pub fn begin_retention(&mut self, now: Now, armed: bool) -> Result<(), Stop> {
        self.end_retention()?;
        let (before, bound) = (self.start, self.bound());
        self.moving = Some(bound);
        match self.log.as_mut().unwrap().plan_retention(now, off(bound)) {
            Ok(Some(plan)) => {
                let written = plan.run();
                if written.has_failed() && !armed {
                    return refused(format!("{}: retention without a fault: {written:?}", self.dir));
                }
                self.retaining = Some((plan, written, before..bound, (now, self.config.clone())));
                Ok(())
            }
            planned => self.retained(planned.map(drop), before..bound, &(now, self.config.clone())),
        }
    }

    /// The last step, and what is left to be removed.
    pub fn end_retention(&mut self) -> Result<(), Stop> {
        let Some((plan, written, bounds, asked)) = self.retaining.take() else { return Ok(()) };
        let failed = written.has_failed();
        let graves = self.log.as_mut().unwrap().retain(plan, written);
        let outcome = graves.map(|graves| match bounds.end % 2 {
            0 => graves.remove(),
            // They stay until the next start.
            _ => drop(graves.bury()),
        });
        let told = self.retained(outcome, bounds, &asked);
        self.excused = failed && told.is_err();
        told
    }

    fn retained(&mut self, outcome: Result<(), DeleteError>, bounds: Range<i64>, asked: &Asked) -> Result<(), Stop> {
        let (before, bound) = (bounds.start, bounds.end);
        if let Err(error) = outcome {
            // A full disk, say. The start may have moved and no file gone; a log that goes on tells.
            if self.log.as_ref().is_some_and(|log| log.offline().is_none()) {
                self.moved(self.log.as_ref().map_or(before, |log| log.log_start().0));
            }
            return match (error, self.damaged.is_some()) {
                (DeleteError::Read(ReadError::Damaged { .. }), true) => Ok(()),
                (error, _) => refused(format!("{}: retention: {error}", self.dir)),
            };
        }
        let start = self.log.as_ref().unwrap().log_start().0;
        if start < before || start > bound.max(before) {
            return bug(format!("{}: retention moved the start from {before} to {start} of {bound}", self.dir));
        }
        self.check_retention(before..start, asked)?;
        self.moved(start);
        Ok(())
    }

    /// Where the batch begins that holds a place.
    pub fn border(&self, thousandth: u64) -> i64 {
        let target = share(self.start..self.end(), thousandth);
        self.batches.iter().find(|b| b.holds(target)).map_or(self.end(), |b| b.base)
    }

    /// RL-03: the batches that do not end below a place go, and never come back, as far as they were not shown to anybody.
    pub fn truncate(&mut self, thousandth: u64, journal: JournalPlace, now: Now) -> Result<(), Stop> {
        self.end_retention()?;
        let (target, across) = (share(self.start..self.end(), thousandth), self.border(thousandth));
        if self.damaged.is_some() || across < self.start {
            return Ok(());
        }
        if across < self.end() {
            let log = self.log.as_mut().unwrap();
            let refused = log.truncate_to(off(target), off(across + 1), journal, now);
            if !matches!(refused, Err(TruncateError::Committed { .. } | TruncateError::Offline(_)))
                && !self.disk.is_dead()
            {
                return match refused {
                    Err(error) if !matches!(error, TruncateError::Busy) => {
                        super::refused(format!("{}: truncation: {error}", self.dir))
                    }
                    refused => bug(format!("{}: truncation below what was shown: {refused:?}", self.dir)),
                };
            }
        }
        // It was acknowledged here, and not by all replicas.
        (self.acked, self.stable) = (self.acked.min(across), self.stable.min(across));
        let log = self.log.as_mut().unwrap();
        match log.truncate_to(off(target), off(across), journal, now) {
            Ok(end) if end.0 == across => {
                self.batches.retain(|b| b.next <= across);
                // Whoever still reads what is cut finds the end of the file, and its connection is closed: no promise is left.
                self.held.take_if(|(_, next)| *next > across);
                // Producers are what the batches say.
                self.sure_from = self.sure_from.max(self.start);
                self.compare()
            }
            Ok(end) => bug(format!("{}: cut at {end}, {across} expected", self.dir)),
            Err(TruncateError::Committed { offset, bound }) => bug(format!("{}: {offset} is below {bound}", self.dir)),
            Err(error) => refused(format!("{}: truncation: {error}", self.dir)),
        }
    }

    /// What went was too old or too much.
    fn check_retention(&self, gone: Range<i64>, (now, config): &Asked) -> Result<(), Stop> {
        let in_time = |b: &Batch| {
            let newest = b.stamps.iter().max().copied().unwrap_or(-1);
            newest >= 0 && config.retention_ms.is_none_or(|limit| now.wall.0 - newest <= limit as i64)
        };
        let taken = self.batches.iter().filter(|b| b.base >= gone.start && b.next <= gone.end);
        let too_early = taken.clone().any(in_time);
        let left = self.batches.iter().filter(|b| b.base >= gone.end);
        let expired: usize = taken.filter(|b| !in_time(b)).map(|b| b.bytes.len()).sum();
        let kept: usize = left.map(|b| b.bytes.len()).sum();
        let enough = config.retention_bytes.is_some_and(|limit| (kept + expired) as u64 >= limit);
        match too_early && !enough {
            true => bug(format!("{}: retention took {gone:?} too early, {kept} bytes are left", self.dir)),
            false => Ok(()),
        }
    }

    /// The numbers that hold after every step.
    pub fn check(&mut self) -> Result<(), Stop> {
        let Some(log) = self.log.as_ref().filter(|log| log.offline().is_none()) else { return Ok(()) };
        let (start, flushed, stable, end) =
            (log.log_start().0, log.recovery_point().0, log.stable_end().0, log.log_end().0);
        if start != self.start || end != self.end() {
            return bug(format!("{}: the log is {start}..{end}, not {}..{}", self.dir, self.start, self.end()));
        }
        if start > end || flushed > stable || stable > end || stable < self.stable {
            let numbers = format!("{start}, {flushed}, {stable}, {end}, stable before {}", self.stable);
            return bug(format!("{}: start, flushed, stable, end: {numbers}", self.dir));
        }
        self.stable = stable;
        self.acked = self.acked.max(stable);
        Ok(())
    }

    /// Reads all of the log and compares it with the model, with its epochs and producers.
    pub fn compare(&mut self) -> Result<(), Stop> {
        let end = self.end();
        let mut next = self.start;
        while next < end {
            match self.read_at(next, 1000, end)? {
                Some((_, bytes)) => next = self.check_bytes(next, &bytes)?,
                None if self.damaged.is_some() => break,
                None => return bug(format!("{}: nothing at {next} of {end}", self.dir)),
            }
        }
        // A header below the recovery point is believed, but for its place.
        if self.damaged.is_some() { Ok(()) } else { self.compare_epochs().and_then(|()| self.compare_producers()) }
    }

    /// L11, RL-03: each epoch begins at its first batch.
    fn compare_epochs(&self) -> Result<(), Stop> {
        let log = self.log.as_ref().unwrap();
        let here: Vec<&Batch> = self.batches.iter().filter(|b| b.next > self.start).collect();
        for (n, batch) in here.iter().enumerate() {
            let at = batch.base.max(self.start);
            if log.epoch_at(off(at)) != Some(LeaderEpoch(batch.epoch)) {
                return bug(format!("{}: epoch at {at} is {:?}, not {}", self.dir, log.epoch_at(off(at)), batch.epoch));
            }
            let Some(next) = here.get(n + 1).filter(|next| next.epoch > batch.epoch) else { continue };
            let end = log.end_offset_for_epoch(LeaderEpoch(batch.epoch)).map(|found| (found.epoch.0, found.offset.0));
            if end != Some((batch.epoch, next.base)) {
                return bug(format!("{}: epoch {} ends at {end:?}, not {}", self.dir, batch.epoch, next.base));
            }
        }
        Ok(())
    }

    /// I13: whoever is known for certain is listed with its last sequence.
    fn compare_producers(&self) -> Result<(), Stop> {
        let infos: Vec<_> = self.log.as_ref().unwrap().producers().collect();
        for id in 0..PRODUCERS {
            let known = self.producer(id);
            let Some((_, last, at)) = known.batches.back() else { continue };
            if self.batches[*at].base < self.sure_from {
                continue;
            }
            let found = infos.iter().find(|p| p.producer_id == id as i64).map(|p| (p.epoch, p.last_sequence));
            if found != Some((known.epoch, *last)) {
                return bug(format!("{}: producer {id} is {found:?}, not {:?}", self.dir, (known.epoch, *last)));
            }
        }
        Ok(())
    }

    /// After a start: what was acknowledged is there, and what is there is the beginning of what was appended.
    pub fn reopened(&mut self, clean: bool) -> Result<(), Stop> {
        let log = self.log.as_ref().unwrap();
        let (start, end) = (log.log_start().0, log.log_end().0);
        self.stable = log.stable_end().0;
        if !self.memory && self.stable != end {
            return bug(format!("{}: {} of {end} are on disk and all is served", self.dir, self.stable));
        }
        if end < self.acked {
            return bug(format!("{}: acknowledged up to {}, the log ends at {end}", self.dir, self.acked));
        }
        if start != self.start && !self.moving.is_some_and(|target| start > self.start && start <= target) {
            return bug(format!("{}: the log start was {}, is {start}", self.dir, self.start));
        }
        self.moved(start);
        self.batches.retain(|b| b.next <= end);
        if self.end() != end {
            return bug(format!("{}: the log ends at {end}, in a batch or beyond all: {}", self.dir, self.end()));
        }
        if !clean {
            self.sure_from = self.sure_from.max(start);
        }
        self.compare()
    }

    /// Segment file, position and batch of something that is promised to be there, for a test to damage.
    pub fn promised(&self, segments: &[i64], point: i64, draw: u64) -> Option<(i64, usize, &Batch)> {
        let promised: Vec<&Batch> =
            self.batches.iter().filter(|b| b.base >= self.start && b.next <= point.min(self.acked)).collect();
        let batch = *promised.get(draw as usize % promised.len().max(1))?;
        let base = *segments.iter().rfind(|base| **base <= batch.base)?;
        let before = self.batches.iter().filter(|b| b.base >= base && b.base < batch.base);
        Some((base, before.map(|b| b.bytes.len()).sum(), batch))
    }
}

/// Whether the checksum of the batch at the beginning is right.
fn checksum_fits(bytes: &[u8]) -> bool {
    let header = BatchHeader::parse(bytes).ok();
    header.is_some_and(|header| {
        bytes.get(BATCH_HEADER_BYTES..header.total_size()).is_some_and(|body| header.crc_with(body) == header.crc)
    })
}
