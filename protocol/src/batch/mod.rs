//! Record batches, format v2 (magic 2): the only format that is stored or served.
//!
//! Holds: a batch is kept as the bytes that arrived; everything here is a view on them or an edit in place. Base offset
//! and leader epoch lie before the CRC's range, so assigning them costs no pass over the data. Whoever changes
//! attributes, timestamps or the payload writes a new CRC.
//! Deliberately absent: the old formats (magic 0 and 1), which are refused by name, and any memory of what came before
//! a batch (sequences and offsets belong to the partition).

mod build;
mod codec;
mod header;
mod keyed;
mod lz4;
mod outline;
mod produced;
mod records;
mod retain;
mod stored;
mod view;
mod xerial;

#[cfg(test)]
mod tests;

pub use build::{BatchBuilder, NewRecord};
pub use codec::{Codec, CodecError, Compression, compress, decompress, inflate_limit};
pub use header::{
    BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, BatchError, BatchHeader, MAGIC_V2, TimestampType, set_base_offset,
    set_leader_epoch,
};
pub use keyed::KeyedRecord;
pub use outline::{BatchPart, Outline};
pub use produced::{
    CheckedBatch, ProduceError, ProduceRules, RECORD_ERRORS_MAX, RejectedRecord, VlsnRoute, check_produced,
};
pub use records::{RecordError, RecordHeader, RecordHeaders, RecordView, Records};
pub use retain::{emptied, retain};
pub use stored::{RecordBase, STORED_INFLATE_MAX, StoredBatch, StoredError, StoredRecord};
pub use view::{ViewBatches, ViewRecord, empty_view};
