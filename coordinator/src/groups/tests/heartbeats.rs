//! KIP-848 in scripts, and what members and administrators see of it. `c1 here topics=t` joins, `c1 here` stays,
//! `c1 here owned=t:0+1` says what is owned, `c1 here epoch=-1` leaves. The answer shows the member epoch and, if it
//! carries one, the assignment: `ep 2 t:0+1`, `ep 2 nothing`. `x look` shows states and epochs of the group, then each
//! member with epoch, what it holds and, where that is something else, its target.

use std::collections::BTreeMap;

use kafka_protocol::messages as m;
use kafka_protocol::messages::consumer_group_describe_response as described;
use pyralog_protocol::kafka_protocol;

use super::super::subscription::{encode_assignment, read_assignment};
use super::super::{GroupSettings, TopicView};
use super::{Client, Words, World, check, check_with, str};
use crate::command::Command;
use crate::metadata::wire::{topic_id, wire_id};

/// `t:0+1,u:2`
pub(super) fn parse(text: &str) -> BTreeMap<&str, Vec<i32>> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let parsed = parts.map(|part| {
        let (name, partitions) = part.split_once(':').unwrap();
        (name, partitions.split('+').map(|p| p.parse().unwrap()).collect())
    });
    parsed.collect()
}

/// `@t:0+1` is an assignment as consumers write it, `@t:0/x` one with data of an assignor.
pub(super) fn real_assignment(text: &str) -> Option<Vec<u8>> {
    let (named, data) = text.strip_prefix('@')?.split_once('/').unwrap_or((text.strip_prefix('@')?, ""));
    let mut bytes = encode_assignment(1, &parse(named).into_iter().collect::<Vec<_>>());
    if !data.is_empty() {
        bytes.truncate(bytes.len() - 4);
        bytes.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data.as_bytes());
    }
    Some(bytes)
}

pub(super) fn here(world: &World, w: &Words<'_>, client: &Client) -> Command {
    let subscribes = w.opt("topics").is_some() || w.opt("pattern").is_some();
    let joins = subscribes && w.opt("epoch").is_none() && w.opt("owned").is_none() && !w.0.contains(&"changes");
    let epoch = w.number("epoch", if joins { 0 } else { client.epoch });
    let member = match w.opt("id") {
        Some(id) => world.id(id),
        None if client.member.is_empty() => client.name.clone(),
        None => client.member.clone(),
    };
    let owned = w.opt("owned").or((epoch == 0).then_some("")).filter(|owned| *owned != "null").map(|owned| {
        let topic = |(name, partitions): (&str, Vec<i32>)| {
            m::consumer_group_heartbeat_request::TopicPartitions::default()
                .with_topic_id(wire_id(world.topics.topic(name).unwrap().0))
                .with_partitions(partitions)
        };
        parse(owned).into_iter().map(topic).collect()
    });
    let topics =
        w.opt("topics").map(|names| names.split('+').filter(|n| !n.is_empty()).map(|n| str(n).into()).collect());
    let request = m::ConsumerGroupHeartbeatRequest::default()
        .with_group_id(w.group())
        .with_member_id(str(&member))
        .with_member_epoch(epoch)
        .with_instance_id(w.instance())
        .with_rack_id(w.opt("rack").map(str))
        .with_rebalance_timeout_ms(w.number("rebalance", if epoch == 0 { 60_000 } else { -1 }))
        .with_subscribed_topic_names(topics)
        .with_subscribed_topic_regex(w.opt("pattern").map(str))
        .with_server_assignor(w.opt("assignor").map(str))
        .with_topic_partitions(owned);
    Command::ConsumerGroupHeartbeat(request)
}

fn show_all<'a>(world: &World, topics: impl Iterator<Item = (pyralog_protocol::TopicId, &'a [i32])>) -> String {
    let name = |id| world.topics.name_of(id).unwrap_or("gone").to_string();
    let sorted: BTreeMap<String, String> = topics
        .map(|(id, partitions)| (name(id), partitions.iter().map(i32::to_string).collect::<Vec<_>>().join("+")))
        .collect();
    let parts: Vec<String> = sorted.into_iter().map(|(name, partitions)| format!("{name}:{partitions}")).collect();
    if parts.is_empty() { "nothing".to_string() } else { parts.join(",") }
}

