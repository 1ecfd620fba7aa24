//! Frames between real clients and Apache Kafka 4.3.1 (`tests/golden/*.jsonl`): each decodes, nothing is left over, and
//! it encodes to the same bytes.
#![allow(clippy::unwrap_used, clippy::disallowed_types)]

mod common;

use common::{Golden, golden_frames};
use pyralog_protocol::request::{decode_request, encode_request};
use pyralog_protocol::response::decode_response;
use pyralog_protocol::{ApiKey, DecodeError, DecodeLimits, Reaction, encode_response};
use std::collections::BTreeSet;

/// Frames of APIs and versions in our table.
fn offered(frames: &[Golden]) -> impl Iterator<Item = (&Golden, ApiKey)> {
    frames.iter().filter_map(|frame| {
        let api = ApiKey::from_code(frame.api_key)?;
        api.spec().served.contains(frame.api_version).then_some((frame, api))
    })
}

#[test]
fn golden_requests_decode_and_encode_to_the_same_bytes() {
    let frames = golden_frames();
    let mut versions = BTreeSet::new();
    for (frame, api) in offered(&frames).filter(|(frame, _)| frame.is_request) {
        let (head, request) = decode_request(frame.bytes[..].into(), &DecodeLimits::default())
            .unwrap_or_else(|error| panic!("{frame}: {error}"));
        assert_eq!((head.api, request.api(), head.version), (api, api, frame.api_version));
        let again = encode_request(&head, &request).unwrap();
        assert_eq!(again[4..], frame.bytes[..], "{frame}");
        assert_eq!(again[..4], i32::try_from(frame.bytes.len()).unwrap().to_be_bytes());
        versions.insert((api, frame.api_version));
    }
    let missing: Vec<_> = pyralog_protocol::api::APIS
        .iter()
        .flat_map(|spec| spec.served.iter().map(|version| (spec.key, version)))
        .filter(|pair| !versions.contains(pair))
        .collect();
    assert_eq!(missing, [], "versions in the table that no captured frame has");
}

#[test]
fn golden_responses_decode_and_encode_to_the_same_bytes() {
    let frames = golden_frames();
    let mut count = 0;
    for (frame, api) in offered(&frames).filter(|(frame, _)| !frame.is_request) {
        let (correlation_id, response, rest) = decode_response(frame.bytes.clone().into(), api, frame.api_version)
            .unwrap_or_else(|error| panic!("{frame}: {error}"));
        assert!(rest.is_empty(), "{frame}: {} bytes left over", rest.len());
        let again = encode_response(correlation_id, frame.api_version, response).unwrap();
        assert_eq!(again[4..], frame.bytes[..], "{frame}");
        count += 1;
    }
    assert!(count > 300, "only {count} responses");
}

#[test]
fn golden_frames_of_other_apis_close_and_c01_apiversions_v5_is_answered() {
    let frames = golden_frames();
    let mut newer_api_versions = 0;
    for frame in frames.iter().filter(|frame| frame.is_request) {
        let known = ApiKey::from_code(frame.api_key);
        if known.is_some_and(|api| api.spec().served.contains(frame.api_version)) {
            continue;
        }
        let error = decode_request(frame.bytes[..].into(), &DecodeLimits::default()).unwrap_err();
        if known == Some(ApiKey::ApiVersions) {
            assert!(matches!(error.reaction(), Reaction::AnswerApiVersions { .. }), "{frame}");
            newer_api_versions += 1;
        } else {
            assert!(
                matches!(error, DecodeError::UnknownApi { .. } | DecodeError::UnsupportedVersion { .. }),
                "{frame}"
            );
            assert_eq!(error.reaction(), Reaction::Close);
        }
    }
    assert!(newer_api_versions > 0);
}

/// The answer that Kafka gave to ApiVersions v5, byte for byte.
#[test]
fn c01_the_answer_to_a_newer_apiversions_equals_kafkas() {
    let frames = golden_frames();
    let mut compared = 0;
    for frame in frames.iter().filter(|frame| frame.api_key == 18 && frame.api_version > 4 && !frame.is_request) {
        let correlation_id = i32::from_be_bytes(*frame.bytes.first_chunk().unwrap());
        let ours = pyralog_protocol::response::unsupported_api_versions(correlation_id).unwrap();
        assert_eq!(ours[4..], frame.bytes[..]);
        compared += 1;
    }
    assert!(compared > 0);
}
