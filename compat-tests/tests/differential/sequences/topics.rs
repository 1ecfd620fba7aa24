//! Topics: made, grown, deleted and made again under the same name, their configs, and what shows them.

use pyralog_compat_tests::draw::Draw;
use serde_json::json;

use super::super::*;
use super::offsets::retire;
use super::world::{Kind, NOBODY, World};
use super::{Operation, api, op};

/// Topics of a sequence, whether they are there or not.
pub const SLOTS: usize = 3;

/// What a sequence does with topics.
pub const OPERATIONS: &[Operation] = &[
    op("create", 8, create),
    op("grow", 3, grow),
    op("delete", 3, delete),
    op("alter configs", 6, alter),
    op("replace configs", 1, replace),
    op("describe configs", 3, describe_configs),
    op("metadata", 4, metadata),
    op("describe partitions", 3, describe_partitions),
    op("elect", 1, elect),
    op("reassign", 1, reassign),
    op("reassignments", 1, reassignments),
    op("log dirs", 2, log_dirs),
];

/// Configs of every topic: what a broker would remove or compact in its own time stays. Records here are years old.
const KEEPS: &[(&str, &str)] = &[("retention.ms", "-1"), ("min.cleanable.dirty.ratio", "1.0")];

/// Configs worth changing, with values that keep the records. Segments are not cut short: a fetch from Kafka ends with one.
const CONFIGS: &[(&str, &[&str])] = &[
    ("retention.bytes", &["-1", "1000000000"]),
    ("cleanup.policy", &["delete", "delete", "compact", "compact,delete", "delete,compact", ""]),
    ("message.timestamp.type", &["CreateTime", "LogAppendTime", "LogAppendTime"]),
    ("message.timestamp.before.max.ms", &["1000", "9223372036854775807"]),
    ("message.timestamp.after.max.ms", &["1000", "9223372036854775807"]),
    ("max.message.bytes", &["100", "300", "1000", "1048588"]),
    ("segment.bytes", &["1048576", "1073741824"]),
    ("segment.ms", &["86400000", "604800000"]),
    ("segment.index.bytes", &["1000", "10485760"]),
    ("index.interval.bytes", &["0", "100", "4096"]),
    ("min.insync.replicas", &["1", "2"]),
    ("compression.type", &["producer", "gzip", "uncompressed", "lz4", "snappy", "zstd"]),
    ("delete.retention.ms", &["0", "86400000"]),
    ("flush.messages", &["1", "100"]),
    ("unclean.leader.election.enable", &["true", "false"]),
];

/// One topic.
struct Topic {
    name: String,
    /// What its id is called, of the last one that had this name.
    id: String,
    /// 0: it is not there.
    partitions: i32,
    /// How often it was made.
    lives: usize,
    /// Whether its folder has the bytes that were sent: no records were deleted, none compressed anew.
    plain: bool,
    /// Whether records were deleted.
    trimmed: bool,
}

/// All topics of a sequence.
pub struct Topics(Vec<Topic>);

impl Topics {
    /// None is there.
    pub fn new(prefix: &str) -> Topics {
        let topic = |slot: usize| Topic {
            name: format!("{prefix}-t{slot}"),
            id: NOBODY.to_owned(),
            partitions: 0,
            lives: 0,
            plain: true,
            trimmed: false,
        };
        Topics((0..SLOTS).map(topic).collect())
    }

