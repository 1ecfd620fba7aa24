//! An immutable picture of the metadata, for everybody who serves requests. Copying it costs a few hundred counters,
//! whatever the number of logs; a log that did not change is the same allocation in the old and in the new picture.
//! The owner of the loop publishes a picture once the records behind it are committed, never earlier.

use super::buckets::Buckets;
use super::record::LogMetadata;
use crate::config::{BrokerConfigs, BrokerSettings, Overrides, TopicSettings};
use crate::groups::TopicView;
use pyralog_protocol::{LogId, NodeId, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One log with all that is needed to serve it.
#[derive(Clone, Debug, PartialEq)]
pub struct LogState {
    /// Name, id, partitions.
    pub metadata: LogMetadata,
    /// What is set on the log.
    pub overrides: Arc<Overrides>,
    /// What is in force.
    pub settings: Arc<TopicSettings>,
    /// The VLSN log that this is the view of.
    pub view_of: Option<TopicId>,
}

/// Where clients reach a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The broker.
    pub node: NodeId,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The metadata at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    pub(super) cluster_id: Arc<str>,
    pub(super) version: u64,
    pub(super) by_name: Buckets<LogId, Arc<LogState>>,
    /// Names with `.` folded to `_`. No two logs share one, for such a log is never created.
    pub(super) by_metric_name: Buckets<String, LogId>,
    pub(super) by_id: Buckets<TopicId, Arc<LogState>>,
    pub(super) partitions: usize,
    pub(super) views: usize,
    pub(super) log_level: Arc<str>,
    pub(super) brokers: Arc<BrokerConfigs>,
    pub(super) settings: Arc<BrokerSettings>,
    pub(super) default_settings: Arc<TopicSettings>,
    pub(super) groups: Arc<BTreeMap<String, Overrides>>,
    pub(super) client_metrics: Arc<BTreeMap<String, Overrides>>,
}

impl Image {
    pub(super) fn empty(brokers: BrokerConfigs, log_level: &str) -> Self {
        let settings = Arc::new(BrokerSettings::resolve(&brokers));
        let default_settings = Arc::new(TopicSettings::resolve(&Overrides::new(), &brokers));
        Self {
            cluster_id: "".into(),
            version: 0,
            by_name: Buckets::default(),
            by_metric_name: Buckets::default(),
            by_id: Buckets::default(),
            partitions: 0,
            views: 0,
            log_level: log_level.into(),
            brokers: Arc::new(brokers),
            settings,
            default_settings,
            groups: Arc::default(),
            client_metrics: Arc::default(),
        }
    }

    /// The cluster's id; empty before the cluster was founded.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.brokers.node()
    }

    /// Counts atomic changes; rises with each.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The log of that name.
    pub fn log(&self, name: &str) -> Option<&Arc<LogState>> {
        self.by_name.get(name)
    }

    /// The log with that id.
    pub fn log_by_id(&self, id: TopicId) -> Option<&Arc<LogState>> {
        self.by_id.get(&id)
    }

    /// A log whose name metrics would confuse with this one (behaviours M6), other than the log itself.
    pub fn collision(&self, log: &LogId) -> Option<&LogId> {
        self.by_metric_name.get(log.metric_name().as_str()).filter(|other| *other != log)
    }

    /// All logs, views of VLSN logs included, in no particular order.
    pub fn logs(&self) -> impl Iterator<Item = &Arc<LogState>> {
        self.by_name.values()
    }

    /// The same, by name.
    pub fn sorted_logs(&self) -> BTreeMap<&str, &Arc<LogState>> {
        self.logs().map(|log| (log.metadata.log_id.as_str(), log)).collect()
    }

    /// How many logs there are; views are none.
    pub fn log_count(&self) -> usize {
        self.by_name.len() - self.views
    }

    /// How many partitions all logs have together; views have none.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// Configs in force of this broker.
    pub fn broker(&self) -> &Arc<BrokerSettings> {
        &self.settings
    }

    /// What is set for brokers.
    pub fn broker_configs(&self) -> &BrokerConfigs {
        &self.brokers
    }

    /// Level of the log that this process writes, in Kafka's words.
    pub fn log_level(&self) -> &str {
        &self.log_level
    }

    /// What is set on a group.
    pub fn group_configs(&self, group: &str) -> Option<&Overrides> {
        self.groups.get(group)
    }

    /// Groups that something is set on, in order.
    pub fn configured_groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    /// Subscriptions to client metrics, in order.
    pub fn client_metrics_names(&self) -> impl Iterator<Item = &str> {
        self.client_metrics.keys().map(String::as_str)
    }

    /// What is set on a subscription to client metrics.
    pub fn client_metrics(&self, name: &str) -> Option<&Overrides> {
        self.client_metrics.get(name)
    }
}

impl TopicView for Image {
    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        self.log(name).map(|log| (log.metadata.topic_id, log.metadata.partition_count))
    }

    fn names(&self) -> Box<dyn Iterator<Item = &LogId> + '_> {
        Box::new(self.logs().map(|log| &log.metadata.log_id))
    }

    fn group_configs(&self, group: &str) -> Option<&Overrides> {
        Self::group_configs(self, group)
    }

    fn name_of(&self, id: TopicId) -> Option<&str> {
        self.log_by_id(id).map(|log| log.metadata.log_id.as_str())
    }
}
