//! [`LogStore`] on RocksDB: one database, five fixed column families (RA-05), options that keep an idle broker small
//! and a start quick. The WAL is never disabled, so batches survive as a prefix, and an end that was never synced is cut off
//! while any other corruption refuses (RA-21; `wal.rs`). Every error is handed up and final (RA-20); nothing that was synced is repaired.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DBRecoveryMode, IteratorMode,
    LogLevel, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::error::OpenError;
use super::keys::{self, Shard};
use super::log_store::{Batch, Column, LogStore, Op, Span, StoreError, Visit};
use super::wal::{Claim, Cut, Seen, look_over};

/// Name of the file that is locked.
const IN_USE: &str = "in-use";

/// Memory and file limits of the store.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// Write buffer of one column family, in bytes; two of them at most.
    pub write_buffer_bytes: usize,
    /// Write buffers of all column families together, in bytes.
    pub write_buffers_bytes: usize,
    /// Block cache of all column families together, in bytes.
    pub cache_bytes: usize,
    /// WAL files in all, in bytes: what a start replays at most.
    pub wal_bytes: u64,
    /// Table files that are kept open.
    pub open_files: i32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            write_buffer_bytes: 1 << 20,
            write_buffers_bytes: 4 << 20,
            cache_bytes: 16 << 20,
            wal_bytes: 64 << 20,
            open_files: 256,
        }
    }
}

/// A RocksDB folder.
pub struct RocksStore {
    db: DB,
    /// Sequence number of the last batch that is known to be on disk.
    synced: u64,
    cut: Option<Cut>,
    /// Dropped after the database.
    _in_use: InUse,
}

impl RocksStore {
    /// Opens the folder or creates it. Holds RocksDB's lock on it as long as the value lives.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self, OpenError> {
        create_folder(path)?;
        let in_use = InUse::claim(path)?;
        let failed = |e: std::io::Error| StoreError {
            doing: "look at its write-ahead log",
            cause: format!("{e} (in {})", path.display()),
        };
        let cut = match look_over(path).map_err(failed)? {
            Seen::Sound => None,
            Seen::Cut(cut) => Some(cut),
            Seen::Damaged { file, at } => {
                let what = format!("a record of its write-ahead log at byte {at} of {file} cannot be read");
                return Err(OpenError::Corrupt(format!("{what}, and those behind it can (in {})", path.display())));
            }
        };
        let db = open_db(path, options).map_err(|error| refusal(path, error))?;
        // What was read from the write-ahead log is in tables now, which are synced.
        let synced = db.latest_sequence_number();
        let store = Self { db, synced, cut, _in_use: in_use };
        store.check_format(path)?;
        Ok(store)
    }

    /// What the power loss before this start left at the end of the write-ahead log, and was cut off: nothing of it was acknowledged.
    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_ref()
    }

    fn check_format(&self, path: &Path) -> Result<(), OpenError> {
        let known = keys::FORMAT_VERSION;
        let other = |found| OpenError::OtherFormat { path: path.display().to_string(), found, known };
        match self.get(Column::RaftMeta, &keys::format_key())? {
            Some(found) if found == known.to_be_bytes() => Ok(()),
            Some(found) => {
                let number = <[u8; 4]>::try_from(found.as_slice()).map(u32::from_be_bytes);
                Err(other(number.map_or_else(|_| format!("{found:02x?}"), |n| n.to_string())))
            }
            None if self.is_empty()? => Ok(()),
            None => Err(other("none at all".into())),
        }
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        for column in Column::ALL {
            if self.db.iterator_cf(self.family(column), IteratorMode::Start).next().is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn family(&self, column: Column) -> &ColumnFamily {
        // All of `Column::ALL` were named at open, and none is ever dropped.
        self.db.cf_handle(column.name()).unwrap_or_else(|| unreachable!("column family {}", column.name()))
    }
}

fn open_db(path: &Path, options: &RocksOptions) -> Result<DB, rocksdb::Error> {
    DB::open_cf_descriptors(&db_options(options), path, families(options))
}

fn families(options: &RocksOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.cache_bytes);
    let families =
        Column::ALL.map(|column| ColumnFamilyDescriptor::new(column.name(), column_options(options, &cache, column)));
    let default = ColumnFamilyDescriptor::new("default", column_options(options, &cache, Column::RaftMeta));
    families.into_iter().chain([default]).collect()
}

/// The values of a state column family, of a folder that nobody uses: nothing in it is changed, its write-ahead log is read
/// into memory only. What was committed and not applied before the process was killed is not among them.
pub(super) fn look_into(path: &Path, column: Column, shard: Shard) -> Result<Vec<Vec<u8>>, OpenError> {
    let options = RocksOptions::default();
    let mut quiet = db_options(&options);
    quiet.create_if_missing(false);
    quiet.create_missing_column_families(false);
    let db = DB::open_cf_descriptors_read_only(&quiet, path, families(&options), false);
    let db = db.map_err(|error| refusal(path, error))?;
    let Some(family) = db.cf_handle(column.name()) else { return Ok(Vec::new()) };
    let span = shard.span(column, &[]);
    let mut read = ReadOptions::default();
    read.set_iterate_lower_bound(span.from);
    read.set_iterate_upper_bound(span.to);
    let rows = db.iterator_cf_opt(family, read, IteratorMode::Start);
    let values = rows.map(|row| row.map(|(_, value)| value.into_vec()).map_err(failed("read a range")));
    Ok(values.collect::<Result<_, _>>()?)
}

