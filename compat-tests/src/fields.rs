//! Requests as JSON, and their bytes in any version, by a table of the fields that Kafka's messages have.
//!
//! One value serves every version: what a version lacks is left out, what the value lacks is written as zero, empty or,
//! where that may be, null. A value need not be a good one: a number is cut to its width, and null is written wherever
//! it is asked for. Strings that begin with `@` stand for what only one broker calls so, such as the id of a topic.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::BufMut;
use serde_json::Value;
use uuid::Uuid;

/// The table, as it is kept.
const TABLE: &str = include_str!("../data/request_fields.txt");

/// What a broker calls the things that a request names by `@…`.
pub type Names = BTreeMap<String, String>;

/// One request.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its API key.
    pub key: i16,
    /// Its name, without `Request`.
    pub name: String,
    /// The versions that Kafka has.
    pub versions: RangeInclusive<i16>,
    /// The versions with compact lengths and tags.
    pub flexible: RangeInclusive<i16>,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name, as kafka-protocol spells it.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Where it stands.
    pub versions: RangeInclusive<i16>,
    /// Where it may be null.
    pub nullable: RangeInclusive<i16>,
    /// Its tag, if it has one.
    pub tag: Option<u32>,
}

/// What a field holds.
#[derive(Clone, Debug)]
pub enum Kind {
    /// One byte, 0 or 1.
    Bool,
    /// A number of so many bytes.
    Int(usize),
    /// Sixteen bytes.
    Id,
    /// Characters.
    Text,
    /// Bytes; as JSON two hexadecimal digits for each.
    Bytes,
    /// Fields of its own.
    Struct(Vec<Field>),
    /// Any number of these.
    Array(Box<Kind>),
}

/// No version that there is.
fn none() -> RangeInclusive<i16> {
    i16::MIN..=i16::MIN
}

/// `3`, `3-7`, `3+` or `none`.
fn versions(text: &str) -> RangeInclusive<i16> {
    let number = |text: &str| text.parse().expect("a version");
    match text.split_once('-') {
        _ if text == "none" => none(),
        Some((first, last)) => number(first)..=number(last),
        None => text.strip_suffix('+').map_or_else(|| number(text)..=number(text), |first| number(first)..=i16::MAX),
    }
}

/// All requests of the table.
pub fn messages() -> Vec<Message> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#')).peekable();
    let mut messages = Vec::new();
    while let Some(head) = lines.next() {
        let words: Vec<&str> = head.split(' ').collect();
        messages.push(Message {
            key: words[0].parse().expect("a key"),
            name: words[1].to_owned(),
            versions: versions(words[2]),
            flexible: versions(words[3]),
            fields: fields(&mut lines, 2),
        });
    }
    messages
}

fn fields<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, depth: usize) -> Vec<Field> {
    let mut found = Vec::new();
    while let Some(line) = lines.next_if(|line| line.len() - line.trim_start().len() == depth) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let inner = match words[1].trim_start_matches("[]") {
            "bool" => Kind::Bool,
            "int8" => Kind::Int(1),
            "int16" => Kind::Int(2),
            "int32" => Kind::Int(4),
            "int64" => Kind::Int(8),
            "uuid" => Kind::Id,
            "string" => Kind::Text,
            "bytes" | "records" => Kind::Bytes,
            "struct" => Kind::Struct(fields(lines, depth + 2)),
            other => panic!("no type {other}"),
        };
        let after = |word: &str| words.iter().position(|w| *w == word).map(|at| words[at + 1]);
        found.push(Field {
            name: words[0].to_owned(),
            kind: if words[1].starts_with("[]") { Kind::Array(Box::new(inner)) } else { inner },
            versions: versions(words[2]),
            nullable: after("null").map_or_else(none, versions),
            tag: after("tag").map(|tag| tag.parse().expect("a tag")),
        });
    }
    found
}

