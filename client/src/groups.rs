//! Groups of consumers, seen from outside: which there are, who is in them, how far they are, and putting that elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use pyralog_protocol::kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use pyralog_protocol::{ApiKey, ErrorCode, LogId, LogOffset, NodeId};

use crate::client::PyralogClient;
use crate::error::{BrokerError, CallError, GroupError, LogError};
use crate::log::StartAt;
use crate::net::cluster::{GroupFailure, str_bytes};
use crate::pure::groups as read;

/// The protocol that a group speaks.
///
/// ```
/// assert_eq!(pyralog_client::GroupKind::Consumer.to_string(), "consumer");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupKind {
    /// The members assign partitions to each other.
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
    /// Anything else, by Kafka's name.
    Other(String),
}

impl GroupKind {
    pub(crate) fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "classic" => Self::Classic,
            "consumer" => Self::Consumer,
            _ => Self::Other(name.to_owned()),
        }
    }
}

impl std::fmt::Display for GroupKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Classic => f.write_str("classic"),
            Self::Consumer => f.write_str("consumer"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// A group in a listing.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for group in client.list_groups().await? {
///     println!("{} is {}", group.group, group.state);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its name.
    pub group: String,
    /// Its protocol.
    pub kind: GroupKind,
    /// Its state, by Kafka's name: `Stable`, `Empty`, ...
    pub state: String,
    /// What its members are: `consumer`, `connect`, ...; empty if nobody ever joined.
    pub protocol_type: String,
}

/// A group, described.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// let group = client.describe_group("billing").await?;
/// println!("{} members, assigned by {}", group.members.len(), group.assignor);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub group: String,
    /// Its protocol.
    pub kind: GroupKind,
    /// Its state, by Kafka's name.
    pub state: String,
    /// What its members are.
    pub protocol_type: String,
    /// Who assigns partitions: `range`, `uniform`, ...; empty if nobody has yet.
    pub assignor: String,
    /// The node that coordinates it.
    pub coordinator: NodeId,
    /// The epoch of a consumer group.
    pub epoch: Option<i32>,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for member in client.describe_group("billing").await?.members {
///     println!("{} at {} has {:?}", member.client_id, member.host, member.assignment);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// What the group calls it.
    pub member_id: String,
    /// What it calls itself across restarts, if it does.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub host: String,
    /// The epoch of a member of a consumer group.
    pub epoch: Option<i32>,
    /// Partitions that it has, by log.
    pub assignment: BTreeMap<String, Vec<u32>>,
}

/// How far a group is in a partition.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for at in client.group_positions("billing").await? {
///     println!("{}/{} lags {:?} behind", at.log, at.partition, at.lag());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPosition {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: u32,
    /// The first offset that is still to be read.
    pub committed: LogOffset,
    /// Where the partition ends; `None` if it is not there any more, or cannot be read now.
    pub end: Option<LogOffset>,
}

impl GroupPosition {
    /// Offsets between the position and the end.
    ///
    /// ```
    /// use pyralog_client::{GroupPosition, LogId, LogOffset};
    ///
    /// let log = LogId::new("orders").unwrap();
    /// let at = GroupPosition { log, partition: 0, committed: LogOffset(7), end: Some(LogOffset(10)) };
    /// assert_eq!(at.lag(), Some(3));
    /// ```
    pub fn lag(&self) -> Option<u64> {
        self.end.map(|end| u64::try_from(end.0.saturating_sub(self.committed.0)).unwrap_or(0))
    }
}

/// Where offsets of a group are put. Whatever is asked for, they stay between the start and the end of their partition.
///
/// ```
/// use pyralog_client::GroupReset;
///
/// let ten_again = GroupReset::Shift(-10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupReset {
    /// The first record that is still there.
    Earliest,
    /// Behind the last record.
    Latest,
    /// This offset.
    Offset(LogOffset),
    /// So many on from the committed offset, back if negative. Partitions without a commit are left alone.
    Shift(i64),
    /// The first record that is not older than this.
    Time(SystemTime),
}

