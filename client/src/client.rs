//! The handle that everything begins with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pyralog_protocol::{LogId, LogOffset};
use tokio::time::Instant;

use crate::config::ClientConfig;
use crate::error::{ConnectError, ConsumeError, ProduceError};
use crate::log::IntoLogId;
use crate::net::cluster::Cluster;
use crate::net::writer::{Delivery, Mode, Writer};
use crate::record::{Appended, Record};

/// A client of a cluster. Clones share connections, metadata and the buffer of what is being written. The tokio runtime in which
/// it connects sends what is written: once that has ended, writing fails with [`ProduceError::ClientClosed`].
///
/// ```no_run
/// use pyralog_client::{LogOffset, PyralogClient, Record};
///
/// #[tokio::main]
/// async fn main() -> pyralog_client::Result<()> {
///     let client = PyralogClient::connect("localhost:9092").await?;
///     client.create_log("greetings").await?;
///     client.produce("greetings", Record::new(Some(b"en".to_vec()), b"hello".to_vec())).await?;
///     for record in client.consume("greetings", LogOffset::ZERO, 10).await? {
///         println!("{}: {:?}", record.offset, record.value);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct PyralogClient {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) cluster: Arc<Cluster>,
    writer: Arc<Writer>,
    /// Where the partitions of logs whose stats were asked for ended.
    pub(crate) samples: Mutex<BTreeMap<LogId, Sample>>,
}

/// Where the partitions of a log ended at a moment.
pub(crate) type Sample = (Instant, BTreeMap<u32, LogOffset>);

impl Drop for Inner {
    fn drop(&mut self) {
        self.writer.close();
    }
}

impl std::fmt::Debug for PyralogClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PyralogClient").field("bootstrap", &self.inner.cluster.config.bootstrap).finish_non_exhaustive()
    }
}

impl ClientConfig {
    /// Connects with these settings.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pyralog_client::ConnectError> {
    /// let client = pyralog_client::ClientConfig::new("localhost:9092").connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(self) -> Result<PyralogClient, ConnectError> {
        let cluster = Cluster::connect(self).await?;
        let writer = Writer::start(cluster.clone(), Mode { creates: true, ..Mode::default() });
        Ok(PyralogClient { inner: Arc::new(Inner { cluster, writer, samples: Mutex::default() }) })
    }
}

