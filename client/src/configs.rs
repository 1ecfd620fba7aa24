//! Configs of logs, nodes, groups and client metrics: with where each value comes from, and changing them.

use std::collections::BTreeMap;

use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use pyralog_protocol::kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use pyralog_protocol::kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use pyralog_protocol::{ApiKey, LogId, NodeId};

use crate::client::PyralogClient;
use crate::error::{BrokerError, CallError, ConfigError};
use crate::net::cluster::str_bytes;

/// What has configs.
///
/// ```
/// use pyralog_client::{ConfigResource, LogId};
///
/// let log = ConfigResource::Log(LogId::new("orders").unwrap());
/// assert_eq!(log.to_string(), "log orders");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigResource {
    /// A log.
    Log(LogId),
    /// One node.
    Node(NodeId),
    /// All nodes: what holds where a node has no value of its own.
    AllNodes,
    /// A group.
    Group(String),
    /// A subscription to metrics of clients.
    ClientMetrics(String),
}

impl ConfigResource {
    /// Kafka's number for the kind, and the name.
    fn wire(&self) -> (i8, String) {
        match self {
            Self::Log(log) => (2, log.to_string()),
            Self::Node(node) => (4, node.0.to_string()),
            Self::AllNodes => (4, String::new()),
            Self::ClientMetrics(name) => (16, name.clone()),
            Self::Group(group) => (32, group.clone()),
        }
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(log) => write!(f, "log {log}"),
            Self::Node(node) => write!(f, "node {}", node.0),
            Self::AllNodes => f.write_str("all nodes"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::ClientMetrics(name) => write!(f, "client metrics {name}"),
        }
    }
}

/// Where a value comes from.
///
/// ```
/// assert_eq!(pyralog_client::ConfigSource::Default.name(), "default");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the log.
    Log,
    /// Set on this node, while it ran.
    Node,
    /// Set on all nodes, while they ran.
    AllNodes,
    /// In the node's settings when it started.
    Static,
    /// Nobody set it.
    Default,
    /// Set on the group.
    Group,
    /// Set on the subscription.
    ClientMetrics,
    /// Anything else, by Kafka's number.
    Other(i8),
}

impl ConfigSource {
    pub(crate) fn of(number: i8) -> Self {
        match number {
            1 => Self::Log,
            2 => Self::Node,
            3 => Self::AllNodes,
            4 => Self::Static,
            5 => Self::Default,
            7 => Self::ClientMetrics,
            8 => Self::Group,
            other => Self::Other(other),
        }
    }

    /// A word for it.
    ///
    /// ```
    /// assert_eq!(pyralog_client::ConfigSource::AllNodes.name(), "all-nodes");
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Node => "node",
            Self::AllNodes => "all-nodes",
            Self::Static => "static",
            Self::Default => "default",
            Self::Group => "group",
            Self::ClientMetrics => "client-metrics",
            Self::Other(_) => "unknown",
        }
    }

    /// Whether somebody chose the value, here or for all nodes.
    ///
    /// ```
    /// assert!(!pyralog_client::ConfigSource::Default.is_set());
    /// ```
    pub fn is_set(self) -> bool {
        self != Self::Default
    }
}

/// The type of a value, by Kafka's number.
fn type_name(number: i8) -> &'static str {
    match number {
        1 => "boolean",
        2 => "string",
        3 => "int",
        4 => "short",
        5 => "long",
        6 => "double",
        7 => "list",
        8 => "class",
        9 => "password",
        _ => "unknown",
    }
}

/// A config with its value.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::ConfigResource;
///
/// for config in client.describe_configs(&ConfigResource::AllNodes).await? {
///     println!("{} = {:?} ({})", config.name, config.value, config.source.name());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// The value in force; `None` where there is none, or it is secret.
    pub value: Option<String>,
    /// Where that comes from.
    pub source: ConfigSource,
    /// Its type: `boolean`, `string`, `int`, `short`, `long`, `double`, `list`, `class`, `password`.
    pub value_type: &'static str,
    /// Whether it cannot be changed while the node runs.
    pub is_read_only: bool,
    /// Whether the value is kept secret.
    pub is_sensitive: bool,
    /// What is looked at for the value, first to last; the first one is in force.
    pub synonyms: Vec<ConfigSynonym>,
    /// What the broker says of it.
    pub documentation: Option<String>,
}

/// A place that a value may come from.
///
/// ```no_run
/// # fn example(config: pyralog_client::ConfigEntry) {
/// let inherited = config.synonyms.get(1).and_then(|synonym| synonym.value.as_deref());
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// What it is called there.
    pub name: String,
    /// The value there.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// A change of a config.
///
/// ```
/// use pyralog_client::ConfigChange;
///
/// let change = ConfigChange::Set("604800000".into());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    /// To this value.
    Set(String),
    /// Back to what holds without a value here.
    Reset,
    /// Adds to a list.
    Append(String),
    /// Takes from a list.
    Subtract(String),
}

