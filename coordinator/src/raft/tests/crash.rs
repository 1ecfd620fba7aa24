//! One voter, crashes anywhere: what was acknowledged stays, and the state is that of a prefix of the proposals.

use super::planted::{Plant, Planted};
use super::*;

/// What a run knows: the state after each proposal so far, and how many of them were acknowledged.
struct Witness {
    states: Vec<Table>,
    acknowledged: usize,
}

impl Witness {
    fn new() -> Self {
        Self { states: vec![Table::default()], acknowledged: 0 }
    }

    fn proposed(&mut self, records: &[Cell]) {
        let mut next = self.states.last().unwrap().clone();
        next.apply(records);
        self.states.push(next);
    }

    /// The state after a crash: that of some prefix that holds everything acknowledged. The run goes on from there.
    fn survived(&mut self, state: &[Cell]) -> Result<(), String> {
        let found = Table::of(state);
        let at = (self.acknowledged..self.states.len()).find(|n| self.states[*n] == found);
        let at =
            at.ok_or_else(|| format!("{} acknowledged, state is of no prefix that holds them", self.acknowledged))?;
        self.states.truncate(at + 1);
        self.acknowledged = at;
        Ok(())
    }
}

/// Proposes for a while; each pump acknowledges what was proposed before it.
fn work<S: LogStore>(replica: &mut Replica<S, Cell>, witness: &mut Witness, draw: &mut Draw) -> Result<(), Fatal> {
    for _ in 0..below(draw, 12) {
        let mut last = None;
        for _ in 0..below(draw, 5) {
            let records = some_records(draw);
            match replica.propose(&records) {
                Ok(proposed) => last = Some(proposed),
                Err(e) => panic!("{e}"),
            }
            witness.proposed(&records);
        }
        if below(draw, 4) == 0 {
            let _ = replica.tick();
        }
        let progress = replica.pump()?;
        assert!(progress.applied.iter().all(|applied| applied.own), "one voter has no other entries");
        assert!(last.is_none_or(|last| progress.committed >= last.index), "a pump decides what was proposed before it");
        witness.acknowledged = witness.states.len() - 1;
    }
    Ok(())
}

/// A life of several processes on one store, each ended by a crash.
fn life(seed: u64, plant: Plant) -> Result<(), String> {
    let mut draw = draw(seed);
    let (mut store, mut witness) = (MemoryStore::default(), Witness::new());
    for _ in 0..4 {
        let opened = Replica::<_, Cell>::open(Planted { store, plant }, small());
        let mut replica = opened.map_err(|e| format!("refused: {e}"))?;
        let state = state_of(&replica);
        witness.survived(&state)?;
        if below(&mut draw, 3) == 0 {
            let writes = below(&mut draw, 20);
            replica.store_mut().store.fail_after(writes);
        }
        let outcome = work(&mut replica, &mut witness, &mut draw);
        if outcome.is_ok() && below(&mut draw, 2) == 0 {
            for _ in 0..below(&mut draw, 5) {
                let records = some_records(&mut draw);
                replica.propose(&records).unwrap();
                witness.proposed(&records);
            }
        }
        store = replica.into_store().store.crash(&mut draw);
    }
    Ok(())
}

