//! What can end a run, in words for the person at the terminal.

use std::io;

use pyralog_protocol::ErrorCode;

/// Why a benchmark could not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No connection.
    #[error("cannot connect to {address}: {error}; is a broker listening there (--bootstrap HOST:PORT)?")]
    Connect {
        /// Where to.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The address does not name a host.
    #[error("{address} is no address: {error}; give --bootstrap HOST:PORT")]
    Address {
        /// What was given.
        address: String,
        /// What the resolver says.
        error: io::Error,
    },
    /// A connection broke while it was in use.
    #[error("the connection to {address} broke: {error}")]
    Broken {
        /// The peer.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The peer closed a connection.
    #[error(
        "{address} closed the connection, {unanswered} requests were unanswered; its log says why (a request over \
         socket.request.max.bytes?)"
    )]
    Closed {
        /// The peer.
        address: String,
        /// Requests that were sent and not answered.
        unanswered: usize,
    },
    /// An answer that is not one.
    #[error("the answer to {what} cannot be read: {detail}")]
    Malformed {
        /// The request.
        what: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// A request that cannot be built.
    #[error("the request {what} cannot be built: {detail}")]
    Request {
        /// The request.
        what: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The broker speaks no version of an API that this tool speaks too.
    #[error("the broker answers {api} in versions {theirs}, this tool needs one of {ours}")]
    Versions {
        /// The API.
        api: &'static str,
        /// Theirs, or "none".
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// The broker refused what prepares the run.
    #[error("{what}: {}{}", code_name(*code), hint(*code))]
    Refused {
        /// What was asked.
        what: String,
        /// The answer.
        code: i16,
    },
    /// The topic is not there.
    #[error("topic {topic} does not exist on {address}; --create-partitions 8 creates it")]
    NoTopic {
        /// Its name.
        topic: String,
        /// The broker.
        address: String,
    },
    /// The topic is there with another partition count than was asked for.
    #[error(
        "topic {topic} has {found} partitions, --create-partitions says {asked}: leave that out or choose another topic"
    )]
    Partitions {
        /// Its name.
        topic: String,
        /// What it has.
        found: usize,
        /// What was asked for.
        asked: u32,
    },
    /// Some partitions got no leader.
    #[error("partition {topic}-{partition} has no leader after {seconds} s")]
    NoLeader {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// How long it was waited for.
        seconds: u64,
    },
    /// There is nothing to fetch.
    #[error("topic {topic} is empty; fill it with `pyralog bench produce --topic {topic}`")]
    Empty {
        /// Its name.
        topic: String,
    },
    /// Requests were answered with errors.
    #[error("{errors} requests were answered with an error ({most}){}; --max-errors allows {allowed}", hint(*code))]
    Errors {
        /// How many.
        errors: u64,
        /// The most frequent one.
        most: String,
        /// Its code.
        code: i16,
        /// How many are allowed.
        allowed: u64,
    },
    /// Options that contradict each other.
    #[error("{0}")]
    Options(String),
    /// Something of the system.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        error: io::Error,
    },
    /// A worker thread ended by a panic, which is a bug.
    #[error("a thread of the load generator panicked")]
    Panicked,
}

/// Kafka's name of a code, or its number.
pub fn code_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error code {code}"), |known| known.name().to_owned())
}

/// What to do about the codes that a benchmark meets.
const HINTS: [(ErrorCode, &str); 4] = [
    (ErrorCode::MessageTooLarge, " (smaller batches, or --topic-config max.message.bytes=BYTES)"),
    (ErrorCode::UnknownTopicOrPartition, " (was the topic deleted meanwhile?)"),
    (ErrorCode::InvalidRecord, " (a compacted topic needs keys: --keys N)"),
    (ErrorCode::KafkaStorageError, " (the broker's log names the disk's error)"),
];

fn hint(code: i16) -> &'static str {
    HINTS.iter().find(|(known, _)| known.code() == code).map_or("", |(_, hint)| hint)
}
