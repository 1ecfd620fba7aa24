//! What needs real sockets: the shipped binary on a free port of the loopback, and clients that behave oddly.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_types, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Broker {
    process: Child,
    folder: PathBuf,
    kafka: String,
}

impl Broker {
    fn start(name: &str, set: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("pyralog-sessions-{}-{name}", std::process::id()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyralog"));
        command.args(["server", "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data"]);
        command.arg(&folder).args(set.iter().flat_map(|s| ["--set", s]));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let kafka = line.split("kafka=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        Self { process, folder, kafka }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.kafka).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// ApiVersions v0.
fn request(id: i32) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 10, 0, 18, 0, 0];
    frame.extend(id.to_be_bytes());
    frame.extend([0xff, 0xff]);
    frame
}

/// Correlation id of the next answer.
fn answer(stream: &mut TcpStream) -> i32 {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    stream.read_exact(&mut body).unwrap();
    i32::from_be_bytes(body[..4].try_into().unwrap())
}

#[test]
fn c15_a_thousand_pipelined_requests_and_a_frame_in_single_bytes() {
    let broker = Broker::start("pipeline", &[]);
    let mut stream = broker.connect();
    stream.write_all(&(0..1000).flat_map(request).collect::<Vec<_>>()).unwrap();
    assert_eq!((0..1000).map(|_| answer(&mut stream)).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
    stream.set_nodelay(true).unwrap();
    for byte in request(-7) {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(answer(&mut stream), -7, "ids are echoed as they came");
}

#[test]
fn a_client_that_closes_its_half_gets_what_it_asked_for() {
    let broker = Broker::start("half", &[]);
    let mut stream = broker.connect();
    stream.write_all(&(0..50).flat_map(request).collect::<Vec<_>>()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!((0..50).map(|_| answer(&mut stream)).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "and then the end");
}

#[test]
fn c22_an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let broker = Broker::start("idle", &["connections.max.idle.ms=4000"]);
    let (mut idle, mut busy) = (broker.connect(), broker.connect());
    let began = Instant::now();
    for id in 0..12 {
        std::thread::sleep(Duration::from_millis(500));
        busy.write_all(&request(id)).unwrap();
        assert_eq!(answer(&mut busy), id);
    }
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(4000));
}

#[test]
fn se_17_a_client_that_does_not_read_is_not_read_from_and_hurts_nobody() {
    let broker = Broker::start("slow", &[]);
    let mut slow = broker.connect();
    slow.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let many: Vec<u8> = (0..1000).flat_map(request).collect();
    let stopped = (0..20_000).find_map(|_| slow.write_all(&many).err().map(|e| e.kind()));
    assert!(matches!(stopped, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{stopped:?}");
    let mut other = broker.connect();
    for id in 0..100 {
        other.write_all(&request(id)).unwrap();
        assert_eq!(answer(&mut other), id);
    }
    assert!(broker.resident_kib() < 150_000, "{} KiB", broker.resident_kib());
}

/// A figure, not a check that depends on the machine: `cargo test -- --ignored --nocapture`.
#[test]
#[ignore = "prints a figure; needs 10,000 descriptors"]
fn se_16_memory_of_10_000_idle_connections() {
    let broker = Broker::start("many", &[]);
    drop(broker.connect());
    let before = broker.resident_kib();
    let mut streams: Vec<TcpStream> = (0..10_000).map_while(|_| TcpStream::connect(&broker.kafka).ok()).collect();
    for (id, stream) in (0..).zip(&mut streams) {
        stream.write_all(&request(id)).unwrap();
        assert_eq!(answer(stream), id);
    }
    let grown = broker.resident_kib() - before;
    let count = u64::try_from(streams.len()).unwrap();
    println!("{count} idle connections: {grown} KiB, {} bytes each", grown * 1024 / count);
    assert!(grown * 1024 / count <= 10 << 10);
}
