//! A compacted log beside a model of it: every record ever written, and whether it has to be there. Operations go to both,
//! and after each the two are compared. Every disagreement is a value, so that planted bugs can be seen to be found.

use std::collections::BTreeMap;
use std::sync::Arc;

use pyralog_protocol::batch::{BatchBuilder, CheckedBatch, Codec, Compression, NewRecord, TimestampType};
use pyralog_protocol::{Draw, LeaderEpoch, LogOffset};

use super::{CHUNK, Seen, compacted, read_all};
use crate::compact::source::Reader;
use crate::compact::{CompactError, KeyMap};
use crate::segment::{Env, Trust, file_name};
use crate::sim::{Faults, SimDisk};
use crate::tests::{DIR, JOURNAL, KEY, TOPIC, at, checked, off};
use crate::{Commit, Disk, Journal, Log, LogConfig, OpenHint, OpenMode, Round, Settle, create, prepare_file};

const PRODUCERS: u64 = 3;
/// So long a tombstone stays once a round has seen it.
const DELETE_RETENTION: i64 = 1000;

#[derive(Clone, Debug)]
pub enum Op {
    /// The seed says what is in it.
    Append(u64),
    /// One of a producer's last five batches again.
    Resend {
        producer: u64,
        back: usize,
    },
    Sync,
    /// Acknowledges by the journal where it can.
    Commit,
    Checkpoint,
    Release,
    /// A round of compaction: keys that the map takes, and after how many steps it is stopped.
    Compact {
        keys: usize,
        steps: u64,
    },
    Pass(i64),
    /// To the other policy.
    Flip,
    DeleteRecords(i64),
    Retention,
    NextEpoch,
    Kill,
    Restart,
    PowerLoss(u64),
    StopAndPowerLoss(u64),
}

impl Op {
    pub fn draw(draw: &mut Draw) -> Self {
        let (kind, a, b) = (draw.next_u64() % 100, draw.next_u64(), draw.next_u64());
        match kind {
            0..45 => Self::Append(a),
            45..50 => Self::Resend { producer: a % PRODUCERS, back: (b % 5) as usize },
            50..58 => Self::Sync,
            58..63 => Self::Commit,
            63..66 => Self::Checkpoint,
            66..68 => Self::Release,
            68..82 => Self::Compact {
                keys: if a.is_multiple_of(3) { 1 + (b % 12) as usize } else { 1000 },
                steps: if b.is_multiple_of(7) { a % 20 } else { u64::MAX },
            },
            82..87 => Self::Pass((a % 900) as i64),
            87..88 => Self::Flip,
            88..89 => Self::DeleteRecords((a % 101) as i64),
            89..90 => Self::Retention,
            90..92 => Self::NextEpoch,
            92..94 => Self::Kill,
            94..96 => Self::Restart,
            96..99 => Self::PowerLoss(b),
            _ => Self::StopAndPowerLoss(b),
        }
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "shown by Debug")]
pub enum Stop {
    /// The crash point of the disk was reached.
    Power,
    /// Log and model disagree.
    Bug(String),
}

struct Batch {
    base: i64,
    next: i64,
    sent: CheckedBatch,
    codec: Codec,
    /// What of it is there.
    records: Vec<Seen>,
    horizon: Option<i64>,
}

pub struct World {
    pub disk: SimDisk,
    log: Option<Log<SimDisk>>,
    journal: Option<Journal<SimDisk>>,
    config: LogConfig,
    trust: Trust,
    batches: Vec<Batch>,
    start: i64,
    acked: i64,
    point: i64,
    clean: bool,
    deleting: bool,
    epoch: i32,
    now: i64,
    /// A round was cut off: whatever it might have taken may be there or not. Its end.
    in_doubt: Option<(i64, i64)>,
    /// By producer: how many of its last five batches were lost before they were acknowledged. So many fewer are
    /// remembered: a client has five requests in flight at most, those that were lost among them.
    lost: [usize; PRODUCERS as usize],
    /// Rounds that came to their end.
    pub rounds: u32,
    /// Records that went.
    pub gone: usize,
}

