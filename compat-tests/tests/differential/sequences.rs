//! Random sequences of requests, and whether Kafka and Pyralog answer each step of them alike.
//!
//! What single requests cannot show is state: a producer's last sequences, a session, a group between two generations. A seed
//! draws the steps of a sequence, each as what is done and a seed of its own for how; what a client would have learned from the
//! answers before (ids, epochs, ends of logs) is looked up as the step is taken, so that a sequence still makes sense when
//! some of its steps are left out. In the end all that it made is looked at.
//!
//! One that differs is run again and made shorter that way, and told with its seed. What does not come again is told, and fails
//! nothing: requests on several connections may come in another order. What Kafka does in its own time (retention,
//! compaction, expiry) is kept away from; what it shows a moment later is waited for.
//!
//! `PYRALOG_SEQUENCES` sequences are run in place of [`COUNT`], from the one of `PYRALOG_SEQUENCE_SEED` on in place of 1.

#[path = "sequences/batches.rs"]
mod batches;
#[path = "sequences/classic.rs"]
mod classic;
#[path = "sequences/consumers.rs"]
mod consumers;
#[path = "sequences/offsets.rs"]
mod offsets;
#[path = "sequences/reading.rs"]
mod reading;
#[path = "sequences/records.rs"]
mod records;
#[path = "sequences/topics.rs"]
mod topics;
#[path = "sequences/world.rs"]
mod world;

use std::collections::BTreeMap;

use pyralog_compat_tests::draw::{Draw, asked};
use world::{Apis, Difference, Kind, World};

use super::*;

/// Sequences of every test run.
const COUNT: u64 = 25;
/// How often a sequence that differs is run to make it shorter.
const SHRINKING_RUNS: usize = 60;

/// API keys.
mod api {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const OFFSET_COMMIT: i16 = 8;
    pub const OFFSET_FETCH: i16 = 9;
    pub const JOIN_GROUP: i16 = 11;
    pub const HEARTBEAT: i16 = 12;
    pub const LEAVE_GROUP: i16 = 13;
    pub const SYNC_GROUP: i16 = 14;
    pub const DESCRIBE_GROUPS: i16 = 15;
    pub const LIST_GROUPS: i16 = 16;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const DELETE_TOPICS: i16 = 20;
    pub const DELETE_RECORDS: i16 = 21;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
    pub const DESCRIBE_CONFIGS: i16 = 32;
    pub const ALTER_CONFIGS: i16 = 33;
    pub const DESCRIBE_LOG_DIRS: i16 = 35;
    pub const CREATE_PARTITIONS: i16 = 37;
    pub const DELETE_GROUPS: i16 = 42;
    pub const ELECT_LEADERS: i16 = 43;
    pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
    pub const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
    pub const LIST_PARTITION_REASSIGNMENTS: i16 = 46;
    pub const OFFSET_DELETE: i16 = 47;
    pub const DESCRIBE_PRODUCERS: i16 = 61;
    pub const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
    pub const CONSUMER_GROUP_DESCRIBE: i16 = 69;
    pub const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
}

/// Something that a sequence may do.
pub struct Operation {
    name: &'static str,
    /// How often, beside the others of its family.
    weight: u64,
    run: fn(&mut World<'_>, &mut Draw),
}

const fn op(name: &'static str, weight: u64, run: fn(&mut World<'_>, &mut Draw)) -> Operation {
    Operation { name, weight, run }
}

const FAMILIES: [&[Operation]; 7] = [
    topics::OPERATIONS,
    records::OPERATIONS,
    reading::OPERATIONS,
    reading::SESSIONS,
    offsets::OPERATIONS,
    classic::OPERATIONS,
    consumers::OPERATIONS,
];

/// What a sequence is mostly about.
#[derive(Debug)]
pub struct Subject {
    name: &'static str,
    /// How often it does something of each family.
    weights: [u64; 7],
    /// Partitions are made by the half dozen, so that up to three members share them evenly.
    even: bool,
    /// Members of both protocols meet in one group.
    mixed: bool,
}

const fn about(name: &'static str, weights: [u64; 7]) -> Subject {
    Subject { name, weights, even: false, mixed: false }
}

static SUBJECTS: [Subject; 8] = [
    about("logs", [2, 6, 6, 0, 0, 0, 0]),
    about("logs that come and go", [5, 5, 5, 3, 1, 0, 0]),
    about("sessions", [1, 3, 1, 7, 0, 0, 0]),
    about("offsets", [2, 1, 0, 0, 8, 2, 1]),
    about("classic groups", [1, 0, 0, 0, 3, 10, 0]),
    Subject { even: true, ..about("consumer groups", [1, 0, 0, 0, 2, 0, 8]) },
    // Topics stay as they are: members who speak the classic protocol learn of a change sooner than from Kafka.
    Subject { even: true, mixed: true, ..about("groups that change their protocol", [0, 0, 0, 0, 2, 8, 6]) },
    about("everything", [3, 4, 4, 2, 3, 3, 3]),
];

