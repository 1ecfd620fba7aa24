//! What a step of a machine causes. Machines push records and replies; the loop above makes the records durable and
//! only then lets the replies of the same step leave.

use crate::command::{Reply, Token};
use crate::record::Record;

/// Outputs of one or more steps, in order.
#[derive(Debug, Default)]
pub struct Effects {
    /// Changes of hard state, already applied in memory by the machine that decided them. One inner vector is atomic.
    pub records: Vec<Vec<Record>>,
    /// Answers. They leave after everything in `records` is committed: a refusal that rests on uncommitted state
    /// waits too.
    pub replies: Vec<(Token, Reply)>,
}

impl Effects {
    /// Adds an atomic set of records; an empty set is dropped.
    pub fn commit(&mut self, records: Vec<Record>) {
        if !records.is_empty() {
            self.records.push(records);
        }
    }

    /// Adds an answer.
    pub fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }
}
