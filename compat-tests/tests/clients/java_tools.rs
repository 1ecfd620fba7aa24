//! The command-line tools of Apache Kafka: what people try first, and the load tools that report figures.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use pyralog_compat_tests::Conn;
use pyralog_compat_tests::calls::eventually;

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

/// A consumer that runs until it is told to stop.
struct VerifiableConsumer(Child);

impl VerifiableConsumer {
    fn start(target: &Target, topic: &str, group: &str, protocol: &str) -> Self {
        let mut command = java_command("");
        command.arg("org.apache.kafka.tools.VerifiableConsumer").args(["--bootstrap-server", target.bootstrap()]);
        command.args(["--topic", topic, "--group-id", group, "--group-protocol", protocol]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// SIGTERM: it leaves its group.
    fn stop(mut self) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for VerifiableConsumer {
    fn drop(&mut self) {
        // Nothing to do about an error here: the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// N16, N17 with the clients they are about: a group changes its protocol and back while its members work.
#[test]
fn n17_a_group_is_converted_online_and_back() {
    let target = Target::start();
    if !has("java") {
        return;
    }
    let (topic, group) = (unique("convert"), unique("group"));
    let mut conn = Conn::connect(target.bootstrap());
    conn.create_topic(&topic, 4, &[]);
    let classic_members = |conn: &mut Conn| {
        let described = conn.describe_group(&group);
        (described.group_state.as_str() == "Stable").then_some(described.members.len())
    };
    let classic = VerifiableConsumer::start(&target, &topic, &group, "classic");
    eventually("a classic group", || (classic_members(&mut conn) == Some(1)).then_some(()));

    let modern = VerifiableConsumer::start(&target, &topic, &group, "consumer");
    let members = eventually("a KIP-848 group of both", || {
        let described = conn.describe_consumers(&group);
        (described.group_state.as_str() == "Stable" && described.members.len() == 2).then_some(described.members)
    });
    let mut shares: Vec<_> =
        members.iter().map(|m| (m.member_type, m.assignment.topic_partitions[0].partitions.len())).collect();
    shares.sort_unstable();
    assert_eq!(shares, [(0, 2), (1, 2)]);
    let at = ["--bootstrap-server", target.bootstrap()];
    let groups = |more: &[&str]| tool("consumer.group.ConsumerGroupCommand", &[&at, more].concat(), "");
    let described = groups(&["--describe", "--group", &group, "--members", "--verbose"]);
    let rows: Vec<Vec<&str>> =
        described.lines().filter(|row| row.starts_with(&group)).map(|row| row.split_whitespace().collect()).collect();
    let upgraded: Vec<&str> = rows.iter().map(|row| row[row.len() - 1]).collect();
    assert!(upgraded.contains(&"true") && upgraded.contains(&"false") && rows.len() == 2, "{described}");
    let stated = groups(&["--describe", "--group", &group, "--state"]);
    let row: Vec<&str> = stated.lines().find(|row| row.starts_with(&group)).unwrap().split_whitespace().collect();
    assert_eq!(row[row.len() - 3..], ["uniform", "Stable", "2"], "{stated}");

    modern.stop();
    eventually("a classic group again", || (classic_members(&mut conn) == Some(1)).then_some(()));
    assert_eq!(conn.describe_consumers(&group).error_code, 69);
    let listed = groups(&["--list", "--type"]);
    assert!(listed.lines().any(|row| row.starts_with(&group) && row.contains("Classic")), "{listed}");
    classic.stop();
    groups(&["--delete", "--group", &group]);
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
