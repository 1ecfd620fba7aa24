//! A power loss or a kill at any change of the disk, in a round of compaction or in the recovery after it, leaves old or
//! new segments and nothing else; and the proof that anything else would be noticed: planted bugs.

use std::sync::Arc;

use proptest::prelude::*;
use pyralog_protocol::batch::BatchBuilder;
use pyralog_protocol::{Draw, LogOffset};

use super::world::{Op, Stop, World};
use super::{CHUNK, big_map, compacted, read_all};
use crate::segment::{Env, Trust};
use crate::sim::Faults;
use crate::tests::{DIR, asked_seeds, at, checked, clean, new_disk, put, unclean};
use crate::{Disk, Log};

fn script(seed: u64, length: usize) -> Vec<Op> {
    let mut draw = Draw::new(u128::from(seed));
    (0..length).map(|_| Op::draw(&mut draw)).collect()
}

fn model_run(seed: u64, trust: Trust) -> Result<(u32, usize), String> {
    let mut world = World::new(trust);
    for (at, op) in script(seed, 80).iter().enumerate() {
        world.run(op).map_err(|stop| format!("seed {seed}, operation {at} {op:?}: {stop:?}"))?;
    }
    Ok((world.rounds, world.gone))
}

/// Appends, and a round that is cut off at a change of the disk.
fn crash_run(script: &[Op], crash_at: u64, seed: u64, trust: Trust) -> Result<bool, String> {
    let told = |stop: Stop| format!("crash at {crash_at}, seed {seed}: {stop:?}");
    let mut world = World::new(trust);
    let base = world.disk.counters().changes;
    world.disk.set_faults(Faults { crash_at: Some(base + crash_at), ..Faults::default() });
    let mut crashed = false;
    for op in script {
        match world.run(op) {
            Ok(()) => {}
            Err(Stop::Power) => {
                crashed = true;
                break;
            }
            Err(stop) => return Err(told(stop)),
        }
    }
    world.power_loss_in_recovery(seed).map_err(told)?;
    world.compare().map_err(told)?;
    let round = || Op::Compact { keys: 1000, steps: u64::MAX };
    for op in [Op::Append(seed), Op::Sync, round(), Op::PowerLoss(seed ^ 1), Op::Pass(2000), round(), Op::Kill, round()]
    {
        world.run(&op).map_err(|stop| format!("{op:?}: {}", told(stop)))?;
    }
    Ok(crashed)
}

fn plain_script(seed: u64, length: usize) -> Vec<Op> {
    let plain = |op: &Op| !matches!(op, Op::PowerLoss(_) | Op::StopAndPowerLoss(_) | Op::Kill | Op::Restart | Op::Flip);
    let mut ops: Vec<Op> = script(seed, length * 2).into_iter().filter(plain).take(length).collect();
    // Whatever the script has, rounds come at the end.
    for n in 0..2 {
        ops.extend((0..8).map(|m| Op::Append(seed * 100 + n * 10 + m)));
        ops.extend([Op::Sync, Op::Compact { keys: 1000, steps: u64::MAX }]);
    }
    ops
}

fn every_crash_point(seed: u64, trust: Trust) -> Result<(), String> {
    let ops = plain_script(seed, 25);
    for crash_at in 1.. {
        for survivors in 0..4 {
            if !crash_run(&ops, crash_at, crash_at * 7 + survivors, trust)? && survivors == 3 {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[test]
fn io_04_a_crash_at_any_change_of_a_round_or_of_the_recovery_loses_and_resurrects_nothing() {
    for seed in 0..4 {
        every_crash_point(seed, Trust::default()).unwrap();
    }
}

#[test]
fn io_19_log_and_model_agree_through_rounds_policies_restarts_and_power_losses() {
    let (mut rounds, mut gone) = (0, 0);
    for seed in 0..2000 {
        let (more, records) = model_run(seed, Trust::default()).unwrap();
        rounds += more;
        gone += records;
    }
    // Or nothing was tried.
    assert!(rounds > 3_000 && gone > 20_000, "{rounds} rounds took {gone} records");
}

#[test]
#[ignore = "as long as wanted: tools/schedules"]
fn many_schedules() {
    for seed in asked_seeds() {
        model_run(seed, Trust::default()).unwrap();
    }
}

fn is_caught(trust: Trust) -> bool {
    (0..4).any(|seed| every_crash_point(seed, trust).is_err()) || (0..500).any(|seed| model_run(seed, trust).is_err())
}

/// A key's old record is on disk, the new one in a full segment that is not. Is the old one there after a power loss?
fn old_record_survives(trust: Trust) -> bool {
    let disk = new_disk();
    disk.sync_dir("").unwrap();
    let env = Env::new(Arc::new(disk.clone()), DIR, compacted(), trust);
    let (mut log, _) = Log::open_trusting(env, clean(0), None, at(0)).unwrap();
    for key in ["k", "a", "b"] {
        put(&mut log, &checked(BatchBuilder::new().kv(0, key.as_bytes(), &[b'1'; 400])));
    }
    log.sync().unwrap();
    for key in ["k", "c", "d", "e"] {
        put(&mut log, &checked(BatchBuilder::new().kv(0, key.as_bytes(), &[b'2'; 400])));
    }
    assert_eq!(log.segment_count(), 3);
    let bound = if trust.unflushed { log.log_end() } else { log.stable_end() };
    let mut plan = log.begin_compaction(at(0), bound).unwrap().unwrap();
    let outcome = plan.run(&mut big_map(), CHUNK, &mut |_| true, &mut |new| log.swap_in(new));
    log.end_compaction(&outcome);
    assert!(outcome.is_ok(), "{outcome:?}");
    (0..8).all(|seed| {
        let opened = Log::open(Arc::new(disk.crash(seed)), DIR, compacted(), unclean(3), at(0));
        let Ok((mut log, _)) = opened else { return false };
        let found = read_all(&mut log, LogOffset::ZERO).unwrap_or_default();
        found.iter().flat_map(|(_, records)| records).any(|record| record.key.as_deref() == Some(b"k"))
    })
}

#[test]
fn planted_swap_without_syncs_of_the_folder_is_caught() {
    assert!(is_caught(Trust { folder: true, ..Trust::default() }));
}

#[test]
fn planted_swap_without_a_marker_is_caught() {
    assert!(is_caught(Trust { swap: true, ..Trust::default() }));
}

#[test]
fn planted_cleaning_of_what_is_not_on_disk_is_caught() {
    assert!(old_record_survives(Trust::default()));
    assert!(!old_record_survives(Trust { unflushed: true, ..Trust::default() }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn log_and_model_agree_on_fresh_seeds(seed in any::<u64>()) {
        model_run(seed, Trust::default()).map_err(TestCaseError::fail)?;
    }
}
