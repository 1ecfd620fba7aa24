//! Committed offsets, by members and by nobody in particular, and groups as administrators see them.

use pyralog_compat_tests::draw::Draw;
use serde_json::json;

use super::super::*;
use super::world::{NOBODY, World};
use super::{Operation, api, op};

/// What a sequence does with offsets and groups.
pub const OPERATIONS: &[Operation] = &[
    op("commit", 8, commit),
    op("fetch offsets", 8, fetch),
    op("delete offsets", 2, delete_offsets),
    op("delete groups", 2, delete_groups),
    op("describe groups", 4, describe),
    op("list groups", 3, list),
    op("describe consumers", 2, describe_consumers),
];

/// Who speaks: group, member, generation or epoch, instance.
struct Speaker {
    group: String,
    member: String,
    epoch: i32,
    instance: Option<String>,
}

/// A group of the sequence and, half the time, one of its members.
fn speaker(world: &World<'_>, draw: &mut Draw) -> Speaker {
    let (group, members) = if draw.once_in(3) {
        (world.consumers.name().to_owned(), world.consumers.speakers())
    } else {
        let group = draw.index(world.classics.count());
        (world.classics.name(group).to_owned(), world.classics.speakers(group))
    };
    let nobody = Speaker { group: group.clone(), member: String::new(), epoch: -1, instance: None };
    if members.is_empty() || draw.coin() {
        return if draw.once_in(10) { Speaker { member: NOBODY.to_owned(), epoch: 1, ..nobody } } else { nobody };
    }
    let (member, epoch, instance) = members[draw.index(members.len())].clone();
    let epoch = draw.weighted(&[(8, epoch), (1, epoch + 1), (1, epoch - 1), (1, -1)]);
    let instance = instance.filter(|_| !draw.once_in(4));
    Speaker { group, member, epoch, instance }
}

fn commit(world: &mut World<'_>, draw: &mut Draw) {
    let Speaker { group, member, epoch, instance } = speaker(world, draw);
    let topics: Vec<Value> = (world.topics.places(draw, 4).into_iter())
        .map(|(slot, indexes)| {
            let partitions: Vec<Value> = indexes
                .into_iter()
                .map(|index| {
                    json!({"partition_index": index, "committed_offset": draw.pick(&[0, 1, 5, 1_000_000, -1]),
                        "committed_leader_epoch": draw.pick(&[-1, 0, 3]),
                        "committed_metadata": draw.pick(&[None, Some(""), Some("m"), Some("ä")])})
                })
                .collect();
            json!({"name": world.topics.name(slot), "partitions": partitions})
        })
        .collect();
    let request = json!({"group_id": group, "generation_id_or_member_epoch": epoch, "member_id": member,
        "group_instance_id": instance, "retention_time_ms": -1, "topics": topics});
    let version = world.version(draw, api::OFFSET_COMMIT);
    world.ask(api::OFFSET_COMMIT, version, &request);
}

fn fetch(world: &mut World<'_>, draw: &mut Draw) {
    let version = world.version(draw, api::OFFSET_FETCH);
    // With v1, nothing is not everything.
    let all = version >= 2 && draw.once_in(3);
    let mut asked = |world: &World<'_>| {
        let topics: Vec<Value> = (world.topics.places(draw, 4).into_iter())
            .map(|(slot, indexes)| json!({"name": world.topics.name(slot), "partition_indexes": indexes}))
            .collect();
        let Speaker { group, member, epoch, .. } = speaker(world, draw);
        // Kafka answers -1 to an epoch of nobody.
        let (member, epoch) = if member.is_empty() { (None, -1) } else { (Some(member), epoch) };
        let topics = if all { Value::Null } else { json!(topics) };
        json!({"group_id": group, "member_id": member, "member_epoch": epoch, "topics": topics})
    };
    let (first, second) = (asked(world), asked(world));
    let groups = if first["group_id"] == second["group_id"] { vec![&first] } else { vec![&first, &second] };
    let request = json!({"group_id": first["group_id"], "topics": first["topics"], "groups": groups,
        "require_stable": version % 2 == 0});
    world.question(api::OFFSET_FETCH, version, &request);
}

