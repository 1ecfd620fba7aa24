//! What a step of the node asks the shell to do. Values only: nothing in here is a future, a channel or a closure.

use std::sync::Arc;

use pyralog_coordinator::{Command, Context};
use pyralog_protocol::{MonoMs, TopicId};
use pyralog_storage::Disk;

use crate::api::Responder;
use crate::connection::{Answer, ConnId, FileRange, Ticket};
use crate::lookup::Lookup;
use crate::partition::{Partition, SyncOutcome};
use crate::unreadable::Unreadable;
use crate::vlsn::Frozen;

/// Outputs of one step, in order.
#[derive(Debug)]
pub struct Outputs<D: Disk> {
    /// Answers that became ready.
    pub answers: Vec<(Ticket, Answer)>,
    /// Connections whose waiting fetch should be looked at again.
    pub wakes: Vec<ConnId>,
    /// What is to be brought into memory, and the connections that are to be woken then.
    pub warms: Vec<(ConnId, Warm<D>)>,
    /// Partitions with an index to be [built](Partition::build_index), by somebody for whom nobody else waits.
    pub builds: Vec<Arc<Partition<D>>>,
    /// Partitions with appends that were left to this thread, and that somebody else is to go on with once the answers above
    /// have left: see [`Partition::append_left`].
    pub appends: Vec<Arc<Partition<D>>>,
    /// Partitions whose appends want to be made durable, see [`Partition::commit`].
    pub commits: Vec<Arc<Partition<D>>>,
    /// Partitions that want a sync of their segments run on a disk worker, see [`Partition::sync_plan`].
    pub syncs: Vec<Arc<Partition<D>>>,
    /// Partitions of which much is on disk in the journal only: to be [synced](Partition::sync_now) one after the other, by
    /// somebody for whom nobody waits. All of them at once, when the journal needs their place, keep the disk from everything else.
    pub flushes: Vec<Arc<Partition<D>>>,
    /// Syncs that were run on the way, and how they went.
    pub synced: Vec<(Arc<Partition<D>>, SyncOutcome)>,
    /// Folders of deleted partitions, to be renamed at once and removed later.
    pub removals: Vec<Removal>,
    /// Files of segments that have left their log, to be removed later.
    pub graves: Vec<Grave>,
    /// Partitions that went offline, and why.
    pub offline: Vec<(String, String)>,
    /// Reads that failed, of partitions that were not told of lately.
    pub unreadable: Vec<Unreadable>,
    /// Appends that failed because of files, of partitions that were not told of lately.
    pub unwritable: Vec<Unreadable>,
    /// Requests for the control loop.
    pub calls: Vec<Call>,
    /// [`Node::run_due`](crate::Node::run_due) is to be called at this moment at the latest.
    pub due: Option<MonoMs>,
    /// A full segment is on disk, and the recovery point that is written down does not say so.
    pub sealed_on_disk: bool,
    /// An append met the reserve of the volume: [`Node::look_at_room`](crate::Node::look_at_room) is to be called now.
    pub look_at_room: bool,
}

impl<D: Disk> Outputs<D> {
    /// Something is due at that moment.
    pub(crate) fn due_at(&mut self, at: MonoMs) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl<D: Disk> Default for Outputs<D> {
    fn default() -> Self {
        Self {
            answers: Vec::new(),
            wakes: Vec::new(),
            warms: Vec::new(),
            builds: Vec::new(),
            appends: Vec::new(),
            commits: Vec::new(),
            syncs: Vec::new(),
            flushes: Vec::new(),
            synced: Vec::new(),
            removals: Vec::new(),
            graves: Vec::new(),
            offline: Vec::new(),
            unreadable: Vec::new(),
            unwritable: Vec::new(),
            calls: Vec::new(),
            due: None,
            sealed_on_disk: false,
            look_at_room: false,
        }
    }
}

/// A folder of a deleted partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The folder.
    pub dir: String,
    /// Its log.
    pub topic: TopicId,
    /// `file.delete.delay.ms` of the log: how long its files stay on disk.
    pub delay_ms: u64,
}

/// A file that nobody uses any more, and that says so by its name: a start that finds it removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grave {
    /// Its path.
    pub path: String,
    /// How long it stays on disk.
    pub delay_ms: u64,
}

/// What a request needs from the disk before it can be served without waiting.
#[derive(Debug)]
pub struct Warm<D: Disk> {
    /// Ranges of files, to be read.
    pub ranges: Vec<FileRange>,
    /// Look-ups, to be run.
    pub lookups: Vec<Lookup<D>>,
}

impl<D: Disk> Default for Warm<D> {
    fn default() -> Self {
        Self { ranges: Vec::new(), lookups: Vec::new() }
    }
}

impl<D: Disk> Warm<D> {
    /// Whether there is nothing to be done.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.lookups.is_empty()
    }

    /// The same, and more.
    pub(crate) fn add(&mut self, more: Self) {
        self.ranges.extend(more.ranges);
        self.lookups.extend(more.lookups);
    }
}

/// A request to the coordinator and how its answer is to be encoded.
#[derive(Debug)]
pub struct Call {
    /// What the request carries besides its body. The token is set by the control loop.
    pub context: Context,
    /// The request.
    pub command: Command,
    /// Where and how the answer goes.
    pub reply: ReplyTo,
    /// Bytes of the disk that it may take, to be [settled](crate::Node::settle_calls).
    pub disk_bytes: u64,
}

/// Where and how an answer goes.
#[derive(Debug)]
pub struct ReplyTo {
    pub(crate) responder: Responder,
    /// An answer that is complete already and only waits for the command: Metadata that creates logs (M3).
    pub(crate) prepared: Option<Answer>,
    /// VLSN logs that take no appends until then, because the request changes their routing.
    pub(crate) frozen: Vec<Frozen>,
}
