//! What hostile requests cost: memory in proportion to their frame, for every API and version, and never the process;
//! and what checking the batches in them costs. (zstd's own context is C memory and not counted; its output is.)
//!
//! One test function, because the allocator counts for the whole process. `PYRALOG_MUTATIONS` sets the number of mutated
//! frames (default 20,000), `PYRALOG_SEED` the seed.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use bytes::{Bytes, BytesMut};
use common::{Bits, golden_frames, mutate};
use pyralog_protocol::batch::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, CheckedBatch, Codec, Compression, ProduceError, ProduceRules,
    TimestampType, check_produced, compress, inflate_limit,
};
use pyralog_protocol::guard::GuardError;
use pyralog_protocol::kafka_protocol::messages::MetadataRequest;
use pyralog_protocol::kafka_protocol::protocol::Decodable;
use pyralog_protocol::{ApiKey, DecodeError, DecodeLimits, Draw, Request, decode_request};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

impl Bits for Draw {
    fn bits(&mut self) -> u64 {
        self.next_u64()
    }
}

/// What a frame may cost, all allocations summed up (an upper bound of the peak): the guard's bound, and for error
/// texts and small bookkeeping a little.
fn allowed(frame: usize) -> usize {
    let limits = DecodeLimits::default();
    limits.memory_base + limits.memory_per_frame_byte * frame + 64 * 1024
}

/// Decodes, and says what that allocated.
fn cost<T>(frame: &[u8], decode: impl FnOnce(BytesMut) -> T) -> (T, usize) {
    let frame = BytesMut::from(frame);
    let region = Region::new(ALLOCATOR);
    let result = decode(frame);
    let bytes = region.change().bytes_allocated;
    (result, bytes)
}

fn decode(frame: &[u8]) -> (Result<Request, DecodeError>, usize) {
    decode_under(frame, &DecodeLimits::default())
}

fn decode_under(frame: &[u8], limits: &DecodeLimits) -> (Result<Request, DecodeError>, usize) {
    cost(frame, |frame| decode_request(frame, limits).map(|(_, request)| request))
}

/// A frame with a header of version 2 or 1, correlation id 0, no client id.
fn frame(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let tags: &[u8] = if api.spec().is_flexible(version) { &[0] } else { &[] };
    [&api.code().to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 0, 0xff, 0xff], tags, body].concat()
}

#[test]
fn hostile_frames_cost_no_more_than_a_small_multiple_of_their_size() {
    the_measurement_sees_what_the_guard_prevents();
    se_01_counts_buy_no_memory();
    se_01_many_small_items_are_bounded();
    se_02_twenty_million_tags();
    every_cut_of_every_captured_frame();
    every_byte_of_every_captured_frame_as_an_extreme();
    mutated_frames_of_every_api_and_version();
    an_uncompressed_batch_is_checked_without_allocating();
    se_04_bombs_in_every_codec_stay_in_the_bound();
    se_05_mutated_batches_stay_in_the_bound();
}

/// The planted bug: without the guard the same measure is far over the bound, so the tests below can fail.
fn the_measurement_sees_what_the_guard_prevents() {
    let body = 1_000_000i32.to_be_bytes();
    let (result, bytes) = cost(&body, |body| MetadataRequest::decode(&mut body.freeze(), 1));
    assert!(result.is_err() && bytes > allowed(body.len()), "{bytes} bytes");
    let off = DecodeLimits {
        items_max: usize::MAX,
        memory_base: usize::MAX,
        tagged_fields_max: usize::MAX,
        ..DecodeLimits::default()
    };
    for body in [many_groups(200_000), many_tags(100_000)] {
        let (result, bytes) = decode_under(&body, &off);
        assert!(result.is_ok() && bytes > allowed(body.len()), "{bytes} bytes for {}", body.len());
    }
}

fn se_01_counts_buy_no_memory() {
    for count in [i32::MAX, 100_000_000, 1_000_000, 1000] {
        let (result, bytes) = decode(&frame(ApiKey::Metadata, 1, &count.to_be_bytes()));
        assert!(matches!(result, Err(DecodeError::Guard { error: GuardError::Count { .. }, .. })), "{result:?}");
        assert!(bytes < 4096, "{bytes} bytes");
    }
}

