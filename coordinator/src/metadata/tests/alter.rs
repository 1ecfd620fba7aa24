use super::*;
use kafka_protocol::messages::{alter_configs_request as full, incremental_alter_configs_request as incremental};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Op<'a> = (&'a str, i8, Option<&'a str>);

fn resource(kind: i8, name: &str, ops: &[Op<'_>]) -> incremental::AlterConfigsResource {
    let config = |(name, operation, value): &Op<'_>| {
        let config = incremental::AlterableConfig::default().with_name(s(name));
        config.with_config_operation(*operation).with_value(value.map(s))
    };
    let resource = incremental::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name));
    resource.with_configs(ops.iter().map(config).collect())
}

fn send(b: &mut Bench, resources: Vec<incremental::AlterConfigsResource>, validate_only: bool) -> Vec<(i16, String)> {
    let request = m::IncrementalAlterConfigsRequest::default().with_resources(resources);
    let request = request.with_validate_only(validate_only);
    let Reply::IncrementalAlterConfigs(response) = b.send(1, Command::IncrementalAlterConfigs(request)) else {
        panic!()
    };
    let message = |m: Option<StrBytes>| m.map(|m| m.to_string()).unwrap_or_default();
    response.responses.into_iter().map(|r| (r.error_code, message(r.error_message))).collect()
}

fn ops(b: &mut Bench, kind: i8, name: &str, ops: &[Op<'_>]) -> i16 {
    send(b, vec![resource(kind, name, ops)], false)[0].0
}

/// One change; DELETE takes no value.
#[expect(clippy::too_many_arguments, reason = "reads like a line of a trace")]
pub(super) fn one(b: &mut Bench, kind: i8, name: &str, config: &str, operation: i8, value: &str) -> i16 {
    let value = (operation != DELETE).then_some(value);
    ops(b, kind, name, &[(config, operation, value)])
}

fn replace(b: &mut Bench, kind: i8, name: &str, configs: &[(&str, Option<&str>)]) -> i16 {
    let config = |(name, value): &(&str, Option<&str>)| {
        full::AlterableConfig::default().with_name(s(name)).with_value(value.map(s))
    };
    let resource = full::AlterConfigsResource::default().with_resource_type(kind).with_resource_name(s(name));
    let resource = resource.with_configs(configs.iter().map(config).collect());
    let request = m::AlterConfigsRequest::default().with_resources(vec![resource]);
    let Reply::AlterConfigs(response) = b.send(2, Command::AlterConfigs(request)) else { panic!() };
    response.responses[0].error_code
}

fn policy(b: &Bench) -> Option<String> {
    b.image().log("x").unwrap().overrides.get("cleanup.policy").cloned()
}

#[test]
fn k05_append_subtract_delete() {
    let mut b = bench();
    b.create("x", 1, &[]);
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", APPEND, "compact"), 0);
    assert_eq!(policy(&b).as_deref(), Some("delete,compact"));
    let sets = b.sets.len();
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", APPEND, "compact"), 0);
    assert_eq!(b.sets.len(), sets, "no change, no record");
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", SUBTRACT, "delete"), 0);
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", SUBTRACT, "delete"), 0);
    assert_eq!(policy(&b).as_deref(), Some("compact"));
    assert_eq!(one(&mut b, 2, "x", "retention.ms", APPEND, "1"), 40);
    assert_eq!(one(&mut b, 2, "x", "retention.ms", SUBTRACT, "1"), 40);
    assert_eq!(one(&mut b, 2, "x", "retention.ms", DELETE, ""), 0);
    assert_eq!(one(&mut b, 2, "x", "no.such.config", DELETE, ""), 0);
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", DELETE, ""), 0);
    assert_eq!(policy(&b), None);
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", APPEND, "zip"), 40);
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", APPEND, ""), 40, "an item that is empty");
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", APPEND, ",compact"), 40, "an item that is empty");
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", APPEND, ","), 0, "no items");
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", APPEND, " compact,"), 0);
    assert_eq!(policy(&b).as_deref(), Some("delete,compact"));
    assert_eq!(one(&mut b, 2, "x", "cleanup.policy", SUBTRACT, " compact"), 0, "no item has a space");
    assert_eq!(policy(&b).as_deref(), Some("delete,compact"));
}

#[test]
#[expect(clippy::disallowed_types, reason = "how long it takes is what is looked at")]
fn k05_lists_of_many_items_are_edited_in_no_time() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let name = "leader.replication.throttled.replicas";
    let pairs = |from: i32| (from..from + 2000).map(|n| format!("{n}:1")).collect::<Vec<_>>().join(",");
    let (low, high) = (pairs(1000), pairs(3500));
    let start = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(one(&mut b, 2, "x", name, SET, &low), 0);
        assert_eq!(one(&mut b, 2, "x", name, APPEND, &high), 0);
        assert_eq!(one(&mut b, 2, "x", name, SUBTRACT, &low), 0);
        assert_eq!(b.image().log("x").unwrap().overrides[name], high);
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "it took {:?}", start.elapsed());
}

