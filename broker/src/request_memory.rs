//! Memory for large requests in the making, which all connections share (`queued.max.request.bytes`).
//! Holds: a frame gets all that it needs at once, in the order in which frames asked, so that nobody who holds a part waits
//! for the rest; whoever holds memory waits for nothing but its own peer. What is taken ahead, without knowing how long
//! the next frame is, comes from a share of its own and is never waited for: its holder may come to wait for a frame.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Least memory there is, in KiB.
const LEAST_KIB: usize = 1024;
/// One part in so many is for what is taken ahead.
const AHEAD_SHARE: usize = 4;

/// Memory that is waited for.
pub type Claim = Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>;

/// The memory, counted in KiB.
pub struct RequestMemory {
    frames: Arc<Semaphore>,
    frames_kib: usize,
    ahead: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl RequestMemory {
    /// So many bytes in all.
    pub fn new(bytes: usize) -> Self {
        let kib = (bytes / 1024).clamp(LEAST_KIB, Semaphore::MAX_PERMITS);
        let ahead_kib = kib / AHEAD_SHARE;
        let frames_kib = kib - ahead_kib;
        Self {
            frames: Arc::new(Semaphore::new(frames_kib)),
            frames_kib,
            ahead: Arc::new(Semaphore::new(ahead_kib)),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Memory for all of a frame, once there is enough and everybody who asked before has theirs. A frame that is larger than
    /// all there is takes everything, and is served alone.
    pub fn claim(self: &Arc<Self>, bytes: usize) -> Claim {
        let kib = kib_of(bytes.min(self.frames_kib.saturating_mul(1024)));
        let memory = Arc::clone(self);
        Box::pin(async move {
            if let Ok(permit) = Arc::clone(&memory.frames).try_acquire_many_owned(kib) {
                return permit;
            }
            let _waiting = Waiting::new(&memory.waiting);
            match Arc::clone(&memory.frames).acquire_many_owned(kib).await {
                Ok(permit) => permit,
                // Nobody closes it.
                Err(_) => std::future::pending().await,
            }
        })
    }

    /// Memory for a frame that may come, if there is some now.
    pub fn ahead(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.ahead).try_acquire_many_owned(kib_of(bytes)).ok()
    }

    /// Whether somebody waits for memory.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

fn kib_of(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// Counts who waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
