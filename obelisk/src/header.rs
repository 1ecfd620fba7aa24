//! The page that says what a counter is and where it stands: the first 4 KiB of its file, or, for the file-size strategy,
//! the file beside it.
//!
//! ```text
//!    0  head, copy A    512  mark, copy A
//! 1024  head, copy B   1536  mark, copy B      the rest is zero
//! ```
//!
//! The *head* is written when the counter is created, and when it is adopted. The *mark* is written as the counter goes
//! on. Everything is a sector of 512 bytes with a CRC-32C of its own. Disks write sectors whole; should one be torn or rot
//! all the same, the other copy says the same, or what was true before a write that nobody relied on yet. It is replaced
//! before anything else is written, so that the next accident finds two good copies again. If both are bad, the counter is
//! refused: nothing is guessed.

use std::io;

use crate::StrategyKind;
use crate::disk::{DiskFile, Identity};

pub(crate) const PAGE: u64 = 4096;
const SECTOR: usize = 512;
const VERSION: u16 = 1;
const HEAD_MAGIC: [u8; 8] = *b"OBELISKh";
const MARK_MAGIC: [u8; 8] = *b"OBELISKm";
const COPIES: [u64; 2] = [0, 1024];

type Sector = [u8; SECTOR];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) strategy: StrategyKind,
    /// Block factor or capacity; 0 where there is neither.
    pub(crate) parameter: u64,
    /// The first value, where the strategy has to know it.
    pub(crate) base: u64,
    pub(crate) identity: Identity,
}

/// Where the counter stands. The later of two marks is the one with the higher `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// 0 until the ceiling is raised for the first time.
    pub(crate) seq: u64,
    /// Every value that may have been handed out is below this.
    pub(crate) ceiling: u64,
    /// Closed: the value to go on with. Otherwise: at most that value.
    pub(crate) next: u64,
    /// Whether this was the last thing that a session wrote.
    pub(crate) closed: bool,
}

impl Mark {
    pub(crate) fn first(base: u64) -> Self {
        Self { seq: 0, ceiling: base, next: base, closed: true }
    }

    /// Nothing that was handed out reaches this.
    pub(crate) fn end(&self) -> u64 {
        if self.closed { self.next } else { self.ceiling }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) head: Head,
    pub(crate) mark: Mark,
}

#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    Damaged(String),
}

/// Reads the header; writes and syncs again what is bad of it and has a good copy.
pub(crate) fn read(file: &impl DiskFile) -> Result<Header, ReadError> {
    let mut page = [0; 4 * SECTOR];
    file.read_at(&mut page, 0).map_err(|error| match error.kind() == io::ErrorKind::UnexpectedEof {
        true => ReadError::Damaged("the header is cut, or this is not a counter".to_owned()),
        false => ReadError::Io(error),
    })?;
    let [head_a, mark_a, head_b, mark_b] = [0, 1, 2, 3].map(|n| sector(&page, n));
    let heads = [decode_head(&head_a), decode_head(&head_b)].map(Result::transpose);
    let marks = [mark_a, mark_b].map(|bytes| decode_mark(&bytes));
    let is_whole = heads.iter().all(Option::is_some) && marks.iter().all(Option::is_some);
    // An adoption writes copy A first, so that it counts.
    let head = heads.into_iter().flatten().next();
    let head = head.unwrap_or_else(|| Err("the header is damaged, or this is not a counter".to_owned()));
    let mark = marks.into_iter().flatten().max().ok_or_else(|| "both copies of the mark are damaged".to_owned());
    let header = match (head, mark) {
        (Ok(head), Ok(mark)) => Header { head, mark },
        (Err(what), _) | (_, Err(what)) => return Err(ReadError::Damaged(what)),
    };
    if !is_whole {
        repair(file, &page, &header).map_err(ReadError::Io)?;
    }
    Ok(header)
}

/// Touches the bad sectors only.
fn repair(file: &impl DiskFile, page: &[u8; 4 * SECTOR], header: &Header) -> io::Result<()> {
    for (n, copy) in [(0, 0), (2, 1)] {
        if !matches!(decode_head(&sector(page, n)), Ok(Some(_))) {
            file.write_at(&encode_head(&header.head), COPIES[copy])?;
        }
        if decode_mark(&sector(page, n + 1)).is_none() {
            file.write_at(&encode_mark(&header.mark), COPIES[copy] + SECTOR as u64)?;
        }
    }
    file.sync()
}

