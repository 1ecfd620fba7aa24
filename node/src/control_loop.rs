//! The control path as one owner: commands in; records through Raft; replies out once everything they rest on is
//! committed. Holds: a reply leaves only after every record decided before it is committed and applied, and after the
//! data plane serves the image that the records made (M20). Runs no thread: the shell calls [`ControlLoop::turn`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use pyralog_coordinator::coordinator::Coordinator;
use pyralog_coordinator::metadata::Image;
use pyralog_coordinator::raft::{Fatal, LogStore, ProposeError, Replica};
use pyralog_coordinator::{Command, Context, Effects, Record, Reply, Token};
use pyralog_protocol::{Draw, MonoMs, Now};

use crate::outputs::{Call, ReplyTo};

/// Why the control path cannot go on. The process ends with this text.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The store failed; this is never retried (IO-01, RA-20).
    #[error("the metadata store failed: {0}")]
    Store(#[from] Fatal),
    /// A decided change could not be proposed: the state in memory is ahead of what can be made durable.
    #[error("a decided change could not be proposed: {0}")]
    Propose(#[from] ProposeError),
}

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

/// Replies that wait until the log is committed up to an index.
struct Parked {
    index: u64,
    image: Option<Arc<Image>>,
    replies: Vec<(Token, Reply)>,
}

/// The coordinator with its replica, and who waits for what.
pub struct ControlLoop<S: LogStore> {
    coordinator: Coordinator,
    replica: Replica<S, Record>,
    askers: BTreeMap<Token, Asker>,
    next_token: u64,
    effects: Effects,
    parked: VecDeque<Parked>,
    proposed: u64,
}

impl<S: LogStore> ControlLoop<S> {
    /// A loop over a loaded coordinator and its replica.
    pub fn new(coordinator: Coordinator, replica: Replica<S, Record>) -> Self {
        let proposed = replica.applied();
        Self {
            coordinator,
            replica,
            askers: BTreeMap::new(),
            next_token: 1,
            effects: Effects::default(),
            parked: VecDeque::new(),
            proposed,
        }
    }

    /// Begins to serve: founds the cluster where there is none. Once, before everything else.
    pub fn start(&mut self, draw: Draw, now: Now) -> Result<Released, ControlError> {
        self.coordinator.start(draw, now, &mut self.effects);
        self.turn(now)
    }

    /// Takes a client's request.
    pub fn submit(&mut self, call: Call, now: Now) {
        let Call { mut context, command, reply } = call;
        context.token = self.token(Asker::Client(Box::new(reply)));
        self.coordinator.handle(context, command, now, &mut self.effects);
    }

    /// Takes a command of the shell's own.
    pub fn submit_own(&mut self, mut context: Context, command: Command, now: Now) {
        context.token = self.token(Asker::Shell);
        self.coordinator.handle(context, command, now, &mut self.effects);
    }

    fn token(&mut self, asker: Asker) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.askers.insert(token, asker);
        token
    }

    /// When [`ControlLoop::turn`] is due at the latest.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.coordinator.next_deadline()
    }

    /// Makes what was decided durable, in one sync for all of it, and lets out what may leave.
    pub fn turn(&mut self, now: Now) -> Result<Released, ControlError> {
        if self.coordinator.next_deadline().is_some_and(|at| at <= now.mono) {
            self.coordinator.on_deadline(now, &mut self.effects);
        }
        let Effects { records, replies } = std::mem::take(&mut self.effects);
        for set in &records {
            self.proposed = self.propose(set)?;
        }
        let image = self.coordinator.changed_image();
        if image.is_some() || !replies.is_empty() {
            self.parked.push_back(Parked { index: self.proposed, image, replies });
        }
        let committed = self.replica.pump()?.committed;
        Ok(self.release(committed))
    }

    /// Proposes a set of records; when too much is on the way, what is there goes to disk first.
    fn propose(&mut self, records: &[Record]) -> Result<u64, ControlError> {
        match self.replica.propose(records) {
            Ok(proposed) => Ok(proposed.index),
            Err(ProposeError::Busy { .. }) => {
                self.replica.pump()?;
                Ok(self.replica.propose(records)?.index)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn release(&mut self, committed: u64) -> Released {
        let mut released = Released::default();
        while self.parked.front().is_some_and(|parked| parked.index <= committed) {
            let Some(parked) = self.parked.pop_front() else { break };
            released.image = parked.image.or(released.image);
            for (token, reply) in parked.replies {
                if let Some(asker) = self.askers.remove(&token) {
                    released.replies.push((asker, reply));
                }
            }
        }
        released
    }

    /// Upkeep of the store that may take a moment (dropping old log entries); for quiet times.
    pub fn reclaim(&mut self) -> Result<(), ControlError> {
        if self.replica.is_reclaim_due() {
            self.replica.reclaim()?;
        }
        Ok(())
    }

    /// Where the Raft group stands. Right after a turn it covers everything that the turn released.
    pub fn quorum(&self) -> Quorum {
        let replica = &self.replica;
        Quorum { leads: replica.is_ready_leader(), term: replica.term(), applied: replica.applied() }
    }

    /// The coordinator, for reading.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }
}
