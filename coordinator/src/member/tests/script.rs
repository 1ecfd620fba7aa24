//! Single cases, step by step.

use super::store::End;
use super::world::World;
use super::{Plant, founded};
use crate::raft::{MemberChange, MembersError};

/// Lets time pass on the nodes in `who`, with everything delivered.
fn live(world: &mut World, who: &[u64], rounds: usize) {
    for round in 0..rounds {
        world.pass(2);
        world.deliver().unwrap();
        world.deliver().unwrap();
        world.deliver().unwrap();
        world.tick(who[round % who.len()]).unwrap();
    }
}

fn isolate(world: &mut World, node: u64) {
    let all: Vec<u64> = world.nodes.keys().copied().filter(|other| *other != node).collect();
    world.cut.extend(all.iter().flat_map(|other| [(node, *other), (*other, node)]));
}

fn others(world: &World, node: u64) -> Vec<u64> {
    world.nodes.keys().copied().filter(|other| *other != node).collect()
}

/// RA-11: the leader is cut off and does not tick, so it does not know. Its successor's write was acknowledged before
/// the old one is asked.
fn paused_leader(plant: Plant) -> Result<u64, String> {
    let mut world = founded(7, 3, plant)?;
    world.settle()?;
    let old = world.serving().unwrap();
    world.commit_vlsn_at(old)?;
    live(&mut world, &[1, 2, 3], 60);
    let before = world.promises.floor("vlsn");
    isolate(&mut world, old);
    let rest = others(&world, old);
    live(&mut world, &rest, 600);
    let new = world.serving().filter(|new| *new != old).ok_or("no successor")?;
    world.commit_vlsn_at(new)?;
    live(&mut world, &rest, 60);
    assert!(world.promises.floor("vlsn") > before, "the successor must commit");
    assert!(world.leaders().contains(&old), "the old leader must not know");
    let reads = world.counts.reads;
    world.read_vlsn_at(old)?;
    assert_eq!(world.counts.reads, reads, "nobody confirms that it leads");
    // Its requests are given up when it hears of the new term, and the client is answered by the successor.
    world.cut.clear();
    live(&mut world, &[1, 2, 3], 200);
    assert!(world.asked.is_empty() && world.counts.lost_leaderships > 0);
    world.read_vlsn_at(new)?;
    live(&mut world, &[1, 2, 3], 60);
    Ok(world.counts.reads - reads)
}

#[test]
fn ra_10_ra_11_a_paused_leader_answers_nothing_and_its_successor_does() {
    assert_eq!(paused_leader(Plant::None), Ok(1));
}

#[test]
fn ra_11_planted_reads_without_leader_check_are_stale() {
    assert!(paused_leader(Plant::NoLeaderCheck).unwrap_err().contains("stale read"));
}

/// RA-12: what a cut-off leader decided was never committed. Its successor decides for itself, and the old one's machines
/// forget it.
#[test]
fn ra_12_a_decided_change_that_was_lost_is_nowhere() {
    let mut world = founded(11, 3, Plant::None).unwrap();
    world.settle().unwrap();
    let old = world.serving().unwrap();
    isolate(&mut world, old);
    for _ in 0..5 {
        world.commit_vlsn_at(old).unwrap();
    }
    let rest = others(&world, old);
    live(&mut world, &rest, 600);
    assert_eq!(world.promises.floor("vlsn"), -1, "nothing may be acknowledged");
    world.cut.clear();
    live(&mut world, &[1, 2, 3], 400);
    world.settle().unwrap();
    world.compare_machines().unwrap();
    let image = world.member(old).unwrap().coordinator().hard_state();
    assert!(!image.contains("Commit { vlsn"), "{image}");
}

/// RA-09: a learner comes, catches up, is promoted, and another one goes; each node's process ends at each batch of it.
#[test]
fn ra_09_ends_at_every_batch_of_every_change_of_members() {
    for (victim, batches, written) in (1..=4).flat_map(|v| (0..14).flat_map(move |b| [(v, b, false), (v, b, true)])) {
        let case = format!("node {victim} ends at batch {batches}, written: {written}");
        let mut world = founded(1000 + batches, 3, Plant::None).unwrap();
        world.settle().unwrap();
        let leader = world.serving().unwrap();
        world.change_members(4).unwrap();
        if let Some(member) = world.member(victim) {
            member.replica_mut().store_mut().end = Some(End { batches, written });
        }
        let leaving = (1..=3).find(|node| *node != leader).unwrap();
        let done = |world: &mut World| {
            let Some(leader) = world.serving() else { return false };
            let members = world.member(leader).unwrap().replica().members();
            members.outgoing.is_empty() && members.voters.contains(&4) && !members.voters.contains(&leaving)
        };
        for _ in 0..60 {
            live(&mut world, &[1, 2, 3, 4], 50);
            world.restart(victim).unwrap();
            if done(&mut world) {
                break;
            }
            let Some(leader) = world.serving() else { continue };
            let members = world.member(leader).unwrap().replica().members();
            if !members.voters.contains(&4) {
                world.change_members(4).unwrap();
            } else if leader == leaving {
                world.member(leader).unwrap().replica_mut().transfer_leader(4);
            } else if members.voters.contains(&leaving) {
                world.change_members(leaving).unwrap();
            }
        }
        assert!(done(&mut world), "{case}");
        world.mend().unwrap();
        world.settle().unwrap_or_else(|e| panic!("{case}: {e}"));
        world.read_all().unwrap();
        world.settle().unwrap();
        world.compare_machines().unwrap_or_else(|e| panic!("{case}: {e}"));
    }
}

