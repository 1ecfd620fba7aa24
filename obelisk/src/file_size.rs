//! The counter as the size of a file: one byte stands for a block of values, and raising the ceiling is one `set_len` and
//! one sync. The file never has a block of its own (OB-03), so that a full disk cannot stop it.
//!
//! Two files: `<path>`, whose size counts, and `<path>.meta` with the header, one page. The size is the truth. The mark in
//! the header may lag behind it (it is written without a sync), and says two things: after a clean close of a file of
//! exactly this size, where to go on; and what the size must not be below, because then somebody cut the file (OB-07).
//!
//! The size always grows before a number leaves, so that no mark of an earlier session fits it any more. It falls in one
//! case: a clean close gives back what was reserved, after the mark for the smaller size is durable. Whatever of this
//! survives, the size stands for no less than what was handed out.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile, Stat};
use crate::header::{self, Mark, PAGE};
use crate::ledger::{final_failure, refusal};
use crate::place::{Wanted, beside, io_error};
use crate::window::{LIMIT, Ledger, Refusal, Window};
use crate::{CounterError, OpenError, Options, PersistentAtomic, StrategyKind};

pub(crate) const DEFAULT_STEP: u64 = 1 << 22;
/// Smallest block factor that is chosen: it makes all of u64 but its last 2³² reachable on ext4 (OB-01).
const BLOCK_MIN_LOG2: u32 = 20;
const BLOCK_MAX_LOG2: u32 = 44;
/// Largest size that a file can have anywhere.
const SIZE_MAX: u64 = i64::MAX as u64;

pub(crate) struct FileSize<D: Disk> {
    window: Window<SizeLedger<D>>,
}

struct SizeLedger<D: Disk> {
    disk: D,
    path: PathBuf,
    meta_path: PathBuf,
    file: D::File,
    meta: D::File,
    mark: Mark,
    size: u64,
    block: u64,
    /// The directory entries, and one mark that knows that values were handed out, are durable.
    published: bool,
}

impl<D: Disk> FileSize<D> {
    pub(crate) fn open(disk: &D, path: &Path, block: Option<u64>, options: &Options) -> Result<Self, OpenError> {
        let step = options.step_or(DEFAULT_STEP)?;
        check_block(block)?;
        let strategy = StrategyKind::FileSize;
        let wanted = Wanted { disk, path, options, strategy, parameter: block.map(|block| ("block factor", block)) };
        let ledger = open_both(&wanted)?;
        let next = ledger.recover(options)?;
        let step = step.checked_next_multiple_of(ledger.block).unwrap_or(LIMIT);
        Ok(Self { window: Window::new(next, step, ledger) })
    }

    pub(crate) fn close(mut self) -> Result<(), CounterError> {
        self.window.close()
    }
}

impl<D: Disk> PersistentAtomic for FileSize<D> {
    #[inline]
    fn fetch_add(&self, n: u64) -> Result<u64, CounterError> {
        self.window.take(n)
    }

    fn load(&self) -> u64 {
        self.window.load()
    }

    fn sync(&self) -> Result<(), CounterError> {
        self.window.sync()
    }
}

impl<D: Disk> Drop for FileSize<D> {
    fn drop(&mut self) {
        // Without it the next session skips what is reserved, and nothing worse.
        let _ = self.window.close();
    }
}

fn check_block(block: Option<u64>) -> Result<(), OpenError> {
    match block {
        Some(block) if !block.is_power_of_two() || block > 1 << BLOCK_MAX_LOG2 => Err(OpenError::Invalid {
            what: format!(
                "a block factor of {block} is not allowed; it must be a power of two up to 2^{BLOCK_MAX_LOG2}"
            ),
        }),
        Some(_) | None => Ok(()),
    }
}

fn open_both<D: Disk>(wanted: &Wanted<'_, D>) -> Result<SizeLedger<D>, OpenError> {
    let (disk, path) = (wanted.disk, wanted.path);
    let meta_path = beside(path, ".meta");
    let part_missing = |missing: &Path| OpenError::PartMissing { path: path.to_owned(), missing: missing.to_owned() };
    let file = match disk.open(path).map_err(io_error(path, "open it"))? {
        Some(file) => file,
        None => {
            let meta = disk.open(&meta_path).map_err(io_error(&meta_path, "open it"))?;
            let used = meta.map(|meta| wanted.read_header(&meta, &meta_path)).transpose()?;
            if used.is_some_and(|header| header.mark.seq > 0) {
                return Err(part_missing(path));
            }
            if !wanted.options.create {
                return Err(OpenError::Missing { path: path.to_owned() });
            }
            disk.open_or_create(path).map_err(io_error(path, "create it"))?
        }
    };
    wanted.lock(&file)?;
    let Stat { len: size, identity } = file.stat().map_err(io_error(path, "ask for the size of it"))?;
    let meta = disk.open(&meta_path).map_err(io_error(&meta_path, "open it"))?;
    let found = meta.map(|meta| wanted.read_header(&meta, &meta_path).map(|header| (meta, header))).transpose()?;
    // A creation that was cut short may have left either file, or a header for a file that did not survive.
    let begun = size == 0
        && found
            .as_ref()
            .is_none_or(|(_, header)| header.mark.seq == 0 && !header.head.identity.same_file_as(&identity));
    let (meta, header, adopted) = match found {
        _ if begun && !wanted.options.create => return Err(OpenError::Missing { path: path.to_owned() }),
        _ if begun => {
            let block = wanted.parameter.map(|(_, block)| block);
            let (meta, header) = wanted.create_header(&meta_path, identity, |scratch| choose_block(scratch, block))?;
            (meta, header, false)
        }
        None => return Err(part_missing(&meta_path)),
        Some((meta, mut header)) => {
            let adopted = wanted.check_identity(identity, &mut header.head, &meta)?;
            (meta, header, adopted)
        }
    };
    let published = header.mark.seq > 0 && !adopted;
    let (block, mark) = (header.head.parameter.max(1), header.mark);
    Ok(SizeLedger { disk: disk.clone(), path: path.to_owned(), meta_path, file, meta, mark, size, block, published })
}