impl PyralogClient {
    /// Connects to one of these brokers (`host:port`, separated by commas), with default settings.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pyralog_client::ConnectError> {
    /// use pyralog_client::PyralogClient;
    ///
    /// let client = PyralogClient::connect("localhost:9092").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(bootstrap: &str) -> Result<Self, ConnectError> {
        ClientConfig::new(bootstrap).connect().await
    }

    pub(crate) fn cluster(&self) -> &Arc<Cluster> {
        &self.inner.cluster
    }

    /// Writes a record, and returns when it counts as written. Records with a key go to the partition of Kafka's murmur2 of
    /// it, where Java puts them too; records without one fill one partition after the other.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::Record;
    ///
    /// // Both records of the visitor go to the same partition, in this order.
    /// client.produce("visits", Record::new(Some(b"visitor-9".to_vec()), b"came".to_vec())).await?;
    /// client.produce("visits", Record::new(Some(b"visitor-9".to_vec()), b"left".to_vec())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn produce(&self, log: impl IntoLogId, record: Record) -> Result<Appended, ProduceError> {
        self.enqueue(log, record).await?.await
    }

    /// [`Self::produce`] for those who have a [`LogId`].
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::{LogId, Record};
    ///
    /// let log = LogId::new("visits")?;
    /// client.produce_to_log(log, Record::new(None, b"somebody came".to_vec())).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn produce_to_log(&self, log: LogId, record: Record) -> Result<Appended, ProduceError> {
        self.produce(log, record).await
    }

    /// Writes a record to a partition of the caller's choice.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::Record;
    ///
    /// let appended = client.produce_to_partition("visits", 3, Record::new(None, b"came".to_vec())).await?;
    /// assert_eq!(appended.partition, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn produce_to_partition(
        &self,
        log: impl IntoLogId,
        partition: u32,
        record: Record,
    ) -> Result<Appended, ProduceError> {
        self.inner.writer.enqueue(log.into_log_id()?, Some(partition), &record).await?.await
    }

    /// Writes many records and returns when all count as written: where each was appended, in the order of the records.
    /// They share requests, so this is much faster than one after the other. On an error some may have been written.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::Record;
    ///
    /// let numbers = (0..1000).map(|n| Record::new(None, format!("number {n}").into_bytes()));
    /// let appended = client.produce_batch("numbers", numbers).await?;
    /// assert_eq!(appended.len(), 1000);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn produce_batch(
        &self,
        log: impl IntoLogId,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Vec<Appended>, ProduceError> {
        let log = log.into_log_id()?;
        let mut deliveries = Vec::new();
        for record in records {
            deliveries.push(self.inner.writer.enqueue(log.clone(), None, &record).await?);
        }
        let mut appended = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            appended.push(delivery.await?);
        }
        Ok(appended)
    }

    /// Hands a record over and returns as soon as there is room for it; the acknowledgement is awaited apart. Records that
    /// are handed over one after the other are written in that order.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::Record;
    ///
    /// let delivery = client.enqueue("visits", Record::new(None, b"came".to_vec())).await?;
    /// println!("on its way");
    /// println!("at {}", delivery.await?.offset);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue(&self, log: impl IntoLogId, record: Record) -> Result<Delivery, ProduceError> {
        self.inner.writer.enqueue(log.into_log_id()?, None, &record).await
    }

    /// [`Self::enqueue`] into a partition of the caller's choice.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::Record;
    ///
    /// let delivery = client.enqueue_to_partition("visits", 3, Record::new(None, b"came".to_vec())).await?;
    /// assert_eq!(delivery.await?.partition, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue_to_partition(
        &self,
        log: impl IntoLogId,
        partition: u32,
        record: Record,
    ) -> Result<Delivery, ProduceError> {
        self.inner.writer.enqueue(log.into_log_id()?, Some(partition), &record).await
    }

    /// Waits until every record that was handed over before has been acknowledged or has failed.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) {
    /// client.flush().await;
    /// # }
    /// ```
    pub async fn flush(&self) {
        self.inner.writer.flush().await;
    }

    /// Takes no more records, and waits for those that were taken. All clones are closed for writing with it.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) {
    /// client.close().await;
    /// # }
    /// ```
    pub async fn close(&self) {
        self.inner.writer.close();
        self.inner.writer.flush().await;
    }

    /// Reads what is there now, from this offset on in every partition, at most `max` records: those with the lowest offsets,
    /// by offset and then partition. [`LogOffset::ZERO`] begins with the first record that is still there, [`LogOffset::MAX`]
    /// waits a moment for new ones. It fails if one partition cannot be read, so that nothing is left out unnoticed; a
    /// [reader](Self::reader) goes on with the others.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::LogOffset;
    ///
    /// for record in client.consume("visits", LogOffset::ZERO, 1000).await? {
    ///     println!("{}/{}: {:?}", record.partition, record.offset, record.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn consume(
        &self,
        log: impl IntoLogId,
        offset: LogOffset,
        max: usize,
    ) -> Result<Vec<Record>, ConsumeError> {
        self.reader(log).start(offset).open_whole().await?.read_now(max).await
    }

    /// [`Self::consume`] of one partition.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::LogOffset;
    ///
    /// let records = client.consume_from_partition("visits", 5, LogOffset::new(100), 50).await?;
    /// assert!(records.iter().all(|record| record.partition == 5 && record.offset.0 >= 100));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn consume_from_partition(
        &self,
        log: impl IntoLogId,
        partition: u32,
        offset: LogOffset,
        max: usize,
    ) -> Result<Vec<Record>, ConsumeError> {
        self.reader(log).partitions([partition]).start(offset).open_whole().await?.read_now(max).await
    }

    /// How long a log may take to serve after it was created.
    pub(crate) const NEW_LOG_PATIENCE: Duration = Duration::from_secs(10);
}
