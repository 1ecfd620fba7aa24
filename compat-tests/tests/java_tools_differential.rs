//! Apache Kafka's own command-line tools print the same against Pyralog as against Apache Kafka. What they run and which
//! differences are meant stands in `clients/compare-java-tools`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output};

use pyralog_compat_tests::kafka::Kafka;
use pyralog_compat_tests::{Broker, BrokerOptions, crate_folder, private};

fn compare(broker: &Broker, kafka: &Kafka, words: &[&str]) -> Output {
    let script = crate_folder().join("clients/compare-java-tools");
    Command::new(script).args([broker.kafka(), kafka.address()]).args(words).output().unwrap()
}

#[test]
fn kafkas_own_tools_print_the_same_and_a_difference_is_seen() {
    let options = || BrokerOptions::new().set("group.initial.rebalance.delay.ms", "0");
    let Some(broker) = private(options().set("num.partitions", "4")) else { return };
    let Some(kafka) = Kafka::start() else { return };
    let output = compare(&broker, &kafka, &[]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("commands print the same"), "{printed}");

    // Planted: another default, and a topic too many.
    let Some(other) = private(options().set("num.partitions", "5")) else { return };
    other.connect().new_topic("surplus", 1, &[]);
    for (only, part) in [("brokers --entity-name 1 --all", "num.partitions=5"), ("topics --list", "+surplus")] {
        let output = compare(&other, &kafka, &["--only", only]);
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.code() == Some(1) && printed.contains(part), "{only}: {printed}");
    }
}
