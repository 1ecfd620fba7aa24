//! `/v1/logs/{log}/vlsn`: what a VLSN log has, by VLSN. Everything is read through [`VlsnLog`], as the view and the private
//! APIs do it.
//! Holds: a network thread waits neither for the disk nor for a record; what is in the page cache is read at once, anything
//! else by a few threads that may wait.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use pyralog_node::vlsn::{HELD_BYTES, Page, PageLimits, Point, PointRecord, Sought, VlsnLog};
use pyralog_protocol::batch::StoredBatch;
use pyralog_protocol::{TopicId, Vlsn};
use pyralog_storage::Patience;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::logs::{unread, vlsn_log};
use super::problem::{Kind, Problem};
use super::request::{Query, accepted, bad, number};
use super::values::{self, Encoding, Shown};
use super::waiter::{Waiter, Woken};
use super::{Http, answer};
use crate::disk::RealDisk;
use crate::shell::Shell;

/// Longest wait for a VLSN, in ms.
const WAIT_MS_MAX: u64 = 300_000;
/// Most records of a page, and how many it has if nothing is said.
const RECORDS_MAX: u64 = 10_000;
const RECORDS: u64 = 1_000;
/// Most bytes of records of a page before they become JSON, and how many it has if nothing is said.
const BYTES_MAX: u64 = 8 << 20;
const BYTES: u64 = 1 << 20;
/// Bytes of records in JSON that a page may have, however few are asked for before they become that.
const JSON_BYTES: usize = 1 << 20;
/// Most bytes that the headers of a record may take among those of HTTP, with the name that each line has there.
const RAW_HEADER_BYTES_MAX: usize = 16 << 10;

/// What each of them is called there.
const RAW_HEADER: &str = "pyralog-header";

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const RAW: &str = "application/octet-stream";

/// A path below a log, or why it is none.
pub type Named<T> = Result<Path<T>, PathRejection>;

/// The parts of a path.
pub fn path<T>(named: Named<T>) -> Result<T, Problem> {
    named.map(|Path(parts)| parts).map_err(|error| bad("path", error.to_string()))
}

/// A VLSN that a log may have.
pub fn vlsn_of(name: &str, text: &str) -> Result<Vlsn, Problem> {
    number(name, text, Vlsn::MAX.0).map(Vlsn)
}

fn deadline(query: &Query) -> Result<Option<Instant>, Problem> {
    let wait = query.number("wait_ms", WAIT_MS_MAX)?.filter(|ms| *ms > 0);
    Ok(wait.map(|ms| Instant::now() + Duration::from_millis(ms)))
}

/// `GET /v1/logs/{log}/vlsn`: a page if a range is asked for, otherwise the bounds.
pub async fn log(
    State(http): State<Http>,
    named: Named<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = path(named)?;
    let known = ["from", "to", "max_records", "max_bytes", "wait_ms", values::PARAMETER];
    let query = Query::of(&uri, &known)?;
    let shell = http.shell()?;
    if query.is_empty() {
        accepted(&headers, &[JSON])?;
        return bounds(shell, &name);
    }
    Range::of(name, &query, &headers)?.serve(&http, shell).await
}

fn bounds(shell: &Arc<Shell>, name: &str) -> Result<Response, Problem> {
    let topology = shell.node.topology();
    let log = vlsn_log(&topology, name)?;
    let bounds = log.bounds().map_err(|error| unread(shell, name, &error))?;
    let partitions = log.partitions().iter().zip(&bounds.partitions).map(|(partition, own)| {
        json!({
            "partition": partition.index.0,
            "first": log.after(partition.index, own.trimmed).0,
            "last": own.appended.map(|vlsn| vlsn.0),
            "next": log.after(partition.index, own.appended).0,
            "log_start": own.bounds.log_start.0,
            "high_watermark": own.bounds.high_watermark.0,
            "leader_epoch": own.bounds.epoch.0,
        })
    });
    let routing =
        log.routing.epochs().iter().map(|epoch| json!({"from": epoch.from.0, "partitions": epoch.partitions}));
    let body = json!({
        "log": name,
        "id": log.log.metadata.topic_id.to_string(),
        "first": bounds.first.0,
        "undecided": bounds.undecided.0,
        "last": bounds.appended.map(|vlsn| vlsn.0),
        "routing": routing.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    });
    Ok(changing(answer(StatusCode::OK, JSON, http_body(shell, body.to_string()))))
}

