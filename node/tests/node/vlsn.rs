//! A VLSN log under writers that overlap, resend, skip and use stale routes, under partitions that are added, retention,
//! kills and power losses: what a reader was told of a VLSN is final, whatever surface told it, and what was
//! acknowledged is there. The checks are trusted because they catch planted bugs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::{CreatePartitionsRequest, DeleteRecordsRequest};
use pyralog_node::topology::Topology;
use pyralog_node::vlsn::{PageLimits, Point};
use pyralog_node::{ConnId, Limits};
use pyralog_protocol::batch::{BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, Records};
use pyralog_protocol::{Draw, ErrorCode, Response, Routing, Vlsn, kafka_protocol};
use pyralog_storage::sim::SimDisk;

use crate::world::*;

const LOG: &str = "v";
const VIEW: &str = "v.vlsn";
const WRITERS: usize = 3;
const PARTITIONS_MAX: i32 = 6;

/// What somebody was told of a VLSN. Final, but for retention.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Found,
    Gap,
}

/// A batch on its way.
#[derive(Clone, Debug)]
struct Sent {
    partition: i32,
    vlsns: Vec<u64>,
}

struct Run {
    world: World,
    draw: Draw,
    writers: Vec<ConnId>,
    admin: ConnId,
    asked: BTreeMap<i32, Sent>,
    /// Batches that were ever sent, to be sent again.
    past: Vec<Sent>,
    acknowledged: BTreeMap<u64, i64>,
    told: BTreeMap<u64, Told>,
    undecided: Vlsn,
    next: u64,
    stale: Routing,
    /// What a request goes by that looked at it right before partitions were added, and is slow.
    before: Option<Arc<Topology<SimDisk>>>,
    /// Records are deleted in this run.
    deletes: bool,
    /// Any VLSN may be trimmed.
    deleted: bool,
    planted: Planted,
}

fn batch_of(vlsns: &[u64]) -> Bytes {
    let add = |b: BatchBuilder, v: &u64| b.kv(1_800_000_000_000, &Vlsn(*v).key(), format!("value {v}").as_bytes());
    vlsns.iter().fold(BatchBuilder::new(), add).build().unwrap().freeze()
}

fn partitions_request(count: i32) -> CreatePartitionsRequest {
    let topic = CreatePartitionsTopic::default().with_name(name(LOG)).with_count(count).with_assignments(None);
    CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000)
}

/// Code and text of the answer to such a request.
fn added(response: Response) -> (i16, String) {
    let Response::CreatePartitions(mut answer) = response else { panic!("{response:?}") };
    let result = answer.results.remove(0);
    (result.error_code, result.error_message.map(|text| text.to_string()).unwrap_or_default())
}

impl Run {
    fn new(seed: u64, planted: Planted) -> Self {
        let journal_bytes = [0, 3000, 300].get((seed % 3) as usize).copied().unwrap_or_default();
        let mut world = World::with(&[], Limits { journal_bytes, ..Limits::default() }, planted);
        let mut draw = Draw::new(u128::from(seed) | 1 << 77);
        let partitions = 1 + (draw.next_u64() % 3) as i32;
        let configs = [("vlsn.enable", "true"), ("segment.bytes", "1048576")];
        assert_eq!(world.create(LOG, partitions, &configs).code(), 0);
        let mut run = Self {
            world,
            draw,
            writers: Vec::new(),
            admin: ConnId(0),
            asked: BTreeMap::new(),
            past: Vec::new(),
            acknowledged: BTreeMap::new(),
            told: BTreeMap::new(),
            undecided: Vlsn::ZERO,
            next: 0,
            stale: Routing::new(partitions),
            before: None,
            deletes: seed % 2 == 1,
            deleted: false,
            planted,
        };
        run.connect();
        run
    }

    fn connect(&mut self) {
        self.writers = (0..WRITERS).map(|_| self.world.connect()).collect();
        self.admin = self.world.connect();
        self.asked.clear();
    }

    fn chance(&mut self, of: u64) -> bool {
        self.draw.next_u64().is_multiple_of(of)
    }

    fn routing(&self) -> Routing {
        self.world.node.topology().by_name(LOG).unwrap().log.metadata.routing.clone().unwrap()
    }

