//! One connection to one broker: requests go out one after the other without waiting for answers, answers come back in
//! the same order.
//!
//! Holds: every request gets one outcome; the first answer that is late, cut, or not to be understood ends the connection,
//! because nothing behind it can be trusted. The buffer for answers grows with the bytes that arrived, never with what a
//! length declares, and no answer is larger than the limit (SE-15). Absent: reconnecting; that is the pool's work.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use pyralog_protocol::frame::{FrameError, LENGTH_BYTES, next_frame};
use pyralog_protocol::kafka_protocol::messages::ApiVersionsRequest;
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::request::encode_request;
use pyralog_protocol::{ApiKey, DecodeLimits, ErrorCode, Request, RequestHead, Response, read_answer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::config::ClientConfig;
use crate::error::CallError;
use crate::pure::ask::Ask;
use crate::pure::versions::Offered;
use crate::pure::view::Endpoint;

/// Frames up to this size share a write.
const SMALL_FRAME_BYTES: usize = 16 << 10;
/// Read at once.
const READ_BYTES: usize = 64 << 10;

/// A handle; the connection ends when the last one is dropped and the last answer has come.
#[derive(Debug)]
pub struct Connection {
    address: Arc<str>,
    client_id: StrBytes,
    offered: Offered,
    requests: mpsc::UnboundedSender<Outgoing>,
    next_correlation: AtomicI32,
}

#[derive(Debug)]
struct Outgoing {
    frame: BytesMut,
    end: Awaited,
}

/// What ends a request.
#[derive(Debug)]
enum Awaited {
    Answer(Waiting),
    /// Brokers do not answer it (acks=0): it is done when the socket has taken it.
    Written(Unsent),
}

#[derive(Debug)]
struct Unsent {
    deadline: Instant,
    reply: oneshot::Sender<()>,
}

/// Bytes to be written.
#[derive(Debug)]
struct Frame {
    bytes: BytesMut,
    unsent: Option<Unsent>,
}

#[derive(Debug)]
struct Waiting {
    correlation_id: i32,
    api: ApiKey,
    version: i16,
    deadline: Instant,
    timeout: Duration,
    reply: oneshot::Sender<Result<Response, CallError>>,
}

/// An answer that is on its way.
#[derive(Debug)]
pub struct Pending {
    address: Arc<str>,
    api: ApiKey,
    reply: oneshot::Receiver<Result<Response, CallError>>,
}

impl Pending {
    /// Waits for it.
    pub async fn answer(self) -> Result<Response, CallError> {
        let Self { address, api, reply } = self;
        reply.await.unwrap_or_else(|_| Err(closed(&address, api, "the client's runtime ended")))
    }
}

/// A request that is not answered, on its way into the socket.
#[derive(Debug)]
pub struct Unanswered {
    address: Arc<str>,
    api: ApiKey,
    reply: oneshot::Receiver<()>,
}

impl Unanswered {
    /// Waits until the socket has taken it.
    pub async fn written(self) -> Result<(), CallError> {
        let Self { address, api, reply } = self;
        reply.await.map_err(|_| closed(&address, api, "it ended before the request was written"))
    }
}

fn closed(address: &str, api: ApiKey, reason: &str) -> CallError {
    CallError::Closed { address: address.to_owned(), api, reason: reason.to_owned() }
}

impl Connection {
    /// Connects, and asks which versions the broker offers.
    pub async fn open(endpoint: &Endpoint, config: &ClientConfig) -> Result<Self, CallError> {
        let address: Arc<str> = endpoint.to_string().into();
        let failed = |reason: String| CallError::Connect { address: address.to_string(), reason };
        let stream = connect(endpoint, Instant::now() + config.connect_timeout).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let (requests, receiver) = mpsc::unbounded_channel();
        let task = Task { address: address.clone(), answer_bytes_max: config.answer_bytes_max, ..Task::new() };
        tokio::spawn(task.run(stream, receiver));
        let client_id = StrBytes::from_string(config.client_id.clone());
        let next_correlation = AtomicI32::new(0);
        let mut connection = Self { address, client_id, offered: Offered::default(), requests, next_correlation };
        connection.offered = connection.ask_versions(config.connect_timeout).await?;
        Ok(connection)
    }

    async fn ask_versions(&self, timeout: Duration) -> Result<Offered, CallError> {
        const NEWEST: i16 = 3;
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("pyralog-client"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut answer = self.call_as(NEWEST, request, timeout).await?;
        if answer.error_code == ErrorCode::UnsupportedVersion.code() {
            answer = self.call_as(0, ApiVersionsRequest::default(), timeout).await?;
        }
        match answer.error_code {
            0 => Ok(Offered::from_answer(&answer)),
            code => Err(CallError::Unexpected {
                address: self.address.to_string(),
                api: ApiKey::ApiVersions,
                reason: format!("error code {code}"),
            }),
        }
    }

    async fn call_as<A: Ask>(&self, version: i16, request: A, timeout: Duration) -> Result<A::Answer, CallError> {
        let response = self.start_as(version, request.into(), timeout)?.answer().await?;
        self.typed::<A>(response)
    }

    fn typed<A: Ask>(&self, response: Response) -> Result<A::Answer, CallError> {
        let found = response.api();
        A::answer(response).ok_or_else(|| CallError::Unexpected {
            address: self.address.to_string(),
            api: A::API,
            reason: format!("an answer to {found}"),
        })
    }

    /// Whether it has not ended yet, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.requests.is_closed()
    }

    /// The version of an API that is spoken here.
    pub fn version(&self, api: ApiKey) -> Result<i16, CallError> {
        let refused = |refused| CallError::NotOffered { address: self.address.to_string(), refused };
        self.offered.pick(api).map_err(refused)
    }

    /// Asks and waits.
    pub async fn call<A: Ask>(&self, request: A, timeout: Duration) -> Result<A::Answer, CallError> {
        self.call_as(self.version(A::API)?, request, timeout).await
    }

    /// Sends now, in the order of the calls, and leaves the waiting to the caller.
    pub fn start(&self, request: Request, timeout: Duration) -> Result<Pending, CallError> {
        self.start_as(self.version(request.api())?, request, timeout)
    }

    fn start_as(&self, version: i16, request: Request, timeout: Duration) -> Result<Pending, CallError> {
        let api = request.api();
        let correlation_id = self.next_correlation.fetch_add(1, Ordering::Relaxed);
        let frame = self.encode(correlation_id, version, &request)?;
        let (reply, receiver) = oneshot::channel();
        let waiting = Waiting { correlation_id, api, version, deadline: Instant::now() + timeout, timeout, reply };
        self.send(Outgoing { frame, end: Awaited::Answer(waiting) }, api)?;
        Ok(Pending { address: self.address.clone(), api, reply: receiver })
    }

    /// Sends something that brokers do not answer, in the order of the calls.
    pub fn send_unanswered(&self, request: &Request, timeout: Duration) -> Result<Unanswered, CallError> {
        let api = request.api();
        let correlation_id = self.next_correlation.fetch_add(1, Ordering::Relaxed);
        let frame = self.encode(correlation_id, self.version(api)?, request)?;
        let (reply, receiver) = oneshot::channel();
        let unsent = Unsent { deadline: Instant::now() + timeout, reply };
        self.send(Outgoing { frame, end: Awaited::Written(unsent) }, api)?;
        Ok(Unanswered { address: self.address.clone(), api, reply: receiver })
    }

    fn send(&self, outgoing: Outgoing, api: ApiKey) -> Result<(), CallError> {
        self.requests.send(outgoing).map_err(|_| closed(&self.address, api, "it was closed before"))
    }

    fn encode(&self, correlation_id: i32, version: i16, request: &Request) -> Result<BytesMut, CallError> {
        let api = request.api();
        let client_id = Some(self.client_id.clone());
        let head = RequestHead { api, version, correlation_id, client_id };
        encode_request(&head, request).map_err(|error| CallError::Encode { api, reason: error.to_string() })
    }
}

/// Connects to an address of the host.
async fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<TcpStream, String> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port));
    let found = tokio::time::timeout_at(deadline, found).await.map_err(|_| "its address was not found in time")?;
    connect_to_any(&found.map_err(|error| error.to_string())?.collect::<Vec<_>>(), deadline).await
}

