//! Good requests of every API and version, changed at random, and what both answer to them.
//!
//! Kafka and Pyralog hold the same small world: topics with records, groups of each kind, configs. A seed draws an API, a
//! version, one of its good requests and one to three changes of its fields; both get the same bytes but for ids that each
//! made up. Answers are compared field by field, and the order of lists where Kafka's is fixed.
//!
//! `PYRALOG_MUTANTS` requests are sent in place of 2,500, drawn by `PYRALOG_MUTANT_SEED`, and to the API
//! `PYRALOG_MUTANT_API` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

use kafka_protocol::messages::RequestKind;
use pyralog_compat_tests::batch::Record;
use pyralog_compat_tests::draw::{Draw, asked};
use pyralog_compat_tests::fields::{Message, Names, messages, unhex};
use pyralog_compat_tests::groups::protocol;
use pyralog_compat_tests::mutate::Mutator;
use pyralog_compat_tests::{conn, is_our_config};
use serde_json::json;

use super::answers::{differences, merged};
use super::good_changes::writers;
use super::good_requests::{Good, Question, STAMP, readers};
use super::pinned_mutants::pinned;
use super::*;

/// Changes that both answer differently on purpose, or of which Kafka makes no answer at all: not sent.
struct Meant {
    key: i16,
    when: fn(i16, &Value) -> bool,
    reason: &'static str,
}

const fn case(key: i16, when: fn(i16, &Value) -> bool, reason: &'static str) -> Meant {
    Meant { key, when, reason }
}

const MEANT: &[Meant] = &[
    case(0, |_, r| any_of(r, "records", Value::is_null), "P2: Kafka never answers"),
    case(
        0,
        |_, r| repeats(r, "topic_data", &["name", "topic_id"], "partition_data", "index"),
        "P19: appended once, or refused",
    ),
    case(
        0,
        |_, r| any_of(r, "records", |records| has_attribute(records, 16)),
        "P29: Kafka refuses the whole request before it looks at any batch",
    ),
    case(
        0,
        |_, r| any_of(r, "records", |records| has_attribute(records, 8)),
        "P11: Kafka takes the largest time as it is said",
    ),
    case(0, |_, r| any_of(r, "records", is_short) && of_many(r), "P5: Kafka refuses the whole request"),
    case(
        0,
        |_, r| any_of(r, "records", |records| has_attribute(records, 64)),
        "P11: Kafka stores the bit of the delete horizon",
    ),
    case(1, |_, r| !between(r, "isolation_level", 0, 1), "F6: Kafka answers UNKNOWN_SERVER_ERROR, in every part"),
    case(
        1,
        |_, r| !between(r, "session_id", -1_000_000, 1_000_000),
        "Kafka answers -1 where the id belongs to none of its shards",
    ),
    case(2, |_, r| !between(r, "isolation_level", 0, 1), "F6: Kafka answers UNKNOWN_SERVER_ERROR, as often as asked"),
    case(
        1,
        |_, r| any_of(r, "topic_id", |id| !has_id(id)) && r["session_id"] != 0,
        "a zero id in a session: Kafka may answer -1",
    ),
    case(3, |v, r| (10..12).contains(&v) && any_of(r, "name", Value::is_null), "M11: Kafka leaves the brokers out"),
    case(3, |v, r| (10..12).contains(&v) && any_of(r, "topic_id", has_id), "M11: Kafka leaves the brokers out"),
    case(
        3,
        |v, r| v >= 12 && any_of(r, "topic_id", has_id) && any_of(r, "topic_id", |id| !has_id(id)),
        "beside ids Kafka passes over names",
    ),
    case(3, |v, r| v >= 12 && any_of(r, "topics", is_nameless), "M12: Kafka refuses the whole request"),
    case(8, |_, r| is_twice(&r["topics"], &["name"]), "Kafka answers a topic once where another one is unknown"),
    case(8, |_, r| r["group_id"] == "", "O6: the empty group id is no group"),
    case(11, |_, r| is_twice(&r["protocols"], &["name"]), "G6: Kafka never answers, or goes by hash"),
    case(11, |_, r| r["protocols"] == json!([]) || r["protocol_type"] == "", "Kafka leaves an empty group behind"),
    case(11, |_, r| any_of(r, "name", |name| name == ""), "a protocol without a name: Kafka takes it for none"),
    case(
        32,
        |_, r| any_of(r, "resource_type", |kind| ![2, 4, 8, 16, 32].contains(&int(kind))),
        "Kafka refuses the whole request",
    ),
    case(32, |_, r| items(&r["resources"]).any(is_whole_broker), "the two are set up differently"),
    case(
        33,
        |_, r| is_twice(&r["resources"], &["resource_type", "resource_name"]),
        "Kafka never answers where a resource is there twice",
    ),
    case(
        34,
        |_, r| any_of(r, "name", |name| name.as_str().is_some_and(|name| name.len() > 200)),
        "no folder can have the name",
    ),
    case(43, |_, r| r["topic_partitions"] == json!([]), "Kafka does not look at the type where nothing is asked for"),
    case(
        44,
        |_, r| any_of(r, "config_operation", |operation| !(0..=3).contains(&int(operation))),
        "K6: Kafka refuses the whole request",
    ),
    case(57, |_, r| items(&r["feature_updates"]).count() > 1, "Kafka looks at the last one of a feature only"),
    case(47, |_, r| is_twice(&r["topics"], &["name"]), "Kafka answers a topic once where another one is unknown"),
    case(61, |_, r| repeats(r, "topics", &["name"], "partition_indexes", ""), "a partition named twice is refused"),
    case(68, |_, r| has_pattern(r), "N12: what a pattern matches shows later in Kafka"),
    case(75, |_, r| any_of(r, "name", |name| name == ""), "Kafka answers -1 to every topic where one has no name"),
    case(75, |_, r| r["cursor"]["partition_index"] == json!(i32::MAX), "the sum with the limit is too large for Kafka"),
];

