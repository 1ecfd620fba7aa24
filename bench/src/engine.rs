//! The loop that sends and receives, one per worker thread.
//!
//! Holds: the least work per request that sockets allow (a read, a write and a share of an `epoll_wait`), so that the load
//! hardly competes with the broker for the processor. In an open loop latencies count from when a request was due
//! ([`crate::schedule`]), also for those that could not be sent yet and for those that are never answered. Memory is
//! bounded by the number of connections and of requests in flight. A worker ends at its time, plus a bounded wait for the
//! last answers, whatever the broker does.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use crate::admin;
use crate::error::BenchError;
use crate::schedule::Schedule;
use crate::tally::Tally;

/// How long the last answers are waited for.
pub const DRAIN: Duration = Duration::from_secs(10);
/// One write takes about so many bytes of small requests.
const WRITE_BYTES: usize = 16 << 10;
/// Requests that one connection may send at a time when it waits for no answers, so that the others get their turn.
const TURN: usize = 64;
const EVENTS: usize = 256;
/// How long before its time a punctual worker is awake.
const AWAKE: Duration = Duration::from_micros(150);
const TIMER: u64 = u64::MAX;

/// What a request or an answer carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Records written or read.
    pub records: u64,
    /// Bytes of batches as they travel.
    pub bytes: u64,
    /// Keys and values before compression.
    pub plain_bytes: u64,
}

/// The requests of a worker, and what to make of their answers.
pub trait Traffic {
    /// Name of the request, for messages.
    fn name(&self) -> &'static str;
    /// Puts the next request of a connection into what it sends; `None` if it has none any more.
    fn put(&mut self, connection: usize, correlation: i32, out: &mut Outgoing) -> Option<Amount>;
    /// Takes bytes that a connection received, and tells each complete answer.
    fn take(&mut self, connection: usize, bytes: &[u8], answers: &mut Answers<'_>) -> Result<(), String>;
    /// Whether the broker answers.
    fn is_answered(&self) -> bool {
        true
    }
    /// Whether to ask on after the end, for what was due before it and only comes when it is asked for.
    fn asks_on(&self) -> bool {
        false
    }
    /// Whether all that was due before the end has come, with so many requests outstanding.
    fn is_drained(&self, outstanding: usize) -> bool {
        outstanding == 0
    }
    /// Calls `each` with the due time of what has not come although it was waited for.
    fn missing(&self, _each: &mut dyn FnMut(u64)) {}
}

/// What a connection has to send: bytes of its own, with a batch that all share between them.
#[derive(Debug, Default)]
pub struct Outgoing {
    own: Vec<u8>,
    batch: Option<Bytes>,
    /// Bytes of `own` in front of the batch.
    before: usize,
    sent: usize,
}

impl Outgoing {
    /// Where a request can be written to.
    pub fn own(&mut self) -> &mut Vec<u8> {
        &mut self.own
    }

    /// Puts a batch where the own bytes end now; at most one, and only small requests may stand in front of it.
    pub fn put_batch(&mut self, batch: &Bytes) {
        self.before = self.own.len();
        self.batch = Some(batch.clone());
    }

    fn has_room(&self) -> bool {
        self.batch.is_none() && self.own.len() < WRITE_BYTES
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Writes what it can; whether all is gone.
    fn flush(&mut self, stream: &mut TcpStream) -> std::io::Result<bool> {
        let total = self.own.len() + self.batch.as_ref().map_or(0, Bytes::len);
        while self.sent < total {
            match self.write(stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.own.clear();
        (self.batch, self.sent) = (None, 0);
        Ok(true)
    }

    fn write(&self, stream: &mut TcpStream) -> std::io::Result<usize> {
        let Some(batch) = &self.batch else {
            return stream.write(self.own.get(self.sent..).unwrap_or_default());
        };
        let (before, after) = self.own.split_at(self.before.min(self.own.len()));
        let mut skip = self.sent;
        let pieces = [before, batch, after].map(|piece| {
            let passed = skip.min(piece.len());
            skip -= passed;
            IoSlice::new(piece.get(passed..).unwrap_or_default())
        });
        stream.write_vectored(&pieces)
    }
}

/// One complete answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Which request it says it answers.
    pub correlation: i32,
    /// Its error code.
    pub error: i16,
    /// What it carries; `None`: what the request carried counts.
    pub amount: Option<Amount>,
    /// Whether how long it took says anything: a long poll does not.
    pub timed: bool,
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    since_ns: u64,
    amount: Amount,
}

/// Takes the answers of one connection.
pub struct Answers<'a> {
    waiting: &'a mut VecDeque<Waiting>,
    answered: &'a mut i32,
    tally: &'a mut Tally,
    now_ns: u64,
}

impl Answers<'_> {
    /// Counts an answer.
    pub fn add(&mut self, answer: &Answer) -> Result<(), String> {
        let expected = *self.answered;
        let Some(waiting) = self.waiting.pop_front().filter(|_| answer.correlation == expected) else {
            return Err(format!("it has correlation id {}, {expected} was next", answer.correlation));
        };
        *self.answered = expected.wrapping_add(1);
        if answer.error != 0 {
            *self.tally.errors.entry(answer.error).or_default() += 1;
            return Ok(());
        }
        count(self.tally, answer.amount.unwrap_or(waiting.amount));
        if answer.timed {
            self.tally.latency.saturating_record(self.now_ns.saturating_sub(waiting.since_ns));
        }
        Ok(())
    }

