//! Random clients against the machine: old, new and static ones in one group, that crash, are late, name old
//! generations, commit and fetch; brokers that restart, also between deciding and making durable. The checker sees
//! requests, answers and stored records only. Each seed ends with all clients well-behaved: then the group must become
//! stable with every partition owned once. A failure names its seed; `run(seed, Mutant::None)` replays it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages as m;
use pyralog_protocol::{Draw, MonoMs, Now, WallMs, kafka_protocol};

use super::super::hard::Hard;
use super::super::{GroupRecord, GroupSettings, Groups};
use super::machine::Machine;
use super::{Store, Topics, encode, str, subscription};
use crate::command::{Command, Context, Reply, Token};
use crate::effects::Effects;
use crate::record::Record;

const PARTITIONS: i32 = 3;

/// Planted bugs. Each must be found by the checker it is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    None,
    /// Some answers leave twice.
    ReplyTwice,
    /// Some answers do not leave.
    LoseReply,
    /// Heads are not made durable.
    LoseHeads,
    /// Commits are not made durable.
    LoseOffsets,
    /// The generation that a client names is not looked at.
    AcceptStale,
    /// Members get more than the leader gave them.
    TwoOwners,
    /// Answers leave before their records are durable.
    ReplyBeforeCommit,
    /// Members that time out are forgotten by nobody: deadlines never come.
    NoDeadlines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Out,
    Joined,
    Synced,
}

struct Client {
    join_version: i16,
    instance: Option<String>,
    member: String,
    generation: i32,
    others: Vec<String>,
    owned: BTreeSet<i32>,
    phase: Phase,
    waiting: Option<Token>,
    /// Changes whether the client asks for another topic, so that its metadata changes.
    flavour: u64,
}

struct Asked {
    client: usize,
    version: i16,
    generation: i32,
    /// Who owns what is assigned: static members keep it under another member id.
    owner: String,
    /// Value committed.
    value: i64,
}

/// What must hold whatever the machine does inside.
#[derive(Default)]
struct Checker {
    generation_told: i32,
    owners: BTreeMap<(i32, i32), String>,
    /// Values that a fetch may answer: the last acknowledged one, and those of unknown outcome behind it.
    possible: BTreeSet<i64>,
}

impl Checker {
    fn group_removed(&mut self) {
        (self.generation_told, self.owners) = (0, BTreeMap::new());
    }

    fn generation(&mut self, told: i32) -> Result<(), String> {
        if told < self.generation_told {
            return Err(format!("generation fell from {} to {told}", self.generation_told));
        }
        self.generation_told = told;
        Ok(())
    }

    fn success_in(&self, generation: i32) -> Result<(), String> {
        if generation >= 0 && generation < self.generation_told {
            return Err(format!("stale generation {generation} had success at {}", self.generation_told));
        }
        Ok(())
    }

    fn owns(&mut self, generation: i32, partition: i32, who: &str) -> Result<(), String> {
        let owner = self.owners.entry((generation, partition)).or_insert_with(|| who.to_string());
        if owner != who {
            return Err(format!("two owners of {partition} in generation {generation}: {owner} and {who}"));
        }
        Ok(())
    }

    fn fetched(&mut self, value: i64) -> Result<(), String> {
        if !self.possible.contains(&value) {
            return Err(format!("offset went back: {value}, possible were {:?}", self.possible));
        }
        self.possible = BTreeSet::from([value]);
        Ok(())
    }
}

struct Run {
    mutant: Mutant,
    machine: Machine,
    clients: Vec<Client>,
    asked: BTreeMap<Token, Asked>,
    next_value: i64,
    checker: Checker,
}

fn run(seed: u64, mutant: Mutant) -> Result<(), String> {
    let mut draw = Draw::new(u128::from(seed));
    let mut pick = |n: u64| draw.next_u64() % n;
    let settings = GroupSettings {
        initial_rebalance_delay_ms: [0, 500, 3000][pick(3) as usize],
        group_size_max: [3, 100][pick(2) as usize],
        ..GroupSettings::default()
    };
    let client = |i: u64, pick: &mut dyn FnMut(u64) -> u64| {
        let instance = (pick(3) == 0).then(|| format!("instance{i}"));
        let join_version = if instance.is_some() { 5 + pick(5) } else { pick(10) } as i16;
        Client {
            join_version,
            instance,
            member: String::new(),
            generation: -1,
            others: vec![],
            owned: BTreeSet::new(),
            phase: Phase::Out,
            waiting: None,
            flavour: 0,
        }
    };
    let clients = (0..2 + pick(4)).map(|i| client(i, &mut pick)).collect();
    let mut run = Run {
        mutant,
        machine: Machine::new(settings, Topics::two(), draw),
        clients,
        asked: BTreeMap::new(),
        next_value: 0,
        checker: Checker { possible: BTreeSet::from([-1]), ..Checker::default() },
    };
    for _ in 0..150 {
        run.random_step()?;
    }
    run.calm_down()
}

