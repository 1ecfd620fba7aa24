//! Section G, classic groups: one test per numbered statement, named after it.
//!
//! G1 as Apache Kafka does it is not tested (Pyralog is ready at once); G23 needs two nodes.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::conn::{PATIENCE, SOON};
use pyralog_compat_tests::groups::{
    Member, commit_request, group_id, heartbeat_request, join_request, leader_sync, protocol, subscription,
    sync_request,
};
use pyralog_compat_tests::{BrokerOptions, Conn, Target, on_kafka, private, shared, text, unique};

/// A connection and a new group.
fn start() -> (Target, Conn, String) {
    let target = shared();
    let mut conn = target.connect();
    let group = conn.new_group("g");
    (target, conn, group)
}

/// Two members in a stable group: the leader first.
struct Pair {
    leader: Conn,
    first: Member,
    follower: Conn,
    second: Member,
    joined: JoinGroupResponse,
    followed: JoinGroupResponse,
}

/// Two members have joined; the leader has not synced yet.
fn completing(target: &Target, group: &str, request: &JoinGroupRequest) -> Pair {
    let (mut leader, mut follower) = (target.connect(), target.connect());
    let first = leader.join_alone(request);
    let second = follower.send_join(request);
    let again = request.clone().with_member_id(text(&first.id));
    eventually("the join of the second is seen", || (leader.heartbeat(&first) == 27).then_some(()));
    let joined = leader.join(&again);
    let followed = follower.receive::<JoinGroupRequest>(9, second);
    assert_eq!((joined.error_code, followed.error_code), (0, 0), "{joined:?} {followed:?}");
    assert_eq!(joined.leader, joined.member_id);
    let member = |response: &JoinGroupResponse| Member {
        group: group.to_owned(),
        id: response.member_id.to_string(),
        generation: response.generation_id,
    };
    Pair { first: member(&joined), second: member(&followed), leader, follower, joined, followed }
}

fn stable(target: &Target, group: &str) -> Pair {
    let mut pair = completing(target, group, &join_request(group, ""));
    let synced = pair.leader.sync(&leader_sync(group, &pair.joined, "for"));
    assert_eq!(synced.error_code, 0, "{synced:?}");
    let synced = pair.follower.sync(&sync_request(group, pair.second.generation, &pair.second.id));
    assert_eq!(synced.assignment, format!("for {}", pair.second.id));
    pair
}

fn state(described: &DescribedGroup) -> (i16, &str, usize) {
    (described.error_code, described.group_state.as_str(), described.members.len())
}

#[test]
fn g01_pyralog_coordinator_is_ready_at_once() {
    let Some(broker) = private(BrokerOptions::new().set("group.initial.rebalance.delay.ms", "0")) else { return };
    let mut conn = broker.connect();
    let group = unique("g");
    let found = conn.call(3, &FindCoordinatorRequest::default().with_key(text(&group)));
    assert_eq!(found.error_code, 0, "{found:?}");
    conn.join_alone(&join_request(&group, ""));
}

#[test]
fn g02_find_coordinator_single_and_batched() {
    let (_target, mut conn, group) = start();
    let address = conn.peer();
    for version in 0..=3 {
        let found = conn.call(version, &FindCoordinatorRequest::default().with_key(text(&group)));
        assert_eq!(found.error_code, 0, "v{version} {found:?}");
        assert_eq!((found.host.as_str(), found.port), (&*address.ip().to_string(), i32::from(address.port())));
        // Null, empty and "NONE" are all in use, and clients take either (E4).
        assert!(found.error_message.is_none_or(|m| m.is_empty() || m.as_str() == "NONE"), "v{version}");
    }
    let second = conn.new_group("g");
    for version in 4..=6 {
        let keys = [&*group, &*second, ""].map(text).to_vec();
        let found = conn.call(version, &FindCoordinatorRequest::default().with_coordinator_keys(keys.clone()));
        assert_eq!(found.coordinators.iter().map(|c| c.key.clone()).collect::<Vec<_>>(), keys, "v{version}");
        assert!(found.coordinators.iter().all(|c| c.error_code == 0 && c.port > 0), "v{version} {found:?}");
        let none = conn.call(version, &FindCoordinatorRequest::default());
        assert!(none.coordinators.is_empty() && none.error_code == 0, "v{version} {none:?}");
        let share =
            FindCoordinatorRequest::default().with_key_type(2).with_coordinator_keys(vec![text("no-share-key")]);
        let unknown = share.clone().with_key_type(7);
        for request in [share, unknown] {
            let found = conn.call(version, &request);
            assert_eq!(found.coordinators[0].error_code, 42, "v{version} {request:?} {found:?}");
            assert_eq!(found.coordinators[0].node_id.0, -1, "v{version} {found:?}");
        }
    }
}

