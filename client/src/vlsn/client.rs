//! The handle of a VLSN log.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pyralog_protocol::messages as kp;
use pyralog_protocol::{ErrorCode, LogId, LogIdError, Vlsn};
use tokio::sync::oneshot;

use super::commits::ask;
use super::counter::Counter;
use super::desk::{Desk, Order, Outcome};
use super::error::VlsnError;
use super::reads::Reads;
use super::standing::{Known, VlsnStanding};
use crate::client::PyralogClient;
use crate::error::BrokerError;
use crate::log::IntoLogId;
use crate::net::cluster::str_bytes;
use crate::net::writer::{Mode, Writer};
use crate::record::Record;

/// Writes and reads a log by VLSN: a sequence number of the client's own, carried in the record's 8-byte key, which decides
/// on the partition and is unique in its log. Clones share everything.
///
/// This is the `VLSNClient` of the first documents, with some corrections. It belongs to one log, because VLSNs are those
/// of a log; the number of partitions is the log's own business, so that it may change; the counter goes on after the log's
/// last VLSN instead of at 0, so that nothing is needed to survive a crash; writes are pipelined and sent again as needed
/// without a VLSN ever being written twice; a read is one look into an index and tells four outcomes apart.
///
/// One writer at a time: two that hand out VLSNs each for itself take the same ones, and since a VLSN that is written already
/// counts as written, whoever comes second is not told. Where that may happen, be the only writer
/// ([`VlsnBuilder::exclusive`]), share a sequencer ([`VlsnBuilder::sequencer`]), or write on a condition
/// ([`VlsnClient::write_if`]). It happens too where a writer begins right behind one that was killed, whose last requests the
/// network still carries, or behind a handle that was dropped without [`VlsnClient::flush`], which still sends what it took.
///
/// A handle creates no log. If its log is deleted it fails; if the log is created again before that is noticed, it goes on there,
/// with the VLSNs that come next.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::{LogConfig, VlsnClient, VlsnRead};
///
/// let config = LogConfig { partition_count: 3, ..Default::default() }.with("vlsn.enable", "true");
/// client.create_log_with_config("ledger", config).await?;
///
/// let ledger = VlsnClient::open(client, "ledger").await?;
/// let vlsn = ledger.write("first entry").await?;
/// assert!(matches!(ledger.read(vlsn).await?, VlsnRead::Found(_)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct VlsnClient {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    desk: Arc<Desk>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.desk.close();
    }
}

/// The acknowledgement of a record that was taken, to be awaited: its VLSN, once it is written.
///
/// ```no_run
/// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
/// let tea = log.enqueue("tea").await?;
/// let milk = log.enqueue("milk").await?;
/// assert!(tea.vlsn() < milk.vlsn());
/// (tea.await?, milk.await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VlsnDelivery {
    vlsn: u64,
    state: Delivered,
}

#[derive(Debug)]
enum Delivered {
    Later(oneshot::Receiver<Outcome>),
    /// It was there already.
    Before,
}

impl VlsnDelivery {
    /// The VLSN of the record, which counts only once this was awaited.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// println!("VLSN {} is on its way", log.enqueue("tea").await?.vlsn());
    /// # Ok(())
    /// # }
    /// ```
    pub fn vlsn(&self) -> u64 {
        self.vlsn
    }
}

impl Future for VlsnDelivery {
    type Output = Result<u64, VlsnError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = || VlsnError::Produce(crate::error::ProduceError::ClientClosed);
        match &mut self.state {
            Delivered::Before => Poll::Ready(Ok(self.vlsn)),
            Delivered::Later(receiver) => {
                Pin::new(receiver).poll(context).map(|received| received.unwrap_or_else(|_| Err(closed())))
            }
        }
    }
}

/// How a VLSN log is opened.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
/// use pyralog_client::VlsnClient;
///
/// // Numbers that are shared with other programs, a hundred at a time.
/// let ledger = VlsnClient::builder(client, "ledger").sequencer("ledger-numbers", 100).open().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VlsnBuilder {
    client: PyralogClient,
    log: Result<LogId, LogIdError>,
    counter: Counter,
    exclusive: bool,
}

