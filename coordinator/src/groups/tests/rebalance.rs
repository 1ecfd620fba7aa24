//! The rounds: initial delay, joining, syncing, timeouts, restarts.

use super::{GroupSettings, check, check_with};

#[test]
fn g08_leader_gets_the_members_followers_an_empty_list() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join v3 -> ...
         m1 beat -> 27
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m2 sync -> ...
         m1 sync give=m1:A,m2:B -> got \"A\"
         m2 <- got \"B\"",
    );
}

#[test]
fn g08_the_protocol_with_most_first_votes_wins_the_leaders_order_breaks_ties() {
    check(
        "m1 join v3 protocols=range,rr,sticky -> gen 1 range led by m1 of m1
         m2 join v3 protocols=rr,range -> ...
         m1 join v3 protocols=range,rr,sticky -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m3 join v3 protocols=sticky,rr,range -> ...
         m1 join v3 protocols=range,rr,sticky -> ...
         m2 join v3 protocols=rr,range -> gen 3 rr led by m1
         m1 <- gen 3 rr led by m1 of m1,m2,m3
         m3 <- gen 3 rr led by m1",
    );
}

#[test]
fn g09_the_first_member_waits_for_the_initial_delay() {
    check_with(
        GroupSettings::default(),
        "m1 join v3 -> ...
         wait 2999
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1=
         wait 1
         m1 <- gen 1 range led by m1 of m1",
    );
}

#[test]
fn g09_the_delay_is_extended_while_members_come_up_to_the_rebalance_timeout() {
    check_with(
        GroupSettings::default(),
        "m1 join v3 rebalance=7000 -> ...
         wait 2000
         m2 join v3 -> ...
         wait 2000
         m3 join v3 -> ...
         wait 2000
         m4 join v3 -> ...
         wait 999
         m5 join v3 -> ...
         wait 1
         m1 <- gen 1 range led by m1 of m1,m2,m3,m4,m5
         m2 <- gen 1 range led by m1
         m3 <- gen 1 range led by m1
         m4 <- gen 1 range led by m1
         m5 <- gen 1 range led by m1",
    );
}

#[test]
fn gr03_gr06_the_delay_counts_from_the_last_member() {
    check_with(
        GroupSettings::default(),
        "m1 join v3 -> ...
         wait 100
         m2 join v3 -> ...
         wait 2999
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1= m2=
         wait 1
         m1 <- gen 1 range led by m1 of m1,m2
         m2 <- gen 1 range led by m1",
    );
    check("m1 join v3 -> gen 1 range led by m1 of m1"); // with a delay of 0
}

#[test]
fn g09_without_a_delay_the_first_member_waits_for_nobody() {
    check(
        "m1 join -> 79
         m2 join -> 79
         m2 join -> gen 1 range led by m2 of m2
         m2 sync give=m2:A -> got \"A\"
         # the other id is still good
         m1 join -> ...
         m2 beat -> 27
         m2 join -> gen 2 range led by m2 of m1,m2
         m1 <- gen 2 range led by m2",
    );
}

#[test]
fn g09_everybody_may_leave_again_during_the_initial_delay() {
    check_with(
        GroupSettings::default(),
        "m1 join -> 79
         m1 join -> ...
         m1 leave -> 0 0
         m1 <- 25
         restart
         wait 3000
         x describe -> 0 Empty \"consumer\" \"\"",
    );
}

#[test]
fn g10_what_is_allowed_during_a_rebalance() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join v3 -> ...
         # PreparingRebalance
         m1 beat -> 27
         m1 sync -> 27
         m1 commit t:0=5 -> t:0 0
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         # CompletingRebalance
         m1 beat -> 0
         m1 commit t:0=6 -> t:0 27
         m1 commit gen=1 t:0=6 -> t:0 22
         m1 sync give=m1:A -> got \"A\"
         m1 commit t:0=7 -> t:0 0",
    );
}

#[test]
fn one_of_those_who_stay_leads_after_the_leader_left() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 leave -> 0 0
         # its id is before that of m2
         m3 join v5 instance=a -> ...
         m2 join v3 -> gen 3 range led by m2 of m2,m3
         m3 <- gen 3 range led by m2",
    );
}

#[test]
fn g11_who_does_not_rejoin_in_time_is_removed() {
    check(
        "m1 join v3 rebalance=8000 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join v3 rebalance=5000 -> ...
         wait 7999
         m1 beat -> 27
         wait 1
         m2 <- gen 2 range led by m2 of m2
         m1 beat -> 25
         m1 join -> 25",
    );
}

#[test]
fn g11_static_members_that_do_not_rejoin_stay_until_their_session_ends() {
    check(
        "m1 join instance=a rebalance=5000 session=20000 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join v3 rebalance=5000 -> ...
         wait 5000
         m2 <- gen 2 range led by m2 of m1,m2
         m2 sync give=m2:B,m1:A -> got \"B\"
         m1 beat gen=2 -> 0
         m1 sync gen=2 -> got \"A\"",
    );
}

#[test]
fn g11_a_round_to_which_only_absent_static_members_belong_goes_on() {
    check(
        "m1 join instance=a rebalance=0 session=9000 -> gen 1 range led by m1 of m1
         m2 join v3 rebalance=0 -> ...
         wait 0
         m2 <- gen 2 range led by m2 of m1,m2
         m2 leave -> 0 0
         wait 8000
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1=
         wait 1000
         x describe -> 0 Empty \"consumer\" \"\"",
    );
}

#[test]
fn g12_who_joins_but_never_syncs_is_removed() {
    check(
        "m1 join v3 rebalance=7000 session=30000 -> gen 1 range led by m1 of m1
         wait 6999
         m1 beat -> 0
         wait 1
         x describe -> 0 Empty \"consumer\" \"\"
         m1 beat -> 25",
    );
}

