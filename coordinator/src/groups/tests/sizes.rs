//! Groups as large as the limits allow: how long they take to become stable, and that nothing grows with the square of
//! their size where it must not. Time is simulated; what the machine itself takes is measured from outside
//! (`cargo test --release sizes`).

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages as m;
use pyralog_protocol::{Draw, MonoMs, Now, TopicId, WallMs, kafka_protocol};

use super::super::promises::PROMISED_BYTES_MAX;
use super::super::{GroupSettings, Groups};
use super::machine::Machine;
use super::{Store, Topics, str};
use crate::command::{Command, Context, Reply, Token};
use crate::effects::Effects;
use crate::metadata::wire::{topic_id, wire_id};

/// Members as Java clients: heartbeats as often as they are told to, and one at once when something was given back or
/// taken.
struct Crowd {
    groups: Groups,
    topics: Topics,
    store: Store,
    now: Now,
    members: Vec<One>,
    requests: usize,
    records: usize,
}

#[derive(Clone, Default)]
struct One {
    epoch: i32,
    owned: BTreeSet<(TopicId, i32)>,
    next_beat: u64,
}

impl Crowd {
    fn new(partitions: i32) -> Self {
        let mut topics = Topics::default();
        topics.put("t", partitions);
        Self {
            groups: Groups::new(GroupSettings::default()),
            topics,
            store: Store::default(),
            now: Now { mono: MonoMs(0), wall: WallMs(0) },
            members: Vec::new(),
            requests: 0,
            records: 0,
        }
    }

    fn beat(&mut self, who: usize, epoch: i32, owned: bool) {
        let one = &self.members[who];
        let topic = |partitions| {
            let id = wire_id(TopicId([1; 16]));
            vec![
                m::consumer_group_heartbeat_request::TopicPartitions::default()
                    .with_topic_id(id)
                    .with_partitions(partitions),
            ]
        };
        let said = match (epoch, owned) {
            (0, _) => Some(vec![]),
            (_, true) => Some(topic(one.owned.iter().map(|(_, partition)| *partition).collect())),
            (_, false) => None,
        };
        let request = m::ConsumerGroupHeartbeatRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&format!("m{who:04}")))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(if epoch == 0 { 60_000 } else { -1 })
            .with_subscribed_topic_names((epoch == 0).then(|| vec![str("t").into()]))
            .with_topic_partitions(said);
        let reply = self.ask(Command::ConsumerGroupHeartbeat(request));
        let Some(Reply::ConsumerGroupHeartbeat(r)) = reply else { panic!("no answer") };
        assert_eq!(r.error_code, 0, "{:?}", r.error_message);
        let one = &mut self.members[who];
        one.epoch = r.member_epoch;
        one.next_beat = self.now.mono.0 + u64::try_from(r.heartbeat_interval_ms).unwrap();
        if let Some(assignment) = r.assignment {
            let topics = assignment.topic_partitions.iter();
            let told: BTreeSet<_> =
                topics.flat_map(|t| t.partitions.iter().map(|p| (topic_id(&t.topic_id), *p))).collect();
            if told != one.owned {
                one.owned = told;
                one.next_beat = self.now.mono.0; // it says so at once
            }
        }
    }

    fn ask(&mut self, command: Command) -> Option<Reply> {
        self.requests += 1;
        let ctx = Context {
            token: Token(0),
            api_version: 1,
            client_id: "c".to_string(),
            client_host: "/::1".to_string(),
            draw: Draw::new(self.requests as u128),
            no_room: None,
        };
        let mut out = Effects::default();
        self.groups.handle(&ctx, command, &self.topics, self.now, &mut out);
        for record in out.records.iter().flatten() {
            self.records += 1;
            self.store.write(record);
        }
        out.replies.pop().map(|(_, reply)| reply)
    }

    /// Ten milliseconds pass.
    fn tick(&mut self) {
        self.now.mono.0 += 10;
        self.now.wall.0 += 10;
        for who in 0..self.members.len() {
            if self.members[who].next_beat <= self.now.mono.0 && self.members[who].epoch > 0 {
                let (epoch, acted) = (self.members[who].epoch, self.members[who].next_beat == self.now.mono.0 - 10);
                self.beat(who, epoch, acted);
            }
        }
    }

    fn pass_all(&mut self, ms: u64) {
        (0..ms / 10).for_each(|_| self.tick());
    }

    /// Lets at most `ms` pass; says after how many the group was stable.
    fn pass(&mut self, ms: u64) -> Option<u64> {
        let start = self.now.mono.0;
        while self.now.mono.0 < start + ms {
            self.tick();
            if self.groups.hard.consumer("g").is_some_and(|g| g.state() == "Stable") {
                return Some(self.now.mono.0 - start);
            }
        }
        None
    }
}

