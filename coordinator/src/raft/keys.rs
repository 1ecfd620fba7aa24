//! Keys and values on disk. Every key starts with its shard (u32 BE), so that several Raft groups can share the store
//! later; log keys continue with the index (u64 BE), so that byte order is log order. raft-rs's own structures are
//! stored as their protobuf, ours as fixed big-endian numbers, records as one version byte and postcard.
//! Deliberately without a decoder that repairs anything: what does not parse is a refusal.

use raft::eraftpb::{ConfState, Entry, HardState};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::log_store::{Column, Span};

/// Version of everything in here. Raised with each change of a key or value; other versions are refused.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Version byte in front of the records of an entry and of a stored state.
const RECORDS_VERSION: u8 = 1;
/// Scope of what belongs to the store and not to one shard. Never a shard.
const STORE_SCOPE: u32 = u32::MAX;

/// Position of a log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LogPosition {
    pub(super) index: u64,
    pub(super) term: u64,
}

/// What of a shard is not in its log or state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaKey {
    HardState,
    ConfState,
    /// Last entry that is no longer in the log.
    Truncated,
    /// Position that the state came from when it was last replaced as a whole.
    Snapshot,
    Applied,
}

/// A value that does not parse, with the text of why.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub(super) struct DecodeError {
    what: &'static str,
    cause: String,
}

impl DecodeError {
    fn new(what: &'static str, cause: impl std::fmt::Display) -> Self {
        Self { what, cause: cause.to_string() }
    }
}

/// One Raft group within the store. At most `u32::MAX - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard(pub(super) u32);

impl Shard {
    pub(super) fn log_key(self, index: u64) -> Vec<u8> {
        self.key(&index.to_be_bytes())
    }

    /// Entries with `from ≤ index < to`.
    pub(super) fn log_span(self, from: u64, to: u64) -> Span {
        Span { column: Column::RaftLog, from: self.log_key(from), to: self.log_key(to) }
    }

    pub(super) fn meta_key(self, key: MetaKey) -> Vec<u8> {
        self.key(match key {
            MetaKey::HardState => b"hard_state",
            MetaKey::ConfState => b"conf_state",
            MetaKey::Truncated => b"truncated",
            MetaKey::Snapshot => b"snapshot",
            MetaKey::Applied => b"applied",
        })
    }

    /// Key of a state record.
    pub(super) fn key(self, rest: &[u8]) -> Vec<u8> {
        [&self.0.to_be_bytes(), rest].concat()
    }

    /// All keys of this shard in a column that start with `prefix`.
    pub(super) fn span(self, column: Column, prefix: &[u8]) -> Span {
        let from = self.key(prefix);
        let mut to = from.clone();
        // The successor of a prefix drops trailing 0xff and raises what is before; the shard is never all 0xff.
        while let Some(last) = to.pop() {
            if let Some(raised) = last.checked_add(1) {
                to.push(raised);
                break;
            }
        }
        Span { column, from, to }
    }
}

pub(super) fn format_key() -> Vec<u8> {
    Shard(STORE_SCOPE).key(b"format")
}

pub(super) fn log_index(key: &[u8]) -> Result<u64, DecodeError> {
    let index = key.get(4..).and_then(|rest| <[u8; 8]>::try_from(rest).ok());
    index.map(u64::from_be_bytes).ok_or_else(|| DecodeError::new("log key", "not 12 bytes"))
}

pub(super) fn encode_u64(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

pub(super) fn decode_u64(what: &'static str, bytes: &[u8]) -> Result<u64, DecodeError> {
    let value = <[u8; 8]>::try_from(bytes).map_err(|e| DecodeError::new(what, e))?;
    Ok(u64::from_be_bytes(value))
}

pub(super) fn encode_position(at: LogPosition) -> Vec<u8> {
    [at.index.to_be_bytes(), at.term.to_be_bytes()].concat()
}

pub(super) fn decode_position(what: &'static str, bytes: &[u8]) -> Result<LogPosition, DecodeError> {
    let (index, term) = bytes.split_at_checked(8).ok_or_else(|| DecodeError::new(what, "shorter than 16 bytes"))?;
    Ok(LogPosition { index: decode_u64(what, index)?, term: decode_u64(what, term)? })
}

pub(super) fn encode_proto(message: &impl protobuf::Message) -> Vec<u8> {
    // protobuf 2 fails here only for an unset required field or a message above 2 GiB: proto3 has none of the first,
    // and `max_entry_bytes` keeps us far from the second.
    message.write_to_bytes().unwrap_or_else(|e| unreachable!("encoding to memory: {e}"))
}

pub(super) fn decode_hard_state(bytes: &[u8]) -> Result<HardState, DecodeError> {
    decode_proto("hard state", bytes)
}

pub(super) fn decode_conf_state(bytes: &[u8]) -> Result<ConfState, DecodeError> {
    decode_proto("conf state", bytes)
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    decode_proto("log entry", bytes)
}

pub(super) fn decode_proto<M: protobuf::Message>(what: &'static str, bytes: &[u8]) -> Result<M, DecodeError> {
    M::parse_from_bytes(bytes).map_err(|e| DecodeError::new(what, e))
}

/// One version byte and postcard.
pub(super) fn encode_records<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, DecodeError> {
    postcard::to_extend(value, vec![RECORDS_VERSION]).map_err(|e| DecodeError::new("records", e))
}

/// The reverse of [`encode_records`]; bytes that are left over are an error.
pub(super) fn decode_records<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let rest = match bytes.split_first() {
        Some((&RECORDS_VERSION, rest)) => rest,
        Some((other, _)) => return Err(DecodeError::new("records", format!("version {other}, known is 1"))),
        None => return Err(DecodeError::new("records", "empty")),
    };
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Ok(value),
        Ok((_, left)) => Err(DecodeError::new("records", format!("{} bytes left over", left.len()))),
        Err(e) => Err(DecodeError::new("records", e)),
    }
}
