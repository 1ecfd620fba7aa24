//! A good request of each API to begin with, in the world of `mutants.rs`, and what is worth trying in its fields.
#![allow(clippy::too_many_lines, reason = "tables of requests")]

use pyralog_compat_tests::fields::{Names, hex};
use pyralog_compat_tests::mutate::Pools;
use serde_json::{Value, json};

use super::*;

/// When the records of the world were made.
pub const STAMP: i64 = 1_700_000_000_000;

/// One API.
pub struct Good {
    /// Its key.
    pub key: i16,
    /// Good requests, which name what is new by this name.
    pub bases: fn(&str) -> Vec<Value>,
    /// What to try in its fields.
    pub pools: Pools,
    /// What must be there before; what it made under names beginning with `@`.
    pub before: fn(&mut Conn, &str) -> Names,
    /// What shows at once what came of it: key, version, request.
    pub after: fn(&str) -> Vec<Question>,
    /// What shows it a moment later.
    pub later: fn(&str) -> Vec<Question>,
}

/// Key, version, request.
pub type Question = (i16, i16, Value);

impl Default for Good {
    fn default() -> Good {
        Good {
            key: 0,
            bases: |_| Vec::new(),
            pools: Pools::default(),
            before: |_, _| Names::new(),
            after: |_| Vec::new(),
            later: |_| Vec::new(),
        }
    }
}

/// Topics that are there.
pub const TOPICS: &[&str] = &["alpha", "beta", "gamma", "delta", "__consumer_offsets"];
/// Those that hold the same: the topic of the offsets stays empty in Pyralog.
pub const FILLED: &[&str] = &["alpha", "beta", "gamma", "delta"];
/// Their ids.
pub const IDS: &[&str] = &["@alpha", "@beta", "@gamma"];
/// Groups that are there.
pub const GROUPS: &[&str] = &["g-offsets", "g-classic", "g-consumer"];
/// Times to look up.
pub const TIMES: &[i64] =
    &[-7, -6, -5, -4, -3, -2, -1, 0, STAMP, STAMP + 1, STAMP + 5, STAMP + 1000, i64::MAX, i64::MIN];
/// Epochs of leaders.
pub const EPOCHS: &[i64] = &[-2, -1, 0, 1, 2, i32::MAX as i64, i32::MIN as i64];
/// How long a fetch may wait.
pub const WAITS: &[i64] = &[-1, 0, 1, 50, i32::MIN as i64];
/// Of what a broker waits for; 0 is never waited for, and then it depends on who is quicker.
pub const TIMEOUTS: &[i64] = &[15_000, 60_000, i32::MAX as i64];
/// Types of resources.
pub const KINDS: &[i64] = &[0, 1, 2, 3, 4, 8, 16, 32, 64, -1, 127];
/// Names of resources.
pub const RESOURCES: &[&str] = &["alpha", "beta", "1", "2", "", "root", "g-classic", "subscription", "nobody"];
/// Names of configs.
pub const CONFIGS: &[&str] =
    &["retention.ms", "cleanup.policy", "log.retention.ms", "interval.ms", "consumer.session.timeout.ms"];

/// Strings and numbers to try.
pub fn pools(
    texts: &'static [(&'static str, &'static [&'static str])],
    numbers: &'static [(&'static str, &'static [i64])],
) -> Pools {
    Pools { texts, numbers, fixed: &[], only: &[] }
}

/// A batch of three records, as requests hold it here.
pub fn batch(prefix: &str) -> String {
    hex(&Batch::of(prefix, 3).stamped(STAMP).encode())
}

/// What only asks.
pub fn readers() -> Vec<Good> {
    let mut all = of_topics();
    all.extend(of_groups());
    all.extend(of_clusters());
    all
}

/// Sessions that begin with all of `alpha` and `gamma`: `@names` with names, `@ids` with ids.
fn sessions_before(conn: &mut Conn, _: &str) -> Names {
    let topic = |conn: &mut Conn, name: &str, by_id: bool| {
        let id = if by_id { conn.metadata_of(name).topic_id } else { Uuid::nil() };
        Fetch::at(if by_id { "" } else { name }, 0, 3).id(id).topic()
    };
    let open = |conn: &mut Conn, version: i16| {
        let topics = ["alpha", "gamma"].map(|name| topic(conn, name, version >= 13)).to_vec();
        conn.call(version, &Fetch::at("", 0, 0).request.with_session_epoch(0).with_topics(topics)).session_id
    };
    [("@names", 12), ("@ids", 13)].map(|(name, version)| (name.to_owned(), open(conn, version).to_string())).into()
}