    /// Counts the delivery of something that was due at a time.
    pub fn delivered(&mut self, due_ns: u64) {
        self.tally.latency.saturating_record(self.now_ns.saturating_sub(due_ns));
    }
}

fn count(tally: &mut Tally, amount: Amount) {
    tally.requests += 1;
    tally.records += amount.records;
    tally.bytes += amount.bytes;
    tally.plain_bytes += amount.plain_bytes;
}

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// As soon as there are fewer than the allowed number in flight.
    Closed,
    /// When they are due; counted from then.
    Open(Schedule),
    /// When they are due, but counted from when they were sent: what many tools do. It is here so that a test can show
    /// what it hides.
    #[cfg(test)]
    OpenCountedFromSend(Schedule),
}

impl Pace {
    fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Closed => None,
            Self::Open(schedule) => Some(schedule),
            #[cfg(test)]
            Self::OpenCountedFromSend(schedule) => Some(schedule),
        }
    }

    fn counts_from_due(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// What all workers of a run share.
#[derive(Debug, Clone)]
pub struct Run {
    /// Length of a stretch that is reported.
    pub tick: Duration,
    /// When no more requests are due, counted from the start.
    pub end: Duration,
    /// Set to end early.
    pub stop: Arc<AtomicBool>,
}

/// Saturates after 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a worker tells while it runs.
#[derive(Debug)]
pub enum Report {
    /// A stretch is over. The last one may be a short one.
    Stretch(Tally),
    /// What came after the end.
    Late(Tally),
}

/// How a worker uses its connections.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// One connection to each.
    pub addresses: &'a [SocketAddr],
    /// When requests are sent.
    pub pace: Pace,
    /// Unanswered requests of a connection at most.
    pub in_flight_max: usize,
    /// Bytes of one read at most.
    pub read_bytes: usize,
    /// Whether to be awake shortly before a request is due: a thread that is woken comes a tenth of a millisecond late.
    /// It costs up to [`AWAKE`] of processor per request.
    pub punctual: bool,
}

struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    out: Outgoing,
    /// The unanswered requests, oldest first.
    waiting: VecDeque<Waiting>,
    /// Requests sent and answered: the correlation ids.
    sent: i32,
    answered: i32,
    /// Open loop: requests that are due and not sent, and the index of the first of them among the connection's own.
    owed: u64,
    next: u64,
    exhausted: bool,
}

impl Connection {
    fn open(address: SocketAddr, in_flight_max: usize) -> Result<Self, BenchError> {
        let stream = admin::connect(address)?;
        let connection = Self {
            address,
            stream,
            out: Outgoing::default(),
            waiting: VecDeque::with_capacity(in_flight_max.min(1024)),
            sent: 0,
            answered: 0,
            owed: 0,
            next: 0,
            exhausted: false,
        };
        connection.stream.set_nonblocking(true).map_err(|error| connection.broken(error))?;
        Ok(connection)
    }

    fn broken(&self, error: std::io::Error) -> BenchError {
        BenchError::Broken { address: self.address.to_string(), error }
    }

    fn closed(&self) -> BenchError {
        BenchError::Closed { address: self.address.to_string(), unanswered: self.waiting.len() }
    }
}

/// A worker with its connections.
pub struct Engine<T> {
    run: Run,
    start: Instant,
    traffic: T,
    pace: Pace,
    in_flight_max: usize,
    /// How long before a request is due the worker wakes.
    ahead_ns: u64,
    connections: Vec<Connection>,
    epoll: OwnedFd,
    timer: OwnedFd,
    timer_ns: u64,
    /// Open loop: requests that became due so far.
    due: u64,
    tally: Tally,
    /// Connections that may have something to send.
    again: Vec<usize>,
    buffer: Vec<u8>,
    /// Whether requests still become due, and whether they are still sent.
    releasing: bool,
    sending: bool,
}

