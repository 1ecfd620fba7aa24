//! One node's part in the coordinator: the machines and their replica behind one door. The leader decides; the others
//! apply what it decided and refuse to answer. Time, messages and commands come in as values; [`Turn`] is what may leave.
//!
//! Holds:
//! * A reply leaves only when every record that was decided before it is committed and applied, and, where nobody
//!   decided anything, when a majority has confirmed that this node still led after the request came (RA-10, RA-11).
//! * Machines that were ahead of the log when the leadership was lost are thrown away and loaded again: what was decided
//!   and not committed may never have been (RA-12). Whoever waits is told that this node does not serve.
//! * Nothing is proposed twice, and no follower forwards anything. So a retry of a client is a new command, decided on
//!   the state that the first one left, and there is nothing to recognise duplicates of.
//!
//! With one voter every step is as short as it can be: there is nobody to confirm, and a turn ends with everything
//! committed. Deliberately without a network: who moves [`Turn::messages`] to the other nodes calls [`Member::step`],
//! [`Member::report_unreachable`] and [`Member::report_snapshot`] with what came of it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use pyralog_protocol::{Draw, MonoMs, Now};

use crate::command::{Command, Context, Reply, Token};
use crate::config::ConfigError;
use crate::coordinator::{Coordinator, Settings};
use crate::effects::Effects;
use crate::metadata::Image;
use crate::raft::eraftpb::Message;
use crate::raft::{Applied, Fatal, LogStore, OpenError, Progress, ProposeError, Replica};
use crate::record::Record;

