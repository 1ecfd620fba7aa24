//! Routing against its definition, VLSN by VLSN.

use super::{ROUTING_EPOCHS_MAX, Routing, RoutingEpoch, RoutingError, Vlsn};
use crate::{Draw, PartitionIndex};

fn epoch(from: u64, partitions: i32) -> RoutingEpoch {
    RoutingEpoch { from: Vlsn(from), partitions }
}

#[test]
fn a_key_is_eight_bytes_big_endian() {
    assert_eq!(Vlsn(0x0102_0304_0506_0708).key(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Vlsn::of_key(&[0, 0, 0, 0, 0, 0, 1, 0]), Some(Vlsn(256)));
    assert_eq!(Vlsn::of_key(&[0; 7]), None);
    assert_eq!(Vlsn::of_key(&[0; 9]), None);
    assert_eq!((Vlsn(7).offset(), Vlsn(u64::MAX).offset()), (7, i64::MAX));
}

#[test]
fn older_vlsns_stay_where_they_are_when_partitions_are_added() {
    let routing = Routing::new(3).extended(Vlsn(100), 5).expect("rises");
    assert_eq!(routing.partition(Vlsn(99)), PartitionIndex(0));
    assert_eq!(routing.partition(Vlsn(101)), PartitionIndex(1));
    assert_eq!(routing.partition(Vlsn(103)), PartitionIndex(3));
    assert_eq!((routing.partitions(), routing.epoch_of(Vlsn(100)).0), (5, 1));
}

#[test]
fn the_next_vlsn_of_a_partition_agrees_with_the_route_of_every_vlsn() {
    for seed in 0..300 {
        let mut draw = Draw::new(seed);
        let (mut from, mut partitions, mut epochs) = (0, 0, Vec::new());
        for _ in 0..=draw.next_u64() % 4 {
            partitions += 1 + i32::try_from(draw.next_u64() % 4).expect("small");
            epochs.push(epoch(from, partitions));
            from += 1 + draw.next_u64() % 12;
        }
        let routing = Routing::from_epochs(&epochs).expect("rises");
        for start in 0..60 {
            for partition in 0..=partitions {
                let index = PartitionIndex(partition);
                let named = (start..200).map(Vlsn).find(|vlsn| routing.partition(*vlsn) == index);
                let found = routing.next_in(index, Vlsn(start));
                assert_eq!(named.unwrap_or(Vlsn::MAX.next()), found, "seed {seed}, {partition} from {start}");
            }
        }
    }
}

#[test]
fn lists_that_do_not_rise_are_refused_with_the_place() {
    let refused = |epochs: &[RoutingEpoch]| Routing::from_epochs(epochs).expect_err("refused");
    assert_eq!(refused(&[]), RoutingError::Count { count: 0 });
    assert_eq!(refused(&[epoch(1, 1)]), RoutingError::Order { number: 0, from: Vlsn(1) });
    assert_eq!(refused(&[epoch(0, 1), epoch(0, 2)]), RoutingError::Order { number: 1, from: Vlsn(0) });
    assert_eq!(refused(&[epoch(0, 2), epoch(5, 2)]), RoutingError::Partitions { number: 1, partitions: 2 });
    assert_eq!(refused(&[epoch(0, 0)]), RoutingError::Partitions { number: 0, partitions: 0 });
    let many: Vec<_> = (0..=1_000).map(|n| epoch(n, 1 + i32::try_from(n).expect("small"))).collect();
    assert_eq!(refused(&many), RoutingError::Count { count: ROUTING_EPOCHS_MAX + 1 });
}

#[test]
fn a_change_before_anything_was_written_replaces_the_last_one() {
    let routing = Routing::new(1).extended(Vlsn(0), 4).expect("rises");
    assert_eq!(routing, Routing::new(4));
}

#[test]
fn the_far_end_is_no_panic() {
    let routing = Routing::new(3);
    assert_eq!(routing.next_in(PartitionIndex(0), Vlsn(u64::MAX)), Vlsn::MAX.next());
    assert_eq!(routing.next_in(PartitionIndex(-1), Vlsn(0)), Vlsn::MAX.next());
    assert_eq!(routing.partition(Vlsn(u64::MAX)), PartitionIndex(0));
}

#[test]
fn routings_part_where_the_first_change_is_that_only_one_of_them_has() {
    let two = Routing::new(2);
    let three = two.extended(Vlsn(10), 3).expect("rises");
    let (four, five) = (two.extended(Vlsn(12), 4).expect("rises"), three.extended(Vlsn(10), 5).expect("rises"));
    assert_eq!(
        [two.parts_from(&two), two.parts_from(&Routing::new(2)), two.parts_from(&Routing::new(3))],
        [None, None, Some(Vlsn(0))]
    );
    for (one, other) in [(&two, &three), (&three, &two), (&three, &four), (&four, &three), (&three, &five)] {
        assert_eq!(one.parts_from(other), Some(Vlsn(10)), "{one:?}, {other:?}");
    }
}
