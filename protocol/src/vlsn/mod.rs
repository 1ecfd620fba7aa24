//! Logs that are addressed by a sequence number of the client's own: the number, and how it finds its partition.
//! Holds: a VLSN always has one partition, whatever the log's partition count was and will be.

pub mod messages;
mod routing;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

pub use routing::{ROUTING_EPOCHS_MAX, Routing, RoutingEpoch, RoutingError};

use std::fmt;

/// Ends the name of a VLSN log's view, the read-only companion whose offsets are VLSNs.
pub const VIEW_SUFFIX: &str = ".vlsn";

/// A virtual log sequence number: chosen by the client, carried big-endian in the record's 8-byte key, unique in its log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vlsn(pub u64);

impl Vlsn {
    /// The first one.
    pub const ZERO: Self = Self(0);
    /// The largest that a log takes: offsets of its view are signed, and one has to be left for the end.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs() - 1);

    /// The VLSN in a record's key; `None` if the key is not 8 bytes.
    pub fn of_key(key: &[u8]) -> Option<Self> {
        key.try_into().ok().map(|bytes| Self(u64::from_be_bytes(bytes)))
    }

    /// The key of its record.
    pub fn key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The one after it; saturates.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// As an offset of the view; larger ones than [`Vlsn::MAX`] give the end of all offsets.
    pub fn offset(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

impl fmt::Debug for Vlsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vlsn {}", self.0)
    }
}

impl fmt::Display for Vlsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
