//! Disk workers: syncs of segments, and journal files in the making. One partition has at most one sync at a time: what is
//! appended while it runs shares the next one.
//!
//! One more worker syncs, one partition after the other, what is on disk in the journal already, so that a journal file that is
//! full has little left to wait for.

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
    flushes: Sender<Arc<Partition<RealDisk>>>,
}

/// The other end, for the workers.
pub struct SyncQueue {
    jobs: Receiver<Job>,
    flushes: Receiver<Arc<Partition<RealDisk>>>,
}

/// A queue without workers yet.
pub fn queue() -> (Syncers, SyncQueue) {
    let ((jobs, wanted), (flushes, dirty)) = (unbounded(), unbounded());
    (Syncers { jobs, flushes }, SyncQueue { jobs: wanted, flushes: dirty })
}

impl Syncers {
    /// Adds work.
    pub fn push(&self, job: Job) {
        // Nobody listens only while the process ends.
        let _ = self.jobs.send(job);
    }

    /// Adds a partition for which nobody waits.
    pub fn flush(&self, partition: Arc<Partition<RealDisk>>) {
        let _ = self.flushes.send(partition);
    }
}

/// Starts the workers. They end with the queue, or when the process does.
pub fn start(shell: &Arc<Shell>, queue: &SyncQueue, workers: usize) -> std::io::Result<Vec<JoinHandle<()>>> {
    let worker = |number| {
        let (shell, jobs) = (Arc::clone(shell), queue.jobs.clone());
        spawn(format!("sync-{number}"), move || work(&shell, &jobs))
    };
    let (shell, flushes) = (Arc::clone(shell), queue.flushes.clone());
    let flusher = spawn("flush".to_owned(), move || flush(&shell, &flushes));
    (0..workers).map(worker).chain([flusher]).collect()
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).stack_size(256 << 10).spawn(move || or_exit(work))
}

fn flush(shell: &Shell, flushes: &Receiver<Arc<Partition<RealDisk>>>) {
    for partition in flushes {
        let mut out = shell.outputs();
        partition.sync_now(&shell.disk, &mut out);
        shell.dispatch(out);
    }
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
        match next {
            Some(_) => shell.dispatch_and_go_on(out),
            None => shell.dispatch(out),
        }
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
