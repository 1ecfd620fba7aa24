//! Compaction of one partition: the log's rounds, between its lock and the caller's thread. Which partition is next, how
//! fast and when is the shell's. Only what is below the high watermark is cleaned.

use std::sync::Arc;

use pyralog_protocol::Now;
use pyralog_storage::{Cleanable, CompactError, CompactionRound, Disk, KeyMap, Pace, Patience, ReadError};

use crate::Node;
use crate::outputs::Outputs;
use crate::partition::Partition;

/// What a thread brings along for a round.
pub struct Means<'a> {
    /// Where the keys go; empty.
    pub map: &'a mut KeyMap,
    /// Bytes that are read or written at a time.
    pub chunk: usize,
    /// Told of every read and write; says whether to go on.
    pub pace: Pace<'a>,
}

impl<D: Disk> Node<D> {
    /// Partitions whose `cleanup.policy` has `compact`.
    pub fn compacted(&self) -> Vec<Arc<Partition<D>>> {
        let topology = self.topology();
        let compacted = topology.logs.values().filter(|entry| entry.log.settings.cleanup.compact);
        compacted.flat_map(|entry| entry.partitions.iter().cloned()).collect()
    }
}

impl<D: Disk> Partition<D> {
    /// How dirty the log is. Has it synced where full segments wait only for that. None: it cannot be compacted now.
    pub fn cleanable(self: &Arc<Self>, now: Now, out: &mut Outputs<D>) -> Result<Option<Cleanable>, ReadError> {
        let found = self.look_up(Patience::Waits, |log, bounds| {
            log.seal_for_compaction(now)?;
            log.cleanable(now, bounds.high_watermark)
        });
        // A partition that does not serve is not compacted.
        let found = found.unwrap_or(Ok(None)).inspect_err(|error| {
            if let ReadError::Damaged { segment, position, what } = *error {
                let damaged = Err(CompactError::Damaged { segment, position, what });
                let _ = self.with_log(|log, _| log.end_compaction(&damaged));
            }
        })?;
        if found.is_some_and(|found| found.unflushed) {
            self.flush(out);
        }
        Ok(found)
    }

    /// Whether a round failed in a way that another one would as well.
    pub fn is_uncleanable(self: &Arc<Self>) -> bool {
        self.with_log(|log, _| log.is_uncleanable()).unwrap_or(false)
    }

    /// Runs a round of compaction. Blocks; the partition serves meanwhile. None: there is nothing to clean.
    pub fn compact(
        self: &Arc<Self>,
        now: Now,
        means: Means<'_>,
        out: &mut Outputs<D>,
    ) -> Result<Option<CompactionRound>, CompactError> {
        let gone = |_| CompactError::Changed("it does not serve");
        let plan = self.with_log(|log, bounds| log.begin_compaction(now, bounds.high_watermark)).map_err(gone)?;
        let plan = plan.map_err(|error| match error {
            ReadError::Io(source) => CompactError::Io { what: "look into a segment", source },
            ReadError::Damaged { segment, position, what } => CompactError::Damaged { segment, position, what },
            ReadError::Offline(offline) => offline.into(),
            ReadError::OutOfRange { .. } => CompactError::Changed("its bounds"),
        });
        let Means { map, chunk, pace: told } = means;
        // Its files are a few of all those that logs have open.
        let mut pace = |bytes| {
            self.make_room_for_files();
            told(bytes)
        };
        let outcome = match plan {
            Ok(None) => return Ok(None),
            Ok(Some(mut plan)) => plan.run(map, chunk, &mut pace, &mut |new| {
                let _turn = self.take_turn();
                let raise = self.with_log(|log, _| log.plan_swap(new)).map_err(gone)??;
                let raised = raise.map(|plan| (plan.run(), plan));
                self.with_log(|log, _| log.swap_in_after(new, raised)).map_err(gone)?
            }),
            Err(error) => Err(error),
        };
        // A log that does not serve any more has no use for the outcome.
        let _ = match &outcome {
            Ok(_) => self.with_log(|log, _| log.end_compaction(&outcome)),
            // It may have gone offline, and then nobody may wait for it any longer.
            Err(_) => self.change_log(out, |log, _| log.end_compaction(&outcome)),
        };
        outcome.map(Some)
    }
}