pub(super) fn show(world: &World, r: &m::ConsumerGroupHeartbeatResponse) -> String {
    if r.error_code != 0 {
        assert!(r.error_message.is_some() && r.member_epoch == 0 && r.member_id.is_none());
        return r.error_code.to_string();
    }
    let assignment = r.assignment.as_ref().map(|assignment| {
        let topics = assignment.topic_partitions.iter();
        show_all(world, topics.map(|t| (topic_id(&t.topic_id), t.partitions.as_slice())))
    });
    let epoch = r.member_epoch;
    assignment.map_or(format!("ep {epoch}"), |assignment| format!("ep {epoch} {assignment}"))
}

pub(super) fn show_assignment(bytes: &[u8]) -> Option<String> {
    if bytes.len() < 10 || bytes[0] != 0 {
        return None;
    }
    let (named, _) = read_assignment(bytes)?;
    let topic = |(name, partitions): (String, Vec<i32>)| {
        format!("{name}:{}", partitions.iter().map(i32::to_string).collect::<Vec<_>>().join("+"))
    };
    let parts: Vec<String> = named.into_iter().map(topic).collect();
    Some(if parts.is_empty() { "has nothing".to_string() } else { format!("has {}", parts.join(",")) })
}

pub(super) fn show_group(world: &World, g: &described::DescribedGroup) -> String {
    if g.error_code != 0 {
        return g.error_code.to_string();
    }
    let all = |a: &described::Assignment| {
        show_all(world, a.topic_partitions.iter().map(|t| (topic_id(&t.topic_id), t.partitions.as_slice())))
    };
    let mut shown = format!("{} {}/{} {}", g.group_state, g.group_epoch, g.assignment_epoch, g.assignor_name);
    for member in &g.members {
        let (has, wants) = (all(&member.assignment), all(&member.target_assignment));
        let name = world.names.get(member.member_id.as_str()).cloned().unwrap_or(member.member_id.to_string());
        let mark = if member.member_type == 0 { "~" } else { "@" };
        shown.push_str(&format!(" | {name}{mark}{} {has}", member.member_epoch));
        if has != wants {
            shown.push_str(&format!(" > {wants}"));
        }
    }
    shown
}

/// Targets are made at once.
pub(super) fn eager() -> GroupSettings {
    let mut settings = GroupSettings { initial_rebalance_delay_ms: 0, ..GroupSettings::default() };
    settings.consumer.assignment_interval_ms.default = 0;
    settings
}

#[test]
fn n05_the_first_join_is_answered_with_the_whole_assignment() {
    check(
        "c1 here topics=t -> ep 2 t:0+1+2
         x look -> Stable 2/2 uniform | c1@2 t:0+1+2
         c2 here g=h topics=nothing -> ep 2 nothing
         c3 here g=i topics= -> ep 1 nothing
         c4 here g=j topics=t+nothing+u -> ep 2 t:0+1+2,u:0+1+2
         x list -> 0 g(consumer)=Stable/consumer h(consumer)=Stable/consumer i(consumer)=Stable/consumer j(consumer)=Stable/consumer",
    );
}

#[test]
fn n06_an_assignment_is_told_when_it_changed_or_the_member_said_everything() {
    check(
        "c1 here topics=t -> ep 2 t:0+1+2
         c1 here -> ep 2
         c1 here owned=t:0+1+2 -> ep 2
         c1 here changes rebalance=60000 topics=t owned=t:0+1+2 epoch=2 -> ep 2 t:0+1+2
         c1 here topics=t -> ep 2 t:0+1+2",
    );
}

#[test]
fn n09_a_partition_goes_to_its_new_owner_after_the_old_one_gave_it_back() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         c2 here topics=t -> ep 3 nothing
         x look -> Reconciling 3/3 uniform | c1@2 t:0+1+2+3 > t:0+1 | c2@3 nothing > t:2+3
         c1 here -> ep 2 t:0+1
         x look -> Reconciling 3/3 uniform | c1@2 t:0+1+2+3 > t:0+1 | c2@3 nothing > t:2+3
         c2 here -> ep 3
         c1 here -> ep 2
         c1 here owned=t:0+1+2+3 -> ep 2
         c2 here -> ep 3
         # one of the two is not enough
         c1 here owned=t:0+1+3 -> ep 2
         c2 here -> ep 3
         c1 here owned=t:0+1 -> ep 3
         c2 here -> ep 3 t:2+3
         x look -> Stable 3/3 uniform | c1@3 t:0+1 | c2@3 t:2+3",
    );
}

