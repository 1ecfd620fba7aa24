//! The machine itself: state, dispatch, and the only writer. What a request means is decided in the siblings
//! ([`super::topics`], [`super::alter`]) on `&Metadata`; they return records, and [`Metadata::commit`] applies them.

use super::alter::Spent;
use super::image::{Image, LogState};
use super::record::{
    ConfigsRecord, LogMetadata, LogRecord, MetadataRecord, RetentionConfig, RoutingRecord, WriterRecord,
};
use super::views::view_of;
use crate::command::{Command, Context, Reply};
use crate::config::{BrokerConfigs, BrokerSettings, ConfigError, Overrides, TopicSettings};
use crate::coordinator::Settings;
use crate::effects::Effects;
use crate::record::Record;
use kafka_protocol::messages as m;
use pyralog_protocol::ids::base64url;
use pyralog_protocol::{Draw, ErrorCode, LeaderEpoch, NodeId, Now, TopicId, kafka_protocol};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// How many producer ids one record reserves.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// Limits of the metadata that are no configs of Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most partitions that one request may create; more is POLICY_VIOLATION (behaviours A5, Kafka's number). Of what
    /// one Metadata request asks for, as much is created, and the rest when it is asked for again.
    pub partitions_per_request: usize,
    /// Most partitions of all logs together; more is POLICY_VIOLATION.
    pub partitions_total: usize,
    /// Most configs that are set on one resource; more is POLICY_VIOLATION.
    pub configs_per_resource: usize,
    /// Most groups, and most subscriptions to client metrics, with configs of their own; more is POLICY_VIOLATION.
    pub configured_resources: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            partitions_per_request: 10_000,
            partitions_total: 200_000,
            configs_per_resource: 500,
            configured_resources: 10_000,
        }
    }
}

/// The metadata of the cluster. Hard state: `image` and `producer_ids_end`; soft state: `producer_ids` and `spent`.
#[derive(Debug)]
pub struct Metadata {
    image: Image,
    /// The first producer id that is not reserved. `producer_ids.end ≤ producer_ids_end`.
    producer_ids_end: i64,
    /// Reserved for this process and not handed out yet; lost with it, so that no id is ever handed out twice.
    producer_ids: Range<i64>,
    /// What was spent while there was no room.
    pub(super) spent: Spent,
    limits: Limits,
}

impl Metadata {
    /// No logs yet.
    pub fn new(settings: &Settings) -> Result<Self, Vec<ConfigError>> {
        let brokers = BrokerConfigs::new(settings.node, settings.configs.iter().map(|(name, value)| (name, value)))?;
        let (image, limits) = (Image::empty(brokers, &settings.log_level), settings.limits);
        Ok(Self { image, producer_ids_end: 0, producer_ids: 0..0, spent: Spent::default(), limits })
    }

