//! The counter as one bit per value in mapped memory, below a ceiling in the header. What the bits are for: they name the
//! values that were handed out, so that after a crash a gap can be told from a value in use (OB-04).
//!
//! The bits between the mark's `next` and its ceiling are all that recovery looks at, however large the file is.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::disk::{Disk, DiskFile, Map};
use crate::header::{Mark, PAGE};
use crate::ledger::HeaderLedger;
use crate::live::{Live, NEXT, REST};
use crate::place::Wanted;
use crate::window::{LIMIT, Window};
use crate::{CounterError, OpenError, Options, PersistentAtomic, StrategyKind};

pub(crate) const DEFAULT_STEP: u64 = 1 << 20;
/// 2⁴³ bits are a file of 1 TiB.
const CAPACITY_MAX: u64 = 1 << 43;

pub(crate) struct Bitmap<D: Disk> {
    window: Window<HeaderLedger<D>>,
    map: Arc<<D::File as DiskFile>::Map>,
    /// The values that have a bit.
    values: Range<u64>,
}

impl<D: Disk> Bitmap<D> {
    pub(crate) fn open(disk: &D, path: &Path, capacity: u64, options: &Options) -> Result<Self, OpenError> {
        let step = options.step_or(DEFAULT_STEP)?;
        if !(1..=CAPACITY_MAX).contains(&capacity) {
            let what = format!("a capacity of {capacity} values is not allowed; it must be 1 to {CAPACITY_MAX}");
            return Err(OpenError::Invalid { what });
        }
        let len = PAGE * 2 + capacity.div_ceil(8 * PAGE) * PAGE;
        let strategy = StrategyKind::BitmapMmap;
        let opened =
            Wanted { disk, path, options, strategy, parameter: Some(("capacity", capacity)) }.open_single(len)?;
        let base = opened.header.head.base;
        let values = base.min(LIMIT)..base.saturating_add(capacity).min(LIMIT);
        let live = Live::open(path, &opened, len)?;
        let exact = |map: &<D::File as DiskFile>::Map, mark: &Mark| {
            let window = mark.next.saturating_sub(base)..mark.ceiling.saturating_sub(base);
            // Power loss may have taken bits from below where this session's predecessor began.
            let began = map.words()[NEXT].load(Acquire);
            highest_set(bits(map), window).map_or(began, |bit| began.max(base + bit + 1))
        };
        let recovered = live.recover(path, &opened, exact)?;
        // The floor is not in there: nothing above the ceiling is out before that is raised.
        live.begin(recovered);
        let next = recovered.max(options.floor);
        let map = Arc::clone(&live.map);
        let ledger = HeaderLedger::new(disk, path, opened, values.end).with_live(live);
        Ok(Self { window: Window::new(next, step, ledger), map, values })
    }

    pub(crate) fn handed_out(&self, value: u64) -> bool {
        self.values.contains(&value) && {
            let (word, mask) = place_of(value - self.values.start);
            bits(self.map.as_ref()).get(word).is_some_and(|word| word.load(Acquire) & mask != 0)
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.values.end - self.values.start
    }

    pub(crate) fn close(mut self) -> Result<(), CounterError> {
        self.window.close()
    }
}

impl<D: Disk> PersistentAtomic for Bitmap<D> {
    #[inline]
    fn fetch_add(&self, n: u64) -> Result<u64, CounterError> {
        let first = self.window.take(n)?;
        let bit = first - self.values.start;
        if n == 1 {
            let (word, mask) = place_of(bit);
            bits(self.map.as_ref())[word].fetch_or(mask, Release);
        } else {
            set_all(bits(self.map.as_ref()), bit..bit + n);
        }
        Ok(first)
    }

    fn load(&self) -> u64 {
        self.window.load()
    }

    fn sync(&self) -> Result<(), CounterError> {
        self.window.sync()
    }
}

impl<D: Disk> Drop for Bitmap<D> {
    fn drop(&mut self) {
        // Without it the next session believes the bits, or skips what is reserved, and nothing worse.
        let _ = self.window.close();
    }
}

#[inline]
fn bits(map: &impl Map) -> &[AtomicU64] {
    &map.words()[REST..]
}

/// Word and mask of a bit. The bytes in the file are the same on every machine.
#[inline]
fn place_of(bit: u64) -> (usize, u64) {
    (word_of(bit), (1_u64 << (bit % 64)).to_le())
}

/// A bit has a word in memory, so the number of that fits.
#[inline]
#[allow(clippy::cast_possible_truncation)]
fn word_of(bit: u64) -> usize {
    (bit / 64) as usize
}

fn set_all(words: &[AtomicU64], range: Range<u64>) {
    for (word, mask) in masks(range) {
        words[word].fetch_or(mask.to_le(), Release);
    }
}

fn highest_set(words: &[AtomicU64], range: Range<u64>) -> Option<u64> {
    masks(range).rev().find_map(|(word, mask)| {
        let found = u64::from_le(words.get(word)?.load(Acquire)) & mask;
        (found != 0).then(|| word as u64 * 64 + u64::from(found.ilog2()))
    })
}

/// The words that a range of bits touches, and which bits of them.
fn masks(range: Range<u64>) -> impl DoubleEndedIterator<Item = (usize, u64)> {
    let words = if range.is_empty() { 0..0 } else { word_of(range.start)..word_of(range.end - 1) + 1 };
    words.map(move |word| {
        let first = word as u64 * 64;
        let from = range.start.saturating_sub(first);
        let to = (range.end - first).min(64);
        (word, u64::MAX << from & u64::MAX >> (64 - to))
    })
}
