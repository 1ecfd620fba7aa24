//! One config: its name, type, default, bounds, where it may be set, and what it is good for. The tables are data;
//! this file is what they are made of, and how they are looked up. Holds: every table is sorted by name.

use super::broker_table::BROKER;
use super::topic_table::{CLIENT_METRICS, GROUP, TOPIC};

/// What a config belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// A log (Kafka: topic).
    Topic,
    /// A broker, or all brokers.
    Broker,
    /// A group.
    Group,
    /// A subscription to client metrics.
    ClientMetrics,
}

impl Scope {
    /// Its configs, sorted by name.
    pub fn configs(self) -> &'static [Config] {
        match self {
            Self::Topic => TOPIC,
            Self::Broker => BROKER,
            Self::Group => GROUP,
            Self::ClientMetrics => CLIENT_METRICS,
        }
    }

    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
            Self::ClientMetrics => "client-metrics",
        }
    }
}

/// Type of a config's value; the numbers are those of DescribeConfigs v3+.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Type {
    /// `true` or `false`, in any case.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// 32 bits.
    Int = 3,
    /// 16 bits.
    Short = 4,
    /// 64 bits.
    Long = 5,
    /// A decimal number.
    Double = 6,
    /// Texts separated by commas.
    List = 7,
    /// Name of a Java class: shown, never loaded.
    Class = 8,
    /// A secret: never shown.
    Password = 9,
}

/// What a value must satisfy besides its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Check {
    /// Nothing.
    Any,
    /// min ≤ value ≤ max, or `also`.
    Whole {
        /// Lowest.
        min: i64,
        /// Highest.
        max: i64,
        /// One value outside of the range.
        also: Option<i64>,
    },
    /// min ≤ value ≤ max.
    Decimal {
        /// Lowest.
        min: f64,
        /// Highest.
        max: f64,
    },
    /// One of these; a list may hold only these.
    OneOf(&'static [&'static str]),
    /// One of these, in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// Not empty where it is set by somebody.
    NonEmpty,
    /// Java classes: nothing but the default, for Pyralog loads no code (SE-08).
    NoClasses,
    /// A whole number but 0.
    NotZero,
    /// `partition:broker` pairs, or `*`.
    ThrottledReplicas,
    /// `latest`, `earliest` or `by_duration:` with an ISO-8601 duration.
    OffsetReset,
    /// `name=pattern` pairs of the selectors that clients know.
    ClientMatch,
}

/// How a broker config changes while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Not at all: it is set in the file or by flag, and read at start.
    Restart,
    /// For one broker or for all.
    ClusterWide,
    /// For one broker only.
    PerBroker,
}

/// Why a config is accepted and shown and yet changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unused {
    /// Kafka needs it for its own threads, purgatories, quorum or internal topics.
    OtherDesign,
    /// Java classes are not loaded.
    Classes,
    /// TLS and SASL.
    Security,
    /// Several replicas.
    Replication,
    /// Transactions.
    Transactions,
    /// Quotas.
    Quotas,
    /// Share groups.
    ShareGroups,
    /// Streams groups.
    StreamsGroups,
    /// Tiered storage.
    Tiering,
    /// Metrics pushed by clients.
    Telemetry,
    /// The compressor has one level.
    OneLevel,
}

impl Unused {
    /// The reason, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OtherDesign => "Accepted and shown; Pyralog is built differently here and does not need it.",
            Self::Classes => "Shown; Pyralog loads no Java classes.",
            Self::Security => "Accepted and shown; not used before TLS and SASL are there.",
            Self::Replication => "Accepted and shown; not used before logs have several replicas.",
            Self::Transactions => "Accepted and shown; not used before transactions are there.",
            Self::Quotas => "Accepted and shown; not used before quotas are there.",
            Self::ShareGroups => "Accepted and shown; not used before share groups are there.",
            Self::StreamsGroups => "Accepted and shown; not used before streams groups are there.",
            Self::Tiering => "Accepted and shown; Pyralog has no tiered storage.",
            Self::Telemetry => "Accepted and shown; Pyralog does not collect metrics of clients.",
            Self::OneLevel => "Accepted and shown; Pyralog's LZ4 has one level, the quickest.",
        }
    }
}