#[test]
fn g03_member_id_required_from_v4() {
    let (_target, mut conn, group) = start();
    for version in 4..=9 {
        let refused = conn.call(version, &join_request(&group, ""));
        assert_eq!(refused.error_code, 79, "v{version}");
        assert!(!refused.member_id.is_empty(), "v{version}");
        assert_eq!(conn.call(4, &heartbeat_request(&group, 1, &refused.member_id)).error_code, 25, "v{version}");
        let described = conn.describe_group(&group);
        assert!(matches!(state(&described), (0, "Empty", 0) | (69, "Dead", 0)), "v{version} {described:?}");
        let left = conn.leave(&group, &[&refused.member_id]);
        assert_eq!((left.error_code, left.members[0].error_code), (0, 0), "v{version} {left:?}");
    }
    for version in 0..=3 {
        let group = conn.new_group("g");
        let joined = conn.call(version, &join_below_v1(version, &join_request(&group, "")));
        assert_eq!(joined.error_code, 0, "v{version} {joined:?}");
        assert_eq!(joined.leader, joined.member_id, "v{version}");
    }
    for version in 5..=9 {
        let group = conn.new_group("g");
        let joined = conn.call(version, &join_request(&group, "").with_group_instance_id(Some(text("instance"))));
        assert_eq!(joined.error_code, 0, "v{version} {joined:?}");
    }
}

/// v0 has no rebalance timeout.
fn join_below_v1(version: i16, request: &JoinGroupRequest) -> JoinGroupRequest {
    let rebalance = if version == 0 { -1 } else { request.rebalance_timeout_ms };
    request.clone().with_rebalance_timeout_ms(rebalance)
}

#[test]
fn g04_member_ids_carry_client_or_instance_id() {
    let (_target, mut conn, group) = start();
    conn.client_id = Some("my-client".to_owned());
    let member = conn.join_alone(&join_request(&group, ""));
    let instance = conn.join(&join_request(&unique("g"), "").with_group_instance_id(Some(text("my-instance"))));
    for (id, prefix) in [(member.id.as_str(), "my-client-"), (instance.member_id.as_str(), "my-instance-")] {
        let uuid = id.strip_prefix(prefix).unwrap_or_else(|| panic!("{id} begins with {prefix}"));
        assert!(uuid::Uuid::parse_str(uuid).is_ok() && uuid.len() == 36, "{id}");
    }
}

#[test]
fn g05_join_is_refused_for_bad_timeouts_names_and_protocols() {
    let (target, mut conn, group) = start();
    let good = join_request(&group, "");
    let cases = [
        (26, good.clone().with_session_timeout_ms(5_999)),
        (26, good.clone().with_session_timeout_ms(1_800_001)),
        (26, good.clone().with_session_timeout_ms(-1)),
        (24, good.clone().with_group_id(group_id(""))),
        (23, good.clone().with_protocols(vec![])),
        (23, good.clone().with_protocol_type(text(""))),
        (25, good.clone().with_member_id(text("stranger"))),
    ];
    for (error, request) in cases {
        for version in [1, 3, 5, 9] {
            assert_eq!(conn.call(version, &request).error_code, error, "v{version} {request:?}");
        }
    }
    let mut member = target.connect();
    member.join_alone(&good);
    for request in [
        good.clone().with_protocol_type(text("connect")),
        good.clone().with_protocols(vec![protocol("roundrobin", "")]),
    ] {
        for version in [2, 9] {
            assert_eq!(conn.call(version, &request).error_code, 23, "v{version} {request:?}");
        }
    }
}

#[test]
fn g06_same_protocol_twice() {
    let (_target, mut conn, group) = start();
    let request = join_request(&group, "").with_protocols(vec![protocol("range", "a"), protocol("range", "b")]);
    if on_kafka() {
        conn.send(3, &request);
        conn.expect_silence(Duration::from_secs(2));
    } else {
        for version in [3, 9] {
            assert_eq!(conn.call(version, &request).error_code, 23, "v{version}");
        }
    }
}

