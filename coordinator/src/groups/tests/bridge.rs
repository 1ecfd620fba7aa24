//! Members that speak the classic protocol in a KIP-848 group.

use super::heartbeats::eager;
use super::{check, check_with};

#[test]
fn n16_a_classic_member_takes_part() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         m1 join -> 79
         m1 join -> gen 3 range
         m1 sync -> has nothing
         m1 beat -> 0
         x look -> Reconciling 3/3 uniform | c1@2 t:0+1+2+3 > t:0+1 | m1~3 nothing > t:2+3
         c1 here -> ep 2 t:0+1
         m1 beat -> 0
         c1 here owned=t:0+1 -> ep 3
         # what it waits for is free
         m1 beat -> 27
         m1 sync -> has nothing
         m1 join -> gen 3 range
         m1 sync -> has t:2+3
         m1 beat -> 0
         x look -> Stable 3/3 uniform | c1@3 t:0+1 | m1~3 t:2+3
         x list -> 0 g(consumer)=Stable/consumer
         m1 leave -> 0 0
         x look -> Assigning 4/3 uniform | c1@3 t:0+1
         c1 here -> ep 4 t:0+1+2+3",
    );
}

#[test]
fn n16_a_classic_member_gives_back_by_joining_again() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         m1 join v3 -> gen 3 range
         c1 here owned=t:0+1+2+3 -> ep 2 t:0+1
         c1 here owned=t:0+1 -> ep 3
         m1 join v3 -> gen 3 range
         m1 sync -> has t:2+3
         c2 here topics=t -> ep 4 nothing
         m1 beat -> 27
         m1 sync -> 27
         # cooperative: it still owns both, and learns from its assignment which one to give back
         m1 join v3 protocols=range:t/t:2+3 -> gen 3 range
         m1 sync -> has t:2
         x look -> Reconciling 4/4 uniform | c1@3 t:0+1 | c2@4 nothing > t:3 | m1~3 t:2+3 > t:2
         m1 beat -> 27
         m1 join v3 protocols=range:t/t:2 -> gen 4 range
         m1 sync -> has t:2
         c2 here -> ep 4 t:3
         c1 here -> ep 4
         x look -> Stable 4/4 uniform | c1@4 t:0+1 | c2@4 t:3 | m1~4 t:2",
    );
}

#[test]
fn n16_who_may_not_take_part() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         m1 join type=connect -> 23
         m1 join protocols= -> 23
         m1 join protocols=range,range -> 23
         m1 join v3 protocols=range:rawnonsense -> 23
         m1 join v3 session=1 -> 26
         m1 join v3 protocols=range,rr -> gen 3 range
         m2 join v3 protocols=sticky -> 23
         m2 join v3 protocols=sticky,rr -> gen 4 sticky
         m2 sync protocol=sticky -> has nothing
         m1 join v5 instance=s id=m9 protocols=rr -> 25
         m1 join id=m9 protocols=rr -> 25",
    );
}

#[test]
fn n16_requests_of_classic_members_are_checked() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         m1 join v3 -> gen 3 range
         m1 sync gen=2 -> 22
         m1 sync type=connect -> 23
         m1 sync protocol=rr -> 23
         m1 beat gen=4 -> 22
         m2 beat id=stranger -> 25
         c1 beat id=c1 gen=2 -> 25
         c1 sync id=c1 gen=2 -> 25
         m1 commit v8 t:0=1 -> t:0 0
         m1 commit gen=4 t:0=1 -> t:0 22
         m1 commit gen=2 t:0=1 -> t:0 22
         m1 fetch as=m1 at=2 t:0 -> 0 22 []
         m1 fetch as=m1 at=3 t:0 -> 0 0 [t:0=1]
         m1 leave members=m1,stranger -> 0 0 25",
    );
}

#[test]
fn n16_static_classic_members() {
    check_with(
        eager(),
        "c1 here topics=u -> ep 2 u:0+1+2
         m1 join v5 instance=s -> gen 3 range
         m1 sync -> has t:0+1+2
         m2 join v5 instance=s -> gen 3 range
         m2 sync -> has t:0+1+2
         m1 beat instance=s -> 82
         m1 join v5 instance=s -> 82
         m1 beat -> 25
         x leave members= instance=s -> 0
         c2 here topics=t instance=s -> ep 3 t:0+1+2
         m2 beat instance=s -> 82
         x leave id= instance=s -> 0 0 <>
         x look -> Assigning 4/3 uniform | c1@2 u:0+1+2",
    );
}

#[test]
fn n16_classic_members_that_are_silent_or_late_are_expelled() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         # never syncs
         m1 join v3 session=30000 rebalance=20000 -> gen 3 range
         wait 19999
         x look -> Reconciling 3/3 uniform | c1@2 t:0+1+2 > t:0+1 | m1~3 nothing > t:2
         c1 here -> ep 2 t:0+1
         wait 1
         m1 beat -> 25
         # no heartbeat
         m2 join v3 session=30000 rebalance=20000 -> gen 5 range
         m2 sync -> has nothing
         wait 29999
         c1 here owned=t:0+1 -> ep 5
         wait 1
         m2 beat -> 25
         # told to join again, and does not
         m3 join v3 session=30000 rebalance=20000 -> gen 7 range
         m3 sync -> has t:2
         c2 here topics=t -> ep 8 nothing
         m3 beat -> 27
         wait 19999
         m3 beat -> 27
         c1 here -> ep 5 t:0
         wait 1
         m3 beat -> 25
         c2 here -> ep 9",
    );
}

#[test]
fn a_member_may_change_its_protocol_under_the_same_id() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         c2 here topics=u -> ep 3 u:0+1+2
         c1 join v3 id=c1 -> gen 3 range
         c1 sync id=c1 -> has t:0+1+2
         x look -> Stable 3/3 uniform | c1~3 t:0+1+2 | c2@3 u:0+1+2
         c1 here topics=t -> ep 3 t:0+1+2
         x look -> Stable 3/3 uniform | c1@3 t:0+1+2 | c2@3 u:0+1+2",
    );
}

#[test]
fn gr08_classic_members_go_on_after_a_restart() {
    check_with(
        eager(),
        "c1 here topics=u -> ep 2 u:0+1+2
         m1 join v3 session=10000 -> gen 3 range
         m1 sync -> has t:0+1+2
         restart
         m1 beat -> 0
         m1 sync -> has t:0+1+2
         wait 10000
         m1 beat -> 25",
    );
}

#[test]
fn a_group_without_members_makes_room_for_the_other_protocol() {
    check(
        "c1 here topics=t -> ep 2 t:0+1+2
         c1 commit gen=2 t:0=5 -> t:0 0
         c1 here epoch=-1 -> ep -1
         m1 join -> 79
         x list -> 0 g(consumer)=Empty/consumer
         m1 join -> gen 1 range led by m1 of m1
         x list -> 0 g(consumer)=CompletingRebalance/classic
         m1 sync give=m1:A -> got \"A\"
         m1 fetch t:0 -> 0 0 [t:0=5]
         m1 leave -> 0 0
         m2 join -> 79
         c2 here topics=t -> ep 2 t:0+1+2
         x list -> 0 g(consumer)=Stable/consumer
         c2 fetch as=c2 at=2 t:0 -> 0 0 [t:0=5]
         restart
         c2 here -> ep 2",
    );
}
