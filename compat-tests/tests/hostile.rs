//! Bad input from the network: whatever arrives, the broker answers or closes, spends no memory on it, and goes on
//! serving the connection beside it.
//!
//! `PYRALOG_FUZZ_FRAMES` sets the number of mutated frames (20,000 by default, 1,000,000 for the long run),
//! `PYRALOG_FUZZ_SEED` their seed.
#![allow(clippy::cast_possible_truncation)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BufMut;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{DescribeConfigsRequest, MetadataRequest, ProduceRequest};
use pyralog_compat_tests::calls::{Fetch, metadata_request, produce_request, produced};
use pyralog_compat_tests::conn::{Outcome, PATIENCE, SOON, frame};
use pyralog_compat_tests::draw::{Draw, asked};
use pyralog_compat_tests::hostile::{
    Golden, golden_requests, header_of_tags, huge_counts, listed_apis, mutate, overwrite,
};
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Conn, Record, private, shared, skip, text};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::{Resource, getrlimit};

const MIB: u64 = 1 << 20;

/// A client that behaves, on a connection of its own, for as long as this lives.
struct Neighbour {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    fn start(address: &str) -> Neighbour {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let mut conn = Conn::connect(address);
        let (name, _) = conn.new_topic("neighbour", 1, &[]);
        let (stopping, counting) = (stop.clone(), rounds.clone());
        let thread = std::thread::spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let n = counting.load(Ordering::Relaxed) as i64;
                assert_eq!(conn.append(&name, 0, &Batch::of(&format!("n{n}"), 1).encode()), n);
                assert_eq!(conn.read(&name, 0, n)[0].values(), [format!("n{n}-0")]);
                counting.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Neighbour { stop, rounds, thread: Some(thread) }
    }

    /// It must have been served all the time, and still be.
    fn assert_served(mut self) {
        let before = self.rounds.load(Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        while self.rounds.load(Ordering::Relaxed) < before + 3 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("a thread").join();
        assert!(ended.is_ok(), "the well-behaved connection beside it was hurt");
        assert!(self.rounds.load(Ordering::Relaxed) >= before + 3, "the connection beside it is starved");
    }
}

/// A broker whose memory is watched; nothing here may create topics by accident.
fn watched() -> Option<Broker> {
    private(BrokerOptions::new().set("auto.create.topics.enable", "false"))
}

fn assert_memory(broker: &Broker, limit: u64) {
    let peak = broker.peak_bytes();
    assert!(peak < limit, "the broker has used {} MiB, the limit is {} MiB", peak / MIB, limit / MIB);
}

#[test]
fn garbage_bytes_close_the_connection() {
    let target = shared();
    let neighbour = Neighbour::start(target.kafka());
    let mut draw = Draw::seeded(1);
    for _ in 0..100 {
        let mut conn = target.connect();
        let count = 5 + draw.index(4000);
        // The broker may close before it has read everything.
        let _ = conn.try_send_bytes(&draw.bytes(count));
        let _ = conn.stream().shutdown(std::net::Shutdown::Write);
        conn.expect_closed();
    }
    neighbour.assert_served();
}

#[test]
fn other_protocols_on_the_kafka_port_close_at_once() {
    let target = shared();
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 300]].concat();
    let ssh = b"SSH-2.0-OpenSSH_9.2\r\n";
    for bytes in [&http[..], &tls, ssh] {
        let mut conn = target.connect();
        let _ = conn.try_send_bytes(bytes);
        let started = Instant::now();
        conn.expect_closed();
        assert!(started.elapsed() < SOON, "{:?} took {:?}", &bytes[..4], started.elapsed());
    }
}

