//! The part that all strategies share and every call goes through: numbers are handed out from memory, below a ceiling
//! that is known to be on disk. The fast path is one load, one `fetch_add` and one comparison, without a lock.
//!
//! Holds: a number is returned only after `Ledger::raise` returned a ceiling above it. `soft` ≤ `ceiling` ≤ `limit`, and
//! the ceiling never falls. `next` may be above the ceiling: a caller that claimed numbers there has not got them yet, it
//! waits for the ceiling to pass them. `next` falls in one case: a call that is refused gives back the last claim. A claim
//! that was refused and is not the last one is lost, which is a gap.
//!
//! Why claims, and no compare-exchange below the ceiling: under contention `fetch_add` makes progress on every try.
//!
//! Knows nothing of files. The ceiling of a new window is its first value, whatever the disk says: what a dead process
//! wrote may not be durable, so the first number waits for a raise of our own (IO-14, OB-09).

use std::sync::TryLockError;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::error::CounterError;
use super::primitives::{AtomicU64, Mutex, MutexGuard};

/// Values end below this. What is above is head room: claims beyond the ceiling can never wrap (OB-01), because a thread
/// has at most one, of at most [`SMALL`], and there are fewer than 2²⁴ threads.
pub(crate) const LIMIT: u64 = u64::MAX - u32::MAX as u64;

/// More than this at once is taken under the lock, where claims are checked before they are made.
const SMALL: u64 = 256;

/// Value of `soft` that keeps everybody off the fast path: before the first raise, and while raises are refused.
const SHUT: u64 = 0;

/// Where a strategy keeps its ceiling.
pub(crate) trait Ledger {
    /// Makes durable that values below the returned ceiling may be handed out. The ceiling is at least `least`, and
    /// `wanted` if possible; never above [`limit`](Ledger::limit). Values below `next` may be with callers already.
    fn raise(&mut self, next: u64, least: u64, wanted: u64) -> Result<u64, Refusal>;
    /// Whatever else the strategy keeps becomes durable.
    fn flush(&mut self) -> Result<(), Refusal>;
    /// The last call: the counter stands at `next`, and the next session may go on from there.
    fn close(&mut self, next: u64) -> Result<(), Refusal>;
    /// The first value that can never be handed out; at most [`LIMIT`].
    fn limit(&self) -> u64;
}

/// Why a ledger did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing changed; it may work later.
    ForNow(CounterError),
    /// What is on disk is not known any more (OB-09).
    ForGood(CounterError),
}

/// Apart from what is read along with it: `next` is written by everybody, `edge` hardly ever.
#[repr(align(128))]
struct Line<T>(T);

struct Edge {
    /// Claims that end up to here need no look at anything else.
    soft: AtomicU64,
    /// Written under the lock only.
    ceiling: AtomicU64,
}

struct Slow<L> {
    ledger: L,
    /// Whether this session raised its ceiling, so that numbers may be out.
    raised: bool,
    failed: Option<CounterError>,
}

pub(crate) struct Window<L> {
    next: Line<AtomicU64>,
    edge: Line<Edge>,
    slow: Mutex<Slow<L>>,
    step: u64,
}

impl<L: Ledger> Window<L> {
    /// A window that hands out nothing before its first raise. The ceiling is raised `step` ahead.
    pub(crate) fn new(next: u64, step: u64, ledger: L) -> Self {
        let next = next.min(ledger.limit());
        Self {
            next: Line(AtomicU64::new(next)),
            edge: Line(Edge { soft: AtomicU64::new(SHUT), ceiling: AtomicU64::new(next) }),
            slow: Mutex::new(Slow { ledger, raised: false, failed: None }),
            step,
        }
    }

    pub(crate) fn load(&self) -> u64 {
        self.next.0.load(Acquire)
    }

    /// The first of `n` numbers that belong to the caller alone.
    #[inline]
    pub(crate) fn take(&self, n: u64) -> Result<u64, CounterError> {
        let soft = self.edge.0.soft.load(Acquire);
        if soft != SHUT && n <= SMALL {
            let first = self.next.0.fetch_add(n, AcqRel);
            let end = first + n;
            if end <= soft {
                return Ok(first);
            }
            return self.cover(first, end);
        }
        self.take_slowly(n)
    }

    /// The claim `first..end` is past the soft edge: raises the ceiling if it must, and helps to raise it ahead of need.
    #[cold]
    #[inline(never)]
    fn cover(&self, first: u64, end: u64) -> Result<u64, CounterError> {
        if end <= self.edge.0.ceiling.load(Acquire) {
            // One thread raises, the others use what is left.
            let mut slow = match self.slow.try_lock() {
                Ok(slow) => slow,
                Err(TryLockError::WouldBlock) => return Ok(first),
                Err(TryLockError::Poisoned(poisoned)) => Self::fail_poisoned(poisoned.into_inner()),
            };
            if end > self.edge.0.soft.load(Acquire) {
                self.raise_ahead(&mut slow)?;
            }
            return Ok(first);
        }
        let mut slow = self.lock();
        if end > self.edge.0.ceiling.load(Acquire) {
            self.raise(&mut slow, end, end.saturating_add(self.step)).inspect_err(|_| {
                self.shut();
                // Nobody has got these numbers; if nobody claimed more meanwhile, they are not lost.
                let _ = self.next.0.compare_exchange(end, first, AcqRel, Relaxed);
            })?;
        }
        Ok(first)
    }

