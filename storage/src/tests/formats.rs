//! Every on-disk format, byte for byte. A change here is a new format version.

use pyralog_protocol::batch::BatchHeader;
use pyralog_protocol::{EpochOffset, Vlsn};

use super::*;
use crate::epochs::Epochs;
use crate::index::{Index, SPARSE};
use crate::producers::Producers;
use crate::state::Snapshot;
use crate::{FileError, PartitionMeta, RecoveryPoints, decode_recovery_points, encode_recovery_points};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn header(base_offset: i64) -> BatchHeader {
    let mut header = idempotent(9, 2, 5, 3).header;
    header.base_offset = base_offset;
    header
}

fn snapshot() -> Snapshot {
    let mut producers = Producers::default();
    producers.apply(&header(7), WallMs(77), 10);
    let mut epochs = Epochs::default();
    epochs.assign(LeaderEpoch(0), off(0));
    epochs.assign(LeaderEpoch(4), off(7));
    assert_eq!(epochs.entries()[1], EpochOffset { epoch: LeaderEpoch(4), offset: off(7) });
    Snapshot { log_end: off(10), active_base: off(3), active_size: 500, first_dirty: off(2), epochs, producers }
}

#[test]
fn partition_meta() {
    let meta =
        PartitionMeta { topic_id: TopicId([7; 16]), log_start: off(258), cleaned_end: off(9), trimmed: Some(Vlsn(77)) };
    let bytes = meta.encode();
    assert_eq!(
        hex(&bytes),
        "504c4d5400030000000000280707070707070707070707070707070700000000000001020000000000000009000000000000004df5d796b4"
    );
    assert_eq!(read_meta(bytes).unwrap(), meta);
}

#[test]
fn partition_meta_from_before_compaction_is_read() {
    let old = "504c4d540001000000000018070707070707070707070707070707070000000000000102a246dacf";
    let bytes = (0..old.len()).step_by(2).map(|at| u8::from_str_radix(&old[at..at + 2], 16).unwrap()).collect();
    let meta = PartitionMeta { topic_id: TopicId([7; 16]), log_start: off(258), cleaned_end: off(0), trimmed: None };
    assert_eq!(read_meta(bytes).unwrap(), meta);
}

#[test]
fn partition_meta_from_before_vlsns_is_read() {
    let old = "504c4d5400020000000000200707070707070707070707070707070700000000000001020000000000000009e1abf08f";
    let bytes = (0..old.len()).step_by(2).map(|at| u8::from_str_radix(&old[at..at + 2], 16).unwrap()).collect();
    let meta = PartitionMeta { topic_id: TopicId([7; 16]), log_start: off(258), cleaned_end: off(9), trimmed: None };
    assert_eq!(read_meta(bytes).unwrap(), meta);
}

fn read_meta(bytes: Vec<u8>) -> Result<PartitionMeta, FileError> {
    let disk = new_disk();
    disk.overwrite(&format!("{DIR}/partition.meta"), bytes);
    PartitionMeta::read(&disk, DIR)
}

#[test]
fn snapshot_file() {
    let bytes = snapshot().encode();
    assert_eq!(
        hex(&bytes),
        concat!(
            "504c534e000200000000007b000000000000000a000000000000000300000000000001f400000000",
            "00000002000000020000000000000000000000000000000400000000000000070000000100000000",
            "000000090002000000000000004d00000000000003e8010000000500000007000000000000000700",
            "0000000000000900000000000003e8b68161e6",
        )
    );
    assert_eq!(Snapshot::decode("x", &bytes).unwrap(), snapshot());
    for cut in 0..bytes.len() {
        assert!(Snapshot::decode("x", &bytes[..cut]).is_err());
    }
}

#[test]
fn index_file() {
    let mut index = Index::new(3);
    for base in [3, 6, 9] {
        index.note(3, &header(base), 150);
    }
    assert_eq!(
        hex(&index.encode(SPARSE, 3)),
        concat!(
            "504c495800010010000000000000000300000000000001aa000000000000000c00000000000003e8",
            "00000001cc91c849000000060000011c00000000000003e8bd0d8e47",
        )
    );
}

#[test]
fn recovery_points_file() {
    let points = RecoveryPoints::from([("logs/a-0".to_owned(), off(5)), ("logs/b-1".to_owned(), off(1 << 40))]);
    let bytes = encode_recovery_points(&points);
    assert_eq!(
        hex(&bytes),
        concat!(
            "504c525000010000000000280000000200086c6f67732f612d30000000000000000500086c6f6773",
            "2f622d310000010000000000096e488a",
        )
    );
    assert_eq!(decode_recovery_points("x", &bytes).unwrap(), points);
    assert!(decode_recovery_points("x", &bytes[1..]).is_err());
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = encode_recovery_points(&RecoveryPoints::new());
    bytes[5] = 2;
    let end = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&crc.to_be_bytes());
    let error = decode_recovery_points("recovery", &bytes).unwrap_err();
    assert!(matches!(error, FileError::Version { found: 2, supported: 1, .. }));
    assert_eq!(error.to_string(), "recovery has format version 2, this version of Pyralog reads 1");
}

#[test]
fn an_index_of_many_blocks_answers_as_in_memory_and_notices_each_damaged_block() {
    let mut index = Index::new(0);
    for n in 0..2000 {
        index.note(0, &header(3 * n), 0);
    }
    let disk = new_disk();
    let write = |bytes: Vec<u8>| {
        let file = crate::Disk::open(&disk, "logs/index", crate::OpenMode::Create).unwrap();
        crate::DiskFile::write_all_at(&file, [&bytes, &[]], 0).unwrap();
        file
    };
    let file = write(index.encode(SPARSE, 0));
    let header = crate::index::IndexHeader::load(&file, SPARSE, 0).unwrap();
    for wanted in 0..6000 {
        let before = |e: &crate::index::Entry| e.relative_offset <= wanted;
        assert_eq!(header.last_where(&file, before), Some(index.last_where(before)));
    }
    assert_eq!(Index::load(&file, SPARSE, 0).unwrap(), index);
    let mut bytes = index.encode(SPARSE, 0);
    bytes[crate::index::HEADER_BYTES + 5000] ^= 1;
    let file = write(bytes);
    assert_eq!(Index::load(&file, SPARSE, 0), None);
    assert_eq!(header.last_where(&file, |e| e.relative_offset <= 900), None, "the damaged block");
}