fn of_topics() -> Vec<Good> {
    vec![
        Good {
            key: 1,
            bases: |_| {
                let partition = |index: i32, offset: i64| {
                    json!({"partition": index, "current_leader_epoch": -1, "fetch_offset": offset,
                           "last_fetched_epoch": -1, "log_start_offset": -1, "partition_max_bytes": 1 << 20})
                };
                let topic = |name: &str, partitions: &[Value]| json!({"topic": name, "topic_id": format!("@{name}"), "partitions": partitions});
                let request = |session: Value, epoch: i32, topics: &[Value]| {
                    json!({"replica_id": -1, "max_wait_ms": 1, "min_bytes": 0, "max_bytes": 1 << 20,
                           "isolation_level": 0, "session_id": session, "session_epoch": epoch, "topics": topics,
                           "forgotten_topics_data": [{"topic": "gamma", "topic_id": "@gamma", "partitions": [0]}]})
                };
                let alone = json!(0);
                vec![
                    request(
                        alone.clone(),
                        -1,
                        &[topic("alpha", &[partition(0, 0), partition(1, 1)]), topic("gamma", &[partition(0, 5)])],
                    ),
                    request(alone.clone(), 0, &[topic("alpha", &[partition(0, 3), partition(2, 0)])]),
                    request(json!("@names"), 1, &[topic("alpha", &[partition(0, 3), partition(1, 0)])]),
                    request(json!("@ids"), 1, &[topic("alpha", &[partition(0, 3)]), topic("beta", &[partition(0, 0)])]),
                ]
            },
            pools: pools(
                &[("topic", FILLED), ("topic_id", IDS)],
                &[
                    ("max_wait_ms", WAITS),
                    ("isolation_level", &[0, 1, 2, -1]),
                    ("current_leader_epoch", EPOCHS),
                    ("last_fetched_epoch", EPOCHS),
                    // Not a number of bytes that ends inside the second batch (F4).
                    ("max_bytes", &[0, 1, 1 << 20, i32::MAX as i64]),
                    ("partition_max_bytes", &[0, 1, 1 << 20, i32::MAX as i64]),
                    ("replica_id", &[-1, -2]),
                    ("session_epoch", &[-2, -1, 0, 1, 2, i32::MAX as i64, i32::MIN as i64]),
                ],
            ),
            before: sessions_before,
            ..Good::default()
        },
        Good {
            key: 2,
            bases: |_| {
                let partition = |index: i32, time: i64| {
                    json!({"partition_index": index, "current_leader_epoch": -1,
                    "timestamp": time})
                };
                vec![json!({"replica_id": -1, "isolation_level": 0, "timeout_ms": 1000, "topics": [
                    {"name": "alpha", "partitions": [partition(0, -1), partition(1, -2), partition(2, STAMP)]},
                    {"name": "gamma", "partitions": [partition(0, -2)]}]})]
            },
            pools: pools(
                &[("name", FILLED)],
                &[
                    ("timestamp", TIMES),
                    ("replica_id", &[-1, -2]),
                    ("isolation_level", &[0, 1, 2, -1, 127]),
                    ("current_leader_epoch", EPOCHS),
                ],
            ),
            ..Good::default()
        },
        Good {
            key: 3,
            bases: |_| {
                let topic = |name: &str, id: &str| json!({"name": name, "topic_id": id});
                vec![
                    json!({"topics": [topic("alpha", ""), topic("beta", ""), topic("gamma", "")],
                        "allow_auto_topic_creation": false}),
                    json!({"topics": [topic("alpha", "@alpha"), topic("gamma", "@beta")],
                        "allow_auto_topic_creation": false}),
                    json!({"topics": null, "allow_auto_topic_creation": false}),
                ]
            },
            pools: Pools {
                fixed: &["allow_auto_topic_creation"],
                ..pools(&[("name", TOPICS), ("topic_id", IDS)], &[])
            },
            ..Good::default()
        },
        Good {
            key: 23,
            bases: |_| {
                vec![json!({"replica_id": -1, "topics": [
                    {"topic": "alpha", "partitions": [{"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0},
                        {"partition": 2, "current_leader_epoch": 0, "leader_epoch": 0}]},
                    {"topic": "gamma", "partitions": [{"partition": 0, "current_leader_epoch": -1,
                        "leader_epoch": 0}]}]})]
            },
            pools: pools(&[("topic", FILLED)], &[("current_leader_epoch", EPOCHS), ("leader_epoch", EPOCHS)]),
            ..Good::default()
        },
        Good {
            key: 35,
            bases: |_| {
                vec![json!({"topics": [{"topic": "alpha", "partitions": [0, 1]}, {"topic": "beta",
                "partitions": [0]}]})]
            },
            pools: pools(&[("topic", TOPICS)], &[]),
            ..Good::default()
        },
        Good {
            key: 61,
            bases: |_| {
                vec![json!({"topics": [{"name": "alpha", "partition_indexes": [0, 1]}, {"name": "beta",
                "partition_indexes": [0]}]})]
            },
            pools: pools(&[("name", TOPICS)], &[]),
            ..Good::default()
        },
        Good {
            key: 75,
            bases: |_| {
                vec![
                    json!({"topics": [{"name": "alpha"}, {"name": "beta"}, {"name": "gamma"}],
                        "response_partition_limit": 100}),
                    json!({"topics": [{"name": "alpha"}, {"name": "gamma"}], "response_partition_limit": 2,
                           "cursor": {"topic_name": "alpha", "partition_index": 1}}),
                ]
            },
            pools: pools(&[("name", TOPICS), ("topic_name", TOPICS)], &[]),
            ..Good::default()
        },
    ]
}

fn of_groups() -> Vec<Good> {
    vec![
        Good {
            key: 9,
            bases: |_| {
                let topics = || {
                    json!([{"name": "alpha", "partition_indexes": [0, 1, 2]}, {"name": "beta",
                    "partition_indexes": [0]}])
                };
                let group = |name: &str| {
                    json!({"group_id": name, "member_id": null, "member_epoch": -1,
                    "topics": topics()})
                };
                vec![
                    json!({"group_id": "g-offsets", "topics": topics(), "groups": [group("g-offsets"),
                        group("g-consumer")]}),
                    json!({"group_id": "g-classic", "topics": topics(), "groups": [group("g-classic")],
                        "require_stable": true}),
                ]
            },
            pools: pools(
                &[("name", TOPICS), ("group_id", GROUPS), ("member_id", &["c", "@classic"])],
                &[("member_epoch", &[-2, -1, 0, 1, 2, 3, 77])],
            ),
            ..Good::default()
        },
        Good {
            key: 10,
            bases: |_| {
                vec![json!({"key": "g-offsets", "key_type": 0, "coordinator_keys": ["g-offsets", "g-classic",
                "other"]})]
            },
            pools: pools(
                &[("key", GROUPS), ("coordinator_keys", GROUPS)],
                &[("key_type", &[0, 2, 3, 4, -1, 127, -128])],
            ),
            ..Good::default()
        },
        Good {
            key: 15,
            bases: |_| vec![json!({"groups": ["g-offsets", "g-classic", "g-consumer"]})],
            pools: pools(&[("groups", GROUPS)], &[]),
            ..Good::default()
        },
        Good {
            key: 16,
            bases: |_| {
                vec![
                    json!({"states_filter": [], "types_filter": []}),
                    json!({"states_filter": ["Stable"],
                "types_filter": ["Consumer"]}),
                ]
            },
            pools: pools(
                &[
                    (
                        "states_filter",
                        &["stable", "EMPTY", "Dead", "PreparingRebalance", "Reconciling", "assigning", "unknown"],
                    ),
                    ("types_filter", &["classic", "CLASSIC", "consumer", "share", "streams", "unknown"]),
                ],
                &[],
            ),
            ..Good::default()
        },
        Good {
            key: 69,
            bases: |_| vec![json!({"group_ids": ["g-consumer", "g-classic"]})],
            pools: pools(&[("group_ids", GROUPS)], &[]),
            ..Good::default()
        },
    ]
}

fn of_clusters() -> Vec<Good> {
    vec![
        Good {
            key: 18,
            bases: |_| vec![json!({"client_software_name": "test", "client_software_version": "1.0"})],
            pools: pools(&[("client_software_name", &["a", "-a", "a-", "a.b", "a_b", "1"])], &[]),
            ..Good::default()
        },
        Good {
            key: 32,
            bases: |_| {
                let resource = |kind: i8, name: &str, keys: Value| {
                    json!({"resource_type": kind,
                    "resource_name": name, "configuration_keys": keys})
                };
                vec![
                    json!({"resources": [resource(2, "alpha", json!(["retention.ms", "cleanup.policy"])),
                        resource(4, "1", json!(["log.retention.ms"]))],
                           "include_synonyms": true}),
                    json!({"resources": [resource(32, "g-classic", json!(null)), resource(16, "subscription",
                        json!(["interval.ms"]))]}),
                ]
            },
            pools: pools(&[("resource_name", RESOURCES), ("configuration_keys", CONFIGS)], &[("resource_type", KINDS)]),
            ..Good::default()
        },
        Good {
            key: 43,
            bases: |_| {
                vec![json!({"election_type": 0, "topic_partitions": [{"topic": "alpha", "partitions": [0,
                1]}, {"topic": "beta", "partitions": [0]}], "timeout_ms": 15_000})]
            },
            pools: pools(&[("topic", TOPICS)], &[("timeout_ms", TIMEOUTS), ("election_type", &[0, 1, 2, -1, 127])]),
            ..Good::default()
        },
        Good {
            key: 45,
            bases: |_| {
                vec![json!({"timeout_ms": 15_000, "topics": [{"name": "alpha",
                "partitions": [{"partition_index": 0, "replicas": [1]}, {"partition_index": 1, "replicas": [1]}]}],
                "allow_replication_factor_change": true})]
            },
            pools: pools(&[("name", TOPICS)], &[("timeout_ms", TIMEOUTS)]),
            ..Good::default()
        },
        Good {
            key: 46,
            bases: |_| {
                vec![json!({"timeout_ms": 15_000, "topics": [{"name": "alpha", "partition_indexes": [0,
                1]}]})]
            },
            pools: pools(&[("name", TOPICS)], &[("timeout_ms", TIMEOUTS)]),
            ..Good::default()
        },
        Good {
            key: 34,
            bases: |_| {
                vec![json!({"dirs": [{"path": "/no/such/folder", "topics": [{"name": "alpha",
                "partitions": [0, 1]}]}]})]
            },
            pools: pools(&[("name", TOPICS), ("path", &["/elsewhere", "relative"])], &[]),
            ..Good::default()
        },
        Good {
            key: 55,
            bases: |_| {
                vec![json!({"topics": [{"topic_name": "__cluster_metadata",
                "partitions": [{"partition_index": 0}]}]})]
            },
            pools: pools(&[("topic_name", TOPICS)], &[]),
            ..Good::default()
        },
        Good {
            key: 57,
            bases: |_| {
                vec![json!({"timeout_ms": 15_000, "feature_updates": [{"feature": "metadata.version",
                "max_version_level": 30, "upgrade_type": 1}], "validate_only": true})]
            },
            pools: Pools {
                fixed: &["validate_only", "allow_downgrade"],
                ..pools(
                    &[("feature", &["group.version", "nobody"])],
                    &[("timeout_ms", TIMEOUTS), ("upgrade_type", &[0, 1, 2, 3, 4, -1])],
                )
            },
            ..Good::default()
        },
        Good {
            key: 60,
            bases: |_| vec![json!({"endpoint_type": 1})],
            pools: pools(&[], &[("endpoint_type", &[0, 1, 2, 3, -1, 127])]),
            ..Good::default()
        },
        Good {
            key: 74,
            bases: |_| vec![json!({"resource_types": [2, 4]})],
            pools: pools(&[], &[("resource_types", KINDS)]),
            ..Good::default()
        },
    ]
}