    /// Those that are there.
    pub fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len()).filter(|slot| self.0[*slot].partitions > 0)
    }

    /// Its name.
    pub fn name(&self, slot: usize) -> &str {
        &self.0[slot].name
    }

    /// What its id is called.
    pub fn id(&self, slot: usize) -> &str {
        &self.0[slot].id
    }

    /// As [`Topics::id`]; rarely that of the one that had its name before.
    pub fn some_id(&self, draw: &mut Draw, slot: usize) -> String {
        let topic = &self.0[slot];
        if topic.lives > 1 && draw.once_in(8) { called(slot, topic.lives - 1) } else { topic.id.clone() }
    }

    /// Number of its partitions, 0 where it is not there.
    pub fn partitions(&self, slot: usize) -> i32 {
        self.0[slot].partitions
    }

    /// How often it was made.
    pub fn lives(&self, slot: usize) -> usize {
        self.0[slot].lives
    }

    /// Its first records are deleted.
    pub fn trim(&mut self, slot: usize) {
        (self.0[slot].trimmed, self.0[slot].plain) = (true, false);
    }

    /// Whether its first records were deleted.
    pub fn is_trimmed(&self, slot: usize) -> bool {
        self.0[slot].trimmed
    }

    /// A topic; rarely one that is not there.
    pub fn any(&self, draw: &mut Draw) -> usize {
        let live: Vec<usize> = self.live().collect();
        if live.is_empty() || draw.once_in(25) { draw.index(SLOTS) } else { draw.pick(&live) }
    }

    /// A topic and one of its partitions; rarely one that is not there.
    pub fn place(&self, draw: &mut Draw) -> (usize, i32) {
        let slot = self.any(draw);
        let partition = if draw.once_in(30) { 9 } else { draw.between(0, (self.partitions(slot) - 1).max(0)) };
        (slot, partition)
    }

    /// Up to so many places, each once, by topic.
    pub fn places(&self, draw: &mut Draw, most: i32) -> Vec<(usize, Vec<i32>)> {
        let mut by_topic: Vec<(usize, Vec<i32>)> = Vec::new();
        for _ in 0..draw.between(1, most) {
            let (slot, partition) = self.place(draw);
            match by_topic.iter_mut().find(|(other, _)| *other == slot) {
                Some((_, partitions)) if partitions.contains(&partition) => {}
                Some((_, partitions)) => partitions.push(partition),
                None => by_topic.push((slot, vec![partition])),
            }
        }
        by_topic
    }

    /// Names of some topics, those that are not there among them.
    fn names(&self, draw: &mut Draw) -> Vec<String> {
        let slots: Vec<usize> = (0..SLOTS).filter(|_| draw.below(3) > 0).collect();
        slots.into_iter().map(|slot| self.name(slot).to_owned()).collect()
    }
}

/// What the id of a topic is called that was made so often.
fn called(slot: usize, lives: usize) -> String {
    format!("@t{slot}.{lives}")
}

fn config(draw: &mut Draw) -> (&'static str, &'static str) {
    let (name, values) = draw.pick(CONFIGS);
    (name, draw.pick(values))
}

fn create(world: &mut World<'_>, draw: &mut Draw) {
    let slot = draw.index(SLOTS);
    let partitions = if world.subject.even { 6 } else { draw.weighted(&[(3, 1), (3, 2), (2, 3), (1, -1), (1, 6)]) };
    let drawn: Vec<_> = (0..draw.below(4)).map(|_| config(draw)).collect();
    let configs = KEEPS.iter().copied().chain(drawn.iter().copied());
    let configs: Vec<Value> = configs.map(|(name, value)| json!({"name": name, "value": value})).collect();
    let only_checked = draw.once_in(10);
    let replicas = if partitions == -1 { -1 } else { draw.pick(&[1, -1]) };
    let wanted = json!({"name": world.topics.name(slot), "num_partitions": partitions, "replication_factor": replicas,
        "assignments": [], "configs": configs});
    let request = json!({"topics": [wanted], "timeout_ms": 15_000, "validate_only": only_checked});
    let version = world.version(draw, api::CREATE_TOPICS);
    let answers = world.ask(api::CREATE_TOPICS, version, &request);
    if answers.iter().any(|answer| answer.text("topics.0.error_code") != "0") || only_checked {
        return;
    }
    let topic = &mut world.topics.0[slot];
    topic.lives += 1;
    topic.partitions = if partitions == -1 { 4 } else { partitions };
    topic.trimmed = false;
    topic.plain = drawn.iter().all(|(name, _)| *name != "compression.type");
    topic.id = called(slot, topic.lives);
    let (name, partitions, id) = (topic.name.clone(), topic.partitions, topic.id.clone());
    let ids = world.both.each(|conn| conn.wait_for_topic(&name, partitions).topic_id.to_string());
    world.learn(Kind::Topic, &id, [&ids[0], &ids[1]]);
    settle();
}

