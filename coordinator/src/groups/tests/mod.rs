//! Tests of the groups machine. [`check`] runs a script that reads like a protocol trace: each line is a request of a
//! client and, behind the arrow, what it is answered; `...` means that the answer waits. A later `m1 <- …` is that
//! answer. The whole trace is compared, so an answer that nobody expects fails as well. All answers are encoded at
//! their version, and after each step the state loaded from the stored records equals the live one.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_arguments
)]

mod bridge;
mod busy;
mod codec;
mod heartbeats;
mod machine;
mod members;
mod migration;
mod mixed;
mod offsets;
mod property;
mod rebalance;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Encodable, StrBytes};
use pyralog_protocol::{Draw, LogId, MonoMs, Now, TopicId, WallMs, kafka_protocol};

use super::hard::{Hard, Kind};
use super::{GroupRecord, GroupSettings, Groups, TopicView};
use crate::command::{Command, Context, NoRoom, Reply, Token};
use crate::config::Overrides;
use crate::effects::Effects;
use crate::record::{Placement, Record};

/// The records as a store keeps them: latest value per key.
#[derive(Clone, Default)]
pub struct Store(pub BTreeMap<Vec<u8>, Vec<u8>>);

impl Store {
    pub fn write(&mut self, record: &Record) {
        let Record::Group(group) = record else { panic!("a record of another machine: {record:?}") };
        match group.placement() {
            Placement::Put(_, key) => {
                self.0.insert(key, postcard::to_allocvec(record).unwrap());
            }
            Placement::Delete(_, key) => {
                self.0.remove(&key);
            }
            Placement::DeletePrefix(_, prefix) => self.0.retain(|key, _| !key.starts_with(&prefix)),
        }
    }

    pub fn records(&self) -> impl Iterator<Item = GroupRecord> {
        self.0.values().map(|bytes| match postcard::from_bytes(bytes).unwrap() {
            Record::Group(record) => record,
            Record::Metadata(_) | Record::Vlsn(_) => panic!("a record of another machine"),
        })
    }

    pub fn hard(&self) -> Hard {
        let mut hard = Hard::default();
        self.records().for_each(|record| hard.apply(&record));
        hard
    }
}

#[derive(Clone, Default)]
pub struct Topics {
    logs: BTreeMap<LogId, (TopicId, i32)>,
    created: u8,
    pub configs: BTreeMap<String, Overrides>,
}

impl Topics {
    /// `t` and `u` with three partitions each.
    pub fn two() -> Self {
        let mut topics = Self::default();
        topics.put("t", 3);
        topics.put("u", 3);
        topics
    }

    /// Ids rise with each log that is created.
    pub fn put(&mut self, name: &str, partitions: i32) -> LogId {
        let log = LogId::new(name).unwrap();
        self.created += u8::from(!self.logs.contains_key(&log));
        let id = TopicId([self.created; 16]);
        self.logs.entry(log.clone()).or_insert((id, partitions)).1 = partitions;
        log
    }

    pub fn remove(&mut self, name: &str) {
        self.logs.remove(name);
    }
}

impl TopicView for Topics {
    fn topic(&self, name: &str) -> Option<(TopicId, i32)> {
        self.logs.get(name).copied()
    }

    fn name_of(&self, id: TopicId) -> Option<&str> {
        self.logs.iter().find(|(_, (own, _))| *own == id).map(|(log, _)| log.as_str())
    }

    fn names(&self) -> Box<dyn Iterator<Item = &LogId> + '_> {
        Box::new(self.logs.keys())
    }

    fn group_configs(&self, group: &str) -> Option<&Overrides> {
        self.configs.get(group)
    }
}

