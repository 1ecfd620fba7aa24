use super::*;
use crate::metadata::answers::{MetadataAnswer, describe_cluster, describe_topic_partitions, metadata};
use crate::metadata::wire::{topic_id, wire_id};
use crate::metadata::{Endpoint, MetadataRecord};
use kafka_protocol::messages::describe_topic_partitions_request as dtp;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::protocol::Encodable;
use pyralog_protocol::created::{ask_created, created_of};

fn endpoint() -> Endpoint {
    Endpoint { node: NodeId(1), host: "pyralog.example".to_owned(), port: 9092 }
}

fn by_name(text: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(name(text)))
}

fn by_id(id: TopicId, text: Option<&str>) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_topic_id(wire_id(id)).with_name(text.map(name))
}

/// The answer to a request without auto-creation; it must encode in its version.
fn ask(b: &Bench, version: i16, topics: Option<Vec<MetadataRequestTopic>>) -> MetadataAnswer {
    let request = m::MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
    answer(b, version, &request)
}

fn answer(b: &Bench, version: i16, request: &m::MetadataRequest) -> MetadataAnswer {
    let answer = metadata(&b.image(), &endpoint(), request, version);
    answer.response.encode(&mut bytes::BytesMut::new(), version).unwrap();
    answer
}

fn entries(answer: &MetadataAnswer) -> Vec<(i16, Option<&str>)> {
    answer.response.topics.iter().map(|t| (t.error_code, t.name.as_ref().map(|n| n.as_str()))).collect()
}

#[test]
fn m01_all_or_none() {
    let mut b = bench();
    b.create("y", 1, &[]);
    b.create("x", 2, &[]);
    let all = [(0, Some("x")), (0, Some("y"))];
    assert_eq!(entries(&ask(&b, 0, Some(Vec::new()))), all);
    for version in 1..=13 {
        assert_eq!(entries(&ask(&b, version, None)), all);
        let none = ask(&b, version, Some(Vec::new())).response;
        assert!(none.topics.is_empty());
        assert_eq!((none.controller_id.0, none.brokers.len()), (1, 1));
        assert_eq!(none.cluster_id.as_deref(), Some(b.image().cluster_id()));
    }
    // M15: the endpoint that the client reaches.
    let broker = ask(&b, 13, None).response.brokers.remove(0);
    assert_eq!((broker.node_id.0, &*broker.host, broker.port), (1, "pyralog.example", 9092));
}

#[test]
fn m02_m03_m05_m06_unknown_names() {
    let mut b = bench();
    b.create("a_b", 1, &[]);
    let unknown = ask(&b, 12, Some(vec![by_name("new")]));
    assert_eq!((entries(&unknown), unknown.create.len()), (vec![(3, Some("new"))], 0));
    assert!(unknown.response.topics[0].topic_id.is_nil() && unknown.response.topics[0].partitions.is_empty());
    let wished = vec![by_name("new"), by_name("a.b"), by_name("bad name"), by_name(""), by_name("a_b")];
    let allow = m::MetadataRequest::default().with_topics(Some(wished)).with_allow_auto_topic_creation(true);
    let answered = answer(&b, 12, &allow);
    let expected = [(3, Some("new")), (3, Some("a.b")), (17, Some("bad name")), (17, Some("")), (0, Some("a_b"))];
    assert_eq!(entries(&answered), expected);
    assert_eq!(answered.create.iter().map(|l| l.as_str()).collect::<Vec<_>>(), ["new"]);
    // v0-v3 have no flag.
    assert_eq!(answer(&b, 3, &allow.clone().with_allow_auto_topic_creation(false)).create.len(), 1);
    let off = bench_with(&[("auto.create.topics.enable", "false")]);
    assert!(answer(&off, 12, &allow).create.is_empty());
}

#[test]
fn m07_internal_logs() {
    let mut b = bench();
    b.create("__consumer_offsets", 3, &[]);
    let answered = ask(&b, 12, Some(vec![by_name("__consumer_offsets"), by_name("__transaction_state")]));
    assert!(answered.response.topics.iter().all(|t| t.is_internal));
    assert_eq!(entries(&answered)[1].0, 3);
}

