//! A KIP-848 group with up to three members, the third a static one. It assigns as soon as it can.
//!
//! Who gets which partitions is an assignor's own business as long as all get equally many: with `uniform` they are counted, in
//! groups whose partitions divide evenly and of whom no member leaves another choice to those that stay. Each member follows
//! what its own broker told it.

use pyralog_compat_tests::draw::Draw;
use serde_json::json;

use super::super::*;
use super::topics::settle;
use super::world::{Kind, NOBODY, World};
use super::{Operation, Subject, api, op};

const MEMBERS: usize = 3;
/// Resources of groups.
const GROUP_CONFIGS: i8 = 32;
/// Says that an answer shows no assignment.
const UNCHANGED: &str = "None";

/// What a sequence does with KIP-848 groups.
pub const OPERATIONS: &[Operation] =
    &[op("beat", 10, beat), op("beat all", 4, beat_all), op("wrong beat", 2, wrong_beat), op("leave group", 2, leave)];

/// Names of topics, and partitions.
type Owned = Vec<(String, Vec<i32>)>;

#[derive(Default)]
struct Member {
    /// Ids it had so far.
    ids: usize,
    instance: Option<String>,
    /// 0: it is not in the group.
    epoch: i32,
    /// It left for a while, and is still in the group.
    away: bool,
    /// What each broker told it to have.
    owned: [Owned; 2],
}

/// The group.
pub struct Consumers {
    prefix: String,
    name: String,
    lives: usize,
    /// What its members ask for, once there was one.
    assignor: Option<Option<&'static str>>,
    /// What all of them subscribe to, where the assignor is `uniform`.
    topics: Vec<String>,
    members: [Member; MEMBERS],
}

