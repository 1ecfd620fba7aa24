//! What HTTP changes: records, commits, writer epochs, sequencers; and bodies that a stranger may send.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::time::Duration;

use kafka_protocol::messages::CreatePartitionsRequest;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use pyralog_compat_tests::http::{Answer, answer, connect, get, request};
use pyralog_compat_tests::{Broker, BrokerOptions, Conn, private, topic};
use serde_json::{Value, json};

const VLSN: &[(&str, &str)] = &[("vlsn.enable", "true")];
const OCTETS: &str = "Content-Type: application/octet-stream";

struct World {
    broker: Broker,
    conn: Conn,
    log: String,
}

impl World {
    fn new(partitions: i32) -> Option<Self> {
        let broker = private(BrokerOptions::new())?;
        let mut conn = broker.connect();
        let (log, _) = conn.new_topic("vlsn", partitions, VLSN);
        Some(Self { broker, conn, log })
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let path = path.replace("LOG", &self.log);
        let json = [("Content-Type", "application/json")];
        request(self.broker.http(), method, &path, &json, body.to_string().as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        get(self.broker.http(), &path.replace("LOG", &self.log))
    }

    fn raw(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let form = [("Content-Type", "application/octet-stream")];
        self.of_form(path, &[&form, headers].concat(), body)
    }

    fn of_form(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        request(self.broker.http(), "POST", &path.replace("LOG", &self.log), headers, body)
    }
}

fn problem(answer: &Answer, status: u16, kind: &str) -> Value {
    let document = answer.json();
    assert_eq!((answer.status, &document["status"]), (status, &json!(status)), "{document}");
    assert_eq!(document["type"], json!(format!("urn:pyralog:problem:{kind}")), "{document}");
    document
}

#[test]
fn a_record_is_written_raw_or_as_json_and_read_back_as_it_was() {
    let Some(mut world) = World::new(2) else { return };
    let headers = [("Pyralog-Header", "a%20b=%FFx"), ("Pyralog-Header", "none"), ("Pyralog-Timestamp", "1234")];
    let done = world.raw("/v1/logs/LOG/vlsn/3", &headers, &[0, 0xfe]);
    assert_eq!((done.status, &done.json()["partition"], &done.json()["offset"]), (200, &json!(1), &json!(0)));
    let back = request(
        world.broker.http(),
        "GET",
        &format!("/v1/logs/{}/vlsn/3", world.log),
        &[("Accept", "application/octet-stream")],
        b"",
    );
    assert_eq!((&back.body[..], back.header("pyralog-timestamp")), (&[0, 0xfe][..], Some("1234")));
    let lines: Vec<_> = back.headers.iter().filter(|(name, _)| name == "pyralog-header").map(|(_, v)| v).collect();
    assert_eq!(lines, ["a%20b=%FFx", "none"]);

    let body = json!({"value": {"text": "grün"}, "headers": [{"name": {"text": "k"}, "value": null}], "timestamp": 5});
    assert_eq!(world.send("POST", "/v1/logs/LOG/vlsn/5", &body).json()["offset"], json!(1));
    let back = world.get("/v1/logs/LOG/vlsn/5").json();
    assert_eq!((&back["value"], &back["headers"], &back["timestamp"]), (&body["value"], &body["headers"], &json!(5)));
    assert_eq!(world.send("POST", "/v1/logs/LOG/vlsn/5", &body).json()["offset"], json!(1), "sent again");
    assert_eq!(world.conn.end_offset(&world.log, 1), 2);
    let null = world.raw("/v1/logs/LOG/vlsn/7", &[("Pyralog-Value", "null")], b"");
    assert_eq!(null.status, 200);
    assert_eq!(world.get("/v1/logs/LOG/vlsn/7").json()["value"], Value::Null);
    let back = problem(&world.raw("/v1/logs/LOG/vlsn/1", &[], b"x"), 409, "conflict");
    let detail = back["detail"].as_str().unwrap();
    assert!(detail.contains('7') && detail.matches("steps back").count() == 1, "{back}");
    world.broker.kill9();
    world.broker.restart();
    assert_eq!(world.get("/v1/logs/LOG/vlsn/5").json()["value"], body["value"], "it was durable");
}

#[test]
fn a_condition_on_the_last_vlsn_is_kept() {
    let Some(world) = World::new(1) else { return };
    let write =
        |vlsn: u64, expected: &str| world.raw(&format!("/v1/logs/LOG/vlsn/{vlsn}?expected_last={expected}"), &[], b"x");
    assert_eq!(write(0, "none").status, 200);
    let refused = problem(&write(1, "none"), 412, "unexpected-last");
    assert_eq!((&refused["last"], &refused["vlsn"]), (&json!(0), &json!(1)));
    assert_eq!(write(1, "0").json()["last"], json!(1));
    assert_eq!(write(1, "0").status, 200, "sent again, it is there");
    let other = world.raw("/v1/logs/LOG/vlsn/1?expected_last=0", &[], b"y");
    let taken = problem(&other, 412, "unexpected-last");
    assert!(taken["detail"].as_str().unwrap().contains("VLSN 1 is there already, with another record"), "{taken}");
    problem(&write(5, "x"), 400, "bad-parameter");
}

#[test]
fn a_batch_goes_to_its_partitions() {
    let Some(world) = World::new(3) else { return };
    let record = |vlsn: u64| json!({"vlsn": vlsn, "value": {"text": format!("v{vlsn}")}});
    let batch = |vlsns: &[u64]| json!({"records": vlsns.iter().map(|v| record(*v)).collect::<Vec<_>>()});
    let done = world.send("POST", "/v1/logs/LOG/vlsn", &batch(&[0, 1, 2, 3, 4, 7]));
    assert_eq!(
        done.json()["partitions"],
        json!([
            {"partition": 0, "offset": 0, "last": 3},
            {"partition": 1, "offset": 0, "last": 7},
            {"partition": 2, "offset": 0, "last": 2},
        ])
    );
    let page = world.get("/v1/logs/LOG/vlsn?from=0").json();
    assert_eq!(page["records"].as_array().unwrap().len(), 5, "{page}");
    let refused = problem(&world.send("POST", "/v1/logs/LOG/vlsn", &batch(&[4, 6, 8, 10])), 409, "conflict");
    let parts = refused["partitions"].as_array().unwrap();
    assert_eq!((&parts[0]["last"], &parts[2]["last"]), (&json!(6), &json!(8)), "the others are written");
    assert!(parts[1]["detail"].as_str().unwrap().contains("10"), "{refused}");
    let conditional = json!({"records": [record(9), record(10)], "expected_last": {"0": 6, "1": null}});
    problem(&world.send("POST", "/v1/logs/LOG/vlsn", &conditional), 412, "unexpected-last");
    assert_eq!(world.get("/v1/logs/LOG/vlsn/9").status, 200);
}

#[test]
fn consumers_commit_one_number() {
    let Some(mut world) = World::new(2) else { return };
    for vlsn in 0..10 {
        assert_eq!(world.raw(&format!("/v1/logs/LOG/vlsn/{vlsn}"), &[], b"x").status, 200);
    }
    let at = "/v1/logs/LOG/vlsn/commits/billing%20%C3%BC";
    problem(&world.get(at), 404, "no-commit");
    let done = world.send("PUT", at, &json!({"vlsn": 4, "metadata": "half"}));
    assert_eq!((done.status, &done.json()["vlsn"]), (200, &json!(4)));
    let back = problem(&world.send("PUT", at, &json!({"vlsn": 2})), 409, "conflict");
    assert_eq!(back["vlsn_in_force"], json!(4));
    world.broker.restart();
    let found = world.get(at).json();
    assert_eq!((&found["vlsn"], &found["lag"], &found["metadata"]), (&json!(4), &json!(5), &json!("half")));
    assert_eq!((&found["resume"], &found["consumer"]), (&json!({"vlsn": 5, "partition": 1}), &json!("billing ü")));
    assert_eq!(world.send("PUT", at, &json!({"vlsn": 2, "force": true})).json()["vlsn"], json!(2));
    assert_eq!(world.get("/v1/logs/LOG/vlsn/commits").json()["commits"].as_array().unwrap().len(), 1);
    let gone = request(world.broker.http(), "DELETE", &at.replace("LOG", &world.log), &[], b"");
    assert_eq!(gone.status, 204);
    problem(&world.get(at), 404, "no-commit");
    problem(&world.send("PUT", at, &json!({"vlsn": u64::MAX})), 422, "bad-content");
    problem(
        &world.send("PUT", &format!("/v1/logs/LOG/vlsn/commits/{}", "x".repeat(250)), &json!({"vlsn": 1})),
        422,
        "bad-content",
    );
    let before = world.broker.resident_bytes();
    let mut long = connect(world.broker.http());
    let path = format!("/v1/logs/{}/vlsn/commits/{}", world.log, "x".repeat(10 << 20));
    assert!(long.write_all(format!("PUT {path} HTTP/1.1\r\n\r\n").as_bytes()).is_err(), "closed before all is read");
    assert!(world.broker.resident_bytes() < before + (4 << 20));
    world.conn = world.broker.connect();
    world.conn.delete_topic(&world.log);
    problem(&world.get(at), 404, "unknown-log");
}

#[test]
fn sequencers_and_writer_epochs() {
    let Some(world) = World::new(1) else { return };
    assert_eq!(world.get("/v1/sequencers").json(), json!({"sequencers": []}));
    problem(&world.get("/v1/sequencers/orders"), 404, "no-sequencer");
    let reserve = |body: Value| world.send("POST", "/v1/sequencers/orders/reserve", &body);
    assert_eq!(reserve(json!({"count": 10})).json(), json!({"sequencer": "orders", "first": 0, "count": 10}));
    assert_eq!(reserve(json!({"count": 1, "at_least": 100})).json()["first"], json!(100));
    assert_eq!(world.get("/v1/sequencers/orders").json(), json!({"sequencer": "orders", "next": 101}));
    problem(&reserve(json!({"count": 0})), 422, "bad-content");
    problem(&reserve(json!({"count": 1, "at_least": u64::MAX})), 409, "conflict");
    problem(&world.send("POST", "/v1/sequencers/a%20b/reserve", &json!({"count": 1})), 422, "bad-content");

    let writer = |body: Value| world.send("POST", "/v1/logs/LOG/vlsn/writer", &body);
    let first = writer(json!({"action": "take"})).json();
    assert_eq!((&first["epoch"], first["producer_id"].is_u64()), (&json!(0), true), "{first}");
    problem(&world.raw("/v1/logs/LOG/vlsn/0", &[], b"x"), 409, "fenced");
    problem(&writer(json!({"action": "take", "expected_epoch": 7})), 409, "fenced");
    let released = writer(json!({"action": "release", "expected_epoch": 0})).json();
    assert_eq!((&released["epoch"], &released["producer_id"]), (&json!(0), &Value::Null));
    assert_eq!(world.raw("/v1/logs/LOG/vlsn/0", &[], b"x").status, 200);
    problem(&writer(json!({"action": "steal"})), 422, "bad-content");
}

/// Where a VLSN belongs is the log's business, and may change while the body is on its way.
#[test]
fn a_partition_that_is_added_meanwhile_refuses_nothing() {
    let Some(mut world) = World::new(1) else { return };
    let mut stream = std::net::TcpStream::connect(world.broker.http()).unwrap();
    let head = format!(
        "POST /v1/logs/{}/vlsn/1 HTTP/1.1\r\nHost: x\r\n{OCTETS}\r\nContent-Length: 2\r\nConnection: close\r\n\r\na",
        world.log
    );
    stream.write_all(head.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let wanted = CreatePartitionsTopic::default().with_name(topic(&world.log)).with_count(2).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(10_000);
    assert_eq!(world.conn.call(3, &request).results[0].error_code, 0);
    world.conn.wait_for_topic(&world.log, 2);
    stream.write_all(b"b").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"partition\":1"), "{answer}");
}

