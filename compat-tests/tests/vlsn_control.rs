//! The private APIs that change or tell what is agreed on: commits by VLSN, sequencers, writer epochs. Byte by byte against
//! the real binary. Kafka has none of them, so none of this runs against it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use kafka_protocol::messages::ApiVersionsRequest;
use pyralog_compat_tests::batch::{Batch, Record};
use pyralog_compat_tests::conn::{Outcome, PATIENCE};
use pyralog_compat_tests::private::{
    Body, FIRST_KEY, SEQUENCER_DESCRIBE, SEQUENCER_RESERVE, VLSN_COMMIT, VLSN_COMMITTED, VLSN_DELETE_COMMIT,
    WRITER_EPOCH,
};
use pyralog_compat_tests::{Broker, BrokerOptions, Conn, private, text};

const VLSN: &[(&str, &str)] = &[("vlsn.enable", "true")];
const LARGEST: u64 = (1 << 63) - 2;

fn commit_body(consumer: &str, commits: &[(&str, u64, Option<&str>)], force: bool) -> Body {
    let body = Body::new().text(consumer).flag(force);
    body.array(commits, |body, (log, vlsn, metadata)| body.text(log).u64(*vlsn).maybe(*metadata).end()).end()
}

/// (code, VLSN in force, message) per commit.
fn commit_all(
    conn: &mut Conn,
    consumer: &str,
    commits: &[(&str, u64, Option<&str>)],
    force: bool,
) -> Vec<(i16, i64, String)> {
    let mut answer = conn.ask_private(VLSN_COMMIT, &commit_body(consumer, commits, force));
    let results = answer.array(|a| (a.text(), a.i16(), a.maybe().unwrap_or_default(), a.i64()));
    answer.done();
    let names: Vec<_> = results.iter().map(|(log, ..)| log.as_str()).collect();
    assert_eq!(names, commits.iter().map(|(log, ..)| *log).collect::<Vec<_>>());
    results.into_iter().map(|(_, code, why, vlsn)| (code, vlsn, why)).collect()
}

fn commit(conn: &mut Conn, consumer: &str, log: &str, vlsn: u64) -> (i16, i64, String) {
    commit_all(conn, consumer, &[(log, vlsn, None)], false).remove(0)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Committed {
    consumer: String,
    log: String,
    vlsn: u64,
    resume_partition: i32,
    committed_at: i64,
    lag: i64,
    metadata: Option<String>,
}

fn committed(conn: &mut Conn, consumer: Option<&str>, logs: Option<&[&str]>) -> (i16, Vec<Committed>) {
    let body = Body::new().maybe(consumer).maybe_texts(logs).end();
    let mut answer = conn.ask_private(VLSN_COMMITTED, &body);
    let code = answer.i16();
    let found = answer.array(|a| Committed {
        consumer: a.text(),
        log: a.text(),
        vlsn: a.u64(),
        resume_partition: a.i32(),
        committed_at: a.i64(),
        lag: a.i64(),
        metadata: a.maybe(),
    });
    answer.done();
    (code, found)
}

/// (code, first, count, message).
fn reserve(conn: &mut Conn, name: &str, count: u64, at_least: u64) -> (i16, u64, u64, String) {
    let body = Body::new().text(name).u64(count).u64(at_least).end();
    let mut answer = conn.ask_private(SEQUENCER_RESERVE, &body);
    let (code, why) = (answer.i16(), answer.maybe().unwrap_or_default());
    let found = (code, answer.u64(), answer.u64(), why);
    answer.done();
    found
}

/// (code, epoch, producer id, producer epoch, message).
fn writer(conn: &mut Conn, log: &str, action: i8, expected: i32) -> (i16, i32, i64, i16, String) {
    let body = Body::new().text(log).i8(action).i32(expected).end();
    let mut answer = conn.ask_private(WRITER_EPOCH, &body);
    let (code, why) = (answer.i16(), answer.maybe().unwrap_or_default());
    let found = (code, answer.i32(), answer.i64(), answer.i16(), why);
    answer.done();
    found
}

fn batch(vlsns: &[u64]) -> Batch {
    let record = |vlsn: &u64| Record { key: Some(vlsn.to_be_bytes().to_vec()), ..Record::of("value") };
    Batch::new(vlsns.iter().map(record).collect())
}

fn restarted(broker: &mut Broker) -> Conn {
    broker.kill9();
    broker.restart();
    broker.connect()
}

fn listed(conn: &mut Conn) -> BTreeSet<i16> {
    let request = ApiVersionsRequest::default().with_client_software_name(text("compat"));
    let answer = conn.call(3, &request.with_client_software_version(text("1")));
    answer.api_keys.iter().filter(|k| k.api_key >= FIRST_KEY).map(|k| k.api_key).collect()
}

#[test]
fn commits_survive_kill_9_do_not_go_back_and_say_where_to_go_on() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("commits", 3, VLSN);
    for (partition, first) in (0..3).zip(0..) {
        let vlsns: Vec<_> = (0..10).map(|n| 3 * n + first).collect();
        conn.append(&log, partition, &batch(&vlsns).encode());
    }
    assert_eq!(commit(&mut conn, "billing", &log, 19), (0, 19, String::new()));
    let results = commit_all(&mut conn, "other", &[(&log, 40, Some("a note")), ("nowhere", 1, None)], false);
    assert_eq!(results[0], (0, 40, String::new()));
    assert_eq!((results[1].0, results[1].1), (3, -1));

    let mut conn = restarted(&mut broker);
    conn.wait_for_topic(&log, 3);
    let (code, all) = committed(&mut conn, None, None);
    assert_eq!((code, all.len()), (0, 2));
    let billing = Committed { committed_at: 0, ..all[0].clone() };
    let expected = Committed {
        consumer: "billing".to_owned(),
        log: log.clone(),
        vlsn: 19,
        resume_partition: 20 % 3,
        committed_at: 0,
        lag: 10,
        metadata: None,
    };
    assert_eq!(billing, expected);
    assert!(all[0].committed_at.abs_diff(pyralog_compat_tests::now_ms()) < 600_000, "{}", all[0].committed_at);
    assert_eq!((all[1].lag, all[1].metadata.as_deref()), (0, Some("a note")), "ahead of what is written");

    let (code, now, why) = commit(&mut conn, "billing", &log, 18);
    assert_eq!((code, now), (42, 19), "{why}");
    assert!(why.contains("18 is below 19"), "{why}");
    assert_eq!(commit_all(&mut conn, "billing", &[(&log, 18, None)], true)[0].1, 18);
    assert_eq!(committed(&mut conn, Some("billing"), Some(&[&log])).1[0].lag, 11);

    let body = Body::new().text("billing").null().end();
    let mut answer = conn.ask_private(VLSN_DELETE_COMMIT, &body);
    let results = answer.array(|a| (a.text(), a.i16(), a.maybe()));
    answer.done();
    assert_eq!(results, [(log.clone(), 0, None)]);
    assert_eq!(committed(&mut conn, Some("billing"), None), (0, Vec::new()));

    conn.delete_topic(&log);
    let mut conn = restarted(&mut broker);
    assert_eq!(committed(&mut conn, None, None), (0, Vec::new()), "commits go with their log");
}

