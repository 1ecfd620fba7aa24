//! Settings of the client, with defaults that suit most, and as TOML.

use std::collections::BTreeMap;
use std::time::Duration;

use pyralog_protocol::batch::{Codec, Compression};
use serde::Deserialize;

use crate::error::ConnectError;
use crate::pure::view::Endpoint;

/// Settings of a client.
///
/// ```no_run
/// # async fn example() -> pyralog_client::Result<()> {
/// use pyralog_client::{ClientConfig, Codec, ProducerConfig};
///
/// let config = ClientConfig {
///     client_id: "billing".into(),
///     producer: ProducerConfig { codec: Codec::Zstd, ..Default::default() },
///     ..ClientConfig::new("broker-1:9092,broker-2:9092")
/// };
/// let client = config.connect().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// Brokers to begin with, `host:port`, separated by commas. One is enough, as long as it is there.
    pub bootstrap: String,
    /// What brokers call this client in their logs.
    pub client_id: String,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a broker may take for one answer.
    pub request_timeout: Duration,
    /// How long an operation may take with all its repetitions.
    pub call_timeout: Duration,
    /// Before the first repetition; doubled each time.
    pub retry_backoff: Duration,
    /// The longest wait between repetitions.
    pub retry_backoff_max: Duration,
    /// How old metadata may grow.
    pub metadata_max_age: Duration,
    /// The largest answer that is read; a broker that announces more is not listened to.
    pub answer_bytes_max: usize,
    /// Whether writing to a log that does not exist creates it, where the broker allows that. A
    /// `VlsnClient` creates none, as it would be one without VLSNs.
    pub auto_create_logs: bool,
    /// Of what is written.
    pub producer: ProducerConfig,
    /// Of what is read.
    pub reader: ReaderConfig,
}

/// Settings of writing.
///
/// ```
/// use pyralog_client::{Acks, ProducerConfig};
///
/// let config = ProducerConfig::default();
/// assert!(config.idempotent);
/// assert_eq!(config.acks, Acks::All);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ProducerConfig {
    /// When a record counts as written.
    pub acks: Acks,
    /// Whether brokers recognise repetitions, so that each record is written once. Needs [`Acks::All`].
    pub idempotent: bool,
    /// Compression of batches.
    pub codec: Codec,
    /// Its level; `None` is the codec's usual one.
    pub compression_level: Option<i32>,
    /// How long a batch waits for more records while an earlier batch of its partition is unanswered. When nothing is
    /// unanswered, nothing waits.
    pub linger: Duration,
    /// The size at which a batch goes without waiting, before compression.
    pub batch_bytes: usize,
    /// The largest request, and so the largest record. Brokers have a limit of their own (`max.message.bytes`).
    pub request_bytes: usize,
    /// Records that wait, of all logs together; above it, writing waits as well.
    pub buffer_bytes: usize,
    /// How long writing waits for room in the buffer.
    pub buffer_timeout: Duration,
    /// Unanswered requests per broker.
    pub in_flight: usize,
    /// How long it is tried to write a record. A record that is on its way at that moment is awaited, so the outcome may take
    /// [`ClientConfig::request_timeout`] longer.
    pub delivery_timeout: Duration,
}

/// When a record counts as written.
///
/// ```
/// use pyralog_client::{Acks, ProducerConfig};
///
/// // Measurements of which some may be lost:
/// let lossy = ProducerConfig { acks: Acks::None, idempotent: false, ..Default::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// When it was handed to the network. Nobody says whether it arrived.
    None,
    /// When the leader has it.
    Leader,
    /// When all in-sync replicas have it.
    All,
}

/// Settings of reading.
///
/// ```
/// use pyralog_client::ReaderConfig;
///
/// // A reader on a small machine:
/// let config = ReaderConfig { max_bytes: 1 << 20, ..Default::default() };
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ReaderConfig {
    /// How long a broker waits for new records before it answers with none.
    pub max_wait: Duration,
    /// How many bytes a broker waits for, within that time.
    pub min_bytes: usize,
    /// The most bytes of one answer, beyond which only a single batch may go.
    pub max_bytes: usize,
    /// The most bytes of one partition in an answer.
    pub partition_bytes: usize,
    /// Whether the checksum of each batch is verified.
    pub verify_crc: bool,
    /// The most bytes that a compressed batch may inflate to, but 20 times its size always. What the batches of an answer would
    /// take beyond that together is fetched again when it comes up.
    pub inflated_bytes: usize,
}

