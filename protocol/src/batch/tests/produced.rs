//! One test per behaviour of the Produce section that concerns a partition's bytes.

use super::*;
use crate::ErrorCode;
use bytes::Bytes;

fn check(bytes: &[u8]) -> Result<CheckedBatch, ProduceError> {
    check_produced(Bytes::copy_from_slice(bytes), &rules())
}

fn code(bytes: &[u8]) -> ErrorCode {
    code_with(bytes, &rules())
}

fn code_with(bytes: &[u8], rules: &ProduceRules) -> ErrorCode {
    match check_produced(Bytes::copy_from_slice(bytes), rules) {
        Ok(checked) => {
            assert_stored_well(&checked);
            ErrorCode::None
        }
        Err(error) => error.code(),
    }
}

/// What every accepted batch has to be.
fn assert_stored_well(checked: &CheckedBatch) {
    let stored = [&checked.header.encode()[..], &checked.body[..]].concat();
    let header = BatchHeader::parse(&stored).unwrap();
    assert_eq!(header.total_size(), stored.len());
    header.verify_crc(&stored).unwrap();
    let payload = decompress(header.codec().unwrap(), &checked.body, 1 << 24).unwrap();
    assert_eq!(Records::new(&payload).map(Result::unwrap).count(), header.record_count as usize);
}

fn sent(records: usize) -> Vec<u8> {
    batch(records).build().unwrap().to_vec()
}

const COMPRESSED: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

#[test]
fn p01_one_batch_passes_untouched_and_uncopied() {
    let bytes = Bytes::from(golden());
    let checked = check_produced(bytes.clone(), &rules()).unwrap();
    assert_eq!(checked.header.encode()[..], bytes[..BATCH_HEADER_BYTES]);
    assert_eq!(checked.body.as_ptr(), bytes[BATCH_HEADER_BYTES..].as_ptr(), "the body is a slice of the request");
    assert_eq!((checked.total_size(), checked.log_append_time_ms()), (bytes.len(), -1));
}

#[test]
fn p01_nothing_a_cut_batch_or_two_batches_are_invalid() {
    let one = sent(1);
    assert_eq!(code(&[]), ErrorCode::InvalidRecord);
    for cut in 1..one.len() {
        assert_eq!(code(&one[..cut]), ErrorCode::InvalidRecord, "cut at {cut}");
    }
    let two = [&one[..], &one[..]].concat();
    assert_eq!(code(&two), ErrorCode::InvalidRecord);
    for cut in one.len() + 12..two.len() {
        assert_eq!(code(&two[..cut]), ErrorCode::InvalidRecord, "second batch cut at {cut}");
    }
}

#[test]
fn p02_null_records_are_invalid() {
    let error = check_produced(None, &rules()).unwrap_err();
    assert_eq!((error.code(), error), (ErrorCode::InvalidRecord, ProduceError::NullRecords));
}

#[test]
fn p03_up_to_eleven_trailing_bytes_are_dropped_more_are_refused() {
    let one = sent(2);
    for surplus in 1..12 {
        let checked = check(&[&one[..], &vec![0xab; surplus]].concat()).unwrap();
        assert_eq!(checked.total_size(), one.len());
        assert_stored_well(&checked);
    }
    assert_eq!(code(&[&one[..], &[0xab; 12]].concat()), ErrorCode::CorruptMessage);
    assert_eq!(code(&[&one[..], &[0; 100]].concat()), ErrorCode::CorruptMessage);
    assert_eq!(code(&[&one[..], &[0x01; 100]].concat()), ErrorCode::InvalidRecord);
    assert_eq!(code(&[&one[..], &[0x07; 100]].concat()), ErrorCode::CorruptMessage);
}

#[test]
fn p04_wrong_crc_is_corrupt_message() {
    let one = sent(3);
    // Numbers that would be refused for themselves as well: what the network did to them a producer can mend by sending again.
    for (at, bit) in (17..one.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = one.clone();
        bytes[at] ^= 1 << bit;
        assert_eq!(code(&bytes), ErrorCode::CorruptMessage, "bit {bit} of byte {at}");
    }
}

