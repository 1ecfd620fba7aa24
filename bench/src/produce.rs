//! Produce requests: one batch for one partition each, the partitions in turn.

use std::sync::Arc;

use pyralog_protocol::ApiKey;

use crate::engine::{Amount, Answer, Answers, Outgoing, Traffic};
use crate::error::BenchError;
use crate::frames::{ProduceFrame, ProduceHead, i16_at, i32_at, produce_error_at};
use crate::payload::Batch;
use crate::reader::SmallReader;

/// Batches up to this size are copied behind their head and go out in one piece.
const COPIED_BYTES_MAX: usize = 4096;

/// Produce requests of one worker.
#[derive(Debug)]
pub struct ProduceTraffic {
    batches: Arc<[Batch]>,
    records: u64,
    acks: i16,
    error_at: usize,
    connections: Vec<Producer>,
}

#[derive(Debug)]
struct Producer {
    /// One for each partition that it sends to.
    frames: Arc<[ProduceFrame]>,
    partition: usize,
    batch: usize,
    reader: SmallReader,
}

/// What all producers send.
#[derive(Debug, Clone)]
pub struct ProduceShape<'a> {
    /// Of the API.
    pub version: i16,
    /// Where to.
    pub topic: &'a str,
    /// 0, 1 or -1.
    pub acks: i16,
    /// Records of each batch.
    pub records: u64,
    /// What they send, in turn.
    pub batches: Arc<[Batch]>,
}

impl ProduceShape<'_> {
    /// Prepares the requests for some partitions.
    pub fn frames(&self, partitions: &[i32]) -> Result<Arc<[ProduceFrame]>, BenchError> {
        let frame = |partition: &i32| {
            ProduceFrame::new(&ProduceHead {
                version: self.version,
                topic: self.topic,
                partition: *partition,
                acks: self.acks,
                timeout_ms: 30_000,
            })
        };
        partitions.iter().map(frame).collect()
    }

    /// The traffic of connections, each with the requests that it sends in turn. Connection number n of the run begins
    /// with the n-th of them, so that not all send to the same partition at once; `first` is the number of the first.
    pub fn traffic(&self, first: usize, connections: Vec<Arc<[ProduceFrame]>>) -> ProduceTraffic {
        let producer = |(index, frames): (usize, Arc<[ProduceFrame]>)| Producer {
            partition: (first + index) % frames.len().max(1),
            batch: (first + index) * 31 % self.batches.len().max(1),
            frames,
            reader: SmallReader::default(),
        };
        ProduceTraffic {
            batches: self.batches.clone(),
            records: self.records,
            acks: self.acks,
            error_at: produce_error_at(self.version, self.topic),
            connections: connections.into_iter().enumerate().map(producer).collect(),
        }
    }
}

impl Traffic for ProduceTraffic {
    fn name(&self) -> &'static str {
        ApiKey::Produce.name()
    }

    fn put(&mut self, connection: usize, correlation: i32, out: &mut Outgoing) -> Option<Amount> {
        let producer = self.connections.get_mut(connection)?;
        let frame = producer.frames.get(producer.partition)?;
        let batch = self.batches.get(producer.batch)?;
        frame.put_before(correlation, batch.bytes.len(), out.own());
        if batch.bytes.len() <= COPIED_BYTES_MAX {
            out.own().extend_from_slice(&batch.bytes);
        } else {
            out.put_batch(&batch.bytes);
        }
        out.own().extend_from_slice(frame.after());
        producer.partition = (producer.partition + 1) % producer.frames.len();
        producer.batch = (producer.batch + 1) % self.batches.len();
        let bytes = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        Some(Amount { records: self.records, bytes, plain_bytes: batch.plain_bytes })
    }

    fn take(&mut self, connection: usize, bytes: &[u8], answers: &mut Answers<'_>) -> Result<(), String> {
        let error_at = self.error_at;
        let Some(producer) = self.connections.get_mut(connection) else { return Ok(()) };
        producer.reader.read(bytes, |frame| {
            let short = || format!("it has only {} bytes", frame.len());
            let correlation = i32_at(frame, 0).ok_or_else(short)?;
            let error = i16_at(frame, error_at).ok_or_else(short)?;
            answers.add(&Answer { correlation, error, amount: None, timed: true })
        })
    }

    fn is_answered(&self) -> bool {
        self.acks != 0
    }
}
