//! When a log was created: a tagged field (KIP-482) of our own in Metadata, because Kafka has no field for it.
//!
//! Holds: nobody is told who did not ask; to everybody else an answer is Kafka's to the byte. Who does not know the field
//! skips it, a broker in a request as a client in an answer.

use bytes::Bytes;
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;

use crate::values::WallMs;

/// The tag, in the request (without a value) and for each topic of the answer (milliseconds since 1970, 64 bits big-endian).
/// Kafka counts its own up from 0. Metadata has tagged fields from version 9 on.
pub const CREATED_TAG: i32 = 0x5059;

/// The request, which also asks when each log was created.
#[must_use]
pub fn ask_created(request: MetadataRequest) -> MetadataRequest {
    request.with_unknown_tagged_field(CREATED_TAG, Bytes::new())
}

/// Whether a request asks for it.
pub fn is_created_asked(request: &MetadataRequest) -> bool {
    request.unknown_tagged_fields.contains_key(&CREATED_TAG)
}

/// Tells it.
pub fn tell_created(topic: &mut MetadataResponseTopic, created: WallMs) {
    topic.unknown_tagged_fields.insert(CREATED_TAG, Bytes::copy_from_slice(&created.0.to_be_bytes()));
}

/// What is told of a topic; `None` where nothing is, or nothing that makes sense.
pub fn created_of(topic: &MetadataResponseTopic) -> Option<WallMs> {
    let value = topic.unknown_tagged_fields.get(&CREATED_TAG)?;
    <[u8; 8]>::try_from(value.as_ref()).ok().map(i64::from_be_bytes).map(WallMs)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::MetadataResponse;
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::*;

    fn over_the_wire<M: Encodable + Decodable>(message: &M, version: i16) -> M {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes, version).unwrap();
        M::decode(&mut bytes.freeze(), version).unwrap()
    }

    #[test]
    fn it_travels_where_there_are_tagged_fields_and_is_left_out_elsewhere() {
        let asked = ask_created(MetadataRequest::default());
        let mut topic = MetadataResponseTopic::default();
        tell_created(&mut topic, WallMs(1_795_000_000_123));
        let told = MetadataResponse::default().with_topics(vec![topic]);
        for version in [8, 9, 12, 13] {
            let flexible = version >= 9;
            assert_eq!(is_created_asked(&over_the_wire(&asked, version)), flexible, "{version}");
            let found = created_of(&over_the_wire(&told, version).topics[0]);
            assert_eq!(found, flexible.then_some(WallMs(1_795_000_000_123)), "{version}");
        }
        assert!(!is_created_asked(&over_the_wire(&MetadataRequest::default(), 12)));
    }

    #[test]
    fn se_15_a_value_that_is_no_time_is_none() {
        for length in [0, 7, 9] {
            let topic = MetadataResponseTopic::default().with_unknown_tagged_field(CREATED_TAG, vec![1; length].into());
            assert_eq!(created_of(&topic), None, "{length}");
        }
    }
}
