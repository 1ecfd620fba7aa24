//! Tests that see Pyralog as a client does: the real binary, real sockets, bytes on the wire.
//!
//! Holds: nothing here depends on another crate of this workspace, so a test cannot share a mistake with the broker.
//! Every wait ends ([`conn::PATIENCE`]), so no test hangs. What a broker answers is compared with what Apache Kafka
//! answered to the same test:
//!
//! * `cargo test -p pyralog-compat-tests` runs the binary `pyralog` of the target folder (`PYRALOG_BIN` names another);
//!   it never builds it.
//! * `PYRALOG_TEST_BOOTSTRAP=host:port` runs all tests that need no broker of their own against that one;
//!   `PYRALOG_TEST_KAFKA=1` says that it is Apache Kafka, and the tests then expect Kafka's answer where ours differs
//!   on purpose.
//!
//! A test that cannot run prints a line that begins with `skipped:` and says what it needs.
#![allow(clippy::cast_possible_truncation, reason = "a test that meets a too large number may fail loudly")]

pub mod batch;
pub mod broker;
pub mod calls;
pub mod conn;
pub mod consumers;
pub mod crashing;
pub mod diff;
pub mod draw;
pub mod fields;
pub mod groups;
pub mod hostile;
pub mod http;
pub mod kafka;
pub mod mutate;
pub mod power;
pub mod private;
pub mod trouble;

pub use batch::{Batch, Codec, Record};
pub use broker::{Broker, BrokerOptions, Target, on_kafka, own_brokers, private, shared, skip};
pub use conn::Conn;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

/// A name that no other test, and no earlier run against the same broker, has used.
pub fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:x}-{:x}-{count}", now_ms(), std::process::id())
}

/// Wall clock in milliseconds since 1970, as record timestamps count.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A string as the message types want it.
pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

/// A topic name as the message types want it.
pub fn topic(s: &str) -> TopicName {
    TopicName(text(s))
}

/// Whether a config is Pyralog's own: Kafka does not know it.
pub fn is_our_config(name: &str) -> bool {
    name.starts_with("pyralog.") || name.starts_with("vlsn.")
}

/// The folder of this crate, as cargo says when the test runs: a target folder may serve several checkouts.
pub fn crate_folder() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), Into::into)
}