/// Tries addresses one after the other, each for its share of the time that is left: names often have one for IPv6 that
/// nobody answers at. An error says how each of them failed.
async fn connect_to_any(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, String> {
    let mut failures = Vec::new();
    for (tried, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        let failure = match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", share.as_millis()),
        };
        failures.push(if addresses.len() == 1 { failure } else { format!("{address}: {failure}") });
    }
    Err(if failures.is_empty() { "it has no address".to_owned() } else { failures.join("; ") })
}

/// The task that owns the socket.
struct Task {
    address: Arc<str>,
    answer_bytes_max: usize,
    limits: DecodeLimits,
    /// Requests that are sent, or about to be, oldest first.
    waiting: VecDeque<Waiting>,
    outbox: VecDeque<Frame>,
    inbox: BytesMut,
}

/// Why a connection ends.
enum End {
    /// All handles are gone and all answers are there.
    Unused,
    /// For all who wait, with the reason.
    Closed(String),
    /// The oldest request was not answered in time.
    Late,
    /// The oldest request got this.
    Answer(Box<CallError>),
}

impl Task {
    fn new() -> Self {
        Self {
            address: Arc::from(""),
            answer_bytes_max: 0,
            limits: DecodeLimits::default(),
            waiting: VecDeque::new(),
            outbox: VecDeque::new(),
            inbox: BytesMut::new(),
        }
    }

