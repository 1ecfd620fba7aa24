//! Fetch answers whose records stay where they are: the frame in pieces, with room for the records between them.
//!
//! Everything but the lengths of records is encoded by `kafka_protocol`; a test compares the pieces with its whole frames
//! in every version. Knows nothing of files.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::protocol::Encodable;

use crate::api::ApiKey;
use crate::frame::LENGTH_BYTES;
use crate::response::{EncodeError, fit_fetch};

/// Flexible encoding begins here.
const FLEXIBLE_FROM: i16 = 12;
const SESSIONS_FROM: i16 = 7;
const TOPIC_IDS_FROM: i16 = 13;

/// Encodes an answer whose partitions, in order, carry `records` bytes each; their own `records` are not looked at. Gives
/// one piece more than there are partitions with records: in front of each of them, and behind the last.
pub fn encode_fetch_pieces(
    correlation_id: i32,
    version: i16,
    mut response: FetchResponse,
    records: &[usize],
) -> Result<Vec<Bytes>, EncodeError> {
    let fail = |detail| EncodeError::Message { api: ApiKey::Fetch, version, detail };
    fit_fetch(&mut response, version);
    let topics = std::mem::take(&mut response.responses);
    let mut envelope = BytesMut::new();
    response.encode(&mut envelope, version).map_err(|e| fail(e.to_string()))?;
    let front = if version >= SESSIONS_FROM { 10 } else { 4 };
    let count = if version >= FLEXIBLE_FROM { 1 } else { 4 };
    let behind = envelope.split_off((front + count).min(envelope.len()));
    envelope.truncate(front);

    let mut out = Pieces { version, now: BytesMut::new(), pieces: Vec::new(), bytes: 0 };
    out.now.put_slice(&[0; LENGTH_BYTES]);
    out.now.put_i32(correlation_id);
    out.no_tags();
    out.now.put_slice(&envelope);
    out.count(topics.len());
    let mut records = records.iter().copied();
    for topic in topics {
        out.topic(topic, &mut records).map_err(fail)?;
    }
    out.now.put_slice(&behind);
    out.finish()
}

struct Pieces {
    version: i16,
    /// The piece in the making.
    now: BytesMut,
    pieces: Vec<Bytes>,
    /// Bytes of finished pieces and of records.
    bytes: usize,
}

impl Pieces {
    fn flexible(&self) -> bool {
        self.version >= FLEXIBLE_FROM
    }

    fn no_tags(&mut self) {
        if self.flexible() {
            self.now.put_u8(0);
        }
    }

    /// Length of an array or of bytes.
    fn count(&mut self, count: usize) {
        if self.flexible() {
            let mut rest = u32::try_from(count).unwrap_or(u32::MAX - 1).saturating_add(1);
            while rest >= 0x80 {
                self.now.put_u8(0x80 | (rest & 0x7f).to_le_bytes()[0]);
                rest >>= 7;
            }
            self.now.put_u8(rest.to_le_bytes()[0]);
        } else {
            self.now.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
        }
    }

    fn topic(
        &mut self,
        topic: FetchableTopicResponse,
        records: &mut impl Iterator<Item = usize>,
    ) -> Result<(), String> {
        if self.version >= TOPIC_IDS_FROM {
            self.now.put_slice(topic.topic_id.as_bytes());
        } else {
            let name = topic.topic.0.as_bytes();
            if self.flexible() {
                self.count(name.len());
            } else {
                self.now.put_i16(i16::try_from(name.len()).map_err(|_| "a topic name that is too long".to_owned())?);
            }
            self.now.put_slice(name);
        }
        self.count(topic.partitions.len());
        for part in topic.partitions {
            self.partition(part, records.next().unwrap_or_default())?;
        }
        self.no_tags();
        Ok(())
    }

    fn partition(&mut self, mut part: PartitionData, records: usize) -> Result<(), String> {
        part.records = Some(Bytes::new());
        part.encode(&mut self.now, self.version).map_err(|e| e.to_string())?;
        if records == 0 {
            return Ok(());
        }
        // The encoder has just written the length of no records, and behind it, in flexible versions, that no tagged field
        // follows: those exist only in answers without records.
        let written = if self.flexible() { 2 } else { 4 };
        let (rest, empty) = self.now.split_at(self.now.len().saturating_sub(written));
        if !(empty == [1, 0] || empty == [0; 4]) {
            return Err("tagged fields beside records".to_owned());
        }
        self.now.truncate(rest.len());
        self.count(records);
        let piece = self.now.split().freeze();
        self.bytes += piece.len() + records;
        self.pieces.push(piece);
        self.no_tags();
        Ok(())
    }

    /// The last piece, and the length of all in front of the first.
    fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let (api, version) = (ApiKey::Fetch, self.version);
        self.bytes += self.now.len();
        self.pieces.push(self.now.freeze());
        let bytes = self.bytes.saturating_sub(LENGTH_BYTES);
        let length = i32::try_from(bytes).map_err(|_| EncodeError::TooLarge { api, version, bytes })?;
        if let Some(first) = self.pieces.first_mut() {
            let mut head = BytesMut::from(std::mem::take(first));
            if let Some(prefix) = head.first_chunk_mut() {
                *prefix = length.to_be_bytes();
            }
            *first = head.freeze();
        }
        Ok(self.pieces)
    }
}

#[cfg(test)]
mod tests;
