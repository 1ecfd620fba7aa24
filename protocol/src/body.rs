//! Bodies of requests and answers: Kafka's, which `kafka_protocol` codes, and those of our own APIs.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};

/// What stands behind a header.
pub(crate) trait Body: Sized {
    fn size(&self, version: i16) -> Result<usize, String>;
    fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), String>;
    fn decode(version: i16, from: &mut Bytes) -> Result<Self, String>;
}

impl<T: Encodable + Decodable> Body for T {
    fn size(&self, version: i16) -> Result<usize, String> {
        self.compute_size(version).map_err(|error| error.to_string())
    }
    fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), String> {
        Encodable::encode(self, out, version).map_err(|error| error.to_string())
    }
    fn decode(version: i16, from: &mut Bytes) -> Result<Self, String> {
        Decodable::decode(from, version).map_err(|error| error.to_string())
    }
}
