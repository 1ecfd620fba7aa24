//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete, and what happens when a topic goes.
//! Holds: what a fetch answers was committed, and the answer leaves after everything before it is durable (GR-09).
//! Offsets are the clients' numbers: nothing here compares them with a log (O4).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages as m;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_response as fetched;
use pyralog_protocol::{ErrorCode, Now, TopicId, kafka_protocol};

use super::consumer::{Consumer, Current};
use super::error::{CommitError, DeleteError, FetchError, MemberError};
use super::hard::{Group, Kind};
use super::record::{Committed, GroupRecord, Stage};
use super::reply::{Mentions, answered, text};
use super::step::Step;
use super::{Groups, NAME_BYTES_MAX};
use crate::command::{Context, Reply};

/// Who commits, when, and until when it is to be kept.
struct Commit<'a> {
    group: &'a str,
    commit_ms: i64,
    expire_ms: Option<i64>,
}

impl<'a> Commit<'a> {
    /// v2-v4 may ask for a retention of their own.
    fn new(version: i16, request: &'a m::OffsetCommitRequest, now: Now) -> Self {
        let own_retention = version <= 4 && request.retention_time_ms >= 0;
        Self {
            group: request.group_id.as_str(),
            commit_ms: now.wall.0,
            expire_ms: own_retention.then(|| now.wall.0.saturating_add(request.retention_time_ms)),
        }
    }
}

