//! Requests over HTTP that become requests of the node, as they come in over the Kafka protocol: what changes something takes
//! the same way, whatever it came in by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use pyralog_node::Connection;
use pyralog_protocol::{Request, Response};
use tokio::time::{Instant, timeout_at};

use super::problem::{Kind, Problem};
use super::waiter::next_id;
use crate::appending;
use crate::mailbox::Mailbox;
use crate::shell::Shell;

/// Longest wait for an answer of the node. It always answers; a disk that hangs may take long to.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request's way to the node and back.
struct Asker {
    shell: Arc<Shell>,
    conn: Connection,
    mailbox: Arc<Mailbox>,
}

impl Drop for Asker {
    /// Also when the client goes away meanwhile.
    fn drop(&mut self) {
        self.shell.mailboxes.close(self.conn.id);
        self.shell.node.on_disconnect(&mut self.conn);
    }
}

/// Who asks, and the bytes of the body that came with it.
pub type Origin = (IpAddr, usize);

/// Asks the node, and waits for the answer.
pub async fn ask(shell: &Arc<Shell>, (peer, bytes): Origin, request: impl Into<Request>) -> Result<Response, Problem> {
    let id = next_id();
    let conn = Connection::new(id, peer, ("localhost".to_owned(), 0), 1);
    let mut asker = Asker { shell: Arc::clone(shell), conn, mailbox: shell.mailboxes.open(id) };
    let mut out = shell.outputs();
    let moment = (shell.draw(), shell.clock.now());
    shell.node.on_request(&mut asker.conn, (request.into(), bytes), moment, &mut out);
    for (ticket, answer) in out.answers.extract_if(.., |(ticket, _)| ticket.conn == id) {
        asker.conn.complete(ticket.slot, answer);
    }
    appending::go_on(shell, &mut out);
    shell.dispatch(out);
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(response) = asker.conn.next_value() {
            return Ok(response);
        }
        if timeout_at(until, asker.mailbox.rung()).await.is_err() {
            let detail = "the node did not answer in time; whether the change was made is not known, so ask again";
            return Err(Problem::new(Kind::Unavailable, detail));
        }
        for (slot, answer) in asker.mailbox.take().answers {
            asker.conn.complete(slot, answer);
        }
    }
}
