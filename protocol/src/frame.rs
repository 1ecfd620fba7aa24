//! Frames: four bytes of length, then that many bytes.
//!
//! Holds: a declared length reserves no memory; the buffer grows with what really arrived (SE-03). A length of zero,
//! below zero or above the limit ends the connection (C10), and common other protocols are named for the log.

use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length in front of a frame.
pub const LENGTH_BYTES: usize = 4;

/// Whatever is held for a frame as long as its memory is in use.
pub type Held = Arc<dyn Any + Send + Sync>;

/// A whole frame, without its length. Strings and records of its request are slices of it: what is held for it is let go of with
/// the last of them.
#[derive(Debug)]
pub struct Frame {
    bytes: BytesMut,
    held: Option<Held>,
}

impl Frame {
    /// A frame for which something is held.
    pub fn holding(bytes: BytesMut, held: Option<Held>) -> Self {
        Self { bytes, held }
    }

    /// Takes off what is in front of `at`.
    pub(crate) fn skip(&mut self, at: usize) {
        self.bytes.advance(at);
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// All of it, to be sliced.
    pub(crate) fn freeze(self) -> Bytes {
        match self.held {
            None => self.bytes.freeze(),
            Some(_) => Bytes::from_owner(self),
        }
    }
}

impl From<BytesMut> for Frame {
    fn from(bytes: BytesMut) -> Self {
        Self::holding(bytes, None)
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Zero or less.
    #[error("frame length is {found}, at least 1 is needed")]
    NotPositive {
        /// The declared length.
        found: i32,
    },
    /// Above the limit.
    #[error("frame length is {found}, socket.request.max.bytes={limit}")]
    TooLarge {
        /// The declared length.
        found: i32,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are the start of another protocol.
    #[error("the client speaks {protocol}; this port speaks the Kafka protocol without TLS")]
    Foreign {
        /// What it looks like.
        protocol: &'static str,
    },
}

/// Length of the frame that starts with these four bytes.
pub fn frame_length(prefix: [u8; LENGTH_BYTES], limit: usize) -> Result<usize, FrameError> {
    let found = i32::from_be_bytes(prefix);
    match usize::try_from(found) {
        Ok(length) if (1..=limit).contains(&length) => Ok(length),
        Ok(0) | Err(_) => Err(FrameError::NotPositive { found }),
        Ok(_) => Err(foreign(prefix).unwrap_or(FrameError::TooLarge { found, limit })),
    }
}

/// Names what people really send to this port, or what the port says that they took for one of Kafka; asked only for lengths that are refused anyway.
fn foreign(prefix: [u8; LENGTH_BYTES]) -> Option<FrameError> {
    let protocol = match &prefix {
        b"GET " | b"POST" | b"PUT " | b"HEAD" | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"PRI " | b"HTTP" => "HTTP",
        [0x16, 0x03, ..] => "TLS",
        b"SSH-" => "SSH",
        _ => return None,
    };
    Some(FrameError::Foreign { protocol })
}

/// Takes the next whole frame, without its length, off the front of what was received. `None`: more has to arrive.
/// Never reserves: the caller reads on with room of its own choice, and a peer that only declares costs nothing.
pub fn next_frame(received: &mut BytesMut, limit: usize) -> Result<Option<BytesMut>, FrameError> {
    let Some(prefix) = received.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = frame_length(*prefix, limit)?;
    if received.len() - LENGTH_BYTES < length {
        return Ok(None);
    }
    received.advance(LENGTH_BYTES);
    Ok(Some(received.split_to(length)))
}

#[cfg(test)]
mod tests;
