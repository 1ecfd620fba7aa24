//! Reader threads: they bring records that are not in the page cache there, for connections that send them. Whoever reads
//! old data waits for them; the network threads, and whoever reads what is new, do not. Indexes that are missing are built by
//! threads of their own, because that takes seconds where a read takes milliseconds.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use pyralog_node::partition::Partition;
use pyralog_node::{ConnId, FileRange, Warm};

use crate::control::or_exit;
use crate::disk::RealDisk;
use crate::shell::Shell;

/// Reader threads. More would only queue at the disk.
const READERS: usize = 4;
/// Threads that build indexes.
const BUILDERS: usize = 2;
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

/// The queues of what is to be read, and of partitions that miss indexes: each of these once.
pub struct Readers {
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    builds: Sender<Arc<Partition<RealDisk>>>,
    to_build: Receiver<Arc<Partition<RealDisk>>>,
}

impl Default for Readers {
    fn default() -> Self {
        let (jobs, queue) = bounded(QUEUE);
        let (builds, to_build) = unbounded();
        Self { jobs, queue, builds, to_build }
    }
}

impl Readers {
    /// Has a range read; the connection's mailbox rings when it is there. False: too many wait already.
    pub fn warm(&self, conn: ConnId, range: FileRange) -> bool {
        self.jobs.try_send(Job::Send(conn, range)).is_ok()
    }

    /// Has things brought into memory for a request that waits for them; its connection is woken when they are there. If too
    /// many wait already, that is done here.
    pub fn warm_all(&self, shell: &Shell, conn: ConnId, cold: Warm<RealDisk>) {
        if let Err(error) = self.jobs.try_send(Job::LookAgain(conn, cold)) {
            error.into_inner().run(shell, &mut Vec::new());
        }
    }

    /// Has an index of a partition built.
    pub fn build(&self, partition: Arc<Partition<RealDisk>>) {
        let _ = self.builds.send(partition);
    }
}

/// Starts the threads. They end when the process does.
pub fn start(shell: &Arc<Shell>) -> std::io::Result<()> {
    for number in 0..READERS {
        spawn(shell, format!("read-{number}"), work)?;
    }
    for number in 0..BUILDERS {
        spawn(shell, format!("index-{number}"), build)?;
    }
    Ok(())
}

fn spawn(shell: &Arc<Shell>, name: String, work: fn(&Shell)) -> std::io::Result<()> {
    let shell = Arc::clone(shell);
    thread::Builder::new().name(name).stack_size(256 << 10).spawn(move || or_exit(|| work(&shell)))?;
    Ok(())
}

fn work(shell: &Shell) {
    let mut buffer = Vec::new();
    for job in &shell.readers.queue {
        job.run(shell, &mut buffer);
        if shell.readers.queue.is_empty() {
            // An idle node holds no buffers.
            buffer = Vec::new();
        }
    }
}

fn build(shell: &Shell) {
    for partition in &shell.readers.to_build {
        let mut out = shell.outputs();
        partition.build_index(&mut out);
        shell.dispatch(out);
    }
}

impl Job {
    fn run(self, shell: &Shell, buffer: &mut Vec<u8>) {
        match self {
            Self::Send(conn, range) => {
                read(&range, buffer);
                shell.mailboxes.warmed(conn, range.len);
            }
            Self::LookAgain(conn, cold) => {
                let mut out = shell.outputs();
                let waiting = cold.lookups.iter().filter(|lookup| !lookup.run(conn, &mut out)).count();
                cold.ranges.iter().for_each(|range| read(range, buffer));
                if waiting == 0 {
                    out.wakes.push(conn);
                }
                shell.dispatch(out);
            }
        }
    }
}

/// An error shows again, and is told, where the bytes are sent.
fn read(range: &FileRange, buffer: &mut Vec<u8>) {
    buffer.resize(CHUNK, 0);
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
