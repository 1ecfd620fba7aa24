//! How a broker stops: in order, and without making its clients wait.

use std::process::Command;
use std::time::Duration;

use pyralog_compat_tests::broker::binary;
use pyralog_compat_tests::calls::Fetch;
use pyralog_compat_tests::{Batch, Broker, BrokerOptions};

#[test]
fn a_stop_answers_a_long_poll_and_loses_nothing() {
    let mut broker = Broker::start(BrokerOptions::new());
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("stopping", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 3).encode());
    let poll = Fetch::at(&name, 0, 3).wait(600_000, 1);
    let poller = std::thread::spawn(move || conn.fetch(&poll));
    std::thread::sleep(Duration::from_millis(300));
    broker.terminate();
    let answer = poller.join().expect("the poll is answered, not cut off");
    assert_eq!((answer.error_code, answer.high_watermark), (0, 3));
    broker.restart();
    assert_eq!(broker.connect().read(&name, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
}

fn epoch_of(broker: &Broker, log: &str) -> serde_json::Value {
    let address = broker.kafka();
    let output = Command::new(binary())
        .args(["log", "describe", log, "--json", "--bootstrap", address])
        .output()
        .expect("describe");
    let described: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    described["partitions"][0]["epoch"].clone()
}

#[test]
fn io_10_a_partition_that_is_offline_since_the_start_does_not_make_a_stop_unclean() {
    let mut broker = Broker::start(BrokerOptions::new());
    let mut conn = broker.connect();
    let [(good, _), (bad, _)] = ["good", "bad"].map(|name| conn.new_topic(name, 1, &[]));
    for name in [&good, &bad] {
        conn.append(name, 0, &Batch::of("a", 3).encode());
    }
    let epoch = epoch_of(&broker, &good);
    assert!(epoch.is_number(), "{epoch}");
    broker.terminate();
    let meta = broker.folder().join("logs").join(format!("{bad}-0")).join("partition.meta");
    let whole = std::fs::read(&meta).expect("partition.meta");
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    std::fs::write(&meta, damaged).expect("write");
    for _ in 0..4 {
        broker.restart();
        assert_eq!(broker.metric("kafka_server_offline_partition_count"), 1.0);
        assert_eq!(epoch_of(&broker, &good), epoch, "nobody has to be told of a new leadership");
        // With exit code 0.
        broker.terminate();
    }
    std::fs::write(&meta, whole).expect("write");
    broker.restart();
    assert_eq!(broker.connect().read(&bad, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
}
