//! From a metadata image to partitions that serve, and back: opening, creating, deleting, checkpointing, closing.
//! Holds: a request never sees a log before its partitions serve (M20); a folder is removed only because a committed
//! record deleted the log with that id (RL-16): folders that no log claims are reported and left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use pyralog_coordinator::metadata::{Image, LogState};
use pyralog_protocol::{LogId, LogOffset, Now, PartitionIndex, TopicId};
use pyralog_storage::{
    Disk, Log, LogConfig, OpenError, OpenHint, PartitionKey, PartitionMeta, RecoveryReport, Redo, Settle, Space,
};

use crate::Node;
use crate::outputs::{Outputs, Removal};
use crate::partition::{Closed, Durability, Partition, Refusal};
use crate::room::inodes_left_alone;
use crate::settings;
use crate::topology::{LogEntry, Topology};

/// Folder of the partitions, below the data folder.
pub const LOGS: &str = "logs";
/// Ending of a folder whose log was deleted and whose files are being removed.
pub const DELETED: &str = ".deleted";
/// Ending of a folder that was in the way of a new log of the same name.
pub const ORPHAN: &str = ".orphan";

/// One partition that an image names.
#[derive(Clone, Debug)]
pub struct PartitionSpec {
    /// Its log.
    pub log: Arc<LogState>,
    /// Its number.
    pub index: PartitionIndex,
}

impl PartitionSpec {
    /// Folder below the data folder: `logs/<log>-<partition>`, as in Kafka.
    pub fn dir(&self) -> String {
        dir_of(&self.log.metadata.log_id, self.index)
    }

    /// Key of its recovery point, see [`Partition::key`].
    pub fn key(&self) -> String {
        key_of(self.log.metadata.topic_id, self.index)
    }
}

/// Where a partition of the log with this name belongs, below the data folder.
pub fn dir_of(log: &LogId, index: PartitionIndex) -> String {
    format!("{LOGS}/{log}-{index}")
}

/// Names a partition by its log's id: a log of the same name that comes later has recovery points of its own.
pub fn key_of(topic: TopicId, index: PartitionIndex) -> String {
    format!("{topic}-{index}")
}

/// What is known of how a partition was left.
pub struct Left<'r, D: Disk> {
    /// How it was closed, and how far it was on disk.
    pub hint: OpenHint,
    /// There were recovery points once, and nobody can read them any more: what is missing may have been acknowledged.
    pub points_lost: bool,
    /// What the journal has of it.
    pub redo: Option<&'r Redo<D::File>>,
    /// It is not to be opened, because nobody will come to use it: it stays as it was left.
    pub pass_over: bool,
}

impl<D: Disk> Default for Left<'_, D> {
    /// It is new.
    fn default() -> Self {
        Self { hint: OpenHint::default(), points_lost: false, redo: None, pass_over: false }
    }
}

impl<D: Disk> Left<'_, D> {
    /// The hint with the recovery point that is sure. Where that was lost, a log that was closed in order ends where its newest
    /// snapshot says; and one whose folder is not there must not be taken for one that never had any record.
    fn sure_hint(&self, disk: &D, dir: &str, topic: TopicId) -> OpenHint {
        let is_there = || PartitionMeta::read(disk, dir).is_ok_and(|meta| meta.topic_id == topic);
        let least = match self.points_lost {
            true if !is_there() => LogOffset(1),
            true if self.hint.clean => PartitionMeta::newest_snapshot(disk, dir).ok().flatten().unwrap_or_default(),
            true | false => LogOffset::ZERO,
        };
        OpenHint { recovery_point: self.hint.recovery_point.max(least), ..self.hint }
    }
}

/// A partition after opening, and what there is to say about it.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// The partition; one that could not be opened answers with a storage error while the others serve (IO-06).
    pub partition: Arc<Partition<D>>,
    /// What recovery did, or why there is nothing to serve.
    pub outcome: Result<RecoveryReport, String>,
    /// What was in the way of its folder.
    pub aside: Option<SetAside>,
}

/// A folder that had the name of a log's partition, and belongs to another log: left by one whose removal a crash cut off.
/// It is kept, under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it was.
    pub dir: String,
    /// Where it is.
    pub aside: String,
}

