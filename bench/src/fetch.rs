//! Fetch requests: one partition each; a connection reads its partitions in turn.

use pyralog_protocol::{ApiKey, ErrorCode};

use crate::engine::{Amount, Answer, Answers, Outgoing, Traffic};
use crate::error::BenchError;
use crate::frames::{FetchFrame, FetchHead, FetchLayout};
use crate::reader::{FetchReader, Fetched};
use crate::schedule::Schedule;

/// What a reader does where a partition ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AtEnd {
    /// Begin again at the first record.
    Restart,
    /// Wait for more (long poll).
    Wait,
    /// Have done with this partition.
    Stop,
}

/// When each record of a partition was due to be sent, for delivery times.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// Record number n of the run is due as request number n.
    pub schedule: Schedule,
    /// Offset of record number 0.
    pub first_offset: i64,
    /// Records that are due before the end.
    pub count: u64,
}

/// A partition that a connection reads.
#[derive(Debug)]
pub struct Cursor {
    frame: FetchFrame,
    start: i64,
    next: i64,
    done: bool,
}

#[derive(Debug)]
struct Consumer {
    cursors: Vec<Cursor>,
    current: usize,
    reader: FetchReader,
}

/// What all consumers ask for.
#[derive(Debug, Clone, Copy)]
pub struct FetchShape<'a> {
    /// Of the API.
    pub version: i16,
    /// Where from.
    pub topic: &'a str,
    /// Bytes of an answer.
    pub max_bytes: i32,
    /// How long an answer may wait for the first byte.
    pub max_wait_ms: i32,
    /// What to do at the end of a partition.
    pub at_end: AtEnd,
    /// When records were due, if deliveries are to be timed.
    pub due: Option<Due>,
}

impl FetchShape<'_> {
    /// A partition, to be read from an offset on.
    pub fn cursor(&self, partition: i32, start: i64) -> Result<Cursor, BenchError> {
        let head = FetchHead {
            version: self.version,
            topic: self.topic,
            partition,
            max_wait_ms: self.max_wait_ms,
            max_bytes: self.max_bytes,
        };
        Ok(Cursor { frame: FetchFrame::new(&head)?, start, next: start, done: false })
    }

    /// The traffic of connections, each with the partitions that it reads.
    pub fn traffic(&self, connections: Vec<Vec<Cursor>>) -> FetchTraffic {
        let layout = FetchLayout::of(self.version, self.topic);
        let consumer = |cursors| Consumer { cursors, current: 0, reader: FetchReader::new(layout) };
        let connections = connections.into_iter().map(consumer).collect();
        FetchTraffic { at_end: self.at_end, due: self.due, delivered: 0, connections }
    }
}

/// Fetch requests of one worker; one request of each connection is in flight at a time.
#[derive(Debug)]
pub struct FetchTraffic {
    at_end: AtEnd,
    due: Option<Due>,
    delivered: u64,
    connections: Vec<Consumer>,
}

impl Consumer {
    /// Goes on behind what an answer brought; the error that remains to be counted.
    fn advance(&mut self, fetched: &Fetched, at_end: AtEnd) -> i16 {
        let partitions = self.cursors.len();
        let Some(cursor) = self.cursors.get_mut(self.current) else { return fetched.error };
        self.current = (self.current + 1) % partitions;
        if fetched.error == ErrorCode::OffsetOutOfRange.code() {
            // Retention was faster than we were: the new beginning stands in the answer.
            (cursor.start, cursor.next) = (fetched.log_start, fetched.log_start);
            return 0;
        }
        if let Some((_, next)) = fetched.offsets {
            cursor.next = next;
        }
        if fetched.error == 0 && cursor.next >= fetched.high_watermark {
            match at_end {
                AtEnd::Restart => cursor.next = cursor.start.max(fetched.log_start),
                AtEnd::Wait => {}
                AtEnd::Stop => cursor.done = true,
            }
        }
        fetched.error
    }
}

