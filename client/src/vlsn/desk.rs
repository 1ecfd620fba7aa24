//! Where records of a VLSN log are written in order: each has its outcome exactly once, and what has none yet is kept, so
//! that it can be sent again by another routing.
//!
//! Holds: records are handed to the [`Writer`] under one lock, in rising order per partition. The writer is strict: after a
//! failure it sends nothing more. Once nothing is in the air, a *repair* looks at the log. If the partition count has
//! changed, all that is unsettled is sent again as the new routing wants it; what was written meanwhile is recognised.
//! Anything else is the end: every unsettled record fails, and so does every new one until somebody resumes.
//!
//! What is acknowledged is the very record that is in the log. Brokers take a VLSN that is there for written, whatever record
//! has it, so a VLSN must not stand for two records while a copy of the first may still be appended. Such a copy exists only
//! of a record that was sent and failed without its fate being known: it is *in doubt*. Whoever resumes with the writer epoch
//! takes it again, before looking at the log: from then on brokers refuse every older copy, so nothing is in doubt any more.
//! Whoever resumes without it hands out no VLSN up to the largest in doubt: a copy that still arrives is of its own record,
//! and one that does not is a gap. A repair sends the same records under the same VLSNs, and needs neither. Of
//! what *other* writers have on their way, which is no matter of this handle, only the writer epoch keeps the log free.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pyralog_protocol::messages as kp;
use pyralog_protocol::{ErrorCode, LogId, Vlsn};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::client::writer_epoch;
use super::counter::Counter;
use super::error::VlsnError;
use super::reads::{Reads, VlsnRead};
use super::standing::{Known, VlsnStanding, is_in_partition};
use crate::error::ProduceError;
use crate::net::writer::{Reply, Sink, Unwritten, Writer};
use crate::record::{Appended, Record};

/// How long a record that was appended and is not on disk yet is left before it is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What a record is waited for by.
pub(crate) type Outcome = Result<u64, VlsnError>;

/// Order of what is written. Whoever holds it may hand out VLSNs and push.
#[derive(Debug)]
pub(crate) struct Order {
    /// How far the log was when it was last looked at, with what was pushed since.
    pub standing: VlsnStanding,
    /// The next VLSN that may be handed out.
    pub next: u64,
    /// Hands them out.
    pub counter: Counter,
}

#[derive(Default)]
struct Unsettled {
    records: BTreeMap<u64, Entry>,
    /// How many records there have been.
    taken: u64,
    /// Somebody waits for a change, which is told of otherwise once nothing is in the air.
    is_awaited: bool,
    /// Records in the writer's hands.
    in_air: usize,
    /// What failed since the last repair: of the causes that with the smallest VLSN.
    failure: Option<(u64, ProduceError)>,
    /// The largest VLSN in doubt: a copy of its record may still come into the log.
    doubtful: Option<u64>,
    /// Why nothing is taken any more.
    stopped: Option<VlsnError>,
    /// The last handle is gone.
    is_closing: bool,
}

impl Unsettled {
    fn note_failure(&mut self, vlsn: u64, error: ProduceError) {
        // Of a record that was still in the air when all were given up: nobody waits for it, and whoever goes on starts afresh.
        if self.stopped.is_some() {
            return;
        }
        // Those behind the one that failed are told that they were not sent.
        let is_cause = !matches!(error, ProduceError::NotSent { .. } | ProduceError::InBadCompany { .. });
        let is_better = match &self.failure {
            None => true,
            Some((_, ProduceError::NotSent { .. } | ProduceError::InBadCompany { .. })) => is_cause,
            Some((known, _)) => is_cause && vlsn < *known,
        };
        if is_better {
            self.failure = Some((vlsn, error));
        }
    }
}

struct Entry {
    /// How many were taken before it.
    number: u64,
    record: Record,
    reply: oneshot::Sender<Outcome>,
}

/// The desk.
pub(crate) struct Desk {
    pub reads: Reads,
    pub order: tokio::sync::Mutex<Order>,
    writer: Arc<Writer>,
    /// The writer epoch that is held.
    epoch: Mutex<Option<i32>>,
    unsettled: Mutex<Unsettled>,
    /// Something changed of what is unsettled.
    settled: Notify,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("log", self.log()).finish_non_exhaustive()
    }
}

