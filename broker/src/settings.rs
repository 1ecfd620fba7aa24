//! Where the settings of a server come from: flag, then environment, then file, then default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use pyralog_coordinator::DeclaredLog;
use pyralog_coordinator::config::{self, Scope};
use pyralog_protocol::LogId;
use serde::Deserialize;

use crate::cli::{LogFormat, ServerArgs};

/// What is wrong with the settings; each line is for a person.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A variable of ours is not text.
    #[error("the environment variable {PREFIX}{name} is not UTF-8: {found:?}")]
    NotText {
        /// Its name, without the prefix.
        name: String,
        /// What was found.
        found: OsString,
    },
    /// `--set` without `=`.
    #[error("--set {0}: write NAME=VALUE, for instance --set num.partitions=4")]
    Set(String),
    /// A word is not one of those that are known.
    #[error("{origin}: {found:?} is not one of: {known}")]
    Word {
        /// Where it stands.
        origin: String,
        /// The word.
        found: String,
        /// The known ones.
        known: String,
    },
    /// An address cannot be understood.
    #[error("{origin}: {found:?} is not an address; write HOST:PORT, for instance 127.0.0.1:9092")]
    Address {
        /// Where it stands.
        origin: String,
        /// What was found.
        found: String,
    },
    /// A log of the file has an illegal name or setting.
    #[error("[logs.{name}]: {message}")]
    Log {
        /// The log.
        name: String,
        /// Why.
        message: String,
    },
    /// Configs are wrong.
    #[error("{0}")]
    Configs(String),
}

/// Settings of a server, complete.
#[derive(Debug)]
pub struct Settings {
    /// Address for Kafka clients.
    pub kafka_listen: String,
    /// Address for HTTP.
    pub http_listen: String,
    /// What clients are told; `None`: the address they came in on.
    pub advertise: Option<(String, u16)>,
    /// The data folder.
    pub data: PathBuf,
    /// Form of the log lines.
    pub log_format: LogFormat,
    /// What is logged.
    pub log: String,
    /// Broker configs by Kafka's names, the winning value of each.
    pub configs: Vec<(String, String)>,
    /// Logs that are created at start.
    pub logs: Vec<DeclaredLog>,
    /// What is odd without being wrong; logged once logging is up.
    pub warnings: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: ServerTable,
    #[serde(default)]
    broker: toml::Table,
    #[serde(default)]
    logs: BTreeMap<String, LogTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    kafka_listen: Option<String>,
    http_listen: Option<String>,
    advertise: Option<String>,
    data: Option<PathBuf>,
    log_format: Option<String>,
    log: Option<String>,
}

/// `[logs.<name>]`: the fields of the concept papers, and any topic config by Kafka's name under `config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    partition_count: Option<i32>,
    replication_factor: Option<i16>,
    retention_bytes: Option<i64>,
    retention_hours: Option<i64>,
    min_in_sync_replicas: Option<i32>,
    #[serde(default)]
    config: toml::Table,
}

/// Environment variables with our prefix that are no broker configs: settings of the server itself, and what the other commands
/// read.
const OWN_VARIABLES: [&str; 8] =
    ["KAFKA_LISTEN", "HTTP_LISTEN", "ADVERTISE", "DATA", "CONFIG", "LOG_FORMAT", "LOG", "BOOTSTRAP"];
const PREFIX: &str = "PYRALOG_";
/// Kafka's names of what is `kafka_listen` and `advertise` here.
const LISTENERS: &str = "listeners";
const ADVERTISED: &str = "advertised.listeners";

impl Settings {
    /// Brings all sources together. `environment` holds every variable of the process.
    pub fn gather(
        args: ServerArgs,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let env = ours(environment)?;
        let file = read_file(args.config.clone().or_else(|| env.get("CONFIG").map(PathBuf::from)))?;
        let pick = |flag: Option<String>, variable: &str, file: Option<String>| {
            flag.or_else(|| env.get(variable).cloned()).or(file)
        };
        let mut warnings = Vec::new();
        let set = args.set.iter().map(|set| {
            let (name, value) = set.split_once('=').ok_or_else(|| SettingsError::Set(set.clone()))?;
            Ok((name.trim().to_owned(), value.to_owned()))
        });
        let set: BTreeMap<_, _> = set.collect::<Result<_, SettingsError>>()?;
        let variables = from_environment(&env, &mut warnings).collect();
        let sources = [set, variables, flatten(&file.broker)?];
        let mut address = |ours: [Option<String>; 3], name: &str| {
            first_address(ours, name, sources.each_ref().map(|configs| configs.get(name)), &mut warnings)
        };
        let listen = [args.kafka_listen, env.get("KAFKA_LISTEN").cloned(), file.server.kafka_listen];
        let kafka_listen = address(listen, LISTENERS)?;
        let advertise = [args.advertise, env.get("ADVERTISE").cloned(), file.server.advertise];
        let advertise = address(advertise, ADVERTISED)?;
        // The last one wins.
        let mut configs: BTreeMap<String, String> = sources.into_iter().rev().flatten().collect();
        configs.retain(|name, _| name != LISTENERS && name != ADVERTISED);
        refuse_ours(&configs)?;
        warnings.extend(configs.keys().filter_map(|name| unused_warning(name)));
        let format = pick(args.log_format.map(word_of), "LOG_FORMAT", file.server.log_format);
        Ok(Self {
            kafka_listen: kafka_listen.unwrap_or_else(|| "127.0.0.1:9092".into()),
            http_listen: pick(args.http_listen, "HTTP_LISTEN", file.server.http_listen)
                .unwrap_or_else(|| "127.0.0.1:8080".into()),
            advertise: advertise.map(|a| advertised("--advertise", &a)).transpose()?,
            data: args
                .data
                .or_else(|| env.get("DATA").map(PathBuf::from))
                .or(file.server.data)
                .unwrap_or_else(|| "pyralog-data".into()),
            log_format: format.map_or(Ok(LogFormat::Human), |word| log_format(&word))?,
            log: pick(args.log, "LOG", file.server.log).unwrap_or_else(|| "info".into()),
            configs: configs.into_iter().collect(),
            logs: file.logs.into_iter().map(|(name, table)| declared(name, table)).collect::<Result<_, _>>()?,
            warnings,
        })
    }
}

