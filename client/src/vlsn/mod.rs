//! Logs that are addressed by VLSNs: sequence numbers of the client's own.
//!
//! Holds: a log is written in the order of its VLSNs, in each partition, however often something had to be sent again; when a
//! record fails, nothing behind it is written, so that no VLSN becomes a gap behind the caller's back. Reads know four
//! outcomes. Absent: a cache of records.

mod client;
mod commits;
mod conditional;
mod counter;
mod desk;
mod error;
mod private;
mod reads;
mod standing;
mod view;

pub use client::{VlsnBuilder, VlsnClient, VlsnDelivery};
pub use commits::{ResumePosition, VlsnCommitTracker};
pub use error::VlsnError;
pub(crate) use reads::Reads;
pub use reads::{VlsnPage, VlsnPages, VlsnRead};
pub use standing::VlsnStanding;