/// RL-14: what a change of members must not do is refused before it is proposed.
#[test]
fn rl_14_a_vote_is_given_only_to_a_learner_that_has_caught_up() {
    let mut world = founded(21, 3, Plant::None).unwrap();
    world.settle().unwrap();
    let leader = world.serving().unwrap();
    let change = |world: &mut World, changes: &[MemberChange]| {
        let outcome = world.member(leader).unwrap().replica_mut().change_members(changes).map(|_| ());
        world.turn(leader).unwrap();
        outcome
    };
    let follower = others(&world, leader)[0];
    use MemberChange::{AddLearner, Promote, Remove};
    for (changes, refusal) in [
        (&[][..], MembersError::Nothing),
        (&[AddLearner(0)], MembersError::Nothing),
        (&[AddLearner(follower)], MembersError::Member { node: follower }),
        (&[Promote(4)], MembersError::NotLearner { node: 4 }),
        (&[Remove(9)], MembersError::Unknown { node: 9 }),
        (&[Remove(leader)], MembersError::Leader { node: leader }),
    ] {
        assert_eq!(change(&mut world, changes), Err(refusal), "{changes:?}");
    }
    let refused = world.member(follower).unwrap().replica_mut().change_members(&[AddLearner(4)]);
    assert_eq!(refused, Err(MembersError::NotLeader { leader: Some(leader) }));
    // The newcomer hears nothing, so it stays behind and gets no vote.
    isolate(&mut world, 4);
    assert_eq!(change(&mut world, &[AddLearner(4)]), Ok(()));
    assert_eq!(change(&mut world, &[Remove(follower)]), Err(MembersError::UnderWay));
    live(&mut world, &[1, 2, 3], 200);
    assert!(matches!(change(&mut world, &[Promote(4)]), Err(MembersError::Behind { node: 4, .. })));
    world.cut.clear();
    world.settle().unwrap();
    assert_eq!(change(&mut world, &[Promote(4), Remove(follower)]), Ok(()));
    world.settle().unwrap();
    let members = world.member(leader).unwrap().replica().members();
    assert!(members.voters.contains(&4) && !members.voters.contains(&follower), "{members:?}");
    assert!(members.outgoing.is_empty() && members.learners.is_empty(), "{members:?}");
}

/// RA-13: the first transfers of a snapshot fail, and the node catches up all the same.
fn lost_snapshots(seed: u64, plant: Plant) -> Result<(), String> {
    let mut world = founded(seed, 3, plant)?;
    world.settle()?;
    let leader = world.serving().unwrap();
    let lagging = others(&world, leader)[0];
    isolate(&mut world, lagging);
    let rest = others(&world, lagging);
    for _ in 0..60 {
        world.commit_vlsn_at(leader)?;
        live(&mut world, &rest, 6);
    }
    world.cut.clear();
    world.lost_snapshots = 2;
    world.settle()?;
    assert_eq!((world.counts.failed_snapshots, world.lost_snapshots), (2, 0), "seed {seed}");
    Ok(())
}

#[test]
fn ra_13_a_snapshot_that_does_not_arrive_is_sent_again() {
    for seed in 30..40 {
        lost_snapshots(seed, Plant::None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

#[test]
fn ra_08_planted_snapshot_of_another_index_builds_another_state() {
    assert!(lost_snapshots(30, Plant::OldSnapshot).unwrap_err().contains("states differ"));
}

#[test]
fn ra_13_planted_silence_about_a_lost_snapshot_leaves_the_node_behind() {
    assert!(lost_snapshots(30, Plant::SilentTransfers).unwrap_err().contains("not settled"));
}

/// RA-15: with pre-vote and check-quorum, a node that comes back does not end the leader's term, and a leader without a
/// majority steps down.
#[test]
fn ra_15_a_node_that_returns_does_not_disturb_and_a_lonely_leader_steps_down() {
    let mut world = founded(50, 3, Plant::None).unwrap();
    world.settle().unwrap();
    let leader = world.serving().unwrap();
    let term = world.member(leader).unwrap().replica().term();
    let away = others(&world, leader)[0];
    isolate(&mut world, away);
    live(&mut world, &[1, 2, 3], 600);
    world.cut.clear();
    live(&mut world, &[1, 2, 3], 300);
    assert_eq!(world.serving(), Some(leader));
    assert_eq!(world.member(away).unwrap().replica().term(), term);
    isolate(&mut world, leader);
    live(&mut world, &[leader], 60);
    assert!(!world.leaders().contains(&leader), "check-quorum");
}

/// RL-15: one node forgets what it had not synced while the others stand still; it neither votes twice nor leads alone.
#[test]
fn rl_15_a_node_that_forgets_what_was_not_synced_while_others_pause() {
    for seed in 60..90 {
        let mut world = founded(seed, 3, Plant::None).unwrap();
        world.settle().unwrap();
        let leader = world.serving().unwrap();
        for _ in 0..6 {
            world.commit_vlsn_at(leader).unwrap();
            live(&mut world, &[1, 2, 3], 4);
        }
        world.crash(leader).unwrap();
        world.restart(leader).unwrap();
        live(&mut world, &[leader], 80);
        live(&mut world, &[1, 2, 3], 200);
        world.settle().unwrap();
        world.read_all().unwrap();
        world.settle().unwrap();
        world.compare_machines().unwrap();
    }
}