impl Run {
    fn pick(&mut self, n: u64) -> u64 {
        self.machine.pick(n)
    }

    fn random_step(&mut self) -> Result<(), String> {
        let ms = match self.pick(10) {
            0 => self.pick(20_000),
            1..=4 => self.pick(1500),
            _ => 0,
        };
        self.pass(ms)?;
        if self.pick(60) == 0 {
            return self.restart();
        }
        let who = self.pick(self.clients.len() as u64) as usize;
        if self.clients[who].waiting.is_some() {
            return match self.pick(12) {
                0 => self.crash(who),
                1 => self.ask_heartbeat(who),
                _ => Ok(()),
            };
        }
        match (self.pick(14), self.clients[who].phase) {
            (0, _) => self.crash(who),
            (1, _) => self.ask_leave(who),
            (2, _) => self.ask_fetch(who),
            (3, _) => self.ask_stale(who),
            (4, _) => {
                self.clients[who].flavour += 1;
                self.ask_join(who)
            }
            (5, _) => self.ask_simple_commit(who),
            (_, Phase::Out) => self.ask_join(who),
            (_, Phase::Joined) => self.ask_sync(who),
            (6..=9, Phase::Synced) => self.ask_commit(who),
            (_, Phase::Synced) => self.ask_heartbeat(who),
        }
    }

    /// Everybody behaves: the group must get stable, and each partition one owner.
    fn calm_down(&mut self) -> Result<(), String> {
        self.machine.settings.group_size_max = 100;
        self.machine.groups.set_settings(self.machine.settings.clone());
        let mut calm_rounds = 0;
        for _ in 0..400 {
            for who in 0..self.clients.len() {
                let client = &self.clients[who];
                match (client.waiting, client.phase) {
                    (Some(_), _) => {}
                    (None, Phase::Out) => self.ask_join(who)?,
                    (None, Phase::Joined) => self.ask_sync(who)?,
                    (None, Phase::Synced) => self.ask_heartbeat(who)?,
                }
            }
            self.pass(500)?;
            calm_rounds = if self.is_calm() { calm_rounds + 1 } else { 0 };
            if calm_rounds == 5 {
                return Ok(());
            }
        }
        Err("did not calm down".to_string())
    }

    /// Everybody is in, and each partition has one owner.
    fn is_calm(&self) -> bool {
        let owned: Vec<i32> = self.clients.iter().flat_map(|c| c.owned.iter().copied()).collect();
        let distinct: BTreeSet<i32> = owned.iter().copied().collect();
        let settled = self.clients.iter().all(|c| c.phase == Phase::Synced);
        settled && owned.len() == PARTITIONS as usize && distinct.len() == owned.len()
    }

    fn pass(&mut self, ms: u64) -> Result<(), String> {
        let end = self.machine.now.mono.after_ms(ms as i64);
        if self.mutant == Mutant::NoDeadlines {
            self.machine.wait_until(end);
            return Ok(());
        }
        for _ in 0..10_000 {
            let Some(out) = self.machine.next_due(end) else { return Ok(()) };
            self.finish(out, None)?;
        }
        Err("never stops being due".to_string())
    }

    fn restart(&mut self) -> Result<(), String> {
        self.asked.clear();
        self.machine.restart();
        for client in &mut self.clients {
            if client.waiting.take().is_some() {
                client.phase = Phase::Out;
            }
        }
        Ok(())
    }

    /// The client's process is gone; what it waited for is answered to nobody.
    fn crash(&mut self, who: usize) -> Result<(), String> {
        let client = &mut self.clients[who];
        (client.member, client.generation, client.phase, client.waiting) = (String::new(), -1, Phase::Out, None);
        client.owned.clear();
        Ok(())
    }