    /// The state, uncommitted changes included.
    pub fn image(&self) -> &Image {
        &self.image
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Brokers that may hold partitions. One, until nodes register.
    pub(super) fn registered(&self) -> Vec<NodeId> {
        vec![self.image.node()]
    }

    /// Draws the cluster's id, if there is none yet.
    pub fn found(&mut self, mut draw: Draw, out: &mut Effects) {
        if self.image.cluster_id.is_empty() {
            self.commit(vec![MetadataRecord::Cluster { id: base64url(&draw.uuid()) }], out);
        }
    }

    /// One request; its reply comes in `out`. Requests about groups and commits are not for this machine and get no reply.
    pub fn handle(&mut self, mut ctx: Context, command: Command, now: Now, out: &mut Effects) {
        let token = ctx.token;
        let reply = match command {
            Command::CreateTopics(request) => Reply::CreateTopics(self.create_topics(&mut ctx, request, now, out)),
            Command::AutoCreate(logs) => {
                self.auto_create(&mut ctx, logs, now, out);
                Reply::AutoCreate(())
            }
            Command::DeclareLogs(logs) => Reply::DeclareLogs(self.declare_logs(&mut ctx, logs, now, out)),
            Command::DeleteTopics(request) => Reply::DeleteTopics(self.delete_topics(&ctx, request, out)),
            Command::CreatePartitions(asked) => Reply::CreatePartitions(self.create_partitions(&mut ctx, &asked, out)),
            Command::AlterConfigs(request) => Reply::AlterConfigs(self.alter_configs(&ctx, request, out)),
            Command::IncrementalAlterConfigs(request) => {
                Reply::IncrementalAlterConfigs(self.incremental_alter_configs(&ctx, request, out))
            }
            Command::InitProducerId(request) => Reply::InitProducerId(self.init_producer_id(&request, out)),
            Command::WriterEpoch(request) => Reply::WriterEpoch(self.writer_epoch(&request, out)),
            Command::RaiseEpochs(()) => {
                self.raise_epochs(out);
                Reply::RaiseEpochs(())
            }
            Command::JoinGroup(_)
            | Command::SyncGroup(_)
            | Command::Heartbeat(_)
            | Command::LeaveGroup(_)
            | Command::ConsumerGroupHeartbeat(_)
            | Command::ConsumerGroupDescribe(_)
            | Command::OffsetCommit(_)
            | Command::OffsetFetch(_)
            | Command::OffsetDelete(_)
            | Command::DescribeGroups(_)
            | Command::ListGroups(_)
            | Command::DeleteGroups(_)
            | Command::VlsnCommit(_)
            | Command::VlsnCommitted(_)
            | Command::VlsnDeleteCommit(_)
            | Command::SequencerReserve(_)
            | Command::SequencerDescribe(_) => return,
        };
        out.reply(token, reply);
    }

    /// Applies an atomic set of records and hands it out. An empty one is nothing.
    pub(super) fn commit(&mut self, mut records: Vec<MetadataRecord>, out: &mut Effects) {
        if records.is_empty() {
            return;
        }
        records.push(MetadataRecord::Version(self.image.version + 1));
        records.iter().for_each(|record| self.apply(record));
        out.commit(records.into_iter().map(Record::Metadata).collect());
    }

    /// Applies a record. The only writer of hard state; cannot fail.
    pub fn apply(&mut self, record: &MetadataRecord) {
        match record {
            MetadataRecord::Cluster { id } => self.image.cluster_id = id.as_str().into(),
            MetadataRecord::Version(version) => self.image.version = *version,
            MetadataRecord::Log(log) => self.apply_log(log),
            MetadataRecord::LogDeleted { id, log: _ } => {
                let view = self.image.view_of_log(*id).map(|view| view.metadata.topic_id);
                if view.and_then(|view| self.remove(view)).is_some() {
                    self.image.views -= 1;
                }
                if let Some(old) = self.remove(*id) {
                    self.image.partitions -= old.metadata.partitions.len();
                }
            }
            MetadataRecord::Configs(configs) => self.apply_configs(configs),
            MetadataRecord::ProducerIds { next } => self.producer_ids_end = *next,
            MetadataRecord::Routing(routing) => self.apply_routing(routing),
            MetadataRecord::Writer(writer) => self.apply_writer(writer),
        }
        assert_eq!(self.image.by_id.len(), self.image.by_name.len(), "a log has one name and one id");
    }

    fn apply_log(&mut self, log: &LogRecord) {
        let old = self.image.by_id.get(&log.id).cloned();
        self.image.partitions -= old.as_ref().map_or(0, |old| old.metadata.partitions.len());
        self.image.partitions += log.partitions.len();
        let (routing, writer) =
            old.as_ref().map_or((None, None), |old| (old.metadata.routing.clone(), old.metadata.writer));
        let (overrides, settings) = match old {
            Some(old) => (old.overrides.clone(), old.settings.clone()),
            None => (Arc::default(), self.image.default_settings.clone()),
        };
        let metadata = LogMetadata {
            log_id: log.log.clone(),
            topic_id: log.id,
            partition_count: i32::try_from(log.partitions.len()).unwrap_or(i32::MAX),
            replication_factor: log.replication_factor,
            partitioning_mode: log.partitioning_mode,
            retention_config: RetentionConfig::of(&settings),
            created_at: log.created_at,
            partitions: log.partitions.as_slice().into(),
            routing,
            writer,
        };
        self.put(LogState { metadata, overrides, settings, view_of: None });
    }

    fn apply_routing(&mut self, record: &RoutingRecord) {
        if let Some(log) = self.image.by_id.get(&record.id).map(|log| LogState::clone(log)) {
            let metadata = LogMetadata { routing: Some(record.routing.clone()), ..log.metadata };
            self.put(LogState { metadata, ..log });
        }
    }

    fn apply_writer(&mut self, record: &WriterRecord) {
        if let Some(log) = self.image.by_id.get(&record.id).map(|log| LogState::clone(log)) {
            let metadata = LogMetadata { writer: Some(record.writer), ..log.metadata };
            self.put(LogState { metadata, ..log });
        }
    }

    /// A log as it is now, and its view with it.
    fn put(&mut self, log: LogState) {
        if let Some(view) = view_of(&log) {
            self.image.views += usize::from(self.image.log_by_id(view.metadata.topic_id).is_none());
            self.insert(view);
        }
        self.insert(log);
    }

    fn insert(&mut self, log: LogState) {
        let log = Arc::new(log);
        self.image.by_metric_name.insert::<str>(log.metadata.log_id.metric_name(), log.metadata.log_id.clone());
        self.image.by_id.insert(log.metadata.topic_id, log.clone());
        self.image.by_name.insert::<str>(log.metadata.log_id.clone(), log);
    }

    fn remove(&mut self, id: TopicId) -> Option<Arc<LogState>> {
        let old = self.image.by_id.remove(&id)?;
        self.image.by_name.remove(old.metadata.log_id.as_str());
        self.image.by_metric_name.remove(old.metadata.log_id.metric_name().as_str());
        Some(old)
    }

    fn apply_configs(&mut self, record: &ConfigsRecord) {
        match record {
            ConfigsRecord::Log { id, configs } => {
                if let Some(log) = self.image.by_id.get(id).cloned() {
                    self.put(self.with_overrides(&log, Arc::new(configs.clone())));
                }
            }
            ConfigsRecord::Cluster { configs } => self.apply_broker_configs(None, configs),
            ConfigsRecord::Broker { node, configs } => self.apply_broker_configs(Some(*node), configs),
            ConfigsRecord::Group { group, configs } => set(Arc::make_mut(&mut self.image.groups), group, configs),
            ConfigsRecord::ClientMetrics { name, configs } => {
                set(Arc::make_mut(&mut self.image.client_metrics), name, configs);
            }
        }
    }

    /// What is set for brokers is the default of every log.
    fn apply_broker_configs(&mut self, node: Option<NodeId>, configs: &Overrides) {
        Arc::make_mut(&mut self.image.brokers).set_dynamic(node, configs.clone());
        self.image.settings = Arc::new(BrokerSettings::resolve(&self.image.brokers));
        let defaults = TopicSettings::resolve(&Overrides::new(), &self.image.brokers);
        if defaults == *self.image.default_settings {
            return;
        }
        self.image.default_settings = Arc::new(defaults);
        let logs: Vec<_> = self.image.by_id.values().filter(|log| !log.is_view()).cloned().collect();
        for log in logs {
            self.put(self.with_overrides(&log, log.overrides.clone()));
        }
    }

    fn with_overrides(&self, log: &LogState, overrides: Arc<Overrides>) -> LogState {
        let settings = match overrides.is_empty() {
            true => self.image.default_settings.clone(),
            false => Arc::new(TopicSettings::resolve(&overrides, &self.image.brokers)),
        };
        let mut metadata = log.metadata.clone();
        metadata.retention_config = RetentionConfig::of(&settings);
        LogState { metadata, overrides, settings, view_of: None }
    }

    /// After an unclean stop what this node led may have lost its unsynced tail: a new epoch makes clients check their
    /// positions. One log, one atomic change.
    fn raise_epochs(&mut self, out: &mut Effects) {
        let node = self.image.node();
        let led =
            |log: &&Arc<LogState>| !log.is_view() && log.metadata.partitions.iter().any(|p| p.leader == Some(node));
        let mut ids: Vec<TopicId> = self.image.logs().filter(led).map(|log| log.metadata.topic_id).collect();
        ids.sort_unstable();
        for id in ids {
            let Some(mut record) = self.image.log_by_id(id).map(|log| LogRecord::of(&log.metadata)) else { continue };
            for partition in record.partitions.iter_mut().filter(|p| p.leader == Some(node)) {
                partition.leader_epoch = LeaderEpoch(partition.leader_epoch.0.saturating_add(1));
            }
            self.commit(vec![MetadataRecord::Log(record)], out);
        }
    }

    /// Behaviours I1 and I2. Transactions are not there yet: UNSUPPORTED_VERSION ends a transactional producer at once
    /// with a message that says so, in Java, librdkafka and franz-go alike, while retriable codes make it hang until
    /// its timeout and authorization errors send people to look for ACLs.
    fn init_producer_id(&mut self, request: &m::InitProducerIdRequest, out: &mut Effects) -> m::InitProducerIdResponse {
        let refused = |code: ErrorCode| {
            let none = m::InitProducerIdResponse::default().with_producer_id(m::ProducerId(-1)).with_producer_epoch(-1);
            none.with_error_code(code.code())
        };
        let transactional = request.transactional_id.as_ref().map(|id| id.0.is_empty());
        if transactional == Some(true) || (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
            return refused(ErrorCode::InvalidRequest);
        }
        if transactional.is_some() {
            return refused(ErrorCode::UnsupportedVersion);
        }
        match self.next_producer_id(out) {
            Some(id) => m::InitProducerIdResponse::default().with_producer_id(m::ProducerId(id)).with_producer_epoch(0),
            None => refused(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// `None` when 2^63 ids are gone.
    pub(super) fn next_producer_id(&mut self, out: &mut Effects) -> Option<i64> {
        if self.producer_ids.is_empty() {
            let first = self.producer_ids_end;
            let next = first.checked_add(PRODUCER_ID_BLOCK)?;
            self.commit(vec![MetadataRecord::ProducerIds { next }], out);
            self.producer_ids = first..next;
        }
        self.producer_ids.next()
    }
}

fn set(all: &mut BTreeMap<String, Overrides>, name: &str, configs: &Overrides) {
    match configs.is_empty() {
        true => drop(all.remove(name)),
        false => drop(all.insert(name.to_owned(), configs.clone())),
    }
}
