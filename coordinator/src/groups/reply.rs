//! Builds responses, each with exactly the fields that its version has: `kafka-protocol` refuses to encode others.

use std::collections::BTreeMap;

use kafka_protocol::messages as m;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{ErrorCode, kafka_protocol};

use super::hard::Classic;
use super::record::Blob;
use crate::command::Reply;

pub(super) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

/// How often a request is answered what it names again and again. Clients name everything once, and Kafka answers each
/// mention; without a limit a small request asks for an answer of any size.
const MENTIONS_MAX: u8 = 8;

/// What one request has named so far.
pub(super) struct Mentions<K>(BTreeMap<K, u8>);

impl<K: Ord> Mentions<K> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Whether this mention is one to be answered.
    pub(super) fn is_answered(&mut self, key: K) -> bool {
        let count = self.0.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= MENTIONS_MAX
    }
}

/// The items to be answered, in their order.
pub(super) fn answered<'a, T, K: Ord>(items: &'a [T], key: impl Fn(&'a T) -> K) -> impl Iterator<Item = &'a T> {
    let mut mentions = Mentions::new();
    items.iter().filter(move |item| mentions.is_answered(key(item)))
}

/// A refused JoinGroup. The protocol name is null from v7 on and empty before (G8).
pub(super) fn join_error(version: i16, code: ErrorCode, member: &str) -> Reply {
    let response = m::JoinGroupResponse::default()
        .with_error_code(code.code())
        .with_generation_id(-1)
        .with_protocol_name((version < 7).then(StrBytes::default))
        .with_member_id(text(member));
    Reply::JoinGroup(response)
}

/// How a static member is told that it came back without a rebalance (KIP-814).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// What the group says: the leader gets the list and assigns.
    AsElected,
    /// The leader gets the list, but must not assign.
    SkipsAssignment,
    /// Before v9 a leader that came back is not told that it leads: it would assign anew.
    NamesFormerLeader(&'a str),
}

/// The current generation, as `member` sees it.
pub(super) fn joined(version: i16, group: &Classic, member: &str, role: Role<'_>) -> Reply {
    let leads = group.is_leader(member);
    let (leader, lists, skips) = match role {
        Role::AsElected => (group.head.leader.as_deref(), leads, false),
        Role::SkipsAssignment => (group.head.leader.as_deref(), leads, leads),
        Role::NamesFormerLeader(id) => (Some(id), false, false),
    };
    let protocol = group.head.protocol.as_deref().unwrap_or_default();
    let response = m::JoinGroupResponse::default()
        .with_generation_id(group.head.generation)
        .with_protocol_type((version >= 7).then(|| text(group.head.protocol_type.as_deref().unwrap_or_default())))
        .with_protocol_name(Some(text(protocol)))
        .with_leader(text(leader.unwrap_or_default()))
        .with_skip_assignment(skips && version >= 9)
        .with_member_id(text(member))
        .with_members(if lists { member_list(version, group, protocol) } else { Vec::new() });
    Reply::JoinGroup(response)
}

fn member_list(version: i16, group: &Classic, protocol: &str) -> Vec<m::join_group_response::JoinGroupResponseMember> {
    let entry = |(id, member): (&String, &super::hard::Member)| {
        let instance = member.join.instance.as_deref().filter(|_| version >= 5).map(text);
        m::join_group_response::JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance)
            .with_metadata(member.join.metadata(protocol).map(Blob::bytes).unwrap_or_default())
    };
    group.members.iter().map(entry).collect()
}

pub(super) fn sync_error(code: ErrorCode) -> Reply {
    Reply::SyncGroup(m::SyncGroupResponse::default().with_error_code(code.code()))
}

pub(super) fn synced(version: i16, group: &Classic, member: &str) -> Reply {
    let from_v5 = |value: &Option<String>| value.as_deref().filter(|_| version >= 5).map(text);
    let assignment = group.members.get(member).map(|found| found.assignment.bytes()).unwrap_or_default();
    let response = m::SyncGroupResponse::default()
        .with_protocol_type(from_v5(&group.head.protocol_type))
        .with_protocol_name(from_v5(&group.head.protocol))
        .with_assignment(assignment);
    Reply::SyncGroup(response)
}
