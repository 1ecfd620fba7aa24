//! Consumers that read a backlog: the broker moves their connections to threads of their own in the middle of it, and back when they have
//! caught up. What a client can see of that is nothing at all.
#![allow(clippy::unwrap_used, reason = "a test")]

use pyralog_compat_tests::batch::Batch;
use pyralog_compat_tests::{Broker, BrokerOptions, Conn, private};

const LARGE: usize = 200 << 10;

fn append(conn: &mut Conn, log: &str, numbers: std::ops::Range<i64>, bytes: usize) {
    for number in numbers {
        let value = format!("{number}-{}", "x".repeat(bytes));
        assert_eq!(conn.append(log, 0, &Batch::of(&value, 1).encode()), number);
    }
}

/// Reads to the end of the log, one fetch after the other on one connection; gives the next offset.
fn read_on(conn: &mut Conn, log: &str, mut next: i64) -> i64 {
    loop {
        let found = conn.read(log, 0, next);
        if found.is_empty() {
            return next;
        }
        for batch in found {
            let expected = format!("{next}-");
            assert!(batch.values()[0].starts_with(&expected), "{expected} {}", &batch.values()[0][..20]);
            next = batch.last_offset() + 1;
        }
    }
}

fn lanes(broker: &Broker) -> usize {
    broker.threads_named("backlog")
}

#[test]
fn who_reads_a_backlog_then_the_end_then_a_backlog_misses_nothing() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let (mut writer, mut reader) = (broker.connect(), broker.connect());
    let (log, _) = writer.new_topic("backlog", 1, &[("pyralog.durability", "memory")]);
    append(&mut writer, &log, 0..100, 10);
    assert_eq!(read_on(&mut reader, &log, 0), 100);
    assert_eq!(lanes(&broker), 0, "nobody needs them yet");
    append(&mut writer, &log, 100..200, LARGE);
    assert_eq!(read_on(&mut reader, &log, 100), 200);
    assert!(lanes(&broker) > 0, "where the connection has moved");
    for number in 200..260 {
        append(&mut writer, &log, number..number + 1, 10);
        assert_eq!(read_on(&mut reader, &log, number), number + 1);
    }
    append(&mut writer, &log, 260..340, LARGE);
    assert_eq!(read_on(&mut reader, &log, 260), 340);
}

#[test]
fn many_read_one_backlog_at_a_time_and_stop_in_the_middle() {
    let Some(broker) = private(BrokerOptions::new()) else { return };
    let mut writer = broker.connect();
    let (log, _) = writer.new_topic("backlog", 1, &[("pyralog.durability", "memory")]);
    append(&mut writer, &log, 0..100, LARGE);
    let readers: Vec<_> = (0..12)
        .map(|number| {
            let (mut conn, log) = (broker.connect(), log.clone());
            std::thread::spawn(move || {
                for _ in 0..20 {
                    assert_eq!(read_on(&mut conn, &log, 0), 100);
                    if number % 3 == 0 {
                        return;
                    }
                }
            })
        })
        .collect();
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(read_on(&mut writer, &log, 0), 100, "a connection that wrote");
}
