//! Removes the files of deleted logs and of segments that have left their log, away from everybody who waits, and not
//! before `file.delete.delay.ms`: whoever deleted by mistake has that long to stop the broker and copy them. What has to go
//! has a name that says so already, so a crash in between leaves nothing that anybody could take for data; a start
//! removes what it finds. A folder's new name also frees its place for a log of the same name.
//!
//! While the disk is short of room nothing waits: room is what deletions are for then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pyralog_node::lifecycle::{DELETED, LOGS};
use pyralog_node::outputs::{Grave, Removal};
use pyralog_storage::{Disk, PartitionMeta};
use tracing::{debug, info, warn};

use crate::control::or_exit;
use crate::disk::RealDisk;

/// Files and folders that wait at most; with one more the oldest goes at once.
const WAITING_MAX: usize = 100_000;
/// Longest wait, so that every moment can be computed.
const DELAY_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The queue of what is to be removed.
pub struct Remover {
    disk: Arc<RealDisk>,
    messages: Sender<Message>,
    /// The disk is short of room.
    tight: Arc<AtomicBool>,
}

enum Message {
    Remove(Doomed, Duration),
    /// The disk is short of room.
    Hurry,
}

enum Doomed {
    Folder(String),
    File(String),
}

impl Remover {
    /// Starts the thread, and hands it what an earlier process did not finish.
    pub fn start(disk: Arc<RealDisk>) -> std::io::Result<Self> {
        let (messages, receiver) = unbounded();
        for name in disk.list(LOGS)?.into_iter().filter(|name| name.ends_with(DELETED)) {
            let _ = messages.send(Message::Remove(Doomed::Folder(format!("{LOGS}/{name}")), Duration::ZERO));
        }
        let tight = Arc::new(AtomicBool::new(false));
        let worker = Worker { disk: Arc::clone(&disk), tight: Arc::clone(&tight), waiting: BTreeMap::new(), count: 0 };
        thread::Builder::new()
            .name("remover".into())
            .stack_size(256 << 10)
            .spawn(move || or_exit(|| worker.run(&receiver)))?;
        Ok(Self { disk, messages, tight })
    }

    /// Takes a folder out of service: renamed now, removed later. The new name is short, because the old one may fill
    /// the file system's limit already.
    pub fn push_folder(&self, removal: &Removal) {
        let Removal { dir, topic, delay_ms } = removal;
        // Only what is the log's own goes with it (RL-16): somebody may have put the folder of another one in its place.
        if let Ok(meta) = PartitionMeta::read(&*self.disk, dir)
            && meta.topic_id != *topic
        {
            warn!(folder = %dir, found = %meta.topic_id, deleted = %topic,
                "the folder of a deleted log belongs to another log, and is left alone");
            return;
        }
        let index = dir.rsplit('-').next().unwrap_or_default();
        let grave = format!("{LOGS}/{topic}-{index}{DELETED}");
        match self.disk.rename(dir, &grave) {
            Ok(()) => self.push(Doomed::Folder(grave), *delay_ms),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => warn!(%dir, %error, "the folder of a deleted log could not be renamed; remove it by hand"),
        }
    }

    /// Takes over a file that is out of service already.
    pub fn push_file(&self, grave: Grave) {
        self.push(Doomed::File(grave.path), grave.delay_ms);
    }

    fn push(&self, doomed: Doomed, delay_ms: u64) {
        let _ = self.messages.send(Message::Remove(doomed, Duration::from_millis(delay_ms).min(DELAY_MAX)));
    }

    /// Whether the disk is short of room: then what waits goes at once, and so does what comes.
    pub fn set_tight(&self, tight: bool) {
        if !self.tight.swap(tight, Ordering::AcqRel) && tight {
            let _ = self.messages.send(Message::Hurry);
        }
    }
}

struct Worker {
    disk: Arc<RealDisk>,
    tight: Arc<AtomicBool>,
    /// By the moment at which they go; the number tells those of one moment apart.
    waiting: BTreeMap<(Instant, u64), Doomed>,
    count: u64,
}

impl Worker {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = match self.waiting.first_key_value().map(|((at, _), _)| *at) {
                Some(at) => messages.recv_deadline(at),
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Remove(doomed, delay)) => {
                    self.count += 1;
                    self.waiting.insert((Instant::now() + delay, self.count), doomed);
                }
                Ok(Message::Hurry) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.remove_due();
        }
    }

    fn remove_due(&mut self) {
        let too_many = |waiting: &BTreeMap<_, _>| waiting.len() > WAITING_MAX;
        while let Some(((at, _), _)) = self.waiting.first_key_value() {
            let due = *at <= Instant::now() || self.tight.load(Ordering::Acquire) || too_many(&self.waiting);
            if !due {
                return;
            }
            if let Some((_, doomed)) = self.waiting.pop_first() {
                remove(&self.disk, &doomed);
            }
        }
    }
}

fn remove(disk: &RealDisk, doomed: &Doomed) {
    match doomed {
        Doomed::Folder(folder) => {
            // The new name must be durable before files go: half a log under the old name would look like corruption.
            if let Err(error) = disk.sync_dir(LOGS) {
                warn!(%folder, %error, "the files of a deleted log stay, because its removal could not be made durable");
                return;
            }
            match disk.remove_dir_all(folder) {
                Ok(()) => info!(%folder, "removed the files of a deleted log"),
                Err(error) => warn!(%folder, %error, "could not remove the files of a deleted log"),
            }
        }
        Doomed::File(file) => match disk.remove_file(file) {
            Ok(()) => debug!(%file, "removed an old segment"),
            // With the folder of a log that was deleted meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => warn!(%file, %error, "could not remove an old segment; the next start tries again"),
        },
    }
}