fn bug<T>(what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Bug(what.into()))
}

impl World {
    pub fn new(trust: Trust) -> Self {
        let disk = SimDisk::new();
        create(&disk, DIR, TOPIC).unwrap();
        disk.create_dir_all("logs").unwrap();
        disk.sync_dir("").unwrap();
        let mut world = Self {
            disk,
            log: None,
            journal: None,
            config: compacted(),
            trust,
            batches: Vec::new(),
            start: 0,
            acked: 0,
            point: 0,
            clean: true,
            deleting: false,
            epoch: 0,
            now: 10_000,
            in_doubt: None,
            lost: [0; PRODUCERS as usize],
            rounds: 0,
            gone: 0,
        };
        world.open().unwrap();
        world
    }

    pub fn log(&mut self) -> &mut Log<SimDisk> {
        self.log.as_mut().unwrap()
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |b| b.next).max(self.start)
    }

    fn or_dead<T, E: std::fmt::Display>(&self, result: Result<T, E>, what: &str) -> Result<T, Stop> {
        match result {
            Ok(value) => Ok(value),
            Err(_) if self.disk.is_dead() => Err(Stop::Power),
            Err(error) => bug(format!("{what}: {error}")),
        }
    }

    pub fn run(&mut self, op: &Op) -> Result<(), Stop> {
        match op {
            Op::Append(seed) => self.append(*seed)?,
            Op::Resend { producer, back } => self.resend(*producer, *back)?,
            Op::Sync => self.sync()?,
            Op::Commit => self.commit()?,
            Op::Checkpoint => {
                let point = self.log().checkpoint();
                self.point = self.or_dead(point, "checkpoint")?.0;
            }
            Op::Release => self.log().release_files(),
            Op::Compact { keys, steps } => self.compact(*keys, *steps)?,
            Op::Pass(ms) => self.now += ms,
            Op::Flip => {
                self.config.compaction = match self.config.compaction {
                    Some(_) => None,
                    None => compacted().compaction,
                };
                let config = self.config.clone();
                self.log().set_config(config);
            }
            Op::DeleteRecords(percent) => self.delete_records(*percent)?,
            Op::Retention => self.retention()?,
            Op::NextEpoch => {
                self.epoch += 1;
                let epoch = LeaderEpoch(self.epoch);
                self.log().begin_epoch(epoch);
            }
            Op::Kill => self.open()?,
            Op::Restart => {
                self.close()?;
                self.open()?;
            }
            Op::PowerLoss(seed) => self.power_loss(*seed)?,
            Op::StopAndPowerLoss(seed) => {
                self.close()?;
                self.power_loss(*seed)?;
            }
        }
        self.compare()
    }

    fn append(&mut self, seed: u64) -> Result<(), Stop> {
        let mut draw = Draw::new(u128::from(seed));
        let mut builder = BatchBuilder::new();
        let producer = draw.next_u64() % (PRODUCERS + 1);
        if producer < PRODUCERS {
            let lost = &mut self.lost[producer as usize];
            *lost = lost.saturating_sub(1);
            builder = builder.producer(producer as i64, 0, self.next_sequence(producer));
        }
        let codecs = [Codec::None, Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        let codec = codecs[(draw.next_u64() % 6) as usize];
        builder = builder.compression(Compression::of(codec));
        let count = 1 + draw.next_u64() % 4;
        let base = self.end();
        let log_append_time = draw.next_u64().is_multiple_of(5);
        let mut records = Vec::new();
        for place in 0..count {
            let (kind, length) = (draw.next_u64(), (draw.next_u64() % 150) as usize);
            let keyless = self.config.compaction.is_none() && kind.is_multiple_of(3);
            let key = (!keyless).then(|| format!("key {}", draw.next_u64() % 8).into_bytes());
            let value = (kind % 5 > 0).then(|| format!("{:0length$}", base + place as i64).into_bytes());
            let timestamp = self.now - (draw.next_u64() % 50) as i64;
            let header: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"1")), (b"", None)];
            let headers = if kind.is_multiple_of(4) { header } else { &[] };
            builder = builder.record(NewRecord { timestamp, key: key.as_deref(), value: value.as_deref(), headers });
            let headers = headers.iter().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
            let timestamp = if log_append_time { self.now } else { timestamp };
            records.push(Seen { offset: base + place as i64, timestamp, key, value, headers });
        }
        let mut sent = checked(builder);
        if log_append_time {
            sent.header.set_timestamp_type(TimestampType::LogAppendTime);
            sent.header.max_timestamp = self.now;
            sent.header.crc = sent.header.crc_with(&sent.body);
        }
        let next = base + count as i64;
        // In the model before the outcome is known: a crash in mid-write may keep it.
        self.batches.push(Batch { base, next, sent: sent.clone(), codec, records, horizon: None });
        let (epoch, now) = (LeaderEpoch(self.epoch), at(self.now));
        let result = self.log().append(&sent, epoch, now);
        let appended = self.or_dead(result, "append")?;
        if appended.base_offset.0 != base || appended.duplicate {
            return bug(format!("appended at {appended:?}, {base} expected"));
        }
        Ok(())
    }

    fn of_producer(&self, producer: u64) -> Vec<&Batch> {
        self.batches.iter().filter(|b| b.sent.header.producer_id == producer as i64).collect()
    }

    fn next_sequence(&self, producer: u64) -> i32 {
        self.of_producer(producer).last().map_or(0, |b| b.sent.header.last_sequence() + 1)
    }

    /// ID-02, ID-03: a resent batch is a success with its original offset, whatever compaction took of it.
    fn resend(&mut self, producer: u64, back: usize) -> Result<(), Stop> {
        if back + self.lost[producer as usize] >= crate::BATCHES_KEPT {
            return Ok(());
        }
        let start = self.start;
        let sent = self
            .of_producer(producer)
            .iter()
            .rev()
            .nth(back)
            .filter(|b| b.base >= start)
            .map(|b| (b.base, b.sent.clone()));
        let Some((base, sent)) = sent else { return Ok(()) };
        let (epoch, now) = (LeaderEpoch(self.epoch), at(self.now));
        let result = self.log().append(&sent, epoch, now);
        let appended = self.or_dead(result, "resend")?;
        if appended.base_offset.0 != base || !appended.duplicate {
            return bug(format!("a duplicate of {base} got {appended:?}"));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Stop> {
        let stable = self.log().sync();
        self.acked = self.or_dead(stable, "sync")?.0;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Stop> {
        let (journal, end) = (self.journal.as_mut().unwrap(), self.log.as_ref().unwrap().log_end());
        if let Some(slot) = journal.wants_file() {
            let prepared = prepare_file(&self.disk, slot, JOURNAL);
            journal.add(slot, prepared);
        }
        let point = self.log.as_ref().unwrap().recovery_point();
        journal.release(|_| Some(point));
        let batches = match self.log.as_mut().unwrap().commit() {
            Commit::Nothing => return Ok(()),
            Commit::Sync => return self.sync(),
            Commit::Journal(batches) => batches,
        };
        let mut round = Round::new(8192);
        if !round.has_room(&batches) {
            return self.sync();
        }
        round.push(KEY, &batches);
        match journal.write(&mut round) {
            Ok(()) => {}
            Err(crate::JournalError::NoRoom) => return self.sync(),
            Err(_) if self.disk.is_dead() => return Err(Stop::Power),
            Err(error) => return bug(error.to_string()),
        }
        let stable = self.log().journaled(end);
        self.acked = self.or_dead(stable, "journaled")?.0;
        Ok(())
    }

    fn compact(&mut self, keys: usize, steps: u64) -> Result<(), Stop> {
        let (now, bound) = (at(self.now), off(self.acked));
        let plan = self.log().begin_compaction(now, bound);
        let Some(mut plan) = self.or_dead(plan, "plan")? else { return Ok(()) };
        let dirty = plan.first_dirty.0;
        let until = plan.sources.last().unwrap().end.0;
        if until > self.acked {
            return bug(format!("{until} would be cleaned, {} is acknowledged", self.acked));
        }
        let mut map = KeyMap::new(keys * crate::compact::ENTRY_BYTES * 2, 0.5, [1, 2]);
        let mut left = steps;
        let mut pace = |_| {
            left = left.saturating_sub(1);
            left > 0
        };
        self.in_doubt = Some((dirty, until));
        let log = self.log.as_mut().unwrap();
        let outcome = plan.run(&mut map, CHUNK, &mut pace, &mut |new| log.swap_in(new));
        log.end_compaction(&outcome);
        match outcome {
            Ok(round) => {
                if round.clean_end.0 <= dirty || round.clean_end.0 > until {
                    return bug(format!("{dirty}..{until} was dirty, it is clean up to {}", round.clean_end));
                }
                self.clean(dirty, round.clean_end.0);
                self.rounds += 1;
                self.in_doubt = None;
                self.no_two_of_a_key(round.clean_end.0)
            }
            Err(CompactError::Stopped) => self.adopt(),
            Err(_) if self.disk.is_dead() => Err(Stop::Power),
            Err(error) => bug(format!("compaction: {error}")),
        }
    }

    /// What a round over `dirty..end` does to the model.
    fn clean(&mut self, dirty: i64, end: i64) {
        let (start, now) = (self.start, self.now);
        let mut newest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for record in self.batches.iter().flat_map(|b| &b.records).filter(|r| (dirty..end).contains(&r.offset)) {
            if let Some(key) = &record.key {
                newest.insert(key.clone(), record.offset);
            }
        }
        for batch in self.batches.iter_mut().filter(|b| b.base < end) {
            let (before, horizon) = (batch.records.len(), batch.horizon);
            batch.records.retain(|r| r.offset >= end || r.offset >= start && stays(r, &newest, horizon, now));
            self.gone += before - batch.records.len();
            if batch.records.iter().any(|r| r.value.is_none()) {
                batch.horizon.get_or_insert(now + DELETE_RETENTION);
            }
        }
    }

    /// After a whole round the clean part has each key once.
    fn no_two_of_a_key(&self, end: i64) -> Result<(), Stop> {
        let mut seen = BTreeMap::new();
        for record in self.batches.iter().flat_map(|b| &b.records).filter(|r| r.offset < end && r.offset >= self.start)
        {
            if let Some(before) = seen.insert(record.key.clone(), record.offset) {
                return bug(format!("{:?} is at {before} and at {}", record.key, record.offset));
            }
        }
        Ok(())
    }

    /// A round was cut off: what is there has to lie between the model before it and the model after it. From then on
    /// the model is what is there.
    fn adopt(&mut self) -> Result<(), Stop> {
        let Some((dirty, until)) = self.in_doubt else { return Ok(()) };
        let start = off(self.start);
        let found = read_all(self.log.as_mut().unwrap(), start);
        let found = self.or_dead(found, "read")?;
        self.in_doubt = None;
        let before: BTreeMap<i64, Vec<i64>> =
            self.batches.iter().map(|b| (b.base, b.records.iter().map(|r| r.offset).collect())).collect();
        let whole: Vec<Vec<Seen>> = self.batches.iter().map(|b| b.records.clone()).collect();
        let horizons: Vec<Option<i64>> = self.batches.iter().map(|b| b.horizon).collect();
        self.clean(dirty, until);
        let found: BTreeMap<i64, _> =
            found.into_iter().map(|(header, records)| (header.base_offset, (header, records))).collect();
        for (at, batch) in self.batches.iter_mut().enumerate() {
            let there: Vec<i64> =
                found.get(&batch.base).map_or(vec![], |(_, rs)| rs.iter().map(|r| r.offset).collect());
            if let Some(lost) = batch.records.iter().find(|r| r.offset >= start.0 && !there.contains(&r.offset)) {
                return bug(format!("a round that was cut off lost {}", lost.offset));
            }
            if let Some(more) = there.iter().find(|offset| !before[&batch.base].contains(offset)) {
                return bug(format!("a round that was cut off brought {more} back"));
            }
            batch.records = whole[at].iter().filter(|r| there.contains(&r.offset)).cloned().collect();
            let horizon = found.get(&batch.base).and_then(|(header, _)| header.delete_horizon());
            if horizons[at].is_some() && horizon != horizons[at] && !there.is_empty() && batch.base >= start.0 {
                return bug(format!("the horizon of {} moved", batch.base));
            }
            batch.horizon = horizon.or(horizons[at]);
        }
        Ok(())
    }

    fn delete_records(&mut self, percent: i64) -> Result<(), Stop> {
        let target = self.start + (self.acked.max(self.start) - self.start) * percent / 100;
        self.deleting = true;
        let result = self.log().delete_records_to(off(target), off(target));
        self.start = self.or_dead(result, "delete records")?.0.max(self.start);
        self.deleting = false;
        Ok(())
    }

    fn retention(&mut self) -> Result<(), Stop> {
        self.deleting = true;
        let (acked, now) = (off(self.acked), at(self.now));
        let config = LogConfig { retention_bytes: Some(9000), ..self.config.clone() };
        self.log().set_config(config);
        let result = self.log().enforce_retention(now, acked);
        self.or_dead(result, "retention")?;
        let config = self.config.clone();
        self.log().set_config(config);
        self.deleting = false;
        self.start = self.log().log_start().0;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let log = self.log.take().unwrap();
        let point = self.or_dead(log.close_clean(), "close")?;
        (self.point, self.acked, self.clean) = (point.0, self.end(), true);
        Ok(())
    }

    pub fn power_loss(&mut self, seed: u64) -> Result<(), Stop> {
        self.log = None;
        self.disk = self.disk.crash(seed);
        let opened = self.open();
        self.clean = false;
        opened
    }

    /// Power loss, and another one at the n-th change that recovery makes, over and over.
    pub fn power_loss_in_recovery(&mut self, seed: u64) -> Result<(), Stop> {
        self.log = None;
        self.disk = self.disk.crash(seed);
        for n in 1..100 {
            self.disk.set_faults(Faults { crash_at: Some(self.disk.counters().changes + n), ..Faults::default() });
            match self.open() {
                Err(Stop::Power) => self.disk = self.disk.crash(seed + n),
                other => {
                    self.disk.set_faults(Faults::default());
                    return other;
                }
            }
        }
        bug("recovery never ends")
    }

    fn open(&mut self) -> Result<(), Stop> {
        self.log = None;
        let settle = Settle::Unproven;
        let hint = OpenHint { clean: std::mem::take(&mut self.clean), recovery_point: off(self.point), settle };
        let disk = Arc::new(self.disk.clone());
        let (journal, replay) = self.or_dead(Journal::open(Arc::clone(&disk), JOURNAL, hint.clean), "journal")?;
        self.journal = Some(journal);
        let env = Env::new(disk, DIR, self.config.clone(), self.trust);
        let opened = Log::open_trusting(env, hint, replay.of(KEY), at(self.now));
        let (mut log, _) = self.or_dead(opened, "open")?;
        log.keep_for_journal(3000);
        let (start, end) = (log.log_start().0, log.log_end().0);
        self.log = Some(log);
        if end < self.acked {
            return bug(format!("acknowledged up to {}, the log ends at {end}", self.acked));
        }
        if start != self.start && !(self.deleting && start > self.start && start <= self.end()) {
            return bug(format!("log start was {}, is {start}", self.start));
        }
        self.deleting = false;
        self.start = start;
        for batch in self.batches.iter().filter(|b| b.next > end.max(start)) {
            if let Some(lost) = self.lost.get_mut(batch.sent.header.producer_id as usize) {
                *lost += 1;
            }
        }
        self.batches.retain(|b| b.next <= end.max(start));
        if self.end() != end {
            return bug(format!("the log ends at {end}, in the middle of a batch or beyond all: {}", self.end()));
        }
        if let Some(left) = self.disk.paths().iter().find(|path| crate::compact::swap::is_ours(path)) {
            return bug(format!("{left} is left"));
        }
        self.adopt()
    }

    /// Reads all of the log and compares it with the model.
    pub fn compare(&mut self) -> Result<(), Stop> {
        let start = off(self.start);
        let found = read_all(self.log.as_mut().unwrap(), start);
        let found = self.or_dead(found, "read")?;
        let mut expected = self.batches.iter().filter(|b| b.next > start.0).peekable();
        for (header, records) in &found {
            let batch = loop {
                let Some(batch) = expected.next() else {
                    return bug(format!("{} was never written", header.base_offset));
                };
                if batch.base == header.base_offset {
                    break batch;
                }
                if batch.records.iter().any(|r| r.offset >= start.0) {
                    return bug(format!("{} is missing", batch.base));
                }
            };
            let sent = &batch.sent.header;
            let same = (header.last_offset_delta, header.producer_id, header.producer_epoch, header.base_sequence)
                == (sent.last_offset_delta, sent.producer_id, sent.producer_epoch, sent.base_sequence)
                && header.timestamp_type() == sent.timestamp_type();
            if !same || (header.codec() != Ok(batch.codec) && !records.is_empty()) {
                return bug(format!("{header:?} was {sent:?}"));
            }
            if records.iter().filter(|r| r.offset >= start.0).ne(batch.records.iter().filter(|r| r.offset >= start.0)) {
                return bug(format!(
                    "in {}: {records:?} instead of {:?}, horizon {:?}, should be {:?}",
                    batch.base,
                    batch.records,
                    header.delete_horizon(),
                    batch.horizon
                ));
            }
        }
        if let Some(lost) = expected.find(|b| b.records.iter().any(|r| r.offset >= start.0)) {
            return bug(format!("{} is missing at the end", lost.base));
        }
        self.borders()?;
        self.scrub()
    }

    /// IO-07, IO-12: whoever looks over what rounds have made finds nothing, neither in segments nor in their indexes.
    fn scrub(&mut self) -> Result<(), Stop> {
        let mut from = LogOffset::ZERO;
        while let Some(scrub) = self.log.as_ref().and_then(|log| log.next_to_scrub(from)) {
            let found = scrub.run(&|_| true);
            let found = self.or_dead(found, "scrub")?;
            if let Some(finding) = found.damage.first().or(found.derived.first()) {
                return bug(format!("{finding:?}"));
            }
            from = scrub.next();
        }
        Ok(())
    }

    /// TX-07: every segment ends where the next one begins.
    fn borders(&mut self) -> Result<(), Stop> {
        let log = self.log.as_ref().unwrap();
        for (at, segment) in log.segments.iter().enumerate() {
            let end = log.segments.get(at + 1).map_or(log.log_end(), |next| next.base);
            let file = self.disk.open(&format!("{DIR}/{}", file_name(segment.base, "log")), OpenMode::Read);
            let file = self.or_dead(file, "segment")?;
            let (mut reader, mut chain) = (Reader::new(&file, segment.size, CHUNK), segment.base);
            while let Some(batch) = reader.next().map_err(|e| Stop::Bug(format!("{e:?}")))? {
                chain = LogOffset(batch.header.last_offset() + 1);
            }
            if chain != end {
                return bug(format!("segment {} ends at {chain}, not at {end}", segment.base));
            }
        }
        Ok(())
    }
}

fn stays(record: &Seen, newest: &BTreeMap<Vec<u8>, i64>, horizon: Option<i64>, now: i64) -> bool {
    let Some(key) = &record.key else { return false };
    newest.get(key).is_none_or(|newest| *newest <= record.offset)
        && (record.value.is_some() || horizon.is_none_or(|horizon| now < horizon))
}