#[test]
fn m08_to_m12_ids_and_doubles() {
    let mut b = bench();
    let (x, stranger) = (b.create("x", 1, &[]), TopicId([9; 16]));
    assert_eq!(entries(&ask(&b, 9, Some(vec![by_name("x"), by_name("x")]))), [(0, Some("x"))]);
    assert_eq!(entries(&ask(&b, 12, Some(vec![by_id(x, None)]))), [(0, Some("x"))]);
    assert_eq!(entries(&ask(&b, 12, Some(vec![by_id(x, Some("wrong"))]))), [(0, Some("x"))]);
    let twice = vec![by_id(x, Some("wrong")), by_id(x, None), by_id(x, Some("x"))];
    assert_eq!(entries(&ask(&b, 12, Some(twice))), [(0, Some("x"))]);
    let unknown = ask(&b, 12, Some(vec![by_id(stranger, None)]));
    assert_eq!(entries(&unknown), [(100, None)]);
    assert_eq!(topic_id(&unknown.response.topics[0].topic_id), stranger);
    assert_eq!(entries(&ask(&b, 10, Some(vec![by_id(x, Some("x"))]))), [(42, Some("x"))]);
    assert_eq!(entries(&ask(&b, 11, Some(vec![by_id(x, None)]))), [(42, Some(""))]);
    assert_eq!(entries(&ask(&b, 12, Some(vec![by_id(TopicId::ZERO, None)]))), [(42, None)], "Kafka says -1");
}

#[test]
fn m13_authorized_operations_only_when_asked() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let asked = m::MetadataRequest::default()
        .with_topics(None)
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(true);
    let operations = |version| {
        let response = answer(&b, version, &asked).response;
        (response.topics[0].topic_authorized_operations, response.cluster_authorized_operations)
    };
    assert_eq!(operations(7), (i32::MIN, i32::MIN));
    assert_eq!(operations(8), (3576, 8096));
    assert_eq!(operations(11), (3576, i32::MIN), "the cluster's moved to DescribeCluster");
    let asked = asked.with_topics(Some(vec![by_name("none"), by_name("a b"), by_id(TopicId([9; 16]), None)]));
    let named = answer(&b, 12, &asked).response.topics;
    let named: Vec<_> = named.iter().map(|t| (t.error_code, t.topic_authorized_operations)).collect();
    assert_eq!(named, [(3, 3576), (17, 3576), (100, i32::MIN)], "what one may do with a log of that name");
    let unasked = ask(&b, 8, None).response;
    assert_eq!(unasked.topics[0].topic_authorized_operations, i32::MIN);
}

#[test]
fn when_a_log_was_created_is_told_to_who_asks() {
    let mut b = bench();
    b.create("x", 1, &[]);
    let created = b.image().log("x").unwrap().metadata.created_at;
    let request = m::MetadataRequest::default().with_topics(Some(vec![by_name("x"), by_name("none")]));
    let told = answer(&b, 12, &ask_created(request.clone())).response.topics;
    assert_eq!(told.iter().map(created_of).collect::<Vec<_>>(), [Some(created), None]);
    let unasked = answer(&b, 12, &request).response.topics;
    assert!(unasked.iter().all(|topic| topic.unknown_tagged_fields.is_empty()));
}

#[test]
fn m17_describe_cluster() {
    let b = bench();
    let describe = |kind, operations, version| {
        let request = m::DescribeClusterRequest::default().with_endpoint_type(kind);
        let request = request.with_include_cluster_authorized_operations(operations);
        let response = describe_cluster(&b.image(), &endpoint(), &request, version);
        response.encode(&mut bytes::BytesMut::new(), version).unwrap();
        response
    };
    for version in 0..=2 {
        let response = describe(1, true, version);
        assert_eq!((response.error_code, response.cluster_authorized_operations), (0, 8096));
        assert_eq!((&*response.cluster_id, response.controller_id.0), (b.image().cluster_id(), 1));
        assert_eq!((response.brokers.len(), response.brokers[0].port), (1, 9092));
    }
    assert_eq!(describe(1, false, 2).cluster_authorized_operations, i32::MIN);
    assert_eq!((describe(2, false, 1).error_code, describe(9, false, 1).error_code), (114, 115));
}

fn page(b: &Bench, topics: &[&str], limit: i32, cursor: Option<(&str, i32)>) -> m::DescribeTopicPartitionsResponse {
    let cursor = cursor
        .map(|(topic, partition)| dtp::Cursor::default().with_topic_name(name(topic)).with_partition_index(partition));
    let topics = topics.iter().map(|t| dtp::TopicRequest::default().with_name(name(t))).collect();
    let request = m::DescribeTopicPartitionsRequest::default().with_topics(topics).with_cursor(cursor);
    let response = describe_topic_partitions(&b.image(), &request.with_response_partition_limit(limit));
    response.encode(&mut bytes::BytesMut::new(), 0).unwrap();
    response
}

