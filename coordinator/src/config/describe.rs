//! Answers of DescribeConfigs, as a pure function of an image (behaviours K1-K4, K11). Entries come sorted by name.
//! Where a broker config in hours or minutes supplies a value, its source is told truthfully; Kafka says "default".

use super::brokers::{BrokerConfigs, Overrides, Source};
use super::catalogue::{Config, Scope, lookup};
pub(crate) use super::settings::value_in_force;
use crate::metadata::Image;
use crate::metadata::wire::{refusal, text};
use kafka_protocol::messages as m;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::ids::LogIdError;
use pyralog_protocol::{ErrorCode, LogId, NodeId, kafka_protocol};
use std::collections::BTreeSet;

/// The one logger that there is.
pub const ROOT_LOGGER: &str = "root";
/// Levels of loggers, in Kafka's words.
pub const LOGGER_LEVELS: &[&str] = &["FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// Configs that one request has looked at, at most: as many as 13,000 logs have. A resource is named with a few bytes, and one
/// that does not exist has configs as well.
const ENTRIES_MAX: usize = 500_000;

/// Why a resource was not described.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DescribeError {
    /// No such type.
    #[error("unknown resource type {0}: 2 (topic), 4 (broker), 8 (broker logger), 16 (client metrics) or 32 (group)")]
    ResourceType(i8),
    /// The name of a log is illegal.
    #[error("{0}")]
    Name(#[from] LogIdError),
    /// There is no such log.
    #[error("there is no log '{0}'")]
    NoSuchLog(LogId),
    /// Those before have too many.
    #[error("one request describes {ENTRIES_MAX} configs at most: ask for fewer resources at a time")]
    TooMany,
    /// No name where one is needed.
    #[error("the name of the {0} must not be empty")]
    NoName(&'static str),
    /// No number, or that of another broker: only the broker itself knows what is in force there.
    #[error("{found:?} is not this broker; expected {expected}")]
    OtherBroker {
        /// What was sent.
        found: String,
        /// This broker.
        expected: NodeId,
    },
}

/// The code on the wire.
pub fn describe_code(error: &DescribeError) -> ErrorCode {
    match error {
        DescribeError::Name(_) => ErrorCode::InvalidTopicException,
        DescribeError::NoSuchLog(_) => ErrorCode::UnknownTopicOrPartition,
        DescribeError::TooMany => ErrorCode::PolicyViolation,
        DescribeError::ResourceType(_) | DescribeError::NoName(_) | DescribeError::OtherBroker { .. } => {
            ErrorCode::InvalidRequest
        }
    }
}

/// Answers DescribeConfigs. `version` decides what an entry carries: types and documentation come with v3.
pub fn describe_configs(
    image: &Image,
    request: &m::DescribeConfigsRequest,
    version: i16,
) -> m::DescribeConfigsResponse {
    let wish = Wish {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation && version >= 3,
        types: version >= 3,
    };
    let mut looked_at = 0;
    let result = |resource: &DescribeConfigsResource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_message(None);
        let found = if looked_at < ENTRIES_MAX { entries(image, resource) } else { Err(DescribeError::TooMany) };
        match found {
            Ok(entries) => {
                looked_at += entries.len();
                let wanted = wanted(resource);
                let entries = entries.into_iter().filter(|e| wanted.as_ref().is_none_or(|w| w.contains(&*e.name)));
                result.with_configs(entries.map(|entry| entry.on_wire(&wish)).collect())
            }
            Err(error) => {
                let (code, message) = refusal(describe_code(&error), &error);
                result.with_error_code(code).with_error_message(message)
            }
        }
    };
    m::DescribeConfigsResponse::default().with_results(request.resources.iter().map(result).collect())
}

/// Names that are asked for; `None` is all of them, and so is an empty list (K3).
fn wanted(resource: &DescribeConfigsResource) -> Option<BTreeSet<&str>> {
    let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty())?;
    Some(keys.iter().map(StrBytes::as_str).collect())
}

struct Wish {
    synonyms: bool,
    documentation: bool,
    types: bool,
}