impl ClientConfig {
    /// Defaults, with these brokers to begin with.
    ///
    /// ```
    /// let config = pyralog_client::ClientConfig::new("localhost:9092");
    /// assert_eq!(config.request_timeout.as_secs(), 30);
    /// ```
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self { bootstrap: bootstrap.into(), ..Self::default() }
    }

    /// The addresses in [`Self::bootstrap`].
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, ConnectError> {
        let words = self.bootstrap.split(',').map(str::trim).filter(|word| !word.is_empty());
        let endpoints: Vec<Endpoint> = words.map(endpoint).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(ConnectError::Address { found: self.bootstrap.clone() });
        }
        Ok(endpoints)
    }

    /// Refuses values that cannot work, with the name of the setting.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        let refuse = |name, found: String, reason| Err(ConnectError::Setting { name, found, reason });
        let producer = &self.producer;
        if producer.idempotent && producer.acks != Acks::All {
            return refuse("acks", format!("{:?}", producer.acks), "idempotent producers need Acks::All");
        }
        // What a batch inflates to is bounded by 16 MiB at brokers.
        if producer.batch_bytes > 16 << 20 {
            return refuse("batch_bytes", producer.batch_bytes.to_string(), "at most 16777216");
        }
        let requests = [("request_bytes", producer.request_bytes), ("answer_bytes_max", self.answer_bytes_max)];
        for (name, value) in requests {
            if !(1024..=1 << 30).contains(&value) {
                return refuse(name, value.to_string(), "1024 to 1073741824");
            }
        }
        if producer.buffer_bytes < producer.request_bytes || producer.buffer_bytes > 1 << 40 {
            return refuse("buffer_bytes", producer.buffer_bytes.to_string(), "at least request_bytes, at most 2^40");
        }
        let counts = [("in_flight", producer.in_flight), ("partition_bytes", self.reader.partition_bytes)];
        for (name, value) in counts {
            if value == 0 {
                return refuse(name, value.to_string(), "at least 1");
            }
        }
        if self.reader.max_bytes > self.answer_bytes_max / 2 {
            return refuse("max_bytes", self.reader.max_bytes.to_string(), "at most half of answer_bytes_max");
        }
        Ok(())
    }

    /// Settings from TOML: the tables `[client]`, `[producer]` and `[reader]`, each with the fields of the structures here;
    /// times are in milliseconds and end in `_ms`. What is not named has its default; what is not known is an error.
    ///
    /// ```
    /// use pyralog_client::{ClientConfig, Codec};
    ///
    /// let config = ClientConfig::from_toml(r#"
    ///     [client]
    ///     bootstrap = "broker-1:9092"
    ///     request_timeout_ms = 5000
    ///
    ///     [producer]
    ///     codec = "lz4"
    ///     linger_ms = 20
    /// "#)?;
    /// assert_eq!(config.request_timeout.as_millis(), 5000);
    /// assert_eq!(config.producer.codec, Codec::Lz4);
    /// # Ok::<(), pyralog_client::SettingsError>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        let file: File = toml::from_str(text).map_err(SettingsError::syntax)?;
        file.into_config()
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            bootstrap: "localhost:9092".to_owned(),
            client_id: "pyralog-client".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            call_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            metadata_max_age: Duration::from_secs(300),
            answer_bytes_max: 128 << 20,
            auto_create_logs: false,
            producer: ProducerConfig::default(),
            reader: ReaderConfig::default(),
        }
    }
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            codec: Codec::None,
            compression_level: None,
            linger: Duration::from_millis(5),
            batch_bytes: 64 << 10,
            request_bytes: 1 << 20,
            buffer_bytes: 32 << 20,
            buffer_timeout: Duration::from_secs(60),
            in_flight: 5,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

impl ProducerConfig {
    pub(crate) fn compression(&self) -> Compression {
        let usual = Compression::of(self.codec);
        Compression { level: self.compression_level.unwrap_or(usual.level), ..usual }
    }
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 16 << 20,
            partition_bytes: 1 << 20,
            verify_crc: true,
            inflated_bytes: 256 << 20,
        }
    }
}

/// What is wrong with settings in TOML.
///
/// ```
/// use pyralog_client::ClientConfig;
///
/// let error = ClientConfig::from_toml("[producer]\ncodec = \"brotli\"").unwrap_err();
/// assert!(error.to_string().contains("none, gzip, snappy, lz4, zstd"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// It is not TOML, or has a table or name that is not known.
    #[error("{message}")]
    Syntax {
        /// What and where.
        message: String,
    },
    /// A word is not one of those that are known.
    #[error("{name} is {found:?}, not one of: {known}")]
    Word {
        /// Where it stands.
        name: &'static str,
        /// The word.
        found: String,
        /// The known ones.
        known: &'static str,
    },
    /// There is no table of this name.
    #[error("there is no [consumer.{name}]; there are: {known}")]
    NoConsumer {
        /// What was asked for.
        name: String,
        /// Those that are there.
        known: String,
    },
}

