//! Random consumers, sequencers and writers, brokers that restart, also between deciding and making durable. The checker
//! sees requests and answers only; after every step, what is stored must rebuild what lives. A failure names its seed.

use std::collections::BTreeSet;

use super::*;

/// Planted bugs. Each must be found by the checker it is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// Commits go backwards although nobody forced them to.
    AlwaysForced,
    /// Commits are not made durable.
    LoseCommits,
    /// How far sequencers are is not made durable.
    LoseSequencers,
    /// Commits of deleted logs stay.
    KeepCommits,
    /// Who took the writer epoch is not made durable.
    LoseWriters,
}

impl Mutant {
    fn keeps(self, record: &Record) -> bool {
        use crate::metadata::MetadataRecord;
        match record {
            Record::Vlsn(VlsnRecord::Commit { .. }) => self != Self::LoseCommits,
            Record::Vlsn(VlsnRecord::Sequencer { .. }) => self != Self::LoseSequencers,
            Record::Vlsn(VlsnRecord::LogRemoved { .. }) => self != Self::KeepCommits,
            Record::Metadata(MetadataRecord::Writer(_)) => self != Self::LoseWriters,
            _ => true,
        }
    }
}

/// What answers have promised.
#[derive(Default)]
struct Promised {
    /// By consumer and log.
    commits: BTreeMap<(String, String), u64>,
    /// Per sequencer, the end of what was handed out.
    sequences: BTreeMap<String, u64>,
    writers: BTreeMap<String, i32>,
    producers: BTreeSet<i64>,
}

struct World {
    bench: Bench,
    mutant: Mutant,
    promised: Promised,
    there: BTreeSet<String>,
    draw: Draw,
}

impl World {
    fn below(&mut self, end: u64) -> u64 {
        self.draw.next_u64() % end
    }

    /// Asks, and makes durable; now and then the broker ends before that, and nobody is answered.
    fn ask(&mut self, command: Command) -> Option<Reply> {
        let (out, reply) = self.bench.handle(command);
        if self.below(12) == 0 {
            self.bench.coordinator = self.bench.reloaded();
            return None;
        }
        let mutant = self.mutant;
        self.bench.absorb(&out, |record| mutant.keeps(record));
        Some(reply)
    }

    fn step(&mut self) -> Result<(), String> {
        let log = format!("log{}", self.below(3));
        match self.below(12) {
            0 => self.create_or_delete(log),
            1..=4 => self.commit(log),
            5 => self.forget(log),
            6..=8 => self.reserve(),
            9 => self.take(log),
            10 => self.read(),
            _ => {
                self.bench.coordinator = self.bench.reloaded();
                Ok(())
            }
        }
    }

    fn create_or_delete(&mut self, log: String) -> Result<(), String> {
        match self.there.remove(&log) {
            true => {
                let (sets, mutant) = (self.bench.handle(delete(&log)).0, self.mutant);
                self.bench.absorb(&sets, |record| mutant.keeps(record));
                self.promised.commits.retain(|(_, l), _| *l != log);
                self.promised.writers.remove(&log);
            }
            false => {
                self.bench.create(&log, 3, true);
                self.there.insert(log);
            }
        }
        Ok(())
    }

    fn commit(&mut self, log: String) -> Result<(), String> {
        let (consumer, vlsn) = (format!("c{}", self.below(2)), self.below(50));
        let force = self.below(6) == 0;
        let sent = force || self.mutant == Mutant::AlwaysForced;
        let commits = vec![VlsnCommitEntry { log: s(&log), vlsn: Vlsn(vlsn), metadata: None }];
        let request = VlsnCommitRequest { consumer: s(&consumer), force: sent, commits };
        let Some(Reply::VlsnCommit(reply)) = self.ask(Command::VlsnCommit(request)) else { return Ok(()) };
        let result = &reply.results[0];
        if !self.there.contains(&log) {
            return if result.error_code == 3 { Ok(()) } else { Err(format!("no log: {result:?}")) };
        }
        let key = (consumer, log);
        let before = self.promised.commits.get(&key).copied();
        match (result.error_code, before) {
            (0, Some(before)) if vlsn < before && !force => Err(format!("commit went back: {vlsn} after {before}")),
            (0, _) => {
                self.promised.commits.insert(key, vlsn);
                Ok(())
            }
            (42, Some(before)) if vlsn < before && !force => match result.vlsn == i64::try_from(before).unwrap() {
                true => Ok(()),
                false => Err(format!("commit lost: {before} was promised, {result:?}")),
            },
            _ => Err(format!("{vlsn} after {before:?}: {result:?}")),
        }
    }

    fn forget(&mut self, log: String) -> Result<(), String> {
        let request = VlsnDeleteCommitRequest { consumer: s("c0"), logs: Some(vec![s(&log)]) };
        if self.ask(Command::VlsnDeleteCommit(request)).is_some() {
            self.promised.commits.remove(&("c0".to_owned(), log));
        }
        Ok(())
    }

