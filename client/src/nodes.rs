//! The cluster and its nodes, as an operator looks at them.

use std::collections::BTreeMap;

use pyralog_protocol::kafka_protocol::messages as kp;
use pyralog_protocol::kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use pyralog_protocol::{ApiKey, NodeId};

use crate::client::PyralogClient;
use crate::error::{BrokerError, CallError, ClusterError};
use crate::net::cluster::str_bytes;

/// Where Kafka keeps metadata, by name.
const METADATA_LOG: &str = "__cluster_metadata";

/// A cluster.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// let cluster = client.describe_cluster().await?;
/// println!("{}: {} nodes", cluster.cluster_id, cluster.nodes.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: String,
    /// The node that administers it, as far as that is said.
    pub controller: Option<NodeId>,
    /// Its nodes, by number.
    pub nodes: Vec<NodeDescription>,
}

/// A node of a cluster.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for node in client.describe_cluster().await?.nodes {
///     println!("{} is at {}:{}", node.node, node.host, node.port);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// Its number.
    pub node: NodeId,
    /// Where it listens: host.
    pub host: String,
    /// And port.
    pub port: u16,
    /// Where it stands, if that is configured.
    pub rack: Option<String>,
}

/// The quorum that keeps metadata.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// let quorum = client.describe_quorum().await?;
/// println!("node {:?} leads in epoch {}", quorum.leader, quorum.epoch);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub epoch: i32,
    /// Up to where metadata is committed.
    pub high_watermark: i64,
    /// Who votes, and up to where each of them has the metadata.
    pub voters: BTreeMap<NodeId, i64>,
    /// Who only follows.
    pub observers: BTreeMap<NodeId, i64>,
}

/// A folder with data on a node.
///
/// ```no_run
/// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
/// for node in client.describe_cluster().await?.nodes {
///     for folder in client.describe_folders(node.node).await? {
///         println!("{}: {} bytes in {} partitions", folder.path, folder.partition_bytes, folder.partitions);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderDescription {
    /// Its path on the node.
    pub path: String,
    /// What is wrong with it, if something is.
    pub error: Option<BrokerError>,
    /// Partitions in it.
    pub partitions: u64,
    /// Bytes of them.
    pub partition_bytes: u64,
    /// Size of the volume, where the broker says it.
    pub total_bytes: Option<u64>,
    /// What is free of it, where the broker says it.
    pub usable_bytes: Option<u64>,
}

impl PyralogClient {
    /// Who belongs to the cluster.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// println!("{:?}", client.describe_cluster().await?.controller);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClusterError> {
        let request = kp::DescribeClusterRequest::default();
        let cluster = self.cluster();
        let answer = cluster.repeat(CallError::is_retriable, || cluster.ask(request.clone())).await?;
        if answer.error_code != 0 {
            return Err(ClusterError::Refused(BrokerError::new(answer.error_code, answer.error_message.as_deref())));
        }
        let node = |broker: &kp::describe_cluster_response::DescribeClusterBroker| NodeDescription {
            node: NodeId(broker.broker_id.0),
            host: broker.host.to_string(),
            port: u16::try_from(broker.port).unwrap_or(0),
            rack: broker.rack.as_ref().map(ToString::to_string),
        };
        let mut nodes: Vec<NodeDescription> = answer.brokers.iter().map(node).collect();
        nodes.sort_by_key(|node| node.node);
        let controller = (answer.controller_id.0 >= 0).then_some(NodeId(answer.controller_id.0));
        Ok(ClusterDescription { cluster_id: answer.cluster_id.to_string(), controller, nodes })
    }

    /// Who keeps the metadata, and how far each of them is.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// println!("{} voters", client.describe_quorum().await?.voters.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_quorum(&self) -> Result<QuorumDescription, ClusterError> {
        let topic = TopicData::default()
            .with_topic_name(str_bytes(METADATA_LOG).into())
            .with_partitions(vec![PartitionData::default().with_partition_index(0)]);
        let request = kp::DescribeQuorumRequest::default().with_topics(vec![topic]);
        let cluster = self.cluster();
        let answer = cluster.repeat(CallError::is_retriable, || cluster.ask(request.clone())).await?;
        if answer.error_code != 0 {
            return Err(ClusterError::Refused(BrokerError::new(answer.error_code, answer.error_message.as_deref())));
        }
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| CallError::Unexpected {
            address: "a broker".to_owned(),
            api: ApiKey::DescribeQuorum,
            reason: format!("it says nothing of {METADATA_LOG}"),
        })?;
        if found.error_code != 0 {
            return Err(ClusterError::Refused(BrokerError::new(found.error_code, found.error_message.as_deref())));
        }
        let ends = |replicas: &[kp::describe_quorum_response::ReplicaState]| {
            replicas.iter().map(|replica| (NodeId(replica.replica_id.0), replica.log_end_offset)).collect()
        };
        Ok(QuorumDescription {
            leader: (found.leader_id.0 >= 0).then_some(NodeId(found.leader_id.0)),
            epoch: found.leader_epoch,
            high_watermark: found.high_watermark,
            voters: ends(&found.current_voters),
            observers: ends(&found.observers),
        })
    }

    /// The folders of a node, with what is in them.
    ///
    /// ```no_run
    /// # async fn example(client: pyralog_client::PyralogClient) -> pyralog_client::Result<()> {
    /// let folders = client.describe_folders(pyralog_client::NodeId(1)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_folders(&self, node: NodeId) -> Result<Vec<FolderDescription>, ClusterError> {
        let request = kp::DescribeLogDirsRequest::default().with_topics(None);
        let cluster = self.cluster();
        if !cluster.view().nodes.contains_key(&node) {
            cluster.metadata(Some(&[])).await?;
        }
        let answer = cluster.repeat(CallError::is_retriable, || cluster.ask_node(node, request.clone())).await?;
        if answer.error_code != 0 {
            return Err(ClusterError::Refused(BrokerError::new(answer.error_code, None)));
        }
        let folder = |found: &kp::describe_log_dirs_response::DescribeLogDirsResult| {
            let partitions = || found.topics.iter().flat_map(|topic| &topic.partitions).filter(|of| !of.is_future_key);
            let sizes = partitions().map(|of| u64::try_from(of.partition_size).unwrap_or(0));
            FolderDescription {
                path: found.log_dir.to_string(),
                error: (found.error_code != 0).then(|| BrokerError::new(found.error_code, None)),
                partitions: u64::try_from(partitions().count()).unwrap_or(u64::MAX),
                partition_bytes: sizes.fold(0, u64::saturating_add),
                total_bytes: u64::try_from(found.total_bytes).ok(),
                usable_bytes: u64::try_from(found.usable_bytes).ok(),
            }
        };
        Ok(answer.results.iter().map(folder).collect())
    }
}
