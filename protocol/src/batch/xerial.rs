//! Snappy in the two shapes that producers send (P14): one raw block, or xerial's framing (a 16-byte header, then
//! blocks with a 4-byte big-endian length), which Java writes and every client reads.

use super::codec::{Codec, CodecError, first_room};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
/// Java's block size.
const BLOCK_BYTES: usize = 32 << 10;
/// A copy element of 3 bytes yields at most 64: no honest block inflates further.
const RATIO_MAX: usize = 22;

pub(super) fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(first_room(data.len(), limit));
    if !data.starts_with(&MAGIC) {
        block(data, limit, &mut out)?;
        return Ok(out);
    }
    let mut rest = data;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            // Java's reader accepts streams that were glued together.
            rest = rest.get(HEADER_BYTES..).ok_or_else(|| bad("the stream header is cut"))?;
            continue;
        }
        let (length, after) = rest.split_first_chunk().ok_or_else(|| bad("a block length is cut"))?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| bad("a block length is negative"))?;
        let (bytes, after) = after.split_at_checked(length).ok_or_else(|| bad("a block is cut"))?;
        block(bytes, limit, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn block(bytes: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let declared = snap::raw::decompress_len(bytes).map_err(bad)?;
    if declared > bytes.len().saturating_mul(RATIO_MAX) {
        return Err(bad("a block declares more than its bytes can hold"));
    }
    let start = out.len();
    if declared > limit.saturating_sub(start) {
        return Err(CodecError::TooLarge { codec: Codec::Snappy, limit });
    }
    out.resize(start + declared, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new().decompress(bytes, room).map_err(bad)?;
    Ok(())
}

pub(super) fn compress(data: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(HEADER_BYTES + data.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1i32.to_be_bytes()); // version
    out.extend_from_slice(&1i32.to_be_bytes()); // oldest compatible version
    let mut encoder = snap::raw::Encoder::new();
    for chunk in data.chunks(BLOCK_BYTES) {
        let block = encoder.compress_vec(chunk).map_err(failed)?;
        let length = i32::try_from(block.len()).map_err(failed)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&block);
    }
    Ok(out)
}

fn bad(detail: impl std::fmt::Display) -> CodecError {
    CodecError::Undecodable { codec: Codec::Snappy, detail: detail.to_string() }
}

fn failed(detail: impl std::fmt::Display) -> CodecError {
    CodecError::Compress { codec: Codec::Snappy, detail: detail.to_string() }
}
