//! The node as a whole, without threads: frames in, answers out, syncs and turns of the control loop when the test says
//! so. Each file is one subject; `world` is what they share. Test names carry the ids of the statements they check.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod appends;
mod compaction;
mod crash;
mod deletion;
mod descriptors;
mod faults;
mod flushing;
mod frames;
mod indexes;
mod order;
mod pages;
mod sessions;
mod settings;
mod vlsn;
mod wakes;
mod world;
