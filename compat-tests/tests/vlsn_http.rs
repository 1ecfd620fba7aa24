//! VLSN logs over HTTP: what is there, what is not and why, ranges, waits, and everything that a stranger may send.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::conn::SOON;
use pyralog_compat_tests::http::{Answer, answer, connect, get, request};
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Codec, Conn, Record, private, topic};
use serde_json::{Value, json};

const VLSN: &[(&str, &str)] = &[("vlsn.enable", "true")];

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

    fn write(&mut self, partition: i32, vlsns: &[u64]) {
        let records = vlsns.iter().map(|vlsn| record(*vlsn, &format!("value {vlsn}"))).collect();
        self.conn.append(&self.log, partition, &Batch::new(records).encode());
    }

    fn delete_below(&mut self, partition: i32, offset: i64) {
        let part = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let of_log = DeleteRecordsTopic::default().with_name(topic(&self.log)).with_partitions(vec![part]);
        let answer = self.conn.call(2, &DeleteRecordsRequest::default().with_topics(vec![of_log]));
        assert_eq!(answer.topics[0].partitions[0].error_code, 0, "{answer:?}");
    }

    fn get(&self, rest: &str) -> Answer {
        get(self.broker.http(), &format!("/v1/logs/{}/vlsn{rest}", self.log))
    }

    fn get_with(&self, rest: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.broker.http(), "GET", &format!("/v1/logs/{}/vlsn{rest}", self.log), headers, b"")
    }
}

fn record(vlsn: u64, value: &str) -> Record {
    Record { key: Some(vlsn.to_be_bytes().to_vec()), ..Record::of(value) }
}

/// A problem document with this status and kind; gives it back.
fn problem(answer: &Answer, status: u16, kind: &str) -> Value {
    let document = answer.json();
    assert_eq!((answer.status, &document["status"]), (status, &json!(status)), "{document}");
    assert_eq!(document["type"], json!(format!("urn:pyralog:problem:{kind}")), "{document}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(document["title"].is_string() && document["detail"].is_string());
    document
}

#[test]
fn bounds_name_what_there_is_of_each_partition() {
    let Some(mut world) = World::new(2) else { return };
    let empty = world.get("").json();
    assert_eq!((&empty["first"], &empty["undecided"], &empty["last"]), (&json!(0), &json!(0), &Value::Null));
    world.write(0, &[0, 2, 6]);
    world.write(1, &[1]);
    let answer = world.get("");
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let bounds = answer.json();
    assert_eq!((&bounds["first"], &bounds["undecided"], &bounds["last"]), (&json!(0), &json!(3), &json!(6)));
    assert_eq!(bounds["routing"], json!([{"from": 0, "partitions": 2}]));
    let part = &bounds["partitions"][1];
    assert_eq!((&part["partition"], &part["last"], &part["next"]), (&json!(1), &json!(1), &json!(3)));
    assert_eq!((&part["first"], &part["high_watermark"]), (&json!(1), &json!(1)));
}

#[test]
fn a_point_read_says_found_not_yet_gap_or_trimmed() {
    let Some(mut world) = World::new(2) else { return };
    world.write(0, &[0, 2, 6]);
    let found = world.get("/2");
    assert_eq!((found.status, found.header("pyralog-outcome")), (200, Some("found")));
    let body = found.json();
    assert_eq!((&body["vlsn"], &body["partition"], &body["offset"]), (&json!(2), &json!(0), &json!(1)));
    assert_eq!(body["value"], json!({"text": "value 2"}));
    assert!(found.header("cache-control").unwrap().contains("immutable"));
    let gap = problem(&world.get("/4"), 404, "gap");
    assert_eq!((&gap["outcome"], &gap["vlsn"]), (&json!("gap"), &json!(4)));
    for vlsn in [1, 8, u64::MAX >> 2] {
        let none = problem(&world.get(&format!("/{vlsn}")), 404, "not-yet-written");
        assert_eq!(none["outcome"], json!("not_yet_written"));
    }
    world.delete_below(0, 2);
    let trimmed = world.get("/2");
    assert_eq!((trimmed.status, trimmed.header("pyralog-outcome")), (410, Some("trimmed")));
    problem(&trimmed, 410, "trimmed");
    assert_eq!(world.get("").json()["first"], json!(1));
}

#[test]
fn a_raw_value_comes_with_everything_else_in_headers() {
    let Some(mut world) = World::new(1) else { return };
    let headers = vec![(b"a b".to_vec(), Some(vec![0xff, b'x'])), (b"none".to_vec(), None)];
    let odd = Record { headers, ..record(7, "") };
    let odd = Record { value: Some(vec![0, 0xfe, 10]), ..odd };
    let null = Record { value: None, ..record(8, "") };
    world.conn.append(&world.log, 0, &Batch::new(vec![odd, null]).codec(Codec::Zstd).encode());
    let raw = [("Accept", "application/octet-stream")];
    let answer = world.get_with("/7", &raw);
    assert_eq!((answer.status, &answer.body[..]), (200, &[0, 0xfe, 10][..]));
    assert_eq!(answer.header("pyralog-vlsn"), Some("7"));
    assert_eq!((answer.header("pyralog-offset"), answer.header("pyralog-leader-epoch")), (Some("0"), Some("0")));
    assert!(answer.header("pyralog-timestamp").unwrap().parse::<i64>().unwrap() > 0);
    let headers: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "pyralog-header").collect();
    assert_eq!((headers[0].1.as_str(), headers[1].1.as_str()), ("a%20b=%FFx", "none"));
    let null = world.get_with("/8", &raw);
    assert_eq!((null.body.len(), null.header("pyralog-value")), (0, Some("null")));
    let json = world.get("/7").json();
    assert_eq!(json["value"], json!({"base64": "AP4K"}));
    assert_eq!(json["headers"][0], json!({"name": {"text": "a b"}, "value": {"base64": "/3g="}}));
    assert_eq!(world.get("/8").json()["value"], Value::Null);

    let tag = answer.header("etag").unwrap();
    let again = world.get_with("/7", &[raw[0], ("If-None-Match", tag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag)));
    let other = world.get_with("/7", &[("If-None-Match", tag)]);
    assert_eq!(other.status, 200, "the tag is that of another form");
    problem(&world.get_with("/7", &[("Accept", "text/html")]), 406, "not-acceptable");
}