/// One step: what is done, and how.
#[derive(Clone, Copy)]
struct Step {
    family: usize,
    operation: usize,
    seed: u64,
}

impl Step {
    fn operation(&self) -> &'static Operation {
        &FAMILIES[self.family][self.operation]
    }
}

#[derive(Clone)]
struct Sequence {
    subject: &'static Subject,
    steps: Vec<Step>,
}

impl Sequence {
    /// The sequence of a seed.
    fn drawn(seed: u64) -> Sequence {
        let mut draw = Draw::stream(seed, "sequence");
        let subject = &SUBJECTS[draw.index(SUBJECTS.len())];
        let families: Vec<(u64, usize)> = subject.weights.into_iter().zip(0..).collect();
        let count = draw.between(20, 60);
        let steps = (0..count).map(|number| {
            // Two topics to begin with.
            let (family, operation) = match number {
                0 | 1 => (0, 0),
                _ => {
                    let family = draw.weighted(&families);
                    let operations = FAMILIES[family].iter().map(|operation| operation.weight).zip(0..);
                    (family, draw.weighted(&operations.collect::<Vec<_>>()))
                }
            };
            Step { family, operation, seed: draw.bits() }
        });
        let steps = steps.collect();
        Sequence { subject, steps }
    }

    /// Takes the steps, up to the first one whose answers differ, and looks at what they made. Says what was asked, too.
    fn run(&self, both: &mut Both, apis: &Apis) -> (Option<Difference>, Vec<String>) {
        let mut world = World::new(both, apis, self.subject);
        for step in &self.steps {
            world.told.push(format!("- {}", step.operation().name));
            (step.operation().run)(&mut world, &mut Draw::seeded(step.seed));
            if world.found.is_some() {
                break;
            }
        }
        if world.found.is_none() {
            world.look_at_all();
        }
        let outcome = (world.found.clone(), std::mem::take(&mut world.told));
        world.clean_up();
        outcome
    }

    /// The same without steps that its difference does not need, as far as they are found in [`SHRINKING_RUNS`].
    fn shrunk(mut self, both: &mut Both, apis: &Apis, what: &str) -> Sequence {
        let mut runs = SHRINKING_RUNS;
        let mut chunk = self.steps.len().div_ceil(2);
        while chunk > 0 {
            let mut at = 0;
            while at < self.steps.len() {
                let mut shorter = self.clone();
                shorter.steps.drain(at..(at + chunk).min(self.steps.len()));
                if runs == 0 {
                    return self;
                }
                runs -= 1;
                match shorter.run(both, apis) {
                    (Some(found), told) if found.what == what => {
                        // Nothing behind the difference is needed.
                        let taken = told.iter().filter(|line| line.starts_with("- ")).count();
                        shorter.steps.truncate(taken);
                        self = shorter;
                    }
                    _ => at += chunk,
                }
            }
            chunk /= 2;
        }
        self
    }
}

/// Tells the seed of what did not come to its end.
struct Telling(u64);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the sequence of PYRALOG_SEQUENCE_SEED={}", self.0);
        }
    }
}

/// Differences by what they are: how often, and how the first one came about.
type Found = BTreeMap<String, (usize, String)>;

/// Runs the sequences of these seeds.
fn hunt(both: &mut Both, seeds: std::ops::Range<u64>) -> Found {
    let apis = Apis::of(both);
    let mut found = Found::new();
    for seed in seeds {
        let _telling = Telling(seed);
        let sequence = Sequence::drawn(seed);
        let (Some(difference), _) = sequence.run(both, &apis) else { continue };
        if let Some((count, _)) = found.get_mut(&difference.what) {
            *count += 1;
            continue;
        }
        let Difference { what, text } = difference;
        let repeats = |both: &mut Both| sequence.run(both, &apis).0.is_some_and(|again| again.what == what);
        if !repeats(both) {
            eprintln!("PYRALOG_SEQUENCE_SEED={seed}, {}: once, and not again: {text}", sequence.subject.name);
            continue;
        }
        let shrunk = sequence.clone().shrunk(both, &apis, &what);
        let (again, told) = shrunk.run(both, &apis);
        let text = again.map_or(text, |again| again.text);
        let text = format!(
            "PYRALOG_SEQUENCE_SEED={seed} PYRALOG_SEQUENCES=1, {}, {} of {} steps:\n  {}\n  {}",
            sequence.subject.name,
            shrunk.steps.len(),
            sequence.steps.len(),
            told.join("\n  "),
            text
        );
        eprintln!("{text}");
        found.insert(what, (1, text));
    }
    found
}