fn grow(world: &mut World<'_>, draw: &mut Draw) {
    let slot = world.topics.any(draw);
    let (name, before) = (world.topics.name(slot).to_owned(), world.topics.partitions(slot));
    let count = if world.subject.even { before + 6 } else { before + draw.pick(&[-1, 0, 1, 1, 1, 2]) };
    if count > 20 {
        return;
    }
    let only_checked = draw.once_in(8);
    let request = json!({"topics": [{"name": name, "count": count, "assignments": null}], "timeout_ms": 15_000,
        "validate_only": only_checked});
    let version = world.version(draw, api::CREATE_PARTITIONS);
    let answers = world.ask(api::CREATE_PARTITIONS, version, &request);
    if answers.iter().all(|answer| answer.text("results.0.error_code") == "0") && !only_checked {
        world.topics.0[slot].partitions = count;
        world.both.each(|conn| conn.wait_for_topic(&name, count));
        settle();
    }
}

fn delete(world: &mut World<'_>, draw: &mut Draw) {
    let slot = world.topics.any(draw);
    delete_slot(world, draw, slot);
}

/// Deletes a topic, by name or by id.
pub fn delete_slot(world: &mut World<'_>, draw: &mut Draw, slot: usize) {
    let (name, id) = (world.topics.name(slot).to_owned(), world.topics.some_id(draw, slot));
    let topic = if draw.coin() { json!({"name": name}) } else { json!({"name": null, "topic_id": id}) };
    let request = json!({"topics": [topic], "topic_names": [name], "timeout_ms": 15_000});
    let version = world.version(draw, api::DELETE_TOPICS);
    let answers = world.ask(api::DELETE_TOPICS, version, &request);
    if answers.iter().all(|answer| answer.text("responses.0.error_code") == "0") {
        world.topics.0[slot].partitions = 0;
        world.both.each(|conn| {
            eventually("the topic is gone", || (conn.metadata_of(&name).error_code == 3).then_some(()));
        });
        settle();
        retire(world);
    }
}

/// Kafka's parts learn of new metadata one after the other.
pub fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

fn alter(world: &mut World<'_>, draw: &mut Draw) {
    let slot = world.topics.any(draw);
    let mut configs: Vec<Value> = Vec::new();
    for _ in 0..draw.between(1, 2) {
        let (name, value) = config(draw);
        let operation = draw.weighted(&[(7, 0), (2, 1), (1, 2), (1, 3)]);
        let (name, value) = match operation {
            2 | 3 => ("cleanup.policy", draw.pick(&["compact", "delete", "compact,delete"])),
            _ => (name, value),
        };
        let value = if operation == 1 { Value::Null } else { json!(value) };
        if configs.iter().all(|other| other["name"] != name) {
            configs.push(json!({"name": name, "config_operation": operation, "value": value}));
        }
    }
    let compresses = configs.iter().any(|config| config["name"] == "compression.type");
    let resource = json!({"resource_type": 2, "resource_name": world.topics.name(slot), "configs": configs});
    let request = json!({"resources": [resource], "validate_only": draw.once_in(10)});
    let version = world.version(draw, api::INCREMENTAL_ALTER_CONFIGS);
    world.ask(api::INCREMENTAL_ALTER_CONFIGS, version, &request);
    await_configs(world, slot, compresses);
}

fn replace(world: &mut World<'_>, draw: &mut Draw) {
    let slot = world.topics.any(draw);
    let (name, value) = config(draw);
    let configs = KEEPS.iter().copied().chain([(name, value)]);
    let configs: Vec<Value> = configs.map(|(name, value)| json!({"name": name, "value": value})).collect();
    let resource = json!({"resource_type": 2, "resource_name": world.topics.name(slot), "configs": configs});
    let request = json!({"resources": [resource], "validate_only": draw.once_in(10)});
    let version = world.version(draw, api::ALTER_CONFIGS);
    world.ask(api::ALTER_CONFIGS, version, &request);
    await_configs(world, slot, name == "compression.type");
}

/// Until both show the same configs, which a topic then also has.
fn await_configs(world: &mut World<'_>, slot: usize, compresses: bool) {
    let topic = &mut world.topics.0[slot];
    topic.plain &= !compresses;
    settle();
    let resource = json!({"resource_type": 2, "resource_name": world.topics.name(slot), "configuration_keys": null});
    world.question(api::DESCRIBE_CONFIGS, 4, &json!({"resources": [resource], "include_synonyms": true}));
    settle();
}

