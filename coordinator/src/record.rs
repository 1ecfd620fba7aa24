//! The records that build hard state: the payload of Raft entries and, under their keys, the content of the state
//! column families. A record is an upsert or a delete of one keyed thing, so loading the families in key order and
//! applying each value rebuilds the state: its size follows live data, not history.

use serde::{Deserialize, Serialize};

/// One change of hard state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Of the metadata machine.
    Metadata(crate::metadata::MetadataRecord),
    /// Of the groups machine.
    Group(crate::groups::GroupRecord),
    /// Of the VLSN machine.
    Vlsn(crate::vlsn::VlsnRecord),
}

/// The column family that holds a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Logs, configs, producer ids.
    Meta,
    /// Groups and offsets.
    Groups,
    /// Commits by VLSN and sequencers.
    Vlsn,
}

/// Where a record lives in the state store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The record itself is stored under the key.
    Put(Family, Vec<u8>),
    /// What is under the key goes.
    Delete(Family, Vec<u8>),
    /// Everything whose key starts so goes.
    DeletePrefix(Family, Vec<u8>),
}

impl Record {
    /// About how long the record is when it is encoded, as far as its machine needs to know; metadata is one small set.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Metadata(_) => 0,
            Self::Group(record) => record.bytes(),
            Self::Vlsn(record) => record.bytes(),
        }
    }

    /// Where the record lives in the state store.
    pub fn placement(&self) -> Placement {
        match self {
            Self::Metadata(record) => record.placement(),
            Self::Group(record) => record.placement(),
            Self::Vlsn(record) => record.placement(),
        }
    }
}