fn delete_offsets(world: &mut World<'_>, draw: &mut Draw) {
    let Speaker { group, .. } = speaker(world, draw);
    // Until everybody is back Kafka goes by what the generation before read, and Pyralog by what members read now.
    if world.both.kafka.describe_group(&group).group_state.as_str() == "PreparingRebalance" {
        return;
    }
    let topics: Vec<Value> = (world.topics.places(draw, 3).into_iter())
        .map(|(slot, indexes)| {
            let partitions: Vec<Value> = indexes.iter().map(|index| json!({"partition_index": index})).collect();
            json!({"name": world.topics.name(slot), "partitions": partitions})
        })
        .collect();
    world.ask(api::OFFSET_DELETE, 0, &json!({"group_id": group, "topics": topics}));
    retire(world);
}

/// A group without members whose last offset went, or its topic, is gone at once in Pyralog, and in Kafka at its next clean-up: such a
/// group has another name from now on.
pub fn retire(world: &mut World<'_>) {
    if world.subject.mixed {
        return;
    }
    for group in 0..world.classics.count() {
        let name = world.classics.name(group).to_owned();
        if world.classics.speakers(group).is_empty() && is_bare(world, &name) {
            world.classics.rename(group);
            world.retired.push(name);
        }
    }
    let name = world.consumers.name().to_owned();
    if world.consumers.speakers().is_empty() && is_bare(world, &name) {
        world.consumers.rename();
        world.retired.push(name);
    }
}

fn is_bare(world: &mut World<'_>, group: &str) -> bool {
    let answer = world.both.kafka.offsets(group, None);
    answer.topics.is_empty()
}

fn delete_groups(world: &mut World<'_>, draw: &mut Draw) {
    let Speaker { group, .. } = speaker(world, draw);
    let names = if draw.once_in(4) { vec![group, "no-such-group".to_owned()] } else { vec![group] };
    let version = world.version(draw, api::DELETE_GROUPS);
    world.ask(api::DELETE_GROUPS, version, &json!({"groups_names": names}));
}

fn describe(world: &mut World<'_>, draw: &mut Draw) {
    let mut names = vec![speaker(world, draw).group, speaker(world, draw).group, "no-such-group".to_owned()];
    names.dedup();
    let version = world.version(draw, api::DESCRIBE_GROUPS);
    let request = json!({"groups": names, "include_authorized_operations": draw.coin()});
    world.question(api::DESCRIBE_GROUPS, version, &request);
}

fn list(world: &mut World<'_>, draw: &mut Draw) {
    let states = match draw.below(5) {
        0 => json!(["Stable"]),
        1 => json!(["empty", "PreparingRebalance"]),
        2 => json!(["CompletingRebalance", "Assigning", "Reconciling"]),
        _ => json!([]),
    };
    let types = match draw.below(4) {
        0 => json!(["consumer"]),
        1 => json!(["Classic"]),
        _ => json!([]),
    };
    let version = world.version(draw, api::LIST_GROUPS);
    world.question(api::LIST_GROUPS, version, &json!({"states_filter": states, "types_filter": types}));
}

fn describe_consumers(world: &mut World<'_>, draw: &mut Draw) {
    let mut names = vec![world.consumers.name().to_owned()];
    if draw.once_in(3) {
        names.push(speaker(world, draw).group);
        names.dedup();
    }
    let version = world.version(draw, api::CONSUMER_GROUP_DESCRIBE);
    let request = json!({"group_ids": names, "include_authorized_operations": draw.coin()});
    world.question(api::CONSUMER_GROUP_DESCRIBE, version, &request);
}
