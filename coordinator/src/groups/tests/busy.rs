//! What is many does not keep others waiting: one step takes milliseconds, and what is left is for the next one. The times
//! here are far above that, and far below what the square of a size takes.

#![expect(clippy::disallowed_types, reason = "how long the machine keeps its thread is what is looked at")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages as m;
use pyralog_protocol::{Draw, MonoMs, WallMs, kafka_protocol};

use super::super::consumer::pattern::Patterns;
use super::super::consumer::{ConsumerHead, Subscriber};
use super::super::record::{Blob, Committed, GroupHead, MemberJoin, Stage};
use super::super::{GroupRecord, GroupSettings};
use super::machine::Machine;
use super::{Topics, str, subscription};
use crate::command::{Command, Reply};
use crate::effects::Effects;
use crate::record::Record;

/// When what is past its retention was committed.
const LONG_AGO: i64 = 0;
const IN_TIME: Duration = Duration::from_secs(5);

fn machine() -> Machine {
    let mut settings = GroupSettings::default();
    settings.consumer.session_timeout_ms.default = i32::MAX;
    let mut machine = Machine::new(settings, Topics::two(), Draw::new(1));
    machine.now.wall = WallMs(1_700_000_000_000);
    machine
}

fn put_offset(machine: &mut Machine, group: &str, topic: &str, partition: i32, commit_ms: i64) {
    let committed = Committed { offset: 1, leader_epoch: -1, metadata: String::new(), commit_ms, expire_ms: None };
    let (group, topic) = (group.to_string(), topic.to_string());
    machine.groups.apply(&GroupRecord::Offset { group, topic, partition, committed });
}

/// A stable group whose members all read all of `topics`.
fn put_readers(machine: &mut Machine, group: &str, members: usize, topics: &[String]) {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let metadata = Blob::copy_of(&subscription(&names));
    for member in 0..members {
        let protocols = vec![("range".to_string(), metadata.clone())];
        let join = MemberJoin { protocols, session_timeout_ms: i32::MAX, ..MemberJoin::default() };
        machine.groups.apply(&GroupRecord::Member { group: group.to_string(), member: format!("m{member}"), join });
    }
    let head = GroupHead {
        stage: Stage::Stable,
        protocol_type: Some("consumer".to_string()),
        protocol: Some("range".to_string()),
        ..GroupHead::default()
    };
    machine.groups.apply(&GroupRecord::Head { group: group.to_string(), head });
}

/// A KIP-848 group whose members each read what a pattern of their own matches, which is none of the topics here.
fn put_matchers(machine: &mut Machine, group: &str, members: usize) {
    let head = ConsumerHead::default();
    machine.groups.apply(&GroupRecord::ConsumerHead { group: group.to_string(), head });
    for member in 0..members {
        let about = Subscriber { pattern: Some(format!(".*[a-z]y{member}q.*")), ..Subscriber::default() };
        let (group, member) = (group.to_string(), format!("m{member}"));
        machine.groups.apply(&GroupRecord::ConsumerMember { group, member, about });
    }
}

/// OffsetDelete of the first partition of each: the codes, and how long it took.
fn delete_offsets(machine: &mut Machine, group: &str, topics: impl Iterator<Item = String>) -> (Vec<i16>, Duration) {
    let topics = topics.map(|name| {
        let partition = m::offset_delete_request::OffsetDeleteRequestPartition::default();
        m::offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(str(&name).into())
            .with_partitions(vec![partition])
    });
    let request = m::OffsetDeleteRequest::default().with_group_id(str(group).into()).with_topics(topics.collect());
    let start = Instant::now();
    let replies = machine.ask(0, 0, Command::OffsetDelete(request)).replies;
    let took = start.elapsed();
    let [(_, Reply::OffsetDelete(answer))] = &replies[..] else { panic!("{replies:?}") };
    (answer.topics.iter().map(|topic| topic.partitions[0].error_code).collect(), took)
}

/// The housekeeping that is due next, step by step: how many it took, and what they wrote.
fn housekeeping(machine: &mut Machine) -> (usize, Vec<Record>) {
    let (mut steps, mut written) = (0, Vec::new());
    loop {
        let start = machine.groups.next_deadline().unwrap();
        machine.wait_until(start);
        let mut out = Effects::default();
        machine.groups.on_deadline(&machine.topics, machine.now, &mut out);
        written.extend(out.records.into_iter().flatten());
        steps += 1;
        match machine.groups.next_deadline() {
            Some(MonoMs(next)) if next == start.0 + 100 => {}
            Some(_) | None => return (steps, written),
        }
    }
}

#[test]
fn housekeeping_of_many_offsets_takes_several_steps_and_reaches_all_of_them() {
    let mut machine = machine();
    let recent = machine.now.wall.0 + 600_000;
    for group in 0..4 {
        (0..40_000).for_each(|partition| put_offset(&mut machine, &format!("g{group}"), "t", partition, recent));
    }
    put_offset(&mut machine, "a", "t", 0, LONG_AGO);
    put_offset(&mut machine, "z", "t", 0, LONG_AGO);
    machine.groups.after_load(&machine.topics, machine.now);
    let gone = |group: &str| Record::Group(GroupRecord::GroupRemoved { group: group.to_string() });
    assert_eq!(housekeeping(&mut machine), (2, vec![gone("a"), gone("z")]));
    // The next time it begins with the first one again.
    put_offset(&mut machine, "a", "t", 0, LONG_AGO);
    assert_eq!(housekeeping(&mut machine), (2, vec![gone("a")]));
}

