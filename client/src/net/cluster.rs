//! The cluster as the client reaches it: connections by node, metadata, coordinators, and repetition with back-off.
//!
//! Holds: one connection per node and purpose; whoever needs one while it is being made waits for the same attempt and gets
//! its outcome. A node that cannot be reached is left alone for a moment that doubles. When no known node answers, the
//! bootstrap addresses are tried again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use pyralog_protocol::created::ask_created;
use pyralog_protocol::kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use pyralog_protocol::kafka_protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{ApiKey, Draw, LogId, MonoMs, NodeId};
use tokio::time::Instant;

use super::clock::{Clock, draw, ms};
use super::connection::Connection;
use crate::config::ClientConfig;
use crate::error::{BrokerError, CallError, ConnectError};
use crate::pure::ask::Ask;
use crate::pure::backoff::Backoff;
use crate::pure::verdict::verdict;
use crate::pure::view::{Endpoint, Learnt, LogView, View};

/// What a connection is for: a waiting fetch holds up everything behind it (C16), and a slow produce does too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Short questions.
    Calls,
    /// Writing.
    Produce,
    /// Reading, by reader.
    Fetch(u64),
}

/// The shared half of every handle of a client.
pub struct Cluster {
    /// Settings.
    pub config: ClientConfig,
    /// Time.
    pub clock: Clock,
    bootstrap: Vec<Endpoint>,
    view: RwLock<Arc<View>>,
    slots: Mutex<BTreeMap<(Endpoint, Lane), Arc<Slot>>>,
    coordinators: Mutex<BTreeMap<String, NodeId>>,
    draw: Mutex<Draw>,
}

#[derive(Default)]
struct Slot(tokio::sync::Mutex<SlotState>);

#[derive(Default)]
struct SlotState {
    connection: Option<Arc<Connection>>,
    failures: u32,
    /// The last failure, for those who waited for the same attempt, and when the next attempt may be made.
    failed: Option<(Instant, CallError, Instant)>,
}

fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Connects to one of the bootstrap addresses and asks who else is there.
    pub async fn connect(config: ClientConfig) -> Result<Arc<Self>, ConnectError> {
        config.check()?;
        let bootstrap = config.endpoints()?;
        let cluster = Arc::new(Self {
            config,
            clock: Clock::start(),
            bootstrap,
            view: RwLock::default(),
            slots: Mutex::default(),
            coordinators: Mutex::default(),
            draw: Mutex::new(draw()),
        });
        cluster.metadata(Some(&[])).await?;
        Ok(cluster)
    }

    /// What is known.
    pub fn view(&self) -> Arc<View> {
        unpoisoned(self.view.read()).clone()
    }

    /// Random bits for one use.
    pub fn draw(&self) -> Draw {
        let mut draw = unpoisoned(self.draw.lock());
        Draw::new(u128::from(draw.next_u64()) << 64 | u128::from(draw.next_u64()))
    }

    fn backoff(&self) -> Backoff {
        Backoff { first_ms: ms(self.config.retry_backoff), limit_ms: ms(self.config.retry_backoff_max) }
    }

    /// Waits before the next attempt after so many failures.
    pub async fn pause(&self, failures: u32) {
        let delay = self.backoff().delay_ms(failures, &mut self.draw());
        tokio::time::sleep(Duration::from_millis(u64::try_from(delay).unwrap_or(0))).await;
    }

    /// Repeats until it succeeds, fails for good, or the time of [`ClientConfig::call_timeout`] is up.
    pub async fn repeat<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        is_retriable: impl Fn(&E) -> bool,
        attempt: impl Fn() -> F,
    ) -> Result<T, E> {
        let deadline = Instant::now() + self.config.call_timeout;
        let mut failures = 0;
        loop {
            match attempt().await {
                Err(error) if is_retriable(&error) && Instant::now() < deadline => {
                    failures += 1;
                    self.pause(failures).await;
                }
                settled => return settled,
            }
        }
    }

    /// A connection to an address.
    pub async fn connection(&self, endpoint: &Endpoint, lane: Lane) -> Result<Arc<Connection>, CallError> {
        let asked = Instant::now();
        let slot = unpoisoned(self.slots.lock()).entry((endpoint.clone(), lane)).or_default().clone();
        let mut state = slot.0.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        if let Some((when, error, not_before)) = &state.failed
            && (*when >= asked || Instant::now() < *not_before)
        {
            return Err(error.clone());
        }
        match Connection::open(endpoint, &self.config).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *state = SlotState { connection: Some(connection.clone()), failures: 0, failed: None };
                Ok(connection)
            }
            Err(error) => {
                let failures = state.failures.saturating_add(1);
                let delay = self.backoff().delay_ms(failures, &mut self.draw());
                let now = Instant::now();
                let not_before = now + Duration::from_millis(u64::try_from(delay).unwrap_or(0));
                *state = SlotState { connection: None, failures, failed: Some((now, error.clone(), not_before)) };
                Err(error)
            }
        }
    }

    /// A connection to a node.
    pub async fn node(&self, node: NodeId, lane: Lane) -> Result<Arc<Connection>, CallError> {
        let endpoint = self.view().nodes.get(&node).cloned();
        let unknown = || CallError::NoBroker { tried: format!("node {node} is not in the cluster's metadata") };
        self.connection(&endpoint.ok_or_else(unknown)?, lane).await
    }

    /// Forgets the connections of a reader that is gone.
    pub fn leave(&self, lane: Lane) {
        unpoisoned(self.slots.lock()).retain(|(_, other), _| *other != lane);
    }

    /// Asks any node that answers.
    pub async fn ask<A: Ask + Clone>(&self, request: A) -> Result<A::Answer, CallError> {
        let mut nodes: Vec<Endpoint> = self.view().nodes.values().cloned().collect();
        if !nodes.is_empty() {
            let turn = usize::try_from(self.draw().next_u64() % 1024).unwrap_or(0) % nodes.len();
            nodes.rotate_left(turn);
        }
        nodes.extend(self.bootstrap.iter().cloned());
        let mut tried = Vec::new();
        for endpoint in nodes {
            match self.connection(&endpoint, Lane::Calls).await {
                Ok(connection) => return connection.call(request, self.config.request_timeout).await,
                Err(error) if error.is_retriable() => tried.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        tried.dedup();
        Err(CallError::NoBroker { tried: tried.join("; ") })
    }

    /// Asks one node.
    pub async fn ask_node<A: Ask>(&self, node: NodeId, request: A) -> Result<A::Answer, CallError> {
        self.node(node, Lane::Calls).await?.call(request, self.config.request_timeout).await
    }

    /// Asks for metadata of these logs (`None`: of all), once, and takes in what is said. Asking creates nothing.
    pub async fn metadata(&self, logs: Option<&[LogId]>) -> Result<MetadataResponse, CallError> {
        self.metadata_of(logs, false).await
    }

    async fn metadata_of(&self, logs: Option<&[LogId]>, creates: bool) -> Result<MetadataResponse, CallError> {
        let topic = |log: &LogId| MetadataRequestTopic::default().with_name(Some(str_bytes(log.as_str()).into()));
        let request = MetadataRequest::default()
            .with_topics(logs.map(|logs| logs.iter().map(topic).collect()))
            .with_allow_auto_topic_creation(creates);
        let answer = self.ask(ask_created(request)).await?;
        let now = self.clock.now();
        let mut view = unpoisoned(self.view.write());
        Arc::make_mut(&mut view).take(&answer, now);
        Ok(answer)
    }

    /// A log, from what is known or asked for once.
    pub async fn find_log(&self, log: &LogId) -> Result<LogView, LogFailure> {
        match self.known_log(log) {
            Some(known) => Ok(known),
            None => self.look_up(log).await,
        }
    }

    fn known_log(&self, log: &LogId) -> Option<LogView> {
        let now = self.clock.now();
        let is_fresh = |known: &&LogView| now < known.as_of.after_ms(ms(self.config.metadata_max_age));
        self.view().logs.get(log).filter(is_fresh).cloned()
    }

    /// A log, asked for once.
    pub async fn look_up(&self, log: &LogId) -> Result<LogView, LogFailure> {
        self.look_up_to_write(log, false).await
    }

    /// A log that there is something to write to, asked for once, and created if that is wanted and it does not exist.
    pub async fn look_up_to_write(&self, log: &LogId, creates: bool) -> Result<LogView, LogFailure> {
        let answer = self.metadata_of(Some(std::slice::from_ref(log)), creates).await?;
        let view = self.view();
        match view.learnt(&answer, log) {
            Learnt::Known => view.logs.get(log).cloned().ok_or(LogFailure::Unknown),
            Learnt::Unknown => Err(LogFailure::Unknown),
            Learnt::Refused(code) => Err(LogFailure::Refused(BrokerError { code, message: None })),
            Learnt::Nothing => {
                let reason = format!("it says nothing of log {log} that makes sense");
                Err(CallError::Unexpected { address: "a broker".to_owned(), api: ApiKey::Metadata, reason }.into())
            }
        }
    }

    /// A log, from what is known or asked for: again while the broker cannot be reached or says "later".
    pub async fn await_log(&self, log: &LogId) -> Result<LogView, LogFailure> {
        match self.find_log(log).await {
            Err(failure) if failure.is_retriable() => self.await_look_up(log).await,
            settled => settled,
        }
    }

    /// [`Self::await_log`] as it is now, whatever is known.
    pub async fn await_look_up(&self, log: &LogId) -> Result<LogView, LogFailure> {
        self.repeat(LogFailure::is_retriable, || self.look_up(log)).await
    }

    /// [`Self::await_log`] for one that there is something to write to, created if that is wanted; for a while also while it
    /// does not exist, because one that was just created may not be known everywhere.
    pub async fn await_log_to_write(
        &self,
        log: &LogId,
        creates: bool,
        patience: Duration,
    ) -> Result<LogView, LogFailure> {
        if let Some(known) = self.known_log(log) {
            return Ok(known);
        }
        let patient_until = Instant::now() + patience;
        let is_retriable = |failure: &LogFailure| match failure {
            LogFailure::Unknown => Instant::now() < patient_until,
            LogFailure::Refused(_) | LogFailure::Call(_) => failure.is_retriable(),
        };
        self.repeat(is_retriable, || self.look_up_to_write(log, creates)).await
    }

    /// The node that keeps a group's offsets.
    pub async fn coordinator(&self, group: &str) -> Result<NodeId, GroupFailure> {
        if let Some(node) = unpoisoned(self.coordinators.lock()).get(group) {
            return Ok(*node);
        }
        let request = FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![str_bytes(group)]);
        let answer = self.ask(request).await?;
        let missing = || CallError::Unexpected {
            address: "a broker".to_owned(),
            api: ApiKey::FindCoordinator,
            reason: format!("it says nothing of group {group}"),
        };
        let found = answer.coordinators.first().ok_or_else(missing)?;
        if found.error_code != 0 {
            return Err(GroupFailure::Refused(BrokerError::new(found.error_code, found.error_message.as_deref())));
        }
        let node = NodeId(found.node_id.0);
        if !self.view().nodes.contains_key(&node) {
            self.metadata(Some(&[])).await?;
        }
        let mut known = unpoisoned(self.coordinators.lock());
        if known.len() >= COORDINATORS_MAX {
            known.clear();
        }
        known.insert(group.to_owned(), node);
        Ok(node)
    }

    /// Asks the coordinator of a group, again if it has moved. `check` says what the answer's error code is.
    pub async fn ask_coordinator<A: Ask + Clone>(
        &self,
        group: &str,
        request: A,
        check: impl Fn(&A::Answer) -> i16,
    ) -> Result<A::Answer, GroupFailure> {
        let is_retriable = |failure: &GroupFailure| match failure {
            GroupFailure::Refused(reason) => reason.is_retriable(),
            GroupFailure::Call(error) => error.is_retriable(),
        };
        self.repeat(is_retriable, || self.ask_coordinator_once(group, request.clone(), &check)).await
    }

    async fn ask_coordinator_once<A: Ask>(
        &self,
        group: &str,
        request: A,
        check: impl Fn(&A::Answer) -> i16,
    ) -> Result<A::Answer, GroupFailure> {
        let node = self.coordinator(group).await?;
        let answer = self.ask_node(node, request).await;
        let code = answer.as_ref().map_or(0, check);
        if answer.is_err() || verdict(code).is_retriable() {
            unpoisoned(self.coordinators.lock()).remove(group);
        }
        if verdict(code).is_retriable() {
            return Err(GroupFailure::Refused(BrokerError { code, message: None }));
        }
        Ok(answer?)
    }

    /// The moment as timers want it.
    pub fn instant(&self, at: MonoMs) -> Instant {
        self.clock.instant(at).into()
    }
}

/// Coordinators that are remembered.
const COORDINATORS_MAX: usize = 10_000;

/// A string as messages want it.
pub fn str_bytes(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// Why a log is not known.
#[derive(Debug, Clone)]
pub enum LogFailure {
    /// There is none.
    Unknown,
    /// The broker says no.
    Refused(BrokerError),
    /// The broker was not reached or not understood.
    Call(CallError),
}

impl LogFailure {
    fn is_retriable(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Refused(reason) => reason.is_retriable(),
            Self::Call(error) => error.is_retriable(),
        }
    }
}

impl From<CallError> for LogFailure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Why a coordinator did not answer.
#[derive(Debug, Clone)]
pub enum GroupFailure {
    /// The broker says no.
    Refused(BrokerError),
    /// The broker was not reached or not understood.
    Call(CallError),
}

impl From<CallError> for GroupFailure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}
