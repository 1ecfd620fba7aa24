//! Random members of both protocols in one group: requests and answers that are lost or come twice, slow revocations,
//! sessions that end, static members that restart, subscriptions and topics that change, members that change their
//! protocol, coordinators that restart from their records, also between deciding and making durable.
//!
//! Clients are played as real ones behave, and know what they really consume: a partition is theirs from the moment they
//! act on an assignment to the moment they give it back or learn that they are out. The checker looks at that, at answers
//! and at stored records. Each seed ends with everybody behaving well: then the group must become stable, with every
//! partition consumed once. A failure names its seed; `run(seed, Mutant::None)` replays it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages as m;
use pyralog_protocol::{Draw, TopicId, kafka_protocol};

use super::super::consumer::{Current, Migration};
use super::super::hard::Kind;
use super::super::record::Stage;
use super::super::subscription::{ConsumerSubscription, encode_assignment, read_assignment};
use super::super::{GroupRecord, GroupSettings, TopicView};
use super::machine::Machine;
use super::{Topics, encode, str};
use crate::command::{Command, Reply, Token};
use crate::effects::Effects;
use crate::metadata::wire::{topic_id, wire_id};
use crate::record::Record;

/// Planted bugs. Each must be found by the check it is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// Members are told of their whole target, also of what others still hold.
    TellTarget,
    /// A heartbeat that says nothing of owned partitions counts as one that owns none.
    UnsaidIsNothing,
    /// What members still have to give back is not made durable.
    LoseRevoking,
    /// Answers leave before their records are durable.
    ReplyBeforeCommit,
    /// The group's epoch is not made durable.
    LoseHeads,
    /// Targets are not made durable.
    LoseTargets,
    /// Members are told an older epoch now and then.
    TellOldEpoch,
    /// Deadlines never come.
    NoDeadlines,
    /// Changes of topics are not noticed.
    NoTopics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// KIP-848.
    New,
    /// Classic; gives everything back before it joins again.
    Eager,
    /// Classic; joins again with what it owns.
    Cooperative,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Out,
    /// Has a generation, and no assignment of it yet.
    Joined,
    In,
}

type Owned = BTreeSet<(TopicId, i32)>;

#[derive(Clone, Debug)]
struct Client {
    speaks: Speaks,
    instance: Option<String>,
    member: String,
    /// Member epoch or generation.
    epoch: i32,
    phase: Phase,
    /// What it really consumes.
    owned: Owned,
    /// The last assignment, as long as it did not act on all of it.
    told: Option<Owned>,
    /// What it said last of what it owns, if it knows that this was heard.
    said: Option<Owned>,
    subscription: usize,
    waiting: Option<Token>,
    /// Members that it assigns to, if it leads a classic group.
    leads: Vec<(String, Bytes)>,
    /// Member ids it had.
    lives: u32,
}

struct Asked {
    client: usize,
    version: i16,
    /// Nobody listens: the connection broke.
    deaf: bool,
}

struct Run {
    mutant: Mutant,
    machine: Machine,
    clients: Vec<Client>,
    asked: BTreeMap<Token, Asked>,
    steps: u64,
    /// Nothing goes wrong any more.
    calm: bool,
    /// Epoch or generation of the group as it was last seen, and whether it spoke the new protocol.
    seen: Option<(bool, i32)>,
    trace: Option<Vec<String>>,
}

/// By name, and by pattern for those who can.
const SUBSCRIPTIONS: [(&[&str], Option<&str>); 6] = [
    (&["a"], None),
    (&["a", "b"], None),
    (&["b", "c", "d"], None),
    (&["a"], Some("b|c")),
    (&[], Some("[ab].*")),
    (&["d"], Some(".*")),
];

/// Runs one seed; says how many requests it took.
fn run(seed: u64, mutant: Mutant) -> Result<u64, String> {
    let mut run = Run::new(seed, mutant);
    run.whole()?;
    Ok(run.steps)
}

/// What happened before a seed failed.
fn trace(seed: u64) -> String {
    let mut run = Run::new(seed, Mutant::None);
    run.trace = Some(Vec::new());
    let _ = run.whole();
    let trace = run.trace.unwrap_or_default();
    trace[trace.len().saturating_sub(6000)..].join("\n")
}

