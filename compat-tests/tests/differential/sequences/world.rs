//! Two brokers on their way through one sequence: what each calls the things in it, what both are asked, and how their
//! answers differ.
//!
//! Holds: both get the same requests, one at a time, but for ids that each made up. What both made up at the same step has
//! one name from then on (`@p0.1`), and wherever one of them answers with its id the other has to answer with its own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Instant;

use pyralog_compat_tests::draw::Draw;
use pyralog_compat_tests::fields::{Message, Names, messages};
use pyralog_compat_tests::is_our_config;
use serde_json::json;

use super::super::answers::{differences, merged};
use super::super::*;
use super::batches::decoded;
use super::classic::Classics;
use super::consumers::Consumers;
use super::reading::Sessions;
use super::records::Producers;
use super::topics::Topics;
use super::{Subject, api};

/// How long a question is asked again before its answers count as different: Kafka shows some changes a moment later.
const SETTLES_WITHIN: Duration = Duration::from_millis(2500);
/// After this long nobody answers any more.
pub const SILENCE: Duration = Duration::from_secs(8);
/// Who is in no sequence.
pub const NOBODY: &str = "@nobody";

/// What Kafka and Pyralog answer differently on purpose where several steps meet, by row of docs/DIFFERENCES.md.
const MEANT: &[Allowed] =
    &[pair(1, "error_code", ("103", "100"), "F11: an id in a session whose topic is another one by now")];

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A topic.
    Topic,
    /// A member of a classic group.
    Member,
    /// A producer.
    Producer,
    /// A fetch session.
    Session,
}

/// What a field of an answer names, if that is an id that the broker made up.
fn kind_of(field: &str) -> Option<Kind> {
    match field {
        "topic_id" => Some(Kind::Topic),
        "member_id" | "leader" => Some(Kind::Member),
        "producer_id" => Some(Kind::Producer),
        "session_id" => Some(Kind::Session),
        _ => None,
    }
}

/// The ids of one broker.
#[derive(Default)]
struct Ids {
    by_name: Names,
    by_id: BTreeMap<(Kind, String), String>,
}

/// The APIs that Pyralog lists.
pub struct Apis {
    messages: BTreeMap<i16, Message>,
    listed: BTreeMap<i16, RangeInclusive<i16>>,
}

impl Apis {
    /// Asks ours.
    pub fn of(both: &mut Both) -> Apis {
        let listed = both.ours.call(0, &ApiVersionsRequest::default()).api_keys;
        Apis {
            messages: messages().into_iter().map(|message| (message.key, message)).collect(),
            listed: listed.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect(),
        }
    }

    fn versions(&self, key: i16) -> RangeInclusive<i16> {
        let (known, listed) = (&self.messages[&key].versions, &self.listed[&key]);
        // A Kafka in our place has versions that cannot be read here.
        let readable = ApiKey::try_from(key).unwrap().valid_versions();
        let first = readable.min.max(*known.start()).max(*listed.start());
        first..=readable.max.min(*known.end()).min(*listed.end())
    }
}

/// One difference.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which API, and which fields: what makes two of them the same.
    pub what: String,
    /// The request that showed it, and both answers.
    pub text: String,
}

/// One sequence under way.
pub struct World<'a> {
    /// The brokers, and a connection to each.
    pub both: &'a mut Both,
    apis: &'a Apis,
    /// Begins the name of everything that this sequence makes.
    pub prefix: String,
    /// What it is about.
    pub subject: &'a Subject,
    ids: [Ids; 2],
    correlation: i32,
    /// Clocks are past this.
    started: i64,
    /// Partitions of assignments are counted instead of compared one by one.
    pub counted: bool,
    /// Groups that Kafka has not cleaned up yet.
    pub retired: Vec<String>,
    /// What `topics` knows.
    pub topics: Topics,
    /// What `records` knows.
    pub producers: Producers,
    /// What `reading` knows.
    pub sessions: Sessions,
    /// What `classic` knows.
    pub classics: Classics,
    /// What `consumers` knows.
    pub consumers: Consumers,
    /// The first difference ends the sequence.
    pub found: Option<Difference>,
    /// What was asked so far and what Kafka answered.
    pub told: Vec<String>,
}