#[test]
fn se_03_bodies_are_bounded_in_form_size_and_time() {
    let Some(mut world) = World::new(1) else { return };
    let path = format!("/v1/logs/{}/vlsn", world.log);
    let at = format!("{path}/0");
    let form = [("Content-Type", "text/plain")];
    problem(&world.of_form(&at, &form, b"x"), 415, "unsupported-media-type");
    // A page of another origin may send a body of no type, with nobody asked.
    problem(&world.of_form(&at, &[("Origin", "http://example.com")], b"x"), 415, "unsupported-media-type");
    problem(&world.raw(&path, &[], b"{}"), 415, "unsupported-media-type");
    problem(&world.raw(&at, &[("Content-Encoding", "gzip")], b"x"), 415, "unsupported-media-type");
    let json = [("Content-Type", "application/json; charset=utf-8")];
    problem(&world.of_form(&path, &json, b"{"), 400, "bad-body");
    for body in [
        json!({}),
        json!({"records": []}),
        json!({"records": [{"vlsn": 1}]}),
        json!({"records": [{"vlsn": -1, "value": null}]}),
        json!({"records": [{"vlsn": u64::MAX, "value": null}]}),
        json!({"records": [{"vlsn": 2, "value": null}, {"vlsn": 1, "value": null}]}),
        json!({"records": [{"vlsn": 1, "value": "text"}]}),
        json!({"records": [{"vlsn": 1, "value": {"base64": "?"}}]}),
        json!({"records": [{"vlsn": 1, "value": {"text": "a", "base64": ""}}]}),
        json!({"records": [{"vlsn": 1, "value": null}], "expected_last": {"7": 1}}),
        json!({"records": [{"vlsn": 1, "value": null}], "expected_last": {"0": u64::MAX}}),
        json!({"records": [{"vlsn": 1, "value": null}], "more": 1}),
        json!([[{"vlsn": 1, "value": null}]]),
    ] {
        let refused = problem(&world.send("POST", "/v1/logs/LOG/vlsn", &body), 422, "bad-content");
        assert!(!refused["detail"].as_str().unwrap().contains("struct"), "{refused}");
    }
    let many: Vec<Value> = (0..10_001).map(|vlsn| json!({"vlsn": vlsn, "value": null})).collect();
    problem(&world.send("POST", "/v1/logs/LOG/vlsn", &json!({"records": many})), 422, "bad-content");
    problem(&world.raw(&at, &[], &vec![0; (8 << 20) + 1]), 413, "too-large");
    problem(&world.raw(&at, &[], &vec![0; 2 << 20]), 413, "too-large");
    // What has no records says nothing that is large, and waits for the coordinator outside of the memory for requests.
    let long = json!({"vlsn": 0, "metadata": "m".repeat(64 << 10)});
    problem(&world.send("PUT", "/v1/logs/LOG/vlsn/commits/c", &long), 413, "too-large");
    let escaped = "\u{1}".repeat(4096);
    let most = world.send("PUT", "/v1/logs/LOG/vlsn/commits/c", &json!({"vlsn": 0, "metadata": escaped}));
    assert_eq!(most.status, 200, "each byte takes six");
    let refused = problem(&world.raw(&at, &[("Pyralog-Header", "%zz")], b"x"), 400, "bad-parameter");
    assert_eq!(refused["parameter"], json!("Pyralog-Header"), "{refused}");
    problem(&world.raw(&at, &[("Pyralog-Timestamp", "-1")], b"x"), 400, "bad-parameter");
    let (plain, _) = world.conn.new_topic("plain", 1, &[]);
    problem(&world.raw(&format!("/v1/logs/{plain}/vlsn/0"), &[], b"x"), 409, "not-a-vlsn-log");
    problem(&world.raw(&format!("/v1/logs/{}.vlsn/vlsn/0", world.log), &[], b"x"), 409, "view");
    problem(&world.raw("/v1/logs/none/vlsn/0", &[], b"x"), 404, "unknown-log");
    assert_eq!(world.get("/v1/logs/LOG/vlsn").json()["last"], Value::Null, "nothing of it was written");

    let mut slow = connect(world.broker.http());
    let head = format!("POST {at} HTTP/1.1\r\nHost: x\r\n{OCTETS}\r\nContent-Length: 10\r\n\r\n123");
    slow.write_all(head.as_bytes()).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    problem(&answer(&mut slow, false), 408, "too-slow");
    assert_eq!(world.of_form(&at, &[], b"x").status, 200, "whoever is no browser may leave the type out");
}
