//! Reader threads: they bring records that are not in the page cache there, for connections that send them. Whoever reads
//! old data waits for them; the network threads, and whoever reads what is new, do not.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use pyralog_node::{ConnId, FileRange, Lookup, Warm};

use crate::control::or_exit;
use crate::disk::RealDisk;
use crate::shell::Shell;

/// Reader threads. More would only queue at the disk.
const READERS: usize = 4;
/// Ranges that may wait for them. Beyond that the network thread reads itself, which slows down those who ask.
const QUEUE: usize = 1024;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// What is read, for whom, and what is said when it is there.
enum Job {
    /// The connection sends it.
    Send(ConnId, FileRange),
    /// A request of the connection is looked at again.
    LookAgain(ConnId, Warm<RealDisk>),
}

/// The queue of ranges to read.
pub struct Readers {
    jobs: Sender<Job>,
    queue: Receiver<Job>,
}

impl Default for Readers {
    fn default() -> Self {
        let (jobs, queue) = bounded(QUEUE);
        Self { jobs, queue }
    }
}

impl Readers {
    /// Has a range read; the connection's mailbox rings when it is there. False: too many wait already.
    pub fn warm(&self, conn: ConnId, range: FileRange) -> bool {
        self.push(Job::Send(conn, range))
    }

    /// Has things brought into memory for a request that waits for them; its connection is woken when they are there. False:
    /// too many wait already.
    pub fn warm_all(&self, conn: ConnId, cold: Warm<RealDisk>) -> bool {
        self.push(Job::LookAgain(conn, cold))
    }

    fn push(&self, job: Job) -> bool {
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Starts the threads. They end when the process does.
pub fn start(shell: &Arc<Shell>) -> std::io::Result<()> {
    for number in 0..READERS {
        let shell = Arc::clone(shell);
        thread::Builder::new()
            .name(format!("read-{number}"))
            .stack_size(256 << 10)
            .spawn(move || or_exit(|| work(&shell)))?;
    }
    Ok(())
}

fn work(shell: &Shell) {
    let mut buffer = Vec::new();
    for job in &shell.readers.queue {
        buffer.resize(CHUNK, 0);
        match job {
            Job::Send(conn, range) => {
                read(&range, &mut buffer);
                shell.mailboxes.warmed(conn, range.len);
            }
            Job::LookAgain(conn, cold) => {
                cold.lookups.iter().for_each(Lookup::run);
                cold.ranges.iter().for_each(|range| read(range, &mut buffer));
                shell.mailboxes.wake(conn);
            }
        }
        if shell.readers.queue.is_empty() {
            // An idle node holds no buffers.
            buffer = Vec::new();
        }
    }
}

/// An error shows again, and is told, where the bytes are sent.
fn read(range: &FileRange, buffer: &mut [u8]) {
    let mut done = 0;
    while done < range.len {
        let wanted = (range.len - done).min(buffer.len());
        let Some(part) = buffer.get_mut(..wanted) else { return };
        match range.file.read_at(part, range.position + done as u64) {
            Ok(0) | Err(_) => return,
            Ok(read) => done += read,
        }
    }
}
