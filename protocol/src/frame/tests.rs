#![allow(clippy::unwrap_used)]

use super::*;

const LIMIT: usize = 104_857_600;

#[test]
fn c10_lengths_of_zero_below_and_over_the_limit_close() {
    for found in [0, -1, i32::MIN] {
        assert_eq!(frame_length(found.to_be_bytes(), LIMIT), Err(FrameError::NotPositive { found }));
    }
    for found in [104_857_601, i32::MAX] {
        assert_eq!(frame_length(found.to_be_bytes(), LIMIT), Err(FrameError::TooLarge { found, limit: LIMIT }));
    }
    assert_eq!(frame_length(104_857_600i32.to_be_bytes(), LIMIT), Ok(LIMIT));
    assert_eq!(frame_length(1i32.to_be_bytes(), LIMIT), Ok(1));
}

#[test]
fn other_protocols_are_named() {
    let all = [(b"GET ", "HTTP"), (b"POST", "HTTP"), (b"HTTP", "HTTP"), (b"\x16\x03\x01\x02", "TLS"), (b"SSH-", "SSH")];
    for (prefix, protocol) in all {
        assert_eq!(frame_length(*prefix, LIMIT), Err(FrameError::Foreign { protocol }));
    }
}

#[test]
fn frames_are_split_off_whatever_the_chunks() {
    let stream = [&5i32.to_be_bytes()[..], b"first", &1i32.to_be_bytes(), b"2"].concat();
    for chunk in 1..=stream.len() {
        let mut received = BytesMut::new();
        let mut frames = Vec::new();
        for bytes in stream.chunks(chunk) {
            received.extend_from_slice(bytes);
            while let Some(frame) = next_frame(&mut received, LIMIT).unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(frames, [&b"first"[..], b"2"]);
        assert!(received.is_empty());
    }
}

#[test]
fn se_03_a_declared_length_reserves_nothing() {
    let mut received = BytesMut::from(&100_000_000i32.to_be_bytes()[..]);
    assert_eq!(next_frame(&mut received, LIMIT), Ok(None));
    assert!(received.capacity() < 1024);
}
