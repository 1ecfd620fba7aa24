//! Partitions that cannot be read, and those that come later.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Broker, LONG, log, unique};
use pyralog_client::{
    ClientConfig, CommitStrategy, ConsumeError, ConsumerConfig, GroupReset, LogError, LogId, LogOffset, LogUpdate,
    PartitionCommitTracker, PyralogClient, Record, StartAt, UnifiedConsumer,
};

fn value(n: u32) -> Record {
    Record::new(None, format!("value {n}").into_bytes())
}

/// A log of three partitions with two records in each, of which partition 1 has been damaged.
async fn damaged() -> Option<(Broker, PyralogClient, String)> {
    let mut broker = Broker::killable()?;
    let client = broker.client().await;
    let name = log(&client, "damaged", 3).await;
    for n in 0..6 {
        client.produce_to_partition(&name, n % 3, value(n)).await.unwrap();
    }
    broker.damage(&name, 1);
    let config = ClientConfig { call_timeout: Duration::from_secs(3), ..broker.config() };
    Some((broker, config.connect().await.unwrap(), name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_partition_keeps_nobody_from_reading_the_others() {
    let Some((_broker, client, name)) = damaged().await else { return };
    let one = client.consume_from_partition(&name, 2, LogOffset::ZERO, 10).await.unwrap();
    assert_eq!(one.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [0, 1]);
    let itself = client.consume_from_partition(&name, 1, LogOffset::ZERO, 10).await;
    assert!(matches!(itself, Err(ConsumeError::Refused { partition: 1, .. })), "{itself:?}");
    let all = client.consume(&name, LogOffset::ZERO, 10).await;
    assert!(matches!(all, Err(ConsumeError::Refused { partition: 1, .. })), "nothing is left out unnoticed: {all:?}");

    let mut reader = client.reader(&name).open().await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 4 {
        let record = reader.next().await.unwrap();
        assert!(seen.insert((record.partition, record.offset.0)), "twice: {record:?}");
    }
    assert_eq!(seen, BTreeSet::from([(0, 0), (0, 1), (2, 0), (2, 1)]));
    let nothing_else = reader.next().await;
    assert!(matches!(nothing_else, Err(ConsumeError::Refused { partition: 1, .. })), "{nothing_else:?}");
    client.produce_to_partition(&name, 2, value(7)).await.unwrap();
    assert_eq!(reader.next().await.unwrap().offset, LogOffset::new(2), "it goes on where it was");

    let mut consumer =
        UnifiedConsumer::new(client.clone(), &name, unique("group"), CommitStrategy::PerPartition).unwrap();
    let mut count = 0;
    while count < 5 {
        count += consumer.consume_some(10, |_| Ok(())).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_partition_is_named_and_the_others_are_described() {
    let Some((_broker, client, name)) = damaged().await else { return };
    let offsets = client.partition_offsets(&name, StartAt::Latest).await.unwrap();
    let known: BTreeMap<u32, i64> = offsets.iter().filter_map(|(p, end)| Some((*p, end.as_ref().ok()?.0))).collect();
    assert_eq!(known, BTreeMap::from([(0, 2), (2, 2)]));
    assert!(matches!(offsets[&1], Err(LogError::RefusedPartition { partition: 1, .. })), "{offsets:?}");
    let all = client.log_offsets(&name, StartAt::Latest).await.unwrap_err();
    assert!(all.to_string().contains("partition 1"), "{all}");
    let stats = client.get_log_stats(&name).await.unwrap();
    assert_eq!((stats.record_count, stats.partitions.len(), stats.unreadable), (4, 2, vec![1]));

    let group = unique("group");
    let mut tracker = PartitionCommitTracker::load(client.clone(), &name, &group).await.unwrap();
    tracker.commit_all([(0, LogOffset::new(1)), (1, LogOffset::new(1))]).await.unwrap();
    let lags: Vec<_> = client.group_positions(&group).await.unwrap().iter().map(|at| at.lag()).collect();
    assert_eq!(lags, [Some(1), None]);
    let log = LogId::new(&name).unwrap();
    let plan = client.plan_group_reset(&group, &[(log.clone(), Some(2))], GroupReset::Latest).await.unwrap();
    assert_eq!(plan.iter().map(|change| (change.partition, change.to.0)).collect::<Vec<_>>(), [(2, 2)]);
    let plan = client.plan_group_reset(&group, &[(log, None)], GroupReset::Latest).await;
    assert!(plan.as_ref().is_err_and(|error| error.to_string().contains("partition 1")), "{plan:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read_from_their_first_record_on() {
    let broker = Broker::any();
    let config = ClientConfig { metadata_max_age: Duration::from_millis(300), ..broker.config() };
    let client = config.connect().await.unwrap();
    let name = log(&client, "grows", 1).await;
    client.produce_to_partition(&name, 0, value(0)).await.unwrap();
    let mut reader = client.reader(&name).start(StartAt::Latest).open().await.unwrap();
    let mut chosen = client.reader(&name).partitions([0]).open().await.unwrap();
    let config = ConsumerConfig { start: StartAt::Latest, ..Default::default() };
    let consumer = |group: &str| UnifiedConsumer::with_config(client.clone(), &name, group, config.clone()).unwrap();
    let group = unique("group");
    let mut running = consumer(&group);
    running.consume_some(10, |_| Ok(())).await.unwrap();

    client.update_log_config(&name, LogUpdate::new().partition_count(3)).await.unwrap();
    let writer = broker.client().await;
    for partition in 0..3 {
        writer.produce_to_partition(&name, partition, value(partition)).await.unwrap();
    }
    let new = BTreeSet::from([(0, 1), (1, 0), (2, 0)]);
    let (mut read, mut consumed) = (BTreeSet::new(), BTreeSet::new());
    let begun = std::time::Instant::now();
    while (read.len() < 3 || consumed.len() < 3) && begun.elapsed() < LONG {
        read.extend(reader.poll(10).await.unwrap().iter().map(|record| (record.partition, record.offset.0)));
        let take = |record: Record| {
            consumed.insert((record.partition, record.offset.0));
            Ok(())
        };
        running.consume_some(10, take).await.unwrap();
    }
    assert_eq!((&read, &consumed), (&new, &new));
    for _ in 0..4 {
        assert!(chosen.poll(10).await.unwrap().iter().all(|record| record.partition == 0));
    }

    // Whoever takes over begins there too, where nothing was committed for want of records.
    client.update_log_config(&name, LogUpdate::new().partition_count(4)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    running.consume_some(10, |_| Ok(())).await.unwrap();
    running.commit().await.unwrap();
    drop(running);
    broker.client().await.produce_to_partition(&name, 3, value(9)).await.unwrap();
    let mut places = Vec::new();
    let mut next = consumer(&group);
    let (begun, mut more) = (std::time::Instant::now(), 3);
    while more > 0 && begun.elapsed() < LONG {
        more -= if places.is_empty() { 0 } else { 1 };
        let take = |record: Record| {
            places.push((record.partition, record.offset.0));
            Ok(())
        };
        next.consume_some(10, take).await.unwrap();
    }
    assert_eq!(places, [(3, 0)]);
}