#[test]
fn p04_old_magic_is_invalid_and_other_magic_corrupt() {
    for (magic, expected) in [
        (0, ErrorCode::InvalidRecord),
        (1, ErrorCode::InvalidRecord),
        (3, ErrorCode::CorruptMessage),
        (127, ErrorCode::CorruptMessage),
        (-1, ErrorCode::CorruptMessage),
    ] {
        let bytes = edited(&sent(1), |h| h.magic = magic);
        assert_eq!(code(&bytes), expected, "magic {magic}");
    }
    // A message set of an old client is smaller than a v2 header.
    let old = [&[0; 8][..], &14i32.to_be_bytes(), &[0, 0, 0, 0, 0], &[0; 9]].concat();
    assert_eq!(code(&old), ErrorCode::InvalidRecord);
}

#[test]
fn p05_batch_length_below_the_header_is_corrupt_beyond_the_data_invalid() {
    for length in [i32::MIN, -1, 0, 13, 14, 48] {
        assert_eq!(code(&edited(&sent(1), |h| h.batch_length = length)), ErrorCode::CorruptMessage, "{length}");
    }
    for length in [1_000, i32::MAX] {
        assert_eq!(code(&edited(&sent(1), |h| h.batch_length = length)), ErrorCode::InvalidRecord, "{length}");
    }
}

#[test]
fn p06_base_offset_must_be_zero_and_the_leader_epoch_is_ignored() {
    assert_eq!(code(&edited(&sent(1), |h| h.base_offset = 100)), ErrorCode::InvalidRecord);
    assert_eq!(code(&edited(&sent(1), |h| h.base_offset = -1)), ErrorCode::InvalidRecord);
    for epoch in [-1, 0, 5, i32::MAX] {
        assert_eq!(code(&edited(&sent(1), |h| h.leader_epoch = epoch)), ErrorCode::None);
    }
}

#[test]
fn p07_counts_and_deltas_must_agree() {
    for (count, last) in
        [(0, -1), (-1, -2), (2, 2), (2, 0), (3, 2), (1, 0), (i32::MIN, i32::MAX), (i32::MAX, i32::MAX - 1)]
    {
        let bytes = edited(&sent(2), |h| (h.record_count, h.last_offset_delta) = (count, last));
        assert_eq!(code(&bytes), ErrorCode::InvalidRecord, "{count} {last}");
    }
}

#[test]
fn p07_deltas_must_count_from_zero_without_gaps_or_repeats() {
    let record = |delta: u8| [12, 0, 0, delta * 2, 1, 1, 0];
    for deltas in [[1, 2], [0, 2], [0, 0], [1, 0]] {
        let payload = deltas.map(record).concat();
        assert_eq!(code(&with_payload(2, &payload)), ErrorCode::InvalidRecord, "{deltas:?}");
    }
    assert_eq!(code(&with_payload(2, &[0, 1].map(record).concat())), ErrorCode::None);
}

#[test]
fn p08_bad_records_are_invalid() {
    for payload in [
        &[12, 0, 0, 0, 1, 1, 1][..],                     // header count -1
        &[18, 0, 0, 0, 1, 1, 2, 1, 1, 0],                // header key null
        &[12, 0, 0, 0, 40, 1, 0],                        // key past the end
        &[20, 0, 0, 0, 1, 1, 0x80, 0x80, 0x80, 0x80, 8], // 2^30 headers
        &[2, 0],                                         // ends after the attributes
        &[12, 0, 0, 0, 1, 1, 0, 0],                      // bytes after the last record
    ] {
        assert_eq!(code(&with_payload(1, payload)), ErrorCode::InvalidRecord, "{payload:?}");
    }
}

#[test]
fn p09_null_and_empty_keys_and_values_and_record_attributes_pass() {
    let built = BatchBuilder::new()
        .record(NewRecord { key: None, value: Some(b""), ..Default::default() })
        .record(NewRecord { key: Some(b""), value: None, headers: &[(b"h", None)], ..Default::default() })
        .build()
        .unwrap();
    assert_eq!(code(&built), ErrorCode::None);
    assert_eq!(code(&with_payload(1, &[12, 0x7f, 0, 0, 1, 1, 0])), ErrorCode::None);
}