/// Encodes at the version, as the node will.
pub fn encode(reply: &Reply, version: i16) -> Bytes {
    let mut out = BytesMut::new();
    match reply {
        Reply::JoinGroup(r) => r.encode(&mut out, version),
        Reply::SyncGroup(r) => r.encode(&mut out, version),
        Reply::Heartbeat(r) => r.encode(&mut out, version),
        Reply::LeaveGroup(r) => r.encode(&mut out, version),
        Reply::OffsetCommit(r) => r.encode(&mut out, version),
        Reply::OffsetFetch(r) => r.encode(&mut out, version),
        Reply::OffsetDelete(r) => r.encode(&mut out, version),
        Reply::DescribeGroups(r) => r.encode(&mut out, version),
        Reply::ListGroups(r) => r.encode(&mut out, version),
        Reply::DeleteGroups(r) => r.encode(&mut out, version),
        Reply::ConsumerGroupHeartbeat(r) => r.encode(&mut out, version),
        Reply::ConsumerGroupDescribe(r) => r.encode(&mut out, version),
        other => panic!("not an answer of this machine: {other:?}"),
    }
    .unwrap_or_else(|e| panic!("v{version}: {e}: {reply:?}"));
    out.freeze()
}

pub fn str(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

/// A consumer's metadata as clients send it.
pub fn subscription(topics: &[&str]) -> Bytes {
    subscription_owning(topics, "")
}

/// The same of a cooperative consumer that owns `t:0+1`.
fn subscription_owning(topics: &[&str], owned: &str) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(1);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
    }
    out.put_i32(-1); // user data
    let owned = heartbeats::parse(owned);
    out.put_i32(owned.len() as i32);
    for (topic, partitions) in owned {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
        out.put_i32(partitions.len() as i32);
        partitions.into_iter().for_each(|partition| out.put_i32(partition));
    }
    out.freeze()
}

#[derive(Clone, Default)]
struct Client {
    name: String,
    member: String,
    generation: i32,
    /// Member epoch, in a KIP-848 group.
    epoch: i32,
}

struct World {
    groups: Groups,
    settings: GroupSettings,
    store: Store,
    topics: Topics,
    now: Now,
    next_token: u64,
    clients: BTreeMap<String, Client>,
    /// Short names of member ids: `m1`, then `m1#2` and so on.
    names: BTreeMap<String, String>,
    /// The disk is all but full.
    no_room: bool,
    waiting: BTreeMap<Token, (String, i16)>,
    inbox: Vec<(String, String)>,
}

/// Runs a script with an initial rebalance delay of 0, unless `set` says otherwise.
#[track_caller]
fn check(script: &str) {
    let settings = GroupSettings { initial_rebalance_delay_ms: 0, ..GroupSettings::default() };
    check_with(settings, script);
}

#[track_caller]
fn check_with(settings: GroupSettings, script: &str) {
    let mut world = World {
        groups: Groups::new(settings.clone()),
        settings,
        store: Store::default(),
        topics: Topics::two(),
        now: Now { mono: MonoMs(0), wall: WallMs(1_700_000_000_000) },
        next_token: 0,
        clients: BTreeMap::new(),
        names: BTreeMap::new(),
        no_room: false,
        waiting: BTreeMap::new(),
        inbox: Vec::new(),
    };
    let mut expected = String::new();
    let mut actual = String::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        writeln!(expected, "{line}").unwrap();
        if line.starts_with('#') {
            writeln!(actual, "{line}").unwrap();
            continue;
        }
        if let Some((who, _)) = line.split_once(" <- ") {
            let at = world.inbox.iter().position(|(client, _)| client == who.trim());
            let answer = at.map_or("nothing".to_string(), |at| world.inbox.remove(at).1);
            writeln!(actual, "{who} <- {answer}").unwrap();
            continue;
        }
        let request = line.split(" -> ").next().unwrap_or_default();
        match world.run(request) {
            Some(answer) => writeln!(actual, "{request} -> {answer}").unwrap(),
            None => writeln!(actual, "{request}").unwrap(),
        }
    }
    for (who, answer) in &world.inbox {
        writeln!(actual, "{who} <- {answer}").unwrap();
    }
    let (wanted, got): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    if let Some(at) = (0..wanted.len().max(got.len())).find(|at| wanted.get(*at) != got.get(*at)) {
        let before = got[..at.min(got.len())].join("\n");
        panic!("{before}\nexpected: {:?}\nactual:   {:?}", wanted.get(at), &got[at.min(got.len())..]);
    }
}

struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn opt(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str, default: T) -> T {
        self.opt(key).map_or(default, |v| v.parse().unwrap())
    }

    fn version(&self, default: i16) -> i16 {
        let is_version = |word: &&&str| word.strip_prefix('v').is_some_and(|n| n.parse::<i16>().is_ok());
        self.0.iter().find(is_version).map_or(default, |word| word[1..].parse().unwrap())
    }

    fn plain(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied().filter(|w| w.contains(':') && !w.starts_with("protocols") && !w.starts_with("give"))
    }

    fn group(&self) -> m::GroupId {
        str(self.opt("g").unwrap_or("g")).into()
    }

    fn instance(&self) -> Option<StrBytes> {
        self.opt("instance").map(str)
    }
}

impl World {
    fn run(&mut self, line: &str) -> Option<String> {
        let mut words = line.split_whitespace();
        let who = words.next().unwrap_or_default();
        match who {
            "wait" => return self.wait(words.next().unwrap().parse().unwrap()),
            "restart" => return self.restart(),
            "drop" => return self.drop_topic(words.next().unwrap()),
            "grow" => {
                let log = self.topics.put(words.next().unwrap(), words.next().unwrap().parse().unwrap());
                self.groups.topic_changed(&log);
                return None;
            }
            "set" => {
                let configs = self.topics.configs.entry("g".to_string()).or_default();
                configs.insert(words.next().unwrap().to_string(), words.next().unwrap().to_string());
                return None;
            }
            "room" => {
                self.no_room = words.next() == Some("none");
                return None;
            }
            "limit" => return self.limit(words.next().unwrap().parse().unwrap()),
            _ => {}
        }
        let verb = words.next().unwrap_or_default();
        let words = Words(words.collect());
        let client = self.clients.entry(who.to_string()).or_default().clone();
        let client = Client { name: who.to_string(), ..client };
        let (version, command) = self.command(verb, &words, &client);
        Some(self.send(who, version, command))
    }

    fn command(&self, verb: &str, w: &Words<'_>, client: &Client) -> (i16, Command) {
        let member = str(&w.opt("id").map_or(client.member.clone(), |name| self.id(name)));
        let generation = w.number("gen", client.generation);
        match verb {
            "join" => self.join(w, member),
            "sync" => self.sync(w, member, generation),
            "beat" => {
                let request = m::HeartbeatRequest::default()
                    .with_group_id(w.group())
                    .with_member_id(member)
                    .with_generation_id(generation)
                    .with_group_instance_id(w.instance());
                (w.version(4), Command::Heartbeat(request))
            }
            "leave" => self.leave(w, member),
            "commit" => commit(w, member, generation),
            "fetch" => fetch(w, w.opt("as").map(|name| str(&self.id(name)))),
            "forget" => forget(w),
            "describe" => {
                let groups = vec![w.group(); w.number("times", 1)];
                let request = m::DescribeGroupsRequest::default().with_groups(groups);
                (w.version(6), Command::DescribeGroups(request))
            }
            "list" => {
                let filter = |key: &str| w.opt(key).into_iter().flat_map(|v| v.split(',').map(str)).collect();
                let request = m::ListGroupsRequest::default()
                    .with_states_filter(filter("states"))
                    .with_types_filter(filter("types"));
                (w.version(5), Command::ListGroups(request))
            }
            "here" => (w.version(1), heartbeats::here(self, w, client)),
            "look" => {
                let request = m::ConsumerGroupDescribeRequest::default().with_group_ids(vec![w.group()]);
                (w.version(1), Command::ConsumerGroupDescribe(request))
            }
            "delete" => {
                let request =
                    m::DeleteGroupsRequest::default().with_groups_names(vec![w.group(); w.number("times", 1)]);
                (w.version(2), Command::DeleteGroups(request))
            }
            other => panic!("unknown verb {other}"),
        }
    }

    /// Full id of a short name; anything else is an id itself.
    fn id(&self, name: &str) -> String {
        self.names.iter().find(|(_, n)| *n == name).map_or(name.to_string(), |(id, _)| id.clone())
    }

