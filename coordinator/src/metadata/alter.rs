//! Changing configs: the whole set of a resource (AlterConfigs) or single ones (IncrementalAlterConfigs), of logs,
//! brokers, groups and subscriptions to client metrics (behaviours K5-K10). Each resource is one atomic change. Levels
//! of loggers are set at start; asking to change one is refused.

use super::machine::Metadata;
use super::record::{ConfigsRecord, MetadataRecord};
use super::topics::count;
use super::views::{ReadOnlyView, ViewWish};
use super::wire::refusal;
use crate::command::{Context, NoRoom};
use crate::config::brokers::{Overrides, Source};
use crate::config::catalogue::{Config, Scope, Type, lookup};
use crate::config::describe::{LOGGER_LEVELS, ROOT_LOGGER, value_in_force};
use crate::config::value::{
    ConfigError, canonical, check_dynamic, check_fixed, check_group, check_topic, check_vlsn, find, items,
};
use crate::config::{BrokerConfigs, config_code, validate};
use crate::effects::Effects;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::ids::LogIdError;
use pyralog_protocol::{ErrorCode, LogId, NodeId, TopicId, kafka_protocol};
use std::collections::BTreeSet;

/// Why the configs of a resource were not changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AlterError {
    /// No such type, or none that this API changes.
    #[error("configs of resource type {0} cannot be changed by this API")]
    ResourceType(i8),
    /// The name of a log is illegal.
    #[error("{0}")]
    Name(#[from] LogIdError),
    /// There is no such log.
    #[error("there is no log '{0}'")]
    NoSuchLog(LogId),
    /// The log is a view.
    #[error("{0}")]
    View(#[from] ReadOnlyView),
    /// No name where one is needed.
    #[error("the name of the {0} must not be empty")]
    NoName(&'static str),
    /// No number, or that of another broker.
    #[error("{found:?} is not the id of a broker here; expected {expected}, or nothing for all brokers")]
    OtherBroker {
        /// What was sent.
        found: String,
        /// This broker.
        expected: NodeId,
    },
    /// The same resource twice in one request.
    #[error("the resource is there twice in this request")]
    ResourceTwice,
    /// The same config twice for one resource.
    #[error("{0} is there twice for this resource")]
    KeyTwice(String),
    /// Null where a value is needed.
    #[error("{0} has no value (null)")]
    Null(String),
    /// Neither SET nor DELETE nor APPEND nor SUBTRACT.
    #[error("unknown operation {0}: 0 (set), 1 (delete), 2 (append) or 3 (subtract)")]
    Operation(i8),
    /// APPEND or SUBTRACT on something that is no list, or a list of client metrics.
    #[error("{0} can be set and deleted, not appended to or subtracted from")]
    NoList(String),
    /// A config is wrong.
    #[error("{error}")]
    Config {
        /// Whose.
        scope: Scope,
        /// What is wrong.
        error: ConfigError,
    },
    /// No such logger, or no such level.
    #[error(
        "no logger {0:?} with such a level; the logger is root, its level one of FATAL, ERROR, WARN, INFO, DEBUG, TRACE"
    )]
    Logger(String),
    /// A level other than the one that was chosen at start.
    #[error("log levels are chosen at start and do not change while the broker runs")]
    LoggerFixed,
    /// Too much of it.
    #[error("{asked} {what}, {limit} are allowed")]
    TooMany {
        /// How many there would be.
        asked: usize,
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The disk is all but full, and this would make no room, or takes more of it.
    #[error(
        "the disk of the broker has no room left to note this (pyralog.disk.reserve.bytes): of logs and brokers configs of \
         {WITHOUT_ROOM_BYTES_MAX} bytes in all can be set, a limited number of times; anything else when there is room"
    )]
    NoRoom,
}

/// Configs of one resource, in bytes, that are set even where there is no room left: to keep less of a log, or to keep it for
/// a shorter time, is what makes some.
const WITHOUT_ROOM_BYTES_MAX: usize = 2048;

/// Bytes of the disk that any change takes, and how many for each byte of its configs: they are written to the log of changes
/// and to the state, and what the store has written it writes once more, into its tables.
const CHANGE_BYTES: u64 = 1024;
const WRITTEN_TIMES: u64 = 4;

/// What changes of configs have taken of a disk that has no room, the last time that it had none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    time: u64,
    bytes: u64,
}

