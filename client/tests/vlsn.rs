//! VLSN logs through the SDK, against the real binary.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

mod common;

use std::time::Duration;

use common::{Broker, LONG, unique};
use pyralog_client::{
    ClientConfig, Codec, CommitStrategy, ConsumerConfig, LogConfig, LogOffset, LogUpdate, ProducerConfig,
    PyralogClient, PyralogError, Record, ResumePosition, UnifiedConsumer, VlsnClient, VlsnCommitTracker, VlsnError,
    VlsnRead,
};
use tokio::time::timeout;

/// A new VLSN log.
async fn vlsn_log(client: &PyralogClient, stem: &str, partition_count: u32) -> String {
    let name = unique(stem);
    let config = LogConfig { partition_count, ..Default::default() }.with("vlsn.enable", "true");
    client.create_log_with_config(&name, config).await.unwrap();
    name
}

fn value(vlsn: u64) -> Vec<u8> {
    format!("value-{vlsn}").into_bytes()
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.vlsn().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_by_vlsn() {
    for broker in Broker::both_ways() {
        let client = broker.client().await;
        let name = vlsn_log(&client, "ledger", 3).await;
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        assert_eq!(log.last_vlsn().await.unwrap(), None);
        assert_eq!(log.read(0).await.unwrap(), VlsnRead::NotYet);
        for n in 0..10 {
            assert_eq!(log.write(value(n)).await.unwrap(), n);
        }
        assert_eq!(log.write(Record::from("headed").with_header("origin", "kiosk")).await.unwrap(), 10);
        assert_eq!(log.last_vlsn().await.unwrap(), Some(10));
        for n in 0..10 {
            let record = log.read(n).await.unwrap().record(n).unwrap();
            assert_eq!((record.value.to_vec(), record.vlsn(), u64::from(record.partition)), (value(n), Some(n), n % 3));
        }
        let headed = log.read(10).await.unwrap().record(10).unwrap();
        assert_eq!(headed.header("origin"), Some(&b"kiosk"[..]));
        let page = log.read_range(2, 7).await.unwrap();
        assert_eq!((numbers(&page.records), page.next), (vec![2, 3, 4, 5, 6], 7));
        let all = log.read_range(0, u64::MAX).await.unwrap();
        assert_eq!((numbers(&all.records), all.next), ((0..=10).collect(), 11));
        assert_eq!((all.gaps, all.trimmed), (vec![], vec![]));
        let missing = log.read(11).await.unwrap().record(11).unwrap_err();
        assert_eq!(missing.to_string(), "there is no record at VLSN 11: nobody wrote it so far");
        // Another handle goes on where this one is.
        drop(log);
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        assert_eq!(log.write(value(11)).await.unwrap(), 11);
        assert_eq!(log.read(u64::MAX).await.unwrap(), VlsnRead::NotYet);
        let beyond = log.write_at(1 << 63, value(0)).await;
        assert_eq!(beyond, Err(VlsnError::TooLarge { vlsn: 1 << 63 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writes_are_on_their_way_and_keep_their_order_in_every_codec() {
    let Some(broker) = Broker::pyralog() else { return };
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut config = broker.config();
        config.producer = ProducerConfig { codec, batch_bytes: 2000, ..Default::default() };
        let client = config.connect().await.unwrap();
        let name = vlsn_log(&client, "codec", 4).await;
        let log = VlsnClient::open(client, &name).await.unwrap();
        let vlsns = log.write_batch((0..3000).map(value)).await.unwrap();
        assert_eq!(vlsns, (0..3000).collect::<Vec<_>>());
        let page = log.read_range(0, 3000).await.unwrap();
        assert_eq!((numbers(&page.records), page.next), (vlsns, 3000), "{codec}");
        assert!(page.records.iter().all(|record| record.value == value(record.vlsn().unwrap())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_handle_share_one_order() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = vlsn_log(&client, "shared", 4).await;
    let log = VlsnClient::open(client, &name).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let log = log.clone();
        writers.spawn(async move {
            for n in 0..200 {
                log.write(format!("{writer}/{n}")).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let page = log.read_range(0, 2000).await.unwrap();
    assert_eq!(numbers(&page.records), (0..1600).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_is_made_by_one_of_those_who_race_for_it() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = vlsn_log(&client, "race", 2).await;
    let counts = (0..4).map(|writer| {
        let (client, name) = (client.clone(), name.clone());
        tokio::spawn(async move {
            let log = VlsnClient::open(client, &name).await.unwrap();
            let (mut next, mut last, mut won) = (0, None, Vec::new());
            while next < 100 {
                // Partition 0 only: its VLSNs are 0, 2, 4, ...
                match log.write_if(next, last, format!("{writer} wrote {next}")).await {
                    Ok(vlsn) => {
                        won.push(vlsn);
                        last = Some(vlsn);
                    }
                    Err(VlsnError::Unexpected { last: Some(found), partition: 0, .. }) => last = Some(found),
                    Err(other) => panic!("{other}"),
                }
                next = last.map_or(0, |last| last + 2);
            }
            (writer, won)
        })
    });
    let log = VlsnClient::open(client.clone(), &name).await.unwrap();
    let mut all = Vec::new();
    for count in counts.collect::<Vec<_>>() {
        let (writer, won) = count.await.unwrap();
        for vlsn in &won {
            let record = log.read(*vlsn).await.unwrap().record(*vlsn);
            let place = log.read(*vlsn).await.unwrap();
            assert_eq!(record.unwrap().value, format!("{writer} wrote {vlsn}"), "{place:?}");
        }
        all.extend(won);
    }
    all.sort_unstable();
    assert_eq!(all, (0..100).step_by(2).collect::<Vec<_>>(), "each was written by one of them");

    // An ordinary write behind it goes on, and so do conditions of the only writer.
    log.resume().await.unwrap();
    assert_eq!(log.write("unconditional").await, Ok(99));
    assert_eq!(log.write_if(100, Some(98), "conditional").await, Ok(100));
    assert_eq!(log.write_if(100, Some(98), "conditional").await, Ok(100), "the same again");
    let alone = VlsnClient::builder(client, &name).exclusive().open().await.unwrap();
    let fenced = log.write_if(102, Some(100), "late").await;
    assert!(matches!(fenced, Err(VlsnError::Fenced { .. })), "{fenced:?}");
    let behind = alone.write_if(102, Some(98), "behind").await.unwrap_err();
    assert!(behind.to_string().ends_with("partition 0 ends at 100, 98 was expected"), "{behind}");
    assert_eq!(alone.write_if(102, Some(100), "alone").await, Ok(102));
    assert_eq!(alone.write_if(102, Some(100), "alone").await, Ok(102), "the same again");
    assert!(alone.write_if(102, Some(100), "something else").await.is_err());
    assert_eq!(alone.write_if(1 << 63, None, "").await, Err(VlsnError::TooLarge { vlsn: 1 << 63 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn others_that_write_keep_nobody_waiting() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = vlsn_log(&client, "busy", 2).await;
    let log = VlsnClient::open(client, &name).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let log = log.clone();
        writers.spawn(async move { while log.enqueue("without a pause").await.is_ok() {} });
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let delivery = log.enqueue("before").await.unwrap();
        let vlsn = delivery.vlsn();
        timeout(LONG, log.flush()).await.expect("flush waits for the others");
        assert_eq!(timeout(Duration::ZERO, delivery).await, Ok(Ok(vlsn)), "flush is over");
        let resumed = timeout(LONG, log.resume()).await.expect("resume waits for the others");
        assert!(resumed.unwrap().last >= Some(vlsn));
        let refused = timeout(LONG, log.write_if(0, None, "late")).await.expect("write_if waits for the others");
        assert!(matches!(refused, Err(VlsnError::Unexpected { .. })), "{refused:?}");
    }
    assert!(writers.try_join_next().is_none(), "they go on");
    writers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_four() {
    for broker in Broker::both_ways() {
        let client = broker.client().await;
        let name = vlsn_log(&client, "outcomes", 2).await;
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        for vlsn in [0, 1, 2, 3, 4, 10, 11, 12, 13] {
            log.write_at(vlsn, value(vlsn)).await.unwrap();
        }
        assert!(log.read(3).await.unwrap().is_found());
        assert_eq!(log.read(7).await.unwrap(), VlsnRead::Gap);
        assert_eq!(log.read(14).await.unwrap(), VlsnRead::NotYet);
        let page = log.read_range(2, 20).await.unwrap();
        assert_eq!((numbers(&page.records), page.gaps, page.next), (vec![2, 3, 4, 10, 11, 12, 13], vec![5..10], 14));
        // A gap stays one, and what is there is there.
        assert_eq!(log.write_at(12, value(12)).await, Ok(12));
        assert_eq!(
            log.write_at(6, value(6)).await,
            Err(VlsnError::Gap { log: log.log_id().clone(), vlsn: 6, last: 12 })
        );
        assert_eq!(log.write(value(14)).await, Ok(14), "neither of them stopped the log");
        // The even partition loses its first two records.
        client.delete_records(&name, [(0, LogOffset::new(2))]).await.unwrap();
        let trimmed = log.read(2).await.unwrap();
        assert_eq!(trimmed, VlsnRead::Trimmed);
        assert!(log.read(3).await.unwrap().is_found());
        let page = log.read_range(0, 15).await.unwrap();
        assert_eq!(numbers(&page.records), [1, 3, 4, 10, 11, 12, 13, 14]);
        assert_eq!((page.trimmed, page.gaps), (vec![0..1, 2..3], vec![5..10]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_until_its_vlsn_is_decided() {
    for broker in Broker::both_ways() {
        let client = broker.client().await;
        let name = vlsn_log(&client, "waits", 2).await;
        let log = VlsnClient::open(client, &name).await.unwrap();
        assert_eq!(log.wait(0, Duration::from_millis(50)).await.unwrap(), VlsnRead::NotYet);
        let (found, gap, ()) = tokio::join!(log.wait(3, LONG), log.wait(2, LONG), async {
            for vlsn in [0, 1, 4, 3, 5] {
                tokio::time::sleep(Duration::from_millis(30)).await;
                log.write_at(vlsn, value(vlsn)).await.unwrap();
            }
        });
        assert_eq!(found.unwrap().record(3).unwrap().value, value(3));
        assert_eq!(gap.unwrap(), VlsnRead::Gap);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_follows_a_change_of_the_partition_count() {
    for broker in Broker::both_ways() {
        let client = broker.client().await;
        let name = vlsn_log(&client, "grows", 2).await;
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        let writer = {
            let log = log.clone();
            tokio::spawn(async move {
                let mut deliveries = Vec::new();
                for n in 0..4000 {
                    deliveries.push(log.enqueue(value(n)).await.unwrap());
                    if n % 50 == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                for delivery in deliveries {
                    delivery.await.unwrap();
                }
            })
        };
        for count in [3, 5] {
            tokio::time::sleep(Duration::from_millis(120)).await;
            client.update_log_config(&name, LogUpdate::new().partition_count(count)).await.unwrap();
        }
        tokio::time::timeout(3 * LONG, writer).await.unwrap().unwrap();
        let page = log.read_range(0, 5000).await.unwrap();
        assert_eq!((numbers(&page.records), page.gaps), ((0..4000).collect(), vec![]));
        assert!(page.records.iter().all(|record| record.value == value(record.vlsn().unwrap())));
        assert_eq!(log.standing().await.unwrap().partition_count(), 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_out_before_partitions_were_added_is_written_after_it() {
    for broker in Broker::both_ways() {
        let client = broker.client().await;
        let name = vlsn_log(&client, "late", 2).await;
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        for vlsn in [0, 2, 4] {
            log.write_at(vlsn, value(vlsn)).await.unwrap();
        }
        broker.client().await.update_log_config(&name, LogUpdate::new().partition_count(3)).await.unwrap();
        // From 5 on there are three partitions; what is below belongs to one of two for good.
        for vlsn in [5, 1, 3, 6] {
            assert_eq!(log.write_at(vlsn, value(vlsn)).await, Ok(vlsn));
        }
        let page = log.read_range(0, 10).await.unwrap();
        assert_eq!((numbers(&page.records), page.gaps), ((0..7).collect(), vec![]));
        let partitions: Vec<u32> = page.records.iter().map(|record| record.partition).collect();
        assert_eq!(partitions, [0, 1, 0, 1, 0, 2, 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_says_what_is_missing_and_sending_again_does_no_harm() {
    for broker in Broker::both_ways() {
        let client = broker.client().await;
        let name = vlsn_log(&client, "resume", 3).await;
        {
            // A writer that died while VLSN 4 was on its way.
            let log = VlsnClient::open(client.clone(), &name).await.unwrap();
            for vlsn in [0, 1, 2, 3, 5, 6] {
                log.write_at(vlsn, value(vlsn)).await.unwrap();
            }
        }
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        let standing = log.resume().await.unwrap();
        assert_eq!(
            (standing.undecided, standing.last, standing.partitions.clone()),
            (4, Some(6), vec![Some(6), Some(1), Some(5)])
        );
        assert_eq!(standing.missing().collect::<Vec<_>>(), [4]);
        for vlsn in 0..10 {
            assert_eq!(log.write_at(vlsn, value(vlsn)).await, Ok(vlsn));
        }
        let page = log.read_range(0, 20).await.unwrap();
        assert_eq!((numbers(&page.records), page.gaps), ((0..10).collect(), vec![]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_nothing_behind_it_is_written_until_somebody_resumes() {
    let Some(mut broker) = Broker::killable() else { return };
    let mut config = broker.config();
    config.producer.delivery_timeout = Duration::from_secs(3);
    config.request_timeout = Duration::from_secs(2);
    let client = config.connect().await.unwrap();
    let name = vlsn_log(&client, "strict", 2).await;
    let log = VlsnClient::open(client, &name).await.unwrap();
    log.write_batch((0..10).map(value)).await.unwrap();
    broker.kill9();
    // Until the client has seen that: what it sends then does not leave, so that no VLSN is in doubt.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first = log.enqueue(value(10)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let second = log.enqueue(value(11)).await.unwrap();
    assert!(matches!(first.await, Err(VlsnError::Produce(_))));
    let because = second.await.unwrap_err();
    assert!(matches!(because, VlsnError::Stopped { vlsn: 10, .. }), "{because}");
    let stopped = log.write(value(11)).await.unwrap_err();
    assert!(matches!(stopped, VlsnError::Stopped { vlsn: 10, .. }), "{stopped}");
    broker.start();
    assert!(matches!(log.write(value(11)).await, Err(VlsnError::Stopped { .. })), "not before somebody looked");
    assert_eq!(log.resume().await.unwrap().last, Some(9));
    // Connections that failed rest for a moment, which is longer than this writer has patience.
    while let Err(error) = log.write(value(10)).await {
        assert!(matches!(error, VlsnError::Produce(_)), "{error}");
        assert_eq!(log.resume().await.unwrap().last, Some(9));
    }
    assert_eq!(numbers(&log.read_range(0, 100).await.unwrap().records), (0..11).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_outlasts_a_writer_leaves_no_gap() {
    let Some(broker) = Broker::pyralog() else { return };
    let mut config = broker.config();
    config.producer.delivery_timeout = Duration::from_secs(3);
    let client = config.connect().await.unwrap();
    let name = vlsn_log(&client, "paused", 1).await;
    let log = VlsnClient::open(client.clone(), &name).await.unwrap();
    assert_eq!(log.write(value(0)).await, Ok(0));
    client.pause_log(&name).await.unwrap();
    let refused = log.write(value(1)).await.unwrap_err().to_string();
    assert!(refused.contains("is paused") && !refused.contains("may be there"), "{refused}");
    client.resume_log(&name).await.unwrap();
    log.resume().await.unwrap();
    assert_eq!(log.write(value(1)).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_commits_one_number_and_goes_on_behind_it() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = vlsn_log(&client, "commits", 3).await;
    let log = VlsnClient::open(client.clone(), &name).await.unwrap();
    log.write_batch((0..100).map(value)).await.unwrap();
    let tracker = VlsnCommitTracker::load(client.clone(), &name, "analytics-1").await.unwrap();
    assert_eq!(tracker.committed().await.unwrap(), None);
    assert_eq!(tracker.resume_from_commit().await.unwrap(), ResumePosition { vlsn: 0, partition: 0 });
    tracker.commit(50).await.unwrap();
    tracker.commit(50).await.unwrap();
    let back = tracker.commit(40).await.unwrap_err();
    assert!(matches!(back, VlsnError::CommittedBeyond { vlsn: 40, committed: 50, .. }), "{back}");
    tracker.force_commit(40).await.unwrap();
    assert_eq!(tracker.resume_from_commit().await.unwrap(), ResumePosition { vlsn: 41, partition: 41 % 3 });
    assert_eq!(tracker.lag().await.unwrap(), Some(59));

    let seen = std::cell::RefCell::new(Vec::new());
    let take = |record: Record| {
        let vlsn = record.vlsn().unwrap();
        assert_eq!((u64::from(record.partition), record.value.to_vec()), (vlsn % 3, value(vlsn)));
        seen.borrow_mut().push(vlsn);
        Ok(())
    };
    let strategy = CommitStrategy::VLSN { partition_count: 3 };
    let mut consumer = UnifiedConsumer::new(client.clone(), &name, "analytics-1", strategy).unwrap();
    assert_eq!(consumer.consume_some(20, take).await.unwrap(), 20);
    consumer.commit().await.unwrap();
    drop(consumer);
    // A handler that fails: what it has seen is committed, the rest comes again.
    let mut consumer = UnifiedConsumer::new(client.clone(), &name, "analytics-1", strategy).unwrap();
    let failed = consumer
        .consume(|record| if record.vlsn() == Some(80) { Err(PyralogError::handler("enough")) } else { take(record) })
        .await;
    assert_eq!(failed.unwrap_err().to_string(), "enough");
    assert_eq!(tracker.committed().await.unwrap(), Some(79));
    let text = "[consumer.sequencer]\ncommit_strategy = \"vlsn\"\npartition_count = 3\nauto_commit = false";
    let config = ConsumerConfig::from_toml(text, "sequencer").unwrap();
    let mut consumer = UnifiedConsumer::with_config(client.clone(), &name, "analytics-1", config).unwrap();
    while seen.borrow().len() < 59 {
        consumer.consume_some(1000, take).await.unwrap();
    }
    assert_eq!(*seen.borrow(), (41..100).collect::<Vec<_>>());
    assert_eq!(tracker.committed().await.unwrap(), Some(79), "commits are the caller's business here");
    tracker.forget().await.unwrap();
    assert_eq!(tracker.committed().await.unwrap(), None);
    let ten = CommitStrategy::VLSN { partition_count: 10 };
    let mut consumer = UnifiedConsumer::new(client.clone(), &name, "analytics-2", ten).unwrap();
    let error = consumer.consume_some(1, |_| Ok(())).await.unwrap_err();
    assert!(error.to_string().contains("never had 10 partitions, it has 3"), "{error}");
    let nowhere = VlsnCommitTracker::load(client, unique("nowhere"), "analytics-1").await.unwrap_err();
    assert!(matches!(nowhere, VlsnError::UnknownLog { .. }), "{nowhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_come_from_a_sequencer_or_from_this_machines_disk() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = vlsn_log(&client, "counted", 2).await;
    let sequencer = unique("numbers");
    assert_eq!(client.sequencer_position(&sequencer).await.unwrap(), None);
    assert_eq!(client.reserve(&sequencer, 5).await.unwrap(), 0..5);
    let log = VlsnClient::builder(client.clone(), &name).sequencer(&sequencer, 10).open().await.unwrap();
    assert_eq!(log.write_batch((0..12).map(value)).await.unwrap(), (5..17).collect::<Vec<_>>());
    assert_eq!(client.sequencer_position(&sequencer).await.unwrap(), Some(25));
    drop(log);
    let folder = std::env::temp_dir().join(unique("pyralog-counter"));
    std::fs::create_dir(&folder).unwrap();
    let counter = || obelisk::ObeliskSequencer::open(folder.join("numbers")).unwrap();
    let log = VlsnClient::builder(client.clone(), &name).obelisk(counter()).open().await.unwrap();
    assert_eq!(log.write(value(17)).await.unwrap(), 17, "a counter that knows less than the log catches up");
    assert_eq!(log.write(value(18)).await.unwrap(), 18);
    drop(log);
    let log = VlsnClient::open(client, &name).await.unwrap();
    let all = log.read_range(0, 19).await.unwrap();
    assert_eq!((numbers(&all.records), all.gaps), ((5..19).collect(), vec![0..5]), "what was reserved only is a gap");
    std::fs::remove_dir_all(folder).unwrap();
}

async fn log_of(client: &PyralogClient, name: &str) -> Vec<u64> {
    let log = VlsnClient::open(client.clone(), name).await.unwrap();
    numbers(&log.read_range(0, u64::MAX).await.unwrap().records)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_takes_the_log_fences_all_others() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = vlsn_log(&client, "fenced", 2).await;
    let open = VlsnClient::open(client.clone(), &name).await.unwrap();
    open.write(value(0)).await.unwrap();
    let first = VlsnClient::builder(client.clone(), &name).exclusive().open().await.unwrap();
    first.write_batch((1..10).map(value)).await.unwrap();
    let fenced = open.write(value(10)).await.unwrap_err();
    assert!(matches!(fenced, VlsnError::Fenced { .. }), "{fenced}");
    let second = VlsnClient::builder(client.clone(), &name).exclusive().open().await.unwrap();
    assert!(second.writer_epoch() > first.writer_epoch());
    second.write(value(10)).await.unwrap();
    let fenced = first.write(value(11)).await.unwrap_err();
    assert!(matches!(fenced, VlsnError::Fenced { .. }), "{fenced}");
    second.release_writer().await.unwrap();
    open.resume().await.unwrap();
    assert_eq!(open.write(value(11)).await.unwrap(), 11);
    assert_eq!(log_of(&client, &name).await, (0..12).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_gave_the_log_up_asks_where_it_ends() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = vlsn_log(&client, "released", 1).await;
    let alone = VlsnClient::builder(client.clone(), &name).exclusive().open().await.unwrap();
    assert_eq!(alone.write_if(0, None, value(0)).await, Ok(0));
    assert!(alone.writer_epoch().is_some());
    alone.release_writer().await.unwrap();
    assert_eq!(alone.writer_epoch(), None);
    let open = VlsnClient::open(client, &name).await.unwrap();
    assert_eq!(open.write(value(1)).await, Ok(1));
    let late = alone.write_if(2, Some(0), "without having seen 1").await;
    assert!(matches!(late, Err(VlsnError::Unexpected { last: Some(1), .. })), "{late:?}");
    assert_eq!(alone.write_if(2, Some(1), value(2)).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_have_no_vlsns_are_told_so() {
    for broker in Broker::both_ways() {
        let client = broker.client().await;
        let name = common::log(&client, "plain", 1).await;
        let refused = VlsnClient::open(client.clone(), &name).await.unwrap_err();
        assert!(matches!(refused, VlsnError::NotVlsn { .. }), "{refused}");
        let unknown = VlsnClient::open(client.clone(), unique("nowhere")).await.unwrap_err();
        assert!(matches!(unknown, VlsnError::UnknownLog { .. }), "{unknown}");
        // A log that goes while somebody writes.
        let name = vlsn_log(&client, "gone", 1).await;
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        log.write("there").await.unwrap();
        client.delete_log(&name).await.unwrap();
        assert!(log.write("gone").await.is_err());
        assert!(log.read(0).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vlsn_writer_creates_no_log() {
    let Some(broker) = Broker::pyralog() else { return };
    let config = ClientConfig { auto_create_logs: true, ..broker.config() };
    let client = config.connect().await.unwrap();
    let name = vlsn_log(&client, "deleted", 1).await;
    let log = VlsnClient::open(client, &name).await.unwrap();
    log.write("there").await.unwrap();
    let other = broker.client().await;
    other.delete_log(&name).await.unwrap();
    let gone = log.write("gone").await;
    assert!(gone.is_err(), "it was written to a log without VLSNs: {gone:?}");
    assert!(!other.log_exists(&name).await.unwrap());
}