    fn join(&self, w: &Words<'_>, member: StrBytes) -> (i16, Command) {
        let protocol = |text: &str| {
            let (name, topics) = text.split_once(':').unwrap_or((text, "t"));
            let (topics, owned) = topics.split_once('/').unwrap_or((topics, ""));
            let metadata = match topics.strip_prefix("raw") {
                Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
                None => subscription_owning(&topics.split('+').collect::<Vec<_>>(), owned),
            };
            m::join_group_request::JoinGroupRequestProtocol::default().with_name(str(name)).with_metadata(metadata)
        };
        let protocols = w.opt("protocols").unwrap_or("range").split(',').filter(|p| !p.is_empty()).map(protocol);
        let request = m::JoinGroupRequest::default()
            .with_group_id(w.group())
            .with_member_id(member)
            .with_session_timeout_ms(w.number("session", 10_000))
            .with_rebalance_timeout_ms(w.number("rebalance", 60_000))
            .with_group_instance_id(w.instance())
            .with_protocol_type(str(w.opt("type").unwrap_or("consumer")))
            .with_protocols(protocols.collect());
        (w.version(9), Command::JoinGroup(request))
    }

    fn sync(&self, w: &Words<'_>, member: StrBytes, generation: i32) -> (i16, Command) {
        let share = |text: &str| {
            let (name, bytes) = text.split_once(':').unwrap();
            let bytes = heartbeats::real_assignment(bytes).unwrap_or(bytes.as_bytes().to_vec());
            m::sync_group_request::SyncGroupRequestAssignment::default()
                .with_member_id(str(&self.id(name)))
                .with_assignment(bytes.into())
        };
        let request = m::SyncGroupRequest::default()
            .with_group_id(w.group())
            .with_member_id(member)
            .with_generation_id(generation)
            .with_group_instance_id(w.instance())
            .with_protocol_type(Some(str(w.opt("type").unwrap_or("consumer"))))
            .with_protocol_name(Some(str(w.opt("protocol").unwrap_or("range"))))
            .with_assignments(w.opt("give").into_iter().flat_map(|g| g.split(',').map(share)).collect());
        (w.version(5), Command::SyncGroup(request))
    }

    fn leave(&self, w: &Words<'_>, member: StrBytes) -> (i16, Command) {
        let version = w.version(5);
        let request = m::LeaveGroupRequest::default().with_group_id(w.group());
        let identity = |id: StrBytes| {
            m::leave_group_request::MemberIdentity::default().with_member_id(id).with_group_instance_id(w.instance())
        };
        let request = match (version, w.opt("members")) {
            (..=2, _) => request.with_member_id(member),
            (_, Some("")) => request,
            (_, Some(names)) => request.with_members(names.split(',').map(|n| identity(str(&self.id(n)))).collect()),
            (_, None) => request.with_members(vec![identity(member)]),
        };
        (version, Command::LeaveGroup(request))
    }

    fn send(&mut self, who: &str, version: i16, command: Command) -> String {
        let token = Token(self.next_token);
        self.next_token += 1;
        let ctx = Context {
            token,
            api_version: version,
            client_id: who.to_string(),
            client_host: "/127.0.0.1".to_string(),
            draw: Draw::new(u128::from(token.0)),
            no_room: self.no_room.then_some(NoRoom { time: 1, configs_bytes: 0 }),
        };
        self.waiting.insert(token, (who.to_string(), version));
        let mut out = Effects::default();
        self.groups.handle(&ctx, command, &self.topics, self.now, &mut out);
        self.deliver(out, Some(token)).unwrap_or("...".to_string())
    }

    /// Stores what was decided and hands out the answers; returns the one to `token`.
    fn deliver(&mut self, out: Effects, token: Option<Token>) -> Option<String> {
        for set in &out.records {
            let size: usize = set.iter().map(|record| postcard::to_allocvec(record).unwrap().len()).sum();
            assert!(size < 8 << 20, "a set of {size} bytes is more than the log takes");
            set.iter().for_each(|record| self.store.write(record));
        }
        assert_eq!(self.store.hard(), self.groups.hard, "loaded and live state differ");
        let mut own = None;
        for (to, reply) in out.replies {
            let (who, version) = self.waiting.remove(&to).expect("answered twice, or never asked");
            encode(&reply, version);
            self.learn(&who, &reply);
            let shown = self.show(&reply);
            match token {
                Some(token) if token == to => own = Some(shown),
                _ => self.inbox.push((who, shown)),
            }
        }
        own
    }