/// An answer that another one may follow at any time.
pub fn changing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `GET /v1/logs/{log}/vlsn/{vlsn}`.
pub async fn point(
    State(http): State<Http>,
    named: Named<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (name, vlsn) = path(named)?;
    let vlsn = vlsn_of("vlsn", &vlsn)?;
    let query = Query::of(&uri, &["wait_ms", values::PARAMETER])?;
    let encoding = Encoding::of(&query)?;
    let form = accepted(&headers, &[JSON, RAW])?;
    let deadline = deadline(&query)?;
    let shell = http.shell()?;
    let mut waiter = deadline.map(|deadline| (Waiter::new(shell), deadline));
    let mut late = false;
    loop {
        let sought = {
            let topology = shell.node.topology();
            let log = vlsn_log(&topology, &name)?;
            if let Some((waiter, _)) = &mut waiter {
                waiter.watch(log.partition_of(vlsn).into_iter().cloned());
            }
            // Whoever watches the partitions of that is woken by what follows.
            let current = Arc::ptr_eq(&topology, &shell.node.topology());
            let (id, partition) = (log.log.metadata.topic_id, log.routing.partition(vlsn).0);
            let sought = log.seek(vlsn, Patience::Hurries);
            sought.map(|sought| (sought, id, partition, current)).map_err(|error| unread(shell, &name, &error))?
        };
        let (sought, id, partition, current) = sought;
        if !matches!(sought, Sought::Known(_)) {
            check_unsent(shell)?;
        }
        let found = match sought {
            Sought::Known(point) => point,
            Sought::In(batch) => match batch.read_cached().map_err(|error| unread(shell, &name, &error))? {
                Some(point) => point,
                None => {
                    let read = http.may_wait(move || batch.read()).await?;
                    read.map_err(|error| unread(shell, &name, &error))?
                }
            },
            Sought::Cold => {
                let (shell, name) = (Arc::clone(shell), name.clone());
                let look = move || {
                    let topology = shell.node.topology();
                    vlsn_log(&topology, &name)?.point(vlsn).map_err(|error| unread(&shell, &name, &error))
                };
                http.may_wait(look).await??
            }
        };
        let record = match found {
            Point::Found(record) => record,
            Point::NotYet => match &waiter {
                // By now it may belong to a partition that is not watched here.
                Some(_) if !current => continue,
                Some((waiter, deadline)) if !late => match waiter.woken(*deadline).await {
                    Woken::Changed => continue,
                    // What came in the last moment is there.
                    Woken::Late => {
                        late = true;
                        continue;
                    }
                    Woken::Stopping => return Err(Problem::new(Kind::Unavailable, "the server stops")),
                },
                Some(_) | None => return Err(Missing::NotYet.tell(&name, vlsn, partition)),
            },
            Point::Gap => return Err(Missing::Gap.tell(&name, vlsn, partition)),
            Point::Trimmed => return Err(Missing::Trimmed.tell(&name, vlsn, partition)),
        };
        return Found { id, vlsn, partition, record: &record }.answer(shell, &headers, form, encoding);
    }
}

/// Why there is no record.
#[derive(Clone, Copy)]
enum Missing {
    NotYet,
    Gap,
    Trimmed,
}

impl Missing {
    fn tell(self, log: &str, vlsn: Vlsn, partition: i32) -> Problem {
        let (kind, outcome, why) = match self {
            Self::NotYet => {
                (Kind::NotYetWritten, "not_yet_written", "may still be written: ask again, or wait for it with wait_ms")
            }
            Self::Gap => (Kind::Gap, "gap", "was never written, and a later one of its partition was"),
            Self::Trimmed => (Kind::Trimmed, "trimmed", "lies below what retention or a deletion left"),
        };
        Problem::new(kind, format!("VLSN {vlsn} of log {log} {why}"))
            .with("outcome", outcome)
            .with("log", log)
            .with("vlsn", vlsn.0)
            .with("partition", partition)
            .header(HeaderName::from_static("pyralog-outcome"), HeaderValue::from_static(outcome))
    }
}

