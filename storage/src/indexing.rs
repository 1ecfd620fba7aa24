//! Building the index of a segment without its log. That reads the segment from end to end, which takes seconds for a
//! large one that is not in memory, and nobody is to wait for that but who asked.
//!
//! A look-up that [builds nothing](Log::without_building) ends where an index is missing as one that
//! [would wait](crate::ReadError::would_wait). The log then names what is to be built, whoever has the time builds it, and the
//! log takes it if the segment is still the one it was made of. So it does with what goes wrong: that is told by the next
//! look-ups that miss the index, as many as waited for it, because files that were replaced or removed meanwhile look damaged, and
//! are not. Whoever comes later has it tried again: it may have been mended. Of an index of VLSNs, though, the part in front of the
//! damage is kept for a while: what lies there is found by it.

use std::sync::Arc;

use pyralog_protocol::{LogOffset, WallMs};

use crate::disk::{Disk, Patience};
use crate::index::{Index, Kind, VLSNS};
use crate::log::{Log, end_of_segment};
use crate::segment::{Env, Segment, SegmentError};

/// An index that a look-up missed.
pub struct IndexBuild<D: Disk> {
    env: Env<D>,
    kind: Kind,
    /// With files of its own, so that the log may close its.
    segment: Segment<D::File>,
    /// Offset after its last record.
    end: LogOffset,
    built: Option<Result<Index, SegmentError>>,
    /// So many look-ups wait for it.
    askers: usize,
}

impl<D: Disk> IndexBuild<D> {
    /// Builds it. Blocks; needs no log. Whether that went well, a look-up tells once the log [has it](Log::adopt_index).
    pub fn run(&mut self) {
        let built =
            if self.kind == VLSNS { self.segment.build_vlsns(&self.env) } else { self.segment.build_index(&self.env) };
        self.built = Some(built);
    }

    /// So many look-ups wait for it, and are all told if it cannot be built: otherwise each of them would have it tried again.
    pub fn awaited_by(&mut self, askers: usize) {
        self.askers = askers;
    }
}

impl<D: Disk> Log<D> {
    /// Runs look-ups that build no index: where one is missing, they end with an error that
    /// [says so](crate::ReadError::would_wait).
    pub fn without_building<T>(&mut self, look: impl FnOnce(&mut Self) -> T) -> T {
        self.with_patience(Patience::Reads, look)
    }

    /// Runs reads and look-ups by offset with that patience: where they would have to wait longer, they end with such an error.
    pub fn with_patience<T>(&mut self, patience: Patience, look: impl FnOnce(&mut Self) -> T) -> T {
        self.env.patience = patience;
        let found = look(self);
        self.env.patience = Patience::Waits;
        found
    }

    /// Whether such a look-up missed an index that is still missing.
    pub fn misses_index(&self) -> bool {
        self.segments.iter().any(|segment| segment.missing().is_some())
    }

    /// An index that such a look-up missed, and that is still missing.
    pub fn missing_index(&mut self) -> Option<IndexBuild<D>> {
        let (at, kind) = self.segments.iter().enumerate().find_map(|(at, segment)| Some((at, segment.missing()?)))?;
        let segment = self.segments.get(at)?;
        let Env { disk, dir, config, trust, .. } = &self.env;
        Some(IndexBuild {
            env: Env::new(Arc::clone(disk), dir, config.clone(), *trust),
            kind,
            segment: Segment::existing(segment.base, segment.size, WallMs(0)),
            end: end_of_segment(&self.segments, segment.base, self.log_end),
            built: None,
            askers: 1,
        })
    }

    /// Takes an index that was built, or why it could not be, unless its segment has changed or gone meanwhile: then it is
    /// missing until somebody misses it again.
    pub fn adopt_index(&mut self, build: IndexBuild<D>) {
        let IndexBuild { kind, segment: twin, end, built, askers, .. } = build;
        let same_end = end_of_segment(&self.segments, twin.base, self.log_end) == end;
        let at = self.segments.partition_point(|segment| segment.base < twin.base);
        let Some(segment) = self.segments.get_mut(at).filter(|segment| segment.base == twin.base) else { return };
        segment.missed = None;
        match built.filter(|_| same_end && segment.size == twin.size) {
            Some(Ok(index)) => segment.adopt(&self.env, kind, index, self.flushed_end),
            // It says how far look-ups get, to whoever comes.
            Some(Err(_)) if kind == VLSNS && twin.readable.is_some() => segment.readable = twin.readable,
            Some(Err(error)) => segment.note_unbuilt(kind, error, askers),
            None => {}
        }
    }
}