#[test]
fn deleting_many_topics_is_one_look_at_each_group() {
    let mut machine = machine();
    for group in 0..50_000 {
        put_offset(&mut machine, &format!("g{group}"), "t", 0, 0);
    }
    put_offset(&mut machine, "g7", "u", 0, 0);
    let mut names: BTreeSet<String> = (0..20_000).map(|n| format!("orders.region-{n}.events")).collect();
    names.insert("u".to_string());
    let start = Instant::now();
    let removed = machine.groups.topics_deleted(&names);
    assert!(start.elapsed() < IN_TIME, "the deletion took {:?}", start.elapsed());
    let (group, topic) = ("g7".to_string(), "u".to_string());
    let record = GroupRecord::TopicRemoved { group, topic };
    assert_eq!(removed, BTreeMap::from([("u".to_string(), vec![record])]));
}

#[test]
fn a_large_pattern_is_matched_with_many_long_names_in_no_time() {
    let mut machine = machine();
    (0..200).for_each(|n| drop(machine.topics.put(&format!("{n:x<249}"), 1)));
    for pattern in ["(.*){450}", "(.*[a-z].*){200}[^x]"] {
        let mut patterns = Patterns::default();
        patterns.check(pattern).unwrap();
        let start = Instant::now();
        for _ in 0..10 {
            patterns.topics(pattern, &machine.topics, MonoMs(0), 0);
        }
        assert!(start.elapsed() < IN_TIME, "{pattern} took {:?}", start.elapsed());
    }
}

#[test]
fn what_a_group_reads_is_found_out_once_however_many_topics_it_has() {
    let mut machine = machine();
    let names: Vec<String> = (0..20_000).map(|n| format!("orders.region-{n}.events")).collect();
    put_readers(&mut machine, "g", 30, &names);
    let some = &names[..200];
    for name in some {
        put_offset(&mut machine, "g", name, 0, LONG_AGO);
        machine.topics.put(name, 1);
    }
    put_offset(&mut machine, "g", "t", 0, LONG_AGO);
    machine.groups.after_load(&machine.topics, machine.now);
    let (group, topic) = ("g".to_string(), "t".to_string());
    let start = Instant::now();
    let removed = Record::Group(GroupRecord::OffsetRemoved { group, topic, partition: 0 });
    assert_eq!(housekeeping(&mut machine).1, [removed]);
    assert!(start.elapsed() < IN_TIME, "housekeeping took {:?}", start.elapsed());

    let (codes, took) = delete_offsets(&mut machine, "g", some.iter().cloned());
    assert!(took < IN_TIME, "OffsetDelete took {took:?}");
    assert_eq!(codes, [86; 200]);
}

#[test]
fn what_patterns_match_is_found_out_once_for_a_topic_and_not_for_what_does_not_exist() {
    let mut machine = machine();
    let name = "x".repeat(200);
    machine.topics.put(&name, 1);
    put_matchers(&mut machine, "g", 500);
    machine.groups.after_load(&machine.topics, machine.now);
    let unknown = (0..50_000).map(|n| format!("{n:x<200}"));
    let (codes, took) = delete_offsets(&mut machine, "g", unknown);
    assert!(took < IN_TIME, "OffsetDelete of unknown topics took {took:?}");
    assert!(codes.len() == 50_000 && codes.iter().all(|code| *code == 3));
    let (codes, took) = delete_offsets(&mut machine, "g", std::iter::repeat_n(name.clone(), 50_000));
    assert!(took < IN_TIME, "OffsetDelete of one topic took {took:?}");
    assert!(codes.len() == 50_000 && codes.iter().all(|code| *code == 0));

    (0..20_000).for_each(|partition| put_offset(&mut machine, "g", &name, partition, LONG_AGO));
    let start = Instant::now();
    let (_, written) = housekeeping(&mut machine);
    assert!(start.elapsed() < IN_TIME, "housekeeping took {:?}", start.elapsed());
    assert_eq!(written.len(), 20_000);
}

#[test]
fn patterns_that_no_group_has_any_more_are_forgotten() {
    let mut machine = machine();
    let mut beat = |group: &str, epoch: i32, pattern: Option<&str>| {
        let request = m::ConsumerGroupHeartbeatRequest::default()
            .with_group_id(str(group).into())
            .with_member_id(str("m"))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_regex(pattern.map(str))
            .with_topic_partitions((epoch == 0).then(Vec::new));
        let replies = machine.ask(0, 1, Command::ConsumerGroupHeartbeat(request)).replies;
        let [(_, Reply::ConsumerGroupHeartbeat(answer))] = &replies[..] else { panic!("{replies:?}") };
        assert_eq!(answer.error_code, 0, "{answer:?}");
    };
    beat("g", 0, Some("t.*"));
    beat("g", 2, Some("t+"));
    beat("h", 0, Some("u.*"));
    beat("i", 0, Some("v.*"));
    beat("i", -1, None);
    let kept = |machine: &Machine| format!("{:?}", machine.groups.patterns);
    assert_eq!(kept(&machine), r#"{"t+", "t.*", "u.*", "v.*"}"#);
    housekeeping(&mut machine);
    assert_eq!(kept(&machine), r#"{"t+", "u.*"}"#);
}

#[test]
fn housekeeping_counts_what_it_takes_to_match_patterns() {
    let mut machine = machine();
    for group in ["a", "b", "c"] {
        put_matchers(&mut machine, group, 100);
        for topic in 0..60 {
            put_offset(&mut machine, group, &format!("t{topic}"), 0, LONG_AGO);
        }
    }
    machine.groups.after_load(&machine.topics, machine.now);
    assert_eq!(housekeeping(&mut machine).0, 2, "100 patterns and 60 topics are more than half of a step");
}
