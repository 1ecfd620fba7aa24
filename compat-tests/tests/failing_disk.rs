//! Disks that fail under a broker that runs: syncs, writes and reads that give errors, a file system that becomes
//! read-only. Whoever is concerned goes offline with a message and tries nothing twice (IO-01); what was acknowledged is
//! there after the next start, and what could not be written was not acknowledged. Needs strace, mounts, root.

use std::path::PathBuf;
use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use pyralog_compat_tests::calls::{Fetch, eventually, only, records};
use pyralog_compat_tests::conn::{Outcome, PATIENCE, decode_answer};
use pyralog_compat_tests::groups::commit_request;
use pyralog_compat_tests::trouble::{Failing, LoopDisk};
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Conn, Record, private};

/// KAFKA_STORAGE_ERROR.
const STORAGE_ERROR: i16 = 56;

/// Goes to the journal.
fn small() -> Vec<u8> {
    Batch::of("small", 1).encode()
}

/// Too much for the journal: synced in its segment.
fn large() -> Vec<u8> {
    Batch::new(vec![Record::of(&"x".repeat(500_000))]).encode()
}

/// A broker with two logs, each with a large and a small batch.
struct World {
    broker: Broker,
    conn: Conn,
    hit: String,
    other: String,
}

impl World {
    fn new() -> Option<World> {
        let broker = private(BrokerOptions::new())?;
        let mut conn = broker.connect();
        let [hit, other] = ["hit", "other"].map(|prefix| {
            let (name, _) = conn.new_topic(prefix, 1, &[]);
            assert_eq!(conn.append(&name, 0, &large()), 0);
            assert_eq!(conn.append(&name, 0, &small()), 1);
            name
        });
        Some(World { broker, conn, hit, other })
    }

    fn segment(&self, name: &str) -> PathBuf {
        self.broker.folder().join(format!("logs/{name}-0/{:020}.log", 0))
    }

    fn files(&self, folder: &str, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.broker.folder().join(folder));
        let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        paths.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
    }

    fn produce(&mut self, name: &str, batch: &[u8]) -> i16 {
        self.conn.produce(name, 0, batch).error_code
    }

    /// The log that was hit stays offline, is told of, and nothing more is tried on it; the other one serves.
    fn expect_offline(&mut self, failing: &Failing, reason: &str) {
        let (hit, other) = (self.hit.clone(), self.other.clone());
        let failed = failing.count();
        for batch in [small(), large()] {
            assert_eq!(self.produce(&hit, &batch), STORAGE_ERROR);
        }
        assert_eq!(self.conn.fetch(&Fetch::at(&hit, 0, 0)).error_code, STORAGE_ERROR);
        assert_eq!(self.conn.append(&other, 0, &large()), 2, "the other one serves");
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(failing.count(), failed, "nothing is tried again");
        eventually("the log says which partition is offline, and why", || {
            let said = self.broker.stderr();
            let line = said.lines().find(|line| line.contains("a partition is offline"))?;
            (line.contains(&hit) && line.contains(reason)).then_some(())
        });
    }

    /// After a kill and a start, everything that was acknowledged is there, and the log is written to again.
    fn expect_recovery(mut self, acknowledged: i64) {
        self.broker.kill9();
        self.broker.restart();
        self.conn = self.broker.connect();
        for name in [&self.hit, &self.other] {
            self.conn.wait_for_topic(name, 1);
            let end = self.conn.end_offset(name, 0);
            assert!(end >= acknowledged, "{name} ends at {end}");
            assert_eq!(self.conn.read(name, 0, 0)[0].values()[0].len(), 500_000);
            assert_eq!(self.conn.append(name, 0, &small()), end);
        }
    }
}

