//! How much room the volume has, and what is still done with it (OP-10). A disk that runs full takes the metadata store
//! with it, and a store that cannot write ends the process: so appends stop while there is still a reserve, and what is
//! left of the reserve in the end belongs to whatever makes room again. Reads need none and go on. A volume without inodes is
//! as full as one without bytes.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use pyralog_coordinator::NoRoom;
use pyralog_storage::{Allowance, Inodes, Seen, Space};

/// Share of the volume that is kept free by default, as a divisor.
const SHARE: u64 = 100;
/// The default lies between these.
const RESERVE_MIN: u64 = 64 << 20;
const RESERVE_MAX: u64 = 1 << 30;
/// The inodes that are kept lie between these.
const INODES_MIN: u64 = 256;
const INODES_MAX: u64 = 4096;
/// Inodes that may go to folders which others are creating just then.
const IN_THE_MAKING: u64 = 64;
/// No more than this part of a small volume is kept free, whatever the bounds say.
const SHARE_MAX: u64 = 8;
/// Below this part of the reserve there is nothing left for changes of metadata.
const OUT: u64 = 4;
/// Part of what is left then that changes of configs may take, as a divisor: whoever makes thousands of them does not take what
/// the metadata store needs.
const FOR_CONFIGS: u64 = 4;
/// At least so many bytes: to have logs keep less is a way out.
const FOR_CONFIGS_MIN: u64 = 64 << 10;
/// Room has to come back by this part more than was missing, so that it does not go to and fro.
const BACK: u64 = 8;
/// Bytes per millisecond that appends may take in the worst case, to look again before they have taken the reserve.
const FILL_RATE: u64 = 4 << 20;
/// Files per millisecond that may be created in the worst case.
const CREATE_RATE: u64 = 20;
const LOOK_MS_MIN: u64 = 20;
const LOOK_MS_MAX: u64 = 1000;

/// What there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Everything.
    #[default]
    Enough,
    /// No appends: the reserve has begun. Metadata, groups and committed offsets go on.
    Low,
    /// Nothing that does not make room: the reserve is all but used up.
    Out,
}

/// What was found when the volume was last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// What that leaves room for.
    pub room: Room,
    /// Bytes that may still be filled.
    pub free_bytes: u64,
    /// Bytes that are kept free.
    pub reserve_bytes: u64,
    /// Largest append that was refused because it would have begun the reserve, since there was enough.
    pub refused_bytes: u64,
    /// Files that may still be created, if that is limited.
    pub free_inodes: Option<u64>,
    /// Inodes that are kept free.
    pub reserve_inodes: u64,
    /// What bytes alone leave room for.
    pub room_by_bytes: Room,
    /// What inodes alone leave room for.
    pub room_by_inodes: Room,
    /// How often there was no room at all, this time included.
    pub outs: u64,
    /// Bytes that changes of configs may take in all, as long as there is none.
    pub configs_bytes: u64,
}

/// The bytes to keep free on such a volume: as `pyralog.disk.reserve.bytes` says, -1 leaves it to us.
pub fn reserve_bytes(configured: i64, volume: Space) -> u64 {
    u64::try_from(configured).unwrap_or_else(|_| {
        (volume.total_bytes / SHARE).clamp(RESERVE_MIN, RESERVE_MAX).min(volume.total_bytes / SHARE_MAX)
    })
}

/// Inodes that new partitions leave on such a volume: so many more than are kept free that their folders alone never begin the
/// reserve, and keep nobody from appending to other logs. `configured` is what is said of bytes.
pub(crate) fn inodes_left_alone(configured: i64, inodes: Inodes) -> u64 {
    // A reserve of nothing refuses nothing.
    if configured == 0 { 0 } else { left_alone(reserve_inodes(inodes)) }
}

fn left_alone(kept: u64) -> u64 {
    once_passed(kept) + IN_THE_MAKING
}

/// A border that was passed counts as a little higher until there is clearly more.
fn once_passed(border: u64) -> u64 {
    border.saturating_add(border / BACK)
}

/// The inodes to keep free where bytes are.
fn reserve_inodes(inodes: Inodes) -> u64 {
    (inodes.total / SHARE).clamp(INODES_MIN, INODES_MAX).min(inodes.total / SHARE_MAX)
}

impl Level {
    /// The level after another look. `refused_bytes`: the largest append since the last one that was refused because it
    /// would have begun the reserve; 0 if none was. There is room again when that one fits.
    #[must_use]
    pub fn next(self, volume: Space, reserve_bytes: u64, refused_bytes: u64) -> Self {
        let free_bytes = volume.usable_bytes;
        let refused_bytes = self.refused_bytes.max(refused_bytes);
        let room_by_bytes = judge(free_bytes, reserve_bytes, refused_bytes, self.room_by_bytes);
        // A reserve of nothing refuses nothing.
        let inodes = volume.inodes.filter(|_| reserve_bytes > 0);
        let reserve_inodes = inodes.map_or(0, reserve_inodes);
        let room_by_inodes =
            inodes.map_or(Room::Enough, |inodes| judge(inodes.usable, reserve_inodes, 0, self.room_by_inodes));
        let room = room_by_bytes.max(room_by_inodes);
        let begins = room == Room::Out && self.room != Room::Out;
        // Of the most that was ever left since: what they take themselves makes it no less, and the ballast makes it more.
        let for_configs = (free_bytes.min(reserve_bytes / OUT) / FOR_CONFIGS).max(FOR_CONFIGS_MIN);
        Self {
            room,
            free_bytes,
            reserve_bytes,
            refused_bytes: if room_by_bytes == Room::Enough { 0 } else { refused_bytes },
            free_inodes: inodes.map(|inodes| inodes.usable),
            reserve_inodes,
            room_by_bytes,
            room_by_inodes,
            outs: self.outs + u64::from(begins),
            configs_bytes: if begins { for_configs } else { for_configs.max(self.configs_bytes) },
        }
    }

