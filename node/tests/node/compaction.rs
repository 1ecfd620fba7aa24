//! Rounds of compaction over a partition that serves meanwhile.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use pyralog_node::Outputs;
use pyralog_node::compaction::Means;
use pyralog_node::partition::Partition;
use pyralog_protocol::{LogOffset, Now};
use pyralog_storage::sim::SimDisk;
use pyralog_storage::{CompactError, CompactionRound, KeyMap};

use crate::world::*;

const FOLDER: &str = "logs/a-0";

/// A compacted log whose full segments are on disk.
fn compacted() -> (World, Arc<Partition<SimDisk>>) {
    let mut world = World::new();
    world.create("a", 1, &[("cleanup.policy", "compact"), ("internal.segment.bytes", "3000")]);
    let conn = world.connect();
    for n in 0..8 {
        let part = produced(world.ask(conn, PRODUCE, produce_request("a", 0, -1, batch(&[n; 700]))));
        assert_eq!(part.error_code, 0);
    }
    world.checkpoint();
    world.settle();
    let partition = world.node.compacted().remove(0);
    (world, partition)
}

fn round(partition: &Arc<Partition<SimDisk>>, now: Now) -> Result<Option<CompactionRound>, CompactError> {
    let mut map = KeyMap::new(1 << 20, 0.9, [1, 2]);
    let mut pace = |_| true;
    let means = Means { map: &mut map, chunk: 16 << 10, pace: &mut pace };
    partition.compact(now, means, &mut Outputs::default())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it plays the threads of the shell")]
fn a_partition_serves_while_it_goes_to_disk_how_far_holes_may_lie() {
    let (world, partition) = compacted();
    let (disk, served_by) = (Arc::clone(&world.disk), Arc::clone(&partition));
    let mut gate = disk.hold_next_sync_of(FOLDER);
    let meanwhile = thread::spawn(move || {
        let mut all = Vec::new();
        // The cleaned segment, its marker, and then that.
        for _ in 0..3 {
            gate.wait();
            let (served, is_served) = mpsc::channel();
            let partition = Arc::clone(&served_by);
            let reader = thread::spawn(move || served.send(partition.bounds().is_ok()));
            all.push(is_served.recv_timeout(Duration::from_secs(60)));
            let next = if all.len() < 3 { disk.hold_next_sync_of(FOLDER) } else { Arc::clone(&gate) };
            std::mem::replace(&mut gate, next).wait();
            reader.join().unwrap().unwrap();
        }
        all
    });
    let done = round(&partition, world.now).unwrap().unwrap();
    assert_eq!(meanwhile.join().unwrap(), [Ok(true); 3]);
    assert_eq!((done.clean_end, done.replaced), (LogOffset(6), 2));
    let problems = world.kill().problems;
    assert!(problems.is_empty(), "{problems:?}");
}
