//! The way of a batch into its log: sequence check, offset, epoch, a segment that can take it, the write.
//!
//! Holds: what was refused left nothing behind; a failed write that was not just a full disk ends the log's service.

use std::io;

use pyralog_protocol::batch::{BatchHeader, CheckedBatch};
use pyralog_protocol::{Draw, ErrorCode, LeaderEpoch, LogOffset, Now, Vlsn, WallMs};

use super::{Log, Offline};
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, OpenMode, is_full};
use crate::index::Index;
use crate::producers::{PastBatch, SequenceError};
use crate::segment::{Segment, SegmentError, file_name};
use crate::vlsn::VlsnsRefused;

/// Where a batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: LogOffset,
    /// Offset of its last record: what an acknowledgement waits for, for a duplicate too (ID-09).
    pub last_offset: LogOffset,
    /// `log_append_time_ms` of the answer: the append time under LogAppendTime, the original's timestamp for a duplicate
    /// (I5), else -1.
    pub log_append_time: i64,
    /// Nothing was written: the batch was there already.
    pub duplicate: bool,
}

/// Why a batch was not appended. Nothing of it is in the log.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It would not even fit a segment of its own.
    #[error("batch of {bytes} bytes is over segment.bytes={limit}")]
    TooLargeForSegment {
        /// Size of the batch.
        bytes: u64,
        /// The setting.
        limit: u32,
    },
    /// VLSNs that are not above the log's last one, and not all there either.
    #[error(transparent)]
    Vlsns(#[from] VlsnsRefused),
    /// The producer's sequence or epoch does not fit.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A newer epoch has written here.
    #[error("leader epoch {found} was fenced by {current}")]
    Fenced {
        /// Epoch of the append.
        found: LeaderEpoch,
        /// Latest epoch of the log.
        current: LeaderEpoch,
    },
    /// 2^63 - 1 records.
    #[error("the log has no offsets left")]
    OffsetsExhausted,
    /// No room. The log stays usable; the same append may succeed later (OP-10).
    #[error("the disk is full: {0}")]
    DiskFull(io::Error),
    /// There is room, and it is kept free. The same append may succeed later (OP-10).
    #[error("the append would take {bytes} bytes of what is kept free on the disk")]
    Reserved {
        /// Size of the batch.
        bytes: u64,
    },
    /// A file could not be opened or read, nothing was harmed.
    #[error("{0}")]
    Io(io::Error),
    /// An index had to be rebuilt and the batches themselves are damaged.
    #[error("segment {segment} is damaged at byte {position}: {what}")]
    Damaged {
        /// Base offset of the segment.
        segment: LogOffset,
        /// Byte position.
        position: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// See [`Offline`].
    #[error(transparent)]
    Offline(#[from] Offline),
}

impl AppendError {
    /// What the client is told (ID-03: never UNKNOWN_SERVER_ERROR).
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooLargeForSegment { .. } => ErrorCode::RecordListTooLarge,
            Self::Sequence(SequenceError::OutOfOrder { .. }) => ErrorCode::OutOfOrderSequenceNumber,
            Self::Sequence(SequenceError::StaleEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
            Self::Vlsns(_) => ErrorCode::InvalidRecord,
            Self::Fenced { .. } => ErrorCode::NotLeaderOrFollower,
            Self::OffsetsExhausted
            | Self::DiskFull(_)
            | Self::Reserved { .. }
            | Self::Io(_)
            | Self::Damaged { .. }
            | Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }

    /// Whether files are at fault. Not where nobody is, or where somebody else tells of it: of a log that went offline, and of the
    /// reserve.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::DiskFull(_) | Self::Io(_) | Self::Damaged { .. } => true,
            Self::TooLargeForSegment { .. }
            | Self::Vlsns(_)
            | Self::Sequence(_)
            | Self::Fenced { .. }
            | Self::OffsetsExhausted
            | Self::Reserved { .. }
            | Self::Offline(_) => false,
        }
    }

    /// Whether the answer tells where the log starts: it does where the batch was compared with what the log holds, and not
    /// where nothing can be appended at all (P21).
    pub fn tells_log_start(&self) -> bool {
        match self {
            Self::Sequence(_) | Self::Vlsns(_) => true,
            Self::TooLargeForSegment { .. }
            | Self::Fenced { .. }
            | Self::OffsetsExhausted
            | Self::DiskFull(_)
            | Self::Reserved { .. }
            | Self::Io(_)
            | Self::Damaged { .. }
            | Self::Offline(_) => false,
        }
    }
}

fn duplicate_of(past: PastBatch) -> Appended {
    Appended {
        base_offset: past.base_offset,
        last_offset: past.last_offset,
        log_append_time: past.max_timestamp,
        duplicate: true,
    }
}

fn append_error(segment: LogOffset, error: SegmentError) -> AppendError {
    match error {
        SegmentError::Io(error) => AppendError::Io(error),
        SegmentError::Damaged { position, what } => AppendError::Damaged { segment, position, what },
    }
}

