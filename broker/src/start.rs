//! From a locked data folder to a node that can serve: load the coordinator, open all partitions, create what the
//! configuration declares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pyralog_coordinator::member::Member;
use pyralog_coordinator::metadata::{Image, Limits as MetadataLimits};
use pyralog_coordinator::raft::{CoordinatorReplica, Cut, ReplicaOptions, RocksOptions, RocksStore};
use pyralog_coordinator::vlsn::VlsnLimits;
use pyralog_coordinator::{Command, Context, Coordinator, Declared, DeclaredLog, Reply, Token};
use pyralog_node::ControlLoop;
use pyralog_node::control_loop::{Asker, Released};
use pyralog_node::lifecycle::{Left, PartitionSpec, partitions_of};
use pyralog_protocol::{Draw, LogOffset, NodeId};
use pyralog_storage::{Disk, OpenHint, PartitionKey, PartitionMeta, Replay, Settle};
use tracing::{debug, error, info, warn};

use crate::clock::Clock;
use crate::disk::RealDisk;
use crate::folder::{DataFolder, PointsLost};
use crate::opening::open_all;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::shell::Shell;

/// Largest change of the control plane, encoded. Above the largest frame, so that no request can build one that is too
/// large to be proposed after it was decided.
const MAX_ENTRY_BYTES: usize = 256 << 20;
/// Part of the volume that the store's log of writes takes at most, as a divisor.
const STORE_SHARE: u64 = 32;
const STORE_WAL_MIN: u64 = 8 << 20;
/// Unclean starts in a row from which on they are told of.
const UNCLEAN_STARTS: u32 = 3;

/// How partitions are opened.
pub struct Opening<'a> {
    /// On so many threads.
    pub threads: usize,
    /// Files that the process may have open.
    pub files: u64,
    /// Who is told how far it is.
    pub progress: &'a Progress,
}

/// Opens the store, loads the coordinator and founds the cluster where there is none.
pub fn open_control(
    settings: &Settings,
    folder: &DataFolder,
    store: &RocksOptions,
    (clock, draw): (Clock, Draw),
) -> Result<(ControlLoop<RocksStore>, Arc<Image>), String> {
    let node = node_id(&settings.configs)?;
    let started = pyralog_coordinator::Settings {
        node,
        configs: settings.configs.clone(),
        limits: MetadataLimits::default(),
        vlsn_limits: VlsnLimits::default(),
        log_level: log_level(&settings.log),
    };
    // Refused before the store is touched.
    if let Err(errors) = Coordinator::new(started.clone()) {
        return Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\npyralog: "));
    }
    let store = RocksStore::open(&folder.coordinator(), store).map_err(|e| e.to_string())?;
    if let Some(Cut { file, at, bytes }) = store.cut() {
        warn!(%file, at, bytes, "the metadata store ended in a write that was never synced, as after a power loss; it is cut off, and nothing acknowledged was in it");
    }
    let id = u64::try_from(node.0).map_err(|_| format!("node.id={node} is negative"))? + 1;
    let options = ReplicaOptions {
        node: id,
        voters: vec![id],
        max_entry_bytes: MAX_ENTRY_BYTES,
        max_uncommitted_bytes: 2 * MAX_ENTRY_BYTES as u64,
        ..ReplicaOptions::default()
    };
    let replica = CoordinatorReplica::open(store, options).map_err(|e| e.to_string())?;
    let member = Member::new(started, replica, draw).map_err(|e| e.to_string())?;
    let mut control = ControlLoop::new(member);
    let released = control.turn(clock.now()).map_err(|e| e.to_string())?;
    let image = released.image.unwrap_or_else(|| control.coordinator().image());
    Ok((control, image))
}

/// A store that does not fill a small volume by itself (OP-10), with up to `open_files` of its tables open.
pub fn store_options(disk: &RealDisk, open_files: i32) -> RocksOptions {
    let defaults = RocksOptions::default();
    let share = disk.space().map_or(u64::MAX, |volume| volume.total_bytes / STORE_SHARE);
    RocksOptions { wal_bytes: share.clamp(STORE_WAL_MIN, defaults.wal_bytes), open_files, ..defaults }
}

/// OP-11: a broker that keeps being ended is told of, with what may do it. It starts all the same: each start leaves the
/// logs in order, and whoever is restarted by a supervisor has nobody there to allow it.
pub fn tell_unclean_starts(folder: &DataFolder) {
    match folder.count_start() {
        Ok(starts) if starts >= UNCLEAN_STARTS => warn!(
            starts,
            "the last starts all followed an end that was no clean stop. Nothing acknowledged is lost by that, but \
             something keeps ending the broker: look at its last log lines, for the kernel's out-of-memory killer \
             (dmesg), and for a supervisor that waits too little for the start or the stop"
        ),
        Ok(_) => {}
        Err(error) => warn!(%error, "the number of unclean starts could not be written down"),
    }
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
    let Released { image, replies, .. } = control.turn(shell.clock.now()).map_err(|e| e.to_string())?;
    if let Some(image) = image {
        let mut out = shell.outputs();
        crate::control::install(shell, image, &mut out);
        shell.dispatch(out);
    }
    Ok(replies.into_iter().find_map(|(asker, reply)| matches!(asker, Asker::Shell).then_some(reply)))
}

