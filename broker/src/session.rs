//! One client connection as a task: bytes in, frames to the node, answers out in order.
//! Holds: what comes in takes memory as [`Intake`] says (SE-03); a peer that stalls in a frame or does not take its answers is
//! dropped, one that is idle too, and one that holds memory for too long while others wait for it, or are given less. Who waits
//! for memory stalls nobody and is not idle.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pyralog_node::partition::Partition;
use pyralog_node::{Answer, Connection};
use pyralog_protocol::frame::{FrameError, LENGTH_BYTES, frame_length};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::debug;

use crate::appending;
use crate::disk::RealDisk;
use crate::intake::{FIRST_BUFFER, FRAME_STALL, Intake};
use crate::journaling;
use crate::lanes;
use crate::mailbox::{Events, Mailbox};
use crate::outgoing::{Outgoing, Progress};
use crate::outlet::Left;
use crate::owed::{self, Owed};
use crate::shell::{Shell, ShellOutputs};
use crate::sockets::SocketBuffers;
use crate::traffic::{LARGE_ANSWER, Threads, Traffic};

/// Bytes that a connection writes before others have their turn: who reads a backlog is not to hold up who writes.
const TURN_BYTES: usize = 256 << 10;
/// Unsent answers above which a connection is not read from, in bytes.
const UNSENT_LIMIT: usize = 8 << 20;

/// Why a connection ended; told at debug level, or as a warning where the peer did wrong.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// The peer closed.
    #[error("closed by the client")]
    Eof,
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No frame can follow.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// Nothing came for too long.
    #[error("idle for {0} s (connections.max.idle.ms)")]
    Idle(u64),
    /// A frame did not go on, or answers were not taken.
    #[error("stalled for {0} s in the middle of a frame or of an answer")]
    Stalled(u64),
    /// A large frame came in slowly, and kept others from the memory for requests.
    #[error("a large request came in too slowly while others waited for its memory (queued.max.request.bytes)")]
    InTheWay,
    /// Answers were taken slowly, and others were given less because of their memory.
    #[error("large answers were taken too slowly while there was no memory for those of others")]
    TakesTooLong,
    /// All is answered and the connection was to be closed.
    #[error("closed after the last answer")]
    Done,
}

/// A connection and everything that its task works with.
pub struct Session {
    shell: Arc<Shell>,
    /// The mailbox has it too, for its outlet.
    stream: Arc<TcpStream>,
    buffers: SocketBuffers,
    conn: Connection,
    mailbox: Arc<Mailbox>,
    input: Intake,
    unsent: Outgoing,
    owed: Owed,
    /// A reader thread brings what is to be sent next into memory.
    warming: bool,
    /// It had a large answer, and its send buffer is made for them.
    large_answers: bool,
    /// What goes through it, and so which threads serve it.
    traffic: Traffic,
    /// When something last went through the socket, in either direction.
    active: Instant,
    /// Rings at the deadline or before it: most requests move the deadline, and a timer that is set anew each time costs more
    /// than one that now and then rings for nothing.
    alarm: Pin<Box<Sleep>>,
    stopping: bool,
    /// The client sends nothing more.
    ended: bool,
}

impl Drop for Session {
    /// Also when serving panicked: nothing may be left behind for a connection that is gone.
    fn drop(&mut self) {
        self.shell.mailboxes.close(self.conn.id);
        self.mailbox.set_socket(None);
        self.shell.node.on_disconnect(&mut self.conn);
        self.shell.node.take_unsent(self.unsent.memory());
    }
}

impl Session {
    /// A session over an accepted socket.
    pub fn new(shell: Arc<Shell>, (stream, buffers): (TcpStream, SocketBuffers), conn: Connection) -> Self {
        let mailbox = shell.mailboxes.open(conn.id);
        let stream = Arc::new(stream);
        mailbox.set_socket(Some(Arc::clone(&stream)));
        let active = Instant::now();
        let alarm = Box::pin(sleep_until(active + Duration::from_millis(shell.node.limits().idle_ms)));
        let input = Intake::new(Arc::clone(&shell.request_memory));
        Self {
            shell,
            stream,
            buffers,
            conn,
            mailbox,
            input,
            unsent: Outgoing::default(),
            owed: Owed::default(),
            warming: false,
            large_answers: false,
            traffic: Traffic::default(),
            active,
            alarm,
            stopping: false,
            ended: false,
        }
    }

    /// Serves the connection until it ends; gives it back when it is to go on with [other threads](crate::lanes), and which.
    pub async fn run(mut self) -> Option<(Threads, Self)> {
        match self.serve().await {
            Ok(threads) => Some((threads, self)),
            Err(end) => {
                debug!(peer = %self.conn.peer, reason = %end, "connection ended");
                None
            }
        }
    }