    /// What the coordinator is told where there is no room at all.
    pub(crate) fn no_room(&self) -> NoRoom {
        NoRoom { time: self.outs, configs_bytes: self.configs_bytes }
    }

    /// Whether it is for want of inodes that there is no more room.
    pub fn lacks_inodes(&self) -> bool {
        self.room != Room::Enough && self.room_by_inodes == self.room
    }

    /// Whether there are too few inodes for new logs, which leave more of them than appends do.
    pub fn lacks_inodes_for_new(&self) -> bool {
        self.reserve_inodes > 0 && self.free_inodes.is_some_and(|free| free < left_alone(self.reserve_inodes))
    }

    /// Bytes that appends may take until the next look. `None`: nothing is kept free.
    pub fn spare_bytes(&self) -> Option<u64> {
        (self.reserve_bytes > 0).then(|| self.free_bytes.saturating_sub(self.reserve_bytes))
    }

    /// Bytes that may go without committed offsets being refused for it; 0 where they are.
    pub fn before_out_bytes(&self) -> u64 {
        if self.room == Room::Out { 0 } else { self.free_bytes.saturating_sub(once_passed(self.reserve_bytes / OUT)) }
    }

    /// When to look again, in ms: the nearer to the reserve, the sooner.
    pub fn look_again_ms(&self) -> u64 {
        let bytes_ms = self.free_bytes.saturating_sub(self.reserve_bytes) / FILL_RATE;
        let spare_inodes = self.free_inodes.map_or(u64::MAX, |free| free.saturating_sub(self.reserve_inodes));
        bytes_ms.min(spare_inodes / CREATE_RATE).clamp(LOOK_MS_MIN, LOOK_MS_MAX)
    }
}

/// What so much of one kind leaves room for. `refused`: it is enough only where that fits. `was`: what it left before.
fn judge(free: u64, reserve: u64, refused: u64, was: Room) -> Room {
    let border = |limit: u64, passed: bool| if passed { once_passed(limit) } else { limit };
    let low = border(reserve, was >= Room::Low).max(reserve.saturating_add(refused));
    if free < border(reserve / OUT, was == Room::Out) {
        Room::Out
    } else if free < low {
        Room::Low
    } else {
        Room::Enough
    }
}

/// The level as requests see it: one relaxed load for each of them.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    room: AtomicU8,
    level: Mutex<Level>,
    refused: AtomicU64,
    /// Largest append since the last look that would have begun the reserve.
    overrun: AtomicU64,
    /// The books of what the coordinator may write. What is left when there is no room any more is none of it.
    coordinator: Allowance,
}

impl Gauge {
    /// To be called before a look at the volume.
    pub fn before_look(&self) -> Seen {
        self.coordinator.before_look()
    }

    /// What was found; `None`: the volume could not be asked.
    pub fn after_look(&self, seen: Seen, level: Option<Level>) {
        let spare = level.filter(|level| level.reserve_bytes > 0).map(|level| level.before_out_bytes());
        self.coordinator.after_look(seen, spare);
        if let Some(level) = level {
            *self.level.lock() = level;
            self.room.store(level.room as u8, Ordering::Relaxed);
        }
    }

    /// Whether a command may be served that takes so many bytes of the disk, which are to be [settled](Self::settle) then.
    pub fn claim(&self, bytes: u64) -> Result<(), NoRoom> {
        let served = self.room() != Room::Out && (bytes == 0 || self.coordinator.claim(bytes));
        if served { Ok(()) } else { Err(self.level().no_room()) }
    }

    /// What was claimed is written, or will not be.
    pub fn settle(&self, bytes: u64) {
        self.coordinator.settle(bytes);
    }

    pub fn room(&self) -> Room {
        match self.room.load(Ordering::Relaxed) {
            0 => Room::Enough,
            1 => Room::Low,
            _ => Room::Out,
        }
    }

    pub fn level(&self) -> Level {
        *self.level.lock()
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// An append of so many bytes was refused that would have begun the reserve. The next look takes it into account.
    pub fn overrun(&self, bytes: u64) {
        self.overrun.fetch_max(bytes, Ordering::Relaxed);
    }

    /// The largest one since this was asked for the last time, 0 if there was none.
    pub fn take_overrun(&self) -> u64 {
        self.overrun.swap(0, Ordering::Relaxed)
    }

    /// Whether there are too few inodes for new logs.
    pub fn lacks_inodes_for_new(&self) -> bool {
        self.level().lacks_inodes_for_new()
    }

    /// Counts a refusal and words it.
    pub fn refuse(&self) -> String {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let level = self.level();
        let Level { free_bytes, reserve_bytes, free_inodes, reserve_inodes, .. } = level;
        let for_new = level.room == Room::Enough && level.lacks_inodes_for_new();
        if let Some(free_inodes) = free_inodes.filter(|_| for_new || level.lacks_inodes()) {
            let kept = if for_new { left_alone(reserve_inodes) } else { reserve_inodes };
            return format!(
                "the disk of the broker has {free_inodes} inodes free, which files need, and {kept} are kept in \
                 reserve (unless pyralog.disk.reserve.bytes is 0): try again when there are more"
            );
        }
        format!(
            "the disk of the broker has {free_bytes} bytes free, and {reserve_bytes} are kept in reserve \
             (pyralog.disk.reserve.bytes): try again when there is room"
        )
    }
}

#[cfg(test)]
mod tests;