fn system(what: &'static str) -> impl Fn(rustix::io::Errno) -> BenchError {
    move |error| BenchError::System { what: what.to_owned(), error: error.into() }
}

impl<T: Traffic> Engine<T> {
    /// Connects. Nothing is sent yet.
    pub fn new(run: Run, traffic: T, plan: &Plan<'_>) -> Result<Self, BenchError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system("epoll"))?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(system("timerfd"))?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), flags).map_err(system("epoll"))?;
        let mut connections = Vec::new();
        for (index, address) in (0u64..).zip(plan.addresses) {
            let connection = Connection::open(*address, plan.in_flight_max)?;
            let flags = flags | epoll::EventFlags::OUT;
            let data = epoll::EventData::new_u64(index);
            epoll::add(&epoll, &connection.stream, data, flags).map_err(system("epoll"))?;
            connections.push(connection);
        }
        Ok(Self {
            run,
            start: Instant::now(),
            traffic,
            pace: plan.pace,
            in_flight_max: plan.in_flight_max,
            ahead_ns: if plan.punctual { nanoseconds(AWAKE) } else { 0 },
            again: (0..connections.len()).collect(),
            connections,
            epoll,
            timer,
            timer_ns: 0,
            due: 0,
            tally: Tally::new(0),
            buffer: vec![0; plan.read_bytes],
            releasing: true,
            sending: true,
        })
    }

    /// Runs to the end, and reports every stretch.
    pub fn work(mut self, start: Instant, mut report: impl FnMut(Report)) -> Result<(), BenchError> {
        self.start = start;
        std::thread::sleep(start.saturating_duration_since(Instant::now()));
        let (tick, end) = (nanoseconds(self.run.tick), nanoseconds(self.run.end));
        let mut tick_end = tick.min(end);
        loop {
            let now = nanoseconds(self.start.elapsed());
            let over = now >= end || self.run.stop.load(Ordering::Relaxed) || self.is_exhausted();
            if over || now >= tick_end {
                let until_ns = if over { now.min(end) } else { tick_end };
                let tally = std::mem::replace(&mut self.tally, Tally::new(until_ns));
                report(Report::Stretch(Tally { until_ns, ..tally }));
                tick_end = tick_end.saturating_add(tick).min(end);
            }
            if over {
                break;
            }
            self.release(now);
            self.turn(now, tick_end)?;
        }
        self.drain(nanoseconds(self.start.elapsed()).min(end))?;
        report(Report::Late(self.tally));
        Ok(())
    }

    fn is_exhausted(&self) -> bool {
        self.connections.iter().all(|c| c.exhausted && c.waiting.is_empty())
    }

    /// Waits for answers that are due, and for requests that were due before the end and could not be sent.
    fn drain(&mut self, stopped: u64) -> Result<(), BenchError> {
        // What is due at that very moment belongs to the time after it.
        self.release(stopped.saturating_sub(1));
        self.releasing = false;
        self.sending = self.pace.schedule().is_some() || self.traffic.asks_on();
        let patience = if self.run.stop.load(Ordering::Relaxed) { Duration::from_secs(1) } else { DRAIN };
        let deadline = stopped.saturating_add(nanoseconds(patience));
        loop {
            let outstanding = self.connections.iter().map(|c| c.waiting.len() + usize::from(c.owed > 0)).sum();
            if !self.traffic.is_answered() || self.traffic.is_drained(outstanding) {
                return Ok(());
            }
            let now = nanoseconds(self.start.elapsed());
            if now >= deadline {
                if !self.run.stop.load(Ordering::Relaxed) {
                    self.give_up(now);
                }
                return Ok(());
            }
            self.turn(now, deadline)?;
        }
    }

    /// What never came counts with the time that it was waited for.
    fn give_up(&mut self, now: u64) {
        let tally = &mut self.tally;
        let mut missing = |since: u64| {
            tally.unanswered += 1;
            tally.latency.saturating_record(now.saturating_sub(since));
        };
        self.traffic.missing(&mut missing);
        if self.traffic.asks_on() {
            return;
        }
        let stride = u64::try_from(self.connections.len()).unwrap_or(u64::MAX);
        for (index, connection) in (0u64..).zip(&self.connections) {
            connection.waiting.iter().for_each(|waiting| missing(waiting.since_ns));
            let Some(schedule) = self.pace.schedule() else { continue };
            let owed = connection.next..connection.next + connection.owed;
            owed.for_each(|own| missing(schedule.due_ns(own * stride + index)));
        }
    }

