//! The compression codecs of record batches, each with a bound while inflating (SE-04, SE-05).
//!
//! Holds: no declared size (snappy's length header, zstd's content size and window, LZ4's block size) is believed
//! before it is compared with the limit and with what the bytes at hand can possibly hold. Output never exceeds the limit.
//! Absent: checks of what was inflated; that is [`super::Records`]' work.

use std::io::{Read, Write};

use zstd::zstd_safe;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;

/// A compression codec, by its number in the batch attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Records stand there as they are.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks, raw or in xerial's framing (P14).
    Snappy,
    /// The LZ4 frame format with independent blocks.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

/// Why bytes could not be inflated or deflated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes are not what the codec's format demands.
    #[error("{codec} data cannot be decoded: {detail}")]
    Undecodable {
        /// The codec.
        codec: Codec,
        /// What its decoder says.
        detail: String,
    },
    /// There is more than the caller allows.
    #[error("{codec} data inflates to more than {limit} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The limit in bytes.
        limit: usize,
    },
    /// Compressing failed, which no input should make happen.
    #[error("compressing with {codec} failed: {detail}")]
    Compress {
        /// The codec.
        codec: Codec,
        /// What its encoder says.
        detail: String,
    },
}

/// A codec and its level, what `compression.type` and `compression.<codec>.level` of a log amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// gzip 1-9 (-1: the library's default), zstd -131072..=22. LZ4 and snappy have no levels here.
    pub level: i32,
}

impl Codec {
    /// The codec of attribute bits 0-2, or the unknown number.
    pub fn from_bits(bits: i16) -> Result<Self, i16> {
        Ok(match bits {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            unknown => return Err(unknown),
        })
    }

    /// Attribute bits 0-2.
    pub fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Name as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    fn undecodable(self, detail: impl std::fmt::Display) -> CodecError {
        CodecError::Undecodable { codec: self, detail: detail.to_string() }
    }

    fn failed(self, detail: impl std::fmt::Display) -> CodecError {
        CodecError::Compress { codec: self, detail: detail.to_string() }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Compression {
    /// A codec with Kafka's default level.
    pub fn of(codec: Codec) -> Self {
        let level = match codec {
            Codec::None | Codec::Snappy => 0,
            Codec::Gzip => -1,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
        };
        Self { codec, level }
    }
}

/// How far a batch of `compressed` bytes may inflate: 20 times its size, but at least 16 MiB.
pub fn inflate_limit(compressed: usize) -> usize {
    const FLOOR: usize = 16 << 20;
    compressed.saturating_mul(20).max(FLOOR)
}

/// Inflates `data` to at most `limit` bytes. Everything has to be consumed: trailing bytes are an error.
pub fn decompress(codec: Codec, data: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    match codec {
        Codec::None if data.len() > limit => Err(CodecError::TooLarge { codec, limit }),
        Codec::None => Ok(data.to_vec()),
        Codec::Gzip => gunzip(data, limit),
        Codec::Snappy => super::xerial::decompress(data, limit),
        Codec::Lz4 => super::lz4::decompress(data, limit),
        Codec::Zstd => unzstd(data, limit),
    }
}

/// Compresses `data`, in the framing that every client reads.
pub fn compress(with: Compression, data: &[u8]) -> Result<Vec<u8>, CodecError> {
    match with.codec {
        Codec::None => Ok(data.to_vec()),
        Codec::Gzip => gzip(data, with.level),
        Codec::Snappy => super::xerial::compress(data),
        Codec::Lz4 => super::lz4::compress(data),
        Codec::Zstd => zstd::bulk::compress(data, with.level).map_err(|e| Codec::Zstd.failed(e)),
    }
}

/// Room to begin with: what records usually inflate to, within the limit. Guessed from the bytes that are there.
pub(super) fn first_room(compressed: usize, limit: usize) -> usize {
    const RATIO_GUESS: usize = 4;
    compressed.saturating_mul(RATIO_GUESS).min(limit)
}

/// Reads a decoder of `compressed` bytes to its end, one byte past the limit at most.
pub(super) fn read_bounded(
    codec: Codec,
    from: impl Read,
    compressed: usize,
    limit: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(first_room(compressed, limit));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(bound).read_to_end(&mut out).map_err(|e| codec.undecodable(e))?;
    if out.len() > limit { Err(CodecError::TooLarge { codec, limit }) } else { Ok(out) }
}

fn gunzip(data: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    read_bounded(Codec::Gzip, flate2::bufread::MultiGzDecoder::new(data), data.len(), limit)
}

fn gzip(data: &[u8], level: i32) -> Result<Vec<u8>, CodecError> {
    let level = u32::try_from(level).map_or(flate2::Compression::default(), |l| flate2::Compression::new(l.min(9)));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(data).and_then(|()| encoder.finish()).map_err(|e| Codec::Gzip.failed(e))
}

/// Inflates in one shot, so that the output is its own window: a frame that declares a window of 128 MiB costs
/// nothing, and levels 20-22 still work. Java declares no content size: then the guess grows, up to the limit.
fn unzstd(data: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    const ROOM_MIN: usize = 64 << 10;
    let declared = zstd_safe::get_frame_content_size(data).map_err(|_| Codec::Zstd.undecodable("bad frame header"))?;
    if declared.is_some_and(|n| n > u64::try_from(limit).unwrap_or(u64::MAX)) {
        return Err(CodecError::TooLarge { codec: Codec::Zstd, limit });
    }
    let mut context =
        zstd_safe::DCtx::try_create().ok_or_else(|| Codec::Zstd.undecodable("no memory for a decoder"))?;
    let mut room = first_room(data.len(), limit).max(ROOM_MIN.min(limit));
    loop {
        let mut out = Vec::with_capacity(room);
        match context.decompress(&mut out, data) {
            Ok(_) if out.len() > limit => return Err(CodecError::TooLarge { codec: Codec::Zstd, limit }),
            Ok(_) => return Ok(out),
            Err(code) if !zstd_safe::is_error_kind(code, ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall) => {
                return Err(Codec::Zstd.undecodable(zstd_safe::get_error_name(code)));
            }
            Err(_) if room >= limit => return Err(CodecError::TooLarge { codec: Codec::Zstd, limit }),
            Err(_) => room = room.saturating_mul(4).min(limit),
        }
    }
}
