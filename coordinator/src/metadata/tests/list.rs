//! ListConfigResources.

use super::alter::one;
use super::*;
use crate::config::list_config_resources;
use kafka_protocol::protocol::Encodable;

const SET: i8 = 0;

fn bench_with_resources() -> Bench {
    let mut b = bench();
    b.create("logs", 1, &[]);
    b.create("also", 1, &[]);
    assert_eq!(one(&mut b, 32, "group", "consumer.session.timeout.ms", SET, "46000"), 0);
    assert_eq!(one(&mut b, 16, "subscription", "interval.ms", SET, "1000"), 0);
    b
}

/// Error and (name, type) of everything listed; the answer must encode.
fn list(b: &Bench, version: i16, types: &[i8]) -> (i16, Vec<(String, i8)>) {
    let request = m::ListConfigResourcesRequest::default().with_resource_types(types.to_vec());
    let answer = list_config_resources(&b.image(), &request, version);
    answer.encode(&mut bytes::BytesMut::new(), version).unwrap();
    let listed = answer.config_resources.iter().map(|r| (r.resource_name.to_string(), r.resource_type));
    (answer.error_code, listed.collect())
}

fn named(expected: &[(&str, i8)]) -> (i16, Vec<(String, i8)>) {
    (0, expected.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect())
}

#[test]
fn k12_v0_lists_client_metrics_only() {
    assert_eq!(list(&bench_with_resources(), 0, &[]), named(&[("subscription", 16)]));
    assert_eq!(list(&bench(), 0, &[]), named(&[]));
}

#[test]
fn k12_no_type_is_every_type() {
    let all = [("group", 32), ("subscription", 16), ("1", 8), ("1", 4), ("also", 2), ("logs", 2)];
    assert_eq!(list(&bench_with_resources(), 1, &[]), named(&all));
    assert_eq!(list(&bench_with_resources(), 1, &[2, 4, 8, 16, 32]), named(&all));
}

#[test]
fn k12_types_select_and_repeat_without_effect() {
    let b = bench_with_resources();
    assert_eq!(list(&b, 1, &[2, 2]), named(&[("also", 2), ("logs", 2)]));
    assert_eq!(list(&b, 1, &[4, 32]), named(&[("group", 32), ("1", 4)]));
}

#[test]
fn k12_what_is_no_type_is_refused_as_a_whole() {
    for kind in [0, 1, 3, 64, -1] {
        assert_eq!(list(&bench_with_resources(), 1, &[2, kind]), (35, Vec::new()), "type {kind}");
    }
}

#[test]
fn k12_what_lost_its_last_config_is_not_listed() {
    let mut b = bench_with_resources();
    assert_eq!(one(&mut b, 32, "group", "consumer.session.timeout.ms", 1, ""), 0);
    assert_eq!(list(&b, 1, &[32]), named(&[]));
}