/// A config as it is described.
struct Entry<'a> {
    name: &'a str,
    /// Its row of the catalogue; loggers and broker configs that nobody knows have none.
    config: Option<&'static Config>,
    value: Option<String>,
    source: Source,
    read_only: bool,
    synonyms: Vec<(&'a str, String, Source)>,
}

impl Entry<'_> {
    fn on_wire(self, wish: &Wish) -> DescribeConfigsResourceResult {
        // What nobody knows may be a secret (Kafka hides it as well); the level of a logger is none.
        let sensitive = self.config.map_or(self.source != Source::Logger, Config::is_sensitive);
        let show = |value: &str| if sensitive { None } else { Some(text(value)) };
        let mut result = DescribeConfigsResourceResult::default()
            .with_name(text(self.name))
            .with_value(self.value.as_deref().and_then(show))
            .with_read_only(self.read_only)
            .with_config_source(self.source as i8)
            .with_is_sensitive(sensitive)
            .with_documentation(None);
        if wish.synonyms {
            let synonym = |(name, value, source): &(&str, String, Source)| {
                let synonym = DescribeConfigsSynonym::default().with_name(text(name)).with_value(show(value));
                synonym.with_source(*source as i8)
            };
            result = result.with_synonyms(self.synonyms.iter().map(synonym).collect());
        }
        if wish.types {
            result = result.with_config_type(self.config.map_or(0, |config| config.kind as i8));
        }
        if wish.documentation {
            result =
                result.with_documentation(self.config.map(|config| StrBytes::from_static_str(config.documentation())));
        }
        result
    }
}

fn entries<'a>(image: &'a Image, resource: &'a DescribeConfigsResource) -> Result<Vec<Entry<'a>>, DescribeError> {
    let name = resource.resource_name.as_str();
    let none = &EMPTY;
    match resource.resource_type {
        2 => {
            let log = LogId::new(name)?;
            let log = image.log(name).ok_or(DescribeError::NoSuchLog(log))?;
            Ok(owned(Scope::Topic, &log.overrides, image.broker_configs()))
        }
        4 if name.is_empty() => Ok(cluster(image.broker_configs())),
        4 => this_broker(image, name).map(|()| broker(image.broker_configs())),
        8 => this_broker(image, name).map(|()| vec![logger(image.log_level())]),
        16 if name.is_empty() => Err(DescribeError::NoName("subscription")),
        16 => Ok(owned(Scope::ClientMetrics, image.client_metrics(name).unwrap_or(none), image.broker_configs())),
        32 if name.is_empty() => Err(DescribeError::NoName("group")),
        32 => Ok(owned(Scope::Group, image.group_configs(name).unwrap_or(none), image.broker_configs())),
        other => Err(DescribeError::ResourceType(other)),
    }
}

static EMPTY: Overrides = Overrides::new();

fn this_broker(image: &Image, name: &str) -> Result<(), DescribeError> {
    match name.parse() == Ok(image.node().0) {
        true => Ok(()),
        false => Err(DescribeError::OtherBroker { found: name.chars().take(80).collect(), expected: image.node() }),
    }
}

/// Everything that is listed for a log with these overrides: config, value in force, its source.
pub(crate) fn topic_entries(
    overrides: &Overrides,
    brokers: &BrokerConfigs,
) -> impl Iterator<Item = (&'static Config, Option<String>, Source)> {
    let listed = Scope::Topic.configs().iter().filter(|config| config.described);
    listed.map(move |config| {
        let (value, source) = value_in_force(config, overrides, brokers);
        (config, value, source)
    })
}

