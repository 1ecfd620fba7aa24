//! `pyralog config ...`: configs of logs, nodes, groups and client metrics.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use pyralog_client::{ConfigChange, ConfigEntry, ConfigResource, LogId, NodeId, PyralogClient};
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::output::{self, Row};
use super::target::{Target, nearest, suggest_log};
use super::values;

/// What to do with configs.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show configs: those that somebody set, or all
    List(ListArgs),
    /// Print the value of one config, and nothing else
    Get(GetArgs),
    /// Set configs, all or none
    Set(SetArgs),
    /// Take configs back to what holds without a value of their own
    Reset(ResetArgs),
}

/// What has the configs.
#[derive(Debug, Args)]
#[group(id = "owner", required = true, multiple = false, args = ["log", "node", "all_nodes", "group", "client_metrics"])]
pub struct Owner {
    /// A log
    #[arg(long, value_name = "LOG", value_parser = values::log)]
    pub log: Option<LogId>,
    /// A node, by number
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub node: Option<i32>,
    /// All nodes
    #[arg(long)]
    pub all_nodes: bool,
    /// A group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// A subscription to metrics of clients
    #[arg(long, value_name = "NAME")]
    pub client_metrics: Option<String>,
}

impl Owner {
    fn resource(&self) -> Result<ConfigResource, Failure> {
        let found = [
            self.log.clone().map(ConfigResource::Log),
            self.node.map(|node| ConfigResource::Node(NodeId(node))),
            self.all_nodes.then_some(ConfigResource::AllNodes),
            self.group.clone().map(ConfigResource::Group),
            self.client_metrics.clone().map(ConfigResource::ClientMetrics),
        ];
        let none = || Failure::usage("--log, --node, --all-nodes, --group or --client-metrics is needed");
        found.into_iter().flatten().next().ok_or_else(none)
    }
}

/// Flags of `pyralog config list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// What has the configs.
    #[command(flatten)]
    pub owner: Owner,
    /// Also those that nobody set
    #[arg(long, short)]
    pub all: bool,
    /// Print JSON: an array of objects with name, value, source, type, read_only, sensitive, synonyms, documentation
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog config get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Name of the config
    pub name: String,
    /// What has the configs.
    #[command(flatten)]
    pub owner: Owner,
    /// Print JSON: an object with name, value, source, type, read_only, sensitive, synonyms, documentation
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog config set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Configs by Kafka's names; NAME+=VALUE adds to a list, NAME-=VALUE takes from it
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = values::setting)]
    pub configs: Vec<(String, String)>,
    /// What has the configs.
    #[command(flatten)]
    pub owner: Owner,
    /// Ask whether it could be done, and do nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Flags of `pyralog config reset`.
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Names of the configs
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// What has the configs.
    #[command(flatten)]
    pub owner: Owner,
    /// Ask whether it could be done, and do nothing
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Runs one of them.
pub async fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::List(args) => list(args).await,
        ConfigCommand::Get(args) => get(args).await,
        ConfigCommand::Set(args) => {
            let changes = args.configs.into_iter().map(|(name, value)| change(&name, value)).collect();
            alter(&args.target, &args.owner, changes, args.dry_run).await
        }
        ConfigCommand::Reset(args) => {
            let changes = args.names.into_iter().map(|name| (name, ConfigChange::Reset)).collect();
            alter(&args.target, &args.owner, changes, args.dry_run).await
        }
    }
}

/// `NAME+` adds, `NAME-` takes away.
fn change(name: &str, value: String) -> (String, ConfigChange) {
    if let Some(name) = name.strip_suffix('+') {
        return (name.to_owned(), ConfigChange::Append(value));
    }
    match name.strip_suffix('-') {
        Some(name) => (name.to_owned(), ConfigChange::Subtract(value)),
        None => (name.to_owned(), ConfigChange::Set(value)),
    }
}

#[derive(Serialize)]
struct Shown {
    name: String,
    value: Option<String>,
    source: &'static str,
    #[serde(rename = "type")]
    value_type: &'static str,
    read_only: bool,
    sensitive: bool,
    synonyms: Vec<ShownSynonym>,
    documentation: Option<String>,
}

#[derive(Serialize)]
struct ShownSynonym {
    name: String,
    value: Option<String>,
    source: &'static str,
}

impl From<ConfigEntry> for Shown {
    fn from(entry: ConfigEntry) -> Self {
        let synonyms = entry.synonyms.into_iter().map(|synonym| ShownSynonym {
            name: synonym.name,
            value: synonym.value,
            source: synonym.source.name(),
        });
        Self {
            name: entry.name,
            value: entry.value,
            source: entry.source.name(),
            value_type: entry.value_type,
            read_only: entry.is_read_only,
            sensitive: entry.is_sensitive,
            synonyms: synonyms.collect(),
            documentation: entry.documentation,
        }
    }
}

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &["NAME", "VALUE", "SOURCE", "TYPE"];

    fn cells(&self) -> Vec<String> {
        let value = match (&self.value, self.sensitive) {
            (_, true) => "(secret)".to_owned(),
            (None, false) => "(none)".to_owned(),
            (Some(value), false) => value.clone(),
        };
        vec![self.name.clone(), value, self.source.to_owned(), self.value_type.to_owned()]
    }
}

async fn describe(client: &PyralogClient, of: &ConfigResource) -> Result<Vec<ConfigEntry>, Failure> {
    match (client.describe_configs(of).await, of) {
        (Ok(configs), _) => Ok(configs),
        (Err(error), ConfigResource::Log(log)) => Err(suggest_log(client, log.as_str(), error).await),
        (Err(error), _) => Err(error.into()),
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let of = args.owner.resource()?;
    let client = args.target.connect().await?;
    let configs = describe(&client, &of).await?;
    let shown = configs.into_iter().filter(|config| args.all || config.source.is_set()).map(Shown::from);
    output::print_rows(args.json, &shown.collect::<Vec<_>>())
}

async fn get(args: GetArgs) -> Result<(), Failure> {
    let of = args.owner.resource()?;
    let client = args.target.connect().await?;
    let mut configs = describe(&client, &of).await?;
    match configs.iter().position(|config| config.name == args.name) {
        Some(at) if args.json => output::print_json(&Shown::from(configs.swap_remove(at))),
        Some(at) => output::print(&format!("{}\n", configs.swap_remove(at).value.unwrap_or_default())),
        None => {
            let failure = Failure::Said(Exit::Missing, format!("{of} has no config {}", output::harmless(&args.name)));
            Err(hint(failure, &args.name, &configs))
        }
    }
}

fn hint(failure: Failure, name: &str, configs: &[ConfigEntry]) -> Failure {
    match nearest(name, configs.iter().map(|config| config.name.as_str())) {
        Some(name) => failure.hint(&format!("; is {name} meant?")),
        None => failure.hint("; `pyralog config list --all` shows those that there are"),
    }
}

async fn alter(
    target: &Target,
    owner: &Owner,
    changes: BTreeMap<String, ConfigChange>,
    dry_run: bool,
) -> Result<(), Failure> {
    let of = owner.resource()?;
    let client = target.connect().await?;
    match (client.alter_configs(&of, &changes, dry_run).await, &of) {
        (Ok(()), _) if dry_run => output::print(&format!("{of} could be changed so\n")),
        (Ok(()), _) => output::print(&format!("changed {of}\n")),
        (Err(error), ConfigResource::Log(log)) => Err(suggest_log(&client, log.as_str(), error).await),
        (Err(error), _) => Err(error.into()),
    }
}
