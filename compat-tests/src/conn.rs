//! One connection, driven by hand: raw frames, typed calls, pipelining, and what a close looks like.
//!
//! Holds: every read and write ends within [`PATIENCE`]; an answer must decode to its last byte, so a field too many
//! fails the test that asked for it. It retries nothing and reconnects never.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

/// The longest any single wait of a test may take, on a machine that has other things to do as well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What happens within it was waiting for nothing: no limit of the broker is as short, nor what tests ask it to wait for then.
pub const SOON: Duration = Duration::from_secs(20);

/// A client connection without any client library.
pub struct Conn {
    stream: TcpStream,
    next_correlation: i32,
    /// What the header carries; `None` is the null string.
    pub client_id: Option<String>,
    /// Lives as long as the connection: a broker that would end when nobody holds it.
    held: Option<Box<dyn Send>>,
}

/// How a connection ended, as [`Conn::outcome`] saw it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer came, this is its body from the correlation id on.
    Answer(Vec<u8>),
    /// The broker closed the connection.
    Closed,
    /// Neither happened within the time given.
    Silence,
}

impl Conn {
    /// Connects to `host:port`.
    pub fn connect(address: &str) -> Conn {
        let address = address.to_socket_addrs().expect("an address").next().expect("an address");
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("set_read_timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("set_write_timeout");
        stream.set_nodelay(true).expect("set_nodelay");
        Conn { stream, next_correlation: 1, client_id: Some("compat".to_owned()), held: None }
    }

    /// Keeps `what` alive for as long as this connection.
    #[must_use]
    pub fn holding(mut self, what: impl Send + 'static) -> Conn {
        self.held = Some(Box::new(what));
        self
    }

    /// The socket, for what the methods here do not cover.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// `host:port` as seen from here: what the broker should advertise when nothing is configured.
    pub fn peer(&self) -> std::net::SocketAddr {
        self.stream.peer_addr().expect("peer_addr")
    }

    /// Sends bytes as they are, without a length.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("write");
    }

    /// Sends bytes that the broker may refuse to read to the end.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends one frame: the length, then `body`.
    pub fn send_frame(&mut self, body: &[u8]) {
        self.send_bytes(&frame(body));
    }

    /// Ends the sending half.
    pub fn finish_sending(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// The bytes of a request with its header, without the frame length; takes the next correlation id.
    pub fn encode<R: Request>(&mut self, version: i16, request: &R) -> (i32, Vec<u8>) {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let mut out = BytesMut::from(
            &header(R::KEY, version, correlation, self.client_id.as_deref(), R::header_version(version))[..],
        );
        request.encode(&mut out, version).unwrap_or_else(|e| panic!("encode key {} v{version}: {e}", R::KEY));
        (correlation, out.to_vec())
    }

    /// Sends a request and returns its correlation id, for [`Conn::receive`].
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let (correlation, body) = self.encode(version, request);
        self.send_frame(&body);
        correlation
    }

    /// Receives the answer to a request sent before; answers come in request order, so `correlation` must be next.
    pub fn receive<R: Request>(&mut self, version: i16, correlation: i32) -> R::Response {
        let body = self.receive_frame();
        let (found, response) = decode_answer::<R>(version, &body);
        assert_eq!(found, correlation, "correlation id of the answer to key {} v{version}", R::KEY);
        response
    }

