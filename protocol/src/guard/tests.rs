#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::*;
use crate::Draw;
use crate::body::Body;
use crate::common::{self, Golden, golden_frames, mutate};
use crate::messages as kp;
use crate::request::{for_each_api, with_kafka_apis, with_private_apis};
use bytes::Bytes;

fn check(api: ApiKey, version: i16, body: &[u8]) -> Result<Usage, GuardError> {
    check_body(&mut body.to_vec(), api, version, &DecodeLimits::default())
}

/// Decodes a body without a guard; what is left over, or the error.
macro_rules! decoder {
    ($($name:ident, $request:ident, $response:ident;)*) => {
        fn decode(api: ApiKey, version: i16, mut body: Bytes) -> Result<usize, String> {
            match api {
                $(ApiKey::$name => <kp::$request as Body>::decode(version, &mut body).map(|_| ()),)*
            }
            .map(|()| body.len())
        }
    };
}
for_each_api!(decoder);

/// (API, version, body) of every captured request that is offered.
fn bodies() -> Vec<(ApiKey, i16, Vec<u8>)> {
    let split = |frame: Golden| {
        let (head, at) = crate::header::read_head(&frame.bytes, &DecodeLimits::default()).ok()?;
        Some((head.api, head.version, frame.bytes[at..].to_vec()))
    };
    golden_frames().into_iter().filter(|frame| frame.is_request).filter_map(split).collect()
}

#[test]
fn captured_bodies_pass_whole() {
    for (api, version, body) in bodies() {
        assert_eq!(check(api, version, &body).unwrap().body_bytes, body.len(), "{api} v{version}");
    }
}

#[test]
fn c11_a_body_cut_anywhere_is_refused() {
    for (api, version, body) in bodies() {
        for cut in 0..body.len() {
            assert!(check(api, version, &body[..cut]).is_err(), "{api} v{version} cut at {cut}");
        }
    }
}

#[test]
fn c13_bytes_behind_a_complete_body_are_not_looked_at() {
    for (api, version, body) in bodies() {
        let surplus = [&body[..], &[0xff; 9]].concat();
        assert_eq!(check(api, version, &surplus).unwrap().body_bytes, body.len());
    }
}

/// The heart of it: what the guard lets through, the decoder reads to the same byte, or refuses for its strings only.
#[test]
fn guard_and_decoder_agree_on_mutated_bodies() {
    let bodies = bodies();
    let mut draw = Draw::new(21);
    let (mut passed, mut refused) = (0, 0);
    for round in 0..40_000 {
        let (api, version, body) = &bodies[round % bodies.len()];
        let mut body = body.clone();
        mutate(&mut body, &mut draw);
        let Ok(usage) = check_body(&mut body, *api, *version, &DecodeLimits::default()) else {
            refused += 1;
            continue;
        };
        passed += 1;
        let length = body.len();
        match decode(*api, *version, body.into()) {
            Ok(rest) => assert_eq!(rest, length - usage.body_bytes, "{api} v{version}"),
            Err(error) => {
                assert!(error.contains("utf-8") || error.contains("not valid for version"), "{api} v{version}: {error}")
            }
        }
    }
    assert!(passed > 4_000 && refused > 4_000, "{passed} passed, {refused} refused");
}

#[test]
fn se_01_counts_are_compared_with_what_remains() {
    for declared in [i32::MAX, 1 << 20, 3] {
        let body = [&declared.to_be_bytes()[..], &[0, 0, 0, 0]].concat();
        let refused = check(ApiKey::Metadata, 0, &body);
        assert_eq!(refused, Err(GuardError::Count { field: "topics", declared: i64::from(declared), remaining: 4 }));
    }
    let compact = [0xff, 0xff, 0xff, 0xff, 0x07, 0, 0];
    assert!(matches!(check(ApiKey::Metadata, 12, &compact), Err(GuardError::Count { remaining: 2, .. })));
}

#[test]
fn se_01_lengths_are_compared_with_what_remains() {
    let topic = [&1i32.to_be_bytes()[..], &100i16.to_be_bytes(), b"short"].concat();
    let cut = GuardError::Cut { field: "name", needed: 100, remaining: 5 };
    assert_eq!(check(ApiKey::Metadata, 0, &topic), Err(cut));
    let long = [&[2][..], &[0; 16], &[0x81, 0x80, 0x02], &[b'x'; 40_000]].concat();
    let too_long = GuardError::StringTooLong { field: "name", declared: 32_768 };
    assert_eq!(check(ApiKey::Metadata, 10, &long), Err(too_long));
}

