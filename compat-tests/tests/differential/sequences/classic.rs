//! Classic groups with up to three members, the third a static one. Joins and syncs wait on a connection of each member's
//! own; everything else goes over the one that all share.
//!
//! Which member leads after a leader of three left is not for anybody to count on, and such a leader does not leave here. Where
//! groups change their protocol, one of these is that of `consumers`, with three members of both kinds at most, and static
//! members of either kind have names of their own.

use pyralog_compat_tests::draw::Draw;
use pyralog_compat_tests::fields::hex;
use pyralog_compat_tests::groups::subscription;
use serde_json::json;

use super::super::*;
use super::batches::decoded;
use super::consumers::{is_full, prepare};
use super::world::{Kind, NOBODY, World};
use super::{Operation, api, op};

const GROUPS: usize = 2;
/// The one that may be a KIP-848 group at times.
const SHARED: usize = 1;
const MEMBERS: usize = 3;
/// What is answered at once is there within this time.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Where one has answered the other follows.
const FOLLOWS: Duration = Duration::from_secs(4);

/// What a sequence does with classic groups.
pub const OPERATIONS: &[Operation] = &[
    op("join", 5, join),
    op("sync", 4, sync),
    op("heartbeat", 3, heartbeat),
    op("leave", 2, leave),
    op("proceed", 6, proceed),
];

/// What a member has to do next.
#[derive(Clone, Copy, Default)]
enum Next {
    #[default]
    Join,
    Sync,
    Beat,
}

/// A request that waits for others.
struct Waiting {
    key: i16,
    version: i16,
    request: Value,
}

#[derive(Default)]
struct Member {
    /// What its id is called; empty without one.
    id: String,
    /// Ids it had so far.
    ids: usize,
    instance: Option<String>,
    lines: Option<[Conn; 2]>,
    waits: Option<Waiting>,
    generation: i32,
    /// Kafka's ids of all members, if it leads.
    led: Vec<String>,
    protocol: String,
    next: Next,
}

struct Group {
    name: String,
    lives: usize,
    members: [Member; MEMBERS],
}

/// All classic groups of a sequence.
pub struct Classics {
    prefix: String,
    groups: Vec<Group>,
}

impl Classics {
    /// None is there. One of them has this name, if there is one.
    pub fn new(prefix: &str, shared: Option<&str>) -> Classics {
        let group = |at: usize| Group { name: format!("{prefix}-g{at}"), lives: 0, members: Default::default() };
        let mut groups: Vec<Group> = (0..GROUPS).map(group).collect();
        groups.iter_mut().for_each(|group| group.members[2].instance = Some("i".to_owned()));
        if let Some(name) = shared {
            name.clone_into(&mut groups[SHARED].name);
        }
        Classics { prefix: prefix.to_owned(), groups }
    }

    /// How many members the shared group has.
    pub fn sharing(&self) -> usize {
        self.speakers(SHARED).len()
    }

    /// How many.
    pub fn count(&self) -> usize {
        GROUPS
    }

    /// The name of one.
    pub fn name(&self, group: usize) -> &str {
        &self.groups[group].name
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.groups.iter().map(|group| group.name.clone())
    }

    /// Id, generation and instance of the members of one.
    pub fn speakers(&self, group: usize) -> Vec<(String, i32, Option<String>)> {
        let members = self.groups[group].members.iter();
        let there = members.filter(|member| !member.id.is_empty() || member.waits.is_some());
        there.map(|member| (member.id.clone(), member.generation, member.instance.clone())).collect()
    }

    /// The next use of this group is one of another name.
    pub fn rename(&mut self, at: usize) {
        let group = &mut self.groups[at];
        group.lives += 1;
        group.name = format!("{}-g{at}-{}", self.prefix, group.lives);
    }
}

/// A group and a member.
fn place(world: &World<'_>, draw: &mut Draw) -> (usize, usize) {
    // One of them is used more.
    let group = if world.subject.mixed { SHARED } else { draw.weighted(&[(3, 0), (1, 1)]) };
    (group, draw.index(MEMBERS))
}

fn join(world: &mut World<'_>, draw: &mut Draw) {
    let at = place(world, draw);
    join_as(world, draw, at);
}

