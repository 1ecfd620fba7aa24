//! The client against a real broker: what the documentation shows, and what it promises.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use common::{Broker, LONG, log, unique};
use pyralog_client::{
    Acks, Codec, CommitStrategy, ConnectError, ConsumeError, ConsumerConfig, CreateLogError, LogConfig, LogError,
    LogOffset, LogUpdate, PartitionCommitTracker, ProduceError, ProducerConfig, PyralogClient, PyralogError, Record,
    RetentionConfig, StartAt, TenantClient, UnifiedConsumer, UpdateLogError,
};

fn numbered(n: usize) -> Record {
    Record::new(Some(format!("key-{}", n % 100).into_bytes()), format!("value-{n}").into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_created_changed_described_and_deleted() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = unique("life");
    assert!(!client.log_exists(&name).await.unwrap());
    let config = LogConfig {
        partition_count: 3,
        retention: RetentionConfig::Size(10_000_000_000),
        min_in_sync_replicas: 1,
        ..Default::default()
    };
    client.create_log_with_config(&name, config.with("max.message.bytes", "500000")).await.unwrap();
    assert!(matches!(client.create_log(&name).await, Err(CreateLogError::Exists { .. })));
    let metadata = client.get_log_metadata(&name).await.unwrap();
    assert_eq!((metadata.partition_count, metadata.replication_factor), (3, 1));
    assert_eq!(metadata.retention_config, RetentionConfig::Size(10_000_000_000));
    assert_eq!(metadata.configs["max.message.bytes"].as_deref(), Some("500000"));
    assert!(metadata.partitions.iter().all(|p| p.leader.is_some() && p.in_sync_replicas.len() == 1));
    let week = RetentionConfig::Time(Duration::from_secs(7 * 24 * 3600));
    let update = LogUpdate::new().retention(week).partition_count(5).reset("max.message.bytes");
    client.update_log_config(&name, update).await.unwrap();
    let metadata = client.get_log_metadata(&name).await.unwrap();
    assert_eq!((metadata.partition_count, metadata.retention_config), (5, week));
    let fewer = client.update_log_config(&name, LogUpdate::new().partition_count(1)).await;
    assert!(matches!(fewer, Err(UpdateLogError::Partitions { .. })), "{fewer:?}");
    let wrong = client.update_log_config(&name, LogUpdate::new().set("retention.ms", "soon")).await;
    assert!(matches!(wrong, Err(UpdateLogError::Config { .. })), "{wrong:?}");
    let listed = client.list_logs().await.unwrap();
    assert!(listed.iter().any(|log| log.log_id.as_str() == name && log.partition_count == 5));
    client.delete_log(&name).await.unwrap();
    assert!(!client.log_exists(&name).await.unwrap());
    assert!(matches!(client.get_log_metadata(&name).await, Err(LogError::Unknown { .. })));
    assert!(matches!(client.create_log("not/a/name").await, Err(CreateLogError::Name(_))));
    let copies = LogConfig { replication_factor: 30, ..Default::default() };
    let refused = client.create_log_with_config(unique("copies"), copies).await;
    assert!(matches!(refused, Err(CreateLogError::Config { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_says_when_it_was_created() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = unique("created");
    // The broker keeps milliseconds, and both ask the same clock.
    let before = SystemTime::now() - Duration::from_millis(1);
    client.create_log(&name).await.unwrap();
    let created = client.get_log_metadata(&name).await.unwrap().created_at.unwrap();
    assert!((before..=SystemTime::now()).contains(&created), "{created:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_back_as_they_were_written() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = log(&client, "whole", 4).await;
    let noon = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let written = Record::new(Some(b"user-123".to_vec()), b"login".to_vec())
        .with_header("source", "web-app")
        .with_header("version", "1.0")
        .with_timestamp(noon);
    let first = client.produce(&name, written.clone()).await.unwrap();
    let second = client.produce(&name, Record::tombstone(b"user-123".to_vec())).await.unwrap();
    assert_eq!((first.partition, first.offset, second.offset), (second.partition, LogOffset::ZERO, LogOffset::new(1)));
    let read = client.consume_from_partition(&name, first.partition, LogOffset::ZERO, 10).await.unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!((&read[0].key, &read[0].value, &read[0].headers), (&written.key, &written.value, &written.headers));
    assert_eq!((read[0].timestamp, read[0].partition), (noon, first.partition));
    assert!(read[1].is_tombstone && read[1].epoch.0 >= 0);
    let chosen = client.produce_to_partition(&name, 3, Record::new(None, b"x".to_vec())).await.unwrap();
    assert_eq!(chosen.partition, 3);
    let none = client.produce_to_partition(&name, 4, Record::new(None, b"x".to_vec())).await;
    assert!(matches!(none, Err(ProduceError::NoPartition { partition: 4, count: 4, .. })), "{none:?}");
    let large = client.produce(&name, Record::new(None, vec![0; 2 << 20])).await;
    assert!(matches!(large, Err(ProduceError::TooLarge { .. })), "{large:?}");
    let nowhere = client.produce(unique("nowhere"), Record::new(None, b"x".to_vec())).await;
    assert!(matches!(nowhere, Err(ProduceError::UnknownLog { .. })), "{nowhere:?}");
    assert!(!client.log_exists(unique("nowhere")).await.unwrap(), "nothing is created by chance");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_the_order_of_each_key_in_every_codec() {
    let broker = Broker::any();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut config = broker.config();
        config.producer = ProducerConfig { codec, batch_bytes: 4000, ..Default::default() };
        let client = config.connect().await.unwrap();
        let name = log(&client, "codec", 4).await;
        let appended = client.produce_batch(&name, (0..5000).map(numbered)).await.unwrap();
        let places: BTreeSet<_> = appended.iter().map(|a| (a.partition, a.offset)).collect();
        assert_eq!(places.len(), 5000, "each at a place of its own");
        let read = client.consume(&name, LogOffset::ZERO, 10_000).await.unwrap();
        assert_eq!(read.len(), 5000, "{codec}");
        for (n, at) in appended.iter().enumerate() {
            let found = read.iter().find(|r| (r.partition, r.offset) == (at.partition, at.offset)).unwrap();
            assert_eq!(found.value, format!("value-{n}").into_bytes());
        }
        let mut of_key: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for record in &read {
            let number = std::str::from_utf8(&record.value).unwrap().trim_start_matches("value-").parse().unwrap();
            of_key.entry((record.partition, record.key.clone())).or_default().push(number);
        }
        assert_eq!(of_key.len(), 100, "a key has one partition");
        assert!(of_key.values().all(|numbers| numbers.is_sorted()));
        assert_eq!(client.consume(&name, LogOffset::ZERO, 10).await.unwrap().len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_in_time_and_at_the_end() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = log(&client, "times", 1).await;
    let at = |second: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
    for second in [10, 20, 30] {
        client.produce(&name, Record::new(None, b"tick".to_vec()).with_timestamp(at(second))).await.unwrap();
    }
    for (position, expected) in [
        (StartAt::Earliest, 0),
        (StartAt::Latest, 3),
        (StartAt::Time(at(15)), 1),
        (StartAt::Time(at(30)), 2),
        (StartAt::Time(at(31)), 3),
        (StartAt::Offset(LogOffset::new(2)), 2),
    ] {
        let offsets = client.log_offsets(&name, position).await.unwrap();
        assert_eq!(offsets, BTreeMap::from([(0, LogOffset::new(expected))]), "{position:?}");
    }
    assert_eq!(client.consume(&name, LogOffset::MAX, 5).await.unwrap(), []);
    let beyond = client.consume(&name, LogOffset::new(50), 5).await;
    assert!(matches!(beyond, Err(ConsumeError::OutOfRange { .. })), "{beyond:?}");
    let mut reader = client.reader(&name).start(StartAt::Latest).open().await.unwrap();
    let (next, _) = tokio::join!(reader.next(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        client.produce(&name, Record::new(None, b"new".to_vec())).await.unwrap();
    });
    assert_eq!(next.unwrap().value, "new");
    let stats = client.get_log_stats(&name).await.unwrap();
    assert_eq!(stats.record_count, 4);
    assert!(stats.size_bytes > 0 && stats.write_rate == 0.0, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_acknowledgement_or_idempotence() {
    let broker = Broker::any();
    for acks in [Acks::None, Acks::Leader] {
        let mut config = broker.config();
        config.producer = ProducerConfig { acks, idempotent: false, ..Default::default() };
        let client = config.connect().await.unwrap();
        let name = log(&client, "acks", 1).await;
        client.produce_batch(&name, (0..100).map(numbered)).await.unwrap();
        let mut reader = client.reader(&name).open().await.unwrap();
        for n in 0..100 {
            let record = tokio::time::timeout(LONG, reader.next()).await.unwrap().unwrap();
            assert_eq!(record.value, format!("value-{n}").into_bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_go_on_where_they_were() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = log(&client, "resume", 3).await;
    let group = unique("analytics");
    client.produce_batch(&name, (0..300).map(numbered)).await.unwrap();
    let seen = std::cell::RefCell::new(BTreeSet::new());
    let take = |record: Record| {
        assert!(seen.borrow_mut().insert((record.partition, record.offset)), "twice: {record:?}");
        Ok(())
    };
    let mut consumer = UnifiedConsumer::new(client.clone(), &name, &group, CommitStrategy::PerPartition).unwrap();
    assert_eq!(consumer.consume_some(100, take).await.unwrap(), 100);
    consumer.commit().await.unwrap();
    let tracker = PartitionCommitTracker::load(client.clone(), &name, &group).await.unwrap();
    let committed: i64 = tracker.resume_from_commits().iter().map(|(_, offset)| offset.0).sum();
    assert_eq!(committed, 100);
    drop(consumer);
    // A handler that fails: what it has seen is committed, the rest comes again.
    let mut consumer = UnifiedConsumer::new(client.clone(), &name, &group, CommitStrategy::PerPartition).unwrap();
    let mut left = 50;
    let failed = consumer
        .consume(|record| {
            if left == 0 {
                return Err(PyralogError::handler("enough"));
            }
            left -= 1;
            take(record)
        })
        .await;
    assert_eq!(failed.unwrap_err().to_string(), "enough");
    let manual = ConsumerConfig { auto_commit: false, ..Default::default() };
    let mut consumer = UnifiedConsumer::with_config(client.clone(), &name, &group, manual).unwrap();
    while seen.borrow().len() < 300 {
        consumer.consume_some(1000, take).await.unwrap();
    }
    assert_eq!(seen.borrow().len(), 300);
    let tracker = PartitionCommitTracker::load(client, &name, &group).await.unwrap();
    assert_eq!(tracker.resume_from_commits().iter().map(|(_, offset)| offset.0).sum::<i64>(), 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_numbers_of_their_own() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = log(&client, "tenants", 4).await;
    let tenants = TenantClient::open(client.clone(), &name).await.unwrap();
    for n in 0..10 {
        assert_eq!(tenants.write("acme", format!("a{n}").into_bytes()).await.unwrap(), n);
        assert_eq!(tenants.write("other:corp", format!("o{n}").into_bytes()).await.unwrap(), n);
    }
    drop(tenants);
    let tenants = TenantClient::open(client, &name).await.unwrap();
    assert_eq!(tenants.write("acme", b"a10".to_vec()).await.unwrap(), 10);
    let read = tenants.read("acme", 3..).await.unwrap();
    let values: Vec<_> =
        read.iter().map(|(n, record)| (*n, String::from_utf8(record.value.to_vec()).unwrap())).collect();
    assert_eq!(values, (3..=10).map(|n| (n, format!("a{n}"))).collect::<Vec<_>>());
    assert_eq!(tenants.read("nobody", ..).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_largest_number_of_a_tenant_nothing_is_written() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = log(&client, "largest", 1).await;
    let largest = u64::MAX / 2;
    client.produce(&name, Record::new(Some(format!("acme:{largest}").into()), "")).await.unwrap();
    let tenants = TenantClient::open(client, &name).await.unwrap();
    let refused = tenants.write("acme", "").await;
    assert!(matches!(&refused, Err(PyralogError::NoNumberLeft { tenant }) if tenant == "acme"), "{refused:?}");
    assert_eq!(tenants.write("globex", "").await.unwrap(), 0);
    let numbers = tenants.read("acme", ..).await.unwrap().into_iter().map(|(number, _)| number);
    assert_eq!(numbers.collect::<Vec<_>>(), [largest]);
}

#[tokio::test]
async fn connecting_to_nothing_says_what_was_tried() {
    // Nobody listens at a port that is bound only, and nobody else is given it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let error = PyralogClient::connect(&address).await.unwrap_err();
    assert!(matches!(error, ConnectError::Call(_)) && error.to_string().contains(&address), "{error}");
    assert!(matches!(PyralogClient::connect("nonsense").await, Err(ConnectError::Address { .. })));
}

/// ID-01, ID-02: the broker dies again and again while an idempotent client writes.
#[tokio::test(flavor = "multi_thread")]
async fn id_01_each_record_once_and_in_order_through_kill_9() {
    let Some(mut broker) = Broker::killable() else { return };
    let client = broker.client().await;
    let name = log(&client, "killed", 2).await;
    let writer = {
        let (client, name) = (client.clone(), name.clone());
        tokio::spawn(async move {
            let mut deliveries = Vec::new();
            let mut n = 0;
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_secs(4) {
                for _ in 0..20 {
                    deliveries.push(client.enqueue(&name, numbered(n)).await.unwrap());
                    n += 1;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let mut appended = Vec::new();
            for delivery in deliveries {
                appended.push(delivery.await.unwrap());
            }
            appended
        })
    };
    for round in 0..5 {
        tokio::time::sleep(Duration::from_millis(300 + 97 * round)).await;
        broker.kill9();
        tokio::time::sleep(Duration::from_millis(50)).await;
        broker.start();
    }
    let appended = tokio::time::timeout(3 * LONG, writer).await.unwrap().unwrap();
    let read = client.consume(&name, LogOffset::ZERO, usize::MAX).await.unwrap();
    assert_eq!(read.len(), appended.len(), "none lost, none twice");
    for (n, at) in appended.iter().enumerate().filter(|(_, at)| at.offset.0 >= 0) {
        let found = read.iter().find(|r| (r.partition, r.offset) == (at.partition, at.offset)).unwrap();
        assert_eq!(found.value, format!("value-{n}").into_bytes());
    }
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for record in &read {
        let number = std::str::from_utf8(&record.value).unwrap().trim_start_matches("value-").parse().unwrap();
        let before = last.insert(record.partition, number);
        assert!(before.is_none_or(|before| before < number), "out of order: {before:?} then {number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_go_to_the_partitions_that_a_log_has_after_it_was_created_again() {
    let broker = Broker::any();
    let mut config = broker.config();
    config.metadata_max_age = Duration::from_secs(1);
    config.producer.delivery_timeout = Duration::from_secs(30);
    let (client, other) = (config.connect().await.unwrap(), broker.client().await);
    let name = log(&other, "again", 6).await;
    client.produce_batch(&name, (0..12).map(numbered)).await.unwrap();
    other.delete_log(&name).await.unwrap();
    let fewer = LogConfig { partition_count: 2, ..Default::default() };
    while other.create_log_with_config(&name, fewer.clone()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // As long as it takes to hear of it.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let appended = client.produce_batch(&name, (0..12).map(numbered)).await.unwrap();
    assert_eq!(appended.iter().map(|at| at.partition).collect::<BTreeSet<_>>(), BTreeSet::from([0, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_created_by_writing_and_by_nothing_else() {
    let broker = Broker::any();
    let mut config = broker.config();
    (config.auto_create_logs, config.metadata_max_age) = (true, Duration::from_millis(500));
    let client = config.connect().await.unwrap();
    let other = broker.client().await;
    let name = unique("by-writing");
    assert!(!client.log_exists(&name).await.unwrap());
    assert!(matches!(client.reader(&name).open().await, Err(ConsumeError::UnknownLog { .. })));
    assert!(!other.log_exists(&name).await.unwrap(), "asking created it");
    client.produce(&name, numbered(0)).await.unwrap();
    client.delete_log(&name).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!other.log_exists(&name).await.unwrap(), "whoever deleted it created it");
    client.produce(&name, numbered(1)).await.unwrap();
    other.delete_log(&name).await.unwrap();
    // Longer than metadata lives, so that the writer asks for what it knows.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!other.log_exists(&name).await.unwrap(), "nobody writes, and it is there again");
    client.produce(&name, numbered(2)).await.unwrap();
    assert!(other.log_exists(&name).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_given_up_is_forgotten_and_may_come_again() {
    let broker = Broker::any();
    let (client, other) = (broker.client().await, broker.client().await);
    let name = log(&other, "given-up", 1).await;
    client.produce(&name, numbered(0)).await.unwrap();
    other.delete_log(&name).await.unwrap();
    let given_up = client.produce(&name, numbered(1)).await;
    assert!(matches!(given_up, Err(ProduceError::NotSent { .. })), "{given_up:?}");
    let unknown = client.produce(&name, numbered(2)).await;
    assert!(matches!(unknown, Err(ProduceError::UnknownLog { .. })), "{unknown:?}");
    other.create_log(&name).await.unwrap();
    assert_eq!(client.produce(&name, numbered(3)).await.unwrap().offset, LogOffset::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_patience_with_a_log_that_is_not_there_begins_with_what_waits_for_it() {
    /// How long a log that was there may be missing.
    const PATIENCE: Duration = Duration::from_secs(3);
    let broker = Broker::any();
    let mut config = broker.config();
    (config.producer.delivery_timeout, config.request_timeout) = (Duration::from_secs(1), Duration::from_secs(1));
    let other = broker.client().await;
    let mut asked = 0;
    for _ in 0..10 {
        let client = config.clone().connect().await.unwrap();
        let name = log(&other, "patience", 1).await;
        client.produce(&name, numbered(0)).await.unwrap();
        other.delete_log(&name).await.unwrap();
        let first = client.produce(&name, numbered(1)).await;
        tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
        let begun = Instant::now();
        let second = client.produce(&name, numbered(2)).await.unwrap_err();
        // On a machine that stands still meanwhile, the patience may end first.
        if !matches!(first, Err(ProduceError::Expired { .. })) || begun.elapsed() >= PATIENCE {
            continue;
        }
        assert!(matches!(second, ProduceError::Expired { .. }), "it was over when the record came: {second}");
        asked += 1;
        if asked == 3 {
            break;
        }
    }
    assert!(asked > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_handler_fails_comes_again_and_those_before_it_can_be_committed() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = log(&client, "handler", 1).await;
    let manual = ConsumerConfig { auto_commit: false, start: StartAt::Latest, ..Default::default() };
    let group = unique("manual");
    let mut consumer = UnifiedConsumer::with_config(client.clone(), &name, &group, manual).unwrap();
    assert_eq!(consumer.consume_some(10, |_| Ok(())).await.unwrap(), 0);
    client.produce_batch(&name, (0..10).map(numbered)).await.unwrap();
    let mut seen = Vec::new();
    let mut fails = true;
    while seen.len() < 11 {
        let handled = consumer.consume_some(100, |record| {
            seen.push(record.offset.0);
            if record.offset.0 == 5 && std::mem::take(&mut fails) {
                return Err(PyralogError::handler("not now"));
            }
            Ok(())
        });
        if let Err(error) = handled.await {
            assert_eq!(error.to_string(), "not now");
            consumer.commit().await.unwrap();
            let tracker = PartitionCommitTracker::load(client.clone(), &name, &group).await.unwrap();
            assert_eq!(tracker.resume_from_commits(), [(0, LogOffset::new(5))], "what was handled");
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_log_is_read_and_not_written_until_it_is_resumed() {
    let Some(broker) = Broker::pyralog() else { return };
    let mut config = broker.config();
    config.producer.delivery_timeout = Duration::from_millis(500);
    let (client, impatient) = (broker.client().await, config.connect().await.unwrap());
    let name = log(&client, "paused", 1).await;
    client.produce(&name, numbered(0)).await.unwrap();
    client.pause_log(&name).await.unwrap();
    let refused = impatient.produce(&name, numbered(1)).await;
    assert!(matches!(refused, Err(ProduceError::Expired { .. })), "{refused:?}");
    assert_eq!(client.consume(&name, LogOffset::ZERO, 10).await.unwrap().len(), 1);
    client.resume_log(&name).await.unwrap();
    assert_eq!(client.produce(&name, numbered(2)).await.unwrap().offset, LogOffset::new(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_above_the_limit_of_the_log_are_split() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = unique("small-batches");
    let config = LogConfig { partition_count: 1, ..Default::default() }.with("max.message.bytes", "10000");
    client.create_log_with_config(&name, config).await.unwrap();
    let record = |n: u8| Record::new(None, vec![n; 1000]);
    let appended = client.produce_batch(&name, (0..100).map(record)).await.unwrap();
    assert!(appended.iter().map(|at| at.offset.0).eq(0..100));
    let read = client.consume(&name, LogOffset::ZERO, 1000).await.unwrap();
    assert!(read.iter().map(|record| record.value[0]).eq(0..100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_does_not_wait_for_what_comes_later() {
    let broker = Broker::any();
    let client = broker.client().await;
    let name = log(&client, "busy", 2).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (client, name) = (client.clone(), name.clone());
        let record = Record::from("without a pause");
        writers.spawn(async move { while client.enqueue(&name, record.clone()).await.is_ok() {} });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let delivery = client.enqueue(&name, Record::from("before")).await.unwrap();
        tokio::time::timeout(LONG, client.flush()).await.expect("it waits for the others");
        let delivered = tokio::time::timeout(Duration::ZERO, delivery).await;
        delivered.expect("flush is over").unwrap();
    }
    assert!(writers.try_join_next().is_none(), "they go on");
    writers.shutdown().await;
}
