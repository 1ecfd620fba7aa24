//! Creating logs, deleting them, and raising partition counts (behaviours A1-A9, M3-M6). Items of one request are
//! independent: each is decided on the state that the ones before it left, and is one atomic change. A VLSN log takes
//! the name of its view with it, and a change of its partition count is a change of its routing.

use super::image::LogState;
use super::machine::Metadata;
use super::placement::{fresh, place};
use super::record::{
    ConfigsRecord, LogMetadata, LogRecord, MetadataRecord, PartitionMetadata, PartitioningMode, RoutingRecord,
};
use super::views::{ReadOnlyView, VLSN_NAME_MAX, ViewWish, view_id, view_name};
use super::wire::{refusal, text, topic_id, topic_name, wire_id};
use crate::command::{Context, Declared, DeclaredLog, NewPartitions, RoutingFrom};
use crate::config::describe::value_in_force;
use crate::config::value::{canonical, find, is_vlsn};
use crate::config::{ConfigError, Overrides, Scope, config_code, validate};
use crate::effects::Effects;
use kafka_protocol::messages as m;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use pyralog_protocol::ids::LogIdError;
use pyralog_protocol::vlsn::{Routing, RoutingError, Vlsn};
use pyralog_protocol::{
    Draw, ErrorCode, LeaderEpoch, LogId, NodeId, Now, PartitionIndex, TopicId, WallMs, kafka_protocol,
};
use std::collections::BTreeMap;

/// Kafka's name of the Raft log that has the metadata.
const METADATA_LOG: &str = "__cluster_metadata";

