//! One node on a simulated disk with a store in memory, and the little of a shell that it needs. Nothing happens by
//! itself: every sync begins and ends, every turn of the control loop and every look into a mailbox is a call, so that a
//! test or a seed decides the order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, IncrementalAlterConfigsRequest,
    ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::RwLock;
use pyralog_coordinator::member::Member;
use pyralog_coordinator::raft::{
    Batch, Column, LogStore, MemoryStore, Replica, ReplicaOptions, Span, StoreError, Visit,
};
use pyralog_coordinator::{Command, Context, Settings, Token};
use pyralog_node::control_loop::Asker;
use pyralog_node::lifecycle::{DELETED, LOGS, Left, Opened, PartitionSpec, SetAside, partitions_of};
use pyralog_node::outputs::Removal;
use pyralog_node::partition::{CommitBy, Partition};
use pyralog_node::unreadable::Unreadable;
use pyralog_node::{Answer, Call, ConnId, Connection, ControlLoop, Limits, Node, Outputs, Piece, Warm};
use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, Records};
use pyralog_protocol::frame::Held;
use pyralog_protocol::request::encode_request;
use pyralog_protocol::response::decode_response;
use pyralog_protocol::{
    ApiKey, Draw, ErrorCode, Frame, LogOffset, MonoMs, NodeId, Now, Request, RequestHead, Response, WallMs,
    kafka_protocol,
};
use pyralog_storage::sim::SimDisk;
use pyralog_storage::{
    Disk, Journal, JournalError, JournalLimits, OpenHint, PartitionKey, Replay, Round, Settle, SyncPlan, prepare_file,
};

pub const PRODUCE: i16 = 9;
pub const FETCH: i16 = 12;
/// Kinds of resources that have configs.
pub const TOPIC: i8 = 2;
pub const BROKER: i8 = 4;
/// A journal whose files are soon full.
const JOURNAL: JournalLimits = JournalLimits { file_bytes: 8 * 4096, files: 3 };
const ROUND_BYTES: usize = 3 * 4096;

/// What a test breaks on purpose, to see that its checks catch it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    #[default]
    Nothing,
    /// A sync is reported as done when it begins.
    AcknowledgeBeforeSync,
    /// Replies of the control path leave before what they rest on is on disk.
    ReplyBeforeCommit,
    /// Wakes of waiting fetches get lost.
    DropWakes,
    /// Nobody goes on with the appends that were left at a partition.
    ForgetAppends,
    /// A new partition count routes VLSNs that were written already.
    RerouteTooEarly,
}

/// A store that outlives the loop that owns it, as a disk does.
#[derive(Clone)]
pub struct Shared {
    store: Arc<RwLock<MemoryStore>>,
    planted: Planted,
}

impl LogStore for Shared {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read().get(column, key)
    }
    fn scan(&self, spans: &[Span], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.store.read().scan(spans, visit)
    }
    fn last_key(&self, span: &Span) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.read().last_key(span)
    }
    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), StoreError> {
        self.store.write().write(batch, sync && self.planted != Planted::ReplyBeforeCommit)
    }
    fn reclaim(&mut self, span: &Span) -> Result<(), StoreError> {
        self.store.write().reclaim(span)
    }
}

/// A client's connection, with what the shell keeps for it.
struct Client {
    conn: Connection,
    input: VecDeque<Frame>,
    mail: Vec<(u64, Answer)>,
    woken: bool,
    asked: BTreeMap<i32, (ApiKey, i16)>,
    answers: VecDeque<Bytes>,
}

