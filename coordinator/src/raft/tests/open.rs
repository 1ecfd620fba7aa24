//! What an open refuses, and the limits of a proposal.

use super::super::keys::{self, LogPosition, MetaKey, Shard};
use super::*;

const SHARD: Shard = Shard(0);

/// A group with a few entries in the log, some truncated.
fn used() -> MemoryStore {
    let (mut replica, _) = open(MemoryStore::default());
    for value in 0..60 {
        replica.propose(&[Cell::Set { row: 1, column: 1, value }]).unwrap();
        replica.pump().unwrap();
    }
    assert!(replica.truncated() > 1);
    replica.into_store()
}

fn put_meta(store: &mut MemoryStore, key: MetaKey, value: Vec<u8>) {
    let mut batch = Batch::default();
    batch.put(Column::RaftMeta, SHARD.meta_key(key), value);
    store.write(batch, true).unwrap();
}

fn refused(store: MemoryStore) -> OpenError {
    Replica::<_, Cell>::open(store, small()).and_then(|replica| replica.load(|_| ())).unwrap_err()
}

#[test]
fn ra_04_each_broken_order_is_refused_with_all_numbers_and_not_repaired() {
    let far = 10_000;
    let hard_state = |commit| raft::eraftpb::HardState { term: 9, commit, ..Default::default() };
    let breaks: [(&str, MetaKey, Vec<u8>); 6] = [
        ("snapshot", MetaKey::Snapshot, keys::encode_u64(far)),
        ("truncated", MetaKey::Truncated, keys::encode_position(LogPosition { index: far, term: 2 })),
        ("applied", MetaKey::Applied, keys::encode_u64(far)),
        ("applied", MetaKey::Applied, keys::encode_u64(2)),
        ("commit", MetaKey::HardState, keys::encode_proto(&hard_state(far))),
        ("commit", MetaKey::HardState, keys::encode_proto(&hard_state(3))),
    ];
    for (name, key, value) in breaks {
        let mut store = used();
        put_meta(&mut store, key, value);
        let written = store.written();
        let error = refused(store.clone());
        let OpenError::Inconsistent { snapshot, truncated, applied, commit, last } = error else {
            panic!("{name}: {error}");
        };
        for number in [snapshot, truncated, applied, commit, last] {
            assert!(error.to_string().contains(&format!("={number}")), "{name}: {error}");
        }
        assert!(error.to_string().contains("nothing is repaired"));
        assert_eq!(store.written(), written, "{name}");
    }
}

#[test]
fn ra_04_a_lost_log_is_refused() {
    let mut store = used();
    let mut batch = Batch::default();
    batch.delete_range(SHARD.log_span(0, u64::MAX));
    store.write(batch, true).unwrap();
    assert!(matches!(refused(store), OpenError::Inconsistent { .. }));
}

#[test]
fn ra_04_missing_and_malformed_numbers_are_refused() {
    let all = [MetaKey::HardState, MetaKey::ConfState, MetaKey::Truncated, MetaKey::Snapshot, MetaKey::Applied];
    for key in all {
        let mut store = used();
        let mut batch = Batch::default();
        batch.delete(Column::RaftMeta, SHARD.meta_key(key));
        store.write(batch, true).unwrap();
        assert!(matches!(refused(store), OpenError::Missing { .. }), "{key:?}");
        let mut store = used();
        put_meta(&mut store, key, vec![0xff; 3]);
        assert!(matches!(refused(store), OpenError::Corrupt(_)), "{key:?}");
    }
}

#[test]
fn ra_04_a_hard_state_older_than_the_log_is_refused() {
    let (replica, _) = open(used());
    let (index, mut store) = (replica.applied(), replica.into_store());
    let entry = raft::eraftpb::Entry { index: index + 1, term: 77, ..Default::default() };
    let mut batch = Batch::default();
    batch.put(Column::RaftLog, SHARD.log_key(index + 1), keys::encode_proto(&entry));
    store.write(batch, true).unwrap();
    let error = refused(store).to_string();
    assert!(error.contains("term 77"), "{error}");
}

