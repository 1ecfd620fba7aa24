//! A good request of each API that changes something, always of a new name, and what shows what came of it.
#![allow(clippy::too_many_lines, reason = "tables of requests")]

use pyralog_compat_tests::batch::Record;
use pyralog_compat_tests::fields::{Names, hex};
use pyralog_compat_tests::mutate::Pools;
use serde_json::{Value, json};

use super::good_requests::{CONFIGS, GROUPS, Good, KINDS, Question, STAMP, TIMEOUTS, TOPICS, batch, pools};
use super::*;

const VALUES: &[&str] = &["1", "-1", "-2", "0", "compact", "delete", "true", "100000", "45000"];

/// What changes something.
pub fn writers() -> Vec<Good> {
    let mut all = writers_of_topics();
    all.extend(writers_of_configs());
    all.extend(writers_of_offsets());
    all.extend(writers_of_members());
    all
}

fn described(kind: i8, name: &str) -> Question {
    (
        32,
        4,
        json!({"resources": [{"resource_type": kind, "resource_name": name, "configuration_keys": null}],
        "include_synonyms": true}),
    )
}

/// Offset 5 for a partition, as OffsetCommit has it.
fn to_commit(partition: i32, metadata: Option<&str>) -> Value {
    json!({"partition_index": partition, "committed_offset": 5, "committed_leader_epoch": 0,
        "committed_metadata": metadata})
}

fn topic_afterwards(fresh: &str) -> Vec<Question> {
    vec![
        (3, 12, json!({"topics": [{"name": fresh, "topic_id": ""}], "allow_auto_topic_creation": false})),
        described(2, fresh),
    ]
}

/// A topic of two partitions with records 0 to 5 in the first.
pub fn topic_before(conn: &mut Conn, fresh: &str) -> Names {
    let id = conn.create_topic(fresh, 2, &[("retention.ms", "100000000")]);
    for _ in 0..2 {
        conn.append(fresh, 0, &Batch::of("v", 3).encode());
    }
    Names::from([("@made".to_owned(), id.to_string())])
}

/// An empty topic that keeps old records.
fn topic_alone_before(conn: &mut Conn, fresh: &str) -> Names {
    Names::from([("@made".to_owned(), conn.create_topic(fresh, 1, &[("retention.ms", "-1")]).to_string())])
}

