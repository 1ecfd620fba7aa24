//! Producers: records of every kind, idempotent ones with right and wrong sequences and epochs, and what is known of them.

use std::collections::BTreeMap;

use pyralog_compat_tests::batch::Record;
use pyralog_compat_tests::conn;
use pyralog_compat_tests::draw::Draw;
use pyralog_compat_tests::fields::hex;
use pyralog_compat_tests::now_ms;
use serde_json::json;

use super::super::good_requests::STAMP;
use super::super::*;
use super::world::{Kind, World};
use super::{Operation, api, op};

/// Idempotent producers of a sequence.
const PRODUCERS: usize = 3;
/// The first id that clients make up: far from those that brokers hand out.
const MADE_UP: i64 = 9_000_000;

/// What a sequence does with producers.
pub const OPERATIONS: &[Operation] =
    &[op("produce", 14, produce), op("new producer", 2, init_producer), op("describe producers", 3, describe)];

/// One batch that a producer sent and that was taken.
#[derive(Clone, Copy)]
struct Sent {
    epoch: i16,
    first: i32,
    count: i32,
}

#[derive(Default)]
struct Producer {
    /// What its id is called; empty for one that it made up.
    id: String,
    epoch: i16,
    /// By topic, how often that was made, and partition.
    sent: BTreeMap<(usize, usize, i32), Vec<Sent>>,
}

/// All producers of a sequence.
#[derive(Default)]
pub struct Producers {
    all: [Producer; PRODUCERS],
    handed_out: usize,
}

impl Producers {
    /// The id that a producer has with a broker.
    fn id(world: &World<'_>, producer: usize, side: usize) -> i64 {
        let name = &world.producers.all[producer].id;
        if name.is_empty() { MADE_UP + i64::try_from(producer).unwrap() } else { world.id(side, name).parse().unwrap() }
    }
}

/// A part of a Produce.
struct Part {
    slot: usize,
    /// What the id of its topic is called, for those who are asked by id.
    id: String,
    partition: i32,
    batch: Batch,
    /// Who sent it, and what it is if it is taken: nothing, where it is a repetition.
    producer: Option<(usize, Option<Sent>)>,
}

fn record(draw: &mut Draw, keyed: u64, padding: usize) -> Record {
    let key = match keyed {
        0 => None,
        1 => Some(draw.pick(&["a", "b", "c"]).as_bytes().to_vec()),
        _ => draw.pick(&[None, Some("a"), Some("")]).map(|key| key.as_bytes().to_vec()),
    };
    let value = match draw.below(8) {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(format!("{}{}", draw.below(1000), "x".repeat(padding)).into_bytes()),
    };
    let headers = match draw.below(6) {
        0 => vec![(b"h".to_vec(), None), (b"".to_vec(), Some(b"v".to_vec()))],
        _ => Vec::new(),
    };
    Record { key, value, headers, ..Record::default() }
}

/// Records as clients make them.
fn batch(draw: &mut Draw) -> Batch {
    let keyed = draw.weighted(&[(2, 0), (4, 1), (2, 2)]);
    let padding = draw.weighted(&[(10, 0), (3, 60), (3, 250), (2, 900)]);
    let count = draw.between(1, 5);
    let mut records: Vec<Record> = (0..count).map(|_| record(draw, keyed, padding)).collect();
    let stamp = match draw.below(12) {
        0 => -1,
        1 => 0,
        2 => now_ms(),
        3 => 2 * STAMP,
        _ => STAMP + i64::from(draw.between(0, 100)) * 1000,
    };
    if stamp > 0 {
        records.iter_mut().for_each(|record| record.timestamp_delta = i64::from(draw.between(-5, 50)));
    }
    let codecs = [Codec::None, Codec::None, Codec::Gzip, Codec::Snappy, Codec::SnappyXerial, Codec::Lz4, Codec::Zstd];
    Batch::new(records).stamped(stamp).codec(draw.pick(&codecs))
}

/// The sequence so far behind another one: they go round.
fn after(sequence: i32, by: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(by)).rem_euclid(1 << 31);
    i32::try_from(next).unwrap()
}

