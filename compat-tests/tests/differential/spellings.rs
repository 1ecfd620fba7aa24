//! Odd spellings of values of configs: which are taken, and how they are stored and shown.

use super::*;

/// Configs of topics with values that are taken by some readers and not by others.
const SPELLINGS: &[(&str, &[&str])] = &[
    (
        "cleanup.policy",
        &[
            "",
            ",",
            " ",
            "delete,",
            ",delete",
            "delete,,compact",
            "compact,compact",
            "delete,delete,compact",
            " delete",
            "delete ",
            "delete , compact",
            "Delete",
            "COMPACT",
            "compact,delete",
            "delete;compact",
            "[delete]",
            "none",
            "\tdelete\n",
            "delete,none",
            "\u{a0}delete",
        ],
    ),
    (
        "retention.ms",
        &[
            "",
            " ",
            " 5",
            "5 ",
            "+5",
            "-1",
            "-2",
            "05",
            "5L",
            "5.0",
            "0x5",
            "1_000",
            "1e3",
            "9223372036854775807",
            "9223372036854775808",
            "-0",
            "--1",
            "null",
            "\u{a0}5",
        ],
    ),
    (
        "segment.bytes",
        &["+1048576", " 1048576 ", "1048575", "1048576.0", "2147483648", "2147483647", "01048576", "0x100000"],
    ),
    (
        "min.cleanable.dirty.ratio",
        &[
            "", "0", "1", "1.0", "+0.5", ".5", "5.", "0.50", "1e-1", "Infinity", "-0.0", "-0.1", "1.01", " 0.5 ",
            "0,5", "1E-9", "0.0001", "00.5", "inf", "infinity", "nan", "1e-400",
        ],
    ),
    ("preallocate", &["TRUE", "True", " true ", "yes", "1", "0", "on", "", "FALSE", "t", "tRuE"]),
    (
        "message.timestamp.type",
        &["createtime", "CREATETIME", "CreateTime ", " LogAppendTime", "LogAppendTime", "", "logappendtime"],
    ),
    ("compression.type", &["", "GZIP", "gzip ", "none", "uncompressed", "zstd", "producer"]),
    ("compression.gzip.level", &["-1", "0", "1", "9", "10", "+3"]),
    ("compression.zstd.level", &["-131072", "-131073", "22", "23", "0"]),
    (
        "follower.replication.throttled.replicas",
        &[
            "",
            "*",
            " * ",
            "0:1",
            "0:1,1:2",
            "0:1, 1:2",
            "*,0:1",
            "0",
            "a:b",
            "none",
            "0:1:2",
            "-1:1",
            "0:",
            "00:01",
            "99999999999:1",
        ],
    ),
    ("min.insync.replicas", &["0", "1", "+2", "2147483647"]),
    ("max.message.bytes", &["0", "-1", "1"]),
    ("unclean.leader.election.enable", &["TRUE", "x"]),
    ("flush.messages", &["0", "1"]),
    ("local.retention.ms", &["-2", "-1", "-3", "604800001"]),
    ("remote.storage.enable", &["false", "FALSE"]),
    ("No.Such.Config", &["1"]),
    ("Retention.ms", &["1"]),
    (" retention.ms", &["1"]),
    ("", &["1", ""]),
];

fn described(both: &mut Both, label: &str, kind: i8, name: &str) {
    let all = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![all]).with_include_synonyms(true);
    both.ask(4, label, &request);
}

fn create(name: &str, key: &str, value: Option<&str>) -> CreateTopicsRequest {
    let config = CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text));
    let new = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(vec![config]);
    CreateTopicsRequest::default().with_timeout_ms(15_000).with_topics(vec![new])
}

fn alter(kind: i8, name: &str, changes: &[(i8, &str, Option<&str>)]) -> IncrementalAlterConfigsRequest {
    let changes = changes.iter().map(|(operation, key, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(*operation).with_value(value.map(text))
    });
    let one = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![one])
}

fn replace(name: &str, key: &str, value: Option<&str>) -> AlterConfigsRequest {
    let config = alter_configs_request::AlterableConfig::default().with_name(text(key)).with_value(value.map(text));
    let one = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    AlterConfigsRequest::default().with_resources(vec![one])
}

