//! Pyralog's own APIs, by their bytes: no code of the broker's helps to write or to read them. All are flexible, version 0.

use bytes::BufMut;

use crate::Conn;

/// The first key of the block.
pub const FIRST_KEY: i16 = 30_720;
/// How far VLSN logs are.
pub const VLSN_DESCRIBE: i16 = FIRST_KEY;
/// Records by VLSN.
pub const VLSN_READ: i16 = FIRST_KEY + 1;
/// Records in the order of VLSNs.
pub const VLSN_READ_RANGE: i16 = FIRST_KEY + 2;
/// Appends under a condition.
pub const VLSN_APPEND: i16 = FIRST_KEY + 3;
/// A consumer is done up to a VLSN.
pub const VLSN_COMMIT: i16 = FIRST_KEY + 4;
/// How far consumers are.
pub const VLSN_COMMITTED: i16 = FIRST_KEY + 5;
/// Forgets how far a consumer is.
pub const VLSN_DELETE_COMMIT: i16 = FIRST_KEY + 6;
/// Takes numbers.
pub const SEQUENCER_RESERVE: i16 = FIRST_KEY + 7;
/// How far sequencers are.
pub const SEQUENCER_DESCRIBE: i16 = FIRST_KEY + 8;
/// Who may write a log.
pub const WRITER_EPOCH: i16 = FIRST_KEY + 9;

/// A body in the making.
#[derive(Clone, Debug, Default)]
pub struct Body(Vec<u8>);

impl Body {
    /// Nothing yet.
    pub fn new() -> Body {
        Body::default()
    }

    /// A number of 8 bits.
    pub fn i8(mut self, n: i8) -> Body {
        self.0.put_i8(n);
        self
    }

    /// A number of 32 bits.
    pub fn i32(mut self, n: i32) -> Body {
        self.0.put_i32(n);
        self
    }

    /// A number of 64 bits.
    pub fn i64(mut self, n: i64) -> Body {
        self.0.put_i64(n);
        self
    }

    /// Bytes.
    pub fn blob(self, bytes: &[u8]) -> Body {
        let mut body = self.length(bytes.len());
        body.0.put_slice(bytes);
        body
    }

    /// An unsigned number of 64 bits.
    pub fn u64(mut self, n: u64) -> Body {
        self.0.put_u64(n);
        self
    }

    /// Yes or no.
    pub fn flag(mut self, yes: bool) -> Body {
        self.0.put_u8(u8::from(yes));
        self
    }

    /// A text.
    pub fn text(self, text: &str) -> Body {
        let mut body = self.length(text.len());
        body.0.put_slice(text.as_bytes());
        body
    }

    /// A text or an array that is null.
    pub fn null(mut self) -> Body {
        self.0.put_u8(0);
        self
    }

    /// A text or null.
    pub fn maybe(self, text: Option<&str>) -> Body {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// An array; each item ends itself.
    pub fn array<T>(self, items: &[T], item: impl Fn(Body, &T) -> Body) -> Body {
        items.iter().fold(self.length(items.len()), item)
    }

    /// An array or null.
    pub fn maybe_texts(self, items: Option<&[&str]>) -> Body {
        match items {
            Some(items) => self.array(items, |body, text| body.text(text)),
            None => self.null(),
        }
    }

    /// The end of a structure: no tagged fields.
    pub fn end(mut self) -> Body {
        self.0.put_u8(0);
        self
    }

    /// Length or count, as a varint of one more.
    pub fn length(mut self, length: usize) -> Body {
        let mut rest = length + 1;
        while rest >= 0x80 {
            self.0.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.put_u8(rest as u8);
        self
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// An answer that is read from its beginning on. What is left over when it goes away fails the test.
#[derive(Debug)]
pub struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes[self.at..][..N].try_into().expect("as many bytes");
        self.at += N;
        taken
    }

    /// A number of 8 bits.
    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.take())
    }

    /// An id.
    pub fn uuid(&mut self) -> [u8; 16] {
        self.take()
    }

    /// Bytes or null.
    pub fn blob(&mut self) -> Option<Vec<u8>> {
        let length = self.length()?;
        let bytes = self.bytes[self.at..][..length].to_vec();
        self.at += length;
        Some(bytes)
    }

    /// A number of 16 bits.
    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    /// A number of 32 bits.
    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    /// A number of 64 bits.
    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    /// An unsigned number of 64 bits.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.take())
    }

    fn length(&mut self) -> Option<usize> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let [byte] = self.take();
            value |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value.checked_sub(1);
            }
        }
    }

    /// A text or null.
    pub fn maybe(&mut self) -> Option<String> {
        let length = self.length()?;
        let text = self.bytes[self.at..][..length].to_vec();
        self.at += length;
        Some(String::from_utf8(text).expect("UTF-8"))
    }

    /// A text.
    pub fn text(&mut self) -> String {
        self.maybe().expect("a text that is not null")
    }

    /// An array of structures; each item is read up to its end.
    pub fn array<T>(&mut self, mut item: impl FnMut(&mut Answer) -> T) -> Vec<T> {
        let count = self.length().expect("an array that is not null");
        (0..count)
            .map(|_| {
                let found = item(self);
                self.end();
                found
            })
            .collect()
    }

    /// The end of a structure.
    pub fn end(&mut self) {
        assert_eq!(self.take(), [0], "no tagged fields");
    }

    /// The end of the answer.
    pub fn done(mut self) {
        self.end();
        assert_eq!(self.at, self.bytes.len(), "bytes left over in {:02x?}", self.bytes);
    }
}

impl Conn {
    /// Asks, and reads the answer up to its throttle time, which is always 0.
    pub fn ask_private(&mut self, key: i16, body: &Body) -> Answer {
        let correlation = self.send_raw_request(key, 0, 2, body.bytes());
        let mut answer = Answer { bytes: self.receive_frame(), at: 0 };
        assert_eq!(answer.i32(), correlation);
        answer.end();
        assert_eq!(answer.i32(), 0, "throttle time");
        answer
    }
}
