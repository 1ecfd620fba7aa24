//! How a broker stops: in order, and without making its clients wait.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use pyralog_compat_tests::broker::{Leashed, binary, command};
use pyralog_compat_tests::calls::{Fetch, eventually, only};
use pyralog_compat_tests::conn::PATIENCE;
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, unique};
use rustix::fs::OFlags;
use rustix::process::Signal;

#[test]
fn a_stop_answers_a_long_poll_and_loses_nothing() {
    let mut broker = Broker::start(BrokerOptions::new());
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("stopping", 1, &[]);
    conn.append(&name, 0, &Batch::of("a", 3).encode());
    let poll = Fetch::at(&name, 0, 3).wait(600_000, 1).build();
    // The second one is served once the first is answered.
    let sent = [(); 2].map(|()| conn.send(12, &poll));
    let poller = std::thread::spawn(move || sent.map(|poll| conn.receive::<FetchRequest>(12, poll)));
    std::thread::sleep(Duration::from_millis(300));
    broker.terminate();
    for answer in poller.join().expect("the polls are answered, not cut off") {
        assert_eq!((only(&answer).error_code, only(&answer).high_watermark), (0, 3));
    }
    broker.restart();
    assert_eq!(broker.connect().read(&name, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
}

fn epoch_of(broker: &Broker, log: &str) -> serde_json::Value {
    let address = broker.kafka();
    let output = Command::new(binary())
        .args(["log", "describe", log, "--json", "--bootstrap", address])
        .output()
        .expect("describe");
    let described: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    described["partitions"][0]["epoch"].clone()
}

#[test]
fn io_10_a_partition_that_is_offline_since_the_start_does_not_make_a_stop_unclean() {
    let mut broker = Broker::start(BrokerOptions::new());
    let mut conn = broker.connect();
    let [(good, _), (bad, _)] = ["good", "bad"].map(|name| conn.new_topic(name, 1, &[]));
    for name in [&good, &bad] {
        conn.append(name, 0, &Batch::of("a", 3).encode());
    }
    let epoch = epoch_of(&broker, &good);
    assert!(epoch.is_number(), "{epoch}");
    broker.terminate();
    let meta = broker.folder().join("logs").join(format!("{bad}-0")).join("partition.meta");
    let whole = std::fs::read(&meta).expect("partition.meta");
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    std::fs::write(&meta, damaged).expect("write");
    for _ in 0..4 {
        broker.restart();
        assert_eq!(broker.metric("kafka_server_offline_partition_count"), 1.0);
        assert_eq!(epoch_of(&broker, &good), epoch, "nobody has to be told of a new leadership");
        // With exit code 0.
        broker.terminate();
    }
    std::fs::write(&meta, whole).expect("write");
    broker.restart();
    assert_eq!(broker.connect().read(&bad, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
}

#[test]
fn a_terminal_that_goes_away_ends_a_broker_in_order_and_one_under_nohup_not() {
    // The tests may run under nohup themselves.
    for (wrapper, stops) in [(&["env", "--default-signal=HUP"][..], true), (&["nohup"], false)] {
        let mut broker = Broker::start(BrokerOptions::new().wrapper(wrapper));
        let (name, _) = broker.connect().new_topic("hung-up", 1, &[]);
        broker.connect().append(&name, 0, &Batch::of("a", 3).encode());
        // Of the kernel, and of the shell.
        broker.signal(Signal::HUP);
        broker.signal(Signal::HUP);
        if stops {
            broker.wait_for_end();
        } else {
            std::thread::sleep(Duration::from_millis(500));
            broker.terminate();
        }
        assert!(broker.folder().join("clean-shutdown").exists(), "{wrapper:?}");
        broker.restart();
        assert_eq!(broker.connect().read(&name, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
    }
}

/// A server process, and the lines that it says.
fn start_process(folder: &Path) -> (Leashed, mpsc::Receiver<String>) {
    let mut process = Leashed::start(command(&BrokerOptions::new(), folder).stdout(Stdio::null()));
    let stderr = BufReader::new(process.0.stderr.take().expect("stderr"));
    let (send, lines) = mpsc::channel();
    // To the end of it, also when nobody wants to know any more: the process never meets a closed pipe.
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
    (process, lines)
}

fn read_until(lines: &mpsc::Receiver<String>, what: &str) {
    let mut said = String::new();
    while !said.contains(what) {
        said += &lines.recv_timeout(PATIENCE).unwrap_or_else(|end| panic!("{end}: {what:?} is not in {said}"));
        said.push('\n');
    }
}

/// Lets whoever waits in `open` of this pipe for a writer go on.
fn release_reader(pipe: &Path) {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    // Without a reader this fails, where it would wait for one otherwise.
    let open = || std::fs::OpenOptions::new().write(true).custom_flags(nonblocking).open(pipe).ok();
    drop(eventually("somebody opens the pipe", open));
}

#[test]
fn a_stop_during_the_start_keeps_what_was_recovered_by_then_and_a_second_one_does_not_wait() {
    // Partitions that open, as many as threads that do not, and some that nobody comes to.
    let threads = std::thread::available_parallelism().map_or(8, |cores| cores.get().max(8));
    let (stuck, count) = (4..4 + threads, 8 + threads);
    let mut broker = Broker::start(BrokerOptions::new());
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("slow", i32::try_from(count).expect("few"), &[]);
    for partition in 0..count {
        conn.append(&name, i32::try_from(partition).expect("few"), &Batch::of("a", 3).encode());
    }
    let epoch = epoch_of(&broker, &name).as_i64().expect("an epoch");
    broker.kill9();
    // Whoever opens a pipe waits for somebody to write into it.
    let metas: Vec<_> = stuck
        .map(|index| broker.folder().join("logs").join(format!("{name}-{index}")).join("partition.meta"))
        .collect();
    let contents: Vec<_> = metas.iter().map(|meta| std::fs::read(meta).expect("partition.meta")).collect();
    for meta in &metas {
        std::fs::remove_file(meta).expect("remove");
        assert!(Command::new("mkfifo").arg(meta).status().expect("mkfifo").success());
    }
    let marker = broker.folder().join("clean-shutdown");
    for patient in [false, true] {
        let (mut process, lines) = start_process(broker.folder());
        read_until(&lines, &format!("starting: 4 of {count} partitions open"));
        process.terminate();
        read_until(&lines, "stopping, before the start is done");
        if !patient {
            process.terminate();
            assert_eq!(process.exit_code(), Some(1));
            assert!(!marker.exists());
            continue;
        }
        let aside = std::env::temp_dir().join(unique("pyralog-compat-test-pipe"));
        for (meta, content) in metas.iter().zip(&contents) {
            std::fs::rename(meta, &aside).expect("rename");
            std::fs::write(meta, content).expect("write");
            release_reader(&aside);
        }
        std::fs::remove_file(aside).expect("remove");
        assert_eq!(process.exit_code(), Some(0));
    }
    let named = std::fs::read_to_string(&marker).expect("the marker of a clean stop");
    assert_eq!(named.lines().filter(|line| line.starts_with("offline ")).count(), count - 4, "{named}");
    broker.try_restart().unwrap_or_else(|failed| panic!("{failed:?}"));
    // Once for each start after an unclean end.
    assert_eq!(epoch_of(&broker, &name), epoch + 2);
    let mut conn = broker.connect();
    for partition in 0..count {
        let batches = conn.read(&name, i32::try_from(partition).expect("few"), 0);
        assert_eq!(batches[0].values(), ["a-0", "a-1", "a-2"], "{partition}");
    }
    broker.terminate();
    assert_eq!(std::fs::read_to_string(&marker).expect("the marker"), "clean\n");
}
