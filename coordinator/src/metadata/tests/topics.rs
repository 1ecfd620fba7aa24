use super::*;
use crate::DeclaredLog;
use crate::config::Durability;
use crate::effects::SET_BYTES_MAX;
use crate::groups::{Committed, GroupRecord};
use crate::metadata::{Limits, MetadataRecord};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use pyralog_protocol::LogId;

fn codes(results: &[m::create_topics_response::CreatableTopicResult]) -> Vec<(String, i16)> {
    results.iter().map(|r| (r.name.to_string(), r.error_code)).collect()
}

fn code(bench: &mut Bench, topic: m::create_topics_request::CreatableTopic) -> i16 {
    bench.create_all(7, vec![topic])[0].error_code
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> m::create_topics_request::CreatableTopic {
    let assignment = |(index, brokers): &(i32, &[i32])| {
        let assignment = CreatableReplicaAssignment::default().with_partition_index(*index);
        assignment.with_broker_ids(brokers.iter().copied().map(m::BrokerId).collect())
    };
    topic(name, -1, -1, &[]).with_assignments(assignments.iter().map(assignment).collect())
}

#[test]
fn a01_counts_factors_names_and_doubles() {
    let mut b = bench_with(&[("num.partitions", "3")]);
    b.create("there", 1, &[]);
    b.create("a_b", 1, &[]);
    let cases: &[(&str, i32, i16, i16)] = &[
        ("there", 1, 1, 36),
        ("there", 0, 0, 36),
        ("p0", 0, 1, 37),
        ("p-2", -2, 1, 37),
        ("r0", 1, 0, 38),
        ("r-2", 1, -2, 38),
        ("r2", 1, 2, 38),
        ("bad name", 1, 1, 17),
        ("", 1, 1, 17),
        ("..", 1, 1, 17),
        ("a.b", 1, 1, 17),
        ("ok", 1, 1, 0),
    ];
    for (name, partitions, factor, expected) in cases {
        let results = b.create_all(7, vec![topic(name, *partitions, *factor, &[])]);
        assert_eq!(codes(&results), vec![((*name).to_owned(), *expected)]);
        let r = &results[0];
        if *expected != 0 {
            assert_eq!((r.num_partitions, r.replication_factor), (-1, -1));
            assert!(r.topic_id.is_nil() && r.configs.as_ref().unwrap().is_empty() && r.error_message.is_some());
        }
    }
    let twice = b.create_all(7, vec![topic("two", 1, 1, &[]), topic("one", 1, 1, &[]), topic("two", 2, 1, &[])]);
    assert_eq!(codes(&twice), vec![("one".to_owned(), 0), ("two".to_owned(), 42)]);
    let defaults = b.create_all(7, vec![topic("defaults", -1, -1, &[])]);
    assert_eq!((defaults[0].num_partitions, defaults[0].replication_factor), (3, 1));
    let old = b.create_all(2, vec![topic("old", -1, -1, &[])]);
    assert_eq!((old[0].error_code, b.image().log("old").unwrap().metadata.partition_count), (0, 3));
}

#[test]
fn a02_assignments() {
    let mut b = bench();
    let with_count = assigned("x", &[(0, &[1])]).with_num_partitions(1);
    let with_factor = assigned("x", &[(0, &[1])]).with_replication_factor(1);
    assert_eq!((code(&mut b, with_count), code(&mut b, with_factor)), (42, 42));
    let wrong: &[&[(i32, &[i32])]] =
        &[&[(0, &[9])], &[(0, &[1, 1])], &[(0, &[])], &[(0, &[1]), (2, &[1])], &[(1, &[1])], &[(0, &[1]), (0, &[1])]];
    for assignments in wrong {
        assert_eq!(code(&mut b, assigned("x", assignments)), 39, "{assignments:?}");
    }
    assert_eq!(code(&mut b, assigned("x", &[(1, &[1]), (0, &[1])])), 0);
    assert_eq!(b.image().log("x").unwrap().metadata.partition_count, 2);
}

#[test]
fn a03_validate_only_changes_nothing() {
    let mut b = bench();
    b.create("there", 1, &[]);
    let (image, sets) = (b.image(), b.sets.len());
    let topics = vec![topic("there", 1, 1, &[]), topic("new", 4, 1, &[])];
    let request = m::CreateTopicsRequest::default().with_timeout_ms(1000).with_validate_only(true).with_topics(topics);
    let results = b.create_request(7, request);
    assert_eq!(codes(&results), vec![("new".to_owned(), 0), ("there".to_owned(), 36)]);
    assert!(!results[0].topic_id.is_nil() && results[0].num_partitions == 4);
    assert_eq!(results[0].configs.as_ref().unwrap().len(), 37);
    assert_eq!((b.image(), b.sets.len()), (image, sets));
}

#[test]
fn a04_the_answer_by_version() {
    let mut b = bench();
    let v4 = b.create_all(4, vec![topic("v4", 2, 1, &[])]).remove(0);
    assert_eq!((v4.num_partitions, v4.replication_factor, v4.configs.unwrap().len()), (-1, -1, 0));
    let v5 = b.create_all(5, vec![topic("v5", 2, 1, &[("retention.ms", Some(" 60000 "))])]).remove(0);
    assert!(v5.topic_id.is_nil());
    assert_eq!((v5.num_partitions, v5.replication_factor), (2, 1));
    let configs = v5.configs.unwrap();
    // Kafka's 33, pyralog.durability and the two that pause a log.
    assert_eq!(configs.len(), 37);
    let of = |name: &str| configs.iter().find(|c| &*c.name == name).unwrap();
    assert_eq!((of("retention.ms").value.as_deref(), of("retention.ms").config_source), (Some("60000"), 1));
    assert_eq!((of("cleanup.policy").value.as_deref(), of("cleanup.policy").config_source), (Some("delete"), 5));
    assert_eq!(of("pyralog.durability").value.as_deref(), Some("fsync"));
    let v7 = b.create_all(7, vec![topic("v7", 1, 1, &[])]).remove(0);
    assert_eq!(super::super::wire::topic_id(&v7.topic_id), b.image().log("v7").unwrap().metadata.topic_id);
}

#[test]
fn a05_timeouts_and_limits() {
    let mut b = bench();
    let request = m::CreateTopicsRequest::default().with_timeout_ms(0).with_topics(vec![topic("late", 1, 1, &[])]);
    assert_eq!(b.create_request(7, request)[0].error_code, 7);
    assert!(b.image().log("late").is_none());
    assert_eq!(code(&mut b, topic("huge", 100_000, 1, &[])), 44);
    assert_eq!(code(&mut b, topic("max", i32::MAX, 1, &[])), 44);
    assert_eq!(code(&mut b, assigned("both", &[(0, &[1])]).with_num_partitions(i32::MAX)), 42);
    let mixed = b.create_all(7, vec![topic("good", 1, 1, &[]), topic("bad", 0, 1, &[])]);
    assert_eq!(codes(&mixed), vec![("bad".to_owned(), 37), ("good".to_owned(), 0)]);

    let mut settings = Settings::new(NodeId(1));
    settings.limits = Limits { partitions_total: 5, ..Limits::default() };
    let mut b = Bench::new(settings);
    assert_eq!(code(&mut b, topic("three", 3, 1, &[])), 0);
    assert_eq!(code(&mut b, topic("three-more", 3, 1, &[])), 44);
    assert_eq!(code(&mut b, topic("two", 2, 1, &[])), 0);
    assert_eq!(b.image().partition_count(), 5);
}

#[test]
fn a06_wrong_configs() {
    let mut b = bench();
    let wrong: &[(&str, Option<&str>, &str)] = &[
        ("retention.mss", Some("1"), "did you mean retention.ms?"),
        ("message.format.version", Some("3.0"), "unknown topic config"),
        ("message.downconversion.enable", Some("true"), "unknown topic config"),
        ("retention.ms", Some("abc"), "a whole number of 64 bits"),
        ("retention.ms", Some("-2"), "at least -1"),
        ("retention.ms", None, "no value"),
        ("segment.bytes", Some("1"), "at least 1048576"),
        ("cleanup.policy", Some("zip"), "a list of compact, delete"),
        ("compression.gzip.level", Some("0"), "1 to 9, or -1"),
        ("min.cleanable.dirty.ratio", Some("NaN"), "a finite decimal number"),
        ("leader.replication.throttled.replicas", Some("none"), "partition:broker pairs"),
        ("pyralog.durability", Some("maybe"), "one of fsync, memory"),
        ("remote.storage.enable", Some("true"), "no tiered storage"),
    ];
    for (name, value, says) in wrong {
        let result = b.create_all(7, vec![topic("x", 1, 1, &[(name, *value)])]).remove(0);
        let message = result.error_message.unwrap();
        assert!(result.error_code == 40 && message.contains(says), "{name}: {} {message}", result.error_code);
    }
    let lags = [("min.compaction.lag.ms", Some("10")), ("max.compaction.lag.ms", Some("5"))];
    assert_eq!(code(&mut b, topic("x", 1, 1, &lags)), 40);
    b.create("twice", 1, &[("retention.ms", "1"), ("retention.ms", "2"), ("cleanup.policy", "")]);
    let log = b.image().log("twice").unwrap().clone();
    assert_eq!(log.settings.retention_ms, 2);
    b.create("twice-bad", 1, &[("retention.ms", "x"), ("retention.ms", "2")]);
    assert_eq!(b.image().log("twice-bad").unwrap().settings.retention_ms, 2);
    assert!(!log.settings.cleanup.delete && !log.settings.cleanup.compact);
    b.create("mem", 1, &[("pyralog.durability", "memory")]);
    assert_eq!(b.image().log("mem").unwrap().settings.durability, Durability::Memory);
}

#[test]
fn a07_internal_logs_may_be_created_but_for_that_of_the_metadata() {
    let mut b = bench();
    b.create("__consumer_offsets", 1, &[]);
    assert_eq!(code(&mut b, topic("__cluster_metadata", 1, 1, &[])), 42);
}

fn delete(b: &mut Bench, version: i16, states: &[(Option<&str>, TopicId)]) -> Vec<(Option<String>, TopicId, i16)> {
    let state = |(name, id): &(Option<&str>, TopicId)| {
        let state = DeleteTopicState::default().with_name(name.map(super::name));
        state.with_topic_id(crate::metadata::wire::wire_id(*id))
    };
    let mut request = m::DeleteTopicsRequest::default().with_timeout_ms(1000);
    if version < 6 {
        request.topic_names = states.iter().filter_map(|(n, _)| n.map(super::name)).collect();
    } else {
        request.topics = states.iter().map(state).collect();
    }
    let Reply::DeleteTopics(response) = b.send(version, Command::DeleteTopics(request)) else { panic!() };
    let result = |r: m::delete_topics_response::DeletableTopicResult| {
        (r.name.map(|n| n.to_string()), crate::metadata::wire::topic_id(&r.topic_id), r.error_code)
    };
    response.responses.into_iter().map(result).collect()
}

#[test]
fn a08_deleting() {
    let mut b = bench();
    let (x, y, z) = (b.create("x", 1, &[("retention.ms", "5")]), b.create("y", 2, &[]), b.create("z", 1, &[]));
    let stranger = TopicId([9; 16]);
    let some = |n: &str| Some(n.to_owned());
    assert_eq!(delete(&mut b, 6, &[(Some("x"), TopicId::ZERO)]), [(some("x"), x, 0)]);
    assert_eq!(delete(&mut b, 6, &[(None, y)]), [(some("y"), y, 0)]);
    assert_eq!(delete(&mut b, 6, &[(Some("z"), z)]), [(some("z"), z, 42)]);
    assert_eq!(delete(&mut b, 6, &[(None, TopicId::ZERO)]), [(None, TopicId::ZERO, 42)]);
    assert_eq!(delete(&mut b, 6, &[(Some("none"), TopicId::ZERO)]), [(some("none"), TopicId::ZERO, 3)]);
    assert_eq!(delete(&mut b, 6, &[(None, stranger)]), [(None, stranger, 100)]);
    assert_eq!(delete(&mut b, 6, &[(Some("z"), TopicId::ZERO), (Some("z"), TopicId::ZERO)])[0].2, 42);
    assert_eq!(delete(&mut b, 6, &[(Some("z"), TopicId::ZERO), (None, z)]).len(), 1);
    assert_eq!(delete(&mut b, 5, &[(Some("z"), TopicId::ZERO)]), [(some("z"), TopicId::ZERO, 0)]);
    assert_eq!((b.image().log_count(), b.image().partition_count()), (0, 0));
    // The log that comes back under the same name is another one, without the old one's configs.
    assert_ne!(b.create("x", 1, &[]), x);
    assert!(b.image().log("x").unwrap().overrides.is_empty());
    assert_eq!(*b.reloaded().image(), *b.image());

    let mut b = bench_with(&[("delete.topic.enable", "false")]);
    b.create("kept", 1, &[]);
    assert_eq!(delete(&mut b, 3, &[(Some("kept"), TopicId::ZERO)])[0].2, 73);
    assert_eq!(delete(&mut b, 1, &[(Some("kept"), TopicId::ZERO)])[0].2, 42);
}

#[test]
fn a08_the_offsets_of_a_deleted_log_go_in_the_same_change() {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let mut b = bench();
    b.create("x", 1, &[]);
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(5);
    let of = OffsetCommitRequestTopic::default().with_name(name("x")).with_partitions(vec![partition]);
    let request = m::OffsetCommitRequest::default().with_group_id(m::GroupId(s("g"))).with_topics(vec![of]);
    b.send(8, Command::OffsetCommit(request.with_generation_id_or_member_epoch(-1)));
    delete(&mut b, 6, &[(Some("x"), TopicId::ZERO)]);
    let last = b.sets.last().unwrap();
    assert!(matches!(last[0], Record::Metadata(super::super::MetadataRecord::LogDeleted { .. })));
    assert!(last.iter().any(|record| matches!(record, Record::Group(_))), "{last:?}");
}

fn more(
    b: &mut Bench,
    log: &str,
    count: i32,
    assignments: Option<&[&[i32]]>,
    validate_only: bool,
) -> Vec<(String, i16)> {
    let assignment = |brokers: &&[i32]| {
        let ids = brokers.iter().copied().map(m::BrokerId).collect();
        CreatePartitionsAssignment::default().with_broker_ids(ids)
    };
    let topic = CreatePartitionsTopic::default().with_name(name(log)).with_count(count);
    let topic = topic.with_assignments(assignments.map(|a| a.iter().map(assignment).collect()));
    partitions(b, vec![topic], validate_only)
}

fn partitions(b: &mut Bench, topics: Vec<CreatePartitionsTopic>, validate_only: bool) -> Vec<(String, i16)> {
    let request = m::CreatePartitionsRequest::default().with_timeout_ms(1000).with_validate_only(validate_only);
    let Reply::CreatePartitions(response) = b.send(3, Command::CreatePartitions(request.with_topics(topics).into()))
    else {
        panic!()
    };
    response.results.iter().map(|r| (r.name.to_string(), r.error_code)).collect()
}

#[test]
fn a09_raising_partition_counts() {
    let mut b = bench();
    b.create("x", 2, &[("retention.ms", "5")]);
    for count in [1, 2, 0, -1] {
        assert_eq!(more(&mut b, "x", count, None, false)[0].1, 37);
    }
    assert_eq!(more(&mut b, "none", 3, None, false)[0].1, 3);
    let wrong: &[&[&[i32]]] = &[&[&[1], &[1]], &[&[7]], &[&[]], &[]];
    for assignments in wrong {
        assert_eq!(more(&mut b, "x", 3, Some(assignments), false)[0].1, 39, "{assignments:?}");
    }
    assert_eq!(more(&mut b, "x", 200_000, None, false)[0].1, 44);
    let twice = CreatePartitionsTopic::default().with_name(name("x")).with_count(5);
    assert_eq!(partitions(&mut b, vec![twice.clone(), twice], false), [("x".to_owned(), 42)]);
    let grown = |log: &str, count| {
        CreatePartitionsTopic::default().with_name(name(log)).with_count(count).with_assignments(None)
    };
    let beside = vec![grown("x", 3), grown("none", i32::MAX)];
    let expected = [("none".to_owned(), 3), ("x".to_owned(), 0)];
    assert_eq!(partitions(&mut b, beside, true), expected, "what there is not is not counted");
    let beside = vec![grown("x", i32::MAX), grown("none", 3)];
    let expected = [("none".to_owned(), 3), ("x".to_owned(), 44)];
    assert_eq!(partitions(&mut b, beside, true), expected);
    assert_eq!(more(&mut b, "x", 4, None, true)[0].1, 0);
    assert_eq!(b.image().partition_count(), 2);
    assert_eq!(more(&mut b, "x", 3, Some(&[&[1]]), false)[0].1, 0);
    assert_eq!(more(&mut b, "x", 4, None, false)[0].1, 0);
    let log = b.image().log("x").unwrap().clone();
    assert_eq!((log.metadata.partition_count, b.image().partition_count()), (4, 4));
    assert_eq!(log.settings.retention_ms, 5, "configs stay");
}

#[test]
fn m03_m06_auto_creation() {
    let mut b = bench_with(&[("num.partitions", "3")]);
    b.create("a_b", 1, &[]);
    let names = ["new", "a.b", "a_b", "__consumer_offsets"].map(|n| LogId::new(n).unwrap());
    b.send(0, Command::AutoCreate(names.to_vec()));
    let image = b.image();
    assert_eq!(image.log("new").unwrap().metadata.partition_count, 3);
    assert!(image.log("a.b").is_none());
    assert_eq!(image.log("a_b").unwrap().metadata.partition_count, 1);
    // M7: internal logs have their own partition count.
    let offsets = image.log("__consumer_offsets").unwrap();
    assert_eq!((offsets.metadata.partition_count, offsets.settings.cleanup.compact), (50, true));
}

#[test]
fn auto_creation_stops_at_the_limit_of_one_request() {
    let mut settings = Settings::new(NodeId(1));
    settings.limits.partitions_per_request = 2;
    let mut b = Bench::new(settings);
    let names = ["a", "b", "c"].map(|n| LogId::new(n).unwrap());
    b.send(0, Command::AutoCreate(names.to_vec()));
    assert_eq!(b.image().log_count(), 2);
    b.send(0, Command::AutoCreate(names[2..].to_vec()));
    assert_eq!(b.image().log_count(), 3);
}

#[test]
fn a_deleted_log_frees_the_names_that_collided_with_it() {
    let mut b = bench();
    b.create("a_b", 1, &[]);
    assert_eq!(code(&mut b, topic("a.b", 1, 1, &[])), 17);
    delete(&mut b, 6, &[(Some("a_b"), TopicId::ZERO)]);
    b.create("a.b", 1, &[]);
    assert_eq!(code(&mut b, topic("a_b", 1, 1, &[])), 17);
}

#[test]
fn declared_logs_are_created_once_and_errors_name_the_table() {
    let mut b = bench();
    let declared = |name: &str, count, value: &str| DeclaredLog {
        log: LogId::new(name).unwrap(),
        partition_count: Some(count),
        replication_factor: None,
        configs: vec![("retention.ms".to_owned(), value.to_owned())],
    };
    let logs = vec![declared("a", 2, "5"), declared("b", 1, "x"), declared("c", 0, "5")];
    let Reply::DeclareLogs(done) = b.send(0, Command::DeclareLogs(logs.clone())) else { panic!() };
    assert_eq!((done.refused.len(), done.differing.len()), (2, 0));
    assert!(done.refused[0].starts_with("[logs.b]: invalid value \"x\" for retention.ms"), "{done:?}");
    let sets = b.sets.len();
    b.send(0, Command::DeclareLogs(vec![declared("a", 9, "7")]));
    assert_eq!((b.image().log("a").unwrap().metadata.partition_count, b.sets.len()), (2, sets));
}

#[test]
fn declared_logs_that_are_there_stay_and_what_differs_is_told() {
    let mut b = bench();
    b.create("a", 2, &[("retention.ms", "5"), ("cleanup.policy", "compact")]);
    let mut differing = |partition_count, configs: &[(&str, &str)]| {
        let declared = DeclaredLog {
            log: LogId::new("a").unwrap(),
            partition_count,
            replication_factor: Some(1),
            configs: configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        };
        let Reply::DeclareLogs(done) = b.send(0, Command::DeclareLogs(vec![declared])) else { panic!() };
        assert_eq!(done.refused, Vec::<String>::new());
        done.differing
    };
    let nothing = Vec::<String>::new();
    assert_eq!(differing(None, &[]), nothing);
    let same = [("retention.ms", " +5"), ("cleanup.policy", "compact,compact"), ("segment.ms", "604800000")];
    assert_eq!(differing(Some(2), &same), nothing, "other spellings and defaults are the same values");
    assert_eq!(
        differing(Some(3), &[("retention.ms", "6"), ("segment.ms", "7"), ("no.such.config", "1")]),
        [
            "[logs.a]: partition_count is 2, not 3 as declared",
            "[logs.a]: retention.ms is \"5\", not \"6\" as declared",
            "[logs.a]: segment.ms is \"604800000\", not \"7\" as declared",
            "[logs.a]: unknown topic config \"no.such.config\"",
        ]
    );
}

#[test]
fn raised_epochs_are_those_of_led_partitions() {
    let mut b = bench();
    b.create("x", 2, &[]);
    b.create("y", 1, &[]);
    b.send(0, Command::RaiseEpochs(()));
    b.send(0, Command::RaiseEpochs(()));
    let image = b.image();
    assert!(image.logs().flat_map(|l| l.metadata.partitions.iter()).all(|p| p.leader_epoch.0 == 2));
    assert_eq!(*b.reloaded().image(), *image);
}

#[test]
fn placements_spread_leaders_and_name_each_broker_once() {
    let brokers = [1, 2, 3, 4].map(NodeId);
    let placed = crate::metadata::placement::place(0, 16, 3, &brokers, 5);
    for replicas in &placed {
        let mut distinct = replicas.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((replicas.len(), distinct.len()), (3, 3));
    }
    for broker in brokers {
        assert_eq!(placed.iter().filter(|r| r[0] == broker).count(), 4);
        assert!((11..=13).contains(&placed.iter().filter(|r| r.contains(&broker)).count()));
    }
}

#[test]
fn offsets_of_a_deleted_log_that_no_entry_can_hold_go_before_it() {
    let mut b = bench();
    let commit = |b: &mut Bench, group: String, topic: &str| {
        let (topic, committed) = (topic.to_owned(), Committed::default());
        let record = Record::Group(GroupRecord::Offset { group, topic, partition: 0, committed });
        b.coordinator.apply(&record);
        b.absorb(Effects { records: vec![vec![record]], ..Effects::default() });
    };
    for log in ["few", "many", "none"] {
        b.create(log, 1, &[]);
    }
    (0..3000).for_each(|n| commit(&mut b, format!("{n:04000}"), "many"));
    commit(&mut b, "g".to_owned(), "few");
    let before = b.sets.len();
    let all = ["few", "many", "none"].map(|log| (Some(log), TopicId::ZERO));
    assert!(delete(&mut b, 6, &all).iter().all(|(_, _, code)| *code == 0));
    let sets = &b.sets[before..];
    let outline = |set: &Vec<Record>| -> (usize, usize) {
        let logs = set.iter().filter(|record| matches!(record, Record::Metadata(MetadataRecord::LogDeleted { .. })));
        let offsets = set.iter().filter(|r| matches!(r, Record::Group(GroupRecord::TopicRemoved { .. })));
        (logs.count(), offsets.count())
    };
    let outlines: Vec<_> = sets.iter().map(outline).collect();
    let sizes = sets.iter().map(|set| set.iter().map(Record::bytes).sum::<usize>());
    assert!(sizes.max() <= Some(SET_BYTES_MAX), "{outlines:?}");
    let parts = outlines.iter().filter(|(logs, _)| *logs == 0).count();
    assert_eq!(parts, 3, "3,000 names of 4,000 bytes: {outlines:?}");
    assert_eq!(outlines.iter().map(|(_, offsets)| offsets).sum::<usize>(), 3001);
    // In the order of the sets: what was committed in a log is not behind its deletion.
    assert!(outlines.contains(&(1, 1)), "{outlines:?}");
    assert_eq!(outlines.iter().filter(|outline| **outline == (1, 0)).count(), 2);
    let last_part = outlines.iter().rposition(|(logs, _)| *logs == 0).unwrap();
    let deleted = sets[last_part + 1].iter().find_map(|record| match record {
        Record::Metadata(MetadataRecord::LogDeleted { log, .. }) => Some(log.as_str()),
        _ => None,
    });
    assert_eq!(deleted, Some("many"), "{outlines:?}");
    assert!(b.store.keys().all(|(family, _)| *family != Family::Groups));
}
