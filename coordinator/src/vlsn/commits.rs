//! Commits by VLSN: one number says how far a consumer is in a log, whatever its partition count.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::kafka_protocol;
use pyralog_protocol::vlsn::messages::{
    COMMIT_METADATA_BYTES_MAX, VlsnCommitEntry, VlsnCommitRequest, VlsnCommitResponse, VlsnCommitResult,
    VlsnCommittedEntry, VlsnCommittedRequest, VlsnCommittedResponse, VlsnDeleteCommitRequest, VlsnDeleteCommitResponse,
    VlsnDeleteCommitResult,
};
use pyralog_protocol::{Now, TopicId, Vlsn};

use super::error::{CommitError, ListError, check_consumer};
use super::{Commit, VlsnRecord, Vlsns};
use crate::effects::Effects;
use crate::metadata::Image;
use crate::metadata::wire::{refusal, text};
use crate::record::Record;

impl Vlsns {
    pub(super) fn commit(
        &mut self,
        request: &VlsnCommitRequest,
        image: &Image,
        now: Now,
        out: &mut Effects,
    ) -> VlsnCommitResponse {
        let consumer = request.consumer.as_str();
        let named = check_consumer(consumer);
        // One record for each log, however often it is named: what was committed last counts.
        let (mut results, mut records) = (Vec::with_capacity(request.commits.len()), BTreeMap::new());
        for entry in &request.commits {
            let decided = named.clone().map_err(CommitError::from);
            let decided = decided.and_then(|()| self.decide_commit((consumer, request.force), entry, image, now));
            let (error_code, error_message) = match decided {
                Ok((id, record)) => {
                    self.apply(&record);
                    records.insert(id, Record::Vlsn(record));
                    (0, None)
                }
                Err(error) => refusal(error.code(), &error),
            };
            let vlsn = match named {
                Ok(()) => self.in_force(entry.log.as_str(), consumer, image).map_or(-1, |commit| commit.vlsn.offset()),
                Err(_) => -1,
            };
            results.push(VlsnCommitResult { log: entry.log.clone(), error_code, error_message, vlsn });
        }
        out.commit_in_parts(records.into_values());
        VlsnCommitResponse { throttle_time_ms: 0, results }
    }

    /// Each commit is decided on what the ones before it left.
    fn decide_commit(
        &self,
        (consumer, force): (&str, bool),
        entry: &VlsnCommitEntry,
        image: &Image,
        now: Now,
    ) -> Result<(TopicId, VlsnRecord), CommitError> {
        let (log, _) = image.vlsn_log(entry.log.as_str())?;
        let (id, vlsn) = (log.metadata.topic_id, entry.vlsn);
        if vlsn > Vlsn::MAX {
            return Err(CommitError::TooLarge { asked: vlsn });
        }
        let metadata = entry.metadata.as_ref().map(StrBytes::as_str).unwrap_or_default();
        if metadata.len() > COMMIT_METADATA_BYTES_MAX {
            return Err(CommitError::Metadata(metadata.len()));
        }
        let current = self.commits.get(&id).and_then(|of_log| of_log.get(consumer));
        let (held, limit) = (current.map_or(0, Commit::metadata_bytes), self.limits.commit_metadata_bytes);
        if metadata.len() > held && self.metadata_bytes - held + metadata.len() > limit {
            return Err(CommitError::TooMuchMetadata(limit));
        }
        match current.map(|commit| commit.vlsn) {
            Some(current) if vlsn < current && !force => return Err(CommitError::Backwards { asked: vlsn, current }),
            None if self.commit_count >= self.limits.commits => return Err(CommitError::TooMany(self.limits.commits)),
            Some(_) | None => {}
        }
        let metadata = entry.metadata.as_ref().map(ToString::to_string);
        let (consumer, commit) = (consumer.to_owned(), Commit { vlsn, metadata, committed_at: now.wall });
        Ok((id, VlsnRecord::Commit { id, consumer, commit }))
    }

    fn in_force(&self, log: &str, consumer: &str, image: &Image) -> Option<&Commit> {
        self.commits.get(&image.log(log)?.metadata.topic_id)?.get(consumer)
    }

