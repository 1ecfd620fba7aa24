//! The machine behind the facade: commits, sequencers, writer epochs; that what is stored rebuilds what lives, under
//! random commands and restarts, and that the checker of that sees planted bugs.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod behaviour;
mod property;

use std::collections::BTreeMap;

use kafka_protocol::messages as m;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::vlsn::messages::*;
use pyralog_protocol::{Draw, NodeId, Now, TopicId, Vlsn, WallMs, kafka_protocol};

use super::{Commit, VlsnLimits, VlsnRecord};
use crate::record::{Family, Placement, Record};
use crate::{Command, Context, Coordinator, Effects, Reply, Settings, Token};

/// A coordinator with the state store that its records go to.
struct Bench {
    coordinator: Coordinator,
    settings: Settings,
    store: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
    sets: usize,
    steps: u64,
}

impl Bench {
    fn new(vlsn_limits: VlsnLimits) -> Self {
        let settings = Settings { vlsn_limits, ..Settings::new(NodeId(1)) };
        let coordinator = Coordinator::new(settings.clone()).unwrap();
        let mut bench = Self { coordinator, settings, store: BTreeMap::new(), sets: 0, steps: 0 };
        let mut out = Effects::default();
        bench.coordinator.start(Draw::new(7), Now::default(), &mut out);
        bench.absorb(&out, |_| true);
        bench
    }

    /// Makes records durable that are `kept`.
    fn absorb(&mut self, out: &Effects, kept: impl Fn(&Record) -> bool) {
        self.sets += out.records.len();
        for record in out.records.iter().flatten().filter(|record| kept(record)) {
            match record.placement() {
                Placement::Put(family, key) => {
                    drop(self.store.insert((family, key), postcard::to_allocvec(record).unwrap()));
                }
                Placement::Delete(family, key) => drop(self.store.remove(&(family, key))),
                Placement::DeletePrefix(family, prefix) => {
                    self.store.retain(|(f, key), _| *f != family || !key.starts_with(&prefix));
                }
            }
        }
    }

    fn handle(&mut self, command: Command) -> (Effects, Reply) {
        self.steps += 1;
        let ctx = Context {
            token: Token(self.steps),
            api_version: if matches!(command, Command::CreateTopics(_)) { 7 } else { 5 },
            client_id: String::new(),
            client_host: "/127.0.0.1".to_owned(),
            draw: Draw::new(u128::from(self.steps)),
            no_room: None,
        };
        let mut out = Effects::default();
        let now = Now { wall: WallMs(i64::try_from(self.steps).unwrap()), ..Now::default() };
        self.coordinator.handle(ctx, command, now, &mut out);
        assert_eq!(out.replies.len(), 1, "one reply, at once");
        let (token, reply) = out.replies.pop().unwrap();
        assert_eq!(token, Token(self.steps));
        (out, reply)
    }

    fn send(&mut self, command: Command) -> Reply {
        let (out, reply) = self.handle(command);
        self.absorb(&out, |_| true);
        reply
    }

    /// What a process that starts from the state store sees.
    fn reloaded(&self) -> Coordinator {
        let mut loaded = Coordinator::new(self.settings.clone()).unwrap();
        self.store.values().for_each(|bytes| loaded.apply(&postcard::from_bytes(bytes).unwrap()));
        loaded
    }

    fn create(&mut self, name: &str, partitions: i32, vlsn: bool) -> TopicId {
        let config = m::create_topics_request::CreatableTopicConfig::default().with_name(s("vlsn.enable"));
        let config = config.with_value(Some(s(if vlsn { "true" } else { "false" })));
        let topic = m::create_topics_request::CreatableTopic::default().with_name(m::TopicName(s(name)));
        let topic = topic.with_num_partitions(partitions).with_replication_factor(1).with_configs(vec![config]);
        let request = m::CreateTopicsRequest::default().with_timeout_ms(1).with_topics(vec![topic]);
        match self.send(Command::CreateTopics(request)) {
            Reply::CreateTopics(r) => assert_eq!(r.topics[0].error_code, 0, "{r:?}"),
            other => panic!("{other:?}"),
        }
        self.coordinator.image().log(name).unwrap().metadata.topic_id
    }

    fn delete(&mut self, name: &str) {
        let request = m::DeleteTopicsRequest::default().with_timeout_ms(1);
        let request = request.with_topic_names(vec![m::TopicName(s(name))]);
        drop(self.send(Command::DeleteTopics(request)));
    }

