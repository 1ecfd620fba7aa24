//! Bytes of records in JSON: `{"text": "..."}` where they are UTF-8, `{"base64": "..."}` where they are not or where the
//! client wants all of them so, and null where there are none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::problem::Problem;
use super::request::{Query, bad};

/// Name of the parameter that chooses.
pub const PARAMETER: &str = "encoding";

/// How bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As text where that is possible.
    Auto,
    /// Never as text.
    Base64,
}

impl Encoding {
    /// What the query asks for.
    pub fn of(query: &Query) -> Result<Self, Problem> {
        match query.text(PARAMETER) {
            None | Some("auto") => Ok(Self::Auto),
            Some("base64") => Ok(Self::Base64),
            Some(other) => Err(bad(PARAMETER, format!("{PARAMETER} is {other:.60?}; it takes auto or base64"))),
        }
    }
}

/// Bytes to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8], pub Encoding);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(bytes, encoding) = *self;
        let mut map = serializer.serialize_map(Some(1))?;
        match std::str::from_utf8(bytes).ok().filter(|_| encoding == Encoding::Auto) {
            Some(text) => map.serialize_entry("text", text)?,
            None => map.serialize_entry("base64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}
