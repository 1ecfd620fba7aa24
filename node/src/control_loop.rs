//! The control path as one owner: who asked what of the coordinator's [`Member`] on this node, and what leaves in which
//! order. Holds: a reply leaves only after the member let it, and after the data plane serves the image that its records
//! made (M20). Runs no thread: the shell calls [`ControlLoop::turn`].

use std::collections::BTreeMap;
use std::sync::Arc;

use pyralog_coordinator::coordinator::Coordinator;
use pyralog_coordinator::member::{Member, MemberError, Turn};
use pyralog_coordinator::metadata::Image;
use pyralog_coordinator::raft::LogStore;
use pyralog_coordinator::raft::eraftpb::Message;
use pyralog_coordinator::{Command, Context, Reply, Token};
use pyralog_protocol::{MonoMs, Now};

use crate::outputs::{Call, ReplyTo};

/// Who is told the reply to a command.
#[derive(Debug)]
pub enum Asker {
    /// A client.
    Client(Box<ReplyTo>),
    /// The shell itself.
    Shell,
}

/// What a turn of the loop lets out, in this order: first the image, then the replies.
#[derive(Debug, Default)]
pub struct Released {
    /// A newer image for the data plane.
    pub image: Option<Arc<Image>>,
    /// Replies, in order.
    pub replies: Vec<(Asker, Reply)>,
    /// Who gets no reply, because this node does not lead the coordinator (any more) or has too much on the way.
    pub refused: Vec<Asker>,
    /// For other nodes of the coordinator; a single voter has none.
    pub messages: Vec<Message>,
}

/// Where the metadata's Raft group stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// Whether this node leads it and may serve.
    pub leads: bool,
    /// Its term.
    pub term: u64,
    /// Index of the last entry that is committed and applied.
    pub applied: u64,
}

/// The coordinator's member on this node, and who waits for what.
pub struct ControlLoop<S: LogStore> {
    member: Member<S>,
    askers: BTreeMap<Token, Asker>,
    next_token: u64,
    refused: Vec<Asker>,
}

impl<S: LogStore> ControlLoop<S> {
    /// A loop over a loaded member. A single voter serves after the first [`ControlLoop::turn`], which founds the cluster
    /// where there is none.
    pub fn new(member: Member<S>) -> Self {
        Self { member, askers: BTreeMap::new(), next_token: 1, refused: Vec::new() }
    }

    /// Takes a client's request.
    pub fn submit(&mut self, call: Call, now: Now) {
        let Call { mut context, command, reply, .. } = call;
        context.token = self.token(Asker::Client(Box::new(reply)));
        self.handle(context, command, now);
    }

    /// Takes a command of the shell's own.
    pub fn submit_own(&mut self, mut context: Context, command: Command, now: Now) {
        context.token = self.token(Asker::Shell);
        self.handle(context, command, now);
    }

    fn handle(&mut self, context: Context, command: Command, now: Now) {
        let token = context.token;
        if self.member.handle(context, command, now).is_err() {
            self.refused.extend(self.askers.remove(&token));
        }
    }

    fn token(&mut self, asker: Asker) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.askers.insert(token, asker);
        token
    }

    /// When [`ControlLoop::turn`] is due at the latest.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.member.next_deadline()
    }

    /// Makes what was decided durable, in one sync for all of it, and lets out what may leave.
    pub fn turn(&mut self, now: Now) -> Result<Released, MemberError> {
        let Turn { messages, image, replies, lost } = self.member.turn(now)?;
        let asked = |(token, reply)| self.askers.remove(&token).map(|asker| (asker, reply));
        let replies = replies.into_iter().filter_map(asked).collect();
        if lost {
            self.refused.extend(std::mem::take(&mut self.askers).into_values());
        }
        Ok(Released { image, replies, refused: std::mem::take(&mut self.refused), messages })
    }

    /// Upkeep of the store that may take a moment (dropping old log entries); for quiet times.
    pub fn reclaim(&mut self) -> Result<(), MemberError> {
        let replica = self.member.replica_mut();
        if replica.is_reclaim_due() {
            replica.reclaim()?;
        }
        Ok(())
    }

    /// Where the Raft group stands. Right after a turn it covers everything that the turn released.
    pub fn quorum(&self) -> Quorum {
        let replica = self.member.replica();
        Quorum { leads: replica.is_ready_leader(), term: replica.term(), applied: replica.applied() }
    }

    /// The coordinator, for reading.
    pub fn coordinator(&self) -> &Coordinator {
        self.member.coordinator()
    }

    /// The member: where messages of other nodes come in, and time for elections.
    pub fn member_mut(&mut self) -> &mut Member<S> {
        &mut self.member
    }
}
