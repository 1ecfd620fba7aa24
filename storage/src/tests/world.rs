//! A log beside a model of it: a list of batches. Operations go to both; after each the two are compared. Every
//! disagreement is a value, so that planted bugs can be seen to be found.

use std::sync::Arc;

use pyralog_protocol::batch::CheckedBatch;
use pyralog_protocol::{Draw, LeaderEpoch};

use super::{DIR, JOURNAL, KEY, TOPIC, at, checked, off, sized, small};
use crate::segment::{Env, Trust};
use crate::sim::{Faults, SimDisk};
use crate::{Commit, Journal, JournalError, Log, LogConfig, OpenError, OpenHint, Round, Settle, create, prepare_file};

const PRODUCERS: u64 = 3;
const ROUND: usize = 8192;
/// So little that some of what is appended has to be synced where it is.
const KEPT: usize = 5000;

#[derive(Clone, Debug)]
pub enum Op {
    Append {
        producer: u64,
        records: usize,
        bytes: usize,
    },
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
    /// Percent of what is there.
    DeleteRecords(i64),
    Retention,
    NextEpoch,
    /// kill -9: the disk keeps its page cache.
    Kill,
    /// A clean stop and start.
    Restart,
    /// Power loss; the seed says what survives.
    PowerLoss(u64),
    /// Power loss after a clean stop.
    StopAndPowerLoss(u64),
}

impl Op {
    pub fn draw(draw: &mut Draw) -> Self {
        let (kind, a, b) = (draw.next_u64() % 100, draw.next_u64(), draw.next_u64());
        match kind {
            0..50 => Self::Append {
                producer: a % (PRODUCERS + 1),
                records: 1 + (b % 5) as usize,
                bytes: 5 + (a % 900) as usize,
            },
            50..58 => Self::Resend { producer: a % PRODUCERS, back: (b % 5) as usize },
            58..62 => Self::Sync,
            62..73 => Self::Commit,
            73..78 => Self::Checkpoint,
            78..80 => Self::Release,
            80..85 => Self::DeleteRecords((a % 101) as i64),
            85..90 => Self::Retention,
            90..92 => Self::NextEpoch,
            92..94 => Self::Kill,
            94..96 => Self::Restart,
            96..99 => Self::PowerLoss(b),
            _ => Self::StopAndPowerLoss(b),
        }
    }
}

/// What the world does wrong on purpose, to see that this is caught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    #[default]
    Nothing,
    /// Journal files are used again although their batches are not in the segments on disk.
    EarlyReuse,
    /// Recovery does not look into the journal.
    NoRedo,
    /// A commit is acknowledged although its round was not written.
    NoRound,
}

/// Why a run ended early.
#[derive(Debug)]
pub enum Stop {
    /// The crash point of the disk was reached.
    Power,
    /// Log and model disagree.
    Bug(String),
}

struct Batch {
    base: i64,
    next: i64,
    bytes: Vec<u8>,
    sent: CheckedBatch,
}

pub struct World {
    pub disk: SimDisk,
    log: Option<Log<SimDisk>>,
    journal: Option<Journal<SimDisk>>,
    /// How often something was acknowledged by the journal.
    pub journaled: u32,
    /// How many batches recovery took from the journal.
    pub put_back: u64,
    config: LogConfig,
    trust: Trust,
    pub planted: Planted,
    batches: Vec<Batch>,
    start: i64,
    /// Everything below was acknowledged.
    acked: i64,
    /// What the node wrote down.
    point: i64,
    clean: bool,
    pub starts: usize,
    /// A deletion was under way: the log start may be the old one or a later one.
    deleting: bool,
    epoch: i32,
}

fn bug<T>(what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Bug(what.into()))
}

impl World {
    pub fn new(trust: Trust) -> Self {
        let config = LogConfig { retention_bytes: Some(6000), ..small() };
        let disk = SimDisk::new();
        create(&disk, DIR, TOPIC).unwrap();
        disk.create_dir("logs");
        let mut world = Self {
            disk,
            log: None,
            journal: None,
            journaled: 0,
            put_back: 0,
            config,
            trust,
            planted: Planted::Nothing,
            batches: Vec::new(),
            start: 0,
            acked: 0,
            point: 0,
            clean: true,
            starts: 0,
            deleting: false,
            epoch: 0,
        };
        world.open().unwrap();
        world
    }

