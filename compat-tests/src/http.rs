//! A small HTTP/1.1 client: one request per connection, bounded in time. Enough to see status, headers and body as they
//! came.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::conn::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `GET` of a path.
pub fn get(address: &str, path: &str) -> Answer {
    request(address, "GET", path, &[], b"")
}

/// One request. `Host`, `Content-Length` and `Connection: close` come by themselves.
pub fn request(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = connect(address);
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    if !body.is_empty() || method == "POST" || method == "PUT" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).expect("a head");
    // A server that refuses a body early closes before it took all.
    let _ = stream.write_all(body);
    answer(&mut stream, method == "HEAD")
}

/// A connection of one's own.
pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the HTTP listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Reads until the server closes, or the announced body is there.
pub fn answer(stream: &mut TcpStream, no_body: bool) -> Answer {
    let (mut bytes, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let (status, headers) = head(&bytes[..end]);
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length = length.map(|(_, value)| value.parse::<usize>().expect("a length"));
            let there = bytes.len() - end - 4;
            if no_body || length.is_some_and(|length| there >= length) {
                return Answer { status, headers, body: bytes.split_off(end + 4) };
            }
        }
        match stream.read(&mut part).expect("an answer in time") {
            0 => break,
            read => bytes.extend_from_slice(&part[..read]),
        }
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head in {:?}", String::from_utf8_lossy(&bytes)));
    let (status, headers) = head(&bytes[..end]);
    Answer { status, headers, body: bytes.split_off(end + 4) }
}

fn head(bytes: &[u8]) -> (u16, Vec<(String, String)>) {
    let text = std::str::from_utf8(bytes).expect("a head in ASCII");
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
    (status.expect("a status"), headers.collect())
}