pub struct World {
    pub disk: Arc<SimDisk>,
    pub store: Arc<RwLock<MemoryStore>>,
    pub node: Arc<Node<SimDisk>>,
    pub now: Now,
    pub planted: Planted,
    /// What the recovery checkpoint says.
    pub points: BTreeMap<String, LogOffset>,
    control: ControlLoop<Shared>,
    clients: BTreeMap<ConnId, Client>,
    queued: VecDeque<Arc<Partition<SimDisk>>>,
    appends: Vec<Arc<Partition<SimDisk>>>,
    commits: Vec<Arc<Partition<SimDisk>>>,
    journal: Journal<SimDisk>,
    running: Vec<(Arc<Partition<SimDisk>>, SyncPlan<SimDisk>)>,
    calls: Vec<Call>,
    pub graves: Vec<String>,
    pub problems: Vec<String>,
    /// Folders that were in the way of new logs.
    pub aside: Vec<SetAside>,
    /// Reads that failed and were told.
    pub unreadable: Vec<Unreadable>,
    /// Appends that failed and were told.
    pub unwritable: Vec<Unreadable>,
    /// What reader threads have to do, while a test keeps them from it.
    pub held: Option<Vec<(ConnId, Warm<SimDisk>)>>,
    /// Partitions whose indexes are to be built, meanwhile.
    pub unbuilt: Vec<Arc<Partition<SimDisk>>>,
    /// Syncs that were not handed to a worker.
    pub synced_on_the_way: usize,
    configs: Vec<(String, String)>,
    limits: Limits,
    next: i32,
    draws: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(&[], Limits::default(), Planted::Nothing)
    }

    pub fn with(configs: &[(&str, &str)], limits: Limits, planted: Planted) -> Self {
        let configs = configs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let now = Now { mono: MonoMs(1000), wall: WallMs(1_800_000_000_000) };
        let disk = Arc::new(SimDisk::new());
        disk.create_dir_all(LOGS).unwrap();
        disk.sync_dir("").unwrap();
        Self::open((disk, MemoryStore::default()), BTreeMap::new(), (configs, limits, planted), now)
    }

    fn open(
        (disk, store): (Arc<SimDisk>, MemoryStore),
        points: BTreeMap<String, LogOffset>,
        (configs, limits, planted): (Vec<(String, String)>, Limits, Planted),
        now: Now,
    ) -> Self {
        let is_new = store.written() == 0 && disk.list(LOGS).unwrap().is_empty();
        let store = Arc::new(RwLock::new(store));
        let settings = Settings { configs: configs.clone(), ..Settings::new(NodeId(1)) };
        let shared = Shared { store: Arc::clone(&store), planted };
        let replica = Replica::open(shared, ReplicaOptions::default()).unwrap();
        let mut control = ControlLoop::new(Member::new(settings, replica, Draw::new(1)).unwrap());
        let released = control.turn(now).unwrap();
        let mut image = released.image.unwrap_or_else(|| control.coordinator().image());
        if !is_new {
            control.submit_own(own_context(), Command::RaiseEpochs(()), now);
            image = control.turn(now).unwrap().image.unwrap_or(image);
        }
        let (journal, replay) = Journal::open(Arc::clone(&disk), JOURNAL, false).unwrap();
        assert!(replay.damage.is_empty(), "{:?}", replay.damage);
        let node = Node::new(limits.clone(), Arc::clone(&image), None, Arc::clone(&disk), Draw::new(2));
        let node = Arc::new(node);
        let mut world = Self {
            disk,
            store,
            node,
            now,
            planted,
            points,
            control,
            clients: BTreeMap::new(),
            queued: VecDeque::new(),
            appends: Vec::new(),
            commits: Vec::new(),
            journal,
            running: Vec::new(),
            calls: Vec::new(),
            graves: Vec::new(),
            problems: Vec::new(),
            aside: Vec::new(),
            unreadable: Vec::new(),
            unwritable: Vec::new(),
            held: None,
            unbuilt: Vec::new(),
            synced_on_the_way: 0,
            configs,
            limits,
            next: 1,
            draws: 0,
        };
        let mut opened = Vec::new();
        for spec in partitions_of(&image) {
            let recovery_point = world.points.get(&spec.key()).copied().unwrap_or_default();
            let open = open_one(&world, &spec, recovery_point, &replay);
            world.problems.extend(open.outcome.err());
            world.aside.extend(open.aside);
            opened.push(open.partition);
        }
        let mut out = Outputs::default();
        world.node.install(image, opened, &mut out);
        world.node.time_what_was_recovered(now, &mut out);
        world.dispatch(out);
        world
    }

    /// A journal thread's turn: all that wait are committed by one round, or by syncs where it has no room. Gives how many
    /// partitions the round took.
    pub fn commit_round(&mut self) -> usize {
        let mut out = Outputs::default();
        if let Some(slot) = self.journal.wants_file() {
            let prepared = prepare_file(&*self.disk, slot, JOURNAL);
            self.journal.add(slot, prepared);
        }
        let node = &self.node;
        self.journal.release(|key| node.flushed_end(key));
        if self.journal.sealed_files() > 0 {
            self.node.journal_waits();
        }
        let mut round = Round::new(ROUND_BYTES);
        let mut members = Vec::new();
        for partition in std::mem::take(&mut self.commits) {
            match partition.commit(&mut out) {
                CommitBy::Itself => {}
                CommitBy::Journal { batches, end } if round.has_room(&batches) => {
                    round.push(partition.journal_key(), &batches);
                    members.push((partition, end));
                }
                CommitBy::Journal { end, .. } => partition.commit_by_sync(end, &mut out),
            }
        }
        let taken = members.len();
        let skipped = round.is_empty() || self.planted == Planted::AcknowledgeBeforeSync;
        let outcome = if skipped { Ok(()) } else { self.journal.write(&mut round) };
        for (partition, end) in members {
            match &outcome {
                Ok(()) => partition.journaled(end, &mut out),
                Err(JournalError::NoRoom) => partition.commit_by_sync(end, &mut out),
                Err(JournalError::Closed(why)) => partition.journal_failed(why, &mut out),
            }
        }
        self.dispatch(out);
        taken
    }

    /// Power loss, and the next process on what the disk and the store have kept.
    pub fn crash(self, seed: u64) -> Self {
        let disk = Arc::new(self.disk.crash(seed));
        let store = self.store.read().clone().crash(&mut Draw::new(u128::from(seed) ^ 0x57));
        let now = Now { mono: MonoMs(1000), wall: WallMs(self.now.wall.0 + 1000) };
        Self::open((disk, store), self.points, (self.configs, self.limits, self.planted), now)
    }

    /// The process dies, the machine lives on.
    pub fn kill(self) -> Self {
        let store = self.store.read().clone();
        let now = Now { mono: MonoMs(1000), wall: WallMs(self.now.wall.0 + 1000) };
        Self::open((self.disk, store), self.points, (self.configs, self.limits, self.planted), now)
    }

    fn draw(&mut self) -> Draw {
        self.draws += 1;
        Draw::new(u128::from(self.draws) << 64 | 0xd1a)
    }

    // ---- connections

    pub fn connect(&mut self) -> ConnId {
        let id = ConnId(self.clients.last_key_value().map_or(1, |(last, _)| last.0 + 1));
        let conn = Connection::new(id, IpAddr::V4(Ipv4Addr::LOCALHOST), ("127.0.0.1".into(), 9092), 64);
        let client = Client {
            conn,
            input: VecDeque::new(),
            mail: Vec::new(),
            woken: false,
            asked: BTreeMap::new(),
            answers: VecDeque::new(),
        };
        self.clients.insert(id, client);
        id
    }

    pub fn disconnect(&mut self, conn: ConnId) {
        let mut client = self.clients.remove(&conn).unwrap();
        self.node.on_disconnect(&mut client.conn);
    }

    /// Puts a request into the connection's input; gives its correlation id.
    pub fn push(&mut self, conn: ConnId, version: i16, request: impl Into<Request>) -> i32 {
        self.push_frame(conn, version, request.into(), None)
    }

    /// Pushes a request, and serves what the connection accepts. Gives what is held for its frame.
    pub fn send_holding(&mut self, conn: ConnId, version: i16, request: impl Into<Request>) -> Arc<()> {
        let held = Arc::new(());
        self.push_frame(conn, version, request.into(), Some(held.clone()));
        self.serve(conn);
        held
    }

    fn push_frame(&mut self, conn: ConnId, version: i16, request: Request, held: Option<Held>) -> i32 {
        let correlation_id = self.next;
        self.next += 1;
        let api = request.api();
        let head = RequestHead { api, version, correlation_id, client_id: Some(StrBytes::from_static_str("sim")) };
        let mut frame = encode_request(&head, &request).unwrap();
        frame.advance(4);
        let client = self.clients.get_mut(&conn).unwrap();
        client.asked.insert(correlation_id, (api, version));
        client.input.push_back(Frame::holding(frame, held));
        correlation_id
    }

    /// Pushes and serves what the connection accepts.
    pub fn send(&mut self, conn: ConnId, version: i16, request: impl Into<Request>) -> i32 {
        let id = self.push(conn, version, request);
        self.serve(conn);
        id
    }

    pub fn serve(&mut self, conn: ConnId) {
        while self.serve_one(conn) {}
    }

    fn can_serve(&self, conn: ConnId) -> bool {
        let client = &self.clients[&conn];
        client.input.front().is_some_and(|frame| client.conn.accepts_frame(frame))
    }

    pub fn serve_one(&mut self, conn: ConnId) -> bool {
        if !self.can_serve(conn) {
            return false;
        }
        let (draw, now) = (self.draw(), self.now);
        let client = self.clients.get_mut(&conn).unwrap();
        let frame = client.input.pop_front().unwrap();
        let mut out = Outputs::default();
        let _ = self.node.on_frame(&mut client.conn, frame, (draw, now), &mut out);
        self.absorb(conn, out);
        true
    }

    /// What a step for this connection caused: its own answers at once, the rest to whom it is for.
    fn absorb(&mut self, conn: ConnId, mut out: Outputs<SimDisk>) {
        let client = self.clients.get_mut(&conn).unwrap();
        for (ticket, answer) in std::mem::take(&mut out.answers) {
            if ticket.conn == conn {
                client.conn.complete(ticket.slot, answer);
            } else {
                out.answers.push((ticket, answer));
            }
        }
        self.dispatch(out);
        self.collect(conn);
    }

    fn collect(&mut self, conn: ConnId) {
        let client = self.clients.get_mut(&conn).unwrap();
        while let Some(pieces) = client.conn.next_answer() {
            let mut answer = BytesMut::new();
            for piece in pieces {
                match piece {
                    Piece::Bytes(bytes) => answer.extend_from_slice(&bytes),
                    Piece::Range(range) => answer.extend_from_slice(&range.read().unwrap()),
                }
            }
            client.answers.push_back(answer.freeze());
        }
    }

    fn dispatch(&mut self, out: Outputs<SimDisk>) {
        let Outputs {
            answers,
            mut wakes,
            warms,
            builds,
            appends,
            commits,
            syncs,
            flushes,
            synced,
            removals,
            graves,
            unreadable,
            unwritable,
            calls,
            ..
        } = out;
        self.unreadable.extend(unreadable);
        self.unwritable.extend(unwritable);
        for grave in graves {
            self.disk.remove_file(&grave.path).unwrap();
        }
        self.appends.extend(appends.into_iter().filter(|_| self.planted != Planted::ForgetAppends));
        self.synced_on_the_way += synced.len();
        if self.limits.journal_bytes > 0 {
            self.commits.extend(commits);
        } else {
            // Without a journal every commit is a sync, asked for at once.
            for partition in commits {
                let mut out = Outputs::default();
                partition.commit(&mut out);
                self.dispatch(out);
            }
        }
        self.queued.extend(syncs.into_iter().chain(flushes));
        for (ticket, answer) in answers {
            if let Some(client) = self.clients.get_mut(&ticket.conn) {
                client.mail.push((ticket.slot, answer));
            }
        }
        if let Some(held) = &mut self.held {
            held.extend(warms);
            self.unbuilt.extend(builds);
        } else {
            let mut done = Outputs::default();
            warms.into_iter().for_each(|cold| warm(cold, &mut done));
            builds.into_iter().for_each(|partition| partition.build_index(&mut done));
            wakes.append(&mut done.wakes);
            if !done.builds.is_empty() {
                self.dispatch(done);
            }
        }
        for conn in wakes.into_iter().filter(|_| self.planted != Planted::DropWakes) {
            if let Some(client) = self.clients.get_mut(&conn) {
                client.woken = true;
            }
        }
        assert!(removals.is_empty(), "taken where an image is installed");
        self.calls.extend(calls);
    }

    /// The reader threads do what they had to wait with while `held` was set, but for the indexes.
    pub fn read_held(&mut self) {
        let mut out = Outputs::default();
        self.held.iter_mut().flat_map(std::mem::take).for_each(|cold| warm(cold, &mut out));
        self.dispatch(out);
    }

    /// All of it is done, and nothing is held any more.
    pub fn warm_held(&mut self) {
        self.read_held();
        self.held = None;
        let builds = std::mem::take(&mut self.unbuilt);
        self.dispatch(Outputs { builds, ..Outputs::default() });
    }

    /// Acts on outputs that a test caused itself.
    pub fn take(&mut self, out: Outputs<SimDisk>) {
        self.dispatch(out);
    }

    /// Whether a connection's task has something to look at.
    pub fn has_mail(&self, conn: ConnId) -> bool {
        let client = &self.clients[&conn];
        !client.mail.is_empty() || client.woken
    }

    /// The connection's task looks into its mailbox.
    pub fn deliver(&mut self, conn: ConnId) {
        let client = self.clients.get_mut(&conn).unwrap();
        for (slot, answer) in std::mem::take(&mut client.mail) {
            client.conn.complete(slot, answer);
        }
        if std::mem::take(&mut client.woken) && client.conn.deadline().is_some() {
            self.look_again(conn);
        }
        self.collect(conn);
    }

    fn look_again(&mut self, conn: ConnId) {
        let mut out = Outputs::default();
        let client = self.clients.get_mut(&conn).unwrap();
        self.node.on_wake(&mut client.conn, self.now, &mut out);
        self.absorb(conn, out);
    }

    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.clients[&conn].conn.is_closed()
    }

    pub fn is_waiting(&self, conn: ConnId) -> bool {
        self.clients[&conn].conn.deadline().is_some()
    }

    /// The next answer that has left: correlation id and body.
    pub fn answer(&mut self, conn: ConnId) -> Option<(i32, Response)> {
        let client = self.clients.get_mut(&conn).unwrap();
        let mut frame = client.answers.pop_front()?;
        assert_eq!(usize::try_from(frame.get_i32()).unwrap(), frame.len(), "the length in front of an answer");
        let id = frame.clone().get_i32();
        let (api, version) = client.asked.remove(&id).expect("an answer to what was asked");
        let (id, response, rest) = decode_response(frame, api, version).unwrap();
        assert!(rest.is_empty(), "bytes behind the answer");
        Some((id, response))
    }

    pub fn ids(&mut self, conn: ConnId) -> Vec<i32> {
        std::iter::from_fn(|| self.answer(conn)).map(|(id, _)| id).collect()
    }

    // ---- syncs, control, time

    pub fn queued_syncs(&self) -> usize {
        self.queued.len()
    }

    pub fn queued_commits(&self) -> usize {
        self.commits.len()
    }

    /// A worker takes a queued partition; false: there is none, or nothing was to be synced.
    pub fn begin_sync(&mut self, at: usize) -> bool {
        let Some(partition) = self.queued.remove(at) else { return false };
        let mut out = Outputs::default();
        let plan = partition.sync_plan(&mut out);
        let begun = plan.is_some();
        if let Some(plan) = plan {
            if self.planted == Planted::AcknowledgeBeforeSync {
                partition.synced(&plan, Ok(()), &mut out);
            }
            self.running.push((partition, plan));
        }
        self.dispatch(out);
        begun
    }

    pub fn end_sync(&mut self, at: usize) {
        let (partition, plan) = self.running.remove(at);
        let mut out = Outputs::default();
        let result = plan.run(&self.disk);
        if self.planted != Planted::AcknowledgeBeforeSync {
            partition.synced(&plan, result, &mut out);
        }
        self.dispatch(out);
    }

    /// One turn of the control thread over everything that was asked.
    pub fn turn(&mut self) {
        for mut call in std::mem::take(&mut self.calls) {
            if let (Planted::RerouteTooEarly, Command::CreatePartitions(asked)) = (self.planted, &mut call.command) {
                for from in asked.routing_from.iter_mut().filter_map(|routed| routed.from.as_mut().ok()) {
                    from.0 = from.0.saturating_sub(3);
                }
            }
            self.node.settle_calls(call.disk_bytes);
            self.control.submit(call, self.now);
        }
        let released = self.control.turn(self.now).unwrap();
        assert!(released.refused.is_empty() && released.messages.is_empty(), "a single voter always serves");
        let mut out = Outputs::default();
        if let Some(image) = released.image {
            self.node.retire(&image, &mut out);
            for Removal { dir, topic, .. } in std::mem::take(&mut out.removals) {
                let grave = format!("{LOGS}/{topic}-{}{DELETED}", dir.rsplit('-').next().unwrap());
                self.disk.rename(&dir, &grave).unwrap();
                self.graves.push(grave);
            }
            let mut opened = Vec::new();
            for spec in self.node.missing(&image) {
                let open = self.node.open_partition(&self.disk, &spec, &Left::default(), self.now);
                self.problems.extend(open.outcome.err());
                self.aside.extend(open.aside);
                opened.push(open.partition);
            }
            self.node.install(image, opened, &mut out);
        }
        for (asker, reply) in released.replies {
            match asker {
                Asker::Client(to) => self.node.finish_call(*to, reply, &mut out),
                Asker::Shell => {}
            }
        }
        self.dispatch(out);
    }

    /// What was asked of the control thread last is on its way to it for as long as the test likes.
    pub fn hold_call(&mut self) -> Call {
        self.calls.pop().expect("a call")
    }

    /// It arrives.
    pub fn let_call(&mut self, call: Call) {
        self.calls.push(call);
    }

    /// Removes the files of deleted logs, as the shell does: the new name first, durably.
    pub fn remove_graves(&mut self) {
        for grave in std::mem::take(&mut self.graves) {
            self.disk.sync_dir(LOGS).unwrap();
            self.disk.remove_dir_all(&grave).unwrap();
        }
    }

    /// Writes the recovery checkpoint.
    pub fn checkpoint(&mut self) {
        let mut out = Outputs::default();
        self.node.flush(&mut out);
        self.dispatch(out);
        self.points = self.node.checkpoint();
    }

    /// Time passes; what became due is looked at.
    pub fn advance(&mut self, ms: u64) {
        self.now.mono.0 += ms;
        self.now.wall.0 += i64::try_from(ms).unwrap();
        let due: Vec<ConnId> =
            self.clients.iter().filter(|(_, c)| c.conn.deadline() <= Some(self.now.mono)).map(|(id, _)| *id).collect();
        for conn in due.into_iter().filter(|conn| self.is_waiting(*conn)).collect::<Vec<_>>() {
            self.look_again(conn);
        }
        if self.node.next_due().is_some_and(|at| at <= self.now.mono) {
            let mut out = Outputs::default();
            self.node.run_due(self.now, &mut out);
            self.dispatch(out);
        }
        if self.control.next_deadline().is_some_and(|at| at <= self.now.mono) {
            self.turn();
        }
    }

    /// Everything that can happen without time passing, happens.
    pub fn settle(&mut self) {
        while self.step(&mut Draw::new(7)) {}
    }

    /// One thing of those that can happen now, drawn; false: there is none.
    pub fn step(&mut self, draw: &mut Draw) -> bool {
        #[derive(Clone, Copy)]
        enum Do {
            Serve(ConnId),
            Deliver(ConnId),
            Begin(usize),
            End(usize),
            Append(usize),
            Commit,
            Turn,
        }
        let ids: BTreeSet<ConnId> = self.clients.keys().copied().collect();
        let mut choices: Vec<Do> = Vec::new();
        choices.extend(ids.iter().filter(|id| self.can_serve(**id)).map(|id| Do::Serve(*id)));
        choices.extend(ids.iter().filter(|id| self.has_mail(**id)).map(|id| Do::Deliver(*id)));
        choices.extend((0..self.queued.len()).map(Do::Begin));
        choices.extend((0..self.running.len()).map(Do::End));
        choices.extend((0..self.appends.len()).map(Do::Append));
        choices.extend((!self.commits.is_empty()).then_some(Do::Commit));
        choices.extend((!self.calls.is_empty()).then_some(Do::Turn));
        if choices.is_empty() {
            return false;
        }
        match choices[(draw.next_u64() % choices.len() as u64) as usize] {
            Do::Serve(conn) => {
                self.serve_one(conn);
            }
            Do::Deliver(conn) => self.deliver(conn),
            Do::Begin(at) => {
                self.begin_sync(at);
            }
            Do::End(at) => self.end_sync(at),
            Do::Append(at) => {
                let partition = self.appends.swap_remove(at);
                let mut out = Outputs::default();
                partition.append_left(&mut out);
                self.dispatch(out);
            }
            Do::Commit => {
                self.commit_round();
            }
            Do::Turn => self.turn(),
        }
        true
    }

    // ---- whole exchanges

    /// Asks and lets everything happen that does; the answer must be there.
    pub fn ask(&mut self, conn: ConnId, version: i16, request: impl Into<Request>) -> Response {
        let id = self.send(conn, version, request);
        self.settle();
        let (answered, response) = self.answer(conn).expect("an answer");
        assert_eq!(answered, id);
        response
    }

    pub fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> ErrorCode {
        let conn = self.connect();
        let response = self.ask(conn, 5, create_request(name, partitions, configs));
        self.disconnect(conn);
        let Response::CreateTopics(response) = response else { panic!("{response:?}") };
        ErrorCode::from_code(response.topics[0].error_code).unwrap()
    }

    /// Changes configs of a log or of the broker, and nothing else happens.
    pub fn alter(&mut self, kind: i8, name: &str, configs: &[(&str, &str)]) {
        let text = |text: &str| StrBytes::from(text.to_owned());
        let config = |(name, value): &(&str, &str)| {
            AlterableConfig::default().with_name(text(name)).with_config_operation(0).with_value(Some(text(value)))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(configs.iter().map(config).collect());
        let conn = self.connect();
        self.send(conn, 1, IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
        self.turn();
        self.deliver(conn);
        let Some((_, Response::IncrementalAlterConfigs(response))) = self.answer(conn) else { panic!("no answer") };
        assert_eq!(response.responses[0].error_code, 0, "{response:?}");
        self.disconnect(conn);
    }

    pub fn delete(&mut self, name: &str) {
        let conn = self.connect();
        let response = self.ask(conn, 5, delete_request(name));
        self.disconnect(conn);
        let Response::DeleteTopics(response) = response else { panic!("{response:?}") };
        assert_eq!(response.responses[0].error_code, 0);
    }

    /// Values of all records that can be read, by offset; an error code where there is one.
    pub fn read(&mut self, name: &str, partition: i32) -> Result<BTreeMap<i64, Vec<u8>>, i16> {
        let conn = self.connect();
        let mut records = BTreeMap::new();
        let mut offset = 0;
        let found = loop {
            let response = self.ask(conn, FETCH, fetch_request(&[(name, partition, offset)], 0, 0));
            let data = fetched(response);
            if data.error_code != 0 {
                break Err(data.error_code);
            }
            let bytes = data.records.unwrap_or_default();
            if bytes.is_empty() {
                break Ok(records);
            }
            records.extend(values(&bytes));
            offset = records.last_key_value().unwrap().0 + 1;
        };
        self.disconnect(conn);
        found
    }
}

/// What a reader thread does.
fn warm((conn, cold): (ConnId, Warm<SimDisk>), out: &mut Outputs<SimDisk>) {
    if cold.lookups.iter().filter(|lookup| !lookup.run(conn, out)).count() == 0 {
        out.wakes.push(conn);
    }
}

fn own_context() -> Context {
    Context {
        token: Token(0),
        api_version: 0,
        client_id: String::new(),
        client_host: "/127.0.0.1".into(),
        draw: Draw::new(3),
        no_room: None,
    }
}

/// What `tools/schedules` asks for.
#[expect(clippy::disallowed_methods, reason = "seeds to run come from whoever runs the test")]
pub fn asked_seeds() -> std::ops::Range<u64> {
    let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let (first, count): (u64, u64) =
        (asked("PYRALOG_FIRST").unwrap_or(0), asked("PYRALOG_SCHEDULES").unwrap_or(10_000));
    first..first + count
}

pub fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from(text.to_owned()))
}

