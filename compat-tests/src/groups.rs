//! Classic groups and their offsets, driven by hand: one [`Conn`] per member, because a join waits.
//!
//! Members here use session and rebalance timeouts of ten seconds unless a test changes the request.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartition;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};

use crate::calls::eventually;
use crate::conn::Conn;
use crate::{text, topic, unique};

/// A group id as the message types want it.
pub fn group_id(s: &str) -> GroupId {
    GroupId(text(s))
}

/// The metadata of a consumer, v0: topics, then user data. Kafka 4.3.1 never answers a join of protocol type `consumer`
/// whose metadata it cannot decode.
pub fn subscription(topics: &[&str], user_data: &str) -> Bytes {
    let length = |n: usize| i32::try_from(n).expect("a small number");
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(length(topics.len()));
    for name in topics {
        out.put_i16(i16::try_from(name.len()).expect("a topic name"));
        out.put_slice(name.as_bytes());
    }
    out.put_i32(length(user_data.len()));
    out.put_slice(user_data.as_bytes());
    out.freeze()
}

/// One protocol of a join, subscribed to nothing.
pub fn protocol(name: &str, user_data: &str) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(subscription(&[], user_data))
}

/// A join with protocol type `consumer`, the single protocol `range` and the user data `metadata`.
pub fn join_request(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol("range", "metadata")])
}

/// A sync (v5) without assignments, with what [`join_request`] offers.
pub fn sync_request(group: &str, generation: i32, member: &str) -> SyncGroupRequest {
    SyncGroupRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
}

/// The sync of a leader that gives each member `<prefix> <member id>`.
pub fn leader_sync(group: &str, joined: &JoinGroupResponse, prefix: &str) -> SyncGroupRequest {
    let assign = |id: &str| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(Bytes::from(format!("{prefix} {id}")))
    };
    sync_request(group, joined.generation_id, &joined.member_id)
        .with_assignments(joined.members.iter().map(|m| assign(&m.member_id)).collect())
}

/// A heartbeat.
pub fn heartbeat_request(group: &str, generation: i32, member: &str) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id(generation)
        .with_member_id(text(member))
}

/// A commit of one offset per (topic, partition), adjacent ones of a topic in one entry; generation and member are what an admin client sends.
pub fn commit_request(group: &str, offsets: &[(&str, i32, i64)]) -> OffsetCommitRequest {
    let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
    for (name, partition, offset) in offsets {
        let one = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("")));
        match topics.last_mut() {
            Some(last) if last.name.as_str() == *name => last.partitions.push(one),
            _ => topics.push(OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![one])),
        }
    }
    OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics)
}

/// A member that has joined and been assigned.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its group.
    pub group: String,
    /// Its id.
    pub id: String,
    /// Its generation.
    pub generation: i32,
}

impl Conn {
    /// A group id that was never used and whose coordinator serves.
    pub fn new_group(&mut self, prefix: &str) -> String {
        let group = unique(prefix);
        self.wait_for_coordinator(&group);
        group
    }

    /// Kafka brings the coordinator of a group up when it is first looked for (G1).
    pub fn wait_for_coordinator(&mut self, group: &str) {
        let find = FindCoordinatorRequest::default().with_key(text(group)).with_key_type(0);
        eventually("a coordinator", || (self.call(3, &find).error_code == 0).then_some(()));
        eventually("the coordinator serves", || {
            let error = self.call(4, &heartbeat_request(group, 1, "nobody")).error_code;
            (![14, 15, 16].contains(&error)).then_some(())
        });
    }

    /// Joins (v9), with a second request where the broker first hands out a member id.
    pub fn join(&mut self, request: &JoinGroupRequest) -> JoinGroupResponse {
        let sent = self.send_join(request);
        self.receive::<JoinGroupRequest>(9, sent)
    }

    /// As [`Conn::join`], without waiting for the answer of the join that counts.
    pub fn send_join(&mut self, request: &JoinGroupRequest) -> i32 {
        if !request.member_id.is_empty() || request.group_instance_id.is_some() {
            return self.send(9, request);
        }
        let first = self.call(9, request);
        assert_eq!(first.error_code, 79, "{first:?}");
        self.send(9, &request.clone().with_member_id(first.member_id))
    }

    /// Syncs (v5).
    pub fn sync(&mut self, request: &SyncGroupRequest) -> SyncGroupResponse {
        self.call(5, request)
    }

    /// Joins as the only member and takes the assignment.
    pub fn join_alone(&mut self, request: &JoinGroupRequest) -> Member {
        let joined = self.join(request);
        assert_eq!(joined.error_code, 0, "{joined:?}");
        let synced = self.sync(&leader_sync(&request.group_id, &joined, "for"));
        assert_eq!(synced.error_code, 0, "{synced:?}");
        Member {
            group: request.group_id.to_string(),
            id: joined.member_id.to_string(),
            generation: joined.generation_id,
        }
    }

    /// Heartbeat v4, error code.
    pub fn heartbeat(&mut self, member: &Member) -> i16 {
        self.call(4, &heartbeat_request(&member.group, member.generation, &member.id)).error_code
    }

    /// LeaveGroup v5 of these member ids.
    pub fn leave(&mut self, group: &str, members: &[&str]) -> LeaveGroupResponse {
        let members = members.iter().map(|id| MemberIdentity::default().with_member_id(text(id))).collect();
        self.call(5, &LeaveGroupRequest::default().with_group_id(group_id(group)).with_members(members))
    }

    /// DescribeGroups v6 of one group.
    pub fn describe_group(&mut self, group: &str) -> DescribedGroup {
        let response = self.call(6, &DescribeGroupsRequest::default().with_groups(vec![group_id(group)]));
        assert_eq!(response.groups.len(), 1, "{response:?}");
        response.groups[0].clone()
    }

    /// Commits (v8) and returns the error of the first partition.
    pub fn commit(&mut self, request: &OffsetCommitRequest) -> i16 {
        self.call(8, request).topics[0].partitions[0].error_code
    }

    /// Commits as this member (v8), one partition; its error.
    pub fn commit_as(&mut self, member: &Member, name: &str, offset: i64) -> i16 {
        let request = commit_request(&member.group, &[(name, 0, offset)])
            .with_generation_id_or_member_epoch(member.generation)
            .with_member_id(text(&member.id));
        self.commit(&request)
    }

    /// OffsetFetch v7 of these partitions of a topic; `None` asks for all topics.
    pub fn offsets(&mut self, group: &str, asked: Option<(&str, &[i32])>) -> OffsetFetchResponse {
        let topics = asked.map(|(name, partitions)| {
            vec![OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(partitions.to_vec())]
        });
        self.call(7, &OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(topics))
    }

    /// What OffsetFetch v7 says about one partition.
    pub fn committed(&mut self, group: &str, name: &str, partition: i32) -> OffsetFetchResponsePartition {
        let response = self.offsets(group, Some((name, &[partition])));
        assert_eq!(response.error_code, 0, "{response:?}");
        response.topics[0].partitions[0].clone()
    }
}