/// Why a request is not sent.
fn meant(key: i16, version: i16, request: &Value) -> Option<&'static str> {
    MEANT.iter().find(|meant| meant.key == key && (meant.when)(version, request)).map(|meant| meant.reason)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// Whether this holds for any field, or item of a list, of this name.
fn any_of(request: &Value, name: &str, holds: impl Fn(&Value) -> bool + Copy) -> bool {
    match request {
        Value::Object(fields) => fields.iter().any(|(field, inner)| {
            let found = field == name && (holds(inner) || items(inner).any(holds));
            found || any_of(inner, name, holds)
        }),
        Value::Array(items) => items.iter().any(|item| any_of(item, name, holds)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn between(request: &Value, name: &str, first: i64, last: i64) -> bool {
    !any_of(request, name, |value| !(first..=last).contains(&int(value)))
}

fn has_id(id: &Value) -> bool {
    id.as_str().is_some_and(|id| !id.is_empty() && !id.starts_with("00000000-0000-0000-0000-000000000000"))
}

/// Whether a batch has one of these attributes.
fn has_attribute(records: &Value, bits: u8) -> bool {
    let bytes = records.as_str().map(unhex).unwrap_or_default();
    bytes.get(22).is_some_and(|attributes| attributes & bits != 0)
}

/// Whether a batch says that it is shorter than its header.
fn is_short(records: &Value) -> bool {
    let bytes = records.as_str().map(unhex).unwrap_or_default();
    let length = bytes.get(8..12).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes);
    length.is_some_and(|length| length < 49)
}

/// Whether a Produce has more than one partition.
fn of_many(request: &Value) -> bool {
    items(&request["topic_data"]).flat_map(|topic| items(&topic["partition_data"])).count() > 1
}

/// A pattern that is one.
fn has_pattern(request: &Value) -> bool {
    request["subscribed_topic_regex"].as_str().is_some_and(|pattern| !["", "(", "["].contains(&pattern))
}

fn is_nameless(topic: &Value) -> bool {
    topic.is_object() && topic["name"].is_null() && !has_id(&topic["topic_id"])
}

/// A broker of which every config is asked for.
fn is_whole_broker(resource: &Value) -> bool {
    resource["resource_type"] == 4 && items(&resource["configuration_keys"]).next().is_none()
}

/// Whether two items of a list have the same values there.
fn is_twice(list: &Value, fields: &[&str]) -> bool {
    let mut seen = BTreeSet::new();
    let values = |item: &Value| fields.iter().map(|field| item[*field].to_string()).collect::<Vec<_>>();
    !items(list).all(|item| seen.insert(values(item)))
}

/// Whether a partition is named twice: topics by these fields, partitions in that list by that field, or by themselves.
fn repeats(request: &Value, topics: &str, names: &[&str], partitions: &str, index: &str) -> bool {
    let named = |topic: &Value| names.iter().map(|name| topic[*name].to_string()).collect::<Vec<_>>();
    let mut all = items(&request[topics]).flat_map(|topic| {
        let index_of =
            move |partition: &Value| if index.is_empty() { partition.clone() } else { partition[index].clone() };
        items(&topic[partitions]).map(move |partition| (named(topic), index_of(partition).to_string()))
    });
    let mut seen = BTreeSet::new();
    !all.all(|place| seen.insert(place))
}

/// Versions by API.
type Listed = BTreeMap<i16, RangeInclusive<i16>>;

struct Mutants<'a> {
    both: &'a mut Both,
    /// What each calls the things of the world.
    names: [Names; 2],
    correlation: i32,
    beaten: std::time::Instant,
}

/// Name, partitions and configs.
type Topic = (&'static str, i32, &'static [(&'static str, &'static str)]);

/// The topics `alpha`, `beta`, `gamma`, `delta` and the groups `g-offsets`, `g-classic`, `g-consumer`, in both.
fn world(both: &mut Both) -> Mutants<'_> {
    let names = both.each(|conn| {
        let mut names = Names::new();
        let topics: [Topic; 5] = [
            // The records are old: with a retention a broker may delete them while the other does not yet.
            ("sink", 2, &[("retention.ms", "-1")]),
            ("alpha", 3, &[("retention.ms", "-1")]),
            ("beta", 1, &[("cleanup.policy", "compact")]),
            ("gamma", 2, &[("retention.ms", "-1"), ("retention.bytes", "100000")]),
            ("delta", 1, &[("max.message.bytes", "2000"), ("min.insync.replicas", "2")]),
        ];
        for (name, partitions, configs) in topics {
            names.insert(format!("@{name}"), conn.create_topic(name, partitions, configs).to_string());
        }
        for (name, partition) in [("alpha", 0), ("alpha", 0), ("alpha", 0), ("alpha", 1), ("beta", 0), ("gamma", 0)] {
            let count = if name == "gamma" { 10 } else { 3 };
            let keyed = (0..count).map(|i| Record::keyed(&i.to_string(), "v").at(i)).collect();
            conn.append(name, partition, &Batch::new(keyed).stamped(STAMP).encode());
        }
        conn.append("alpha", 1, &Batch::of("p", 2).stamped(STAMP + 5).producer(4000, 1, 7).encode());
        let partitions = vec![DeleteRecordsPartition::default().with_partition_index(0).with_offset(3)];
        let gone = vec![DeleteRecordsTopic::default().with_name(topic("gamma")).with_partitions(partitions)];
        conn.call(2, &DeleteRecordsRequest::default().with_topics(gone).with_timeout_ms(15_000));
        conn.wait_for_coordinator("g-offsets");
        let offsets = commit_request("g-offsets", &[("alpha", 0, 5), ("alpha", 1, -1), ("beta", 0, 1)]);
        assert_eq!(conn.commit(&offsets), 0);
        let join = join_request("g-classic", "")
            .with_session_timeout_ms(1_800_000)
            .with_group_instance_id(Some(text("i")))
            .with_protocols(vec![protocol("range", "r"), protocol("roundrobin", "rr")]);
        let joined = conn.join(&join);
        assert_eq!(conn.sync(&leader_sync("g-classic", &joined, "for").with_assignments(vec![])).error_code, 0);
        names.insert("@classic".to_owned(), joined.member_id.to_string());
        assert_eq!(conn.call(1, &join_beat("g-consumer", "c", &["alpha"])).error_code, 0);
        names
    });
    std::thread::sleep(Duration::from_secs(1));
    Mutants { both, names, correlation: 1000, beaten: std::time::Instant::now() }
}

