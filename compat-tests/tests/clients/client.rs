//! What a client of the matrix can be asked to do, and how its tools are found.
//!
//! Keys and values are text on purpose: every tool can show text, and the byte-exact cases are tested on raw sockets elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What went wrong, in the client's own words.
pub type Result<T> = std::result::Result<T, String>;

/// One consumer of a client.
pub type Handle = usize;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    /// Set when read.
    pub offset: Option<i64>,
    /// Milliseconds since 1970; `None` when produced: the client's clock.
    pub timestamp: Option<i64>,
    pub key: Option<String>,
    pub value: Option<String>,
    pub headers: Vec<(String, Option<String>)>,
}

#[derive(Clone, Copy, Debug)]
pub enum From {
    Beginning,
    End,
    Offset(i64),
    /// Milliseconds since 1970.
    Timestamp(i64),
}

pub struct Polled {
    pub records: Vec<Record>,
    /// Partitions held at the end of the poll.
    pub assigned: Vec<i32>,
}

/// Codecs by their configuration name.
pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

pub trait Client {
    /// Creates a topic with one replica.
    fn create(&mut self, topic: &str, partitions: i32, configs: &BTreeMap<&str, String>) -> Result<()>;
    fn partitions(&mut self, topic: &str) -> Result<usize>;
    /// Returns once all are acknowledged, with their offsets where the client tells them.
    fn produce(&mut self, topic: &str, codec: &str, records: &[Record]) -> Result<Option<Vec<i64>>>;
    /// Reads one partition without a group; the start position is settled on return.
    fn open(&mut self, topic: &str, partition: i32, from: From) -> Result<Handle>;
    /// Joins a classic group; without a commit it starts at the beginning.
    fn join(&mut self, group: &str, topic: &str) -> Result<Handle>;
    /// Waits for `max` records, or for `wait`.
    fn poll(&mut self, handle: Handle, max: usize, wait: Duration) -> Result<Polled>;
    /// Commits what was polled.
    fn commit(&mut self, handle: Handle) -> Result<()>;
    /// Closes a consumer; a group member leaves.
    fn close(&mut self, handle: Handle) -> Result<()>;
    /// kcat cannot say which timestamp a record shall have, nor create topics.
    fn is_only_a_pipe(&self) -> bool {
        false
    }
}

/// The folder that `clients/setup` fills.
pub fn cache() -> PathBuf {
    match std::env::var_os("PYRALOG_TEST_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pyralog/tools"),
    }
}

pub fn programs() -> PathBuf {
    pyralog_compat_tests::crate_folder().join("clients")
}

/// Whether a tool of `clients/setup` is there; says so when not, and in CI fails.
pub fn has(tool: &str) -> bool {
    let found = match tool {
        "kcat" => on_path("kcat"),
        "java" => on_path("java") && cache().join("java.stamp").exists(),
        other => cache().join(format!("{other}.stamp")).exists(),
    };
    if !found {
        let text = format!("skipped: needs {tool}; install it with compat-tests/clients/setup {tool}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
        eprintln!("{text}");
    }
    found
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}
