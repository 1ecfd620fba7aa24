//! Who is a member, and what members may do: joining, ids, limits, heartbeats, leaving, static membership, admin views.

use super::{GroupSettings, check, check_with};

#[test]
fn g03_new_dynamic_members_are_told_an_id_first() {
    check(
        "m1 join -> 79
         x describe -> 0 Empty \"\" \"\"
         x list -> 0 g()=Empty/classic
         m1 beat gen=0 -> 25
         m1 leave -> 0 0
         x describe -> 69 Dead \"\" \"\"
         m1 join -> 25",
    );
}

#[test]
fn g03_gr02_old_and_static_clients_join_at_once() {
    check(
        "m1 join v0 -> gen 1 range led by m1 of m1
         m1 sync v0 give=m1:A -> got \"A\"
         m2 join v3 g=h -> gen 1 range led by m2 of m2
         m3 join v5 g=i instance=s -> gen 1 range led by m3 of m3
         m4 join v4 g=j -> 79
         m4 join v4 g=j -> gen 1 range led by m4 of m4",
    );
}

#[test]
fn g03_promised_ids_expire_with_the_session_timeout() {
    check(
        "m1 join session=6000 -> 79
         wait 5999
         x list -> 0 g()=Empty/classic
         wait 1
         x list -> 0
         m1 join -> 25",
    );
}

#[test]
fn g05_refused_joins() {
    check(
        "m1 join g= -> 24
         m1 join session=5999 -> 26
         m1 join session=1800001 -> 26
         m1 join id=stranger -> 25
         m1 join type= -> 23
         m1 join protocols= -> 23
         x list -> 0
         m1 join v3 protocols=range,rr -> gen 1 range led by m1 of m1
         m2 join v3 type=connect -> 23
         m2 join v3 protocols=sticky -> 23
         m2 join id=stranger -> 25
         m2 join v3 protocols=rr,range -> ...
         m1 join v3 protocols=range,rr -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1",
    );
}

#[test]
fn g06_a_repeated_protocol_name_is_refused() {
    check("m1 join v3 protocols=range,range -> 23");
}

#[test]
fn g07_rebalance_timeouts_of_zero_and_below_are_accepted() {
    check(
        "m1 join v1 rebalance=0 -> gen 1 range led by m1 of m1
         wait 100
         m1 sync give=m1:A -> got \"A\"
         m2 join v1 rebalance=-1 g=h -> gen 1 range led by m2 of m2
         wait 100
         m2 sync g=h -> got \"\"",
    );
}

#[test]
fn g07_v0_waits_for_the_session_timeout() {
    check(
        "m1 join v0 session=20000 rebalance=1 -> gen 1 range led by m1 of m1
         m1 sync v0 give=m1:A -> got \"A\"
         m2 join v0 session=6000 rebalance=1 -> ...
         wait 10000
         m1 beat v0 -> 27
         wait 10000
         m2 <- gen 2 range led by m2 of m2
         m1 beat v0 -> 25",
    );
}

#[test]
fn g13_silent_members_are_removed_after_the_session_timeout() {
    check(
        "m1 join v3 session=6000 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         wait 5999
         m1 beat -> 0
         wait 5999
         m1 beat -> 0
         wait 6000
         m1 beat -> 25
         m1 join -> 25
         x describe -> 0 Empty \"consumer\" \"\"",
    );
}

#[test]
fn g13_commits_and_repeated_joins_keep_a_member_alive() {
    check(
        "m1 join v3 session=6000 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         wait 5000
         m1 commit t:0=1 -> t:0 0
         wait 5000
         m1 sync -> got \"A\"
         wait 5000
         m1 beat -> 0",
    );
}

#[test]
fn g16_refused_heartbeats() {
    check(
        "m1 beat g= -> 24
         m1 beat id=m1 -> 25
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m1 beat id=stranger gen=9 -> 25
         m1 beat gen=0 -> 22
         m1 beat gen=2 -> 22
         m1 beat -> 0",
    );
}

#[test]
fn g17_leaving_is_answered_per_member_from_v3_on() {
    check(
        "m1 leave v2 id=m1 -> 25
         m1 leave v3 id=m1 -> 0 25
         m1 leave g= -> 24
         m1 leave members= -> 0
         m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync give=m1:A,m2:B -> got \"A\"
         m2 sync -> got \"B\"
         m2 leave members=m2,stranger -> 0 0 25
         m1 beat -> 27
         m2 beat -> 25
         m1 join v3 -> gen 3 range led by m1 of m1
         m1 leave v1 -> 0
         x describe -> 0 Empty \"consumer\" \"\"",
    );
}

