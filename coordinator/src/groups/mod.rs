//! Classic consumer groups and committed offsets.

use serde::{Deserialize, Serialize};

/// A change of the groups' hard state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GroupRecord {}
