//! Record batches written byte by byte, so that any field can be wrong on purpose, and read back strictly.
//!
//! Knows nothing of the broker's own code: a mistake there must not be repeated here.

use std::io::{Read, Write};

use bytes::BufMut;

/// How the records of a batch are compressed; the number is the codec of the attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// One raw block.
    Snappy = 2,
    /// Frame format.
    Lz4 = 3,
    /// RFC 8878.
    Zstd = 4,
    /// Blocks with the header that Java writes; codec 2 on the wire.
    SnappyXerial = 102,
}

impl Codec {
    /// The number in the attributes.
    pub fn id(self) -> i16 {
        self as i16 % 100
    }

    /// Compresses a whole records section.
    pub fn compress(self, raw: &[u8]) -> Vec<u8> {
        match self {
            Codec::None => raw.to_vec(),
            Codec::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(raw).expect("gzip");
                encoder.finish().expect("gzip")
            }
            Codec::Snappy => snap::raw::Encoder::new().compress_vec(raw).expect("snappy"),
            Codec::SnappyXerial => xerial(raw),
            Codec::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(raw).expect("lz4");
                encoder.finish().expect("lz4")
            }
            Codec::Zstd => zstd::encode_all(raw, 3).expect("zstd"),
        }
    }

    /// The opposite, for a codec number found in a batch.
    pub fn decompress(id: i16, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match id {
            0 => out.extend_from_slice(bytes),
            1 => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).expect("gzip")),
            2 if bytes.starts_with(XERIAL_MAGIC) => out = xerial_decode(bytes),
            2 => out = snap::raw::Decoder::new().decompress_vec(bytes).expect("snappy"),
            3 => drop(lz4_flex::frame::FrameDecoder::new(bytes).read_to_end(&mut out).expect("lz4")),
            4 => out = zstd::decode_all(bytes).expect("zstd"),
            other => panic!("codec {other}"),
        }
        out
    }
}

const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";

fn xerial(raw: &[u8]) -> Vec<u8> {
    let mut out = XERIAL_MAGIC.to_vec();
    out.put_i32(1);
    out.put_i32(1);
    for chunk in raw.chunks(32 * 1024) {
        let block = snap::raw::Encoder::new().compress_vec(chunk).expect("snappy");
        out.put_i32(block.len() as i32);
        out.put_slice(&block);
    }
    out
}

fn xerial_decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reader = Reader(&bytes[16..]);
    while !reader.0.is_empty() {
        let length = reader.i32() as usize;
        out.extend(snap::raw::Decoder::new().decompress_vec(reader.take(length)).expect("snappy"));
    }
    out
}

/// One record; `raw` replaces all of it, length included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Unused by Kafka.
    pub attributes: i8,
    /// Milliseconds after the batch's first timestamp.
    pub timestamp_delta: i64,
    /// `None`: its position in the batch.
    pub offset_delta: Option<i32>,
    /// `None` is null.
    pub key: Option<Vec<u8>>,
    /// `None` is null, a tombstone.
    pub value: Option<Vec<u8>>,
    /// Name and value.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Written as it is instead of all the above.
    pub raw: Option<Vec<u8>>,
}

impl Record {
    /// Null key, this value.
    pub fn of(value: &str) -> Record {
        Record { value: Some(value.as_bytes().to_vec()), ..Record::default() }
    }

    /// Key and value.
    pub fn keyed(key: &str, value: &str) -> Record {
        Record { key: Some(key.as_bytes().to_vec()), ..Record::of(value) }
    }

    /// With this timestamp delta.
    #[must_use]
    pub fn at(mut self, timestamp_delta: i64) -> Record {
        self.timestamp_delta = timestamp_delta;
        self
    }

    /// With this offset delta.
    #[must_use]
    pub fn delta(mut self, offset_delta: i32) -> Record {
        self.offset_delta = Some(offset_delta);
        self
    }

