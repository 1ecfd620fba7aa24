//! Names and numbers of the domain. Every number with a unit is a type of its own, so that an offset is never
//! taken for a position or a count.

use std::fmt;

/// Longest name of a log, in bytes (Kafka's limit, behaviours M5).
pub const LOG_NAME_MAX: usize = 249;

/// Name of a log, what Kafka calls a topic. Only ever holds a legal name: 1..=249 of `[a-zA-Z0-9._-]`, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(std::sync::Arc<str>);

/// Why a log name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogIdError {
    /// No characters.
    #[error("a log name must not be empty")]
    Empty,
    /// `.` or `..`.
    #[error("a log must not be named '.' or '..'")]
    Dots,
    /// More than [`LOG_NAME_MAX`] characters.
    #[error("the log name has {length} characters, {LOG_NAME_MAX} are allowed")]
    TooLong {
        /// Length found, in bytes.
        length: usize,
    },
    /// A character outside `[a-zA-Z0-9._-]`.
    #[error("the log name contains {found:?} at position {position}; letters, digits, '.', '_' and '-' are allowed")]
    Character {
        /// The first illegal character.
        found: char,
        /// Its byte position.
        position: usize,
    },
}

impl LogId {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, LogIdError> {
        if name.is_empty() {
            return Err(LogIdError::Empty);
        }
        if name == "." || name == ".." {
            return Err(LogIdError::Dots);
        }
        if let Some((position, found)) =
            name.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        {
            return Err(LogIdError::Character { found, position });
        }
        if name.len() > LOG_NAME_MAX {
            return Err(LogIdError::TooLong { length: name.len() });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether metrics would confuse the two names: equal once `.` and `_` are the same character (behaviours M6).
    pub fn collides_with(&self, other: &Self) -> bool {
        let fold = |b: u8| if b == b'.' { b'_' } else { b };
        self.0.len() == other.0.len() && self.0.bytes().map(fold).eq(other.0.bytes().map(fold))
    }

    /// The name with `.` folded to `_`: two logs collide when these are equal.
    pub fn metric_name(&self) -> String {
        self.0.replace('.', "_")
    }

    /// Whether the log belongs to the broker itself (`__consumer_offsets`, `__transaction_state`).
    pub fn is_internal(&self) -> bool {
        matches!(self.as_str(), "__consumer_offsets" | "__transaction_state")
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for LogId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// 128-bit identity of a log; a log created again under the same name has another one (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The zero id, which on the wire means "none".
    pub const ZERO: Self = Self([0; 16]);

    /// Whether this is the zero id.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for TopicId {
    /// Kafka's spelling: URL-safe base64 without padding, 22 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// URL-safe base64 without padding, as Kafka prints 128-bit ids (cluster id, topic id, member id).
pub fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            let index = (word >> (18 - 6 * i)) & 0x3f;
            out.push(char::from(ALPHABET[index as usize]));
        }
    }
    out
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// Position of a record in its partition, in records from the partition's beginning. Never negative in state;
    /// -1 on the wire means "unset".
    LogOffset(i64)
);
number!(
    /// Generation of a partition's leadership (Kafka: leader epoch). Only ever rises.
    LeaderEpoch(i32)
);
number!(
    /// Number of a partition within its log, from 0.
    PartitionIndex(i32)
);
number!(
    /// Id of a broker. 0 is legal, -1 on the wire means "none".
    NodeId(i32)
);

impl LogOffset {
    /// The first offset of a log.
    pub const ZERO: Self = Self(0);
    /// The highest offset.
    pub const MAX: Self = Self(i64::MAX);

    /// An offset; [`Self::MAX`] above what offsets can be.
    pub const fn new(offset: u64) -> Self {
        if offset > i64::MAX.cast_unsigned() { Self::MAX } else { Self(offset.cast_signed()) }
    }
}

/// (epoch, offset): names one record position without ambiguity across failovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EpochOffset {
    /// Leadership in which the offset was assigned.
    pub epoch: LeaderEpoch,
    /// The offset.
    pub offset: LogOffset,
}
