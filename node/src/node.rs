//! The node: frames in, answers and work for the shell out. Holds no socket, thread or clock; what it shares between
//! connections sits behind short locks, and everything it decides follows from its inputs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest};
use parking_lot::Mutex;
use pyralog_coordinator::config;
use pyralog_coordinator::metadata::{Endpoint, Image, answers, reassign};
use pyralog_coordinator::{Command, Context, Reply, Token};
use pyralog_protocol::response::unsupported_api_versions;
use pyralog_protocol::{
    DecodeError, DecodeLimits, Draw, Frame, Now, Reaction, Request, Response, decode_frame, kafka_protocol,
};
use pyralog_storage::{Disk, Space};

use crate::api::no_room::{self, Verdict};
use crate::api::vlsn as private;
use crate::api::{Asked, Step, control, features, fetch, info, lookups, negotiation, produce, quorum, replicas};
use crate::connection::{Answer, Connection};
use crate::control_loop::Quorum;
use crate::descriptors::{Commons, Descriptors};
use crate::journal_share::JournalShare;
use crate::limits::Limits;
use crate::outputs::{Call, Outputs, ReplyTo};
use crate::room::{Gauge, Level, reserve_bytes};
use crate::sessions::Sessions;
use crate::timetable::Timetable;
use crate::topology::Topology;
use crate::unreadable::{Failures, Telling};
use crate::vlsn::{self, VlsnError};
use crate::waiting::WaitMemory;

