//! Disk workers: syncs of segments, and journal files in the making. One partition has at most one sync at a time: what is
//! appended while it runs shares the next one.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, unbounded};
use pyralog_node::partition::{Partition, SyncOutcome};

use crate::control::or_exit;
use crate::disk::RealDisk;
use crate::shell::Shell;

/// Work for a disk worker.
pub enum Job {
    /// The segments of a partition.
    Sync(Arc<Partition<RealDisk>>),
    /// A journal file of this number.
    JournalFile(usize),
}

/// The queue of the workers. Bounded by the number of partitions, because each is in it at most once.
pub struct Syncers {
    jobs: Sender<Job>,
}

/// The other end, for the workers.
pub struct SyncQueue {
    jobs: Receiver<Job>,
}

/// A queue without workers yet.
pub fn queue() -> (Syncers, SyncQueue) {
    let (sender, receiver) = unbounded();
    (Syncers { jobs: sender }, SyncQueue { jobs: receiver })
}

impl Syncers {
    /// Adds work.
    pub fn push(&self, job: Job) {
        // Nobody listens only while the process ends.
        let _ = self.jobs.send(job);
    }
}

/// Starts the workers. They end with the queue, or when the process does.
pub fn start(shell: &Arc<Shell>, queue: &SyncQueue, workers: usize) -> std::io::Result<Vec<JoinHandle<()>>> {
    (0..workers)
        .map(|number| {
            let shell = Arc::clone(shell);
            let jobs = queue.jobs.clone();
            thread::Builder::new()
                .name(format!("sync-{number}"))
                .stack_size(256 << 10)
                .spawn(move || or_exit(|| work(&shell, &jobs)))
        })
        .collect()
}

fn work(shell: &Shell, jobs: &Receiver<Job>) {
    for job in jobs {
        match job {
            Job::Sync(partition) => sync(shell, partition, jobs),
            Job::JournalFile(slot) => shell.journal.prepare(&shell.disk, slot),
        }
    }
}

/// Syncs a partition, and again what was appended meanwhile, as long as no other waits: a hand-over to another worker costs the
/// time in which a processor is found for it.
fn sync(shell: &Shell, partition: Arc<Partition<RealDisk>>, jobs: &Receiver<Job>) {
    let mut next = Some(partition);
    while let Some(partition) = next.take() {
        let mut out = shell.outputs();
        partition.sync_now(&shell.disk, &mut out);
        if jobs.is_empty() {
            next = out.syncs.pop();
        }
        shell.dispatch(out);
    }
}

/// Takes note of a sync, whoever ran it.
pub fn note(shell: &Shell, partition: &Partition<RealDisk>, outcome: SyncOutcome) {
    shell.metrics.syncs.add(1);
    match outcome {
        SyncOutcome::Flushed(below) => shell.journal.note_flushed(partition.journal_key(), below),
        SyncOutcome::Failed(_) => shell.metrics.sync_failures.add(1),
        SyncOutcome::Abandoned => {}
    }
}
