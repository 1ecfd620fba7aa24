//! From a locked data folder to a node that can serve: load the coordinator, open all partitions, create what the
//! configuration declares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyralog_coordinator::metadata::{Image, Limits as MetadataLimits};
use pyralog_coordinator::raft::{CoordinatorReplica, ReplicaOptions, RocksOptions, RocksStore};
use pyralog_coordinator::{Command, Context, Coordinator, DeclaredLog, Reply, Token};
use pyralog_node::ControlLoop;
use pyralog_node::control_loop::{Asker, Released};
use pyralog_node::lifecycle::{PartitionSpec, partitions_of};
use pyralog_protocol::{Draw, LogOffset, NodeId};
use pyralog_storage::{Disk, OpenHint, PartitionKey, Replay, Settle};
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::disk::RealDisk;
use crate::folder::DataFolder;
use crate::opening::open_all;
use crate::settings::Settings;
use crate::shell::Shell;

/// Largest change of the control plane, encoded. Above the largest frame, so that no request can build one that is too
/// large to be proposed after it was decided.
const MAX_ENTRY_BYTES: usize = 256 << 20;
/// Starting takes longer than this: tell how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Opens the store with up to `open_files` of its tables open, loads the coordinator and founds the cluster where there is none.
pub fn open_control(
    settings: &Settings,
    folder: &DataFolder,
    open_files: i32,
    (clock, draw): (Clock, Draw),
) -> Result<(ControlLoop<RocksStore>, Arc<Image>), String> {
    let node = node_id(&settings.configs)?;
    let started = pyralog_coordinator::Settings {
        node,
        configs: settings.configs.clone(),
        limits: MetadataLimits::default(),
        log_level: log_level(&settings.log),
    };
    let mut coordinator = Coordinator::new(started)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\npyralog: "))?;
    let options = RocksOptions { open_files, ..RocksOptions::default() };
    let store = RocksStore::open(&folder.coordinator(), &options).map_err(|e| e.to_string())?;
    let id = u64::try_from(node.0).map_err(|_| format!("node.id={node} is negative"))? + 1;
    let options = ReplicaOptions {
        node: id,
        voters: vec![id],
        max_entry_bytes: MAX_ENTRY_BYTES,
        max_uncommitted_bytes: 2 * MAX_ENTRY_BYTES as u64,
        ..ReplicaOptions::default()
    };
    let (replica, records) = CoordinatorReplica::open(store, options).map_err(|e| e.to_string())?;
    coordinator.load(records);
    let mut control = ControlLoop::new(coordinator, replica);
    let released = control.start(draw, clock.now()).map_err(|e| e.to_string())?;
    let image = released.image.unwrap_or_else(|| control.coordinator().image());
    Ok((control, image))
}

/// The general level of a log filter, in Kafka's words.
fn log_level(filter: &str) -> String {
    let general = filter.split(',').find(|part| !part.contains('='));
    general.unwrap_or("info").trim().to_ascii_uppercase()
}

fn node_id(configs: &[(String, String)]) -> Result<NodeId, String> {
    let Some((_, text)) = configs.iter().rev().find(|(name, _)| name == "node.id") else { return Ok(NodeId(1)) };
    text.trim().parse().map(NodeId).map_err(|_| format!("node.id={text} is not a number"))
}

/// Runs a command of our own and waits for its outcome.
pub fn run_own(
    shell: &Shell,
    control: &mut ControlLoop<RocksStore>,
    command: Command,
) -> Result<Option<Reply>, String> {
    control.submit_own(own_context(shell.draw()), command, shell.clock.now());
    let Released { image, replies } = control.turn(shell.clock.now()).map_err(|e| e.to_string())?;
    if let Some(image) = image {
        let mut out = shell.outputs();
        crate::control::install(shell, image, &mut out);
        shell.dispatch(out);
    }
    Ok(replies.into_iter().find_map(|(asker, reply)| matches!(asker, Asker::Shell).then_some(reply)))
}