/// `name:code[partitions]` per entry, then the cursor.
fn text(response: &m::DescribeTopicPartitionsResponse) -> String {
    let topic = |t: &m::describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic| {
        let partitions: Vec<_> = t.partitions.iter().map(|p| p.partition_index.to_string()).collect();
        format!("{}:{}[{}]", t.name.as_ref().unwrap().as_str(), t.error_code, partitions.join(","))
    };
    let mut words: Vec<_> = response.topics.iter().map(topic).collect();
    words.extend(response.next_cursor.iter().map(|c| format!("-> {} {}", c.topic_name.as_str(), c.partition_index)));
    words.join(" ")
}

#[test]
fn m18_describe_topic_partitions_pages() {
    let mut b = bench();
    b.create("b", 2, &[]);
    b.create("a", 3, &[]);
    assert_eq!(text(&page(&b, &[], 2000, None)), "a:0[0,1,2] b:0[0,1]");
    assert_eq!(text(&page(&b, &[], 2, None)), "a:0[0,1] -> a 2");
    assert_eq!(text(&page(&b, &[], 2, Some(("a", 2)))), "a:0[2] b:0[0] -> b 1");
    assert_eq!(text(&page(&b, &[], 2, Some(("b", 1)))), "b:0[1]");
    assert_eq!(text(&page(&b, &[], 3, None)), "a:0[0,1,2] -> b 0");
    assert_eq!(text(&page(&b, &[], 0, None)), "a:0[0] -> a 1", "0 acts as 1");
    assert_eq!(
        text(&page(&b, &["b", "none", "a", "bad name", "a"], 9, None)),
        "a:0[0,1,2] b:0[0,1] bad name:17[] none:3[]"
    );
    assert_eq!(text(&page(&b, &["a"], 9, Some(("a", -1)))), "a:42[]");
    let astray = page(&b, &["a", "b"], 9, Some(("aa", 0)));
    assert_eq!(text(&astray), "a:42[] b:42[]", "who names topics goes on at one of them");
    assert_eq!(astray.topics[0].topic_authorized_operations, i32::MIN);
    assert_eq!(text(&page(&b, &[], 9, Some(("aa", 0)))), "b:0[0,1]");
    assert_eq!(page(&b, &["none"], 9, None).topics[0].topic_authorized_operations, 3576);
    let small = bench_with(&[("max.request.partition.size.limit", "1")]);
    assert_eq!(text(&page(&small, &[], 2000, None)), "");
}

#[test]
fn m18_following_the_cursor_sees_each_partition_once() {
    let mut b = bench();
    for (log, partitions) in [("a", 3), ("b", 1), ("c", 5)] {
        b.create(log, partitions, &[]);
    }
    for limit in 1..10 {
        let (mut seen, mut cursor) = (Vec::new(), None::<(String, i32)>);
        loop {
            let response = page(&b, &[], limit, cursor.as_ref().map(|(t, p)| (t.as_str(), *p)));
            for t in &response.topics {
                seen.extend(t.partitions.iter().map(|p| (t.name.as_ref().unwrap().to_string(), p.partition_index)));
            }
            match response.next_cursor {
                Some(next) => cursor = Some((next.topic_name.to_string(), next.partition_index)),
                None => break,
            }
        }
        let mut sorted = seen.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((seen.len(), &seen), (9, &sorted), "limit {limit}");
    }
}

#[test]
fn m16_m19_a_partition_without_leader_keeps_its_epoch() {
    let mut b = bench();
    let id = b.create("x", 2, &[]);
    let mut record = b.sets.iter().flatten().rev().find_map(|record| match record {
        Record::Metadata(MetadataRecord::Log(log)) if log.id == id => Some(log.clone()),
        _ => None,
    });
    let log = record.as_mut().unwrap();
    (log.partitions[1].leader, log.partitions[1].isr) = (None, Vec::new());
    log.partitions[1].leader_epoch.0 = 4;
    b.coordinator.apply(&Record::Metadata(MetadataRecord::Log(log.clone())));
    let topic = ask(&b, 12, Some(vec![by_name("x")])).response.topics.remove(0);
    let p = &topic.partitions[1];
    assert_eq!((topic.error_code, p.error_code, p.leader_id.0, p.leader_epoch), (0, 5, -1, 4));
    assert!(p.isr_nodes.is_empty() && p.replica_nodes.len() == 1);
    assert_eq!(page(&b, &["x"], 9, None).topics[0].partitions[1].error_code, 5);
}