fn writers_of_topics() -> Vec<Good> {
    const OTHERS: &[&str] = &["alpha", "__consumer_offsets"];
    vec![
        Good {
            key: 0,
            bases: |_| {
                let request = |acks: i16, partitions: Value| {
                    json!({"transactional_id": null, "acks": acks, "timeout_ms": 5000,
                           "topic_data": [{"name": "sink", "topic_id": "@sink", "partition_data": partitions}]})
                };
                vec![
                    request(-1, json!([{"index": 0, "records": batch("a")}, {"index": 1, "records": batch("b")}])),
                    request(1, json!([{"index": 1, "records": batch("c")}])),
                ]
            },
            pools: Pools {
                fixed: &["transactional_id"],
                ..pools(
                    &[("name", &["nobody", "__consumer_offsets", "sink"]), ("topic_id", &["@sink"])],
                    &[("acks", &[-1, 1]), ("timeout_ms", TIMEOUTS)],
                )
            },
            ..Good::default()
        },
        Good {
            key: 0,
            bases: |fresh| {
                let request = |batch: &Batch| {
                    let partitions = json!([{"index": 0, "records": hex(&batch.encode())}]);
                    json!({"transactional_id": null, "acks": -1, "timeout_ms": 5000,
                           "topic_data": [{"name": fresh, "topic_id": "@made", "partition_data": partitions}]})
                };
                let good = || Batch::of("v", 3).stamped(STAMP);
                let mut keyed =
                    Batch::new(vec![Record::keyed("k", "v").at(5), Record::default(), Record::keyed("", "").at(-1)]);
                keyed.records[0].headers = vec![(b"h".to_vec(), None), (b"".to_vec(), Some(b"x".to_vec()))];
                vec![
                    request(&good()),
                    request(&keyed.stamped(STAMP)),
                    request(&good().producer(5000, 0, 0)),
                    request(&good().codec(Codec::Gzip)),
                    request(&good().codec(Codec::Snappy)),
                ]
            },
            // The fields of the batch, above all.
            pools: Pools {
                fixed: &[
                    "transactional_id",
                    "topic_data",
                    "partition_data",
                    "name",
                    "topic_id",
                    "index",
                    "acks",
                    "timeout_ms",
                ],
                ..Pools::default()
            },
            before: topic_alone_before,
            after: |fresh| {
                let partition = json!({"partition": 0, "current_leader_epoch": -1, "fetch_offset": 0,
                    "last_fetched_epoch": -1,
                                       "log_start_offset": -1, "partition_max_bytes": 1 << 20});
                let fetch = json!({"replica_id": -1, "max_wait_ms": 0, "min_bytes": 0, "max_bytes": 1 << 20,
                    "session_epoch": -1,
                                   "topics": [{"topic": fresh, "partitions": [partition]}]});
                let largest = json!({"replica_id": -1, "topics": [{"name": fresh,
                    "partitions": [{"partition_index": 0, "current_leader_epoch": -1, "timestamp": -3}]}]});
                vec![
                    (1, 12, fetch),
                    (2, 7, largest),
                    (
                        61,
                        0,
                        json!({"topics": [{"name": fresh,
                    "partition_indexes": [0]}]}),
                    ),
                ]
            },
            ..Good::default()
        },
        Good {
            key: 3,
            bases: |fresh| {
                let topic = |name: &str| json!({"name": name, "topic_id": ""});
                vec![
                    json!({"topics": [topic(fresh), topic("alpha")], "allow_auto_topic_creation": true}),
                    json!({"topics": [topic(fresh)], "allow_auto_topic_creation": true}),
                ]
            },
            pools: Pools { fixed: &["topics"], ..pools(&[("name", OTHERS), ("topic_id", &["@alpha"])], &[]) },
            later: topic_afterwards,
            ..Good::default()
        },
        Good {
            key: 19,
            bases: |fresh| {
                let topic = |name: &str, partitions: i32, replicas: i16, assignments: Value| {
                    json!({"name": name, "num_partitions": partitions, "replication_factor": replicas,
                        "assignments": assignments,
                           "configs": [{"name": "retention.ms", "value": "1000"}, {"name": "cleanup.policy",
                               "value": "compact"}]})
                };
                let other = format!("{fresh}-b");
                vec![
                    json!({"topics": [topic(fresh, 3, 1, json!([]))], "timeout_ms": 15_000}),
                    json!({"topics": [topic(fresh, -1, -1, json!([])), topic(&other, 1, 1, json!([]))],
                        "timeout_ms": 15_000}),
                    json!({"topics": [topic(fresh, -1, -1, json!([{"partition_index": 0, "broker_ids": [1]},
                        {"partition_index": 1, "broker_ids": [1]}]))], "timeout_ms": 15_000}),
                    json!({"topics": [topic(fresh, 3, 1, json!([]))], "timeout_ms": 15_000, "validate_only": true}),
                ]
            },
            pools: pools(
                &[("configs.name", CONFIGS), ("topics.name", OTHERS), ("value", VALUES)],
                &[
                    ("timeout_ms", TIMEOUTS),
                    ("num_partitions", &[-2, -1, 0, 1, 2, 10_001, i32::MAX as i64, i32::MIN as i64]),
                ],
            ),
            later: topic_afterwards,
            ..Good::default()
        },
        Good {
            key: 20,
            bases: |fresh| {
                vec![
                    json!({"topics": [{"name": fresh, "topic_id": ""}], "topic_names": [fresh, "nobody"],
                        "timeout_ms": 15_000}),
                    json!({"topics": [{"name": null, "topic_id": "@made"}, {"name": "nobody", "topic_id": ""}],
                        "topic_names": [fresh], "timeout_ms": 15_000}),
                ]
            },
            pools: pools(&[("topic_id", &["@made"])], &[("timeout_ms", TIMEOUTS)]),
            before: topic_before,
            later: topic_afterwards,
            ..Good::default()
        },
        Good {
            key: 21,
            bases: |fresh| {
                vec![json!({"topics": [{"name": fresh, "partitions": [{"partition_index": 0, "offset": 3},
                    {"partition_index": 1, "offset": -1}]}], "timeout_ms": 15_000})]
            },
            pools: pools(
                &[("name", &["nobody", "beta", "__consumer_offsets"])],
                &[("timeout_ms", TIMEOUTS), ("offset", &[-2, -1, 0, 1, 4, 6, 7, i64::MAX, i64::MIN])],
            ),
            before: topic_before,
            after: |fresh| {
                let at = |time: i64| {
                    json!({"replica_id": -1, "topics": [{"name": fresh,
                    "partitions": [{"partition_index": 0, "current_leader_epoch": -1, "timestamp": time}]}]})
                };
                vec![(2, 7, at(-2)), (2, 7, at(-1))]
            },
            ..Good::default()
        },
        Good {
            key: 37,
            bases: |fresh| {
                vec![
                    json!({"topics": [{"name": fresh, "count": 4, "assignments": null}], "timeout_ms": 15_000}),
                    json!({"topics": [{"name": fresh, "count": 3, "assignments": [{"broker_ids": [1]}]},
                        {"name": "nobody", "count": 3, "assignments": null}], "timeout_ms": 15_000}),
                    json!({"topics": [{"name": fresh, "count": 3, "assignments": null}], "timeout_ms": 15_000,
                        "validate_only": true}),
                ]
            },
            pools: pools(
                &[("name", &["nobody", "__consumer_offsets"])],
                &[
                    ("timeout_ms", TIMEOUTS),
                    ("count", &[-2, -1, 0, 1, 2, 3, 4, 10_003, i32::MAX as i64, i32::MIN as i64]),
                ],
            ),
            before: topic_before,
            later: topic_afterwards,
            ..Good::default()
        },
    ]
}

