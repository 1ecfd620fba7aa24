//! How much room the volume has, and what is still done with it (OP-10). A disk that runs full takes the metadata store
//! with it, and a store that cannot write ends the process: so appends stop while there is still a reserve, and what is
//! left of the reserve in the end belongs to whatever makes room again. Reads need none and go on.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use parking_lot::Mutex;
use pyralog_storage::Space;

/// Share of the volume that is kept free by default, as a divisor.
const SHARE: u64 = 100;
/// The default lies between these.
const RESERVE_MIN: u64 = 64 << 20;
const RESERVE_MAX: u64 = 1 << 30;
/// No more than this part of a small volume is kept free, whatever the bounds say.
const SHARE_MAX: u64 = 8;
/// Below this part of the reserve there is nothing left for changes of metadata.
const OUT: u64 = 4;
/// Room has to come back by this part more than was missing, so that it does not go to and fro.
const BACK: u64 = 8;
/// Bytes per millisecond that appends may take in the worst case, to look again before they have taken the reserve.
const FILL_RATE: u64 = 4 << 20;
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
}

/// The bytes to keep free on such a volume: as `pyralog.disk.reserve.bytes` says, -1 leaves it to us.
pub fn reserve_bytes(configured: i64, volume: Space) -> u64 {
    u64::try_from(configured).unwrap_or_else(|_| {
        (volume.total_bytes / SHARE).clamp(RESERVE_MIN, RESERVE_MAX).min(volume.total_bytes / SHARE_MAX)
    })
}

impl Level {
    /// The level after another look. `refused_bytes`: the largest append since the last one that was refused because it
    /// would have begun the reserve; 0 if none was. There is room again when that one fits.
    #[must_use]
    pub fn next(self, volume: Space, reserve_bytes: u64, refused_bytes: u64) -> Self {
        let free_bytes = volume.usable_bytes;
        let out = reserve_bytes / OUT;
        let refused_bytes = self.refused_bytes.max(refused_bytes);
        // A border that was passed counts as a little higher until there is clearly more.
        let border = |bytes: u64, passed: bool| if passed { bytes.saturating_add(bytes / BACK) } else { bytes };
        let low = border(reserve_bytes, self.room >= Room::Low).max(reserve_bytes.saturating_add(refused_bytes));
        let room = if free_bytes < border(out, self.room == Room::Out) {
            Room::Out
        } else if free_bytes < low {
            Room::Low
        } else {
            return Self { room: Room::Enough, free_bytes, reserve_bytes, refused_bytes: 0 };
        };
        Self { room, free_bytes, reserve_bytes, refused_bytes }
    }

    /// Bytes that appends may take until the next look. `None`: nothing is kept free.
    pub fn spare_bytes(&self) -> Option<u64> {
        (self.reserve_bytes > 0).then(|| self.free_bytes.saturating_sub(self.reserve_bytes))
    }

    /// When to look again, in ms: the nearer to the reserve, the sooner.
    pub fn look_again_ms(&self) -> u64 {
        (self.free_bytes.saturating_sub(self.reserve_bytes) / FILL_RATE).clamp(LOOK_MS_MIN, LOOK_MS_MAX)
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
}

impl Gauge {
    pub fn set(&self, level: Level) {
        *self.level.lock() = level;
        self.room.store(level.room as u8, Ordering::Relaxed);
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

    /// Counts a refusal and words it.
    pub fn refuse(&self) -> String {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let Level { free_bytes, reserve_bytes, .. } = self.level();
        format!(
            "the disk of the broker has {free_bytes} bytes free, and {reserve_bytes} are kept in reserve \
             (pyralog.disk.reserve.bytes): try again when there is room"
        )
    }
}

#[cfg(test)]
mod tests;
