//! Compaction end to end: what a consumer sees of a log whose `cleanup.policy` has `compact`. Runs against Apache Kafka
//! as well, where rounds come every 15 s by default.
#![allow(clippy::cast_possible_truncation)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use pyralog_compat_tests::batch::StoredBatch;
use pyralog_compat_tests::{
    Batch, Broker, BrokerOptions, Codec, Conn, Record, now_ms, on_kafka, private, shared, text,
};

/// Small segments, so that something is sealed; rounds whenever anything is dirty.
const SETTINGS: &[(&str, &str)] =
    &[("segment.ms", "500"), ("min.cleanable.dirty.ratio", "0.01"), ("delete.retention.ms", "1500")];
/// Longest wait: Kafka's backoff is 15 s, and its cleaner has to come around twice.
const LONG: Duration = Duration::from_secs(90);

fn quick() -> BrokerOptions {
    BrokerOptions::new().set("log.cleaner.backoff.ms", "100").set("num.partitions", "1")
}

fn compacted(conn: &mut Conn, policy: &str) -> String {
    let mut settings = vec![("cleanup.policy", policy)];
    settings.extend_from_slice(SETTINGS);
    conn.new_topic("compacted", 1, &settings).0
}

/// A writer whose batches lie a second apart in time, so that each begins a segment.
struct Writer {
    name: String,
    timestamp: i64,
}

impl Writer {
    fn new(name: &str) -> Writer {
        Writer { name: name.to_owned(), timestamp: now_ms() - 600_000 }
    }

    fn batch(&mut self, records: Vec<Record>) -> Batch {
        self.timestamp += 1000;
        Batch::new(records).stamped(self.timestamp)
    }

    fn put(&mut self, conn: &mut Conn, codec: Codec, records: Vec<Record>) -> i64 {
        let batch = self.batch(records).codec(codec).encode();
        conn.append(&self.name, 0, &batch)
    }

    /// Makes what was written before sealed, by records of a key of its own.
    fn seal(&mut self, conn: &mut Conn) {
        for _ in 0..2 {
            self.put(conn, Codec::None, vec![Record::keyed("seal", "x")]);
        }
    }
}

/// All batches, over as many fetches as it takes.
fn read(conn: &mut Conn, name: &str) -> Vec<StoredBatch> {
    let (mut next, end, mut all) = (0, conn.end_offset(name, 0), Vec::new());
    while next < end {
        let batches = conn.read(name, 0, next);
        next = batches.last().unwrap_or_else(|| panic!("nothing at {next} of {end}")).last_offset() + 1;
        all.extend(batches);
    }
    all
}

/// (offset, value) by key. Each key must be there once, but for that which seals.
fn latest(batches: &[StoredBatch]) -> Option<BTreeMap<String, (i64, Option<String>)>> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = BTreeMap::new();
    for batch in batches {
        for record in &batch.records {
            let key = lossy(record.key.as_deref()?);
            let offset = batch.base_offset + i64::from(record.offset_delta?);
            let before = found.insert(key.clone(), (offset, record.value.as_deref().map(lossy)));
            if before.is_some() && key != "seal" {
                return None;
            }
        }
    }
    found.remove("seal");
    Some(found)
}

/// Reads until `probe` likes what is there.
fn until<T>(conn: &mut Conn, name: &str, what: &str, probe: impl Fn(&[StoredBatch]) -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        let batches = read(conn, name);
        if let Some(found) = probe(&batches) {
            return found;
        }
        if Instant::now() > deadline {
            let shown: Vec<_> = batches.iter().map(|b| (b.base_offset, b.last_offset(), b.values())).collect();
            panic!("not within {LONG:?}: {what}; {shown:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Pyralog with quick rounds, or the broker elsewhere.
fn broker() -> (Option<Broker>, Conn) {
    if on_kafka() {
        return (None, shared().connect());
    }
    let broker = private(quick()).unwrap_or_else(|| panic!("a broker of one's own"));
    let conn = broker.connect();
    (Some(broker), conn)
}

/// Sets a config of a topic while the broker runs.
fn alter(conn: &mut Conn, name: &str, key: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(name));
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource.with_configs(vec![config])]);
    assert_eq!(conn.call(1, &request).responses[0].error_code, 0, "{key}={value}");
}

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd];

