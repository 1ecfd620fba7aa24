//! Walks a request or answer body before `kafka_protocol` decodes it, because that decoder believes declared counts:
//! four bytes make it reserve gigabytes (SE-01).
//!
//! Holds after a passed walk: every count is at most what the remaining bytes can hold, every length lies inside the
//! body, tagged fields are few and exactly as long as they say (SE-02), and the memory that decoding will take is
//! below a small multiple of the frame. Negative nullable counts and lengths are rewritten to null in place, since
//! Kafka reads all of them so (C12) and the decoder does not.
//! Absent: UTF-8 and the meaning of any field. Bytes behind a complete body are not looked at (C13).

mod answers;
mod schema;
mod walk;

#[cfg(test)]
mod tests;

pub use walk::{GuardError, Usage};
pub(crate) use walk::{Kind, STRING_BYTES_MAX, Shape, field, shape};

use crate::api::ApiKey;

/// Bounds of what one request or answer may cost before it is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of a request header, client id and tagged fields included. Over it the connection is closed. Headers of
    /// answers have no strings: for them the number of tagged fields is the bound.
    pub header_bytes_max: usize,
    /// Tagged fields in one structure.
    pub tagged_fields_max: usize,
    /// Array items in one request or answer.
    pub items_max: usize,
    /// Bytes of memory for decoding that are always allowed.
    pub memory_base: usize,
    /// Bytes of memory for decoding per byte of the frame, on top of the base.
    pub memory_per_frame_byte: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            header_bytes_max: 8 << 10,
            tagged_fields_max: 64,
            items_max: 1_000_000,
            memory_base: 1 << 20,
            memory_per_frame_byte: 32,
        }
    }
}

/// Checks a request body and normalises its nulls; says what decoding it will take.
pub fn check_body(body: &mut [u8], api: ApiKey, version: i16, limits: &DecodeLimits) -> Result<Usage, GuardError> {
    let flexible = api.spec().is_flexible(version);
    walk::Walk::new(body, version, flexible, limits).run(schema::of(api))
}

/// The same for a message that need not be in the table, in a flexible version 0.
#[cfg(test)]
pub(crate) fn check_shape(body: &mut [u8], shape: &Shape, limits: &DecodeLimits) -> Result<Usage, GuardError> {
    walk::Walk::new(body, 0, true, limits).run(shape)
}

/// The same for the body of an answer; `None` where no client of ours asks.
pub fn check_answer(
    body: &mut [u8],
    api: ApiKey,
    version: i16,
    limits: &DecodeLimits,
) -> Option<Result<Usage, GuardError>> {
    let flexible = api.spec().is_flexible(version);
    answers::of(api).map(|shape| walk::Walk::new(body, version, flexible, limits).run(shape))
}

/// The same for the header of an answer, whose body follows at [`Usage::body_bytes`].
pub fn check_answer_head(
    frame: &mut [u8],
    api: ApiKey,
    version: i16,
    limits: &DecodeLimits,
) -> Result<Usage, GuardError> {
    let flexible = api.spec().response_header_version(version) > 0;
    walk::Walk::new(frame, version, flexible, limits).run(&answers::HEAD)
}