#[test]
fn p10_control_batches_are_invalid_compressed_or_not() {
    for codec in COMPRESSED.into_iter().chain([Codec::None]) {
        let built = batch(1).compression(Compression::of(codec)).attributes(1 << 5).build().unwrap();
        assert_eq!(code(&built), ErrorCode::InvalidRecord);
    }
}

#[test]
fn p11_delete_horizon_is_refused_unused_bits_are_kept() {
    assert_eq!(code(&edited(&sent(1), |h| h.attributes = 0x40)), ErrorCode::InvalidRecord);
    let kept = check(&edited(&sent(1), |h| h.attributes = 0x80)).unwrap();
    assert_eq!(kept.header.attributes, 0x80);
}

#[test]
fn p11_timestamp_type_bit_is_cleared_under_create_time() {
    let checked = check(&edited(&sent(2), |h| h.attributes = 0x08)).unwrap();
    assert_eq!(checked.header.attributes, 0);
    assert_stored_well(&checked);
}

#[test]
fn p12_unknown_codec_undecodable_data_and_wrong_deltas_have_codes_of_their_own() {
    for codec in 5..=7 {
        let bytes = edited(&sent(1), |h| h.attributes = codec);
        assert_eq!(code(&bytes), ErrorCode::UnsupportedCompressionType);
    }
    for codec in COMPRESSED {
        let bytes = edited(&sent(1), |h| h.set_codec(codec));
        assert_eq!(code(&bytes), ErrorCode::CorruptMessage, "{codec}");
        let payload = compress(Compression::of(codec), &[12, 0, 0, 8, 1, 1, 0]).unwrap();
        let wrong = edited(&with_payload(1, &payload), |h| h.set_codec(codec));
        assert_eq!(code(&wrong), ErrorCode::InvalidRecord, "{codec}");
        let nothing = compress(Compression::of(codec), &[]).unwrap();
        let empty = edited(&with_payload(1, &nothing), |h| h.set_codec(codec));
        assert_eq!(code(&empty), ErrorCode::InvalidRecord, "{codec}");
    }
}

#[test]
fn se_04_a_bomb_in_produce_is_message_too_large() {
    let bomb = compress(Compression::of(Codec::Gzip), &vec![0; 17 << 20]).unwrap();
    let bytes = edited(&with_payload(1, &bomb), |h| h.set_codec(Codec::Gzip));
    assert_eq!(code(&bytes), ErrorCode::MessageTooLarge);
}

#[test]
fn p13_zstd_needs_produce_v7() {
    let built = batch(1).compression(Compression::of(Codec::Zstd)).build().unwrap();
    let old = ProduceRules { zstd_allowed: false, ..rules() };
    assert_eq!(code_with(&built, &old), ErrorCode::UnsupportedCompressionType);
    assert_eq!(code(&built), ErrorCode::None);
    assert_eq!(code_with(&sent(1), &old), ErrorCode::None);
}

#[test]
fn p14_every_codec_passes_verbatim() {
    for codec in COMPRESSED {
        let built = batch(500).compression(Compression::of(codec)).build().unwrap().freeze();
        let checked = check_produced(built.clone(), &rules()).unwrap();
        assert_eq!([&checked.header.encode()[..], &checked.body[..]].concat(), built, "{codec}");
        assert_eq!(checked.body.as_ptr(), built[BATCH_HEADER_BYTES..].as_ptr(), "{codec}");
    }
    let raw = snap::raw::Encoder::new().compress_vec(&golden()[BATCH_HEADER_BYTES..]).unwrap();
    assert_eq!(code(&edited(&with_payload(2, &raw), |h| h.set_codec(Codec::Snappy))), ErrorCode::None);
}

