#![allow(clippy::unwrap_used, reason = "tests")]

use super::brokers::{BrokerConfigs, Overrides};
use super::catalogue::{Scope, Unused, Update, edit_distance, lookup, nearest, unused};
use super::settings::{BrokerSettings, Cleanup, Compression, TimestampType, TopicSettings};
use super::value::{ConfigError, canonical, items, validate};
use pyralog_protocol::NodeId;

const SCOPES: [Scope; 4] = [Scope::Topic, Scope::Broker, Scope::Group, Scope::ClientMetrics];

fn brokers(configs: &[(&str, &str)]) -> BrokerConfigs {
    BrokerConfigs::new(NodeId(1), configs.iter().copied()).unwrap()
}

fn ok(scope: Scope, name: &str, value: &str) -> String {
    validate(scope, name, Some(value)).unwrap()
}

fn says(scope: Scope, name: &str, value: &str) -> String {
    validate(scope, name, Some(value)).unwrap_err().to_string()
}

#[test]
fn k01_tables_are_complete_and_sorted() {
    // Kafka's 34, 363, 17 and 3 with the hidden ones, pyralog.durability twice, the two that pause a log, vlsn.enable, the private APIs,
    // the reserve of the disk and two of the scrub.
    assert_eq!(SCOPES.map(|scope| scope.configs().len()), [38, 368, 17, 3]);
    for scope in SCOPES {
        assert!(scope.configs().windows(2).all(|pair| pair[0].name < pair[1].name), "{scope:?}");
        assert!(scope.configs().iter().all(|c| lookup(scope, c.name).is_some() && !c.documentation().is_empty()));
    }
}

#[test]
fn every_default_is_legal_and_canonical() {
    for scope in SCOPES {
        for config in scope.configs() {
            if let Some(default) = config.default {
                assert_eq!(canonical(config, default).as_deref(), Ok(default), "{}", config.name);
            }
        }
    }
}

/// A default that a broker config supplies is the topic's own, so that nothing changes when somebody writes it down.
#[test]
fn synonyms_exist_and_agree_on_the_default() {
    let none = Overrides::new();
    for scope in [Scope::Topic, Scope::Group] {
        for config in scope.configs() {
            assert!(config.synonyms.iter().all(|name| lookup(Scope::Broker, name).is_some()), "{}", config.name);
            let (value, _) = super::settings::value_in_force(config, &none, &brokers(&[]));
            assert_eq!(value.as_deref(), config.default, "{}", config.name);
        }
    }
}

#[test]
fn gr_06_se_08_deliberate_differences_in_the_tables() {
    for name in ["group.max.size", "group.consumer.max.size"] {
        assert_eq!(lookup(Scope::Broker, name).unwrap().default, Some("2000"));
    }
    for name in ["ssl.engine.factory.class", "principal.builder.class", "metric.reporters", "config.providers"] {
        assert!(says(Scope::Broker, name, "evil.Class").contains("loads no Java classes"), "{name}");
    }
}

#[test]
fn unused_configs_are_named_with_a_reason() {
    assert!(unused(Scope::Topic).any(|(c, why)| c.name == "remote.storage.enable" && why == Unused::Tiering));
    assert!(unused(Scope::Broker).all(|(_, why)| !why.reason().is_empty()));
    assert!(lookup(Scope::Topic, "retention.ms").unwrap().unused.is_none());
}

#[test]
fn a_wrong_name_gets_the_nearest_one() {
    assert_eq!(nearest(Scope::Broker, "num.partition"), Some("num.partitions"));
    assert_eq!(nearest(Scope::Topic, "retention.mss"), Some("retention.ms"));
    assert_eq!(nearest(Scope::Topic, "completely.different.thing"), None);
    assert_eq!(nearest(Scope::Topic, &"x".repeat(100_000)), None);
    assert_eq!((edit_distance("", "abc"), edit_distance("kitten", "sitting"), edit_distance("a", "a")), (3, 3, 0));
    let message = says(Scope::Broker, "num.partition", "4");
    assert_eq!(message, "unknown broker config \"num.partition\"; did you mean num.partitions?");
}

#[test]
fn values_are_stored_canonically() {
    assert_eq!(ok(Scope::Topic, "retention.ms", " 5 "), "5");
    assert_eq!(ok(Scope::Topic, "retention.ms", "+5"), "5");
    assert_eq!(ok(Scope::Topic, "preallocate", "TRUE"), "true");
    assert_eq!(ok(Scope::Topic, "cleanup.policy", " compact , delete,compact"), "compact,delete");
    assert_eq!(ok(Scope::Topic, "cleanup.policy", " "), "", "nothing is deleted and nothing compacted");
    assert_eq!(ok(Scope::Topic, "min.cleanable.dirty.ratio", "0.50"), "0.5");
    assert_eq!(ok(Scope::Topic, "min.cleanable.dirty.ratio", "1e-5"), "1.0E-5", "as Java prints it");
    assert_eq!(ok(Scope::Topic, "leader.replication.throttled.replicas", "0:1, 1:2,"), "0:1,1:2");
    assert_eq!(ok(Scope::Group, "share.auto.offset.reset", "by_duration:P1DT2H3.5S"), "by_duration:P1DT2H3.5S");
    assert_eq!(items(" a ,b,,a"), ["a", "b"]);
}

#[test]
#[expect(clippy::disallowed_types, reason = "how long it takes is what is looked at")]
fn a_list_of_many_items_takes_no_time() {
    let list = (0..6000).map(|n| format!("{n:x}")).collect::<Vec<_>>().join(",");
    let start = std::time::Instant::now();
    (0..200).for_each(|_| assert_eq!(items(&list).len(), 6000));
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "it took {:?}", start.elapsed());
}

