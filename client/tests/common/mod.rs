//! A broker to test against: the shipped binary as a child process, or one that runs elsewhere
//! (`PYRALOG_TEST_BOOTSTRAP`). `PYRALOG_BIN` names another binary than `release/pyralog` of the target folder.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use pyralog_client::{ClientConfig, LogConfig, PyralogClient};
use pyralog_protocol::{DecodeLimits, Request, Response, decode_request, encode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// What takes longer does not happen any more.
pub const LONG: Duration = Duration::from_secs(60);

/// A broker; a child dies with its handle, and its folder with it.
pub struct Broker {
    address: String,
    child: Option<Child>,
    folder: Option<PathBuf>,
    settings: Vec<String>,
}

fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("PYRALOG_BIN") {
        return named.into();
    }
    // <target>/<profile>/deps/<test>-<hash>
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let binary = target.join("release/pyralog");
    assert!(binary.exists(), "build it with `cargo build --release -p pyralog-broker`, or name one in PYRALOG_BIN");
    binary
}

/// A name that no other test has.
pub fn unique(stem: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    format!("{stem}-{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Broker {
    /// One elsewhere if that is asked for, or one of our own.
    pub fn any() -> Self {
        match std::env::var("PYRALOG_TEST_BOOTSTRAP") {
            Ok(address) if !address.is_empty() => Self { address, child: None, folder: None, settings: Vec::new() },
            Ok(_) | Err(_) => Self::own(&[]),
        }
    }

    /// One of our own, for tests that kill it; `None`, visibly, where tests run against one elsewhere.
    pub fn killable() -> Option<Self> {
        let broker = Self::any();
        if broker.child.is_none() {
            eprintln!("skipped: needs a broker of its own; unset PYRALOG_TEST_BOOTSTRAP");
            return None;
        }
        Some(broker)
    }

    /// A Pyralog, for what Apache Kafka has not; `None`, visibly, where tests run against Kafka.
    pub fn pyralog() -> Option<Self> {
        if std::env::var_os("PYRALOG_TEST_KAFKA").is_some() {
            eprintln!("skipped: Apache Kafka has no VLSNs");
            return None;
        }
        Some(Self::any())
    }

    /// One as it is, and one of our own without private APIs, where clients have the view only.
    pub fn both_ways() -> Vec<Self> {
        let Some(broker) = Self::pyralog() else { return Vec::new() };
        vec![broker, Self::own(&["pyralog.private.apis.enable=false"])]
    }

    /// One of our own with these settings.
    pub fn own(settings: &[&str]) -> Self {
        let settings = settings.iter().map(ToString::to_string).collect();
        let folder = std::env::temp_dir().join(unique("pyralog-client-test"));
        let mut broker = Self { address: "127.0.0.1:0".into(), child: None, folder: Some(folder), settings };
        broker.start();
        broker
    }

    /// Starts it, at the address it had before if it was killed. A connection of somebody else may have been given that
    /// port meanwhile, for a moment.
    pub fn start(&mut self) {
        let until = Instant::now() + LONG;
        while let Err(said) = self.try_start() {
            let is_taken = said.contains("cannot listen on");
            assert!(is_taken && Instant::now() < until, "the broker does not start: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it said on stderr, if it does not serve.
    fn try_start(&mut self) -> Result<(), String> {
        let stderr = self.folder.as_ref().unwrap().with_extension("stderr");
        let mut child = Command::new(binary())
            .args([
                "server",
                "--kafka-listen",
                &self.address,
                "--http-listen",
                "127.0.0.1:0",
                "--set",
                "num.partitions=4",
            ])
            .args(self.settings.iter().flat_map(|setting| ["--set", setting.as_str()]))
            .arg("--data")
            .arg(self.folder.as_ref().unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| line.ok().filter(|line| line.starts_with("pyralog ready ")));
        let Some(ready) = ready else {
            child.wait().unwrap();
            return Err(std::fs::read_to_string(stderr).unwrap());
        };
        self.address = ready.split_whitespace().find_map(|word| word.strip_prefix("kafka=")).unwrap().to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
        Ok(())
    }

    /// kill -9; the folder stays.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops it in order, breaks off the end of the newest segment of a partition, so that acknowledged records are damaged,
    /// and starts it again.
    pub fn damage(&mut self, log: &str, partition: u32) {
        let mut child = self.child.take().unwrap();
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        child.wait().unwrap();
        let folder = self.folder.as_ref().unwrap().join("logs").join(format!("{log}-{partition}"));
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let newest = files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
        let file = std::fs::File::options().write(true).open(newest).unwrap();
        file.set_len(50).unwrap();
        self.start();
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client with default settings.
    pub async fn client(&self) -> PyralogClient {
        PyralogClient::connect(&self.address).await.unwrap()
    }

    /// Settings for a client of this broker.
    pub fn config(&self) -> ClientConfig {
        ClientConfig::new(&self.address)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
            let _ = std::fs::remove_file(folder.with_extension("stderr"));
        }
    }
}

/// A new log with so many partitions.
pub async fn log(client: &PyralogClient, stem: &str, partition_count: u32) -> String {
    let name = unique(stem);
    client.create_log_with_config(&name, LogConfig { partition_count, ..Default::default() }).await.unwrap();
    name
}

/// A broker of our own making that answers like this, given the port it listens on. Returns its address.
pub async fn broker_that(answer: impl Fn(&Request, u16) -> Response + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_i32().await {
                    let mut frame = BytesMut::zeroed(usize::try_from(length).unwrap());
                    stream.read_exact(&mut frame).await.unwrap();
                    let (head, request) = decode_request(frame, &DecodeLimits::default()).unwrap();
                    let answer = answer(&request, address.port());
                    let frame = encode_response(head.correlation_id, head.version, answer).unwrap();
                    stream.write_all(&frame).await.unwrap();
                }
            });
        }
    });
    address.to_string()
}
