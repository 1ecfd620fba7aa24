//! `pyralog storage`: commands on the files of a data folder that no broker uses, which change nothing, and the request to
//! a running broker to look over its own.
//!
//! What is checked, and how files are read, is in `pyralog_storage::inspect`; here are the folder, the threads and the words.

mod dump;
mod verify;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::folder::DataFolder;

/// Look at the files of a data folder.
#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Check every batch of every segment, indexes, snapshots and the journal. Exit code 0: everything that was acknowledged
    /// is there; 1: something is damaged, or the folder cannot be read
    Verify(VerifyArgs),
    /// Show what is in a partition or in one file: batches, records, index entries, snapshots, rounds of the journal
    Dump(DumpArgs),
    /// Have a running broker look over its old segments now, and show how far it is, as JSON
    Scrub(ScrubArgs),
}

/// Flags of `pyralog storage scrub`.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    /// HTTP address of the broker [PYRALOG_HTTP_LISTEN or 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Only show how far it is
    #[arg(long)]
    pub status: bool,
}

/// Where the data is.
#[derive(Debug, Args)]
pub struct FolderArgs {
    /// Folder of the data
    #[arg(long, value_name = "DIR", env = "PYRALOG_DATA", default_value = "pyralog-data", hide_env_values = true)]
    pub data: PathBuf,
    /// One JSON object per line instead of lines for people
    #[arg(long)]
    pub json: bool,
}

/// Flags of `pyralog storage verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Logs, or single partitions such as orders-3; everything if none is named
    #[arg(value_name = "LOG")]
    pub logs: Vec<String>,
    /// Inflate compressed batches and read every record as well
    #[arg(long)]
    pub records: bool,
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Flags of `pyralog storage dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// A partition such as orders-3, or a file below the data folder such as journal/0.journal, by any path to it
    #[arg(value_name = "PARTITION or FILE")]
    pub target: String,
    /// First offset that is shown
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub from: i64,
    /// Most batches (or rounds of the journal) that are shown
    #[arg(long, value_name = "COUNT", default_value_t = u64::MAX, hide_default_value = true)]
    pub max: u64,
    /// Show the records of each batch
    #[arg(long)]
    pub records: bool,
    /// Look into a folder that a broker uses: the end of a log may be in motion, and files may go meanwhile
    #[arg(long)]
    pub live: bool,
    #[command(flatten)]
    pub folder: FolderArgs,
}

/// Runs one of them.
pub fn run(command: StorageCommand) -> Result<(), String> {
    match command {
        StorageCommand::Verify(args) => {
            let folder = DataFolder::look(&args.folder.data).map_err(|error| error.to_string())?;
            verify::run(&folder, &args)
        }
        StorageCommand::Scrub(args) => scrub(args),
        StorageCommand::Dump(args) => {
            // Held until it is done, so that no broker starts meanwhile.
            let _folder = match args.live {
                true => None,
                false => Some(DataFolder::look(&args.folder.data).map_err(|error| format!("{error} (or use --live)"))?),
            };
            dump::run(&args)
        }
    }
}

/// Bytes of an answer that are looked at.
const ANSWER_BYTES: usize = 64 << 10;

fn scrub(args: ScrubArgs) -> Result<(), String> {
    let address = crate::health::address(args.http);
    let what = if args.status { "GET /storage/scrub" } else { "POST /storage/scrub" };
    let answer = crate::health::request(&address, what, ANSWER_BYTES)
        .map_err(|error| format!("no answer from {address}: {error}; is the server running? (--http)"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or("an empty answer");
    if !status.starts_with("HTTP/1.1 20") {
        return Err(format!("{address} says: {status} {body}"));
    }
    match std::io::stdout().lock().write_all(body.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("stdout: {error}")),
        Ok(()) | Err(_) => Ok(()),
    }
}
