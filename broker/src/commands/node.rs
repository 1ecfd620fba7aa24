//! `pyralog node ...`: the nodes of a cluster.

use clap::{Args, Subcommand};
use pyralog_client::{CallError, ClusterError, PyralogClient};
use serde::Serialize;

use super::failure::Failure;
use super::output::{self, Row};
use super::target::Target;

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Show the cluster: its nodes, their folders, who keeps the metadata, and what does not serve
    Status(StatusArgs),
}

/// Flags of `pyralog node status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print JSON: an object with cluster_id, nodes, quorum, logs, partitions and more
    #[arg(long)]
    pub json: bool,
    /// The broker.
    #[command(flatten)]
    pub target: Target,
}

/// Runs it.
pub async fn run(command: NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::Status(args) => status(args).await,
    }
}

#[derive(Serialize)]
struct Status {
    cluster_id: String,
    controller: Option<i32>,
    logs: usize,
    partitions: u64,
    /// As `LOG:PARTITION`.
    partitions_without_leader: Vec<String>,
    partitions_under_replicated: Vec<String>,
    quorum: Option<Quorum>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Quorum {
    leader: Option<i32>,
    epoch: i32,
    high_watermark: i64,
    voters: Vec<Keeper>,
    observers: Vec<Keeper>,
}

#[derive(Serialize)]
struct Keeper {
    node: i32,
    end_offset: i64,
}

#[derive(Serialize)]
struct Node {
    node: i32,
    host: String,
    port: u16,
    rack: Option<String>,
    /// What was wrong when it was asked for its folders.
    error: Option<String>,
    folders: Vec<Folder>,
}

#[derive(Serialize)]
struct Folder {
    path: String,
    error: Option<String>,
    partitions: u64,
    partition_bytes: u64,
    total_bytes: Option<u64>,
    usable_bytes: Option<u64>,
}

/// A line of the table: a folder of a node, or a node that does not say which it has.
#[derive(Serialize)]
struct Line {
    node: String,
    address: String,
    partitions: String,
    size: String,
    free: String,
    folder: String,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &["NODE", "ADDRESS", "PARTITIONS", "SIZE", "FREE", "FOLDER"];

    fn cells(&self) -> Vec<String> {
        [&self.node, &self.address, &self.partitions, &self.size, &self.free, &self.folder].map(Clone::clone).to_vec()
    }
}

async fn status(args: StatusArgs) -> Result<(), Failure> {
    let client = args.target.connect().await?;
    let status = collect(&client).await?;
    if args.json { output::print_json(&status) } else { output::print(&page(&status)) }
}

async fn collect(client: &PyralogClient) -> Result<Status, Failure> {
    let cluster = client.describe_cluster().await?;
    let mut nodes = Vec::new();
    for node in cluster.nodes {
        let (folders, error) = match client.describe_folders(node.node).await {
            Ok(folders) => (folders, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let folders = folders.into_iter().map(|folder| Folder {
            path: folder.path,
            error: folder.error.map(|error| error.to_string()),
            partitions: folder.partitions,
            partition_bytes: folder.partition_bytes,
            total_bytes: folder.total_bytes,
            usable_bytes: folder.usable_bytes,
        });
        let folders = folders.collect();
        nodes.push(Node { node: node.node.0, host: node.host, port: node.port, rack: node.rack, error, folders });
    }
    let quorum = match client.describe_quorum().await {
        Ok(quorum) => Some(quorum),
        // A broker that keeps its metadata elsewhere.
        Err(ClusterError::Call(CallError::NotOffered { .. }) | ClusterError::Refused(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let keepers = |of: std::collections::BTreeMap<pyralog_client::NodeId, i64>| {
        of.into_iter().map(|(node, end_offset)| Keeper { node: node.0, end_offset }).collect()
    };
    let quorum = quorum.map(|quorum| Quorum {
        leader: quorum.leader.map(|node| node.0),
        epoch: quorum.epoch,
        high_watermark: quorum.high_watermark,
        voters: keepers(quorum.voters),
        observers: keepers(quorum.observers),
    });
    let mut status = Status {
        cluster_id: cluster.cluster_id,
        controller: cluster.controller.map(|node| node.0),
        logs: 0,
        partitions: 0,
        partitions_without_leader: Vec::new(),
        partitions_under_replicated: Vec::new(),
        quorum,
        nodes,
    };
    for log in client.list_partitions().await? {
        status.logs += 1;
        for partition in log.partitions {
            status.partitions += 1;
            let name = || format!("{}:{}", log.log_id, partition.partition);
            if partition.leader.is_none() {
                status.partitions_without_leader.push(name());
            }
            if partition.in_sync_replicas.len() < partition.replicas.len() {
                status.partitions_under_replicated.push(name());
            }
        }
    }
    Ok(status)
}

fn page(status: &Status) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let names = |names: &[String]| match names {
        [] => "none".to_owned(),
        [first, .., last] if names.len() > 10 => format!("{} ({first} to {last})", names.len()),
        names => names.join(", "),
    };
    let mut pairs = vec![
        ("cluster", status.cluster_id.clone()),
        ("controller", or_dash(status.controller.map(|node| format!("node {node}")))),
        ("logs", status.logs.to_string()),
        ("partitions", status.partitions.to_string()),
        ("without leader", names(&status.partitions_without_leader)),
        ("under-replicated", names(&status.partitions_under_replicated)),
    ];
    if let Some(quorum) = &status.quorum {
        let leader = quorum.leader.map_or_else(|| "nobody".to_owned(), |node| format!("node {node}"));
        let text = format!("{leader} leads in epoch {}, {} voters", quorum.epoch, quorum.voters.len());
        pairs.push(("metadata", text));
    }
    let lines: Vec<Line> = status.nodes.iter().flat_map(lines).collect();
    format!("{}\n{}", output::fields(&pairs), output::table(&lines))
}

fn lines(node: &Node) -> Vec<Line> {
    let address = format!("{}:{}", node.host, node.port);
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), output::bytes);
    if let Some(error) = &node.error {
        let none = || "-".to_owned();
        let (partitions, size, free, folder) = (none(), none(), none(), error.clone());
        return vec![Line { node: node.node.to_string(), address, partitions, size, free, folder }];
    }
    let line = |folder: &Folder| Line {
        node: node.node.to_string(),
        address: address.clone(),
        partitions: folder.partitions.to_string(),
        size: output::bytes(folder.partition_bytes),
        free: bytes(folder.usable_bytes),
        folder: folder.error.as_ref().map_or_else(|| folder.path.clone(), |error| format!("{}: {error}", folder.path)),
    };
    node.folders.iter().map(line).collect()
}
