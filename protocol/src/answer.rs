//! Reads the answers of a broker, behind the same guard as requests: a broker that lies about counts and lengths, or a
//! proxy that cuts an answer, costs a client an error and no memory (SE-15).
//!
//! Absent: which answer belongs to which request. Answers come in the order of the requests, and the caller compares the
//! correlation id.

use bytes::BytesMut;

use crate::api::ApiKey;
use crate::guard::{DecodeLimits, GuardError, check_answer, check_answer_head};
use crate::response::Response;

/// Why an answer was not understood. The connection it came over is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The header ends early, or has more tagged fields than allowed.
    #[error("the header of the answer to {api} v{version}: {error}")]
    Head {
        /// The API that was asked.
        api: ApiKey,
        /// The version that was asked.
        version: i16,
        /// What the guard found.
        error: GuardError,
    },
    /// The body contradicts itself or costs too much.
    #[error("the answer to {api} v{version}: {error}")]
    Guard {
        /// The API that was asked.
        api: ApiKey,
        /// The version that was asked.
        version: i16,
        /// What the guard found.
        error: GuardError,
    },
    /// The body passed the guard, but not the decoder (strings that are not UTF-8).
    #[error("the answer to {api} v{version} cannot be decoded: {detail}")]
    Body {
        /// The API that was asked.
        api: ApiKey,
        /// The version that was asked.
        version: i16,
        /// What the decoder says.
        detail: String,
    },
    /// No client of ours asks this.
    #[error("answers to {api} are not read here")]
    NotRead {
        /// The API that was asked.
        api: ApiKey,
    },
}

/// Decodes an answer (without its length) to a request of this API and version; the first value is its correlation id.
/// Takes the frame whole, because records are handed on as slices of it. Surplus bytes behind the body are ignored (C13).
pub fn read_answer(
    mut frame: BytesMut,
    api: ApiKey,
    version: i16,
    limits: &DecodeLimits,
) -> Result<(i32, Response), AnswerError> {
    let head = check_answer_head(&mut frame, api, version, limits);
    let head = head.map_err(|error| AnswerError::Head { api, version, error })?;
    let mut body = frame.split_off(head.body_bytes);
    // The guard has seen that these four bytes are there.
    let correlation_id = frame.first_chunk().copied().map_or(0, i32::from_be_bytes);
    check_answer(&mut body, api, version, limits)
        .ok_or(AnswerError::NotRead { api })?
        .map_err(|error| AnswerError::Guard { api, version, error })?;
    let response = Response::decode_body(api, version, &mut body.freeze());
    response.map(|response| (correlation_id, response)).map_err(|detail| AnswerError::Body { api, version, detail })
}

#[cfg(test)]
mod tests;
