//! Section K, configs: one test per numbered statement, named after it.
//!
//! The lists in `data/configs` are what Apache Kafka 4.3.1 lists. K12 belongs to an API that is not offered yet; loggers
//! and client metrics (parts of K1 and K8) are resources that Pyralog does not have.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_configs_request;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::{BrokerOptions, Conn, Target, is_our_config, on_kafka, private, shared, text, unique};
use serde_json::Value;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Operation, key and value.
type Change<'a> = (i8, &'a str, Option<&'a str>);

/// A connection, a topic and the id of the broker.
fn start() -> (Target, Conn, String, String) {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("k", 1, &[]);
    let node = conn.metadata(&[]).brokers[0].node_id.0.to_string();
    (target, conn, name, node)
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys.map(|keys| keys.iter().map(|k| text(k)).collect()))
}

fn describe(conn: &mut Conn, version: i16, asked: DescribeConfigsResource) -> DescribeConfigsResult {
    let answer = conn.call(version, &DescribeConfigsRequest::default().with_resources(vec![asked]));
    assert_eq!(answer.results.len(), 1, "{answer:?}");
    answer.results[0].clone()
}

/// All described configs by name.
fn all(conn: &mut Conn, kind: i8, name: &str) -> BTreeMap<String, DescribeConfigsResourceResult> {
    let result = describe(conn, 4, resource(kind, name, None));
    assert_eq!(result.error_code, 0, "{result:?}");
    result.configs.into_iter().map(|c| (c.name.to_string(), c)).collect()
}

fn value(conn: &mut Conn, kind: i8, name: &str, key: &str) -> Option<String> {
    let result = describe(conn, 4, resource(kind, name, Some(&[key])));
    assert_eq!((result.error_code, result.configs.len()), (0, 1), "{key}: {result:?}");
    result.configs[0].value.as_ref().map(|v| v.to_string())
}

/// One resource with (operation, key, value), v1: its error and whether there is a message.
fn alter(conn: &mut Conn, kind: i8, name: &str, changes: &[Change]) -> i16 {
    let answer =
        conn.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![changed(kind, name, changes)]));
    assert_eq!(answer.responses.len(), 1, "{answer:?}");
    answer.responses[0].error_code
}

fn changed(kind: i8, name: &str, changes: &[Change]) -> AlterConfigsResource {
    let configs = changes
        .iter()
        .map(|(operation, key, value)| {
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(*operation)
                .with_value(value.map(text))
        })
        .collect();
    AlterConfigsResource::default().with_resource_type(kind).with_resource_name(text(name)).with_configs(configs)
}

/// The described entries of a list in `data/configs`.
fn listed(scope: &str) -> BTreeMap<String, Value> {
    let path = format!("{}/data/configs/{scope}.json", pyralog_compat_tests::crate_folder().display());
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let configs = file["configs"].as_array().unwrap().iter().filter(|c| c["described"] == true);
    configs.map(|c| (c["name"].as_str().unwrap().to_owned(), c.clone())).collect()
}

fn type_code(name: &str) -> i8 {
    let names = ["BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"];
    i8::try_from(names.iter().position(|n| *n == name).unwrap()).unwrap() + 1
}

/// Numbers are compared as numbers: `0.5` and `0.50` are one default.
fn same(expected: &Value, found: Option<&str>) -> bool {
    match (expected, found) {
        (Value::Null, found) => found.is_none(),
        (Value::Number(n), Some(found)) => found == n.to_string() || found.parse::<f64>().ok() == n.as_f64(),
        (Value::Bool(b), Some(found)) => found == b.to_string(),
        (Value::String(s), Some(found)) => found == s,
        (Value::Array(items), Some(found)) => {
            found == items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        }
        (Value::Object(_), _) | (_, None) => false,
    }
}

/// Defaults that are ours on purpose (docs/DIFFERENCES.md): Kafka's is no limit, and everything here has one.
const OUR_DEFAULTS: [(&str, &str); 2] = [("group.max.size", "2000"), ("group.consumer.max.size", "2000")];