impl Mutants<'_> {
    /// The member of `g-consumer` stays.
    fn beat(&mut self) {
        if self.beaten.elapsed() > Duration::from_secs(5) {
            self.beaten = std::time::Instant::now();
            self.both.each(|conn| conn.call(1, &beat_request("g-consumer", "c", 2)));
        }
    }

    /// The versions that Pyralog lists.
    fn listed(&mut self) -> Listed {
        let listed = self.both.ours.call(0, &ApiVersionsRequest::default()).api_keys;
        listed.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect()
    }

    /// Makes what a request needs.
    fn prepare(&mut self, before: fn(&mut Conn, &str) -> Names, fresh: &str) {
        let made = self.both.each(|conn| before(conn, fresh));
        self.names.iter_mut().zip(made).for_each(|(names, made)| names.extend(made));
    }

    /// What came of a request, as these questions show it.
    fn ask_all(&mut self, messages: &BTreeMap<i16, Message>, label: &str, questions: Vec<Question>) {
        for (key, version, value) in questions {
            let message = &messages[&key];
            let found = self.compare(message, version, &value);
            let label = format!("{} v{version} ({label})", message.name);
            self.both.differences.extend(found.into_iter().map(|difference| format!("{label}: {difference}")));
        }
    }

    /// Sends the request to both and tells how the answers differ.
    fn compare(&mut self, message: &Message, version: i16, value: &Value) -> Vec<String> {
        self.beat();
        self.correlation += 1;
        let frames = self.names.each_ref().map(|names| message.encode(version, self.correlation, value, names));
        self.both.kafka.send_frame(&frames[0]);
        self.both.ours.send_frame(&frames[1]);
        let patience = Duration::from_secs(8);
        let outcomes = [self.both.kafka.outcome(patience), self.both.ours.outcome(patience)];
        self.both.compared += 1;
        let request = value.to_string();
        let answers = outcomes.map(|outcome| decode(message.key, version, outcome));
        let [kafka, ours] = answers;
        match (kafka, ours) {
            (Answer::Tree(kafka), Answer::Tree(ours)) => {
                let seen = Seen { key: message.key, request: &request };
                let kafka = seen.normalised("", &kafka, &self.names[0]);
                let ours = seen.normalised("", &ours, &self.names[1]);
                differences(message.key, &kafka, &ours, &[])
            }
            (kafka, ours) => {
                self.both.kafka = Conn::connect(&self.both.addresses[0]);
                self.both.ours = Conn::connect(&self.both.addresses[1]);
                if kafka == ours { Vec::new() } else { vec![format!("{kafka:?}, ours {ours:?}")] }
            }
        }
    }
}