/// One config.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Kafka's name.
    pub name: &'static str,
    /// Type of the value.
    pub kind: Type,
    /// Value where nobody sets one, in canonical text; `None` is null.
    pub default: Option<&'static str>,
    /// What a value must satisfy.
    pub check: Check,
    /// How it changes while the broker runs; only broker configs differ.
    pub update: Update,
    /// Broker configs that supply the default: the first one that is set wins.
    pub synonyms: &'static [&'static str],
    /// Whether DescribeConfigs lists it; of brokers it lists whatever is set.
    pub described: bool,
    /// Why it changes nothing, where that is so.
    pub unused: Option<Unused>,
    doc: Option<&'static str>,
}

impl Config {
    /// One line for people.
    pub fn documentation(&self) -> &'static str {
        match (self.doc, self.unused) {
            (Some(doc), _) => doc,
            (None, Some(unused)) => unused.reason(),
            (None, None) => "",
        }
    }

    /// Whether its value is a secret.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Type::Password
    }

    const fn new(kind: Type, name: &'static str, default: Option<&'static str>) -> Self {
        let check = if matches!(kind, Type::Class) { Check::NoClasses } else { Check::Any };
        let update = Update::Restart;
        Self { name, kind, default, check, update, synonyms: &[], described: true, unused: None, doc: None }
    }

    pub(super) const fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    pub(super) const fn min(self, min: i64) -> Self {
        self.range(min, i64::MAX)
    }

    pub(super) const fn range(self, min: i64, max: i64) -> Self {
        self.check(Check::Whole { min, max, also: None })
    }

    pub(super) const fn range_or(self, min: i64, max: i64, also: i64) -> Self {
        self.check(Check::Whole { min, max, also: Some(also) })
    }

    pub(super) const fn not_zero(self) -> Self {
        self.check(Check::NotZero)
    }

    pub(super) const fn between(self, min: f64, max: f64) -> Self {
        self.check(Check::Decimal { min, max })
    }

    pub(super) const fn values(self, values: &'static [&'static str]) -> Self {
        self.check(Check::OneOf(values))
    }

    pub(super) const fn values_any_case(self, values: &'static [&'static str]) -> Self {
        self.check(Check::OneOfAnyCase(values))
    }

    pub(super) const fn non_empty(self) -> Self {
        self.check(Check::NonEmpty)
    }

    pub(super) const fn classes(self) -> Self {
        self.check(Check::NoClasses)
    }

    pub(super) const fn synonyms(mut self, synonyms: &'static [&'static str]) -> Self {
        self.synonyms = synonyms;
        self
    }

    pub(super) const fn cluster_wide(mut self) -> Self {
        self.update = Update::ClusterWide;
        self
    }

    pub(super) const fn per_broker(mut self) -> Self {
        self.update = Update::PerBroker;
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.described = false;
        self
    }

    pub(super) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = Some(doc);
        self
    }

    pub(super) const fn unused(mut self, why: Unused) -> Self {
        self.unused = Some(why);
        self
    }
}

macro_rules! rows {
    ($($function:ident $kind:ident),*) => {
        $(pub(super) const fn $function(name: &'static str, default: Option<&'static str>) -> Config {
            Config::new(Type::$kind, name, default)
        })*
    };
}
rows!(boolean Boolean, string String, int Int, short Short, long Long, double Double, list List, class Class, password Password);

/// The config of that name.
pub fn lookup(scope: Scope, name: &str) -> Option<&'static Config> {
    let configs = scope.configs();
    configs.binary_search_by(|c| c.name.cmp(name)).ok().map(|i| &configs[i])
}

/// The known name that is closest to a wrong one, where one is close: at most a third of its characters differ.
pub fn nearest(scope: Scope, name: &str) -> Option<&'static str> {
    // A name longer than any real one is no slip of the pen, and comparing it costs its length.
    let name = name.get(..name.len().min(NAME_MAX)).filter(|n| n.len() == name.len())?;
    let (distance, best) = scope.configs().iter().map(|c| (edit_distance(name, c.name), c.name)).min()?;
    (distance <= best.len().max(name.len()) / 3).then_some(best)
}

/// Longest name for which a suggestion is looked for, in bytes; real names have up to 80.
const NAME_MAX: usize = 120;

/// Configs that are accepted and shown and change nothing yet, with the reason.
pub fn unused(scope: Scope) -> impl Iterator<Item = (&'static Config, Unused)> {
    scope.configs().iter().filter_map(|c| c.unused.map(|why| (c, why)))
}

/// Insertions, deletions and substitutions from one text to the other (Levenshtein), by bytes.
pub(super) fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let next = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = std::mem::replace(cell, next);
            left = next;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(0)
}
