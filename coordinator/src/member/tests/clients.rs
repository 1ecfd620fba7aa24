//! What clients ask of the cluster, and what they make of the answers. They ask whoever they think leads, also nodes
//! that do not lead any more.

use kafka_protocol::messages as m;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::kafka_protocol;
use pyralog_protocol::vlsn::Vlsn;
use pyralog_protocol::vlsn::messages as v;

use super::below;
use super::world::World;
use crate::command::{Command, Context, Reply};

/// Codes that say: ask again, or join again.
const TOPIC_EXISTS: i16 = 36;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER: i16 = 25;
const REBALANCE: i16 = 27;
const BACKWARDS: i16 = 42;
const PARTITIONS: i32 = 3;

fn s(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A member of the classic group `g`.
#[derive(Clone, Debug, Default)]
pub struct Client {
    member: String,
    generation: i32,
    /// Member ids of the generation, if this one assigns.
    others: Vec<String>,
    phase: Phase,
    waits: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Out,
    Joined,
    Synced,
}

/// A request that is on its way.
pub struct Asked {
    pub node: u64,
    what: What,
}

/// What it was, with what had been acknowledged when it began.
enum What {
    Create { name: String },
    Producer,
    Reserve { count: u64, floor: u64 },
    Reserved { floor: u64 },
    Vlsn { value: i64 },
    VlsnRead { floor: i64 },
    Offset { key: String, value: i64, of: Option<(usize, i32, i32)> },
    OffsetRead { floors: Vec<i64> },
    Join { client: usize, floor: i32 },
    Sync { client: usize, floor: i32, generation: i32 },
    Beat { client: usize, floor: i32, generation: i32 },
}

type Outcome = Result<(), String>;

impl World {
    /// Some client does something.
    pub fn client(&mut self) -> Outcome {
        match below(&mut self.draw, 20) {
            0 => {
                let name = format!("x{}", below(&mut self.draw, 12));
                self.create(&name)
            }
            1 => {
                let request = m::InitProducerIdRequest::default()
                    .with_transactional_id(None)
                    .with_transaction_timeout_ms(1000)
                    .with_producer_id(m::ProducerId(-1))
                    .with_producer_epoch(-1);
                self.ask(What::Producer, 4, Command::InitProducerId(request))
            }
            2..=4 => self.reserve(),
            5 => {
                let request = v::SequencerDescribeRequest { names: Some(vec![s("s")]) };
                let floor = self.promises.reserved();
                self.ask(What::Reserved { floor }, 0, Command::SequencerDescribe(request))
            }
            6..=8 => self.commit_vlsn(),
            9 | 10 => self.read_vlsn(),
            11 | 12 => {
                let partition = i32::try_from(below(&mut self.draw, 3)).unwrap();
                self.commit_offset("solo", partition, None)
            }
            13 | 14 => self.read_offsets(),
            _ => {
                let client = self.pick(3);
                self.member_acts(client)
            }
        }
    }

    /// Everything that can be read, once.
    pub fn read_all(&mut self) -> Outcome {
        self.read_vlsn()?;
        self.read_offsets()?;
        self.reserve()
    }

    pub fn create(&mut self, name: &str) -> Outcome {
        let config = m::create_topics_request::CreatableTopicConfig::default().with_name(s("vlsn.enable"));
        let config = config.with_value(Some(s(if name == "v" { "true" } else { "false" })));
        let topic = m::create_topics_request::CreatableTopic::default().with_name(m::TopicName(s(name)));
        let topic = topic.with_num_partitions(PARTITIONS).with_replication_factor(1).with_configs(vec![config]);
        let request = m::CreateTopicsRequest::default().with_timeout_ms(1).with_topics(vec![topic]);
        self.ask(What::Create { name: name.to_owned() }, 7, Command::CreateTopics(request))
    }

    pub fn reserve(&mut self) -> Outcome {
        let count = 1 + below(&mut self.draw, 9);
        let request = v::SequencerReserveRequest { name: s("s"), count, at_least: 0 };
        let floor = self.promises.reserved();
        self.ask(What::Reserve { count, floor }, 0, Command::SequencerReserve(request))
    }

    fn vlsn_commit(&mut self) -> (What, Command) {
        self.values += 1;
        let value = self.values;
        self.promises.tries("vlsn", value);
        let entry = v::VlsnCommitEntry { log: s("v"), vlsn: Vlsn(value.unsigned_abs()), metadata: None };
        let request = v::VlsnCommitRequest { consumer: s("c"), force: false, commits: vec![entry] };
        (What::Vlsn { value }, Command::VlsnCommit(request))
    }

    fn vlsn_read(&self) -> (What, Command) {
        let request = v::VlsnCommittedRequest { consumer: Some(s("c")), logs: None };
        (What::VlsnRead { floor: self.promises.floor("vlsn") }, Command::VlsnCommitted(request))
    }

    fn commit_vlsn(&mut self) -> Outcome {
        let (what, command) = self.vlsn_commit();
        self.ask(what, 0, command)
    }

    fn read_vlsn(&mut self) -> Outcome {
        let (what, command) = self.vlsn_read();
        self.ask(what, 0, command)
    }

    pub fn commit_offset(&mut self, group: &str, partition: i32, of: Option<(usize, i32, i32)>) -> Outcome {
        self.values += 1;
        let (value, key) = (self.values, format!("{group}/{partition}"));
        self.promises.tries(&key, value);
        let entry = m::offset_commit_request::OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(value);
        let topic = m::offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(m::TopicName(s("t")))
            .with_partitions(vec![entry]);
        let member = of.map_or(String::new(), |(client, _, _)| self.clients[client].member.clone());
        let request = m::OffsetCommitRequest::default()
            .with_group_id(m::GroupId(s(group)))
            .with_member_id(s(&member))
            .with_generation_id_or_member_epoch(of.map_or(-1, |(_, _, generation)| generation))
            .with_topics(vec![topic]);
        self.ask(What::Offset { key, value, of }, 8, Command::OffsetCommit(request))
    }

    pub fn read_offsets(&mut self) -> Outcome {
        let topics = m::offset_fetch_request::OffsetFetchRequestTopics::default()
            .with_name(m::TopicName(s("t")))
            .with_partition_indexes((0..PARTITIONS).collect());
        let group = m::offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(m::GroupId(s("solo")))
            .with_topics(Some(vec![topics]));
        let floors = (0..PARTITIONS).map(|p| self.promises.floor(&format!("solo/{p}"))).collect();
        let request = m::OffsetFetchRequest::default().with_groups(vec![group]);
        self.ask(What::OffsetRead { floors }, 8, Command::OffsetFetch(request))
    }

    fn member_acts(&mut self, at: usize) -> Outcome {
        let (client, floor) = (self.clients[at].clone(), self.promises.generation());
        if client.waits {
            return Ok(());
        }
        let (group, member, generation) = (m::GroupId(s("g")), s(&client.member), client.generation);
        match client.phase {
            Phase::Out => {
                let protocol = m::join_group_request::JoinGroupRequestProtocol::default().with_name(s("p"));
                let request = m::JoinGroupRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_session_timeout_ms(6_000)
                    .with_rebalance_timeout_ms(400)
                    .with_protocol_type(s("sim"))
                    .with_protocols(vec![protocol]);
                self.clients[at].waits = true;
                self.ask(What::Join { client: at, floor }, 3, Command::JoinGroup(request))
            }
            Phase::Joined => {
                let shares = client.others.iter().enumerate().map(|(n, other)| {
                    let parts = (0..PARTITIONS).filter(|p| usize::try_from(*p).unwrap() % client.others.len() == n);
                    let bytes: Vec<u8> = parts.map(|p| u8::try_from(p).unwrap()).collect();
                    m::sync_group_request::SyncGroupRequestAssignment::default()
                        .with_member_id(s(other))
                        .with_assignment(bytes.into())
                });
                let request = m::SyncGroupRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_generation_id(generation)
                    .with_assignments(shares.collect());
                self.clients[at].waits = true;
                self.ask(What::Sync { client: at, floor, generation }, 3, Command::SyncGroup(request))
            }
            Phase::Synced if below(&mut self.draw, 12) == 0 => {
                // Comes again under its id, so that there is a new generation.
                self.clients[at].phase = Phase::Out;
                self.member_acts(at)
            }
            Phase::Synced if below(&mut self.draw, 2) == 0 => self.commit_offset("g", 0, Some((at, floor, generation))),
            Phase::Synced => {
                let request = m::HeartbeatRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_generation_id(generation);
                self.ask(What::Beat { client: at, floor, generation }, 3, Command::Heartbeat(request))
            }
        }
    }

    fn ask(&mut self, what: What, api_version: i16, command: Command) -> Outcome {
        let leaders = self.leaders();
        let node = match leaders.len() {
            0 => self.some_node(),
            n if below(&mut self.draw, 10) > 0 => leaders[self.pick(n)],
            _ => self.some_node(),
        };
        self.ask_node(node, what, (api_version, command))
    }

    fn ask_node(&mut self, node: u64, what: What, (api_version, command): (i16, Command)) -> Outcome {
        let (token, now, draw) = (self.token(), self.now(), self.draw.clone());
        self.draw.next_u64();
        let (client_id, client_host) = ("sim".to_owned(), "/127.0.0.1".to_owned());
        let context = Context { token, api_version, client_id, client_host, draw, no_room: None };
        let asked = Asked { node, what };
        let Some(member) = self.member(node) else {
            self.unanswered(&asked);
            return Ok(());
        };
        if member.handle(context, command, now).is_err() {
            self.unanswered(&asked);
            return Ok(());
        }
        self.asked.insert(token, asked);
        // Some requests share their turn with the next ones.
        if below(&mut self.draw, 4) > 0 { self.turn(node) } else { Ok(()) }
    }

    /// Reads at one node, whoever leads.
    pub fn read_vlsn_at(&mut self, node: u64) -> Outcome {
        let (what, command) = self.vlsn_read();
        self.ask_node(node, what, (0, command))?;
        self.turn(node)
    }

    /// Commits at one node, whoever leads.
    pub fn commit_vlsn_at(&mut self, node: u64) -> Outcome {
        let (what, command) = self.vlsn_commit();
        self.ask_node(node, what, (0, command))?;
        self.turn(node)
    }

    /// The client waits no longer; it does not know what came of it.
    pub fn unanswered(&mut self, asked: &Asked) {
        match &asked.what {
            What::Join { client, .. } | What::Sync { client, .. } => {
                let client = &mut self.clients[*client];
                (client.waits, client.phase) = (false, Phase::Out);
            }
            What::Create { .. }
            | What::Producer
            | What::Reserve { .. }
            | What::Reserved { .. }
            | What::Vlsn { .. }
            | What::VlsnRead { .. }
            | What::Offset { .. }
            | What::OffsetRead { .. }
            | What::Beat { .. } => {}
        }
    }

    pub fn check_reply(&mut self, asked: Asked, reply: Reply) -> Outcome {
        let wrong = |reply: &dyn std::fmt::Debug| Err(format!("unexpected answer: {reply:?}"));
        match (asked.what, reply) {
            (What::Create { name }, Reply::CreateTopics(r)) => match r.topics[0].error_code {
                0 => {
                    self.promises.topic(&name, r.topics[0].topic_id.into_bytes());
                    Ok(())
                }
                TOPIC_EXISTS => Ok(()),
                _ => wrong(&r),
            },
            (What::Producer, Reply::InitProducerId(r)) if r.error_code == 0 => self.promises.producer(r.producer_id.0),
            (What::Reserve { count, floor }, Reply::SequencerReserve(r)) if r.error_code == 0 && r.count == count => {
                if r.first < floor {
                    return Err(format!("handed out twice: {} is below {floor}", r.first));
                }
                self.promises.range(r.first, count)
            }
            (What::Reserved { floor }, Reply::SequencerDescribe(r)) => {
                let next = r.sequencers.first().map_or(0, |sequencer| sequencer.next);
                self.counts.reads += 1;
                if next < floor { Err(format!("stale read of a sequencer: {next}, not {floor}")) } else { Ok(()) }
            }
            (What::Vlsn { value }, Reply::VlsnCommit(r)) => match r.results[0].error_code {
                0 => {
                    self.promises.committed("vlsn", value);
                    Ok(())
                }
                // A later one was committed meanwhile.
                BACKWARDS => self.promises.read("vlsn", value, r.results[0].vlsn),
                _ => wrong(&r),
            },
            (What::VlsnRead { floor }, Reply::VlsnCommitted(r)) => {
                let value = r.commits.first().map_or(-1, |commit| i64::try_from(commit.vlsn.0).unwrap());
                self.counts.reads += 1;
                self.promises.read("vlsn", floor, value)
            }
            (What::OffsetRead { floors }, Reply::OffsetFetch(r)) => {
                self.counts.reads += 1;
                for partition in r.groups.iter().flat_map(|g| &g.topics).flat_map(|t| &t.partitions) {
                    let at = usize::try_from(partition.partition_index).unwrap();
                    self.promises.read(&format!("solo/{at}"), floors[at], partition.committed_offset)?;
                }
                Ok(())
            }
            (What::Offset { key, value, of }, Reply::OffsetCommit(r)) => {
                self.offset_answered((key, value, of), r.topics[0].partitions[0].error_code)
            }
            (What::Join { client, floor }, Reply::JoinGroup(r)) => self.join_answered(client, floor, &r),
            (What::Sync { client, floor, generation }, Reply::SyncGroup(r)) => {
                self.clients[client].waits = false;
                if r.error_code != 0 {
                    return self.refused(client, r.error_code);
                }
                self.promises.valid(floor, generation)?;
                self.clients[client].phase = Phase::Synced;
                let member = self.clients[client].member.clone();
                r.assignment.iter().try_for_each(|p| self.promises.owns(generation, i32::from(*p), &member))
            }
            (What::Beat { client, floor, generation }, Reply::Heartbeat(r)) => match r.error_code {
                0 => self.promises.valid(floor, generation),
                code => self.refused(client, code),
            },
            (_, reply) => wrong(&reply),
        }
    }

    fn offset_answered(&mut self, (key, value, of): (String, i64, Option<(usize, i32, i32)>), code: i16) -> Outcome {
        match (code, of) {
            (0, of) => {
                if let Some((_, floor, generation)) = of {
                    self.promises.valid(floor, generation)?;
                }
                self.promises.committed(&key, value);
                Ok(())
            }
            (code, Some((client, _, _))) => self.refused(client, code),
            (code, None) => Err(format!("a commit for nobody is refused: {code}")),
        }
    }

    fn join_answered(&mut self, at: usize, floor: i32, r: &m::JoinGroupResponse) -> Outcome {
        self.clients[at].waits = false;
        if r.error_code != 0 {
            return self.refused(at, r.error_code);
        }
        self.promises.joined(floor, r.generation_id)?;
        let client = &mut self.clients[at];
        (client.member, client.generation, client.phase) = (r.member_id.to_string(), r.generation_id, Phase::Joined);
        client.others = r.members.iter().map(|member| member.member_id.to_string()).collect();
        Ok(())
    }

    fn refused(&mut self, client: usize, code: i16) -> Outcome {
        let client = &mut self.clients[client];
        if code == UNKNOWN_MEMBER {
            client.member.clear();
        }
        client.phase = Phase::Out;
        match code {
            UNKNOWN_MEMBER | ILLEGAL_GENERATION | REBALANCE => Ok(()),
            _ => Err(format!("a member is refused with {code}")),
        }
    }
}