#[test]
fn g17_a_member_that_leaves_ends_its_own_waiting_request() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m2 sync -> ...
         m2 leave -> 0 0
         m2 <- 25
         m1 beat -> 27",
    );
}

#[test]
fn g18_a_static_member_returns_without_a_rebalance() {
    check(
        "m1 join instance=a -> gen 1 range led by m1 of m1
         m2 join instance=b -> ...
         m1 join instance=a -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync instance=a give=m1:A,m2:B -> got \"A\"
         m2 sync instance=b -> got \"B\"
         # the follower
         m2 join id= instance=b -> gen 2 range led by m1
         m2 sync instance=b -> got \"B\"
         m1 beat instance=a -> 0
         m2 beat id=m2 instance=b -> 82
         m2 join id=m2 instance=b -> 82
         m2 commit id=m2 instance=b t:0=1 -> t:0 82
         m2 sync id=m2 instance=b -> 82
         m2 leave id=m2 instance=b -> 0 82 m2
         m2 beat instance=b -> 0
         # the leader
         m1 join id= instance=a -> gen 2 range led by m1#2 of m1#2,m2#2 skip
         m1 sync instance=a -> got \"A\"
         m2 beat -> 0
         restart
         m1 beat -> 0
         m2 beat -> 0
         m2 beat instance=c -> 25",
    );
}

#[test]
fn g18_before_v9_a_returned_leader_is_not_told_that_it_leads() {
    check(
        "m1 join v8 instance=a -> gen 1 range led by m1 of m1
         m1 sync instance=a give=m1:A -> got \"A\"
         m1 join v8 id= instance=a -> gen 1 range led by m1
         m1 sync instance=a -> got \"A\"",
    );
}

#[test]
fn g18_a_returning_static_member_that_changes_the_protocol_rebalances() {
    check(
        "m1 join instance=a protocols=range,rr -> gen 1 range led by m1 of m1
         m1 sync instance=a give=m1:A -> got \"A\"
         m1 join id= instance=a protocols=sticky -> 23
         m1 join id= instance=a protocols=rr,range -> gen 2 rr led by m1#2 of m1#2
         # and so does one that returns while the leader assigns to its former id
         m1 join id= instance=a protocols=rr,range -> gen 3 rr led by m1#3 of m1#3",
    );
}

#[test]
fn g18_an_instance_that_returns_during_a_rebalance_fences_its_waiting_former_self() {
    check(
        "m1 join instance=a -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join instance=b -> ...
         m2 join id= instance=b -> ...
         m2 <- 82
         m1 join instance=a -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m2 sync instance=b -> ...
         m2 join id= instance=b -> ...
         m2 <- 82
         m1 beat -> 27
         m1 join instance=a -> gen 3 range led by m1 of m1,m2#2
         m2 <- gen 3 range led by m1",
    );
}

#[test]
fn g18_leaving_by_instance_id_alone_works_and_the_empty_instance_is_one() {
    check(
        "m1 join instance= -> gen 1 range led by m1 of m1
         x leave id= instance=b -> 0 25 <>
         x leave id= instance= -> 0 0 <>
         m1 beat -> 25",
    );
}

#[test]
fn g19_describe_groups() {
    check(
        "x describe v5 -> 0 Dead \"\" \"\"
         x describe v6 times=2 -> 69 Dead \"\" \"\" | 69 Dead \"\" \"\"
         m1 join v3 -> gen 1 range led by m1 of m1
         x describe -> 0 CompletingRebalance \"consumer\" \"\" m1=
         m1 sync give=m1:A -> got \"A\"
         x describe v0 -> 0 Stable \"consumer\" \"range\" m1=A
         m2 join v3 -> ...
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1=A m2=
         m1 leave -> 0 0
         m2 <- gen 2 range led by m2 of m2
         m2 leave -> 0 0
         x describe -> 0 Empty \"consumer\" \"\"",
    );
}

#[test]
fn g19_assignments_are_over_once_the_next_rebalance_was_interrupted() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         x describe -> 0 CompletingRebalance \"consumer\" \"\" m1=A m2=
         m2 leave -> 0 0
         x describe -> 0 PreparingRebalance \"consumer\" \"\" m1=
         m1 join v3 -> gen 3 range led by m1 of m1
         x describe -> 0 CompletingRebalance \"consumer\" \"\" m1=
         m1 sync give=m1:A -> got \"A\"
         x describe -> 0 Stable \"consumer\" \"range\" m1=A",
    );
}

