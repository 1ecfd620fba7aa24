//! Section N, KIP-848 groups: one test per numbered statement, named after it.
//!
//! N19 and N20 are about share groups, which are not there.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    IncrementalAlterConfigsRequest, ListGroupsRequest, OffsetFetchRequest,
};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::consumers::{
    Consumer, LEAVES, LEAVES_FOR_A_WHILE, Partitions, assigned, beat_request, first_partitions, join_beat, owned,
    settle,
};
use pyralog_compat_tests::groups::{
    commit_request, group_id, heartbeat_request, join_request, protocol, subscription, sync_request,
};
use pyralog_compat_tests::{BrokerOptions, Conn, Target, on_kafka, private, shared, text, topic, unique};
use uuid::Uuid;

/// A connection, a new group and a topic of four partitions.
struct World {
    target: Target,
    conn: Conn,
    group: String,
    name: String,
    id: Uuid,
    all: Partitions,
}

fn start() -> World {
    let target = shared();
    let mut conn = target.connect();
    let group = conn.new_group("n");
    let (name, id) = conn.new_topic("n", 4, &[]);
    World { target, conn, group, name, id, all: first_partitions(id, 4) }
}

impl World {
    fn join(&self) -> Consumer {
        Consumer::join(self.target.connect(), &self.group, &[&self.name])
    }

    /// The answer to a heartbeat (v1) as error code and whether it says why.
    fn refused(&mut self, request: &ConsumerGroupHeartbeatRequest) -> (i16, bool) {
        let answer = self.conn.call(1, request);
        (answer.error_code, answer.error_message.is_some_and(|m| !m.is_empty()))
    }

    /// OffsetCommit v9 of one offset; its error.
    fn commit(&mut self, member: &str, epoch: i32, partition: i32) -> i16 {
        let request = commit_request(&self.group, &[(&self.name, partition, 7)])
            .with_generation_id_or_member_epoch(epoch)
            .with_member_id(text(member));
        self.conn.call(9, &request).topics[0].partitions[0].error_code
    }
}

#[test]
fn n01_v1_needs_a_member_id_and_v0_gets_one() {
    let mut w = start();
    assert_eq!(w.refused(&join_beat(&w.group.clone(), "", &[&w.name.clone()])), (42, true));
    let answer = w.conn.call(0, &join_beat(&w.group, "", &[&w.name]));
    assert_eq!(answer.error_code, 0, "{answer:?}");
    let id = answer.member_id.unwrap();
    assert!(!id.is_empty());
    let again = w.conn.call(0, &beat_request(&w.group, &id, answer.member_epoch));
    assert_eq!((again.error_code, again.member_epoch), (0, answer.member_epoch), "{again:?}");
    // After the join v0 needs it as well.
    assert_eq!(w.conn.call(0, &beat_request(&w.group, "", answer.member_epoch)).error_code, 42);
}

#[test]
fn n02_what_a_join_needs() {
    let mut w = start();
    let (group, name) = (w.group.clone(), w.name.clone());
    let good = || join_beat(&group, "m", &[&name]);
    let some_partitions = owned(&first_partitions(w.id, 1));
    for bad in [
        good().with_rebalance_timeout_ms(-1),
        good().with_subscribed_topic_names(None),
        good().with_topic_partitions(None),
        good().with_topic_partitions(Some(some_partitions)),
        good().with_instance_id(Some(text(""))),
        good().with_rack_id(Some(text(""))),
        good().with_group_id(group_id("")),
        good().with_member_epoch(-3),
    ] {
        assert_eq!(w.refused(&bad), (42, true), "{bad:?}");
    }
    let nothing = w.conn.call(1, &good().with_subscribed_topic_names(Some(Vec::new())));
    assert_eq!(nothing.error_code, 0, "an empty list is fine: {nothing:?}");
}

#[test]
fn n03_unknown_groups_and_members() {
    let mut w = start();
    let unknown = unique("unknown");
    for epoch in [1, 5, LEAVES] {
        assert_eq!(w.refused(&beat_request(&unknown, "m", epoch)), (69, true), "{epoch}");
    }
    let known = w.join();
    for epoch in [1, known.epoch, LEAVES] {
        assert_eq!(w.refused(&beat_request(&known.group, "stranger", epoch)), (25, true), "{epoch}");
    }
}