#[test]
fn bad_input_to_commits_is_answered_with_the_numbers() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("bad", 1, VLSN);
    let (plain, _) = conn.new_topic("plain", 1, &[]);
    let view = format!("{log}.vlsn");
    let long = "c".repeat(250);
    let cases: &[(&str, &str, u64, i16, &str)] = &[
        ("c", &log, u64::MAX, 42, "18446744073709551615"),
        ("c", &log, LARGEST + 1, 42, "9223372036854775806"),
        ("c", &plain, 1, 42, "vlsn.enable=true"),
        ("c", &view, 1, 44, "read-only view"),
        ("c", "nowhere", 1, 3, "nowhere"),
        ("", &log, 1, 42, "empty"),
        (&long, &log, 1, 42, "250 bytes, 249"),
        ("tab\t", &log, 1, 42, "control character"),
        ("größe", &log, LARGEST, 0, ""),
    ];
    for (consumer, log, vlsn, code, said) in cases {
        let (found, _, why) = commit(&mut conn, consumer, log, *vlsn);
        assert_eq!(found, *code, "{consumer} {log} {vlsn}: {why}");
        assert!(why.contains(said), "{why}");
    }
    assert_eq!(committed(&mut conn, Some(""), None).0, 42);
    assert_eq!(commit_all(&mut conn, "c", &[(&log, 0, Some(&"m".repeat(4097)))], false)[0].0, 12);
    // A consumer of ten megabytes: no string on the wire is that long.
    let mut conn = broker.connect();
    conn.send_raw_request(VLSN_COMMIT, 0, 2, commit_body(&"c".repeat(10 << 20), &[(&log, 0, None)], false).bytes());
    assert_eq!(conn.outcome(PATIENCE), Outcome::Closed);
    // A count that lies.
    let mut conn = broker.connect();
    conn.send_raw_request(VLSN_COMMIT, 0, 2, Body::new().text("c").flag(false).length(100_000_000).bytes());
    assert_eq!(conn.outcome(PATIENCE), Outcome::Closed);
    assert_eq!(commit(&mut broker.connect(), "c", &log, 5).0, 0);
}