#[test]
fn sequences_are_answered_alike() {
    with_both(|both| {
        let first = asked("PYRALOG_SEQUENCE_SEED").unwrap_or(1);
        let found = hunt(both, first..first + asked("PYRALOG_SEQUENCES").unwrap_or(COUNT));
        both.differences.extend(found.into_values().map(|(count, text)| format!("{count} times, first {text}")));
    });
}

/// Without a Kafka: two Pyralogs answer alike, and one that keeps less than the other is found out, in few steps.
#[test]
fn planted_differences_in_state_are_found() {
    // A setting of the second one, and what shows it.
    let plants = [
        ("max.incremental.fetch.session.cache.slots", "0", "Fetch "),
        ("producer.id.expiration.ms", "1", "DescribeProducers "),
        ("offset.metadata.max.bytes", "0", "OffsetCommit "),
        ("group.max.size", "1", "JoinGroup "),
        ("group.consumer.max.size", "1", "ConsumerGroupHeartbeat "),
    ];
    let options = || BrokerOptions::new().set("num.partitions", "4").set("group.initial.rebalance.delay.ms", "0");
    let planted = plants.iter().fold(options(), |options, (name, value, _)| options.set(name, value));
    let planted = planted.set("producer.id.expiration.check.interval.ms", "20");
    let (first, same, planted) = (Broker::start(options()), Broker::start(options()), Broker::start(planted));
    let mut both = Both::new(first.kafka(), same.kafka());
    assert_eq!(hunt(&mut both, 0..8), Found::new(), "two that are the same");

    let mut both = Both::new(first.kafka(), planted.kafka());
    let apis = Apis::of(&mut both);
    let mut found: BTreeMap<String, Sequence> = BTreeMap::new();
    for sequence in (0..60).map(Sequence::drawn) {
        if let (Some(difference), _) = sequence.run(&mut both, &apis) {
            found.entry(difference.what).or_insert(sequence);
        }
        if plants.iter().all(|(_, _, api)| found.keys().any(|what| what.starts_with(api))) {
            break;
        }
    }
    for (name, _, api) in plants {
        assert!(found.keys().any(|what| what.starts_with(api)), "{name} was not found out: {:?}", found.keys());
    }
    // A topic and a commit are enough to show one of them.
    let (what, sequence) = found.iter().find(|(what, _)| what.starts_with("OffsetCommit ")).unwrap();
    let shrunk = sequence.clone().shrunk(&mut both, &apis, what);
    assert!(shrunk.steps.len() <= 4, "{} of {} steps are left", shrunk.steps.len(), sequence.steps.len());
    assert_eq!(shrunk.run(&mut both, &apis).0.map(|again| again.what).as_ref(), Some(what));
}

/// What is compared of answers with ids that each broker made up.
#[test]
fn ids_count_for_what_they_name() {
    let broker = Broker::start(BrokerOptions::new());
    let mut both = Both::new(broker.kafka(), broker.kafka());
    let apis = Apis::of(&mut both);
    let mut world = World::new(&mut both, &apis, &SUBJECTS[0]);
    world.learn(Kind::Producer, "@p0.1", ["1001", "2001"]);
    world.learn(Kind::Producer, "@p1.1", ["1002", "2002"]);
    let answer =
        |id: &str| parse(&format!("Response {{ producers: [Producer {{ producer_id: {id}, last_sequence: 5 }}] }}"));
    let differs = |kafka: &str, ours: &str| {
        !world.differences(api::DESCRIBE_PRODUCERS, &Value::Null, &[answer(kafka), answer(ours)]).is_empty()
    };
    assert!(!differs("1001", "2001"), "each calls it by its own id");
    assert!(!differs("5", "6"), "two that nobody has named yet");
    assert!(differs("1001", "2002"), "the id of another one");
    assert!(differs("1001", "1001"), "the id that only the other broker has");
    assert!(differs("1001", "-1"), "none");
    assert!(differs("5", "-1"), "none, where the other has one");
}

#[test]
fn a_seed_repeats_its_sequence_and_another_does_not() {
    let drawn = |seed: u64| -> Vec<(&str, u64)> {
        Sequence::drawn(seed).steps.iter().map(|step| (step.operation().name, step.seed)).collect()
    };
    assert_eq!(drawn(5), drawn(5));
    assert_ne!(drawn(5), drawn(6));
}