impl Message {
    /// The bytes of a request with its header and without its length.
    pub fn encode(&self, version: i16, correlation: i32, value: &Value, names: &Names) -> Vec<u8> {
        let flexible = self.flexible.contains(&version);
        let header = if flexible { 2 } else { 1 };
        let out = crate::conn::header(self.key, version, correlation, Some("compat"), header);
        let mut writer = Writer { out, version, flexible, names };
        writer.structure(&self.fields, value);
        writer.out
    }
}

struct Writer<'a> {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    names: &'a Names,
}

impl Writer<'_> {
    fn structure(&mut self, fields: &[Field], value: &Value) {
        let present: Vec<&Field> = fields.iter().filter(|f| f.versions.contains(&self.version)).collect();
        for field in present.iter().filter(|field| field.tag.is_none()) {
            self.field(field, value.get(&field.name));
        }
        if !self.flexible {
            return;
        }
        let tagged = present.iter().filter_map(|f| Some((f.tag?, *f, value.get(&f.name)?)));
        let tagged: Vec<_> = tagged.collect();
        self.varint(tagged.len());
        for (tag, field, value) in tagged {
            let (out, version, flexible, names) = (Vec::new(), self.version, true, self.names);
            let mut inner = Writer { out, version, flexible, names };
            inner.field(field, Some(value));
            self.varint(tag as usize);
            self.varint(inner.out.len());
            self.out.extend(inner.out);
        }
    }

    /// What the value lacks is null where that may be, and zero or empty elsewhere.
    fn field(&mut self, field: &Field, value: Option<&Value>) {
        let nullable = field.nullable.contains(&self.version);
        if matches!(field.kind, Kind::Struct(_)) && nullable {
            let there = value.is_some_and(|value| !value.is_null());
            self.out.put_i8(if there { 1 } else { -1 });
            if !there {
                return;
            }
        }
        let missing = if nullable { Value::Null } else { Value::Bool(false) };
        self.value(&field.kind, value.unwrap_or(&missing));
    }

    fn value(&mut self, kind: &Kind, value: &Value) {
        match kind {
            Kind::Bool => self.out.put_u8(u8::from(value.as_bool().unwrap_or(false))),
            Kind::Int(width) => {
                let named = value.as_str().and_then(|name| self.resolved(name).parse().ok());
                let bytes = named.or(value.as_i64()).unwrap_or(0).to_be_bytes();
                self.out.put_slice(&bytes[8 - width..]);
            }
            Kind::Id => {
                let id = Uuid::parse_str(&self.resolved(value.as_str().unwrap_or_default())).unwrap_or_default();
                self.out.put_slice(id.as_bytes());
            }
            Kind::Text => {
                let text = self.resolved(value.as_str().unwrap_or_default());
                self.length(value, text.len(), 2);
                self.out.put_slice(text.as_bytes());
            }
            Kind::Bytes => {
                let bytes = unhex(value.as_str().unwrap_or_default());
                self.length(value, bytes.len(), 4);
                self.out.put_slice(&bytes);
            }
            Kind::Struct(fields) => self.structure(fields, value),
            Kind::Array(item) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                self.length(value, items.len(), 4);
                items.iter().for_each(|value| self.value(item, value));
            }
        }
    }

    /// The length of a string, bytes or an array, `width` bytes where it is not compact.
    fn length(&mut self, value: &Value, length: usize, width: usize) {
        let length = if value.is_null() { -1 } else { i64::try_from(length).expect("a length") };
        if self.flexible {
            self.varint(usize::try_from(length + 1).expect("a length"));
        } else {
            self.out.put_slice(&length.to_be_bytes()[8 - width..]);
        }
    }

    fn varint(&mut self, mut number: usize) {
        while number >= 0x80 {
            self.out.put_u8(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.put_u8(number as u8);
    }

    fn resolved(&self, text: &str) -> String {
        if !text.starts_with('@') {
            return text.to_owned();
        }
        self.names.get(text).unwrap_or_else(|| panic!("nobody is called {text}")).clone()
    }
}

/// Two hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of [`hex`].
pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
        .collect()
}
