//! Idempotence, epochs and rolling: sections I of the behaviours and ID of the failures.

use pyralog_protocol::batch::TimestampType;
use pyralog_protocol::{EpochOffset, ErrorCode, LeaderEpoch};

use super::*;
use crate::{AppendError, SequenceError};

type TestLog = Log<SimDisk>;

/// What became of a batch: (base offset, whether it was a duplicate), or the error's code.
fn send(log: &mut TestLog, id: i64, epoch: i16, sequence: i32, records: usize) -> Result<(i64, bool), ErrorCode> {
    let result = log.append(&idempotent(id, epoch, sequence, records), EPOCH, at(1000));
    result.map(|a| (a.base_offset.0, a.duplicate)).map_err(|e| e.code())
}

const OUT_OF_ORDER: Result<(i64, bool), ErrorCode> = Err(ErrorCode::OutOfOrderSequenceNumber);

#[test]
fn i03_id_05_an_unknown_producer_may_begin_anywhere() {
    let (_, mut log) = new_log(small());
    assert_eq!(send(&mut log, 1, 0, 7, 1), Ok((0, false)));
    assert_eq!(send(&mut log, 2, 5, 3, 1), Ok((1, false)));
}

#[test]
fn i04_the_next_batch_starts_at_the_last_sequence_plus_one() {
    let (_, mut log) = new_log(small());
    send(&mut log, 1, 0, 0, 3).unwrap();
    assert_eq!(send(&mut log, 1, 0, 4, 1), OUT_OF_ORDER);
    assert_eq!(log.log_end(), off(3));
    assert_eq!(send(&mut log, 1, 0, 3, 1), Ok((3, false)));
}

#[test]
fn i05_id_02_each_of_the_last_five_batches_is_answered_as_at_first() {
    let (_, mut log) = new_log(small());
    for n in 0..6 {
        send(&mut log, 1, 0, n * 2, 2).unwrap();
    }
    for n in 1..6 {
        let again = log.append(&idempotent(1, 0, n * 2, 2), EPOCH, at(9000)).unwrap();
        assert_eq!((again.base_offset, again.last_offset), (off(i64::from(n) * 2), off(i64::from(n) * 2 + 1)));
        assert_eq!((again.duplicate, again.log_append_time), (true, 1000), "the batch's timestamp");
    }
    assert_eq!(log.log_end(), off(12));
}

#[test]
fn i06_older_other_counts_and_partial_overlaps_are_out_of_order() {
    let (_, mut log) = new_log(small());
    for n in 0..6 {
        send(&mut log, 1, 0, n * 2, 2).unwrap();
    }
    assert_eq!(send(&mut log, 1, 0, 0, 2), OUT_OF_ORDER, "sixth-last");
    assert_eq!(send(&mut log, 1, 0, 10, 3), OUT_OF_ORDER, "other count");
    assert_eq!(send(&mut log, 1, 0, 11, 2), OUT_OF_ORDER, "overlap");
}