impl Traffic for FetchTraffic {
    fn name(&self) -> &'static str {
        ApiKey::Fetch.name()
    }

    fn put(&mut self, connection: usize, correlation: i32, out: &mut Outgoing) -> Option<Amount> {
        let consumer = self.connections.get_mut(connection)?;
        let count = consumer.cursors.len();
        let open = |index: &usize| consumer.cursors.get(*index).is_some_and(|cursor| !cursor.done);
        let turn = (0..count).map(|step| (consumer.current + step) % count).find(open)?;
        consumer.current = turn;
        let cursor = consumer.cursors.get(turn)?;
        cursor.frame.put(correlation, cursor.next, out.own());
        Some(Amount::default())
    }

    fn take(&mut self, connection: usize, bytes: &[u8], answers: &mut Answers<'_>) -> Result<(), String> {
        let (at_end, due) = (self.at_end, self.due);
        let Some(consumer) = self.connections.get_mut(connection) else { return Ok(()) };
        let mut fetched = Vec::new();
        consumer.reader.read(bytes, |answer| {
            fetched.push(answer);
            Ok(())
        })?;
        for answer in fetched {
            let error = consumer.advance(&answer, at_end);
            if let (Some(due), Some((first, end))) = (due, answer.offsets) {
                let number = |offset: i64| u64::try_from(offset.saturating_sub(due.first_offset)).unwrap_or(0);
                (number(first)..number(end)).for_each(|n| answers.delivered(due.schedule.due_ns(n)));
                self.delivered = self.delivered.max(number(end));
            }
            let amount = Amount { records: answer.records, bytes: answer.bytes, plain_bytes: 0 };
            let timed = at_end != AtEnd::Wait;
            answers.add(&Answer { correlation: answer.correlation, error, amount: Some(amount), timed })?;
        }
        Ok(())
    }

    fn asks_on(&self) -> bool {
        self.due.is_some()
    }

    fn is_drained(&self, outstanding: usize) -> bool {
        match self.due {
            Some(due) => self.delivered >= due.count,
            // A long poll may be answered long after the end.
            None => outstanding == 0 || self.at_end == AtEnd::Wait,
        }
    }

    fn missing(&self, each: &mut dyn FnMut(u64)) {
        let Some(due) = self.due else { return };
        (self.delivered..due.count).for_each(|number| each(due.schedule.due_ns(number)));
    }
}

#[cfg(test)]
mod tests {
    use super::{AtEnd, FetchShape, Fetched, Traffic};
    use crate::engine::Outgoing;

    const SHAPE: FetchShape<'static> =
        FetchShape { version: 12, topic: "t", max_bytes: 1 << 20, max_wait_ms: 0, at_end: AtEnd::Restart, due: None };

    fn trace(at_end: AtEnd, answers: &[Fetched]) -> Vec<(usize, i64)> {
        let cursors = (0..2).map(|p| SHAPE.cursor(p, 10).expect("a request")).collect();
        let mut traffic = FetchShape { at_end, ..SHAPE }.traffic(vec![cursors]);
        let mut asked = Vec::new();
        for answer in answers {
            if traffic.put(0, 0, &mut Outgoing::default()).is_none() {
                break;
            }
            let consumer = &mut traffic.connections[0];
            asked.push((consumer.current, consumer.cursors[consumer.current].next));
            assert_eq!(consumer.advance(answer, at_end), answer.error * i16::from(answer.error != 1));
        }
        asked
    }

    fn found(end: i64) -> Fetched {
        Fetched { high_watermark: 30, log_start: 5, offsets: Some((10, end)), records: 1, ..Fetched::default() }
    }

    #[test]
    fn partitions_are_read_in_turn_and_again_from_the_start() {
        let asked = trace(AtEnd::Restart, &[found(20), found(30), found(30), found(20), found(20)]);
        assert_eq!(asked, [(0, 10), (1, 10), (0, 20), (1, 10), (0, 10)]);
    }

    #[test]
    fn a_partition_that_is_read_to_its_end_is_left_alone() {
        let asked = trace(AtEnd::Stop, &[found(30), found(20), found(25), found(30), found(30)]);
        assert_eq!(asked, [(0, 10), (1, 10), (1, 20), (1, 25)]);
    }

    #[test]
    fn who_waits_asks_for_what_comes_next() {
        let nothing = Fetched { offsets: None, ..found(0) };
        let asked = trace(AtEnd::Wait, &[found(30), nothing, nothing, nothing]);
        assert_eq!(asked, [(0, 10), (1, 10), (0, 30), (1, 10)]);
    }

    #[test]
    fn retention_moves_a_reader_to_the_new_beginning() {
        let gone = Fetched { error: 1, log_start: 17, ..Fetched::default() };
        let failed = Fetched { error: 56, ..Fetched::default() };
        let asked = trace(AtEnd::Restart, &[gone, failed, found(30), found(20), found(20)]);
        assert_eq!(asked, [(0, 10), (1, 10), (0, 17), (1, 10), (0, 17)]);
    }
}