impl VlsnBuilder {
    /// Takes VLSNs from a sequencer, so many at a time: what a writer has taken when it ends is left out. Without this the
    /// next VLSN is the one after the log's last.
    ///
    /// ```no_run
    /// # fn example(client: pyralog_client::PyralogClient) {
    /// let builder = pyralog_client::VlsnClient::builder(client, "ledger").sequencer("ledger-numbers", 1);
    /// # }
    /// ```
    #[must_use]
    pub fn sequencer(mut self, name: impl Into<String>, block: u64) -> Self {
        self.counter = Counter::Sequencer { name: name.into(), block: block.max(1), left: 0..0 };
        self
    }

    /// Takes VLSNs from a counter on this machine's disk. It is needed where numbers must not be handed out twice even
    /// if the records that had them never arrived; for going on after a crash the log itself is enough. What the counter
    /// skips after a crash becomes gaps; a counter that is behind the log is brought up to it.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), Box<dyn std::error::Error>> {
    /// use pyralog_client::VlsnClient;
    ///
    /// let counter = obelisk::ObeliskSequencer::open("/var/lib/ledger/numbers")?;
    /// let ledger = VlsnClient::builder(client, "ledger").obelisk(counter).open().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "obelisk")]
    #[must_use]
    pub fn obelisk(mut self, counter: impl obelisk::PersistentAtomic + 'static) -> Self {
        self.counter = Counter::Obelisk(Arc::new(counter));
        self
    }

    /// Takes the log's writer epoch: from then on every other writer is refused ([`VlsnError::Fenced`]), also one that took
    /// the epoch before.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
    /// let ledger = pyralog_client::VlsnClient::builder(client, "ledger").exclusive().open().await?;
    /// println!("writer epoch {:?}", ledger.writer_epoch());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }

    /// Opens it.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
    /// let ledger = pyralog_client::VlsnClient::builder(client, "ledger").open().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(self) -> Result<VlsnClient, VlsnError> {
        let Self { client, log, counter, exclusive } = self;
        let reads = Reads::new(client, log?)?;
        // Before anything is looked at: what the writer before still has on its way comes before that.
        let taken = if exclusive { Some(writer_epoch(&reads, kp::writer::TAKE, ANY_EPOCH).await?) } else { None };
        let (view, standing) = reads.look(Known::default()).await?;
        let identity = taken.as_ref().map(|taken| (taken.producer_id, taken.producer_epoch));
        let writer = Writer::start(reads.client.cluster().clone(), Mode { strict: true, creates: false, identity });
        writer.learnt(&reads.log, &view);
        let next = standing.last.map_or(0, |last| last.saturating_add(1));
        let desk = Desk::new(reads, (writer, taken.map(|taken| taken.epoch)), Order { standing, next, counter });
        Ok(VlsnClient { handle: Arc::new(Handle { desk }) })
    }
}

/// Whatever the writer epoch is.
const ANY_EPOCH: i32 = -1;

/// Takes the writer epoch, or releases it, if it is the expected one.
pub(super) async fn writer_epoch(
    reads: &Reads,
    action: i8,
    expected_epoch: i32,
) -> Result<kp::WriterEpochResponse, VlsnError> {
    let log = str_bytes(reads.log.as_str());
    let request = kp::WriterEpochRequest { log, action, expected_epoch };
    let answer = ask(&reads.client, request, |answer: &kp::WriterEpochResponse| answer.error_code).await?;
    if answer.error_code != 0 {
        let (log, reason) = (&reads.log, BrokerError::new(answer.error_code, answer.error_message.as_deref()));
        let is_fenced = reason.code == ErrorCode::ProducerFenced.code();
        return Err(if is_fenced {
            VlsnError::Fenced { log: log.clone(), reason }
        } else {
            VlsnError::of_answer(log, reason)
        });
    }
    Ok(answer)
}