#[test]
fn se_01_frame_lengths_buy_no_memory() {
    let Some(broker) = watched() else { return };
    let neighbour = Neighbour::start(broker.kafka());
    for length in [i32::MAX, 104_857_601, 0, -1, i32::MIN, -104_857_600] {
        let mut conn = broker.connect();
        let _ = conn.try_send_bytes(&[&length.to_be_bytes()[..], &[0; 100]].concat());
        conn.expect_closed();
    }
    let largest: Vec<Conn> = (0..50)
        .map(|_| {
            let mut conn = broker.connect();
            conn.send_bytes(&[&104_857_600_i32.to_be_bytes()[..], &[0; 100]].concat());
            conn
        })
        .collect();
    neighbour.assert_served();
    drop(largest);
    assert_memory(&broker, 100 * MIB);
}

/// The request must be answered or the connection closed; requests that may wait may stay silent.
fn expect_an_end(broker: &Broker, golden: &Golden, bytes: &[u8]) {
    let may_wait = [0, 1, 11, 14].contains(&golden.key);
    let mut conn = broker.connect();
    let _ = conn.try_send_bytes(&frame(bytes));
    let patience = if may_wait { Duration::from_millis(5) } else { Duration::from_secs(20) };
    let outcome = conn.outcome(patience);
    assert!(
        may_wait || outcome != Outcome::Silence,
        "key {} v{}: silence for {bytes:02x?}",
        golden.key,
        golden.version
    );
}

/// Oldest and newest version of each API.
fn both_ends(all: &[Golden]) -> Vec<&Golden> {
    let mut out: Vec<&Golden> = Vec::new();
    for golden in all {
        let versions = all.iter().filter(|g| g.key == golden.key).map(|g| g.version);
        if versions.clone().max() == Some(golden.version) || versions.min() == Some(golden.version) {
            out.push(golden);
        }
    }
    out
}

#[test]
fn se_01_counts_of_2_31_buy_no_memory() {
    let Some(mut broker) = watched() else { return };
    let neighbour = Neighbour::start(broker.kafka());
    let all = golden_requests(&mut broker.connect());
    for golden in both_ends(&all) {
        for bytes in huge_counts(golden) {
            expect_an_end(&broker, golden, &bytes);
        }
        assert!(broker.is_alive(), "key {} v{} ended the broker", golden.key, golden.version);
    }
    neighbour.assert_served();
    assert_memory(&broker, 200 * MIB);
}

#[test]
fn truncated_frames_are_answered_or_closed() {
    let Some(mut broker) = watched() else { return };
    let neighbour = Neighbour::start(broker.kafka());
    let all = golden_requests(&mut broker.connect());
    for golden in both_ends(&all) {
        for end in 1..golden.bytes.len() {
            expect_an_end(&broker, golden, &golden.bytes[..end]);
        }
        // A whole length, half a frame, and then nothing more.
        let mut conn = broker.connect();
        let whole = frame(&golden.bytes);
        conn.send_bytes(&whole[..whole.len() / 2]);
        conn.finish_sending();
        conn.expect_closed();
    }
    assert!(broker.is_alive());
    neighbour.assert_served();
    assert_memory(&broker, 200 * MIB);
}

