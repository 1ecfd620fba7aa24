//! Where VLSNs come from.

use std::ops::Range;

use pyralog_protocol::messages as kp;
use pyralog_protocol::{LogId, Vlsn};

use super::commits::ask;
use super::error::VlsnError;
use crate::client::PyralogClient;
use crate::error::BrokerError;
use crate::net::cluster::str_bytes;

/// Hands out VLSNs, rising.
#[derive(Default)]
pub(crate) enum Counter {
    /// The one after the last.
    #[default]
    Memory,
    /// A counter of the broker, some numbers at a time.
    Sequencer {
        /// Its name.
        name: String,
        /// Numbers that are taken at a time.
        block: u64,
        /// Taken and not used.
        left: Range<u64>,
    },
    /// A counter on this machine's disk.
    #[cfg(feature = "obelisk")]
    Obelisk(std::sync::Arc<dyn obelisk::PersistentAtomic>),
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory => f.write_str("Memory"),
            Self::Sequencer { name, left, .. } => write!(f, "Sequencer({name}, {left:?})"),
            #[cfg(feature = "obelisk")]
            Self::Obelisk(counter) => write!(f, "Obelisk({})", counter.load()),
        }
    }
}

impl Counter {
    /// The next VLSN, not below `least`.
    pub async fn take(&mut self, client: &PyralogClient, log: &LogId, least: u64) -> Result<u64, VlsnError> {
        let vlsn = match self {
            Self::Memory => least,
            Self::Sequencer { name, block, left } => {
                left.start = left.start.max(least);
                if left.is_empty() {
                    *left = reserve(client, name, *block, least).await?;
                }
                let vlsn = left.start;
                left.start += 1;
                vlsn
            }
            #[cfg(feature = "obelisk")]
            Self::Obelisk(counter) => {
                let failed =
                    |error: obelisk::CounterError| VlsnError::Counter { log: log.clone(), reason: error.to_string() };
                let vlsn = counter.fetch_add(1).map_err(failed)?;
                match least.checked_sub(vlsn).filter(|behind| *behind > 0) {
                    None => vlsn,
                    // It knows less than the log: what is taken already is left behind.
                    Some(behind) => {
                        counter.fetch_add(behind - 1).map_err(failed)?;
                        counter.fetch_add(1).map_err(failed)?
                    }
                }
            }
        };
        if vlsn > Vlsn::MAX.0 {
            let reason = format!("it is at {vlsn}, and no log takes more than {}", Vlsn::MAX);
            return Err(VlsnError::Counter { log: log.clone(), reason });
        }
        Ok(vlsn)
    }
}

/// Takes numbers of a sequencer.
async fn reserve(client: &PyralogClient, name: &str, count: u64, at_least: u64) -> Result<Range<u64>, VlsnError> {
    let request = kp::SequencerReserveRequest { name: str_bytes(name), count, at_least };
    let answer = ask(client, request, |answer: &kp::SequencerReserveResponse| answer.error_code).await?;
    if answer.error_code != 0 {
        let reason = BrokerError::new(answer.error_code, answer.error_message.as_deref());
        return Err(VlsnError::Sequencer { name: name.to_owned(), reason });
    }
    Ok(answer.first..answer.first.saturating_add(answer.count))
}

impl PyralogClient {
    /// Takes `count` numbers of a sequencer, a named counter that the brokers replicate: whoever gets a number is the only
    /// one who ever does. The sequencer comes into being with its first use, at 0.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
    /// for number in client.reserve("invoices", 100).await? {
    ///     println!("{number}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reserve(&self, sequencer: &str, count: u64) -> Result<Range<u64>, VlsnError> {
        reserve(self, sequencer, count, 0).await
    }

    /// The first number of a sequencer that nobody has; none if there is no such sequencer.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
    /// println!("{:?}", client.sequencer_position("invoices").await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sequencer_position(&self, sequencer: &str) -> Result<Option<u64>, VlsnError> {
        let request = kp::SequencerDescribeRequest { names: Some(vec![str_bytes(sequencer)]) };
        let answer = ask(self, request, |_: &kp::SequencerDescribeResponse| 0).await?;
        let found = answer.sequencers.into_iter().find(|found| found.error_code == 0);
        Ok(found.map(|found| found.next))
    }
}