    fn ask(&mut self, who: usize, version: i16, generation: i32, value: i64, cmd: Command) -> Result<(), String> {
        let token = self.machine.next_token();
        let client = &mut self.clients[who];
        let owner = client.instance.clone().unwrap_or_else(|| client.member.clone());
        if matches!(cmd, Command::JoinGroup(_) | Command::SyncGroup(_)) {
            client.waiting = Some(token);
        }
        self.asked.insert(token, Asked { client: who, version, generation, owner, value });
        let out = self.machine.ask(who, version, cmd);
        self.finish(out, (value > 0).then_some(value))
    }

    /// Makes durable, then delivers; or crashes in between.
    fn finish(&mut self, mut out: Effects, value: Option<i64>) -> Result<(), String> {
        let crash = self.pick(100) == 0;
        let durable = if crash { self.pick(out.records.len() as u64 + 1) as usize } else { out.records.len() };
        if crash && self.mutant == Mutant::ReplyBeforeCommit {
            self.deliver(std::mem::take(&mut out.replies))?;
        }
        for record in out.records.iter().take(durable).flatten() {
            let Record::Group(group) = record else { return Err("a record of another machine".to_string()) };
            if matches!(group, GroupRecord::GroupRemoved { .. }) {
                self.checker.group_removed();
                self.checker.possible = BTreeSet::from([-1]);
            }
            let lost = match group {
                GroupRecord::Head { .. } => self.mutant == Mutant::LoseHeads,
                GroupRecord::Offset { .. } => self.mutant == Mutant::LoseOffsets,
                _ => false,
            };
            if !lost {
                self.machine.store.write(record);
            }
        }
        if crash {
            self.checker.possible.extend(value.filter(|_| self.mutant != Mutant::ReplyBeforeCommit));
            return self.restart();
        }
        let loses = matches!(self.mutant, Mutant::LoseHeads | Mutant::LoseOffsets);
        if !loses && !out.records.is_empty() && !self.machine.is_stored() {
            return Err("loaded and live state differ".to_string());
        }
        self.spoil(&mut out);
        self.deliver(out.replies)?;
        self.check_tokens()
    }

    fn spoil(&mut self, out: &mut Effects) {
        if self.mutant == Mutant::ReplyTwice && self.pick(50) == 0 {
            out.replies.extend(out.replies.last().cloned());
        }
        if self.mutant == Mutant::LoseReply && self.pick(50) == 0 {
            out.replies.pop();
        }
        if self.mutant == Mutant::TwoOwners {
            for (_, reply) in &mut out.replies {
                if let Reply::SyncGroup(r) = reply {
                    r.assignment = Bytes::from_static(b"0");
                }
            }
        }
    }

    /// Every question is answered or waits in the machine; nothing waits there that nobody asked.
    fn check_tokens(&self) -> Result<(), String> {
        let sessions = self.machine.groups.live.values().flat_map(|live| live.sessions.values());
        let parked: Vec<Token> = sessions.flat_map(|s| s.join.iter().chain(&s.sync)).map(|p| p.token).collect();
        let distinct: BTreeSet<Token> = parked.iter().copied().collect();
        let open: BTreeSet<Token> = self.asked.keys().copied().collect();
        if distinct.len() != parked.len() || distinct != open {
            return Err(format!("token: waiting are {parked:?}, not answered are {open:?}"));
        }
        Ok(())
    }