#[test]
fn n10_targets_are_spaced_by_the_assignment_interval() {
    check(
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         c2 here topics=t -> ep 2 nothing
         x look -> Assigning 3/2 uniform | c1@2 t:0+1+2+3 | c2@2 nothing
         c1 here -> ep 2
         wait 999
         c1 here -> ep 2
         wait 1
         c1 here -> ep 2 t:0+1
         c1 here owned=t:0+1 -> ep 3
         c2 here -> ep 3 t:2+3
         # the group's own setting counts, within the broker's bounds
         set consumer.assignment.interval.ms 5000
         c3 here topics=t -> ep 3 nothing
         wait 4999
         c3 here -> ep 3
         wait 1
         c3 here -> ep 4
         x look -> Reconciling 4/4 uniform | c1@3 t:0+1 | c2@3 t:2+3 > t:2 | c3@4 nothing > t:3",
    );
}

#[test]
fn n07_epochs_that_are_not_the_members_are_fenced() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         c1 here epoch=3 -> 110
         c1 here epoch=1 -> 110
         c2 here topics=t -> ep 3 nothing
         c1 here -> ep 2 t:0+1
         c1 here owned=t:0+1 -> ep 3
         # the answer was lost: the previous epoch is taken, with what the member has by then
         c1 here epoch=2 owned=t:0+1 -> ep 3
         c1 here epoch=2 owned=t:0 -> ep 3
         c1 here epoch=2 owned= -> ep 3
         c1 here epoch=2 owned=t:2 -> 110
         c1 here epoch=2 -> 110
         c1 here -> ep 3",
    );
}

#[test]
fn n07_the_previous_epoch_is_over_with_the_next_change() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         c2 here topics=u -> ep 3 u:0+1+2
         c1 here owned=t:0+1+2+3 -> ep 3
         c1 here epoch=2 owned=t:0+1+2+3 -> ep 3
         # it has to give everything back, and so it came with epoch 3
         c1 here changes topics=u owned=t:0+1+2+3 -> ep 3 nothing
         c1 here epoch=2 owned= -> 110
         c1 here owned= -> ep 4",
    );
}

#[test]
fn n08_a_member_may_join_again() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         c2 here topics=t -> ep 3 nothing
         c1 here topics=t -> ep 3 t:0+1
         c2 here -> ep 3 t:2",
    );
}

#[test]
fn n01_n02_requests_that_make_no_sense() {
    check(
        "c1 here g= topics=t -> 42
         c1 here id= topics=t -> 42
         c1 here v1 id= topics=t -> 42
         c1 here topics=t instance= -> 42
         c1 here topics=t rack= -> 42
         c1 here topics=t rebalance=-1 -> 42
         c1 here epoch=0 -> 42
         c1 here epoch=0 topics=t owned=null -> 42
         c1 here epoch=0 topics=t owned=t:0 -> 42
         c1 here epoch=-3 -> 42
         c1 here epoch=-2 -> 42
         c1 here topics=t assignor=other -> 112
         c1 here topics=t assignor= -> 112
         c1 here pattern=( -> 128
         x list -> 0",
    );
}

#[test]
fn n01_before_v1_the_broker_makes_the_member_id() {
    check(
        "c1 here v0 id= topics=t -> ep 2 t:0+1+2
         c1 here v0 -> ep 2",
    );
}

#[test]
fn n03_unknown_groups_and_members() {
    check(
        "c1 here epoch=1 -> 69
         c1 here epoch=1 pattern=( -> 69
         c1 here epoch=-1 -> 69
         c1 here topics=t -> ep 2 t:0+1+2
         c2 here epoch=2 -> 25
         c2 here epoch=-1 -> 25
         c2 here epoch=2 instance=s -> 25",
    );
}

#[test]
fn n11_static_members_leave_for_a_while_and_come_back_as_somebody_else() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t instance=s -> ep 2 t:0+1+2+3
         c1 here topics=t instance=s -> 111
         c2 here topics=t instance=s -> 111
         c2 here epoch=2 instance=s -> 82
         c1 here epoch=2 instance=r -> 25
         c2 here epoch=-2 instance=s -> 82
         c1 here epoch=-2 instance=s -> ep -2
         x look -> Reconciling 2/2 uniform | c1@-2 t:0+1+2+3
         c1 here epoch=2 instance=s -> 110
         c3 here topics=t instance=s -> ep 2 t:0+1+2+3
         x look -> Stable 2/2 uniform | c3@2 t:0+1+2+3
         c1 here epoch=2 instance=s -> 82
         c1 here epoch=2 -> 25
         c3 here epoch=-2 instance=s -> ep -2
         c3 here topics=t instance=s -> ep 2 t:0+1+2+3
         c3 here epoch=-1 instance=s -> ep -1
         x look -> Empty 3/2 uniform",
    );
}

