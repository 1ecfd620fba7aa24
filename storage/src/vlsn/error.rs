//! Why a batch's VLSNs do not fit behind those of its partition, record by record.

use pyralog_protocol::batch::RECORD_ERRORS_MAX;
use pyralog_protocol::{LogOffset, Vlsn};

/// What is wrong with one VLSN of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VlsnConflict {
    /// It is there, but not all of the batch is.
    #[error("VLSN {vlsn} is there already, at offset {offset}, but not every record of the batch is")]
    Present {
        /// The VLSN.
        vlsn: Vlsn,
        /// Where its record is.
        offset: LogOffset,
    },
    /// It was left out, and later ones were written.
    #[error("VLSN {vlsn} steps back: the partition has gone on to {last}, and VLSNs of a partition rise")]
    Backwards {
        /// The VLSN.
        vlsn: Vlsn,
        /// The partition's last one.
        last: Vlsn,
    },
    /// Retention took everything around it.
    #[error(
        "VLSN {vlsn} is not above {trimmed}, up to which records were removed: whether it was among them is not known"
    )]
    Trimmed {
        /// The VLSN.
        vlsn: Vlsn,
        /// The largest that was removed.
        trimmed: Vlsn,
    },
    /// It is new, and was refused with the others.
    #[error("VLSN {vlsn} is new, but the batch begins with VLSNs that are not above {last}, the partition's last")]
    Overlap {
        /// The VLSN.
        vlsn: Vlsn,
        /// The partition's last one.
        last: Vlsn,
    },
}

/// One record of a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedVlsn {
    /// Its place in the batch.
    pub index: i32,
    /// What is wrong.
    pub conflict: VlsnConflict,
}

/// A batch whose VLSNs are neither all new nor all there. Nothing of it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{total} of the batch's records are refused by the VLSN log, the first because: {}", first(.rejected))]
pub struct VlsnsRefused {
    /// How many records.
    pub total: usize,
    /// The first [`RECORD_ERRORS_MAX`] of them.
    pub rejected: Vec<RejectedVlsn>,
}

fn first(rejected: &[RejectedVlsn]) -> String {
    rejected.first().map_or_else(String::new, |record| record.conflict.to_string())
}

impl VlsnsRefused {
    /// Of all the batch's conflicts, by place.
    pub(crate) fn of(conflicts: impl ExactSizeIterator<Item = VlsnConflict>) -> Self {
        let total = conflicts.len();
        let named = (0..).zip(conflicts).take(RECORD_ERRORS_MAX);
        Self { total, rejected: named.map(|(index, conflict)| RejectedVlsn { index, conflict }).collect() }
    }
}