    /// The threads that serve it.
    pub fn threads(&self) -> Threads {
        self.traffic.at()
    }

    /// Moves socket and alarm to the runtime on which this is called, that of these threads.
    pub fn settle(&mut self, threads: Threads) -> io::Result<()> {
        self.traffic.moves_to(threads);
        if threads == Threads::Writers {
            self.buffers.expect_large_requests(&self.stream);
        }
        let socket = self.stream.as_fd().try_clone_to_owned()?;
        self.stream = Arc::new(TcpStream::from_std(socket.into())?);
        self.mailbox.set_socket(Some(Arc::clone(&self.stream)));
        self.alarm = Box::pin(sleep_until(self.deadline()));
        Ok(())
    }

    async fn serve(&mut self) -> Result<Threads, End> {
        loop {
            self.serve_frames()?;
            self.collect_answers();
            let threads = self.traffic.belongs_to();
            if threads != self.traffic.at() {
                return Ok(threads);
            }
            if self.write_some()? {
                if self.traffic.at() == Threads::Readers {
                    lanes::after_turn(TURN_BYTES, self.active);
                }
                tokio::task::yield_now().await;
            }
            // What was asked before is answered, also what waits for its turn behind a request that has just been.
            let all_asked = (self.stopping || self.ended) && self.next_frame().is_none();
            let over = self.conn.is_closed() || all_asked && self.conn.is_idle();
            if self.unsent.is_empty() && over {
                return Err(End::Done);
            }
            let reading = self.wants_input();
            if !reading && self.unsent.is_empty() && self.ready_to_serve() {
                continue;
            }
            self.wait(reading).await?;
        }
    }

    /// Waits for whatever comes first: bytes, room for bytes, memory for them, an event, a deadline.
    async fn wait(&mut self, reading: bool) -> Result<(), End> {
        let writing = !self.unsent.is_empty() && !self.warming;
        let interest = match (reading, writing) {
            (true, false) => Some(Interest::READABLE),
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        };
        let deadline = self.deadline();
        if deadline < self.alarm.deadline() || self.alarm.is_elapsed() {
            self.alarm.as_mut().reset(deadline);
        }
        let outlet = self.open_outlet(reading);
        tokio::select! {
            biased;
            () = self.mailbox.rung() => {
                let events = self.mailbox.take();
                self.take_events(events);
            }
            ready = self.stream.ready(interest.unwrap_or(Interest::ERROR)) => {
                let ready = ready?;
                self.close_outlet(outlet);
                if ready.is_readable() && reading {
                    self.read_some()?;
                } else if interest.is_none() && (ready.is_error() || ready.is_read_closed()) {
                    return Err(End::Eof);
                }
            }
            () = self.input.granted(), if self.input.is_waiting() => {
                // What the peer sent meanwhile was not read.
                self.active = Instant::now();
            }
            () = self.alarm.as_mut() => {
                self.close_outlet(outlet);
                self.on_deadline()?;
            }
        }
        Ok(())
    }

    /// While this task waits for bytes of the next request, the answer to the one before may leave [without it](crate::outlet).
    /// Tells whether it may.
    fn open_outlet(&self, reading: bool) -> bool {
        let slot = if reading && self.unsent.is_empty() { self.conn.awaits() } else { None };
        if let Some(slot) = slot {
            self.mailbox.open_outlet(slot);
        }
        slot.is_some()
    }

    fn close_outlet(&mut self, open: bool) {
        if open {
            let events = self.mailbox.take();
            self.take_events(events);
        }
    }

    fn take_events(&mut self, events: Events) {
        self.stopping |= events.stop;
        if let Some(Left { slot, bytes, at }) = events.left {
            self.conn.answered_elsewhere(slot);
            self.traffic.answered(bytes);
            self.active = at;
        }
        if let Some(bytes) = events.warmed {
            self.warming = false;
            self.unsent.warmed(bytes);
            self.active = Instant::now();
        }
        for (slot, answer) in events.answers {
            self.complete(slot, answer);
        }
        if events.stop {
            // A stop does not wait for long polls.
            self.end_wait();
        } else if events.wake && self.conn.deadline().is_some() {
            self.look_again();
        }
    }

    /// Has a request that waits answered with what there is.
    fn end_wait(&mut self) {
        if self.conn.deadline().is_some() {
            self.conn.stop_waiting();
            self.look_again();
        }
    }

    fn complete(&mut self, slot: u64, answer: Answer) {
        if let Answer::Unencodable(reason) = &answer {
            tracing::error!(peer = %self.conn.peer, %reason, "an answer could not be encoded; closing the connection");
        }
        self.conn.complete(slot, answer);
        // What the peer sent meanwhile was not read; its patience with us is not its stall.
        self.active = Instant::now();
    }

