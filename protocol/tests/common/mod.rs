//! Captured frames as test data.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

use std::fmt;

/// One captured frame, without its length.
#[derive(Clone)]
pub struct Golden {
    pub client: String,
    pub api_key: i16,
    pub api_version: i16,
    pub is_request: bool,
    pub bytes: Vec<u8>,
}

impl fmt::Display for Golden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.is_request { "request" } else { "response" };
        write!(f, "{} key {} v{} of {}", direction, self.api_key, self.api_version, self.client)
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap();
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The folder of this crate, as cargo says when the test runs: a target folder may serve several checkouts.
fn crate_folder() -> std::path::PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), Into::into)
}

/// Every frame of every file, in order.
pub fn golden_frames() -> Vec<Golden> {
    let folder = crate_folder().join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let lines = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    lines.flat_map(|text| text.lines().map(parse).collect::<Vec<_>>()).collect()
}

fn parse(line: &str) -> Golden {
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    let number = |name: &str| i16::try_from(json[name].as_i64().unwrap()).unwrap();
    Golden {
        client: json["client"].as_str().unwrap().to_owned(),
        api_key: number("api_key"),
        api_version: number("api_version"),
        is_request: json["direction"] == "request",
        bytes: unhex(json["hex"].as_str().unwrap()),
    }
}

/// Random bits for mutations, so that a seed names a run.
pub trait Bits {
    fn bits(&mut self) -> u64;

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// Spoils bytes the way hostile and broken clients do: flips, extreme numbers, cuts, insertions, repeats.
pub fn mutate(bytes: &mut Vec<u8>, draw: &mut impl Bits) {
    const NASTY: [&[u8]; 8] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0x07],
        &[0x7f, 0xff],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
        &[0, 0, 0x10, 0],
    ];
    for _ in 0..=draw.below(3) {
        let at = draw.below(bytes.len() + 1);
        let byte = u8::try_from(draw.bits() & 0xff).unwrap();
        let nasty = NASTY[draw.below(NASTY.len())];
        match draw.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 => drop(bytes.splice(at..at, nasty.iter().copied())),
            3 => {
                let end = bytes.len().min(at + nasty.len());
                drop(bytes.splice(at..end, nasty.iter().copied()));
            }
            4 => {
                let piece = bytes[at..bytes.len().min(at + 40)].to_vec();
                let times = draw.below(20);
                drop(bytes.splice(at..at, piece.repeat(times)));
            }
            5 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] ^= 1 << (byte & 7),
            _ => {}
        }
    }
}