/// An answer to a request, in words that both share.
struct Seen<'a> {
    key: i16,
    request: &'a str,
}

impl Seen<'_> {
    fn normalised(&self, field: &str, tree: &Tree, names: &Names) -> Tree {
        match tree {
            Tree::Leaf(text) => Tree::Leaf(self.leaf(field, text, names)),
            Tree::List(items) => {
                let items = items.iter().filter(|item| !self.is_noise(item));
                let items = items.map(|item| self.normalised(field, item, names)).collect();
                Tree::List(if (self.key, field) == (1, "responses") { merged(items) } else { items })
            }
            Tree::Fields(fields) => Tree::Fields(
                fields.iter().map(|(name, inner)| (name.clone(), self.normalised(name, inner, names))).collect(),
            ),
        }
    }

    fn leaf(&self, field: &str, text: &str, names: &Names) -> String {
        // Nothing that short is an id.
        if let Some((name, _)) = names.iter().find(|(_, id)| id.len() > 5 && *id == text) {
            return name.clone();
        }
        let drawn = match field {
            "topic_id" => !text.starts_with("00000000-0000-0000-0000-0000000000"),
            "member_id" | "leader" => !text.is_empty() && !self.request.contains(text),
            "producer_id" if self.key == 22 => text != "-1",
            "session_id" => text != "0",
            _ => false,
        };
        if drawn { "drawn".to_owned() } else { text.to_owned() }
    }

    /// What an earlier request left behind, and this one did not ask for by name: each shows it when it comes to it.
    fn is_noise(&self, item: &Tree) -> bool {
        let Tree::Fields(fields) = item else { return false };
        ["name", "topic", "group_id", "resource_name"].iter().any(|field| match fields.get(*field) {
            Some(Tree::Leaf(text)) if is_our_config(text) => true,
            // It stays empty in Pyralog.
            Some(Tree::Leaf(text)) if self.key == 35 && text == "__consumer_offsets" => true,
            Some(Tree::Leaf(text)) => {
                let made = text.to_lowercase();
                let is_made = made.trim().starts_with("made-") || made.starts_with("xx") || made != *text;
                is_made && !self.request.contains(text.as_str())
            }
            Some(Tree::List(_) | Tree::Fields(_)) | None => false,
        })
    }
}

