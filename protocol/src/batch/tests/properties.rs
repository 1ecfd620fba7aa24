//! Whatever a producer writes is what a reader reads, in every codec.

use super::*;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

type Blob = Option<Vec<u8>>;

#[derive(Debug, Clone)]
struct Written {
    timestamp: i64,
    key: Blob,
    value: Blob,
    headers: Vec<(Vec<u8>, Blob)>,
}

fn blob() -> impl Strategy<Value = Blob> {
    proptest::option::of(vec(any::<u8>(), 0..200))
}

fn written() -> impl Strategy<Value = Written> {
    let headers = vec((vec(any::<u8>(), 0..10), blob()), 0..4);
    (any::<i64>(), blob(), blob(), headers).prop_map(|(timestamp, key, value, headers)| Written {
        timestamp,
        key,
        value,
        headers,
    })
}

fn codec() -> impl Strategy<Value = Codec> {
    (0..5i16).prop_map(|bits| Codec::from_bits(bits).unwrap())
}

fn build(records: &[Written], codec: Codec) -> Bytes {
    let start = BatchBuilder::new().compression(Compression::of(codec));
    let built = records.iter().fold(start, |builder, record| {
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        builder.record(NewRecord {
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        })
    });
    built.build().unwrap().freeze()
}

proptest! {
    #[test]
    fn what_is_written_is_accepted_and_read_back(records in vec(written(), 1..20), from in codec(), to in codec()) {
        let rules = ProduceRules { after_max_ms: i64::MAX, target: Some(Compression::of(to)), ..rules() };
        let checked = check_produced(build(&records, from), &rules).unwrap();
        prop_assert_eq!(checked.header.codec(), Ok(to));
        prop_assert_eq!(checked.header.crc, checked.header.crc_with(&checked.body));
        let payload = decompress(to, &checked.body, 1 << 24).unwrap();
        let read: Vec<_> = Records::new(&payload).map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), records.len());
        for (read, written) in read.iter().zip(&records) {
            prop_assert_eq!(checked.header.base_timestamp.wrapping_add(read.timestamp_delta), written.timestamp);
            prop_assert_eq!((read.key, read.value), (written.key.as_deref(), written.value.as_deref()));
            let headers: Vec<_> = read.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&headers, &written.headers);
        }
        let newest = records.iter().map(|r| r.timestamp).max().unwrap().max(-1);
        prop_assert_eq!(checked.header.max_timestamp, newest);
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused(records in vec(written(), 1..6), codec in codec(), at in any::<prop::sample::Index>()) {
        let whole = build(&records, codec);
        let cut = whole.slice(..at.index(whole.len()));
        prop_assert!(check_produced(cut, &rules()).is_err());
    }
}