#[test]
fn n11_who_is_away_keeps_its_partitions_until_its_session_ends() {
    check_with(
        eager(),
        "c1 here topics=t instance=s -> ep 2 t:0+1+2
         c1 here epoch=-2 instance=s -> ep -2
         c2 here topics=t -> ep 3 nothing
         c2 here -> ep 3
         wait 44999
         c2 here -> ep 3
         wait 1
         c2 here -> ep 4 t:0+1+2",
    );
}

#[test]
fn n11_a_static_member_that_subscribes_to_something_else_gets_something_else() {
    check_with(
        eager(),
        "c1 here topics=t instance=s -> ep 2 t:0+1+2
         c1 here epoch=-2 instance=s -> ep -2
         c2 here topics=u instance=s -> ep 3 u:0+1+2",
    );
}

#[test]
fn n13_topics_that_do_not_exist_are_no_error_and_come_when_they_are_created() {
    check_with(
        eager(),
        "c1 here topics=later+a/b -> ep 2 nothing
         c1 here -> ep 2
         grow later 2
         c1 here -> ep 3 later:0+1
         grow later 3
         c1 here -> ep 4 later:0+1+2
         drop later
         c1 here -> ep 4 nothing
         c1 here owned= -> ep 5
         # created again: another topic
         grow later 1
         c1 here -> ep 6 later:0",
    );
}

#[test]
fn n12_subscriptions_by_pattern_follow_the_topics() {
    check_with(
        eager(),
        "c1 here pattern=t.* -> ep 2 t:0+1+2
         grow to 1
         grow other 1
         c1 here -> ep 3 t:0+1+2,to:0
         drop t
         c1 here -> ep 3 to:0
         c1 here owned=to:0 -> ep 4
         c1 here changes pattern=o.*|to -> ep 5 other:0,to:0
         # names and pattern count together; an empty pattern is none
         c1 here changes topics=u -> ep 6 other:0,to:0,u:0+1+2
         c1 here changes pattern= -> ep 6 u:0+1+2
         c1 here owned=u:0+1+2 -> ep 7
         c1 here changes pattern=[ -> 128
         c1 here changes pattern=\\Qu\\E topics= -> ep 8",
    );
}

#[test]
fn sessions_end_without_heartbeats() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         wait 44999
         c1 here -> ep 2
         wait 44999
         c1 here -> ep 2
         set consumer.session.timeout.ms 50000
         c1 here -> ep 2
         wait 49999
         x look -> Stable 2/2 uniform | c1@2 t:0+1+2
         wait 1
         c1 here -> 25
         x look -> Empty 3/2 uniform",
    );
}

#[test]
fn who_does_not_give_back_in_time_is_expelled() {
    check_with(
        eager(),
        "c1 here topics=t rebalance=10000 -> ep 2 t:0+1+2
         c2 here topics=t -> ep 3 nothing
         c1 here -> ep 2 t:0+1
         wait 5000
         c1 here owned=t:0+1+2 -> ep 2
         wait 4999
         c1 here owned=t:0+1+2 -> ep 2
         wait 1
         c1 here -> 25
         c2 here -> ep 4 t:0+1+2",
    );
}

#[test]
fn gr06_group_consumer_max_size() {
    let mut settings = eager();
    settings.consumer.size_max = 2;
    check_with(
        settings,
        "c1 here topics=t instance=s -> ep 2 t:0+1+2
         c2 here topics=t -> ep 3 nothing
         c3 here topics=t -> 81
         c3 here topics=t instance=r -> 81
         c1 here topics=t epoch=-2 instance=s -> ep -2
         c4 here topics=t instance=s -> ep 3 t:0+1
         m1 join v3 -> 81",
    );
}

