//! Logs, their configs, producer ids.

use serde::{Deserialize, Serialize};

/// A change of the metadata's hard state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MetadataRecord {}