/// OffsetFetch v8 with groups of three bytes each: name, no topics, no tags.
fn many_groups(count: u32) -> Vec<u8> {
    let body = [&varint(count + 1)[..], &[1, 1, 0].repeat(usize::try_from(count).unwrap()), &[0, 0]].concat();
    frame(ApiKey::OffsetFetch, 8, &body)
}

/// The same, each with an unknown tagged field.
fn many_tags(count: u32) -> Vec<u8> {
    let body = [&varint(count + 1)[..], &[1, 1, 1, 99, 0].repeat(usize::try_from(count).unwrap()), &[0, 0]].concat();
    frame(ApiKey::OffsetFetch, 8, &body)
}

fn se_01_many_small_items_are_bounded() {
    for body in [many_groups(200_000), many_tags(100_000)] {
        let (result, bytes) = decode(&body);
        assert!(matches!(result, Err(DecodeError::Guard { error: GuardError::Memory { .. }, .. })), "{result:?}");
        assert!(bytes < 4096, "{bytes} bytes");
    }
    let (result, bytes) = decode(&many_groups(5_000));
    assert!(result.is_ok() && bytes < allowed(15_000), "{bytes} bytes");
    let items = [&2_000_000i32.to_be_bytes()[..], &[0, 0].repeat(2_000_000)].concat();
    let (result, bytes) = decode(&frame(ApiKey::DescribeGroups, 0, &items));
    assert!(matches!(result, Err(DecodeError::Guard { error: GuardError::Items { .. }, .. })), "{result:?}");
    assert!(bytes < 4096, "{bytes} bytes");
}

/// CVE-2026-111115: an ApiVersions header full of empty tagged fields, before anybody has authenticated.
fn se_02_twenty_million_tags() {
    let tags = [&varint(20_000_000)[..], &[1, 0].repeat(20_000_000)].concat();
    let header = [&[0, 18, 0, 3, 0, 0, 0, 0, 0xff, 0xff][..], &tags].concat();
    let (result, bytes) = decode(&header);
    assert!(matches!(result, Err(DecodeError::HeaderTooLarge { .. })) && bytes < 4096, "{bytes} bytes");
    let body = [&[1, 1][..], &tags].concat();
    let (result, bytes) = decode(&frame(ApiKey::ApiVersions, 3, &body));
    assert!(matches!(result, Err(DecodeError::Guard { error: GuardError::Tags { .. }, .. })), "{result:?}");
    assert!(bytes < 4096, "{bytes} bytes");
}

fn requests() -> Vec<common::Golden> {
    let offered =
        |f: &common::Golden| ApiKey::from_code(f.api_key).is_some_and(|api| api.spec().served.contains(f.api_version));
    golden_frames().into_iter().filter(|f| f.is_request && offered(f)).collect()
}

fn every_cut_of_every_captured_frame() {
    for golden in requests() {
        for cut in 0..golden.bytes.len() {
            let (result, bytes) = decode(&golden.bytes[..cut]);
            assert!(result.is_err(), "{golden} cut at {cut}");
            assert!(bytes <= allowed(cut), "{golden} cut at {cut}: {bytes} bytes");
        }
    }
}

fn every_byte_of_every_captured_frame_as_an_extreme() {
    for golden in requests() {
        for at in 0..golden.bytes.len().min(300) {
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut spoilt = golden.bytes.clone();
                spoilt[at] = byte;
                let (_, bytes) = decode(&spoilt);
                assert!(bytes <= allowed(spoilt.len()), "{golden} byte {at} = {byte}: {bytes} bytes");
            }
        }
    }
}

fn mutated_frames_of_every_api_and_version() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed) = (number("PYRALOG_MUTATIONS", 20_000), number("PYRALOG_SEED", 1));
    let frames = requests();
    let mut draw = Draw::new(u128::from(seed));
    let mut decoded = 0;
    for _ in 0..count {
        let golden = &frames[draw.below(frames.len())];
        let mut bytes = golden.bytes.clone();
        mutate(&mut bytes, &mut draw);
        let (result, cost) = decode(&bytes);
        assert!(cost <= allowed(bytes.len()), "seed {seed}, {golden}: {cost} bytes for {bytes:02x?}");
        decoded += u64::from(result.is_ok());
    }
    assert!(decoded > count / 100 && decoded < count, "{decoded} of {count} decoded");
}