    fn send(&mut self, sent: Sent) {
        // Mostly one writer per partition, as clients do; now and then another one.
        let mine = usize::try_from(sent.partition).unwrap() % WRITERS;
        let writer = if self.chance(12) { (self.draw.next_u64() % WRITERS as u64) as usize } else { mine };
        let request = produce_request(LOG, sent.partition, -1, batch_of(&sent.vlsns));
        let id = self.world.push(self.writers[writer], PRODUCE, request);
        self.past.push(sent.clone());
        self.asked.insert(id, sent);
    }

    fn write(&mut self) {
        let fresh = self.routing();
        let routing = if self.chance(10) { self.stale.clone() } else { fresh };
        let mut by_partition: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
        for _ in 0..1 + self.draw.next_u64() % 8 {
            if !self.chance(9) {
                by_partition.entry(routing.partition(Vlsn(self.next)).0).or_default().push(self.next);
            }
            self.next += 1;
        }
        for (partition, vlsns) in by_partition {
            self.send(Sent { partition, vlsns });
        }
    }

    fn hear(&mut self) -> Result<(), String> {
        for conn in self.writers.clone() {
            while let Some((id, response)) = self.world.answer(conn) {
                let sent = self.asked.remove(&id).ok_or("an answer to nothing")?;
                let part = produced(response);
                if part.error_code != 0 {
                    continue;
                }
                for (vlsn, offset) in sent.vlsns.iter().zip(part.base_offset..) {
                    let before = self.acknowledged.insert(*vlsn, offset);
                    if before.is_some_and(|before| before != offset) {
                        return Err(format!("VLSN {vlsn} was at {before:?}, and is at {offset} now"));
                    }
                    if self.told.get(vlsn) == Some(&Told::Gap) {
                        return Err(format!("VLSN {vlsn} was a gap, and is acknowledged now"));
                    }
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, vlsn: u64, told: Told) -> Result<(), String> {
        match self.told.insert(vlsn, told.clone()) {
            Some(before) if before != told => Err(format!("VLSN {vlsn} was {before:?}, and is {told:?} now")),
            Some(_) | None => Ok(()),
        }
    }

    /// What a request goes by, and whether there is something newer.
    fn look(&mut self) -> (Arc<Topology<SimDisk>>, bool) {
        let is_late = self.chance(4);
        match self.before.clone().filter(|_| is_late) {
            Some(before) => (before, true),
            None => (self.world.node.topology(), false),
        }
    }

    fn point(&mut self, vlsn: u64) -> Result<(), String> {
        let (topology, is_late) = self.look();
        let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
        match log.point(Vlsn(vlsn)).map_err(|e| e.to_string())? {
            Point::Found(record) => {
                let known = self.acknowledged.get(&vlsn).copied();
                if record.value != Some(format!("value {vlsn}").into()) || known.is_some_and(|o| o != record.offset.0) {
                    return Err(format!("VLSN {vlsn} is another record: {record:?}, acknowledged at {known:?}"));
                }
                self.tell(vlsn, Told::Found)
            }
            Point::Gap if self.acknowledged.contains_key(&vlsn) => Err(format!("acknowledged VLSN {vlsn} is a gap")),
            Point::Gap => self.tell(vlsn, Told::Gap),
            // Who comes later may know more.
            Point::NotYet if is_late => Ok(()),
            Point::NotYet if self.acknowledged.contains_key(&vlsn) => {
                Err(format!("acknowledged VLSN {vlsn} is not written yet"))
            }
            Point::NotYet if self.told.contains_key(&vlsn) => Err(format!("VLSN {vlsn} was decided, and is not now")),
            Point::NotYet => Ok(()),
            Point::Trimmed if self.deleted => {
                self.told.remove(&vlsn);
                Ok(())
            }
            Point::Trimmed => Err(format!("VLSN {vlsn} is trimmed, and nothing was deleted")),
        }
    }

    /// One page from somewhere on, by which every VLSN of it is told.
    fn page(&mut self) -> Result<(), String> {
        let (topology, is_late) = self.look();
        let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
        let bounds = log.bounds().map_err(|e| e.to_string())?;
        if bounds.undecided < self.undecided && !is_late {
            return Err(format!("undecided fell from {} to {}", self.undecided, bounds.undecided));
        }
        self.undecided = self.undecided.max(bounds.undecided);
        let from = Vlsn(self.draw.next_u64() % (bounds.undecided.0 + 1));
        let bytes = (self.draw.next_u64() % 2000) as usize;
        let limits = PageLimits { bytes, records: 50, name_gaps: true, held: bytes };
        let page = log.page(from..Vlsn::MAX, limits, &bounds).map_err(|e| e.to_string())?;
        let found = values(&page.records);
        let mut at = from.0;
        while at < page.next.0 {
            let within = |ranges: &[std::ops::Range<Vlsn>]| ranges.iter().any(|r| r.contains(&Vlsn(at)));
            let vlsn = i64::try_from(at).unwrap();
            match (found.get(&vlsn), within(&page.gaps), within(&page.trimmed)) {
                (Some(value), false, false) if *value == format!("value {at}").into_bytes() => {
                    self.tell(at, Told::Found)?;
                }
                (None, true, false) if !self.acknowledged.contains_key(&at) => self.tell(at, Told::Gap)?,
                (None, false, true) if self.deleted => drop(self.told.remove(&at)),
                other => return Err(format!("VLSN {at} in a page from {from}: {other:?}")),
            }
            at += 1;
        }
        if page.count != found.len() || (page.next == from && from < bounds.undecided) {
            return Err(format!(
                "a page from {from} of {} to {} with {} records",
                bounds.undecided, page.next, page.count
            ));
        }
        Ok(())
    }

    /// The view from somewhere on, as a Kafka client reads it.
    fn view(&mut self) -> Result<(), String> {
        let conn = self.world.connect();
        let from = self.draw.next_u64() % (self.undecided.0 + 1);
        let id = self.world.send(conn, FETCH, fetch_request(&[(VIEW, 0, i64::try_from(from).unwrap())], 0, 0));
        while self.world.is_waiting(conn) {
            // For an index that has to come from the disk.
            self.world.deliver(conn);
        }
        let (answered, response) = self.world.answer(conn).ok_or("no answer")?;
        assert_eq!(id, answered);
        self.world.disconnect(conn);
        let data = fetched(response);
        if data.error_code == 1 && self.deleted {
            return Ok(());
        }
        if data.error_code != 0 || data.high_watermark < i64::try_from(self.undecided.0).unwrap() {
            return Err(format!("the view at {from}: {data:?}"));
        }
        let (mut next, mut bytes) = (from, &data.records.unwrap_or_default()[..]);
        while !bytes.is_empty() {
            let header = BatchHeader::parse(bytes).unwrap();
            let (batch, rest) = bytes.split_at(header.total_size());
            for record in Records::new(&batch[BATCH_HEADER_BYTES..]) {
                let vlsn =
                    u64::try_from(header.base_offset).unwrap() + u64::try_from(record.unwrap().offset_delta).unwrap();
                if vlsn < next || vlsn >= u64::try_from(data.high_watermark).unwrap() {
                    return Err(format!("the view from {from} shows {vlsn} where {next} is next"));
                }
                for missing in next..vlsn {
                    self.missing(missing)?;
                }
                self.tell(vlsn, Told::Found)?;
                next = vlsn + 1;
            }
            for missing in next..=u64::try_from(header.last_offset()).unwrap() {
                self.missing(missing)?;
            }
            next = u64::try_from(header.last_offset()).unwrap() + 1;
            bytes = rest;
        }
        Ok(())
    }

    /// A reader of the view passed over it.
    fn missing(&mut self, vlsn: u64) -> Result<(), String> {
        match self.deleted {
            true => Ok(()),
            false if self.acknowledged.contains_key(&vlsn) => Err(format!("the view passes over acknowledged {vlsn}")),
            false => self.tell(vlsn, Told::Gap),
        }
    }

    fn add_partitions(&mut self) {
        let routing = self.routing();
        self.stale = routing.clone();
        let count = routing.partitions() + 1 + (self.draw.next_u64() % 2) as i32;
        if count <= PARTITIONS_MAX {
            self.before = Some(self.world.node.topology());
            self.world.push(self.admin, 3, partitions_request(count));
        }
    }

    fn delete_records(&mut self) {
        let routing = self.routing();
        let partition = (self.draw.next_u64() % u64::from(routing.partitions().unsigned_abs())) as i32;
        let topology = self.world.node.topology();
        let held = topology.by_name(LOG).unwrap().partition(partition).map(|p| p.bounds().unwrap());
        let Some(held) = held else { return };
        let span = u64::try_from(held.high_watermark.0 - held.log_start.0).unwrap();
        let offset = held.log_start.0 + i64::try_from(self.draw.next_u64() % (span / 2 + 1)).unwrap();
        let part = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic = DeleteRecordsTopic::default().with_name(name(LOG)).with_partitions(vec![part]);
        self.deleted = true;
        self.world.push(self.admin, 2, DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000));
    }

    fn restart(mut self, crash: bool) -> Result<Self, String> {
        let seed = self.draw.next_u64();
        self.before = None;
        self.world = if crash { self.world.crash(seed) } else { self.world.kill() };
        if let Some(problem) = self.world.problems.pop() {
            return Err(problem);
        }
        self.connect();
        Ok(self)
    }

    /// Everything that is acknowledged, looked up.
    fn check_all(&mut self) -> Result<(), String> {
        let vlsns: Vec<u64> = self.acknowledged.keys().copied().collect();
        // What somebody deleted may be anywhere: only its absence is explained then.
        for vlsn in vlsns {
            self.point(vlsn)?;
        }
        Ok(())
    }

    fn step(mut self) -> Result<Self, String> {
        match self.draw.next_u64() % 1000 {
            0..250 => self.write(),
            250..300 if !self.past.is_empty() => {
                let at = (self.draw.next_u64() % self.past.len() as u64) as usize;
                let sent = self.past[at].clone();
                self.send(sent);
            }
            300..700 => {
                let mut draw = self.draw.clone();
                self.world.step(&mut draw);
                self.draw = draw;
                self.hear()?;
            }
            700..800 => {
                let vlsn = self.draw.next_u64() % (self.next + 5);
                self.point(vlsn)?;
            }
            800..880 => self.page()?,
            880..960 => self.view()?,
            960..966 => self.add_partitions(),
            966..970 if self.deletes => self.delete_records(),
            970..974 => self.world.checkpoint(),
            974..978 => {
                self = self.restart(true)?;
                self.check_all()?;
            }
            978..982 => {
                self = self.restart(false)?;
                self.check_all()?;
            }
            982..990 => {
                self.world.settle();
                self.hear()?;
                while self.world.answer(self.admin).is_some() {}
            }
            _ => {}
        }
        Ok(self)
    }
}

fn run(seed: u64, steps: u32, planted: Planted) -> Result<u64, String> {
    let mut run = Run::new(seed, planted);
    for step in 0..steps {
        run = run.step().map_err(|what| format!("seed {seed}, step {step}, {planted:?}: {what}"))?;
    }
    run.world.settle();
    run.hear()?;
    run.before = None;
    run.check_all().map_err(|what| format!("seed {seed}, at the end, {:?}: {what}", run.planted))?;
    Ok(run.acknowledged.len() as u64)
}

/// The second of two changes that were asked for at about the same time knows nothing of what the first one's partitions
/// took meanwhile.
#[test]
fn of_two_changes_of_the_partition_count_at_a_time_the_one_that_comes_late_is_refused() {
    let mut world = World::new();
    world.create(LOG, 3, &[("vlsn.enable", "true")]);
    let (first, second, writer) = (world.connect(), world.connect(), world.connect());
    let write = |world: &mut World, partition: i32, vlsn: u64| {
        produced(world.ask(writer, PRODUCE, produce_request(LOG, partition, -1, batch_of(&[vlsn])))).error_code
    };
    for vlsn in 0..11 {
        assert_eq!(write(&mut world, i32::try_from(vlsn % 3).unwrap(), vlsn), 0);
    }
    world.send(first, 3, partitions_request(4));
    world.send(second, 3, partitions_request(5));
    let late = world.hold_call();
    world.settle();
    assert_eq!(added(world.answer(first).unwrap().1), (0, String::new()));
    assert_eq!(write(&mut world, 3, 11), 0, "the new partition serves");
    assert_ne!(write(&mut world, 0, 12), 0, "the old ones wait for the second change");
    world.let_call(late);
    world.settle();
    let (code, why) = added(world.answer(second).unwrap().1);
    assert_eq!(code, ErrorCode::OperationNotAttempted.code(), "{why}");
    assert!(why.contains("it had 3 partitions then and has 4 now"), "{why}");
    let topology = world.node.topology();
    let log = topology.vlsn_log(topology.by_name(LOG).unwrap()).unwrap();
    assert!(matches!(log.point(Vlsn(11)), Ok(Point::Found(_))));
    assert_eq!(write(&mut world, 0, 12), 0, "and they go on");
}

/// Requests look at the metadata first and at the partitions afterwards. Partitions may be added in between, and written.
#[test]
fn id_13_who_routes_as_before_takes_nothing_for_a_gap_that_may_come_in_a_partition_that_was_added() {
    let mut world = World::new();
    world.create(LOG, 1, &[("vlsn.enable", "true")]);
    let writer = world.connect();
    let write = |world: &mut World, partition: i32, vlsn: u64| {
        produced(world.ask(writer, PRODUCE, produce_request(LOG, partition, -1, batch_of(&[vlsn])))).error_code
    };
    assert_eq!(write(&mut world, 0, 0), 0);
    let before = world.node.topology();
    assert_eq!(added(world.ask(writer, 3, partitions_request(2))), (0, String::new()));
    assert_eq!(write(&mut world, 0, 2), 0, "before 1, which is the new one's");
    let log = before.vlsn_log(before.by_name(LOG).unwrap()).unwrap();
    let bounds = log.bounds().unwrap();
    assert_eq!((bounds.undecided, bounds.appended), (Vlsn(1), Some(Vlsn(0))));
    assert_eq!([1, 2].map(|vlsn| log.point(Vlsn(vlsn)).unwrap()), [Point::NotYet, Point::NotYet]);
    let limits = PageLimits { bytes: 1 << 20, records: 10, name_gaps: true, held: 0 };
    let page = log.page(Vlsn(0)..Vlsn::MAX, limits, &bounds).unwrap();
    assert_eq!((page.count, page.next, page.gaps), (1, Vlsn(1), Vec::new()));
    assert_eq!(write(&mut world, 1, 1), 0);
    assert!(matches!(log.point(Vlsn(0)), Ok(Point::Found(_))));
}

#[test]
fn a_change_that_ends_lets_nobody_into_partitions_that_another_one_holds() {
    let mut world = World::new();
    world.create(LOG, 1, &[("vlsn.enable", "true")]);
    let (first, second, third) = (world.connect(), world.connect(), world.connect());
    world.send(first, 3, partitions_request(2));
    world.send(second, 3, partitions_request(3));
    let late = world.hold_call();
    world.settle();
    world.send(third, 3, partitions_request(4));
    let latest = world.hold_call();
    world.let_call(late);
    world.settle();
    let writer = world.connect();
    let write = |world: &mut World| {
        produced(world.ask(writer, PRODUCE, produce_request(LOG, 1, -1, batch_of(&[1])))).error_code
    };
    assert_ne!(write(&mut world), 0, "the third change knows of nothing in it");
    world.let_call(latest);
    world.settle();
    assert_eq!(added(world.answer(third).unwrap().1), (0, String::new()));
    assert_eq!(write(&mut world), 0);
}

/// A million steps.
#[test]
fn id_12_id_14_what_a_reader_was_told_is_final_and_what_was_acknowledged_is_there() {
    let seeds = 1000;
    let acknowledged: u64 = (0..seeds).map(|seed| run(seed, 1000, Planted::Nothing).unwrap()).sum();
    assert!(acknowledged > 50 * seeds, "{acknowledged} records in {seeds} runs prove little");
}

#[test]
#[ignore = "as long as wanted: tools/schedules"]
fn many_schedules() {
    for seed in asked_seeds() {
        run(seed, 1000, Planted::Nothing).unwrap();
    }
}

#[test]
fn planted_acknowledgement_before_the_sync_is_caught() {
    assert!((0..20).any(|seed| run(seed, 1000, Planted::AcknowledgeBeforeSync).is_err()));
}

#[test]
fn id_13_planted_routing_that_begins_too_early_is_caught() {
    assert!((0..20).any(|seed| run(seed, 1000, Planted::RerouteTooEarly).is_err()));
}
