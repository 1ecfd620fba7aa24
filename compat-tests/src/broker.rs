//! The broker under test: the shipped binary as a child process, or one that runs elsewhere.
//!
//! Holds: a child dies with its handle, also when a test panics; its ports are free ones and its data is a folder of
//! its own, removed at the end; its stderr is shown when a test fails. It never builds the binary.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::calls::eventually;
use crate::conn::{Conn, PATIENCE, SOON};
use crate::http;

/// How to start a broker of one's own.
#[derive(Clone, Debug, Default)]
pub struct BrokerOptions {
    settings: Vec<String>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    data: Option<PathBuf>,
    kafka_listen: Option<String>,
    keeps_port: bool,
}

impl BrokerOptions {
    /// Defaults: free ports, a new data folder.
    pub fn new() -> BrokerOptions {
        BrokerOptions::default()
    }

    /// Adds `--set name=value`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> BrokerOptions {
        self.settings.push(format!("{name}={value}"));
        self
    }

    /// Adds an argument after the ones the harness gives.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> BrokerOptions {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs the binary through another command, such as `prlimit --nofile=64`.
    #[must_use]
    pub fn wrapper(mut self, command: &[&str]) -> BrokerOptions {
        self.wrapper = command.iter().map(|s| (*s).to_owned()).collect();
        self
    }

    /// Uses this folder instead of a new one, and leaves it there afterwards.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> BrokerOptions {
        self.data = Some(folder.to_owned());
        self
    }

    /// Starts again where it listened before, for clients that come back to the address they know.
    #[must_use]
    pub fn keep_port(mut self) -> BrokerOptions {
        self.keeps_port = true;
        self
    }

    /// Listens here instead of on a free port.
    #[must_use]
    pub fn kafka_listen(mut self, address: &str) -> BrokerOptions {
        self.kafka_listen = Some(address.to_owned());
        self
    }
}

/// How a broker that did not serve came to its end.
#[derive(Debug)]
pub struct FailedStart {
    /// `None`: it had to be killed, because it neither served nor ended.
    pub status: Option<ExitStatus>,
    /// All that it wrote there.
    pub stderr: String,
}

/// A running broker process.
pub struct Broker {
    options: BrokerOptions,
    folder: PathBuf,
    folder_is_ours: bool,
    process: Option<Process>,
}

struct Process {
    child: Child,
    kafka: String,
    http: String,
    stderr: Arc<Mutex<String>>,
    ready_after: Duration,
}

impl Broker {
    /// Starts the binary and waits for its ready line; panics with its stderr if that does not come.
    pub fn start(options: BrokerOptions) -> Broker {
        Broker::try_start(options).unwrap_or_else(|failed| {
            panic!("pyralog did not become ready ({:?}); stderr:\n{}", failed.status, failed.stderr)
        })
    }

    /// As [`Broker::start`], for tests of starts that must fail.
    pub fn try_start(options: BrokerOptions) -> Result<Broker, FailedStart> {
        let folder_is_ours = options.data.is_none();
        let folder =
            options.data.clone().unwrap_or_else(|| std::env::temp_dir().join(crate::unique("pyralog-compat-test")));
        let mut broker = Broker { options, folder, folder_is_ours, process: None };
        let process = spawn(&broker.options, &broker.folder)?;
        if broker.options.keeps_port {
            broker.options.kafka_listen = Some(process.kafka.clone());
        }
        broker.process = Some(process);
        Ok(broker)
    }

    /// `host:port` of the Kafka listener.
    pub fn kafka(&self) -> &str {
        &self.running().kafka
    }

    /// `host:port` of the HTTP listener.
    pub fn http(&self) -> &str {
        &self.running().http
    }

    /// A new connection to the Kafka listener.
    pub fn connect(&self) -> Conn {
        Conn::connect(self.kafka())
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// How many of its threads have this name now.
    pub fn threads_named(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the broker runs");
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|found| found.trim() == name).count()
    }

    /// From the start of the process to its ready line.
    pub fn ready_after(&self) -> Duration {
        self.running().ready_after
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc of the broker");
        let line = status.lines().find(|l| l.starts_with(field)).expect(field);
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of kB");
        kib * 1024
    }

    /// The value of one of its metrics, under the name that Prometheus reads.
    pub fn metric(&self, name: &str) -> f64 {
        let text = http::get(self.http(), "/metrics").text();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no number for {name} in {text}"))
    }