impl Sink for Desk {
    fn settled(self: Arc<Self>, vlsn: u64, result: Result<Appended, Unwritten>) {
        let mut unsettled = self.unsettled();
        unsettled.in_air = unsettled.in_air.saturating_sub(1);
        match result {
            Ok(_) => {
                if let Some(entry) = unsettled.records.remove(&vlsn) {
                    // Whoever wrote it may not want to know.
                    let _ = entry.reply.send(Ok(vlsn));
                }
            }
            Err(Unwritten { error, in_doubt }) => {
                if in_doubt {
                    unsettled.doubtful = unsettled.doubtful.max(Some(vlsn));
                }
                unsettled.note_failure(vlsn, error);
            }
        }
        let needs_repair = unsettled.in_air == 0 && unsettled.failure.is_some();
        let is_told = unsettled.in_air == 0 || unsettled.is_awaited;
        unsettled.is_awaited = false;
        drop(unsettled);
        if is_told {
            self.tell_settled();
        }
        if needs_repair {
            tokio::spawn(Repair { desk: self, is_made: false }.make());
        }
    }
}

/// A repair that is due. If it is not made to its end, because the runtime has ended, nothing is left without an outcome.
struct Repair {
    desk: Arc<Desk>,
    is_made: bool,
}

impl Repair {
    async fn make(mut self) {
        self.desk.clone().repair().await;
        self.is_made = true;
    }
}

impl Drop for Repair {
    fn drop(&mut self) {
        let first = self.desk.unsettled().records.keys().next().copied();
        if let Some(vlsn) = first.filter(|_| !self.is_made) {
            self.desk.stop(vlsn, &VlsnError::Produce(ProduceError::ClientClosed));
        }
    }
}

impl Desk {
    /// A desk with a strict writer, and the writer epoch that it holds.
    pub fn new(reads: Reads, (writer, epoch): (Arc<Writer>, Option<i32>), order: Order) -> Arc<Self> {
        let (order, epoch) = (tokio::sync::Mutex::new(order), Mutex::new(epoch));
        Arc::new(Self { reads, order, writer, epoch, unsettled: Mutex::default(), settled: Notify::new() })
    }

    /// The writer epoch that is held.
    pub fn epoch(&self) -> Option<i32> {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts on the writer epoch no more.
    pub fn give_epoch_up(&self) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The log.
    pub fn log(&self) -> &LogId {
        &self.reads.log
    }

    fn unsettled(&self) -> MutexGuard<'_, Unsettled> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing more; what was taken is still sent. The counter is let go at once, so that its file may be opened again,
    /// while tasks that end may hold the desk for another moment.
    pub fn close(&self) {
        if let Ok(mut order) = self.order.try_lock() {
            order.counter = Counter::Memory;
        }
        self.unsettled().is_closing = true;
        self.tell_settled();
    }

    /// Tells who waits for outcomes. If the last handle is gone and everything has one, the writer is not needed any more; before,
    /// a repair may need it.
    fn tell_settled(&self) {
        self.settled.notify_waiters();
        let is_over = {
            let unsettled = self.unsettled();
            unsettled.is_closing && unsettled.records.is_empty()
        };
        if is_over {
            self.writer.close();
        }
    }

    /// Waits until everything that was taken so far has its outcome.
    pub async fn flush(&self) {
        let (taken, last) = {
            let unsettled = self.unsettled();
            (unsettled.taken, unsettled.records.keys().next_back().copied())
        };
        let Some(last) = last else { return };
        self.writer.hurry();
        let is_later = |(_, entry): (&u64, &Entry)| entry.number >= taken;
        self.until(|unsettled| unsettled.records.range(..=last).all(is_later)).await;
    }

    /// Waits until this holds.
    async fn until(&self, holds: impl Fn(&Unsettled) -> bool) {
        loop {
            let settled = self.settled.notified();
            {
                let mut unsettled = self.unsettled();
                if holds(&unsettled) {
                    return;
                }
                unsettled.is_awaited = true;
            }
            settled.await;
        }
    }

    /// The order, with nothing on its way. Nobody else hands anything over while it is waited for.
    pub async fn settled_order(&self) -> tokio::sync::MutexGuard<'_, Order> {
        loop {
            let order = self.order.lock().await;
            self.writer.hurry();
            self.until(|unsettled| unsettled.in_air == 0).await;
            let settled = self.settled.notified();
            if self.unsettled().records.is_empty() {
                return order;
            }
            // What failed is a matter of a repair, which needs the order.
            drop(order);
            settled.await;
        }
    }

    /// How far the log is, looked at anew, perhaps because a VLSN was refused; the writer knows its partitions from then on.
    /// Nothing is in the air.
    pub async fn fresh_standing(&self, order: &Order, refused: Option<u64>) -> Result<VlsnStanding, VlsnError> {
        let known = Known { routing: Some(order.standing.routing.clone()), refused };
        let (view, standing) = self.reads.look(known).await?;
        self.writer.learnt(self.log(), &view);
        Ok(standing)
    }

    /// Whether a record is on its way.
    pub fn is_unsettled(&self, vlsn: u64) -> bool {
        self.unsettled().records.contains_key(&vlsn)
    }

