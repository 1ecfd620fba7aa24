//! Input that no client means to send: golden frames changed on purpose, and what a broker may cost while it gets them.
//!
//! Everything follows from a seed, so a run that failed can be repeated.

use serde_json::Value;

use crate::conn::{Conn, header};
use crate::draw::Draw;
use crate::text;

/// A request frame of a real client, without its length.
#[derive(Clone, Debug)]
pub struct Golden {
    /// API key.
    pub key: i16,
    /// API version.
    pub version: i16,
    /// Header and body.
    pub bytes: Vec<u8>,
}

impl Golden {
    /// Where the body begins, for a header of this version.
    pub fn body_at(&self) -> usize {
        let id = i16::from_be_bytes([self.bytes[8], self.bytes[9]]);
        10 + usize::try_from(id).unwrap_or(0) + usize::from(self.is_flexible())
    }

    /// Whether counts and lengths are compact; taken from how such a request is encoded, not from a table of ours.
    pub fn is_flexible(&self) -> bool {
        kafka_protocol::messages::ApiKey::try_from(self.key)
            .map_or(self.key >= crate::private::FIRST_KEY, |key| key.request_header_version(self.version) >= 2)
    }
}

/// The captured requests in every version that `conn`'s broker lists, and those of the private APIs.
pub fn golden_requests(conn: &mut Conn) -> Vec<Golden> {
    let listed = listed_apis(conn);
    let read = |name: &str| {
        let path = crate::crate_folder().join("../protocol/tests/golden").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let mut out = Vec::new();
    for line in [read("probe.jsonl"), read("private.jsonl")].iter().flat_map(|text| text.lines()) {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        if line["direction"] != "request" {
            continue;
        }
        let number = |name: &str| line[name].as_i64().and_then(|n| i16::try_from(n).ok()).expect("a small number");
        let (key, version) = (number("api_key"), number("api_version"));
        if listed.iter().any(|(k, range)| *k == key && range.contains(&version)) {
            out.push(Golden { key, version, bytes: from_hex(line["hex"].as_str().expect("hex")) });
        }
    }
    assert!(out.len() > 100, "only {} golden requests for the listed APIs", out.len());
    out
}

/// Key and versions of every listed API.
pub fn listed_apis(conn: &mut Conn) -> Vec<(i16, std::ops::RangeInclusive<i16>)> {
    let request = kafka_protocol::messages::ApiVersionsRequest::default()
        .with_client_software_name(text("compat"))
        .with_client_software_version(text("1"));
    let keys = conn.call(3, &request).api_keys;
    keys.iter().map(|k| (k.api_key, k.min_version..=k.max_version)).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

/// `golden` with one to three changes, mostly single bits. Frames that create partitions keep their numbers: what they ask for would be
/// legal and large, which is not what this tests.
pub fn mutate(golden: &Golden, draw: &mut Draw) -> Vec<u8> {
    let mut bytes = golden.bytes.clone();
    let creates = [19, 37].contains(&golden.key);
    for _ in 0..=draw.index(3) {
        let at = draw.index(bytes.len());
        match draw.index(if creates { 2 } else { 14 }) {
            0 => bytes.truncate(at.max(1)),
            1 => drop(bytes.drain(at..(at + 1 + draw.index(3)).min(bytes.len()))),
            2 => bytes[at] = draw.bits() as u8,
            3 => overwrite(&mut bytes, at, extreme(draw)),
            4 => drop(bytes.splice(at..at, extreme_varint(draw))),
            5 => {
                let count = draw.index(40);
                let inserted = draw.bytes(count);
                drop(bytes.splice(at..at, inserted));
            }
            6 => {
                let end = (at + draw.index(20)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ => bytes[at] ^= 1 << draw.index(8),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes
}

fn extreme(draw: &mut Draw) -> &'static [u8] {
    const VALUES: [&[u8]; 8] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
        &[0x7f, 0xff],
        &[0x80, 0],
        &[0, 0xff, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    draw.pick(&VALUES)
}

fn extreme_varint(draw: &mut Draw) -> Vec<u8> {
    const VALUES: [&[u8]; 4] =
        [&[0xff, 0xff, 0xff, 0xff, 0x07], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 10], &[0xff, 0xff, 0x7f]];
    draw.pick(&VALUES).to_vec()
}

/// Writes `value` over the bytes at `at`, as far as there are any.
pub fn overwrite(bytes: &mut [u8], at: usize, value: &[u8]) {
    for (to, from) in bytes[at..].iter_mut().zip(value) {
        *to = *from;
    }
}

/// `golden` with 2^31-1 at one position of its body: as int32, and as a compact count where the version has such.
pub fn huge_counts(golden: &Golden) -> Vec<Vec<u8>> {
    let body = golden.body_at();
    let mut out = Vec::new();
    for at in body..golden.bytes.len() {
        let mut changed = golden.bytes.clone();
        if golden.is_flexible() {
            changed.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x07]);
        } else {
            overwrite(&mut changed, at, &i32::MAX.to_be_bytes());
        }
        out.push(changed);
    }
    out
}

/// An ApiVersions v3 request whose header carries so many unknown tags of two bytes each.
pub fn header_of_tags(count: usize) -> Vec<u8> {
    let mut out = header(18, 3, 1, None, 1);
    let mut rest = count;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend((0..count).flat_map(|i| [(i % 100) as u8, 0]));
    out.extend([2, b'c', 2, b'1', 0]);
    out
}
