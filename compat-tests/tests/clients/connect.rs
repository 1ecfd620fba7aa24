//! Kafka Connect, from a file to a topic to a file: a standalone worker, and one that keeps its state in topics and is asked over
//! HTTP.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pyralog_compat_tests::broker::wait;
use pyralog_compat_tests::{Conn, http};
use serde_json::json;

use crate::agent::java_command;
use crate::client::has;
use crate::target::{Target, unique};

/// A worker starts in several seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with the files of one test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(unique("connect"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A properties file.
    fn properties(&self, name: &str, settings: &[(&str, &str)]) -> String {
        let text = settings.iter().fold(String::new(), |mut text, (name, value)| {
            writeln!(text, "{name}={value}").unwrap();
            text
        });
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Adds lines to what the source reads.
    fn add(&self, lines: &str) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path("in")).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
    }

    /// Waits until the sink has written this.
    fn expect(&self, lines: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = fs::read_to_string(self.path("out")).unwrap_or_default();
            if found == lines {
                return;
            }
            assert!(Instant::now() < until, "{found:?} instead of {lines:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn source(&self, topic: &str) -> Vec<(&'static str, String)> {
        let class = "org.apache.kafka.connect.file.FileStreamSourceConnector";
        vec![("connector.class", class.to_owned()), ("file", self.path("in")), ("topic", topic.to_owned())]
    }

    fn sink(&self, topic: &str) -> Vec<(&'static str, String)> {
        let class = "org.apache.kafka.connect.file.FileStreamSinkConnector";
        vec![("connector.class", class.to_owned()), ("file", self.path("out")), ("topics", topic.to_owned())]
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing to do about an error here: it stays in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What both kinds of workers are told.
const WORKER: [(&str, &str); 5] = [
    ("key.converter", "org.apache.kafka.connect.json.JsonConverter"),
    ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
    ("offset.flush.interval.ms", "500"),
    ("plugin.discovery", "service_load"),
    ("reconnect.backoff.max.ms", "500"),
];

struct Worker(Child);

impl Worker {
    fn start(class: &str, files: &[&str]) -> Self {
        let mut command = java_command("");
        command.arg(format!("org.apache.kafka.connect.cli.{class}")).args(files);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    /// SIGTERM: it commits, and ends in order. One of 25 on a busy machine does not: its HTTP server waits for its own threads, which nobody
    /// stops, while its tasks go on and commit. Such a one is killed.
    fn stop(mut self) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        if wait(&mut self.0, PATIENCE / 4).is_some() {
            return;
        }
        if self.stack().contains("RestServer.stop") {
            eprintln!("the worker's HTTP server does not stop; it is killed");
        } else {
            assert!(wait(&mut self.0, PATIENCE).is_some(), "the worker does not end: {}", self.stack());
        }
    }

    /// What its threads do, as far as there is a tool that tells it.
    fn stack(&self) -> String {
        let told = Command::new("jstack").arg(self.0.id().to_string()).output();
        told.map_or_else(|e| e.to_string(), |told| String::from_utf8_lossy(&told.stdout).into_owned())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing to do about an error here: the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_standalone_worker_copies_a_file_over_restarts_of_the_broker_and_of_itself() {
    let mut target = Target::start();
    if !has("java") {
        return;
    }
    let (folder, topic) = (Folder::new(), unique("connect"));
    Conn::connect(target.bootstrap()).create_topic(&topic, 1, &[]);
    let (rest, offsets) = (format!("http://{}", free_address()), folder.path("offsets"));
    let own =
        [("bootstrap.servers", target.bootstrap()), ("listeners", &rest), ("offset.storage.file.filename", &offsets)];
    let worker = folder.properties("worker", &[&WORKER[..], &own].concat());
    let connector = |name: &str, mut settings: Vec<(&'static str, String)>| {
        settings.push(("name", name.to_owned()));
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        folder.properties(name, &settings)
    };
    let (source, sink) = (connector("source", folder.source(&topic)), connector("sink", folder.sink(&topic)));
    let start = || Worker::start("ConnectStandalone", &[&worker, &source, &sink]);

    folder.add("one\ntwo\n");
    let first = start();
    folder.expect("one\ntwo\n");
    target.restart();
    folder.add("three\n");
    folder.expect("one\ntwo\nthree\n");
    first.stop();
    folder.add("four\n");
    let second = start();
    folder.expect("one\ntwo\nthree\nfour\n");
    second.stop();
}

#[test]
fn a_distributed_worker_keeps_connectors_and_offsets_in_topics() {
    let mut target = Target::start();
    if !has("java") {
        return;
    }
    let (folder, topic, cluster) = (Folder::new(), unique("connect"), unique("cluster"));
    let mut conn = Conn::connect(target.bootstrap());
    conn.create_topic(&topic, 1, &[]);
    let address = free_address();
    let rest = format!("http://{address}");
    let topics = ["configs", "offsets", "status"].map(|kind| format!("{cluster}-{kind}"));
    let own = [
        ("bootstrap.servers", target.bootstrap()),
        ("listeners", &rest),
        ("group.id", &cluster),
        ("config.storage.topic", &topics[0]),
        ("offset.storage.topic", &topics[1]),
        ("status.storage.topic", &topics[2]),
        ("config.storage.replication.factor", "1"),
        ("offset.storage.replication.factor", "1"),
        ("status.storage.replication.factor", "1"),
        ("offset.storage.partitions", "3"),
        ("scheduled.rebalance.max.delay.ms", "500"),
    ];
    let worker = folder.properties("worker", &[&WORKER[..], &own].concat());
    folder.add("one\ntwo\n");
    let first = Worker::start("ConnectDistributed", &[&worker]);
    let serves = || std::net::TcpStream::connect(&address).is_ok() && http::get(&address, "/connectors").status == 200;
    until("the worker serves", serves);
    for (name, settings) in [("source", folder.source(&topic)), ("sink", folder.sink(&topic))] {
        let config: serde_json::Map<_, _> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let body = json!({"name": name, "config": config}).to_string();
        let created =
            http::request(&address, "POST", "/connectors", &[("Content-Type", "application/json")], body.as_bytes());
        assert_eq!(created.status, 201, "{}", created.text());
    }
    folder.expect("one\ntwo\n");
    assert_eq!(topics.each_ref().map(|name| conn.metadata_of(name).partitions.len()), [1, 3, 5]);
    let group = conn.describe_group(&cluster);
    assert_eq!(
        (group.protocol_type.as_str(), group.group_state.as_str(), group.members.len()),
        ("connect", "Stable", 1)
    );

    target.restart();
    folder.add("three\n");
    folder.expect("one\ntwo\nthree\n");
    first.stop();
    // Nobody says again what there is to do: connectors and offsets are in the topics.
    folder.add("four\n");
    let second = Worker::start("ConnectDistributed", &[&worker]);
    folder.expect("one\ntwo\nthree\nfour\n");
    until("the source runs", || {
        let status = http::get(&address, "/connectors/source/status");
        status.status == 200 && status.json()["tasks"][0]["state"] == "RUNNING"
    });
    second.stop();
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
