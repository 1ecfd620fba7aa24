//! The command line for people: commands that ask a broker over the Kafka protocol, this one or any other that speaks it.
//!
//! Holds: a command knows the broker only through the SDK, nothing here sees the insides of a server; each ends with an exit
//! code of [`failure::Exit`]. Whoever adds a command adds a module beside these, a variant to [`ClientCommand`], and a
//! section to `docs/CLI.md`.

mod config;
mod consume;
mod failure;
mod group;
mod lines;
mod log;
mod node;
mod output;
mod produce;
mod record;
mod target;
mod values;
mod vlsn;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Subcommand;

use failure::{Exit, Failure};

/// Commands that talk to a broker.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// List, create, change, pause and delete logs (what Kafka calls topics)
    #[command(subcommand)]
    Log(log::LogCommand),
    /// List, describe, reset and delete groups of consumers
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Show and change configs of logs, nodes, groups and client metrics
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show nodes
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Write and read logs that are addressed by VLSN, and commit by VLSN
    #[command(subcommand)]
    Vlsn(vlsn::VlsnCommand),
    /// Take numbers from durable counters
    #[command(subcommand)]
    Sequencer(vlsn::SequencerCommand),
    /// Write records: one per line of the standard input
    Produce(produce::ProduceArgs),
    /// Read records, and print one per line
    Consume(consume::ConsumeArgs),
}

/// Runs a command to its end.
pub fn run(command: ClientCommand) -> ExitCode {
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(command));
            // A thread may still wait for a line of the input, which nobody needs any more.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::other(format!("the runtime does not start: {error}"))),
    };
    end(outcome)
}

/// Prints what needs no broker.
pub fn print_all(bytes: &[u8]) -> ExitCode {
    end(output::print_bytes(bytes))
}

fn end(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Said(exit, text)) => {
            eprintln!("pyralog: {text}");
            ExitCode::from(exit as u8)
        }
    }
}

async fn dispatch(command: ClientCommand) -> Result<(), Failure> {
    match command {
        ClientCommand::Log(command) => log::run(command).await,
        ClientCommand::Group(command) => group::run(command).await,
        ClientCommand::Config(command) => config::run(command).await,
        ClientCommand::Node(command) => node::run(command).await,
        ClientCommand::Vlsn(command) => vlsn::run(command).await,
        ClientCommand::Sequencer(command) => vlsn::run_sequencer(command).await,
        ClientCommand::Produce(args) => produce::run(args).await,
        ClientCommand::Consume(args) => consume::run(args).await,
    }
}

/// Asks before something is destroyed, where there is somebody to ask.
fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(());
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match read.map(|_| answer.trim().to_ascii_lowercase()) {
        Ok(answer) if answer == "y" || answer == "yes" => Ok(()),
        Ok(_) | Err(_) => {
            Err(Failure::Said(Exit::Declined, "nothing was done; --yes does it without asking".to_owned()))
        }
    }
}
