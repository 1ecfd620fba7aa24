//! Looking over one partition's old segments while it serves. Damage ends its service as it would at a start: what was
//! acknowledged and is gone is told, and never served as something else (IO-06, IO-07). Which partition is next, how fast
//! and when is the shell's.

use std::io;
use std::sync::Arc;

use pyralog_protocol::LogOffset;
use pyralog_storage::Disk;
use pyralog_storage::inspect::Finding;

use crate::outputs::Outputs;
use crate::partition::Partition;

/// What became of a look at a segment.
#[derive(Debug)]
pub struct Scrubbed {
    /// Where to look next.
    pub next: LogOffset,
    /// Bytes of batches in it.
    pub bytes: u64,
    /// Why the partition is offline now, if it is.
    pub damage: Option<String>,
    /// Index files that are not what they should be.
    pub derived: Vec<Finding>,
}

impl<D: Disk> Partition<D> {
    /// Looks over the first segment from an offset on that is sealed and on disk. None: there is no such segment, or the
    /// partition does not serve. Blocks; `progress` paces it, and ends it with [`io::ErrorKind::Interrupted`].
    pub fn scrub(
        self: &Arc<Self>,
        from: LogOffset,
        progress: &dyn Fn(u64) -> bool,
        out: &mut Outputs<D>,
    ) -> io::Result<Option<Scrubbed>> {
        let Ok(Some(scrub)) = self.with_log(|log, _| log.next_to_scrub(from)) else { return Ok(None) };
        let mut seen = scrub.run(progress)?;
        if !(seen.damage.is_empty() && seen.derived.is_empty()) {
            // Files that were replaced while they were read fit together the second time, or the log has others now.
            seen = scrub.run(progress)?;
        }
        let mut scrubbed = Scrubbed { next: scrub.next(), bytes: seen.bytes, damage: None, derived: Vec::new() };
        if !self.with_log(|log, _| log.still_has(&scrub)).unwrap_or(false) {
            return Ok(Some(scrubbed));
        }
        scrubbed.derived = seen.derived;
        if let Some(first) = seen.damage.first() {
            let why = scrub.error(first).to_string();
            let failed = self.change_log(out, |log, _| {
                let here = log.still_has(&scrub);
                if here {
                    log.fail(why.clone());
                }
                here
            });
            scrubbed.damage = failed.unwrap_or(false).then_some(why);
        }
        Ok(Some(scrubbed))
    }
}
