//! Kafka Streams: a word count at least once, whose topics for repartitioning and for its state the library makes itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kafka_protocol::messages::DescribeConfigsRequest;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use pyralog_compat_tests::broker::wait;
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::{Batch, Conn, Record, text};

use crate::agent::java_command;
use crate::client::{cache, has};
use crate::target::{Target, unique};

/// A rebalance after a broker was killed waits for the session of whoever did not leave.
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 2;

/// One run of `java/WordCount.java`.
struct WordCount(Child);

impl WordCount {
    fn start(target: &Target, application: &str, state: &Path, input: &str, output: &str) -> Self {
        let mut command = java_command(&cache().join("agent-java").display().to_string());
        command.args(["WordCount", target.bootstrap(), application]).arg(state).args([input, output]);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// It commits, and ends in order.
    fn stop(mut self) {
        drop(self.0.stdin.take());
        let status = wait(&mut self.0, PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}

impl Drop for WordCount {
    fn drop(&mut self) {
        // Nothing to do about an error here: the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was said last about each word.
fn counts(conn: &mut Conn, output: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let mut offset = 0;
        loop {
            let batches = conn.read(output, partition, offset);
            let Some(last) = batches.last() else { break };
            offset = last.last_offset() + 1;
            for record in batches.into_iter().flat_map(|batch| batch.records) {
                let [key, value] = [record.key, record.value].map(|part| String::from_utf8(part.unwrap()).unwrap());
                found.insert(key, value);
            }
        }
    }
    found
}

fn expect_counts(target: &Target, output: &str, expected: &[(&str, &str)]) {
    let expected: BTreeMap<_, _> = expected.iter().map(|(word, n)| ((*word).to_owned(), (*n).to_owned())).collect();
    let mut conn = Conn::connect(target.bootstrap());
    let until = Instant::now() + PATIENCE;
    loop {
        let found = counts(&mut conn, output);
        if found == expected {
            return;
        }
        assert!(Instant::now() < until, "{found:?} instead of {expected:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn write(target: &Target, input: &str, partition: i32, lines: &[&str]) {
    let records = lines.iter().map(|line| Record::of(line)).collect();
    Conn::connect(target.bootstrap()).append(input, partition, &Batch::new(records).encode());
}

/// The configs that a topic was created with.
fn set_configs(conn: &mut Conn, topic: &str) -> BTreeMap<String, String> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(topic))
        .with_configuration_keys(None);
    let answer = conn.call(4, &DescribeConfigsRequest::default().with_resources(vec![resource]));
    let set = answer.results[0].configs.iter().filter(|config| config.config_source == 1);
    set.map(|config| (config.name.to_string(), config.value.as_ref().unwrap().to_string())).collect()
}

#[test]
fn streams_counts_words_over_restarts_of_the_broker_and_of_the_application() {
    let mut target = Target::start();
    if !has("java") {
        return;
    }
    let [input, output, application] = ["lines", "counts", "word-count"].map(unique);
    let state: PathBuf = std::env::temp_dir().join(unique("streams-state"));
    let mut conn = Conn::connect(target.bootstrap());
    for topic in [&input, &output] {
        conn.create_topic(topic, PARTITIONS, &[]);
    }
    write(&target, &input, 0, &["All streams lead to Kafka", "hello kafka streams"]);
    let first = WordCount::start(&target, &application, &state, &input, &output);
    let counted = [("all", "1"), ("hello", "1"), ("kafka", "2"), ("lead", "1"), ("streams", "2"), ("to", "1")];
    expect_counts(&target, &output, &counted);

    // The topics that Streams made, as it wanted them.
    let repartition = format!("{application}-words-repartition");
    let changelog = format!("{application}-counts-changelog");
    for topic in [&repartition, &changelog] {
        assert_eq!(conn.metadata_of(topic).partitions.len(), 2, "{topic}");
    }
    assert_eq!(set_configs(&mut conn, &changelog)["cleanup.policy"], "compact");
    let expected = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("segment.bytes", "52428800")];
    let set = set_configs(&mut conn, &repartition);
    for (name, value) in expected {
        assert_eq!(set[name], value, "{name} of {repartition}");
    }
    // With that much time it would grow for ever: what was counted is deleted by DeleteRecords.
    let emptied = |conn: &mut Conn| {
        (0..PARTITIONS).all(|p| conn.list_offset(&repartition, p, -2).offset == conn.end_offset(&repartition, p))
    };
    eventually("an empty topic for repartitioning", || emptied(&mut conn).then_some(()));

    // The broker goes and comes while the application works.
    target.restart();
    write(&target, &input, 1, &["Hello again"]);
    let counted = [counted.as_slice(), &[("again", "1"), ("hello", "2")]].concat();
    expect_counts(&target, &output, &counted);
    first.stop();

    // The application goes on elsewhere: its state comes from the changelog alone, its place from the group.
    std::fs::remove_dir_all(&state).unwrap();
    write(&target, &input, 0, &["Kafka again"]);
    let second = WordCount::start(&target, &application, &state, &input, &output);
    let counted = [counted.as_slice(), &[("again", "2"), ("kafka", "3")]].concat();
    expect_counts(&target, &output, &counted);
    second.stop();
    std::fs::remove_dir_all(&state).unwrap();
}
