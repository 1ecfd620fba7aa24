//! Memory shared with a file, seen as atomics and nothing else. The only file of this crate with `unsafe` in it.
//!
//! What cannot be excluded: somebody cuts the file while it is mapped. The next access then ends the process (SIGBUS);
//! no value is handed out twice. A full disk cannot do that, because the file has all its blocks before it is mapped.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::slice;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

use crate::disk::Map;

pub(crate) struct Mapping {
    map: MmapRaw,
}

impl Mapping {
    pub(crate) fn new(file: &File, position: u64, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let map = MmapOptions::new().offset(position).len(len).map_raw(file)?;
        assert!(map.as_ptr().cast::<AtomicU64>().is_aligned(), "mappings begin at a page");
        Ok(Self { map })
    }
}

impl Map for Mapping {
    #[inline]
    fn words(&self) -> &[AtomicU64] {
        let words = self.map.len() / size_of::<AtomicU64>();
        // SAFETY: `map` is a live, readable and writable mapping of `len` bytes that is unmapped when `self` is dropped,
        // and the slice borrows `self`. Its start is aligned (checked in `new`), any bit pattern is a valid AtomicU64,
        // and in this process the memory is reached through these atomics only. Other processes are kept out by the
        // file's lock; one that ignores it can change values between two atomic accesses, as another thread can.
        unsafe { slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>(), words) }
    }

    fn flush(&self) -> io::Result<()> {
        // On Linux a shared mapping is the file's page cache, and the sync of the file covers it.
        if cfg!(target_os = "linux") { Ok(()) } else { self.map.flush() }
    }
}
