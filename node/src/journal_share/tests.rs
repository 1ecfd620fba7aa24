use super::*;

const CALM: usize = 500;
const BUSY: usize = 60;

fn share(journal_calm_bytes: usize, journal_bytes: usize) -> JournalShare {
    JournalShare::new(&Limits { journal_calm_bytes, journal_bytes, ..Limits::default() })
}

/// Appends so many bytes in each millisecond of a span; gives what is in force at its end.
fn load(share: &JournalShare, span: std::ops::Range<u64>, bytes_per_ms: usize) -> usize {
    span.map(|ms| share.note(bytes_per_ms, MonoMs(ms))).last().unwrap()
}

#[test]
fn the_share_falls_under_high_load_and_rises_when_it_is_over() {
    let share = share(CALM, BUSY);
    assert_eq!(share.bytes(), CALM);
    assert_eq!(load(&share, 1_000..2_000, 340_000), CALM);
    assert_eq!(load(&share, 2_000..2_200, 360_000), BUSY);
    assert_eq!(load(&share, 2_200..4_000, 300_000), BUSY, "a little less is no reason to change");
    assert_eq!(load(&share, 4_000..4_200, 270_000), CALM);
    assert_eq!(load(&share, 4_200..6_000, 300_000), CALM, "nor is a little more");
    load(&share, 6_000..6_200, 900_000);
    assert_eq!(share.note(1, MonoMs(60_000)), CALM, "nothing came for a minute");
}

#[test]
fn the_share_is_small_for_a_while_after_the_journal_had_to_wait() {
    let share = share(CALM, BUSY);
    load(&share, 0..1_000, 10);
    share.hurry();
    assert_eq!(load(&share, 1_000..1_060, 10), BUSY);
    assert_eq!(load(&share, 1_060..2_900, 10), BUSY);
    assert_eq!(load(&share, 2_900..3_200, 10), CALM);
}

#[test]
fn what_counts_is_the_rate_of_a_whole_window() {
    let share = share(CALM, BUSY);
    load(&share, 0..1_000, 10);
    share.note(16 << 20, MonoMs(1_000));
    assert_eq!(load(&share, 1_001..1_200, 0), CALM, "a burst is no load yet");
    share.note(32 << 20, MonoMs(1_200));
    assert_eq!(load(&share, 1_201..1_249, 0), CALM, "not before the window is over");
    assert_eq!(load(&share, 1_249..1_260, 0), BUSY);
    assert_eq!(load(&share, 1_260..1_400, 0), CALM);
}

#[test]
fn time_that_stands_still_or_goes_back_harms_nothing() {
    let share = share(CALM, BUSY);
    for ms in [5_000, 5_000, 0, 4_000, u64::MAX, u64::MAX, 7] {
        let bytes = share.note(usize::MAX / 8, MonoMs(ms));
        assert!(bytes == CALM || bytes == BUSY);
    }
}

#[test]
fn the_share_is_small_while_much_waits_in_memory() {
    let share = share(CALM, BUSY);
    share.keep(0, 40 << 20);
    assert_eq!(share.note(1, MonoMs(1_000)), CALM);
    share.keep(0, 25 << 20);
    assert_eq!(share.note(1, MonoMs(1_001)), BUSY);
    share.keep(25 << 20, 1 << 20);
    assert_eq!(share.note(1, MonoMs(1_002)), CALM);
}

#[test]
fn without_a_journal_nothing_goes_there() {
    let share = share(CALM, 0);
    assert_eq!(load(&share, 0..1_000, 900_000), 0);
}
