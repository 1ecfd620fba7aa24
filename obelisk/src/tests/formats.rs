//! Bytes on disk. A change here is a new format version.

use std::path::Path;

use super::disk::SimDisk;
use crate::disk::{Disk, DiskFile, Identity};
use crate::header::{self, Head, Header, Mark, PAGE};
use crate::{OpenError, Options, StrategyKind};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sectors(header: &Header) -> Vec<Vec<u8>> {
    let file = SimDisk::new(0).open_or_create(Path::new("golden")).unwrap();
    file.allocate(PAGE).unwrap();
    header::write_new(&file, header).unwrap();
    let mut page = vec![0; 4096];
    file.read_at(&mut page, 0).unwrap();
    assert_eq!(header::read(&file).unwrap().head, header.head);
    assert_eq!(header::read(&file).unwrap().mark, header.mark);
    page.chunks(512).map(<[u8]>::to_vec).collect()
}

#[test]
fn golden_header() {
    let header = Header {
        head: Head {
            strategy: StrategyKind::BitmapMmap,
            parameter: 0x1122_3344_5566_7788,
            base: 7,
            identity: Identity { inode: Some(0xabcd), born_ns: Some(0x0102_0304_0506_0708) },
        },
        mark: Mark { seq: 3, ceiling: 1 << 40, next: 1 << 39, closed: true },
    };
    let sectors = sectors(&header);
    let head = "4f42454c49534b68\
                0100030300000000\
                8877665544332211\
                0700000000000000\
                cdab000000000000\
                0807060504030201";
    let mark = "4f42454c49534b6d\
                0300000000000000\
                0000000000010000\
                0000000080000000\
                0100000000000000";
    for (copy, rest) in [(0, 1), (2, 3)] {
        assert_eq!(hex(&sectors[copy][..48]), head);
        assert_eq!(hex(&sectors[rest][..40]), mark);
        assert_eq!(hex(&sectors[copy][508..]), "c133c968");
        assert_eq!(hex(&sectors[rest][508..]), "5311628f");
        assert!(sectors[copy][48..508].iter().chain(&sectors[rest][40..508]).all(|byte| *byte == 0));
    }
    assert!(sectors[4..].iter().flatten().all(|byte| *byte == 0));
}

#[test]
fn an_identity_that_is_not_known_stays_unknown() {
    for identity in [Identity::default(), Identity { inode: Some(0), born_ns: None }] {
        let head = Head { strategy: StrategyKind::FileSize, parameter: 1, base: 0, identity };
        // `sectors` compares what is read with what was written.
        sectors(&Header { head, mark: Mark::first(0) });
    }
}

#[test]
fn any_changed_byte_of_the_header_is_made_good_from_the_other_copy() {
    let (path, options) = (Path::new("counter"), Options::new().step(8));
    let disk = SimDisk::new(1);
    super::open(StrategyKind::PeriodicCheckpoint, &disk, &options).unwrap().fetch_add(5).unwrap();
    for position in (0..2048).step_by(if cfg!(miri) { 251 } else { 1 }) {
        disk.scribble(path, position, &[0xa5]);
        let counter = super::open(StrategyKind::PeriodicCheckpoint, &disk, &options).unwrap();
        assert_eq!(counter.load(), 5, "byte {position}");
        drop(counter);
        let file = disk.open(path).unwrap().unwrap();
        let mut page = vec![0; 2048];
        file.read_at(&mut page, 0).unwrap();
        assert_eq!(page[..1024], page[1024..], "byte {position} is not repaired");
    }
}

#[test]
fn two_bad_copies_are_refused() {
    let (path, options) = (Path::new("counter"), Options::new().step(8));
    for (first, second) in [(20, 1024 + 300), (512 + 20, 1536 + 9)] {
        let disk = SimDisk::new(1);
        drop(super::open(StrategyKind::PeriodicCheckpoint, &disk, &options).unwrap());
        disk.scribble(path, first, &[0xa5]);
        disk.scribble(path, second, &[0xa5]);
        let error = super::open(StrategyKind::PeriodicCheckpoint, &disk, &options).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    }
}

#[test]
fn another_format_version_is_refused_with_both_numbers() {
    let options = Options::new();
    let disk = SimDisk::new(1);
    drop(super::open(StrategyKind::PeriodicCheckpoint, &disk, &options).unwrap());
    let file = disk.open(Path::new("counter")).unwrap().unwrap();
    let mut head = [0; 512];
    file.read_at(&mut head, 0).unwrap();
    head[8] = 2;
    let crc = crc32c::crc32c(&head[..508]).to_le_bytes();
    head[508..].copy_from_slice(&crc);
    disk.scribble(Path::new("counter"), 0, &head);
    let error = super::open(StrategyKind::PeriodicCheckpoint, &disk, &options).err().unwrap().to_string();
    assert!(error.contains("format 2") && error.contains("format 1"), "{error}");
}
