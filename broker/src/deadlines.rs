//! The thread for what the node has deadlines for (`flush.ms`). It does nothing else, so that nothing keeps it from being in
//! time: what it asks for is done by disk workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pyralog_protocol::MonoMs;

use crate::control::or_exit;
use crate::shell::Shell;

/// Longest that the thread sleeps without looking.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

enum Message {
    /// Something is due earlier than the thread knew.
    Due,
    Stop,
}

/// Reaches the thread.
pub struct Deadlines {
    messages: Sender<Message>,
    /// For the thread.
    inbox: Receiver<Message>,
    /// When the thread wakes by itself, in monotonic ms; far away while it works.
    wakes_at: AtomicU64,
}

impl Default for Deadlines {
    /// Without its thread yet.
    fn default() -> Self {
        let (messages, inbox) = unbounded();
        Self { messages, inbox, wakes_at: AtomicU64::new(u64::MAX) }
    }
}

impl Deadlines {
    /// Something is due at that moment. Costs a message only if the thread would sleep longer.
    pub fn wake_by(&self, at: MonoMs) {
        if at.0 < self.wakes_at.load(Ordering::SeqCst) {
            let _ = self.messages.send(Message::Due);
        }
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
    }
}

/// Starts the thread.
pub fn start(shell: Arc<Shell>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("deadlines".into()).stack_size(256 << 10).spawn(move || or_exit(|| run(&shell)))
}

fn run(shell: &Shell) {
    let mut out = shell.outputs();
    shell.node.time_what_was_recovered(shell.clock.now(), &mut out);
    shell.dispatch(out);
    while sleep(shell) {
        let mut out = shell.outputs();
        shell.node.run_due(shell.clock.now(), &mut out);
        shell.dispatch(out);
    }
}

/// Sleeps until something is due, or until it is told that something is. False: stop.
fn sleep(shell: &Shell) -> bool {
    let Deadlines { inbox, wakes_at, .. } = &shell.deadlines;
    // From here on whoever adds something sends a message, so that what is added after the look below is not missed.
    wakes_at.store(u64::MAX, Ordering::SeqCst);
    let now = shell.clock.now().mono;
    let due = shell.node.next_due().map(|at| Duration::from_millis(at.0.saturating_sub(now.0)));
    let pause = due.map_or(LOOK_EVERY, |due| due.min(LOOK_EVERY));
    let until = now.after_ms(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
    wakes_at.store(until.0, Ordering::SeqCst);
    match inbox.recv_timeout(pause) {
        Err(RecvTimeoutError::Timeout) | Ok(Message::Due) => {}
        Err(RecvTimeoutError::Disconnected) | Ok(Message::Stop) => return false,
    }
    !inbox.try_iter().any(|message| matches!(message, Message::Stop))
}
