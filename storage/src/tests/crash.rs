//! IO-04: whatever was acknowledged survives a power loss between any two disk operations, also of recovery itself; and
//! the proof that this would be noticed: planted bugs.

use proptest::prelude::*;
use pyralog_protocol::Draw;

use super::world::{Op, Planted, Stop, World};
use crate::segment::Trust;
use crate::sim::Faults;

fn script(seed: u64, length: usize) -> Vec<Op> {
    let mut draw = Draw::new(u128::from(seed));
    (0..length).map(|_| Op::draw(&mut draw)).collect()
}

/// Runs a script until its end or the power loss; then starts again, goes on a little, and loses power once more.
fn crash_run(ops: &[Op], crash_at: u64, seed: u64, plant: &Faults, trust: Trust) -> Result<bool, String> {
    let mut world = World::new(trust);
    let base = world.disk.counters().changes;
    world.disk.set_faults(Faults { crash_at: Some(base + crash_at), ..plant.clone() });
    let mut crashed = false;
    for op in ops {
        match world.run(op) {
            Ok(()) => {}
            Err(Stop::Power) => {
                crashed = true;
                break;
            }
            Err(Stop::Bug(what)) => return Err(format!("{op:?}: {what}")),
        }
    }
    let told = |stop: Stop| format!("crash at {crash_at}, seed {seed}: {stop:?}");
    world.power_loss_in_recovery(seed).map_err(told)?;
    world.compare().map_err(told)?;
    // IO-14: what was served after recovery has to survive the next loss, with what is acknowledged now.
    for op in [
        Op::Append { producer: 1, records: 2, bytes: 600 },
        Op::Sync,
        Op::PowerLoss(seed ^ 1),
        Op::Resend { producer: 1, back: 0 },
    ] {
        world.run(&op).map_err(told)?;
    }
    Ok(crashed)
}

/// Scripts without power loss or restart: those are what the run adds at every operation.
fn plain_script(seed: u64, length: usize) -> Vec<Op> {
    let plain = |op: &Op| !matches!(op, Op::PowerLoss(_) | Op::StopAndPowerLoss(_) | Op::Kill | Op::Restart);
    script(seed, length * 2).into_iter().filter(plain).take(length).collect()
}

fn every_crash_point(seed: u64, plant: &Faults, trust: Trust) -> Result<(), String> {
    let ops = plain_script(seed, 40);
    for crash_at in 1.. {
        for survivors in 0..4 {
            if !crash_run(&ops, crash_at, crash_at * 7 + survivors, plant, trust)? && survivors == 3 {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[test]
fn io_04_io_14_acked_batches_survive_every_crash_point_and_crashed_recoveries() {
    for seed in 0..4 {
        every_crash_point(seed, &Faults::default(), Trust::default()).unwrap();
    }
}

#[test]
fn planted_sync_that_does_nothing_is_caught() {
    let plant = Faults { sync_is_noop: true, ..Faults::default() };
    assert!((0..3).any(|seed| every_crash_point(seed, &plant, Trust::default()).is_err()));
}

#[test]
fn io_03_planted_directory_sync_that_does_nothing_is_caught() {
    let plant = Faults { dir_sync_is_noop: true, ..Faults::default() };
    assert!((0..3).any(|seed| every_crash_point(seed, &plant, Trust::default()).is_err()));
}

#[test]
fn planted_recovery_without_crc_is_caught() {
    let trust = Trust { crc: true, ..Trust::default() };
    assert!((0..6).any(|seed| every_crash_point(seed, &Faults::default(), trust).is_err()));
}

/// Kills the process at each change of the disk in turn, while the machine goes on; what the next process serves has to
/// survive a power loss. `starting`: faults while that process starts.
fn every_kill_point(seed: u64, starting: &Faults) -> Result<(), String> {
    let ops = plain_script(seed, 40);
    for kill_at in 1.. {
        let mut world = World::new(Trust::default());
        let base = world.disk.counters().changes;
        world.disk.set_faults(Faults { crash_at: Some(base + kill_at), ..Faults::default() });
        let stopped = ops.iter().find_map(|op| world.run(op).err());
        match stopped {
            None => return Ok(()),
            Some(Stop::Bug(what)) => return Err(what),
            Some(Stop::Power) => {}
        }
        let told = |stop: Stop| format!("kill at {kill_at}, seed {seed}: {stop:?}");
        world.disk = world.disk.restart();
        world.disk.set_faults(starting.clone());
        world.starts = kill_at as usize;
        world.kill_and_serve().map_err(told)?;
        world.disk.set_faults(Faults::default());
        for op in [Op::PowerLoss(kill_at), Op::Append { producer: 1, records: 2, bytes: 600 }, Op::Sync] {
            world.run(&op).map_err(told)?;
        }
    }
    Ok(())
}

#[test]
fn io_14_what_is_served_after_a_kill_at_any_point_survives_a_power_loss() {
    for seed in 0..16 {
        every_kill_point(seed, &Faults::default()).unwrap();
    }
}

#[test]
fn io_14_planted_start_that_syncs_nothing_is_caught() {
    let plant = Faults { sync_is_noop: true, ..Faults::default() };
    assert!((0..5).any(|seed| every_kill_point(seed, &plant).is_err()));
}

fn model_run(seed: u64) -> Result<(), String> {
    planted_run(seed, Planted::Nothing).map(drop)
}

/// Gives how often the journal acknowledged something, and how many batches recoveries took from it.
fn planted_run(seed: u64, planted: Planted) -> Result<(u32, u64), String> {
    let mut world = World::new(Trust::default());
    world.planted = planted;
    for (at, op) in script(seed, 60).iter().enumerate() {
        world.run(op).map_err(|stop| format!("seed {seed}, operation {at} {op:?}: {stop:?}"))?;
    }
    Ok((world.journaled, world.put_back))
}

#[test]
fn io_04_random_schedules_of_crashes_lose_nothing_acknowledged() {
    let (mut journaled, mut put_back) = (0, 0);
    for seed in 0..500 {
        let (more, back) = planted_run(seed, Planted::Nothing).unwrap();
        journaled += more;
        put_back += back;
    }
    // Or the journal was not tried.
    assert!(journaled > 500 && put_back > 50, "{journaled} commits by the journal, {put_back} batches from it");
}

#[test]
fn planted_bugs_around_the_journal_are_caught() {
    for planted in [Planted::EarlyReuse, Planted::NoRedo, Planted::NoRound] {
        assert!((0..2000).any(|seed| planted_run(seed, planted).is_err()), "{planted:?}");
    }
}

/// A temporary index file with the content of a lost history survived one power loss, was written again under the same
/// name, and came back with its old content in the next.
#[test]
fn io_12_found_a_temporary_file_brings_back_a_lost_history() {
    model_run(3_785_891_709_747_187_782).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn log_and_model_agree_through_restarts_and_power_losses(seed in any::<u64>()) {
        model_run(seed).map_err(TestCaseError::fail)?;
    }
}