#[test]
fn p22_max_message_bytes_counts_the_whole_batch() {
    let bytes = sent(10);
    let rules = ProduceRules { max_message_bytes: bytes.len(), ..rules() };
    assert_eq!(code_with(&bytes, &rules), ErrorCode::None);
    let rules = ProduceRules { max_message_bytes: bytes.len() - 1, ..rules };
    assert_eq!(code_with(&bytes, &rules), ErrorCode::MessageTooLarge);
}

#[test]
fn p22_a_batch_above_segment_bytes_is_record_list_too_large() {
    let bytes = sent(10);
    let rules = ProduceRules { segment_bytes: bytes.len(), ..rules() };
    assert_eq!(code_with(&bytes, &rules), ErrorCode::None);
    let rules = ProduceRules { segment_bytes: bytes.len() - 1, ..rules };
    assert_eq!(code_with(&bytes, &rules), ErrorCode::RecordListTooLarge);
}

#[test]
fn p23_null_keys_on_a_compacted_log_are_named() {
    let record = |key| NewRecord { key, value: Some(b"v"), ..Default::default() };
    let built = [None, Some(&b"k"[..]), None, None, Some(b""), None]
        .into_iter()
        .fold(BatchBuilder::new(), |b, key| b.record(record(key)))
        .build()
        .unwrap()
        .freeze();
    assert_eq!(code(&built), ErrorCode::None);
    let compacted = ProduceRules { compacted: true, ..rules() };
    let error = check_produced(built, &compacted).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRecord);
    assert_eq!(error.rejected().iter().map(|r| r.index).collect::<Vec<_>>(), [0, 2, 3, 5]);
    let text = error.to_string();
    assert!(text.contains("4 record errors") && text.matches("batchIndex").count() == 3, "{text}");
    assert_eq!(code_with(&sent(3), &compacted), ErrorCode::None);
}

#[test]
fn p23_record_errors_are_bounded() {
    let built = (0..5_000).fold(BatchBuilder::new(), |b, _| b.record(NewRecord::default())).build().unwrap().freeze();
    let error = check_produced(built, &ProduceRules { compacted: true, ..rules() }).unwrap_err();
    assert_eq!(error.rejected().len(), RECORD_ERRORS_MAX);
    assert!(error.to_string().contains("5000 record errors"));
}

#[test]
fn p24_timestamps_out_of_bounds_refuse_the_whole_batch() {
    let now = rules().now.0;
    let bounded = ProduceRules { before_max_ms: 1_000, after_max_ms: 500, ..rules() };
    for (timestamp, expected) in [
        (now, ErrorCode::None),
        (now + 500, ErrorCode::None),
        (now + 501, ErrorCode::InvalidTimestamp),
        (now - 1_000, ErrorCode::None),
        (now - 1_001, ErrorCode::InvalidTimestamp),
        (-1, ErrorCode::None),
        (i64::MAX, ErrorCode::InvalidTimestamp),
        (i64::MIN, ErrorCode::InvalidTimestamp),
    ] {
        let built = BatchBuilder::new().kv(now, b"k", b"v").kv(timestamp, b"k", b"v").build().unwrap().freeze();
        assert_eq!(code_with(&built, &bounded), expected, "{timestamp}");
        if let Err(error) = check_produced(built, &bounded) {
            assert_eq!(error.rejected().iter().map(|r| r.index).collect::<Vec<_>>(), [1]);
        }
    }
}

#[test]
fn p24_old_and_negative_timestamps_pass_with_defaults() {
    for timestamp in [0, -1, -100, i64::MIN] {
        assert_eq!(code(&BatchBuilder::new().kv(timestamp, b"k", b"v").build().unwrap()), ErrorCode::None);
    }
}

#[test]
fn p25_a_wrong_max_timestamp_is_corrected() {
    let checked = check(&edited(&sent(3), |h| h.max_timestamp = 5)).unwrap();
    assert_eq!((checked.header.max_timestamp, checked.max_timestamp_offset_delta), (1_700_000_000_002, 2));
    assert_stored_well(&checked);
    let falling =
        BatchBuilder::new().kv(9, b"", b"").kv(12, b"", b"").kv(12, b"", b"").kv(3, b"", b"").build().unwrap();
    assert_eq!(check(&falling).unwrap().max_timestamp_offset_delta, 1, "the first of the largest");
}

