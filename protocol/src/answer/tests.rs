#![allow(clippy::unwrap_used)]

use super::*;
use crate::api::APIS;
use crate::common::{self, Golden, golden_frames};
use crate::request::{for_each_api, with_kafka_apis, with_private_apis};
use crate::response::{decode_response, encode_response};

/// Captured answers that a client of ours would read.
fn answers() -> Vec<(Golden, ApiKey)> {
    let read = |frame: Golden| {
        let api = ApiKey::from_code(frame.api_key).filter(|_| !frame.is_request)?;
        let asked = check_answer(&mut [], api, frame.api_version, &DecodeLimits::default()).is_some();
        (asked && api.spec().served.contains(frame.api_version)).then_some((frame, api))
    };
    golden_frames().into_iter().filter_map(read).collect()
}

fn read(bytes: &[u8], api: ApiKey, version: i16) -> Result<(i32, Response), AnswerError> {
    read_answer(bytes.into(), api, version, &DecodeLimits::default())
}

#[test]
fn captured_answers_read_as_they_decode() {
    let frames = answers();
    for (frame, api) in &frames {
        let (id, expected, _) = decode_response(frame.bytes.clone().into(), *api, frame.api_version).unwrap();
        assert_eq!(read(&frame.bytes, *api, frame.api_version), Ok((id, expected)), "{frame}");
    }
    assert!(frames.len() > 150, "{}", frames.len());
}

macro_rules! empty_answers {
    ($($name:ident, $request:ident, $response:ident;)*) => {
        fn empty_answers() -> Vec<Response> {
            vec![$(crate::messages::$response::default().into(),)*]
        }
    };
}
for_each_api!(empty_answers);

/// Also where no answer was captured: what is encoded passes the guard to its last byte.
#[test]
fn an_empty_answer_of_every_api_and_version_reads_back() {
    assert_eq!(empty_answers().len(), APIS.len());
    for empty in empty_answers() {
        let api = empty.api();
        for version in api.spec().served.iter() {
            let frame = encode_response(7, version, empty.clone()).unwrap();
            match read(&frame[4..], api, version) {
                Ok((id, response)) => assert_eq!((id, response.api()), (7, api)),
                Err(error) => assert_eq!(error, AnswerError::NotRead { api }, "v{version}"),
            }
        }
    }
}

#[test]
fn se_15_an_answer_cut_anywhere_is_refused() {
    for (frame, api) in answers() {
        for cut in 0..frame.bytes.len() {
            assert!(read(&frame.bytes[..cut], api, frame.api_version).is_err(), "{frame} cut at {cut}");
        }
    }
}

#[test]
fn c13_surplus_bytes_are_ignored() {
    for (frame, api) in answers() {
        let surplus = [&frame.bytes[..], &[0xff; 9]].concat();
        assert!(read(&surplus, api, frame.api_version).is_ok(), "{frame}");
    }
}

#[test]
fn se_15_guard_and_decoder_agree_on_mutated_answers() {
    let frames = answers();
    let mut draw = crate::Draw::new(22);
    let (mut passed, mut refused) = (0, 0);
    for round in 0..40_000 {
        let (frame, api) = &frames[round % frames.len()];
        let mut bytes = frame.bytes.clone();
        common::mutate(&mut bytes, &mut draw);
        match read(&bytes, *api, frame.api_version) {
            Ok(_) => passed += 1,
            Err(AnswerError::Body { detail, .. }) => {
                assert!(detail.contains("utf-8") || detail.contains("not valid for version"), "{frame}: {detail}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(passed > 4_000 && refused > 4_000, "{passed} passed, {refused} refused");
}

#[test]
fn errors_say_what_is_wrong_where() {
    // Metadata v1: no brokers, controller, then a count of topics that nothing backs.
    let lying = [&[0, 0, 0, 9][..], &[0, 0, 0, 0], &[0, 0, 0, 1], &i32::MAX.to_be_bytes()].concat();
    let error = read(&lying, ApiKey::Metadata, 1).unwrap_err();
    assert_eq!(error.to_string(), "the answer to Metadata v1: topics declares 2147483647 items, 0 bytes remain");
    let error = read(&[0, 0], ApiKey::Metadata, 1).unwrap_err();
    assert_eq!(error.to_string(), "the header of the answer to Metadata v1: correlation_id needs 4 bytes, 2 remain");
    assert_eq!(read(&[0; 40], ApiKey::JoinGroup, 0).unwrap_err().to_string(), "answers to JoinGroup are not read here");
}
