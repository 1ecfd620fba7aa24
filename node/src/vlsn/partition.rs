//! What a partition of a VLSN log knows besides its log: by which rules it takes VLSNs, and which of them are committed.
//! Holds: what was checked by one routing is never appended under another; the committed VLSN never lies above the high
//! watermark.

use std::collections::VecDeque;

use pyralog_protocol::batch::CheckedBatch;
use pyralog_protocol::{LogOffset, Routing, Vlsn};

use crate::partition::{AppendRefused, Bounds};

/// What the metadata says of a VLSN log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VlsnRules {
    /// Which VLSN belongs where; `None`: the log has no VLSNs.
    pub routing: Option<Routing>,
    /// The only writer that may append, if one took the log for itself.
    pub writer: Option<Writer>,
}

/// A writer that is alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Its writer epoch.
    pub epoch: i32,
    /// Its producer id.
    pub producer_id: i64,
}

/// What a conditional append expects of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Anything,
    /// That this is its last VLSN, on disk or not.
    Last(Option<Vlsn>),
}

impl Expected {
    /// Whether a batch may be appended behind `last`. One that is there already is none of this one's business: it changes
    /// nothing, and whoever sends it again is told where it is.
    pub(crate) fn check(self, batch: &CheckedBatch, last: Option<Vlsn>) -> Result<(), AppendRefused> {
        let Self::Last(expected) = self else { return Ok(()) };
        let is_new = batch.vlsns.first().is_some_and(|first| Some(*first) > last);
        if is_new && expected != last { Err(AppendRefused::Unexpected { expected, last }) } else { Ok(()) }
    }
}

/// Which VLSNs of a partition can be read, taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlsnBounds {
    /// The largest that retention or a deletion took.
    pub trimmed: Option<Vlsn>,
    /// The largest below the high watermark, or that ever was.
    pub last: Option<Vlsn>,
    /// The largest that was appended, on disk or not: where a writer goes on.
    pub appended: Option<Vlsn>,
    /// What is below the high watermark, in offsets.
    pub bounds: Bounds,
}

/// State of a partition.
#[derive(Debug, Default)]
pub(crate) struct Vlsns {
    rules: VlsnRules,
    /// Changes of the routing that are on their way.
    pub frozen: u32,
    pub committed: Option<Vlsn>,
    /// End and last VLSN of the batches above the high watermark.
    appended: VecDeque<(LogOffset, Vlsn)>,
}

impl Vlsns {
    /// Of a log whose last VLSN is committed.
    pub fn after(committed: Option<Vlsn>) -> Self {
        Self { committed, ..Self::default() }
    }

    /// Takes over what the metadata says.
    pub fn set_rules(&mut self, rules: VlsnRules) {
        self.rules = rules;
    }

    /// From which VLSN on they are routed otherwise.
    pub fn rerouted_from(&self, routing: &Routing) -> Option<Vlsn> {
        self.rules.routing.as_ref()?.parts_from(routing)
    }

    /// A VLSN of the partition for whoever routes them like this, or the last one that is routed so. Behind that he would take for
    /// gaps what belongs to partitions that he does not know.
    pub fn as_routed_by(&self, routing: &Routing, vlsn: Option<Vlsn>) -> Option<Vlsn> {
        match self.rerouted_from(routing) {
            Some(from) => vlsn.min(from.0.checked_sub(1).map(Vlsn)),
            None => vlsn,
        }
    }

    /// Whether a batch may be appended that was checked by `routing`.
    pub fn admit(&self, batch: &CheckedBatch, routing: Option<&Routing>) -> Result<(), AppendRefused> {
        if self.frozen > 0 || self.rules.routing.as_ref() != routing {
            return Err(AppendRefused::Rerouted);
        }
        let found = batch.header.producer_id;
        match self.rules.writer.filter(|writer| writer.producer_id != found) {
            Some(Writer { epoch, producer_id: owner }) => Err(AppendRefused::Fenced { epoch, owner, found }),
            None => Ok(()),
        }
    }

    /// A batch was appended that ends there.
    pub fn note(&mut self, batch: &CheckedBatch, end: LogOffset) {
        self.appended.extend(batch.vlsns.last().map(|vlsn| (end, *vlsn)));
    }

    /// The high watermark is there now.
    pub fn advance(&mut self, high_watermark: LogOffset) {
        while self.appended.front().is_some_and(|(end, _)| *end <= high_watermark) {
            self.committed = self.appended.pop_front().map(|(_, vlsn)| vlsn);
        }
    }
}
