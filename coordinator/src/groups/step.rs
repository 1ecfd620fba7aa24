//! What one step of the machine knows and collects: the time, one atomic set of records, the answers.

use pyralog_protocol::Now;

use super::record::{GroupHead, GroupRecord};
use crate::command::{Reply, Token};
use crate::effects::Effects;
use crate::record::Record;

/// Effects of a step that is under way.
#[derive(Debug)]
pub(super) struct Step {
    pub now: Now,
    records: Vec<Record>,
    replies: Vec<(Token, Reply)>,
}

impl Step {
    pub fn new(now: Now) -> Self {
        Self { now, records: Vec::new(), replies: Vec::new() }
    }

    /// Keeps a record that was applied. Of several heads of one group only the last one is written: the set is atomic,
    /// and no other record depends on where among them the head stands.
    pub fn record(&mut self, record: GroupRecord) {
        if let GroupRecord::Head { group, head } = &record
            && let Some(earlier) = self.head_mut(group)
        {
            earlier.clone_from(head);
            return;
        }
        self.records.push(Record::Group(record));
    }

    fn head_mut(&mut self, name: &str) -> Option<&mut GroupHead> {
        self.records.iter_mut().find_map(|record| match record {
            Record::Group(GroupRecord::Head { group, head }) if group == name => Some(head),
            Record::Group(_) | Record::Metadata(_) => None,
        })
    }

    pub fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }

    pub fn finish(self, out: &mut Effects) {
        out.commit(self.records);
        for (token, reply) in self.replies {
            out.reply(token, reply);
        }
    }
}
