//! The scrub of old segments: how far it is, and a round now (docs/STORAGE.md).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::problem::Problem;
use super::{Http, answer};
use crate::shell::Shell;

/// `GET /storage/scrub`.
pub async fn progress(State(http): State<Http>) -> Result<Response, Problem> {
    Ok(said(StatusCode::OK, http.shell()?))
}

/// `POST /storage/scrub`: begins a round, unless one is under way.
pub async fn begin(State(http): State<Http>) -> Result<Response, Problem> {
    let shell = http.shell()?;
    shell.scrubbing.ask();
    Ok(said(StatusCode::ACCEPTED, shell))
}

fn said(status: StatusCode, shell: &Shell) -> Response {
    let progress = shell.scrubbing.progress();
    let body = json!({
        "running": progress.running,
        "checked_bytes": progress.checked_bytes,
        "total_bytes": progress.total_bytes,
        "finished_at": progress.finished_at,
        "damaged_partitions": shell.metrics.scrub_damage.get(),
        "failures": shell.metrics.scrub_failures.get(),
    });
    answer(status, "application/json", format!("{body}\n"))
}