    fn reserve(&mut self) -> Result<(), String> {
        let (name, count) = (format!("s{}", self.below(2)), 1 + self.below(9));
        let at_least = if self.below(4) == 0 { self.below(2000) } else { 0 };
        let request = SequencerReserveRequest { name: s(&name), count, at_least };
        let Some(Reply::SequencerReserve(reply)) = self.ask(Command::SequencerReserve(request)) else { return Ok(()) };
        let end = self.promised.sequences.entry(name).or_default();
        if reply.error_code != 0 || reply.count != count || reply.first < at_least {
            return Err(format!("{reply:?}"));
        }
        if reply.first < *end {
            return Err(format!("handed out twice: {} is below {end}", reply.first));
        }
        *end = reply.first + count;
        Ok(())
    }

    fn take(&mut self, log: String) -> Result<(), String> {
        let request = WriterEpochRequest { log: s(&log), action: writer::TAKE, expected_epoch: -1 };
        let Some(Reply::WriterEpoch(reply)) = self.ask(Command::WriterEpoch(request)) else { return Ok(()) };
        if !self.there.contains(&log) {
            return Ok(());
        }
        let before = self.promised.writers.insert(log, reply.epoch).unwrap_or(-1);
        match (reply.error_code == 0 && reply.epoch > before, self.promised.producers.insert(reply.producer_id)) {
            (true, true) => Ok(()),
            (false, _) => Err(format!("writer epoch fell: {before}, then {reply:?}")),
            (true, false) => Err(format!("producer id twice: {reply:?}")),
        }
    }

    /// What is told is what was promised, no more and no less.
    fn read(&mut self) -> Result<(), String> {
        let told = self.bench.committed(None, None).map_err(|code| format!("listing: {code}"))?;
        let told: BTreeMap<_, _> =
            told.into_iter().map(|e| ((e.consumer.to_string(), e.log.to_string()), e.vlsn.0)).collect();
        match told == self.promised.commits {
            true => Ok(()),
            false => Err(format!("commits differ: {told:?}, promised {:?}", self.promised.commits)),
        }
    }

    fn check_store(&self) -> Result<(), String> {
        let loaded = self.bench.reloaded();
        if loaded.vlsns != self.bench.coordinator.vlsns {
            return Err("loaded differs".to_owned());
        }
        let count: usize = loaded.vlsns.commits.values().map(BTreeMap::len).sum();
        let empty = loaded.vlsns.commits.values().any(BTreeMap::is_empty);
        let orphan = loaded.vlsns.commits.keys().any(|id| loaded.image().log_by_id(*id).is_none());
        match (count == loaded.vlsns.commit_count, empty, orphan) {
            (true, false, false) => Ok(()),
            state => Err(format!("loaded is not in order: {state:?}")),
        }
    }
}

fn delete(log: &str) -> Command {
    let request = m::DeleteTopicsRequest::default().with_timeout_ms(1);
    Command::DeleteTopics(request.with_topic_names(vec![m::TopicName(s(log))]))
}

fn run(seed: u64, mutant: Mutant) -> Result<(), String> {
    let bench = Bench::new(VlsnLimits::default());
    let (promised, there, draw) = (Promised::default(), BTreeSet::new(), Draw::new(u128::from(seed)));
    let mut world = World { bench, mutant, promised, there, draw };
    for _ in 0..80 {
        world.step()?;
        if mutant == Mutant::None {
            world.check_store()?;
        }
    }
    Ok(())
}

#[test]
fn no_commit_goes_back_and_no_number_is_handed_out_twice_in_500_seeds() {
    for seed in 0..500 {
        run(seed, Mutant::None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

/// The checker must see each planted bug, and name it.
#[test]
fn planted_bugs_are_found() {
    let aimed = [
        (Mutant::AlwaysForced, "commit went back"),
        (Mutant::LoseCommits, "commits differ"),
        (Mutant::LoseSequencers, "handed out twice"),
        (Mutant::LoseWriters, "writer epoch fell"),
    ];
    for (mutant, complaint) in aimed {
        let found = (0..100).find(|seed| run(*seed, mutant).is_err_and(|e| e.contains(complaint)));
        assert!(found.is_some(), "{mutant:?} was never found as {complaint:?}");
    }
    // Nobody is told of commits in a log that is gone: what sees them is the look into the store.
    let mut bench = Bench::new(VlsnLimits::default());
    bench.create("x", 1, true);
    bench.commit("c", "x", 1, false);
    let (out, _) = bench.handle(delete("x"));
    bench.absorb(&out, |record| Mutant::KeepCommits.keeps(record));
    let (promised, there) = (Promised::default(), BTreeSet::new());
    let world = World { bench, mutant: Mutant::KeepCommits, promised, there, draw: Draw::new(1) };
    assert!(world.check_store().is_err());
}
