//! The thread that watches how much room the volume has (OP-10): it says when appends stop and when they go on, tries again
//! what found no room, and gives away the ballast, a file that holds nothing, when there is none left at all.
//!
//! Deliberately not here: making room. What goes and when is for retention and for people.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use pyralog_node::room::{Level, Room};
use pyralog_storage::{Disk, Space};
use rustix::fs::{FallocateFlags, fallocate};
use tracing::{error, info, warn};

use crate::control::or_exit;
use crate::disk::RealDisk;
use crate::opening::tell_aside;
use crate::shell::Shell;

/// Name of the ballast in the data folder.
const BALLAST: &str = "ballast";
/// Name of a second one, which only a start gives away: whoever filled the disk may have taken the room of the first as well.
const START_BALLAST: &str = "ballast-start";
/// Part of the reserve that the ballast has, as a divisor.
const BALLAST_SHARE: u64 = 16;
const BALLAST_MAX: u64 = 16 << 20;
/// Room that a start needs for the metadata store.
const START_NEEDS: u64 = 8 << 20;
/// The same in files.
const START_NEEDS_INODES: u64 = 32;
/// The system's words for a full volume, in whatever the metadata store says.
const NO_ROOM: &str = "No space left on device";
/// Part of what a start on a full disk has left over that stays free, as a divisor: for deletions, and the metadata store.
const LEFT_OVER: u64 = 2;
/// With less than this free, what is deleted goes at once.
const FREE_MIN: u64 = 16 << 20;
/// How often partitions that could not be created are tried again.
const CREATE_EVERY: Duration = Duration::from_secs(5);

/// Calls for a look before the next one is due.
pub struct RoomBell {
    ring: Sender<()>,
    rung: Receiver<()>,
}

impl Default for RoomBell {
    fn default() -> Self {
        let (ring, rung) = bounded(1);
        Self { ring, rung }
    }
}

impl RoomBell {
    /// An append met the reserve.
    pub fn look(&self) {
        // One that is not answered yet does for all.
        let _ = self.ring.try_send(());
    }
}

/// The running thread; dropping it does not stop it.
pub struct RoomWatch {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl RoomWatch {
    /// Looks once, so that the first request sees what there is, and starts the thread.
    pub fn start(shell: Arc<Shell>, folder: &Path) -> io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let mut watch = Watch::new(shell, folder);
        watch.look();
        watch.take_back_start_ballast();
        let thread = thread::Builder::new()
            .name("room".into())
            .stack_size(256 << 10)
            .spawn(move || or_exit(|| watch.run(&stopped)))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and waits for it.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Before anything is opened: a start on a full disk gets the ballast, so that there is a broker to delete logs with.
pub fn make_way(disk: &RealDisk, folder: &Path) {
    if disk.space().is_ok_and(|volume| volume.usable_bytes >= START_NEEDS) {
        return;
    }
    let gone = [START_BALLAST, BALLAST].map(|name| fs::remove_file(folder.join(name)).is_ok());
    if gone.contains(&true) {
        warn!("the disk is full; gave the ballast away, to be able to start");
    }
}

/// Words a failure to open the metadata store where that is for want of room, and nothing is wrong with the store.
pub fn explain(disk: &RealDisk, error: String) -> String {
    if !error.contains(NO_ROOM) {
        return error;
    }
    match disk.space() {
        Ok(volume) if volume.usable_bytes < START_NEEDS => format!(
            "the disk is full: {} bytes are free, and a start may need up to {START_NEEDS} for the metadata store. Nothing \
             acknowledged is lost; free some space and start again ({error})",
            volume.usable_bytes
        ),
        Ok(Space { inodes: Some(inodes), .. }) if inodes.usable < START_NEEDS_INODES => format!(
            "the disk is full: {} inodes are free, and a start may need up to {START_NEEDS_INODES} for the metadata store. \
             Nothing acknowledged is lost; remove some files and start again ({error})",
            inodes.usable
        ),
        Ok(_) | Err(_) => error,
    }
}

struct Watch {
    shell: Arc<Shell>,
    ballast: PathBuf,
    start_ballast: PathBuf,
    level: Level,
    /// The volume could not be asked; told once.
    blind: bool,
    create_at: Instant,
}

impl Watch {
    fn new(shell: Arc<Shell>, folder: &Path) -> Self {
        let (ballast, start_ballast) = (folder.join(BALLAST), folder.join(START_BALLAST));
        Self {
            shell,
            ballast,
            start_ballast,
            level: Level::default(),
            blind: false,
            create_at: Instant::now() + CREATE_EVERY,
        }
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        loop {
            select! {
                recv(stopped) -> _ => return,
                recv(self.shell.room.rung) -> _ => {}
                default(Duration::from_millis(self.level.look_again_ms())) => {}
            }
            let before = self.level.room;
            self.look();
            let back = before != Room::Enough && self.level.room == Room::Enough;
            if back || Instant::now() >= self.create_at {
                self.create_late();
            }
            if self.level.room == Room::Enough {
                self.keep_ballast();
            }
        }
    }