/// Whether the batch starts a new segment: by size, by age, because the index is full, or because its offset is too far
/// from the base for the index. Age is told by record timestamps where the first record has one, as Kafka does: then
/// records that go back in time, or carry none, start nothing.
fn is_full_for<F>(
    active: &Segment<F>,
    (first, roll_ms): (Option<i64>, u64),
    header: &BatchHeader,
    config: &LogConfig,
    now: Now,
) -> bool {
    if active.size == 0 {
        return false;
    }
    let age = match first {
        Some(first) if first >= 0 => header.max_timestamp.saturating_sub(first),
        Some(_) | None => now.wall.0.saturating_sub(active.created.0),
    };
    let index_has_room = |index: &Index| index.has_room(config.index_interval_bytes, config.segment_index_bytes);
    let vlsns_have_room = |index: &Index| !config.vlsn || index.has_room(0, config.segment_index_bytes);
    active.size.saturating_add(header.total_size() as u64) > u64::from(config.segment_bytes)
        || u64::try_from(age).is_ok_and(|age| age > roll_ms)
        || !active.index.as_ref().is_none_or(index_has_room)
        || !active.vlsns.as_ref().is_none_or(vlsns_have_room)
        || header.last_offset().saturating_sub(active.base.0) > i64::from(i32::MAX)
}

impl<D: Disk> Log<D> {
    /// Appends a batch that was checked already: sequence check, offset, epoch, write. It is in the page cache then; see
    /// [`Log::sync_plan`] for the disk. A duplicate writes nothing and gets its first answer.
    pub fn append(&mut self, batch: &CheckedBatch, epoch: LeaderEpoch, now: Now) -> Result<Appended, AppendError> {
        self.check_online()?;
        self.holds_files = true;
        if let Some(current) = self.epochs.latest().filter(|latest| *latest > epoch) {
            return Err(AppendError::Fenced { found: epoch, current });
        }
        match self.producers.check(&batch.header) {
            Ok(Some(past)) => return Ok(duplicate_of(past)),
            Ok(None) => {}
            // A batch that was recognised by its VLSNs moved its producer on in memory only: after a crash its sequence is
            // one that was never seen.
            Err(error @ SequenceError::OutOfOrder { .. }) => {
                return self.find_original(batch).ok().flatten().map(|o| o.appended()).ok_or(error.into());
            }
            Err(error @ SequenceError::StaleEpoch { .. }) => return Err(error.into()),
        }
        if let Some(original) = self.find_original(batch)? {
            self.producers.apply(&original.as_seen_by(batch), now.wall, self.env.config.producers_max);
            return Ok(original.appended());
        }
        let (header, next) = self.placed(batch, epoch)?;
        let bytes = header.total_size() as u64;
        if !self.env.disk.allowance().claim(bytes) {
            return Err(AppendError::Reserved { bytes });
        }
        let vlsn = batch.vlsns.last().copied();
        let written = self.prepare_active(&header, now).and_then(|()| self.write(&header, &batch.body, vlsn, now));
        self.env.disk.allowance().settle(bytes);
        written?;
        self.last_vlsn = vlsn.or(self.last_vlsn);
        self.epochs.assign(epoch, self.log_end);
        self.producers.apply(&header, now.wall, self.env.config.producers_max);
        let base_offset = self.log_end;
        self.log_end = next;
        self.keep(&header, &batch.body, base_offset);
        let last_offset = LogOffset(header.last_offset());
        Ok(Appended { base_offset, last_offset, log_append_time: batch.log_append_time_ms(), duplicate: false })
    }

    /// Puts a batch back that recovery found in the journal, as it stood here.
    pub(crate) fn put_back(
        &mut self,
        header: &BatchHeader,
        body: &[u8],
        vlsn: Option<Vlsn>,
        now: Now,
    ) -> Result<(), AppendError> {
        self.prepare_active(header, now)?;
        self.write(header, body, vlsn, now)?;
        self.epochs.assign(LeaderEpoch(header.leader_epoch), LogOffset(header.base_offset));
        self.producers.apply(header, now.wall, self.env.config.producers_max);
        self.log_end = LogOffset(header.last_offset().saturating_add(1));
        Ok(())
    }

    /// The header with offset and epoch set, and the log end after it.
    fn placed(&self, batch: &CheckedBatch, epoch: LeaderEpoch) -> Result<(BatchHeader, LogOffset), AppendError> {
        let bytes = batch.total_size() as u64;
        let limit = self.env.config.segment_bytes;
        if bytes > u64::from(limit) {
            return Err(AppendError::TooLargeForSegment { bytes, limit });
        }
        let mut header = batch.header.clone();
        header.base_offset = self.log_end.0;
        header.leader_epoch = epoch.0;
        let records = i64::from(header.last_offset_delta) + 1;
        let next = self.log_end.0.checked_add(records).filter(|end| *end < i64::MAX);
        Ok((header, LogOffset(next.ok_or(AppendError::OffsetsExhausted)?)))
    }

