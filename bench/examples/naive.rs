//! The least that a server has to do for a produce request: one blocking thread per connection, which reads a frame, checks
//! the batch's CRC-32C, appends it to a file of the connection's own, syncs that if the topic was created with
//! `sync=true`, and answers. No partitions, no offsets, no order between connections, nobody can read. `bench/compare` shows it
//! beside the brokers: what is far above it cannot be reached by one request at a time.
//!
//!     naive DATA_FOLDER        prints "pyralog ready kafka=HOST:PORT"
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::wildcard_enum_match_arm,
    reason = "sockets, threads and files are what it is made of, and it knows five requests"
)]

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use bytes::BytesMut;
use pyralog_protocol::batch::BatchHeader;
use pyralog_protocol::messages as kp;
use pyralog_protocol::response::listed_apis;
use pyralog_protocol::{DecodeLimits, ErrorCode, Request, Response, decode_request, encode_response};

/// What all connections share.
struct Server {
    data: PathBuf,
    address: SocketAddr,
    sync: AtomicBool,
    /// Of the one topic that there may be; 0: there is none.
    partitions: AtomicI32,
    files: AtomicU64,
}

/// The file of a connection, gone when that ends.
struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    fn create(path: PathBuf) -> std::io::Result<Self> {
        Ok(Self { file: File::create(&path)?, path })
    }
}

impl Drop for Appended {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::args().nth(1).ok_or("usage: naive DATA_FOLDER")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = Arc::new(Server {
        data: Path::new(&data).to_owned(),
        address,
        sync: AtomicBool::new(false),
        partitions: AtomicI32::new(0),
        files: AtomicU64::new(0),
    });
    println!("pyralog ready kafka={address}");
    for stream in listener.incoming() {
        let (stream, server) = (stream?, Arc::clone(&server));
        std::thread::spawn(move || {
            // The peer that leaves ends its thread.
            if let Err(error) = serve(&server, stream) {
                eprintln!("naive: {error}");
            }
        });
    }
    Ok(())
}

fn serve(server: &Server, mut stream: TcpStream) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true)?;
    let limits = DecodeLimits::default();
    let mut to = None;
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut frame = BytesMut::zeroed(usize::try_from(i32::from_be_bytes(length))?);
        stream.read_exact(&mut frame)?;
        let (head, request) = decode_request(frame, &limits)?;
        let response: Response = match request {
            Request::Produce(request) => append(server, &mut to, &request)?.into(),
            Request::ApiVersions(_) => kp::ApiVersionsResponse::default().with_api_keys(listed_apis().collect()).into(),
            Request::Metadata(request) => metadata(server, &request).into(),
            Request::CreateTopics(request) => create(server, &request).into(),
            // Asked after a run, of a topic that is not left to be read.
            Request::ListOffsets(_) => kp::ListOffsetsResponse::default().into(),
            Request::DeleteTopics(_) => {
                server.partitions.store(0, Ordering::Relaxed);
                kp::DeleteTopicsResponse::default().into()
            }
            other => return Err(format!("{:?} is not served", other.api()).into()),
        };
        stream.write_all(&encode_response(head.correlation_id, head.version, response)?)?;
    }
    Ok(())
}

fn append(
    server: &Server,
    to: &mut Option<Appended>,
    request: &kp::ProduceRequest,
) -> Result<kp::ProduceResponse, Box<dyn Error>> {
    if to.is_none() {
        let number = server.files.fetch_add(1, Ordering::Relaxed);
        *to = Some(Appended::create(server.data.join(format!("{number}.log")))?);
    }
    let file = &mut to.as_mut().ok_or("no file")?.file;
    let mut response = kp::ProduceResponse::default();
    for topic in &request.topic_data {
        let mut parts = Vec::new();
        for part in &topic.partition_data {
            let records = part.records.as_ref().ok_or("no records")?;
            BatchHeader::parse(records)?.verify_crc(records)?;
            file.write_all(records)?;
            parts.push(kp::produce_response::PartitionProduceResponse::default().with_index(part.index));
        }
        response.responses.push(
            kp::produce_response::TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_partition_responses(parts),
        );
    }
    if server.sync.load(Ordering::Relaxed) {
        file.sync_data()?;
    }
    Ok(response)
}

fn create(server: &Server, request: &kp::CreateTopicsRequest) -> kp::CreateTopicsResponse {
    for topic in &request.topics {
        server.partitions.store(topic.num_partitions, Ordering::Relaxed);
        let is_sync = |config: &kp::create_topics_request::CreatableTopicConfig| {
            &*config.name == "sync" && config.value.as_deref() == Some("true")
        };
        server.sync.store(topic.configs.iter().any(is_sync), Ordering::Relaxed);
    }
    kp::CreateTopicsResponse::default()
}

fn metadata(server: &Server, request: &kp::MetadataRequest) -> kp::MetadataResponse {
    let partitions = server.partitions.load(Ordering::Relaxed);
    let error = if partitions == 0 { ErrorCode::UnknownTopicOrPartition } else { ErrorCode::None };
    let partitions = (0..partitions)
        .map(|index| kp::metadata_response::MetadataResponsePartition::default().with_partition_index(index))
        .collect();
    let name = request.topics.iter().flatten().find_map(|topic| topic.name.clone());
    let topic = kp::metadata_response::MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(name)
        .with_partitions(partitions);
    let broker = kp::metadata_response::MetadataResponseBroker::default()
        .with_host(server.address.ip().to_string().into())
        .with_port(i32::from(server.address.port()));
    kp::MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic])
}