    fn look_again(&mut self) {
        let mut out = self.shell.outputs();
        let waits = self.conn.looks_at_disk();
        let mut look = || self.shell.node.on_wake(&mut self.conn, self.shell.clock.now(), &mut out);
        if waits {
            block_in_place(look)
        } else {
            look()
        }
        self.absorb(out);
    }

    /// Keeps what is for this connection and passes the rest on.
    fn absorb(&mut self, mut out: ShellOutputs) {
        let id = self.conn.id;
        for (ticket, answer) in out.answers.extract_if(.., |(ticket, _)| ticket.conn == id) {
            self.complete(ticket.slot, answer);
        }
        appending::go_on(&self.shell, &mut out);
        self.shell.dispatch(out);
    }

    fn deadline(&self) -> Instant {
        let limits = self.shell.node.limits();
        let quiet = if self.is_mid_transfer() { limits.stall_ms } else { limits.idle_ms };
        let mut quiet = self.active + Duration::from_millis(quiet);
        if self.input.may_be_in_the_way() {
            quiet = quiet.min(Instant::now() + FRAME_STALL);
        }
        match self.conn.deadline().map(|at| self.shell.clock.instant(at)) {
            Some(at) if self.is_mid_transfer() => at.min(quiet),
            Some(at) => at,
            None if self.is_mid_transfer() || (self.conn.is_idle() && !self.input.is_waiting()) => quiet,
            // Somebody works for this connection, or it waits for memory: it is not idle.
            None => Instant::now() + Duration::from_millis(limits.idle_ms),
        }
    }

    /// Something is owed by the peer: what waits for our own disk is not.
    fn is_mid_transfer(&self) -> bool {
        (!self.unsent.is_empty() && !self.warming) || (!self.input.bytes().is_empty() && self.wants_input())
    }

    fn on_deadline(&mut self) -> Result<(), End> {
        let limits = self.shell.node.limits();
        let quiet = self.active.elapsed();
        if self.conn.deadline().is_some_and(|at| at <= self.shell.clock.now().mono) {
            self.look_again();
            return Ok(());
        }
        if self.is_mid_transfer() && quiet >= Duration::from_millis(limits.stall_ms) {
            return Err(End::Stalled(limits.stall_ms / 1000));
        }
        self.make_way()?;
        if self.shell.node.is_crowded() && !self.warming && self.owed.is_slow(self.unsent.memory(), Instant::now()) {
            return Err(End::TakesTooLong);
        }
        if self.conn.is_idle() && !self.input.is_waiting() && quiet >= Duration::from_millis(limits.idle_ms) {
            return Err(End::Idle(limits.idle_ms / 1000));
        }
        Ok(())
    }

    /// Whether more bytes should be read now.
    fn wants_input(&self) -> bool {
        !self.stopping
            && !self.ended
            && !self.input.is_waiting()
            && (self.conn.accepts() || self.listens_on())
            && self.may_ask_more()
            && self.next_frame().is_none()
    }

    /// Whether so little is unsent that the peer may ask for more. However many peers do not take their answers, they are not
    /// given much more memory than there is for that (SE-17).
    fn may_ask_more(&self) -> bool {
        self.unsent.bytes() < UNSENT_LIMIT && (self.unsent.memory() < owed::LITTLE || !self.shell.node.is_crowded())
    }

    /// While a fetch waits for data, a little is read ahead, so that a client that goes away is noticed at once.
    fn listens_on(&self) -> bool {
        self.conn.deadline().is_some() && self.input.bytes().len() < FIRST_BUFFER
    }

    /// Length of the next frame, once it is known and acceptable.
    fn frame_length(&self) -> Result<Option<usize>, End> {
        let Some(prefix) = self.input.bytes().first_chunk() else { return Ok(None) };
        Ok(Some(frame_length(*prefix, self.shell.node.limits().frame_bytes)?))
    }

    /// The next frame, if all of it is there.
    fn next_frame(&self) -> Option<&[u8]> {
        let length = self.frame_length().ok().flatten()?;
        self.input.bytes().get(LENGTH_BYTES..LENGTH_BYTES + length)
    }

    fn ready_to_serve(&self) -> bool {
        self.next_frame().is_some_and(|frame| self.conn.accepts_frame(frame))
    }