#[test]
fn p26_log_append_time_stamps_the_batch() {
    let rules = ProduceRules { timestamp_type: TimestampType::LogAppendTime, after_max_ms: 0, ..rules() };
    for codec in COMPRESSED.into_iter().chain([Codec::None]) {
        let built = batch(3).compression(Compression::of(codec)).build().unwrap().freeze();
        let checked = check_produced(built.clone(), &rules).unwrap();
        assert_eq!((checked.header.max_timestamp, checked.log_append_time_ms()), (rules.now.0, rules.now.0));
        assert_eq!(checked.header.attributes, codec.bits() | 0x08);
        assert_eq!(checked.header.base_timestamp, 1_700_000_000_000, "the first timestamp stays");
        assert_eq!(checked.body.as_ptr(), built[BATCH_HEADER_BYTES..].as_ptr());
        assert_stored_well(&checked);
        let later = checked.appended_at(rules.now.0 + 1);
        assert_eq!((later.log_append_time_ms(), later.header.attributes), (rules.now.0 + 1, checked.header.attributes));
        assert_stored_well(&later);
    }
}

#[test]
fn p27_another_compression_type_recompresses() {
    for from in COMPRESSED.into_iter().chain([Codec::None]) {
        for to in COMPRESSED.into_iter().chain([Codec::None]) {
            let built = batch(200).producer(9, 1, 4).compression(Compression::of(from)).build().unwrap().freeze();
            let rules = ProduceRules { target: Some(Compression::of(to)), ..rules() };
            let checked = check_produced(built.clone(), &rules).unwrap();
            assert_eq!(checked.header.codec(), Ok(to));
            assert_eq!((checked.header.producer_id, checked.header.base_sequence), (9, 4));
            assert_stored_well(&checked);
            let zero_copy = checked.body.as_ptr() == built[BATCH_HEADER_BYTES..].as_ptr();
            assert_eq!(zero_copy, from == to, "{from} to {to}");
        }
    }
}

#[test]
fn p27_the_limit_holds_after_recompression_too() {
    let zeros = vec![0; 100_000];
    let small = BatchBuilder::new().compression(Compression::of(Codec::Zstd)).kv(1, b"k", &zeros).build().unwrap();
    let rules = ProduceRules { max_message_bytes: 50_000, target: Some(Compression::of(Codec::None)), ..rules() };
    assert_eq!(code_with(&small, &rules), ErrorCode::MessageTooLarge);
}

#[test]
fn i09_a_producer_id_needs_a_sequence() {
    let with = |id, epoch, sequence| batch(1).producer(id, epoch, sequence).build().unwrap();
    assert_eq!(code(&with(7, 0, -1)), ErrorCode::InvalidRecord);
    assert_eq!(code(&with(7, -1, 0)), ErrorCode::None);
    assert_eq!(code(&with(-1, 5, -9)), ErrorCode::None);
    assert_eq!(code(&with(-5, 5, 9)), ErrorCode::None);
}

#[test]
fn se_05_mutated_batches_never_panic_and_what_passes_is_sound() {
    let mut draw = crate::Draw::new(5);
    for codec in COMPRESSED.into_iter().chain([Codec::None]) {
        let built = batch(20).compression(Compression::of(codec)).build().unwrap().to_vec();
        for _ in 0..4_000 {
            let mut bytes = built.clone();
            for _ in 0..1 + draw.next_u64() % 3 {
                let at = draw.next_u64() as usize % bytes.len();
                bytes[at] = draw.next_u64() as u8;
            }
            if draw.next_u64().is_multiple_of(4) {
                bytes.truncate(draw.next_u64() as usize % bytes.len());
            }
            // A fitting CRC, so that the checks behind it are met as well.
            if let Ok(mut header) = BatchHeader::parse(&bytes) {
                header.crc = bytes.get(BATCH_HEADER_BYTES..header.total_size()).map_or(0, |body| header.crc_with(body));
                bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
            }
            code(&bytes);
        }
    }
}
