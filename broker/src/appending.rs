//! Goes on with appends that were left to a thread which has done its share: as a task of its own, so that the
//! connection which that thread was serving goes on as well.

use std::sync::Arc;

use pyralog_node::partition::Partition;

use crate::disk::RealDisk;
use crate::shell::{Shell, ShellOutputs};

/// To be called with the outputs of every request, on a network thread.
pub fn go_on(shell: &Arc<Shell>, out: &mut ShellOutputs) {
    for partition in out.appends.drain(..) {
        tokio::spawn(append_left(Arc::clone(shell), partition));
    }
}

async fn append_left(shell: Arc<Shell>, partition: Arc<Partition<RealDisk>>) {
    let mut next = Some(partition);
    while let Some(partition) = next.take() {
        let mut out = shell.outputs();
        partition.append_left(&mut out);
        next = out.appends.pop();
        shell.dispatch(out);
        tokio::task::yield_now().await;
    }
}