#[test]
fn io_01_a_sync_that_fails_takes_its_partition_offline_and_is_not_tried_again() {
    let Some(mut world) = World::new() else { return };
    let segment = world.segment(&world.hit);
    let Some(failing) = Failing::calls(&world.broker, "fdatasync", "EIO", &[segment]) else { return };
    let hit = world.hit.clone();
    assert_eq!(world.produce(&hit, &large()), STORAGE_ERROR, "nobody knows whether it is on disk");
    assert_eq!(failing.count(), 1);
    world.expect_offline(&failing, "Input/output error");
    drop(failing);
    world.expect_recovery(2);
}

#[test]
fn io_01_a_write_that_fails_takes_its_partition_offline() {
    let Some(mut world) = World::new() else { return };
    let segment = world.segment(&world.hit);
    let calls = "pwrite64,pwritev,pwritev2";
    let Some(failing) = Failing::calls(&world.broker, calls, "EIO", &[segment]) else { return };
    let hit = world.hit.clone();
    assert_eq!(world.produce(&hit, &small()), STORAGE_ERROR);
    assert_eq!(failing.count(), 1);
    world.expect_offline(&failing, "Input/output error");
    drop(failing);
    world.expect_recovery(2);
}

#[test]
fn io_01_a_journal_that_fails_is_closed_and_the_others_are_synced_one_by_one() {
    let Some(mut world) = World::new() else { return };
    // Its first file is made once there is some work for it, in the background.
    let other = world.other.clone();
    let journal = eventually("there is a journal", || {
        assert_eq!(world.produce(&other, &small()), 0);
        Some(world.files("journal", ".journal"))
            .filter(|files| files.iter().any(|file| file.metadata().is_ok_and(|of| of.len() >= 1 << 20)))
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(world.produce(&other, &small()), 0);
    let calls = "pwrite64,pwritev,pwritev2";
    let Some(failing) = Failing::calls(&world.broker, calls, "EIO", &journal) else { return };
    let hit = world.hit.clone();
    assert_eq!(world.produce(&hit, &small()), STORAGE_ERROR, "nobody knows what of it is on disk");
    assert_eq!(failing.count(), 1);
    assert_eq!(world.produce(&other, &small()), 0, "without the journal");
    assert_eq!(failing.count(), 1, "no round is written any more");
    assert_eq!(world.produce(&hit, &small()), STORAGE_ERROR);
    world.broker.expect_said(&["write to the journal", &hit]);
    drop(failing);
    world.expect_recovery(2);
}

#[test]
fn a_read_that_fails_gives_an_error_or_a_closed_connection_and_passes() {
    let Some(mut world) = World::new() else { return };
    let segment = world.segment(&world.hit);
    let calls = "pread64,preadv,preadv2,sendfile";
    let Some(failing) = Failing::calls(&world.broker, calls, "EIO", &[segment]) else { return };
    let (hit, other) = (world.hit.clone(), world.other.clone());
    let mut reader = world.broker.connect();
    let fetch = Fetch::at(&hit, 0, 0).build();
    reader.send(12, &fetch);
    let length = {
        let mut length = [0; 4];
        std::io::Read::read_exact(reader.stream(), &mut length).ok().map(|()| i32::from_be_bytes(length))
    };
    if let Some(length) = length {
        // The head of the answer may be on its way when the file is read; then the connection ends in the middle of it.
        let mut body = vec![0; usize::try_from(length).unwrap()];
        if std::io::Read::read_exact(reader.stream(), &mut body).is_ok() {
            let (_, response) = decode_answer::<FetchRequest>(12, &body);
            assert_eq!(only(&response).error_code, STORAGE_ERROR);
            assert!(records(only(&response)).is_empty());
        }
    }
    assert!(failing.count() > 0);
    assert_eq!(world.conn.append(&other, 0, &small()), 2);
    assert_eq!(world.conn.append(&hit, 0, &small()), 2, "it is written to all the same");
    drop(failing);
    assert_eq!(world.conn.read(&hit, 0, 0)[0].values()[0].len(), 500_000, "nothing was harmed");
    world.expect_recovery(3);
}

/// Who has a file open does not miss its name: the broker looks for it.
#[test]
fn op_10_a_folder_that_is_removed_from_under_a_running_broker_takes_its_partition_offline() {
    let Some(mut world) = World::new() else { return };
    let (hit, other) = (world.hit.clone(), world.other.clone());
    std::fs::remove_dir_all(world.broker.folder().join(format!("logs/{hit}-0"))).expect("removed");
    eventually("appends are refused", || (world.produce(&hit, &small()) == STORAGE_ERROR).then_some(()));
    assert_eq!(world.conn.append(&other, 0, &small()), 2, "the other one serves");
    let told = || {
        let said = world.broker.stderr();
        said.lines().any(|line| line.contains("a partition is offline") && line.contains("was removed")).then_some(())
    };
    eventually("it is told", told);
    world.broker.kill9();
    world.broker.restart();
    world.conn = world.broker.connect();
    assert_eq!(world.produce(&hit, &small()), STORAGE_ERROR, "never taken for an empty log");
    assert_eq!(world.produce(&other, &small()), 0);
    world.broker.expect_said(&["the folder is gone"]);
}

#[test]
fn ra_20_a_metadata_store_that_fails_ends_the_broker_before_anything_is_answered() {
    let Some(mut world) = World::new() else { return };
    let store = world.files("coordinator", ".log");
    let Some(failing) = Failing::calls(&world.broker, "fdatasync,fsync", "EIO", &store) else { return };
    let mut admin = world.broker.connect();
    admin.send(8, &commit_request("group", &[(&world.hit, 0, 1)]));
    assert_eq!(admin.outcome(PATIENCE), Outcome::Closed, "not acknowledged");
    eventually("the process ends", || (!world.broker.is_alive()).then_some(()));
    world.broker.expect_said(&["the metadata store failed"]);
    drop(failing);
    world.expect_recovery(2);
}

#[test]
fn io_01_a_file_system_that_becomes_read_only_loses_nothing_that_was_acknowledged() {
    let Some(disk) = LoopDisk::mount(256) else { return };
    let Some(mut broker) = private(BrokerOptions::new().data(&disk.path().join("data"))) else { return };
    let mut conn = broker.connect();
    let (name, _) = conn.new_topic("read-only", 1, &[]);
    for _ in 0..4 {
        conn.append(&name, 0, &large());
        conn.append(&name, 0, &small());
    }
    if !disk.fail() {
        return;
    }
    // What is written over in place may still reach the disk, and then it counts.
    let mut acknowledged = 8;
    let refused = (0..100).any(|n| {
        let batch = if n % 2 == 0 { small() } else { large() };
        let mut conn = broker.connect();
        conn.send(9, &pyralog_compat_tests::calls::produce_request(&name, 0, &batch));
        match conn.outcome(PATIENCE) {
            Outcome::Answer(body) => {
                let (_, response) = decode_answer::<kafka_protocol::messages::ProduceRequest>(9, &body);
                let part = pyralog_compat_tests::calls::produced(&response, &name, 0);
                assert!([0, STORAGE_ERROR].contains(&part.error_code), "{}", part.error_code);
                acknowledged = acknowledged.max(if part.error_code == 0 { part.base_offset + 1 } else { 0 });
                part.error_code != 0
            }
            Outcome::Closed | Outcome::Silence => true,
        }
    });
    assert!(refused, "100 batches were acknowledged on a read-only file system");
    eventually("it is told", || broker.stderr().contains("Read-only file system").then_some(()));
    broker.kill9();
    disk.repair();
    broker.restart();
    let mut conn = broker.connect();
    conn.wait_for_topic(&name, 1);
    let end = conn.end_offset(&name, 0);
    assert!(end >= acknowledged, "{acknowledged} were acknowledged, {end} are there");
    for offset in 0..acknowledged {
        assert_eq!(conn.read(&name, 0, offset)[0].base_offset, offset);
    }
    assert_eq!(conn.append(&name, 0, &large()), end);
}
