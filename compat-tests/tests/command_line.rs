//! The commands for people, against a broker: what they print, how they end, and what they say when something is wrong.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use pyralog_compat_tests::broker::{binary, wait};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::conn::{PATIENCE, SOON};
use pyralog_compat_tests::{BrokerOptions, on_kafka, private, shared, unique};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn command(address: &str, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(words).env("PYRALOG_BOOTSTRAP", address).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (send, ended) = mpsc::channel();
    // One that prints more than a pipe holds does not end before somebody reads it.
    let reading = std::thread::spawn(move || send.send(child.wait_with_output().unwrap()));
    let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("the command does not end: {:?}", ended.recv())
    });
    reading.join().unwrap().unwrap();
    output
}

fn with_input(address: &str, words: &[&str], input: &[u8]) -> Output {
    let mut child = command(address, words).stdin(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input);
    finish(child)
}

fn run(address: &str, words: &[&str]) -> Output {
    finish(command(address, words).spawn().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command that succeeds prints.
fn printed(address: &str, words: &[&str]) -> String {
    let output = run(address, words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    text(&output.stdout)
}

fn json(address: &str, words: &[&str]) -> Value {
    serde_json::from_str(&printed(address, &[words, &["--json"]].concat())).unwrap()
}

/// The exit code and the text on stderr of a command that fails.
fn failed(output: &Output) -> (i32, String) {
    assert!(!output.status.success(), "{output:?}");
    (output.status.code().unwrap(), text(&output.stderr))
}

fn create(address: &str, stem: &str, partitions: &str) -> String {
    let log = unique(stem);
    printed(address, &["log", "create", &log, "--partitions", partitions]);
    log
}

fn produce(address: &str, log: &str, words: &[&str], input: &[u8]) {
    let output = with_input(address, &[&["produce", log], words].concat(), input);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn logs_are_created_listed_described_changed_and_deleted() {
    let target = shared();
    let at = target.kafka();
    let log = unique("cli-life");
    let words = ["log", "create", &log, "-p", "3", "--retention", "2h", "-c", "cleanup.policy=compact,delete"];
    assert_eq!(printed(at, &words), format!("created {log}\n"));
    let (code, said) = failed(&run(at, &words));
    assert_eq!((code, said.contains("exists")), (5, true), "{said}");
    assert_eq!(printed(at, &[&words[..], &["--if-not-exists"]].concat()), format!("{log} is there already\n"));

    let table = printed(at, &["log", "list"]);
    assert!(table.starts_with("LOG") && table.lines().any(|line| line.starts_with(&log)), "{table}");
    let listed = json(at, &["log", "list"]);
    let found = listed.as_array().unwrap().iter().find(|entry| entry["name"] == log.as_str()).unwrap();
    assert_eq!(
        (&found["partitions"], &found["replicas"], &found["is_internal"]),
        (&3.into(), &1.into(), &false.into())
    );

    produce(at, &log, &["-K", ":"], b"a:1\nb:2\na:3\n");
    let described = json(at, &["log", "describe", &log]);
    assert_eq!((&described["name"], &described["records"]), (&log.as_str().into(), &3.into()));
    assert_eq!(described["configs"]["retention.ms"], "7200000");
    assert_eq!(described["partitions"].as_array().unwrap().len(), 3);
    assert!(described["partitions"][0]["leader"].is_number(), "{described}");
    let page = printed(at, &["log", "describe", &log]);
    assert!(page.contains("retention.ms:") && page.contains("PARTITION  LEADER"), "{page}");

    let changed = ["log", "alter", &log, "-p", "4", "-s", "max.message.bytes=2000", "--reset", "retention.ms"];
    printed(at, &changed);
    let described = json(at, &["log", "describe", &log]);
    assert_eq!(described["partitions"].as_array().unwrap().len(), 4);
    assert_eq!(described["configs"]["max.message.bytes"], "2000");
    assert_eq!(described["configs"]["retention.ms"], "604800000");
    let (code, said) = failed(&run(at, &["log", "alter", &log, "-p", "2"]));
    assert!(code == 2 && said.contains(&log), "{said}");
    let (code, said) = failed(&run(at, &["log", "alter", &log, "-s", "retention.ms=soon"]));
    assert!(code == 2 && said.contains("retention.ms"), "{said}");
    assert_eq!(failed(&run(at, &["log", "alter", &log])).0, 2, "nothing to change");

    // Nobody is there to be asked.
    assert_eq!(printed(at, &["log", "delete", &log]), format!("deleted {log}\n"));
    let (code, said) = failed(&run(at, &["log", "delete", &log, "--yes"]));
    assert_eq!((code, said.contains("there is no log")), (4, true), "{said}");
    printed(at, &["log", "delete", &log, "--if-exists"]);
}

#[test]
fn stats_count_records_bytes_and_the_rate() {
    let target = shared();
    let at = target.kafka();
    let log = create(at, "cli-stats", "2");
    produce(at, &log, &["--partition", "1"], b"one\ntwo\n");
    let stats = json(at, &["log", "stats", &log]);
    let of = &stats[0];
    assert_eq!((&of["log"], &of["records"], &of["records_per_second"]), (&log.as_str().into(), &2.into(), &0.0.into()));
    assert!(of["bytes"].as_u64().unwrap() > 0, "{stats}");
    assert_eq!(of["partitions"][1]["end_offset"], 2);
    assert_eq!(of["partitions"][0]["records"], 0);
    let table = printed(at, &["log", "stats", &log, "--partitions"]);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(printed(at, &["log", "stats", &log]).contains("RECORDS/S"));

    let mut writer = command(at, &["produce", &log, "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let feeding = std::thread::spawn({
        let over = over.clone();
        move || {
            while !over.load(Ordering::Relaxed) {
                stdin.write_all(b"more\n").unwrap();
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    });
    eventually("20 records per second are written, and seen", || {
        let rate = json(at, &["log", "stats", &log])[0]["records_per_second"].as_f64().unwrap();
        (2.0..=40.0).contains(&rate).then_some(())
    });
    over.store(true, Ordering::Relaxed);
    feeding.join().unwrap();
    assert!(finish(writer).status.success());
}

#[test]
fn a_paused_log_refuses_writes_until_it_is_resumed() {
    let target = shared();
    let at = target.kafka();
    let log = create(at, "cli-pause", "1");
    if on_kafka() {
        let (code, said) = failed(&run(at, &["log", "pause", &log]));
        assert!(code == 2 && said.contains("Only Pyralog"), "{said}");
        return;
    }
    assert_eq!(printed(at, &["log", "pause", &log, "--fatal"]), format!("paused {log}\n"));
    assert!(printed(at, &["log", "describe", &log]).contains("pyralog.paused:"));
    let (code, said) = failed(&with_input(at, &["produce", &log], b"x\n"));
    assert!(code == 1 && said.contains("POLICY_VIOLATION") && said.contains("line 1"), "{said}");
    printed(at, &["log", "pause", &log]);
    let (code, said) = failed(&with_input(at, &["produce", &log, "--timeout", "1s"], b"x\n"));
    assert!(code == 3 && said.contains("NOT_ENOUGH_REPLICAS"), "waited for: {said}");
    assert_eq!(printed(at, &["log", "resume", &log]), format!("resumed {log}\n"));
    produce(at, &log, &[], b"x\n");
    assert_eq!(printed(at, &["consume", &log, "-e"]), "x\n");
}

#[test]
fn lines_are_written_and_read() {
    let target = shared();
    let at = target.kafka();
    let log = create(at, "cli-lines", "1");
    let output = with_input(at, &["produce", &log, "--report"], "one\r\n\nGr\u{fc}\u{df}e".as_bytes());
    assert_eq!(text(&output.stdout).lines().last(), Some(r#"{"partition":0,"offset":2}"#));
    assert_eq!(text(&output.stderr), format!("3 records written to {log}\n"));
    assert_eq!(printed(at, &["consume", &log, "-e"]), "one\n\nGr\u{fc}\u{df}e\n");
    assert_eq!(printed(at, &["consume", &log, "-e", "--from", "2"]), "Gr\u{fc}\u{df}e\n");
    assert_eq!(printed(at, &["consume", &log, "-e", "--from", "-2", "-n", "1"]), "\n");
    assert_eq!(printed(at, &["consume", &log, "-e", "--from", "latest"]), "");
    assert_eq!(printed(at, &["consume", &log, "-e", "--from", "1h", "-n", "1"]), "one\n");
    assert_eq!(printed(at, &["consume", &log, "-e", "--from", "2200-01-01"]), "");
    assert_eq!(printed(at, &["consume", &log, "-e", "-n", "0"]), "");
    let timed = printed(at, &["consume", &log, "-n", "1", "--timestamps"]);
    assert!(timed.starts_with("20") && timed.ends_with("Z\tone\n"), "{timed}");

    produce(at, &log, &["-0", "--key", "k"], b"a\nb\0c");
    assert_eq!(printed(at, &["consume", &log, "-e", "--from", "3", "-0", "-K", "\\t"]), "k\ta\nb\0k\tc\0");
    let stopped = with_input(at, &["produce", &log, "-n", "1", "--quiet"], b"only this\nnot this\n");
    assert!(stopped.status.success() && stopped.stderr.is_empty(), "{stopped:?}");
    assert_eq!(printed(at, &["consume", &log, "-e", "--from", "5"]), "only this\n");
}

#[test]
fn json_lines_carry_everything_and_can_be_read_back() {
    let target = shared();
    let at = target.kafka();
    let (log, copy) = (create(at, "cli-json", "3"), create(at, "cli-json-copy", "3"));
    let input = concat!(
        r#"{"key":"k","value":"v","headers":[{"name":"h","value":"1"},{"name":"h"}],"partition":2,"timestamp":1700000000000}"#,
        "\n",
        r#"{"key_base64":"/w==","value":{"a":1},"partition":0,"timestamp":"2026-01-01T00:00:00Z"}"#,
        "\n",
        r#"{"key":"gone","partition":1}"#,
    );
    produce(at, &log, &["--json"], input.as_bytes());
    let lines = printed(at, &["consume", &log, "--json", "-e"]);
    let mut records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by_key(|record| record["partition"].as_u64());
    let names: Vec<&String> = records[2].as_object().unwrap().keys().collect();
    assert_eq!(names, ["epoch", "headers", "key", "log", "offset", "partition", "timestamp", "value"]);
    assert_eq!((&records[2]["key"], &records[2]["value"]), (&"k".into(), &"v".into()));
    assert_eq!(records[2]["headers"], serde_json::json!([{"name": "h", "value": "1"}, {"name": "h"}]));
    assert_eq!(records[2]["timestamp"], 1_700_000_000_000u64);
    assert_eq!((&records[0]["key"], &records[0]["key_base64"]), (&Value::Null, &"/w==".into()));
    assert_eq!((&records[0]["value"], &records[0]["timestamp"]), (&r#"{"a":1}"#.into(), &1_767_225_600_000u64.into()));
    assert_eq!(records[1]["value"], Value::Null, "a tombstone");

    produce(at, &copy, &["--json"], lines.as_bytes());
    let copied = printed(at, &["consume", &copy, "--json", "-e"]).replace(&copy, &log);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&copied), sorted(&lines));
}

#[test]
fn bad_input_is_named_by_its_line() {
    let target = shared();
    let at = target.kafka();
    let log = create(at, "cli-bad", "1");
    for (words, input, part) in [
        (&["--json"][..], &b"{\"value\":\"ok\"}\nnonsense\n"[..], "line 2 of the input: expected"),
        (&["--json"], b"{\"partition\":7}\n", "has no partition 7"),
        (&["--json"], b"{\"valu\":\"x\"}\n", "unknown field `valu`"),
        (&["-K", ":"], b"a:b\nno separator\n", "line 2 of the input: there is no \":\""),
        (&["--partition", "99"], b"x\n", "has no partition 99"),
        (&["--partition", "-1"], b"x\n", "-1 is not in 0..="),
        (&["--partition", "99999999999999999999"], b"x\n", "invalid value"),
        (&["--compression", "rar"], b"x\n", "none, gzip, snappy, lz4 or zstd"),
        (&["--header", "novalue"], b"x\n", "NAME=VALUE"),
        (&["--json", "--key", "x"], b"x\n", "cannot be used with"),
    ] {
        let (code, said) = failed(&with_input(at, &[&["produce", &log], words].concat(), input));
        assert!(said.contains(part) && (code == 2 || code == 4), "{words:?}: {code} {said}");
    }
    let large = vec![b'x'; 2 << 20];
    let (code, said) = failed(&with_input(at, &["produce", &log], &large));
    assert!(code == 1 && said.contains("line 1") && said.contains("MESSAGE_TOO_LARGE"), "{code} {said}");
    for position in ["-1x", "soon", "2026-02-30", "9223372036854775808", ""] {
        let (code, said) = failed(&run(at, &["consume", &log, "-e", "--from", position]));
        assert!(code == 2 && said.contains("--from"), "{position}: {said}");
    }
}

#[test]
fn what_is_not_there_is_said_with_what_may_be_meant() {
    let target = shared();
    let at = target.kafka();
    let log = create(at, "cli-nearest", "1");
    let typo = format!("{log}x");
    for words in [&["log", "describe"][..], &["log", "delete"], &["log", "stats"], &["produce"], &["consume", "-e"]] {
        let (code, said) = failed(&run(at, &[words, &[&typo]].concat()));
        assert!(code == 4 && said.contains(&format!("is {log} meant?")), "{words:?}: {code} {said}");
    }
    let (code, said) = failed(&run(at, &["log", "describe", "no/slash"]));
    assert!(code == 2 && said.contains('/'), "{said}");
    let (code, said) = failed(&run(at, &["log", "create", &"x".repeat(250)]));
    assert!(code == 2 && said.contains("249"), "{said}");
    let (code, said) = failed(&run(at, &["consume", &log, "-p", "0,7", "-e"]));
    assert!(code == 4 && said.contains("no partition 7"), "{said}");
    let (code, said) = failed(&run(at, &["log", "create", &unique("cli-rf"), "-r", "3"]));
    assert!(code == 2 && said.contains("INVALID_REPLICATION_FACTOR"), "{said}");
}

#[test]
fn a_broker_that_is_not_there_or_not_one_ends_the_command_soon() {
    let (code, said) = failed(&run("127.0.0.1:1", &["log", "list"]));
    assert!(code == 3 && said.contains("127.0.0.1:1") && said.contains("pyralog server"), "{said}");
    let (code, said) = failed(&run("nonsense", &["log", "list"]));
    assert!(code == 2 && said.contains("nonsense") && said.contains("host:port"), "{said}");
    let (code, said) = failed(&run("127.0.0.1:99999", &["log", "list"]));
    assert!(code == 2 && said.contains("99999"), "{said}");

    // One that says nothing, one that hangs up, one that speaks HTTP.
    for answer in [None, Some(&b""[..]), Some(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                if let Some(answer) = answer {
                    let _ = stream.read(&mut [0; 512]);
                    let _ = stream.write_all(answer);
                } else {
                    kept.push(stream);
                }
            }
        });
        let (code, said) = failed(&run(&address, &["log", "list", "--timeout", "500ms"]));
        assert!((code == 3 || code == 1) && said.contains(&address), "{code} {said}");
    }
}

/// Waits until a process takes SIGINT itself.
fn await_handler(child: &Child) {
    eventually("it has a handler", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        ((caught >> (Signal::INT.as_raw() - 1)) & 1 == 1).then_some(())
    });
}

#[test]
fn a_closed_output_and_ctrl_c_are_no_failures() {
    let target = shared();
    let at = target.kafka();
    let log = create(at, "cli-pipe", "1");
    produce(at, &log, &["--quiet"], "a line of text\n".repeat(50_000).as_bytes());

    let mut child = command(at, &["consume", &log]).spawn().unwrap();
    let mut first = [0; 15];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    drop(child.stdout.take());
    let output = finish(child);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");

    let child = command(at, &["consume", &log, "--from", "latest"]).spawn().unwrap();
    await_handler(&child);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert!(finish(child).status.success());

    let mut child = command(at, &["produce", &log]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let before = target.connect().end_offset(&log, 0);
    stdin.write_all(b"before\n").unwrap();
    await_handler(&child);
    eventually("the line is written", || (target.connect().end_offset(&log, 0) > before).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (code, said) = failed(&finish(child));
    assert!(code == 130 && said.contains("1 record written"), "{said}");
    drop(stdin);
}

#[test]
fn a_second_ctrl_c_waits_for_no_acknowledgement() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let at = broker.kafka();
    let (log, vlsn_log) = (create(at, "cli-held", "1"), unique("cli-held-vlsn"));
    printed(at, &["log", "create", &vlsn_log, "--config", "vlsn.enable=true"]);
    let cases: [(&[&str], &str); 2] = [
        (&["produce", &log], "1 more may be written or not"),
        (&["vlsn", "write", &vlsn_log], "send line 1 and those behind it again with --at 0"),
    ];
    for (words, way_on) in cases {
        printed(at, &["log", "pause", words[words.len() - 1]]);
        let mut child = command(at, words).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"a line\n").unwrap();
        await_handler(&child);
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(1000));
            assert_eq!(child.try_wait().unwrap(), None, "it waits");
            kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        }
        assert!(wait(&mut child, SOON).is_some(), "it does not end");
        let (code, said) = failed(&finish(child));
        assert!(code == 130 && said.contains(way_on), "{code}: {said}");
        drop(stdin);
    }
}

#[test]
fn a_group_goes_on_where_it_was() {
    let target = shared();
    let at = target.kafka();
    let (log, group) = (create(at, "cli-group", "1"), unique("cli-readers"));
    produce(at, &log, &[], b"a\nb\nc\n");
    assert_eq!(printed(at, &["consume", &log, "-g", &group, "-n", "2"]), "a\nb\n");
    assert_eq!(printed(at, &["consume", &log, "-g", &group, "-e"]), "c\n");
    assert_eq!(printed(at, &["consume", &log, "-g", &group, "-e"]), "");
    assert_eq!(printed(at, &["consume", &log, "-g", &group, "-e", "--from", "earliest"]), "a\nb\nc\n");
}

#[test]
fn a_group_gets_each_record_while_others_are_written_behind_the_end() {
    const RECORDS: usize = 20_000;
    let target = shared();
    let at = target.kafka();
    let (log, group) = (create(at, "cli-group-busy", "2"), unique("cli-readers"));
    let mut writer = command(at, &["produce", &log]).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = writer.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        for from in (0..RECORDS).step_by(100) {
            let some: String = (from..from + 100).map(|n| format!("{n}\n")).collect();
            lines.write_all(some.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut read = Vec::new();
    let mut read_once = || {
        let lines = printed(at, &["consume", &log, "-g", &group, "-e"]);
        read.extend(lines.lines().map(|line| line.parse::<usize>().unwrap()));
    };
    while !feeding.is_finished() {
        read_once();
    }
    feeding.join().unwrap();
    assert!(finish(writer).status.success());
    read_once();
    read.sort_unstable();
    assert_eq!(read.len(), RECORDS, "each once");
    assert!(read.into_iter().eq(0..RECORDS));
}

#[test]
fn what_the_output_did_not_take_is_not_committed() {
    let target = shared();
    let at = target.kafka();
    let (log, group) = (create(at, "cli-group-full", "1"), unique("cli-readers"));
    produce(at, &log, &[], b"a\nb\nc\n");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let to_nowhere = command(at, &["consume", &log, "-g", &group, "-e"]).stdout(full).spawn().unwrap();
    assert_eq!(finish(to_nowhere).status.code(), Some(1));
    assert_eq!(printed(at, &["consume", &log, "-g", &group, "-e"]), "a\nb\nc\n");
}

#[test]
fn groups_are_listed_described_reset_and_deleted() {
    let target = shared();
    let at = target.kafka();
    let (log, group) = (create(at, "cli-groups", "2"), unique("cli-billing"));
    produce(at, &log, &["-p", "0"], b"a\nb\nc\nd\n");
    produce(at, &log, &["-p", "1"], b"e\n");
    printed(at, &["consume", &log, "-g", &group, "-e"]);

    let listed = json(at, &["group", "list"]);
    let found = listed.as_array().unwrap().iter().find(|entry| entry["group"] == group.as_str()).unwrap();
    assert_eq!((&found["kind"], &found["state"]), (&"classic".into(), &"Empty".into()));
    assert!(printed(at, &["group", "list"]).lines().any(|line| line.starts_with(&group)));
    let described = json(at, &["group", "describe", &group]);
    assert_eq!((&described["state"], &described["members"]), (&"Empty".into(), &Value::Array(Vec::new())));
    let position = &described["positions"][0];
    assert_eq!(
        (&position["committed_offset"], &position["end_offset"], &position["lag"]),
        (&4.into(), &4.into(), &0.into())
    );

    // A plan changes nothing.
    let plan = json(at, &["group", "reset", &group, "--to", "earliest", "--dry-run"]);
    assert_eq!(plan[0], serde_json::json!({"log": log, "partition": 0, "from_offset": 4, "to_offset": 0}));
    assert_eq!(json(at, &["group", "describe", &group])["positions"][0]["committed_offset"], 4);
    for (words, expected) in [
        (&["--shift", "-3"][..], [1, 0]),
        (&["--shift", "1", "--log", &format!("{log}:0")], [2, 0]),
        (&["--to", "3", "-l", &log], [3, 1]),
        (&["--to", "99"], [4, 1]),
        (&["--to", "2020-01-01"], [0, 0]),
        (&["--to", "latest"], [4, 1]),
        (&["--shift", "-9223372036854775808"], [0, 0]),
    ] {
        printed(at, &[&["group", "reset", &group], words].concat());
        let described = json(at, &["group", "describe", &group]);
        let now = [0, 1].map(|partition| described["positions"][partition]["committed_offset"].as_i64().unwrap());
        assert_eq!(now, expected, "{words:?}");
    }
    assert!(printed(at, &["group", "describe", &group]).contains("COMMITTED"));
    for (words, code, part) in [
        (&["--to", "soon"][..], 2, "--to"),
        (&["--to", "-5"], 2, "--shift -5"),
        (&["--shift", "99999999999999999999"], 2, "--shift"),
        (&[], 2, "--to"),
        (&["--to", "latest", "--log", &format!("{log}:7")], 4, "partition 7"),
        (&["--to", "latest", "--log", "no/slash"], 2, "--log"),
        (&["--to", "latest", "--log", &format!("{log}x")], 4, &format!("is {log} meant?")),
    ] {
        let (found, said) = failed(&run(at, &[&["group", "reset", &group], words].concat()));
        assert!(found == code && said.contains(part), "{words:?}: {found} {said}");
    }
    for words in [&["group", "describe"][..], &["group", "delete"], &["group", "reset", "--to", "latest"]] {
        let (code, said) = failed(&run(at, &[words, &[&format!("{group}x")]].concat()));
        assert!(code == 4 && said.contains(&format!("is {group} meant?")), "{words:?}: {code} {said}");
    }
    assert_eq!(printed(at, &["group", "delete", &group]), format!("deleted {group}\n"));
    printed(at, &["group", "delete", &group, "--if-exists"]);

    // Whoever chose a name does not control the terminal.
    let hostile = format!("{}\u{1b}[2J", unique("cli-hostile"));
    printed(at, &["consume", &log, "-g", &hostile, "-e"]);
    assert!(!printed(at, &["group", "list"]).contains('\u{1b}'));
    assert!(!printed(at, &["group", "describe", &hostile]).contains('\u{1b}'));
    assert!(!printed(at, &["group", "delete", &hostile, "--yes"]).contains('\u{1b}'));
}

#[test]
fn a_group_with_members_is_shown_and_kept() {
    let target = shared();
    let at = target.kafka();
    let (log, group) = (create(at, "cli-members", "2"), unique("cli-members"));
    let conn = target.connect();
    let mut member = pyralog_compat_tests::consumers::Consumer::join(conn, &group, &[&log]);
    member.beat();
    let described = json(at, &["group", "describe", &group]);
    assert_eq!(
        (&described["kind"], &described["members"][0]["member_id"]),
        (&"consumer".into(), &member.id.as_str().into())
    );
    assert!(described["epoch"].as_i64().unwrap() > 0, "{described}");
    assert!(printed(at, &["group", "describe", &group]).contains("PARTITIONS"));
    let (code, said) = failed(&run(at, &["group", "delete", &group]));
    assert!(code == 1 && said.contains("has members"), "{code} {said}");
    let (code, said) = failed(&run(at, &["group", "reset", &group, "--log", &log, "--to", "latest"]));
    assert!(code == 1 && said.contains(&group), "{code} {said}");
}

#[test]
fn configs_are_shown_and_changed() {
    let target = shared();
    let at = target.kafka();
    let log = create(at, "cli-config", "1");
    let owner = ["--log", &log];
    printed(at, &[&["config", "set", "retention.ms=1000000", "cleanup.policy+=compact"], &owner[..]].concat());
    assert_eq!(printed(at, &[&["config", "get", "retention.ms"], &owner[..]].concat()), "1000000\n");
    assert_eq!(printed(at, &[&["config", "get", "cleanup.policy"], &owner[..]].concat()), "delete,compact\n");
    printed(at, &[&["config", "set", "cleanup.policy-=delete"], &owner[..]].concat());
    assert_eq!(printed(at, &[&["config", "get", "cleanup.policy"], &owner[..]].concat()), "compact\n");
    let found = json(at, &[&["config", "get", "retention.ms"], &owner[..]].concat());
    assert_eq!((&found["source"], &found["type"], &found["read_only"]), (&"log".into(), &"long".into(), &false.into()));
    assert_eq!(found["synonyms"][0]["name"], "retention.ms");
    let set = json(at, &[&["config", "list"], &owner[..]].concat());
    assert!(set.as_array().unwrap().iter().any(|config| config["name"] == "retention.ms"));
    let all = json(at, &[&["config", "list", "--all"], &owner[..]].concat());
    assert!(all.as_array().unwrap().len() > 25, "{all}");
    assert!(printed(at, &[&["config", "list"], &owner[..]].concat()).starts_with("NAME"));

    printed(at, &[&["config", "set", "-n", "retention.ms=5"], &owner[..]].concat());
    printed(at, &[&["config", "reset", "retention.ms"], &owner[..]].concat());
    assert_eq!(printed(at, &[&["config", "get", "retention.ms"], &owner[..]].concat()), "604800000\n");

    let node = json(at, &["node", "status"])["nodes"][0]["node"].to_string();
    assert!(printed(at, &["config", "list", "--node", &node, "--all"]).contains("num.partitions"));
    let name = unique("cli-group-config");
    printed(at, &["config", "set", "consumer.session.timeout.ms=50000", "--group", &name]);
    assert_eq!(printed(at, &["config", "get", "consumer.session.timeout.ms", "--group", &name]), "50000\n");
    printed(at, &["config", "reset", "consumer.session.timeout.ms", "--group", &name]);
    printed(at, &["config", "list", "--all-nodes"]);

    let mistyped = format!("{log}x");
    for (words, code, part) in [
        (&["get", "retention.m", "--log", &log][..], 4, "is retention.ms meant?"),
        (&["set", "retention.ms=soon", "--log", &log], 2, "retention.ms"),
        (&["set", "nonsense=1", "--log", &log], 2, "nonsense"),
        (&["set", "retention.ms", "--log", &log], 2, "NAME=VALUE"),
        (&["list"], 2, "--log"),
        (&["list", "--log", &log, "--all-nodes"], 2, "cannot be used with"),
        (&["list", "--log", &mistyped], 4, "meant?"),
        (&["list", "--node", "4711"], 4, "no node 4711"),
    ] {
        let (found, said) = failed(&run(at, &[&["config"], words].concat()));
        assert!(found == code && said.contains(part), "{words:?}: {found} {said}");
    }
}

#[test]
fn the_status_says_who_is_there_and_what_does_not_serve() {
    let target = shared();
    let at = target.kafka();
    create(at, "cli-status", "3");
    let status = json(at, &["node", "status"]);
    assert!(status["partitions"].as_u64().unwrap() >= 3, "{status}");
    assert_eq!(status["partitions_without_leader"], Value::Array(Vec::new()));
    assert_eq!(status["quorum"]["leader"], status["nodes"][0]["node"]);
    assert!(status["nodes"][0]["folders"][0]["partitions"].as_u64().unwrap() >= 3, "{status}");
    let page = printed(at, &["node", "status"]);
    assert!(page.contains("under-replicated:") && page.contains("FOLDER"), "{page}");
}

#[test]
fn vlsn_logs_are_written_read_and_committed_by_number() {
    if on_kafka() {
        return;
    }
    let target = shared();
    let at = target.kafka();
    let log = unique("cli-vlsn");
    printed(at, &["log", "create", &log, "--partitions", "3", "--config", "vlsn.enable=true"]);
    let written = with_input(at, &["vlsn", "write", &log], b"a\nb\nc\n");
    assert_eq!(text(&written.stdout), "0\n1\n2\n", "{written:?}");
    let later = with_input(at, &["vlsn", "write", &log, "--at", "5"], b"f\ng\nh\n");
    assert_eq!(text(&later.stdout), "5\n6\n7\n", "{later:?}");

    assert_eq!(printed(at, &["vlsn", "get", &log, "1"]), "b\n");
    let (code, why) = failed(&run(at, &["vlsn", "get", &log, "3"]));
    assert!(code == 4 && why.contains("left out"), "{code}: {why}");
    let (code, why) = failed(&run(at, &["vlsn", "get", &log, "100"]));
    assert!(code == 4 && why.contains("nobody wrote it so far"), "{code}: {why}");
    let (code, why) = failed(&run(at, &["vlsn", "get", &log, "18446744073709551615"]));
    assert!(code == 2 && why.contains("9223372036854775806"), "{code}: {why}");

    assert_eq!(printed(at, &["vlsn", "range", &log, "0", "8"]), "a\nb\nc\nf\ng\nh\n");
    let lines = printed(at, &["vlsn", "range", &log, "1", "6", "--json"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["offset"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(2), None, Some(5)]);
    assert_eq!(lines[2]["gap"], serde_json::json!([3, 5]));
    let (code, why) = failed(&run(at, &["vlsn", "range", &log, "9", "3"]));
    assert!(code == 2 && why.contains("9..3"), "{code}: {why}");

    let standing = json(at, &["vlsn", "describe", &log]);
    assert_eq!((standing["last"].as_u64(), standing["undecided"].as_u64()), (Some(7), Some(8)));
    printed(at, &["vlsn", "commit", &log, "me", "6"]);
    let (_, why) = failed(&run(at, &["vlsn", "commit", &log, "me", "2"]));
    assert!(why.contains('6'), "{why}");
    let committed = json(at, &["vlsn", "committed", &log, "me"]);
    assert_eq!((committed["resume_vlsn"].as_u64(), committed["lag"].as_u64()), (Some(7), Some(1)));

    let plain = create(at, "cli-plain", "1");
    let (_, why) = failed(&run(at, &["vlsn", "describe", &plain]));
    assert!(why.contains("vlsn.enable=true"), "{why}");
}

/// Exit code, stderr and stdout of a command with so much to write that it has to be read meanwhile.
fn fed(
    at: &str,
    words: &[&str],
    input: impl Iterator<Item = String> + Send + 'static,
) -> (Option<i32>, String, String) {
    let mut child = command(at, words).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        for part in input {
            // One that has failed does not read on.
            if stdin.write_all(part.as_bytes()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let output = child.wait_with_output().unwrap();
    feeding.join().unwrap();
    (output.status.code(), text(&output.stderr), text(&output.stdout))
}

#[test]
fn a_vlsn_write_that_fails_in_the_middle_says_how_to_go_on() {
    if on_kafka() {
        return;
    }
    let target = shared();
    let at = target.kafka();
    let log = unique("cli-vlsn-write");
    printed(at, &["log", "create", &log, "--partitions", "3", "--config", "vlsn.enable=true"]);
    let lines = |from: usize, to: usize| (from..to).map(|n| format!("line {n}\n")).collect::<String>();

    // Paused while its lines come; slowly, so that it is not done by then.
    let (code, why, said) = std::thread::scope(|scope| {
        let input = (0..5_000).map(move |n| lines(50 * n, 50 * (n + 1)));
        let writing = scope.spawn(|| fed(at, &["vlsn", "write", &log], input));
        let mut conn = target.connect();
        eventually("some of it is written", || {
            let written: i64 = (0..3).map(|partition| conn.end_offset(&log, partition)).sum();
            (written > 5_000).then_some(())
        });
        printed(at, &["log", "pause", &log, "--fatal"]);
        writing.join().unwrap()
    });
    let count = said.lines().count();
    assert!(said.lines().map(|vlsn| vlsn.parse::<usize>().unwrap()).eq(0..count) && count > 100, "{count} are printed");
    let way_on = format!("send line {} and those behind it again with --at {count}", count + 1);
    assert!(code == Some(1) && why.contains(&way_on), "{code:?}: {why}");

    // As it says; some of it may be there already.
    printed(at, &["log", "resume", &log]);
    let end = count + 20_000;
    let words = ["vlsn", "write", &log, "--at", &count.to_string(), "--json"];
    let (code, why, said) = fed(at, &words, std::iter::once(lines(count, end)));
    assert_eq!(code, Some(0), "{why}");
    assert!(said.lines().map(str::to_owned).eq((count..end).map(|vlsn| format!("{{\"vlsn\":{vlsn}}}"))));
    let (_, _, all) = fed(at, &["vlsn", "range", &log, "0", &end.to_string()], std::iter::empty());
    assert!(all == lines(0, end), "each line once, in order");

    let (code, why) = failed(&with_input(at, &["vlsn", "write", &log], &vec![b'x'; 2 << 20]));
    assert!(code != 0 && why.contains("line 1 of the input"), "{why}");
}

#[test]
fn mistakes_about_vlsn_logs_are_told_with_what_to_do() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let at = broker.kafka();
    let (log, taken) = (unique("cli-vlsn"), unique("cli-taken"));
    let (view, taken_view) = (format!("{log}.vlsn"), format!("{taken}.vlsn"));
    printed(at, &["log", "create", &log, "--config", "vlsn.enable=true"]);
    printed(at, &["log", "create", &taken_view]);
    let plain = create(at, "cli-plain", "1");
    let name_the_log = format!("name {log} instead");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["vlsn", "get", &view, "0"], 1, &name_the_log),
        (&["vlsn", "write", &view], 1, &name_the_log),
        (&["vlsn", "describe", &view], 1, &name_the_log),
        (&["vlsn", "range", &view, "0", "9"], 1, &name_the_log),
        (&["vlsn", "commit", &view, "me", "1"], 1, &name_the_log),
        (&["vlsn", "committed", &view, "me"], 1, &name_the_log),
        (&["vlsn", "committed", &plain, "me"], 2, "create it with vlsn.enable=true"),
        (&["vlsn", "committed", "nowhere", "me"], 4, "there is no log nowhere"),
        (&["vlsn", "committed", &log, ""], 2, "1 to 249 bytes"),
        (&["log", "create", &view], 5, &format!("it is the read-only view of log {log}")),
        (
            &["log", "create", &taken, "--config", "vlsn.enable=true", "--if-not-exists"],
            2,
            &format!("the read-only view of a VLSN log needs the name {taken_view}"),
        ),
        (&["vlsn", "get", &log, "-1"], 2, "a VLSN is a number from 0 to 9223372036854775806"),
        (&["vlsn", "commit", &log, "me", "9223372036854775807"], 2, "from 0 to 9223372036854775806"),
        (&["vlsn", "write", &log, "--at", "-1"], 2, "a VLSN is a number from 0 to 9223372036854775806"),
        (&["vlsn", "range", &log, "-5", "-1"], 2, "a VLSN is a number from 0 to 9223372036854775806"),
        (&["sequencer", "reserve", "any", "-3"], 2, "give a number from 0 to"),
        (&["log", "create", &plain, "--partitions", "-1"], 2, "-1 is not in 1..="),
        (&["consume", &plain, "-n", "-1"], 2, "give a number from 0 to"),
        (&["produce", &plain, "-p", "-1"], 2, "-1 is not in 0..="),
    ];
    for (words, code, text) in cases {
        let (found, why) = failed(&run(at, words));
        assert!(found == *code && why.contains(text), "{words:?} ends with {found}: {why}");
    }
    let (code, why) = failed(&run(broker.http(), &["log", "list"]));
    assert!(code == 1 && why.contains("the port speaks HTTP, not the Kafka protocol"), "{code}: {why}");
}

#[test]
fn sequencers_hand_out_each_number_once() {
    if on_kafka() {
        return;
    }
    let target = shared();
    let at = target.kafka();
    let name = unique("cli-sequencer");
    assert_eq!(printed(at, &["sequencer", "show", &name]), "0\n");
    assert_eq!(printed(at, &["sequencer", "reserve", &name, "10"]), "0 10\n");
    assert_eq!(json(at, &["sequencer", "reserve", &name])["first"].as_u64(), Some(10));
    assert_eq!(json(at, &["sequencer", "show", &name])["next"].as_u64(), Some(11));
    assert!(!run(at, &["sequencer", "reserve", &name, "0"]).status.success());
}

#[test]
fn a_damaged_partition_is_named_and_keeps_no_command_from_the_others() {
    let Some(mut broker) = private(BrokerOptions::new()) else { return };
    let log = create(broker.kafka(), "cli-damaged", "3");
    for partition in ["0", "1", "2"] {
        produce(broker.kafka(), &log, &["-p", partition], format!("a{partition}\nb{partition}\n").as_bytes());
    }
    broker.terminate();
    let segment = broker.folder().join("logs").join(format!("{log}-1")).join(format!("{:020}.log", 0));
    std::fs::File::options().write(true).open(segment).unwrap().set_len(50).unwrap();
    broker.restart();
    let at = broker.kafka();

    assert_eq!(printed(at, &["consume", &log, "-e", "-p", "2"]), "a2\nb2\n");
    assert_eq!(printed(at, &["consume", &log, "-e", "-p", "2", "-f", "-1"]), "b2\n");
    let output = run(at, &["consume", &log, "-e"]);
    let (code, said) = failed(&output);
    assert_eq!((code, said.contains("partition 1")), (1, true), "{said}");
    let mut lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["a0", "a2", "b0", "b2"]);
    produce(at, &log, &["-p", "2"], b"c2\n");
    let described = json(at, &["log", "describe", &log]);
    let ends: Vec<&Value> = (0..3).map(|n| &described["partitions"][n]["end_offset"]).collect();
    assert_eq!((&described["records"], ends), (&5.into(), vec![&2.into(), &Value::Null, &3.into()]));
    let stats = run(at, &["log", "stats", &log]);
    assert!(stats.status.success() && text(&stats.stderr).contains("cannot be read now: 1"), "{stats:?}");
    let (group, of) = (unique("cli-group"), format!("{log}:2"));
    printed(at, &["group", "reset", &group, "--log", &of, "--to", "latest", "--yes"]);
    let (code, said) = failed(&run(at, &["consume", &log, "-e", "-p", "3"]));
    assert_eq!((code, said.contains("no partition 3")), (4, true), "{said}");
}