fn writers_of_configs() -> Vec<Good> {
    const NAMES: &[&str] = &["nobody", "", "2", "root"];
    vec![
        Good {
            key: 33,
            bases: |fresh| {
                let resource = |kind: i8, key: &str, value: &str| {
                    json!({"resource_type": kind,
                    "resource_name": fresh, "configs": [{"name": key, "value": value}]})
                };
                vec![
                    json!({"resources": [resource(2, "retention.ms", "5000"), resource(16, "interval.ms", "5000")]}),
                    json!({"resources": [resource(32, "consumer.session.timeout.ms", "50000")]}),
                    json!({"resources": [resource(2, "cleanup.policy", "compact")], "validate_only": true}),
                ]
            },
            pools: pools(
                &[("resource_name", NAMES), ("name", CONFIGS), ("value", VALUES)],
                &[("resource_type", KINDS)],
            ),
            before: topic_before,
            later: |fresh| vec![described(2, fresh), described(16, fresh), described(32, fresh)],
            ..Good::default()
        },
        Good {
            key: 44,
            bases: |fresh| {
                let config = |operation: i8, key: &str, value: Value| {
                    json!({"name": key,
                    "config_operation": operation, "value": value})
                };
                let resource = |kind: i8, configs: Value| {
                    json!({"resource_type": kind, "resource_name": fresh,
                    "configs": configs})
                };
                vec![
                    json!({"resources": [resource(2, json!([config(0, "flush.ms", json!("5000")), config(1,
                        "retention.ms", json!(null))])),
                                         resource(16, json!([config(0, "interval.ms", json!("5000"))]))]}),
                    json!({"resources": [resource(2, json!([config(2, "cleanup.policy", json!("compact"))])),
                                         resource(32, json!([config(0, "consumer.session.timeout.ms",
                                             json!("50000"))]))]}),
                    json!({"resources": [resource(2, json!([config(0, "flush.ms", json!("5000"))]))],
                        "validate_only": true}),
                ]
            },
            pools: pools(
                &[("resource_name", NAMES), ("name", CONFIGS), ("value", VALUES)],
                &[("resource_type", KINDS), ("config_operation", &[0, 1, 2, 3, 4, -1, 127])],
            ),
            before: topic_before,
            later: |fresh| vec![described(2, fresh), described(16, fresh), described(32, fresh)],
            ..Good::default()
        },
    ]
}

fn committed(group: &str) -> Question {
    (9, 8, json!({"groups": [{"group_id": group, "topics": null}]}))
}

