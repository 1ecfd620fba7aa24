//! The log that a path names, and what is said of one that cannot be served.

use std::sync::Arc;

use pyralog_node::topology::{LogEntry, Topology};
use pyralog_node::vlsn::{VlsnError, VlsnLog};
use pyralog_protocol::{ErrorCode, LogId};

use super::problem::{Kind, Problem};
use super::request::bad;
use crate::disk::RealDisk;
use crate::shell::Shell;

/// A log of that name, or why there is none.
pub fn entry<'t>(topology: &'t Topology<RealDisk>, name: &str) -> Result<&'t Arc<LogEntry<RealDisk>>, Problem> {
    LogId::new(name).map_err(|error| bad("log", format!("{name:.300?} is no name of a log: {error}")))?;
    topology
        .by_name(name)
        .ok_or_else(|| Problem::new(Kind::UnknownLog, format!("there is no log {name}")).with("log", name))
}

/// The VLSN log of that name, or why it is none.
pub fn vlsn_log<'t>(topology: &'t Topology<RealDisk>, name: &str) -> Result<VlsnLog<'t, RealDisk>, Problem> {
    let entry = entry(topology, name)?;
    if let Some(log) = entry.log.view_of.and_then(|id| topology.by_id(id)) {
        let log = log.log.metadata.log_id.as_str();
        let detail = format!("{name} is the view of log {log}, for Kafka clients; ask for /v1/logs/{log}/vlsn");
        return Err(Problem::new(Kind::View, detail).with("log", log));
    }
    topology.vlsn_log(entry).ok_or_else(|| {
        let detail = format!(
            "log {name} is not addressed by VLSN; that is decided when a log is created, with the config vlsn.enable=true"
        );
        Problem::new(Kind::NotVlsnLog, detail).with("log", name)
    })
}

/// What is said of a log that could not be read.
pub fn unread(shell: &Shell, name: &str, error: &VlsnError) -> Problem {
    let mut out = shell.outputs();
    shell.node.note_unread(name, error, shell.clock.now(), &mut out);
    shell.dispatch(out);
    if error.code() == ErrorCode::UnknownTopicOrPartition {
        return Problem::new(Kind::UnknownLog, format!("log {name} was deleted meanwhile")).with("log", name);
    }
    Problem::new(Kind::Unavailable, format!("log {name} cannot be read: {error}")).with("log", name)
}
