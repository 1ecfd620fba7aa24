//! HTTP: health for orchestrators, metrics for Prometheus, and VLSN logs for everybody (docs/VLSN.md).
//! Limits: connections, heads and stalls in [`connections`]; what waits for the disk here; each route says its own.

mod asker;
mod bodies;
mod connections;
mod control;
mod errors;
mod logs;
mod problem;
mod request;
mod scrub;
mod values;
mod vlsn;
mod waiter;
mod writes;

pub use connections::CONNECTIONS_MAX;
pub use waiter::is_http;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::problem::{Kind, Problem};
use crate::metrics::{Count, Levels};
use crate::progress::Progress;
use crate::shell::Shell;

/// What there is below `/v1`, for programs (OpenAPI 3.1).
const OPENAPI: &str = include_str!("openapi.json");
/// Requests that read from the disk at a time; more would only queue there.
const DISK_READS: usize = 8;

/// What the handlers work with.
#[derive(Clone)]
pub struct Http {
    /// The broker; there is none yet while it starts.
    shell: Arc<std::sync::OnceLock<Arc<Shell>>>,
    /// Whether it serves, and until then how far it is.
    progress: Arc<Progress>,
    counts: Arc<Counts>,
    disk: Arc<Semaphore>,
    /// Most connections at a time.
    connections: usize,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct Peer(std::net::IpAddr);

/// What a request says before its body.
struct Head {
    peer: Peer,
    uri: Uri,
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Head {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().copied();
        let peer = peer.ok_or_else(|| Problem::new(Kind::Unavailable, "the address of the client is not known"))?;
        Ok(Self { peer, uri: parts.uri.clone(), headers: std::mem::take(&mut parts.headers) })
    }
}

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    accepted: Count,
    ended: Count,
    refused: Count,
}

impl Http {
    /// A server for a broker that may still be starting, with so many connections at most.
    pub fn new(shell: Arc<std::sync::OnceLock<Arc<Shell>>>, progress: Arc<Progress>, connections: usize) -> Self {
        let disk = Arc::new(Semaphore::new(DISK_READS));
        Self { shell, progress, counts: Arc::default(), disk, connections }
    }

    /// The broker, if it serves.
    fn shell(&self) -> Result<&Arc<Shell>, Problem> {
        let shell = self.shell.get().filter(|_| self.progress.is_ready());
        shell.ok_or_else(|| Problem::new(Kind::Unavailable, format!("the server does not serve: {}", self.progress)))
    }

    /// Runs what may wait for the disk, on a thread that may.
    async fn may_wait<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let stopping = || Problem::new(Kind::Unavailable, "the server stops");
        let permit = Arc::clone(&self.disk).acquire_owned().await.map_err(|_| stopping())?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|_| stopping())
    }
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, http: Http) {
    let app = Router::new()
        .route("/health/live", get(|| async { "alive\n" }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/storage/scrub", get(scrub::progress).post(scrub::begin))
        .route("/v1/logs/{log}/vlsn", get(vlsn::log).post(writes::many))
        .route("/v1/logs/{log}/vlsn/{vlsn}", get(vlsn::point).post(writes::one))
        .route("/v1/logs/{log}/vlsn/commits", get(control::commits))
        .route(
            "/v1/logs/{log}/vlsn/commits/{consumer}",
            get(control::committed).put(control::commit).delete(control::forget),
        )
        .route("/v1/logs/{log}/vlsn/writer", post(control::writer))
        .route("/v1/openapi.json", get(|| async { answer(StatusCode::OK, "application/json", OPENAPI) }))
        .route("/v1/sequencers", get(control::sequencers))
        .route("/v1/sequencers/{name}", get(control::sequencer))
        .route("/v1/sequencers/{name}/reserve", post(control::reserve))
        .fallback(nowhere)
        .method_not_allowed_fallback(no_method)
        .with_state(http.clone());
    connections::serve(listener, app, &http).await;
}

async fn nowhere(uri: Uri) -> Problem {
    let detail = format!(
        "{:.200} is not here; try /health/live, /health/ready, /metrics, /v1/logs/LOG/vlsn, or /v1/openapi.json, which describes what is below /v1",
        uri.path()
    );
    Problem::new(Kind::NoRoute, detail)
}

async fn no_method(method: Method, uri: Uri) -> Problem {
    Problem::new(Kind::Method, format!("{:.200} has no method {method:.20}; Allow says which it has", uri.path()))
}

/// An answer with a body.
fn answer(status: StatusCode, form: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
    response
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
    (kind, shell.metrics.text(&levels(&http, shell))).into_response()
}

fn levels(http: &Http, shell: &Shell) -> Levels {
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
        http_connections: http.counts.accepted.get() - http.counts.ended.get(),
        http_refused: http.counts.refused.get(),
        connections: shell.mailboxes.count(|conn| !is_http(conn)),
        logs: shell.node.topology().image.log_count(),
        partitions: partitions.len(),
        offline,
        uncleanable: partitions.iter().filter(|partition| partition.is_uncleanable()).count(),
        dirtiest_percent: shell.cleaning.dirtiest.load(Ordering::Relaxed) as u64 / 10_000,
        log_bytes,
        fetch_sessions: shell.node.fetch_sessions(),
        room: shell.node.room(),
        read_failures: shell.node.read_failures(),
        append_failures: shell.node.append_failures(),
        log_lines_lost: crate::logging::lost(),
        refused_for_room: shell.node.refused_for_room(),
        scrub: shell.scrubbing.progress(),
        uptime: shell.clock.elapsed(),
    }
}
