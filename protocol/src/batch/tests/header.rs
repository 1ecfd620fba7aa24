use super::*;

#[test]
fn header_round_trips_and_knows_its_sizes() {
    let bytes = golden();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.encode()[..], bytes[..BATCH_HEADER_BYTES]);
    assert_eq!(header.total_size(), bytes.len());
    assert_eq!(header.body_size(), bytes.len() - BATCH_HEADER_BYTES);
    assert_eq!((header.record_count, header.last_offset(), header.leader_epoch), (2, 1, -1));
    assert_eq!(header.codec(), Ok(Codec::None));
    header.verify_crc(&bytes).unwrap();
    assert_eq!(header.crc_with(&bytes[BATCH_HEADER_BYTES..]), header.crc);
}

#[test]
fn header_is_refused_when_cut_at_any_length() {
    let bytes = golden();
    for cut in 0..BATCH_HEADER_BYTES {
        assert!(
            matches!(BatchHeader::parse(&bytes[..cut]), Err(BatchError::Short { available, .. }) if available == cut)
        );
    }
    for cut in BATCH_HEADER_BYTES..bytes.len() {
        let header = BatchHeader::parse(&bytes[..cut]).unwrap();
        assert!(matches!(header.verify_crc(&bytes[..cut]), Err(BatchError::Short { .. })));
    }
}

#[test]
fn base_offset_and_leader_epoch_lie_outside_the_crc() {
    let mut bytes = golden();
    assert!(set_base_offset(&mut bytes, 0x0102_0304_0506_0708));
    assert!(set_leader_epoch(&mut bytes, 77));
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (0x0102_0304_0506_0708, 77));
    header.verify_crc(&bytes).unwrap();
    assert!(!set_base_offset(&mut bytes[..7], 1));
    assert!(!set_leader_epoch(&mut bytes[..15], 1));
}

#[test]
fn every_covered_bit_is_under_the_crc() {
    let bytes = golden();
    for at in 21..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let header = BatchHeader::parse(&flipped).unwrap();
        assert!(header.verify_crc(&flipped).is_err(), "byte {at}");
    }
}

#[test]
fn i08_last_sequence_wraps_to_zero() {
    let mut header = BatchHeader::parse(&golden()).unwrap();
    header.base_sequence = 2_147_483_646;
    for (delta, last) in [(0, 2_147_483_646), (1, i32::MAX), (2, 0), (3, 1)] {
        header.last_offset_delta = delta;
        assert_eq!(header.last_sequence(), last);
    }
}

#[test]
fn attributes_read_and_write() {
    let mut header = BatchHeader::parse(&golden()).unwrap();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        header.set_codec(codec);
        assert_eq!(header.codec(), Ok(codec));
    }
    header.attributes = 7;
    assert_eq!(header.codec(), Err(7));
    header.attributes = 0x10;
    assert!(header.is_transactional() && !header.is_control() && !header.has_delete_horizon());
    header.attributes = 0x60;
    assert!(!header.is_transactional() && header.is_control() && header.has_delete_horizon());
    header.set_timestamp_type(TimestampType::LogAppendTime);
    assert_eq!((header.attributes, header.timestamp_type()), (0x68, TimestampType::LogAppendTime));
}

#[test]
fn builder_writes_what_real_clients_write() {
    let time = 0x1a2_02c8_06a0;
    let built = BatchBuilder::new()
        .record(NewRecord { timestamp: time, key: Some(b"k"), value: Some(b"v"), headers: &[(b"h", Some(b"x"))] })
        .record(NewRecord { timestamp: time, key: None, value: Some(b"v2"), headers: &[] })
        .build()
        .unwrap();
    assert_eq!(built[..], golden()[..]);
}

/// The encoding of every shape at once. A change here is a change of what is stored: it has to be meant.
#[test]
fn encoding_of_batches_has_not_changed() {
    let mut bytes = Vec::new();
    for n in 1..20u8 {
        let value = vec![n; usize::from(n) * 37];
        let built = batch(usize::from(n)).producer(i64::from(n), 3, 5).kv(-100, &value, b"").build().unwrap();
        bytes.extend_from_slice(&built);
    }
    assert_eq!((bytes.len(), crc32c::crc32c(&bytes)), (11_303, 1_973_395_715));
}
