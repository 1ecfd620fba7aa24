//! Retention of one partition, and deletions of its records: the log's steps, between its lock and the caller's thread. The
//! partition serves meanwhile, however many segments go: its lock is held for moments. Which partition, and when, is the shell's.

use std::sync::Arc;

use pyralog_protocol::{LogOffset, Now};
use pyralog_storage::{DeleteError, Disk, Graves, Offline, Retention, Written};

use crate::outputs::{Grave, Outputs};
use crate::partition::{Partition, Refusal};

impl<D: Disk> Partition<D> {
    /// Takes the segments out of service that have to go, and hands out their files. Gives their number.
    pub fn enforce_retention(self: &Arc<Self>, now: Now, out: &mut Outputs<D>) -> Result<usize, DeleteError> {
        let mut removed = 0;
        loop {
            // The folder is this log's until this is over: with the deletion of the log it may become another's.
            let turn = self.take_turn();
            let plan = match self.plan_retention(now, out) {
                Err(DeleteError::Read(error)) if error.would_wait() => {
                    drop(turn);
                    // What goes wrong is told by the next plan, and so is a partition that does not serve any more.
                    let _ = self.build_missing_index();
                    continue;
                }
                plan => plan?,
            };
            let Some(plan) = plan else { return Ok(removed) };
            let written = plan.run();
            let (graves, delay_ms) = self.retain(plan, written, out)?;
            removed += graves.removed.segments;
            out.graves.extend(graves.bury().into_iter().map(|path| Grave { path, delay_ms }));
        }
    }

    /// Deletes the records below an offset, or below the high watermark. Gives where the log starts then, which is on disk. Builds
    /// no index.
    pub(crate) fn delete_records(
        self: &Arc<Self>,
        below: Option<LogOffset>,
        out: &mut Outputs<D>,
    ) -> Result<Result<LogOffset, DeleteError>, Refusal> {
        let _turn = self.take_turn();
        let plan = self.with_log(|log, bounds| {
            let below = below.unwrap_or(bounds.high_watermark);
            let plan = log.without_building(|log| log.plan_deletion(below, bounds.high_watermark));
            plan.map(|plan| plan.ok_or(log.log_start()))
        })?;
        let plan = match plan {
            Ok(Ok(plan)) => plan,
            Ok(Err(start)) => return Ok(Ok(start)),
            Err(error) => return Ok(Err(error)),
        };
        let written = plan.run();
        self.change_log_in_turn(out, |log, _| {
            log.retain(plan, written)?.remove();
            Ok(log.log_start())
        })
    }

    fn plan_retention(self: &Arc<Self>, now: Now, out: &mut Outputs<D>) -> Result<Option<Retention<D>>, DeleteError> {
        let plan =
            self.with_log(|log, bounds| log.without_building(|log| log.plan_retention(now, bounds.high_watermark)));
        self.settle_now(out);
        // A partition that does not serve keeps what it has.
        plan.unwrap_or(Ok(None))
    }

    fn retain(
        self: &Arc<Self>,
        plan: Retention<D>,
        written: Written,
        out: &mut Outputs<D>,
    ) -> Result<(Graves<D>, u64), DeleteError> {
        let retained = self.change_log_in_turn(out, |log, _| {
            let graves = log.retain(plan, written)?;
            Ok((graves, log.config().delete_delay_ms))
        });
        retained.unwrap_or_else(|refusal| Err(Offline(format!("the partition is {refusal:?}")).into()))
    }
}