/// Configs of something that has its own and takes the rest from the brokers.
fn owned<'a>(scope: Scope, overrides: &'a Overrides, brokers: &'a BrokerConfigs) -> Vec<Entry<'a>> {
    let own_source = match scope {
        Scope::Topic => Source::Topic,
        Scope::Group => Source::Group,
        Scope::ClientMetrics => Source::ClientMetrics,
        Scope::Broker => Source::DynamicBroker,
    };
    let entry = |config: &'static Config| {
        let (value, source) = value_in_force(config, overrides, brokers);
        let source = if source == Source::Topic { own_source } else { source };
        let mut synonyms: Vec<_> =
            overrides.get(config.name).map(|own| (config.name, own.clone(), own_source)).into_iter().collect();
        match (config.synonyms.is_empty(), scope) {
            (false, _) => synonyms.extend(layered(config.synonyms, brokers)),
            (true, Scope::Group) => {
                synonyms.extend(config.default.map(|value| (config.name, value.to_owned(), Source::Default)));
            }
            (true, Scope::Topic | Scope::ClientMetrics | Scope::Broker) => {}
        }
        Entry { name: config.name, config: Some(config), value, source, read_only: false, synonyms }
    };
    scope.configs().iter().filter(|config| config.described).map(entry).collect()
}

/// What brokers set under these names, strongest source first. Where all are defaults, those in front of the first
/// name's own are left out, as Kafka does: a null default has no synonyms.
fn layered(names: &'static [&'static str], brokers: &BrokerConfigs) -> Vec<(&'static str, String, Source)> {
    let mut all: Vec<_> = (names.iter())
        .filter_map(|name| lookup(Scope::Broker, name))
        .flat_map(|c| brokers.layers(c).map(|(value, source)| (c.name, value.to_owned(), source)))
        .collect();
    all.sort_by_key(|(_, _, source)| *source);
    let defaults_only = all.first().is_none_or(|(_, _, source)| *source == Source::Default);
    let first = all.iter().position(|(name, _, _)| Some(name) == names.first());
    if defaults_only { all.split_off(first.unwrap_or(all.len())) } else { all }
}

/// Broker configs that supply each other's value, strongest first.
const FAMILIES: &[&[&str]] = &[
    &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.roll.ms", "log.roll.hours"],
];

fn broker(brokers: &BrokerConfigs) -> Vec<Entry<'_>> {
    let entry = |config: &'static Config| {
        let family: &'static [&'static str] =
            FAMILIES.iter().find(|f| f.first() == Some(&config.name)).copied().unwrap_or(&[]);
        let own = brokers.layers(config).map(|(value, source)| (config.name, value.to_owned(), source));
        let mut synonyms: Vec<_> = own.collect();
        if !synonyms.is_empty() && !family.is_empty() {
            synonyms = layered(family, brokers);
        }
        let (value, source) = brokers.value(config);
        let read_only = config.update == super::catalogue::Update::Restart;
        Entry { name: config.name, config: Some(config), value: value.map(str::to_owned), source, read_only, synonyms }
    };
    let is_listed = |config: &&Config| config.described || brokers.value(config).1 != Source::Default;
    let known = Scope::Broker.configs().iter().filter(is_listed).map(entry);
    known.chain(unknown(brokers.dynamic(Some(brokers.node())), Source::DynamicBroker)).collect()
}

/// All brokers together: only what is set for all (K1).
fn cluster(brokers: &BrokerConfigs) -> Vec<Entry<'_>> {
    let set = brokers.dynamic(None);
    let entry = |(name, value): (&'_ String, &String)| {
        let config = lookup(Scope::Broker, name)?;
        let synonyms = vec![(config.name, value.clone(), Source::DynamicDefault)];
        let (value, source) = (Some(value.clone()), Source::DynamicDefault);
        Some(Entry { name: config.name, config: Some(config), value, source, read_only: false, synonyms })
    };
    let known = set.into_iter().flatten().filter_map(entry);
    known.chain(unknown(set, Source::DynamicDefault)).collect()
}

fn unknown(set: Option<&Overrides>, source: Source) -> impl Iterator<Item = Entry<'_>> {
    let set = set.into_iter().flatten().filter(|(name, _)| lookup(Scope::Broker, name).is_none());
    set.map(move |(name, value)| {
        let synonyms = vec![(name.as_str(), value.clone(), source)];
        Entry { name, config: None, value: Some(value.clone()), source, read_only: true, synonyms }
    })
}

fn logger(level: &str) -> Entry<'_> {
    let (value, source) = (Some(level.to_owned()), Source::Logger);
    Entry { name: ROOT_LOGGER, config: None, value, source, read_only: false, synonyms: Vec::new() }
}