#[test]
fn wrong_values_say_what_is_allowed() {
    let cases = [
        ("segment.bytes", "9999999999", "a whole number of 32 bits"),
        ("retention.ms", "9223372036854775808", "a whole number of 64 bits"),
        ("preallocate", "yes", "true or false"),
        ("compression.type", "lzma", "one of uncompressed, zstd, lz4, snappy, gzip, producer"),
        ("min.cleanable.dirty.ratio", "1.5", "0 to 1"),
        ("follower.replication.throttled.replicas", "0:x", "partition:broker pairs or *"),
        ("cleanup.policy", "delete,", "a list whose items are not empty"),
        ("cleanup.policy", ",", "a list whose items are not empty"),
        ("cleanup.policy", "delete,,compact", "a list whose items are not empty"),
        ("retention.ms", "\u{a0}5", "a whole number of 64 bits"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(says(Scope::Topic, name, value), format!("invalid value {value:?} for {name}: {expected}"));
    }
    for value in ["by_duration:", "by_duration:P", "by_duration:PT", "by_duration:P1H", "by_duration:-P1D", "never"] {
        assert!(validate(Scope::Group, "share.auto.offset.reset", Some(value)).is_err(), "{value}");
    }
    for name in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
        let expected = format!("invalid value \"0\" for {name}: at least 1, or negative for no limit");
        assert_eq!(says(Scope::Broker, name, "0"), expected);
    }
    assert_eq!(says(Scope::Broker, "log.roll.ms", "0"), "invalid value \"0\" for log.roll.ms: at least 1");
    assert!(matches!(validate(Scope::Topic, "retention.ms", None), Err(ConfigError::Null { .. })));
    assert!(says(Scope::Topic, "retention.ms", &"9".repeat(100_000)).len() < 300, "messages are cut");
}

#[test]
fn all_that_is_wrong_at_start_is_reported() {
    let configs = [("num.partition", "1"), ("num.partitions", "0"), ("log.retention.ms", "5")];
    assert_eq!(BrokerConfigs::new(NodeId(1), configs).unwrap_err().len(), 2);
    let lags = [("log.cleaner.min.compaction.lag.ms", "9"), ("log.cleaner.max.compaction.lag.ms", "5")];
    let errors = BrokerConfigs::new(NodeId(1), lags).unwrap_err();
    assert!(matches!(errors.as_slice(), [ConfigError::Conflict { .. }]));
}

#[test]
fn broker_configs_in_other_units_supply_topic_settings() {
    let resolve = |configs: &[(&str, &str)]| TopicSettings::resolve(&Overrides::new(), &brokers(configs));
    assert_eq!(resolve(&[]).retention_ms, 7 * 24 * 3_600_000);
    assert_eq!(resolve(&[("log.retention.hours", "1")]).retention_ms, 3_600_000);
    assert_eq!(resolve(&[("log.retention.hours", "-1")]).retention_ms, -1);
    assert_eq!(resolve(&[("log.retention.hours", "1"), ("log.retention.minutes", "5")]).retention_ms, 300_000);
    assert_eq!(resolve(&[("log.retention.minutes", "5"), ("log.retention.ms", "9")]).retention_ms, 9);
    assert_eq!(resolve(&[("log.retention.ms", "-7")]).retention_ms, -1);
    assert_eq!(resolve(&[("log.roll.hours", "2")]).segment_ms, 7_200_000);
    assert_eq!(resolve(&[("log.flush.scheduler.interval.ms", "7")]).flush_ms, 7);
    let settings = resolve(&[("compression.type", "zstd"), ("log.message.timestamp.type", "LogAppendTime")]);
    assert_eq!(settings.compression, Compression::Zstd(3));
    assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!(settings.cleanup, Cleanup { delete: true, compact: false });
}

#[test]
fn an_unreadable_stored_value_counts_as_not_set() {
    let overrides = Overrides::from([("segment.bytes".to_owned(), "from the future".to_owned())]);
    assert_eq!(TopicSettings::resolve(&overrides, &brokers(&[])).segment_bytes, 1 << 30);
    let hidden = Overrides::from([("internal.segment.bytes".to_owned(), "1000".to_owned())]);
    assert_eq!(TopicSettings::resolve(&hidden, &brokers(&[])).segment_bytes, 1000);
}

#[test]
fn typed_settings_have_kafkas_defaults() {
    let s = BrokerSettings::resolve(&brokers(&[]));
    assert_eq!((s.logs.num_partitions, s.logs.default_replication_factor, s.logs.auto_create), (1, 1, true));
    assert_eq!((s.groups.initial_rebalance_delay_ms, s.groups.offsets_retention_ms), (3000, 604_800_000));
    assert_eq!((s.network.request_max_bytes, s.network.idle_max_ms), (104_857_600, 600_000));
    assert_eq!((s.producers.expiration_ms, s.upkeep.retention_check_interval_ms), (86_400_000, 300_000));
    assert_eq!(s.groups, crate::groups::GroupSettings::default());
}

#[test]
fn update_modes_are_kafkas() {
    let mode = |name| lookup(Scope::Broker, name).unwrap().update;
    assert_eq!((mode("num.partitions"), mode("log.retention.ms")), (Update::Restart, Update::ClusterWide));
    assert_eq!(mode("listeners"), Update::PerBroker);
}
