//! Opens many partitions at a time: recovery scans on several cores, and creations whose syncs the file system's
//! journal can put together.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use pyralog_node::lifecycle::{Left, Opened, PartitionSpec, SetAside};
use tracing::warn;

use crate::disk::RealDisk;
use crate::shell::Shell;

/// Opens or creates all of them on up to `threads` threads. `each` sees every partition as it is opened, with the count
/// of those that were begun; it runs on the opening threads.
pub fn open_all<'r>(
    shell: &Shell,
    specs: &[PartitionSpec],
    threads: usize,
    left: impl Fn(&PartitionSpec) -> Left<'r, RealDisk> + Sync,
    each: impl Fn(&Opened<RealDisk>, usize) + Sync,
) -> Vec<Opened<RealDisk>> {
    let next = AtomicUsize::new(0);
    let opened = Mutex::new(Vec::with_capacity(specs.len()));
    // Each thread takes the next one that nobody has.
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(spec) = specs.get(number) else { return };
            let open = shell.node.open_partition(&shell.disk, spec, &left(spec), shell.clock.now());
            open.aside.iter().for_each(tell_aside);
            each(&open, number);
            opened.lock().push(open);
        }
    };
    if threads.min(specs.len()) <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads.min(specs.len()) {
                scope.spawn(work);
            }
        });
    }
    opened.into_inner()
}

/// A folder that was in the way of a log's is kept, and somebody should know where.
pub fn tell_aside(SetAside { dir, aside }: &SetAside) {
    warn!(folder = %dir, now = %aside,
        "the folder belonged to another log and was in the way of a new one of that name; it is kept under another name, and \
         nobody uses it");
}
