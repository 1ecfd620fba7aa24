//! The records of the VLSN machine and the keys under which their latest values are stored. A record is a whole value,
//! never a difference. Knows nothing of how records are decided.

use pyralog_protocol::{LogId, TopicId, Vlsn, WallMs};
use serde::{Deserialize, Serialize};

use crate::record::{Family, Placement};
use crate::stored;

/// A change of the VLSN machine's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum VlsnRecord {
    /// How far a consumer is in a log.
    Commit {
        /// The log.
        #[serde(with = "stored::topic_id")]
        id: TopicId,
        /// Who.
        consumer: String,
        /// How far.
        commit: Commit,
    },
    /// That is forgotten.
    CommitRemoved {
        /// The log.
        #[serde(with = "stored::topic_id")]
        id: TopicId,
        /// Who.
        consumer: String,
    },
    /// The log is gone, and all commits in it.
    LogRemoved {
        /// The log.
        #[serde(with = "stored::topic_id")]
        id: TopicId,
    },
    /// How far a sequencer is. Never goes away.
    Sequencer {
        /// Its name.
        #[serde(with = "stored::log_id")]
        name: LogId,
        /// The first number that nobody has; numbers below it are never handed out again.
        next: u64,
    },
}

/// How far a consumer is in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The last VLSN that is done.
    #[serde(with = "stored::vlsn")]
    pub vlsn: Vlsn,
    /// What was said with it.
    pub metadata: Option<String>,
    /// When.
    #[serde(with = "stored::wall")]
    pub committed_at: WallMs,
}

impl Commit {
    /// Bytes of its metadata.
    pub(super) fn metadata_bytes(&self) -> usize {
        self.metadata.as_ref().map_or(0, String::len)
    }
}

/// First byte of the keys, one per kind. New kinds get new bytes: the store of an older version stays readable.
mod tag {
    pub const COMMIT: u8 = 1;
    pub const SEQUENCER: u8 = 2;
}

/// Bytes of the numbers, tags and lengths of one record; those of texts come on top.
const FIXED_BYTES: usize = 64;

/// All keys of one log share a prefix: `COMMIT`, id.
fn log_prefix(id: TopicId) -> Vec<u8> {
    [&[tag::COMMIT], &id.0[..]].concat()
}

fn commit_key(id: TopicId, consumer: &str) -> Vec<u8> {
    let mut key = log_prefix(id);
    key.extend_from_slice(consumer.as_bytes());
    key
}

impl VlsnRecord {
    /// Where the record lives in the state store.
    pub fn placement(&self) -> Placement {
        let family = Family::Vlsn;
        match self {
            Self::Commit { id, consumer, commit: _ } => Placement::Put(family, commit_key(*id, consumer)),
            Self::CommitRemoved { id, consumer } => Placement::Delete(family, commit_key(*id, consumer)),
            Self::LogRemoved { id } => Placement::DeletePrefix(family, log_prefix(*id)),
            Self::Sequencer { name, next: _ } => {
                Placement::Put(family, [&[tag::SEQUENCER], name.as_str().as_bytes()].concat())
            }
        }
    }

    /// About how long the record is when it is encoded; never less.
    pub(crate) fn bytes(&self) -> usize {
        let texts = match self {
            Self::Commit { consumer, commit, id: _ } => {
                consumer.len() + commit.metadata.as_ref().map_or(0, String::len)
            }
            Self::CommitRemoved { consumer, id: _ } => consumer.len(),
            Self::LogRemoved { id: _ } => 0,
            Self::Sequencer { name, next: _ } => name.as_str().len(),
        };
        texts + FIXED_BYTES
    }
}
