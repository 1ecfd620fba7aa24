//! `POST /v1/logs/{log}/vlsn` and `.../{vlsn}`: records are written the way a VlsnAppend writes them, and answered once they
//! are durable. What is there already is a success, so whoever got no answer sends again.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pyralog_protocol::batch::{BatchBuilder, NewRecord};
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::vlsn::messages::{VlsnAppendPart, VlsnAppendRequest, VlsnAppendResponse, expected};
use pyralog_protocol::{Response as Answer, Vlsn};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::asker::ask;
use super::bodies::{self, Form, Taken};
use super::errors::refused;
use super::logs::vlsn_log;
use super::problem::{Kind, Problem};
use super::request::{Query, bad, number, unescape_bytes};
use super::vlsn::{Named, path, vlsn_of};
use super::{Head, Http, Peer, answer};
use crate::shell::Shell;

/// Most records of one request.
const RECORDS_MAX: usize = 10_000;
const JSON: &str = "application/json";

/// Bytes as they are given: one of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{\"text\": ...} or {\"base64\": ...}")]
struct GivenBytes {
    text: Option<String>,
    base64: Option<String>,
}

impl TryFrom<GivenBytes> for Given {
    type Error = &'static str;

    fn try_from(given: GivenBytes) -> Result<Self, Self::Error> {
        match (given.text, given.base64) {
            (Some(text), None) => Ok(Self::Text(text)),
            (None, Some(base64)) => Ok(Self::Base64(base64)),
            (None, None) | (Some(_), Some(_)) => Err("bytes are {\"text\": ...} or {\"base64\": ...}, one of the two"),
        }
    }
}

/// Bytes that are given as text or in base64.
#[derive(Debug, Deserialize)]
#[serde(try_from = "GivenBytes")]
enum Given {
    Text(String),
    Base64(String),
}

impl Given {
    fn bytes(self) -> Result<Vec<u8>, Problem> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Base64(text) => STANDARD.decode(&text).map_err(|error| {
                Problem::new(Kind::Content, format!("{text:.60?} is not base64 (with padding): {error}"))
            }),
        }
    }
}

/// Something that may be null, and must be said.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with name and value")]
struct GivenHeader {
    name: Given,
    #[serde(deserialize_with = "said")]
    value: Option<Given>,
}

/// A record whose VLSN is in the path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with value, and if wanted headers and timestamp")]
struct GivenRecord {
    #[serde(deserialize_with = "said")]
    value: Option<Given>,
    #[serde(default)]
    headers: Vec<GivenHeader>,
    timestamp: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with vlsn, value, and if wanted headers and timestamp")]
struct GivenNumbered {
    vlsn: u64,
    #[serde(deserialize_with = "said")]
    value: Option<Given>,
    #[serde(default)]
    headers: Vec<GivenHeader>,
    timestamp: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with records, and if wanted expected_last")]
struct GivenBatch {
    records: Vec<GivenNumbered>,
    /// By partition.
    #[serde(default)]
    expected_last: BTreeMap<i32, Option<u64>>,
}

/// A record to be written.
struct Written {
    vlsn: Vlsn,
    value: Option<Bytes>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

impl Written {
    fn of(vlsn: Vlsn, given: GivenRecord) -> Result<Self, Problem> {
        let GivenRecord { value, headers, timestamp } = given;
        let headers = headers
            .into_iter()
            .map(|GivenHeader { name, value }| Ok::<_, Problem>((name.bytes()?, value.map(Given::bytes).transpose()?)));
        let headers = headers.collect::<Result<_, _>>()?;
        Ok(Self { vlsn, value: value.map(Given::bytes).transpose()?.map(Bytes::from), headers, timestamp })
    }

