//! What is asked of the broker before and after a run: versions, the topic, its leaders and offsets.
//!
//! Holds: only versions that every broker from Kafka 2.1 on knows are used here; every wait ends.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::response::decode_response;
use pyralog_protocol::{ApiKey, ErrorCode, Request, Response};

use crate::error::BenchError;
use crate::frames::encode;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a new topic may be without leaders.
const LEADERS_WAIT: Duration = Duration::from_secs(30);
/// Answers of this kind are small; DescribeConfigs and its like are not asked.
const ANSWER_BYTES_MAX: usize = 64 << 20;

const METADATA: i16 = 5;
const CREATE_TOPICS: i16 = 2;
const DELETE_TOPICS: i16 = 1;
const LIST_OFFSETS: i16 = 2;
/// Produce up to v12 and Fetch up to v12 name their topics; later ones know only ids.
const PRODUCE: (i16, i16) = (3, 12);
/// Fetch answers have a session from v7 on.
const FETCH: (i16, i16) = (7, 12);

/// A connection that waits for each answer.
#[derive(Debug)]
pub struct Client {
    address: String,
    stream: TcpStream,
}

/// A partition and who leads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// Where its leader listens.
    pub leader: SocketAddr,
}

/// Versions that this tool and the broker both speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Of Produce.
    pub produce: i16,
    /// Of Fetch.
    pub fetch: i16,
}

/// What a topic is created with.
#[derive(Debug, Clone)]
pub struct NewTopic<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many partitions.
    pub partitions: u32,
    /// Copies of each.
    pub replication_factor: i16,
    /// Its configs.
    pub configs: &'a [(String, String)],
}

/// Opens a connection for one of the ways of talking.
pub fn connect(address: SocketAddr) -> Result<TcpStream, BenchError> {
    let fail = |error| BenchError::Connect { address: address.to_string(), error };
    let stream = if address.ip().is_loopback() {
        unpaced(address)
    } else {
        TcpStream::connect_timeout(&address, Duration::from_secs(10))
    };
    let stream = stream.map_err(fail)?;
    stream.set_nodelay(true).map_err(fail)?;
    Ok(stream)
}

/// A connection on loopback. Where the system's congestion control is BBR, what is sent would be paced by timers, at more than
/// half of the load generator's processor time. It has to be said before the connection is made.
fn unpaced(address: SocketAddr) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Every Linux has it. Where it may not be chosen, the system's choice stays, for all brokers alike.
    let _ = sockopt::set_tcp_congestion(&socket, "reno");
    connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>, BenchError> {
    let found = address.to_socket_addrs().map(Vec::from_iter);
    found.map_err(|error| BenchError::Address { address: address.to_owned(), error })
}