/// Why a log was not created, changed or deleted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TopicError {
    /// The name is illegal.
    #[error("{0}")]
    Name(#[from] LogIdError),
    /// There is a log of that name.
    #[error("log '{0}' already exists")]
    Exists(LogId),
    /// There is none.
    #[error("there is no log '{0}'")]
    NoSuchName(String),
    /// There is none.
    #[error("there is no log with id {0}")]
    NoSuchId(TopicId),
    /// Metrics would confuse the two.
    #[error("the name collides with the log '{0}': '.' and '_' are the same in names of metrics")]
    Collides(LogId),
    /// The name is that of a view.
    #[error("'{view}' already exists: it is the read-only view of log {log}")]
    ViewExists {
        /// The name.
        view: LogId,
        /// Whose view it is.
        log: LogId,
    },
    /// A VLSN log whose view would have the name of another log, or one that metrics would confuse with it.
    #[error("log '{other}' already exists, and the read-only view of a VLSN log needs the name {view}")]
    ViewTaken {
        /// The view.
        view: LogId,
        /// The log in its place.
        other: LogId,
    },
    /// The view's name would be too long.
    #[error(
        "the log name has {length} characters; with vlsn.enable=true {VLSN_NAME_MAX} are allowed, for its view has 5 more"
    )]
    VlsnName {
        /// Length found, in bytes.
        length: usize,
    },
    /// The log is a view.
    #[error("{0}")]
    View(#[from] ReadOnlyView),
    /// Nobody said which VLSNs the new partition count routes.
    #[error(
        "log '{0}' is addressed by VLSN: only the broker that leads its partitions can say where a new count begins"
    )]
    NoRoutingFrom(LogId),
    /// A partition cannot say what was written to it.
    #[error(
        "partition {partition} of log '{log}' is offline: which VLSNs it has is not known, and a new count begins above all \
         that were written; bring it back first"
    )]
    UnknownLast {
        /// The log.
        log: LogId,
        /// The partition.
        partition: PartitionIndex,
    },
    /// The count was changed between the question where the new one begins and the answer.
    #[error(
        "the partition count of log '{log}' was changed while this request was on its way: it had {then} partitions then and \
         has {now} now; ask again"
    )]
    Overtaken {
        /// The log.
        log: LogId,
        /// How many there were.
        then: usize,
        /// How many there are.
        now: usize,
    },
    /// No VLSN is left to begin at.
    #[error(
        "log '{log}' has used up all VLSNs: a new partition count would begin at {from}, the largest is {}",
        Vlsn::MAX
    )]
    VlsnsUsedUp {
        /// The log.
        log: LogId,
        /// Where the count would begin.
        from: Vlsn,
    },
    /// The routing does not go on so.
    #[error("the partition count cannot change so: {0}")]
    Routing(#[from] RoutingError),
    /// The name of the metadata's own log, which is none of these.
    #[error("{METADATA_LOG} is the log of the cluster's metadata: no other can have its name")]
    MetadataLog,
    /// The same log twice in one request.
    #[error("the log is named twice in this request")]
    Twice,
    /// Neither name nor id, or both.
    #[error("name the log by its name or by its id, not by both and not by none")]
    Ambiguous,
    /// Not a legal count.
    #[error("{0} partitions: at least 1, or -1 for num.partitions")]
    Partitions(i32),
    /// Counts only rise.
    #[error("{asked} partitions asked for, the log has {now}: a count can only be raised")]
    NotRaised {
        /// The count asked for.
        asked: i32,
        /// The count there is.
        now: usize,
    },
    /// Not a legal factor.
    #[error("replication factor {asked}: {brokers} broker(s) are registered, so 1 to {brokers}, or -1 for the default")]
    ReplicationFactor {
        /// The factor asked for.
        asked: i16,
        /// How many brokers there are.
        brokers: usize,
    },
    /// Assignments and counts at once.
    #[error("with replica assignments, partition count and replication factor must be -1")]
    AssignmentsAndCounts,
    /// An assignment that cannot be.
    #[error("invalid replica assignment: {0}")]
    Assignment(String),
    /// One request asks for too many partitions.
    #[error("{asked} partitions in one request, {limit} are allowed")]
    TooManyAtOnce {
        /// How many.
        asked: usize,
        /// The limit.
        limit: usize,
    },
    /// The cluster is full.
    #[error("{there} partitions and {asked} more: {limit} are allowed in all")]
    TooManyInAll {
        /// How many there are.
        there: usize,
        /// How many more were asked for.
        asked: usize,
        /// The limit.
        limit: usize,
    },
    /// More configs than one log may have.
    #[error("{asked} configs on one log, {limit} are allowed")]
    TooManyConfigs {
        /// How many.
        asked: usize,
        /// The limit.
        limit: usize,
    },
    /// A config is wrong.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The client gives no time.
    #[error("the timeout of {0} ms was over before the request was looked at")]
    TimedOut(i32),
    /// Deleting is switched off.
    #[error("deleting logs is switched off: delete.topic.enable=false")]
    DeletionDisabled,
}

/// The code on the wire.
pub fn topic_code(error: &TopicError) -> ErrorCode {
    match error {
        // The log itself is not there when its view cannot be: whoever creates what is missing must not take it for that.
        TopicError::Name(_) | TopicError::Collides(_) | TopicError::VlsnName { .. } | TopicError::ViewTaken { .. } => {
            ErrorCode::InvalidTopicException
        }
        TopicError::Exists(_) | TopicError::ViewExists { .. } => ErrorCode::TopicAlreadyExists,
        TopicError::NoSuchName(_) => ErrorCode::UnknownTopicOrPartition,
        TopicError::NoSuchId(_) => ErrorCode::UnknownTopicId,
        TopicError::MetadataLog | TopicError::Twice | TopicError::Ambiguous | TopicError::AssignmentsAndCounts => {
            ErrorCode::InvalidRequest
        }
        TopicError::Partitions(_) | TopicError::NotRaised { .. } => ErrorCode::InvalidPartitions,
        TopicError::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        TopicError::Assignment(_) => ErrorCode::InvalidReplicaAssignment,
        TopicError::TooManyAtOnce { .. }
        | TopicError::TooManyInAll { .. }
        | TopicError::TooManyConfigs { .. }
        | TopicError::View(_)
        | TopicError::VlsnsUsedUp { .. }
        | TopicError::Routing(_) => ErrorCode::PolicyViolation,
        TopicError::NoRoutingFrom(_) | TopicError::UnknownLast { .. } | TopicError::Overtaken { .. } => {
            ErrorCode::OperationNotAttempted
        }
        TopicError::Config(error) => config_code(error),
        TopicError::TimedOut(_) => ErrorCode::RequestTimedOut,
        TopicError::DeletionDisabled => ErrorCode::TopicDeletionDisabled,
    }
}

