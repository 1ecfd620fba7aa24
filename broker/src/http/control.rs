//! What consumers, writers and sequencers keep with the coordinator: commits by VLSN, writer epochs, counters. Each request
//! becomes the private API of the same meaning.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::vlsn::messages::{
    SequencerDescribeRequest, SequencerReserveRequest, VlsnCommitEntry, VlsnCommitRequest, VlsnCommittedEntry,
    VlsnCommittedRequest, VlsnDeleteCommitRequest, WriterEpochRequest, writer,
};
use pyralog_protocol::{ErrorCode, Request, Response as Answer, Vlsn};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asker::{Origin, ask};
use super::bodies;
use super::errors::refused;
use super::logs::vlsn_log;
use super::problem::{Kind, Problem};
use super::request::Query;
use super::vlsn::{Named, changing, http_body, path};
use super::{Head, Http, Peer, answer};
use crate::shell::Shell;

const JSON: &str = "application/json";

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn said(body: &Value) -> Response {
    changing(answer(StatusCode::OK, JSON, body.to_string()))
}

/// Asks, and picks what the answer must be.
async fn asked<T>(
    shell: &Arc<Shell>,
    origin: Origin,
    request: impl Into<Request>,
    pick: impl FnOnce(Answer) -> Option<T>,
) -> Result<T, Problem> {
    let response = ask(shell, origin, request).await?;
    pick(response).ok_or_else(|| Problem::new(Kind::Unavailable, "the node answered something else"))
}