#[test]
fn n14_commits_with_a_member_epoch() {
    check_with(
        eager(),
        "grow t 4
         c1 here topics=t -> ep 2 t:0+1+2+3
         c1 commit gen=2 t:0=1 u:0=1 nothing:0=1 -> t:0 0, u:0 0, nothing:0 3
         c1 commit gen=3 t:0=1 nothing:0=1 -> t:0 113, nothing:0 3
         c1 commit gen=1 t:0=1 -> t:0 113
         c1 commit v8 gen=2 t:0=1 -> t:0 35
         c1 commit v8 gen=9 t:0=1 -> t:0 35
         x commit admin t:0=1 -> t:0 25
         x commit id=c9 gen=2 t:0=1 -> t:0 25
         c2 here topics=t -> ep 3 nothing
         c1 here -> ep 2 t:0+1
         # it holds what it was told to give back until it did
         c1 commit gen=2 t:3=1 -> t:3 0
         c1 here owned=t:0+1 -> ep 3
         c1 commit gen=2 t:0=2 t:3=2 u:0=2 -> t:0 0, t:3 113, u:0 113
         c2 here -> ep 3 t:2+3
         c2 commit gen=2 t:2=2 -> t:2 113
         c2 commit gen=3 t:2=2 -> t:2 0
         x fetch t:0 t:2 t:3 -> 0 0 [t:0=2 t:2=2 t:3=1]",
    );
}

#[test]
fn n15_fetches_with_a_member_epoch() {
    check(
        "c1 here topics=t -> ep 2 t:0+1+2
         c1 commit gen=2 t:0=1 -> t:0 0
         c1 fetch as=c1 at=2 t:0 -> 0 0 [t:0=1]
         c1 fetch as=c1 at=1 t:0 -> 0 113 []
         c1 fetch as=c1 at=3 all -> 0 113 []
         c1 fetch as=c1 at=-1 t:0 -> 0 113 []
         x fetch as=c9 at=2 t:0 -> 0 25 []
         x fetch as= at=-1 t:0 -> 0 25 []
         x fetch t:0 -> 0 0 [t:0=1]
         x fetch v8 t:0 -> 0 0 [t:0=1]
         x fetch g=h as=c1 at=3 t:0 -> 0 0 [t:0=-1]",
    );
}

#[test]
fn n18_administrators_views() {
    check_with(
        eager(),
        "x look -> 69
         x look g= -> 24
         m1 join v3 g=h -> gen 1 range led by m1 of m1
         x look g=h -> 69
         c1 here topics=t -> ep 2 t:0+1+2
         x look v0 -> Stable 2/2 uniform | c1@2 t:0+1+2
         x describe -> 69 Dead \"\" \"\"
         x describe v5 -> 0 Dead \"\" \"\"
         x list types=consumer -> 0 g(consumer)=Stable/consumer
         x list types=Consumer states=stable -> 0 g(consumer)=Stable/consumer
         x list types=classic -> 0 h(consumer)=CompletingRebalance/classic
         x delete -> 68
         c1 commit gen=2 t:0=1 u:0=1 -> t:0 0, u:0 0
         x forget t:0 t:9 u:0 nothing:0 -> 0, nothing:0 3, t:0 86, t:9 3, u:0 0
         c1 here epoch=-1 -> ep -1
         x look -> Empty 3/2 uniform
         x list types=consumer -> 0 g(consumer)=Empty/consumer
         x commit admin t:1=7 -> t:1 0
         x commit admin gen=3 t:1=7 -> t:1 25
         x fetch all -> 0 0 [t:0=1 t:1=7]
         x forget t:0 -> 0, t:0 0
         x delete -> 0
         x look -> 69
         x fetch all -> 0 0 []",
    );
}

#[test]
fn n18_topics_of_a_pattern_are_subscribed_to() {
    check(
        "c1 here pattern=t -> ep 2 t:0+1+2
         c1 commit gen=2 t:0=1 u:0=1 -> t:0 0, u:0 0
         x forget t:0 u:0 -> 0, t:0 86, u:0 0",
    );
}

#[test]
fn gr08_a_group_goes_on_after_a_restart() {
    check_with(
        eager(),
        "c1 here topics=t rebalance=10000 -> ep 2 t:0+1+2
         c2 here pattern=t -> ep 3 nothing
         c1 here -> ep 2 t:0+1
         restart
         c2 here -> ep 3
         c1 here owned=t:0+1+2 -> ep 2
         # its time to give back begins anew
         wait 9999
         c1 here owned=t:0+1 -> ep 3
         c2 here -> ep 3 t:2
         restart
         c1 here -> ep 3
         c2 here -> ep 3
         wait 45000
         x look -> Empty 4/3 uniform",
    );
}