#[test]
fn n04_assignors_and_patterns_are_checked() {
    let mut w = start();
    let request = join_beat(&w.group, "m", &[&w.name]).with_server_assignor(Some(text("sticky")));
    let answer = w.conn.call(1, &request);
    assert_eq!(answer.error_code, 112, "{answer:?}");
    let message = answer.error_message.unwrap();
    assert!(message.contains("uniform") && message.contains("range"), "{message}");
    let bad = join_beat(&w.group, "m", &[]).with_subscribed_topic_regex(Some(text("a(b")));
    assert_eq!(w.refused(&bad), (128, true));
    for name in ["uniform", "range"] {
        let id = unique("m");
        let request = join_beat(&w.group, &id, &[&w.name]).with_server_assignor(Some(text(name)));
        assert_eq!(w.conn.call(1, &request).error_code, 0, "{name}");
    }
}

#[test]
fn n05_the_first_join_answers_with_the_full_assignment() {
    let mut w = start();
    let member = w.join();
    assert_eq!((member.epoch, &member.owned), (2, &w.all));
    let other = w.conn.new_group("n");
    let lonely = Consumer::join(w.target.connect(), &other, &[]);
    assert_eq!((lonely.epoch, lonely.owned.len()), (1, 0), "it subscribes to nothing");
    let other = w.conn.new_group("n");
    let early = Consumer::join(w.target.connect(), &other, &[&unique("missing")]);
    assert_eq!((early.epoch, early.owned.len()), (2, 0), "to a topic that is not there yet");
}

#[test]
fn n06_the_assignment_comes_when_it_changes_and_the_interval_always() {
    let mut w = start();
    let mut member = w.join();
    for _ in 0..2 {
        let answer = member.conn.call(1, &beat_request(&w.group, &member.id, member.epoch));
        assert_eq!(answer.error_code, 0, "{answer:?}");
        assert!(answer.assignment.is_none(), "{answer:?}");
        assert_eq!(answer.member_epoch, member.epoch, "{answer:?}");
        // Shorter in Pyralog while the group is as new as that.
        assert!(answer.heartbeat_interval_ms == if on_kafka() { 5000 } else { 500 }, "{answer:?}");
    }
    eventually("the interval of a calm group", || (member.beat().heartbeat_interval_ms == 5000).then_some(()));
    let config =
        AlterableConfig::default().with_name(text("consumer.heartbeat.interval.ms")).with_value(Some(text("6000")));
    let resource = AlterConfigsResource::default()
        .with_resource_type(32)
        .with_resource_name(text(&w.group))
        .with_configs(vec![config]);
    let altered = w.conn.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
    assert_eq!(altered.responses[0].error_code, 0, "{altered:?}");
    eventually("the group's own interval", || (member.beat().heartbeat_interval_ms == 6000).then_some(()));
}

#[test]
fn n07_another_epoch_is_fenced_and_a_lost_answer_can_be_repeated() {
    let mut w = start();
    let mut member = w.join();
    for epoch in [member.epoch + 1, member.epoch - 1, 99] {
        let answer = w.conn.call(1, &beat_request(&w.group, &member.id, epoch));
        assert_eq!((answer.error_code, answer.member_epoch), (110, 0), "{epoch}: {answer:?}");
    }
    // A second member raises the epoch; the first one repeats the heartbeat whose answer it might have missed.
    let (before, all) = (member.epoch, w.all.clone());
    let mut second = w.join();
    eventually("the first one gives some back", || {
        let answer = member.beat();
        second.beat();
        (answer.error_code == 0 && member.owned.len() < all.len()).then_some(())
    });
    let repeated = member.request().with_member_epoch(before);
    eventually("the first one's epoch rises", || (member.beat().member_epoch > before).then_some(()));
    let answer = w.conn.call(1, &repeated);
    assert_eq!((answer.error_code, answer.member_epoch), (0, member.epoch), "{answer:?}");
    let older = repeated.with_topic_partitions(None);
    assert_eq!(w.conn.call(1, &older).error_code, 110, "not without its partitions");
}

#[test]
fn n08_joining_again_changes_nothing() {
    let mut w = start();
    let member = w.join();
    let again = w.conn.call(1, &join_beat(&w.group, &member.id, &[&w.name]));
    assert_eq!((again.error_code, again.member_epoch), (0, member.epoch), "{again:?}");
    assert_eq!(assigned(&again.assignment.unwrap()), w.all);
}

