//! Bytes of the private APIs. The frames in `tests/golden/private.jsonl` were written by hand from the description of the
//! APIs, not by this encoder; what is listed in the table is tested on them as every API is, and here are the messages.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::DecodeLimits;
use crate::common::golden_frames;
use crate::guard::check_shape;

type Recoded = Result<(Vec<u8>, usize), String>;

/// Through guard, decoder and encoder; with the bytes that the guard counted.
fn recode<T: Body>(shape: &'static crate::guard::Shape, body: &[u8]) -> Recoded {
    let mut body = body.to_vec();
    let usage = check_shape(&mut body, shape, &DecodeLimits::default()).map_err(|e| e.to_string())?;
    let mut rest = Bytes::from(body);
    let message = T::decode(0, &mut rest)?;
    assert!(rest.is_empty());
    let mut out = BytesMut::new();
    message.encode(0, &mut out)?;
    assert_eq!(message.size(0).unwrap(), out.len());
    Ok((out.to_vec(), usage.body_bytes))
}

macro_rules! recoders {
    ($($request:ident $response:ident;)*) => {
        fn recode_of(place: i16, is_request: bool, body: &[u8]) -> Recoded {
            let all: &[(fn(&[u8]) -> Recoded, fn(&[u8]) -> Recoded)] = &[$((
                |body| recode::<$request>($request::SHAPE, body),
                |body| recode::<$response>($response::SHAPE, body),
            ),)*];
            let (request, response) = all[usize::try_from(place).unwrap()];
            if is_request { request(body) } else { response(body) }
        }
    };
}
recoders! {
    VlsnDescribeRequest VlsnDescribeResponse;
    VlsnReadRequest VlsnReadResponse;
    VlsnReadRangeRequest VlsnReadRangeResponse;
    VlsnAppendRequest VlsnAppendResponse;
    VlsnCommitRequest VlsnCommitResponse;
    VlsnCommittedRequest VlsnCommittedResponse;
    VlsnDeleteCommitRequest VlsnDeleteCommitResponse;
    SequencerReserveRequest SequencerReserveResponse;
    SequencerDescribeRequest SequencerDescribeResponse;
    WriterEpochRequest WriterEpochResponse;
}

/// (place in the block, whether a request, body) of the frames that were written by hand.
fn bodies() -> Vec<(i16, bool, Vec<u8>)> {
    let frames = golden_frames().into_iter().filter(|frame| frame.api_key >= FIRST_KEY);
    let body = |frame: crate::common::Golden| {
        let client_id = i16::from_be_bytes([frame.bytes[8], frame.bytes[9]]).max(0);
        let at = if frame.is_request { 10 + usize::try_from(client_id).unwrap() + 1 } else { 5 };
        (frame.api_key - FIRST_KEY, frame.is_request, frame.bytes[at..].to_vec())
    };
    frames.map(body).collect()
}

#[test]
fn golden_messages_of_every_private_api_decode_and_encode_to_the_same_bytes() {
    let bodies = bodies();
    for (place, is_request, body) in &bodies {
        let (again, checked) = recode_of(*place, *is_request, body).unwrap();
        assert_eq!(&again, body, "{place} {is_request}");
        assert_eq!(checked, body.len(), "the guard sees the whole of {place} {is_request}");
    }
    let kinds: std::collections::BTreeSet<_> =
        bodies.iter().map(|(place, is_request, _)| (place, is_request)).collect();
    assert_eq!(kinds.len(), 20, "every request and every answer");
}

#[test]
fn c11_a_message_cut_anywhere_is_refused_with_and_without_the_guard() {
    for (place, is_request, body) in bodies() {
        for cut in 0..body.len() {
            assert!(recode_of(place, is_request, &body[..cut]).is_err(), "{place} {is_request} cut at {cut}");
        }
    }
    let (_, _, commit) =
        bodies().into_iter().find(|(place, is_request, _)| (*place, *is_request) == (4, true)).unwrap();
    for cut in 0..commit.len() {
        let mut cut_off = Bytes::copy_from_slice(&commit[..cut]);
        assert!(VlsnCommitRequest::read(&mut cut_off).is_err(), "cut at {cut}");
    }
}

#[test]
fn c14_tagged_fields_of_newer_versions_are_passed_over() {
    for (place, is_request, body) in bodies() {
        let (_, end) = body.split_last().unwrap();
        let newer = [end, &[2, 0, 1, 9, 0xe7, 0x07, 3, 1, 2, 3]].concat();
        let (again, checked) = recode_of(place, is_request, &newer).unwrap();
        assert_eq!((again, checked), (body, newer.len()));
    }
}

#[test]
fn se_01_a_count_that_lies_takes_no_memory_not_even_unguarded() {
    for count in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0x80, 0x80, 0x80, 0x80, 0x08], &[0x80, 0x80, 0x04]] {
        let body = [&[2, b'x', 0, 0, 0, 0, 0, 0, 0, 0][..], count, &[0; 20]].concat();
        let error = VlsnReadRequest::read(&mut Bytes::from(body)).unwrap_err();
        assert!(matches!(error, WireError::Cut { .. }), "{error}");
    }
}

#[test]
fn what_no_reader_takes_is_not_written() {
    let long = StrBytes::from_string("x".repeat(40_000));
    let request = SequencerReserveRequest { name: long, count: 1, at_least: 0 };
    let error = Body::encode(&request, 0, &mut BytesMut::new()).unwrap_err();
    assert_eq!(error, "a string of 40000, 32767 are allowed");
}

#[test]
fn strings_that_are_not_utf_8_and_nulls_out_of_place_are_refused() {
    let bad = Bytes::from_static(&[3, 0xc3, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(SequencerReserveRequest::read(&mut bad.clone()), Err(WireError::Utf8));
    let null = Bytes::from_static(&[0; 18]);
    assert_eq!(SequencerReserveRequest::read(&mut null.clone()), Err(WireError::Null));
}
