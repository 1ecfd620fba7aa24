//! Network threads apart, for connections that move much at a time.
//!
//! All connections share the runtime of the process at first. One of its threads at a time waits for sockets, and hands to the others what
//! there is; that is right for small requests, of which a thread serves many before it has to wait again, and for records that a
//! waiting consumer gets from the thread that appended them. Two kinds of connections go on elsewhere, in a thread with a poll of its own:
//!
//! * *Writers* of large requests: each keeps a thread busy for so long that the hand-over is what the others wait for. With
//!   64 KiB batches on two processors: 2.0 instead of 1.8 GB/s. Small requests are a sixth slower that way when synced, and
//!   take twice as long to a waiting consumer, so they stay.
//! * *Readers* of a backlog, who take all of a processor for as long as it lasts. On the shared threads they are in the way of all others
//!   together. In lanes there are no more of them at a time than processors, and each offers its own to others after each turn
//!   ([`crate::courtesy`]). A lower priority would do as much for that, but whoever has it and holds the lock of a partition keeps
//!   writers waiting as long as itself: two thirds less was written.
//!
//! Who belongs where, and when it comes back, is the business of [`crate::traffic`].

use std::cell::RefCell;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;
use tracing::warn;

use crate::courtesy::Courtesy;
use crate::traffic::Threads;

/// Most lanes of a kind. There is one for each processor up to that.
const LANES_MAX: usize = 16;

/// A thread for one kind of connections.
struct Lane {
    runtime: Handle,
    /// Held by each connection that is served here.
    place: Arc<()>,
}

/// The threads for one kind of connections; none before the first of them.
#[derive(Default)]
struct Lanes(OnceLock<Vec<Lane>>);

impl Lanes {
    /// The lane with the fewest connections. `None`: threads could not be started.
    fn emptiest(&self, name: &str) -> Option<&Lane> {
        let lanes = self.0.get_or_init(|| {
            let processors = std::thread::available_parallelism().map_or(1, usize::from);
            let opened = (0..processors.min(LANES_MAX)).map(|_| open(name)).collect::<std::io::Result<_>>();
            opened.unwrap_or_else(|error| {
                warn!(%error, "no network threads could be started for large requests or answers; the others serve them");
                Vec::new()
            })
        });
        lanes.iter().min_by_key(|lane| Arc::strong_count(&lane.place))
    }
}

/// All threads that serve connections.
pub struct NetworkThreads {
    shared: Handle,
    writers: Lanes,
    readers: Lanes,
}

impl NetworkThreads {
    /// Those of the runtime on which this is called are the shared ones.
    pub fn new() -> Self {
        Self { shared: Handle::current(), writers: Lanes::default(), readers: Lanes::default() }
    }

    /// Goes on with something there, or on the shared threads where there are no others.
    pub fn spawn(&self, threads: Threads, task: impl Future<Output = ()> + Send + 'static) {
        let lane = match threads {
            Threads::Shared => None,
            Threads::Writers => self.writers.emptiest("lane"),
            Threads::Readers => self.readers.emptiest("backlog"),
        };
        let place = lane.map(|lane| Arc::clone(&lane.place));
        lane.map_or(&self.shared, |lane| &lane.runtime).spawn(async move {
            task.await;
            drop(place);
        });
    }
}

/// One thread, which lives as long as the process. A runtime for several, so that its task may block: another thread takes the
/// other tasks over, see [`crate::journaling::commit_here`].
fn open(name: &str) -> std::io::Result<Lane> {
    let runtime = Builder::new_multi_thread().enable_all().worker_threads(1).thread_name(name).build()?;
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    Ok(Lane { runtime: runtime.handle().clone(), place: Arc::default() })
}

thread_local! {
    static COURTESY: RefCell<Courtesy> = RefCell::new(Courtesy::new(Instant::now()));
}

/// A connection of this readers' lane has sent so many bytes, and its turn is over.
pub fn after_turn(bytes: usize, now: Instant) {
    if COURTESY.with_borrow_mut(|courtesy| courtesy.is_due(bytes, now)) {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_comes_to_the_lane_with_the_fewest() {
        let network = NetworkThreads::new();
        let lanes = std::thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
        let counts = || {
            let lanes = network.readers.0.get().expect("opened").iter();
            lanes.map(|lane| Arc::strong_count(&lane.place) - 1).collect::<Vec<_>>()
        };
        let gone: Vec<_> = (0..3 * lanes)
            .map(|_| {
                let (leave, left) = tokio::sync::oneshot::channel::<()>();
                network.spawn(Threads::Readers, async { drop(left.await) });
                leave
            })
            .collect();
        assert_eq!(counts(), vec![3; lanes]);
        drop(gone);
        while counts() != vec![0; lanes] {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
