//! Connection and negotiation: the statements C1 to C22 that hold on a plain listener, one test each.
//!
//! SASL (C19), unlisted telemetry (C20) and quotas (C21) are not here.
#![allow(clippy::cast_possible_truncation)]

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};
use pyralog_compat_tests::calls::{Fetch, metadata_request, produce_parts, produced};
use pyralog_compat_tests::conn::{SOON, decode_answer, header};
use pyralog_compat_tests::{Batch, BrokerOptions, Conn, on_kafka, private, shared, text};

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default().with_client_software_name(text("compat")).with_client_software_version(text("1.0"))
}

fn assert_usable(conn: &mut Conn) {
    let response = conn.call(3, &api_versions());
    assert_eq!(response.error_code, 0);
    assert!(response.api_keys.len() > 10, "{response:?}");
}

fn listed(conn: &mut Conn, key: i16) -> Option<(i16, i16)> {
    let response = conn.call(3, &api_versions());
    response.api_keys.iter().find(|k| k.api_key == key).map(|k| (k.min_version, k.max_version))
}

fn assert_refused_with_v0(body: &[u8], correlation: i32) {
    let (found, response) = decode_answer::<ApiVersionsRequest>(0, body);
    assert_eq!(found, correlation);
    assert_eq!(response.error_code, 35);
    let ranges: Vec<_> = response.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
    assert_eq!(ranges, [(18, 0, 4)]);
}

#[test]
fn c01_api_versions_too_new_gets_v0_body() {
    let target = shared();
    for version in [5, 99] {
        let mut conn = target.connect();
        let correlation = conn.send_raw_request(18, version, 2, &[7, b'c', b'o', b'm', b'p', b'a', b't', 0, 0]);
        let answer = conn.receive_frame();
        assert_refused_with_v0(&answer, correlation);
        assert_usable(&mut conn);
    }
}

#[test]
fn c02_too_new_api_versions_reads_no_body_but_a_flexible_header() {
    let target = shared();
    for body in [&[][..], &[0xff; 3], &[0xff; 300]] {
        let mut conn = target.connect();
        let correlation = conn.send_raw_request(18, 99, 2, body);
        let answer = conn.receive_frame();
        assert_refused_with_v0(&answer, correlation);
        assert_usable(&mut conn);
    }
}

#[test]
fn c02_too_new_api_versions_without_the_tag_byte_closes() {
    let mut conn = shared().connect();
    conn.send_raw_request(18, 99, 1, &[]);
    conn.expect_closed();
}

#[test]
fn c02_negative_api_versions_version_has_a_plain_header() {
    let mut conn = shared().connect();
    let correlation = conn.send_raw_request(18, -1, 1, &[]);
    let answer = conn.receive_frame();
    assert_refused_with_v0(&answer, correlation);
    assert_usable(&mut conn);
}

#[test]
fn c03_api_versions_response_header_is_v0_in_every_version() {
    let mut conn = shared().connect();
    for version in 0..=4 {
        // The decoder of this message reads header v0 and would fail on a tag byte.
        let response = conn.call(version, &api_versions());
        assert_eq!(response.error_code, 0, "v{version}");
        assert!(response.api_keys.iter().any(|k| (k.api_key, k.min_version, k.max_version) == (18, 0, 4)));
    }
}

#[test]
fn c04_client_id_may_be_null_empty_or_not_ascii() {
    let target = shared();
    for id in [None, Some(""), Some("zähler-Ω-計"), Some(&*"x".repeat(300))] {
        let mut conn = target.connect();
        conn.client_id = id.map(str::to_owned);
        assert_usable(&mut conn);
        assert!(!conn.metadata(&[]).brokers.is_empty(), "client id {id:?}");
    }
}

#[test]
fn c05_bad_software_name_or_version_is_invalid_request() {
    let mut conn = shared().connect();
    let bad = [("", "1"), ("a", ""), ("-a", "1"), ("a-", "1"), ("a b", "1"), ("a", ".1"), ("ä", "1"), ("a", "1_0")];
    for version in [3, 4] {
        for (name, software_version) in bad {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text(name))
                .with_client_software_version(text(software_version));
            let response = conn.call(version, &request);
            assert_eq!(response.error_code, 42, "{name:?} {software_version:?} v{version}");
            assert!(response.api_keys.is_empty(), "{name:?} {software_version:?}");
        }
    }
    assert_usable(&mut conn);
}

#[test]
fn c05_long_software_name_is_accepted() {
    let request = api_versions().with_client_software_name(text(&"n".repeat(300)));
    assert_eq!(shared().connect().call(3, &request).error_code, 0);
}

#[test]
fn c06_api_versions_may_be_repeated() {
    let mut conn = shared().connect();
    let first = conn.call(3, &api_versions());
    for _ in 0..3 {
        assert_eq!(conn.call(3, &api_versions()).api_keys, first.api_keys);
    }
}

