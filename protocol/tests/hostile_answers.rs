//! What hostile answers cost a client: memory in proportion to their frame (SE-15). One test function, because the
//! allocator counts for the whole process. `PYRALOG_MUTATIONS` and `PYRALOG_SEED` as in `hostile.rs`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use bytes::BytesMut;
use common::{Bits, Golden, golden_frames, mutate};
use pyralog_protocol::{AnswerError, ApiKey, DecodeLimits, Draw, Response, read_answer};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

impl Bits for Draw {
    fn bits(&mut self) -> u64 {
        self.next_u64()
    }
}

/// What a frame may cost, all allocations summed up.
fn allowed(frame: usize) -> usize {
    let limits = DecodeLimits::default();
    limits.memory_base + limits.memory_per_frame_byte * frame + 64 * 1024
}

fn read(frame: &[u8], api: ApiKey, version: i16) -> (Result<(i32, Response), AnswerError>, usize) {
    let frame = BytesMut::from(frame);
    let region = Region::new(ALLOCATOR);
    let result = read_answer(frame, api, version, &DecodeLimits::default());
    (result, region.change().bytes_allocated)
}

fn answers() -> Vec<(Golden, ApiKey)> {
    let offered = |f: Golden| {
        let api = ApiKey::from_code(f.api_key)?;
        (!f.is_request && api.spec().served.contains(f.api_version)).then_some((f, api))
    };
    golden_frames().into_iter().filter_map(offered).collect()
}

#[test]
fn se_15_hostile_answers_cost_no_more_than_a_small_multiple_of_their_size() {
    let frames = answers();
    the_measurement_sees_what_the_guard_prevents();
    every_count_and_length_as_an_extreme(&frames);
    mutated_answers_of_every_api_and_version(&frames);
}

/// The planted bug: without the guard the same measure is far over the bound.
fn the_measurement_sees_what_the_guard_prevents() {
    let lying = [&[0, 0, 0, 9][..], &1_000_000i32.to_be_bytes()].concat();
    let frame = bytes::Bytes::from(lying.clone());
    let region = Region::new(ALLOCATOR);
    assert!(pyralog_protocol::response::decode_response(frame, ApiKey::Metadata, 0).is_err());
    let unguarded = region.change().bytes_allocated;
    assert!(unguarded > allowed(lying.len()), "{unguarded} bytes");
    let (result, bytes) = read(&lying, ApiKey::Metadata, 0);
    assert!(matches!(result, Err(AnswerError::Guard { .. })) && bytes < 4096, "{bytes} bytes");
}

fn every_count_and_length_as_an_extreme(frames: &[(Golden, ApiKey)]) {
    for (golden, api) in frames {
        for at in 0..golden.bytes.len().min(300) {
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut spoilt = golden.bytes.clone();
                spoilt[at] = byte;
                let (_, bytes) = read(&spoilt, *api, golden.api_version);
                assert!(bytes <= allowed(spoilt.len()), "{golden} byte {at} = {byte}: {bytes} bytes");
            }
        }
    }
}

fn mutated_answers_of_every_api_and_version(frames: &[(Golden, ApiKey)]) {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed) = (number("PYRALOG_MUTATIONS", 20_000), number("PYRALOG_SEED", 1));
    let mut draw = Draw::new(u128::from(seed));
    for _ in 0..count {
        let (golden, api) = &frames[draw.below(frames.len())];
        let mut bytes = golden.bytes.clone();
        mutate(&mut bytes, &mut draw);
        let (_, cost) = read(&bytes, *api, golden.api_version);
        assert!(cost <= allowed(bytes.len()), "seed {seed}, {golden}: {cost} bytes for {bytes:02x?}");
    }
}