    /// (code, VLSN in force, message).
    fn commit(&mut self, consumer: &str, log: &str, vlsn: u64, force: bool) -> (i16, i64, String) {
        let mut results = self.commit_all(consumer, &[(log, vlsn, None)], force);
        assert_eq!(results.len(), 1);
        let result = results.remove(0);
        (result.error_code, result.vlsn, result.error_message.map(|m| m.to_string()).unwrap_or_default())
    }

    fn commit_all(
        &mut self,
        consumer: &str,
        commits: &[(&str, u64, Option<&str>)],
        force: bool,
    ) -> Vec<VlsnCommitResult> {
        let entry = |(log, vlsn, metadata): &(&str, u64, Option<&str>)| VlsnCommitEntry {
            log: s(log),
            vlsn: Vlsn(*vlsn),
            metadata: metadata.map(s),
        };
        let commits = commits.iter().map(entry).collect();
        match self.send(Command::VlsnCommit(VlsnCommitRequest { consumer: s(consumer), force, commits })) {
            Reply::VlsnCommit(r) => r.results,
            other => panic!("{other:?}"),
        }
    }

    fn committed(&mut self, consumer: Option<&str>, logs: Option<&[&str]>) -> Result<Vec<VlsnCommittedEntry>, i16> {
        let logs = logs.map(|logs| logs.iter().map(|log| s(log)).collect());
        match self.send(Command::VlsnCommitted(VlsnCommittedRequest { consumer: consumer.map(s), logs })) {
            Reply::VlsnCommitted(r) if r.error_code == 0 => Ok(r.commits),
            Reply::VlsnCommitted(r) => Err(r.error_code),
            other => panic!("{other:?}"),
        }
    }

    fn reserve(&mut self, name: &str, count: u64, at_least: u64) -> SequencerReserveResponse {
        let request = SequencerReserveRequest { name: s(name), count, at_least };
        match self.send(Command::SequencerReserve(request)) {
            Reply::SequencerReserve(r) => r,
            other => panic!("{other:?}"),
        }
    }

    fn writer(&mut self, log: &str, action: i8, expected_epoch: i32) -> WriterEpochResponse {
        match self.send(Command::WriterEpoch(WriterEpochRequest { log: s(log), action, expected_epoch })) {
            Reply::WriterEpoch(r) => r,
            other => panic!("{other:?}"),
        }
    }
}

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The stored form of each kind. A change here needs a new version of the store, and a commit that says why.
#[test]
fn golden_bytes_and_keys_of_every_record() {
    let id = TopicId([0xab; 16]);
    let consumer = "c".to_owned();
    let commit = Commit { vlsn: Vlsn(300), metadata: Some("m".to_owned()), committed_at: WallMs(1000) };
    let bare = Commit { metadata: None, ..commit.clone() };
    let name = pyralog_protocol::LogId::new("seq").unwrap();
    let ab = "ab".repeat(16);
    let put = |key: &str| ("put", key.to_owned());
    let cases = [
        (
            VlsnRecord::Commit { id, consumer: consumer.clone(), commit },
            format!("00{ab}0163ac0201016dd00f"),
            put(&format!("01{ab}63")),
        ),
        (
            VlsnRecord::Commit { id, consumer: consumer.clone(), commit: bare },
            format!("00{ab}0163ac0200d00f"),
            put(&format!("01{ab}63")),
        ),
        (VlsnRecord::CommitRemoved { id, consumer }, format!("01{ab}0163"), ("delete", format!("01{ab}63"))),
        (VlsnRecord::LogRemoved { id }, format!("02{ab}"), ("prefix", format!("01{ab}"))),
        (VlsnRecord::Sequencer { name, next: 1 << 63 }, "030373657180808080808080808001".to_owned(), put("02736571")),
    ];
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (record, expected, place) in cases {
        let bytes = postcard::to_allocvec(&record).unwrap();
        assert_eq!(hex(&bytes), expected, "{record:?}");
        assert_eq!(postcard::from_bytes::<VlsnRecord>(&bytes).unwrap(), record);
        assert!(bytes.len() <= record.bytes());
        let found = match record.placement() {
            Placement::Put(Family::Vlsn, key) => ("put", hex(&key)),
            Placement::Delete(Family::Vlsn, key) => ("delete", hex(&key)),
            Placement::DeletePrefix(Family::Vlsn, key) => ("prefix", hex(&key)),
            other => panic!("{other:?}"),
        };
        assert_eq!(found, place);
        let whole = postcard::to_allocvec(&Record::Vlsn(record)).unwrap();
        assert_eq!(whole.first(), Some(&2), "third kind of record");
    }
}
