//! One file of the simulated disk: what reads see, what is on the medium, and the writes in between.

use std::sync::Arc;

use super::weather::Weather;

/// A change of a file.
#[derive(Clone, Debug)]
pub enum Write {
    Bytes { position: usize, data: Vec<u8> },
    SetLen(usize),
}

impl Write {
    /// The same bytes elsewhere.
    pub fn moved(self, to: usize) -> Self {
        match self {
            Self::Bytes { data, .. } => Self::Bytes { position: to, data },
            Self::SetLen(_) => self,
        }
    }

    fn len_after(&self, before: usize) -> usize {
        match self {
            Self::Bytes { position, data } => before.max(position + data.len()),
            Self::SetLen(len) => *len,
        }
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Bytes { position, data } => put(bytes, *position, data),
        }
    }
}

fn put(bytes: &mut Vec<u8>, position: usize, data: &[u8]) {
    let end = position + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[position..end].copy_from_slice(data);
}

/// A file. Contents are shared until they change: a crash copies most files, and most are not written again.
#[derive(Clone, Default)]
pub struct Content {
    view: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// With the number of the change, in order.
    pending: Vec<(u64, Write)>,
}

impl Content {
    /// A file whose bytes are all on the medium.
    pub fn durable(bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        Self { view: Arc::clone(&bytes), durable: bytes, pending: Vec::new() }
    }

    pub fn view(&self) -> &[u8] {
        &self.view
    }

    pub fn len(&self) -> usize {
        self.view.len()
    }

    /// Number of the first change that is not durable.
    pub fn oldest(&self) -> Option<u64> {
        self.pending.first().map(|(at, _)| *at)
    }

    pub fn write(&mut self, at: u64, write: Write) {
        self.show(&write);
        self.pend(at, write);
    }

    /// Lets reads see a write.
    pub fn show(&mut self, write: &Write) {
        write.apply(Arc::make_mut(&mut self.view));
    }

    /// Leaves a write to the next sync.
    pub fn pend(&mut self, at: u64, write: Write) {
        self.pending.push((at, write));
    }

    pub fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for (_, write) in self.pending.drain(..) {
            write.apply(durable);
        }
    }

    /// After a failed write around the page cache. What is pending is in flight, and the crash that it may belong to decides.
    pub fn forget_cache(&mut self) {
        if self.pending.is_empty() {
            self.view = Arc::clone(&self.durable);
        }
    }

    /// What is not on the medium by now never will be, and nobody can tell by reading.
    pub fn fail_sync(&mut self, weather: &mut Weather) {
        self.durable = self.survivors(weather);
        self.pending.clear();
    }

    /// What a power loss leaves: parts of the pending writes, and any of the lengths that the file had meanwhile. One that
    /// is longer than what was written ends with zeros.
    pub fn survivors(&self, weather: &mut Weather) -> Arc<Vec<u8>> {
        if self.pending.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut bytes = self.durable.to_vec();
        let mut lengths = vec![bytes.len()];
        for (at, write) in &self.pending {
            lengths.push(write.len_after(lengths.last().copied().unwrap_or(0)));
            match write {
                Write::SetLen(_) if weather.keeps_name(*at) => write.apply(&mut bytes),
                Write::SetLen(_) => {}
                Write::Bytes { position, data } => keep_parts(&mut bytes, *position, data, *at, weather),
            }
        }
        if let Some(length) = weather.length(&lengths) {
            bytes.resize(length, 0);
        }
        Arc::new(bytes)
    }
}

/// Falls apart at the borders of sectors, pages, or anywhere.
fn keep_parts(bytes: &mut Vec<u8>, position: usize, data: &[u8], at: u64, weather: &mut Weather) {
    let grain = weather.grain();
    let mut rest = data;
    let mut position = position;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min(grain - position % grain));
        let kept = weather.part(at, part.len());
        if kept > 0 {
            put(bytes, position, &part[..kept]);
        }
        position += part.len();
        rest = behind;
    }
}