#[test]
fn c12_any_negative_nullable_count_is_null() {
    for count in [-1i32, -2, i32::MIN] {
        let mut body = count.to_be_bytes().to_vec();
        check_body(&mut body, ApiKey::Metadata, 1, &DecodeLimits::default()).unwrap();
        assert_eq!(body, [0xff; 4]);
        assert_eq!(decode(ApiKey::Metadata, 1, body.into()), Ok(0));
    }
    // 2^31 + 1 as a varint: Java's signed number minus one is negative.
    let mut body = vec![0x81, 0x80, 0x80, 0x80, 0x08, 0, 0, 0, 0];
    check_body(&mut body, ApiKey::Metadata, 9, &DecodeLimits::default()).unwrap();
    assert_eq!(body[..5], [0x80, 0x80, 0x80, 0x80, 0]);
    assert_eq!(decode(ApiKey::Metadata, 9, body.into()), Ok(0));
}

#[test]
fn null_where_it_is_not_allowed_is_refused() {
    assert_eq!(check(ApiKey::Metadata, 0, &[0xff; 4]), Err(GuardError::Null { field: "topics" }));
    assert_eq!(check(ApiKey::Heartbeat, 0, &[0xff; 2]), Err(GuardError::Null { field: "group_id" }));
    assert_eq!(check(ApiKey::Heartbeat, 4, &[0]), Err(GuardError::Null { field: "group_id" }));
}

#[test]
fn se_02_tagged_fields_are_few_and_as_long_as_they_say() {
    let metadata = |tags: &[u8]| [&[0, 1, 0, 0][..], tags].concat(); // v9: null topics, three flags
    let metadata = |tags: &[u8]| check(ApiKey::Metadata, 9, &metadata(tags));
    assert!(metadata(&[1, 9, 2, 0, 0]).is_ok());
    assert!(metadata(&[&[64][..], &[9, 0].repeat(64)].concat()).is_ok());
    assert_eq!(metadata(&[65]), Err(GuardError::Tags { found: 65, limit: 64 }));
    assert_eq!(metadata(&[1, 9, 3, 0, 0]), Err(GuardError::Cut { field: "tagged field", needed: 3, remaining: 2 }));
    assert_eq!(metadata(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]), Err(GuardError::Varint { field: "tagged fields" }));
}

#[test]
fn c14_unknown_tagged_fields_of_a_body_are_skipped() {
    // Every captured flexible body ends with its own tagged fields, mostly none: one more there changes nothing.
    let mut extended = 0;
    for (api, version, mut body) in bodies() {
        if api.spec().is_flexible(version) && body.last() == Some(&0) {
            body.pop();
            body.extend_from_slice(&[1, 0xe7, 0x07, 3, 1, 2, 3]);
            assert_eq!(check(api, version, &body).unwrap().body_bytes, body.len(), "{api} v{version}");
            assert_eq!(decode(api, version, body.into()), Ok(0), "{api} v{version}");
            extended += 1;
        }
    }
    assert!(extended > 100, "{extended}");
}

#[test]
fn known_tagged_fields_end_where_they_say() {
    // v12: wait, min, max, isolation, session, epoch, no topics, none forgotten, rack "".
    let fetch =
        |tags: &[u8]| check(ApiKey::Fetch, 12, &[&[0; 4 + 4 + 4 + 4 + 1 + 4 + 4][..], &[1, 1, 1], tags].concat());
    assert!(fetch(&[1, 0, 4, 4, b'a', b'b', b'c']).is_ok());
    let wrong = GuardError::TagSize { field: "cluster_id", declared: 5, found: 4 };
    assert_eq!(fetch(&[1, 0, 5, 4, b'a', b'b', b'c', b'd']), Err(wrong));
    assert!(fetch(&[1, 0, 1, 0]).is_ok(), "null");
}

#[test]
fn presence_bytes_are_strict() {
    // No topics, limit, cursor byte, tags.
    let cursor =
        |byte: u8, rest: &[u8]| check(ApiKey::DescribeTopicPartitions, 0, &[&[1, 0, 0, 0, 9, byte][..], rest].concat());
    assert!(cursor(0xff, &[0]).is_ok());
    assert!(cursor(1, &[2, b't', 0, 0, 0, 0, 0, 0]).is_ok());
    for found in [0, 2, 127] {
        assert_eq!(cursor(found as u8, &[0]), Err(GuardError::Presence { field: "cursor", found }));
    }
}

#[test]
fn items_and_memory_are_bounded() {
    let limits = DecodeLimits { items_max: 10, ..Default::default() };
    let topics = |n: i32| [&n.to_be_bytes()[..], &[0, 1, b'a'].repeat(n as usize)].concat();
    assert_eq!(check_body(&mut topics(10), ApiKey::Metadata, 0, &limits).unwrap().items, 10);
    assert_eq!(check_body(&mut topics(11), ApiKey::Metadata, 0, &limits), Err(GuardError::Items { limit: 10 }));
    let limits = DecodeLimits { memory_base: 500, memory_per_frame_byte: 1, ..Default::default() };
    let refused = check_body(&mut topics(11), ApiKey::Metadata, 0, &limits);
    assert!(matches!(refused, Err(GuardError::Memory { limit: 537, .. })), "{refused:?}");
}

impl common::Bits for Draw {
    fn bits(&mut self) -> u64 {
        self.next_u64()
    }
}
