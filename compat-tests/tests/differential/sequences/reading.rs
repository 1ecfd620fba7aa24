//! Readers: fetches with and without sessions, offsets by time, ends of epochs, and records deleted from the front.

use pyralog_compat_tests::draw::Draw;
use serde_json::json;

use super::super::good_requests::STAMP;
use super::super::*;
use super::batches::decoded;
use super::records::append;
use super::topics::delete_slot;
use super::world::{Kind, SILENCE, World};
use super::{Operation, api, op};

/// What a sequence does with records that are there.
pub const OPERATIONS: &[Operation] = &[
    op("fetch", 6, fetch),
    op("wait for records", 2, wait_for_records),
    op("list offsets", 6, list_offsets),
    op("delete records", 3, delete_records),
    op("ends of epochs", 2, ends_of_epochs),
];

/// What a sequence does with fetch sessions.
pub const SESSIONS: &[Operation] =
    &[op("open session", 3, open_session), op("go on in session", 10, go_on), op("close session", 1, close_session)];

/// Fetch names topics by id from here on.
const BY_ID_FROM: i16 = 13;
/// Sessions there are from here on.
const SESSIONS_FROM: i16 = 7;

/// One session.
#[derive(Default)]
struct Session {
    /// What its id is called; empty before it was opened.
    id: String,
    /// The next epoch.
    epoch: i32,
    by_id: bool,
}

/// All sessions of a sequence.
#[derive(Default)]
pub struct Sessions {
    all: [Session; 2],
    opened: usize,
}

/// Where a partition of Kafka's begins and ends, if it is there.
fn span(world: &mut World<'_>, slot: usize, partition: i32) -> (i64, i64) {
    let name = world.topics.name(slot).to_owned();
    let [first, end] = [-2, -1].map(|time| world.both.kafka.list_offset(&name, partition, time).offset);
    (first, end)
}

/// An offset of a partition, mostly one that is there.
fn offset(world: &mut World<'_>, draw: &mut Draw, slot: usize, partition: i32) -> i64 {
    let (first, end) = span(world, slot, partition);
    let between = first + i64::try_from(draw.below((end - first).max(1).unsigned_abs())).unwrap();
    draw.weighted(&[(8, first), (8, between), (4, end), (1, end + 1), (1, first - 1), (1, -1), (1, 1_000_000)])
}

/// An epoch of the leader, as clients say it: mostly none.
fn epoch(draw: &mut Draw) -> i32 {
    draw.weighted(&[(8, -1), (3, 0), (1, 1)])
}

/// Topics of a Fetch with these limits.
fn fetched(world: &mut World<'_>, draw: &mut Draw, places: Vec<(usize, Vec<i32>)>, limit: i32) -> Vec<Value> {
    places
        .into_iter()
        .map(|(slot, indexes)| {
            let partitions: Vec<Value> = indexes
                .into_iter()
                .map(|partition| {
                    json!({"partition": partition, "current_leader_epoch": epoch(draw),
                        "fetch_offset": offset(world, draw, slot, partition), "last_fetched_epoch": epoch(draw),
                        "log_start_offset": -1, "partition_max_bytes": limit})
                })
                .collect();
            let id = world.topics.some_id(draw, slot);
            json!({"topic": world.topics.name(slot), "topic_id": id, "partitions": partitions})
        })
        .collect()
}

fn fetch_request(draw: &mut Draw, session: (Value, i32), topics: &[Value]) -> Value {
    let (id, epoch) = session;
    json!({"replica_id": -1, "max_wait_ms": draw.pick(&[0, 0, 20]), "min_bytes": draw.pick(&[0, 1, 1, 10_000]),
        "max_bytes": 1 << 25, "isolation_level": draw.pick(&[0, 1]), "session_id": id, "session_epoch": epoch,
        "topics": topics, "forgotten_topics_data": []})
}

fn fetch(world: &mut World<'_>, draw: &mut Draw) {
    let places = world.topics.places(draw, 4);
    let limit = match places.as_slice() {
        // Kafka cuts the last batch at a limit (F4): what is left of it for the next partition differs.
        [(_, partitions)] if partitions.len() == 1 => draw.pick(&[0, 1, 100, 500, 1 << 20]),
        _ => 1 << 20,
    };
    let topics = fetched(world, draw, places, limit);
    let request = fetch_request(draw, (json!(0), -1), &topics);
    let version = world.version(draw, api::FETCH);
    world.question(api::FETCH, version, &request);
}