/// What a reset does to a partition.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// use pyralog_client::{LogId, GroupReset};
///
/// let log = LogId::new("orders")?;
/// let plan = client.plan_group_reset("billing", &[(log, None)], GroupReset::Earliest).await?;
/// for change in &plan {
///     println!("{}/{}: {:?} to {}", change.log, change.partition, change.from, change.to);
/// }
/// client.reset_group("billing", &plan).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetChange {
    /// The log.
    pub log: LogId,
    /// The partition.
    pub partition: u32,
    /// What is committed, if anything is.
    pub from: Option<LogOffset>,
    /// What is to be.
    pub to: LogOffset,
}

fn failed(group: &str, failure: GroupFailure) -> GroupError {
    match failure {
        GroupFailure::Refused(reason) => GroupError::Refused { group: group.to_owned(), reason },
        GroupFailure::Call(error) => GroupError::Call(error),
    }
}

fn refused(group: &str, code: i16, message: Option<&str>) -> GroupError {
    #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else a broker refuses for")]
    match ErrorCode::from_code(code) {
        Some(ErrorCode::GroupIdNotFound) => GroupError::Unknown { group: group.to_owned() },
        Some(ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId) => GroupError::NotEmpty { group: group.to_owned() },
        _ => GroupError::Refused { group: group.to_owned(), reason: BrokerError::new(code, message) },
    }
}

fn silent(api: ApiKey, group: &str) -> GroupError {
    let reason = format!("it says nothing of group {group}");
    CallError::Unexpected { address: "the coordinator".to_owned(), api, reason }.into()
}

fn of_log(group: &str, error: LogError) -> GroupError {
    match error {
        LogError::Name(error) => GroupError::Name(error),
        LogError::Unknown { log } => GroupError::UnknownLog { log },
        LogError::NoPartition { log, partition, .. } => {
            let reason = BrokerError::new(ErrorCode::UnknownTopicOrPartition.code(), None);
            GroupError::RefusedPartition { group: group.to_owned(), log: log.to_string(), partition, reason }
        }
        LogError::NoLeader { log, partition } => {
            let reason = BrokerError::new(ErrorCode::LeaderNotAvailable.code(), None);
            GroupError::RefusedPartition { group: group.to_owned(), log: log.to_string(), partition, reason }
        }
        LogError::RefusedPartition { log, partition, reason } => {
            GroupError::RefusedPartition { group: group.to_owned(), log: log.to_string(), partition, reason }
        }
        LogError::Refused { reason, .. } | LogError::RefusedAll(reason) => {
            GroupError::Refused { group: group.to_owned(), reason }
        }
        LogError::Call(error) => GroupError::Call(error),
    }
}