#[test]
fn sequencers_hand_out_each_number_once_to_many_clients_over_kill_9() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut end = 0;
    for round in 0..3 {
        let address = broker.kafka().to_owned();
        let clients: Vec<_> = (0..4)
            .map(|n| {
                let address = address.clone();
                std::thread::spawn(move || {
                    let mut conn = Conn::connect(&address);
                    let taken = (0..50u64).map(|i| reserve(&mut conn, "ids", 1 + (i + n) % 7, 0));
                    taken
                        .map(|(code, first, count, why)| (assert_eq!(code, 0, "{why}"), first..first + count).1)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut all: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        all.sort_by_key(|range| range.start);
        for range in all {
            assert!(range.start >= end, "round {round}: {range:?} begins below {end}");
            end = range.end;
        }
        restarted(&mut broker);
    }
    let mut conn = broker.connect();
    assert_eq!(reserve(&mut conn, "ids", 1 << 32, 1 << 40), (0, 1 << 40, 1 << 32, String::new()));
    let last = (1u64 << 63) - 1;
    for (name, count, at_least, code) in [
        ("ids", 0, 0, 42),
        ("ids", (1 << 32) + 1, 0, 42),
        ("a/b", 1, 0, 42),
        ("ids", 1, u64::MAX, 1),
        ("ids", 2, last, 1),
        ("ids", 1, last, 0),
        ("ids", 1, 0, 1),
    ] {
        let (found, _, _, why) = reserve(&mut conn, name, count, at_least);
        assert_eq!(found, code, "{name} {count} {at_least}: {why}");
    }
    let describe = |conn: &mut Conn, names: Option<&[&str]>| {
        let mut answer = conn.ask_private(SEQUENCER_DESCRIBE, &Body::new().maybe_texts(names).end());
        let found = answer.array(|a| (a.text(), a.i16(), a.u64()));
        answer.done();
        found
    };
    assert_eq!(describe(&mut conn, None), [("ids".to_owned(), 0, last + 1)]);
    assert_eq!(describe(&mut conn, Some(&["none"])), [("none".to_owned(), 91, 0)]);
}

#[test]
fn id_17_whoever_takes_the_writer_epoch_is_the_only_writer_until_it_is_released() {
    const FENCED: i16 = 90;
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("writers", 1, VLSN);
    conn.append(&log, 0, &batch(&[0]).encode());
    let (code, epoch, first, producer_epoch, _) = writer(&mut conn, &log, 0, -1);
    assert_eq!((code, epoch, producer_epoch), (0, 0, 0));
    let refused = conn.produce(&log, 0, &batch(&[1]).encode());
    assert_eq!(refused.error_code, FENCED, "{:?}", refused.error_message);
    assert_eq!(conn.append(&log, 0, &batch(&[1]).producer(first, 0, 0).encode()), 1);

    let mut conn = restarted(&mut broker);
    conn.wait_for_topic(&log, 1);
    assert_eq!(conn.produce(&log, 0, &batch(&[2]).encode()).error_code, FENCED, "a restart frees nobody");
    let (code, epoch, second, ..) = writer(&mut conn, &log, 0, 0);
    assert_eq!((code, epoch), (0, 1));
    assert_ne!(first, second);
    assert_eq!(conn.produce(&log, 0, &batch(&[2]).producer(first, 0, 1).encode()).error_code, FENCED);
    assert_eq!(conn.append(&log, 0, &batch(&[2]).producer(second, 0, 0).encode()), 2);
    let (code, epoch, _, _, why) = writer(&mut conn, &log, 0, 0);
    assert_eq!((code, epoch), (FENCED, 1), "{why}");
    assert!(why.contains("is 1, 0 was expected"), "{why}");
    assert_eq!(writer(&mut conn, &log, 1, 1).0, 0);
    assert_eq!(conn.append(&log, 0, &batch(&[3]).encode()), 3, "released");
    let view = format!("{log}.vlsn");
    let codes = [("nowhere", 0), (&*view, 0), (&*log, 2)].map(|(log, action)| writer(&mut conn, log, action, -1).0);
    assert_eq!(codes, [3, 44, 42]);
}

#[test]
fn id_16_private_apis_are_listed_and_served_only_while_they_are_enabled() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let keys = listed(&mut broker.connect());
    assert!((VLSN_COMMIT..=WRITER_EPOCH).all(|key| keys.contains(&key)), "{keys:?}");
    let Some(broker) = private(BrokerOptions::new().set("pyralog.private.apis.enable", "false")) else { return };
    let mut conn = broker.connect();
    assert!(listed(&mut conn).is_empty());
    conn.send_raw_request(SEQUENCER_RESERVE, 0, 2, Body::new().text("x").u64(1).u64(0).end().bytes());
    conn.expect_closed();
}