#[test]
fn n09_partitions_go_to_a_second_member_once_the_first_gave_them_back() {
    let mut w = start();
    let mut first = w.join();
    let mut second = w.join();
    assert!(second.owned.is_empty(), "{:?}", second.owned);
    let (epoch, all) = (first.epoch, w.all.clone());
    // Told to give back: its epoch stays until it says that it did.
    eventually("the first is told its reduced set", || {
        let answer = first.conn.call(1, &beat_request(&w.group, &first.id, first.epoch));
        assert_eq!((answer.error_code, answer.member_epoch), (0, epoch), "{answer:?}");
        answer.assignment.map(|assignment| {
            let kept = assigned(&assignment);
            assert_eq!(kept.len(), 2, "{kept:?}");
            first.owned = kept;
        })
    });
    for _ in 0..3 {
        second.beat();
        assert!(second.owned.is_empty(), "not given back yet: {:?}", second.owned);
    }
    assert_eq!(w.conn.describe_consumers(&w.group).group_state.as_str(), "Reconciling");
    let answer = first.beat();
    assert_eq!(answer.error_code, 0, "{answer:?}");
    assert!(answer.member_epoch > epoch, "{answer:?}");
    second.await_partitions(&all.difference(&first.owned).copied().collect());
    assert_eq!(second.epoch, first.epoch);
    assert_eq!(w.conn.describe_consumers(&w.group).group_state.as_str(), "Stable");
}

#[test]
fn n10_targets_are_spaced_by_the_assignment_interval() {
    let w = start();
    let (first, second) = (w.join(), w.join());
    assert!(second.epoch == first.epoch || second.epoch == first.epoch + 1, "{}", second.epoch);
    settle(&mut [first, second], &w.all);
    let options = BrokerOptions::new().set("group.consumer.assignment.interval.ms", "0");
    let Some(broker) = private(options) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("n", 4, &[]);
    let first = Consumer::join(broker.connect(), "g", &[&name]);
    let second = Consumer::join(broker.connect(), "g", &[&name]);
    assert_eq!((first.epoch, second.epoch, second.owned.len()), (2, 3, 0));
}

#[test]
fn n11_members_leave_for_good_or_for_a_while() {
    let mut w = start();
    let mut dynamic = w.join();
    let without = beat_request(&w.group, &dynamic.id, LEAVES_FOR_A_WHILE);
    assert_eq!(w.refused(&without), (42, true));
    let left = dynamic.leave();
    assert_eq!((left.error_code, left.member_epoch), (0, LEAVES), "{left:?}");

    let instance = Some(text("instance"));
    let join = |id: &str| join_beat(&w.group, id, &[&w.name]).with_instance_id(instance.clone());
    let mut fixed = Consumer::join_with(w.target.connect(), &join("s1"));
    fixed.await_partitions(&w.all);
    let (second, say) =
        (join("s2"), |id: &str, epoch| beat_request(&w.group, id, epoch).with_instance_id(instance.clone()));
    assert_eq!(fixed.conn.call(1, &second).error_code, 111, "the instance id is in use");
    let away = fixed.conn.call(1, &say("s1", LEAVES_FOR_A_WHILE));
    assert_eq!((away.error_code, away.member_epoch), (0, LEAVES_FOR_A_WHILE), "{away:?}");
    let back = Consumer::join_with(w.target.connect(), &second);
    assert_eq!((back.epoch, &back.owned), (fixed.epoch, &w.all));
    assert_eq!(fixed.conn.call(1, &say("s1", fixed.epoch)).error_code, 82, "the former member is fenced");
    assert_eq!(fixed.conn.call(1, &say("s2", back.epoch)).error_code, 0);
}

#[test]
fn n12_patterns_match_a_moment_later() {
    let mut w = start();
    let prefix = unique("pattern");
    let request = join_beat(&w.group, &unique("m"), &[]).with_subscribed_topic_names(None);
    let request = request.with_subscribed_topic_regex(Some(text(&format!("{prefix}-.*"))));
    let mut member = Consumer::join_with(w.target.connect(), &request);
    assert!(member.owned.is_empty());
    let id = w.conn.create_topic(&format!("{prefix}-a"), 2, &[]);
    // Kafka matches what is new after its refresh interval at the latest, or with the next change of the subscription.
    if !on_kafka() {
        member.await_partitions(&first_partitions(id, 2));
    }
    let late = join_beat(&w.conn.new_group("n"), &unique("m"), &[]).with_subscribed_topic_names(None);
    let late = late.with_subscribed_topic_regex(Some(text(&format!("{prefix}-[ab]"))));
    Consumer::join_with(w.target.connect(), &late).await_partitions(&first_partitions(id, 2));
}

