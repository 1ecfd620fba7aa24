//! Partitions that cannot be read, and those that come later.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Broker, log, unique};
use pyralog_client::{
    ClientConfig, CommitStrategy, ConsumeError, GroupReset, LogError, LogId, LogOffset, PartitionCommitTracker,
    PyralogClient, Record, StartAt, UnifiedConsumer,
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
    let config = ClientConfig { call_timeout: Duration::from_millis(700), ..broker.config() };
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
