//! What a step of a machine causes. Machines push records and replies; the loop above makes the records durable and
//! only then lets the replies of the same step leave.

use crate::command::{Reply, Token};
use crate::record::Record;

/// Largest set of records, in bytes. Half of what the log takes as one entry if it is not told otherwise, because a record's size is
/// only estimated. The broker has it take more than any request can ask for.
pub(crate) const SET_BYTES_MAX: usize = 4 << 20;

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

    /// Adds records that need not be atomic together, in as few sets as the log takes.
    pub fn commit_in_parts(&mut self, records: impl IntoIterator<Item = Record>) {
        let (mut part, mut size) = (Vec::new(), 0);
        for record in records {
            let more = record.bytes();
            if size + more > SET_BYTES_MAX {
                self.commit(std::mem::take(&mut part));
                size = 0;
            }
            size += more;
            part.push(record);
        }
        self.commit(part);
    }

    /// Adds an answer.
    pub fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }
}
