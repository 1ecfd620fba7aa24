//! What one step of the machine knows and collects: the time, the logs, its records, the answers.
//! Holds: the records of a step are one atomic set, as long as they fit the log's limit for one entry.

use pyralog_protocol::Now;

use super::TopicView;
use super::record::GroupRecord;
use crate::command::{Reply, Token};
use crate::effects::{Effects, SET_BYTES_MAX};
use crate::record::Record;

/// Effects of a step that is under way.
pub(super) struct Step<'a> {
    pub now: Now,
    /// The disk is all but full: what can wait is not written.
    pub no_room: bool,
    pub topics: &'a dyn TopicView,
    records: Vec<Record>,
    replies: Vec<(Token, Reply)>,
}

impl<'a> Step<'a> {
    pub fn new(topics: &'a dyn TopicView, now: Now) -> Self {
        Self { now, no_room: false, topics, records: Vec::new(), replies: Vec::new() }
    }

    /// Keeps a record that was applied. Of several heads of one group only the last one is written: the set is atomic,
    /// and no other record depends on where among them the head stands.
    pub fn record(&mut self, record: GroupRecord) {
        match record.head_of().and_then(|group| self.head_mut(group)) {
            Some(earlier) => *earlier = record,
            None => self.records.push(Record::Group(record)),
        }
    }

    fn head_mut(&mut self, group: &str) -> Option<&mut GroupRecord> {
        self.records.iter_mut().find_map(|record| match record {
            Record::Group(earlier) if earlier.head_of() == Some(group) => Some(earlier),
            Record::Group(_) | Record::Metadata(_) | Record::Vlsn(_) => None,
        })
    }

    pub fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }

    /// More than one set can hold goes in several, heads last: a stage or generation must not be durable before what it
    /// speaks of. Whoever asked is answered after all of them.
    pub fn finish(self, out: &mut Effects) {
        if self.records.iter().map(Record::bytes).sum::<usize>() <= SET_BYTES_MAX {
            out.commit(self.records);
        } else {
            let (heads, others): (Vec<_>, Vec<_>) = self.records.into_iter().partition(is_head);
            out.commit_in_parts(others.into_iter().chain(heads));
        }
        for (token, reply) in self.replies {
            out.reply(token, reply);
        }
    }
}

fn is_head(record: &Record) -> bool {
    match record {
        Record::Group(record) => record.head_of().is_some(),
        Record::Metadata(_) | Record::Vlsn(_) => false,
    }
}