impl Settings {
    /// Puts what really is in force into the configs, so that DescribeConfigs shows it as set, as consoles expect:
    /// addresses and the data folder.
    pub fn show_addresses(&mut self, listening: std::net::SocketAddr) {
        let listen = format!("PLAINTEXT://{listening}");
        let advertised = match &self.advertise {
            Some((host, port)) => format!("PLAINTEXT://{host}:{port}"),
            None => listen.clone(),
        };
        let folder = std::path::absolute(&self.data).unwrap_or_else(|_| self.data.clone());
        self.configs.push(("listeners".into(), listen));
        self.configs.push(("advertised.listeners".into(), advertised));
        if !self.configs.iter().any(|(name, _)| name == "node.id") {
            self.configs.push(("node.id".into(), "1".into()));
        }
        self.configs.push(("log.dirs".into(), folder.display().to_string()));
    }
}

fn word_of(format: LogFormat) -> String {
    match format {
        LogFormat::Human => "human".into(),
        LogFormat::Json => "json".into(),
    }
}

fn log_format(word: &str) -> Result<LogFormat, SettingsError> {
    LogFormat::from_str(word, true).map_err(|_| SettingsError::Word {
        origin: "log format".into(),
        found: word.into(),
        known: "human, json".into(),
    })
}

fn read_file(named: Option<PathBuf>) -> Result<File, SettingsError> {
    let path = match named {
        Some(path) => path,
        None if Path::new("pyralog.toml").exists() => "pyralog.toml".into(),
        None => return Ok(File::default()),
    };
    let text = std::fs::read_to_string(&path).map_err(|cause| SettingsError::File { path: path.clone(), cause })?;
    toml::from_str(&text).map_err(|e| {
        let mut message = e.to_string();
        if message.contains("cannot extend value") {
            // As with max.connections and max.connections.per.ip.
            message.push_str(
                "where one name begins with another, write both in quotes, such as \"max.connections\" = 100",
            );
        }
        SettingsError::Syntax { path, message }
    })
}

/// Our variables, without the prefix. What is in those of others is nobody's business here.
fn ours(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<BTreeMap<String, String>, SettingsError> {
    let ours = environment.filter_map(|(name, value)| Some((name.to_str()?.strip_prefix(PREFIX)?.to_owned(), value)));
    let texts = ours.map(|(name, value)| match value.into_string() {
        Ok(text) => Ok((name, text)),
        Err(found) => Err(SettingsError::NotText { name, found }),
    });
    texts.collect()
}

/// TOML reads `num.partitions = 4` as a table in a table: both that and `"num.partitions" = 4` mean the config.
fn flatten(table: &toml::Table) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut flat = BTreeMap::new();
    flatten_into(table, "", &mut flat)?;
    Ok(flat)
}

fn flatten_into(table: &toml::Table, prefix: &str, flat: &mut BTreeMap<String, String>) -> Result<(), SettingsError> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            toml::Value::Array(items) => items
                .iter()
                .map(|i| i.as_str().map_or_else(|| i.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(","),
            toml::Value::Table(inner) => {
                flatten_into(inner, &name, flat)?;
                continue;
            }
            toml::Value::Datetime(date) => {
                return Err(SettingsError::Configs(format!("{name}: {date} is a date; write it in quotes")));
            }
        };
        flat.insert(name, text);
    }
    Ok(())
}