/// A record that was found.
struct Found<'a> {
    id: TopicId,
    vlsn: Vlsn,
    partition: i32,
    record: &'a PointRecord,
}

impl Found<'_> {
    /// Names the record for ever: a log of the same name that is made anew has another id.
    fn tag(&self, form: &str) -> String {
        let form = if form == RAW { "r" } else { "j" };
        format!("\"{}-{}-{}-{form}\"", self.id, self.record.epoch.0, self.record.offset.0)
    }

    fn answer(
        &self,
        shell: &Arc<Shell>,
        headers: &HeaderMap,
        form: &'static str,
        encoding: Encoding,
    ) -> Result<Response, Problem> {
        let tag = self.tag(form);
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let mut known = known.flat_map(|value| value.split(','));
        let is_known = known.any(|known| known.trim() == "*" || known.trim().trim_start_matches("W/") == tag);
        let mut response = if is_known {
            answer(StatusCode::NOT_MODIFIED, form, Body::empty())
        } else if form == RAW {
            self.raw(shell)?
        } else {
            answer(StatusCode::OK, form, http_body(shell, self.json(encoding)))
        };
        let map = response.headers_mut();
        map.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600, immutable"));
        map.insert(header::VARY, HeaderValue::from_static("accept"));
        map.insert(header::ETAG, text(tag));
        map.insert(HeaderName::from_static("pyralog-outcome"), HeaderValue::from_static("found"));
        Ok(response)
    }

    fn json(&self, encoding: Encoding) -> String {
        let record = self.record;
        let headers = record.headers.iter().map(|(name, value)| JsonHeader::of(name, value.as_deref(), encoding));
        let body = JsonRecord {
            vlsn: self.vlsn.0,
            partition: self.partition,
            offset: Some(record.offset.0),
            leader_epoch: Some(record.epoch.0),
            timestamp: record.timestamp,
            value: record.value.as_deref().map(|bytes| Shown(bytes, encoding)),
            headers: headers.collect(),
        };
        serde_json::to_string(&body).unwrap_or_default()
    }

    fn raw(&self, shell: &Arc<Shell>) -> Result<Response, Problem> {
        let record = self.record;
        let value = http_bytes(shell, record.value.clone().unwrap_or_default());
        let mut response = answer(StatusCode::OK, RAW, value);
        let map = response.headers_mut();
        let mut say = |name: &'static str, value: String| map.append(HeaderName::from_static(name), text(value));
        say("pyralog-vlsn", self.vlsn.to_string());
        say("pyralog-partition", self.partition.to_string());
        say("pyralog-offset", record.offset.0.to_string());
        say("pyralog-leader-epoch", record.epoch.0.to_string());
        say("pyralog-timestamp", record.timestamp.to_string());
        if record.value.is_none() {
            say("pyralog-value", "null".into());
        }
        let mut bytes = 0;
        for (name, value) in &record.headers {
            let mut line = escape(name);
            if let Some(value) = value {
                line.push('=');
                line.push_str(&escape(value));
            }
            bytes += RAW_HEADER.len() + line.len();
            if bytes > RAW_HEADER_BYTES_MAX {
                let detail = format!(
                    "the headers of the record take more than {RAW_HEADER_BYTES_MAX} bytes in HTTP; ask for {JSON}"
                );
                return Err(Problem::new(Kind::NotAcceptable, detail));
            }
            say(RAW_HEADER, line);
        }
        Ok(response)
    }
}

fn text(text: String) -> HeaderValue {
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Percent-encodes all but letters, digits and `-._~`.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// A record in JSON. Where it stands in its partition is known of a single one only.
#[derive(Serialize)]
struct JsonRecord<'a> {
    vlsn: u64,
    partition: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader_epoch: Option<i32>,
    timestamp: i64,
    value: Option<Shown<'a>>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    name: Shown<'a>,
    value: Option<Shown<'a>>,
}

