//! The half of the client without sockets, tasks or clocks: what is asked and how answers are read, as values and state
//! machines. Time comes in as [`MonoMs`](pyralog_protocol::MonoMs), randomness as [`Draw`](pyralog_protocol::Draw), so a
//! simulator can run it; the other half ([`crate::net`]) only carries bytes and wakes it up.

pub mod ask;
pub mod backoff;
pub mod fetch;
#[cfg(feature = "net")]
pub mod groups;
pub mod partitioner;
pub mod producer;
pub mod verdict;
pub mod versions;
pub mod view;
