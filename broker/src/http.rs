//! HTTP: health for orchestrators, metrics for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Levels;
use crate::progress::Progress;
use crate::shell::Shell;

/// What the handlers work with.
#[derive(Clone)]
pub struct Http {
    /// The broker; there is none yet while it starts.
    pub shell: Arc<std::sync::OnceLock<Arc<Shell>>>,
    /// Whether it serves, and until then how far it is.
    pub progress: Arc<Progress>,
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, http: Http) -> std::io::Result<()> {
    let app = Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "not here; try /health/live, /health/ready or /metrics\n") })
        .with_state(http);
    axum::serve(listener, app).await
}

async fn ready(State(http): State<Http>) -> Response {
    if http.progress.is_ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", http.progress)).into_response()
    }
}

async fn metrics(State(http): State<Http>) -> Response {
    let Some(shell) = http.shell.get() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response();
    };
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, shell.metrics.text(&levels(shell))).into_response()
}

fn levels(shell: &Shell) -> Levels {
    let partitions = shell.node.partitions();
    let mut log_bytes = 0;
    let mut offline = 0;
    for partition in &partitions {
        match partition.with_log(|log, _| log.size_bytes()) {
            Ok(bytes) => log_bytes += bytes,
            Err(_) => offline += 1,
        }
    }
    Levels {
        connections: shell.mailboxes.len(),
        logs: shell.node.topology().image.log_count(),
        partitions: partitions.len(),
        offline,
        uncleanable: partitions.iter().filter(|partition| partition.is_uncleanable()).count(),
        dirtiest_percent: shell.cleaning.dirtiest.load(Ordering::Relaxed) as u64 / 10_000,
        log_bytes,
        fetch_sessions: shell.node.fetch_sessions(),
        room: shell.node.room(),
        refused_for_room: shell.node.refused_for_room(),
        uptime: shell.clock.elapsed(),
    }
}
