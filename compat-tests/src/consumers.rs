//! KIP-848 groups, driven by hand: heartbeats word by word, and a member that does what the coordinator tells it.

use std::collections::BTreeSet;

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use uuid::Uuid;

use crate::calls::eventually;
use crate::conn::Conn;
use crate::groups::group_id;
use crate::{text, topic, unique};

/// The member epoch with which a member joins.
pub const JOINS: i32 = 0;
/// The member epoch with which a member leaves for good.
pub const LEAVES: i32 = -1;
/// The member epoch with which a static member leaves for a while.
pub const LEAVES_FOR_A_WHILE: i32 = -2;

/// Partitions of topics.
pub type Partitions = BTreeSet<(Uuid, i32)>;

/// A heartbeat that says nothing but who sends it.
pub fn beat_request(group: &str, member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(group))
        .with_member_id(text(member))
        .with_member_epoch(epoch)
}

/// The first heartbeat of a member that subscribes to these topics; rebalance timeout ten seconds.
pub fn join_beat(group: &str, member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    beat_request(group, member, JOINS)
        .with_rebalance_timeout_ms(10_000)
        .with_subscribed_topic_names(Some(topics.iter().map(|name| topic(name)).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

/// What a member owns, as it says so.
pub fn owned(partitions: &Partitions) -> Vec<TopicPartitions> {
    let topics: BTreeSet<Uuid> = partitions.iter().map(|(id, _)| *id).collect();
    let of = |id: Uuid| partitions.iter().filter(|(topic, _)| *topic == id).map(|(_, partition)| *partition).collect();
    topics.into_iter().map(|id| TopicPartitions::default().with_topic_id(id).with_partitions(of(id))).collect()
}

/// The partitions of an assignment.
pub fn assigned(assignment: &Assignment) -> Partitions {
    assignment.topic_partitions.iter().flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, *p))).collect()
}

/// The first partitions of a topic.
pub fn first_partitions(id: Uuid, count: i32) -> Partitions {
    (0..count).map(|partition| (id, partition)).collect()
}

/// A member that takes and gives back at once what it is told to, and says with each heartbeat what it has.
pub struct Consumer {
    /// Its own connection.
    pub conn: Conn,
    /// Its group.
    pub group: String,
    /// Its id.
    pub id: String,
    /// The epoch it was told last.
    pub epoch: i32,
    /// What it was told last to have.
    pub owned: Partitions,
}

impl Consumer {
    /// Joins with a new id; the answer must be a success.
    pub fn join(conn: Conn, group: &str, topics: &[&str]) -> Consumer {
        Consumer::join_with(conn, &join_beat(group, &unique("m"), topics))
    }

    /// Joins with this request.
    pub fn join_with(conn: Conn, request: &ConsumerGroupHeartbeatRequest) -> Consumer {
        let (group, id) = (request.group_id.to_string(), request.member_id.to_string());
        let mut consumer = Consumer { conn, group, id, epoch: JOINS, owned: Partitions::new() };
        let answer = consumer.conn.call(1, request);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        consumer.take(&answer);
        consumer
    }

    /// The heartbeat it would send now.
    pub fn request(&self) -> ConsumerGroupHeartbeatRequest {
        beat_request(&self.group, &self.id, self.epoch).with_topic_partitions(Some(owned(&self.owned)))
    }

    /// Sends it, and follows the answer if that is a success.
    pub fn beat(&mut self) -> ConsumerGroupHeartbeatResponse {
        let request = self.request();
        self.say(&request)
    }

    /// Sends this one instead, and follows the answer if that is a success.
    pub fn say(&mut self, request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        let answer = self.conn.call(1, request);
        if answer.error_code == 0 {
            self.take(&answer);
        }
        answer
    }

    /// Does what an answer says.
    pub fn take(&mut self, answer: &ConsumerGroupHeartbeatResponse) {
        self.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            self.owned = assigned(assignment);
        }
    }

    /// Heartbeats until it owns this.
    pub fn await_partitions(&mut self, wanted: &Partitions) {
        eventually("the assignment", || {
            let answer = self.beat();
            assert_eq!(answer.error_code, 0, "{answer:?}");
            (self.owned == *wanted).then_some(())
        });
    }

    /// Leaves for good.
    pub fn leave(&mut self) -> ConsumerGroupHeartbeatResponse {
        let request = beat_request(&self.group, &self.id, LEAVES);
        self.conn.call(1, &request)
    }
}

/// Heartbeats of all in turn, until they own these partitions together, each the same number or one more, at one epoch.
pub fn settle(members: &mut [Consumer], all: &Partitions) {
    eventually("the members share the partitions", || {
        for member in members.iter_mut() {
            let answer = member.beat();
            assert_eq!(answer.error_code, 0, "{answer:?}");
        }
        let sizes = || members.iter().map(|m| m.owned.len());
        let union: Partitions = members.iter().flat_map(|m| m.owned.iter().copied()).collect();
        assert_eq!(union.len(), sizes().sum::<usize>(), "a partition with two owners");
        let even = sizes().max() <= sizes().min().map(|least| least + 1);
        (union == *all && even && members.iter().all(|m| m.epoch == members[0].epoch)).then_some(())
    });
}

impl Conn {
    /// ConsumerGroupDescribe v1 of one group.
    pub fn describe_consumers(&mut self, group: &str) -> DescribedGroup {
        let answer = self.call(1, &ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]));
        assert_eq!(answer.groups.len(), 1, "{answer:?}");
        answer.groups[0].clone()
    }
}