fn by_key() -> BTreeMap<i16, Message> {
    messages().into_iter().map(|message| (message.key, message)).collect()
}

/// A changed request.
struct Mutant<'a> {
    good: &'a Good,
    version: i16,
    value: Value,
    /// What it names that is new.
    fresh: String,
    label: String,
}

/// Draws requests of some APIs.
struct Breeder<'a> {
    goods: Vec<&'a Good>,
    messages: BTreeMap<i16, Message>,
    listed: Listed,
    seed: u64,
}

impl<'a> Breeder<'a> {
    fn new(goods: &'a [Good], listed: Listed, seed: u64) -> Breeder<'a> {
        let alone = asked("PYRALOG_MUTANT_API");
        let wanted = |good: &&Good| alone.is_none_or(|key| u64::try_from(good.key) == Ok(key));
        let goods = goods.iter().filter(wanted).collect();
        Breeder { goods, messages: by_key(), listed, seed }
    }

    /// The request of this number, or why its answers differ.
    fn mutant(&self, number: u64) -> Result<Mutant<'a>, &'static str> {
        let mut draw = Draw::stream(self.seed, &format!("mutant {number}"));
        let good = self.goods[draw.index(self.goods.len())];
        let message = &self.messages[&good.key];
        let listed = self.listed[&good.key].clone();
        let versions: Vec<i16> = listed.filter(|version| message.versions.contains(version)).collect();
        let version = draw.pick(&versions);
        let fresh = format!("made-{}-{number}", self.seed);
        let bases = (good.bases)(&fresh);
        let base = &bases[draw.index(bases.len())];
        let mut mutator = Mutator { draw: &mut draw, pools: good.pools, fresh: &fresh };
        let (value, changes) = mutator.mutate(message, version, base);
        if let Some(reason) = meant(good.key, version, &value) {
            return Err(reason);
        }
        let label = format!("#{number} {} {changes}", message.name);
        Ok(Mutant { good, version, value, fresh, label })
    }
}

/// Questions that are asked in the end, by what they are about.
type Late = Vec<(String, Vec<Question>)>;

impl Mutants<'_> {
    /// Sends one request and looks at what came of it; what shows only later is in `late`.
    fn try_one(&mut self, messages: &BTreeMap<i16, Message>, mutant: Mutant<'_>, late: &mut Late) {
        let Mutant { good, version, value, fresh, label } = mutant;
        self.prepare(good.before, &fresh);
        self.ask_all(messages, &label, vec![(good.key, version, value)]);
        self.ask_all(messages, &format!("{label}; afterwards"), (good.after)(&fresh));
        late.push((format!("{label}; later"), (good.later)(&fresh)));
    }