impl<'a> JsonHeader<'a> {
    fn of(name: &'a [u8], value: Option<&'a [u8]>, encoding: Encoding) -> Self {
        Self { name: Shown(name, Encoding::Auto), value: value.map(|value| Shown(value, encoding)) }
    }
}

/// A range that is asked for.
struct Range {
    name: String,
    from: Vlsn,
    to: Vlsn,
    limits: PageLimits,
    deadline: Option<Instant>,
    encoding: Encoding,
    form: &'static str,
}

/// A page that was read, and what was known with it.
struct Read {
    page: Page,
    undecided: Vlsn,
}

impl Range {
    fn of(name: String, query: &Query, headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(from) = query.text("from") else {
            return Err(bad("from", "from is missing: a range begins at a VLSN, for instance ?from=0".to_owned()));
        };
        let from = vlsn_of("from", from)?;
        let to = Vlsn(query.number("to", u64::MAX)?.unwrap_or(u64::MAX)).min(Vlsn::MAX.next());
        if to < from {
            return Err(bad("to", format!("to is {to}, below from, which is {from}; the range is [from, to)")));
        }
        let limit = |name: &str, max: u64, default: u64| {
            let given = query.number_in(name, 1..=max)?.unwrap_or(default);
            Ok::<_, Problem>(usize::try_from(given).unwrap_or(usize::MAX))
        };
        let limits = PageLimits {
            bytes: limit("max_bytes", BYTES_MAX, BYTES)?,
            records: limit("max_records", RECORDS_MAX, RECORDS)?,
            name_gaps: true,
            held: HELD_BYTES,
        };
        let (encoding, deadline) = (Encoding::of(query)?, deadline(query)?);
        Ok(Self { name, from, to, limits, deadline, encoding, form: accepted(headers, &[JSON, LINES])? })
    }

    async fn serve(self, http: &Http, shell: &Arc<Shell>) -> Result<Response, Problem> {
        if let Some(deadline) = self.deadline.filter(|_| self.from < self.to) {
            self.wait(shell, deadline).await?;
        }
        let shell = Arc::clone(shell);
        // From the disk, most of the time: not for a network thread.
        let body = http.may_wait(move || {
            let topology = shell.node.topology();
            let log = vlsn_log(&topology, &self.name)?;
            let read = self.read(&shell, &log)?;
            Ok(changing(answer(StatusCode::OK, self.form, http_body(&shell, self.write(&log, &read)?))))
        });
        body.await?
    }

    /// Until the first VLSN of the range is decided.
    async fn wait(&self, shell: &Arc<Shell>, deadline: Instant) -> Result<(), Problem> {
        let mut waiter = Waiter::new(shell);
        loop {
            let current = {
                let topology = shell.node.topology();
                let log = vlsn_log(&topology, &self.name)?;
                waiter.watch(log.partitions().iter().cloned());
                let bounds = log.bounds().map_err(|error| unread(shell, &self.name, &error))?;
                if bounds.undecided > self.from {
                    return Ok(());
                }
                Arc::ptr_eq(&topology, &shell.node.topology())
            };
            if !current {
                continue;
            }
            match waiter.woken(deadline).await {
                Woken::Changed => {}
                Woken::Late => return Ok(()),
                Woken::Stopping => return Err(Problem::new(Kind::Unavailable, "the server stops")),
            }
        }
    }

    fn read(&self, shell: &Shell, log: &VlsnLog<'_, RealDisk>) -> Result<Read, Problem> {
        check_unsent(shell)?;
        let read = || {
            let bounds = log.bounds()?;
            // What waits to be sent bounds what is read, as for fetches, and a byte may take as many as `\u0001` has.
            let bytes = self.limits.bytes.min(shell.node.fetch_budget() / ESCAPED_MAX).max(1);
            let limits = PageLimits { bytes, ..self.limits };
            let page = log.page(self.from..self.to, limits, &bounds)?;
            Ok(Read { page, undecided: bounds.undecided })
        };
        read().map_err(|error| unread(shell, &self.name, &error))
    }