fn describe_configs(world: &mut World<'_>, draw: &mut Draw) {
    let slot = world.topics.any(draw);
    let keys = match draw.below(3) {
        0 => json!([config(draw).0, config(draw).0, "no.such.config"]),
        _ => Value::Null,
    };
    let resource = json!({"resource_type": 2, "resource_name": world.topics.name(slot), "configuration_keys": keys});
    let request = json!({"resources": [resource], "include_synonyms": draw.coin()});
    let version = world.version(draw, api::DESCRIBE_CONFIGS);
    world.question(api::DESCRIBE_CONFIGS, version, &request);
}

fn metadata(world: &mut World<'_>, draw: &mut Draw) {
    // Up to v3 it creates what is not there.
    let version = world.version_in(draw, api::METADATA, 4..=i16::MAX);
    let topics = match draw.below(10) {
        0 => Value::Null,
        1..=3 if version >= 12 => {
            let id = |slot| json!({"name": null, "topic_id": world.topics.some_id(draw, slot)});
            (0..SLOTS).map(id).collect()
        }
        _ => {
            let names = world.topics.names(draw);
            names.into_iter().map(|name| json!({"name": name, "topic_id": ""})).collect()
        }
    };
    let request = json!({"topics": topics, "allow_auto_topic_creation": false,
        "include_topic_authorized_operations": draw.coin()});
    world.question(api::METADATA, version, &request);
}

fn describe_partitions(world: &mut World<'_>, draw: &mut Draw) {
    let names = world.topics.names(draw);
    let topics: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    let cursor = match names.first() {
        Some(name) if draw.once_in(3) => json!({"topic_name": name, "partition_index": draw.between(0, 3)}),
        Some(_) | None => Value::Null,
    };
    // No names are all of them, those of other sequences among them.
    if !topics.is_empty() {
        let request =
            json!({"topics": topics, "response_partition_limit": draw.pick(&[1, 2, 4, 2000]), "cursor": cursor});
        world.question(api::DESCRIBE_TOPIC_PARTITIONS, 0, &request);
    }
}

/// Places as most requests of administration have them, partitions under this name.
fn listed(world: &World<'_>, draw: &mut Draw, topic: &str, partitions: &str) -> Vec<Value> {
    let places = world.topics.places(draw, 4);
    places.into_iter().map(|(slot, indexes)| json!({topic: world.topics.name(slot), partitions: indexes})).collect()
}

fn elect(world: &mut World<'_>, draw: &mut Draw) {
    let request = json!({"election_type": draw.pick(&[0, 1]), "timeout_ms": 15_000,
        "topic_partitions": listed(world, draw, "topic", "partitions")});
    let version = world.version(draw, api::ELECT_LEADERS);
    world.ask(api::ELECT_LEADERS, version, &request);
}

fn reassign(world: &mut World<'_>, draw: &mut Draw) {
    let places = world.topics.places(draw, 3);
    let topics: Vec<Value> = places
        .into_iter()
        .map(|(slot, indexes)| {
            let replicas = draw.pick(&[Some(1), Some(1), Some(2), None]).map(|broker| vec![broker]);
            let partitions: Vec<Value> =
                indexes.iter().map(|index| json!({"partition_index": index, "replicas": replicas})).collect();
            json!({"name": world.topics.name(slot), "partitions": partitions})
        })
        .collect();
    let request = json!({"timeout_ms": 15_000, "allow_replication_factor_change": true, "topics": topics});
    let version = world.version(draw, api::ALTER_PARTITION_REASSIGNMENTS);
    world.ask(api::ALTER_PARTITION_REASSIGNMENTS, version, &request);
}

fn reassignments(world: &mut World<'_>, draw: &mut Draw) {
    let topics = listed(world, draw, "name", "partition_indexes");
    world.question(api::LIST_PARTITION_REASSIGNMENTS, 0, &json!({"timeout_ms": 15_000, "topics": topics}));
}

/// Sizes of what is stored as it was sent.
fn log_dirs(world: &mut World<'_>, draw: &mut Draw) {
    let plain: Vec<Value> = world
        .topics
        .0
        .iter()
        .filter(|topic| topic.plain)
        .map(|topic| json!({"topic": topic.name, "partitions": [0, 1, 2, 9]}))
        .collect();
    if !plain.is_empty() {
        let version = world.version_in(draw, api::DESCRIBE_LOG_DIRS, 1..=4);
        world.question(api::DESCRIBE_LOG_DIRS, version, &json!({"topics": plain}));
    }
}