    /// Sends a request and waits for its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request);
        self.receive::<R>(version, correlation)
    }

    /// Sends a request given as body bytes: `header_version` 1 or 2.
    pub fn send_raw_request(&mut self, key: i16, version: i16, header_version: i16, body: &[u8]) -> i32 {
        let correlation = self.next_correlation;
        self.next_correlation += 1;
        let mut out = header(key, version, correlation, self.client_id.as_deref(), header_version);
        out.extend_from_slice(body);
        self.send_frame(&out);
        correlation
    }

    /// The next frame, without its length.
    pub fn receive_frame(&mut self) -> Vec<u8> {
        match self.outcome(PATIENCE) {
            Outcome::Answer(body) => body,
            Outcome::Closed => panic!("the broker closed the connection instead of answering"),
            Outcome::Silence => panic!("no answer within {PATIENCE:?}"),
        }
    }

    /// What happens next on this connection, within `patience`.
    pub fn outcome(&mut self, patience: Duration) -> Outcome {
        let deadline = Instant::now() + patience;
        let mut length = [0u8; 4];
        match self.read_until(&mut length, deadline) {
            ReadEnd::Full => {}
            ReadEnd::Closed => return Outcome::Closed,
            ReadEnd::Late => return Outcome::Silence,
        }
        let length = usize::try_from(i32::from_be_bytes(length)).expect("an answer's length is not negative");
        assert!(length < 200 << 20, "answer of {length} bytes");
        let mut body = vec![0; length];
        match self.read_until(&mut body, Instant::now() + PATIENCE) {
            ReadEnd::Full => Outcome::Answer(body),
            ReadEnd::Closed => panic!("the connection was closed in the middle of an answer of {length} bytes"),
            ReadEnd::Late => panic!("an answer of {length} bytes began and did not end"),
        }
    }

    /// The broker must close this connection without another byte.
    pub fn expect_closed(&mut self) {
        match self.outcome(PATIENCE) {
            Outcome::Closed => {}
            Outcome::Answer(body) => panic!("expected a close, got an answer: {:02x?}", &body[..body.len().min(64)]),
            Outcome::Silence => panic!("expected a close, the connection is still open after {PATIENCE:?}"),
        }
    }

    /// The broker must say nothing and keep the connection open for this long.
    pub fn expect_silence(&mut self, for_long: Duration) {
        let outcome = self.outcome(for_long);
        assert_eq!(outcome, Outcome::Silence, "expected {for_long:?} of silence on an open connection");
    }

    fn read_until(&mut self, into: &mut [u8], deadline: Instant) -> ReadEnd {
        let mut filled = 0;
        while filled < into.len() {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("set_read_timeout");
            match self.stream.read(&mut into[filled..]) {
                Ok(0) => return ReadEnd::Closed,
                Ok(n) => filled += n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return ReadEnd::Late,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // A reset is how a close looks when the broker had unread bytes.
                Err(_) => return ReadEnd::Closed,
            }
        }
        ReadEnd::Full
    }
}

enum ReadEnd {
    Full,
    Closed,
    Late,
}

/// A request header: version 1 ends after the client id, version 2 adds an empty tag section.
pub fn header(key: i16, version: i16, correlation: i32, client_id: Option<&str>, header_version: i16) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(correlation);
    match client_id {
        Some(id) => {
            out.put_i16(i16::try_from(id.len()).expect("a client id"));
            out.put_slice(id.as_bytes());
        }
        None => out.put_i16(-1),
    }
    if header_version >= 2 {
        out.put_u8(0);
    }
    out
}

/// `body` with its length in front.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 4);
    out.put_i32(i32::try_from(body.len()).expect("a frame"));
    out.put_slice(body);
    out
}

/// Correlation id and message of an answer; every byte must be used up.
pub fn decode_answer<R: Request>(version: i16, body: &[u8]) -> (i32, R::Response) {
    let mut rest = Bytes::copy_from_slice(body);
    assert!(rest.len() >= 4, "an answer without a correlation id: {body:02x?}");
    let correlation = i32::from_be_bytes(rest.split_to(4)[..].try_into().expect("4 bytes"));
    if R::Response::header_version(version) >= 1 {
        let tags = rest.split_to(1)[0];
        assert_eq!(tags, 0, "response header of key {} v{version} has tags", R::KEY);
    }
    let response = R::Response::decode(&mut rest, version)
        .unwrap_or_else(|e| panic!("decode the answer to key {} v{version}: {e}; bytes {body:02x?}", R::KEY));
    assert!(rest.is_empty(), "{} bytes left over after the answer to key {} v{version}", rest.len(), R::KEY);
    (correlation, response)
}