    /// From a body that is the value, and headers beside it, as a raw read gives them.
    fn raw(vlsn: Vlsn, headers: &HeaderMap, body: Bytes) -> Result<Self, Problem> {
        let said = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let null = match said("pyralog-value") {
            None => false,
            Some("null") if body.is_empty() => true,
            Some(other) => {
                let detail = format!("Pyralog-Value is {other:.60?}; it takes null, with an empty body");
                return Err(bad("Pyralog-Value", detail));
            }
        };
        let timestamp =
            said("pyralog-timestamp").map(|text| number("Pyralog-Timestamp", text, i64::MAX.unsigned_abs()));
        let timestamp = timestamp.transpose()?.and_then(|ms| i64::try_from(ms).ok());
        let lines = headers.get_all("pyralog-header").iter().map(|line| {
            let line = line.to_str().map_err(|_| bad("Pyralog-Header", "a Pyralog-Header is not ASCII".to_owned()))?;
            let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
            let bytes =
                |text: &str| unescape_bytes(text).map_err(|problem| problem.with("parameter", "Pyralog-Header"));
            Ok::<_, Problem>((bytes(name)?, value.map(bytes).transpose()?))
        });
        let headers = lines.collect::<Result<_, _>>()?;
        Ok(Self { vlsn, value: (!null).then_some(body), headers, timestamp })
    }
}

/// `POST /v1/logs/{log}/vlsn/{vlsn}`.
pub async fn one(
    State(http): State<Http>,
    named: Named<(String, String)>,
    Head { peer, uri, headers }: Head,
    body: Body,
) -> Result<Response, Problem> {
    let (name, vlsn) = path(named)?;
    let vlsn = vlsn_of("vlsn", &vlsn)?;
    let query = Query::of(&uri, &["expected_last"])?;
    let expected = match query.text("expected_last") {
        None => expected::ANYTHING,
        Some("none") => expected::EMPTY,
        Some(last) => vlsn_of("expected_last", last)?.offset(),
    };
    let form = bodies::form(&headers, true)?;
    let shell = http.shell()?;
    let route = || Ok::<_, Problem>(vlsn_log(&shell.node.topology(), &name)?.routing.partition(vlsn).0);
    // Before the body is waited for: whether there is such a log.
    route()?;
    let Taken { bytes: body, memory: _memory } = bodies::take(shell, &headers, body).await?;
    let record = match form {
        Form::Json => Written::of(vlsn, bodies::json(&body)?)?,
        Form::Raw => Written::raw(vlsn, &headers, body)?,
    };
    let batch = batch_of(&[record], shell.clock.now().wall.0)?;
    let mut partition = route()?;
    let done = loop {
        let parts = vec![VlsnAppendPart { partition, expected_last: expected, records: batch.clone() }];
        let done = append(shell, peer, &name, parts).await?;
        // Where it belongs is the log's business: it is not refused because that has changed meanwhile.
        if done.parts.first().is_none_or(|part| part.error_code == 0) {
            break done;
        }
        let now = route()?;
        if now == partition {
            break done;
        }
        partition = now;
    };
    let Some(part) = done.parts.first().filter(|part| part.error_code == 0) else {
        let part = done.parts.first();
        let code = part.map_or(done.error_code, |part| part.error_code);
        let message = part.and_then(|part| part.error_message.as_deref());
        let last = part.and_then(|part| u64::try_from(part.last).ok());
        return Err(refused(code, message).with("vlsn", vlsn.0).with("partition", partition).with("last", last));
    };
    let body = json!({
        "log": name,
        "vlsn": vlsn.0,
        "partition": partition,
        "offset": part.base_offset,
        "last": u64::try_from(part.last).ok(),
    });
    Ok(answer(StatusCode::OK, JSON, body.to_string()))
}

/// `POST /v1/logs/{log}/vlsn`.
pub async fn many(
    State(http): State<Http>,
    named: Named<String>,
    Head { peer, uri, headers }: Head,
    body: Body,
) -> Result<Response, Problem> {
    let name = path(named)?;
    Query::of(&uri, &[])?;
    bodies::form(&headers, false)?;
    let shell = http.shell()?;
    vlsn_log(&shell.node.topology(), &name)?;
    let Taken { bytes: body, memory: _memory } = bodies::take(shell, &headers, body).await?;
    let GivenBatch { records, expected_last } = bodies::json(&body)?;
    drop(body);
    let wrong = |detail: String| Problem::new(Kind::Content, detail);
    if records.is_empty() || records.len() > RECORDS_MAX {
        return Err(wrong(format!("{} records; 1 to {RECORDS_MAX} at once", records.len())));
    }
    let mut parts: BTreeMap<i32, Vec<Written>> = BTreeMap::new();
    {
        let topology = shell.node.topology();
        let log = vlsn_log(&topology, &name)?;
        let mut before = None;
        for GivenNumbered { vlsn, value, headers, timestamp } in records {
            let vlsn = Vlsn(vlsn);
            if vlsn > Vlsn::MAX {
                return Err(wrong(format!("VLSN {vlsn} is above the largest, {}", Vlsn::MAX)));
            }
            if before.is_some_and(|before| before >= vlsn) {
                return Err(wrong(format!(
                    "VLSN {vlsn} comes after one that is not below it; give the records rising"
                )));
            }
            before = Some(vlsn);
            let record = Written::of(vlsn, GivenRecord { value, headers, timestamp })?;
            parts.entry(log.routing.partition(vlsn).0).or_default().push(record);
        }
    }
    if let Some(partition) = expected_last.keys().find(|partition| !parts.contains_key(partition)) {
        return Err(wrong(format!("expected_last names partition {partition}, which none of the records belongs to")));
    }
    let now = shell.clock.now().wall.0;
    let asked = parts.into_iter().map(|(partition, records)| {
        let expected_last = match expected_last.get(&partition) {
            None => expected::ANYTHING,
            Some(None) => expected::EMPTY,
            Some(Some(last)) if Vlsn(*last) > Vlsn::MAX => {
                return Err(wrong(format!("expected_last {last} is above the largest VLSN, {}", Vlsn::MAX)));
            }
            Some(Some(last)) => Vlsn(*last).offset(),
        };
        Ok::<_, Problem>(VlsnAppendPart { partition, expected_last, records: batch_of(&records, now)? })
    });
    let asked = asked.collect::<Result<_, _>>()?;
    let done = append(shell, peer, &name, asked).await?;
    let parts: Vec<Value> = done.parts.iter().map(part).collect();
    match done.parts.iter().find(|part| part.error_code != 0) {
        None => Ok(answer(StatusCode::OK, JSON, json!({"log": name, "partitions": parts}).to_string())),
        Some(failed) => Err(refused(failed.error_code, failed.error_message.as_deref()).with("partitions", parts)),
    }
}

fn part(part: &pyralog_protocol::vlsn::messages::VlsnAppendedPart) -> Value {
    let last = u64::try_from(part.last).ok();
    match part.error_code {
        0 => json!({"partition": part.partition, "offset": part.base_offset, "last": last}),
        code => json!({
            "partition": part.partition,
            "last": last,
            "kafka_error_code": code,
            "detail": part.error_message.as_deref(),
        }),
    }
}

fn batch_of(records: &[Written], now: i64) -> Result<Bytes, Problem> {
    let mut batch = BatchBuilder::new();
    for record in records {
        let key = record.vlsn.key();
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        batch.push(NewRecord {
            timestamp: record.timestamp.unwrap_or(now),
            key: Some(&key),
            value: record.value.as_deref(),
            headers: &headers,
        });
    }
    let batch = batch.build().map_err(|error| Problem::new(Kind::TooLarge, error.to_string()))?;
    Ok(batch.freeze())
}

async fn append(
    shell: &Arc<Shell>,
    peer: Peer,
    log: &str,
    parts: Vec<VlsnAppendPart>,
) -> Result<VlsnAppendResponse, Problem> {
    let request = VlsnAppendRequest { log: StrBytes::from_string(log.to_owned()), timeout_ms: 0, parts };
    // Appends have books of their own on what they take of the disk.
    let Answer::VlsnAppend(done) = ask(shell, (peer.0, 0), request).await? else {
        return Err(Problem::new(Kind::Unavailable, "the node answered something else"));
    };
    if done.error_code == 0 { Ok(done) } else { Err(refused(done.error_code, done.error_message.as_deref())) }
}
