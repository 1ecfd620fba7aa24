//! Requests that wait in their connection until something changes: data, a VLSN, records that come from the disk. Each has a
//! deadline, and is looked at again whenever a partition that it watches, or the shell, wakes its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyralog_protocol::{MonoMs, Now};
use pyralog_storage::{Disk, Patience};

use crate::Node;
use crate::api::fetch::{self, FetchWait};
use crate::api::lookups::{self, LookupWait};
use crate::api::vlsn::{self, ReadWait};
use crate::connection::{ConnId, Connection};
use crate::outputs::Outputs;

/// Longest wait for what comes from the disk, in ms. Then the request is looked at again.
const WARMING_MS: i64 = 10_000;
/// How often a request waits for pages: what was brought into memory may have left it again. Then they are read where the request
/// is served. An index is never built there, however long that takes.
const WARMINGS: u32 = 3;

/// How a request waits for what comes from the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Warming {
    /// It does so until then at the latest.
    until: Option<MonoMs>,
    /// How often it did.
    times: u32,
}

impl Warming {
    /// Whether the next look may wait for the disk.
    pub fn patience(&self) -> Patience {
        if self.times < WARMINGS { Patience::Hurries } else { Patience::Reads }
    }

    /// A wait begins.
    pub fn begin(&mut self, now: Now) {
        *self = Self { until: Some(now.mono.after_ms(WARMING_MS)), times: self.times + 1 };
    }

    /// The wait is over.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// No more waits for pages.
    pub fn stop(&mut self) {
        *self = Self { until: None, times: WARMINGS };
    }

    /// When the wait ends, if there is one.
    pub fn until(&self) -> Option<MonoMs> {
        self.until
    }
}

/// What one request may take while it waits, in bytes, whatever others take.
const SMALL_BYTES: usize = 64 << 10;

/// Memory for requests that wait and name much, of all connections.
#[derive(Debug)]
pub(crate) struct WaitMemory {
    taken: AtomicUsize,
    limit: usize,
}

/// A part of it, for as long as a request waits. Small ones share nothing, and so touch nothing that other threads write to.
#[derive(Debug)]
pub(crate) enum WaitPart {
    Small,
    Large { memory: Arc<WaitMemory>, bytes: usize },
}

impl WaitMemory {
    /// So many bytes in all.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), limit })
    }

    /// A part of so many bytes, if there is room for it.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Option<WaitPart> {
        if bytes <= SMALL_BYTES {
            return Some(WaitPart::Small);
        }
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        let part = WaitPart::Large { memory: Arc::clone(self), bytes };
        (before.saturating_add(bytes) <= self.limit).then_some(part)
    }
}

impl Drop for WaitPart {
    fn drop(&mut self) {
        match self {
            Self::Small => {}
            Self::Large { memory, bytes } => {
                memory.taken.fetch_sub(*bytes, Ordering::Relaxed);
            }
        }
    }
}

/// What waits.
#[derive(Debug)]
pub(crate) enum Wait {
    /// A Fetch.
    Fetch(FetchWait),
    /// A read by VLSN.
    Read(Box<ReadWait>),
    /// A look-up.
    Lookup(Box<LookupWait>),
}

impl Wait {
    /// When it is answered with what there is.
    pub fn deadline(&self) -> MonoMs {
        match self {
            Self::Fetch(wait) => wait.deadline(),
            Self::Read(wait) => wait.deadline(),
            Self::Lookup(wait) => wait.deadline(),
        }
    }

    /// The wait is over now.
    pub fn stop(&mut self) {
        match self {
            Self::Fetch(wait) => wait.stop(),
            Self::Read(wait) => wait.stop(),
            Self::Lookup(wait) => wait.stop(),
        }
    }

    /// Its connection was woken, or its time is over.
    pub fn resume<D: Disk>(self, node: &Node<D>, conn: &mut Connection, now: Now, out: &mut Outputs<D>) {
        match self {
            Self::Fetch(wait) => fetch::resume(node, conn, wait, now, out),
            Self::Read(wait) => vlsn::resume(node, conn, wait, now, out),
            Self::Lookup(wait) => lookups::resume(node, conn, wait, now, out),
        }
    }

    /// Its connection is gone.
    pub fn abandon<D: Disk>(self, node: &Node<D>, conn: ConnId) {
        match self {
            Self::Fetch(wait) => fetch::abandon(node, conn, &wait),
            Self::Read(wait) => vlsn::abandon(node, conn, &wait),
            // It watches nothing.
            Self::Lookup(_) => {}
        }
    }
}