    fn ask_late(&mut self, messages: &BTreeMap<i16, Message>, late: Late) {
        // Kafka shows what changed a moment later (M3, A8, K7).
        std::thread::sleep(Duration::from_secs(2));
        late.into_iter().for_each(|(label, questions)| self.ask_all(messages, &label, questions));
    }
}

/// Sends every good request as it is, in every version.
fn sweep(mutants: &mut Mutants<'_>, goods: &[Good]) {
    let (messages, listed, mut late) = (by_key(), mutants.listed(), Late::new());
    for (place, good) in goods.iter().enumerate() {
        for version in listed[&good.key].clone().filter(|version| messages[&good.key].versions.contains(version)) {
            for number in 0..(good.bases)("").len() {
                let fresh = format!("made-good-{place}-{version}-{number}");
                let value = (good.bases)(&fresh).swap_remove(number);
                if meant(good.key, version, &value).is_none() {
                    let label = format!("good {number}");
                    mutants.try_one(&messages, Mutant { good, version, value, fresh, label }, &mut late);
                }
            }
        }
    }
    mutants.ask_late(&messages, late);
}

/// Sends the changed requests of these numbers.
fn hunt(mutants: &mut Mutants<'_>, goods: &[Good], numbers: Range<u64>) {
    let seed = asked("PYRALOG_MUTANT_SEED").unwrap_or(1);
    let breeder = Breeder::new(goods, mutants.listed(), seed);
    if breeder.goods.is_empty() {
        return;
    }
    let (mut late, mut skipped) = (Late::new(), BTreeMap::<&str, usize>::new());
    for number in numbers {
        match breeder.mutant(number) {
            Ok(mutant) => mutants.try_one(&breeder.messages, mutant, &mut late),
            Err(reason) => *skipped.entry(reason).or_default() += 1,
        }
    }
    skipped.iter().for_each(|(reason, count)| eprintln!("{count} not sent: {reason}"));
    mutants.ask_late(&breeder.messages, late);
}

/// Sends what was found before.
fn repeat(mutants: &mut Mutants<'_>) {
    let (messages, listed) = (by_key(), mutants.listed());
    for (number, pinned) in pinned().into_iter().enumerate() {
        let message = &messages[&pinned.key];
        let versions =
            listed[&pinned.key].clone().filter(|v| message.versions.contains(v) && pinned.versions.contains(v));
        for version in versions {
            let fresh = format!("made-again-{number}-{version}");
            mutants.prepare(pinned.before, &fresh);
            let question = (pinned.key, version, (pinned.request)(&fresh));
            mutants.ask_all(&messages, pinned.label, vec![question]);
        }
    }
}

#[test]
fn changed_requests_are_answered_alike() {
    with_both(|both| {
        let mut mutants = world(both);
        repeat(&mut mutants);
        sweep(&mut mutants, &readers());
        sweep(&mut mutants, &writers());
        let count = asked("PYRALOG_MUTANTS").unwrap_or(2500);
        hunt(&mut mutants, &readers(), 0..count);
        // These create and wait for what they change.
        hunt(&mut mutants, &writers(), count..count + count / 12);
    });
}