pub fn create_request(topic: &str, partitions: i32, configs: &[(&str, &str)]) -> CreateTopicsRequest {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from((*name).to_owned()))
            .with_value(Some(StrBytes::from((*value).to_owned())))
    };
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
}

pub fn delete_request(topic: &str) -> DeleteTopicsRequest {
    DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]).with_timeout_ms(1000)
}

pub fn batch(value: &[u8]) -> Bytes {
    BatchBuilder::new().kv(1_800_000_000_000, b"k", value).build().unwrap().freeze()
}

/// An idempotent batch of one record.
pub fn sequenced(producer: i64, sequence: i32, value: &[u8]) -> Bytes {
    BatchBuilder::new().producer(producer, 0, sequence).kv(1_800_000_000_000, b"k", value).build().unwrap().freeze()
}

pub fn produce_request(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let part = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![part]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic])
}

pub fn fetch_request(parts: &[(&str, i32, i64)], max_wait_ms: i32, min_bytes: i32) -> FetchRequest {
    let topics = parts.iter().map(|(topic, partition, offset)| {
        FetchTopic::default().with_topic(name(topic)).with_partitions(vec![
            FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(*offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(1 << 20),
        ])
    });
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(min_bytes)
        .with_max_bytes(1 << 20)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics.collect())
}