    fn encode(&self, position: i32) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut body = Vec::new();
        body.put_i8(self.attributes);
        put_varlong(&mut body, self.timestamp_delta);
        put_varlong(&mut body, i64::from(self.offset_delta.unwrap_or(position)));
        put_bytes(&mut body, self.key.as_deref());
        put_bytes(&mut body, self.value.as_deref());
        put_varlong(&mut body, self.headers.len() as i64);
        for (name, value) in &self.headers {
            put_bytes(&mut body, Some(name));
            put_bytes(&mut body, value.as_deref());
        }
        with_length(&body)
    }
}

/// A record body with its varint length in front: for records that are wrong inside.
pub fn with_length(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varlong(&mut out, body.len() as i64);
    out.extend_from_slice(body);
    out
}

/// Zig-zag varint, as records use it.
pub fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_varlong(out, -1),
    }
}

/// A batch to be sent. `None` in a field means: what is right for the records.
#[derive(Clone, Debug)]
pub struct Batch {
    /// 0 from a producer.
    pub base_offset: i64,
    /// Bytes after this field.
    pub length: Option<i32>,
    /// -1 from a producer.
    pub leader_epoch: i32,
    /// 2.
    pub magic: i8,
    /// CRC-32C from the attributes on.
    pub crc: Option<u32>,
    /// Other bits than the codec's.
    pub attributes: i16,
    /// Compresses, and goes into the attributes.
    pub codec: Codec,
    /// Offset of the last record, relative.
    pub last_offset_delta: Option<i32>,
    /// Milliseconds since 1970.
    pub first_timestamp: i64,
    /// Milliseconds since 1970.
    pub max_timestamp: Option<i64>,
    /// -1: not idempotent.
    pub producer_id: i64,
    /// -1: not idempotent.
    pub producer_epoch: i16,
    /// -1: not idempotent.
    pub base_sequence: i32,
    /// Number of records.
    pub count: Option<i32>,
    /// The records.
    pub records: Vec<Record>,
    /// Written as it is instead of the (compressed) records.
    pub payload: Option<Vec<u8>>,
}

impl Batch {
    /// A correct batch of these records, stamped now.
    pub fn new(records: Vec<Record>) -> Batch {
        Batch {
            base_offset: 0,
            length: None,
            leader_epoch: -1,
            magic: 2,
            crc: None,
            attributes: 0,
            codec: Codec::None,
            last_offset_delta: None,
            first_timestamp: crate::now_ms(),
            max_timestamp: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: None,
            records,
            payload: None,
        }
    }

    /// `count` records with values `<prefix>-0`, `<prefix>-1`, …
    pub fn of(prefix: &str, count: usize) -> Batch {
        Batch::new((0..count).map(|i| Record::of(&format!("{prefix}-{i}"))).collect())
    }

    /// Changes fields in place: `Batch::of("a", 1).with(|b| b.magic = 1)`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Batch)) -> Batch {
        change(&mut self);
        self
    }

    /// With these producer fields.
    #[must_use]
    pub fn producer(self, id: i64, epoch: i16, sequence: i32) -> Batch {
        self.with(|b| {
            b.producer_id = id;
            b.producer_epoch = epoch;
            b.base_sequence = sequence;
        })
    }

    /// Compressed.
    #[must_use]
    pub fn codec(self, codec: Codec) -> Batch {
        self.with(|b| b.codec = codec)
    }

    /// With this first timestamp.
    #[must_use]
    pub fn stamped(self, first_timestamp: i64) -> Batch {
        self.with(|b| b.first_timestamp = first_timestamp)
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut checked = Vec::new();
        checked.put_i16(self.attributes | self.codec.id());
        checked.put_i32(self.last_offset_delta.unwrap_or(self.records.len() as i32 - 1));
        checked.put_i64(self.first_timestamp);
        checked.put_i64(self.max_timestamp.unwrap_or_else(|| self.latest()));
        checked.put_i64(self.producer_id);
        checked.put_i16(self.producer_epoch);
        checked.put_i32(self.base_sequence);
        checked.put_i32(self.count.unwrap_or(self.records.len() as i32));
        checked.put_slice(&self.payload.clone().unwrap_or_else(|| self.codec.compress(&self.raw_records())));

        let mut out = Vec::new();
        out.put_i64(self.base_offset);
        out.put_i32(self.length.unwrap_or(checked.len() as i32 + 9));
        out.put_i32(self.leader_epoch);
        out.put_i8(self.magic);
        out.put_u32(self.crc.unwrap_or_else(|| crc32c::crc32c(&checked)));
        out.put_slice(&checked);
        out
    }

    /// The records, not compressed.
    pub fn raw_records(&self) -> Vec<u8> {
        (0..).zip(&self.records).flat_map(|(i, r)| r.encode(i)).collect()
    }

    fn latest(&self) -> i64 {
        self.records.iter().map(|r| self.first_timestamp + r.timestamp_delta).max().unwrap_or(self.first_timestamp)
    }
}

