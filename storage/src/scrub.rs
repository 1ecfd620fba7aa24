//! Looking over sealed segments while the log serves: are they still what was written? (IO-07)
//!
//! The log names a segment; whoever looks does so without the log, at his own pace, through files of his own, and leaves
//! the page cache as it was. Holds: a segment that retention or compaction takes meanwhile is no finding, because
//! [the log is asked](Log::still_has) before anything is made of one. What is not synced yet, and the active segment, are
//! left to recovery.

use std::io;
use std::sync::Arc;

use pyralog_protocol::LogOffset;

use crate::disk::Disk;
use crate::epochs::Epochs;
use crate::inspect::{Finding, Verifier, Weight};
use crate::log::Log;
use crate::recovery::OpenError;
use crate::segment::file_name;

/// A sealed segment to be looked over.
pub struct Scrub<D: Disk> {
    disk: Arc<D>,
    dir: String,
    base: LogOffset,
    /// The next segment begins here.
    end: LogOffset,
    size: u64,
    cleaned_end: LogOffset,
    epochs: Epochs,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Bytes of batches that were read.
    pub bytes: u64,
    /// Batches that are not what was written.
    pub damage: Vec<Finding>,
    /// Index files that are not what they should be: they are built anew where they are missed.
    pub derived: Vec<Finding>,
}

impl<D: Disk> Log<D> {
    /// The first segment from an offset on that is sealed and on disk.
    pub fn next_to_scrub(&self, from: LogOffset) -> Option<Scrub<D>> {
        let at = self.segments.partition_point(|segment| segment.base < from);
        let (segment, next) = (self.segments.get(at)?, self.segments.get(at + 1)?);
        (next.base <= self.flushed_end).then(|| Scrub {
            disk: Arc::clone(&self.env.disk),
            dir: self.env.dir.clone(),
            base: segment.base,
            end: next.base,
            size: segment.size,
            cleaned_end: self.meta.cleaned_end,
            epochs: self.epochs.clone(),
        })
    }

    /// Whether that segment is still there, as it was named.
    pub fn still_has(&self, scrub: &Scrub<D>) -> bool {
        let at = self.segments.partition_point(|segment| segment.base < scrub.base);
        let (segment, next) = (self.segments.get(at), self.segments.get(at + 1));
        segment.is_some_and(|segment| (segment.base, segment.size) == (scrub.base, scrub.size))
            && next.is_some_and(|next| next.base == scrub.end)
    }
}

impl<D: Disk> Scrub<D> {
    /// Offset from which on the next one is to be looked for.
    pub fn next(&self) -> LogOffset {
        self.end
    }

    /// Reads and checks all of it. `progress` is told of bytes that were read, may take its time, and says whether to go on;
    /// if not, the error is [`io::ErrorKind::Interrupted`]. Blocks.
    pub fn run(&self, progress: &dyn Fn(u64) -> bool) -> io::Result<Scrubbed> {
        let mut verifier = Verifier::new(&*self.disk, false, progress);
        match verifier.sealed(&self.dir, self.base, (self.size, self.end), (self.cleaned_end, &self.epochs)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                verifier.findings.push(Finding {
                    path: self.path(),
                    position: None,
                    offsets: Some(self.base..self.end),
                    weight: Weight::Damage,
                    what: "the file is gone".to_owned(),
                });
            }
            looked => looked?,
        }
        let bytes = verifier.checked.bytes;
        let (damage, derived) = verifier.findings.into_iter().partition(|finding| finding.path == self.path());
        Ok(Scrubbed { bytes, damage, derived })
    }

    /// What a recovery would say of it.
    pub fn error(&self, finding: &Finding) -> OpenError {
        let place =
            finding.position.map_or(String::new(), |position| format!(", at byte {position} of {}", finding.path));
        let range = finding.offsets.clone().unwrap_or(self.base..self.end);
        OpenError::Corrupt { dir: self.dir.clone(), range, what: format!("{}{place}", finding.what) }
    }

    fn path(&self) -> String {
        format!("{}/{}", self.dir, file_name(self.base, "log"))
    }
}
