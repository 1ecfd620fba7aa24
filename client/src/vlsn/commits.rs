//! How far a consumer of a VLSN log has come: one number, whatever the number of partitions.

use pyralog_protocol::messages as kp;
use pyralog_protocol::{ErrorCode, LogId};

use super::error::VlsnError;
use super::reads::Reads;
use crate::client::PyralogClient;
use crate::error::{BrokerError, CallError};
use crate::log::IntoLogId;
use crate::net::cluster::str_bytes;
use crate::pure::ask::Ask;

const NO_CONSUMER: &str = "the name of a consumer has 1 to 249 bytes, and no control characters";

/// Remembers the last VLSN that a consumer has dealt with, replicated by the brokers, under a name of its own. It never goes
/// back unless it is forced to.
///
/// This is the `VLSNCommitTracker` of the first documents; the number is read back from the broker, so that it survives
/// the consumer. It is kept through a private API. Where that is switched off (`pyralog.private.apis.enable`), a
/// [`PartitionCommitTracker`](crate::PartitionCommitTracker) of the view `<log>.vlsn` does the same as an ordinary group.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::VlsnCommitTracker;
///
/// let tracker = VlsnCommitTracker::load(client, "ledger", "analytics-1").await?;
/// tracker.commit(5000).await?;
/// let position = tracker.resume_from_commit().await?;
/// assert_eq!(position.vlsn, 5001); // and in a log of 3 partitions it is in 5001 % 3
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct VlsnCommitTracker {
    client: PyralogClient,
    log_id: LogId,
    consumer_id: String,
}

/// Where a consumer goes on.
///
/// ```no_run
/// # async fn example(tracker: pyralog_client::VlsnCommitTracker) -> Result<(), pyralog_client::VlsnError> {
/// let position = tracker.resume_from_commit().await?;
/// println!("VLSN {} in partition {}", position.vlsn, position.partition);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumePosition {
    /// The first VLSN that is still to be dealt with.
    pub vlsn: u64,
    /// The partition that it belongs to.
    pub partition: u32,
}