#[test]
fn ra_01_acknowledged_records_survive_every_crash() {
    for seed in 0..3_000 {
        life(seed, Plant::None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn ra_07_planted_reply_before_sync_is_caught() {
    assert!((0..50).any(|seed| life(seed, Plant::ForgetSync).is_err()));
}

/// The write history of one process, the states it went through, and how many of them were acknowledged when each
/// batch had been written.
type History = (Vec<(Batch, bool)>, Vec<Table>, Vec<usize>);

fn history(seed: u64, plant: Plant) -> Result<History, Fatal> {
    let mut draw = draw(seed);
    let mut witness = Witness::new();
    let store = Planted { store: MemoryStore::recording(), plant };
    let mut replica = Replica::<_, Cell>::open(store, small()).unwrap();
    let mut acknowledged = vec![0; usize::try_from(replica.store_mut().store.written()).unwrap()];
    for _ in 0..20 {
        work(&mut replica, &mut witness, &mut draw)?;
        acknowledged.resize(usize::try_from(replica.store_mut().store.written()).unwrap(), 0);
        if let Some(last) = acknowledged.last_mut() {
            *last = witness.acknowledged;
        }
    }
    // Between two marks at least what the earlier one says is there.
    let mut floor = 0;
    acknowledged.iter_mut().for_each(|n| {
        floor = floor.max(*n);
        *n = floor;
    });
    Ok((replica.into_store().store.history().to_vec(), witness.states, acknowledged))
}

/// Cuts the history after every batch and opens what is left.
fn cut_everywhere(seed: u64, plant: Plant) -> Result<(), String> {
    let (history, states, acknowledged) = history(seed, plant).map_err(|e| e.to_string())?;
    assert!(history.len() > 50, "a history worth cutting");
    for cut in 0..=history.len() {
        let store = MemoryStore::replayed(history.iter().take(cut).map(|(batch, _)| batch));
        let opened =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Replica::<_, Cell>::open(store, small())));
        let opened = opened.map_err(|_| format!("cut {cut}: panic at open"))?;
        let replica = opened.map_err(|e| format!("cut {cut}: {e}"))?;
        let state = state_of(&replica);
        let found = Table::of(&state);
        let floor = cut.checked_sub(1).map_or(0, |last| acknowledged[last]);
        if !states.iter().skip(floor).any(|table| *table == found) {
            return Err(format!("cut {cut}: the state is of no prefix that holds the {floor} acknowledged"));
        }
        assert!(replica.is_ready_leader(), "cut {cut}");
    }
    Ok(())
}

#[test]
fn ra_01_ra_02_ra_03_every_prefix_of_the_write_history_opens() {
    for seed in 0..20 {
        cut_everywhere(seed, Plant::None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn ra_01_planted_dropped_light_ready_commit_is_caught() {
    let error = cut_everywhere(1, Plant::DropCommit).unwrap_err();
    assert!(error.contains("applied="), "refused by the positions: {error}");
}

#[test]
fn ra_03_planted_split_apply_batch_is_caught() {
    assert!((0..5).any(|seed| cut_everywhere(seed, Plant::SplitApply).is_err()));
}

#[test]
fn ra_03_planted_lost_entry_is_caught() {
    let error = (0..5).find_map(|seed| cut_everywhere(seed, Plant::DropEntry).err()).unwrap();
    assert!(error.contains("log entry") || error.contains("applied="), "{error}");
}

#[test]
fn ra_20_every_failed_write_is_final() {
    for nth in 0..40 {
        let (mut replica, _) = open(MemoryStore::default());
        replica.store_mut().fail_after(nth);
        let (mut draw, mut witness) = (draw(nth), Witness::new());
        let fatal = loop {
            if let Err(fatal) = work(&mut replica, &mut witness, &mut draw) {
                break fatal;
            }
        };
        assert!(matches!(&fatal, Fatal::Store(e) if e.cause == "injected"), "write {nth}: {fatal}");
        let written = replica.store_mut().written();
        assert_eq!(replica.pump().unwrap_err(), Fatal::Stopped, "write {nth}");
        assert_eq!(replica.propose(&[]).unwrap_err(), ProposeError::Stopped, "write {nth}");
        assert!(!replica.is_ready_leader() && !replica.tick(), "write {nth}");
        assert_eq!(replica.store_mut().written(), written, "write {nth}: no second attempt");
        let (_, state) = open(replica.into_store().crash(&mut draw));
        witness.survived(&state).unwrap_or_else(|e| panic!("write {nth}: {e}"));
    }
}

#[test]
fn ra_06_ready_numbers_rise_in_every_interleaving() {
    for seed in 0..300 {
        let mut draw = draw(seed);
        let (mut replica, _) = open(MemoryStore::default());
        for _ in 0..60 {
            match below(&mut draw, 3) {
                0 => drop(replica.propose(&some_records(&mut draw)).unwrap()),
                1 => drop(replica.tick()),
                _ => drop(replica.pump().unwrap()),
            }
        }
    }
}

#[test]
fn proposals_before_one_pump_share_one_sync() {
    let (mut replica, _) = open(MemoryStore::recording());
    let before = replica.store_mut().history().len();
    for value in 0..64 {
        replica.propose(&[Cell::Set { row: 0, column: 0, value }]).unwrap();
    }
    replica.pump().unwrap();
    let syncs = replica.store_mut().history().iter().skip(before).filter(|(_, sync)| *sync).count();
    assert_eq!(syncs, 1);
}

#[test]
fn the_log_stays_within_its_window() {
    let (mut replica, _) = open(MemoryStore::default());
    for value in 0..2_000 {
        replica.propose(&[Cell::Set { row: 0, column: 0, value }]).unwrap();
        replica.pump().unwrap();
        let kept = replica.applied() - replica.truncated();
        assert!(kept <= small().log_window_entries + 2, "{kept} entries in the log");
    }
    assert!(replica.is_reclaim_due());
    replica.reclaim().unwrap();
    assert!(!replica.is_reclaim_due());
    let (replica, state) = open(replica.into_store());
    assert_eq!(Table::of(&state), Table::of(&[Cell::Set { row: 0, column: 0, value: 1_999 }]));
    assert!(replica.is_ready_leader());
}