#[test]
fn i07_epochs_rise_by_any_step_and_begin_at_zero() {
    let (_, mut log) = new_log(small());
    send(&mut log, 1, 3, 10, 1).unwrap();
    assert_eq!(send(&mut log, 1, 9, 11, 1), OUT_OF_ORDER);
    assert_eq!(send(&mut log, 1, 9, 0, 1), Ok((1, false)));
    assert_eq!(send(&mut log, 1, 3, 11, 1), Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(send(&mut log, 1, 9, 1, 1), Ok((2, false)));
}

#[test]
fn i08_id_08_id_06_sequences_wrap_between_and_inside_batches() {
    let (_, mut log) = new_log(small());
    send(&mut log, 1, 0, i32::MAX, 1).unwrap();
    assert_eq!(send(&mut log, 1, 0, 0, 1), Ok((1, false)));
    send(&mut log, 2, 0, i32::MAX - 1, 3).unwrap();
    assert_eq!(send(&mut log, 2, 0, i32::MAX - 1, 3), Ok((2, true)));
    assert_eq!(send(&mut log, 2, 0, 2, 1), OUT_OF_ORDER);
    assert_eq!(send(&mut log, 2, 0, 1, 1), Ok((5, false)));
}

#[test]
fn i09_without_a_producer_id_epoch_and_sequence_mean_nothing() {
    let (_, mut log) = new_log(small());
    for id in [-1, -5] {
        for _ in 0..2 {
            assert!(!send(&mut log, id, 4, 9, 1).unwrap().1);
        }
    }
    assert_eq!(log.producers().count(), 0);
    assert_eq!(send(&mut log, 1, -1, 0, 1), Ok((4, false)), "epoch -1 with a producer id");
    assert_eq!(send(&mut log, 1, -1, 1, 1), Ok((5, false)));
}

#[test]
fn i11_state_survives_the_deletion_of_all_records_and_a_restart_on_it() {
    let (disk, mut log) = new_log(small());
    send(&mut log, 1, 0, 0, 3).unwrap();
    log.sync().unwrap();
    log.delete_records_to(off(3), off(3)).unwrap();
    assert_eq!(send(&mut log, 1, 0, 4, 1), OUT_OF_ORDER);
    let point = log.close_clean().unwrap();
    let (mut log, _) = open(&disk, small(), clean(point.0));
    assert_eq!(send(&mut log, 1, 0, 4, 1), OUT_OF_ORDER);
    assert_eq!(send(&mut log, 1, 0, 3, 1), Ok((3, false)));
}

#[test]
fn i12_id_02_id_03_duplicates_are_known_after_clean_and_unclean_restarts_and_when_their_segment_is_gone() {
    for hint in [clean(10), unclean(10), unclean(0)] {
        let (disk, mut log) = new_log(LogConfig { segment_bytes: 200, ..small() });
        for n in 0..5 {
            send(&mut log, 1, 0, n * 2, 2).unwrap();
        }
        log.close_clean().unwrap();
        let config = LogConfig { retention_bytes: Some(0), ..small() };
        let (mut log, _) = open(&disk, config, hint);
        for n in 0..5 {
            assert_eq!(send(&mut log, 1, 0, n * 2, 2), Ok((i64::from(n) * 2, true)), "{hint:?}");
        }
        log.enforce_retention(at(1000), off(10)).unwrap();
        assert_eq!(log.log_start(), off(10));
        assert_eq!(send(&mut log, 1, 0, 8, 2), Ok((8, true)), "may outlive its segment");
    }
}

#[test]
fn i12_id_05_a_silent_producer_is_forgotten_when_somebody_looks_and_may_begin_anywhere() {
    let (disk, mut log) = new_log(LogConfig { producer_expiration_ms: 500, ..small() });
    send(&mut log, 1, 4, 0, 1).unwrap();
    // OP-15: a clock that jumps ahead forgets nobody by itself, so a batch that is sent again is no second one.
    let late = log.append(&idempotent(1, 0, 77, 1), EPOCH, at(90_000));
    assert!(matches!(late, Err(AppendError::Sequence(SequenceError::StaleEpoch { found: 0, current: 4, .. }))));
    assert!(log.append(&idempotent(1, 4, 0, 1), EPOCH, at(90_000)).unwrap().duplicate);
    assert_eq!(log.expire_producers(at(1499)), 0);
    assert_eq!(log.expire_producers(at(1500)), 1);
    assert_eq!(log.producers().count(), 0, "nothing of it stays in memory");
    assert_eq!(send(&mut log, 1, 0, 77, 1), Ok((1, false)));
    let point = log.close_clean().unwrap();
    let config = LogConfig { producer_expiration_ms: 500, ..small() };
    let (log, _) = Log::open(Arc::new(disk), DIR, config, clean(point.0), at(1500)).unwrap();
    assert_eq!(log.producers().count(), 0, "and none of the snapshot, for whom the time is over");
}

#[test]
fn i13_producers_are_listed() {
    let (_, mut log) = new_log(small());
    send(&mut log, 9, 2, 5, 3).unwrap();
    let infos: Vec<_> = log.producers().map(|p| (p.producer_id, p.epoch, p.last_sequence, p.last_timestamp)).collect();
    assert_eq!(infos, [(9, 2, 7, 1000)]);
}

#[test]
fn producers_above_the_limit_push_out_the_most_silent() {
    let (_, mut log) = new_log(LogConfig { producers_max: 10, ..small() });
    for id in 0..11 {
        log.append(&idempotent(id, 0, 0, 1), EPOCH, at(1000 + id)).unwrap();
    }
    let ids: Vec<_> = log.producers().map(|p| p.producer_id).collect();
    assert_eq!(ids, (1..11).collect::<Vec<_>>());
    assert_eq!(send(&mut log, 0, 0, 5, 1), Ok((11, false)), "accepted as unknown");
}

#[test]
fn batches_are_stored_verbatim_but_for_offset_and_epoch() {
    let (_, mut log) = new_log(small());
    put(&mut log, &stamped(&[5, 6]));
    let batch = stamped(&[7]);
    let appended = log.append(&batch, LeaderEpoch(3), at(1000)).unwrap();
    assert_eq!((appended.base_offset, appended.last_offset, appended.log_append_time), (off(2), off(2), -1));
    let bytes = log.read(off(2), 1000, false, off(3)).unwrap().unwrap().read().unwrap();
    let header = &headers(&bytes)[0];
    assert_eq!((header.base_offset, header.leader_epoch, header.crc), (2, 3, batch.header.crc));
    assert_eq!(&bytes[61..], &batch.body[..]);
}

#[test]
fn p26_log_append_time_is_answered() {
    let (_, mut log) = new_log(small());
    let mut batch = stamped(&[5]);
    batch.header.set_timestamp_type(TimestampType::LogAppendTime);
    batch.header.max_timestamp = 77;
    batch.header.crc = batch.header.crc_with(&batch.body);
    assert_eq!(log.append(&batch, EPOCH, at(77)).unwrap().log_append_time, 77);
}

#[test]
fn p22_a_batch_over_segment_bytes_is_refused() {
    let (_, mut log) = new_log(small());
    let error = log.append(&checked(sized(1, 1500)), EPOCH, at(1000)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::RecordListTooLarge);
    assert_eq!(log.log_end(), off(0));
}

#[test]
fn segments_roll_by_size_and_by_record_time() {
    let (disk, mut log) = new_log(LogConfig { segment_ms: 100, ..small() });
    put(&mut log, &checked(sized(1, 900)));
    put(&mut log, &checked(sized(1, 900)));
    assert_eq!(log.segment_count(), 2);
    put(&mut log, &stamped(&[1100]));
    assert_eq!(log.segment_count(), 2, "100 ms is not more than 100 ms");
    let point = log.close_clean().unwrap();
    let (mut log, _) = open(&disk, LogConfig { segment_ms: 100, ..small() }, clean(point.0));
    put(&mut log, &stamped(&[1101]));
    assert_eq!(log.segment_count(), 3, "the first timestamp is known after a restart");
    assert_eq!(contents(&mut log, 0), [(0, 0), (1, 1), (2, 2), (3, 3)]);
}

#[test]
fn an_older_leader_epoch_is_fenced() {
    let (_, mut log) = new_log(small());
    log.begin_epoch(LeaderEpoch(4));
    let error = log.append(&stamped(&[1]), LeaderEpoch(3), at(1000)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotLeaderOrFollower);
}

#[test]
fn l11_epochs_end_where_the_next_began() {
    let answer = |epoch, offset| Some(EpochOffset { epoch: LeaderEpoch(epoch), offset: off(offset) });
    let (disk, mut log) = new_log(small());
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(0)), None);
    log.begin_epoch(LeaderEpoch(0));
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(0)), answer(0, 0), "empty log");
    log.append(&stamped(&[1, 2]), LeaderEpoch(0), at(1000)).unwrap();
    log.begin_epoch(LeaderEpoch(2));
    log.append(&stamped(&[1]), LeaderEpoch(3), at(1000)).unwrap();
    let point = log.close_clean().unwrap();
    for hint in [clean(point.0), unclean(0)] {
        let (log, _) = open(&disk, small(), hint);
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(0)), answer(0, 2));
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(1)), answer(0, 2), "an epoch that wrote nothing");
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(3)), answer(3, 3), "the current one ends at the log end");
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(4)), None);
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(-1)), None, "stands for no epoch");
        assert_eq!(log.end_offset_for_epoch(LeaderEpoch(-2)), answer(-2, 0), "below all");
        assert_eq!((log.epoch_at(off(1)), log.epoch_at(off(2))), (Some(LeaderEpoch(0)), Some(LeaderEpoch(3))));
    }
}
