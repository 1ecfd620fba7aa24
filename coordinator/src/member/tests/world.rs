//! Nodes, their network and their faults: all of it drawn from one seed. What runs on the nodes is the shipped code,
//! from the commands down to the batches of the store.

use std::collections::{BTreeMap, BTreeSet};

use pyralog_protocol::{Draw, MonoMs, NodeId, Now, WallMs};

use super::checker::{History, Promises};
use super::clients::{Asked, Client};
use super::store::{End, Faulty};
use super::{Plant, below};
use crate::command::{Reply, Token};
use crate::coordinator::Settings;
use crate::member::{Member, MemberError, Turn};
use crate::raft::eraftpb::{Message, MessageType};
use crate::raft::{Fatal, MemberChange, Members, MemoryStore, Replica, ReplicaOptions};

/// A process that runs, or what it left.
pub enum Node {
    Up(Box<Member<Faulty>>),
    Down(MemoryStore),
}

/// How much of everything happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub crashes: u64,
    pub snapshots: u64,
    pub failed_snapshots: u64,
    pub elections: u64,
    pub changes: u64,
    pub promotions: u64,
    pub transfers: u64,
    pub lost_leaderships: u64,
    pub acknowledged: u64,
    pub reads: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.snapshots += other.snapshots;
        self.failed_snapshots += other.failed_snapshots;
        self.elections += other.elections;
        self.changes += other.changes;
        self.promotions += other.promotions;
        self.transfers += other.transfers;
        self.lost_leaderships += other.lost_leaderships;
        self.acknowledged += other.acknowledged;
        self.reads += other.reads;
    }
}

pub struct World {
    pub seed: u64,
    pub plant: Plant,
    pub draw: Draw,
    pub nodes: BTreeMap<u64, Node>,
    pub history: History,
    pub promises: Promises,
    pub asked: BTreeMap<Token, Asked>,
    pub clients: Vec<Client>,
    pub values: i64,
    pub counts: Counts,
    /// Node, term, applied index of every turn.
    pub trace: Vec<(u64, u64, u64)>,
    pub network: Vec<Message>,
    /// From and to: nothing arrives.
    pub cut: BTreeSet<(u64, u64)>,
    pub faults: bool,
    /// So many of the next snapshots do not arrive.
    pub lost_snapshots: u64,
    founders: Vec<u64>,
    now_ms: i64,
    tokens: u64,
}

type Outcome = Result<(), String>;

impl World {
    /// So many voters, and one more node that is no member.
    pub fn new(seed: u64, voters: u64, plant: Plant) -> Result<Self, String> {
        let founders: Vec<u64> = (1..=voters).collect();
        let mut history = History::new();
        history.begin(Members { voters: founders.clone(), ..Members::default() });
        let mut world = Self {
            seed,
            plant,
            draw: Draw::new(u128::from(seed)),
            nodes: BTreeMap::new(),
            history,
            promises: Promises::default(),
            asked: BTreeMap::new(),
            clients: vec![Client::default(); 3],
            values: 0,
            counts: Counts::default(),
            trace: Vec::new(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            faults: false,
            lost_snapshots: 0,
            founders,
            now_ms: 0,
            tokens: 0,
        };
        for node in 1..=voters + 1 {
            world.open(node, MemoryStore::default())?;
        }
        Ok(world)
    }

    pub fn pick(&mut self, limit: usize) -> usize {
        usize::try_from(below(&mut self.draw, limit as u64)).unwrap()
    }

    pub fn some_node(&mut self) -> u64 {
        1 + below(&mut self.draw, self.nodes.len() as u64)
    }

    pub fn now(&self) -> Now {
        Now { mono: MonoMs(u64::try_from(self.now_ms).unwrap()), wall: WallMs(1_700_000_000_000 + self.now_ms) }
    }

    pub fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
    }

    pub fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn options(&self, node: u64) -> ReplicaOptions {
        ReplicaOptions {
            node,
            voters: self.founders.clone(),
            seed: self.seed,
            max_uncommitted_bytes: 6_000,
            max_message_bytes: 400,
            max_apply_bytes: 1_000,
            log_window_entries: 32,
            log_window_bytes: 20_000,
            ..ReplicaOptions::default()
        }
    }