#[test]
fn k06_what_is_refused() {
    let mut b = bench();
    b.create("x", 1, &[]);
    assert_eq!(ops(&mut b, 2, "x", &[("retention.ms", SET, None)]), 42);
    assert_eq!(ops(&mut b, 2, "x", &[("cleanup.policy", APPEND, None)]), 42);
    assert_eq!(one(&mut b, 2, "x", "retention.msx", SET, "1"), 40);
    assert_eq!(ops(&mut b, 2, "x", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]), 42);
    assert_eq!(one(&mut b, 2, "", "retention.ms", SET, "1"), 42);
    assert_eq!(one(&mut b, 32, "", "consumer.session.timeout.ms", SET, "50000"), 42);
    assert_eq!(one(&mut b, 16, "", "interval.ms", SET, "1000"), 42);
    assert_eq!(one(&mut b, 2, "none", "retention.ms", SET, "1"), 3);
    assert_eq!(one(&mut b, 2, "bad name", "retention.ms", SET, "1"), 17);
    // What is wrong with the changes themselves comes first.
    assert_eq!(ops(&mut b, 2, "none", &[("retention.ms", SET, None)]), 42);
    assert_eq!(ops(&mut b, 2, "bad name", &[("flush.ms", SET, Some("1")), ("flush.ms", DELETE, None)]), 42);
    assert_eq!(one(&mut b, 9, "x", "retention.ms", SET, "1"), 42);
    assert_eq!(one(&mut b, 2, "x", "retention.ms", 9, "1"), 42, "Kafka says -1");
    let twice = resource(2, "x", &[("retention.ms", SET, Some("1"))]);
    let answers = send(&mut b, vec![twice.clone(), twice], false);
    assert_eq!(answers.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [42, 42]);
    assert!(b.image().log("x").unwrap().overrides.is_empty());
    let lags = [("min.compaction.lag.ms", SET, Some("10")), ("max.compaction.lag.ms", SET, Some("5"))];
    assert_eq!(ops(&mut b, 2, "x", &lags), 40);
}

#[test]
fn k07_validate_only_and_settings_follow() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let change = resource(2, "x", &[("retention.ms", SET, Some("5"))]);
    let image = b.image();
    assert_eq!(send(&mut b, vec![change.clone()], true)[0].0, 0);
    assert_eq!(b.image(), image);
    assert_eq!(send(&mut b, vec![resource(2, "x", &[("retention.ms", SET, Some("x"))])], true)[0].0, 40);
    assert_eq!(send(&mut b, vec![change], false)[0].0, 0);
    let log = b.image().log("x").unwrap().clone();
    assert_eq!((log.settings.retention_ms, log.metadata.retention_config.age_ms), (5, Some(5)));
}