/// What came of another try to create partitions.
#[derive(Debug, Default)]
pub struct LateCreation {
    /// So many serve now.
    pub created: usize,
    /// What was in the way of their folders.
    pub aside: Vec<SetAside>,
}

/// All partitions of an image, in a fixed order. Views have none: what they hold is in the partitions of their logs.
pub fn partitions_of(image: &Image) -> Vec<PartitionSpec> {
    let mut specs = Vec::new();
    for log in image.logs().filter(|log| !log.is_view()) {
        for index in 0..log.metadata.partition_count {
            specs.push(PartitionSpec { log: Arc::clone(log), index: PartitionIndex(index) });
        }
    }
    specs
}

impl<D: Disk> Node<D> {
    /// Opens one partition, creating it when it has no folder yet. Independent of all others, so that a start may run
    /// many at a time. What `memory` durability never promised to keep over a power
    /// loss is not waited for, unless all of it is asked for.
    pub fn open_partition(&self, disk: &Arc<D>, spec: &PartitionSpec, left: &Left<'_, D>, now: Now) -> Opened<D> {
        let dir = spec.dir();
        let topic = spec.log.metadata.topic_id;
        let (hint, redo) = (left.sure_hint(disk, &dir, topic), left.redo);
        let durability = settings::durability(&spec.log.settings);
        let settle = match (hint.settle, durability) {
            // What is not synced keeps its descriptor.
            _ if self.commons.files.is_scarce() => Settle::All,
            (Settle::Unproven, Durability::Memory(_)) => Settle::Nothing,
            (settle, Durability::Fsync | Durability::Memory(_)) => settle,
        };
        let hint = OpenHint { settle, ..hint };
        let mut aside = None;
        let open = if left.pass_over {
            Err(OpenRefused::PassedOver { dir: dir.clone() })
        } else {
            let place = self.place((&dir, topic), &mut aside);
            open_or_create(disk, place, self.log_config(&spec.log), (hint, redo), now)
        };
        let (log, outcome) = match open {
            Ok((log, report)) => (Ok(log), Ok(report)),
            Err(error) => (Err(error.refusal()), Err(error.to_string())),
        };
        let epoch = settings::leader_epoch(&spec.log, spec.index);
        let point = redo.map_or(hint.recovery_point, |redo| redo.flushed.max(hint.recovery_point));
        let how = (epoch, durability);
        let partition = Partition::new((topic, spec.index, dir), log, how, point, Arc::clone(&self.commons));
        let partition = Arc::new(partition);
        partition.list_open();
        Opened { partition, outcome, aside }
    }

    /// Tries again to create the partitions that could not be created.
    pub fn create_late(&self, disk: &Arc<D>, now: Now) -> LateCreation {
        let mut late = LateCreation::default();
        for partition in self.partitions().iter().filter(|partition| partition.is_uncreated()) {
            let mut aside = None;
            let create = || {
                let log = Arc::clone(&self.topology.load().by_id(partition.topic)?.log);
                let hint = OpenHint { recovery_point: partition.recovery_point(), ..OpenHint::default() };
                let place = self.place((&partition.dir, partition.topic), &mut aside);
                let (log, _) = open_or_create(disk, place, self.log_config(&log), (hint, None), now).ok()?;
                Some(log)
            };
            late.created += usize::from(partition.create_late(create));
            late.aside.extend(aside);
        }
        late
    }