fn own_context(draw: Draw) -> Context {
    Context { token: Token(0), api_version: 0, client_id: "pyralog".into(), client_host: "/127.0.0.1".into(), draw }
}

/// After an unclean stop: a new generation of every leadership, before anything is served. What a consumer read in the
/// old one and the disk may have lost is told from what takes its place (RL-03, RL-05).
pub fn raise_epochs(control: &mut ControlLoop<RocksStore>, clock: Clock, draw: Draw) -> Result<Arc<Image>, String> {
    control.submit_own(own_context(draw), Command::RaiseEpochs(()), clock.now());
    let released = control.turn(clock.now()).map_err(|e| e.to_string())?;
    Ok(released.image.unwrap_or_else(|| control.coordinator().image()))
}

/// Creates the logs of the configuration file that are not there yet.
pub fn declare_logs(
    shell: &Shell,
    control: &mut ControlLoop<RocksStore>,
    logs: Vec<DeclaredLog>,
) -> Result<(), String> {
    if logs.is_empty() {
        return Ok(());
    }
    match run_own(shell, control, Command::DeclareLogs(logs))? {
        Some(Reply::DeclareLogs(errors)) if !errors.is_empty() => Err(errors.join("\npyralog: ")),
        _ => Ok(()),
    }
}

/// Opens every partition of the image, several at a time, with what the journal has of it, and makes the image visible.
pub fn open_partitions(
    shell: &Shell,
    folder: &DataFolder,
    (image, replay): (Arc<Image>, &Replay<RealDisk>),
    threads: usize,
) {
    report_orphans(&shell.disk, &image);
    let specs = partitions_of(&image);
    let hints = Hints { clean: folder.was_clean, points: folder.recovery_points() };
    let started = Instant::now();
    let hint = |spec: &PartitionSpec| {
        let recovery_point = hints.points.get(&spec.key()).copied().unwrap_or_default();
        let key = PartitionKey { topic: spec.log.metadata.topic_id, index: spec.index };
        (OpenHint { clean: hints.clean, recovery_point, settle: Settle::Unproven }, replay.of(key))
    };
    let opened = open_all(shell, &specs, threads, hint, |open, number| {
        match &open.outcome {
            Ok(report) => tell_recovery(&open.partition.dir, report),
            Err(reason) => error!(%reason, "a partition is offline; the others serve"),
        }
        if started.elapsed() > PROGRESS_EVERY && number % (specs.len() / 20).max(1) == 0 {
            info!(opened = number, of = specs.len(), "opening partitions");
        }
    });
    let opened = opened.into_iter().map(|open| open.partition).collect();
    let mut out = shell.outputs();
    shell.node.install(image, opened, &mut out);
    shell.dispatch(out);
    if !specs.is_empty() {
        info!(
            partitions = specs.len(),
            ms = %started.elapsed().as_millis(),
            clean = hints.clean,
            "opened all partitions"
        );
    }
}

struct Hints {
    clean: bool,
    points: BTreeMap<String, LogOffset>,
}

fn tell_recovery(dir: &str, report: &pyralog_storage::RecoveryReport) {
    if let Some(cut) = report.cut.as_ref().filter(|cut| !cut.unwritten) {
        warn!(partition = %dir, at = %cut.at, bytes = cut.bytes, why = cut.what, "cut an end that was never acknowledged");
    }
}

/// Folders that no log claims are told and left alone: absence is never a reason to delete (RL-16).
fn report_orphans(disk: &RealDisk, image: &Image) {
    let known: std::collections::BTreeSet<String> = partitions_of(image).iter().map(PartitionSpec::dir).collect();
    for name in disk.list(pyralog_node::lifecycle::LOGS).unwrap_or_default() {
        let dir = format!("{}/{name}", pyralog_node::lifecycle::LOGS);
        if !known.contains(&dir) && !name.ends_with(pyralog_node::lifecycle::DELETED) {
            warn!(folder = %dir, "no log claims this folder; it is left alone");
        }
    }
}
