//! The binary `pyralog`: the shell around the node. Sockets, threads, files, time and randomness are here and nowhere
//! else; how anything is decided is not.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "the shell is where these belong")]

mod appending;
mod cleaning;
mod cli;
mod clock;
mod commands;
mod control;
mod courtesy;
mod deadlines;
mod disk;
mod folder;
mod health;
mod http;
mod intake;
mod journaling;
mod lanes;
mod listener;
mod log_lines;
mod logging;
mod mailbox;
mod metrics;
mod offline;
mod opening;
mod outgoing;
mod outlet;
mod owed;
mod progress;
mod reading;
mod removal;
mod request_memory;
mod room;
mod scrubbing;
mod server;
mod session;
mod settings;
mod shell;
mod sockets;
mod start;
mod syncer;
mod traffic;
mod upkeep;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Server(args) => server::run(args),
        cli::Command::Configs => {
            server::print_configs();
            Ok(())
        }
        cli::Command::Health(args) => health::check(&health::address(args.http)),
        cli::Command::Client(command) => return commands::run(command),
        cli::Command::Completion(args) => return commands::print_all(&cli::completion(args.shell)),
        cli::Command::Storage(command) => offline::run(command),
        cli::Command::Bench(command) => pyralog_bench::run(&command).map_err(|error| error.to_string()),
    };
    if let Err(error) = &outcome {
        logging::tell(error);
    }
    logging::flush();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