/// A fetch that waits at the end of a log, until a record comes or the topic goes (F8, F10).
fn wait_for_records(world: &mut World<'_>, draw: &mut Draw) {
    let slot = world.topics.any(draw);
    let partition = draw.between(0, (world.topics.partitions(slot) - 1).max(0));
    let (_, end) = span(world, slot, partition);
    let position = json!({"partition": partition, "current_leader_epoch": -1, "fetch_offset": end,
        "last_fetched_epoch": -1, "log_start_offset": -1, "partition_max_bytes": 1 << 20});
    let topic = json!({"topic": world.topics.name(slot), "topic_id": world.topics.id(slot), "partitions": [position]});
    let mut request = fetch_request(draw, (json!(0), -1), &[topic]);
    request["max_wait_ms"] = json!(1500);
    request["min_bytes"] = json!(1);
    let version = world.version(draw, api::FETCH);
    let frames = world.frames(api::FETCH, version, &[request.clone(), request.clone()]);
    let mut lines = world.both.addresses.each_ref().map(|address| Conn::connect(address));
    lines.iter_mut().zip(&frames).for_each(|(line, frame)| line.send_frame(frame));
    // By now it waits.
    std::thread::sleep(Duration::from_millis(30));
    if draw.once_in(4) {
        delete_slot(world, draw, slot);
    } else {
        append(world, draw, slot, partition);
    }
    let answers = lines.map(|mut line| decoded(api::FETCH, version, line.outcome(SILENCE)));
    world.judge(api::FETCH, version, &request, &answers);
}

fn session_version(world: &World<'_>, draw: &mut Draw, by_id: bool) -> i16 {
    let within = if by_id { BY_ID_FROM..=i16::MAX } else { SESSIONS_FROM..=BY_ID_FROM - 1 };
    world.version_in(draw, api::FETCH, within)
}

fn open_session(world: &mut World<'_>, draw: &mut Draw) {
    let (at, by_id) = (draw.index(2), draw.coin());
    let places = if draw.once_in(12) { Vec::new() } else { world.topics.places(draw, 4) };
    let topics = fetched(world, draw, places, 1 << 20);
    // An open one ends with it, or goes on beside it.
    let before = world.sessions.all[at].id.clone();
    let reopens = !before.is_empty() && draw.coin();
    let id = if reopens { json!(before) } else { json!(0) };
    if !reopens {
        close(world, at);
    }
    let request = fetch_request(draw, (id, 0), &topics);
    let version = session_version(world, draw, by_id);
    let answers = world.ask(api::FETCH, version, &request);
    let ids = [answers[0].text("session_id"), answers[1].text("session_id")];
    world.sessions.all[at] = Session::default();
    if ids.iter().all(|id| !["", "0"].contains(id)) {
        world.sessions.opened += 1;
        let name = format!("@s{at}.{}", world.sessions.opened);
        world.learn(Kind::Session, &name, ids);
        world.sessions.all[at] = Session { id: name, epoch: 1, by_id };
    }
}

fn go_on(world: &mut World<'_>, draw: &mut Draw) {
    let at = draw.index(2);
    let Session { id, epoch, by_id } = &world.sessions.all[at];
    let (id, epoch, by_id) = (id.clone(), *epoch, *by_id);
    let right = !draw.once_in(12);
    let asked = if right { epoch } else { epoch + draw.pick(&[-1, 1]) };
    // 77 is nobody's session.
    let id = if id.is_empty() { json!(77) } else { json!(id) };
    let places = if draw.once_in(3) { Vec::new() } else { world.topics.places(draw, 3) };
    let topics = fetched(world, draw, places, 1 << 20);
    let mut request = fetch_request(draw, (id, asked.max(1)), &topics);
    if draw.once_in(4) {
        let forgotten: Vec<Value> = world
            .topics
            .places(draw, 3)
            .into_iter()
            .map(|(slot, indexes)| {
                let id = world.topics.some_id(draw, slot);
                json!({"topic": world.topics.name(slot), "topic_id": id, "partitions": indexes})
            })
            .collect();
        request["forgotten_topics_data"] = json!(forgotten);
    }
    let as_opened = !draw.once_in(20);
    let version = session_version(world, draw, by_id == as_opened);
    let answers = world.ask(api::FETCH, version, &request);
    let taken = answers[0].text("error_code") == "0";
    let session = &mut world.sessions.all[at];
    match (taken, answers[0].text("session_id")) {
        // It was left with no partitions.
        (true, "0") => *session = Session::default(),
        (true, _) => session.epoch += 1,
        (false, _) => {}
    }
}

fn close_session(world: &mut World<'_>, draw: &mut Draw) {
    close(world, draw.index(2));
}

fn close(world: &mut World<'_>, at: usize) {
    let Session { id, by_id, .. } = std::mem::take(&mut world.sessions.all[at]);
    if !id.is_empty() {
        let request = json!({"replica_id": -1, "max_bytes": 1 << 20, "session_id": id, "session_epoch": -1});
        world.ask(api::FETCH, if by_id { BY_ID_FROM } else { SESSIONS_FROM }, &request);
    }
}

