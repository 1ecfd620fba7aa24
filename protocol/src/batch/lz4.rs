//! The LZ4 frame format as Kafka uses it: one frame, independent blocks, an end mark, nothing behind it.
//!
//! The frame is walked before the library sees it, because its decoder takes a frame without an end mark for a whole
//! one and stops at the first frame. Linked blocks are refused: Java consumers cannot read them, so storing them would
//! poison the partition for half of its readers.

use std::io::Write;

use super::codec::{Codec, CodecError, read_bounded};

const MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();
const UNCOMPRESSED_BIT: u32 = 1 << 31;

/// Flag byte of the frame descriptor.
struct Flags(u8);

impl Flags {
    fn version(&self) -> u8 {
        self.0 >> 6
    }
    fn independent_blocks(&self) -> bool {
        self.0 & 0x20 != 0
    }
    fn block_checksums(&self) -> bool {
        self.0 & 0x10 != 0
    }
    fn content_size(&self) -> bool {
        self.0 & 0x08 != 0
    }
    fn content_checksum(&self) -> bool {
        self.0 & 0x04 != 0
    }
    fn dictionary(&self) -> bool {
        self.0 & 0x01 != 0
    }
}

pub(super) fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, CodecError> {
    walk(data)?;
    read_bounded(Codec::Lz4, lz4_flex::frame::FrameDecoder::new(data), data.len(), limit)
}

/// Checks the frame's outline: descriptor, block lengths, end mark, nothing left over.
fn walk(data: &[u8]) -> Result<(), CodecError> {
    let rest = data.strip_prefix(&MAGIC).ok_or_else(|| bad("not an LZ4 frame"))?;
    let (flags, rest) = rest.split_first().ok_or_else(|| bad("the frame descriptor is cut"))?;
    let flags = Flags(*flags);
    if flags.version() != 1 || flags.dictionary() {
        return Err(bad("unsupported frame version or dictionary"));
    }
    if !flags.independent_blocks() {
        return Err(bad("blocks depend on each other, which Java consumers cannot read"));
    }
    // Block descriptor, optional content size, header checksum; the library checks their values.
    let descriptor = 1 + if flags.content_size() { 8 } else { 0 } + 1;
    let mut rest = rest.get(descriptor..).ok_or_else(|| bad("the frame descriptor is cut"))?;
    loop {
        let (word, after) = rest.split_first_chunk().ok_or_else(|| bad("the end mark is missing"))?;
        let word = u32::from_le_bytes(*word);
        if word == 0 {
            let trailer = if flags.content_checksum() { 4 } else { 0 };
            return if after.len() == trailer { Ok(()) } else { Err(bad("bytes are missing or left over at the end")) };
        }
        let length = usize::try_from(word & !UNCOMPRESSED_BIT).map_err(bad)?;
        if length == 0 {
            return Err(bad("a block is empty"));
        }
        let length = length.saturating_add(if flags.block_checksums() { 4 } else { 0 });
        rest = after.get(length..).ok_or_else(|| bad("a block is cut"))?;
    }
}

/// Independent blocks of 64 KiB, no checksums, no content size: what Java writes, and what all clients read.
pub(super) fn compress(data: &[u8]) -> Result<Vec<u8>, CodecError> {
    let shape = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(shape, Vec::new());
    encoder.write_all(data).map_err(failed)?;
    encoder.finish().map_err(failed)
}

fn bad(detail: impl std::fmt::Display) -> CodecError {
    CodecError::Undecodable { codec: Codec::Lz4, detail: detail.to_string() }
}

fn failed(detail: impl std::fmt::Display) -> CodecError {
    CodecError::Compress { codec: Codec::Lz4, detail: detail.to_string() }
}
