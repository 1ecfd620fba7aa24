//! Request headers, versions 1 and 2, read by hand: an unknown key must be told from a broken header, and tagged
//! fields must not cost memory before anything is known of the peer (SE-02).
//!
//! Holds: tagged fields are skipped, not kept (C14); the header ends within its limit; correlation ids are echoed as
//! they came (C15). A client id that is not UTF-8 is repaired, as Java does it, not refused (C4).

use kafka_protocol::protocol::StrBytes;

use crate::api::{ApiKey, ApiSpec};
use crate::guard::{DecodeLimits, GuardError};

/// What a request says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The API.
    pub api: ApiKey,
    /// A version that is served.
    pub version: i16,
    /// To be echoed.
    pub correlation_id: i32,
    /// Null and empty are different.
    pub client_id: Option<StrBytes>,
}

/// Why a request was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The frame ends inside the header.
    #[error("the frame of {bytes} bytes ends inside the request header")]
    HeaderCut {
        /// Bytes of the frame.
        bytes: usize,
    },
    /// The header is larger than allowed.
    #[error("the request header has more than {limit} bytes or {tags} tagged fields")]
    HeaderTooLarge {
        /// Limit in bytes.
        limit: usize,
        /// Limit of tagged fields.
        tags: usize,
    },
    /// An API that is not offered (C9).
    #[error("API key {key} is not offered")]
    UnknownApi {
        /// The number.
        key: i16,
    },
    /// A version that is not served (C9).
    #[error("{api} v{version} is not offered, v{served} are")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version asked.
        version: i16,
        /// The versions served.
        served: crate::api::Versions,
    },
    /// ApiVersions in a version that is not served: answered, so that the client can ask again (C1, C2).
    #[error("ApiVersions v{version} is not offered; the client is told to ask again")]
    ApiVersionsVersion {
        /// The version asked.
        version: i16,
        /// To be echoed.
        correlation_id: i32,
    },
    /// The body contradicts itself or costs too much.
    #[error("{api} v{version}: {error}")]
    Guard {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What the guard found.
        error: GuardError,
    },
    /// The body passed the guard, but not the decoder (strings that are not UTF-8).
    #[error("{api} v{version} cannot be decoded: {detail}")]
    Body {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What the decoder says.
        detail: String,
    },
}

/// What a broker does about a request that it cannot decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Answer what was asked before, then close without a word.
    Close,
    /// Answer with [`crate::response::unsupported_api_versions`]; the connection stays usable.
    AnswerApiVersions {
        /// To be echoed.
        correlation_id: i32,
    },
}

impl DecodeError {
    /// What to do about it.
    pub fn reaction(&self) -> Reaction {
        match self {
            Self::ApiVersionsVersion { correlation_id, .. } => {
                Reaction::AnswerApiVersions { correlation_id: *correlation_id }
            }
            Self::HeaderCut { .. }
            | Self::HeaderTooLarge { .. }
            | Self::UnknownApi { .. }
            | Self::UnsupportedVersion { .. }
            | Self::Guard { .. }
            | Self::Body { .. } => Reaction::Close,
        }
    }
}

/// Reads the header of a frame; the second value is where the body starts.
pub fn read_head(frame: &[u8], limits: &DecodeLimits) -> Result<(RequestHead, usize), DecodeError> {
    let mut reader = Reader { rest: frame.get(..limits.header_bytes_max).unwrap_or(frame), frame, limits };
    let key = i16::from_be_bytes(reader.take()?);
    let version = i16::from_be_bytes(reader.take()?);
    let api = ApiKey::from_code(key).ok_or(DecodeError::UnknownApi { key })?;
    let spec = api.spec();
    if api != ApiKey::ApiVersions && !spec.served.contains(version) {
        return Err(DecodeError::UnsupportedVersion { api, version, served: spec.served });
    }
    let correlation_id = i32::from_be_bytes(reader.take()?);
    let client_id = reader.client_id()?;
    reader.tagged_fields(spec, version)?;
    if !spec.served.contains(version) {
        return Err(DecodeError::ApiVersionsVersion { version, correlation_id });
    }
    let body_at = reader.position();
    Ok((RequestHead { api, version, correlation_id, client_id }, body_at))
}

/// Over the frame's first `header_bytes_max` bytes.
struct Reader<'a> {
    rest: &'a [u8],
    frame: &'a [u8],
    limits: &'a DecodeLimits,
}

impl<'a> Reader<'a> {
    fn position(&self) -> usize {
        self.frame.len().min(self.limits.header_bytes_max) - self.rest.len()
    }

    /// Whether the frame or the limit ended.
    fn cut(&self) -> DecodeError {
        if self.frame.len() > self.limits.header_bytes_max {
            self.too_large()
        } else {
            DecodeError::HeaderCut { bytes: self.frame.len() }
        }
    }

    fn too_large(&self) -> DecodeError {
        DecodeError::HeaderTooLarge { limit: self.limits.header_bytes_max, tags: self.limits.tagged_fields_max }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.cut())?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.cut())?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Two bytes of length in both header versions; any negative length is null.
    fn client_id(&mut self) -> Result<Option<StrBytes>, DecodeError> {
        let Ok(length) = usize::try_from(i16::from_be_bytes(self.take()?)) else { return Ok(None) };
        let text = String::from_utf8_lossy(self.bytes(length)?).into_owned();
        Ok(Some(StrBytes::from_string(text)))
    }

    /// A version of ApiVersions above the newest has a header of the newest kind, a negative one the oldest (C2).
    fn tagged_fields(&mut self, spec: &ApiSpec, version: i16) -> Result<(), DecodeError> {
        if spec.request_header_version(version) < 2 {
            return Ok(());
        }
        let count = self.varint()?;
        if count > self.limits.tagged_fields_max {
            return Err(self.too_large());
        }
        for _ in 0..count {
            self.varint()?;
            let size = self.varint()?;
            self.bytes(size)?;
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<usize, DecodeError> {
        let mut value = 0u32;
        for i in 0..5 {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(usize::try_from(value).unwrap_or(usize::MAX));
            }
        }
        Err(self.cut())
    }
}

#[cfg(test)]
mod tests;