    /// Promised ids are known from the answer, members from the state: also those that were not answered yet.
    fn learn(&mut self, who: &str, reply: &Reply) {
        let members: Vec<(String, String)> = self
            .groups
            .hard
            .groups
            .values()
            .flat_map(|g| -> Vec<(String, String)> {
                match &g.kind {
                    Kind::Classic(g) => {
                        g.members.iter().map(|(id, m)| (id.clone(), m.join.client_id.clone())).collect()
                    }
                    Kind::Consumer(g) => {
                        g.members.iter().map(|(id, m)| (id.clone(), m.about.client_id.clone())).collect()
                    }
                }
            })
            .collect();
        members.iter().for_each(|(id, client)| self.learn_name(id, client));
        if let Reply::ConsumerGroupHeartbeat(r) = reply
            && r.error_code == 0
        {
            let client = self.clients.get_mut(who).unwrap();
            client.member = r.member_id.as_ref().unwrap().to_string();
            client.epoch = r.member_epoch;
        }
        let Reply::JoinGroup(r) = reply else { return };
        if r.error_code == 0 || r.error_code == 79 {
            self.learn_name(&r.member_id, who);
            let client = self.clients.get_mut(who).unwrap();
            client.member = r.member_id.to_string();
            client.generation = r.generation_id;
        }
    }

    fn learn_name(&mut self, id: &str, who: &str) {
        if !self.names.contains_key(id) {
            let earlier = self.names.values().filter(|n| n.split('#').next() == Some(who)).count();
            let name = if earlier == 0 { who.to_string() } else { format!("{who}#{}", earlier + 1) };
            self.names.insert(id.to_string(), name);
        }
    }

    fn wait(&mut self, ms: u64) -> Option<String> {
        let end = self.now.mono.0 + ms;
        for _ in 0..10_000 {
            let due = self.groups.next_deadline().filter(|due| due.0 <= end);
            let at = due.map_or(end, |due| due.0.max(self.now.mono.0));
            self.now.wall.0 += i64::try_from(at - self.now.mono.0).unwrap();
            self.now.mono.0 = at;
            due?;
            let mut out = Effects::default();
            self.groups.on_deadline(&self.topics, self.now, &mut out);
            self.deliver(out, None);
        }
        panic!("the machine never stops being due");
    }

    /// Requests that waited are lost with their connections.
    fn restart(&mut self) -> Option<String> {
        self.waiting.clear();
        self.groups = Groups::new(self.settings.clone());
        self.store.records().for_each(|record| self.groups.apply(&record));
        self.groups.after_load(&self.topics, self.now);
        None
    }

    fn drop_topic(&mut self, name: &str) -> Option<String> {
        self.topics.remove(name);
        let mut out = Effects::default();
        self.groups
            .topics_deleted(&BTreeSet::from([name.to_string()]))
            .into_values()
            .for_each(|set| out.commit(set.into_iter().map(Record::Group).collect()));
        self.deliver(out, None);
        None
    }

    fn limit(&mut self, group_size_max: usize) -> Option<String> {
        self.settings.group_size_max = group_size_max;
        self.groups.set_settings(self.settings.clone());
        None
    }

    fn name(&self, id: &str) -> String {
        self.names.get(id).cloned().unwrap_or(format!("<{id}>"))
    }

