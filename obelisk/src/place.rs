//! Finding, creating and locking the files of a counter; and telling the counter from a copy of it.
//!
//! A file appears under its name when its header is whole and synced (temporary file, sync, rename). The directory is
//! synced before the first value leaves (OB-08), by the ledger: as long as the mark says that the ceiling was never
//! raised, that may not have happened yet.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, Identity};
use crate::header::{self, Head, Header, Mark, PAGE, ReadError};
use crate::{OpenError, Options, StrategyKind};

/// What somebody wants to open.
pub(crate) struct Wanted<'a, D> {
    pub(crate) disk: &'a D,
    pub(crate) path: &'a Path,
    pub(crate) options: &'a Options,
    pub(crate) strategy: StrategyKind,
    /// Name and value of the parameter that may not change.
    pub(crate) parameter: Option<(&'static str, u64)>,
}

/// A counter whose file is locked and whose header was read.
pub(crate) struct Opened<F> {
    pub(crate) file: F,
    pub(crate) header: Header,
    /// This file took the place of another one just now: what depends on the machine or the moment is not believed.
    pub(crate) adopted: bool,
}

pub(crate) fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.to_owned(), doing, source }
}

/// The path with something behind its last part.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

impl<D: Disk> Wanted<'_, D> {
    /// Opens or creates a counter that is one file of `len` bytes.
    pub(crate) fn open_single(&self, len: u64) -> Result<Opened<D::File>, OpenError> {
        // Another process may create it, or remove what it began, at the same time; whoever has the lock goes on.
        for _ in 0..16 {
            if let Some(file) = self.disk.open(self.path).map_err(io_error(self.path, "open it"))? {
                self.lock(&file)?;
                return self.read_single(file, len);
            }
            if !self.options.create {
                return Err(OpenError::Missing { path: self.path.to_owned() });
            }
            if let Some(opened) = self.create_single(len)? {
                return Ok(opened);
            }
        }
        Err(OpenError::Locked { path: self.path.to_owned() })
    }

    fn read_single(&self, file: D::File, len: u64) -> Result<Opened<D::File>, OpenError> {
        let header = self.read_header(&file, self.path)?;
        let found = file.stat().map_err(io_error(self.path, "ask for the size of it"))?;
        if found.len != len {
            let what = format!("the file has {} bytes instead of {len}", found.len);
            return Err(OpenError::Damaged { path: self.path.to_owned(), what });
        }
        let mut opened = Opened { file, header, adopted: false };
        opened.adopted = self.check_identity(found.identity, &mut opened.header.head, &opened.file)?;
        Ok(opened)
    }

    /// `None` if somebody else was faster.
    fn create_single(&self, len: u64) -> Result<Option<Opened<D::File>>, OpenError> {
        let temporary = beside(self.path, ".new");
        let io = |doing| io_error(&temporary, doing);
        let file = self.disk.open_or_create(&temporary).map_err(io("create it"))?;
        self.lock(&file)?;
        // Between opening and locking, its creator may have finished: then this is the counter, and not to be touched.
        let now = self.disk.open(&temporary).map_err(io("open it"))?;
        let identity = file.stat().map_err(io("ask for the identity of it"))?.identity;
        let same = match now {
            Some(now) => now.stat().map_err(io("ask for the identity of it"))?.identity == identity,
            None => false,
        };
        if !same || self.disk.open(self.path).map_err(io_error(self.path, "open it"))?.is_some() {
            return Ok(None);
        }
        if let Err(error) = file.allocate(len) {
            // What room there was is given back; the empty file is used by the next attempt.
            let _ = file.set_len(0);
            return Err(io("make room for it")(error));
        }
        let base = self.options.floor;
        let parameter = self.parameter.map_or(0, |(_, value)| value);
        let head = Head { strategy: self.strategy, parameter, base, identity };
        let header = Header { head, mark: Mark::first(base) };
        header::write_new(&file, &header).map_err(io("write it"))?;
        file.sync().map_err(io("sync it"))?;
        self.disk.rename(&temporary, self.path).map_err(io("give its name to it"))?;
        Ok(Some(Opened { file, header, adopted: false }))
    }

    /// For a counter of two files: writes the header into the one beside. The counter's own lock is held.
    pub(crate) fn create_header(
        &self,
        header_path: &Path,
        identity: Identity,
        parameter: impl FnOnce(&D::File) -> io::Result<u64>,
    ) -> Result<(D::File, Header), OpenError> {
        let temporary = beside(header_path, ".new");
        let io = |doing| io_error(&temporary, doing);
        let file = self.disk.open_or_create(&temporary).map_err(io("create it"))?;
        let parameter = parameter(&file).map_err(io("find out which sizes are allowed for it"))?;
        let head = Head { strategy: self.strategy, parameter, base: 0, identity };
        let header = Header { head, mark: Mark::first(0) };
        file.allocate(PAGE).map_err(io("make room for it"))?;
        header::write_new(&file, &header).map_err(io("write it"))?;
        file.sync().map_err(io("sync it"))?;
        self.disk.rename(&temporary, header_path).map_err(io("give its name to it"))?;
        Ok((file, header))
    }

    pub(crate) fn lock(&self, file: &D::File) -> Result<(), OpenError> {
        match file.try_lock().map_err(io_error(self.path, "lock it"))? {
            true => Ok(()),
            false => Err(OpenError::Locked { path: self.path.to_owned() }),
        }
    }

    /// The header of a counter of this strategy with these parameters.
    pub(crate) fn read_header(&self, file: &D::File, header_path: &Path) -> Result<Header, OpenError> {
        let header = header::read(file).map_err(|error| match error {
            ReadError::Io(source) => io_error(header_path, "read it")(source),
            ReadError::Damaged(what) => OpenError::Damaged { path: header_path.to_owned(), what },
        })?;
        let path = self.path.to_owned();
        let found = header.head.strategy;
        if found != self.strategy {
            return Err(OpenError::OtherStrategy { path, found, wanted: self.strategy });
        }
        match self.parameter {
            Some((what, asked)) if asked != header.head.parameter => {
                Err(OpenError::OtherParameter { path, what, stored: header.head.parameter, asked })
            }
            Some(_) | None => Ok(header),
        }
    }

    /// Whether the file was adopted just now. `header_file` is where `head` is kept.
    pub(crate) fn check_identity(
        &self,
        found: Identity,
        head: &mut Head,
        header_file: &D::File,
    ) -> Result<bool, OpenError> {
        if head.identity.same_file_as(&found) {
            return Ok(false);
        }
        if !self.options.adopt {
            return Err(OpenError::Copied { path: self.path.to_owned(), stored: head.identity, found });
        }
        head.identity = found;
        header::replace_head(header_file, head).map_err(io_error(self.path, "adopt it"))?;
        Ok(true)
    }
}
