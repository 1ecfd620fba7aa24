//! Good requests made bad, field by field, as a seed draws it.
//!
//! A change knows the type of what it changes: numbers go to where ranges end, strings to what nobody is called or
//! somebody else is, arrays to none, twice or another order. [`Pools`] says what is worth trying in a field by its name.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use crate::draw::Draw;
use crate::fields::{Field, Kind, Message, hex, unhex};

/// Where the numbers in the header of a batch stand, and how long they are.
const BATCH_FIELDS: [(usize, usize); 13] = [
    (0, 8),
    (8, 4),
    (12, 4),
    (16, 1),
    (CRC_AT, 4),
    (ATTRIBUTES_AT, 2),
    (23, 4),
    (27, 8),
    (35, 8),
    (43, 8),
    (51, 2),
    (53, 4),
    (57, 4),
];
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const BATCH_HEADER_BYTES: usize = 61;

/// The CRC covers a batch from its attributes on.
fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

/// What is worth trying, by the last names of a path: `topics.name` or `name`. The first entry that fits counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pools {
    /// Strings beside those that are tried everywhere.
    pub texts: &'static [(&'static str, &'static [&'static str])],
    /// Numbers in place of those that are tried everywhere.
    pub numbers: &'static [(&'static str, &'static [i64])],
    /// Fields that stay as they are.
    pub fixed: &'static [&'static str],
    /// Strings of which nothing but the pool is tried.
    pub only: &'static [&'static str],
}

/// A place in a request.
struct Place {
    /// As [`Value::pointer`] takes it.
    pointer: String,
    /// Names of fields, dots between.
    path: String,
    kind: Kind,
    nullable: bool,
}

/// One request that is being changed.
pub struct Mutator<'a> {
    /// Where the numbers come from.
    pub draw: &'a mut Draw,
    /// What to try.
    pub pools: Pools,
    /// What nobody was called before.
    pub fresh: &'a str,
}

impl Mutator<'_> {
    /// `base` in `version` with one to three changes, and what they are.
    pub fn mutate(&mut self, message: &Message, version: i16, base: &Value) -> (Value, String) {
        let mut value = filled(&message.fields, version, base);
        let count = self.draw.pick(&[1, 1, 1, 1, 1, 2, 2, 2, 3]);
        let mut changes = Vec::new();
        for _ in 0..count {
            let mut places = Vec::new();
            collect(&message.fields, version, &value, ("", ""), &mut places);
            places.retain(|place| !self.pools.fixed.iter().any(|field| ends_with(&place.path, field)));
            if places.is_empty() {
                break;
            }
            let place = &places[self.draw.index(places.len())];
            let old = value.pointer(&place.pointer).cloned().unwrap_or_default();
            let new = self.changed(place, &old);
            changes.push(format!("{}={}", place.pointer, shortened(&new)));
            if let Some(slot) = value.pointer_mut(&place.pointer) {
                *slot = new;
            }
        }
        (value, changes.join(" "))
    }

    fn changed(&mut self, place: &Place, old: &Value) -> Value {
        let may_be_null = !matches!(place.kind, Kind::Bool | Kind::Int(_) | Kind::Id);
        // Null where it may not be ends the connection: seldom.
        let chance = if place.nullable { 4 } else { 40 };
        if may_be_null && self.draw.below(chance) == 0 {
            return Value::Null;
        }
        match &place.kind {
            Kind::Bool => json!(!old.as_bool().unwrap_or(false)),
            Kind::Int(width) => json!(self.number(*width, &place.path, old.as_i64().unwrap_or(0))),
            Kind::Id => json!(self.id(&place.path)),
            Kind::Text => json!(self.text(&place.path, old.as_str().unwrap_or_default())),
            Kind::Bytes => json!(hex(&self.bytes(&place.path, unhex(old.as_str().unwrap_or_default())))),
            Kind::Struct(_) => old.clone(),
            Kind::Array(_) => self.array(old.as_array().map(Vec::as_slice).unwrap_or_default()),
        }
    }

    fn number(&mut self, width: usize, path: &str, old: i64) -> i64 {
        if let Some(pool) = found(self.pools.numbers, path) {
            return self.draw.pick(pool);
        }
        let max = i64::MAX >> (64 - 8 * width);
        let near = [old.wrapping_add(1), old.wrapping_sub(1)];
        self.draw.pick(&[-2, -1, 0, 1, 2, 3, max, -max - 1, near[0], near[1], 100])
    }

    fn id(&mut self, path: &str) -> String {
        let pool = found(self.pools.texts, path).unwrap_or(&[]);
        let everywhere = [
            "00000000-0000-0000-0000-000000000000",
            "00000000-0000-0000-0000-000000000077",
            "00000000-0000-0000-0000-000000000001",
        ];
        let all: Vec<&str> = pool.iter().copied().chain(everywhere).collect();
        self.draw.pick(&all).to_owned()
    }

    fn text(&mut self, path: &str, old: &str) -> String {
        let pool = found(self.pools.texts, path).unwrap_or(&[]);
        let only = self.pools.only.iter().any(|field| ends_with(path, field));
        if !pool.is_empty() && (only || self.draw.coin()) {
            return self.draw.pick(pool).to_owned();
        }
        let (long, longer) = ("x".repeat(249), "x".repeat(250));
        let (upper, spaced) = (old.to_uppercase(), format!(" {old}"));
        let other = if old.starts_with('@') { "Stranger" } else { &*upper };
        let spaced = if old.starts_with('@') { "stranger" } else { &*spaced };
        let everywhere =
            ["", self.fresh, self.fresh, " ", "a b", ".", "..", &long, &longer, "ä", "a/b", "\u{0}", other, spaced];
        self.draw.pick(&everywhere).to_owned()
    }

    fn bytes(&mut self, path: &str, mut bytes: Vec<u8>) -> Vec<u8> {
        let is_batch = ends_with(path, "records") && bytes.len() > BATCH_HEADER_BYTES;
        match self.draw.below(if is_batch { 15 } else { 5 }) {
            0 => bytes.clear(),
            1 => bytes.truncate(self.draw.index(bytes.len())),
            2 => bytes.extend(self.draw.bytes(3)),
            _ if bytes.is_empty() => bytes.push(0),
            3 | 4 => {
                let at = self.draw.index(bytes.len());
                bytes[at] ^= 1 << self.draw.below(8);
            }
            _ => self.batch_field(&mut bytes),
        }
        bytes
    }

    /// Another number in the header of a batch; the CRC is right unless it is the one.
    fn batch_field(&mut self, batch: &mut [u8]) {
        let (at, width) = self.draw.pick(&BATCH_FIELDS);
        if at == ATTRIBUTES_AT {
            batch[at + 1] ^= 1 << self.draw.below(8);
        } else {
            let old = batch[at..at + width].iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
            // Sums with the least of all times are beyond what Kafka counts with.
            let new = self.number(width, "", old).max(-i64::MAX / 4).to_be_bytes();
            batch[at..at + width].copy_from_slice(&new[8 - width..]);
        }
        if at != CRC_AT {
            write_crc(batch);
        }
    }

    fn array(&mut self, old: &[Value]) -> Value {
        let mut items = old.to_vec();
        let at = self.draw.index(items.len());
        match self.draw.below(6) {
            0 => items.clear(),
            1 => items.extend(old.to_vec()),
            2 | 3 if !items.is_empty() => items.insert(at, old[self.draw.index(old.len())].clone()),
            4 if !items.is_empty() => drop(items.remove(at)),
            _ => items.reverse(),
        }
        Value::Array(items)
    }
}