impl Groups {
    pub(super) fn commit(&mut self, ctx: &Context, request: &m::OffsetCommitRequest, step: &mut Step<'_>) {
        let checked = self.check_commit(ctx.api_version, request);
        if checked.is_ok() {
            self.renew_session(request.group_id.as_str(), request.member_id.as_str(), step.now);
        }
        let checked = checked.map_err(|e| e.code(ctx.api_version));
        let commit = Commit::new(ctx.api_version, request, step.now);
        let mut answered = Vec::with_capacity(request.topics.len());
        // A topic of which no partition is named is not answered, as in Kafka.
        for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
            let name = topic.name.as_str();
            let (id, known) = step.topics.topic(name).unwrap_or_default();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for p in &topic.partitions {
                let allowed =
                    checked.as_ref().map_err(|code| *code).and_then(|scope| scope.check(id, p.partition_index));
                let code = match ((0..known).contains(&p.partition_index), allowed) {
                    (false, _) => ErrorCode::UnknownTopicOrPartition,
                    (true, Err(refused)) => refused,
                    (true, Ok(())) => self.commit_one(&commit, name, p, step),
                };
                let entry = OffsetCommitResponsePartition::default();
                partitions.push(entry.with_partition_index(p.partition_index).with_error_code(code.code()));
            }
            let entry = OffsetCommitResponseTopic::default().with_name(topic.name.clone());
            answered.push(entry.with_partitions(partitions));
        }
        step.reply(ctx.token, Reply::OffsetCommit(m::OffsetCommitResponse::default().with_topics(answered)));
    }

    fn commit_one(
        &mut self,
        commit: &Commit<'_>,
        topic: &str,
        p: &OffsetCommitRequestPartition,
        step: &mut Step<'_>,
    ) -> ErrorCode {
        let metadata = p.committed_metadata.as_deref().unwrap_or_default();
        let max = self.settings.offset_metadata_max;
        // A string has at most as many UTF-16 units as bytes: short ones need not be counted.
        if metadata.len() > max && metadata.encode_utf16().count() > max {
            return ErrorCode::OffsetMetadataTooLarge;
        }
        let committed = Committed {
            offset: p.committed_offset,
            leader_epoch: p.committed_leader_epoch,
            metadata: metadata.to_string(),
            commit_ms: commit.commit_ms,
            expire_ms: commit.expire_ms,
        };
        let (group, topic) = (commit.group.to_string(), topic.to_string());
        self.put(GroupRecord::Offset { group, topic, partition: p.partition_index, committed }, step);
        ErrorCode::None
    }

    fn check_commit(&self, version: i16, request: &m::OffsetCommitRequest) -> Result<Scope, CommitError> {
        let (name, id) = (request.group_id.as_str(), request.member_id.as_str());
        let instance = request.group_instance_id.as_deref();
        let generation = request.generation_id_or_member_epoch;
        if name.is_empty() {
            return Err(MemberError::EmptyGroupId.into());
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(CommitError::GroupIdTooLong { bytes: name.len(), max: NAME_BYTES_MAX });
        }
        let group = match self.hard.groups.get(name).map(|group| &group.kind) {
            None => return self.check_commit_creates(name, generation).map(|()| Scope::All),
            Some(Kind::Consumer(consumer)) => return check_member_commit(consumer, version, request),
            Some(Kind::Classic(classic)) => classic,
        };
        if generation < 0 && group.head.stage == Stage::Empty {
            return Ok(Scope::All);
        }
        if generation < 0 && id.is_empty() && instance.is_none() {
            return Err(MemberError::Unknown.into());
        }
        Self::check_generation(self.member_of(name, id, instance)?, generation)?;
        match group.head.stage {
            Stage::CompletingRebalance => Err(MemberError::Rebalancing.into()),
            Stage::Empty | Stage::PreparingRebalance | Stage::Stable => Ok(Scope::All),
        }
    }

    /// Without a generation anybody may begin to store offsets under a new name. A group that exists only as promised
    /// member ids is one without members.
    fn check_commit_creates(&self, name: &str, generation: i32) -> Result<(), CommitError> {
        let promised = self.live.contains_key(name);
        match self.settings.groups_max {
            _ if generation >= 0 && promised => Err(MemberError::Unknown.into()),
            _ if generation >= 0 => Err(CommitError::NoGroup),
            max if self.count() >= max => Err(CommitError::TooManyGroups { max }),
            _ => Ok(()),
        }
    }

    pub(super) fn fetch(&self, ctx: &Context, request: &m::OffsetFetchRequest, step: &mut Step<'_>) {
        let response = m::OffsetFetchResponse::default();
        let response = match ctx.api_version {
            ..=7 => response.with_topics(self.fetch_one(ctx.api_version, request)),
            _ => response
                .with_groups(answered(&request.groups, |g| g.group_id.as_str()).map(|g| self.fetch_group(g)).collect()),
        };
        step.reply(ctx.token, Reply::OffsetFetch(response));
    }

    /// Leader epochs are there from v5 on.
    fn fetch_one(&self, version: i16, request: &m::OffsetFetchRequest) -> Vec<fetched::OffsetFetchResponseTopic> {
        let group = self.hard.groups.get(request.group_id.as_str());
        let asked = request
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|t| (t.name.as_str(), t.partition_indexes.as_slice())).collect::<Vec<_>>());
        let topic = |(name, partitions): (&str, Vec<(i32, Option<&Committed>)>)| {
            let partitions = partitions.into_iter().map(|(index, committed)| {
                let committed = Shown::of(committed);
                fetched::OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(committed.offset)
                    .with_committed_leader_epoch(if version >= 5 { committed.leader_epoch } else { -1 })
                    .with_metadata(Some(text(committed.metadata)))
            });
            fetched::OffsetFetchResponseTopic::default()
                .with_name(text(name).into())
                .with_partitions(partitions.collect())
        };
        select(group, asked.as_deref()).into_iter().map(topic).collect()
    }

    fn fetch_group(
        &self,
        request: &m::offset_fetch_request::OffsetFetchRequestGroup,
    ) -> fetched::OffsetFetchResponseGroup {
        let group = self.hard.groups.get(request.group_id.as_str());
        if let Err(error) = check_member_fetch(group, request) {
            let refused = fetched::OffsetFetchResponseGroup::default().with_error_code(error.code().code());
            return refused.with_group_id(request.group_id.clone());
        }
        let asked = request
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|t| (t.name.as_str(), t.partition_indexes.as_slice())).collect::<Vec<_>>());
        let topic = |(name, partitions): (&str, Vec<(i32, Option<&Committed>)>)| {
            let partitions = partitions.into_iter().map(|(index, committed)| {
                let committed = Shown::of(committed);
                fetched::OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(committed.offset)
                    .with_committed_leader_epoch(committed.leader_epoch)
                    .with_metadata(Some(text(committed.metadata)))
            });
            fetched::OffsetFetchResponseTopics::default()
                .with_name(text(name).into())
                .with_partitions(partitions.collect())
        };
        fetched::OffsetFetchResponseGroup::default()
            .with_group_id(request.group_id.clone())
            .with_topics(select(group, asked.as_deref()).into_iter().map(topic).collect())
    }

    pub(super) fn delete_offsets(&mut self, ctx: &Context, request: &m::OffsetDeleteRequest, step: &mut Step<'_>) {
        let name = request.group_id.as_str();
        let response = m::OffsetDeleteResponse::default();
        if let Err(error) = self.check_offset_delete(name) {
            let response = response.with_error_code(error.code().code());
            return step.reply(ctx.token, Reply::OffsetDelete(response));
        }
        // Who reads them is asked of topics that exist, and once of each: a request may have any number of names.
        let names = request.topics.iter().map(|topic| topic.name.as_str());
        let existing: BTreeSet<&str> = names.filter(|name| step.topics.partitions(name).is_some()).collect();
        let unread = match self.hard.groups.get(name) {
            Some(group) => self.unread(group, existing),
            None => existing,
        };
        let mut answered = Vec::with_capacity(request.topics.len());
        for topic in request.topics.iter().filter(|topic| !topic.partitions.is_empty()) {
            let known = step.topics.partitions(topic.name.as_str()).unwrap_or(0);
            let subscribed = !unread.contains(topic.name.as_str());
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for index in topic.partitions.iter().map(|p| p.partition_index) {
                let code = match ((0..known).contains(&index), subscribed) {
                    (false, _) => ErrorCode::UnknownTopicOrPartition,
                    (true, true) => ErrorCode::GroupSubscribedToTopic,
                    (true, false) => self.delete_offset(name, topic.name.as_str(), index, step),
                };
                let entry = OffsetDeleteResponsePartition::default();
                partitions.push(entry.with_partition_index(index).with_error_code(code.code()));
            }
            let entry = OffsetDeleteResponseTopic::default().with_name(topic.name.clone());
            answered.push(entry.with_partitions(partitions));
        }
        step.reply(ctx.token, Reply::OffsetDelete(response.with_topics(answered)));
    }

    /// Of groups with members only consumers say what they read; others must be empty.
    fn check_offset_delete(&self, name: &str) -> Result<(), DeleteError> {
        if name.is_empty() {
            return Err(DeleteError::EmptyGroupId);
        }
        match self.hard.groups.get(name).map(|group| &group.kind) {
            Some(Kind::Consumer(_)) => Ok(()),
            Some(Kind::Classic(classic)) if classic.head.stage == Stage::Empty || classic.is_consumer() => Ok(()),
            Some(Kind::Classic(_)) => Err(DeleteError::HasMembers),
            None if self.live.contains_key(name) => Ok(()),
            None => Err(DeleteError::NoGroup),
        }
    }

    fn delete_offset(&mut self, group: &str, topic: &str, partition: i32, step: &mut Step<'_>) -> ErrorCode {
        if self.hard.groups.get(group).is_some_and(|g| g.committed(topic, partition).is_some()) {
            let (group, topic) = (group.to_string(), topic.to_string());
            self.put(GroupRecord::OffsetRemoved { group, topic, partition }, step);
        }
        ErrorCode::None
    }

    /// One look at each group, however many topics go.
    pub(super) fn forget_topics(&mut self, names: &BTreeSet<String>) -> BTreeMap<String, Vec<GroupRecord>> {
        let mut gone: BTreeMap<String, Vec<GroupRecord>> = BTreeMap::new();
        for (group, Group { offsets, .. }) in &self.hard.groups {
            let topics: Vec<&String> = match offsets.len() < names.len() {
                true => offsets.keys().filter(|topic| names.contains(*topic)).collect(),
                false => names.iter().filter(|name| offsets.contains_key(*name)).collect(),
            };
            for topic in topics {
                let record = GroupRecord::TopicRemoved { group: group.clone(), topic: topic.clone() };
                gone.entry(topic.clone()).or_default().push(record);
            }
        }
        gone.values().flatten().for_each(|record| self.apply(record));
        gone
    }
}