#[test]
fn c07_v3_leaves_out_features_that_start_at_zero() {
    let mut conn = shared().connect();
    let (v3, v4) = (conn.call(3, &api_versions()), conn.call(4, &api_versions()));
    let supported = |r: &ApiVersionsResponse| -> Vec<(String, i16, i16)> {
        r.supported_features.iter().map(|f| (f.name.to_string(), f.min_version, f.max_version)).collect()
    };
    let from_one: Vec<_> = supported(&v4).into_iter().filter(|(_, min, _)| *min > 0).collect();
    assert_eq!(supported(&v3), from_one);
    assert_eq!(v3.finalized_features, v4.finalized_features);
    assert_eq!(v3.finalized_features_epoch, v4.finalized_features_epoch);
    assert!(v4.finalized_features.iter().all(|f| f.max_version_level > 0), "{v4:?}");
    if on_kafka() {
        assert_eq!(from_one, [("metadata.version".to_owned(), 7, 30)]);
    }
}

#[test]
fn c08_produce_is_listed_from_zero_but_not_served_below_three() {
    let target = shared();
    let mut conn = target.connect();
    assert_eq!(listed(&mut conn, 0).map(|range| range.0), Some(0));
    for version in 0..=2 {
        let mut conn = target.connect();
        // acks, timeout, no topics
        conn.send_raw_request(0, version, 1, &[0xff, 0xff, 0, 0, 0, 100, 0, 0, 0, 0]);
        conn.expect_closed();
    }
}

#[test]
fn c09_unserved_key_or_version_closes_after_earlier_answers() {
    let target = shared();
    let (fetch_min, fetch_max) = listed(&mut target.connect(), 1).expect("Fetch is listed");
    let cases = [(999, 0), (-1, 0), (4, 0), (52, 0), (1, fetch_min - 1), (1, fetch_max + 1), (3, -1), (3, 99)];
    for (key, version) in cases {
        let mut conn = target.connect();
        let correlation = conn.send(3, &api_versions());
        conn.send_raw_request(key, version, 2, &[0; 40]);
        let answered = conn.receive::<ApiVersionsRequest>(3, correlation);
        assert_eq!(answered.error_code, 0, "before key {key} v{version}");
        conn.expect_closed();
    }
}

#[test]
fn c10_impossible_frame_length_closes_at_once() {
    let target = shared();
    for length in [104_857_601, i32::MAX, 0, -1, i32::MIN] {
        let mut conn = target.connect();
        conn.send_bytes(&length.to_be_bytes());
        let started = Instant::now();
        conn.expect_closed();
        assert!(started.elapsed() < SOON, "length {length} closed after {:?}", started.elapsed());
    }
}

#[test]
fn c10_largest_frame_is_waited_for() {
    let mut conn = shared().connect();
    conn.send_bytes(&104_857_600_i32.to_be_bytes());
    conn.expect_silence(Duration::from_millis(500));
}

#[test]
fn c10_frame_too_short_for_its_header_closes() {
    let target = shared();
    let whole = header(3, 1, 7, Some("compat"), 1);
    for length in [1, 2, 4, 7, 9, 12] {
        let mut conn = target.connect();
        conn.send_frame(&whole[..length]);
        conn.expect_closed();
    }
}

#[test]
fn c11_count_beyond_the_remaining_bytes_closes() {
    let target = shared();
    for count in [2_i32, 1000, i32::MAX] {
        let mut conn = target.connect();
        let mut body = count.to_be_bytes().to_vec();
        body.extend([0, 1, b'a']);
        conn.send_raw_request(3, 1, 1, &body);
        conn.expect_closed();
    }
    for count in [&[5][..], &[0xff, 0x7f], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let mut conn = target.connect();
        let mut body = count.to_vec();
        body.extend([2, b'a', 0]);
        conn.send_raw_request(3, 9, 2, &body);
        conn.expect_closed();
    }
}

#[test]
fn c11_body_cut_short_closes() {
    let target = shared();
    for version in [4, 9, 12] {
        let (_, whole) = target.connect().encode(version, &metadata_request(&["cut"]));
        for cut in 1..6 {
            let mut conn = target.connect();
            conn.send_frame(&whole[..whole.len() - cut]);
            conn.expect_closed();
        }
    }
}

#[test]
fn c12_any_negative_nullable_count_is_null() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("c12", 1, &[]);
    for count in [-1_i32, -2, i32::MIN] {
        let correlation = conn.send_raw_request(3, 1, 1, &count.to_be_bytes());
        let answer = conn.receive_frame();
        let (found, response) = decode_answer::<MetadataRequest>(1, &answer);
        assert_eq!(found, correlation);
        assert!(has_topic(&response, &name), "count {count} means all topics");
    }
}

fn has_topic(response: &MetadataResponse, name: &str) -> bool {
    response.topics.iter().any(|t| t.name.as_ref().is_some_and(|n| n.as_str() == name))
}