impl VlsnCommitTracker {
    /// The tracker of a consumer. Whether the log is there, and has VLSNs, is found out, so that a wrong name shows at once.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> Result<(), pyralog_client::VlsnError> {
    /// let tracker = pyralog_client::VlsnCommitTracker::load(client, "ledger", "analytics-1").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn load(
        client: PyralogClient,
        log: impl IntoLogId,
        consumer_id: impl Into<String>,
    ) -> Result<Self, VlsnError> {
        let tracker = Self { client, log_id: log.into_log_id()?, consumer_id: consumer_id.into() };
        Reads::new(tracker.client.clone(), tracker.log_id.clone())?.check_log().await?;
        tracker.committed().await?;
        Ok(tracker)
    }

    /// Commits: everything up to this VLSN is done. The same number again is fine, a smaller one is refused.
    ///
    /// ```no_run
    /// # async fn example(tracker: pyralog_client::VlsnCommitTracker) -> Result<(), pyralog_client::VlsnError> {
    /// tracker.commit(5000).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit(&self, vlsn: u64) -> Result<(), VlsnError> {
        self.store(vlsn, false).await
    }

    /// Commits, also backwards: what comes after this VLSN is dealt with again.
    ///
    /// ```no_run
    /// # async fn example(tracker: pyralog_client::VlsnCommitTracker) -> Result<(), pyralog_client::VlsnError> {
    /// tracker.force_commit(1000).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn force_commit(&self, vlsn: u64) -> Result<(), VlsnError> {
        self.store(vlsn, true).await
    }

    async fn store(&self, vlsn: u64, force: bool) -> Result<(), VlsnError> {
        let entry = kp::VlsnCommitEntry {
            log: str_bytes(self.log_id.as_str()),
            vlsn: pyralog_protocol::Vlsn(vlsn),
            metadata: None,
        };
        let request = kp::VlsnCommitRequest { consumer: str_bytes(&self.consumer_id), force, commits: vec![entry] };
        let answer = ask(&self.client, request, |answer: &kp::VlsnCommitResponse| {
            answer.results.first().map_or(0, |result| result.error_code)
        });
        let found = answer.await?.results.into_iter().next().ok_or_else(|| self.unexpected())?;
        match u64::try_from(found.vlsn).ok().filter(|committed| *committed > vlsn) {
            Some(committed) if found.error_code == ErrorCode::InvalidRequest.code() => {
                let (log, consumer) = (self.log_id.clone(), self.consumer_id.clone());
                Err(VlsnError::CommittedBeyond { log, consumer, vlsn, committed })
            }
            Some(_) | None => check(&self.log_id, found.error_code, found.error_message.as_deref()),
        }
    }

    async fn entry(&self) -> Result<Option<kp::VlsnCommittedEntry>, VlsnError> {
        let request = kp::VlsnCommittedRequest {
            consumer: Some(str_bytes(&self.consumer_id)),
            logs: Some(vec![str_bytes(self.log_id.as_str())]),
        };
        let answer = ask(&self.client, request, |answer: &kp::VlsnCommittedResponse| answer.error_code).await?;
        // The answer has room for a code alone.
        let is_name = answer.error_code == ErrorCode::InvalidRequest.code();
        check(&self.log_id, answer.error_code, is_name.then_some(NO_CONSUMER))?;
        Ok(answer.commits.into_iter().next())
    }

    /// The VLSN that is committed; none if nothing is.
    ///
    /// ```no_run
    /// # async fn example(tracker: pyralog_client::VlsnCommitTracker) -> Result<(), pyralog_client::VlsnError> {
    /// println!("{:?}", tracker.committed().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn committed(&self) -> Result<Option<u64>, VlsnError> {
        Ok(self.entry().await?.map(|entry| entry.vlsn.0))
    }

    /// VLSNs that are decided and not committed yet; none if nothing is committed, or the broker cannot tell now.
    ///
    /// ```no_run
    /// # async fn example(tracker: pyralog_client::VlsnCommitTracker) -> Result<(), pyralog_client::VlsnError> {
    /// println!("{:?} behind", tracker.lag().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lag(&self) -> Result<Option<u64>, VlsnError> {
        Ok(self.entry().await?.and_then(|entry| u64::try_from(entry.lag).ok()))
    }

    /// Where to go on: the VLSN after the committed one, and its partition; at VLSN 0 if nothing is committed.
    ///
    /// ```no_run
    /// # async fn example(tracker: pyralog_client::VlsnCommitTracker) -> Result<(), pyralog_client::VlsnError> {
    /// let position = tracker.resume_from_commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn resume_from_commit(&self) -> Result<ResumePosition, VlsnError> {
        Ok(self.entry().await?.map_or(ResumePosition { vlsn: 0, partition: 0 }, |entry| ResumePosition {
            vlsn: entry.vlsn.next().0,
            partition: u32::try_from(entry.resume_partition).unwrap_or(0),
        }))
    }

    /// Forgets the commit.
    ///
    /// ```no_run
    /// # async fn example(tracker: pyralog_client::VlsnCommitTracker) -> Result<(), pyralog_client::VlsnError> {
    /// tracker.forget().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn forget(&self) -> Result<(), VlsnError> {
        let request = kp::VlsnDeleteCommitRequest {
            consumer: str_bytes(&self.consumer_id),
            logs: Some(vec![str_bytes(self.log_id.as_str())]),
        };
        let answer = ask(&self.client, request, |answer: &kp::VlsnDeleteCommitResponse| {
            answer.results.first().map_or(0, |result| result.error_code)
        });
        let found = answer.await?.results.into_iter().next().ok_or_else(|| self.unexpected())?;
        check(&self.log_id, found.error_code, found.error_message.as_deref())
    }

    fn unexpected(&self) -> VlsnError {
        let reason = format!("it says nothing of log {}", self.log_id);
        VlsnError::Call(CallError::Unexpected {
            address: "a broker".to_owned(),
            api: kp::VlsnCommitRequest::API,
            reason,
        })
    }
}

fn check(log: &LogId, code: i16, message: Option<&str>) -> Result<(), VlsnError> {
    if code == 0 { Ok(()) } else { Err(VlsnError::of_answer(log, BrokerError::new(code, message))) }
}

/// Asks until it is answered for good. `code` says what the answer's error code is.
pub(crate) async fn ask<A: Ask + Clone>(
    client: &PyralogClient,
    request: A,
    code: impl Fn(&A::Answer) -> i16,
) -> Result<A::Answer, VlsnError> {
    let attempt = || async {
        let answer =
            client.cluster().ask(request.clone()).await.map_err(|error| (None, error.is_retriable(), error))?;
        let reason = BrokerError { code: code(&answer), message: None };
        if reason.is_retriable() {
            let address = "a broker".to_owned();
            let error = CallError::Unexpected { address, api: A::API, reason: reason.to_string() };
            return Err((Some(answer), true, error));
        }
        Ok(answer)
    };
    match client.cluster().repeat(|(_, is_retriable, _): &(_, bool, _)| *is_retriable, attempt).await {
        // Still "later" when the time was up: the caller has the answer's own words.
        Ok(answer) | Err((Some(answer), ..)) => Ok(answer),
        Err((None, _, error)) => Err(error.into()),
    }
}