    fn write(&self, log: &VlsnLog<'_, RealDisk>, read: &Read) -> Result<String, Problem> {
        let (records, next) = self.records(log, &read.page)?;
        let ranges = |ranges: &[std::ops::Range<Vlsn>]| {
            let told = ranges.iter().filter(|range| range.start < next);
            told.map(|range| json!({"from": range.start.0, "to": range.end.0})).collect::<Vec<_>>()
        };
        let head = json!({
            "log": self.name,
            "from": self.from.0,
            "next": next.0,
            "undecided": read.undecided.0,
            "gaps": ranges(&read.page.gaps),
            "trimmed": ranges(&read.page.trimmed),
        });
        let head = head.to_string();
        Ok(match self.form {
            LINES => records + &head + "\n",
            _ => format!("{},\"records\":[{records}]}}", head.strip_suffix('}').unwrap_or(&head)),
        })
    }

    /// The records of a page as far as there is room for what they become, and where to go on. An empty header of two bytes becomes
    /// one of 34.
    fn records(&self, log: &VlsnLog<'_, RealDisk>, page: &Page) -> Result<(String, Vlsn), Problem> {
        let most = self.limits.bytes.saturating_mul(ESCAPED_MAX).max(JSON_BYTES);
        let mut out = String::with_capacity(page.records.len() + page.records.len() / 2 + 256);
        let damaged = |error| Problem::new(Kind::Unavailable, format!("log {} cannot be read: {error}", self.name));
        let mut bytes = &page.records[..];
        while !bytes.is_empty() {
            let batch = StoredBatch::open(bytes).map_err(|error| damaged(error.to_string()))?;
            for record in batch.records() {
                let record = record.map_err(|error| damaged(error.to_string()))?;
                if out.len() > most {
                    return Ok((out, record.vlsn));
                }
                if self.form != LINES && !out.is_empty() {
                    out.push(',');
                }
                let headers = record.record.headers.iter();
                let record = JsonRecord {
                    vlsn: record.vlsn.0,
                    partition: log.routing.partition(record.vlsn).0,
                    offset: None,
                    leader_epoch: None,
                    timestamp: record.timestamp,
                    value: record.record.value.map(|bytes| Shown(bytes, self.encoding)),
                    headers: headers.map(|h| JsonHeader::of(h.key, h.value, self.encoding)).collect(),
                };
                out.push_str(&serde_json::to_string(&record).unwrap_or_default());
                if self.form == LINES {
                    out.push('\n');
                }
            }
            bytes = bytes.get(batch.header.total_size()..).unwrap_or_default();
        }
        Ok((out, page.next))
    }
}

/// Most bytes that one of a value takes in JSON.
const ESCAPED_MAX: usize = 6;

/// A single record is answered whatever its size: as many of them as there are clients that take nothing would fill the memory.
fn check_unsent(shell: &Shell) -> Result<(), Problem> {
    if shell.node.is_crowded() {
        let detail = "too much waits to be sent to clients that do not take it: ask again in a moment";
        return Err(Problem::new(Kind::Unavailable, detail));
    }
    Ok(())
}

/// A body that counts among the answers that wait, until it is sent.
pub fn http_body(shell: &Arc<Shell>, mut text: String) -> Body {
    // It grew by doubling.
    text.shrink_to_fit();
    http_bytes(shell, Bytes::from(text))
}

fn http_bytes(shell: &Arc<Shell>, bytes: Bytes) -> Body {
    Body::from(Bytes::from_owner(Unsent::new(shell, bytes)))
}

struct Unsent {
    shell: Arc<Shell>,
    bytes: Bytes,
}

impl Unsent {
    fn new(shell: &Arc<Shell>, bytes: Bytes) -> Self {
        shell.node.add_unsent(bytes.len());
        Self { shell: Arc::clone(shell), bytes }
    }
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.shell.node.take_unsent(self.bytes.len());
    }
}