/// A batch as a broker returned it.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// 2.
    pub magic: i8,
    /// As stored; [`parse`] has compared it with the bytes.
    pub crc: u32,
    /// Codec, timestamp type and the rest.
    pub attributes: i16,
    /// Offset of the last record, relative.
    pub last_offset_delta: i32,
    /// Milliseconds since 1970.
    pub first_timestamp: i64,
    /// Milliseconds since 1970.
    pub max_timestamp: i64,
    /// -1: not idempotent.
    pub producer_id: i64,
    /// -1: not idempotent.
    pub producer_epoch: i16,
    /// -1: not idempotent.
    pub base_sequence: i32,
    /// Number of records.
    pub count: i32,
    /// Decompressed records.
    pub records: Vec<Record>,
    /// All its bytes.
    pub bytes: Vec<u8>,
}

impl StoredBatch {
    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The values, lossily as text.
    pub fn values(&self) -> Vec<String> {
        self.records
            .iter()
            .map(|r| r.value.as_deref().map_or("null".to_owned(), |v| String::from_utf8_lossy(v).into_owned()))
            .collect()
    }
}

/// The whole batches of a fetched records section; a cut one at the end is dropped, as clients do.
pub fn parse(bytes: &[u8]) -> Vec<StoredBatch> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 12 {
        let length = 12 + Reader(&rest[8..]).i32() as usize;
        if rest.len() < length {
            break;
        }
        out.push(parse_one(&rest[..length]));
        rest = &rest[length..];
    }
    out
}

fn parse_one(bytes: &[u8]) -> StoredBatch {
    let mut r = Reader(bytes);
    let base_offset = r.i64();
    r.i32();
    let leader_epoch = r.i32();
    let magic = r.take(1)[0] as i8;
    let crc = r.i32() as u32;
    assert_eq!(crc, crc32c::crc32c(r.0), "CRC of the stored batch at {base_offset}");
    let attributes = r.i16();
    let last_offset_delta = r.i32();
    let first_timestamp = r.i64();
    let max_timestamp = r.i64();
    let producer_id = r.i64();
    let producer_epoch = r.i16();
    let base_sequence = r.i32();
    let count = r.i32();
    let raw = Codec::decompress(attributes & 7, r.0);
    let mut section = Reader(&raw);
    let records = (0..count).map(|_| section.record()).collect();
    assert!(section.0.is_empty(), "bytes after the last record of the batch at {base_offset}");
    StoredBatch {
        base_offset,
        leader_epoch,
        magic,
        crc,
        attributes,
        last_offset_delta,
        first_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        count,
        records,
        bytes: bytes.to_vec(),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(n);
        self.0 = tail;
        head
    }

    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().expect("2 bytes"))
    }

    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("4 bytes"))
    }

    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("8 bytes"))
    }

    fn varlong(&mut self) -> i64 {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (value >> 1) as i64 ^ -((value & 1) as i64)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.varlong();
        (length >= 0).then(|| self.take(length as usize).to_vec())
    }

    fn record(&mut self) -> Record {
        let length = self.varlong() as usize;
        let mut body = Reader(self.take(length));
        let attributes = body.take(1)[0] as i8;
        let timestamp_delta = body.varlong();
        let offset_delta = Some(body.varlong() as i32);
        let key = body.bytes();
        let value = body.bytes();
        let headers = (0..body.varlong()).map(|_| (body.bytes().expect("a header name"), body.bytes())).collect();
        assert!(body.0.is_empty(), "bytes after the headers of a record");
        Record { attributes, timestamp_delta, offset_delta, key, value, headers, raw: None }
    }
}
