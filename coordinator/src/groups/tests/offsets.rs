//! Committed offsets.

use super::{GroupSettings, check, check_with};

#[test]
fn o01_unknown_groups_and_partitions_have_no_offset_and_no_error() {
    check(
        "x fetch v1 t:0 t:9 nothing:0 -> 0 nothing:0=-1 t:0=-1 t:9=-1
         x fetch v7 all -> 0
         x fetch v8 t:0 -> 0 0 [t:0=-1]
         x fetch v9 all -> 0 0 []
         x commit admin u:2=4 t:0=5@3/text -> u:2 0, t:0 0
         x fetch v2 all -> 0 t:0=5/text u:2=4
         x fetch v5 t:0 t:1 -> 0 t:0=5@3/text t:1=-1
         x fetch v9 all -> 0 0 [t:0=5@3/text u:2=4]",
    );
}

#[test]
fn o02_commits_without_a_generation() {
    check(
        "x commit admin v2 t:0=5 -> t:0 0
         x commit admin v8 g=h gen=0 t:0=5 -> t:0 22
         x commit admin v9 g=h gen=0 t:0=5 -> t:0 69
         x commit admin gen=0 t:0=5 -> t:0 25
         x commit id=stranger gen=0 t:0=5 -> t:0 25
         m1 join v3 -> gen 1 range led by m1 of m1
         m1 sync -> got \"\"
         x commit admin t:0=6 -> t:0 25
         m1 commit t:0=6 -> t:0 0
         m1 commit gen=0 t:0=7 -> t:0 22
         m1 commit gen=2 t:0=7 -> t:0 22
         m1 commit gen=-1 t:0=7 -> t:0 22
         x commit id=stranger gen=1 t:0=7 -> t:0 25
         m1 leave -> 0 0
         x commit admin t:0=8 -> t:0 0
         x fetch t:0 -> 0 0 [t:0=8]
         m2 join g=h -> 79
         x commit admin g=h gen=0 t:0=5 -> t:0 25
         x commit admin g=h t:0=5 -> t:0 0",
    );
}

#[test]
fn o03_gr04_unknown_partitions_and_long_metadata_are_refused_alone() {
    let most = "é".repeat(4096); // 8,192 bytes, 4,096 UTF-16 units
    let pairs = "😀".repeat(2048); // two units each
    let script = format!(
        "x commit admin t:0=1 t:3=1 t:-1=1 nothing:0=1 u:0=1 -> t:0 0, t:3 3, t:-1 3, nothing:0 3, u:0 0
         x commit admin t:0=2/{most} t:1=2/{most}é u:0=2/{pairs} u:1=2/{pairs}x -> t:0 0, t:1 12, u:0 0, u:1 12
         x fetch t:0 t:1 u:0 u:1 -> 0 0 [t:0=2/{most} t:1=-1 u:0=2/{pairs} u:1=-1]
         x commit admin t:0=3@7 -> t:0 0
         x fetch t:0 -> 0 0 [t:0=3@7]",
    );
    check(&script);
}

#[test]
fn gr04_metadata_and_epoch_come_back_in_all_versions() {
    for commit in 2..=9 {
        for fetch in 1..=9 {
            let epoch = if fetch >= 5 { "@7" } else { "" };
            let (from, to) = if fetch >= 8 { ("0 [", "]") } else { ("", "") };
            check(&format!(
                "x commit v{commit} admin t:0=3@7/text -> t:0 0
                 x fetch v{fetch} t:0 -> 0 {from}t:0=3{epoch}/text{to}",
            ));
        }
    }
}

#[test]
fn o04_offset_values_are_not_checked() {
    check(
        "x commit admin t:0=-1 t:1=-5 t:2=1000000000000 -> t:0 0, t:1 0, t:2 0
         x fetch t:0 t:1 t:2 -> 0 0 [t:0=-1 t:1=-5 t:2=1000000000000]",
    );
}

#[test]
fn o05_refused_partitions_keep_their_place() {
    check("x commit admin nothing:0=1 t:0=1 -> nothing:0 3, t:0 0");
}

#[test]
fn o06_the_empty_group_id_is_refused() {
    check(
        "x commit admin g= t:0=1 nothing:0=1 -> t:0 24, nothing:0 3
         x list -> 0",
    );
}

#[test]
fn o07_the_same_group_twice_is_answered_twice() {
    check(
        "x commit admin t:0=1 -> t:0 0
         x fetch v8 times=2 t:0 -> 0 0 [t:0=1] 0 [t:0=1]",
    );
}

#[test]
fn what_is_named_again_and_again_is_answered_eight_times() {
    let (eight, nine) = (["0 [t:0=1]"; 8].join(" "), ["t:0"; 9].join(" "));
    let partitions = ["t:0=1"; 8].join(" ");
    check(&format!(
        "x commit admin t:0=1 -> t:0 0
         x fetch v8 times=300 t:0 -> 0 {eight}
         x fetch v8 {nine} -> 0 0 [{partitions}]",
    ));
}

