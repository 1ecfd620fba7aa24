//! GR-01: what a group may rely on when its members commit by themselves.

use std::time::Duration;

use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::{Batch, Conn};
use serde_json::json;

use crate::agent::Agent;
use crate::target::{Target, unique};

const INTERVAL: Duration = Duration::from_millis(200);

/// The Java client commits in `poll`, and only what earlier polls returned: who dies while it handles records gets them again.
#[test]
fn gr01_auto_commit_covers_the_polls_before_the_last_one() {
    let target = Target::start();
    let Some(mut doomed) = Agent::java(target.bootstrap()) else { return };
    let (topic, group) = (unique("auto"), unique("group"));
    let mut conn = Conn::connect(target.bootstrap());
    conn.create_topic(&topic, 1, &[]);
    conn.append(&topic, 0, &Batch::of("v", 6).encode());
    let join = json!({"op": "join", "group": group, "topic": topic, "poll_records": 2, "auto_commit_ms": INTERVAL.as_millis()});
    let poll = |agent: &mut Agent, handle: &serde_json::Value| {
        let polled = agent.ask(&json!({"op": "poll", "handle": handle, "max": 2, "wait_ms": 20_000})).unwrap();
        polled["records"].as_array().unwrap().iter().map(|r| r["offset"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let mut committed = || conn.committed(&group, &topic, 0).committed_offset;

    let handle = doomed.ask(&join).unwrap()["handle"].clone();
    assert_eq!(poll(&mut doomed, &handle), [0, 1]);
    std::thread::sleep(INTERVAL * 3);
    assert!(committed() <= 0, "nothing of the first poll before the second");
    assert_eq!(poll(&mut doomed, &handle), [2, 3]);
    eventually("the first poll is committed", || (committed() == 2).then_some(()));
    std::thread::sleep(INTERVAL * 3);
    assert_eq!(committed(), 2, "the last poll is not");
    doomed.kill();

    let mut next = Agent::java(target.bootstrap()).unwrap();
    let handle = next.ask(&join).unwrap()["handle"].clone();
    assert_eq!(poll(&mut next, &handle), [2, 3], "what the dead member had in hand comes again");
    next.ask(&json!({"op": "close", "handle": handle})).unwrap();
    assert_eq!(committed(), 4, "who closes in order commits the last poll too");
}

/// librdkafka commits on a thread of its own what it handed out, whether it was handled or not.
#[cfg(feature = "librdkafka")]
#[test]
fn gr01_librdkafka_commits_what_it_handed_out() {
    use rdkafka::ClientConfig;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Message;

    let target = Target::start();
    let (topic, group) = (unique("auto"), unique("group"));
    let mut conn = Conn::connect(target.bootstrap());
    conn.create_topic(&topic, 1, &[]);
    conn.append(&topic, 0, &Batch::of("v", 6).encode());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", target.bootstrap())
        .set("group.id", &group)
        .set("auto.offset.reset", "earliest")
        .set("auto.commit.interval.ms", INTERVAL.as_millis().to_string())
        .create()
        .unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    // Other events than records end a poll as well.
    let first = eventually("the first record", || consumer.poll(INTERVAL)).unwrap();
    assert_eq!(first.offset(), 0);
    eventually("it is committed though nobody says that it was handled", || {
        (conn.committed(&group, &topic, 0).committed_offset == 1).then_some(())
    });
}