impl Spent {
    /// Whether there is enough for a change of so many bytes. It is spent where it is `made`.
    fn allows(&mut self, no_room: NoRoom, bytes: usize, made: bool) -> bool {
        let before = if self.time == no_room.time { self.bytes } else { 0 };
        let after = before + CHANGE_BYTES + WRITTEN_TIMES * bytes as u64;
        let enough = after <= no_room.configs_bytes;
        if enough && made {
            *self = Self { time: no_room.time, bytes: after };
        }
        enough
    }
}

/// The code on the wire. Wrong values are INVALID_CONFIG for logs and groups and INVALID_REQUEST for brokers and client
/// metrics, as in Kafka.
pub fn alter_code(error: &AlterError) -> ErrorCode {
    match error {
        AlterError::Name(_) => ErrorCode::InvalidTopicException,
        AlterError::NoSuchLog(_) => ErrorCode::UnknownTopicOrPartition,
        AlterError::NoList(_) | AlterError::Logger(_) => ErrorCode::InvalidConfig,
        AlterError::Config { scope: Scope::Topic | Scope::Group, error } => config_code(error),
        // A number outside of its bounds is the one mistake for which Kafka has another code.
        AlterError::Config { scope: Scope::ClientMetrics, error: ConfigError::Value { name, found, .. } }
            if *name != "interval.ms" || found.trim().parse::<i32>().is_err() =>
        {
            ErrorCode::InvalidConfig
        }
        AlterError::TooMany { .. } | AlterError::View(_) => ErrorCode::PolicyViolation,
        AlterError::NoRoom => ErrorCode::KafkaStorageError,
        AlterError::Config { scope: Scope::Broker | Scope::ClientMetrics, .. }
        | AlterError::ResourceType(_)
        | AlterError::NoName(_)
        | AlterError::OtherBroker { .. }
        | AlterError::ResourceTwice
        | AlterError::KeyTwice(_)
        | AlterError::Null(_)
        | AlterError::Operation(_)
        | AlterError::LoggerFixed => ErrorCode::InvalidRequest,
    }
}

/// What configs belong to, as found.
#[derive(Clone, Debug)]
enum Resource {
    Log(TopicId),
    Broker(Option<NodeId>),
    Group(String),
    ClientMetrics(String),
    Loggers,
}

/// One change, as the wire says it.
#[derive(Clone, Copy)]
struct Change<'a> {
    name: &'a str,
    operation: i8,
    value: Option<&'a str>,
}

mod operation {
    pub const SET: i8 = 0;
    pub const DELETE: i8 = 1;
    pub const APPEND: i8 = 2;
    pub const SUBTRACT: i8 = 3;
}