#[test]
fn gr06_a_thousand_members_of_a_kip_848_group() {
    let mut crowd = Crowd::new(1000);
    for who in 0..1000 {
        crowd.members.push(One::default());
        crowd.beat(who, 0, true);
        if who % 10 == 9 {
            crowd.pass(10);
        }
    }
    let stable_ms = crowd.pass(60_000).expect("the group gets stable");
    // The target is made within the assignment interval of a second; then one short heartbeat until the old owner is told,
    // and one until the new one is.
    assert!(stable_ms <= 3500, "stable {stable_ms} ms after the last join");
    let mut owned: BTreeMap<(TopicId, i32), usize> = BTreeMap::new();
    crowd.members.iter().flat_map(|one| &one.owned).for_each(|p| *owned.entry(*p).or_default() += 1);
    assert!(owned.len() == 1000 && owned.values().all(|owners| *owners == 1));
    assert_eq!(crowd.store.hard(), crowd.groups.hard);
    // Nothing happens any more: heartbeats write nothing, and come every 5 s.
    crowd.pass_all(6000);
    let before = (crowd.requests, crowd.records);
    for who in 0..1000 {
        let epoch = crowd.members[who].epoch;
        crowd.beat(who, epoch, false);
    }
    assert_eq!((crowd.requests, crowd.records), (before.0 + 1000, before.1));
    assert!(crowd.members.iter().all(|one| one.next_beat == crowd.now.mono.0 + 5000));
    // 500 leave at once.
    let before = crowd.records;
    for who in 0..500 {
        crowd.beat_last(who);
    }
    assert!(crowd.records - before <= 1000, "a record for the member and one for the group each");
    let stable_ms = crowd.pass(60_000).expect("the group gets stable");
    // Everybody had just been sent away for 5 s.
    assert!(stable_ms <= 6500, "stable {stable_ms} ms after the last leave");
    assert_eq!(crowd.members.iter().skip(500).map(|one| one.owned.len()).sum::<usize>(), 1000);
}

impl Crowd {
    fn beat_last(&mut self, who: usize) {
        let request = m::ConsumerGroupHeartbeatRequest::default()
            .with_group_id(str("g").into())
            .with_member_id(str(&format!("m{who:04}")))
            .with_member_epoch(-1)
            .with_rebalance_timeout_ms(-1);
        self.ask(Command::ConsumerGroupHeartbeat(request));
        self.members[who] = One::default();
    }
}

/// JoinGroup of somebody who has no member id, or comes back with one: the error code, and the id.
fn join(machine: &mut Machine, group: &str, id: &str) -> (i16, String) {
    let protocol = m::join_group_request::JoinGroupRequestProtocol::default().with_name(str("range"));
    let request = m::JoinGroupRequest::default()
        .with_group_id(str(group).into())
        .with_member_id(str(id))
        .with_protocol_type(str("consumer"))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocols(vec![protocol]);
    let out = machine.ask(0, 9, Command::JoinGroup(request));
    match out.replies.into_iter().next() {
        Some((_, Reply::JoinGroup(r))) => (r.error_code, r.member_id.to_string()),
        None => (0, id.to_string()),
        Some((_, other)) => panic!("{other:?}"),
    }
}

#[test]
fn promised_ids_of_all_groups_have_a_limit_at_which_the_oldest_goes() {
    const REQUIRED: i16 = 79;
    const UNKNOWN: i16 = 25;
    let mut machine = Machine::new(GroupSettings::default(), Topics::two(), Draw::new(1));
    let name = |n: usize| format!("{n:0>1000}");
    let (_, redeemed) = join(&mut machine, "redeemed", "");
    assert_eq!(join(&mut machine, "redeemed", &redeemed).0, 0);
    let (_, first) = join(&mut machine, "first", "");
    let groups = PROMISED_BYTES_MAX / 1000;
    let told: Vec<_> = (0..groups).map(|n| join(&mut machine, &name(n), "")).collect();
    assert!(told.iter().all(|(code, _)| *code == REQUIRED));
    while machine.next_due(machine.now.mono).is_some() {}

    assert_eq!(join(&mut machine, "first", &first).0, UNKNOWN, "the oldest was forgotten");
    let kept = machine.groups.live.values().map(|live| live.pending.len()).sum::<usize>();
    assert!(kept * 1000 <= PROMISED_BYTES_MAX && kept > groups * 4 / 5, "{kept} of {groups}");
    let (_, last) = told.last().unwrap();
    assert_eq!(join(&mut machine, &name(groups - 1), last).0, 0, "the latest still holds");
    assert_eq!(machine.groups.hard.classic("redeemed").map(|group| group.members.len()), Some(1), "members stay");

    machine.wait_until(MonoMs(120_000));
    join(&mut machine, "much later", "");
    assert_eq!(machine.groups.promises.len(), 1, "what is over takes no memory");
}