fn group_afterwards(fresh: &str) -> Vec<Question> {
    vec![committed(fresh), (15, 6, json!({"groups": [fresh]})), (69, 1, json!({"group_ids": [fresh]}))]
}

/// A group with two offsets and no member.
pub fn offsets_before(conn: &mut Conn, fresh: &str) -> Names {
    assert_eq!(conn.commit(&commit_request(fresh, &[("alpha", 0, 5), ("beta", 0, 1)])), 0);
    Names::new()
}

/// A group with one static member, that leads it.
fn member_before(conn: &mut Conn, fresh: &str) -> Names {
    let join = join_request(fresh, "").with_session_timeout_ms(60_000).with_group_instance_id(Some(text("i")));
    let joined = conn.join(&join);
    assert_eq!(conn.sync(&leader_sync(fresh, &joined, "for").with_assignments(vec![])).error_code, 0);
    Names::from([("@member".to_owned(), joined.member_id.to_string())])
}

fn writers_of_offsets() -> Vec<Good> {
    vec![
        Good {
            key: 8,
            bases: |fresh| {
                let partition = |index: i32, offset: i64| {
                    json!({"partition_index": index,
                    "committed_offset": offset, "committed_leader_epoch": -1, "committed_metadata": "m"})
                };
                vec![json!({"group_id": fresh, "generation_id_or_member_epoch": -1, "member_id": "",
                    "retention_time_ms": -1, "topics": [
                    {"name": "alpha", "partitions": [partition(0, 5), partition(1, 6)]}, {"name": "beta",
                        "partitions": [partition(0, 7)]}]})]
            },
            pools: pools(
                &[
                    ("name", TOPICS),
                    ("group_id", &["g-classic", "g-consumer"]),
                    ("member_id", &["c", "@classic"]),
                    ("group_instance_id", &["i"]),
                ],
                &[("generation_id_or_member_epoch", &[-3, -2, -1, 0, 1, 2, 3])],
            ),
            after: |fresh| vec![committed(fresh)],
            ..Good::default()
        },
        Good {
            key: 42,
            bases: |fresh| vec![json!({"groups_names": [fresh, "nobody"]})],
            pools: pools(&[("groups_names", &["g-classic", "g-consumer"])], &[]),
            before: offsets_before,
            after: group_afterwards,
            ..Good::default()
        },
        Good {
            key: 47,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "topics": [{"name": "alpha", "partitions": [{"partition_index": 0},
                    {"partition_index": 1}]}]})]
            },
            // Without its last offset a group is gone here, and not yet there: no name that comes up again.
            pools: Pools {
                only: &["group_id"],
                ..pools(&[("name", TOPICS), ("group_id", &["g-consumer", "nobody", ""])], &[])
            },
            before: offsets_before,
            after: |fresh| vec![committed(fresh)],
            ..Good::default()
        },
        Good {
            key: 22,
            bases: |_| {
                vec![json!({"transactional_id": null, "transaction_timeout_ms": 1000, "producer_id": -1,
                "producer_epoch": -1})]
            },
            pools: Pools { fixed: &["transactional_id"], ..Pools::default() },
            ..Good::default()
        },
    ]
}

/// A join with protocol type `connect`, whose metadata nobody reads.
fn connect_join(group: &str, member: &str) -> kafka_protocol::messages::JoinGroupRequest {
    join_request(group, member)
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(1000)
        .with_group_instance_id(Some(text("i")))
        .with_protocol_type(text("connect"))
}

/// A group of type `connect` with one static member, that leads it.
fn connect_before(conn: &mut Conn, fresh: &str) -> Names {
    let joined = conn.join(&connect_join(fresh, ""));
    let sync = leader_sync(fresh, &joined, "for").with_protocol_type(Some(text("connect"))).with_assignments(vec![]);
    assert_eq!(conn.sync(&sync).error_code, 0);
    Names::from([("@member".to_owned(), joined.member_id.to_string())])
}

/// A group of the new protocol with one member, `m`, at epoch 2.
fn consumer_before(conn: &mut Conn, fresh: &str) -> Names {
    let joined = conn.call(1, &join_beat(fresh, "m", &["alpha"]));
    assert_eq!((joined.error_code, joined.member_epoch), (0, 2), "{joined:?}");
    Names::new()
}

