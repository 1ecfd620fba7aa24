//! HTTP: health for orchestrators, metrics for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Levels;
use crate::shell::Shell;

/// Whether the broker serves: set with the ready line, taken back when a shutdown begins.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Says so.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether it serves.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the handlers work with.
#[derive(Clone)]
pub struct Http {
    /// The broker; there is none yet while it starts.
    pub shell: Arc<std::sync::OnceLock<Arc<Shell>>>,
    /// Whether it serves.
    pub ready: Arc<Readiness>,
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
    if http.ready.get() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response()
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
        logs: shell.node.topology().logs.len(),
        partitions: partitions.len(),
        offline,
        uncleanable: partitions.iter().filter(|partition| partition.is_uncleanable()).count(),
        dirtiest_percent: shell.cleaning.dirtiest.load(Ordering::Relaxed) as u64 / 10_000,
        log_bytes,
        fetch_sessions: shell.node.fetch_sessions(),
        uptime: shell.clock.elapsed(),
    }
}
