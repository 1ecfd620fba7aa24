//! `pyralog bench` against a broker: what it prints can be read by a script, and what goes wrong is said.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use pyralog_compat_tests::broker::{binary, wait};
use pyralog_compat_tests::calls::{Fetch, metadata_request};
use pyralog_compat_tests::conn::PATIENCE;
use pyralog_compat_tests::{shared, unique};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn bench(address: &str, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("bench").args(words).args(["--bootstrap", address]).stdin(Stdio::null());
    command
}

/// The last line of what a run printed.
fn summary(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    serde_json::from_str(stdout.lines().last().expect("a line")).expect("JSON")
}

fn run(address: &str, words: &[&str]) -> Value {
    summary(&bench(address, words).arg("--json").output().expect("pyralog bench"))
}

fn failure(address: &str, words: &[&str]) -> String {
    let output = bench(address, words).output().expect("pyralog bench");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn number(summary: &Value, path: &[&str]) -> f64 {
    let found = path.iter().fold(summary, |value, name| &value[name]);
    found.as_f64().unwrap_or_else(|| panic!("no {path:?} in {summary}"))
}

#[test]
fn produce_writes_what_it_says_and_fetch_reads_it() {
    let target = shared();
    let topic = unique("bench");
    let common = ["--topic", &topic, "--warmup", "0"];
    let shape = ["--create-partitions", "3", "--records-per-batch", "5", "--record-bytes", "200", "--keys", "100"];
    let words = [&["produce", "--duration", "1s", "--compression", "lz4"], &common[..], &shape].concat();
    let produced = run(target.kafka(), &words);
    let requests = number(&produced, &["requests"]);
    assert!(requests > 10.0 && number(&produced, &["records"]) == requests * 5.0, "{produced}");
    assert!(number(&produced, &["plain_mb_per_s"]) > number(&produced, &["mb_per_s"]), "lz4 makes it smaller");
    let latency = |name| number(&produced, &["latency_ms", name]);
    assert!(
        latency("p50") <= latency("p99") && latency("p99") <= latency("p99_9") && latency("p99_9") <= latency("max")
    );

    // What was acknowledged after the end is there as well, so there may be more, but never less.
    let words = [&["fetch", "--at-end", "stop", "--duration", "60s"], &common[..]].concat();
    let fetched = run(target.kafka(), &words);
    let (written, read) = (number(&produced, &["records"]), number(&fetched, &["records"]));
    assert!(written <= read && read <= written + 8.0 * 4.0 * 5.0, "{written} written, {read} read");
    let mut conn = target.connect();
    let ends: i64 = (0..3).map(|partition| conn.fetch(&Fetch::at(&topic, partition, 0)).high_watermark).sum();
    assert!((ends as f64 - read).abs() < 0.5, "{ends} in the log, {read} read");
}

#[test]
fn latency_measures_both_ends_and_cleans_up() {
    let target = shared();
    let topic = unique("bench-latency");
    let words = ["latency", "--topic", &topic, "--create-partitions", "1", "--rate", "200", "--duration", "1s"];
    let options = ["--warmup", "0", "--end-to-end", "--delete-topic", "--histogram"];
    let found = run(target.kafka(), &[&words[..], &options].concat());
    assert_eq!(found["latency_from"], "due");
    for name in ["latency_ms", "delivery_ms"] {
        assert_eq!(number(&found, &[name, "count"]), 200.0, "every record that was due: {found}");
    }
    assert!(found["latency_us"].as_array().is_some_and(|buckets| buckets.len() > 1));
    let mut conn = target.connect();
    let metadata = conn.call(9, &metadata_request(&[&topic]).with_allow_auto_topic_creation(false));
    assert_eq!(metadata.topics[0].error_code, 3, "deleted");
}

#[test]
fn intervals_are_results_of_their_own() {
    let target = shared();
    let topic = unique("bench-every");
    let words = ["produce", "--topic", &topic, "--create-partitions", "1", "--duration", "2s", "--every", "1s"];
    let output = bench(target.kafka(), &words).args(["--rate", "50", "--json"]).output().expect("pyralog bench");
    let total = summary(&output);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().map(|line| line["whole"] == true).collect::<Vec<_>>(), [false, false, true]);
    let sum: f64 = lines[..2].iter().map(|line| number(line, &["requests"])).sum();
    assert_eq!(sum, number(&total, &["requests"]));
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let target = shared();
    let missing = failure(target.kafka(), &["produce", "--topic", &unique("missing")]);
    assert!(missing.contains("does not exist") && missing.contains("--create-partitions"), "{missing}");
    let refused = failure("127.0.0.1:1", &["fetch"]);
    assert!(refused.contains("cannot connect to 127.0.0.1:1") && refused.contains("--bootstrap"), "{refused}");

    let topic = unique("bench-errors");
    let small = ["--create-partitions", "1", "--topic-config", "max.message.bytes=1000"];
    let too_large =
        failure(target.kafka(), &[&["produce", "--topic", &topic, "--duration", "10s"], &small[..]].concat());
    assert!(too_large.contains("MESSAGE_TOO_LARGE") && too_large.contains("max.message.bytes"), "{too_large}");
    let delete = ["--topic", &topic, "--delete-topic"];
    let other = failure(target.kafka(), &[&["produce", "--create-partitions", "2"], &delete[..]].concat());
    assert!(other.contains("has 1 partitions, --create-partitions says 2"), "{other}");
    let other = failure(target.kafka(), &[&["latency", "--partition", "5"], &delete[..]].concat());
    assert!(other.contains("has no partition 5"), "{other}");
    let other = failure(target.kafka(), &[&["produce", "--pid", "4294967295"], &delete[..]].concat());
    assert!(other.contains("--pid"), "{other}");
    // What a run was not meant for is not deleted.
    let empty = failure(target.kafka(), &["fetch", "--topic", &topic]);
    assert!(empty.contains("is empty"), "{empty}");
    // What it created is.
    let topic = unique("bench-refused");
    let new = ["latency", "--topic", &topic, "--create-partitions", "1", "--partition", "5", "--delete-topic"];
    assert!(failure(target.kafka(), &new).contains("has no partition 5"));
    assert!(failure(target.kafka(), &["fetch", "--topic", &topic]).contains("does not exist"));
}

#[test]
fn ctrl_c_ends_a_run_with_the_results_so_far() {
    let target = shared();
    let topic = unique("bench-interrupted");
    let words =
        ["produce", "--topic", &topic, "--create-partitions", "1", "--duration", "1h", "--warmup", "0", "--json"];
    let mut child = bench(target.kafka(), &words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    std::thread::sleep(Duration::from_millis(3000));
    kill_process(Pid::from_child(&child), Signal::INT).expect("SIGINT");
    let status = wait(&mut child, PATIENCE);
    if status.is_none() {
        child.kill().expect("kill");
    }
    let output = child.wait_with_output().expect("output");
    assert!(status.is_some(), "it goes on after Ctrl-C");
    let found = summary(&output);
    assert_eq!(found["interrupted"], true);
    assert!(number(&found, &["requests"]) > 0.0 && number(&found, &["seconds"]) < 100.0, "{found}");
}
