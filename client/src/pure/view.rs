//! What the client knows of the cluster: nodes, logs, leaders.
//!
//! Holds: for one log (one topic id) a leader of an older epoch never replaces one of a newer; brokers that lag behind do
//! not send the client back. A log that was created again under its name starts from nothing. Partitions are 0 to n - 1.

use std::collections::BTreeMap;

use pyralog_protocol::created::created_of;
use pyralog_protocol::kafka_protocol::messages::MetadataResponse;
use pyralog_protocol::kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use pyralog_protocol::{ErrorCode, LeaderEpoch, LogId, MonoMs, NodeId, TopicId, WallMs};

/// The cluster as of some moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub cluster_id: Option<String>,
    /// The node that administers it, as far as that is said.
    pub controller: Option<NodeId>,
    /// Where nodes listen.
    pub nodes: BTreeMap<NodeId, Endpoint>,
    /// Logs that were asked for.
    pub logs: BTreeMap<LogId, LogView>,
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogView {
    /// Identity; another one under the same name is another log.
    pub id: TopicId,
    /// Whether the broker keeps it for itself.
    pub is_internal: bool,
    /// When it was created, where the broker tells.
    pub created_at: Option<WallMs>,
    /// By number.
    pub partitions: Vec<PartitionView>,
    /// When this was learnt.
    pub as_of: MonoMs,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    /// Who leads it.
    pub leader: Option<NodeId>,
    /// The leadership's number.
    pub epoch: LeaderEpoch,
    /// Nodes that keep a copy.
    pub replicas: Vec<NodeId>,
    /// Those that are in sync.
    pub in_sync: Vec<NodeId>,
}

/// What a broker says of a log that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learnt {
    /// It is in the view now.
    Known,
    /// There is none of that name.
    Unknown,
    /// The broker answers with an error.
    Refused(i16),
    /// The answer says nothing of it, or nothing that makes sense.
    Nothing,
}

impl View {
    /// Takes in an answer. Logs that it says nothing of stay as they were.
    pub fn take(&mut self, answer: &MetadataResponse, now: MonoMs) {
        self.cluster_id = answer.cluster_id.as_ref().map(ToString::to_string);
        self.controller = node(answer.controller_id.0);
        let nodes: BTreeMap<NodeId, Endpoint> = answer
            .brokers
            .iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok().filter(|port| *port > 0)?;
                Some((NodeId(broker.node_id.0), Endpoint { host: broker.host.to_string(), port }))
            })
            .collect();
        if !nodes.is_empty() {
            self.nodes = nodes;
        }
        for topic in &answer.topics {
            self.take_log(topic, now);
        }
    }

    fn take_log(&mut self, topic: &MetadataResponseTopic, now: MonoMs) -> Option<()> {
        let log = LogId::new(topic.name.as_ref()?).ok()?;
        if is_unknown(topic.error_code) {
            self.logs.remove(&log);
        }
        if topic.error_code != 0 {
            return None;
        }
        let id = TopicId(topic.topic_id.into_bytes());
        let known = self.logs.get(&log).filter(|known| known.id == id);
        let partitions = partitions(&topic.partitions, known)?;
        let (is_internal, created_at) = (topic.is_internal, created_of(topic));
        self.logs.insert(log, LogView { id, is_internal, created_at, partitions, as_of: now });
        Some(())
    }

    /// What an answer said of a log, after it was taken in.
    pub fn learnt(&self, answer: &MetadataResponse, log: &LogId) -> Learnt {
        let named =
            |topic: &&MetadataResponseTopic| topic.name.as_ref().is_some_and(|name| name.as_str() == log.as_str());
        match answer.topics.iter().find(named) {
            Some(topic) if is_unknown(topic.error_code) => Learnt::Unknown,
            Some(topic) if topic.error_code != 0 => Learnt::Refused(topic.error_code),
            Some(_) if self.logs.contains_key(log) => Learnt::Known,
            Some(_) | None => Learnt::Nothing,
        }
    }

    /// Leader of a partition, with its address.
    pub fn leader(&self, log: &LogId, partition: u32) -> Option<NodeId> {
        let log = self.logs.get(log)?;
        log.partitions.get(usize::try_from(partition).ok()?)?.leader
    }
}

fn is_unknown(code: i16) -> bool {
    code == ErrorCode::UnknownTopicOrPartition.code() || code == ErrorCode::UnknownTopicId.code()
}

fn node(id: i32) -> Option<NodeId> {
    (id >= 0).then_some(NodeId(id))
}

