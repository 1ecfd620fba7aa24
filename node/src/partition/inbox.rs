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
    /// Nobody had the turn. The caller has [it](Inbox::turn) now.
    Turn(J),
    /// Too much waits already. The caller does it himself, without the turn.
    Alone(J),
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
            return Entered::Alone(job);
        }
        state.put(job, bytes);
        Entered::Left
    }

    /// Whoever has the turn leaves a job as well, for whom he hands the turn to.
    pub fn leave(&self, job: J, bytes: usize) {
        self.state.lock().put(job, bytes);
    }

    /// The turn that [`Self::enter`] gave, or that was [handed on](Turn::hand_on).
    pub fn turn(&self) -> Turn<'_, J> {
        Turn(Some(self))
    }

    /// The next job, for somebody without the turn who has the partition's lock.
    pub fn take(&self) -> Option<J> {
        self.state.lock().pop()
    }
}

/// To be at work, until there is nothing more to do.
#[derive(Debug)]
pub(super) struct Turn<'a, J>(Option<&'a Inbox<J>>);

impl<J> Turn<'_, J> {
    /// The next job. `None`: there is none, and the turn is over.
    pub fn next(&mut self) -> Option<J> {
        let mut state = self.0?.state.lock();
        let next = state.pop();
        if next.is_none() {
            state.taken = false;
            self.0 = None;
        }
        next
    }

    /// Somebody else goes on. The inbox stays taken until he does.
    pub fn hand_on(mut self) {
        self.0 = None;
    }
}

impl<J> Drop for Turn<'_, J> {
    /// Also when an append panicked: the next one who comes goes on, instead of everybody leaving his jobs to nobody.
    fn drop(&mut self) {
        if let Some(inbox) = self.0.take() {
            inbox.state.lock().taken = false;
        }
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