impl<'a> World<'a> {
    /// Nothing in it.
    pub fn new(both: &'a mut Both, apis: &'a Apis, subject: &'a Subject) -> World<'a> {
        // No name begins with that of another sequence.
        let prefix = format!("{}e", unique("sq"));
        let consumers = Consumers::new(&prefix);
        let mut world = World {
            topics: Topics::new(&prefix),
            classics: Classics::new(&prefix, subject.mixed.then_some(consumers.name())),
            consumers,
            both,
            apis,
            prefix,
            subject,
            ids: Default::default(),
            correlation: 1_000_000,
            started: pyralog_compat_tests::now_ms() - 3_600_000,
            counted: false,
            retired: Vec::new(),
            producers: Producers::default(),
            sessions: Sessions::default(),
            found: None,
            told: Vec::new(),
        };
        let stranger = Uuid::from_u128(77).to_string();
        world.ids.iter_mut().for_each(|ids| drop(ids.by_name.insert(NOBODY.to_owned(), stranger.clone())));
        world
    }

    /// One of the versions that both have.
    pub fn version(&self, draw: &mut Draw, key: i16) -> i16 {
        self.version_in(draw, key, 0..=i16::MAX)
    }

    /// One of the versions that both have, within these.
    pub fn version_in(&self, draw: &mut Draw, key: i16, within: RangeInclusive<i16>) -> i16 {
        let all: Vec<i16> = self.apis.versions(key).filter(|version| within.contains(version)).collect();
        draw.pick(&all)
    }

    /// From now on these ids have this name, which nothing else has.
    pub fn learn(&mut self, kind: Kind, name: &str, ids: [&str; 2]) {
        for (known, id) in self.ids.iter_mut().zip(ids) {
            known.by_name.insert(name.to_owned(), id.to_owned());
            known.by_id.insert((kind, id.to_owned()), name.to_owned());
        }
    }

    /// What a broker calls a thing.
    pub fn id(&self, side: usize, name: &str) -> &str {
        self.ids[side].by_name.get(name).map_or("", String::as_str)
    }

    /// The name of an id.
    pub fn name_of(&self, side: usize, kind: Kind, id: &str) -> Option<String> {
        self.ids[side].by_id.get(&(kind, id.to_owned())).cloned()
    }

    /// Asks both, and notes how they differ. What each answered.
    pub fn ask(&mut self, key: i16, version: i16, request: &Value) -> [Tree; 2] {
        self.ask_each(key, version, &[request.clone(), request.clone()])
    }

    /// As [`World::ask`], with a request for each.
    pub fn ask_each(&mut self, key: i16, version: i16, requests: &[Value; 2]) -> [Tree; 2] {
        let answers = self.exchange(key, version, requests);
        self.judge(key, version, &requests[0], &answers);
        answers
    }

    /// As [`World::ask`], where asking changes nothing: until both say the same, or for long enough. After a difference others
    /// do not count, and nothing is waited for.
    pub fn question(&mut self, key: i16, version: i16, request: &Value) -> [Tree; 2] {
        let deadline = Instant::now() + if self.found.is_none() { SETTLES_WITHIN } else { Duration::ZERO };
        let requests = [request.clone(), request.clone()];
        loop {
            let answers = self.exchange(key, version, &requests);
            if Instant::now() > deadline || self.differences(key, request, &answers).is_empty() {
                self.judge(key, version, request, &answers);
                return answers;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The bytes of a request, as each broker gets it.
    pub fn frames(&mut self, key: i16, version: i16, requests: &[Value; 2]) -> [Vec<u8>; 2] {
        self.correlation += 1;
        let message = &self.apis.messages[&key];
        let frame = |side: usize| message.encode(version, self.correlation, &requests[side], &self.ids[side].by_name);
        [frame(0), frame(1)]
    }

    /// What comes next on the connections that all share; new ones, where one of them ended.
    pub fn receive(&mut self, key: i16, version: i16) -> [Tree; 2] {
        let outcomes = [self.both.kafka.outcome(SILENCE), self.both.ours.outcome(SILENCE)];
        let whole = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Answer(_)));
        if !whole {
            self.both.kafka = Conn::connect(&self.both.addresses[0]);
            self.both.ours = Conn::connect(&self.both.addresses[1]);
        }
        outcomes.map(|outcome| decoded(key, version, outcome))
    }

    fn exchange(&mut self, key: i16, version: i16, requests: &[Value; 2]) -> [Tree; 2] {
        let frames = self.frames(key, version, requests);
        self.both.kafka.send_frame(&frames[0]);
        self.both.ours.send_frame(&frames[1]);
        self.receive(key, version)
    }

    /// Notes what was asked and answered, and how the answers differ.
    pub fn judge(&mut self, key: i16, version: i16, request: &Value, answers: &[Tree; 2]) {
        self.both.compared += 1;
        let name = self.apis.messages[&key].name.clone();
        let request_text = brief(request).to_string();
        let told = format!("{name} v{version} {request_text} -> {}", shortened(&shown(&answers[0]), 300));
        self.told.push(told.replace(&self.prefix, "sq"));
        let found = self.differences(key, request, answers);
        if !found.is_empty() && self.found.is_none() {
            let [kafka, ours] = answers.each_ref().map(|answer| shortened(&shown(answer), 3000));
            let text = format!(
                "{name} v{version} {request_text}\n    {}\n    Kafka: {kafka}\n    ours:  {ours}",
                found.join("\n    ")
            );
            // Which code it is tells one difference from another; other numbers are another run's.
            let (path, values) = found[0].split_once(": ").unwrap_or((found[0].as_str(), ""));
            let values = if path.is_empty() || path.ends_with("error_code") { values } else { "" };
            let values = shortened(values, 40);
            let what = format!("{name} {path} {values}");
            self.found = Some(Difference { what, text: text.replace(&self.prefix, "sq") });
        }
    }

    /// How the answers to a request differ, beyond what is meant.
    pub fn differences(&self, key: i16, request: &Value, answers: &[Tree; 2]) -> Vec<String> {
        let request = request.to_string();
        let common = |side: usize| Seen { world: self, side, key, request: &request }.common("", &answers[side]);
        differences(key, &common(0), &common(1), MEANT)
    }

    /// Names of all its groups, each once.
    fn groups(&self) -> Vec<String> {
        let mut names: Vec<String> = self.classics.names().chain([self.consumers.name().to_owned()]).collect();
        names.dedup();
        names
    }

    /// All that it made, as it is in the end.
    pub fn look_at_all(&mut self) {
        self.look_at_logs();
        for group in self.groups() {
            let all = json!({"group_id": group, "topics": null, "require_stable": true});
            self.question(api::OFFSET_FETCH, 7, &all);
        }
        let groups = json!({"groups": self.groups()});
        self.question(api::DESCRIBE_GROUPS, 5, &groups);
        self.question(api::CONSUMER_GROUP_DESCRIBE, 1, &json!({"group_ids": [self.consumers.name()]}));
    }

    /// Lets go of everything, so that the brokers stay small.
    pub fn clean_up(mut self) {
        self.close_sessions();
        self.leave_classics();
        self.leave_consumers();
        let gone = json!({"groups_names": self.groups()});
        self.exchange(api::DELETE_GROUPS, 2, &[gone.clone(), gone]);
        let names: Vec<String> = self.topics.live().map(|slot| self.topics.name(slot).to_owned()).collect();
        let gone = json!({"topic_names": names, "timeout_ms": 15_000});
        self.exchange(api::DELETE_TOPICS, 5, &[gone.clone(), gone]);
    }
}

/// One answer, in words that both brokers share.
struct Seen<'w, 'a> {
    world: &'w World<'a>,
    side: usize,
    key: i16,
    request: &'w str,
}

impl Seen<'_, '_> {
    fn common(&self, field: &str, tree: &Tree) -> Tree {
        match tree {
            Tree::Leaf(text) => Tree::Leaf(self.leaf(field, text)),
            Tree::List(items) if field == "topic_partitions" && self.world.counted => {
                Tree::Leaf(items.iter().map(|topic| topic.items("partitions").len()).sum::<usize>().to_string())
            }
            Tree::List(items) => {
                let items = items.iter().filter(|item| !self.is_others(item));
                let items = items.map(|item| self.common(field, item)).collect();
                Tree::List(if (self.key, field) == (api::FETCH, "responses") { merged(items) } else { items })
            }
            // A topic that is another one by now (F11): Kafka finds that out in its sessions only as it reads.
            Tree::Fields(fields)
                if self.key == api::FETCH && ["3", "100", "103"].contains(&tree.text("error_code")) =>
            {
                let kept = |(name, inner): (&String, &Tree)| {
                    let inner = self.common(name, inner);
                    (name.clone(), if name == "aborted_transactions" { Tree::Leaf("*".to_owned()) } else { inner })
                };
                Tree::Fields(fields.iter().map(kept).collect())
            }
            Tree::Fields(fields) => {
                let inner = |(name, inner): (&String, &Tree)| (self.renamed(name), self.common(name, inner));
                Tree::Fields(fields.iter().map(inner).collect())
            }
        }
    }

    /// Fields that are not compared elsewhere, and are here: what is in them has common words.
    fn renamed(&self, field: &str) -> String {
        match (self.key, field) {
            (api::PRODUCE, "log_append_time_ms") => "appended_at".to_owned(),
            (api::JOIN_GROUP, "leader") => "led_by".to_owned(),
            _ => field.to_owned(),
        }
    }

    fn leaf(&self, field: &str, text: &str) -> String {
        if self.world.subject.mixed && ["assignment", "member_assignment"].contains(&field) && text != "None" {
            return format!("{} bytes", unescaped_bytes(text));
        }
        let Some(kind) = kind_of(field) else {
            let is_now = text.parse().is_ok_and(|number: i64| number > self.world.started && number < i64::MAX / 2);
            return if is_now { "now".to_owned() } else { text.to_owned() };
        };
        let is_none = ["", "0", "-1"].contains(&text) || Uuid::parse_str(text).is_ok_and(|id| id.is_nil());
        let is_asked = kind == Kind::Member && self.request.contains(text) || text.contains(&self.world.prefix);
        match self.world.ids[self.side].by_id.get(&(kind, text.to_owned())) {
            Some(name) => name.clone(),
            None if is_none || is_asked => text.to_owned(),
            None => "drawn".to_owned(),
        }
    }

    /// What Kafka does not know, and what another sequence left behind, in an answer that tells of everything.
    fn is_others(&self, item: &Tree) -> bool {
        let tells_all = [api::METADATA, api::LIST_GROUPS, api::DESCRIBE_LOG_DIRS].contains(&self.key);
        let name = ["name", "topic", "group_id"].iter().map(|field| item.text(field)).find(|name| !name.is_empty());
        let others = |name: &str| !name.contains(&self.world.prefix) && !self.request.contains(name);
        let is_retired = |name: &str| self.world.retired.iter().any(|retired| retired == name);
        name.is_some_and(|name| is_our_config(name) || is_retired(name) || tells_all && others(name))
    }
}

/// How many bytes a text stands for that has escapes.
fn unescaped_bytes(text: &str) -> usize {
    let hex = text.matches("\\x").count();
    let others = text.matches('\\').count() - hex;
    text.len() - 3 * hex - others
}

/// A request in few characters: long strings are told by how they begin.
fn brief(request: &Value) -> Value {
    match request {
        Value::String(text) => json!(shortened(text, 40)),
        Value::Array(items) => items.iter().map(brief).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), brief(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => request.clone(),
    }
}

/// A tree in few characters.
fn shown(tree: &Tree) -> String {
    match tree {
        Tree::Leaf(text) => text.clone(),
        Tree::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Tree::Fields(fields) => {
            let is_news = |name: &str| !["throttle_time_ms", "unknown_tagged_fields"].contains(&name);
            let news = fields.iter().filter(|(name, _)| is_news(name));
            let news: Vec<String> = news.map(|(name, inner)| format!("{name}: {}", shown(inner))).collect();
            format!("{{{}}}", news.join(", "))
        }
    }
}

/// So many characters at most.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(most).collect::<String>())
    }
}
