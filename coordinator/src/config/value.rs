//! Values of configs: what is legal, how it is written canonically (what DescribeConfigs shows), and what to tell the
//! person whose value is not. A stored value is always canonical; nothing else is ever stored.

use super::brokers::{BrokerConfigs, Overrides};
use super::catalogue::{Check, Config, Scope, Type, Update, lookup, nearest};
use super::settings::value_in_force;
use pyralog_protocol::ErrorCode;
use std::collections::BTreeSet;

/// Most characters of a refused value that a message repeats.
const SHOWN_MAX: usize = 80;
/// Longest value of a config, in bytes: they are kept in memory and travel with every answer (Kafka's own limit is
/// that of a string on the wire).
pub const VALUE_MAX: usize = 32_767;

/// Why a config was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such config.
    #[error("unknown {} config {name:?}{}", .scope.word(), .nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    Unknown {
        /// Where it was looked for.
        scope: Scope,
        /// The name, cut.
        name: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// Null where a value is needed.
    #[error("{name} has no value (null); leave it out to take the default")]
    Null {
        /// The config.
        name: String,
    },
    /// Not of the config's type, or outside of its bounds.
    #[error("invalid value {found:?} for {name}: {allowed}")]
    Value {
        /// The config.
        name: &'static str,
        /// What was given, cut.
        found: String,
        /// What is allowed, for people.
        allowed: String,
    },
    /// Two configs that contradict each other.
    #[error("{low}={low_value} must not be above {high}={high_value}")]
    Conflict {
        /// The config that must be the lower one.
        low: &'static str,
        /// Its value.
        low_value: i64,
        /// The config that must be the higher one.
        high: &'static str,
        /// Its value.
        high_value: i64,
    },
    /// Needs what Pyralog does not have.
    #[error("{name}={value} is not possible: {why}")]
    Unsupported {
        /// The config.
        name: &'static str,
        /// Its value.
        value: String,
        /// The reason.
        why: &'static str,
    },
    /// Said once, when the log is created.
    #[error("{name} is fixed when a log is created: here it is {now}; create another log to have it otherwise")]
    Fixed {
        /// The config.
        name: &'static str,
        /// Its value.
        now: String,
    },
    /// A broker config that is read at start only.
    #[error("{name} is read at start only: set it in the [broker] table of pyralog.toml or with --set, and restart")]
    ReadOnly {
        /// The config.
        name: &'static str,
    },
    /// A config of one broker, set for all.
    #[error("{name} is a config of one broker: name the broker instead of the whole cluster")]
    PerBroker {
        /// The config.
        name: &'static str,
    },
}

/// The code on the wire for a refused config.
pub fn config_code(error: &ConfigError) -> ErrorCode {
    match error {
        ConfigError::Unknown { .. }
        | ConfigError::Null { .. }
        | ConfigError::Value { .. }
        | ConfigError::Conflict { .. }
        | ConfigError::Unsupported { .. }
        | ConfigError::Fixed { .. } => ErrorCode::InvalidConfig,
        ConfigError::ReadOnly { .. } | ConfigError::PerBroker { .. } => ErrorCode::InvalidRequest,
    }
}

/// Checks one value and writes it canonically.
pub fn validate(scope: Scope, name: &str, value: Option<&str>) -> Result<String, ConfigError> {
    let config = find(scope, name)?;
    let value = value.ok_or_else(|| ConfigError::Null { name: config.name.to_owned() })?;
    canonical(config, value)
}

/// The config of that name, or the error that suggests another.
pub fn find(scope: Scope, name: &str) -> Result<&'static Config, ConfigError> {
    lookup(scope, name).ok_or_else(|| ConfigError::Unknown { scope, name: shown(name), nearest: nearest(scope, name) })
}

/// Whether a broker config may change while the broker runs, for one broker or for all.
pub fn check_dynamic(config: &Config, cluster_wide: bool) -> Result<(), ConfigError> {
    match config.update {
        // Kafka would listen anew.
        Update::PerBroker if config.name == "listeners" => Err(ConfigError::ReadOnly { name: config.name }),
        Update::Restart => Err(ConfigError::ReadOnly { name: config.name }),
        Update::PerBroker if cluster_wide => Err(ConfigError::PerBroker { name: config.name }),
        Update::PerBroker | Update::ClusterWide => Ok(()),
    }
}