#[test]
fn k08_brokers_and_loggers() {
    let mut b = bench();
    b.create("x", 1, &[]);
    assert_eq!(one(&mut b, 4, "1", "num.partitions", SET, "8"), 42);
    assert_eq!(one(&mut b, 4, "", "num.partitions", SET, "8"), 42);
    assert_eq!(one(&mut b, 4, "", "listeners", SET, "PLAINTEXT://:1"), 42, "a config of one broker");
    assert_eq!(one(&mut b, 4, "1", "listeners", SET, "PLAINTEXT://:1"), 42, "nobody would listen there");
    assert_eq!(one(&mut b, 4, "7", "log.retention.ms", SET, "5"), 42);
    assert_eq!(one(&mut b, 4, "q", "log.retention.ms", SET, "5"), 42);
    assert_eq!(one(&mut b, 4, "1", "log.retention.ms", SET, "x"), 42);
    assert_eq!(one(&mut b, 4, "1", "foo.bar", SET, "5"), 0, "unknown names are accepted");
    assert_eq!(one(&mut b, 4, "", "log.retention.ms", SET, "80000"), 0);
    assert_eq!(b.image().log("x").unwrap().settings.retention_ms, 80_000);
    assert_eq!(one(&mut b, 4, "1", "log.retention.ms", SET, "70000"), 0);
    assert_eq!(b.image().log("x").unwrap().settings.retention_ms, 70_000);
    assert_eq!(one(&mut b, 4, "1", "log.cleaner.min.compaction.lag.ms", SET, "10"), 0);
    assert_eq!(one(&mut b, 4, "1", "log.cleaner.max.compaction.lag.ms", SET, "5"), 42);
    assert_eq!(one(&mut b, 4, "", "log.cleaner.dedupe.buffer.size", SET, "1048576"), 42, "too little for one thread");
    // SE-08: nothing that Kafka would load can be set.
    assert_eq!(one(&mut b, 4, "1", "ssl.engine.factory.class", SET, "evil.Class"), 42);
    assert_eq!(one(&mut b, 4, "1", "metric.reporters", SET, "evil.Class"), 42);

    assert_eq!(one(&mut b, 8, "1", "no.logger", SET, "INFO"), 40);
    assert_eq!(one(&mut b, 8, "1", "root", SET, "LOUD"), 40);
    assert_eq!(one(&mut b, 8, "1", "root", SET, "INFO"), 0);
    assert_eq!(one(&mut b, 8, "1", "root", SET, "DEBUG"), 42, "levels are chosen at start");
    assert_eq!(one(&mut b, 8, "1", "root", DELETE, ""), 42);
    assert_eq!(one(&mut b, 8, "3", "root", SET, "INFO"), 42);
    assert_eq!(replace(&mut b, 8, "1", &[("root", Some("INFO"))]), 42);
}

#[test]
fn k09_alter_configs_replaces_the_whole_set() {
    let mut b = bench();
    b.create("x", 1, &[("retention.ms", "5"), ("cleanup.policy", "compact")]);
    assert_eq!(replace(&mut b, 2, "x", &[("segment.ms", Some("9"))]), 0);
    let overrides = b.image().log("x").unwrap().overrides.clone();
    assert_eq!(overrides.keys().collect::<Vec<_>>(), ["segment.ms"]);
    assert_eq!(replace(&mut b, 2, "x", &[("segment.ms", None)]), 42);
    assert_eq!(replace(&mut b, 2, "x", &[("segment.ms", Some("1")), ("segment.ms", Some("2"))]), 42);
    assert_eq!(replace(&mut b, 2, "x", &[("nope", Some("1"))]), 40);
    assert_eq!(replace(&mut b, 2, "x", &[]), 0);
    assert!(b.image().log("x").unwrap().overrides.is_empty());
}

#[test]
fn k10_groups_are_bounded_by_the_broker() {
    let mut b = bench();
    let timeout = "consumer.session.timeout.ms";
    let low = send(&mut b, vec![resource(32, "g", &[(timeout, SET, Some("1"))])], false).remove(0);
    assert_eq!(low.0, 40);
    assert!(low.1.contains("group.consumer.min.session.timeout.ms=45000"), "{}", low.1);
    assert_eq!(one(&mut b, 32, "g", timeout, SET, "60001"), 40);
    assert_eq!(one(&mut b, 32, "g", timeout, SET, "abc"), 40);
    assert_eq!(one(&mut b, 32, "g", "zzz", SET, "1"), 40);
    assert_eq!(one(&mut b, 32, "g", "streams.num.standby.replicas", SET, "3"), 40);
    assert_eq!(one(&mut b, 32, "g", timeout, SET, "46000"), 0);
    assert_eq!(b.image().group_configs("g").unwrap().get(timeout).map(String::as_str), Some("46000"));
    b.create("x", 1, &[]);
    assert_eq!(one(&mut b, 2, "x", "remote.storage.enable", SET, "true"), 40);

    assert_eq!(one(&mut b, 16, "m", "interval.ms", SET, "1"), 42);
    assert_eq!(one(&mut b, 16, "m", "interval.ms", SET, "abc"), 40);
    assert_eq!(one(&mut b, 16, "m", "interval.ms", SET, "9999999999"), 40);
    assert_eq!(one(&mut b, 16, "m", "metrics", APPEND, "org.apache"), 40);
    assert_eq!(one(&mut b, 16, "m", "match", SUBTRACT, "client_id=a.*"), 40);
    assert_eq!(one(&mut b, 16, "m", "zzz", SET, "1"), 42);
    assert_eq!(one(&mut b, 16, "m", "match", SET, "x=y"), 40);
    assert_eq!(one(&mut b, 16, "m", "match", SET, "client_id=a.*"), 0);
    assert_eq!(*b.reloaded().image(), *b.image());
}