    /// Sees to an active segment that can take the batch, with its index in memory.
    fn prepare_active(&mut self, header: &BatchHeader, now: Now) -> Result<(), AppendError> {
        let full = match self.segments.last_mut() {
            None => true,
            Some(active) => {
                let (env, segment, span) = (&self.env, active.base, self.roll_ms);
                let first = active.first_timestamp(env).map_err(|e| append_error(segment, e))?;
                active.load_index(env).map_err(|e| append_error(segment, e))?;
                if env.config.vlsn {
                    active.load_vlsns(env).map_err(|e| append_error(segment, e))?;
                }
                is_full_for(active, (first, span), header, &env.config, now)
            }
        };
        if full {
            self.roll(now.wall).map_err(|e| if is_full(&e) { AppendError::DiskFull(e) } else { AppendError::Io(e) })?;
        }
        Ok(())
    }

    /// Starts a new active segment at the log end.
    pub(crate) fn roll(&mut self, now: WallMs) -> io::Result<()> {
        self.prove_length()?;
        let name = file_name(self.log_end, "log");
        let file = self.env.disk.open(&self.env.path(&name), OpenMode::Create)?;
        self.dir_changes += 1;
        if let Some(sealed) = self.segments.last_mut() {
            let _ = sealed.cut_to_size(&self.env);
            let _ = sealed.store_index(&self.env, LogOffset::MAX);
            let _ = sealed.store_vlsns(&self.env, LogOffset::MAX);
            (sealed.index, sealed.vlsns) = (None, None);
            self.flush_at = self.log_end;
            let _ = self.store_snapshot();
        }
        let mut active = Segment::created(self.log_end, file, now);
        if self.env.config.preallocate {
            let all = u64::from(self.env.config.segment_bytes);
            active.take_room(&self.env, all);
        }
        self.segments.push(active);
        self.plan_roll();
        Ok(())
    }

    /// A process before this one may have cut the active segment and not have synced that, or this one has on a full disk, while all
    /// that is left of it is known to be on disk. What was cut would come back with a power loss, behind a segment that no
    /// recovery looks into any more: before another one follows it, its length is made durable. Where the recovery point is
    /// below its end, recovery does look. Once in the life of a process, and after each such cut.
    fn prove_length(&mut self) -> io::Result<()> {
        let (env, looked_into) = (&self.env, self.flushed_end < self.log_end);
        let Some(active) = self.segments.last_mut().filter(|active| active.length_unproven) else { return Ok(()) };
        active.length_unproven = false;
        if looked_into {
            return Ok(());
        }
        let synced = active.file(env).and_then(|file| file.sync_data());
        synced.map_err(|error| {
            self.distrust_cache();
            io::Error::other(self.go_offline(format!("sync of {}: {error}", self.env.dir)))
        })
    }

    /// How old the active segment may become. What chance takes off follows from which log and which segment it is: the
    /// topic's id was drawn, and a segment rolls at the same age before and after a restart.
    pub(crate) fn plan_roll(&mut self) {
        let LogConfig { segment_ms, segment_jitter_ms, .. } = self.env.config;
        let most = segment_jitter_ms.min(segment_ms);
        let base = self.segments.last().map_or(0, |active| active.base.0.unsigned_abs());
        let place = u128::from(crc32c::crc32c(self.env.dir.as_bytes())) << 64 | u128::from(base);
        let drawn = Draw::new(u128::from_be_bytes(self.meta.topic_id.0) ^ place).next_u64();
        self.roll_ms = segment_ms - drawn.checked_rem(most).unwrap_or(0);
    }

    /// `vlsn` is the batch's last one; unknown, the index of VLSNs is built again when it is wanted.
    fn write(&mut self, header: &BatchHeader, body: &[u8], vlsn: Option<Vlsn>, now: Now) -> Result<(), AppendError> {
        let Some(active) = self.segments.last_mut() else { return Err(Offline("no active segment".to_owned()).into()) };
        let file = active.file(&self.env).map_err(AppendError::Io)?;
        // Before the write: it may fail half-way, and what it left must not lose its descriptor either.
        if self.dirty.last().is_none_or(|(base, _)| *base != active.base) {
            self.dirty.push((active.base, file.clone()));
        }
        active.see_to_room(&self.env, header.total_size() as u64);
        if let Err(error) = file.write_all_at([&header.encode(), body], active.size) {
            return Err(self.undo_write(&file, error));
        }
        active.size += header.total_size() as u64;
        self.unplanned_bytes += header.total_size() as u64;
        active.touched = now.wall;
        active.touch_is_known = true;
        active.first_timestamp.get_or_insert(header.max_timestamp);
        if let Some(index) = &mut active.index {
            index.note(active.base.0, header, self.env.config.index_interval_bytes);
        }
        active.note_vlsn(header, vlsn);
        Ok(())
    }

    /// A full disk passes: cut what was written of the batch and go on. Anything else is final. The cut is not on disk yet, and the next
    /// batch may go to another segment: see [`Self::prove_length`].
    fn undo_write(&mut self, file: &D::File, error: io::Error) -> AppendError {
        let size = self.segments.last().map_or(0, |active| active.size);
        if is_full(&error) && file.set_len(size).is_ok() {
            if let Some(active) = self.segments.last_mut() {
                active.length_unproven = true;
            }
            return AppendError::DiskFull(error);
        }
        self.go_offline(format!("write to {}: {error}", self.env.dir)).into()
    }
}