fn entry(found: &DescribeConfigsResourceResult) -> ConfigEntry {
    let text =
        |text: &Option<pyralog_protocol::kafka_protocol::protocol::StrBytes>| text.as_ref().map(ToString::to_string);
    let synonyms = found.synonyms.iter().map(|synonym| ConfigSynonym {
        name: synonym.name.to_string(),
        value: text(&synonym.value),
        source: ConfigSource::of(synonym.source),
    });
    ConfigEntry {
        name: found.name.to_string(),
        value: text(&found.value),
        source: ConfigSource::of(found.config_source),
        value_type: type_name(found.config_type),
        is_read_only: found.read_only,
        is_sensitive: found.is_sensitive,
        synonyms: synonyms.collect(),
        documentation: text(&found.documentation).filter(|text| !text.is_empty()),
    }
}

impl PyralogClient {
    /// All configs of something, by name, with the values in force.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::{ConfigResource, LogId};
    ///
    /// let configs = client.describe_configs(&ConfigResource::Log(LogId::new("orders")?)).await?;
    /// let changed: Vec<_> = configs.iter().filter(|config| config.source.is_set()).collect();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_configs(&self, of: &ConfigResource) -> Result<Vec<ConfigEntry>, ConfigError> {
        let (kind, name) = of.wire();
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(str_bytes(&name))
            .with_configuration_keys(None);
        let request = kp::DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true)
            .with_include_documentation(true);
        let answer = self.ask_about(of, request).await?;
        let found = answer.results.first().ok_or_else(|| silent(ApiKey::DescribeConfigs, of))?;
        if found.error_code != 0 {
            let reason = BrokerError::new(found.error_code, found.error_message.as_deref());
            return Err(ConfigError::Refused { of: of.to_string(), reason });
        }
        let mut configs: Vec<ConfigEntry> = found.configs.iter().map(entry).collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(configs)
    }

    /// Changes configs of something, all or none; what is not named stays as it is. With `dry_run` nothing is changed, and
    /// the answer is what it would be.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::{ConfigChange, ConfigResource};
    ///
    /// let changes = [("log.retention.ms".to_owned(), ConfigChange::Set("86400000".to_owned()))].into();
    /// client.alter_configs(&ConfigResource::AllNodes, &changes, false).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn alter_configs(
        &self,
        of: &ConfigResource,
        changes: &BTreeMap<String, ConfigChange>,
        dry_run: bool,
    ) -> Result<(), ConfigError> {
        let (kind, name) = of.wire();
        let changes = changes.iter().map(|(name, change)| {
            let (operation, value) = match change {
                ConfigChange::Set(value) => (0, Some(value)),
                ConfigChange::Reset => (1, None),
                ConfigChange::Append(value) => (2, Some(value)),
                ConfigChange::Subtract(value) => (3, Some(value)),
            };
            AlterableConfig::default()
                .with_name(str_bytes(name))
                .with_config_operation(operation)
                .with_value(value.map(|value| str_bytes(value)))
        });
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(str_bytes(&name))
            .with_configs(changes.collect());
        let request =
            kp::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(dry_run);
        let answer = self.ask_about(of, request).await?;
        let found = answer.responses.first().ok_or_else(|| silent(ApiKey::IncrementalAlterConfigs, of))?;
        match found.error_code {
            0 => Ok(()),
            code => {
                let reason = BrokerError::new(code, found.error_message.as_deref());
                Err(ConfigError::Refused { of: of.to_string(), reason })
            }
        }
    }

    /// Only a node itself knows its own configs.
    async fn ask_about<A: crate::pure::ask::Ask + Clone>(
        &self,
        of: &ConfigResource,
        request: A,
    ) -> Result<A::Answer, ConfigError> {
        let cluster = self.cluster();
        match of {
            ConfigResource::Node(node) => {
                if !cluster.view().nodes.contains_key(node) {
                    cluster.metadata(Some(&[])).await?;
                }
                if !cluster.view().nodes.contains_key(node) {
                    let nodes =
                        cluster.view().nodes.keys().map(|node| node.0.to_string()).collect::<Vec<_>>().join(", ");
                    return Err(ConfigError::NoNode { node: *node, nodes });
                }
                Ok(cluster.repeat(CallError::is_retriable, || cluster.ask_node(*node, request.clone())).await?)
            }
            ConfigResource::Log(_)
            | ConfigResource::AllNodes
            | ConfigResource::Group(_)
            | ConfigResource::ClientMetrics(_) => {
                Ok(cluster.repeat(CallError::is_retriable, || cluster.ask(request.clone())).await?)
            }
        }
    }
}

fn silent(api: ApiKey, of: &ConfigResource) -> CallError {
    CallError::Unexpected { address: "a broker".to_owned(), api, reason: format!("it says nothing of {of}") }
}
