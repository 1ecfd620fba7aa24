//! What `window.rs` is made of. `tests/loom.rs` compiles that file a second time, against loom's primitives.

pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::{Mutex, MutexGuard};
