//! The engine against a server made of a thread: what it sends, what it counts, and what a stall does to the latencies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Amount, Answer, Answers, DRAIN, Engine, Outgoing, Pace, Plan, Report, Run, Traffic, nanoseconds};
use crate::error::BenchError;
use crate::frames::i32_at;
use crate::reader::SmallReader;
use crate::schedule::Schedule;
use crate::tally::Tally;

const REQUEST_BYTES: usize = 12;

/// Requests of a length, a correlation id and four more bytes, the last ones behind a batch of `batch_bytes`.
struct Echo {
    batch: Bytes,
    readers: Vec<SmallReader>,
    requests_max: usize,
    answered: bool,
}

fn echo(connections: usize, batch_bytes: usize) -> Echo {
    let readers = (0..connections).map(|_| SmallReader::default()).collect();
    Echo { batch: vec![0xEE; batch_bytes].into(), readers, requests_max: usize::MAX, answered: true }
}

impl Traffic for Echo {
    fn name(&self) -> &'static str {
        "Echo"
    }

    fn put(&mut self, _: usize, correlation: i32, out: &mut Outgoing) -> Option<Amount> {
        self.requests_max = self.requests_max.checked_sub(1)?;
        let length = i32::try_from(REQUEST_BYTES - 4 + self.batch.len()).expect("small");
        out.own().extend_from_slice(&length.to_be_bytes());
        out.own().extend_from_slice(&correlation.to_be_bytes());
        if !self.batch.is_empty() {
            out.put_batch(&self.batch);
        }
        out.own().extend_from_slice(b"tail");
        Some(Amount { records: 2, bytes: 100, plain_bytes: 300 })
    }

    fn take(&mut self, connection: usize, bytes: &[u8], answers: &mut Answers<'_>) -> Result<(), String> {
        self.readers[connection].read(bytes, |frame| {
            let correlation = i32_at(frame, 0).expect("four bytes");
            let error = i16::from(frame.len() > 4) * 3;
            answers.add(&Answer { correlation, error, amount: None, timed: true })
        })
    }

    fn is_answered(&self) -> bool {
        self.answered
    }
}

/// What the server does with a request; `None` ends the connection.
type Behaviour = fn(i32) -> Option<Reaction>;

enum Reaction {
    Answer(i32),
    Refuse(i32),
    Silence,
}

struct Server {
    address: SocketAddr,
    _thread: JoinHandle<()>,
}

/// Serves each connection on a thread of its own until its peer goes.
fn server(behaviour: Behaviour) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let thread = std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream, behaviour));
        }
    });
    Server { address, _thread: thread }
}

fn serve(mut stream: TcpStream, behaviour: Behaviour) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("positive")];
        stream.read_exact(&mut frame).ok()?;
        assert!(frame.ends_with(b"tail") && frame[4..frame.len() - 4].iter().all(|b| *b == 0xEE), "a broken request");
        let correlation = i32_at(&frame, 0)?;
        let answer = match behaviour(correlation)? {
            Reaction::Answer(correlation) => [4i32.to_be_bytes(), correlation.to_be_bytes()].concat(),
            Reaction::Refuse(c) => [8i32.to_be_bytes(), c.to_be_bytes(), [0; 4]].concat(),
            Reaction::Silence => continue,
        };
        stream.write_all(&answer).ok()?;
    }
}

struct Outcome {
    stretches: Vec<Tally>,
    late: Option<Tally>,
    result: Result<(), BenchError>,
    took: Duration,
}

impl Outcome {
    fn total(&self) -> Tally {
        let mut total = Tally::new(0);
        self.stretches.iter().for_each(|stretch| total.add(stretch));
        self.late.iter().for_each(|late| total.add_late(late));
        total
    }
}

fn run(server: &Server, traffic: Echo, pace: Pace, (in_flight_max, millis): (usize, u64)) -> Outcome {
    run_until(server, traffic, pace, (in_flight_max, millis), &Arc::new(AtomicBool::new(false)))
}