impl World<'_> {
    /// All records that are left, and who wrote them.
    pub fn look_at_logs(&mut self) {
        for slot in self.topics.live().collect::<Vec<_>>() {
            let (name, indexes) = (self.topics.name(slot).to_owned(), 0..self.topics.partitions(slot));
            let position = |world: &mut World<'_>, partition: i32| {
                let (first, _) = span(world, slot, partition);
                json!({"partition": partition, "current_leader_epoch": -1, "fetch_offset": first, "last_fetched_epoch": -1,
                    "log_start_offset": -1, "partition_max_bytes": 1 << 22})
            };
            let partitions: Vec<Value> = indexes.clone().map(|partition| position(self, partition)).collect();
            let topic = json!({"topic": name, "topic_id": self.topics.id(slot), "partitions": partitions});
            let all = json!({"replica_id": -1, "max_bytes": 1 << 25, "isolation_level": 0, "session_epoch": -1,
                "topics": [topic]});
            self.question(api::FETCH, BY_ID_FROM, &all);
            let topic = json!({"name": name, "partition_indexes": indexes.collect::<Vec<_>>()});
            self.question(api::DESCRIBE_PRODUCERS, 0, &json!({"topics": [topic]}));
        }
    }

    /// Kafka has room for so many sessions only.
    pub fn close_sessions(&mut self) {
        close(self, 0);
        close(self, 1);
    }
}

/// Offsets of the sequence's partitions, and of none twice.
fn list_offsets(world: &mut World<'_>, draw: &mut Draw) {
    let places = world.topics.places(draw, 4);
    let topics: Vec<Value> = places
        .into_iter()
        .map(|(slot, indexes)| {
            let trimmed = world.topics.is_trimmed(slot);
            let partitions: Vec<Value> = indexes
                .into_iter()
                .map(|partition| {
                    // Where the first records are deleted Kafka forgets where the largest time was (L10), and finds none
                    // of those that follow while a segment in front of them has it.
                    let by_time = if trimmed { 0 } else { 4 };
                    let (between, exact) = (draw.between(-1, 100_100), 1000 * draw.between(0, 100));
                    let time = draw.weighted(&[
                        (by_time, STAMP + i64::from(between)),
                        (by_time, STAMP + i64::from(exact)),
                        (by_time, -3),
                        (3, -1),
                        (3, -2),
                        (1, -4),
                        (1, -5),
                        (1, i64::MAX),
                    ]);
                    json!({"partition_index": partition, "current_leader_epoch": epoch(draw), "timestamp": time})
                })
                .collect();
            json!({"name": world.topics.name(slot), "partitions": partitions})
        })
        .collect();
    let request =
        json!({"replica_id": -1, "isolation_level": draw.pick(&[0, 1]), "timeout_ms": 1000, "topics": topics});
    let version = world.version(draw, api::LIST_OFFSETS);
    world.question(api::LIST_OFFSETS, version, &request);
}

fn delete_records(world: &mut World<'_>, draw: &mut Draw) {
    let places = world.topics.places(draw, 3);
    let topics: Vec<Value> = places
        .iter()
        .map(|(slot, indexes)| {
            let partitions: Vec<Value> = indexes
                .iter()
                .map(
                    |partition| json!({"partition_index": partition, "offset": offset(world, draw, *slot, *partition)}),
                )
                .collect();
            json!({"name": world.topics.name(*slot), "partitions": partitions})
        })
        .collect();
    let version = world.version(draw, api::DELETE_RECORDS);
    world.ask(api::DELETE_RECORDS, version, &json!({"topics": topics, "timeout_ms": 15_000}));
    places.iter().for_each(|(slot, _)| world.topics.trim(*slot));
}

fn ends_of_epochs(world: &mut World<'_>, draw: &mut Draw) {
    let places = world.topics.places(draw, 4);
    let topics: Vec<Value> = places
        .into_iter()
        .map(|(slot, indexes)| {
            let partitions: Vec<Value> = indexes
                .into_iter()
                .map(|partition| {
                    json!({"partition": partition, "current_leader_epoch": epoch(draw),
                        "leader_epoch": draw.pick(&[-1, 0, 0, 0, 1, 5])})
                })
                .collect();
            json!({"topic": world.topics.name(slot), "partitions": partitions})
        })
        .collect();
    let version = world.version(draw, api::OFFSET_FOR_LEADER_EPOCH);
    world.question(api::OFFSET_FOR_LEADER_EPOCH, version, &json!({"replica_id": -1, "topics": topics}));
}