#[test]
fn o11_an_empty_group_is_kept_as_long_as_its_offsets() {
    check_with(
        GroupSettings { offsets_retention_ms: 3_600_000, retention_check_interval_ms: 600_000, ..eager() },
        "c1 here topics=t -> ep 2 t:0+1+2
         c1 commit gen=2 t:0=1 u:0=1 -> t:0 0, u:0 0
         c1 here epoch=-1 -> ep -1
         wait 3000000
         x list -> 0 g(consumer)=Empty/consumer
         restart
         wait 1200000
         x list -> 0
         c2 here topics=t -> ep 2 t:0+1+2",
    );
}

#[test]
fn assignors_are_elected() {
    check_with(
        eager(),
        "c1 here topics=t+u assignor=range -> ep 2 t:0+1+2,u:0+1+2
         x look -> Stable 2/2 range | c1@2 t:0+1+2,u:0+1+2
         c2 here topics=t+u assignor=uniform -> ep 3 nothing
         x look -> Reconciling 3/3 uniform | c1@2 t:0+1+2,u:0+1+2 > t:0+1+2 | c2@3 nothing > u:0+1+2
         c3 here topics=t+u assignor=range -> ep 4 nothing
         x look -> Reconciling 4/4 range | c1@2 t:0+1+2,u:0+1+2 > t:0,u:0 | c2@3 nothing > t:1,u:1 | c3@4 nothing > t:2,u:2",
    );
}

#[test]
fn op_10_without_room_who_wants_something_else_keeps_what_it_has() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         c2 here topics=t g=static instance=s -> ep 2 t:0+1+2
         room none
         c1 here changes topics=t+u -> 15
         wait 44000
         c1 here changes topics=t+u -> 15
         c2 here g=static -> ep 2
         wait 44000
         c1 here -> ep 2
         # from somewhere else
         d1 here id=c1 epoch=2 -> ep 2
         # and who joins again as it was
         c1 here topics=t rebalance=30000 -> ep 2 t:0+1+2
         c1 here topics=t+u -> 15
         c2 here topics=t g=static instance=s -> 111
         c2 here g=static epoch=-2 instance=s -> ep -2
         c2 here topics=t g=static instance=s -> 15
         wait 44000
         c1 here -> ep 2
         room some
         c1 here changes topics=t+u -> ep 3 t:0+1+2,u:0+1+2",
    );
}

#[test]
fn op_10_without_room_a_group_keeps_its_protocol() {
    for goes in ["c1 here epoch=-1 -> ep -1", "wait 45000"] {
        check_with(
            eager(),
            &format!(
                "c1 here topics=t -> ep 2 t:0+1+2
                 m1 join v3 session=60000 -> gen 3 range
                 room none
                 m1 beat -> 0
                 {goes}
                 x list -> 0 g(consumer)=Assigning/consumer
                 room some
                 m1 beat -> 27
                 m1 join v3 session=60000 -> gen 4 range
                 m1 sync -> has t:0+1+2
                 x list -> 0 g(consumer)=Stable/consumer"
            ),
        );
    }
}

#[test]
fn op_10_without_room_members_stay_and_leave_and_nothing_else_is_written() {
    check_with(
        eager(),
        "c1 here topics=t -> ep 2 t:0+1+2
         c2 here topics=t -> ep 3 nothing
         c1 here -> ep 2 t:0+1
         c1 here owned=t:0+1 -> ep 3
         m1 join v3 -> gen 4 range
         room none
         c3 here topics=t -> 15
         x here epoch=0 topics=t g=new -> 15
         c1 here changes topics=u -> 15
         c1 here -> ep 3 t:0
         c1 here owned=t:0 -> ep 4
         c2 here -> ep 4 t:2
         c2 here epoch=-1 -> ep -1
         # no target is made for those who are left; what the last one says still holds
         m1 beat -> 27
         c1 here -> ep 4
         x look -> Assigning 5/4 uniform | c1@4 t:0 | m1~4 nothing > t:1
         x list -> 0 g(consumer)=Assigning/consumer
         room some
         c1 here -> ep 5 t:0+2",
    );
}
