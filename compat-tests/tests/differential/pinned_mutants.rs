//! Changed requests that were answered differently once, in every version that has them.

use pyralog_compat_tests::fields::Names;
use serde_json::{Value, json};

use super::good_changes::{offsets_before, topic_before};
use super::good_requests::batch;
use super::*;

/// One request.
pub struct Pinned {
    /// What is special about it.
    pub label: &'static str,
    /// The API.
    pub key: i16,
    /// The versions that are sent.
    pub versions: std::ops::RangeInclusive<i16>,
    /// What must be there before.
    pub before: fn(&mut Conn, &str) -> Names,
    /// The request; what is new is called so.
    pub request: fn(&str) -> Value,
}

const ALL: std::ops::RangeInclusive<i16> = 0..=i16::MAX;

fn nothing(_: &mut Conn, _: &str) -> Names {
    Names::new()
}

fn pin(label: &'static str, key: i16, request: fn(&str) -> Value) -> Pinned {
    Pinned { label, key, versions: ALL, before: nothing, request }
}

/// All of them.
pub fn pinned() -> Vec<Pinned> {
    [of_lookups(), of_metadata(), of_groups(), of_topics(), of_configs()].into_iter().flatten().collect()
}

fn offset_of(index: i32, timestamp: i64) -> Value {
    json!({"partition_index": index, "current_leader_epoch": -1, "timestamp": timestamp})
}

fn of_lookups() -> Vec<Pinned> {
    vec![
        pin("a partition twice", 2, |_| {
            json!({"replica_id": -1, "topics": [{"name": "alpha", "partitions": [
                offset_of(0, -1), offset_of(1, -1), offset_of(0, -2)]}]})
        }),
        pin("a topic twice, and one without partitions", 2, |_| {
            json!({"replica_id": -1, "topics": [{"name": "alpha", "partitions": [offset_of(0, -1)]},
                {"name": "beta", "partitions": []},
                {"name": "gamma", "partitions": [offset_of(0, -1)]}, 
                {"name": "alpha", "partitions": [offset_of(1, -1)]}]})
        }),
        pin(
            "a time that there is not, of a partition that there is not",
            2,
            |_| json!({"replica_id": -1, "topics": [{"name": "alpha", "partitions": [offset_of(7, -9)]}]}),
        ),
        Pinned {
            versions: 2..=i16::MAX,
            ..pin("an isolation level that there is not", 2, |_| {
                json!({"replica_id": -1, "isolation_level": 2, "topics": [{"name": "alpha",
                    "partitions": [offset_of(0, -1), offset_of(7, -1)]}]})
            })
        },
        pin("no partitions", 21, |_| json!({"topics": [{"name": "alpha", "partitions": []}], "timeout_ms": 15_000})),
        pin("no partitions", 34, |_| {
            json!({"dirs": [{"path": "/no/such/folder", "topics": [{"name": "alpha",
            "partitions": []}]}]})
        }),
        pin("no partitions", 0, |_| {
            json!({"acks": 1, "timeout_ms": 5000, "topic_data": [{"name": "sink", "topic_id": "@sink",
                "partition_data": []}]})
        }),
        pin("acks that there are not, of a partition that there is not", 0, |_| {
            let partitions = json!([{"index": 0, "records": batch("a")}, {"index": 7, "records": batch("a")}]);
            json!({"acks": 2, "timeout_ms": 5000, "topic_data": [{"name": "sink", "topic_id": "@sink",
                "partition_data": partitions}]})
        }),
    ]
}

fn of_metadata() -> Vec<Pinned> {
    vec![
        Pinned {
            versions: 12..=i16::MAX,
            ..pin("an id twice", 3, |_| {
                let topic = |name: Value| json!({"name": name, "topic_id": "@alpha"});
                json!({"topics": [topic(json!(null)), topic(json!("beta")), topic(json!("gamma"))]})
            })
        },
        Pinned {
            versions: 8..=i16::MAX,
            ..pin("operations of names that there are not", 3, |_| {
                let topic = |name: &str| json!({"name": name, "topic_id": ""});
                json!({"topics": [topic("alpha"), topic("nobody"), topic("a b")],
                    "include_topic_authorized_operations": true})
            })
        },
        pin("goes on at a topic that is not asked for", 75, |_| {
            json!({"topics": [{"name": "alpha"}, {"name": "gamma"}], "response_partition_limit": 2,
                "cursor": {"topic_name": "beta", "partition_index": 0}})
        }),
    ]
}

