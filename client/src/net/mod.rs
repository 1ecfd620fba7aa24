//! The half of the client with sockets, tasks and clocks. It decides nothing that [`crate::pure`] could decide.

pub mod clock;
pub mod cluster;
pub mod connection;
pub mod writer;
