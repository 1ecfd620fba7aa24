//! Cutting the end off: RL-03, RL-04. What a crash does to it is for the model.

use pyralog_protocol::EpochOffset;

use super::*;
use crate::truncation::Truncated;
use crate::{AppendError, JournalPlace, Settle, TruncateError, TruncationTarget};

const PLACE: JournalPlace = JournalPlace { sequence: 3, round: 7 };

/// Batches of three records, two in each segment; the epoch rises with every other one.
fn filled() -> (SimDisk, Log<SimDisk>) {
    let (disk, mut log) = new_log(small());
    for n in 0..8 {
        let batch = checked(sized(3, 600).producer(9, 0, 3 * n));
        log.append(&batch, LeaderEpoch(n / 2), at(1000)).unwrap();
    }
    (disk, log)
}

#[test]
fn whole_batches_go_and_nothing_else() {
    for target in 6..24 {
        let (disk, mut log) = filled();
        let end = log.truncate_to(off(target), off(6), PLACE, at(2000)).unwrap();
        assert_eq!(end, off(target - target % 3), "where a batch ended");
        assert_eq!((log.log_end(), log.stable_end(), log.recovery_point()), (end, end, end));
        let left: Vec<(i64, i64)> = (0..end.0 / 3).map(|n| (3 * n, 3 * n + 2)).collect();
        assert_eq!(contents(&mut log, 0), left);
        // Epochs, sequences, offsets go on from there.
        let latest = LeaderEpoch((end.0 / 3 - 1) as i32 / 2);
        assert_eq!(log.latest_epoch(), Some(latest));
        let gap = checked(sized(3, 600).producer(9, 0, end.0 as i32 + 3));
        assert!(matches!(log.append(&gap, LeaderEpoch(9), at(1000)), Err(AppendError::Sequence(_))));
        let next = checked(sized(3, 600).producer(9, 0, end.0 as i32));
        assert_eq!(log.append(&next, LeaderEpoch(9), at(1000)).unwrap().base_offset, end);
        log.sync().unwrap();
        let (mut again, _) = open(&disk.crash(target as u64), small(), unclean(6));
        assert_eq!((again.log_end(), contents(&mut again, 0).len()), (off(end.0 + 3), left.len() + 1));
    }
}

#[test]
fn rl_03_nothing_below_the_high_watermark_goes() {
    let (disk, mut log) = filled();
    log.sync().unwrap();
    let paths = disk.paths();
    for (target, bound) in [(5, 6), (-1, 0), (10, 10)] {
        // At 10, in the middle of a batch, the whole of it would have to go.
        let refused = log.truncate_to(off(target), off(bound), PLACE, at(2000)).unwrap_err();
        assert!(matches!(refused, TruncateError::Committed { .. }), "{refused}");
    }
    log.delete_records_to(off(9), off(12)).unwrap();
    assert!(log.truncate_to(off(8), off(0), PLACE, at(2000)).is_err(), "nor below the log start");
    assert_eq!((log.log_end(), disk.paths()), (off(24), paths));
}

#[test]
fn a_log_that_is_being_synced_or_shortened_is_left_alone() {
    let (_, mut log) = filled();
    let plan = log.sync_plan().unwrap();
    assert!(matches!(log.truncate_to(off(12), off(0), PLACE, at(2000)), Err(TruncateError::Busy)));
    log.synced(plan.id, Ok(())).unwrap();
    log.set_config(LogConfig { retention_bytes: Some(0), ..small() });
    let plan = log.plan_retention(at(2000), off(6)).unwrap().unwrap();
    assert!(matches!(log.truncate_to(off(12), off(0), PLACE, at(2000)), Err(TruncateError::Busy)));
    let written = plan.run();
    log.retain(plan, written).unwrap().remove();
    assert_eq!(log.truncate_to(off(12), off(6), PLACE, at(2000)).unwrap(), off(12));
    assert_eq!(contents(&mut log, 6), [(6, 8), (9, 11)]);
}

#[test]
fn a_note_is_kept_until_it_is_forgotten() {
    let (disk, mut log) = filled();
    assert_eq!(log.truncation(), None);
    log.truncate_to(off(12), off(0), PLACE, at(2000)).unwrap();
    assert_eq!(log.truncation(), Some(PLACE));
    drop(log);
    let (mut log, _) = open(&disk, small(), unclean(0));
    assert_eq!((log.log_end(), log.truncation()), (off(12), Some(PLACE)));
    log.forget_truncation().unwrap();
    drop(log);
    let hint = OpenHint { settle: Settle::Unproven, ..unclean(12) };
    assert_eq!(open(&disk, small(), hint).0.truncation(), None);
}

#[test]
fn truncation_note() {
    let note = Truncated { end: off(258), journal: PLACE, done: true };
    let bytes = note.encode();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, "504c5452000100000000001900000000000001020000000000000003000000000000000701fd79d8dc");
    assert_eq!(Truncated::decode("", &bytes).unwrap(), note);
}

#[test]
fn rl_04_the_place_where_two_logs_part_is_found_epoch_by_epoch() {
    // Epochs 0, 1, 2, 3 begin at 0, 6, 12, 18; the log ends at 24.
    let (_, log) = filled();
    let target = |epoch: i32, offset: i64| {
        let target = log.truncation_target(EpochOffset { epoch: LeaderEpoch(epoch), offset: off(offset) });
        let TruncationTarget { offset, ask } = target;
        (offset.0, ask.map(|epoch| epoch.0))
    };
    assert_eq!(target(3, 30), (24, None), "the leader has all and more");
    assert_eq!(target(3, 21), (21, None), "it has less of our latest epoch");
    assert_eq!(target(1, 9), (9, None), "an old leader's end");
    assert_eq!(target(1, 15), (12, None), "it went on in an epoch of which we have the beginning");
    assert_eq!(target(9, 15), (15, None), "unknown here: by offset");
    let (_, mut log) = new_log(small());
    for (n, epoch) in [0, 4].into_iter().enumerate() {
        log.append(&checked(sized(3, 60)), LeaderEpoch(epoch), at(n as i64)).unwrap();
    }
    let between = log.truncation_target(EpochOffset { epoch: LeaderEpoch(2), offset: off(9) });
    assert_eq!(between, TruncationTarget { offset: off(3), ask: Some(LeaderEpoch(0)) });
}