#[test]
fn g20_list_groups_with_filters() {
    check(
        "a commit admin g=simple t:0=1 -> t:0 0
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         x list -> 0 g(consumer)=Stable/classic simple()=Empty/classic
         x list v3 -> 0 g(consumer)=/ simple()=/
         x list v4 states=EMPTY -> 0 simple()=Empty/
         x list states=stable,empty types=CLASSIC -> 0 g(consumer)=Stable/classic simple()=Empty/classic
         x list states=nonsense -> 0
         x list types=consumer -> 0",
    );
}

#[test]
fn g21_delete_groups() {
    check(
        "x delete -> 69
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:A -> got \"A\"
         m1 commit t:0=7 -> t:0 0
         x delete -> 68
         m1 leave -> 0 0
         x delete times=2 -> 0
         x fetch t:0 -> 0 0 [t:0=-1]
         x list -> 0
         m2 join -> 79
         x delete -> 0
         m2 join -> 25
         restart
         x list -> 0",
    );
}

#[test]
fn g22_a_group_that_only_holds_offsets_can_be_joined() {
    check(
        "x commit admin t:0=7 -> t:0 0
         m1 join -> 79
         m1 join -> gen 1 range led by m1 of m1
         m1 fetch t:0 -> 0 0 [t:0=7]",
    );
}

#[test]
fn gr06_group_max_size() {
    let settings = GroupSettings { initial_rebalance_delay_ms: 0, group_size_max: 2, ..GroupSettings::default() };
    check_with(
        settings,
        "m1 join v3 -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join v3 -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m3 join v3 -> 81
         m3 join -> 81
         m2 leave -> 0 0
         m3 join -> 79
         m4 join -> 79
         m5 join -> 81
         m1 join v3 -> ...
         m3 join -> ...
         m4 join -> 81
         wait 10000
         m1 <- gen 3 range led by m1 of m1,m3
         m3 <- gen 3 range led by m1",
    );
}

#[test]
fn gr06_a_static_instance_returns_to_a_full_group_and_a_lowered_limit_shrinks_one() {
    check(
        "m1 join instance=a -> gen 1 range led by m1 of m1
         m2 join v3 -> ...
         m1 join -> gen 2 range led by m1 of m1,m2
         m2 <- gen 2 range led by m1
         m1 sync give=m1:A,m2:B -> got \"A\"
         limit 2
         m1 join id= instance=a -> gen 2 range led by m1#2 of m1#2,m2 skip
         limit 1
         m1 join v8 instance=a -> ...
         m2 join v3 -> 81
         wait 60000
         m1 <- gen 3 range led by m1#2 of m1#2",
    );
}

#[test]
fn limits_on_groups_and_bytes() {
    let settings = GroupSettings {
        initial_rebalance_delay_ms: 0,
        groups_max: 1,
        member_bytes_max: 40,
        ..GroupSettings::default()
    };
    let long = "x".repeat(super::super::NAME_BYTES_MAX + 1);
    let script = format!(
        "x commit admin g={long} t:0=1 -> t:0 24
         m1 join v3 g={long} -> 24
         m1 join v3 type={long} -> 42
         m1 join v5 instance={long} -> 42
         m1 join v3 protocols=range:t+u+ttttttttttttttttttttttttttttttttttt -> 44
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync give=m1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA -> 44
         m1 sync give=m1:A -> got \"A\"
         m2 join v3 g=h -> 44
         m2 join g=h -> 44
         x commit admin g=h t:0=1 -> t:0 44
         x commit admin g=h nothing:0=1 -> nothing:0 3",
    );
    check_with(settings, &script);
}

#[test]
fn a_member_knows_a_few_protocols_at_most() {
    let protocols = |count| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>().join(",");
    let (most, more) = (protocols(16), protocols(17));
    check(&format!(
        "m1 join v3 protocols={more} -> 44
         m1 join v3 protocols={most} -> gen 1 p0 led by m1 of m1
         c1 here g=k topics=t -> ep 2 t:0+1+2
         m2 join v3 g=k protocols={more} -> 44
         m2 join v3 g=k protocols={most} -> gen 2 p0",
    ));
}

#[test]
fn g03_a_promised_id_is_kept_for_a_minute_at_most() {
    check(
        "m1 join session=1800000 -> 79
         m2 join session=10000 -> 79
         wait 10000
         m2 join session=10000 -> 25
         wait 49999
         x list -> 0 g()=Empty/classic
         wait 1
         x list -> 0
         m1 join session=1800000 -> 25",
    );
}
