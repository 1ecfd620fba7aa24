//! What is on the wire and on the disk: answers at every version, golden bytes of records, keys, bounded reading.

use std::ops::RangeInclusive;

use kafka_protocol::messages as m;
use kafka_protocol::protocol::Decodable;
use pyralog_protocol::{Draw, Now, TopicId, kafka_protocol};

use super::super::consumer::{ClassicSide, ConsumerHead, Current, MemberState, Subscriber};
use super::super::record::{Blob, Committed, GroupHead, GroupRecord, MemberJoin, Stage};
use super::super::subscription::{ConsumerSubscription, encode_assignment, read_assignment, subscribed_topics};
use super::super::{GroupSettings, Groups};
use super::{Topics, check, encode, str, subscription};
use crate::command::{Command, Context, Reply, Token};
use crate::effects::Effects;
use crate::record::{Family, Placement, Record};

/// A group with a static leader and offsets, stable.
fn stable() -> Groups {
    let mut groups = Groups::new(GroupSettings { initial_rebalance_delay_ms: 0, ..GroupSettings::default() });
    ask(&mut groups, 5, Command::JoinGroup(join("", Some("s"))));
    let member = groups.hard.classic("g").unwrap().members.keys().next().unwrap().clone();
    let share = m::sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(str(&member))
        .with_assignment("A".into());
    let sync = m::SyncGroupRequest::default()
        .with_group_id(str("g").into())
        .with_member_id(str(&member))
        .with_generation_id(1)
        .with_protocol_type(Some(str("consumer")))
        .with_protocol_name(Some(str("range")))
        .with_assignments(vec![share]);
    ask(&mut groups, 5, Command::SyncGroup(sync));
    groups
}

fn join(member: &str, instance: Option<&str>) -> m::JoinGroupRequest {
    let protocol =
        m::join_group_request::JoinGroupRequestProtocol::default().with_name(str("range")).with_metadata("x".into());
    m::JoinGroupRequest::default()
        .with_group_id(str("g").into())
        .with_member_id(str(member))
        .with_group_instance_id(instance.map(str))
        .with_session_timeout_ms(6000)
        .with_rebalance_timeout_ms(6000)
        .with_protocol_type(str("consumer"))
        .with_protocols(vec![protocol])
}

fn consumer_join(group: &str) -> m::ConsumerGroupHeartbeatRequest {
    m::ConsumerGroupHeartbeatRequest::default()
        .with_group_id(str(group).into())
        .with_member_id(str("member"))
        .with_rebalance_timeout_ms(6000)
        .with_subscribed_topic_names(Some(vec![str("t").into()]))
        .with_topic_partitions(Some(vec![]))
}

fn ask(groups: &mut Groups, version: i16, command: Command) -> Reply {
    let ctx = Context {
        token: Token(0),
        api_version: version,
        client_id: "client".to_string(),
        client_host: "/127.0.0.1".to_string(),
        draw: Draw::new(groups.hard.groups.len() as u128),
        no_room: None,
    };
    let mut out = Effects::default();
    groups.handle(&ctx, command, &Topics::two(), Now::default(), &mut out);
    assert_eq!(out.replies.len(), 1, "answered at once");
    out.replies.pop().unwrap().1
}