/// One broker, without its shell.
pub struct Node<D: Disk> {
    pub(crate) limits: Limits,
    pub(crate) topology: ArcSwap<Topology<D>>,
    pub(crate) sessions: Mutex<Sessions>,
    pub(crate) fetch_waits: Arc<WaitMemory>,
    /// Host and port for Metadata where they are configured; otherwise each connection's own (X1).
    advertised: Option<(String, u16)>,
    decode: DecodeLimits,
    /// Bytes of answers that wait to be sent.
    unsent: AtomicUsize,
    /// Asked for its room only; partitions have their own way to it.
    disk: Arc<D>,
    pub(crate) commons: Arc<Commons<D>>,
    quorum: Mutex<Quorum>,
    gauge: Arc<Gauge>,
    pub(crate) read_failures: Failures,
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// The frame cannot be served.
    #[error("{0}")]
    Frame(#[from] DecodeError),
}

impl<D: Disk> Node<D> {
    /// A node that knows no logs yet.
    pub fn new(limits: Limits, image: Arc<Image>, advertised: Option<(String, u16)>, disk: Arc<D>, draw: Draw) -> Self {
        let sessions = Mutex::new(Sessions::new(limits.fetch_sessions, limits.fetch_session_bytes, draw));
        let fetch_waits = WaitMemory::new(limits.fetch_wait_bytes);
        let topology = ArcSwap::from_pointee(Topology { image, logs: BTreeMap::new() });
        let files = Descriptors::new(Arc::clone(&disk), limits.open_files);
        let commons = Arc::new(Commons {
            files,
            timetable: Timetable::default(),
            outlines: Arc::default(),
            journal: JournalShare::new(&limits),
            append_leave_bytes: limits.append_leave_bytes,
            append_turn_bytes: limits.append_turn_bytes,
            append_failures: Failures::default(),
        });
        Self {
            limits,
            topology,
            sessions,
            fetch_waits,
            advertised,
            decode: DecodeLimits::default(),
            unsent: AtomicUsize::new(0),
            disk,
            commons,
            quorum: Mutex::default(),
            gauge: Arc::default(),
            read_failures: Failures::default(),
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of batches that wait for the journal in memory, of all partitions.
    pub fn kept_for_journal(&self) -> usize {
        self.commons.journal.kept_bytes()
    }

    /// Who writes the journal has to wait for segments to be synced: large appends go there at once for a while.
    pub fn journal_waits(&self) {
        self.commons.journal.hurry();
    }

    /// The state that requests see now.
    pub fn topology(&self) -> Arc<Topology<D>> {
        self.topology.load_full()
    }

    /// Takes over where the control loop stands; before the replies that rest on it leave.
    pub fn observe_quorum(&self, quorum: Quorum) {
        *self.quorum.lock() = quorum;
    }

    /// Looks how much room the volume has, which `space` asks: it counts from the next request on. `configured` is
    /// `pyralog.disk.reserve.bytes`. Where the volume cannot be asked, what was known before stays, and appends are not
    /// held back by books that nobody balances.
    pub fn look_at_room(&self, configured: i64, space: impl FnOnce() -> io::Result<Space>) -> io::Result<Level> {
        let (allowance, overrun) = (self.disk.allowance(), self.gauge.take_overrun());
        let (seen, seen_here) = (allowance.before_look(), self.gauge.before_look());
        let volume = space().inspect_err(|_| {
            allowance.after_look(seen, None);
            self.gauge.after_look(seen_here, None);
        })?;
        let level = self.gauge.level().next(volume, reserve_bytes(configured, volume), overrun);
        allowance.after_look(seen, level.spare_bytes());
        self.gauge.after_look(seen_here, Some(level));
        Ok(level)
    }

    /// How much room the volume had when it was last looked at.
    pub fn room(&self) -> Level {
        self.gauge.level()
    }

    /// Requests, or parts of them, that were refused for want of room.
    pub fn refused_for_room(&self) -> u64 {
        self.gauge.refused()
    }

    /// Counts a read of the VLSN log of that name if it failed, and tells of it.
    pub fn note_unread(&self, log: &str, error: &VlsnError, now: Now, out: &mut Outputs<D>) {
        let topology = self.topology.load();
        let log = topology.by_name(log).and_then(|entry| topology.vlsn_log(entry));
        if let Some(failed) = log.and_then(|log| log.failure(error)) {
            self.telling(now, out).tell(failed);
        }
    }

    /// Where failures go of reads that are served now.
    pub(crate) fn telling<'a>(&'a self, now: Now, out: &'a mut Outputs<D>) -> Telling<'a> {
        Telling { failures: &self.read_failures, now: now.mono, out: &mut out.unreadable }
    }

    /// Reads of records that failed, and look-ups in them.
    pub fn read_failures(&self) -> u64 {
        self.read_failures.count()
    }

    /// Appends that failed because of files, not for want of room or because of what was sent.
    pub fn append_failures(&self) -> u64 {
        self.commons.append_failures.count()
    }

    /// Serves one frame (without its length prefix). The connection must [accept](Connection::accepts) one.
    pub fn on_frame(
        &self,
        conn: &mut Connection,
        frame: impl Into<Frame>,
        (draw, now): (Draw, Now),
        out: &mut Outputs<D>,
    ) -> Result<(), CloseReason> {
        let frame: Frame = frame.into();
        let bytes = frame.len();
        let error = match decode_frame(frame, &self.decode) {
            Ok((head, _)) if head.api.is_private() && !self.topology.load().image.broker().network.private_apis => {
                DecodeError::UnknownApi { key: head.api.code() }
            }
            Ok((head, request)) => {
                let asked = Asked::new((head, bytes), self.address(conn));
                self.serve(Step { conn, asked, draw, now, out }, request);
                return Ok(());
            }
            Err(error) => error,
        };
        if let Reaction::AnswerApiVersions { correlation_id } = error.reaction()
            && let Ok(frame) = unsupported_api_versions(correlation_id)
        {
            let ticket = conn.reserve(true);
            conn.complete(ticket.slot, Answer::Frame(frame));
            return Ok(());
        }
        conn.close_here();
        Err(error.into())
    }

    /// Serves a request of the shell itself, which came in with so many bytes over another protocol. The answer is a value, see
    /// [`Connection::next_value`].
    pub fn on_request(
        &self,
        conn: &mut Connection,
        (request, bytes): (Request, usize),
        (draw, now): (Draw, Now),
        out: &mut Outputs<D>,
    ) {
        let asked = Asked::by_shell((request.api(), bytes), self.address(conn));
        self.serve(Step { conn, asked, draw, now, out }, request);
    }

    fn serve(&self, mut step: Step<'_, D>, request: Request) {
        let topology = self.topology.load();
        let version = step.asked.version;
        let request = match control::command_of(request) {
            Ok(command) => return self.call(step, command, None),
            Err(request) => *request,
        };
        let (image, asked) = (&topology.image, &step.asked);
        let response: Response = match request {
            Request::Produce(r) => return produce::produce(&topology, &self.gauge, step, &r),
            Request::Fetch(r) => return fetch::fetch(self, step, &r),
            Request::VlsnRead(r) => return private::read(self, step, r),
            Request::VlsnReadRange(r) => return private::read_range(self, step, r),
            Request::VlsnAppend(r) => return private::append(&topology, &self.gauge, step, r),
            Request::VlsnDescribe(r) => private::describe(&topology, &r).into(),
            Request::Metadata(r) => return self.metadata(step, &r),
            Request::ListOffsets(r) => return lookups::list_offsets(self, step, &r),
            Request::OffsetForLeaderEpoch(r) => return lookups::offset_for_leader_epoch(self, step, &r),
            Request::DeleteRecords(r) => return lookups::delete_records(self, step, &r),
            Request::ApiVersions(r) => negotiation::api_versions(version, &r, image).into(),
            Request::FindCoordinator(r) => return self.find_coordinator(step, &r),
            Request::DescribeConfigs(r) => config::describe_configs(image, &r, version).into(),
            Request::ListConfigResources(r) => config::list_config_resources(image, &r, version).into(),
            Request::DescribeCluster(r) => {
                answers::describe_cluster(image, &endpoint(image, asked), &r, version).into()
            }
            Request::DescribeTopicPartitions(r) => answers::describe_topic_partitions(image, &r).into(),
            Request::ElectLeaders(r) => reassign::elect_leaders(image, &r).into(),
            Request::AlterPartitionReassignments(r) => reassign::alter_partition_reassignments(image, &r).into(),
            Request::ListPartitionReassignments(_) => reassign::list_partition_reassignments().into(),
            Request::DescribeQuorum(r) => {
                quorum::describe_quorum(&r, *self.quorum.lock(), &endpoint(image, asked), step.now.wall).into()
            }
            Request::UpdateFeatures(r) => features::update_features(version, &r).into(),
            Request::DescribeLogDirs(r) => replicas::describe_log_dirs(&topology, &*self.disk, &r).into(),
            Request::AlterReplicaLogDirs(r) => replicas::alter_replica_log_dirs(&topology, &r).into(),
            Request::DescribeProducers(r) => replicas::describe_producers(&topology, &r).into(),
            Request::CreateTopics(_)
            | Request::DeleteTopics(_)
            | Request::CreatePartitions(_)
            | Request::AlterConfigs(_)
            | Request::IncrementalAlterConfigs(_)
            | Request::InitProducerId(_)
            | Request::JoinGroup(_)
            | Request::SyncGroup(_)
            | Request::Heartbeat(_)
            | Request::LeaveGroup(_)
            | Request::ConsumerGroupHeartbeat(_)
            | Request::ConsumerGroupDescribe(_)
            | Request::OffsetCommit(_)
            | Request::OffsetFetch(_)
            | Request::OffsetDelete(_)
            | Request::DescribeGroups(_)
            | Request::ListGroups(_)
            | Request::DeleteGroups(_)
            | Request::VlsnCommit(_)
            | Request::VlsnCommitted(_)
            | Request::VlsnDeleteCommit(_)
            | Request::SequencerReserve(_)
            | Request::SequencerDescribe(_)
            | Request::WriterEpoch(_) => unreachable!("these became commands above"),
        };
        step.answer(response);
    }

    fn address(&self, conn: &Connection) -> (String, u16) {
        self.advertised.clone().unwrap_or_else(|| conn.local.clone())
    }

    fn metadata(&self, mut step: Step<'_, D>, request: &MetadataRequest) {
        let topology = self.topology.load();
        let endpoint = endpoint(&topology.image, &step.asked);
        let answers::MetadataAnswer { response, create } =
            answers::metadata(&topology.image, &endpoint, request, step.asked.version);
        if create.is_empty() {
            return step.answer(response);
        }
        // The answer still says "unknown" (M3), but leaves only once the logs are there: the next request finds them.
        self.call(step, Command::AutoCreate(create), Some(response.into()));
    }

    fn find_coordinator(&self, mut step: Step<'_, D>, request: &FindCoordinatorRequest) {
        let topology = self.topology.load();
        let (image, asked) = (&topology.image, &step.asked);
        let address = (asked.local.0.as_str(), asked.local.1);
        let response = info::find_coordinator(asked.version, request, image.node(), address);
        match info::missing_internal_topic(image, request) {
            Some(topic) => self.call(step, Command::AutoCreate(vec![topic]), Some(response.into())),
            None => step.answer(response),
        }
    }

    /// Hands a request to the coordinator. `prepared` is the answer where it does not depend on the reply.
    fn call(&self, mut step: Step<'_, D>, command: Command, prepared: Option<Response>) {
        let topology = self.topology.load();
        let lacks_inodes = no_room::makes_files(&command) && self.gauge.lacks_inodes_for_new();
        let wanted = no_room::disk_bytes(&command, step.asked.bytes, &topology.image);
        let disk_bytes = if lacks_inodes { 0 } else { wanted };
        let claimed = self.gauge.claim(disk_bytes);
        if claimed.is_err() || lacks_inodes {
            match no_room::verdict(&command, step.asked.version, || self.gauge.refuse()) {
                Verdict::Serve => {}
                Verdict::Refuse(refusal) => return step.answer(*refusal),
                Verdict::LeaveOut => {
                    if let Some(answer) = prepared {
                        return step.answer(answer);
                    }
                }
            }
        }
        let disk_bytes = if claimed.is_ok() { disk_bytes } else { 0 };
        let Step { conn, asked, draw, out, .. } = step;
        let (command, frozen) = vlsn::freeze(&topology, command);
        let responder = asked.responder(conn.reserve(true));
        let prepared = prepared.map(|response| responder.answer(response).1);
        let context = Context {
            token: Token(0),
            api_version: asked.version,
            client_id: asked.client_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            client_host: format!("/{}", conn.peer),
            draw,
            no_room: claimed.err(),
        };
        out.calls.push(Call { context, command, reply: ReplyTo { responder, prepared, frozen }, disk_bytes });
    }

    /// What calls were to take of the disk is on it, or will not be.
    pub fn settle_calls(&self, disk_bytes: u64) {
        self.gauge.settle(disk_bytes);
    }

    /// The answer to a call, from the coordinator's reply.
    pub fn finish_call(&self, to: ReplyTo, reply: Reply, out: &mut Outputs<D>) {
        let ReplyTo { responder, prepared, frozen } = to;
        let topology = self.topology.load();
        vlsn::thaw(&topology, &frozen);
        let ticket = responder.ticket;
        let answer = match (prepared, control::response_of(reply, &topology)) {
            (Some(answer), _) => answer,
            (None, Some(response)) => responder.answer(response).1,
            (None, None) => Answer::Close,
        };
        out.answers.push((ticket, answer));
    }

    /// The answer to a call that the coordinator refused or gave up: the connection ends, for what came of it is not
    /// known, and whoever asks again looks for the coordinator first.
    pub fn refuse_call(&self, to: ReplyTo, out: &mut Outputs<D>) {
        vlsn::thaw(&self.topology.load(), &to.frozen);
        out.answers.push((to.responder.ticket, Answer::Close));
    }

    /// A connection whose request waits was woken, or its deadline is there.
    pub fn on_wake(&self, conn: &mut Connection, now: Now, out: &mut Outputs<D>) {
        if let Some(wait) = conn.waiting.take() {
            wait.resume(self, conn, now, out);
        }
    }

    /// Number of incremental fetch sessions.
    pub fn fetch_sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// The shell holds this many bytes of answers more.
    pub fn add_unsent(&self, bytes: usize) {
        self.unsent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many of them are sent, or dropped with their connection.
    pub fn take_unsent(&self, bytes: usize) {
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of records that an answer may carry now.
    pub fn fetch_budget(&self) -> usize {
        let room = self.limits.answer_bytes.saturating_sub(self.unsent.load(Ordering::Relaxed));
        room.min(self.limits.fetch_bytes)
    }

    /// Whether the unsent answers of all connections have the memory that there is for them.
    pub fn is_crowded(&self) -> bool {
        self.fetch_budget() == 0
    }

    /// A connection is gone.
    pub fn on_disconnect(&self, conn: &mut Connection) {
        if let Some(wait) = conn.waiting.take() {
            wait.abandon(self, conn.id);
        }
    }
}

fn endpoint(image: &Image, asked: &Asked) -> Endpoint {
    Endpoint { node: image.node(), host: asked.local.0.clone(), port: asked.local.1 }
}