#[test]
fn unknown_keys_and_versions_close() {
    let target = shared();
    let listed = listed_apis(&mut target.connect());
    let mut cases: Vec<(i16, i16)> = (-3..130).chain([1000, i16::MAX, i16::MIN]).map(|key| (key, 0)).collect();
    cases.retain(|(key, _)| !listed.iter().any(|(k, _)| k == key));
    for (key, range) in &listed {
        if *key != 18 {
            cases.extend([(*key, range.end() + 1), (*key, i16::MAX), (*key, -1)]);
        }
    }
    let mut wrong = Vec::new();
    for (key, version) in cases {
        let mut conn = target.connect();
        conn.send_raw_request(key, version, 2, &[0; 64]);
        // Kafka serves telemetry and some requests between brokers without listing them; we serve what we list.
        let outcome = conn.outcome(PATIENCE);
        if outcome != Outcome::Closed && !pyralog_compat_tests::on_kafka() {
            wrong.push(format!("key {key} v{version}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn se_02_twenty_million_unknown_tags() {
    let Some(broker) = watched() else { return };
    let neighbour = Neighbour::start(broker.kafka());
    let bytes = frame(&header_of_tags(20_000_000));
    let before = broker.resident_bytes();
    let mut conn = broker.connect();
    let _ = conn.try_send_bytes(&bytes);
    assert_ne!(conn.outcome(PATIENCE), Outcome::Silence);
    neighbour.assert_served();
    assert_memory(&broker, before + 2 * bytes.len() as u64 + 20 * MIB);
}

/// Opens 10,000 connections, or as many as this process may, sends `bytes` on each and says what one costs.
fn cost_of_connections(broker: &Broker, bytes: &[u8]) -> u64 {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = 10_000.min(descriptors.saturating_sub(300));
    if count < 10_000 {
        skip(&format!("only {count} of 10,000 connections"), "raise the limit with `ulimit -n 20000`");
    }
    // Two crowds at once are more descriptors than this process may have.
    static CROWD: Mutex<()> = Mutex::new(());
    let _alone = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    let neighbour = Neighbour::start(broker.kafka());
    let before = broker.resident_bytes();
    let mut open = Vec::new();
    for _ in 0..count {
        let mut conn = broker.connect();
        // A connection over a limit may be closed already.
        let _ = conn.try_send_bytes(bytes);
        open.push(conn);
    }
    std::thread::sleep(Duration::from_millis(500));
    let grown = broker.resident_bytes().saturating_sub(before);
    neighbour.assert_served();
    drop(open);
    broker.connect().metadata(&[]);
    grown / count
}

#[test]
fn ten_thousand_idle_connections() {
    let Some(broker) = watched() else { return };
    let cost = cost_of_connections(&broker, &[]);
    assert!(cost <= 10 * 1024, "an idle connection costs {cost} bytes");
}

#[test]
fn ten_thousand_connections_that_each_declare_100_mib() {
    let Some(broker) = watched() else { return };
    let mut declared = 104_857_600_i32.to_be_bytes().to_vec();
    declared.put_slice(&[0, 3, 0, 12]);
    let cost = cost_of_connections(&broker, &declared);
    assert!(cost <= 20 * 1024, "a connection that declares 100 MiB costs {cost} bytes");
}

#[test]
fn a_slow_reader_hurts_nobody() {
    let Some(broker) = watched() else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("slow", 1, &[]);
    let big = Batch::new(vec![pyralog_compat_tests::Record::of(&"x".repeat(900_000))]).encode();
    for _ in 0..20 {
        conn.append(&name, 0, &big);
    }
    let neighbour = Neighbour::start(broker.kafka());
    let mut slow: Vec<Conn> = (0..20).map(|_| broker.connect()).collect();
    for conn in &mut slow {
        for _ in 0..50 {
            let (_, body) = conn.encode(12, &Fetch::at(&name, 0, 0).limits(20 << 20, 20 << 20).build());
            if conn.try_send_bytes(&frame(&body)).is_err() {
                break;
            }
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    neighbour.assert_served();
    // Each may hold one answer of 18 MiB and what the unsent limit allows besides; not the 50 that it asked for.
    assert_memory(&broker, 80 * MIB + 20 * (18 + 8) * MIB);
}

#[test]
fn se_17_a_crowd_that_takes_no_answers_holds_little_together() {
    let Some(broker) = watched() else { return };
    let neighbour = Neighbour::start(broker.kafka());
    let before = broker.resident_bytes();
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text("1"))
        .with_configuration_keys(None);
    let all = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_documentation(true);
    let mut crowd: Vec<Conn> = (0..100).map(|_| broker.connect()).collect();
    for conn in &mut crowd {
        // Together more than 8 MiB of answers, which is what one connection may leave.
        let frames: Vec<u8> = (0..300).flat_map(|_| frame(&conn.encode(4, &all).1)).collect();
        conn.send_bytes(&frames);
    }
    std::thread::sleep(Duration::from_secs(3));
    neighbour.assert_served();
    // 64 MiB for all of them, of each 64 KiB and an answer, and what the allocator keeps; 8 MiB of each would be 800.
    assert_memory(&broker, before + 300 * MIB);
}

#[test]
fn se_17_a_crowd_that_leaves_the_last_of_its_answers_holds_little_together() {
    /// What each leaves, more than the kernel keeps between the two.
    const LEFT: usize = 3 << 20;
    let Some(broker) = watched() else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("nearly", 1, &[("vlsn.enable", "true")]);
    for vlsn in 0..54_u64 {
        let record = Record { key: Some(vlsn.to_be_bytes().to_vec()), ..Record::of(&"x".repeat(900_000)) };
        conn.append(&log, 0, &Batch::new(vec![record]).encode());
    }
    let neighbour = Neighbour::start(broker.kafka());
    let before = broker.peak_bytes();
    // Records of a view are in memory.
    let all = Fetch::at(&format!("{log}.vlsn"), 0, 0).limits(50 << 20, 50 << 20).build();
    let crowd: Vec<Conn> = (0..16)
        .map(|_| {
            let mut conn = broker.connect();
            set_socket_recv_buffer_size(conn.stream(), 64 << 10).expect("a small buffer");
            conn.send(12, &all);
            let mut length = [0; 4];
            conn.stream().read_exact(&mut length).expect("an answer");
            let length = usize::try_from(i32::from_be_bytes(length)).expect("a length");
            conn.stream().read_exact(&mut vec![0; length.saturating_sub(LEFT)]).expect("most of it");
            conn
        })
        .collect();
    neighbour.assert_served();
    // 64 MiB for all of them, of each a record more, and what making the answers takes; whole ones would be 770.
    assert_memory(&broker, before + 300 * MIB);
    drop(crowd);
}

/// A produce request of a little more than so many bytes, on a connection of its own.
fn large_request(broker: &Broker, log: &str, bytes: usize) -> (Conn, i32, Vec<u8>) {
    let mut conn = broker.connect();
    let records = Batch::new(vec![Record::of(&"x".repeat(bytes))]).encode();
    let (correlation, body) = conn.encode(9, &produce_request(log, 0, &records));
    (conn, correlation, frame(&body))
}

#[test]
fn large_requests_that_come_in_together_are_served_one_after_the_other() {
    let options = BrokerOptions::new().set("queued.max.request.bytes", "8388608");
    let Some(broker) = private(options) else { return };
    let (log, _) = broker.connect().new_topic("crowd", 1, &[("max.message.bytes", "4000000")]);
    let started = Instant::now();
    let crowd: Vec<_> = (0..16)
        .map(|_| {
            let (mut conn, correlation, bytes) = large_request(&broker, &log, 2_000_000);
            let log = log.clone();
            std::thread::spawn(move || {
                // In steps: each has a part of its request in the broker while the others have as well.
                for part in bytes.chunks(300_000) {
                    conn.send_bytes(part);
                    std::thread::sleep(Duration::from_millis(100));
                }
                let answer = conn.receive::<ProduceRequest>(9, correlation);
                assert_eq!(produced(&answer, &log, 0).error_code, 0);
            })
        })
        .collect();
    let served = crowd.into_iter().map(JoinHandle::join).filter(Result::is_ok).count();
    assert_eq!(served, 16, "of 16 that sent 32 MB at once");
    // Peers that send nothing on are dropped after 30 s.
    assert!(started.elapsed() < Duration::from_secs(29), "somebody waited for a limit: {:?}", started.elapsed());
}

#[test]
fn buffers_for_large_requests_stay_within_their_budget() {
    let Some(broker) = private(BrokerOptions::new().set("queued.max.request.bytes", "8388608")) else { return };
    let (log, _) = broker.connect().new_topic("rest", 1, &[("pyralog.durability", "memory")]);
    let before = broker.resident_bytes();
    let mut crowd: Vec<Conn> = (0..200)
        .map(|_| {
            let (mut conn, correlation, bytes) = large_request(&broker, &log, 1_000_000);
            conn.send_bytes(&bytes);
            conn.receive::<ProduceRequest>(9, correlation);
            conn
        })
        .collect();
    for conn in &mut crowd {
        // The buffer for the next large one gets a small one, and most of one that does not end.
        let (correlation, small) = conn.encode(12, &metadata_request(&[]));
        conn.stream().set_write_timeout(Some(Duration::from_millis(50))).expect("set_write_timeout");
        let _ = conn.try_send_bytes(&[frame(&small), (50_i32 << 20).to_be_bytes().to_vec(), vec![0; 900_000]].concat());
        conn.receive::<MetadataRequest>(12, correlation);
    }
    std::thread::sleep(Duration::from_millis(500));
    let grown = broker.resident_bytes().saturating_sub(before);
    // 8 MiB, 64 KiB of each, and what the allocator keeps.
    assert!(grown < 70 * MIB, "{} connections hold {} MiB", crowd.len(), grown / MIB);
}

/// A connection that sends mutated frames and gives each a moment to be answered or to close the connection.
struct Sender {
    stream: TcpStream,
    scratch: Vec<u8>,
    answered: u64,
    closed: u64,
}

impl Sender {
    fn open(address: &str) -> TcpStream {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("set_nodelay");
        stream.set_read_timeout(Some(Duration::from_millis(3))).expect("set_read_timeout");
        stream.set_write_timeout(Some(Duration::from_secs(5))).expect("set_write_timeout");
        stream
    }

    fn new(address: &str) -> Sender {
        Sender { stream: Sender::open(address), scratch: vec![0; 256 * 1024], answered: 0, closed: 0 }
    }

    /// Connects anew when the broker closed, and when it says nothing: a long poll would hold up what comes behind.
    fn send(&mut self, address: &str, bytes: &[u8]) {
        let outcome = self.stream.write_all(bytes).and_then(|()| self.stream.read(&mut self.scratch));
        if matches!(outcome, Ok(n) if n > 0) {
            self.answered += 1;
            return;
        }
        let silent = outcome.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.closed += u64::from(!silent);
        self.stream = Sender::open(address);
    }
}

#[test]
fn mutated_frames() {
    let Some(mut broker) = watched() else { return };
    let frames = asked("PYRALOG_FUZZ_FRAMES").unwrap_or(20_000);
    let seed = asked("PYRALOG_FUZZ_SEED").unwrap_or(0x7079_7261);
    println!("{frames} frames, PYRALOG_FUZZ_SEED={seed}");
    let mut draw = Draw::seeded(seed);
    let all = golden_requests(&mut broker.connect());
    // The topic that the captured requests name, so that they get past the lookup.
    broker.connect().create_topic("gd.sweep", 2, &[]);
    let neighbour = Neighbour::start(broker.kafka());
    let mut sender = Sender::new(broker.kafka());
    for n in 0..frames {
        let golden = &all[draw.index(all.len())];
        let mut bytes = frame(&mutate(golden, &mut draw));
        if draw.index(50) == 0 {
            // A length that does not fit; what follows is then garbage to the broker.
            let wrong = (draw.bits() as i32).to_be_bytes();
            overwrite(&mut bytes, 0, &wrong);
        }
        sender.send(broker.kafka(), &bytes);
        if n % 1000 == 0 {
            assert!(broker.is_alive(), "the broker ended before frame {n}, seed {seed}; stderr:\n{}", broker.stderr());
        }
    }
    println!("{} answered, {} closed", sender.answered, sender.closed);
    assert!(sender.answered > frames / 10 && sender.closed > frames / 10, "the frames do not reach what they test");
    drop(sender);
    assert!(broker.is_alive(), "seed {seed}");
    neighbour.assert_served();
    assert_memory(&broker, 200 * MIB);
    assert!(!broker.stderr().contains("panicked"), "seed {seed}: {}", broker.stderr());
    broker.terminate();
}