fn db_options(options: &RocksOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_paranoid_checks(true);
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_max_total_wal_size(options.wal_bytes);
    db.set_db_write_buffer_size(options.write_buffers_bytes);
    db.set_max_open_files(options.open_files);
    db.set_max_background_jobs(2);
    db.set_max_manifest_file_size(1 << 20);
    // By default 4 MiB, which would be most of what a full volume has left for a start.
    db.set_manifest_preallocation_size(64 << 10);
    db.set_skip_stats_update_on_db_open(true);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    // RocksDB's own log: enough to see why it failed.
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(2);
    db.set_max_log_file_size(1 << 20);
    db
}

fn column_options(options: &RocksOptions, cache: &Cache, column: Column) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut family = Options::default();
    family.set_block_based_table_factory(&blocks);
    let small = column == Column::RaftMeta;
    family.set_write_buffer_size(if small { options.write_buffer_bytes / 4 } else { options.write_buffer_bytes });
    family.set_max_write_buffer_number(2);
    family.set_target_file_size_base(8 << 20);
    family
}

/// A lock on the folder. RocksDB has one of its own, but only once it has opened the log, which is looked over before that.
#[allow(clippy::disallowed_types, reason = "this file is the disk call")]
struct InUse(#[allow(dead_code, reason = "held")] std::fs::File);

#[allow(clippy::disallowed_types, reason = "this file is the disk call")]
impl InUse {
    fn claim(path: &Path) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        let failed =
            |error: std::io::Error| StoreError { doing: "lock its folder", cause: format!("{error} (in {shown})") };
        let file = std::fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(IN_USE))
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path: shown }),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error).into()),
        }
    }
}

/// RocksDB creates the folder itself, but not durably (IO-03).
fn create_folder(path: &Path) -> Result<(), OpenError> {
    let error =
        |e: std::io::Error| StoreError { doing: "create its folder", cause: format!("{}: {e}", path.display()) };
    if path.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(error)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync_folder(parent).map_err(error)?;
    Ok(())
}

#[allow(clippy::disallowed_types, reason = "this file is the disk call")]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// RocksDB's refusals as far as a person can act on them; it tells them apart by text only.
fn refusal(path: &Path, e: rocksdb::Error) -> OpenError {
    let (shown, cause) = (path.display().to_string(), e.into_string());
    if cause.contains("While lock file") || cause.contains("lock hold by current process") {
        return OpenError::Locked { path: shown };
    }
    if cause.contains("Column families not opened") {
        return OpenError::OtherFormat { path: shown, found: cause, known: keys::FORMAT_VERSION };
    }
    if cause.starts_with("Corruption") {
        return OpenError::Corrupt(format!("{cause} (in {shown})"));
    }
    StoreError { doing: "open", cause: format!("{cause} (in {shown})") }.into()
}

fn failed(doing: &'static str) -> impl Fn(rocksdb::Error) -> StoreError {
    move |e| StoreError { doing, cause: e.into_string() }
}

impl LogStore for RocksStore {
    fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get_cf(self.family(column), key).map_err(failed("read a key"))
    }

    fn scan(&self, spans: &[Span], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        let pinned = self.db.snapshot();
        for span in spans {
            let mut read = ReadOptions::default();
            read.set_iterate_lower_bound(span.from.clone());
            read.set_iterate_upper_bound(span.to.clone());
            for row in pinned.iterator_cf_opt(self.family(span.column), read, IteratorMode::Start) {
                let (key, value) = row.map_err(failed("read a range"))?;
                if !visit(span.column, &key, &value) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn last_key(&self, span: &Span) -> Result<Option<Vec<u8>>, StoreError> {
        let mut read = ReadOptions::default();
        read.set_iterate_lower_bound(span.from.clone());
        read.set_iterate_upper_bound(span.to.clone());
        let mut rows = self.db.iterator_cf_opt(self.family(span.column), read, IteratorMode::End);
        let row = rows.next().transpose().map_err(failed("read the end of a range"))?;
        Ok(row.map(|(key, _)| key.into_vec()))
    }

    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), StoreError> {
        let mut rows = WriteBatch::default();
        rows.put_log_data(Claim(self.synced).encode());
        for op in &batch.ops {
            match op {
                Op::Put(column, key, value) => rows.put_cf(self.family(*column), key, value),
                Op::Delete(column, key) => rows.delete_cf(self.family(*column), key),
                Op::DeleteRange(span) => rows.delete_range_cf(self.family(span.column), &span.from, &span.to),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(rows, &options).map_err(failed("write a batch"))?;
        if sync {
            self.synced = self.db.latest_sequence_number();
        }
        Ok(())
    }

    fn reclaim(&mut self, span: &Span) -> Result<(), StoreError> {
        let family = self.family(span.column);
        // Not `delete_file_in_range`: it takes its end as part of the range, and a dropped file may bring back what
        // it had deleted in older ones.
        let mut options = CompactOptions::default();
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(family, Some(&span.from), Some(&span.to), &options);
        Ok(())
    }
}
