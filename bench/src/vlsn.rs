//! Logs addressed by VLSN: point reads, writes whose keys rise, commits of one number.
//!
//! A request is prepared, and a few bytes of it are filled in when it is sent. What a VLSN log refuses (a key that does not
//! rise) can not be repeated, so batches are copied and their CRC is computed anew: the load costs a pass over its bytes.

use std::sync::Arc;

use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchBuilder, BatchHeader};
use pyralog_protocol::kafka_protocol::protocol::StrBytes;
use pyralog_protocol::vlsn::Vlsn;
use pyralog_protocol::vlsn::messages::{VlsnCommitEntry, VlsnCommitRequest, VlsnReadRequest, outcome};
use pyralog_protocol::{ApiKey, Draw};

use crate::engine::{Amount, Answer, Answers, Outgoing, Traffic};
use crate::error::BenchError;
use crate::frames::{ProduceFrame, encode, i16_at, i32_at, produce_error_at, set, set_correlation};
use crate::reader::SmallReader;

/// Found again in an encoded request; no other field looks like it.
const PLACE: u64 = 0x7a6b_5c4d_3e2f_1a0b;
/// Where the CRC of a batch stands.
const CRC_AT: usize = 17;

fn place_of(value: u64, bytes: &[u8], what: &'static str) -> Result<usize, BenchError> {
    let found = bytes.windows(8).position(|window| window == value.to_be_bytes());
    found.ok_or_else(|| BenchError::Request { what, detail: "the VLSN is not in it".to_owned() })
}

/// How a connection finds its next VLSN.
#[derive(Debug, Clone, Copy)]
pub enum Next {
    /// Any below this, drawn.
    Below(u64),
    /// The one after the last; each connection counts from its own start.
    Rising,
}

/// A request with a VLSN in it.
#[derive(Debug, Clone)]
pub struct VlsnFrame {
    api: ApiKey,
    frame: Arc<[u8]>,
    at: usize,
    /// Where the answer's error code stands.
    error_at: usize,
    /// Where the answer says what became of the VLSN, and what it has to say.
    outcome: Option<(usize, i8)>,
}

impl VlsnFrame {
    /// VlsnRead of one VLSN.
    pub fn read(log: &str) -> Result<Self, BenchError> {
        let request = VlsnReadRequest {
            log: StrBytes::from_string(log.to_owned()),
            max_wait_ms: 0,
            max_bytes: 1 << 20,
            vlsns: vec![Vlsn(PLACE)],
        };
        let frame = encode(ApiKey::VlsnRead, 0, request)?;
        let at = place_of(PLACE, &frame, "VlsnRead")?;
        // Correlation id and tags; throttle time; then error code, null message, count, VLSN, outcome.
        let error_at = 5 + 4;
        let outcome = Some((error_at + 2 + 1 + 1 + 8, outcome::FOUND));
        Ok(Self { api: ApiKey::VlsnRead, frame: frame.to_vec().into(), at, error_at, outcome })
    }

    /// VlsnCommit of one log.
    pub fn commit(log: &str, consumer: &str) -> Result<Self, BenchError> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let commit = VlsnCommitEntry { log: text(log), vlsn: Vlsn(PLACE), metadata: None };
        let request = VlsnCommitRequest { consumer: text(consumer), force: true, commits: vec![commit] };
        let frame = encode(ApiKey::VlsnCommit, 0, request)?;
        let at = place_of(PLACE, &frame, "VlsnCommit")?;
        // Correlation id and tags; throttle time; count; name of the log.
        let error_at = 5 + 4 + 1 + if log.len() < 127 { 1 } else { 2 } + log.len();
        Ok(Self { api: ApiKey::VlsnCommit, frame: frame.to_vec().into(), at, error_at, outcome: None })
    }
}

/// Such requests, one frame per connection.
#[derive(Debug)]
pub struct VlsnTraffic {
    api: ApiKey,
    next: Next,
    connections: Vec<Asker>,
}

#[derive(Debug)]
struct Asker {
    frame: VlsnFrame,
    used: u64,
    draw: Draw,
    reader: SmallReader,
}