impl VlsnClient {
    /// Opens a log; its next VLSN is the one after its last.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
    /// let ledger = pyralog_client::VlsnClient::open(client, "ledger").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(client: PyralogClient, log: impl IntoLogId) -> Result<Self, VlsnError> {
        Self::builder(client, log).open().await
    }

    /// Opens a log in another way than the usual one.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
    /// use pyralog_client::VlsnClient;
    ///
    /// let ledger = VlsnClient::builder(client, "ledger").exclusive().open().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(client: PyralogClient, log: impl IntoLogId) -> VlsnBuilder {
        VlsnBuilder { client, log: log.into_log_id(), counter: Counter::Memory, exclusive: false }
    }

    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.handle.desk
    }

    pub(crate) fn reads(&self) -> &Reads {
        &self.desk().reads
    }

    /// The log.
    ///
    /// ```no_run
    /// # fn example(log: pyralog_client::VlsnClient) {
    /// println!("{}", log.log_id());
    /// # }
    /// ```
    pub fn log_id(&self) -> &LogId {
        self.desk().log()
    }

    /// Writes a record under the next VLSN, and returns that once it is written. Whatever key the record has is replaced.
    ///
    /// On an error nothing behind the record is written either, because that would make a gap of it:
    /// [`Self::resume`] goes on.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// use pyralog_client::Record;
    ///
    /// let vlsn = log.write(b"two tickets".to_vec()).await?;
    /// let next = log.write(Record::from("three").with_header("origin", "kiosk-3")).await?;
    /// assert_eq!(next, vlsn + 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write(&self, record: impl Into<Record>) -> Result<u64, VlsnError> {
        self.enqueue(record).await?.await
    }

    /// Hands a record over under the next VLSN, as soon as there is room for it; the acknowledgement is awaited apart, so that
    /// many can be on their way. VLSNs rise in the order of these calls.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// let mut deliveries = Vec::new();
    /// for n in 0..1000 {
    ///     deliveries.push(log.enqueue(format!("number {n}")).await?);
    /// }
    /// for delivery in deliveries {
    ///     delivery.await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue(&self, record: impl Into<Record>) -> Result<VlsnDelivery, VlsnError> {
        let (desk, record) = (self.desk(), record.into());
        let mut order = desk.order.lock().await;
        // Before a VLSN is taken: a record that is not taken leaves no gap.
        let room = desk.room(&record).await?;
        let least = order.next;
        let vlsn = order.counter.take(&desk.reads.client, desk.log(), least).await?;
        let receiver = desk.push(&mut order, vlsn, record, room)?;
        Ok(VlsnDelivery { vlsn, state: Delivered::Later(receiver) })
    }

    /// Writes a record under a VLSN of the caller's choice. In each partition VLSNs rise; what is left out becomes a gap. One
    /// that is written already is a success and changes nothing, so after a crash everything may be sent again.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// log.write_at(5000, "from another system, where it has this number").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_at(&self, vlsn: u64, record: impl Into<Record>) -> Result<u64, VlsnError> {
        self.enqueue_at(vlsn, record).await?.await
    }

    /// [`Self::write_at`] without waiting for the acknowledgement. For a VLSN that the partition has passed it is looked up
    /// whether it is there.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// let delivery = log.enqueue_at(5001, "the next one").await?;
    /// delivery.await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn enqueue_at(&self, vlsn: u64, record: impl Into<Record>) -> Result<VlsnDelivery, VlsnError> {
        if vlsn > Vlsn::MAX.0 {
            return Err(VlsnError::TooLarge { vlsn });
        }
        let (desk, record) = (self.desk(), record.into());
        loop {
            let mut order = desk.order.lock().await;
            // What failed counts among what was pushed, and is not decided by that.
            desk.check()?;
            if order.standing.is_decided(vlsn) {
                if desk.is_unsettled(vlsn) {
                    // It is on its way: its outcome decides.
                    drop(order);
                    desk.flush().await;
                    continue;
                }
                desk.already(&order, vlsn).await?;
                return Ok(VlsnDelivery { vlsn, state: Delivered::Before });
            }
            let room = desk.room(&record).await?;
            let receiver = desk.push(&mut order, vlsn, record, room)?;
            return Ok(VlsnDelivery { vlsn, state: Delivered::Later(receiver) });
        }
    }

    /// Writes many records under consecutive VLSNs (with a counter of one's own: rising ones), and returns these once all
    /// are written.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// let vlsns = log.write_batch((0..1000).map(|n| format!("number {n}"))).await?;
    /// assert_eq!(vlsns.len(), 1000);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_batch<R: Into<Record>>(
        &self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Vec<u64>, VlsnError> {
        let mut deliveries = Vec::new();
        for record in records {
            deliveries.push(self.enqueue(record).await?);
        }
        let mut vlsns = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            vlsns.push(delivery.await?);
        }
        Ok(vlsns)
    }

    /// The writer epoch that this handle took with [`VlsnBuilder::exclusive`], or in [`Self::resume`]; none once it has released
    /// it.
    ///
    /// ```no_run
    /// # fn example(log: pyralog_client::VlsnClient) {
    /// println!("{:?}", log.writer_epoch());
    /// # }
    /// ```
    pub fn writer_epoch(&self) -> Option<i32> {
        self.desk().epoch()
    }

    /// Lets any writer write again, whoever took the writer epoch. What this handle has on its way is settled first; from then
    /// on, also if the answer is lost, it is like one that is not exclusive.
    ///
    /// Another handle that took the epoch is not told, and goes by being the only writer: [`Self::write_if`] compares with what
    /// it has written itself, and [`Self::resume`] takes the log back where it needs the epoch.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// log.release_writer().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn release_writer(&self) -> Result<(), VlsnError> {
        // What was written because nobody else writes is there before somebody else may.
        let _order = self.desk().settled_order().await;
        self.desk().give_epoch_up();
        writer_epoch(self.reads(), kp::writer::RELEASE, ANY_EPOCH).await.map(drop)
    }

    /// Waits until every record that was handed over before has been acknowledged or has failed.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) {
    /// log.flush().await;
    /// # }
    /// ```
    pub async fn flush(&self) {
        self.desk().flush().await;
    }

    /// The largest VLSN that is written.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// if let Some(last) = log.last_vlsn().await? {
    ///     println!("{last} is the last one");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn last_vlsn(&self) -> Result<Option<u64>, VlsnError> {
        Ok(self.standing().await?.last)
    }

    /// How far the log is, partition by partition.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// println!("{:?}", log.standing().await?.partitions);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn standing(&self) -> Result<VlsnStanding, VlsnError> {
        self.reads().standing().await
    }

    /// Goes on after a crash or a failed write: says how far the log is, and takes records again.
    ///
    /// Whoever can tell what a VLSN stands for sends what is [missing](VlsnStanding::missing), and then what comes behind the
    /// last one; sending again what is there does no harm. Whoever cannot just goes on with [`Self::write`]; what
    /// is missing becomes gaps then.
    ///
    /// A record that was sent and failed with its fate unknown may come into the log later, so that [`Self::write`] leaves its VLSN
    /// alone, which becomes a gap if it does not. A handle that is [exclusive](VlsnBuilder::exclusive) takes the writer epoch
    /// again instead, and leaves nothing out: what it sent before is refused from then on. If another writer took the epoch
    /// meanwhile, that is [`VlsnError::Fenced`]. So it is if the epoch was taken and the answer lost, which cannot be told from it:
    /// whoever knows to be the only writer opens the log again.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// # fn entry(vlsn: u64) -> Vec<u8> { Vec::new() }
    /// let standing = log.resume().await?;
    /// // Everything from the first VLSN that is not settled: what is there already is recognised.
    /// for vlsn in standing.undecided..standing.undecided + 100 {
    ///     log.enqueue_at(vlsn, entry(vlsn)).await?;
    /// }
    /// log.flush().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume(&self) -> Result<VlsnStanding, VlsnError> {
        self.desk().go_on().await
    }
}
