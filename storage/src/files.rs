//! Small files: one envelope for all of them, and the way to replace one without ever showing half of it.
//!
//! Envelope, big-endian: magic (4 bytes, names the kind), version u16, zero u16, payload length u32, payload, CRC-32C of
//! everything before it. A reader accepts exactly the versions that it knows.

use std::io;

use bytes::{Buf, BufMut};

use crate::disk::{Disk, DiskFile, OpenMode, read_full};

/// Largest small file that is read; more is refused before anything is allocated for it.
pub const SMALL_FILE_MAX: u64 = 64 << 20;

const HEADER: usize = 12;

/// A kind of small file: its magic and the one version that is written and read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub magic: [u8; 4],
    pub version: u16,
}

/// Why a small file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not what was written.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What does not fit.
        what: &'static str,
    },
    /// Written by a version that this one does not know.
    #[error("{path} has format version {found}, this version of Pyralog reads {supported}")]
    Version {
        /// The file.
        path: String,
        /// Version in the file.
        found: u16,
        /// Version that is read.
        supported: u16,
    },
}

impl FileError {
    /// Whether the file is simply not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Puts a payload into its envelope.
pub(crate) fn seal(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len() + 4);
    out.put_slice(&kind.magic);
    out.put_u16(kind.version);
    out.put_u16(0);
    out.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    out.put_slice(payload);
    let crc = crc32c::crc32c(&out);
    out.put_u32(crc);
    out
}

/// Takes the payload out of its envelope.
pub(crate) fn unseal<'a>(kind: Kind, path: &str, bytes: &'a [u8]) -> Result<&'a [u8], FileError> {
    let damaged = |what| FileError::Damaged { path: path.to_owned(), what };
    let (sealed, mut crc) =
        bytes.len().checked_sub(4).and_then(|at| bytes.split_at_checked(at)).ok_or(damaged("too short"))?;
    let mut header = sealed.get(..HEADER).ok_or(damaged("too short"))?;
    let payload = sealed.get(HEADER..).ok_or(damaged("too short"))?;
    if !header.starts_with(&kind.magic) {
        return Err(damaged("wrong kind of file"));
    }
    header.advance(4);
    let found = header.get_u16();
    if crc32c::crc32c(sealed) != crc.get_u32() {
        return Err(damaged("checksum"));
    }
    if found != kind.version {
        return Err(FileError::Version { path: path.to_owned(), found, supported: kind.version });
    }
    header.advance(2);
    if u64::from(header.get_u32()) != payload.len() as u64 {
        return Err(damaged("length"));
    }
    Ok(payload)
}

/// Reads a whole file of at most [`SMALL_FILE_MAX`] bytes.
pub fn read_small<D: Disk>(disk: &D, path: &str) -> Result<Vec<u8>, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let file = disk.open(path, OpenMode::Read).map_err(io)?;
    let length = file.len().map_err(io)?;
    let Some(length) = usize::try_from(length).ok().filter(|_| length <= SMALL_FILE_MAX) else {
        return Err(FileError::Damaged { path: path.to_owned(), what: "too large" });
    };
    let mut bytes = vec![0; length];
    let filled = read_full(&file, &mut bytes, 0).map_err(io)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Replaces `dir/name` durably: temporary file, sync, rename, directory sync (IO-03). After a crash the file is the
/// old one or the new one.
pub fn replace_durably<D: Disk>(disk: &D, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let prepared = prepare(disk, dir, name, bytes)?;
    finish(disk, dir, name, name, prepared)
}

/// First half of a replacement: writes the temporary file. A failure changes nothing.
pub(crate) fn prepare<D: Disk>(disk: &D, dir: &str, name: &str, bytes: &[u8]) -> io::Result<D::File> {
    let file = disk.open(&format!("{dir}/{name}.tmp"), OpenMode::Create)?;
    file.write_all_at([bytes, &[]], 0)?;
    Ok(file)
}

/// Second half: makes it durable and puts it in place, under the name it was prepared for or another. After a failure it
/// is not known which of both is there.
pub(crate) fn finish<D: Disk>(disk: &D, dir: &str, from: &str, name: &str, prepared: D::File) -> io::Result<()> {
    prepared.sync_data()?;
    drop(prepared);
    disk.rename(&format!("{dir}/{from}.tmp"), &format!("{dir}/{name}"))?;
    disk.sync_dir(dir)
}

/// Writes `dir/name` without syncing anything: for derived files, whose checksum tells when a crash tore them.
pub(crate) fn write_derived<D: Disk>(disk: &D, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{dir}/{name}.tmp");
    disk.open(&temporary, OpenMode::Create)?.write_all_at([bytes, &[]], 0)?;
    disk.rename(&temporary, &format!("{dir}/{name}"))
}
