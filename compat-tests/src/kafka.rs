//! Apache Kafka 4.3.1 as a child process, to compare with: one KRaft node from the jars that `clients/setup java` fetched.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::unique;

/// A running broker; killed, and its folder removed, on drop.
pub struct Kafka {
    child: Child,
    folder: PathBuf,
    address: String,
}

/// The folder that `clients/setup` fills.
fn cache() -> PathBuf {
    match std::env::var_os("PYRALOG_TEST_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/pyralog/tools"),
    }
}

impl Kafka {
    /// Starts one on free ports, with node id 1 and four partitions by default. `None`, said visibly, without its jars;
    /// a failure in CI.
    pub fn start() -> Option<Kafka> {
        if !cache().join("kafka.stamp").exists() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "Apache Kafka is not in {}", cache().display());
            crate::skip("needs Apache Kafka", "install it with compat-tests/clients/setup java");
            return None;
        }
        let folder = std::env::temp_dir().join(unique("kafka"));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let address = free_address();
        let config = folder.join("server.properties");
        std::fs::write(&config, properties(&folder, &address)).expect("write server.properties");
        let config = config.display().to_string();
        // With eligible leader replicas a Kafka stores a cluster-wide min.insync.replicas of its own accord.
        let features = ["--feature", "eligible.leader.replicas.version=0"];
        let format = ["kafka.tools.StorageTool", "format", "-t", "cHlyYWxvZy1jb21wYXQtMQ", "-c", &config];
        let format = java().args(format).args(features).output().expect("java");
        assert!(format.status.success(), "format: {}", String::from_utf8_lossy(&format.stderr));
        let child = java().args(["kafka.Kafka", &config]).stdout(Stdio::null()).spawn().expect("java");
        let mut kafka = Kafka { child, folder, address };
        kafka.wait_until_it_listens();
        Some(kafka)
    }

    /// `host:port` of its listener.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(&self.address).is_err() {
            assert!(matches!(self.child.try_wait(), Ok(None)), "Apache Kafka ended at once");
            assert!(Instant::now() < deadline, "Apache Kafka does not listen on {}", self.address);
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Nothing to do about errors here: the process is gone, or the folder stays in /tmp.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn java() -> Command {
    let mut command = Command::new("java");
    let log = format!("-Dlog4j2.configurationFile={}/clients/java/log4j2.xml", crate::crate_folder().display());
    command.args(["-Xmx512m", "-XX:+UseSerialGC", &log, "-Dkafka.log.level=FATAL", "-cp"]);
    command.arg(format!("{}/kafka/*", cache().display()));
    command
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").to_string()
}

fn properties(folder: &std::path::Path, address: &str) -> String {
    let controller = free_address();
    format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
         listeners=PLAINTEXT://{address},CONTROLLER://{controller}\nadvertised.listeners=PLAINTEXT://{address}\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\nlog.dirs={}/data\n\
         num.partitions=4\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
        folder.display()
    )
}