fn found<T: Copy>(pools: &[(&str, T)], path: &str) -> Option<T> {
    pools.iter().find(|(field, _)| ends_with(path, field)).map(|(_, pool)| *pool)
}

fn ends_with(path: &str, field: &str) -> bool {
    path.strip_suffix(field).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Long values are told by how they begin.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 100 { text } else { format!("{}…", text.chars().take(100).collect::<String>()) }
}

/// The value with every field of this version, tagged ones excepted.
fn filled(fields: &[Field], version: i16, value: &Value) -> Value {
    let mut all = Map::new();
    for field in fields.iter().filter(|field| field.versions.contains(&version)) {
        let found = match value.get(&field.name) {
            Some(found) => found.clone(),
            None if field.tag.is_some() => continue,
            None => default(field, version),
        };
        all.insert(field.name.clone(), filled_inside(&field.kind, version, &found));
    }
    Value::Object(all)
}

fn filled_inside(kind: &Kind, version: i16, value: &Value) -> Value {
    match kind {
        Kind::Struct(fields) if value.is_object() => filled(fields, version, value),
        Kind::Array(item) if value.is_array() => {
            value.as_array().into_iter().flatten().map(|value| filled_inside(item, version, value)).collect()
        }
        Kind::Struct(_) | Kind::Array(_) | Kind::Bool | Kind::Int(_) | Kind::Id | Kind::Text | Kind::Bytes => {
            value.clone()
        }
    }
}

fn default(field: &Field, version: i16) -> Value {
    match &field.kind {
        _ if field.nullable.contains(&version) => Value::Null,
        Kind::Bool => json!(false),
        Kind::Int(_) => json!(0),
        Kind::Id | Kind::Text | Kind::Bytes => json!(""),
        Kind::Struct(fields) => filled(fields, version, &json!({})),
        Kind::Array(_) => json!([]),
    }
}

/// All places that can be changed; items of arrays too.
fn collect(fields: &[Field], version: i16, value: &Value, at: (&str, &str), places: &mut Vec<Place>) {
    let in_range = |range: &RangeInclusive<i16>| range.contains(&version);
    for field in fields.iter().filter(|field| in_range(&field.versions)) {
        let Some(inner) = value.get(&field.name) else { continue };
        let pointer = format!("{}/{}", at.0, field.name);
        let path = if at.1.is_empty() { field.name.clone() } else { format!("{}.{}", at.1, field.name) };
        collect_kind((&field.kind, in_range(&field.nullable)), version, inner, (&pointer, &path), places);
    }
}

fn collect_kind(of: (&Kind, bool), version: i16, value: &Value, at: (&str, &str), places: &mut Vec<Place>) {
    let (kind, nullable) = of;
    let place = Place { pointer: at.0.to_owned(), path: at.1.to_owned(), kind: kind.clone(), nullable };
    match kind {
        Kind::Struct(fields) => {
            collect(fields, version, value, at, places);
            if nullable {
                places.push(place);
            }
        }
        Kind::Array(item) => {
            places.push(place);
            for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                collect_kind((item, false), version, value, (&format!("{}/{index}", at.0), at.1), places);
            }
        }
        Kind::Bool | Kind::Int(_) | Kind::Id | Kind::Text | Kind::Bytes => places.push(place),
    }
}
