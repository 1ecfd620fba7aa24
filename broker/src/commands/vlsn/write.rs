//! `pyralog vlsn write`: each line of the standard input at a VLSN of its own.
//!
//! Holds: a VLSN is printed once its record and all before it are written, in the order of the lines. Lines are read while
//! earlier ones are on their way. A failure says from which line on, and at which VLSN, to go on: whatever of that is there
//! counts as written, so nothing is lost and nothing is there twice.

use std::collections::VecDeque;

use clap::Args;
use pyralog_client::{VlsnClient, VlsnDelivery, VlsnError};
use serde::Serialize;
use tokio::sync::mpsc;

use super::super::failure::{Exit, Failure};
use super::super::lines::{Line, UNACKNOWLEDGED_MAX, read_lines};
use super::super::target::Target;
use super::super::{output, values};

/// Flags of `pyralog vlsn write`.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The log
    pub log: String,
    /// The VLSN of the first line, and the following ones for the others. What is there already counts as written
    #[arg(long, value_name = "VLSN", value_parser = values::vlsn, allow_negative_numbers = true)]
    pub at: Option<u64>,
    /// Print a line of JSON for each record: an object with vlsn
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

#[derive(Serialize)]
struct Written {
    vlsn: u64,
}

/// Runs it.
pub async fn run(args: WriteArgs) -> Result<(), Failure> {
    let log = super::open(&args.target, &args.log).await?;
    let (json, at) = (args.json, args.at);
    let mut run = Run { log, json, at, on_their_way: VecDeque::new(), written: 0, said: String::new() };
    let outcome = run.all(read_lines(b'\n')).await;
    // What is written is said in any case.
    run.say().and(outcome)
}

struct Run {
    log: VlsnClient,
    json: bool,
    /// The VLSN of the next line, where the caller chooses it.
    at: Option<u64>,
    /// Oldest first.
    on_their_way: VecDeque<VlsnDelivery>,
    /// Lines that are written.
    written: u64,
    /// What is to be printed.
    said: String,
}

impl Run {
    async fn all(&mut self, mut lines: mpsc::Receiver<Line>) -> Result<(), Failure> {
        let mut failed = None;
        while failed.is_none() {
            let is_full = self.on_their_way.len() >= UNACKNOWLEDGED_MAX;
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => {
                    failed = Some(Failure::Said(Exit::Interrupted, "interrupted; what is printed is written".to_owned()));
                }
                outcome = next(&mut self.on_their_way), if !self.on_their_way.is_empty() => self.settle(outcome)?,
                // Whatever is acknowledged at once is printed at once.
                () = std::future::ready(()), if !self.said.is_empty() => self.say()?,
                line = lines.recv(), if !is_full => match line {
                    None => break,
                    Some(line) => failed = self.hand_over(line).await.err(),
                }
            }
        }
        while let Some(oldest) = self.on_their_way.front() {
            let vlsn = oldest.vlsn();
            tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => {
                    let text = "interrupted; nothing was heard of it yet".to_owned();
                    return Err(self.unwritten(vlsn, Failure::Said(Exit::Interrupted, text)));
                }
                outcome = next(&mut self.on_their_way) => self.settle(outcome)?,
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn hand_over(&mut self, line: Line) -> Result<(), Failure> {
        let number = self.written + self.on_their_way.len() as u64 + 1;
        let place = |failure: Failure| failure.inside(&format!("line {number} of the input"));
        let line = line.map_err(|what| place(Failure::usage(what)))?;
        let delivery = match self.at {
            Some(vlsn) => self.log.enqueue_at(vlsn, line).await,
            None => self.log.enqueue(line).await,
        };
        self.on_their_way.push_back(delivery.map_err(|error| place(error.into()))?);
        self.at = self.at.map(|vlsn| vlsn.saturating_add(1));
        Ok(())
    }

    fn settle(&mut self, (vlsn, outcome): (u64, Result<u64, VlsnError>)) -> Result<(), Failure> {
        outcome.map_err(|error| self.unwritten(vlsn, error.into()))?;
        self.written += 1;
        let line = if self.json { serde_json::to_string(&Written { vlsn }) } else { Ok(vlsn.to_string()) };
        self.said.push_str(&line.map_err(|error| Failure::other(error.to_string()))?);
        self.said.push('\n');
        Ok(())
    }

    /// Of the first line that is not written, or not known to be.
    fn unwritten(&self, vlsn: u64, why: Failure) -> Failure {
        let (written, line) = (self.written, self.written + 1);
        why.inside(&format!("line {line} of the input")).hint(&format!(
            "\n{written} lines are written. To go on, send line {line} and those behind it again with --at {vlsn}: what is \
             there already counts as written."
        ))
    }

    fn say(&mut self) -> Result<(), Failure> {
        output::print(&std::mem::take(&mut self.said))
    }
}

/// The VLSN of the oldest, and its outcome.
async fn next(on_their_way: &mut VecDeque<VlsnDelivery>) -> (u64, Result<u64, VlsnError>) {
    let Some(oldest) = on_their_way.front_mut() else { return std::future::pending().await };
    let (vlsn, outcome) = (oldest.vlsn(), oldest.await);
    on_their_way.pop_front();
    (vlsn, outcome)
}
