//! Where VLSNs come from.

use super::error::VlsnError;
use pyralog_protocol::{LogId, Vlsn};

/// Hands out VLSNs, rising.
#[derive(Debug, Default)]
pub(crate) enum Counter {
    /// The one after the last.
    #[default]
    Memory,
}

impl Counter {
    /// The next VLSN, not below `least`.
    pub fn take(&mut self, log: &LogId, least: u64) -> Result<u64, VlsnError> {
        let vlsn = match self {
            Self::Memory => least,
        };
        if vlsn > Vlsn::MAX.0 {
            let reason = format!("it is at {vlsn}, and no log takes more than {}", Vlsn::MAX);
            return Err(VlsnError::Counter { log: log.clone(), reason });
        }
        Ok(vlsn)
    }
}
