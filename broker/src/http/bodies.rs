//! Bodies of requests: taken within limits of size, time and memory, and read as JSON or as they are.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::problem::{Kind, Problem};
use crate::shell::Shell;

/// Most bytes of a body.
pub const BODY_BYTES_MAX: usize = 8 << 20;
/// Longest that a body takes to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bodies above this draw on the memory that all requests share.
const BUDGET_FROM: usize = 64 << 10;
/// Most bytes of a body that has no records: nothing that it may say takes more.
const SMALL_BYTES_MAX: usize = BUDGET_FROM;

/// What a body is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON.
    Json,
    /// Just bytes.
    Raw,
}

/// The form of a body, if it is one of those. Nothing said is bytes where these are taken, but for a browser: it asks first before
/// it lets a page of another origin send one of these, and would not for a body of no type.
pub fn form(headers: &HeaderMap, raw: bool) -> Result<Form, Problem> {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = said.map(|said| said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match kind.as_deref() {
        Some("application/json") => Ok(Form::Json),
        Some("application/octet-stream") if raw => Ok(Form::Raw),
        None if raw && !headers.contains_key(header::ORIGIN) => Ok(Form::Raw),
        Some(_) | None => {
            let known = if raw { "application/json or application/octet-stream" } else { "application/json" };
            let said = said.unwrap_or("nothing");
            Err(Problem::new(Kind::MediaType, format!("Content-Type is {said:.100}; the body is taken as {known}")))
        }
    }
}

/// A body that came in.
pub struct Taken {
    /// All of it.
    pub bytes: Bytes,
    /// The shared memory that covers a large one, and what is made of it: to be kept until the request is answered.
    pub memory: Option<OwnedSemaphorePermit>,
}

/// All of a body, `BODY_BYTES_MAX` at most.
pub async fn take(shell: &Arc<Shell>, headers: &HeaderMap, body: Body) -> Result<Taken, Problem> {
    take_up_to(BODY_BYTES_MAX, shell, headers, body).await
}

/// What a body says that has no records, and its bytes. It waits for its answer outside of the memory that requests share.
pub async fn take_small<T: DeserializeOwned>(
    shell: &Arc<Shell>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(T, usize), Problem> {
    let Taken { bytes, .. } = take_up_to(SMALL_BYTES_MAX, shell, headers, body).await?;
    Ok((json(&bytes)?, bytes.len()))
}

async fn take_up_to(most: usize, shell: &Arc<Shell>, headers: &HeaderMap, mut body: Body) -> Result<Taken, Problem> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        let detail = format!("Content-Encoding is {coding:.100?}; bodies are taken as they are");
        return Err(Problem::new(Kind::MediaType, detail));
    }
    let too_large = || Problem::new(Kind::TooLarge, format!("the body has more than {most} bytes")).with("limit", most);
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > most) {
        return Err(too_large());
    }
    let until = Instant::now() + PATIENCE;
    let slow = |_| {
        let seconds = PATIENCE.as_secs();
        Problem::new(
            Kind::TooSlow,
            format!("the body did not arrive within {seconds} s, or there was no memory for it"),
        )
    };
    let (mut bytes, mut memory) = (BytesMut::new(), None);
    while let Some(frame) = timeout_at(until, body.frame()).await.map_err(slow)? {
        let frame = frame.map_err(|error| Problem::new(Kind::Body, format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > most {
            return Err(too_large());
        }
        if memory.is_none() && bytes.len() + data.len() > BUDGET_FROM {
            // All that it may become, at once: pieces could wait for each other.
            let claim = shell.request_memory.claim(announced.unwrap_or(most));
            memory = Some(timeout_at(until, claim).await.map_err(slow)?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Taken { bytes: bytes.freeze(), memory })
}

/// A body that is a JSON object. Unknown members are refused by the type, which would take an array without names.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(|first| *first == b'[') {
        return Err(Problem::new(Kind::Content, "the body is an array; a JSON object is expected".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let kind = if error.is_data() { Kind::Content } else { Kind::Body };
        Problem::new(kind, format!("the body is not what is expected: {error}"))
    })
}
