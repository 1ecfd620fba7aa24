//! The coordinator on three and on five nodes, each with what a broker runs: commands, machines, replica, store. Seeded
//! schedules of lost, repeated, late and reordered messages, partitions, processes that end at any batch, disks that
//! forget, members that come and go; what must hold is in [`checker`]. Each rule's planted bug is found.
//!
//! A failure names its seed; `tools/schedules 1 SEED` runs it again.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod checker;
mod clients;
mod script;
mod store;
mod world;

use pyralog_protocol::Draw;

use world::{Counts, World};

/// A bug that is put in. Each must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plant {
    None,
    /// Batches count as durable before they are, so that messages and answers rest on nothing.
    AnswerBeforeSync,
    /// The members are not in the batch of the apply that changed them.
    ForgetMembers,
    /// Snapshots hold the state of an earlier index.
    OldSnapshot,
    /// Nobody is told that a snapshot did not arrive.
    SilentTransfers,
    /// Reads are answered without asking whether this node still leads.
    NoLeaderCheck,
    /// Answers leave before what they rest on is committed.
    ReplyEarly,
    /// Machines that were ahead of the log stay when the leadership is lost.
    KeepMachines,
}

fn below(draw: &mut Draw, limit: u64) -> u64 {
    draw.next_u64() % limit
}

/// Until the cluster serves and has its logs.
fn founded(seed: u64, voters: u64, plant: Plant) -> Result<World, String> {
    let mut world = World::new(seed, voters, plant)?;
    for round in 0..8_000 {
        if world.serving().is_some() && round % 30 == 0 {
            match world.promises.topics.len() {
                0 => world.create("v")?,
                1 if world.promises.topics.contains_key("v") => world.create("t")?,
                // The group is never empty of offsets, so it is never removed, and its generation never begins again.
                2 if world.promises.floor("g/0") < 0 => world.commit_offset("g", 0, None)?,
                _ => return Ok(world),
            }
        }
        world.pass(2);
        world.deliver()?;
        world.deliver()?;
        let node = world.some_node();
        world.tick(node)?;
    }
    Err(format!("seed {seed}: no leader, or none that serves"))
}

/// A whole schedule: founded, disturbed, mended; then all must be there, everywhere.
fn run(seed: u64, plant: Plant) -> Result<World, String> {
    let voters = if seed % 4 == 3 { 5 } else { 3 };
    let mut world = founded(seed, voters, plant)?;
    world.faults = true;
    for _ in 0..420 {
        world.event()?;
    }
    world.mend()?;
    world.settle()?;
    for _ in 0..60 {
        world.event()?;
    }
    let before = world.counts.acknowledged;
    for _ in 0..6 {
        world.read_all()?;
        world.settle()?;
    }
    if world.counts.acknowledged < before + 8 {
        return Err("the cluster does not answer after the faults".into());
    }
    world.compare_machines()?;
    let leader = world.serving().ok_or("nobody leads")?;
    let image = world.member(leader).unwrap().coordinator().image();
    for (name, id) in &world.promises.topics {
        match image.log(name) {
            Some(log) if log.metadata.topic_id.0 == *id => {}
            found => return Err(format!("log {name} was acknowledged with id {id:?} and is {found:?}")),
        }
    }
    Ok(world)
}

/// A panic of raft-rs is a failure as any other.
fn caught(seed: u64, plant: Plant) -> Result<World, String> {
    std::panic::catch_unwind(|| run(seed, plant)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

fn schedules(seeds: std::ops::Range<u64>) -> Counts {
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for seed in seeds {
        match caught(seed, Plant::None) {
            Ok(world) => counts.add(world.counts),
            Err(e) => failed.push(format!("seed {seed}: {e}")),
        }
    }
    assert!(failed.is_empty(), "{} failed, {:#?}", failed.len(), failed.iter().take(10).collect::<Vec<_>>());
    counts
}

#[test]
fn ra_07_ra_09_ra_10_ra_12_ra_13_ra_14_ra_16_rl_14_rl_17_schedules_of_whole_clusters() {
    let counts = schedules(0..300);
    assert!(counts.acknowledged > 300 * 15 && counts.reads > 300 * 5, "clients must be served: {counts:?}");
    assert!(counts.crashes > 200 && counts.elections > 300 && counts.lost_leaderships > 50, "{counts:?}");
    assert!(counts.snapshots > 10, "lagging nodes must need snapshots: {counts:?}");
    assert!(counts.changes > 60 && counts.promotions > 10 && counts.transfers > 60, "members must change: {counts:?}");
}

/// Of `tools/schedules`.
#[test]
#[ignore = "tools/schedules"]
fn many_schedules() {
    let number = |name: &str, default: u64| std::env::var(name).ok().map_or(default, |n| n.parse().unwrap());
    let first = number("PYRALOG_FIRST", 0);
    let count = number("PYRALOG_SCHEDULES", 10_000);
    println!("{count} clusters from seed {first}: {:?}", schedules(first..first + count));
}

/// RA-17.
#[test]
fn ra_17_a_seed_of_the_cluster_is_a_trace() {
    let trace = |seed| run(seed, Plant::None).map(|world| world.trace).unwrap();
    for seed in [3, 4, 5] {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(4), trace(5));
}

/// The plants that the rules are aimed at, and what each of them is found as.
#[test]
fn ra_planted_bugs_of_the_cluster_are_found() {
    let aimed: [(Plant, &[&str]); 4] = [
        (Plant::AnswerBeforeSync, &["two leaders", "two histories"]),
        (Plant::ForgetMembers, &["members at"]),
        (Plant::ReplyEarly, &["stale read", "handed out twice", "generation fell"]),
        (Plant::KeepMachines, &["machines of node", "handed out twice", "states differ", "two histories"]),
    ];
    let mut missed = Vec::new();
    for (plant, complaints) in aimed {
        let mut told = Vec::new();
        let found = (0..400).any(|seed| match caught(seed, plant) {
            Ok(_) => false,
            Err(said) => {
                let aimed = complaints.iter().any(|complaint| said.contains(complaint));
                told.push(said);
                aimed
            }
        });
        if !found {
            told.truncate(5);
            missed.push(format!("{plant:?} was never found as {complaints:?}, but as {told:#?}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
