//! Several partitions, their journal and what a node keeps beside them, on one simulated disk. Does what a node and its
//! shell do with them, in their order; [`Part`] compares each step with the model.

use std::sync::Arc;

use pyralog_protocol::{Draw, LeaderEpoch, MonoMs, Now, WallMs};

use super::op::{Fault, Harm, Op, PARTS, Swarm};
use super::part::Part;
use super::{Plant, Stop, Tally, bug, refused};
use crate::files::replace_durably;
use crate::index::{Index, SPARSE};
use crate::segment::{Env, parse_name};
use crate::sim::{Faults, SimDisk};
use crate::tests::{self, off};
use crate::{
    Commit, Disk, Journal, JournalError, JournalLimits, Log, OpenError, OpenHint, OpenMode, RecoveryPoints, Round,
    Settle, create, decode_recovery_points, encode_recovery_points, prepare_file, read_small,
};

const JOURNAL: JournalLimits = JournalLimits { files: 3, ..tests::JOURNAL };
const ROUND: usize = 8192;
/// So little that some of what is appended has to be synced where it is.
const KEPT: usize = 5000;
const POINTS: &str = "recovery-points";
const CLEAN: &str = "clean-shutdown";

/// How the process ends when the disk stops answering.
#[derive(Clone, Copy, Debug)]
enum Doom {
    Kill,
    PowerLoss(u64),
}

pub struct World {
    pub disk: SimDisk,
    pub parts: Vec<Part>,
    pub tally: Tally,
    /// Recovery points that a power loss does not take back.
    proven: RecoveryPoints,
    journal: Option<Journal<SimDisk>>,
    round: Round,
    plant: Plant,
    swarm: Swarm,
    /// The planted faults, and what else is to fail now.
    faults: Faults,
    armed: bool,
    doom: Doom,
    now: Now,
}

impl World {
    pub fn new(seed: u64, plant: Plant) -> Self {
        let disk = SimDisk::new();
        disk.create_dir_all("logs").unwrap();
        disk.sync_dir("").unwrap();
        let mut parts: Vec<Part> = (0..PARTS).map(|n| Part::new(disk.clone(), n as i32)).collect();
        for part in &parts {
            create(&disk, &part.dir, part.key.topic).unwrap();
        }
        let mut draw = Draw::new(u128::from(seed) << 64 | 0xc0);
        parts.iter_mut().for_each(|part| part.configure(draw.next_u64()));
        let mut world = Self {
            disk,
            parts,
            tally: Tally::default(),
            proven: RecoveryPoints::default(),
            journal: None,
            round: Round::new(ROUND),
            faults: plant.faults.clone(),
            plant,
            swarm: Swarm::draw(seed),
            armed: false,
            doom: Doom::PowerLoss(0),
            now: Now { mono: MonoMs(0), wall: WallMs(1_000_000) },
        };
        world.set_faults();
        world.open_all().unwrap();
        world
    }

    fn set_faults(&self) {
        self.disk.set_faults(self.faults.clone());
    }

    fn heal(&mut self) {
        (self.faults, self.armed) = (self.plant.faults.clone(), false);
        self.set_faults();
    }

    /// Does what is asked and what comes of it, and compares.
    pub fn run(&mut self, op: &Op) -> Result<(), Stop> {
        let done = self.act(op);
        let excused = self.parts.iter_mut().fold(self.armed, |any, part| any | std::mem::take(&mut part.excused));
        match done {
            Ok(()) | Err(Stop::Refused(_)) if self.disk.is_dead() => {
                self.tally.struck += 1;
                self.next_process()?;
            }
            Ok(()) => {}
            Err(Stop::Refused(_)) if excused || self.parts.iter().any(|part| part.damaged.is_some()) => {
                self.tally.refused += 1;
            }
            Err(Stop::Refused(why)) => return bug(why),
            Err(stop) => return Err(stop),
        }
        if self.disk.syncs_after_failure() > 0 {
            return bug("a sync after one that had failed");
        }
        self.parts.iter_mut().try_for_each(Part::check)
    }