/// Names, types, read-only flags and, for what nobody has set, values.
fn compare(scope: &str, found: &BTreeMap<String, DescribeConfigsResourceResult>) {
    let expected = listed(scope);
    let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(found.keys().filter(|k| !is_our_config(k)).collect()),
        names(expected.keys().collect()),
        "{scope}"
    );
    let mut wrong = Vec::new();
    for (name, expected) in &expected {
        let found = &found[name];
        let kind = type_code(expected["type"].as_str().unwrap());
        let is_default = found.config_source == 5 && !found.is_sensitive && expected["required"] != true;
        let value = found.value.as_ref().map(|v| v.as_str());
        if found.config_type != kind || found.read_only != expected["readOnly"].as_bool().unwrap() {
            wrong.push(format!("{name}: type {} read_only {}, listed {expected}", found.config_type, found.read_only));
        }
        let is_ours = !on_kafka() && value.is_some_and(|v| OUR_DEFAULTS.contains(&(name, v)));
        if is_default && !is_ours && !same(&expected["default"], value) {
            wrong.push(format!("{name}: default {value:?}, listed {}", expected["default"]));
        }
    }
    assert!(wrong.is_empty(), "{scope}:\n{}", wrong.join("\n"));
}

#[test]
fn k01_topic_configs_are_complete() {
    let (_target, mut conn, name, _) = start();
    compare("topic", &all(&mut conn, TOPIC, &name));
}

#[test]
fn k01_broker_configs_are_complete() {
    let (_target, mut conn, _, node) = start();
    compare("broker", &all(&mut conn, BROKER, &node));
    let overrides = all(&mut conn, BROKER, "");
    assert!(overrides.values().all(|c| c.config_source == 3), "{overrides:?}");
}

#[test]
fn k01_group_configs_are_complete() {
    let (_target, mut conn, _, _) = start();
    compare("group", &all(&mut conn, GROUP, &unique("k")));
}

#[test]
fn k02_bad_resources() {
    let (_target, mut conn, _, node) = start();
    let other: i32 = node.parse::<i32>().unwrap() + 77;
    for version in 1..=4 {
        let cases = [
            (3, TOPIC, unique("missing")),
            (17, TOPIC, "a b".to_owned()),
            (42, BROKER, other.to_string()),
            (42, BROKER, "one".to_owned()),
            (42, 99, "x".to_owned()),
            (42, GROUP, String::new()),
            (0, GROUP, unique("unknown")),
        ];
        for (error, kind, name) in cases {
            let result = describe(&mut conn, version, resource(kind, &name, None));
            assert_eq!(result.error_code, error, "v{version} {kind} {name:?} {:?}", result.error_message);
            assert_eq!((result.resource_type, result.resource_name.as_str()), (kind, &*name), "v{version}");
            assert!(error == 0 || result.configs.is_empty(), "v{version} {kind} {name:?}");
        }
    }
}

#[test]
fn k03_null_and_empty_key_lists_mean_all() {
    let (_target, mut conn, name, _) = start();
    for version in 1..=4 {
        for (keys, count) in [
            (None, 33),
            (Some(&[][..]), 33),
            (Some(&["retention.ms", "no.such.config"][..]), 1),
            (Some(&["no.such.config"][..]), 0),
        ] {
            let result = describe(&mut conn, version, resource(TOPIC, &name, keys));
            let found = result.configs.iter().filter(|c| !is_our_config(&c.name)).count();
            assert_eq!((result.error_code, found), (0, count), "v{version} {keys:?}");
        }
    }
}

#[test]
fn k04_sources_synonyms_types_and_documentation() {
    let (_target, mut conn, name, node) = start();
    assert_eq!(
        alter(&mut conn, TOPIC, &name, &[(SET, "max.message.bytes", Some("7777")), (SET, "retention.ms", Some("1"))]),
        0
    );
    eventually("the change", || (value(&mut conn, TOPIC, &name, "max.message.bytes")? == "7777").then_some(()));
    for version in 1..=4 {
        let asked = DescribeConfigsRequest::default().with_resources(vec![resource(
            TOPIC,
            &name,
            Some(&["max.message.bytes", "retention.ms", "flush.ms"]),
        )]);
        let plain = conn.call(version, &asked).results[0].clone();
        assert!(
            plain
                .configs
                .iter()
                .all(|c| c.synonyms.is_empty() && c.documentation.as_ref().is_none_or(|d| d.is_empty()))
        );
        let full =
            conn.call(version, &asked.with_include_synonyms(true).with_include_documentation(version >= 3)).results[0]
                .clone();
        let find = |key: &str| full.configs.iter().find(|c| c.name.as_str() == key).unwrap();
        let own = find("max.message.bytes");
        assert_eq!(own.config_source, 1, "v{version}");
        let synonyms =
            |key: &str| find(key).synonyms.iter().map(|s| (s.name.to_string(), s.source)).collect::<Vec<_>>();
        let expected = [("max.message.bytes".to_owned(), 1), ("message.max.bytes".to_owned(), 5)];
        assert_eq!(synonyms("max.message.bytes"), expected, "v{version}: own value first, then the broker's");
        assert_eq!(synonyms("retention.ms"), [("retention.ms".to_owned(), 1)], "v{version}: log.retention.ms is null");
        assert_eq!(find("flush.ms").config_source, 5, "v{version}");
        if version >= 3 {
            assert_eq!((own.config_type, find("flush.ms").config_type), (3, 5), "v{version}");
            assert!(own.documentation.as_ref().is_some_and(|d| !d.is_empty()), "v{version}");
        }
    }
    for (name, config) in all(&mut conn, BROKER, &node) {
        assert!(!config.is_sensitive || config.value.is_none(), "{name} shows a secret");
        assert!((1..=9).contains(&config.config_type) && [3, 4, 5, 2].contains(&config.config_source), "{config:?}");
    }
}

