//! Records as lines of JSON: what `consume --json` prints, `produce --json` reads.
//!
//! Text stays text; bytes that are not UTF-8 go into a field of their own (`value_base64`), so that nothing is lost on the
//! way. A record without a value (a tombstone) has `"value": null`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pyralog_client::{Record, RecordHeader};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::values::{milliseconds, moment};

/// A header of a record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonHeader {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// A record as it is printed.
#[derive(Debug, Serialize)]
pub struct Printed<'a> {
    log: &'a str,
    partition: u32,
    offset: i64,
    epoch: i32,
    /// Milliseconds since 1970.
    timestamp: i64,
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<JsonHeader>,
}

/// Text where the bytes are text, base64 where they are not.
fn split(bytes: Option<&[u8]>) -> (Option<&str>, Option<String>) {
    match bytes.map(std::str::from_utf8) {
        None => (None, None),
        Some(Ok(text)) => (Some(text), None),
        Some(Err(_)) => (None, bytes.map(|bytes| STANDARD.encode(bytes))),
    }
}

impl<'a> Printed<'a> {
    /// Of a record that was read.
    pub fn of(log: &'a str, record: &'a Record) -> Self {
        let (key, key_base64) = split(record.key.as_deref());
        let (value, value_base64) = split((!record.is_tombstone).then_some(&record.value[..]));
        let headers = record.headers.iter().map(|header| {
            let (value, value_base64) = split(header.value.as_deref());
            JsonHeader { name: header.key.clone(), value: value.map(str::to_owned), value_base64 }
        });
        Self {
            log,
            partition: record.partition,
            offset: record.offset.0,
            epoch: record.epoch.0,
            timestamp: milliseconds(record.timestamp),
            key,
            key_base64,
            value,
            value_base64,
            headers: headers.collect(),
        }
    }
}

/// A record as it is read. Fields that only say where a record was are passed over, so that what was printed can be read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default)]
    key: Value,
    key_base64: Option<String>,
    #[serde(default)]
    value: Value,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Headers,
    partition: Option<u32>,
    timestamp: Option<Moment>,
    #[serde(rename = "log")]
    _log: Option<String>,
    #[serde(rename = "offset")]
    _offset: Option<i64>,
    #[serde(rename = "epoch")]
    _epoch: Option<i32>,
}

/// As they are printed, or as an object of texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Headers {
    List(Vec<JsonHeader>),
    Object(serde_json::Map<String, Value>),
}

impl Default for Headers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Moment {
    Milliseconds(i64),
    Text(String),
}

/// A record that is to be written, and into which partition, if the line says so.
pub struct Parsed {
    /// The record.
    pub record: Record,
    /// The partition.
    pub partition: Option<u32>,
}

/// Reads a line; the error says what is wrong with it.
pub fn parse(line: &[u8]) -> Result<Parsed, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let key = bytes("key", line.key, line.key_base64)?;
    let value = bytes("value", line.value, line.value_base64)?;
    let mut record = Record::new(key, value.clone().unwrap_or_default());
    record.is_tombstone = value.is_none();
    record.headers = headers(line.headers)?;
    record.timestamp = match line.timestamp {
        None => record.timestamp,
        Some(Moment::Milliseconds(ms)) => {
            let since =
                u64::try_from(ms).map_err(|_| format!("timestamp is {ms}, milliseconds since 1970 are needed"))?;
            let at = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(since));
            at.ok_or_else(|| format!("timestamp {ms} is too late"))?
        }
        Some(Moment::Text(text)) => moment(&text).map_err(|error| format!("timestamp is {text:?}: {error}"))?,
    };
    Ok(Parsed { record, partition: line.partition })
}

fn headers(headers: Headers) -> Result<Vec<RecordHeader>, String> {
    let header = |key: String, value: Value, base64: Option<String>| {
        let value = bytes(&format!("header {key}"), value, base64)?;
        Ok(RecordHeader { key, value: value.map(Into::into) })
    };
    match headers {
        Headers::List(list) => list
            .into_iter()
            .map(|JsonHeader { name, value, value_base64 }| {
                header(name, value.map_or(Value::Null, Value::String), value_base64)
            })
            .collect(),
        Headers::Object(object) => object.into_iter().map(|(name, value)| header(name, value, None)).collect(),
    }
}

/// Text as it is, anything else as its JSON, null as nothing.
fn bytes(name: &str, value: Value, base64: Option<String>) -> Result<Option<Vec<u8>>, String> {
    let text = match value {
        Value::Null => None,
        Value::String(text) => Some(text.into_bytes()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string().into_bytes()),
    };
    match (text, base64) {
        (text, None) => Ok(text),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64).map_err(|error| format!("{name}_base64 is not base64: {error}"))?;
            Ok(Some(bytes))
        }
        (Some(_), Some(_)) => Err(format!("there are both {name} and {name}_base64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read_again() {
        let mut record = Record::new(Some(vec![0xff, 0]), "Grüße \"\u{1}\"");
        record.headers.push(RecordHeader { key: "h".into(), value: None });
        record.headers.push(RecordHeader { key: "h".into(), value: Some(vec![0x80].into()) });
        record.partition = 3;
        record.timestamp = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_234_567);
        for is_tombstone in [false, true] {
            record.is_tombstone = is_tombstone;
            if is_tombstone {
                record.value = Default::default();
            }
            let text = serde_json::to_string(&Printed::of("log", &record)).unwrap();
            let read = parse(text.as_bytes()).unwrap();
            assert_eq!(read.partition, Some(3));
            let expected = Record { partition: 0, ..record.clone() };
            assert_eq!(read.record, expected, "{text}");
        }
    }

    #[test]
    fn values_may_be_any_json_and_headers_an_object() {
        let read = parse(br#"{"key": 7, "value": {"a": [1, null]}, "headers": {"type": "t", "n": 1}}"#).unwrap().record;
        assert_eq!((read.key.as_deref(), &read.value[..]), (Some(&b"7"[..]), &br#"{"a":[1,null]}"#[..]));
        assert_eq!((read.header("type"), read.header("n")), (Some(&b"t"[..]), Some(&b"1"[..])));
        assert!(parse(b"{}").unwrap().record.is_tombstone);
    }

    #[test]
    fn a_bad_line_is_named_and_never_a_panic() {
        for (line, part) in [
            (&b"hello"[..], "expected"),
            (b"", "EOF"),
            (b"[]", "invalid"),
            (br#"{"valeu": "x"}"#, "unknown field `valeu`"),
            (br#"{"value": "x", "value_base64": "eA=="}"#, "both value"),
            (br#"{"key_base64": "?"}"#, "key_base64 is not base64"),
            (br#"{"partition": -1}"#, "integer `-1`"),
            (br#"{"partition": 99999999999999999999}"#, "invalid"),
            (br#"{"timestamp": -5}"#, "milliseconds"),
            (br#"{"timestamp": "tomorrow"}"#, "timestamp is \"tomorrow\""),
            (b"{\"value\": \"\xff\"}", "unicode"),
            (&b"[".repeat(100_000), "recursion"),
        ] {
            let error = parse(line).err().unwrap_or_default();
            assert!(error.to_lowercase().contains(&part.to_lowercase()), "{part} is not in {error}");
        }
    }
}