    fn act(&mut self, op: &Op) -> Result<(), Stop> {
        if let Some(at) = part_of(op) {
            let serves = self.parts[at].is_serving();
            return if serves { self.act_on(at, op) } else { Ok(()) };
        }
        match op {
            // The end of a process just when a sync failed is not noted by anybody: see `suspect`.
            Op::KillAt(_) if self.armed => Ok(()),
            Op::Fault(..) if self.faults.crash_at.is_some() => Ok(()),
            Op::Commit(bits) => self.commit(*bits),
            Op::Checkpoint => self.checkpoint(),
            Op::EndRetention => {
                for part in self.parts.iter_mut().filter(|part| part.is_serving()) {
                    let before = part.start;
                    part.end_retention()?;
                    self.tally.retained_late += u64::from(part.start > before);
                }
                Ok(())
            }
            Op::Wait(ms) => {
                self.wait(*ms);
                Ok(())
            }
            Op::Silence => {
                let longest = self.parts.iter().map(|part| part.config.producer_expiration_ms).max();
                self.wait(longest.unwrap_or(0) + 1);
                self.parts.iter_mut().for_each(|part| part.sure_from = part.sure_from.max(part.end()));
                Ok(())
            }
            Op::Fault(fault, n) => {
                self.arm(*fault, *n);
                Ok(())
            }
            Op::Heal => {
                self.heal();
                Ok(())
            }
            Op::Restart => self.restart(),
            Op::StopAndPowerLoss(seed) => {
                self.stop()?;
                self.lose_power(*seed)
            }
            Op::Kill => {
                self.doom = Doom::Kill;
                self.next_process()
            }
            Op::PowerLoss(seed) => self.lose_power(*seed),
            Op::KillAt(n) => {
                self.doom_in(*n, Doom::Kill);
                Ok(())
            }
            Op::PowerLossAt(n, seed) => {
                self.doom_in(*n, Doom::PowerLoss(*seed));
                Ok(())
            }
            Op::PowerLossInRecovery(seed) => {
                self.tally.crashed_recoveries += 1;
                self.power_loss_in_recovery(*seed)
            }
            _ => Ok(()),
        }
    }