fn join_as(world: &mut World<'_>, draw: &mut Draw, at: (usize, usize)) {
    if world.subject.mixed {
        prepare(world, draw);
    }
    let group = &world.classics.groups[at.0];
    let member = &group.members[at.1];
    if member.waits.is_some() || member.id.is_empty() && is_full(world) {
        return;
    }
    let first_with_instances = if member.instance.is_some() { 5 } else { 0 };
    let version = world.version_in(draw, api::JOIN_GROUP, first_with_instances..=i16::MAX);
    // A static member may have lost its id. Another one that had would be waited for until its time is up.
    let forgot = member.instance.is_some() && draw.once_in(3);
    let id = match draw.below(25) {
        // A KIP-848 group of Kafka takes anybody in (N16).
        0 if !world.subject.mixed => NOBODY.to_owned(),
        _ if forgot => String::new(),
        _ => member.id.clone(),
    };
    let request = json!({"group_id": group.name, "session_timeout_ms": 60_000, "rebalance_timeout_ms": 60_000,
        "member_id": id, "group_instance_id": member.instance, "protocol_type": "consumer",
        "protocols": protocols(world, draw), "reason": draw.pick(&[None, Some("why not")])});
    start(world, at, (api::JOIN_GROUP, version), request.clone());
    let told = &world.classics.groups[at.0].members[at.1];
    // The id that it was told, unless it goes away with it.
    if id.is_empty() && !told.id.is_empty() && told.waits.is_none() && told.generation == 0 && !draw.once_in(8) {
        let mut again = request;
        again["member_id"] = json!(told.id);
        start(world, at, (api::JOIN_GROUP, version), again);
    }
}

fn protocols(world: &World<'_>, draw: &mut Draw) -> Vec<Value> {
    if world.subject.mixed {
        return vec![json!({"name": "range", "metadata": hex(&subscription(&[world.consumers.topic()], ""))})];
    }
    let named = |draw: &mut Draw, name: &str| {
        let topic = world.topics.name(draw.index(super::topics::SLOTS));
        json!({"name": name, "metadata": hex(&subscription(&[topic], draw.pick(&["", "u"])))})
    };
    // In one order everywhere: two protocols with equally many votes are chosen from by hash.
    let names: &[&str] = draw.pick(&[&["range"] as &[&str], &["range", "roundrobin"], &["roundrobin"]]);
    names.iter().map(|name| named(draw, name)).collect()
}

fn sync(world: &mut World<'_>, draw: &mut Draw) {
    let at = place(world, draw);
    sync_as(world, draw, at);
}

fn sync_as(world: &mut World<'_>, draw: &mut Draw, at: (usize, usize)) {
    let group = &world.classics.groups[at.0];
    let member = &group.members[at.1];
    if member.waits.is_some() {
        return;
    }
    let id = if member.id.is_empty() { NOBODY } else { member.id.as_str() };
    let share = |(place, raw): (usize, &String)| {
        let name = world.name_of(0, Kind::Member, raw).unwrap_or_default();
        let assignment = if world.subject.mixed {
            // An assignment that a coordinator can read: who has which partitions stays when the protocol changes.
            let (all, members) = (world.consumers.partitions(world), member.led.len());
            let own: Vec<i32> = (0..).take(all).skip(place * all / members).take(all / members).collect();
            assigned(world.consumers.topic(), &own)
        } else {
            format!("for {name}").into_bytes()
        };
        json!({"member_id": name, "assignment": hex(&assignment)})
    };
    let mut assignments: Vec<Value> = member.led.iter().enumerate().map(share).collect();
    if !world.subject.mixed && draw.once_in(6) {
        assignments.pop();
    }
    let wrong = draw.below(20);
    let off_by = match wrong {
        0 => 1,
        1 => -1,
        _ => 0,
    };
    let request = json!({"group_id": group.name, "member_id": id, "group_instance_id": member.instance,
        "generation_id": member.generation + off_by,
        "protocol_type": if wrong == 2 { "connect" } else { "consumer" },
        "protocol_name": if wrong == 3 { "sticky" } else { member.protocol.as_str() },
        "assignments": assignments});
    let least = if member.instance.is_some() { 3 } else { 0 };
    let version = world.version_in(draw, api::SYNC_GROUP, least..=i16::MAX);
    start(world, at, (api::SYNC_GROUP, version), request);
}

