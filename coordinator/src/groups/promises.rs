//! What all groups together remember of member ids that were told and have not come back (KIP-394). Each group has its limit, but
//! group names are free: without a bound over all of them a client that only ever asks for ids takes whatever memory there is.

use std::collections::VecDeque;

use pyralog_protocol::MonoMs;

/// Names of groups and ids, in bytes, that are remembered: about 100,000 ids of a usual length.
pub(super) const PROMISED_BYTES_MAX: usize = 16 << 20;

/// What an id takes besides its text, here and in its group.
const BYTES_FOR_EACH: usize = 100;

/// A member id that was told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Promise {
    pub group: String,
    pub id: String,
    /// Until when it holds.
    pub due: MonoMs,
}

impl Promise {
    fn bytes(&self) -> usize {
        self.group.len() + self.id.len() + BYTES_FOR_EACH
    }
}

/// The latest promises of all groups, the oldest first. Those that were redeemed stay until their time is up, which costs less than
/// to look for them.
#[derive(Debug, Default)]
pub(super) struct Promises {
    told: VecDeque<Promise>,
    bytes: usize,
}

impl Promises {
    /// Remembers one more, and forgets which are over. Returns the oldest ones for which there is no room any more: whoever
    /// comes back with such an id is told that it is unknown, and asks for another.
    pub fn add(&mut self, promise: Promise, now: MonoMs) -> Vec<Promise> {
        self.bytes += promise.bytes();
        self.told.push_back(promise);
        let mut broken = Vec::new();
        while self.told.front().is_some_and(|oldest| oldest.due <= now || self.bytes > PROMISED_BYTES_MAX) {
            let Some(oldest) = self.told.pop_front() else { break };
            self.bytes -= oldest.bytes();
            if oldest.due > now {
                broken.push(oldest);
            }
        }
        broken
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.told.len()
    }
}
