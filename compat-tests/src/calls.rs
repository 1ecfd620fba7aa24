//! The calls that nearly every test makes, in one line each. They assert nothing beyond "there is an answer for what
//! was asked", except where the name says so.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, FetchResponse, ListOffsetsRequest,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
};
use uuid::Uuid;

use crate::conn::{Conn, PATIENCE};
use crate::{text, topic, unique};

/// Calls `probe` until it returns something, at most [`PATIENCE`].
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A Metadata request for these names; no auto-creation.
pub fn metadata_request(names: &[&str]) -> MetadataRequest {
    let topics = names.iter().map(|n| MetadataRequestTopic::default().with_name(Some(topic(n)))).collect();
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false)
}

/// A produce request for one partition, acks=-1.
pub fn produce_request(name: &str, partition: i32, records: &[u8]) -> ProduceRequest {
    produce_parts(-1, &[(name, partition, Some(records))])
}

/// A produce request for several partitions, in this order; adjacent ones of one topic share its entry.
pub fn produce_parts(acks: i16, parts: &[(&str, i32, Option<&[u8]>)]) -> ProduceRequest {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    for (name, partition, records) in parts {
        let data =
            PartitionProduceData::default().with_index(*partition).with_records(records.map(Bytes::copy_from_slice));
        match topics.last_mut() {
            Some(last) if last.name.as_str() == *name => last.partition_data.push(data),
            _ => topics.push(TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data])),
        }
    }
    ProduceRequest::default().with_acks(acks).with_timeout_ms(5000).with_topic_data(topics)
}

/// The answer for one partition; panics when it is not there exactly once.
pub fn produced<'a>(response: &'a ProduceResponse, name: &str, partition: i32) -> &'a PartitionProduceResponse {
    let mut found = response
        .responses
        .iter()
        .filter(|t| t.name.as_str() == name)
        .flat_map(|t| &t.partition_responses)
        .filter(|p| p.index == partition);
    let one = found.next().unwrap_or_else(|| panic!("no answer for {name}-{partition} in {response:?}"));
    assert!(found.next().is_none(), "two answers for {name}-{partition} in {response:?}");
    one
}

/// A fetch of one partition.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The request without its topics.
    pub request: FetchRequest,
    /// Name, or empty when `topic_id` counts (v13 and newer).
    pub name: String,
    /// Used by v13 and newer.
    pub topic_id: Uuid,
    /// The partition part.
    pub partition: FetchPartition,
}

impl Fetch {
    /// From this offset, sessionless, answered at once, limits of 1 MiB.
    pub fn at(name: &str, partition: i32, offset: i64) -> Fetch {
        Fetch {
            request: FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_wait_ms(0)
                .with_min_bytes(0)
                .with_max_bytes(1 << 20)
                .with_session_id(0)
                .with_session_epoch(-1),
            name: name.to_owned(),
            topic_id: Uuid::nil(),
            partition: FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(1 << 20),
        }
    }

    /// By topic id, for v13 and newer.
    #[must_use]
    pub fn id(mut self, topic_id: Uuid) -> Fetch {
        self.topic_id = topic_id;
        self
    }

    /// Waits up to `max_wait_ms` for `min_bytes`.
    #[must_use]
    pub fn wait(mut self, max_wait_ms: i32, min_bytes: i32) -> Fetch {
        self.request.max_wait_ms = max_wait_ms;
        self.request.min_bytes = min_bytes;
        self
    }

    /// With these byte limits.
    #[must_use]
    pub fn limits(mut self, max_bytes: i32, partition_max_bytes: i32) -> Fetch {
        self.request.max_bytes = max_bytes;
        self.partition.partition_max_bytes = partition_max_bytes;
        self
    }

    /// Changes anything else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Fetch)) -> Fetch {
        change(&mut self);
        self
    }

    /// The topic entry.
    pub fn topic(&self) -> FetchTopic {
        FetchTopic::default()
            .with_topic(topic(&self.name))
            .with_topic_id(self.topic_id)
            .with_partitions(vec![self.partition.clone()])
    }

    /// The request.
    pub fn build(&self) -> FetchRequest {
        self.request.clone().with_topics(vec![self.topic()])
    }
}

/// The only partition of a fetch answer.
pub fn only(response: &FetchResponse) -> &PartitionData {
    assert_eq!(response.error_code, 0, "{response:?}");
    assert_eq!(response.responses.len(), 1, "{response:?}");
    assert_eq!(response.responses[0].partitions.len(), 1, "{response:?}");
    &response.responses[0].partitions[0]
}

/// The records of a partition's answer, empty where there are none.
pub fn records(partition: &PartitionData) -> &[u8] {
    partition.records.as_deref().unwrap_or_default()
}

impl Conn {
    /// Creates a topic with a new name and waits until all its partitions are led; returns name and id.
    pub fn new_topic(&mut self, prefix: &str, partitions: i32, configs: &[(&str, &str)]) -> (String, Uuid) {
        let name = unique(prefix);
        let id = self.create_topic(&name, partitions, configs);
        (name, id)
    }