impl Run {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let mut draw = Draw::new(u128::from(seed) | 0x5eed << 64);
        let mut pick = |n: u64| draw.next_u64() % n;
        let mut settings =
            GroupSettings { initial_rebalance_delay_ms: [0, 500][pick(2) as usize], ..Default::default() };
        settings.group_size_max = [3, 100][pick(2) as usize];
        settings.consumer.size_max = [3, 100][pick(2) as usize];
        settings.consumer.assignment_interval_ms.default = [0, 1000, 5000][pick(3) as usize];
        settings.consumer.migration = Migration { upgrade: pick(4) > 0, downgrade: pick(4) > 0 };
        let mix = pick(4);
        let client = |i: u64, pick: &mut dyn FnMut(u64) -> u64| Client {
            speaks: match (mix, pick(4)) {
                (0, _) | (1 | 2, 0 | 1) => Speaks::New,
                (_, 0 | 1) => Speaks::Eager,
                (_, _) => Speaks::Cooperative,
            },
            instance: (pick(3) == 0).then(|| format!("instance{i}")),
            member: String::new(),
            epoch: -1,
            phase: Phase::Out,
            owned: Owned::new(),
            told: None,
            said: None,
            subscription: pick(6) as usize,
            waiting: None,
            leads: vec![],
            lives: 0,
        };
        let clients = (0..2 + pick(4)).map(|i| client(i, &mut pick)).collect();
        let mut topics = Topics::default();
        topics.put("a", 3);
        topics.put("b", 2);
        Self {
            mutant,
            machine: Machine::new(settings, topics, draw),
            clients,
            asked: BTreeMap::new(),
            steps: 0,
            calm: false,
            seen: None,
            trace: None,
        }
    }

    fn whole(&mut self) -> Result<(), String> {
        for _ in 0..200 {
            self.random_step()?;
        }
        self.calm_down()
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {}", self.machine.now.mono.0, what()));
        }
    }
}

impl Run {
    fn pick(&mut self, n: u64) -> u64 {
        self.machine.pick(n)
    }

    fn random_step(&mut self) -> Result<(), String> {
        let ms = match self.pick(12) {
            0 => self.pick(50_000),
            1 => self.pick(15_000),
            2..=5 => self.pick(1500),
            _ => 0,
        };
        self.pass(ms)?;
        match self.pick(80) {
            0 => return self.restart(),
            1..=3 => return self.change_topics(),
            _ => {}
        }
        let who = self.pick(self.clients.len() as u64) as usize;
        if self.clients[who].waiting.is_some() {
            // Its process may be gone, or its request may have timed out.
            match self.pick(15) {
                0 => self.crash(who),
                1 => self.lose_answer(who),
                _ => {}
            }
            return Ok(());
        }
        match self.pick(30) {
            0 => {
                self.crash(who);
                Ok(())
            }
            1 => self.leave(who),
            2 => {
                self.clients[who].subscription = self.pick(6) as usize;
                if self.clients[who].speaks != Speaks::New {
                    self.rejoin(who);
                }
                Ok(())
            }
            3 => self.change_protocol(who),
            4 => self.commit(who),
            _ => self.act(who, false),
        }
    }

    /// What the client does next, well or sloppily.
    fn act(&mut self, who: usize, well: bool) -> Result<(), String> {
        let (speaks, phase) = (self.clients[who].speaks, self.clients[who].phase);
        match (speaks, phase) {
            (Speaks::New, Phase::Out) => self.beat(who, true, well),
            (Speaks::New, Phase::Joined | Phase::In) => {
                if self.clients[who].told.is_some() && (well || self.pick(3) > 0) {
                    self.follow(who, well);
                }
                let full = self.pick(6) == 0;
                self.beat(who, full, well)
            }
            (Speaks::Eager | Speaks::Cooperative, Phase::Out) => self.join(who),
            (Speaks::Eager | Speaks::Cooperative, Phase::Joined) => self.sync(who),
            (Speaks::Eager | Speaks::Cooperative, Phase::In) => self.classic_beat(who),
        }
    }