/// The assignment of a consumer, as leaders write it.
fn assigned(topic: &str, partitions: &[i32]) -> Vec<u8> {
    let number = |count: usize| i32::try_from(count).unwrap().to_be_bytes();
    let mut out = vec![0, 0];
    out.extend(number(1));
    out.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    out.extend(topic.as_bytes());
    out.extend(number(partitions.len()));
    partitions.iter().for_each(|partition| out.extend(partition.to_be_bytes()));
    out.extend(number(0));
    out
}

fn heartbeat(world: &mut World<'_>, draw: &mut Draw) {
    let at = place(world, draw);
    heartbeat_as(world, draw, at);
}

fn heartbeat_as(world: &mut World<'_>, draw: &mut Draw, at: (usize, usize)) {
    let group = &world.classics.groups[at.0];
    let member = &group.members[at.1];
    let id = if member.id.is_empty() { NOBODY } else { member.id.as_str() };
    let request = json!({"group_id": group.name, "member_id": id, "group_instance_id": member.instance,
        "generation_id": draw.weighted(&[(8, member.generation), (1, member.generation + 1), (1, 0)])});
    let least = if member.instance.is_some() { 3 } else { 0 };
    let version = world.version_in(draw, api::HEARTBEAT, least..=i16::MAX);
    let answers = world.ask(api::HEARTBEAT, version, &request);
    heed_code(&mut world.classics.groups[at.0].members[at.1], answers[0].text("error_code"));
}

fn leave(world: &mut World<'_>, draw: &mut Draw) {
    let at = place(world, draw);
    let group = &world.classics.groups[at.0];
    let member = &group.members[at.1];
    // Kafka never answers the sync of a member that left.
    let syncs = member.waits.as_ref().is_some_and(|waiting| waiting.key == api::SYNC_GROUP);
    if world.subject.mixed && is_full(world) {
        return;
    }
    if syncs || !member.led.is_empty() && world.classics.speakers(at.0).len() > 2 {
        return;
    }
    let id = if member.id.is_empty() { NOBODY } else { member.id.as_str() };
    let by_instance = member.instance.is_some() && draw.coin();
    let named = if by_instance { "" } else { id };
    let leaver = json!({"member_id": named, "group_instance_id": member.instance, "reason": "enough"});
    let stranger = json!({"member_id": "stranger", "group_instance_id": null, "reason": null});
    let leavers = if draw.once_in(6) { vec![leaver, stranger] } else { vec![leaver] };
    let request = json!({"group_id": group.name, "member_id": id, "members": leavers});
    let least = if by_instance { 3 } else { 0 };
    let version = world.version_in(draw, api::LEAVE_GROUP, least..=i16::MAX);
    let answers = world.ask(api::LEAVE_GROUP, version, &request);
    let code = if version >= 3 { answers[0].text("members.0.error_code") } else { answers[0].text("error_code") };
    if code == "0" {
        forget(&mut world.classics.groups[at.0].members[at.1]);
    }
    take_all(world, at.0, AT_ONCE);
}

/// Each member does what clients do next.
fn proceed(world: &mut World<'_>, draw: &mut Draw) {
    let (group, _) = place(world, draw);
    for member in 0..MEMBERS {
        let at = (group, member);
        let next = world.classics.groups[group].members[member].next;
        match next {
            _ if draw.once_in(5) || world.found.is_some() => {}
            Next::Join => join_as(world, draw, at),
            Next::Sync => sync_as(world, draw, at),
            Next::Beat => heartbeat_as(world, draw, at),
        }
    }
}

/// Sends a request that may have to wait for others, and takes what is answered at once.
fn start(world: &mut World<'_>, at: (usize, usize), api: (i16, i16), request: Value) {
    let (key, version) = api;
    let frames = world.frames(key, version, &[request.clone(), request.clone()]);
    let addresses = &world.both.addresses;
    let member = &mut world.classics.groups[at.0].members[at.1];
    let connect = || addresses.each_ref().map(|address| Conn::connect(address));
    let lines = member.lines.get_or_insert_with(connect);
    lines.iter_mut().zip(&frames).for_each(|(line, frame)| line.send_frame(frame));
    member.waits = Some(Waiting { key, version, request });
    take(world, at, AT_ONCE);
    if let Some(waiting) = &world.classics.groups[at.0].members[at.1].waits {
        let told = format!("request {} of member {} of group {} waits: {}", waiting.key, at.1, at.0, waiting.request);
        world.told.push(told.replace(&world.prefix, "sq"));
    }
    // What it answered may be what others waited for.
    take_all(world, at.0, Duration::from_millis(20));
}

