//! `pyralog storage verify` and `dump` on the folders of real brokers: running, stopped, killed and damaged.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Record, broker::binary, private};
use serde_json::Value;

fn storage(arguments: &[&str], data: &Path) -> Output {
    Command::new(binary()).arg("storage").args(arguments).arg("--data").arg(data).output().expect("pyralog storage")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect()
}

/// A broker with a log of two partitions, ten batches of three records in the first of them.
fn filled() -> Option<(Broker, String)> {
    let broker = private(BrokerOptions::new())?;
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("offline", 2, &[]);
    for number in 0..10 {
        let records = (0..3).map(|n| Record::of(&format!("value {}", 3 * number + n))).collect();
        assert_eq!(conn.append(&name, 0, &Batch::new(records).encode()), 3 * number);
    }
    Some((broker, name))
}

fn segment(data: &Path, partition: &str) -> PathBuf {
    data.join("logs").join(partition).join(format!("{:020}.log", 0))
}

#[test]
fn a_folder_that_was_stopped_or_killed_is_sound_and_one_in_use_is_refused() {
    let Some((mut broker, name)) = filled() else { return };
    let data = broker.folder().to_owned();
    let refused = storage(&["verify"], &data);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by another process"));
    let dump = format!("{name}-0");
    assert!(!storage(&["dump", &dump], &data).status.success());
    assert!(storage(&["dump", &dump, "--live"], &data).status.success());

    broker.kill9();
    let killed = storage(&["verify", "--json", "--records"], &data);
    let found = lines(&killed);
    assert!(killed.status.success(), "{found:?}");
    let summary = found.last().expect("a summary");
    assert_eq!((&summary["kind"], &summary["damaged"]), (&"summary".into(), &0.into()), "{summary}");

    broker.restart();
    broker.connect().wait_for_topic(&name, 2);
    broker.terminate();
    let stopped = storage(&["verify", "--json", "--records"], &data);
    let found = lines(&stopped);
    let summary = found.last().expect("a summary");
    assert_eq!((found.len(), stopped.status.success()), (1, true), "{found:?}");
    assert_eq!((&summary["partitions"], &summary["batches"], &summary["records"]), (&2.into(), &10.into(), &30.into()));
    let lines = storage(&["verify", &name], &data);
    let text = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert!(text.contains("everything is as it was written"), "{text}");
    let unknown = storage(&["verify", "nothing-of-that-name"], &data);
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("nothing-of-that-name"));
}

#[test]
fn io_06_damage_is_named_with_its_place_and_the_exit_code_says_so() {
    let Some((mut broker, name)) = filled() else { return };
    broker.terminate();
    let data = broker.folder().to_owned();
    let path = segment(&data, &format!("{name}-0"));
    let whole = std::fs::read(&path).expect("a segment");
    let mut bytes = whole.clone();
    let value = whole.windows(8).position(|part| part == b"value 15").expect("the record at offset 15");
    bytes[value] ^= 1;
    std::fs::write(&path, &bytes).expect("write");
    let damaged = storage(&["verify"], &data);
    let text = String::from_utf8_lossy(&damaged.stdout).into_owned();
    assert_eq!(damaged.status.code(), Some(1), "{text}");
    assert!(
        text.contains("DAMAGE") && text.contains(&format!("{name}-0")) && text.contains("offsets 15..18"),
        "{text}"
    );
    let found = lines(&storage(&["verify", "--json"], &data));
    let finding = found.iter().find(|line| line["kind"] == "finding").expect("a finding");
    assert_eq!((&finding["damage"], &finding["offsets"]), (&true.into(), &serde_json::json!([15, 18])));
    assert_eq!(std::fs::read(&path).expect("a segment"), bytes, "nothing is repaired");
    let shown = storage(&["dump", &format!("{name}-0")], &data);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches("CHECKSUM WRONG").count(), 1, "{shown}");
}

#[test]
fn a_dump_shows_batches_and_records_for_people_and_as_json() {
    let Some((mut broker, name)) = filled() else { return };
    broker.terminate();
    let data = broker.folder().to_owned();
    let partition = format!("{name}-0");
    let text = storage(&["dump", &partition, "--records", "--from", "4", "--max", "2"], &data);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("offsets 3..6, 3 records") && text.contains("\"value 8\""), "{text}");
    assert!(!text.contains("\"value 2\"") && !text.contains("\"value 9\""), "{text}");
    let found = lines(&storage(&["dump", &partition, "--records", "--json"], &data));
    let records: Vec<&Value> = found.iter().filter(|line| line["kind"] == "record").collect();
    assert_eq!(records.len(), 30);
    assert!((0..30).zip(&records).all(|(n, r)| r["offset"] == n && r["value"] == format!("value {n}")));
    assert!(found.iter().all(|line| line["kind"] != "batch" || line["crc_ok"] == true));
    let folder = format!("logs/{partition}");
    for entry in std::fs::read_dir(data.join(&folder)).expect("the partition") {
        let file = format!("{folder}/{}", entry.expect("an entry").file_name().to_string_lossy());
        let shown = storage(&["dump", &file], &data);
        assert!(shown.status.success(), "{file}");
        // As a shell completes it.
        let absolute = data.canonicalize().expect("a folder").join(&file);
        assert_eq!(storage(&["dump", &absolute.to_string_lossy()], &data).stdout, shown.stdout, "{file}");
    }
    assert!(storage(&["dump", "recovery-points", "--json"], &data).status.success());
    for outside in ["../../etc/passwd", "/etc/passwd", "."] {
        assert!(!storage(&["dump", outside], &data).status.success(), "{outside}");
    }
}