/// Each is a line of the answer, with a name that counts.
#[test]
fn headers_that_are_too_many_for_a_raw_value_are_there_in_json() {
    let Some(mut world) = World::new(1) else { return };
    let headers = vec![(b"name".to_vec(), None); 1_000];
    let value = Record { headers, ..record(7, "v") };
    world.conn.append(&world.log, 0, &Batch::new(vec![value]).encode());
    let refused = problem(&world.get_with("/7", &[("Accept", "application/octet-stream")]), 406, "not-acceptable");
    assert!(detail(&refused).contains("16384"), "{refused}");
    assert_eq!(world.get("/7").json()["headers"].as_array().unwrap().len(), 1_000);
}

#[test]
fn a_range_comes_in_order_with_its_gaps_and_page_by_page() {
    let Some(mut world) = World::new(3) else { return };
    world.write(0, &[0, 3, 9, 12]);
    world.write(1, &[1, 7, 10, 13]);
    world.write(2, &[2, 5, 8, 11]);
    world.delete_below(0, 1);
    let page = world.get("?from=0&to=100").json();
    let vlsns = |page: &Value| -> Vec<u64> {
        page["records"].as_array().unwrap().iter().map(|record| record["vlsn"].as_u64().unwrap()).collect()
    };
    assert_eq!(vlsns(&page), [1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!((&page["next"], &page["undecided"]), (&json!(14), &json!(14)));
    assert_eq!(page["gaps"], json!([{"from": 4, "to": 5}, {"from": 6, "to": 7}]));
    assert_eq!(page["trimmed"], json!([{"from": 0, "to": 1}]));
    assert_eq!(page["records"][0]["value"], json!({"text": "value 1"}));
    assert_eq!(page["records"][0]["partition"], json!(1));

    let (mut all, mut next) = (Vec::new(), 0);
    while next < 12 {
        let page = world.get(&format!("?from={next}&to=12&max_records=2")).json();
        let vlsns = vlsns(&page);
        assert!(vlsns.len() <= 2 && page["next"].as_u64().unwrap() > next, "{page}");
        next = page["next"].as_u64().unwrap();
        all.extend(vlsns);
    }
    assert_eq!(all, [1, 2, 3, 5, 7, 8, 9, 10, 11]);
    assert_eq!(vlsns(&world.get("?from=1&max_bytes=1").json()), [1], "the first one has room");

    let lines = world.get_with("?from=11", &[("Accept", "application/x-ndjson")]);
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["vlsn"], &lines[3]["next"]), (4, &json!(11), &json!(14)));
}