    /// Gives back some or all of what the last assignment does not have; takes what it has more once all is given back.
    fn follow(&mut self, who: usize, well: bool) {
        let slow: Vec<bool> = (0..32).map(|_| !well && self.pick(3) == 0).collect();
        let client = &mut self.clients[who];
        let Some(told) = client.told.clone() else { return };
        let mut nth = 0;
        client.owned.retain(|partition| {
            nth += 1;
            told.contains(partition) || slow[nth % 32]
        });
        if client.owned.is_subset(&told) {
            (client.owned, client.told) = (told, None);
        }
    }

    fn change_topics(&mut self) -> Result<(), String> {
        let name = ["a", "b", "c", "d"][self.pick(4) as usize];
        if self.pick(4) == 0 && self.machine.topics.topic(name).is_some() {
            self.machine.topics.remove(name);
            let mut out = Effects::default();
            let removed = self.machine.groups.topics_deleted(&BTreeSet::from([name.to_string()]));
            removed.into_values().for_each(|set| out.commit(set.into_iter().map(Record::Group).collect()));
            return self.finish(out);
        }
        let partitions = self.machine.topics.topic(name).map_or(0, |(_, count)| count) + self.pick(3) as i32;
        let log = self.machine.topics.put(name, partitions.clamp(1, 5));
        if self.mutant != Mutant::NoTopics {
            self.machine.groups.topic_changed(&log);
        }
        Ok(())
    }

    fn pass(&mut self, ms: u64) -> Result<(), String> {
        let end = self.machine.now.mono.after_ms(ms as i64);
        if self.mutant == Mutant::NoDeadlines {
            self.machine.wait_until(end);
            return Ok(());
        }
        for _ in 0..10_000 {
            let Some(out) = self.machine.next_due(end) else { return Ok(()) };
            self.finish(out)?;
        }
        Err("never stops being due".to_string())
    }

    /// Who waited sees its connection break.
    fn restart(&mut self) -> Result<(), String> {
        self.note(|| "restart".to_string());
        self.asked.clear();
        self.machine.restart();
        (0..self.clients.len())
            .filter(|who| self.clients[*who].waiting.is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|who| self.lose_answer(who));
        self.check()
    }

    /// The client's process is gone; another one starts later.
    fn crash(&mut self, who: usize) {
        let client = &mut self.clients[who];
        (client.phase, client.waiting, client.told, client.said) = (Phase::Out, None, None, None);
        client.owned.clear();
        client.lives += 1;
        client.epoch = -1;
        client.member = match client.speaks {
            Speaks::New => format!("c{who}-{}", client.lives),
            Speaks::Eager | Speaks::Cooperative => String::new(),
        };
    }

    fn leave(&mut self, who: usize) -> Result<(), String> {
        let for_a_while = self.clients[who].instance.is_some() && self.pick(2) == 0;
        let client = self.clients[who].clone();
        let (instance, member) = (client.instance.as_deref().map(str), str(&client.member));
        self.crash(who);
        if client.speaks == Speaks::New {
            let request = m::ConsumerGroupHeartbeatRequest::default()
                .with_group_id(str("g").into())
                .with_member_id(member)
                .with_member_epoch(if for_a_while { -2 } else { -1 })
                .with_instance_id(instance)
                .with_rebalance_timeout_ms(-1);
            return self.ask(who, 1, true, Command::ConsumerGroupHeartbeat(request));
        }
        if for_a_while {
            return Ok(());
        }
        let identity = m::leave_group_request::MemberIdentity::default().with_member_id(member);
        let identity = identity.with_group_instance_id(instance);
        let request = m::LeaveGroupRequest::default().with_group_id(str("g").into()).with_members(vec![identity]);
        self.ask(who, 5, true, Command::LeaveGroup(request))
    }

    fn change_protocol(&mut self, who: usize) -> Result<(), String> {
        self.leave(who)?;
        let speaks = [Speaks::New, Speaks::New, Speaks::Eager, Speaks::Cooperative][self.pick(4) as usize];
        self.clients[who].speaks = speaks;
        self.crash(who);
        Ok(())
    }