fn run_until(
    server: &Server,
    traffic: Echo,
    pace: Pace,
    (in_flight_max, millis): (usize, u64),
    stop: &Arc<AtomicBool>,
) -> Outcome {
    let addresses = vec![server.address; traffic.readers.len()];
    let plan = Plan { addresses: &addresses, pace, in_flight_max, read_bytes: 64, punctual: false };
    let run = Run { tick: Duration::from_millis(50), end: Duration::from_millis(millis), stop: stop.clone() };
    let engine = Engine::new(run, traffic, &plan).expect("connections");
    let (mut stretches, mut late) = (Vec::new(), None);
    let begun = Instant::now();
    let result = engine.work(begun, |report| match report {
        Report::Stretch(tally) => stretches.push(tally),
        Report::Late(tally) => late = Some(tally),
    });
    Outcome { stretches, late, result, took: begun.elapsed() }
}

#[test]
fn a_closed_loop_keeps_its_requests_in_flight_and_counts_every_answer() {
    for (connections, in_flight, batch) in [(1, 1, 0), (3, 4, 0), (2, 3, 100_000)] {
        let server = server(|correlation| Some(Reaction::Answer(correlation)));
        let outcome = run(&server, echo(connections, batch), Pace::Closed, (in_flight, 200));
        outcome.result.as_ref().expect("a run");
        let total = outcome.total();
        assert!(total.requests > 0, "{} requests", total.requests);
        assert_eq!(
            (total.records, total.bytes, total.plain_bytes),
            (total.requests * 2, total.requests * 100, total.requests * 300)
        );
        let late = outcome.late.expect("the end").latency.len();
        assert!(late <= u64::try_from(connections * in_flight).expect("small"), "{late} after the end");
        assert_eq!(total.latency.len(), total.requests + late);
        // Who gets no processor for a while reports what was due meanwhile at once.
        assert!((1..=4).contains(&outcome.stretches.len()), "{} stretches", outcome.stretches.len());
        assert!(outcome.stretches.windows(2).all(|w| w[0].until_ns == w[1].from_ns), "no gap between stretches");
    }
}

#[test]
fn an_open_loop_sends_what_is_due_and_nothing_else() {
    let server = server(|correlation| Some(Reaction::Answer(correlation)));
    let is_quick = |_| {
        let outcome = run(&server, echo(3, 0), Pace::Open(Schedule::new(1_000_000)), (10, 300));
        outcome.result.as_ref().expect("a run");
        let total = outcome.total();
        assert_eq!(total.latency.len(), 300, "one per millisecond");
        assert_eq!(total.send_delay.len(), 300);
        total.latency.value_at_quantile(0.5) < 20_000_000
    };
    assert!((0..ATTEMPTS).any(is_quick), "an answer that comes at once is measured as a late one");
}

/// Where others keep the processors, answers are late indeed, now and then.
const ATTEMPTS: usize = 20;

/// How long the server of the next tests says nothing, once.
const STALL: Duration = Duration::from_millis(400);

fn stalling(correlation: i32) -> Option<Reaction> {
    if correlation == 100 {
        std::thread::sleep(STALL);
    }
    Some(Reaction::Answer(correlation))
}

/// Whether the latencies show that nearly all requests that were due during the stall had to wait.
fn shows_the_stall(pace: fn(Schedule) -> Pace) -> bool {
    let rate = 1_000;
    let server = server(stalling);
    let outcome = run(&server, echo(1, 0), pace(Schedule::new(rate * 1000)), (1, 800));
    outcome.result.as_ref().expect("a run");
    let latency = &outcome.total().latency;
    // Due evenly over the stall, half of them waited for more than half of it.
    let half = nanoseconds(STALL / 2);
    let waited = latency.len() - latency.count_between(0, half);
    let expected = u64::try_from(STALL.as_millis()).expect("small") * rate / 1000 / 2;
    waited > expected * 8 / 10 && latency.max() >= nanoseconds(STALL)
}