    fn log(&mut self) -> &mut Log<SimDisk> {
        self.log.as_mut().unwrap()
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |b| b.next).max(self.start)
    }

    /// A refusal is a bug, unless the power is gone.
    fn or_dead<T, E: std::fmt::Display>(&self, result: Result<T, E>, what: &str) -> Result<T, Stop> {
        match result {
            Ok(value) => Ok(value),
            Err(_) if self.disk.is_dead() => Err(Stop::Power),
            Err(error) => bug(format!("{what}: {error}")),
        }
    }

    pub fn run(&mut self, op: &Op) -> Result<(), Stop> {
        match op {
            Op::Append { producer, records, bytes } => self.append(*producer, *records, *bytes)?,
            Op::Resend { producer, back } => self.resend(*producer, *back)?,
            Op::Sync => self.sync()?,
            Op::Commit => self.commit()?,
            Op::Checkpoint => {
                let point = self.log().checkpoint();
                self.point = self.or_dead(point, "checkpoint")?.0;
            }
            Op::Release => self.log().release_files(),
            Op::DeleteRecords(percent) => self.delete_records(*percent)?,
            Op::Retention => self.retention()?,
            Op::NextEpoch => self.epoch += 1,
            Op::Kill => {
                self.clean = false;
                self.open()?;
            }
            Op::Restart => self.restart()?,
            Op::PowerLoss(seed) => self.power_loss(*seed)?,
            Op::StopAndPowerLoss(seed) => {
                self.close()?;
                self.power_loss(*seed)?;
            }
        }
        self.compare()
    }

    fn append(&mut self, producer: u64, records: usize, bytes: usize) -> Result<(), Stop> {
        let mut builder = sized(records, bytes);
        if producer < PRODUCERS {
            builder = builder.producer(producer as i64, 0, self.next_sequence(producer));
        }
        let sent = checked(builder);
        let epoch = self.epoch;
        let mut header = sent.header.clone();
        (header.base_offset, header.leader_epoch) = (self.end(), epoch);
        let stored = [&header.encode()[..], &sent.body].concat();
        let batch = Batch { base: self.end(), next: self.end() + records as i64, bytes: stored, sent: sent.clone() };
        let base = batch.base;
        // In the model before the outcome is known: a crash in mid-write may keep it.
        self.batches.push(batch);
        let result = self.log().append(&sent, LeaderEpoch(epoch), at(1000));
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

    /// ID-01, ID-02: a resent batch is a success with its original offset.
    fn resend(&mut self, producer: u64, back: usize) -> Result<(), Stop> {
        let start = self.start;
        let sent = self
            .of_producer(producer)
            .iter()
            .rev()
            .nth(back)
            .filter(|b| b.base >= start)
            .map(|b| (b.base, b.sent.clone()));
        let Some((base, sent)) = sent else { return Ok(()) };
        let epoch = LeaderEpoch(self.epoch);
        let result = self.log().append(&sent, epoch, at(1000));
        let appended = self.or_dead(result, "resend")?;
        if appended.base_offset.0 != base || !appended.duplicate {
            return bug(format!("a duplicate of {base} got {appended:?}"));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Stop> {
        let stable = self.log().sync();
        self.acked = self.or_dead(stable, "sync")?.0;
        if self.acked != self.end() {
            return bug(format!("synced to {}, the end is {}", self.acked, self.end()));
        }
        Ok(())
    }

    fn delete_records(&mut self, percent: i64) -> Result<(), Stop> {
        let target = self.start + (self.acked.max(self.start) - self.start) * percent / 100;
        self.deleting = true;
        let result = self.log().delete_records_to(off(target), off(target));
        self.start = self.or_dead(result, "delete records")?.0.max(self.start);
        self.deleting = false;
        if self.start != target { bug(format!("log start {} after deletion to {target}", self.start)) } else { Ok(()) }
    }

    fn retention(&mut self) -> Result<(), Stop> {
        self.deleting = true;
        let acked = off(self.acked);
        let result = self.log().enforce_retention(at(1000), acked);
        self.or_dead(result, "retention")?;
        self.deleting = false;
        let start = self.log().log_start().0;
        if start < self.start || start > self.acked.max(self.start) {
            return bug(format!("retention moved the start from {} to {start}, acked {}", self.start, self.acked));
        }
        self.start = start;
        Ok(())
    }

    /// Makes what was appended durable as a node does: by the journal, or by a sync where that cannot take it.
    fn commit(&mut self) -> Result<(), Stop> {
        let (journal, end) = (self.journal.as_mut().unwrap(), self.log.as_ref().unwrap().log_end());
        if let Some(slot) = journal.wants_file() {
            let prepared = prepare_file(&self.disk, slot, JOURNAL);
            journal.add(slot, prepared);
        }
        let point = self.log.as_ref().unwrap().recovery_point();
        let early = self.planted == Planted::EarlyReuse;
        journal.release(|_| Some(if early { end } else { point }));
        let batches = match self.log.as_mut().unwrap().commit() {
            Commit::Nothing => return Ok(()),
            Commit::Sync => return self.sync(),
            Commit::Journal(batches) => batches,
        };
        let mut round = Round::new(ROUND);
        if !round.has_room(&batches) {
            return self.sync();
        }
        round.push(KEY, &batches);
        round.note_flushed(KEY, point);
        let skipped = self.planted == Planted::NoRound;
        match if skipped { Ok(()) } else { journal.write(&mut round) } {
            Ok(()) => {}
            Err(JournalError::NoRoom) => return self.sync(),
            Err(JournalError::Closed(_)) if self.disk.is_dead() => return Err(Stop::Power),
            Err(JournalError::Closed(why)) => return bug(why),
        }
        self.journaled += 1;
        let stable = self.log().journaled(end);
        self.acked = self.or_dead(stable, "journaled")?.0;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let log = self.log.take().unwrap();
        let point = self.or_dead(log.close_clean(), "close")?;
        (self.point, self.acked, self.clean) = (point.0, self.end(), true);
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Stop> {
        self.close()?;
        self.open()
    }

    /// Power loss, and a start on what survived.
    pub fn power_loss(&mut self, seed: u64) -> Result<(), Stop> {
        self.log = None;
        self.disk = self.disk.crash(seed);
        let result = self.open();
        result?;
        self.clean = false;
        Ok(())
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

    /// A start after kill -9. Unless the log promises nothing over a power loss, all that it serves counts as acknowledged.
    pub fn kill_and_serve(&mut self) -> Result<(), Stop> {
        self.clean = false;
        self.open()?;
        let log = self.log.as_ref().unwrap();
        if self.starts % 3 != 2 {
            self.acked = self.acked.max(log.stable_end().0);
            if log.stable_end() != log.log_end() {
                return bug("a log that serves has something that is not on disk");
            }
        }
        self.compare()
    }

    fn open(&mut self) -> Result<(), Stop> {
        self.log = None;
        // Each start settles in another way than the one before.
        self.starts += 1;
        let settle = [Settle::Unproven, Settle::All, Settle::Nothing][self.starts % 3];
        let hint = OpenHint { clean: std::mem::take(&mut self.clean), recovery_point: off(self.point), settle };
        let disk = Arc::new(self.disk.clone());
        let (journal, replay) = self.or_dead(Journal::open(Arc::clone(&disk), JOURNAL, hint.clean), "journal")?;
        if let Some(damage) = replay.damage.first() {
            return bug(format!("the journal is damaged: {damage}"));
        }
        self.journal = Some(journal);
        let env = Env::new(disk, DIR, self.config.clone(), self.trust);
        let redo = replay.of(KEY).filter(|_| self.planted != Planted::NoRedo);
        let opened: Result<_, OpenError> = Log::open_trusting(env, hint, redo, at(1000));
        let (mut log, report) = self.or_dead(opened, "open")?;
        self.put_back += report.put_back;
        log.keep_for_journal(KEPT);
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
        self.batches.retain(|b| b.next <= end.max(start));
        if self.end() != end {
            return bug(format!("the log ends at {end}, in the middle of a batch or beyond all: {}", self.end()));
        }
        Ok(())
    }

    /// Reads all of the log and compares it with the model, byte by byte.
    pub fn compare(&mut self) -> Result<(), Stop> {
        let (start, end) = (self.start, self.end());
        let log = self.log.as_mut().unwrap();
        let seen = (log.log_start().0, log.log_end().0);
        if seen != (start, end) || log.stable_end().0 > end {
            return bug(format!("the log is {seen:?} with stable end {}, not {start}..{end}", log.stable_end()));
        }
        let mut next = start;
        let mut expected = self.batches.iter().filter(|b| b.next > start);
        while next < end {
            let slice = self.log.as_mut().unwrap().read(off(next), 1000, true, off(end));
            let Some(slice) = self.or_dead(slice, "read")? else { return bug(format!("nothing at {next} of {end}")) };
            let bytes = self.or_dead(slice.read(), "read slice")?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let Some(batch) = expected.next() else { return bug("more than was written") };
                let Some(after) = rest.strip_prefix(&batch.bytes[..]) else {
                    return bug(format!("other bytes at {}", batch.base));
                };
                (rest, next) = (after, batch.next);
            }
        }
        if expected.next().is_some() { bug("less than was written") } else { Ok(()) }
    }
}

impl SimDisk {
    /// The folder above the partitions is the node's: durable before it creates any.
    fn create_dir(&self, dir: &str) {
        use crate::Disk;
        self.create_dir_all(dir).unwrap();
        self.sync_dir("").unwrap();
    }
}