    fn subscription(&self, who: usize) -> (Vec<&'static str>, Option<&'static str>) {
        let client = &self.clients[who];
        let (names, pattern) = SUBSCRIPTIONS[client.subscription];
        (names.to_vec(), pattern.filter(|_| client.speaks == Speaks::New))
    }

    fn beat(&mut self, who: usize, full: bool, well: bool) -> Result<(), String> {
        if self.clients[who].member.is_empty() {
            self.crash(who);
        }
        let (names, pattern) = self.subscription(who);
        let client = &mut self.clients[who];
        let joins = client.phase == Phase::Out;
        if joins {
            (client.epoch, client.told, client.said) = (0, None, None);
            client.owned.clear();
        }
        let full = full || client.said.is_none();
        let changed = client.said.as_ref() != Some(&client.owned);
        let owned = (joins || full || changed).then(|| client.owned.clone());
        client.said = owned.clone().or(client.said.take());
        let owned = owned.or((self.mutant == Mutant::UnsaidIsNothing).then(Owned::new));
        let mut by_topic: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        let topics = owned.map(|owned| {
            owned.into_iter().for_each(|(topic, partition)| by_topic.entry(topic).or_default().push(partition));
            let topic = |(id, partitions)| {
                m::consumer_group_heartbeat_request::TopicPartitions::default()
                    .with_topic_id(wire_id(id))
                    .with_partitions(partitions)
            };
            by_topic.into_iter().map(topic).collect()
        });
        // Java clients say their subscription with every full request only; it is one that changes rarely.
        let said = joins || full || well;
        let request = m::ConsumerGroupHeartbeatRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&client.member))
            .with_member_epoch(client.epoch)
            .with_instance_id(client.instance.as_deref().map(str))
            .with_rebalance_timeout_ms(if joins || full { 20_000 } else { -1 })
            .with_subscribed_topic_names(said.then(|| names.iter().map(|name| str(name).into()).collect()))
            .with_subscribed_topic_regex(said.then(|| str(pattern.unwrap_or_default())))
            .with_topic_partitions(topics);
        let command = Command::ConsumerGroupHeartbeat(request);
        match if well { 9 } else { self.pick(10) } {
            // The request is lost, or its answer.
            0 => self.lose_answer(who),
            1 => {
                self.lose_answer(who);
                return self.ask(who, 1, true, command);
            }
            // It comes twice, and both answers are lost.
            2 => {
                self.lose_answer(who);
                self.ask(who, 1, true, command.clone())?;
                return self.ask(who, 1, true, command);
            }
            _ => return self.ask(who, 1, false, command),
        }
        Ok(())
    }

    /// A client cannot know whether its request was heard: it says everything again, and waits for the whole assignment. An
    /// older one, on which it did not act yet, may have been overtaken: with what it said last, the coordinator may have
    /// given the partitions to others.
    fn lose_answer(&mut self, who: usize) {
        let client = &mut self.clients[who];
        (client.waiting, client.said, client.told) = (None, None, None);
    }

    /// A classic member joins again. Eager ones give everything back first.
    fn rejoin(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.phase = Phase::Out;
        if client.speaks == Speaks::Eager {
            client.owned.clear();
        }
    }

    /// A classic member is out: it gives up everything.
    fn lose(&mut self, who: usize, keeps_id: bool) {
        let client = &mut self.clients[who];
        client.phase = Phase::Out;
        client.owned.clear();
        if !keeps_id {
            client.member.clear();
            client.epoch = -1;
        }
    }

    fn join(&mut self, who: usize) -> Result<(), String> {
        self.rejoin(who);
        let (names, _) = self.subscription(who);
        let client = &self.clients[who];
        let mut owned: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &client.owned {
            owned.entry(self.machine.topics.name_of(*topic).unwrap_or("gone")).or_default().push(*partition);
        }
        let owned: Vec<String> = owned
            .into_iter()
            .map(|(name, ps)| format!("{name}:{}", ps.iter().map(i32::to_string).collect::<Vec<_>>().join("+")))
            .collect();
        let protocol = m::join_group_request::JoinGroupRequestProtocol::default()
            .with_name(str("range"))
            .with_metadata(super::subscription_owning(&names, &owned.join(",")));
        let request = m::JoinGroupRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&client.member))
            .with_group_instance_id(client.instance.as_deref().map(str))
            .with_session_timeout_ms(10_000 + 1000 * who as i32)
            .with_rebalance_timeout_ms(20_000)
            .with_protocol_type(str("consumer"))
            .with_protocols(vec![protocol]);
        let version = if client.instance.is_some() || who.is_multiple_of(2) { 9 } else { 3 };
        self.ask(who, version, false, Command::JoinGroup(request))
    }

    /// A leader that leaves everybody what they own, and gives what is free to whoever has least.
    fn shares(&self, who: usize) -> Vec<m::sync_group_request::SyncGroupRequestAssignment> {
        let members = &self.clients[who].leads;
        let read = |(id, metadata): &(String, Bytes)| (id.clone(), ConsumerSubscription::read(metadata).unwrap());
        let members: BTreeMap<String, ConsumerSubscription> = members.iter().map(read).collect();
        let mut shares: BTreeMap<&String, BTreeMap<&str, Vec<i32>>> =
            members.keys().map(|id| (id, BTreeMap::new())).collect();
        for log in self.machine.topics.names() {
            let name = log.as_str();
            for partition in 0..self.machine.topics.topic(name).map_or(0, |(_, count)| count) {
                let owns =
                    |s: &ConsumerSubscription| s.owned.iter().any(|(t, ps)| t == name && ps.contains(&partition));
                let subscribed = || members.iter().filter(|(_, s)| s.topics.iter().any(|topic| topic == name));
                let owners: Vec<&String> = members.iter().filter(|(_, s)| owns(s)).map(|(id, _)| id).collect();
                let to = match owners.as_slice() {
                    [] => {
                        subscribed().map(|(id, _)| id).min_by_key(|id| shares[id].values().map(Vec::len).sum::<usize>())
                    }
                    [owner] => subscribed().map(|(id, _)| id).find(|id| id == owner),
                    _ => None,
                };
                if let Some(to) = to {
                    shares.get_mut(to).unwrap().entry(name).or_default().push(partition);
                }
            }
        }
        let share = |(id, topics): (&String, BTreeMap<&str, Vec<i32>>)| {
            m::sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(str(id))
                .with_assignment(encode_assignment(1, &topics.into_iter().collect::<Vec<_>>()).into())
        };
        shares.into_iter().map(share).collect()
    }

    fn sync(&mut self, who: usize) -> Result<(), String> {
        let shares = self.shares(who);
        let client = &self.clients[who];
        let request = m::SyncGroupRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&client.member))
            .with_group_instance_id(client.instance.as_deref().map(str))
            .with_generation_id(client.epoch)
            .with_protocol_type(Some(str("consumer")))
            .with_protocol_name(Some(str("range")))
            .with_assignments(shares);
        self.ask(who, 5, false, Command::SyncGroup(request))
    }

    fn classic_beat(&mut self, who: usize) -> Result<(), String> {
        let client = &self.clients[who];
        let request = m::HeartbeatRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&client.member))
            .with_group_instance_id(client.instance.as_deref().map(str))
            .with_generation_id(client.epoch);
        self.ask(who, 4, false, Command::Heartbeat(request))
    }

    fn commit(&mut self, who: usize) -> Result<(), String> {
        let client = &self.clients[who];
        let partition = m::offset_commit_request::OffsetCommitRequestPartition::default();
        let topic = m::offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(str("a").into())
            .with_partitions(vec![partition]);
        let request = m::OffsetCommitRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&client.member))
            .with_generation_id_or_member_epoch(client.epoch)
            .with_topics(vec![topic]);
        self.ask(who, 9, true, Command::OffsetCommit(request))
    }

    fn ask(&mut self, who: usize, version: i16, deaf: bool, command: Command) -> Result<(), String> {
        self.steps += 1;
        let token = self.machine.next_token();
        if !deaf {
            self.clients[who].waiting = Some(token);
        }
        self.asked.insert(token, Asked { client: who, version, deaf });
        self.note(|| format!("client{who} deaf={deaf} asks {command:?}"));
        let out = self.machine.ask(who, version, command);
        self.finish(out)
    }

    /// Makes durable, then delivers; or crashes in between.
    fn finish(&mut self, mut out: Effects) -> Result<(), String> {
        let crash = !self.calm && self.pick(150) == 0;
        let durable = if crash { self.pick(out.records.len() as u64 + 1) as usize } else { out.records.len() };
        if crash && self.mutant == Mutant::ReplyBeforeCommit {
            self.deliver(std::mem::take(&mut out.replies))?;
        }
        for record in out.records.iter().take(durable).flatten() {
            self.note(|| format!("    {record:?}"));
            self.write(record)?;
        }
        if crash {
            return self.restart();
        }
        let whole = matches!(self.mutant, Mutant::LoseRevoking | Mutant::LoseHeads);
        if !whole && !out.records.is_empty() && self.pick(6) == 0 && !self.machine.is_stored() {
            return Err("loaded and live state differ".to_string());
        }
        self.deliver(out.replies)?;
        self.check()
    }

    fn write(&mut self, record: &Record) -> Result<(), String> {
        let Record::Group(group) = record else { return Err("a record of another machine".to_string()) };
        match (self.mutant, group) {
            (Mutant::LoseHeads, GroupRecord::ConsumerHead { .. }) if self.seen.is_some_and(|(new, _)| new) => {}
            (Mutant::LoseTargets, GroupRecord::Target { .. }) => {}
            (Mutant::LoseRevoking, GroupRecord::Current { group, member, current }) => {
                let current = Current { revoking: Default::default(), ..current.clone() };
                let (group, member) = (group.clone(), member.clone());
                self.machine.store.write(&Record::Group(GroupRecord::Current { group, member, current }));
            }
            (_, _) => self.machine.store.write(record),
        }
        Ok(())
    }

    fn deliver(&mut self, replies: Vec<(Token, Reply)>) -> Result<(), String> {
        for (token, reply) in replies {
            let Some(asked) = self.asked.remove(&token) else { return Err(format!("token {token:?} answered twice")) };
            encode(&reply, asked.version);
            if asked.deaf || self.clients[asked.client].waiting != Some(token) {
                continue;
            }
            self.clients[asked.client].waiting = None;
            self.note(|| format!("client{} is told {reply:?}", asked.client));
            match reply {
                Reply::ConsumerGroupHeartbeat(r) => self.on_beat(asked.client, r)?,
                Reply::JoinGroup(r) => self.on_joined(asked.client, &r)?,
                Reply::SyncGroup(r) => self.on_synced(asked.client, &r)?,
                Reply::Heartbeat(r) => self.on_classic_beat(asked.client, r.error_code),
                other => return Err(format!("an answer to nothing: {other:?}")),
            }
        }
        Ok(())
    }

    fn on_beat(&mut self, who: usize, mut r: m::ConsumerGroupHeartbeatResponse) -> Result<(), String> {
        if self.mutant == Mutant::TellOldEpoch && r.member_epoch > 2 && self.pick(20) == 0 {
            r.member_epoch -= 1;
        }
        let target = self.machine.groups.hard.consumer("g").and_then(|g| g.members.get(&self.clients[who].member));
        let target: Option<Owned> = target.map(|member| member.target.iter().collect());
        let client = &mut self.clients[who];
        match r.error_code {
            0 => {
                if r.member_epoch < client.epoch {
                    return Err(format!("member epoch fell from {} to {}", client.epoch, r.member_epoch));
                }
                (client.epoch, client.phase) = (r.member_epoch, Phase::In);
                let all = |a: &m::consumer_group_heartbeat_response::Assignment| -> Owned {
                    let topics = a.topic_partitions.iter();
                    topics.flat_map(|t| t.partitions.iter().map(|p| (topic_id(&t.topic_id), *p))).collect()
                };
                client.told = r.assignment.as_ref().map(all).or(client.told.take());
                if self.mutant == Mutant::TellTarget && client.told.is_some() {
                    client.told = target;
                }
            }
            25 | 69 | 110 => {
                (client.phase, client.told, client.said) = (Phase::Out, None, None);
                client.owned.clear();
            }
            // Joins that are refused now may succeed later; a fenced instance gives up.
            81 | 111 => {}
            82 => self.crash(who),
            code => return Err(format!("heartbeat answered {code}")),
        }
        Ok(())
    }

    fn on_joined(&mut self, who: usize, r: &m::JoinGroupResponse) -> Result<(), String> {
        match r.error_code {
            0 => {
                let client = &mut self.clients[who];
                if client.member == r.member_id.as_str() && r.generation_id < client.epoch {
                    return Err(format!("generation fell from {} to {}", client.epoch, r.generation_id));
                }
                (client.member, client.epoch) = (r.member_id.to_string(), r.generation_id);
                client.phase = Phase::Joined;
                let assigns = !r.skip_assignment;
                let led = r.members.iter().filter(|_| assigns);
                client.leads = led.map(|m| (m.member_id.to_string(), m.metadata.clone())).collect();
            }
            79 => self.clients[who].member = r.member_id.to_string(),
            27 => self.rejoin(who),
            23 | 81 => self.lose(who, true),
            25 | 82 => self.lose(who, false),
            code => return Err(format!("join answered {code}")),
        }
        Ok(())
    }

    fn on_synced(&mut self, who: usize, r: &m::SyncGroupResponse) -> Result<(), String> {
        match r.error_code {
            0 => {
                let (named, _) = read_assignment(&r.assignment).unwrap_or_default();
                let ids = |(name, ps): (String, Vec<i32>)| {
                    let id = self.machine.topics.topic(&name).map(|(id, _)| id);
                    ps.into_iter().filter_map(move |p| Some((id?, p))).collect::<Vec<_>>()
                };
                let assigned: Owned = named.into_iter().flat_map(ids).collect();
                let client = &mut self.clients[who];
                let gives_back = !client.owned.is_subset(&assigned);
                (client.owned, client.phase) = (assigned, Phase::In);
                if gives_back {
                    self.rejoin(who);
                }
            }
            27 => self.rejoin(who),
            22 => self.lose(who, true),
            25 | 82 => self.lose(who, false),
            code => return Err(format!("sync answered {code}")),
        }
        Ok(())
    }

    fn on_classic_beat(&mut self, who: usize, code: i16) {
        match code {
            0 => {}
            27 => self.rejoin(who),
            22 => self.lose(who, true),
            _ => self.lose(who, false),
        }
    }

    fn check(&mut self) -> Result<(), String> {
        self.check_epoch()?;
        self.check_owners()
    }

    /// Epoch and generation rise as long as there are members, also over a change of the protocol.
    fn check_epoch(&mut self) -> Result<(), String> {
        let now = self.machine.groups.hard.groups.get("g").and_then(|group| match &group.kind {
            Kind::Consumer(g) => (!g.members.is_empty()).then_some((true, g.head.epoch)),
            Kind::Classic(g) => (!g.members.is_empty()).then_some((false, g.head.generation)),
        });
        if let (Some((_, before)), Some((_, after))) = (self.seen, now)
            && after < before
        {
            return Err(format!("group epoch fell from {before} to {after}"));
        }
        self.seen = now;
        Ok(())
    }

    /// No partition is consumed by two members. Who was expelled and does not know it yet is none.
    fn check_owners(&self) -> Result<(), String> {
        let mut owners: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
        for (who, client) in self.clients.iter().enumerate().filter(|(_, client)| !client.owned.is_empty()) {
            if !self.is_current(client) {
                continue;
            }
            for partition in &client.owned {
                if let Some(other) = owners.insert(*partition, who) {
                    return Err(format!("two owners of {partition:?}: {other} and {who}"));
                }
            }
        }
        Ok(())
    }

    /// Whether the coordinator takes this client for a member, and it is not fenced by its generation.
    fn is_current(&self, client: &Client) -> bool {
        match self.machine.groups.hard.groups.get("g").map(|group| &group.kind) {
            Some(Kind::Consumer(g)) => match (g.members.get(&client.member), client.speaks) {
                (None, _) => false,
                (Some(_), Speaks::New) => true,
                (Some(member), Speaks::Eager | Speaks::Cooperative) => member.current.epoch == client.epoch,
            },
            Some(Kind::Classic(g)) => g.members.contains_key(&client.member) && g.head.generation == client.epoch,
            None => false,
        }
    }

    /// Everybody behaves, and everybody is let in: the group must get stable, with each partition consumed once.
    fn calm_down(&mut self) -> Result<(), String> {
        self.calm = true;
        self.machine.settings.group_size_max = 100;
        self.machine.settings.consumer.size_max = 100;
        self.machine.settings.consumer.migration = Migration { upgrade: true, downgrade: true };
        self.machine.groups.set_settings(self.machine.settings.clone());
        for who in 0..self.clients.len() {
            if self.clients[who].speaks != Speaks::New {
                self.rejoin(who);
            }
        }
        let mut calm_rounds = 0;
        for _ in 0..300 {
            for who in 0..self.clients.len() {
                if self.clients[who].waiting.is_none() {
                    self.act(who, true)?;
                }
            }
            self.pass(700)?;
            calm_rounds = if self.is_calm() { calm_rounds + 1 } else { 0 };
            if calm_rounds == 3 {
                return Ok(());
            }
        }
        Err(format!("did not calm down: {:?}", self.clients))
    }

    fn is_calm(&self) -> bool {
        let stable = self.machine.groups.hard.groups.get("g").is_some_and(|group| match &group.kind {
            Kind::Consumer(g) => g.state() == "Stable",
            Kind::Classic(g) => g.head.stage == Stage::Stable,
        });
        let owned: Vec<(TopicId, i32)> = self.clients.iter().flat_map(|c| c.owned.iter().copied()).collect();
        let distinct: Owned = owned.iter().copied().collect();
        let settled = self.clients.iter().all(|c| c.phase == Phase::In && c.told.is_none());
        settled && stable && distinct.len() == owned.len() && distinct == self.wanted()
    }

    fn wanted(&self) -> Owned {
        let mut wanted = Owned::new();
        for who in 0..self.clients.len() {
            let (names, pattern) = self.subscription(who);
            let matches = |name: &str| match pattern {
                Some("b|c") => matches!(name, "b" | "c"),
                Some("[ab].*") => name.starts_with(['a', 'b']),
                Some(_) => true,
                None => false,
            };
            for log in self.machine.topics.names().filter(|log| names.contains(&log.as_str()) || matches(log.as_str()))
            {
                let Some((id, count)) = self.machine.topics.topic(log.as_str()) else { continue };
                wanted.extend((0..count).map(|partition| (id, partition)));
            }
        }
        wanted
    }
}