    /// Waits until stderr has all of these words: its lines are written, and read here, by threads of their own.
    pub fn expect_said(&self, words: &[&str]) {
        eventually(&format!("stderr says {words:?}"), || {
            let said = self.stderr();
            words.iter().all(|word| said.contains(word)).then_some(())
        });
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        self.running().stderr.lock().expect("stderr").clone()
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|p| matches!(p.child.try_wait(), Ok(None)))
    }

    /// kill -9; the folder stays for [`Broker::restart`].
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.child.kill().expect("kill");
            process.child.wait().expect("wait");
        }
    }

    /// SIGTERM; the broker must end with exit code 0 within [`PATIENCE`].
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
        self.wait_for_end();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.running().child), signal).expect("a signal");
    }

    /// Waits for it to end, with exit code 0 and within [`PATIENCE`], after it was told to.
    pub fn wait_for_end(&mut self) {
        let mut process = self.process.take().expect("a running broker");
        let status = wait(&mut process.child, PATIENCE);
        let stderr = process.stderr.lock().expect("stderr").clone();
        if status.is_none() {
            process.child.kill().expect("kill");
            process.child.wait().expect("wait");
        }
        assert!(status.is_some_and(|s| s.success()), "it ended with {status:?}; stderr:\n{stderr}");
    }

    /// Starts again on the same folder; ends the process first (SIGTERM) if it still runs. Ports change, but for
    /// [`BrokerOptions::keep_port`].
    pub fn restart(&mut self) {
        if self.process.is_some() {
            self.terminate();
        }
        if let Err(failed) = self.try_restart() {
            panic!("restart failed ({:?}); stderr:\n{}", failed.status, failed.stderr);
        }
    }

    /// Starts a broker that was killed again, where that may fail. Ports change, but for [`BrokerOptions::keep_port`].
    pub fn try_restart(&mut self) -> Result<(), FailedStart> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match spawn(&self.options, &self.folder) {
                // A connection of somebody else may have been given the port meanwhile, for a moment.
                Err(failed) if failed.stderr.contains("cannot listen on") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                started => return started.map(|process| self.process = Some(process)),
            }
        }
    }

    /// Starts on the same folder and ends that so long after its beginning, whether it serves by then or not (SIGTERM).
    pub fn start_and_stop(&self, after: Duration) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = command(&self.options, &self.folder);
        let mut process = Leashed::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        std::thread::sleep(after);
        process.terminate();
        process.exit_code();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("a running broker")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Nothing to do about an error here: the process is gone already.
            let _ = process.child.kill();
            let _ = process.child.wait();
            if std::thread::panicking() {
                show_stderr(&process.stderr.lock().map(|s| s.clone()).unwrap_or_default());
            }
        }
        if self.folder_is_ours {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

fn show_stderr(stderr: &str) {
    let from = stderr.char_indices().rev().nth(3000).map_or(0, |(i, _)| i);
    eprintln!("--- stderr of the broker ---\n{}", &stderr[from..]);
}

fn spawn(options: &BrokerOptions, folder: &Path) -> Result<Process, FailedStart> {
    let started = Instant::now();
    let mut child = command(options, folder).spawn().unwrap_or_else(|e| panic!("start {}: {e}", binary().display()));
    let stderr = Arc::new(Mutex::new(String::new()));
    let collecting = collect(child.stderr.take().expect("stderr"), stderr.clone());
    let ready = ready_line(child.stdout.take().expect("stdout"));
    // The channel ends without a line when the process ends before it is ready.
    let line = ready.recv_timeout(PATIENCE);
    let ready_after = started.elapsed();
    let addresses = line.ok().and_then(|line| Some((word(&line, "kafka=")?, word(&line, "http=")?)));
    if let Some((kafka, http)) = addresses {
        return Ok(Process { child, kafka, http, stderr, ready_after });
    }
    let status = wait(&mut child, SOON);
    if status.is_none() {
        child.kill().expect("kill");
        child.wait().expect("wait");
    }
    eventually("all of stderr is read", || collecting.is_finished().then_some(()));
    let stderr = stderr.lock().expect("stderr").clone();
    Err(FailedStart { status, stderr })
}

/// A process that dies with its handle, for tests that see to its streams themselves.
pub struct Leashed(pub Child);

impl Leashed {
    /// Starts it.
    pub fn start(command: &mut Command) -> Leashed {
        Leashed(command.spawn().unwrap_or_else(|e| panic!("start {}: {e}", binary().display())))
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).expect("SIGTERM");
    }

    /// Its exit code, if it ends within [`PATIENCE`] and by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        wait(&mut self.0, PATIENCE)?.code()
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        // Nothing to do about an error here: the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What starts the binary: its stdout and stderr go into pipes.
pub fn command(options: &BrokerOptions, folder: &Path) -> Command {
    let mut words: Vec<std::ffi::OsString> = options.wrapper.iter().map(Into::into).collect();
    words.push(binary().into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg("server");
    command.args(["--kafka-listen", options.kafka_listen.as_deref().unwrap_or("127.0.0.1:0")]);
    command.args(["--http-listen", "127.0.0.1:0"]).arg("--data").arg(folder);
    for setting in &options.settings {
        command.args(["--set", setting]);
    }
    command.args(&options.arguments);
    // The broker takes its settings from there too; those of the tests, and of whoever runs them, are not its own.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PYRALOG_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The binary: `PYRALOG_BIN`, or `release/pyralog` of the target folder.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("PYRALOG_BIN") {
        return PathBuf::from(named);
    }
    let from_environment = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    // <target>/<profile>/deps/<test>-<hash>
    let from_executable = std::env::current_exe().ok().and_then(|exe| exe.ancestors().nth(3).map(Path::to_owned));
    [from_environment, from_executable]
        .into_iter()
        .flatten()
        .map(|target| target.join("release/pyralog"))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            panic!(
                "no release/pyralog in the target folder: build it with `cargo build --release -p pyralog-broker`, \
                 or name one in PYRALOG_BIN"
            )
        })
}

