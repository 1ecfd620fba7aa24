//! Writes that are made only if the partition still ends where the writer thinks it does: optimistic concurrency for writers
//! that share a log without a writer epoch.
//!
//! Holds: a conditional write is alone on its way; what this handle wrote before it is settled first.

use pyralog_protocol::batch::BatchBuilder;
use pyralog_protocol::{ApiKey, ErrorCode, Vlsn, messages as kp};

use super::client::VlsnClient;
use super::desk::Order;
use super::error::VlsnError;
use super::reads::VlsnRead;
use crate::error::{BrokerError, CallError, ProduceError};
use crate::net::cluster::str_bytes;
use crate::net::writer::as_new;
use crate::record::Record;

/// What a conditional append came to.
enum Answer {
    Written,
    /// The record was refused, perhaps because its VLSN belongs to another partition now.
    Refused(BrokerError),
}

impl VlsnClient {
    /// Writes a record under a VLSN of the caller's choice if the last VLSN of its partition is the expected one (`None`: the
    /// partition is empty); otherwise nothing is written, and the error is [`VlsnError::Unexpected`] with the last one
    /// that there is. A VLSN that is written already is a success whatever was expected, so an attempt whose
    /// outcome is not known may be made again.
    ///
    /// Needs the broker's private APIs, except for a handle that took the writer epoch: nobody else writes then, unless somebody
    /// else [releases](Self::release_writer) it, which this handle is not told.
    ///
    /// ```no_run
    /// # async fn example(log: pyralog_client::VlsnClient) -> Result<(), pyralog_client::VlsnError> {
    /// use pyralog_client::VlsnError;
    ///
    /// // In a log of one partition: an entry that is right only behind the one that was looked at.
    /// let last = log.last_vlsn().await?;
    /// match log.write_if(last.map_or(0, |last| last + 1), last, "balance: 17").await {
    ///     Ok(vlsn) => println!("it is VLSN {vlsn}"),
    ///     Err(VlsnError::Unexpected { last, .. }) => println!("somebody was quicker: {last:?}"),
    ///     Err(other) => return Err(other),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn write_if(
        &self,
        vlsn: u64,
        expected_last: Option<u64>,
        record: impl Into<Record>,
    ) -> Result<u64, VlsnError> {
        if vlsn > Vlsn::MAX.0 {
            return Err(VlsnError::TooLarge { vlsn });
        }
        let record = record.into();
        let mut order = self.desk().settled_order().await;
        self.desk().check()?;
        if self.writer_epoch().is_some() {
            return self.write_if_alone(order, vlsn, expected_last, record).await;
        }
        loop {
            let partition = order.standing.partition(vlsn);
            // Before it is sent: the caller may give up waiting.
            let before = self.desk().doubt(&mut order, vlsn);
            let answer = self.append_if((partition, vlsn), expected_last, &record).await;
            // Where the condition does not hold any more, it does not hold for a copy that comes later either.
            if matches!(answer, Ok(_) | Err(VlsnError::Unexpected { .. })) {
                self.desk().trust_again(&mut order, before);
            }
            match answer? {
                Answer::Written => {
                    if order.standing.last_of(partition) < Some(vlsn) {
                        order.standing.note(partition, vlsn);
                    }
                    order.next = order.next.max(vlsn.saturating_add(1));
                    return Ok(vlsn);
                }
                Answer::Refused(reason) => {
                    let fresh = self.desk().fresh_standing(&order, None).await?;
                    if fresh.partition(vlsn) == partition {
                        return Err(VlsnError::Refused { log: self.log_id().clone(), reason });
                    }
                    order.standing = fresh;
                }
            }
        }
    }

    /// Of a log that only this handle writes, the last VLSNs are known.
    async fn write_if_alone(
        &self,
        mut order: tokio::sync::MutexGuard<'_, Order>,
        vlsn: u64,
        expected: Option<u64>,
        record: Record,
    ) -> Result<u64, VlsnError> {
        let partition = order.standing.partition(vlsn);
        let last = order.standing.last_of(partition);
        let unexpected = VlsnError::Unexpected { log: self.log_id().clone(), vlsn, partition, expected, last };
        if Some(vlsn) <= last {
            let found = self.read(vlsn).await?;
            let is_own = matches!(found, VlsnRead::Found(found) if is_same(&found, &record));
            return if is_own { Ok(vlsn) } else { Err(unexpected) };
        }
        if last != expected {
            return Err(unexpected);
        }
        let room = self.desk().room(&record).await?;
        let receiver = self.desk().push(&mut order, vlsn, record, room)?;
        drop(order);
        receiver.await.unwrap_or(Err(VlsnError::Produce(ProduceError::ClientClosed)))
    }

    async fn append_if(
        &self,
        (partition, vlsn): (u32, u64),
        expected: Option<u64>,
        record: &Record,
    ) -> Result<Answer, VlsnError> {
        let reads = self.reads();
        let config = &reads.client.cluster().config;
        let keyed = Record { key: Some(bytes::Bytes::copy_from_slice(&Vlsn(vlsn).key())), ..record.clone() };
        let batch = as_new(&keyed, |new| BatchBuilder::new().compression(config.producer.compression()).record(new));
        let unbuilt = |reason| CallError::Encode { api: ApiKey::VlsnAppend, reason };
        let batch = batch.build().map_err(|error| unbuilt(error.to_string()))?.freeze();
        let timeout = config.request_timeout;
        let request = || kp::VlsnAppendRequest {
            log: str_bytes(self.log_id().as_str()),
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            parts: vec![kp::VlsnAppendPart {
                partition: i32::try_from(partition).unwrap_or(i32::MAX),
                expected_last: expected.map_or(kp::expected::EMPTY, |last| i64::try_from(last).unwrap_or(i64::MAX)),
                records: batch.clone(),
            }],
        };
        // To send it again does no harm: what is there already is a success.
        let attempt = || async {
            let answer = reads.view.call(request(), timeout).await?;
            let part = answer.parts.into_iter().next().filter(|_| answer.error_code == 0);
            let (code, message, last) = part.map_or((answer.error_code, answer.error_message, -1), |part| {
                (part.error_code, part.error_message, part.last)
            });
            let reason = BrokerError::new(code, message.as_deref());
            let may_help = reason.is_retriable();
            if may_help { Err(VlsnError::of_answer(self.log_id(), reason)) } else { Ok((reason, last)) }
        };
        let (reason, last) = reads.view.repeat(attempt).await?;
        if reason.code == 0 {
            return Ok(Answer::Written);
        }
        let log = self.log_id().clone();
        match reason.known() {
            Some(ErrorCode::OutOfOrderSequenceNumber) => {
                Err(VlsnError::Unexpected { log, vlsn, partition, expected, last: u64::try_from(last).ok() })
            }
            Some(ErrorCode::InvalidRecord) => Ok(Answer::Refused(reason)),
            Some(ErrorCode::ProducerFenced) => Err(VlsnError::Fenced { log, reason }),
            _ => Err(VlsnError::of_answer(&log, reason)),
        }
    }
}

/// Whether one is the other, read back.
fn is_same(found: &Record, sent: &Record) -> bool {
    found.wire_value() == sent.wire_value() && found.headers == sent.headers
}
