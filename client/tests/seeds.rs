//! The examples of the documents that Pyralog began with, in their own words, against the real binary. Where the shape of a
//! call had to change, a comment says why.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use common::{Broker, unique};
use obelisk::{BitmapMmap, FixedMmap, ObeliskSequencer, OpenError, PeriodicCheckpoint, PersistentAtomic};
use pyralog_client::{
    CommitStrategy, ConsumerConfig, EpochOffset, LogConfig, LogId, LogOffset, LogUpdate, PartitionCommitTracker,
    PyralogClient, PyralogError, Record, Result, ResumePosition, RetentionConfig, StartAt, TenantClient,
    UnifiedConsumer, VlsnClient, VlsnCommitTracker,
};

#[tokio::test(flavor = "multi_thread")]
async fn core_concepts_complete_log_setup() -> Result<()> {
    let broker = Broker::any();
    let client = PyralogClient::connect(broker.address()).await?;

    // 1. Create log
    let log_id = &unique("user-events");
    client
        .create_log_with_config(
            log_id,
            LogConfig {
                partition_count: 10,
                // The document has 3; a single node has room for one copy.
                replication_factor: 1,
                retention: RetentionConfig::Time(Duration::from_secs(7 * 24 * 3600)), // there is no Duration::from_days
                min_in_sync_replicas: 1,
                // No partitioning_mode: a log has the partitions that it is given, and more with update_log_config. None is
                // split or removed by itself, since keys would change their place, and their order with it.
                ..Default::default()
            },
        )
        .await?;

    // 2. Write to log
    for i in 0..1000 {
        client
            .produce(
                log_id,
                Record::new(Some(format!("user-{}", i % 100).into_bytes()), format!("event-{i}").into_bytes()),
            )
            .await?;
    }

    // 3. Read from log
    let records = client.consume(log_id, LogOffset::ZERO, 100).await?;
    println!("Read {} records", records.len());
    assert_eq!(records.len(), 100);

    // 4. Get log stats
    let metadata = client.get_log_metadata(log_id).await?;
    println!("Log has {} partitions", metadata.partition_count);
    assert_eq!(metadata.partition_count, 10);
    // An Option: Kafka does not tell.
    println!("Created: {:?}", metadata.created_at);
    println!("Retention: {:?}", metadata.retention_config);

    // 5. Monitor log
    let stats = client.get_log_stats(log_id).await?;
    println!("Total records: {}", stats.record_count);
    println!("Total size: {} bytes", stats.size_bytes);
    println!("Write rate: {} records/sec", stats.write_rate);
    assert_eq!(stats.record_count, 1000);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn core_concepts_log_life_cycle_and_discovery() -> Result<()> {
    let broker = Broker::any();
    let client = PyralogClient::connect(broker.address()).await?;
    // Names are checked, so that it can fail.
    let log_id = LogId::new(&unique("production.user.events"))?;
    client.create_log(&log_id).await?;
    if client.log_exists(&log_id).await? {
        println!("Log exists!");
    }
    let logs = client.list_logs().await?;
    for log in &logs {
        println!("Log: {}", log.log_id);
        println!("  Partitions: {}", log.partition_count);
        println!("  Replication: {}", log.replication_factor);
    }
    assert!(logs.iter().any(|log| log.log_id == log_id));
    let retention = RetentionConfig::Size(10_000_000_000); // 10GB
    client.update_log_config(&log_id, LogUpdate::new().retention(retention)).await?;
    assert_eq!(client.get_log_metadata(&log_id).await?.retention_config, retention);

    let record = Record::new(Some(b"user-123".to_vec()), b"login event".to_vec());
    client.produce_to_log(log_id.clone(), record).await?;
    let record = Record::new(Some(b"user-123".to_vec()), b"login event".to_vec())
        .with_header("source", "web-app")
        .with_header("version", "1.0")
        .with_timestamp(SystemTime::now());
    client.produce(&log_id, record).await?;
    let minimal = Record::new(None, b"Hello, Pyralog!".to_vec());
    client.produce(&log_id, minimal).await?;
    let records = client.consume(&log_id, LogOffset::ZERO, 1000).await?;
    assert_eq!(records.len(), 3);
    let EpochOffset { epoch, offset } = records[0].position();
    println!("Epoch {epoch}, Offset {offset}");
    let records = client.consume_from_partition(&log_id, 0, LogOffset::ZERO, 1000).await?;
    assert!(records.len() <= 3);

    // Apache Kafka cannot pause logs.
    if std::env::var_os("PYRALOG_TEST_KAFKA").is_none() {
        client.pause_log(&log_id).await?;
        assert_eq!(client.consume(&log_id, LogOffset::ZERO, 1000).await?.len(), 3);
        client.resume_log(&log_id).await?;
    }
    client.delete_log(&log_id).await?;
    assert!(!client.log_exists(&log_id).await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn core_concepts_tenants_in_keys_and_in_logs() -> Result<()> {
    let broker = Broker::any();
    let client = PyralogClient::connect(broker.address()).await?;
    let tenant_id = "acme-corp";
    // Pattern 1: Log per tenant
    let log_id = LogId::new(&unique(&format!("tenant.{tenant_id}.events")))?;
    client.create_log(&log_id).await?;
    client.produce(&log_id, Record::new(None, b"event".to_vec())).await?;
    // Pattern 2: Shared log with key-based isolation
    let log_id = LogId::new(&unique("multi-tenant-events"))?;
    client.create_log(&log_id).await?;
    let record = Record::new(
        Some(format!("{tenant_id}:user-123").into_bytes()), // Key includes tenant
        b"event data".to_vec(),
    );
    client.produce(log_id, record).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_1_hash_based_partitioning() -> Result<()> {
    let broker = Broker::any();
    let client = PyralogClient::connect(broker.address()).await?;
    let events = &common::log(&client, "events", 4).await;

    // All events for user-123 go to same partition
    let login = client
        .produce(
            events,
            Record::new(
                Some(b"user-123".to_vec()), // Key determines partition
                b"login".to_vec(),
            ),
        )
        .await?;
    let purchase = client
        .produce(
            events,
            Record::new(
                Some(b"user-123".to_vec()), // Same partition
                b"purchase".to_vec(),
            ),
        )
        .await?;
    assert_eq!((purchase.partition, purchase.offset.0), (login.partition, login.offset.0 + 1));
    Ok(())
}

/// The document's own implementation, which any Kafka-like log can carry. [`VlsnClient`] is what became of it.
struct VLSNClient {
    client: PyralogClient,
    vlsn_counter: AtomicU64,
    partition_count: u32,
}

impl VLSNClient {
    fn new(client: PyralogClient, partition_count: u32) -> Self {
        Self { client, vlsn_counter: AtomicU64::new(0), partition_count }
    }

    async fn write(&self, log_id: LogId, value: Vec<u8>) -> Result<u64> {
        let vlsn = self.vlsn_counter.fetch_add(1, Ordering::SeqCst);
        let partition = (vlsn % u64::from(self.partition_count)).try_into().unwrap();

        let record = Record::new(Some(vlsn.to_be_bytes().to_vec()), value);

        self.client.produce_to_partition(log_id, partition, record).await?;
        Ok(vlsn)
    }

    async fn read(&self, log_id: LogId, vlsn: u64) -> Result<Record> {
        let partition = (vlsn % u64::from(self.partition_count)).try_into().unwrap();

        let records = self.client.consume_from_partition(log_id, partition, LogOffset::ZERO, 1000).await?;

        records
            .into_iter()
            // Record::vlsn is the document's parsing of the key.
            .find(|r| r.vlsn() == Some(vlsn))
            .ok_or(PyralogError::RecordNotFound)
    }

    async fn read_range(&self, log_id: LogId, start: u64, end: u64) -> Result<Vec<Record>> {
        let mut results = Vec::new();
        for vlsn in start..end {
            if let Ok(record) = self.read(log_id.clone(), vlsn).await {
                results.push(record);
            }
        }
        Ok(results) // Already in VLSN order!
    }
}

async fn vlsn_log(client: &PyralogClient, stem: &str, partition_count: u32) -> Result<LogId> {
    let log_id = LogId::new(&unique(stem))?;
    let config = LogConfig { partition_count, ..Default::default() }.with("vlsn.enable", "true");
    client.create_log_with_config(&log_id, config).await?;
    Ok(log_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_2_vlsn_by_the_documents_client_and_by_ours() -> Result<()> {
    let Some(broker) = Broker::pyralog() else { return Ok(()) };
    let client = PyralogClient::connect(broker.address()).await?;
    let log_id = vlsn_log(&client, "events", 3).await?;
    let theirs = VLSNClient::new(client.clone(), 3);
    for n in 0..10 {
        assert_eq!(theirs.write(log_id.clone(), format!("value {n}").into_bytes()).await?, n);
    }
    assert_eq!(theirs.read(log_id.clone(), 7).await?.value, "value 7");
    assert!(theirs.read(log_id.clone(), 10).await.is_err());
    let range = theirs.read_range(log_id.clone(), 2, 6).await?;
    assert_eq!(range.iter().map(|r| r.vlsn().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 5]);

    // Ours belongs to a log, knows its partitions, and goes on after what is there.
    let ours = VlsnClient::open(client.clone(), &log_id).await?;
    assert_eq!(ours.write(b"value 10".to_vec()).await?, 10);
    assert_eq!(ours.read(7).await?.record(7)?.value, "value 7");
    assert_eq!(ours.read_range(2, 6).await?.records.len(), 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_3_hierarchical_keys() -> Result<()> {
    let broker = Broker::any();
    let client = PyralogClient::connect(broker.address()).await?;
    let log_id = common::log(&client, "multi_tenant_log", 4).await;
    // The document's TenantClient begins at 0 after every start; this one reads where each tenant is.
    let tenants = Arc::new(TenantClient::open(client, &log_id).await?);
    let mut writers = tokio::task::JoinSet::new();
    for tenant_id in ["acme", "globex"] {
        let tenants = tenants.clone();
        writers.spawn(async move {
            for n in 0..20 {
                let seq = tenants.write(tenant_id, format!("{tenant_id} {n}").into_bytes()).await.unwrap();
                assert_eq!(seq, n);
            }
        });
    }
    writers.join_all().await;
    let read = tenants.read("acme", ..).await?;
    assert!(
        read.iter()
            .map(|(seq, record)| (*seq, record.value.to_vec()))
            .eq((0..20).map(|n| (n, format!("acme {n}").into_bytes())))
    );
    Ok(())
}

/// The document has a writer for each strategy; here one takes its VLSNs from any of them. What `open` makes is closed and opened
/// again.
async fn persistence<C: PersistentAtomic + 'static>(open: impl Fn(&Path) -> Result<C, OpenError>) -> Result<()> {
    let Some(broker) = Broker::pyralog() else { return Ok(()) };
    let client = PyralogClient::connect(broker.address()).await?;
    let log_id = vlsn_log(&client, "events", 3).await?;
    let folder = std::env::temp_dir().join(unique("pyralog-seeds"));
    std::fs::create_dir(&folder).unwrap();
    let counter_file_path = folder.join("vlsn");
    for start in [0, 2] {
        let counter = open(&counter_file_path).unwrap();
        let sequencer = VlsnClient::builder(client.clone(), &log_id).obelisk(counter).open().await?;
        assert_eq!(sequencer.write(b"one".to_vec()).await?, start);
        assert_eq!(sequencer.write(b"two".to_vec()).await?, start + 1);
    }
    std::fs::remove_dir_all(folder).unwrap();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn persistence_1_periodic_checkpoint() -> Result<()> {
    persistence(|path| PeriodicCheckpoint::open(path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn persistence_2_obelisk_sequencer() -> Result<()> {
    persistence(|path| ObeliskSequencer::open(path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn persistence_3_fixed_mmap() -> Result<()> {
    persistence(|path| FixedMmap::open(path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn persistence_4_bitmap_mmap() -> Result<()> {
    // The document's has a byte for each of 1,000,000,000 VLSNs.
    persistence(|path| BitmapMmap::open(path, 1_000_000)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_1_per_partition() -> Result<()> {
    let broker = Broker::any();
    let client = PyralogClient::connect(broker.address()).await?;
    let log_id = common::log(&client, "events", 3).await;
    let mut tracker = PartitionCommitTracker::load(client.clone(), &log_id, unique("analytics")).await?;
    for (partition, offset) in [(0, 1000), (1, 2500), (2, 890)] {
        tracker.commit(partition, LogOffset::new(offset)).await?;
    }
    let resumed: Vec<(u32, LogOffset)> = tracker.resume_from_commits();
    assert_eq!(resumed, [(0, LogOffset::new(1000)), (1, LogOffset::new(2500)), (2, LogOffset::new(890))]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_2_by_vlsn() -> Result<()> {
    let Some(broker) = Broker::pyralog() else { return Ok(()) };
    let client = PyralogClient::connect(broker.address()).await?;
    let log_id = vlsn_log(&client, "events", 3).await?;
    let tracker = VlsnCommitTracker::load(client.clone(), &log_id, "analytics-1").await?;
    tracker.commit(5000).await?;
    // Resume: Start from VLSN 5001 -> partition = 5001 % 3
    let ResumePosition { vlsn, partition } = tracker.resume_from_commit().await?;
    assert_eq!((vlsn, u64::from(partition)), (5001, 5001 % 3));
    Ok(())
}

/// Stops a consumer that would otherwise go on for ever, as the document's do.
fn enough<T>(result: Result<T>) -> Result<()> {
    match result {
        Err(PyralogError::Handler(error)) if error.to_string() == "enough" => Ok(()),
        Err(other) => Err(other),
        Ok(_) => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_unified_consumer() -> Result<()> {
    let Some(broker) = Broker::pyralog() else { return Ok(()) };
    let client = PyralogClient::connect(broker.address()).await?;
    let events = vlsn_log(&client, "events", 10).await?;
    let log = VlsnClient::open(client.clone(), &events).await?;
    log.write_batch((0..50).map(|n| format!("event {n}"))).await?;

    // Per-Partition (Kafka-style)
    let mut consumer =
        UnifiedConsumer::new(client.clone(), &events, unique("analytics-1"), CommitStrategy::PerPartition)?;
    let mut count = 0;
    enough(
        consumer
            .consume(|record| {
                println!("Processing: {record:?}");
                count += 1;
                if count == 50 { Err(PyralogError::handler("enough")) } else { Ok(()) }
            })
            .await,
    )?;

    // VLSN (Simplified)
    let mut consumer =
        UnifiedConsumer::new(client.clone(), &events, "analytics-1", CommitStrategy::VLSN { partition_count: 10 })?;
    let mut next = 0;
    enough(
        consumer
            .consume(|record| {
                // Keys are `Bytes`, so the document's try_into() needs a slice.
                let vlsn = u64::from_be_bytes(record.key.as_deref().unwrap().try_into().unwrap());
                println!("Processing VLSN {vlsn}");
                assert_eq!(vlsn, next, "one order over all partitions");
                next += 1;
                if next == 50 { Err(PyralogError::handler("enough")) } else { Ok(()) }
            })
            .await,
    )?;
    assert_eq!((count, next), (50, 50));
    Ok(())
}

#[test]
fn best_practices_consumers_in_toml() {
    let text = r#"
        [consumer.analytics]
        # Per-partition (Kafka-style)
        commit_strategy = "per_partition"
        auto_commit_interval_ms = 5000

        [consumer.sequencer]
        # VLSN (simplified)
        commit_strategy = "vlsn"
        partition_count = 10
        auto_commit = true
    "#;
    let analytics = ConsumerConfig::from_toml(text, "analytics").unwrap();
    assert_eq!(analytics.commit_strategy, CommitStrategy::PerPartition);
    assert_eq!((analytics.auto_commit_interval, analytics.start), (Duration::from_secs(5), StartAt::Earliest));
    let sequencer = ConsumerConfig::from_toml(text, "sequencer").unwrap();
    assert_eq!(sequencer.commit_strategy, CommitStrategy::VLSN { partition_count: 10 });
    assert!(sequencer.auto_commit);
}

#[tokio::test(flavor = "multi_thread")]
async fn best_practices_batches_of_vlsns() -> Result<()> {
    let Some(broker) = Broker::pyralog() else { return Ok(()) };
    let client = PyralogClient::connect(broker.address()).await?;
    let log_id = vlsn_log(&client, "events", 3).await?;
    let log = VlsnClient::open(client, &log_id).await?;
    // The document pushes (partition, vlsn, record) into a batch; partition and VLSN are the client's business here.
    let mut batch = Vec::new();
    for i in 0..1000 {
        batch.push(Record::from(format!("record {i}")));
    }
    assert_eq!(log.write_batch(batch).await?, (0..1000).collect::<Vec<_>>());
    Ok(())
}
