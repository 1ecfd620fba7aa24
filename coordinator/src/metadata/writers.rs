//! Who may write a VLSN log: everybody, or the one who took its writer epoch last. The epoch is part of the log's
//! metadata, so that partitions see it with the image, before the one who took it is told.

use super::machine::Metadata;
use super::record::{MetadataRecord, Writer, WriterRecord};
use super::views::NotVlsn;
use super::wire::refusal;
use crate::effects::Effects;
use pyralog_protocol::vlsn::messages::{WriterEpochRequest, WriterEpochResponse, writer};
use pyralog_protocol::{ErrorCode, LogId, TopicId};

/// What [`WriterEpochResponse`] says where nobody has the log for himself, or never had.
const NONE: i32 = -1;

/// Why the writer of a log did not change.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum WriterError {
    #[error(transparent)]
    Log(#[from] NotVlsn),
    #[error("action {0}: 0 takes the writer epoch, 1 releases it")]
    Action(i8),
    #[error("the writer epoch of log {log} is {current}, {expected} was expected (-1: never taken)")]
    OtherEpoch { log: LogId, current: i32, expected: i32 },
    #[error("log {0} has used up its writer epochs")]
    UsedUp(LogId),
    #[error("no producer id is left")]
    NoProducerId,
}

fn writer_code(error: &WriterError) -> ErrorCode {
    match error {
        WriterError::Log(error) => error.code(),
        WriterError::Action(_) => ErrorCode::InvalidRequest,
        WriterError::OtherEpoch { .. } => ErrorCode::ProducerFenced,
        WriterError::UsedUp(_) => ErrorCode::PolicyViolation,
        WriterError::NoProducerId => ErrorCode::CoordinatorNotAvailable,
    }
}

impl Metadata {
    pub(super) fn writer_epoch(&mut self, request: &WriterEpochRequest, out: &mut Effects) -> WriterEpochResponse {
        let decided = self.decide_writer(request, out);
        let (error_code, error_message) = match decided {
            Ok(record) => {
                self.commit(record.map(MetadataRecord::Writer).into_iter().collect(), out);
                (0, None)
            }
            Err(error) => refusal(writer_code(&error), &error),
        };
        let now = self.image().log(&request.log).and_then(|log| log.metadata.writer);
        let holder = now.and_then(|writer| writer.producer_id).filter(|_| error_code == 0);
        WriterEpochResponse {
            throttle_time_ms: 0,
            error_code,
            error_message,
            epoch: now.map_or(NONE, |writer| writer.epoch),
            producer_id: holder.unwrap_or(-1),
            producer_epoch: if holder.is_some() { 0 } else { -1 },
        }
    }

    /// The record that the change comes to; `None` where there is nothing to release.
    fn decide_writer(
        &mut self,
        request: &WriterEpochRequest,
        out: &mut Effects,
    ) -> Result<Option<WriterRecord>, WriterError> {
        let (id, log, now) = self.writer_of(&request.log)?;
        let (current, expected) = (now.map_or(NONE, |writer| writer.epoch), request.expected_epoch);
        // -1 stands for any: whoever expects nothing takes over from anybody.
        if expected >= 0 && expected != current {
            return Err(WriterError::OtherEpoch { log, current, expected });
        }
        match request.action {
            writer::TAKE => {
                let epoch = current.checked_add(1).ok_or(WriterError::UsedUp(log))?;
                let producer_id = Some(self.next_producer_id(out).ok_or(WriterError::NoProducerId)?);
                Ok(Some(WriterRecord { id, writer: Writer { epoch, producer_id } }))
            }
            writer::RELEASE => {
                let held = now.filter(|writer| writer.producer_id.is_some());
                Ok(held.map(|held| WriterRecord { id, writer: Writer { producer_id: None, ..held } }))
            }
            other => Err(WriterError::Action(other)),
        }
    }

    fn writer_of(&self, name: &str) -> Result<(TopicId, LogId, Option<Writer>), NotVlsn> {
        let (log, _) = self.image().vlsn_log(name)?;
        Ok((log.metadata.topic_id, log.metadata.log_id.clone(), log.metadata.writer))
    }
}