/// Gives a batch to a producer: mostly as its next one, and else as a mistake, or as what was sent already.
fn number(world: &World<'_>, draw: &mut Draw, part: &mut Part) {
    let producer = draw.index(PRODUCERS);
    let place = (part.slot, world.topics.lives(part.slot), part.partition);
    let state = &world.producers.all[producer];
    let sent = state.sent.get(&place).map(Vec::as_slice).unwrap_or_default();
    let count = i32::try_from(part.batch.records.len()).unwrap();
    let (mut epoch, mut counts) = (state.epoch, true);
    let last = sent.last().copied();
    let next = match last {
        Some(last) if last.epoch == epoch => after(last.first, last.count),
        Some(_) => 0,
        None => draw.weighted(&[(5, 0), (1, 7), (2, i32::MAX - 1)]),
    };
    let first = match (draw.below(14), last) {
        (0, _) => after(next, draw.pick(&[1, 2, 1000])),
        (1, _) => after(next, -1),
        (2 | 3, Some(_)) => {
            // The same numbers again: of one of the last batches, seldom with another number of records.
            let back = sent[sent.len() - 1 - draw.index(sent.len().min(7))];
            let length = usize::try_from(back.count).unwrap();
            let changed = if draw.once_in(6) { length + 1 } else { length };
            part.batch.records.resize(changed, Record::of("again"));
            (epoch, counts) = (back.epoch, false);
            back.first
        }
        (4, _) => {
            epoch -= 1;
            next
        }
        (5, _) => {
            epoch += draw.pick(&[1, 1, 3]);
            draw.pick(&[0, 0, 0, next])
        }
        (6, _) => draw.pick(&[0, i32::MAX]),
        _ => next,
    };
    let epoch = epoch.max(0);
    part.batch = part.batch.clone().producer(0, epoch, first);
    part.producer = Some((producer, counts.then_some(Sent { epoch, first, count })));
}

fn produce(world: &mut World<'_>, draw: &mut Draw) {
    let acks = draw.weighted(&[(6, -1), (3, 1), (1, 0)]);
    let mut parts: Vec<Part> = Vec::new();
    for (slot, partitions) in world.topics.places(draw, if acks == 0 { 1 } else { 3 }) {
        let id = world.topics.some_id(draw, slot);
        for partition in partitions {
            let mut part = Part { slot, id: id.clone(), partition, batch: batch(draw), producer: None };
            if draw.coin() {
                number(world, draw, &mut part);
            }
            parts.push(part);
        }
    }
    if draw.once_in(80) {
        // Above what a batch, or a small segment, may have.
        parts[0].batch.records[0].value = Some(vec![b'y'; 1_100_000]);
    }
    let version = world.version_in(draw, api::PRODUCE, 3..=i16::MAX);
    let requests = [0, 1].map(|side| request(world, side, acks, &parts));
    let about: Vec<String> = parts.iter().map(|part| told(world, part)).collect();
    world.told.push(format!("acks {acks}: {}", about.join("; ")));
    if acks == 0 {
        return silently(world, version, &requests, &parts);
    }
    let answers = world.ask_each(api::PRODUCE, version, &requests);
    for part in &parts {
        note(world, part, &answers[0]);
    }
    // Where brokers stamp, the next batch has another time.
    std::thread::sleep(Duration::from_millis(2));
}

/// One record of nobody in particular, with a key.
pub fn append(world: &mut World<'_>, draw: &mut Draw, slot: usize, partition: i32) {
    let batch = Batch::new(vec![record(draw, 1, 0)]).stamped(STAMP);
    let part = Part { slot, id: world.topics.id(slot).to_owned(), partition, batch, producer: None };
    let request = request(world, 0, -1, &[part]);
    let version = world.version_in(draw, api::PRODUCE, 3..=i16::MAX);
    world.ask(api::PRODUCE, version, &request);
}

fn told(world: &World<'_>, part: &Part) -> String {
    let Batch { codec, first_timestamp, producer_epoch, base_sequence, .. } = part.batch;
    let who = match part.producer {
        Some((producer, _)) => format!(" of producer {producer} epoch {producer_epoch} from {base_sequence}"),
        None => String::new(),
    };
    let (name, count) = (world.topics.name(part.slot), part.batch.records.len());
    format!("{count} records at {first_timestamp}, {codec:?},{who} to {name}-{}", part.partition)
}

