//! The command-line tools of Apache Kafka: what people try first, and the load tools that report figures.

use std::io::Write;
use std::process::Stdio;

use crate::agent::java_command;
use crate::client::has;
use crate::target::{Target, unique};

/// Runs a tool to its end; panics with what it wrote when it fails.
fn tool(class: &str, arguments: &[&str], input: &str) -> String {
    let mut command = java_command("");
    let mut child = command
        .arg(format!("org.apache.kafka.tools.{class}"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{class} {arguments:?} failed:\n{stdout}\n{stderr}");
    stdout
}

#[test]
fn topics_are_created_described_listed_changed_and_deleted() {
    let target = Target::start();
    if !has("java") {
        return;
    }
    let topic = unique("tools");
    let at = ["--bootstrap-server", target.bootstrap()];
    let topics = |more: &[&str]| tool("TopicCommand", &[&at, more].concat(), "");
    topics(&["--create", "--topic", &topic, "--partitions", "3", "--config", "retention.ms=3600000"]);
    let described = topics(&["--describe", "--topic", &topic]);
    assert!(described.contains("PartitionCount: 3") && described.contains("retention.ms=3600000"), "{described}");
    topics(&["--alter", "--topic", &topic, "--partitions", "5"]);
    assert!(topics(&["--list"]).lines().any(|line| line == topic));
    let described = topics(&["--describe", "--topic", &topic]);
    assert!(described.contains("PartitionCount: 5"), "{described}");
    topics(&["--delete", "--topic", &topic]);
    assert!(!topics(&["--list"]).lines().any(|line| line == topic));
}

#[test]
fn console_producer_and_consumer_and_what_the_group_commands_say() {
    let target = Target::start();
    if !has("java") {
        return;
    }
    let (topic, group) = (unique("console"), unique("group"));
    let at = ["--bootstrap-server", target.bootstrap()];
    tool("TopicCommand", &[&at[..], &["--create", "--topic", &topic, "--partitions", "1"]].concat(), "");
    let keyed = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
    tool("ConsoleProducer", &[&at[..], &["--topic", &topic], &keyed].concat(), "a:1\nb:2\nc:3\n");
    let consume =
        ["--topic", &topic, "--from-beginning", "--max-messages", "3", "--timeout-ms", "20000", "--group", &group];
    let read = tool(
        "consumer.ConsoleConsumer",
        &[&at[..], &consume, &["--formatter-property", "print.key=true"]].concat(),
        "",
    );
    assert_eq!(read.lines().collect::<Vec<_>>(), ["a\t1", "b\t2", "c\t3"]);

    let offsets = tool("GetOffsetShell", &[&at[..], &["--topic", &topic]].concat(), "");
    assert_eq!(offsets.trim(), format!("{topic}:0:3"));
    let groups = |more: &[&str]| tool("consumer.group.ConsumerGroupCommand", &[&at, more].concat(), "");
    assert!(groups(&["--list"]).lines().any(|line| line == group));
    let described = groups(&["--describe", "--group", &group]);
    let row: Vec<&str> = described.lines().find(|line| line.starts_with(&group)).unwrap().split_whitespace().collect();
    assert_eq!(row[1..6], [&topic, "0", "3", "3", "0"], "topic, partition, committed, end and lag in {described}");
    groups(&["--reset-offsets", "--group", &group, "--topic", &topic, "--to-earliest", "--execute"]);
    assert!(groups(&["--describe", "--group", &group]).contains(" 0               3               3 "));
    groups(&["--delete", "--group", &group]);
    assert!(!groups(&["--list"]).lines().any(|line| line == group));
}

#[test]
fn performance_tools_move_all_records() {
    let target = Target::start();
    if !has("java") {
        return;
    }
    let topic = unique("perf");
    let at = ["--bootstrap-server", target.bootstrap()];
    tool("TopicCommand", &[&at[..], &["--create", "--topic", &topic, "--partitions", "4"]].concat(), "");
    let load = ["--topic", &topic, "--num-records", "50000", "--record-size", "200", "--throughput", "-1"];
    let properties = ["--command-property", "acks=all", "--command-property", "compression.type=lz4"];
    let produced = tool("ProducerPerformance", &[&at[..], &load, &properties].concat(), "");
    assert!(produced.contains("50000 records sent"), "{produced}");
    let consumed = tool("ConsumerPerformance", &[&at[..], &["--topic", &topic, "--num-records", "50000"]].concat(), "");
    let counted: Option<u64> =
        consumed.lines().last().and_then(|row| row.split(", ").nth(4)).and_then(|n| n.parse().ok());
    assert!(counted.is_some_and(|n| n >= 50_000), "{consumed}");
    let delays = ["--topic", &topic, "--num-records", "200", "--producer-acks", "all", "--record-size", "100"];
    let measured = tool("EndToEndLatency", &[&at[..], &delays].concat(), "");
    assert!(measured.contains("Percentiles"), "{measured}");
}
