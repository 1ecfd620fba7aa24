//! KIP-848 groups: members send heartbeats, the coordinator assigns. What a heartbeat does is in `heartbeat`; how a
//! member gets from what it holds to its target in `reconcile`; who gets what in `assignor`; members that speak the
//! classic protocol in such a group in `bridge`; groups that change their protocol in `migrate`.
//!
//! Holds: a partition goes to its new owner only after the old one gave it back or was expelled; epochs only rise; a
//! heartbeat that changes nothing writes nothing. Has no share groups, no streams groups and no client-side assignors.

pub(super) mod assignor;
mod bridge;
mod describe;
mod error;
mod heartbeat;
mod migrate;
mod partitions;
pub(super) mod pattern;
mod reconcile;
pub(super) mod record;
mod settings;
mod state;
mod target;
pub(super) mod watch;

pub use assignor::Assignor;
pub use partitions::{Held, Partitions};
pub use record::{ClassicSide, ConsumerHead, Current, MemberState, Subscriber};
pub use settings::{Bounded, ConsumerSettings, Migration};

pub(super) use state::Consumer;
