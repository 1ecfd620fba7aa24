#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use super::*;

/// A header of version 2 (with a tag byte) or 1.
fn header(key: i16, version: i16, client_id: Option<&[u8]>, tags: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&key.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&(-77i32).to_be_bytes());
    out.extend_from_slice(&client_id.map_or(-1, |id| id.len() as i16).to_be_bytes());
    out.extend_from_slice(client_id.unwrap_or_default());
    out.extend_from_slice(tags);
    out
}

fn read(frame: &[u8]) -> Result<(RequestHead, usize), DecodeError> {
    read_head(frame, &DecodeLimits::default())
}

#[test]
fn c04_client_ids_null_empty_and_non_ascii() {
    for id in [None, Some(&b""[..]), Some("Ünïcode ✓".as_bytes())] {
        for (version, tags) in [(0, &[][..]), (9, &[0][..])] {
            let frame = header(3, version, id, tags);
            let (head, at) = read(&frame).unwrap();
            assert_eq!(head.client_id.as_deref().map(str::as_bytes), id);
            assert_eq!((head.api, head.version, at), (ApiKey::Metadata, version, frame.len()));
        }
    }
    let (head, _) = read(&header(3, 0, Some(b"\xff"), &[])).unwrap();
    assert_eq!(head.client_id.as_deref(), Some("\u{fffd}"));
}

#[test]
fn c15_negative_correlation_ids_are_kept() {
    assert_eq!(read(&header(3, 0, None, &[])).unwrap().0.correlation_id, -77);
}

#[test]
fn c01_a_newer_apiversions_is_answered() {
    for version in [5, 99, i16::MAX] {
        let error = read(&header(18, version, None, &[0])).unwrap_err();
        assert_eq!(error.reaction(), Reaction::AnswerApiVersions { correlation_id: -77 });
    }
}

#[test]
fn c02_a_newer_apiversions_needs_the_tag_byte_a_negative_one_does_not() {
    let error = read(&header(18, 5, None, &[])).unwrap_err();
    assert_eq!((error.reaction(), &error), (Reaction::Close, &DecodeError::HeaderCut { bytes: 10 }));
    let error = read(&header(18, -1, None, &[])).unwrap_err();
    assert_eq!(error.reaction(), Reaction::AnswerApiVersions { correlation_id: -77 });
}

#[test]
fn c09_unknown_keys_and_versions_close() {
    for key in [999, -1, 4, 52] {
        let error = read(&header(key, 0, None, &[])).unwrap_err();
        assert_eq!((error.reaction(), error), (Reaction::Close, DecodeError::UnknownApi { key }));
    }
    for (key, version) in [(0, 2), (0, 14), (3, -1), (3, 14), (1, 3)] {
        let error = read(&header(key, version, None, &[])).unwrap_err();
        assert!(matches!(error, DecodeError::UnsupportedVersion { .. }));
        assert_eq!(error.reaction(), Reaction::Close);
    }
}

#[test]
fn c10_a_frame_too_short_for_its_header_closes() {
    let frame = header(3, 9, Some(b"client"), &[1, 5, 2, 0, 0]);
    for cut in 0..frame.len() {
        assert!(matches!(read(&frame[..cut]), Err(DecodeError::HeaderCut { bytes }) if bytes == cut), "cut at {cut}");
    }
}

#[test]
fn c14_unknown_tagged_fields_are_skipped() {
    let (head, at) = read(&header(3, 9, Some(b"c"), &[2, 0, 1, 0xff, 0x85, 1, 2, 3, 4])).unwrap();
    assert_eq!((head.version, at), (9, 20));
}

#[test]
fn se_02_tagged_fields_are_counted_and_the_header_is_bounded() {
    let limits = DecodeLimits::default();
    let many = |count: u8| [&[count][..], &[0, 0].repeat(usize::from(count))].concat();
    assert!(read(&header(18, 3, None, &many(64))).is_ok());
    let too_large = DecodeError::HeaderTooLarge { limit: limits.header_bytes_max, tags: limits.tagged_fields_max };
    assert_eq!(read(&header(18, 3, None, &many(65))), Err(too_large.clone()));
    let huge_count = [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0; 1000]].concat();
    assert_eq!(read(&header(18, 3, None, &huge_count)), Err(too_large.clone()));
    assert_eq!(read(&header(18, 3, Some(&[b'x'; 9000]), &[0])), Err(too_large.clone()));
    let long_tag = [&[1, 0, 0xa8, 0x46][..], &[0; 9000]].concat();
    assert_eq!(read(&header(18, 3, None, &long_tag)), Err(too_large));
}