    fn look(&mut self) {
        let configured = self.shell.node.topology().image.broker().upkeep.disk_reserve_bytes;
        let level = match self.shell.node.look_at_room(configured, || self.shell.disk.space()) {
            Ok(level) => level,
            Err(cause) => {
                if !std::mem::replace(&mut self.blind, true) {
                    warn!(%cause, "the volume of the data folder cannot be asked for its free space; a full disk is noticed late");
                }
                return;
            }
        };
        self.blind = false;
        let before = std::mem::replace(&mut self.level, level).room;
        // Also where nothing is kept in reserve.
        self.shell.remover.set_tight(level.room != Room::Enough || level.free_bytes < FREE_MIN);
        if self.level.room != before {
            self.tell(before);
            // Retention has other hours while the disk is full.
            self.shell.upkeep.look();
        }
    }

    fn tell(&self, before: Room) {
        let Level { room, free_bytes, reserve_bytes, .. } = self.level;
        if self.level.lacks_inodes() {
            return self.tell_inodes();
        }
        match room {
            Room::Enough => info!(free_bytes, reserve_bytes, "there is room on the disk again; appends are taken"),
            Room::Low if before == Room::Out => {
                info!(
                    free_bytes,
                    reserve_bytes, "there is a little room on the disk again; committed offsets are taken"
                );
            }
            Room::Low => warn!(
                free_bytes,
                reserve_bytes,
                "the disk is nearly full: appends are refused until there is room again; reads, deletions and committed \
                 offsets go on. Free space, delete logs or records, or lower retention (pyralog.disk.reserve.bytes is what \
                 is kept free)"
            ),
            Room::Out => {
                error!(
                    free_bytes,
                    reserve_bytes,
                    "the disk is full: committed offsets and new logs are refused as well, so that the metadata stays safe; \
                     reads and deletions go on. Free space, or delete logs"
                );
                self.drop_ballast();
            }
        }
    }

    /// The same where it is not bytes that are missing.
    fn tell_inodes(&self) {
        let Level { room, free_inodes, reserve_inodes, .. } = self.level;
        let free_inodes = free_inodes.unwrap_or(0);
        if room == Room::Out {
            error!(
                free_inodes,
                reserve_inodes,
                "the disk has no inodes left for new files: committed offsets are refused as well as appends and new logs, so that \
                 the metadata stays safe; reads and deletions go on. Remove files, or delete logs"
            );
            self.drop_ballast();
        } else {
            warn!(
                free_inodes,
                reserve_inodes,
                "the disk has hardly any inodes left for new files: appends and new logs are refused until there are more; \
                 reads, deletions and committed offsets go on. Remove files, delete logs, or use larger segments \
                 (segment.bytes)"
            );
        }
    }

    fn create_late(&mut self) {
        self.create_at = Instant::now() + CREATE_EVERY;
        let late = self.shell.node.create_late(&self.shell.disk, self.shell.clock.now());
        late.aside.iter().for_each(tell_aside);
        if late.created > 0 {
            info!(partitions = late.created, "partitions that could not be created before serve now");
        }
    }

    /// What is left belongs to the metadata store, and to deletions, which need a little room themselves.
    fn drop_ballast(&self) {
        match fs::remove_file(&self.ballast) {
            Ok(()) => info!("gave the ballast away, for deletions and metadata"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(%error, "the ballast could not be given away"),
        }
    }

    /// The start is over. What it did not need of its ballast is for the next one, which may find the disk as full: else whoever fills
    /// disks takes it, and there is no broker to delete logs with. Committed offsets are not refused for it where they are taken.
    fn take_back_start_ballast(&self) {
        let left = self.level.free_bytes;
        let spare = if self.level.room == Room::Out { left - left / LEFT_OVER } else { self.level.before_out_bytes() };
        let bytes = START_NEEDS.min(spare);
        if self.level.room != Room::Enough && bytes > 0 && !self.start_ballast.exists() {
            make(&self.start_ballast, bytes);
        }
    }

    /// Makes what there is not of the ballast, and plenty of room for.
    fn keep_ballast(&self) {
        let bytes = (self.level.reserve_bytes / BALLAST_SHARE).min(BALLAST_MAX);
        // All that a start needs, as far as a small volume has it.
        let for_a_start = START_NEEDS.min(self.level.reserve_bytes / 2);
        let plenty = self.level.free_bytes > self.level.reserve_bytes.saturating_mul(2);
        for (path, bytes) in [(&self.ballast, bytes), (&self.start_ballast, for_a_start)] {
            let there = fs::metadata(path).map_or(0, |ballast| ballast.len());
            if plenty && there < bytes {
                let _ = fs::remove_file(path);
                make(path, bytes);
            }
        }
    }
}

/// Makes ballast, if it can.
fn make(path: &Path, bytes: u64) {
    if let Err(error) = allocate(path, bytes) {
        // It is an additional safety: without it the reserve alone has to do.
        let _ = fs::remove_file(path);
        tracing::debug!(%error, "no ballast");
    }
}

/// Makes a file that really takes its room.
fn allocate(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let zeros = vec![0; 1 << 20];
            let mut left = bytes;
            while left > 0 {
                let part = zeros.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&zeros);
                file.write_all(part)?;
                left -= part.len() as u64;
            }
            Ok(())
        }
        done => Ok(done?),
    }
}