/// Checks a value against type and bounds and writes it canonically: numbers without spaces, booleans in lower case,
/// lists without spaces, duplicates and empty items. The latter are taken of throttled replicas only, as in Kafka.
pub fn canonical(config: &Config, value: &str) -> Result<String, ConfigError> {
    let refuse = |allowed: String| ConfigError::Value { name: config.name, found: shown(value), allowed };
    if value.len() > VALUE_MAX {
        return Err(refuse(format!("at most {VALUE_MAX} bytes, found {}", value.len())));
    }
    let text = typed(config.kind, value).map_err(|what| refuse(what.to_owned()))?;
    check(config, &text).map_err(refuse)?;
    if config.kind == Type::List && config.check != Check::ThrottledReplicas && has_gap(value) {
        return Err(refuse("a list whose items are not empty".to_owned()));
    }
    Ok(text)
}

fn typed(kind: Type, value: &str) -> Result<String, &'static str> {
    let value = trimmed(value);
    let whole = |bits: i64, what| match value.parse::<i64>() {
        Ok(n) if n >= -bits - 1 && n <= bits => Ok(n.to_string()),
        Ok(_) | Err(_) => Err(what),
    };
    match kind {
        Type::Boolean if value.eq_ignore_ascii_case("true") => Ok("true".to_owned()),
        Type::Boolean if value.eq_ignore_ascii_case("false") => Ok("false".to_owned()),
        Type::Boolean => Err("true or false"),
        Type::Short => whole(i64::from(i16::MAX), "a whole number of 16 bits"),
        Type::Int => whole(i64::from(i32::MAX), "a whole number of 32 bits"),
        Type::Long => whole(i64::MAX, "a whole number of 64 bits"),
        Type::Double => match value.parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(java_double(n)),
            Ok(_) | Err(_) => Err("a finite decimal number"),
        },
        Type::List => Ok(items(value).join(",")),
        Type::String | Type::Class | Type::Password => Ok(value.to_owned()),
    }
}

/// Without what Java takes for white space: other characters of that kind are part of a value.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Whether a list that is not empty has an empty item.
fn has_gap(list: &str) -> bool {
    !trimmed(list).is_empty() && list.split(',').any(|item| trimmed(item).is_empty())
}

/// Items of a list: trimmed, each once, in order.
pub fn items(list: &str) -> Vec<&str> {
    let mut there = BTreeSet::new();
    list.split(',').map(trimmed).filter(|item| !item.is_empty() && there.insert(*item)).collect()
}

fn check(config: &Config, text: &str) -> Result<(), String> {
    let need = |holds: bool, allowed: &dyn Fn() -> String| if holds { Ok(()) } else { Err(allowed()) };
    match config.check {
        Check::Any => Ok(()),
        Check::Whole { min, max, also } => {
            let holds = text.parse().is_ok_and(|n: i64| (min..=max).contains(&n) || also == Some(n));
            need(holds, &|| bounds(min, max, also))
        }
        Check::NotZero => need(text != "0", &|| "at least 1, or negative for no limit".to_owned()),
        Check::Decimal { min, max } => {
            need(text.parse().is_ok_and(|n: f64| n >= min && n <= max), &|| format!("{min} to {max}"))
        }
        Check::OneOf(values) if config.kind == Type::List => {
            let holds = items(text).iter().all(|item| values.contains(item));
            need(holds, &|| format!("a list of {}", values.join(", ")))
        }
        Check::OneOf(values) => need(values.contains(&text), &|| format!("one of {}", values.join(", "))),
        Check::OneOfAnyCase(values) => {
            need(values.iter().any(|v| v.eq_ignore_ascii_case(text)), &|| format!("one of {}", values.join(", ")))
        }
        Check::NonEmpty => need(!text.is_empty() || config.default == Some(""), &|| "must not be empty".to_owned()),
        Check::NoClasses => need(text.is_empty() || config.default == Some(text), &|| {
            "only the default, Pyralog loads no Java classes".to_owned()
        }),
        Check::ThrottledReplicas => need(throttled_replicas(text), &|| "partition:broker pairs or *".to_owned()),
        Check::OffsetReset => {
            need(offset_reset(text), &|| "latest, earliest or by_duration:<ISO-8601 duration, not negative>".to_owned())
        }
        Check::ClientMatch => need(client_match(text), &|| format!("name=pattern pairs of {}", SELECTORS.join(", "))),
    }
}

