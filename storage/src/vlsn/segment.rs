//! The index of VLSNs of one segment: an entry per batch, with the largest VLSN before it. Derived, like the sparse index
//! beside it: what is missing or damaged is built from the batches, by opening each.

use std::io;

use pyralog_protocol::batch::{BatchHeader, StoredBatch, StoredError};
use pyralog_protocol::{LogOffset, Vlsn};

use crate::disk::{Disk, DiskFile, OpenMode, Patience, read_full};
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
    let mut bytes = vec![0; found.header.total_size()];
    let filled = read_full(file, &mut bytes, found.position)?;
    bytes.truncate(filled);
    Ok(bytes)
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
                    patience.may_wait()?;
                    self.may_build(env, VLSNS)?;
                    self.load_vlsns(env)?.max
                }
            },
        };
        Ok(u64::try_from(max).ok().map(Vlsn))
    }

    /// The last entry for which `before` holds, which it does for a prefix of them, and the one behind it; what comes from a
    /// file is checked against the batches it names.
    pub fn around_vlsn<D: Disk<File = F>>(
        &mut self,
        env: &Env<D>,
        patience: Patience,
        before: impl Fn(&Entry) -> bool,
    ) -> Result<Around, SegmentError> {
        if let Some(index) = &self.vlsns {
            return Ok(index.around(before));
        }
        if let Some(header) = self.vlsn_header(env, patience)?
            && let Some((file, _)) = &self.vlsn_file
            && let Some(found) = header.around(file, &before, patience)?
            && self.is_true(env, found.entry, patience)?
            && self.is_true(env, found.next.unwrap_or(found.entry), patience)?
        {
            return Ok(found);
        }
        patience.may_wait()?;
        self.vlsn_file = None;
        self.may_build(env, VLSNS)?;
        Ok(self.load_vlsns(env)?.around(before))
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
            patience.may_wait()?;
            let file = env.disk.open(&env.path(&file_name(self.base, VLSNS.extension)), OpenMode::Read).ok();
            self.vlsn_file = file.and_then(|file| {
                let header = IndexHeader::load(&file, VLSNS, self.base.0)?;
                Some((file, header))
            });
        }
        self.used = true;
        let header = self.vlsn_file.as_ref().map(|(_, header)| *header);
        Ok(header.filter(|header| header.covered == self.size))
    }

    /// The whole index.
    pub(crate) fn build_vlsns<D: Disk<File = F>>(&mut self, env: &Env<D>) -> Result<Index, SegmentError> {
        if let Some(stored) = self.stored_index(env, VLSNS)? {
            match self.extend_vlsns(env, stored) {
                // It ends where no batch does: not an index of these batches.
                Err(SegmentError::Damaged { .. }) => {}
                extended => return extended,
            }
        }
        self.extend_vlsns(env, Index::new(self.base.0))
    }

    /// Completes an index from the batches behind what it covers.
    fn extend_vlsns<D: Disk<File = F>>(&mut self, env: &Env<D>, mut index: Index) -> Result<Index, SegmentError> {
        let file = self.file(env)?;
        let mut walk = Walk::new(&*file, index.covered, self.size);
        loop {
            let position = walk.position();
            let Some(found) = walk.next().map_err(|stop| SegmentError::at(position, stop))? else { return Ok(index) };
            let last = last_vlsn_of(&bytes_of(&*file, &found)?);
            let last = last.map_err(|error| SegmentError::Damaged { position, what: damage(&error) })?;
            index.note_max(self.base.0, &found.header, 0, last.map_or(i64::MIN, Vlsn::offset));
        }
    }
}