    /// Before the first raise, after a refused one, and for large `n`: checks first, claims then.
    #[cold]
    #[inline(never)]
    fn take_slowly(&self, n: u64) -> Result<u64, CounterError> {
        let mut slow = self.lock();
        if let Some(failed) = &slow.failed {
            return Err(failed.clone());
        }
        let limit = slow.ledger.limit();
        loop {
            let first = self.next.0.load(Acquire);
            let end = first.checked_add(n).filter(|end| *end <= limit).ok_or(CounterError::Exhausted { limit })?;
            if end > self.edge.0.ceiling.load(Acquire) {
                self.raise(&mut slow, end, end.saturating_add(self.step))?;
            }
            // Others claim without the lock meanwhile.
            if self.next.0.compare_exchange(first, end, AcqRel, Relaxed).is_ok() {
                return Ok(first);
            }
        }
    }

    /// Raises the ceiling while what is below it still lasts. That this is refused for now concerns nobody yet.
    fn raise_ahead(&self, slow: &mut Slow<L>) -> Result<(), CounterError> {
        let ceiling = self.edge.0.ceiling.load(Acquire);
        let limit = slow.ledger.limit();
        if slow.failed.is_none() && ceiling >= limit {
            return Ok(());
        }
        let raised = self.raise(slow, (ceiling + 1).min(limit), ceiling.saturating_add(self.step));
        match (raised, &slow.failed) {
            (Ok(()), _) => Ok(()),
            (Err(_), None) => {
                self.edge.0.soft.store(ceiling, Release);
                Ok(())
            }
            (Err(error), Some(_)) => Err(error),
        }
    }

    fn raise(&self, slow: &mut Slow<L>, least: u64, wanted: u64) -> Result<(), CounterError> {
        if let Some(failed) = &slow.failed {
            return Err(failed.clone());
        }
        let limit = slow.ledger.limit();
        if least > limit {
            return Err(CounterError::Exhausted { limit });
        }
        match slow.ledger.raise(self.next.0.load(Acquire), least, wanted.min(limit)) {
            Ok(ceiling) => {
                assert!((least..=limit).contains(&ceiling), "ceiling {ceiling} is not in {least}..={limit}");
                // At the limit there is nothing left to raise ahead of need.
                let ahead = if ceiling == limit { 0 } else { self.step / 2 };
                slow.raised = true;
                self.edge.0.ceiling.store(ceiling, Release);
                self.edge.0.soft.store(ceiling.saturating_sub(ahead).max(1), Release);
                Ok(())
            }
            Err(Refusal::ForNow(error)) => Err(error),
            Err(Refusal::ForGood(error)) => Err(self.fail(slow, error)),
        }
    }

    /// Tops the window up, and makes what the strategy keeps besides the ceiling durable.
    pub(crate) fn sync(&self) -> Result<(), CounterError> {
        let mut slow = self.lock();
        let limit = slow.ledger.limit();
        let next = self.load().min(limit);
        let wanted = next.saturating_add(self.step).min(limit);
        if slow.failed.is_some() || wanted > self.edge.0.ceiling.load(Acquire) {
            self.raise(&mut slow, next, wanted)?;
        }
        match slow.ledger.flush() {
            Ok(()) => Ok(()),
            Err(Refusal::ForNow(error)) => Err(error),
            Err(Refusal::ForGood(error)) => Err(self.fail(&mut slow, error)),
        }
    }

    /// Writes down where the counter stands. Exclusive, so that no claim can be under way.
    pub(crate) fn close(&mut self) -> Result<(), CounterError> {
        let next = self.load().min(self.edge.0.ceiling.load(Acquire));
        let slow = &mut *self.lock();
        if let Some(failed) = &slow.failed {
            return Err(failed.clone());
        }
        if !slow.raised {
            return Ok(());
        }
        slow.raised = false;
        match slow.ledger.close(next) {
            Ok(()) => Ok(()),
            Err(Refusal::ForNow(error) | Refusal::ForGood(error)) => {
                slow.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slow<L>> {
        self.slow.lock().unwrap_or_else(|poisoned| Self::fail_poisoned(poisoned.into_inner()))
    }

    /// A ledger that panicked is in an unknown state, like one whose sync failed.
    fn fail_poisoned(mut slow: MutexGuard<'_, Slow<L>>) -> MutexGuard<'_, Slow<L>> {
        slow.failed.get_or_insert_with(CounterError::panicked);
        slow
    }

    fn fail(&self, slow: &mut Slow<L>, error: CounterError) -> CounterError {
        self.shut();
        slow.failed = Some(error.clone());
        error
    }

    fn shut(&self) {
        self.edge.0.soft.store(SHUT, Release);
    }
}