fn request(world: &World<'_>, side: usize, acks: i16, parts: &[Part]) -> Value {
    let mut topics: Vec<Value> = Vec::new();
    for part in parts {
        let mut batch = part.batch.clone();
        batch.producer_id = part.producer.map_or(-1, |(producer, _)| Producers::id(world, producer, side));
        let data = json!({"index": part.partition, "records": hex(&batch.encode())});
        let name = world.topics.name(part.slot);
        match topics.iter_mut().find(|topic| topic["name"] == name) {
            Some(topic) => topic["partition_data"].as_array_mut().unwrap().push(data),
            None => {
                topics.push(json!({"name": name, "topic_id": part.id, "partition_data": [data]}));
            }
        }
    }
    json!({"transactional_id": null, "acks": acks, "timeout_ms": 5000, "topic_data": topics})
}

/// Remembers what was taken.
fn note(world: &mut World<'_>, part: &Part, answer: &Tree) {
    let (name, id) = (world.topics.name(part.slot), world.id(0, &part.id));
    let topics = answer.items("responses").iter();
    let topic = topics.filter(|topic| topic.text("name") == name || topic.text("topic_id") == id);
    let index = part.partition.to_string();
    let mut partitions = topic.flat_map(|topic| topic.items("partition_responses"));
    if partitions.any(|partition| partition.text("index") == index && partition.text("error_code") == "0") {
        remember(world, part);
    }
}

fn remember(world: &mut World<'_>, part: &Part) {
    let Some((producer, Some(sent))) = part.producer else { return };
    let place = (part.slot, world.topics.lives(part.slot), part.partition);
    let state = &mut world.producers.all[producer];
    state.epoch = state.epoch.max(sent.epoch);
    state.sent.entry(place).or_default().push(sent);
}

/// Without acknowledgements: a mistake ends the connection, and success shows where the log ends.
fn silently(world: &mut World<'_>, version: i16, requests: &[Value; 2], parts: &[Part]) {
    let frames = world.frames(api::PRODUCE, version, requests);
    let probes = world.frames(api::API_VERSIONS, 0, &[json!({}), json!({})]);
    // In one piece: after the first one there may be nobody to send to.
    let both = [0, 1].map(|side| [conn::frame(&frames[side]), conn::frame(&probes[side])].concat());
    world.both.kafka.send_bytes(&both[0]);
    world.both.ours.send_bytes(&both[1]);
    let outcomes = world.receive(api::API_VERSIONS, 0);
    let closed = outcomes.each_ref().map(|outcome| matches!(outcome, Tree::Leaf(_)));
    let answers = closed.map(|closed| Tree::Leaf(if closed { "closed" } else { "taken" }.to_owned()));
    world.judge(api::PRODUCE, version, &requests[0], &answers);
    for part in parts {
        if !closed[0] {
            remember(world, part);
        }
        let name = world.topics.name(part.slot);
        let partition = json!({"partition_index": part.partition, "current_leader_epoch": -1, "timestamp": -1});
        let ends = json!({"replica_id": -1, "topics": [{"name": name, "partitions": [partition]}]});
        world.question(api::LIST_OFFSETS, 7, &ends);
    }
}

fn init_producer(world: &mut World<'_>, draw: &mut Draw) {
    let producer = draw.index(PRODUCERS);
    let state = &world.producers.all[producer];
    let (id, epoch) = (state.id.clone(), state.epoch);
    let known = draw.once_in(3) && !id.is_empty();
    let (id, epoch) = if known { (json!(id), epoch) } else { (json!(-1), -1) };
    let request = json!({"transactional_id": null, "transaction_timeout_ms": draw.pick(&[0, 60_000]),
        "producer_id": id, "producer_epoch": epoch});
    let version = world.version(draw, api::INIT_PRODUCER_ID);
    let answers = world.ask(api::INIT_PRODUCER_ID, version, &request);
    if answers.iter().any(|answer| answer.text("error_code") != "0") {
        return;
    }
    world.producers.handed_out += 1;
    let name = format!("@p{producer}.{}", world.producers.handed_out);
    world.learn(Kind::Producer, &name, [answers[0].text("producer_id"), answers[1].text("producer_id")]);
    let epoch = answers[0].text("producer_epoch").parse().unwrap_or(0);
    world.producers.all[producer] = Producer { id: name, epoch, sent: BTreeMap::new() };
}

fn describe(world: &mut World<'_>, draw: &mut Draw) {
    let places = world.topics.places(draw, 4);
    let topics: Vec<Value> = places
        .into_iter()
        .map(|(slot, indexes)| json!({"name": world.topics.name(slot), "partition_indexes": indexes}))
        .collect();
    world.question(api::DESCRIBE_PRODUCERS, 0, &json!({"topics": topics}));
}