    async fn run(mut self, stream: TcpStream, mut requests: mpsc::UnboundedReceiver<Outgoing>) {
        let end = self.serve(stream, &mut requests).await;
        requests.close();
        let reason = match end {
            End::Unused => return,
            End::Closed(reason) => reason,
            End::Late => self.fail_late(),
            End::Answer(error) => {
                let reason = error.to_string();
                if let Some(oldest) = self.waiting.pop_front() {
                    // Whoever asked may have gone.
                    let _ = oldest.reply.send(Err(*error));
                }
                reason
            }
        };
        tracing::debug!(address = %self.address, reason, "connection ended");
        while let Ok(outgoing) = requests.try_recv() {
            if let Awaited::Answer(waiting) = outgoing.end {
                self.waiting.push_back(waiting);
            }
        }
        for waiting in self.waiting {
            let _ = waiting.reply.send(Err(closed(&self.address, waiting.api, &reason)));
        }
    }

    /// Answers the requests that are late, and says so for the others.
    fn fail_late(&mut self) -> String {
        let now = Instant::now();
        let (late, others) = std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.deadline <= now);
        self.waiting = others;
        for Waiting { api, timeout, reply, .. } in late {
            let _ = reply.send(Err(CallError::Timeout { address: self.address.to_string(), api, after: timeout }));
        }
        "another request on it was not answered in time".to_owned()
    }

    async fn serve(&mut self, stream: TcpStream, requests: &mut mpsc::UnboundedReceiver<Outgoing>) -> End {
        let (mut reader, mut writer) = stream.into_split();
        let mut is_used = true;
        loop {
            if !is_used && self.waiting.is_empty() && self.outbox.is_empty() {
                return End::Unused;
            }
            let unsent = self.outbox.iter().filter_map(|frame| frame.unsent.as_ref()).map(|frame| frame.deadline);
            let deadline = self.waiting.iter().map(|waiting| waiting.deadline).chain(unsent).min();
            self.make_room();
            tokio::select! {
                request = requests.recv(), if is_used => match request {
                    Some(outgoing) => self.enqueue(outgoing),
                    None => is_used = false,
                },
                written = write(&mut writer, &mut self.outbox), if !self.outbox.is_empty() => {
                    if let Err(error) = written {
                        return End::Closed(error.to_string());
                    }
                }
                read = reader.read_buf(&mut self.inbox) => match read {
                    Ok(0) => return End::Closed("the broker closed it".to_owned()),
                    Err(error) => return End::Closed(error.to_string()),
                    Ok(_) => if let Err(end) = self.take_answers() { return end },
                },
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    return End::Late;
                }
            }
        }
    }

    fn enqueue(&mut self, outgoing: Outgoing) {
        let Outgoing { frame: bytes, end } = outgoing;
        let unsent = match end {
            Awaited::Written(unsent) => Some(unsent),
            Awaited::Answer(waiting) => {
                self.waiting.push_back(waiting);
                None
            }
        };
        let last = self.outbox.back_mut().filter(|last| last.unsent.is_none());
        match last.filter(|last| unsent.is_none() && last.bytes.len() + bytes.len() <= SMALL_FRAME_BYTES) {
            Some(last) => last.bytes.extend_from_slice(&bytes),
            None => self.outbox.push_back(Frame { bytes, unsent }),
        }
    }

    /// Room for the next read: what is missing of an answer, but at most as much again as has arrived of it.
    fn make_room(&mut self) {
        let have = self.inbox.len();
        let declared = self.inbox.first_chunk::<LENGTH_BYTES>().map_or(0, |prefix| i32::from_be_bytes(*prefix));
        let missing = usize::try_from(declared).unwrap_or(0).saturating_add(LENGTH_BYTES).saturating_sub(have);
        self.inbox.reserve(missing.clamp(READ_BYTES, have.max(READ_BYTES)));
    }

    fn take_answers(&mut self) -> Result<(), End> {
        loop {
            let frame = next_frame(&mut self.inbox, self.answer_bytes_max).map_err(|error| self.bad_length(error))?;
            let Some(frame) = frame else { return Ok(()) };
            let Some(oldest) = self.waiting.front() else {
                return Err(End::Closed("the broker answered what was not asked".to_owned()));
            };
            let (api, asked) = (oldest.api, oldest.correlation_id);
            // A broker that does not know the version of ApiVersions answers it in version 0 (C1).
            let is_v0 = api == ApiKey::ApiVersions
                && frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
            let version = if is_v0 { 0 } else { oldest.version };
            let address = self.address.to_string();
            match read_answer(frame, api, version, &self.limits) {
                Err(error) => return Err(End::Answer(Box::new(CallError::Answer { address, error }))),
                Ok((found, _)) if found != asked => {
                    let reason = format!("an answer to request {found} instead of {asked}");
                    return Err(End::Answer(Box::new(CallError::Unexpected { address, api, reason })));
                }
                Ok((_, response)) => {
                    if let Some(oldest) = self.waiting.pop_front() {
                        let _ = oldest.reply.send(Ok(response));
                    }
                }
            }
        }
    }

    fn bad_length(&self, error: FrameError) -> End {
        let reason = match error {
            FrameError::NotPositive { found } => format!("an answer of {found} bytes"),
            FrameError::TooLarge { found, limit } => {
                format!("an answer of {found} bytes, ClientConfig::answer_bytes_max is {limit}")
            }
            FrameError::Foreign { protocol } => format!("the port speaks {protocol}, not the Kafka protocol"),
        };
        match self.waiting.front() {
            Some(oldest) => {
                let (address, api) = (self.address.to_string(), oldest.api);
                End::Answer(Box::new(CallError::Unexpected { address, api, reason }))
            }
            None => End::Closed(reason),
        }
    }
}

