//! Clients that are closed, dropped, or left behind by their runtime: nothing waits for ever.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Broker, LONG, unique};
use pyralog_client::{LogConfig, LogUpdate, ProduceError, Record, VlsnClient};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_log_appears_after_the_client_was_closed_fails() {
    let broker = Broker::any();
    loop {
        let client = broker.client().await;
        let name = unique("later");
        let writing = tokio::spawn({
            let (client, name) = (client.clone(), name.clone());
            async move { client.produce(&name, Record::from("late")).await }
        });
        tokio::time::sleep(Duration::from_millis(300)).await;
        client.close().await;
        broker.client().await.create_log(&name).await.unwrap();
        let written = timeout(LONG, writing).await.unwrap().unwrap();
        timeout(LONG, client.flush()).await.unwrap();
        if matches!(written, Err(ProduceError::UnknownLog { .. })) {
            continue; // it appeared too late to be written to
        }
        return assert_eq!(written, Err(ProduceError::ClientClosed));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dropped_vlsn_writer_took_is_written_though_the_partition_count_changes() {
    let Some(broker) = Broker::pyralog() else { return };
    let client = broker.client().await;
    let name = unique("dropped");
    let config = LogConfig { partition_count: 2, ..Default::default() }.with("vlsn.enable", "true");
    client.create_log_with_config(&name, config).await.unwrap();
    let log = VlsnClient::open(client.clone(), &name).await.unwrap();
    log.write_batch(["a", "b", "c", "d"]).await.unwrap();
    broker.client().await.update_log_config(&name, LogUpdate::new().partition_count(5)).await.unwrap();
    let mut deliveries = Vec::new();
    for n in 0..20 {
        deliveries.push(log.enqueue(format!("{n}")).await.unwrap());
    }
    drop(log);
    for (vlsn, delivery) in (4..).zip(deliveries) {
        assert_eq!(timeout(LONG, delivery).await.unwrap(), Ok(vlsn));
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_client_whose_runtime_has_ended_writes_no_more() {
    let Some(broker) = Broker::pyralog() else { return };
    let name = unique("left");
    let (client, plain, log, unsent, unsent_vlsn) = runtime().block_on(async {
        let client = broker.client().await;
        let config = LogConfig::default().with("vlsn.enable", "true");
        client.create_log_with_config(&name, config).await.unwrap();
        let log = VlsnClient::open(client.clone(), &name).await.unwrap();
        log.write("there").await.unwrap();
        let plain = common::log(&client, "left", 1).await;
        client.produce(&plain, Record::from("there")).await.unwrap();
        let unsent = client.enqueue(&plain, Record::from("left behind")).await.unwrap();
        let unsent_vlsn = log.enqueue("left behind").await.unwrap();
        (client, plain, log, unsent, unsent_vlsn)
    });
    runtime().block_on(async {
        assert_eq!(timeout(LONG, unsent).await.unwrap(), Err(ProduceError::ClientClosed));
        assert!(timeout(LONG, unsent_vlsn).await.unwrap().is_err());
        let written = timeout(LONG, client.produce(&plain, Record::from("more"))).await.unwrap();
        assert_eq!(written, Err(ProduceError::ClientClosed));
        assert!(timeout(LONG, log.write("more")).await.unwrap().is_err());
        timeout(LONG, log.flush()).await.unwrap();
        timeout(LONG, client.flush()).await.unwrap();
    });
}