fn take_all(world: &mut World<'_>, group: usize, patience: Duration) {
    (0..MEMBERS).for_each(|member| take(world, (group, member), patience));
}

/// Takes the answers to what a member waits for, if one of them is there.
fn take(world: &mut World<'_>, at: (usize, usize), patience: Duration) {
    let member = &mut world.classics.groups[at.0].members[at.1];
    let (Some(waiting), Some(lines)) = (member.waits.take(), member.lines.as_mut()) else { return };
    let [kafka, ours] = lines;
    let mut outcomes = [kafka.outcome(patience), ours.outcome(Duration::from_millis(1))];
    if outcomes.iter().all(|outcome| *outcome == Outcome::Silence) {
        member.waits = Some(waiting);
        return;
    }
    for (line, outcome) in [kafka, ours].into_iter().zip(&mut outcomes) {
        if *outcome == Outcome::Silence {
            *outcome = line.outcome(FOLLOWS);
        }
    }
    let answers = outcomes.map(|outcome| decoded(waiting.key, waiting.version, outcome));
    world.judge(waiting.key, waiting.version, &waiting.request, &answers);
    heed(world, at, waiting.key, &answers);
}

/// What a member makes of the answer to its join or sync.
fn heed(world: &mut World<'_>, at: (usize, usize), key: i16, answers: &[Tree; 2]) {
    if answers.iter().any(|answer| matches!(answer, Tree::Leaf(_))) {
        world.classics.groups[at.0].members[at.1].lines = None;
        return;
    }
    let code = answers[0].text("error_code");
    let ids = [answers[0].text("member_id"), answers[1].text("member_id")];
    if key == api::JOIN_GROUP && ["0", "79"].contains(&code) && ids.iter().all(|id| !id.is_empty()) {
        let name = world.name_of(0, Kind::Member, ids[0]).unwrap_or_else(|| {
            let member = &mut world.classics.groups[at.0].members[at.1];
            member.ids += 1;
            let name = format!("@g{}m{}.{}", at.0, at.1, member.ids);
            world.learn(Kind::Member, &name, ids);
            name
        });
        world.classics.groups[at.0].members[at.1].id = name;
    }
    let member = &mut world.classics.groups[at.0].members[at.1];
    match (key, code) {
        (api::JOIN_GROUP, "0") => {
            member.generation = answers[0].text("generation_id").parse().unwrap_or(0);
            answers[0].text("protocol_name").clone_into(&mut member.protocol);
            member.led = answers[0].items("members").iter().map(|m| m.text("member_id").to_owned()).collect();
            // A static member that is back skips the assignment, and its sync tells it.
            member.next = Next::Sync;
        }
        (api::JOIN_GROUP, "79") => (member.generation, member.next) = (0, Next::Join),
        (_, "0") => member.next = Next::Beat,
        _ => heed_code(member, code),
    }
}

/// What a member makes of an error.
fn heed_code(member: &mut Member, code: &str) {
    match code {
        "22" | "27" => member.next = Next::Join,
        "25" | "82" => forget(member),
        _ => {}
    }
}

/// It is no member any more.
fn forget(member: &mut Member) {
    member.id.clear();
    member.led.clear();
    (member.generation, member.next) = (0, Next::Join);
}

impl World<'_> {
    /// All members leave.
    pub fn leave_classics(&mut self) {
        for group in 0..GROUPS {
            let name = self.classics.name(group).to_owned();
            for (id, _, instance) in self.classics.speakers(group) {
                let known = [0, 1].map(|side| self.id(side, &id).to_owned());
                let leaver = |id: &str| {
                    MemberIdentity::default()
                        .with_member_id(text(id))
                        .with_group_instance_id(instance.as_deref().map(text))
                };
                let request = |id: &str| {
                    LeaveGroupRequest::default().with_group_id(group_id(&name)).with_members(vec![leaver(id)])
                };
                self.both.kafka.call(5, &request(&known[0]));
                self.both.ours.call(5, &request(&known[1]));
            }
        }
    }
}