fn collect(mut from: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut chunk = [0u8; 4096];
        while let Ok(n) = from.read(&mut chunk) {
            if n == 0 {
                return;
            }
            into.lock().expect("stderr").push_str(&String::from_utf8_lossy(&chunk[..n]));
        }
    })
}

fn ready_line(stdout: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut send = Some(send);
        // Read on after the ready line, so that the broker never meets a closed pipe.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("pyralog ready ")
                && let Some(send) = send.take()
            {
                // The receiver may have given up.
                let _ = send.send(line);
            }
        }
    });
    receive
}

fn word(line: &str, prefix: &str) -> Option<String> {
    line.split_whitespace().find_map(|w| w.strip_prefix(prefix)).map(str::to_owned)
}

/// Waits for the end of a child, at most this long.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("wait") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// What a test that needs no settings talks to.
pub enum Target {
    /// A child of this test binary, shared by the tests that run at the same time.
    Own(Held),
    /// `PYRALOG_TEST_BOOTSTRAP`.
    Elsewhere(String),
}

impl Target {
    /// `host:port` of the Kafka listener.
    pub fn kafka(&self) -> &str {
        match self {
            Target::Own(held) => held.0.kafka(),
            Target::Elsewhere(address) => address,
        }
    }

    /// A new connection to it.
    pub fn connect(&self) -> Conn {
        let conn = Conn::connect(self.kafka());
        match self {
            Target::Own(held) => conn.holding(held.clone()),
            Target::Elsewhere(_) => conn,
        }
    }
}

/// A share in the shared broker; shows its stderr when the test that holds it fails.
#[derive(Clone)]
pub struct Held(Arc<Broker>);

impl Drop for Held {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_stderr(&self.0.stderr());
        }
    }
}

/// The broker shared by the tests of this binary. It starts with the first test that asks and ends with the last one
/// that holds it, because a static would outlive the tests and leave the process behind.
pub fn shared() -> Target {
    static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
    if let Some(address) = elsewhere() {
        return Target::Elsewhere(address);
    }
    // A failed start in another test poisons the lock; the next test may try again.
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(broker) = shared.upgrade() {
        return Target::Own(Held(broker));
    }
    let broker = Arc::new(Broker::start(shared_options()));
    *shared = Arc::downgrade(&broker);
    Target::Own(Held(broker))
}

/// The settings that the oracle runs with as well.
fn shared_options() -> BrokerOptions {
    BrokerOptions::new().set("num.partitions", "4").set("group.initial.rebalance.delay.ms", "0")
}

/// A broker with settings of its own; `None` (and a visible line) when the tests run against one elsewhere.
pub fn private(options: BrokerOptions) -> Option<Broker> {
    own_brokers().then(|| Broker::start(options))
}

/// Whether tests may start brokers; where not, the test says visibly that it does not run.
pub fn own_brokers() -> bool {
    let may = elsewhere().is_none();
    if !may {
        skip("needs a broker of its own", "unset PYRALOG_TEST_BOOTSTRAP");
    }
    may
}

/// Says visibly that a test did not run, and what would make it run.
pub fn skip(why: &str, remedy: &str) {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    // Past the capture of the test harness: a skipped test must be seen in a green run too.
    let line = format!("skipped: {test}: {why}; {remedy}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// Whether the broker elsewhere is Apache Kafka.
pub fn on_kafka() -> bool {
    elsewhere().is_some() && std::env::var("PYRALOG_TEST_KAFKA").is_ok_and(|v| v == "1")
}

fn elsewhere() -> Option<String> {
    std::env::var("PYRALOG_TEST_BOOTSTRAP").ok().filter(|v| !v.is_empty())
}
