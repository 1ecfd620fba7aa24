//! Problem documents (RFC 9457): what was wrong, with which value, and what to do.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// What kind of problem. Each has one status and one title; the `type` of the document is its name as a URN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No such path.
    NoRoute,
    /// The path has no such method.
    Method,
    /// A parameter or a part of the path is wrong.
    Parameter,
    /// No form of the answer is accepted.
    NotAcceptable,
    /// No log of that name.
    UnknownLog,
    /// The body did not arrive in time.
    TooSlow,
    /// The body broke off, or is no JSON.
    Body,
    /// The body is JSON, and not what is expected; or the node finds fault with what it says.
    Content,
    /// The body, or a record, is too large.
    TooLarge,
    /// The body is not in a form that is taken.
    MediaType,
    /// What is there already does not allow it.
    Conflict,
    /// The partition does not end where the writer expected.
    Expected,
    /// Another writer has the log for itself.
    Fenced,
    /// The consumer has committed nothing.
    NoCommit,
    /// No sequencer of that name.
    NoSequencer,
    /// The log is not addressed by VLSN.
    NotVlsnLog,
    /// The name is that of a view.
    View,
    /// It may still come.
    NotYetWritten,
    /// It will never come.
    Gap,
    /// It was there.
    Trimmed,
    /// The node cannot serve this now.
    Unavailable,
}

impl Kind {
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no-such-path", "There is nothing at this path"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The path has no such method"),
            Self::Parameter => (StatusCode::BAD_REQUEST, "bad-parameter", "A parameter is wrong"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not-acceptable", "No accepted form of the answer"),
            Self::UnknownLog => (StatusCode::NOT_FOUND, "unknown-log", "There is no such log"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The body did not arrive in time"),
            Self::Body => (StatusCode::BAD_REQUEST, "bad-body", "The body cannot be read"),
            Self::Content => (StatusCode::UNPROCESSABLE_ENTITY, "bad-content", "What is asked for is wrong"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "This is too large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Not in this form"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "What is there does not allow this"),
            Self::Expected => (StatusCode::PRECONDITION_FAILED, "unexpected-last", "The partition ends elsewhere"),
            Self::Fenced => (StatusCode::CONFLICT, "fenced", "Another writer has the log for itself"),
            Self::NoCommit => (StatusCode::NOT_FOUND, "no-commit", "The consumer has committed nothing"),
            Self::NoSequencer => (StatusCode::NOT_FOUND, "no-sequencer", "There is no such sequencer"),
            Self::NotVlsnLog => (StatusCode::CONFLICT, "not-a-vlsn-log", "The log is not addressed by VLSN"),
            Self::View => (StatusCode::CONFLICT, "view", "The name is that of a view"),
            Self::NotYetWritten => (StatusCode::NOT_FOUND, "not-yet-written", "The VLSN is not written yet"),
            Self::Gap => (StatusCode::NOT_FOUND, "gap", "The VLSN was left out and will never come"),
            Self::Trimmed => (StatusCode::GONE, "trimmed", "Retention or a deletion took the record"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "This cannot be served now"),
        }
    }
}

/// A refusal on its way out.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with its explanation.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let again = (kind == Kind::Unavailable).then_some((header::RETRY_AFTER, HeaderValue::from_static("1")));
        let headers = again.into_iter().collect();
        Self(Box::new(Parts { kind, detail: detail.into(), members: Map::new(), headers }))
    }

    /// Adds a member of its own.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { kind, detail, mut members, headers } = *self.0;
        let (status, name, title) = kind.parts();
        members.insert("type".into(), json!(format!("urn:pyralog:problem:{name}")));
        members.insert("title".into(), json!(title));
        members.insert("status".into(), json!(status.as_u16()));
        members.insert("detail".into(), json!(detail));
        let mut response = Response::new(Body::from(Value::Object(members).to_string()));
        *response.status_mut() = status;
        let map = response.headers_mut();
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in headers {
            map.insert(name, value);
        }
        response
    }
}