    /// Serves the frames that are complete, as far as the connection takes them.
    fn serve_frames(&mut self) -> Result<(), End> {
        let mut taken = false;
        while self.conn.accepts() && self.may_ask_more() {
            let Some(length) = self.frame_length()? else { break };
            if !self.ready_to_serve() {
                break;
            }
            let frame = self.input.take_frame(length);
            taken = true;
            self.traffic.asked(LENGTH_BYTES + length, Connection::is_produce(&frame));
            self.shell.metrics.requests.add(1);
            let mut out = self.shell.outputs();
            let waits = Connection::may_wait_for_disk(&frame);
            let serve = || {
                let moment = (self.shell.draw(), self.shell.clock.now());
                self.shell.node.on_frame(&mut self.conn, frame, moment, &mut out)
            };
            // Other tasks of this thread, which may be the one that looks at all sockets, are taken over meanwhile.
            let served = if waits { block_in_place(serve) } else { serve() };
            let own = self.take_own_commit(&mut out);
            self.absorb(out);
            if let Some(partition) = own {
                self.commit(partition);
            }
            if let Err(reason) = served {
                self.shell.metrics.requests_refused.add(1);
                debug!(peer = %self.conn.peer, %reason, "request refused; the connection will be closed");
            }
            if self.stopping {
                // Nor for one that came in before the stop, and was behind another.
                self.end_wait();
            }
            self.collect_answers();
        }
        self.input.settle(taken);
        if (self.stopping || self.ended) && self.next_frame().is_none() {
            self.input.give_up();
        }
        Ok(())
    }

    /// The commit that all of this connection waits for.
    fn take_own_commit(&self, out: &mut ShellOutputs) -> Option<Arc<Partition<RealDisk>>> {
        let only = out.commits.len() == 1 && self.conn.unanswered() == 1 && self.next_frame().is_none();
        if only { out.commits.pop() } else { None }
    }

    /// Has it made durable: here, if there is nobody to share a round with. Other tasks of this thread are not held up by
    /// that: another thread takes them over.
    fn commit(&mut self, partition: Arc<Partition<RealDisk>>) {
        let mut out = self.shell.outputs();
        if let Some(partition) = journaling::commit_here(&self.shell, partition, &mut out) {
            out.commits.push(partition);
        }
        self.absorb(out);
    }

    fn read_some(&mut self) -> Result<(), End> {
        let size = self.frame_length()?.map(|length| LENGTH_BYTES + length);
        if !self.input.make_room(size) {
            return Ok(());
        }
        let room = self.input.room();
        let mut read = Err(io::ErrorKind::WouldBlock.into());
        // Less than there is room for: the socket is empty, and a look that would say so is one call less.
        let _ = self.stream.try_io(Interest::READABLE, || {
            read = self.stream.try_read_buf(self.input.buffer());
            let empty = read.as_ref().is_ok_and(|bytes| (1..room).contains(bytes));
            if empty { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match read {
            // The client has said all it will. What it asked before is answered still: it may have closed only its half.
            Ok(0) if !self.conn.is_idle() || !self.unsent.is_empty() => {
                self.ended = true;
                self.end_wait();
                Ok(())
            }
            Ok(0) => Err(End::Eof),
            Ok(read) => {
                self.input.came(read);
                self.shell.metrics.bytes_in.add(read as u64);
                self.active = Instant::now();
                self.make_way()
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Ends a connection whose request comes in so slowly that it keeps others from memory. That is the peer's doing: the
    /// connection took requests when it was given the memory, serves no other before this one, and so reads on, unless the peer
    /// does not take its answers.
    fn make_way(&self) -> Result<(), End> {
        // Once all of it is there, it waits for nothing but answers to earlier requests.
        let coming_in = self.next_frame().is_none();
        if coming_in && self.input.is_in_the_way(self.active, Instant::now()) { Err(End::InTheWay) } else { Ok(()) }
    }

    fn collect_answers(&mut self) {
        while let Some(answer) = self.conn.next_answer() {
            let before = (self.unsent.bytes(), self.unsent.memory());
            let memory = self.unsent.push(answer);
            let bytes = self.unsent.bytes() - before.0;
            self.owed.add(bytes, before, self.active);
            self.traffic.answered(bytes);
            self.shell.node.add_unsent(memory);
        }
        if !self.large_answers && self.unsent.bytes() >= LARGE_ANSWER {
            self.large_answers = true;
            self.buffers.expect_large_answers(&self.stream);
        }
    }

    /// Writes what the socket takes, up to the end of a turn. Tells whether that has come.
    fn write_some(&mut self) -> Result<bool, End> {
        while !self.warming {
            let shell = &self.shell;
            let mut moved = false;
            let progress = self.unsent.write(&self.stream, TURN_BYTES, |bytes, memory| {
                shell.metrics.bytes_out.add(bytes as u64);
                shell.node.take_unsent(memory);
                moved = true;
            })?;
            if moved {
                self.active = Instant::now();
            }
            match progress {
                Progress::Done | Progress::Full => break,
                Progress::TurnOver => return Ok(true),
                Progress::Cold(range) => {
                    let bytes = range.len;
                    self.warming = self.shell.readers.warm(self.conn.id, range);
                    if !self.warming {
                        self.unsent.warmed(bytes);
                    }
                }
            }
        }
        Ok(false)
    }
}