/// Partitions in order, newest leaderships kept; `None` when their numbers are not 0 to n - 1.
fn partitions(found: &[MetadataResponsePartition], known: Option<&LogView>) -> Option<Vec<PartitionView>> {
    let mut ordered: Vec<&MetadataResponsePartition> = found.iter().collect();
    ordered.sort_by_key(|partition| partition.partition_index);
    let is_complete = (0i32..).zip(&ordered).all(|(index, partition)| partition.partition_index == index);
    if !is_complete {
        return None;
    }
    let nodes =
        |ids: &[pyralog_protocol::kafka_protocol::messages::BrokerId]| ids.iter().map(|id| NodeId(id.0)).collect();
    let view = |(index, partition): (usize, &MetadataResponsePartition)| {
        let fresh = PartitionView {
            leader: node(partition.leader_id.0),
            epoch: LeaderEpoch(partition.leader_epoch),
            replicas: nodes(&partition.replica_nodes),
            in_sync: nodes(&partition.isr_nodes),
        };
        match known.and_then(|known| known.partitions.get(index)) {
            Some(known) if known.epoch > fresh.epoch => known.clone(),
            Some(_) | None => fresh,
        }
    };
    Some(ordered.into_iter().enumerate().map(view).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyralog_protocol::kafka_protocol::messages::metadata_response::MetadataResponseBroker;
    use pyralog_protocol::kafka_protocol::protocol::StrBytes;

    fn partition(index: i32, leader: i32, epoch: i32) -> MetadataResponsePartition {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader.into())
            .with_leader_epoch(epoch)
            .with_replica_nodes(vec![1.into(), 2.into()])
            .with_isr_nodes(vec![1.into()])
    }

    fn answer(id: u8, partitions: Vec<MetadataResponsePartition>, error: i16) -> MetadataResponse {
        let topic = MetadataResponseTopic::default()
            .with_name(Some(StrBytes::from_static_str("log").into()))
            .with_topic_id(uuid::Uuid::from_bytes([id; 16]))
            .with_error_code(error)
            .with_partitions(partitions);
        let broker = MetadataResponseBroker::default().with_node_id(1.into()).with_host("h".into()).with_port(9092);
        MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]).with_controller_id((-1).into())
    }

    fn log() -> LogId {
        LogId::new("log").unwrap()
    }

    #[test]
    fn m16_a_lagging_broker_does_not_bring_an_old_leader_back() {
        let mut view = View::default();
        view.take(&answer(1, vec![partition(1, 2, 7), partition(0, 1, 3)], 0), MonoMs(1));
        assert_eq!((view.leader(&log(), 0), view.leader(&log(), 1)), (Some(NodeId(1)), Some(NodeId(2))));
        view.take(&answer(1, vec![partition(0, 2, 4), partition(1, 1, 6)], 0), MonoMs(2));
        assert_eq!((view.leader(&log(), 0), view.leader(&log(), 1)), (Some(NodeId(2)), Some(NodeId(2))));
        // Another log of the same name.
        view.take(&answer(2, vec![partition(0, 1, 0)], 0), MonoMs(3));
        assert_eq!((view.leader(&log(), 0), view.leader(&log(), 1)), (Some(NodeId(1)), None));
        assert_eq!((view.controller, view.nodes.len()), (None, 1));
    }

    #[test]
    fn unknown_logs_go_and_senseless_ones_change_nothing() {
        let mut view = View::default();
        let good = answer(1, vec![partition(0, -1, 3)], 0);
        view.take(&good, MonoMs(1));
        assert_eq!(view.learnt(&good, &log()), Learnt::Known);
        assert_eq!(view.leader(&log(), 0), None);
        let before = view.clone();
        for partitions in
            [vec![partition(1, 1, 1)], vec![partition(0, 1, 1), partition(0, 1, 1)], vec![partition(-1, 1, 1)]]
        {
            view.take(&answer(1, partitions, 0), MonoMs(2));
            assert_eq!(view, before);
        }
        let refused = answer(1, vec![], 29);
        view.take(&refused, MonoMs(2));
        assert_eq!((view.learnt(&refused, &log()), &view), (Learnt::Refused(29), &before));
        let unknown = answer(1, vec![], 3);
        view.take(&unknown, MonoMs(2));
        assert_eq!((view.learnt(&unknown, &log()), view.logs.len()), (Learnt::Unknown, 0));
        assert_eq!(view.learnt(&MetadataResponse::default(), &log()), Learnt::Nothing);
    }
}
