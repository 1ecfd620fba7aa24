//! The broker of one scenario: a process of its own on a port that stays the same over a restart, or one that runs elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Conn, batch};
pub use pyralog_compat_tests::{now_ms, unique};

use crate::client::Record;

pub struct Target {
    address: String,
    own: Option<Broker>,
}

impl Target {
    pub fn start() -> Self {
        if let Some(address) = std::env::var("PYRALOG_TEST_BOOTSTRAP").ok().filter(|v| !v.is_empty()) {
            return Self { address, own: None };
        }
        let options = BrokerOptions::new().set("num.partitions", "4").set("group.initial.rebalance.delay.ms", "0");
        let broker = Broker::start(options.keep_port());
        Self { address: broker.kafka().to_owned(), own: Some(broker) }
    }

    pub fn bootstrap(&self) -> &str {
        &self.address
    }

    pub fn create(&self, topic: &str, partitions: i32, configs: &BTreeMap<&str, String>) {
        let configs: Vec<(&str, &str)> = configs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Conn::connect(&self.address).create_topic(topic, partitions, &configs);
    }

    /// Another broker may stand at the given address.
    pub fn has_vlsn_logs(&self) -> bool {
        self.own.is_some()
    }

    /// Appends records, one batch for each partition.
    pub fn append(&self, topic: &str, records: &[Record]) {
        let mut conn = Conn::connect(&self.address);
        for partition in records.iter().map(|record| record.partition).collect::<BTreeSet<_>>() {
            let of_it = records.iter().filter(|record| record.partition == partition);
            let plain = |record: &Record| batch::Record {
                key: record.key.clone().map(String::into_bytes),
                ..batch::Record::of(record.value.as_deref().unwrap_or_default())
            };
            conn.append(topic, partition, &Batch::new(of_it.map(plain).collect()).encode());
        }
    }

    pub fn can_restart(&self) -> bool {
        self.own.is_some()
    }

    /// kill -9, then a start on the same folder and port.
    pub fn restart(&mut self) {
        if let Some(broker) = &mut self.own {
            broker.kill9();
            broker.restart();
        }
    }
}
