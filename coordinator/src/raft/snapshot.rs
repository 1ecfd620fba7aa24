//! The image of a shard's state for a follower that the log no longer reaches. There is no stored snapshot: the state
//! columns are it, read as of one moment together with the applied index, which must be the index that the image
//! claims (RA-08). The image names its index and term and carries a CRC-32C over all of it.
//!
//! Built and installed in one piece: it is live metadata, not history.

use raft::eraftpb::{ConfState, Snapshot};
use serde::{Deserialize, Serialize};

use super::keys::{self, LogPosition, MetaKey, Shard};
use super::log_store::{Column, LogStore, Span, StoreError};

/// One key of the image, without its shard.
type Row = (Column, Vec<u8>, Vec<u8>);

/// The same as it travels, with the number of its column.
type ImageRow = (u8, Vec<u8>, Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Image {
    index: u64,
    term: u64,
    rows: Vec<ImageRow>,
}

/// Why an image is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the state is of index {found:?}, the snapshot is to be of {expected}")]
    Moved { found: Option<u64>, expected: u64 },
    #[error("CRC-32C is {found:#010x}, the image says {stored:#010x}")]
    Crc { found: u32, stored: u32 },
    #[error("{0}")]
    Malformed(String),
}

impl From<keys::DecodeError> for SnapshotError {
    fn from(e: keys::DecodeError) -> Self {
        Self::Malformed(e.to_string())
    }
}

/// The state as of `at`.
pub(super) fn build<S: LogStore>(
    store: &S,
    shard: Shard,
    at: LogPosition,
    conf_state: &ConfState,
) -> Result<Snapshot, SnapshotError> {
    let rows = collect(store, shard, at.index)?;
    let image = keys::encode_records(&Image { index: at.index, term: at.term, rows })?;
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = at.index;
    metadata.term = at.term;
    metadata.set_conf_state(conf_state.clone());
    snapshot.data = [&crc32c::crc32c(&image).to_be_bytes(), image.as_slice()].concat().into();
    Ok(snapshot)
}

fn collect<S: LogStore>(store: &S, shard: Shard, index: u64) -> Result<Vec<ImageRow>, SnapshotError> {
    let applied_key = shard.meta_key(MetaKey::Applied);
    let after = [applied_key.as_slice(), &[0]].concat();
    let mut spans = vec![Span { column: Column::RaftMeta, from: applied_key, to: after }];
    spans.extend(Column::STATE.map(|column| shard.span(column, &[])));
    let (mut found, mut rows) = (None, Vec::new());
    store.scan(&spans, &mut |column, key, value| {
        match column_number(column) {
            Some(number) => rows.push((number, key.get(4..).unwrap_or_default().to_vec(), value.to_vec())),
            None => found = keys::decode_u64("applied index", value).ok(),
        }
        true
    })?;
    if found != Some(index) {
        return Err(SnapshotError::Moved { found, expected: index });
    }
    Ok(rows)
}

/// What of the state a snapshot holds; an image that contradicts its own metadata is refused.
pub(super) fn decode(snapshot: &Snapshot) -> Result<Vec<Row>, SnapshotError> {
    let (stored, bytes) =
        snapshot.data.split_at_checked(4).ok_or_else(|| SnapshotError::Malformed("no checksum".into()))?;
    let stored = <[u8; 4]>::try_from(stored).map(u32::from_be_bytes).unwrap_or_default();
    let found = crc32c::crc32c(bytes);
    if stored != found {
        return Err(SnapshotError::Crc { found, stored });
    }
    let image: Image = keys::decode_records(bytes)?;
    let metadata = snapshot.get_metadata();
    if (image.index, image.term) != (metadata.index, metadata.term) {
        return Err(SnapshotError::Moved { found: Some(image.index), expected: metadata.index });
    }
    let row = |(number, key, value): ImageRow| {
        let column = state_column(number).ok_or_else(|| SnapshotError::Malformed(format!("column {number}")))?;
        Ok((column, key, value))
    };
    image.rows.into_iter().map(row).collect()
}

/// Number of a state column in an image; part of the format.
fn column_number(column: Column) -> Option<u8> {
    match column {
        Column::Meta => Some(0),
        Column::Groups => Some(1),
        Column::Vlsn => Some(2),
        Column::RaftLog | Column::RaftMeta => None,
    }
}

fn state_column(number: u8) -> Option<Column> {
    Column::STATE.into_iter().find(|column| column_number(*column) == Some(number))
}