#[test]
fn k05_append_subtract_and_delete() {
    let (_target, mut conn, name, _) = start();
    let policy = |conn: &mut Conn| value(conn, TOPIC, &name, "cleanup.policy").unwrap();
    let steps: [(i8, &str, &str); 6] = [
        (APPEND, "compact", "delete,compact"),
        (APPEND, "compact", "delete,compact"),
        (SUBTRACT, "delete", "compact"),
        (SUBTRACT, "delete", "compact"),
        (APPEND, "delete", "compact,delete"),
        (DELETE, "", "delete"),
    ];
    for (operation, item, expected) in steps {
        let item = (operation != DELETE).then_some(item);
        assert_eq!(alter(&mut conn, TOPIC, &name, &[(operation, "cleanup.policy", item)]), 0, "{operation} {item:?}");
        eventually(expected, || (policy(&mut conn) == expected).then_some(()));
    }
    for operation in [APPEND, SUBTRACT] {
        assert_eq!(alter(&mut conn, TOPIC, &name, &[(operation, "retention.ms", Some("1"))]), 40);
    }
    assert_eq!(alter(&mut conn, TOPIC, &name, &[(DELETE, "retention.ms", None)]), 0, "nothing was set");
    assert_eq!(alter(&mut conn, TOPIC, &name, &[(DELETE, "no.such.config", None)]), 0);
}

#[test]
fn k06_refused_changes() {
    let (_target, mut conn, name, _) = start();
    let cases: [(i16, i8, &str, &[Change]); 8] = [
        (42, TOPIC, &name, &[(SET, "retention.ms", None)]),
        (40, TOPIC, &name, &[(SET, "no.such.config", Some("1"))]),
        (40, TOPIC, &name, &[(SET, "retention.ms", Some("soon"))]),
        (42, TOPIC, &name, &[(SET, "retention.ms", Some("1")), (SET, "retention.ms", Some("2"))]),
        (42, TOPIC, "", &[(SET, "retention.ms", Some("1"))]),
        (42, GROUP, "", &[(SET, "consumer.session.timeout.ms", Some("50000"))]),
        (3, TOPIC, &unique("missing"), &[(SET, "retention.ms", Some("1"))]),
        (42, 99, "x", &[(SET, "retention.ms", Some("1"))]),
    ];
    for (error, kind, name, changes) in cases {
        assert_eq!(alter(&mut conn, kind, name, changes), error, "{kind} {name:?} {changes:?}");
    }
    let unknown_operation = alter(&mut conn, TOPIC, &name, &[(9, "retention.ms", Some("1"))]);
    assert_eq!(unknown_operation, if on_kafka() { -1 } else { 42 });
    let one = || changed(TOPIC, &name, &[(SET, "retention.ms", Some("1"))]);
    let answer = conn.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![one(), one()]));
    assert!(!answer.responses.is_empty() && answer.responses.iter().all(|r| r.error_code == 42), "{answer:?}");
    assert_eq!(value(&mut conn, TOPIC, &name, "retention.ms").unwrap(), "604800000");
}

