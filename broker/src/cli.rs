//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use pyralog_bench::BenchCommand;

use crate::commands::ClientCommand;
use crate::offline::StorageCommand;

/// A Kafka-compatible log broker with client-managed sequence numbers.
#[derive(Debug, Parser)]
#[command(name = "pyralog", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker. Without arguments: one node on 127.0.0.1:9092, HTTP on 127.0.0.1:8080, data in ./pyralog-data
    Server(ServerArgs),
    /// List the broker configs that can be given with --set, with their defaults
    Configs,
    /// Ask a running server whether it serves: exit code 0 if it does, 1 if not
    Health(HealthArgs),
    /// Look at the files of a data folder that no broker uses: check them, or show what is in them
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Put load on a broker and measure it: this one, or any that speaks the Kafka protocol
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Talk to a broker.
    #[command(flatten)]
    Client(ClientCommand),
    /// Print a script that completes these commands in a shell: bash, zsh or fish
    Completion(CompletionArgs),
}

/// Flags of `pyralog completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    pub shell: Shell,
}

/// Shells that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash, with bash-completion.
    Bash,
    /// The Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// The script that completes our commands in a shell.
pub fn completion(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pyralog", &mut script);
    script
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object per line.
    Json,
}

/// Flags of `pyralog server`. Each may also stand in the environment or in the file; the flag wins, then the
/// environment, then the file, then the default.
#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    /// Address for Kafka clients; port 0 picks a free one [default: 127.0.0.1:9092] [env: PYRALOG_KAFKA_LISTEN]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_listen: Option<String>,
    /// Address for health, metrics and HTTP; port 0 picks a free one [default: 127.0.0.1:8080] [env: PYRALOG_HTTP_LISTEN]
    #[arg(long, value_name = "HOST:PORT")]
    pub http_listen: Option<String>,
    /// Address that clients are told to connect to; by default the one that each of them came in on [env: PYRALOG_ADVERTISE]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Folder for all data [default: ./pyralog-data] [env: PYRALOG_DATA]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Configuration file; ./pyralog.toml is read when it exists [env: PYRALOG_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A broker config by Kafka's name, such as num.partitions=4; may be repeated. In the environment:
    /// PYRALOG_NUM_PARTITIONS=4
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Form of the log lines on stderr [default: human] [env: PYRALOG_LOG_FORMAT]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or per module [default: info] [env: PYRALOG_LOG]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
}

/// Flags of `pyralog health`.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// HTTP address of the server [default: 127.0.0.1:8080] [env: PYRALOG_HTTP_LISTEN]
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scripts_for_shells_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(completion(shell)).unwrap();
            for word in ["produce", "describe", "if-not-exists", "server"] {
                assert!(script.contains(word), "{shell:?} knows nothing of {word}");
            }
        }
    }
}
