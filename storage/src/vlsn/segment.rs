//! The index of VLSNs of one segment: an entry per batch, with the largest VLSN before it. Derived, like the sparse index
//! beside it: what is missing or damaged is built from the batches, by opening each.

use std::io;

use pyralog_protocol::batch::{BatchHeader, StoredBatch, StoredError};
use pyralog_protocol::{LogOffset, Vlsn};

use crate::disk::{Disk, DiskFile, OpenMode, Patience};
use crate::files::write_derived;
use crate::index::{Around, Entry, Index, IndexHeader, VLSNS};
use crate::segment::{Env, Segment, SegmentError, file_name};
use crate::walk::{Found, Walk};

/// The largest VLSN of a stored batch; None if it has no records.
pub(crate) fn last_vlsn_of(bytes: &[u8]) -> Result<Option<Vlsn>, StoredError> {
    let batch = StoredBatch::open(bytes)?;
    let last = batch.records().last().transpose()?;
    Ok(last.map(|record| record.vlsn))
}

/// What does not fit about a stored batch.
pub(crate) fn damage(error: &StoredError) -> &'static str {
    match error {
        StoredError::Header(_) => "checksum",
        StoredError::UnknownCodec { .. } | StoredError::Codec(_) | StoredError::Record(_) => "records",
        StoredError::NoVlsn { .. } => "a key that is no VLSN",
        StoredError::Misplaced { .. } => "another base offset",
        StoredError::OtherEpoch { .. } => "another leader epoch",
    }
}

/// The bytes of a batch.
pub(crate) fn bytes_of<F: DiskFile>(file: &F, found: &Found) -> io::Result<Vec<u8>> {
    bytes_with(file, found, Patience::Waits)
}

/// The same, with that patience.
pub(crate) fn bytes_with<F: DiskFile>(file: &F, found: &Found, patience: Patience) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; found.header.total_size()];
    let filled = patience.read_full(file, &mut bytes, found.position)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// The VLSNs in front of a damaged batch, which keeps an index of the whole segment from being built: how far look-ups get.
pub(crate) struct Readable {
    /// Covers what lies before the damage; its last entry is the damaged batch.
    index: Index,
    /// What is wrong with that.
    what: &'static str,
    /// Bytes of the segment then.
    size: u64,
}

impl Readable {
    fn of(mut index: Index, (base, size): (i64, u64), what: &'static str) -> Option<Self> {
        let relative_offset = u32::try_from(index.next_offset.saturating_sub(base)).ok()?;
        let position = u32::try_from(index.covered).ok()?;
        index.entries.push(Entry { relative_offset, position, max_before: index.max });
        Some(Self { index, what, size })
    }

    fn damage(&self) -> SegmentError {
        SegmentError::Damaged { position: self.index.covered, what: self.what }
    }
}

impl<F: DiskFile> Segment<F> {
    /// Notes the batch at its end, if its last VLSN is known. If not, the index is built again when it is wanted.
    pub fn note_vlsn(&mut self, header: &BatchHeader, last: Option<Vlsn>) {
        match (&mut self.vlsns, last) {
            (Some(index), Some(last)) => index.note_max(self.base.0, header, 0, last.offset()),
            (vlsns, _) => *vlsns = None,
        }
    }

    /// The whole index in memory, from its file as far as that goes and from the batches for the rest.
    pub fn load_vlsns<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<&mut Index, SegmentError> {
        if self.vlsns.is_none() {
            self.may_be_indexed(VLSNS)?;
            let index = self.build_vlsns(env).inspect_err(|error| self.note_damage(VLSNS, error))?;
            self.vlsns = Some(index);
        }
        let base = self.base.0;
        Ok(self.vlsns.get_or_insert_with(|| Index::new(base)))
    }