    fn place<'a>(&self, (dir, topic): (&'a str, TopicId), aside: &'a mut Option<SetAside>) -> Place<'a> {
        Place { dir, topic, reserve_bytes: self.topology.load().image.broker().upkeep.disk_reserve_bytes, aside }
    }

    fn log_config(&self, log: &LogState) -> LogConfig {
        settings::log_config(&log.settings, expiration_of(&self.topology.load().image))
    }

    /// Makes an image the one that requests see. Partitions that are new must be among `opened`; deleted logs must be
    /// [retired](Self::retire).
    pub fn install(&self, image: Arc<Image>, opened: Vec<Arc<Partition<D>>>, out: &mut Outputs<D>) {
        let before = self.topology.load();
        let mut fresh: BTreeMap<_, Vec<Arc<Partition<D>>>> = BTreeMap::new();
        for partition in opened {
            fresh.entry(partition.topic).or_default().push(partition);
        }
        let (mut logs, mut rerouted) = (BTreeMap::new(), Vec::new());
        let expiration_ms = expiration_of(&image);
        let expire_alike = expiration_ms == expiration_of(&before.image);
        for log in image.logs() {
            let topic = log.metadata.topic_id;
            let entry = match (before.logs.get(&topic), fresh.remove(&topic)) {
                (Some(entry), None) if Arc::ptr_eq(&entry.log, log) && expire_alike => Arc::clone(entry),
                (entry, more) => {
                    rerouted.extend(entry.filter(|entry| entry.log.metadata.routing != log.metadata.routing));
                    Arc::new(entry_of(log, entry, more.unwrap_or_default(), expiration_ms, out))
                }
            };
            logs.insert(topic, entry);
        }
        self.topology.store(Arc::new(Topology { image, logs }));
        // What somebody waits for there may have another partition from now on. Not before it can be found by that: whoever
        // looked in between would have to look again and again.
        rerouted.iter().flat_map(|entry| &entry.partitions).for_each(|partition| partition.wake(out));
    }

    /// Ends service of the logs that an image does not name any more, and hands out their folders for removal. To be
    /// called, and the folders moved away, before anything of that image is opened: a log created again under the same
    /// name takes the same folder.
    pub fn retire(&self, image: &Image, out: &mut Outputs<D>) {
        let topology = self.topology.load();
        for (_, entry) in topology.logs.iter().filter(|(topic, _)| image.log_by_id(**topic).is_none()) {
            for partition in &entry.partitions {
                drop(partition.delete(out));
                let delay_ms = settings::delete_delay_ms(&entry.log.settings);
                out.removals.push(Removal { dir: partition.dir.clone(), topic: partition.topic, delay_ms });
            }
        }
    }

    /// The partitions that an image has and this node does not yet.
    pub fn missing(&self, image: &Image) -> Vec<PartitionSpec> {
        let topology = self.topology.load();
        let is_open = |spec: &PartitionSpec| {
            topology.by_id(spec.log.metadata.topic_id).is_some_and(|entry| entry.partition(spec.index.0).is_some())
        };
        partitions_of(image).into_iter().filter(|spec| !is_open(spec)).collect()
    }

    /// Every open partition.
    pub fn partitions(&self) -> Vec<Arc<Partition<D>>> {
        self.topology.load().logs.values().flat_map(|entry| entry.partitions.iter().cloned()).collect()
    }

    /// Checkpoints every partition; gives how far each is known to be on disk, which bounds the next recovery.
    pub fn checkpoint(&self) -> BTreeMap<String, LogOffset> {
        self.partitions().iter().map(|partition| (partition.key(), partition.checkpoint())).collect()
    }

    /// How far each partition is known to be on disk, without a checkpoint.
    pub fn recovery_points(&self) -> BTreeMap<String, LogOffset> {
        self.partitions().iter().map(|partition| (partition.key(), partition.recovery_point())).collect()
    }

    /// Asks for a sync wherever something is not in the segments on disk: what `memory` durability may lose stays bounded,
    /// and so does the next recovery.
    pub fn flush(&self, out: &mut Outputs<D>) {
        for partition in self.partitions() {
            partition.flush(out);
        }
    }

    /// Sees whether everything that was appended since the last time is where a start would find it.
    pub fn check_places(&self, out: &mut Outputs<D>) {
        for partition in self.partitions() {
            partition.check_place(out);
        }
    }

    /// Below which offset a partition's segments are on disk; None for one that is gone. What the journal keeps its files
    /// for.
    pub fn flushed_end(&self, key: PartitionKey) -> Option<LogOffset> {
        let topology = self.topology.load();
        let partition = topology.by_id(key.topic)?.partition(key.index.0)?;
        Some(partition.flushed_end())
    }

    /// Asks for such a sync of one partition, if it is there. Tells whether one is under way now.
    pub fn flush_one(&self, key: PartitionKey, out: &mut Outputs<D>) -> bool {
        let topology = self.topology.load();
        let partition = topology.by_id(key.topic).and_then(|entry| entry.partition(key.index.0));
        partition.is_some_and(|partition| partition.flush(out))
    }

    /// Whether a commit or a sync is under way somewhere.
    pub fn is_syncing(&self) -> bool {
        self.partitions().iter().any(|partition| partition.is_syncing())
    }

    /// Forgets idempotent producers that were silent for `producer.id.expiration.ms`, everywhere. Gives their number.
    pub fn expire_producers(&self, now: Now) -> usize {
        self.partitions().iter().map(|partition| partition.expire_producers(now)).sum()
    }

    /// Applies retention in every partition. Gives the number of segments that went, and what went wrong.
    pub fn enforce_retention(&self, now: Now, out: &mut Outputs<D>) -> (usize, Vec<String>) {
        let mut removed = 0;
        let mut problems = Vec::new();
        for partition in self.partitions() {
            match partition.enforce_retention(now, out) {
                Ok(segments) => removed += segments,
                Err(error) => problems.push(format!("{}: {error}", partition.dir)),
            }
        }
        (removed, problems)
    }

    /// Closes every partition at the end of a clean shutdown.
    pub fn close_all(&self, out: &mut Outputs<D>) -> Closing {
        let mut closing = Closing::default();
        // What was never created has nothing to close.
        for partition in self.partitions().iter().filter(|partition| !partition.is_uncreated()) {
            let closed = partition.close(out);
            let point = match closed {
                Ok(Closed::At(end)) => end,
                Ok(Closed::Untouched | Closed::Offline) | Err(_) => partition.recovery_point(),
            };
            closing.points.insert(partition.key(), point);
            match closed {
                Ok(Closed::At(_)) => {}
                Ok(Closed::Untouched) => {
                    closing.untouched.insert(partition.key());
                }
                Ok(Closed::Offline) => closing.problems.push(format!("{}: it went offline", partition.dir)),
                Err(error) => closing.problems.push(format!("{}: {error}", partition.dir)),
            }
        }
        closing
    }
}