/// The log of [`filled`] without its last batch, which ends in the middle of the segment.
fn cut_last_batch(data: &Path, name: &str) -> Vec<u8> {
    let path = segment(data, &format!("{name}-0"));
    let whole = std::fs::read(&path).expect("a segment");
    let cut = whole.len() - whole.len() / 10;
    std::fs::write(&path, &whole[..cut]).expect("write");
    whole
}

#[test]
fn io_06_without_recovery_points_a_log_that_was_closed_is_refused_and_not_cut() {
    for scrambled in [None, Some("scrambled")] {
        let Some((mut broker, name)) = filled() else { return };
        broker.terminate();
        let data = broker.folder().to_owned();
        let points = data.join("recovery-points");
        match scrambled {
            None => std::fs::remove_file(&points).expect("remove"),
            Some(text) => std::fs::write(&points, text).expect("write"),
        }
        let whole = cut_last_batch(&data, &name);
        let verified = storage(&["verify"], &data);
        let text = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert_eq!(verified.status.code(), Some(1), "{text}");
        // The next start does not cut it either, whatever ends the one before it.
        for _ in 0..2 {
            broker.restart();
            assert_eq!(broker.metric("kafka_server_offline_partition_count"), 1.0);
            broker.kill9();
        }
        if let Some(text) = scrambled {
            let kept = std::fs::read_to_string(data.join("recovery-points.damaged")).expect("what was there");
            assert_eq!(kept, text);
        }
        std::fs::write(segment(&data, &format!("{name}-0")), whole).expect("write");
        broker.restart();
        assert_eq!(broker.metric("kafka_server_offline_partition_count"), 0.0);
        assert_eq!(broker.connect().append(&name, 0, &Batch::new(vec![Record::of("next")]).encode()), 30);
    }
}

#[test]
fn a_folder_that_is_gone_or_there_twice_is_damage_and_an_unfinished_one_is_none() {
    let Some((mut broker, name)) = filled() else { return };
    broker.terminate();
    let data = broker.folder().to_owned();
    let verify = || {
        let output = storage(&["verify"], &data);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let logs = data.join("logs");
    std::fs::create_dir(logs.join("new-0")).expect("a folder");
    let (code, text) = verify();
    assert!(code == Some(0) && text.contains("mended  logs/new-0"), "{text}");
    std::fs::rename(logs.join(format!("{name}-0")), data.join("elsewhere")).expect("rename");
    let (code, text) = verify();
    assert!(code == Some(1) && text.contains("DAMAGE") && text.contains("below offset 30 was on disk"), "{text}");
    std::fs::rename(data.join("elsewhere"), logs.join("other-0")).expect("rename");
    std::fs::create_dir(logs.join(format!("{name}-0"))).expect("a folder");
    for entry in std::fs::read_dir(logs.join("other-0")).expect("the partition") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), logs.join(format!("{name}-0")).join(entry.file_name())).expect("copy");
    }
    let (code, text) = verify();
    assert!(code == Some(1) && text.contains("in the place of another log"), "{text}");
}

#[test]
fn rl_16_folders_that_changed_places_are_damage_and_the_metadata_store_stays_as_it_is() {
    let Some((mut broker, name)) = filled() else { return };
    let mut conn = broker.connect();
    let (other, _) = conn.new_topic("other", 2, &[]);
    conn.append(&other, 0, &Batch::of("v", 1).encode());
    broker.kill9();
    let data = broker.folder().to_owned();
    let logs = data.join("logs");
    let store = || {
        let entries = std::fs::read_dir(data.join("coordinator")).expect("the store").flatten();
        let mut files: Vec<_> = entries.map(|e| (e.file_name(), std::fs::read(e.path()).expect("a file"))).collect();
        files.sort();
        files
    };
    let before = store();
    let output = storage(&["verify"], &data);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let swap = |one: &str, two: &str| {
        std::fs::rename(logs.join(one), data.join("between")).expect("rename");
        std::fs::rename(logs.join(two), logs.join(one)).expect("rename");
        std::fs::rename(data.join("between"), logs.join(two)).expect("rename");
    };
    swap(&format!("{name}-0"), &format!("{other}-0"));
    let output = storage(&["verify"], &data);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for (dir, place) in [(&name, &other), (&other, &name)] {
        let said = |line: &str| {
            line.starts_with(&format!("DAMAGE  logs/{dir}-0:")) && line.contains(&format!("logs/{place}-0"))
        };
        assert!(text.lines().any(said), "{text}");
    }
    swap(&format!("{name}-0"), &format!("{other}-0"));
    assert!(storage(&["verify"], &data).status.success());
    assert!(store() == before, "nothing was changed");
    broker.restart();
    assert_eq!(broker.connect().read(&other, 0, 0).len(), 1);
}

#[test]
fn what_may_not_be_read_is_no_damage() {
    use std::os::unix::fs::PermissionsExt;
    let Some((mut broker, name)) = filled() else { return };
    broker.terminate();
    let data = broker.folder().to_owned();
    let path = segment(&data, &format!("{name}-0"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).expect("chmod");
    if std::fs::File::open(&path).is_ok() {
        return; // Nobody keeps root from reading.
    }
    let output = storage(&["verify"], &data);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("UNREAD") && !text.contains("DAMAGE") && text.contains("could not be read"), "{text}");
}
