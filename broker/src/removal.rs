//! Removes the files of deleted logs, away from everybody who waits. A folder is first renamed, durably, so that a log
//! of the same name can be created at once and a crash in between leaves a folder that says what it is.

use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};
use pyralog_node::lifecycle::{DELETED, LOGS};
use pyralog_protocol::TopicId;
use pyralog_storage::Disk;
use tracing::{info, warn};

use crate::disk::RealDisk;

/// The queue of folders to remove.
pub struct Remover {
    disk: Arc<RealDisk>,
    folders: Sender<String>,
}

impl Remover {
    /// Starts the thread, and hands it what an earlier process did not finish.
    pub fn start(disk: Arc<RealDisk>) -> std::io::Result<Self> {
        let (folders, receiver) = unbounded();
        for name in disk.list(LOGS)?.into_iter().filter(|name| name.ends_with(DELETED)) {
            let _ = folders.send(format!("{LOGS}/{name}"));
        }
        let worker = Arc::clone(&disk);
        thread::Builder::new().name("remover".into()).stack_size(256 << 10).spawn(move || work(&worker, &receiver))?;
        Ok(Self { disk, folders })
    }

    /// Takes a folder out of service: renamed now, removed later. The new name is short, because the old one may fill
    /// the file system's limit already.
    pub fn push(&self, dir: &str, topic: TopicId) {
        let index = dir.rsplit('-').next().unwrap_or_default();
        let grave = format!("{LOGS}/{topic}-{index}{DELETED}");
        match self.disk.rename(dir, &grave) {
            Ok(()) => {
                let _ = self.folders.send(grave);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => warn!(%dir, %error, "the folder of a deleted log could not be renamed; remove it by hand"),
        }
    }
}

fn work(disk: &RealDisk, folders: &Receiver<String>) {
    for folder in folders {
        // The new name must be durable before files go: half a log under the old name would look like corruption.
        if let Err(error) = disk.sync_dir(LOGS) {
            warn!(%folder, %error, "the files of a deleted log stay, because its removal could not be made durable");
            continue;
        }
        match disk.remove_dir_all(&folder) {
            Ok(()) => info!(%folder, "removed the files of a deleted log"),
            Err(error) => warn!(%folder, %error, "could not remove the files of a deleted log"),
        }
    }
}