fn bounds(min: i64, max: i64, also: Option<i64>) -> String {
    let range = if max == i64::MAX { format!("at least {min}") } else { format!("{min} to {max}") };
    also.map_or(range.clone(), |also| format!("{range}, or {also}"))
}

/// `*`, or pairs of a partition and a broker; Kafka's older spellings `none` and `` are empty.
fn throttled_replicas(text: &str) -> bool {
    let number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    text == "*" || items(text).iter().all(|pair| pair.split_once(':').is_some_and(|(p, b)| number(p) && number(b)))
}

fn offset_reset(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    matches!(text.as_str(), "latest" | "earliest") || text.strip_prefix("by_duration:").is_some_and(iso_duration)
}

/// `PnDTnHnMnS` with at least one part, in lower case here; seconds may have a fraction.
fn iso_duration(text: &str) -> bool {
    let Some(body) = text.strip_prefix('p') else { return false };
    let (days, time) = body.split_once('t').map_or((body, None), |(days, time)| (days, Some(time)));
    let parts = |mut rest: &str, units: &str, fraction: bool| -> Option<usize> {
        let mut units = units.chars();
        let mut count = 0;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || (fraction && c == '.')))?;
            let unit = rest.get(end..)?.chars().next()?;
            units.find(|u| *u == unit)?;
            rest.get(..end).filter(|n| n.parse::<f64>().is_ok())?;
            rest = rest.get(end + 1..)?;
            count += 1;
        }
        Some(count)
    };
    let in_days = parts(days, "d", false);
    let in_time = time.map_or(Some(0), |t| parts(t, "hms", true).filter(|n| *n > 0));
    matches!((in_days, in_time), (Some(d), Some(t)) if d + t > 0)
}