#[test]
fn g07_rebalance_timeout_zero_and_negative_are_accepted() {
    let (_target, mut conn, _) = start();
    for timeout in [0, -1] {
        let group = conn.new_group("g");
        // Whoever has no time to sync is gone at once (G12), so only the join counts here.
        let joined = conn.join(&join_request(&group, "").with_rebalance_timeout_ms(timeout));
        assert_eq!(joined.error_code, 0, "{joined:?}");
    }
    let group = conn.new_group("g");
    let joined = conn.call(0, &join_below_v1(0, &join_request(&group, "")));
    assert_eq!(joined.error_code, 0, "{joined:?}");
}

#[test]
fn g08_only_the_leader_sees_the_members() {
    let (target, mut conn, group) = start();
    let pair = completing(&target, &group, &join_request(&group, ""));
    assert_eq!(pair.joined.members.len(), 2);
    assert!(pair.joined.members.iter().all(|m| m.metadata == subscription(&[], "metadata")));
    assert!(pair.followed.members.is_empty());
    assert_eq!(pair.followed.leader, pair.joined.member_id);
    for answer in [&pair.joined, &pair.followed] {
        assert_eq!(answer.protocol_type, Some(text("consumer")));
        assert_eq!(answer.protocol_name, Some(text("range")));
    }
    for version in 0..=9 {
        let refused = conn.call(version, &join_below_v1(version, &join_request(&group, "stranger")));
        let expected = (version < 7).then(|| text(""));
        assert_eq!(
            (refused.error_code, refused.protocol_name, refused.generation_id),
            (25, expected, -1),
            "v{version}"
        );
        assert_eq!(refused.protocol_type, None, "v{version}");
    }
    let group = conn.new_group("g");
    let joined = conn.call(3, &join_request(&group, ""));
    assert_eq!((joined.protocol_type, joined.protocol_name), (None, Some(text("range"))), "no protocol type before v7");
}

#[test]
fn g09_first_join_waits_for_others() {
    let Some(broker) = private(BrokerOptions::new().set("group.initial.rebalance.delay.ms", "5000")) else { return };
    let (mut first, mut second) = (broker.connect(), broker.connect());
    let group = first.new_group("g");
    let began = Instant::now();
    let sent = first.send_join(&join_request(&group, ""));
    std::thread::sleep(Duration::from_millis(500));
    let joined = second.join(&join_request(&group, ""));
    let took = began.elapsed();
    assert_eq!((joined.error_code, first.receive::<JoinGroupRequest>(9, sent).error_code), (0, 0));
    assert!((Duration::from_millis(5400)..PATIENCE).contains(&took), "counted from the second member: {took:?}");
    assert_eq!(joined.generation_id, 1, "both in the first generation");

    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let group = conn.new_group("g");
    let began = Instant::now();
    conn.join(&join_request(&group, ""));
    let took = began.elapsed();
    assert!((Duration::from_millis(2900)..SOON).contains(&took), "3 s by default: {took:?}");
}

#[test]
fn g10_what_is_answered_during_a_rebalance() {
    let (target, mut conn, group) = start();
    let (name, _) = conn.new_topic("g10", 1, &[]);
    let first = conn.join_alone(&join_request(&group, ""));
    let mut other = target.connect();
    let sent = other.send_join(&join_request(&group, ""));
    eventually("PreparingRebalance", || (conn.heartbeat(&first) == 27).then_some(()));
    assert_eq!(conn.describe_group(&group).group_state.as_str(), "PreparingRebalance");
    assert_eq!(conn.sync(&sync_request(&group, first.generation, &first.id)).error_code, 27);
    assert_eq!(conn.commit_as(&first, &name, 5), 0, "the old generation may still commit");
    assert_eq!(conn.committed(&group, &name, 0).committed_offset, 5);

    let joined = conn.join(&join_request(&group, &first.id));
    other.receive::<JoinGroupRequest>(9, sent);
    assert_eq!(conn.describe_group(&group).group_state.as_str(), "CompletingRebalance");
    let first = Member { generation: joined.generation_id, ..first };
    assert_eq!(conn.heartbeat(&first), 0);
    assert_eq!(conn.commit_as(&first, &name, 6), 27);
    assert_eq!(conn.committed(&group, &name, 0).committed_offset, 5);
}