/// Why the member cannot go on. The process ends with this text.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// The store failed; this is never retried (IO-01, RA-20).
    #[error("the metadata store failed: {0}")]
    Store(#[from] Fatal),
    /// The state could not be read again after it was replaced or the leadership was lost.
    #[error("the coordinator's state could not be loaded: {0}")]
    Load(#[from] OpenError),
    /// A decided change could not be proposed: the state in memory is ahead of what can be made durable.
    #[error("a decided change could not be proposed: {0}")]
    Propose(#[from] ProposeError),
    /// The configuration is wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Configs(Vec<ConfigError>),
}

/// A command was not taken in, and nothing came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotServing {
    /// Another node leads, or this one is not ready yet.
    #[error("this node does not lead the coordinator (leader: {leader:?})")]
    NotLeader {
        /// Who leads, as far as known.
        leader: Option<u64>,
    },
    /// Changes that were decided wait until they may be proposed.
    #[error("too many changes of the coordinator wait for their commit; try again in a moment")]
    Busy,
}

/// What a turn lets out, in this order: messages at any time, then the image, then the replies.
#[derive(Debug, Default)]
pub struct Turn {
    /// To be sent to the other nodes. A message that cannot be sent is reported.
    pub messages: Vec<Message>,
    /// A newer image of what is committed.
    pub image: Option<Arc<Image>>,
    /// Replies, in order.
    pub replies: Vec<(Token, Reply)>,
    /// The leadership was lost. Whoever asked and has no reply in here or before gets none any more: what came of the
    /// command is not known.
    pub lost: bool,
}

/// Replies that wait until as many sets of records are committed, and until a read is confirmed.
#[derive(Debug)]
struct Parked {
    sets: u64,
    read: Option<u64>,
    image: Option<Arc<Image>>,
    replies: Vec<(Token, Reply)>,
}

/// The machines of one node with its replica.
pub struct Member<S: LogStore> {
    settings: Settings,
    coordinator: Coordinator,
    replica: Replica<S, Record>,
    draw: Draw,
    /// Term in which this node leads and its machines decide.
    leads: Option<u64>,
    effects: Effects,
    parked: VecDeque<Parked>,
    /// Sets of records that were decided and are not proposed yet, because too much was on the way.
    backlog: VecDeque<Vec<Record>>,
    /// Sets that were decided, proposed and committed so far. Those that are proposed and not committed have their index
    /// in `indexes`.
    decided: u64,
    proposed: u64,
    committed: u64,
    indexes: VecDeque<u64>,
    confirmed: u64,
    #[cfg(test)]
    plant: tests::Plant,
}

impl<S: LogStore> Member<S> {
    /// Loads the machines from the replica's state. `draw` is for the ids that are given at the foundation.
    pub fn new(settings: Settings, replica: Replica<S, Record>, draw: Draw) -> Result<Self, MemberError> {
        let coordinator = load(&settings, &replica)?;
        Ok(Self {
            settings,
            coordinator,
            replica,
            draw,
            leads: None,
            effects: Effects::default(),
            parked: VecDeque::new(),
            backlog: VecDeque::new(),
            decided: 0,
            proposed: 0,
            committed: 0,
            indexes: VecDeque::new(),
            confirmed: 0,
            #[cfg(test)]
            plant: tests::Plant::None,
        })
    }

    /// One request; its reply comes out of this or a later [`Member::turn`].
    pub fn handle(&mut self, context: Context, command: Command, now: Now) -> Result<(), NotServing> {
        if self.leads.is_none() || self.role_changed() {
            return Err(NotServing::NotLeader { leader: self.replica.leader() });
        }
        if !self.backlog.is_empty() {
            return Err(NotServing::Busy);
        }
        self.coordinator.handle(context, command, now, &mut self.effects);
        Ok(())
    }

    /// Takes in a message from another node; a turn is due afterwards. `false`: it made no sense and was dropped.
    pub fn step(&mut self, message: Message) -> bool {
        self.replica.step(message)
    }

    /// One tick of the owner's timer; a turn is due when it says so. A single voter needs none.
    pub fn tick(&mut self) -> bool {
        self.replica.tick()
    }

    /// A message to this node did not arrive (RA-13).
    pub fn report_unreachable(&mut self, node: u64) {
        self.replica.report_unreachable(node);
    }

    /// How sending a snapshot to this node ended, also when it was given up (RA-13).
    pub fn report_snapshot(&mut self, node: u64, arrived: bool) {
        self.replica.report_snapshot(node, arrived);
    }

    /// When [`Member::turn`] is due at the latest.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        self.leads.and_then(|_| self.coordinator.next_deadline())
    }

    /// Makes what was decided durable, in one sync for all of it, takes in what others decided, and lets out what may
    /// leave. After an error the process must exit.
    pub fn turn(&mut self, now: Now) -> Result<Turn, MemberError> {
        let mut turn = Turn::default();
        loop {
            self.settle_role(now, &mut turn)?;
            if self.next_deadline().is_some_and(|at| at <= now.mono) {
                self.coordinator.on_deadline(now, &mut self.effects);
            }
            self.park()?;
            let proposed = self.propose()?;
            let progress = self.replica.pump()?;
            self.take_in(progress, &mut turn)?;
            if !self.role_changed() && (self.backlog.is_empty() || !proposed) {
                break;
            }
        }
        self.release(&mut turn);
        Ok(turn)
    }

    /// The replica leads in another term than the machines think.
    fn role_changed(&self) -> bool {
        self.leads != self.replica.is_ready_leader().then(|| self.replica.term())
    }

    fn settle_role(&mut self, now: Now, turn: &mut Turn) -> Result<(), MemberError> {
        if self.leads.is_some() && self.role_changed() {
            self.lose(turn)?;
        }
        if self.leads.is_none() && self.replica.is_ready_leader() {
            self.leads = Some(self.replica.term());
            self.coordinator.start(self.draw.clone(), now, &mut self.effects);
            self.draw.next_u64();
        }
        Ok(())
    }

    /// What was decided here and is not committed may be lost, so the machines begin again from what is committed.
    fn lose(&mut self, turn: &mut Turn) -> Result<(), MemberError> {
        self.leads = None;
        turn.lost = true;
        self.effects = Effects::default();
        self.parked.clear();
        self.backlog.clear();
        self.indexes.clear();
        (self.proposed, self.committed) = (self.decided, self.decided);
        #[cfg(test)]
        if self.plant == tests::Plant::KeepMachines {
            return Ok(());
        }
        self.coordinator = load(&self.settings, &self.replica)?;
        Ok(())
    }

    /// Numbers what was decided, and has the replies wait for it.
    fn park(&mut self) -> Result<(), MemberError> {
        let Effects { records, replies } = std::mem::take(&mut self.effects);
        let decided = !records.is_empty();
        for set in records {
            self.decided += 1;
            self.backlog.push_back(set);
        }
        let image = self.coordinator.changed_image();
        if image.is_none() && replies.is_empty() {
            return Ok(());
        }
        // A commit of what is decided from here on is the majority's word as well.
        let asks = !decided && !replies.is_empty() && !self.replica.is_alone();
        #[cfg(test)]
        let asks = asks && self.plant != tests::Plant::NoLeaderCheck;
        let read = if asks { Some(self.replica.confirm()?) } else { None };
        self.parked.push_back(Parked { sets: self.decided, read, image, replies });
        Ok(())
    }

    /// Proposes what there is room for; says whether that was anything.
    fn propose(&mut self) -> Result<bool, MemberError> {
        let before = self.proposed;
        while let Some(set) = self.backlog.front() {
            match self.replica.propose(set) {
                Ok(proposed) => self.indexes.push_back(proposed.index),
                // It is noticed after the pump, and the backlog goes then; or there is room after a commit.
                Err(ProposeError::NotLeader { .. } | ProposeError::Busy { .. }) => break,
                Err(error) => return Err(error.into()),
            }
            self.backlog.pop_front();
            self.proposed += 1;
        }
        Ok(self.proposed > before)
    }

    fn take_in(&mut self, progress: Progress, turn: &mut Turn) -> Result<(), MemberError> {
        let Progress { committed, applied, replaced, confirmed, messages } = progress;
        turn.messages.extend(messages);
        self.confirmed = confirmed;
        if self.leads.is_some() && self.role_changed() {
            // What was applied meanwhile is in the state that is loaded.
            return self.lose(turn);
        }
        if self.leads.is_some() {
            // All of it was decided here, in this term, and is in the machines.
            while self.indexes.front().is_some_and(|index| *index <= committed) {
                self.indexes.pop_front();
                self.committed += 1;
            }
        } else if replaced {
            self.coordinator = load(&self.settings, &self.replica)?;
        } else {
            self.follow(&applied);
        }
        Ok(())
    }

    fn follow(&mut self, applied: &[Applied]) {
        applied.iter().flat_map(|entry| &entry.records).for_each(|record| self.coordinator.apply(record));
    }

    fn release(&mut self, turn: &mut Turn) {
        let (committed, confirmed) = (self.committed, self.confirmed);
        #[cfg(test)]
        let committed = if self.plant == tests::Plant::ReplyEarly { u64::MAX } else { committed };
        let may_leave = |parked: &Parked| parked.sets <= committed && parked.read.is_none_or(|read| read <= confirmed);
        while self.parked.front().is_some_and(may_leave) {
            let Some(parked) = self.parked.pop_front() else { break };
            turn.image = parked.image.or(turn.image.take());
            turn.replies.extend(parked.replies);
        }
        // Nobody waits for what a follower applied: it is committed.
        if self.leads.is_none()
            && let Some(image) = self.coordinator.changed_image()
        {
            turn.image = Some(image);
        }
    }

    /// The coordinator, for reading. A leader's is ahead of what is committed.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// The replica, for reading.
    pub fn replica(&self) -> &Replica<S, Record> {
        &self.replica
    }

    /// The replica: changes of members, transfer of the leadership, upkeep. A turn is due afterwards.
    pub fn replica_mut(&mut self) -> &mut Replica<S, Record> {
        &mut self.replica
    }

    /// The replica, when the member is done.
    pub fn into_replica(self) -> Replica<S, Record> {
        self.replica
    }
}

/// The machines as of what is applied.
fn load<S: LogStore>(settings: &Settings, replica: &Replica<S, Record>) -> Result<Coordinator, MemberError> {
    let mut coordinator = Coordinator::new(settings.clone()).map_err(MemberError::Configs)?;
    replica.load(|record| coordinator.apply(&record))?;
    Ok(coordinator)
}
