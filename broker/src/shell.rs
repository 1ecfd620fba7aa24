//! What all threads of the broker share, and how outputs of the node reach those who act on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyralog_node::unreadable::Unreadable;
use pyralog_node::{Call, Node, Outputs};
use pyralog_protocol::Draw;
use tracing::error;

use crate::cleaning::Cleaning;
use crate::clock::Clock;
use crate::control::ControlHandle;
use crate::deadlines::Deadlines;
use crate::disk::RealDisk;
use crate::journaling::Journaling;
use crate::mailbox::Mailboxes;
use crate::metrics::Metrics;
use crate::reading::Readers;
use crate::removal::Remover;
use crate::request_memory::RequestMemory;
use crate::room::RoomBell;
use crate::scrubbing::Scrubbing;
use crate::syncer::{self, Job, Syncers};
use crate::upkeep::UpkeepHandle;

/// Outputs of the node on the real disk.
pub type ShellOutputs = Outputs<RealDisk>;

/// Most connections that one thread answers in a row, of a fifth of a millisecond or less.
const ANSWERED_HERE: usize = 32;

/// Shared by connections, workers and the control thread.
pub struct Shell {
    /// The node.
    pub node: Node<RealDisk>,
    /// Its disk.
    pub disk: Arc<RealDisk>,
    /// Time.
    pub clock: Clock,
    /// Mailboxes of the connections.
    pub mailboxes: Mailboxes,
    /// Memory for large requests in the making.
    pub request_memory: Arc<RequestMemory>,
    /// The control thread.
    pub control: ControlHandle,
    /// The journal, and the threads that write it.
    pub journal: Journaling,
    /// The threads that sync.
    pub syncers: Syncers,
    /// The threads that bring cold records into memory.
    pub readers: Readers,
    /// The thread that removes files of deleted logs.
    pub remover: Remover,
    /// The threads that compact logs.
    pub cleaning: Cleaning,
    /// The thread that looks over old segments.
    pub scrubbing: Scrubbing,
    /// The thread for what is due from time to time.
    pub upkeep: UpkeepHandle,
    /// The thread for what is due at a moment.
    pub deadlines: Deadlines,
    /// The thread that watches how much room there is.
    pub room: RoomBell,
    /// Counters.
    pub metrics: Metrics,
    seed: u64,
    draws: AtomicU64,
}

/// The parts of a [`Shell`].
pub struct Parts {
    /// The node.
    pub node: Node<RealDisk>,
    /// Its disk.
    pub disk: Arc<RealDisk>,
    /// Time.
    pub clock: Clock,
    /// The control thread.
    pub control: ControlHandle,
    /// The journal.
    pub journal: Journaling,
    /// The threads that sync.
    pub syncers: Syncers,
    /// The thread that removes files of deleted logs.
    pub remover: Remover,
    /// The thread for what is due from time to time.
    pub upkeep: UpkeepHandle,
    /// Randomness of the process.
    pub seed: u64,
}

impl Shell {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let request_memory = Arc::new(RequestMemory::new(parts.node.limits().request_bytes));
        Self {
            node: parts.node,
            disk: parts.disk,
            clock: parts.clock,
            mailboxes: Mailboxes::default(),
            request_memory,
            control: parts.control,
            journal: parts.journal,
            syncers: parts.syncers,
            readers: Readers::default(),
            remover: parts.remover,
            cleaning: Cleaning::default(),
            scrubbing: Scrubbing::default(),
            upkeep: parts.upkeep,
            deadlines: Deadlines::default(),
            room: RoomBell::default(),
            metrics: Metrics::default(),
            seed: parts.seed,
            draws: AtomicU64::new(0),
        }
    }

    /// A place for outputs.
    pub fn outputs(&self) -> ShellOutputs {
        ShellOutputs::default()
    }

    /// Randomness for one request.
    pub fn draw(&self) -> Draw {
        let number = self.draws.fetch_add(1, Ordering::Relaxed);
        Draw::new((u128::from(self.seed) << 64) | u128::from(number))
    }

    /// Hands outputs to those who act on them. Answers that may leave at once do, before this returns.
    pub fn dispatch(&self, out: ShellOutputs) {
        self.hand_out(out, ANSWERED_HERE);
    }

    /// The same for a thread whose next work others wait for: each answer is left to its connection's task.
    pub fn dispatch_and_go_on(&self, out: ShellOutputs) {
        self.hand_out(out, 0);
    }

    fn hand_out(&self, out: ShellOutputs, answered_here: usize) {
        let Outputs {
            answers,
            wakes,
            warms,
            builds,
            appends,
            commits,
            syncs,
            flushes,
            synced,
            removals,
            graves,
            offline,
            unreadable,
            unwritable,
            calls,
            due,
            sealed_on_disk,
            look_at_room,
        } = out;
        debug_assert!(removals.is_empty(), "removed where the image is installed");
        debug_assert!(appends.is_empty(), "see crate::appending");
        for grave in graves {
            self.remover.push_file(grave);
        }
        for (partition, reason) in offline {
            error!(%partition, %reason,
                "a partition is offline until the disk is looked at and the broker restarted; the others serve");
        }
        unreadable.into_iter().for_each(tell_of_read);
        unwritable.into_iter().for_each(tell_of_append);
        for partition in commits {
            self.journal.push(partition);
        }
        for partition in syncs {
            self.syncers.push(Job::Sync(partition));
        }
        for partition in flushes {
            self.syncers.flush(partition);
        }
        for (partition, outcome) in synced {
            syncer::note(self, &partition, outcome);
        }
        for conn in wakes {
            self.mailboxes.wake(conn);
        }
        let gone = self.mailboxes.answer_all(answers, answered_here);
        if gone.bytes > 0 {
            self.metrics.bytes_out.add(gone.bytes as u64);
            self.metrics.direct_answers.add(gone.answers as u64);
        }
        for (conn, cold) in warms {
            self.readers.warm_all(self, conn, cold);
        }
        builds.into_iter().for_each(|partition| self.readers.build(partition));
        for call in calls {
            self.submit(call);
        }
        if let Some(at) = due {
            self.deadlines.wake_by(at);
        }
        if sealed_on_disk {
            self.upkeep.note_points();
        }
        if look_at_room {
            self.room.look();
        }
    }

    fn submit(&self, call: Call) {
        self.control.submit(call);
    }
}

fn tell_of_read(Unreadable { dir, offset, cause }: Unreadable) {
    error!(partition = %dir, offset = offset.map(|offset| offset.0), %cause,
        "a read failed, and the client was told KAFKA_STORAGE_ERROR; look at the disk, and at the files with pyralog storage verify");
}

fn tell_of_append(Unreadable { dir, cause, .. }: Unreadable) {
    error!(partition = %dir, %cause,
        "an append failed, and the client was told KAFKA_STORAGE_ERROR; look at the disk, and at the files with pyralog storage verify");
}