#[test]
fn g11_member_that_does_not_rejoin_in_time_is_removed() {
    let (target, mut conn, group) = start();
    // Its session would be over later.
    let request = join_request(&group, "").with_rebalance_timeout_ms(1500).with_session_timeout_ms(45_000);
    let first = conn.join_alone(&request);
    let mut other = target.connect();
    let began = Instant::now();
    let joined = other.join(&request);
    let took = began.elapsed();
    assert!((Duration::from_millis(1300)..SOON).contains(&took), "{took:?}");
    assert_eq!((joined.error_code, joined.members.len()), (0, 1), "{joined:?}");
    assert_eq!(conn.heartbeat(&first), 25);
    assert_eq!(conn.join(&join_request(&group, &first.id)).error_code, 25);
}

#[test]
fn g12_member_that_never_syncs_is_removed() {
    let (_target, mut conn, group) = start();
    let joined = conn.join(&join_request(&group, "").with_rebalance_timeout_ms(5000));
    assert_eq!(state(&conn.describe_group(&group)), (0, "CompletingRebalance", 1));
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(conn.describe_group(&group).members.len(), 1);
    eventually("the group is empty", || (state(&conn.describe_group(&group)) == (0, "Empty", 0)).then_some(()));
    assert_eq!(conn.call(4, &heartbeat_request(&group, joined.generation_id, &joined.member_id)).error_code, 25);
}

#[test]
fn g13_silent_member_is_removed_after_its_session() {
    let (_target, mut conn, group) = start();
    let request = join_request(&group, "").with_session_timeout_ms(10_000);
    let began = Instant::now();
    let member = conn.join_alone(&request);
    std::thread::sleep(Duration::from_millis(4000));
    assert_eq!(conn.describe_group(&group).members.len(), 1, "4 s of 10");
    eventually("the group is empty", || (state(&conn.describe_group(&group)) == (0, "Empty", 0)).then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(10), "after {:?}", began.elapsed());
    assert_eq!(conn.heartbeat(&member), 25);
    assert_eq!(conn.join(&request.with_member_id(text(&member.id))).error_code, 25);
}

#[test]
fn g14_which_joins_start_a_generation() {
    let (target, mut conn, group) = start();
    let joined = conn.join(&join_request(&group, ""));
    let id = joined.member_id.as_str();
    let again = conn.join(&join_request(&group, id));
    assert_eq!(again.generation_id, joined.generation_id, "identical in CompletingRebalance: the same generation");
    let changed = join_request(&group, id).with_protocols(vec![protocol("range", "changed")]);
    let next = conn.join(&changed);
    assert_eq!(next.generation_id, joined.generation_id + 1, "changed metadata in CompletingRebalance");
    assert_eq!(next.members[0].metadata, subscription(&[], "changed"));
    conn.sync(&leader_sync(&group, &next, "for"));
    let stable_again = conn.join(&changed);
    assert_eq!(stable_again.generation_id, next.generation_id + 1, "identical join of the leader in Stable");

    let group = conn.new_group("g");
    let mut pair = stable(&target, &group);
    let same = pair.follower.join(&join_request(&group, &pair.second.id));
    assert_eq!(same.generation_id, pair.second.generation, "identical join of a follower in Stable");
    let changed = join_request(&group, &pair.second.id).with_protocols(vec![protocol("range", "changed")]);
    let sent = pair.follower.send_join(&changed);
    eventually("a rebalance", || (pair.leader.heartbeat(&pair.first) == 27).then_some(()));
    let joined = pair.leader.join(&join_request(&group, &pair.first.id));
    assert_eq!(joined.generation_id, pair.first.generation + 1);
    assert_eq!(pair.follower.receive::<JoinGroupRequest>(9, sent).generation_id, joined.generation_id);
}