/// Which partitions a commit may name.
enum Scope {
    /// All.
    All,
    /// The member is behind: those that it has held since its epoch or longer (N14).
    HeldSince { epoch: i32, current: Current, stale: ErrorCode },
}

impl Scope {
    fn check(&self, topic: TopicId, partition: i32) -> Result<(), ErrorCode> {
        match self {
            Self::All => Ok(()),
            Self::HeldSince { epoch, current, stale } => match current.holds_since(topic, partition) {
                Some(since) if since <= *epoch => Ok(()),
                Some(_) | None => Err(*stale),
            },
        }
    }
}

/// A commit to a KIP-848 group. Without members anybody may commit without an epoch.
fn check_member_commit(
    consumer: &Consumer,
    version: i16,
    request: &m::OffsetCommitRequest,
) -> Result<Scope, CommitError> {
    let found = request.generation_id_or_member_epoch;
    if found < 0 && consumer.members.is_empty() {
        return Ok(Scope::All);
    }
    let member = consumer.members.get(request.member_id.as_str()).ok_or(MemberError::Unknown)?;
    if !member.is_classic() && version < 9 {
        return Err(CommitError::OldVersion);
    }
    let (current, classic) = (member.current.epoch, member.is_classic());
    match found.cmp(&current) {
        Ordering::Equal => Ok(Scope::All),
        Ordering::Greater if classic => Err(MemberError::Generation { found, current }.into()),
        Ordering::Greater => Err(CommitError::Epoch { found, current }),
        Ordering::Less => {
            let stale = if classic { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch };
            Ok(Scope::HeldSince { epoch: found, current: member.current.clone(), stale })
        }
    }
}

