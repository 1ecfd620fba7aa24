//! Lines on their way to stderr, and the one thread that writes them. Holds: whoever has something to say neither waits nor
//! fails, whatever stderr is: a pipe that nobody reads any more, a file on a full volume. Lines that there is no place for are
//! lost; the next one that has a place says how many.
//!
//! Deliberately not here: trying again what could not be written. Whoever reads the lines would get them in another order.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes that wait at most, beside those that are being written.
const WAITING_BYTES: usize = 1 << 20;
/// Until a pipe that does not block is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// The lines, shared by all threads.
pub struct LogLines {
    state: Mutex<State>,
    /// There is something to write.
    come: Condvar,
    /// Everything is written.
    gone: Condvar,
    /// Makes a line of a text.
    form: fn(&str) -> String,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that came after those, and found no place.
    left_out: u64,
    /// The thread has taken lines and is not done with them.
    is_writing: bool,
    /// Lines that were lost, ever.
    lost: u64,
}

impl LogLines {
    /// No lines yet; what is to be said of lost ones takes this form.
    pub fn new(form: fn(&str) -> String) -> Self {
        Self { state: Mutex::default(), come: Condvar::new(), gone: Condvar::new(), form }
    }

    /// Hands in a line, with its end.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.len() + line.len() > WAITING_BYTES {
            state.left_out += 1;
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(line);
        self.come.notify_one();
    }

    /// How many were lost.
    pub fn lost(&self) -> u64 {
        self.state.lock().lost
    }

    /// Waits until all are written, but not for long: nobody may be there who takes them.
    pub fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.state.lock();
        while state.is_writing || !state.waiting.is_empty() {
            if self.gone.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }

    /// Writes them, as long as the process lives.
    pub fn write_to(&self, to: impl Write) {
        let mut sink = Sink { to, is_torn: false };
        let mut untold = 0;
        loop {
            let (lines, left_out) = self.next();
            if untold > 0 {
                let note = (self.form)(&format!("{untold} log lines were lost here, because stderr did not take them"));
                if sink.put(note.as_bytes()).is_empty() {
                    untold = 0;
                }
            }
            let failed = sink.put(&lines).iter().filter(|byte| **byte == b'\n').count() as u64;
            self.state.lock().lost += failed;
            untold += failed + left_out;
        }
    }

    /// Lines to be written, and how many were left out behind them.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            state.is_writing = false;
            self.gone.notify_all();
            self.come.wait(&mut state);
        }
        state.is_writing = true;
        (std::mem::take(&mut state.waiting), std::mem::take(&mut state.left_out))
    }
}

/// For the subscriber, which hands in a whole line at a time.
impl Write for &LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Sink<W> {
    to: W,
    /// The last line was cut off.
    is_torn: bool,
}

impl<W: Write> Sink<W> {
    /// Writes what can be written of whole lines, and gives the rest.
    fn put<'l>(&mut self, lines: &'l [u8]) -> &'l [u8] {
        // What comes next must not look like the rest of a line that was cut off.
        if self.is_torn && self.write(b"\n") == 0 {
            return lines;
        }
        let (written, rest) = lines.split_at(self.write(lines));
        self.is_torn = written.last().is_some_and(|byte| *byte != b'\n');
        rest
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest) {
                Ok(0) => break,
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever started us, or shares the terminal, has made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(TRY_AGAIN),
                Err(_) => break,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests;
