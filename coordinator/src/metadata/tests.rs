//! The metadata machine behind the facade, one test per behaviour statement, and the equality of a machine that
//! decided with one that loaded what was stored.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod alter;
mod answers;
mod describe;
mod list;
mod reassign;
mod records;
mod topics;
mod vlsn;

use crate::record::{Family, Placement, Record};
use crate::{Command, Context, Coordinator, Effects, NoRoom, Reply, Settings, Token};
use kafka_protocol::messages as m;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::{Draw, NodeId, Now, TopicId, WallMs, kafka_protocol};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A coordinator with the state store that its records go to.
struct Bench {
    coordinator: Coordinator,
    settings: Settings,
    store: BTreeMap<(Family, Vec<u8>), Vec<u8>>,
    sets: Vec<Vec<Record>>,
    steps: u64,
    /// The disk is all but full.
    no_room: Option<NoRoom>,
}

fn bench() -> Bench {
    bench_with(&[])
}

fn bench_with(configs: &[(&str, &str)]) -> Bench {
    let mut settings = Settings::new(NodeId(1));
    settings.configs = configs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Bench::new(settings)
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let coordinator = Coordinator::new(settings.clone()).unwrap();
        let mut bench =
            Self { coordinator, settings, store: BTreeMap::new(), sets: Vec::new(), steps: 0, no_room: None };
        let mut out = Effects::default();
        bench.coordinator.start(Draw::new(7), Now::default(), &mut out);
        bench.absorb(out);
        bench
    }

    fn absorb(&mut self, out: Effects) -> Vec<(Token, Reply)> {
        for record in out.records.iter().flatten() {
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
        self.sets.extend(out.records);
        out.replies
    }

    fn send(&mut self, api_version: i16, command: Command) -> Reply {
        self.steps += 1;
        let ctx = Context {
            token: Token(self.steps),
            api_version,
            client_id: String::new(),
            client_host: "/127.0.0.1".to_owned(),
            draw: Draw::new(u128::from(self.steps)),
            no_room: self.no_room,
        };
        let mut out = Effects::default();
        let now = Now { wall: WallMs(1_700_000_000_000), ..Now::default() };
        self.coordinator.handle(ctx, command, now, &mut out);
        let mut replies = self.absorb(out);
        assert_eq!(replies.len(), 1, "one reply, at once");
        assert_eq!(replies[0].0, Token(self.steps));
        replies.pop().unwrap().1
    }

    /// What a process that starts from the state store sees.
    fn reloaded(&self) -> Coordinator {
        let mut loaded = Coordinator::new(self.settings.clone()).unwrap();
        self.store.values().for_each(|bytes| loaded.apply(&postcard::from_bytes(bytes).unwrap()));
        loaded
    }

    fn image(&self) -> Arc<super::Image> {
        self.coordinator.image()
    }

    fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
        let configs: Vec<_> = configs.iter().map(|(n, v)| (*n, Some(*v))).collect();
        let result = self.create_all(7, vec![topic(name, partitions, 1, &configs)]).pop().unwrap();
        assert_eq!(result.error_code, 0, "{:?}", result.error_message);
        super::wire::topic_id(&result.topic_id)
    }

    fn create_all(
        &mut self,
        version: i16,
        topics: Vec<m::create_topics_request::CreatableTopic>,
    ) -> Vec<m::create_topics_response::CreatableTopicResult> {
        self.create_request(version, m::CreateTopicsRequest::default().with_timeout_ms(1000).with_topics(topics))
    }

    fn create_request(
        &mut self,
        version: i16,
        request: m::CreateTopicsRequest,
    ) -> Vec<m::create_topics_response::CreatableTopicResult> {
        match self.send(version, Command::CreateTopics(request)) {
            Reply::CreateTopics(response) => response.topics,
            other => panic!("{other:?}"),
        }
    }
}

fn topic(
    name: &str,
    partitions: i32,
    factor: i16,
    configs: &[(&str, Option<&str>)],
) -> m::create_topics_request::CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| {
        let config = m::create_topics_request::CreatableTopicConfig::default().with_name(s(name));
        config.with_value(value.map(s))
    };
    m::create_topics_request::CreatableTopic::default()
        .with_name(m::TopicName(s(name)))
        .with_num_partitions(partitions)
        .with_replication_factor(factor)
        .with_configs(configs.iter().map(config).collect())
}

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn name(text: &str) -> m::TopicName {
    m::TopicName(s(text))
}