#[test]
fn limits_of_configs_are_policy_violations() {
    let mut settings = Settings::new(NodeId(1));
    settings.limits.configs_per_resource = 1;
    settings.limits.configured_resources = 1;
    let mut b = Bench::new(settings);
    b.create("x", 1, &[("retention.ms", "5")]);
    assert_eq!(one(&mut b, 2, "x", "segment.ms", SET, "5"), 44);
    assert_eq!(one(&mut b, 32, "g", "share.isolation.level", SET, "read_committed"), 0);
    assert_eq!(one(&mut b, 32, "h", "share.isolation.level", SET, "read_committed"), 44);
    assert_eq!(one(&mut b, 4, "1", &"x".repeat(300), SET, "5"), 42);
    assert_eq!(one(&mut b, 4, "1", "log.dir.x", SET, &"x".repeat(40_000)), 42);
}

const NO_ROOM: Option<NoRoom> = Some(NoRoom { time: 1, configs_bytes: 1 << 20 });

#[test]
fn op_10_without_room_a_few_bytes_are_set_on_logs_and_brokers_and_nothing_else() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let long = "x".repeat(2048);
    b.no_room = NO_ROOM;
    assert_eq!(one(&mut b, 2, "x", "retention.ms", SET, "5"), 0, "which makes room");
    assert_eq!(replace(&mut b, 2, "x", &[("retention.ms", Some("6"))]), 0);
    assert_eq!(one(&mut b, 4, "", "log.retention.ms", SET, "70000"), 0);
    assert_eq!(one(&mut b, 4, "1", "my.plugin", SET, &long), 56);
    assert_eq!(replace(&mut b, 4, "", &[("my.plugin", Some(&long))]), 56);
    assert_eq!(one(&mut b, 32, "g", "consumer.session.timeout.ms", SET, "46000"), 56);
    assert_eq!(one(&mut b, 16, "m", "interval.ms", SET, "1000"), 56);
    assert_eq!(one(&mut b, 16, "m", "interval.ms", DELETE, ""), 0, "nothing to write");
    let why = send(&mut b, vec![resource(4, "1", &[("my.plugin", SET, Some(&long))])], true).remove(0).1;
    assert!(why.contains("no room left") && why.contains("2048"), "{why}");
    b.no_room = None;
    assert_eq!(one(&mut b, 4, "1", "my.plugin", SET, &long), 0);
    b.no_room = NO_ROOM;
    assert_eq!(one(&mut b, 4, "1", "log.retention.ms", SET, "5"), 56, "what is there already is written again");
    assert_eq!(one(&mut b, 4, "1", "my.plugin", DELETE, ""), 0);
    assert_eq!(one(&mut b, 4, "1", "log.retention.ms", SET, "5"), 0);
    assert_eq!(*b.reloaded().image(), *b.image());
}

#[test]
fn op_10_without_room_changes_are_taken_until_they_have_taken_their_part() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let taken = |b: &mut Bench, no_room: NoRoom| {
        b.no_room = Some(no_room);
        let first = b.steps;
        (0..100).take_while(|n| one(b, 2, "x", "retention.ms", SET, &(first + n).to_string()) == 0).count()
    };
    let first = NoRoom { time: 1, configs_bytes: 64 << 10 };
    let count = taken(&mut b, first);
    assert!((50..64).contains(&count), "{count} changes took 64 KiB");
    assert_eq!(one(&mut b, 4, "", "log.retention.ms", SET, "70000"), 56, "all together");
    assert_eq!(replace(&mut b, 2, "x", &[]), 56);
    let unchanged = b.image().log("x").unwrap().overrides.get("retention.ms").unwrap().clone();
    assert_eq!(one(&mut b, 2, "x", "retention.ms", SET, &unchanged), 0, "nothing to write");
    assert_eq!(taken(&mut b, NoRoom { configs_bytes: 65 << 10, ..first }), 1, "a little more room");
    let second = NoRoom { time: 2, ..first };
    assert_eq!(taken(&mut b, second), count, "there was room, and there is none again");
    b.no_room = Some(NoRoom { time: 3, ..first });
    for n in 0..100 {
        let asked = vec![resource(2, "x", &[("retention.ms", SET, Some(&n.to_string()))])];
        assert_eq!(send(&mut b, asked, true).remove(0).0, 0, "what is only asked for takes nothing");
    }
    assert_eq!(taken(&mut b, NoRoom { time: 3, ..first }), count);
}