/// The smallest block factor with which the file system's largest size stands for every value there is.
fn choose_block(scratch: &impl DiskFile, given: Option<u64>) -> io::Result<u64> {
    if let Some(block) = given {
        return Ok(block);
    }
    // Where a size takes up room, trying a large one would fill the disk. 2⁴⁰ bytes are enough then.
    if !cfg!(target_os = "linux") {
        return Ok(1 << 24);
    }
    let mut block = 1 << BLOCK_MIN_LOG2;
    loop {
        match scratch.set_len(LIMIT / block) {
            Ok(()) => return Ok(block),
            Err(error) if block == 1 << BLOCK_MAX_LOG2 => return Err(error),
            Err(_) => block <<= 1,
        }
    }
}

impl<D: Disk> SizeLedger<D> {
    /// What a size stands for.
    fn value_of(&self, size: u64) -> u64 {
        size.checked_mul(self.block).map_or(LIMIT, |value| value.min(LIMIT))
    }

    /// The first value that was certainly not handed out.
    fn recover(&self, options: &Options) -> Result<u64, OpenError> {
        let found = self.value_of(self.size);
        let floor = self.mark.end();
        if found < self.mark.ceiling && options.floor < floor {
            return Err(OpenError::Truncated { path: self.path.clone(), found, floor });
        }
        let next = if found == self.mark.ceiling { floor } else { found };
        Ok(next.max(options.floor))
    }

    fn grow(&mut self, size: u64) -> Result<(), Refusal> {
        self.file.set_len(size).map_err(|error| refusal(&self.path, "resize", size, &error))?;
        self.file.sync().map_err(final_failure(&self.path, "sync"))?;
        self.size = size;
        Ok(())
    }

    /// A hint: what it says is true already.
    fn note(&mut self, mark: Mark, sync: bool) -> Result<(), Refusal> {
        header::write_mark(&self.meta, &mark).map_err(|error| refusal(&self.meta_path, "write", PAGE, &error))?;
        if sync {
            self.meta.sync().map_err(final_failure(&self.meta_path, "sync"))?;
        }
        self.mark = mark;
        Ok(())
    }
}

impl<D: Disk> Ledger for SizeLedger<D> {
    fn raise(&mut self, next: u64, least: u64, wanted: u64) -> Result<u64, Refusal> {
        // Above every size that a mark speaks of, so that none of them fits any more.
        let above = self.size.max(self.mark.ceiling / self.block) + 1;
        let (least, wanted) = (least.div_ceil(self.block).max(above), wanted.div_ceil(self.block).max(above));
        let limit = self.limit();
        if self.value_of(least) > limit || least > SIZE_MAX {
            return Err(Refusal::ForNow(CounterError::Exhausted { limit }));
        }
        if !self.published {
            self.disk.sync_dir_of(&self.path).map_err(final_failure(&self.path, "sync the directory of"))?;
        }
        let wanted = wanted.min(limit / self.block);
        match self.grow(wanted) {
            // Near the file system's limit the last blocks are still good.
            Err(Refusal::ForNow(_)) if least < wanted => self.grow(least)?,
            grown => grown?,
        }
        let ceiling = self.value_of(self.size);
        let mark = Mark { seq: self.mark.seq + 1, ceiling, next: next.min(ceiling), closed: false };
        match self.note(mark, !self.published) {
            // No room for a hint, where overwriting needs some.
            Err(Refusal::ForNow(_)) if self.published => {}
            noted => noted?,
        }
        self.published = true;
        Ok(ceiling)
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        Ok(())
    }

    fn close(&mut self, next: u64) -> Result<(), Refusal> {
        let size = next.div_ceil(self.block).min(self.size);
        let ceiling = self.value_of(size);
        self.note(Mark { seq: self.mark.seq + 1, ceiling, next, closed: true }, true)?;
        self.file.set_len(size).map_err(|error| refusal(&self.path, "resize", size, &error))
    }

    fn limit(&self) -> u64 {
        (LIMIT / self.block).min(SIZE_MAX).saturating_mul(self.block).min(LIMIT)
    }
}