fn own_context(draw: Draw) -> Context {
    Context {
        token: Token(0),
        api_version: 0,
        client_id: "pyralog".into(),
        client_host: "/127.0.0.1".into(),
        draw,
        no_room: None,
    }
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
    let Some(Reply::DeclareLogs(Declared { refused, differing })) =
        run_own(shell, control, Command::DeclareLogs(logs))?
    else {
        return Ok(());
    };
    for difference in differing {
        warn!("{difference}; a log that is there stays as it is: change it, or the file");
    }
    if refused.is_empty() { Ok(()) } else { Err(refused.join("\npyralog: ")) }
}

/// Opens every partition of the image, several at a time, with what the journal has of it, and makes the image visible.
pub fn open_partitions(
    shell: &Shell,
    folder: &DataFolder,
    (image, replay): (Arc<Image>, &Replay<RealDisk>),
    how: &Opening<'_>,
) {
    report_orphans(&shell.disk, &image);
    let specs = partitions_of(&image);
    let (points, points_lost) = points_of(folder);
    let started = Instant::now();
    how.progress.expect(specs.len());
    // What is left to a later sync keeps its file open until then (IO-02).
    let settle = if specs.len() as u64 > how.files / 4 { Settle::All } else { Settle::Unproven };
    let left = |spec: &PartitionSpec| {
        // Without its point, only this start knows that what is damaged may have been acknowledged: the stop writes points.
        let pass_over = how.progress.is_called_off() && !points_lost;
        how.progress.opening(&spec.dir());
        let recovery_point = points.get(&spec.key()).copied().unwrap_or_default();
        let key = PartitionKey { topic: spec.log.metadata.topic_id, index: spec.index };
        let clean = folder.is_clean(&spec.key());
        Left { hint: OpenHint { clean, recovery_point, settle }, points_lost, redo: replay.of(key), pass_over }
    };
    let opened = open_all(shell, &specs, how.threads, left, |open, _| {
        how.progress.opened(&open.partition.dir, open.outcome.as_ref().ok());
        match &open.outcome {
            Ok(report) => tell_recovery(&open.partition.dir, report),
            Err(reason) if how.progress.is_called_off() => debug!(%reason, "a partition is offline"),
            Err(reason) => error!(%reason, "a partition is offline; the others serve"),
        }
    });
    let opened = opened.into_iter().map(|open| open.partition).collect();
    let mut out = shell.outputs();
    shell.node.install(image, opened, &mut out);
    shell.dispatch(out);
    // What was found out must not be lost as well, should this process be killed.
    if points_lost && let Err(error) = folder.write_recovery_points(&shell.node.recovery_points()) {
        warn!(%error, "the recovery points could not be written");
    }
    if !specs.is_empty() && !how.progress.is_called_off() {
        info!(
            partitions = specs.len(),
            ms = %started.elapsed().as_millis(),
            clean = folder.was_clean,
            "opened all partitions"
        );
    }
}

/// How far each partition was on disk, and whether that is lost. A start goes on without: what it cannot prove stays offline.
fn points_of(folder: &DataFolder) -> (BTreeMap<String, LogOffset>, bool) {
    let lost = match folder.recovery_points() {
        Ok(points) => return (points, false),
        Err(lost) => lost,
    };
    error!(
        %lost,
        "how far the logs were on disk is not known. After a stop in order the newest snapshots say it; after any other end \
         what is missing at the end of a log cannot be told from what was never acknowledged. Logs whose folders are \
         missing stay offline"
    );
    if let PointsLost::Unreadable(_) = lost {
        match folder.keep_lost_points() {
            Ok(kept) => info!(kept = %kept.display(), "the file is kept under this name"),
            Err(error) => warn!(%error, "the file could not be kept under another name, and is replaced"),
        }
    }
    (BTreeMap::new(), true)
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
            let topic = PartitionMeta::read(disk, &dir)
                .map_or_else(|error| error.to_string(), |meta| meta.topic_id.to_string());
            warn!(folder = %dir, %topic,
                "no log claims this folder; it is left alone. Its log was deleted right before the broker was killed, or the \
                 metadata store is older than the folder, or the folder is not from here: which of them, nothing tells, \
                 because deleted logs leave no trace in the metadata. If it is not needed, remove it by hand");
        }
    }
}
