//! The scrub of old segments in a running broker: IO-07.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use pyralog_compat_tests::calls::{Fetch, eventually};
use pyralog_compat_tests::http::{get, request};
use pyralog_compat_tests::{Batch, Broker, BrokerOptions, Conn, Record, private};

const MIB: &str = "1048576";
const STORAGE_ERROR: i16 = 56;

fn fill(conn: &mut Conn, prefix: &str) -> String {
    let (name, _) = conn.new_topic(prefix, 1, &[("segment.bytes", MIB)]);
    let batch = Batch::new(vec![Record::of(&"x".repeat(300_000))]).encode();
    for _ in 0..12 {
        conn.append(&name, 0, &batch);
    }
    name
}

/// Has a round run, and waits for its end.
fn round(broker: &Broker) -> serde_json::Value {
    let asked = request(broker.http(), "POST", "/storage/scrub", &[], b"");
    assert_eq!(asked.status, 202);
    eventually("a round is over", || {
        let progress = get(broker.http(), "/storage/scrub").json();
        (progress["running"] == false && progress["finished_at"].is_u64()).then_some(progress)
    })
}

fn segment(broker: &Broker, name: &str, base: i64) -> PathBuf {
    broker.folder().join("logs").join(format!("{name}-0")).join(format!("{base:020}.log"))
}

#[test]
fn io_07_damage_at_rest_is_found_told_and_served_to_nobody() {
    let fast = BrokerOptions::new().set("pyralog.scrub.bytes.per.second", "1000000000");
    let Some(broker) = private(fast.set("pyralog.scrub.interval.ms", "0")) else { return };
    let mut conn = broker.connect();
    let (sound, damaged) = (fill(&mut conn, "sound"), fill(&mut conn, "damaged"));
    let wanted = 6.0 * 900_000.0;
    eventually("sealed segments are on disk, and sound", || {
        let checked = round(&broker)["checked_bytes"].as_f64().unwrap();
        (checked >= wanted).then_some(())
    });
    assert_eq!(broker.metric("pyralog_scrub_damaged_partitions_total"), 0.0);

    // Three batches of 300 kB in each segment: this is the second one of the second.
    let path = segment(&broker, &damaged, 3);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 400_000).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 400_000).unwrap();
    assert_eq!(round(&broker)["damaged_partitions"], 1);
    broker.expect_said(&["a partition is offline", "acknowledged records 4..5 are damaged or missing"]);
    assert_eq!(broker.metric("pyralog_scrub_damaged_partitions_total"), 1.0);
    assert_eq!(broker.metric("kafka_server_offline_partition_count"), 1.0);
    assert_eq!(conn.fetch(&Fetch::at(&damaged, 0, 0)).error_code, STORAGE_ERROR);
    assert_eq!(conn.produce(&damaged, 0, &Batch::of("v", 1).encode()).error_code, STORAGE_ERROR);
    assert_eq!(conn.append(&sound, 0, &Batch::of("v", 1).encode()), 12, "the others serve");
    assert_eq!(round(&broker)["damaged_partitions"], 1, "what is offline is not looked at again");
}

#[test]
fn a_round_keeps_to_its_pace_and_ends_with_the_broker() {
    // All of it would take 18 s.
    let slow = BrokerOptions::new().set("pyralog.scrub.bytes.per.second", "200000");
    let Some(mut broker) = private(slow) else { return };
    let name = fill(&mut broker.connect(), "slow");
    let mut conn = broker.connect();
    let mut began = std::time::Instant::now();
    eventually("something was read", || {
        let progress = get(broker.http(), "/storage/scrub").json();
        if progress["running"] != true {
            // The first round, or one that found no segment on disk yet: one that is sealed is synced soon.
            began = std::time::Instant::now();
            assert_eq!(request(broker.http(), "POST", "/storage/scrub", &[], b"").status, 202);
            return None;
        }
        (progress["checked_bytes"].as_u64() > Some(0)).then_some(())
    });
    assert!(began.elapsed().as_secs_f64() > 1.0, "900 kB took {:?}", began.elapsed());
    assert_eq!(conn.append(&name, 0, &Batch::of("v", 1).encode()), 12, "nobody waits for it");
    assert_eq!(get(broker.http(), "/storage/scrub").json()["running"], true);
    let stopping = std::time::Instant::now();
    broker.terminate();
    assert!(stopping.elapsed().as_secs_f64() < 10.0, "the stop took {:?}", stopping.elapsed());
}