    /// Whether records are taken.
    pub fn check(&self) -> Result<(), VlsnError> {
        self.unsettled().stopped.clone().map_or(Ok(()), Err)
    }

    /// Room for a record, or why nothing is taken.
    pub async fn room(&self, record: &Record) -> Result<crate::net::writer::Room, VlsnError> {
        self.check()?;
        // The writer takes nothing behind a failure; what comes is kept here for the repair, without room of its own. While that
        // cannot begin, nothing comes.
        self.until(|unsettled| unsettled.failure.is_none() || unsettled.in_air == 0).await;
        self.writer.learn(self.log()).await?;
        // The key is not there yet.
        let measured = Record { key: Some(Bytes::from_static(&[0; 8])), ..record.clone() };
        Ok(self.writer.room(&measured).await?)
    }

    /// Hands a record over under a VLSN above all of its partition so far. Whoever calls holds the order.
    pub fn push(
        self: &Arc<Self>,
        order: &mut Order,
        vlsn: u64,
        record: Record,
        room: crate::net::writer::Room,
    ) -> Result<oneshot::Receiver<Outcome>, VlsnError> {
        let (reply, receiver) = oneshot::channel();
        let record = Record { key: Some(Bytes::copy_from_slice(&Vlsn(vlsn).key())), ..record };
        let partition = order.standing.partition(vlsn);
        {
            let mut unsettled = self.unsettled();
            if let Some(stopped) = &unsettled.stopped {
                return Err(stopped.clone());
            }
            let number = unsettled.taken;
            unsettled.taken += 1;
            unsettled.records.insert(vlsn, Entry { number, record: record.clone(), reply });
            unsettled.in_air += 1;
        }
        order.next = order.next.max(vlsn.saturating_add(1));
        order.standing.note(partition, vlsn);
        self.hand_over(partition, vlsn, &record, room);
        Ok(receiver)
    }

    fn hand_over(self: &Arc<Self>, partition: u32, vlsn: u64, record: &Record, room: crate::net::writer::Room) {
        let reply = Reply::Sink(self.clone(), vlsn);
        if let Err(untaken) = self.writer.push((self.log(), Some(partition)), record, room, reply) {
            // A repair takes it up, or fails it.
            let error = ProduceError::untaken(self.log(), Some(partition), untaken);
            self.clone().settled(vlsn, Err(Unwritten { error, in_doubt: false }));
        }
    }

