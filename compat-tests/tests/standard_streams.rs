//! What the broker says goes nowhere, or stands still: it loses lines, and nothing else.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pyralog_compat_tests::broker::{Leashed, command};
use pyralog_compat_tests::calls::eventually;
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, http, unique};

/// A broker that logs much, to where the shell sends its stderr.
fn with_stderr(to: &str) -> BrokerOptions {
    let shell = format!("exec \"$@\" 2>{to}");
    // Many connections at a time have something to say.
    let options = BrokerOptions::new().set("socket.listen.backlog.size", "4096");
    options.wrapper(&["sh", "-c", &shell, "sh"]).argument("--log").argument("debug")
}

/// Writes, reads and deletes, which all have something to say; and the threads that say it are there afterwards.
fn works(broker: &Broker) {
    let mut conn = broker.connect();
    for round in 0..3 {
        let (name, _) = conn.new_topic(&format!("told-{round}"), 2, &[("file.delete.delay.ms", "0")]);
        conn.append(&name, 0, &Batch::of("a", 3).encode());
        assert_eq!(conn.read(&name, 0, 0)[0].values(), ["a-0", "a-1", "a-2"]);
        conn.delete_topic(&name);
        let logs = broker.folder().join("logs");
        eventually("the files of a deleted log go", || {
            std::fs::read_dir(&logs).expect("logs").next().is_none().then_some(())
        });
    }
    for name in ["remover", "upkeep", "room", "deadlines", "control", "log"] {
        assert_eq!(broker.threads_named(name), 1, "the thread {name}");
    }
}

/// Connections that are refused with a line each, until nobody takes the lines any more.
fn say_until_it_is_lost(broker: &Broker) {
    eventually("a megabyte of lines", || {
        for _ in 0..1000 {
            broker.connect().send_bytes(&i32::MAX.to_be_bytes());
        }
        (broker.metric("pyralog_log_lines_lost_total") > 0.0).then_some(())
    });
    works(broker);
}

/// A pipe with a name, whose reading end is in our hands.
fn pipe() -> (PathBuf, File) {
    let path = std::env::temp_dir().join(unique("pyralog-compat-test-pipe"));
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    // For both, so that opening it waits for nobody.
    let end = OpenOptions::new().read(true).write(true).open(&path).expect("open");
    (path, end)
}

#[test]
fn a_log_that_cannot_be_written_costs_its_lines_and_nothing_else() {
    let mut broker = Broker::start(with_stderr("/dev/full"));
    works(&broker);
    assert!(broker.metric("pyralog_log_lines_lost_total") > 0.0);
    broker.terminate();
    assert!(broker.folder().join("clean-shutdown").exists());
}

#[test]
fn a_log_whose_reader_is_gone_costs_its_lines_and_nothing_else() {
    let (path, end) = pipe();
    let mut broker = Broker::start(with_stderr(path.to_str().expect("a path")));
    drop(end);
    works(&broker);
    assert!(broker.metric("pyralog_log_lines_lost_total") > 0.0);
    broker.terminate();
    assert!(broker.folder().join("clean-shutdown").exists());
    std::fs::remove_file(path).expect("remove");
}

#[test]
fn nobody_waits_for_the_reader_of_the_log_and_what_is_lost_is_told() {
    let (path, end) = pipe();
    let mut broker = Broker::start(with_stderr(path.to_str().expect("a path")));
    say_until_it_is_lost(&broker);
    let mut lines = BufReader::new(end).lines();
    let reader =
        std::thread::spawn(move || lines.any(|line| line.expect("a line").contains("log lines were lost here")));
    eventually("it is told what was lost", || {
        // The next line tells it.
        works(&broker);
        reader.is_finished().then_some(())
    });
    broker.terminate();
    std::fs::remove_file(path).expect("remove");
}

#[test]
fn a_stop_does_not_wait_for_the_reader_of_the_log() {
    let (path, end) = pipe();
    let mut broker = Broker::start(with_stderr(path.to_str().expect("a path")));
    say_until_it_is_lost(&broker);
    broker.terminate();
    assert!(broker.folder().join("clean-shutdown").exists());
    drop(end);
    std::fs::remove_file(path).expect("remove");
}

#[test]
fn why_a_start_fails_is_json_where_the_log_is() {
    let folder = std::env::temp_dir().join(unique("pyralog-compat-test-foreign"));
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::write(folder.join("something-else"), "").expect("a file");
    let options = || BrokerOptions::new().data(&folder);
    let failed = Broker::try_start(options().argument("--log-format").argument("json")).err().expect("it is refused");
    for line in failed.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(
            line["level"] == "ERROR" && line["message"].as_str().is_some_and(|text| text.contains("not empty")),
            "{line}"
        );
    }
    let failed = Broker::try_start(options()).err().expect("it is refused");
    assert!(failed.stderr.starts_with("pyralog: the folder"), "{}", failed.stderr);
    std::fs::remove_dir_all(folder).expect("remove");
}

/// A server process whose stdout goes there, and its HTTP address, from what it logs.
fn with_stdout(to: Stdio, folder: &Path) -> (Leashed, String) {
    let mut process = Leashed::start(command(&BrokerOptions::new(), folder).stdout(to));
    let mut stderr = BufReader::new(process.0.stderr.take().expect("stderr"));
    let mut said = String::new();
    while !said.contains("http=") && stderr.read_line(&mut said).expect("stderr") > 0 {}
    let address = said.rsplit_once("http=").map(|(_, rest)| rest.trim().to_owned());
    // It goes on reading, so that the broker never meets a closed pipe.
    std::thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
    (process, address.unwrap_or_else(|| panic!("it does not serve: {said}")))
}

#[test]
fn a_broker_whose_ready_line_goes_nowhere_serves_all_the_same() {
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("/dev/full").into();
    let gone = || std::io::pipe().expect("a pipe").1.into();
    let (_reader, mut writer) = std::io::pipe().expect("a pipe");
    // As much as goes into a pipe.
    writer.write_all(&[b'.'; 64 << 10]).expect("write");
    for stdout in [full(), gone(), writer.into()] {
        let folder = std::env::temp_dir().join(unique("pyralog-compat-test"));
        let (mut process, address) = with_stdout(stdout, &folder);
        assert_eq!(http::get(&address, "/health/ready").status, 200);
        process.terminate();
        assert_eq!(process.exit_code(), Some(0));
        assert!(folder.join("clean-shutdown").exists());
        std::fs::remove_dir_all(folder).expect("remove");
    }
}