/// A log that may be created.
struct NewLog {
    record: LogRecord,
    configs: Overrides,
}

impl NewLog {
    fn records(self) -> Vec<MetadataRecord> {
        let (id, configs) = (self.record.id, self.configs);
        let partitions = i32::try_from(self.record.partitions.len()).unwrap_or(i32::MAX);
        let mut records = vec![MetadataRecord::Log(self.record)];
        let routing = is_vlsn(&configs).then(|| RoutingRecord { id, routing: Routing::new(partitions) });
        if !configs.is_empty() {
            records.push(MetadataRecord::Configs(ConfigsRecord::Log { id, configs }));
        }
        records.extend(routing.map(MetadataRecord::Routing));
        records
    }
}

impl Metadata {
    pub(super) fn create_topics(
        &mut self,
        ctx: &mut Context,
        request: m::CreateTopicsRequest,
        now: Now,
        out: &mut Effects,
    ) -> m::CreateTopicsResponse {
        let whole = self.check_whole(request.timeout_ms, request.topics.iter().map(|t| self.partitions_asked(t)));
        let mut answers: BTreeMap<String, CreatableTopicResult> = BTreeMap::new();
        let counts = count(request.topics.iter().map(|topic| &topic.name));
        for topic in &request.topics {
            let twice = counts.get(&topic.name).is_some_and(|n| *n > 1);
            let decided = match (&whole, twice) {
                (_, true) => Err(TopicError::Twice),
                (Err(refused), false) => Err(refused.clone()),
                (Ok(()), false) => self.decide_create(topic, &mut ctx.draw, now.wall),
            };
            let answer = match decided {
                Ok(new) => {
                    let answer = self.created(&new, ctx.api_version);
                    if !request.validate_only {
                        self.commit(new.records(), out);
                    }
                    answer
                }
                Err(error) => {
                    let (code, message) = refusal(topic_code(&error), &error);
                    CreatableTopicResult::default().with_error_code(code).with_error_message(message)
                }
            };
            answers.insert(topic.name.to_string(), answer.with_name(topic.name.clone()));
        }
        m::CreateTopicsResponse::default().with_topics(answers.into_values().collect())
    }

    /// What refuses a request as a whole: no time, or too many partitions at once.
    fn check_whole(&self, timeout_ms: i32, asked: impl Iterator<Item = usize>) -> Result<(), TopicError> {
        let asked = asked.fold(0, usize::saturating_add);
        let limit = self.limits().partitions_per_request;
        match (timeout_ms, asked) {
            (..=0, _) => Err(TopicError::TimedOut(timeout_ms)),
            (_, asked) if asked > limit => Err(TopicError::TooManyAtOnce { asked, limit }),
            (_, _) => Ok(()),
        }
    }