#[test]
fn c13_bytes_after_a_complete_body_are_ignored() {
    let mut conn = shared().connect();
    for (version, surplus) in [(4, &[0][..]), (12, &[0]), (12, &[0xff; 20])] {
        let (correlation, mut body) = conn.encode(version, &metadata_request(&[]));
        body.extend_from_slice(surplus);
        conn.send_frame(&body);
        let response = conn.receive::<MetadataRequest>(version, correlation);
        assert!(!response.brokers.is_empty(), "v{version} with {} more bytes", surplus.len());
    }
}

#[test]
fn c14_unknown_tagged_fields_are_skipped() {
    let mut conn = shared().connect();
    let mut body = header(3, 12, 77, Some("compat"), 1);
    // Header tags: one field, number 100, 3 bytes.
    body.extend([1, 100, 3, 1, 2, 3]);
    // No topics, three flags in v12 are two, then tags: number 5 with no bytes, number 200 with one.
    body.extend([1, 0, 0, 2, 5, 0, 0xc8, 1, 1, 9]);
    conn.send_frame(&body);
    let answer = conn.receive_frame();
    let (correlation, response) = decode_answer::<MetadataRequest>(12, &answer);
    assert_eq!(correlation, 77);
    assert!(!response.brokers.is_empty());
}

#[test]
fn c15_correlation_ids_are_echoed_in_request_order() {
    let mut conn = shared().connect();
    let ids = [5, -1, i32::MIN, 0, i32::MAX, 5];
    for id in ids {
        let mut body = header(3, 1, id, None, 1);
        body.put_i32(0);
        conn.send_frame(&body);
    }
    for id in ids {
        assert_eq!((&conn.receive_frame()[..]).get_i32(), id);
    }
}

#[test]
fn c16_a_long_poll_blocks_later_requests_of_its_connection() {
    let target = shared();
    let mut conn = target.connect();
    let (name, _) = conn.new_topic("c16", 1, &[]);
    let poll = Fetch::at(&name, 0, 0).wait(600_000, 1).build();
    let first = conn.send(12, &poll);
    let second = conn.send(12, &metadata_request(&[]));
    // Others are not blocked.
    let mut other = target.connect();
    assert!(!other.metadata(&[]).brokers.is_empty());
    conn.expect_silence(Duration::from_millis(700));
    other.append(&name, 0, &Batch::of("v", 1).encode());
    conn.receive::<kafka_protocol::messages::FetchRequest>(12, first);
    conn.receive::<MetadataRequest>(12, second);
}

#[test]
fn c17_acks_0_takes_no_place_in_the_answer_order() {
    let mut conn = shared().connect();
    let (name, _) = conn.new_topic("c17", 1, &[]);
    let batch = Batch::of("v", 1).encode();
    conn.send(9, &produce_parts(0, &[(&name, 0, Some(&batch))]));
    let metadata = conn.send(12, &metadata_request(&[]));
    conn.send(9, &produce_parts(0, &[(&name, 0, Some(&batch))]));
    let acknowledged = conn.send(9, &produce_parts(1, &[(&name, 0, Some(&batch))]));
    conn.receive::<MetadataRequest>(12, metadata);
    let response = conn.receive::<ProduceRequest>(9, acknowledged);
    assert_eq!(produced(&response, &name, 0).base_offset, 2, "both batches without acknowledgement came first");
}

#[test]
fn c18_sasl_on_a_plain_listener_is_illegal_state() {
    let target = shared();
    let mut conn = target.connect();
    // An API that is not listed is not served either (C9, C20).
    if listed(&mut conn, 17).is_some() {
        let response = conn.call(1, &SaslHandshakeRequest::default().with_mechanism(text("PLAIN")));
        assert_eq!(response.error_code, 34);
        assert_usable(&mut conn);
    } else {
        conn.send(1, &SaslHandshakeRequest::default().with_mechanism(text("PLAIN")));
        conn.expect_closed();
    }
    let mut conn = target.connect();
    if listed(&mut conn, 36).is_some() {
        let response = conn.call(2, &SaslAuthenticateRequest::default().with_auth_bytes(b"\0a\0b".as_slice().into()));
        assert_eq!(response.error_code, 34);
        assert_usable(&mut conn);
    } else {
        conn.send(2, &SaslAuthenticateRequest::default());
        conn.expect_closed();
    }
}

#[test]
fn c22_idle_connections_are_closed() {
    let Some(broker) = private(BrokerOptions::new().set("connections.max.idle.ms", "4000")) else { return };
    let mut idle = broker.connect();
    assert_usable(&mut idle);
    let mut busy = broker.connect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(8500) {
        assert_usable(&mut busy);
        std::thread::sleep(Duration::from_millis(200));
    }
    idle.expect_closed();
    assert_usable(&mut busy);
}