pub fn fetch_response(response: Response) -> FetchResponse {
    let Response::Fetch(response) = response else { panic!("{response:?}") };
    response
}

pub fn fetched(response: Response) -> PartitionData {
    fetch_response(response).responses.remove(0).partitions.remove(0)
}

pub fn produced(response: Response) -> PartitionProduceResponse {
    let Response::Produce(ProduceResponse { mut responses, .. }) = response else { panic!("{response:?}") };
    responses.remove(0).partition_responses.remove(0)
}

/// Values by offset.
pub fn values(mut bytes: &[u8]) -> BTreeMap<i64, Vec<u8>> {
    let mut found = BTreeMap::new();
    while !bytes.is_empty() {
        let header = BatchHeader::parse(bytes).unwrap();
        header.verify_crc(bytes).unwrap();
        let (batch, rest) = bytes.split_at(header.total_size());
        for record in Records::new(&batch[BATCH_HEADER_BYTES..]) {
            let record = record.unwrap();
            found.insert(header.base_offset + i64::from(record.offset_delta), record.value.unwrap().to_vec());
        }
        bytes = rest;
    }
    found
}

fn open_one(
    world: &World,
    spec: &PartitionSpec,
    recovery_point: LogOffset,
    replay: &Replay<SimDisk>,
) -> Opened<SimDisk> {
    let key = PartitionKey { topic: spec.log.metadata.topic_id, index: spec.index };
    let hint = OpenHint { clean: false, recovery_point, settle: Settle::Unproven };
    let left = Left { hint, redo: replay.of(key), ..Left::default() };
    world.node.open_partition(&world.disk, spec, &left, world.now)
}