/// How a shutdown left the partitions.
#[derive(Debug, Default)]
pub struct Closing {
    /// Recovery points of all: where those end that were closed, and what is known of the others.
    pub points: BTreeMap<String, LogOffset>,
    /// Those that never served in this process. They are as its start found them: what was to be looked at then is still.
    pub untouched: BTreeSet<String>,
    /// What served and could not be closed. The next start has to look at its end, in a new leader epoch.
    pub problems: Vec<String>,
}

/// Why a partition does not open.
#[derive(Debug, thiserror::Error)]
enum OpenRefused {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{dir}: {cause}")]
    Io { dir: String, cause: std::io::Error },
    #[error(
        "{dir}: the folder is gone, yet records of it were on disk (up to offset {point} at least); bring it back, or delete \
         the log to give them up"
    )]
    Vanished { dir: String, point: LogOffset },
    #[error(
        "{dir}: the folder belongs to the log with id {found}, not to the one with id {topic} that has this name, \
         of which records were on disk (up to offset {point} at least); it is left as it is. Put the folders back in their places (or bring \
         that of {topic} back), or delete the log to give its records up"
    )]
    Foreign { dir: String, found: TopicId, topic: TopicId, point: LogOffset },
    #[error("{dir}: it was not opened, because the start was called off")]
    PassedOver { dir: String },
}

impl OpenRefused {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Io { .. } => Refusal::Uncreated,
            Self::Open(_) | Self::Vanished { .. } | Self::Foreign { .. } | Self::PassedOver { .. } => Refusal::Offline,
        }
    }
}

/// Where a partition is, or comes to be.
struct Place<'a> {
    dir: &'a str,
    topic: TopicId,
    /// `pyralog.disk.reserve.bytes`: no folder is created that would take one of the inodes that are left alone with these.
    reserve_bytes: i64,
    /// What was in the way of it, and was put aside.
    aside: &'a mut Option<SetAside>,
}

