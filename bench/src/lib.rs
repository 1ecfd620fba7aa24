//! The load generator: `pyralog bench produce | fetch | latency`, and what the comparison with other brokers is made with.
//!
//! Holds: it speaks the Kafka protocol over plain sockets to any broker from Kafka 2.1 on, and knows nothing of the
//! broker's insides. It is cheap, because it shares the machine with what it measures: requests are prepared, answers are
//! looked at as little as it takes to notice every error. Latencies of an open loop count from when a request was due.
//! Deliberately absent: TLS, SASL, transactions, and every judgement of what is measured.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "clocks, sockets and threads are what it is made of"
)]

mod admin;
mod args;
mod collect;
mod commands;
mod engine;
mod error;
mod fetch;
mod frames;
mod payload;
mod process;
mod produce;
mod reader;
mod report;
mod run;
mod schedule;
mod tally;
mod vlsn;

pub use args::{Acks, BenchCommand, Common, CompressionType, FetchArgs, LatencyArgs, ProduceArgs, VlsnArgs, VlsnWork};
pub use error::BenchError;
pub use fetch::AtEnd;

/// Runs a command to its end and prints what it found.
pub fn run(command: &BenchCommand) -> Result<(), BenchError> {
    let (common, outcome) = match command {
        BenchCommand::Produce(args) => (&args.common, commands::produce(args)),
        BenchCommand::Fetch(args) => (&args.common, commands::fetch(args)),
        BenchCommand::Latency(args) => (&args.common, commands::latency(args)),
        BenchCommand::Vlsn(args) => (&args.common, commands::vlsn(args)),
    };
    run::clean_up(common, outcome)
}