    fn act_on(&mut self, at: usize, op: &Op) -> Result<(), Stop> {
        let (part, now) = (&mut self.parts[at], self.now);
        match op {
            Op::Append(_, sent) => part.append(sent, now),
            Op::Resend(_, producer, back) => {
                self.tally.duplicates += u64::from(part.resend(*producer, *back, now)?);
                Ok(())
            }
            Op::Wrong(_, producer, wrong) => part.wrong(*producer, *wrong, now),
            Op::Sync(_) => self.sync(at),
            Op::BeginSync(_) => {
                if part.plan.is_none() {
                    part.plan = part.log.as_mut().unwrap().sync_plan();
                }
                Ok(())
            }
            Op::RunSync(_) => {
                // What comes of it is never told: the process ends first, or it is run again.
                let ran = self.parts[at].plan.as_ref().map_or(Ok(()), |plan| plan.run(&self.disk));
                ran.or_else(|error| self.sync_failed(at, error))
            }
            Op::EndSync(_) => self.end_sync(at),
            Op::Release(_) => {
                part.log.as_mut().unwrap().release_files();
                part.check_held()
            }
            Op::Read(_, look) => part.read(*look, false),
            Op::Hold(_, look) => part.read(*look, true),
            Op::Time(_, look) => part.time(*look),
            Op::ReadAll(_) => part.compare(),
            Op::DeleteRecords(_, percent) => part.delete_records(*percent),
            Op::Retention(_) => {
                let before = part.start;
                part.retention(now)?;
                self.tally.retained += u64::from(self.parts[at].start > before);
                Ok(())
            }
            Op::Truncate(_, thousandth) => self.truncate(at, *thousandth),
            Op::BeginRetention(_) => part.begin_retention(now, self.armed),
            Op::NextEpoch(_) => {
                part.epoch += 1;
                part.log.as_mut().unwrap().begin_epoch(LeaderEpoch(part.epoch));
                Ok(())
            }
            Op::Configure(_, draw) => {
                part.configure(*draw);
                let log = part.log.as_mut().unwrap();
                log.set_config(part.config.clone());
                log.keep_for_journal(if part.memory { 0 } else { KEPT });
                Ok(())
            }
            Op::Harm(_, file, harm) => self.harm(at, *file, *harm),
            Op::Damage(_, draw, bit) => self.damage(at, *draw, *bit),
            _ => Ok(()),
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.wall.0 += ms as i64;
    }

    fn arm(&mut self, fault: Fault, n: u64) {
        // One at a time: on a full disk nobody can leave a note of a failed sync.
        self.heal();
        let counted = self.disk.counters();
        match fault {
            Fault::Sync => self.faults.fail_sync = Some(counted.syncs + n),
            Fault::Write => self.faults.fail_write = Some(counted.writes + n),
            Fault::Read => self.faults.fail_read = Some(counted.reads + n),
            Fault::Full => self.faults.full_from = Some(counted.changes + n),
            Fault::NoOpen => self.faults.no_open_from = Some(counted.opens + n),
        }
        self.armed = true;
        self.set_faults();
    }

    fn doom_in(&mut self, changes: u64, doom: Doom) {
        self.doom = doom;
        self.faults.crash_at = Some(self.disk.counters().changes + changes);
        self.set_faults();
    }

    // ---- durability

    fn sync(&mut self, at: usize) -> Result<(), Stop> {
        self.end_sync(at)?;
        let part = &mut self.parts[at];
        let synced = part.log.as_mut().unwrap().sync();
        match synced {
            Ok(stable) if stable.0 == part.end() => Ok(()),
            Ok(stable) => bug(format!("{}: synced to {stable}, the end is {}", part.dir, part.end())),
            Err(error) => refused(error.to_string()),
        }
    }

    fn end_sync(&mut self, at: usize) -> Result<(), Stop> {
        let part = &mut self.parts[at];
        let Some(plan) = part.plan.take() else { return Ok(()) };
        let ran = plan.run(&self.disk);
        match part.log.as_mut().unwrap().synced(plan.id, ran) {
            Ok(_) => Ok(()),
            Err(error) => refused(error.to_string()),
        }
    }

    fn sync_failed(&mut self, at: usize, error: std::io::Error) -> Result<(), Stop> {
        let part = &mut self.parts[at];
        let Some(plan) = part.plan.take() else { return Ok(()) };
        let error = part.log.as_mut().unwrap().synced(plan.id, Err(error)).unwrap_err();
        refused(error.to_string())
    }

    /// As the journal's thread does it: one round for all, syncs for what it cannot take.
    fn commit(&mut self, bits: u8) -> Result<(), Stop> {
        let Some(mut journal) = self.journal.take() else { return Ok(()) };
        let committed = self.commit_with(&mut journal, bits);
        self.journal = Some(journal);
        committed
    }

    fn commit_with(&mut self, journal: &mut Journal<SimDisk>, bits: u8) -> Result<(), Stop> {
        if let Some(slot) = journal.wants_file() {
            journal.add(slot, prepare_file(&self.disk, slot, JOURNAL));
        }
        let (parts, early) = (&self.parts, self.plant.early_reuse);
        journal.release(|key| {
            let part = parts.iter().find(|part| part.key == key)?;
            let log = part.log.as_ref();
            Some(log.map_or(off(0), |log| if early { log.log_end() } else { log.recovery_point() }))
        });
        self.round.clear();
        let (mut members, mut by_sync) = (Vec::new(), Vec::new());
        for at in (0..PARTS).filter(|at| bits & (1 << at) != 0) {
            let part = &mut self.parts[at];
            if !part.is_serving() || part.memory {
                continue;
            }
            let log = part.log.as_mut().unwrap();
            let end = log.log_end();
            if log.commit_by_sync().is_some() {
                by_sync.push(at);
                continue;
            }
            match log.commit() {
                Commit::Nothing => {}
                Commit::Journal(batches) if self.round.has_room(&batches) => {
                    self.round.push(part.key, &batches);
                    self.round.note_flushed(part.key, log.recovery_point());
                    members.push((at, end));
                }
                Commit::Journal(_) | Commit::Sync => by_sync.push(at),
            }
        }
        let written = match members.is_empty() || self.plant.no_round {
            true => Ok(()),
            false => journal.write(&mut self.round),
        };
        for (at, end) in members {
            let log = self.parts[at].log.as_mut().unwrap();
            match &written {
                Ok(()) => {
                    self.tally.journaled += 1;
                    log.journaled(end).unwrap();
                }
                Err(JournalError::NoRoom) => by_sync.push(at),
                Err(JournalError::Closed(why)) => drop(log.fail(why.clone())),
            }
        }
        by_sync.into_iter().try_for_each(|at| self.sync(at))
    }

    /// As a node does it that has no commit under way.
    fn truncate(&mut self, at: usize, thousandth: u64) -> Result<(), Stop> {
        self.end_sync(at)?;
        if self.parts[at].damaged.is_some() {
            // Nothing is cut from it, so it keeps the point above which damage counts as a torn end.
            return Ok(());
        }
        let mut points = self.known_points()?;
        let part = &self.parts[at];
        let target = part.border(thousandth);
        if let Some(point) = points.get_mut(&part.dir).filter(|point| point.0 > target) {
            *point = off(target);
            self.write_points(points)?;
        }
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let part = &mut self.parts[at];
        let before = part.end();
        part.truncate(thousandth, journal.place(), self.now)?;
        if part.end() < before {
            journal.forget(part.key);
            self.tally.truncated += 1;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Stop> {
        let mut points = self.known_points()?;
        for part in self.parts.iter_mut().filter(|part| part.is_serving()) {
            let point = part.log.as_mut().unwrap().checkpoint();
            let point = point.or_else(|error| refused(error.to_string()))?;
            points.insert(part.dir.clone(), point);
        }
        self.write_points(points)?;
        let oldest = self.journal.as_ref().map(Journal::oldest);
        for part in self.parts.iter_mut().filter(|part| part.is_serving()) {
            let log = part.log.as_mut().unwrap();
            if log.truncation().is_some_and(|place| oldest.is_some_and(|oldest| oldest >= place)) {
                log.forget_truncation().or_else(|error| refused(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// What is to be written again, with other points. What cannot be read cannot be.
    fn known_points(&self) -> Result<RecoveryPoints, Stop> {
        match read_small(&self.disk, POINTS) {
            Ok(bytes) => decode_recovery_points(POINTS, &bytes).or_else(|error| refused(error.to_string())),
            Err(error) if error.is_missing() => Ok(RecoveryPoints::default()),
            Err(error) => refused(error.to_string()),
        }
    }

    fn points(&self) -> RecoveryPoints {
        let bytes = read_small(&self.disk, POINTS).ok();
        bytes.and_then(|bytes| decode_recovery_points(POINTS, &bytes).ok()).unwrap_or_default()
    }

    fn write_points(&mut self, points: RecoveryPoints) -> Result<(), Stop> {
        self.write_small(POINTS, &encode_recovery_points(&points))?;
        self.proven = points;
        Ok(())
    }

    fn write_small(&self, name: &str, bytes: &[u8]) -> Result<(), Stop> {
        replace_durably(&self.disk, "", name, bytes).or_else(|error| refused(format!("{name}: {error}")))
    }

    // ---- ends and beginnings

    /// A stop in order: everything on disk, and last of all the marker.
    fn stop(&mut self) -> Result<(), Stop> {
        let mut points = self.known_points()?;
        let mut all = true;
        for at in 0..PARTS {
            if !self.parts[at].is_serving() {
                all = false;
                continue;
            }
            self.end_sync(at)?;
            let part = &mut self.parts[at];
            part.end_retention()?;
            let closed = part.log.take().unwrap().close_clean();
            let point = closed.or_else(|error| refused(error.to_string()))?;
            part.acked = part.end();
            points.insert(part.dir.clone(), point);
        }
        self.write_points(points)?;
        if all { self.write_small(CLEAN, b"clean") } else { Ok(()) }
    }

    fn restart(&mut self) -> Result<(), Stop> {
        let stopped = self.stop();
        if self.disk.is_dead() {
            return stopped;
        }
        // What could not be closed in order is found by a recovery.
        self.doom = Doom::Kill;
        self.next_process()
    }

    fn lose_power(&mut self, seed: u64) -> Result<(), Stop> {
        self.doom = Doom::PowerLoss(seed);
        self.next_process()
    }

    /// The process ends as it is doomed to, and another one starts on what the disk has.
    fn next_process(&mut self) -> Result<(), Stop> {
        self.end_process();
        self.heal();
        match self.open_all() {
            Err(Stop::Refused(why)) => bug(why),
            opened => opened,
        }
    }

    fn end_process(&mut self) {
        self.journal = None;
        self.disk = match self.doom {
            Doom::Kill => self.disk.restart(),
            Doom::PowerLoss(seed) => self.disk.crash(seed),
        };
        if matches!(self.doom, Doom::PowerLoss(_)) {
            self.proven = self.points();
        }
        self.tally.ends += 1;
        for part in &mut self.parts {
            part.next_process(self.disk.clone());
        }
    }

    fn power_loss_in_recovery(&mut self, seed: u64) -> Result<(), Stop> {
        let mut draw = Draw::new(u128::from(seed));
        self.doom = Doom::PowerLoss(seed);
        self.end_process();
        self.heal();
        for _ in 0..6 {
            self.doom = match draw.next_u64() % 3 {
                0 => Doom::Kill,
                _ => Doom::PowerLoss(draw.next_u64()),
            };
            self.doom_in(1 + draw.next_u64() % 20, self.doom);
            match self.open_all() {
                Err(_) if self.disk.is_dead() => {
                    self.end_process();
                    self.heal();
                }
                Err(Stop::Refused(why)) => return bug(why),
                opened => {
                    self.heal();
                    return opened;
                }
            }
        }
        self.heal();
        self.open_all()
    }

    /// As a node starts: what is to be done once, then every partition with what is known of it.
    fn open_all(&mut self) -> Result<(), Stop> {
        let io = |what: &str, error: std::io::Error| Stop::Refused(format!("{what}: {error}"));
        let clean = self.disk.exists(CLEAN).map_err(|e| io(CLEAN, e))?;
        let points = self.points();
        let disk = Arc::new(self.disk.clone());
        let (journal, replay) = Journal::open(Arc::clone(&disk), JOURNAL, clean).map_err(|e| io("journal", e))?;
        // A header that was being written when power was lost, and fell apart within its sector, which disks do not do: what the
        // file held before is read all the same, and nothing of its new use was acknowledged.
        if let Some(damage) = replay.damage.iter().find(|what| !what.contains("its header is damaged")) {
            return bug(format!("the journal is damaged: {damage}"));
        }
        self.journal = Some(journal);
        if clean {
            self.disk.remove_file(CLEAN).and_then(|()| self.disk.sync_dir("")).map_err(|e| io(CLEAN, e))?;
        }
        for part in &mut self.parts {
            if self.swarm.raises && !clean {
                part.epoch += 1;
            }
            let recovery_point = points.get(&part.dir).copied().unwrap_or_default();
            let settle = match (self.swarm.settles != self.tally.ends.is_multiple_of(4), part.memory) {
                (true, _) => Settle::All,
                (false, false) => Settle::Unproven,
                (false, true) => Settle::Nothing,
            };
            let hint = OpenHint { clean, recovery_point, settle };
            let config = part.config.clone();
            let env = Env::new(Arc::clone(&disk), &part.dir, config, self.plant.trust);
            let redo = replay.of(part.key).filter(|_| !self.plant.no_redo);
            match Log::open_trusting(env, hint, redo, self.now) {
                Ok((mut log, report)) => {
                    self.journal
                        .iter_mut()
                        .zip(log.truncation())
                        .for_each(|(journal, place)| journal.go_on_behind(place));
                    log.keep_for_journal(if part.memory { 0 } else { KEPT });
                    log.begin_epoch(LeaderEpoch(part.epoch));
                    part.log = Some(log);
                    self.tally.put_back += report.put_back;
                    self.tally.cut += u64::from(report.cut.is_some());
                    part.reopened(report.clean)?;
                }
                Err(OpenError::Corrupt { range, what, .. }) if part.damaged.is_some() => {
                    self.tally.quarantined += 1;
                    let damaged = part.damaged.clone().unwrap();
                    // A length that is wrong hides what follows it.
                    if range.is_empty() || range.start.0 > damaged.end {
                        return bug(format!(
                            "{}: damaged are {damaged:?}, the error names {range:?} ({what})",
                            part.dir
                        ));
                    }
                }
                Err(error) => return refused(format!("open: {error}")),
            }
        }
        Ok(())
    }

    // ---- damage

    fn names(&self, at: usize, extensions: &[&str]) -> Vec<String> {
        let names = self.disk.list(&self.parts[at].dir).unwrap_or_default();
        names.into_iter().filter(|name| extensions.iter().any(|e| name.ends_with(e))).collect()
    }

    /// Derived files may be missing or wrong at any time (IO-12).
    fn harm(&mut self, at: usize, file: u64, harm: Harm) -> Result<(), Stop> {
        let names = self.names(at, &[".index", ".snapshot"]);
        let Some(name) = names.get(file as usize % names.len().max(1)) else { return Ok(()) };
        let path = format!("{}/{name}", self.parts[at].dir);
        let bytes = self.disk.bytes(&path);
        self.tally.harmed += 1;
        match harm {
            Harm::Remove => return self.disk.remove_file(&path).or_else(|e| refused(e.to_string())),
            Harm::Cut => self.disk.overwrite(&path, bytes[..bytes.len() / 2].to_vec()),
            Harm::Reverse => self.disk.overwrite(&path, bytes.iter().rev().copied().collect()),
            Harm::Zero => self.disk.overwrite(&path, vec![0; bytes.len()]),
            Harm::Flip(bit) if !bytes.is_empty() => self.disk.flip(&path, bit as usize % (bytes.len() * 8)),
            Harm::Lie => self.lie(&path, name),
            Harm::Flip(_) => {}
        }
        Ok(())
    }

    /// Makes each entry of an index point to the batch after its own.
    fn lie(&self, path: &str, name: &str) {
        let Some(base) = parse_name(name, "index") else { return };
        let Ok(file) = self.disk.open(path, OpenMode::Read) else { return };
        let Some(mut index) = Index::load(&file, SPARSE, base.0).filter(|index| index.entries.len() > 1) else {
            return;
        };
        for n in 1..index.entries.len() {
            index.entries[n - 1].position = index.entries[n].position;
        }
        index.entries.pop();
        self.disk.overwrite(path, index.encode(SPARSE, base.0));
    }

    /// IO-06: flips a bit of a batch that is promised to be there, once.
    fn damage(&mut self, at: usize, draw: u64, bit: u64) -> Result<(), Stop> {
        let bases: Vec<i64> =
            self.names(at, &[".log"]).iter().filter_map(|n| parse_name(n, "log")).map(|o| o.0).collect();
        let part = &self.parts[at];
        // What is below one that a failed write left, nobody knows after a power loss, and is cut.
        let below = |points: &RecoveryPoints| points.get(&part.dir).map_or(0, |point| point.0);
        let point = below(&self.points()).min(below(&self.proven));
        let Some((base, position, batch)) = part.promised(&bases, point, draw) else { return Ok(()) };
        let path = format!("{}/{base:020}.log", part.dir);
        let at_bit = position * 8 + bit as usize % (batch.bytes.len() * 8);
        if part.damaged.is_some() || at_bit / 8 >= self.disk.bytes(&path).len() {
            return Ok(());
        }
        let damaged = batch.base..batch.next;
        self.disk.flip(&path, at_bit);
        self.tally.damaged += 1;
        // What was given out of it is no longer what it was, and the log has no part in that.
        self.parts[at].held = None;
        // Headers below the recovery point are believed, with the producers that they name.
        (self.parts[at].damaged, self.parts[at].sure_from) = (Some(damaged), i64::MAX);
        Ok(())
    }
}

/// The partition that an operation is about, if it is about one.
fn part_of(op: &Op) -> Option<usize> {
    match op {
        Op::Append(at, _) | Op::Resend(at, ..) | Op::Wrong(at, ..) | Op::Sync(at) | Op::BeginSync(at) => Some(*at),
        Op::RunSync(at) | Op::EndSync(at) | Op::Release(at) | Op::Read(at, _) | Op::Hold(at, _) => Some(*at),
        Op::Time(at, _) | Op::ReadAll(at) | Op::DeleteRecords(at, _) | Op::Retention(at) => Some(*at),
        Op::BeginRetention(at) | Op::Truncate(at, _) => Some(*at),
        Op::NextEpoch(at) | Op::Configure(at, _) | Op::Harm(at, ..) | Op::Damage(at, ..) => Some(*at),
        _ => None,
    }
}
