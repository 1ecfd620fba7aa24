//! Groups that change their protocol while they have members.

use super::heartbeats::eager;
use super::{GroupSettings, check_with};
use crate::groups::consumer::Migration;

fn with_policy(upgrade: bool, downgrade: bool) -> GroupSettings {
    let mut settings = eager();
    settings.consumer.migration = Migration { upgrade, downgrade };
    settings
}

#[test]
fn n17_the_first_new_member_converts_a_stable_group() {
    check_with(
        eager(),
        "grow t 4
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:@t:0+1+2+3 -> has t:0+1+2+3
         m1 commit v8 t:0=7 -> t:0 0
         c1 here topics=t -> ep 2 nothing
         x list -> 0 g(consumer)=Reconciling/consumer
         x look -> Reconciling 2/2 uniform | c1@2 nothing > t:2+3 | m1~1 t:0+1+2+3 > t:0+1
         m1 beat -> 27
         m1 commit v8 t:0=8 -> t:0 0
         # eager: it owns nothing when it joins again
         m1 join v3 -> gen 2 range
         m1 sync -> has t:0+1
         c1 here -> ep 2 t:2+3
         c1 fetch as=c1 at=2 t:0 -> 0 0 [t:0=8]
         # the last classic member leaves: nothing is left to convert
         m1 leave -> 0 0
         c1 here -> ep 3 t:0+1+2+3",
    );
}

#[test]
fn n17_who_waits_in_a_classic_round_is_told_to_join_again() {
    check_with(
        eager(),
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         c1 here topics=t -> ep 2 t:0
         m2 <- 27
         x look -> Reconciling 2/2 uniform | c1@2 t:0 | m1~1 nothing > t:1 | m2~1 nothing > t:2",
    );
}

#[test]
fn n17_an_id_that_was_promised_is_good_after_the_change() {
    check_with(
        eager(),
        "m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:@t:0+1+2 -> has t:0+1+2
         m2 join -> 79
         m3 join -> 79
         c1 here topics=t -> ep 2 nothing
         m2 join -> gen 3 range
         # nobody yet
         m3 leave -> 0 25",
    );
    check_with(
        eager(),
        "m1 join -> 79
         c1 here topics=t -> ep 2 t:0+1+2
         m1 join -> gen 3 range",
    );
}

#[test]
fn n17_a_static_member_that_comes_back_in_the_middle_of_a_round_gets_something() {
    check_with(
        eager(),
        "m1 join v5 instance=s -> gen 1 range led by m1 of m1
         c1 here topics=t instance=s -> ep 2 t:0+1+2",
    );
}

#[test]
fn n17_a_cooperative_group_keeps_what_it_may() {
    check_with(
        eager(),
        "grow t 4
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:@t:0+1+2+3 -> has t:0+1+2+3
         c1 here topics=t -> ep 2 nothing
         m1 beat -> 27
         m1 join v3 protocols=range:t/t:0+1+2+3 -> gen 1 range
         m1 sync -> has t:0+1
         c1 here -> ep 2
         m1 beat -> 27
         m1 join v3 protocols=range:t/t:0+1 -> gen 2 range
         m1 sync -> has t:0+1
         c1 here -> ep 2 t:2+3",
    );
}

#[test]
fn n17_static_members_keep_their_partitions_over_the_change() {
    check_with(
        eager(),
        "m1 join v5 instance=s -> gen 1 range led by m1 of m1
         m1 sync give=m1:@t:0+1+2 -> has t:0+1+2
         # the same instance, restarted with the new protocol
         c1 here topics=t instance=s -> ep 1 t:0+1+2
         m1 beat instance=s -> 82
         x look -> Stable 1/1 uniform | c1@1 t:0+1+2",
    );
}