/// Every API that is listed has good requests here, and every good request is one in every version.
#[test]
fn good_requests_are_good() {
    let messages = by_key();
    let id = Uuid::from_u128(7).to_string();
    let names = ["@alpha", "@beta", "@gamma", "@sink", "@made", "@classic", "@member", "@names", "@ids"];
    let names: Names = names.iter().map(|name| ((*name).to_owned(), id.clone())).collect();
    let mut told = BTreeSet::new();
    for good in readers().into_iter().chain(writers()) {
        let message = &messages[&good.key];
        told.insert(good.key);
        for (version, base) in message
            .versions
            .clone()
            .flat_map(|version| (good.bases)("made").into_iter().map(move |base| (version, base)))
        {
            let frame = message.encode(version, 1, &base, &names);
            let header = if message.flexible.contains(&version) { 2 } else { 1 };
            let header = conn::header(good.key, version, 1, Some("compat"), header).len();
            let mut body = Bytes::from(frame).slice(header..);
            match RequestKind::decode(ApiKey::try_from(good.key).unwrap(), &mut body, version) {
                // Some of the versions that Pyralog does not list either.
                Err(error) if error.root_cause().to_string().contains("version not supported") => {}
                decoded => assert!(decoded.is_ok() && body.is_empty(), "{} v{version}: {decoded:?}", message.name),
            }
        }
    }
    let missing: Vec<&String> = messages.values().filter(|m| !told.contains(&m.key)).map(|m| &m.name).collect();
    assert!(missing.is_empty(), "no good request of {missing:?}");
}

#[test]
fn a_seed_repeats_its_requests_and_another_does_not() {
    let goods: Vec<Good> = readers().into_iter().chain(writers()).collect();
    let drawn = |seed: u64| -> Vec<String> {
        let versions = messages().into_iter().map(|message| (message.key, message.versions)).collect();
        let breeder = Breeder::new(&goods, versions, seed);
        (0..300).filter_map(|number| breeder.mutant(number).ok()).map(|m| format!("{} {}", m.label, m.value)).collect()
    };
    assert_eq!(drawn(5), drawn(5));
    assert_ne!(drawn(5), drawn(6));
}

/// What the comparison must see, and what it must not.
#[test]
fn planted_differences_between_answers_are_found() {
    let kafka = Names::from([("@alpha".to_owned(), Uuid::from_u128(1000).to_string())]);
    let ours = Names::from([("@alpha".to_owned(), Uuid::from_u128(2000).to_string())]);
    let topic = |id: u128, code: i16, partitions: &str| {
        format!(
            "ResponseTopic {{ topic_id: {}, error_code: {code}, member_id: \"\", partitions: {partitions} }}",
            Uuid::from_u128(id)
        )
    };
    let answer = |topics: &[String]| format!("Response {{ throttle_time_ms: 0, topics: [{}] }}", topics.join(", "));
    let found = |key: i16, theirs: &[String], own: &[String]| {
        let seen = Seen { key, request: r#"{"topics":["asked"]}"# };
        let theirs = seen.normalised("", &parse(&answer(theirs)), &kafka);
        differences(key, &theirs, &seen.normalised("", &parse(&answer(own)), &ours), &[])
    };
    let good = [topic(1000, 0, "[1, 2]")];
    let none: Vec<String> = Vec::new();
    assert_eq!(found(61, &good, &[topic(2000, 0, "[1, 2]")]), none, "each calls it by its own id");
    assert_ne!(found(61, &good, &[topic(1000, 0, "[1, 2]")]), none, "the id of another topic");
    assert_ne!(found(61, &good, &[topic(0, 0, "[1, 2]")]), none, "no id");
    assert_ne!(found(61, &good, &[topic(2000, 3, "[1, 2]")]), none, "another code");
    assert_ne!(found(61, &good, &[topic(2000, 0, "[1]")]), none, "a partition less");
    assert_ne!(found(61, &good, &[topic(2000, 0, "[2, 1]")]), none, "another order");
    assert_eq!(found(2, &good, &[topic(2000, 0, "[2, 1]")]), none, "an order that Kafka leaves open");
    assert_ne!(found(61, &good, &[]), none, "a topic less");
    let member = |id: &str| vec![topic(0, 0, "[]").replace("member_id: \"\"", &format!("member_id: \"{id}\""))];
    assert_eq!(found(11, &member("a-1"), &member("a-2")), none, "ids that each made up");
    assert_ne!(found(11, &member("a-1"), &member("")), none, "no id");
    let [good] = good;
    let noisy = [good, topic(0, 0, "[]").replace("topic_id", "name: \"made-1-2\", topic_id")];
    assert_eq!(found(61, &noisy, &[topic(2000, 0, "[1, 2]")]), none, "what nobody asked for");
}