impl Client {
    /// Connects to the first of the given addresses (`HOST:PORT`, separated by commas) that answers.
    pub fn connect(bootstrap: &str) -> Result<Self, BenchError> {
        let mut failed = None;
        for address in bootstrap.split(',').map(str::trim) {
            for resolved in resolve(address)? {
                match connect(resolved) {
                    Ok(stream) => return Self { address: address.to_owned(), stream }.patient(),
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(failed.unwrap_or_else(|| BenchError::Options(format!("--bootstrap {bootstrap} names no address"))))
    }

    fn patient(self) -> Result<Self, BenchError> {
        let limits = [self.stream.set_read_timeout(Some(PATIENCE)), self.stream.set_write_timeout(Some(PATIENCE))];
        limits.into_iter().try_for_each(|done| done.map_err(|error| self.broken(error)))?;
        Ok(self)
    }

    fn broken(&self, error: std::io::Error) -> BenchError {
        BenchError::Broken { address: self.address.clone(), error }
    }

    fn call(&mut self, api: ApiKey, version: i16, request: impl Into<Request>) -> Result<Response, BenchError> {
        let frame = encode(api, version, request)?;
        let answer = self.exchange(&frame).map_err(|error| self.broken(error))?;
        let malformed = |detail| BenchError::Malformed { what: api.name(), detail };
        let (_, response, _) = decode_response(answer, api, version).map_err(malformed)?;
        Ok(response)
    }

    fn exchange(&mut self, frame: &[u8]) -> std::io::Result<Bytes> {
        self.stream.write_all(frame)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|n| *n <= ANSWER_BYTES_MAX);
        let Some(length) = length else { return Err(std::io::Error::other("the answer's length is out of bounds")) };
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok(answer.into())
    }

    /// Finds the newest versions that both sides know.
    pub fn versions(&mut self) -> Result<Versions, BenchError> {
        let response = self.call(ApiKey::ApiVersions, 0, kp::ApiVersionsRequest::default())?;
        let Response::ApiVersions(body) = response else { return Err(unexpected(ApiKey::ApiVersions)) };
        let theirs: BTreeMap<i16, (i16, i16)> =
            body.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(Versions {
            produce: newest(ApiKey::Produce, PRODUCE, &theirs)?,
            fetch: newest(ApiKey::Fetch, FETCH, &theirs)?,
        })
    }

    /// The partitions of a topic with their leaders; `None` if there is no such topic.
    pub fn partitions(&mut self, topic: &str) -> Result<Option<Vec<Partition>>, BenchError> {
        let begun = Instant::now();
        loop {
            match self.partitions_now(topic)? {
                Found::All(partitions) => return Ok(Some(partitions)),
                Found::NoTopic => return Ok(None),
                Found::NoLeader(partition) if begun.elapsed() > LEADERS_WAIT => {
                    let topic = topic.to_owned();
                    return Err(BenchError::NoLeader { topic, partition, seconds: LEADERS_WAIT.as_secs() });
                }
                Found::NoLeader(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn partitions_now(&mut self, topic: &str) -> Result<Found, BenchError> {
        let name = kp::TopicName(StrBytes::from_string(topic.to_owned()));
        let asked = kp::metadata_request::MetadataRequestTopic::default().with_name(Some(name));
        let request =
            kp::MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let response = self.call(ApiKey::Metadata, METADATA, request)?;
        let Response::Metadata(body) = response else { return Err(unexpected(ApiKey::Metadata)) };
        let Some(found) = body.topics.first() else { return Ok(Found::NoTopic) };
        if found.error_code == ErrorCode::UnknownTopicOrPartition.code() {
            return Ok(Found::NoTopic);
        }
        if found.error_code == ErrorCode::LeaderNotAvailable.code() {
            return Ok(Found::NoLeader(0));
        }
        refused(found.error_code, || format!("metadata of topic {topic}"))?;
        let mut nodes = BTreeMap::new();
        for broker in &body.brokers {
            let address = format!("{}:{}", &*broker.host, broker.port);
            nodes.extend(resolve(&address)?.first().map(|resolved| (broker.node_id, *resolved)));
        }
        let mut partitions = Vec::new();
        for partition in &found.partitions {
            let Some(leader) = nodes.get(&partition.leader_id) else {
                return Ok(Found::NoLeader(partition.partition_index));
            };
            partitions.push(Partition { index: partition.partition_index, leader: *leader });
        }
        partitions.sort_by_key(|partition| partition.index);
        Ok(Found::All(partitions))
    }

    /// Creates a topic.
    pub fn create(&mut self, new: &NewTopic<'_>) -> Result<(), BenchError> {
        let config = |(name, value): &(String, String)| {
            kp::create_topics_request::CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        };
        let topic = kp::create_topics_request::CreatableTopic::default()
            .with_name(kp::TopicName(StrBytes::from_string(new.name.to_owned())))
            .with_num_partitions(i32::try_from(new.partitions).unwrap_or(i32::MAX))
            .with_replication_factor(new.replication_factor)
            .with_configs(new.configs.iter().map(config).collect());
        let request = kp::CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(60_000);
        let response = self.call(ApiKey::CreateTopics, CREATE_TOPICS, request)?;
        let Response::CreateTopics(body) = response else { return Err(unexpected(ApiKey::CreateTopics)) };
        for topic in &body.topics {
            let why = topic.error_message.as_deref().unwrap_or_default();
            refused(topic.error_code, || format!("creating topic {}: {why}", new.name))?;
        }
        Ok(())
    }

    /// Deletes a topic.
    pub fn delete(&mut self, topic: &str) -> Result<(), BenchError> {
        let name = kp::TopicName(StrBytes::from_string(topic.to_owned()));
        let request = kp::DeleteTopicsRequest::default().with_topic_names(vec![name]).with_timeout_ms(60_000);
        let response = self.call(ApiKey::DeleteTopics, DELETE_TOPICS, request)?;
        let Response::DeleteTopics(body) = response else { return Err(unexpected(ApiKey::DeleteTopics)) };
        body.responses.iter().try_for_each(|r| refused(r.error_code, || format!("deleting topic {topic}")))
    }
}

/// Which end of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its first record.
    Earliest,
    /// Behind its last one.
    Latest,
}

/// Offsets of one end of all partitions, in their order.
pub fn offsets(topic: &str, partitions: &[Partition], end: End) -> Result<Vec<i64>, BenchError> {
    let mut by_leader: BTreeMap<SocketAddr, Vec<i32>> = BTreeMap::new();
    partitions.iter().for_each(|p| by_leader.entry(p.leader).or_default().push(p.index));
    let mut found = BTreeMap::new();
    for (leader, indexes) in by_leader {
        let mut client = Client { address: leader.to_string(), stream: connect(leader)? }.patient()?;
        found.extend(client.list_offsets(topic, &indexes, end)?);
    }
    Ok(partitions.iter().map(|p| found.get(&p.index).copied().unwrap_or(0)).collect())
}

impl Client {
    fn list_offsets(&mut self, topic: &str, indexes: &[i32], end: End) -> Result<Vec<(i32, i64)>, BenchError> {
        let timestamp = match end {
            End::Earliest => -2,
            End::Latest => -1,
        };
        let partition = |index: &i32| {
            kp::list_offsets_request::ListOffsetsPartition::default()
                .with_partition_index(*index)
                .with_timestamp(timestamp)
        };
        let asked = kp::list_offsets_request::ListOffsetsTopic::default()
            .with_name(kp::TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(indexes.iter().map(partition).collect());
        let request = kp::ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
        let response = self.call(ApiKey::ListOffsets, LIST_OFFSETS, request)?;
        let Response::ListOffsets(body) = response else { return Err(unexpected(ApiKey::ListOffsets)) };
        let mut found = Vec::new();
        for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
            refused(partition.error_code, || format!("offsets of {topic}-{}", partition.partition_index))?;
            found.push((partition.partition_index, partition.offset));
        }
        Ok(found)
    }
}

enum Found {
    All(Vec<Partition>),
    NoTopic,
    NoLeader(i32),
}

fn newest(api: ApiKey, ours: (i16, i16), theirs: &BTreeMap<i16, (i16, i16)>) -> Result<i16, BenchError> {
    let found = theirs.get(&api.code());
    let version = found.map(|(min, max)| (*min.max(&ours.0), *max.min(&ours.1))).filter(|(min, max)| min <= max);
    version.map(|(_, newest)| newest).ok_or_else(|| BenchError::Versions {
        api: api.name(),
        theirs: found.map_or_else(|| "none".to_owned(), |(min, max)| format!("{min} to {max}")),
        ours: format!("{} to {}", ours.0, ours.1),
    })
}

fn refused(code: i16, what: impl FnOnce() -> String) -> Result<(), BenchError> {
    if code == ErrorCode::None.code() { Ok(()) } else { Err(BenchError::Refused { what: what(), code }) }
}

fn unexpected(api: ApiKey) -> BenchError {
    BenchError::Malformed { what: api.name(), detail: "it is the answer to another request".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ApiKey, PRODUCE, newest};

    #[test]
    fn the_newest_common_version_is_used() {
        for (theirs, expected) in [((0, 6), Some(6)), ((3, 13), Some(12)), ((13, 20), None), ((0, 2), None)] {
            let theirs = BTreeMap::from([(0, theirs)]);
            assert_eq!(newest(ApiKey::Produce, PRODUCE, &theirs).ok(), expected);
        }
        let error = newest(ApiKey::Produce, PRODUCE, &BTreeMap::new()).expect_err("no Produce at all").to_string();
        assert_eq!(error, "the broker answers Produce in versions none, this tool needs one of 3 to 12");
    }
}