/// Into a file of at least a page. Not synced.
pub(crate) fn write_new(file: &impl DiskFile, header: &Header) -> io::Result<()> {
    for copy in COPIES {
        file.write_at(&encode_head(&header.head), copy)?;
    }
    write_mark(file, &header.mark)
}

/// Both copies, not synced. They may share a sync: a disk tears one sector at most when its power fails.
pub(crate) fn write_mark(file: &impl DiskFile, mark: &Mark) -> io::Result<()> {
    let bytes = encode_mark(mark);
    COPIES.iter().try_for_each(|copy| file.write_at(&bytes, copy + SECTOR as u64))
}

/// Durable when it returns. There is a good head at every moment of it.
pub(crate) fn replace_head(file: &impl DiskFile, head: &Head) -> io::Result<()> {
    COPIES.iter().try_for_each(|copy| {
        file.write_at(&encode_head(head), *copy)?;
        file.sync()
    })
}

fn sector(page: &[u8; 4 * SECTOR], n: usize) -> Sector {
    let mut bytes = [0; SECTOR];
    bytes.copy_from_slice(&page[n * SECTOR..][..SECTOR]);
    bytes
}

fn encode_head(head: &Head) -> Sector {
    let mut out = Fields::new(HEAD_MAGIC);
    let present = u8::from(head.identity.inode.is_some()) | u8::from(head.identity.born_ns.is_some()) << 1;
    let [version_low, version_high] = VERSION.to_le_bytes();
    out.put([version_low, version_high, head.strategy.code(), present, 0, 0, 0, 0]);
    for number in
        [head.parameter, head.base, head.identity.inode.unwrap_or_default(), head.identity.born_ns.unwrap_or_default()]
    {
        out.put(number.to_le_bytes());
    }
    out.seal()
}

/// `None` if the sector is not a head, or a damaged one; an error if it is one that this code does not know.
fn decode_head(bytes: &Sector) -> Result<Option<Head>, String> {
    let Some(mut fields) = Fields::open(bytes, HEAD_MAGIC) else { return Ok(None) };
    let [version_low, version_high, strategy, present, ..] = fields.take();
    let version = u16::from_le_bytes([version_low, version_high]);
    if version != VERSION {
        return Err(format!("the counter has format {version}, this program knows format {VERSION}"));
    }
    let strategy = StrategyKind::from_code(strategy).ok_or_else(|| format!("strategy {strategy} is not known"))?;
    let [parameter, base, inode, born_ns] = [(); 4].map(|()| u64::from_le_bytes(fields.take()));
    let part = |bit: u8, number| (present & bit != 0).then_some(number);
    Ok(Some(Head {
        strategy,
        parameter,
        base,
        identity: Identity { inode: part(1, inode), born_ns: part(2, born_ns) },
    }))
}

fn encode_mark(mark: &Mark) -> Sector {
    let mut out = Fields::new(MARK_MAGIC);
    for number in [mark.seq, mark.ceiling, mark.next, u64::from(mark.closed)] {
        out.put(number.to_le_bytes());
    }
    out.seal()
}

fn decode_mark(bytes: &Sector) -> Option<Mark> {
    let mut fields = Fields::open(bytes, MARK_MAGIC)?;
    let [seq, ceiling, next, closed] = [(); 4].map(|()| u64::from_le_bytes(fields.take()));
    Some(Mark { seq, ceiling, next, closed: closed != 0 })
}

/// A sector of eight-byte fields: magic, fields, zeros, CRC-32C of all of that in the last four bytes.
struct Fields {
    bytes: Sector,
    at: usize,
}

impl Fields {
    fn new(magic: [u8; 8]) -> Self {
        let mut fields = Self { bytes: [0; SECTOR], at: 0 };
        fields.put(magic);
        fields
    }

    fn open(bytes: &Sector, magic: [u8; 8]) -> Option<Self> {
        let (content, stored) = bytes.split_last_chunk::<4>()?;
        let mut fields = Self { bytes: *bytes, at: 0 };
        (crc32c::crc32c(content) == u32::from_le_bytes(*stored) && fields.take() == magic).then_some(fields)
    }

    fn put(&mut self, field: [u8; 8]) {
        self.bytes[self.at..][..8].copy_from_slice(&field);
        self.at += 8;
    }

    fn take(&mut self) -> [u8; 8] {
        let mut field = [0; 8];
        field.copy_from_slice(&self.bytes[self.at..][..8]);
        self.at += 8;
        field
    }

    fn seal(mut self) -> Sector {
        if let Some((content, crc)) = self.bytes.split_last_chunk_mut::<4>() {
            *crc = crc32c::crc32c(content).to_le_bytes();
        }
        self.bytes
    }
}