#[test]
fn k07_validate_only_changes_nothing() {
    let (_target, mut conn, name, _) = start();
    for version in 0..=1 {
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![changed(
            TOPIC,
            &name,
            &[(SET, "retention.ms", Some("5000"))],
        )]);
        assert_eq!(
            conn.call(version, &request.clone().with_validate_only(true)).responses[0].error_code,
            0,
            "v{version}"
        );
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(value(&mut conn, TOPIC, &name, "retention.ms").unwrap(), "604800000");
    assert_eq!(alter(&mut conn, TOPIC, &name, &[(SET, "retention.ms", Some("5000"))]), 0);
    eventually("it is visible", || {
        (value(&mut conn, TOPIC, &name, "retention.ms").as_deref() == Some("5000")).then_some(())
    });
}

#[test]
fn k08_broker_resource() {
    let (_target, mut conn, _, node) = start();
    let other = (node.parse::<i32>().unwrap() + 77).to_string();
    let cases: [(i16, &str, &str, &str); 4] = [
        (42, &node, "broker.id", "9"),
        (42, &node, "log.dirs", "/tmp"),
        (42, "", "ssl.keystore.location", "/tmp/x"),
        (42, &other, "log.cleaner.threads", "1"),
    ];
    for (error, name, key, value) in cases {
        assert_eq!(alter(&mut conn, BROKER, name, &[(SET, key, Some(value))]), error, "{name:?} {key}");
    }
    assert_eq!(alter(&mut conn, BROKER, &node, &[(SET, "no.such.config", Some("1"))]), 0, "unknown names are accepted");
    assert_eq!(alter(&mut conn, BROKER, &node, &[(DELETE, "no.such.config", None)]), 0);
}

#[test]
fn k09_alter_configs_replaces_the_whole_set() {
    let (_target, mut conn, name, _) = start();
    for version in 0..=2 {
        assert_eq!(
            alter(&mut conn, TOPIC, &name, &[(SET, "retention.ms", Some("1111")), (SET, "flush.ms", Some("2222"))]),
            0
        );
        eventually("both", || (value(&mut conn, TOPIC, &name, "flush.ms")? == "2222").then_some(()));
        let configs = vec![
            alter_configs_request::AlterableConfig::default()
                .with_name(text("flush.ms"))
                .with_value(Some(text("3333"))),
        ];
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&name))
            .with_configs(configs);
        let answer = conn.call(version, &AlterConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(answer.responses[0].error_code, 0, "v{version}");
        eventually("the new one", || (value(&mut conn, TOPIC, &name, "flush.ms")? == "3333").then_some(()));
        assert_eq!(value(&mut conn, TOPIC, &name, "retention.ms").unwrap(), "604800000", "v{version}: back to default");
    }
}

#[test]
fn k10_group_and_tiering_configs() {
    let (_target, mut conn, name, _) = start();
    let group = unique("k");
    assert_eq!(alter(&mut conn, GROUP, &group, &[(SET, "consumer.session.timeout.ms", Some("1"))]), 40);
    assert_eq!(alter(&mut conn, GROUP, &group, &[(SET, "no.such.config", Some("1"))]), 40);
    assert_eq!(alter(&mut conn, GROUP, &group, &[(SET, "consumer.session.timeout.ms", Some("50000"))]), 0);
    eventually("the change", || {
        (value(&mut conn, GROUP, &group, "consumer.session.timeout.ms")? == "50000").then_some(())
    });
    assert_eq!(alter(&mut conn, TOPIC, &name, &[(SET, "remote.storage.enable", Some("true"))]), 40);
}

#[test]
fn k11_broker_lists_defaults() {
    let (_target, mut conn, _, node) = start();
    for (key, expected) in
        [("default.replication.factor", "1"), ("log.retention.hours", "168"), ("message.max.bytes", "1048588")]
    {
        assert_eq!(value(&mut conn, BROKER, &node, key).unwrap(), expected);
    }
}

/// Connections that are there stay, one too many is closed, and a limit that is gone counts no more.
#[test]
fn limits_on_connections_change_at_run_time() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    for key in ["max.connections", "max.connections.per.ip"] {
        let mut first = broker.connect();
        assert_eq!(alter(&mut first, BROKER, "", &[(SET, key, Some("2"))]), 0);
        let mut second = broker.connect();
        second.metadata(&[]);
        broker.connect().expect_closed();
        first.metadata(&[]);
        assert_eq!(alter(&mut second, BROKER, "", &[(DELETE, key, None)]), 0);
        broker.connect().metadata(&[]);
        drop((first, second));
    }
}
