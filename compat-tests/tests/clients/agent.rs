//! A client behind one of the programs in `clients/`: JSON lines over a pipe (see `clients/README.md`).

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, From, Handle, Polled, Record, Result, cache, has, programs};

pub struct Agent {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Agent {
    pub fn confluent(bootstrap: &str) -> Option<Self> {
        python("agent_confluent.py", bootstrap)
    }

    pub fn kafka_python(bootstrap: &str) -> Option<Self> {
        python("agent_kafka_python.py", bootstrap)
    }

    pub fn java(bootstrap: &str) -> Option<Self> {
        has("java").then(|| {
            let mut command = java_command(&cache().join("agent-java").display().to_string());
            command.arg("Agent").arg(bootstrap);
            Self::start(command)
        })
    }

    pub fn franz_go(bootstrap: &str) -> Option<Self> {
        has("go").then(|| {
            let mut command = Command::new(cache().join("agent-go"));
            command.arg(bootstrap);
            Self::start(command)
        })
    }

    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { requests: child.stdin.take(), answers: BufReader::new(child.stdout.take().unwrap()), child }
    }

    pub fn ask(&mut self, request: &Value) -> Result<Value> {
        let requests = self.requests.as_mut().ok_or("closed")?;
        writeln!(requests, "{request}").map_err(|e| e.to_string())?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_str(&line).map_err(|e| format!("{e} in {line:?}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }

    /// kill -9: its consumers neither commit nor leave.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// `java` with the jars of Apache Kafka and `extra` on its class path.
pub fn java_command(extra: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dlog4j2.configurationFile={}", programs().join("java/log4j2.xml").display()))
        .arg("-cp")
        .arg(format!("{}/kafka/*:{extra}", cache().display()));
    command
}

fn python(program: &str, bootstrap: &str) -> Option<Agent> {
    has("python").then(|| {
        let mut command = Command::new(cache().join("python/bin/python"));
        command.arg("-B").arg(programs().join("python").join(program)).arg(bootstrap);
        Agent::start(command)
    })
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.requests = None; // the program ends with its input
        for _ in 0..20 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Client for Agent {
    fn create(&mut self, topic: &str, partitions: i32, configs: &BTreeMap<&str, String>) -> Result<()> {
        self.ask(&json!({"op": "create", "topic": topic, "partitions": partitions, "configs": configs})).map(drop)
    }

    fn partitions(&mut self, topic: &str) -> Result<usize> {
        let answer = self.ask(&json!({"op": "partitions", "topic": topic}))?;
        answer["partitions"].as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| answer.to_string())
    }

    fn produce(&mut self, topic: &str, codec: &str, records: &[Record]) -> Result<Option<Vec<i64>>> {
        let records: Vec<Value> = records.iter().map(to_json).collect();
        let answer = self.ask(&json!({"op": "produce", "topic": topic, "codec": codec, "records": records}))?;
        Ok(Some(answer["offsets"].as_array().unwrap().iter().map(|o| o.as_i64().unwrap()).collect()))
    }

    fn open(&mut self, topic: &str, partition: i32, from: From) -> Result<Handle> {
        let from = match from {
            From::Beginning => json!("beginning"),
            From::End => json!("end"),
            From::Offset(offset) => json!({"offset": offset}),
            From::Timestamp(ms) => json!({"timestamp": ms}),
        };
        handle(&self.ask(&json!({"op": "open", "topic": topic, "partition": partition, "from": from}))?)
    }

    fn join(&mut self, group: &str, topic: &str) -> Result<Handle> {
        handle(&self.ask(&json!({"op": "join", "group": group, "topic": topic}))?)
    }

    fn poll(&mut self, handle: Handle, max: usize, wait: Duration) -> Result<Polled> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap();
        let answer = self.ask(&json!({"op": "poll", "handle": handle, "max": max, "wait_ms": wait_ms}))?;
        Ok(Polled {
            records: answer["records"].as_array().unwrap().iter().map(from_json).collect(),
            assigned: answer["assigned"].as_array().unwrap().iter().map(partition).collect(),
        })
    }

    fn commit(&mut self, handle: Handle) -> Result<()> {
        self.ask(&json!({"op": "commit", "handle": handle})).map(drop)
    }

    fn close(&mut self, handle: Handle) -> Result<()> {
        self.ask(&json!({"op": "close", "handle": handle})).map(drop)
    }
}

fn handle(answer: &Value) -> Result<Handle> {
    answer["handle"].as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| answer.to_string())
}

fn partition(value: &Value) -> i32 {
    value.as_i64().and_then(|n| i32::try_from(n).ok()).unwrap()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn to_json(record: &Record) -> Value {
    json!({
        "partition": record.partition, "timestamp": record.timestamp,
        "key": record.key, "value": record.value, "headers": record.headers,
    })
}

fn from_json(value: &Value) -> Record {
    let headers = value["headers"].as_array().unwrap().iter();
    Record {
        partition: partition(&value["partition"]),
        offset: value["offset"].as_i64(),
        timestamp: value["timestamp"].as_i64(),
        key: text(&value["key"]),
        value: text(&value["value"]),
        headers: headers.map(|pair| (text(&pair[0]).unwrap(), text(&pair[1]))).collect(),
    }
}