    /// Creates a topic of this name and waits until all its partitions are led.
    pub fn create_topic(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let configs = configs
            .iter()
            .map(|(k, v)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v))))
            .collect();
        let wanted = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(15000);
        let response = self.call(7, &request);
        assert_eq!(response.topics.len(), 1, "{response:?}");
        assert_eq!(response.topics[0].error_code, 0, "create {name}: {response:?}");
        self.wait_for_topic(name, partitions);
        response.topics[0].topic_id
    }

    /// Waits until Metadata shows the topic with so many led partitions that serve.
    pub fn wait_for_topic(&mut self, name: &str, partitions: i32) -> MetadataResponseTopic {
        let found = eventually(&format!("{name} has {partitions} leaders"), || {
            let found = self.metadata_of(name);
            let led = found.partitions.iter().filter(|p| p.error_code == 0 && p.leader_id.0 >= 0).count();
            (found.error_code == 0 && led == partitions as usize).then_some(found)
        });
        // Metadata may name a leader that does not serve yet (M20); ListOffsets tells.
        for partition in 0..partitions {
            eventually(&format!("{name}-{partition} serves"), || {
                (self.list_offset(name, partition, -1).error_code == 0).then_some(())
            });
        }
        found
    }

    /// Metadata v12 of these names, without creating them.
    pub fn metadata(&mut self, names: &[&str]) -> MetadataResponse {
        self.call(12, &metadata_request(names))
    }

    /// The Metadata entry of one topic, without creating it.
    pub fn metadata_of(&mut self, name: &str) -> MetadataResponseTopic {
        let response = self.metadata(&[name]);
        assert_eq!(response.topics.len(), 1, "{response:?}");
        response.topics[0].clone()
    }

    /// Deletes a topic and waits until Metadata does not show it.
    pub fn delete_topic(&mut self, name: &str) {
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![DeleteTopicState::default().with_name(Some(topic(name)))])
            .with_timeout_ms(15000);
        let response = self.call(6, &request);
        assert_eq!(response.responses[0].error_code, 0, "delete {name}: {response:?}");
        eventually(&format!("{name} is gone"), || (self.metadata_of(name).error_code == 3).then_some(()));
    }

    /// Produces one records section to one partition with acks=-1, v9.
    pub fn produce(&mut self, name: &str, partition: i32, records: &[u8]) -> PartitionProduceResponse {
        self.produce_at(9, name, partition, records)
    }

    /// As [`Conn::produce`], in another version (3 to 12).
    pub fn produce_at(&mut self, version: i16, name: &str, partition: i32, records: &[u8]) -> PartitionProduceResponse {
        let response = self.call(version, &produce_request(name, partition, records));
        produced(&response, name, partition).clone()
    }

    /// Produces, must succeed; returns the base offset.
    pub fn append(&mut self, name: &str, partition: i32, records: &[u8]) -> i64 {
        let answer = self.produce(name, partition, records);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        answer.base_offset
    }

    /// Fetches one partition by name, v12.
    pub fn fetch(&mut self, fetch: &Fetch) -> PartitionData {
        self.fetch_at(12, fetch)
    }

    /// As [`Conn::fetch`], in another version (4 to 18).
    pub fn fetch_at(&mut self, version: i16, fetch: &Fetch) -> PartitionData {
        let response = self.call(version, &fetch.build());
        only(&response).clone()
    }

    /// All batches from `offset` on that fit into one answer.
    pub fn read(&mut self, name: &str, partition: i32, offset: i64) -> Vec<crate::batch::StoredBatch> {
        let answer = self.fetch(&Fetch::at(name, partition, offset));
        assert_eq!(answer.error_code, 0, "{answer:?}");
        crate::batch::parse(records(&answer))
    }

    /// ListOffsets v7 of one partition, read_uncommitted.
    pub fn list_offset(&mut self, name: &str, partition: i32, timestamp: i64) -> ListOffsetsPartitionResponse {
        self.list_offset_at(7, name, partition, timestamp)
    }

    /// As [`Conn::list_offset`], in another version (1 to 10).
    pub fn list_offset_at(
        &mut self,
        version: i16,
        name: &str,
        partition: i32,
        timestamp: i64,
    ) -> ListOffsetsPartitionResponse {
        let response = self.call(version, &list_offsets(name, partition, timestamp));
        assert_eq!(response.topics.len(), 1, "{response:?}");
        response.topics[0].partitions[0].clone()
    }

    /// The high watermark.
    pub fn end_offset(&mut self, name: &str, partition: i32) -> i64 {
        self.list_offset(name, partition, -1).offset
    }
}

/// A ListOffsets request for one partition.
pub fn list_offsets(name: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let wanted = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(timestamp);
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![wanted])])
}