    pub(super) fn committed(&self, request: &VlsnCommittedRequest, image: &Image) -> VlsnCommittedResponse {
        match self.decide_list(request, image) {
            Ok(commits) => VlsnCommittedResponse { commits, ..VlsnCommittedResponse::default() },
            Err(error) => VlsnCommittedResponse { error_code: error.code().code(), ..VlsnCommittedResponse::default() },
        }
    }

    /// Logs that are not there have no commits, and are left out.
    fn decide_list(&self, request: &VlsnCommittedRequest, image: &Image) -> Result<Vec<VlsnCommittedEntry>, ListError> {
        let consumer = request.consumer.as_ref().map(StrBytes::as_str);
        consumer.map_or(Ok(()), check_consumer)?;
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        for id in self.asked(request.logs.as_deref(), image) {
            let (Some(log), Some(of_log)) = (image.log_by_id(id), self.commits.get(&id)) else { continue };
            let one = consumer.and_then(|consumer| of_log.get_key_value(consumer));
            let all = of_log.iter().filter(|_| consumer.is_none());
            for (consumer, commit) in one.into_iter().chain(all) {
                let name = log.metadata.log_id.as_str();
                bytes += consumer.len() + name.len() + commit.metadata.as_deref().map_or(0, str::len);
                found.insert((consumer.as_str(), name), (log, commit));
                if found.len() > self.limits.commits_listed {
                    return Err(ListError::TooMany(self.limits.commits_listed));
                }
                if bytes > self.limits.listed_bytes {
                    return Err(ListError::TooMuch(self.limits.listed_bytes));
                }
            }
        }
        let entry = |((consumer, name), (log, commit)): ((&str, &str), (&std::sync::Arc<_>, &Commit))| {
            let log: &crate::metadata::LogState = log;
            let resume = log.metadata.routing.as_ref().map(|routing| routing.partition(commit.vlsn.next()));
            VlsnCommittedEntry {
                consumer: text(consumer),
                log: text(name),
                vlsn: commit.vlsn,
                resume_partition: resume.map_or(-1, |partition| partition.0),
                committed_at: commit.committed_at.0,
                lag: -1,
                metadata: commit.metadata.as_deref().map(text),
            }
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// Logs that are asked for and have commits.
    fn asked(&self, logs: Option<&[StrBytes]>, image: &Image) -> BTreeSet<TopicId> {
        match logs {
            None => self.commits.keys().copied().collect(),
            Some(logs) => logs.iter().filter_map(|log| image.log(log)).map(|log| log.metadata.topic_id).collect(),
        }
    }

    pub(super) fn delete_commits(
        &mut self,
        request: &VlsnDeleteCommitRequest,
        image: &Image,
        out: &mut Effects,
    ) -> VlsnDeleteCommitResponse {
        let consumer = request.consumer.as_str();
        let named = check_consumer(consumer);
        let names: BTreeSet<StrBytes> = match &request.logs {
            Some(logs) => logs.iter().cloned().collect(),
            None => self.logs_of(consumer, image).map(text).collect(),
        };
        let (mut results, mut records) = (Vec::with_capacity(names.len()), Vec::new());
        for log in names {
            let decided = named.clone().map_err(CommitError::from).and_then(|()| {
                let (found, _) = image.vlsn_log(log.as_str())?;
                Ok(found.metadata.topic_id)
            });
            let (error_code, error_message) = match decided {
                Ok(id) => {
                    if self.commits.get(&id).is_some_and(|of_log| of_log.contains_key(consumer)) {
                        self.put(VlsnRecord::CommitRemoved { id, consumer: consumer.to_owned() }, &mut records);
                    }
                    (0, None)
                }
                Err(error) => refusal(error.code(), &error),
            };
            results.push(VlsnDeleteCommitResult { log, error_code, error_message });
        }
        out.commit_in_parts(records);
        VlsnDeleteCommitResponse { throttle_time_ms: 0, results }
    }

    /// Logs in which the consumer committed.
    fn logs_of<'a>(&'a self, consumer: &'a str, image: &'a Image) -> impl Iterator<Item = &'a str> {
        let theirs = self.commits.iter().filter(move |(_, of_log)| of_log.contains_key(consumer));
        theirs.filter_map(|(id, _)| Some(image.log_by_id(*id)?.metadata.log_id.as_str()))
    }
}
