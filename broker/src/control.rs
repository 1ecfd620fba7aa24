//! The thread that owns the control loop: takes what has come in, makes it durable in one sync, lets the data plane
//! have the new image, and answers. An error of the store ends the process (RA-20): nothing unproven is served on.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use pyralog_coordinator::member::MemberError;
use pyralog_coordinator::metadata::Image;
use pyralog_coordinator::raft::RocksStore;
use pyralog_node::control_loop::{Asker, ControlLoop, Released};
use pyralog_node::lifecycle::Left;
use pyralog_node::{Call, Outputs};
use tracing::warn;

use crate::disk::RealDisk;
use crate::logging;
use crate::opening::open_all;
use crate::shell::Shell;

/// Requests taken in one turn at most; the rest waits for the next sync.
const TURN_LIMIT: usize = 4096;
/// Threads that create the partitions of new logs. They wait for the disk most of the time.
const CREATORS: usize = 16;
/// Longest sleep when nothing is due.
const QUIET: Duration = Duration::from_secs(60);

enum Message {
    Call(Box<Call>),
    Stop,
}

/// Reaches the control thread.
pub struct ControlHandle {
    messages: Sender<Message>,
}

/// The other end, for the thread.
pub struct ControlQueue {
    messages: Receiver<Message>,
}

/// A queue without its thread yet. It is bounded by the connections: each has at most one request in it.
pub fn queue() -> (ControlHandle, ControlQueue) {
    let (sender, receiver) = unbounded();
    (ControlHandle { messages: sender }, ControlQueue { messages: receiver })
}

impl ControlHandle {
    /// Hands in a request.
    pub fn submit(&self, call: Call) {
        let _ = self.messages.send(Message::Call(Box::new(call)));
    }

    /// Ends the thread after what came before.
    pub fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
    }
}

/// Starts the thread.
pub fn start(
    shell: Arc<Shell>,
    queue: ControlQueue,
    mut control: ControlLoop<RocksStore>,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("control".into()).spawn(move || {
        or_exit(|| {
            while let Some(Taken { stop, disk_bytes }) = wait(&shell, &queue, &mut control) {
                match control.turn(shell.clock.now()) {
                    Ok(released) => {
                        shell.node.settle_calls(disk_bytes);
                        shell.node.observe_quorum(control.quorum());
                        release(&shell, released);
                    }
                    Err(error) => die(&error),
                }
                if stop {
                    break;
                }
                if queue.messages.is_empty()
                    && let Err(error) = control.reclaim()
                {
                    die(&error);
                }
            }
        });
    })
}

/// Runs a thread that others wait for. A panic in it ends the process: a broker that goes on without it would look alive
/// and answer nothing, and what it had half changed in memory must not be served.
pub fn or_exit(work: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        logging::end(&format!(
            "the broker stops, because the thread {name} failed an assertion; the next start checks the ends of all logs"
        ));
    }
}

fn die(error: &MemberError) -> ! {
    logging::end(&format!("the broker stops, because it cannot make changes durable any more: {error}"))
}

/// What was taken out of the queue for one turn.
#[derive(Default)]
struct Taken {
    /// The turn is the last one.
    stop: bool,
    /// Bytes of the disk that its requests may take.
    disk_bytes: u64,
}

/// Waits for requests or a deadline, and hands in what there is. `None`: everybody who could ask is gone.
fn wait(shell: &Shell, queue: &ControlQueue, control: &mut ControlLoop<RocksStore>) -> Option<Taken> {
    let mut taken = Taken::default();
    let due = control
        .next_deadline()
        .map(|at| shell.clock.instant(at).saturating_duration_since(tokio::time::Instant::now()));
    let first = match queue.messages.recv_timeout(due.unwrap_or(QUIET).min(QUIET)) {
        Ok(message) => message,
        Err(RecvTimeoutError::Timeout) => return Some(taken),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    for message in std::iter::once(first).chain(queue.messages.try_iter().take(TURN_LIMIT)) {
        match message {
            Message::Call(call) => {
                taken.disk_bytes += call.disk_bytes;
                control.submit(*call, shell.clock.now());
            }
            Message::Stop => {
                taken.stop = true;
                break;
            }
        }
    }
    Some(taken)
}

/// Lets a turn's outcome out: the image first, so that who is answered finds what it was told (M20).
fn release(shell: &Shell, released: Released) {
    let mut out = shell.outputs();
    if let Some(image) = released.image {
        install(shell, image, &mut out);
    }
    for (asker, reply) in released.replies {
        match asker {
            Asker::Client(to) => shell.node.finish_call(*to, reply, &mut out),
            Asker::Shell => {}
        }
    }
    for asker in released.refused {
        match asker {
            Asker::Client(to) => shell.node.refuse_call(*to, &mut out),
            Asker::Shell => {}
        }
    }
    shell.dispatch(out);
}

/// Moves away what an image drops, opens what it adds, and makes it visible.
pub fn install(shell: &Shell, image: Arc<Image>, out: &mut Outputs<RealDisk>) {
    shell.node.retire(&image, out);
    let removals = std::mem::take(&mut out.removals);
    for removal in &removals {
        shell.remover.push_folder(removal);
    }
    let missing = shell.node.missing(&image);
    let opened = open_all(
        shell,
        &missing,
        CREATORS,
        |_| Left::default(),
        |open, _| {
            if let Err(reason) = &open.outcome {
                warn!(partition = %open.partition.dir, %reason, "a partition could not be created and is offline");
            }
        },
    );
    let opened = opened.into_iter().map(|open| open.partition).collect();
    shell.node.install(image, opened, out);
    if !removals.is_empty() {
        // Recovery points of partitions that have no folder look like a loss.
        shell.upkeep.note_points();
    }
    shell.cleaning.settings_changed();
    shell.scrubbing.settings_changed();
}
