//! What is set for brokers, and what is in force: dynamic for this broker, dynamic for all, static (file, flags,
//! environment), default, in this order. Holds: only canonical values of known configs are ever in it.

use super::catalogue::{Config, Scope, lookup};
use super::value::{ConfigError, canonical, find};
use pyralog_protocol::NodeId;
use std::collections::BTreeMap;

/// Values that somebody set, by config name, in canonical text.
pub type Overrides = BTreeMap<String, String>;

/// Where a value in force comes from; the numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    /// Set on the log.
    Topic = 1,
    /// Set on this broker while it runs.
    DynamicBroker = 2,
    /// Set on all brokers while they run.
    DynamicDefault = 3,
    /// Set at start: file, environment or flag.
    Static = 4,
    /// Set by nobody.
    Default = 5,
    /// Level of a logger.
    Logger = 6,
    /// Set on a subscription to client metrics.
    ClientMetrics = 7,
    /// Set on the group.
    Group = 8,
}

/// Configs of all brokers, as one of them sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfigs {
    node: NodeId,
    fixed: Overrides,
    cluster: Overrides,
    brokers: BTreeMap<NodeId, Overrides>,
}

impl BrokerConfigs {
    /// Static configs of this node. All that is wrong is reported, not only the first.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        node: NodeId,
        fixed: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Vec<ConfigError>> {
        let (mut known, mut errors) = (Overrides::new(), Vec::new());
        for (name, value) in fixed {
            match find(Scope::Broker, name.as_ref()).and_then(|c| Ok((c, canonical(c, value.as_ref())?))) {
                Ok((config, value)) => drop(known.insert(config.name.to_owned(), value)),
                Err(error) => errors.push(error),
            }
        }
        known.insert("node.id".to_owned(), node.to_string());
        known.entry("process.roles".to_owned()).or_insert_with(|| "broker,controller".to_owned());
        let configs = Self { node, fixed: known, cluster: Overrides::new(), brokers: BTreeMap::new() };
        errors.extend(super::value::conflicts_of_broker(&configs));
        if errors.is_empty() { Ok(configs) } else { Err(errors) }
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// What is set dynamically: for one broker, or for all.
    pub fn dynamic(&self, node: Option<NodeId>) -> Option<&Overrides> {
        match node {
            Some(node) => self.brokers.get(&node),
            None => Some(&self.cluster),
        }
    }

    /// Replaces what is set dynamically.
    pub fn set_dynamic(&mut self, node: Option<NodeId>, configs: Overrides) {
        match node {
            Some(node) if configs.is_empty() => drop(self.brokers.remove(&node)),
            Some(node) => drop(self.brokers.insert(node, configs)),
            None => self.cluster = configs,
        }
    }

    /// Everything that gives this config a value here, strongest first, the default last.
    pub fn layers<'a>(&'a self, config: &Config) -> impl Iterator<Item = (&'a str, Source)> {
        let set = |layer: Option<&'a Overrides>, source| {
            layer.and_then(|l| l.get(config.name)).map(|value| (value.as_str(), source))
        };
        [
            set(self.brokers.get(&self.node), Source::DynamicBroker),
            set(Some(&self.cluster), Source::DynamicDefault),
            set(Some(&self.fixed), Source::Static),
            config.default.map(|value| (value, Source::Default)),
        ]
        .into_iter()
        .flatten()
    }

    /// The value in force here; `None` is null.
    pub fn value(&self, config: &Config) -> (Option<&str>, Source) {
        self.layers(config).next().map_or((None, Source::Default), |(value, source)| (Some(value), source))
    }

    /// The value of a config of the catalogue by name; null for names that are not in it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.value(lookup(Scope::Broker, name)?).0
    }

    /// The value as a number; 0 where it is null or none, which the catalogue excludes for what is asked by this name.
    pub(super) fn number<T: std::str::FromStr + Default>(&self, name: &str) -> T {
        self.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// The value as a yes or no.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}
