//! The readers get the same answers whatever the pieces, and survive every cut and every wrong length.

use bytes::{BufMut, Bytes, BytesMut};
use pyralog_protocol::batch::{BatchBuilder, set_base_offset};
use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::response::encode_response;

use super::*;

const TOPIC: &str = "t";

fn batch(base: i64, records: usize) -> BytesMut {
    let builder = (0..records).fold(BatchBuilder::new(), |b, _| b.kv(1000, b"key", &[7; 100]));
    let mut batch = builder.build().expect("a batch");
    set_base_offset(&mut batch, base);
    batch
}

fn answer(version: i16, error: i16, records: Bytes) -> Bytes {
    let partition = kp::fetch_response::PartitionData::default()
        .with_partition_index(2)
        .with_error_code(error)
        .with_high_watermark(500)
        .with_log_start_offset(3)
        .with_records(Some(records));
    let topic = kp::fetch_response::FetchableTopicResponse::default()
        .with_topic(kp::TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    encode_response(5, version, kp::FetchResponse::default().with_responses(vec![topic]).into()).expect("an answer")
}

fn read(version: i16, bytes: &[u8], piece: usize) -> Result<Vec<Fetched>, Flaw> {
    let mut reader = FetchReader::new(FetchLayout::of(version, TOPIC));
    let mut all = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.read(piece, |fetched| {
            all.push(fetched);
            Ok(())
        })?;
    }
    Ok(all)
}

#[test]
fn fetch_answers_are_the_same_in_pieces_of_any_size() {
    let mut records = batch(10, 3);
    records.extend_from_slice(&batch(13, 40));
    let whole = u64::try_from(records.len()).expect("small");
    let cut = batch(53, 5);
    for version in 7..=12 {
        for tail in [0, 1, 60, 61, 70, cut.len() - 1] {
            let mut stream = BytesMut::new();
            let mut with_tail = records.clone();
            with_tail.extend_from_slice(&cut[..tail]);
            for _ in 0..2 {
                stream.extend_from_slice(&answer(version, 0, with_tail.clone().freeze()));
                stream.extend_from_slice(&answer(version, 0, Bytes::new()));
                stream.extend_from_slice(&answer(version, 1, Bytes::new()));
            }
            let none =
                Fetched { correlation: 5, partition: 2, high_watermark: 500, log_start: 3, ..Fetched::default() };
            let some = Fetched { bytes: whole, records: 43, offsets: Some((10, 53)), ..none };
            let expected = [some, none, Fetched { error: 1, ..none }];
            for piece in [1, 2, 7, 64, 1000, stream.len()] {
                let all = read(version, &stream, piece).expect("sound answers");
                assert_eq!(all, [expected, expected].concat(), "v{version} in pieces of {piece}, {tail} bytes cut off");
            }
        }
    }
}

#[test]
fn a_batch_of_a_header_alone_is_counted() {
    let header = BatchBuilder::new().build().expect("a batch");
    assert_eq!(header.len(), BATCH_HEADER_BYTES);
    let all = read(12, &answer(12, 0, header.freeze()), 5).expect("a sound answer");
    assert_eq!((all[0].bytes, all[0].records), (61, 0));
}

#[test]
fn an_error_of_the_whole_answer_is_seen_although_nothing_follows() {
    let answer = encode_response(5, 12, kp::FetchResponse::default().with_error_code(70).into()).expect("an answer");
    assert_eq!(read(12, &answer, 3).expect("a sound answer")[0].error, 70);
}

#[test]
fn wrong_lengths_are_flaws_and_cost_no_memory() {
    for length in [-1, 0, 3, i32::MAX] {
        let bytes = length.to_be_bytes();
        assert!(read(12, &bytes, 4).is_err(), "{length}");
        assert!(SmallReader::default().read(&bytes, |_| Ok(())).is_err(), "{length}");
    }
    let mut lying = BytesMut::from(&answer(11, 0, Bytes::from_static(&[0; 100]))[..]);
    let at = 4 + FetchLayout::of(11, TOPIC).records_at;
    lying[at..at + 4].copy_from_slice(&1_000_000i32.to_be_bytes());
    assert!(read(11, &lying, 10).is_err_and(|flaw| flaw.contains("1000000")));
    assert!(read(11, &answer(11, 0, Bytes::from_static(&[0; 100])), 10).is_err(), "no batch");
}

#[test]
fn small_answers_are_the_same_in_pieces_of_any_size() {
    let mut stream = BytesMut::new();
    for size in [4usize, 50, 5, 70_000] {
        stream.put_u32(u32::try_from(size).expect("small"));
        stream.put_bytes(u8::try_from(size % 251).expect("small"), size);
    }
    for piece in [1, 3, 8, 61, stream.len()] {
        let (mut reader, mut sizes) = (SmallReader::default(), Vec::new());
        for piece in stream.chunks(piece) {
            let read = reader.read(piece, |frame| {
                assert!(frame.iter().all(|byte| usize::from(*byte) == frame.len() % 251));
                sizes.push(frame.len());
                Ok(())
            });
            read.expect("sound answers");
        }
        assert_eq!(sizes, [4, 50, 5, 70_000], "in pieces of {piece}");
    }
}