impl VlsnTraffic {
    /// `first` is the number of the first connection in the run.
    pub fn new(first: usize, frames: Vec<VlsnFrame>, next: Next) -> Self {
        let api = frames.first().map_or(ApiKey::VlsnRead, |frame| frame.api);
        let asker = |(index, frame)| Asker::new(frame, first + index);
        Self { api, next, connections: frames.into_iter().enumerate().map(asker).collect() }
    }
}

impl Asker {
    fn new(frame: VlsnFrame, number: usize) -> Self {
        Self { frame, used: 0, draw: Draw::new(number as u128), reader: SmallReader::default() }
    }

    fn next_vlsn(&mut self, next: Next) -> u64 {
        match next {
            Next::Rising => {
                self.used += 1;
                self.used
            }
            Next::Below(end) => self.draw.next_u64() % end.max(1),
        }
    }
}

impl Traffic for VlsnTraffic {
    fn name(&self) -> &'static str {
        self.api.name()
    }

    fn put(&mut self, connection: usize, correlation: i32, out: &mut Outgoing) -> Option<Amount> {
        let next = self.next;
        let asker = self.connections.get_mut(connection)?;
        let vlsn = asker.next_vlsn(next);
        let own = out.own();
        let at = own.len();
        own.extend_from_slice(&asker.frame.frame);
        let frame = own.get_mut(at..).unwrap_or_default();
        set_correlation(frame, correlation);
        set(frame, asker.frame.at, &vlsn.to_be_bytes());
        Some(Amount { records: 1, bytes: 0, plain_bytes: 0 })
    }

    fn take(&mut self, connection: usize, bytes: &[u8], answers: &mut Answers<'_>) -> Result<(), String> {
        let Some(Asker { frame, reader, .. }) = self.connections.get_mut(connection) else { return Ok(()) };
        reader.read(bytes, |answer| {
            let short = || format!("it has only {} bytes", answer.len());
            let correlation = i32_at(answer, 0).ok_or_else(short)?;
            let error = i16_at(answer, frame.error_at).ok_or_else(short)?;
            if let Some((at, wanted)) = frame.outcome.filter(|_| error == 0) {
                let found = answer.get(at).ok_or_else(short)?;
                if i8::from_be_bytes([*found]) != wanted {
                    return Err(format!("a VLSN that was written has outcome {found}"));
                }
            }
            let bytes = u64::try_from(answer.len()).unwrap_or(u64::MAX);
            let amount = Some(Amount { records: 1, bytes, plain_bytes: 0 });
            answers.add(&Answer { correlation, error, amount, timed: true })
        })
    }
}

/// A batch whose keys are VLSNs, to be filled in.
#[derive(Debug, Clone)]
pub struct KeyedBatch {
    bytes: Vec<u8>,
    keys: Vec<usize>,
}

impl KeyedBatch {
    /// So many records with values of so many bytes.
    pub fn new(records: usize, record_bytes: usize) -> Result<Self, BenchError> {
        let value = vec![b'v'; record_bytes];
        let mut builder = BatchBuilder::new();
        for index in 0..records as u64 {
            builder = builder.kv(1_700_000_000_000, &(PLACE + index).to_be_bytes(), &value);
        }
        let what = "Produce";
        let bytes = builder.build().map_err(|e| BenchError::Request { what, detail: e.to_string() })?.to_vec();
        let mut keys = Vec::with_capacity(records);
        let mut from = 0;
        for index in 0..records as u64 {
            from += place_of(PLACE + index, bytes.get(from..).unwrap_or_default(), what)?;
            keys.push(from);
        }
        Ok(Self { bytes, keys })
    }

    /// Appends the batch with VLSNs from `first` on, `step` apart.
    fn put(&self, first: u64, step: u64, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        let batch = out.get_mut(at..).unwrap_or_default();
        let mut vlsn = first;
        for key in &self.keys {
            set(batch, *key, &vlsn.to_be_bytes());
            vlsn += step;
        }
        if let Ok(header) = BatchHeader::parse(batch) {
            let crc = header.crc_with(batch.get(BATCH_HEADER_BYTES..).unwrap_or_default());
            set(batch, CRC_AT, &crc.to_be_bytes());
        }
    }
}

