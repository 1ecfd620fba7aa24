//! Somebody who creates topics, writes a record into each, deletes some, and cuts the beginning off a log: what was answered is so afterwards, what was asked
//! and not answered may be.

use std::collections::BTreeMap;
use std::sync::Barrier;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, ProduceRequest};

use super::{Client, Disk, call};
use crate::batch::{Batch, Record};
use crate::calls::{produce_request, produced};
use crate::conn::Conn;
use crate::draw::Draw;
use crate::topic;

const CUT: &str = "cut";
/// Topics that are there at a time.
const AT_MOST: usize = 12;

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Asked for, or asked to go: either is right.
    Open,
    /// Acknowledged, with so many acknowledged records and so many that were sent.
    There(i64, i64),
    Gone,
}

/// The client.
pub struct Topics {
    known: BTreeMap<String, Known>,
    count: u64,
    /// Of the log that is cut: its end as acknowledged, and the start as acknowledged and as asked for.
    end: i64,
    start: (i64, i64),
    draw: Draw,
    disk: Disk,
}

impl Topics {
    /// Creates the log that is cut, and a client whose draws the seed repeats.
    pub fn new(conn: &mut Conn, seed: u64, disk: Disk) -> Topics {
        conn.create_topic(CUT, 1, &[("segment.bytes", "1048576")]);
        let draw = Draw::stream(seed, "topics");
        Topics { known: BTreeMap::new(), count: 0, end: 0, start: (0, 0), draw, disk }
    }

    fn create(&mut self, conn: &mut Conn) -> bool {
        let name = format!("made-{}", self.count);
        self.count += 1;
        self.known.insert(name.clone(), Known::Open);
        let wanted =
            CreatableTopic::default().with_name(topic(&name)).with_num_partitions(1).with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(15000);
        let error = call::<CreateTopicsRequest>(conn, 7, &request).map(|answer| answer.topics[0].error_code);
        let done = self.disk.is_done(error, &name);
        if done {
            self.known.insert(name, Known::There(0, 0));
        }
        done
    }

    fn write(&mut self, conn: &mut Conn) -> bool {
        let there: Vec<String> = self.there();
        let Some(name) = there.get(self.draw.index(AT_MOST)) else { return true };
        let Some(Known::There(acked, sent)) = self.known.get_mut(name) else { return true };
        *sent += 1;
        let records = Batch::new(vec![Record::of("x")]).encode();
        let answer = call::<ProduceRequest>(conn, 9, &produce_request(name, 0, &records));
        let error = answer.map(|answer| produced(&answer, name, 0).error_code);
        // It may not serve yet (M20).
        if self.disk == Disk::Stays && error.is_some_and(|code| [3, 6].contains(&code)) {
            return true;
        }
        let done = self.disk.is_done(error, name);
        *acked += i64::from(done);
        done
    }

    fn there(&self) -> Vec<String> {
        let there = self.known.iter().filter(|(_, known)| matches!(known, Known::There(..)));
        there.map(|(name, _)| name.clone()).collect()
    }

    fn delete(&mut self, conn: &mut Conn) -> bool {
        let there = self.there();
        let name = there[self.draw.index(there.len())].clone();
        self.known.insert(name.clone(), Known::Open);
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![DeleteTopicState::default().with_name(Some(topic(&name)))])
            .with_timeout_ms(15000);
        let error = call::<DeleteTopicsRequest>(conn, 6, &request).map(|answer| answer.responses[0].error_code);
        let done = self.disk.is_done(error, &name);
        if done {
            self.known.insert(name, Known::Gone);
        }
        done
    }

    /// Appends to the log that is cut, and now and then cuts it.
    fn cut(&mut self, conn: &mut Conn) -> bool {
        let records = Batch::new(vec![Record::of(&"z".repeat(20_000))]).encode();
        let answer = call::<ProduceRequest>(conn, 9, &produce_request(CUT, 0, &records));
        let answer = answer.map(|answer| produced(&answer, CUT, 0).clone());
        if !self.disk.is_done(answer.as_ref().map(|answer| answer.error_code), CUT) {
            return false;
        }
        self.end = answer.map_or(0, |answer| answer.base_offset + 1);
        if self.draw.below(20) > 0 {
            return true;
        }
        let to = self.start.1.max(self.end - i64::try_from(self.draw.below(200)).unwrap());
        self.start.1 = to;
        let wanted = DeleteRecordsTopic::default()
            .with_name(topic(CUT))
            .with_partitions(vec![DeleteRecordsPartition::default().with_partition_index(0).with_offset(to)]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(15000);
        let answer = call::<DeleteRecordsRequest>(conn, 2, &request);
        let done = self.disk.is_done(answer.map(|answer| answer.topics[0].partitions[0].error_code), "cut");
        if done {
            self.start.0 = to;
        }
        done
    }
}

impl Client for Topics {
    fn run(&mut self, connect: &(dyn Fn() -> Conn + Sync), started: &Barrier) {
        let mut conn = connect();
        started.wait();
        loop {
            let there = self.there().len();
            let goes_on = match self.draw.below(10) {
                0 if there < AT_MOST => self.create(&mut conn),
                1 if there > AT_MOST / 2 => self.delete(&mut conn),
                0..=4 => self.write(&mut conn),
                _ => self.cut(&mut conn),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn broken_promises(&self, conn: &mut Conn) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, known) in &self.known {
            let is_there = match conn.metadata_of(name).error_code {
                0 => true,
                3 => false,
                other => {
                    broken.push(format!("{name}: error {other}"));
                    continue;
                }
            };
            match known {
                Known::Open => {}
                Known::Gone if is_there => broken.push(format!("{name} was deleted and is there")),
                Known::Gone => {}
                Known::There(..) if !is_there => broken.push(format!("{name} was created and is not there")),
                Known::There(acked, sent) => {
                    let end = conn.list_offset(name, 0, -1);
                    if end.error_code != 0 || !(*acked..=*sent).contains(&end.offset) {
                        broken.push(format!("{name}: ends at {end:?}, acknowledged {acked}, sent {sent}"));
                    }
                }
            }
        }
        let (start, end) = (conn.list_offset(CUT, 0, -2).offset, conn.end_offset(CUT, 0));
        if !(self.start.0..=self.start.1).contains(&start) || end < self.end {
            broken.push(format!("the cut log is {start} to {end}, promised {:?} to {}", self.start, self.end));
        }
        broken
    }

    fn acknowledged(&self) -> usize {
        self.known.values().filter(|known| **known != Known::Open).count() + usize::try_from(self.end).unwrap()
    }
}
