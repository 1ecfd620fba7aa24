//! `pyralog health`: asks a running server whether it serves. For health checks of containers, whose image holds
//! nothing else that could ask. One request over HTTP/1.1, no redirects, bounded in time and bytes.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::sockets::with_host;

/// Longest wait for the connection, and for each read and write. Orchestrators ask again anyway.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of the answer that are looked at: the status line lies in them.
const ANSWER_BYTES: usize = 64;

/// Where the server's HTTP is: the flag, the environment of the server, the default.
pub fn address(flag: Option<String>) -> String {
    flag.or_else(|| std::env::var("PYRALOG_HTTP_LISTEN").ok()).unwrap_or_else(|| "127.0.0.1:8080".into())
}

/// Whether the server at the address says that it is ready; the error is a text for the terminal.
pub fn check(address: &str) -> Result<(), String> {
    let status = ask(address).map_err(|e| format!("no answer from {address}: {e}; is the server running? (--http)"))?;
    if status.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(format!("{address} is not ready: {}", status.lines().next().unwrap_or("an empty answer")))
}

fn ask(address: &str) -> std::io::Result<String> {
    request(address, "GET /health/ready", ANSWER_BYTES)
}

/// The beginning of the answer to a request without a body, at most so many bytes of it.
pub fn request(address: &str, what: &str, answer_bytes: usize) -> std::io::Result<String> {
    let mut last = std::io::Error::other("the name has no address");
    for target in with_host(address).to_socket_addrs()? {
        match TcpStream::connect_timeout(&reachable(target), PATIENCE) {
            Ok(stream) => return exchange(stream, address, what, answer_bytes),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, host: &str, what: &str, answer_bytes: usize) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "{what} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::with_capacity(answer_bytes);
    stream.take(answer_bytes as u64).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A server that listens on every address is asked on this machine's own.
fn reachable(target: SocketAddr) -> SocketAddr {
    let ip = match target.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, target.port())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;

    use super::*;

    const READY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nready\n";

    /// Answers one request with `head`, and gives the outcome of a check that was told this host.
    fn asked(host: &str, head: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // All of it: closing a socket with something unread resets the connection.
            let (mut request, mut part) = (Vec::new(), [0; 512]);
            while !request.ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut part).unwrap();
                request.extend_from_slice(&part[..n]);
            }
            assert!(request.starts_with(b"GET /health/ready HTTP/1.1\r\n"));
            stream.write_all(head.as_bytes()).unwrap();
        });
        let outcome = check(&format!("{host}:{port}"));
        server.join().unwrap();
        outcome
    }

    #[test]
    fn only_200_counts_and_the_reason_is_told() {
        assert_eq!(asked("127.0.0.1", READY), Ok(()));
        assert!(asked("127.0.0.1", "HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err().contains("503"));
        assert!(asked("127.0.0.1", "").unwrap_err().contains("empty answer"));
    }

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_this_machine() {
        for host in ["0.0.0.0", ""] {
            assert_eq!(asked(host, READY), Ok(()), "{host:?}");
        }
    }

    #[test]
    fn nobody_there_is_told_with_the_address() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(check(&free.to_string()).unwrap_err().contains(&free.to_string()));
        assert!(check("nonsense").is_err());
    }
}