impl SettingsError {
    pub(crate) fn syntax(error: toml::de::Error) -> Self {
        Self::Syntax { message: error.to_string().trim_end().to_owned() }
    }
}

fn endpoint(word: &str) -> Result<Endpoint, ConnectError> {
    let wrong = || ConnectError::Address { found: word.to_owned() };
    let (host, port) = word.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains(['/', '[', ']', ' ']) {
        return Err(wrong());
    }
    Ok(Endpoint { host: host.to_owned(), port })
}

/// The tables that the client knows; `[consumer.<name>]` is read by [`crate::ConsumerConfig`].
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    client: ClientTable,
    #[serde(default)]
    producer: ProducerTable,
    #[serde(default)]
    reader: ReaderTable,
    #[serde(default)]
    #[allow(dead_code, reason = "belongs to the same file and is read elsewhere")]
    consumer: BTreeMap<String, toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientTable {
    bootstrap: Option<String>,
    client_id: Option<String>,
    connect_timeout_ms: Option<u64>,
    request_timeout_ms: Option<u64>,
    call_timeout_ms: Option<u64>,
    retry_backoff_ms: Option<u64>,
    retry_backoff_max_ms: Option<u64>,
    metadata_max_age_ms: Option<u64>,
    answer_bytes_max: Option<usize>,
    auto_create_logs: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProducerTable {
    acks: Option<String>,
    idempotent: Option<bool>,
    codec: Option<String>,
    compression_level: Option<i32>,
    linger_ms: Option<u64>,
    batch_bytes: Option<usize>,
    request_bytes: Option<usize>,
    buffer_bytes: Option<usize>,
    buffer_timeout_ms: Option<u64>,
    in_flight: Option<usize>,
    delivery_timeout_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReaderTable {
    max_wait_ms: Option<u64>,
    min_bytes: Option<usize>,
    max_bytes: Option<usize>,
    partition_bytes: Option<usize>,
    verify_crc: Option<bool>,
    inflated_bytes: Option<usize>,
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn set_ms(field: &mut Duration, value: Option<u64>) {
    set(field, value.map(Duration::from_millis));
}

impl File {
    fn into_config(self) -> Result<ClientConfig, SettingsError> {
        let mut config = ClientConfig::default();
        let client = self.client;
        set(&mut config.bootstrap, client.bootstrap);
        set(&mut config.client_id, client.client_id);
        set_ms(&mut config.connect_timeout, client.connect_timeout_ms);
        set_ms(&mut config.request_timeout, client.request_timeout_ms);
        set_ms(&mut config.call_timeout, client.call_timeout_ms);
        set_ms(&mut config.retry_backoff, client.retry_backoff_ms);
        set_ms(&mut config.retry_backoff_max, client.retry_backoff_max_ms);
        set_ms(&mut config.metadata_max_age, client.metadata_max_age_ms);
        set(&mut config.answer_bytes_max, client.answer_bytes_max);
        set(&mut config.auto_create_logs, client.auto_create_logs);
        self.producer.put(&mut config.producer)?;
        let reader = self.reader;
        set_ms(&mut config.reader.max_wait, reader.max_wait_ms);
        set(&mut config.reader.min_bytes, reader.min_bytes);
        set(&mut config.reader.max_bytes, reader.max_bytes);
        set(&mut config.reader.partition_bytes, reader.partition_bytes);
        set(&mut config.reader.verify_crc, reader.verify_crc);
        set(&mut config.reader.inflated_bytes, reader.inflated_bytes);
        Ok(config)
    }
}

impl ProducerTable {
    fn put(self, config: &mut ProducerConfig) -> Result<(), SettingsError> {
        set(&mut config.acks, self.acks.map(acks).transpose()?);
        set(&mut config.idempotent, self.idempotent);
        set(&mut config.codec, self.codec.map(codec).transpose()?);
        config.compression_level = self.compression_level;
        set_ms(&mut config.linger, self.linger_ms);
        set(&mut config.batch_bytes, self.batch_bytes);
        set(&mut config.request_bytes, self.request_bytes);
        set(&mut config.buffer_bytes, self.buffer_bytes);
        set_ms(&mut config.buffer_timeout, self.buffer_timeout_ms);
        set(&mut config.in_flight, self.in_flight);
        set_ms(&mut config.delivery_timeout, self.delivery_timeout_ms);
        Ok(())
    }
}

fn acks(found: String) -> Result<Acks, SettingsError> {
    match found.as_str() {
        "none" | "0" => Ok(Acks::None),
        "leader" | "1" => Ok(Acks::Leader),
        "all" | "-1" => Ok(Acks::All),
        _ => Err(SettingsError::Word { name: "acks", found, known: "none, leader, all" }),
    }
}

fn codec(found: String) -> Result<Codec, SettingsError> {
    match found.as_str() {
        "none" => Ok(Codec::None),
        "gzip" => Ok(Codec::Gzip),
        "snappy" => Ok(Codec::Snappy),
        "lz4" => Ok(Codec::Lz4),
        "zstd" => Ok(Codec::Zstd),
        _ => Err(SettingsError::Word { name: "codec", found, known: "none, gzip, snappy, lz4, zstd" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::too_many_lines, reason = "every setting twice")]
    fn every_setting_can_be_given_in_toml() {
        let config = ClientConfig::from_toml(
            r#"
            [client]
            bootstrap = "a:1, [::1]:2"
            client_id = "me"
            connect_timeout_ms = 1
            request_timeout_ms = 2
            call_timeout_ms = 3
            retry_backoff_ms = 4
            retry_backoff_max_ms = 5
            metadata_max_age_ms = 6
            answer_bytes_max = 7000
            auto_create_logs = true
            [producer]
            acks = "leader"
            idempotent = false
            codec = "zstd"
            compression_level = 9
            linger_ms = 10
            batch_bytes = 11
            request_bytes = 12000
            buffer_bytes = 13000
            buffer_timeout_ms = 14
            in_flight = 2
            delivery_timeout_ms = 16
            [reader]
            max_wait_ms = 17
            min_bytes = 18
            max_bytes = 1900
            partition_bytes = 20
            verify_crc = false
            inflated_bytes = 21
            [consumer.other]
            auto_commit = true
            "#,
        )
        .unwrap();
        let ms = Duration::from_millis;
        let expected = ClientConfig {
            bootstrap: "a:1, [::1]:2".into(),
            client_id: "me".into(),
            connect_timeout: ms(1),
            request_timeout: ms(2),
            call_timeout: ms(3),
            retry_backoff: ms(4),
            retry_backoff_max: ms(5),
            metadata_max_age: ms(6),
            answer_bytes_max: 7000,
            auto_create_logs: true,
            producer: ProducerConfig {
                acks: Acks::Leader,
                idempotent: false,
                codec: Codec::Zstd,
                compression_level: Some(9),
                linger: ms(10),
                batch_bytes: 11,
                request_bytes: 12_000,
                buffer_bytes: 13_000,
                buffer_timeout: ms(14),
                in_flight: 2,
                delivery_timeout: ms(16),
            },
            reader: ReaderConfig {
                max_wait: ms(17),
                min_bytes: 18,
                max_bytes: 1900,
                partition_bytes: 20,
                verify_crc: false,
                inflated_bytes: 21,
            },
        };
        assert_eq!(config, expected);
        assert_eq!(config.check(), Ok(()));
        let endpoints = config.endpoints().unwrap();
        assert_eq!(endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "[::1]:2"]);
        assert_eq!(ClientConfig::from_toml("").unwrap(), ClientConfig::default());
        assert_eq!(ClientConfig::default().check(), Ok(()));
    }

    #[test]
    fn unknown_names_and_words_are_refused_by_name() {
        for (text, named) in [
            ("[client]\nbootstrp = \"a:1\"", "bootstrp"),
            ("[prodcer]\n", "prodcer"),
            ("[producer]\nacks = \"some\"", "none, leader, all"),
            ("[producer]\nlinger_ms = \"soon\"", "linger_ms"),
            ("[reader", "reader"),
        ] {
            let error = ClientConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn addresses_need_host_and_port() {
        for wrong in ["", ",", "localhost", "localhost:", ":9092", "localhost:0", "a:99999", "http://a:1", "a b:1"] {
            assert!(matches!(ClientConfig::new(wrong).endpoints(), Err(ConnectError::Address { .. })), "{wrong}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let spoiled = |name: &str, spoil: fn(&mut ClientConfig)| {
            let mut config = ClientConfig::default();
            spoil(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        };
        spoiled("acks", |c| c.producer.acks = Acks::Leader);
        spoiled("batch_bytes", |c| c.producer.batch_bytes = 17 << 20);
        spoiled("request_bytes", |c| c.producer.request_bytes = 100);
        spoiled("answer_bytes_max", |c| c.answer_bytes_max = 2 << 30);
        spoiled("buffer_bytes", |c| c.producer.buffer_bytes = 1000);
        spoiled("in_flight", |c| c.producer.in_flight = 0);
        spoiled("partition_bytes", |c| c.reader.partition_bytes = 0);
        spoiled("max_bytes", |c| c.reader.max_bytes = 100 << 20);
    }
}