    /// Gives every request that is due by now to its connection.
    fn release(&mut self, now: u64) {
        let Some(schedule) = self.pace.schedule() else { return };
        let due = schedule.due_before(now.saturating_add(1));
        let count = u64::try_from(self.connections.len()).unwrap_or(u64::MAX).max(1);
        for request in self.due..due {
            let index = usize::try_from(request % count).unwrap_or(0);
            let Some(connection) = self.connections.get_mut(index) else { return };
            connection.owed += 1;
            if connection.owed == 1 {
                self.again.push(index);
            }
        }
        self.due = self.due.max(due);
    }

    /// Sends what can be sent, then takes what comes until something is due or time is up.
    fn turn(&mut self, now: u64, until: u64) -> Result<(), BenchError> {
        for index in std::mem::take(&mut self.again) {
            self.pump(index)?;
        }
        let timeout = self.timeout(now, until)?;
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(system("epoll")(error)),
        }
        for event in events {
            let (index, flags) = (event.data.u64(), event.flags);
            if index == TIMER {
                continue; // what is due is seen by the clock
            }
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
                self.receive(index)?;
            }
            self.pump(index)?;
        }
        Ok(())
    }

    /// How long to wait for events. `epoll_wait` counts in milliseconds; a request that is due wakes by the timer.
    fn timeout(&mut self, now: u64, until: u64) -> Result<Timespec, BenchError> {
        if !self.again.is_empty() {
            return Ok(span(0));
        }
        let due = self.pace.schedule().filter(|_| self.releasing).map(|schedule| schedule.due_ns(self.due));
        if let Some(wake) = due.map(|due| due.saturating_sub(self.ahead_ns)) {
            if wake <= now {
                return Ok(span(0));
            }
            if wake != self.timer_ns {
                let spec = Itimerspec { it_interval: span(0), it_value: span(wake - now) };
                timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &spec).map_err(system("timerfd"))?;
                self.timer_ns = wake;
            }
        }
        Ok(span(until.saturating_sub(now)))
    }

    fn receive(&mut self, index: usize) -> Result<(), BenchError> {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        loop {
            let read = match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(connection.closed()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(connection.broken(error)),
            };
            let mut answers = Answers {
                waiting: &mut connection.waiting,
                answered: &mut connection.answered,
                tally: &mut self.tally,
                now_ns: nanoseconds(self.start.elapsed()),
            };
            let bytes = self.buffer.get(..read).unwrap_or_default();
            let taken = self.traffic.take(index, bytes, &mut answers);
            taken.map_err(|detail| BenchError::Malformed { what: self.traffic.name(), detail })?;
            // A short read has emptied the socket; the next bytes raise a new event.
            if read < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Sends until the connection has enough in flight, owes nothing or is blocked.
    fn pump(&mut self, index: usize) -> Result<(), BenchError> {
        for _ in 0..TURN {
            self.fill(index);
            let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
            if connection.out.is_empty() {
                return Ok(());
            }
            let flushed = connection.out.flush(&mut connection.stream);
            if !flushed.map_err(|error| connection.broken(error))? {
                return Ok(());
            }
        }
        self.again.push(index);
        Ok(())
    }

    /// Puts requests into what a connection sends, as many as it may have in flight and fit into one write.
    fn fill(&mut self, index: usize) {
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(index) else { return };
        while self.sending && !connection.exhausted && connection.out.has_room() {
            let is_due = self.pace.schedule().is_none() || connection.owed > 0;
            if !is_due || connection.waiting.len() >= self.in_flight_max {
                return;
            }
            let Some(amount) = self.traffic.put(index, connection.sent, &mut connection.out) else {
                connection.exhausted = true;
                return;
            };
            connection.sent = connection.sent.wrapping_add(1);
            let now = nanoseconds(self.start.elapsed());
            let mut since_ns = now;
            if let Some(schedule) = self.pace.schedule() {
                let due = schedule.due_ns(connection.next * wide(connections) + wide(index));
                self.tally.send_delay.saturating_record(now.saturating_sub(due));
                (connection.owed, connection.next) = (connection.owed - 1, connection.next + 1);
                if self.pace.counts_from_due() {
                    since_ns = due;
                }
            }
            if self.traffic.is_answered() {
                connection.waiting.push_back(Waiting { since_ns, amount });
            } else {
                count(&mut self.tally, amount);
            }
        }
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn span(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