#[test]
fn gr05_gr07_gr08_random_members_of_both_protocols_in_a_million_steps() {
    let mut steps = 0;
    for seed in 0.. {
        steps += run(seed, Mutant::None).unwrap_or_else(|e| panic!("{}\nseed {seed}: {e}", trace(seed)));
        if steps >= 1_000_000 {
            break;
        }
    }
}

/// Each check must see the bug that is planted for it, and name it.
#[test]
fn planted_bugs_are_found() {
    let aimed = [
        (Mutant::TellTarget, "two owners"),
        (Mutant::UnsaidIsNothing, "two owners"),
        (Mutant::LoseRevoking, "two owners"),
        (Mutant::ReplyBeforeCommit, "two owners"),
        (Mutant::LoseHeads, "group epoch fell"),
        (Mutant::LoseTargets, "loaded and live state differ"),
        (Mutant::TellOldEpoch, "member epoch fell"),
        (Mutant::NoDeadlines, "did not calm down"),
        (Mutant::NoTopics, "did not calm down"),
    ];
    for (mutant, complaint) in aimed {
        let found = (0..3000).find(|seed| run(*seed, mutant).is_err_and(|e| e.contains(complaint)));
        assert!(found.is_some(), "{mutant:?} was never found as {complaint:?}");
    }
}

/// The same seed takes the same way.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(run(seed, Mutant::None), run(seed, Mutant::None));
    }
}