/// Whether the member is one still, and what else there is to see.
fn member_afterwards(fresh: &str) -> Vec<Question> {
    let beat = json!({"group_id": fresh, "generation_id": 1, "member_id": "@member", "group_instance_id": "i"});
    [vec![(12, 4, beat)], group_afterwards(fresh)].concat()
}

fn writers_of_members() -> Vec<Good> {
    vec![
        Good {
            key: 11,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "session_timeout_ms": 60_000, "rebalance_timeout_ms": 1000,
                    "member_id": "@member", "group_instance_id": "i",
                            "protocol_type": "connect", "protocols": [{"name": "range", "metadata": "00"},
                                {"name": "sticky", "metadata": "01"}]})]
            },
            pools: pools(
                &[
                    ("member_id", &["@member", ""]),
                    ("group_instance_id", &["i", "j"]),
                    ("protocol_type", &["consumer"]),
                    ("protocols.name", &["other"]),
                ],
                // A second member would wait for the first one.
                &[("rebalance_timeout_ms", &[500, 2000]), ("session_timeout_ms", &[-1, 0, 5999, 6000, 1_800_001])],
            ),
            before: connect_before,
            after: member_afterwards,
            ..Good::default()
        },
        Good {
            key: 8,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "generation_id_or_member_epoch": 1, "member_id": "@member",
                    "group_instance_id": "i", "retention_time_ms": 1000, "topics": [
                    {"name": "alpha", "partitions": [to_commit(0, None)]}]})]
            },
            pools: pools(
                &[
                    ("name", TOPICS),
                    ("group_id", &["g-offsets", "g-consumer"]),
                    ("member_id", &["c", "@member", ""]),
                    ("group_instance_id", &["i", "j"]),
                ],
                &[("generation_id_or_member_epoch", &[-3, -2, -1, 0, 1, 2, 3])],
            ),
            before: connect_before,
            after: member_afterwards,
            ..Good::default()
        },
        Good {
            key: 8,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "generation_id_or_member_epoch": 2, "member_id": "m",
                    "group_instance_id": null, "retention_time_ms": -1, "topics": [
                    {"name": "alpha", "partitions": [to_commit(0, Some("x")), to_commit(1, Some("x"))]}, {"name": "beta",
                        "partitions": [to_commit(0, Some("x"))]}]})]
            },
            pools: pools(
                &[("name", TOPICS), ("group_id", &["g-classic"]), ("member_id", &["c", "@classic", ""])],
                &[("generation_id_or_member_epoch", &[-3, -2, -1, 0, 1, 2, 3])],
            ),
            before: consumer_before,
            after: group_afterwards,
            ..Good::default()
        },
        Good {
            key: 9,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "topics": [{"name": "alpha", "partition_indexes": [0, 1]}],
                            "groups": [{"group_id": fresh, "member_id": "m", "member_epoch": 2,
                                "topics": [{"name": "alpha", "partition_indexes": [0, 7]}]}]})]
            },
            pools: pools(
                &[("name", TOPICS), ("group_id", GROUPS), ("member_id", &["c", "@classic", ""])],
                &[("member_epoch", &[-2, -1, 0, 1, 2, 3])],
            ),
            before: consumer_before,
            ..Good::default()
        },
        Good {
            key: 68,
            bases: |fresh| {
                let request = |epoch: i32, topics: Value, owned: Value| {
                    json!({"group_id": fresh, "member_id": "m", "member_epoch": epoch, "instance_id": null,
                        "rack_id": null, "rebalance_timeout_ms": -1,
                           "subscribed_topic_names": topics, "subscribed_topic_regex": null,
                               "server_assignor": null, "topic_partitions": owned})
                };
                let owned = || json!([{"topic_id": "@alpha", "partitions": [0, 1, 2]}]);
                vec![
                    request(2, json!(null), json!(null)),
                    request(2, json!(["beta"]), owned()),
                    request(1, json!(null), owned()),
                    request(-1, json!(null), json!(null)),
                ]
            },
            pools: pools(
                &[
                    ("member_id", &["m", "other"]),
                    ("subscribed_topic_names", TOPICS),
                    ("subscribed_topic_regex", &["alpha", "a.*", "(", ".*"]),
                    ("server_assignor", &["range", "uniform"]),
                    ("topic_id", &["@alpha", "@beta"]),
                ],
                &[("member_epoch", &[-3, -2, -1, 0, 1, 2, 3]), ("rebalance_timeout_ms", &[-1, 0, 1000, 45_000])],
            ),
            before: consumer_before,
            after: group_afterwards,
            ..Good::default()
        },
        Good {
            key: 69,
            bases: |fresh| vec![json!({"group_ids": [fresh, "g-consumer"], "include_authorized_operations": true})],
            pools: pools(&[("group_ids", GROUPS)], &[]),
            before: consumer_before,
            ..Good::default()
        },
        Good {
            key: 11,
            bases: |fresh| {
                let request = |kind: &str, instance: Value| {
                    json!({"group_id": fresh, "session_timeout_ms": 10_000, "rebalance_timeout_ms": 10_000,
                        "member_id": "", "group_instance_id": instance,
                           "protocol_type": kind, "protocols": [{"name": "range", "metadata": "00"},
                               {"name": "sticky", "metadata": "01"}]})
                };
                vec![request("connect", json!(null)), request("connect", json!("instance"))]
            },
            pools: pools(
                &[],
                &[
                    // Without patience Kafka drops the member before it can sync (G7).
                    ("rebalance_timeout_ms", &[1000, 60_000, i32::MAX as i64]),
                    ("session_timeout_ms", &[-1, 0, 1, 5999, 6000, 1_800_000, 1_800_001, i32::MAX as i64]),
                ],
            ),
            after: group_afterwards,
            ..Good::default()
        },
        Good {
            key: 12,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "generation_id": 1, "member_id": "@member",
                "group_instance_id": "i"})]
            },
            pools: pools(
                &[("group_id", GROUPS), ("member_id", &["c", "@classic"]), ("group_instance_id", &["i"])],
                &[],
            ),
            before: member_before,
            ..Good::default()
        },
        Good {
            key: 13,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "member_id": "@member", "members": [
                    {"member_id": "@member", "group_instance_id": null, "reason": "why"}, {"member_id": "stranger",
                        "group_instance_id": "nobody"}]})]
            },
            pools: pools(
                &[("group_id", &["g-offsets"]), ("member_id", &["@member"]), ("group_instance_id", &["i"])],
                &[],
            ),
            before: member_before,
            after: member_afterwards,
            ..Good::default()
        },
        Good {
            key: 14,
            bases: |fresh| {
                vec![json!({"group_id": fresh, "generation_id": 1, "member_id": "@member", "group_instance_id": "i",
                    "protocol_type": "consumer",
                            "protocol_name": "range", "assignments": [{"member_id": "@member",
                                "assignment": "0102"}]})]
            },
            pools: pools(
                &[
                    ("group_id", GROUPS),
                    ("member_id", &["c", "@classic"]),
                    ("group_instance_id", &["i"]),
                    ("protocol_type", &["consumer", "connect"]),
                    ("protocol_name", &["range", "sticky"]),
                ],
                &[],
            ),
            before: member_before,
            after: member_afterwards,
            ..Good::default()
        },
        Good {
            key: 68,
            bases: |fresh| {
                let request = |epoch: i32| {
                    json!({"group_id": fresh, "member_id": "m", "member_epoch": epoch, "instance_id": null,
                        "rack_id": null, "rebalance_timeout_ms": 10_000,
                           "subscribed_topic_names": ["alpha", "nobody"], "subscribed_topic_regex": null,
                               "server_assignor": null, "topic_partitions": []})
                };
                vec![request(0), request(0), request(-1)]
            },
            pools: pools(
                &[
                    ("subscribed_topic_names", TOPICS),
                    ("subscribed_topic_regex", &["alpha", "a.*", "(", "[", ".*"]),
                    ("server_assignor", &["range", "uniform"]),
                    ("topic_id", &["@alpha"]),
                ],
                &[("member_epoch", &[-3, -2, -1, 0, 1, 2, 3])],
            ),
            after: group_afterwards,
            ..Good::default()
        },
    ]
}