    fn partitions_asked(&self, topic: &CreatableTopic) -> usize {
        match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => usize::try_from(self.image().broker().logs.num_partitions).unwrap_or(0),
            (0, count) => usize::try_from(count).unwrap_or(0),
            // A count beside them is refused by itself.
            (assigned, _) => assigned,
        }
    }

    fn decide_create(&self, topic: &CreatableTopic, draw: &mut Draw, now: WallMs) -> Result<NewLog, TopicError> {
        let log = self.free_name(topic.name.as_str())?;
        // The same config twice: the last one wins (A6).
        let pairs = topic.configs.iter().map(|c| (c.name.as_str(), c.value.as_deref()));
        let configs = self.topic_configs(pairs)?;
        if is_vlsn(&configs) {
            self.check_view_name(&log)?;
        }
        let replicas = match topic.assignments.is_empty() {
            true => self.placed(topic.num_partitions, topic.replication_factor, draw)?,
            false => self.assigned(topic)?,
        };
        self.check_total(replicas.len())?;
        let replication_factor = i16::try_from(replicas.first().map_or(0, Vec::len)).unwrap_or(i16::MAX);
        let partitions = replicas.into_iter().map(fresh).collect();
        let (id, partitioning_mode) = (self.free_id(draw), PartitioningMode::Static);
        let record = LogRecord { id, log, replication_factor, partitioning_mode, created_at: now, partitions };
        Ok(NewLog { record, configs })
    }

    fn free_name(&self, name: &str) -> Result<LogId, TopicError> {
        let log = LogId::new(name)?;
        if name == METADATA_LOG {
            return Err(TopicError::MetadataLog);
        }
        if let Some(there) = self.image().log(name) {
            return Err(match self.image().log_of_view(there) {
                Some(of) => TopicError::ViewExists { view: log, log: of.metadata.log_id.clone() },
                None => TopicError::Exists(log),
            });
        }
        match self.image().collision(&log) {
            Some(other) => Err(TopicError::Collides(other.clone())),
            None => Ok(log),
        }
    }

    /// Whether the view of a VLSN log of this name can be.
    fn check_view_name(&self, log: &LogId) -> Result<(), TopicError> {
        let view = view_name(log).ok_or(TopicError::VlsnName { length: log.as_str().len() })?;
        let there = self.image().log(view.as_str()).map(|there| &there.metadata.log_id);
        match there.or_else(|| self.image().collision(&view)) {
            Some(other) => Err(TopicError::ViewTaken { other: other.clone(), view }),
            None => Ok(()),
        }
    }

    fn free_id(&self, draw: &mut Draw) -> TopicId {
        loop {
            let id = TopicId(draw.uuid());
            if self.image().log_by_id(id).is_none() && self.image().log_by_id(view_id(id)).is_none() {
                return id;
            }
        }
    }

    fn topic_configs<'a>(
        &self,
        pairs: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Result<Overrides, TopicError> {
        // Of a key that is there twice the last value counts (A6), and nobody looks at the others.
        let last: BTreeMap<&str, Option<&str>> = pairs.collect();
        let mut configs = Overrides::new();
        for (name, value) in last {
            configs.insert(name.to_owned(), validate(Scope::Topic, name, value)?);
        }
        crate::config::value::check_topic(&configs, self.image().broker_configs())?;
        let (asked, limit) = (configs.len(), self.limits().configs_per_resource);
        if asked > limit { Err(TopicError::TooManyConfigs { asked, limit }) } else { Ok(configs) }
    }

    fn check_total(&self, asked: usize) -> Result<(), TopicError> {
        let (there, limit) = (self.image().partition_count(), self.limits().partitions_total);
        match there.saturating_add(asked) > limit {
            true => Err(TopicError::TooManyInAll { there, asked, limit }),
            false => Ok(()),
        }
    }

    fn placed(&self, partitions: i32, factor: i16, draw: &mut Draw) -> Result<Vec<Vec<NodeId>>, TopicError> {
        let (defaults, brokers) = (&self.image().broker().logs, self.registered());
        let asked = if factor == -1 { defaults.default_replication_factor } else { factor };
        let replicas = usize::try_from(asked).ok().filter(|n| (1..=brokers.len()).contains(n));
        let replicas = replicas.ok_or(TopicError::ReplicationFactor { asked, brokers: brokers.len() })?;
        let count = if partitions == -1 { defaults.num_partitions } else { partitions };
        let count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or(TopicError::Partitions(partitions))?;
        // Checked before anything of that size is built.
        self.check_total(count)?;
        Ok(place(0, count, replicas, &brokers, draw.next_u64()))
    }

    /// Replicas as the client assigned them, by partition index.
    fn assigned(&self, topic: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, TopicError> {
        if topic.num_partitions != -1 || topic.replication_factor != -1 {
            return Err(TopicError::AssignmentsAndCounts);
        }
        let mut by_index = BTreeMap::new();
        for assignment in &topic.assignments {
            let index = assignment.partition_index;
            if by_index.insert(index, self.replicas(&assignment.broker_ids)?).is_some() {
                return Err(TopicError::Assignment(format!("partition {index} is there twice")));
            }
        }
        if let Some((expected, found)) = (0..).zip(by_index.keys()).find(|(expected, found)| expected != *found) {
            return Err(TopicError::Assignment(format!("partition {found} where {expected} comes next, from 0 on")));
        }
        let replicas: Vec<_> = by_index.into_values().collect();
        same_length(&replicas)?;
        Ok(replicas)
    }

    fn replicas(&self, ids: &[m::BrokerId]) -> Result<Vec<NodeId>, TopicError> {
        let registered = self.registered();
        let mut replicas = Vec::new();
        for id in ids {
            let node = NodeId(id.0);
            if !registered.contains(&node) {
                return Err(TopicError::Assignment(format!("there is no broker {node}")));
            }
            if replicas.contains(&node) {
                return Err(TopicError::Assignment(format!("broker {node} is there twice")));
            }
            replicas.push(node);
        }
        match replicas.is_empty() {
            true => Err(TopicError::Assignment("a partition without replicas".to_owned())),
            false => Ok(replicas),
        }
    }

    /// The answer for a log that is or would be created; counts and configs from v5 on, the id from v7 on (A4).
    fn created(&self, new: &NewLog, version: i16) -> CreatableTopicResult {
        let result = CreatableTopicResult::default().with_error_message(None);
        if version < 5 {
            return result;
        }
        let settings = crate::config::describe::topic_entries(&new.configs, self.image().broker_configs());
        let configs = settings.map(|(config, value, source)| {
            let entry = CreatableTopicConfigs::default().with_name(config.name.into());
            entry.with_value(value.as_deref().map(text)).with_config_source(source as i8)
        });
        let result = result.with_configs(Some(configs.collect()));
        let partitions = i32::try_from(new.record.partitions.len()).unwrap_or(i32::MAX);
        let result = result.with_num_partitions(partitions).with_replication_factor(new.record.replication_factor);
        if version < 7 { result } else { result.with_topic_id(wire_id(new.record.id)) }
    }

    /// Behaviours M3, M6 and M7. What cannot be created is left out: Metadata has answered already, and asks again.
    pub(super) fn auto_create(&mut self, ctx: &mut Context, logs: Vec<LogId>, now: Now, out: &mut Effects) {
        let mut room = self.limits().partitions_per_request;
        for log in logs {
            let topic = CreatableTopic::default().with_name(topic_name(&log)).with_replication_factor(-1);
            let defaults = &self.image().broker().logs;
            let (partitions, compacted) = match log.as_str() {
                "__consumer_offsets" => (defaults.offsets_topic_partitions, true),
                "__transaction_state" => (defaults.transaction_topic_partitions, true),
                _ => (defaults.num_partitions, false),
            };
            if let Ok(mut new) = self.decide_create(&topic.with_num_partitions(partitions), &mut ctx.draw, now.wall) {
                let Some(left) = room.checked_sub(new.record.partitions.len()) else { break };
                room = left;
                if compacted {
                    new.configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
                }
                self.commit(new.records(), out);
            }
        }
    }

    /// Logs of the configuration file: those that are not there yet are created, those that are stay as they are, and it is
    /// told where they are otherwise.
    pub(super) fn declare_logs(
        &mut self,
        ctx: &mut Context,
        logs: Vec<DeclaredLog>,
        now: Now,
        out: &mut Effects,
    ) -> Declared {
        let mut done = Declared::default();
        for declared in logs {
            if let Some(there) = self.image().log(declared.log.as_str()).filter(|there| !there.is_view()) {
                done.differing.extend(self.differences(&declared, there));
                continue;
            }
            let config = |(name, value): &(String, String)| {
                let config = m::create_topics_request::CreatableTopicConfig::default();
                config.with_name(text(name)).with_value(Some(text(value)))
            };
            let topic = CreatableTopic::default()
                .with_name(topic_name(&declared.log))
                .with_num_partitions(declared.partition_count.unwrap_or(-1))
                .with_replication_factor(declared.replication_factor.unwrap_or(-1))
                .with_configs(declared.configs.iter().map(config).collect());
            match self.decide_create(&topic, &mut ctx.draw, now.wall) {
                Ok(new) => self.commit(new.records(), out),
                Err(error) => done.refused.push(format!("[logs.{}]: {error}", declared.log)),
            }
        }
        done
    }

    /// Where a log is not what is declared.
    fn differences(&self, declared: &DeclaredLog, there: &LogState) -> Vec<String> {
        let log = &there.metadata;
        let numbers = [
            ("partition_count", declared.partition_count, log.partition_count),
            ("replication_factor", declared.replication_factor.map(i32::from), i32::from(log.replication_factor)),
        ];
        let numbers = numbers.into_iter().filter_map(|(name, wanted, now)| {
            let wanted = wanted.filter(|wanted| *wanted > 0 && *wanted != now)?; // -1 is the broker's default
            Some(format!("{name} is {now}, not {wanted} as declared"))
        });
        let configs = declared.configs.iter().filter_map(|(name, value)| self.difference(there, name, value));
        numbers.chain(configs).map(|what| format!("[logs.{}]: {what}", declared.log)).collect()
    }

    /// How a config of a log differs from the value that is declared.
    fn difference(&self, there: &LogState, name: &str, value: &str) -> Option<String> {
        let (config, wanted) = match find(Scope::Topic, name).and_then(|config| Ok((config, canonical(config, value)?)))
        {
            Ok(found) => found,
            Err(error) => return Some(error.to_string()),
        };
        let now = value_in_force(config, &there.overrides, self.image().broker_configs()).0;
        let now = now.as_deref().unwrap_or("not set");
        (now != wanted).then(|| format!("{name} is {now:?}, not {wanted:?} as declared"))
    }

    pub(super) fn delete_topics(
        &mut self,
        ctx: &Context,
        request: m::DeleteTopicsRequest,
        out: &mut Effects,
    ) -> m::DeleteTopicsResponse {
        let named = request.topic_names.iter().map(|name| (Some(name), TopicId::ZERO));
        let stated = request.topics.iter().map(|topic| (topic.name.as_ref(), topic_id(&topic.topic_id)));
        // By the log that is meant, or by the words where there is none: each is answered once.
        let mut asked = BTreeMap::new();
        for (name, id) in named.chain(stated) {
            let target = self.to_delete(name, id);
            let key = target.as_ref().map_or((name, id), |(_, id)| (None, *id));
            asked.entry(key).or_insert((name, id, target, 0)).3 += 1;
        }
        let mut responses = Vec::new();
        for (name, id, target, times) in asked.into_values() {
            let twice = times > 1 && target != Err(TopicError::Ambiguous);
            let decided = match (twice, request.timeout_ms) {
                (true, _) => Err(TopicError::Twice),
                (false, ..=0) => Err(TopicError::TimedOut(request.timeout_ms)),
                (false, _) => target,
            };
            let mut response = DeletableTopicResult::default()
                .with_error_message(None)
                .with_name(name.cloned())
                .with_topic_id(wire_id(id));
            match decided {
                Ok((log, id)) => {
                    response = response.with_name(Some(topic_name(&log))).with_topic_id(wire_id(id));
                    self.commit(vec![MetadataRecord::LogDeleted { id, log }], out);
                }
                Err(error) => response = deletion_refused(response, &error, ctx.api_version),
            }
            let response = if ctx.api_version < 6 { response.with_topic_id(wire_id(TopicId::ZERO)) } else { response };
            responses.push(response);
        }
        m::DeleteTopicsResponse::default().with_responses(responses)
    }

    fn to_delete(&self, name: Option<&m::TopicName>, id: TopicId) -> Result<(LogId, TopicId), TopicError> {
        if !self.image().broker().logs.delete_enabled {
            return Err(TopicError::DeletionDisabled);
        }
        let log = match (name, id.is_zero()) {
            (Some(name), true) => {
                self.image().log(name.as_str()).ok_or_else(|| TopicError::NoSuchName(name.to_string()))?
            }
            (None, false) => self.image().log_by_id(id).ok_or(TopicError::NoSuchId(id))?,
            (Some(_), false) | (None, true) => return Err(TopicError::Ambiguous),
        };
        self.image().check_writable(log, ViewWish::Delete)?;
        Ok((log.metadata.log_id.clone(), log.metadata.topic_id))
    }

    pub(super) fn create_partitions(
        &mut self,
        ctx: &mut Context,
        asked: &NewPartitions,
        out: &mut Effects,
    ) -> m::CreatePartitionsResponse {
        use m::create_partitions_response::CreatePartitionsTopicResult;
        let NewPartitions { request, routing_from } = asked;
        let counts = count(request.topics.iter().map(|topic| &topic.name));
        let is_twice = |topic: &CreatePartitionsTopic| counts.get(&topic.name).is_some_and(|n| *n > 1);
        // What is refused by itself adds nothing: others do not suffer from it, and it is told why.
        let raised = |topic: &CreatePartitionsTopic| self.raised(topic).filter(|_| !is_twice(topic));
        let whole = self.check_whole(request.timeout_ms, request.topics.iter().filter_map(raised));
        let mut answers: BTreeMap<String, CreatePartitionsTopicResult> = BTreeMap::new();
        for topic in &request.topics {
            let decided = match &whole {
                _ if is_twice(topic) => Err(TopicError::Twice),
                Err(refused @ TopicError::TimedOut(_)) => Err(refused.clone()),
                Err(refused) if self.raised(topic).is_some() => Err(refused.clone()),
                Ok(()) | Err(_) => self.decide_partitions(topic, routing_from, &mut ctx.draw),
            };
            let mut answer =
                CreatePartitionsTopicResult::default().with_error_message(None).with_name(topic.name.clone());
            match decided {
                Ok(records) if !request.validate_only => self.commit(records, out),
                Ok(_) => {}
                Err(error) => {
                    let (code, message) = refusal(topic_code(&error), &error);
                    answer = answer.with_error_code(code).with_error_message(message);
                }
            }
            answers.insert(topic.name.to_string(), answer);
        }
        m::CreatePartitionsResponse::default().with_results(answers.into_values().collect())
    }

    /// By how many partitions a log is to grow that exists; `None` where that is refused by itself.
    fn raised(&self, topic: &CreatePartitionsTopic) -> Option<usize> {
        let there = self.image().log(topic.name.as_str())?.metadata.partitions.len();
        let more = usize::try_from(topic.count).ok()?.checked_sub(there).filter(|more| *more > 0)?;
        topic.assignments.as_ref().is_none_or(|assignments| assignments.len() == more).then_some(more)
    }

    fn decide_partitions(
        &self,
        topic: &CreatePartitionsTopic,
        routing_from: &[RoutingFrom],
        draw: &mut Draw,
    ) -> Result<Vec<MetadataRecord>, TopicError> {
        let log = self.image().log(topic.name.as_str());
        let log = log.ok_or_else(|| TopicError::NoSuchName(topic.name.to_string()))?;
        self.image().check_writable(log, ViewWish::Partitions)?;
        let now = log.metadata.partitions.len();
        let asked = topic.count;
        let more = usize::try_from(asked).ok().and_then(|n| n.checked_sub(now)).filter(|n| *n > 0);
        let more = more.ok_or(TopicError::NotRaised { asked, now })?;
        self.check_total(more)?;
        let factor = usize::try_from(log.metadata.replication_factor).unwrap_or(1);
        let replicas = match &topic.assignments {
            None => place(now, more, factor, &self.registered(), draw.next_u64()),
            Some(assignments) => {
                if assignments.len() != more {
                    let found = assignments.len();
                    return Err(TopicError::Assignment(format!("{found} assignments for {more} new partitions")));
                }
                assignments.iter().map(|a| self.replicas(&a.broker_ids)).collect::<Result<Vec<_>, _>>()?
            }
        };
        if let Some(wrong) = replicas.iter().find(|r| r.len() != factor) {
            let found = wrong.len();
            return Err(TopicError::Assignment(format!("{found} replicas, the log's partitions have {factor}")));
        }
        let mut record = LogRecord::of(&log.metadata);
        // A view has the largest leader epoch of its log's partitions. One that lags behind would lose records in an epoch that
        // its readers never saw end.
        let epochs = log.metadata.partitions.iter().map(|partition| partition.leader_epoch);
        let leader_epoch = epochs.max().filter(|_| log.metadata.routing.is_some()).unwrap_or(LeaderEpoch(0));
        let added = replicas.into_iter().map(|replicas| PartitionMetadata { leader_epoch, ..fresh(replicas) });
        record.partitions.extend(added);
        let routing = rerouted(&log.metadata, asked, routing_from)?;
        let routing = routing.map(|routing| RoutingRecord { id: record.id, routing });
        Ok(std::iter::once(MetadataRecord::Log(record)).chain(routing.map(MetadataRecord::Routing)).collect())
    }
}