#[test]
fn o09_offset_delete() {
    check(
        "x forget t:0 -> 69
         x forget g= t:0 -> 24
         m1 join v3 protocols=range:t -> gen 1 range led by m1 of m1
         m1 sync -> got \"\"
         m1 commit t:0=1 u:0=2 -> t:0 0, u:0 0
         x forget t:0 u:0 u:1 u:9 nothing:0 -> 0, nothing:0 3, t:0 86, u:0 0, u:1 0, u:9 3
         x fetch all -> 0 0 [t:0=1]
         m1 leave -> 0 0
         x forget t:0 -> 0, t:0 0
         x fetch t:0 -> 0 0 [t:0=-1]",
    );
}

#[test]
fn o09_groups_whose_subscription_is_unknown() {
    check(
        "m1 join v3 protocols=range:rawnonsense -> gen 1 range led by m1 of m1
         m1 sync -> got \"\"
         m1 commit t:0=1 -> t:0 0
         x forget t:0 -> 0, t:0 86
         m2 join v3 g=h type=connect protocols=range:rawx -> gen 1 range led by m2 of m2
         x forget g=h t:0 -> 68",
    );
}

#[test]
fn o10_require_stable_has_nothing_pending_to_wait_for() {
    check("x fetch v7 t:0 -> 0 t:0=-1");
}

const DAY: i64 = 86_400_000;

#[test]
fn o11_offsets_of_an_empty_group_live_for_the_retention_after_it_became_empty() {
    let settings = GroupSettings {
        initial_rebalance_delay_ms: 0,
        session_timeout_ms_max: i32::MAX,
        offsets_retention_ms: 7 * DAY,
        retention_check_interval_ms: 600_000,
        ..GroupSettings::default()
    };
    check_with(
        settings,
        "m1 join v3 session=2000000000 protocols=range:t -> gen 1 range led by m1 of m1
         m1 sync -> got \"\"
         m1 commit t:0=1 u:0=2 -> t:0 0, u:0 0
         # 8 days later: what the members read stays, other topics went after the commit's retention
         wait 691200000
         x fetch all -> 0 0 [t:0=1]
         m1 leave -> 0 0
         # 6 days, then 2
         wait 518400000
         restart
         x fetch all -> 0 0 [t:0=1]
         wait 172800000
         x fetch all -> 0 0 []
         x list -> 0",
    );
}

#[test]
fn o11_simple_groups_expire_by_commit_time_and_v2_to_v4_by_their_own_retention() {
    let settings =
        GroupSettings { initial_rebalance_delay_ms: 0, offsets_retention_ms: 7 * DAY, ..GroupSettings::default() };
    check_with(
        settings,
        "x commit admin t:0=1 -> t:0 0
         x commit admin v4 t:1=1 retention=3600000 -> t:1 0
         x commit admin v5 t:2=1 retention=3600000 -> t:2 0
         wait 4800000
         x fetch all -> 0 0 [t:0=1 t:2=1]
         wait 518400000
         x commit admin t:0=2 -> t:0 0
         wait 172800000
         x fetch all -> 0 0 [t:0=2]
         wait 604800000
         x list -> 0",
    );
}

#[test]
fn o11_empty_groups_without_offsets_are_removed() {
    check(
        "m1 join v3 -> gen 1 range led by m1 of m1
         m1 leave -> 0 0
         x list -> 0 g(consumer)=Empty/classic
         wait 600000
         x list -> 0",
    );
}

#[test]
fn deleting_a_topic_takes_its_offsets() {
    check(
        "x commit admin t:0=1 u:0=1 -> t:0 0, u:0 0
         x commit admin g=h t:0=1 -> t:0 0
         drop t
         x fetch all -> 0 0 [u:0=1]
         x fetch g=h all -> 0 0 []
         x commit admin t:0=1 -> t:0 3
         x list -> 0 g()=Empty/classic",
    );
}

/// The log takes 8 MiB as one entry: a request that causes more must not end the process.
#[test]
fn what_no_single_set_can_hold_goes_in_several_and_is_whole_when_it_is_answered() {
    let text = "x".repeat(4096);
    let offsets: String = (0..3000).map(|p| format!(" t:{p}=1/{text}")).collect();
    let answers = (0..3000).map(|p| format!("t:{p} 0")).collect::<Vec<_>>().join(", ");
    let big = "A".repeat(1 << 20);
    let script = format!(
        "grow t 3000
         x commit admin{offsets} -> {answers}
         x fetch t:2999 -> 0 0 [t:2999=1/{text}]
         m1 join v3 g=h -> gen 1 range led by m1 of m1
         m1 sync g=h give=m1:A -> got \"A\"
         m2 join v3 g=h -> ...
         m3 join v3 g=h -> ...
         m4 join v3 g=h -> ...
         m5 join v3 g=h -> ...
         m1 join v3 g=h -> gen 2 range led by m1 of m1,m2,m3,m4,m5
         m2 <- gen 2 range led by m1
         m3 <- gen 2 range led by m1
         m4 <- gen 2 range led by m1
         m5 <- gen 2 range led by m1
         m1 sync g=h give=m1:{big},m2:{big},m3:{big},m4:{big},m5:{big} -> got \"{big}\"
         x describe g=h -> 0 Stable \"consumer\" \"range\" m1={big} m2={big} m3={big} m4={big} m5={big}",
    );
    check(&script);
}