#[test]
fn io_19_consumers_see_the_newest_value_of_each_key_and_tombstones_vanish() {
    let (mut broker, mut conn) = broker();
    let name = compacted(&mut conn, "compact");
    let mut writer = Writer::new(&name);
    let mut expected = BTreeMap::new();
    for (round, codec) in CODECS.into_iter().cycle().take(15).enumerate() {
        let keys = [format!("a{}", round % 4), format!("b{}", round % 3), "gone".to_owned()];
        let mut records: Vec<Record> = keys.iter().map(|key| Record::keyed(key, &format!("{key} {round}"))).collect();
        records[0].headers = vec![(b"round".to_vec(), Some(round.to_string().into_bytes())), (b"none".to_vec(), None)];
        let base = writer.put(&mut conn, codec, records);
        for (at, key) in keys.iter().enumerate() {
            expected.insert(key.clone(), (base + at as i64, Some(format!("{key} {round}"))));
        }
    }
    let tombstone = Record { value: None, ..Record::keyed("gone", "") };
    let offset = writer.put(&mut conn, Codec::Lz4, vec![tombstone, Record::keyed("a0", "last")]);
    expected.insert("gone".to_owned(), (offset, None));
    expected.insert("a0".to_owned(), (offset + 1, Some("last".to_owned())));
    writer.seal(&mut conn);

    let batches = until(&mut conn, &name, "each key once, the tombstone among them", |batches| {
        (latest(batches)? == expected).then(|| batches.to_vec())
    });
    let with_headers = batches.iter().flat_map(|b| &b.records).find(|r| r.key.as_deref() == Some(b"a2"));
    assert_eq!(with_headers.map(|r| r.headers.len()), Some(2), "headers stay");
    let tombstone = batches.iter().find(|b| b.base_offset == offset).expect("the tombstone's batch");
    assert_ne!(tombstone.attributes & (1 << 6), 0, "the delete horizon is set (KIP-534)");
    assert_eq!(tombstone.attributes & 7, 3, "still lz4");
    // Every offset of a log with holes can be asked for; the answer begins at the batch that follows.
    for from in 0..conn.end_offset(&name, 0) {
        let found = conn.read(&name, 0, from);
        assert!(found.first().is_some_and(|b| b.last_offset() >= from), "nothing from {from} on");
    }
    if let Some(broker) = &mut broker {
        for crash in [true, false] {
            if crash {
                broker.kill9();
            }
            broker.restart();
            conn = broker.connect();
            assert_eq!(latest(&read(&mut conn, &name)).as_ref(), Some(&expected), "after a restart, crash: {crash}");
        }
    }
    std::thread::sleep(Duration::from_millis(1600));
    expected.remove("gone");
    // The next round takes it; rounds come with new dirty records.
    writer.seal(&mut conn);
    writer.put(&mut conn, Codec::None, vec![Record::keyed("new", "n")]);
    let new = conn.end_offset(&name, 0) - 1;
    expected.insert("new".to_owned(), (new, Some("n".to_owned())));
    writer.seal(&mut conn);
    until(&mut conn, &name, "the tombstone is gone", |batches| (latest(batches)? == expected).then_some(()));
}

#[test]
fn id_02_a_duplicate_gets_its_first_answer_after_compaction() {
    let (mut broker, mut conn) = broker();
    let name = compacted(&mut conn, "compact");
    let mut writer = Writer::new(&name);
    let mut sent = Vec::new();
    for sequence in 0..6 {
        let batch =
            writer.batch(vec![Record::keyed("k", &sequence.to_string())]).producer(77_001, 0, sequence).encode();
        sent.push((conn.append(&name, 0, &batch), batch));
    }
    writer.put(&mut conn, Codec::None, vec![Record::keyed("k", "newest")]);
    writer.seal(&mut conn);
    let batches = until(&mut conn, &name, "only the newest", |batches| {
        latest(batches)?.get("k").is_some_and(|k| k.0 == 6).then(|| batches.to_vec())
    });
    assert!(batches.iter().any(|b| b.producer_id == 77_001 && b.count == 0), "F23: an empty batch stays for it");
    // Kafka keeps what it needs for the last one; here it is all five, whatever is restarted.
    let kept = if on_kafka() { 1 } else { 5 };
    for restart in [false, true] {
        if restart && let Some(broker) = &mut broker {
            broker.kill9();
            broker.restart();
            conn = broker.connect();
        }
        for (offset, batch) in sent.iter().rev().take(kept) {
            let answer = conn.produce(&name, 0, batch);
            assert_eq!((answer.error_code, answer.base_offset), (0, *offset));
        }
    }
}

#[test]
fn io_19_the_policy_may_change_back_and_forth() {
    let Some(broker) = private(quick()) else { return };
    let mut conn = broker.connect();
    let name = compacted(&mut conn, "delete");
    let mut writer = Writer::new(&name);
    for n in 0..5 {
        let record = if n % 2 == 0 { Record::of("no key") } else { Record::keyed("k", &n.to_string()) };
        writer.put(&mut conn, Codec::None, vec![record]);
    }
    writer.seal(&mut conn);
    let policy = |conn: &mut Conn, value: &str| alter(conn, &name, "cleanup.policy", value);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(read(&mut conn, &name).iter().map(|b| b.count).sum::<i32>(), 7, "nothing goes yet");
    policy(&mut conn, "compact");
    until(&mut conn, &name, "compacted, without what has no key", |batches| {
        (latest(batches)? == BTreeMap::from([("k".to_owned(), (3, Some("3".to_owned())))])).then_some(())
    });
    policy(&mut conn, "delete");
    writer.put(&mut conn, Codec::None, vec![Record::of("no key"), Record::keyed("k", "later")]);
    writer.seal(&mut conn);
    let batches = read(&mut conn, &name);
    assert!(batches.iter().flat_map(|b| &b.records).any(|r| r.key.is_none()), "no key is fine again");
    policy(&mut conn, "compact,delete");
    until(&mut conn, &name, "compacted again", |batches| {
        (latest(batches)? == BTreeMap::from([("k".to_owned(), (8, Some("later".to_owned())))])).then_some(())
    });
}

#[test]
fn what_the_cleaner_does_is_in_the_metrics() {
    let Some(broker) = private(quick()) else { return };
    let mut conn = broker.connect();
    let name = compacted(&mut conn, "compact");
    let mut writer = Writer::new(&name);
    for n in 0..4 {
        writer.put(&mut conn, Codec::None, vec![Record::keyed("k", &n.to_string())]);
    }
    writer.seal(&mut conn);
    until(&mut conn, &name, "compacted", |batches| latest(batches).map(drop));
    for name in
        ["kafka_log_cleaner_runs_total", "kafka_log_cleaner_read_bytes_total", "kafka_log_cleaner_written_bytes_total"]
    {
        assert!(broker.metric(name) > 0.0, "{name}");
    }
    assert_eq!(broker.metric("kafka_log_cleaner_uncleanable_partitions"), 0.0);
}
