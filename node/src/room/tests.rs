//! Borders of the levels, and that they do not flutter.

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn volume(total_bytes: u64, usable_bytes: u64) -> Space {
    Space { total_bytes, usable_bytes, inodes: None }
}

#[test]
fn the_reserve_follows_the_volume_and_leaves_tiny_ones_usable() {
    let of = |total| reserve_bytes(-1, volume(total, 0));
    assert_eq!(of(64 * MIB), 8 * MIB);
    assert_eq!(of(128 * MIB), 16 * MIB);
    assert_eq!(of(GIB), 64 * MIB);
    assert_eq!(of(50 * GIB), GIB / 2);
    assert_eq!(of(4096 * GIB), GIB);
    assert_eq!(reserve_bytes(5 * MIB as i64, volume(GIB, 0)), 5 * MIB, "what is set is taken");
    assert_eq!(reserve_bytes(0, volume(GIB, 0)), 0);
}

#[test]
fn op_10_levels_change_at_their_borders_and_do_not_flutter() {
    let mut level = Level::default();
    let trace = |level: &mut Level, free: &[u64]| {
        let rooms = free.iter().map(|free| {
            *level = level.next(volume(GIB, free * MIB), 64 * MIB, 0);
            level.room
        });
        rooms.collect::<Vec<_>>()
    };
    use Room::{Enough, Low, Out};
    assert_eq!(trace(&mut level, &[900, 64, 63, 64, 71, 72, 64]), [Enough, Enough, Low, Low, Low, Enough, Enough]);
    assert_eq!(trace(&mut level, &[16, 15, 16, 17, 18, 16, 0]), [Low, Out, Out, Out, Low, Low, Out]);
    assert_eq!(trace(&mut level, &[70, 100]), [Low, Enough], "straight up is two steps at most");
    let off = Level::default().next(volume(GIB, 0), 0, 0);
    assert_eq!((off.room, off.spare_bytes()), (Enough, None), "a reserve of nothing refuses nothing");
    let refused = Level::default().next(volume(GIB, 73 * MIB), 64 * MIB, 10 * MIB);
    assert_eq!((refused.room, refused.spare_bytes()), (Low, Some(9 * MIB)), "an append that does not fit ends them");
    let mut level = refused;
    assert_eq!(trace(&mut level, &[73, 73, 74, 73]), [Low, Low, Enough, Enough], "until it fits");
}

#[test]
fn op_10_who_keeps_room_for_later_takes_none_of_what_committed_offsets_need() {
    let at = |free: u64| Level::default().next(volume(GIB, free * MIB), 64 * MIB, 0);
    assert_eq!(at(40).before_out_bytes(), 22 * MIB);
    let less = volume(GIB, 18 * MIB);
    assert_eq!(at(40).next(less, 64 * MIB, 0).room, Room::Low, "when these are gone");
    assert_eq!([at(18), at(17), at(10)].map(|level| level.before_out_bytes()), [0; 3]);
}

#[test]
fn op_10_a_volume_without_inodes_is_as_full_as_one_without_bytes() {
    use Room::{Enough, Low, Out};
    let after = |level: Level, total: u64, usable: u64, reserve_bytes: u64| {
        let inodes = Some(Inodes { total, usable });
        level.next(Space { inodes, ..volume(GIB, 900 * MIB) }, reserve_bytes, 0)
    };
    let mut level = Level::default();
    let rooms = [5000, 656, 655, 700, 163, 183, 184, 737, 738].map(|usable| {
        level = after(level, 65_600, usable, 64 * MIB);
        (level.room, level.lacks_inodes())
    });
    let (low, out) = ((Low, true), (Out, true));
    assert_eq!(rooms, [(Enough, false), (Enough, false), low, low, out, out, low, low, (Enough, false)]);
    assert_eq!(after(Level::default(), 800, 0, 64 * MIB).reserve_inodes, 100, "tiny ones stay usable");
    assert_eq!(after(Level::default(), 1 << 40, 4095, 64 * MIB).room, Low);
    assert_eq!(after(Level::default(), 65_600, 0, 0).room, Enough, "a reserve of nothing refuses nothing");
    assert_eq!(after(Level::default(), 65_600, 656 + 20 * 50, 64 * MIB).look_again_ms(), 50);
    let unlimited = Level::default().next(volume(GIB, 900 * MIB), 64 * MIB, 0);
    assert_eq!((unlimited.room, unlimited.free_inodes), (Enough, None), "who has no limit tells none");
    let both = after(Level::default(), 65_600, 300, GIB);
    assert!(both.room == Low && both.lacks_inodes(), "both are short");
}

#[test]
fn op_10_a_border_that_bytes_passed_is_none_that_inodes_did_nor_the_other_way_round() {
    use Room::{Enough, Low, Out};
    let trace = |looks: &[(u64, u64)]| {
        let mut level = Level::default();
        let rooms = looks.iter().map(|(free, usable)| {
            let inodes = Some(Inodes { total: 65_600, usable: *usable });
            level = level.next(Space { inodes, ..volume(GIB, free * MIB) }, 64 * MIB, 0);
            level.room
        });
        rooms.collect::<Vec<_>>()
    };
    // 656 inodes are kept, and 64 MiB.
    assert_eq!(trace(&[(900, 690), (63, 690), (900, 690)]), [Enough, Low, Enough]);
    assert_eq!(trace(&[(67, 5000), (67, 655), (67, 5000)]), [Enough, Low, Enough]);
    assert_eq!(trace(&[(17, 5000), (17, 100), (17, 5000)]), [Low, Out, Low]);
}

#[test]
fn the_nearer_the_reserve_the_sooner_it_is_looked_again() {
    let after = |free: u64| Level::default().next(volume(1024 * GIB, free), GIB, 0).look_again_ms();
    assert_eq!((after(900 * GIB), after(GIB), after(0)), (1000, 20, 20));
    assert_eq!(after(GIB + 400 * MIB), 100, "at 4 GiB/s that is a fraction of what is left");
}

#[test]
fn op_10_changes_of_configs_have_a_part_of_what_is_left_each_time_that_there_is_no_room() {
    let mut level = Level::default();
    let mut after = |free: u64| {
        level = level.next(volume(GIB, free), 64 * MIB, 0);
        (level.room == Room::Out).then_some((level.outs, level.configs_bytes))
    };
    assert_eq!([900 * MIB, 20 * MIB].map(&mut after), [None, None]);
    let first = Some((1, 3 * MIB));
    assert_eq!([12 * MIB, 9 * MIB, 0].map(&mut after), [first; 3], "whatever they, or others, take of it");
    assert_eq!(after(16 * MIB), Some((1, 4 * MIB)), "the ballast is gone");
    assert_eq!(after(18 * MIB), None);
    assert_eq!(after(0), Some((2, 64 << 10)), "to have logs keep less is always possible");
    assert_eq!([17 * MIB, MIB].map(&mut after), [Some((2, 4 * MIB)); 2], "a quarter of the last quarter at most");
    let inodes = Some(Inodes { total: 65_600, usable: 0 });
    let many = Level::default().next(Space { inodes, ..volume(GIB, 900 * MIB) }, 64 * MIB, 0);
    assert_eq!(many.no_room(), NoRoom { time: 1, configs_bytes: 4 * MIB }, "where it is inodes that are missing");
}