impl Consumers {
    /// It is not there.
    pub fn new(prefix: &str) -> Consumers {
        let mut members: [Member; MEMBERS] = Default::default();
        members[2].instance = Some("k".to_owned());
        Consumers {
            prefix: prefix.to_owned(),
            name: format!("{prefix}-c"),
            lives: 0,
            assignor: None,
            topics: Vec::new(),
            members,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id, epoch and instance of its members.
    pub fn speakers(&self) -> Vec<(String, i32, Option<String>)> {
        let there = (0..MEMBERS).filter(|at| self.members[*at].epoch > 0);
        there.map(|at| (self.member_id(at), self.members[at].epoch, self.members[at].instance.clone())).collect()
    }

    /// The next use of this group is one of another name.
    pub fn rename(&mut self) {
        self.lives += 1;
        self.name = format!("{}-c-{}", self.prefix, self.lives);
        self.assignor = None;
    }

    /// What all members subscribe to.
    pub fn topic(&self) -> &str {
        self.topics.first().map_or("", String::as_str)
    }

    /// How many partitions that has.
    pub fn partitions(&self, world: &World<'_>) -> usize {
        let slot = (0..super::topics::SLOTS).find(|slot| world.topics.name(*slot) == self.topic());
        slot.map_or(0, |slot| usize::try_from(world.topics.partitions(slot)).unwrap())
    }

    fn member_id(&self, at: usize) -> String {
        format!("{}-m{at}-{}", self.prefix, self.members[at].ids)
    }
}

/// Whether nobody may come any more, nor go, for partitions to be shared evenly in one way only.
pub fn is_full(world: &World<'_>) -> bool {
    let classic = if world.subject.mixed { world.classics.sharing() } else { 0 };
    let here = world.consumers.members.iter().filter(|member| member.epoch > 0 || member.away).count();
    world.counted && classic + here > 2
}

/// The first one to come settles how the group assigns.
pub fn prepare(world: &mut World<'_>, draw: &mut Draw) {
    if world.consumers.assignor.is_some() {
        return;
    }
    let assignor = match world.subject {
        Subject { mixed: true, .. } => None,
        Subject { even: true, .. } => draw.pick(&[None, Some("uniform"), Some("range")]),
        Subject { .. } => Some("range"),
    };
    world.consumers.assignor = Some(assignor);
    world.counted = assignor != Some("range");
    world.consumers.topics = vec![world.topics.name(draw.index(super::topics::SLOTS)).to_owned()];
    let name = world.consumers.name.clone();
    let config = json!({"name": "consumer.assignment.interval.ms", "config_operation": 0, "value": "0"});
    let resource = json!({"resource_type": GROUP_CONFIGS, "resource_name": name, "configs": [config]});
    world.ask(api::INCREMENTAL_ALTER_CONFIGS, 1, &json!({"resources": [resource]}));
    settle();
    let resource = json!({"resource_type": GROUP_CONFIGS, "resource_name": name, "configuration_keys": null});
    world.question(api::DESCRIBE_CONFIGS, 4, &json!({"resources": [resource]}));
    settle();
}

fn some_topics(world: &World<'_>, draw: &mut Draw) -> Vec<String> {
    let slots: Vec<usize> = (0..super::topics::SLOTS).filter(|_| draw.below(3) > 0).collect();
    slots.into_iter().map(|slot| world.topics.name(slot).to_owned()).collect()
}

/// Whether the group is a classic one that rebalances. If its rebalance was interrupted, Kafka takes away what its members have when
/// the group changes its protocol, and Pyralog does not.
fn is_rebalancing(world: &mut World<'_>) -> bool {
    let name = world.consumers.name.clone();
    let state = world.both.kafka.describe_group(&name).group_state;
    ["PreparingRebalance", "CompletingRebalance"].contains(&state.as_str())
}

/// What a member says of itself when it joins.
fn description(world: &World<'_>, draw: &mut Draw) -> Value {
    let names = if world.counted { world.consumers.topics.clone() } else { some_topics(world, draw) };
    json!({"rebalance_timeout_ms": 60_000, "subscribed_topic_names": names,
        "server_assignor": world.consumers.assignor.flatten(), "topic_partitions": []})
}

fn owned(owned: &Owned) -> Value {
    owned.iter().map(|(topic, partitions)| json!({"topic_id": topic, "partitions": partitions})).collect()
}

fn beat(world: &mut World<'_>, draw: &mut Draw) {
    let at = draw.index(MEMBERS);
    beat_as(world, draw, at);
}

/// Each member sends the heartbeat that it would send.
fn beat_all(world: &mut World<'_>, draw: &mut Draw) {
    for at in 0..MEMBERS {
        if world.consumers.members[at].epoch > 0 && world.found.is_none() {
            beat_as(world, draw, at);
        }
    }
}

fn beat_as(world: &mut World<'_>, draw: &mut Draw, at: usize) {
    prepare(world, draw);
    let member = &world.consumers.members[at];
    let epoch = member.epoch;
    if epoch == 0 && (!member.away && is_full(world) || world.subject.mixed && is_rebalancing(world)) {
        return;
    }
    let mut request = json!({"rebalance_timeout_ms": -1, "subscribed_topic_names": null, "server_assignor": null,
        "topic_partitions": null});
    let says_all = epoch == 0 || draw.once_in(6);
    if says_all {
        request = description(world, draw);
    }
    let says_owned = epoch > 0 && (says_all || draw.below(3) > 0);
    say(world, draw, at, (epoch, request, says_owned));
}

fn wrong_beat(world: &mut World<'_>, draw: &mut Draw) {
    prepare(world, draw);
    let at = draw.index(MEMBERS);
    let epoch = world.consumers.members[at].epoch;
    let quiet = json!({"rebalance_timeout_ms": -1, "topic_partitions": null});
    match draw.below(4) {
        // Joins again.
        0 if epoch > 0 => {
            let request = description(world, draw);
            say(world, draw, at, (0, request, false));
        }
        1 => say(world, draw, at, (epoch + 1, quiet, false)),
        // An answer may have been lost.
        2 => say(world, draw, at, ((epoch - 1).max(1), quiet, true)),
        _ => say(world, draw, at, (epoch.max(1), quiet, false)),
    }
}

fn leave(world: &mut World<'_>, draw: &mut Draw) {
    prepare(world, draw);
    let at = draw.index(MEMBERS);
    let leaves_a_choice = is_full(world);
    let is_static = world.consumers.members[at].instance.is_some();
    if leaves_a_choice && !is_static {
        return;
    }
    let goes_for_good = !is_static || !leaves_a_choice && draw.coin();
    let epoch = if goes_for_good { LEAVES } else { LEAVES_FOR_A_WHILE };
    say(world, draw, at, (epoch, json!({"rebalance_timeout_ms": -1, "topic_partitions": null}), false));
}

/// Sends a heartbeat, and follows the answers.
fn say(world: &mut World<'_>, draw: &mut Draw, at: usize, what: (i32, Value, bool)) {
    let (epoch, mut request, says_owned) = what;
    let (group, member) = (&world.consumers, &world.consumers.members[at]);
    // A stranger, who would be one more member if it joined.
    let id = if epoch != 0 && draw.once_in(40) { NOBODY.to_owned() } else { group.member_id(at) };
    request["group_id"] = json!(group.name);
    request["member_id"] = json!(id);
    request["member_epoch"] = json!(epoch);
    request["instance_id"] = json!(member.instance);
    let requests = [0, 1].map(|side: usize| {
        let mut request = request.clone();
        if says_owned {
            request["topic_partitions"] = owned(&member.owned[side]);
        }
        request
    });
    let version = world.version(draw, api::CONSUMER_GROUP_HEARTBEAT);
    let answers = world.ask_each(api::CONSUMER_GROUP_HEARTBEAT, version, &requests);
    let code = answers[0].text("error_code").to_owned();
    if id == NOBODY {
        return;
    }
    let told = [0, 1].map(|side| assigned(world, side, &answers[side]));
    let member = &mut world.consumers.members[at];
    match (code.as_str(), epoch) {
        ("0", LEAVES | LEAVES_FOR_A_WHILE) => {
            (member.epoch, member.owned) = (0, Default::default());
            member.away = epoch == LEAVES_FOR_A_WHILE;
            // A static member mostly comes back under another id.
            member.ids += usize::from(draw.below(4) > 0);
        }
        ("0", _) => {
            member.epoch = answers[0].text("member_epoch").parse().unwrap_or(0);
            member.away = false;
            for (owned, told) in member.owned.iter_mut().zip(told) {
                *owned = told.unwrap_or_else(|| std::mem::take(owned));
            }
        }
        // Who is fenced begins anew.
        ("110" | "25" | "82", _) if epoch == member.epoch => (member.epoch, member.owned) = (0, Default::default()),
        _ => {}
    }
}

/// The assignment in an answer, if it shows one.
fn assigned(world: &World<'_>, side: usize, answer: &Tree) -> Option<Owned> {
    if answer.text("assignment") == UNCHANGED {
        return None;
    }
    let topics = answer.items("assignment.topic_partitions").iter();
    let of = |topic: &Tree| {
        let name = world.name_of(side, Kind::Topic, topic.text("topic_id")).unwrap_or(NOBODY.to_owned());
        let partitions = topic.items("partitions").iter().filter_map(|partition| partition.text("").parse().ok());
        (name, partitions.collect())
    };
    Some(topics.map(of).collect())
}

impl World<'_> {
    /// All members leave, and the group's configs go.
    pub fn leave_consumers(&mut self) {
        let name = self.consumers.name.clone();
        for (id, _, instance) in self.consumers.speakers() {
            let leaves = beat_request(&name, &id, LEAVES).with_instance_id(instance.as_deref().map(text));
            self.both.each(|conn| conn.call(1, &leaves));
        }
        if self.consumers.assignor.is_some() {
            let config = AlterableConfig::default().with_name(text("consumer.assignment.interval.ms"));
            let resource = AlterConfigsResource::default()
                .with_resource_type(GROUP_CONFIGS)
                .with_resource_name(text(&name))
                .with_configs(vec![config.with_config_operation(1)]);
            let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
            self.both.each(|conn| conn.call(1, &request));
        }
    }
}
