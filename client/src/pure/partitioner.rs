//! Which partition a key belongs to: Kafka's murmur2, so that keys land where Java, librdkafka (`murmur2_random`) and
//! franz-go put them. Every writer of a log has to agree on this, or the records of one key are spread over partitions.

/// Kafka's murmur2 of a key: 32 bits, seed `0x9747b28c`.
pub fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len() & 0xffff_ffff).unwrap_or(0); // Java's lengths have 31 bits
    let (words, tail) = key.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0u32, |rest, byte| (rest << 8) | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key in a log of so many partitions; 0 where there are none.
pub fn partition_of(key: &[u8], partition_count: u32) -> u32 {
    // Java clears the sign instead of taking the absolute value.
    (murmur2(key) & 0x7fff_ffff).checked_rem(partition_count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Kafka's own hash for keys of every length modulo 4.
    #[test]
    fn hashes_are_kafkas() {
        let known: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key).cast_signed(), hash, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn partitions_are_in_range_and_spread() {
        for count in [1, 2, 3, 7, 100] {
            let mut hits = vec![0u32; count as usize];
            for n in 0..10_000u32 {
                hits[partition_of(format!("user-{n}").as_bytes(), count) as usize] += 1;
            }
            let even = 10_000 / count;
            assert!(hits.iter().all(|hits| (even / 2..=even * 2).contains(hits)), "{hits:?}");
        }
        assert_eq!(partition_of(b"key", 0), 0);
    }
}