fn varint(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
    out
}

fn rules(timestamp_type: TimestampType) -> ProduceRules {
    ProduceRules {
        max_message_bytes: 16 << 20,
        segment_bytes: 1 << 30,
        compacted: false,
        timestamp_type,
        before_max_ms: i64::MAX,
        after_max_ms: i64::MAX,
        target: None,
        zstd_allowed: true,
        now: pyralog_protocol::WallMs(1_800_000_000_000),
        vlsn: None,
    }
}

fn check(batch: &[u8]) -> (Result<CheckedBatch, ProduceError>, usize) {
    check_as(TimestampType::CreateTime, batch)
}

/// Checks a batch that lies in a larger frame, as on the way in.
fn check_as(timestamp_type: TimestampType, batch: &[u8]) -> (Result<CheckedBatch, ProduceError>, usize) {
    let mut frame = BytesMut::from(&[b"frame", batch].concat()[..]);
    let records: Bytes = frame.split_off(5).freeze();
    let rules = rules(timestamp_type);
    let region = Region::new(ALLOCATOR);
    let result = check_produced(records, &rules);
    (result, region.change().bytes_allocated)
}

fn batch(codec: Codec) -> Vec<u8> {
    let start = BatchBuilder::new().compression(Compression::of(codec));
    (0..200).fold(start, |b, i| b.kv(1_700_000_000_000 + i, b"key", &[7; 100])).build().unwrap().to_vec()
}

fn an_uncompressed_batch_is_checked_without_allocating() {
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let (result, bytes) = check_as(timestamp_type, &batch(Codec::None));
        assert!(result.is_ok() && bytes == 0, "{bytes} bytes");
    }
}

/// The batch with other bytes behind its header, and length and CRC to match.
fn with_body(batch: &[u8], body: &[u8]) -> Vec<u8> {
    let mut header = BatchHeader::parse(batch).unwrap();
    header.batch_length = i32::try_from(BATCH_HEADER_BYTES - 12 + body.len()).unwrap();
    header.crc = header.crc_with(body);
    [&header.encode()[..], body].concat()
}

/// Growing by doubling costs at most four times the final size, all buffers summed up; the decoders' own tables,
/// windows and blocks (LZ4 declares up to 4 MiB of them) are the rest.
fn inflating_may_cost(compressed: usize) -> usize {
    4 * inflate_limit(compressed) + (10 << 20)
}

fn se_04_bombs_in_every_codec_stay_in_the_bound() {
    let zeros = vec![0; 40 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = compress(Compression::of(codec), &zeros).unwrap();
        let (result, bytes) = check(&with_body(&batch(codec), &bomb));
        let limit = inflate_limit(bomb.len());
        let over = matches!(result, Err(ProduceError::Codec(_)));
        assert!(over || limit > zeros.len(), "{codec}: {result:?}");
        assert!(bytes <= inflating_may_cost(bomb.len()), "{codec}: {bytes} bytes");
    }
    // Declared sizes alone: snappy 4 GiB, zstd 4 EiB.
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1u64 << 62).to_le_bytes(), &[1, 0, 0]].concat();
    for (codec, body) in [(Codec::Snappy, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]), (Codec::Zstd, zstd)] {
        let (result, bytes) = check(&with_body(&batch(codec), &body));
        assert!(result.is_err() && bytes < 4096, "{codec}: {bytes} bytes");
    }
}

fn se_05_mutated_batches_stay_in_the_bound() {
    let mut draw = Draw::new(3);
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let whole = batch(codec);
        for _ in 0..1_000 {
            let mut body = whole[BATCH_HEADER_BYTES..].to_vec();
            mutate(&mut body, &mut draw);
            let (_, bytes) = check(&with_body(&whole, &body));
            let allowed = if codec == Codec::None { 4096 } else { inflating_may_cost(body.len()) };
            assert!(bytes <= allowed, "{codec}: {bytes} bytes");
        }
    }
}
