//! The replicated state machines (metadata, groups, vlsn) and, apart from them, raft-rs on RocksDB in the module [`raft`]
//! and one node's part in the whole in the module [`member`].
//! Machines are pure: time comes in as a value, ids come in drawn, replies are tokens. Nothing here knows partition
//! logs or connections.

pub mod command;
pub mod config;
pub mod coordinator;
pub mod effects;
pub mod groups;
#[cfg(feature = "raft-store")]
pub mod member;
pub mod metadata;
#[cfg(feature = "raft-store")]
pub mod raft;
pub mod record;
mod stored;
pub mod vlsn;

pub use command::{Command, Context, Declared, DeclaredLog, NewPartitions, NoRoom, Reply, RoutingFrom, Token};
pub use coordinator::{Coordinator, Settings};
pub use effects::Effects;
pub use record::{Family, Placement, Record};