fn of_groups() -> Vec<Pinned> {
    vec![
        Pinned {
            versions: 4..=i16::MAX,
            ..pin("blanks around a state", 16, |_| {
                json!({"states_filter": [" Stable ", "Empty"],
                "types_filter": []})
            })
        },
        Pinned {
            before: offsets_before,
            ..pin("a group twice", 42, |fresh| {
                json!({"groups_names": [fresh, "nobody",
            fresh, "nobody"]})
            })
        },
        pin("no group id", 47, |_| {
            json!({"group_id": "", "topics": [{"name": "alpha",
            "partitions": [{"partition_index": 0}]}]})
        }),
        Pinned {
            before: offsets_before,
            ..pin("a topic without partitions", 47, |fresh| {
                let topic = |name: &str, partitions: Value| json!({"name": name, "partitions": partitions});
                json!({"group_id": fresh, "topics": [topic("alpha", json!([{"partition_index": 1}])),
                    topic("gamma", json!([])), topic("beta", json!([{"partition_index": 7}]))]})
            })
        },
        pin("a topic without partitions", 8, |fresh| {
            let partition = json!({"partition_index": 0, "committed_offset": 5, "committed_leader_epoch": -1,
                "committed_metadata": ""});
            json!({"group_id": fresh, "generation_id_or_member_epoch": -1, "retention_time_ms": -1, "topics": [
                {"name": "alpha", "partitions": [partition]}, {"name": "beta", "partitions": []}]})
        }),
        pin("a rack of nothing that shows", 68, |fresh| {
            json!({"group_id": fresh, "member_id": "m", "member_epoch": 0, "rack_id": "\u{1} ",
                "rebalance_timeout_ms": 1000,
                   "subscribed_topic_names": ["alpha"], "topic_partitions": []})
        }),
    ]
}

fn of_topics() -> Vec<Pinned> {
    vec![
        pin("a config twice, of which the first is no good", 19, |fresh| {
            let configs = json!([{"name": "cleanup.policy", "value": "x"}, {"name": "cleanup.policy",
                "value": "compact"}]);
            json!({"topics": [{"name": fresh, "num_partitions": 1, "replication_factor": 1, "assignments": [],
                "configs": configs}], "timeout_ms": 15_000})
        }),
        pin("a count of any size beside assignments", 19, |fresh| {
            let assignments = json!([{"partition_index": 0, "broker_ids": [1]}]);
            json!({"topics": [{"name": fresh, "num_partitions": i32::MAX, "replication_factor": -1,
                "assignments": assignments, "configs": []}], "timeout_ms": 15_000})
        }),
        Pinned {
            before: topic_before,
            ..pin("a count of any size for a topic that there is not", 37, |fresh| {
                let topic = |name: &str, count: i32| json!({"name": name, "count": count, "assignments": null});
                json!({"topics": [topic(fresh, 3), topic("nobody", i32::MAX)], "timeout_ms": 15_000})
            })
        },
    ]
}

fn of_configs() -> Vec<Pinned> {
    vec![
        pin("a config twice, of a topic that there is not", 44, |_| {
            let config = json!({"name": "flush.ms", "config_operation": 0, "value": "1"});
            json!({"resources": [{"resource_type": 2, "resource_name": "nobody", "configs": [config, config]}]})
        }),
        pin("no number, for a subscription of metrics", 44, |fresh| {
            let config = json!({"name": "interval.ms", "config_operation": 0, "value": "soon"});
            json!({"resources": [{"resource_type": 16, "resource_name": fresh, "configs": [config]}]})
        }),
        pin("no number, for a subscription of metrics", 33, |fresh| {
            let config = json!({"name": "interval.ms", "value": "soon"});
            json!({"resources": [{"resource_type": 16, "resource_name": fresh, "configs": [config]}]})
        }),
        pin("no value, for a topic that there cannot be", 44, |_| {
            let config = json!({"name": "flush.ms", "config_operation": 0, "value": null});
            json!({"resources": [{"resource_type": 2, "resource_name": "..", "configs": [config]}]})
        }),
    ]
}