#[test]
fn g15_sync_group() {
    let (target, mut conn, group) = start();
    let mut pair = completing(&target, &group, &join_request(&group, ""));
    let good = sync_request(&group, pair.first.generation, &pair.first.id);
    let cases = [
        (22, good.clone().with_generation_id(pair.first.generation + 1)),
        (25, good.clone().with_member_id(text("stranger"))),
        (25, good.clone().with_group_id(group_id(&unique("unknown")))),
        (23, good.clone().with_protocol_type(None).with_member_id(text("stranger"))),
        (23, good.clone().with_protocol_name(None)),
        (23, good.clone().with_protocol_type(Some(text("connect")))),
        (23, good.clone().with_protocol_name(Some(text("roundrobin")))),
    ];
    for (error, request) in cases {
        assert_eq!(conn.sync(&request).error_code, error, "{request:?}");
    }
    let assigned = |bytes: &'static str| {
        vec![
            SyncGroupRequestAssignment::default()
                .with_member_id(text(&pair.first.id))
                .with_assignment(Bytes::from(bytes)),
        ]
    };
    let (only_the_leader, other) = (assigned("leader's"), assigned("other"));
    let waiting = pair.follower.send(5, &sync_request(&group, pair.second.generation, &pair.second.id));
    pair.follower.expect_silence(Duration::from_millis(300));
    let synced = pair.leader.sync(&good.clone().with_assignments(only_the_leader));
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"leader's"[..]));
    assert_eq!((synced.protocol_type, synced.protocol_name), (Some(text("consumer")), Some(text("range"))));
    let followed = pair.follower.receive::<SyncGroupRequest>(5, waiting);
    assert_eq!((followed.error_code, &followed.assignment[..]), (0, &b""[..]), "no assignment is empty bytes");
    let again = pair.leader.sync(&good.with_assignments(other));
    assert_eq!((again.error_code, &again.assignment[..]), (0, &b"leader's"[..]), "a second assignment is ignored");
}

#[test]
fn g16_heartbeat_errors() {
    let (_target, mut conn, group) = start();
    let member = conn.join_alone(&join_request(&group, ""));
    for version in 0..=4 {
        for (error, group, generation, id) in [
            (0, &*group, member.generation, &*member.id),
            (25, &*unique("unknown"), 1, &*member.id),
            (25, &*group, member.generation, "stranger"),
            (24, "", member.generation, &*member.id),
            (22, &*group, member.generation + 1, &*member.id),
            (22, &*group, member.generation - 1, &*member.id),
        ] {
            let found = conn.call(version, &heartbeat_request(group, generation, id)).error_code;
            assert_eq!(found, error, "v{version} {group} {generation} {id}");
        }
    }
}

#[test]
fn g17_leave_group() {
    let (target, mut conn, group) = start();
    let pair = stable(&target, &group);
    let left = conn.leave(&group, &["stranger", &pair.second.id]);
    let errors: Vec<(&str, i16)> = left.members.iter().map(|m| (m.member_id.as_str(), m.error_code)).collect();
    assert_eq!((left.error_code, errors), (0, vec![("stranger", 25), (pair.second.id.as_str(), 0)]));
    let mut leader = pair.leader;
    assert_eq!(leader.heartbeat(&pair.first), 27, "a leaving member starts a rebalance");

    let unknown = unique("unknown");
    conn.wait_for_coordinator(&unknown);
    for version in 3..=5 {
        let stranger = vec![MemberIdentity::default().with_member_id(text("stranger"))];
        let request = LeaveGroupRequest::default().with_group_id(group_id(&unknown)).with_members(stranger);
        let left = conn.call(version, &request);
        assert_eq!((left.error_code, left.members[0].error_code), (0, 25), "v{version}");
        let left = conn.call(version, &LeaveGroupRequest::default().with_group_id(group_id(&group)));
        assert_eq!((left.error_code, left.members.len()), (0, 0), "v{version}, empty list");
    }
    for version in 0..=2 {
        let leave = |id: &str| LeaveGroupRequest::default().with_group_id(group_id(&group)).with_member_id(text(id));
        assert_eq!(conn.call(version, &leave("stranger")).error_code, 25, "v{version}");
    }
    let leave = LeaveGroupRequest::default().with_group_id(group_id(&group)).with_member_id(text(&pair.first.id));
    assert_eq!(conn.call(1, &leave).error_code, 0);
    assert_eq!(state(&conn.describe_group(&group)), (0, "Empty", 0));
}

#[test]
fn g17_a_join_that_waits_is_told_that_its_member_left() {
    let (target, mut conn, group) = start();
    let mut pair = stable(&target, &group);
    let waits =
        pair.follower.send(9, &join_request(&group, &pair.second.id).with_protocols(vec![protocol("range", "new")]));
    eventually("the join is seen", || (pair.leader.heartbeat(&pair.first) == 27).then_some(()));
    assert_eq!(conn.leave(&group, &[&pair.second.id]).error_code, 0);
    let told = pair.follower.receive::<JoinGroupRequest>(9, waits);
    assert_eq!((told.error_code, told.member_id.as_str()), (25, ""), "it has no id any more");
}

