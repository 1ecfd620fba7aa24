//! A volume that loses what was not synced, for the real binary: a file system in user space, whose power can be cut
//! before any change of what it holds.
//!
//! The simulated disk of the storage crate does this to the code above the system calls. Here those calls, RocksDB, and the order that the
//! broker makes them in are part of what is tested.

mod mounted;
mod volume;

pub use mounted::Mounted;
pub use volume::{Inode, Kind, Planted, ROOT, Volume};