/// What is decoded at the version is what was answered: no field was set that the version lacks.
fn exact(versions: RangeInclusive<i16>, command: impl Fn(&str) -> Command) {
    for version in versions {
        let mut groups = stable();
        let member = groups.hard.classic("g").unwrap().members.keys().next().unwrap().clone();
        let reply = ask(&mut groups, version, command(&member));
        let mut bytes = encode(&reply, version);
        let again = match &reply {
            Reply::JoinGroup(_) => Reply::JoinGroup(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::SyncGroup(_) => Reply::SyncGroup(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::Heartbeat(_) => Reply::Heartbeat(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::LeaveGroup(_) => Reply::LeaveGroup(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::OffsetCommit(_) => Reply::OffsetCommit(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::OffsetFetch(_) => Reply::OffsetFetch(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::OffsetDelete(_) => Reply::OffsetDelete(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::DescribeGroups(_) => Reply::DescribeGroups(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::ListGroups(_) => Reply::ListGroups(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::DeleteGroups(_) => Reply::DeleteGroups(Decodable::decode(&mut bytes, version).unwrap()),
            Reply::ConsumerGroupHeartbeat(_) => {
                Reply::ConsumerGroupHeartbeat(Decodable::decode(&mut bytes, version).unwrap())
            }
            Reply::ConsumerGroupDescribe(_) => {
                Reply::ConsumerGroupDescribe(Decodable::decode(&mut bytes, version).unwrap())
            }
            other => panic!("not an answer of this machine: {other:?}"),
        };
        assert_eq!(format!("{reply:?}"), format!("{again:?}"), "v{version}");
        assert!(bytes.is_empty(), "v{version}: bytes are left");
    }
}

#[test]
fn every_answer_fits_every_version_it_is_given_in() {
    let offset = || m::offset_commit_request::OffsetCommitRequestPartition::default().with_committed_offset(3);
    let group = || m::GroupId::from(str("g"));
    let unknown = || m::GroupId::from(str("unknown"));
    exact(0..=9, |member| Command::JoinGroup(join(member, Some("s"))));
    exact(0..=9, |_| Command::JoinGroup(join("stranger", None)));
    exact(5..=9, |_| Command::JoinGroup(join("", Some("s"))));
    for member in [Some("stranger"), None] {
        let id = |own: &str| str(member.unwrap_or(own));
        exact(0..=5, |own| {
            let request = m::SyncGroupRequest::default().with_group_id(group()).with_generation_id(1);
            Command::SyncGroup(request.with_member_id(id(own)))
        });
        exact(0..=4, |own| {
            let request = m::HeartbeatRequest::default().with_group_id(group()).with_generation_id(1);
            Command::Heartbeat(request.with_member_id(id(own)))
        });
        exact(0..=5, |own| {
            let one = m::leave_group_request::MemberIdentity::default().with_member_id(id(own));
            let request = m::LeaveGroupRequest::default().with_group_id(group()).with_members(vec![one]);
            Command::LeaveGroup(request.with_member_id(id(own)))
        });
        exact(2..=9, |own| {
            let topic = m::offset_commit_request::OffsetCommitRequestTopic::default()
                .with_name(str("t").into())
                .with_partitions(vec![offset(), offset().with_partition_index(9)]);
            let request = m::OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]);
            Command::OffsetCommit(request.with_member_id(id(own)).with_generation_id_or_member_epoch(1))
        });
    }
    exact(1..=9, |_| {
        let old = m::offset_fetch_request::OffsetFetchRequestTopic::default().with_partition_indexes(vec![0]);
        let new = m::offset_fetch_request::OffsetFetchRequestTopics::default().with_partition_indexes(vec![0]);
        let each = m::offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group());
        let request = m::OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![old]));
        Command::OffsetFetch(request.with_groups(vec![each.with_topics(Some(vec![new]))]))
    });
    exact(0..=0, |_| Command::OffsetDelete(m::OffsetDeleteRequest::default().with_group_id(group())));
    exact(0..=6, |_| {
        let request = m::DescribeGroupsRequest::default().with_groups(vec![group(), unknown()]);
        Command::DescribeGroups(request.with_include_authorized_operations(true))
    });
    exact(0..=1, |_| Command::ConsumerGroupHeartbeat(m::ConsumerGroupHeartbeatRequest::default()));
    for group in ["new", "g"] {
        exact(0..=1, |_| Command::ConsumerGroupHeartbeat(consumer_join(group)));
        exact(0..=1, |_| {
            let groups = ["new", group, "unknown", ""].map(|name| str(name).into()).to_vec();
            Command::ConsumerGroupDescribe(m::ConsumerGroupDescribeRequest::default().with_group_ids(groups))
        });
    }
    exact(0..=5, |_| Command::ListGroups(m::ListGroupsRequest::default()));
    exact(0..=2, |_| {
        Command::DeleteGroups(m::DeleteGroupsRequest::default().with_groups_names(vec![group(), unknown()]))
    });
}

#[test]
fn g04_member_ids_are_client_or_instance_and_a_uuid() {
    let groups = stable();
    let id = groups.hard.classic("g").unwrap().members.keys().next().unwrap();
    let uuid = id.strip_prefix("s-").unwrap();
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    let mut groups = Groups::new(GroupSettings::default());
    let Reply::JoinGroup(r) = ask(&mut groups, 4, Command::JoinGroup(join("", None))) else { panic!("not a join") };
    assert!(r.member_id.starts_with("client-") && r.member_id.len() == 7 + 36, "{}", r.member_id.as_str());
}

#[test]
fn g04_equal_randomness_does_not_make_equal_ids() {
    let mut groups = Groups::new(GroupSettings::default());
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let ctx = Context {
            token: Token(0),
            api_version: 9,
            client_id: "client".to_string(),
            client_host: String::new(),
            draw: Draw::new(1),
            no_room: None,
        };
        let mut out = Effects::default();
        groups.handle(&ctx, Command::JoinGroup(join("", None)), &Topics::two(), Now::default(), &mut out);
        let Some((_, Reply::JoinGroup(r))) = out.replies.pop() else { panic!("not a join") };
        ids.insert(r.member_id.to_string());
    }
    assert_eq!(ids.len(), 3);
}

#[test]
fn g08_the_protocol_name_is_null_on_errors_from_v7_and_empty_before() {
    for version in 0..=9 {
        let reply = ask(&mut stable(), version, Command::JoinGroup(join("stranger", None)));
        let Reply::JoinGroup(r) = reply else { panic!("not a join") };
        assert_eq!(r.protocol_name.is_none(), version >= 7, "v{version}");
        assert_eq!((r.generation_id, r.error_code, r.member_id.as_str()), (-1, 25, "stranger"));
    }
}

#[test]
fn g08_the_protocol_type_is_there_from_v7_on_and_instances_from_v5_on() {
    for version in 5..=9 {
        let mut groups = stable();
        let member = groups.hard.classic("g").unwrap().members.keys().next().unwrap().clone();
        groups.apply(&GroupRecord::Head {
            group: "g".to_string(),
            head: GroupHead { stage: Stage::CompletingRebalance, ..groups.hard.classic("g").unwrap().head.clone() },
        });
        let Reply::JoinGroup(r) = ask(&mut groups, version, Command::JoinGroup(join(&member, Some("s")))) else {
            panic!("not a join")
        };
        assert_eq!(r.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!(r.members[0].group_instance_id.as_deref(), Some("s"));
        assert_eq!(&*r.members[0].metadata, b"x");
    }
}

#[test]
fn g19_the_description_names_client_host_and_operations() {
    let request = m::DescribeGroupsRequest::default().with_groups(vec![str("g").into()]);
    let request = Command::DescribeGroups(request.with_include_authorized_operations(true));
    let Reply::DescribeGroups(r) = ask(&mut stable(), 6, request) else { panic!("not a description") };
    let member = &r.groups[0].members[0];
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("client", "/127.0.0.1"));
    assert_eq!((&*member.member_metadata, &*member.member_assignment), (&b"x"[..], &b"A"[..]));
    assert_eq!(member.group_instance_id.as_deref(), Some("s"));
    assert_eq!(r.groups[0].authorized_operations, 3400);
    assert_eq!(r.groups[0].error_message, None);
}

fn samples() -> Vec<GroupRecord> {
    let mut samples = classic_samples();
    samples.extend(consumer_samples());
    samples
}

fn classic_samples() -> Vec<GroupRecord> {
    let group = || "g".to_string();
    let member = || "m".to_string();
    let topic = || "t".to_string();
    vec![
        GroupRecord::Head {
            group: group(),
            head: GroupHead {
                protocol_type: Some("consumer".to_string()),
                generation: 3,
                leader: Some(member()),
                protocol: Some("range".to_string()),
                stage: Stage::Stable,
                since_ms: 1_700_000_000_000,
            },
        },
        GroupRecord::Member {
            group: group(),
            member: member(),
            join: MemberJoin {
                instance: Some("i".to_string()),
                client_id: "c".to_string(),
                client_host: "/::1".to_string(),
                session_timeout_ms: 45_000,
                rebalance_timeout_ms: -1,
                protocols: vec![("range".to_string(), Blob::copy_of(&[0, 255]))],
            },
        },
        GroupRecord::Assignment { group: group(), member: member(), assignment: Blob::copy_of(b"A") },
        GroupRecord::MemberRemoved { group: group(), member: member() },
        GroupRecord::Offset {
            group: group(),
            topic: topic(),
            partition: 2,
            committed: Committed {
                offset: -5,
                leader_epoch: 7,
                metadata: "text".to_string(),
                commit_ms: 1_700_000_000_000,
                expire_ms: Some(1),
            },
        },
        GroupRecord::OffsetRemoved { group: group(), topic: topic(), partition: 2 },
        GroupRecord::TopicRemoved { group: group(), topic: topic() },
        GroupRecord::GroupRemoved { group: group() },
    ]
}

fn consumer_samples() -> Vec<GroupRecord> {
    let group = || "g".to_string();
    let member = || "m".to_string();
    vec![
        GroupRecord::MembersRemoved { group: group() },
        GroupRecord::ConsumerHead {
            group: group(),
            head: ConsumerHead { epoch: 3, assignment_epoch: 2, topics_hash: 1 << 63, empty_since_ms: 5 },
        },
        GroupRecord::ConsumerMember {
            group: group(),
            member: member(),
            about: Subscriber {
                instance: Some("i".to_string()),
                rack: Some("r".to_string()),
                client_id: "c".to_string(),
                client_host: "/::1".to_string(),
                rebalance_timeout_ms: 60_000,
                topics: ["t".to_string(), "u".to_string()].into(),
                pattern: Some(".*".to_string()),
                assignor: Some("range".to_string()),
                classic: Some(ClassicSide {
                    session_timeout_ms: 45_000,
                    protocols: vec![("range".to_string(), Blob::copy_of(&[0, 255]))],
                }),
            },
        },
        GroupRecord::Target {
            group: group(),
            member: member(),
            partitions: [(TopicId([7; 16]), 2)].into_iter().collect(),
        },
        GroupRecord::Current {
            group: group(),
            member: member(),
            current: Current {
                epoch: 3,
                previous: 2,
                state: MemberState::Unrevoked,
                assigned: [(TopicId([7; 16]), 2, 1)].into_iter().collect(),
                revoking: [(TopicId([8; 16]), 0, 2)].into_iter().collect(),
            },
        },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What is on disk. A change here needs a migration and a commit that says why.
#[test]
fn golden_bytes_of_records_and_keys() {
    let mut shown = String::new();
    for record in samples() {
        let bytes = postcard::to_allocvec(&record).unwrap();
        assert_eq!(postcard::from_bytes::<GroupRecord>(&bytes).unwrap(), record);
        let (kind, key) = match record.placement() {
            Placement::Put(Family::Groups, key) => ("put", key),
            Placement::Delete(Family::Groups, key) => ("delete", key),
            Placement::DeletePrefix(Family::Groups, key) => ("prefix", key),
            other => panic!("another family: {other:?}"),
        };
        shown.push_str(&format!("{kind} {} {}\n", hex(&key), hex(&bytes)));
    }
    expect_test::expect![[r#"
        put 00016700 0001670108636f6e73756d65720601016d010572616e67650380a0abfef962
        put 0001670100016d00 010167016d0101690163042f3a3a3190bf0501010572616e67650200ff
        put 0001670100016d01 020167016d0141
        prefix 0001670100016d 030167016d
        put 0001670200017400000002 040167017404090e047465787480a0abfef9620102
        delete 0001670200017400000002 050167017404
        prefix 00016702000174 0601670174
        prefix 000167 070167
        prefix 00016701 080167
        put 00016700 0901670604808080808080808080010a
        put 0001670100016d00 0a0167016d0101690101720163042f3a3a31c0a907020174017501022e2a010572616e67650190bf05010572616e67650200ff
        put 0001670100016d02 0b0167016d01070707070707070707070707070707070104
        put 0001670100016d03 0c0167016d06040101070707070707070707070707070707070104020108080808080808080808080808080808010004
    "#]]
    .assert_eq(&shown);
}

#[test]
fn keys_of_one_group_are_no_prefix_of_another_one() {
    let prefix = |group: &str| match (GroupRecord::GroupRemoved { group: group.to_string() }).placement() {
        Placement::DeletePrefix(_, key) => key,
        other => panic!("{other:?}"),
    };
    for record in samples() {
        let key = match record.placement() {
            Placement::Put(_, key) | Placement::Delete(_, key) | Placement::DeletePrefix(_, key) => key,
        };
        assert!(key.starts_with(&prefix("g")));
        assert!(!key.starts_with(&prefix("")) && !key.starts_with(&prefix("g\u{0}")));
    }
    assert!(!prefix("gg").starts_with(&prefix("g")));
}

#[test]
fn a_small_value_does_not_pin_the_frame_it_came_in() {
    let frame = bytes::Bytes::from(vec![0; 1 << 20]);
    let small = frame.slice(0..10);
    let blob = Blob::copy_of(&small);
    drop(small);
    assert!(frame.try_into_mut().is_ok(), "nobody else holds the frame");
    assert_eq!(blob.as_slice().len(), 10);
}

#[test]
fn se01_hostile_subscriptions_cost_nothing() {
    let topics = subscribed_topics;
    assert_eq!(topics(&subscription(&["t", "u"])), Some(vec!["t", "u"]));
    assert_eq!(topics(&[]), None);
    assert_eq!(topics(&[0, 1, 0x7f, 0xff, 0xff, 0xff]), None);
    assert_eq!(topics(&[0, 1, 0xff, 0xff, 0xff, 0xff]), None);
    assert_eq!(topics(&[0xff, 0xff, 0, 0, 0, 0]), None);
    assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0xff, 0xff]), None);
    assert_eq!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff]), None);
    assert_eq!(topics(&[0, 0, 0, 0, 0, 0]), Some(vec![]));
    // Every prefix of a whole subscription and of an assignment is refused or read, and nothing else.
    let metadata = super::subscription_owning(&["t", "u"], "t:0+1,u:2");
    let whole = ConsumerSubscription::read(&metadata).unwrap();
    assert_eq!((whole.topics.len(), whole.owned.len(), whole.owned[0].1.as_slice()), (2, 2, &[0, 1][..]));
    let assignment = encode_assignment(3, &[("t", vec![0, 1]), ("u", vec![])]);
    let (named, user_data) = read_assignment(&assignment).unwrap();
    assert_eq!((named.len(), user_data), (2, false));
    for end in 0..metadata.len() {
        assert_eq!(ConsumerSubscription::read(&metadata[..end]), None);
    }
    for end in 0..assignment.len() {
        assert_eq!(read_assignment(&assignment[..end]), None);
    }
    for at in 2..6 {
        let mut lies = metadata.to_vec();
        lies[at] = 0x7f;
        ConsumerSubscription::read(&lies);
    }
}

#[test]
fn e01_a_refusal_is_in_every_item() {
    check("m1 commit id=stranger gen=4 v8 t:0=1 t:1=1 u:0=1 -> t:0 22, t:1 22, u:0 22");
}

/// A commit touches its own keys only, and no member of the group: one record per partition, whatever the group's size.
#[test]
fn a_commit_writes_one_record_per_partition() {
    let mut groups = stable();
    let member = groups.hard.classic("g").unwrap().members.keys().next().unwrap().clone();
    let partition = |i| m::offset_commit_request::OffsetCommitRequestPartition::default().with_partition_index(i);
    let topic = m::offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(str("t").into())
        .with_partitions(vec![partition(0), partition(1)]);
    let request = m::OffsetCommitRequest::default()
        .with_group_id(str("g").into())
        .with_member_id(str(&member))
        .with_generation_id_or_member_epoch(1)
        .with_topics(vec![topic]);
    let ctx = Context {
        token: Token(0),
        api_version: 9,
        client_id: String::new(),
        client_host: String::new(),
        draw: Draw::new(1),
        no_room: None,
    };
    let mut out = Effects::default();
    groups.handle(&ctx, Command::OffsetCommit(request), &Topics::two(), Now::default(), &mut out);
    assert_eq!(out.records.len(), 1, "one atomic set");
    assert!(out.records[0].iter().all(|r| matches!(r, Record::Group(GroupRecord::Offset { .. }))));
    assert_eq!(out.records[0].len(), 2);
}