/// Writes from the front; what is written leaves the outbox.
async fn write(writer: &mut tokio::net::tcp::OwnedWriteHalf, outbox: &mut VecDeque<Frame>) -> std::io::Result<()> {
    let Some(front) = outbox.front_mut() else { return Ok(()) };
    let written = writer.write_buf(&mut front.bytes).await?;
    if written == 0 {
        return Err(std::io::ErrorKind::WriteZero.into());
    }
    if front.bytes.is_empty()
        && let Some(Unsent { reply, .. }) = outbox.pop_front().and_then(|frame| frame.unsent)
    {
        // Whoever sent it may have gone.
        let _ = reply.send(());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    /// An address that does not answer: its only place for a connection that nobody has accepted is taken.
    async fn silent() -> (SocketAddr, Vec<Box<dyn Send>>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held: Vec<Box<dyn Send>> = vec![Box::new(listener)];
        for _ in 0..8 {
            let connecting = tokio::time::timeout(Duration::from_millis(700), TcpStream::connect(address)).await;
            match connecting {
                Ok(connected) => held.push(Box::new(connected.unwrap())),
                Err(_) => return (address, held),
            }
        }
        panic!("it answers for ever");
    }

    #[tokio::test]
    async fn a_name_is_reached_by_any_of_its_addresses() {
        let (silent, _held) = silent().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let within = |ms| Instant::now() + Duration::from_millis(ms);
        let reached = connect_to_any(&[silent, good], within(6000)).await.unwrap();
        assert_eq!(reached.peer_addr().unwrap(), good);
        let begun = Instant::now();
        let error = connect_to_any(&[silent, silent], within(400)).await.unwrap_err();
        assert!(error.matches(&format!("{silent}: no answer within")).count() == 2, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(30), "the time is shared");
        assert_eq!(connect_to_any(&[], within(1)).await.unwrap_err(), "it has no address");
        let unused = TcpSocket::new_v4().unwrap();
        unused.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let unused = [unused.local_addr().unwrap()];
        let refused = connect_to_any(&unused, within(6000)).await.unwrap_err();
        assert!(refused.contains("refused") && !refused.contains(&unused[0].to_string()), "{refused}");
    }
}
