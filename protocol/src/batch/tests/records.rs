use super::*;

fn all(payload: &[u8]) -> Result<Vec<RecordView<'_>>, RecordError> {
    Records::new(payload).collect()
}

#[test]
fn records_of_a_real_batch() {
    let bytes = golden();
    let records = all(&bytes[BATCH_HEADER_BYTES..]).unwrap();
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].key, records[0].value, records[0].bytes.len()), (Some(&b"k"[..]), Some(&b"v"[..]), 13));
    let headers: Vec<_> = records[0].headers.iter().collect();
    assert_eq!(headers, [RecordHeader { key: b"h", value: Some(b"x") }]);
    assert_eq!((records[1].key, records[1].value, records[1].offset_delta), (None, Some(&b"v2"[..]), 1));
    assert!(records[1].headers.is_empty());
}

#[test]
fn p09_null_and_empty_are_kept_apart() {
    let built = BatchBuilder::new()
        .record(NewRecord {
            key: Some(b""),
            value: None,
            headers: &[(b"", None), (b"h", Some(b""))],
            ..Default::default()
        })
        .build()
        .unwrap();
    let records = all(&built[BATCH_HEADER_BYTES..]).unwrap();
    assert_eq!((records[0].key, records[0].value), (Some(&b""[..]), None));
    let headers: Vec<_> = records[0].headers.iter().map(|h| (h.key, h.value)).collect();
    assert_eq!(headers, [(&b""[..], None), (&b"h"[..], Some(&b""[..]))]);
}

#[test]
fn extreme_varints_are_read() {
    let built = BatchBuilder::new().kv(i64::MIN, b"k", b"v").kv(i64::MAX, b"k", b"v").build().unwrap();
    let records = all(&built[BATCH_HEADER_BYTES..]).unwrap();
    assert_eq!(records[1].timestamp_delta, -1, "the delta wraps, as it does in Java");
    let built = BatchBuilder::new().kv(0, b"k", b"v").kv(i64::MIN, b"k", b"v").build().unwrap();
    assert_eq!(all(&built[BATCH_HEADER_BYTES..]).unwrap()[1].timestamp_delta, i64::MIN);
}

#[test]
fn se_05_lengths_and_counts_are_checked_before_use() {
    type Case = (&'static [u8], RecordError);
    let cases: [Case; 9] = [
        (&[0x80], RecordError::Varint),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 1], RecordError::Varint),
        (&[1], RecordError::Length { found: -1, remaining: 0 }),
        (&[20, 0], RecordError::Length { found: 10, remaining: 1 }),
        (&[0], RecordError::Empty),
        (&[8, 0, 0, 0, 40], RecordError::Field { field: "key", found: 20, remaining: 0 }),
        (&[8, 0, 0, 0, 3], RecordError::Field { field: "key", found: -2, remaining: 0 }),
        (&[20, 0, 0, 0, 1, 1, 0x80, 0x80, 0x80, 0x80, 8], RecordError::HeaderCount { found: 1 << 30, remaining: 0 }),
        (&[14, 0, 0, 0, 1, 1, 0, 9], RecordError::LeftOver { bytes: 1 }),
    ];
    for (bytes, error) in cases {
        assert_eq!(all(bytes), Err(error), "{bytes:?}");
    }
    let null_header_key = [18, 0, 0, 0, 1, 1, 2, 1, 1, 0];
    assert!(matches!(all(&null_header_key), Err(RecordError::Field { field: "header key", found: -1, .. })));
    let negative_count = [12, 0, 0, 0, 1, 1, 1];
    assert_eq!(all(&negative_count), Err(RecordError::HeaderCount { found: -1, remaining: 0 }));
}

#[test]
fn iteration_ends_after_an_error() {
    let mut records = Records::new(&[1, 2, 3, 4]);
    assert!(records.next().unwrap().is_err());
    assert!(records.next().is_none());
}

#[test]
fn any_cut_or_flip_is_an_error_or_records_but_never_a_panic() {
    let payload = golden()[BATCH_HEADER_BYTES..].to_vec();
    for cut in 0..payload.len() {
        let whole = all(&payload[..cut]).is_ok();
        assert_eq!(whole, cut == 0 || cut == 13, "cut at {cut}");
    }
    for at in 0..payload.len() {
        for value in 0..=255 {
            let mut bytes = payload.clone();
            bytes[at] = value;
            let read: usize =
                Records::new(&bytes).map_while(Result::ok).map(|r| r.bytes.len() + r.headers.iter().count()).sum();
            assert!(read < 2 * bytes.len());
        }
    }
}
