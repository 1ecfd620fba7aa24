use super::*;

const COMPRESSED: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn sample(bytes: usize) -> Vec<u8> {
    let mut draw = crate::Draw::new(7);
    (0..bytes).map(|i| if i % 7 < 3 { draw.next_u64() as u8 } else { (i / 64) as u8 }).collect()
}

fn undecodable(codec: Codec, data: &[u8]) -> bool {
    matches!(decompress(codec, data, 1 << 20), Err(CodecError::Undecodable { .. }))
}

#[test]
fn every_codec_round_trips() {
    for codec in COMPRESSED.into_iter().chain([Codec::None]) {
        for size in [0, 1, 100, 70_000, 300_000] {
            let data = sample(size);
            let packed = compress(Compression::of(codec), &data).unwrap();
            assert_eq!(decompress(codec, &packed, size).unwrap(), data, "{codec} {size}");
        }
        assert_eq!(Codec::from_bits(codec.bits()), Ok(codec));
    }
    assert_eq!(Codec::from_bits(5), Err(5));
}

#[test]
fn levels_are_used() {
    let data = sample(100_000);
    for (codec, low, high) in [(Codec::Gzip, 1, 9), (Codec::Zstd, -50, 19)] {
        let size = |level| compress(Compression { codec, level }, &data).unwrap().len();
        assert!(size(high) < size(low), "{codec}");
    }
    assert!(inflate_limit(0) == 16 << 20 && inflate_limit(10 << 20) == 200 << 20);
}

#[test]
fn se_04_a_bomb_stops_at_the_limit() {
    let zeros = vec![0; 2 << 20];
    for codec in COMPRESSED {
        let bomb = compress(Compression::of(codec), &zeros).unwrap();
        for limit in [0, 1, 65_536, zeros.len() - 1] {
            let limited = decompress(codec, &bomb, limit);
            assert_eq!(limited, Err(CodecError::TooLarge { codec, limit }), "{codec}");
        }
        assert_eq!(decompress(codec, &bomb, zeros.len()).unwrap().len(), zeros.len());
    }
    assert_eq!(decompress(Codec::None, &zeros, 5), Err(CodecError::TooLarge { codec: Codec::None, limit: 5 }));
}

#[test]
fn p12_cut_data_is_undecodable() {
    let data = sample(5_000);
    for codec in COMPRESSED {
        let packed = compress(Compression::of(codec), &data).unwrap();
        for cut in (1..packed.len()).step_by(7) {
            // Xerial streams may end after any block, which the record walk notices.
            let whole = codec == Codec::Snappy && cut == 16;
            assert!(whole || undecodable(codec, &packed[..cut]), "{codec} cut at {cut}");
        }
        assert!(undecodable(codec, b"not compressed at all"), "{codec}");
    }
}

#[test]
fn trailing_bytes_are_undecodable() {
    for codec in COMPRESSED {
        let mut packed = compress(Compression::of(codec), &sample(5_000)).unwrap();
        packed.extend_from_slice(&[1, 2, 3]);
        assert!(undecodable(codec, &packed), "{codec}");
    }
}

#[test]
fn se_05_flipped_bytes_never_panic_and_stay_in_the_limit() {
    let data = sample(3_000);
    let mut draw = crate::Draw::new(11);
    for codec in COMPRESSED {
        let packed = compress(Compression::of(codec), &data).unwrap();
        for _ in 0..3_000 {
            let mut bytes = packed.clone();
            for _ in 0..1 + draw.next_u64() % 4 {
                let at = draw.next_u64() as usize % bytes.len();
                bytes[at] = draw.next_u64() as u8;
            }
            if let Ok(out) = decompress(codec, &bytes, 1 << 16) {
                assert!(out.len() <= 1 << 16);
            }
        }
    }
}

#[test]
fn p14_snappy_raw_framed_and_glued() {
    let data = sample(50_000);
    let raw = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    assert_eq!(decompress(Codec::Snappy, &raw, data.len()).unwrap(), data);
    let framed = compress(Compression::of(Codec::Snappy), &data).unwrap();
    assert_eq!(framed[..16], [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    let glued = [&framed[..], &framed[..]].concat();
    assert_eq!(decompress(Codec::Snappy, &glued, 2 * data.len()).unwrap(), [&data[..], &data[..]].concat());
}

#[test]
fn se_05_snappy_length_header_is_not_believed() {
    // 4 GiB - 1 declared by five bytes.
    assert!(undecodable(Codec::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]));
    let lying = [&[0xff, 0xff, 0x3f][..], &[0; 40]].concat(); // 1 MiB - 1 in 43 bytes
    assert!(undecodable(Codec::Snappy, &lying));
}

#[test]
fn se_05_zstd_content_size_is_compared_with_the_limit() {
    let honest = zstd::bulk::compress(&[0; 100_000], 3).unwrap();
    assert_eq!(
        decompress(Codec::Zstd, &honest, 99_999),
        Err(CodecError::TooLarge { codec: Codec::Zstd, limit: 99_999 })
    );
    // Single segment, content size of 8 bytes: 2^62.
    let lying = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1u64 << 62).to_le_bytes(), &[1, 0, 0]].concat();
    let limit = 1 << 24;
    assert_eq!(decompress(Codec::Zstd, &lying, limit), Err(CodecError::TooLarge { codec: Codec::Zstd, limit }));
}

#[test]
fn zstd_streams_without_content_size_grow() {
    use std::io::Write;
    let data = vec![3; 5 << 20];
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 22).unwrap();
    encoder.write_all(&data).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(decompress(Codec::Zstd, &packed, 16 << 20).unwrap(), data);
}

#[test]
fn p14_lz4_frames_of_other_writers() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;
    let data = sample(200_000);
    let pack = |info: FrameInfo| {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&data).unwrap();
        encoder.finish().unwrap()
    };
    let plain = FrameInfo::new().block_mode(BlockMode::Independent);
    for info in [
        plain.clone(),
        plain.clone().block_size(BlockSize::Max4MB),
        plain.clone().block_checksums(true),
        plain.clone().content_checksum(true),
        plain.clone().content_size(Some(data.len() as u64)),
    ] {
        assert_eq!(decompress(Codec::Lz4, &pack(info), data.len()).unwrap(), data);
    }
    let linked = pack(plain.clone().block_mode(BlockMode::Linked));
    assert!(undecodable(Codec::Lz4, &linked), "Java consumers could not read it");
    let mut wrong = pack(plain.content_checksum(true));
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    assert!(undecodable(Codec::Lz4, &wrong));
}