/// Members of a KIP-848 group read with their epoch (v9); everybody else names neither member nor epoch.
fn check_member_fetch(
    group: Option<&Group>,
    request: &m::offset_fetch_request::OffsetFetchRequestGroup,
) -> Result<(), FetchError> {
    let Some(Kind::Consumer(consumer)) = group.map(|group| &group.kind) else { return Ok(()) };
    let (id, found) = (request.member_id.as_deref(), request.member_epoch);
    if id.is_none() && found < 0 {
        return Ok(());
    }
    let member = consumer.members.get(id.unwrap_or_default()).ok_or(MemberError::Unknown)?;
    match member.current.epoch {
        current if current == found => Ok(()),
        current if member.is_classic() => Err(MemberError::Generation { found, current }.into()),
        current => Err(FetchError::Epoch { found, current }),
    }
}

/// What OffsetFetch says about one partition (O1).
struct Shown<'a> {
    offset: i64,
    leader_epoch: i32,
    metadata: &'a str,
}

impl<'a> Shown<'a> {
    fn of(committed: Option<&'a Committed>) -> Self {
        committed.map_or(Self { offset: -1, leader_epoch: -1, metadata: "" }, |c| Self {
            offset: c.offset,
            leader_epoch: c.leader_epoch,
            metadata: &c.metadata,
        })
    }
}

type Asked<'a> = (&'a str, &'a [i32]);
type Found<'a> = (&'a str, Vec<(i32, Option<&'a Committed>)>);

/// The partitions asked for, committed or not; all committed ones when none were named.
fn select<'a>(group: Option<&'a Group>, asked: Option<&[Asked<'a>]>) -> Vec<Found<'a>> {
    let Some(asked) = asked else {
        let all = group.map(|group| &group.offsets).into_iter().flatten();
        return all.map(|(name, ps)| (name.as_str(), ps.iter().map(|(i, c)| (*i, Some(c))).collect())).collect();
    };
    let find = |name: &str, index: i32| group.and_then(|group| group.committed(name, index));
    let mut mentions = Mentions::new();
    let topic = |(name, indexes): &Asked<'a>| {
        let indexes = indexes.iter().filter(|index| mentions.is_answered((*name, **index)));
        (*name, indexes.map(|index| (*index, find(name, *index))).collect())
    };
    asked.iter().map(topic).collect()
}
