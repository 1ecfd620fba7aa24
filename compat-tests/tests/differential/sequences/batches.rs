//! Answers as trees, with the batches of a Fetch opened: their bytes differ, because producer ids do.

use std::collections::BTreeMap;

use pyralog_compat_tests::batch::{self, StoredBatch};

use super::super::*;

/// What came, as a tree.
pub fn decoded(key: i16, version: i16, outcome: Outcome) -> Tree {
    let body = match outcome {
        Outcome::Answer(body) => body,
        Outcome::Closed => return Tree::Leaf("closed".to_owned()),
        Outcome::Silence => return Tree::Leaf("silence".to_owned()),
    };
    let mut decoded = message(key, version, body);
    let mut records = Vec::new();
    if let ResponseKind::Fetch(response) = &mut decoded {
        let partitions = response.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        records.extend(partitions.map(|partition| partition.records.take()));
    }
    let mut tree = parse(&format!("{decoded:?}"));
    let mut records = records.into_iter();
    if let Tree::Fields(fields) = &mut tree
        && let Some(Tree::List(topics)) = fields.get_mut("responses")
        && key == super::api::FETCH
    {
        topics.iter_mut().for_each(|topic| put_batches(topic, &mut records));
    }
    tree
}

fn put_batches(topic: &mut Tree, records: &mut impl Iterator<Item = Option<Bytes>>) {
    let Tree::Fields(fields) = topic else { return };
    let Some(Tree::List(partitions)) = fields.get_mut("partitions") else { return };
    for (partition, found) in partitions.iter_mut().zip(records) {
        if let (Tree::Fields(fields), Some(bytes)) = (partition, found) {
            let batches = batch::parse(&bytes).iter().map(opened).collect();
            fields.insert("records".to_owned(), Tree::List(batches));
        }
    }
}

/// A batch without what follows from the rest of it, and without its first timestamp: a broker that compresses anew may choose
/// that of a record, where a producer chose another. What it makes of the records counts.
fn opened(batch: &StoredBatch) -> Tree {
    let StoredBatch { base_offset, leader_epoch, magic, attributes, last_offset_delta, first_timestamp, .. } = batch;
    let StoredBatch { max_timestamp, producer_id, producer_epoch, base_sequence, count, records, .. } = batch;
    let fields: [(&str, String); 11] = [
        ("base_offset", base_offset.to_string()),
        ("leader_epoch", leader_epoch.to_string()),
        ("magic", magic.to_string()),
        ("attributes", attributes.to_string()),
        ("last_offset_delta", last_offset_delta.to_string()),
        ("max_timestamp", max_timestamp.to_string()),
        ("producer_id", producer_id.to_string()),
        ("producer_epoch", producer_epoch.to_string()),
        ("base_sequence", base_sequence.to_string()),
        ("count", count.to_string()),
        ("records", records.iter().map(|record| spelled(record, *first_timestamp)).collect::<Vec<_>>().join("; ")),
    ];
    Tree::Fields(fields.into_iter().map(|(name, text)| (name.to_owned(), Tree::Leaf(text))).collect::<BTreeMap<_, _>>())
}

fn spelled(record: &batch::Record, first_timestamp: i64) -> String {
    let bytes = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) if bytes.len() > 40 => format!("{} bytes, CRC {:x}", bytes.len(), crc32c::crc32c(bytes)),
        Some(bytes) => format!("{:?}", bytes.escape_ascii().to_string()),
        None => "null".to_owned(),
    };
    let headers: Vec<String> =
        record.headers.iter().map(|(name, value)| format!("{}={}", name.escape_ascii(), bytes(value))).collect();
    let (key, value) = (bytes(&record.key), bytes(&record.value));
    format!("at {} {key}={value} {}", first_timestamp + record.timestamp_delta, headers.join(","))
}
