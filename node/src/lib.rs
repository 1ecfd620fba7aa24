//! One broker as a function: frames and completions in, answers and disk work out. The one place where the wire and
//! the domain meet. Holds no socket, thread or clock.

pub mod api;
pub mod compaction;
pub mod connection;
pub mod control_loop;
pub mod descriptors;
mod journal_share;
pub mod lifecycle;
pub mod limits;
mod lookup;
mod node;
pub mod outputs;
pub mod partition;
mod retention;
pub mod room;
pub mod scrub;
pub mod sessions;
pub mod settings;
pub mod timetable;
pub mod topology;
pub mod unreadable;
pub mod vlsn;
mod waiting;

pub use connection::{Answer, ConnId, Connection, FileRange, Piece, Ticket};
pub use control_loop::ControlLoop;
pub use limits::Limits;
pub use lookup::Lookup;
pub use node::{CloseReason, Node};
pub use outputs::{Call, Outputs, ReplyTo, Warm};