#[test]
fn g12_a_follower_that_never_syncs_is_removed_from_a_stable_group() {
    check(
        "m1 join v3 rebalance=7000 session=30000 -> gen 1 range led by m1 of m1
         m2 join v3 rebalance=7000 session=30000 -> ...
         m1 join v3 rebalance=7000 session=30000 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync give=m1:A,m2:B -> got \"A\"
         wait 6999
         m1 beat -> 0
         wait 1
         m1 beat -> 27
         m2 beat -> 25",
    );
}

#[test]
fn g14_rejoining_in_stable() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         # the leader, unchanged: in CompletingRebalance the same generation, in Stable a new one
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m1 join v3 -> gen 2 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 3 range led by m1 of m1,m2
         m2 <- gen 3 range led by m1
         # a follower with changed metadata while the assignment is awaited
         m1 sync id=stranger -> 25
         m2 join v3 protocols=range:u -> ...
         m1 beat -> 27
         m1 join v3 -> gen 4 range led by m1 of m1,m2
         m2 <- gen 4 range led by m1
         m1 sync give=m1:A,m2:B -> got \"A\"
         # a follower, unchanged, then changed
         m2 join v3 protocols=range:u -> gen 4 range led by m1
         m2 join v3 protocols=range:t -> ...
         m1 beat -> 27",
    );
}

#[test]
fn g15_sync_group() {
    check(
        "m1 sync g= -> 24
         m1 sync id=m1 -> 25
         m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync gen=1 -> 22
         m1 sync gen=3 -> 22
         m1 sync id=stranger -> 25
         m1 sync type=connect -> 23
         m1 sync protocol=rr -> 23
         m2 sync give=m1:X,m2:X -> ...
         m1 sync type=consumer protocol=range give=m1:A,stranger:Z -> got \"A\"
         m2 <- got \"\"
         m1 sync give=m1:B -> got \"A\"
         m2 sync -> got \"\"",
    );
}

#[test]
fn g15_a_rebalance_ends_waiting_syncs() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m2 sync -> ...
         m3 join v3 -> ...
         m2 <- 27
         m2 beat -> 27",
    );
}

#[test]
fn gr07_a_repeated_request_replaces_the_waiting_one_which_is_answered() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join -> 79
         m2 join -> ...
         m2 join -> ...
         m2 <- 27
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m2 sync -> ...
         m2 sync -> ...
         m2 <- 27
         m1 sync give=m1:A,m2:B -> got \"A\"
         m2 <- got \"B\"",
    );
}

#[test]
fn gr07_a_rebalance_waits_for_promised_ids_and_no_longer_once_they_are_gone() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join session=6000 -> 79
         m3 join session=60000 -> 79
         m1 join v3 protocols=range:u -> ...
         m3 leave -> 0 0
         wait 5999
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1=
         wait 1
         m1 <- gen 2 range led by m1 of m1",
    );
}

#[test]
fn gr07_new_members_do_not_wait_forever() {
    check(
        "m1 join v3 rebalance=1000000 session=1000000 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join v3 session=6000 -> ...
         wait 299999
         m1 beat -> 27
         wait 1
         m2 <- 25
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1=A",
    );
}

#[test]
fn gr08_a_stable_group_goes_on_after_a_restart() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join -> 79
         m2 join -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync give=m1:A,m2:B -> got \"A\"
         m2 sync -> got \"B\"
         m1 commit t:0=5 -> t:0 0
         wait 9000
         restart
         wait 9000
         m1 beat -> 0
         m2 beat -> 0
         m1 fetch t:0 -> 0 0 [t:0=5]
         m1 commit t:0=6 -> t:0 0
         m2 sync -> got \"B\"
         wait 9999
         m1 beat -> 0
         wait 1
         m2 beat -> 25",
    );
}

#[test]
fn gr08_the_generation_does_not_fall_in_a_restart_before_the_assignment() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m1 join v3 -> gen 2 range led by m1 of m1
         restart
         m1 beat gen=1 -> 22
         m1 commit gen=1 t:0=1 -> t:0 22
         m1 beat -> 0
         m1 sync give=m1:B -> got \"B\"
         m1 leave -> 0 0
         restart
         m2 join v3 -> gen 4 range led by m2 of m2",
    );
}

#[test]
fn gr08_a_rebalance_goes_on_after_a_restart_and_who_left_stays_away() {
    check(
        "m1 join v3 rebalance=8000 -> gen 1 range led by m1 of m1
         m2 join v3 rebalance=8000 -> ...
         m1 join v3 rebalance=8000 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync give=m1:A,m2:B -> got \"A\"
         m2 sync -> got \"B\"
         m1 leave -> 0 0
         restart
         m1 beat -> 25
         m2 beat -> 27
         m3 join -> 79
         m3 join -> ...
         m2 join v3 rebalance=8000 -> gen 3 range led by m2 of m2,m3
         m3 <- gen 3 range led by m2",
    );
}

#[test]
fn gr06_a_thousand_members_are_stable_at_once() {
    let names: Vec<String> = (0..1000).map(|i| format!("m{i}")).collect();
    let settings = GroupSettings { initial_rebalance_delay_ms: 3000, ..GroupSettings::default() };
    let mut world = String::new();
    names.iter().for_each(|name| world.push_str(&format!("{name} join v3 -> ...\n")));
    world.push_str("wait 6000\n");
    let mut sorted = names.clone();
    sorted.sort();
    world.push_str(&format!("m0 <- gen 1 range led by m0 of {}\n", sorted.join(",")));
    names.iter().skip(1).for_each(|name| world.push_str(&format!("{name} <- gen 1 range led by m0\n")));
    check_with(settings, &world);
}