#[test]
fn n13_unknown_and_invalid_topic_names_are_no_error() {
    let w = start();
    let request = join_beat(&w.group, &unique("m"), &[&w.name, "not/valid", &unique("missing"), ""]);
    let member = Consumer::join_with(w.target.connect(), &request);
    assert_eq!(member.owned, w.all);
}

#[test]
fn n14_commits_carry_the_member_epoch() {
    let mut w = start();
    let mut first = w.join();
    let id = first.id.clone();
    let old = first.epoch;
    assert_eq!(w.commit(&id, old, 0), 0);
    assert_eq!(w.commit(&id, old + 1, 0), 113, "a higher epoch");
    assert_eq!(w.commit("stranger", old, 0), 25);
    assert_eq!(w.commit("", -1, 0), 25, "no member id while members exist");
    // Up to v8 the field is a generation, which a member of such a group has none of.
    let classic = commit_request(&w.group, &[(&w.name, 0, 7)]).with_member_id(text(&id));
    for epoch in [old, old + 1] {
        let request = classic.clone().with_generation_id_or_member_epoch(epoch);
        assert_eq!(w.conn.commit(&request), 35, "v8, epoch {epoch}");
    }
    let mut second = w.join();
    eventually("the epoch rises", || {
        first.beat();
        second.beat();
        (first.epoch > old && second.owned.len() == 2).then_some(())
    });
    let (kept, lost) = (first.owned.first().unwrap().1, second.owned.first().unwrap().1);
    assert_eq!(w.commit(&id, old, kept), 0, "held since that epoch");
    assert_eq!(w.commit(&id, old, lost), 113, "held no more");
    assert_eq!(w.commit(&id, first.epoch, lost), 0, "with the current epoch any partition may be committed");
}

#[test]
fn n15_fetches_of_offsets_carry_the_member_epoch() {
    let mut w = start();
    let member = w.join();
    assert_eq!(w.commit(&member.id, member.epoch, 0), 0);
    let mut fetch = |id: Option<&str>, epoch| {
        let topics = OffsetFetchRequestTopics::default().with_name(topic(&w.name)).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(&w.group))
            .with_member_id(id.map(text))
            .with_member_epoch(epoch)
            .with_topics(Some(vec![topics]));
        let answer = w.conn.call(9, &OffsetFetchRequest::default().with_groups(vec![group]));
        let offset = answer.groups[0].topics.first().map(|t| t.partitions[0].committed_offset);
        (answer.groups[0].error_code, offset)
    };
    assert_eq!(fetch(Some(&member.id), member.epoch), (0, Some(7)));
    assert_eq!(fetch(None, -1), (0, Some(7)));
    assert_eq!(fetch(Some(&member.id), member.epoch - 1).0, 113);
    assert_eq!(fetch(Some("stranger"), member.epoch).0, 25);
}

/// The partitions of a classic assignment: a version, then topics by name.
fn classic_partitions(mut assignment: Bytes) -> Vec<(String, Vec<i32>)> {
    assignment.advance(2);
    let topics = assignment.get_i32();
    (0..topics)
        .map(|_| {
            let length = usize::try_from(assignment.get_i16()).unwrap();
            let name = String::from_utf8(assignment.split_to(length).to_vec()).unwrap();
            let partitions = assignment.get_i32();
            (name, (0..partitions).map(|_| assignment.get_i32()).collect())
        })
        .collect()
}