impl Place<'_> {
    /// A request may create more partitions than there are inodes: what is kept of these belongs to the metadata store, which ends
    /// the process where it meets a full volume (OP-10), and appends to other logs stop before that. Asks the volume itself: a start
    /// creates what is missing before anybody has [looked](Node::look_at_room).
    fn check_inodes<D: Disk>(&self, disk: &D) -> io::Result<()> {
        // What cannot be asked keeps nobody from creating.
        let Ok(Space { inodes: Some(inodes), .. }) = disk.space() else { return Ok(()) };
        let left_alone = inodes_left_alone(self.reserve_bytes, inodes);
        if inodes.usable >= left_alone {
            return Ok(());
        }
        let why = format!("the volume has {} inodes left, and new partitions leave {left_alone}", inodes.usable);
        Err(io::Error::new(io::ErrorKind::StorageFull, why))
    }
}

/// Opens the log of this id in this folder, or creates it. Whatever else is in the folder is neither opened nor changed: it
/// is another log's, with an end of its own. It goes aside where it can only be what a crash left, and that is noted in
/// `aside`.
fn open_or_create<D: Disk>(
    disk: &Arc<D>,
    place: Place<'_>,
    config: LogConfig,
    (hint, redo): (OpenHint, Option<&Redo<D::File>>),
    now: Now,
) -> Result<(Log<D>, RecoveryReport), OpenRefused> {
    let (dir, topic) = (place.dir, place.topic);
    let io = |cause| OpenRefused::Io { dir: dir.to_owned(), cause };
    let point = redo.map_or(LogOffset::ZERO, Redo::end).max(hint.recovery_point);
    let is_known = point > LogOffset::ZERO;
    let foreign = |found| OpenRefused::Foreign { dir: dir.to_owned(), found, topic, point };
    match PartitionMeta::read(&**disk, dir) {
        Ok(meta) if meta.topic_id == topic => {
            return Ok(Log::open_with(Arc::clone(disk), dir, config, hint, redo, now)?);
        }
        Ok(meta) if is_known => return Err(foreign(meta.topic_id)),
        Ok(meta) => {
            // Left by a log of the same name whose removal a crash cut off. Kept: nobody asked for its end (RL-16).
            let index = dir.rsplit('-').next().unwrap_or_default();
            let kept = format!("{LOGS}/{}-{index}{ORPHAN}", meta.topic_id);
            disk.rename(dir, &kept).map_err(io)?;
            *place.aside = Some(SetAside { dir: dir.to_owned(), aside: kept });
        }
        Err(error) if error.is_missing() && is_known => {
            return Err(OpenRefused::Vanished { dir: dir.to_owned(), point });
        }
        Err(error) if error.is_missing() => {}
        Err(error) => return Err(OpenError::Meta(error).into()),
    }
    place.check_inodes(&**disk).map_err(io)?;
    pyralog_storage::create(&**disk, dir, topic).map_err(io)?;
    let (log, report) = Log::open(Arc::clone(disk), dir, config, OpenHint::default(), now)?;
    match log.topic_id() {
        found if found == topic => Ok((log, report)),
        found => Err(foreign(found)),
    }
}

/// How long silent idempotent producers are remembered, in ms: the one setting of logs that is the broker's alone.
fn expiration_of(image: &Image) -> i32 {
    image.broker().producers.expiration_ms
}

fn entry_of<D: Disk>(
    log: &Arc<LogState>,
    before: Option<&Arc<LogEntry<D>>>,
    more: Vec<Arc<Partition<D>>>,
    expiration_ms: i32,
    out: &mut Outputs<D>,
) -> LogEntry<D> {
    let mut partitions = before.map(|entry| entry.partitions.clone()).unwrap_or_default();
    partitions.extend(more);
    // Those that are new as well: they may have been opened with what was in force before.
    for partition in &partitions {
        let service = settings::service(log, partition.index);
        partition.configure(settings::log_config(&log.settings, expiration_ms), service, out);
    }
    partitions.sort_by_key(|partition| partition.index);
    LogEntry { log: Arc::clone(log), partitions }
}