const SELECTORS: &[&str] = &[
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

fn client_match(text: &str) -> bool {
    let known =
        |pair: &str| pair.split_once('=').is_some_and(|(name, p)| SELECTORS.contains(&name.trim()) && !p.is_empty());
    items(text).into_iter().all(known)
}

/// A decimal number as Java prints it.
fn java_double(n: f64) -> String {
    if n == 0.0 || (1e-3..1e7).contains(&n.abs()) {
        return format!("{n:?}");
    }
    let text = format!("{n:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        Some(_) | None => text,
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// Pairs of which the first must not be above the second, by scope.
const ORDERED_TOPIC: &[(&str, &str)] = &[("min.compaction.lag.ms", "max.compaction.lag.ms")];
const ORDERED_BROKER: &[(&str, &str)] = &[
    ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
    ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
    ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"),
];

fn ordered(
    pairs: &[(&'static str, &'static str)],
    number: impl Fn(&str) -> Option<i64>,
) -> impl Iterator<Item = ConfigError> {
    pairs.iter().filter_map(move |(low, high)| {
        let (low_value, high_value) = (number(low)?, number(high)?);
        (low_value > high_value).then_some(ConfigError::Conflict { low, low_value, high, high_value })
    })
}

/// Broker configs in force that contradict each other.
pub(crate) fn conflicts_of_broker(configs: &BrokerConfigs) -> Vec<ConfigError> {
    let pairs = ordered(ORDERED_BROKER, |name| configs.get(name)?.parse().ok());
    let name = "group.coordinator.rebalance.protocols";
    let protocols = configs.get(name).filter(|value| !items(value).contains(&"classic"));
    let unclassic = protocols.map(|value| ConfigError::Unsupported {
        name,
        value: value.to_owned(),
        why: "classic groups cannot be switched off",
    });
    pairs.chain(unclassic).collect()
}

/// The first thing that is wrong with the overrides of a log as a whole, seen with the brokers' defaults.
pub fn check_topic(overrides: &Overrides, brokers: &BrokerConfigs) -> Result<(), ConfigError> {
    let number = |name: &str| value_in_force(lookup(Scope::Topic, name)?, overrides, brokers).0?.parse().ok();
    if let Some(conflict) = ordered(ORDERED_TOPIC, number).next() {
        return Err(conflict);
    }
    check_vlsn(overrides, brokers)?;
    match overrides.get("remote.storage.enable") {
        Some(value) if value == "true" => Err(ConfigError::Unsupported {
            name: "remote.storage.enable",
            value: value.clone(),
            why: "Pyralog has no tiered storage",
        }),
        Some(_) | None => Ok(()),
    }
}

/// Compaction keeps the newest record of a key; in a VLSN log each key is there once, and what it says stays.
pub(crate) fn check_vlsn(overrides: &Overrides, brokers: &BrokerConfigs) -> Result<(), ConfigError> {
    if !is_vlsn(overrides) {
        return Ok(());
    }
    let policy = lookup(Scope::Topic, "cleanup.policy").and_then(|c| value_in_force(c, overrides, brokers).0);
    match policy.filter(|policy| items(policy).contains(&"compact")) {
        Some(value) => Err(ConfigError::Unsupported {
            name: "cleanup.policy",
            value,
            why: "the log has vlsn.enable=true, and what is addressed by VLSN is not compacted",
        }),
        None => Ok(()),
    }
}

/// Whether a log with these overrides is addressed by VLSN.
pub fn is_vlsn(overrides: &Overrides) -> bool {
    overrides.get(VLSN).is_some_and(|value| value == "true")
}

/// Whether the log stays what it was created as.
pub(crate) fn check_fixed(before: &Overrides, after: &Overrides) -> Result<(), ConfigError> {
    match is_vlsn(before) == is_vlsn(after) {
        true => Ok(()),
        false => Err(ConfigError::Fixed { name: VLSN, now: is_vlsn(before).to_string() }),
    }
}

const VLSN: &str = "vlsn.enable";

/// Longest name of a broker config that is in no catalogue, in bytes.
pub const OPAQUE_NAME_MAX: usize = 255;

/// The first thing that is wrong with the configs of a group: brokers bound them, `group.<kind>.min.<rest>` from below
/// and `group.<kind>.max.<rest>` from above (behaviours K10).
pub fn check_group(overrides: &Overrides, brokers: &BrokerConfigs) -> Result<(), ConfigError> {
    for (name, value) in overrides {
        let (Some(config), Ok(value)) = (lookup(Scope::Group, name), value.parse::<i64>()) else { continue };
        let Some((kind, rest)) = config.name.split_once('.') else { continue };
        let rest = rest.strip_prefix("num.").unwrap_or(rest);
        let bound = |side: &str| {
            let bound = lookup(Scope::Broker, &format!("group.{kind}.{side}.{rest}"))?;
            Some((bound.name, brokers.value(bound).0?.parse::<i64>().ok()?))
        };
        if let Some((low, low_value)) = bound("min").filter(|(_, bound)| value < *bound) {
            return Err(ConfigError::Conflict { low, low_value, high: config.name, high_value: value });
        }
        if let Some((high, high_value)) = bound("max").filter(|(_, bound)| value > *bound) {
            return Err(ConfigError::Conflict { low: config.name, low_value: value, high, high_value });
        }
    }
    let number = |name: &str| value_in_force(lookup(Scope::Group, name)?, overrides, brokers).0?.parse().ok();
    ordered(ORDERED_GROUP, number).next().map_or(Ok(()), Err)
}

const ORDERED_GROUP: &[(&str, &str)] = &[
    ("consumer.heartbeat.interval.ms", "consumer.session.timeout.ms"),
    ("share.heartbeat.interval.ms", "share.session.timeout.ms"),
    ("streams.heartbeat.interval.ms", "streams.session.timeout.ms"),
];