/// What is wrong with changes whatever they are made to; Kafka says it before it looks for the resource.
fn check_shape(changes: &[Change<'_>]) -> Result<(), AlterError> {
    let counts = count(changes.iter().map(|change| change.name));
    if let Some((name, _)) = counts.iter().find(|(_, n)| **n > 1) {
        return Err(AlterError::KeyTwice(cut(name)));
    }
    let lacks = |change: &&Change<'_>| change.value.is_none() && change.operation != operation::DELETE;
    changes.iter().find(lacks).map_or(Ok(()), |change| Err(AlterError::Null(cut(change.name))))
}

impl Metadata {
    pub(super) fn incremental_alter_configs(
        &mut self,
        ctx: &Context,
        request: m::IncrementalAlterConfigsRequest,
        out: &mut Effects,
    ) -> m::IncrementalAlterConfigsResponse {
        use m::incremental_alter_configs_response::AlterConfigsResourceResponse;
        let counts = count(request.resources.iter().map(|r| (r.resource_type, &r.resource_name)));
        let mut responses = Vec::new();
        for r in &request.resources {
            let change = |c: &'_ m::incremental_alter_configs_request::AlterableConfig| c.config_operation;
            let changes: Vec<Change<'_>> = (r.configs.iter())
                .map(|c| Change { name: c.name.as_str(), operation: change(c), value: c.value.as_deref() })
                .collect();
            let decided = match counts.get(&(r.resource_type, &r.resource_name)) {
                Some(2..) => Err(AlterError::ResourceTwice),
                Some(_) | None => self.decide_alter((r.resource_type, r.resource_name.as_str()), &changes, false),
            };
            let decided = decided.and_then(|record| self.check_room(ctx, record, request.validate_only));
            let (code, message) = self.finish(decided, request.validate_only, out);
            let response = AlterConfigsResourceResponse::default().with_error_code(code).with_error_message(message);
            responses.push(response.with_resource_type(r.resource_type).with_resource_name(r.resource_name.clone()));
        }
        m::IncrementalAlterConfigsResponse::default().with_responses(responses)
    }

    pub(super) fn alter_configs(
        &mut self,
        ctx: &Context,
        request: m::AlterConfigsRequest,
        out: &mut Effects,
    ) -> m::AlterConfigsResponse {
        use m::alter_configs_response::AlterConfigsResourceResponse;
        let counts = count(request.resources.iter().map(|r| (r.resource_type, &r.resource_name)));
        let mut responses = Vec::new();
        for r in &request.resources {
            let changes: Vec<Change<'_>> = (r.configs.iter())
                .map(|c| Change { name: c.name.as_str(), operation: operation::SET, value: c.value.as_deref() })
                .collect();
            let decided = match counts.get(&(r.resource_type, &r.resource_name)) {
                Some(2..) => Err(AlterError::ResourceTwice),
                Some(_) | None => self.decide_alter((r.resource_type, r.resource_name.as_str()), &changes, true),
            };
            let decided = decided.and_then(|record| self.check_room(ctx, record, request.validate_only));
            let (code, message) = self.finish(decided, request.validate_only, out);
            let response = AlterConfigsResourceResponse::default().with_error_code(code).with_error_message(message);
            responses.push(response.with_resource_type(r.resource_type).with_resource_name(r.resource_name.clone()));
        }
        m::AlterConfigsResponse::default().with_responses(responses)
    }

    /// Whether a change may be written: the store must not meet a full disk (OP-10), and a record has all configs of its resource.
    fn check_room(
        &mut self,
        ctx: &Context,
        record: Option<ConfigsRecord>,
        validate_only: bool,
    ) -> Result<Option<ConfigsRecord>, AlterError> {
        let (Some(no_room), Some(change)) = (ctx.no_room, &record) else { return Ok(record) };
        let fits = match change {
            ConfigsRecord::Log { configs, .. }
            | ConfigsRecord::Broker { configs, .. }
            | ConfigsRecord::Cluster { configs } => {
                let bytes = configs.iter().map(|(name, value)| name.len() + value.len()).sum();
                bytes <= WITHOUT_ROOM_BYTES_MAX && self.spent.allows(no_room, bytes, !validate_only)
            }
            ConfigsRecord::Group { .. } | ConfigsRecord::ClientMetrics { .. } => false,
        };
        if fits { Ok(record) } else { Err(AlterError::NoRoom) }
    }

    fn finish(
        &mut self,
        decided: Result<Option<ConfigsRecord>, AlterError>,
        validate_only: bool,
        out: &mut Effects,
    ) -> (i16, Option<StrBytes>) {
        match decided {
            Ok(record) => {
                let record = record.filter(|_| !validate_only).map(MetadataRecord::Configs);
                self.commit(record.into_iter().collect(), out);
                (ErrorCode::None.code(), None)
            }
            Err(error) => refusal(alter_code(&error), &error),
        }
    }

    /// The record that a resource's changes come to; `None` where nothing changes.
    fn decide_alter(
        &self,
        named: (i8, &str),
        changes: &[Change<'_>],
        replace: bool,
    ) -> Result<Option<ConfigsRecord>, AlterError> {
        check_shape(changes)?;
        let resource = self.resource(named)?;
        let scope = match resource {
            Resource::Log(_) => Scope::Topic,
            Resource::Broker(_) => Scope::Broker,
            Resource::Group(_) => Scope::Group,
            Resource::ClientMetrics(_) => Scope::ClientMetrics,
            Resource::Loggers if replace => return Err(AlterError::ResourceType(named.0)),
            Resource::Loggers => return self.decide_loggers(changes).map(|()| None),
        };
        let current = self.overrides(&resource);
        let mut next = if replace { Overrides::new() } else { current.clone() };
        for change in changes {
            self.change(&resource, scope, &mut next, *change)?;
        }
        self.check_set(&resource, scope, &next)?;
        self.check_limits(&resource, &next)?;
        Ok((next != current).then(|| record_of(resource, next)))
    }

    fn resource(&self, (kind, name): (i8, &str)) -> Result<Resource, AlterError> {
        let needed = |what| if name.is_empty() { Err(AlterError::NoName(what)) } else { Ok(name.to_owned()) };
        match kind {
            2 => {
                needed("log")?;
                let log = LogId::new(name)?;
                let found = self.image().log(name).ok_or(AlterError::NoSuchLog(log))?;
                self.image().check_writable(found, ViewWish::Configs)?;
                Ok(Resource::Log(found.metadata.topic_id))
            }
            4 if name.is_empty() => Ok(Resource::Broker(None)),
            4 => self.this_broker(name).map(|node| Resource::Broker(Some(node))),
            8 => self.this_broker(name).map(|_| Resource::Loggers),
            16 => needed("subscription").map(Resource::ClientMetrics),
            32 => needed("group").map(Resource::Group),
            other => Err(AlterError::ResourceType(other)),
        }
    }

    fn this_broker(&self, name: &str) -> Result<NodeId, AlterError> {
        let found = name.parse().ok().map(NodeId).filter(|node| self.registered().contains(node));
        found.ok_or_else(|| AlterError::OtherBroker { found: cut(name), expected: self.image().node() })
    }

    fn overrides(&self, resource: &Resource) -> Overrides {
        let found = match resource {
            Resource::Log(id) => self.image().log_by_id(*id).map(|log| &*log.overrides),
            Resource::Broker(node) => self.image().broker_configs().dynamic(*node),
            Resource::Group(group) => self.image().group_configs(group),
            Resource::ClientMetrics(name) => self.image().client_metrics(name),
            Resource::Loggers => None,
        };
        found.cloned().unwrap_or_default()
    }

    fn change(
        &self,
        resource: &Resource,
        scope: Scope,
        next: &mut Overrides,
        change: Change<'_>,
    ) -> Result<(), AlterError> {
        let wrong = |error| AlterError::Config { scope, error };
        match change.operation {
            operation::DELETE => {
                next.remove(change.name);
                return Ok(());
            }
            operation::SET | operation::APPEND | operation::SUBTRACT => {}
            other => return Err(AlterError::Operation(other)),
        }
        let value = change.value.ok_or_else(|| AlterError::Null(cut(change.name)))?;
        let config = lookup(scope, change.name);
        if let (Some(config), Resource::Broker(node)) = (config, resource) {
            check_dynamic(config, node.is_none()).map_err(wrong)?;
        }
        let value = match (change.operation, config) {
            (operation::SET, Some(config)) => canonical(config, value).map_err(wrong)?,
            // Kafka keeps broker configs that it does not know, for plug-ins (K8); so do we, and nobody reads them.
            (operation::SET, None) if scope == Scope::Broker => opaque(change.name, value).map_err(wrong)?,
            (operation::SET, None) => validate(scope, change.name, Some(value)).map_err(wrong)?,
            (_, Some(config)) if config.kind == Type::List && scope != Scope::ClientMetrics => {
                let list = next.get(config.name).cloned().or_else(|| self.inherited(resource, config));
                let list = edited(&list.unwrap_or_default(), change.operation, value);
                canonical(config, &list).map_err(wrong)?
            }
            (_, Some(_)) => return Err(AlterError::NoList(cut(change.name))),
            (_, None) => return find(scope, change.name).map(|_| ()).map_err(wrong),
        };
        next.insert(change.name.to_owned(), value);
        Ok(())
    }

    /// What is in force where the resource itself sets nothing: where APPEND and SUBTRACT start from (K5).
    fn inherited(&self, resource: &Resource, config: &Config) -> Option<String> {
        let brokers = self.image().broker_configs();
        match resource {
            Resource::Log(_) | Resource::Group(_) | Resource::ClientMetrics(_) => {
                value_in_force(config, &Overrides::new(), brokers).0
            }
            Resource::Broker(_) | Resource::Loggers => {
                let below = |source: &Source| *source > Source::DynamicDefault;
                brokers.layers(config).find(|(_, source)| below(source)).map(|(value, _)| value.to_owned())
            }
        }
    }

    fn check_set(&self, resource: &Resource, scope: Scope, next: &Overrides) -> Result<(), AlterError> {
        let brokers = self.image().broker_configs();
        let checked = match resource {
            Resource::Log(_) => check_fixed(&self.overrides(resource), next).and_then(|()| check_topic(next, brokers)),
            Resource::Group(_) => check_group(next, brokers),
            Resource::Broker(node) => {
                let mut after = brokers.clone();
                after.set_dynamic(*node, next.clone());
                let conflict = crate::config::value::conflicts_of_broker(&after).into_iter().next();
                conflict.map_or(Ok(()), Err).and_then(|()| self.check_vlsn_logs(&after))
            }
            Resource::ClientMetrics(_) | Resource::Loggers => Ok(()),
        };
        checked.map_err(|error| AlterError::Config { scope, error })
    }

    /// What brokers say must not compact VLSN logs that say nothing of their own. The error is the first one's.
    fn check_vlsn_logs(&self, after: &BrokerConfigs) -> Result<(), ConfigError> {
        if after.get("log.cleanup.policy") == self.image().broker_configs().get("log.cleanup.policy") {
            return Ok(());
        }
        self.image().logs().try_for_each(|log| check_vlsn(&log.overrides, after))
    }

    fn check_limits(&self, resource: &Resource, next: &Overrides) -> Result<(), AlterError> {
        let below = |asked, what, limit| match asked > limit {
            true => Err(AlterError::TooMany { asked, what, limit }),
            false => Ok(()),
        };
        let limits = self.limits();
        below(next.len(), "configs on one resource", limits.configs_per_resource)?;
        let image = self.image();
        let (there, known) = match resource {
            Resource::Group(group) => (image.groups.len(), image.groups.contains_key(group)),
            Resource::ClientMetrics(name) => (image.client_metrics.len(), image.client_metrics.contains_key(name)),
            Resource::Log(_) | Resource::Broker(_) | Resource::Loggers => return Ok(()),
        };
        below(there + usize::from(!known), "resources with configs", limits.configured_resources)
    }

    /// Behaviours K8: unknown loggers and levels are INVALID_CONFIG.
    fn decide_loggers(&self, changes: &[Change<'_>]) -> Result<(), AlterError> {
        for change in changes {
            if change.operation != operation::SET {
                return Err(AlterError::Operation(change.operation));
            }
            let level = change.value.ok_or_else(|| AlterError::Null(cut(change.name)))?;
            if change.name != ROOT_LOGGER || !LOGGER_LEVELS.contains(&level) {
                return Err(AlterError::Logger(cut(change.name)));
            }
            if level != self.image().log_level() {
                return Err(AlterError::LoggerFixed);
            }
        }
        Ok(())
    }
}

fn record_of(resource: Resource, configs: Overrides) -> ConfigsRecord {
    match resource {
        Resource::Log(id) => ConfigsRecord::Log { id, configs },
        Resource::Broker(Some(node)) => ConfigsRecord::Broker { node, configs },
        Resource::Broker(None) | Resource::Loggers => ConfigsRecord::Cluster { configs },
        Resource::Group(group) => ConfigsRecord::Group { group, configs },
        Resource::ClientMetrics(name) => ConfigsRecord::ClientMetrics { name, configs },
    }
}

/// A list with items added at its end, each once, or taken out. They are taken as they stand, spaces included, and only what
/// comes of it is read as a list: so ` compact` takes nothing out, and nothing at all is an item as well (K5).
fn edited(list: &str, operation: i8, value: &str) -> String {
    let mut list = items(list);
    if operation == operation::APPEND {
        let mut there: BTreeSet<&str> = list.iter().copied().collect();
        list.extend(parts(value).into_iter().filter(|item| there.insert(*item)));
    } else {
        let gone: BTreeSet<&str> = parts(value).into_iter().collect();
        list.retain(|item| !gone.contains(*item));
    }
    list.join(",")
}

/// What is between the commas; what is empty behind the last one does not count, unless there is nothing else.
fn parts(value: &str) -> Vec<&str> {
    let kept = value.trim_end_matches(',');
    if kept.is_empty() && !value.is_empty() { Vec::new() } else { kept.split(',').collect() }
}

/// Bounds for what nobody reads.
fn opaque(name: &str, value: &str) -> Result<String, ConfigError> {
    use crate::config::value::{OPAQUE_NAME_MAX, VALUE_MAX};
    match name.is_empty() || name.len() > OPAQUE_NAME_MAX || value.len() > VALUE_MAX {
        true => Err(ConfigError::Unknown { scope: Scope::Broker, name: cut(name), nearest: None }),
        false => Ok(value.to_owned()),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}