    /// Starts a process on what a store holds.
    pub fn open(&mut self, node: u64, store: MemoryStore) -> Outcome {
        let configs = vec![("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned())];
        let settings = Settings { configs, ..Settings::new(NodeId(i32::try_from(node).unwrap())) };
        let replica = Replica::open(Faulty::new(store, self.plant), self.options(node));
        let replica = replica.map_err(|e| format!("node {node} refused: {e}"))?;
        let draw = Draw::new(u128::from(self.draw.next_u64()));
        let mut member = Member::new(settings, replica, draw).map_err(|e| e.to_string())?;
        member.plant = self.plant;
        if self.founders.len() > 1 && member.replica().is_ready_leader() {
            return Err(format!("node {node} leads at once"));
        }
        self.history.restarted(node);
        self.nodes.insert(node, Node::Up(Box::new(member)));
        Ok(())
    }

    pub fn member(&mut self, node: u64) -> Option<&mut Member<Faulty>> {
        match self.nodes.get_mut(&node)? {
            Node::Up(member) => Some(member),
            Node::Down(_) => None,
        }
    }

    /// Nodes that think they lead.
    pub fn leaders(&self) -> Vec<u64> {
        let leads = |(id, node): (&u64, &Node)| match node {
            Node::Up(member) if member.replica().leader() == Some(*id) => Some(*id),
            Node::Up(_) | Node::Down(_) => None,
        };
        self.nodes.iter().filter_map(leads).collect()
    }

    /// The leader that serves with the highest term.
    pub fn serving(&self) -> Option<u64> {
        let ready = |(id, node): (&u64, &Node)| match node {
            Node::Up(member) if member.replica().is_ready_leader() => Some((member.replica().term(), *id)),
            Node::Up(_) | Node::Down(_) => None,
        };
        self.nodes.iter().filter_map(ready).max().map(|(_, id)| id)
    }

    /// One turn of a node, and what it lets out.
    pub fn turn(&mut self, node: u64) -> Outcome {
        let now = self.now();
        let Some(member) = self.member(node) else { return Ok(()) };
        let turn = match member.turn(now) {
            Ok(turn) => turn,
            Err(MemberError::Store(Fatal::Store(_))) => return self.crash(node),
            Err(error) => return Err(format!("node {node}: {error}")),
        };
        self.look_at(node)?;
        let Turn { messages, image: _, replies, lost } = turn;
        self.counts.snapshots +=
            messages.iter().filter(|m| m.get_msg_type() == MessageType::MsgSnapshot).count() as u64;
        self.network.extend(messages);
        for (token, reply) in replies {
            self.answered(node, token, reply)?;
        }
        if lost {
            self.counts.lost_leaderships += 1;
            self.forget(node);
        }
        Ok(())
    }

    fn answered(&mut self, node: u64, token: Token, reply: Reply) -> Outcome {
        let Some(asked) = self.asked.remove(&token) else {
            return Err(format!("node {node} answers twice, or whom it told that it stopped: {reply:?}"));
        };
        // An answer may get lost on its way to the client.
        if self.faults && below(&mut self.draw, 20) == 0 {
            self.unanswered(&asked);
            return Ok(());
        }
        self.counts.acknowledged += 1;
        self.check_reply(asked, reply)
    }

    fn forget(&mut self, node: u64) {
        let (gone, kept): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.asked).into_iter().partition(|(_, asked)| asked.node == node);
        self.asked = kept;
        gone.values().for_each(|asked| self.unanswered(asked));
    }

    fn look_at(&mut self, node: u64) -> Outcome {
        let Some(Node::Up(member)) = self.nodes.get_mut(&node) else { return Ok(()) };
        let (term, applied) = (member.replica().term(), member.replica().applied());
        if member.replica().leader() == Some(node) {
            self.history.leads(term, node)?;
        }
        if self.trace.last().is_none_or(|last| last.1 < term) {
            self.counts.elections += 1;
        }
        self.trace.push((node, term, applied));
        let members = member.replica().members();
        self.history.compare(node, member.replica_mut().store_mut(), applied, &members)
    }

    /// The process ends, and the disk may forget what was not synced.
    pub fn crash(&mut self, node: u64) -> Outcome {
        let left = match self.nodes.remove(&node) {
            Some(Node::Up(member)) => {
                self.counts.crashes += 1;
                member.into_replica().into_store().store.crash(&mut self.draw)
            }
            Some(Node::Down(left)) => left,
            None => return Ok(()),
        };
        self.nodes.insert(node, Node::Down(left));
        self.forget(node);
        Ok(())
    }

    pub fn restart(&mut self, node: u64) -> Outcome {
        match self.nodes.remove(&node) {
            Some(Node::Down(store)) => self.open(node, store),
            Some(up) => {
                self.nodes.insert(node, up);
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub fn tick(&mut self, node: u64) -> Outcome {
        let due = self.member(node).is_some_and(Member::tick);
        let now = self.now().mono;
        let deadline = self.member(node).and_then(|member| member.next_deadline()).is_some_and(|at| at <= now);
        if due || deadline { self.turn(node) } else { Ok(()) }
    }

    /// Delivers one of the messages that are on the way longest, or loses it.
    pub fn deliver(&mut self) -> Outcome {
        if self.network.is_empty() {
            return Ok(());
        }
        let window = if self.faults { 6 } else { 2 };
        let at = self.pick(self.network.len().min(window));
        let message = self.network.remove(at);
        let lossy = self.faults && below(&mut self.draw, 12) == 0;
        let (from, to) = (message.from, message.to);
        let planned = message.get_msg_type() == MessageType::MsgSnapshot && self.lost_snapshots > 0;
        self.lost_snapshots -= u64::from(planned);
        if lossy || planned || self.cut.contains(&(from, to)) || self.member(to).is_none() {
            self.report(&message, false);
            return Ok(());
        }
        if self.faults && below(&mut self.draw, 20) == 0 {
            let at = self.pick(self.network.len() + 1);
            self.network.insert(at, message.clone());
        }
        self.report(&message, true);
        if let Some(member) = self.member(to) {
            member.step(message);
        }
        self.turn(to)
    }

    /// RA-13: what became of a message is told to its sender. Of a lost snapshot always; of others, a network may not know.
    fn report(&mut self, message: &Message, arrived: bool) {
        let is_snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        self.counts.failed_snapshots += u64::from(is_snapshot && !arrived);
        let noticed = below(&mut self.draw, 2) == 0;
        let silent = self.plant == Plant::SilentTransfers;
        let Some(sender) = self.member(message.from) else { return };
        if is_snapshot && !silent {
            sender.report_snapshot(message.to, arrived);
        } else if !arrived && noticed {
            sender.report_unreachable(message.to);
        }
    }

    /// Something breaks, or is mended.
    fn fault(&mut self) -> Outcome {
        let node = self.some_node();
        match below(&mut self.draw, 12) {
            0 => {
                let end = End { batches: below(&mut self.draw, 5), written: below(&mut self.draw, 2) == 0 };
                if let Some(member) = self.member(node) {
                    member.replica_mut().store_mut().end = Some(end);
                }
                Ok(())
            }
            1 => self.crash(node),
            2..=4 => {
                let down = self.nodes.iter().find(|(_, node)| matches!(node, Node::Down(_))).map(|(id, _)| *id);
                down.map_or(Ok(()), |down| self.restart(down))
            }
            5 => {
                let others: Vec<u64> = self.nodes.keys().copied().filter(|other| *other != node).collect();
                let direction = below(&mut self.draw, 3);
                for other in others {
                    self.cut.extend((direction != 1).then_some((node, other)));
                    self.cut.extend((direction != 2).then_some((other, node)));
                }
                Ok(())
            }
            6 => {
                let left: BTreeSet<u64> =
                    self.nodes.keys().copied().filter(|_| self.draw.next_u64().is_multiple_of(2)).collect();
                let all: Vec<u64> = self.nodes.keys().copied().collect();
                for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
                    self.cut.extend((left.contains(&a) != left.contains(&b)).then_some((a, b)));
                }
                Ok(())
            }
            7 | 8 => {
                self.cut.clear();
                Ok(())
            }
            9 => {
                let Some(leader) = self.serving() else { return Ok(()) };
                self.counts.transfers += 1;
                self.member(leader).unwrap().replica_mut().transfer_leader(node);
                self.turn(leader)
            }
            _ => self.change_members(node),
        }
    }

    /// What fits: the node comes as a learner, is promoted, or goes.
    pub fn change_members(&mut self, node: u64) -> Outcome {
        let Some(leader) = self.serving() else { return Ok(()) };
        let replica = self.member(leader).unwrap().replica_mut();
        let members = replica.members();
        let change = if members.learners.contains(&node) {
            MemberChange::Promote(node)
        } else if !members.voters.contains(&node) {
            MemberChange::AddLearner(node)
        } else if members.voters.len() > 2 {
            MemberChange::Remove(node)
        } else {
            return Ok(());
        };
        if replica.change_members(&[change]).is_ok() {
            self.counts.changes += 1;
            self.counts.promotions += u64::from(matches!(change, MemberChange::Promote(_)));
            return self.turn(leader);
        }
        Ok(())
    }

    pub fn event(&mut self) -> Outcome {
        let ms = i64::try_from(below(&mut self.draw, 20)).unwrap();
        self.pass(ms);
        match below(&mut self.draw, 100) {
            0..45 => {
                for _ in 0..=self.pick(2 * self.nodes.len()) {
                    self.deliver()?;
                }
                Ok(())
            }
            45..83 => {
                let node = self.some_node();
                self.tick(node)
            }
            83..96 => self.client(),
            _ if self.faults => self.fault(),
            _ => Ok(()),
        }
    }

    /// No more faults.
    pub fn mend(&mut self) -> Outcome {
        self.faults = false;
        self.cut.clear();
        let all: Vec<u64> = self.nodes.keys().copied().collect();
        for node in all {
            if let Some(member) = self.member(node) {
                member.replica_mut().store_mut().end = None;
            }
            self.restart(node)?;
        }
        Ok(())
    }

    /// Runs without clients until every member has all of the log, and nothing is under way.
    pub fn settle(&mut self) -> Outcome {
        for round in 0..4_000 {
            if round % 40 == 39 && self.is_settled() {
                return Ok(());
            }
            self.pass(2);
            for _ in 0..3 {
                self.deliver()?;
            }
            let node = self.some_node();
            self.tick(node)?;
        }
        let state = |(id, node): (&u64, &Node)| match node {
            Node::Up(member) => {
                let replica = member.replica();
                let (leader, term, applied) = (replica.leader(), replica.term(), replica.applied());
                format!("{id}: leader {leader:?} term {term} applied {applied} {:?}", replica.members())
            }
            Node::Down(_) => format!("{id}: down"),
        };
        let states: Vec<String> = self.nodes.iter().map(state).collect();
        Err(format!("not settled after the faults: {states:#?}, {} messages on their way", self.network.len()))
    }

    fn is_settled(&self) -> bool {
        let Some(Node::Up(leader)) = self.serving().and_then(|leader| self.nodes.get(&leader)) else { return false };
        let (members, applied) = (leader.replica().members(), leader.replica().applied());
        let caught_up = |id: &u64| match self.nodes.get(id) {
            Some(Node::Up(member)) => member.replica().applied() == applied,
            Some(Node::Down(_)) | None => false,
        };
        let votes = members.voters.contains(&leader.replica().id());
        // A group's deadline may just have fired: the leader's machines are ahead of the log then.
        let decides = leader.decided != leader.committed;
        votes
            && !decides
            && members.outgoing.is_empty()
            && members.voters.iter().chain(&members.learners).all(caught_up)
    }

    /// Machines of all nodes hold what their stores hold.
    pub fn compare_machines(&mut self) -> Outcome {
        for (id, node) in &self.nodes {
            let Node::Up(member) = node else { continue };
            let fresh = super::super::load(&member.settings, &member.replica).map_err(|e| e.to_string())?;
            if fresh.hard_state() != member.coordinator().hard_state() {
                return Err(format!("machines of node {id} differ from its store"));
            }
        }
        Ok(())
    }
}