impl PyralogClient {
    /// All groups, by name: every node is asked for those that it coordinates.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// println!("{} groups", client.list_groups().await?.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_groups(&self) -> Result<Vec<GroupSummary>, GroupError> {
        self.cluster().repeat(CallError::is_retriable, || self.cluster().metadata(Some(&[]))).await?;
        let nodes: Vec<NodeId> = self.cluster().view().nodes.keys().copied().collect();
        let mut groups = Vec::new();
        for node in nodes {
            let answer = self.cluster().ask_node(node, kp::ListGroupsRequest::default()).await?;
            if answer.error_code != 0 {
                let reason = BrokerError::new(answer.error_code, None);
                return Err(GroupError::Refused { group: format!("(all of node {node})"), reason });
            }
            groups.extend(answer.groups.iter().map(read::listed));
        }
        groups.sort_by(|a, b| a.group.cmp(&b.group));
        Ok(groups)
    }

    /// A group: its state and its members, of either protocol.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// println!("{}", client.describe_group("billing").await?.state);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, GroupError> {
        if let Some(described) = self.describe_consumer_group(group).await? {
            return Ok(described);
        }
        let request = kp::DescribeGroupsRequest::default().with_groups(vec![str_bytes(group).into()]);
        let code = |answer: &kp::DescribeGroupsResponse| answer.groups.first().map_or(0, |group| group.error_code);
        let answer = self.cluster().ask_coordinator(group, request, code).await;
        let answer = answer.map_err(|failure| failed(group, failure))?;
        let found = answer.groups.first().ok_or_else(|| silent(ApiKey::DescribeGroups, group))?;
        match found.error_code {
            // Before version 6, a group that is not there is a dead one.
            0 if found.group_state.as_str() == "Dead" => Err(GroupError::Unknown { group: group.to_owned() }),
            0 => Ok(read::classic(found, self.coordinator_of(group).await?)),
            code => Err(refused(group, code, found.error_message.as_deref())),
        }
    }

    /// `None` if the group speaks another protocol, is not there, or the broker knows only classic groups.
    async fn describe_consumer_group(&self, group: &str) -> Result<Option<GroupDescription>, GroupError> {
        let request = kp::ConsumerGroupDescribeRequest::default().with_group_ids(vec![str_bytes(group).into()]);
        let code =
            |answer: &kp::ConsumerGroupDescribeResponse| answer.groups.first().map_or(0, |group| group.error_code);
        let answer = match self.cluster().ask_coordinator(group, request, code).await {
            Ok(answer) => answer,
            Err(GroupFailure::Call(CallError::NotOffered { .. })) => return Ok(None),
            Err(failure) => return Err(failed(group, failure)),
        };
        let found = answer.groups.first().ok_or_else(|| silent(ApiKey::ConsumerGroupDescribe, group))?;
        match found.error_code {
            0 => Ok(Some(read::consumer(found, self.coordinator_of(group).await?))),
            code if code == ErrorCode::GroupIdNotFound.code() || code == ErrorCode::UnsupportedVersion.code() => {
                Ok(None)
            }
            code => Err(refused(group, code, found.error_message.as_deref())),
        }
    }

    async fn coordinator_of(&self, group: &str) -> Result<NodeId, GroupError> {
        self.cluster().coordinator(group).await.map_err(|failure| failed(group, failure))
    }

    /// How far a group is in every partition that it has committed for, with where those end.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let lag: u64 = client.group_positions("billing").await?.iter().filter_map(|at| at.lag()).sum();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn group_positions(&self, group: &str) -> Result<Vec<GroupPosition>, GroupError> {
        let committed = self.committed(group).await?;
        let logs: BTreeSet<LogId> = committed.keys().map(|(log, _)| log.clone()).collect();
        let mut ends = BTreeMap::new();
        for log in logs {
            match self.partition_offsets(&log, StartAt::Latest).await {
                Ok(offsets) => {
                    let known = offsets.into_iter().filter_map(|(partition, end)| Some((partition, end.ok()?)));
                    ends.extend(known.map(|(partition, end)| ((log.clone(), partition), end)));
                }
                Err(LogError::Unknown { .. }) => {}
                Err(error) => return Err(of_log(group, error)),
            }
        }
        let position = |((log, partition), committed): ((LogId, u32), LogOffset)| {
            let end = ends.get(&(log.clone(), partition)).copied();
            GroupPosition { log, partition, committed, end }
        };
        Ok(committed.into_iter().map(position).collect())
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<(LogId, u32), LogOffset>, GroupError> {
        let asked = OffsetFetchRequestGroup::default().with_group_id(str_bytes(group).into()).with_topics(None);
        let request = kp::OffsetFetchRequest::default().with_groups(vec![asked]);
        let code = |answer: &kp::OffsetFetchResponse| answer.groups.first().map_or(0, |group| group.error_code);
        let answer = self.cluster().ask_coordinator(group, request, code).await;
        let answer = answer.map_err(|failure| failed(group, failure))?;
        let found = answer.groups.first().ok_or_else(|| silent(ApiKey::OffsetFetch, group))?;
        if found.error_code != 0 {
            return Err(refused(group, found.error_code, None));
        }
        let mut committed = BTreeMap::new();
        for topic in &found.topics {
            let Ok(log) = LogId::new(topic.name.as_str()) else { continue };
            for entry in topic.partitions.iter().filter(|entry| entry.committed_offset >= 0) {
                if let Ok(partition) = u32::try_from(entry.partition_index) {
                    committed.insert((log.clone(), partition), LogOffset(entry.committed_offset));
                }
            }
        }
        Ok(committed)
    }

    /// What a reset would do: to partitions of these logs (`None`: to all of them), or, if no log is named, to every
    /// partition that the group has committed for. Nothing is changed.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::GroupReset;
    ///
    /// let plan = client.plan_group_reset("billing", &[], GroupReset::Latest).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan_group_reset(
        &self,
        group: &str,
        of: &[(LogId, Option<u32>)],
        to: GroupReset,
    ) -> Result<Vec<OffsetChange>, GroupError> {
        let committed = self.committed(group).await?;
        let logs: BTreeSet<LogId> = match of {
            [] => committed.keys().map(|(log, _)| log.clone()).collect(),
            of => of.iter().map(|(log, _)| log.clone()).collect(),
        };
        let mut changes = Vec::new();
        for log in logs {
            let failed = |error| of_log(group, error);
            let wanted: BTreeSet<u32> = of.iter().filter(|(of, _)| *of == log).filter_map(|(_, p)| *p).collect();
            let is_whole = of.iter().any(|(of, partition)| *of == log && partition.is_none());
            let count = self.view_of(&log).await.map_err(failed)?.partitions.len();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            if let Some(&partition) = wanted.iter().find(|partition| **partition >= count) {
                return Err(failed(LogError::NoPartition { log, partition, count }));
            }
            let is_committed = |partition| committed.contains_key(&(log.clone(), partition));
            let is_meant = |partition: u32| match of {
                [] => is_committed(partition),
                _ => is_whole || wanted.contains(&partition),
            };
            let starts = self.offsets_in(&log, is_meant, StartAt::Earliest).await.map_err(failed)?;
            let ends = self.offsets_in(&log, is_meant, StartAt::Latest).await.map_err(failed)?;
            let found = match to {
                GroupReset::Time(time) => self.offsets_in(&log, is_meant, StartAt::Time(time)).await.map_err(failed)?,
                GroupReset::Earliest | GroupReset::Latest | GroupReset::Offset(_) | GroupReset::Shift(_) => {
                    BTreeMap::new()
                }
            };
            for (&partition, &end) in &ends {
                let from = committed.get(&(log.clone(), partition)).copied();
                let start = starts.get(&partition).copied().unwrap_or_default();
                let found = found.get(&partition).copied();
                if let Some(to) = read::reset(&to, from, start..=end, found) {
                    changes.push(OffsetChange { log: log.clone(), partition, from, to });
                }
            }
        }
        Ok(changes)
    }

    /// Commits what a plan says. The group must have no members.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// use pyralog_client::GroupReset;
    ///
    /// let plan = client.plan_group_reset("billing", &[], GroupReset::Shift(-100)).await?;
    /// client.reset_group("billing", &plan).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reset_group(&self, group: &str, changes: &[OffsetChange]) -> Result<(), GroupError> {
        let mut topics: BTreeMap<&LogId, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for change in changes {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(i32::try_from(change.partition).unwrap_or(i32::MAX))
                .with_committed_offset(change.to.0)
                .with_committed_metadata(Some(str_bytes("")));
            topics.entry(&change.log).or_default().push(partition);
        }
        if topics.is_empty() {
            return Ok(());
        }
        let topics = topics.into_iter().map(|(log, partitions)| {
            OffsetCommitRequestTopic::default().with_name(str_bytes(log.as_str()).into()).with_partitions(partitions)
        });
        let request = kp::OffsetCommitRequest::default()
            .with_group_id(str_bytes(group).into())
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect());
        let first_error = |answer: &kp::OffsetCommitResponse| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            partitions.map(|partition| partition.error_code).find(|code| *code != 0).unwrap_or(0)
        };
        let answer = self.cluster().ask_coordinator(group, request, first_error).await;
        match first_error(&answer.map_err(|failure| failed(group, failure))?) {
            0 => Ok(()),
            code => Err(refused(group, code, None)),
        }
    }

    /// Deletes a group with its committed offsets. It must have no members.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// client.delete_group("billing").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_group(&self, group: &str) -> Result<(), GroupError> {
        let request = kp::DeleteGroupsRequest::default().with_groups_names(vec![str_bytes(group).into()]);
        let code = |answer: &kp::DeleteGroupsResponse| answer.results.first().map_or(0, |result| result.error_code);
        let answer = self.cluster().ask_coordinator(group, request, code).await;
        let answer = answer.map_err(|failure| failed(group, failure))?;
        let found = answer.results.first().ok_or_else(|| silent(ApiKey::DeleteGroups, group))?;
        if found.error_code == 0 { Ok(()) } else { Err(refused(group, found.error_code, None)) }
    }
}