/// A header of two bytes becomes one of 34: what a page of records takes as JSON is bounded by itself.
#[test]
fn a_page_of_records_that_are_small_until_they_are_json_ends_early() {
    let Some(mut world) = World::new(1) else { return };
    for first in (0..300).step_by(100) {
        let headers = vec![(Vec::new(), None); 1_000];
        let records = (first..first + 100).map(|vlsn| Record { headers: headers.clone(), ..record(vlsn, "") });
        world.conn.append(&world.log, 0, &Batch::new(records.collect()).encode());
    }
    world.write(0, &[400]);
    let (mut vlsns, mut next, mut pages) = (Vec::new(), 0, 0);
    while next <= 400 {
        let answer = world.get(&format!("?from={next}"));
        assert!(answer.body.len() < 7 << 20, "{} bytes", answer.body.len());
        let page = answer.json();
        vlsns.extend(page["records"].as_array().unwrap().iter().map(|record| record["vlsn"].as_u64().unwrap()));
        let gaps = if vlsns.len() == 301 { json!([{"from": 300, "to": 400}]) } else { json!([]) };
        assert_eq!(page["gaps"], gaps, "to {}", page["next"]);
        next = page["next"].as_u64().unwrap();
        pages += 1;
    }
    assert!(vlsns.iter().copied().eq((0..300).chain([400])), "{vlsns:?}");
    assert_eq!(pages, 2);
}