#[test]
fn g18_static_members() {
    let (target, mut conn, group) = start();
    let (name, _) = conn.new_topic("g18", 1, &[]);
    let instance = |id: &str| join_request(&group, id).with_group_instance_id(Some(text("one")));
    let old = conn.join_alone(&instance(""));
    let rejoined = conn.join(&instance(""));
    assert_eq!(rejoined.error_code, 0, "{rejoined:?}");
    assert_ne!(rejoined.member_id.as_str(), old.id);
    assert_eq!((rejoined.generation_id, rejoined.skip_assignment), (old.generation, true));
    assert_eq!((&rejoined.leader, rejoined.members.len()), (&rejoined.member_id, 1), "as leader with the member list");
    let synced =
        conn.sync(&sync_request(&group, old.generation, &rejoined.member_id).with_group_instance_id(Some(text("one"))));
    assert_eq!(
        (synced.error_code, synced.assignment),
        (0, Bytes::from(format!("for {}", old.id))),
        "the old assignment"
    );

    let heartbeat = |id: &str, instance: &str| {
        heartbeat_request(&group, old.generation, id).with_group_instance_id(Some(text(instance)))
    };
    assert_eq!(conn.call(4, &heartbeat(&rejoined.member_id, "one")).error_code, 0);
    assert_eq!(conn.call(4, &heartbeat(&old.id, "one")).error_code, 82);
    assert_eq!(conn.call(4, &heartbeat(&rejoined.member_id, "unknown")).error_code, 25);
    assert_eq!(conn.join(&instance(&old.id)).error_code, 82);
    let commit = commit_request(&group, &[(&name, 0, 1)])
        .with_generation_id_or_member_epoch(old.generation)
        .with_member_id(text(&old.id))
        .with_group_instance_id(Some(text("one")));
    assert_eq!(conn.commit(&commit), 82);

    let by_instance = vec![MemberIdentity::default().with_group_instance_id(Some(text("one")))];
    let left = conn.call(5, &LeaveGroupRequest::default().with_group_id(group_id(&group)).with_members(by_instance));
    assert_eq!((left.error_code, left.members[0].error_code), (0, 0), "{left:?}");
    assert_eq!(state(&conn.describe_group(&group)), (0, "Empty", 0));
    let group = conn.new_group("g");
    let empty = target.connect().join(&join_request(&group, "").with_group_instance_id(Some(text(""))));
    assert_eq!(empty.error_code, 0, "an empty instance id is one too: {empty:?}");
}

#[test]
fn g19_describe_groups() {
    let (target, mut conn, group) = start();
    let unknown = unique("unknown");
    conn.wait_for_coordinator(&unknown);
    for version in 0..=6 {
        let asked = DescribeGroupsRequest::default().with_groups(vec![group_id(&unknown), group_id(&unknown)]);
        let answer = conn.call(version, &asked);
        assert_eq!(answer.groups.len(), 2, "v{version}: duplicates are answered twice");
        let first = &answer.groups[0];
        assert_eq!(state(first), (if version < 6 { 0 } else { 69 }, "Dead", 0), "v{version}");
        assert_eq!(first.error_message.is_some(), version >= 6, "v{version} {first:?}");
    }
    conn.client_id = Some("describer".to_owned());
    let member = conn.join_alone(&join_request(&group, ""));
    for version in 0..=6 {
        let answer = conn.call(version, &DescribeGroupsRequest::default().with_groups(vec![group_id(&group)]));
        let found = &answer.groups[0];
        assert_eq!(state(found), (0, "Stable", 1), "v{version}");
        assert_eq!((found.protocol_type.as_str(), found.protocol_data.as_str()), ("consumer", "range"), "v{version}");
        let one = &found.members[0];
        assert_eq!((one.member_id.as_str(), one.client_id.as_str()), (&*member.id, "describer"), "v{version}");
        assert_eq!(one.client_host.as_str(), "/127.0.0.1", "v{version}");
        assert_eq!(
            (&one.member_metadata, &one.member_assignment),
            (&subscription(&[], "metadata"), &Bytes::from(format!("for {}", member.id)))
        );
    }
    let asked = DescribeGroupsRequest::default().with_groups(vec![group_id(&group)]);
    assert_eq!(conn.call(5, &asked).groups[0].authorized_operations, i32::MIN);
    let asked = asked.with_include_authorized_operations(true);
    assert!(conn.call(5, &asked).groups[0].authorized_operations > 0);
    target.connect().leave(&group, &[&member.id]);
    let empty = conn.describe_group(&group);
    assert_eq!(
        (state(&empty), empty.protocol_type.as_str(), empty.protocol_data.as_str()),
        ((0, "Empty", 0), "consumer", "")
    );
}