    fn show(&self, reply: &Reply) -> String {
        match reply {
            Reply::JoinGroup(r) if r.error_code != 0 => r.error_code.to_string(),
            Reply::JoinGroup(r) => {
                if r.leader.is_empty() {
                    return format!("gen {} {}", r.generation_id, r.protocol_name.as_deref().unwrap_or_default());
                }
                let leader = self.name(&r.leader);
                let mut shown = format!(
                    "gen {} {} led by {leader}",
                    r.generation_id,
                    r.protocol_name.as_deref().unwrap_or_default()
                );
                if !r.members.is_empty() {
                    let names: BTreeSet<String> = r.members.iter().map(|m| self.name(&m.member_id)).collect();
                    write!(shown, " of {}", names.into_iter().collect::<Vec<_>>().join(",")).unwrap();
                }
                if r.skip_assignment {
                    shown.push_str(" skip");
                }
                shown
            }
            Reply::SyncGroup(r) if r.error_code != 0 => r.error_code.to_string(),
            Reply::SyncGroup(r) => heartbeats::show_assignment(&r.assignment)
                .unwrap_or_else(|| format!("got {:?}", String::from_utf8_lossy(&r.assignment))),
            Reply::Heartbeat(r) => r.error_code.to_string(),
            Reply::LeaveGroup(r) => {
                let each = r.members.iter().map(|m| match m.group_instance_id {
                    Some(_) => format!(" {} {}", m.error_code, self.name(&m.member_id)),
                    None => format!(" {}", m.error_code),
                });
                format!("{}{}", r.error_code, each.collect::<String>())
            }
            Reply::OffsetCommit(r) => {
                let one = |t: &m::offset_commit_response::OffsetCommitResponseTopic| {
                    let name = t.name.to_string();
                    t.partitions.iter().map(|p| format!("{name}:{} {}", p.partition_index, p.error_code)).collect()
                };
                r.topics.iter().flat_map(|t| -> Vec<String> { one(t) }).collect::<Vec<_>>().join(", ")
            }
            Reply::OffsetFetch(r) => show_fetched(r),
            Reply::OffsetDelete(r) => {
                let mut shown = r.error_code.to_string();
                for t in &r.topics {
                    for p in &t.partitions {
                        write!(shown, ", {}:{} {}", t.name.as_str(), p.partition_index, p.error_code).unwrap();
                    }
                }
                shown
            }
            Reply::DescribeGroups(r) => r.groups.iter().map(|g| self.show_group(g)).collect::<Vec<_>>().join(" | "),
            Reply::ListGroups(r) => {
                let one = |g: &m::list_groups_response::ListedGroup| {
                    format!("{}({})={}/{}", g.group_id.as_str(), g.protocol_type, g.group_state, g.group_type)
                };
                format!("{} {}", r.error_code, r.groups.iter().map(one).collect::<Vec<_>>().join(" "))
                    .trim()
                    .to_string()
            }
            Reply::ConsumerGroupHeartbeat(r) => heartbeats::show(self, r),
            Reply::ConsumerGroupDescribe(r) => heartbeats::show_group(self, &r.groups[0]),
            Reply::DeleteGroups(r) => r.results.iter().map(|g| g.error_code.to_string()).collect::<Vec<_>>().join(" "),
            other => panic!("not an answer of this machine: {other:?}"),
        }
    }

    fn show_group(&self, g: &m::describe_groups_response::DescribedGroup) -> String {
        let mut shown = format!("{} {} {:?} {:?}", g.error_code, g.group_state, &*g.protocol_type, &*g.protocol_data);
        let members: BTreeMap<String, String> = g
            .members
            .iter()
            .map(|m| {
                let raw = || String::from_utf8_lossy(&m.member_assignment).to_string();
                (self.name(&m.member_id), heartbeats::show_assignment(&m.member_assignment).unwrap_or_else(raw))
            })
            .collect();
        members.iter().for_each(|(name, assignment)| write!(shown, " {name}={assignment}").unwrap());
        shown
    }
}