    /// After a failure, once nothing is in the air.
    async fn repair(self: Arc<Self>) {
        let mut order = self.order.lock().await;
        let failure = {
            let mut unsettled = self.unsettled();
            if unsettled.in_air > 0 {
                return; // it is not the last: another one comes
            }
            unsettled.failure.take()
        };
        let Some((vlsn, failure)) = failure else { return };
        let error = match self.judge(&order, (vlsn, &failure)).await {
            Ok(Some(fresh)) => {
                tracing::info!(log = %self.log(), partitions = fresh.partition_count(), "the log is routed anew");
                match self.send_again(&mut order, fresh).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Ok(None) => VlsnError::of_write(self.log(), failure),
            Err(error) => error,
        };
        self.stop(vlsn, &error);
    }

    /// Whether a failure means that the log has other partitions now: how far it is then.
    async fn judge(
        &self,
        order: &Order,
        (vlsn, failure): (u64, &ProduceError),
    ) -> Result<Option<VlsnStanding>, VlsnError> {
        let mut refused = None;
        let may_be_routing = match failure {
            ProduceError::Refused { reason, .. } => {
                refused = Some(vlsn);
                reason.code == ErrorCode::InvalidRecord.code()
            }
            ProduceError::NoPartition { .. } | ProduceError::NotSent { .. } | ProduceError::InBadCompany { .. } => true,
            ProduceError::Name(_)
            | ProduceError::UnknownLog { .. }
            | ProduceError::TooLarge { .. }
            | ProduceError::BufferFull { .. }
            | ProduceError::Expired { .. }
            | ProduceError::Log { .. }
            | ProduceError::Call(_)
            | ProduceError::ClientClosed => false,
        };
        if !may_be_routing {
            return Ok(None);
        }
        let fresh = self.fresh_standing(order, refused).await?;
        Ok((fresh.routing != order.standing.routing).then_some(fresh))
    }

    /// Sends everything that is unsettled, in the order of VLSNs, as another routing wants it.
    async fn send_again(self: &Arc<Self>, order: &mut Order, fresh: VlsnStanding) -> Result<(), VlsnError> {
        order.standing = fresh;
        self.writer.mend();
        let numbers: Vec<u64> = self.unsettled().records.keys().copied().collect();
        for vlsn in numbers {
            if order.standing.is_decided(vlsn) {
                // It was written after all, before the routing changed; the writers of gaps are told so.
                let outcome = self.already(order, vlsn).await;
                if let Some(entry) = self.unsettled().records.remove(&vlsn) {
                    let _ = entry.reply.send(outcome);
                }
                continue;
            }
            let partition = order.standing.partition(vlsn);
            let record = self.unsettled().records.get(&vlsn).map(|entry| entry.record.clone());
            let Some(record) = record else { continue };
            let room = self.writer.room(&record).await?;
            self.unsettled().in_air += 1;
            order.standing.note(partition, vlsn);
            self.hand_over(partition, vlsn, &record, room);
        }
        self.tell_settled();
        Ok(())
    }

    /// What becomes of a VLSN that is not above the last one of its partition.
    pub async fn already(&self, order: &Order, vlsn: u64) -> Outcome {
        let log = self.log().clone();
        let gap = |last| VlsnError::Gap { log: log.clone(), vlsn, last };
        let partition = order.standing.partition(vlsn);
        let last = order.standing.last_of(partition).unwrap_or(vlsn);
        let after = self.reads.client.cluster().config.request_timeout;
        let deadline = Instant::now() + after;
        loop {
            match self.reads.wait(vlsn, Duration::ZERO).await? {
                VlsnRead::Found(_) => return Ok(vlsn),
                VlsnRead::Trimmed => return Err(VlsnError::Trimmed { log, vlsn }),
                VlsnRead::Gap => return Err(gap(last)),
                VlsnRead::NotYet => {}
            }
            // The view ends before it, because another partition is behind; its own has it, or has passed it, or has not
            // synced it yet.
            match is_in_partition(&self.reads.client, self.log(), partition, vlsn).await? {
                Some(true) => return Ok(vlsn),
                Some(false) => return Err(gap(last)),
                None if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                None => {
                    let last = format!("; whether it has VLSN {vlsn} is not known");
                    return Err(ProduceError::Expired { log, partition, after, sent: false, last }.into());
                }
            }
        }
    }

    /// Fails everything that is unsettled, and what comes until [`Self::go_on`]. Of a repair that came to no end, something may be
    /// in the air still.
    fn stop(&self, vlsn: u64, error: &VlsnError) {
        let because = Box::new(error.clone());
        let stopped = VlsnError::Stopped { log: self.log().clone(), vlsn, because };
        let records = {
            let mut unsettled = self.unsettled();
            unsettled.stopped = Some(stopped.clone());
            unsettled.failure = None;
            std::mem::take(&mut unsettled.records)
        };
        for (number, entry) in records {
            let outcome = if number == vlsn { error.clone() } else { stopped.clone() };
            let _ = entry.reply.send(Err(outcome));
        }
        self.tell_settled();
    }

    /// Looks at the log, and takes records again.
    pub async fn go_on(&self) -> Result<VlsnStanding, VlsnError> {
        let mut order = self.settled_order().await;
        if let Some(epoch) = self.epoch()
            && self.doubtful().is_some()
        {
            self.take_again(epoch).await?;
        }
        let fresh = self.fresh_standing(&order, None).await?;
        order.next = fresh.last.max(self.doubtful()).map_or(0, |taken| taken.saturating_add(1));
        order.standing = fresh.clone();
        self.writer.mend();
        self.unsettled().stopped = None;
        Ok(fresh)
    }

    /// A record that goes another way than by the writer is in doubt from now on. What was so before comes back.
    pub fn doubt(&self, order: &mut Order, vlsn: u64) -> (u64, Option<u64>) {
        let mut unsettled = self.unsettled();
        let before = (order.next, unsettled.doubtful);
        unsettled.doubtful = unsettled.doubtful.max(Some(vlsn));
        order.next = order.next.max(vlsn.saturating_add(1));
        before
    }

    /// Its fate is known after all; nothing else happened to the order.
    pub fn trust_again(&self, order: &mut Order, before: (u64, Option<u64>)) {
        (order.next, self.unsettled().doubtful) = before;
    }

    fn doubtful(&self) -> Option<u64> {
        self.unsettled().doubtful
    }

    /// Takes the writer epoch again, as another producer, if nobody else has taken it. A request that the network delays
    /// expects an epoch of the past then, and takes nothing.
    async fn take_again(&self, epoch: i32) -> Result<(), VlsnError> {
        let taken = writer_epoch(&self.reads, kp::writer::TAKE, epoch).await?;
        self.writer.mend_as((taken.producer_id, taken.producer_epoch));
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken.epoch);
        self.unsettled().doubtful = None;
        Ok(())
    }
}