#[test]
fn odd_spellings_of_topic_configs_are_taken_alike() {
    with_both(|both| {
        let changed = unique("diff");
        both.each(|conn| conn.create_topic(&changed, 1, &[]));
        let mut names = Vec::new();
        for (key, values) in SPELLINGS {
            for value in values.iter().map(|value| Some(*value)).chain([None]) {
                let label = format!("{key}={value:?}");
                let name = unique("diff");
                both.ask(
                    4,
                    &format!("validates {label}"),
                    &create(&unique("diff"), key, value).with_validate_only(true),
                );
                both.ask(4, &format!("creates {label}"), &create(&name, key, value));
                names.push((label.clone(), name));
                for dry in [true, false] {
                    both.ask(
                        1,
                        &format!("sets {label} {dry}"),
                        &alter(2, &changed, &[(0, key, value)]).with_validate_only(dry),
                    );
                    both.ask(
                        2,
                        &format!("replaces by {label} {dry}"),
                        &replace(&changed, key, value).with_validate_only(dry),
                    );
                }
            }
        }
        // Kafka shows what changed a moment later (K7).
        std::thread::sleep(Duration::from_secs(2));
        for (label, name) in names {
            described(both, &format!("created with {label}"), 2, &name);
        }
    });
}

#[test]
fn lists_are_edited_alike() {
    with_both(|both| {
        let mut changed = Vec::new();
        let policies = [
            "",
            ",",
            " ",
            "compact",
            "delete",
            "compact,delete",
            "delete,compact",
            "compact,compact",
            " compact",
            "x",
            "compact,",
        ];
        let replicas = ["", "*", "0:1", "0:1,1:1", "x"];
        for start in [None, Some("delete"), Some("compact"), Some("compact,delete"), Some("")] {
            for operation in [2, 3] {
                let policies = policies.map(|value| ("cleanup.policy", value));
                let replicas = replicas.map(|value| ("follower.replication.throttled.replicas", value));
                for (key, value) in policies.into_iter().chain(replicas) {
                    if key != "cleanup.policy" && start.is_some() {
                        continue;
                    }
                    let (label, name) = (format!("{operation} {key} {value:?} from {start:?}"), unique("diff"));
                    both.each(|conn| conn.create_topic(&name, 1, &[]));
                    let reset = if start.is_some() { 0 } else { 1 };
                    both.ask(1, "reset", &alter(2, &name, &[(reset, key, start)]));
                    both.ask(
                        1,
                        &format!("validate {label}"),
                        &alter(2, &name, &[(operation, key, Some(value))]).with_validate_only(true),
                    );
                    both.ask(1, &label, &alter(2, &name, &[(operation, key, Some(value))]));
                    changed.push((label, 2, name));
                }
            }
        }
        for value in ["", "*", " a , b", "a,a"] {
            let (label, name) = (format!("metrics {value:?}"), unique("subscription"));
            both.ask(1, &label, &alter(16, &name, &[(0, "metrics", Some(value))]));
            changed.push((label, 16, name));
        }
        std::thread::sleep(Duration::from_secs(2));
        for (label, kind, name) in changed {
            described(both, &format!("after {label}"), kind, &name);
        }
    });
}

/// Configs of brokers that change while they run.
const OF_BROKERS: &[&str] = &[
    "compression.gzip.level",
    "compression.type",
    "compression.zstd.level",
    "group.consumer.assignment.interval.ms",
    "listeners",
    "log.cleaner.backoff.ms",
    "log.cleaner.delete.retention.ms",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.max.compaction.lag.ms",
    "log.cleaner.min.cleanable.ratio",
    "log.cleaner.min.compaction.lag.ms",
    "log.cleanup.policy",
    "log.flush.interval.messages",
    "log.flush.interval.ms",
    "log.index.interval.bytes",
    "log.index.size.max.bytes",
    "log.message.timestamp.after.max.ms",
    "log.message.timestamp.before.max.ms",
    "log.message.timestamp.type",
    "log.preallocate",
    "log.retention.bytes",
    "log.retention.ms",
    "log.roll.jitter.ms",
    "log.roll.ms",
    "log.segment.bytes",
    "log.segment.delete.delay.ms",
    "message.max.bytes",
    "metric.reporters",
    "min.insync.replicas",
    "producer.id.expiration.ms",
    "ssl.cipher.suites",
    "unclean.leader.election.enable",
];

#[test]
fn odd_values_of_broker_configs_are_taken_alike() {
    with_both(|both| {
        for key in OF_BROKERS {
            for value in ["-2", "-1", "0", "1", "x", "", "2147483648", "true", "1.5", ",", " 5 ", "+5"] {
                for name in ["1", ""] {
                    let request = alter(4, name, &[(0, key, Some(value))]).with_validate_only(true);
                    both.ask(1, &format!("{name:?} {key}={value:?}"), &request);
                }
            }
        }
        // No node listens anew here while it runs.
        let elsewhere = [(0, "listeners", Some("PLAINTEXT://127.0.0.1:1"))];
        let answer = both.ours.call(1, &alter(4, "1", &elsewhere));
        assert_eq!(answer.responses[0].error_code, 42, "{answer:?}");
    });
}