#[test]
fn large_records_are_not_read_for_ever_more_clients_that_take_none() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut conn = broker.connect();
    let (log, _) = conn.new_topic("vlsn", 1, &[("vlsn.enable", "true"), ("max.message.bytes", "16777216")]);
    // Six times as many bytes in JSON: two of them are more than may wait.
    conn.append(&log, 0, &Batch::new(vec![record(0, &"\u{1}".repeat(8 << 20))]).encode());
    let stalled = || {
        let mut stream = connect(broker.http());
        stream.write_all(format!("GET /v1/logs/{log}/vlsn/0 HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    };
    let held = [stalled(), stalled()];
    let ask = |rest: &str| get(broker.http(), &format!("/v1/logs/{log}/vlsn{rest}"));
    for rest in ["/0", "?from=0"] {
        let refused = ask(rest);
        problem(&refused, 503, "unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    problem(&ask("/1"), 404, "not-yet-written");
    drop(held);
    eventually("there is room again", || (ask("/0").status == 200).then_some(()));
}

#[test]
fn whoever_waits_is_answered_when_the_vlsn_is_decided() {
    let Some(mut world) = World::new(2) else { return };
    let begun = Instant::now();
    problem(&world.get("/0?wait_ms=300"), 404, "not-yet-written");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let (address, log) = (world.broker.http().to_owned(), world.log.clone());
    let [four, six, range] = ["/4?wait_ms=30000", "/6?wait_ms=30000", "?from=0&wait_ms=30000"].map(|rest| {
        let (address, path) = (address.clone(), format!("/v1/logs/{log}/vlsn{rest}"));
        std::thread::spawn(move || (get(&address, &path), Instant::now()))
    });
    std::thread::sleep(Duration::from_millis(200));
    let mut written = [Instant::now(); 3];
    world.write(0, &[4]);
    let range = range.join().unwrap();
    written[1] = Instant::now();
    world.write(0, &[8]);
    world.write(1, &[1]);
    let [four, six] = [four, six].map(|wait| wait.join().unwrap());
    assert_eq!((four.0.status, four.0.json()["value"].clone()), (200, json!({"text": "value 4"})));
    problem(&six.0, 404, "gap");
    assert_eq!(range.0.json()["gaps"], json!([{"from": 0, "to": 1}]), "0 was decided first");
    for ((_, at), written) in [range, six, four].into_iter().zip(written) {
        assert!(at < written + SOON, "woken, not late");
    }
}

#[test]
fn a_wait_ends_when_the_log_is_deleted_and_when_the_server_stops() {
    let Some(mut world) = World::new(1) else { return };
    let (other, _) = world.conn.new_topic("vlsn", 1, VLSN);
    let wait = |log: &str| {
        let mut stream = connect(world.broker.http());
        let head = format!("GET /v1/logs/{log}/vlsn/0?wait_ms=30000 HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let (mut deleted, mut stopped) = (wait(&other), wait(&world.log));
    std::thread::sleep(Duration::from_millis(300));
    world.conn.delete_topic(&other);
    problem(&answer(&mut deleted, false), 404, "unknown-log");
    world.broker.terminate();
    problem(&answer(&mut stopped, false), 503, "unavailable");
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

#[test]
fn whatever_is_asked_wrongly_is_refused_with_the_value() {
    let Some(mut world) = World::new(2) else { return };
    let (plain, _) = world.conn.new_topic("plain", 1, &[]);
    let address = world.broker.http().to_owned();
    let at = |path: &str| get(&address, path);
    problem(&at(&format!("/v1/logs/{plain}/vlsn")), 409, "not-a-vlsn-log");
    problem(&at(&format!("/v1/logs/{plain}/vlsn/1")), 409, "not-a-vlsn-log");
    let view = problem(&at(&format!("/v1/logs/{}.vlsn/vlsn", world.log)), 409, "view");
    assert_eq!(view["log"], json!(world.log));
    problem(&at("/v1/logs/nothing-of-that-name/vlsn"), 404, "unknown-log");
    problem(&at("/v1/logs/a%2Fb/vlsn"), 400, "bad-parameter");
    problem(&at("/v1/logs/%FF/vlsn"), 400, "bad-parameter");
    problem(&at(&format!("/v1/logs/{}/vlsn", "x".repeat(250))), 400, "bad-parameter");
    for vlsn in ["-1", "18446744073709551615", "18446744073709551616", "9223372036854775807", "1.5", "x", "%00"] {
        let refused = problem(&world.get(&format!("/{vlsn}")), 400, "bad-parameter");
        assert_eq!(refused["parameter"], json!("vlsn"), "{refused}");
        assert!(detail(&refused).contains("a number from 0 to 9223372036854775806"), "{refused}");
    }
    problem(&world.get("/9223372036854775806"), 404, "not-yet-written");
    let many = problem(&world.get("?from=1&max_records=10001"), 400, "bad-parameter");
    assert!(detail(&many).contains("a number from 1 to 10000"), "{many}");
    let none = problem(&at("/v1/sequencers?from=1"), 400, "bad-parameter");
    assert!(detail(&none).ends_with("this path takes none"), "{none}");
    for range in [
        "?to=5",
        "?from=5&to=4",
        "?from=-1",
        "?from=18446744073709551616",
        "?from=1&to=18446744073709551616",
        "?from=1&max_records=0",
        "?from=1&max_bytes=8388609",
        "?from=1&wait_ms=300001",
        "?from=1&encoding=hex",
        "?from=1&form=2",
        "?from=1&from=2",
    ] {
        problem(&world.get(range), 400, "bad-parameter");
    }
    let empty = world.get("?from=5&to=5").json();
    assert_eq!((&empty["records"], &empty["next"]), (&json!([]), &json!(5)));
    let huge = world.get("?from=0&to=18446744073709551615").json();
    assert_eq!((&huge["records"], &huge["next"]), (&json!([]), &json!(0)));
    problem(&at("/nowhere"), 404, "no-such-path");
    let refused = request(&address, "DELETE", "/metrics", &[], b"");
    problem(&refused, 405, "method-not-allowed");
    assert!(refused.header("allow").is_some_and(|allow| allow.contains("GET")), "{refused:?}");
    let head = request(&address, "HEAD", &format!("/v1/logs/{}/vlsn", world.log), &[], b"");
    assert_eq!(head.status, 200);
}

/// Waits until the server closes; gives what it said.
fn last_words(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn se_17_connections_that_stall_lose_their_place_and_there_are_only_so_many() {
    let Some(broker) = private(BrokerOptions::new().wrapper(&["prlimit", "--nofile=200"])) else { return };
    let address = broker.http().to_owned();
    let mut long = connect(&address);
    long.write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes()).unwrap();
    assert!(last_words(&mut long).contains(" 431 ") || last_words(&mut long).is_empty());
    let held: Vec<TcpStream> = (0..40).map(|_| connect(&address)).collect();
    let mut full = connect(&address);
    let answer = answer(&mut full, false);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    drop(held);
    let is_free = || (request(&address, "GET", "/health/live", &[], b"").status == 200).then_some(());
    eventually("a place is free again", is_free);
    let metrics = get(&address, "/metrics").text();
    assert!(metrics.contains("pyralog_http_connections_refused_total"), "{metrics}");
}