/// Picks the answer of an API.
macro_rules! answer_of {
    ($api:ident) => {
        |response| if let Answer::$api(response) = response { Some(response) } else { None }
    };
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with vlsn, and if wanted metadata and force")]
struct GivenCommit {
    vlsn: u64,
    metadata: Option<String>,
    #[serde(default)]
    force: bool,
}

/// `PUT /v1/logs/{log}/vlsn/commits/{consumer}`.
pub async fn commit(
    State(http): State<Http>,
    named: Named<(String, String)>,
    Head { peer, uri, headers }: Head,
    body: Body,
) -> Result<Response, Problem> {
    let (log, consumer) = path(named)?;
    Query::of(&uri, &[])?;
    bodies::form(&headers, false)?;
    let shell = http.shell()?;
    vlsn_log(&shell.node.topology(), &log)?;
    let (given, bytes) = bodies::take_small(shell, &headers, body).await?;
    let GivenCommit { vlsn, metadata, force } = given;
    let entry = VlsnCommitEntry { log: text(&log), vlsn: Vlsn(vlsn), metadata: metadata.as_deref().map(text) };
    let request = VlsnCommitRequest { consumer: text(&consumer), force, commits: vec![entry] };
    let done = asked(shell, (peer.0, bytes), request, answer_of!(VlsnCommit)).await?;
    let Some(result) = done.results.first() else {
        return Err(Problem::new(Kind::Unavailable, "the node answered nothing"));
    };
    let in_force = u64::try_from(result.vlsn).ok();
    if result.error_code == 0 {
        return Ok(said(&json!({"log": log, "consumer": consumer, "vlsn": in_force})));
    }
    let backwards = result.error_code == ErrorCode::InvalidRequest.code() && in_force.is_some_and(|now| vlsn < now);
    let problem = match result.error_message.as_deref() {
        Some(message) if backwards && !force => Problem::new(Kind::Conflict, message),
        message => refused(result.error_code, message),
    };
    Err(problem.with("log", log).with("vlsn_in_force", in_force))
}

fn shown(entry: &VlsnCommittedEntry) -> Value {
    let resume = (entry.resume_partition >= 0)
        .then(|| json!({"vlsn": entry.vlsn.next().0, "partition": entry.resume_partition}));
    json!({
        "consumer": entry.consumer.as_str(),
        "log": entry.log.as_str(),
        "vlsn": entry.vlsn.0,
        "resume": resume,
        "committed_at": entry.committed_at,
        "lag": u64::try_from(entry.lag).ok(),
        "metadata": entry.metadata.as_deref(),
    })
}

async fn commits_of(
    http: &Http,
    peer: IpAddr,
    log: &str,
    consumer: Option<&str>,
) -> Result<Vec<VlsnCommittedEntry>, Problem> {
    let shell = http.shell()?;
    vlsn_log(&shell.node.topology(), log)?;
    let request = VlsnCommittedRequest { consumer: consumer.map(text), logs: Some(vec![text(log)]) };
    let found = asked(shell, (peer, 0), request, answer_of!(VlsnCommitted)).await?;
    match found.error_code {
        0 => Ok(found.commits),
        code if code == ErrorCode::InvalidRequest.code() => Err(refused(code, Some(NO_CONSUMER))),
        code => Err(refused(code, Some("there are too many commits to list them; name the consumer"))),
    }
}

const NO_CONSUMER: &str = "the name of a consumer is 1 to 249 bytes of UTF-8 without control characters";

/// `GET /v1/logs/{log}/vlsn/commits/{consumer}`.
pub async fn committed(
    State(http): State<Http>,
    Extension(peer): Extension<Peer>,
    named: Named<(String, String)>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (log, consumer) = path(named)?;
    Query::of(&uri, &[])?;
    let commits = commits_of(&http, peer.0, &log, Some(&consumer)).await?;
    let Some(entry) = commits.first() else {
        let detail = format!("consumer {consumer:.60?} has committed nothing in log {log}");
        return Err(Problem::new(Kind::NoCommit, detail).with("log", log));
    };
    Ok(said(&shown(entry)))
}

/// `GET /v1/logs/{log}/vlsn/commits`.
pub async fn commits(
    State(http): State<Http>,
    Extension(peer): Extension<Peer>,
    named: Named<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let log = path(named)?;
    Query::of(&uri, &[])?;
    let commits = commits_of(&http, peer.0, &log, None).await?;
    let all = json!({"log": log, "commits": commits.iter().map(shown).collect::<Vec<_>>()});
    Ok(changing(answer(StatusCode::OK, JSON, http_body(http.shell()?, all.to_string()))))
}

/// `DELETE /v1/logs/{log}/vlsn/commits/{consumer}`.
pub async fn forget(
    State(http): State<Http>,
    Extension(peer): Extension<Peer>,
    named: Named<(String, String)>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let (log, consumer) = path(named)?;
    Query::of(&uri, &[])?;
    let shell = http.shell()?;
    vlsn_log(&shell.node.topology(), &log)?;
    let request = VlsnDeleteCommitRequest { consumer: text(&consumer), logs: Some(vec![text(&log)]) };
    let done = asked(shell, (peer.0, 0), request, answer_of!(VlsnDeleteCommit)).await?;
    match done.results.first().filter(|result| result.error_code != 0) {
        Some(result) => Err(refused(result.error_code, result.error_message.as_deref())),
        None => Ok(StatusCode::NO_CONTENT),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with count, and if wanted at_least")]
struct GivenReservation {
    count: u64,
    #[serde(default)]
    at_least: u64,
}

/// `POST /v1/sequencers/{name}/reserve`.
pub async fn reserve(
    State(http): State<Http>,
    named: Named<String>,
    Head { peer, uri, headers }: Head,
    body: Body,
) -> Result<Response, Problem> {
    let name = path(named)?;
    Query::of(&uri, &[])?;
    bodies::form(&headers, false)?;
    let shell = http.shell()?;
    let (given, bytes) = bodies::take_small(shell, &headers, body).await?;
    let GivenReservation { count, at_least } = given;
    let request = SequencerReserveRequest { name: text(&name), count, at_least };
    let done = asked(shell, (peer.0, bytes), request, answer_of!(SequencerReserve)).await?;
    if done.error_code != 0 {
        return Err(refused(done.error_code, done.error_message.as_deref()).with("sequencer", name));
    }
    Ok(said(&json!({"sequencer": name, "first": done.first, "count": done.count})))
}

async fn described(http: &Http, peer: IpAddr, name: Option<&str>) -> Result<Vec<(String, Option<u64>)>, Problem> {
    let request = SequencerDescribeRequest { names: name.map(|name| vec![text(name)]) };
    let done = asked(http.shell()?, (peer, 0), request, answer_of!(SequencerDescribe)).await?;
    let found = done.sequencers.into_iter();
    Ok(found.map(|one| (one.name.to_string(), (one.error_code == 0).then_some(one.next))).collect())
}

/// `GET /v1/sequencers`.
pub async fn sequencers(
    State(http): State<Http>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let all = described(&http, peer.0, None).await?;
    let all = all.into_iter().map(|(name, next)| json!({"sequencer": name, "next": next}));
    let all = json!({"sequencers": all.collect::<Vec<_>>()});
    Ok(changing(answer(StatusCode::OK, JSON, http_body(http.shell()?, all.to_string()))))
}

/// `GET /v1/sequencers/{name}`.
pub async fn sequencer(
    State(http): State<Http>,
    Extension(peer): Extension<Peer>,
    named: Named<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let name = path(named)?;
    Query::of(&uri, &[])?;
    let found = described(&http, peer.0, Some(&name)).await?;
    match found.into_iter().find_map(|(_, next)| next) {
        Some(next) => Ok(said(&json!({"sequencer": name, "next": next}))),
        None => {
            let detail = format!("there is no sequencer {name:.60?}; it comes into being when numbers are reserved");
            Err(Problem::new(Kind::NoSequencer, detail))
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GivenAction {
    Take,
    Release,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with action, and if wanted expected_epoch")]
struct GivenWriter {
    action: GivenAction,
    expected_epoch: Option<i32>,
}

/// `POST /v1/logs/{log}/vlsn/writer`.
pub async fn writer(
    State(http): State<Http>,
    named: Named<String>,
    Head { peer, uri, headers }: Head,
    body: Body,
) -> Result<Response, Problem> {
    let log = path(named)?;
    Query::of(&uri, &[])?;
    bodies::form(&headers, false)?;
    let shell = http.shell()?;
    vlsn_log(&shell.node.topology(), &log)?;
    let (given, bytes) = bodies::take_small(shell, &headers, body).await?;
    let GivenWriter { action, expected_epoch } = given;
    if let Some(epoch) = expected_epoch.filter(|epoch| *epoch < 0) {
        return Err(Problem::new(Kind::Content, format!("expected_epoch is {epoch}; it takes 0 or more")));
    }
    let action = match action {
        GivenAction::Take => writer::TAKE,
        GivenAction::Release => writer::RELEASE,
    };
    let request = WriterEpochRequest { log: text(&log), action, expected_epoch: expected_epoch.unwrap_or(-1) };
    let done = asked(shell, (peer.0, bytes), request, answer_of!(WriterEpoch)).await?;
    if done.error_code != 0 {
        let epoch = (done.epoch >= 0).then_some(done.epoch);
        return Err(refused(done.error_code, done.error_message.as_deref()).with("log", log).with("epoch", epoch));
    }
    let holder = (done.producer_id >= 0).then_some((done.producer_id, done.producer_epoch));
    Ok(said(&json!({
        "log": log,
        "epoch": (done.epoch >= 0).then_some(done.epoch),
        "producer_id": holder.map(|(id, _)| id),
        "producer_epoch": holder.map(|(_, epoch)| epoch),
    })))
}
