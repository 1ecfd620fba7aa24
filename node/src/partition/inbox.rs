//! Flat combining (Hendler, Incze, Shavit, Tzafrir 2010): who finds somebody at work leaves his job to him, and is free to go on,
//! instead of waiting for his lock.
//!
//! Holds: at most one has the turn; jobs are done in the order in which they came in; what was left is either
//! taken by whoever has the turn before it ends, or by somebody who [takes](Inbox::take) it before his own job.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// Most bytes that wait here. Who finds more waits for the lock himself, so that his client is slowed down.
const BYTES_MAX: usize = 4 << 20;

/// What waits for somebody's turn to go on.
#[derive(Debug)]
pub(super) struct Inbox<J> {
    state: Mutex<State<J>>,
}

#[derive(Debug)]
struct State<J> {
    /// Somebody has the turn.
    taken: bool,
    left: VecDeque<(J, usize)>,
    bytes: usize,
}

/// What becomes of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<J> {
    /// Whoever has the turn does it.
    Left,
    /// Nobody had the turn. The caller has it now, and keeps it until [`Inbox::next`] has nothing more.
    Turn(J),
    /// Too much waits already.
    Full(J),
}

impl<J> Inbox<J> {
    /// An empty one.
    pub fn new() -> Self {
        Self { state: Mutex::new(State { taken: false, left: VecDeque::new(), bytes: 0 }) }
    }

    /// Comes with a job of so many bytes.
    pub fn enter(&self, job: J, bytes: usize) -> Entered<J> {
        let mut state = self.state.lock();
        if !state.taken {
            state.taken = true;
            return Entered::Turn(job);
        }
        if state.bytes.saturating_add(bytes) > BYTES_MAX {
            return Entered::Full(job);
        }
        state.put(job, bytes);
        Entered::Left
    }

    /// Whoever has the turn leaves a job as well, for whom he hands the turn to.
    pub fn leave(&self, job: J, bytes: usize) {
        self.state.lock().put(job, bytes);
    }

    /// The next job, for whoever has the turn. `None`: there is none, and the turn is over.
    pub fn next(&self) -> Option<J> {
        let mut state = self.state.lock();
        let next = state.pop();
        state.taken = next.is_some();
        next
    }

    /// The next job, for somebody without the turn who has the partition's lock.
    pub fn take(&self) -> Option<J> {
        self.state.lock().pop()
    }
}

impl<J> State<J> {
    fn put(&mut self, job: J, bytes: usize) {
        self.bytes += bytes;
        self.left.push_back((job, bytes));
    }

    fn pop(&mut self) -> Option<J> {
        let (job, bytes) = self.left.pop_front()?;
        self.bytes -= bytes;
        if self.left.is_empty() {
            // Partitions are many, and few of them are busy.
            self.left = VecDeque::new();
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests;