#[test]
fn n16_a_classic_member_takes_part_in_such_a_group() {
    let mut w = start();
    let mut modern = w.join();
    let offer = protocol("range", "").with_metadata(subscription(&[&w.name], ""));
    let request = join_request(&w.group, "").with_protocols(vec![offer]);
    let mut classic = w.target.connect();
    let joined = classic.join(&request);
    assert_eq!(joined.error_code, 0, "{joined:?}");
    let id = joined.member_id.clone();
    // Both follow what they are told, until the classic one has its half.
    let mut generation = joined.generation_id;
    let share = eventually("the classic member's share", || {
        modern.beat();
        match classic.call(4, &heartbeat_request(&w.group, generation, &id)).error_code {
            0 => {}
            27 => generation = classic.join(&request.clone().with_member_id(id.clone())).generation_id,
            error => panic!("{error}"),
        }
        let synced = classic.sync(&sync_request(&w.group, generation, &id));
        let share = (synced.error_code == 0).then(|| classic_partitions(synced.assignment))?;
        (share.iter().map(|(_, partitions)| partitions.len()).sum::<usize>() == 2).then_some(share)
    });
    assert_eq!(share[0].0, w.name);
    let own: Partitions = share[0].1.iter().map(|partition| (w.id, *partition)).collect();
    modern.await_partitions(&w.all.difference(&own).copied().collect());
    let described = w.conn.describe_consumers(&w.group);
    let kinds: Vec<_> = described.members.iter().map(|m| (m.member_id == id, m.member_type)).collect();
    assert!(kinds.contains(&(true, 0)) && kinds.contains(&(false, 1)), "{kinds:?}");
    let broken = protocol("range", "").with_metadata(Bytes::from_static(b"x"));
    let broken = join_request(&w.group, "").with_protocols(vec![broken]);
    // Kafka hands out a member id first.
    let refused = if on_kafka() { w.conn.join(&broken) } else { w.conn.call(9, &broken) };
    assert_eq!(refused.error_code, if on_kafka() { -1 } else { 23 });
}

#[test]
fn n17_a_classic_group_is_converted_online() {
    let mut w = start();
    let offer = protocol("range", "").with_metadata(subscription(&[&w.name], ""));
    let request = join_request(&w.group, "").with_protocols(vec![offer]);
    let mut classic = w.target.connect();
    let joined = classic.join(&request);
    let (mut generation, id) = (joined.generation_id, joined.member_id.clone());
    let synced = classic.sync(&sync_request(&w.group, generation, &id));
    assert_eq!(synced.error_code, 0, "{synced:?}");

    let mut modern = w.join();
    assert_eq!(w.conn.describe_consumers(&w.group).error_code, 0, "it is of the new type");
    eventually("the classic member is told to join again", || {
        let error = classic.call(4, &heartbeat_request(&w.group, generation, &id)).error_code;
        modern.beat();
        (error == 27).then_some(())
    });
    eventually("both have half", || {
        modern.beat();
        if classic.call(4, &heartbeat_request(&w.group, generation, &id)).error_code == 27 {
            generation = classic.join(&request.clone().with_member_id(id.clone())).generation_id;
            classic.sync(&sync_request(&w.group, generation, &id));
        }
        (modern.owned.len() == 2).then_some(())
    });
    // When the last member of the new protocol leaves, the group is a classic one again.
    assert_eq!(modern.leave().error_code, 0);
    eventually("a classic group", || (w.conn.describe_consumers(&w.group).error_code == 69).then_some(()));

    let other = w.conn.new_group("n");
    let worker = w.target.connect().join(&join_request(&other, "").with_protocol_type(text("connect")));
    assert_eq!(worker.error_code, 0, "{worker:?}");
    let refused = w.conn.call(1, &join_beat(&other, "m", &[&w.name]));
    assert_eq!((refused.error_code, refused.error_message.is_some()), (69, true), "{refused:?}");
}