    fn deliver(&mut self, replies: Vec<(Token, Reply)>) -> Result<(), String> {
        for (token, reply) in replies {
            let Some(asked) = self.asked.remove(&token) else { return Err(format!("token {token:?} answered twice")) };
            encode(&reply, asked.version);
            let listens = self.clients[asked.client].waiting == Some(token);
            if listens {
                self.clients[asked.client].waiting = None;
            }
            match reply {
                Reply::JoinGroup(r) => self.on_joined(&asked, listens, &r)?,
                Reply::SyncGroup(r) => self.on_synced(&asked, listens, &r)?,
                Reply::Heartbeat(r) => self.on_beat(&asked, r.error_code)?,
                Reply::OffsetCommit(r) if r.topics[0].partitions[0].error_code == 0 => {
                    self.checker.success_in(asked.generation)?;
                    self.checker.possible = BTreeSet::from([asked.value]);
                }
                Reply::OffsetFetch(r) => self.checker.fetched(r.groups[0].topics[0].partitions[0].committed_offset)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn on_joined(&mut self, asked: &Asked, listens: bool, r: &m::JoinGroupResponse) -> Result<(), String> {
        if r.error_code == 0 {
            self.checker.generation(r.generation_id)?;
        }
        if !listens {
            return Ok(());
        }
        let client = &mut self.clients[asked.client];
        client.phase = Phase::Out;
        match r.error_code {
            0 => {
                (client.member, client.generation) = (r.member_id.to_string(), r.generation_id);
                client.phase = Phase::Joined;
                let assigns = !r.skip_assignment;
                client.others = r.members.iter().filter(|_| assigns).map(|m| m.member_id.to_string()).collect();
            }
            79 => client.member = r.member_id.to_string(),
            27 => {}
            _ => client.member.clear(),
        }
        Ok(())
    }

    fn on_synced(&mut self, asked: &Asked, listens: bool, r: &m::SyncGroupResponse) -> Result<(), String> {
        let text = String::from_utf8_lossy(&r.assignment).to_string();
        let owned: BTreeSet<i32> = text.split(',').filter_map(|p| p.parse().ok()).collect();
        if r.error_code == 0 {
            self.checker.success_in(asked.generation)?;
            for partition in &owned {
                self.checker.owns(asked.generation, *partition, &asked.owner)?;
            }
        }
        if listens {
            let client = &mut self.clients[asked.client];
            client.phase = if r.error_code == 0 { Phase::Synced } else { Phase::Out };
            client.owned = owned;
            if matches!(r.error_code, 25 | 82) {
                client.member.clear();
            }
        }
        Ok(())
    }

    fn on_beat(&mut self, asked: &Asked, code: i16) -> Result<(), String> {
        if code == 0 {
            return self.checker.success_in(asked.generation);
        }
        let client = &mut self.clients[asked.client];
        if client.waiting.is_none() && client.generation == asked.generation {
            client.phase = Phase::Out;
            if matches!(code, 25 | 82) {
                client.member.clear();
            }
        }
        Ok(())
    }

    fn claimed(&self, generation: i32) -> i32 {
        match (self.mutant, self.machine.groups.hard.classic("g")) {
            (Mutant::AcceptStale, Some(group)) => group.head.generation,
            _ => generation,
        }
    }

    fn ask_join(&mut self, who: usize) -> Result<(), String> {
        let client = &self.clients[who];
        let topics: &[&str] = if client.flavour.is_multiple_of(2) { &["t"] } else { &["t", "u"] };
        let protocol = m::join_group_request::JoinGroupRequestProtocol::default()
            .with_name(str("range"))
            .with_metadata(subscription(topics));
        let request = m::JoinGroupRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&client.member))
            .with_group_instance_id(client.instance.as_deref().map(str))
            .with_session_timeout_ms(6000 + 1000 * who as i32)
            .with_rebalance_timeout_ms(4000 * who as i32)
            .with_protocol_type(str("consumer"))
            .with_protocols(vec![protocol]);
        let version = client.join_version;
        self.ask(who, version, -1, 0, Command::JoinGroup(request))
    }

    fn ask_sync(&mut self, who: usize) -> Result<(), String> {
        let client = &self.clients[who];
        let mut shares: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        if !client.others.is_empty() {
            for partition in 0..PARTITIONS {
                let member = &client.others[partition as usize % client.others.len()];
                shares.entry(member).or_default().push(partition.to_string());
            }
        }
        let shares = shares.into_iter().map(|(member, partitions)| {
            m::sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(str(member))
                .with_assignment(Bytes::from(partitions.join(",")))
        });
        let generation = client.generation;
        let request = m::SyncGroupRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&client.member))
            .with_generation_id(self.claimed(generation))
            .with_protocol_type(Some(str("consumer")))
            .with_protocol_name(Some(str("range")))
            .with_assignments(shares.collect());
        self.ask(who, (client.join_version).min(5), generation, 0, Command::SyncGroup(request))
    }

    fn ask_heartbeat(&mut self, who: usize) -> Result<(), String> {
        let generation = self.clients[who].generation;
        self.ask_heartbeat_in(who, generation)
    }

    fn ask_heartbeat_in(&mut self, who: usize, generation: i32) -> Result<(), String> {
        let request = m::HeartbeatRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&self.clients[who].member))
            .with_generation_id(self.claimed(generation));
        self.ask(who, 4, generation, 0, Command::Heartbeat(request))
    }

    /// A request from the past, as from a client that slept.
    fn ask_stale(&mut self, who: usize) -> Result<(), String> {
        let generation = self.clients[who].generation - 1;
        if generation < 0 {
            return Ok(());
        }
        match self.pick(2) {
            0 => self.ask_heartbeat_in(who, generation),
            _ => self.ask_commit_in(who, generation),
        }
    }

    fn ask_leave(&mut self, who: usize) -> Result<(), String> {
        let client = &mut self.clients[who];
        let request =
            m::LeaveGroupRequest::default().with_group_id(str("g").into()).with_member_id(str(&client.member));
        (client.phase, client.member) = (Phase::Out, String::new());
        client.owned.clear();
        self.ask(who, 1, -1, 0, Command::LeaveGroup(request))
    }

    fn ask_commit(&mut self, who: usize) -> Result<(), String> {
        let generation = self.clients[who].generation;
        self.ask_commit_in(who, generation)
    }

    fn ask_simple_commit(&mut self, who: usize) -> Result<(), String> {
        self.send_commit(who, -1, String::new())
    }

    fn ask_commit_in(&mut self, who: usize, generation: i32) -> Result<(), String> {
        let member = self.clients[who].member.clone();
        self.send_commit(who, generation, member)
    }

    fn send_commit(&mut self, who: usize, generation: i32, member: String) -> Result<(), String> {
        self.next_value += 1;
        let claimed = if generation < 0 { generation } else { self.claimed(generation) };
        let partition = m::offset_commit_request::OffsetCommitRequestPartition::default()
            .with_committed_offset(self.next_value)
            .with_committed_leader_epoch(-1);
        let topic = m::offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(str("t").into())
            .with_partitions(vec![partition]);
        let request = m::OffsetCommitRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&member))
            .with_generation_id_or_member_epoch(claimed)
            .with_retention_time_ms(-1)
            .with_topics(vec![topic]);
        self.ask(who, 8, generation, self.next_value, Command::OffsetCommit(request))
    }

    fn ask_fetch(&mut self, who: usize) -> Result<(), String> {
        let topic = m::offset_fetch_request::OffsetFetchRequestTopics::default()
            .with_name(str("t").into())
            .with_partition_indexes(vec![0]);
        let group = m::offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(str("g").into())
            .with_topics(Some(vec![topic]));
        let request = m::OffsetFetchRequest::default().with_groups(vec![group]);
        self.ask(who, 9, -1, 0, Command::OffsetFetch(request))
    }
}