#[test]
fn op_16_a_stall_of_the_server_is_in_the_latency_of_every_request_that_was_due() {
    assert!(shows_the_stall(Pace::Open));
}

#[test]
fn op_16_planted_counting_from_when_requests_are_sent_hides_a_stall() {
    assert!((0..ATTEMPTS).any(|_| !shows_the_stall(Pace::OpenCountedFromSend)));
}

#[test]
fn op_16_a_server_that_never_answers_again_is_in_the_latencies() {
    let server =
        server(|correlation| Some(if correlation < 50 { Reaction::Answer(correlation) } else { Reaction::Silence }));
    let outcome = run(&server, echo(1, 0), Pace::Open(Schedule::new(1_000_000)), (5, 200));
    outcome.result.as_ref().expect("a run");
    let total = outcome.total();
    assert_eq!((total.requests, total.unanswered), (50, 150), "in flight and waiting to be sent");
    let waited = total.latency.len() - total.latency.count_between(0, nanoseconds(DRAIN - Duration::from_secs(1)));
    assert_eq!(waited, 150);
    assert!(outcome.took < DRAIN + Duration::from_secs(50), "it ends all the same");
}

#[test]
fn refusals_are_counted_and_are_no_throughput() {
    let server = server(|c| Some(if c % 2 == 0 { Reaction::Answer(c) } else { Reaction::Refuse(c) }));
    let outcome = run(&server, echo(1, 0), Pace::Open(Schedule::new(1_000_000)), (1, 100));
    outcome.result.as_ref().expect("a run");
    let total = outcome.total();
    assert!(total.errors[&3] >= 49 && total.requests <= 51, "{:?} of {}", total.errors, total.requests);
}

#[test]
fn answers_to_another_request_and_closed_connections_end_the_run() {
    let wrong = server(|correlation| Some(Reaction::Answer(correlation + 1)));
    let error = run(&wrong, echo(1, 0), Pace::Closed, (1, 100)).result.expect_err("a wrong id").to_string();
    assert_eq!(error, "the answer to Echo cannot be read: it has correlation id 1, 0 was next");
    let gone = server(|correlation| (correlation < 3).then_some(Reaction::Answer(correlation)));
    let error = run(&gone, echo(1, 0), Pace::Closed, (1, 100)).result.expect_err("no connection").to_string();
    assert!(error.contains("closed the connection, 1 requests were unanswered") || error.contains("broke"), "{error}");
}

#[test]
fn a_run_ends_when_it_is_told_to_and_when_there_is_nothing_more_to_ask() {
    let server = server(|correlation| Some(Reaction::Answer(correlation)));
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        flag.store(true, Ordering::Relaxed);
    });
    let outcome = run_until(&server, echo(1, 0), Pace::Closed, (1, 60_000), &stop);
    assert!(outcome.took < Duration::from_secs(50) && outcome.total().requests > 0);

    let limited = Echo { requests_max: 7, ..echo(2, 0) };
    let outcome = run(&server, limited, Pace::Closed, (1, 60_000));
    assert_eq!(outcome.total().requests, 7);
    assert!(outcome.took < Duration::from_secs(50));
}

#[test]
fn without_answers_what_is_sent_counts() {
    let server = server(|_| Some(Reaction::Silence));
    let outcome = run(&server, Echo { answered: false, ..echo(2, 0) }, Pace::Open(Schedule::new(1_000_000)), (1, 100));
    outcome.result.as_ref().expect("a run");
    let total = outcome.total();
    // Not more than are due; what was not sent by the end stays so.
    assert!((1..=100).contains(&total.requests), "{}", total.requests);
    assert_eq!((total.latency.len(), total.unanswered), (0, 0));
}