    /// The largest VLSN in the segment, None if it is empty.
    pub fn last_vlsn<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        patience: Patience,
    ) -> Result<Option<Vlsn>, SegmentError> {
        let max = match (&self.vlsns, self.size) {
            (_, 0) => return Ok(None),
            (Some(index), _) => index.max,
            (None, _) => match self.vlsn_header(env, patience)? {
                Some(header) => header.max,
                None => {
                    if let Some(damage) = self.unreadable() {
                        return Err(damage);
                    }
                    self.may_build(env, VLSNS)?;
                    patience.may_wait()?;
                    self.load_vlsns(env)?.max
                }
            },
        };
        Ok(u64::try_from(max).ok().map(Vlsn))
    }

    /// The largest VLSN that can be looked up, where damage hides others; None if there is none.
    pub fn last_readable_vlsn<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        patience: Patience,
    ) -> Result<Option<Vlsn>, SegmentError> {
        let last = if self.readable().is_some() { Ok(None) } else { self.last_vlsn(env, patience) };
        match (last, self.readable()) {
            (Ok(None) | Err(SegmentError::Damaged { .. }), Some(readable)) => {
                Ok(u64::try_from(readable.index.max).ok().map(Vlsn))
            }
            (last, _) => last,
        }
    }

    /// What is wrong with the batch behind those that can be looked up, if some cannot.
    pub fn unreadable(&self) -> Option<SegmentError> {
        self.readable().map(Readable::damage)
    }

    /// What can be looked up where damage hides the rest.
    fn readable(&self) -> Option<&Readable> {
        self.readable.as_ref().filter(|readable| self.vlsns.is_none() && readable.size == self.size)
    }

    /// The last entry for which `before` holds, which it does for a prefix of them, and the one behind it; what comes from a
    /// file is checked against the batch that it names.
    pub fn around_vlsn<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        patience: Patience,
        before: impl Fn(&Entry) -> bool,
    ) -> Result<Around, SegmentError> {
        let found = match self.known_around(env, patience, &before)? {
            Some(found) => found,
            None => {
                self.vlsn_file = None;
                self.may_build(env, VLSNS)?;
                patience.may_wait()?;
                match self.load_vlsns(env) {
                    Ok(index) => index.around(before),
                    Err(error) => self.around_readable(&before).ok_or(error)?,
                }
            }
        };
        match self.readable() {
            Some(readable) if u64::from(found.entry.position) >= readable.index.covered => Err(readable.damage()),
            Some(_) | None => Ok(found),
        }
    }

    /// The same without building an index, and with the entry of a damaged batch as well. None if it takes one.
    pub fn known_around<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        patience: Patience,
        before: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Around>, SegmentError> {
        if let Some(index) = &self.vlsns {
            return Ok(Some(index.around(before)));
        }
        if let Some(found) = self.around_readable(&before) {
            return Ok(Some(found));
        }
        if let Some(header) = self.vlsn_header(env, patience)?
            && let Some((file, _)) = &self.vlsn_file
            && let Some(found) = header.around(file, &before, patience)?
            && self.is_there(env, found, patience)?
        {
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// The same up to a damaged batch.
    fn around_readable(&self, before: impl Fn(&Entry) -> bool) -> Option<Around> {
        self.readable().map(|readable| readable.index.around(before))
    }

    /// Whether the batch that the entry names begins there, and ends where the next one begins. That one is not looked at: if it is
    /// damaged, this one is not.
    fn is_there<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        Around { entry, next }: Around,
        patience: Patience,
    ) -> Result<bool, SegmentError> {
        if env.trust.index {
            return Ok(true);
        }
        let Some(found) = self.batch_of(env, entry, patience)? else { return Ok(false) };
        let next_offset = found.header.last_offset().saturating_add(1).saturating_sub(self.base.0);
        let begins_there =
            |next: Entry| (found.end(), next_offset) == (u64::from(next.position), i64::from(next.relative_offset));
        Ok(next.map_or(found.end() == self.size, begins_there))
    }

    /// Writes the part of the index below `stable_end`. Not synced: what it leaves out is built again.
    pub fn store_vlsns<D: Disk>(&self, env: &Env<D>, stable_end: LogOffset) -> io::Result<()> {
        let Some(index) = self.vlsns.as_ref().filter(|_| env.config.vlsn) else { return Ok(()) };
        let stored = index.below(self.base.0, stable_end.0);
        let name = file_name(self.base, VLSNS.extension);
        write_derived(&*env.disk, &env.dir, &name, &stored.encode(VLSNS, self.base.0))
    }

    /// Whether the file covers more than is known to be on disk: see [`StableHint::stale`](crate::segment::StableHint::stale).
    pub fn has_stale_vlsns<D: Disk<File = F>>(&mut self, env: &Env<D>, stable_end: LogOffset) -> bool {
        let path = env.path(&file_name(self.base, VLSNS.extension));
        let Ok(file) = env.disk.open(&path, OpenMode::Read) else { return false };
        let header = IndexHeader::load(&file, VLSNS, self.base.0);
        let stale = header.is_none_or(|header| header.next_offset > stable_end.0);
        if stale {
            (self.vlsns, self.vlsn_file) = (None, None);
        }
        stale
    }

    /// Header of a file that covers the whole segment.
    fn vlsn_header<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        patience: Patience,
    ) -> Result<Option<IndexHeader>, SegmentError> {
        if env.patience != Patience::Waits {
            // Before whoever hurries is sent to wait for it once more.
            self.tell_unbuilt(VLSNS)?;
        }
        if self.vlsn_file.is_none() {
            let path = env.path(&file_name(self.base, VLSNS.extension));
            if let Ok(file) = env.disk.open(&path, OpenMode::Read)
                && let Some(header) = IndexHeader::read(&file, VLSNS, self.base.0, patience)?
            {
                self.vlsn_file = Some((file, header));
            }
        }
        self.used = true;
        let header = self.vlsn_file.as_ref().map(|(_, header)| *header);
        Ok(header.filter(|header| header.covered == self.size))
    }

    /// The whole index. Where damage keeps it from being built, what lies before that can be looked up from then on.
    pub(crate) fn build_vlsns<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<Index, SegmentError> {
        if let Some(mut stored) = self.stored_index(env, VLSNS)? {
            match self.extend_vlsns(env, &mut stored) {
                // It ends where no batch does: not an index of these batches.
                Err(SegmentError::Damaged { .. }) => {}
                extended => return extended.map(|()| stored),
            }
        }
        let mut index = Index::new(self.base.0);
        let extended = self.extend_vlsns(env, &mut index);
        if let Err(SegmentError::Damaged { what, .. }) = extended {
            self.readable = Readable::of(index, (self.base.0, self.size), what);
            return extended.map(|()| Index::new(self.base.0));
        }
        extended.map(|()| index)
    }

    /// Completes an index from the batches behind what it covers, as far as these can be read.
    fn extend_vlsns<D: Disk<File = F>>(&mut self, env: &Env<D>, index: &mut Index) -> Result<(), SegmentError> {
        let file = self.file(env)?;
        let mut walk = Walk::new(&*file, index.covered, self.size);
        loop {
            let position = walk.position();
            let Some(found) = walk.next().map_err(|stop| SegmentError::at(position, stop))? else { return Ok(()) };
            let last = last_vlsn_of(&bytes_of(&*file, &found)?);
            let last = last.map_err(|error| SegmentError::Damaged { position, what: damage(&error) })?;
            index.note_max(self.base.0, &found.header, 0, last.map_or(i64::MIN, Vlsn::offset));
        }
    }
}