#[test]
fn gr02_gr07_gr08_gr09_random_clients_in_1000_seeds() {
    for seed in 0..1000 {
        run(seed, Mutant::None).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    }
}

/// The checker must see each planted bug, and name it.
#[test]
fn planted_bugs_are_found() {
    let aimed = [
        (Mutant::ReplyTwice, "answered twice"),
        (Mutant::LoseReply, "token: waiting"),
        (Mutant::LoseHeads, "generation fell"),
        (Mutant::LoseOffsets, "offset went back"),
        (Mutant::AcceptStale, "stale generation"),
        (Mutant::TwoOwners, "two owners"),
        (Mutant::ReplyBeforeCommit, "offset went back"),
        (Mutant::NoDeadlines, "did not calm down"),
    ];
    for (mutant, complaint) in aimed {
        let found = (0..300).find(|seed| run(*seed, mutant).is_err_and(|e| e.contains(complaint)));
        assert!(found.is_some(), "{mutant:?} was never found as {complaint:?}");
    }
}

/// The same seed gives the same records and answers; another seed gives others.
#[test]
fn the_machine_is_deterministic() {
    let trace = |seed: u64| {
        let mut groups = Groups::new(GroupSettings::default());
        let ctx = Context {
            token: Token(0),
            api_version: 0,
            client_id: "c".to_string(),
            client_host: String::new(),
            draw: Draw::new(u128::from(seed)),
            no_room: None,
        };
        let protocol = m::join_group_request::JoinGroupRequestProtocol::default().with_name(str("range"));
        let request = m::JoinGroupRequest::default()
            .with_group_id(str("g").into())
            .with_session_timeout_ms(6000)
            .with_protocol_type(str("consumer"))
            .with_protocols(vec![protocol]);
        let mut out = Effects::default();
        groups.handle(&ctx, Command::JoinGroup(request), &Topics::two(), Now::default(), &mut out);
        groups.on_deadline(&Topics::two(), Now { mono: MonoMs(3000), wall: WallMs(3000) }, &mut out);
        format!("{out:?}")
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
    assert_eq!(Hard::default(), Store::default().hard());
}