#[test]
fn a_state_record_that_does_not_parse_is_refused() {
    let mut store = used();
    let mut batch = Batch::default();
    batch.put(Column::Groups, SHARD.key(&[1, 2]), vec![9, 9]);
    store.write(batch, true).unwrap();
    let error = refused(store).to_string();
    assert!(error.contains("version 9"), "{error}");
}

#[test]
fn bad_settings_are_refused() {
    let bad = [
        ReplicaOptions { node: 0, ..small() },
        ReplicaOptions { shard: u32::MAX, ..small() },
        ReplicaOptions { voters: vec![], ..small() },
        ReplicaOptions { heartbeat_ticks: 10, ..small() },
        ReplicaOptions { max_uncommitted_bytes: 1, ..small() },
    ];
    for options in bad {
        let opened = Replica::<_, Cell>::open(MemoryStore::default(), options.clone()).map(|_| ());
        assert!(matches!(opened, Err(OpenError::Options(_))), "{options:?}");
    }
}

#[test]
fn shards_share_a_store_without_seeing_each_other() {
    let mut store = MemoryStore::default();
    for shard in [0, 1, u32::MAX - 1] {
        let options = ReplicaOptions { shard, ..small() };
        let mut replica = Replica::<_, Cell>::open(store, options).unwrap();
        let state = state_of(&replica);
        assert_eq!(state, []);
        replica.propose(&[Cell::Set { row: 255, column: 255, value: 1 }, Cell::ClearRow { row: 254 }]).unwrap();
        replica.pump().unwrap();
        store = replica.into_store();
    }
    for shard in [0, 1, u32::MAX - 1] {
        let options = ReplicaOptions { shard, ..small() };
        let replica = Replica::<_, Cell>::open(store, options).unwrap();
        let state = state_of(&replica);
        assert_eq!(state.len(), 1, "shard {shard}");
        store = replica.into_store();
    }
}

#[test]
fn a_proposal_over_a_limit_is_refused_and_costs_nothing() {
    let options = ReplicaOptions {
        max_entry_bytes: 100,
        max_uncommitted_bytes: 200,
        max_message_bytes: 100,
        ..ReplicaOptions::default()
    };
    let mut replica = Replica::open(MemoryStore::default(), options).unwrap();
    let record = Cell::Set { row: 0, column: 0, value: u64::MAX };
    let large = vec![record.clone(); 20];
    assert!(matches!(replica.propose(&large).unwrap_err(), ProposeError::TooLarge { bytes: 262, limit: 100 }));
    let fitting = vec![record; 7];
    assert!(replica.propose(&fitting).is_ok() && replica.propose(&fitting).is_ok());
    assert_eq!(replica.propose(&fitting).unwrap_err(), ProposeError::Busy { limit: 200 });
    replica.pump().unwrap();
    assert!(replica.propose(&fitting).is_ok(), "what is committed makes room");
}

#[test]
fn ra_15_raft_rs_is_configured_by_us() {
    let options = ReplicaOptions::default();
    let config = options.raft_config(7);
    assert!(config.pre_vote && config.check_quorum && config.batch_append && !config.skip_bcast_commit);
    assert_eq!((config.id, config.applied), (1, 7));
    assert_eq!((config.election_tick, config.heartbeat_tick), (10, 2));
    assert_eq!((config.min_election_tick, config.max_election_tick), (10, 20));
    assert_eq!((config.max_size_per_msg, config.max_inflight_msgs), (1 << 20, 64));
    assert_eq!((config.max_uncommitted_size, config.max_committed_size_per_ready), (64 << 20, 16 << 20));
    assert!(config.read_only_option == raft::ReadOnlyOption::Safe);
    config.validate().unwrap();
}

#[test]
fn ra_17_election_timeouts_come_from_the_seed() {
    let timeouts = |seed, node| -> Vec<usize> {
        let options = ReplicaOptions { seed, node, ..ReplicaOptions::default() };
        (0..50).map(|term| options.election_timeout(term)).collect()
    };
    assert_eq!(timeouts(1, 1), timeouts(1, 1));
    assert_ne!(timeouts(1, 1), timeouts(2, 1));
    assert_ne!(timeouts(1, 1), timeouts(1, 2));
    assert!(timeouts(3, 1).iter().all(|ticks| (10..20).contains(ticks)));
}