#[test]
fn n17_groups_that_cannot_be_converted() {
    let script = "m1 join v3 type=connect protocols=range:rawx -> gen 1 range led by m1 of m1
         c1 here topics=t -> 69
         m1 beat -> 0
         m2 join v3 g=h protocols=range:rawnonsense -> gen 1 range led by m2 of m2
         c1 here g=h topics=t -> 69
         m3 join v3 g=i -> gen 1 range led by m3 of m3
         m3 sync g=i give=m3:A -> got \"A\"
         c1 here g=i topics=t -> 69
         m4 join v3 g=j -> gen 1 range led by m4 of m4
         m4 sync g=j give=m4:@t:0/data -> has t:0
         c1 here g=j topics=t -> 69
         m4 beat g=j -> 0";
    check_with(eager(), script);
    check_with(
        with_policy(false, true),
        "m1 join v3 -> gen 1 range led by m1 of m1
         c1 here topics=t -> 69
         m1 leave -> 0 0
         c1 here topics=t -> ep 2 t:0+1+2",
    );
    let mut small = eager();
    small.consumer.size_max = 1;
    check_with(
        small,
        "m1 join v3 -> gen 1 range led by m1 of m1
         c1 here topics=t -> 69",
    );
}

#[test]
fn n17_a_leader_that_gives_a_partition_twice() {
    check_with(
        eager(),
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync give=m1:@t:0+1+9,m2:@t:1+2 -> has t:0+1+9
         m2 sync -> has t:1+2
         c1 here topics=t -> ep 3 nothing
         x look -> Reconciling 3/3 uniform | c1@3 nothing > t:1 | m1~2 t:0+1 > t:0 | m2~2 t:2",
    );
}

#[test]
fn n17_the_last_new_member_leaves_a_classic_group_behind() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         m1 join v3 -> gen 3 range
         m2 join v3 -> gen 4 range
         m2 sync -> has nothing
         c1 here -> ep 2 t:0+1
         c1 here owned=t:0+1 -> ep 4
         m1 join v3 -> gen 4 range
         m1 sync -> has t:2
         c1 here epoch=-1 -> ep -1
         x list -> 0 g(consumer)=PreparingRebalance/classic
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1=has t:2 m2=has nothing
         m1 beat -> 27
         m2 beat -> 27
         m1 join v3 -> ...
         m2 join v3 -> gen 5 range led by m1
         m1 <- gen 5 range led by m1 of m1,m2
         c1 here -> 69
         restart
         m1 beat -> 0",
    );
}

#[test]
fn n17_a_session_that_ends_leaves_a_classic_group_behind() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         m1 join v3 session=60000 -> gen 3 range
         m1 sync -> has nothing
         wait 45000
         x list -> 0 g(consumer)=PreparingRebalance/classic
         m1 join v3 -> gen 4 range led by m1 of m1",
    );
}

#[test]
fn n17_without_downgrades_the_group_stays_what_it_is() {
    check_with(
        with_policy(true, false),
        "c1 here topics=t -> ep 2 t:0+1+2
         m1 join v3 -> gen 3 range
         m1 sync -> has nothing
         c1 here epoch=-1 -> ep -1
         m1 beat -> 27
         x look -> Reconciling 4/4 uniform | m1~3 nothing > t:0+1+2
         m1 join v3 -> gen 4 range
         m1 sync -> has t:0+1+2",
    );
    check_with(
        with_policy(false, false),
        "c1 here topics=t -> ep 2 t:0+1+2
         m1 join v3 -> 23
         m1 join -> 23",
    );
}

#[test]
fn n17_a_classic_group_that_would_be_too_large_is_not_made() {
    check_with(
        GroupSettings { group_size_max: 1, ..eager() },
        "c1 here topics=t -> ep 2 t:0+1+2
         m1 join v3 -> gen 3 range
         m2 join v3 -> gen 4 range
         c1 here epoch=-1 -> ep -1
         x list -> 0 g(consumer)=Assigning/consumer
         m1 leave -> 0 0
         x list -> 0 g(consumer)=PreparingRebalance/classic",
    );
}

#[test]
fn n17_the_last_new_static_member_comes_back_with_the_classic_protocol() {
    check_with(
        eager(),
        "c1 here topics=t instance=s -> ep 2 t:0+1+2
         m1 join v3 -> gen 3 range
         m1 sync -> has nothing
         c1 here -> ep 2 t:0+1
         m2 join v5 instance=s -> ...
         m1 beat gen=3 -> 27
         m1 join v3 -> gen 4 range led by m2
         m2 <- gen 4 range led by m2 of m1,m2
         x list -> 0 g(consumer)=CompletingRebalance/classic",
    );
}
