//! raft-rs on RocksDB: the machines' records made durable. One [`Replica`] is one member of one Raft group (a shard);
//! a broker runs one group with itself as the only voter, and nothing in here assumes that.
//!
//! From the bottom up: [`LogStore`] is what a disk must offer (atomic batches in order, synced or not), implemented by
//! [`RocksStore`] and by [`MemoryStore`], which loses unsynced batches at a crash. the modules `keys` and `log` give
//! raft-rs its `Storage`; [`Replica`] is the Ready loop. Holds at every open, or the open is refused:
//! `snapshot ≤ truncated ≤ applied ≤ commit ≤ last`.
//!
//! Knows no thread, clock or socket: the owner calls `propose`, `pump` and `tick`. Knows nothing of what records mean
//! beyond [`StateRecord::placement`].

mod error;
mod keys;
mod log;
mod log_store;
mod members;
mod memory;
mod options;
mod replica;
mod rocks;
mod snapshot;
mod wal;
mod window;

#[cfg(test)]
mod tests;

pub use error::{Fatal, OpenError, ProposeError, propose_code};
pub use log_store::{Batch, Column, LogStore, Op, Span, StoreError, Visit};
pub use members::{MemberChange, Members, MembersError};
pub use memory::MemoryStore;
pub use options::ReplicaOptions;
pub use replica::{Applied, Progress, Proposed, Replica, StateRecord};
pub use rocks::{RocksOptions, RocksStore};
pub use wal::Cut;

/// The messages between replicas.
pub use ::raft::eraftpb;

use crate::metadata::MetadataRecord;
use crate::record::{Placement, Record};
use pyralog_protocol::{LogId, TopicId};
use std::collections::BTreeMap;
use std::path::Path;

/// The replica that a broker runs.
pub type CoordinatorReplica = Replica<RocksStore, Record>;

impl StateRecord for Record {
    fn placement(&self) -> Placement {
        Record::placement(self)
    }
}

/// The logs that the state in the folder of a stopped broker has. Changes nothing there. Those that were created right before the
/// broker was killed may be missing.
pub fn logs_in(path: &Path) -> Result<BTreeMap<TopicId, LogId>, OpenError> {
    let shard = keys::Shard(ReplicaOptions::default().shard);
    let mut logs = BTreeMap::new();
    for value in rocks::look_into(path, Column::Meta, shard)? {
        if let Record::Metadata(MetadataRecord::Log(log)) = keys::decode_records(&value)? {
            logs.insert(log.id, log.log);
        }
    }
    Ok(logs)
}

/// Opens or creates the coordinator's folder. With one voter the replica leads and is ready when this returns.
pub fn open_folder(
    path: &Path,
    rocks: &RocksOptions,
    options: ReplicaOptions,
) -> Result<CoordinatorReplica, OpenError> {
    Replica::open(RocksStore::open(path, rocks)?, options)
}