fn show_fetched(r: &m::OffsetFetchResponse) -> String {
    let show = |topic: &str, index: i32, offset: i64, epoch: i32, metadata: Option<&str>, code: i16| {
        let mut shown = format!("{topic}:{index}={offset}");
        if epoch != -1 {
            write!(shown, "@{epoch}").unwrap();
        }
        match metadata {
            Some("") => {}
            Some(text) => write!(shown, "/{text}").unwrap(),
            None => shown.push_str("/null"),
        }
        if code != 0 {
            write!(shown, " error {code}").unwrap();
        }
        shown
    };
    let mut parts = vec![];
    for t in &r.topics {
        for p in &t.partitions {
            let (epoch, metadata) = (p.committed_leader_epoch, p.metadata.as_deref());
            parts.push(show(&t.name, p.partition_index, p.committed_offset, epoch, metadata, p.error_code));
        }
    }
    for g in &r.groups {
        let mut listed = vec![];
        for t in &g.topics {
            for p in &t.partitions {
                let (epoch, metadata) = (p.committed_leader_epoch, p.metadata.as_deref());
                listed.push(show(&t.name, p.partition_index, p.committed_offset, epoch, metadata, p.error_code));
            }
        }
        parts.push(format!("{} [{}]", g.error_code, listed.join(" ")));
    }
    format!("{} {}", r.error_code, parts.join(" ")).trim().to_string()
}

/// `t:0=5`, `t:0=5@3` with leader epoch, `t:0=5/text` with metadata.
fn commit(w: &Words<'_>, member: StrBytes, generation: i32) -> (i16, Command) {
    let mut topics: Vec<m::offset_commit_request::OffsetCommitRequestTopic> = vec![];
    let version = w.version(9);
    for text in w.plain() {
        let (place, value) = text.split_once('=').unwrap();
        let (topic, partition) = place.split_once(':').unwrap();
        let (number, metadata) = value.split_once('/').map_or((value, None), |(n, text)| (n, Some(text)));
        let (offset, epoch) = number.split_once('@').unwrap_or((number, "-1"));
        let entry = m::offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(partition.parse().unwrap())
            .with_committed_offset(offset.parse().unwrap())
            .with_committed_leader_epoch(epoch.parse().unwrap())
            .with_committed_metadata(metadata.map(str));
        match topics.iter_mut().find(|t| t.name.as_str() == topic) {
            Some(known) => known.partitions.push(entry),
            None => topics.push(
                m::offset_commit_request::OffsetCommitRequestTopic::default()
                    .with_name(str(topic).into())
                    .with_partitions(vec![entry]),
            ),
        }
    }
    let admin = w.0.contains(&"admin");
    let request = m::OffsetCommitRequest::default()
        .with_group_id(w.group())
        .with_member_id(if admin { str("") } else { member })
        .with_generation_id_or_member_epoch(if admin { w.number("gen", -1) } else { generation })
        .with_group_instance_id(w.instance())
        .with_retention_time_ms(w.number("retention", -1))
        .with_topics(topics);
    (version, Command::OffsetCommit(request))
}

fn places<'a>(w: &Words<'a>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in w.plain().map(|text| text.split_once(':').unwrap()) {
        topics.entry(topic).or_default().push(partition.parse().unwrap());
    }
    topics
}

fn fetch(w: &Words<'_>, member: Option<StrBytes>) -> (i16, Command) {
    let version = w.version(9);
    let all = w.0.contains(&"all");
    let asked = places(w);
    let request = m::OffsetFetchRequest::default();
    let request = if version <= 7 {
        let topics = asked.into_iter().map(|(name, indexes)| {
            m::offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(str(name).into())
                .with_partition_indexes(indexes)
        });
        request.with_group_id(w.group()).with_topics((!all).then(|| topics.collect()))
    } else {
        let topics = asked.into_iter().map(|(name, indexes)| {
            m::offset_fetch_request::OffsetFetchRequestTopics::default()
                .with_name(str(name).into())
                .with_partition_indexes(indexes)
        });
        let group = m::offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(w.group())
            .with_member_id(member)
            .with_member_epoch(w.number("at", -1))
            .with_topics((!all).then(|| topics.collect()));
        request.with_groups(vec![group; w.number("times", 1)])
    };
    (version, Command::OffsetFetch(request))
}

fn forget(w: &Words<'_>) -> (i16, Command) {
    let topics = places(w).into_iter().map(|(name, indexes)| {
        let partition = |i| m::offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(i);
        m::offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(str(name).into())
            .with_partitions(indexes.into_iter().map(partition).collect())
    });
    let request = m::OffsetDeleteRequest::default().with_group_id(w.group()).with_topics(topics.collect());
    (0, Command::OffsetDelete(request))
}
