//! raft-rs on RocksDB.
