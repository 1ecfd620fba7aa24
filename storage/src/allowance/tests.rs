//! Writers and looks in any order, beside a volume that knows what is really free.

#![allow(clippy::cast_possible_truncation)]

use pyralog_protocol::Draw;

use super::*;

const FREE: u64 = 10_000;
const RESERVE: u64 = 1_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Appends are not counted between looks, as if the next look came in time.
    NotAccounted,
    /// A look counts from its end: what was claimed before and is written after it is forgotten.
    SeenTooLate,
}

/// Drawn claims, writes and looks; gives the least that was ever free, and how often a claim was refused although there was
/// room after everything was written and seen.
fn least_free(seed: u128, planted: Planted) -> (u64, u32) {
    let allowance = Allowance::default();
    let mut draw = Draw::new(seed);
    let (mut free, mut least, mut wrongly_refused) = (FREE, FREE, 0);
    let mut writing: Vec<u64> = Vec::new();
    let look = |free: u64| {
        let seen = allowance.before_look();
        if planted != Planted::NotAccounted {
            let seen =
                if planted == Planted::SeenTooLate { Seen(allowance.claimed.load(Ordering::Relaxed)) } else { seen };
            allowance.after_look(seen, Some(free.saturating_sub(RESERVE)));
        }
        // A look that finds the reserve begun refuses everything, as the level does.
        free > RESERVE
    };
    let mut open = look(free);
    for _ in 0..400 {
        let bytes = 1 + draw.next_u64() % 700;
        match draw.next_u64() % 10 {
            0..5 if open => {
                if allowance.claim(bytes) {
                    writing.push(bytes);
                } else if writing.is_empty() {
                    look(free);
                    let fits = bytes + RESERVE <= free;
                    wrongly_refused += u32::from(fits && !allowance.claim(bytes));
                    allowance.settle(if fits { bytes } else { 0 });
                }
            }
            5..9 if !writing.is_empty() => {
                let bytes = writing.swap_remove((draw.next_u64() % writing.len() as u64) as usize);
                free = free.saturating_sub(bytes);
                least = least.min(free);
                allowance.settle(bytes);
            }
            9 => open = look(free),
            _ => {}
        }
    }
    (least, wrongly_refused)
}

#[test]
fn op_10_the_reserve_is_not_overrun_however_late_the_next_look_comes() {
    for seed in 0..500 {
        let (least, wrongly_refused) = least_free(seed, Planted::Nothing);
        assert!(least >= RESERVE, "seed {seed}: {least} bytes of a reserve of {RESERVE} were left");
        assert!(least < RESERVE + 700, "seed {seed}: {least} bytes, it stops long before");
        assert_eq!(wrongly_refused, 0, "seed {seed}");
    }
}

#[test]
fn op_10_planted_appends_that_are_not_accounted_overrun_it() {
    assert!((0..50).any(|seed| least_free(seed, Planted::NotAccounted).0 < RESERVE));
}

#[test]
fn op_10_planted_looks_that_forget_what_is_being_written_overrun_it() {
    assert!((0..500).any(|seed| least_free(seed, Planted::SeenTooLate).0 < RESERVE));
}

#[test]
fn what_makes_room_is_counted_and_never_refused() {
    let allowance = Allowance::default();
    assert!(allowance.claim(u64::MAX / 2), "nobody has looked yet");
    allowance.settle(u64::MAX / 2);
    let seen = allowance.before_look();
    allowance.after_look(seen, Some(100));
    allowance.take(80);
    assert!(!allowance.claim(21) && allowance.claim(20));
    allowance.take(80);
    allowance.after_look(seen, None);
    assert!(allowance.claim(1 << 40));
}

#[test]
fn op_10_what_is_refused_keeps_nobody_from_what_there_is_room_for() {
    const ROOM: u64 = 1_000_000;
    let allowance = Allowance::default();
    allowance.after_look(allowance.before_look(), Some(ROOM));
    std::thread::scope(|scope| {
        let small = scope.spawn(|| (0..ROOM).filter(|_| allowance.claim(1)).count());
        while !small.is_finished() {
            assert!(!allowance.claim(ROOM + 1));
        }
        assert_eq!(small.join().ok(), usize::try_from(ROOM).ok());
    });
}
