//! How long the lock of all sessions is held; what sessions do is in `node/tests/node/sessions.rs`.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use pyralog_protocol::kafka_protocol;
use uuid::Uuid;

use super::*;

fn request(epoch: i32, id: i32) -> FetchRequest {
    FetchRequest::default().with_session_id(id).with_session_epoch(epoch)
}

/// A session with one partition each of so many topics.
fn large(topics: u128) -> (Sessions, Plan, Vec<Uuid>) {
    let mut sessions = Sessions::new(10, usize::MAX, Draw::new(1));
    let ids: Vec<Uuid> = (1..=topics).map(Uuid::from_u128).collect();
    let part = FetchPartition::default().with_partition(0);
    let all = ids.iter().map(|id| FetchTopic::default().with_topic_id(*id).with_partitions(vec![part.clone()]));
    let plan = sessions.plan(Asked::of(&request(INITIAL, 0).with_topics(all.collect()), true), MonoMs(0)).unwrap();
    (sessions, plan, ids)
}

/// A few hundred times what it takes, and a tenth of what it took to compare each with each.
#[expect(clippy::disallowed_types, reason = "a test of how long something takes")]
fn quickly<T>(work: impl FnOnce() -> T) -> T {
    let begun = std::time::Instant::now();
    let done = work();
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "it took {:?}", begun.elapsed());
    done
}

#[test]
fn many_topics_are_forgotten_in_one_go() {
    let (mut sessions, plan, ids) = large(200_000);
    let forgotten = ids.iter().skip(1).map(|id| ForgottenTopic::default().with_topic_id(*id).with_partitions(vec![0]));
    let less = request(1, plan.session_id).with_forgotten_topics_data(forgotten.collect());
    let left = quickly(|| sessions.plan(Asked::of(&less, true), MonoMs(0))).unwrap();
    assert_eq!(left.positions.len(), 1);
    assert_eq!(left.positions.first().map(|(key, _)| key), plan.positions.first().map(|(key, _)| key));
    assert_eq!(sessions.bytes, PARTITION_BYTES);
}

#[test]
fn an_answer_in_another_order_than_the_session_is_noted_in_one_go() {
    let (mut sessions, mut plan, _) = large(200_000);
    plan.positions.reverse();
    plan.incremental = true;
    let outcomes = vec![Outcome { failed: false, bytes: 0, high_watermark: 7, log_start: 0 }; plan.positions.len()];
    assert!(quickly(|| sessions.note(&plan, &outcomes)).into_iter().all(|news| news));
    assert!(!quickly(|| sessions.note(&plan, &outcomes)).into_iter().any(|news| news), "it was told before");
}