/// `PYRALOG_NUM_PARTITIONS` means `num.partitions`. A variable that is no config is no error, because orchestrators
/// put variables of their own beside ours (a service called "pyralog" gives PYRALOG_PORT); it is told.
fn from_environment<'a>(
    env: &'a BTreeMap<String, String>,
    warnings: &'a mut Vec<String>,
) -> impl Iterator<Item = (String, String)> + 'a {
    env.iter().filter(|(name, _)| !OWN_VARIABLES.contains(&name.as_str())).filter_map(|(variable, value)| {
        let lower = variable.to_ascii_lowercase().replace('_', ".");
        let own = format!("pyralog.{lower}");
        let found =
            [lower.as_str(), own.as_str()].into_iter().find(|name| config::lookup(Scope::Broker, name).is_some());
        if found.is_none() {
            let hint = config::nearest(Scope::Broker, &lower).map(|n| format!("; is {n} meant?")).unwrap_or_default();
            warnings.push(format!("the environment variable {PREFIX}{variable} is no setting{hint}"));
        }
        found.map(|name| (name.to_owned(), value.clone()))
    })
}

/// Names of Kafka whose matter has a setting of its own here.
fn refuse_ours(configs: &BTreeMap<String, String>) -> Result<(), SettingsError> {
    let instead = [("log.dirs", "--data"), ("log.dir", "--data"), ("broker.id", "node.id")];
    match instead.into_iter().find(|(name, _)| configs.contains_key(*name)) {
        Some((name, ours)) => Err(SettingsError::Configs(format!("{name} is not set this way; use {ours}"))),
        None => Ok(()),
    }
}

/// A setting that is accepted for compatibility and changes nothing is not passed over in silence.
fn unused_warning(name: &str) -> Option<String> {
    let why = config::lookup(Scope::Broker, name)?.unused?;
    Some(format!("{name} is set. {}", why.reason()))
}

/// An address by our own name or by Kafka's, from the first of the sources that has one: flags, environment, file.
fn first_address(
    ours: [Option<String>; 3],
    name: &str,
    kafkas: [Option<&String>; 3],
    warnings: &mut Vec<String>,
) -> Result<Option<String>, SettingsError> {
    for source in ours.into_iter().zip(kafkas) {
        match source {
            (None, None) => {}
            (None, Some(value)) => return plaintext(name, value).map(Some),
            (Some(address), None) => return Ok(Some(address)),
            (Some(address), Some(value)) => {
                warnings.push(format!("{name}={value} has no effect: {address} is set as well, by our own name"));
                return Ok(Some(address));
            }
        }
    }
    Ok(None)
}

/// Kafka's `listeners` and `advertised.listeners` with one plaintext listener each are understood; anything else is
/// refused, because it would be ignored.
fn plaintext(name: &str, value: &str) -> Result<String, SettingsError> {
    match value.strip_prefix("PLAINTEXT://").filter(|rest| !rest.contains(',')) {
        Some(address) => Ok(address.to_owned()),
        None => Err(SettingsError::Configs(format!(
            "{name}={value}: one listener of the form PLAINTEXT://HOST:PORT is supported (or use --kafka-listen and --advertise)"
        ))),
    }
}

/// An address that clients can connect to: never 0.0.0.0, which would send them to themselves (OP-01).
fn advertised(origin: &str, text: &str) -> Result<(String, u16), SettingsError> {
    let wrong = || SettingsError::Address { origin: origin.to_owned(), found: text.to_owned() };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(wrong)?;
    // A zone is of use on the broker's own links only, and is left to whoever writes one.
    let ip = bare.split('%').next().and_then(|ip| ip.parse::<IpAddr>().ok());
    if bare.is_empty() || ip.is_some_and(|ip| ip.is_unspecified()) {
        return Err(SettingsError::Configs(format!(
            "{origin} {text}: clients cannot connect to {bare:?}; name an address or host name that they can reach"
        )));
    }
    // What else an address could be meant to be, a URL or a pattern, clients would take for a name.
    let is_name = || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if ip.is_none() && !is_name() {
        return Err(wrong());
    }
    Ok((bare.to_owned(), port))
}

fn declared(name: String, table: LogTable) -> Result<DeclaredLog, SettingsError> {
    let log = LogId::new(&name).map_err(|e| SettingsError::Log { name: name.clone(), message: e.to_string() })?;
    let mut configs: BTreeMap<String, String> = flatten(&table.config)?;
    if let Some(bytes) = table.retention_bytes {
        configs.insert("retention.bytes".into(), bytes.to_string());
    }
    if let Some(hours) = table.retention_hours {
        let wrong =
            |why: &str| SettingsError::Log { name: name.clone(), message: format!("retention_hours={hours} {why}") };
        let ms = match hours {
            ..-1 => return Err(wrong("is less than nothing; -1 keeps records for ever")),
            -1 => -1,
            0.. => hours.checked_mul(3_600_000).ok_or_else(|| wrong("is too large"))?,
        };
        configs.insert("retention.ms".into(), ms.to_string());
    }
    if let Some(replicas) = table.min_in_sync_replicas {
        configs.insert("min.insync.replicas".into(), replicas.to_string());
    }
    Ok(DeclaredLog {
        log,
        partition_count: table.partition_count,
        replication_factor: table.replication_factor,
        configs: configs.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests;