/// Writes to partitions of which each belongs to one connection, so that VLSNs rise.
#[derive(Debug)]
pub struct KeyedTraffic {
    batch: KeyedBatch,
    partitions: u64,
    /// VLSNs from here on are not written.
    until: u64,
    error_at: usize,
    connections: Vec<Writer>,
}

#[derive(Debug)]
struct Writer {
    /// Partition, request, and how many of its VLSNs are used up.
    targets: Vec<(u64, ProduceFrame, u64)>,
    turn: usize,
    reader: SmallReader,
}

impl KeyedTraffic {
    /// Each connection with its partitions and their requests.
    pub fn new(
        (version, topic): (i16, &str),
        (partitions, until): (usize, u64),
        batch: KeyedBatch,
        connections: Vec<Vec<(i32, ProduceFrame)>>,
    ) -> Self {
        let writer = |targets: Vec<(i32, ProduceFrame)>| Writer {
            targets: targets.into_iter().map(|(p, frame)| (u64::from(p.unsigned_abs()), frame, 0)).collect(),
            turn: 0,
            reader: SmallReader::default(),
        };
        Self {
            batch,
            partitions: partitions as u64,
            until,
            error_at: produce_error_at(version, topic),
            connections: connections.into_iter().map(writer).collect(),
        }
    }
}

impl Traffic for KeyedTraffic {
    fn name(&self) -> &'static str {
        ApiKey::Produce.name()
    }

    fn put(&mut self, connection: usize, correlation: i32, out: &mut Outgoing) -> Option<Amount> {
        let writer = self.connections.get_mut(connection)?;
        let count = writer.targets.len().max(1);
        let (until, step) = (self.until, self.partitions);
        let open = |turn: &usize| writer.targets.get(turn % count).is_some_and(|(p, _, used)| p + used * step < until);
        let turn = (writer.turn..writer.turn + count).find(open)?;
        let (partition, frame, used) = writer.targets.get_mut(turn % count)?;
        writer.turn = turn + 1;
        let size = self.batch.bytes.len();
        frame.put_before(correlation, size, out.own());
        self.batch.put(*partition + *used * step, step, out.own());
        out.own().extend_from_slice(frame.after());
        let records = self.batch.keys.len() as u64;
        *used += records;
        Some(Amount { records, bytes: size as u64, plain_bytes: size as u64 })
    }

    fn take(&mut self, connection: usize, bytes: &[u8], answers: &mut Answers<'_>) -> Result<(), String> {
        let error_at = self.error_at;
        let Some(writer) = self.connections.get_mut(connection) else { return Ok(()) };
        writer.reader.read(bytes, |frame| {
            let short = || format!("it has only {} bytes", frame.len());
            let correlation = i32_at(frame, 0).ok_or_else(short)?;
            let error = i16_at(frame, error_at).ok_or_else(short)?;
            answers.add(&Answer { correlation, error, amount: None, timed: true })
        })
    }
}

#[cfg(test)]
mod tests {
    use pyralog_protocol::batch::StoredBatch;

    use super::{Asker, KeyedBatch, Next, VlsnFrame};

    #[test]
    fn keys_are_filled_in_and_the_batch_stays_whole() {
        let batch = KeyedBatch::new(3, 10).expect("builds");
        let mut out = vec![0; 5];
        batch.put(7, 4, &mut out);
        let stored = StoredBatch::open(&out[5..]).expect("whole");
        let vlsns: Vec<u64> = stored.records().map(|r| r.expect("whole").vlsn.0).collect();
        assert_eq!(vlsns, [7, 11, 15]);
    }

    #[test]
    fn draws_stay_below_their_end_and_spread() {
        let frame = VlsnFrame::commit("log", "me").expect("encodes");
        let mut asker = Asker::new(frame, 0);
        let drawn: Vec<u64> = (0..1000).map(|_| asker.next_vlsn(Next::Below(100))).collect();
        assert!(drawn.iter().all(|vlsn| *vlsn < 100));
        assert!((0..100).filter(|vlsn| drawn.contains(vlsn)).count() > 90);
    }
}