/// The entry of `group` in a ListGroups answer.
fn listed(conn: &mut Conn, version: i16, group: &str, states: &[&str], types: &[&str]) -> Option<ListedGroup> {
    let words = |list: &[&str]| list.iter().map(|s| text(s)).collect();
    let request = ListGroupsRequest::default().with_states_filter(words(states)).with_types_filter(words(types));
    let answer = conn.call(version, &request);
    assert_eq!(answer.error_code, 0, "v{version} {states:?} {types:?}");
    answer.groups.into_iter().find(|g| g.group_id.as_str() == group)
}

#[test]
fn g20_list_groups() {
    let (_target, mut conn, group) = start();
    conn.join_alone(&join_request(&group, ""));
    let (name, _) = conn.new_topic("g20", 1, &[]);
    let offsets_only = conn.new_group("g");
    assert_eq!(conn.commit(&commit_request(&offsets_only, &[(&name, 0, 1)])), 0);
    for version in 0..=5 {
        let found = listed(&mut conn, version, &group, &[], &[]).unwrap();
        assert_eq!(found.protocol_type.as_str(), "consumer", "v{version}");
        assert_eq!(found.group_state.as_str(), if version < 4 { "" } else { "Stable" }, "v{version}");
        assert_eq!(found.group_type.as_str(), if version < 5 { "" } else { "classic" }, "v{version}");
        let found = listed(&mut conn, version, &offsets_only, &[], &[]).unwrap();
        assert_eq!(found.protocol_type.as_str(), "", "v{version}");
        assert_eq!(found.group_state.as_str(), if version < 4 { "" } else { "Empty" }, "v{version}");
    }
    for version in 4..=5 {
        assert!(
            listed(&mut conn, version, &group, &["sTABLE"], &[]).is_some(),
            "v{version}: case of states is ignored"
        );
        assert!(listed(&mut conn, version, &offsets_only, &["stable"], &[]).is_none(), "v{version}");
        assert!(listed(&mut conn, version, &group, &["nonsense"], &[]).is_none(), "v{version}: unknown state, error 0");
    }
    assert!(listed(&mut conn, 5, &group, &[], &["ClassiC"]).is_some(), "case of types is ignored");
    assert!(listed(&mut conn, 5, &group, &[], &["consumer"]).is_none());
}

#[test]
fn g21_delete_groups() {
    let (_target, mut conn, group) = start();
    let (name, _) = conn.new_topic("g21", 1, &[]);
    let unknown = unique("unknown");
    conn.wait_for_coordinator(&unknown);
    for version in 0..=2 {
        let member = conn.join_alone(&join_request(&group, ""));
        assert_eq!(conn.commit_as(&member, &name, 7), 0);
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(&group), group_id(&unknown)]);
        let errors = |conn: &mut Conn| {
            let answer = conn.call(version, &request);
            let error =
                |wanted: &str| answer.results.iter().find(|r| r.group_id.as_str() == wanted).unwrap().error_code;
            (error(&group), error(&unknown))
        };
        assert_eq!(errors(&mut conn), (68, 69), "v{version}");
        conn.leave(&group, &[&member.id]);
        assert_eq!(conn.committed(&group, &name, 0).committed_offset, 7);
        assert_eq!(errors(&mut conn), (0, 69), "v{version}");
        assert_eq!(conn.committed(&group, &name, 0).committed_offset, -1, "v{version}");
        assert_eq!(errors(&mut conn), (69, 69), "v{version}");
    }
}

#[test]
fn g22_group_that_only_holds_offsets_can_be_joined() {
    let (_target, mut conn, group) = start();
    let (name, _) = conn.new_topic("g22", 1, &[]);
    assert_eq!(conn.commit(&commit_request(&group, &[(&name, 0, 3)])), 0);
    let member = conn.join_alone(&join_request(&group, ""));
    assert_eq!(conn.committed(&group, &name, 0).committed_offset, 3);
    assert_eq!(conn.commit_as(&member, &name, 4), 0);
}