/// The routing of a log with a new partition count; `None` where the log is not addressed by VLSN.
fn rerouted(log: &LogMetadata, partitions: i32, all: &[RoutingFrom]) -> Result<Option<Routing>, TopicError> {
    let Some(routing) = &log.routing else { return Ok(None) };
    let id = || log.log_id.clone();
    let found = all.iter().find(|found| found.topic == log.topic_id).ok_or_else(|| TopicError::NoRoutingFrom(id()))?;
    let (then, now) = (found.partitions, log.partitions.len());
    if then != now {
        return Err(TopicError::Overtaken { log: id(), then, now });
    }
    match found.from {
        Err(partition) => Err(TopicError::UnknownLast { log: id(), partition }),
        Ok(from) if from > Vlsn::MAX => Err(TopicError::VlsnsUsedUp { log: id(), from }),
        Ok(from) => Ok(Some(routing.extended(from, partitions)?)),
    }
}

/// How often each is there.
pub(super) fn count<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    items.fold(BTreeMap::new(), |mut counts, item| {
        *counts.entry(item).or_default() += 1;
        counts
    })
}

fn same_length(replicas: &[Vec<NodeId>]) -> Result<(), TopicError> {
    match replicas.iter().all(|r| Some(r.len()) == replicas.first().map(Vec::len)) {
        true => Ok(()),
        false => Err(TopicError::Assignment("partitions with different numbers of replicas".to_owned())),
    }
}

/// TOPIC_DELETION_DISABLED exists since v3, messages since v5.
fn deletion_refused(response: DeletableTopicResult, error: &TopicError, version: i16) -> DeletableTopicResult {
    let too_new = version < 3 && *error == TopicError::DeletionDisabled;
    let (code, message) = refusal(if too_new { ErrorCode::InvalidRequest } else { topic_code(error) }, error);
    let response = response.with_error_code(code);
    if version < 5 { response } else { response.with_error_message(message) }
}