#[test]
fn n18_describe_and_delete() {
    let mut w = start();
    let mut member = w.join();
    let classic = w.conn.new_group("n");
    assert_eq!(w.conn.commit(&commit_request(&classic, &[(&w.name, 0, 1)])), 0);
    for version in 0..=1 {
        let ask = [&*w.group, &*classic, &*unique("unknown"), ""].map(group_id).to_vec();
        let answer = w.conn.call(version, &ConsumerGroupDescribeRequest::default().with_group_ids(ask));
        // In any order.
        let mut errors: Vec<i16> = answer.groups.iter().map(|g| g.error_code).collect();
        errors.sort_unstable();
        assert_eq!(errors, [0, 24, 69, 69], "v{version} {answer:?}");
        let of = |name: &str| answer.groups.iter().find(|g| g.group_id.as_str() == name).unwrap();
        assert_eq!((of("").error_code, of(&classic).error_code), (24, 69), "v{version} {answer:?}");
        let group = of(&w.group);
        let head =
            (group.group_state.as_str(), group.group_epoch, group.assignment_epoch, group.assignor_name.as_str());
        assert_eq!(head, ("Stable", member.epoch, member.epoch, "uniform"), "v{version}");
        let one = &group.members[0];
        assert_eq!((one.member_id.as_str(), one.member_epoch), (&*member.id, member.epoch), "v{version}");
        assert_eq!(one.client_id.as_str(), "compat", "v{version}");
        assert!(one.client_host.starts_with('/'), "v{version} {one:?}");
        assert_eq!(one.subscribed_topic_names, [topic(&w.name)], "v{version}");
        assert_eq!(one.member_type, if version == 0 { -1 } else { 1 }, "v{version}");
        for assignment in [&one.assignment, &one.target_assignment] {
            let found = &assignment.topic_partitions[0];
            assert_eq!((found.topic_id, &found.topic_name), (w.id, &topic(&w.name)), "v{version}");
            assert_eq!(found.partitions, [0, 1, 2, 3], "v{version}");
        }
    }
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group_id(&w.group)]);
    assert_eq!(w.conn.call(2, &delete).results[0].error_code, 68, "members are there");
    assert_eq!(member.leave().error_code, 0);
    assert_eq!(w.conn.call(2, &delete).results[0].error_code, 0);
    assert_eq!(w.conn.describe_consumers(&w.group).error_code, 69);
}

#[test]
fn n18_the_protocol_can_be_switched_off() {
    let options = BrokerOptions::new().set("group.coordinator.rebalance.protocols", "classic");
    let Some(broker) = private(options) else { return };
    let mut conn = broker.connect();
    assert_eq!(conn.call(1, &join_beat("g", "m", &["t"])).error_code, 35);
    assert_eq!(conn.describe_consumers("g").error_code, 35);
}

/// G19 and G20, as far as they speak of these groups.
#[test]
fn n18_the_classic_calls_know_such_a_group() {
    let mut w = start();
    let _member = w.join();
    let described = w.conn.call(6, &DescribeGroupsRequest::default().with_groups(vec![group_id(&w.group)]));
    let found = (described.groups[0].error_code, described.groups[0].group_state.as_str());
    assert_eq!(found, (69, "Dead"), "{described:?}");
    let older = w.conn.call(5, &DescribeGroupsRequest::default().with_groups(vec![group_id(&w.group)]));
    assert_eq!((older.groups[0].error_code, older.groups[0].group_state.as_str()), (0, "Dead"), "{older:?}");
    let mut listed = |types: &[&str]| -> Option<ListedGroup> {
        let request = ListGroupsRequest::default().with_types_filter(types.iter().map(|t| text(t)).collect());
        w.conn.call(5, &request).groups.into_iter().find(|g| g.group_id.as_str() == w.group)
    };
    let found = listed(&["consumer"]).unwrap();
    let kind = (found.group_type.to_ascii_lowercase(), found.protocol_type.to_string(), found.group_state.to_string());
    assert_eq!(kind, ("consumer".to_owned(), "consumer".to_owned(), "Stable".to_owned()));
    assert!(listed(&["classic"]).is_none());
    assert!(listed(&[]).is_some());
}

/// A member that is silent for the session timeout is expelled, and its partitions go to the others.
#[test]
fn g13_a_silent_member_is_expelled_after_the_session_timeout() {
    let options = BrokerOptions::new()
        .set("group.consumer.min.session.timeout.ms", "1000")
        .set("group.consumer.session.timeout.ms", "5000")
        .set("group.consumer.min.heartbeat.interval.ms", "100")
        .set("group.consumer.heartbeat.interval.ms", "100");
    let Some(broker) = private(options) else { return };
    let (name, id) = broker.connect().new_topic("n", 4, &[]);
    let mut silent = Consumer::join(broker.connect(), "g", &[&name]);
    assert_eq!(silent.owned.len(), 4);
    std::thread::sleep(Duration::from_millis(500));
    let mut alive = Consumer::join(broker.connect(), "g", &[&name]);
    alive.await_partitions(&first_partitions(id, 4));
    assert_eq!(silent.beat().error_code, 25);
}
